"""Notebook 5: training and sampling."""

import numpy as np

from checks.judging import judge, judge_number


def best_loss(answer):
    """abar [n], s -> the least mean squared error of eps, for Gaussian features of deviation s."""
    inputs = [(np.array([0.999, 0.6, 0.1]), s) for s in (1.0, 0.05, 3.0)]

    def variance(a, s):
        return a * s**2 + 1 - a  # of x_t

    def right(a, s):
        return a * s**2 / variance(a, s)

    mistakes = {
        "the shares are exchanged: little noise is hard to see, and the loss is near 1 there":
            lambda a, s: (1 - a) / variance(a, s),
        "the deviation is to be squared: variances add up":
            lambda a, s: a * s / (a * s + 1 - a),
        "that holds for deviation 1 only":
            lambda a, s: a,
        "that is what remains of x_t's variance before one divides by it":
            lambda a, s: a * s**2,
        "that is the loss for x0, not for the noise":
            lambda a, s: s**2 * (1 - a) / variance(a, s),
        "that is the loss of answering 0":
            lambda a, s: np.ones_like(a),
        "x_t's factors are roots; in its variance they stand squared, without roots":
            lambda a, s: a**0.5 * s / (a**0.5 * s + (1 - a) ** 0.5),
        "that is its root; a squared error is wanted":
            lambda a, s: right(a, s) ** 0.5,
        "that is its square":
            lambda a, s: right(a, s) ** 2,
        "that is the share of x_t that is the best guess; what error is left with it?":
            lambda a, s: (1 - a) ** 0.5 / variance(a, s),
        "1 minus covariance squared by variance; the square is missing":
            lambda a, s: 1 - (1 - a) ** 0.5 / variance(a, s),
        "that is signal by noise; it should be signal by all, which never exceeds 1":
            lambda a, s: a * s**2 / (1 - a),
        "that is the variance of x_t":
            variance,
        "that is the noise's share of the variance, for deviation 1":
            lambda a, s: 1 - a,
    }  # fmt: skip
    well_done = "so a loss says little without the deviation of the data beside it"
    return judge(answer, inputs, right, mistakes, well_done)


