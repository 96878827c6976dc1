"""Position channels of inner joints: places, changes from OFFSET, or bones of no length.

In most files these channels replace the joint's OFFSET (as in Blender and MotionBuilder). In some
(MakeHuman's, and whatever was made for three.js) they are added to it. Nothing in the file says
which. But bones have a length: where nearly all such channels are about 0 and the OFFSETs are not,
the body would collapse to a point, so they must be changes.
"""

import numpy as np

NONE = 0.05  # of its OFFSET: a bone that is shorter in the rows has no length there
NEARLY_ALL = 0.9  # of the joints that have position channels and an OFFSET
ENOUGH = 3  # such joints: from one or two nothing can be told


def are_changes(positions, offsets, moved):
    """Are the position channels changes from OFFSET? [J] bool; all False where they are places.

    positions  [F, J, 3] what the rows say, in the parents' frames
    offsets    [J, 3]
    moved      [J] bool: joints that have all three position channels; joint 0 is the root

    The root moves anyway. Where the others are changes, it is one too if its rows stay nearer to
    0 than to its OFFSET.
    """
    told = moved & (np.linalg.norm(offsets, axis=1) > 0)
    told[0] = False
    changes = np.zeros(len(offsets), bool)
    if told.sum() < ENOUGH:
        return changes
    few = positions[:: max(1, len(positions) // 16)]  # [f, J, 3]: bones do not change
    short = without_length(few, offsets)  # [J]
    if short[told].mean() < NEARLY_ALL:
        return changes
    along = np.median(few[:, 0] @ offsets[0])
    changes[1:] = moved[1:]
    changes[0] = moved[0] and along < offsets[0] @ offsets[0] / 2
    return changes


def without_length(positions, offsets):
    """Which bones have an OFFSET and no length in the rows? positions [F, J, 3] -> [J] bool.

    A single row of zeros among the others, as some programs put first, does not count.
    """
    length = np.median(np.linalg.norm(positions, axis=-1), axis=0)  # [J]
    rest = np.linalg.norm(offsets, axis=-1)  # [J]
    return (rest > 0) & (length < NONE * rest)


def collapsed(motion):
    """Do more than a tenth of the bones have no length in the rows? [at most one sentence]."""
    few = motion.positions[:: max(1, len(motion) // 16)]  # [f, J, 3]
    short = without_length(few, motion.offsets)[1:]  # [J - 1]
    if not short.sum() > 0.1 * len(short):
        return []
    names = [name for name, no_length in zip(motion.names[1:], short) if no_length]
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [
        f"the body collapses: {len(names)} of {len(short)} bones have an OFFSET, and no length in "
        f"the rows ({some}); export it without position channels on inner joints"
    ]
