"""Which joint is which, in a skeleton whose joints are named by any program.

In reading order: what a name says, finding a joint, the joint that the body hangs on, the choice of
joints for --joints, and the 16 joints that all humans share.
"""

import contextlib
import re
from functools import lru_cache

import numpy as np

from body.motion import BvhError
from tools import fits_pattern

# ------------------------------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------------------------------
# What programs write for left and right. The letters come last
SIDES = (
    ("left", "right"), ("links", "rechts"), ("gauche", "droite"), ("sinistr", "destr"),
    ("izquierd", "derech"), ("esquerd", "direit"), ("左", "右"), ("lft", "rgt"), ("lf", "rt"),
    ("l", "r"),
)  # fmt: skip
TWIST = re.compile("twist|roll(?!er)|捩")  # joints that only twist a limb, in its middle


def side_and_stem(name):
    """The side and the rest of a joint's name, both in small letters; the side is "" in the middle.

    "mixamorig:LeftForeArm" -> ("left", "forearm"), "hand.R" -> ("right", "hand"),
    "Hips" -> ("", "hips"). In a skeleton, sides_and_stems finds more.
    """
    name = re.split("[:|]", name)[-1]
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
                return side, _letters(stem)
    return "", _letters(name)


def _letters(name):
    return re.sub(r"[\W_]", "", name).lower()


def sides_and_stems(names):
    """[(side, stem)] of all joints of a skeleton, as side_and_stem has them, in any spelling.

    A mark of a side counts where the same name with the other side's mark is there too: "lhand"
    beside "rhand", "LUArm" beside "RUArm", "HandL" beside "HandR". "lowerback" has no partner.
    """
    return [(side, stem) for side, stem, _ in _sided(tuple(names))]


@lru_cache(maxsize=16)
def _sided(names):
    """[(side, stem, index of the joint that has the other side's mark, or None)] of all joints."""
    small = {name.lower(): j for j, name in enumerate(names)}
    return [_with_partner(name.lower(), small) or (*side_and_stem(name), None) for name in names]


def _with_partner(name, small):
    """(side, stem, partner's index) of a name in small letters; None if no partner is found."""
    for marks in SIDES:
        for side, mark, other in (("left", *marks), ("right", *marks[::-1])):
            at = -1
            while (at := name.find(mark, at + 1)) >= 0:
                before, after = name[:at], name[at + len(mark) :]
                if before + other + after in small:
                    stem = re.split("[:|]", f"{before} {after}")[-1]
                    return side, _letters(stem), small[before + other + after]
    return None


def partners(motion):
    """[J]: each joint's partner on the other side; itself in the middle, None if it has none."""
    sided, joints, found = _sided(tuple(motion.names)), {}, []
    for j, (side, stem, _) in enumerate(sided):
        joints.setdefault((side, stem), []).append(j)
    for j, (side, stem, partner) in enumerate(sided):
        if side and partner is None:  # LHand and RightHand
            alike = joints.get(("right" if side == "left" else "left", stem), [])
            partner = alike[0] if len(alike) == 1 else None
        found.append(partner if side else j)
    return found


def dummies(motion):
    """Indices of joints such as "__Clavicle_L", which MakeHuman puts beside Clavicle_L [set]."""
    names = set(motion.names)
    return {
        j for j, name in enumerate(motion.names) if name[:1] == "_" and name.lstrip("_") in names
    }


# ------------------------------------------------------------------------------------------------
# Finding joints
# ------------------------------------------------------------------------------------------------
def first_joint(motion, side, stems):
    """Index of the joint of `side` ("left", "right", "") whose stem holds one of `stems`.

    `stems` are words with "|" between them. Of joints above each other it is the highest: the
    wrist, not the hand on it or a finger. Of others it is one with two joints of that side above
    it, or else with one: ik_hand_l hangs on no arm. Then the shortest name, then the first.
    Joints that twist and dummies count only where there is no other. BvhError if there is none.
    """
    known = sides_and_stems(motion.names)
    odd = dummies(motion)
    fits = [j for j, (s, stem) in enumerate(known) if s == side and re.search(stems, stem)]
    plain = [j for j in fits if j not in odd and not TWIST.search(known[j][1])]
    fits = plain or fits
    if not fits:
        names, word = ", ".join(motion.names[:6]), stems.partition("|")[0]
        raise BvhError(
            f"no {f'{side} {word}'.strip()} among the joints ({names}, ...); "
            f"name it like {side.title()}{word.title()}"
        )

    def order(j):
        return -min(2, len(_limb_above(motion, j))), len(known[j][1]), j

    return min((j for j in fits if not set(above(motion, j)) & set(fits)), key=order)


