"""How a talking body moves, in numbers that depend on no rig, beside two recorded people.

    python -m lab.people ZEGGS='zeggs/*.bvh' model='out/*.bvh' --json people.json

Each LABEL=GLOB is a column; its files are weighted by their length. Beside each row stands the
range of two recordings of people, widened by a third, and whether the column lies within it. The
last lines count: "model: 13 of 15 within".

What this is. Motion of one model, or of the puppet, held against one minute each of two people. A
body that pumps one hand up and down, or whose shoulders never move, falls out of the ranges.
What it is not. Two people are no population: a good speaker may well lie outside, and the ranges
say nothing about what is usual. All rows are summaries over a take: none of them hears the speech,
knows what was said, or sees whether a gesture has a form. A body that is within all ranges may
still look wrong. Whoever was made to fit these rows (the puppet was) proves nothing by fitting
them.

Reading order
    seen_from_the_hips     any skeleton as its shared joints, in metres, from the hips
    of_hands, of_body      the statistics; statistics(motion) is all of them
    limits, within         the range of two people, and what lies within
    print_people, main     the command
"""

import glob
import json
import math
from pathlib import Path

import numpy as np

from body.bvh import read_bvh
from body.joints import COMMON_BODY
from body.motion import resample
from body.size import common_body
from tools import InputError, Parser, run_script, written_beside

FPS = 20  # frames a second at which all motions are compared
ARM = 0.53  # m from shoulder to wrist of a body of 1.7 m: what sets the scale
MOVING = 0.25  # m/s: a hand that is faster moves
SIDES = ("left", "right")

# name: (what it is, of ZEGGS, of BEAT). The recordings: 067_Speech_2_x_1_0 of ZeroEGGS, 68.8 s
# (Ghorbani et al. 2023), and 2_scott_0_1_1 of BEAT, 63.8 s (Liu et al. 2022), whose legs were not
# recorded. The knee is shown and does not count: 160 degrees, widened by a third, admit any knee
# that stands.
# fmt: off
STATISTICS = {
    "hands_moving":   ("hands moving, share of the time",     0.69,  0.83),
    "both_moving":    ("both of them, share of that",         0.58,  0.65),
    "vertical_share": ("vertical share of the hands' path",   0.51,  0.53),
    "range_sideways": ("hand range sideways, m",              0.49,  0.37),
    "range_up":       ("hand range up, m",                    0.62,  0.56),
    "range_front":    ("hand range to the front, m",          0.61,  0.43),
    "highest_hand":   ("highest hand under the shoulder, m", -0.13, -0.05),
    "least_distance": ("hands' least distance, m",            0.24,  0.29),
    "speed_median":   ("hand speed while moving, median m/s", 0.64,  0.58),
    "speed_95":       ("the same, 95%, m/s",                  1.99,  1.53),
    "shoulder_sd":    ("shoulder rises and falls, sd cm",     1.40,  1.22),
    "trunk_sd":       ("trunk leans, sd degrees",             4.4,   3.4),
    "elbow_range":    ("elbow angle, 2% to 98%, degrees",     92.0,  100.0),
    "hips_sway":      ("hips sway, rms mm",                   127.0, None),
    "neck_sd":        ("neck bends, sd degrees",              9.5,   7.8),
    "knee_mean":      ("left knee angle, mean degrees",       160.0, None),
}
# fmt: on
COUNTED = tuple(name for name in STATISTICS if name != "knee_mean")  # 15 of them
WIDER = 4 / 3  # by how much the range of two people is widened at its upper end


# ------------------------------------------------------------------------------------------------
# The body, from its hips
# ------------------------------------------------------------------------------------------------
def seen_from_the_hips(motion):
    """A Motion -> (places {joint of COMMON_BODY: [F, 3]}, hips [F, 3]), in metres, FPS a second.

    Axes: to the body's left, up along the trunk, to the front, of the mean pose; they don't turn
    with the body. `places` are seen from the hips. The size is that of a body of 1.7 m by its
    arms, whatever the file's unit. Without feet the places of the legs are NaN, and the root stands
    for the hips. Raises BvhError if a joint cannot be found by name.
    """
    motion = resample(motion, FPS)
    world = dict(zip(COMMON_BODY, np.moveaxis(common_body(motion), 1, 0)))  # [F, 3] each
    arms = np.mean([
        length(world[f"{side} {a}"] - world[f"{side} {b}"]).mean()
        for side in SIDES for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))
    ])  # fmt: skip
    up = unit((world["neck"] - world["hips"]).mean(axis=0))  # [3]
    across = (world["left shoulder"] - world["right shoulder"]).mean(axis=0)
    left = unit(across - across @ up * up)
    axes = np.stack([left, up, np.cross(left, up)], axis=1) * ARM / (2 * arms)  # [3, 3]
    places = {name: (place - world["hips"]) @ axes for name, place in world.items()}
    return places, world["hips"] @ axes


