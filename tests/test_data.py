"""Other people's recordings: their names, skeletons, rates and folders, in small; what check finds; what mirroring does."""
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, TINY, run, shared_files

import data
import motion as M
import puppet
from wavlm_loader import SpeechFeatures

FINGERS = [f"{finger}{n}" for finger in ("Thumb", "Index", "Middle", "Ring", "Pinky") for n in (1, 2, 3, 4)]


def zeggs_rows():
    """(name, parent) of the 75 joints of ZEGGS in file order."""
    rows = [("Hips", ""), ("Spine", "Hips"), ("Spine1", "Spine"), ("Spine2", "Spine1"), ("Spine3", "Spine2"), ("Neck", "Spine3"),
            ("Neck1", "Neck"), ("Head", "Neck1"), ("HeadEnd", "Head")]
    for s in ("Right", "Left"):
        rows += [(f"{s}Shoulder", "Spine3"), (f"{s}Arm", f"{s}Shoulder"), (f"{s}ForeArm", f"{s}Arm"), (f"{s}Hand", f"{s}ForeArm")]
        rows += [(f"{s}Hand{f}", f"{s}Hand" if f.endswith("1") else f"{s}Hand{f[:-1]}{int(f[-1]) - 1}") for f in FINGERS]
        rows += [(f"{s}ForeArmEnd", f"{s}Hand"), (f"{s}ArmEnd", f"{s}ForeArm")]
    for s in ("Right", "Left"):
        rows += [(f"{s}UpLeg", "Hips"), (f"{s}Leg", f"{s}UpLeg"), (f"{s}Foot", f"{s}Leg"), (f"{s}ToeBase", f"{s}Foot"),
                 (f"{s}ToeBaseEnd", f"{s}ToeBase"), (f"{s}LegEnd", f"{s}Foot"), (f"{s}UpLegEnd", f"{s}Leg")]
    return rows


def beat_rows():
    """(name, parent) of the 75 joints of BEAT."""
    rows = [("Hips", ""), ("Spine", "Hips"), ("Spine1", "Spine"), ("Spine2", "Spine1"), ("Spine3", "Spine2"), ("Neck", "Spine3"),
            ("Neck1", "Neck"), ("Head", "Neck1"), ("HeadEnd", "Head")]
    for s in ("Right", "Left"):
        h = f"{s}Hand"
        rows += [(f"{s}Shoulder", "Spine3"), (f"{s}Arm", f"{s}Shoulder"), (f"{s}ForeArm", f"{s}Arm"), (h, f"{s}ForeArm")]
        rows += [(f"{h}Middle1", h)] + [(f"{h}Middle{n}", f"{h}Middle{n - 1}") for n in (2, 3, 4)]
        for finger, on in (("Ring", h), ("Pinky", f"{h}Ring"), ("Index", h)):
            rows += [(f"{h}{finger}", on), (f"{h}{finger}1", f"{h}{finger}")] + [(f"{h}{finger}{n}", f"{h}{finger}{n - 1}") for n in (2, 3, 4)]
        rows += [(f"{h}Thumb1", f"{h}Index")] + [(f"{h}Thumb{n}", f"{h}Thumb{n - 1}") for n in (2, 3, 4)]
    for s in ("Right", "Left"):
        rows += [(f"{s}UpLeg", "Hips"), (f"{s}Leg", f"{s}UpLeg"), (f"{s}Foot", f"{s}Leg"), (f"{s}ForeFoot", f"{s}Foot"),
                 (f"{s}ToeBase", f"{s}ForeFoot"), (f"{s}ToeBaseEnd", f"{s}ToeBase")]
    return rows


