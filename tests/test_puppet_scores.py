"""The puppet's scores, counted by hand."""

import json

import numpy as np
import pytest

from body.bvh import read_bvh
from body.motion import Motion
from lab import puppet_scores as scores
from recordings.pairs import find_pairs

FPS = 20


class Hands:
    """As much of a Motion as the puppet's scores look at.

    places: both hands [F, 2, 3] in body heights, of which x is given. strokes: (times, drops).
    """

    frame_time = 1 / FPS

    def __init__(self, left, right, strokes=((), ())):
        self.places, self.strokes = np.zeros((len(left), 2, 3)), tuple(map(np.array, strokes))
        self.places[:, 0, 0], self.places[:, 1, 0] = left, right

    def __len__(self):
        return len(self.places)


@pytest.fixture
def by_hand(monkeypatch):
    """Scores of motions whose hands and strokes are given and not found."""
    monkeypatch.setattr(scores, "hands_of", lambda motion: motion.places)
    monkeypatch.setattr(scores, "find_strokes", lambda motion: motion.strokes)


def takes_answers(number, phrases, stresses):
    """What a take's .json holds; phrases: (start, end), stresses: times."""
    return dict(
        speaker=dict(number=number),
        phrases=[dict(start=start, end=end) for start, end in phrases],
        stresses=[dict(time=time) for time in stresses],
    )


T = np.arange(200) / FPS  # 10 s
# Hands must rest from 1.4 s after the first phrase to 0.6 s before the second: 3.4 to 5.4 s.
ANSWERS = [takes_answers(0, [(0.5, 2.0), (6.0, 9.0)], [1.0, 7.0])]
# In rests both hands drift with 0.1 body heights a second, the model's with 0.15. The hands stay
# 0.4 apart, the model's 0.5.
TRUTH = [Hands(0.1 * T, 0.1 * T + 0.4, ([1.0, 7.0], [0.2, 0.2]))]
MADE = [Hands(0.15 * T, 0.15 * T + 0.5, ([1.02, 5.0, 7.3], [0.1, 0.15, 0.3]))]
# The hand that goes farther: in the one first the left and then the right, in the other the left.
ONE = Hands(0.3 * np.minimum(T, 4), 0.1 * T + 0.2 * np.maximum(T - 4, 0))
OTHER = Hands(0.3 * T, 0.1 * T)


# ---- strokes on syllables ----------------------------------------------------------------------
def test_beat_f1_of_strokes_counted_by_hand():
    """Two takes: of 3 + 1 strokes 2 + 0 hit, of 4 + 1 stresses as many.

    One stroke near two stresses counts once.
    """
    strokes, stresses = [np.array([1.0, 2.0, 3.0])], [np.array([1.05, 1.95, 2.05, 7.0])]
    assert scores.beat_f1(strokes, stresses) == pytest.approx(2 * 2 / (3 + 4))
    two_takes = strokes + [np.array([5.0])], stresses + [np.array([5.11])]
    assert scores.beat_f1(*two_takes) == pytest.approx(2 * 2 / (4 + 5))


def test_matching_is_the_largest_one_to_one_matching():
    scipy = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for _ in range(200):
        a = np.sort(rng.uniform(0, 2, rng.integers(1, 9)))
        b = np.sort(rng.uniform(0, 2, rng.integers(1, 9)))
        near = np.abs(a[:, None] - b) <= 0.1
        rows, columns = scipy.linear_sum_assignment(-near.astype(float))
        assert scores.matches(a, b) == near[rows, columns].sum()


def test_the_mismatched_score_is_against_the_next_takes_syllables(by_hand):
    stresses = [1.0, 5.0], [1.05, 7.0], [3.0]
    answers = [takes_answers(n, [], times) for n, times in enumerate(stresses)]
    strokes = [1.0, 5.0], [7.0], [3.0]
    made = [Hands(0 * T, 0 * T, (times, [0.1] * len(times))) for times in strokes]
    got = scores.puppet_scores(made, made, made, answers)
    # 1.0 is near 1.05; 7.0 is not near 3.0; 3.0 is near neither 1.0 nor 5.0
    assert got["beat_f1_mismatched"] == pytest.approx(2 * 1 / (4 + 5))
    assert got["beat_f1"] == pytest.approx(2 * 4 / (4 + 5))


