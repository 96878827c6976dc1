"""Wrong answers to the exercises, as students plausibly give them: (exercise, slip, answer).

They are data for test_exercises.py, which counts how many of them the checks name. None is taken
from checks/ or from common_mistakes.py. Those of notebooks 1 to 3 are in a file of their own.
"""

import numpy as np
import solutions
import torch
from wrong_answers_1_to_3 import NOTEBOOK_1, NOTEBOOK_2, NOTEBOOK_3, r

cos, sin, pi = np.cos, np.sin, np.pi


# ---- notebook 4 --------------------------------------------------------------------------------
def normed(x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def adaln(x, m, f, order=(0, 1, 2), norm=normed):
    parts = m.chunk(3, dim=-1)
    shift, scale, gate = (parts[n] for n in order)
    return shift, scale, gate, norm(x)


def modulated(form, **settings):
    return lambda x, m, f: form(x, f, *adaln(x, m, f, **settings))


def soft(scores, dim=-1):
    return torch.softmax(scores, dim=dim)


def attended(scores=lambda q, k: q @ k.T / q.shape[-1] ** 0.5, hide=-torch.inf, dim=-1,
             last=lambda w, v: w @ v, flip=False):  # fmt: skip
    def answer(q, k, v, mask):
        s = scores(q, k).masked_fill(mask if flip else ~mask, hide)
        return last(soft(s, dim), v)

    return answer


def grid(n):
    return torch.arange(n)[:, None], torch.arange(n)[None]


NOTEBOOK_4 = [
    ("modulated", "shift not added", modulated(lambda x, f, s, c, g, n: x + g * f(n * (1 + c)))),
    ("modulated", "no scale", modulated(lambda x, f, s, c, g, n: x + g * f(n + s))),
    ("modulated", "shift before scale", modulated(lambda x, f, s, c, g, n:
        x + g * f((n + s) * (1 + c)))),
    ("modulated", "gate on both", modulated(lambda x, f, s, c, g, n:
        g * (x + f(n * (1 + c) + s)))),
    ("modulated", "1 + gate", modulated(lambda x, f, s, c, g, n:
        x + (1 + g) * f(n * (1 + c) + s))),
    ("modulated", "gate first, of three", modulated(lambda x, f, s, c, g, n:
        x + g * f(n * (1 + c) + s), order=(1, 2, 0))),
    ("modulated", "gate and scale exchanged", modulated(lambda x, f, s, c, g, n:
        x + g * f(n * (1 + c) + s), order=(0, 2, 1))),
    ("modulated", "gate and shift exchanged", modulated(lambda x, f, s, c, g, n:
        x + g * f(n * (1 + c) + s), order=(2, 1, 0))),
    ("modulated", "modulated after the layer", modulated(lambda x, f, s, c, g, n:
        x + g * (f(n) * (1 + c) + s))),
    ("modulated", "normed x goes on", modulated(lambda x, f, s, c, g, n:
        n + g * f(n * (1 + c) + s))),
    ("modulated", "the layer left out", modulated(lambda x, f, s, c, g, n:
        x + g * (n * (1 + c) + s))),
    ("modulated", "gate before norm", lambda x, m, f: x + f(normed(m.chunk(3, -1)[2] * x)
        * (1 + m.chunk(3, -1)[1]) + m.chunk(3, -1)[0])),
    ("modulated", "normed over everything", modulated(lambda x, f, s, c, g, n:
        x + g * f(n * (1 + c) + s), norm=lambda x: (x - x.mean()) / x.std(correction=0))),
    ("modulated", "variance for deviation", modulated(lambda x, f, s, c, g, n:
        x + g * f(n * (1 + c) + s), norm=lambda x: (x - x.mean(-1, True))
        / (x.var(-1, keepdim=True, correction=0) + 1e-5))),
    ("modulated", "mean not taken away", modulated(lambda x, f, s, c, g, n:
        x + g * f(n * (1 + c) + s), norm=lambda x: x / (x.var(-1, keepdim=True, correction=0)
        + 1e-5).sqrt())),
    ("modulated", "minus", modulated(lambda x, f, s, c, g, n: x - g * f(n * (1 + c) + s))),
    ("modulated", "divided by the scale", modulated(lambda x, f, s, c, g, n:
        x + g * f(n / (1 + c) + s))),
    ("modulated", "chunks interleaved", lambda x, m, f: x + m[:, 2::3] * f(normed(x)
        * (1 + m[:, 1::3]) + m[:, 0::3])),
    ("causal_mask", "triu", lambda n: torch.ones(n, n).triu().bool()),
    ("causal_mask", "tril without the diagonal", lambda n: torch.ones(n, n).tril(-1).bool()),
    ("causal_mask", "one frame ahead", lambda n: torch.ones(n, n).tril(1).bool()),
    ("causal_mask", "all open", lambda n: torch.ones(n, n).bool()),
    ("causal_mask", "diagonal only", lambda n: torch.eye(n).bool()),
    ("causal_mask", "inverted", lambda n: ~torch.ones(n, n).tril().bool()),
    ("causal_mask", "0 and -inf", lambda n: torch.zeros(n, n).masked_fill(
        ~torch.ones(n, n).tril().bool(), -torch.inf)),
    ("attended", "no root of the size", attended(lambda q, k: q @ k.T)),
    ("attended", "divided by the size", attended(lambda q, k: q @ k.T / q.shape[-1])),
    ("attended", "k q^T", attended(lambda q, k: k @ q.T / q.shape[-1] ** 0.5)),
    ("attended", "softmax over the queries", attended(dim=0)),
    ("attended", "mask inverted", attended(flip=True, hide=-1e9)),
    ("attended", "no mask", lambda q, k, v, m: soft(q @ k.T / q.shape[-1] ** 0.5) @ v),
    ("attended", "scores 0 where hidden", attended(hide=0.0)),
    ("attended", "masked after the softmax", lambda q, k, v, m:
        (soft(q @ k.T / q.shape[-1] ** 0.5) * m) @ v),
    ("attended", "mask added", lambda q, k, v, m:
        soft(q @ k.T / q.shape[-1] ** 0.5 + m.float()) @ v),
    ("attended", "root after the softmax", lambda q, k, v, m:
        soft((q @ k.T).masked_fill(~m, -torch.inf)) / q.shape[-1] ** 0.5 @ v),
    ("attended", "no softmax", lambda q, k, v, m: ((q @ k.T / q.shape[-1] ** 0.5) * m) @ v),
    ("attended", "times the root", attended(lambda q, k: q @ k.T * q.shape[-1] ** 0.5)),
    ("attended", "divided by the root of the frames", attended(lambda q, k:
        q @ k.T / len(q) ** 0.5)),
    ("attended", "weights transposed", attended(last=lambda w, v: w.T @ v)),
    ("attended", "the weights alone", attended(last=lambda w, v: w)),
    ("attended", "q * k", lambda q, k, v, m: soft(q * k / q.shape[-1] ** 0.5) * v),
    ("attended", "v's and k's places exchanged", lambda q, k, v, m: solutions.attended(q, v, k, m)),
    ("rotated", "transposed and angle divided by 2", lambda v, p, f:
        solutions.rotated(v, p / 2, f)),
    ("rotated", "cos and sin exchanged", lambda v, p, f: np.array([v[0] * sin(p * f) - v[1]
        * cos(p * f), v[0] * cos(p * f) + v[1] * sin(p * f)])),
    ("rotated", "both plus", lambda v, p, f: np.array([v[0] * cos(p * f) + v[1] * sin(p * f),
        v[0] * sin(p * f) + v[1] * cos(p * f)])),
    ("rotated", "overwritten on the way", lambda v, p, f: (lambda a: np.array([a, a * sin(p * f)
        + v[1] * cos(p * f)]))(v[0] * cos(p * f) - v[1] * sin(p * f))),
    ("rotated", "position + 1", lambda v, p, f: solutions.rotated(v, p + 1, f)),
    ("rotated", "2 pi", lambda v, p, f: solutions.rotated(v, 2 * pi * p, f)),
    ("rotated", "elementwise", lambda v, p, f: np.array([v[0] * cos(p * f), v[1] * sin(p * f)])),
    ("rotated", "second pair first", lambda v, p, f: solutions.rotated(v[::-1], p, f)),
    ("rotated", "frequency forgotten", lambda v, p, f: solutions.rotated(v, p, 1)),
    ("adaln_share", "6 of 18 weights, as a count", 6),
    ("adaln_share", "only attention beside it", 0.6),
    ("adaln_share", "a quarter", 0.25),
    ("adaln_share", "an MLP of W", 0.5),
    ("adaln_share", "only the MLP beside it", 6 / 14),
    ("adaln_share", "attention without what comes out", 6 / 17),
]  # fmt: skip


# ---- notebook 5 --------------------------------------------------------------------------------
NOTEBOOK_5 = [
    ("best_loss", "roots for shares", lambda a, s: r(a) * s / (r(a) * s + r(1 - a))),
    ("best_loss", "s outside the variance", lambda a, s: s * s * a / (a + 1 - a)),
    ("best_loss", "the root of it", lambda a, s: r(a * s * s / (a * s * s + 1 - a))),
    ("best_loss", "squared", lambda a, s: (a * s * s / (a * s * s + 1 - a)) ** 2),
    ("best_loss", "the share of x_t", lambda a, s: r(1 - a) / (a * s * s + 1 - a)),
    ("best_loss", "1 minus the share", lambda a, s: 1 - r(1 - a) / (a * s * s + 1 - a)),
    ("best_loss", "signal to noise", lambda a, s: a * s * s / (1 - a)),
    ("best_loss", "variance of x_t", lambda a, s: a * s * s + 1 - a),
    ("best_loss", "1 - abar", lambda a, s: 1 - a),
    ("ema_update", "the difference only", lambda a, w, d: (1 - d) * (w - a)),
    ("ema_update", "wrong way round", lambda a, w, d: a + (1 - d) * (a - w)),
    ("ema_update", "the weight alone", lambda a, w, d: w),
    ("ema_update", "the average alone", lambda a, w, d: a),
    ("ema_update", "1 - d on both", lambda a, w, d: (1 - d) * a + (1 - d) * w),
    ("ema_update", "d on both", lambda a, w, d: d * a + d * w),
    ("ema_update", "divided by the steps", lambda a, w, d: a + (w - a) / d if d else a),
    ("ema_update", "w's share added whole", lambda a, w, d: a + (1 - d) * w),
    ("learning_rate", "<= warmup", lambda n, w, s, p: p * (n + 1) / w if n <= w
        else solutions.learning_rate(n, w, s, p)),
    ("learning_rate", "one step late after the ramp", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + cos(pi * (n + 1 - w) / (s - w))) / 2),
    ("learning_rate", "cosine ends at steps - 1", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + cos(pi * (n - w) / (s - 1 - w))) / 2),
    ("learning_rate", "peak forgotten", lambda n, w, s, p: solutions.learning_rate(n, w, s, 1)),
    ("learning_rate", "straight down", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (s - n) / (s - w)),
    ("learning_rate", "constant after the ramp", lambda n, w, s, p: p * min(1, (n + 1) / w)),
    ("learning_rate", "warmup - 1 steps", lambda n, w, s, p: p * n / (w - 1) if n < w
        else solutions.learning_rate(n, w, s, p)),
    ("learning_rate", "sine", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + sin(pi * (n - w) / (s - w))) / 2),
    ("learning_rate", "the smaller of both", lambda n, w, s, p:
        p * min((n + 1) / w, (1 + cos(pi * n / s)) / 2)),
    ("learning_rate", "not halved", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + cos(pi * (n - w) / (s - w)))),
    ("learning_rate", "degrees", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + cos(180 * (n - w) / (s - w))) / 2),
    ("learning_rate", "no pi", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + cos((n - w) / (s - w))) / 2),
    ("learning_rate", "rising cosine", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 - cos(pi * (n - w) / (s - w))) / 2),
    ("learning_rate", "gone counts warm-up below", lambda n, w, s, p: p * (n + 1) / w if n < w
        else p * (1 + cos(pi * (n - w) / s)) / 2),
    ("guided", "from the spoken", lambda x, y, g: x + g * (x - y)),
    ("guided", "sign of the difference", lambda x, y, g: y + g * (y - x)),
    ("guided", "weights not adding to 1", lambda x, y, g: g * x + y),
    ("guided", "minus", lambda x, y, g: y - g * (x - y)),
    ("guided", "the spoken alone", lambda x, y, g: x),
    ("guided", "speech and silence exchanged", lambda x, y, g: (1 - g) * x + g * y),
    ("guided", "both strengthened", lambda x, y, g: g * (x + y)),
    ("guided", "g squared", lambda x, y, g: y + g * g * (x - y)),
    ("guided", "product", lambda x, y, g: y * g * x),
    ("guided", "mean of both", lambda x, y, g: (x + y) / 2),
    ("guided", "(1 - g) spoken", lambda x, y, g: (1 - g) * y + x),
    ("half_forgotten", "log 2 / 0.998", 0.69),
    ("half_forgotten", "998", 998),
    ("half_forgotten", "to a third", 549),
]  # fmt: skip


