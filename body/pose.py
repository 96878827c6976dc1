"""Pose features: Motion <-> the standardised vectors that the diffusion model learns.

In reading order: PoseCodec with its two directions, encode and decode; then fit, which measures
the training set, step by step; then what is small.
"""

import numpy as np

from body.joints import mirror_pairs
from body.motion import BvhError, Motion, resample
from body.rotations import exp_to_matrix, matrix_to_exp, mean_rotation, turn_about_y

# A feature that moves less than this over the whole training set is called constant and dropped.
# Both limits are below what motion capture resolves.
CONSTANT_ANGLE = 1e-3  # radians: 0.06 degrees
CONSTANT_LENGTH = 1e-4  # body heights: 0.2 mm

# Columns of the features, of which there are 7 + 6 (J - 1)
STEP, TURN, HEIGHT, ROTATIONS = slice(0, 2), 2, 3, 4  # the rotations begin at 4, joint by joint


class PoseCodec:
    """Motion <-> standardised pose features [F, pose_dim] at `fps` frames a second.

    The columns for J joints, of which joint 0 is the root; those that never vary are dropped:
        0:2    the root's step over the ground since the last frame, seen from the last facing
        2      change of the facing since the last frame, radians
        3      the root's height
        4:7    the root's rotation without the facing, exponential map
        then   3 a joint: its rotation, exponential map
        then   3 a joint: its position in the parent's frame (constant in most files)
    Steps and changes instead of places: a gesture is the same wherever one stands and faces.

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
        root_R, root_p = motion.rotations[:, 0], motion.positions[:, 0]  # [F, 3, 3], [F, 3]
        heading = np.unwrap(_heading(root_R, self.forward))  # [F]
        unturn = turn_about_y(-heading)  # [F, 3, 3]
        step = np.diff(root_p, axis=0, prepend=root_p[:1])  # [F, 3], 0 at the first frame
        step[1:] = (unturn[:-1] @ step[1:, :, None])[..., 0]  # seen from the last frame's facing
        turn = np.diff(heading, prepend=heading[:1])  # [F]
        R = motion.rotations.copy()  # [F, J, 3, 3]
        R[:, 0] = unturn @ root_R
        w = matrix_to_exp(np.swapaxes(self.mean_rotations, -1, -2) @ R)  # [F, J, 3]
        p = motion.positions[:, 1:] - motion.offsets[1:] + self.offsets[1:]  # [F, J - 1, 3]
        F = len(motion)
        return np.concatenate(
            [step[:, [0, 2]], turn[:, None], root_p[:, 1:2], w.reshape(F, -1), p.reshape(F, -1)],
            axis=1,
        )  # [F, 7 + 6 (J - 1)]

    def start_of(self, motion):
        """(x, z, facing) at the first frame, for decode(start=...): features do not hold it."""
        x, _, z = motion.positions[0, 0]
        return float(x), float(z), float(_heading(motion.rotations[:1, 0], self.forward)[0])

    # --------------------------------------------------------------------------------------------
    # Features -> Motion
    # --------------------------------------------------------------------------------------------
    def decode(self, pose, start=None, body=None):
        """Features [F, pose_dim] -> Motion at self.fps, from `start` = (x, z, facing in radians).

        Without a start the body stands at the origin and faces as the training set does on
        average. It has the bones of the first training take, or those of `body`, a Motion of the
        same hierarchy.
        """
        pose = np.asarray(pose, dtype=np.float64)
        features = np.tile(self.mean, (len(pose), 1))  # [F, columns]
        features[:, self.kept] += pose * self.std[self.kept]
        F, J = len(features), len(self.names)
        x, z, facing = start or (0.0, 0.0, self.facing)
        heading = facing + np.cumsum(features[:, TURN])  # [F]
        last_heading = np.concatenate([[facing], heading[:-1]])  # [F]
        step = np.stack([features[:, 0], np.zeros(F), features[:, 1]], axis=1)  # [F, 3]
        step = (turn_about_y(last_heading) @ step[..., None])[..., 0]  # [F, 3] in the world
        path = np.cumsum(step, axis=0)  # [F, 3]
        root = np.stack([x + path[:, 0], features[:, HEIGHT], z + path[:, 2]], axis=1)  # [F, 3]

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
        turns = np.asarray(pose, dtype=np.float64)[:, self.kept == TURN]  # [F, 1] or [F, 0]
        turned = self.mean[TURN] * len(pose) + self.std[TURN] * turns.sum()
        x, _, z = motion.positions[-1, 0]
        facing = self.facing if start is None else start[2]
        return float(x), float(z), facing + float(turned)

    # --------------------------------------------------------------------------------------------
    # Measuring the training set
    # --------------------------------------------------------------------------------------------
    @classmethod
    def fit(cls, motions, fps=20, joints=None, mirror=False):
        """Measure the training motions (any rate) -> PoseCodec at `fps`; 20 is the paper's rate.

        The motions must have the same joints; the lengths of the bones may differ. `motions` is
        walked three times, one motion at a time: a sequence that reads from disk needs the memory
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

        columns = 7 + 6 * (J - 1)
        plain = dict(mirror=None, mean=[0.0] * columns, std=[1.0] * columns)
        codec = cls({**state, **plain, "kept": list(range(columns))})
        rest = np.concatenate([np.zeros(ROTATIONS + 3 * J), first.offsets[1:].ravel()])  # [columns]
        # positions count from the rest pose, because only then the mirror changes signs alone
        takes = (codec._features(motion) - rest for motion in resampled())
        mean, squares, low, high = _moments(takes)
        if mirror:
            mean, squares, low, high = _with_mirrored(mean, squares, low, high, pairs, axis)
        kept = high - low > _constant_below(J, state["height"])  # [columns]
        if joints is not None:
            chosen = np.isin(np.arange(J), joints)  # [J]
            if mirror and not np.array_equal(chosen, chosen[pairs]):
                raise BvhError(
                    "--joints chooses other joints on the left than on the right, which cannot "
                    "be mirrored; choose both, or leave --mirror out"
                )
            kept &= chosen[_joint_of_columns(J)]
            if not chosen[0]:
                mean[:HEIGHT] = 0  # step and turn: a root that rests does neither
        std = np.where(kept, np.sqrt(np.maximum(squares - mean**2, 0)), 1.0)
        state["mean"], state["std"] = (mean + rest).tolist(), std.tolist()
        state["kept"] = np.flatnonzero(kept).tolist()
        return cls(state)


