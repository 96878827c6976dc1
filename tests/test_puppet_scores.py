"""The puppet's scores, counted by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from body.bvh import read_bvh
from body.motion import Motion
from lab import puppet_scores as scores
from lab.puppet_forms import Forms, Moves, fit_forms, moves_of
from recordings.pairs import find_pairs

FPS = 20
T = np.arange(200) / FPS  # 10 s


def moves(left=0 * T, right=0 * T, strokes=(), drops=(), shoulders=0 * T, feet=None, up=0 * T):
    """Moves of hands at x = `left` and `right` [F]; `up` [F] is the height of both."""
    hands = np.zeros((len(left), 2, 3))
    hands[:, 0, 0], hands[:, 1, 0] = left, right
    hands[..., 1] = up[:, None]
    flat = np.zeros((len(left), 2))
    feet = flat if feet is None else feet
    return Moves(
        FPS, hands, shoulders, feet, flat, flat, np.array(strokes, float), np.array(drops, float)
    )


@pytest.fixture
def by_hand(monkeypatch):
    """Scores of Moves in the place of motions."""
    monkeypatch.setattr(scores, "moves_of", lambda motion: motion)


def takes_answers(number, phrases, stresses, rests=(), questions=()):
    """What a take's .json holds; phrases and rests: (start, end), stresses: times."""
    return dict(
        speaker=dict(number=number),
        phrases=[
            dict(start=start, end=end, question=n in questions, hands="left", form="beat")
            for n, (start, end) in enumerate(phrases)
        ],
        stresses=[dict(time=time) for time in stresses],
        rests=rests,
    )


ANSWERS = [takes_answers(0, [(0.5, 2.0), (6.0, 9.0)], [1.0, 7.0], [(3.4, 5.4)])]
# In rests both hands drift with 0.1 body lengths a second, the model's with 0.15. In phrases they
# speak 0.4 from the middle, the model's 0.5.
TRUTH = [moves(0.4 + 0 * T, -0.4 + 0 * T, [1.0, 7.0], [0.2, 0.2], up=0.1 * T)]
MADE = [moves(0.5 + 0 * T, -0.5 + 0 * T, [1.02, 5.0, 7.3], [0.1, 0.15, 0.3], up=0.15 * T)]


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
    made = [moves(strokes=times, drops=[0.1] * len(times)) for times in strokes]
    got = scores.puppet_scores(made, made, made, answers)
    # 1.0 is near 1.05; 7.0 is not near 3.0; 3.0 is near neither 1.0 nor 5.0
    assert got["beat_f1_mismatched"] == pytest.approx(2 * 1 / (4 + 5))
    assert got["beat_f1"] == pytest.approx(2 * 4 / (4 + 5))


# ---- rests and style ---------------------------------------------------------------------------
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


def test_posture_is_that_of_the_speaking_hand_in_the_median_phrase():
    """Left alone at 0.3; both at 0.5 and 0.7; right alone at 0.9. The other hand does not count."""
    second = T.astype(int)
    left = np.choose(second % 3, (0.3, 0.5, 0.5))
    right = -np.choose(second % 3, (1.2, 0.7, 0.9))
    phrases = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    take = moves(left, right)
    beats = 0.05 * np.sin(40 * T)
    take.hands[..., 1] = np.stack([beats * (second % 3 != 2), beats * (second % 3 != 0)], axis=1)
    answers = takes_answers(0, phrases, [])
    assert scores.phrase_hands(take, answers) == ["left", "both", "right"]
    assert scores.style(take, answers)[0] == pytest.approx(0.6)
    assert np.isnan(scores.style(take, takes_answers(0, [], []))[0])


def test_others_need_not_be_as_many_and_may_hold_speakers_that_are_not_asked_for(by_hand):
    stranger = dict(ANSWERS[0], speaker=dict(number=5))
    others, theirs = [*MADE, *TRUTH, *TRUTH], [ANSWERS[0], ANSWERS[0], stranger]
    got = scores.scores_of_others(others, theirs, TRUTH, ANSWERS)
    assert got["style_error"] == pytest.approx(0.25 / 2)
    assert got["rest_error"] == pytest.approx((0.15 + 0.1 + 0.1) / 3 / 0.1 - 1, abs=1e-3)
    strangers = scores.scores_of_others(MADE, [stranger], TRUTH, ANSWERS)
    assert np.isnan(strangers["style_error"]), "the speaker has no other take"


def test_what_hands_do_outside_of_the_rest_is_no_rest():
    wild = 0.1 * T + 5 * np.maximum(T - 5.4, 0) + 5 * np.minimum(T - 3.4, 0)
    take = moves(up=wild)
    assert scores.rest_speed([take], ANSWERS) == pytest.approx(0.1)
    assert np.isnan(scores.rest_speed([take], [dict(ANSWERS[0], rests=[])]))


# ---- what is free ------------------------------------------------------------------------------
def test_shares_and_agreement_counted_by_hand():
    made, truth = [["left"] * 3 + ["both"]], [["left", "right"], ["both", "both"]]
    # left 3/4 for 1/4, right 0 for 1/4, both 1/4 for 1/2
    assert scores.share_error(made, truth) == pytest.approx((0.5 + 0.25 + 0.25) / 2)
    assert scores.share_error(made, made) == 0 and scores.share_error([["a"]], [["b"]]) == 1
    assert np.isnan(scores.share_error([[]], truth))
    same, chance = scores.agreement([["a", "a"], ["b", "b"]], [["a", "b"], ["b", "b"]])
    assert same == 0.75 and chance == pytest.approx(0.5 * 0.25 + 0.5 * 0.75)


