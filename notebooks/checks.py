"""Is the answer right, and if not, which mistake is it? Used by the exercises of the notebooks.

    checks.q_sample(my_q_sample)     ->  'right: ...', 'empty: ...', or 'wrong: ...' with a hint

Each check runs the answer on a few inputs and compares it with the project's own code. Where they
differ, it compares with what the common mistakes give on the same inputs. The mistake that fits is
the hint. The comparing is in judging.py.

Teachers: the answers are in solutions.py. A new exercise is one more function here, with its
mistakes beside it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import layer_norm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from judging import draws, judge, judge_number, numbers  # noqa: E402

from beyond.departures import Innovations, predict_v, segment_mask  # noqa: E402
from body.rotations import euler_to_matrix, exp_to_matrix, turn_about_y  # noqa: E402
from diffmotion import NoiseSchedule  # noqa: E402
from lab import frechet  # noqa: E402
from lab.puppet_scores import matches  # noqa: E402


# ------------------------------------------------------------------------------------------------
# Notebook 1: motion
# ------------------------------------------------------------------------------------------------
def euler_zxy(answer):
    """angles [3] as in a BVH row with the channels Zrotation Xrotation Yrotation -> R [3, 3]."""
    rows = [30.0, 20.0, -50.0], [90.0, 0.0, 45.0], [-120.0, 60.0, 10.0]
    inputs = [(np.array(row),) for row in rows]

    def right(angles):
        return euler_to_matrix(np.radians(angles), "ZXY")

    mistakes = {
        "degrees taken for radians; a BVH file holds degrees, numpy's sin and cos want radians":
            lambda angles: euler_to_matrix(angles, "ZXY"),
        "the product is in the reverse order; the first channel stands leftmost, R = R_Z R_X R_Y":
            lambda angles: euler_to_matrix(np.radians(angles[::-1]), "YXZ"),
        "every rotation turns the other way; look at the signs of the two sines":
            lambda angles: right(-angles),
    }  # fmt: skip
    well_done = "this is how every BVH reader turns numbers into a pose"
    return judge(answer, inputs, right, mistakes, well_done)


def exponential_map(answer):
    """w [3] in radians -> R [3, 3], by Rodrigues' formula."""
    vectors = [0.3, -0.5, 0.8], [0.0, 1.2, 0.0], [-1.5, 0.4, 0.1], [0.0, 0.0, 0.0]
    inputs = [(np.array(w),) for w in vectors]
    try:
        at_zero = answer(np.zeros(3))
        broken = at_zero is not None and np.isnan(numbers(at_zero)).any()
    except Exception:  # judge says what is wrong with it
        broken = False
    if broken:
        return "wrong: at w = 0 your function divides by zero; there the matrix is the identity"

    def cross(w):
        return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])

    def not_divided(w):
        t, K = np.linalg.norm(w), cross(w)
        return np.eye(3) + np.sin(t) * K + (1 - np.cos(t)) * K @ K

    def sine_part(w):
        return np.sinc(np.linalg.norm(w) / np.pi)  # sin(t) / t

    def cosine_part(w):
        return 0.5 * np.sinc(np.linalg.norm(w) / (2 * np.pi)) ** 2  # (1 - cos t) / t^2

    mistakes = {
        "degrees taken for radians; an exponential map is in radians already":
            lambda w: exp_to_matrix(np.radians(w)),
        "the axis still has the length of the angle; "
        "divide K by t once beside the sine and twice beside the cosine":
            not_divided,
        "it turns the other way; K v must be w x v, and yours is v x w":
            lambda w: exp_to_matrix(-w),
        "the last factor is (1 - cos t) / t^2 and stands before K K, not before K":
            lambda w: np.eye(3) + (sine_part(w) + cosine_part(w)) * cross(w),
        "the second half, with K K, is missing":
            lambda w: np.eye(3) + sine_part(w) * cross(w),
    }  # fmt: skip
    well_done = "three numbers are enough for any rotation, and nothing locks near the rest pose"
    return judge(answer, inputs, exp_to_matrix, mistakes, well_done)


