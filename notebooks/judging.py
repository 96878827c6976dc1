"""What the checks are made of: compare an answer with the right one, and with known mistakes."""

import copy

import numpy as np
import torch

EMPTY = "empty: nothing to check yet; write your answer where the three dots are"


def judge(answer, inputs, right, mistakes, well_done):
    """What to say of a function `answer`.

    It is run on each tuple of `inputs` and compared with right(*input), then with the `mistakes`,
    {hint: wrong}, that is with wrong(*input).
    """
    try:
        given = [answer(*copy.deepcopy(arguments)) for arguments in inputs]  # may work in place
    except NotImplementedError:
        return EMPTY
    except (
        Exception
    ) as error:  # a student's code may raise anything; it is an answer like any other
        return f"wrong: your function stops with {type(error).__name__}: {error}"
    if all(value is None or value is ... for value in given):
        return EMPTY
    if any(value is None or value is ... for value in given):
        return (
            "wrong: for some inputs your function returns nothing; is there a way past the return?"
        )
    wanted = [numbers(right(*arguments)) for arguments in inputs]
    try:
        given = [numbers(value) for value in given]
    except (TypeError, ValueError, RuntimeError):
        kind = type(given[0]).__name__
        return f"wrong: your function should return numbers (an array), not {kind}"
    for mine, want in zip(given, wanted):
        if mine.shape != want.shape:
            return f"wrong: the shape should be {list(want.shape)}, yours is {list(mine.shape)}"
    right_ones = [same(mine, want) for mine, want in zip(given, wanted)]
    if all(right_ones):
        return f"right: {well_done}"
    for hint, wrong in mistakes.items():
        if all(same(mine, numbers(wrong(*arguments))) for mine, arguments in zip(given, inputs)):
            return f"wrong: {hint}"
    n = right_ones.index(False)
    return (
        f"wrong, and none of the common mistakes. For the arguments\n{inputs[n]}\n"
        f"it should be\n{wanted[n].round(4)}\nand is\n{given[n].round(4)}"
    )


def judge_number(answer, right, tolerance, mistakes, well_done):
    """What to say of a predicted number; mistakes: {hint: number}."""
    if answer is None or answer is ...:
        return EMPTY
    try:
        answer = float(answer)
    except (TypeError, ValueError):
        return f"wrong: a number is wanted, not {answer!r}"
    if abs(answer - right) <= tolerance:
        return f"right: {well_done}"
    for hint, number in mistakes.items():
        if abs(answer - number) <= tolerance:
            return f"wrong: {hint}"
    return f"wrong: too {'large' if answer > right else 'small'}"


def numbers(value):
    """Anything like an array -> float64 array."""
    value = value.detach().cpu() if torch.is_tensor(value) else value
    return np.asarray(value, dtype=np.float64)


def same(a, b):
    """Equal to three digits: in float32, 1 - abar of the first steps has no more."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-3)


def draws(seed, count, size=4):
    """`count` tensors [size] of N(0, 1)."""
    return list(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)))
