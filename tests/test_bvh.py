"""BVH files: compared with another reader, as real programs write them, damaged, and written."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared_files
from hypothesis import given, settings
from hypothesis import strategies as st
from three_corpora import body

from body.bvh import read_bvh, read_skeleton, write_bvh
from body.hierarchy import is_a_name
from body.motion import BvhError, rate_of
from body.stretch import collapsed
from tools import SHIPPED, written_beside

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
PLACE, TURN = "Xposition Yposition Zposition", "Zrotation Xrotation Yrotation"
GOOD = [["0.5"] * 12] * 5


def odd_file(
    path,
    rows,
    root=f"{PLACE} {TURN}",
    inner=f"3 {TURN}",
    prefix="",
    newline="\n",
    per_line=None,
    frame_time="0.0333333",
):
    """Write a BVH file as some program might -> its path."""
    words = [word for row in rows for word in row]
    per_line = per_line or len(rows[0])
    lines = [" ".join(words[n : n + per_line]) for n in range(0, len(words), per_line)]
    text = SKELETON.format(p=prefix, root=root, inner=inner)
    text += f"Frames:\t{len(rows)}\nFrame Time: {frame_time}\n" + "\n".join(lines) + "\n"
    path.write_bytes(text.replace("\n", newline).encode())
    return path


def swap(old, new, count=-1):
    """A change to a file's text, as a parameter of a test."""
    return lambda text: text.replace(old, new, count)


