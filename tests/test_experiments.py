"""The baselines are what they say they are, and the experiments do what they print."""
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import diffmotion as dm
import experiments
import puppet
import train
from baselines import MODELS, Direct, PlainBlock
from bench import machine
from data import CorpusError
from diffmotion import DiffMotionConfig, NoiseSchedule
from motion import Motion

ROOT = Path(__file__).resolve().parent.parent


def small(name, **settings):
    """A small baseline whose weights are all random: what starts at zero would hide mistakes."""
    torch.manual_seed(0)
    config = dict(pose_dim=6, speech_dim=5, width=16, depth=2, heads=2, attention_window=8, kernel=3, speech_reach=2, memory=0.9, momentum=0.5) | settings
    model = MODELS[name](DiffMotionConfig(**config))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def test_all_models_have_as_many_parameters_within_a_tenth():
    """All but WavLM's, whose 768 numbers a frame need a larger ear, and one that has as many blocks instead; how much larger and smaller is said beside experiments.MODELS."""
    sizes, dims = {}, dict(mel=40, mfcc=20, wavlm=768)
    for name, (_, arguments) in experiments.MODELS.items():
        words = arguments.split()
        given = {words[n].removeprefix("--"): words[n + 1] for n in range(0, len(words), 2)}
        config = DiffMotionConfig(46, dims[given.get("features", "mel")], 128, int(given.get("depth", 4)), 4, 100, given.get("adaln", "split"), memory=0.9)
        sizes[name] = sum(p.numel() for p in MODELS[given.get("model", "diffmotion")](config).parameters())
    assert set(sizes) == set(experiments.MODELS)
    assert all(abs(size / sizes["split"] - 1) < 0.1 for name, size in sizes.items() if "wavlm" not in name and name != "concat-4"), sizes
    assert sizes["concat-4"] / sizes["split"] == pytest.approx(0.58, abs=0.02)
    assert sizes["wavlm"] / sizes["split"] == pytest.approx(2.6, abs=0.05) and (sizes["wavlm"] - sizes["mfcc"]) / 1e6 == pytest.approx(3.2, abs=0.05)


def test_the_plain_block_is_pytorchs_own_where_positions_do_not_matter():
    torch.manual_seed(0)
    ours = PlainBlock(DiffMotionConfig(6, 5, 16, 1, 2))
    theirs = torch.nn.TransformerEncoderLayer(16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    for p in ours.parameters():
        torch.nn.init.normal_(p, std=0.3)
    pairs = dict(zip(("self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight", "self_attn.out_proj.bias"),
                     (ours.qkv.weight, ours.qkv.bias, ours.out.weight, ours.out.bias)))
    for n, (linear, norm) in enumerate(((ours.mlp[0], ours.norm_1), (ours.mlp[2], ours.norm_2)), start=1):
        pairs |= {f"linear{n}.weight": linear.weight, f"linear{n}.bias": linear.bias, f"norm{n}.weight": norm.weight, f"norm{n}.bias": norm.bias}
    theirs.load_state_dict(pairs)
    x, here = torch.randn(3, 7, 16), dm.turns(torch.zeros(7), 8)
    expected = theirs(x, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(7), is_causal=True)
    assert torch.allclose(ours(x, None, None, here, None), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["add", "concat", "frames"])
def test_a_baseline_hears_the_speech_and_knows_the_step_but_no_later_frame(name):
    model, t = small(name), torch.tensor([3, 500])
    x_t, x0, speech = torch.randn(2, 12, 6), torch.randn(2, 12, 6), torch.randn(2, 12, 5)

    def eps(x_t=x_t, t=t, speech=speech, x0=x0):
        with torch.no_grad():
            return model(x_t, t, speech, None, *[x0] * (name == "frames"))

    assert not torch.allclose(eps(), eps(speech=speech.flip(0)))
    assert not torch.allclose(eps(), eps(t=t + 100))
    later, later_x0 = x_t.clone(), x0.clone()
    later[:, 7:], later_x0[:, 6:] = 0, 0             # frame 6 is made of the clean frames before it, and must not see itself
    assert torch.allclose(eps()[:, :7], eps(x_t=later, x0=later_x0)[:, :7], atol=1e-6)
    assert not torch.allclose(eps()[:, 7:], eps(x_t=later, x0=later_x0)[:, 7:])


@pytest.mark.parametrize("name", ["add", "concat", "none"])
@pytest.mark.parametrize("segment", [1, 3])
def test_a_baseline_streams_as_it_samples(name, segment):
    model, schedule, speech = small(name, segment=segment), NoiseSchedule(), torch.randn(1, 20, 5)
    settings = dict(sampler="ddim", steps=4, guidance=1.5, seed=3)
    whole = dm.generate(model, schedule, speech, **settings)
    parts = torch.cat(list(dm.generate_stream(model, schedule, speech, chunk=6, **settings)), dim=1)
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-4)


