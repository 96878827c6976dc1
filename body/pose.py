"""Pose features: Motion <-> the standardised vectors that the diffusion model learns.

In reading order: PoseCodec with its two directions, encode and decode; the root over the ground, in
two ways; then fit, which measures the training set, step by step; then what is small.
"""

import numpy as np

from body.mirror import mirror_pairs
from body.motion import BvhError, Motion, resample
from body.rotations import exp_to_matrix, matrix_to_exp, mean_rotation, turn_about_y
from body.size import height_of

# A feature that moves less than this over the whole training set is called constant and dropped.
# Both limits are below what motion capture resolves.
CONSTANT_ANGLE = 1e-3  # radians: 0.06 degrees
CONSTANT_LENGTH = 1e-4  # body heights: 0.2 mm

# A root that in no take leaves these bounds stays: its columns hold places, not steps.
# A talker who shifts weight and steps keeps well within them; a walk across a room does not
STAYS_WITHIN = 1.0  # body heights, from the take's mean place
FACES_WITHIN = np.pi / 3  # radians, from the take's mean facing

# Columns of the features, of which there are 7 + 6 (J - 1)
GROUND = slice(0, 3)  # the root over the ground: x, z, facing
HEIGHT, ROTATIONS = 3, 4  # the rotations begin at 4, joint by joint


