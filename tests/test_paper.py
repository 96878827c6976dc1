"""The paper, sentence by sentence: what DiffMotion-v2 is, and that diffmotion.py is that.

by_hand.py has the network and its training a second time, written from the equations alone. Both
must give the same numbers. test_mutations.py shows that they would not if a piece were wrong.
"""

import math

import numpy as np
import pytest
import torch
from by_hand import AdamWByHand, abars, paper_network, train_by_hand
from small_models import NumbersForTakes, inputs, small_model, train_small

import train
from beyond.recipes import PAPER_SETTINGS, RECIPES
from diffmotion import (
    PAPER,
    AdaLN,
    Block,
    DiffMotion,
    NoiseSchedule,
    adamw,
    causal_mask,
    generate,
    linear_warmup,
    rotary_angles,
    rotate,
    sample_ddpm,
)


@pytest.fixture(autouse=True)
def the_same_numbers_each_time():
    torch.manual_seed(0)


def same(ours, theirs, within=1e-5):
    """Equal to `within` of the largest number."""
    return (ours - theirs).abs().max() <= within * theirs.abs().max()


# ------------------------------------------------------------------------------------------------
# "Motion is turned into noise step by step": the schedule
# ------------------------------------------------------------------------------------------------
def test_there_are_1000_steps_with_betas_that_rise_in_equal_steps():
    betas = NoiseSchedule().betas
    assert len(betas) == 1000
    assert np.allclose(betas, np.linspace(1e-4, 2e-2, 1000), rtol=1e-6)
    assert same(NoiseSchedule().alphas_cumprod, abars())


def test_noise_variance_stays_one_at_every_step():
    # Of so many numbers the variance is 0.003 out, in one deviation
    schedule, noise, x0 = NoiseSchedule(), torch.randn(200_000), torch.randn(200_000)
    for t in (0, 100, 500, 999):
        x_t = schedule.add_noise(x0, torch.tensor(t), noise)
        assert x_t.var().item() == pytest.approx(1, abs=0.03)


