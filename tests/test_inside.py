"""What looks inside the network sees what is there: schedule, dissolve, attention, adaLN."""

import inspect
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import DDPMScheduler
from PIL import Image

import diffmotion
import sample
import wavlm_loader
from beyond import departures, samplers
from beyond.departures import ContextEncoder, segment_mask
from beyond.fast import for_sampling
from beyond.recipes import OURS
from beyond.stream import generate_long
from body import bvh
from body.pose import PoseCodec
from diffmotion import PAPER, AdaLN, DiffMotion, NoiseSchedule
from lab import architecture, dissolve, inside
from recordings import audio
from recordings.audio import load_audio
from tools import SHIPPED

RATE = 16_000


@pytest.fixture(scope="module")
def generator():
    return sample.load_generator(SHIPPED)


@pytest.fixture(scope="module")
def demo(generator):
    """The first 3 s of the demo's sentence: (speech [1, F, S], the motion that is made for it)."""
    speech = generator.speech_of(load_audio(ROOT / "assets" / "speech.wav")[: 3 * RATE])
    return speech, generator(speech)[0]


# ---- the schedule and the architecture -----------------------------------------------------------
def test_the_schedule_is_drawn_as_diffusers_has_it():
    figure = dissolve.plot_schedule(None, {"here": NoiseSchedule(beta_end=5e-2)})
    theirs = DDPMScheduler(1000, beta_start=1e-4, beta_end=5e-2, beta_schedule="linear")
    abar = theirs.alphas_cumprod.numpy()
    signal, noise = (line.get_ydata() for line in figure.axes[1].lines)
    np.testing.assert_allclose(signal, np.sqrt(abar), atol=1e-4)
    np.testing.assert_allclose(noise, np.sqrt(1 - abar), atol=1e-4)


@pytest.mark.parametrize("paper", [False, True])
def test_every_name_in_the_architecture_is_in_the_code(paper):
    """A drawing goes out of date in silence."""
    figure = architecture.plot_architecture(None, paper)
    texts = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    code = [text.get_text() for text in texts if text.get_family() == ["monospace"]]
    names = set(re.findall(r"[A-Za-z]\w+", " ".join(code)))
    network = DiffMotion(4, 4, width=8, depth=1, heads=2, recipe=PAPER if paper else OURS)
    homes = (audio, wavlm_loader, bvh, PoseCodec, NoiseSchedule, diffmotion, departures, samplers)
    homes += (network, network.speech_encoder, network.blocks[0], network.blocks[0].adaln)
    homes += (network.transform,)
    modulation = set(re.findall(r"\w+_\d", inspect.getsource(type(network.blocks[0]).forward)))
    unknown = {name for name in names if not any(hasattr(home, name) for home in homes)}
    known = {"loss", "mean", "eps", "model", "noise"} if paper else {"loss", "mean", "eps", "model"}
    assert len(names) > 20 and unknown - modulation == known
    assert paper == ("sample_ddpm" in names) == ("Innovations" not in names)


# ---- from noise to motion and back ---------------------------------------------------------------
def test_the_walk_back_from_noise_ends_at_what_the_sampler_makes(generator):
    samples = int(2.3 * RATE)  # the shipped model's second segment is not full
    wave = torch.sin(torch.arange(samples) * 0.05) * torch.linspace(0, 1, samples)
    speech = generator.speech_of(wave)
    walk = dissolve.walk_back(generator, speech, steps=8, guidance=1.3, seed=5)
    settings = dict(sampler="ddim", steps=8, guidance=1.3, seed=5)
    made = generate_long(generator.model, generator.schedule, speech, **settings)
    assert [t for t, _ in walk] == samplers.time_grid(1000, 8) + [-1]
    torch.testing.assert_close(walk[-1][1], made[0], atol=1e-5, rtol=0)
    noise = generator.model.transform(walk[0][1][None])
    assert noise.std() == pytest.approx(1, abs=0.1), "it begins with noise"
    assert noise.mean() == pytest.approx(0, abs=0.1)


def test_a_held_body_stays_where_it_is(generator):
    codec = generator.codec
    walk = codec.decode(np.random.default_rng(0).normal(size=(60, codec.pose_dim)))
    stays = dissolve.held(codec, torch.from_numpy(codec.encode(walk)))
    path = [np.ptp(motion.positions[:, 0, [0, 2]], axis=0).max() for motion in (stays, walk)]
    assert path[0] < 1e-6 < path[1]
    np.testing.assert_allclose(stays.rotations[:, 1:], walk.rotations[:, 1:], atol=1e-4)


def test_the_moving_picture_goes_from_noise_to_motion_and_back(generator, tmp_path):
    speech = load_audio(ROOT / "assets" / "speech.wav")
    size = dict(width=240, height=220)
    dissolve.animate_dissolve(tmp_path / "d.gif", generator, speech, seconds=2.0, **size)
    film = Image.open(tmp_path / "d.gif")
    assert film.n_frames == 20
    bands = []  # the picture of the pose features, above the waveform
    for n in range(20):
        film.seek(n)
        bands.append(np.asarray(film.convert("RGB"), dtype=int)[156:182])
    changed = [np.abs(a - b).mean() for a, b in zip(bands, bands[1:])]
    assert min(changed[:5]) > 0.5 and min(changed[-3:]) > 0.5, "the noise goes, and comes"
    assert max(changed[7:15]) == 0, "and in between the motion stays what it is"


