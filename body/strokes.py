"""Strokes: when the hands beat, and how far. The same detector serves recorded and made motion."""

import numpy as np

from body.motion import BvhError
from body.size import hands_of

STROKE_SPEED = 0.25  # body heights a second (42 cm/s at 1.7 m): above retractions, below soft beats
STROKE_GAP = 0.3  # seconds between the strokes of one hand; what is closer is one movement
TOGETHER = 0.15  # seconds within which the strokes of both hands count as one beat


def strokes_of(motion):
    """Times of the strokes [n] in seconds; none if the hands cannot be found by name.

    Such a skeleton can be learnt and drawn all the same.
    """
    try:
        return find_strokes(motion)[0]
    except BvhError:
        return np.zeros(0)


def find_strokes(motion):
    """Beats of the hands, by time -> (times [n] in seconds, drops [n] in body heights, sides [n]).

    Side 0 is the left hand, 1 the right. A stroke is a local maximum of a wrist's downward speed,
    seen from the hips: above STROKE_SPEED, with none higher within STROKE_GAP. Of two hands that
    beat together the larger drop counts. Raises BvhError if a wrist cannot be found by name.
    """
    if len(motion) < 3:
        return np.zeros(0), np.zeros(0), np.zeros(0, int)
    fps = 1 / motion.frame_time
    heights = hands_of(motion)[..., 1].T  # [2, F] in body heights
    strokes = sorted(stroke for side in (0, 1) for stroke in _of_hand(heights[side], side, fps))
    kept = []
    for stroke in strokes:
        if kept and stroke[2] != kept[-1][2] and stroke[0] - kept[-1][0] < TOGETHER:
            kept[-1] = max(stroke, kept[-1], key=lambda s: s[1])
        else:
            kept.append(stroke)
    times, drops, sides = zip(*kept) if kept else ((), (), ())
    return np.array(times), np.array(drops), np.array(sides, dtype=int)


def _of_hand(y, side, fps):
    """Strokes of one hand from its height y [F] in body heights: (time, drop, side) tuples."""
    falling = -np.gradient(y) * fps  # [F] body heights a second
    gap = int(round(STROKE_GAP * fps))
    padded = np.pad(falling, gap, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * gap + 1)  # [F, 2 gap + 1]
    # equal but for rounding counts as highest
    peaks = (falling >= windows.max(axis=1) * (1 - 1e-9)) & (falling > STROKE_SPEED)  # [F]
    strokes, last = [], -gap - 1
    for n in np.flatnonzero(peaks):
        if n - last > gap:  # else the hand falls evenly: still the same movement
            time = (n + _top_of_parabola(falling, n)) / fps
            strokes.append((time, _drop_around(y, falling, n), side))
        last = n
    return strokes


def _top_of_parabola(values, n):
    """Where the parabola through the values at n - 1, n, n + 1 is highest: -0.5 to 0.5 from n."""
    if not 0 < n < len(values) - 1:
        return 0.0
    before, here, after = values[n - 1 : n + 2]
    bend = 0.5 * (before - after) / min(before - 2 * here + after, -1e-9)
    return np.clip(bend, -0.5, 0.5)


def _drop_around(y, falling, n):
    """How far the hand falls around frame n while it is faster than a fifth of its speed there.

    The limit keeps a slow retraction after the stroke out of the drop.
    """
    top, bottom = n, n
    while top > 0 and falling[top - 1] > falling[n] / 5:
        top -= 1
    while bottom + 1 < len(y) and falling[bottom + 1] > falling[n] / 5:
        bottom += 1
    return y[max(top - 1, 0)] - y[min(bottom + 1, len(y) - 1)]
