"""Motion: BVH files <-> arrays, rotations, forward kinematics, and the pose features the model sees.

Reading order
    1. rotations          Euler angles <-> matrix <-> exponential map
    2. Motion             a skeleton and what it does, as arrays
    3. names              which joint is which, in anybody's skeleton; the mirror image; the common body
    4. resampling         any frame rate to any other
    5. read / write BVH   what real programs write, not what the format's page says
    6. PoseCodec          Motion <-> the standardised vectors that the diffusion model learns
    7. strokes            when the hands beat, and how far

Conventions, everywhere in this project
    positions are in the file's own unit (usually centimetres), Y is up, angles inside are radians;
    a rotation matrix R turns column vectors: v_parent = R @ v_child;
    F frames, J joints (End Sites are not joints: they have no channels).
"""
import contextlib
import fnmatch
import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


class BvhError(ValueError):
    """A motion file, or what it holds, cannot be used. The message names the file and says what to do."""


WITH_POINTS = "; its numbers have decimal commas: export it with decimal points"


# ------------------------------------------------------------------------------------------------
# 1. Rotations.  All functions work on any number of leading dimensions, written "..." below.
# ------------------------------------------------------------------------------------------------
def euler_to_matrix(angles, order):
    """Euler angles [..., k] in radians, about the axes in `order` (e.g. "ZXY") -> R [..., 3, 3].

    BVH multiplies in channel order: R = R_Z @ R_X @ R_Y for "ZXY". Any axes and any number of them work.
    """
    angles = np.asarray(angles, dtype=np.float64)
    R = np.broadcast_to(np.eye(3), angles.shape[:-1] + (3, 3)).copy()        # [..., 3, 3]
    for n, axis in enumerate(order):
        # Multiplying by a turn about one axis mixes the two other columns and leaves its own alone,
        # so two column updates replace a 3x3 product: several times faster than matmul.
        i, j = ("YZ", "ZX", "XY")["XYZ".index(axis)]
        i, j = "XYZ".index(i), "XYZ".index(j)
        cos, sin = np.cos(angles[..., n, None]), np.sin(angles[..., n, None])  # [..., 1]
        column_i, column_j = R[..., i].copy(), R[..., j].copy()              # [..., 3]
        R[..., i] = cos * column_i + sin * column_j
        R[..., j] = cos * column_j - sin * column_i
    return R


def matrix_to_euler(R, order):
    """R [..., 3, 3] -> angles [..., 3] in radians for three different axes, e.g. order "ZXY".

    For R = R_i(a) R_j(b) R_k(c) the entry R[i, k] is +-sin(b), and the entries beside it give a and c.
    At b = +-90 degrees (gimbal lock) only a +- c is determined; there c is set to 0.
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    even = 1.0 if (j - i) % 3 == 1 else -1.0                     # is (i, j, k) a cyclic shift of XYZ?
    b = np.arcsin(np.clip(even * R[..., i, k], -1, 1))
    locked = np.abs(R[..., i, k]) > 1 - 1e-10
    a = np.where(locked, np.arctan2(even * R[..., k, j], R[..., j, j]),
                 np.arctan2(-even * R[..., j, k], R[..., k, k]))
    c = np.where(locked, 0.0, np.arctan2(-even * R[..., i, j], R[..., i, i]))
    return np.stack([a, b, c], axis=-1)                          # [..., 3]


def smooth_angles(angles, of_two=False):
    """Euler angles [F, 3] that run on from frame to frame: the same rotations, without jumps of 180 or 360 degrees, for whoever edits the curves.

    Each rotation has two triples, (a, b, c) and (a + pi, pi - b, c + pi), and each of their angles has its like every 2 pi. matrix_to_euler
    takes the b within 90 degrees, so where a joint turns past that it hops to the other triple, at which curves jump though the joint does not.
    Whether the next frame's nearer triple is of the same kind does not depend on the kind of this one: so the kinds are a running sum of the changes.
    of_two: the joint turns about the first two axes only, so that triple is right whose c is 0.
    """
    def apart(a, b):                                 # the shorter way round
        return np.abs((a - b + np.pi) % (2 * np.pi) - np.pi)

    other = np.stack([angles[:, 0] + np.pi, np.pi - angles[:, 1], angles[:, 2] + np.pi], axis=-1)            # [F, 3]
    if of_two:
        hops = apart(angles[:, 2], 0) > np.pi / 2                            # [F]
    else:
        stay, hop = (apart(to[1:], angles[:-1]).sum(axis=1) for to in (angles, other))   # [F - 1] each
        hops = np.append(False, np.cumsum(hop < stay) % 2 == 1)              # [F]
    return np.unwrap(np.where(hops[:, None], other, angles), axis=0)


def exp_to_matrix(w):
    """Exponential map w [..., 3] (axis times angle, radians) -> R [..., 3, 3].  Rodrigues' formula:

    R = I + (sin t / t) K + ((1 - cos t) / t^2) K^2,  t = |w|,  K v = w x v.
    np.sinc carries both factors through t = 0, since (1 - cos t) / t^2 = sinc(t/2)^2 / 2.
    """
    w = np.asarray(w, dtype=np.float64)
    t = np.linalg.norm(w, axis=-1)[..., None, None]              # [..., 1, 1]
    K = np.zeros(w.shape[:-1] + (3, 3))                          # [..., 3, 3]
    K[..., 2, 1], K[..., 0, 2], K[..., 1, 0] = w[..., 0], w[..., 1], w[..., 2]
    K[..., 1, 2], K[..., 2, 0], K[..., 0, 1] = -w[..., 0], -w[..., 1], -w[..., 2]
    return np.eye(3) + np.sinc(t / np.pi) * K + 0.5 * np.sinc(t / (2 * np.pi)) ** 2 * (K @ K)


def matrix_to_exp(R):
    """R [..., 3, 3] -> exponential map [..., 3] with angle in [0, pi].

    The textbook arccos((trace - 1) / 2) loses half the digits near 0 and all of the axis near pi, so we
    pass through the quaternion (cos t/2, sin t/2 * axis), built from its largest entry (Shepperd 1978).
    """
    R = np.asarray(R, dtype=np.float64)
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    a = R[..., 2, 1] - R[..., 1, 2]
    b = R[..., 0, 2] - R[..., 2, 0]
    c = R[..., 1, 0] - R[..., 0, 1]
    d, e, f = R[..., 1, 0] + R[..., 0, 1], R[..., 0, 2] + R[..., 2, 0], R[..., 2, 1] + R[..., 1, 2]
    # Row n is the quaternion (w, x, y, z) times 4 * its own n-th entry.
    rows = np.stack([np.stack([1 + xx + yy + zz, a, b, c], -1), np.stack([a, 1 + xx - yy - zz, d, e], -1),
                     np.stack([b, d, 1 - xx + yy - zz, f], -1), np.stack([c, e, f, 1 - xx - yy + zz], -1)],
                    axis=-2)                                     # [..., 4, 4]
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)         # [...]
    q = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]  # [..., 4]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)                          # q and -q are one rotation: take t <= pi
    sin_half = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)            # [..., 1]
    t = 2 * np.arctan2(sin_half, q[..., :1])
    return q[..., 1:] * np.where(sin_half > 1e-12, t / np.maximum(sin_half, 1e-12), 2.0)


def mean_rotation(R):
    """The rotation nearest to the average of R [n, 3, 3] (least squares, by SVD) -> [3, 3]."""
    U, _, Vt = np.linalg.svd(np.mean(R, axis=0))
    return U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt


def turn_about_y(angle):
    """Headings [...] in radians -> R [..., 3, 3] about the vertical; it carries +Z towards +X."""
    return euler_to_matrix(np.asarray(angle)[..., None], "Y")


# ------------------------------------------------------------------------------------------------
# 2. Motion
# ------------------------------------------------------------------------------------------------
@dataclass
class Motion:
    """A skeleton and its movement. Arrays are float64."""
    names: list            # J joint names, each parent before its children
    parents: np.ndarray    # [J] index of the parent, -1 for the root
    offsets: np.ndarray    # [J, 3] where a joint sits in its parent's frame at rest
    channels: list         # J tuples such as ("Xposition", ..., "Zrotation"): what a BVH row holds
    end_sites: list        # (joint index, name or "", (x, y, z)): finger tips, top of the head
    frame_time: float      # seconds between frames
    rotations: np.ndarray  # [F, J, 3, 3] in the parent's frame
    positions: np.ndarray  # [F, J, 3] in the parent's frame: the offset, unless the joint has position channels

    def __len__(self):
        return len(self.rotations)

    def world(self):
        """Forward kinematics -> (orientations [F, J, 3, 3], positions [F, J, 3]) in the world.

        A joint's place is its parent's place plus its own translation turned by all that is above it.
        """
        R, p = np.empty_like(self.rotations), np.empty_like(self.positions)
        for j, parent in enumerate(self.parents):
            if parent < 0:
                R[:, j], p[:, j] = self.rotations[:, j], self.positions[:, j]
            else:
                R[:, j] = R[:, parent] @ self.rotations[:, j]
                p[:, j] = p[:, parent] + (R[:, parent] @ self.positions[:, j, :, None])[..., 0]
        return R, p

    def joint_positions(self):
        """World positions of the joints [F, J, 3], in the file's units."""
        return self.world()[1]

    def points(self):
        """What one draws: joints, then End Sites -> (positions [F, J + E, 3], parents [J + E])."""
        R, p = self.world()
        ends = [p[:, j] + R[:, j] @ np.asarray(offset) for j, _, offset in self.end_sites]
        points = np.concatenate([p] + [e[:, None] for e in ends], axis=1)    # [F, J + E, 3]
        return points, np.concatenate([self.parents, [j for j, _, _ in self.end_sites]]).astype(int)

    def body_height(self):
        """Vertical extent of the body, averaged over the frames, in the file's units."""
        y = self.points()[0][..., 1]
        return float(np.mean(y.max(axis=1) - y.min(axis=1)))


