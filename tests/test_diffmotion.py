"""The paper's part, against other implementations and known answers."""
import math

import numpy as np
import pytest
import scipy.signal
import torch

import diffmotion as dm
from diffmotion import DiffMotion, DiffMotionConfig, NoiseSchedule


def small_model(seed=0, **settings):
    """A small network whose weights are all random: with the gates at zero, every test of it would pass."""
    torch.manual_seed(seed)
    model = DiffMotion(DiffMotionConfig(**{**dict(pose_dim=6, speech_dim=5, width=16, depth=2, heads=2, attention_window=8, kernel=3, speech_reach=2), **settings}))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


# ---- the schedule ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("beta_end", [2e-2, 5e-2, 8e-2])
def test_schedule_and_one_reverse_step_are_those_of_diffusers(beta_end):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=beta_end, beta_schedule="linear",
                                     clip_sample=False, variance_type="fixed_small")
    ours = NoiseSchedule(1000, 1e-4, beta_end)
    assert torch.allclose(ours.betas, theirs.betas, rtol=1e-5)
    # theirs is a float32 product of 1000 factors; its own rounding is about 1e-4
    assert torch.allclose(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=3e-4, atol=1e-12)
    x0, noise = torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    for t in (0, 1, 10, 500, 999):
        at = torch.full((3,), t)
        assert torch.allclose(ours.add_noise(x0, at, noise), theirs.add_noise(x0, noise, at), atol=1e-5)
        x_t, eps = torch.randn(3, 7, 4), torch.randn(3, 7, 4)
        step = theirs.step(eps, t, x_t, generator=torch.Generator().manual_seed(0))
        x0_predicted = ours.predict_x0(x_t, at, eps)
        assert torch.allclose(x0_predicted, step.pred_original_sample, rtol=1e-3, atol=1e-3)
        assert torch.allclose(ours.eps_from_v(theirs.add_noise(x0, noise, at), at, theirs.get_velocity(x0, noise, at)), noise, atol=1e-5)
        mean, variance = ours.posterior(x0_predicted, x_t, at)
        z = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
        expected = mean + (variance.sqrt() * z if t > 0 else 0)
        assert torch.allclose(expected, step.prev_sample, rtol=1e-3, atol=2e-4), t


def test_the_squared_error_of_v_is_that_of_the_noise_over_abar():
    """Which is what --loss-power means."""
    schedule, t = NoiseSchedule(), torch.tensor([1, 400, 999])
    x0, eps, wrong = torch.randn(3, 7, 4), torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    abar = schedule.alphas_cumprod[t, None, None]
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    error = eps - schedule.eps_from_v(schedule.add_noise(x0, t, eps), t, v + wrong)
    assert torch.allclose(error ** 2 / abar, wrong ** 2, rtol=1e-2, atol=1e-4)


def test_noise_variance_stays_one_at_every_step():
    # of so many the variance is 0.003 out, a deviation: with a tenth of them one run in a hundred failed
    schedule, noise = NoiseSchedule(), torch.randn(200_000)
    x0 = torch.randn(200_000)
    for t in (0, 100, 500, 999):
        assert schedule.add_noise(x0, torch.tensor(t), noise).var().item() == pytest.approx(1, abs=0.03)


def test_predicting_x0_undoes_adding_noise():
    schedule, x0, noise = NoiseSchedule(), torch.randn(4, 9, 3).double(), torch.randn(4, 9, 3).double()
    t = torch.tensor([0, 10, 300, 700])
    assert torch.allclose(schedule.predict_x0(schedule.add_noise(x0, t, noise), t, noise), x0, atol=1e-9)


def test_posterior_is_bayes_rule():
    """Mean and variance from equations 6 and 7 equal the product of the two Gaussians that they come from."""
    schedule, t = NoiseSchedule(100, 1e-4, 0.1), 40
    beta, abar, before = (float(v) for v in (schedule.betas[t], schedule.alphas_cumprod[t], schedule.alphas_cumprod[t - 1]))
    x0, x_t = 0.7, -0.4
    # q(x_{t-1} | x0) = N(sqrt(before) x0, 1 - before);  q(x_t | x_{t-1}) = N(sqrt(1 - beta) x_{t-1}, beta)
    precision = 1 / (1 - before) + (1 - beta) / beta
    mean = (math.sqrt(before) * x0 / (1 - before) + math.sqrt(1 - beta) * x_t / beta) / precision
    ours = schedule.posterior(torch.tensor([[x0]]), torch.tensor([[x_t]]), torch.tensor([t]))
    assert ours[0].item() == pytest.approx(mean, rel=1e-4) and ours[1].item() == pytest.approx(1 / precision, rel=1e-3)


