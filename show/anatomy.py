"""What the joints of a body are, how tall it is, and where its joints look.

Names and what hangs on what say which joint is which. Rotations say where a head or a foot points,
once we know how it is built.
"""

from dataclasses import dataclass

import numpy as np

from body.joints import above, arm, body_root, leg
from body.motion import BvhError


# ------------------------------------------------------------------------------------------------
# Anatomy: which joint is what
# ------------------------------------------------------------------------------------------------
@dataclass
class Anatomy:
    """Joints of a body by what they are; -1, None or empty for what the skeleton lacks."""

    arms: list  # [left, right]: joints from the shoulder to the wrist, or None
    legs: list  # [left, right]: joints from the hip to the ankle, or None
    shoulders: list  # [left, right], or []
    hips: list  # [left, right], or []
    chest: int  # where the arms meet
    pelvis: int  # where the legs meet; without legs the body's root
    spine: list  # from the chest down, without the pelvis
    head: int


def find_anatomy(motion):
    """Which joint is which, by names and by what hangs on what -> Anatomy."""
    arms = [_limb(motion, side, arm) for side in ("left", "right")]
    legs = [_limb(motion, side, leg) for side in ("left", "right")]
    shoulders = [limb[0] for limb in arms if limb] if all(arms) else []
    hips = [limb[0] for limb in legs if limb] if all(legs) else []
    pelvis = _meeting(motion, hips) if hips else body_root(motion)
    chest = _meeting(motion, shoulders) if shoulders else -1
    spine = [chest, *above(motion, chest)] if shoulders else []
    spine = spine[: spine.index(pelvis)] if pelvis in spine else []
    heads = (j for j, name in enumerate(motion.names) if "head" in name.lower())
    return Anatomy(arms, legs, shoulders, hips, chest, pelvis, spine, next(heads, -1))


def _limb(motion, side, bones):
    """All joints of a limb from its top to its end; None if it lacks a joint."""
    try:
        top, _, end = bones(motion, side)
    except BvhError:
        return None
    path = [end, *above(motion, end)]
    return path[: path.index(top) + 1][::-1]


def _meeting(motion, pair):
    """The lowest joint above both."""
    first, second = (above(motion, j) for j in pair)
    return next((j for j in first if j in second), 0)


def stature(motion, anatomy=None):
    """The height of the body in the motion's unit, from its bones: what it is drawn in.

    Raised hands or a crouch change body.size.height_of, but not this. Ankle to hip and hips to head
    are 0.86 of a height; an arm without its hand is 0.33 of it. Without either, it is what the
    points reach.
    """
    anatomy = anatomy or find_anatomy(motion)
    bones = np.linalg.norm(motion.positions[len(motion) // 2], axis=-1)  # [J]
    legs = [bones[limb[1:]].sum() for limb in anatomy.legs if limb]
    arms = [bones[limb[1:]].sum() for limb in anatomy.arms if limb]
    path = [anatomy.head, *above(motion, anatomy.head)] if anatomy.head >= 0 else []
    if legs and anatomy.pelvis in path:
        height = (np.mean(legs) + bones[path[: path.index(anatomy.pelvis)]].sum()) / 0.86
    else:
        height = np.mean(arms) / 0.33 if arms else motion.body_height()
    return float(height) if height > 0 else motion.body_height() or 1.0


# ------------------------------------------------------------------------------------------------
# Directions: rotations say where a head or a foot points, once we know how it is built
# ------------------------------------------------------------------------------------------------
class Directions:
    """Where up and front are, in the frames of the joints."""

    def __init__(self, motion, anatomy):
        self.R, self.p = motion.world()
        sides = anatomy.shoulders or anatomy.hips
        self.rest = None
        if not sides:  # neither shoulders nor hips: up and front are the file's Y and Z
            self.up = np.broadcast_to([0.0, 1.0, 0.0], (len(motion), 3))
            self.front = np.broadcast_to([0.0, 0.0, 1.0], (len(motion), 3))
            return
        left, right = sides
        across = (self.p[:, left] - self.p[:, right]) * [1, 0, 1]  # [F, 3]
        self.up = np.broadcast_to([0.0, 1.0, 0.0], across.shape)
        self.front = np.cross(unit(across), self.up)  # [F, 3]
        rest = motion.positions[len(motion) // 2].copy()
        for j, parent in enumerate(motion.parents):
            rest[j] = rest[parent] + rest[j] if parent >= 0 else 0
        top = anatomy.head if anatomy.head >= 0 else anatomy.chest
        self.places = rest  # [J, 3] of the rest pose
        self.rest = axes_of(rest[top] - rest[anatomy.pelvis], None, rest[left] - rest[right])

    def usual(self, j, worlds, frames=slice(None)):
        """A direction of the world [F, 3], as joint j sees it on average: [3]."""
        return unit(np.einsum("fab,fa->b", self.R[frames, j], worlds[frames]))

    def axes(self, j):
        """(left, up, front) [3, 3] of the body, in the frame of joint j.

        They are the rest pose's, unless that is no upright pose, or unless the joint is far from
        it (50 degrees) on average: then upright and to the front is what it is on average.
        """
        usual = axes_of(self.usual(j, self.up), self.usual(j, self.front))
        fits = self.rest is not None and np.min(np.sum(self.rest * usual, axis=1)) > 0.64
        return self.rest if fits else usual


def unit(vectors):
    """Vectors [..., 3] of length 1 in the same directions; 0 stays 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def axes_of(up, front=None, left=None):
    """(left, up, front) [3, 3], square to each other, from up and one of the others."""
    up = unit(up)
    left = np.cross(up, front) if left is None else left - up * (left @ up)
    left = unit(left)
    return np.stack([left, up, np.cross(left, up)])


def without(vector, up):
    """A vector [3] without its part along up."""
    return vector - (vector @ up) * up
