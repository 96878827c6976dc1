"""Notebook 6: judging."""

import numpy as np

from checks.judging import judge, judge_number
from lab import frechet
from lab.puppet_scores import matches


def frechet_distance(answer):
    """means [D] and covariances [D, D] of two Gaussians -> their squared Fréchet distance."""
    rng = np.random.default_rng(0)
    inputs = []
    for _ in range(3):
        a, b = rng.normal(size=(2, 3, 3))
        inputs.append((rng.normal(size=3), a @ a.T, rng.normal(size=3), b @ b.T))

    def root_of(product):
        return np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0)).sum()

    def cross(a, b):
        return root_of(a @ b)

    def of_each_number(a, b):
        return np.sqrt(np.abs(np.diag(a @ b))).sum()

    def root_matrix(a):
        values, vectors = np.linalg.eigh(a)
        return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T

    def squared(d):
        return d @ d

    def traces(a, b):
        return np.trace(a) + np.trace(b)

    def variant(means=squared, crossing=cross, times=2, sizes=traces):
        def wrong(m, a, n, b):
            return means(m - n) + sizes(a, b) - times * crossing(a, b)

        return wrong

    mistakes = {
        "the root is taken of each number; a matrix root is that of the eigenvalues":
            [variant(crossing=of_each_number),
             variant(crossing=lambda a, b: np.sqrt(np.abs(a @ b)).sum())],
        "the eigenvalues of A B are summed up as they are; the sum of their roots is wanted":
            variant(crossing=lambda a, b: np.trace(a @ b)),
        "the sum of the roots is not the root of the sum":
            variant(crossing=lambda a, b: np.sqrt(np.trace(a @ b))),
        "the product of A and B is A @ B; * multiplies number by number":
            [variant(crossing=lambda a, b: root_of(a * b)),
             variant(crossing=lambda a, b: np.sqrt(np.abs(np.linalg.eigvals(a * b))).sum())],
        "the root is that of the product A B, not of each by itself, nor of the sum":
            [variant(crossing=lambda a, b: np.trace(root_matrix(a) @ root_matrix(b))),
             variant(crossing=lambda a, b: root_of(a + b))],
        "the trace of the root, not its determinant":
            variant(crossing=lambda a, b: np.sqrt(np.abs(np.linalg.det(a @ b)))),
        "the cross term counts twice":
            variant(times=1),
        "the cross term is missing; two equal clouds would be far apart":
            variant(times=0),
        "the cross term is taken away: two equal clouds are at no distance":
            variant(times=-2),
        "the distance of the means is to be squared":
            variant(means=np.linalg.norm),
        "the squares of the means' differences are added up":
            [variant(means=lambda d: np.mean(d**2)), variant(means=lambda d: np.abs(d).sum()),
             variant(means=lambda d: d.sum() ** 2)],
        "the means are subtracted, not added":
            lambda m, a, n, b: variant()(m, a, -n, b),
        "the means are missing; two equal clouds far apart would be no distance away":
            variant(means=lambda d: 0.0),
        "the covariances are missing; only the means are compared":
            lambda m, a, n, b: squared(m - n),
        "the traces of both covariances are added":
            [variant(sizes=lambda a, b: np.trace(a)), variant(sizes=lambda a, b: np.trace(b)),
             variant(sizes=lambda a, b: np.trace(a) - np.trace(b))],
        "the trace is the sum of the diagonal":
            variant(sizes=lambda a, b: a.sum() + b.sum()),
        "a covariance's diagonal holds variances already; no root of them":
            variant(sizes=lambda a, b: np.sqrt(np.diag(a)).sum() + np.sqrt(np.diag(b)).sum()),
        "that is its root; FGD and FID report the square":
            lambda m, a, n, b: np.sqrt(frechet.frechet_distance(m, a, n, b)),
    }  # fmt: skip
    well_done = "Dowson and Landau 1982, and lab.frechet.frechet_distance"
    return judge(answer, inputs, frechet.frechet_distance, mistakes, well_done)


