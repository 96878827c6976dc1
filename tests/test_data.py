"""Other people's recordings: their names, skeletons, rates and folders, in small; what check finds; what mirroring does."""
import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import scipy.signal
import torch
from conftest import TINY, run, shared_files
from hypothesis import HealthCheck, given, settings, strategies as st

import data
import motion as M
import puppet
from wavlm_loader import SpeechFeatures, load_audio

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


# ---- any folder of pairs -----------------------------------------------------------------------------------------
def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def stems(split):
    return {part: [bvh.stem for bvh, _ in takes] for part, takes in split.items()}


def assert_each_take_once(split, count):
    everything = [bvh for takes in split.values() for bvh, _ in takes]
    assert len(everything) == len(set(everything)) == count


@pytest.mark.parametrize("motion,audio", [("Motion", "Audio"), ("bvh", "audio"), ("", "")])
def test_trinity_as_it_comes_holds_out_its_two_takes(tmp_path, motion, audio):
    touch(tmp_path, *[f"./{motion}/Recording_{n:03}.bvh" for n in range(1, 24)], *[f"./{audio}/Recording_{n:03}.wav" for n in range(1, 24)])
    split = data.find_pairs(tmp_path)
    assert stems(split)["test"] == ["Recording_008", "Recording_015"]
    assert_each_take_once(split, 23)
    assert all(bvh.stem == sound.stem for takes in split.values() for bvh, sound in takes)


def test_zeggs_as_it_comes_holds_out_the_takes_of_its_table(tmp_path):
    """The names and the column `validation` of its info.csv, where the files carry the numbers of their cut behind."""
    table = {"001_Neutral_0": False, "004_Neutral_3": False, "005_Neutral_4": True, "010_Sad_4": True, "029_Angry_3": True, "030_Agreement_0": False, "033_Agreement_2": True,
             "058_Laughing_1": True, "062_Tired_0": False, "065_Speech_0": True, "066_Speech_1": True, "067_Speech_2": True}
    touch(tmp_path, *[f"clean/{name}{mirror}_x_1_0.{ending}" for name in table for mirror in ("", "_mirror") for ending in ("bvh", "wav")])
    split = stems(data.find_pairs(tmp_path))
    assert sorted(split["test"]) == sorted(f"{name}{mirror}_x_1_0" for name, test in table.items() if test for mirror in ("", "_mirror"))


def test_beat_as_it_comes_holds_out_one_take_of_each_speaker(tmp_path):
    takes = [f"{n}/{n}_{name}_0_{k}_{k}" for n, name in enumerate(("wayne", "scott", "solomon", "lawrence"), 1) for k in range(1, 30)]
    touch(tmp_path, *[f"{t}.{ending}" for t in takes for ending in ("bvh", "wav", "TextGrid", "json", "csv", "txt")])
    split = data.find_pairs(tmp_path)
    assert sorted(s.split("_")[1] for s in stems(split)["test"]) == ["lawrence", "scott", "solomon", "wayne"]
    assert_each_take_once(split, 116)
    assert len(split["valid"]) < 25 < 80 < len(split["train"])


def test_one_name_in_several_speakers_folders_stays_with_its_speaker(tmp_path):
    touch(tmp_path, *[f"Motion/{who}/{n}.bvh" for who in ("anna", "ben") for n in range(5)], *[f"Audio/{who}/{n}.flac" for who in ("anna", "ben") for n in range(5)],
          "carl/mocap/0.bvh", "carl/sound/0.mp3")
    split = data.find_pairs(tmp_path)
    assert_each_take_once(split, 11)
    for takes in split.values():
        for bvh, sound in takes:
            assert {"anna", "ben", "carl"} & set(bvh.parts) == {"anna", "ben", "carl"} & set(sound.parts)


def test_what_is_held_out_stays_so_when_a_speaker_is_added(tmp_path):
    """Also one whose takes have the same names: else a model would be tested on what it learnt."""
    touch(tmp_path, *[f"anna/take{n}.{ending}" for n in range(1, 40) for ending in ("bvh", "wav")])
    before = data.find_pairs(tmp_path)
    touch(tmp_path, *[f"ben/take{n}.{ending}" for n in range(1, 40) for ending in ("bvh", "wav")])
    after = data.find_pairs(tmp_path)
    assert all([pair for pair in after[part] if pair[0].parent.name == "anna"] == before[part] for part in before) and before["test"]


def test_folders_by_other_names_say_what_is_held_out(tmp_path):
    touch(tmp_path, *[f"{part}/{kind}/{part}_{n}.{ending}" for part in ("trn", "val", "tst") for n in range(4) for kind, ending in (("bvh", "bvh"), ("wav", "wav"))])
    assert {part: {stem[:3] for stem in taken} for part, taken in stems(data.find_pairs(tmp_path)).items()} == {"train": {"trn"}, "valid": {"val"}, "test": {"tst"}}


