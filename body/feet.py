"""Planted feet: a foot that stands, stands still.

A model makes hip, knee and ankle each a little wrong, so a foot that should stand creeps over the
ground. `plant` mends this as games do (foot locking): where a foot is low and slow it is held where
it is, and the leg is bent so that it gets there (inverse kinematics). When the motion itself lifts
the foot or moves it fast, it is let go, and the difference fades out while it is in the air.

Reading order
    plant            the whole; it looks at no later frame, so chunk after chunk equals the whole
    Foot             when a foot is held and let go: what is added to its place and orientation
    bend             the leg that gets there

H is the body's height, here two legs' length: that does not change with the pose. The numbers in
seconds and cm are for a body of 1.7 m.
"""

from dataclasses import replace

import numpy as np

from body.joints import above, legs_of
from body.motion import rate_of
from body.rotations import exp_to_matrix, matrix_to_exp

# When a foot stands. A foot of the model that should stand creeps at 1 to 9 cm/s, now and then at
# 17 cm/s; one that steps does 50 cm/s and more. Between the two speeds it goes on as before
SLOW = 0.08  # H/s: 14 cm/s. A slower foot is held
FAST = 0.12  # H/s: 20 cm/s. A faster one is let go
WITHIN = 0.1  # s: speeds are measured over so long; from frame to frame they tremble
LOW = 0.03  # H: 5 cm above the lowest that the foot ever was; an ankle that rolls rises by 3 cm
LIFTED = 0.01  # H: 1.7 cm above where it was held it is let go: a third of a small step. As far
# below too: then what was held was a raised heel
# A held foot that should be far from there is let go as well. With 0.06 a model that sways a little
# wrongly stepped 22 times a minute, with 0.1 16 times, with 0.12 15; its corpus 10 times
FAR = 0.1  # H: 17 cm, a whole step of the puppet. Sway that is wrong by less is no reason to step
TWISTED = np.radians(25)  # as far as an ankle twists easily
STRETCHED = 0.01  # H: 1.7 cm out of the leg's reach
FADE = 0.25  # s: in which the difference fades; a step takes 0.4 s and more
STEP = 0.5  # height of the small step in which it fades, as a share of its length: 5 cm of 10 cm


def plant(motion, feet=None):
    """The motion with feet that stand still -> Motion. As it is, where no legs are found.

    feet: for a motion that comes in chunks, an empty list at first. It remembers what the next
    chunk needs; give it again. The chunks must be of one skeleton and rate.
    """
    legs = legs_of(motion)
    if legs is None:
        return motion
    feet = [] if feet is None else feet
    part, chain = only(motion, legs)
    legs = [np.searchsorted(chain, leg) for leg in legs]
    R, p = part.world()  # [F, j, 3, 3], [F, j, 3]
    if not feet:
        feet.extend(Foot(p[0, leg], rate_of(motion.frame_time)) for leg in legs)
    (left, _, _), (right, _, _) = legs
    for foot, leg in zip(feet, legs):
        hip, _, ankle = leg
        shift, turn = foot.follow(p[:, hip], p[:, ankle], R[:, ankle])  # [F, 3] each
        n = np.flatnonzero(shift.any(axis=1) | turn.any(axis=1))  # frames in which they differ
        place, orientation = p[n, ankle] + shift[n], exp_to_matrix(turn[n]) @ R[n, ankle]
        front = np.cross(p[n, left] - p[n, right], [0.0, 1.0, 0.0])  # [n, 3]
        turned = bend(part, leg, R[n], p[n], place, orientation, front)  # [n, 3, 3, 3]
        part.rotations[n[:, None], leg] = turned
    rotations = motion.rotations.copy()
    rotations[:, chain] = part.rotations
    return replace(motion, rotations=rotations)


