"""A waveform -> one row of features a motion frame: mel, MFCC, WavLM; in blocks; from the cache."""

import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.fft
import soundfile
import torch
import torchaudio
from conftest import ROOT, shared_files

import lab.hearing
import wavlm_loader
from recordings.audio import SpeechError, load_audio
from recordings.blocks import features_in_blocks
from recordings.cache import cached_features
from recordings.level import loud_level
from recordings.pairs import CorpusError
from wavlm_loader import AT_ONCE, Spectrum, SpeechFeatures


def tone(seconds, rate=16_000, frequency=440.0):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def little_wavlm():
    """WavLM's architecture and strides with few channels: 15 minutes take seconds."""
    torch.manual_seed(1)
    return torchaudio.models.wavlm_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2,
        extractor_conv_bias=False,
        encoder_embed_dim=16,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=4,
        encoder_num_layers=12,
        encoder_num_heads=2,
        encoder_num_buckets=320,
        encoder_max_distance=800,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=16,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    ).eval()


@pytest.fixture
def small_wavlm(monkeypatch):
    """SpeechFeatures("wavlm") has little_wavlm."""
    monkeypatch.setattr(wavlm_loader, "load_wavlm", lambda checkpoint=None: little_wavlm())


# ------------------------------------------------------------------------------------------------
# Mel and MFCC
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("fps", [20, 30, 25, 29.97, 60, 120])
@pytest.mark.parametrize("samples", [1, 37, 799, 800, 801, 16_000, 50_001])
def test_frames_cover_the_speech(kind, fps, samples):
    features = SpeechFeatures(kind, fps)(torch.randn(samples))
    frames = math.ceil(round(samples * fps / 16_000, 9))
    assert features.shape == (frames, SpeechFeatures(kind).dim)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("second", [0.01, 1.23, 29.99, 59.96])
@pytest.mark.parametrize("fps", [20, 29.97])
def test_a_click_appears_in_its_own_frame(kind, second, fps):
    waveform = torch.randn(16_000 * 60, generator=torch.Generator().manual_seed(0)) * 1e-2
    at = int(second * 16_000)
    waveform[at : at + 30] += 1
    features = SpeechFeatures(kind, fps)(waveform)
    change = features.mean(dim=1)
    if kind == "mfcc":
        change = features[:, 0]  # the first cepstrum is the loudness
    assert change.argmax().item() == int((second + 15 / 16_000) * fps)


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
def test_a_quiet_recording_has_the_features_of_a_loud_one(kind):
    waveform = torch.from_numpy(tone(3)).float() * (torch.rand(48_000) > 0.5)
    features = SpeechFeatures(kind)
    assert torch.allclose(features(waveform), features(waveform * 0.03), atol=1e-3)


def test_log_mel_is_made_of_the_power_of_the_bands():
    """A tone of 1000 Hz is loudest in the band whose centre is nearest on the mel scale."""

    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    centres = np.linspace(mel(60), mel(7600), 42)[1:-1]
    waveform = torch.from_numpy(tone(1, frequency=1000.0)).float()
    loudest = SpeechFeatures("mel")(waveform).mean(dim=0).argmax().item()
    assert loudest == np.abs(centres - mel(1000)).argmin()


def test_mel_and_mfcc_are_what_their_formulas_say():
    """Written out in numpy: Hann windows of 25 ms every 10 ms, 40 triangles, logarithm, cosines."""
    waveform = np.random.default_rng(0).normal(size=1600)
    waveform[800:] *= 1e-4  # below the floor
    padded = np.pad(waveform / 0.3 * 0.1, 256)
    hann = np.pad(np.sin(np.pi * np.arange(400) / 400) ** 2, 56)
    windows = np.stack([padded[160 * k : 160 * k + 512] * hann for k in range(11)])
    power = np.abs(np.fft.rfft(windows)) ** 2  # [11, 257]
    marks = np.linspace(*(2595 * np.log10(1 + hertz / 700) for hertz in (60, 7600)), 42)
    marks = 700 * (10 ** (marks / 2595) - 1)  # Hz
    hertz = np.arange(257)[:, None] * 16_000 / 512
    rise, fall = (hertz - marks[:-1]) / np.diff(marks), (marks[1:] - hertz) / np.diff(marks)
    bands = np.log(power @ np.clip(np.minimum(rise[:, :-1], fall[:, 1:]), 0, None) + 1e-3)
    cepstra = scipy.fft.dct(bands, norm="ortho")[:, :20]
    for mfcc, expected in ((False, bands), (True, cepstra)):
        ours = Spectrum(mfcc)(torch.from_numpy(waveform).float(), 0.3)
        np.testing.assert_allclose(ours.numpy(), expected, atol=2e-3)


