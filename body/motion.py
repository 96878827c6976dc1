"""A motion as arrays: the skeleton, its rotations frame by frame, forward kinematics, frame rates.

In reading order: Motion (the skeleton and what it does), frame rates (what a file means by its
frame time), resampling to another rate, and the change of the vertical axis and of the unit.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from body.rotations import exp_to_matrix, matrix_to_exp
from tools import InputError


class BvhError(InputError):
    """A motion file, or the motion in it, cannot be used. The message says what to do."""


# ------------------------------------------------------------------------------------------------
# Motion
# ------------------------------------------------------------------------------------------------
@dataclass
class Motion:
    """A skeleton and its movement. Arrays are float64.

    End Sites (finger tips, top of the head) are no joints: they have an offset, but no rotation.
    A joint's position is its offset, unless the file has position channels for that joint.
    """

    names: list  # J joint names, each parent before its children
    parents: np.ndarray  # [J] index of the parent, -1 for the root
    offsets: np.ndarray  # [J, 3] the joint's place in its parent's frame, at rest
    channels: list  # J tuples such as ("Xposition", ..., "Zrotation"): the columns of a BVH row
    end_sites: list  # (index of the joint, name or "", (x, y, z)) for each End Site
    frame_time: float  # seconds between frames
    rotations: np.ndarray  # [F, J, 3, 3] in the parent's frame
    positions: np.ndarray  # [F, J, 3] in the parent's frame
    remarks: tuple = ()  # sentences: what was odd about the file

    def __len__(self):
        """Number of frames."""
        return len(self.rotations)

    def cut(self, frames):
        """The Motion of these frames: a slice."""
        return replace(self, rotations=self.rotations[frames], positions=self.positions[frames])

    def world(self):
        """Forward kinematics -> (orientations [F, J, 3, 3], positions [F, J, 3]) in the world.

        R_world[j] = R_world[parent] @ R[j];  p_world[j] = p_world[parent] + R_world[parent] @ p[j]
        """
        R, p = np.empty_like(self.rotations), np.empty_like(self.positions)
        for j, parent in enumerate(self.parents):
            if parent < 0:
                R[:, j], p[:, j] = self.rotations[:, j], self.positions[:, j]
            else:
                R[:, j] = R[:, parent] @ self.rotations[:, j]
                p[:, j] = p[:, parent] + (R[:, parent] @ self.positions[:, j, :, None])[..., 0]
        return R, p

    def joint_positions(self):
        """World positions of the joints [F, J, 3], in the file's unit."""
        return self.world()[1]

    def points(self):
        """Joints, then the E End Sites, for drawing: (positions [F, J + E, 3], parents [J + E])."""
        R, p = self.world()
        ends = [p[:, j] + R[:, j] @ np.asarray(offset) for j, _, offset in self.end_sites]
        points = np.concatenate([p] + [end[:, None] for end in ends], axis=1)  # [F, J + E, 3]
        parents = np.concatenate([self.parents, [j for j, _, _ in self.end_sites]])  # [J + E]
        return points, parents.astype(int)

    def body_height(self):
        """Vertical extent of the body, averaged over the frames, in the file's unit.

        body.size.height_of is that of any body, also of one without legs.
        """
        y = self.points()[0][..., 1]  # [F, J + E]
        return float(np.mean(y.max(axis=1) - y.min(axis=1)))


# ------------------------------------------------------------------------------------------------
# Frame rates
# ------------------------------------------------------------------------------------------------
# Frames a second, the likelier first; the last three are the rates of film and television.
# fmt: off
USUAL_RATES = (24, 25, 30, 48, 50, 60, 90, 100, 120, 240, 15, 72, 75,
               24 / 1.001, 30 / 1.001, 60 / 1.001)
# fmt: on


def rate_of(frame_time):
    """Frames a second; the whole number where the frame time is one's, rounded to six digits.

    0.008333 means 1/120. Taken literally, the motion would drift away from its sound.
    """
    rate = 1 / frame_time
    near = round(rate) > 0 and abs(1 / round(rate) - frame_time) < 1e-6
    return round(rate) if near else rate


def meant_frame_time(text):
    """The frame time in seconds that a file means by `text`; ValueError if it is no number.

    With three to five decimals it is a usual rate's, rounded or (four or five decimals) cut off:
    0.0167 means 1/60. Taken literally, the motion would be 1.2 s off after ten minutes. A whole
    rate is taken literally: 0.008 means 125. rate_of deals with six decimals.
    """
    time, text = float(text), text.rstrip("0")
    short = re.fullmatch(r"0*\.\d{3,5}", text) and time > 0
    if not short or abs(1 / time - round(1 / time)) <= 1e-6:
        return time
    unit = 10.0 ** -len(text.partition(".")[2])  # of the last digit
    for usual in (1 / rate for rate in USUAL_RATES):
        rounded = abs(usual - time) <= unit / 2
        cut_off = unit < 1e-3 and 0 < usual - time < unit
        if rounded or cut_off:
            return usual
    return time