def length(x):
    """Lengths of vectors [..., 3] -> [...]."""
    return np.linalg.norm(x, axis=-1)


def unit(x):
    """Vectors [..., 3] of length 1; those of no length become NaN."""
    with np.errstate(invalid="ignore"):
        return x / length(x)[..., None]


def spread(values):
    """From the 2nd to the 98th percentile of values [n, ...] -> [...]."""
    low, high = np.percentile(values, (2, 98), axis=0)
    return high - low


def bend(start, middle, end):
    """Angle at a joint [F], degrees: 180 is straight."""
    cosine = np.sum(unit(start - middle) * unit(end - middle), axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def wobble(bone):
    """Root mean square of a bone's angle to its mean direction, degrees. bone: [F, 3]."""
    bone = unit(bone)
    angles = np.degrees(np.arccos(np.clip(bone @ unit(bone.mean(axis=0)), -1, 1)))  # [F]
    return np.sqrt(np.mean(angles**2))


# ------------------------------------------------------------------------------------------------
# The statistics
# ------------------------------------------------------------------------------------------------
def statistics(motion):
    """{name of STATISTICS: value} of a Motion; NaN where not defined, as of legs not recorded."""
    places, hips = seen_from_the_hips(motion)
    if len(hips) < 2:
        return dict.fromkeys(STATISTICS, float("nan"))
    values = of_hands(places) | of_body(places, hips)
    return {name: float(values[name]) for name in STATISTICS}


def of_hands(places):
    """How far, how fast and where the hands move."""
    wrists = np.stack([places[f"{side} wrist"] for side in SIDES], axis=1)  # [F, 2, 3]
    shoulders = np.stack([places[f"{side} shoulder"] for side in SIDES], axis=1)
    velocity = np.diff(wrists, axis=0) * FPS  # [F - 1, 2, 3] m/s
    speed = length(velocity)  # [F - 1, 2]
    moves = speed > MOVING
    under = (shoulders - wrists)[..., 1]  # [F, 2]
    sideways, up, front = spread(wrists).mean(axis=0)  # of both hands
    values = dict(
        hands_moving=moves.any(axis=1).mean(),
        both_moving=float("nan"),
        vertical_share=float("nan"),
        range_sideways=sideways,
        range_up=up,
        range_front=front,
        highest_hand=np.percentile(under, 2, axis=0).min(),
        least_distance=np.percentile(length(wrists[:, 0] - wrists[:, 1]), 2),
        speed_median=float("nan"),
        speed_95=float("nan"),
    )
    if moves.any():
        values |= dict(
            both_moving=moves.all(axis=1).sum() / moves.any(axis=1).sum(),
            vertical_share=np.abs(velocity[moves][:, 1]).sum() / speed[moves].sum(),
            speed_median=np.median(speed[moves]),
            speed_95=np.percentile(speed[moves], 95),
        )
    return values


def of_body(places, hips):
    """How shoulders, trunk, elbows, hips, neck and knees move. hips: [F, 3], where they are."""
    rises = [(places[f"{side} shoulder"] - places["neck"])[:, 1].std() for side in SIDES]
    arm, leg = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    elbows = [bend(*(places[f"{side} {joint}"] for joint in arm)) for side in SIDES]
    knee = bend(*(places[f"left {joint}"] for joint in leg))  # [F]
    away = (hips - hips.mean(axis=0))[:, [0, 2]]  # [F, 2] level
    sway = 1000 * np.sqrt((away**2).sum(axis=1).mean())
    legs = sway > 1 and not np.isnan(knee).any()  # mm: nobody stands so still without a recording
    return dict(
        shoulder_sd=100 * np.mean(rises),
        trunk_sd=wobble(places["neck"]),
        elbow_range=spread(np.concatenate(elbows)),
        hips_sway=sway if legs else float("nan"),
        neck_sd=wobble(places["head"] - places["neck"]),
        knee_mean=knee.mean() if legs else float("nan"),
    )


def mean_statistics(motions):
    """statistics of several Motions, each weighted by its seconds; a NaN has no weight."""
    each = [statistics(motion) for motion in motions]
    seconds = np.array([len(motion) * motion.frame_time for motion in motions])
    means = {}
    for name in STATISTICS:
        values = np.array([values[name] for values in each])
        known = ~np.isnan(values)
        total = seconds[known].sum()
        means[name] = float((values * seconds)[known].sum() / total) if total else math.nan
    return means


# ------------------------------------------------------------------------------------------------
# Two people
# ------------------------------------------------------------------------------------------------
def limits(name):
    """(lower, upper) of a statistic: the range of two people, widened outwards by a third.

    The lower limit times 2/3, the upper one times 4/3; of negative ones the other way round.
    """
    people = [value for value in STATISTICS[name][1:] if value is not None]
    low, high = min(people), max(people)
    narrower = 2 - WIDER  # 2/3
    return low * (narrower if low > 0 else WIDER), high * (WIDER if high > 0 else narrower)


def within(values):
    """{name: whether the statistic lies within its limits}, of those of COUNTED; NaN does not."""
    return {name: bool(limits(name)[0] <= values[name] <= limits(name)[1]) for name in COUNTED}


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def print_people(columns):
    """The table of {label: statistics}. "!": outside of the range; a dash: not defined."""
    inside = {label: within(values) for label, values in columns.items()}
    width = max(10, *(len(label) + 2 for label in columns))
    print(f"{'':38}{'two people, widened':>22}" + "".join(f"{x:>{width}}" for x in columns))
    for name, (what, *_) in STATISTICS.items():
        low, high = limits(name)
        digits = 1 if high > 3 else 2
        cells = ""
        for label, values in columns.items():
            value = "-" if math.isnan(values[name]) else f"{values[name]:.{digits}f}"
            mark = " " if inside[label].get(name, True) or value == "-" else "!"
            cells += f"{value + mark:>{width}}"
        shown = f"{low:.{digits}f} to {high:.{digits}f}" if name in COUNTED else "does not count"
        print(f"{what:38}{shown:>22}{cells}")
    for label, marks in inside.items():
        unknown = sum(math.isnan(columns[label][name]) for name in COUNTED)
        also = f", {unknown} not defined" if unknown else ""
        print(f"{label}: {sum(marks.values())} of {len(COUNTED)} within{also}")


def read_column(pattern):
    """The Motions of the BVH files that a pattern names."""
    paths = sorted(glob.glob(pattern, recursive=True))
    if not paths:
        raise InputError(f"{pattern}: no such file; name BVH files, as in 'out/*.bvh'")
    return [read_bvh(path, FPS) for path in paths]


def pieces(motions, seconds):
    """Motions cut into pieces of so many seconds; what is left at an end is left out."""
    frames, cut = round(seconds * FPS), []
    for motion in motions:
        for start in range(0, len(motion) - frames + 1, frames):
            cut.append(motion.cut(slice(start, start + frames)))
    return cut


def print_pieces(label, motions, seconds):
    """How many statistics are within in each piece: short takes have smaller ranges."""
    marks = [sum(within(statistics(piece)).values()) for piece in pieces(motions, seconds)]
    if not marks:
        raise InputError(f"{label}: no take is as long as --pieces {seconds:g} s")
    count = f"{min(marks)} to {max(marks)}, {np.mean(marks):.1f} on average"
    print(f"{label}, each of {len(marks)} pieces of {seconds:g} s: {count}")


def main(arguments=None):
    """Print the table of the columns that the command line names."""
    what = "How talking bodies move, beside two recorded people."
    parser = Parser(prog="python -m lab.people", description=what)
    parser.add_argument("columns", nargs="+", metavar="LABEL=GLOB", help="BVH files of a column")
    cut = "count also within each piece of so many seconds: a short take reaches less far"
    parser.add_argument("--pieces", type=float, metavar="SECONDS", help=cut)
    parser.add_argument("--json", type=Path, metavar="FILE", help="to write the numbers to")
    args = parser.parse_args(arguments)
    if args.pieces is not None and not 1 <= args.pieces < math.inf:
        parser.error(f"--pieces must be at least 1 second, not {args.pieces:g}")
    motions, columns = {}, {}
    for column in args.columns:
        label, _, pattern = column.partition("=")
        if not (label and pattern):
            parser.error(f"{column!r} is not LABEL=GLOB, as in model='out/*.bvh'")
        motions[label] = read_column(pattern)
        columns[label] = mean_statistics(motions[label])
    print_people(columns)
    for label in columns if args.pieces else ():
        print_pieces(label, motions[label], args.pieces)
    if args.json:
        rows = {
            label: {name: None if math.isnan(x) else x for name, x in values.items()}
            for label, values in columns.items()
        }
        inside = {label: within(values) for label, values in columns.items()}
        with written_beside(args.json) as beside:
            beside.write_text(json.dumps(dict(columns=rows, within=inside), indent=1) + "\n")


if __name__ == "__main__":
    run_script(main)
