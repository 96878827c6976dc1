"""Metrics of motion with speech, and of motion alone: functions from motions to numbers.

Reading order
    1. energy onsets      do strokes fall where the speech gets louder? needs no known answers
    2. Gesture            any skeleton as 16 joints in body lengths: what the rest looks at
    3. motion and speech  beat alignment, correlation of loudness and hand speed
    4. motion alone       diversity, jerk, foot sliding, range of motion

The puppet's scores are in puppet_scores.py, the Fréchet distance in frechet.py, all of them for a
model with floor and ceiling in report.py. None says whether people find a motion human. Each
docstring says what its metric cannot tell.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from body.joints import COMMON_BODY, has_feet
from body.rotations import turn_about_y
from body.size import common_body
from body.strokes import find_strokes
from lab.puppet_scores import matches, mean
from recordings.audio import SAMPLE_RATE
from recordings.level import loud_level

SILENCE = -35  # dB below the loud parts: pauses are alike from there on, however silent


# ------------------------------------------------------------------------------------------------
# 1. Strokes on energy onsets
# ------------------------------------------------------------------------------------------------
def energy_onsets(waveform):
    """Times [n] in seconds at which the speech gets louder, as stressed syllables in any language.

    The level in dB is taken in steps of 20 ms, smoothed over 60 ms and cut off at SILENCE. An onset
    is where it rises fastest, by at least 6 dB in 60 ms, with no faster rise within 0.15 s. Its
    time is 40 ms later, when the vowel is there.
    """
    hop = SAMPLE_RATE // 50
    steps = len(waveform) // hop
    if steps < 10:
        return np.zeros(0)
    samples = (waveform[: steps * hop] / loud_level(waveform)).reshape(steps, hop)
    power = np.convolve(samples.square().mean(dim=1).numpy(), np.ones(3) / 3, mode="same")
    level = decibels(power)  # [steps]
    rise = np.zeros(steps)
    rise[2:-1] = level[3:] - level[:-3]  # over 60 ms, centred
    around = np.lib.stride_tricks.sliding_window_view(np.pad(rise, 7), 15).max(axis=1)  # [steps]
    return np.flatnonzero((rise == around) & (rise >= 6)) / 50 + 0.04


def decibels(power):
    """Power in shares of the loud parts' -> dB, at least SILENCE."""
    return 10 * np.log10(np.maximum(power, 10 ** (SILENCE / 10)))


def onset_hits(strokes, waveform, rng, shifts=200):
    """(share, mean, 95th percentile, lucky): strokes on an energy onset, and what chance gives.

    share: of the strokes, how many are within TOLERANCE of an onset, one to one.
    mean, 95th percentile: of the same share for the recording shifted round by random times.
    lucky: how many of the shifts, from 0 to 1, hit at least as often as the recording as it is. In
    a short recording few shares are possible, and many shifts may have the same one.

    strokes: a list of stroke times [n], one for each seed, judged together: a shift moves the
    onsets of all seeds alike, so the percentile is that of their common share.
    Four NaN for speech of less than 2 s, which leaves no room to shift, and for no stroke at all.
    """
    if len(waveform) < 2 * SAMPLE_RATE or not sum(map(len, strokes)):
        return (float("nan"),) * 4
    seconds, onsets = len(waveform) / SAMPLE_RATE, energy_onsets(waveform)

    def share(onsets):
        hits = sum(matches(np.sort(s), np.sort(onsets)) for s in strokes)
        return hits / sum(map(len, strokes))

    hits = share(onsets)
    by = [rng.uniform(0.5, seconds - 0.5) for _ in range(shifts)]
    shifted = np.array([share((onsets + shift) % seconds) for shift in by])  # [shifts]
    high, lucky = np.quantile(shifted, 0.95), (shifted >= hits).mean()
    return hits, float(shifted.mean()), float(high), float(lucky)


def onset_hits_of_takes(strokes, seconds, waveforms, rng):
    """onset_hits of each take by itself -> (share, share for shifted onsets), means over takes.

    strokes: [takes] of times [n]. seconds: [takes], how long the motions last; of a shuffled pair
    the speech may be longer or shorter. Takes without a stroke don't count; NaN where none has one.
    """
    hits = []
    for times, lasts, waveform in zip(strokes, seconds, waveforms):
        waveform = waveform[: int(lasts * SAMPLE_RATE)]
        times = times[times < len(waveform) / SAMPLE_RATE]
        if len(times):
            hits.append(onset_hits([times], waveform, rng)[:2])
    return mean([share for share, _ in hits]), mean([shifted for _, shifted in hits])


