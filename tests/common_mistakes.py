"""Common mistakes in the exercises, each with words of the hint that it must get.

(exercise, wrong answer, words), written as a student would write them. Data for test_exercises.py;
wrong_answers.py has more, without words.
"""

import math

import numpy as np
import solutions
import torch
from scipy.fft import dct
from scipy.linalg import sqrtm
from scipy.spatial.transform import Rotation


def rotation(order, turn=1):
    def answer(angles):
        return Rotation.from_euler(order, turn * np.asarray(angles), degrees=True).as_matrix()

    return answer


def skew(w):
    return np.cross(np.eye(3), w)


def rodrigues(sine, cosine):
    def answer(w):
        t = np.linalg.norm(w) or 1e-9
        return np.eye(3) + sine(t) * skew(w) + cosine(t) * skew(w) @ skew(w)

    return answer


def chain(step):
    def answer(rotations, offsets, parents):
        world, places = [], []
        for j, a in enumerate(parents):
            world.append(rotations[j] if a < 0 else world[a] @ rotations[j])
            here = offsets[j] if a < 0 else step(rotations, world, places, offsets, j, a)
            places.append(here)
        return np.stack(places)

    return answer


def noised(signal, noise):
    return lambda x0, t, eps, abar: signal(abar, t) * x0 + noise(abar, t) * eps


def posterior(of_x0, of_x_t):
    def answer(x0, x_t, t, betas, abar):
        return of_x0(betas, abar, t) * x0 + of_x_t(betas, abar, t) * x_t

    return answer


def r(x):
    return x**0.5


def layer_norm(x):
    return torch.nn.LayerNorm(x.shape[-1], elementwise_affine=False)(x)


def parts(x, modulation, layer, order=(0, 1, 2)):
    W = x.shape[1]
    shift, scale, gate = (modulation[:, n * W : (n + 1) * W] for n in order)
    return x + gate * layer(layer_norm(x) * (1 + scale) + shift)


def walked(convolutions, own=False, reach=1):
    sight, step = reach, 1
    for kernel, stride in convolutions:
        step, below = step * stride, step
        sight += (kernel - reach) * (step if own else below)
    return sight, step


def matched(found, wanted, tolerance, choose):
    hits, left = 0, set(wanted.tolist())
    for x in found:
        free = [y for y in left if abs(y - x) <= tolerance]
        if free:
            left.discard(choose(free, x))
            hits += 1
    return 2 * hits / (len(found) + len(wanted))


def closest_pairs_first(found, wanted, tolerance):
    hits, left, right = 0, set(found.tolist()), set(wanted.tolist())
    while left and right:
        distance, x, y = min((abs(x - y), x, y) for x in left for y in right)
        if distance > tolerance:
            break
        left.discard(x)
        right.discard(y)
        hits += 1
    return 2 * hits / (len(found) + len(wanted))


