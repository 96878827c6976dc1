"""Takes that one model can learn from: with the same joints, and bodies in the same unit.

In reading order: sizes of a body; what is refused; the skeleton that most takes share; all of it
together, one take after the other (takes_of_one_skeleton).
"""

import numpy as np
from tqdm import tqdm

from body.bvh import read_skeleton
from body.joints import has_feet
from body.motion import BvhError
from body.size import height_of
from recordings.pairs import CorpusError, leave_out, load_take
from recordings.remarks import say_remarks
from tools import InputError


def extents(motion):
    """How far a body reaches along x, y and z [3], averaged over some 50 frames, in file units."""
    some = motion.cut(slice(None, None, max(1, len(motion) // 50)))
    return np.ptp(some.points()[0], axis=1).mean(axis=0)  # [3]


def bone_length(offsets):
    """The sum of all bones' lengths; offsets [J, 3]. The root's offset is a place and no bone."""
    return float(np.linalg.norm(offsets[1:], axis=1).sum())


# ------------------------------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------------------------------
def refuse_other_skeleton(bvh, motion, example, names, parents):
    """CorpusError unless the motion has these joints with these parents. Bones may differ.

    example: the file that names and parents are from, for the message.
    """
    if list(motion.names) != list(names) or motion.parents.tolist() != list(parents):
        odd = sorted(set(motion.names) ^ set(names)) or ["the order of the joints"]
        raise CorpusError(
            f"{bvh}: another skeleton than {example} (difference: {', '.join(odd[:3])}); "
            "train on one at a time"
        )


def refuse_other_unit(bvh, motion, size, bones=None):
    """CorpusError unless the body is half to twice as large as the first take's, as people are.

    size   (file, largest extent) of the first take; None for the first take itself. The answer is
           the size to give with the next take.
    bones  bone_length of most takes, if that is known. Then the first take must be like those:
           else one first take in metres would make all others, in centimetres, wrong.
    """
    own = bone_length(motion.offsets)
    if bones and size is None and not 0.5 < own / bones < 2:
        raise CorpusError(
            f"{bvh}: the body is {own / bones:.2g} times as large as in most takes; "
            "bring all takes to one unit"
        )
    largest = float(extents(motion).max())
    if not has_feet(motion):  # an upper body's extents depend on where its hands are
        largest = height_of(motion)
    if largest < 1e-6:
        raise CorpusError(f"{bvh}: all joints stand in one place; check the export")
    if size and not 0.5 < largest / size[1] < 2:
        raise CorpusError(
            f"{bvh}: the body is {largest / size[1]:.2g} times as large as that in {size[0]}; "
            "bring all takes to one unit"
        )
    return size or (bvh, largest)


def most_common_skeleton(pairs):
    """The skeleton that most takes share -> ((a file that has it, names, parents), bone_length).

    Of two that are as common, the first. The bone_length is the median of its takes.
    """
    seen = {}
    for bvh, _ in pairs:
        try:
            names, parents, offsets = read_skeleton(bvh)
        except BvhError:  # load_take will say what is wrong with it
            continue
        skeleton = tuple(names), tuple(parents.tolist())
        seen.setdefault(skeleton, []).append((bvh, bone_length(offsets)))
    nothing = ((), ()), [(pairs[0][0], 0.0)]
    (names, parents), files = max(seen.items(), key=lambda item: len(item[1]), default=nothing)
    median = sorted(bones for _, bones in files)[len(files) // 2]
    return (files[0][0], list(names), list(parents)), median


# ------------------------------------------------------------------------------------------------
# All takes of a corpus
# ------------------------------------------------------------------------------------------------
def takes_of_one_skeleton(pairs, fps, skip=False, progress=True):
    """Read the pairs one after the other: yields ((bvh, sound), Motion at `fps`, waveform).

    The first take that cannot be used raises its error: BvhError, SpeechError, or CorpusError for
    another skeleton or unit than the first take's. With skip=True it is left out with a line, and
    the skeleton that counts is the one that most takes have. If no take is left: CorpusError. What
    is odd about them is said in a line at the end.
    """
    if not pairs:
        raise CorpusError(
            "no takes to train on are left beside those that are held out (in folders named test "
            "or valid, or by --test); add recordings"
        )
    skeleton, bones = most_common_skeleton(pairs) if skip else (None, None)
    size, remarks = None, []
    for bvh, sound in tqdm(pairs, desc="reading takes", unit="take", disable=not progress):
        try:
            motion, waveform = load_take(bvh, sound, fps)
            skeleton = skeleton or (bvh, motion.names, motion.parents.tolist())
            refuse_other_skeleton(bvh, motion, *skeleton)
            size = refuse_other_unit(bvh, motion, size, bones)
        except InputError as error:
            leave_out(error, skip)
            continue
        remarks += [(bvh, what) for what in motion.remarks]
        yield (bvh, sound), motion, waveform
    if size is None:
        raise CorpusError(
            f"{pairs[0][0].parent}: none of its {len(pairs)} takes can be used; "
            "mend what the lines above name"
        )
    say_remarks(remarks)
