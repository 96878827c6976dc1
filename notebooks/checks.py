"""Is the answer right, and if not, which mistake is it?   Used by the exercises at the end of each notebook.

    checks.q_sample(my_q_sample)     ->  'right: ...'  or  'empty: ...'  or  'wrong: ...' with a hint

Each check runs the answer on a few inputs and compares it with the project's own code. Where it differs, it is compared
with what the common mistakes would give on the same inputs; the one that fits is the hint. Teachers: the answers are
in solutions.py; a new exercise is one more function here, with its mistakes beside it.
"""
import copy
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import metrics  # noqa: E402
from diffmotion import DiffMotion, DiffMotionConfig, NoiseSchedule, sliding_causal_mask  # noqa: E402
from motion import euler_to_matrix, exp_to_matrix, turn_about_y  # noqa: E402

EMPTY = "empty: nothing to check yet; write your answer where the three dots are"


def judge(answer, inputs, right, mistakes, well_done):
    """The text for a function `answer`: run on each tuple of `inputs`, compared with right(*input) and {hint: wrong(*input)}."""
    try:
        given = [answer(*copy.deepcopy(arguments)) for arguments in inputs]      # it may work in place
    except NotImplementedError:
        return EMPTY
    except Exception as error:                       # a student's code may raise anything; it is an answer like any other
        return f"wrong: your function stops with {type(error).__name__}: {error}"
    if all(value is None or value is ... for value in given):
        return EMPTY
    if any(value is None or value is ... for value in given):
        return "wrong: for some inputs your function returns nothing; is there a way past the return?"
    wanted = [numbers(right(*arguments)) for arguments in inputs]
    try:
        given = [numbers(value) for value in given]
    except (TypeError, ValueError, RuntimeError):
        return f"wrong: your function should return numbers (an array), not {type(given[0]).__name__}"
    for mine, want in zip(given, wanted):
        if mine.shape != want.shape:
            return f"wrong: the shape should be {list(want.shape)}, yours is {list(mine.shape)}"
    if all(same(mine, want) for mine, want in zip(given, wanted)):
        return f"right: {well_done}"
    for hint, wrong in mistakes.items():
        if all(same(mine, numbers(wrong(*arguments))) for mine, arguments in zip(given, inputs)):
            return f"wrong: {hint}"
    n = next(n for n, (mine, want) in enumerate(zip(given, wanted)) if not same(mine, want))
    return (f"wrong, and none of the common mistakes. For the arguments\n{inputs[n]}\nit should be\n{wanted[n].round(4)}\nand is\n{given[n].round(4)}")


def judge_number(answer, right, tolerance, mistakes, well_done):
    """The text for a predicted number; mistakes: {hint: number}."""
    if answer is None or answer is ...:
        return EMPTY
    try:
        answer = float(answer)
    except (TypeError, ValueError):
        return f"wrong: a number is wanted, not {answer!r}"
    if abs(answer - right) <= tolerance:
        return f"right: {well_done}"
    hint = next((hint for hint, number in mistakes.items() if abs(answer - number) <= tolerance), None)
    return f"wrong: {hint}" if hint else f"wrong: too {'large' if answer > right else 'small'}"


def numbers(value):
    """Anything like an array -> float64 array."""
    return np.asarray(value.detach().cpu() if torch.is_tensor(value) else value, dtype=np.float64)