def beat_f1(answer):
    """found [n], wanted [m] sorted times, tolerance -> F1 of the best one-to-one matching."""
    asked = [
        ([0.0, 1.0, 1.5], [0.05, 1.2, 1.45, 3.0]),
        ([1.0, 1.05, 1.08], [1.04]),
        ([0.5, 0.55, 2.0, 4.0], [0.58, 2.3]),
        ([1.04], [1.0, 1.08]),
        ([0.0, 5.0], [5.0]),
        ([0.0, 0.09], [-0.05, 0.06]),
        ([0.0, 0.09], [-0.06, 0.05]),
        ([0.0, 0.02, 1.0], [0.0, 1.0, 1.02]),
        ([0.95, 1.04], [1.0, 1.1]),
    ]
    inputs = [(np.array(found), np.array(wanted), 0.1) for found, wanted in asked]
    # Exactly as far apart as the tolerance, in numbers that a computer holds exactly
    inputs.append((np.array([1.0, 2.0]), np.array([1.25, 3.0]), 0.25))

    def near(f, w, t):
        return (np.abs(f[:, None] - w) <= t).any(axis=1).sum()

    def greedy(f, w, t, chosen=lambda free, x: 0, close=lambda y, x, t: abs(y - x) <= t):
        hits, left = 0, list(w)
        for x in f:
            free = np.array([y for y in left if close(y, x, t)])
            if len(free):
                left.remove(free[chosen(free, x)])
                hits += 1
        return hits

    def nearest_pairs_first(f, w, t):
        hits, left = 0, [list(f), list(w)]
        pairs = sorted((abs(x - y), x, y) for x in f for y in w if abs(x - y) <= t)
        for _, x, y in pairs:
            if x in left[0] and y in left[1]:
                left[0].remove(x)
                left[1].remove(y)
                hits += 1
        return hits

    def f1(hits):
        return lambda f, w, t: 2 * hits(f, w, t) / (len(f) + len(w))

    def by(divide):
        """Of the hits, the strokes and the syllables."""
        return lambda f, w, t: divide(matches(f, w, t), len(f), len(w))

    mistakes = {
        "each wanted time may be met once; "
        "three strokes around one syllable are one hit and two misses":
            f1(near),
        "each stroke may meet one syllable; "
        "one stroke between two of them is one hit and one miss":
            f1(lambda f, w, t: near(w, f, t)),
        "a stroke and a syllable are paired once; yours counts every pair that is near":
            f1(lambda f, w, t: (np.abs(f[:, None] - w) <= t).sum()),
        "the n-th stroke need not belong to the n-th syllable: "
        "one that is missing shifts all others":
            f1(lambda f, w, t: sum(abs(a - b) <= t for a, b in zip(f, w))),
        "a stroke takes the nearest syllable, which the next stroke needs; "
        "let each in turn take the earliest that is left":
            f1(lambda f, w, t: greedy(f, w, t, lambda free, x: np.abs(free - x).argmin())),
        "whoever is nearest may leave two others without a partner; "
        "let each stroke in turn take the earliest syllable that is left":
            [f1(nearest_pairs_first),
             f1(lambda f, w, t: greedy(w, f, t, lambda free, x: np.abs(free - x).argmin()))],
        "a stroke takes the latest syllable, which the next stroke needs; "
        "let each in turn take the earliest that is left":
            f1(lambda f, w, t: greedy(f, w, t, lambda free, x: -1)),
        "at most as far apart as the tolerance: <=, not <":
            f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: abs(y - x) < t)),
        "the tolerance holds on either side, before and after":
            [f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: abs(y - x) <= t / 2)),
             f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: abs(y - x) <= 2 * t))],
        "how far apart is an absolute value: a stroke may come before or after its syllable, "
        "by little":
            [f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: x - y <= t)),
             f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: y - x <= t)),
             f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: 0 <= y - x <= t)),
             f1(lambda f, w, t: greedy(f, w, t, close=lambda y, x, t: 0 <= x - y <= t))],
        "the smaller of two counts is not a matching: two strokes around one syllable and two "
        "syllables around one stroke are two hits, not three":
            f1(lambda f, w, t: min(near(f, w, t), near(w, f, t))),
        "the larger of two counts is not a matching: who is met twice counts once":
            f1(lambda f, w, t: max(near(f, w, t), near(w, f, t))),
        "that is the number of hits; it is still to be divided":
            by(lambda hits, strokes, syllables: hits),
        "that is the precision, hits by strokes: whoever moves once, and well, gets 1":
            by(lambda hits, strokes, syllables: hits / strokes),
        "that is the recall, hits by syllables: whoever waves all the time gets 1":
            by(lambda hits, strokes, syllables: hits / syllables),
        "the 2 is missing: a perfect answer would get a half":
            by(lambda hits, strokes, syllables: hits / (strokes + syllables)),
        "that is hits by all moments there are; F1 is twice the hits by strokes plus syllables":
            [by(lambda hits, strokes, syllables: hits / (strokes + syllables - hits)),
             by(lambda hits, strokes, syllables: hits / max(strokes, syllables)),
             by(lambda hits, strokes, syllables: hits / min(strokes, syllables))],
        "F1 is the harmonic mean of precision and recall: twice the hits by strokes plus syllables":
            [by(lambda hits, strokes, syllables: (hits / strokes + hits / syllables) / 2),
             by(lambda hits, strokes, syllables: hits / strokes * hits / syllables),
             by(lambda hits, strokes, syllables: hits / (strokes * syllables) ** 0.5)],
        "that is the share of what missed":
            by(lambda hits, strokes, syllables: 1 - 2 * hits / (strokes + syllables)),
        "a share is wanted, from 0 to 1, not percent":
            by(lambda hits, strokes, syllables: 200 * hits / (strokes + syllables)),
    }  # fmt: skip
    well_done = "lab.puppet_scores.beat_f1 pools hits and counts over the takes before it divides"
    return judge(answer, inputs, f1(matches), mistakes, well_done)


def chance_hits(answer):
    """Share of strokes within 0.1 s of a stress; strokes, and 30 stresses a minute, at random."""
    mistakes = {
        "nearly: where two stresses are close, what is near to both counts once": 0.1,
        "only one side: a stroke may come 0.1 s before the stress, or after it":
            [1 - np.exp(-0.5 * 0.1), 0.05],
        "thirty a minute are one every 2 s; "
        "what share of the time lies within 0.1 s of one of them?": [0.5, 0.2, 0.4],
        "it is not zero: strokes at random meet a stress now and then": 0.0,
    }  # fmt: skip
    well_done = "a beat score has a floor that is not 0, and it rises with the number of strokes"
    return judge_number(answer, 1 - np.exp(-0.5 * 0.2), 0.003, mistakes, well_done)
