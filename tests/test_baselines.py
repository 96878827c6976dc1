"""The baselines are what they say they are."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import train
from beyond.departures import ContextEncoder, segment_mask
from beyond.recipes import OURS, undo
from beyond.samplers import generate_whole, time_grid
from beyond.stream import generate_long, generate_stream
from diffmotion import DiffMotion, NoiseSchedule, adamw, rotary_angles
from lab.baselines import BASELINES, MODELS, PlainBlock, main, memory_loss, pose_loss
from recordings.audio import load_audio
from sample import load_generator
from tools import CheckpointError


def recipe_of(segment=1, window=8, reach=2, undone=()):
    """OURS with a short memory."""
    encoder = partial(ContextEncoder, reach=reach, window=window, voice=True)
    mask = partial(segment_mask, window=window, segment=segment)
    return undo(replace(OURS, mask=mask, speech_encoder=encoder), undone)


def small(name, segment=1, undone=()):
    """A small baseline whose weights are all random: what starts at zero would hide mistakes."""
    torch.manual_seed(0)
    recipe = recipe_of(segment, undone=undone)
    model = MODELS[name][0](6, 5, width=16, depth=2, heads=2, kernel=3, recipe=recipe)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


# ---- plain layer norm ----------------------------------------------------------------------------
def test_the_plain_block_is_pytorchs_own_where_positions_do_not_matter():
    torch.manual_seed(0)
    ours = PlainBlock(16, 2, OURS.adaln)
    theirs = torch.nn.TransformerEncoderLayer(
        16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    for p in ours.parameters():
        torch.nn.init.normal_(p, std=0.3)
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = ours.adaln(None, None)
    assert gate_1 == gate_2 == 1
    pairs = {
        "self_attn.in_proj_weight": ours.qkv.weight,
        "self_attn.in_proj_bias": ours.qkv.bias,
        "self_attn.out_proj.weight": ours.out.weight,
        "self_attn.out_proj.bias": ours.out.bias,
        "norm1.weight": 1 + scale_1,
        "norm1.bias": shift_1,
        "norm2.weight": 1 + scale_2,
        "norm2.bias": shift_2,
    }
    for n, linear in ((1, ours.mlp[0]), (2, ours.mlp[2])):
        pairs |= {f"linear{n}.weight": linear.weight, f"linear{n}.bias": linear.bias}
    theirs.load_state_dict(pairs)
    x, nowhere = torch.randn(3, 7, 16), rotary_angles(torch.zeros(7), 8)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(7)
    expected = theirs(x, src_mask=causal, is_causal=True)
    mask = segment_mask(7, window=None, segment=1)
    assert torch.allclose(ours(x, None, None, nowhere, mask), expected, atol=1e-5)


def test_a_learned_scale_is_a_vector_which_weight_decay_and_muon_leave_alone():
    model = small("add")
    moved = {id(p) for p in OURS.optimiser(model, 1e-3).both[0].param_groups[0]["params"]}
    learned = [p for name, p in model.named_parameters() if "learned" in name]
    assert len(learned) == 2 * 4 + 2
    assert all(p.dim() == 1 and id(p) not in moved for p in learned)


# ---- what all of them are ------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["add", "concat", "frames"])
def test_a_baseline_hears_the_speech_and_knows_the_step_but_no_later_frame(name):
    model, t = small(name), torch.tensor([3, 500])
    x_t, x0, speech = torch.randn(2, 12, 6), torch.randn(2, 12, 6), torch.randn(2, 12, 5)

    def eps(x_t=x_t, t=t, speech=speech, x0=x0):
        with torch.no_grad():
            return model(x_t, t, speech, None, x0 if name == "frames" else None)

    assert not torch.allclose(eps(), eps(speech=speech.flip(0)))
    assert not torch.allclose(eps(), eps(t=t + 100))
    later, later_x0 = x_t.clone(), x0.clone()
    # Frame 6 is made of the clean frames before it, and must not see itself
    later[:, 7:], later_x0[:, 6:] = 0, 0
    changed = eps(x_t=later, x0=later_x0)
    assert torch.allclose(eps()[:, :7], changed[:, :7], atol=1e-6)
    assert not torch.allclose(eps()[:, 7:], changed[:, 7:])


@pytest.mark.parametrize("name", ["add", "concat", "none"])
@pytest.mark.parametrize("segment", [1, 3])
def test_a_baseline_streams_as_it_samples(name, segment):
    model, schedule, speech = small(name, segment), NoiseSchedule(), torch.randn(1, 20, 5)
    settings = dict(sampler="ddim", steps=4, guidance=1.5, seed=3)
    whole = generate_long(model, schedule, speech, **settings)
    parts = torch.cat(list(generate_stream(model, schedule, speech, chunk=6, **settings)), dim=1)
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_baseline_trains_and_comes_back_from_its_checkpoint(name, tiny_corpus, tmp_path, capsys):
    """The command, two steps; then its checkpoint makes motion, and sample.py refuses it."""
    size = "--width 32 --depth 1 --heads 2 --window 60 --batch 4 --device cpu --steps 2"
    undone = ["--undo", "innovations,muon"] if name == "direct" else []
    options = ["--data", str(tiny_corpus), "--out", str(tmp_path), *undone, *size.split()]
    main([name, *options])
    assert "try it:  python -m lab.evaluate --checkpoint" in capsys.readouterr().out
    generator = load_generator(tmp_path / "model.pt", networks=BASELINES)
    assert type(generator.model) is MODELS[name][0]
    speech = generator.speech_of(load_audio(next((tiny_corpus / "test").glob("*.wav")))[:32_000])
    assert len(generator(speech, seed=1, steps=2)[0]) == 40
    with pytest.raises(CheckpointError, match="is a baseline"):
        load_generator(tmp_path / "model.pt")


# ---- no speech -----------------------------------------------------------------------------------
def test_no_speech_means_none():
    model, schedule = small("none"), NoiseSchedule()
    settings = dict(sampler="dpmpp", steps=3, seed=1)
    one, two = (
        generate_whole(model, schedule, torch.randn(1, 15, 5), **settings) for _ in range(2)
    )
    assert torch.equal(one, two)


# ---- least squares -------------------------------------------------------------------------------
def test_least_squares_answers_a_coin_with_its_mean_and_diffusion_with_one_of_its_sides():
    """Half of the clips are all +1, half all -1, and the speech does not say which."""
    schedule, pose = NoiseSchedule(100, 1e-3, 0.2), torch.tensor([1.0, -1.0])
    pose = pose[:, None, None].expand(2, 4, 1).repeat(16, 1, 1)  # [32, 4, 1]
    speech, nobody = torch.zeros(32, 4, 5), torch.zeros(32, dtype=torch.bool)
    recipe = recipe_of(reach=1, undone=("innovations", "loss", "split", "v"))
    answers = {}
    losses = (DiffMotion, train.training_loss), MODELS["direct"]
    for network, loss_of in losses:
        torch.manual_seed(0)
        size = dict(width=32, depth=1, heads=2, kernel=3)
        model = network(1, 5, recipe=recipe, schedule=schedule, **size)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(300):
            t, eps = torch.randint(100, (32,)), torch.randn(32, 4, 1)
            loss = loss_of(model, pose, speech, t, eps, nobody)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        make = getattr(model, "generate", partial(generate_whole, model))
        answers[network] = make(schedule, torch.zeros(64, 4, 5), sampler="ddim", steps=20, seed=0)
    assert answers[MODELS["direct"][0]].abs().max() < 0.2
    sides = answers[DiffMotion].mean(dim=(1, 2))
    assert sides.abs().median() > 0.7 and 0.2 < (sides > 0).float().mean() < 0.8


def test_least_squares_does_not_look_at_the_noise():
    model, speech = small("direct", undone=["innovations"]), torch.randn(2, 9, 5)
    with torch.no_grad():
        one, two = (
            model(torch.randn(2, 9, 6), torch.tensor(t), speech) for t in ([1, 2], [700, 800])
        )
    assert torch.equal(one, two) and torch.equal(one, model.generate(None, speech, seed=5, steps=3))


def test_least_squares_is_trained_on_the_poses_own_error():
    model, speech = small("direct", undone=["innovations"]), torch.randn(2, 9, 5)
    pose = model.generate(None, speech) + 0.5
    nothing = torch.zeros(2, dtype=torch.long), torch.zeros(2, 9, 6), torch.zeros(2).bool()
    loss = pose_loss(model, pose, speech, *nothing)
    assert loss.item() == pytest.approx(0.25, rel=1e-2)


# ---- frame by frame ------------------------------------------------------------------------------
@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_frame_by_frame_remembers_in_sampling_what_it_is_shown_in_training(guidance):
    """One DDIM step is x0 = (x - sqrt(1 - abar) eps) / sqrt(abar).

    With eps from the training pass, shown the frames that came out, it must hold.
    """
    model, schedule, speech = small("frames"), NoiseSchedule(), torch.randn(2, 7, 5)
    poses = model.generate(schedule, speech, "ddim", 1, guidance, seed=4)
    x0 = model.transform(poses)
    random = torch.Generator().manual_seed(4)
    noise = torch.cat([torch.randn(2, 1, 6, generator=random) for _ in range(7)], dim=1)
    t = torch.tensor([time_grid(schedule.num_steps, 1)[0]] * 2)
    with torch.no_grad():
        eps, eps_none = (
            model(noise, t, speech, torch.tensor([dropped] * 2), x0) for dropped in (False, True)
        )
    expected = schedule.predict_x0(noise, t, eps_none + guidance * (eps - eps_none))
    assert torch.allclose(x0, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_frame_by_frame_is_shown_the_recorded_frames_in_training():
    """The loss of a network that answers nothing is the variance of the noise; a shown frame."""
    model, pose, speech = small("frames"), torch.randn(2, 7, 6), torch.randn(2, 7, 5)
    drawn = torch.tensor([10, 500]), torch.randn(2, 7, 6), torch.zeros(2).bool()
    one = memory_loss(model, pose, speech, *drawn)
    with torch.no_grad():
        x0 = model.transform(pose)
        predicted = model(model.schedule.add_noise(x0, *drawn[:2]), drawn[0], speech, None, x0)
    error = (drawn[1] - predicted).square()
    expected = model.recipe.loss(model.schedule, drawn[0], error).mean()
    assert one.item() == pytest.approx(expected.item(), rel=2e-2)  # bfloat16, where there is


def test_every_baseline_takes_the_papers_recipe_too():
    """Nothing of OURS is needed: joint adaLN, a linear speech encoder, a causal mask, AdamW."""
    recipe = undo(OURS, ["split", "context", "voice", "start", "window", "segments", "muon", "v"])
    assert recipe.optimiser is adamw
    for network, loss_of in MODELS.values():
        model = network(6, 5, width=16, depth=2, heads=2, recipe=recipe)
        drawn = torch.tensor([10, 500]), torch.randn(2, 7, 6), torch.tensor([True, False])
        loss_of(model, torch.randn(2, 7, 6), torch.randn(2, 7, 5), *drawn).backward()
