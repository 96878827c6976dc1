"""What a GPU does is what the CPU does, and it is never waited for. Skipped where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY, last, run
from small_models import small_model, small_ours
from test_audio import speechlike

from beyond import fast
from beyond.samplers import SAMPLERS
from beyond.stream import generate_long, generate_stream
from body.bvh import read_bvh
from diffmotion import PAPER, AdaLN, NoiseSchedule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ON_GPU = ["--device", "cuda"]  # the last of two counts: TINY says cpu
RECIPES = {
    "ours": small_ours(segment=1),
    "segments": small_ours(segment=8),
    "joint adaLN": replace(small_ours(segment=1), adaln=AdaLN),
    "the paper": PAPER,
}


def replayed(model):
    """The model with its passes recorded as CUDA graphs, as sample.py uses it on a GPU."""
    fast.for_sampling(model, "cuda")
    assert isinstance(model.denoise, fast.Replayed)
    return model


def assert_close(made, expected):
    """The same motion, to the digits that another order of sums leaves."""
    apart = 1e-3 * expected.abs().max()
    assert torch.allclose(made.cpu(), expected.cpu(), rtol=1e-3, atol=apart)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_motion_is_that_of_the_cpu_with_and_without_replay(sampler, recipe):
    """Clips of one length, one of them in other segments, and one of another length.

    A graph that kept the speech, the mask or the shape of the first would show.
    """
    model, schedule = small_model(RECIPES[recipe]), NoiseSchedule()
    settings = dict(sampler=sampler, steps=6, guidance=1.5)
    other = None if recipe == "the paper" else 4  # it makes no chunks
    clips = [(24, None), (24, None), (24, other), (13, None), (24, None)]
    clips = [(torch.randn(2, frames, 5), segment) for frames, segment in clips]

    def made(device):
        return [
            generate_long(model, schedule, speech.to(device), segment=segment, **settings)
            for speech, segment in clips
        ]

    expected = made("cpu")
    model.to("cuda")
    for motion, own in zip(made("cuda"), expected):
        assert_close(motion, own)
    replayed(model)
    for motion, own in zip(made("cuda"), expected):
        assert_close(motion, own)
    assert model.denoise.graph is not None


def test_chunks_joined_are_the_whole():
    """With the replay in place, which chunks must go around."""
    model, schedule = small_model(small_ours(segment=1)).to("cuda"), NoiseSchedule()
    speech = torch.randn(1, 30, 5, device="cuda")
    settings = dict(sampler="dpmpp", steps=5, guidance=1.5)
    whole = generate_long(model, schedule, speech, **settings)
    stream = generate_stream(replayed(model), schedule, speech, chunk=7, **settings)
    assert_close(torch.cat(list(stream), dim=1), whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_samplers_never_wait_for_the_gpu(sampler):
    """PyTorch raises at each wait."""
    model, schedule = replayed(small_model(small_ours())), NoiseSchedule()
    speech = torch.randn(1, 20, 5, device="cuda")
    generate_long(model, schedule, speech, sampler=sampler, steps=3)  # records
    torch.cuda.set_sync_debug_mode("error")
    try:
        motion = generate_long(model, schedule, speech, sampler=sampler, steps=8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(motion).all()


def test_training_compiles_and_sampling_makes_the_motion_of_the_cpu(tiny_corpus, tmp_path):
    """Train, compile, sample. Sums of a GPU differ from run to run in their last digits."""
    common = ["--data", tiny_corpus, "--save-every", 20, "--steps", 40, *TINY, *ON_GPU]
    for out, more in (("whole", []), ("compiled", ["--compile"])):
        done = run("train.py", *common, "--out", tmp_path / out, *more, timeout=600)
        assert done.returncode == 0, done.stderr
    losses = [last(tmp_path / out)["training"]["losses"] for out in ("whole", "compiled")]
    assert np.allclose(*losses, rtol=0.05)
    sound = tmp_path / "Größe #1.wav"
    soundfile.write(sound, speechlike(3.0), 16_000)
    given = [sound, "--checkpoint", tmp_path / "whole" / "last.pt"]
    places = {}
    for device, more in (("cpu", []), ("cuda", []), ("cuda", ["--compile"])):
        out = tmp_path / f"{device}{len(more)}"
        done = run("sample.py", *given, "--device", device, "--out", out, *more, timeout=600)
        assert done.returncode == 0, done.stderr
        places[out.name] = read_bvh(out / "Größe #1.bvh").joint_positions()
    for name in ("cuda0", "cuda1"):
        apart = np.abs(places[name] - places["cpu0"]).max()
        assert apart < 0.01 * np.ptp(places["cpu0"]), name
