"""Which joint is which, in a skeleton whose joints are named by any program.

In reading order: what a name says, finding a joint by name, the joint that the body hangs on, the
choice of joints for --joints, the mirror image, and the 16 joints that all humans share.
"""

import contextlib
import fnmatch
import re
from dataclasses import replace

import numpy as np

from body.motion import BvhError


# ------------------------------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------------------------------
def side_and_stem(name):
    """The side and the rest of a joint's name, both in small letters; the side is "" in the middle.

    "mixamorig:LeftForeArm" -> ("left", "forearm"), "hand.R" -> ("right", "hand"),
    "Hips" -> ("", "hips").
    """
    name = name.rpartition(":")[2]
    for side in ("left", "right"):
        first = side[0]
        patterns = (
            f"(?i:{side})",  # the word, anywhere
            rf"(?i:(?<![^\W_]){first}(?![^\W_]))",  # its letter between separators: hand_l, L.Thigh
            rf"^[{first}{first.upper()}](?=[A-Z][a-z])",  # its letter before a capital: lHand
        )
        for pattern in patterns:
            stem, found = re.subn(pattern, "", name, count=1)
            if found:
                return side, re.sub(r"[\W_]", "", stem).lower()
    return "", re.sub(r"[\W_]", "", name).lower()


def first_joint(motion, side, stems):
    """Index of the first joint of `side` ("left", "right", "") whose stem holds one of `stems`.

    `stems` are words with "|" between them; an earlier word wins. Twist and roll joints come last:
    b_l_wrist_twist stands before b_l_wrist in the file, and sits in the middle of the forearm.
    Raises BvhError if there is none.
    """
    known = [(j, *side_and_stem(name)) for j, name in enumerate(motion.names)]
    known.sort(key=lambda joint: "twist" in joint[2] or "roll" in joint[2])
    words = stems.split("|")
    for word in words:
        for j, found_side, stem in known:
            if found_side == side and word in stem:
                return j
    names = ", ".join(motion.names[:6])
    raise BvhError(
        f"no {f'{side} {words[0]}'.strip()} among the joints ({names}, ...); "
        f"name it like {side.title()}{words[0].title()}"
    )


def above(motion, j):
    """Indices of joint j's parent, its parent's parent, and so on up to the root."""
    path = []
    while (j := int(motion.parents[j])) >= 0:
        path.append(j)
    return path


def hand_joints(motion):
    """Indices of the (left, right) wrist: the first joint of a side called hand or wrist."""
    return [first_joint(motion, side, "hand|wrist") for side in ("left", "right")]


def has_feet(motion):
    """Is a joint of either side called a foot or an ankle? Upper bodies have none."""
    for side in ("left", "right"):
        with contextlib.suppress(BvhError):
            return first_joint(motion, side, "foot|ankle") >= 0
    return False


# ------------------------------------------------------------------------------------------------
# The body's root
# ------------------------------------------------------------------------------------------------
def body_root(motion):
    """Index of the joint that the body hangs on.

    In most files it is the root, 0. In some the root stays on the ground and the hips below it
    walk. The hips are where the legs meet. They count as the body's root if they are farther from
    the root than a third of the body's height, which no bone is (seen in the middle frame).
    Otherwise the root walks too, like Bip01 above its pelvis.
    """
    try:
        stems = "upleg|thigh|foot|ankle"
        left, right = (first_joint(motion, side, stems) for side in ("left", "right"))
    except BvhError:
        return 0
    hips = max(set(above(motion, left)) & set(above(motion, right)), default=0)
    n = len(motion) // 2
    middle = replace(
        motion, rotations=motion.rotations[n : n + 1], positions=motion.positions[n : n + 1]
    )
    p = middle.points()[0][0]  # [J + E, 3]
    return hips if np.linalg.norm(p[hips] - p[0]) > np.ptp(p[:, 1]) / 3 else 0


def shown_points(motion):
    """motion.points() for drawing: what does not hang on the body's root is laid into it.

    A root on the ground, and what else hangs on it, is no part of the body.
    """
    points, parents = motion.points()  # [F, J + E, 3], [J + E]
    root, carried = body_root(motion), []
    for p, parent in enumerate(parents):  # parents come before their children
        carried.append(p == root or (parent >= 0 and carried[parent]))
    points[:, ~np.array(carried)] = points[:, [root]]
    return points, parents


