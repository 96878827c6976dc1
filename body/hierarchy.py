"""The hierarchy of a BVH file: text before MOTION -> joints, parents, OFFSETs, channels, End Sites.

In reading order: the whole hierarchy, line by line; then what one line can say.
"""

import re

import numpy as np

from body.motion import BvhError

CHANNEL_NAMES = {
    f"{axis}{kind}".lower(): f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")
}
FAR = 1e9  # of lengths and degrees: more is no body in any unit
WITH_POINTS = "; its numbers have decimal commas: export it with decimal points"


def read_hierarchy(text):
    """Text before MOTION -> (names, parents [J], offsets [J, 3], channels, end_sites) of Motion."""
    names, parents, offsets, channels, end_sites = [], [], [], [], []
    known = set()  # the names once more: a list would be searched from end to end
    # `current` is what is being described: a joint's index, or ("end", joint, name) for an End
    # Site. `stack` holds one of these for each open brace.
    stack, current = [], None
    for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines():  # braces may share a line
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        word, rest = word.upper(), rest.strip()
        inside_joint = bool(stack) and isinstance(stack[-1], int)
        if word in ("ROOT", "JOINT"):
            _check_joint(word, rest, known, inside_joint)
            names.append(rest)
            known.add(rest)
            parents.append(stack[-1] if stack else -1)
            offsets.append(None)
            channels.append(())
            current = len(names) - 1
        elif word == "END":
            if not inside_joint:
                raise BvhError("an End Site stands outside the hierarchy; export the file again")
            current = ("end", stack[-1], rest.partition(" ")[2].strip())
        elif word == "{":
            if current is None:
                raise BvhError("an opening brace too many in the hierarchy; export the file again")
            stack.append(current)
        elif word == "}":
            if not stack:
                raise BvhError("a closing brace too many in the hierarchy; export the file again")
            stack.pop()
            current = stack[-1] if stack else None
        elif word == "OFFSET":
            offset = _three_numbers(rest, current)
            if isinstance(current, int):
                offsets[current] = offset
            else:
                end_sites.append((current[1], current[2], tuple(offset.tolist())))
        elif word == "CHANNELS" and isinstance(current, int):
            channels[current] = _channel_names(names[current], rest)
        elif word and word != "HIERARCHY":
            raise BvhError(
                f"{line.strip()[:40]!r} is no part of a BVH hierarchy; export the file again"
            )
    if not names or stack or any(offset is None for offset in offsets):
        raise BvhError("the hierarchy breaks off; the file was cut, copy or export it again")
    return names, np.array(parents), np.array(offsets), channels, end_sites


def _check_joint(word, name, names, inside_joint):
    """BvhError if the line `word` `name` (ROOT or JOINT) cannot stand where it stands."""
    if word == "ROOT" and names:
        raise BvhError("has two ROOT joints; split it into one file a body")
    if word == "JOINT" and not inside_joint:
        raise BvhError(f"JOINT {name!r} stands outside the hierarchy; export the file again")
    if name in names:
        raise BvhError(f"two joints are named {name!r}; rename one of them")


def _three_numbers(text, current):
    """What follows OFFSET -> [3]."""
    try:
        offset = np.array(text.split(), dtype=np.float64)
    except ValueError:
        offset = np.zeros(0)
    if offset.shape != (3,) or not (np.abs(offset) < FAR).all() or current is None:
        hint = WITH_POINTS if "," in text else ""
        raise BvhError(f"OFFSET needs three numbers, found {text[:40]!r}{hint}")
    return offset


def _channel_names(joint, text):
    """What follows CHANNELS -> ("Xposition", ...), whatever the case of its letters."""
    count, *found = text.split() or [""]
    names = tuple(CHANNEL_NAMES.get(channel.lower(), "") for channel in found)
    if count != str(len(found)) or "" in names or len(set(names)) < len(found):
        raise BvhError(
            f"joint {joint!r} has CHANNELS {text[:60]!r}, which cannot be read; "
            "export the file again"
        )
    return names


def is_a_name(text):
    """Can a BVH file hold this as the name of a joint, so that reading gives it back?"""
    if not isinstance(text, str) or set(text) & set("{}\t") or text.strip() != text:
        return False
    # A lone surrogate stands for a byte that was no letter: it cannot be written
    return text.splitlines() in ([], [text]) and text.encode("utf-8", "ignore").decode() == text