def test_check_tells_of_short_takes_and_of_a_root_that_stays_behind(tmp_path, capsys):
    puppet.write_corpus(tmp_path, train=4, valid=0, test=1, seconds=6.0, seed=1)
    data.check(tmp_path)
    said = capsys.readouterr().out
    assert "4 takes, 0.4 minutes; 4 of them shorter than train.py's usual window of 8 s" in said and "stays behind" not in said
    for bvh in tmp_path.rglob("*.bvh"):
        head, _, rows = bvh.read_text().partition("MOTION\n")
        head = head.replace("ROOT Hips", "ROOT world\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nJOINT Hips")
        first, second, *frames = rows.splitlines()
        bvh.write_text(f"{head}}}\nMOTION\n{first}\n{second}\n" + "".join(f"0 0 0 {row}\n" for row in frames))
    data.check(tmp_path)
    assert "world stays behind where Hips goes" in capsys.readouterr().out


def test_skip_says_what_it_leaves_out(tmp_path, capsys):
    touch(tmp_path, "a.bvh", "a.wav", "b.bvh", "c.bvh", "c.wav", "c.mp3", "d.flac")
    assert_each_take_once(data.find_pairs(tmp_path, skip=True), 1)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("left out: ") for line in said) and all(any(name in line for line in said) for name in ("b.bvh", "c.bvh", "d.flac"))


def test_a_motion_without_sound_does_not_take_its_neighbours(tmp_path):
    touch(tmp_path, "a/1.bvh", "b/1.bvh", "b/1.wav", "c/2.bvh", "c/2.wav")
    pairs, odd = data.match_files(tmp_path)
    assert [(b.parent.name, s.parent.name) for b, s in pairs] == [("b", "b"), ("c", "c")]
    assert len(odd) == 1 and odd[0][0] == tmp_path / "a/1.bvh" and "no partner" in odd[0][1]
    with pytest.raises(data.CorpusError, match="1.bvh"):
        data.find_pairs(tmp_path)
    assert_each_take_once(data.find_pairs(tmp_path, skip=True), 2)


def test_named_takes_override_what_is_held_out(tmp_path):
    touch(tmp_path, *[f"Recording_{n:03}.{e}" for n in range(1, 24) for e in ("bvh", "wav")])
    split = data.find_pairs(tmp_path, test=["Recording_001", "*_02?"])
    assert stems(split)["test"] == ["Recording_001", "Recording_020", "Recording_021", "Recording_022", "Recording_023"]
    assert "Recording_008" in stems(split)["train"] + stems(split)["valid"]
    assert_each_take_once(split, 23)
    with pytest.raises(data.CorpusError, match="Recording_99"):
        data.find_pairs(tmp_path, test=["Recording_99"])
    touch(tmp_path, "test/x.bvh", "test/x.wav", "valid/y.bvh", "valid/y.wav")
    split = stems(data.find_pairs(tmp_path, test=["Recording_001"]))
    assert split["test"] == ["Recording_001"] and split["valid"] == ["y"] and "x" in split["train"]
    assert stems(data.find_pairs(tmp_path))["test"] == ["x"], "a folder named test says it before the authors do"


def test_takes_of_one_name_are_told_apart_by_their_folders(tmp_path):
    touch(tmp_path, *[f"Motion/{who:02}/{take}.bvh" for who in range(30) for take in ("1", "2")], *[f"Audio/{who:02}/{take}.wav" for who in range(30) for take in ("1", "2")])
    split = data.find_pairs(tmp_path)
    assert_each_take_once(split, 60)
    assert len(split["train"]) > 40 and len(split["valid"]) > 1 and len(split["test"]) > 1, "a tenth, and a tenth"
    assert len(set(data.take_names(split["train"]).values())) == len(split["train"]), "and each is heard in noises of its own"
    assert [bvh.parent.name for bvh, _ in data.find_pairs(tmp_path, test=["Motion/07/1"])["test"]] == ["07"]
    assert len(data.find_pairs(tmp_path, test=["2"])["test"]) == 30
    touch(tmp_path, "take [1].bvh", "take [1].wav", "caf\u0065\u0301.bvh", "caf\u0065\u0301.wav")
    assert stems(data.find_pairs(tmp_path, test=["take [1]", "caf\u00e9"]))["test"] == ["caf\u0065\u0301", "take [1]"], "brackets are letters, and an accent is one however it is written"


def test_with_skip_the_unit_of_most_takes_counts(tmp_path):
    for n, size in enumerate((0.01, 1.0, 0.9, 1.1)):
        write_take(tmp_path, f"take {n}", "trinity", size=size)
    pairs, _ = data.match_files(tmp_path)
    corpus = data.Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path, skip=True)
    assert [bvh.stem for bvh, _ in corpus.pairs] == ["take 1", "take 2", "take 3"]


