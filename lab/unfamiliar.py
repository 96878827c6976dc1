"""Unfamiliar sound: what lab.experiments does to the speech of the test takes.

Functions from a waveform [samples] to a waveform.
"""

import numpy as np
import torch
import torchaudio.functional

from recordings.audio import SAMPLE_RATE


def noisy(waveform, decibels):
    """White noise that many dB below the speech."""
    noise = torch.randn(len(waveform), generator=torch.Generator().manual_seed(0))
    return waveform + noise * waveform.square().mean().sqrt() * 10 ** (-decibels / 20)


def telephone(waveform):
    """Only 300 to 3400 Hz, cut off sharply."""
    spectrum = torch.fft.rfft(waveform)
    hertz = torch.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    return torch.fft.irfft(spectrum * ((hertz > 300) & (hertz < 3400)), len(waveform))


def pitched(waveform, semitones):
    """Higher or lower by that many semitones, as long as before."""
    return torchaudio.functional.pitch_shift(waveform, SAMPLE_RATE, semitones)


def faster(waveform, factor):
    """That many times as fast, at the same pitch: a phase vocoder, 512 samples a window."""
    window, hop = torch.hann_window(512), 128
    spectrum = torch.stft(waveform, 512, hop, window=window, return_complex=True)  # [257, columns]
    advance = torch.linspace(0, torch.pi * hop, 257)[:, None]
    stretched = torchaudio.functional.phase_vocoder(spectrum, factor, advance)
    length = round(len(waveform) / factor)
    return torch.istft(stretched, 512, hop, window=window, length=length)


def music(waveform):
    """As long as the waveform: chords of three decaying tones, two a second; nothing speaks."""
    random, t = np.random.default_rng(0), torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE

    def chord():
        semitones = random.choice([0, 2, 4, 5, 7, 9, 11, 12], 3, replace=False)
        tones = sum(torch.sin(2 * torch.pi * 220 * 2 ** (n / 12) * t) for n in semitones)
        return tones * torch.exp(-4 * t)

    chords = [chord() for _ in range(2 * len(waveform) // SAMPLE_RATE + 1)]
    return 0.2 * torch.cat(chords)[: len(waveform)]


UNFAMILIAR = {
    "as recorded": lambda w: w,
    "noise at 20 dB": lambda w: noisy(w, 20),
    "noise at 10 dB": lambda w: noisy(w, 10),
    "noise at 0 dB": lambda w: noisy(w, 0),
    "telephone band": telephone,
    "4 semitones higher": lambda w: pitched(w, 4),
    "4 semitones lower": lambda w: pitched(w, -4),
    "1.25 times as fast": lambda w: faster(w, 1.25),
    "0.8 times as fast": lambda w: faster(w, 0.8),
    "music": music,
    "silence": torch.zeros_like,
}
SPEED = {"1.25 times as fast": 1.25, "0.8 times as fast": 0.8}

LANGUAGES = {  # name: espeak-ng's voice
    "English": "en",
    "German": "de",
    "Spanish": "es",
    "Mandarin": "cmn",
    "Arabic": "ar",
    "Hindi": "hi",
    "Swahili": "sw",
}
# Numbers are read out in every language
SPOKEN = (
    "4 8 15 16 23 42. 108. 3 1 4 1 5 9 2 6. 27 18 28. 77 12 90. 1 2 3 4 5 6 7. 365 24 60 60. "
    "99 50 1000. 8 9 10."
)
