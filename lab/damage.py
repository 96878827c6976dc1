"""Damage on purpose, drawn from a seed: one to a checkpoint, a few to a BVH file or a sound.

    damaged_checkpoint(state, seed)    a value is exchanged, left out or put where none belongs
    damaged_bvh(data, seed)            words, numbers, lines and bytes of a file
    damaged_sound(data, seed)          bytes of a file, mostly of its head, where a sound's form is

Each gives what was damaged, and in words how.
"""

import copy
import random

import torch

# ------------------------------------------------------------------------------------------------
# Checkpoints
# ------------------------------------------------------------------------------------------------
ODD = (
    None, True, False, -1, 0, 1, 2, 3, 7, 10**7, 10**30, -0.5, 0.5, 1e-300, 1e308, -1e308,
    float("nan"), float("inf"), "", "x", "\n}", "a" * 20_000, "places", "mel", "sum", [], [1, 2, 3],
    [[]], {}, {"a": 1}, torch.zeros(()), torch.zeros(3), torch.full((40,), float("nan")),
    torch.zeros(3, dtype=torch.int64),
)  # fmt: skip


def damaged_checkpoint(state, seed):
    """A checkpoint's dictionary -> (a copy with one damage, where it is as text)."""
    draw, state = random.Random(seed), copy.deepcopy(state)
    parent, key, path = None, None, []
    here = state
    while isinstance(here, dict | list) and here and (not path or draw.random() < 0.8):
        parent, key = here, draw.choice(list(here) if isinstance(here, dict) else range(len(here)))
        here = parent[key]
        path.append(str(key))
    how, value = draw.choice(changes(here))
    if how == "gone":
        del parent[key]
    elif how == "beside":
        parent["another" if isinstance(parent, dict) else slice(key, key)] = [value]
    else:
        parent[key] = value(here) if callable(value) else value
    return state, f"{'.'.join(path)}: {how}"


def changes(here):
    """The damages that a value can suffer: [(name, value, function of the old value or None)]."""
    odd = [(f"becomes {str(value)[:20]!r}", value) for value in ODD]
    if isinstance(here, torch.Tensor):
        return odd[::4] + [
            ("nan in it", lambda x: x.clone().flatten().index_fill(
                0, torch.tensor([0]), float("nan")).view(x.shape)),
            ("turned", lambda x: x.movedim(0, -1)),
            ("whole numbers", lambda x: x.long()),
            ("complex", lambda x: x.float() * 1j),
            ("sparse", lambda x: x.float().to_sparse()),
            ("a million times as long", lambda x: x.flatten()[:1].expand(10**9)),
            ("huge", lambda x: x.float() * 1e30),
        ]  # fmt: skip
    if isinstance(here, list):
        odd += [("twice", lambda x: x * 2), ("backwards", lambda x: x[::-1])] * 5
    if isinstance(here, int | float) and not isinstance(here, bool):
        odd += [("times 1000", lambda x: x * 1000), ("less 1", lambda x: x - 1)] * 5
    return odd + [("gone", None), ("beside", 1)] * 5


# ------------------------------------------------------------------------------------------------
# BVH
# ------------------------------------------------------------------------------------------------
ODD_WORDS = (
    b"", b"0", b"-1", b"3", b"1e308", b"-1e-308", b"1e999", b"nan", b"inf", b"0x10", b"1,5", b"1_0",
    b"1.2.3", b"--1", b"10000000", b"99999999999999999999", b"{", b"}", b"\0", b"\xff\xfe", b"ROOT",
    b"JOINT", b"End Site", b"OFFSET", b"CHANNELS", b"MOTION", b"Frames:", b"Frame Time:",
    b"HIERARCHY", b"Xrotation", b"Wrotation", b"Xposition", b"a" * 5000, b"#", b'"',
    "\u00fc\u202e".encode(),
)  # fmt: skip


def damaged_bvh(data, seed):
    """The bytes of a BVH file -> (the same with one to three damages, how as text)."""
    draw, said = random.Random(seed), []
    for _ in range(draw.choice((1, 1, 2, 3))):
        what, change = draw.choice(
            (("a word", _word), ("a line", _line), ("its head", _head), ("bytes", _bytes))
        )
        data = change(data, draw)
        said.append(what)
    if draw.random() < 0.05:
        form = draw.choice(("utf-16", "utf-8-sig", "utf-32"))
        data, said = data.decode("latin-1").encode(form), [*said, form]
    return data, " and ".join(said)


def _word(data, draw):
    """Another word in the place of one, mostly in the hierarchy, where each of them counts."""
    end = data.find(b"MOTION") + 200 if draw.random() < 0.8 else len(data)
    lines = data[:end].split(b"\n")
    n = draw.randrange(len(lines))
    words = lines[n].split(b" ")
    words[draw.randrange(len(words))] = draw.choice(ODD_WORDS)
    lines[n] = b" ".join(words)
    return b"\n".join(lines) + data[end:]


def _line(data, draw):
    """A line is gone, there twice, exchanged with another, or there 2000 times."""
    lines = data.split(b"\n")
    n = draw.randrange(min(len(lines), draw.choice((30, 200, 10**6))))
    how = draw.randrange(4)
    if how == 0:
        del lines[n]
    elif how == 1:
        lines.insert(n, lines[n])
    elif how == 2:
        other = draw.randrange(len(lines))
        lines[n], lines[other] = lines[other], lines[n]
    else:
        lines[n:n] = [lines[n]] * 2000
    return b"\n".join(lines)


def _head(data, draw):
    """Another number of frames, or time of a frame."""
    key = draw.choice((b"Frames:", b"Frame Time:"))
    begin, found, rest = data.partition(key)
    old, new_line, rest = rest.partition(b"\n")
    return begin + found + b" " + draw.choice(ODD_WORDS) + new_line + rest


def _bytes(data, draw):
    """The file breaks off, or some bytes are others."""
    at = draw.randrange(max(1, len(data)))
    if draw.random() < 0.3:
        return data[:at]
    return data[:at] + draw.randbytes(draw.choice((1, 2, 8, 100))) + data[at + draw.randrange(9) :]


# ------------------------------------------------------------------------------------------------
# Sounds
# ------------------------------------------------------------------------------------------------
HEAD = 64  # bytes


def damaged_sound(data, seed):
    """The bytes of a sound file -> (the same with one to three damages, how as text)."""
    draw, data, said = random.Random(seed), bytearray(data), []
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(max(1, min(len(data), draw.choice((HEAD, HEAD, HEAD, 10**9)))))
        how = draw.choice(("a byte", "a number", "a number", "cut", "left out", "put in", "noise"))
        if how == "a byte":
            data[at : at + 1] = draw.randbytes(1)
        elif how == "a number":  # where WAV has its numbers: at even places, of 2 or 4 bytes
            size = draw.choice((2, 4))
            value = draw.choice((0, 1, 2, 3, 7, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
            data[at // 2 * 2 : at // 2 * 2 + size] = (value % 256**size).to_bytes(size, "little")
        elif how == "cut":
            del data[at:]
        elif how == "left out":
            del data[at : at + draw.choice((1, 4, 1000))]
        elif how == "put in":
            data[at:at] = draw.randbytes(draw.choice((1, 4, 1000)))
        else:
            data[at : at + 400] = draw.randbytes(400)
        said.append(f"{how} at {at}")
    return bytes(data), " and ".join(said)