def forward_kinematics(answer):
    """rotations [J, 3, 3], offsets [J, 3] in the parents' frames, parents [J] -> places [J, 3]."""
    rng = np.random.default_rng(0)
    inputs = []
    for parents in ([-1, 0, 1, 2, 3], [-1, 0, 1, 0, 3]):
        rotations, offsets = exp_to_matrix(rng.normal(size=(5, 3))), rng.normal(size=(5, 3))
        inputs.append((rotations, offsets, np.array(parents)))

    def places(rotations, offsets, parents, by="parent", add=True, accumulate=True):
        R, p = [None] * len(parents), [None] * len(parents)
        for j, a in enumerate(parents):
            R[j] = rotations[j] if a < 0 or not accumulate else R[a] @ rotations[j]
            turn = dict(own=R[j], parent=R[a], nothing=np.eye(3))[by]
            p[j] = offsets[j] if a < 0 else (p[a] if add else 0) + turn @ offsets[j]
        return np.array(p)

    mistakes = {
        "a joint's own rotation turns its own offset; the parent carries the joint around":
            lambda *given: places(*given, by="own"),
        "only the parent's own rotation is used; those of all above it belong in the product":
            lambda *given: places(*given, accumulate=False),
        "the parent's place is missing; the offset counts from there":
            lambda *given: places(*given, add=False),
        "no rotation at all: the offsets are added up as they are":
            lambda *given: places(*given, by="nothing"),
    }  # fmt: skip
    return judge(answer, inputs, places, mistakes, "Motion.world does this for all frames at once")


def half_way(answer):
    """A joint turns about Y, from 170 to -170 degrees. Where is it half way, from 0 to 360?"""
    mistakes = {
        "0 is the mean of the two numbers, and the limb would swing round through the body; "
        "170 and -170 are 20 degrees apart": 0,
        "radians; degrees are wanted": np.pi,
        "that is the distance between the two, 20 degrees, the short way": 20,
    }  # fmt: skip
    well_done = (
        "the short way round; body.motion.resample goes it with matrix_to_exp, "
        "whatever the numbers in the file say"
    )
    return judge_number(answer, 180, 1, mistakes, well_done)


def facing(answer):
    """R [3, 3] of the root -> how far its forward axis, +Z, has turned over the ground, radians.

    0 for +Z, positive towards +X.
    """
    turns = (0.5, [0.2, 0, 0]), (-2.0, [0, 0, 0.3]), (2.8, [-0.4, 0, 0.1])
    inputs = [(turn_about_y(np.array(a)) @ exp_to_matrix(np.array(tilt)),) for a, tilt in turns]

    def right(R):
        return np.arctan2(R[0, 2], R[2, 2])

    mistakes = {
        "the two arguments of arctan2 are exchanged; 0 must mean +Z":
            lambda R: np.arctan2(R[2, 2], R[0, 2]),
        "row for column; a rotation's columns are where the axes go, R[:, 2] is where +Z goes":
            lambda R: np.arctan2(R[2, 0], R[2, 2]),
        "the direction is right, but written from 0 to 2 pi; an angle from -pi to pi is wanted":
            lambda R: right(R) % (2 * np.pi),
        "degrees; the project counts in radians":
            lambda R: np.degrees(right(R)),
        "arctan knows no difference between ahead and behind; take arctan2":
            lambda R: np.arctan(R[0, 2] / R[2, 2]),
    }  # fmt: skip
    well_done = "PoseCodec takes it out: a gesture is the same wherever one faces"
    return judge(answer, inputs, right, mistakes, well_done)


# ------------------------------------------------------------------------------------------------
# Notebook 2: hearing
# ------------------------------------------------------------------------------------------------
def hz_to_mel(answer):
    """f [n] in Hz -> mel [n]."""
    inputs = [(np.array([0.0, 200.0, 1000.0]),), (np.array([440.0, 7600.0]),)]

    def right(f):
        return 2595 * np.log10(1 + f / 700)

    mistakes = {
        "that is the natural logarithm; with it the factor would be 1127":
            lambda f: 2595 * np.log(1 + f / 700),
        "that is the decimal logarithm with the natural one's factor; 2595 goes with log10":
            lambda f: 1127 * np.log10(1 + f / 700),
        "the 1 is missing: 0 Hz must be 0 mel":
            lambda f: 2595 * np.log10(np.maximum(f, 1e-300) / 700),
        "that is the way back, from mel to Hz":
            lambda f: 700 * (10 ** (f / 2595) - 1),
        "the frequency is in kHz there; here it comes in Hz":
            lambda f: right(1000 * f),
    }  # fmt: skip
    well_done = "torchaudio's MelSpectrogram places its bands by it"
    return judge(answer, inputs, right, mistakes, well_done)