class PoseCodec:
    """Motion <-> standardised pose features [F, pose_dim] at `fps` frames a second.

    The columns for J joints, of which joint 0 is the root; those that never vary are dropped:
        0:3    the root over the ground, if it stays: its place seen from the take's mean place and
               mean facing, and its facing seen from the mean facing (radians). If it walks or turns
               round in any training take: its step and change of facing since the last frame, seen
               from the last facing
        3      the root's height
        4:7    the root's rotation without the facing, exponential map
        then   3 a joint: its rotation, exponential map
        then   3 a joint: its position in the parent's frame (constant in most files)
    Either way a gesture is the same wherever one stands and faces. Steps have to be summed up, and
    their errors with them, so the body drifts away within minutes; places need no sum.

    Rotations are measured from each joint's mean: log(R_mean^T R). An exponential map jumps where
    the angle passes 180 degrees; seen from the mean, no human joint gets there in any rest pose.
    Positions are measured from the bone's own end and put on the codec's skeleton, so people
    whose bones differ in length share one codec.

    state() holds all that decoding needs, as plain numbers and strings, for the checkpoint.
    After fit(mirror=True) the mirror image of features is features[..., swap] * sign; otherwise
    swap and sign are None.
    """

    def __init__(self, state):
        """A codec from what state() returned."""
        self._state = state
        self.fps = state["fps"]
        self.names, self.parents = state["names"], np.array(state["parents"])
        self.offsets = np.array(state["offsets"])  # [J, 3]
        self.channels = [tuple(channels) for channels in state["channels"]]
        self.end_sites = [(j, name, tuple(offset)) for j, name, offset in state["end_sites"]]
        self.mean_rotations = np.array(state["mean_rotations"])  # [J, 3, 3]
        self.forward = np.array(state["forward"])  # [3] in the root's own frame
        self.facing = state["facing"]  # radians
        self.stays = state.get("root", "steps") == "places"  # older checkpoints don't say: steps
        self.height = state["height"]  # body height in the file's unit
        self.mean, self.std = np.array(state["mean"]), np.array(state["std"])  # [columns]
        self.kept = np.array(state["kept"], dtype=int)  # [pose_dim] the columns that vary
        self.pose_dim = len(self.kept)
        self.swap = self.sign = None
        if state.get("mirror"):
            pairs, axis = np.array(state["mirror"]["pairs"]), state["mirror"]["axis"]
            source, sign = _mirrored_columns(pairs, axis)
            self.swap = np.searchsorted(self.kept, source[self.kept])  # [pose_dim]
            self.sign = sign[self.kept].astype(np.float32)  # [pose_dim]

    def state(self):
        """Everything that __init__ needs, as plain Python numbers, strings, lists."""
        return self._state

    # --------------------------------------------------------------------------------------------
    # Motion -> features
    # --------------------------------------------------------------------------------------------
    def encode(self, motion):
        """Motion at any rate -> features [F, pose_dim] float32, F as resample makes it.

        Over the training set their mean is 0 and their deviation 1. Raises BvhError for another
        skeleton than the training set's.
        """
        if list(motion.names) != list(self.names) or list(motion.parents) != list(self.parents):
            odd = sorted(set(motion.names) ^ set(self.names))[:3]
            how = f"{', '.join(odd)} on one side only" if odd else "in another order"
            count = f"{len(motion.names)} joints instead of {len(self.names)}"
            raise BvhError(f"another skeleton: {count}, {how}")
        features = self._features(resample(motion, self.fps))  # [F, columns]
        return ((features - self.mean) / self.std)[:, self.kept].astype(np.float32)  # [F, pose_dim]

    def _features(self, motion):
        """All columns, not standardised: [F, 7 + 6 (J - 1)]."""
        place, heading = self._path(motion)  # [F, 2], [F]
        if self.stays:
            ground = _to_places(place, heading, _middle(place, heading))  # [F, 3]
        else:
            ground = _to_steps(place, heading)  # [F, 3]
        R = motion.rotations.copy()  # [F, J, 3, 3]
        R[:, 0] = turn_about_y(-heading) @ R[:, 0]
        w = matrix_to_exp(np.swapaxes(self.mean_rotations, -1, -2) @ R)  # [F, J, 3]
        p = motion.positions[:, 1:] - motion.offsets[1:] + self.offsets[1:]  # [F, J - 1, 3]
        F, height = len(motion), motion.positions[:, 0, 1:2]
        return np.concatenate(
            [ground, height, w.reshape(F, -1), p.reshape(F, -1)], axis=1
        )  # [F, 7 + 6 (J - 1)]

    def _path(self, motion):
        """The root's place over the ground [F, 2] and its facing [F], radians without jumps."""
        heading = np.unwrap(_heading(motion.rotations[:, 0], self.forward))
        return motion.positions[:, 0][:, [0, 2]], heading

    def start_of(self, motion):
        """(x, z, facing) for decode(start=...), which features do not hold.

        The means of the take for a root that stays, else those of its first frame.
        """
        place, heading = self._path(resample(motion, self.fps))
        if self.stays:
            return _middle(place, heading)
        return float(place[0, 0]), float(place[0, 1]), float(heading[0])

    # --------------------------------------------------------------------------------------------
    # Features -> Motion
    # --------------------------------------------------------------------------------------------
    def decode(self, pose, start=None, body=None):
        """Features [F, pose_dim] -> Motion at self.fps, from `start` = (x, z, facing in radians).

        A root that stays is near `start` all the time; one that walks sets out from there. Without
        a start the body stands at the origin and faces as the training set does on average. It has
        the bones of the first training take, or those of `body`, a Motion of the same hierarchy.
        BvhError if its numbers would not be finite.
        """
        pose = np.asarray(pose, dtype=np.float64)
        features = np.tile(self.mean, (len(pose), 1))  # [F, columns]
        features[:, self.kept] += pose * self.std[self.kept]
        if not (np.abs(features) < 1e100).all():  # so that sums and squares are finite too
            raise BvhError("what is to be decoded is not a number, or far too large")
        F, J = len(features), len(self.names)
        from_ground = _from_places if self.stays else _from_steps
        place, heading = from_ground(features[:, GROUND], start or self._origin())  # [F, 2], [F]
        root = np.stack([place[:, 0], features[:, HEIGHT], place[:, 1]], axis=1)  # [F, 3]

        places = ROTATIONS + 3 * J
        w = features[:, ROTATIONS:places].reshape(F, J, 3)
        R = self.mean_rotations @ exp_to_matrix(w)  # [F, J, 3, 3]
        R[:, 0] = turn_about_y(heading) @ R[:, 0]
        p = features[:, places:].reshape(F, J - 1, 3)
        p = np.concatenate([root[:, None], p], axis=1)  # [F, J, 3]
        offsets, end_sites = self.offsets, self.end_sites
        if body is not None:
            p[:, 1:] += body.offsets[1:] - self.offsets[1:]
            offsets, end_sites = body.offsets, body.end_sites
        names, frame_time = list(self.names), 1 / self.fps
        return Motion(names, self.parents, offsets, self.channels, end_sites, frame_time, R, p)

    def end_of(self, pose, motion, start=None):
        """The `start` for decoding what follows these features; motion = decode(pose, start)."""
        start = start or self._origin()
        if self.stays:
            return start
        turns = np.asarray(pose, dtype=np.float64)[:, self.kept == 2]  # [F, 1] or [F, 0]
        turned = self.mean[2] * len(pose) + self.std[2] * turns.sum()
        x, _, z = motion.positions[-1, 0]
        return float(x), float(z), start[2] + float(turned)

    def _origin(self):
        return 0.0, 0.0, self.facing

    # --------------------------------------------------------------------------------------------
    # Measuring the training set
    # --------------------------------------------------------------------------------------------
    @classmethod
    def fit(cls, motions, fps=20, joints=None, mirror=False):
        """Measure the training motions (any rate) -> PoseCodec at `fps`; 20 is the paper's rate.

        The motions must have the same joints; the lengths of the bones may differ. `motions` is
        walked four times, one motion at a time: a sequence that reads from disk needs the memory
        of one.

        joints: indices of the joints to learn, None for all; the others keep their mean pose.
        mirror: as if every motion came with its mirror image. Both sides then have the same
        statistics, so to mirror a pose is to swap columns and change some signs. Raises BvhError
        if the skeleton, or the choice of joints, cannot be mirrored.
        """

        def resampled():
            return (resample(motion, fps) for motion in motions)

        first = next(iter(motions))
        J = len(first.names)
        pairs, axis = mirror_pairs(first) if mirror else (np.arange(J), None)
        state = dict(
            fps=fps,
            names=list(first.names),
            parents=first.parents.tolist(),
            channels=[list(channels) for channels in first.channels],
            end_sites=[[j, name, list(offset)] for j, name, offset in first.end_sites],
            offsets=first.offsets.tolist(),
            mirror=dict(pairs=pairs.tolist(), axis=axis) if mirror else None,
        )
        state["height"], forward = _height_and_forward(resampled(), axis)
        state["forward"] = forward.tolist()
        state["facing"], means = _facing_and_means(resampled(), forward, pairs, axis)
        state["mean_rotations"] = means.tolist()
        stay = _all_stay(resampled(), forward, state["height"])
        state["root"] = "places" if stay else "steps"

        columns = 7 + 6 * (J - 1)
        plain = dict(mirror=None, mean=[0.0] * columns, std=[1.0] * columns)
        codec = cls({**state, **plain, "kept": list(range(columns))})
        rest = np.concatenate([np.zeros(ROTATIONS + 3 * J), first.offsets[1:].ravel()])  # [columns]
        # positions count from the rest pose, because only then the mirror changes signs alone
        takes = (codec._features(motion) - rest for motion in resampled())
        mean, squares, low, high = _moments(takes)
        if mirror:
            mean, squares, low, high = _with_mirrored(mean, squares, low, high, pairs, axis)
        kept = high - low > _constant_below(J, state["height"], stay)  # [columns]
        if joints is not None:
            chosen = np.isin(np.arange(J), joints)  # [J]
            if mirror and not np.array_equal(chosen, chosen[pairs]):
                raise BvhError(
                    "--joints chooses other joints on the left than on the right, which cannot "
                    "be mirrored; choose both, or leave --mirror out"
                )
            kept &= chosen[_joint_of_columns(J)]
            if not chosen[0]:
                mean[GROUND] = 0  # a root that rests neither steps nor turns
        std = np.where(kept, np.sqrt(np.maximum(squares - mean**2, 0)), 1.0)
        state["mean"], state["std"] = (mean + rest).tolist(), std.tolist()
        state["kept"] = np.flatnonzero(kept).tolist()
        return cls(state)


