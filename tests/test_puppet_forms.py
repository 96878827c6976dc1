"""What a phrase shows, told by hand; and on takes whose answers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from body.bvh import read_bvh
from body.motion import Motion
from body.rotations import euler_to_matrix, turn_about_y
from lab import puppet_forms as forms
from lab.puppet_forms import Moves
from recordings.pairs import find_pairs
from recordings.puppet import write_corpus

FPS = 20
T = np.arange(200) / FPS  # 10 s


def moves(hands, straight=1.0, palms=0.0):
    """Moves of hands [F, 2, 3]."""
    flat, none = np.zeros((len(hands), 2)), np.zeros(0)
    return Moves(FPS, hands, flat[:, 0], flat, flat + straight, flat + palms, none, none)


def phrases(*stretches, form="beat"):
    return dict(phrases=[dict(start=a, end=b, form=form) for a, b in stretches])


# ---- which hands -------------------------------------------------------------------------------
def test_which_hands_speak():
    beat = 0.1 * np.sin(2 * np.pi * T)[:, None]  # [F, 1] one a second
    odd = (T.astype(int) % 2 == 1)[:, None]
    still, first = 0 * beat, beat * ~odd
    told = {
        "left": (beat, 0.2 * beat),
        "right": (0.2 * beat, beat),
        "both": (beat, 0.8 * beat),
        "turn": (first, beat - first),
        "none": (0.01 * beat, still),
    }
    for name, heights in told.items():
        hands = np.zeros((len(T), 2, 3))
        hands[..., 1] = np.concatenate(heights, axis=1)
        assert forms.speaking(hands, FPS) == name
        assert forms.phrase_hands(moves(hands), phrases((0, 10), (20, 22))) == [name, "none"]


# ---- how they look -----------------------------------------------------------------------------
def test_looks_of_hands_that_move_as_told():
    """The left hand alone: 3 to the side for 4 down and 2 ahead, and back the same way."""
    there = np.abs((T + 0.5) % 1 - 0.5)[:, None]  # [F, 1] a triangle
    hands = np.zeros((len(T), 2, 3))
    hands[:, 0] = there * np.array([0.3, -0.4, 0.2])
    take = moves(hands)
    take.straight[:, 1], take.palms[:, 0] = 0.5, -0.7
    (got,) = forms.looks(take, phrases((0, 10)))
    way = np.linalg.norm([3, 4, 2])
    assert got == pytest.approx([3 / way, 4 / way, 2 / way, 2 / 4, 1.0, -0.7])
    assert np.isnan(forms.looks(moves(0 * hands), phrases((0, 10)))).all()
    assert forms.looks(take, phrases()).shape == (0, 6)


def test_the_nearest_centroid_by_the_spread_of_each_look(monkeypatch):
    """Looks a and b: the first is four times as spread as the second."""
    rows = dict(
        x=np.array([[0.0, 0.0], [0.8, 0.2]]), y=np.array([[2.0, 1.0], [2.8, 1.2], [np.nan] * 2])
    )
    monkeypatch.setattr(forms, "looks", lambda take, answers: rows[take])
    told = [phrases((0, 1), (1, 2), form=form) for form in "xy"]
    told[1]["phrases"].append(dict(form="y"))
    fitted = forms.fit_forms(["x", "y"], told)
    assert fitted.names == ["x", "y"]
    np.testing.assert_allclose(fitted.centroids, [[0.4, 0.1], [2.4, 1.1]])
    np.testing.assert_allclose(fitted.spread, [0.4, 0.1])
    # from x by (1.1, 0.5): 2.75 and 5 spreads; from y by (-0.9, -0.5): 2.25 and 5
    rows["z"] = np.array([[1.5, 0.6], [1.5, 0.5], [np.nan, 0]])
    assert fitted.of("z", None) == ["y", "x", "none"]
    assert forms.fit_forms([], []) is None


def test_fingers_and_palms_of_a_hand_that_bends_them():
    """A finger of two bones of 3 and 4: bent by 90 degrees it reaches 5 of 7."""
    names = ["Hips", "LeftHand", "LeftFinger", "RightHand"]
    offsets = np.array([[0, 0, 0], [9, 0, 0], [3, 0, 0], [-9, 0, 0]], float)
    rotations = np.broadcast_to(np.eye(3), (3, 4, 3, 3)).copy()
    rotations[1, 2] = euler_to_matrix(np.radians([90.0]), "Z")
    rotations[2, 1] = euler_to_matrix(np.radians([180.0]), "X")  # the palm up
    ends = [(2, "", (4.0, 0, 0)), (3, "", (-4.0, 0, 0))]
    positions = np.broadcast_to(offsets, (3, 4, 3)).copy()
    parents = np.array([-1, 0, 1, 0])
    motion = Motion(names, parents, offsets, [()] * 4, ends, 0.05, rotations, positions)
    straight, palms = forms.fingers_and_palms(motion)
    np.testing.assert_allclose(straight, [[1, 1], [5 / 7, 1], [1, 1]])
    np.testing.assert_allclose(palms, [[-1, -1], [-1, -1], [1, -1]], atol=1e-9)


# ---- shoulders ---------------------------------------------------------------------------------
def test_shoulders_that_are_up_after_a_phrase():
    take = moves(np.zeros((len(T), 2, 3)))
    take.shoulders = 0.1 + 0.02 * ((T > 1.8) & (T < 2.6))
    got = forms.rises(take, phrases((0.0, 2.0), (3.0, 5.0), (8.0, 9.8)))
    assert got[:2] == pytest.approx([0.02, 0]) and np.isnan(got[2])


# ---- the puppet --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """{part: (Motions, answers)} of six speakers' takes, 12 to learn from and 6 to test on."""
    folder = tmp_path_factory.mktemp("forms") / "c"
    write_corpus(folder, train=12, valid=0, test=6, seconds=40.0, seed=4)
    read = {}
    for part, pairs in find_pairs(folder).items():
        answers = [json.loads(bvh.with_suffix(".json").read_text()) for bvh, _ in pairs]
        read[part] = [read_bvh(bvh, FPS) for bvh, _ in pairs], answers
    return read