# ---- notebook 6 --------------------------------------------------------------------------------
def clouds(form):
    return lambda m, a, n, b: form(m - n, a, b)


def root(matrix):
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def of_product(a, b):
    return np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()


def counted(found, wanted, near):
    hits, left = 0, list(wanted)
    for time in found:
        partner = next((w for w in left if near(abs(w - time))), None)
        if partner is not None:
            left.remove(partner)
            hits += 1
    return hits


def hits_of(f, w, t):
    return counted(f, w, lambda d: d <= t)


NOTEBOOK_6 = [
    ("frechet_distance", "eigenvalues not rooted", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        - 2 * np.linalg.eigvals(a @ b).real.sum())),
    ("frechet_distance", "A * B", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        - 2 * np.sqrt(np.abs(np.linalg.eigvals(a * b))).sum())),
    ("frechet_distance", "plus the cross term", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        + 2 * of_product(a, b))),
    ("frechet_distance", "root of the trace", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        - 2 * np.sqrt(np.trace(a @ b)))),
    ("frechet_distance", "roots of A and B apart", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        - 2 * np.trace(root(a) @ root(b)))),
    ("frechet_distance", "one trace", clouds(lambda d, a, b: d @ d + np.trace(a)
        - 2 * of_product(a, b))),
    ("frechet_distance", "traces subtracted", clouds(lambda d, a, b: d @ d + np.trace(a - b)
        - 2 * of_product(a, b))),
    ("frechet_distance", "sum of all, not the trace", clouds(lambda d, a, b: d @ d + (a + b).sum()
        - 2 * of_product(a, b))),
    ("frechet_distance", "means added", lambda m, a, n, b: (m + n) @ (m + n) + np.trace(a + b)
        - 2 * of_product(a, b)),
    ("frechet_distance", "mean of the squares", clouds(lambda d, a, b: np.mean(d * d)
        + np.trace(a + b) - 2 * of_product(a, b))),
    ("frechet_distance", "determinant", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        - 2 * np.sqrt(np.abs(np.linalg.det(a @ b))))),
    ("frechet_distance", "absolute values", clouds(lambda d, a, b: np.abs(d).sum()
        + np.trace(a + b) - 2 * of_product(a, b))),
    ("frechet_distance", "only the means", clouds(lambda d, a, b: d @ d)),
    ("frechet_distance", "A + B for A B", clouds(lambda d, a, b: d @ d + np.trace(a + b)
        - 2 * np.sqrt(np.abs(np.linalg.eigvals(a + b))).sum())),
    ("frechet_distance", "deviations for variances", clouds(lambda d, a, b: d @ d
        + np.sqrt(np.diag(a)).sum() + np.sqrt(np.diag(b)).sum() - 2 * of_product(a, b))),
    ("beat_f1", "< for at most", lambda f, w, t: 2 * counted(f, w, lambda d: d < t)
        / (len(f) + len(w))),
    ("beat_f1", "tolerance on both sides together", lambda f, w, t: 2 * counted(f, w, lambda d:
        d <= t / 2) / (len(f) + len(w))),
    ("beat_f1", "twice the tolerance", lambda f, w, t: 2 * counted(f, w, lambda d: d <= 2 * t)
        / (len(f) + len(w))),
    ("beat_f1", "not absolute", lambda f, w, t: solutions_signed(f, w, t)),
    ("beat_f1", "the number of hits", lambda f, w, t: hits_of(f, w, t)),
    ("beat_f1", "Jaccard", lambda f, w, t: hits_of(f, w, t) / (len(f) + len(w)
        - hits_of(f, w, t))),
    ("beat_f1", "mean of precision and recall", lambda f, w, t: (hits_of(f, w, t) / len(f)
        + hits_of(f, w, t) / len(w)) / 2),
    ("beat_f1", "product of precision and recall", lambda f, w, t: hits_of(f, w, t) / len(f)
        * hits_of(f, w, t) / len(w)),
    ("beat_f1", "hits by the larger count", lambda f, w, t: hits_of(f, w, t)
        / max(len(f), len(w))),
    ("beat_f1", "all pairs that are near", lambda f, w, t: 2 * (np.abs(f[:, None] - w) <= t).sum()
        / (len(f) + len(w))),
    ("beat_f1", "misses", lambda f, w, t: 1 - 2 * hits_of(f, w, t) / (len(f) + len(w))),
    ("beat_f1", "in percent", lambda f, w, t: 200 * hits_of(f, w, t) / (len(f) + len(w))),
    ("beat_f1", "harmonic mean without the 2", lambda f, w, t: hits_of(f, w, t)
        / (len(f) + len(w))),
    ("beat_f1", "the larger of two counts", lambda f, w, t: 2 * max(
        (np.abs(f[:, None] - w) <= t).any(0).sum(), (np.abs(f[:, None] - w) <= t).any(1).sum())
        / (len(f) + len(w))),
    ("chance_hits", "30 a minute, 0.1 s", 0.05),
    ("chance_hits", "a fifth of the time", 0.2),
    ("chance_hits", "zero", 0.0),
    ("chance_hits", "0.2 of 2 s, twice", 0.4),
]  # fmt: skip


