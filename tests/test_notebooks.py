"""The notebooks run from top to bottom; the checks tell right from wrong, and one mistake from another.

The wrong answers below are written as a student would write them, and not taken from checks.py.
"""
import ast
import inspect
import math
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
import torchaudio
from conftest import ROOT
from diffusers import DDIMScheduler, DDPMScheduler
from nbclient import NotebookClient
from scipy.fft import dct
from scipy.linalg import sqrtm
from scipy.spatial.transform import Rotation

import data
import diffmotion
import evaluate
import experiments
import hear
import metrics
import motion
import pictures
import puppet
import sample
import train
import wavlm_loader

sys.path.insert(0, str(ROOT / "notebooks"))
import checks  # noqa: E402
import solutions  # noqa: E402

EXERCISES = [name for name, check in vars(checks).items() if inspect.isfunction(check) and check.__module__ == "checks"
             and name not in ("judge", "judge_number", "numbers", "same")]
FUNCTIONS = [name for name in EXERCISES if callable(getattr(solutions, name))]


# ---- right answers -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", EXERCISES)
def test_every_solution_is_right(name):
    assert getattr(checks, name)(getattr(solutions, name)).startswith("right: ")


def test_the_solutions_say_what_others_say():
    rng, random = np.random.default_rng(1), torch.Generator().manual_seed(4)
    for angles, w in zip(rng.uniform(-180, 180, (20, 3)), rng.normal(size=(20, 3))):
        np.testing.assert_allclose(solutions.euler_zxy(angles), Rotation.from_euler("ZXY", angles, degrees=True).as_matrix(), atol=1e-9)
        np.testing.assert_allclose(solutions.exponential_map(w), Rotation.from_rotvec(w).as_matrix(), atol=1e-9)
    ddpm, ddim = DDPMScheduler(1000, 1e-4, 2e-2, "linear", prediction_type="sample", clip_sample=False, variance_type="fixed_small"), DDIMScheduler(1000, 1e-4, 2e-2, "linear", clip_sample=False)
    x0, x_t, eps = (torch.randn(1, 4, generator=random) for _ in range(3))
    for t in (1, 30, 600):
        torch.testing.assert_close(solutions.q_sample(x0, t, eps, checks.ABAR), ddpm.add_noise(x0, eps, torch.tensor([t])), atol=1e-5, rtol=1e-5)
    ddim.set_timesteps(1000)
    for t in (1, 30, 600):
        mine = solutions.ddim_step(x_t, eps, checks.ABAR[t], checks.ABAR[t - 1])
        torch.testing.assert_close(mine, ddim.step(eps, t, x_t, eta=0.0).prev_sample, atol=1e-4, rtol=1e-4)
        draws = torch.stack([ddpm.step(x0, t, x_t, generator=torch.Generator().manual_seed(n)).prev_sample for n in range(2000)])
        torch.testing.assert_close(solutions.posterior_mean(x0, x_t, t, checks.BETAS, checks.ABAR), draws.mean(dim=0), atol=float(4 * draws.std() / 2000 ** 0.5), rtol=0)
    for s, t in ((1.0, 500), (0.3, 100)):                # the error of a regression on draws
        eps = rng.normal(size=100_000)
        noisy = float(checks.ABAR[t]) ** 0.5 * s * rng.normal(size=100_000) + (1 - float(checks.ABAR[t])) ** 0.5 * eps
        np.testing.assert_allclose(solutions.best_loss(float(checks.ABAR[t]), s), np.mean((eps - np.polyval(np.polyfit(noisy, eps, 1), noisy)) ** 2), atol=0.01)
    torch_rates, optimiser = [], torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 40)
    for _ in range(40):
        torch_rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        falling.step()
    np.testing.assert_allclose([solutions.learning_rate(10 + n, 10, 50, 0.5) for n in range(40)], torch_rates, atol=1e-6)
    np.testing.assert_allclose(solutions.hz_to_mel(np.array([50.0, 3000.0])), [torchaudio.functional.functional._hz_to_mel(f) for f in (50.0, 3000.0)])
    np.testing.assert_allclose(solutions.cepstra(w, 2), dct(w, norm="ortho")[:2])
    sight, step = solutions.sight_and_step([(4, 2), (3, 3)])
    sound = torch.zeros(1, 1, 40).requires_grad_()       # which samples do two neighbouring rows hang on?
    rows = torch.nn.Sequential(torch.nn.Conv1d(1, 1, 4, 2), torch.nn.Conv1d(1, 1, 3, 3))(sound)[0, 0]
    seen = [torch.autograd.grad(rows[n], sound, retain_graph=True)[0].flatten().nonzero().flatten() for n in (1, 2)]
    assert (len(seen[0]), int(seen[1][0] - seen[0][0])) == (sight, step)