def test_hands_and_forms_of_the_puppet_are_recognised(takes):
    seen = {part: [forms.moves_of(m) for m in motions] for part, (motions, _) in takes.items()}
    fitted = forms.fit_forms(seen["train"], takes["train"][1])
    told = dict(hands=forms.phrase_hands, form=fitted.of)
    for name, recognise in told.items():
        right = [
            got == phrase[name]
            for take, answers in zip(seen["test"], takes["test"][1])
            for got, phrase in zip(recognise(take, answers), answers["phrases"])
        ]
        assert len(right) > 30 and np.mean(right) > 0.9, name


def test_questions_of_the_puppet_are_told_by_its_shoulders(takes):
    for motion, answers in zip(*takes["test"]):
        asked = np.array([phrase["question"] for phrase in answers["phrases"]])
        heights = forms.rises(forms.moves_of(motion), answers)
        up = heights[~np.isnan(heights)] > 0.01
        assert (up == asked[~np.isnan(heights)]).all()


def test_moves_do_not_depend_on_place_facing_or_unit(takes):
    motion = takes["test"][0][0]
    turn = turn_about_y(np.full(len(motion), 2.0))
    rotations, positions = motion.rotations.copy(), motion.positions * 0.01
    rotations[:, 0] = turn @ rotations[:, 0]
    positions[:, 0] = (turn @ positions[:, 0, :, None])[..., 0] + [3, 0, -7]
    ends = [(j, name, tuple(np.array(end) * 0.01)) for j, name, end in motion.end_sites]
    elsewhere = replace(
        motion,
        rotations=rotations,
        positions=positions,
        offsets=motion.offsets * 0.01,
        end_sites=ends,
    )
    here, there = forms.moves_of(motion), forms.moves_of(elsewhere)
    for name in ("hands", "shoulders", "feet", "straight", "palms"):
        np.testing.assert_allclose(vars(here)[name], vars(there)[name], atol=1e-7)
    assert here.hands[:, 0, 0].mean() > 0.1 and here.hands[:, 1, 0].mean() < -0.1
    assert (here.hands[..., 2] > 0).mean() > 0.5, "hands gesture in front"
