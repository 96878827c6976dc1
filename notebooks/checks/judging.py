"""What the checks are made of: compare an answer with the right one, and with known mistakes.

judge, judge_mask   what to say of a function
judge_number        what to say of a predicted number
difference          in one line, how numbers differ from the right ones, where no mistake fits
"""

import copy
import dis

import numpy as np
import torch

EMPTY = "empty: nothing to check yet; write your answer where the three dots are"
NOTHING_RETURNED = "wrong: your function returns nothing; is the line with `return` missing?"


def judge(answer, inputs, right, mistakes, well_done):
    """What to say of a function `answer`.

    It is run on each tuple of `inputs` and compared with right(*input), then with the `mistakes`,
    {hint: wrong}, that is with wrong(*input); or {hint: [wrong, ...]}, if there are several ways
    to make one mistake.
    """
    try:
        given = [answer(*copy.deepcopy(arguments)) for arguments in inputs]  # may work in place
    except NotImplementedError:
        return EMPTY
    except Exception as error:  # a student's code may raise anything; it is an answer as well
        return f"wrong: your function stops with {type(error).__name__}: {error}"
    if all(value is None or value is ... for value in given):
        return NOTHING_RETURNED if computes(answer) else EMPTY
    if any(value is None or value is ... for value in given):
        return (
            "wrong: for some inputs your function returns nothing; is there a way past the return?"
        )
    try:
        given = [numbers(value) for value in given]
    except (TypeError, ValueError, RuntimeError):
        kind = type(given[0]).__name__
        return f"wrong: your function should return numbers (an array), not {kind}"
    wanted = [numbers(right(*arguments)) for arguments in inputs]
    if all(map(same, given, wanted)):
        return f"right: {well_done}"
    for hint, wrongs in mistakes.items():
        for wrong in wrongs if isinstance(wrongs, list) else [wrongs]:
            if all(map(same, given, outcome(wrong, inputs))):
                return f"wrong: {hint}"
    for mine, want in zip(given, wanted):
        if mine.shape != want.shape:
            return f"wrong: the shape should be {list(want.shape)}, yours is {list(mine.shape)}"
    text = difference(given, wanted, [small_ones(answer, arguments) for arguments in inputs])
    return f"wrong, by none of the common mistakes; it differs: {text}"


def judge_mask(answer, inputs, right, mistakes, well_done):
    """The same for a table of True and False: zeros and ones do for numbers, not for attention."""
    said = judge(answer, inputs, right, mistakes, well_done)
    mask = answer(*inputs[0]) if said.startswith("right") else None
    if mask is None or np.asarray(mask).dtype == bool:
        return said
    return (
        "wrong: the places are right, but True and False (bool) are wanted: "
        "zeros and ones would be added to the scores"
    )


def outcome(wrong, inputs):
    """What a mistake gives on the inputs."""
    with np.errstate(all="ignore"):  # a mistake may well divide by zero
        return [numbers(wrong(*arguments)) for arguments in inputs]


# What Python makes of a function whose body is three dots, or that returns them, or None
IDLE = {"RESUME", "NOP", "LOAD_CONST", "LOAD_COMMON_CONSTANT", "POP_TOP", "RETURN_CONST",
        "RETURN_VALUE"}  # fmt: skip


def computes(answer):
    """Does the body of a function do anything at all?"""
    code = getattr(answer, "__code__", None)
    return code is not None and any(step.opname not in IDLE for step in dis.get_instructions(code))


def judge_number(answer, right, tolerance, mistakes, well_done):
    """What to say of a predicted number; mistakes: {hint: number, or a list of them}."""
    if answer is None or answer is ...:
        return EMPTY
    try:
        answer = float(answer)
    except (TypeError, ValueError):
        return f"wrong: a number is wanted, not {answer!r}"
    if abs(answer - right) <= tolerance:
        return f"right: {well_done}"
    for hint, wrongs in mistakes.items():
        for number in wrongs if isinstance(wrongs, list) else [wrongs]:
            if abs(answer - number) <= tolerance:
                return f"wrong: {hint}"
    return f"wrong: too {'large' if answer > right else 'small'}"


# ------------------------------------------------------------------------------------------------
# How does it differ?
# ------------------------------------------------------------------------------------------------
def difference(given, wanted, inputs):
    """How answers differ from the right ones, both lists of arrays of equal shapes: one line.

    inputs: what to say of each input, see small_ones.
    """
    if not all(np.isfinite(mine).all() for mine in given):
        return "some of it is not a finite number: a division by 0, or a root or log below 0?"
    for text, change in WHOLE:
        if all(same(mine, change(want)) for mine, want in zip(given, wanted)):
            return text
    return by_a_factor(given, wanted) or in_places(given, wanted, inputs)


