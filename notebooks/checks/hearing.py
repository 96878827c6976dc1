"""Notebook 2: hearing."""

import numpy as np

from checks.judging import judge, judge_number


def hz_to_mel(answer):
    """f [n] in Hz -> mel [n]."""
    inputs = [(np.array([0.0, 200.0, 1000.0]),), (np.array([440.0, 7600.0]),)]

    def right(f):
        return 2595 * np.log10(1 + f / 700)

    def some(f):  # where a mistake would take the logarithm of 0
        return np.maximum(f, 1e-300)

    mistakes = {
        "that is the natural logarithm; with it the factor would be 1127":
            lambda f: 2595 * np.log(1 + f / 700),
        "that is the decimal logarithm with the natural one's factor; 2595 goes with log10":
            lambda f: 1127 * np.log10(1 + f / 700),
        "that is the logarithm of base 2; log10 is meant":
            [lambda f: 2595 * np.log2(1 + f / 700), lambda f: 1127 * np.log2(1 + f / 700)],
        "the 1 is missing: 0 Hz must be 0 mel":
            [lambda f: 2595 * np.log10(some(f) / 700), lambda f: 2595 * np.log10(f / 700)],
        "the 1 stands inside the logarithm":
            lambda f: 2595 * (1 + np.log10(f / 700)),
        "that is the way back, from mel to Hz":
            lambda f: 700 * (10 ** (f / 2595) - 1),
        "the frequency is in kHz there; here it comes in Hz":
            lambda f: right(1000 * f),
        "f is divided by 700 inside the logarithm":
            [lambda f: 2595 * np.log10(1 + f) / 700, lambda f: 2595 * np.log10(1 + f * 700),
             lambda f: 2595 * np.log10(1 + f), lambda f: 2595 * np.log10(700 + f)],
        "that is 700 / f; f / 700 is meant":
            lambda f: 2595 * np.log10(1 + 700 / f),
        "700 Hz is where the scale bends; yours has another number":
            [lambda f: 2595 * np.log10(1 + f / 1000), lambda f: 2595 * np.log10(1 + f / 100)],
        "the factor 2595 is missing":
            lambda f: np.log10(1 + f / 700),
    }  # fmt: skip
    well_done = "torchaudio's MelSpectrogram places its bands by it"
    return judge(answer, inputs, right, mistakes, well_done)