def error_of(path):
    """The one line that reading this file ends with."""
    with pytest.raises(BvhError) as caught:
        read_bvh(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message, message
    return message


# ---- another reader ------------------------------------------------------------------------------
def other_reader_positions(path):
    """Joint positions by a reader that was not written here, bvhio -> ([F, J, 3], names)."""
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
    motion = read_bvh(path)
    theirs, names = other_reader_positions(path)
    assert set(motion.names) <= set(names)
    difference = motion.joint_positions() - theirs[:, [names.index(n) for n in motion.names]]
    assert np.abs(difference).max() < 1e-3 * max(1, motion.body_height() / 100), path.name


def test_another_reader_finds_in_our_file_the_motion_that_was_generated(tmp_path):
    import torch  # here: only this test needs the network

    from recordings.puppet_body import skeleton
    from sample import load_generator

    noise = torch.randn(1, 30, 40, generator=torch.Generator().manual_seed(0))
    made = load_generator(SHIPPED)(noise, steps=2)[0]
    write_bvh(tmp_path / "made.bvh", made)
    theirs, names = other_reader_positions(tmp_path / "made.bvh")
    ours = made.joint_positions()
    assert len(theirs) == 30 and sorted(names) == sorted(skeleton()[0])
    assert np.ptp(ours[:, made.names.index("LeftHand")], axis=0).max() > 1, "it moves"
    np.testing.assert_allclose(ours, theirs[:, [names.index(n) for n in made.names]], atol=1e-3)


# ---- files as real programs write them -----------------------------------------------------------
def test_files_as_real_programs_write_them(tmp_path):
    rng = np.random.default_rng(0)
    places, angles = rng.uniform(-50, 50, (9, 3)), rng.uniform(-170, 170, (9, 9))
    values = np.concatenate([places, angles], axis=1)
    plain = odd_file(tmp_path / "plain.bvh", [[f"{v:.6f}" for v in row] for row in values])
    plain = read_bvh(plain).joint_positions()
    rows = [[f"{v:.9e}" for v in row] for row in values]
    turned = [[*row[3:6], *row[:3], *row[6:]] for row in rows]
    odd_root = "XPosition yposition ZPOSITION zrotation xRotation Yrotation"
    prefixed = odd_file(tmp_path / "prefix.bvh", rows, prefix="mixamorig:", root=odd_root)
    for path in (
        odd_file(tmp_path / "crlf.bvh", rows, newline="\r\n", frame_time="3.33333e-2"),
        odd_file(tmp_path / "wrapped.bvh", rows, per_line=5),
        odd_file(tmp_path / "rotation first.bvh", turned, root=f"{TURN} {PLACE}"),
        prefixed,
    ):
        assert np.allclose(read_bvh(path).joint_positions(), plain, atol=1e-3), path.name
    odd = read_bvh(prefixed)
    assert odd.names == ["mixamorig:Hips", "mixamorig:Spine One", "mixamorig:Left Leg"]
    assert odd.end_sites[1][1] == "HeelNub"


ODDITIES = {
    "blanks": lambda t: t.replace(b"Frames:", b"Frames :").replace(b"Time:", b"Time :"),
    "old Mac": swap(b"\n", b"\r"),
    "filled up": lambda t: t + b"\x1a\0\0\0",
    "written to a pipe": swap(b"Frames:\t5", b"Frames:\t0"),
    "Latin-1": swap(b"Left Leg", b"Left Leg \xc9"),
    "UTF-8": swap(b"Left Leg", "Left Leg \u00c9".encode()),
}


@pytest.mark.parametrize("oddity", ODDITIES.values(), ids=ODDITIES.keys())
def test_oddities_that_leave_no_doubt_are_read(tmp_path, oddity):
    path = odd_file(tmp_path / "odd.bvh", GOOD)
    plain = read_bvh(path)
    path.write_bytes(oddity(path.read_bytes()))
    odd = read_bvh(path)
    assert np.array_equal(odd.joint_positions(), plain.joint_positions())
    assert odd.names[2] in ("Left Leg", "Left Leg \u00c9")
    assert read_skeleton(path)[0] == odd.names


def test_text_of_two_bytes_a_letter_gets_one_clear_line(tmp_path):
    path = odd_file(tmp_path / "odd.bvh", GOOD)
    path.write_text(path.read_text(), encoding="utf-16")
    assert "UTF-16" in error_of(path)


def test_position_channels_of_an_inner_joint_replace_its_offset(tmp_path):
    row = "1 2 3 0 0 0 0 21 4 0 0 0 0 0 0".split()
    inner = f"6 {PLACE} Zrotation Yrotation Xrotation"
    motion = read_bvh(odd_file(tmp_path / "inner.bvh", [row], inner=inner))
    assert motion.joint_positions()[0, 1].tolist() == [1, 23, 7]
    write_bvh(tmp_path / "again.bvh", motion)
    again = read_bvh(tmp_path / "again.bvh")
    assert np.allclose(again.joint_positions(), motion.joint_positions())


@pytest.mark.parametrize("fps", [None, 20])
@pytest.mark.parametrize("hips", ["changes", "places"])
def test_positions_that_are_changes_are_added_to_the_offset(tmp_path, fps, hips):
    """The body of ZEGGS has position channels everywhere; three.js would add its changes."""
    places = body("zeggs", 1, frame_time="0.02")
    changes = replace(places, positions=places.positions - places.offsets)
    if hips == "places":
        changes.positions[:, 0] = places.positions[:, 0]
    changes.positions[:, 1] += [0, 0.3, 0]  # a bone that is stretched
    places.positions[:, 1] += [0, 0.3, 0]
    for name, motion in (("places", places), ("changes", changes)):
        write_bvh(tmp_path / f"{name}.bvh", motion)
        # write_bvh puts 0 in the place of the root's OFFSET, and other programs do not
        text = (tmp_path / f"{name}.bvh").read_text()
        rest = " ".join(f"{x:.6f}" for x in motion.offsets[0])
        (tmp_path / f"{name}.bvh").write_text(
            re.sub("OFFSET [^\n]*", f"OFFSET {rest}", text, count=1)
        )
    # A first pose of zeros, as some programs put it, is not what decides
    text = (tmp_path / "places.bvh").read_text().replace("Frames: 50", "Frames: 51")
    head, time, rows = text.partition("Frame Time: 0.02\n")
    zeros = " ".join(["0"] * len(rows.split("\n", 1)[0].split())) + "\n"
    (tmp_path / "zeros.bvh").write_text(head + time + zeros + rows)
    expected, read = (read_bvh(tmp_path / f"{n}.bvh", fps) for n in ("places", "changes"))
    assert "added to OFFSET" in read.remarks[0] and not expected.remarks
    np.testing.assert_allclose(read.joint_positions(), expected.joint_positions(), atol=1e-4)
    zeros = read_bvh(tmp_path / "zeros.bvh", fps)
    assert not zeros.remarks and not collapsed(zeros)
    write_bvh(tmp_path / "again.bvh", read)
    again = read_bvh(tmp_path / "again.bvh")
    assert not again.remarks, "what is written holds places"
    np.testing.assert_allclose(again.positions, read.positions, atol=1e-5)


def test_a_body_that_collapses_is_said_and_left_as_it_is(tmp_path):
    """Half of the bones are 0 in the rows: no way to tell what is meant."""
    motion = body("zeggs", 0.2)
    assert collapsed(motion) == []
    motion.positions[:, 1::2] = 0
    write_bvh(tmp_path / "a.bvh", motion)
    read = read_bvh(tmp_path / "a.bvh")
    np.testing.assert_allclose(read.positions, motion.positions, atol=1e-5)
    assert not read.remarks and "37 of 74 bones" in collapsed(read)[0]


@pytest.mark.parametrize("fps", [None, 20])
def test_one_whole_row_more_than_said_is_read_with_a_remark(tmp_path, fps):
    whole = odd_file(tmp_path / "a.bvh", [[f"{n}.5"] * 12 for n in range(9)])
    expected = read_bvh(whole, fps)
    whole.write_text(whole.read_text().replace("Frames:\t9", "Frames:\t8"))
    read = read_bvh(whole, fps)
    assert np.array_equal(read.rotations, expected.rotations) and not expected.remarks
    assert "one row more than 'Frames: 8' says" in read.remarks[0]
    whole.write_text(whole.read_text().replace("Frames:\t8", "Frames:\t7"))
    assert "7 frames of 12 channels" in error_of(whole), "two rows more are an error as before"


def test_a_known_pose_stands_where_trigonometry_says(tmp_path):
    row = "0 100 0  90 0 0  0 90 0  0 0 0".split()  # the hips: 90 degrees about Z
    motion = read_bvh(odd_file(tmp_path / "known.bvh", [row]))
    assert np.allclose(motion.joint_positions()[0], [[0, 100, 0], [-20.5, 100, 0], [5, 108, 0]])
    end_site = motion.points()[0][0, 3]  # the spine's 90 degrees about X carry Y to Z
    assert np.allclose(end_site, [-20.5, 100, 10])


# fmt: off
RATES = [
    ("0.0167", 60), ("0.0166", 60), ("0.017", 60), ("0.016", 62.5),
    ("0.0333", 30), ("0.033", 30), ("0.03333", 30), ("0.03330", 30), ("0.03337", 30 / 1.001),
    ("0.0083", 120), ("0.00833", 120), ("0.008333", 120), ("0.008", 125), ("0.0042", 240),
    ("0.0417", 24), ("0.0416", 24), ("0.04", 25), ("0.05", 20), ("0.0667", 15), ("0.0666", 15),
    ("0.01", 100), ("0.010", 100), ("1e-2", 100), ("0.0111", 90), ("0.0125", 80), ("0.0139", 72),
]
# fmt: on


@pytest.mark.parametrize("text, rate", RATES)
def test_a_short_frame_time_means_the_usual_rate_that_it_was_rounded_from(tmp_path, text, rate):
    motion = read_bvh(odd_file(tmp_path / "short.bvh", GOOD, frame_time=text))
    assert rate_of(motion.frame_time) == pytest.approx(rate, rel=1e-9)


# ---- damaged files -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "damage, words",
    [
        (swap("0.0333333", "8.33"), ["8.33", "seconds from 0.0001 to 1"]),
        (swap("0.0333333", "0,04"), ["0,04", "decimal point"]),
        (swap("0.0333333", "0.04 s"), ["Frame Time: 0.04 s"]),
        (swap("Frames:\t5", "Frames: 5.0"), ["Frames: 5.0"]),
        (swap(" 0.5", " 0,5", 3), ["'0,5'", "decimal commas"]),
        (swap("20.5", "20,5", 1), ["OFFSET", "decimal commas"]),
    ],
)
def test_numbers_as_other_countries_and_programs_write_them_are_quoted(tmp_path, damage, words):
    path = odd_file(tmp_path / "commas.bvh", GOOD)
    path.write_text(damage(path.read_text()))
    message = error_of(path)
    assert all(word in message for word in ["commas.bvh: ", *words]), message