@contextlib.contextmanager
def named(path):
    """Within it an OSError says which file it is about: that of a write to a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def written_beside(path):
    """Yields a temporary path beside `path` and renames it on success, so no half-written file is ever seen."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")    # one name: what a killed run left is overwritten by the next
    try:
        with named(path):
            yield beside
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------
# 3. Which joint is which
# ------------------------------------------------------------------------------------------------
def side_and_stem(name):
    """What a joint's name says: "mixamorig:LeftForeArm" -> ("left", "forearm"), "hand.R" -> ("right", "hand"), "Hips" -> ("", "hips")."""
    name = name.rpartition(":")[2]
    for side in ("left", "right"):
        # The word anywhere; else its first letter between separators (hand_l, L.Thigh); else before a capital (lHand).
        for pattern in (f"(?i:{side})", rf"(?i:(?<![^\W_]){side[0]}(?![^\W_]))", rf"^[{side[0]}{side[0].upper()}](?=[A-Z][a-z])"):
            stem, found = re.subn(pattern, "", name, count=1)
            if found:
                return side, re.sub(r"[\W_]", "", stem).lower()
    return "", re.sub(r"[\W_]", "", name).lower()


def hand_joints(motion):
    """Indices of the (left, right) wrist, found by name: the first joint of a side called hand or wrist."""
    return [_first_joint(motion, side, "hand|wrist") for side in ("left", "right")]


def hands_of(motion):
    """Where both wrists are, seen from the body's root: [F, 2, 3] in body heights, left and right."""
    p = motion.joint_positions()
    return (p[:, hand_joints(motion)] - p[:, [body_root(motion)]]) / motion.body_height()


def _first_joint(motion, side, stems):
    """Index of the first joint of this side ("left", "right", "") whose stem matches one of `stems`, by the order of the words."""
    known = [(j, *side_and_stem(name)) for j, name in enumerate(motion.names)]
    known.sort(key=lambda joint: "twist" in joint[2] or "roll" in joint[2])  # last: b_l_wrist_twist comes before b_l_wrist, and sits in the middle of the forearm
    for word in stems.split("|"):
        for j, found, stem in known:
            if found == side and word in stem:
                return j
    what = stems.split("|")[0]
    raise BvhError(f"no {f'{side} {what}'.strip()} among the joints ({', '.join(motion.names[:6])}, ...); name it like {side.title()}{what.title()}")


def _above(motion, j):
    """Joint j's parent, its parent, ... up to the root: indices."""
    path = []
    while (j := int(motion.parents[j])) >= 0:
        path.append(j)
    return path