def same(a, b):
    """Equal to three digits: in float32, 1 - abar of the first steps has no more."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------------------------------
# Notebook 1: motion
# ------------------------------------------------------------------------------------------------
def euler_zxy(answer):
    """angles [3] as in a BVH row with the channels Zrotation Xrotation Yrotation -> R [3, 3]."""
    inputs = [(np.array(a),) for a in ([30.0, 20.0, -50.0], [90.0, 0.0, 45.0], [-120.0, 60.0, 10.0])]
    return judge(answer, inputs, lambda a: euler_to_matrix(np.radians(a), "ZXY"), {
        "degrees taken for radians; a BVH file holds degrees, numpy's sin and cos want radians": lambda a: euler_to_matrix(a, "ZXY"),
        "the product is in the reverse order; the first channel stands leftmost, R = R_Z R_X R_Y": lambda a: euler_to_matrix(np.radians(a[::-1]), "YXZ"),
        "every rotation turns the other way; look at the signs of the two sines": lambda a: euler_to_matrix(-np.radians(a), "ZXY"),
    }, "this is how every BVH reader turns numbers into a pose")


def exponential_map(answer):
    """w [3] in radians -> R [3, 3], by Rodrigues' formula."""
    inputs = [(np.array(w),) for w in ([0.3, -0.5, 0.8], [0.0, 1.2, 0.0], [-1.5, 0.4, 0.1], [0.0, 0.0, 0.0])]

    def cross(w):
        return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])

    def with_factors(sine, cosine, small):
        def wrong(w):
            t = np.linalg.norm(w)
            return np.eye(3) + (sine(t) * cross(w) + cosine(t) * cross(w) @ cross(w) if t > 0 or small else 0)
        return wrong

    nothing = "at w = 0 your function divides by zero; there the matrix is the identity"
    try:
        at_zero = answer(np.zeros(3))
        broken = at_zero is not None and np.isnan(numbers(at_zero)).any()
    except Exception:                                # judge() says what is wrong with it
        broken = False
    if broken:
        return f"wrong: {nothing}"
    return judge(answer, inputs, exp_to_matrix, {
        "degrees taken for radians; an exponential map is in radians already": lambda w: exp_to_matrix(np.radians(w)),
        "the axis still has the length of the angle; divide K by t once beside the sine and twice beside the cosine": with_factors(np.sin, lambda t: 1 - np.cos(t), True),
        "it turns the other way; K v must be w x v, and yours is v x w": lambda w: exp_to_matrix(-w),
        "the last factor is (1 - cos t) / t^2 and stands before K K, not before K": lambda w: np.eye(3) + (np.sinc(np.linalg.norm(w) / np.pi) + 0.5 * np.sinc(np.linalg.norm(w) / (2 * np.pi)) ** 2) * cross(w),
        "the second half, with K K, is missing": lambda w: np.eye(3) + np.sinc(np.linalg.norm(w) / np.pi) * cross(w),
    }, "and three numbers are enough for any rotation, without gimbal lock near the rest pose")


def forward_kinematics(answer):
    """rotations [J, 3, 3] and offsets [J, 3] in the parents' frames, parents [J] -> places [J, 3] in the world."""
    rng = np.random.default_rng(0)
    inputs = [(exp_to_matrix(rng.normal(size=(5, 3))), rng.normal(size=(5, 3)), np.array(parents)) for parents in ([-1, 0, 1, 2, 3], [-1, 0, 1, 0, 3])]

    def places(rotations, offsets, parents, which="parent", add=True, accumulate=True):
        R, p = [None] * len(parents), [None] * len(parents)
        for j, a in enumerate(parents):
            R[j] = rotations[j] if a < 0 or not accumulate else R[a] @ rotations[j]
            turn = R[j] if which == "own" else R[a]
            p[j] = offsets[j] if a < 0 else (p[a] if add else 0) + (offsets[j] if which == "none" else turn @ offsets[j])
        return np.array(p)

    return judge(answer, inputs, places, {
        "a joint's own rotation turns its own offset; it is the parent that carries the joint around": lambda r, o, a: places(r, o, a, which="own"),
        "only the parent's own rotation is used; the rotations of all above it belong in the product": lambda r, o, a: places(r, o, a, accumulate=False),
        "the parent's place is missing; the offset counts from there": lambda r, o, a: places(r, o, a, add=False),
        "no rotation at all: the offsets are added up as they are": lambda r, o, a: places(r, o, a, which="none"),
    }, "Motion.world does this for all frames at once")


def half_way(answer):
    """A joint turns about Y, from 170 degrees to -170 degrees. At which angle is it half way, in degrees from 0 to 360?"""
    return judge_number(answer, 180, 1, {
        "0 is the mean of the two numbers, and the limb would swing round through the body; 170 and -170 are 20 degrees apart": 0,
        "radians; degrees are wanted": np.pi,
        "that is the distance between the two, 20 degrees, the short way": 20,
    }, "the short way round; motion.resample goes it with matrix_to_exp, whatever the numbers in the file say")


def facing(answer):
    """R [3, 3] of the root -> the angle in radians by which its forward axis, +Z, has turned over the ground, 0 for +Z, positive towards +X."""
    inputs = [(turn_about_y(np.array(a)) @ exp_to_matrix(np.array(tilt)),) for a, tilt in ((0.5, [0.2, 0, 0]), (-2.0, [0, 0, 0.3]), (2.8, [-0.4, 0, 0.1]))]
    return judge(answer, inputs, lambda R: np.arctan2(R[0, 2], R[2, 2]), {
        "the two arguments of arctan2 are exchanged; 0 must mean +Z": lambda R: np.arctan2(R[2, 2], R[0, 2]),
        "row for column; a rotation's columns are where the axes go, R[:, 2] is where +Z goes": lambda R: np.arctan2(R[2, 0], R[2, 2]),
        "the direction is right, but written from 0 to 2 pi; an angle from -pi to pi is wanted": lambda R: np.arctan2(R[0, 2], R[2, 2]) % (2 * np.pi),
        "degrees; the project counts in radians": lambda R: np.degrees(np.arctan2(R[0, 2], R[2, 2])),
        "arctan knows no difference between ahead and behind; take arctan2": lambda R: np.arctan(R[0, 2] / R[2, 2]),
    }, "PoseCodec takes it out of the motion, so that a gesture is the same wherever one faces")