def trinity_rows():
    """(name, parent) of the joints of Trinity that the authors keep."""
    keep = {"Hips", "Spine", "Spine1", "Spine2", "Spine3", "Neck", "Head"} | {s + p for s in ("Left", "Right") for p in
            ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")}
    return [(n, "Neck" if n == "Head" else p) for n, p in zeggs_rows() if n in keep]


PLACES = dict(hips=(0, 93, 0), neck=(0, 14, 0), neck1=(0, 5, 0), head=(0, 6, 1), headend=(0, 16, 0), shoulder=(3, 11, 0), arm=(14, 0, 0), forearm=(27, 0, 0),
              hand=(25, 0, 0), upleg=(9, -2, 0), leg=(0, -42, 0), foot=(0, -42, 0), toebase=(0, -5, 12), forefoot=(0, -2, 5), toebaseend=(0, 0, 5),
              legend=(0, -4, 0), uplegend=(0, -4, 0), spine=(0, 10, 0), spine1=(0, 10, 0), spine2=(0, 10, 0), spine3=(0, 10, 0))     # cm; (3, 0, 0) otherwise
CORPORA = {     # rows, frames a second as the file says them, rotation order, position channels on every joint, audio rate
    "zeggs": (zeggs_rows, "0.016667", "ZYX", True, 48_000),
    "beat": (beat_rows, "0.008333", "XYZ", False, 16_000),
    "trinity": (trinity_rows, "0.016667", "ZXY", False, 44_100)}


def body(corpus, seconds=4.0, seed=0, size=1.0, frame_time=None, still=("End", "4")):
    """A talking body in a corpus' skeleton: the arms beat, all joints sway a little but those that never rotate."""
    rows, time, order, everywhere, _ = CORPORA[corpus]
    rows, time = rows(), frame_time or time
    names = [n for n, _ in rows]
    parents = np.array([names.index(p) if p else -1 for _, p in rows])
    offsets = np.array([PLACES.get(M.side_and_stem(n)[1], (3, 0, 0)) for n in names], float) * size        # [J, 3]
    offsets[[n.startswith("Right") for n in names], 0] *= -1
    rng, t = np.random.default_rng(seed), np.arange(round(seconds / float(time))) * float(time)
    phase, speed = rng.uniform(0, 6, (2, len(names), 3))
    w = 0.1 * np.sin(phase + (0.5 + speed / 3) * t[:, None, None])            # [F, J, 3]
    for side, sign in (("Left", 1), ("Right", -1)):
        w[:, names.index(side + "Arm"), 2] += sign * (-1.0 + 0.4 * np.sin(7 * t + sign))
    w[:, [n.endswith(still) for n in names]] = 0
    positions = np.tile(offsets, (len(t), 1, 1))
    positions[:, 0, :2] += size * np.stack([2 * np.sin(t + seed), np.sin(2 * t)], axis=1)
    xyz = ("Xposition", "Yposition", "Zposition")
    channels = [(xyz if everywhere or j == 0 else ()) + tuple(f"{a}rotation" for a in order) for j in range(len(names))]
    ends = [(j, "", (0.0, 3.0 * size, 0.0)) for j in range(len(names)) if j not in parents]
    return M.Motion(names, parents, offsets, channels, ends, float(time), M.exp_to_matrix(w), positions)


def write_take(folder, stem, corpus, seconds=4.0, sound=None, **more):
    """A pair in `folder`; the sound goes to the folder `sound` if given."""
    folder.mkdir(parents=True, exist_ok=True)
    M.write_bvh(folder / f"{stem}.bvh", body(corpus, seconds, **more))
    rate = CORPORA[corpus][4]
    t = np.arange(int(seconds * rate)) / rate
    (sound or folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(more.get("seed", 0))
    soundfile.write((sound or folder) / f"{stem}.wav", 0.3 * np.sin(700 * t) * (np.sin(7 * t) > 0) + 0.003 * rng.normal(size=len(t)), rate)


# ---- any skeleton ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", CORPORA)
def test_the_fixtures_have_the_real_joints_channels_and_rates(corpus, tmp_path):
    M.write_bvh(tmp_path / "a.bvh", body(corpus, 1))
    motion = M.read_bvh(tmp_path / "a.bvh")
    assert len(motion.names) == {"zeggs": 75, "beat": 75, "trinity": 23}[corpus]
    assert motion.channels[0][:3] == ("Xposition", "Yposition", "Zposition") and len(motion.channels[5]) == (6 if corpus == "zeggs" else 3)
    assert 1.5 < motion.body_height() / 100 < 1.95


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("fps", [20, 29.97])
def test_reading_at_a_rate_is_reading_and_resampling(corpus, fps, tmp_path):
    M.write_bvh(tmp_path / "a.bvh", body(corpus, 3))
    fast, slow = M.read_bvh(tmp_path / "a.bvh", fps), M.resample(M.read_bvh(tmp_path / "a.bvh"), fps)
    assert np.array_equal(fast.rotations, slow.rotations) and np.array_equal(fast.positions, slow.positions) and fast.frame_time == slow.frame_time
    text = (tmp_path / "a.bvh").read_text()
    head, rows = text.split("MOTION")[0], text.split("Frame Time")[1].split("\n", 1)[1].split()
    count = text.split("MOTION")[1].split("Frame Time")[0]
    (tmp_path / "b.bvh").write_text(head + "MOTION" + count + f"Frame Time: {CORPORA[corpus][1]}\n" + "\r\n".join("\t".join(rows[n:n + 7]) for n in range(0, len(rows), 7)))
    assert np.array_equal(M.read_bvh(tmp_path / "b.bvh", fps).rotations, fast.rotations), "rows that run over several lines"


def test_a_number_too_few_in_a_frame_that_is_not_needed_is_still_found(tmp_path):
    M.write_bvh(tmp_path / "a.bvh", body("beat", 1))
    lines = (tmp_path / "a.bvh").read_text().splitlines()
    lines[-2] = lines[-2].rpartition(" ")[0]
    (tmp_path / "a.bvh").write_text("\n".join(lines))
    with pytest.raises(M.BvhError, match="a.bvh: 120 frames"):
        M.read_bvh(tmp_path / "a.bvh", 20)
    lines[-2] += " nan"
    (tmp_path / "a.bvh").write_text("\n".join(lines))
    with pytest.raises(M.BvhError, match="frame 118 holds NaN"):
        M.read_bvh(tmp_path / "a.bvh", 20)


def test_a_rate_that_the_file_rounds_does_not_drift():
    """0.008333 is meant as 1/120: after ten minutes at 20 fps, frame 12000 is source frame 72000 and not 72003."""
    before, after, u = M._neighbours(72_001, 0.008333, 20)
    assert before[-1] == after[-1] == 72_000 and not u.any() and len(before) == 12_001


@pytest.mark.parametrize("corpus", CORPORA)
def test_people_who_differ_in_their_bones_alone_share_features_and_keep_their_bones(corpus):
    tall, small = body(corpus, 3), body(corpus, 3, size=0.8)
    codec = M.PoseCodec.fit([tall, small])
    alone = M.PoseCodec.fit([tall])
    assert list(codec.kept) == list(alone.kept), "other bone lengths are not movement"
    back = codec.decode(codec.encode(small), codec.start_of(small), body=small)
    expected = M.resample(small, 20)
    assert np.abs(back.joint_positions() - expected.joint_positions()).max() < 0.1 and np.array_equal(back.offsets, small.offsets)
    assert np.array_equal(codec.decode(codec.encode(small)).offsets, tall.offsets)


def test_joints_that_are_not_chosen_hold_their_mean_pose(tmp_path):
    motion = body("beat", 4)
    chosen = M.choose_joints(motion, "upper,no-fingers")
    assert [motion.names[j] for j in chosen] == ["Spine", "Spine1", "Spine2", "Spine3", "Neck", "Neck1", "Head", "HeadEnd"] + [
        s + p for s in ("Right", "Left") for p in ("Shoulder", "Arm", "ForeArm", "Hand")]
    assert [motion.names[j] for j in M.choose_joints(motion, "*Arm, Head")] == ["Head", "RightArm", "RightForeArm", "LeftArm", "LeftForeArm"]
    codec = M.PoseCodec.fit([motion], joints=chosen)
    back, true = codec.decode(codec.encode(motion)), M.resample(motion, 20)
    for j, name in enumerate(motion.names):
        if j in chosen:
            assert np.allclose(back.rotations[:, j], true.rotations[:, j], atol=1e-4), name
        else:
            assert np.allclose(back.rotations[:, j], back.rotations[0, j]), name
            if j:
                assert np.allclose(back.rotations[0, j], M.mean_rotation(true.rotations[:, j]), atol=5e-3), name
    assert np.ptp(back.positions[:, 0], axis=0).max() < 1e-9, "the root neither slides nor turns"
    with pytest.raises(M.BvhError, match="Tail"):
        M.choose_joints(motion, "Tail*")


# ---- names -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name,answer", [("LeftForeArm", ("left", "forearm")), ("mixamorig:RightHand", ("right", "hand")), ("hand.L", ("left", "hand")), ("upperarm_r", ("right", "upperarm")),
                                         ("L Thigh", ("left", "thigh")), ("lHand", ("left", "hand")), ("LowerBack", ("", "lowerback")), ("Root", ("", "root")), ("Neck1", ("", "neck1")),
                                         ("LEFT_foot", ("left", "foot")), ("calf_l", ("left", "calf")), ("Bip01 R UpperArm", ("right", "bip01upperarm")), ("lowerarm_l", ("left", "lowerarm"))])