def cepstra(answer):
    """log bands [N], count -> the first `count` coefficients of the orthonormal DCT-II [count]."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=size), count) for size, count in ((8, 8), (40, 20), (5, 3))]

    def right(bands, count, half=0.5, s0=1.0, s=2.0, first=0):
        N, k = len(bands), np.arange(first, first + count)
        scale = np.where(k == 0, np.sqrt(s0 / N), np.sqrt(s / N)) if s else np.ones(count)
        return scale * (np.cos(np.pi * k[:, None] * (np.arange(N) + half) / N) @ bands)

    mistakes = {
        "the half is missing: a band's value stands in the middle of the band, at n + 1/2":
            lambda bands, count: right(bands, count, half=0.0),
        "the factors are missing; without them longer spectra give larger numbers":
            lambda bands, count: right(bands, count, s=0),
        "the first coefficient has a factor of its own, sqrt(1 / N)":
            lambda bands, count: right(bands, count, s0=2.0),
        "k counts from 0: coefficient 0, the level, is missing":
            lambda bands, count: right(bands, count, first=1),
        "the bands are logarithms already":
            lambda bands, count: right(np.log(np.abs(bands)), count),
    }  # fmt: skip
    well_done = "SpeechFeatures multiplies all slices by torchaudio's create_dct at once"
    return judge(answer, inputs, right, mistakes, well_done)


def sight_and_step(answer):
    """[(kernel, stride), ...] -> (samples that a row sees, samples from row to row)."""
    wavlm = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    inputs = [(wavlm,), ([(5, 1)],), ([(4, 2), (3, 1), (7, 3)],)]

    def step(layers):
        return int(np.prod([stride for _, stride in layers]))

    def sight(layers, overlap=1, own=0):
        reach = [
            (kernel - overlap) * step(layers[: n + own]) for n, (kernel, _) in enumerate(layers)
        ]
        return overlap + sum(reach)

    mistakes = {
        "kernels are added up as if each counted samples; those above the first count rows of "
        "the layer below, which are a stride apart":
            lambda layers: (sum(kernel for kernel, _ in layers), step(layers)),
        "the sight is the product of all kernels only if no windows overlap":
            lambda layers: (int(np.prod([kernel for kernel, _ in layers])), step(layers)),
        "a kernel's reach is multiplied by the strides below it, its own not among them":
            lambda layers: (sight(layers, own=1), step(layers)),
        "one row more reaches k - 1 steps further, not k: "
        "the first of them is where one stands already":
            lambda layers: (sight(layers, overlap=0), step(layers)),
        "strides multiply: a row of the second layer steps over as many rows of the first as its "
        "stride says":
            lambda layers: (sight(layers), sum(stride for _, stride in layers)),
        "first the sight, then the step":
            lambda layers: (step(layers), sight(layers)),
    }  # fmt: skip
    well_done = (
        "400 and 320 for WavLM, FIELD and STRIDE in recordings/wavlm_long.py: 25 ms and 20 ms"
    )
    return judge(answer, inputs, lambda layers: (sight(layers), step(layers)), mistakes, well_done)


def wavlm_rows(answer):
    """How many rows WavLM makes of 160,000 samples."""
    mistakes = {
        "50 a second would be 500, but the last window would reach beyond the end: "
        "a row needs 400 samples": 500,
        "the first row needs no step: one more than the steps that fit": (160_000 - 400) // 320,
        "that divides by the sight; rows overlap, a new one begins every 320 samples": 400,
    }  # fmt: skip
    well_done = "so rows must be placed by their centres, not by stretching them over the clip"
    return judge_number(answer, (160_000 - 400) // 320 + 1, 0.5, mistakes, well_done)


# ------------------------------------------------------------------------------------------------
# Notebook 3: diffusion
# ------------------------------------------------------------------------------------------------
SCHEDULE = NoiseSchedule()
BETAS, ABAR = SCHEDULE.betas, SCHEDULE.alphas_cumprod


def q_sample(answer):
    """x0 [n], t an int, eps [n], alphas_cumprod [1000] -> x_t [n]."""
    x0s, noises = draws(0, 3), draws(1, 3)
    inputs = [(x0, t, eps, ABAR) for x0, t, eps in zip(x0s, (1, 250, 700), noises)]

    def mixed(signal, noise):
        return lambda x0, t, eps, abar: signal(t) * x0 + noise(t) * eps

    mistakes = {
        "beta for alpha bar; alpha bar is the product of all 1 - beta up to t, "
        "not the beta of this step":
            mixed(lambda t: (1 - BETAS[t]).sqrt(), lambda t: BETAS[t].sqrt()),
        "the square roots are missing; abar and 1 - abar are shares of the variance":
            mixed(lambda t: ABAR[t], lambda t: 1 - ABAR[t]),
        "signal and noise are exchanged; at small t there should be hardly any noise":
            mixed(lambda t: (1 - ABAR[t]).sqrt(), lambda t: ABAR[t].sqrt()),
        "off by one in t; alphas_cumprod[0] belongs to t = 0, which has a little noise already":
            mixed(lambda t: ABAR[t - 1].sqrt(), lambda t: (1 - ABAR[t - 1]).sqrt()),
        "the noise has no factor; the variance grows beyond 1":
            mixed(lambda t: ABAR[t].sqrt(), lambda t: 1.0),
        "the noise's factor is 1 - sqrt(abar); it is sqrt(1 - abar): the squares add up to 1":
            mixed(lambda t: ABAR[t].sqrt(), lambda t: 1 - ABAR[t].sqrt()),
    }  # fmt: skip
    well_done = "equation 4 of Ho et al., and NoiseSchedule.add_noise"
    return judge(
        answer,
        inputs,
        lambda x0, t, eps, abar: SCHEDULE.add_noise(x0, torch.tensor(t), eps),
        mistakes,
        well_done,
    )


def posterior_mean(answer):
    """x0, x_t [n], t an int >= 1, betas, alphas_cumprod [N] -> mean of q(x_{t-1} | x_t, x0) [n]."""
    steep = NoiseSchedule(10, 0.05, 0.5)  # neighbouring abar differ: none can stand for another
    asked = (SCHEDULE, 1), (SCHEDULE, 400), (steep, 1), (steep, 6)
    inputs = [
        (x0, x_t, t, s.betas, s.alphas_cumprod)
        for x0, x_t, (s, t) in zip(draws(1, 4), draws(2, 4), asked)
    ]

    def right(x0, x_t, t, betas, abar):
        return (steep if len(betas) == 10 else SCHEDULE).posterior(x0, x_t, t)[0]

    def mean(x0, x_t, beta, abar, before):
        signal, noisy = before.sqrt() * beta * x0, (1 - beta).sqrt() * (1 - before) * x_t
        return (signal + noisy) / (1 - abar)

    mistakes = {
        "x0 and x_t are exchanged; at small t the step before lies near x0":
            lambda x0, x_t, t, b, a: mean(x_t, x0, b[t], a[t], a[t - 1]),
        "off by one in t: where the formula has abar of t - 1, yours has abar of t":
            lambda x0, x_t, t, b, a: mean(x0, x_t, b[t], a[t], a[t]),
        "x0's share has the root of abar of t; it should be that of t - 1, where the step goes":
            lambda x0, x_t, t, b, a:
                mean((a[t] / a[t - 1]).sqrt() * x0, x_t, b[t], a[t], a[t - 1]),
        "off by one in t: the beta is that of the step before":
            lambda x0, x_t, t, b, a: mean(x0, x_t, b[t - 1], a[t], a[t - 1]),
        "the division by 1 - abar of t is missing":
            lambda x0, x_t, t, b, a: mean(x0, x_t, b[t], a[t], a[t - 1]) * (1 - a[t]),
        "the square roots are missing, of abar of t - 1 and of 1 - beta":
            lambda x0, x_t, t, b, a:
                (a[t - 1] * b[t] * x0 + (1 - b[t]) * (1 - a[t - 1]) * x_t) / (1 - a[t]),
    }  # fmt: skip
    well_done = "equation 7 of Ho et al., and NoiseSchedule.posterior"
    return judge(answer, inputs, right, mistakes, well_done)


def ddim_step(answer):
    """x_t [n], eps [n], abar and abar_previous, numbers -> x at the earlier step [n]."""
    steps = (900, 700), (500, 480), (40, 0)
    inputs = [
        (x_t, eps, ABAR[t], ABAR[earlier])
        for x_t, eps, (t, earlier) in zip(draws(2, 3), draws(3, 3), steps)
    ]

    def x0(x, eps, abar):
        return (x - (1 - abar).sqrt() * eps) / abar.sqrt()

    def right(x, eps, a, b):
        return b.sqrt() * x0(x, eps, a) + (1 - b).sqrt() * eps

    mistakes = {
        "the noise is not put back; x0 alone has too little of it for the next pass":
            lambda x, eps, a, b: b.sqrt() * x0(x, eps, a),
        "that is x0; it still has to be carried to the noise level of the earlier step":
            lambda x, eps, a, b: x0(x, eps, a),
        "the old noise level is kept: abar where abar_previous belongs, so nothing changes":
            lambda x, eps, a, b: x,
        "abar and abar_previous are exchanged; that walks towards the noise":
            lambda x, eps, a, b: right(x, eps, b, a),
        "the noise's factor is still that of t; it should be sqrt(1 - abar_previous)":
            lambda x, eps, a, b: b.sqrt() * x0(x, eps, a) + (1 - a).sqrt() * eps,
    }  # fmt: skip
    well_done = "that is all of DDIM; beyond.samplers.sample_ddim repeats it along a grid of steps"
    return judge(answer, inputs, right, mistakes, well_done)


def half_noise(answer):
    """The step t, of DDPM's 1000, at which half of the variance of x_t is noise."""

    def where(share):
        return int((share - 0.5).abs().argmin())

    mistakes = {
        "half of the steps is not half of the variance: the betas grow, and abar is a product; "
        "plot it and read it off": 500,
        "there the factor of the signal is a half; its square, the share of the variance, is "
        "a quarter": where(ABAR.sqrt()),
        "there the factor of the noise is a half, not the share of the variance":
            where((1 - ABAR).sqrt()),
    }  # fmt: skip
    well_done = (
        "after a quarter of the steps half of the data is gone; from there on the network decides "
        "large things and no longer polishes"
    )
    return judge_number(answer, where(ABAR), 8, mistakes, well_done)


