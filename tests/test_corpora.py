"""Other people's skeletons: joints, rates, names, mirror images, the common body, damaged files.

The bodies are those of ZEGGS, BEAT and Trinity, in small; see three_corpora.py.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY, shared_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from three_corpora import CORPORA, body, write_take

from body.bvh import read_bvh, write_bvh
from body.joints import (
    COMMON_BODY,
    choose_joints,
    common_joints,
    hand_joints,
    side_and_stem,
)
from body.mirror import mirror, mirror_pairs
from body.motion import BvhError, neighbours, resample
from body.pose import PoseCodec
from body.rotations import mean_rotation, turn_about_y
from body.size import common_body
from recordings.pairs import find_pairs


# ---- any skeleton --------------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", CORPORA)
def test_the_fixtures_have_the_real_joints_channels_and_rates(corpus, tmp_path):
    write_bvh(tmp_path / "a.bvh", body(corpus, 1))
    motion = read_bvh(tmp_path / "a.bvh")
    assert len(motion.names) == {"zeggs": 75, "beat": 75, "trinity": 23}[corpus]
    assert motion.channels[0][:3] == ("Xposition", "Yposition", "Zposition")
    assert len(motion.channels[5]) == (6 if corpus == "zeggs" else 3)
    assert 1.5 < motion.body_height() / 100 < 1.95


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("fps", [20, 29.97])
def test_reading_at_a_rate_is_reading_and_resampling(corpus, fps, tmp_path):
    write_bvh(tmp_path / "a.bvh", body(corpus, 3))
    fast, slow = read_bvh(tmp_path / "a.bvh", fps), resample(read_bvh(tmp_path / "a.bvh"), fps)
    assert np.array_equal(fast.rotations, slow.rotations)
    assert np.array_equal(fast.positions, slow.positions) and fast.frame_time == slow.frame_time


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("fps", [20, 29.97])
def test_rows_that_run_over_several_lines_are_read(corpus, fps, tmp_path):
    write_bvh(tmp_path / "a.bvh", body(corpus, 3))
    head, _, frames = (tmp_path / "a.bvh").read_text().partition("Frame Time")
    numbers = frames.split("\n", 1)[1].split()
    lines = ["\t".join(numbers[n : n + 7]) for n in range(0, len(numbers), 7)]
    frames = f"Frame Time: {CORPORA[corpus][1]}\n" + "\r\n".join(lines)
    (tmp_path / "b.bvh").write_text(head + frames)
    a, b = (read_bvh(tmp_path / name, fps) for name in ("a.bvh", "b.bvh"))
    assert np.array_equal(a.rotations, b.rotations)


def test_a_number_too_few_in_a_frame_that_is_not_needed_is_still_found(tmp_path):
    write_bvh(tmp_path / "a.bvh", body("beat", 1))
    lines = (tmp_path / "a.bvh").read_text().splitlines()
    lines[-2] = lines[-2].rpartition(" ")[0]
    (tmp_path / "a.bvh").write_text("\n".join(lines))
    with pytest.raises(BvhError, match="a.bvh: 120 frames"):
        read_bvh(tmp_path / "a.bvh", 20)
    lines[-2] += " nan"
    (tmp_path / "a.bvh").write_text("\n".join(lines))
    with pytest.raises(BvhError, match="frame 118 holds NaN"):
        read_bvh(tmp_path / "a.bvh", 20)


def test_a_rate_that_the_file_rounds_does_not_drift():
    """0.008333 means 1/120: after ten minutes at 20 fps, frame 12000 is source frame 72000."""
    before, after, u = neighbours(72_001, 0.008333, 20)
    assert before[-1] == after[-1] == 72_000 and not u.any() and len(before) == 12_001


@pytest.mark.parametrize("corpus", CORPORA)
def test_people_who_differ_in_their_bones_alone_share_features_and_keep_their_bones(corpus):
    tall, small = body(corpus, 3), body(corpus, 3, size=0.8)
    codec, alone = PoseCodec.fit([tall, small]), PoseCodec.fit([tall])
    assert list(codec.kept) == list(alone.kept), "other bone lengths are not movement"
    back = codec.decode(codec.encode(small), codec.start_of(small), body=small)
    expected = resample(small, 20)
    assert np.abs(back.joint_positions() - expected.joint_positions()).max() < 0.1
    assert np.array_equal(back.offsets, small.offsets)
    assert np.array_equal(codec.decode(codec.encode(small)).offsets, tall.offsets)


# ---- chosen joints -------------------------------------------------------------------------------
def test_joints_are_chosen_by_words_and_by_names():
    motion = body("beat", 1)

    def chosen(words):
        return [motion.names[j] for j in choose_joints(motion, words)]

    trunk = ["Spine", "Spine1", "Spine2", "Spine3", "Neck", "Neck1", "Head", "HeadEnd"]
    arms = [s + p for s in ("Right", "Left") for p in ("Shoulder", "Arm", "ForeArm", "Hand")]
    assert chosen("upper,no-fingers") == trunk + arms
    some = ["Head", "RightArm", "RightForeArm", "LeftArm", "LeftForeArm"]
    assert chosen("*Arm, Head") == some
    with pytest.raises(BvhError, match="Tail"):
        choose_joints(motion, "Tail*")
    motion.names[motion.names.index("Head")] = "Head[1]"
    assert chosen("Head[1]") == ["Head[1]"]


def test_joints_that_are_not_chosen_hold_their_mean_pose():
    motion = body("beat", 4)
    chosen = choose_joints(motion, "upper,no-fingers")
    codec = PoseCodec.fit([motion], joints=chosen)
    back, true = codec.decode(codec.encode(motion)), resample(motion, 20)
    for j, name in enumerate(motion.names):
        R, recorded = back.rotations[:, j], true.rotations[:, j]
        if j in chosen:
            assert np.allclose(R, recorded, atol=1e-4), name
        else:
            assert np.allclose(R, R[0]), name
            if j:
                assert np.allclose(R[0], mean_rotation(recorded), atol=5e-3), name
    moved = np.ptp(back.positions[:, 0], axis=0).max()
    assert moved < 1e-9, "the root neither slides nor turns"


# ---- names ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name,answer",
    [
        ("LeftForeArm", ("left", "forearm")),
        ("mixamorig:RightHand", ("right", "hand")),
        ("hand.L", ("left", "hand")),
        ("upperarm_r", ("right", "upperarm")),
        ("L Thigh", ("left", "thigh")),
        ("lHand", ("left", "hand")),
        ("LowerBack", ("", "lowerback")),
        ("Root", ("", "root")),
        ("Neck1", ("", "neck1")),
        ("LEFT_foot", ("left", "foot")),
        ("calf_l", ("left", "calf")),
        ("Bip01 R UpperArm", ("right", "bip01upperarm")),
        ("lowerarm_l", ("left", "lowerarm")),
    ],
)
def test_sides_are_read_from_names_as_programs_write_them(name, answer):
    assert side_and_stem(name) == answer


# ---- mirroring -----------------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", CORPORA)
def test_a_mirrored_pose_is_the_mirror_image_and_twice_the_original(corpus):
    motion = body(corpus, 2)
    motion.rotations[:, 0] = turn_about_y(1.0) @ motion.rotations[:, 0]  # facing just anywhere
    bones = np.random.default_rng(0).uniform(0.95, 1.05, (len(motion.names) - 1, 1))
    motion.offsets[1:] *= bones  # nobody's two arms are the same
    motion.positions[:, 1:] = motion.offsets[1:]
    image, pairs = mirror(motion), mirror_pairs(motion)[0]
    expected = motion.joint_positions()[:, pairs] * [-1, 1, 1]
    assert np.allclose(image.joint_positions(), expected, atol=1e-9)
    assert np.allclose(np.linalg.det(image.rotations), 1)
    heights = [np.sort(m.points()[0][..., 1]) for m in (image, motion)]
    assert np.allclose(*heights), "finger tips too"
    twice = mirror(image)
    assert np.allclose(twice.rotations, motion.rotations, atol=1e-12)
    assert np.allclose(twice.positions, motion.positions) and twice.end_sites == motion.end_sites


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_real_files_mirror_too_or_say_why_not(path):
    motion = read_bvh(path)
    try:
        pairs, _ = mirror_pairs(motion)
    except BvhError as error:
        assert path.name == "rotation_first_root.bvh" and "LeftLeg" in str(error)  # has one leg
        return
    expected = motion.joint_positions()[:, pairs] * [-1, 1, 1]
    assert np.allclose(mirror(motion).joint_positions(), expected, atol=1e-6)
    left, right = hand_joints(motion)
    assert pairs[left] == right and pairs[0] == 0


def in_a_turned_root(motion, across):
    """The same body, with the root's frame turned so that axis `across` runs across the body."""
    P = np.roll(np.eye(3), across, axis=0)  # x, y, z -> y, z, x or z, x, y
    turned = replace(
        motion,
        offsets=motion.offsets @ P.T,
        rotations=P @ motion.rotations @ P.T,
        positions=motion.positions @ P.T,
        end_sites=[(j, n, tuple(P @ o)) for j, n, o in motion.end_sites],
    )
    turned.rotations[:, 0] = P.T @ turned.rotations[:, 0]
    turned.offsets[0], turned.positions[:, 0] = motion.offsets[0], motion.positions[:, 0]
    assert np.allclose(turned.joint_positions(), motion.joint_positions())
    return turned


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("corpus", CORPORA)
def test_features_of_the_mirror_image_are_the_features_swapped(corpus, across):
    """pose[..., swap] * sign is what encode(mirror(motion)) gives, whatever axis runs across."""
    motion = in_a_turned_root(body(corpus, 4), across)
    assert mirror_pairs(motion)[1] == across
    codec = PoseCodec.fit([motion], mirror=True)
    pose, image = codec.encode(motion), codec.encode(mirror(motion))
    assert np.allclose(pose[:, codec.swap] * codec.sign, image, atol=2e-4)
    assert np.abs(pose - image).max() > 1
    both = np.concatenate([pose, image])
    assert np.allclose(both.mean(0), 0, atol=1e-3) and np.allclose(both.std(0), 1, atol=1e-3)
    again = PoseCodec(json.loads(json.dumps(codec.state())))
    assert np.array_equal(again.swap, codec.swap)


