"""body/feet.py: feet that stand are held, steps go through, whatever the axes of the joints are."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SHARED

from body.bvh import read_bvh
from body.feet import FADE, FAR, plant, rotation_between
from body.joints import common_joints
from body.motion import Motion, resample
from body.rotations import exp_to_matrix, matrix_to_exp, turn_about_y
from recordings import puppet

FPS = 20
NAMES = ["Hips", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToe",
         "RightUpLeg", "RightLeg", "RightFoot", "RightToe"]  # fmt: skip
PARENTS = np.array([-1, 0, 1, 2, 3, 0, 5, 6, 7])
THIGH, SHIN, H = 42.0, 41.0, 166.0  # cm


def body(hips, ankles, axes=None):
    """A body of two legs whose hips and ankles go where one says -> Motion.

    hips [F, 3], ankles ([F, 3] of the left, of the right); all faces +Z, and knees point there.
    axes: a generator that draws how the joints' own axes lie, None for those of the world.
    """
    F = len(hips)
    places = np.zeros((F, 9, 3))
    places[:, 0] = hips
    for first, sign, ankle in ((1, 1, ankles[0]), (5, -1, ankles[1])):
        hip = hips + [sign * 9.0, -2.0, 0.0]
        line = ankle - hip
        d = np.linalg.norm(line, axis=1, keepdims=True)
        assert (d < THIGH + SHIN).all(), "this body would have to stretch"
        line, along = line / d, (d**2 + THIGH**2 - SHIN**2) / (2 * d)
        side = [0.0, 0.0, 1.0] - line * line[:, 2:]
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        knee = hip + along * line + np.sqrt(THIGH**2 - along**2) * side
        toe = ankle + [0.0, -6.0, 13.0]
        places[:, first : first + 4] = np.stack([hip, knee, ankle, toe], axis=1)
    own = [np.eye(3)] * 9
    if axes is not None:
        own = exp_to_matrix(axes.normal(size=(9, 3)))
    world = np.empty((F, 9, 3, 3))  # each joint's orientation: from a bone that hangs down
    for j in range(9):
        if j in (1, 2, 5, 6):
            down = rotation_between(
                np.tile([0.0, -1.0, 0.0], (F, 1)), places[:, j + 1] - places[:, j]
            )
            world[:, j] = down @ own[j]
        else:
            world[:, j] = own[j]
    positions, rotations = places.copy(), world.copy()
    for j in range(1, 9):
        back = np.swapaxes(world[:, PARENTS[j]], 1, 2)
        rotations[:, j] = back @ world[:, j]
        positions[:, j] = (back @ (places[:, j] - places[:, PARENTS[j]])[..., None])[..., 0]
    channels = [("Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation")]
    channels += [("Zrotation", "Xrotation", "Yrotation")] * 8
    return Motion(NAMES, PARENTS, positions[0], channels, [], 1 / FPS, rotations, positions)


def wander(frames, size, seed):
    """A slow path [F, 3] over the ground, with periods of 5 to 12 s."""
    rng, t = np.random.default_rng(seed), np.arange(frames) / FPS
    waves = [np.sin(2 * np.pi * (t / rng.uniform(5, 12) + rng.random())) for _ in range(2)]
    return size * np.stack([waves[0], 0 * t, waves[1]], axis=1)


def stepping(seconds=20.0, creep=1.5, axes=None):
    """Somebody who sways, and steps at 6 s (right) and 12 s (left) -> (Motion, what was meant).

    A step lasts 0.45 s, is 5 cm high and 20 cm long. The model's error makes both feet creep over
    the ground by `creep` cm, at up to 2 cm/s. Meant: the same without.
    """
    F, t = int(seconds * FPS), np.arange(int(seconds * FPS)) / FPS
    ankles = [np.tile([sign * 12.0, 9.0, -2.0], (F, 1)) for sign in (1, -1)]
    for side, at in ((1, 6.0), (0, 12.0)):
        u = np.clip((t - at) / 0.45, 0, 1)
        ankles[side][:, 2] += 20 * u**3 * (10 - 15 * u + 6 * u**2)
        ankles[side][:, 1] += 5 * np.sin(np.pi * u) ** 2
    hips = (ankles[0] + ankles[1]) / 2 + wander(F, 1.5, 1) + [0.0, 78.0, 2.0]
    hips[:, 1] = 87.0
    meant = body(hips, ankles, axes)
    crept = [ankle + wander(F, creep, 2 + n) for n, ankle in enumerate(ankles)]
    return body(hips, crept, axes), meant


def apart(a, b):
    """How far each joint is in one motion from where it is in the other: [F, J] cm."""
    return np.linalg.norm(a.joint_positions() - b.joint_positions(), axis=-1)


ANKLES = [3, 7]


def test_a_foot_that_creeps_is_held_with_its_orientation():
    crept, _ = stepping()
    held = plant(crept)
    before, after = (m.joint_positions()[3:110, ANKLES] for m in (crept, held))
    assert np.ptp(before, axis=0).max() > 2 and np.ptp(after, axis=0).max() < 1e-6
    world = held.world()[0][3:110, ANKLES]
    assert np.abs(world - world[0]).max() < 1e-9
    np.testing.assert_array_equal(held.positions, crept.positions)
    np.testing.assert_array_equal(held.rotations[:, 0], crept.rotations[:, 0])


def test_a_step_goes_through_and_is_no_slide():
    crept, meant = stepping()
    held = plant(crept)
    ankles, wanted = (m.joint_positions()[:, ANKLES] for m in (held, meant))
    for foot, at in ((1, 6.0), (0, 12.0)):
        swing = slice(int(at * FPS), int((at + 0.45) * FPS) + 1)
        assert np.ptp(ankles[swing, foot, 1]) > 4.5, "it is lifted"
    on_ground = (wanted[1:, :, 1] < 9.5) & (wanted[:-1, :, 1] < 9.5)  # [F - 1, 2]
    moves = np.linalg.norm(np.diff(ankles[..., [0, 2]], axis=0), axis=-1)
    assert moves[on_ground].sum() < 1.0, "1 cm in two steps and 20 s"
    assert apart(held, meant)[:, ANKLES].max() < 4, "and it lands where the model wanted"


def test_motion_that_does_not_creep_stays_as_it_is():
    _, meant = stepping()
    changed = apart(plant(meant), meant)
    assert np.quantile(changed, 0.99) < 0.3 and changed.max() < 2  # cm


@pytest.mark.parametrize("chunk", [1, 7, 10, 200])
def test_chunk_after_chunk_equals_the_whole(chunk):
    crept, _ = stepping()
    feet, parts = [], []
    for n in range(0, len(crept), chunk):
        part = slice(n, n + chunk)
        cut = replace(crept, rotations=crept.rotations[part], positions=crept.positions[part])
        parts.append(plant(cut, feet).rotations)
    np.testing.assert_allclose(np.concatenate(parts), plant(crept).rotations, atol=1e-12)


def test_no_later_frame_is_looked_at():
    crept, _ = stepping()
    start = replace(crept, rotations=crept.rotations[:125], positions=crept.positions[:125])
    np.testing.assert_allclose(plant(start).rotations, plant(crept).rotations[:125], atol=1e-12)


def test_no_joint_pops():
    """A frame's turn of hip, knee, ankle: as the motion has it, and what fades out in 0.25 s."""
    crept, _ = stepping(creep=2.5)

    def turns(motion):
        R = motion.rotations
        return np.degrees(
            np.linalg.norm(matrix_to_exp(np.swapaxes(R[:-1], -1, -2) @ R[1:]), axis=-1)
        )

    assert turns(plant(crept)).max() < turns(crept).max() + 4


