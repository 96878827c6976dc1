"""Look before you train: what is in a folder of recordings, what is wrong with it, what is used.

    python -m lab.check FOLDER

In reading order: what is measured on one take (jumps, clipping); check_take, which makes sentences
of it; look, which reads all takes; what they say about motion and sound (lab/lag.py); the report.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from body.joints import body_root, hand_joints
from body.mirror import mirror_pairs
from body.motion import BvhError
from body.size import height_of
from lab.lag import NATURAL, evidence, verdict
from recordings.audio import SAMPLE_RATE, file_blocks
from recordings.level import loud_level
from recordings.pairs import CorpusError, load_take, match_files, split_takes
from recordings.skeletons import (
    most_common_skeleton,
    refuse_other_skeleton,
    refuse_other_unit,
)
from tools import InputError, Parser, run_script, shortened, shown

FASTEST_TURN = 3000  # degrees a second: twice the fastest wrist in sports; more is a capture error
ONE_GO = 100  # degrees, that a joint turns so fast
LASTING_TURN = 800  # degrees a second over an eighth of a second and more
FASTEST_MOVE = 6  # body heights a second, 10 m/s: a sprinter
USUAL_FPS = 20  # train.py's --fps
USUAL_WINDOW = 8.0  # s: train.py's --window, 160 frames of 20 a second
CLIPPED_SHARE = 1e-4  # of the samples, in runs of three or more at the peak
QUIET = -50  # dB below full scale of the loud parts: the microphone was not on


# ------------------------------------------------------------------------------------------------
# Measures of one take
# ------------------------------------------------------------------------------------------------
def find_jumps(motion):
    """Times in seconds at which a joint turns or moves faster than a human can, [n]."""
    R, p, dt = motion.rotations, motion.positions, motion.frame_time
    cosine = (np.einsum("fjab,fjab->fj", R[:-1], R[1:]) - 1) / 2  # [F - 1, J]
    turned = np.arccos(np.clip(cosine, -1, 1)).max(axis=1, initial=0)  # [F - 1], radians
    moved = np.linalg.norm(np.diff(p, axis=0), axis=-1).max(axis=1, initial=0)  # [F - 1]
    moved = moved / max(height_of(motion), 1e-9)
    turns = turned > np.radians(largest_turn(dt))
    moves = moved > max(0.05, FASTEST_MOVE * dt)
    return (np.flatnonzero(turns | moves) + 1) * dt


def largest_turn(dt):
    """By how many degrees a human may turn a joint in dt seconds.

    A single noisy frame at a high rate is no jump: at least 30. The fastest turns end after ONE_GO;
    what takes longer is slower. No turn is seen that is larger than 180.
    """
    return max(30, min(FASTEST_TURN * dt, max(ONE_GO, LASTING_TURN * dt)))


def clipped_share(sound):
    """Share of a file's samples that lie in runs of three or more at the peak, as clipping does.

    Of several channels, the largest share.
    """
    shares = [0.0]
    blocks = (block for _, block in file_blocks(sound))  # [n, channels]
    parts = itertools.groupby(blocks, lambda block: block.shape[1])
    for samples in itertools.chain.from_iterable(np.concatenate([*part]).T for _, part in parts):
        if np.ptp(samples) == 0:  # a channel that nothing came in on
            continue
        # Both peaks by themselves: 16 bits reach -1, and not quite 1
        at_peak = (samples == samples.max()) | (samples == samples.min())
        edges = np.flatnonzero(np.diff(np.concatenate([[0], at_peak.astype(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]  # edges: begin, end, begin, end, ...
        shares.append(runs[runs >= 3].sum() / len(samples))
    return max(shares)


# ------------------------------------------------------------------------------------------------
# One take in sentences
# ------------------------------------------------------------------------------------------------
def check_take(bvh, sound):
    """One pair -> (Motion, seconds of motion and sound, Evidence or None, odd: [sentences]).

    The Evidence is lab.lag's, on how late the motion is. Raises what training would raise.
    """
    odd = []
    try:
        motion, waveform = load_take(bvh, sound)
    except BvhError as error:
        # Training reads the rows that it needs. Where it stops, the same is raised once more
        motion, waveform = load_take(bvh, sound, USUAL_FPS)
        what = str(error).removeprefix(f"{bvh}: ")
        odd.append(f"{what} (training at {USUAL_FPS} frames a second does not read that row)")
    odd += [*motion.remarks, *odd_jumps(motion), *odd_in_sound(sound, waveform)]
    seconds = min(len(waveform) / SAMPLE_RATE, len(motion) * motion.frame_time)
    return motion, seconds, evidence(motion, waveform), odd


def odd_jumps(motion):
    """Does a joint jump? [at most one sentence]."""
    jumps = find_jumps(motion)
    if not len(jumps):
        return []
    return [f"{len(jumps)} jumps that no human can do, the first at {jumps[0]:.2f} s"]


def odd_in_sound(sound, waveform):
    """What is odd about a sound by itself: [sentences]. sound: its path."""
    odd = []
    share = clipped_share(sound)
    if share > CLIPPED_SHARE:
        odd.append(f"the sound is clipped ({100 * share:.2g}% of its samples)")
    level = 20 * np.log10(float(loud_level(waveform)))
    if level < QUIET:
        odd.append(f"the sound is nearly silent (its loud parts reach {level:.0f} dB)")
    return odd


# ------------------------------------------------------------------------------------------------
# All takes
# ------------------------------------------------------------------------------------------------
@dataclass
class Findings:
    """What there is in a folder, and what is wrong with it."""

    wrong: list  # (file, sentence, does training stop there?)
    seconds: dict = field(default_factory=dict)  # {bvh that can be used: its seconds}
    evidence: dict = field(default_factory=dict)  # {bvh that can be used: lab.lag's, or None}
    rates: Counter = field(default_factory=Counter)  # of the motions, in words
    sounds: Counter = field(default_factory=Counter)  # sample rates, in words
    joints: dict = field(default_factory=dict)  # {(count, root, names): [file names]}
    bones: set = field(default_factory=set)  # one entry for each body
    first: object = None  # the first Motion that can be used

    def count(self, bvh, sound, motion):
        """Take a pair into the statistics of what there is, usable or not."""
        names = motion.names
        self.joints.setdefault((len(names), names[0], tuple(names)), []).append(bvh.name)
        self.rates[f"{1 / motion.frame_time:.4g} frames a second"] += 1
        rate, _ = next(file_blocks(sound, 1))
        self.sounds[f"{rate} Hz"] += 1

    def use(self, bvh, motion, seconds, evidence):
        """Take in a pair that can be used."""
        self.seconds[bvh], self.evidence[bvh] = seconds, evidence
        self.bones.add(np.round(motion.offsets[1:], 3).tobytes())
        self.first = self.first or motion


def look(pairs, lonely, split):
    """Read every take once -> Findings. lonely: files without a partner, as match_files has them.

    The training takes come first, as in training: the others are compared with the first of them.
    Training does not compare what is held out, so there another skeleton does not stop it.
    """
    skeleton, bones = most_common_skeleton(split["train"] or pairs)
    found = Findings([(path, what, True) for path, what in lonely])
    size, trained_on = None, set(split["train"])
    pairs = sorted(pairs, key=lambda pair: pair not in trained_on)
    for bvh, sound in tqdm(pairs, desc="checking", unit="take", disable=None):
        stops = True  # a take that cannot be read stops training, held out or not
        try:
            motion, seconds, lag, odd = check_take(bvh, sound)
            found.count(bvh, sound, motion)
            stops = (bvh, sound) in trained_on
            refuse_other_skeleton(bvh, motion, *skeleton)
            try:
                size = refuse_other_unit(bvh, motion, size, bones)
            except CorpusError as error:
                if stops:
                    raise
                # A held-out take can be judged all the same: scores are in body heights
                odd.append(str(error).removeprefix(f"{bvh}: "))
        except InputError as error:
            found.wrong.append((bvh, str(error).removeprefix(f"{bvh}: "), stops))
            continue
        found.wrong += [(bvh, what, False) for what in odd]
        found.use(bvh, motion, seconds, lag)
    return found


# ------------------------------------------------------------------------------------------------
# Motion and sound
# ------------------------------------------------------------------------------------------------
def odd_lags(evidence):
    """{bvh: Evidence or None} -> (what the takes tell, a sentence; odd [(bvh, what, False)])."""
    said = {bvh: verdict(found) for bvh, found in evidence.items()}
    takes = {
        what: [bvh for bvh, (found, _) in said.items() if found == what]
        for what in ("in step", "shifted", "cannot tell")
    }
    odd = [(bvh, shifted(said[bvh][1]), False) for bvh in takes["shifted"]]
    lengths = [evidence[bvh].seconds for bvh in takes["in step"]]
    if len(lengths) >= max(3, 3 * len(takes["cannot tell"])):  # then silence is odd
        what = (
            "no sign that the motion follows the sound, which other takes show; "
            "is it the right sound?"
        )
        odd += [
            (bvh, what, False)
            for bvh in takes["cannot tell"]
            if evidence[bvh] and evidence[bvh].seconds >= np.median(lengths)
        ]
    parts = [f"{len(takes['in step'])} takes follow their sound"] if takes["in step"] else []
    parts += [f"{len(takes['shifted'])} seem shifted"] if takes["shifted"] else []
    if takes["cannot tell"]:
        parts.append(untold([evidence[bvh] for bvh in takes["cannot tell"]]))
    return "; ".join(parts), odd


def before_or_after(by):
    """1.4 -> "1.4 s after"."""
    return f"{abs(by):.1f} s {'after' if by > 0 else 'before'}"


def shifted(by):
    """A sentence about a take whose motion is late by so many seconds."""
    return (
        f"the motion seems to come {before_or_after(by)} the sound (people's own gestures: up to "
        f"{NATURAL} s before or after); look with lab.plot before you shift one of them"
    )


def untold(evidence):
    """What is said of takes that tell nothing one by one: a sentence. evidence: theirs, or None."""
    alone = f"of {len(evidence)} nothing can be told (those of people need about a minute)"
    known = [found for found in evidence if found]
    if len(known) < 2:
        return alone
    what, by = verdict(sum(known[1:], known[0]))
    if what == "shifted":
        return f"{alone}, but together they seem to come {before_or_after(by)} the sound"
    return alone + (", but together they follow it" if what == "in step" else ", nor together")


# ------------------------------------------------------------------------------------------------
# The report
# ------------------------------------------------------------------------------------------------
def check(folder, test=()):
    """Read everything once and print what there is, what is wrong and what training would use.

    test: takes to hold out, as for train.py. CorpusError if nothing can be used.
    """
    pairs, lonely = match_files(folder)
    split = split_takes(folder, pairs, test)  # training leaves out what is unusable afterwards
    found = look(pairs, lonely, split)
    follows, odd = odd_lags(found.evidence)
    found.wrong += odd
    print(shown(folder))
    print_contents(found, len(pairs))
    if found.first:
        print_body(found)
        print_line("motion and sound", follows)
    print_wrong(found)
    if not found.seconds:
        raise CorpusError(f"{folder}: nothing usable is left; mend what stands above")
    stops = any(stops for _, _, stops in found.wrong)
    print("what training would use" + (" with --skip" if stops else ""))
    for part, takes in split.items():
        print_part(part, [found.seconds[bvh] for bvh, _ in takes if bvh in found.seconds])


def print_line(name, what):
    """One line of the report, in two columns."""
    print(f"  {name:<22}{shown(what)}")


def print_contents(found, count):
    """What there is: `count` pairs, their length, rates and skeletons."""

    def takes_by(counter):
        return ", ".join(f"{n} takes at {rate}" for rate, n in counter.most_common()) or "none"

    print_line("pairs", f"{count}, of which {len(found.seconds)} can be used")
    print_line("minutes", f"{sum(found.seconds.values()) / 60:.1f}")
    print_line("motion", takes_by(found.rates))
    print_line("sound", takes_by(found.sounds))
    by_number = sorted(found.joints.items(), key=lambda item: -len(item[1]))
    for (joints, root, _), files in by_number:
        some = f" ({', '.join(files[:5])}{', ...' if len(files) > 5 else ''})"
        rare = len(files) < count / 2  # then it helps to know which takes they are
        what = f"{joints} joints from {root}: {len(files)} takes"
        print_line("skeleton", what + (some if rare else ""))


def print_body(found):
    """What training makes of the skeleton, which all takes that can be used share."""
    motion = found.first
    print_line("bodies", f"{len(found.bones)}, by the lengths of their bones")
    if root := body_root(motion):
        walks = motion.names[root]
        print_line(
            "root",
            f"{motion.names[0]} stays behind where {walks} goes: where one stands and faces is "
            "learnt along with the gesture; if people walk or turn, better export with "
            f"{walks} as ROOT",
        )
    try:
        hands = ", ".join(motion.names[j] for j in hand_joints(motion))
        print_line("hands", f"{hands}: strokes are looked for there")
    except BvhError as error:
        print_line("hands", f"no: {error}")
    try:
        print_line("can be mirrored", f"yes, across the {'xyz'[mirror_pairs(motion)[1]]} axis")
    except BvhError as error:
        print_line("can be mirrored", f"no: {error}")


def print_wrong(found):
    """What to look at, by file."""
    if found.wrong:
        print("what to look at (! stops training, or is left out with --skip)")
    for path, what, stops in sorted(found.wrong):
        print_line("!" if stops else "", shortened(shown(f"{path}: {what}")))


def print_part(part, seconds):
    """What is used of one part: its takes' lengths in seconds [n]."""
    nothing = {
        "train": "; there is nothing to train on: add recordings, or hold out fewer",
        "test": "; lab.evaluate can judge no model on it: name takes with --test, or make a "
        "folder test/",
    }
    what = f"{len(seconds)} takes, {sum(seconds) / 60:.1f} minutes"
    if not seconds:
        what += nothing.get(part, "")
    short = sum(length < USUAL_WINDOW - 0.05 for length in seconds)
    if part == "train" and short:
        what += (
            f"; {short} of them shorter than train.py's usual window of {USUAL_WINDOW:g} s, and "
            "not learnt from but with a smaller --window"
        )
    print_line(part, what)


def main():
    parser = Parser(
        prog="python -m lab.check",
        description="Look at a folder of paired BVH and sound files before training on it.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="NAME", help="takes to hold out, as for train.py"
    )
    args = parser.parse_args()
    check(args.folder, args.test)


if __name__ == "__main__":
    run_script(main)
