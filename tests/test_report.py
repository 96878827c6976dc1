"""All metrics of a model, with floor and ceiling."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_metrics import FPS, moved, standing

from body.pose import PoseCodec
from body.strokes import find_strokes
from lab import report as lab_report
from lab.frechet import windows
from lab.metrics import look_at
from lab.puppet_scores import OF_TWO_SEEDS
from lab.report import OF_OTHERS, fit_reference, measure, report
from recordings.pairs import find_pairs, load_take


@pytest.fixture(scope="module")
def parts(tiny_corpus):
    """{part: (motions, waveforms, answers)} of a puppet corpus."""
    read = {}
    for part, pairs in find_pairs(tiny_corpus).items():
        motions, waveforms = zip(*(load_take(*pair, FPS) for pair in pairs))
        answers = [json.loads(bvh.with_suffix(".json").read_text()) for bvh, _ in pairs]
        read[part] = list(motions), list(waveforms), answers
    return read


@pytest.fixture(scope="module")
def reference(parts):
    """Two takes are judged, of which the second is the other truth too."""
    (train, _, said), (more, sounds, their_answers) = parts["train"], parts["valid"]
    truth, waveforms, answers = parts["test"]
    judged = truth + more, waveforms + sounds, answers + their_answers
    with pytest.MonkeyPatch.context() as patch:  # the takes are too short for most
        patch.setattr(lab_report, "WINDOWS_NEEDED", 2)
        patch.setattr(lab_report, "SECONDS_NEEDED", 1)
        return fit_reference(train, more, their_answers, *judged, train_answers=said)


# ---- one set of motions ------------------------------------------------------------------------
def test_strokes_a_minute_are_counted_over_all_takes(reference):
    count = sum(len(find_strokes(m)[0]) for m in reference.truth)
    seconds = sum(len(m) for m in reference.truth) / FPS
    values = measure(reference.truth, reference.seen, reference)
    assert values["strokes_per_minute"] == pytest.approx(60 * count / seconds) and count


def test_the_peak_of_the_jerk_is_what_99_of_100_do_not_pass(reference):
    """Two jumps of otherwise still wrists: 12 of 800 third differences are not 0."""
    path = np.zeros((403, 3))  # 400 third differences of either wrist
    path[100:, 1], path[200:, 1] = 1e-3, 2e-3  # a jump is three of them: 1, -2 and 1 as high
    jumped = moved(moved(standing(403), "left wrist", path), "right wrist", path)
    first = dict(
        onsets=reference.onsets[:1], waveforms=reference.waveforms[:1], levels=reference.levels[:1]
    )
    values = measure([reference.truth[0]], [jumped], replace(reference, answers=None, **first))
    one = 0.001 * FPS**3  # 8 body lengths / s³
    assert values["hand_jerk"] == pytest.approx((8 * 1 + 4 * 2) / 800 * one)
    assert values["hand_jerk_peak"] == pytest.approx(one)


# ---- the table ---------------------------------------------------------------------------------
def test_a_model_that_gives_the_truth_scores_as_the_truth(reference):
    table = report([reference.truth] * 3, reference)
    differs = "fgd_raw", "fgd_code", "diversity", *OF_TWO_SEEDS, *OF_OTHERS
    for name, row in table.items():
        assert len(row["seeds"]) == 3 and row["spread"] == pytest.approx(0, abs=1e-9), name
        if name not in differs:
            assert row["model"] == pytest.approx(row["truth"], nan_ok=True), name
    assert table["fgd_raw"]["model"] == pytest.approx(0, abs=1e-6)
    assert table["diversity"]["model"] == 0
    for name in OF_OTHERS:  # the truth's is that of other takes
        assert table[name]["model"] == 0 <= table[name]["truth"] < table[name]["mean_pose"], name
    assert table["form_as_recorded"]["truth"] > 0 == table["form_as_recorded"]["mean_pose"]


def test_the_floors_are_below_the_truth(reference):
    table = report([reference.truth] * 3, reference)
    beats = table["beat_f1"]
    assert beats["mean_pose"] == 0 and beats["shuffled"] < 0.7 < beats["truth"]
    assert table["fgd_raw"]["mean_pose"] > table["fgd_raw"]["truth"] > 0
    assert table["hand_jerk"]["mean_pose"] == pytest.approx(0, abs=1e-6)
    assert table["range_of_motion"]["mean_pose"] == pytest.approx(0, abs=1e-5)
    assert np.isnan(table["foot_sliding"]["shuffled"]), "does not depend on the speech"


def test_the_spread_is_that_over_seeds_and_each_is_held_against_another(reference, monkeypatch):
    f1, asked = dict(a=0.8, b=0.9, c=1.0), []

    def stub(made, seen, reference, second):
        asked.append((made[0], second[0]))
        return dict(beat_f1=f1[made[0]])

    monkeypatch.setattr(lab_report, "look_at", lambda motion: motion)
    monkeypatch.setattr(lab_report, "measure", stub)
    monkeypatch.setattr(lab_report, "diversity", lambda pair: 0.0)
    row = report([["a"], ["b"], ["c"]], reference)["beat_f1"]
    assert row["model"] == pytest.approx(0.9) and row["spread"] == pytest.approx(0.1)
    assert asked == [("a", "b"), ("b", "c"), ("c", "a")]


# ---- what is fitted ----------------------------------------------------------------------------
def test_features_are_not_fitted_on_the_takes_that_are_judged(reference, parts):
    train = windows([look_at(m) for m in parts["train"][0]])
    np.testing.assert_allclose(reference.features.mean, train.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("part,alike", [("train", True), ("test", False)])
def test_the_mean_pose_is_that_of_the_training_takes(reference, parts, part, alike):
    codec = PoseCodec.fit(parts[part][0], FPS)
    pose = codec.decode(np.zeros((1, codec.pose_dim)), body=reference.truth[0])
    still = reference.still[0]
    assert np.allclose(still.rotations[0], pose.rotations[0], atol=1e-5) == alike
    assert len(still) == len(reference.truth[0])


def cut(motion, frames):
    return replace(motion, rotations=motion.rotations[:frames], positions=motion.positions[:frames])


@pytest.mark.parametrize("sound", ["silence", "speech"])
def test_extreme_cases_are_not_defined_and_do_not_crash(reference, sound):
    """One take, shorter than a window, without a stroke or a pause, and nothing to shuffle."""
    speech = reference.waveforms[0][: 30 * 800]
    waveform = speech if sound == "speech" else torch.zeros(100)
    short = cut(reference.truth[0], 30)
    answers = [dict(reference.answers[0], phrases=[], stresses=[], rests=[])]
    alone = fit_reference([short], [], None, [short], [waveform], answers)
    table = report([[cut(short, n)] for n in (1, 2, 30)], alone)
    for name in ("fgd_raw", "beat_f1_share", "rest_error", "hand_share_error", "shrug_hits"):
        assert np.isnan(table[name]["model"]), name


# ---- how much a score needs ---------------------------------------------------------------------
def test_what_too_little_cannot_tell_is_left_out_with_the_reason(parts):
    """Of 12 s neither a Fréchet distance nor a lag is computed, also where a caller asks for it."""
    (train, _, said), (more, _, theirs) = parts["train"], parts["valid"]
    truth, waveforms, answers = parts["test"]
    short = fit_reference(train, more, theirs, truth, waveforms, answers, None, said)
    assert set(short.left_out) == {
        "fgd_raw", "fgd_code", "speech_hand_correlation", "speech_hand_lag",
    }  # fmt: skip
    table = report([truth] * 3, short)
    for name, why in short.left_out.items():
        values = [table[name][column] for column in ("model", "truth", "mean_pose")]
        assert np.isnan(values).all(), name
        assert "12 s" in why or "50 windows" in why
    assert short.features is None, "nor is an autoencoder trained for it"
    assert table["beat_f1"]["model"] > 0.5


def test_windows_and_seconds_that_are_enough_are_enough():
    seen = [standing(1000)]  # 50 s
    assert lab_report.not_told(seen, FPS, 50, 50) == {}
    assert set(lab_report.not_told(seen, FPS, 50, 49)) == {"fgd_raw", "fgd_code"}
    assert set(lab_report.not_told(seen, FPS, 49, 50)) == {"fgd_raw", "fgd_code"}
    less = lab_report.not_told([standing(999)], FPS, 50, 50)
    assert set(less) == {"speech_hand_correlation", "speech_hand_lag"}