# ------------------------------------------------------------------------------------------------
# Notebook 4: the network
# ------------------------------------------------------------------------------------------------
def modulated(answer):
    """x [F, W], modulation [F, 3 W], layer -> x + gate * layer(adaLN(x)) [F, W]."""
    layers = torch.tanh, lambda y: y.flip(1) ** 2
    inputs = [
        (x.view(4, 8), modulation.view(4, 24), layer)
        for x, modulation, layer in zip(draws(0, 2, 32), draws(1, 2, 96), layers)
    ]

    def normed(x):
        return layer_norm(x, x.shape[-1:])

    def with_bessel(x):
        return (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True) + 1e-5).sqrt()

    def variant(order=(0, 1, 2), norm=normed, one=1.0, keep=1.0, gated=True, gate_first=False):
        def wrong(x, modulation, layer):
            shift, scale, gate = (modulation.chunk(3, dim=-1)[n] for n in order)
            inner = norm(x) * (one + scale) + shift
            if gate_first:
                return keep * x + layer(gate * inner)
            return keep * x + (gate if gated else 1) * layer(inner)

        return wrong

    mistakes = {
        "shift and scale are in each other's place":
            variant((1, 0, 2)),
        "the scale counts from 1, not from 0: zeros must leave the normalised x as it is":
            variant(one=0.0),
        "the gate is missing; a new block would not be the identity":
            variant(gated=False),
        "the gate stands outside the layer: it says how much of the layer's output is added":
            variant(gate_first=True),
        "the x before the layer is missing; with a shut gate nothing would come through":
            variant(keep=0.0),
        "x is not normalised":
            variant(norm=lambda x: x),
        "layer norm goes over the W numbers of a frame, not over the frames":
            variant(norm=lambda x: normed(x.T).T),
        "layer norm divides by n, not by n - 1: correction=0":
            variant(norm=with_bessel),
    }  # fmt: skip
    well_done = "a Block does this twice, around its attention and around its MLP"
    return judge(answer, inputs, variant(), mistakes, well_done)


