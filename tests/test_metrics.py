"""Each metric against a case whose answer is known: in closed form, or from another program."""
import json
import sys

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import TINY

import evaluate
import metrics
import motion as M
import puppet
from data import find_pairs
from metrics import COMMON_BODY, Gesture
from test_data import write_take

FPS = 20


def standing(frames=100):
    """A Gesture of a body that stands still: joints at places of a human's, hips 0.5 above the ankles. [F, 16, 3]"""
    places = np.zeros((16, 3))
    for j, name in enumerate(COMMON_BODY):
        side = {"left": 1, "right": -1}.get(name.split()[0], 0)
        part = name.split()[-1]
        places[j] = 0.1 * side, dict(hips=0.5, chest=0.8, neck=0.9, head=1, shoulder=0.8, elbow=0.6, wrist=0.4, hip=0.5, knee=0.25, ankle=0)[part], 0
    places = np.repeat(places[None], frames, axis=0)
    return Gesture(FPS, places, places - places[:, :1], np.zeros(0))


def moved(gesture, joint, path):
    """The gesture with one joint moved by path [F, 3]."""
    shift = np.zeros_like(gesture.places)
    shift[:, COMMON_BODY.index(joint)] = path
    return Gesture(FPS, gesture.places + shift, gesture.own + shift, gesture.strokes)


# ---- Fréchet distance --------------------------------------------------------------------------------------------
def test_frechet_distance_of_gaussians_whose_answer_is_known():
    """Diagonal covariances: |m|² + sum (a - b)² of the deviations; one of them may be a point."""
    a, b, m = np.array([1.0, 2, 3]), np.array([2.0, 2, 0]), np.array([3.0, 0, 4])
    assert metrics.frechet_distance(m, np.diag(a ** 2), 0 * m, np.diag(b ** 2)) == pytest.approx(25 + 1 + 0 + 9)
    assert metrics.frechet_distance(m, np.diag(a ** 2), m, np.diag(a ** 2)) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(m, np.zeros((3, 3)), 0 * m, np.diag(a ** 2)) == pytest.approx(25 + 14)


def test_frechet_distance_agrees_with_scipys_matrix_square_root():
    rng = np.random.default_rng(0)
    for d in (2, 8, 32):
        A, B = (x @ x.T / d + 0.01 * np.eye(d) for x in rng.normal(size=(2, d, d)))
        a, b = rng.normal(size=(2, d))
        other = np.sum((a - b) ** 2) + np.trace(A + B - 2 * np.real(scipy.linalg.sqrtm(A @ B)))
        assert metrics.frechet_distance(a, A, b, B) == pytest.approx(other, rel=1e-8)


