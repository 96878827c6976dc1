"""One foot of body/feet.py by itself: each limit from both sides, and how what is left fades.

The body is of height 1, so that the limits are lengths; tests/test_feet.py has whole bodies.
"""

import numpy as np
import pytest
from scipy.special import betainc

from body.feet import FADE, FAR, FAST, LIFTED, STEP, STRETCHED, TWISTED, Foot, bend
from body.motion import Motion
from body.rotations import exp_to_matrix, turn_about_y

FPS = 20
STILL, LONG = 20, 40  # frames of standing, then of what is tried
LEG = np.array([[0, 0.5, 0], [0, 0.25, 0], [0, 0, 0]])
HIP = np.array([0, 0.45, 0])


def slowly(to, frames=LONG):
    """After standing still: from 0 to `to` [3] in equal steps, [STILL + frames, 3]."""
    return np.clip((np.arange(STILL + frames) + 1 - STILL) / frames, 0, 1)[:, None] * np.array(to)


def followed(ankle, hip=None, orientation=None):
    """A foot's whole path -> (shift, turn) [F, 3] each."""
    hip = np.tile(HIP, (len(ankle), 1)) if hip is None else hip
    still = np.tile(np.eye(3), (len(ankle), 1, 1))
    return Foot(LEG, FPS).follow(hip, ankle, still if orientation is None else orientation)


AT_SPEED = [0.25 * FAST, 0, 0]  # in 5 frames, a quarter of a second
CASES = {  # how far the ankle goes to its limit, within how many frames
    "lifted": ([0, LIFTED, 0], LONG),
    "sunk": ([0, -LIFTED, 0], LONG),
    "far": ([0, 0, FAR], LONG),
    "fast": (AT_SPEED, 5),
}


@pytest.mark.parametrize("share", [0.9, 1.1], ids=["within", "beyond"])
@pytest.mark.parametrize("case", CASES)
def test_a_foot_is_let_go_beyond_its_limit_and_no_sooner(case, share):
    to, frames = CASES[case]
    ankle = slowly(share * np.array(to), frames)
    shift, _ = followed(ankle)
    assert np.allclose(shift, -ankle, atol=1e-9) == (share < 1), "held: it stays where it was"


@pytest.mark.parametrize("share", [0.9, 1.1], ids=["within", "beyond"])
def test_a_foot_is_let_go_where_the_leg_would_have_to_be_longer(share):
    """The hip leaves the place; the ankle follows by 0.05, so that the leg itself is never long."""
    far = np.sqrt((0.5 + share * STRETCHED) ** 2 - HIP[1] ** 2)  # the hip's distance, over ground
    ankle = slowly([0.05, 0, 0])
    shift, _ = followed(ankle, HIP + slowly([far, 0, 0]))
    assert np.allclose(shift, -ankle, atol=1e-9) == (share < 1)


@pytest.mark.parametrize("share", [0.9, 1.1], ids=["within", "beyond"])
def test_a_foot_keeps_its_orientation_until_it_is_twisted_too_far(share):
    first = exp_to_matrix(np.array([0.5, -0.3, 0.8]))
    orientation = turn_about_y(share * TWISTED * slowly([1, 0, 0])[:, 0]) @ first  # [F, 3, 3]
    _, turn = followed(np.zeros((STILL + LONG, 3)), orientation=orientation)
    kept = np.allclose(exp_to_matrix(turn) @ orientation, first, atol=1e-9)
    assert kept == (share < 1)


def test_what_is_left_fades_by_minimum_jerk_in_a_small_step():
    """It creeps away by 0.03, then runs. 1 - I_u(3, 3) is the smoothest way from 1 to 0."""
    creeping = slowly([0.03, 0, 0])
    running = creeping[-1] + np.arange(1, 11)[:, None] * [0, 0, 1 / FPS]
    shift, _ = followed(np.concatenate([creeping, running]))
    fade = round(FADE * FPS)
    u = np.arange(1, fade + 1) / (fade + 1)
    expected = np.zeros((10, 3))
    expected[:fade, 0] = -0.03 * (1 - betainc(3, 3, u))
    expected[:fade, 1] = STEP * 0.03 * np.sin(np.pi * u) ** 2
    np.testing.assert_allclose(shift[: STILL + LONG], -creeping, atol=1e-9)
    np.testing.assert_allclose(shift[STILL + LONG :], expected, atol=1e-9)


def test_the_next_chunk_knows_the_floor():
    """A foot that stands in the air is not held, also not if its chunk never saw the ground."""
    foot = Foot(LEG, FPS)
    for height, held in ((0.0, True), (0.1, False), (0.1, False)):
        place = np.tile([0.0, height, 0.0], (STILL, 1))
        foot.follow(HIP + place, place, np.tile(np.eye(3), (STILL, 1, 1)))
        assert (foot.held is not None) == held


def test_a_straight_leg_bends_to_the_front():
    """The ankle of a leg that hangs straight down is raised by 0.1: the knee goes forwards."""
    parents, still = np.array([-1, 0, 1]), np.tile(np.eye(3), (1, 3, 1, 1))
    offsets = np.diff(LEG, axis=0, prepend=LEG[:1] * 0)
    leg = Motion(list("abc"), parents, offsets, [()] * 3, [], 1 / FPS, still, offsets[None])
    front = np.array([[1.0, 0.0, 0.0]])
    R, p = leg.world()
    leg.rotations = bend(leg, (0, 1, 2), R, p, np.array([[0, 0.1, 0]]), np.eye(3)[None], front)
    hip, knee, ankle = leg.joint_positions()[0]
    np.testing.assert_allclose(ankle, [0, 0.1, 0], atol=1e-9)
    np.testing.assert_allclose(knee, [0.15, 0.3, 0], atol=1e-9)  # 0.25^2 = 0.2^2 + 0.15^2