def only(motion, legs):
    """The legs and what is above them -> (Motion of j joints, their indices [j])."""
    chain = np.array(sorted({j for leg in legs for j in (leg[2], *above(motion, leg[2]))}))
    parents = np.where(chain > 0, np.searchsorted(chain, motion.parents[chain]), -1)
    rotations, positions = motion.rotations[:, chain], motion.positions[:, chain]
    return replace(motion, parents=parents, rotations=rotations, positions=positions), chain


# ------------------------------------------------------------------------------------------------
# When a foot is held and let go
# ------------------------------------------------------------------------------------------------
class Foot:
    """What is remembered of a foot from chunk to chunk.

    A foot is held at `held` (place [3], orientation [3, 3]), or free. `left` (shift [3], turn [3])
    is what was added last to a held foot. After it was let go that fades out, in a small step:
    `faded` counts the frames.
    """

    def __init__(self, leg, fps):
        """leg [3, 3]: places of hip, knee and ankle; fps: frames a second."""
        self.length = np.linalg.norm(np.diff(leg, axis=0), axis=1).sum()
        self.height = 2 * self.length
        self.within, self.fade = max(1, round(WITHIN * fps)), max(1, round(FADE * fps))
        self.fps = fps
        self.past = np.full((self.within, 3), np.nan)  # the ankle's last places
        self.floor = np.inf
        self.held, self.left, self.faded = None, None, self.fade

    def follow(self, hip, ankle, orientation):
        """hip, ankle [F, 3], orientation [F, 3, 3] of the ankle -> what is added to the ankle.

        shift [F, 3] to its place, turn [F, 3] to its orientation, an exponential map in the world.
        The foot is in one state for many frames, so this goes from change to change of state.
        """
        F, H = len(ankle), self.height
        places = np.concatenate([self.past, ankle])  # [within + F, 3]
        self.past = places[F:]
        speed = np.linalg.norm(ankle - places[:F], axis=1) * self.fps / self.within / H  # [F] H/s
        floor = np.minimum.accumulate(np.minimum(ankle[:, 1], self.floor))  # [F]
        self.floor = floor[-1]
        stands = (speed < SLOW) & (ankle[:, 1] < floor + LOW * H)  # [F]
        shift, turn = np.zeros((F, 3)), np.zeros((F, 3))
        n = 0
        while n < F:
            if self.held is not None:
                place, facing = self.held
                goes = self._goes(hip[n:], ankle[n:], orientation[n:], speed[n:])
                end = n + _first(goes)
                shift[n:end] = place - ankle[n:end]
                turn[n:end] = matrix_to_exp(facing @ np.swapaxes(orientation[n:end], 1, 2))
                if end > n:
                    self.left = shift[end - 1], turn[end - 1]
                if end < F:  # what was left before this frame fades: what it does itself is done
                    self.held, self.faded = None, 0
            elif self.faded < self.fade:
                end = min(F, n + self.fade - self.faded)
                u = (self.faded + np.arange(end - n) + 1)[:, None] / (self.fade + 1)  # [end - n, 1]
                weight = 1 - u**3 * (10 - 15 * u + 6 * u**2)  # minimum jerk, as people step
                shift[n:end], turn[n:end] = (weight * part for part in self.left)
                lift = STEP * np.linalg.norm(self.left[0])
                shift[n:end, 1] += lift * np.sin(np.pi * u[:, 0]) ** 2
                self.faded += end - n
            else:
                end = n + _first(stands[n:])
                if end < F:
                    self.held, self.left = (ankle[end], orientation[end]), (np.zeros(3),) * 2
            n = end
        return shift, turn

    def _goes(self, hip, ankle, orientation, speed):
        """Is a held foot let go? [F] bool."""
        (place, facing), H = self.held, self.height
        lifted = np.abs(ankle[:, 1] - place[1]) > LIFTED * H
        far = np.linalg.norm(ankle - place, axis=1) > FAR * H
        # trace of facing^T orientation = 1 + 2 cos(angle)
        twisted = np.einsum("ij,fij->f", facing, orientation) < 1 + 2 * np.cos(TWISTED)
        reach = np.maximum(self.length, np.linalg.norm(ankle - hip, axis=1))
        stretched = np.linalg.norm(place - hip, axis=1) > reach + STRETCHED * H
        return (speed > FAST) | lifted | far | twisted | stretched