def test_no_speech_means_none():
    model, schedule = small("none"), NoiseSchedule()
    assert torch.equal(*(dm.generate(model, schedule, torch.randn(1, 15, 5), steps=3, seed=1) for _ in range(2)))


def test_least_squares_answers_a_coin_with_its_mean_and_diffusion_with_one_of_its_sides():
    """Half of the clips are all +1, half all -1, and the speech does not say which. Two clips would do: the loss is exact over the coin."""
    schedule, speech = NoiseSchedule(100, 1e-3, 0.2), torch.zeros(2, 4, 5)
    x0 = torch.tensor([1.0, -1.0])[:, None, None].expand(2, 4, 1)
    answers = {}
    for name in ("direct", "diffmotion"):
        torch.manual_seed(0)
        model = MODELS[name](DiffMotionConfig(1, 5, 32, 1, 2, 8, kernel=3, speech_reach=1), schedule)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(300):
            t, eps = torch.randint(100, (32,)), torch.randn(32, 4, 1)
            clean = x0.repeat(16, 1, 1)
            target = clean if name == "direct" else eps
            loss = (target - model(schedule.add_noise(clean, t, eps), t, speech.repeat(16, 1, 1))).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        many = torch.zeros(64, 4, 5)
        generate = model.generate if name == "direct" else lambda *a, model=model, **k: dm.generate(model, *a, **k)
        answers[name] = generate(schedule, many, sampler="ddim", steps=20, seed=0)
    assert answers["direct"].abs().max() < 0.2
    sides = answers["diffmotion"].mean(dim=(1, 2))
    assert sides.abs().median() > 0.7 and 0.2 < (sides > 0).float().mean() < 0.8