def test_check_holds_the_takes_that_are_trained_on_against_each_other(tmp_path):
    """Those that are held out are compared with nothing by training: neither a unit nor a skeleton of their own stops it."""
    for n in range(3):
        write_take(tmp_path / "train", f"b{n}", "trinity", seed=n)
    write_take(tmp_path / "test", "a metres", "trinity", size=0.01)
    write_take(tmp_path / "test", "a other", "zeggs")
    done = run("data.py", "check", tmp_path)
    assert done.returncode == 0 and not any(line.split()[:1] == ["!"] for line in done.stdout.splitlines()), done.stdout
    assert "5, of which 4 can be used" in done.stdout and "train                 3 takes" in done.stdout and "test                  1 takes" in done.stdout, done.stdout
    assert "a metres.bvh: the body is 0.01 times" in done.stdout and "a other.bvh: another skeleton" in done.stdout, done.stdout


# ---- what training draws from ------------------------------------------------------------------------------------
def small_corpus(tmp_path, corpus="beat", takes=3, **more):
    for n in range(takes):
        write_take(tmp_path / "c", f"take {n}", corpus, 4.0 + 0.5 * n, seed=n, size=1 - 0.1 * n)
    pairs, _ = data.match_files(tmp_path / "c")
    return pairs, data.Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path, **more)


def test_features_on_disk_are_those_of_the_codec_and_leave_no_file(tmp_path):
    pairs, corpus = small_corpus(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"c"}, "the files on disk have no name"
    motions = [M.resample(M.read_bvh(bvh), 20) for bvh, _ in pairs]
    codec = M.PoseCodec.fit(motions)
    assert list(codec.kept) == list(corpus.codec.kept)
    for motion, pose, speech in zip(motions, corpus.poses, corpus.speeches):
        assert np.allclose(codec.encode(motion)[:len(pose)], pose, atol=2e-3) and len(pose) == len(speech)
    assert np.allclose(torch.cat(corpus.speeches).mean(0), 0, atol=1e-3) and np.allclose(torch.cat(corpus.speeches).std(0)[5:20], 1, atol=1e-2)
    once = [p[1:] - 0.9 * p[:-1] for p in corpus.poses]
    assert torch.allclose(corpus.innovation_scale(0.9), torch.cat(once).std(dim=0), rtol=1e-3, atol=1e-6)
    twice = torch.cat([torch.cat([p[1:2] - 0.97 * p[:1], n[1:] - 0.7 * n[:-1]]) for p, n in zip(corpus.poses, once)])
    assert torch.allclose(corpus.innovation_scale(0.9, 0.7), twice.std(dim=0), rtol=1e-3, atol=1e-6)


def test_half_of_the_windows_are_mirrored_with_their_own_speech(tmp_path):
    _, corpus = small_corpus(tmp_path, mirror=True)
    corpus.to("cpu", 20)
    pose, speech = corpus.batch(400, torch.Generator().manual_seed(0))
    plain = {p.numpy().tobytes(): s for take, sounds in zip(corpus.poses, corpus.speeches) for p, s in zip(take.unfold(0, 20, 1).transpose(1, 2), sounds.unfold(0, 20, 1).transpose(1, 2))}
    swap, sign = corpus.codec.swap, torch.as_tensor(corpus.codec.sign)
    straight = [p.contiguous().numpy().tobytes() in plain for p in pose]
    assert 150 < sum(straight) < 250
    for p, s, is_plain in zip(pose, speech, straight):
        original = p if is_plain else p[:, swap] * sign
        assert torch.equal(plain[original.contiguous().numpy().tobytes()], s)
    both = torch.cat([torch.cat([p, p[:, swap] * sign])[1:] for p in corpus.poses])
    assert torch.allclose(both.std(0), torch.ones(both.shape[1]), atol=0.02)