def body_root(motion):
    """Index of the joint that the body hangs on. In most files it is the root; in some the root stays on the ground, and the hips below it walk.

    These are where the legs meet, and farther from the root than any bone of a body is long: a third of its height, looked at in the middle frame. (In
    others the legs meet below a root that walks too, as Bip01 and its pelvis: there it is the root.)
    """
    try:
        left, right = (_first_joint(motion, side, "upleg|thigh|foot|ankle") for side in ("left", "right"))
    except BvhError:
        return 0
    hips = max(set(_above(motion, left)) & set(_above(motion, right)), default=0)
    middle = slice(len(motion) // 2, len(motion) // 2 + 1)
    p = replace(motion, rotations=motion.rotations[middle], positions=motion.positions[middle]).points()[0][0]             # [P, 3]
    return hips if np.linalg.norm(p[hips] - p[0]) > np.ptp(p[:, 1]) / 3 else 0


def shown_points(motion):
    """motion.points(), as they are drawn: what does not hang on the body's root, a root on the ground and all else on it, is laid into that root, for it is no bone and nobody's place."""
    points, parents = motion.points()                                        # [F, P, 3], [P]
    root, carried = body_root(motion), []
    for p, parent in enumerate(parents):             # parents come before their children
        carried.append(p == root or (parent >= 0 and carried[parent]))
    points[:, ~np.array(carried)] = points[:, [root]]
    return points, parents


def choose_joints(motion, words):
    """Indices of the joints that `words` choose, for --joints: "upper,no-fingers" or "Spine*,Neck,*Arm,*Hand".

    "upper" is what carries no leg, so without the root, which the legs move; "no-fingers" is all but what hangs below
    the wrists; other words are names, with * and ?. "upper" and "no-fingers" narrow what the names chose, or all.
    """
    J, words = len(motion.names), [w.strip() for w in words.split(",") if w.strip()]
    feet = [_first_joint(motion, side, "foot|ankle") for side in ("left", "right")] if "upper" in words else []
    hands = hand_joints(motion) if {"upper", "no-fingers"} & set(words) else []
    lines = [[j, *_above(motion, j)] for j in range(J)]      # a joint and all that it hangs on
    patterns = [w for w in words if w not in ("upper", "no-fingers")]
    for pattern in patterns:
        if not fnmatch.filter(motion.names, pattern):
            raise BvhError(f"--joints {pattern}: no joint has such a name; there are {', '.join(motion.names)}")
    chosen = [j for j in range(J) if not patterns or any(fnmatch.fnmatchcase(motion.names[j], p) for p in patterns)]
    if "no-fingers" in words:
        chosen = [j for j in chosen if not set(hands) & set(lines[j][1:])]
    if "upper" in words:
        carries_a_leg = {k for foot in feet for k in lines[foot]}
        chosen = [j for j in chosen if j not in carries_a_leg and not set(feet) & set(lines[j])]
    if not chosen:
        raise BvhError(f"--joints {','.join(words)}: leaves no joint; choose more")
    return chosen


def mirror_pairs(motion):
    """(pairs [J]: each joint's partner on the other side, or itself, by name; axis 0, 1 or 2: across the body, by geometry).

    The axis is the one along which turning the sign of every bone best gives its partner's bone. Raises BvhError where
    a joint has no partner, or where the rest pose is not the same on both sides (a fifth of the bones' lengths off).
    """
    where, other = {side_and_stem(name): j for j, name in enumerate(motion.names)}, {"left": "right", "right": "left", "": ""}
    pairs = []
    for name in motion.names:
        side, stem = side_and_stem(name)
        if (other[side], stem) not in where:
            raise BvhError(f"joint {name!r} has no partner on the other side, so the skeleton cannot be mirrored; rename it, or leave --mirror out")
        pairs.append(where[other[side], stem])
    pairs = np.array(pairs)
    if sorted(pairs) != list(range(len(pairs))) or any(pairs[p] != motion.parents[k] for p, k in zip(motion.parents[1:], pairs[1:])):
        raise BvhError("the two sides of the skeleton are not built alike, so it cannot be mirrored; leave --mirror out")
    bones = motion.offsets[1:]                                               # [J - 1, 3]
    misfit = [np.linalg.norm(motion.offsets[pairs[1:]] * np.where(np.arange(3) == axis, -1, 1) - bones) for axis in range(3)]
    axis = int(np.argmin(misfit))
    if misfit[axis] > 0.2 * np.linalg.norm(bones):
        raise BvhError("the rest pose of the skeleton is not the same on both sides, so it cannot be mirrored; export it in a T-pose, or leave --mirror out")
    return pairs, axis


def mirror(motion):
    """The mirror image, left for right: every joint stands at its partner's place with x of the opposite sign.

    With S = diag(1, 1, 1) but -1 at the axis across the body, R'_j = S R_pair(j) S; the root turns in the world, whose
    mirror is the plane x = 0, so there the left S is diag(-1, 1, 1). Bones are mirrored with the motion: two arms of
    different lengths change sides. Twice is the original.
    """
    pairs, axis = mirror_pairs(motion)
    inside, world = np.where(np.arange(3) == axis, -1.0, 1.0), np.array([-1.0, 1.0, 1.0])
    left = np.where(np.arange(len(pairs))[:, None] == 0, world, inside)      # [J, 3]
    ends = {}
    for j, _, offset in motion.end_sites:
        ends.setdefault(j, []).append(offset)
    if any(len(ends.get(pairs[j], [])) != len(offsets) for j, offsets in ends.items()):
        raise BvhError("the End Sites of the two sides are not alike, so the skeleton cannot be mirrored; leave --mirror out")
    end_sites = [(j, name, tuple((np.array(ends[pairs[j]].pop(0)) * inside).tolist())) for j, name, _ in motion.end_sites]
    return replace(motion, offsets=motion.offsets[pairs] * left, end_sites=end_sites,
                   rotations=motion.rotations[:, pairs] * left[:, :, None] * inside,                         # [F, J, 3, 3]
                   positions=motion.positions[:, pairs] * left)              # [F, J, 3]


COMMON_BODY = ("hips", "chest", "neck", "head", *(f"{side} {part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")))
COMMON_PARENTS = (-1, 0, 1, 2, 1, 4, 5, 0, 7, 8, 1, 10, 11, 0, 13, 14)


def common_joints(motion):
    """Indices of the 16 joints of COMMON_BODY in any skeleton of a human.

    Only wrists, ankles, head and neck are looked up by name: programs agree on these. The other joints have a different name
    in each program (is LeftShoulder the collar bone or the upper arm?), but all stand where the hierarchy says: elbow and
    shoulder above the wrist, the chest where the two arms meet, the hips where the legs do; without a neck, what carries the head.
    """
    arms, legs = [], []
    for side in ("left", "right"):
        for limbs, stems in ((arms, "hand|wrist"), (legs, "foot|ankle")):
            end = _first_joint(motion, side, stems)
            # joints that only twist a limb (ForeArmRoll, thigh_twist) are passed over
            path = [j for j in _above(motion, end) if not re.search("roll|twist", side_and_stem(motion.names[j])[1])]
            if len(path) < 3:
                raise BvhError(f"the {side} limb that ends in {motion.names[end]!r} has fewer than three joints; this is no skeleton of a human")
            limbs.append((path[1], path[0], end))
    chest, hips = (next(j for j in _above(motion, left[0]) if j in _above(motion, right[0])) for left, right in (arms, legs))
    head = _first_joint(motion, "", "head")
    neck = next((j for j in reversed(_above(motion, head)) if "neck" in side_and_stem(motion.names[j])[1]), int(motion.parents[head]))
    return [hips, chest, neck, head, *arms[0], *legs[0], *arms[1], *legs[1]]


def common_body(motion):
    """The motion of the 16 joints of COMMON_BODY, in one size for everybody -> [F, 16, 3].

    The unit is the length of a body from ankle to head along its joints, averaged over the frames and both legs; so
    raised arms or a crouch do not change it, as they would body_height().
    """
    p = motion.joint_positions()[:, common_joints(motion)]                   # [F, 16, 3]
    bone = np.linalg.norm(p[:, 1:] - p[:, COMMON_PARENTS[1:]], axis=-1).mean(axis=0)         # [15]
    name = dict(zip(COMMON_BODY[1:], bone))
    size = name["chest"] + name["neck"] + name["head"] + sum(name[f"{side} {part}"] for side in ("left", "right") for part in ("knee", "ankle")) / 2
    if not size > 0:
        raise BvhError("all joints of the body stand in one place; check the export")
    return p / size


