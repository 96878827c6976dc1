"""BVH, rotations, kinematics and pose features, against scipy, another BVH reader and known answers."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import shared_files
from hypothesis import given, settings, strategies as st

import motion as M

scipy_rotation = pytest.importorskip("scipy.spatial.transform").Rotation
ORDERS = ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"]


# ---- rotations ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_turn_as_scipys_do(order):
    angles = np.random.default_rng(0).uniform(-1.5, 1.5, (200, 3))
    R = M.euler_to_matrix(angles, order)
    assert np.allclose(R, scipy_rotation.from_euler(order, angles).as_matrix())
    assert np.allclose(M.matrix_to_euler(R, order), angles)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("middle", [90, -90, 89.9999999, -89.99])
def test_gimbal_lock_keeps_the_rotation_if_not_the_angles(order, middle):
    angles = np.radians([[20, middle, -70], [170, middle, 10]])
    R = M.euler_to_matrix(angles, order)
    assert np.allclose(M.euler_to_matrix(M.matrix_to_euler(R, order), order), R, atol=1e-5)


@pytest.mark.parametrize("angle", [0, 1e-12, 1e-8, 1e-4, 1, 3, np.pi - 1e-4, np.pi - 1e-9, np.pi])
def test_exponential_map_is_exact_from_zero_to_pi(angle):
    axes = np.random.default_rng(0).normal(size=(500, 3))
    axes = np.concatenate([axes, np.eye(3), -np.eye(3)])
    w = axes / np.linalg.norm(axes, axis=1, keepdims=True) * angle
    R = M.exp_to_matrix(w)
    assert np.allclose(R, scipy_rotation.from_rotvec(w).as_matrix(), atol=1e-12)
    back = M.matrix_to_exp(R)
    assert np.allclose(np.linalg.norm(back, axis=1), angle, atol=1e-7)
    assert np.allclose(M.exp_to_matrix(back), R, atol=1e-12)                 # at pi, w and -w are the same rotation
    if angle < 3.1:
        assert np.allclose(back, w, atol=1e-12, rtol=1e-9)


def test_mean_rotation_of_scattered_rotations_is_their_centre():
    centre = scipy_rotation.from_rotvec([0.4, -1.0, 2.0])
    scattered = centre * scipy_rotation.from_rotvec(np.random.default_rng(0).normal(0, 0.2, (4000, 3)))
    assert np.linalg.norm((centre.inv() * scipy_rotation.from_matrix(M.mean_rotation(scattered.as_matrix()))).as_rotvec()) < 0.02


# ---- BVH ---------------------------------------------------------------------------------------------------------
def other_reader_positions(path):
    """World positions of the joints by a reader that was not written here (bvhio) -> ([F, J, 3], names)."""
    bvhio = pytest.importorskip("bvhio")
    root = bvhio.readAsBvh(str(path))
    hierarchy = bvhio.convertBvhToHierarchy(root.Root)
    frames, joints = [], [joint for joint, _, _ in hierarchy.layout()]
    for n in range(root.FrameCount):
        hierarchy.loadPose(n)
        frames.append([list(joint.PositionWorld) for joint in joints])
    return np.array(frames), [joint.Name for joint in joints]


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_forward_kinematics_are_those_of_another_reader(path):
    motion = M.read_bvh(path)
    theirs, names = other_reader_positions(path)
    ours = motion.joint_positions()
    shared = [name for name in motion.names if name in names]
    assert len(shared) == len(motion.names)
    difference = ours[:, [motion.names.index(n) for n in shared]] - theirs[:, [names.index(n) for n in shared]]
    assert np.abs(difference).max() < 1e-3 * max(1, motion.body_height() / 100), path.name


def test_another_reader_finds_in_our_file_the_motion_that_was_generated(tmp_path):
    import puppet
    import sample
    generator = sample.load_generator(sample.HERE / "pretrained" / "puppet.pt")
    made = generator(torch.randn(1, 30, 40, generator=torch.Generator().manual_seed(0)), steps=2)[0]
    M.write_bvh(tmp_path / "made.bvh", made)
    theirs, names = other_reader_positions(tmp_path / "made.bvh")
    ours = made.joint_positions()
    assert len(theirs) == 30 and sorted(names) == sorted(puppet.skeleton()[0])
    assert np.ptp(ours[:, made.names.index("LeftHand")], axis=0).max() > 1, "it moves"
    np.testing.assert_allclose(ours, theirs[:, [names.index(n) for n in made.names]], atol=1e-3)


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_a_real_file_written_and_read_again_is_the_same_motion(path, tmp_path):
    motion = M.read_bvh(path)
    M.write_bvh(tmp_path / "again.bvh", motion)
    again = M.read_bvh(tmp_path / "again.bvh")
    assert again.names == motion.names and again.channels == motion.channels and again.end_sites == motion.end_sites
    assert np.abs(again.joint_positions() - motion.joint_positions()).max() < 1e-4
    assert again.frame_time == pytest.approx(motion.frame_time, abs=1e-9)


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_real_motion_through_the_features_and_back(path):
    motion = M.read_bvh(path)
    if len(motion) * motion.frame_time < 0.4:
        pytest.skip("a pose, not a motion")
    assert_round_trip(motion)


def assert_round_trip(motion, fps=20):
    """File -> features -> file at the target rate: within 0.1 degrees and 0.1% of body height, root path included."""
    codec = M.PoseCodec.fit([motion], fps)
    expected, decoded = M.resample(motion, fps), codec.decode(codec.encode(motion), codec.start_of(motion))
    turned = M.matrix_to_exp(np.swapaxes(expected.rotations, -1, -2) @ decoded.rotations)
    assert np.degrees(np.linalg.norm(turned, axis=-1)).max() < 0.1
    assert np.abs(expected.joint_positions() - decoded.joint_positions()).max() < 1e-3 * motion.body_height()


SKELETON = """HIERARCHY
ROOT {p}Hips
{{
  OFFSET 3.0 -2.0 1e1
  CHANNELS 6 {root}
  JOINT {p}Spine One
  {{
    OFFSET 0 20.5 0
    CHANNELS {inner}
    End Site
    {{
      OFFSET 0 10 0
    }}
  }}
  JOINT {p}Left Leg {{
    OFFSET 8 -5 0
    CHANNELS 3 Xrotation Yrotation Zrotation
    End Site HeelNub
    {{
      OFFSET 0 -40 5
    }}
  }}
}}
MOTION
"""


def odd_file(path, rows, root="Xposition Yposition Zposition Zrotation Xrotation Yrotation", inner="3 Zrotation Xrotation Yrotation",
             prefix="", frames=None, newline="\n", per_line=None, frame_time="0.0333333"):
    """A BVH as some program might write it."""
    words = [w for row in rows for w in row]
    per_line = per_line or len(rows[0])
    lines = [" ".join(words[n:n + per_line]) for n in range(0, len(words), per_line)]
    text = SKELETON.format(p=prefix, root=root, inner=inner) + f"Frames:\t{frames or len(rows)}\nFrame Time: {frame_time}\n" + "\n".join(lines) + "\n"
    path.write_bytes(text.replace("\n", newline).encode())
    return path


def test_files_as_real_programs_write_them(tmp_path):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(-50, 50, (9, 3)), rng.uniform(-170, 170, (9, 9))], axis=1)
    plain = M.read_bvh(odd_file(tmp_path / "plain.bvh", [[f"{v:.6f}" for v in row] for row in values])).joint_positions()
    exponent = [[f"{v:.9e}" for v in row] for row in values]
    assert np.allclose(M.read_bvh(odd_file(tmp_path / "crlf.bvh", exponent, newline="\r\n", frame_time="3.33333e-2")).joint_positions(), plain, atol=1e-3)
    assert np.allclose(M.read_bvh(odd_file(tmp_path / "wrapped.bvh", exponent, per_line=5)).joint_positions(), plain, atol=1e-3)
    odd = M.read_bvh(odd_file(tmp_path / "prefix.bvh", exponent, prefix="mixamorig:", root="XPosition yposition ZPOSITION zrotation xRotation Yrotation"))
    assert np.allclose(odd.joint_positions(), plain, atol=1e-3)
    assert odd.names == ["mixamorig:Hips", "mixamorig:Spine One", "mixamorig:Left Leg"] and odd.end_sites[1][1] == "HeelNub"
    turned = [[row[3], row[4], row[5], row[0], row[1], row[2], *row[6:]] for row in exponent]
    first = M.read_bvh(odd_file(tmp_path / "rotation first.bvh", turned, root="Zrotation Xrotation Yrotation Xposition Yposition Zposition"))
    assert np.allclose(first.joint_positions(), plain, atol=1e-3)


@pytest.mark.parametrize("oddity", [lambda t: t.replace(b"Frames:", b"Frames :").replace(b"Time:", b"Time :"), lambda t: t.replace(b"\n", b"\r"), lambda t: t + b"\x1a\0\0\0",
                                    lambda t: t.replace(b"Frames:\t5", b"Frames:\t0"), lambda t: t.replace(b"Left Leg", b"Left Leg \xc9"), lambda t: t.replace(b"Left Leg", "Left Leg \u00c9".encode())],
                         ids=["blanks", "old Mac", "filled up", "written to a pipe", "Latin-1", "UTF-8"])
def test_oddities_that_leave_no_doubt_are_read(tmp_path, oddity):
    path = odd_file(tmp_path / "odd.bvh", GOOD)
    plain = M.read_bvh(path)
    path.write_bytes(oddity(path.read_bytes()))
    odd = M.read_bvh(path)
    assert np.array_equal(odd.joint_positions(), plain.joint_positions()) and odd.names[2] in ("Left Leg", "Left Leg \u00c9")
    assert M.read_skeleton(path)[0] == odd.names


def test_text_of_two_bytes_a_letter_gets_one_clear_line(tmp_path):
    path = odd_file(tmp_path / "odd.bvh", GOOD)
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(M.BvhError, match="odd.bvh: .*UTF-16"):
        M.read_bvh(path)


def test_position_channels_of_an_inner_joint_replace_its_offset(tmp_path):
    row = ["1", "2", "3", "0", "0", "0", "0", "21", "4", "0", "0", "0", "0", "0", "0"]
    m = M.read_bvh(odd_file(tmp_path / "inner.bvh", [row], inner="6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"))
    assert m.joint_positions()[0, 1].tolist() == [1, 23, 7]
    M.write_bvh(tmp_path / "again.bvh", m)
    assert np.allclose(M.read_bvh(tmp_path / "again.bvh").joint_positions(), m.joint_positions())


def test_a_known_pose_stands_where_trigonometry_says(tmp_path):
    row = ["0", "100", "0"] + ["90", "0", "0"] + ["0", "90", "0"] + ["0"] * 3     # hips turned 90 degrees about Z
    m = M.read_bvh(odd_file(tmp_path / "known.bvh", [row]))
    assert np.allclose(m.joint_positions()[0], [[0, 100, 0], [-20.5, 100, 0], [5, 108, 0]])
    assert np.allclose(m.points()[0][0, 3], [-20.5, 100, 10])                     # the End Site: Y turned to Z by the spine's X


def test_written_angles_do_not_jump(tmp_path):
    angles = np.linspace(0, 900, 200)                # two and a half turns
    m = M.read_bvh(odd_file(tmp_path / "spin.bvh", [["0"] * 3 + [f"{a:.4f}"] + ["0"] * 8 for a in angles]))
    M.write_bvh(tmp_path / "again.bvh", m)
    rows = np.array([line.split() for line in (tmp_path / "again.bvh").read_text().splitlines()[-200:]], float)
    assert np.allclose(rows[:, 3], angles, atol=1e-3)


@pytest.mark.parametrize("order", ORDERS)
def test_written_angles_run_on_where_a_joint_turns_past_the_lock(order):
    """Three slow swings, the middle one far beyond 90 degrees: one's own angles are smooth, and so must be those that are found, the same rotations."""
    t = np.linspace(0, 6, 400)[:, None]
    swings = np.radians([70, 160, 110]) * np.sin(t * [1.1, 0.9, 1.3] + [0, 0.4, 1])
    R, hopping = M.euler_to_matrix(swings, order), np.unwrap(M.matrix_to_euler(M.euler_to_matrix(swings, order), order), axis=0)
    smooth = M.smooth_angles(M.matrix_to_euler(R, order))
    assert np.allclose(scipy_rotation.from_euler(order, smooth).as_matrix(), R, atol=1e-9)
    assert np.degrees(np.abs(np.diff(hopping, axis=0)).max()) > 90 and np.degrees(np.abs(np.diff(smooth, axis=0)).max()) < 4
    for cut in (1, 150, 399):                        # as BvhStream writes them, a part behind the other
        first = M.smooth_angles(M.matrix_to_euler(R[:cut], order))
        rest = M.smooth_angles(np.concatenate([first[-1:], M.matrix_to_euler(R[cut:], order)]))[1:]
        assert np.allclose(np.concatenate([first, rest]), smooth, atol=1e-9)