@pytest.mark.parametrize(
    "damage, word",
    [
        (lambda t: t[: len(t) // 3], "BVH"),
        (lambda t: t[:-30], "cut off"),
        (swap("HIERARCHY", "HIERARCHY\n{"), "opening brace"),
        (lambda t: t.replace("MOTION", "{\n}\nMOTION"), "opening brace"),
        (lambda t: "", "BVH"),
        (lambda t: "hello\n" * 50, "BVH"),
        (swap("Frames:\t5", "Frames:\t9"), "Frames"),
        (swap("Frames:\t5", "Frames:\t3"), "Frames"),
        (lambda t: t.replace("Frames:\t5", "Frames:\t0")[:-4], "numbers"),
        (swap(" 0.5", " nan", 7), "NaN"),
        (swap(" 0.5", " inf", 1), "NaN"),
        (swap(" 0.5", " half", 1), "half"),
        (swap("0.5 0.5\n", "0.5\n", 1), "numbers"),
        (swap("0.0333333", "0"), "Frame Time"),
        (swap("Left Leg", "Spine One"), "two joints"),
        (swap("CHANNELS 3", "CHANNELS 4", 1), "CHANNELS"),
        (swap("Xrotation", "Wrotation", 1), "CHANNELS"),
        (swap("OFFSET 0 20.5 0", "OFFSET 0 20.5"), "OFFSET"),
        (swap("}", "", 1), "hierarchy"),
        (swap("ROOT", "JOINT"), "hierarchy"),
    ],
)
def test_damaged_files_get_one_clear_line(tmp_path, damage, word):
    path = odd_file(tmp_path / "my take.bvh", GOOD)
    path.write_text(damage(path.read_text()))
    assert word in error_of(path)


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 700), junk=st.binary(max_size=12), keep=st.booleans())
def test_whatever_the_bytes_a_clear_error_or_a_sound_motion(tmp_path_factory, cut, junk, keep):
    path = tmp_path_factory.mktemp("fuzz") / "x.bvh"
    whole = odd_file(path, GOOD).read_bytes()
    path.write_bytes(whole[:cut] + junk + whole[cut + len(junk) * keep :])
    try:
        motion = read_bvh(path)
    except BvhError:
        return
    assert np.isfinite(motion.joint_positions()).all() and len(motion) > 0