# ------------------------------------------------------------------------------------------------
# 4. Resampling
# ------------------------------------------------------------------------------------------------
def resample(motion, fps):
    """The same motion at `fps` frames a second: frame n is the pose at n / fps seconds, from frame 0 on."""
    return _between(motion, *_neighbours(len(motion), motion.frame_time, fps), 1 / fps)


USUAL_RATES = (24, 25, 30, 48, 50, 60, 90, 100, 120, 240, 15, 72, 75, 24 / 1.001, 30 / 1.001, 60 / 1.001)     # frames a second, the likelier first; the last three are film's and television's


def rate_of(frame_time):
    """Frames a second. 0.008333 is meant as 1/120: files round to six digits, and that would drift."""
    rate = 1 / frame_time
    return round(rate) if round(rate) > 0 and abs(1 / round(rate) - frame_time) < 1e-6 else rate


def _meant_by(text):
    """The Frame Time that a file's `text` stands for: 0.0167 for 1/60, if its three to five decimals are those of a usual rate, rounded, or cut off (four or five).

    Taken by its letters the motion would go away from its sound, in ten minutes by 1.2 s. A whole rate is meant as it stands, 0.008 as 125. (Six decimals: rate_of.)
    """
    time, text = float(text), text.rstrip("0")
    if re.fullmatch(r"0*\.\d{3,5}", text) and time > 0 and abs(1 / time - round(1 / time)) > 1e-6:
        unit = 10.0 ** -len(text.partition(".")[2])
        return next((t for t in (1 / rate for rate in USUAL_RATES) if abs(t - time) <= unit / 2 or unit < 1e-3 and 0 < t - time < unit), time)
    return time


def _neighbours(frames, frame_time, fps):
    """Which source frames a motion at `fps` is made of -> (before [n], after [n], u [n]): the pose u of the way between."""
    rate = rate_of(frame_time)
    count = int(np.floor((frames - 1) * fps / rate + 1e-6)) + 1
    at = np.minimum(np.arange(count) * rate / fps, frames - 1)               # in source frames, [count]
    at = np.where(np.abs(at - np.round(at)) < 1e-6, np.round(at), at)        # whole ones are taken as they are
    before, after = np.floor(at).astype(int), np.ceil(at).astype(int)
    return before, after, at - before


def _between(motion, before, after, u, frame_time):
    """Poses between frames `before` and `after`, `u` of the way.

    Rotations go along the shortest arc between their two neighbours (slerp), R0 exp(u log(R0^T R1)):
    dropping frames of a 29.97 fps file would be up to half a frame out, and drift against the sound.
    """
    rotations, R1 = motion.rotations[before], motion.rotations[after]        # [count, J, 3, 3]
    if np.any(u):
        rotations = rotations @ exp_to_matrix(u[:, None, None] * matrix_to_exp(np.swapaxes(rotations, -1, -2) @ R1))
    w = u[:, None, None]
    positions = (1 - w) * motion.positions[before] + w * motion.positions[after]  # [count, J, 3]
    return replace(motion, frame_time=frame_time, rotations=rotations, positions=positions)


# ------------------------------------------------------------------------------------------------
# 5. BVH files
# ------------------------------------------------------------------------------------------------
CHANNEL_NAMES = {f"{axis}{kind}".lower(): f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}


def read_bvh(path, fps=None):
    """Read a BVH file -> Motion. Raises BvhError, naming the file, for anything that is not one sound take.

    Position channels replace the joint's OFFSET (as in Blender, MotionBuilder and the ZEGGS data), on the
    root and on inner joints alike. The rows must be as many as `Frames:` says: a file whose count lies has
    usually been cut off in a transfer, and nobody would notice that the speech goes on without it. (0 is what BvhStream
    tells a pipe: then all rows count.)

    With fps, the result is that of resample(read_bvh(path), fps), but only the frames that this needs are turned into
    numbers: one in six of a file of 120 fps, and reading digits is what takes the time. The others are counted, not read.
    """
    head, body = _split_at_motion(path, Path(path).read_bytes())
    names, parents, offsets, channels, end_sites = _read_hierarchy(path, head)
    frame_time, rows, neighbours = _read_rows(path, body, sum(len(c) for c in channels), fps)

    F, J = len(rows), len(names)
    rotations = np.broadcast_to(np.eye(3), (F, J, 3, 3)).copy()              # [F, J, 3, 3]
    positions = np.broadcast_to(offsets, (F, J, 3)).copy()                   # [F, J, 3]
    starts = np.cumsum([0] + [len(c) for c in channels])
    by_order = {}                                    # joints with the same axis order are turned together
    for j, joint_channels in enumerate(channels):
        for n, channel in enumerate(joint_channels):
            if channel.endswith("position"):
                positions[:, j, "XYZ".index(channel[0])] = rows[:, starts[j] + n]
        turns = [(starts[j] + n, c[0]) for n, c in enumerate(joint_channels) if c.endswith("rotation")]
        by_order.setdefault("".join(axis for _, axis in turns), []).append((j, [column for column, _ in turns]))
    for order, joints in by_order.items():
        if order:
            columns = np.array([column for _, column in joints])             # [joints, len(order)]
            rotations[:, [j for j, _ in joints]] = euler_to_matrix(np.radians(rows[:, columns]), order)
    motion = Motion(names, parents, offsets, channels, end_sites, frame_time, rotations, positions)
    return _between(motion, *neighbours, 1 / fps) if fps else motion


def read_skeleton(path):
    """(joint names, parents [J], offsets [J, 3]) of a BVH file: its first lines, without the motion, however long that is."""
    data = b""
    with open(path, "rb") as file:
        while not re.search(rb"^[ \t]*MOTION", data, flags=re.MULTILINE | re.IGNORECASE) and (more := file.read(65_536)):
            data += more
    return _read_hierarchy(path, _split_at_motion(path, data + b"\n")[0])[:3]


