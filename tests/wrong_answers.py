"""Wrong answers to the exercises, as students plausibly give them: (exercise, slip, answer).

They are data for test_exercises.py, which counts how many of them the checks name. None is taken
from checks/ or from the test's own list of common mistakes.
"""

import numpy as np
import solutions
import torch

eye, cos, sin, pi = np.eye, np.cos, np.sin, np.pi


# ---- notebook 1 --------------------------------------------------------------------------------
def about(axis, t):
    """A rotation about x, y or z by t radians."""
    c, s = cos(t), sin(t)
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def turns(angles, order="zxy", names="zxy"):
    """Matrices of angles (called by `names`) multiplied in `order`."""
    by_name = dict(zip(names, np.radians(angles)))
    product = eye(3)
    for axis in order:
        product = product @ about(axis, by_name[axis])
    return product


def one_sign_wrong(angles):
    z, x, y = np.radians(angles)
    R_y = np.array([[cos(y), 0, -sin(y)], [0, 1, 0], [sin(y), 0, cos(y)]])
    return about("z", z) @ about("x", x) @ R_y


def skew(w):
    return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])


def rodrigues(w, form):
    t = np.linalg.norm(w)
    if t < 1e-12:
        return eye(3)
    return form(t, skew(w), skew(w / t))


def kinematics(rotations, offsets, parents, step, root=None):
    R, x = np.array(rotations), np.array(offsets)
    for j, a in enumerate(parents):
        if a < 0:
            x[j] = offsets[j] if root is None else root(R[j], offsets[j])
        else:
            R[j], x[j] = step(R[a], rotations[j], x[a], offsets[j], R, x, j)
    return x


NOTEBOOK_1 = [
    ("euler_zxy", "* for @", lambda a: about("z", np.radians(a[0])) * about("x", np.radians(a[1]))
        * about("y", np.radians(a[2]))),
    ("euler_zxy", "transposed", lambda a: turns(a).T),
    ("euler_zxy", "order of axes XYZ", lambda a: turns(a, "xyz")),
    ("euler_zxy", "angles read as x, y, z", lambda a: turns(a, "zxy", "xyz")),
    ("euler_zxy", "order ZYX", lambda a: turns(a, "zyx")),
    ("euler_zxy", "angles read as x, y, z, multiplied so", lambda a: turns(a, "xyz", "xyz")),
    ("euler_zxy", "sign of the sine in R_Y", one_sign_wrong),
    ("euler_zxy", "sum of the matrices", lambda a: sum(about(n, t) for n, t in
        zip("zxy", np.radians(a)))),
    ("euler_zxy", "times pi, not pi / 180", lambda a: turns(np.degrees(np.array(a) * pi))),
    ("euler_zxy", "two matrices only", lambda a: turns(a, "zx")),
    ("exponential_map", "K * K for K @ K", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) / t * K + (1 - cos(t)) / t**2 * K * K)),
    ("exponential_map", "divided by t, not t squared", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) / t * K + (1 - cos(t)) / t * K @ K)),
    ("exponential_map", "1 + cos", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) / t * K + (1 + cos(t)) / t**2 * K @ K)),
    ("exponential_map", "minus the second half", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) / t * K - (1 - cos(t)) / t**2 * K @ K)),
    ("exponential_map", "no identity", lambda w: rodrigues(w, lambda t, K, U:
        sin(t) / t * K + (1 - cos(t)) / t**2 * K @ K)),
    ("exponential_map", "t squared as the angle", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t * t) / (t * t) * K + (1 - cos(t * t)) / t**4 * K @ K)),
    ("exponential_map", "ones for the identity", lambda w: rodrigues(w, lambda t, K, U:
        np.ones((3, 3)) + sin(t) / t * K + (1 - cos(t)) / t**2 * K @ K)),
    ("exponential_map", "zeros at w = 0", lambda w: solutions.exponential_map(w) if np.any(w)
        else np.zeros((3, 3))),
    ("exponential_map", "cos and sin exchanged", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + cos(t) / t * K + (1 - sin(t)) / t**2 * K @ K)),
    ("exponential_map", "K symmetric", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) / t * abs(K) * np.sign(K + K.T + np.triu(K)) + (1 - cos(t)) / t**2 * K @ K)),
    ("exponential_map", "K transposed once", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) / t * K + (1 - cos(t)) / t**2 * K @ K.T)),
    ("exponential_map", "half of the angle", lambda w: solutions.exponential_map(w / 2)),
    ("exponential_map", "cos t I", lambda w: rodrigues(w, lambda t, K, U: cos(t) * eye(3)
        + sin(t) * U + (1 - cos(t)) * U @ U)),
    ("exponential_map", "K for U once", lambda w: rodrigues(w, lambda t, K, U: eye(3)
        + sin(t) * U + (1 - cos(t)) * K @ K)),
    ("exponential_map", "sum of absolute values for t", lambda w: rodrigues(w, lambda t, K, U:
        eye(3) + sin(abs(w).sum()) / abs(w).sum() * K
        + (1 - cos(abs(w).sum())) / abs(w).sum() ** 2 * K @ K)),
    ("forward_kinematics", "R_j R_parent", lambda *g: kinematics(*g, lambda P, r, p, o, R, x, j:
        (r @ P, p + P @ o))),
    ("forward_kinematics", "offset @ R", lambda *g: kinematics(*g, lambda P, r, p, o, R, x, j:
        (P @ r, p + o @ P))),
    ("forward_kinematics", "P * r", lambda *g: kinematics(*g, lambda P, r, p, o, R, x, j:
        (P * r, p + P @ o))),
    ("forward_kinematics", "minus the offset", lambda *g: kinematics(*g, lambda P, r, p, o, R, x, j:
        (P @ r, p - P @ o))),
    ("forward_kinematics", "the root at 0", lambda *g: kinematics(*g, lambda P, r, p, o, R, x, j:
        (P @ r, p + P @ o), lambda R, o: 0 * o)),
    ("forward_kinematics", "the root turns its own offset", lambda *g: kinematics(*g, lambda P, r,
        p, o, R, x, j: (P @ r, p + P @ o), lambda R, o: R @ o)),
    ("forward_kinematics", "the joint before, not the parent", lambda r, o, p:
        solutions.forward_kinematics(r, o, np.arange(len(p)) - 1)),
    ("forward_kinematics", "turned place of the parent", lambda *g: kinematics(*g, lambda P, r, p,
        o, R, x, j: (P @ r, P @ (p + o)))),
    ("forward_kinematics", "relative to the root", lambda r, o, p:
        solutions.forward_kinematics(r, o, p) - o[0]),
    ("facing", "other sign", lambda R: -np.arctan2(R[0, 2], R[2, 2])),
    ("facing", "z, x, and the sign", lambda R: -np.arctan2(R[2, 2], R[0, 2])),
    ("facing", "the X axis", lambda R: np.arctan2(R[0, 0], R[2, 0])),
    ("facing", "y and z", lambda R: np.arctan2(R[1, 2], R[2, 2])),
    ("facing", "arcsin", lambda R: np.arcsin(R[0, 2])),
    ("facing", "arccos", lambda R: np.arccos(R[2, 2])),
    ("facing", "x and y", lambda R: np.arctan2(R[0, 2], R[1, 2])),
    ("half_way", "90 added", 0.5 * (170 + 190 + 180)),
    ("half_way", "340 / 2", 170),
    ("half_way", "-180", -180),
    ("half_way", "half of the distance", 10),
]  # fmt: skip