# ------------------------------------------------------------------------------------------------
# 2. What is looked at: any skeleton, as 16 joints in body lengths
# ------------------------------------------------------------------------------------------------
@dataclass
class Gesture:
    """What the metrics below need of one motion. Made once: forward kinematics takes time."""

    fps: float
    places: np.ndarray  # [F, 16, 3] joints of COMMON_BODY in the world, in body lengths; NaN: legs
    own: np.ndarray  # [F, 16, 3] the same, seen from the hips; the body then faces +Z
    strokes: np.ndarray  # [n] seconds


def look_at(motion):
    """Motion -> Gesture. BvhError where head or wrists are not found by name, or one foot alone.

    A body length goes from ankle to head. Facing +Z with Y up, the left hip is at +X of the right
    one: that line says which way the body faces, in any skeleton. Without legs the shoulders' does.
    """
    places = common_body(motion)  # [F, 16, 3]
    ends = "hip" if has_feet(motion) else "shoulder"
    left, right = (COMMON_BODY.index(f"{side} {ends}") for side in ("left", "right"))
    across = places[:, left] - places[:, right]  # [F, 3]
    level = turn_about_y(-np.arctan2(-across[:, 2], across[:, 0]))  # [F, 3, 3]
    own = (places - places[:, :1]) @ np.swapaxes(level, 1, 2)  # [F, 16, 3]
    return Gesture(1 / motion.frame_time, places, own, find_strokes(motion)[0])


def wrists(gesture):
    """Both wrists [F, 2, 3] seen from the hips' place, but not turned with the hips.

    A frame that turns would add accelerations.
    """
    ends = [COMMON_BODY.index(f"{side} wrist") for side in ("left", "right")]
    return gesture.places[:, ends] - gesture.places[:, :1]


# ------------------------------------------------------------------------------------------------
# 3. Motion and speech
# ------------------------------------------------------------------------------------------------
SIGMA = 0.1  # s: a beat at this distance counts 0.61, at twice 0.14


def beat_alignment(onsets, beats, sigma=SIGMA):
    """How near the nearest beat of the body is to each onset of the speech, 0 to 1.

    Mean over the onsets of exp(-d² / (2 sigma²)), d in seconds from an onset to the nearest beat.
    onsets [n] are those of energy_onsets, beats [m] the strokes of find_strokes. NaN without
    onsets, 0 without beats.

    The kernel is that of Li et al. 2021 (AI Choreographer; there sigma is 3 frames of 60 a second,
    and beats are local minima of joint speed). They take the mean over the body's beats; we take it
    over the onsets, so that a body which hardly moves has a low score. The two values cannot be
    compared.

    A body that beats all the time is near to every onset. Read this beside strokes_per_minute, and
    against its value on shuffled pairs.
    """
    if len(onsets) == 0:
        return float("nan")
    if len(beats) == 0:
        return 0.0
    nearest = np.abs(np.subtract.outer(onsets, beats)).min(axis=1)  # [onsets]
    return float(np.exp(-(nearest**2) / (2 * sigma**2)).mean())


def speech_level(waveform, fps):
    """Level of the speech in each motion frame [frames], dB below its loud parts, >= SILENCE."""
    frames = int(len(waveform) * fps / SAMPLE_RATE)
    edges = np.round(np.arange(frames + 1) * SAMPLE_RATE / fps).astype(int)
    if len(edges) < 2:
        return np.zeros(0)
    samples = np.asarray(waveform / loud_level(waveform), dtype=np.float64)
    power = np.add.reduceat(np.square(samples)[: edges[-1]], edges[:-1]) / np.diff(edges)
    return decibels(power)


def correlation_by_lag(speech, motion, most):
    """Pearson correlation of speech[n] with motion[n + lag], lag = -most .. most -> [2 most + 1].

    speech, motion [frames]. A positive lag is motion that comes after its speech. Each lag uses the
    frames that both have; NaN where one of them is constant.
    """
    n, curve = min(len(speech), len(motion)), []
    for lag in range(-most, most + 1):
        both = max(0, n - abs(lag))  # frames that both have
        a, b = speech[max(0, -lag) :][:both], motion[max(0, lag) :][:both]
        constant = both < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9
        curve.append(np.nan if constant else np.corrcoef(a, b)[0, 1])
    return np.array(curve)