def test_a_schedule_that_makes_no_sense_is_refused():
    for bad in (dict(beta_start=0.0), dict(beta_end=1.0), dict(beta_start=0.1, beta_end=0.01), dict(num_steps=0)):
        with pytest.raises(ValueError):
            NoiseSchedule(**bad)


# ---- the network -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("adaln", ["split", "joint"])
def test_an_untrained_model_knows_what_can_be_known_without_training(adaln):
    """For data of variance one and no other structure, x0 and eps are to x_t as to a sum: E[eps | x_t] = sqrt(1 - abar_t) x_t."""
    schedule = NoiseSchedule(500, beta_end=0.05)
    model = DiffMotion(DiffMotionConfig(6, 5, 16, 2, 2, adaln=adaln), schedule)
    x_t, t = torch.randn(2, 9, 6), torch.tensor([0, 499])
    expected = (1 - schedule.alphas_cumprod[t]).sqrt()[:, None, None] * x_t
    assert torch.allclose(model(x_t, t, torch.randn(2, 9, 5)), expected)


@pytest.mark.parametrize("adaln", ["split", "joint"])
def test_the_answer_is_v_or_the_noise_itself(adaln):
    """Two networks of the same weights: what one calls the noise, the other calls v."""
    answers = {}
    for answer in ("eps", "v"):
        torch.manual_seed(0)
        model = small_model(adaln=adaln, answer=answer)
        x_t, t, speech = torch.randn(2, 9, 6), torch.tensor([3, 900]), torch.randn(2, 9, 5)
        answers[answer] = model(x_t, t, speech)
    assert torch.allclose(answers["v"], model.schedule.eps_from_v(x_t, t, answers["eps"]), atol=1e-6) and not torch.allclose(*answers.values(), atol=0.1)
    with pytest.raises(ValueError, match="not 'x0'"):
        small_model(answer="x0")


def test_gates_start_shut_so_that_a_block_starts_as_the_identity():
    model = DiffMotion(DiffMotionConfig(6, 5, 16, 1, 2))
    x, block = torch.randn(2, 9, 16), model.blocks[0]
    speech, step = block.adaln.speech_half(torch.randn(2, 9, 16)), block.adaln.step_half(torch.randn(2, 16))
    assert torch.equal(block(x, speech, step, dm.turns(torch.arange(9), 8), None), x)


@pytest.mark.parametrize("adaln", ["split", "joint"])
@pytest.mark.parametrize("frames", [7, 30])      # within the attention window, and beyond it
def test_a_frame_does_not_change_when_later_frames_do(adaln, frames):
    model, t = small_model(adaln=adaln), torch.tensor([50])
    x, speech = torch.randn(1, frames, 6), torch.randn(1, frames, 5)
    changed = x.clone()
    changed[:, 5:] += 1
    before, after = model(x, t, speech), model(changed, t, speech)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert (before[:, 5:] - after[:, 5:]).abs().amax(dim=-1).min() > 1e-3        # and the others do: the test can fail


@pytest.mark.parametrize("frames", [7, 30])      # within the attention window, and beyond it
def test_a_segment_is_seen_to_its_end_and_no_farther(frames):
    """Segments of 3 frames: the first clip's begin at 0, 3, 6, the second's, whose first frame is number 2 of its segment, at 1, 4, 7."""
    model, t, phase = small_model(segment=3, kernel=1), torch.tensor([50, 50]), torch.tensor([0, 2])
    x, speech = torch.randn(2, frames, 6), torch.randn(2, frames, 5)
    changed = x.clone()
    changed[:, 5] += 1
    difference = (model(x, t, speech, phase=phase) - model(changed, t, speech, phase=phase)).abs().amax(dim=-1)      # [2, F]
    for clip, first in zip(difference, (3, 4)):
        assert clip[:first].max() < 1e-6 and clip[first:7].min() > 1e-5
    assert torch.equal(model(x, t, speech), model(x, t, speech, phase=torch.tensor([0, 0])))