# ------------------------------------------------------------------------------------------------
# The root over the ground: place [F, 2] (x, z) and heading [F] <-> three columns
# ------------------------------------------------------------------------------------------------
def _middle(place, heading):
    """(x, z, facing): the means over a take."""
    x, z = place.mean(axis=0)
    return float(x), float(z), float(heading.mean())


def _to_places(place, heading, middle):
    """[F, 3]: the place seen from the middle (x, z, facing), and the facing from its facing."""
    x, z, facing = middle
    seen = _turned(place - (x, z), -facing)  # [F, 2]
    return np.column_stack([seen, heading - facing])


def _from_places(ground, middle):
    """The inverse of _to_places -> place [F, 2], heading [F]."""
    x, z, facing = middle
    return _turned(ground[:, :2], facing) + (x, z), ground[:, 2] + facing


def _to_steps(place, heading):
    """[F, 3]: the step since the last frame, seen from the last facing, and the turn since then.

    Both are 0 at the first frame.
    """
    step = np.diff(place, axis=0, prepend=place[:1])  # [F, 2]
    step[1:] = _turned(step[1:], -heading[:-1])
    return np.column_stack([step, np.diff(heading, prepend=heading[:1])])


def _from_steps(ground, start):
    """The inverse of _to_steps, from the start (x, z, facing) -> place [F, 2], heading [F]."""
    x, z, facing = start
    heading = facing + np.cumsum(ground[:, 2])  # [F]
    last = np.concatenate([[facing], heading[:-1]])  # [F]
    return (x, z) + np.cumsum(_turned(ground[:, :2], last), axis=0), heading