def _split_at_motion(path, data):
    """A file's bytes -> (hierarchy as text, what follows the line MOTION as bytes)."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BvhError(f"{path}: is text of two bytes a letter (UTF-16); save it as UTF-8")
    if data.find(b"\n", 0, -1) < 0:                  # lines that end as on old Macs
        data = data.replace(b"\r", b"\n")
    parts = re.split(rb"^[ \t]*MOTION[ \t]*\r?$", data, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE)
    if len(parts) != 2 or b"HIERARCHY" not in parts[0].upper():
        raise BvhError(f"{path}: not a complete BVH file (no HIERARCHY and MOTION sections); export it again")
    try:
        return parts[0].decode("utf-8-sig"), parts[1]
    except UnicodeDecodeError:                       # an older program's names, whose every byte is a letter
        return parts[0].decode("latin-1"), parts[1]


def _read_hierarchy(path, text):
    names, parents, offsets, channels, end_sites = [], [], [], [], []
    stack, current = [], None                        # open braces; the joint or End Site being described
    for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines():             # braces may share a line
        word, _, rest = line.strip().partition(" ") if "\t" not in line else line.strip().replace("\t", " ").partition(" ")
        word, rest = word.upper(), rest.strip()
        if word in ("ROOT", "JOINT"):
            if word == "ROOT" and names:
                raise BvhError(f"{path}: has two ROOT joints; split it into one file a body")
            if word == "JOINT" and (not stack or not isinstance(stack[-1], int)):
                raise BvhError(f"{path}: JOINT {rest!r} stands outside the hierarchy; export the file again")
            if rest in names:
                raise BvhError(f"{path}: two joints are named {rest!r}; rename one of them")
            names.append(rest)
            parents.append(stack[-1] if stack else -1)
            offsets.append(None)
            channels.append(())
            current = len(names) - 1
        elif word == "END":
            if not stack or not isinstance(stack[-1], int):
                raise BvhError(f"{path}: an End Site stands outside the hierarchy; export the file again")
            current = ("end", stack[-1], rest.partition(" ")[2].strip())
        elif word == "{":
            stack.append(current)
        elif word == "}":
            if not stack:
                raise BvhError(f"{path}: a closing brace too many in the hierarchy; export the file again")
            stack.pop()
            current = stack[-1] if stack else None
        elif word == "OFFSET":
            try:
                offset = np.array(rest.split(), dtype=np.float64)
            except ValueError:
                offset = np.zeros(0)
            if offset.shape != (3,) or not np.isfinite(offset).all() or current is None:
                raise BvhError(f"{path}: OFFSET needs three numbers, found {rest[:40]!r}" + WITH_POINTS * ("," in rest))
            if isinstance(current, int):
                offsets[current] = offset
            else:
                end_sites.append((current[1], current[2], tuple(offset.tolist())))
        elif word == "CHANNELS" and isinstance(current, int):
            count, *found = rest.split() or [""]
            joint_channels = tuple(CHANNEL_NAMES.get(c.lower(), "") for c in found)
            if count != str(len(found)) or "" in joint_channels or len(set(joint_channels)) < len(found):
                raise BvhError(f"{path}: joint {names[current]!r} has CHANNELS {rest[:60]!r}, which cannot be read")
            channels[current] = joint_channels
        elif word and word != "HIERARCHY":
            raise BvhError(f"{path}: {line.strip()[:40]!r} is no part of a BVH hierarchy; export the file again")
    if not names or stack or any(offset is None for offset in offsets):
        raise BvhError(f"{path}: the hierarchy breaks off; the file was cut, copy or export it again")
    return names, np.array(parents), np.array(offsets), channels, end_sites


def _read_rows(path, data, width, fps):
    """Bytes after MOTION -> (frame time, rows [frames, channels], None); with fps, the rows needed and how to blend them."""
    header = re.match(rb"\s*Frames\s*:?\s*(\d{1,9})\s+Frame\s+Time\s*:?\s*(\S+)[ \t]*\r?(?:\n|$)", data, flags=re.IGNORECASE)
    if not header:
        found = " / ".join(line.strip() for line in data[:200].decode(errors="replace").strip().splitlines()[:2])
        raise BvhError(f"{path}: 'Frames: a whole number' and 'Frame Time: seconds' must follow MOTION, there stands {found[:60]!r}; correct it, or export the file again")
    frames, time = int(header[1]), header[2].decode(errors="replace")
    try:
        frame_time = _meant_by(time)
    except ValueError:
        frame_time = float("nan")
    if not 1e-4 <= frame_time <= 1:
        raise BvhError(f"{path}: Frame Time is {time!r}, not a number of seconds from 0.0001 to 1" + ", with a decimal point" * ("," in time) + "; correct it")
    body = data[header.end():]

    def refuse_other_words():
        for word in body.decode(errors="replace").split():
            if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)\w*", word, flags=re.IGNORECASE):
                raise BvhError(f"{path}: {word[:20]!r} stands among the numbers of the motion; export the file again" + WITH_POINTS * ("," in word))

    numeral = b"0123456789+-.eE \t\r\n"
    plain = not body.translate(None, numeral)        # nothing but digits, signs and blanks
    if not plain:
        body = body.rstrip(b"\0\x1a")                # with which some programs fill up or end a file
        plain = not body.translate(None, numeral)
        refuse_other_words()
    # Where each number begins is found without reading it: a visible byte after a blank one.
    visible = np.frombuffer(b" " + body, dtype=np.uint8) > 32
    begins = np.flatnonzero(visible[1:] & ~visible[:-1])                     # [numbers]
    if frames == 0 and width:                        # BvhStream into a pipe: the head did not know how many rows would follow
        frames = len(begins) // width
    if width == 0 or frames == 0 or len(begins) == 0:
        raise BvhError(f"{path}: holds no motion (Frames: {frames}, {width} channels, {len(begins)} numbers)")
    if len(begins) != frames * width:
        raise BvhError(f"{path}: {frames} frames of {width} channels need {frames * width} numbers, found {len(begins)} "
                       f"(= {len(begins) / width:.6g} frames); it was cut off, or 'Frames:' is wrong: copy it again or correct it")
    neighbours, wanted = None, np.arange(frames)
    if fps:
        before, after, u = _neighbours(frames, frame_time, fps)
        if plain:                                    # where there is a nan, read all, to say in which frame
            wanted = np.union1d(before, after)
            edges = np.append(begins[::width], len(body)).tolist()           # a row may run over several lines
            body = b" ".join([body[edges[n]:edges[n + 1]] for n in wanted.tolist()])
        neighbours = np.searchsorted(wanted, before), np.searchsorted(wanted, after), u
    with warnings.catch_warnings():
        warnings.simplefilter("error")               # how numpy says that it met something else than a number, as 1.2.3
        try:
            values = np.fromstring(body, sep=" ")
        except (DeprecationWarning, ValueError):
            refuse_other_words()
            raise BvhError(f"{path}: the numbers of the motion cannot be read; export the file again") from None
    rows = values.reshape(len(wanted), width)                                # [frames, channels]
    if not np.isfinite(rows).all():
        raise BvhError(f"{path}: frame {int(wanted[np.argwhere(~np.isfinite(rows))[0, 0]])} holds NaN or infinity; "
                       "cut it out or export the file again")
    return frame_time, rows, neighbours


def write_bvh(path, motion):
    """Write `motion` as BVH: the joints, names, offsets and channel orders that it came with.

    Angles run on past 180 degrees instead of jumping, so that programs that interpolate do not spin a limb.
    """
    text, file_order = _bvh_head(motion, str(len(motion)))
    with written_beside(path) as beside:
        beside.write_text(text + _bvh_rows(motion, file_order)[0], encoding="utf-8")


class BvhStream:
    """A BVH file that grows: `with BvhStream(path) as bvh`, then bvh.append(motion) for one stretch after the other.

    After each append the file is whole and says the right number of frames, so that a reader can open it while it grows, and
    whatever kills the program leaves what was appended before. (A kill that hits the fraction of a millisecond between an append's two
    writes leaves rows behind the last one that counts.) `out` without a path: any binary file, as a pipe, where nothing
    can be put right later; it is told 0 frames, and rows follow until it ends. path may be a function, which is asked for it at the first append.
    """
    DIGITS = 9                           # as many as read_bvh takes; blanks stand where there are fewer

    def __init__(self, path=None, out=None):
        self.path, self.file, self.frames, self.end, self.angles = path, out, 0, 0, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.path is not None and self.file is not None:
            self.file.close()

    def append(self, motion):
        """Write the frames of `motion` behind those that are there; the first one brings the skeleton."""
        text = ""
        if callable(self.path):
            self.path = self.path()
        if self.frames == 0:
            text, self.order = _bvh_head(motion, f"{0:{self.DIGITS}}")
            self.count_at = text.encode().index(b"\nFrames: ") + len(b"\nFrames: ")
        rows, angles = _bvh_rows(motion, self.order, self.angles)
        data = (text + rows).encode()
        if self.path is None:
            self.file.write(data)
            self.file.flush()
        else:
            with named(self.path):
                if self.frames == 0:
                    self.file = open(self.path, "wb", buffering=0)           # no buffer: what is written is in the system's hands
                try:
                    left = memoryview(data)
                    while left:                                  # a disk that fills up takes a part first
                        left = left[self.file.write(left):]
                    self._say(self.frames + len(motion))
                except BaseException:                            # a full disk, or Ctrl-C just here: take the rows back
                    self.file.truncate(self.end)
                    if self.frames:
                        self._say(self.frames)
                    else:                                        # a file without a frame is no use to anybody
                        self.file.close()
                        Path(self.path).unlink()
                    raise
        self.frames, self.end, self.angles = self.frames + len(motion), self.end + len(data), angles

    def _say(self, frames):
        self.file.seek(self.count_at)
        self.file.write(f"{frames:{self.DIGITS}}".encode())
        self.file.seek(0, os.SEEK_END)


def _bvh_head(motion, frames):
    """All of a BVH file but the rows, which say `frames`; and the joints in the order of the file, [J]."""
    children = {j: [] for j in range(-1, len(motion.names))}
    for j, parent in enumerate(motion.parents):
        children[int(parent)].append(j)
    ends = {}
    for j, name, offset in motion.end_sites:
        ends.setdefault(j, []).append((name, offset))
    lines, file_order = ["HIERARCHY"], []

    def numbers(offset):
        return " ".join(f"{x:.6f}" for x in offset)

    def joint(j, depth):
        file_order.append(j)
        tab = "\t" * depth
        lines.extend([f"{tab}{'JOINT' if depth else 'ROOT'} {motion.names[j]}", tab + "{",
                      f"{tab}\tOFFSET {numbers(motion.offsets[j])}",
                      f"{tab}\tCHANNELS {len(motion.channels[j])} {' '.join(motion.channels[j])}".rstrip()])
        for child in children[j]:
            joint(child, depth + 1)
        for name, offset in ends.get(j, []):
            lines.extend([f"{tab}\tEnd Site {name}".rstrip(), f"{tab}\t{{", f"{tab}\t\tOFFSET {numbers(offset)}", f"{tab}\t}}"])
        lines.append(tab + "}")

    joint(0, 0)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {motion.frame_time:.9g}"]
    return "\n".join(lines) + "\n", file_order


def _bvh_rows(motion, file_order, before=None):
    """The rows as text; and the last frame's angles [J, 3] in degrees, from which the next rows run on as `before`."""
    columns, last = [], []                           # one [F] array a channel, in the order of the file
    for n, j in enumerate(file_order):
        axes = "".join(c[0] for c in motion.channels[j] if c.endswith("rotation"))
        order = axes + "".join(axis for axis in "XYZ" if axis not in axes)   # a hinge has fewer than three
        angles = matrix_to_euler(motion.rotations[:, j], order)              # [F, 3]
        if before is not None:
            angles = np.concatenate([np.radians(before[n])[None], angles])   # [1 + F, 3]
        angles = np.degrees(smooth_angles(angles, of_two=len(axes) == 2))[-len(motion):]                     # [F, 3]
        last.append(angles[-1])
        for channel in motion.channels[j]:
            axis = channel[0]
            columns.append(angles[:, order.index(axis)] if channel.endswith("rotation")
                           else motion.positions[:, j, "XYZ".index(axis)])
    rows = np.stack(columns, axis=1)                                         # [F, channels]
    row_format = " ".join(["%.6f"] * rows.shape[1])
    return "".join([row_format % tuple(row) + "\n" for row in rows.tolist()]), np.array(last)