def small_ones(answer, arguments):
    """The arguments that are one number, else those of up to four: "for t = 1, "."""
    code = getattr(answer, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    if len(names) != len(arguments):
        return ""
    given = [a for a in zip(names, arguments) if not callable(a[1])]
    arrays = {name: numbers(a) for name, a in given if torch.is_tensor(a) or np.ndim(a) < 2}
    single = {name: a for name, a in arrays.items() if a.size == 1}
    some = single or {name: a for name, a in arrays.items() if a.size <= 4}
    told = {
        n: f"{a:g}" if a.ndim == 0 else np.array2string(a, precision=4) for n, a in some.items()
    }
    text = ", ".join(f"{n} = {words}" for n, words in told.items())
    return f"for {text}, " if text else ""


def late(rows):
    """The same a row later; the first row stays."""
    return np.concatenate([rows[:1], rows[:-1]]) if rows.ndim else rows


def early(rows):
    """The same a row earlier; the last row stays."""
    return np.concatenate([rows[1:], rows[-1:]]) if rows.ndim else rows


WHOLE = (
    ("every number has the other sign", lambda x: -x),
    ("it is the transpose: rows and columns are exchanged", lambda x: x.T),
    ("its rows are in reverse order", lambda x: x[::-1] if x.ndim else x),
    ("it is late by one row (one frame)", late),
    ("it is early by one row (one frame)", early),
    ("it is the square of what is wanted", lambda x: x**2),
    ("it is the root of what is wanted", lambda x: np.sqrt(np.abs(x))),
    ("it is 1 minus what is wanted", lambda x: 1 - x),
    ("it is 1 divided by what is wanted", lambda x: 1 / np.where(x == 0, np.inf, x)),
    ("every number lacks its sign", np.abs),
)


def by_a_factor(given, wanted):
    """Are they multiples of the right ones, or shifted by one number? None if not."""
    pairs = list(zip(given, wanted))
    factors = [np.sum(mine * want) / max(np.sum(want**2), 1e-30) for mine, want in pairs]
    if all(same(mine, k * want) for (mine, want), k in zip(pairs, factors)):
        some = sorted({f"{k:.3g}" for k in factors})
        if len(some) == 1:
            return f"it is {some[0]} times what is wanted; a factor too many, or too few"
        if all(want.size > 1 for want in wanted):
            which = ", ".join(some)
            return f"it is what is wanted times a factor that depends on the input ({which})"
    shifts = [np.mean(mine - want) for mine, want in pairs]
    if all(same(mine, want + k) for (mine, want), k in zip(pairs, shifts)):
        some = sorted({f"{k:+.3g}" for k in shifts})
        if len(some) == 1:
            return f"every number is off by {some[0]}"
    return None


def in_places(given, wanted, inputs):
    """Where they differ, with one number as an example."""
    wrong = [n for n, pair in enumerate(zip(given, wanted)) if not same(*pair)]
    mine, want = given[wrong[0]], wanted[wrong[0]]
    off = ~np.isclose(mine, want, rtol=1e-3, atol=1e-3)
    first = tuple(int(n) for n in np.argwhere(off)[0])
    where = inputs[wrong[0]] + (f"at {list(first)} " if first else "")
    text = f"{where}it should be {want[first]:.4g} and is {mine[first]:.4g}"
    if len(wrong) < len(given):
        text += f"; {len(given) - len(wrong)} of {len(given)} inputs come out right"
    if off.sum() < off.size:
        text += f"; {off.sum()} of {off.size} numbers are wrong{pattern(off)}"
    elif same(np.sort(mine, axis=None), np.sort(want, axis=None)):
        text += "; the numbers are right, their places are not"
    return text


def pattern(off):
    """In words, which entries of a table are off [n, m]; "" where there is no telling."""
    if off.ndim != 2 or off.shape[0] != off.shape[1]:
        return ""
    row, column = np.nonzero(off)
    words = {
        ", all on the diagonal": row == column,
        ", all above the diagonal": column > row,
        ", all below the diagonal": column < row,
    }
    return next((text for text, hits in words.items() if hits.all()), "")


def numbers(value):
    """Anything like an array -> float64 array."""
    value = value.detach().cpu() if torch.is_tensor(value) else value
    return np.asarray(value, dtype=np.float64)


def same(a, b):
    """Equal to three digits: in float32, 1 - abar of the first steps has no more."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-3, equal_nan=True)


def draws(seed, count, size=4):
    """`count` tensors [size] of N(0, 1)."""
    return list(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)))
