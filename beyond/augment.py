"""Augmented speech: the same words in noise, or by another speaker through another microphone.

Paper:    the features of each recording as it is.
Ours:     a quarter of the windows are trained on a version with another vocal tract and noise.
Why:      a model that heard only its own recordings fails in other rooms and on other voices.
For mel and MFCC only: WavLM's own training had noise in it.
"""

from functools import partial

import numpy as np
import torch

from recordings.audio import SAMPLE_RATE
from recordings.pairs import name_hash

MINUTE = 60 * SAMPLE_RATE
VERSIONS = 3  # of each take; each costs as much memory as the take's own features


def versions(recipe):
    """The functions (waveform, take's name) -> waveform by which a recipe disturbs speech."""
    if not recipe.noisy:
        return []
    return [partial(disturbed, octaves=recipe.octaves, version=k) for k in range(VERSIONS)]


def disturbed(waveform, name, octaves, version):
    """Another vocal tract, then noise; drawn by the take's name, so a resumed run has the same."""
    if octaves:
        seed = name_hash(f"{name} voice {version}")
        waveform = with_other_vocal_tract(waveform, octaves, seed)
    return with_noise(waveform, name_hash(f"{name} {version}"))


def with_noise(waveform, seed):
    """waveform [samples] -> the same with noise added, 0 to 30 dB below the speech.

    The noise is a hiss or a rumble: its power falls by 0 to 6 dB an octave. Its level wanders by
    up to 12 dB within seconds, so that neither a colour nor a constant level marks the noise.
    Colour and level are drawn anew for each minute. seed: any whole number.
    """
    if len(waveform) > MINUTE:
        minutes = enumerate(waveform.split(MINUTE))
        return torch.cat([with_noise(minute, seed + n) for n, minute in minutes])
    random = torch.Generator().manual_seed(seed % 2**63)

    def uniform(low, high):
        return low + (high - low) * torch.rand(1, generator=random).item()

    # Coloured noise, through its spectrum. A power of two: other lengths can take ten times as long
    size = 1 << (len(waveform) - 1).bit_length()
    hertz = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE)  # [size / 2 + 1]
    hertz = hertz.clamp(min=40)  # below 40 Hz a rumble grows no further
    spectrum = torch.randn(len(hertz), dtype=torch.complex64, generator=random)
    spectrum = spectrum * hertz ** -uniform(0, 1)  # [size / 2 + 1]
    noise = torch.fft.irfft(spectrum, size)[: len(waveform)]  # [samples]
    # Its level: random marks every 0.3 to 3 s, joined by straight lines in dB
    marks = 2 + int(len(waveform) / SAMPLE_RATE / uniform(0.3, 3))
    marks = torch.rand(marks, generator=random) * uniform(0, 12)  # [marks], dB
    decibels = torch.nn.functional.interpolate(
        marks[None, None], len(waveform), mode="linear", align_corners=True
    )[0, 0]  # [samples]
    noise = noise * 10 ** (decibels / 20)
    ratio = (waveform.square().mean() / noise.square().mean()).sqrt()
    return waveform + noise * ratio * 10 ** (-uniform(0, 30) / 20)


def with_other_vocal_tract(waveform, octaves, seed, decibels=10.0):
    """waveform [samples] -> the same words by a larger or smaller speaker, another microphone.

    Vocal tract length perturbation (Jaitly & Hinton, 2013): the magnitudes of the spectrum are
    stretched along the frequencies by a factor between 2^-octaves and 2^octaves. This moves the
    formants. The phases stay, and so does the pitch.

    Microphone and room are an equaliser with six marks, spread evenly over the logarithm of the
    frequency from 40 Hz to 8 kHz, each drawn between -decibels and decibels.

    Timing and level stay (the level as the root mean square of each minute). Drawn anew for each
    minute. seed: any whole number.
    """
    if len(waveform) > MINUTE:
        minutes = enumerate(waveform.split(MINUTE))
        parts = [with_other_vocal_tract(m, octaves, seed + n, decibels) for n, m in minutes]
        return torch.cat(parts)
    random = torch.Generator().manual_seed(seed % 2**63)
    stretch, *marks = (torch.rand(7, generator=random) * 2 - 1).tolist()
    frame = dict(n_fft=512, hop_length=128, window=torch.hann_window(512))  # 32 ms, 8 ms
    spectrum = torch.stft(
        waveform, **frame, pad_mode="constant", return_complex=True
    )  # [257, columns]
    bins = np.arange(len(spectrum))  # [257]
    # Stretch: each bin takes the magnitude between two others
    source = torch.from_numpy(bins / 2 ** (octaves * stretch))  # [257]
    below = source.long().clamp(max=len(bins) - 2)  # [257]
    share = (source - below).float()[:, None]  # [257, 1]
    magnitude = spectrum.abs()  # [257, columns]
    stretched = torch.lerp(magnitude[below], magnitude[below + 1], share)  # [257, columns]
    # Equalise: 0 at the first mark (40 Hz), 5 at the last (8 kHz)
    hertz = np.maximum(bins * SAMPLE_RATE / 512, 40)
    place = np.log(hertz / 40) / np.log(8000 / 40) * 5  # [257]
    gain = 10 ** (torch.from_numpy(np.interp(place, range(6), marks)).float() * decibels / 20)
    gain = gain * (source <= len(bins) - 1)  # [257]; there is nothing to take above 8 kHz
    # In place: an hour has 115 million of these numbers
    spectrum *= stretched.mul_(gain[:, None]).div_(magnitude.clamp_(min=1e-20))  # [257, columns]
    voice = torch.istft(spectrum, **frame, length=len(waveform))  # [samples]
    power = voice.square().mean().clamp(min=1e-12)
    return voice * (waveform.square().mean() / power).sqrt()