def _height_and_forward(motions, axis):
    """(mean body height, a level direction [3] in the root's own frame).

    The facing is where that direction points over the ground. Any direction that stays level will
    do: the file's axis farthest from the root's mean "up", made level. axis: across the body if
    the motions count with their mirror images, else None.
    """
    heights, up = [], np.zeros(3)
    for motion in motions:
        heights.append(motion.body_height())
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
    if axis is not None:  # R' = S R S, as in joints.mirror
        inside, world = np.where(np.arange(3) == axis, -1, 1), np.array([-1, 1, 1])
        left = np.where(np.arange(J)[:, None] == 0, world, inside)  # [J, 3]
        total = total + total[pairs] * left[:, :, None] * inside
    means = np.array([mean_rotation(R[None]) for R in total])  # [J, 3, 3]
    return float(np.arctan2(*facing)), means


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
def _constant_below(J, height):
    """A column whose range is at most this is constant: [columns]."""
    places = ROTATIONS + 3 * J
    allowed = np.full(7 + 6 * (J - 1), CONSTANT_ANGLE)
    allowed[STEP] = allowed[HEIGHT] = allowed[places:] = CONSTANT_LENGTH * height
    allowed[STEP] /= 100  # steps and turns add up over a take: a slow walk is not constant
    allowed[TURN] /= 100
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
    root = [-1, 1, -1, 1]  # step in x and z, turn, height
    return source, np.concatenate([root, np.tile(-across, J), np.tile(across, J - 1)])


def _heading(R, forward):
    """Where `forward` [3] of the root's frame points over the ground; 0 is +Z. Radians [F]."""
    pointing = R @ forward  # [F, 3]
    return np.arctan2(pointing[:, 0], pointing[:, 2])