def solutions_signed(found, wanted, tolerance):
    """Counts a stroke that comes long before its syllable, for w - x is not absolute."""
    hits, left = 0, list(wanted)
    for time in found:
        partner = next((w for w in left if time - w <= tolerance), None)
        if partner is not None:
            left.remove(partner)
            hits += 1
    return 2 * hits / (len(found) + len(wanted))


# ---- notebook 7 --------------------------------------------------------------------------------
def sums(news, memory, first=lambda u, m: u, step=lambda u, m, p, raw: u + m * p):
    poses = np.array(news)
    poses[0] = first(news[0], memory)
    for n in range(1, len(poses)):
        poses[n] = step(news[n], memory, poses[n - 1], news[n - 1])
    return poses


def window(look):
    return lambda n, w: look(*grid(n), w)


NOTEBOOK_7 = [
    ("window_mask", "window plus one", window(lambda q, k, w: (k <= q) & (q - k <= w))),
    ("window_mask", "window minus one", window(lambda q, k, w: (k <= q) & (q - k < w - 1))),
    ("window_mask", "triu", lambda n, w: torch.ones(n, n).triu().bool()),
    ("window_mask", "both ways", window(lambda q, k, w: (q - k).abs() < w)),
    ("window_mask", "the first w frames", window(lambda q, k, w: (k <= q) & (k < w))),
    ("window_mask", "or for and", window(lambda q, k, w: (k <= q) | (q - k < w))),
    ("window_mask", "older than the window", window(lambda q, k, w: (k <= q) & (q - k >= w))),
    ("window_mask", "blocks", window(lambda q, k, w: (k <= q) & (q // w == k // w))),
    ("window_mask", "0 and -inf", lambda n, w: torch.where(torch.as_tensor(
        solutions.window_mask(n, w)), 0.0, -torch.inf)),
    ("eps_from_v", "minus the other way", lambda x, v, a: r(1 - a) * x - r(a) * v),
    ("eps_from_v", "divided by the root", lambda x, v, a: (v + r(1 - a) * x) / r(a)),
    ("eps_from_v", "x_t's equation alone", lambda x, v, a: (x - r(a) * v) / r(1 - a)),
    ("eps_from_v", "x_t without its factor", lambda x, v, a: r(a) * v + x),
    ("eps_from_v", "v without its factor", lambda x, v, a: v + r(1 - a) * x),
    ("eps_from_v", "one root only", lambda x, v, a: r(a) * v + (1 - a) * x),
    ("eps_from_v", "the other root only", lambda x, v, a: a * v + r(1 - a) * x),
    ("eps_from_v", "no factors", lambda x, v, a: x + v),
    ("eps_from_v", "v alone", lambda x, v, a: v),
    ("eps_from_v", "solved with a slip: times abar", lambda x, v, a: (r(a) * v + r(1 - a) * x) * a),
    ("eps_from_v", "1 - root", lambda x, v, a: r(a) * v + (1 - r(a)) * x),
    ("poses_from_news", "cumsum times memory", lambda u, m: m * np.cumsum(u, axis=0)),
    ("poses_from_news", "1 - memory", lambda u, m: sums(u, 1 - m)),
    ("poses_from_news", "along the features", lambda u, m: sums(u.T, m).T),
    ("poses_from_news", "memory times both", lambda u, m: sums(u, m, step=lambda u, m, p, raw:
        m * (u + p))),
    ("poses_from_news", "a mean", lambda u, m: sums(u, m, step=lambda u, m, p, raw:
        (1 - m) * u + m * p)),
    ("poses_from_news", "the pose of the first frame throughout", lambda u, m: sums(u, m,
        step=lambda n, m, p, raw: n + m * u[0])),
    ("poses_from_news", "one frame missing", lambda u, m: solutions.poses_from_news(u, m)[1:]),
    ("poses_from_news", "begins at 0", lambda u, m: sums(u, m, first=lambda u, m: 0 * u)),
    ("poses_from_news", "powers of memory", lambda u, m: u * (m ** np.arange(len(u)))[:, None]),
    ("poses_from_news", "backwards", lambda u, m: solutions.poses_from_news(u[::-1], m)[::-1]),
    ("poses_from_news", "powers begin one too late", lambda u, m: sums(u, m, step=lambda u, m, p,
        raw: u + m * m * p)),
    ("frames_back", "99", 99),
    ("frames_back", "100", 100),
    ("frames_back", "99 with the convolution's four times", 4 * (99 + 4)),
    ("frames_back", "four windows and five", 405),
]  # fmt: skip

WRONG_ANSWERS = [*NOTEBOOK_1, *NOTEBOOK_2, *NOTEBOOK_3, *NOTEBOOK_4, *NOTEBOOK_5, *NOTEBOOK_6,
                 *NOTEBOOK_7]  # fmt: skip