# ---- empty and broken answers ------------------------------------------------------------------------------------
def not_yet(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("answer", [lambda *arguments: ..., lambda *arguments: None, not_yet], ids=["dots", "nothing", "not implemented"])
def test_an_empty_answer_is_called_empty(name, answer):
    assert getattr(checks, name)(answer).startswith("empty: ")


@pytest.mark.parametrize("name", sorted(set(EXERCISES) - set(FUNCTIONS)))
def test_an_empty_prediction_is_called_empty_and_a_word_is_no_number(name):
    assert getattr(checks, name)(...).startswith("empty: ") and getattr(checks, name)(None).startswith("empty: ")
    assert "a number is wanted" in getattr(checks, name)("half")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("answer,words", [(lambda *arguments: 1 / 0, "ZeroDivisionError"), (lambda *arguments: np.zeros((7, 2)), "shape"), (lambda *arguments: "x", "numbers")], ids=["raises", "shape", "text"])
def test_a_broken_answer_is_wrong_and_says_how(name, answer, words):
    said = getattr(checks, name)(answer)
    assert said.startswith("wrong: ") and words in said


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mistake_that_nobody_thought_of_shows_what_was_wanted(name):
    said = getattr(checks, name)(lambda *arguments: 7 + 3 * checks.numbers(getattr(solutions, name)(*arguments)))
    assert said.startswith("wrong, and none") and "it should be" in said


# ---- common mistakes, each with its own hint ---------------------------------------------------------------------
def rotation(order, turn=1):
    return lambda angles: Rotation.from_euler(order, turn * np.asarray(angles), degrees=True).as_matrix()


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
            places.append(offsets[j] if a < 0 else step(rotations, world, places, offsets, j, a))
        return np.stack(places)
    return answer


def noised(signal, noise):
    return lambda x0, t, eps, abar: signal(abar, t) * x0 + noise(abar, t) * eps


def posterior(of_x0, of_x_t):
    return lambda x0, x_t, t, betas, abar: of_x0(betas, abar, t) * x0 + of_x_t(betas, abar, t) * x_t


def r(x):
    return x ** 0.5


def layer_norm(x):
    return torch.nn.LayerNorm(x.shape[-1], elementwise_affine=False)(x)


def parts(x, modulation, layer, order=(0, 1, 2)):
    shift, scale, gate = (modulation[:, n * x.shape[1]:(n + 1) * x.shape[1]] for n in order)
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


MISTAKES = [
    ("euler_zxy", lambda a: Rotation.from_euler("ZXY", a).as_matrix(), "degrees taken for radians"),
    ("euler_zxy", lambda a: rotation("zxy")(a), "reverse order"),
    ("euler_zxy", rotation("ZXY", -1), "other way"),
    ("exponential_map", lambda w: Rotation.from_rotvec(w, degrees=True).as_matrix(), "degrees taken for radians"),
    ("exponential_map", rodrigues(np.sin, lambda t: 1 - np.cos(t)), "length of the angle"),
    ("exponential_map", lambda w: Rotation.from_rotvec(w).as_matrix().T, "other way"),
    ("exponential_map", lambda w: np.eye(3) + (np.sin(np.linalg.norm(w) or 1e-9) / (np.linalg.norm(w) or 1e-9) + (1 - np.cos(np.linalg.norm(w))) / ((w @ w) or 1)) * skew(w), "before K K"),
    ("exponential_map", rodrigues(lambda t: np.sin(t) / t, lambda t: 0), "K K, is missing"),
    ("exponential_map", lambda w: np.eye(3) + np.sin(np.linalg.norm(w)) * skew(w / (np.linalg.norm(w) or np.nan)), "divides by zero"),
    ("forward_kinematics", chain(lambda r, w, p, o, j, a: p[a] + w[j] @ o[j]), "own rotation turns its own offset"),
    ("forward_kinematics", chain(lambda r, w, p, o, j, a: p[a] + r[a] @ o[j]), "only the parent's own rotation"),
    ("forward_kinematics", chain(lambda r, w, p, o, j, a: w[a] @ o[j]), "parent's place is missing"),
    ("forward_kinematics", chain(lambda r, w, p, o, j, a: p[a] + o[j]), "no rotation at all"),
    ("half_way", 0, "mean of the two numbers"), ("half_way", 3.14159, "radians"), ("half_way", 20, "distance between"), ("half_way", 90, "too small"),
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
    ("cepstra", lambda b, n: np.array([(1 + (k > 0)) ** 0.5 / len(b) ** 0.5 * sum(x * np.cos(np.pi * k * m / len(b)) for m, x in enumerate(b)) for k in range(n)]), "half is missing"),
    ("cepstra", lambda b, n: dct(b)[:n] / 2, "factors are missing"),
    ("cepstra", lambda b, n: dct(b)[:n] / (2 * len(b)) ** 0.5, "factor of its own"),
    ("cepstra", lambda b, n: np.append(dct(b, norm="ortho"), 0)[1:n + 1], "level, is missing"),
    ("cepstra", lambda b, n: dct(np.log(np.abs(b)), norm="ortho")[:n], "logarithms already"),
    ("sight_and_step", lambda c: (sum(k for k, _ in c), math.prod(s for _, s in c)), "kernels are added up"),
    ("sight_and_step", lambda c: (math.prod(k for k, _ in c), math.prod(s for _, s in c)), "product of all kernels"),
    ("sight_and_step", lambda c: walked(c, own=True), "its own not among them"),
    ("sight_and_step", lambda c: walked(c, reach=0), "k - 1 steps further"),
    ("sight_and_step", lambda c: (solutions.sight_and_step(c)[0], sum(s for _, s in c)), "strides multiply"),
    ("sight_and_step", lambda c: solutions.sight_and_step(c)[::-1], "first the sight"),
    ("wavlm_rows", 500, "50 a second"), ("wavlm_rows", 498, "needs no step"), ("wavlm_rows", 400, "divides by the sight"), ("wavlm_rows", 700, "too large"),
    ("q_sample", lambda x0, t, eps, abar: r(1 - torch.linspace(1e-4, 2e-2, 1000)[t]) * x0 + r(torch.linspace(1e-4, 2e-2, 1000)[t]) * eps, "beta for alpha bar"),
    ("q_sample", noised(lambda a, t: a[t], lambda a, t: 1 - a[t]), "square roots are missing"),
    ("q_sample", noised(lambda a, t: r(1 - a[t]), lambda a, t: r(a[t])), "exchanged"),
    ("q_sample", noised(lambda a, t: r(a[t - 1]), lambda a, t: r(1 - a[t - 1])), "off by one in t"),
    ("q_sample", noised(lambda a, t: r(a[t]), lambda a, t: 1), "no factor"),
    ("q_sample", noised(lambda a, t: r(a[t]), lambda a, t: 1 - r(a[t])), "1 - sqrt(abar)"),
    ("posterior_mean", posterior(lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1]) / (1 - a[t]), lambda b, a, t: r(a[t - 1]) * b[t] / (1 - a[t])), "exchanged"),
    ("posterior_mean", posterior(lambda b, a, t: r(a[t]) * b[t] / (1 - a[t]), lambda b, a, t: r(1 - b[t])), "abar of t - 1, yours"),
    ("posterior_mean", posterior(lambda b, a, t: r(a[t - 1]) * b[t - 1] / (1 - a[t]), lambda b, a, t: r(1 - b[t - 1]) * (1 - a[t - 1]) / (1 - a[t])), "the beta is that of the step before"),
    ("posterior_mean", posterior(lambda b, a, t: r(a[t - 1]) * b[t], lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1])), "division"),
    ("posterior_mean", posterior(lambda b, a, t: a[t - 1] * b[t] / (1 - a[t]), lambda b, a, t: (1 - b[t]) * (1 - a[t - 1]) / (1 - a[t])), "square roots are missing"),
    ("posterior_mean", posterior(lambda b, a, t: r(a[t]) * b[t] / (1 - a[t]), lambda b, a, t: r(1 - b[t]) * (1 - a[t - 1]) / (1 - a[t])), "x0's share"),
    ("ddim_step", lambda x, eps, a, b: r(b / a) * (x - r(1 - a) * eps), "not put back"),
    ("ddim_step", lambda x, eps, a, b: (x - r(1 - a) * eps) / r(a), "that is x0"),
    ("ddim_step", lambda x, eps, a, b: r(a) * (x - r(1 - a) * eps) / r(a) + r(1 - a) * eps, "nothing changes"),
    ("ddim_step", lambda x, eps, a, b: r(a / b) * (x - r(1 - b) * eps) + r(1 - a) * eps, "towards the noise"),
    ("ddim_step", lambda x, eps, a, b: r(b / a) * (x - r(1 - a) * eps) + r(1 - a) * eps, "still that of t"),
    ("half_noise", 500, "half of the steps"), ("half_noise", 369, "a quarter"), ("half_noise", 164, "factor of the noise is a half"), ("half_noise", 900, "too large"),
    ("modulated", lambda x, m, f: parts(x, m, f, (1, 0, 2)), "each other's place"),
    ("modulated", lambda x, m, f: parts(x, m - torch.eye(3)[1].repeat_interleave(8), f), "counts from 1"),
    ("modulated", lambda x, m, f: x + f(layer_norm(x) * (1 + m[:, 8:16]) + m[:, :8]), "gate is missing"),
    ("modulated", lambda x, m, f: x + f(m[:, 16:] * (layer_norm(x) * (1 + m[:, 8:16]) + m[:, :8])), "outside the layer"),
    ("modulated", lambda x, m, f: parts(x, m, f) - x, "nothing would come through"),
    ("modulated", lambda x, m, f: x + m[:, 16:] * f(x * (1 + m[:, 8:16]) + m[:, :8]), "not normalised"),
    ("modulated", lambda x, m, f: x + m[:, 16:] * f(layer_norm(x.T).T * (1 + m[:, 8:16]) + m[:, :8]), "not over the frames"),
    ("modulated", lambda x, m, f: x + m[:, 16:] * f((x - x.mean(1, True)) / (x.var(1, keepdim=True) + 1e-5).sqrt() * (1 + m[:, 8:16]) + m[:, :8]), "correction=0"),
    ("causal_mask", lambda n, w: solutions.causal_mask(n, w).T, "looks ahead"),
    ("causal_mask", lambda n, w: np.triu(np.ones((n, n)), 1 - w), "future is open"),
    ("causal_mask", lambda n, w: solutions.causal_mask(n, w) & ~np.eye(n, dtype=bool), "see itself"),
    ("causal_mask", lambda n, w: solutions.causal_mask(n, w + 1), "one too wide"),
    ("causal_mask", lambda n, w: np.tril(np.ones((n, n))), "window is missing"),
    ("causal_mask", lambda n, w: ~solutions.causal_mask(n, w), "exchanged"),
    ("turned", lambda v, p, f: solutions.turned(v, -p, f), "other way round"),
    ("turned", lambda v, p, f: solutions.turned(v, p, np.pi / 180 * f), "degrees taken"),
    ("turned", lambda v, p, f: solutions.turned(v, p, 1 / f), "not divided"),
    ("turned", lambda v, p, f: solutions.turned(v, 1, p + f), "not added"),
    ("turned", lambda v, p, f: np.array([v[0] * np.cos(p * f) - v[1] * np.sin(p * f), v[0] * np.sin(p * f) - v[1] * np.cos(p * f)]), "a mirror"),
    ("eps_from_v", lambda x, v, a: r(1 - a) * v + r(a) * x, "each other's place"),
    ("eps_from_v", lambda x, v, a: r(a) * x - r(1 - a) * v, "that is x0"),
    ("eps_from_v", lambda x, v, a: r(a) * v - r(1 - a) * x, "a sign"),
    ("eps_from_v", lambda x, v, a: a * v + (1 - a) * x, "square roots"),
    ("eps_from_v", lambda x, v, a: r(a) * v, "x_t is missing"),
    ("poses_from_news", lambda u, m: u + m * np.vstack([0 * u[:1], u[:-1]]), "where the last pose belongs"),
    ("poses_from_news", lambda u, m: u - m * np.vstack([0 * u[:1], u[:-1]]), "the way there"),
    ("poses_from_news", lambda u, m: np.cumsum(u, axis=0), "all of the last pose"),
    ("poses_from_news", lambda u, m: solutions.poses_from_news(np.vstack([(1 - m) * u[:1], u[1:]]), m), "as it is"),
    ("poses_from_news", lambda u, m: solutions.poses_from_news(u, -m), "the sign"),
    ("frames_back", 404, "counts the frame itself, so a block"), ("frames_back", 396, "and the convolution"), ("frames_back", 103, "add up"), ("frames_back", 401, "five frames"), ("frames_back", 600, "too large"),
    ("best_loss", lambda a, s: 1 - solutions.best_loss(a, s), "exchanged"),
    ("best_loss", lambda a, s: 1 / (1 + (1 - a) / (a * s)), "to be squared"),
    ("best_loss", lambda a, s: 1 - (1 - a), "deviation 1 only"),
    ("best_loss", lambda a, s: s * s * a, "before one divides"),
    ("best_loss", lambda a, s: 1 / (1 / s ** 2 + a / (1 - a)), "for x0"),
    ("best_loss", lambda a, s: 1 + 0 * a, "answering 0"),
    ("ema_update", lambda a, w, d: a + d * (w - a), "exchanged"),
    ("ema_update", lambda a, w, d: a * d + w, "add up to 1"),
    ("ema_update", lambda a, w, d: a - (1 - d) * a, "share is missing"),
    ("ema_update", lambda a, w, d: np.mean([a, w], axis=0), "plain mean"),
    ("learning_rate", lambda n, w, s, p: p * n / w if n < w else solutions.learning_rate(n, w, s, p), "learns nothing"),
    ("learning_rate", lambda n, w, s, p: p * (n + 1) / w if n < w else p * np.cos(np.pi * n / s / 2) ** 2, "the rate jumps"),
    ("learning_rate", lambda n, w, s, p: p * (n + 1) / w if n < w else p * np.sin(np.pi / 2 * (s - n) / (s - w)), "quarter of a cosine"),
    ("learning_rate", lambda n, w, s, p: p * np.cos(np.pi * (n - w) / (s - w) / 2) ** 2, "warm-up is missing"),
    ("learning_rate", lambda n, w, s, p: p * (n + 1) / w if n < w else p * np.cos(np.pi * (n - w) / (s - w)), "raise it by 1"),
    ("guided", lambda x, y, g: x + g * (x - y), "model as it was trained; in"),
    ("guided", lambda x, y, g: (1 - g) * x + g * y, "flees"),
    ("guided", lambda x, y, g: y + g * x, "difference is what"),
    ("guided", lambda x, y, g: g * x - g * y, "starting point"),
    ("half_forgotten", 500, "not half"), ("half_forgotten", 250, "constant rate"), ("half_forgotten", 1039, "an eighth"), ("half_forgotten", 2000, "too large"),
    ("frechet_distance", lambda m, a, n, b: ((m - n) ** 2).sum() + np.trace(a + b - 2 * np.sqrt(np.abs(a @ b))), "root is taken of each number"),
    ("frechet_distance", lambda m, a, n, b: ((m - n) ** 2).sum() + np.trace(a + b - sqrtm(a @ b).real), "counts twice"),
    ("frechet_distance", lambda m, a, n, b: ((m - n) ** 2).sum() + np.trace(a + b), "cross term is missing"),
    ("frechet_distance", lambda m, a, n, b: np.linalg.norm(m - n) + np.trace(a + b - 2 * sqrtm(a @ b).real), "to be squared"),
    ("frechet_distance", lambda m, a, n, b: np.trace(a + b - 2 * sqrtm(a @ b).real), "means are missing"),
    ("frechet_distance", lambda m, a, n, b: (((m - n) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)) ** 0.5, "that is its root"),
    ("beat_f1", lambda f, w, t: 2 * sum(min(abs(w - x)) <= t for x in f) / (len(f) + len(w)), "may be met once"),
    ("beat_f1", lambda f, w, t: solutions.beat_f1(f, w, t) * (len(f) + len(w)) / 2 / len(f), "precision"),
    ("beat_f1", lambda f, w, t: solutions.beat_f1(f, w, t) * (len(f) + len(w)) / 2 / len(w), "recall"),
    ("beat_f1", lambda f, w, t: solutions.beat_f1(f, w, t) / 2, "the 2 is missing"),
    ("beat_f1", lambda f, w, t: 2 * sum(any(abs(x - y) <= t for x in f) for y in w) / (len(f) + len(w)), "one stroke between two"),
    ("beat_f1", lambda f, w, t: 2 * np.sum(np.abs(f[:min(len(f), len(w))] - w[:min(len(f), len(w))]) <= t) / (len(f) + len(w)), "shifts all others"),
    ("beat_f1", lambda f, w, t: matched(f, w, t, lambda free, x: min(free, key=lambda y: abs(y - x))), "takes the nearest"),
    ("beat_f1", lambda f, w, t: matched(f, w, t, lambda free, x: max(free)), "takes the latest"),
    ("beat_f1", lambda f, w, t: 2 * min((np.abs(f[:, None] - w) <= t).any(0).sum(), (np.abs(f[:, None] - w) <= t).any(1).sum()) / (len(f) + len(w)), "not a matching"),
    ("chance_hits", 0.0488, "only one side"), ("chance_hits", 0.5, "one every 2 s"), ("chance_hits", 0.1, "nearly"), ("chance_hits", 0.2, "too large"),
]