def ema_update(answer):
    """average [n], weight [n], decay -> the new average [n]."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=3), rng.normal(size=3), decay) for decay in (0.9, 0.998, 0.0)]
    mistakes = {
        "decay and 1 - decay are exchanged: that follows the weights and averages nothing":
            lambda a, w, d: (1 - d) * a + d * w,
        "the shares do not add up to 1: the average would grow without end":
            [lambda a, w, d: d * a + w, lambda a, w, d: a + (1 - d) * w,
             lambda a, w, d: a + w],
        "the shares are decay and 1 - decay, and add up to 1":
            [lambda a, w, d: d * a + d * w, lambda a, w, d: (1 - d) * a + (1 - d) * w],
        "the new weight's share is missing":
            lambda a, w, d: d * a,
        "the average's own share is missing":
            [lambda a, w, d: (1 - d) * (w - a), lambda a, w, d: (1 - d) * w],
        "that is a plain mean of the two; its memory is one step":
            lambda a, w, d: (a + w) / 2,
        "it goes away from the weight: the difference is weight minus average":
            lambda a, w, d: a + (1 - d) * (a - w),
        "that is the weight; nothing is averaged":
            lambda a, w, d: w,
        "the average never moves":
            lambda a, w, d: a,
    }  # fmt: skip
    well_done = "train.average does it for all weights at once, with torch._foreach_lerp_"
    return judge(answer, inputs, lambda a, w, d: d * a + (1 - d) * w, mistakes, well_done)


def learning_rate(answer):
    """step, warmup, steps, peak -> the learning rate."""
    inputs = [(step, 10, 100, 0.5) for step in (0, 4, 9, 10, 40, 99)] + [(5, 4, 20, 1.0)]

    def half_cosine(gone):
        return 0.5 * (1 + np.cos(np.pi * gone))

    def gone_since(step, warmup, steps):
        return (step - warmup) / (steps - warmup)

    def rate(curve=half_cosine, first=1, gone=gone_since, warm=True, last=-1):
        """The ramp up to step warmup + last, then peak * curve(gone)."""

        def wrong(step, warmup, steps, peak):
            if warm and step <= warmup + last:
                return peak * (step + first) / warmup
            return peak * curve(gone(step, warmup, steps))

        return wrong

    right = rate()
    mistakes = {
        "step 0 has a learning rate of 0: it learns nothing, and the last warm-up step has not "
        "reached the peak":
            [rate(first=0), rate(first=0, last=0)],
        "the ramp has `warmup` equal steps: the first step has one of them, the last all":
            lambda n, w, s, peak: peak * n / (w - 1) if n < w else right(n, w, s, peak),
        "sine for cosine: the first step after the warm-up has the peak":
            rate(lambda gone: 0.5 * (1 + np.sin(np.pi * gone))),
        "the ramp ends one step late, above the peak: step counts from 0, so step < warmup":
            rate(last=0),
        "the cosine must begin where the warm-up ends, or the rate jumps there":
            [rate(gone=lambda n, w, s: n / s), rate(gone=lambda n, w, s: n / (s - w))],
        "the cosine lasts steps - warmup steps, and reaches 0 at step number `steps`":
            [rate(gone=lambda n, w, s: (n - w) / s),
             rate(gone=lambda n, w, s: (n - w) / (s - w - 1)),
             rate(gone=lambda n, w, s: (n - w) / (s - w + 1))],
        "the first step after the warm-up has the peak: nothing of the cosine is gone there":
            [rate(gone=lambda n, w, s: (n + 1 - w) / (s - w)),
             rate(gone=lambda n, w, s: (n + 1 - w) / (s - w + 1))],
        "that is a quarter of a cosine; half a one, raised to between 0 and 1, leaves the peak "
        "slowly and arrives slowly":
            rate(lambda gone: np.cos(np.pi / 2 * gone)),
        "the warm-up is missing":
            rate(warm=False),
        "the cosine goes from 1 to -1: raise it by 1 and halve it":
            [rate(lambda gone: np.cos(np.pi * gone)), rate(lambda gone: 1 + np.cos(np.pi * gone))],
        "the peak is missing: that is the share of it":
            lambda n, w, s, peak: right(n, w, s, 1.0),
        "that falls along a straight line; half a cosine is wanted":
            rate(lambda gone: 1 - gone),
        "after the warm-up it falls; yours stays at the peak":
            rate(lambda gone: 1.0),
        "it falls; yours rises from 0":
            rate(lambda gone: 0.5 * (1 - np.cos(np.pi * gone))),
        "half a cosine is pi radians":
            [rate(lambda gone: 0.5 * (1 + np.cos(180 * gone))),
             rate(lambda gone: 0.5 * (1 + np.cos(gone))),
             rate(lambda gone: 0.5 * (1 + np.cos(2 * np.pi * gone)))],
    }  # fmt: skip
    well_done = "beyond.departures.cosine is this, as a share of the peak"
    return judge(answer, inputs, right, mistakes, well_done)


def guided(answer):
    """eps with speech [n], eps without [n], strength -> eps [n]."""
    rng = np.random.default_rng(1)
    inputs = [(rng.normal(size=3), rng.normal(size=3), g) for g in (0.0, 1.0, 1.35, 3.0)]
    mistakes = {
        "there 0 means the model as it was trained; "
        "in this project 0 means no speech and 1 the model as it was trained":
            lambda spoken, silent, g: (1 + g) * spoken - g * silent,
        "spoken and silent are exchanged: that flees from the speech":
            lambda spoken, silent, g: spoken + g * (silent - spoken),
        "the sign: the difference is spoken minus silent":
            lambda spoken, silent, g: silent - g * (spoken - silent),
        "the difference is what is strengthened, not eps itself; "
        "at strength 1 the result must be eps with speech":
            [lambda spoken, silent, g: silent + g * spoken,
             lambda spoken, silent, g: spoken + (1 - g) * silent,
             lambda spoken, silent, g: g * (spoken + silent)],
        "the starting point is missing: add the difference to eps without speech":
            lambda spoken, silent, g: g * (spoken - silent),
        "the strength is not used":
            [lambda spoken, silent, g: spoken, lambda spoken, silent, g: (spoken + silent) / 2,
             lambda spoken, silent, g: silent],
        "a strength is a factor of the difference; the two are not multiplied with each other":
            lambda spoken, silent, g: g * spoken * silent,
    }  # fmt: skip
    well_done = (
        "classifier-free guidance, Ho and Salimans 2022; beyond.samplers.Guided asks for both "
        "in one pass, as two clips of a batch"
    )

    def right(spoken, silent, g):
        return silent + g * (spoken - silent)

    return judge(answer, inputs, right, mistakes, well_done)


def half_forgotten(answer):
    """Steps after which an average with decay 0.998 has kept half of where it was."""
    right = np.log(0.5) / np.log(0.998)
    mistakes = {
        "after 1 / (1 - decay) steps it has kept 1 / e, 37%, not half": 500,
        "half of 500 would be right if it forgot at a constant rate; "
        "it forgets a share of what is left": 250,
        "after so many steps it has kept an eighth": 3 * right,
        "after so many steps it has kept a third": np.log(1 / 3) / np.log(0.998),
        "a number of steps is wanted: decay to the power n is one half": [0.5, 2],
    }  # fmt: skip
    well_done = (
        "about 350 steps; a run that is not much longer than that must begin with a shorter "
        "memory, as train.py's does"
    )
    return judge_number(answer, right, 4, mistakes, well_done)
