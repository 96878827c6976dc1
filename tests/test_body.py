"""body/ without files: rotations, joints, resampling, pose features and strokes.

They are compared with scipy and with answers that are known beforehand.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared_files

from body.bvh import read_bvh
from body.joints import body_root, hand_joints, shown_points
from body.motion import BvhError, Motion, resample, upright
from body.pose import PoseCodec
from body.rotations import (
    euler_to_matrix,
    exp_to_matrix,
    matrix_to_euler,
    matrix_to_exp,
    mean_rotation,
    smooth_angles,
    turn_about_y,
)
from body.strokes import find_strokes, strokes_of

transform = pytest.importorskip("scipy.spatial.transform")
Rotation = transform.Rotation
ORDERS = ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"]


def walking(seconds=60.0, fps=60.0, names=("Hips", "Spine", "LeftHand", "RightHand"), scale=1.0):
    """Somebody who walks in wide curves and waves, -> Motion.

    Every feature moves, and the facing passes 180 degrees.
    """
    t = np.arange(int(seconds * fps)) / fps
    waves = np.random.default_rng(0).uniform(0.3, 1.2, (len(names), 3))
    w = 0.8 * np.sin(waves * t[:, None, None] * 2 + np.arange(3))  # [F, J, 3]
    R = exp_to_matrix(w)
    facing = 0.5 * t
    R[:, 0] = turn_about_y(facing) @ exp_to_matrix(0.2 * w[:, 0])
    offsets = scale * np.array([[0, 90, 0], [0, 50, 0], [60, 0, 0], [-60, 0, 0]], float)
    offsets = offsets[: len(names)]
    positions = np.tile(offsets, (len(t), 1, 1))
    velocity = scale * 80 * np.stack([np.sin(facing), np.zeros_like(t), np.cos(facing)], axis=1)
    bobbing = scale * np.stack([0 * t, 2 * np.sin(6 * t), 0 * t], axis=1)
    positions[:, 0] += np.cumsum(velocity / fps, axis=0) + bobbing
    rotation = ("Zrotation", "Xrotation", "Yrotation")
    channels = [rotation] * len(names)
    channels[0] = ("Xposition", "Yposition", "Zposition", *rotation)
    parents, ends = np.array([-1, 0, 1, 1])[: len(names)], [(2, "", (5.0, 0.0, 0.0))]
    return Motion(list(names), parents, offsets, channels, ends, 1 / fps, R, positions)


def standing():
    """The same skeleton for 5 s at 20 frames a second, without any movement."""
    motion = walking(5, 20)
    motion.rotations[:] = np.eye(3)
    motion.positions[:] = motion.offsets
    return motion


# ---- rotations -----------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_turn_as_scipys_do(order):
    angles = np.random.default_rng(0).uniform(-1.5, 1.5, (200, 3))
    R = euler_to_matrix(angles, order)
    assert np.allclose(R, Rotation.from_euler(order, angles).as_matrix())
    assert np.allclose(matrix_to_euler(R, order), angles)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("middle", [90, -90, 89.9999999, -89.99])
def test_gimbal_lock_keeps_the_rotation_if_not_the_angles(order, middle):
    angles = np.radians([[20, middle, -70], [170, middle, 10]])
    R = euler_to_matrix(angles, order)
    R[np.abs(R) < 1e-12] = 0  # else the rounding of 90 degrees would give the other two away
    assert np.allclose(euler_to_matrix(matrix_to_euler(R, order), order), R, atol=1e-5)


@pytest.mark.parametrize("angle", [0, 1e-12, 1e-8, 1e-4, 1, 3, np.pi - 1e-4, np.pi - 1e-9, np.pi])
def test_exponential_map_is_exact_from_zero_to_pi(angle):
    axes = np.random.default_rng(0).normal(size=(500, 3))
    axes = np.concatenate([axes, np.eye(3), -np.eye(3)])
    w = axes / np.linalg.norm(axes, axis=1, keepdims=True) * angle
    R = exp_to_matrix(w)
    assert np.allclose(R, Rotation.from_rotvec(w).as_matrix(), atol=1e-12)
    back = matrix_to_exp(R)
    assert np.allclose(np.linalg.norm(back, axis=1), angle, atol=1e-7)
    assert np.allclose(exp_to_matrix(back), R, atol=1e-12), "at pi, w and -w are the same rotation"
    if angle < 3.1:
        assert np.allclose(back, w, atol=1e-12, rtol=1e-9)


def test_mean_rotation_of_scattered_rotations_is_their_centre():
    centre = Rotation.from_rotvec([0.4, -1.0, 2.0])
    noise = np.random.default_rng(0).normal(0, 0.2, (4000, 3))
    scattered = centre * Rotation.from_rotvec(noise)
    mean = Rotation.from_matrix(mean_rotation(scattered.as_matrix()))
    assert np.linalg.norm((centre.inv() * mean).as_rotvec()) < 0.02


@pytest.mark.parametrize("order", ORDERS)
def test_angles_run_on_where_a_joint_turns_past_gimbal_lock(order):
    """Three slow swings, the middle one beyond 90 degrees: the angles found are as smooth."""
    t = np.linspace(0, 6, 400)[:, None]
    swings = np.radians([70, 160, 110]) * np.sin(t * [1.1, 0.9, 1.3] + [0, 0.4, 1])
    R = euler_to_matrix(swings, order)
    found = matrix_to_euler(R, order)
    smooth = smooth_angles(found)
    assert np.allclose(Rotation.from_euler(order, smooth).as_matrix(), R, atol=1e-9)
    unwrapped = np.unwrap(found, axis=0)
    assert np.degrees(np.abs(np.diff(unwrapped, axis=0)).max()) > 90
    assert np.degrees(np.abs(np.diff(smooth, axis=0)).max()) < 4
    for cut in (1, 150, 399):  # as BvhStream writes them, one part behind the other
        first = smooth_angles(found[:cut])
        rest = smooth_angles(np.concatenate([first[-1:], found[cut:]]))[1:]
        assert np.allclose(np.concatenate([first, rest]), smooth, atol=1e-9)


# ---- joints --------------------------------------------------------------------------------------
def beside(motion, name, above, below):
    """The motion with one more joint, which does nothing, on the joint `above`.

    above=None: the new joint is the root, at the origin. What is named in `below` hangs on it.
    """
    at = 0 if above is None else motion.names.index(above) + 1
    names = [*motion.names[:at], name, *motion.names[at:]]
    parents = [p + (p >= at) for p in motion.parents.tolist()]
    parents.insert(at, -1 if above is None else names.index(above))
    for child in below:
        parents[names.index(child)] = at
    channels = [*motion.channels]
    channels.insert(at, ("Zrotation", "Xrotation", "Yrotation"))
    return replace(
        motion,
        names=names,
        parents=np.array(parents),
        offsets=np.insert(motion.offsets, at, 0.0, axis=0),
        channels=channels,
        end_sites=[(j + (j >= at), word, place) for j, word, place in motion.end_sites],
        rotations=np.insert(motion.rotations, at, np.eye(3), axis=1),
        positions=np.insert(motion.positions, at, 0.0, axis=1),
    )


def test_a_hand_is_not_the_twist_of_its_forearm():
    plain = walking(2)
    twisted = beside(plain, "LeftHandTwist", "Spine", ["LeftHand"])
    assert [twisted.names[j] for j in hand_joints(twisted)] == ["LeftHand", "RightHand"]
    for ours, expected in zip(find_strokes(twisted), find_strokes(plain)):
        assert ours.tolist() == expected.tolist()


def test_a_root_that_stays_on_the_ground_is_drawn_nowhere():
    body = walking(2, names=("Hips", "LeftFoot", "LeftHand", "RightFoot"))
    grounded = beside(body, "world", None, ["Hips"])
    assert body_root(body) == 0 and body_root(grounded) == 1 and body_root(walking(2)) == 0
    points, _ = shown_points(grounded)
    np.testing.assert_allclose(np.delete(points, 0, axis=1), shown_points(body)[0], atol=1e-9)
    np.testing.assert_allclose(points[:, 0], points[:, 1])
    np.testing.assert_allclose(shown_points(body)[0], body.points()[0])


def test_what_else_hangs_on_a_root_on_the_ground_is_drawn_nowhere():
    body = walking(2, names=("Hips", "LeftFoot", "LeftHand", "RightFoot"))
    followed = beside(beside(body, "world", None, ["Hips"]), "camera", "RightFoot", [])
    followed.parents[-1] = 0
    points, _ = shown_points(followed)
    np.testing.assert_allclose(points[:, 5], points[:, 1])


def test_a_root_that_walks_above_the_hips_is_the_bodys_root():
    body = walking(2, names=("Hips", "LeftFoot", "LeftHand", "RightFoot"))
    biped = beside(body, "Bip01", None, ["Hips"])
    biped.positions[:, 0], biped.positions[:, 1] = biped.positions[:, 1], 0.0
    assert body_root(biped) == 0


# ---- motion --------------------------------------------------------------------------------------
@pytest.mark.parametrize("fps", [29.97, 120.0, 24.0, 12.5])
def test_resampling_is_slerp_at_the_right_times(fps):
    motion = walking(5, fps)
    ours = resample(motion, 20)
    at = np.arange(len(ours)) / 20
    source = np.arange(len(motion)) / fps
    assert at[-1] <= source[-1] < at[-1] + 1 / 20 + 1e-9
    for j in range(4):
        slerp = transform.Slerp(source, Rotation.from_matrix(motion.rotations[:, j]))
        theirs = slerp(np.minimum(at, source[-1]))
        assert np.allclose(ours.rotations[:, j], theirs.as_matrix(), atol=1e-9)
    expected = np.interp(at, source, motion.positions[:, 0, 0])
    assert np.allclose(ours.positions[:, 0, 0], expected)


def test_a_file_with_z_up_is_made_upright():
    motion = walking(2)
    lying = replace(motion, rotations=motion.rotations.copy(), positions=motion.positions.copy())
    tip = euler_to_matrix(np.radians([90]), "X")  # Y becomes Z
    lying.rotations[:, 0] = tip @ motion.rotations[:, 0]
    lying.positions[:, 0] = motion.positions[:, 0] @ tip.T
    expected = motion.joint_positions()
    assert np.allclose(upright(lying, "z").joint_positions(), expected)
    assert np.array_equal(upright(motion, "y").joint_positions(), expected)


# ---- pose features -------------------------------------------------------------------------------
def assert_round_trip(motion, fps=20):
    """Motion -> features -> motion, the root's path included.

    Within 0.1 degrees and 0.1 % of the body height.
    """
    codec = PoseCodec.fit([motion], fps)
    expected = resample(motion, fps)
    decoded = codec.decode(codec.encode(motion), codec.start_of(motion))
    turned = matrix_to_exp(np.swapaxes(expected.rotations, -1, -2) @ decoded.rotations)
    assert np.degrees(np.linalg.norm(turned, axis=-1)).max() < 0.1
    moved = np.abs(expected.joint_positions() - decoded.joint_positions())
    assert moved.max() < 1e-3 * motion.body_height()


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_real_motion_through_the_features_and_back(path):
    motion = read_bvh(path)
    if len(motion) * motion.frame_time < 0.4:
        pytest.skip("a pose, not a motion")
    assert_round_trip(motion)


def test_sixty_seconds_through_the_features_and_back_root_path_included():
    assert_round_trip(walking())


def test_inner_translations_travel_too():
    motion = walking(10)
    motion.positions[:, 1, 1] += 3 * np.sin(np.arange(len(motion)) / 20)
    assert_round_trip(motion)


def test_features_do_not_know_where_one_stands_or_faces():
    motion = walking(5)
    moved = replace(motion, rotations=motion.rotations.copy(), positions=motion.positions.copy())
    turn = turn_about_y(2.5)
    moved.rotations[:, 0] = turn @ motion.rotations[:, 0]
    moved.positions[:, 0] = motion.positions[:, 0] @ turn.T + [100, 0, -40]
    codec = PoseCodec.fit([motion])
    assert np.allclose(codec.encode(moved), codec.encode(motion), atol=1e-4)


def test_features_are_standardised_and_constant_ones_dropped():
    motion = walking(20)
    motion.rotations[:, 3] = np.eye(3)
    pose = PoseCodec.fit([motion]).encode(motion)
    # The root and two joints vary; the third joint and all inner positions are constant.
    assert pose.shape == (400, 7 + 2 * 3) and pose.dtype == np.float32
    assert np.allclose(pose.mean(0), 0, atol=1e-3) and np.allclose(pose.std(0), 1, atol=1e-3)


def test_the_codec_survives_its_journey_in_a_checkpoint():
    motion = walking(5)
    codec = PoseCodec.fit([motion])
    again = PoseCodec(json.loads(json.dumps(codec.state())))
    assert np.array_equal(again.encode(motion), codec.encode(motion))


def test_another_skeleton_is_refused_by_name():
    codec = PoseCodec.fit([walking(3)])
    with pytest.raises(BvhError, match="Tail"):
        codec.encode(walking(3, names=("Hips", "Spine", "LeftHand", "Tail")))


def test_bones_of_another_length_share_a_codec():
    codec = PoseCodec.fit([walking(3), walking(3, scale=0.9)])
    assert codec.pose_dim == 7 + 3 * 3, "the bones' lengths are no movement"
    assert codec.encode(walking(3, scale=0.9)).shape[1] == codec.pose_dim


# ---- strokes -------------------------------------------------------------------------------------
def test_strokes_of_a_hand_that_falls_at_known_times_are_found():
    times, drop = np.array([1.03, 2.5, 3.37]), 30.0
    motion = standing()
    t = np.arange(len(motion)) / 20
    for at in times:  # up within 0.6 s, down within 0.24 s, fastest at `at`
        u, v = np.clip((t - at + 0.8) / 0.6, 0, 1), np.clip((t - at + 0.12) / 0.24, 0, 1)
        rise, fall = 3 * u**2 - 2 * u**3, 3 * v**2 - 2 * v**3
        motion.positions[:, 2, 1] += drop * (rise - fall)
    found, drops, sides = find_strokes(motion)
    assert np.allclose(found, times, atol=0.03) and set(sides) == {0}
    assert np.allclose(drops * motion.body_height(), drop, rtol=0.05)


def test_a_hand_that_falls_evenly_is_one_stroke():
    """As between two key frames with a straight line between them: every moment is the fastest."""
    motion = standing()
    frames = np.arange(len(motion))
    motion.positions[:, 2, 1] -= 4.0 * np.clip(frames - 30, 0, 30)  # for 1.5 s
    assert len(find_strokes(motion)[0]) == 1


def test_a_skeleton_without_hands_has_no_strokes():
    motion = walking(2, names=("Hips", "Spine", "LeftFin", "RightFin"))
    assert len(strokes_of(motion)) == 0
    with pytest.raises(BvhError, match="left hand"):
        find_strokes(motion)


# ---- a root that stays ---------------------------------------------------------------------------
def swaying(seconds=60.0, fps=20.0, scale=1.0):
    """Somebody who waves, sways by 20 units and 0.3 radians, and stands elsewhere, turned."""
    motion = walking(seconds, fps, scale=scale)
    t = np.arange(len(motion)) / fps
    facing = 2.9 + 0.3 * np.sin(0.7 * t)  # passes 180 degrees
    walked = np.unwrap(np.arctan2(*np.moveaxis(motion.rotations[:, 0, [0, 2], 2], 1, 0)))
    motion.rotations[:, 0] = turn_about_y(facing - walked) @ motion.rotations[:, 0]
    sway = np.stack([300 + 20 * np.sin(0.4 * t), 90 + np.sin(3 * t), -70 + 0.01 * t], axis=1)
    motion.positions[:, 0] = scale * sway
    return motion


def test_who_stays_has_places_and_who_walks_has_steps():
    assert PoseCodec.fit([swaying()]).state()["root"] == "places"
    assert PoseCodec.fit([swaying(), walking()]).state()["root"] == "steps"
    turning = swaying()
    half_way = np.linspace(0, 3, len(turning))
    turning.rotations[:, 0] = turn_about_y(half_way) @ turning.rotations[:, 0]
    assert PoseCodec.fit([turning]).state()["root"] == "steps"
    old = {k: v for k, v in PoseCodec.fit([walking()]).state().items() if k != "root"}
    assert not PoseCodec(old).stays, "checkpoints of before say nothing"


def test_who_stays_goes_through_the_features_and_back():
    assert_round_trip(swaying())
    assert_round_trip(swaying(fps=60.0))


def test_places_are_those_seen_from_the_mean_place_and_facing():
    motion = swaying()
    codec = PoseCodec.fit([motion])
    features = codec._features(motion)
    heading = np.unwrap(
        np.arctan2(*np.moveaxis(motion.rotations[:, 0] @ codec.forward, 1, 0)[[0, 2]])
    )
    np.testing.assert_allclose(features[:, 2], heading - heading.mean(), atol=1e-9)
    place = motion.positions[:, 0] - motion.positions[:, 0].mean(axis=0)
    seen = place @ turn_about_y(heading.mean())  # v @ R is R^T v
    np.testing.assert_allclose(features[:, :2], seen[:, [0, 2]], atol=1e-9)


def test_an_error_in_a_place_does_not_add_up_and_one_in_a_step_does():
    for motion, adds_up in ((swaying(), False), (walking(), True)):
        codec = PoseCodec.fit([motion])
        pose = codec.encode(motion)
        wrong = pose + 0.1 * (np.arange(pose.shape[1]) < 3)  # place and facing
        paths = [codec.decode(p, codec.start_of(motion)).positions[:, 0] for p in (pose, wrong)]
        apart = np.linalg.norm(paths[1] - paths[0], axis=1)
        assert (apart[-100:].mean() > 10 * apart[:100].mean()) == adds_up


@pytest.mark.parametrize("make", [swaying, walking])
def test_two_chunks_decoded_one_after_the_other_are_the_whole(make):
    motion = make(fps=20.0)
    codec = PoseCodec.fit([motion])
    pose, start = codec.encode(motion), codec.start_of(motion)
    first = codec.decode(pose[:500], start)
    second = codec.decode(pose[500:], codec.end_of(pose[:500], first, start))
    whole = codec.decode(pose, start).joint_positions()
    both = np.concatenate([first.joint_positions(), second.joint_positions()])
    np.testing.assert_allclose(both, whole, atol=1e-6)
    first = codec.decode(pose[:500])  # without a start
    second = codec.decode(pose[500:], codec.end_of(pose[:500], first))
    both = np.concatenate([first.joint_positions(), second.joint_positions()])
    np.testing.assert_allclose(both, codec.decode(pose).joint_positions(), atol=1e-6)
