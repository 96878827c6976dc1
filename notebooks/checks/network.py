"""Notebook 4: the paper's network."""

import numpy as np
import torch
from torch.nn.functional import layer_norm

import diffmotion
from checks.judging import draws, judge, judge_mask, judge_number


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

    def by_variance(x):
        variance = x.var(dim=-1, keepdim=True, correction=0)
        return (x - x.mean(dim=-1, keepdim=True)) / (variance + 1e-5)

    def not_centred(x):
        return x / (x.var(dim=-1, keepdim=True, correction=0) + 1e-5).sqrt()

    def over_all(x):
        return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()

    def adaln(n, shift, scale):
        return n * (1 + scale) + shift

    def variant(norm=normed, inner=adaln, order=(0, 1, 2), whole=None, parts=None):
        """whole(x, layer, what goes into it, gate); inner(normed x, shift, scale)."""

        def wrong(x, modulation, layer):
            each = modulation.chunk(3, dim=-1) if parts is None else parts(modulation)
            shift, scale, gate = (each[n] for n in order)
            y = inner(norm(x), shift, scale)
            return whole(x, layer, y, gate) if whole else x + gate * layer(y)

        return wrong

    def gate_before_norm(x, modulation, layer):
        shift, scale, gate = modulation.chunk(3, dim=-1)
        return x + layer(adaln(normed(gate * x), shift, scale))

    def modulated_after(x, modulation, layer):
        shift, scale, gate = modulation.chunk(3, dim=-1)
        return x + gate * adaln(layer(normed(x)), shift, scale)

    mistakes = {
        "shift and scale are in each other's place":
            variant(order=(1, 0, 2)),
        "the three parts are shift, scale, gate, in this order":
            [variant(order=o) for o in ((0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))],
        "the three parts stand side by side, W numbers each; they are not interleaved":
            variant(parts=lambda m: [m[:, n::3] for n in range(3)]),
        "the scale counts from 1, not from 0: zeros must leave the normalised x as it is":
            variant(inner=lambda n, shift, scale: n * scale + shift),
        "the shift is missing":
            variant(inner=lambda n, shift, scale: n * (1 + scale)),
        "the scale is missing":
            variant(inner=lambda n, shift, scale: n + shift),
        "first the scale, then the shift; yours scales the shift as well":
            variant(inner=lambda n, shift, scale: (n + shift) * (1 + scale)),
        "the scale multiplies; yours divides by it":
            variant(inner=lambda n, shift, scale: n / (1 + scale) + shift),
        "the gate is missing; a new block would not be the identity":
            variant(whole=lambda x, layer, y, gate: x + layer(y)),
        "the gate stands outside the layer: it says how much of the layer's output is added":
            variant(whole=lambda x, layer, y, gate: x + layer(gate * y)),
        "the gate comes last, on the layer's output; yours is on x, before the norm":
            gate_before_norm,
        "the gate counts from 0: at zero nothing of the layer comes through":
            variant(whole=lambda x, layer, y, gate: x + (1 + gate) * layer(y)),
        "the gate is on the layer's output alone; x goes on as it is":
            variant(whole=lambda x, layer, y, gate: gate * (x + layer(y))),
        "the x before the layer is missing; with a shut gate nothing would come through":
            variant(whole=lambda x, layer, y, gate: gate * layer(y)),
        "it is x that goes on beside the layer, not the normalised x":
            variant(whole=lambda x, layer, y, gate: normed(x) + gate * layer(y)),
        "the layer's output is added, with a plus":
            variant(whole=lambda x, layer, y, gate: x - gate * layer(y)),
        "the layer is left out":
            variant(whole=lambda x, layer, y, gate: x + gate * y),
        "shift and scale go into the layer; yours change what comes out of it":
            modulated_after,
        "x is not normalised":
            variant(norm=lambda x: x),
        "layer norm goes over the W numbers of a frame, not over the frames":
            [variant(norm=lambda x: normed(x.T).T), variant(norm=over_all)],
        "layer norm divides by n, not by n - 1: correction=0":
            variant(norm=with_bessel),
        "layer norm divides by the deviation, the root of the variance":
            variant(norm=by_variance),
        "layer norm takes the mean away":
            variant(norm=not_centred),
    }  # fmt: skip
    well_done = "a Block does this twice, around its attention and around its MLP"
    return judge(answer, inputs, variant(), mistakes, well_done)