# ------------------------------------------------------------------------------------------------
# 6. Pose features
# ------------------------------------------------------------------------------------------------
class PoseCodec:
    """Motion <-> standardised pose features [frames, pose_dim] at `fps`, one vector a frame.

    Columns before the constant ones are dropped, for J joints of which joint 0 is the root:
        0:2    root's step since the last frame, over the ground, seen from the last frame's facing
        2      change of facing since the last frame, radians
        3      root's height
        4:7    root's tilt: what is left of its rotation without the facing, exponential map
        then   3 a joint: rotation as exponential map
        then   3 a joint: translation in the parent's frame (constant, so dropped, in most files)
    Steps and turns instead of places: a gesture is the same wherever one stands and faces.
    Rotations are measured from each joint's mean, R_mean^T R. An exponential map jumps where the angle
    passes 180 degrees; measured from the mean, no joint of a human gets there, whatever the rest pose.
    Translations are counted from where the bone of this very body ends and set on the codec's: people whose skeletons
    differ in the lengths of their bones alone share one codec, and move no joint by being taller.
    Everything needed to decode is in state(), plain numbers and strings, which travels in the checkpoint.
    """
    # Features that move less than this over the whole corpus are called constant and keep their mean:
    # 0.001 radian is 0.06 degrees, 0.0001 of the height 0.2 mm, below what mocap resolves.
    CONSTANT_ANGLE, CONSTANT_SHARE_OF_HEIGHT = 1e-3, 1e-4

    def __init__(self, state):
        """From what state() returned."""
        self._state = state
        self.fps = state["fps"]
        self.names, self.parents = state["names"], np.array(state["parents"])
        self.offsets = np.array(state["offsets"])                            # [J, 3]
        self.channels = [tuple(c) for c in state["channels"]]
        self.end_sites = [(j, name, tuple(offset)) for j, name, offset in state["end_sites"]]
        self.mean_rotations = np.array(state["mean_rotations"])              # [J, 3, 3]
        self.forward = np.array(state["forward"])                            # [3] in the root's own frame
        self.facing = state["facing"]                                        # radians
        self.height = state["height"]                                        # body height, file units
        self.mean, self.std = np.array(state["mean"]), np.array(state["std"])  # [all features]
        self.kept = np.array(state["kept"], dtype=int)                       # columns that vary
        self.pose_dim = len(self.kept)
        self.swap = self.sign = None                 # set where fit(mirror=True): the mirror image is pose[..., swap] * sign
        if state.get("mirror"):
            source, sign = _mirrored_columns(np.array(state["mirror"]["pairs"]), state["mirror"]["axis"])
            self.swap, self.sign = np.searchsorted(self.kept, source[self.kept]), sign[self.kept].astype(np.float32)     # [pose_dim]

    def state(self):
        """Everything that __init__ needs, as plain Python numbers, strings, lists."""
        return self._state

    @classmethod
    def fit(cls, motions, fps=20, joints=None, mirror=False):
        """Learn what is constant, the means and the deviations from the training motions (any rate).

        20 frames a second is the authors' rate. The motions must share their joints; bone lengths may differ.
        motions is walked three times, one motion at a time: a sequence that reads them from disk needs the memory of one.
        joints: indices of those to learn, None for all; the others keep their mean pose. mirror: as if every motion
        came with its mirror image. The statistics then are the same for both sides, so that to mirror a pose is to swap its
        columns and to turn some signs, and costs neither time nor disk.
        """
        def walk():
            return (resample(m, fps) for m in motions)

        first = next(iter(motions))
        J = len(first.names)
        pairs, axis = mirror_pairs(first) if mirror else (np.arange(J), None)
        state = dict(fps=fps, names=list(first.names), parents=first.parents.tolist(), channels=[list(c) for c in first.channels],
                     end_sites=[[j, name, list(offset)] for j, name, offset in first.end_sites],
                     offsets=first.offsets.tolist(), mirror=dict(pairs=pairs.tolist(), axis=axis) if mirror else None)
        # The facing is where a fixed direction in the root's own frame points over the ground. Any direction
        # that stays level will do: the file's axis farthest from the root's average "up", made level.
        heights, up = [], np.zeros(3)
        for m in walk():
            heights.append(m.body_height())
            up += m.rotations[:, 0, 1, :].sum(axis=0)
        state["height"] = float(np.mean(heights))
        if mirror:
            up[axis] = 0                             # as it would be with the mirror images
        up /= np.linalg.norm(up)
        level = np.abs(up) + (np.arange(3) == axis)  # a direction across the body would turn round in the mirror
        forward = np.eye(3)[2 if abs(up[2]) < 0.7 and axis != 2 else int(np.argmin(level))]
        forward = forward - up * (up @ forward)
        state["forward"] = (forward / np.linalg.norm(forward)).tolist()

        facing, turned = np.zeros(2), np.zeros((J, 3, 3))
        for m in walk():
            heading = _heading(m.rotations[:, 0], np.array(state["forward"]))
            facing += np.sin(heading).sum(), np.cos(heading).sum()
            turned[0] += (turn_about_y(-heading) @ m.rotations[:, 0]).sum(axis=0)
            turned[1:] += m.rotations[:, 1:].sum(axis=0)
        state["facing"] = float(np.arctan2(*facing))
        if mirror:                                   # R' = S R S, as in mirror()
            inside, world = np.where(np.arange(3) == axis, -1, 1), np.array([-1, 1, 1])
            left = np.where(np.arange(J)[:, None] == 0, world, inside)       # [J, 3]
            turned = turned + turned[pairs] * left[:, :, None] * inside
        state["mean_rotations"] = [mean_rotation(R[None]).tolist() for R in turned]

        columns = 7 + 6 * (J - 1)
        codec = cls({**state, "mirror": None, "mean": [0.0] * columns, "std": [1.0] * columns, "kept": list(range(columns))})
        rest = np.concatenate([np.zeros(4 + 3 * J), first.offsets[1:].ravel()])              # [columns]
        count, total, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
        for m in walk():
            features = codec._features(m) - rest                             # [F, columns]
            count, total, squares = count + len(features), total + features.sum(axis=0), squares + np.square(features).sum(axis=0)
            low, high = np.minimum(low, features.min(axis=0)), np.maximum(high, features.max(axis=0))
        mean, squares = total / count, squares / count
        if mirror:
            source, sign = _mirrored_columns(pairs, axis)
            mean, squares = (mean + mean[source] * sign) / 2, (squares + squares[source]) / 2
            low, high = np.minimum(low, np.minimum(low[source] * sign, high[source] * sign)), np.maximum(high, np.maximum(low[source] * sign, high[source] * sign))
        allowed = np.full(columns, cls.CONSTANT_ANGLE)
        length = [0, 1, 3] + list(range(4 + 3 * J, columns))
        allowed[length] = cls.CONSTANT_SHARE_OF_HEIGHT * state["height"]
        allowed[[0, 1, 2]] /= 100                    # steps and turns add up over a take: a slow walk is not constant
        kept = high - low > allowed
        if joints is not None:
            chosen = np.isin(np.arange(J), joints)
            of_joint = np.concatenate([[0] * 7, np.repeat(np.arange(1, J), 3), np.repeat(np.arange(1, J), 3)])       # [columns]
            if mirror and not np.array_equal(chosen, chosen[pairs]):
                raise BvhError("--joints chooses other joints on the left than on the right, which cannot be mirrored; choose both, or leave --mirror out")
            kept &= chosen[of_joint]
            if not chosen[0]:
                mean[:3] = 0                         # a root that rests neither slides nor turns
        state.update(mean=(mean + rest).tolist(), std=np.where(kept, np.sqrt(np.maximum(squares - mean ** 2, 0)), 1.0).tolist(),
                     kept=np.flatnonzero(kept).tolist())
        return cls(state)

    def encode(self, motion):
        """Motion at any rate -> [frames, pose_dim] float32, mean 0 and deviation 1 over the training set."""
        if list(motion.names) != list(self.names) or list(motion.parents) != list(self.parents):
            odd = sorted(set(motion.names) ^ set(self.names))[:3]
            raise BvhError(f"another skeleton: {len(motion.names)} joints instead of {len(self.names)}"
                           + (f", {', '.join(odd)} on one side only" if odd else ", in another order"))
        features = self._features(resample(motion, self.fps))                # [F, columns]
        return ((features - self.mean) / self.std)[:, self.kept].astype(np.float32)  # [F, pose_dim]

    def _features(self, motion):
        root_R, root_p = motion.rotations[:, 0], motion.positions[:, 0]      # [F, 3, 3], [F, 3]
        heading = np.unwrap(_heading(root_R, self.forward))                  # [F]
        level = turn_about_y(-heading)                                       # [F, 3, 3]
        step = np.diff(root_p, axis=0, prepend=root_p[:1])                   # [F, 3], 0 at the first frame
        step[1:] = (level[:-1] @ step[1:, :, None])[..., 0]                  # seen from the last frame's facing
        turn = np.diff(heading, prepend=heading[:1])                         # [F]
        R = motion.rotations.copy()                                          # [F, J, 3, 3]
        R[:, 0] = level @ root_R
        w = matrix_to_exp(np.swapaxes(self.mean_rotations, -1, -2) @ R)      # [F, J, 3]
        places = motion.positions[:, 1:] - motion.offsets[1:] + self.offsets[1:]             # [F, J - 1, 3]
        F = len(motion)
        return np.concatenate([step[:, [0, 2]], turn[:, None], root_p[:, 1:2], w.reshape(F, -1),
                               places.reshape(F, -1)], axis=1)               # [F, 7 + 6 (J - 1)]

    def start_of(self, motion):
        """(x, z, facing) at the first frame: what steps and turns leave out, for decode(start=...)."""
        x, _, z = motion.positions[0, 0]
        return float(x), float(z), float(_heading(motion.rotations[:1, 0], self.forward)[0])

    def decode(self, pose, start=None, body=None):
        """Features [frames, pose_dim] -> Motion at self.fps, from `start` = (x, z, facing radians).

        By default it stands at the origin and faces as the training set did on average, and has the bones of the first
        training take; body, a Motion of the same hierarchy, lends its own.
        """
        pose = np.asarray(pose, dtype=np.float64)
        features = np.tile(self.mean, (len(pose), 1))                        # [F, columns]
        features[:, self.kept] += pose * self.std[self.kept]
        x, z, facing = start or (0.0, 0.0, self.facing)
        F, J = len(features), len(self.names)
        heading = facing + np.cumsum(features[:, 2])                         # [F]
        before = np.concatenate([[facing], heading[:-1]])                    # the last frame's facing
        step = np.stack([features[:, 0], np.zeros(F), features[:, 1]], axis=1)       # [F, 3]
        path = np.cumsum((turn_about_y(before) @ step[..., None])[..., 0], axis=0)   # [F, 3]
        R = self.mean_rotations @ exp_to_matrix(features[:, 4:4 + 3 * J].reshape(F, J, 3))  # [F, J, 3, 3]
        R[:, 0] = turn_about_y(heading) @ R[:, 0]
        root = np.stack([x + path[:, 0], features[:, 3], z + path[:, 2]], axis=1)    # [F, 3]
        positions = np.concatenate([root[:, None], features[:, 4 + 3 * J:].reshape(F, J - 1, 3)], axis=1)    # [F, J, 3]
        motion = Motion(list(self.names), self.parents, self.offsets, self.channels, self.end_sites, 1 / self.fps, R, positions)
        if body is not None:
            positions[:, 1:] += body.offsets[1:] - self.offsets[1:]
            motion = replace(motion, offsets=body.offsets, end_sites=body.end_sites)
        return motion

    def end_of(self, pose, motion, start=None):
        """The `start` with which to decode what comes after these features, given what decode(pose, start) made of them."""
        turned = self.mean[2] * len(pose) + self.std[2] * np.asarray(pose, dtype=np.float64)[:, self.kept == 2].sum()
        x, _, z = motion.positions[-1, 0]
        return float(x), float(z), (self.facing if start is None else start[2]) + float(turned)


