"""Faster samplers, guidance, warm-up frames, and the noise that belongs to its frame."""

import numpy as np
import pytest
import torch
from small_models import inputs, small_model, small_ours

from beyond import stream
from beyond.samplers import (
    SAMPLERS,
    FrameNoise,
    generate_whole,
    guided,
    sampler_of,
    time_grid,
    with_warmup,
)
from beyond.stream import generate_by_recipe, generate_long, generate_stream
from diffmotion import NoiseSchedule, generate
from tools import CheckpointError


@pytest.fixture(autouse=True)
def the_same_numbers_each_time():
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------------
# The grid of steps
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 700, 999, 1000])
def test_the_grid_falls_evenly_from_the_noisiest(steps):
    """No step twice; gaps differ by one at most, also the last one, to the data."""
    grid = time_grid(1000, steps)
    gaps = [t - after for t, after in zip(grid, grid[1:] + [-1])]
    assert len(grid) == steps and grid[0] == 999
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_that_makes_no_sense_is_refused(steps):
    model, speech = small_model(small_ours()), inputs()[2]
    for make in (generate_whole, generate_long):
        with pytest.raises(ValueError, match="steps must be between 1 and 1000"):
            make(model, model.schedule, speech, sampler="dpmpp", steps=steps)


def test_a_sampler_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="one of ddpm, ddim, dpmpp, not 'euler'"):
        sampler_of(NoiseSchedule(), "euler", 10)


# ------------------------------------------------------------------------------------------------
# The samplers
# ------------------------------------------------------------------------------------------------
MEANS, SPREAD = torch.tensor([[-1.5, 0.5], [1.0, -1.0], [1.2, 1.4]]), 0.25


def exact_eps(schedule):
    """The best prediction for three Gaussian blobs: -sqrt(1 - abar) times the score of p_t."""

    def predict(x, t):
        abar = schedule.alphas_cumprod[t]
        variance = abar * SPREAD**2 + 1 - abar
        difference = abar.sqrt() * MEANS - x[..., None, :]  # [..., 3 blobs, 2]
        distance = difference.square().sum(-1)
        weight = torch.softmax(-distance / (2 * variance), dim=-1)[..., None]
        return -((1 - abar).sqrt()) * (weight * difference).sum(-2) / variance

    return predict


@pytest.mark.parametrize("name, steps", [("ddpm", 1000), ("ddim", 100), ("dpmpp", 60)])
def test_each_sampler_recovers_a_two_dimensional_distribution(name, steps):
    schedule, random, n = NoiseSchedule(), torch.Generator().manual_seed(0), 6000
    passes = []

    def noise():
        return torch.randn(1, n, 2, generator=random)

    def predict(x, t):
        passes.append(t)
        return exact_eps(schedule)(x, t)

    x = sampler_of(schedule, name, steps)(predict, schedule, noise(), noise)[0]
    assert len(passes) == steps, "steps counts the passes of the network"
    nearest = torch.cdist(x, MEANS).argmin(dim=1)
    for blob in range(3):
        own = x[nearest == blob]
        assert len(own) / n == pytest.approx(1 / 3, abs=0.03)
        assert torch.allclose(own.mean(0), MEANS[blob], atol=0.05)
        assert own.std(0).mean().item() == pytest.approx(SPREAD, rel=0.15)


