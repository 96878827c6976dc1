"""How late is a motion? It is compared with its sound at every shift: one take, or many together.

In reading order: what the hands do and how loud the speech is; Evidence, the correlations of a
take, which add up over takes; what they say (lag_of, verdict).

People gesture with their speech, but loosely: in which way differs from one to the next. So two
things that hands do are compared with the loudness, and the clearer one counts. Slow changes are
taken out of all of them: that somebody talks and gestures more after half a minute says nothing
about tenths of a second.
"""

from dataclasses import dataclass

import numpy as np

from body.motion import BvhError, resample
from body.size import hands_of
from recordings.audio import SAMPLE_RATE
from recordings.level import loud_level

RATE = 20  # frames a second
REACH = 10.0  # s, searched on either side, but at most a third of the take
TREND = 1.0  # s: what changes more slowly is taken out
MEMORY = 3.0  # s, after which a signal no longer resembles itself
SHORTEST = 5.0  # s: nothing is computed for shorter takes
NATURAL = 0.6  # s: three recordings of people lie at -0.25, -0.15 and 0.45 s
# Deviations above chance. How often chance reaches them: docs/recordings.md
FITS = 3.5  # at a shift of at most NATURAL
SHIFTED = 3.9  # at any other: there are more of them, and it must be more than at a natural one


# ------------------------------------------------------------------------------------------------
# What is compared
# ------------------------------------------------------------------------------------------------
def falling_speed(motion):
    """How fast the faster of the hands falls, seen from the hips: [F] in body heights a second.

    0 where both rise. Raises BvhError if no joint is called a hand.
    """
    y = hands_of(motion)[..., 1]  # [F, 2]
    if len(y) < 2:
        return np.zeros(len(y))
    return np.maximum(-np.gradient(y, axis=0), 0).max(axis=1) / motion.frame_time  # [F]


def acceleration(motion):
    """How fast both hands change their velocity, together: [F] in body heights a frame squared."""
    velocity = np.gradient(hands_of(motion), axis=0)  # [F, 2, 3]
    return np.linalg.norm(np.gradient(velocity, axis=0), axis=-1).sum(axis=1)  # [F]


def against_its_mean(x):
    """log(x / mean + 0.3), [F]: for bodies of any size, with all that is nearly still alike."""
    return np.log(x / max(x.mean(), 1e-12) + 0.3)


def loudness(waveform):
    """How loud each frame of speech sounds: the fourth root of its power, [n]."""
    hop = SAMPLE_RATE // RATE
    n = len(waveform) // hop
    power = (waveform[: n * hop] / loud_level(waveform)).reshape(n, hop).square().mean(dim=1)
    return power.numpy().astype(float) ** 0.25  # [n]


def without_trend(x):
    """x [n] less its mean over some TREND seconds, with deviation 1; zeros where it is constant."""
    half = int(4 * TREND * RATE)
    bell = np.exp(-0.5 * (np.arange(-half, half + 1) / (TREND * RATE)) ** 2)
    # Beside the ends the mean is that of what is there
    total, weight = (np.convolve(y, bell)[half:][: len(x)] for y in (x, np.ones(len(x))))
    x = x - total / weight
    x = x - x.mean()
    return x / x.std() if x.std() > 1e-9 else np.zeros(len(x))


# ------------------------------------------------------------------------------------------------
# Evidence
# ------------------------------------------------------------------------------------------------
@dataclass
class Evidence:
    """Correlations of what hands do with the loudness at each shift. Takes' evidence adds up."""

    products: np.ndarray  # [2, shifts] sums over the frames
    variances: np.ndarray  # [2, shifts] of these sums, if motion and sound had nothing in common
    seconds: float

    def __add__(self, other):
        return Evidence(
            self.products + other.products,
            self.variances + other.variances,
            self.seconds + other.seconds,
        )

    def deviations(self):
        """By how many standard deviations each sum lies above chance: [2, shifts]."""
        return self.products / np.sqrt(np.maximum(self.variances, 1e-9))


SHIFTS = np.arange(-int(REACH * RATE), int(REACH * RATE) + 1)  # frames by which the motion is late


def evidence(motion, waveform):
    """One take -> Evidence, or None: too short, no hands, or motion or sound never changes."""
    motion = resample(motion, RATE)
    if len(motion) < SHORTEST * RATE:
        return None
    try:
        signals = [against_its_mean(of(motion)) for of in (falling_speed, acceleration)]
    except BvhError:  # no joint is called a hand
        return None
    return compare(signals, loudness(waveform))


def compare(signals, loud):
    """Two signals [frames] of the hands and the loudness [frames] -> Evidence, or None as above."""
    n = min(len(signals[0]), len(loud))
    if n < SHORTEST * RATE:
        return None
    loud = without_trend(loud[:n])
    signals = [without_trend(signal[:n]) for signal in signals]
    if not loud.any() or not all(signal.any() for signal in signals):
        return None
    frames = np.where(np.abs(SHIFTS) <= n / 3, n - np.abs(SHIFTS), 0)  # that overlap
    products = [(frames > 0) * products_at(signal, loud) for signal in signals]
    variances = [frames * chance(signal, loud) for signal in signals]
    return Evidence(np.array(products), np.array(variances), n / RATE)


def products_at(signal, loud):
    """sum over t of signal[t + shift] loud[t], at SHIFTS: [shifts]."""
    size = 2 * len(signal) + len(SHIFTS)
    spectrum = np.fft.rfft(signal, size) * np.conj(np.fft.rfft(loud, size))
    return np.fft.irfft(spectrum, size)[SHIFTS]


def chance(a, b):
    """The variance of a product of two unrelated signals [n], a frame (Bartlett's formula).

    It is 1 for white noise. Signals that change slowly repeat themselves: sum over the shifts k of
    rho_a(k) rho_b(k), where rho is a signal's correlation with itself.
    """
    n, size = len(a), 2 * len(a)
    own = [np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size) / n for x in (a, b)]
    k = np.arange(1, min(n, int(MEMORY * RATE)))
    return max(0.3, 1 + 2 * float(np.sum((own[0] * own[1])[k])))


# ------------------------------------------------------------------------------------------------
# What it says
# ------------------------------------------------------------------------------------------------
def lag_of(found):
    """Evidence -> the best of the NATURAL shifts, and the best of all others.

    Each is (seconds by which the motion is late, deviations above chance).
    """
    best = np.where(found.variances > 0, found.deviations(), -np.inf).max(axis=0)  # [shifts]
    natural = np.abs(SHIFTS) <= NATURAL * RATE
    at = [np.argmax(np.where(these, best, -np.inf)) for these in (natural, ~natural)]
    return [(float(SHIFTS[n] / RATE), float(best[n])) for n in at]


def verdict(found):
    """Evidence or None -> (what it says, seconds by which the motion is late).

    "in step", "shifted", or "cannot tell".
    """
    if found is None:
        return "cannot tell", None
    near, far = lag_of(found)
    if far[1] >= SHIFTED and far[1] > near[1]:
        return "shifted", far[0]
    if near[1] >= FITS:
        return "in step", near[0]
    return "cannot tell", None