def _mirrored_columns(pairs, axis):
    """(source [columns], sign [columns]) with features(mirror(motion)) = features(motion)[:, source] * sign, places from rest.

    A place in the mirror turns the sign of the axis across the body; a rotation vector keeps that one and turns the
    others, since its sense of turning is mirrored as well.
    """
    across, J = np.where(np.arange(3) == axis, -1, 1), len(pairs)            # [3]
    source = np.concatenate([np.arange(4), 4 + (3 * pairs[:, None] + np.arange(3)).ravel(),
                             4 + 3 * J + (3 * (pairs[1:, None] - 1) + np.arange(3)).ravel()])    # [columns]
    return source, np.concatenate([[-1, 1, -1, 1], np.tile(-across, J), np.tile(across, J - 1)])  # step, turn, height; rotations; places


def _heading(R, forward):
    """Where `forward` [3] of the root's frame points over the ground: R [F, 3, 3] -> radians [F], 0 is +Z."""
    pointing = R @ forward                                                   # [F, 3]
    return np.arctan2(pointing[:, 0], pointing[:, 2])


# ------------------------------------------------------------------------------------------------
# 7. Strokes: the beat detector, the same for recorded and for generated motion
# ------------------------------------------------------------------------------------------------
STROKE_SPEED = 0.25      # body heights a second (42 cm/s for a person of 1.7 m): above retraction, below a soft beat
STROKE_GAP = 0.3         # seconds between strokes of one hand; faster is one movement