# ---- writing -------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_a_real_file_written_and_read_again_is_the_same_motion(path, tmp_path):
    motion = read_bvh(path)
    write_bvh(tmp_path / "again.bvh", motion)
    again = read_bvh(tmp_path / "again.bvh")
    assert again.names == motion.names and again.channels == motion.channels
    assert again.end_sites == motion.end_sites
    assert np.abs(again.joint_positions() - motion.joint_positions()).max() < 1e-4
    assert again.frame_time == pytest.approx(motion.frame_time, abs=1e-9)


def test_written_angles_do_not_jump(tmp_path):
    angles = np.linspace(0, 900, 200)  # two and a half rotations
    rows = [["0"] * 3 + [f"{angle:.4f}"] + ["0"] * 8 for angle in angles]
    write_bvh(tmp_path / "again.bvh", read_bvh(odd_file(tmp_path / "spin.bvh", rows)))
    lines = (tmp_path / "again.bvh").read_text().splitlines()[-200:]
    written = np.array([line.split() for line in lines], float)  # [F, 12]
    assert np.allclose(written[:, 3], angles, atol=1e-3)


def test_a_joint_of_two_axes_is_written_with_these_two(tmp_path):
    # Beyond 90 degrees matrix_to_euler gives the other triple, with 180 about the third axis.
    rows = [["0"] * 6 + ["20", f"{x}"] + ["0"] * 3 for x in range(170, 80, -5)]
    motion = read_bvh(odd_file(tmp_path / "two.bvh", rows, inner="2 Zrotation Xrotation"))
    write_bvh(tmp_path / "again.bvh", motion)
    assert np.allclose(read_bvh(tmp_path / "again.bvh").rotations, motion.rotations, atol=1e-6)


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), written_beside(tmp_path / "x.txt") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def tree(path, joints, in_chain, last="0", names="j{}"):
    """Write a BVH file of so many joints, in a chain or side by side; its last row begins so."""
    place = f"6 {PLACE} {TURN}"
    lines = ["HIERARCHY", "ROOT hips", "{", "OFFSET 0 0 0", f"CHANNELS {place}"]
    for j in range(1, joints):
        lines += [f"JOINT {names.format(j)}", "{", "OFFSET 0 1 0", f"CHANNELS 3 {TURN}"]
        lines += [] if in_chain else ["}"]
    lines += ["}"] * (joints if in_chain else 1)
    row = ["0"] * (3 + 3 * joints)
    lines += ["MOTION", "Frames: 2", "Frame Time: 0.05", " ".join(row), " ".join([last, *row[1:]])]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_chain_of_3000_joints_is_read_and_written(tmp_path):
    motion = read_bvh(tree(tmp_path / "a.bvh", 3000, in_chain=True))
    write_bvh(tmp_path / "b.bvh", motion)
    again = read_bvh(tmp_path / "b.bvh")
    assert again.names == motion.names and again.parents.tolist() == list(range(-1, 2999))
    assert again.joint_positions()[0, -1].tolist() == [0, 2999, 0]