def test_the_axes_of_the_joints_do_not_matter():
    rng = np.random.default_rng(5)
    usual, odd = plant(stepping()[0]), plant(stepping(axes=rng)[0])
    np.testing.assert_allclose(usual.joint_positions(), odd.joint_positions(), atol=1e-6)


def test_a_foot_that_creeps_far_away_makes_a_step():
    F = 40 * FPS
    path = np.zeros((F, 3))
    path[:, 2] = np.arange(F) / FPS  # 1 cm/s
    still = np.tile([-12.0, 9.0, -2.0], (F, 1))
    left = still * [-1, 1, 1] + path
    hips = (still + left) / 2
    hips[:, 1] = 80.0
    held = plant(body(hips, (left, still)))
    ankle = held.joint_positions()[:, 3]
    assert np.linalg.norm(ankle - left, axis=1).max() < FAR * H + 1
    moves = np.linalg.norm(np.diff(ankle[:, [0, 2]], axis=0), axis=1) > 0.01
    steps = np.flatnonzero(np.diff(moves.astype(int)) == 1)
    assert len(steps) == 2  # 40 cm in steps of 17 cm
    assert moves.sum() <= 3 * (FADE * FPS + 3)
    assert ankle[steps[0] : steps[0] + 6, 1].max() > 10.5, "and it is lifted meanwhile"