def test_a_joint_of_two_axes_is_written_with_these_two(tmp_path):
    rows = [["0"] * 6 + ["20", f"{x}"] + ["0"] * 3 for x in range(170, 80, -5)]        # the second begins beyond 90 degrees, where the other triple has 180 about the third axis
    m = M.read_bvh(odd_file(tmp_path / "two.bvh", rows, inner="2 Zrotation Xrotation"))
    M.write_bvh(tmp_path / "again.bvh", m)
    assert np.allclose(M.read_bvh(tmp_path / "again.bvh").rotations, m.rotations, atol=1e-6)


@pytest.mark.parametrize("text, rate", [("0.0167", 60), ("0.0166", 60), ("0.017", 60), ("0.0333", 30), ("0.033", 30), ("0.03333", 30), ("0.0083", 120), ("0.00833", 120), ("0.0417", 24), ("0.0416", 24), ("0.03337", 30 / 1.001),
                                        ("0.0111", 90), ("0.0042", 240), ("0.04", 25), ("0.05", 20), ("0.01", 100), ("0.010", 100), ("0.008", 125), ("0.03330", 30), ("0.0667", 15), ("0.0139", 72), ("0.016", 62.5), ("0.0125", 80), ("0.0666", 15), ("0.008333", 120), ("1e-2", 100)])