MISTAKES = [
    ("euler_zxy", lambda a: Rotation.from_euler("ZXY", a).as_matrix(), "degrees taken for radians"),
    ("euler_zxy", lambda a: rotation("zxy")(a), "reverse order"),
    ("euler_zxy", rotation("ZXY", -1), "other way"),
    (
        "exponential_map",
        lambda w: Rotation.from_rotvec(w, degrees=True).as_matrix(),
        "degrees taken for radians",
    ),
    ("exponential_map", rodrigues(np.sin, lambda t: 1 - np.cos(t)), "length of the angle"),
    ("exponential_map", lambda w: Rotation.from_rotvec(w).as_matrix().T, "other way"),
    (
        "exponential_map",
        lambda w: (
            np.eye(3)
            + (
                np.sin(np.linalg.norm(w) or 1e-9) / (np.linalg.norm(w) or 1e-9)
                + (1 - np.cos(np.linalg.norm(w))) / ((w @ w) or 1)
            )
            * skew(w)
        ),
        "before K K",
    ),
    ("exponential_map", rodrigues(lambda t: np.sin(t) / t, lambda t: 0), "K K, is missing"),
    (
        "exponential_map",
        lambda w: np.eye(3) + np.sin(np.linalg.norm(w)) * skew(w / (np.linalg.norm(w) or np.nan)),
        "divides by zero",
    ),
    (
        "forward_kinematics",
        chain(lambda r, w, p, o, j, a: p[a] + w[j] @ o[j]),
        "own rotation turns its own offset",
    ),
    (
        "forward_kinematics",
        chain(lambda r, w, p, o, j, a: p[a] + r[a] @ o[j]),
        "only the parent's own rotation",
    ),
    (
        "forward_kinematics",
        chain(lambda r, w, p, o, j, a: w[a] @ o[j]),
        "parent's place is missing",
    ),
    ("forward_kinematics", chain(lambda r, w, p, o, j, a: p[a] + o[j]), "no rotation at all"),
    ("half_way", 0, "mean of the two numbers"),
    ("half_way", 3.14159, "radians"),
    ("half_way", 20, "distance between"),
    ("half_way", 90, "too small"),
    ("facing", lambda R: np.arctan2(R[2, 2], R[0, 2]), "exchanged"),
    ("facing", lambda R: np.arctan2(*(np.array([0, 0, 1]) @ R)[[0, 2]]), "row for column"),
    ("facing", lambda R: np.arctan2(R[0, 2], R[2, 2]) * 180 / np.pi, "degrees"),
    ("facing", lambda R: np.arctan(R[0, 2] / R[2, 2]), "take arctan2"),
    ("facing", lambda R: (np.arctan2(R[0, 2], R[2, 2]) + 2 * np.pi) % (2 * np.pi), "-pi to pi"),
    ("hz_to_mel", lambda f: 2595 * np.log1p(f / 700), "natural logarithm; with"),
    ("hz_to_mel", lambda f: 1127 * np.log10(1 + f / 700), "natural one's factor"),
    ("hz_to_mel", lambda f: 2595 * np.log10(np.maximum(f, 1e-300) / 700), "the 1 is missing"),
    ("hz_to_mel", lambda f: 700 * (np.power(10, f / 2595) - 1), "the way back"),
    ("hz_to_mel", lambda f: 2595 * np.log10(1 + 1000 * f / 700), "kHz"),
    (
        "cepstra",
        lambda b, n: np.array(
            [
                (1 + (k > 0)) ** 0.5
                / len(b) ** 0.5
                * sum(x * np.cos(np.pi * k * m / len(b)) for m, x in enumerate(b))
                for k in range(n)
            ]
        ),
        "half is missing",
    ),
    ("cepstra", lambda b, n: dct(b)[:n] / 2, "factors are missing"),
    ("cepstra", lambda b, n: dct(b)[:n] / (2 * len(b)) ** 0.5, "factor of its own"),
    ("cepstra", lambda b, n: np.append(dct(b, norm="ortho"), 0)[1 : n + 1], "level, is missing"),
    ("cepstra", lambda b, n: dct(np.log(np.abs(b)), norm="ortho")[:n], "logarithms already"),
    (
        "sight_and_step",
        lambda c: (sum(k for k, _ in c), math.prod(s for _, s in c)),
        "kernels are added up",
    ),
    (
        "sight_and_step",
        lambda c: (math.prod(k for k, _ in c), math.prod(s for _, s in c)),
        "product of all kernels",
    ),
    ("sight_and_step", lambda c: walked(c, own=True), "its own not among them"),
    ("sight_and_step", lambda c: walked(c, reach=0), "k - 1 steps further"),
    (
        "sight_and_step",
        lambda c: (solutions.sight_and_step(c)[0], sum(s for _, s in c)),
        "strides multiply",
    ),
    ("sight_and_step", lambda c: solutions.sight_and_step(c)[::-1], "first the sight"),
    ("wavlm_rows", 500, "50 a second"),
    ("wavlm_rows", 498, "needs no step"),
    ("wavlm_rows", 400, "divides by the sight"),
    ("wavlm_rows", 700, "too large"),
    (
        "q_sample",
        lambda x0, t, eps, abar: (
            r(1 - torch.linspace(1e-4, 2e-2, 1000)[t]) * x0
            + r(torch.linspace(1e-4, 2e-2, 1000)[t]) * eps
        ),
        "beta for alpha bar",
    ),
    ("q_sample", noised(lambda a, t: a[t], lambda a, t: 1 - a[t]), "square roots are missing"),
    ("q_sample", noised(lambda a, t: r(1 - a[t]), lambda a, t: r(a[t])), "exchanged"),
    ("q_sample", noised(lambda a, t: r(a[t - 1]), lambda a, t: r(1 - a[t - 1])), "off by one in t"),
    ("q_sample", noised(lambda a, t: r(a[t]), lambda a, t: 1), "no factor"),
    ("q_sample", noised(lambda a, t: r(a[t]), lambda a, t: 1 - r(a[t])), "1 - sqrt(abar)"),
    (
        "posterior_mean",
        posterior(
            lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1]) / (1 - a[t]),
            lambda b, a, t: r(a[t - 1]) * b[t] / (1 - a[t]),
        ),
        "exchanged",
    ),
    (
        "posterior_mean",
        posterior(lambda b, a, t: r(a[t]) * b[t] / (1 - a[t]), lambda b, a, t: r(1 - b[t])),
        "abar of t - 1, yours",
    ),
    (
        "posterior_mean",
        posterior(
            lambda b, a, t: r(a[t - 1]) * b[t - 1] / (1 - a[t]),
            lambda b, a, t: r(1 - b[t - 1]) * (1 - a[t - 1]) / (1 - a[t]),
        ),
        "the beta is that of the step before",
    ),
    (
        "posterior_mean",
        posterior(lambda b, a, t: r(a[t - 1]) * b[t], lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1])),
        "division",
    ),
    (
        "posterior_mean",
        posterior(
            lambda b, a, t: a[t - 1] * b[t] / (1 - a[t]),
            lambda b, a, t: (1 - b[t]) * (1 - a[t - 1]) / (1 - a[t]),
        ),
        "square roots are missing",
    ),
    (
        "posterior_mean",
        posterior(
            lambda b, a, t: r(a[t]) * b[t] / (1 - a[t]),
            lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1]) / (1 - a[t]),
        ),
        "x0's share",
    ),
    ("ddim_step", lambda x, eps, a, b: r(b / a) * (x - r(1 - a) * eps), "not put back"),
    ("ddim_step", lambda x, eps, a, b: (x - r(1 - a) * eps) / r(a), "that is x0"),
    (
        "ddim_step",
        lambda x, eps, a, b: r(a) * (x - r(1 - a) * eps) / r(a) + r(1 - a) * eps,
        "nothing changes",
    ),
    (
        "ddim_step",
        lambda x, eps, a, b: r(a / b) * (x - r(1 - b) * eps) + r(1 - a) * eps,
        "towards the noise",
    ),
    (
        "ddim_step",
        lambda x, eps, a, b: r(b / a) * (x - r(1 - a) * eps) + r(1 - a) * eps,
        "still that of t",
    ),
    ("half_noise", 500, "half of the steps"),
    ("half_noise", 369, "a quarter"),
    ("half_noise", 164, "factor of the noise is a half"),
    ("half_noise", 900, "too large"),
    ("modulated", lambda x, m, f: parts(x, m, f, (1, 0, 2)), "each other's place"),
    (
        "modulated",
        lambda x, m, f: parts(x, m - torch.eye(3)[1].repeat_interleave(8), f),
        "counts from 1",
    ),
    (
        "modulated",
        lambda x, m, f: x + f(layer_norm(x) * (1 + m[:, 8:16]) + m[:, :8]),
        "gate is missing",
    ),
    (
        "modulated",
        lambda x, m, f: x + f(m[:, 16:] * (layer_norm(x) * (1 + m[:, 8:16]) + m[:, :8])),
        "outside the layer",
    ),
    ("modulated", lambda x, m, f: parts(x, m, f) - x, "nothing would come through"),
    (
        "modulated",
        lambda x, m, f: x + m[:, 16:] * f(x * (1 + m[:, 8:16]) + m[:, :8]),
        "not normalised",
    ),
    (
        "modulated",
        lambda x, m, f: x + m[:, 16:] * f(layer_norm(x.T).T * (1 + m[:, 8:16]) + m[:, :8]),
        "not over the frames",
    ),
    (
        "modulated",
        lambda x, m, f: (
            x
            + m[:, 16:]
            * f(
                (x - x.mean(1, True)) / (x.var(1, keepdim=True) + 1e-5).sqrt() * (1 + m[:, 8:16])
                + m[:, :8]
            )
        ),
        "correction=0",
    ),
    ("window_mask", lambda n, w: solutions.window_mask(n, w).T, "looks ahead"),
    ("window_mask", lambda n, w: np.triu(np.ones((n, n)), 1 - w), "future is open"),
    (
        "window_mask",
        lambda n, w: solutions.window_mask(n, w) & ~np.eye(n, dtype=bool),
        "see itself",
    ),
    ("window_mask", lambda n, w: solutions.window_mask(n, w + 1), "one too wide"),
    ("window_mask", lambda n, w: np.tril(np.ones((n, n))), "window is missing"),
    ("window_mask", lambda n, w: 1.0 * solutions.window_mask(n, w), "True and False (bool)"),
    ("causal_mask", lambda n: torch.ones(n, n).tril().int(), "True and False (bool)"),
    ("attended", lambda q, k, v, m: solutions.attended(q, k, v, m.tril()), "always causal"),
    (
        "attended",
        lambda q, k, v, m: (
            torch.softmax((q @ k.T / q.shape[1] ** 0.5).masked_fill(~m, -10), dim=1) @ v
        ),
        "minus ten",
    ),
    ("window_mask", lambda n, w: ~solutions.window_mask(n, w), "exchanged"),
    ("rotated", lambda v, p, f: solutions.rotated(v, -p, f), "other way round"),
    ("rotated", lambda v, p, f: solutions.rotated(v, p, np.pi / 180 * f), "degrees taken"),
    ("rotated", lambda v, p, f: solutions.rotated(v, p, 1 / f), "not divided"),
    ("rotated", lambda v, p, f: solutions.rotated(v, 1, p + f), "not added"),
    (
        "rotated",
        lambda v, p, f: np.array(
            [
                v[0] * np.cos(p * f) - v[1] * np.sin(p * f),
                v[0] * np.sin(p * f) - v[1] * np.cos(p * f),
            ]
        ),
        "a mirror",
    ),
    ("eps_from_v", lambda x, v, a: r(1 - a) * v + r(a) * x, "each other's place"),
    ("eps_from_v", lambda x, v, a: r(a) * x - r(1 - a) * v, "that is x0"),
    ("eps_from_v", lambda x, v, a: r(a) * v - r(1 - a) * x, "a sign"),
    ("eps_from_v", lambda x, v, a: a * v + (1 - a) * x, "square roots"),
    ("eps_from_v", lambda x, v, a: r(a) * v, "x_t is missing"),
    (
        "poses_from_news",
        lambda u, m: u + m * np.vstack([0 * u[:1], u[:-1]]),
        "where the last pose belongs",
    ),
    ("poses_from_news", lambda u, m: u - m * np.vstack([0 * u[:1], u[:-1]]), "the way there"),
    ("poses_from_news", lambda u, m: np.cumsum(u, axis=0), "all of the last pose"),
    (
        "poses_from_news",
        lambda u, m: solutions.poses_from_news(np.vstack([(1 - m) * u[:1], u[1:]]), m),
        "as it is",
    ),
    ("poses_from_news", lambda u, m: solutions.poses_from_news(u, -m), "the sign"),
    ("frames_back", 404, "counts the frame itself, so a block"),
    ("frames_back", 396, "and the convolution"),
    ("frames_back", 103, "add up"),
    ("frames_back", 401, "five frames"),
    ("frames_back", 600, "too large"),
    ("best_loss", lambda a, s: 1 - solutions.best_loss(a, s), "exchanged"),
    ("best_loss", lambda a, s: 1 / (1 + (1 - a) / (a * s)), "to be squared"),
    ("best_loss", lambda a, s: 1 - (1 - a), "deviation 1 only"),
    ("best_loss", lambda a, s: s * s * a, "before one divides"),
    ("best_loss", lambda a, s: 1 / (1 / s**2 + a / (1 - a)), "for x0"),
    ("best_loss", lambda a, s: 1 + 0 * a, "answering 0"),
    ("ema_update", lambda a, w, d: a + d * (w - a), "exchanged"),
    ("ema_update", lambda a, w, d: a * d + w, "add up to 1"),
    ("ema_update", lambda a, w, d: a - (1 - d) * a, "share is missing"),
    ("ema_update", lambda a, w, d: np.mean([a, w], axis=0), "plain mean"),
    (
        "learning_rate",
        lambda n, w, s, p: p * n / w if n < w else solutions.learning_rate(n, w, s, p),
        "learns nothing",
    ),
    (
        "learning_rate",
        lambda n, w, s, p: p * (n + 1) / w if n < w else p * np.cos(np.pi * n / s / 2) ** 2,
        "the rate jumps",
    ),
    (
        "learning_rate",
        lambda n, w, s, p: p * (n + 1) / w if n < w else p * np.sin(np.pi / 2 * (s - n) / (s - w)),
        "quarter of a cosine",
    ),
    (
        "learning_rate",
        lambda n, w, s, p: p * np.cos(np.pi * (n - w) / (s - w) / 2) ** 2,
        "warm-up is missing",
    ),
    (
        "learning_rate",
        lambda n, w, s, p: p * (n + 1) / w if n < w else p * np.cos(np.pi * (n - w) / (s - w)),
        "raise it by 1",
    ),
    ("guided", lambda x, y, g: x + g * (x - y), "model as it was trained; in"),
    ("guided", lambda x, y, g: (1 - g) * x + g * y, "flees"),
    ("guided", lambda x, y, g: y + g * x, "difference is what"),
    ("guided", lambda x, y, g: g * x - g * y, "starting point"),
    ("half_forgotten", 500, "not half"),
    ("half_forgotten", 250, "constant rate"),
    ("half_forgotten", 1039, "an eighth"),
    ("half_forgotten", 2000, "too large"),
    (
        "frechet_distance",
        lambda m, a, n, b: ((m - n) ** 2).sum() + np.trace(a + b - 2 * np.sqrt(np.abs(a @ b))),
        "root is taken of each number",
    ),
    (
        "frechet_distance",
        lambda m, a, n, b: ((m - n) ** 2).sum() + np.trace(a + b - sqrtm(a @ b).real),
        "counts twice",
    ),
    (
        "frechet_distance",
        lambda m, a, n, b: ((m - n) ** 2).sum() + np.trace(a + b),
        "cross term is missing",
    ),
    (
        "frechet_distance",
        lambda m, a, n, b: np.linalg.norm(m - n) + np.trace(a + b - 2 * sqrtm(a @ b).real),
        "to be squared",
    ),
    (
        "frechet_distance",
        lambda m, a, n, b: np.trace(a + b - 2 * sqrtm(a @ b).real),
        "means are missing",
    ),
    (
        "frechet_distance",
        lambda m, a, n, b: (((m - n) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)) ** 0.5,
        "that is its root",
    ),
    (
        "beat_f1",
        lambda f, w, t: 2 * sum(min(abs(w - x)) <= t for x in f) / (len(f) + len(w)),
        "may be met once",
    ),
    (
        "beat_f1",
        lambda f, w, t: solutions.beat_f1(f, w, t) * (len(f) + len(w)) / 2 / len(f),
        "precision",
    ),
    (
        "beat_f1",
        lambda f, w, t: solutions.beat_f1(f, w, t) * (len(f) + len(w)) / 2 / len(w),
        "recall",
    ),
    ("beat_f1", lambda f, w, t: solutions.beat_f1(f, w, t) / 2, "the 2 is missing"),
    (
        "beat_f1",
        lambda f, w, t: 2 * sum(any(abs(x - y) <= t for x in f) for y in w) / (len(f) + len(w)),
        "one stroke between two",
    ),
    (
        "beat_f1",
        lambda f, w, t: (
            2
            * np.sum(np.abs(f[: min(len(f), len(w))] - w[: min(len(f), len(w))]) <= t)
            / (len(f) + len(w))
        ),
        "shifts all others",
    ),
    (
        "beat_f1",
        lambda f, w, t: matched(f, w, t, lambda free, x: min(free, key=lambda y: abs(y - x))),
        "takes the nearest",
    ),
    (
        "beat_f1",
        lambda f, w, t: matched(w, f, t, lambda free, x: min(free, key=lambda y: abs(y - x))),
        "two others without a partner",
    ),
    ("beat_f1", closest_pairs_first, "two others without a partner"),
    (
        "exponential_map",
        lambda w: solutions.exponential_map(w * (np.linalg.norm(w) > 0.1)),
        "small turn is a turn",
    ),
    ("beat_f1", lambda f, w, t: matched(f, w, t, lambda free, x: max(free)), "takes the latest"),
    (
        "beat_f1",
        lambda f, w, t: (
            2
            * min(
                (np.abs(f[:, None] - w) <= t).any(0).sum(),
                (np.abs(f[:, None] - w) <= t).any(1).sum(),
            )
            / (len(f) + len(w))
        ),
        "not a matching",
    ),
    ("chance_hits", 0.0488, "only one side"),
    ("chance_hits", 0.5, "one every 2 s"),
    ("chance_hits", 0.1, "nearly"),
    ("chance_hits", 0.3, "too large"),
]