# ------------------------------------------------------------------------------------------------
# Notebook 2: hearing
# ------------------------------------------------------------------------------------------------
def hz_to_mel(answer):
    """f [n] in Hz -> mel [n]."""
    inputs = [(np.array([0.0, 200.0, 1000.0]),), (np.array([440.0, 7600.0]),)]
    return judge(answer, inputs, lambda f: 2595 * np.log10(1 + f / 700), {
        "that is the natural logarithm; with it the factor would be 1127": lambda f: 2595 * np.log(1 + f / 700),
        "that is the decimal logarithm with the natural one's factor; 2595 goes with log10": lambda f: 1127 * np.log10(1 + f / 700),
        "the 1 is missing: 0 Hz must be 0 mel": lambda f: 2595 * np.log10(np.maximum(f, 1e-300) / 700),
        "that is the way back, from mel to Hz": lambda f: 700 * (10 ** (f / 2595) - 1),
        "the frequency is in kHz there; here it comes in Hz": lambda f: 2595 * np.log10(1 + f / 0.7),
    }, "torchaudio's MelSpectrogram places its bands by it")


def cepstra(answer):
    """log bands [N], count -> the first `count` coefficients of the orthonormal DCT-II [count]."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=size), count) for size, count in ((8, 8), (40, 20), (5, 3))]

    def transformed(half=0.5, s0=1.0, s=2.0, first=0, before=lambda b: b):
        def wrong(b, count):
            N, k = len(b), np.arange(first, first + count)
            scale = np.where(k == 0, np.sqrt(s0 / N), np.sqrt(s / N)) if s else np.ones(count)
            return scale * (np.cos(np.pi * k[:, None] * (np.arange(N) + half) / N) @ before(b))
        return wrong

    return judge(answer, inputs, transformed(), {
        "the half is missing: a band's value stands in the middle of the band, at n + 1/2": transformed(half=0.0),
        "the factors are missing; without them longer spectra give larger numbers": transformed(s=0),
        "the first coefficient has a factor of its own, sqrt(1 / N)": transformed(s0=2.0),
        "k counts from 0: coefficient 0, the level, is missing": transformed(first=1),
        "the bands are logarithms already": transformed(before=lambda b: np.log(np.abs(b))),
    }, "SpeechFeatures multiplies all slices by torchaudio's create_dct at once")


def sight_and_step(answer):
    """[(kernel, stride), ...] -> (samples that a row sees, samples from row to row)."""
    wavlm = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    inputs = [(wavlm,), ([(5, 1)],), ([(4, 2), (3, 1), (7, 3)],)]

    def step(convolutions):
        return int(np.prod([s for _, s in convolutions]))

    def sight(convolutions, overlap=1, own=0):
        return overlap + sum((k - overlap) * step(convolutions[:n + own]) for n, (k, _) in enumerate(convolutions))

    return judge(answer, inputs, lambda c: (sight(c), step(c)), {
        "kernels are added up as if each counted samples; those above the first count rows of the layer below, which are a stride apart": lambda c: (sum(k for k, _ in c), step(c)),
        "the sight is the product of all kernels only if no windows overlap": lambda c: (int(np.prod([k for k, _ in c])), step(c)),
        "a kernel's reach is multiplied by the strides below it, its own not among them": lambda c: (sight(c, own=1), step(c)),
        "one row more reaches k - 1 steps further, not k: the first of them is where one stands already": lambda c: (sight(c, overlap=0), step(c)),
        "strides multiply: a row of the second layer steps over as many rows of the first as its stride says": lambda c: (sight(c), sum(s for _, s in c)),
        "first the sight, then the step": lambda c: (step(c), sight(c)),
    }, "400 and 320 for WavLM, FIELD and STRIDE in wavlm_loader.py: 25 ms and 20 ms")


def wavlm_rows(answer):
    """How many rows WavLM makes of 160,000 samples."""
    return judge_number(answer, (160_000 - 400) // 320 + 1, 0.5, {
        "50 a second would be 500, but the last window would reach beyond the end: a row needs 400 samples": 500,
        "the first row needs no step: one more than the steps that fit": (160_000 - 400) // 320,
        "that divides by the sight; rows overlap, a new one begins every 320 samples": 400,
    }, "which is why rows must be placed by their centres, and not by stretching them over the clip")


# ------------------------------------------------------------------------------------------------
# Notebook 3: diffusion
# ------------------------------------------------------------------------------------------------
SCHEDULE = NoiseSchedule()
BETAS, ABAR = SCHEDULE.betas, SCHEDULE.alphas_cumprod


def q_sample(answer):
    """x0 [n], t an int, eps [n], alphas_cumprod [1000] -> x_t [n]."""
    random = torch.Generator().manual_seed(0)
    inputs = [(torch.randn(4, generator=random), t, torch.randn(4, generator=random), ABAR) for t in (1, 250, 700)]

    def mixed(signal, noise):
        return lambda x0, t, eps, abar: signal(t) * x0 + noise(t) * eps

    return judge(answer, inputs, lambda x0, t, eps, abar: SCHEDULE.add_noise(x0, torch.tensor(t), eps), {
        "beta for alpha bar; alpha bar is the product of all 1 - beta up to t, not the beta of this step": mixed(lambda t: (1 - BETAS[t]).sqrt(), lambda t: BETAS[t].sqrt()),
        "the square roots are missing; abar and 1 - abar are shares of the variance": mixed(lambda t: ABAR[t], lambda t: 1 - ABAR[t]),
        "signal and noise are exchanged; at small t there should be hardly any noise": mixed(lambda t: (1 - ABAR[t]).sqrt(), lambda t: ABAR[t].sqrt()),
        "off by one in t; alphas_cumprod[0] belongs to t = 0, which has a little noise already": mixed(lambda t: ABAR[t - 1].sqrt(), lambda t: (1 - ABAR[t - 1]).sqrt()),
        "the noise has no factor; the variance grows beyond 1": mixed(lambda t: ABAR[t].sqrt(), lambda t: 1.0),
        "the noise's factor is 1 - sqrt(abar); it is sqrt(1 - abar), so that the squares add up to 1": mixed(lambda t: ABAR[t].sqrt(), lambda t: 1 - ABAR[t].sqrt()),
    }, "equation 4 of Ho et al., and NoiseSchedule.add_noise")


def posterior_mean(answer):
    """x0 [n], x_t [n], t an int >= 1, betas [N], alphas_cumprod [N] -> mean of q(x_{t-1} | x_t, x0) [n]."""
    random = torch.Generator().manual_seed(1)
    steep = NoiseSchedule(10, 0.05, 0.5)             # where neighbouring abar differ, so that none can stand for another
    inputs = [(torch.randn(4, generator=random), torch.randn(4, generator=random), t, s.betas, s.alphas_cumprod) for s, t in ((SCHEDULE, 1), (SCHEDULE, 400), (steep, 1), (steep, 6))]

    def mean(x0, x_t, beta, abar, before):
        return (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x_t) / (1 - abar)

    return judge(answer, inputs, lambda x0, x_t, t, betas, abar: (SCHEDULE if len(betas) == 1000 else steep).posterior(x0, x_t, t)[0], {
        "x0 and x_t are exchanged; at small t the step before lies near x0": lambda x0, x_t, t, betas, abar: mean(x_t, x0, betas[t], abar[t], abar[t - 1]),
        "off by one in t: where the formula has abar of t - 1, yours has abar of t": lambda x0, x_t, t, betas, abar: mean(x0, x_t, betas[t], abar[t], abar[t]),
        "x0's share has the root of abar of t; it should be that of t - 1, where the step goes": lambda x0, x_t, t, betas, abar: mean((abar[t] / abar[t - 1]).sqrt() * x0, x_t, betas[t], abar[t], abar[t - 1]),
        "off by one in t: the beta is that of the step before": lambda x0, x_t, t, betas, abar: mean(x0, x_t, betas[t - 1], abar[t], abar[t - 1]),
        "the division by 1 - abar of t is missing": lambda x0, x_t, t, betas, abar: mean(x0, x_t, betas[t], abar[t], abar[t - 1]) * (1 - abar[t]),
        "the square roots are missing, of abar of t - 1 and of 1 - beta": lambda x0, x_t, t, betas, abar: (abar[t - 1] * betas[t] * x0 + (1 - betas[t]) * (1 - abar[t - 1]) * x_t) / (1 - abar[t]),
    }, "equation 7 of Ho et al., and NoiseSchedule.posterior")


def ddim_step(answer):
    """x_t [n], eps [n], abar and abar_previous, numbers -> x at the earlier step [n]."""
    random = torch.Generator().manual_seed(2)
    inputs = [(torch.randn(4, generator=random), torch.randn(4, generator=random), ABAR[t], ABAR[s]) for t, s in ((900, 700), (500, 480), (40, 0))]

    def x0(x, eps, abar):
        return (x - (1 - abar).sqrt() * eps) / abar.sqrt()

    return judge(answer, inputs, lambda x, eps, a, b: b.sqrt() * x0(x, eps, a) + (1 - b).sqrt() * eps, {
        "the noise is not put back; x0 alone has too little of it for the next pass": lambda x, eps, a, b: b.sqrt() * x0(x, eps, a),
        "that is x0; it still has to be carried to the noise level of the earlier step": lambda x, eps, a, b: x0(x, eps, a),
        "the old noise level is kept: abar where abar_previous belongs, so nothing changes": lambda x, eps, a, b: x,
        "abar and abar_previous are exchanged; that walks towards the noise": lambda x, eps, a, b: a.sqrt() * x0(x, eps, b) + (1 - a).sqrt() * eps,
        "the noise's factor is still that of t; it should be sqrt(1 - abar_previous)": lambda x, eps, a, b: b.sqrt() * x0(x, eps, a) + (1 - a).sqrt() * eps,
    }, "that is all of DDIM; sample_ddim repeats it along a grid of steps")


def half_noise(answer):
    """The step t at which half of the variance of x_t is noise, with DDPM's schedule of 1000 steps."""
    return judge_number(answer, int((ABAR - 0.5).abs().argmin()), 8, {
        "half of the steps is not half of the variance: the betas grow, and abar is a product; plot it and read it off": 500,
        "there the factor of the signal is a half; its square, the share of the variance, is a quarter": int((ABAR.sqrt() - 0.5).abs().argmin()),
        "there the factor of the noise is a half, not the share of the variance": int(((1 - ABAR).sqrt() - 0.5).abs().argmin()),
    }, "after a quarter of the steps the data is half gone, and from there on the network plans rather than polishes")