@pytest.mark.parametrize("draw", ["dissolve", "attention"])
def test_the_pictures_can_be_opened(generator, demo, tmp_path, draw):
    path, (speech, motion) = tmp_path / "p.png", demo
    if draw == "dissolve":
        times = (0, 400, 999)
        dissolve.plot_dissolve(path, generator, motion, speech, frame=30, times=times)
    else:
        weights = torch.softmax(torch.randn(2, 1, 4, 30, 30), dim=-1)
        figure = inside.plot_attention(path, weights, 12, 20)
        image = next(axes for axes in figure.axes if axes.images).images[0].get_array()
        np.testing.assert_allclose(image, weights[:, 0, :, 12].reshape(8, 30))
    picture = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    assert picture.shape[0] > 200 and picture.shape[1] > 300 and picture.std() > 5
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


# ---- attention -----------------------------------------------------------------------------------
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("adaln, segment", [("split", 1), ("joint", 1), ("split", 6)])
def test_attention_weights_are_those_that_the_network_used(adaln, segment, fast):
    torch.manual_seed(0)
    recipe = replace(OURS, mask=lambda F, device: segment_mask(F, device, 9, segment))
    recipe = replace(recipe, adaln=AdaLN) if adaln == "joint" else recipe
    model = DiffMotion(6, 5, width=32, depth=2, heads=4, recipe=recipe).eval()
    for parameter in model.parameters():  # an untrained gate is shut; open everything
        torch.nn.init.normal_(parameter, std=0.3)
    if fast:
        for_sampling(model, "cpu")
    before = dict(model.blocks[0].__dict__)
    x_t, t, speech = torch.randn(2, 20, 6), torch.tensor([3, 700]), torch.randn(2, 20, 5)
    weights = inside.attention_weights(model, x_t, t, speech)  # [depth, B, heads, F, F]
    assert weights.shape == (2, 2, 4, 20, 20)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 4, 20))
    query, key = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    unseen = (key // segment > query // segment) | (key <= query - 9)
    assert (weights[..., unseen] == 0).all(), "no later segment, none before the window"
    assert (weights[..., (key > query) & ~unseen] > 0.1).any() == (segment > 1)
    # The input of each `out`, the network's own attention, must be these weights times its values.
    seen, hooks = [], []
    for block in model.blocks:
        hook = block.out.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        hooks.append(hook)
    qkv = inside.overhear(model, [block.qkv for block in model.blocks], x_t, t, speech)
    for hook in hooks:
        hook.remove()
    for mine, theirs, answer in zip(weights, seen, qkv):
        v = answer[..., 64:].view(2, 20, 4, 8).transpose(1, 2)  # [B, heads, F, head_dim]
        y = (mine @ v).transpose(1, 2).reshape(2, 20, 32)
        torch.testing.assert_close(y, theirs, atol=1e-3, rtol=1e-3)
    assert not any(module._forward_hooks for module in model.modules()), "nobody listens any more"
    assert model.blocks[0].__dict__ == before


def test_the_papers_network_can_be_looked_into_too():
    model = DiffMotion(6, 5, width=32, depth=1, heads=4, recipe=PAPER).eval()
    x_t, speech = torch.randn(1, 12, 6), torch.randn(1, 12, 5)
    (weights,) = inside.attention_weights(model, x_t, torch.tensor([3]), speech)
    assert (weights[..., ~diffmotion.causal_mask(12)] == 0).all()
    assert not isinstance(model.speech_encoder, ContextEncoder)


# ---- adaLN ---------------------------------------------------------------------------------------
def test_loudness_of_a_tone_is_half_its_amplitude_squared():
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    level = inside.loudness(tone * np.repeat([0.5, 0.05], RATE // 2), 20, 20)
    expected = np.repeat([10 * np.log10(0.125), 10 * np.log10(0.00125)], 10)
    np.testing.assert_allclose(level, expected, atol=1e-6)


def test_adaln_picture_tells_a_feature_that_follows_loudness(generator):
    """In a network whose scale is made to follow loudness in one feature, that one comes first."""

    class Follows(torch.nn.Module):
        def forward(self, condition, step):
            scale = torch.zeros(1, 80, 8)
            scale[0, 40:, 3] = 0.7  # the second half of the clip is the loud one
            return (torch.zeros_like(scale), scale, *[torch.zeros_like(scale)] * 4)

    class Model(type(generator.model)):
        def forward(self, x_t, t, speech, drop=None, mask=None):
            self.blocks[0].adaln(None, None)

    size = generator.model.size | dict(width=8, depth=1, heads=2)
    model = Model(**size)
    model.blocks[0].adaln = Follows()
    sound = torch.sin(torch.arange(4 * RATE) * 0.1)
    sound = sound * torch.repeat_interleave(torch.tensor([0.05, 0.5]), 2 * RATE)
    other = replace(generator, model=model)
    figure = inside.plot_adaln(None, other, sound, block=0, part="scale_1")
    image = next(axes for axes in figure.axes if axes.images).images[0].get_array()
    np.testing.assert_allclose(image[0], np.repeat([-0.35, 0.35], 40), atol=1e-6)
    np.testing.assert_allclose(image[1:], 0, atol=1e-6)
