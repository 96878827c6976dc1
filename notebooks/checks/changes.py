"""Notebook 7: what we changed."""

import numpy as np
import torch

from beyond.departures import Innovations, predict_v, segment_mask
from checks.diffusion import ABAR, SCHEDULE, root
from checks.judging import draws, judge, judge_mask, judge_number
from checks.network import mask_mistakes


def eps_from_v(answer):
    """x_t [n], v [n], abar, a number -> eps [n]."""
    inputs = [(x_t, v, ABAR[t]) for x_t, v, t in zip(draws(3, 3), draws(4, 3), (20, 300, 800))]

    def right(x_t, v, abar):
        return predict_v(SCHEDULE, x_t, int((ABAR - abar).abs().argmin()), v)

    def mixed(of_v=root, of_x=lambda a: root(1 - a)):
        return lambda x_t, v, abar: of_v(abar) * v + of_x(abar) * x_t

    mistakes = {
        "the two factors are in each other's place":
            mixed(lambda a: root(1 - a), root),
        "that is x0; multiply the second equation by the other factor and add":
            mixed(lambda a: -root(1 - a), root),
        "a sign: with v at hand x_t is added, not taken away":
            mixed(of_x=lambda a: -root(1 - a)),
        "the signs: both are added":
            mixed(of_v=lambda a: -root(a)),
        "the square roots are missing":
            mixed(lambda a: a, lambda a: 1 - a),
        "one of the two square roots is missing":
            [mixed(of_x=lambda a: 1 - a), mixed(of_v=lambda a: a)],
        "x_t's factor is sqrt(1 - abar), not 1 - sqrt(abar)":
            mixed(of_x=lambda a: 1 - root(a)),
        "x_t is missing: v alone is the noise only where nothing is noisy":
            [mixed(of_x=lambda a: 0 * a), mixed(lambda a: 1, lambda a: 0 * a)],
        "x0 is not 0: v's equation alone does not tell; use the other one to get rid of x0":
            lambda x, v, a: (v + root(1 - a) * x) / root(a),
        "v is not x0: put v's own equation in":
            lambda x, v, a: (x - root(a) * v) / root(1 - a),
        "both have a factor, sqrt(abar) and sqrt(1 - abar)":
            [mixed(of_x=lambda a: 1), mixed(of_v=lambda a: 1),
             mixed(lambda a: 1, lambda a: 1)],
        "nothing is left to divide or to multiply by: abar + (1 - abar) = 1":
            [lambda x, v, a: (root(a) * v + root(1 - a) * x) * a,
             lambda x, v, a: (root(a) * v + root(1 - a) * x) / a],
    }  # fmt: skip
    well_done = "beyond.departures.predict_v; a rotation by an angle and the rotation back"
    return judge(answer, inputs, right, mistakes, well_done)


