"""Wrong answers to the exercises of notebooks 1 to 3, for wrong_answers.py."""

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