# ------------------------------------------------------------------------------------------------
# Notebook 4: the network
# ------------------------------------------------------------------------------------------------
def modulated(answer):
    """x [F, W], modulation [F, 3 W], layer -> x + gate * layer(LayerNorm(x) * (1 + scale) + shift) [F, W]."""
    random = torch.Generator().manual_seed(0)
    inputs = [(torch.randn(4, 8, generator=random), torch.randn(4, 24, generator=random), layer) for layer in (torch.tanh, lambda y: y.flip(1) ** 2)]

    def normed(x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:])

    def with_parts(order=(0, 1, 2), norm=normed, one=1.0, keep=1.0, gated=True, gate_first=False):
        def wrong(x, modulation, layer):
            shift, scale, gate = (modulation.chunk(3, dim=-1)[n] for n in order)
            inner = norm(x) * (one + scale) + shift
            return keep * x + (layer(gate * inner) if gate_first else (gate if gated else 1) * layer(inner))
        return wrong

    return judge(answer, inputs, with_parts(), {
        "shift and scale are in each other's place": with_parts((1, 0, 2)),
        "the scale counts from 1, not from 0: a modulation of zeros must leave the normalised x as it is": with_parts(one=0.0),
        "the gate is missing; a new block would not be the identity": with_parts(gated=False),
        "the gate stands outside the layer: it says how much of the answer is added, not what goes in": with_parts(gate_first=True),
        "the x before the layer is missing; with a shut gate nothing would come through": with_parts(keep=0.0),
        "x is not normalised": with_parts(norm=lambda x: x),
        "layer norm goes over the W numbers of a frame, not over the frames": with_parts(norm=lambda x: normed(x.T).T),
        "layer norm divides by n, not by n - 1: correction=0": with_parts(norm=lambda x: (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True) + 1e-5).sqrt()),
    }, "a Block does this twice, around its attention and around its MLP")