@pytest.mark.parametrize("mirror, resident", [(False, 4e9), (True, 0)], ids=["in memory", "mirrored, from disk"])
def test_a_share_of_the_windows_is_heard_in_noise_with_their_own_poses(tmp_path, mirror, resident):
    """Each window's speech is looked for among the clean hearing and the noisy ones of its own place, worked out here without the corpus."""
    pairs, corpus = small_corpus(tmp_path, noisy=2, mirror=mirror)
    corpus.RESIDENT = resident
    mean, deviation = corpus.speech_scale
    hearings = []                                    # of each take [3, frames, S]: clean, and twice in noise
    for (bvh, sound), pose in zip(pairs, corpus.poses):
        waveform, features = load_audio(sound), SpeechFeatures("mel")
        hearings.append(torch.stack([features(w)[:len(pose)] for w in (waveform, *(data.in_noise(waveform, data.name_hash(f"{bvh.stem} {k}")) for k in range(2)))]))
    clean = torch.cat([h[0] for h in hearings])
    assert torch.allclose(mean, clean.mean(dim=0), atol=1e-4) and torch.allclose(deviation, clean.std(dim=0), rtol=1e-3, atol=1e-4), "the scale is of clean speech, as without --noise"
    places = {p.contiguous().numpy().tobytes(): (h[:, n:n + 20] - mean) / deviation for pose, h in zip(corpus.poses, hearings) for n, p in enumerate(pose.unfold(0, 20, 1).transpose(1, 2))}
    if mirror:
        swap, sign = corpus.codec.swap, torch.as_tensor(corpus.codec.sign)
        places |= {(pose[n:n + 20][:, swap] * sign).contiguous().numpy().tobytes(): (h[:, n:n + 20] - mean) / deviation for pose, h in zip(corpus.poses, hearings) for n in range(len(pose) - 19)}
    corpus.to("cpu", 20)
    for share in (0.0, 0.25, 1.0):
        pose, speech = corpus.batch(400, torch.Generator().manual_seed(0), share)
        which = [[k for k, h in enumerate(places[p.numpy().tobytes()]) if torch.allclose(h, s, atol=1e-4)] for p, s in zip(pose, speech)]
        assert all(len(found) == 1 for found in which)
        counts = [sum(found == [k] for found in which) for k in range(3)]
        assert abs(counts[0] - 400 * (1 - share)) < (1 if share in (0, 1) else 45) and abs(counts[1] - counts[2]) < (1 if share == 0 else 75)
    plain = small_corpus(tmp_path, mirror=mirror)[1].to("cpu", 20).batch(400, torch.Generator().manual_seed(0))
    again = corpus.batch(400, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(plain, again)), "without a share, the windows of a corpus that was never heard in noise"
    with pytest.raises(ValueError, match="no take was heard in noise"):
        small_corpus(tmp_path)[1].to("cpu", 20).batch(4, torch.Generator(), 0.5)


def test_noise_is_of_all_colours_and_levels_and_never_louder_than_the_speech():
    waveform = 0.3 * torch.sin(torch.arange(160_000) * 0.2) * (torch.arange(160_000) % 16_000 < 9_000)
    levels, tilts, swells = [], [], []
    for seed in range(60):
        noise = (data.in_noise(waveform, seed) - waveform).double()
        levels.append(10 * torch.log10(waveform.double().square().mean() / noise.square().mean()))
        frequency, power = scipy.signal.welch(noise.numpy(), 16_000, nperseg=1024)
        band = (frequency > 100) & (frequency < 7000)
        tilts.append(np.polyfit(np.log2(frequency[band]), 10 * np.log10(power[band]), 1)[0])        # dB an octave
        seconds = noise.view(10, -1).square().mean(dim=1)
        swells.append(10 * torch.log10(seconds.max() / seconds.min()))
    assert 0 <= min(levels) < 4 and 26 < max(levels) <= 30.01
    assert -6.5 < min(tilts) < -5 and -1 < max(tilts) < 0.5
    assert min(swells) < 1.5 and 5 < max(swells) < 13
    long = torch.cat([waveform] * 13)                # 130 s: each minute has a noise of its own
    parts = [data.in_noise(long, 3)[n * 960_000:][:960_000] for n in range(3)]
    assert all(torch.equal(part, data.in_noise(long[n * 960_000:][:960_000], 3 + n)) for n, part in enumerate(parts))
    assert torch.equal(data.in_noise(waveform, 3), data.in_noise(waveform, 3)) and torch.isfinite(data.in_noise(torch.zeros(1600), 1)).all()