# ------------------------------------------------------------------------------------------------
# In blocks
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("samples", [1, 399, 16_000, 51_234, AT_ONCE + 800])
def test_features_of_blocks_are_those_of_the_whole(kind, samples):
    random = torch.Generator().manual_seed(0)
    features, waveform = SpeechFeatures(kind), 0.1 * torch.randn(samples, generator=random)
    whole, level = features(waveform), loud_level(waveform)
    for block in (37, 800, 100_000):
        for known in (samples, None):  # None: speech that is still being spoken
            blocks = features_in_blocks(features, waveform.split(block), lambda: level, known)
            joined = torch.cat(list(blocks))
            assert joined.shape == whole.shape and torch.allclose(joined, whole, atol=1e-4)


def test_wavlm_is_not_computed_while_speech_arrives_and_the_error_says_why(small_wavlm):
    features = SpeechFeatures("wavlm")
    with pytest.raises(SpeechError, match="13.8 s ahead"):
        next(features_in_blocks(features, [torch.zeros(800)], lambda: 0.1))


# ------------------------------------------------------------------------------------------------
# WavLM
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fps", [20, 29.97, 120])
@pytest.mark.parametrize("samples", [1, 400, 8_000, 20_001])
def test_wavlm_frames_cover_the_speech(small_wavlm, fps, samples):
    features = SpeechFeatures("wavlm", fps, layer="sum")(torch.randn(samples))
    assert features.shape == (math.ceil(round(samples * fps / 16_000, 9)), 13 * 16)
    assert torch.isfinite(features).all()


def test_a_layer_alone_is_its_part_of_all_layers(small_wavlm):
    waveform = torch.randn(30_000)
    everything = SpeechFeatures("wavlm", layer="sum")(waveform).unflatten(1, (13, 16))
    for layer, n in (("last", 12), (12, 12), ("0", 0), (5, 5)):
        alone = SpeechFeatures("wavlm", layer=layer)(waveform)
        assert torch.allclose(alone, everything[:, n], atol=1e-5)
    with pytest.raises(SpeechError, match="0 to 12"):
        SpeechFeatures("wavlm", layer=13)


def test_other_weights_than_the_models_are_refused(small_wavlm):
    weights = SpeechFeatures("wavlm").settings()["weights"]
    SpeechFeatures("wavlm", weights=weights)
    with pytest.raises(SpeechError, match=f"holds other weights .{weights}. than"):
        SpeechFeatures("wavlm", weights="0123456789abcdef")


@pytest.mark.parametrize("kind", ["mel", "mfcc", "wavlm"])
@pytest.mark.parametrize("samples", [30_000, AT_ONCE, AT_ONCE + 1, 70 * 16_000])
def test_pieces_joined_are_the_features(small_wavlm, kind, samples):
    features, waveform = SpeechFeatures(kind), torch.randn(samples)
    pieces = list(features.pieces(waveform))
    assert torch.equal(torch.cat(pieces), features(waveform))
    assert (len(pieces) > 1) == (samples > AT_ONCE)


LENGTHS = [("mel", 0, 3600), ("mfcc", 0, 3600), ("wavlm", 0, 900), ("wavlm", 12, 90)]