def test_sides_are_read_from_names_as_programs_write_them(name, answer):
    assert M.side_and_stem(name) == answer


# ---- mirroring ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", CORPORA)
def test_a_mirrored_pose_is_the_mirror_image_and_twice_the_original(corpus):
    motion = body(corpus, 2)
    motion.rotations[:, 0] = M.turn_about_y(1.0) @ motion.rotations[:, 0]     # facing nowhere in particular
    motion.offsets[1:] *= np.random.default_rng(0).uniform(0.95, 1.05, (len(motion.names) - 1, 1))   # nobody's two arms are the same
    motion.positions[:, 1:] = motion.offsets[1:]
    image, pairs = M.mirror(motion), M.mirror_pairs(motion)[0]
    assert np.allclose(image.joint_positions(), motion.joint_positions()[:, pairs] * [-1, 1, 1], atol=1e-9)
    assert np.allclose(np.linalg.det(image.rotations), 1)
    points, twice = motion.points()[0], M.mirror(image)
    assert np.allclose(np.sort(image.points()[0][..., 1]), np.sort(points[..., 1])), "finger tips too"
    assert np.allclose(twice.rotations, motion.rotations, atol=1e-12) and np.allclose(twice.positions, motion.positions) and twice.end_sites == motion.end_sites


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_real_files_mirror_too_or_say_why_not(path):
    motion = M.read_bvh(path)
    try:
        pairs, axis = M.mirror_pairs(motion)
    except M.BvhError as error:
        assert path.name == "rotation_first_root.bvh" and "LeftLeg" in str(error)     # it has one leg
        return
    assert np.allclose(M.mirror(motion).joint_positions(), motion.joint_positions()[:, pairs] * [-1, 1, 1], atol=1e-6)
    left, right = M.hand_joints(motion)
    assert pairs[left] == right and pairs[0] == 0


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("corpus", CORPORA)
def test_features_of_the_mirror_image_are_the_features_swapped(corpus, across):
    """What training relies on: pose[..., swap] * sign is what encode(mirror(motion)) gives, whatever axis runs across the body."""
    motion = body(corpus, 4)
    if across:                                       # the same body in a root frame that is turned: x, y, z -> y, z, x or z, x, y
        P = np.roll(np.eye(3), across, axis=0)
        turned = replace(motion, offsets=motion.offsets @ P.T, rotations=P @ motion.rotations @ P.T, positions=motion.positions @ P.T,
                         end_sites=[(j, n, tuple(P @ o)) for j, n, o in motion.end_sites])
        turned.rotations[:, 0] = P.T @ turned.rotations[:, 0]
        turned.offsets[0], turned.positions[:, 0] = motion.offsets[0], motion.positions[:, 0]
        assert np.allclose(turned.joint_positions(), motion.joint_positions())
        motion = turned
    assert M.mirror_pairs(motion)[1] == across
    codec = M.PoseCodec.fit([motion], mirror=True)
    pose, image = codec.encode(motion), codec.encode(M.mirror(motion))
    assert np.allclose(pose[:, codec.swap] * codec.sign, image, atol=2e-4) and np.abs(pose - image).max() > 1
    both = np.concatenate([pose, image])
    assert np.allclose(both.mean(0), 0, atol=1e-3) and np.allclose(both.std(0), 1, atol=1e-3)
    again = M.PoseCodec(json.loads(json.dumps(codec.state())))
    assert np.array_equal(again.swap, codec.swap)


