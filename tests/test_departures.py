"""Where we leave the paper on purpose: that each departure does what its section says.

The sections are those of beyond/departures.py. by_hand.py has our network and its training a second
time, written from the equations.
"""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from by_hand import AdamWByHand, MuonByHand, innovations, our_network, train_by_hand
from small_models import NumbersForTakes, inputs, small_model, small_ours, train_small

import diffmotion
import train
from beyond.departures import (
    ContextEncoder,
    Innovations,
    LayerMix,
    MarkedGestureEncoder,
    SplitAdaLN,
    balanced_loss,
    mask_for_training,
    news,
    predict_v,
    segment_mask,
)
from beyond.samplers import sample_ddim, time_grid
from diffmotion import DiffMotion, NoiseSchedule


@pytest.fixture(autouse=True)
def the_same_numbers_each_time():
    torch.manual_seed(0)


def same(ours, theirs, within=1e-5):
    """Equal to `within` of the largest number."""
    return (ours - theirs).abs().max() <= within * theirs.abs().max()


# ------------------------------------------------------------------------------------------------
# All of them at once
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("frames", [7, 21], ids=["within the window", "beyond it"])
@pytest.mark.parametrize("phases", [None, [3, 1]], ids=["from 0", "segments that begin anywhere"])
def test_our_network_is_what_its_equations_say(frames, phases):
    """Split adaLN, context and voice, marked frames, segments, v."""
    model, (x_t, t, speech) = small_model(small_ours()), inputs(frames=frames)
    drop, mask = torch.tensor([False, True]), None
    if phases:
        phases = torch.tensor(phases)
        mask = model.recipe.mask(frames, phases=phases)
    theirs = our_network(model.state_dict(), 2, 2, x_t, t, speech, drop, phases)
    assert same(model(x_t, t, speech, drop, mask), theirs)


def test_20_steps_of_our_training_are_those_of_the_equations(tmp_path, monkeypatch):
    """Innovations, v, the loss' weights, Muon, cosine, averaged weights and phases of segments."""
    first, losses, weights = train_small(small_ours(), tmp_path, monkeypatch)
    corpus, scale = NumbersForTakes(), first.pop("transform.scale")
    ours = [n for n in first if n.startswith(("speech_encoder", "blocks")) and "weight" in n]
    matrices = {name: first[name] for name in ours}
    rest = {name: x for name, x in first.items() if name not in ours}
    expected, by_hand = train_by_hand(
        first, lambda w, *given, **more: our_network(w, 2, 2, *given, **more),
        batch=lambda random: corpus.batch(4, random), steps=20, seed=3, lr=0.01,
        rate=lambda n: (n + 1) / 5 if n < 5 else (1 + math.cos(math.pi * (n - 5) / 15)) / 2,
        x0_of=lambda pose: innovations(pose, scale), weight_of=lambda abar: abar**-0.5,
        groups=[(MuonByHand(matrices, 0.01), 2.0), (AdamWByHand(rest, 0.01), 1.0)],
        ema=0.998, phases=4,
    )  # fmt: skip
    assert losses == pytest.approx(expected, rel=1e-4)
    for name, weight in by_hand.items():
        assert (weight - weights[name]).abs().max() < 1e-4, name


# ------------------------------------------------------------------------------------------------
# split
# ------------------------------------------------------------------------------------------------
def test_split_adaln_is_a_sum_of_two_halves():
    torch.manual_seed(0)
    layer, silu = SplitAdaLN(8, 3), torch.nn.functional.silu
    assert all(p.abs().max() == 0 for p in layer.parameters()), "all gates begin shut"
    for p in layer.parameters():
        torch.nn.init.normal_(p)
    condition, step = torch.randn(2, 5, 8), torch.randn(2, 8)
    half = silu(condition) @ layer.linear.weight.T + layer.linear.bias
    expected = half + (silu(step) @ layer.step.weight.T)[:, None]
    assert same(torch.cat(layer(condition, step), dim=-1), expected)