def poses_from_news(answer):
    """news [F, P], memory, a number -> poses [F, P]."""
    rng = np.random.default_rng(2)
    inputs = [(rng.normal(size=(6, 2)), memory) for memory in (0.9, 0.5, 0.0)]

    def right(news, memory):
        transform = Innovations(news.shape[1], memory, momentum=0.0)
        return transform.inverse(torch.tensor(news).float()[None])[0]

    def added_up(news, memory, first=1.0, new=1.0):
        poses = [first * news[0]]
        for row in news[1:]:
            poses.append(memory * poses[-1] + new * row)
        return np.stack(poses)

    mistakes = {
        "that takes the last news, where the last pose belongs; the poses build on each other":
            lambda news, memory: np.concatenate([news[:1], news[1:] + memory * news[:-1]]),
        "that is the way there, from poses to news; the way back adds, and each pose builds on "
        "the one that was just made":
            lambda news, memory: np.concatenate([news[:1], news[1:] - memory * news[:-1]]),
        "all of the last pose is kept; only the share `memory` of it is":
            [lambda news, memory: added_up(news, 1.0),
             lambda news, memory: memory * np.cumsum(news, axis=0)],
        "the first frame's news are its pose, as it is: there is no pose before it":
            [lambda news, memory: added_up(news, memory, first=1 - memory),
             lambda news, memory: added_up(news, memory, first=0.0),
             lambda news, memory: added_up(news, memory, first=memory)],
        "the sign: the share of the last pose is added":
            lambda news, memory: added_up(news, -memory),
        "the share of the last pose is `memory`, not 1 - memory, nor its square":
            [lambda news, memory: added_up(news, 1 - memory),
             lambda news, memory: added_up(news, memory**2)],
        "frames are the rows: the sum runs down the first axis":
            lambda news, memory: added_up(news.T, memory).T,
        "the news are added whole; only the last pose has a factor":
            [lambda news, memory: np.stack(scaled(news, memory, memory)),
             lambda news, memory: np.stack(scaled(news, memory, 1 - memory))],
        "the pose before is that of the frame before, not the first one":
            lambda news, memory: np.concatenate([news[:1], news[1:] + memory * news[0]]),
        "a pose for every frame is wanted, the first one too":
            lambda news, memory: added_up(news, memory)[1:],
        "a pose holds a share of every earlier one; yours only makes the news smaller":
            lambda news, memory: news * (memory ** np.arange(len(news)))[:, None],
        "time runs forward: begin at the first frame":
            lambda news, memory: added_up(news[::-1], memory)[::-1],
    }  # fmt: skip

    def scaled(news, memory, share):
        poses = [news[0]]
        for row in news[1:]:
            poses.append(memory * poses[-1] + share * row)
        return poses

    well_done = (
        "Innovations.inverse does it for all frames at once, "
        "as one product with a triangular matrix"
    )
    return judge(answer, inputs, right, mistakes, well_done)


def window_mask(answer):
    """frames, window -> [frames, frames] bool: may the row's frame look at the column's?"""

    def mask(look):
        def wrong(frames, window):
            query, key = torch.arange(frames)[:, None], torch.arange(frames)[None]
            return look(query, key, window)

        return wrong

    right = mask(lambda q, k, w: (k <= q) & (k > q - w))
    mistakes = mask_mistakes(right) | {
        "the future is open: a frame later than the row's must be hidden":
            [mask(lambda q, k, w: k > q - w), mask(lambda q, k, w: (q - k).abs() < w)],
        "a frame must see itself":
            mask(lambda q, k, w: (k < q) & (k > q - w)),
        "the window is one too wide: it counts the frame itself":
            mask(lambda q, k, w: (k <= q) & (k >= q - w)),
        "the window is one too narrow: it counts the frame itself, and no more than that":
            mask(lambda q, k, w: (k <= q) & (k > q - w + 1)),
        "causal it is, but the window is missing":
            mask(lambda q, k, w: k <= q),
        "both must hold, not later and not too old: `and`, not `or`":
            mask(lambda q, k, w: (k <= q) | (k > q - w)),
        "it sees what is older than the window, instead of what is within it":
            [mask(lambda q, k, w: (k <= q) & (q - k >= w)), mask(lambda q, k, w: k <= q - w)],
        "the window goes along with the frame that looks":
            [mask(lambda q, k, w: (k <= q) & (k < w)),
             mask(lambda q, k, w: (k <= q) & (q // w == k // w))],
    }  # fmt: skip
    well_done = "beyond.departures.segment_mask is this, for segments of one frame"
    return judge_mask(
        answer,
        [(7, 3), (5, 1), (4, 9)],
        lambda frames, window: segment_mask(frames, window=window, segment=1),
        mistakes,
        well_done,
    )


def frames_back(answer):
    """How many frames back of noisy pose the shipped model's output can depend on."""
    mistakes = {
        "the window counts the frame itself, so a block looks 99 back": [4 * 100 + 4, 4 * 100 + 5],
        "and the convolution: the first frame of the window has itself seen some": 4 * 99,
        "the windows of the blocks add up: what a block sees at the edge has itself looked back":
            [99 + 4, 99, 100, 104, 105],
        "the convolution's five frames count the frame itself": 4 * 99 + 5,
        "there is one convolution, before the first block": 4 * (99 + 4),
    }  # fmt: skip
    well_done = (
        "20 s, a quarter of which any one block sees; "
        "the keys of each block's last 99 frames are what a stream keeps"
    )
    return judge_number(answer, 4 * 99 + 4, 0.5, mistakes, well_done)
