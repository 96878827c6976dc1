"""The mirror image of a motion, left for right: which joint stands where its partner stood.

In reading order: the partners and the axis between them (mirror_pairs), then the image itself.
"""

from dataclasses import replace

import numpy as np

from body.joints import partners
from body.motion import BvhError


def mirror_pairs(motion):
    """(pairs [J], axis): each joint's partner on the other side, or itself; the axis across.

    Partners go by name. The axis, 0 to 2, goes by geometry: it is the one whose change of sign
    best turns every bone into its partner's. Raises BvhError if no name has a side, if a joint has
    no partner, if a limb without a side stands beside the middle, or if the bones of the two sides
    differ by more than a fifth of their length.
    """
    pairs = partners(motion)
    for name, partner in zip(motion.names, pairs):
        if partner is None:
            raise BvhError(
                f"joint {name!r} has no partner on the other side, so the skeleton cannot be "
                "mirrored; rename it, or leave --mirror out"
            )
    if pairs == list(range(len(pairs))):
        raise BvhError(
            "no joint's name says left or right, so the skeleton cannot be mirrored; "
            "rename the joints (LeftHand, RightHand), or leave --mirror out"
        )
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
    axis = _axis_across(motion, pairs)
    _refuse_limbs_without_side(motion, pairs, axis)
    return pairs, axis


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


def _refuse_limbs_without_side(motion, pairs, axis):
    """BvhError for a joint that is its own partner, stands beside the middle and carries a limb.

    A limb: a twentieth of all bones' length. A lock of hair may be mirrored in its own place.
    """
    bones = np.linalg.norm(motion.offsets, axis=1) * (motion.parents >= 0)  # [J] length
    carried = bones.copy()  # [J] with all that hangs on the joint
    for j in range(len(bones) - 1, 0, -1):
        carried[motion.parents[j]] += carried[j]
    aside = np.abs(motion.offsets[:, axis])  # [J]
    aside = (aside > 0.3 * bones) & (aside > 0.005 * carried[0])
    odd = aside & (carried > 0.05 * carried[0]) & (pairs == np.arange(len(pairs)))
    odd[0] = False
    if odd.any():
        raise BvhError(
            f"joint {motion.names[np.argmax(odd)]!r} stands on one side of the body and its name "
            "does not say on which, so the skeleton cannot be mirrored; rename it and its partner "
            "(L, R), or leave --mirror out"
        )


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