def test_a_skeleton_with_one_arm_is_not_mirrored():
    motion = body("trinity", 1)
    motion.names[motion.names.index("LeftArm")] = "Tail"
    with pytest.raises(BvhError, match="RightArm"):
        mirror_pairs(motion)
    motion = body("trinity", 1)
    motion.offsets[motion.names.index("LeftForeArm")] = [0, 60, 0]
    with pytest.raises(BvhError, match="same on both sides"):
        mirror_pairs(motion)


# ---- the common body -----------------------------------------------------------------------------
@pytest.mark.parametrize("corpus", CORPORA)
def test_the_common_body_is_found_in_every_corpus(corpus):
    motion = body(corpus, 1)
    found = [motion.names[j] for j in common_joints(motion)]
    limbs = ["Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot"]
    trunk = ["Hips", "Spine3", "Neck", "Head"]
    assert found == trunk + ["Left" + p for p in limbs] + ["Right" + p for p in limbs]
    inches = common_body(body(corpus, 1, size=2.54))
    assert np.allclose(common_body(motion), inches, atol=1e-9), "in any unit, child or giant"


PARTS = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
UNREAL = ("clavicle", "upperarm", "lowerarm", "hand", "thigh", "calf", "foot", "ball")
POSER = ("Collar", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Toe")


def test_other_programs_names_are_the_same_body():
    motion = body("trinity", 1)
    unreal, poser = {n: n.lower() for n in motion.names}, {n: n for n in motion.names}
    for side in ("Left", "Right"):
        unreal |= {side + p: f"{other}_{side[0].lower()}" for p, other in zip(PARTS, UNREAL)}
        poser |= {side + p: side + other for p, other in zip(PARTS, POSER)}
    unreal, poser = (
        replace(motion, names=[names[n] for n in motion.names]) for names in (unreal, poser)
    )
    assert common_joints(unreal) == common_joints(poser) == common_joints(motion)
    assert choose_joints(poser, "upper") == choose_joints(motion, "upper")


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_the_common_body_of_real_files_is_a_body(path):
    motion = read_bvh(path)
    if path.name == "rotation_first_root.bvh":  # has neither arms nor a right leg
        pytest.skip("no skeleton of a human")
    place = dict(zip(COMMON_BODY, common_body(motion)[0]))
    # Distances, from the hips: two of the files have Z up
    far = {name: np.linalg.norm(p - place["hips"]) for name, p in place.items()}
    assert 0 < far["chest"] <= far["neck"] < far["head"] < 0.6
    for side in ("left", "right"):
        assert far[f"{side} hip"] < far[f"{side} knee"] < far[f"{side} ankle"] < 0.7
        forearm = np.linalg.norm(place[f"{side} wrist"] - place[f"{side} elbow"])
        assert 0.05 < far[f"{side} shoulder"] and forearm > 0.08


# ---- the whole path ------------------------------------------------------------------------------
NAMES = {
    "trinity": ("Recording_001", "Recording_002", "Recording_008"),
    "zeggs": tuple(f"clean/00{n}_Neutral_{n - 1}_x_1_0" for n in (1, 2, 5)),
    "beat": ("1/1_wayne_0_1_1", "2/2_scott_0_1_1", "2/2_scott_0_103_103"),
}
HELD_OUT = {"trinity": "Recording_008", "zeggs": "005_Neutral_4_x_1_0"}


def tree(root, corpus):
    """Three takes with a corpus' folders, names, joints, rates and channel orders."""
    for n, name in enumerate(NAMES[corpus]):
        if corpus == "trinity":
            write_take(root / "Motion", name, corpus, seed=n, sound=root / "Audio")
        else:
            size = 1 - 0.1 * n if corpus == "beat" else 1
            write_take((root / name).parent, (root / name).name, corpus, seed=n, size=size)


@pytest.mark.parametrize("corpus", CORPORA)
def test_each_corpus_trains_samples_and_is_scored(corpus, tmp_path, monkeypatch, capsys):
    """Some steps, in this process, to be quick."""
    import sample
    import train
    from lab import evaluate

    def go(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
        script.main()

    root, run, out = tmp_path / corpus, tmp_path / "run", tmp_path / "out"
    tree(root, corpus)
    chosen = ("--mirror", "--joints", "no-fingers")
    go(train, "--data", root, "--out", run, "--steps", 4, *chosen, *TINY)
    pairs = find_pairs(root)
    assert f"{len(pairs['train'])} takes" in capsys.readouterr().out
    (test,) = pairs["test"]
    assert test[0].stem == HELD_OUT.get(corpus, test[0].stem)
    scores = ("--data", root, "--steps", 2, "--json", run / "scores.json")
    go(evaluate, "--checkpoint", run / "model.pt", *scores)
    assert "onset_hits_truth" in json.loads((run / "scores.json").read_text())["scores"]
    go(sample, test[1], "--checkpoint", run / "model.pt", "--out", out, "--steps", 2)
    made = read_bvh(out / f"{test[0].stem}.bvh")
    recorded = read_bvh(pairs["train"][0][0])
    assert made.names == recorded.names and made.channels == recorded.channels
    assert np.allclose(made.offsets, recorded.offsets, atol=1e-5)
    assert made.end_sites == recorded.end_sites
    assert len(made) == 80 and made.frame_time == pytest.approx(0.05)
    ends = [j for j, name in enumerate(recorded.names) if name.endswith("End")]
    moved = np.abs(made.rotations[:, ends] - recorded.rotations[0, ends]).max(initial=0)
    assert moved < 1e-4, "what never moves keeps still"
    if corpus == "beat":
        name = NAMES["beat"][0].split("/")[1]
        options = ("--test", name, "--steps", 2, "--json", tmp_path / "s.json")
        go(evaluate, "--checkpoint", run / "model.pt", "--data", root, *options)
        scores = json.loads((tmp_path / "s.json").read_text())["scores"]
        assert scores["strokes_per_minute_truth"] > 0


# ---- damaged files -------------------------------------------------------------------------------
JUNK = (b"\n", b"nan", b"-inf", b"1e999", b"MOTION\n", b"{", b"}", b"\x00", b"1.2.3")


@pytest.fixture(scope="module")
def damaged_take(tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "take.bvh"
    write_bvh(path, body("trinity", 0.3))
    return path.read_bytes(), path


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_whatever_happens_to_a_file_it_is_a_clear_error_or_one_motion_at_both_rates(
    damaged_take, draw
):
    """Bytes changed, cut out or doubled anywhere: BvhError with the file's name, or numbers."""
    whole, path = damaged_take
    at = draw.draw(st.integers(0, len(whole)))
    width = draw.draw(st.sampled_from([0, 1, 2, 30, 2000]))
    some = st.sampled_from([*JUNK, whole[at : at + 500]])
    junk = draw.draw(st.one_of(st.binary(max_size=8), some))
    path.write_bytes(whole[:at] + junk + whole[at + width :])
    answers = []
    for fps in (None, 20):
        try:
            motion = read_bvh(path, fps)
            assert np.isfinite(motion.joint_positions()).all() and len(motion)
            answers.append(motion)
        except BvhError as error:
            assert path.name in str(error) and len(str(error)) < 400
            answers.append(None)
    if answers[0] is not None:
        assert answers[1] is not None
        assert np.allclose(resample(answers[0], 20).rotations, answers[1].rotations)