def test_a_segment_longer_than_the_window_is_seen_whole():
    seen = dm.sliding_causal_mask(12, 12, 2, segment=6)
    assert torch.equal(seen, torch.tensor([[k // 6 == q // 6 or q - 1 == k for k in range(12)] for q in range(12)]))
    with pytest.raises(ValueError, match="a segment has 1 frame or more, not 0"):
        small_model(segment=0)


@pytest.mark.parametrize("segment, low, high", [(1, 0.69, 0.72), (40, 0.86, 0.89), (160, 0.95, 0.98)], ids=["the past only", "segments of 2 s", "all see all"])
def test_what_it_costs_not_to_look_ahead_is_closed_form(segment, low, high):
    """A Gaussian motion, of which the best denoiser is known: E[eps_n | what frame n sees] is linear in x_t. Our mask and our sampler with it, and no network.

    x is a wander of random periods around 3 s, what is diffused its news; how far x strays in 0.8 s, as a share of how far it should.
    """
    F, memory, schedule = 160, 0.9, NoiseSchedule()
    periods = 3 * np.random.default_rng(0).uniform(0.6, 1.8, 20_000)
    covariance = np.array([np.cos(2 * np.pi * n / 20 / periods).mean() for n in range(F)])[abs(np.subtract.outer(np.arange(F), np.arange(F)))]
    news = np.eye(F) - memory * np.eye(F, k=-1)      # a product with this is diffmotion.news
    of_news = news @ covariance @ news.T
    scale = 6 * np.sqrt(np.median(np.diag(of_news)))             # most of the news' deviation is of strokes
    seen = dm.sliding_causal_mask(F, F, 100, segment=segment).numpy()

    def predict_eps(x_t, t, k):
        abar = float(schedule.abar(t, x_t))
        noisy = abar * of_news / scale ** 2 + (1 - abar) * np.eye(F)         # the covariance of x_t
        weights = np.zeros((F, F))
        for n, row in enumerate(seen):
            weights[n, row] = np.linalg.solve(noisy[np.ix_(row, row)], np.sqrt(1 - abar) * (np.flatnonzero(row) == n))
        return torch.from_numpy(weights) @ x_t

    drawn = dm.sample_ddim(predict_eps, schedule, torch.eye(F, dtype=torch.float64), 60, None).numpy()   # what becomes of each unit of noise: a matrix
    drawn = np.linalg.solve(news, scale * drawn)
    strayed = [np.mean([c[n, n] + c[n - 16, n - 16] - 2 * c[n, n - 16] for n in range(60, 140)]) for c in (drawn @ drawn.T, covariance)]
    assert low < np.sqrt(strayed[0] / strayed[1]) < high


def test_speech_is_heard_as_far_ahead_as_promised_and_no_farther():
    model, t = small_model(), torch.tensor([50])
    x, speech = torch.randn(1, 12, 6), torch.randn(1, 12, 5)
    changed = speech.clone()
    changed[:, 8] += 1                               # speech_reach is 2: frames from 6 on may know
    difference = (model(x, t, speech) - model(x, t, changed)).abs().amax(dim=-1)[0]
    assert difference[:6].max() < 1e-6 and difference[6] > 1e-4


def test_a_frame_sees_just_its_attention_window():
    model = small_model(depth=1, kernel=1)
    x, speech, t = torch.randn(1, 20, 6), torch.randn(1, 20, 5), torch.tensor([5])
    changed = x.clone()
    changed[:, 3] += 1
    difference = (model(x, t, speech) - model(changed, t, speech)).abs().amax(dim=-1)[0]
    assert difference[3:11].min() > 1e-5 and difference[11:].max() < 1e-6        # window 8: frames 3 to 10


@pytest.mark.parametrize("channels, width, kernel", [(5, 16, 3), (768, 1280, 33)], ids=["small", "the paper's ear"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.bfloat16, 0.02)], ids=["float32", "bfloat16"])
def test_a_convolution_over_time_is_pytorchs_own_in_float64(channels, width, kernel, dtype, tolerance):
    """In float64, because PyTorch's own in bfloat16 is wrong on some processors at the paper's size."""
    ours, x = dm.OverTime(channels, width, kernel).to(dtype), torch.randn(2, 40 + kernel - 1, channels, dtype=dtype)
    theirs = torch.nn.functional.conv1d(x.double().transpose(1, 2), ours.weight.double(), ours.bias.double()).transpose(1, 2)
    assert torch.allclose(ours(x).double(), theirs, atol=tolerance)


def test_positions_are_relative():
    """The same frames later in the clip give the same answer: that is why no clip is too long."""
    model, t = small_model(depth=1), torch.tensor([5])
    x, speech = torch.randn(1, 10, 6), torch.randn(1, 10, 5)
    halves = model.speech_halves(model.encode_speech(speech)), model.step_halves(t)
    early, late = (model.denoise(x, t, *halves, model.turns(start, start + 10), None) for start in (0, 100_000))
    assert torch.allclose(early, late, atol=1e-4)


def test_rotary_positions_are_products_of_complex_numbers():
    """A pair is a complex number, and to turn it is to multiply it with exp(i angle); an hour away too, where angles in float32 would be 0.004 rad out."""
    x, position = torch.randn(2, 5, 3, 8), torch.tensor([0, 1, 399, 72_000, 72_001])         # [B, F, heads, D]
    frequency = 1e4 ** (-np.arange(4) / 4)
    pairs = (x[..., :4].numpy() + 1j * x[..., 4:].numpy()) * np.exp(1j * position.numpy()[:, None, None] * frequency)
    np.testing.assert_allclose(dm.rotate(x, dm.turns(position, 8)), np.concatenate([pairs.real, pairs.imag], axis=-1), atol=1e-5)


@pytest.mark.parametrize("frames, phase", [(6, None), (20, None), (20, [0, 3])], ids=["within the window", "beyond it", "segments that begin anywhere"])
def test_attention_by_hand_in_bfloat16_is_that_of_pytorch(frames, phase):
    """PyTorch's function in float64, with a mask written out here, from the same bfloat16 inputs; forwards and backwards."""
    block = small_model(width=32).blocks[0].bfloat16()
    block.out.weight.data = torch.eye(32, dtype=torch.bfloat16)
    block.out.bias.data.zero_()
    x = torch.randn(2, frames, 32).bfloat16().requires_grad_()
    turn = [z.bfloat16() for z in dm.turns(torch.arange(frames), 16)]
    mask = dm.sliding_causal_mask(frames, frames, 8) if frames > 8 else None
    if phase:
        mask = dm.sliding_causal_mask(frames, frames, 8, segment=4, phase=torch.tensor(phase))
    ours = block.attention(x, turn, mask, None)
    allowed = torch.tensor([[[[n - 8 < k <= n or phase is not None and (k + first) // 4 == (n + first) // 4 for k in range(frames)] for n in range(frames)]] for first in phase or [0, 0]])
    q, k, v = block.qkv(x).view(2, frames, 3, 2, 16).permute(2, 0, 1, 3, 4)  # [B, F, heads, D] each
    q, k, v = (z.transpose(1, 2).double() for z in (dm.rotate(q, turn), dm.rotate(k, turn), v))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    theirs = theirs.transpose(1, 2).reshape(2, frames, 32)
    assert torch.allclose(ours.double(), theirs, atol=0.03 * theirs.detach().abs().max().item())
    upstream = torch.randn(2, frames, 32)
    gradients = [torch.autograd.grad((y * upstream).sum(), x, retain_graph=True)[0].double() for y in (ours, theirs)]
    assert (gradients[0] - gradients[1]).norm() < 0.03 * gradients[1].norm()


def test_split_and_joint_adaln_are_what_their_equations_say():
    torch.manual_seed(0)
    speech, step, silu = torch.randn(2, 5, 8), torch.randn(2, 8), torch.nn.functional.silu
    for form in ("split", "joint"):
        layer = dm.AdaLN(8, 3, form)
        for p in layer.parameters():
            torch.nn.init.normal_(p)
        W, b = layer.speech.weight, layer.speech.bias
        if form == "split":
            expected = silu(speech) @ W.T + b + (silu(step) @ layer.step.weight.T)[:, None]
        else:
            expected = silu(speech + step[:, None]) @ W.T + b
        assert torch.allclose(torch.cat(layer(layer.speech_half(speech), layer.step_half(step)), -1), expected, atol=1e-5)


def test_withheld_speech_leaves_no_trace():
    model, x, t = small_model(), torch.randn(2, 9, 6), torch.tensor([5, 5])
    hidden = torch.tensor([True, False])
    one, other = (model(x, t, torch.randn(2, 9, 5), hidden) for _ in range(2))
    assert torch.equal(one[0], other[0]) and not torch.allclose(one[1], other[1])


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_what_is_new_in_each_frame_is_enough_to_know_the_poses(momentum):
    model = small_model(memory=0.9, momentum=momentum)
    model.innovation_scale.copy_(torch.rand(6) + 0.1)
    poses = torch.randn(2, 40, 6)
    news = model.innovations(poses)
    assert torch.allclose(model.poses(news), poses, atol=1e-4)
    parts, before = [], None
    for part in news.split([1, 1, 15, 23], dim=1):
        parts.append(model.poses(part, before))
        before = torch.cat([parts[0][:, :1], *parts], dim=1)[:, -2:]
    assert torch.allclose(torch.cat(parts, 1), poses, atol=1e-4), "and a stream can go on from its last poses"
    held = model.innovations(torch.randn(2, 1, 6).expand(-1, 40, -1))[:, 1:]
    assert torch.allclose(held, held[:, :1].expand_as(held), atol=1e-4), "a held pose is expected from the first frame on"


@pytest.mark.parametrize("momentum, coefficients", [(0.0, [0.9]), (0.7, [1.6, -0.63])])
def test_the_news_of_a_process_that_remembers_so_are_the_noise_that_drives_it(momentum, coefficients):
    model, noise = small_model(memory=0.9, momentum=momentum), torch.randn(1, 200, 6)
    poses = torch.from_numpy(scipy.signal.lfilter([1.0], [1.0, *(-c for c in coefficients)], noise.numpy(), axis=1)).float()
    assert torch.allclose(model.innovations(poses)[:, 2:], noise[:, 2:], atol=1e-4)


# ---- the samplers ------------------------------------------------------------------------------------------------
MEANS, SPREAD = torch.tensor([[-1.5, 0.5], [1.0, -1.0], [1.2, 1.4]]), 0.25


def exact_eps(schedule):
    """The best possible noise prediction for three Gaussian blobs: eps = -sqrt(1 - abar) * gradient of log p_t, in closed form."""
    def predict(x, t, k):
        abar = schedule.alphas_cumprod[t]
        variance = abar * SPREAD ** 2 + 1 - abar
        difference = abar.sqrt() * MEANS - x[..., None, :]                   # [..., 3 blobs, 2]
        weight = torch.softmax(-difference.square().sum(-1) / (2 * variance), dim=-1)[..., None]
        return -(1 - abar).sqrt() * (weight * difference).sum(-2) / variance
    return predict


@pytest.mark.parametrize("sampler,steps", [("ddpm", 1000), ("ddim", 100), ("dpmpp", 60)])
def test_each_sampler_recovers_a_two_dimensional_distribution(sampler, steps):
    schedule, random = NoiseSchedule(), torch.Generator().manual_seed(0)
    n = 6000
    noise = lambda: torch.randn(1, n, 2, generator=random)
    passes = []

    def predict(x, t, k):
        passes.append(t)
        return exact_eps(schedule)(x, t, k)

    x = dm.SAMPLERS[sampler](predict, schedule, noise(), steps, noise)[0]
    assert len(passes) == steps, "steps counts the passes of the network"
    nearest = torch.cdist(x, MEANS).argmin(dim=1)
    for blob in range(3):
        own = x[nearest == blob]
        assert len(own) / n == pytest.approx(1 / 3, abs=0.03)
        assert torch.allclose(own.mean(0), MEANS[blob], atol=0.05)
        assert own.std(0).mean().item() == pytest.approx(SPREAD, rel=0.15)


@pytest.mark.parametrize("name,steps,power", [("ddim", 10, 1), ("dpmpp", 10, 1), ("dpmpp", 1, 1), ("dpmpp", 2, 1), ("ddpm", 50, 1), ("ddpm", 10, 1), ("dpmpp", 10, 1.67), ("ddpm", 10, 1.67)])
def test_samplers_walk_the_path_that_diffusers_walks(name, steps, power):
    diffusers = pytest.importorskip("diffusers")
    schedule = NoiseSchedule(50 if steps == 50 else 1000)    # DDPM on a full chain of 50 steps too, as Ho et al. have it
    common = dict(num_train_timesteps=schedule.num_steps, beta_start=1e-4, beta_end=2e-2, beta_schedule="linear", timestep_spacing="trailing")
    eps_at, start = exact_eps(schedule), torch.randn(1, 64, 2)
    ours_random, their_random = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)       # DDPM's noise comes from two equal generators
    if name == "ddim":
        theirs, extra = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True), dict(eta=0.0)
    elif name == "dpmpp":
        theirs, extra = diffusers.DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero", lower_order_final=True), {}
    else:
        theirs, extra = diffusers.DDPMScheduler(**common, clip_sample=False), dict(generator=their_random)
    if power == 1:
        theirs.set_timesteps(steps)
    else:                                            # a grid of one's own (which its DDIM does not take)
        theirs.set_timesteps(timesteps=dm.time_grid(schedule.num_steps, steps, power))
    assert theirs.timesteps.tolist() == dm.time_grid(schedule.num_steps, steps, power)
    ours = dm.SAMPLERS[name](eps_at, schedule, start, steps, lambda: torch.randn(start.shape, generator=ours_random), power=power)
    x = start
    for t in theirs.timesteps:
        x = theirs.step(eps_at(x, int(t), 0), t, x, **extra).prev_sample
    assert torch.allclose(ours, x, atol=2e-3), (ours - x).abs().max()


@pytest.mark.parametrize("steps", [1, 2, 7, 700, 999, 1000])
def test_the_step_grid_falls_evenly_from_the_noisiest(steps):
    """No step twice; no gap, the last jump to the data included, more than one longer or shorter than the others."""
    grid = dm.time_grid(1000, steps)
    gaps = [t - after for t, after in zip(grid, grid[1:] + [-1])]
    assert len(grid) == steps and grid[0] == 999 and min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("power", [0.3, 0.8, 1.67, 3])
@pytest.mark.parametrize("steps", [1, 2, 25, 700, 1000])
def test_a_bent_step_grid_takes_no_step_twice(steps, power):
    grid = dm.time_grid(1000, steps, power)
    assert grid[0] == 999 and grid[-1] >= 0 and all(a > b for a, b in zip(grid, grid[1:])) and len(grid) == steps
    if steps == 25:                                  # more of them at weak noise, the higher the power
        assert sum(t < 500 for t in grid) == {0.3: 2, 0.8: 10, 1.67: 16, 3: 19}[power]
        assert grid[20] == round(1000 * 0.2 ** power) - 1
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive number"):
            dm.time_grid(1000, steps, bad)


def test_another_schedule_than_the_networks_own_is_refused():
    """The answer v means another noise under another schedule."""
    with pytest.raises(ValueError, match="trained with"):
        dm.generate(small_model(), NoiseSchedule(beta_end=0.05), torch.randn(1, 5, 5), steps=2)


def test_speech_without_a_frame_is_refused():
    for speech in (torch.zeros(1, 0, 5), iter([]), iter([torch.zeros(1, 0, 5)])):
        with pytest.raises(ValueError, match="no speech"):
            list(dm.generate_stream(small_model(), NoiseSchedule(), speech, steps=2))


def test_a_number_of_steps_that_makes_no_sense_is_refused():
    for steps in (0, -1, 1001):
        with pytest.raises(ValueError, match="steps"):
            dm.generate(small_model(), NoiseSchedule(), torch.randn(1, 5, 5), steps=steps)


# ---- generation --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("adaln", ["split", "joint"])
@pytest.mark.parametrize("sampler,guidance,memory", [("ddpm", 1.0, 0.9), ("ddim", 1.0, 0.0), ("dpmpp", 1.0, 0.0), ("dpmpp", 2.0, 0.9)])
def test_chunks_joined_are_the_whole(sampler, guidance, memory, adaln):
    """The property that the causal design buys: endless speech, with the result of all frames at once."""
    model, schedule, speech = small_model(adaln=adaln, memory=memory, momentum=memory / 2), NoiseSchedule(), torch.randn(2, 31, 5)
    settings = dict(sampler=sampler, steps=6, guidance=guidance, seed=3)
    whole = dm.generate(model, schedule, speech, **settings)
    for chunk in (1, 7, 16, 31):
        pieces = list(dm.generate_stream(model, schedule, speech, chunk=chunk, **settings))
        assert [p.shape[1] for p in pieces] == [min(chunk, 31 - n) for n in range(0, 31, chunk)]
        assert (torch.cat(pieces, 1) - whole).abs().max() < 1e-3 * whole.abs().max()


@pytest.mark.parametrize("sampler,guidance", [("ddpm", 1.0), ("ddim", 2.0), ("dpmpp", 1.5)])
@pytest.mark.parametrize("frames", [3, 31, 32])
def test_chunks_of_whole_segments_joined_are_the_whole(sampler, guidance, frames):
    """Frames that see ahead, but no farther than to the end of their segment: of 4 frames, or by request of 2, of which the last is not full."""
    model, schedule, speech = small_model(segment=4, memory=0.9, momentum=0.5), NoiseSchedule(), torch.randn(2, frames, 5)
    settings = dict(sampler=sampler, steps=6, guidance=guidance, seed=3, power=1.67)
    for segment, chunks in ((None, (4, 8, 32)), (2, (2, 6, 32))):
        whole = dm.generate(model, schedule, speech, segment=segment, **settings)
        assert whole.shape == (2, frames, 6)
        for chunk in chunks:
            pieces = list(dm.generate_stream(model, schedule, speech, chunk=chunk, segment=segment, **settings))
            assert [p.shape[1] for p in pieces] == [min(chunk, frames - n) for n in range(0, frames, chunk)]
            assert (torch.cat(pieces, 1) - whole).abs().max() < 1e-3 * whole.abs().max()
    with pytest.raises(ValueError, match="6 frames does not hold whole segments of 4"):
        list(dm.generate_stream(model, schedule, speech, chunk=6))


def test_a_seed_gives_one_motion_and_another_seed_another():
    model, speech = small_model(), torch.randn(1, 20, 5)
    one, same, other = (dm.generate(model, NoiseSchedule(), speech, steps=4, seed=s) for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.allclose(one, other)


def test_a_clips_noise_does_not_depend_on_its_length():
    model, speech = small_model(), torch.randn(1, 90, 5)
    long = dm.generate(model, NoiseSchedule(), speech, steps=4)
    short = dm.generate(model, NoiseSchedule(), speech[:, :70], steps=4)
    assert torch.allclose(long[:, :68], short[:, :68], atol=1e-3 * long.abs().max().item())    # the last two hear ahead


def test_guidance_mixes_the_two_predictions():
    """With one DDIM step the answer is linear in eps, so guided = none + g (speech - none) holds for the answers too."""
    model, speech = small_model(), torch.randn(1, 9, 5)
    a, b, c = (dm.generate(model, NoiseSchedule(), speech, sampler="ddim", steps=1, guidance=g).double() for g in (0.0, 1.0, 2.5))
    assert torch.allclose(c, a + 2.5 * (b - a), rtol=1e-3, atol=1e-3 * a.abs().max().item())


def test_frame_noise_is_standard_normal_and_differs_between_frames_clips_and_draws():
    noise = dm.FrameNoise(0, 2, 0, 2000, 10, "cpu")
    one, two = noise(), noise()
    for x in (one, two):
        assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02
    flat = torch.stack([one[0].flatten(), one[1].flatten(), two[0].flatten(), one[0].roll(1, 0).flatten(), one[0].roll(64, 0).flatten()])
    assert (torch.corrcoef(flat) - torch.eye(5)).abs().max() < 0.04
    assert torch.equal(dm.FrameNoise(0, 2, 37, 300, 10, "cpu")(), one[:, 37:300])
    assert torch.equal(dm.FrameNoise(np.int64(0), 2, 0, 2000, 10, "cpu")(), one)
    with pytest.raises(ValueError, match="3 seeds for 2 clips"):
        dm.FrameNoise([1, 2, 3], 2, 0, 10, 10, "cpu")