def causal_mask(answer):
    """frames, window -> [frames, frames] bool: may the row's frame look at the column's?"""
    def mask(look):
        return lambda frames, window: look(torch.arange(frames)[:, None], torch.arange(frames)[None], window)

    return judge(answer, [(7, 3), (5, 1), (4, 9)], lambda frames, window: sliding_causal_mask(frames, frames, window), {
        "it looks ahead: rows are who looks, columns who is looked at": mask(lambda q, k, w: (k >= q) & (k < q + w)),
        "the future is open: a frame later than the row's must be hidden": mask(lambda q, k, w: k > q - w),
        "a frame must see itself": mask(lambda q, k, w: (k < q) & (k > q - w)),
        "the window is one too wide: it counts the frame itself": mask(lambda q, k, w: (k <= q) & (k >= q - w)),
        "causal it is, but the window is missing": mask(lambda q, k, w: k <= q),
        "True and False are exchanged": mask(lambda q, k, w: ~((k <= q) & (k > q - w))),
    }, "diffmotion.sliding_causal_mask is this, also for the later frames alone")


def turned(answer):
    """pair [2], position, frequency -> the pair turned by position * frequency radians [2]."""
    inputs = [(np.array(pair), position, frequency) for pair, position, frequency in (([1.0, 0.0], 3, 0.5), ([0.3, -0.8], 7, 0.1), ([1.0, 2.0], 0, 1.0))]

    def turn(angle, mirror=False):
        def by(pair, position, frequency):
            c, s = np.cos(angle(position, frequency)), np.sin(angle(position, frequency))
            a, b = pair
            return np.array([a * c - b * s, a * s - b * c if mirror else a * s + b * c])
        return by

    return judge(answer, inputs, turn(lambda p, f: p * f), {
        "it turns the other way round; with all keys and queries it would do as well, but it is not what was asked for": turn(lambda p, f: -p * f),
        "degrees taken for radians": turn(lambda p, f: np.radians(p * f)),
        "the angle is position times frequency, not divided by it": turn(lambda p, f: p / f),
        "at position 0 nothing may turn; the frequency is multiplied, not added": turn(lambda p, f: p + f),
        "that is a mirror, not a turn: the signs of the second line": turn(lambda p, f: p * f, mirror=True),
    }, "diffmotion.rotate does it for all pairs at once, from fast turns for near frames to slow ones for far")


