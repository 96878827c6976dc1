"""What is odd about a take without being an error: one sentence each, kept in Motion.remarks.

lab/check.py says all of it; training says once what many takes share (say_remarks). In reading
order: how the body stands and moves, how long motion and sound are, saying it.
"""

import re
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from body.joints import first_joint, legs_of
from body.motion import USUAL_RATES, BvhError, meant_frame_time, rate_of
from body.stretch import collapsed
from tools import one_line

UPRIGHT = 0.5  # cosine of the angle between up and the way from hips to head: 60 degrees


# ------------------------------------------------------------------------------------------------
# The body
# ------------------------------------------------------------------------------------------------
def odd_body(motion):
    """Does the body collapse, lie, stand on its head, or not move at all? [sentences]."""
    still = np.ptp(motion.rotations, axis=0).max() < 1e-9
    nothing = ["nothing moves"] if still else []
    return [*collapsed(motion), *odd_stance(way_up(motion)), *nothing]


def way_up(motion):
    """Mean direction from the hips to the head [3], over some 50 frames; its length is at most 1.

    Without legs the hips are the root. The neck will do for the head. None if there is neither, or
    no way between them.
    """
    try:
        top = first_joint(motion, "", "head|neck")
    except BvhError:
        return None
    few = motion.cut(slice(None, None, max(1, len(motion) // 50)))
    p, legs = few.joint_positions(), legs_of(motion)  # [f, J, 3]
    hips = [leg[0] for leg in legs] if legs else [0]
    way = p[:, top] - p[:, hips].mean(axis=1)  # [f, 3]
    length = np.linalg.norm(way, axis=1, keepdims=True)  # [f, 1]
    return (way / length).mean(axis=0) if length.min() > 1e-9 else None


def odd_stance(way):
    """Is the body upside down, or does it lie? way: way_up's. [at most one sentence]."""
    if way is None or way[1] > UPRIGHT or np.linalg.norm(way) < UPRIGHT:
        return []
    axis = int(np.argmax(np.abs(way)))
    towards = ("-" if way[axis] < 0 else "") + "xyz"[axis]
    if towards == "-y":
        return [
            "the body is upside down (its head is below its hips): export it with y up, which "
            "training takes for granted"
        ]
    return [
        f"the body lies (its head is towards {towards} from its hips): if {towards} points up in "
        "this file, export it with y up, which training takes for granted"
    ]


# ------------------------------------------------------------------------------------------------
# Lengths
# ------------------------------------------------------------------------------------------------
def other_rate(moved, spoken, rate):
    """At which usual rate is a motion of `moved` s as long as the sound of `spoken` s?

    It happens that a program writes the rate of a project (24) to what was captured at another
    (120). rate: frames a second, as the file says. A sentence, or "" if there is no such rate.
    """
    misfit = {usual: abs(moved * rate / usual - spoken) for usual in USUAL_RATES}  # s
    least = min(misfit.values())
    # 30 and 29.97 fit about as well: then the likelier, which comes first
    meant = next(usual for usual in misfit if misfit[usual] <= least + 0.003 * spoken)
    if least > min(0.5, 0.01 * spoken) or abs(meant / rate - 1) < 0.01:
        return ""
    return (
        f"Frame Time looks wrong by {as_ratio(meant, rate)}: at {meant:.4g} frames a second "
        f"instead of {rate:.4g} both last {spoken:.1f} s; if that is how it was captured, set "
        f"Frame Time to {1 / meant:.6g}"
    )


def as_ratio(a, b):
    """The ratio of two rates in words, as that of two usual rates if there are such: "5 = 120/24".

    A file's own rate may be none of these: 6, where 30 was divided by 120/24.
    """
    low, high = sorted((a, b))
    if not {low, high} <= set(USUAL_RATES):
        usual = ((x, y) for x in USUAL_RATES for y in USUAL_RATES)
        low, high = next(
            (p for p in usual if abs(p[1] * low / p[0] / high - 1) < 1e-3), (low, high)
        )
    return f"{high / low:.3g} = {high:.4g}/{low:.4g}"


def said_rate(bvh):
    """Frames a second, as a BVH file that can be read says."""
    said = re.search(rb"Frame\s+Time\s*:?\s*(\S+)", Path(bvh).read_bytes(), re.IGNORECASE)
    return rate_of(meant_frame_time(said[1].decode()))


# ------------------------------------------------------------------------------------------------
# Saying it
# ------------------------------------------------------------------------------------------------
def say_remarks(remarks):
    """Remarks [(file, sentence)] on standard error: of those that differ in numbers only, one."""
    alike = {}
    for path, what in remarks:
        alike.setdefault(re.sub(r"[\d.]+", "", what), []).append((path, what))
    for (path, what), *others in alike.values():
        more = f" (and so for {len(others)} more takes)" if others else ""
        tqdm.write(one_line(f"{path}: {what}{more}"), file=sys.stderr)