def causal_mask(answer):
    """frames, window -> [frames, frames] bool: may the row's frame look at the column's?"""

    def mask(look):
        def wrong(frames, window):
            query, key = torch.arange(frames)[:, None], torch.arange(frames)[None]
            return look(query, key, window)

        return wrong

    mistakes = {
        "it looks ahead: rows are who looks, columns who is looked at":
            mask(lambda q, k, w: (k >= q) & (k < q + w)),
        "the future is open: a frame later than the row's must be hidden":
            mask(lambda q, k, w: k > q - w),
        "a frame must see itself":
            mask(lambda q, k, w: (k < q) & (k > q - w)),
        "the window is one too wide: it counts the frame itself":
            mask(lambda q, k, w: (k <= q) & (k >= q - w)),
        "causal it is, but the window is missing":
            mask(lambda q, k, w: k <= q),
        "True and False are exchanged":
            mask(lambda q, k, w: ~((k <= q) & (k > q - w))),
    }  # fmt: skip
    well_done = "beyond.departures.segment_mask is this, for segments of one frame"
    return judge(
        answer,
        [(7, 3), (5, 1), (4, 9)],
        lambda frames, window: segment_mask(frames, window=window, segment=1),
        mistakes,
        well_done,
    )


def rotated(answer):
    """pair [2], position, frequency -> the pair rotated by position * frequency radians [2]."""
    asked = ([1.0, 0.0], 3, 0.5), ([0.3, -0.8], 7, 0.1), ([1.0, 2.0], 0, 1.0)
    inputs = [(np.array(pair), position, frequency) for pair, position, frequency in asked]

    def by(angle, mirror=False):
        def wrong(pair, position, frequency):
            c, s = np.cos(angle(position, frequency)), np.sin(angle(position, frequency))
            a, b = pair
            return np.array([a * c - b * s, a * s - b * c if mirror else a * s + b * c])

        return wrong

    mistakes = {
        "it turns the other way round; with all keys and queries it would do as well, "
        "but it is not what was asked for":
            by(lambda p, f: -p * f),
        "degrees taken for radians":
            by(lambda p, f: np.radians(p * f)),
        "the angle is position times frequency, not divided by it":
            by(lambda p, f: p / f),
        "at position 0 nothing may turn; the frequency is multiplied, not added":
            by(lambda p, f: p + f),
        "that is a mirror, not a rotation: the signs of the second line":
            by(lambda p, f: p * f, mirror=True),
    }  # fmt: skip
    well_done = (
        "diffmotion.rotate does it for all pairs at once; "
        "high frequencies tell near frames apart, low ones far frames"
    )
    return judge(answer, inputs, by(lambda p, f: p * f), mistakes, well_done)