# ------------------------------------------------------------------------------------------------
# context and voice
# ------------------------------------------------------------------------------------------------
def test_speech_is_heard_as_far_as_promised_and_no_farther():
    encoder, speech = ContextEncoder(5, 16, reach=2, voice=False), torch.randn(1, 12, 5)
    changed = speech.clone()
    changed[:, 6] += 1
    differs = (encoder(speech) - encoder(changed)).abs().amax(dim=(0, 2))
    assert (differs > 1e-6).tolist() == [4 <= n <= 8 for n in range(12)]


def test_the_motion_knows_speech_ahead_by_that_and_no_more():
    model, (x_t, t, speech) = small_model(small_ours(segment=1)), inputs(frames=12)
    changed = speech.clone()
    changed[:, 8] += 1  # reach is 2: frames from 6 on may know
    differs = (model(x_t, t, speech) - model(x_t, t, changed)).abs().amax(dim=(0, 2))
    assert differs[:6].max() < 1e-6 and differs[6] > 1e-4


@pytest.mark.parametrize("window", [4, None])
def test_the_voice_is_a_weighted_mean_of_what_was_heard_last(window):
    encoder, traits = ContextEncoder(5, 3, window=window), torch.randn(1, 20, 4)
    weight = traits[..., :1].sigmoid() + 1e-3
    for n, ours in enumerate(encoder.average(traits)[0]):
        last = slice(0 if window is None else max(0, n - window + 1), n + 1)
        total = (weight[0, last] * traits[0, last, 1:]).sum(dim=0)
        assert torch.allclose(ours.float(), total / weight[0, last].sum(), atol=1e-6)


def test_silence_can_tell_nothing_about_the_voice():
    """Frames whose weight is small hardly count, but all of them together never divide by 0."""
    encoder = ContextEncoder(5, 1, window=None)
    traits = torch.tensor([[[10.0, 3.0], [-50.0, 100.0]], [[-50.0, 1.0], [-50.0, 3.0]]])
    average = encoder.average(traits)[:, -1, 0]
    assert torch.allclose(average.float(), torch.tensor([3.1, 2.0]), atol=0.01)


# ------------------------------------------------------------------------------------------------
# start
# ------------------------------------------------------------------------------------------------
def test_the_start_of_a_clip_differs_from_average_poses():
    plain, marked = diffmotion.GestureEncoder(6, 16, 3), MarkedGestureEncoder(6, 16, 3)
    average = torch.zeros(1, 9, 6)
    assert torch.equal(plain(average)[:, 0], plain(average)[:, 5])
    answers = marked(average)
    assert not torch.allclose(answers[:, 0], answers[:, 1], atol=1e-3)
    assert not torch.allclose(answers[:, 1], answers[:, 2], atol=1e-3)
    assert torch.equal(answers[:, 2], answers[:, 5])


# ------------------------------------------------------------------------------------------------
# window and segments
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("frames", [7, 30])
def test_without_segments_a_frame_sees_no_later_frame(frames):
    model, (x_t, t, speech) = small_model(small_ours(segment=1)), inputs(frames=frames)
    changed = x_t.clone()
    changed[:, 5:] += 1
    before, after = model(x_t, t, speech), model(changed, t, speech)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert (before[:, 5:] - after[:, 5:]).abs().amax(dim=-1).min() > 1e-3


def test_a_frame_sees_just_its_window():
    model = small_model(small_ours(segment=1), depth=1, kernel=1)
    x_t, t, speech = inputs(frames=20)
    changed = x_t.clone()
    changed[:, 3] += 1
    differs = (model(x_t, t, speech) - model(changed, t, speech)).abs().amax(dim=(0, 2))
    assert (differs > 1e-6).tolist() == [3 <= n <= 10 for n in range(20)]  # window 8


