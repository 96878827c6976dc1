"""The puppet keeps the rules that it says it keeps."""
import json

import numpy as np
import pytest
import soundfile

import metrics
import motion as M
import puppet
from data import find_pairs
from wavlm_loader import load_audio


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        puppet.write_take(tmp_path / name, "take", 2, "calm", 10.0, (7 if name == "other" else 3, 0, 0))
    for ending in ("bvh", "wav", "json"):
        one, two, other = ((tmp_path / name / f"take.{ending}").read_bytes() for name in ("one", "two", "other"))
        assert one == two != other


@pytest.fixture(scope="module")
def takes():
    """Half a minute of each of six speakers in either mood, without the disk: [(speaker, mood, phrases, motion, sound)]."""
    made = []
    for number in range(6):
        for mood in ("calm", "lively"):
            rng = np.random.default_rng([5, number])
            who = puppet.speaker(number)
            phrases = puppet.script(who, mood, 30.0, rng)
            sound = puppet.speak(who, phrases, 30.0, rng)
            made.append((who, mood, phrases, puppet.gesture(who, mood, phrases, 30.0, rng), sound))
    return made


def stresses(phrases):
    return [s for p in phrases for s in p["syllables"] if s["stressed"]]


def test_a_stroke_falls_on_each_stressed_syllable(takes):
    f1 = metrics.beat_f1([M.find_strokes(M.resample(m, 20))[0] for _, _, _, m, _ in takes], [np.array([s["peak"] for s in stresses(p)]) for _, _, p, _, _ in takes])
    assert f1 > 0.97


def test_louder_is_harder(takes):
    loudness, drops = [], []
    for who, mood, phrases, motion, _ in takes:
        times, sizes, _ = M.find_strokes(motion)
        for s in stresses(phrases):
            if np.abs(times - s["peak"]).min() < 0.1:
                loudness.append(s["loudness"])
                drops.append(sizes[np.abs(times - s["peak"]).argmin()] / who.stroke)
    assert np.corrcoef(loudness, drops)[0, 1] > 0.8


def test_the_hand_of_the_phrase_is_the_one_that_beats(takes):
    for _, _, phrases, motion, _ in takes:
        times, _, sides = M.find_strokes(motion)
        for p in phrases:
            inside = sides[(times > p["start"]) & (times < p["end"])]
            assert set(inside) <= {("left", "right").index(p["hand"])}


def test_posture_and_stroke_belong_to_the_speaker(takes):
    for who, _, phrases, motion, _ in takes:
        spread, _ = metrics.style(M.resample(motion, 20), dict(phrases=phrases))
        assert spread * motion.body_height() == pytest.approx(2 * who.spread, rel=0.12)


def test_feet_stay_where_they_stand(takes):
    for _, _, _, motion, _ in takes:
        p = motion.joint_positions()
        for foot in ("LeftFoot", "RightFoot"):
            assert np.ptp(p[:, motion.names.index(foot)], axis=0).max() < 0.5    # cm


def test_nothing_jumps(takes):
    """No joint is faster than a fast stroke."""
    for _, _, _, motion, _ in takes:
        speed = np.linalg.norm(np.diff(motion.joint_positions(), axis=0), axis=-1) * puppet.FPS
        assert speed.max() < 450                     # cm/s


def test_bones_keep_their_lengths_and_elbows_do_not_bend_backwards(takes):
    _, _, _, motion, _ = takes[0]
    p = motion.joint_positions()
    for side in ("Left", "Right"):
        shoulder, elbow, wrist = (p[:, motion.names.index(side + n)] for n in ("Arm", "ForeArm", "Hand"))
        assert np.allclose(np.linalg.norm(elbow - shoulder, axis=-1), 28) and np.allclose(np.linalg.norm(wrist - elbow, axis=-1), 25)
        middle = (shoulder + wrist) / 2
        assert ((elbow - middle)[:, 1] < 0).all()    # the elbow hangs below the line from shoulder to wrist


def test_stressed_syllables_are_louder_than_the_others(takes):
    for _, _, phrases, _, sound in takes:
        level = lambda s: np.sqrt(np.mean(sound[int(16_000 * s["peak"]):int(16_000 * (s["peak"] + 0.05))] ** 2))
        loud = [level(s) for s in stresses(phrases)]
        soft = [level(s) for p in phrases for s in p["syllables"] if not s["stressed"]]
        assert np.median(loud) > 1.5 * np.median(soft)


def test_the_pitch_of_the_voice_is_the_speakers(takes):
    """Autocorrelation of a long stressed vowel peaks at the syllable's pitch."""
    for who, _, phrases, _, sound in takes:
        errors = []
        for s in stresses(phrases)[:8]:
            x = sound[int(16_000 * s["peak"]):int(16_000 * (s["peak"] + 0.08))]
            x = x - x.mean()
            r = np.correlate(x, x, "full")[len(x) - 1:]
            low, high = int(16_000 / (1.3 * s["pitch"])), int(16_000 / (0.75 * s["pitch"]))
            errors.append(16_000 / (low + r[low:high].argmax()) / s["pitch"] - 1)
        assert abs(np.median(errors)) < 0.08, (who.number, errors)


def test_the_corpus_is_ordinary_files_with_answers_beside(tiny_corpus):
    split = find_pairs(tiny_corpus)
    assert [len(split[part]) for part in ("train", "valid", "test")] == [1, 1, 1]
    for bvh, wav in split["train"] + split["test"]:
        motion, answers = M.read_bvh(bvh), json.loads(bvh.with_suffix(".json").read_text())
        assert len(motion) * motion.frame_time == pytest.approx(12, abs=0.05) and len(load_audio(wav)) == 12 * 16_000
        assert soundfile.info(wav).subtype == "PCM_16"
        assert answers["stresses"] and all(0 < s["time"] < 12 for s in answers["stresses"])


def test_another_body_keeps_the_rules_and_its_feet_on_the_ground(tmp_path):
    puppet.write_corpus(tmp_path / "a", train=0, valid=0, test=2, seconds=20.0, speakers=[3, 9])
    puppet.write_corpus(tmp_path / "b", train=0, valid=0, test=2, seconds=20.0, speakers=[3, 9], arms=1.15, legs=0.85)
    for usual, other in zip(sorted((tmp_path / "a/test").glob("*.bvh")), sorted((tmp_path / "b/test").glob("*.bvh")), strict=True):
        assert usual.name == other.name and usual.stem.split("_")[0] in ("speaker3", "speaker9")
        one, two = M.read_bvh(usual), M.read_bvh(other)
        bones = [np.linalg.norm(np.diff(m.joint_positions()[:, [m.names.index(n) for n in ("LeftArm", "LeftForeArm", "LeftHand")]], axis=1), axis=-1) for m in (one, two)]
        assert np.allclose(bones[1], 1.15 * bones[0], rtol=1e-3)
        ankles = [m.joint_positions()[:, m.names.index("LeftFoot")] for m in (one, two)]
        assert np.abs(ankles[0] - ankles[1]).max() < 0.2                     # cm
        stresses = [np.array([s["time"] for s in json.loads(other.with_suffix(".json").read_text())["stresses"]])]
        assert metrics.beat_f1([M.find_strokes(M.resample(two, 20))[0]], stresses) > 0.95
