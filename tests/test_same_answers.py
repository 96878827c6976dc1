"""The answers of the shipped model, and the losses of short trainings, are those of another day.

answers.npz holds what the shipped model makes of assets/speech.wav, every 10th frame, and the
losses of 20 steps of training: whoever moves code can see that nothing else moved. Another
processor adds in another order, so the numbers agree to a share of the largest one.

A new shipped model or puppet has other answers. They are written by
    WRITE_ANSWERS=1 python -m pytest tests/test_same_answers.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import runs
import train
from beyond import fast, muon
from beyond.batches import together
from beyond.stream import generate_by_recipe, motions
from recordings.audio import load_audio, without_rumble
from recordings.blocks import features_in_blocks
from recordings.level import RunningLevel
from recordings.puppet import write_corpus
from sample import load_generator
from tools import SHIPPED
from wavlm_loader import SpeechFeatures

FILE = Path(__file__).with_name("answers.npz")
WRITE = bool(os.environ.get("WRITE_ANSWERS"))
ANSWERS = {} if WRITE else dict(np.load(FILE))
GENERATION = 1e-4  # of the largest number
TRAINING = 1e-3


def check(name, numbers, within=GENERATION):
    """The numbers are those of the file, to `within` of the largest one."""
    if WRITE:
        ANSWERS[name] = np.asarray(numbers)
        return
    expected, numbers = ANSWERS[name], np.asarray(numbers)
    assert numbers.shape == expected.shape, name
    apart = np.abs(numbers - expected).max() / np.abs(expected).max()
    print(f"{name}: {apart:.1e}")  # pytest -s shows it
    assert apart < within, name


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums in one order, whatever the number of cores."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def generator():
    """The shipped model in float32."""
    return load_generator(SHIPPED)


@pytest.fixture(scope="module")
def waveform():
    """13 s of speech."""
    return load_audio(ROOT / "assets" / "speech.wav")


@pytest.fixture(scope="module")
def speech(generator, waveform):
    """Its standardised features [1, F, S]."""
    return generator.speech_of(waveform)


def positions(motions):
    """Where the joints are in Motions one after another, every 10th frame."""
    return np.concatenate([motion.joint_positions() for motion in motions])[::10]


# ------------------------------------------------------------------------------------------------
# What the shipped model answers
# ------------------------------------------------------------------------------------------------
def test_features_of_speech(generator, waveform, speech):
    check("waveform", waveform[::1000])
    check("mel", generator.features(waveform)[::10])
    check("mfcc", SpeechFeatures("mfcc")(waveform)[::10])
    check("speech", speech[0, ::10])


@torch.no_grad()
def test_passes_of_the_network(generator, speech):
    model, frames = generator.model, speech.shape[1]
    random = torch.Generator().manual_seed(3)
    x_t = torch.randn(2, frames, model.size["pose_dim"], generator=random)
    t, two = torch.tensor([10, 700]), torch.cat([speech, speech.roll(50, 1)])
    mask = model.recipe.mask(frames, phases=torch.tensor([7, 31]))
    check("eps", model(x_t, t, two)[:, ::10])
    check("eps_dropped", model(x_t, t, two, torch.tensor([True, False]))[:, ::10])
    check("eps_phase", model(x_t, t, two, mask=mask)[:, ::10])


@pytest.mark.parametrize(
    "sampler, steps, guidance",
    [
        ("dpmpp", 10, 1.2),
        ("dpmpp", 10, 1.0),
        ("ddim", 10, 1.2),
        ("ddpm", 10, 1.2),
    ],
)
def test_poses_by_each_sampler(generator, speech, sampler, steps, guidance):
    how = dict(sampler=sampler, steps=steps, guidance=guidance, seed=4)
    poses = generate_by_recipe(generator.model, generator.schedule, speech, **how)
    check(f"poses {sampler} {steps} {guidance}", poses[0, ::10])


def test_poses_by_the_papers_sampler(generator, speech):
    how = dict(sampler="ddpm", steps=1000, guidance=1.0, seed=4)
    poses = generate_by_recipe(generator.model, generator.schedule, speech[:, :60], **how)
    check("poses ddpm 1000", poses[0, ::5])


def test_several_files_together(generator, speech):
    speeches = [speech[:, :200], speech[:, 30:130], speech[:, 100:233]]
    how = dict(sampler="dpmpp", steps=10, guidance=1.2)
    for n, motion in enumerate(together(generator, speeches, [5, 6, 7], **how)):
        check(f"together {n}", positions([motion]))


def test_one_seed_and_two_clips(generator, speech):
    two = torch.cat([speech[:, :100], speech[:, 100:200]])
    for n, motion in enumerate(generator(two, seed=8)):
        check(f"one seed, two clips {n}", positions([motion]))


@pytest.mark.parametrize(
    "name, chunk, steps, guidance", [("streamed", 80, 10, 1.2), ("streamed short", 10, 5, 1.0)]
)
def test_a_stream(generator, waveform, name, chunk, steps, guidance):
    how = dict(sampler="dpmpp", steps=steps, guidance=guidance, seed=4)
    check(name, positions(motions(generator, generator.features.pieces(waveform), chunk, **how)))


def test_live_speech(generator, waveform):
    level = RunningLevel()
    blocks = level.hear(without_rumble(iter(waveform.split(800))))
    pieces = features_in_blocks(generator.features, blocks, level)
    how = dict(sampler="dpmpp", steps=10, guidance=1.2, seed=4)
    check("live", positions(motions(generator, pieces, 10, **how)))


def test_speech_of_more_than_four_windows(generator, speech):
    poses = generate_by_recipe(generator.model, generator.schedule, speech.repeat(1, 3, 1), seed=4)
    check("long", poses[0, ::30])


# ------------------------------------------------------------------------------------------------
# What training does
# ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four takes of the puppet: two to train on, one for pictures, one to test on."""
    folder = tmp_path_factory.mktemp("answers")
    write_corpus(folder, train=2, valid=1, test=1, seconds=16.0, seed=5)
    return folder