def test_another_voice_is_stretched_and_coloured_and_speaks_at_the_same_times():
    time = torch.arange(160_000) / 16_000
    hiss = torch.randn(320_000, generator=torch.Generator().manual_seed(0))
    formant = torch.from_numpy(scipy.signal.lfilter(*scipy.signal.iirpeak(1000, 4, fs=16_000), hiss[:160_000].numpy())).float()
    formant *= time % 1 < 0.5                        # on for half a second, off for half
    tone, pitch = torch.sin(2 * torch.pi * 200 * time), []
    octaves = []
    for seed in range(40):
        voice = data.in_another_voice(formant, 0.4, seed, 0.0).double()
        frequency, power = scipy.signal.welch(voice.numpy(), 16_000, nperseg=512)
        near = (frequency > 300) & (frequency < 3000)
        octaves.append(np.log2(np.exp(np.average(np.log(frequency[near]), weights=power[near] ** 2)) / 1000))
        on, off = voice.view(20, -1).square().mean(dim=1).view(10, 2).mean(dim=0)
        assert off < 0.05 * on and torch.isclose(voice.square().mean(), formant.double().square().mean(), rtol=1e-3)
        frequency, power = scipy.signal.welch(data.in_another_voice(tone, 0.2, seed, 0.0).numpy(), 16_000, nperseg=4096)
        pitch.append(frequency[power.argmax()])
    assert -0.45 < min(octaves) < -0.3 and 0.3 < max(octaves) < 0.45
    assert max(abs(p - 200) for p in pitch) < 4, "the pitch stays where it was"
    curves = []                                      # dB at 200, 1000, 5000 Hz: what an equaliser does to a white noise
    for seed in range(40):
        frequency, power = scipy.signal.welch(data.in_another_voice(hiss, 0.0, seed).numpy(), 16_000, nperseg=2048)
        curves.append([10 * np.log10(power[(frequency > f / 1.1) & (frequency < f * 1.1)].mean()) for f in (200, 1000, 5000)])
    low, middle, high = np.array(curves).T
    for a, b in ((low, middle), (middle, high), (low, high)):
        assert 10 < np.abs(a - b).max() < 20.5 and abs(np.corrcoef(a, b)[0, 1]) < 0.9, "up to 20 dB from place to place, and each place by itself"
    assert torch.allclose(data.in_another_voice(hiss, 0.0, 3, 0.0), hiss, atol=1e-5), "neither stretched nor coloured: nothing is lost on the way"
    long = torch.cat([formant] * 13)                 # 130 s: each minute is in a voice of its own
    assert torch.equal(data.in_another_voice(long, 0.4, 3)[960_000:1_920_000], data.in_another_voice(long[960_000:1_920_000], 0.4, 4))
    for short in (torch.zeros(1600), torch.randn(1), torch.randn(300)):
        assert data.in_another_voice(short, 0.4, 1).shape == short.shape and torch.isfinite(data.in_another_voice(short, 0.4, 1)).all()


def test_voices_are_heard_where_noise_is(tmp_path):
    """The later hearings of a take, worked out here: another voice, and then noise."""
    pairs, corpus = small_corpus(tmp_path, noisy=2, voices=0.4)
    mean, deviation = corpus.speech_scale
    (bvh, sound), n = pairs[0], len(corpus.poses[0])
    for k in range(2):
        voice = data.in_another_voice(load_audio(sound), 0.4, data.name_hash(f"{bvh.stem} voice {k}"))
        heard = SpeechFeatures("mel")(data.in_noise(voice, data.name_hash(f"{bvh.stem} {k}")))[:n]
        assert torch.allclose(corpus.speech[:n, 1 + k], (heard - mean) / deviation, atol=1e-4)
    assert torch.equal(corpus.speech[:n, 0], small_corpus(tmp_path)[1].speech[:n, 0]), "and the first is as recorded"


def test_batches_read_from_disk_are_those_from_memory(tmp_path):
    _, corpus = small_corpus(tmp_path)
    in_memory = [x.clone() for x in corpus.to("cpu", 20).batch(8, torch.Generator().manual_seed(1))]
    corpus.RESIDENT = 0
    on_disk = corpus.to("cpu", 20).batch(8, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(in_memory, on_disk))


def test_takes_that_cannot_be_used_are_left_out_only_when_asked(tmp_path, capsys):
    pairs, corpus = small_corpus(tmp_path, takes=3)
    write_take(tmp_path / "c", "a other", "trinity")                         # the first by name, but not what most are
    write_take(tmp_path / "c", "b cut", "beat")
    (tmp_path / "c" / "b cut.bvh").write_text((tmp_path / "c" / "b cut.bvh").read_text()[:-500])
    more, _ = data.match_files(tmp_path / "c")
    with pytest.raises((data.CorpusError, M.BvhError)):
        data.Corpus(more, SpeechFeatures("mel"))
    some = data.Corpus(more, SpeechFeatures("mel"), skip=True)
    said = capsys.readouterr().err
    assert "a other.bvh: another skeleton" in said and "b cut.bvh" in said and said.count("left out:") == 2
    assert some.pairs == pairs and all(torch.equal(a, b) for a, b in zip(some.poses, corpus.poses))


# ---- look before you train ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def talking():
    """A minute of the puppet: (motion, sound [samples])."""
    who, rng = puppet.speaker(2), np.random.default_rng(3)
    phrases = puppet.script(who, "lively", 60.0, rng)
    sound = puppet.speak(who, phrases, 60.0, rng)
    return puppet.gesture(who, "lively", phrases, 60.0, rng), torch.from_numpy(np.asarray(sound, np.float32))


@pytest.mark.parametrize("shift", [0, 0.4, 1.0, -2.5, 7.0])
def test_motion_that_comes_late_by_a_known_time_is_found(talking, shift):
    motion, sound = talking
    late, sure = data.lag_of_motion(motion, torch.roll(sound, -int(shift * 16_000)))
    assert late == pytest.approx(shift, abs=0.11) and sure > data.FOLLOWS