def test_a_short_frame_time_means_the_usual_rate_that_it_was_rounded_from(tmp_path, text, rate):
    m = M.read_bvh(odd_file(tmp_path / "short.bvh", GOOD, frame_time=text))
    assert M.rate_of(m.frame_time) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("damage, words", [
    (lambda t: t.replace("0.0333333", "8.33"), ["8.33", "seconds from 0.0001 to 1"]), (lambda t: t.replace("0.0333333", "0,04"), ["0,04", "decimal point"]), (lambda t: t.replace(" 0.5", " 0,5", 3), ["'0,5'", "decimal commas"]),
    (lambda t: t.replace("20.5", "20,5", 1), ["OFFSET", "decimal commas"]), (lambda t: t.replace("0.0333333", "0.04 s"), ["Frame Time: 0.04 s"]), (lambda t: t.replace("Frames:\t5", "Frames: 5.0"), ["Frames: 5.0"])])
def test_numbers_as_other_countries_and_programs_write_them_are_quoted(tmp_path, damage, words):
    path = odd_file(tmp_path / "commas.bvh", GOOD)
    path.write_text(damage(path.read_text()))
    with pytest.raises(M.BvhError) as caught:
        M.read_bvh(path)
    assert all(word in str(caught.value) for word in ["commas.bvh: ", *words]) and "\n" not in str(caught.value)


