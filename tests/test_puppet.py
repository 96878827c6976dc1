"""The puppet keeps the rules that it says it keeps."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from body.bvh import read_bvh
from body.motion import resample
from body.strokes import find_strokes
from lab.puppet_scores import beat_f1, style
from recordings import puppet
from recordings.audio import load_audio
from recordings.pairs import find_pairs
from recordings.puppet_body import FPS, gesture
from recordings.puppet_voice import script, speak

RATE = 16_000


def stresses(phrases):
    return [s for p in phrases for s in p["syllables"] if s["stressed"]]


@pytest.fixture(scope="module")
def takes():
    """Half a minute of six speakers in either mood: [(speaker, mood, phrases, motion, sound)]."""
    made = []
    for number in range(6):
        for mood in ("calm", "lively"):
            rng = np.random.default_rng([5, number])
            who = puppet.speaker(number)
            phrases = script(who, mood, 30.0, rng)
            sound = speak(who, phrases, 30.0, rng)
            motion = gesture(who, mood, phrases, 30.0, rng)
            made.append((who, mood, phrases, motion, sound))
    return made


# ---- the body ----------------------------------------------------------------------------------
def test_a_stroke_falls_on_each_stressed_syllable(takes):
    strokes = [find_strokes(resample(motion, 20))[0] for _, _, _, motion, _ in takes]
    times = [np.array([s["peak"] for s in stresses(phrases)]) for _, _, phrases, _, _ in takes]
    assert beat_f1(strokes, times) > 0.97


def test_louder_is_harder(takes):
    loudness, drops = [], []
    for who, _, phrases, motion, _ in takes:
        times, sizes, _ = find_strokes(motion)
        for s in stresses(phrases):
            if np.abs(times - s["peak"]).min() < 0.1:
                loudness.append(s["loudness"])
                drops.append(sizes[np.abs(times - s["peak"]).argmin()] / who.stroke)
    assert np.corrcoef(loudness, drops)[0, 1] > 0.8


def test_the_hand_of_the_phrase_is_the_one_that_beats(takes):
    for _, _, phrases, motion, _ in takes:
        times, _, sides = find_strokes(motion)
        for p in phrases:
            inside = sides[(times > p["start"]) & (times < p["end"])]
            assert set(inside) <= {("left", "right").index(p["hand"])}


def test_posture_and_stroke_belong_to_the_speaker(takes):
    for who, _, phrases, motion, _ in takes:
        spread, _ = style(resample(motion, 20), dict(phrases=phrases))
        assert spread * motion.body_height() == pytest.approx(2 * who.spread, rel=0.12)


def test_feet_stay_where_they_stand(takes):
    for _, _, _, motion, _ in takes:
        p = motion.joint_positions()
        for foot in ("LeftFoot", "RightFoot"):
            assert np.ptp(p[:, motion.names.index(foot)], axis=0).max() < 0.5  # cm


def test_no_joint_is_faster_than_a_fast_stroke(takes):
    for _, _, _, motion, _ in takes:
        steps = np.linalg.norm(np.diff(motion.joint_positions(), axis=0), axis=-1)
        assert (steps * FPS).max() < 450  # cm/s


def test_bones_keep_their_lengths_and_elbows_do_not_bend_backwards(takes):
    _, _, _, motion, _ = takes[0]
    p = motion.joint_positions()
    for side in ("Left", "Right"):
        joints = (side + n for n in ("Arm", "ForeArm", "Hand"))
        shoulder, elbow, wrist = (p[:, motion.names.index(j)] for j in joints)
        assert np.allclose(np.linalg.norm(elbow - shoulder, axis=-1), 28)
        assert np.allclose(np.linalg.norm(wrist - elbow, axis=-1), 25)
        # the elbow hangs below the line from shoulder to wrist
        assert ((elbow - (shoulder + wrist) / 2)[:, 1] < 0).all()


# ---- the voice ---------------------------------------------------------------------------------
def test_stressed_syllables_are_louder_than_the_others(takes):
    for _, _, phrases, _, sound in takes:

        def level(s, sound=sound):
            first, last = int(RATE * s["peak"]), int(RATE * (s["peak"] + 0.05))
            return np.sqrt(np.mean(sound[first:last] ** 2))

        loud = [level(s) for s in stresses(phrases)]
        soft = [level(s) for p in phrases for s in p["syllables"] if not s["stressed"]]
        assert np.median(loud) > 1.5 * np.median(soft)


def test_the_pitch_of_the_voice_is_the_speakers(takes):
    """Autocorrelation of a long stressed vowel peaks at the syllable's pitch."""
    for who, _, phrases, _, sound in takes:
        errors = []
        for s in stresses(phrases)[:8]:
            x = sound[int(RATE * s["peak"]) : int(RATE * (s["peak"] + 0.08))]
            x = x - x.mean()
            r = np.correlate(x, x, "full")[len(x) - 1 :]
            low, high = int(RATE / (1.3 * s["pitch"])), int(RATE / (0.75 * s["pitch"]))
            errors.append(RATE / (low + r[low:high].argmax()) / s["pitch"] - 1)
        assert abs(np.median(errors)) < 0.08, (who.number, errors)