def test_gesture_distance_takes_as_many_samples_of_either_side():
    """The bias of few samples: same distribution, but far from 0 with 40 samples of 32 dimensions, and less with more."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4000, 32))
    few, many = metrics.gesture_distance(a, b, 40), metrics.gesture_distance(a, b, 4000)
    assert few > 10 > 1 > many
    assert metrics.gesture_distance(a, b[:40], 4000) == pytest.approx(metrics.gesture_distance(a[np.linspace(0, 3999, 40).round().astype(int)], b[:40], 40))
    assert np.isnan(metrics.gesture_distance(a, b[:1], 4000))


def windows_of_swings(takes, seed, frames=200):
    """Windows of bodies whose joints swing at random, in a space of few dimensions as real motion."""
    rng, t, gestures = np.random.default_rng(seed), np.arange(frames) / FPS, []
    for _ in range(takes):
        g = standing(frames)
        for joint in ("left wrist", "right wrist", "left elbow", "head"):
            g = moved(g, joint, 0.1 * np.sin(2 * np.pi * (rng.uniform(0.2, 0.5) * t[:, None] + rng.uniform(size=3))))
        gestures.append(g)
    return metrics.windows(gestures)


def test_the_autoencoder_reconstructs_better_than_the_mean_and_depends_on_training_windows_only(tmp_path):
    seen, held_out = windows_of_swings(30, 0), windows_of_swings(10, 1)
    features = metrics.fit_windows(seen, tmp_path)
    error = lambda x, y: np.sqrt(np.mean((x - y) ** 2))
    assert error(features.reconstruction(held_out), held_out) < 0.5 * error(seen.mean(axis=0), held_out)
    state = torch.get_rng_state()
    metrics.fit_windows(seen[:40])
    assert torch.equal(state, torch.get_rng_state()), "the caller's random numbers stay as they were"
    torch.rand(3)
    again = metrics.fit_windows(seen)
    assert np.allclose(features.code(held_out), again.code(held_out), atol=1e-4), "the same seed gives the same network"
    kept = metrics.fit_windows(seen, tmp_path)
    assert np.array_equal(features.code(held_out), kept.code(held_out)) and len(list(tmp_path.iterdir())) == 1
    metrics.fit_windows(seen[:-1], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "other windows are another entry"
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(metrics.CorpusError, match="damaged"):
        metrics.fit_windows(seen, tmp_path)


# ---- motion and speech -------------------------------------------------------------------------------------------
def test_correlation_finds_a_shift_of_three_frames_either_way():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    for shift in (3, -3, 0):
        curve = metrics.correlation_by_lag(x, np.roll(x, shift), 20)
        assert metrics.best_lag([curve], [400], FPS) == pytest.approx((1.0, shift / FPS))
        for lag in (-7, 4):                          # against numpy, on the frames that both have
            a, b = (x[:400 - lag], np.roll(x, shift)[lag:]) if lag > 0 else (x[-lag:], np.roll(x, shift)[:lag])
            assert curve[20 + lag] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert np.isnan(metrics.best_lag([metrics.correlation_by_lag(x, np.zeros(400), 20)], [400], FPS)).all()
    whole, chance = metrics.correlation_by_lag(x, np.roll(x, 3), 20), np.where(np.arange(41) == 39, 1.0, 0.0)          # a take of 1 s, whose outer lags leave a frame or two
    assert metrics.best_lag([whole, chance, chance], [400, 20, 20], FPS) == pytest.approx((whole[23] * 400 / 440, 3 / FPS), abs=1e-9)


def test_beat_alignment_of_shifted_beats():
    onsets = np.arange(1, 20, 1.0)
    for shift in (0, 0.05, 0.1, 0.3):
        assert metrics.beat_alignment(onsets, onsets + shift, 0.1) == pytest.approx(np.exp(-shift ** 2 / 0.02))
    assert metrics.beat_alignment(onsets, onsets[::2], 0.1) == pytest.approx(10 / 19, abs=1e-6)      # half of them have none within 10 sigma
    assert metrics.beat_alignment(onsets, np.zeros(0)) == 0 and np.isnan(metrics.beat_alignment(np.zeros(0), onsets))


def test_the_level_of_known_speech():
    """A tone of half the amplitude is 6 dB below the loud parts, silence 35, at any frame rate."""
    for fps in (20, 24, 30, 29.97):
        t = torch.arange(4 * 16_000) / 16_000
        level = metrics.speech_level(torch.sin(2 * np.pi * 400 * t) * torch.where(t < 2, 1.0, torch.where(t < 3, 0.5, 0.0)), fps)
        assert len(level) == int(4 * fps) and np.allclose(level[:int(1.9 * fps)], 0, atol=0.1)
        assert np.allclose(level[int(2.1 * fps):int(2.9 * fps)], 20 * np.log10(0.5), atol=0.1) and (level[int(3.1 * fps):] == -35).all()


# ---- motion alone ------------------------------------------------------------------------------------------------
def test_jerk_of_a_cubic_and_of_a_sine():
    t = np.arange(400) / FPS
    cubic = metrics.jerk(moved(standing(400), "left wrist", np.stack([0.01 * t ** 3, 0 * t, 5 + t ** 2], axis=1)))
    assert cubic.shape == (397, 2) and np.allclose(cubic[:, 0], 6 * 0.01) and np.allclose(cubic[:, 1], 0, atol=1e-9)
    # third differences of A sin(w t) have the amplitude A (2 sin(w / 2 fps) fps)^3, near A w^3 for slow swings
    A, w = 0.2, 2 * np.pi * 0.7
    sine = metrics.jerk(moved(standing(400), "right wrist", np.stack([A * np.sin(w * t)] + [0 * t] * 2, axis=1)))[:, 1]
    amplitude = A * (2 * np.sin(w / 2 / FPS) * FPS) ** 3
    assert amplitude == pytest.approx(A * w ** 3, rel=0.01)
    assert sine.max() == pytest.approx(amplitude, rel=1e-3) and sine.mean() == pytest.approx(2 / np.pi * amplitude, rel=0.01)


def test_feet_of_a_body_that_is_moved_at_known_speed_slide_at_that_speed():
    g, t = standing(200), np.arange(200) / FPS
    assert metrics.foot_sliding(g).max() == 0
    pushed = Gesture(FPS, g.places + np.stack([0.3 * t, 0 * t, 0.4 * t], axis=1)[:, None], g.own, g.strokes)
    assert np.allclose(metrics.foot_sliding(pushed), 0.5) and len(metrics.foot_sliding(pushed)) == 2 * 199
    # a foot that is moved only while it is in the air does not slide
    lifted = np.where((np.arange(200) % 20 < 10)[:, None], 0, [0.0, 0.1, 0.0]) + np.stack([np.cumsum(np.arange(200) % 20 > 10) * 0.05] + [0 * t] * 2, axis=1)
    assert metrics.foot_sliding(moved(g, "left ankle", lifted)).max() == 0


def test_diversity_of_a_known_offset():
    g = standing()
    away = moved(g, "left wrist", np.tile([0.03, 0, 0.04], (100, 1)))
    assert metrics.diversity([[g], [away]]) == pytest.approx(0.05 / 16)
    assert metrics.diversity([[g], [away], [g]]) == pytest.approx(2 / 3 * 0.05 / 16)
    assert metrics.diversity([[g], [g]]) == 0 and np.isnan(metrics.diversity([[g]]))


def test_range_of_motion_of_a_known_swing():
    """The left forearm swings +-40 degrees as a sine, whose 95th percentile is sin(0.95 * 90 degrees)."""
    angle = np.radians(40) * np.sin(2 * np.pi * 0.5 * np.arange(4000) / FPS + 0.1)
    g = standing(4000)
    g = moved(g, "left wrist", 0.2 * np.stack([0 * angle, 1 - np.cos(angle), np.sin(angle)], axis=1))
    swings = metrics.range_of_motion(g)
    assert swings[1] == pytest.approx(80 * np.sin(0.95 * np.pi / 2), rel=0.01) and np.allclose(swings[[0, 2, 3]], 0, atol=1e-6)


def test_a_gesture_does_not_depend_on_place_facing_or_unit(tiny_corpus):
    motion = M.read_bvh(next(tiny_corpus.glob("test/*.bvh")), FPS)
    turn = M.turn_about_y(np.full(len(motion), 2.0))
    elsewhere = M.replace(motion, rotations=motion.rotations.copy(), positions=motion.positions * 0.01, offsets=motion.offsets * 0.01)
    elsewhere.rotations[:, 0] = turn @ elsewhere.rotations[:, 0]
    elsewhere.positions[:, 0] = (turn @ elsewhere.positions[:, 0, :, None])[..., 0] + [3, 0, -7]
    here, there = metrics.look_at(motion), metrics.look_at(elsewhere)
    assert np.allclose(here.own, there.own, atol=1e-9)
    hips = [COMMON_BODY.index(f"{side} hip") for side in ("left", "right")]
    assert (here.own[:, hips[0], 0] > 0).all() and np.allclose(here.own[:, hips[0], 2], here.own[:, hips[1], 2], atol=1e-9)
    assert (here.own[:, COMMON_BODY.index("left wrist"), 2] > 0.05).mean() > 0.5, "hands gesture in front"
    nameless = M.replace(motion, names=[n.replace("Foot", "Paw") for n in motion.names])
    with pytest.raises(M.BvhError, match="left foot"):
        metrics.look_at(nameless)


# ---- the puppet's scores, counted by hand -----------------------------------------------------------------------
class Hands:
    """As much of a Motion as the puppet's scores look at: both hands' places [F, 2, 3] in body heights, and (times, drops) of strokes."""
    frame_time = 1 / FPS

    def __init__(self, left, right, strokes):
        self.places, self.strokes = np.zeros((len(left), 2, 3)), tuple(map(np.array, strokes))
        self.places[:, 0, 0], self.places[:, 1, 0] = left, right

    def __len__(self):
        return len(self.places)


@pytest.fixture
def by_hand(monkeypatch):
    """Scores of motions whose hands and strokes are given and not found."""
    monkeypatch.setattr(metrics, "hands_of", lambda motion: motion.places)
    monkeypatch.setattr(metrics, "find_strokes", lambda motion: motion.strokes)


def test_beat_f1_of_strokes_counted_by_hand():
    """Two takes: of 3 + 1 strokes 2 + 0 hit, of 4 + 1 stresses as many; one stroke near two stresses counts once."""
    strokes, stresses = [np.array([1.0, 2.0, 3.0])], [np.array([1.05, 1.95, 2.05, 7.0])]
    assert metrics.beat_f1(strokes, stresses) == pytest.approx(2 * 2 / (3 + 4))
    assert metrics.beat_f1(strokes + [np.array([5.0])], stresses + [np.array([5.11])]) == pytest.approx(2 * 2 / (4 + 5))


def test_the_puppets_scores_of_hands_that_move_as_told(by_hand):
    """10 s at 20 frames a second, phrases from 0.5 to 2 s and from 6 to 9 s, so that hands must rest from 3.4 to 5.4 s."""
    t = np.arange(200) / FPS
    answers = [dict(speaker=dict(number=0), phrases=[dict(start=0.5, end=2.0), dict(start=6.0, end=9.0)], stresses=[dict(time=1.0), dict(time=7.0)])]
    # In rests both hands drift with 0.1 body heights a second, the model's with 0.15; either way they stay 0.4 apart there, the model's 0.5
    truth = [Hands(0.1 * t, 0.1 * t + 0.4, ([1.0, 7.0], [0.2, 0.2]))]
    made = [Hands(0.15 * t, 0.15 * t + 0.5, ([1.02, 5.0, 7.3], [0.1, 0.15, 0.3]))]
    # which hand goes farther: in the one the left and then the right, in the other the left both times
    one, other = (Hands(0.3 * np.minimum(t, 4), 0.1 * t + 0.2 * np.maximum(t - 4, 0), ([], [])), Hands(0.3 * t, 0.1 * t, ([], [])))
    assert metrics.phrase_hands(one, answers[0]).tolist() == [0, 1] and metrics.phrase_hands(other, answers[0]).tolist() == [0, 0]
    scores = metrics.puppet_scores(made, made, truth, answers)
    assert scores["beat_f1"] == pytest.approx(2 * 1 / (3 + 2)) and scores["beat_f1_truth"] == 1 and scores["beat_f1_share"] == pytest.approx(0.4)
    assert scores["rest_speed"] == pytest.approx(0.15) and scores["rest_speed_truth"] == pytest.approx(0.1) and scores["rest_error"] == pytest.approx(0.5)
    # posture 0.5 for 0.4 is a quarter too much, the median stroke 0.15 for 0.2 a quarter too little
    assert scores["style_error"] == pytest.approx(0.25) and scores["style_error_average"] == 0
    assert metrics.puppet_scores([one], [other], truth, answers)["hand_agreement"] == 0.5
    # other takes need not be as many, and may hold speakers that are not asked for
    stranger = dict(answers[0], speaker=dict(number=5))
    others = metrics.scores_of_others([*made, *truth, *truth], [answers[0], answers[0], stranger], truth, answers)
    assert others["style_error"] == pytest.approx(0.25 / 2) and others["rest_error"] == pytest.approx((0.15 + 0.1 + 0.1) / 3 / 0.1 - 1)
    assert np.isnan(metrics.scores_of_others([one], [stranger], truth, answers)["style_error"])
    # what hands do outside of the rest, 1.4 s after a phrase to 0.6 s before the next, is no rest
    wild = Hands(0.1 * t + 5 * np.maximum(t - 5.4, 0) + 5 * np.minimum(t - 3.35, 0), 0.1 * t + 0.4, ([], []))
    assert metrics.rest_speed([wild], answers) == pytest.approx(0.1)


def test_the_mismatched_score_is_against_the_next_takes_syllables(by_hand):
    t = np.arange(200) / FPS
    answers = [dict(speaker=dict(number=n), phrases=[], stresses=[dict(time=time) for time in times]) for n, times in enumerate(([1.0, 5.0], [1.05, 7.0], [3.0]))]
    made = [Hands(0 * t, 0 * t, (strokes, [0.1] * len(strokes))) for strokes in ([1.0, 5.0], [7.0], [3.0])]
    scores = metrics.puppet_scores(made, made, made, answers)
    # 1.0 is near 1.05; 7.0 is not near 3.0; 3.0 is near neither 1.0 nor 5.0
    assert scores["beat_f1_mismatched"] == pytest.approx(2 * 1 / (4 + 5)) and scores["beat_f1"] == pytest.approx(2 * 4 / (4 + 5))


def test_hands_are_seen_from_the_hips(reference):
    walking = reference.truth[0]
    walked = M.replace(walking, positions=walking.positions.copy())
    walked.positions[:, 0] += np.arange(len(walking))[:, None] * [1.0, 0.2, 3.0]
    np.testing.assert_allclose(metrics.hands_of(walked), metrics.hands_of(walking), atol=1e-5)


def test_strokes_a_minute_and_the_peak_of_the_jerk(reference):
    """Two jumps of otherwise still wrists: 12 of 800 third differences are not 0, so that 99 of 100 stay below the smaller ones."""
    count, seconds = sum(len(M.find_strokes(m)[0]) for m in reference.truth), sum(len(m) for m in reference.truth) / FPS
    scores = metrics.measure(reference.truth, reference.seen, reference)
    assert scores["strokes_per_minute"] == pytest.approx(60 * count / seconds) and count
    still = standing(403)                            # 400 third differences of either wrist
    path = np.zeros((403, 3))
    path[100:, 1], path[200:, 1] = 1e-3, 2e-3        # a jump is three of them: 1, -2 and 1 times as high
    jumped = moved(moved(still, "left wrist", path), "right wrist", path)
    table = metrics.measure([reference.truth[0]], [jumped], metrics.replace(reference, answers=None, onsets=reference.onsets[:1], waveforms=reference.waveforms[:1], levels=reference.levels[:1]))
    assert table["hand_jerk"] == pytest.approx((8 * 1 + 4 * 2) / 800 * 8) and table["hand_jerk_peak"] == pytest.approx(8)       # 0.001 * 20³ is 8


# ---- all of them -------------------------------------------------------------------------------------------------
def corpus_of(folder, parts, fps=FPS):
    """Motions, waveforms and answers of a puppet corpus."""
    return {part: evaluate.read_held_out(pairs, fps) for part, pairs in parts.items()}


@pytest.fixture(scope="module")
def reference(tiny_corpus):
    parts = corpus_of(tiny_corpus, find_pairs(tiny_corpus))
    truth, waveforms, answers = parts["test"]
    more, more_waveforms, more_answers = parts["valid"]
    return metrics.fit_reference(parts["train"][0], more, more_answers, truth + more, waveforms + more_waveforms, answers + more_answers)


def test_a_model_that_gives_the_truth_scores_as_the_truth(reference):
    table = metrics.report([reference.truth] * 3, reference)
    for name, row in table.items():
        assert len(row["seeds"]) == 3 and row["spread"] == pytest.approx(0, abs=1e-9), name
        if name not in ("fgd_raw", "fgd_code", "diversity", "hand_agreement", "style_error", "rest_error"):
            assert row["model"] == pytest.approx(row["truth"], nan_ok=True), name
    assert table["fgd_raw"]["model"] == pytest.approx(0, abs=1e-6) and table["diversity"]["model"] == 0
    for name in ("style_error", "rest_error"):       # the truth's is that of other takes of the same speaker
        assert table[name]["model"] == 0 < table[name]["truth"] < table[name]["mean_pose"]
    assert table["beat_f1"]["mean_pose"] == 0 and table["beat_f1"]["shuffled"] < 0.7 < table["beat_f1"]["truth"]
    assert table["fgd_raw"]["mean_pose"] > table["fgd_raw"]["truth"] > 0 and table["hand_jerk"]["mean_pose"] == pytest.approx(0, abs=1e-6)
    assert table["range_of_motion"]["mean_pose"] == pytest.approx(0, abs=1e-5) and np.isnan(table["foot_sliding"]["shuffled"])


def test_nothing_is_fitted_on_the_takes_that_are_judged(reference, tiny_corpus):
    train = corpus_of(tiny_corpus, find_pairs(tiny_corpus))["train"][0]
    np.testing.assert_allclose(reference.features.mean, metrics.windows([metrics.look_at(m) for m in train]).mean(axis=0), atol=1e-5)
    for motions, alike in ((train, True), (reference.truth, False)):
        codec = M.PoseCodec.fit(motions, FPS)
        pose = codec.decode(np.zeros((1, codec.pose_dim)), body=reference.truth[0])
        assert np.allclose(reference.still[0].rotations[0], pose.rotations[0], atol=1e-5) == alike


def test_other_truth_is_a_take_like_each_and_what_is_fitted_is_neither(tmp_path):
    puppet.write_corpus(tmp_path / "c", train=12, valid=0, test=3, seconds=8.0)
    how = evaluate.corpus_reference(find_pairs(tmp_path / "c"), cache=None).how
    assert [name[:-4] for name in how["other_truth"]] == ["speaker0_calm", "speaker1_lively", "speaker2_calm"]
    assert len(how["fitted_on"]) == 9 and not set(how["fitted_on"]) & set(how["other_truth"]) and not how["other_truth_was_fitted_on"]


def test_the_spread_is_that_over_seeds_and_each_is_held_against_another(reference, monkeypatch):
    f1, asked = dict(a=0.8, b=0.9, c=1.0), []
    def measure(made, seen, reference, second):
        asked.append((made[0], second[0]))
        return dict(beat_f1=f1[made[0]])
    for name, stub in (("look_at", lambda motion: motion), ("measure", measure), ("diversity", lambda pair: 0.0)):
        monkeypatch.setattr(metrics, name, stub)
    row = metrics.report([["a"], ["b"], ["c"]], reference)["beat_f1"]
    assert row["model"] == pytest.approx(0.9) and row["spread"] == pytest.approx(0.1) and asked == [("a", "b"), ("b", "c"), ("c", "a")]


def test_motions_come_back_in_the_order_of_their_sounds():
    class Echo:
        def hear(self, waveform):
            return waveform[:1][None, None]          # [1, 1, 1]

        def __call__(self, speech, seed):
            return [float(x) for x in speech[:, 0, 0]]

    sounds = [torch.full((length,), value) for value, length in enumerate([3, 1, 3, 2, 3, 3, 3, 1, 3, 3, 3, 3, 3], start=1)]      # ten of one length: two groups
    assert evaluate.generate_for(Echo(), [s.float() for s in sounds], 0, "echo") == list(range(1, 14))


def test_speech_without_a_stroke_has_no_hits_and_files_of_one_name_are_told_apart(monkeypatch):
    strokes = [np.array([1.0, 2.0])]
    monkeypatch.setattr(evaluate, "load_audio", lambda path: torch.randn(4 * 16_000, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setattr(evaluate, "find_strokes", lambda motion: (strokes[0],))
    class Silent:
        hear = staticmethod(lambda waveform: waveform)
        def __call__(self, speech, seed):
            return [None]
    scores = evaluate.evaluate_speech(Silent(), ["a/talk.wav", "b/talk.wav", "other.wav"], range(3))
    assert list(scores) == ["a/talk.wav", "b/talk.wav", "other.wav"] and scores["other.wav"]["strokes_per_minute"] == 30
    strokes[0] = np.zeros(0)
    scores = evaluate.evaluate_speech(Silent(), ["other.wav"], range(3))["other.wav"]
    assert scores["strokes_per_minute"] == 0 and all(np.isnan(scores[name]) for name in ("onset_hits", "onset_hits_shifted", "onset_hits_shifted_95", "onset_hits_lucky"))


def test_extreme_cases_are_not_defined_and_do_not_crash(reference, capsys):
    """One take, shorter than a window, no stroke in it, no pause, nothing said that could be shuffled."""
    cut = lambda m, n: M.replace(m, rotations=m.rotations[:n], positions=m.positions[:n])
    short = cut(reference.truth[0], 30)
    answers = [dict(reference.answers[0], phrases=[], stresses=[])]
    for waveform in (torch.zeros(100), reference.waveforms[0][:30 * 800]):
        alone = metrics.fit_reference([short], [], None, [short], [waveform], answers)
        table = metrics.report([[cut(short, n)] for n in (1, 2, 30)], alone)
        assert np.isnan(table["fgd_raw"]["model"]) and np.isnan(table["beat_f1_share"]["model"]) and np.isnan(table["rest_error"]["model"])
        evaluate.print_report(table)
        shown = capsys.readouterr().out
        assert "not defined" in shown and "nan" not in shown
        json.dumps(evaluate.finite(table), allow_nan=False)


def test_evaluate_reports_everything_on_a_folder_without_answers(tmp_path, monkeypatch, capsys):
    """A small tree with ZEGGS' names and joints: the table is printed, the JSON holds it and the flat scores by their old names."""
    import train
    root = tmp_path / "zeggs"
    for n, name in enumerate(("001_Neutral_0_x_1_0", "002_Neutral_1_x_1_0", "003_Neutral_2_x_1_0", "005_Neutral_4_x_1_0")):
        write_take(root, name, "zeggs", seed=n)

    def go(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
        script.main()

    go(train, "--data", root, "--out", tmp_path / "run", "--steps", 2, *TINY)
    capsys.readouterr()
    go(evaluate, "--checkpoint", tmp_path / "run" / "model.pt", "--data", root, "--steps", 2, "--seeds", 3, "--cache", tmp_path / "cache", "--json", tmp_path / "s.json")
    shown, written = capsys.readouterr().out, json.loads((tmp_path / "s.json").read_text())
    assert set(metrics.UNITS) <= set(written["table"]) and all(name in shown for name in metrics.UNITS) and "beat_f1" not in written["table"]
    assert {"onset_hits", "onset_hits_truth", "onset_hits_shifted", "onset_hits_truth_shifted", "strokes_per_minute"} <= set(written["scores"])
    assert written["seeds"] == 3 and len(written["table"]["foot_sliding"]["seeds"]) == 3 and written["how"]["fgd"]["window_s"] == 2
    assert "005_Neutral_4_x_1_0" not in written["how"]["fitted_on"] + written["how"]["other_truth"], "held-out takes are never fitted on"
    damaged = root / "001_Neutral_0_x_1_0.bvh"
    damaged.write_text(damaged.read_text()[:-400])
    arguments = ["--checkpoint", tmp_path / "run" / "model.pt", "--data", root, "--steps", 2, "--seeds", 3, "--cache", tmp_path / "cache"]
    with pytest.raises(M.BvhError, match="001_Neutral"):
        go(evaluate, *arguments)
    go(evaluate, *arguments, "--skip")
    assert "left out" in capsys.readouterr().err
    # trained on one corpus, judged on another, of other joints: what both have is compared
    for n, name in enumerate(("Recording_001", "Recording_002", "Recording_003", "Recording_008")):
        write_take(tmp_path / "trinity", name, "trinity", seed=10 + n)
    go(evaluate, "--checkpoint", tmp_path / "run" / "model.pt", "--data", tmp_path / "trinity", "--steps", 2, "--seeds", 3, "--cache", tmp_path / "cache")
    assert "fgd_raw" in (shown := capsys.readouterr().out) and "nan" not in shown