def eps_from_v(answer):
    """x_t [n], v [n], abar, a number -> eps [n]."""
    inputs = [(x_t, v, ABAR[t]) for x_t, v, t in zip(draws(3, 3), draws(4, 3), (20, 300, 800))]

    def right(x_t, v, abar):
        return predict_v(SCHEDULE, x_t, int((ABAR - abar).abs().argmin()), v)

    def mixed(of_v, of_x):
        return lambda x_t, v, abar: of_v(abar) * v + of_x(abar) * x_t

    mistakes = {
        "the two factors are in each other's place":
            mixed(lambda a: (1 - a).sqrt(), lambda a: a.sqrt()),
        "that is x0; multiply the second equation by the other factor and add":
            mixed(lambda a: -(1 - a).sqrt(), lambda a: a.sqrt()),
        "a sign: with v at hand x_t is added, not taken away":
            mixed(lambda a: a.sqrt(), lambda a: -(1 - a).sqrt()),
        "the square roots are missing":
            mixed(lambda a: a, lambda a: 1 - a),
        "x_t is missing: v alone is the noise only where nothing is noisy":
            mixed(lambda a: a.sqrt(), lambda a: 0 * a),
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

    def added_up(news, memory, first=1.0):
        poses = [first * news[0]]
        for new in news[1:]:
            poses.append(memory * poses[-1] + new)
        return np.stack(poses)

    mistakes = {
        "that takes the last news, where the last pose belongs; the poses build on each other":
            lambda news, memory: np.concatenate([news[:1], news[1:] + memory * news[:-1]]),
        "that is the way there, from poses to news; the way back adds, and each pose builds on "
        "the one that was just made":
            lambda news, memory: np.concatenate([news[:1], news[1:] - memory * news[:-1]]),
        "all of the last pose is kept; only the share `memory` of it is":
            lambda news, memory: added_up(news, 1.0),
        "the first frame's news are its pose, as it is: there is no pose before it":
            lambda news, memory: added_up(news, memory, first=1 - memory),
        "the sign: the share of the last pose is added":
            lambda news, memory: added_up(news, -memory),
    }  # fmt: skip
    well_done = (
        "Innovations.inverse does it for all frames at once, "
        "as one product with a triangular matrix"
    )
    return judge(answer, inputs, right, mistakes, well_done)


def frames_back(answer):
    """How many frames back of noisy pose the shipped model's output can depend on."""
    mistakes = {
        "the window counts the frame itself, so a block looks 99 back": 4 * 100 + 4,
        "and the convolution: the first frame of the window has itself seen some": 4 * 99,
        "the windows of the blocks add up: what a block sees at the edge has itself looked back":
            99 + 4,
        "the convolution's five frames count the frame itself": 4 * 99 + 5,
    }  # fmt: skip
    well_done = (
        "20 s, a quarter of which any one block sees; "
        "the keys of each block's last 99 frames are what a stream keeps"
    )
    return judge_number(answer, 4 * 99 + 4, 0.5, mistakes, well_done)


# ------------------------------------------------------------------------------------------------
# Notebook 5: training and sampling
# ------------------------------------------------------------------------------------------------
def best_loss(answer):
    """abar [n], s -> the least mean squared error of eps, for Gaussian features of deviation s."""
    inputs = [(np.array([0.999, 0.6, 0.1]), s) for s in (1.0, 0.05, 3.0)]

    def variance(a, s):
        return a * s**2 + 1 - a  # of x_t

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
    }  # fmt: skip
    well_done = "so a loss says little without the deviation of the data beside it"
    return judge(answer, inputs, lambda a, s: a * s**2 / variance(a, s), mistakes, well_done)