def strokes_of(motion):
    """Times of the strokes, seconds [n]; none for a skeleton whose hands cannot be found by name: it can be learnt and looked at all the same."""
    try:
        return find_strokes(motion)[0]
    except BvhError:
        return np.zeros(0)


def find_strokes(motion):
    """Beats of the hands -> (times [n] in seconds, drops [n] in body heights, sides [n]: 0 left, 1 right), by time.

    A stroke is a moment at which a wrist falls fastest, seen from the hips: a local maximum of its downward speed
    above STROKE_SPEED, with none higher within STROKE_GAP (of several that are exactly as high, the first). Between frames the time is the top of the parabola through
    three speeds. The drop is how far the wrist falls while it is faster than a fifth of that, so that a slow
    retraction after the stroke is not counted. Of two hands that beat together (within 0.15 s) the larger stroke counts.
    """
    if len(motion) < 3:
        return np.zeros(0), np.zeros(0), np.zeros(0, int)
    fps, strokes = 1 / motion.frame_time, []
    for side, y in enumerate(hands_of(motion)[..., 1].T):             # [F] in body heights
        falling = -np.gradient(y) * fps                                      # [F] body heights a second
        gap = int(round(STROKE_GAP * fps))
        padded = np.pad(falling, gap, constant_values=-np.inf)
        highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * gap + 1).max(axis=1)  # [F]
        last = -gap - 1
        for n in np.flatnonzero((falling >= highest * (1 - 1e-9)) & (falling > STROKE_SPEED)):      # equal but for rounding
            again, last = n - last <= gap, n
            if again:                                # a hand that falls evenly: one movement
                continue
            top, bottom = n, n
            while top > 0 and falling[top - 1] > falling[n] / 5:
                top -= 1
            while bottom + 1 < len(y) and falling[bottom + 1] > falling[n] / 5:
                bottom += 1
            bend = 0.0
            if 0 < n < len(y) - 1:
                before, here, after = falling[n - 1:n + 2]
                bend = 0.5 * (before - after) / min(before - 2 * here + after, -1e-9)
            drop = y[max(top - 1, 0)] - y[min(bottom + 1, len(y) - 1)]
            strokes.append(((n + np.clip(bend, -0.5, 0.5)) / fps, drop, side))
    strokes.sort()
    kept = []
    for stroke in strokes:
        if kept and stroke[2] != kept[-1][2] and stroke[0] - kept[-1][0] < 0.15:
            kept[-1] = max(stroke, kept[-1], key=lambda s: s[1])
        else:
            kept.append(stroke)
    times, drops, sides = zip(*kept) if kept else ((), (), ())
    return np.array(times), np.array(drops), np.array(sides, dtype=int)