# ---- notebook 2 --------------------------------------------------------------------------------
def dct(bands, count, half=0.5, scale=True, turn=cos, divide=None, k0=0):
    N, k = len(bands), np.arange(k0, count + k0)[:, None]
    rows = turn(pi * k * (np.arange(N) + half) / (divide or N)) @ bands
    if not scale:
        return rows
    factors = np.full(count, np.sqrt(2 / N))
    factors[0] = np.sqrt(1 / N)
    return factors * rows


NOTEBOOK_2 = [
    ("hz_to_mel", "log2", lambda f: 2595 * np.log2(1 + f / 700)),
    ("hz_to_mel", "1 outside the logarithm", lambda f: 2595 * (1 + np.log10(f / 700))),
    ("hz_to_mel", "700 + f, not divided", lambda f: 2595 * np.log10(1 + f) / 700),
    ("hz_to_mel", "700 / f", lambda f: 2595 * np.log10(1 + 700 / f)),
    ("hz_to_mel", "1000 for 700", lambda f: 2595 * np.log10(1 + f / 1000)),
    ("hz_to_mel", "700 times f", lambda f: 2595 * np.log10(1 + f * 700)),
    ("hz_to_mel", "700 + f", lambda f: 2595 * np.log10(700 + f)),
    ("hz_to_mel", "1127 with ln is right, 1127 with log2 is not", lambda f: 1127 * np.log2(
        1 + f / 700)),
    ("hz_to_mel", "no 2595", lambda f: np.log10(1 + f / 700)),
    ("cepstra", "2N below", lambda b, n: dct(b, n, divide=2 * len(b))),
    ("cepstra", "sine", lambda b, n: dct(b, n, turn=sin)),
    ("cepstra", "no pi", lambda b, n: dct(b, n, turn=lambda x: cos(x / pi))),
    ("cepstra", "2 pi", lambda b, n: dct(b, n, turn=lambda x: cos(2 * x))),
    ("cepstra", "1/2 on k", lambda b, n: np.sqrt(2 / len(b)) * (cos(pi * (np.arange(n)[:, None]
        + 0.5) * np.arange(len(b)) / len(b)) @ b)),
    ("cepstra", "roots of the factors missing", lambda b, n: dct(b, n, scale=False)
        * np.r_[1 / len(b), np.full(n - 1, 2 / len(b))]),
    ("cepstra", "all N", lambda b, n: dct(b, len(b))),
    ("cepstra", "the last ones", lambda b, n: dct(b, len(b))[-n:]),
    ("cepstra", "2 / N of count", lambda b, n: dct(b, n, scale=False)
        * np.r_[np.sqrt(1 / n), np.full(n - 1, np.sqrt(2 / n))]),
    ("cepstra", "scale of the first for all", lambda b, n: dct(b, n, scale=False)
        * np.sqrt(1 / len(b))),
    ("cepstra", "half subtracted", lambda b, n: dct(b, n, half=-0.5)),
    ("cepstra", "counted from 1", lambda b, n: dct(b, n, half=1.0)),
    ("sight_and_step", "last layer first", lambda c: solutions.sight_and_step(c[::-1])),
    ("sight_and_step", "k - 1 summed", lambda c: (1 + sum(k - 1 for k, _ in c),
        int(np.prod([s for _, s in c])))),
    ("sight_and_step", "begins at 0", lambda c: (solutions.sight_and_step(c)[0] - 1,
        solutions.sight_and_step(c)[1])),
    ("sight_and_step", "only the sight", lambda c: solutions.sight_and_step(c)[0]),
    ("sight_and_step", "last stride", lambda c: (solutions.sight_and_step(c)[0], c[-1][1])),
    ("sight_and_step", "k times step", lambda c: (1 + sum(k * int(np.prod([s for _, s in c[:n]]))
        for n, (k, _) in enumerate(c)), int(np.prod([s for _, s in c])))),
    ("wavlm_rows", "10000 ms / 20", 499.375),
    ("wavlm_rows", "one window more", 501),
    ("wavlm_rows", "a second", 50),
    ("wavlm_rows", "without a window", 498.75),
]  # fmt: skip