def beside(motion, name, above, below):
    """The motion with one joint more, which does nothing: `above` (None: it is the root, at the origin), and what hung on that and is named in `below` hangs on it."""
    at = 0 if above is None else motion.names.index(above) + 1
    names = [*motion.names[:at], name, *motion.names[at:]]
    parents = [p + (p >= at) for p in motion.parents.tolist()]
    parents.insert(at, -1 if above is None else names.index(above))
    for child in below:
        parents[names.index(child)] = at
    return replace(motion, names=names, parents=np.array(parents), offsets=np.insert(motion.offsets, at, 0.0, axis=0),
                   channels=[*motion.channels[:at], ("Zrotation", "Xrotation", "Yrotation"), *motion.channels[at:]],
                   end_sites=[(j + (j >= at), word, place) for j, word, place in motion.end_sites],
                   rotations=np.insert(motion.rotations, at, np.eye(3), axis=1), positions=np.insert(motion.positions, at, 0.0, axis=1))


def test_a_hand_is_not_the_twist_of_its_forearm():
    plain = walking(2)
    twisted = beside(plain, "LeftHandTwist", "Spine", ["LeftHand"])
    assert [twisted.names[j] for j in M.hand_joints(twisted)] == ["LeftHand", "RightHand"]
    assert [stroke.tolist() for stroke in M.find_strokes(twisted)] == [stroke.tolist() for stroke in M.find_strokes(plain)]