def test_many_joints_take_seconds_not_minutes(tmp_path):
    """Three times as many take about three times as long; in a list of names it was nine times."""
    files = [tree(tmp_path / f"{n}.bvh", n, in_chain=False) for n in (20_000, 60_000)]
    times = []
    for file in files:
        begun = time.process_time()
        assert len(read_skeleton(file)[0]) == int(file.stem)
        times.append(time.process_time() - begun)
    assert times[1] < 6 * times[0] + 0.1


def test_joints_without_channels_do_not_make_gigabytes_of_a_small_file(tmp_path):
    joints = "".join(f"JOINT j{n}\n{{\nOFFSET 0 1 0\n}}\n" for n in range(3000))
    head = "HIERARCHY\nROOT r\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
    rows = "MOTION\nFrames: 20000\nFrame Time: 0.05\n" + "0 0 1\n" * 20_000
    (tmp_path / "big.bvh").write_text(head + joints + "}\n" + rows)
    with pytest.raises(BvhError, match="big.bvh: has 3001 joints and channels for 1 of them"):
        read_bvh(tmp_path / "big.bvh")


@pytest.mark.parametrize("number", ["1e308", "-1e10", "1e999"])
def test_numbers_that_are_no_place_get_one_line(tmp_path, number):
    with pytest.raises(BvhError, match="a.bvh: frame 1 holds .*cut it out"):
        read_bvh(tree(tmp_path / "a.bvh", 3, in_chain=True, last=number))
    text = tree(tmp_path / "b.bvh", 3, in_chain=True).read_text()
    (tmp_path / "b.bvh").write_text(text.replace("OFFSET 0 1 0", f"OFFSET 0 {number} 0", 1))
    with pytest.raises(BvhError, match="b.bvh: OFFSET needs three numbers"):
        read_bvh(tmp_path / "b.bvh")


def test_a_file_that_cannot_be_read_is_said_by_both_readers(tmp_path):
    for read in (read_bvh, read_skeleton):
        with pytest.raises(BvhError, match="a.bvh: cannot be read .*No such file"):
            read(tmp_path / "a.bvh")
        with pytest.raises(BvhError, match="cannot be read .*directory"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["Hips", "", "Left Leg", "mixamorig:Spine", "hüfte"])
def test_a_name_that_a_file_can_hold(name):
    assert is_a_name(name)


@pytest.mark.parametrize("name", ["\n}", "a{", "a\tb", " a", "a\u2028b", "a\udc80", None, 3])
def test_a_name_that_no_file_can_hold(name):
    assert not is_a_name(name)