def test_another_sound_a_still_body_and_a_short_take_tell_nothing(talking):
    motion, sound = talking
    who, rng = puppet.speaker(3), np.random.default_rng(4)
    other = torch.from_numpy(np.asarray(puppet.speak(who, puppet.script(who, "calm", 60.0, rng), 60.0, rng), np.float32))
    assert data.lag_of_motion(motion, other)[1] < data.FOLLOWS
    assert data.lag_of_motion(replace(motion, rotations=motion.rotations[:1].repeat(600, 0), positions=motion.positions[:1].repeat(600, 0)), sound) is None
    assert data.lag_of_motion(motion, sound[:10 * 16_000]) is None


def test_jumps_are_what_no_human_does():
    motion = body("beat", 2)
    assert len(data.find_jumps(motion)) == 0
    motion.rotations[100:, 5] = motion.rotations[100:, 5] @ M.exp_to_matrix([0, 0, 1.0])
    motion.positions[150:, 0, 2] += 30
    assert np.allclose(data.find_jumps(motion), [100 * 0.008333, 150 * 0.008333])


def test_clipping_is_a_flat_top(tmp_path):
    t = np.arange(48_000) / 48_000
    for name, gain, share in (("clean", 0.99, 0), ("clipped", 1.2, 0.37), ("turned down later", 1.2, 0.37)):      # 2 acos(1 / 1.2) / pi of the time
        wave = np.clip(gain * np.sin(2 * np.pi * 90 * t), -1, 1) * (0.4 if "down" in name else 1)
        soundfile.write(tmp_path / "a.wav", wave, 48_000)
        assert data.clipped_share(tmp_path / "a.wav") == pytest.approx(share, abs=0.01 if share else 0), name


def test_check_finds_what_is_wrong_and_says_what_training_would_use(tmp_path):
    folder = tmp_path / "my data"
    for n in range(3):
        write_take(folder, f"good{n}", "beat", seed=n, size=1 - 0.02 * n)
    write_take(folder, "other", "trinity")
    write_take(folder, "nan", "beat")
    write_take(folder, "jumps", "beat")
    write_take(folder, "clipped", "beat")
    write_take(folder, "silent", "beat")
    write_take(folder, "long", "beat")
    write_take(folder, "lonely", "beat")
    (folder / "lonely.wav").unlink()
    text = (folder / "nan.bvh").read_text().split("\n")
    (folder / "nan.bvh").write_text("\n".join(text[:-9] + [text[-9].rpartition(" ")[0] + " nan"] + text[-8:]))
    M.write_bvh(folder / "jumps.bvh", replace(jumping := body("beat"), rotations=np.where((np.arange(len(jumping)) > 99)[:, None, None, None], M.turn_about_y(2.0) @ jumping.rotations, jumping.rotations)))
    soundfile.write(folder / "clipped.wav", np.clip(3 * soundfile.read(folder / "clipped.wav")[0] * 2, -1, 1), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(64_000), 16_000)
    soundfile.write(folder / "long.wav", np.tile(soundfile.read(folder / "long.wav")[0], 2), 16_000)
    done = run("data.py", "check", folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for take, word, stops in [("other", "another skeleton", True), ("nan", "NaN", True), ("jumps", "jumps", False), ("clipped", "clipped", False),
                              ("silent", "silent", True), ("long", "8.0 s", True), ("lonely", "no partner", True)]:
        found = [line for line in lines if f"{take}." in line and word in line and ": " in line]
        assert found and (found[0].split()[0] == "!") == stops, (take, done.stdout)
    assert not any("good" in line and ": " in line for line in lines), "nothing is said of good takes"
    assert "9, of which 5 can be used" in done.stdout and "5 takes at 120 frames a second, 1 takes at 60 frames a second" in done.stdout
    assert sum(int(line.split()[1]) for line in lines if line.split()[:1] in (["train"], ["valid"], ["test"])) == 5
    assert "75 joints from Hips: 5 takes\n" in done.stdout and "23 joints from Hips: 1 takes (other.bvh)" in done.stdout
    assert "RightHand: strokes" in done.stdout and "yes, across the x axis" in done.stdout


def test_check_asks_the_training_takes_for_the_skeleton_as_training_does(tmp_path):
    write_take(tmp_path, "mine", "trinity")
    for n in range(3):
        write_take(tmp_path / "test", f"theirs {n}", "zeggs")
    done = run("data.py", "check", tmp_path)
    assert done.returncode == 0 and "4, of which 1 can be used" in done.stdout and "mine.bvh: another skeleton" not in done.stdout, done.stdout + done.stderr


def test_check_sees_bodies_that_lie_stand_still_or_are_of_another_size(tmp_path):
    for stem, size in (("good", 1.0), ("metres", 0.01), ("lies", 1.0), ("still", 1.0)):
        write_take(tmp_path, stem, "trinity", size=size)
    lying, still = M.read_bvh(tmp_path / "lies.bvh"), M.read_bvh(tmp_path / "still.bvh")
    turn = M.euler_to_matrix(np.array([np.pi / 2]), "X")         # y becomes z
    rotations, positions = lying.rotations.copy(), lying.positions.copy()
    rotations[:, 0], positions[:, 0] = turn @ rotations[:, 0], positions[:, 0] @ turn.T
    M.write_bvh(tmp_path / "lies.bvh", replace(lying, rotations=rotations, positions=positions))
    M.write_bvh(tmp_path / "still.bvh", replace(still, rotations=np.repeat(still.rotations[:1], len(still), axis=0)))
    said = run("data.py", "check", tmp_path).stdout.splitlines()
    for stem, word, stops in (("metres", "0.01 times as large", True), ("lies", "the body lies", False), ("still", "nothing moves", False)):
        found = [line for line in said if f"{stem}.bvh: " in line and word in line]
        assert found and (found[0].split()[0] == "!") == stops, (stem, said)
    assert not any("good.bvh: " in line for line in said)
    pairs, _ = data.match_files(tmp_path)
    with pytest.raises(data.CorpusError, match="metres.bvh: the body is 0.01 times"):
        data.Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path)
    M.write_bvh(tmp_path / "good.bvh", replace(lying, offsets=0 * lying.offsets, positions=0 * lying.positions, end_sites=[]))
    with pytest.raises(data.CorpusError, match="good.bvh: all joints stand in one place"):
        data.Corpus(pairs[:1], SpeechFeatures("mel"), scratch=tmp_path)