def test_a_root_that_stays_on_the_ground_is_drawn_nowhere():
    body = walking(2, names=("Hips", "LeftFoot", "LeftHand", "RightFoot"))
    grounded = beside(body, "world", None, ["Hips"])
    assert M.body_root(body) == 0 and M.body_root(grounded) == 1 and M.body_root(walking(2)) == 0
    followed = beside(grounded, "camera", "RightFoot", [])
    followed.parents[-1] = 0                         # what else hangs on such a root, and stays on the ground too
    np.testing.assert_allclose(M.shown_points(followed)[0][:, 5], M.shown_points(followed)[0][:, 1])
    biped = beside(body, "Bip01", None, ["Hips"])    # a root that walks, with the hips below it
    biped.positions[:, 0], biped.positions[:, 1] = biped.positions[:, 1], 0.0
    assert M.body_root(biped) == 0
    points, parents = M.shown_points(grounded)
    np.testing.assert_allclose(np.delete(points, 0, axis=1), M.shown_points(body)[0], atol=1e-9)
    np.testing.assert_allclose(points[:, 0], points[:, 1])
    np.testing.assert_allclose(M.shown_points(body)[0], body.points()[0])


GOOD = [["0.5"] * 12] * 5


@pytest.mark.parametrize("damage,word", [
    (lambda t: t[:len(t) // 3], "BVH"), (lambda t: t[:-30], "cut off"), (lambda t: "", "BVH"), (lambda t: "hello\n" * 50, "BVH"),
    (lambda t: t.replace("Frames:\t5", "Frames:\t9"), "Frames"), (lambda t: t.replace("Frames:\t5", "Frames:\t3"), "Frames"),
    (lambda t: t.replace("Frames:\t5", "Frames:\t0")[:-4], "numbers"), (lambda t: t.replace(" 0.5", " nan", 7), "NaN"), (lambda t: t.replace(" 0.5", " inf", 1), "NaN"),
    (lambda t: t.replace(" 0.5", " half", 1), "half"), (lambda t: t.replace("Left Leg", "Spine One"), "two joints"), (lambda t: t.replace("0.0333333", "0"), "Frame Time"),
    (lambda t: t.replace("CHANNELS 3", "CHANNELS 4", 1), "CHANNELS"), (lambda t: t.replace("Xrotation", "Wrotation", 1), "CHANNELS"),
    (lambda t: t.replace("OFFSET 0 20.5 0", "OFFSET 0 20.5"), "OFFSET"), (lambda t: t.replace("}", "", 1), "hierarchy"), (lambda t: t.replace("ROOT", "JOINT"), "hierarchy"),
    (lambda t: t.replace("0.5 0.5\n", "0.5\n", 1), "numbers"),
])
def test_damaged_files_get_one_clear_line(tmp_path, damage, word):
    path = odd_file(tmp_path / "my take.bvh", GOOD)
    path.write_text(damage(path.read_text()))
    with pytest.raises(M.BvhError) as caught:
        M.read_bvh(path)
    message = str(caught.value)
    assert "my take.bvh" in message and word in message and "\n" not in message, message


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 700), junk=st.binary(max_size=12), keep=st.booleans())
def test_whatever_the_bytes_a_clear_error_or_a_sound_motion(tmp_path_factory, cut, junk, keep):
    path = tmp_path_factory.mktemp("fuzz") / "x.bvh"
    whole = odd_file(path, GOOD).read_bytes()
    path.write_bytes(whole[:cut] + junk + (whole[cut + len(junk):] if keep else whole[cut:]))
    try:
        motion = M.read_bvh(path)
    except M.BvhError:
        return
    assert np.isfinite(motion.joint_positions()).all() and len(motion) > 0


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError):
        with M.written_beside(tmp_path / "x.txt") as beside:
            beside.write_text("half")
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