@pytest.mark.parametrize("kind,layer,length", LENGTHS)
def test_clicks_at_the_start_the_middle_and_the_end_of_an_hour(kind, layer, length, small_wavlm):
    """At 29.97 frames a second an error of 1e-6 would be out by 0.1 frames after an hour.

    WavLM's change is smeared by everything that mixes times: what counts is where it is largest.
    For the sake of time, its layer 0 is looked at in 15 minutes, its last layer in 1.5 minutes.
    """
    quiet = torch.randn(16_000 * length, generator=torch.Generator().manual_seed(0)) * 1e-2
    clicks = quiet.clone()
    seconds = [0.27, length / 2 + 0.013, length - 0.1]
    for second in seconds:
        clicks[int(second * 16_000) : int(second * 16_000) + 30] += 1
    features = SpeechFeatures(kind, 29.97, layer=layer)
    change = (features(clicks) - features(quiet)).abs().sum(dim=1)
    assert len(change) == math.ceil(length * 29.97)
    for second in seconds:
        frame = int(second * 29.97)
        near = slice(max(0, frame - 150), frame + 150)
        assert near.start + change[near].argmax().item() == frame


VOICES = ["en", "de", "fr", "es", "cmn", "ar", "hi"]


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng")
@pytest.mark.parametrize("voice", VOICES)
def test_many_languages_and_8_khz_prompts_have_features(tmp_path, voice, small_wavlm):
    text = "one two three, Berlin, 1 2 3"
    command = ["espeak-ng", "-v", voice, "-w", tmp_path / "16.wav", text]
    subprocess.run(command, check=True, capture_output=True)
    sound, rate = soundfile.read(tmp_path / "16.wav")
    eight = torchaudio.functional.resample(torch.from_numpy(sound).float(), rate, 8_000)
    soundfile.write(tmp_path / "8.wav", eight.numpy(), 8_000, subtype="ULAW")  # as on telephones
    for kind in ("mel", "mfcc", "wavlm"):
        features = SpeechFeatures(kind)
        full, prompt = (features(load_audio(tmp_path / f"{n}.wav")) for n in (16, 8))
        assert abs(len(full) - len(prompt)) <= 1
        assert len(full) == math.ceil(len(sound) / rate * 20)
        assert torch.isfinite(full).all() and torch.isfinite(prompt).all() and full.std() > 0.1


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_wavlm_takes_real_recordings_of_any_length(path, small_wavlm):
    waveform = load_audio(path)
    assert len(SpeechFeatures("wavlm")(waveform)) == math.ceil(len(waveform) / 800)


# ------------------------------------------------------------------------------------------------
# The cache
# ------------------------------------------------------------------------------------------------
def counted(features, calls):
    """`features`, whose pieces note each time they are computed."""
    real = features.pieces
    features.pieces = lambda waveform: calls.append(1) or real(waveform)
    return features


def test_features_are_computed_once_for_a_sound_and_its_settings(small_wavlm, tmp_path):
    calls, waveform = [], torch.randn(50_000)

    def cached(waveform=waveform, fps=20, layer=3, weights=None):
        features = counted(SpeechFeatures("wavlm", fps, layer=layer), calls)
        features.weights = weights or features.weights
        return cached_features(features, waveform, tmp_path)

    first, again = cached(), cached(waveform.clone())
    assert len(calls) == 1 and torch.equal(first, again) and first.dtype == torch.float16
    exact = SpeechFeatures("wavlm", layer=3)(waveform)
    assert (first.float() - exact).abs().max() <= exact.abs().max() * 2**-11
    calls.clear()
    changed = waveform.clone()
    changed[77] += 1e-6  # another sound
    cached(changed)
    cached(fps=30)
    cached(weights="other")
    everything = cached(layer="sum")
    assert len(calls) == 4 and len(list(tmp_path.iterdir())) == 5
    for layer in (0, 5, 12):  # any layer is in the entry of all of them
        assert torch.equal(cached(layer=layer), everything[:, 16 * layer : 16 * layer + 16])
    assert len(calls) == 4
    sizes = {np.load(p).shape: p.stat().st_size for p in tmp_path.iterdir()}
    assert sizes[63, 13 * 16] == 63 * 13 * 16 * 2 + 128  # float16, and a .npy file's header


