"""Speech: any file to a waveform, any waveform to one row of features a motion frame."""
import math

import numpy as np
import pytest
import soundfile
import torch
from conftest import shared_files

import wavlm_loader as W


def tone(seconds, rate=16_000, frequency=440.0):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("ending,subtype", [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")])
def test_any_rate_and_format_becomes_16_khz_mono(tmp_path, rate, ending, subtype):
    path = tmp_path / f"ü  talk (1).{ending}"
    stereo = np.stack([tone(2, rate), tone(2, rate)], axis=1)
    soundfile.write(path, stereo, rate, subtype=subtype)
    waveform = W.load_audio(path)
    assert waveform.dtype == torch.float32 and abs(len(waveform) - 32_000) < 2500 * (ending == "mp3") + 2
    spectrum = torch.fft.rfft(waveform[:16_000] * torch.hann_window(16_000)).abs()
    assert spectrum.argmax().item() == 440


def test_the_content_decides_not_the_ending(tmp_path):
    soundfile.write(tmp_path / "x.mp3", tone(1), 16_000)
    (tmp_path / "x.mp3").rename(tmp_path / "x.wav")
    assert len(W.load_audio(tmp_path / "x.wav")) > 15_000


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_real_recordings_are_read(path):
    waveform = W.load_audio(path)
    features = W.SpeechFeatures("mfcc")(waveform)
    assert len(features) == math.ceil(len(waveform) / 16_000 * 20) and torch.isfinite(features).all()


def damaged(tmp_path, kind):
    path = tmp_path / f"{kind} file.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no sound\n" * 20)
    elif kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut-off":
        soundfile.write(path, tone(2), 16_000)
        path.write_bytes(path.read_bytes()[:30_000])
    elif kind == "cut-flac":
        path = path.with_suffix(".flac")
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64_000), 16_000)
        path.write_bytes(path.read_bytes()[:60_000])
    elif kind == "silent":
        soundfile.write(path, np.zeros(16_000), 16_000)
    elif kind == "zero-length":
        soundfile.write(path, np.zeros(0), 16_000)
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(16_000) == 777, np.nan, tone(1)), 16_000, subtype="FLOAT")
    return path


KINDS = ["missing", "empty", "text", "random", "folder", "cut-off", "cut-flac", "silent", "zero-length", "nan"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_sound_gets_one_clear_line(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(W.SpeechError) as caught:
        W.load_audio(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    assert {"nan": "sample 777", "cut-off": "breaks off", "silent": "silent"}.get(kind, "") in str(caught.value)


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read_all_the_same(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(1), 16_000)
    raw = bytearray((tmp_path / "x.wav").read_bytes())
    at = raw.index(b"data") + 4
    raw[at:at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(raw)
    assert len(W.load_audio(tmp_path / "x.wav")) == 16_000


# ---- features ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("fps", [20, 30, 25, 29.97, 60, 120])
@pytest.mark.parametrize("samples", [1, 37, 799, 800, 801, 16_000, 50_001])
def test_frames_cover_the_speech(kind, fps, samples):
    features = W.SpeechFeatures(kind, fps)(torch.randn(samples))
    assert features.shape == (math.ceil(round(samples * fps / 16_000, 9)), W.SpeechFeatures(kind).dim)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("second", [0.01, 1.23, 29.99, 59.96])
@pytest.mark.parametrize("fps", [20, 29.97])
def test_a_click_appears_in_its_own_frame(kind, second, fps):
    waveform = torch.randn(16_000 * 60, generator=torch.Generator().manual_seed(0)) * 1e-2
    at = int(second * 16_000)
    waveform[at:at + 30] += 1
    features = W.SpeechFeatures(kind, fps)(waveform)
    change = features[:, 0] if kind == "mfcc" else features.mean(dim=1)      # the first cepstrum is the loudness
    assert abs(change.argmax().item() - int((second + 15 / 16_000) * fps)) == 0


def test_features_are_averaged_over_the_motion_frame():
    """Features with a known integral: a ramp, whose mean over a frame is its value at the frame's centre."""
    ramp = (torch.arange(1000).float() / 100)[:, None]                       # at 100 a second, feature k is k / 100 s
    frames = W.to_motion_frames(ramp, 100, 0.0, 20, 199)
    centres = (torch.arange(199) + 0.5) / 20
    assert torch.allclose(frames[:, 0], centres, atol=1e-4)
    finer = W.to_motion_frames(ramp, 100, 0.0, 240, 2000)                    # a frame rate above the features' own
    assert (finer[:, 0] - (torch.arange(2000) + 0.5) / 240).abs().max() < 0.006


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
def test_a_quiet_recording_is_heard_as_a_loud_one(kind):
    waveform = torch.from_numpy(tone(3)).float() * (torch.rand(48_000) > 0.5)
    features = W.SpeechFeatures(kind)
    assert torch.allclose(features(waveform), features(waveform * 0.03), atol=1e-3)


def test_log_mel_is_made_of_the_power_of_the_bands():
    """A tone of 1000 Hz is loudest in the band whose centre is nearest on the mel scale."""
    mel = lambda hz: 2595 * math.log10(1 + hz / 700)
    centres = np.linspace(mel(60), mel(7600), 42)[1:-1]
    loudest = W.SpeechFeatures("mel")(torch.from_numpy(tone(1, frequency=1000.0)).float()).mean(dim=0).argmax().item()
    assert loudest == np.abs(centres - mel(1000)).argmin()


# ---- WavLM -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def random_wavlm(tmp_path_factory):
    """WavLM Base+ with random weights, saved as torchaudio saves it. (Random weights test the plumbing, not the hearing.)"""
    import torchaudio
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("wavlm") / "random.pth"
    torch.save(torchaudio.models.wavlm_base().state_dict(), path)
    return path


def test_wavlm_runs_and_its_frames_cover_the_speech(random_wavlm):
    hear = W.SpeechFeatures("wavlm", checkpoint=random_wavlm)
    for samples in (100, 8_000, 20_001):
        features = hear(torch.randn(samples))
        assert features.shape == (math.ceil(samples * 20 / 16_000), 768) and torch.isfinite(features).all()


def test_missing_wavlm_weights_are_said_never_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(W.SpeechError, match="--wavlm-checkpoint"):
        W.load_wavlm()


@pytest.mark.parametrize("content", ["missing", "junk", "other"])
def test_a_file_without_wavlm_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content == "junk":
        path.write_bytes(b"junk" * 100)
    elif content == "other":
        torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(W.SpeechError, match="weights.pth"):
        W.load_wavlm(path)