# ---- hands, rests and style --------------------------------------------------------------------
def test_the_hand_of_a_phrase_is_the_one_that_goes_farther(by_hand):
    assert scores.phrase_hands(ONE, ANSWERS[0]).tolist() == [0, 1]
    assert scores.phrase_hands(OTHER, ANSWERS[0]).tolist() == [0, 0]
    assert scores.puppet_scores([ONE], [OTHER], TRUTH, ANSWERS)["hand_agreement"] == 0.5


def test_the_puppets_scores_of_hands_that_move_as_told(by_hand):
    got = scores.puppet_scores(MADE, MADE, TRUTH, ANSWERS)
    assert tuple(got) == scores.PUPPET_SCORES
    assert got["beat_f1"] == pytest.approx(2 * 1 / (3 + 2)) and got["beat_f1_truth"] == 1
    assert got["beat_f1_share"] == pytest.approx(0.4)
    assert got["rest_speed"] == pytest.approx(0.15)
    assert got["rest_speed_truth"] == pytest.approx(0.1)
    assert got["rest_error"] == pytest.approx(0.5)
    # posture 0.5 for 0.4 is a quarter too much, the median stroke 0.15 for 0.2 a quarter too little
    assert got["style_error"] == pytest.approx(0.25) and got["style_error_average"] == 0


def test_others_need_not_be_as_many_and_may_hold_speakers_that_are_not_asked_for(by_hand):
    stranger = dict(ANSWERS[0], speaker=dict(number=5))
    others, theirs = [*MADE, *TRUTH, *TRUTH], [ANSWERS[0], ANSWERS[0], stranger]
    got = scores.scores_of_others(others, theirs, TRUTH, ANSWERS)
    assert got["style_error"] == pytest.approx(0.25 / 2)
    assert got["rest_error"] == pytest.approx((0.15 + 0.1 + 0.1) / 3 / 0.1 - 1)
    strangers = scores.scores_of_others([ONE], [stranger], TRUTH, ANSWERS)
    assert np.isnan(strangers["style_error"]), "the speaker has no other take"


def test_what_hands_do_outside_of_the_rest_is_no_rest(by_hand):
    """The rest goes from 1.4 s after a phrase to 0.6 s before the next."""
    wild = 0.1 * T + 5 * np.maximum(T - 5.4, 0) + 5 * np.minimum(T - 3.35, 0)
    assert scores.rest_speed([Hands(wild, 0.1 * T + 0.4)], ANSWERS) == pytest.approx(0.1)


# ---- a real take -------------------------------------------------------------------------------
def test_the_truth_scores_as_the_truth_and_a_still_body_worst(tiny_corpus):
    bvh, _ = find_pairs(tiny_corpus)["test"][0]
    answers = json.loads(bvh.with_suffix(".json").read_text())
    truth = read_bvh(bvh, FPS)
    got = scores.puppet_scores([truth] * 2, [truth] * 2, [truth] * 2, [answers] * 2)
    assert got["beat_f1_share"] == 1 and got["hand_agreement"] == 1
    assert got["style_error"] == 0 and got["rest_error"] == 0
    assert got["beat_f1"] > 0.9
    first = {name: vars(truth)[name][:1] for name in ("rotations", "positions")}
    held = {name: np.repeat(value, len(truth), axis=0) for name, value in first.items()}
    still = Motion(**vars(truth) | held)
    got = scores.puppet_scores([still] * 2, [still] * 2, [truth] * 2, [answers] * 2)
    assert got["beat_f1"] == 0 and got["style_error"] > 0.4
    assert got["rest_error"] == pytest.approx(1)