def best_lag(curves, frames, fps):
    """(highest correlation, its lag in seconds) of the mean of the takes' curves [2 most + 1].

    The mean weighs each curve by its take's `frames`: in a take of 1.2 s the outermost lags leave
    four frames to compare, which may agree by chance. The mean comes before the maximum: the best
    of 41 lags in each take would be well above 0 for unrelated signals too. Both NaN where no take
    has a whole curve.

    The curve may have two peaks of nearly one height. The lag may then jump from one to the other
    for a small difference of the motions.
    """
    whole = [n for n, c in enumerate(curves) if not np.isnan(c).any()]
    if not whole:
        return float("nan"), float("nan")
    weights = [frames[n] for n in whole]
    curve = np.average([curves[n] for n in whole], axis=0, weights=weights)  # [2 most + 1]
    return float(curve.max()), float((curve.argmax() - len(curve) // 2) / fps)


def hand_speed(gesture):
    """Mean speed of both wrists against the hips in each frame, [F] in body lengths a second."""
    if len(gesture.places) < 2:
        return np.zeros(len(gesture.places))
    steps = np.linalg.norm(np.gradient(wrists(gesture), axis=0), axis=-1)  # [F, 2]
    return steps.mean(axis=1) * gesture.fps


# ------------------------------------------------------------------------------------------------
# 4. Motion alone
# ------------------------------------------------------------------------------------------------
CONTACT = 0.02  # body lengths (3 cm of 1.5 m): how far above its lowest an ankle still stands


def diversity(seeds):
    """How far apart joints are in motions made for the same speech, in body lengths.

    Mean over frames, joints and pairs of seeds. seeds: [seeds][takes] of Gesture. Bodies are laid
    over each other at the hips and by their facing. NaN for one seed.

    It cannot tell variety from noise: jitter counts as well, and a large value beside a large jerk
    is no merit.
    """
    distances = []
    for a, b in itertools.combinations(range(len(seeds)), 2):
        for x, y in zip(seeds[a], seeds[b]):
            n = min(len(x.own), len(y.own))
            distances.append(np.linalg.norm(x.own[:n] - y.own[:n], axis=-1))  # [n, 16]
    return mean(distances)  # without those of legs that are not there


def jerk(gesture):
    """Third derivative of both wrists' places, [F - 3, 2] in body lengths / s³.

    High where motion jitters, low where it is smoothed. People's own value is the goal, not 0.
    Compare at one frame rate only: third differences damp what is near half of it.
    """
    if len(gesture.places) < 4:
        return np.zeros((0, 2))
    return np.linalg.norm(np.diff(wrists(gesture), n=3, axis=0), axis=-1) * gesture.fps**3


def foot_sliding(gesture):
    """Horizontal speed of the feet while they stand, [contacts] in body lengths a second.

    0 is perfect. An ankle stands from one frame to the next if in both it is at most CONTACT above
    its own lowest height: the 5th percentile of the take, so that one bad frame does not set the
    ground. It cannot see a body that floats, nor a floor that is not level. None without legs.
    """
    ankles = [COMMON_BODY.index(f"{side} ankle") for side in ("left", "right")]
    feet = gesture.places[:, ankles]  # [F, 2, 3]
    if len(feet) < 2 or np.isnan(feet).any():
        return np.zeros(0)
    low = feet[..., 1] <= np.quantile(feet[..., 1], 0.05, axis=0) + CONTACT  # [F, 2]
    steps = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)  # [F - 1, 2]
    return (steps * gesture.fps)[low[1:] & low[:-1]]


def range_of_motion(gesture):
    """How far the upper arms and forearms swing, [4] in degrees, seen from the body's facing.

    Twice the angle to a bone's mean direction that 95% of the frames keep within. A planar swing of
    +-a degrees, as a sine, gives 1.994 a. It cannot see a bone that twists about its own axis, nor
    whether the swings come at the right time.
    """
    swings = []
    for side in ("left", "right"):
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist")):
            start, end = (COMMON_BODY.index(f"{side} {joint}") for joint in (upper, lower))
            bone = gesture.own[:, end] - gesture.own[:, start]  # [F, 3]
            bone = bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            middle = bone.mean(axis=0) / max(np.linalg.norm(bone.mean(axis=0)), 1e-9)
            # from sine and cosine: arccos alone cannot resolve angles below a millionth
            sine, cosine = np.linalg.norm(np.cross(bone, middle), axis=-1), bone @ middle
            swings.append(2 * np.degrees(np.quantile(np.arctan2(sine, cosine), 0.95)))
    return np.array(swings)