def attended(answer):
    """q, k, v [F, D], mask [F, F] bool -> softmax(q k^T / sqrt(D)) v, where the mask allows it."""
    shapes = (5, 4), (7, 2)
    inputs = [
        (*(x.view(F, D) for x in draws(n, 3, F * D)), diffmotion.causal_mask(F))
        for n, (F, D) in enumerate(shapes)
    ]
    # A mask that is not causal, and scores so far below 0 that minus ten would still be seen
    k, v = (x.view(6, 4) for x in draws(2, 2, 24))
    inputs.append((-3 * k, k, v, (torch.arange(6)[:, None] - torch.arange(6)).abs() < 2))

    def right(q, k, v, mask):
        return torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask
        )[0]

    def variant(size=lambda q: q.shape[-1] ** 0.5, hidden=-torch.inf, dim=-1, shown=None,
                product=lambda q, k: q @ k.T, last=lambda w, v: w @ v):  # fmt: skip
        def wrong(q, k, v, mask):
            mask = mask if shown is None else shown(mask)
            scores = (product(q, k) / size(q)).masked_fill(~mask, hidden)
            return last(torch.softmax(scores, dim=dim), v)

        return wrong

    def masked_after(q, k, v, mask):
        return (torch.softmax(q @ k.T / q.shape[-1] ** 0.5, dim=-1) * mask) @ v

    def no_softmax(q, k, v, mask):
        return ((q @ k.T / q.shape[-1] ** 0.5) * mask) @ v

    mistakes = {
        "the scores are divided by the root of D; nothing divides yours":
            variant(size=lambda q: 1),
        "the scores are divided by the root of D, the number of features":
            [variant(size=lambda q: q.shape[-1]), variant(size=lambda q: q.shape[-1] ** -0.5),
             variant(size=lambda q: len(q) ** 0.5), variant(size=lambda q: len(q))],
        "the scores are k q^T; who looks is a row: q k^T":
            variant(product=lambda q, k: k @ q.T),
        "the softmax goes over the frames that are looked at, the last dimension":
            variant(dim=0),
        "the mask is upside down: True is what may be seen":
            [variant(shown=lambda m: ~m, hidden=h) for h in (-torch.inf, -1e9, -1e4)],
        "the mask is not used":
            variant(shown=torch.ones_like),
        "use the mask that is given; yours is always causal":
            variant(shown=torch.tril),
        "a hidden score of 0 or minus ten is still seen; minus infinity is not":
            [variant(hidden=h) for h in (0.0, -1.0, -10.0)],
        "the mask does not add to a score; where it is False the score becomes minus infinity":
            lambda q, k, v, mask:
                torch.softmax(q @ k.T / q.shape[-1] ** 0.5 + mask.float(), dim=-1) @ v,
        "the root of D divides the scores, before the softmax":
            variant(size=lambda q: 1, last=lambda w, v: w @ v / v.shape[-1] ** 0.5),
        "the mask comes before the softmax, or the weights of a row no longer add up to 1":
            masked_after,
        "the softmax is missing":
            [no_softmax, lambda q, k, v, mask: (q @ k.T / q.shape[-1] ** 0.5) @ v],
        "rows of the weights are who looks; yours are transposed":
            variant(last=lambda w, v: w.T @ v),
        "those are the weights; they are still to be multiplied with v":
            variant(last=lambda w, v: w),
        "k is compared with the query, v is what is taken":
            lambda q, k, v, mask: right(q, v, k, mask),
        "* multiplies number by number; q k^T is q @ k.T":
            [lambda q, k, v, mask: torch.softmax(q * k / q.shape[-1] ** 0.5, dim=-1) * v,
             lambda q, k, v, mask: torch.softmax(q * k / q.shape[-1] ** 0.5, dim=-1)],
    }  # fmt: skip
    well_done = "Block.attend does it for all heads at once"
    return judge(answer, inputs, right, mistakes, well_done)


def mask_mistakes(right):
    """What goes wrong with any mask; right(*arguments) -> [F, F] bool."""
    return {
        "True and False are exchanged":
            lambda *given: ~right(*given),
        "a table of True and False is wanted; zeros and minus infinity are made of it later":
            [lambda *given: torch.where(right(*given), 0.0, -torch.inf),
             lambda *given: torch.where(right(*given), 0.0, -1e9)],
        "it looks ahead: rows are who looks, columns who is looked at; tril, not triu":
            [lambda *given: right(*given).T,
             lambda frames, *window: torch.ones(frames, frames).triu()],
    }  # fmt: skip