def ema_update(answer):
    """average [n], weight [n], decay -> the new average [n]."""
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=3), rng.normal(size=3), decay) for decay in (0.9, 0.998, 0.0)]
    mistakes = {
        "decay and 1 - decay are exchanged: that follows the weights and averages nothing":
            lambda a, w, d: (1 - d) * a + d * w,
        "the shares do not add up to 1: the average would grow without end":
            lambda a, w, d: d * a + w,
        "the new weight's share is missing":
            lambda a, w, d: d * a,
        "that is a plain mean of the two; its memory is one step":
            lambda a, w, d: (a + w) / 2,
    }  # fmt: skip
    well_done = "train.average does it for all weights at once, with torch._foreach_lerp_"
    return judge(answer, inputs, lambda a, w, d: d * a + (1 - d) * w, mistakes, well_done)


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

    mistakes = {
        "step 0 has a learning rate of 0: it learns nothing, and the last warm-up step has not "
        "reached the peak":
            rate(first=0),
        "the cosine must begin where the warm-up ends, or the rate jumps there":
            rate(after=False),
        "that is a quarter of a cosine; half a one, raised to between 0 and 1, leaves the peak "
        "slowly and arrives slowly":
            rate(lambda gone: np.cos(np.pi / 2 * gone)),
        "the warm-up is missing":
            rate(warm=False),
        "the cosine goes from 1 to -1: raise it by 1 and halve it":
            rate(lambda gone: np.cos(np.pi * gone)),
    }  # fmt: skip
    well_done = "beyond.departures.cosine is this, as a share of the peak"
    return judge(answer, inputs, rate(), mistakes, well_done)


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
        "the difference is what is strengthened, not eps itself; "
        "at strength 1 the result must be eps with speech":
            lambda spoken, silent, g: silent + g * spoken,
        "the starting point is missing: add the difference to eps without speech":
            lambda spoken, silent, g: g * (spoken - silent),
    }  # fmt: skip
    well_done = (
        "classifier-free guidance, Ho and Salimans 2022; beyond.samplers.Guided asks for both "
        "in one pass, as two clips of a batch"
    )
    return judge(
        answer,
        inputs,
        lambda spoken, silent, g: silent + g * (spoken - silent),
        mistakes,
        well_done,
    )