def test_noise_is_added_at_once_as_if_it_had_been_added_step_by_step():
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise: the share of x0, and the variance."""
    schedule, share, variance = NoiseSchedule(), 1.0, 0.0
    for t, beta in enumerate(schedule.betas.double().tolist()):
        share, variance = math.sqrt(1 - beta) * share, (1 - beta) * variance + beta
        if t in (0, 1, 300, 999):
            one, zero = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
            at = torch.tensor([t])
            assert schedule.add_noise(one, at, zero).item() == pytest.approx(share, rel=1e-4)
            noisy = schedule.add_noise(zero, at, one).item()
            assert noisy**2 == pytest.approx(variance, rel=1e-3)


def test_predicting_x0_undoes_adding_noise():
    schedule, t = NoiseSchedule(), torch.tensor([0, 10, 300, 700])
    x0, noise = torch.randn(4, 9, 3).double(), torch.randn(4, 9, 3).double()
    assert same(schedule.predict_x0(schedule.add_noise(x0, t, noise), t, noise), x0, 1e-9)


@pytest.mark.parametrize("t", [1, 40, 99])
def test_the_posterior_is_bayes_rule(t):
    """Equations 6 and 7 equal the product of the two Gaussians that they come from."""
    schedule, x0, x_t = NoiseSchedule(100, 1e-4, 0.1), 0.7, -0.4
    beta = schedule.betas[t].item()
    abar, before = (schedule.alphas_cumprod[k].item() for k in (t, t - 1))
    # q(x_{t-1} | x0) = N(sqrt(before) x0, 1 - before)
    # q(x_t | x_{t-1}) = N(sqrt(1 - beta) x_{t-1}, beta)
    precision = 1 / (1 - before) + (1 - beta) / beta
    mean = math.sqrt(before) * x0 / (1 - before) + math.sqrt(1 - beta) * x_t / beta
    one = torch.ones(1, 1, 1)
    for at in (t, torch.tensor([t])):
        ours = schedule.posterior(x0 * one, x_t * one, at)
        assert float(ours[0]) == pytest.approx(mean / precision, rel=1e-3)
        assert float(ours[1]) == pytest.approx(1 / precision, rel=1e-2)


def test_the_posterior_of_the_first_step_is_the_data_itself():
    x0, x_t = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for at in (0, torch.tensor([0, 0])):
        mean, variance = NoiseSchedule().posterior(x0, x_t, at)
        assert same(mean, x0) and torch.as_tensor(variance).abs().max() == 0


@pytest.mark.parametrize("beta_end", [2e-2, 5e-2, 8e-2])
def test_schedule_and_one_reverse_step_are_those_of_diffusers(beta_end):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=beta_end, beta_schedule="linear",
        clip_sample=False, variance_type="fixed_small",
    )  # fmt: skip
    ours = NoiseSchedule(1000, 1e-4, beta_end)
    assert torch.allclose(ours.betas, theirs.betas, rtol=1e-5)
    # Theirs is a float32 product of 1000 factors, whose own rounding is about 1e-4
    assert torch.allclose(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=3e-4, atol=1e-12)
    for t in (0, 1, 10, 500, 999):
        x0, noise, x_t, eps = torch.randn(4, 3, 7, 4)
        at = torch.full((3,), t)
        noisy = ours.add_noise(x0, at, noise)
        assert torch.allclose(noisy, theirs.add_noise(x0, noise, at), atol=1e-5)
        step = theirs.step(eps, t, x_t, generator=torch.Generator().manual_seed(0))
        x0 = ours.predict_x0(x_t, at, eps)
        assert torch.allclose(x0, step.pred_original_sample, rtol=1e-3, atol=1e-3)
        mean, variance = ours.posterior(x0, x_t, at)
        z = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
        expected = mean + variance**0.5 * z
        assert torch.allclose(expected, step.prev_sample, rtol=1e-3, atol=2e-4), t


def test_a_number_for_a_step_says_what_a_tensor_says():
    schedule, x0, x_t = NoiseSchedule(), torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for t in (0, 3, 999):
        at = torch.full((2,), t)
        for a, b in zip(schedule.posterior(x0, x_t, t), schedule.posterior(x0, x_t, at)):
            assert same(torch.as_tensor(a).float(), b, 1e-4)
        one, other = (schedule.predict_x0(x_t, at_step, x0) for at_step in (t, at))
        assert same(one, other, 1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        dict(beta_start=0.0),
        dict(beta_end=1.0),
        dict(beta_start=0.1, beta_end=0.01),
        dict(num_steps=0),
        dict(num_steps=10_000),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError):
        NoiseSchedule(**bad)


# ------------------------------------------------------------------------------------------------
# "A transformer of causal attention blocks with adaLN, all frames at once": the network
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [{}, dict(width=24, heads=3, kernel=5, depth=3), dict(kernel=1)])
@pytest.mark.parametrize("drop", [None, [True, False]], ids=["speech", "one without speech"])
def test_the_network_is_what_its_equations_say(size, drop):
    """Speech encoder, step embedding, convolution, blocks, final layer: see by_hand.py."""
    model, (x_t, t, speech) = small_model(**size), inputs(frames=13)
    drop = None if drop is None else torch.tensor(drop)
    w, size = model.state_dict(), model.size
    theirs = paper_network(w, size["heads"], size["depth"], x_t, t, speech, drop)
    assert same(model(x_t, t, speech, drop), theirs)


def test_the_size_is_that_of_the_authors():
    schedule = NoiseSchedule()
    with torch.device("meta"):  # shapes without numbers
        model = DiffMotion(pose_dim=75, speech_dim=768, schedule=schedule)
    assert (model.size["width"], model.size["depth"], model.size["heads"]) == (1280, 12, 16)
    assert len(model.blocks) == 12 and model.blocks[0].heads == 16
    assert model.gesture_encoder.conv.weight.shape == (1280, 75, 5)


@pytest.mark.parametrize("width, heads", [(30, 4), (12, 4)])
def test_a_width_that_does_not_divide_into_heads_of_even_size_is_refused(width, heads):
    with pytest.raises(ValueError, match=f"width {width} does not divide into {heads} heads"):
        DiffMotion(6, 5, width, depth=1, heads=heads)


@pytest.mark.parametrize("frames", [7, 30])
def test_a_frame_sees_only_the_past(frames):
    """Neither the noisy motion of later frames nor the speech that belongs to them."""
    model, (x_t, t, speech) = small_model(), inputs(clips=1, frames=frames)
    before = model(x_t, t, speech)
    for changed in (x_t.clone(), speech.clone()):
        changed[:, 5:] += 1
        after = model(changed, t, speech) if changed.shape[2] == 6 else model(x_t, t, changed)
        assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
        # And the others do change: the test can fail
        assert (before[:, 5:] - after[:, 5:]).abs().amax(dim=-1).min() > 1e-3


def test_a_frame_sees_all_of_the_past():
    """Also through one block with a kernel of one frame, by attention alone."""
    model, (x_t, t, speech) = small_model(depth=1, kernel=1), inputs(clips=1, frames=40)
    changed = x_t.clone()
    changed[:, 0] += 1
    assert (model(x_t, t, speech) - model(changed, t, speech)).abs().amax(dim=-1).min() > 1e-6
    assert torch.equal(causal_mask(3), torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool())


def test_the_condition_of_a_frame_is_its_own_speech_and_no_other():
    model, (_, _, speech) = small_model(), inputs()
    changed = speech.clone()
    changed[:, 4] += 1
    differs = (model.encode_speech(speech) - model.encode_speech(changed)).abs().amax(dim=(0, 2))
    assert (differs > 1e-3).tolist() == [n == 4 for n in range(9)]


def test_the_network_is_told_the_diffusion_step():
    model, (x_t, _, speech) = small_model(), inputs()
    answers = [model(x_t, torch.tensor([t, t]), speech) for t in (10, 11, 900)]
    assert not same(answers[0], answers[1], 1e-3) and not same(answers[0], answers[2], 1e-2)


def test_one_adaln_layer_is_shared_by_all_frames():
    layer = AdaLN(8, 3)
    torch.nn.init.normal_(layer.linear.weight)
    condition, step = torch.randn(2, 5, 8), torch.randn(2, 8)
    together = torch.cat(layer(condition, step), dim=-1)  # [B, F, 24]
    for n in range(5):
        alone = torch.nn.functional.silu(condition[:, n] + step) @ layer.linear.weight.T
        assert torch.allclose(together[:, n], alone, atol=1e-5)


def test_a_block_begins_as_the_identity():
    block, x = Block(16, 2), torch.randn(2, 9, 16)
    condition, step, angles = (
        torch.randn(2, 9, 16),
        torch.randn(2, 16),
        rotary_angles(torch.arange(9), 8),
    )
    assert torch.equal(block(x, condition, step, angles, causal_mask(9)), x)


def test_an_untrained_network_predicts_no_noise():
    model = DiffMotion(6, 5, width=16, depth=2, heads=2)
    assert torch.equal(model(*inputs()), torch.zeros(2, 9, 6))


def test_rotary_positions_are_products_of_complex_numbers():
    """An hour away too, where angles in float32 would be 0.004 rad out."""
    x, position = torch.randn(2, 5, 3, 8), torch.tensor([0, 1, 399, 72_000, 72_001])
    frequency = 1e4 ** (-np.arange(4) / 4)
    turn = np.exp(1j * position.numpy()[:, None, None] * frequency)
    pairs = (x[..., :4].numpy() + 1j * x[..., 4:].numpy()) * turn
    expected = np.concatenate([pairs.real, pairs.imag], axis=-1)
    np.testing.assert_allclose(rotate(x, rotary_angles(position, 8)), expected, atol=1e-5)


def test_positions_are_relative():
    """The same frames later in a clip give the same answer, so no clip is too long."""
    model, (x_t, t, speech) = small_model(), inputs()
    early = model(x_t, t, speech)
    model.angles = lambda frames: rotary_angles(torch.arange(100_000, 100_000 + frames), 8)
    assert same(model(x_t, t, speech), early, 1e-4)


# ------------------------------------------------------------------------------------------------
# "The mean squared error of the noise, AdamW, linear warm-up": training
# ------------------------------------------------------------------------------------------------
def test_the_objective_is_the_mean_squared_error_of_the_noise(monkeypatch):
    monkeypatch.setattr(train, "has_bf16", lambda device: False)
    model, (pose, t, speech) = small_model(), inputs()
    eps, drop = torch.randn(2, 9, 6), torch.tensor([False, True])
    x_t = NoiseSchedule().add_noise(pose, t, eps)
    expected = ((eps - model(x_t, t, speech, drop)) ** 2).mean()
    assert train.training_loss(model, pose, speech, t, eps, drop).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_each_window_draws_its_step_its_noise_and_whether_it_has_speech():
    random = torch.Generator().manual_seed(0)
    t, eps, drop, mask = train.draw(small_model(), torch.zeros(20_000, 2, 3), random)
    assert t.min() == 0 and t.max() == 999 and abs(t.float().mean() - 499.5) < 10
    assert abs(eps.mean()) < 0.01 and abs(eps.std() - 1) < 0.01 and eps.shape == (20_000, 2, 3)
    assert drop.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert mask is None


def test_without_its_speech_a_clip_keeps_no_trace_of_it():
    model, (x_t, t, _), drop = small_model(), inputs(), torch.tensor([True, False])
    one, other = (model(x_t, t, torch.randn(2, 9, 5), drop) for _ in range(2))
    assert torch.equal(one[0], other[0]) and not same(one[1], other[1], 1e-3)


def test_20_steps_of_training_are_those_of_the_equations(tmp_path, monkeypatch):
    """Steps, noise, dropout, loss, clipped gradient, warm-up and AdamW, all written again."""
    first, losses, weights = train_small(PAPER, tmp_path, monkeypatch)
    corpus = NumbersForTakes()
    expected, by_hand = train_by_hand(
        first, lambda w, *given: paper_network(w, 2, 2, *given),
        batch=lambda random: corpus.batch(4, random), steps=20, seed=3, lr=0.01,
        rate=lambda step: min(1, (step + 1) / 5), x0_of=lambda pose: pose,
        weight_of=lambda abar: 1.0, groups=[(AdamWByHand(first, 0.01), 1.0)], ema=0.0, phases=None,
    )  # fmt: skip
    assert losses == pytest.approx(expected, rel=1e-4)
    assert losses[-1] < 0.9 * losses[0], "and it has learnt something"
    for name, weight in weights.items():
        assert (weight - by_hand[name]).abs().max() < 1e-4, name


def test_the_learning_rate_rises_in_equal_steps_and_stays():
    assert [linear_warmup(step, 4, 9) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert linear_warmup(0, 0, 9) == 1


def test_weight_decay_is_for_matrices_alone():
    model = small_model()
    decayed, rest = adamw(model, 2e-4).param_groups
    assert decayed["weight_decay"] == 0.01 and rest["weight_decay"] == 0
    assert decayed["betas"] == rest["betas"] == (0.9, 0.99)
    assert decayed["lr"] == rest["lr"] == 2e-4
    assert all(p.dim() >= 2 for p in decayed["params"]) and all(p.dim() < 2 for p in rest["params"])
    assert len(decayed["params"]) + len(rest["params"]) == len(list(model.parameters()))


# ------------------------------------------------------------------------------------------------
# "The entire sequence at once, not frame by frame": sampling
# ------------------------------------------------------------------------------------------------
def test_ddpm_with_the_exact_denoiser_of_a_gaussian_draws_that_gaussian():
    """The best prediction for x0 ~ N(1.5, 0.5^2) is known: E[eps | x_t] is linear in x_t."""
    schedule, random = NoiseSchedule(), torch.Generator().manual_seed(0)

    def predict_eps(x_t, t):
        abar = schedule.alphas_cumprod[t]
        return (1 - abar).sqrt() * (x_t - abar.sqrt() * 1.5) / (abar * 0.25 + 1 - abar)

    def noise():
        return torch.randn(1, 10_000, 1, generator=random)

    x0 = sample_ddpm(predict_eps, schedule, noise(), noise)
    assert x0.mean().item() == pytest.approx(1.5, abs=0.02)
    assert x0.std().item() == pytest.approx(0.5, abs=0.015)


def test_ddpm_is_algorithm_2_of_ho_et_al():
    """x <- (x - beta / sqrt(1 - abar) eps) / sqrt(alpha) + sigma z, and no noise at the end."""
    schedule, model = NoiseSchedule(50), small_model(schedule=NoiseSchedule(50))
    speech = inputs()[2]
    drawn = [torch.randn(2, 9, 6) for _ in range(50)]  # x_T, and z for all steps but the last
    ours = generate(model, schedule, speech, noise=iter(drawn).__next__)
    x, abar = drawn[0], abars(50)
    for n, t in enumerate(range(49, -1, -1)):
        eps = paper_network(model.state_dict(), 2, 2, x, torch.tensor([t, t]), speech)
        before = abar[t - 1] if t else torch.tensor(1.0)
        alpha = abar[t] / before
        x = (x - (1 - alpha) / (1 - abar[t]).sqrt() * eps) / alpha.sqrt()
        if t:
            sigma = ((1 - alpha) * (1 - before) / (1 - abar[t])).sqrt()
            x = x + sigma * drawn[n + 1]
    assert same(ours, x, 1e-3)


def test_all_frames_are_made_at_once_in_1000_passes_of_falling_steps():
    passes, model, (_, _, speech) = [], small_model(), inputs(frames=5)

    def denoise(x_t, t, condition):
        passes.append((t.item(), x_t.shape, id(condition)))
        return torch.zeros_like(x_t)

    model.denoise = denoise
    assert generate(model, NoiseSchedule(), speech).shape == (2, 5, 6)
    steps, shapes, conditions = zip(*passes)
    assert steps == tuple(range(999, -1, -1)) and set(shapes) == {(2, 5, 6)}
    assert len(set(conditions)) == 1, "and the speech is encoded once"


# ------------------------------------------------------------------------------------------------
# The recipe
# ------------------------------------------------------------------------------------------------
def test_the_defaults_of_a_recipe_are_the_papers():
    assert PAPER == RECIPES["paper"] and small_model().recipe is PAPER
    assert PAPER.adaln is AdaLN and PAPER.mask is causal_mask
    x_t, t, pose = *inputs()[:2], torch.randn(2, 9, 6)
    schedule, transform = NoiseSchedule(), PAPER.transform(6)
    assert PAPER.prediction(schedule, x_t, t, pose) is pose, "the output is the noise"
    assert transform(pose) is pose and transform.inverse(pose) is pose, "the pose is diffused"
    assert PAPER.loss(schedule, t, pose) is pose, "all steps count alike"
    assert PAPER.ema == 0 and PAPER.openings == PAPER.noisy == PAPER.octaves == 0
    assert (PAPER.sampler, PAPER.steps, PAPER.guidance) == ("ddpm", 1000, 1.0)
    assert PAPER.hop == 0.5 and PAPER.warmup_frames == 0


def test_the_settings_of_recipe_paper_are_the_authors():
    settings = {name: value for name, (value, _) in PAPER_SETTINGS.items()}
    settings.pop("out"), settings.pop("steps")
    assert settings == dict(
        features="wavlm", layer="last", width=1280, depth=12, heads=16, window=400, mirror=True,
        batch=36, lr=2e-4, warmup=1000,
    )  # fmt: skip
    assert train.CLIP == 0.5 and train.DROP == 0.1
    parsed, _, _ = train.parse(["--recipe", "paper"])
    assert all(getattr(parsed, name) == value for name, value in settings.items())
