"""What a GPU does is what the CPU does, and it is never waited for. Skipped, with the reason, where there is none."""
import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY, run
from test_diffmotion import small_model
from test_endless import speechlike

import diffmotion as dm
import motion as M
import sample
from diffmotion import NoiseSchedule

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
ON_GPU = ["--device", "cuda"]                        # the last of two counts: TINY says cpu


@pytest.mark.parametrize("adaln, segment", [("split", 1), ("joint", 1), ("split", 8)])
@pytest.mark.parametrize("sampler", list(dm.SAMPLERS))
def test_motion_is_that_of_the_cpu_with_and_without_replay(sampler, adaln, segment):
    """Clips of one length, one of them in other segments, and one of another length: a graph that kept the speech, the mask or the shape of the first would show."""
    model, schedule, settings = small_model(adaln=adaln, memory=0.9, momentum=0.5, segment=segment), NoiseSchedule(), dict(sampler=sampler, steps=6, guidance=1.5)
    clips = [(torch.randn(2, frames, 5), length) for frames, length in ((24, None), (24, None), (24, 4), (13, None), (24, None))]
    expected = [dm.generate(model, schedule, speech, segment=length, **settings) for speech, length in clips]
    model.to("cuda")
    for replayed in (False, True):
        if replayed:
            model.denoise = sample.Replayed(model.denoise)
        for (speech, length), motion in zip(clips, expected):
            assert torch.allclose(dm.generate(model, schedule, speech.cuda(), segment=length, **settings).cpu(), motion, rtol=1e-3, atol=1e-3 * motion.abs().max())
    assert model.denoise.graph is not None


def test_chunks_joined_are_the_whole():
    """What tests/test_diffmotion.py holds on the CPU; with the replay in place, which chunks must go around."""
    model, schedule, speech = small_model(memory=0.9, momentum=0.5).to("cuda"), NoiseSchedule(), torch.randn(1, 30, 5, device="cuda")
    whole = dm.generate(model, schedule, speech, steps=5, guidance=1.5)
    model.denoise = sample.Replayed(model.denoise)
    joined = torch.cat(list(dm.generate_stream(model, schedule, speech, steps=5, guidance=1.5, chunk=7)), dim=1)
    assert torch.allclose(joined, whole, rtol=1e-3, atol=1e-3 * whole.abs().max())


@pytest.mark.parametrize("sampler", list(dm.SAMPLERS))
def test_the_samplers_never_wait_for_the_gpu(sampler):
    """PyTorch raises at each wait."""
    model, schedule, speech = small_model(memory=0.9, momentum=0.5).to("cuda"), NoiseSchedule(), torch.randn(1, 20, 5, device="cuda")
    model.denoise = sample.Replayed(model.denoise)
    dm.generate(model, schedule, speech, sampler, steps=3)       # records
    torch.cuda.set_sync_debug_mode("error")
    try:
        motion = dm.generate(model, schedule, speech, sampler, steps=8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(motion).all()


def test_training_compiles_and_sampling_makes_the_motion_of_the_cpu(tiny_corpus, tmp_path):
    """Train, compile, sample: the scripts as a user runs them. Sums of a GPU differ from run to run in their last digits."""
    common = ["--data", tiny_corpus, "--save-every", 20, "--no-scores", *TINY, *ON_GPU]
    for out, more in (("whole", []), ("compiled", ["--compile"])):
        done = run("train.py", *common, "--steps", 40, "--out", tmp_path / out, *more, timeout=600)
        assert done.returncode == 0, done.stderr
    losses = {out: torch.load(tmp_path / out / "last.pt", weights_only=True)["training"]["losses"] for out in ("whole", "compiled")}
    assert np.allclose(losses["compiled"], losses["whole"], rtol=0.05)
    soundfile.write(tmp_path / "Größe #1.wav", speechlike(3.0), 16_000)
    places = {}
    for device, more in (("cpu", []), ("cuda", []), ("cuda", ["--compile"])):
        out = tmp_path / f"{device}{len(more)}"
        done = run("sample.py", tmp_path / "Größe #1.wav", "--checkpoint", tmp_path / "whole" / "last.pt", "--device", device, "--out", out, *more, timeout=600)
        assert done.returncode == 0, done.stderr
        places[out.name] = M.read_bvh(out / "Größe #1.bvh").joint_positions()
    for name in ("cuda0", "cuda1"):
        assert np.abs(places[name] - places["cpu0"]).max() < 0.01 * np.ptp(places["cpu0"]), name