def test_a_foot_that_twists_is_held_and_at_last_let_go():
    """The left foot turns on the spot, 2 degrees a second: the ankle does not move."""
    F = 30 * FPS
    ankles = [np.tile([sign * 12.0, 9.0, 0.0], (F, 1)) for sign in (1, -1)]
    motion = body(np.tile([0.0, 80.0, 0.0], (F, 1)), ankles)
    angle = np.radians(2) * np.arange(F) / FPS
    motion.rotations[:, 3] = motion.rotations[:, 3] @ turn_about_y(angle)
    turned = np.degrees(np.linalg.norm(matrix_to_exp(_apart_in_the_world(motion, 3)), axis=-1))
    held = np.degrees(np.linalg.norm(matrix_to_exp(_apart_in_the_world(plant(motion), 3)), axis=-1))
    assert turned[11 * FPS] > 20 and held[3 : 12 * FPS].max() < 0.5
    assert np.abs(held - turned).max() < 27, "an ankle twists no further"
    assert np.diff(held).max() < 26 / (FADE * FPS) * 2.5, "and it comes back in 0.25 s, not at once"


def _apart_in_the_world(motion, j):
    """The rotation of joint j in the world since the first frame: [F, 3, 3]."""
    R = motion.world()[0][:, j]
    return R @ R[0].T


def test_a_foot_held_up_in_the_air_is_not_held():
    F = 20 * FPS
    ankles = [np.tile([sign * 12.0, 9.0, 0.0], (F, 1)) for sign in (1, -1)]
    ankles[0][5 * FPS :] += [0.0, 12.0, 6.0]
    ankles[0][5 * FPS :] += wander(F - 5 * FPS, 1.5, 3)
    motion = body(np.tile([0.0, 80.0, 0.0], (F, 1)), ankles)
    held = plant(motion)
    assert apart(held, motion)[6 * FPS :, 3].max() < 1e-6


def test_a_foot_out_of_reach_is_let_go():
    F = 10 * FPS
    ankles = [np.tile([sign * 12.0, 9.0, 0.0], (F, 1)) for sign in (1, -1)]
    hips = np.tile([0.0, 87.0, 0.0], (F, 1))
    rise = 20 * np.clip((np.arange(F) / FPS - 4) / 3, 0, 1)[:, None] * [0.0, 1.0, 0.0]
    motion = body(hips + rise, [ankle + rise for ankle in ankles])  # lifted slowly as a whole
    held = plant(motion)
    assert np.isfinite(held.rotations).all()
    assert apart(held, motion)[:, ANKLES].max() < 4
    assert apart(held, motion)[-1].max() < 2


def test_without_legs_nothing_changes():
    crept, _ = stepping(2)
    nameless = replace(crept, names=[f"bone{n}" for n in range(9)])
    assert plant(nameless) is nameless
    flat = replace(crept, positions=crept.positions * 0)  # BVH of a trunk: legs of no length
    assert plant(flat) is flat


def test_the_puppet_stands_and_steps_as_it_did(tmp_path):
    puppet.write_take(tmp_path, "a", 2, "lively", 60.0, (3, 4))
    motion = resample(read_bvh(tmp_path / "a.bvh"), FPS)
    changed = apart(plant(motion), motion)
    assert np.quantile(changed, 0.99) < 0.5 and changed.max() < 5  # cm


@pytest.mark.skipif(not SHARED.exists(), reason="no real files at ../shared/data")
def test_a_walker_walks_on():
    motion = resample(read_bvh(SHARED / "bvh" / "walk_meredith.bvh"), FPS)
    changed = apart(plant(motion), motion)[:, common_joints(motion)] * 170 / motion.body_height()
    assert changed.mean() < 0.1 and changed.max() < 5  # cm of a body of 1.7 m