def cepstra(answer):
    """log bands [N], count -> the first `count` coefficients of the orthonormal DCT-II [count]."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=size), count) for size, count in ((8, 8), (40, 20), (5, 3))]

    def right(bands, count, half=0.5, s0=1.0, s=2.0, first=0, wave=np.cos):
        N, k = len(bands), np.arange(first, first + count)
        scale = np.where(k == 0, np.sqrt(s0 / N), np.sqrt(s / N)) if s else np.ones(count)
        return scale * (wave(np.pi * k[:, None] * (np.arange(N) + half) / N) @ bands)

    def bare(bands, count, scale):
        return right(bands, count, s=0) * np.r_[scale(1.0), np.full(count - 1, scale(2.0))]

    def half_on_k(bands, count):
        N, k = len(bands), np.arange(count)[:, None] + 0.5
        return np.cos(np.pi * k * np.arange(N) / N) @ bands * np.sqrt(2 / N)

    mistakes = {
        "the half is missing: a band's value stands in the middle of the band, at n + 1/2":
            lambda bands, count: right(bands, count, half=0.0),
        "bands are counted from 0, and the middle of the first is at 1/2":
            [lambda bands, count: right(bands, count, half=1.0),
             lambda bands, count: right(bands, count, half=1.5),
             lambda bands, count: right(bands, count, half=-0.5)],
        "the factors are missing; without them longer spectra give larger numbers":
            lambda bands, count: right(bands, count, s=0),
        "the first coefficient has a factor of its own, sqrt(1 / N)":
            lambda bands, count: right(bands, count, s0=2.0),
        "all but the first coefficient have the factor sqrt(2 / N)":
            lambda bands, count: right(bands, count, s=1.0),
        "the factors are the roots, sqrt(1 / N) and sqrt(2 / N)":
            lambda bands, count: bare(bands, count, lambda s: s / len(bands)),
        "N is the number of bands, not of the coefficients that are kept":
            lambda bands, count: bare(bands, count, lambda s: np.sqrt(s / count)),
        "k counts from 0: coefficient 0, the level, is missing":
            lambda bands, count: right(bands, count, first=1),
        "the bands are logarithms already":
            lambda bands, count: right(np.log(np.abs(bands)), count),
        "the angle is pi k (n + 1/2) / N; look at its factors":
            [lambda bands, count: right(bands, count, wave=lambda x: np.cos(x / 2)),
             lambda bands, count: right(bands, count, wave=lambda x: np.cos(x * 2)),
             lambda bands, count: right(bands, count, wave=lambda x: np.cos(x / np.pi))],
        "cosines, not sines: coefficient 0 would always be 0":
            lambda bands, count: right(bands, count, wave=np.sin),
        "the half belongs to the band n, not to the coefficient k":
            half_on_k,
        "only the first `count` coefficients are wanted":
            lambda bands, count: right(bands, len(bands)),
        "those are the last coefficients; the first ones are wanted":
            lambda bands, count: right(bands, len(bands))[-count:],
    }  # fmt: skip
    well_done = "SpeechFeatures multiplies all slices by torchaudio's create_dct at once"
    return judge(answer, inputs, right, mistakes, well_done)


def sight_and_step(answer):
    """[(kernel, stride), ...] -> (samples that a row sees, samples from row to row)."""
    wavlm = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    inputs = [(wavlm,), ([(5, 1)],), ([(4, 2), (3, 1), (7, 3)],)]

    def step(layers):
        return int(np.prod([stride for _, stride in layers]))

    def sight(layers, overlap=1, own=0, first=None):
        reach = [
            (kernel - overlap) * step(layers[: n + own]) for n, (kernel, _) in enumerate(layers)
        ]
        return (overlap if first is None else first) + sum(reach)

    mistakes = {
        "kernels are added up as if each counted samples; those above the first count rows of "
        "the layer below, which are a stride apart":
            [lambda layers: (sum(kernel for kernel, _ in layers), step(layers)),
             lambda layers: (1 + sum(kernel - 1 for kernel, _ in layers), step(layers))],
        "the sight is the product of all kernels only if no windows overlap":
            lambda layers: (int(np.prod([kernel for kernel, _ in layers])), step(layers)),
        "a kernel's reach is multiplied by the strides below it, its own not among them":
            lambda layers: (sight(layers, own=1), step(layers)),
        "one row more reaches k - 1 steps further, not k: "
        "the first of them is where one stands already":
            [lambda layers: (sight(layers, overlap=0), step(layers)),
             lambda layers: (1 + sight(layers, overlap=0), step(layers))],
        "strides multiply: a row of the second layer steps over as many rows of the first as its "
        "stride says":
            lambda layers: (sight(layers), sum(stride for _, stride in layers)),
        "first the sight, then the step":
            lambda layers: (step(layers), sight(layers)),
        "before the first layer a row is one sample and sees 1, not 0":
            lambda layers: (sight(layers, first=0), step(layers)),
        "the first layer of the list is the one that hears the samples; yours begins at the last":
            lambda layers: (sight(layers[::-1]), step(layers)),
        "two numbers are wanted, the sight and the step":
            [lambda layers: sight(layers), lambda layers: step(layers)],
        "the step is the product of all strides, not the last one alone":
            lambda layers: (sight(layers), layers[-1][1]),
    }  # fmt: skip
    well_done = (
        "400 and 320 for WavLM, FIELD and STRIDE in recordings/wavlm_long.py: 25 ms and 20 ms"
    )
    return judge(answer, inputs, lambda layers: (sight(layers), step(layers)), mistakes, well_done)


def wavlm_rows(answer):
    """How many rows WavLM makes of 160,000 samples."""
    mistakes = {
        "50 a second would be 500, but the last window would reach beyond the end: "
        "a row needs 400 samples": [500, 501],
        "the first row needs no step: one more than the steps that fit":
            [498, (160_000 - 400) / 320],
        "a row is there or it is not: a whole number": [(160_000 - 400) / 320 + 1, 499.375],
        "that divides by the sight; rows overlap, a new one begins every 320 samples": 400,
        "that is a number of rows a second; the clip has ten": 50,
    }  # fmt: skip
    well_done = "so rows must be placed by their centres, not by stretching them over the clip"
    return judge_number(answer, (160_000 - 400) // 320 + 1, 1e-6, mistakes, well_done)