def _limb_above(motion, j):
    """The joints of j's side above it, from j to the trunk, without twist joints and dummies."""
    known, odd = sides_and_stems(motion.names), dummies(motion)
    return [
        i
        for i in above(motion, j)
        if known[i][0] == known[j][0] and i not in odd and not TWIST.search(known[i][1])
    ]


def above(motion, j):
    """Indices of joint j's parent, its parent's parent, and so on up to the root."""
    path = []
    while (j := int(motion.parents[j])) >= 0:
        path.append(j)
    return path


# Where the bones of a limb begin: the end, then the middle and the top, by words, the surer first.
# "leg" is the shin in LeftUpLeg, LeftLeg; "shoulder" the collar bone in LeftShoulder, LeftArm
WRIST, ANKLE, HEAD = "hand|wrist|手首", "foot|ankle|足首", "head|skull|頭"
ELBOW = ("fore|elbow|low(er)?arm|armlow|loarm|(?<!de)farm|radi|ulna|ひじ|肘",)
SHOULDER = ("arm(?!ature)|humer|shldr|腕", "shoulder")
KNEE = ("knee|shin|calf|tibia|low(er)?leg|leglow|loleg|ひざ|膝", "^(?!.*(up|thigh|femur)).*leg")
HIP = ("thigh|femur|up(per)?leg|legup|uleg", "hip")
OF_TRUNK = re.compile("clav|collar|scapula|blade|pelvis|buttock|hipjoint")  # sided, above a limb


def arm(motion, side):
    """Indices of (shoulder, elbow, wrist); BvhError where there are not three joints."""
    return _limb(motion, side, WRIST, ELBOW, SHOULDER)


def leg(motion, side):
    """Indices of (hip, knee, ankle); BvhError where there are not three joints."""
    return _limb(motion, side, ANKLE, KNEE, HIP)


def _limb(motion, side, ends, middles, tops):
    """(top, middle, end) of a limb, whose bones may have several joints each.

    A bone begins at the highest joint of its name. Where no name is known, upperarm01 and
    upperarm02 are one bone, and else each joint begins one.
    """
    end = first_joint(motion, side, ends)
    stems = [stem for _, stem in sides_and_stems(motion.names)]
    path = [j for j in _limb_above(motion, end) if not OF_TRUNK.search(stems[j])]
    if len(path) < 2:
        raise BvhError(
            f"the {side} limb that ends in {motion.names[end]!r} has fewer than three joints; "
            "this is no skeleton of a human"
        )
    middle = _begin([stems[j] for j in path[:-1]], middles)
    top = middle + 1 + _begin([stems[j] for j in path[middle + 1 :]], tops)
    return path[top], path[middle], end


def _begin(stems, words):
    """Where in `stems`, from the end of a limb to the trunk, the lowest bone begins."""
    for word in words:
        if found := [n for n, stem in enumerate(stems) if re.search(word, stem)]:
            return found[-1]
    plain = [re.sub(r"\d", "", stem) for stem in stems]
    return next((n for n, stem in enumerate(plain[1:]) if stem != plain[0]), len(stems) - 1)


def hand_joints(motion):
    """Indices of the (left, right) wrist."""
    return [first_joint(motion, side, WRIST) for side in ("left", "right")]