def eps_from_v(answer):
    """x_t [n], v [n], abar, a number -> eps [n]."""
    random = torch.Generator().manual_seed(3)
    inputs = [(torch.randn(4, generator=random), torch.randn(4, generator=random), ABAR[t]) for t in (20, 300, 800)]

    def mixed(of_v, of_x):
        return lambda x_t, v, abar: of_v(abar) * v + of_x(abar) * x_t

    return judge(answer, inputs, lambda x_t, v, abar: SCHEDULE.eps_from_v(x_t, int((ABAR - abar).abs().argmin()), v), {
        "the two factors are in each other's place": mixed(lambda a: (1 - a).sqrt(), lambda a: a.sqrt()),
        "that is x0; multiply the second equation by the other factor and add": mixed(lambda a: -(1 - a).sqrt(), lambda a: a.sqrt()),
        "a sign: with v at hand x_t is added, not taken away": mixed(lambda a: a.sqrt(), lambda a: -(1 - a).sqrt()),
        "the square roots are missing": mixed(lambda a: a, lambda a: 1 - a),
        "x_t is missing: v alone is the noise only where nothing is noisy": mixed(lambda a: a.sqrt(), lambda a: 0 * a),
    }, "NoiseSchedule.eps_from_v; a turn by an angle and the turn back")


def poses_from_news(answer):
    """news [F, P], memory, a number -> poses [F, P]."""
    rng = np.random.default_rng(2)
    inputs = [(rng.normal(size=(6, 2)), memory) for memory in (0.9, 0.5, 0.0)]

    def added_up(memory_of, first=lambda memory: 1.0):
        def wrong(news, memory):
            poses = [first(memory) * news[0]]
            for new in news[1:]:
                poses.append(memory_of(memory) * poses[-1] + new)
            return np.stack(poses)
        return wrong

    def right(news, memory):
        model = DiffMotion(DiffMotionConfig(news.shape[1], 1, width=2, depth=1, heads=1, memory=memory))
        return model.poses(torch.tensor(news).float()[None])[0]

    return judge(answer, inputs, right, {
        "that takes the last news, where the last pose belongs; the poses build on each other": lambda news, memory: np.concatenate([news[:1], news[1:] + memory * news[:-1]]),
        "that is the way there, from poses to news; the way back adds, and each pose builds on the one that was just made": lambda news, memory: np.concatenate([news[:1], news[1:] - memory * news[:-1]]),
        "all of the last pose is kept; only the share `memory` of it is": added_up(lambda memory: 1.0),
        "the first frame's news are its pose, as it is: there is no pose before it": added_up(lambda memory: memory, lambda memory: 1 - memory),
        "the sign: the share of the last pose is added": added_up(lambda memory: -memory),
    }, "DiffMotion.poses does it for all frames at once, as one product with a triangular matrix")


def frames_back(answer):
    """How many frames back of noisy pose the shipped model's answer can depend on."""
    return judge_number(answer, 4 * 99 + 4, 0.5, {
        "the window counts the frame itself, so a block looks 99 back": 4 * 100 + 4,
        "and the convolution: the first frame of the window has itself seen some": 4 * 99,
        "the windows of the blocks add up: what a block sees at the edge has itself looked back": 99 + 4,
        "the convolution's five frames count the frame itself": 4 * 99 + 5,
    }, "20 s, a quarter of which any one block sees; the keys of each block's last 99 frames are what a stream keeps")