# ---- resampling and features -------------------------------------------------------------------------------------
def walking(seconds=60.0, fps=60.0, names=("Hips", "Spine", "LeftHand", "RightHand"), scale=1.0):
    """Somebody who walks in wide curves and waves: every feature moves, the facing passes 180 degrees."""
    t = np.arange(int(seconds * fps)) / fps
    waves = np.random.default_rng(0).uniform(0.3, 1.2, (len(names), 3))
    w = 0.8 * np.sin(waves * t[:, None, None] * 2 + np.arange(3))            # [F, J, 3]
    R = M.exp_to_matrix(w)
    facing = 0.5 * t
    R[:, 0] = M.turn_about_y(facing) @ M.exp_to_matrix(0.2 * w[:, 0])
    offsets = scale * np.array([[0, 90, 0], [0, 50, 0], [60, 0, 0], [-60, 0, 0]], float)[:len(names)]
    positions = np.tile(offsets, (len(t), 1, 1))
    speed = scale * 80 * np.stack([np.sin(facing), np.zeros_like(t), np.cos(facing)], axis=1) / fps
    positions[:, 0] += np.cumsum(speed, axis=0) + scale * np.stack([0 * t, 2 * np.sin(6 * t), 0 * t], axis=1)
    channels = [("Xposition", "Yposition", "Zposition") * (j == 0) + ("Zrotation", "Xrotation", "Yrotation") for j in range(len(names))]
    return M.Motion(list(names), np.array([-1, 0, 1, 1])[:len(names)], offsets, channels, [(2, "", (5.0, 0.0, 0.0))], 1 / fps, R, positions)


def test_sixty_seconds_through_the_features_and_back_root_path_included():
    assert_round_trip(walking())


def test_inner_translations_travel_too():
    motion = walking(10)
    motion.positions[:, 1, 1] += 3 * np.sin(np.arange(len(motion)) / 20)
    assert_round_trip(motion)