def scheduler_of_diffusers(name, steps, random):
    """A scheduler of the package diffusers, and what its step is given besides."""
    diffusers = pytest.importorskip("diffusers")
    common = dict(
        num_train_timesteps=steps, beta_start=1e-4, beta_end=2e-2, beta_schedule="linear",
        timestep_spacing="trailing",
    )  # fmt: skip
    if name == "ddim":
        own = dict(clip_sample=False, set_alpha_to_one=True)
        return diffusers.DDIMScheduler(**common, **own), dict(eta=0.0)
    if name == "ddpm":
        return diffusers.DDPMScheduler(**common, clip_sample=False), dict(generator=random)
    own = dict(algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero")
    return diffusers.DPMSolverMultistepScheduler(**common, **own, lower_order_final=True), {}


@pytest.mark.parametrize(
    "name, steps",
    [("ddim", 10), ("dpmpp", 10), ("dpmpp", 1), ("dpmpp", 2), ("ddpm", 50), ("ddpm", 10)],
)
def test_samplers_walk_the_path_that_diffusers_walks(name, steps):
    # DDPM on a full chain of 50 steps too, as Ho et al. have it
    schedule = NoiseSchedule(50 if steps == 50 else 1000)
    ours_random, random = (torch.Generator().manual_seed(3) for _ in range(2))
    theirs, extra = scheduler_of_diffusers(name, schedule.num_steps, random)
    grid = time_grid(schedule.num_steps, steps)
    theirs.set_timesteps(num_inference_steps=steps)
    assert theirs.timesteps.tolist() == grid
    eps_at, start = exact_eps(schedule), torch.randn(1, 64, 2)

    def noise():
        return torch.randn(start.shape, generator=ours_random)

    ours = SAMPLERS[name](eps_at, schedule, start, noise, grid)
    x = start
    for t in theirs.timesteps:
        x = theirs.step(eps_at(x, int(t)), t, x, **extra).prev_sample
    assert torch.allclose(ours, x, atol=2e-3), (ours - x).abs().max()


def test_another_schedule_than_the_networks_own_is_refused():
    """v means another noise under another schedule."""
    model, speech = small_model(small_ours()), inputs()[2]
    with pytest.raises(ValueError, match="trained with another schedule"):
        list(generate_stream(model, NoiseSchedule(beta_end=0.05), speech, steps=2, chunk=4))


# ------------------------------------------------------------------------------------------------
# Guidance and warm-up frames
# ------------------------------------------------------------------------------------------------
def test_guidance_mixes_the_two_predictions():
    """eps = none + g (speech - none). With one step of DDIM the motion is linear in eps."""
    model, (x_t, t, speech) = small_model(small_ours()), inputs()
    t, drop = t[:1], torch.ones(2, dtype=torch.bool)
    none, spoken = model(x_t, t, speech, drop), model(x_t, t, speech)
    stand_in = guided(model, 2.5)
    mixed = stand_in.denoise(x_t, t, stand_in.encode_speech(speech))
    assert torch.allclose(mixed, none + 2.5 * (spoken - none), atol=1e-4)
    how = dict(sampler="ddim", steps=1)
    a, b, c = (
        generate_whole(model, model.schedule, speech, guidance=g, **how).double()
        for g in (0.0, 1.0, 2.5)
    )
    assert (c - (a + 2.5 * (b - a))).abs().max() < 1e-3 * a.abs().max()


def test_guidance_of_one_costs_no_second_pass():
    model = small_model()
    assert guided(model, 1) is model and guided(model, 1.2) is not model


def test_warm_up_frames_are_made_to_the_first_speech_and_thrown_away():
    model, speech = small_model(small_ours(warmup_frames=4)), inputs()[2]
    longer = with_warmup(speech, 4)
    assert torch.equal(longer[:, 4:], speech)
    assert all(torch.equal(longer[:, n], speech[:, 0]) for n in range(4))
    how = dict(sampler="dpmpp", steps=3, seed=2, guidance=1.2)
    motion = generate_by_recipe(model, model.schedule, speech, steps=3, seed=2)
    assert torch.equal(motion, generate_long(model, model.schedule, longer, **how)[:, 4:])


# ------------------------------------------------------------------------------------------------
# Noise
# ------------------------------------------------------------------------------------------------
def test_frame_noise_is_standard_normal_and_differs_between_frames_clips_and_draws():
    noise = FrameNoise(0, 2, 0, 2000, 10, "cpu")
    one, two = noise(), noise()
    for x in (one, two):
        assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02
    later = [one[0].roll(frames, 0).flatten() for frames in (1, 64)]
    flat = torch.stack([one[0].flatten(), one[1].flatten(), two[0].flatten(), *later])
    assert (torch.corrcoef(flat) - torch.eye(5)).abs().max() < 0.04


def test_the_noise_of_a_frame_is_the_same_whatever_else_is_drawn():
    one = FrameNoise(0, 2, 0, 2000, 10, "cpu")()
    assert torch.equal(FrameNoise(0, 2, 37, 300, 10, "cpu")(), one[:, 37:300])
    assert torch.equal(FrameNoise(np.int64(0), 2, 0, 2000, 10, "cpu")(), one)
    alone = FrameNoise(7, 1, 0, 100, 10, "cpu")()
    assert torch.equal(FrameNoise([3, 7], 2, 0, 100, 10, "cpu")()[1:], alone)
    with pytest.raises(ValueError, match="3 seeds for 2 clips"):
        FrameNoise([1, 2, 3], 2, 0, 10, 10, "cpu")


def test_a_seed_gives_one_motion_and_another_seed_another():
    model, speech = small_model(small_ours()), inputs(frames=20)[2]
    how = dict(sampler="dpmpp", steps=4)
    one, same, other = (
        generate_whole(model, model.schedule, speech, seed=seed, **how) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.allclose(one, other)


def test_a_clips_motion_does_not_depend_on_its_length():
    model, speech = small_model(small_ours()), inputs(frames=90)[2]
    how = dict(sampler="dpmpp", steps=4)
    long = generate_whole(model, model.schedule, speech, **how)
    short = generate_whole(model, model.schedule, speech[:, :72], **how)
    # The last segment hears ahead
    apart = (long[:, :68] - short[:, :68]).abs().max()
    assert apart < 1e-3 * long.abs().max()


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("segment", [1, 6])
def test_company_never_changes_a_motion(guidance, segment):
    """Clips of other lengths and seeds in the batch; of segments the last may not be full."""
    model = small_model(small_ours(segment=segment))
    speeches, seeds = [torch.randn(1, n, 5) for n in (31, 7, 70, 1)], [4, 9, 4, 2]
    padded = [torch.nn.functional.pad(s, (0, 0, 0, 70 - s.shape[1])) for s in speeches]
    how = dict(sampler="dpmpp", steps=5, guidance=guidance)
    together = generate_long(model, model.schedule, torch.cat(padded), seed=seeds, **how)
    for motion, speech, seed in zip(together, speeches, seeds):
        alone = generate_long(model, model.schedule, speech, seed=seed, **how)[0]
        assert (motion[: len(alone)] - alone).abs().max() < 1e-3 * alone.abs().max()


def test_the_papers_generate_is_ours_with_the_papers_sampler():
    model, speech = small_model(schedule=NoiseSchedule(20)), inputs()[2]
    noise = FrameNoise(3, 2, 0, 9, 6, "cpu")
    papers = generate(model, model.schedule, speech, noise=noise)
    ours = generate_whole(model, model.schedule, speech, "ddpm", 20, seed=3)
    assert torch.equal(papers, ours)


# ------------------------------------------------------------------------------------------------
# Chunks
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "sampler, guidance, memory",
    [("ddpm", 1.0, 0.9), ("ddim", 1.0, 0.0), ("dpmpp", 1.0, 0.0), ("dpmpp", 2.0, 0.9)],
)
def test_chunks_joined_are_the_whole(sampler, guidance, memory):
    """What the causal design buys: endless speech, with the motion of all frames at once."""
    model = small_model(small_ours(segment=1, memory=memory, momentum=memory / 2))
    speech = inputs(frames=31)[2]
    how = dict(sampler=sampler, steps=6, guidance=guidance, seed=3)
    whole = generate_whole(model, model.schedule, speech, **how)
    for chunk in (1, 7, 16, 31):
        parts = list(generate_stream(model, model.schedule, speech, chunk=chunk, **how))
        assert [part.shape[1] for part in parts] == [
            min(chunk, 31 - n) for n in range(0, 31, chunk)
        ]
        assert (torch.cat(parts, 1) - whole).abs().max() < 1e-3 * whole.abs().max()


@pytest.mark.parametrize("sampler, guidance", [("ddpm", 1.0), ("ddim", 2.0), ("dpmpp", 1.5)])
@pytest.mark.parametrize("frames", [3, 31, 32])
def test_chunks_of_whole_segments_joined_are_the_whole(sampler, guidance, frames):
    """Segments of the model's own 4 frames, or of 2 by request; the last may not be full."""
    model, speech = small_model(small_ours()), inputs(frames=frames)[2]
    how = dict(sampler=sampler, steps=6, guidance=guidance, seed=3)
    for segment, chunks in ((None, (4, 8, 32)), (2, (2, 6, 32))):
        whole = generate_long(model, model.schedule, speech, segment=segment, **how)
        assert whole.shape == (2, frames, 6)
        for chunk in chunks:
            more = dict(how, chunk=chunk, segment=segment)
            parts = list(generate_stream(model, model.schedule, speech, **more))
            assert [p.shape[1] for p in parts] == [
                min(chunk, frames - n) for n in range(0, frames, chunk)
            ]
            assert (torch.cat(parts, 1) - whole).abs().max() < 1e-3 * whole.abs().max()


def test_a_chunk_that_would_cut_a_segment_is_refused():
    model = small_model(small_ours())
    with pytest.raises(ValueError, match="6 frames does not hold whole segments of 4"):
        list(generate_stream(model, model.schedule, inputs()[2], chunk=6))


def test_speech_without_a_frame_is_refused():
    model = small_model(small_ours())
    for speech in (torch.zeros(1, 0, 5), iter([]), iter([torch.zeros(1, 0, 5)])):
        with pytest.raises(ValueError, match="no speech"):
            list(generate_stream(model, model.schedule, speech, steps=2, chunk=4))
    with pytest.raises(ValueError, match="no speech"):
        generate_long(model, model.schedule, torch.zeros(1, 0, 5), sampler="dpmpp", steps=2)


def test_a_model_without_a_window_refuses_what_would_not_fit(monkeypatch):
    model = small_model()
    how = dict(sampler="dpmpp", steps=2)
    assert generate_long(model, model.schedule, inputs()[2], **how).shape == (2, 9, 6)
    monkeypatch.setattr(stream, "LONGEST", 8)
    with pytest.raises(CheckpointError, match="8 frames at most; cut the recording"):
        generate_long(model, model.schedule, inputs()[2], **how)


def test_another_schedule_than_the_models_is_refused():
    model, other = small_model(small_ours()), NoiseSchedule(500)
    for make in (generate_long, generate_whole, lambda *a, **k: list(generate_stream(*a, **k))):
        with pytest.raises(ValueError, match="another schedule"):
            make(model, other, inputs()[2], sampler="dpmpp", steps=2)