def _turned(place, angle):
    """Places [F, 2] (x, z) turned about the vertical as turn_about_y does; angle: one or [F]."""
    x, z = place[:, 0], place[:, 1]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x + sin * z, cos * z - sin * x], axis=1)  # [F, 2]


# ------------------------------------------------------------------------------------------------
# Steps of PoseCodec.fit
# ------------------------------------------------------------------------------------------------
def _height_and_forward(motions, axis):
    """(mean body height, a level direction [3] in the root's own frame).

    The facing is where that direction points over the ground. Any direction that stays level will
    do: the file's axis farthest from the root's mean "up", made level. axis: across the body if
    the motions count with their mirror images, else None.
    """
    heights, up = [], np.zeros(3)
    for motion in motions:
        heights.append(height_of(motion))
        up += motion.rotations[:, 0, 1, :].sum(axis=0)
    across = np.arange(3) == axis  # [3]
    up[across] = 0  # the mirror images would cancel it
    up /= np.linalg.norm(up)
    if abs(up[2]) < 0.7 and axis != 2:
        n = 2
    else:  # not across the body: such a direction turns round in the mirror
        n = int(np.argmin(np.abs(up) + across))
    forward = np.eye(3)[n]
    forward = forward - up * (up @ forward)
    return float(np.mean(heights)), forward / np.linalg.norm(forward)