@pytest.mark.parametrize("fps", [29.97, 120.0, 24.0, 12.5])
def test_resampling_is_slerp_at_the_right_times(fps):
    slerp = pytest.importorskip("scipy.spatial.transform").Slerp
    motion = walking(5, fps)
    ours = M.resample(motion, 20)
    at = np.arange(len(ours)) / 20
    source = np.arange(len(motion)) / fps
    assert at[-1] <= source[-1] < at[-1] + 1 / 20 + 1e-9
    for j in range(4):
        theirs = slerp(source, scipy_rotation.from_matrix(motion.rotations[:, j]))(np.minimum(at, source[-1]))
        assert np.allclose(ours.rotations[:, j], theirs.as_matrix(), atol=1e-9)
    assert np.allclose(ours.positions[:, 0, 0], np.interp(at, source, motion.positions[:, 0, 0]))


def test_features_do_not_know_where_one_stands_or_faces():
    motion = walking(5)
    moved = replace(motion, rotations=motion.rotations.copy(), positions=motion.positions.copy())
    turn = M.turn_about_y(2.5)
    moved.rotations[:, 0] = turn @ motion.rotations[:, 0]
    moved.positions[:, 0] = motion.positions[:, 0] @ turn.T + [100, 0, -40]
    codec = M.PoseCodec.fit([motion])
    assert np.allclose(codec.encode(moved), codec.encode(motion), atol=1e-4)


def test_features_are_standardised_and_constant_ones_dropped():
    motion = walking(20)
    motion.rotations[:, 3] = np.eye(3)
    codec = M.PoseCodec.fit([motion])
    pose = codec.encode(motion)
    assert pose.shape == (400, 7 + 2 * 3) and pose.dtype == np.float32       # root, two joints; the third and all inner places are constant
    assert np.allclose(pose.mean(0), 0, atol=1e-3) and np.allclose(pose.std(0), 1, atol=1e-3)


def test_the_codec_survives_its_journey_in_a_checkpoint():
    import json
    motion = walking(5)
    codec = M.PoseCodec.fit([motion])
    again = M.PoseCodec(json.loads(json.dumps(codec.state())))
    assert np.array_equal(again.encode(motion), codec.encode(motion))


def test_another_skeleton_is_refused_by_name():
    codec = M.PoseCodec.fit([walking(3)])
    with pytest.raises(M.BvhError, match="Tail"):
        codec.encode(walking(3, names=("Hips", "Spine", "LeftHand", "Tail")))


def test_bones_of_another_length_share_a_codec():
    codec = M.PoseCodec.fit([walking(3), walking(3, scale=0.9)])
    assert codec.encode(walking(3, scale=0.9)).shape[1] == codec.pose_dim


# ---- strokes -----------------------------------------------------------------------------------------------------
def test_strokes_of_a_hand_that_falls_at_known_times_are_found():
    fps, times, drop = 20, np.array([1.03, 2.5, 3.37]), 30.0
    t = np.arange(100) / fps
    y = np.zeros(100)
    for at in times:                                 # slowly up within 0.6 s, down in 0.24 s with the fastest moment at `at`
        u, v = np.clip((t - at + 0.8) / 0.6, 0, 1), np.clip((t - at + 0.12) / 0.24, 0, 1)
        y += drop * ((3 * u ** 2 - 2 * u ** 3) - (3 * v ** 2 - 2 * v ** 3))
    motion = walking(5, 20)
    motion.rotations[:] = np.eye(3)
    motion.positions[:] = motion.offsets
    motion.positions[:, 2, 1] += y
    found, drops, sides = M.find_strokes(motion)
    assert np.allclose(found, times, atol=0.03) and set(sides) == {0}
    assert np.allclose(drops * motion.body_height(), drop, rtol=0.05)


def test_a_hand_that_falls_evenly_is_one_stroke():
    """As between two key frames with a straight line between them: all its moments fall equally fast."""
    motion = walking(5, 20)
    motion.rotations[:] = np.eye(3)
    motion.positions[:] = motion.offsets
    motion.positions[:, 2, 1] -= 4.0 * np.clip(np.arange(len(motion)) - 30, 0, 30)       # for 1.5 s, exactly so many units a frame
    assert len(M.find_strokes(motion)[0]) == 1