def _first(true):
    """Index of the first True of [F], F if there is none."""
    return int(np.argmax(true)) if true.any() else len(true)


# ------------------------------------------------------------------------------------------------
# The leg that gets there
# ------------------------------------------------------------------------------------------------
STRAIGHT = 0.998  # of a leg's length: it is bent at least so much, unless it was straighter before
SIDE = 0.01  # of a leg's length: a knee nearer to the line from hip to ankle bends to the front


def bend(motion, leg, R, p, place, orientation, front):
    """Rotations of hip, knee and ankle [n, 3, 3, 3] that put the ankle at `place` [n, 3].

    leg: (hip, knee, ankle). R [n, J, 3, 3], p [n, J, 3]: the body in the world, as it is; there the
    ankle gets `orientation` [n, 3, 3]. front [n, 3]: where the body faces. The axes of the joints
    do not matter: the rotations in the world that take the old bones to the new ones are put before
    what is there. The knee goes on to bend to the side to which it was bent. An ankle that is out
    of the leg's reach falls short.
    """
    hip, knee, ankle = leg
    thigh, shin = p[:, knee] - p[:, hip], p[:, ankle] - p[:, knee]  # [n, 3]
    line, wanted = p[:, ankle] - p[:, hip], place - p[:, hip]  # [n, 3]
    upper, lower, was, d = (_length(x) for x in (thigh, shin, line, wanted))  # [n, 1]
    axis = wanted / d  # [n, 3]
    longest = np.maximum(was, STRAIGHT * (upper + lower))
    d = np.clip(d, np.abs(upper - lower), longest)
    along = (d**2 + upper**2 - lower**2) / (2 * d)  # [n, 1] cosine rule
    out = np.sqrt(np.maximum(upper**2 - along**2, 0))
    swing = rotation_between(line, axis)  # [n, 3, 3] of the whole leg
    swung = _turn(swing, thigh)  # [n, 3]
    side = swung - axis * _dot(swung, axis)
    missing = np.maximum(0, SIDE * (upper + lower) - _length(side))
    front = front - axis * _dot(front, axis)
    side = side + missing * front / np.maximum(_length(front), 1e-9)
    new_thigh = axis * along + side / np.maximum(_length(side), 1e-9) * out  # [n, 3]
    of_thigh = rotation_between(swung, new_thigh) @ swing  # [n, 3, 3] in the world
    of_shin = rotation_between(_turn(of_thigh, shin), axis * d - new_thigh) @ of_thigh

    # The hip's parent stays; what is between two of the joints turns with the upper one
    before = zip(leg, (np.eye(3), of_thigh, of_shin))
    new = (of_thigh @ R[:, hip], of_shin @ R[:, knee], orientation)  # [n, 3, 3] each
    elders = [(turned @ R[:, motion.parents[j]]).swapaxes(1, 2) for j, turned in before]
    return np.stack([elder @ one for elder, one in zip(elders, new)], axis=1)  # [n, 3, 3, 3]


def rotation_between(a, b):
    """The smallest rotations [n, 3, 3] that take the directions a [n, 3] to b [n, 3].

    R = I + K + K^2 / (1 + a.b), with K v = (a x b) v for unit vectors; they must not be opposite.
    """
    a, b = a / _length(a), b / _length(b)
    x, y, z = np.cross(a, b).T  # [n]
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)  # [n, 3, 3]
    return np.eye(3) + K + K @ K / (1 + _dot(a, b))[..., None]


def _turn(R, v):
    return (R @ v[..., None])[..., 0]  # [n, 3]


def _dot(a, b):
    return np.sum(a * b, axis=-1, keepdims=True)  # [n, 1]


def _length(v):
    return np.linalg.norm(v, axis=-1, keepdims=True)  # [n, 1]