def test_an_entry_keeps_the_name_that_it_had_in_earlier_versions(small_wavlm, tmp_path):
    features = SpeechFeatures("wavlm")
    features.weights = "0123456789abcdef"
    cached_features(features, torch.arange(8_000) / 8_000, tmp_path)
    (entry,) = tmp_path.iterdir()
    assert entry.name == "ea583b8e0aebe94093d1-763bd1bd6165.npy"


def test_mel_and_mfcc_are_not_kept(tmp_path):
    features, waveform = SpeechFeatures("mel"), torch.randn(8_000)
    assert torch.equal(cached_features(features, waveform, tmp_path), features(waveform))
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys, torch
import test_features, wavlm_loader
from recordings.cache import cached_features
wavlm_loader.load_wavlm = lambda checkpoint=None: test_features.little_wavlm()
features = wavlm_loader.SpeechFeatures("wavlm")
waveform = torch.randn(16_000 * 60, generator=torch.Generator().manual_seed(0))
whole = features(waveform).half()
def killed(waveform, real=features.pieces):
    for piece in real(waveform):
        yield piece
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "kill":
    features.pieces = killed
assert torch.equal(cached_features(features, waveform, sys.argv[1]), whole)
"""


def test_a_killed_run_leaves_no_broken_entry(tmp_path):
    """Killed in the middle of an entry: no entry is there, and the next run writes a whole one."""
    for what, status in (("kill", -9), ("finish", 0)):
        command = [sys.executable, "-c", KILLED, tmp_path / "cache", what]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        tests = ROOT / "tests"
        done = subprocess.run(command, cwd=tests, capture_output=True, text=True, env=environment)
        assert done.returncode == status, done.stderr
        assert len(list((tmp_path / "cache").glob("*.npy"))) == (what == "finish")
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npy"]


def test_a_damaged_entry_is_said(small_wavlm, tmp_path):
    features, waveform = SpeechFeatures("wavlm"), torch.randn(50_000)
    cached_features(features, waveform, tmp_path)
    (entry,) = tmp_path.iterdir()
    whole = bytearray(entry.read_bytes())
    for damaged in (whole[:500], b"PK\x03\x04" + whole[4:], whole.replace(b"{", b"(", 1)):
        entry.write_bytes(damaged)
        said = f"{entry.name}: is a damaged entry of the cache; delete it"
        with pytest.raises(CorpusError, match=said):
            cached_features(features, waveform, tmp_path)


# ------------------------------------------------------------------------------------------------
# The figure and the measurements of lab.hearing
# ------------------------------------------------------------------------------------------------
def hearing(monkeypatch, *arguments):
    """Run lab.hearing's main with little_wavlm."""
    monkeypatch.setattr(lab.hearing, "load_wavlm", lambda checkpoint=None: little_wavlm())
    lab.hearing.main([str(a) for a in arguments])


def test_mfcc_and_wavlm_of_a_sentence_are_drawn(monkeypatch, tmp_path, capsys):
    picture = tmp_path / "a folder" / "heard.png"
    hearing(monkeypatch, ROOT / "assets" / "speech.wav", "--out", picture)
    assert picture.stat().st_size > 50_000 and capsys.readouterr().out == f"{picture}\n"


def test_the_error_of_pieces_and_the_cost_of_minutes_are_printed(monkeypatch, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", tone(16), 16_000)
    hearing(monkeypatch, tmp_path / "a.wav", "--pieces")
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("context  piece   layer 0") and len(rows) > 4
    hearing(monkeypatch, tmp_path / "a.wav", "--minutes", 1)
    assert "s a minute of speech" in capsys.readouterr().out
    soundfile.write(tmp_path / "b.wav", tone(0.3), 16_000)
    with pytest.raises(SpeechError, match="b.wav: lasts 0.30 s; give at least 15 s"):
        hearing(monkeypatch, tmp_path / "b.wav", "--pieces")
    with pytest.raises(SpeechError, match="b.wav: lasts 0.30 s; give at least 0.5 s"):
        hearing(monkeypatch, tmp_path / "b.wav")