# ------------------------------------------------------------------------------------------------
# --joints
# ------------------------------------------------------------------------------------------------
def choose_joints(motion, words):
    """Indices of the joints that `words` choose: "upper,no-fingers" or "Spine*,Neck,*Arm,*Hand".

    "upper" drops what carries a leg (the root too) and what hangs on a foot; "no-fingers" drops
    what hangs on the wrists. Other words are names, with * and ?; without any, all joints are
    meant. "upper" and "no-fingers" narrow what the names chose. Raises BvhError if a name fits no
    joint or no joint is left.
    """
    words = [word.strip() for word in words.split(",") if word.strip()]
    upper, no_fingers = "upper" in words, "no-fingers" in words
    patterns = [word for word in words if word not in ("upper", "no-fingers")]
    sides = ("left", "right")
    legs = upper and has_feet(motion)  # an upper body is chosen whole
    feet = [first_joint(motion, side, "foot|ankle") for side in sides] if legs else []
    hands = hand_joints(motion) if upper or no_fingers else []
    for pattern in patterns:
        if not fnmatch.filter(motion.names, pattern):
            names = ", ".join(motion.names)
            raise BvhError(f"--joints {pattern}: no joint has such a name; there are {names}")

    def named(name):
        return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    chosen = [j for j, name in enumerate(motion.names) if named(name)]
    if no_fingers:
        chosen = [j for j in chosen if not set(hands) & set(above(motion, j))]
    if upper:
        carries_a_leg = {j for foot in feet for j in (foot, *above(motion, foot))}
        on_a_foot = [j for j in chosen if set(feet) & set(above(motion, j))]
        chosen = [j for j in chosen if j not in carries_a_leg and j not in on_a_foot]
    if not chosen:
        raise BvhError(f"--joints {','.join(words)}: leaves no joint; choose more")
    return chosen


# ------------------------------------------------------------------------------------------------
# Mirror image
# ------------------------------------------------------------------------------------------------
OTHER_SIDE = {"left": "right", "right": "left", "": ""}


def mirror_pairs(motion):
    """(pairs [J], axis): each joint's partner on the other side, or itself; the axis across.

    Partners go by name. The axis, 0 to 2, goes by geometry: it is the one whose change of sign
    best turns every bone into its partner's. Raises BvhError if a joint has no partner, or if the
    bones of the two sides differ by more than a fifth of their length.
    """
    joints = {side_and_stem(name): j for j, name in enumerate(motion.names)}
    pairs = []
    for name in motion.names:
        side, stem = side_and_stem(name)
        if (OTHER_SIDE[side], stem) not in joints:
            raise BvhError(
                f"joint {name!r} has no partner on the other side, so the skeleton cannot be "
                "mirrored; rename it, or leave --mirror out"
            )
        pairs.append(joints[OTHER_SIDE[side], stem])
    pairs = np.array(pairs)  # [J]
    one_to_one = sorted(pairs) == list(range(len(pairs)))
    if not one_to_one or any(
        pairs[parent] != motion.parents[partner]
        for parent, partner in zip(motion.parents[1:], pairs[1:])
    ):
        raise BvhError(
            "the two sides of the skeleton are not built alike, so it cannot be mirrored; "
            "leave --mirror out"
        )
    return pairs, _axis_across(motion, pairs)


def _axis_across(motion, pairs):
    """The axis whose change of sign best turns every bone into its partner's: 0, 1 or 2."""
    bones, partners = motion.offsets[1:], motion.offsets[pairs[1:]]  # [J - 1, 3] each
    misfit = [np.linalg.norm(partners * _sign_at(axis) - bones) for axis in range(3)]
    axis = int(np.argmin(misfit))
    if misfit[axis] > 0.2 * np.linalg.norm(bones):
        raise BvhError(
            "the rest pose of the skeleton is not the same on both sides, so it cannot be "
            "mirrored; export it in a T-pose, or leave --mirror out"
        )
    return axis


def _sign_at(axis):
    """[3]: -1.0 at this axis, 1.0 at the two others; the diagonal of S in mirror()."""
    return np.where(np.arange(3) == axis, -1.0, 1.0)


