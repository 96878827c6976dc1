"""Position channels of inner joints: places, changes from OFFSET, or bones of no length.

In most files these channels replace the joint's OFFSET (as in Blender and MotionBuilder). In some
(MakeHuman's, and whatever was made for three.js) they are added to it. Nothing in the file says
which. But bones have a length: where nearly all such channels are about 0 and the OFFSETs are not,
the body would collapse to a point, so they must be changes.
"""

import numpy as np

SHORT = 0.3  # of its OFFSET: a bone that is shorter in the rows has collapsed; a child's are 0.5
NEARLY_ALL = 0.9  # of the inner joints that have position channels and an OFFSET
ENOUGH = 3  # such joints: from one or two nothing can be told


def are_changes(positions, offsets, moved):
    """Are the position channels changes from OFFSET? [J] bool; all False where they are places.

    positions  [F, J, 3] what the rows say, in the parents' frames
    offsets    [J, 3]
    moved      [J] bool: joints that have all three position channels; joint 0 is the root

    Where nearly all inner joints show that they are, each joint is read as what it is nearer to,
    along its OFFSET: the root, or hips that walk, may be at a place all the same.
    """
    told = moved & (np.linalg.norm(offsets, axis=1) > 0)
    told[0] = False
    few = positions[:: max(1, len(positions) // 16)]  # [f, J, 3]: bones do not change
    if told.sum() < ENOUGH or collapsed_bones(few, offsets)[told].mean() < NEARLY_ALL:
        return np.zeros(len(offsets), bool)
    along = np.median(np.einsum("fjk,jk->fj", few, offsets), axis=0)  # [J]
    return moved & (along < (offsets**2).sum(axis=1) / 2)


def collapsed_bones(positions, offsets):
    """Which bones have an OFFSET, and hardly a length in the rows [F, J, 3]? [J] bool.

    A single row of zeros among the others, as some programs put first, does not count.
    """
    length = np.median(np.linalg.norm(positions, axis=-1), axis=0)  # [J]
    return length < SHORT * np.linalg.norm(offsets, axis=-1)


def collapsed(motion):
    """Have more than a tenth of the bones collapsed in the rows? [at most one sentence]."""
    few = motion.positions[:: max(1, len(motion) // 16)]  # [f, J, 3]
    short = collapsed_bones(few, motion.offsets)[1:]  # [J - 1]
    if not short.sum() > 0.1 * len(short):
        return []
    names = [name for name, is_short in zip(motion.names[1:], short) if is_short]
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [
        f"the body collapses: {len(names)} of {len(short)} bones are much shorter in the rows "
        f"than their OFFSETs ({some}); export it without position channels on inner joints"
    ]