def test_least_squares_does_not_look_at_the_noise():
    model = small("direct", memory=0.0)
    assert isinstance(model, Direct)
    speech = torch.randn(2, 9, 5)
    with torch.no_grad():
        one, two = (model(torch.randn(2, 9, 6), torch.tensor(t), speech) for t in ([1, 2], [700, 800]))
    assert torch.equal(one, two) and torch.equal(one, model.generate(None, speech, seed=5, steps=3))


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_frame_by_frame_remembers_in_sampling_what_it_is_shown_in_training(guidance):
    """One DDIM step is x0 = (x - sqrt(1 - abar) eps) / sqrt(abar). With eps from the training pass, shown the frames that came out, it must hold."""
    model, schedule, speech = small("frames"), NoiseSchedule(), torch.randn(2, 7, 5)
    poses = model.generate(schedule, speech, "ddim", 1, guidance, seed=4)
    x0 = model.innovations(poses)
    random = torch.Generator().manual_seed(4)
    noise = torch.cat([torch.randn(2, 1, 6, generator=random) for _ in range(7)], dim=1)
    t = time = torch.tensor([dm.time_grid(schedule.num_steps, 1)[0]] * 2)
    with torch.no_grad():
        eps, eps_none = (model(noise, t, speech, torch.tensor([hidden] * 2), x0) for hidden in (False, True))
    expected = schedule.predict_x0(noise, time, eps_none + guidance * (eps - eps_none))
    assert torch.allclose(x0, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


# ---- the experiments -----------------------------------------------------------------------------------------------------
def test_a_part_of_a_take_keeps_its_clock():
    motion = Motion(["Hips"], np.array([-1]), np.zeros((1, 3)), [()], [], 0.05, np.broadcast_to(np.eye(3), (200, 1, 3, 3)), np.arange(200.0)[:, None, None] * np.ones(3))
    answers = dict(phrases=[dict(start=1.0, end=3.5), dict(start=4.0, end=6.0), dict(start=7.0, end=8.5)], stresses=[dict(time=3.0), dict(time=4.5), dict(time=8.0)], speaker=7)
    cut, kept = experiments.within(motion, answers, 3.5, 8.5)
    assert len(cut) == 100 and cut.positions[0, 0, 0] == 70
    assert kept == dict(phrases=[dict(start=0.5, end=2.5)], stresses=[dict(time=1.0), dict(time=4.5)], speaker=7)


def test_what_is_done_to_unfamiliar_speech_is_what_its_name_says():
    t = torch.arange(32_000) / 16_000
    tone = 0.3 * torch.sin(2 * torch.pi * 1000 * t)

    def peak(x):
        return torch.fft.rfftfreq(len(x), 1 / 16_000)[torch.fft.rfft(x).abs().argmax()].item()

    noise = experiments.noisy(tone, 10) - tone
    assert 10 * torch.log10(tone.square().mean() / noise.square().mean()).item() == pytest.approx(10, abs=0.1)
    assert torch.allclose(experiments.telephone(tone), tone, atol=1e-3)
    assert experiments.telephone(torch.sin(2 * torch.pi * 200 * t)).abs().max() < 1e-3
    assert peak(experiments.pitched(tone, 4)) == pytest.approx(1000 * 2 ** (4 / 12), rel=0.01)
    for factor in (1.25, 0.8):
        changed = experiments.faster(tone, factor)
        assert len(changed) == round(32_000 / factor) and peak(changed) == pytest.approx(1000, rel=0.01)
    assert len(experiments.music(tone)) == len(tone)


def test_the_spread_is_that_over_seeds():
    table = experiments.summary([dict(beat_f1=0.8), dict(beat_f1=0.9), dict(beat_f1=1.0)])
    assert table["beat_f1"]["mean"] == pytest.approx(0.9) and table["beat_f1"]["spread"] == pytest.approx(0.1)
    assert experiments.summary([dict(beat_f1=0.8)])["beat_f1"]["spread"] is None


def test_each_seed_trains_and_samples_its_own_and_is_held_against_another(monkeypatch):
    sampled, trained = [], []
    args = SimpleNamespace(seeds=[0, 1, 5], steps=3600, batch=4, device="cpu", wavlm_checkpoint=None, wanted=None)
    monkeypatch.setattr(experiments, "trained", lambda name, arguments, seed, args, folder: trained.append(seed) or f"{name} {seed}")
    monkeypatch.setattr(experiments, "motions_of", lambda checkpoint, device, wavlm, folder, part, seed, sampling: [(checkpoint, seed)])
    monkeypatch.setattr(experiments, "reference_of", lambda folder, part: None)
    monkeypatch.setattr(experiments, "remembered", lambda checkpoint, key, compute, **sampling: compute())
    monkeypatch.setattr(experiments.metrics, "look_at", lambda motion: motion)
    monkeypatch.setattr(experiments.metrics, "measure", lambda made, seen, reference, second: sampled.append(made + second) or {})
    monkeypatch.setattr(experiments.metrics, "diversity", lambda seen: 0.0)
    experiments.on_seeds(args, "split", tested=Path("corpora/puppet"))
    assert trained == [0, 1, 5] and sampled == [[(f"split {seed}", seed), (f"split {seed}", seed + 1)] for seed in (0, 1, 5)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_of_models_side_by_side_none_is_begun_after_one_that_stopped(tmp_path, monkeypatch, jobs):
    """The first fails; the second, if it runs beside the first, goes on until the failure is known, and to its end; the others are not begun."""
    folders, begun, made = [tmp_path / str(n) for n in range(5)], [], []
    for folder in folders:
        folder.mkdir()
    event, two_run = threading.Event, threading.Barrier(jobs)
    monkeypatch.setattr(threading, "Event", lambda: made.append(event()) or made[-1])        # the first that is made is the one that says stop

    def run(command, **_):
        begun.append(command)
        two_run.wait(60)
        return SimpleNamespace(returncode=3 if command == ["0"] else not made[0].wait(60))

    def function(args):
        args.wanted |= {folder: [folder.name] for folder in folders}
        yield "a row", "not run"

    monkeypatch.setattr(experiments.subprocess, "run", run)
    with pytest.raises(CorpusError, match="0: the training stopped; see .*training.log"):
        experiments.train_side_by_side(function, SimpleNamespace(jobs=jobs))
    assert sorted(begun) == [["0"], ["1"]][:jobs]


def test_the_samplers_are_asked_for_by_their_labels(monkeypatch):
    monkeypatch.setattr(experiments, "one_model", lambda args, key, checkpoint, folder, seed, part, **sampling: sampling)
    monkeypatch.setattr(experiments, "choosing", lambda: None)
    monkeypatch.setattr(experiments, "bounds", lambda *_: [])
    asked = {label: rows[0] for label, rows in experiments.samplers(SimpleNamespace(seeds=[3]))}
    assert asked["ddpm 1000"] == dict(sampler="ddpm", steps=1000) and asked["ddpm, power 1.67 25"] == dict(sampler="ddpm", steps=25, power=1.67)


def test_frame_by_frame_takes_the_grid_it_is_given():
    model, schedule, speech = small("frames"), NoiseSchedule(), torch.randn(1, 4, 5)
    even, bent = (model.generate(schedule, speech, "ddim", 4, seed=4, power=power) for power in (1.0, 2.0))
    assert not torch.allclose(even, bent, atol=1e-3)


def test_a_corpus_of_other_settings_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(list((experiments.corpus("small", train=2, valid=0, test=1, seconds=4.0) / "train").glob("*.bvh"))) == 2
    with pytest.raises(CorpusError, match="has 2 takes in train/, and 3 are wanted"):
        experiments.corpus("small", train=3, valid=0, test=1, seconds=4.0)


def test_the_bounds_of_a_part_of_takes_are_those_of_its_own_seconds(tmp_path, monkeypatch):
    """The first half of the recordings is what it is; the second half is spoilt, and only there may it show."""
    monkeypatch.chdir(tmp_path)
    puppet.write_corpus(tmp_path / "c", train=2, valid=0, test=2, seconds=24.0)
    reference = experiments.reference_of(tmp_path / "c", "test")
    for n, motion in enumerate(reference.truth):                 # from 12 s on nobody moves
        still = np.minimum(np.arange(len(motion)), 12 * 20 - 1)
        reference.truth[n] = Motion(**vars(motion) | dict(rotations=motion.rotations[still], positions=motion.positions[still]))
    first, second = (experiments.bounds_within(tmp_path / "c", start, start + 12) for start in (0, 12))
    assert list(first) == list(experiments.BOUNDS)
    assert first["the recorded motion"]["beat_f1"] > 0.9 and second["the recorded motion"]["beat_f1"] == 0
    assert all(np.isnan(first["the recorded motion"][name]) for name in ("hand_agreement", "style_error", "rest_error"))
    assert first["a mean pose"]["beat_f1"] == 0 and first["recorded, with other speech"]["beat_f1"] < 0.6


def test_an_experiment_trains_scores_draws_and_does_nothing_twice(tmp_path):
    """A corpus of a minute and two training steps: the scores mean nothing, the files are whole."""
    puppet.write_corpus(tmp_path / "corpora/puppet", train=3, valid=1, test=2, seconds=12.0)
    command = [sys.executable, str(ROOT / "evaluate.py"), "experiment", "features", "--steps", "2", "--seeds", "0", "--device", "cpu"]

    def run(*more):
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))
        assert done.returncode == 0, done.stderr
        return done

    first = run("--jobs", "2")
    report = json.loads((tmp_path / "results/experiments/features.json").read_text())
    labels = {row["label"]: row for row in report["rows"]}
    assert labels["MFCC"]["scores"]["beat_f1"]["each"] and "not run" in labels["WavLM, last layer"]["not_run"]
    assert "not run" in first.stdout and (tmp_path / "results/experiments/features.png").stat().st_size > 5000
    mfcc = torch.load(tmp_path / "runs/experiments/mfcc-2x4-0/model.pt", weights_only=True)
    assert mfcc["speech"]["kind"] == "mfcc"
    training = labels["MFCC"]["made"][0]["trained"]
    assert training["precision"] in ("float32", "bfloat16") and training["machine"] == machine()
    assert "2 steps" in (tmp_path / "runs/experiments/mfcc-2x4-0/training.log").read_text()
    for one_less in ("model.pt", "last.pt"):             # one at a time is the same run, so its scores are remembered
        (tmp_path / "runs/experiments/mfcc-2x4-0" / one_less).unlink()
    again = run()
    assert again.stdout == first.stdout and "training" in again.stderr
    before = (tmp_path / "runs/experiments/mfcc-2x4-0/model.pt").stat().st_mtime_ns
    second = run()
    assert second.stdout == first.stdout and "training" not in second.stderr
    assert (tmp_path / "runs/experiments/mfcc-2x4-0/model.pt").stat().st_mtime_ns == before
    kept = tmp_path / "runs/experiments/mfcc-2x4-0/arguments.txt"
    assert f"{experiments.THEN} --features mfcc\n" in kept.read_text() and torch.load(kept.parent / "last.pt")["model"]["momentum"] == 0
    assert experiments.MODELS["now"][1] == f"--momentum {train.Settings.momentum:g} --voices {train.Settings.voices:g}", "the row that has today's defaults"
    kept.write_text(kept.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "the defaults of train.py were others" in done.stderr, "a model of other defaults is another model"