def test_agreement_of_independent_draws_is_that_by_chance():
    rng = np.random.default_rng(0)
    a, b = ([list(rng.choice(list("abcd"), 10_000, p=(0.1, 0.2, 0.3, 0.4)))] for _ in range(2))
    same, chance = scores.agreement(a, b)
    assert same == pytest.approx(0.3, abs=0.02) and chance == pytest.approx(0.3, abs=0.02)


def test_hands_and_forms_of_two_seeds_are_held_against_each_other(by_hand):
    """Left alone in the first phrase; in the second left, or both. The forms go by straightness."""
    beats, late = 0.05 * np.sin(20 * T), T > 5
    one, other = moves(), moves()
    one.hands[:, 0, 1] = other.hands[:, 0, 1] = beats
    other.hands[late, 1, 1] = beats[late]
    one.straight[late] = 1
    looks = np.zeros((2, 6))
    looks[1, 4] = 1
    forms = Forms(["beat", "sweep"], looks, np.array([9, 9, 9, 9, 0.1, 9]))
    got = scores.puppet_scores([one], [other], [one], ANSWERS, forms)
    assert got["hand_agreement"] == 0.5 and got["hand_agreement_chance"] == 0.5
    assert got["hand_as_recorded"] == 1 and got["hand_share_error"] == 0
    assert got["form_agreement"] == 0.5 and got["form_agreement_chance"] == 0.5
    assert got["form_as_recorded"] == 0.5 and got["form_share_error"] == 0
    swapped = scores.puppet_scores([other], [one], [one], ANSWERS, forms)
    assert swapped["hand_share_error"] == swapped["form_share_error"] == 0.5
    without = scores.puppet_scores([one], [other], [one], ANSWERS)
    assert np.isnan(without["form_agreement"]) and np.isnan(without["form_share_error"])
    second = dict(ANSWERS[0], phrases=ANSWERS[0]["phrases"][1:])  # each take has its own phrases
    two = scores.puppet_scores([one, other], [one, other], [one, one], [ANSWERS[0], second])
    assert two["hand_as_recorded"] == pytest.approx(2 / 3)
    floor = scores.scores_of_others([other], ANSWERS, [one], ANSWERS, forms)
    assert floor["hand_share_error"] == floor["form_share_error"] == 0.5


# ---- shrugs and steps --------------------------------------------------------------------------
def shrugging(*heights):
    """Shoulders that are up by `heights` at the ends of phrases of 2 s."""
    up = [h * ((T > end - 0.2) & (T < end + 0.6)) for end, h in zip((2, 4, 6, 8), heights)]
    return moves(shoulders=0.1 + np.sum(up, axis=0))


def test_a_shrug_is_more_than_half_of_the_truths_rise():
    phrases = [(0.1, 2.0), (2.7, 4.0), (4.7, 6.0), (6.7, 8.0)]
    answers = [takes_answers(0, phrases, [], questions=(0, 2))]
    truth, made = [shrugging(0.02, 0, 0.02, 0)], [shrugging(0.015, 0.012, 0.008, 0)]
    assert scores.shrug_rates(truth, truth, answers) == (1, 0)
    assert scores.shrug_rates(made, truth, answers) == (0.5, 0.5)
    statements = [takes_answers(0, phrases, [])]
    assert all(np.isnan(rate) for rate in scores.shrug_rates(made, truth, statements))
    cut = [replace(made[0], shoulders=made[0].shoulders[:122], hands=made[0].hands[:122])]
    assert scores.shrug_rates(cut, truth, answers) == (1, 1), "what is not seen does not count"


def test_steps_are_counted_where_a_foot_leaves_the_ground():
    feet = np.zeros((200, 2))
    feet[20:30, 0] = feet[60:70, 0] = feet[30:40, 1] = 0.04
    feet[100:110, 1] = 0.01  # a heel
    assert scores.steps_per_minute([moves(feet=feet)]) == pytest.approx(3 * 6)
    assert scores.steps_per_minute([moves(feet=feet + 5), moves()]) == pytest.approx(3 * 3)


# ---- a real take -------------------------------------------------------------------------------
def test_the_truth_scores_as_the_truth_and_a_still_body_worst(tiny_corpus):
    bvh, _ = find_pairs(tiny_corpus)["test"][0]
    answers = json.loads(bvh.with_suffix(".json").read_text())
    truth = read_bvh(bvh, FPS)
    forms = fit_forms([moves_of(truth)], [answers])
    known = [truth] * 2, [answers] * 2, forms
    got = scores.puppet_scores([truth] * 2, [truth] * 2, *known)
    assert got["beat_f1_share"] == got["hand_agreement"] == got["form_agreement"] == 1
    assert got["style_error"] == got["rest_error"] == 0
    assert got["hand_share_error"] == got["form_share_error"] == 0
    assert got["beat_f1"] > 0.9 and got["hand_as_recorded"] >= 0.5 and got["form_as_recorded"] == 1
    first = {name: vars(truth)[name][:1] for name in ("rotations", "positions")}
    held = {name: np.repeat(value, len(truth), axis=0) for name, value in first.items()}
    still = Motion(**vars(truth) | held)
    got = scores.puppet_scores([still] * 2, [still] * 2, *known)
    assert got["beat_f1"] == got["steps_per_minute"] == 0 and got["style_error"] > 0.4
    assert got["rest_error"] == pytest.approx(1)
    for name in ("hand_share_error", "form_share_error"):
        assert got[name] == pytest.approx(1), "no hand speaks"
