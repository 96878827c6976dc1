"""How large a body is: one unit of length for any body, with legs or without.

Reading order
    height_of      the standing height: what speeds and drops are measured in
    hands_of       both wrists, in heights
    common_body    the joints that all humans share, in body lengths
"""

import numpy as np

from body.joints import (
    COMMON_BODY,
    COMMON_PARENTS,
    body_root,
    common_joints,
    hand_joints,
    has_feet,
    upper_joints,
)
from body.motion import BvhError

# Shoulder to wrist, in heights of a standing body: 0.186 + 0.146, Drillis and Contini 1966, as in
# Winter, Biomechanics and Motor Control of Human Movement, figure 4.1. Of six bodies with legs (the
# puppet, ZEGGS, BEAT, SMPL-X, two of motion capture) height_of is 0.94 to 1.01 times the height.
# The trunk does not count: where it ends in a file without legs, nobody knows. In talks from video
# it begins at the waist.
ARM = 0.332
LENGTH = 0.89  # ankle to head along the joints, in heights; 0.87 to 0.94 of the same six


def height_of(motion):
    """Height of the body in the file's unit: what others call a body height.

    A body with feet: its vertical extent, averaged over the frames. One without: the height that a
    standing human with such arms has, or what it reaches, if that is more. What has neither feet
    nor arms: its vertical extent.
    """
    extent = motion.body_height()
    if has_feet(motion):
        return extent
    try:
        joints = upper_joints(motion)
    except BvhError:
        return extent
    p = motion.joint_positions()[:, joints]  # [F, 10, 3]
    return max(extent, _arm_length(dict(zip(UPPER_BODY, np.moveaxis(p, 1, 0)))) / ARM)


UPPER = [n for n, name in enumerate(COMMON_BODY) if not name.endswith((" hip", " knee", " ankle"))]
UPPER_BODY = tuple(COMMON_BODY[n] for n in UPPER)  # the 10 joints of upper_joints


def _arm_length(place):
    """Mean length of the arms, from {name of COMMON_BODY: places [F, 3]}."""
    bones = [
        np.linalg.norm(place[f"{side} {a}"] - place[f"{side} {b}"], axis=-1).mean()
        for side in ("left", "right")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))
    ]
    return float(sum(bones)) / 2


def hands_of(motion):
    """Both wrists, left and right, seen from the body's root: [F, 2, 3] in heights."""
    p = motion.joint_positions()  # [F, J, 3]
    return (p[:, hand_joints(motion)] - p[:, [body_root(motion)]]) / height_of(motion)


def common_body(motion):
    """World positions of the 16 joints of COMMON_BODY, in one size for everybody: [F, 16, 3].

    The unit is the length from ankle to head along the joints, averaged over the frames and both
    legs. Unlike the height it does not change with raised arms or a crouch. Without feet it is what
    goes with the height, the places of the legs are NaN, and "hips" is the root.
    """
    if not has_feet(motion):
        p = np.full((len(motion), len(COMMON_BODY), 3), np.nan)
        p[:, UPPER] = motion.joint_positions()[:, upper_joints(motion)]
        size = LENGTH * height_of(motion)
    else:
        p = motion.joint_positions()[:, common_joints(motion)]  # [F, 16, 3]
        bones = np.linalg.norm(p[:, 1:] - p[:, COMMON_PARENTS[1:]], axis=-1).mean(axis=0)  # [15]
        bone = dict(zip(COMMON_BODY[1:], bones))
        shins_and_thighs = sum(
            bone[f"{side} {part}"] for side in ("left", "right") for part in ("knee", "ankle")
        )
        size = bone["chest"] + bone["neck"] + bone["head"] + shins_and_thighs / 2
    if not size > 0:
        raise BvhError("all joints of the body stand in one place; check the export")
    return p / size