# ------------------------------------------------------------------------------------------------
# Notebook 5: training and sampling
# ------------------------------------------------------------------------------------------------
def best_loss(answer):
    """abar [n], s -> the least mean squared error of eps, for independent Gaussian features of deviation s [n]."""
    inputs = [(np.array([0.999, 0.6, 0.1]), s) for s in (1.0, 0.05, 3.0)]
    return judge(answer, inputs, lambda a, s: a * s ** 2 / (a * s ** 2 + 1 - a), {
        "the shares are exchanged: where there is little noise, it is hard to see, and the loss is near 1": lambda a, s: (1 - a) / (a * s ** 2 + 1 - a),
        "the deviation is to be squared: variances add up": lambda a, s: a * s / (a * s + 1 - a),
        "that holds for deviation 1 only": lambda a, s: a,
        "that is what remains of x_t's variance before one divides by it": lambda a, s: a * s ** 2,
        "that is the loss for x0, not for the noise": lambda a, s: s ** 2 * (1 - a) / (a * s ** 2 + 1 - a),
        "that is the loss of answering 0": lambda a, s: np.ones_like(a),
    }, "so a loss says little without the deviation of the data beside it")


def ema_update(answer):
    """average [n], weight [n], decay -> the new average [n]."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=3), rng.normal(size=3), decay) for decay in (0.9, 0.998, 0.0)]
    return judge(answer, inputs, lambda a, w, d: d * a + (1 - d) * w, {
        "decay and 1 - decay are exchanged: that follows the weights at once and averages nothing": lambda a, w, d: (1 - d) * a + d * w,
        "the shares do not add up to 1: the average would grow without end": lambda a, w, d: d * a + w,
        "the new weight's share is missing": lambda a, w, d: d * a,
        "that is a plain mean of the two; its memory is one step": lambda a, w, d: (a + w) / 2,
    }, "train.py does it for all weights at once, with torch._foreach_lerp_")


def learning_rate(answer):
    """step, warmup, steps, peak -> the learning rate."""
    inputs = [(step, 10, 100, 0.5) for step in (0, 4, 9, 10, 40, 99)] + [(5, 4, 20, 1.0)]

    def half_cosine(gone):
        return 0.5 * (1 + np.cos(np.pi * gone))

    def rate(curve=half_cosine, first=1, after=True, warm=True):
        def wrong(step, warmup, steps, peak):
            if warm and step < warmup:
                return peak * (step + first) / warmup
            return peak * curve((step - warmup) / (steps - warmup) if after else step / steps)
        return wrong

    return judge(answer, inputs, rate(), {
        "step 0 has a learning rate of 0: it learns nothing, and the last warm-up step has not reached the peak": rate(first=0),
        "the cosine must begin where the warm-up ends, or the rate jumps there": rate(after=False),
        "that is a quarter of a cosine; half a one, raised to between 0 and 1, leaves the peak slowly and arrives slowly": rate(lambda gone: np.cos(np.pi / 2 * gone)),
        "the warm-up is missing": rate(warm=False),
        "the cosine goes from 1 to -1: raise it by 1 and halve it": rate(lambda gone: np.cos(np.pi * gone)),
    }, "train.learning_rate is this")


def guided(answer):
    """eps with speech [n], eps without [n], strength -> eps [n]."""
    rng = np.random.default_rng(1)
    inputs = [(rng.normal(size=3), rng.normal(size=3), strength) for strength in (0.0, 1.0, 1.35, 3.0)]
    return judge(answer, inputs, lambda spoken, silent, g: silent + g * (spoken - silent), {
        "there 0 means the model as it was trained; in this project 0 means no speech and 1 the model as it was trained": lambda spoken, silent, g: (1 + g) * spoken - g * silent,
        "spoken and silent are exchanged: that flees from the speech": lambda spoken, silent, g: spoken + g * (silent - spoken),
        "the difference is what is strengthened, not the answer itself; at strength 1 the answer must be that with speech": lambda spoken, silent, g: silent + g * spoken,
        "the starting point is missing: add the difference to the answer without speech": lambda spoken, silent, g: g * (spoken - silent),
    }, "classifier-free guidance, Ho and Salimans 2022; both answers come from one pass, as two clips of a batch")


def half_forgotten(answer):
    """Steps after which an average with decay 0.998 has kept half of where it was."""
    return judge_number(answer, np.log(0.5) / np.log(0.998), 4, {
        "after 1 / (1 - decay) steps it has kept 1 / e, 37%, not half": 500,
        "half of 500 would be right if it forgot at a constant rate; it forgets a share of what is left": 250,
        "after so many steps it has kept an eighth": 3 * np.log(0.5) / np.log(0.998),
    }, "about 350 steps; so a run that is not much longer than that must begin with a shorter memory, as train.py's does")


# ------------------------------------------------------------------------------------------------
# Notebook 6: judging
# ------------------------------------------------------------------------------------------------
def frechet_distance(answer):
    """means [D] and covariances [D, D] of two Gaussians -> their squared Fréchet distance."""
    rng = np.random.default_rng(0)
    inputs = []
    for _ in range(3):
        a, b = rng.normal(size=(2, 3, 3))
        inputs.append((rng.normal(size=3), a @ a.T, rng.normal(size=3), b @ b.T))

    def cross(a, b):
        return np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()

    def with_parts(means, crossing):
        return lambda m, a, n, b: means(m - n) + np.trace(a) + np.trace(b) - crossing(a, b)

    def squared(d):
        return d @ d

    return judge(answer, inputs, metrics.frechet_distance, {
        "the root is taken of each number; a matrix root is that of the eigenvalues": with_parts(squared, lambda a, b: 2 * np.sqrt(np.abs(np.diag(a @ b))).sum()),
        "the cross term counts twice": with_parts(squared, lambda a, b: cross(a, b)),
        "the cross term is missing; two equal clouds would be far apart": with_parts(squared, lambda a, b: 0.0),
        "the distance of the means is to be squared": with_parts(lambda d: np.linalg.norm(d), lambda a, b: 2 * cross(a, b)),
        "the means are missing; two equal clouds far apart would be no distance away": with_parts(lambda d: 0.0, lambda a, b: 2 * cross(a, b)),
        "that is its root; FGD and FID report the square": lambda m, a, n, b: np.sqrt(metrics.frechet_distance(m, a, n, b)),
    }, "Dowson and Landau 1982, and metrics.frechet_distance")


def beat_f1(answer):
    """found [n], wanted [m] sorted times, tolerance -> F1 of the best one-to-one matching."""
    inputs = [(np.array(f), np.array(w), 0.1) for f, w in (([0.0, 1.0, 1.5], [0.05, 1.2, 1.45, 3.0]), ([1.0, 1.05, 1.08], [1.04]), ([0.5, 0.55, 2.0, 4.0], [0.58, 2.3]),
                                                               ([1.04], [1.0, 1.08]), ([0.0, 5.0], [5.0]), ([0.0, 0.09], [-0.05, 0.06]), ([0.0, 0.09], [-0.06, 0.05]), ([0.0, 0.02, 1.0], [0.0, 1.0, 1.02]))]

    def near(f, w, t):
        return (np.abs(f[:, None] - w) <= t).any(axis=1).sum()

    def greedy(f, w, t, chosen):
        hits, left = 0, list(w)
        for x in f:
            free = np.array([y for y in left if abs(y - x) <= t])
            if len(free):
                left.remove(free[chosen(free, x)])
                hits += 1
        return hits

    return judge(answer, inputs, lambda f, w, t: 2 * metrics.matches(f, w, t) / (len(f) + len(w)), {
        "each wanted time may be met once; three strokes around one syllable are one hit and two misses": lambda f, w, t: 2 * near(f, w, t) / (len(f) + len(w)),
        "each stroke may meet one syllable; one stroke between two of them is one hit and one miss": lambda f, w, t: 2 * near(w, f, t) / (len(f) + len(w)),
        "the n-th stroke need not belong to the n-th syllable: one that is missing shifts all others": lambda f, w, t: 2 * sum(abs(a - b) <= t for a, b in zip(f, w)) / (len(f) + len(w)),
        "a stroke takes the nearest syllable, which the next stroke needs; let each in turn take the earliest that is left": lambda f, w, t: 2 * greedy(f, w, t, lambda free, x: np.abs(free - x).argmin()) / (len(f) + len(w)),
        "a stroke takes the latest syllable, which the next stroke needs; let each in turn take the earliest that is left": lambda f, w, t: 2 * greedy(f, w, t, lambda free, x: -1) / (len(f) + len(w)),
        "the smaller of two counts is not a matching: two strokes around one syllable and two syllables around one stroke are two hits, not three": lambda f, w, t: 2 * min(near(f, w, t), near(w, f, t)) / (len(f) + len(w)),
        "that is the precision, hits by strokes: whoever moves once, and well, gets 1": lambda f, w, t: metrics.matches(f, w, t) / len(f),
        "that is the recall, hits by syllables: whoever waves all the time gets 1": lambda f, w, t: metrics.matches(f, w, t) / len(w),
        "the 2 is missing: a perfect answer would get a half": lambda f, w, t: metrics.matches(f, w, t) / (len(f) + len(w)),
    }, "metrics.beat_f1 pools hits and counts over the takes before it divides")


def chance_hits(answer):
    """Share of strokes at random times that are within 0.1 s of a stress, where 30 stresses a minute stand at random times too."""
    return judge_number(answer, 1 - np.exp(-0.5 * 0.2), 0.003, {
        "nearly: where two stresses are close, what is near to both counts once": 0.1,
        "only one side: a stroke may come 0.1 s before the stress, or after it": 1 - np.exp(-0.5 * 0.1),
        "thirty a minute are one every 2 s; what share of the time lies within 0.1 s of one of them?": 0.5,
    }, "so a beat score has a floor that is not 0, and it rises with the number of strokes")