def _facing_and_means(motions, forward, pairs, axis):
    """(mean facing in radians, mean rotations [J, 3, 3]; the root's without its facing)."""
    J = len(pairs)
    facing, total = np.zeros(2), np.zeros((J, 3, 3))
    for motion in motions:
        heading = _heading(motion.rotations[:, 0], forward)  # [F]
        facing += np.sin(heading).sum(), np.cos(heading).sum()
        total[0] += (turn_about_y(-heading) @ motion.rotations[:, 0]).sum(axis=0)
        total[1:] += motion.rotations[:, 1:].sum(axis=0)
    if axis is not None:  # R' = S R S, as in mirror.mirror
        inside, world = np.where(np.arange(3) == axis, -1, 1), np.array([-1, 1, 1])
        left = np.where(np.arange(J)[:, None] == 0, world, inside)  # [J, 3]
        total = total + total[pairs] * left[:, :, None] * inside
    means = np.array([mean_rotation(R[None]) for R in total])  # [J, 3, 3]
    return float(np.arctan2(*facing)), means


def _all_stay(motions, forward, height):
    """Does the root, in every motion, stay near its mean place and its mean facing?"""
    for motion in motions:
        place = motion.positions[:, 0][:, [0, 2]]  # [F, 2]
        heading = np.unwrap(_heading(motion.rotations[:, 0], forward))  # [F]
        away = np.linalg.norm(place - place.mean(axis=0), axis=1).max() / height
        turned = np.abs(heading - heading.mean()).max()
        if away > STAYS_WITHIN or turned > FACES_WITHIN:
            return False
    return True


def _moments(takes):
    """Features [F, columns] take by take -> their mean, mean square, minimum, maximum [columns]."""
    count, total, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for features in takes:
        count += len(features)
        total = total + features.sum(axis=0)
        squares = squares + np.square(features).sum(axis=0)
        low = np.minimum(low, features.min(axis=0))
        high = np.maximum(high, features.max(axis=0))
    return total / count, squares / count, low, high


def _with_mirrored(mean, squares, low, high, pairs, axis):
    """The same four [columns] as if every motion came with its mirror image."""
    source, sign = _mirrored_columns(pairs, axis)
    mean = (mean + mean[source] * sign) / 2
    squares = (squares + squares[source]) / 2
    ends = low[source] * sign, high[source] * sign
    return mean, squares, np.minimum(low, np.minimum(*ends)), np.maximum(high, np.maximum(*ends))


# ------------------------------------------------------------------------------------------------
# Columns
# ------------------------------------------------------------------------------------------------
def _constant_below(J, height, stays):
    """A column whose range is at most this is constant: [columns]."""
    places = ROTATIONS + 3 * J
    allowed = np.full(7 + 6 * (J - 1), CONSTANT_ANGLE)
    allowed[:2] = allowed[HEIGHT] = allowed[places:] = CONSTANT_LENGTH * height
    if not stays:
        allowed[GROUND] /= 100  # steps and turns add up over a take: a slow walk is not constant
    return allowed


def _joint_of_columns(J):
    """The joint that each column belongs to: [columns]."""
    each = np.repeat(np.arange(1, J), 3)
    return np.concatenate([[0] * 7, each, each])


def _mirrored_columns(pairs, axis):
    """(source, sign), [columns] each: features(mirror(m)) = features(m)[:, source] * sign.

    Positions count from the rest pose here. A position in the mirror changes its sign along the
    axis across the body. A rotation vector keeps that sign and changes the others, since the sense
    of rotation is mirrored too.
    """
    J, xyz = len(pairs), np.arange(3)
    across = np.where(xyz == axis, -1, 1)  # [3]
    rotations = ROTATIONS + (3 * pairs[:, None] + xyz).ravel()  # [3 J]
    places = ROTATIONS + 3 * J + (3 * (pairs[1:, None] - 1) + xyz).ravel()  # [3 (J - 1)]
    source = np.concatenate([np.arange(4), rotations, places])
    root = [-1, 1, -1, 1]  # place or step in x and z, facing or turn, height
    return source, np.concatenate([root, np.tile(-across, J), np.tile(across, J - 1)])


def _heading(R, forward):
    """Where `forward` [3] of the root's frame points over the ground; 0 is +Z. Radians [F]."""
    pointing = R @ forward  # [F, 3]
    return np.arctan2(pointing[:, 0], pointing[:, 2])
