"""Features at their own rate -> one row a motion frame, also for features that come in pieces.

frame_count: how many motion frames a waveform has. motion_frames: the averaging, piece by piece.
overlap_means: the averaging itself.
"""

import math

import torch

from recordings.audio import SAMPLE_RATE


def frame_count(samples, fps):
    """ceil(seconds * fps), at least 1: the motion never ends before the speech."""
    # 1e-9: the rounding of the division
    return max(1, math.ceil(samples * fps / SAMPLE_RATE - 1e-9))


def motion_frames(pieces, rate, first_centre, fps, frames):
    """Average features over motion frames: pieces [K_i, D] -> yields [n_i, D], joined [frames, D].

    The pieces are consecutive. Their rows come `rate` a second, the first is centred at
    `first_centre` seconds. A motion frame is given out as soon as the last row that it overlaps is
    there, so no more than a piece is held.

    frames   how many; or, for speech that has no end yet, a function that is asked for the number
             once the pieces have ended
    """
    held, first = None, 0  # rows that are still needed, and the number of their first
    done = 0  # frames given out

    def edges(until):
        """Edges of frames `done` to `until`, counted in rows -> [until - done + 1]."""
        times = torch.arange(done, until + 1, dtype=torch.float64) / fps
        return (times - first_centre) * rate + 0.5

    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece])  # [held, D]
        end = first + len(held)
        most = int((end / rate + first_centre) * fps) + 1  # no later frame can be ready
        most = most if callable(frames) else min(most, frames)
        stops = edges(most)[1:]
        stop = torch.tensor(end, dtype=torch.float64)
        ready = done + int(torch.searchsorted(stops, stop, right=True))
        if ready > done:
            last = edges(ready)
            yield overlap_means(held, last - first)  # [ready - done, D]
            # The last row stays: a frame that lies wholly beyond the features takes it
            used = max(0, min(int(last[-1]) - first, len(held) - 1))
            held, first, done = held[used:], first + used, ready
    frames = frames() if callable(frames) else frames
    if done < frames:
        yield overlap_means(held, edges(frames) - first)  # [frames - done, D]


def overlap_means(features, edges):
    """Means of features [K, D] between consecutive edges [n + 1], counted in features -> [n, D].

    Feature k fills the interval k to k + 1. A mean is the difference of two values of the running
    integral, which is linear between whole numbers: exact for any pair of rates.
    """
    zero = features.new_zeros(1, features.shape[1], dtype=torch.float64)
    integral = torch.cat([zero, features.double().cumsum(0)])  # [K + 1, D]
    edges = edges.clamp(0, len(features))
    # A frame that lies wholly beyond the features (the very end of a clip) takes the last one
    low, high = edges[:-1].clamp(max=len(features) - 1e-3), edges[1:]
    high = torch.maximum(high, low + 1e-3)

    def integral_at(x):
        whole = x.floor().long().clamp(max=len(features) - 1)
        return integral[whole] + (x - whole)[:, None] * features[whole].double()

    return ((integral_at(high) - integral_at(low)) / (high - low)[:, None]).float()  # [n, D]