@pytest.mark.parametrize("name,answer,words", MISTAKES, ids=[f"{name}-{words}" for name, _, words in MISTAKES])
def test_each_mistake_gets_its_own_hint(name, answer, words):
    said = getattr(checks, name)(answer)
    assert said.startswith("wrong: ") and words in said, said


def test_every_hint_has_its_mistake_here():
    """A hint that no wrong answer leads to is either a dead line in checks.py or a missing case above."""
    said = {getattr(checks, name)(answer).removeprefix("wrong: ") for name, answer, _ in MISTAKES}
    tree = ast.parse((ROOT / "notebooks" / "checks.py").read_text())
    hints = {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if isinstance(key, ast.Constant)}
    assert len(hints) > 30 and hints - said == set()


# ---- the notebooks themselves ------------------------------------------------------------------------------------
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path):
    book = nbformat.read(path, as_version=4)
    # 120 s stops what hangs; here the slowest cell takes five
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    said = [output["text"] for cell in book.cells if cell.cell_type == "code" for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"]
    empty = [text for text in said if text.startswith("empty: ")]
    asked = sum(cell.source.count("print(checks.") for cell in book.cells)
    assert len(empty) == asked >= 3, "every exercise is still to be done, and its check says so"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_was_run_in_order_and_without_a_complaint(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    asked = [line for cell in code for line in cell.source.splitlines() if line.startswith("print(checks.")]
    assert {line.split("checks.")[1].split("(")[0] for line in asked} <= set(EXERCISES)


def test_every_check_is_asked_for_in_a_notebook():
    text = "".join(path.read_text() for path in NOTEBOOKS)
    assert [name for name in EXERCISES if f"checks.{name}({name})" not in text] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_function_that_a_notebook_names_exists(path):
    """Text goes out of date in silence: `module.name` in backticks must be something that module has."""
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    homes = {m.__name__: m for m in (checks, data, diffmotion, evaluate, experiments, hear, metrics, motion, pictures, puppet, sample, train, wavlm_loader)}
    homes |= {c.__name__: c for c in (diffmotion.NoiseSchedule, motion.Motion, motion.PoseCodec)}
    homes["DiffMotion"] = diffmotion.DiffMotion(diffmotion.DiffMotionConfig(1, 1, width=2, depth=1, heads=1))        # its layers are the instance's
    named = {(home, name) for home, name in re.findall(r"`(\w+)\.(\w+)", text) if home in homes and name != "py"}
    assert len(named) >= 3 and [(home, name) for home, name in named if not hasattr(homes[home], name)] == []


def test_the_teachers_page_names_every_exercise_and_its_plans_last_90_minutes():
    page = (ROOT / "notebooks" / "TEACHERS.md").read_text()
    there = [f"{path.stem[0]}.{number}" for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
             for number in re.findall(r"^\*\*(\d) · ", cell.source, re.MULTILINE)]
    assert re.findall(r"^\| (\d\.\d)", page, re.MULTILINE) == there and f"{len(there)} exercises" in page
    plans = [sum(int(minutes) for minutes in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)) for part in page.split("## Session")[1:]]
    assert plans == [90, 90]


def test_the_teachers_way_to_mark_answers_works(tmp_path):
    code = (ROOT / "notebooks" / "TEACHERS.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "answers.py").write_text(inspect.getsource(solutions.q_sample) + "\n\n" + inspect.getsource(solutions.causal_mask).replace("back < window", "back <= window"))
    (tmp_path / "mark.py").write_text("import numpy, answers; answers.np = numpy\n" + code)
    done = subprocess.run([sys.executable, tmp_path / "mark.py"], cwd=ROOT, capture_output=True, text=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["right:", "empty:", "empty:", "wrong:"], done.stderr
