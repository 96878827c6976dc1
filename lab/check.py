"""Look before you train: what is in a folder of recordings, what is wrong with it, what is used.

    python -m lab.check FOLDER

In reading order: what is measured on one take (jumps, clipping, lag between motion and sound);
check_take, which makes sentences of it; look, which reads all takes; the report.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from body.joints import body_root, hand_joints
from body.mirror import mirror_pairs
from body.motion import BvhError, resample
from body.size import hands_of, height_of
from body.stretch import collapsed
from recordings.audio import SAMPLE_RATE
from recordings.level import loud_level
from recordings.pairs import CorpusError, load_take, match_files, split_takes
from recordings.skeletons import (
    extents,
    most_common_skeleton,
    refuse_other_skeleton,
    refuse_other_unit,
)
from tools import InputError, Parser, run_script, shortened, shown

FASTEST_TURN = 3000  # degrees a second: twice the fastest wrist in sports; more is a capture error
FASTEST_MOVE = 6  # body heights a second, 10 m/s: a sprinter
USUAL_FPS = 20  # train.py's --fps
USUAL_WINDOW = 8.0  # s: train.py's --window, 160 frames of 20 a second
CLIPPED_SHARE = 1e-4  # of the samples, in runs of three or more at the peak
QUIET = -50  # dB below full scale of the loud parts: the microphone was not on
FOLLOWS = 4.2  # deviations of the correlation; lag_of_motion says why
IN_STEP = 0.25  # s: people's own gestures run ahead of their speech, or behind it, by so much
LAGS = 10.0  # s, searched on either side
TELLING = 30.0  # s: shorter takes do not tell, see lag_of_motion


# ------------------------------------------------------------------------------------------------
# Measures of one take
# ------------------------------------------------------------------------------------------------
def falling_speed(motion):
    """How fast the faster of the hands falls, seen from the hips: [F] in body heights a second.

    0 where both rise. Raises BvhError if no joint is called a hand.
    """
    y = hands_of(motion)[..., 1]  # [F, 2]
    if len(y) < 2:
        return np.zeros(len(y))
    return np.maximum(-np.gradient(y, axis=0), 0).max(axis=1) / motion.frame_time  # [F]


def lag_of_motion(motion, waveform, rate=20):
    """How late the motion is -> (seconds after the sound, how sure), or None if it does not tell.

    The falling speed of the hands is correlated with the level of the speech (dB, cut off 35 dB
    below the loud parts) at every shift; the take counts as a circle. The lag is the shift of the
    highest correlation within LAGS. How sure: by how many standard deviations it lies above the
    mean of all shifts.

    FOLLOWS was chosen on 12 takes of the puppet of 60 s. With their own sound it was 5.8 to 9.7
    deviations; with another take's sound at most 4.0. For their first 30 s: 4.3 to 7.8, and at most
    3.8. Shorter takes overlap (python -m lab.bench find_lags), so they give None. People gesture
    less to the beat than puppets: a low value does not prove that a take is wrong. Look at it.
    """
    motion = resample(motion, rate)
    hop = SAMPLE_RATE // rate
    n = min(len(motion), len(waveform) // hop)
    if n < TELLING * rate:
        return None
    loudness = (waveform[: n * hop] / loud_level(waveform)).reshape(n, hop)
    power = loudness.square().mean(dim=1).numpy()  # [n]
    level, falling = 10 * np.log10(np.maximum(power, 10**-3.5)), falling_speed(motion)[:n]
    if falling.std() == 0 or level.std() == 0:
        return None
    a, b = np.fft.rfft(falling - falling.mean()), np.fft.rfft(level - level.mean())
    correlation = np.fft.irfft(a * np.conj(b), n)  # [n], by shift
    sure = (correlation - correlation.mean()) / correlation.std()  # [n]
    lag = (np.arange(n) + n // 2) % n - n // 2  # [n], in frames
    best = np.argmax(np.where(np.abs(lag) <= min(LAGS * rate, n // 3), sure, -np.inf))
    return lag[best] / rate, float(sure[best])


def find_jumps(motion):
    """Times in seconds at which a joint turns or moves faster than a human can, [n]."""
    R, p, dt = motion.rotations, motion.positions, motion.frame_time
    cosine = (np.einsum("fjab,fjab->fj", R[:-1], R[1:]) - 1) / 2  # [F - 1, J]
    turned = np.arccos(np.clip(cosine, -1, 1)).max(axis=1, initial=0)  # [F - 1], radians
    moved = np.linalg.norm(np.diff(p, axis=0), axis=-1).max(axis=1, initial=0)  # [F - 1]
    moved = moved / max(height_of(motion), 1e-9)
    # At high rates a single noisy frame is no jump: at least 30 degrees, 0.05 body heights
    turns = turned > np.radians(max(30, FASTEST_TURN * dt))
    moves = moved > max(0.05, FASTEST_MOVE * dt)
    return (np.flatnonzero(turns | moves) + 1) * dt


def clipped_share(sound):
    """Share of a file's samples that lie in runs of three or more at the peak, as clipping does.

    Of several channels, the largest share.
    """
    shares = [0.0]
    for samples in soundfile.read(sound, dtype="float32", always_2d=True)[0].T:  # [samples]
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
    """One pair -> (Motion, seconds that have both motion and sound, what is odd: [sentences]).

    Raises what training would raise.
    """
    odd = []
    try:
        motion, waveform = load_take(bvh, sound)
    except BvhError as error:
        # Training reads the rows that it needs. Where it stops, the same is raised once more
        motion, waveform = load_take(bvh, sound, USUAL_FPS)
        what = str(error).removeprefix(f"{bvh}: ")
        odd.append(f"{what} (training at {USUAL_FPS} frames a second does not read that row)")
    spoken, moved = len(waveform) / SAMPLE_RATE, len(motion) * motion.frame_time
    if abs(spoken - moved) > 0.5:
        odd.append(
            f"the motion lasts {moved:.1f} s and the sound {spoken:.1f} s; the rest is not used"
        )
    odd += odd_in_motion(motion) + odd_in_sound(sound, waveform) + odd_lag(motion, waveform)
    return motion, min(spoken, moved), odd


def odd_in_motion(motion):
    """What is odd about a motion by itself: [sentences]."""
    odd = [*motion.remarks, *collapsed(motion)]
    x, y, z = extents(motion)
    if z > 1.5 * y and z > x:  # arms stretched to the sides make x large
        odd.append(
            f"the body lies ({z:.3g} long along z, {y:.3g} along y): if z points up in this file, "
            "export it with y up, which training takes for granted"
        )
    if np.ptp(motion.rotations, axis=0).max() < 1e-9:
        odd.append("nothing moves")
    jumps = find_jumps(motion)
    if len(jumps):
        odd.append(f"{len(jumps)} jumps that no human can do, the first at {jumps[0]:.2f} s")
    return odd


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


def odd_lag(motion, waveform):
    """Whether the motion follows the sound, and when: [at most one sentence]."""
    try:
        lag = lag_of_motion(motion, waveform)
    except BvhError:  # no joint is called a hand: there is nothing to compare the sound with
        return []
    if lag is None:
        return []
    late, sure = lag
    if sure < FOLLOWS:
        return [
            f"no sign that the motion follows the sound ({sure:.1f} deviations; "
            f"{FOLLOWS} would be one)"
        ]
    if abs(late) > IN_STEP:
        side = "after" if late > 0 else "before"
        return [
            f"the motion comes {abs(late):.1f} s {side} the sound ({sure:.1f} deviations); "
            "shift one of them"
        ]
    return []


# ------------------------------------------------------------------------------------------------
# All takes
# ------------------------------------------------------------------------------------------------
@dataclass
class Findings:
    """What there is in a folder, and what is wrong with it."""

    wrong: list  # (file, sentence, does training stop there?)
    seconds: dict = field(default_factory=dict)  # {bvh that can be used: its seconds}
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
        self.sounds[f"{soundfile.info(sound).samplerate} Hz"] += 1

    def use(self, bvh, motion, seconds):
        """Take in a pair that can be used."""
        self.seconds[bvh] = seconds
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
            motion, seconds, odd = check_take(bvh, sound)
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
        found.use(bvh, motion, seconds)
    return found


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
    print(shown(folder))
    print_contents(found, len(pairs))
    if found.first:
        print_body(found)
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
