"""Does a body stay where it stands?   python -m lab.standing MOTION.bvh...

    heading    how far the body turns away from how it faced at first, degrees
    place      how far it goes from where it stood at first, m
    slide      how far the feet move over the ground while they are on it, cm a minute
    on ground  share of the time that a foot is on the ground, the mean of both: without it slide
               says nothing
    borders    jerk of the hands at the borders of the model's segments, divided by that elsewhere

Heading and place are those of means over 5 s: a turn of the hips within a gesture is no drift. All
lengths are those of a body of 1.7 m. A body that walks away has large numbers and is none the
worse: recorded motion says what is usual.
"""

import numpy as np

from body.bvh import read_bvh
from body.joints import COMMON_BODY
from lab.metrics import jerk, look_at
from tools import Parser, run_script

METRES = 1.5  # a body length, from ankle to head joint, of a body of 1.7 m
PART = 5.0  # s: heading and place are means over so long
# A foot is on the ground up to 1 cm above its lowest height. A step lifts it by 4 cm and more, and
# while it is below 1 cm it has hardly begun to move
CONTACT = 0.01 / METRES  # body lengths
SEGMENT = 2.0  # s: 40 frames of the model
NEAR = 0.15  # s: the third difference of places across a border reaches so far


def standing(motion, segment=SEGMENT):
    """Motion at 20 frames a second -> {name: number}, as above.

    BvhError where head, wrists or ankles are not found by name.
    """
    gesture = look_at(motion)
    on_ground, slide = feet_on_ground(gesture)
    return dict(
        heading=float(np.abs(headings(gesture)).max()),
        place=float(distances(gesture).max()),
        slide=slide,
        on_ground=on_ground,
        borders=border_jerk(gesture, segment),
    )


def headings(gesture):
    """Facing of the hips, mean of each 5 s, seen from the first mean: [parts] degrees."""
    left, right = (COMMON_BODY.index(f"{side} hip") for side in ("left", "right"))
    across = gesture.places[:, left] - gesture.places[:, right]  # [F, 3]
    turned = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))  # [F]: turns all the way round add
    means = _parts(turned, gesture.fps)
    return np.degrees(means - means[0])


def distances(gesture):
    """The hips' place over the ground, mean of each 5 s, from the first mean: [parts] in m."""
    means = _parts(gesture.places[:, 0][:, [0, 2]], gesture.fps)  # [parts, 2]
    return METRES * np.linalg.norm(means - means[0], axis=-1)


def _parts(values, fps):
    """Means of values [F, ...] over each 5 s -> [parts, ...]; the last part may last up to 10 s."""
    length = round(PART * fps)
    parts = max(1, len(values) // length)
    starts = length * np.arange(parts)
    counts = np.diff([*starts, len(values)]).reshape((-1,) + (1,) * (values.ndim - 1))
    return np.add.reduceat(values, starts, axis=0) / counts


def feet_on_ground(gesture):
    """(share of the time that an ankle is on the ground, how far it moves there in cm a minute).

    Both are means over the two feet. An ankle's ground is the 5th percentile of its height: one bad
    frame does not set it. A foot that turns about its ankle does not slide here.
    """
    ankles = [COMMON_BODY.index(f"{side} ankle") for side in ("left", "right")]
    feet = gesture.places[:, ankles]  # [F, 2, 3]
    low = feet[..., 1] <= np.quantile(feet[..., 1], 0.05, axis=0) + CONTACT  # [F, 2]
    stands = low[1:] & low[:-1]  # [F - 1, 2]
    steps = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)  # [F - 1, 2]
    minutes = len(steps) / gesture.fps / 60
    return float(stands.mean()), float(100 * METRES * steps[stands].sum() / 2 / minutes)


def border_jerk(gesture, segment=SEGMENT):
    """Mean jerk of the wrists within 0.15 s of multiples of `segment` s / mean jerk elsewhere.

    NaN where hands do not move. Strokes are rare and strong, so ten minutes leave +-0.07, and
    speech may happen to favour the borders: compare with recorded motion, and with several seeds.
    """
    jerks = jerk(gesture).mean(axis=1)  # [F - 3]
    # Third differences of frames n to n + 3; a border lies half a frame before a segment's first
    at = (np.arange(len(jerks)) + 2) / gesture.fps
    away = np.abs((at + segment / 2) % segment - segment / 2)  # [F - 3]
    inner = (at > NEAR) & (at < at[-1] - NEAR)
    near = away <= NEAR
    elsewhere = jerks[~near & inner].mean()
    return float(jerks[near & inner].mean() / elsewhere) if elsewhere > 0 else float("nan")


def main(arguments=None):
    """A line for each file."""
    parser = Parser(prog="python -m lab.standing", description=__doc__.splitlines()[0])
    parser.add_argument("motions", nargs="+", help="BVH files")
    args = parser.parse_args(arguments)
    print(f"{'heading':>9}{'place':>8}{'slide':>12}{'on ground':>11}{'borders':>9}")
    print(f"{'degrees':>9}{'m':>8}{'cm a minute':>12}{'of time':>11}{'times':>9}")
    for path in args.motions:
        s = standing(read_bvh(path, 20))
        print(
            f"{s['heading']:9.1f}{s['place']:8.3f}{s['slide']:12.1f}{s['on_ground']:11.2f}"
            f"{s['borders']:9.2f}  {path}"
        )


if __name__ == "__main__":
    run_script(main)