def has_feet(motion):
    """Is a joint of either side called a foot or an ankle? Upper bodies have none."""
    for side in ("left", "right"):
        with contextlib.suppress(BvhError):
            return first_joint(motion, side, ANKLE) >= 0
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
    for stems in (ANKLE, HIP[0]):
        with contextlib.suppress(BvhError):
            left, right = (first_joint(motion, side, stems) for side in ("left", "right"))
            break
    else:
        return 0
    hips = max(set(above(motion, left)) & set(above(motion, right)), default=0)
    n = len(motion) // 2
    p = motion.cut(slice(n, n + 1)).points()[0][0]  # [J + E, 3]
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

    "upper" drops what carries a leg (the root too) and what hangs on a leg; "no-fingers" drops
    what hangs on the wrists. Other words are names, with * and ?; without any, all joints are
    meant. "upper" and "no-fingers" narrow what the names chose. Raises BvhError if a name fits no
    joint or no joint is left.
    """
    words = [word.strip() for word in words.split(",") if word.strip()]
    upper, no_fingers = "upper" in words, "no-fingers" in words
    patterns = [word for word in words if word not in ("upper", "no-fingers")]
    hands = hand_joints(motion) if upper or no_fingers else []
    for pattern in patterns:
        if not any(fits_pattern(name, pattern) for name in motion.names):
            names = ", ".join(motion.names)
            raise BvhError(f"--joints {pattern}: no joint has such a name; there are {names}")

    def named(name):
        return not patterns or any(fits_pattern(name, pattern) for pattern in patterns)

    chosen = [j for j, name in enumerate(motion.names) if named(name)]
    if no_fingers:
        chosen = [j for j in chosen if not set(hands) & set(above(motion, j))]
    if upper and has_feet(motion):  # an upper body is chosen whole
        legs = _of_the_legs(motion)
        chosen = [j for j in chosen if j not in legs]
    if not chosen:
        raise BvhError(f"--joints {','.join(words)}: leaves no joint; choose more")
    return chosen


def _of_the_legs(motion):
    """Indices of what carries a leg, hangs on one, or follows a foot [set]."""
    feet = [first_joint(motion, side, ANKLE) for side in ("left", "right")]
    left, right = ({foot, *above(motion, foot)} for foot in feet)
    limbs = left ^ right  # thighs, shins, feet
    hanging = {j for j in range(len(motion.names)) if limbs & set(above(motion, j))}
    stems = [stem for _, stem in sides_and_stems(motion.names)]
    following = {j for j, stem in enumerate(stems) if re.search(ANKLE, stem)}
    return left | right | hanging | following


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

    Programs agree on the names of wrists, ankles, head and neck. (Is LeftShoulder the collar bone
    or the upper arm?) The others follow from names and the hierarchy together: see _limb. The chest
    is where the arms meet, the hips where the legs meet; without a neck, the joint that carries the
    head.
    """
    legs = [leg(motion, side) for side in ("left", "right")]
    _, chest, neck, head, *arms = upper_joints(motion)
    hips = _meeting(motion, legs)
    return [hips, chest, neck, head, *arms[:3], *legs[0], *arms[3:], *legs[1]]


def upper_joints(motion):
    """The same without the legs, as of an upper body: 10 indices. The first is the root's."""
    arms = [arm(motion, side) for side in ("left", "right")]
    chest = _meeting(motion, arms)
    head, known = _head(motion, chest), sides_and_stems(motion.names)
    necks = (j for j in reversed(above(motion, head)) if "neck" in known[j][1])
    neck = next(necks, int(motion.parents[head]))
    if neck < 0:
        raise BvhError(f"{motion.names[head]} is the root; a body hangs on its hips")
    return [body_root(motion), chest, neck, head, *arms[0], *arms[1]]


def _head(motion, chest):
    """Index of the head: by name, else the end of what goes up from the chest on neither side."""
    with contextlib.suppress(BvhError):
        return first_joint(motion, "", HEAD)
    known, j = sides_and_stems(motion.names), chest
    while True:
        up = [i for i in np.flatnonzero(motion.parents == j) if not known[i][0]]
        if len(up) != 1:
            break
        j = int(up[0])
    return j if j != chest else first_joint(motion, "", f"{HEAD}|nose")


def legs_of(motion):
    """((hip, knee, ankle) of the left leg, of the right leg); None where a leg or a bone lacks."""
    try:
        legs = [leg(motion, side) for side in ("left", "right")]
    except BvhError:
        return None
    p = motion.cut(slice(1)).joint_positions()[0]  # [J, 3]
    bones = [np.linalg.norm(np.diff(p[list(leg)], axis=0), axis=1) for leg in legs]
    rooted = all(leg[0] > 0 for leg in legs)
    return tuple(legs) if rooted and np.min(bones) > 0 else None


def _meeting(motion, limbs):
    """The lowest joint above both limbs; BvhError if there is none."""
    left, right = (above(motion, limb[0]) for limb in limbs)
    both = [j for j in left if j in right]
    if not both:
        names = " and ".join(motion.names[limb[0]] for limb in limbs)
        raise BvhError(f"no joint carries both {names}; a body hangs on its hips")
    return both[0]