def test_a_skeleton_with_one_arm_is_not_mirrored():
    motion = body("trinity", 1)
    motion.names[motion.names.index("LeftArm")] = "Tail"
    with pytest.raises(M.BvhError, match="RightArm"):
        M.mirror_pairs(motion)
    motion = body("trinity", 1)
    motion.offsets[motion.names.index("LeftForeArm")] = [0, 60, 0]
    with pytest.raises(M.BvhError, match="same on both sides"):
        M.mirror_pairs(motion)


# ---- the common body ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", CORPORA)
def test_the_common_body_is_found_in_every_corpus(corpus):
    motion = body(corpus, 1)
    found = [motion.names[j] for j in M.common_joints(motion)]
    limbs = ["Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot"]
    assert found == ["Hips", "Spine3", "Neck", "Head"] + ["Left" + p for p in limbs] + ["Right" + p for p in limbs]
    assert np.allclose(M.common_body(motion), M.common_body(body(corpus, 1, size=2.54)), atol=1e-9), "inches or centimetres, child or giant"


def test_other_programs_names_are_the_same_body():
    """The same skeleton named as other programs name it, with twist joints between, gives the same 16 joints."""
    motion = body("trinity", 1)
    unreal = {"Shoulder": "clavicle", "ForeArm": "lowerarm", "Arm": "upperarm", "Hand": "hand", "UpLeg": "thigh", "Leg": "calf", "Foot": "foot", "ToeBase": "ball"}
    names = [next((f"{unreal[p]}_{s[0].lower()}" for s in ("Left", "Right") for p in unreal if n == s + p), n.lower()) for n in motion.names]
    assert M.common_joints(replace(motion, names=names)) == M.common_joints(motion)
    poser = {"Shoulder": "Collar", "Arm": "Shoulder", "ForeArm": "Elbow", "Hand": "Wrist", "UpLeg": "Hip", "Leg": "Knee", "Foot": "Ankle", "ToeBase": "Toe"}
    names = [next((s + poser[p] for s in ("Left", "Right") for p in poser if n == s + p), n) for n in motion.names]
    assert M.common_joints(replace(motion, names=names)) == M.common_joints(motion)
    assert M.choose_joints(replace(motion, names=names), "upper") == M.choose_joints(motion, "upper")


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_the_common_body_of_real_files_is_a_body(path):
    motion = M.read_bvh(path)
    if path.name == "rotation_first_root.bvh":       # has neither arms nor a right leg
        pytest.skip("no skeleton of a human")
    p = M.common_body(motion)[0]
    far = dict(zip(M.COMMON_BODY, np.linalg.norm(p - p[0], axis=1)))             # from the hips; two of the files have Z up
    assert 0 < far["chest"] <= far["neck"] < far["head"] < 0.6
    for side in ("left", "right"):
        assert far[f"{side} hip"] < far[f"{side} knee"] < far[f"{side} ankle"] < 0.7
        assert 0.05 < far[f"{side} shoulder"] and np.linalg.norm(p[M.COMMON_BODY.index(f"{side} wrist")] - p[M.COMMON_BODY.index(f"{side} elbow")]) > 0.08
