"""Notebook 3: diffusion."""

import torch

from checks.judging import draws, judge, judge_number
from diffmotion import NoiseSchedule

SCHEDULE = NoiseSchedule()
BETAS, ABAR = SCHEDULE.betas, SCHEDULE.alphas_cumprod
TWICE = ABAR.cumprod(dim=0)  # the product of products


def root(x):
    """Square root of a tensor or a number."""
    return x**0.5


def q_sample(answer):
    """x0 [n], t an int, eps [n], alphas_cumprod [1000] -> x_t [n]."""
    x0s, noises = draws(0, 3), draws(1, 3)
    inputs = [(x0, t, eps, ABAR) for x0, t, eps in zip(x0s, (1, 250, 700), noises)]

    def mixed(signal, noise):
        return lambda x0, t, eps, abar: signal(t) * x0 + noise(t) * eps

    def with_table(abar, shift=0):
        return mixed(lambda t: root(abar[t + shift]), lambda t: root(1 - abar[t + shift]))

    def signal(t):
        return root(ABAR[t])

    def noise(t):
        return root(1 - ABAR[t])

    mistakes = {
        "beta for alpha bar; alpha bar is the product of all 1 - beta up to t, "
        "not the beta of this step":
            with_table(1 - BETAS),
        "the square roots are missing; abar and 1 - abar are shares of the variance":
            mixed(lambda t: ABAR[t], lambda t: 1 - ABAR[t]),
        "signal and noise are exchanged; at small t there should be hardly any noise":
            mixed(noise, signal),
        "off by one in t; alphas_cumprod[0] belongs to t = 0, which has a little noise already":
            [with_table(ABAR, -1), with_table(ABAR, 1)],
        "the noise has no factor; the variance grows beyond 1":
            mixed(signal, lambda t: 1.0),
        "the signal has no factor; the variance grows beyond 1":
            mixed(lambda t: 1.0, noise),
        "the noise's factor is 1 - sqrt(abar); it is sqrt(1 - abar): the squares add up to 1":
            mixed(signal, lambda t: 1 - signal(t)),
        "the noise's factor is sqrt(1 - abar); the square root is missing, or it is not around all":
            [mixed(signal, lambda t: 1 - ABAR[t]), mixed(signal, lambda t: 1 - noise(t))],
        "the signal's factor is sqrt(abar); its square root is missing":
            mixed(lambda t: ABAR[t], noise),
        "the noise is added; yours is taken away":
            mixed(signal, lambda t: -noise(t)),
        "alphas_cumprod is the product already; yours multiplies once more":
            with_table(TWICE),
        "the noise's share is 1 - abar, with a minus":
            mixed(signal, lambda t: root(1 + ABAR[t])),
        "squares for square roots":
            mixed(lambda t: ABAR[t] ** 2, lambda t: (1 - ABAR[t]) ** 2),
        "each of the two factors has its own root; yours takes the root of the sum":
            lambda x0, t, eps, abar: root((abar[t] * x0 + (1 - abar[t]) * eps).abs()),
        "the shares are abar's, not those of t among the steps":
            [mixed(lambda t: (1 - t / 1000) ** 0.5, lambda t: (t / 1000) ** 0.5),
             mixed(lambda t: (1 - t / 999) ** 0.5, lambda t: (t / 999) ** 0.5)],
    }  # fmt: skip
    well_done = "equation 4 of Ho et al., and NoiseSchedule.add_noise"
    return judge(answer, inputs, mixed(signal, noise), mistakes, well_done)


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

    def shares(of_x0=None, of_x_t=None):
        """The sum with another share of x0, or of x_t: functions of beta, abar_t, abar_{t-1}."""

        def wrong(x0, x_t, t, betas, abar):
            beta, a, before = betas[t], abar[t], abar[t - 1]
            first = (of_x0 or share_of_x0)(beta, a, before)
            return first * x0 + (of_x_t or share_of_x_t)(beta, a, before) * x_t

        return wrong

    def share_of_x0(beta, a, before):
        return root(before) * beta / (1 - a)

    def share_of_x_t(beta, a, before):
        return root(1 - beta) * (1 - before) / (1 - a)

    def with_beta(n):
        def wrong(x0, x_t, t, betas, abar):
            beta, a, before = betas[t + n], abar[t], abar[t - 1]
            return share_of_x0(beta, a, before) * x0 + share_of_x_t(beta, a, before) * x_t

        return wrong

    mistakes = {
        "x0 and x_t are exchanged; at small t the step before lies near x0":
            lambda x0, x_t, t, betas, abar: right(x_t, x0, t, betas, abar),
        "off by one in t: where the formula has abar of t - 1, yours has abar of t":
            shares(lambda b, a, c: share_of_x0(b, a, a), lambda b, a, c: root(1 - b)),
        "x0's share has the root of abar of t; it should be that of t - 1, where the step goes":
            shares(lambda b, a, c: root(a) * b / (1 - a)),
        "off by one in t: the beta is that of the step before":
            with_beta(-1),
        "off by one in t: that is the step from t + 1 to t":
            lambda x0, x_t, t, b, a: shares()(x0, x_t, min(t + 1, len(b) - 1), b, a),
        "the division by 1 - abar of t is missing":
            [shares(lambda b, a, c: root(c) * b, lambda b, a, c: root(1 - b) * (1 - c)),
             shares(lambda b, a, c: root(c) * b),
             shares(None, lambda b, a, c: root(1 - b) * (1 - c))],
        "both shares are divided by 1 - abar of t, not by that of t - 1":
            shares(lambda b, a, c: root(c) * b / (1 - c), lambda b, a, c: root(1 - b)),
        "the square roots are missing, of abar of t - 1 and of 1 - beta":
            shares(lambda b, a, c: c * b / (1 - a), lambda b, a, c: (1 - b) * (1 - c) / (1 - a)),
        "x_t's share has the root of alpha, 1 - beta of this step: the root is missing":
            shares(None, lambda b, a, c: (1 - b) * (1 - c) / (1 - a)),
        "x0's share has the root of abar of t - 1: the root is missing":
            shares(lambda b, a, c: c * b / (1 - a)),
        "x_t's share has the root of alpha = 1 - beta; yours has another letter there":
            [shares(None, lambda b, a, c: root(b) * (1 - c) / (1 - a)),
             shares(None, lambda b, a, c: root(a) * (1 - c) / (1 - a)),
             shares(None, lambda b, a, c: root(c) * (1 - c) / (1 - a))],
        "x_t's share has 1 - abar of t - 1 above the line; with that of t nothing is divided":
            shares(None, lambda b, a, c: root(1 - b)),
        "x_t's share is missing":
            shares(None, lambda b, a, c: 0),
        "x0's share is missing":
            shares(lambda b, a, c: 0),
        "the two shares are added":
            [shares(None, lambda b, a, c: -share_of_x_t(b, a, c)),
             shares(lambda b, a, c: -share_of_x0(b, a, c))],
        "that is the posterior's variance; its mean is wanted":
            lambda x0, x_t, t, b, a: b[t] * (1 - a[t - 1]) / (1 - a[t]) + 0 * x0,
        "alphas_cumprod is the product already; yours multiplies once more":
            lambda x0, x_t, t, b, a: shares()(x0, x_t, t, b, a.cumprod(dim=0)),
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

    def x0(x, eps, a):
        return (x - root(1 - a) * eps) / root(a)

    def right(x, eps, a, b):
        return root(b) * x0(x, eps, a) + root(1 - b) * eps

    def sum_of(of_x0=root, of_eps=lambda b: root(1 - b), guess=x0):
        """of_x0(abar_previous) guess + of_eps(abar_previous) eps."""
        return lambda x, eps, a, b: of_x0(b) * guess(x, eps, a) + of_eps(b) * eps

    mistakes = {
        "the noise is not put back; x0 alone has too little of it for the next pass":
            sum_of(of_eps=lambda b: 0),
        "that is x0; it still has to be carried to the noise level of the earlier step":
            lambda x, eps, a, b: x0(x, eps, a),
        "the old noise level is kept: abar where abar_previous belongs, so nothing changes":
            lambda x, eps, a, b: x,
        "abar and abar_previous are exchanged; that walks towards the noise":
            lambda x, eps, a, b: right(x, eps, b, a),
        "the noise's factor is still that of t; it should be sqrt(1 - abar_previous)":
            lambda x, eps, a, b: root(b) * x0(x, eps, a) + root(1 - a) * eps,
        "x0's factor is still that of t; it should be sqrt(abar_previous)":
            lambda x, eps, a, b: root(a) * x0(x, eps, a) + root(1 - b) * eps,
        "the square roots are missing":
            sum_of(lambda b: b, lambda b: 1 - b, lambda x, eps, a: (x - (1 - a) * eps) / a),
        "x0: the noise is taken away from x_t, not added":
            sum_of(guess=lambda x, eps, a: (x + root(1 - a) * eps) / root(a)),
        "x0: the division by sqrt(abar) is missing":
            sum_of(guess=lambda x, eps, a: x - root(1 - a) * eps),
        "x0: it is divided by sqrt(abar), with the root":
            sum_of(guess=lambda x, eps, a: (x - root(1 - a) * eps) / a),
        "x0: eps has the factor sqrt(1 - abar), with the root":
            sum_of(guess=lambda x, eps, a: (x - (1 - a) * eps) / root(a)),
        "x0 goes to the earlier level with the factor sqrt(abar_previous)":
            [sum_of(lambda b: 1), sum_of(lambda b: b)],
        "the noise is put back with the factor sqrt(1 - abar_previous)":
            [sum_of(of_eps=lambda b: 1 - b), sum_of(of_eps=lambda b: 1),
             sum_of(of_eps=lambda b: 1 - root(b))],
        "the noise is put back, with a plus":
            sum_of(of_eps=lambda b: -root(1 - b)),
        "x_t for x0: it is x0 that goes to the earlier level":
            [sum_of(guess=lambda x, eps, a: x), sum_of(guess=lambda x, eps, a: x / root(a))],
        "that is the mean of DDPM's step; DDIM puts the same noise back":
            lambda x, eps, a, b: root(b / a) * (x - (1 - a / b) / root(1 - a) * eps),
    }  # fmt: skip
    well_done = "that is all of DDIM; beyond.samplers.sample_ddim repeats it along a grid of steps"
    if drawn_afresh(answer, inputs[0]):
        return "wrong: the same arguments give other results: DDIM puts the same eps back, not new"
    return judge(answer, inputs, right, mistakes, well_done)


def drawn_afresh(answer, arguments):
    """Does the answer change from call to call, because it draws noise of its own?"""
    try:
        first, second = (answer(*arguments) for _ in range(2))
        return torch.is_tensor(first) and not torch.equal(first, second)
    except Exception:  # judge says what is wrong with it
        return False


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
        "a step is wanted, from 0 to 999": 0.5,
        "alphas_cumprod is the product already; yours multiplies once more": where(TWICE),
    }  # fmt: skip
    well_done = (
        "after a quarter of the steps half of the data is gone; from there on the network decides "
        "large things and no longer polishes"
    )
    return judge_number(answer, where(ABAR), 8, mistakes, well_done)
