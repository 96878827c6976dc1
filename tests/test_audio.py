"""Any sound file -> a waveform; its level; the averaging of features over motion frames."""

import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from conftest import ROOT, shared_files

from recordings import audio, parts
from recordings.audio import (
    CUT,
    SpeechError,
    load_audio,
    load_audio_blocks,
    without_rumble,
)
from recordings.frames import motion_frames
from recordings.level import RunningLevel, loud_level, loud_level_of
from wavlm_loader import SpeechFeatures, to_motion_frames


def tone(seconds, rate=16_000, frequency=440.0):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def speechlike(seconds, rate=16_000, seed=0):
    """Noise in syllables of different loudness, float32 [samples]."""
    random, n = np.random.default_rng(seed), int(seconds * rate)
    level = np.repeat(random.uniform(0, 1, n // (rate // 5) + 1) ** 3, rate // 5)[:n]
    return (0.2 * level * random.standard_normal(n)).clip(-1, 1).astype(np.float32)


# ------------------------------------------------------------------------------------------------
# Files that are sound
# ------------------------------------------------------------------------------------------------
FORMATS = [
    ("wav", "PCM_16"),
    ("wav", "FLOAT"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("mp3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("ending,subtype", FORMATS)
def test_any_rate_and_format_becomes_16_khz_mono(tmp_path, rate, ending, subtype):
    path = tmp_path / f"ü  talk (1).{ending}"
    stereo = np.stack([tone(2, rate), tone(2, rate)], axis=1)
    soundfile.write(path, stereo, rate, subtype=subtype)
    waveform = load_audio(path)
    assert waveform.dtype == torch.float32
    assert abs(len(waveform) - 32_000) < 2500 * (ending == "mp3") + 2
    spectrum = torch.fft.rfft(waveform[:16_000] * torch.hann_window(16_000)).abs()
    assert spectrum.argmax().item() == 440


def test_the_content_decides_not_the_ending(tmp_path):
    soundfile.write(tmp_path / "x.mp3", tone(1), 16_000)
    (tmp_path / "x.mp3").rename(tmp_path / "x.wav")
    assert len(load_audio(tmp_path / "x.wav")) > 15_000


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_real_recordings_are_read(path):
    waveform = load_audio(path)
    features = SpeechFeatures("mfcc")(waveform)
    assert len(features) == math.ceil(len(waveform) / 16_000 * 20)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_sound_in_blocks_is_the_sound_as_a_whole(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.stack([speechlike(3.21, rate)] * 2, axis=1), rate)
    whole = load_audio(tmp_path / "a.wav")
    for seconds in (0.01, 0.3, 10):
        blocks = list(load_audio_blocks(tmp_path / "a.wav", seconds))
        assert torch.allclose(torch.cat(blocks), whole, atol=1e-6)
    blocks = list(load_audio_blocks(tmp_path / "a.wav", 0.3))
    assert len(blocks) > 8, "and they come as blocks"


# ------------------------------------------------------------------------------------------------
# What lies below speech
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lengths", [[48_000], [1, 5, 700, 3_000, 44_294], [1600] * 30])
def test_rumble_is_taken_out_as_scipys_butterworth_does(lengths):
    samples = np.random.default_rng(0).standard_normal(sum(lengths)) + 0.5
    waveform = torch.from_numpy(samples).float()
    sections = scipy.signal.butter(2, CUT, "highpass", fs=16_000, output="sos")
    state = scipy.signal.sosfilt_zi(sections) * float(waveform[0])  # constant before the start
    expected = scipy.signal.sosfilt(sections, waveform.double().numpy(), zi=state)[0]
    blocks = list(without_rumble(waveform.split(lengths)))
    assert [len(b) for b in blocks] == lengths
    np.testing.assert_allclose(torch.cat(blocks).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("offset, rumble", [(0.01, 0.0), (0.3, 0.0), (0.0, 0.01)])
def test_an_offset_or_a_rumble_does_not_change_the_features(tmp_path, offset, rumble, rate):
    """A quiet recording with a constant offset, or with a swing of 20 Hz louder than the speech."""
    speech, had = soundfile.read(ROOT / "assets" / "speech.wav")
    speech = scipy.signal.resample_poly(speech, rate // had, 1)
    speech = speech[:, 0] if speech.ndim > 1 else speech
    below = offset + rumble * np.sin(2 * np.pi * 20 * np.arange(len(speech)) / rate)
    for name, sound in (("plain", 0.1 * speech), ("odd", 0.1 * speech + below)):
        soundfile.write(tmp_path / f"{name}.wav", sound, rate, subtype="FLOAT")
    mel = SpeechFeatures("mel")
    plain, odd = (mel(load_audio(tmp_path / f"{name}.wav")) for name in ("plain", "odd"))
    assert (plain - odd).abs().mean() < 0.02 * plain.std()
    if offset:  # nor a click where it begins and ends
        assert max((plain - odd)[[0, -1]].abs().mean(dim=1)) < 0.02 * plain.std()
    blocks = torch.cat(list(load_audio_blocks(tmp_path / "odd.wav", seconds=0.7)))
    np.testing.assert_allclose(blocks, load_audio(tmp_path / "odd.wav"), atol=1e-5)


def test_an_offset_alone_is_silence(tmp_path):
    soundfile.write(tmp_path / "offset.wav", np.full(32_000, 0.1), 16_000)
    with pytest.raises(SpeechError, match="offset.wav: is silent"):
        load_audio(tmp_path / "offset.wav")


# ------------------------------------------------------------------------------------------------
# Files that are damaged
# ------------------------------------------------------------------------------------------------
def damaged(tmp_path, kind):
    """Write a file that is damaged in this way -> its path."""
    path = tmp_path / f"{kind} file.wav"
    noise = np.random.default_rng(0)
    odd = np.arange(16_000) == 777
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no sound\n" * 20)
    elif kind == "random":
        path.write_bytes(noise.bytes(5000))
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut-off":
        soundfile.write(path, tone(2), 16_000)
        path.write_bytes(path.read_bytes()[:30_000])
    elif kind == "cut-flac":
        path = path.with_suffix(".flac")
        soundfile.write(path, noise.uniform(-0.5, 0.5, 64_000), 16_000)
        path.write_bytes(path.read_bytes()[:60_000])
    elif kind == "cut-mp3":  # by another ending's name
        soundfile.write(path, tone(3), 16_000, format="MP3")
        path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2])
    elif kind == "no-sound":
        soundfile.write(path, np.where(odd, 1e30, tone(1)), 16_000, subtype="FLOAT")
    elif kind == "silent":
        soundfile.write(path, np.zeros(16_000), 16_000)
    elif kind == "zero-length":
        soundfile.write(path, np.zeros(0), 16_000)
    elif kind == "slow":  # 20 kB would be 2.8 hours
        soundfile.write(path, tone(1, 10_000), 1)
    elif kind == "nearly-speech":
        soundfile.write(path, tone(1, 10_000), 3999)
    elif kind == "fast":  # a block of 20 s would take 8 GB
        soundfile.write(path, tone(1, 10_000), 10**8)
    elif kind == "odd-rate":  # the filter that resamples it would have 700 million numbers
        soundfile.write(path, tone(1), 44_101)
    elif kind == "nan":
        soundfile.write(path, np.where(odd, np.nan, tone(1)), 16_000, subtype="FLOAT")
    return path


DAMAGES = {
    "missing": "no such file",
    "empty": "0 bytes",
    "text": "no audio file",
    "random": "no audio file",
    "folder": "is not a file",
    "cut-off": "breaks off",
    "cut-flac": "",
    "cut-mp3": "breaks off",
    "silent": "silent",
    "zero-length": "0 samples",
    "nan": "sample 777 is nan",
    "no-sound": "sample 777 is 1e+30",
    "odd-rate": "44101",
    "slow": "has 1 samples a second",
    "nearly-speech": "at least 4000",
    "fast": "100000000",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_sound_gets_one_clear_line(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(SpeechError) as caught:
        load_audio(path)
    said = str(caught.value)
    assert path.name in said and "\n" not in said and DAMAGES[kind] in said


def with_length(path, length):
    """Write a WAV of 1 s whose header says that its sound has so many bytes."""
    soundfile.write(path, tone(1), 16_000)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = length.to_bytes(4, "little")
    path.write_bytes(raw)


def test_a_wav_that_counts_its_header_as_sound_is_read(tmp_path):
    with_length(tmp_path / "x.wav", 32_000 + 44)
    assert len(load_audio(tmp_path / "x.wav")) == 16_000


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read_all_the_same(tmp_path):
    with_length(tmp_path / "x.wav", 0xFFFFFFFF)
    assert len(load_audio(tmp_path / "x.wav")) == 16_000


READ_ALL = """
import sys
from recordings.audio import SpeechError, load_audio
for name in sys.argv[1:]:
    try: print(len(load_audio(name)))
    except SpeechError as error: print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a file that may not be read")
def test_a_file_that_may_not_be_read_does_not_stop_the_next(tmp_path):
    files = [tmp_path / "locked.wav", tmp_path / "good.wav"]
    for path in files:
        soundfile.write(path, tone(1), 16_000)
    files[0].chmod(0)
    bound = []
    if os.geteuid() == 0:  # root may read all, unless it gives that up
        bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if not shutil.which("setpriv") or subprocess.run([*bound, "true"]).returncode:
            pytest.skip("root, who may read all, and cannot give that up here")
    command = [*bound, sys.executable, "-c", READ_ALL, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert "cannot be read (Permission denied)" in first and second == "16000", done.stderr


# ------------------------------------------------------------------------------------------------
# The level
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("room", [0.0, 1e-3])
def test_the_level_is_that_of_the_speech_also_where_nearly_all_is_pause(room):
    """6 s of speech in 2 minutes of a quiet room. 95% of it are pauses.

    Their level would make the speech 40 dB too loud.
    """
    random = torch.Generator().manual_seed(0)
    swell = 1 + torch.sin(torch.arange(96_000) / 600)
    speech = torch.randn(96_000, generator=random) * 0.1 * swell
    alone = loud_level(speech)
    among = torch.randn(1_920_000, generator=random) * room
    among[800_000:896_000] += speech
    assert alone / 5 < loud_level(among) < 1.05 * alone
    among[:1600] = 1.0  # 0.1 s of clicks is no speech
    assert loud_level(among) < 1.05 * alone
    assert loud_level(among[:80_000]) < max(0.02 * alone, 1.1 * room)
    running = RunningLevel()
    for _ in running.hear(among[:320_000].split(800)):
        pass
    assert running() > 10 ** (-45 / 20), "20 s in which nobody speaks"


@pytest.mark.parametrize("samples", [1, 399, 16_000, 51_234])
def test_the_level_of_blocks_is_that_of_the_whole(samples):
    waveform = torch.from_numpy(speechlike(4))[:samples]
    for block in (37, 800, 100_000):
        level, counted = loud_level_of(waveform.split(block))
        assert counted == samples and torch.equal(level, loud_level(waveform))


def test_the_running_level_starts_at_the_usual_one_and_ends_at_the_recordings():
    quiet, level = torch.from_numpy(speechlike(90)) * 0.05, RunningLevel()
    assert level() == pytest.approx(0.1)
    blocks = level.hear(quiet.split(777))
    next(blocks)
    assert 0.08 < level() < 0.11, "one block is not believed"
    for _ in blocks:
        pass
    true = float(loud_level(quiet))
    assert abs(20 * np.log10(level() / true)) < 1.5  # what is left of the first guess after 90 s
    assert abs(20 * np.log10(0.1 / true)) > 15, "it had far to go"


# ------------------------------------------------------------------------------------------------
# Motion frames
# ------------------------------------------------------------------------------------------------
def test_features_are_averaged_over_the_motion_frame():
    """Of a ramp, the mean over a frame is its value at the frame's centre."""
    ramp = (torch.arange(1000).float() / 100)[:, None]  # at 100 a second, row k is k / 100
    frames = to_motion_frames(ramp, 100, 0.0, 20, 199)
    centres = (torch.arange(199) + 0.5) / 20
    assert torch.allclose(frames[:, 0], centres, atol=1e-4)
    finer = to_motion_frames(ramp, 100, 0.0, 240, 2000)  # a frame rate above the features' own
    assert (finer[:, 0] - (torch.arange(2000) + 0.5) / 240).abs().max() < 0.006


@pytest.mark.parametrize(
    "fps,rate,centre", [(20, 50, 0.0125), (29.97, 50, 0.0125), (60, 100, 0.0), (120, 50, 0.0125)]
)
def test_motion_frames_of_pieces_are_those_of_the_whole_and_the_mean_by_definition(
    fps, rate, centre
):
    """By definition: the integral over a frame of what is constant around each row's centre."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(171, 3)))
    frames = math.floor((171 / rate + centre - 0.5 / rate) * fps)
    cuts = np.sort(rng.integers(0, 171, 9))
    pieces = [torch.from_numpy(p) for p in np.split(features.numpy(), cuts) if len(p)]
    got = torch.cat(list(motion_frames(pieces, rate, centre, fps, frames)))
    left = centre - 0.5 / rate + np.arange(171) / rate  # where each row begins, in seconds
    wanted = np.empty((frames, 3))
    for n in range(frames):
        ends, starts = np.minimum(left + 1 / rate, (n + 1) / fps), np.maximum(left, n / fps)
        overlap = np.clip(ends - starts, 0, None)
        wanted[n] = overlap @ features.numpy() / overlap.sum()
    assert np.abs(got.numpy() - wanted).max() < 1e-5
    assert torch.allclose(got, to_motion_frames(features, rate, centre, fps, frames), atol=1e-6)


@pytest.mark.parametrize("rate", [4000, 12_345, 44_056, 96_000])
def test_seldom_rates_are_read_whole_and_in_blocks(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(2, rate), rate)
    whole = load_audio(tmp_path / "a.wav")
    assert abs(len(whole) - 32_000) <= 1
    assert torch.allclose(torch.cat(list(load_audio_blocks(tmp_path / "a.wav"))), whole, atol=1e-5)
    inside = whole[3000:-3000]
    spectrum = torch.fft.rfft(inside * torch.hann_window(len(inside))).abs()
    assert spectrum.argmax() * 16_000 / len(inside) == pytest.approx(440, abs=1)


def test_a_file_of_many_channels_is_read_in_pieces_that_fit_into_memory(tmp_path):
    """20 s of 200 channels at 48 kHz would take 768 MB at once."""
    sound = np.repeat(tone(0.5, 48_000)[:, None], 200, axis=1)
    soundfile.write(tmp_path / "a.wav", sound, 48_000)
    sizes = [len(block) for _, block in audio._blocks(tmp_path / "a.wav")]
    assert sum(sizes) == 24_000 and max(sizes) * 200 <= parts.AT_ONCE