COMMON = (
    "--steps 20 --width 32 --depth 2 --heads 2 --window 120 --batch 4 --device cpu --seed 3 "
    "--lr 0.01 --warmup 3"
).split()
MOST = "split,v,loss,muon,segments,innovations,noise,window,ema"
TRAININGS = {
    "ours": [],
    **{name: ["--undo", name] for name in MOST.split(",") if name != "loss"},
    "loss_weight": ["--undo", "loss"],
    "momentum": ["--undo", "momentum"],
    "voices": ["--undo", "voices"],
    "mfcc": ["--features", "mfcc"],
    "mirror": ["--mirror"],
    "most": ["--undo", MOST],
}


def sums(weights):
    """The sum of all weights' sizes, and that of the weights."""
    numbers = [w.double() for w in weights.values() if w.is_floating_point()]
    return [sum(w.abs().sum().item() for w in numbers), sum(w.sum().item() for w in numbers)]


@pytest.mark.parametrize("name", TRAININGS)
def test_20_steps_of_training(name, corpus, tmp_path, monkeypatch):
    for module in (train, muon, fast):
        monkeypatch.setattr(module, "has_bf16", lambda device: False)
    monkeypatch.setattr(runs, "CHECK_EVERY", 1)
    monkeypatch.setattr(train, "draw_sample", lambda *_: None)
    monkeypatch.setattr(train, "plot_loss", lambda *_: None)
    train.main(["--data", str(corpus), "--out", str(tmp_path), *COMMON, *TRAININGS[name]])
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    check(f"losses {name}", state["training"]["losses"], TRAINING)
    check(f"ema {name}", sums(state["ema"]), TRAINING)


def test_no_training_is_left_out():
    if WRITE:
        np.savez_compressed(FILE, **ANSWERS)
    for what in ("losses", "ema"):
        stored = {name for name in ANSWERS if name.startswith(what)}
        assert stored == {f"{what} {name}" for name in TRAININGS}