# ---- notebook 3 --------------------------------------------------------------------------------
def r(x):
    return x**0.5


def mean(x0, x_t, t, b, a, of_x0, of_x_t):
    return of_x0(b, a, t) * x0 + of_x_t(b, a, t) * x_t


def posterior(of_x0=None, of_x_t=None):
    right_0 = lambda b, a, t: r(a[t - 1]) * b[t] / (1 - a[t])  # noqa: E731
    right_t = lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1]) / (1 - a[t])  # noqa: E731
    return lambda x0, x_t, t, b, a: mean(x0, x_t, t, b, a, of_x0 or right_0, of_x_t or right_t)


NOTEBOOK_3 = [
    ("q_sample", "1 - abar without a root", lambda x, t, e, a: r(a[t]) * x + (1 - a[t]) * e),
    ("q_sample", "abar without a root", lambda x, t, e, a: a[t] * x + r(1 - a[t]) * e),
    ("q_sample", "minus", lambda x, t, e, a: r(a[t]) * x - r(1 - a[t]) * e),
    ("q_sample", "one root of the sum", lambda x, t, e, a: r((a[t] * x + (1 - a[t]) * e).abs())),
    ("q_sample", "cumprod twice", lambda x, t, e, a: r(torch.cumprod(a, 0)[t]) * x
        + r(1 - torch.cumprod(a, 0)[t]) * e),
    ("q_sample", "t + 1", lambda x, t, e, a: r(a[t + 1]) * x + r(1 - a[t + 1]) * e),
    ("q_sample", "1 + abar", lambda x, t, e, a: r(a[t]) * x + r(1 + a[t]) * e),
    ("q_sample", "the signal has no factor", lambda x, t, e, a: x + r(1 - a[t]) * e),
    ("q_sample", "squares for roots", lambda x, t, e, a: a[t] ** 2 * x + (1 - a[t]) ** 2 * e),
    ("q_sample", "t / 1000", lambda x, t, e, a: r(torch.tensor(1 - t / 1000)) * x
        + r(torch.tensor(t / 1000)) * e),
    ("q_sample", "x0 and eps exchanged", lambda x, t, e, a: r(a[t]) * e + r(1 - a[t]) * x),
    ("q_sample", "one minus outside", lambda x, t, e, a: r(a[t]) * x + (1 - r(1 - a[t])) * e),
    ("posterior_mean", "alpha without its root", posterior(None, lambda b, a, t:
        (1 - b[t]) * (1 - a[t - 1]) / (1 - a[t]))),
    ("posterior_mean", "abar without its root", posterior(lambda b, a, t:
        a[t - 1] * b[t] / (1 - a[t]))),
    ("posterior_mean", "beta for alpha", posterior(None, lambda b, a, t:
        r(b[t]) * (1 - a[t - 1]) / (1 - a[t]))),
    ("posterior_mean", "abar for alpha", posterior(None, lambda b, a, t:
        r(a[t]) * (1 - a[t - 1]) / (1 - a[t]))),
    ("posterior_mean", "divided by 1 - abar before", posterior(lambda b, a, t:
        r(a[t - 1]) * b[t] / (1 - a[t - 1]), lambda b, a, t: r(1 - b[t]))),
    ("posterior_mean", "only x0's", posterior(None, lambda b, a, t: 0 * a[t])),
    ("posterior_mean", "only x_t's", posterior(lambda b, a, t: 0 * a[t])),
    ("posterior_mean", "minus", posterior(None, lambda b, a, t:
        -r(1 - b[t]) * (1 - a[t - 1]) / (1 - a[t]))),
    ("posterior_mean", "t + 1", lambda x0, x_t, t, b, a: solutions.posterior_mean(
        x0, x_t, min(t + 1, len(b) - 1), b, a)),
    ("posterior_mean", "division of one share only", posterior(lambda b, a, t: r(a[t - 1]) * b[t])),
    ("posterior_mean", "the variance", lambda x0, x_t, t, b, a: b[t] * (1 - a[t - 1]) / (1 - a[t])
        + 0 * x0),
    ("posterior_mean", "cumprod again", lambda x0, x_t, t, b, a: solutions.posterior_mean(
        x0, x_t, t, b, torch.cumprod(a, 0))),
    ("posterior_mean", "1 - abar for 1 - abar before", posterior(None, lambda b, a, t:
        r(1 - b[t]))),
    ("ddim_step", "roots missing everywhere", lambda x, e, a, b: b * (x - (1 - a) * e) / a
        + (1 - b) * e),
    ("ddim_step", "plus for minus", lambda x, e, a, b: r(b) * (x + r(1 - a) * e) / r(a)
        + r(1 - b) * e),
    ("ddim_step", "no division by the root of abar", lambda x, e, a, b: r(b) * (x - r(1 - a) * e)
        + r(1 - b) * e),
    ("ddim_step", "x0 without its factor", lambda x, e, a, b: (x - r(1 - a) * e) / r(a)
        + r(1 - b) * e),
    ("ddim_step", "divided by abar", lambda x, e, a, b: r(b) * (x - r(1 - a) * e) / a
        + r(1 - b) * e),
    ("ddim_step", "1 - b without a root", lambda x, e, a, b: r(b) * (x - r(1 - a) * e) / r(a)
        + (1 - b) * e),
    ("ddim_step", "1 - a without a root", lambda x, e, a, b: r(b) * (x - (1 - a) * e) / r(a)
        + r(1 - b) * e),
    ("ddim_step", "b without a root", lambda x, e, a, b: b * (x - r(1 - a) * e) / r(a)
        + r(1 - b) * e),
    ("ddim_step", "noise taken away again", lambda x, e, a, b: r(b) * (x - r(1 - a) * e) / r(a)
        - r(1 - b) * e),
    ("ddim_step", "noise has no factor", lambda x, e, a, b: r(b) * (x - r(1 - a) * e) / r(a) + e),
    ("ddim_step", "fresh noise", lambda x, e, a, b: r(b) * (x - r(1 - a) * e) / r(a)
        + r(1 - b) * torch.randn_like(e)),
    ("ddim_step", "x0 with the factor of t", lambda x, e, a, b: x - r(1 - a) * e + r(1 - b) * e),
    ("ddim_step", "x_t for x0", lambda x, e, a, b: r(b) * x + r(1 - b) * e),
    ("ddim_step", "x_t / sqrt(abar) for x0", lambda x, e, a, b: r(b / a) * x + r(1 - b) * e),
    ("ddim_step", "DDPM's mean", lambda x, e, a, b: r(b / a) * (x - (1 - a / b) / r(1 - a) * e)),
    ("q_sample", "one factor for both", lambda x, t, e, a: r(a[t]) * (x + e)),
    ("q_sample", "squares of abar", lambda x, t, e, a: a[t] * x + (1 - a[t] ** 2) ** 0.5 * e),
    ("posterior_mean", "beta for the rest", posterior(None, lambda b, a, t:
        r(1 - b[t]) * b[t] / (1 - a[t]))),
    ("posterior_mean", "a mean of both", lambda x0, x_t, t, b, a: (x0 + x_t) / 2),
    ("half_noise", "a share", 0.5),
    ("half_noise", "the first step at a tenth", 100),
    ("half_noise", "where alpha's ... a third of the steps", 333),
]  # fmt: skip


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