def half_forgotten(answer):
    """Steps after which an average with decay 0.998 has kept half of where it was."""
    right = np.log(0.5) / np.log(0.998)
    mistakes = {
        "after 1 / (1 - decay) steps it has kept 1 / e, 37%, not half": 500,
        "half of 500 would be right if it forgot at a constant rate; "
        "it forgets a share of what is left": 250,
        "after so many steps it has kept an eighth": 3 * right,
    }  # fmt: skip
    well_done = (
        "about 350 steps; a run that is not much longer than that must begin with a shorter "
        "memory, as train.py's does"
    )
    return judge_number(answer, right, 4, mistakes, well_done)


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

    def of_each_number(a, b):
        return np.sqrt(np.abs(np.diag(a @ b))).sum()

    def squared(d):
        return d @ d

    def variant(means=squared, crossing=cross, times=2):
        def wrong(m, a, n, b):
            return means(m - n) + np.trace(a) + np.trace(b) - times * crossing(a, b)

        return wrong

    mistakes = {
        "the root is taken of each number; a matrix root is that of the eigenvalues":
            variant(crossing=of_each_number),
        "the cross term counts twice":
            variant(times=1),
        "the cross term is missing; two equal clouds would be far apart":
            variant(times=0),
        "the distance of the means is to be squared":
            variant(means=np.linalg.norm),
        "the means are missing; two equal clouds far apart would be no distance away":
            variant(means=lambda d: 0.0),
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
    ]
    inputs = [(np.array(found), np.array(wanted), 0.1) for found, wanted in asked]

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

    def f1(hits):
        return lambda f, w, t: 2 * hits(f, w, t) / (len(f) + len(w))

    mistakes = {
        "each wanted time may be met once; "
        "three strokes around one syllable are one hit and two misses":
            f1(near),
        "each stroke may meet one syllable; "
        "one stroke between two of them is one hit and one miss":
            f1(lambda f, w, t: near(w, f, t)),
        "the n-th stroke need not belong to the n-th syllable: "
        "one that is missing shifts all others":
            f1(lambda f, w, t: sum(abs(a - b) <= t for a, b in zip(f, w))),
        "a stroke takes the nearest syllable, which the next stroke needs; "
        "let each in turn take the earliest that is left":
            f1(lambda f, w, t: greedy(f, w, t, lambda free, x: np.abs(free - x).argmin())),
        "a stroke takes the latest syllable, which the next stroke needs; "
        "let each in turn take the earliest that is left":
            f1(lambda f, w, t: greedy(f, w, t, lambda free, x: -1)),
        "the smaller of two counts is not a matching: two strokes around one syllable and two "
        "syllables around one stroke are two hits, not three":
            f1(lambda f, w, t: min(near(f, w, t), near(w, f, t))),
        "that is the precision, hits by strokes: whoever moves once, and well, gets 1":
            lambda f, w, t: matches(f, w, t) / len(f),
        "that is the recall, hits by syllables: whoever waves all the time gets 1":
            lambda f, w, t: matches(f, w, t) / len(w),
        "the 2 is missing: a perfect answer would get a half":
            lambda f, w, t: matches(f, w, t) / (len(f) + len(w)),
    }  # fmt: skip
    well_done = "lab.puppet_scores.beat_f1 pools hits and counts over the takes before it divides"
    return judge(answer, inputs, f1(matches), mistakes, well_done)


def chance_hits(answer):
    """Share of strokes within 0.1 s of a stress; strokes, and 30 stresses a minute, at random."""
    mistakes = {
        "nearly: where two stresses are close, what is near to both counts once": 0.1,
        "only one side: a stroke may come 0.1 s before the stress, or after it":
            1 - np.exp(-0.5 * 0.1),
        "thirty a minute are one every 2 s; "
        "what share of the time lies within 0.1 s of one of them?": 0.5,
    }  # fmt: skip
    well_done = "a beat score has a floor that is not 0, and it rises with the number of strokes"
    return judge_number(answer, 1 - np.exp(-0.5 * 0.2), 0.003, mistakes, well_done)