# ------------------------------------------------------------------------------------------------
# Resampling
# ------------------------------------------------------------------------------------------------
def resample(motion, fps):
    """The same motion at `fps` frames a second: frame n is the pose at n / fps seconds."""
    return between(motion, *neighbours(len(motion), motion.frame_time, fps), 1 / fps)


def neighbours(frames, frame_time, fps):
    """Which frames of the source a motion at `fps` is made of -> (before, after, u), [n] each.

    Its frame n lies between the source's frames before[n] and after[n], u[n] of the way.
    """
    rate = rate_of(frame_time)
    count = int(np.floor((frames - 1) * fps / rate + 1e-6)) + 1
    at = np.minimum(np.arange(count) * rate / fps, frames - 1)  # [n] in source frames
    at = np.where(np.abs(at - np.round(at)) < 1e-6, np.round(at), at)  # whole ones stay as they are
    before, after = np.floor(at).astype(int), np.ceil(at).astype(int)
    return before, after, at - before


def between(motion, before, after, u, frame_time):
    """A Motion of n frames, each `u` [n] of the way from frame `before` [n] to frame `after` [n].

    Rotations take the shortest arc (slerp): R0 exp(u log(R0^T R1)). To pick the nearest frame
    instead would be up to half a frame off.
    """
    rotations, R1 = motion.rotations[before], motion.rotations[after]  # [n, J, 3, 3]
    if np.any(u):
        arc = matrix_to_exp(np.swapaxes(rotations, -1, -2) @ R1)  # [n, J, 3]
        rotations = rotations @ exp_to_matrix(u[:, None, None] * arc)
    w = u[:, None, None]
    positions = (1 - w) * motion.positions[before] + w * motion.positions[after]  # [n, J, 3]
    return replace(motion, frame_time=frame_time, rotations=rotations, positions=positions)


def smoothly(motion, fps):
    """A finished motion at a higher rate, without corners in its speed. Frame n is at n / fps s.

    Along a cubic through the frames (Catmull-Rom), in each rotation's own tangent space. Straight
    from frame to frame, hands would jerk 20 times a second. The last pose is held until the motion
    is as long as before: F frames at r a second last F / r, never less.
    """
    F, rate = len(motion), rate_of(motion.frame_time)
    if rate == fps:
        return motion
    # A frame more, where the last pose is held
    k, _, u = neighbours(F + 1, motion.frame_time, fps)
    n = math.ceil(F * fps / rate - 1e-6)
    k, u = k[:n], u[:n, None, None]
    before, after, later = (np.clip(k + step, 0, F - 1) for step in (-1, 1, 2))
    k = np.minimum(k, F - 1)

    def mixed(x_before, x_after, x_later):
        """The cubic from 0, at u: [n, J, 3]. The others are seen from frame k."""
        speed, speed_after = (x_after - x_before) / 2, x_later / 2
        bent = (u**3 - 2 * u**2 + u) * speed + (u**3 - u**2) * speed_after
        return bent + (3 * u**2 - 2 * u**3) * x_after

    R, p = motion.rotations, motion.positions
    back = np.swapaxes(R[k], -1, -2)  # [n, J, 3, 3]
    turn = mixed(*(matrix_to_exp(back @ R[others]) for others in (before, after, later)))
    move = mixed(*(p[others] - p[k] for others in (before, after, later)))  # [n, J, 3]
    rotations, positions = R[k] @ exp_to_matrix(turn), p[k] + move
    return replace(motion, frame_time=1 / fps, rotations=rotations, positions=positions)


# ------------------------------------------------------------------------------------------------
# The vertical axis, the unit
# ------------------------------------------------------------------------------------------------
def upright(motion, up):
    """The motion with its file's upward axis `up`, "y" or "z", made Y, as everywhere here."""
    if up == "y":
        return motion
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z becomes y, y becomes -z
    rotations, positions = motion.rotations.copy(), motion.positions.copy()
    rotations[:, 0], positions[:, 0] = turn @ rotations[:, 0], positions[:, 0] @ turn.T
    return replace(motion, rotations=rotations, positions=positions)


def in_unit(motion, unit):
    """The motion in "m" or "cm". A file does not say its unit, but a body is near 1.7 m tall.

    So the unit is taken for the power of ten that comes nearest: metres, centimetres, millimetres.
    """
    metres = 10.0 ** -round(math.log10(max(motion.body_height(), 1e-9) / 1.7))
    factor = metres * {"m": 1, "cm": 100}[unit]
    ends = [(j, name, tuple(factor * x for x in offset)) for j, name, offset in motion.end_sites]
    offsets, positions = factor * motion.offsets, factor * motion.positions
    return replace(motion, offsets=offsets, positions=positions, end_sites=ends)
