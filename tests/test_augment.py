"""Augmented speech: what noise and another vocal tract may change, and what they may not."""

import numpy as np
import scipy.signal
import torch

from beyond.augment import VERSIONS, versions, with_noise, with_other_vocal_tract
from beyond.recipes import OURS, undo
from diffmotion import PAPER
from recordings.pairs import name_hash

MINUTE = 960_000  # samples


def test_noise_is_of_all_colours_and_levels_and_never_louder_than_the_speech():
    n = torch.arange(160_000)
    waveform = 0.3 * torch.sin(n * 0.2) * (n % 16_000 < 9_000)
    levels, tilts, swells = [], [], []
    for seed in range(60):
        noise = (with_noise(waveform, seed) - waveform).double()
        power = noise.square().mean()
        levels.append(10 * torch.log10(waveform.double().square().mean() / power))
        frequency, power = scipy.signal.welch(noise.numpy(), 16_000, nperseg=1024)
        band = (frequency > 100) & (frequency < 7000)
        line = np.polyfit(np.log2(frequency[band]), 10 * np.log10(power[band]), 1)
        tilts.append(line[0])  # dB an octave
        seconds = noise.view(10, -1).square().mean(dim=1)
        swells.append(10 * torch.log10(seconds.max() / seconds.min()))
    assert 0 <= min(levels) < 4 and 26 < max(levels) <= 30.01
    assert -6.5 < min(tilts) < -5 and -1 < max(tilts) < 0.5
    assert min(swells) < 1.5 and 5 < max(swells) < 13


def test_each_minute_has_a_noise_of_its_own():
    waveform = torch.randn(130 * 16_000, generator=torch.Generator().manual_seed(0))
    noisy = with_noise(waveform, 3).split(MINUTE)
    for n, (minute, clean) in enumerate(zip(noisy, waveform.split(MINUTE))):
        assert torch.equal(minute, with_noise(clean, 3 + n))


def test_noise_is_the_same_for_one_seed_and_finite_for_silence():
    waveform = torch.randn(16_000)
    assert torch.equal(with_noise(waveform, 3), with_noise(waveform, 3))
    assert torch.isfinite(with_noise(torch.zeros(1600), 1)).all()


def formant():
    """10 s of noise with one formant at 1000 Hz, on for half a second and off for half."""
    hiss = torch.randn(160_000, generator=torch.Generator().manual_seed(0)).numpy()
    sound = scipy.signal.lfilter(*scipy.signal.iirpeak(1000, 4, fs=16_000), hiss)
    return torch.from_numpy(sound).float() * (torch.arange(160_000) % 16_000 < 8_000)


def test_another_vocal_tract_moves_the_formants_and_keeps_times_and_level():
    octaves, sound = [], formant()
    for seed in range(40):
        voice = with_other_vocal_tract(sound, 0.4, seed, 0.0).double()
        frequency, power = scipy.signal.welch(voice.numpy(), 16_000, nperseg=512)
        near = (frequency > 300) & (frequency < 3000)
        middle = np.average(np.log(frequency[near]), weights=power[near] ** 2)
        octaves.append(np.log2(np.exp(middle) / 1000))
        on, off = voice.view(20, -1).square().mean(dim=1).view(10, 2).mean(dim=0)
        assert off < 0.05 * on
        assert torch.isclose(voice.square().mean(), sound.double().square().mean(), rtol=1e-3)
    assert -0.45 < min(octaves) < -0.3 and 0.3 < max(octaves) < 0.45


def test_another_vocal_tract_keeps_the_pitch():
    tone = torch.sin(2 * torch.pi * 200 * torch.arange(160_000) / 16_000)
    for seed in range(40):
        voice = with_other_vocal_tract(tone, 0.2, seed, 0.0)
        frequency, power = scipy.signal.welch(voice.numpy(), 16_000, nperseg=4096)
        assert abs(frequency[power.argmax()] - 200) < 4


def test_another_microphone_is_an_equaliser_of_up_to_10_db_either_way():
    hiss = torch.randn(320_000, generator=torch.Generator().manual_seed(0))
    curves = []  # dB at 200, 1000, 5000 Hz: what the equaliser does to a white noise
    for seed in range(40):
        voice = with_other_vocal_tract(hiss, 0.0, seed).numpy()
        frequency, power = scipy.signal.welch(voice, 16_000, nperseg=2048)
        bands = ((frequency > f / 1.1) & (frequency < f * 1.1) for f in (200, 1000, 5000))
        curves.append([10 * np.log10(power[band].mean()) for band in bands])
    low, middle, high = np.array(curves).T
    for a, b in ((low, middle), (middle, high), (low, high)):
        assert 10 < np.abs(a - b).max() < 20.5, "up to 20 dB from place to place"
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.9, "and each place by itself"
    unchanged = with_other_vocal_tract(hiss, 0.0, 3, 0.0)
    assert torch.allclose(unchanged, hiss, atol=1e-5), "nothing is lost on the way"


def test_each_minute_has_a_vocal_tract_of_its_own_and_any_length_is_kept():
    long = torch.cat([formant()] * 13)  # 130 s
    second = with_other_vocal_tract(long, 0.4, 3)[MINUTE : 2 * MINUTE]
    assert torch.equal(second, with_other_vocal_tract(long[MINUTE : 2 * MINUTE], 0.4, 4))
    for short in (torch.zeros(1600), torch.randn(1), torch.randn(300)):
        voice = with_other_vocal_tract(short, 0.4, 1)
        assert voice.shape == short.shape and torch.isfinite(voice).all()


def test_versions_of_a_take_are_drawn_by_its_name_and_the_paper_has_none():
    waveform = torch.randn(16_000)
    assert versions(PAPER) == [] and versions(undo(OURS, ["noise"])) == []
    ours, noise_alone = versions(OURS), versions(undo(OURS, ["voices"]))
    assert len(ours) == len(noise_alone) == VERSIONS
    for k in range(VERSIONS):
        voice = with_other_vocal_tract(waveform, OURS.octaves, name_hash(f"anna/1 voice {k}"))
        seed = name_hash(f"anna/1 {k}")
        assert torch.equal(ours[k](waveform, "anna/1"), with_noise(voice, seed))
        assert torch.equal(noise_alone[k](waveform, "anna/1"), with_noise(waveform, seed))