# ---- the corpus on disk ------------------------------------------------------------------------
def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        seed = (7 if name == "other" else 3, 0, 0)
        puppet.write_take(tmp_path / name, "take", 2, "calm", 10.0, seed)
    for ending in ("bvh", "wav", "json"):
        files = (tmp_path / name / f"take.{ending}" for name in ("one", "two", "other"))
        one, two, other = (file.read_bytes() for file in files)
        assert one == two != other


def test_the_corpus_is_ordinary_files_with_answers_beside(tiny_corpus):
    split = find_pairs(tiny_corpus)
    assert [len(split[part]) for part in ("train", "valid", "test")] == [1, 1, 1]
    for bvh, wav in split["train"] + split["test"]:
        motion, answers = read_bvh(bvh), json.loads(bvh.with_suffix(".json").read_text())
        assert len(motion) * motion.frame_time == pytest.approx(12, abs=0.05)
        assert len(load_audio(wav)) == 12 * RATE
        assert soundfile.info(wav).subtype == "PCM_16"
        assert answers["stresses"] and all(0 < s["time"] < 12 for s in answers["stresses"])


def test_another_body_keeps_the_rules_and_its_feet_on_the_ground(tmp_path):
    arguments = dict(train=0, valid=0, test=2, seconds=20.0, speakers=[3, 9])
    puppet.write_corpus(tmp_path / "a", **arguments)
    puppet.write_corpus(tmp_path / "b", **arguments, arms=1.15, legs=0.85)
    pairs = zip(*(sorted((tmp_path / f"{c}/test").glob("*.bvh")) for c in "ab"), strict=True)
    for usual, other in pairs:
        assert usual.name == other.name and usual.stem.split("_")[0] in ("speaker3", "speaker9")
        one, two = read_bvh(usual), read_bvh(other)
        arm = [one.names.index(n) for n in ("LeftArm", "LeftForeArm", "LeftHand")]
        places = (m.joint_positions()[:, arm] for m in (one, two))
        bones = [np.linalg.norm(np.diff(p, axis=1), axis=-1) for p in places]
        assert np.allclose(bones[1], 1.15 * bones[0], rtol=1e-3)
        ankles = [m.joint_positions()[:, m.names.index("LeftFoot")] for m in (one, two)]
        assert np.abs(ankles[0] - ankles[1]).max() < 0.2  # cm
        answers = json.loads(other.with_suffix(".json").read_text())
        times = [np.array([s["time"] for s in answers["stresses"]])]
        assert beat_f1([find_strokes(resample(two, 20))[0]], times) > 0.95


def test_a_killed_run_leaves_no_folder_that_looks_like_a_whole_corpus(tmp_path, monkeypatch):
    class Killed:
        def __enter__(self):
            raise KeyboardInterrupt

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(puppet, "ProcessPoolExecutor", Killed)
    with pytest.raises(KeyboardInterrupt):
        puppet.write_corpus(tmp_path / "corpus", train=1, valid=0, test=0, seconds=4.0)
    assert list(tmp_path.iterdir()) == []


def test_the_default_corpus_is_written_once(tmp_path, monkeypatch):
    written = []

    def write_corpus(folder):
        written.append(folder)
        folder.mkdir(parents=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(puppet, "write_corpus", write_corpus)
    assert puppet.ready_puppet() == puppet.ready_puppet() == puppet.PUPPET
    assert written == [puppet.PUPPET]


BAD = [
    (["--seconds", "0"], "--seconds"),
    (["--train", "x"], "--train"),
    (["--train", "0", "--valid", "0", "--test", "0"], "nothing to write"),
    (["--speakers", "1", "-1"], "--speakers"),
    (["--out", "file/corpus"], "file"),
    (["--out", "."], "--out .: holds something already"),
]


@pytest.mark.parametrize("arguments,word", BAD)
def test_a_puppet_that_cannot_be_written_gets_one_line(tmp_path, arguments, word):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "recordings.puppet", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1 and word in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing half-written is left"