def test_a_channel_without_sound_is_not_clipped_and_each_channel_is_looked_at(tmp_path):
    tone = 0.3 * np.sin(np.arange(16_000) / 10)
    for name, other, clipped in (("silent", 0 * tone, False), ("loud", np.clip(10 * tone, -1, 1), True)):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([tone, other], axis=1), 16_000)
        assert (data.clipped_share(tmp_path / f"{name}.wav") > data.CLIPPED_SHARE) == clipped, name


def test_linked_folders_are_followed_once_and_one_name_in_two_spellings_is_one(tmp_path):
    touch(tmp_path, "there/Audio/cafe\u0301.wav", "here/Motion/caf\u00e9.bvh")
    os.symlink(tmp_path / "there" / "Audio", tmp_path / "here" / "Audio")
    os.symlink(tmp_path / "here", tmp_path / "here" / "Motion" / "back")
    pairs, odd = data.match_files(tmp_path / "here")
    assert len(pairs) == 1 and odd == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_gets_one_line(tmp_path):
    write_take(tmp_path, "good", "trinity")
    for ending in (b".bvh", b".wav"):
        os.rename(os.fsencode(tmp_path / "good") + ending, os.fsencode(tmp_path) + b"/caf\xe9" + ending)
    for arguments in (["data.py", "check", tmp_path], ["sample.py", os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"), "--out", tmp_path / "out"]):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ") and "not UTF-8" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_check_of_nothing_usable_ends_with_status_2(tmp_path):
    write_take(tmp_path, "a", "trinity")
    (tmp_path / "a.bvh").write_text("HIERARCHY\nnothing\nMOTION\n")
    done = run("data.py", "check", tmp_path)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr


def test_a_take_is_drawn_and_a_wrong_name_is_one_line(tmp_path):
    write_take(tmp_path / "c", "my take", "zeggs")
    done = run("data.py", "plot", tmp_path / "c", "my take", "--out", tmp_path / "o")
    assert done.returncode == 0 and (tmp_path / "o" / "my take.png").read_bytes()[:4] == b"\x89PNG", done.stderr
    done = run("data.py", "plot", tmp_path / "c", "my take", "--out", tmp_path / "q" / "one.png")
    assert done.returncode == 0 and (tmp_path / "q" / "one.png").is_file(), done.stderr
    write_take(tmp_path / "c" / "ben", "my take", "zeggs")
    done = run("data.py", "plot", tmp_path / "c", "my take", "--out", tmp_path / "p")
    assert done.returncode == 2 and "2 pairs named 'my take'; name one as in" in done.stderr, done.stderr
    assert run("data.py", "plot", tmp_path / "c", "ben/my take", "--out", tmp_path / "r").returncode == 0
    done = run("data.py", "plot", tmp_path / "c", "your take", "--out", tmp_path / "p")
    assert done.returncode == 2 and "your take" in done.stderr and done.stderr.count("\n") == 1 and not (tmp_path / "p").exists()


# ---- the whole path ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("corpus,names,held_out", [
    ("trinity", ("Recording_001", "Recording_002", "Recording_008"), "Recording_008"),
    ("zeggs", ("clean/001_Neutral_0_x_1_0", "clean/002_Neutral_1_x_1_0", "clean/005_Neutral_4_x_1_0"), "005_Neutral_4_x_1_0"),
    ("beat", ("1/1_wayne_0_1_1", "2/2_scott_0_1_1", "2/2_scott_0_103_103"), "")])