@pytest.mark.parametrize("frames", [7, 30], ids=["within the window", "beyond it"])
def test_a_segment_is_seen_to_its_end_and_no_farther(frames):
    """Segments of 3 frames. The first clip's begin at 0, 3, 6, the second's at 1, 4, 7."""
    model, (x_t, t, speech) = small_model(small_ours(segment=3), kernel=1), inputs(frames=frames)
    changed = x_t.clone()
    changed[:, 5] += 1
    mask = model.recipe.mask(frames, phases=torch.tensor([0, 2]))
    one, other = (model(x, t, speech, mask=mask) for x in (x_t, changed))
    for differs, first in zip((one - other).abs().amax(dim=-1), (3, 4)):
        assert differs[:first].max() < 1e-6 and differs[first:7].min() > 1e-5
    from_0 = model.recipe.mask(frames, phases=torch.tensor([0, 0]))
    assert torch.equal(model(x_t, t, speech), model(x_t, t, speech, mask=from_0))


def test_a_segment_longer_than_the_window_is_seen_whole():
    expected = [[k // 6 == q // 6 or q - 1 == k for k in range(12)] for q in range(12)]
    assert torch.equal(segment_mask(12, window=2, segment=6), torch.tensor(expected))


def test_a_chunks_mask_is_part_of_the_whole_mask():
    """Frames 8 to 15, of which 5 frames before are still there to be seen."""
    whole = segment_mask(16, window=6, segment=4)
    assert torch.equal(segment_mask(8, window=6, segment=4, past=5), whole[8:, 3:])


def test_in_training_segments_begin_anywhere():
    random = torch.Generator().manual_seed(0)
    recipe = small_ours(segment=4)
    masks = mask_for_training(recipe.mask, 100, 9, random, "cpu")  # [B, 1, F, F]
    kinds = [recipe.mask(9, phases=torch.tensor([phase]))[0, 0] for phase in range(4)]
    counts = [sum(torch.equal(mask[0], kind) for mask in masks) for kind in kinds]
    assert sum(counts) == 100 and min(counts) > 10
    for mask in (small_ours(segment=1).mask, diffmotion.causal_mask):
        assert mask_for_training(mask, 3, 9, random, "cpu") is None


@pytest.mark.parametrize(
    "segment, low, high",
    [(1, 0.69, 0.72), (40, 0.86, 0.89), (160, 0.95, 0.98)],
    ids=["the past only", "segments of 2 s", "all see all"],
)
def test_what_it_costs_not_to_look_ahead_is_known_in_closed_form(segment, low, high):
    """How far a hand that wanders strays within 0.8 s, as a share of how far it should.

    The motion is Gaussian: a wander of random periods around 3 s; what is diffused is its news. So
    the best denoiser is known: E[eps_n | what frame n sees] is linear in x_t. Our mask and our
    sampler are used with it, and no network.
    """
    F, memory, schedule = 160, 0.9, NoiseSchedule()
    periods = 3 * np.random.default_rng(0).uniform(0.6, 1.8, 20_000)
    lags = np.array([np.cos(2 * np.pi * n / 20 / periods).mean() for n in range(F)])
    wander = lags[abs(np.subtract.outer(np.arange(F), np.arange(F)))]  # [F, F] covariance
    to_news = np.eye(F) - memory * np.eye(F, k=-1)
    of_news = to_news @ wander @ to_news.T
    scale = 6 * np.sqrt(np.median(np.diag(of_news)))  # most of the news' deviation is of strokes
    seen = segment_mask(F, window=100, segment=segment).numpy()

    def predict_eps(x_t, t):
        abar = schedule.abar(t, x_t)
        noisy = abar * of_news / scale**2 + (1 - abar) * np.eye(F)  # the covariance of x_t
        weights = np.zeros((F, F))
        for row in np.unique(seen, axis=0):  # frames that see the same are solved together
            who = np.flatnonzero((seen == row).all(axis=1))
            own = np.sqrt(1 - abar) * (np.flatnonzero(row)[:, None] == who)
            weights[np.ix_(who, row)] = np.linalg.solve(noisy[np.ix_(row, row)], own).T
        return torch.from_numpy(weights) @ x_t

    # What becomes of each unit of noise: a matrix
    noise = torch.eye(F, dtype=torch.float64)
    drawn = sample_ddim(predict_eps, schedule, noise, None, time_grid(1000, 60)).numpy()
    drawn = np.linalg.solve(to_news, scale * drawn)

    def strayed(c):
        return np.mean([c[n, n] + c[n - 16, n - 16] - 2 * c[n, n - 16] for n in range(60, 140)])

    assert low < np.sqrt(strayed(drawn @ drawn.T) / strayed(wander)) < high


# ------------------------------------------------------------------------------------------------
# v
# ------------------------------------------------------------------------------------------------
def test_v_is_that_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(beta_start=1e-4, beta_end=2e-2, beta_schedule="linear")
    schedule, t = NoiseSchedule(), torch.tensor([1, 400, 999])
    x0, eps = torch.randn(2, 3, 7, 4)
    v, x_t = theirs.get_velocity(x0, eps, t), theirs.add_noise(x0, eps, t)
    assert torch.allclose(predict_v(schedule, x_t, t, v), eps, atol=1e-5)


def test_two_networks_of_the_same_weights_differ_in_what_they_call_their_output():
    x_t, t, speech = inputs()
    of_eps = small_model(small_ours(prediction=diffmotion.predict_noise))(x_t, t, speech)
    model = small_model(small_ours())
    of_v = model(x_t, t, speech)
    assert same(of_v, predict_v(model.schedule, x_t, t, of_eps)) and not same(of_v, of_eps, 0.01)


def test_an_untrained_network_knows_what_can_be_known_without_training():
    """For data of variance one with no other structure E[eps | x_t] = sqrt(1 - abar_t) x_t."""
    schedule, (x_t, t, speech) = NoiseSchedule(500, beta_end=0.05), inputs()
    model = DiffMotion(6, 5, 16, 2, 2, recipe=small_ours(), schedule=schedule)
    t = torch.tensor([0, 499])
    expected = (1 - schedule.alphas_cumprod[t]).sqrt()[:, None, None] * x_t
    assert torch.allclose(model(x_t, t, speech), expected)


def test_the_squared_error_of_v_is_that_of_the_noise_over_abar():
    """So power 1 of the loss is v's own loss, power 0 the paper's."""
    schedule, t = NoiseSchedule(), torch.tensor([1, 400, 999])
    x0, eps, wrong = torch.randn(3, 3, 7, 4)
    abar = schedule.alphas_cumprod[t, None, None]
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    error = (eps - predict_v(schedule, schedule.add_noise(x0, t, eps), t, v + wrong)) ** 2
    assert torch.allclose(balanced_loss(schedule, t, error, 1), wrong**2, rtol=1e-2, atol=1e-4)
    assert torch.equal(balanced_loss(schedule, t, error, 0), error)
    assert torch.allclose(balanced_loss(schedule, t, error), error / abar.sqrt())


@pytest.mark.parametrize(
    "more",
    [
        dict(prediction=diffmotion.predict_noise, loss=diffmotion.equal_weight),
        dict(loss=lambda schedule, t, error: balanced_loss(schedule, t, error, 1)),
    ],
    ids=["eps, the paper's loss", "v, its own loss"],
)
def test_the_loss_of_answering_nothing_is_the_variance_of_what_is_asked(monkeypatch, more):
    """A network that has not learnt puts out 0, so its loss is 1; for other pairs it is not."""
    monkeypatch.setattr(train, "has_bf16", lambda device: False)
    recipe = small_ours(transform=diffmotion.Identity, **more)
    model, pose = DiffMotion(6, 5, 16, 1, 2, recipe=recipe), torch.randn(500, 9, 6)
    drawn = train.draw(model, pose, torch.Generator().manual_seed(0))
    loss = train.training_loss(model, pose, torch.randn(500, 9, 5), *drawn)
    assert loss.item() == pytest.approx(1, abs=0.03)


# ------------------------------------------------------------------------------------------------
# innovations and momentum
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_what_is_new_in_each_frame_is_enough_to_know_the_poses(momentum):
    transform = Innovations(6, momentum=momentum)
    transform.scale.uniform_(0.1, 1.1)
    poses = torch.randn(2, 40, 6)
    x0 = transform(poses)
    assert same(x0, innovations(poses, transform.scale, 0.9, momentum))
    assert torch.allclose(transform.inverse(x0), poses, atol=1e-4)
    parts, before = [], None
    for part in x0.split([1, 1, 15, 23], dim=1):
        parts.append(transform.inverse(part, before))
        before = torch.cat([parts[0][:, :1], *parts], dim=1)[:, -2:]
    assert torch.allclose(torch.cat(parts, 1), poses, atol=1e-4), "a stream goes on from its last"


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_held_pose_is_expected_from_the_first_frame_on(momentum):
    held = torch.randn(2, 1, 6).expand(-1, 40, -1)
    x0 = Innovations(6, momentum=momentum)(held)[:, 1:]
    assert torch.allclose(x0, x0[:, :1].expand_as(x0), atol=1e-4)


@pytest.mark.parametrize("momentum, coefficients", [(0.0, [0.9]), (0.7, [1.6, -0.63])])
def test_the_news_of_a_process_that_remembers_so_are_the_noise_that_drives_it(
    momentum, coefficients
):
    noise = torch.randn(1, 200, 6)
    recursion = [1.0, *(-c for c in coefficients)]
    poses = torch.from_numpy(scipy.signal.lfilter([1.0], recursion, noise.numpy(), axis=1)).float()
    x0 = Innovations(6, momentum=momentum)(poses)
    assert torch.allclose(x0[:, 2:], noise[:, 2:], atol=1e-4)


class Codec:
    """swap, sign: the mirror image of poses of 6 features."""

    swap, sign = np.array([1, 0, 2, 3, 5, 4]), np.array([1, 1, -1, 1, -1, -1], dtype=np.float32)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_scale_is_the_deviation_of_the_news_in_training(mirrored):
    """Over the takes, and their mirror images where these are learnt from too."""
    random = torch.Generator().manual_seed(0)
    lengths, spread = (50, 80), torch.tensor([0.1, 1.0, 2.0, 0.0, 3.0, 4.0])
    takes = [torch.randn(n, 6, generator=random).cumsum(0) * spread for n in lengths]
    all_takes, codec, transform = list(takes), Codec(), Innovations(6)
    if mirrored:
        all_takes += [take[:, codec.swap] * torch.from_numpy(codec.sign) for take in takes]
    else:
        codec.swap = None
    transform.fit(takes, codec)
    new = torch.cat([news(take, 0.9, 0.5)[1:] for take in all_takes])
    assert torch.allclose(transform.scale, new.std(dim=0).clamp(min=1e-4), rtol=0.01)
    assert transform.scale[3] == pytest.approx(1e-4), "a feature that never moves divides nothing"


# ------------------------------------------------------------------------------------------------
# The option: a weighted sum of WavLM's layers
# ------------------------------------------------------------------------------------------------
def test_layers_are_weighted_by_a_softmax_that_is_trained_along():
    torch.manual_seed(0)
    mix, layers = LayerMix(3 * 7, 16, layers=3), torch.randn(2, 30, 3, 7)
    assert torch.allclose(mix.mix(layers.flatten(2)), layers.mean(dim=2), atol=1e-6)
    mix.shares.data = torch.log(torch.tensor([0.5, 0.2, 0.3]))
    wanted = 0.5 * layers[:, :, 0] + 0.2 * layers[:, :, 1] + 0.3 * layers[:, :, 2]
    assert torch.allclose(mix.mix(layers.flatten(2)), wanted, atol=1e-6)
    assert torch.allclose(mix(layers.flatten(2)), mix.encoder(wanted), atol=1e-5)
    assert torch.equal(mix.mix(wanted), wanted), "what was mixed before stays"
    mix(layers.flatten(2)).square().sum().backward()
    assert mix.shares.grad.abs().min() > 0