def mirror(motion):
    """The mirror image, left for right: each joint stands where its partner did, with x negated.

    R'_j = S R_pair(j) S, where S = diag(1, 1, 1) but -1 at the axis across the body. The root
    rotates in the world, whose mirror is the plane x = 0: there the left S is diag(-1, 1, 1).
    Bones are mirrored too: arms of different lengths change sides. Twice gives the original.
    Raises BvhError as mirror_pairs does, and if the End Sites of the two sides differ.
    """
    pairs, axis = mirror_pairs(motion)
    inside, world = _sign_at(axis), _sign_at(0)  # [3] each
    left = np.where(np.arange(len(pairs))[:, None] == 0, world, inside)  # [J, 3]
    return replace(
        motion,
        offsets=motion.offsets[pairs] * left,
        end_sites=_mirrored_ends(motion, pairs, inside),
        rotations=motion.rotations[:, pairs] * left[:, :, None] * inside,  # [F, J, 3, 3]
        positions=motion.positions[:, pairs] * left,  # [F, J, 3]
    )


def _mirrored_ends(motion, pairs, inside):
    """The End Sites, each with its name and its partner's offset, mirrored."""
    ends = {}
    for j, _, offset in motion.end_sites:
        ends.setdefault(j, []).append(offset)
    if any(len(ends.get(pairs[j], [])) != len(offsets) for j, offsets in ends.items()):
        raise BvhError(
            "the End Sites of the two sides are not alike, so the skeleton cannot be mirrored; "
            "leave --mirror out"
        )
    mirrored = []
    for j, name, _ in motion.end_sites:
        offset = np.array(ends[pairs[j]].pop(0)) * inside
        mirrored.append((j, name, tuple(offset.tolist())))
    return mirrored


# ------------------------------------------------------------------------------------------------
# The joints that all humans share
# ------------------------------------------------------------------------------------------------
# fmt: off
COMMON_BODY = (
    "hips", "chest", "neck", "head",
    "left shoulder", "left elbow", "left wrist", "left hip", "left knee", "left ankle",
    "right shoulder", "right elbow", "right wrist", "right hip", "right knee", "right ankle",
)
COMMON_PARENTS = (-1, 0, 1, 2, 1, 4, 5, 0, 7, 8, 1, 10, 11, 0, 13, 14)
# fmt: on


def common_joints(motion):
    """Indices of the 16 joints of COMMON_BODY in any human skeleton; BvhError if one is missing.

    Only wrists, ankles, head and neck are looked up by name, because programs agree on these. (Is
    LeftShoulder the collar bone or the upper arm?) The others follow from the hierarchy: elbow and
    shoulder above the wrist, the chest where the arms meet, the hips where the legs meet; without
    a neck, the joint that carries the head.
    """
    legs = [_limb(motion, side, "foot|ankle") for side in ("left", "right")]
    _, chest, neck, head, *arms = upper_joints(motion)
    hips = _meeting(motion, legs)
    return [hips, chest, neck, head, *arms[:3], *legs[0], *arms[3:], *legs[1]]


def upper_joints(motion):
    """The same without the legs, as of an upper body: 10 indices. The first is the root's."""
    arms = [_limb(motion, side, "hand|wrist") for side in ("left", "right")]
    chest = _meeting(motion, arms)
    head = first_joint(motion, "", "head")
    necks = (j for j in reversed(above(motion, head)) if "neck" in _stem(motion, j))
    neck = next(necks, int(motion.parents[head]))
    return [body_root(motion), chest, neck, head, *arms[0], *arms[1]]


def _stem(motion, j):
    return side_and_stem(motion.names[j])[1]


def _limb(motion, side, stems):
    """(shoulder, elbow, wrist) or (hip, knee, ankle), without joints that only twist the limb."""
    end = first_joint(motion, side, stems)
    path = [j for j in above(motion, end) if not re.search("roll|twist", _stem(motion, j))]
    if len(path) < 3:
        raise BvhError(
            f"the {side} limb that ends in {motion.names[end]!r} has fewer than three joints; "
            "this is no skeleton of a human"
        )
    return path[1], path[0], end


def legs_of(motion):
    """((hip, knee, ankle) of the left leg, of the right leg); None where a leg or a bone lacks."""
    try:
        legs = [_limb(motion, side, "foot|ankle") for side in ("left", "right")]
    except BvhError:
        return None
    p = replace(motion, rotations=motion.rotations[:1], positions=motion.positions[:1])
    p = p.joint_positions()[0]  # [J, 3]
    bones = [np.linalg.norm(np.diff(p[list(leg)], axis=0), axis=1) for leg in legs]
    rooted = all(leg[0] > 0 for leg in legs)
    return tuple(legs) if rooted and np.min(bones) > 0 else None


def _meeting(motion, limbs):
    """The lowest joint above both limbs."""
    left, right = (above(motion, limb[0]) for limb in limbs)
    return next(j for j in left if j in right)