def test_each_corpus_trains_samples_and_is_scored(corpus, names, held_out, tmp_path, monkeypatch, capsys):
    """Some steps on a small tree with the corpus' names, joints, rates and channel orders; in this process, to be quick."""
    import evaluate
    import sample
    import train
    root = tmp_path / corpus
    for n, name in enumerate(names):
        if corpus == "trinity":
            write_take(root / "Motion", name, corpus, seed=n, sound=root / "Audio")
        else:
            write_take((root / name).parent, (root / name).name, corpus, seed=n, size=1 - 0.1 * n if corpus == "beat" else 1)

    def go(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
        script.main()

    go(train, "--data", root, "--out", tmp_path / "run", "--steps", 4, "--mirror", "--joints", "no-fingers", *TINY)
    assert f"{len(data.find_pairs(root)['train'])} takes" in capsys.readouterr().out
    test = data.find_pairs(root)["test"]
    assert len(test) == 1 and (not held_out or test[0][0].stem == held_out)
    assert "onset_hits_truth" in json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    go(sample, test[0][1], "--checkpoint", tmp_path / "run" / "model.pt", "--out", tmp_path / "out", "--steps", 2)
    made, recorded = M.read_bvh(tmp_path / "out" / f"{test[0][0].stem}.bvh"), M.read_bvh(next(b for b, _ in data.find_pairs(root)["train"]))
    assert made.names == recorded.names and made.channels == recorded.channels and np.allclose(made.offsets, recorded.offsets, atol=1e-5) and made.end_sites == recorded.end_sites
    assert len(made) == 80 and made.frame_time == pytest.approx(0.05)
    constant = [j for j, name in enumerate(recorded.names) if name.endswith("End")]
    assert np.abs(made.rotations[:, constant] - recorded.rotations[0, constant]).max(initial=0) < 1e-4, "what never moves keeps still"
    if corpus == "beat":
        go(evaluate, "--checkpoint", tmp_path / "run" / "model.pt", "--data", root, "--test", names[0].split("/")[1], "--steps", 2, "--json", tmp_path / "s.json")
        assert json.loads((tmp_path / "s.json").read_text())["scores"]["strokes_per_minute_truth"] > 0


# ---- damaged files -----------------------------------------------------------------------------------------------
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_happens_to_a_file_there_is_a_clear_error_or_the_same_motion_both_ways(damaged_take, draw):
    """Bytes changed, cut out or doubled anywhere: BvhError with the file's name, or finite numbers, at the file's rate and at another."""
    whole, path = damaged_take
    at = draw.draw(st.integers(0, len(whole)))
    width = draw.draw(st.sampled_from([0, 1, 2, 30, 2000]))
    junk = draw.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\n", b"nan", b"-inf", b"1e999", b"MOTION\n", b"{", b"}", b"\x00", b"1.2.3", whole[at:at + 500]])))
    path.write_bytes(whole[:at] + junk + whole[at + width:])
    answers = []
    for fps in (None, 20):
        try:
            motion = M.read_bvh(path, fps)
            assert np.isfinite(motion.joint_positions()).all() and len(motion)
            answers.append(motion)
        except M.BvhError as error:
            assert path.name in str(error) and len(str(error)) < 400
            answers.append(None)
    if answers[0] is not None:
        assert answers[1] is not None and np.allclose(M.resample(answers[0], 20).rotations, answers[1].rotations)


@pytest.fixture(scope="module")
def damaged_take(tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "take.bvh"
    M.write_bvh(path, body("trinity", 0.3))
    return path.read_bytes(), path


def test_the_plain_loop_of_the_benchmark_does_the_same_work(tmp_path):
    """So that the ratio compares like with like: the same rotations, number by number, and their mirror image."""
    import bench
    motion = bench.beat_like(0, 2.0)
    assert len(motion.names) == 75
    M.write_bvh(tmp_path / "a.bvh", motion)
    loop, ours = bench.plain_loop(tmp_path / "a.bvh"), M.read_bvh(tmp_path / "a.bvh", 20)
    for half, turned in ((loop[:, :75], ours), (loop[:, 75:], M.mirror(ours))):
        w = M.matrix_to_exp(turned.rotations)
        assert np.allclose(half, (w - w.mean(axis=0)) / w.std(axis=0), atol=1e-3)
