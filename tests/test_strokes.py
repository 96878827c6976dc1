"""body/strokes.py: hands that fall by known bumps of speed, each limit from both sides."""

import numpy as np
import pytest

from body.motion import Motion
from body.strokes import find_strokes

FPS, HEIGHT = 60, 170.0
STROKE_SPEED, STROKE_GAP, TOGETHER = 0.25, 0.3, 0.15  # what the figures in results/ mean
NAMES = ["Hips", "Head", "LeftFoot", "RightFoot", "LeftHand", "RightHand"]
PLACES = np.array([[0, 90, 0], [0, 80, 0], [9, -90, 0], [-9, -90, 0], [30, 30, 0], [-30, 30, 0]])


def falling(left=(), right=(), creep=0.0, fps=FPS):
    """5 s in which hands fall by bumps (time, peak in heights a second, width in s) -> Motion.

    A bump is a squared cosine: the hand falls by peak * width / 2. creep: heights a second at
    which both go on to fall after 2 s.
    """
    t = np.arange(5 * fps) / fps
    positions = np.tile(PLACES.astype(float), (len(t), 1, 1))
    for j, bumps in ((4, left), (5, right)):
        fall = creep * np.maximum(0, t - 2)
        for at, peak, width in bumps:
            u = np.clip((t - at) / width, -0.5, 0.5)
            fall += peak * width / 2 * (u + 0.5 + np.sin(2 * np.pi * u) / (2 * np.pi))
        positions[:, j, 1] -= HEIGHT * fall
    still = np.tile(np.eye(3), (len(t), len(NAMES), 1, 1))
    parents, rows = np.array([-1, 0, 0, 0, 0, 0]), [()] * len(NAMES)
    return Motion(NAMES, parents, PLACES, rows, [], 1 / fps, still, positions)


@pytest.mark.parametrize("at", [2.0, 2.012, 2.025, 2.04])
def test_when_a_hand_is_fastest_is_known_between_two_frames(at):
    times, drops, _ = find_strokes(falling([(at, 1.0, 0.5)], fps=20))
    np.testing.assert_allclose(times, [at], atol=0.003)  # a frame lasts 0.05 s
    np.testing.assert_allclose(drops, [0.25], rtol=0.02)


@pytest.mark.parametrize("share", [0.95, 1.05])
def test_a_stroke_is_faster_than_the_limit(share):
    times, _, _ = find_strokes(falling([(2.0, share * STROKE_SPEED, 0.8)]))
    assert len(times) == (share > 1)


@pytest.mark.parametrize("apart, found", [(STROKE_GAP - 0.05, [2.0]), (STROKE_GAP + 0.05, None)])
def test_of_two_peaks_of_a_hand_within_the_gap_the_higher_counts(apart, found):
    times, _, _ = find_strokes(falling([(2.0, 1.0, 0.2), (2.0 + apart, 0.8, 0.2)]))
    np.testing.assert_allclose(times, found or [2.0, 2.0 + apart], atol=0.01)


@pytest.mark.parametrize("larger", [0, 1], ids=["left", "right"])
@pytest.mark.parametrize("apart", [TOGETHER - 0.03, TOGETHER + 0.03])
def test_of_two_hands_that_beat_together_the_larger_drop_counts(apart, larger):
    bumps = [(2.0, 1.0, 0.3)], [(2.0 + apart, 1.0, 0.3)]
    bumps[larger][0] = (bumps[larger][0][0], 1.5, 0.3)
    _, drops, sides = find_strokes(falling(*bumps))
    assert sides.tolist() == ([larger] if apart < TOGETHER else [0, 1])
    assert drops.max() == pytest.approx(0.225, rel=0.02)


def test_a_slow_retraction_after_a_stroke_is_no_part_of_its_drop():
    """It falls on at a seventh of the stroke's speed for 3 s: 0.45 heights more."""
    _, drops, _ = find_strokes(falling([(1.8, 1.05, 0.4)], creep=0.15))
    np.testing.assert_allclose(drops, [0.21], atol=0.02)