def causal_mask(answer):
    """frames -> [frames, frames] bool: may the row's frame look at the column's?"""

    def tril(shift):
        return lambda frames: torch.ones(frames, frames).tril(shift)

    mistakes = mask_mistakes(diffmotion.causal_mask) | {
        "a frame must see itself": tril(-1),
        "that shows one frame of the future": tril(1),
        "the future is open: a frame later than the row's must be hidden":
            lambda frames: torch.ones(frames, frames),
        "a frame sees itself, and the past too": lambda frames: torch.eye(frames),
    }  # fmt: skip
    well_done = "diffmotion.causal_mask is this"
    return judge_mask(answer, [(7,), (1,), (4,)], diffmotion.causal_mask, mistakes, well_done)


def rotated(answer):
    """pair [2], position, frequency -> the pair rotated by position * frequency radians [2]."""
    asked = ([1.0, 0.0], 3, 0.5), ([0.3, -0.8], 7, 0.1), ([1.0, 2.0], 0, 1.0)
    inputs = [(np.array(pair), position, frequency) for pair, position, frequency in asked]

    def by(angle, form=lambda a, b, c, s: (a * c - b * s, a * s + b * c)):
        def wrong(pair, position, frequency):
            c, s = np.cos(angle(position, frequency)), np.sin(angle(position, frequency))
            return np.array(form(*pair, c, s))

        return wrong

    def angle(position, frequency):
        return position * frequency

    mistakes = {
        "it turns the other way round; with all keys and queries it would do as well, "
        "but it is not what was asked for":
            by(lambda p, f: -p * f),
        "degrees taken for radians":
            [by(lambda p, f: np.radians(p * f)), by(lambda p, f: np.degrees(p * f))],
        "the angle is position times frequency, not divided by it":
            by(lambda p, f: p / f),
        "at position 0 nothing may turn; the frequency is multiplied, not added":
            by(lambda p, f: p + f),
        "positions count from 0: at position 0 nothing may turn":
            by(lambda p, f: (p + 1) * f),
        "the angle is position times frequency; nothing else belongs to it":
            [by(lambda p, f: p), by(lambda p, f: f), by(lambda p, f: 2 * np.pi * p * f),
             by(lambda p, f: p * f / 2)],
        "that is a mirror, not a rotation: the signs of the second line":
            by(angle, lambda a, b, c, s: (a * c - b * s, a * s - b * c)),
        "one of the four products of a rotation has a minus, that of b and the sine":
            [by(angle, lambda a, b, c, s: (a * c + b * s, a * s + b * c)),
             by(angle, lambda a, b, c, s: (a * c - b * s, -a * s - b * c))],
        "cosine and sine are exchanged":
            by(angle, lambda a, b, c, s: (a * s - b * c, a * c + b * s)),
        "the second line needs the old a; yours takes the one that was just overwritten":
            by(angle, lambda a, b, c, s: (a * c - b * s, (a * c - b * s) * s + b * c)),
        "both new numbers are made of both old ones; the cosine and the sine are a matrix":
            [by(angle, lambda a, b, c, s: (a * c, b * s)),
             by(angle, lambda a, b, c, s: (a * c, b * c))],
        "the two numbers of the pair are exchanged":
            [by(angle, lambda b, a, c, s: (a * c - b * s, a * s + b * c)),
             by(angle, lambda a, b, c, s: (a * s + b * c, a * c - b * s))],
    }  # fmt: skip
    well_done = (
        "diffmotion.rotate does it for all pairs at once; "
        "high frequencies tell near frames apart, low ones far frames"
    )
    return judge(answer, inputs, by(angle), mistakes, well_done)


def adaln_share(answer):
    """The share of a block's weights, biases aside, that belongs to adaLN: 6 of 6 + 4 + 8."""
    mistakes = {
        "a share is wanted, from 0 to 1": [6, 18, 33, 100 / 3],
        "the MLP is 4 W wide: from W to 4 W and back are 8 W squared (or you divided by the rest "
        "instead of the whole)": 6 / 12,
        "the MLP is missing: 8 W squared": 6 / 10,
        "the attention is missing: 3 W squared to queries, keys, values, and 1 for what comes out":
            6 / 14,
        "the attention has 4 W squared: queries, keys, values, and what comes out": 6 / 17,
        "adaLN makes six parts of W numbers each, for every frame, of W numbers":
            [1 / 13, 0.25, 0.2],
    }  # fmt: skip
    well_done = "6 of 18 W squared: the knobs cost more than the attention, which has 4"
    return judge_number(answer, 1 / 3, 0.005, mistakes, well_done)
