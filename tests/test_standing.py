"""lab/standing.py: drift, slides and borders of motions whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import call

from body.bvh import read_bvh, write_bvh
from body.motion import resample
from body.rotations import turn_about_y
from lab import standing
from lab.metrics import look_at
from recordings import puppet


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """60 s of the puppet, frozen in its first frame, at 20 frames a second."""
    folder = tmp_path_factory.mktemp("standing")
    puppet.write_take(folder, "a", 1, "calm", 60.0, (5,))
    motion = resample(read_bvh(folder / "a.bvh"), 20)
    first = np.zeros(len(motion), int)
    return replace(motion, rotations=motion.rotations[first], positions=motion.positions[first])


def test_a_body_that_stays_has_zeros(still):
    scores = standing.standing(still)
    assert scores["heading"] < 1e-6 and scores["place"] < 1e-9 and scores["slide"] < 1e-6
    assert scores["on_ground"] == 1 and np.isnan(scores["borders"]), "there is no jerk at all"


def test_a_body_that_turns_and_slides_at_known_rates(still):
    motion = replace(still, rotations=still.rotations.copy(), positions=still.positions.copy())
    seconds = np.arange(len(motion)) / 20
    motion.positions[:, 0, 0] += 2 * seconds  # cm/s: 120 cm a minute
    scores = standing.standing(motion)
    size = np.ptp(look_at(motion).places[:, 0, 0]) * standing.METRES / (2 * seconds[-1])  # m a cm
    assert abs(size - 0.01) < 0.001, "the puppet is about 1.7 m tall"
    assert scores["slide"] == pytest.approx(100 * size * 120, rel=0.01)
    assert scores["place"] == pytest.approx(size * 2 * 55, rel=1e-6)  # first to last 5 s
    assert scores["heading"] < 1e-6
    motion.rotations[:, 0] = turn_about_y(np.radians(4 * seconds)) @ motion.rotations[:, 0]
    assert standing.standing(motion)["heading"] == pytest.approx(4 * 55, rel=1e-6)


def test_a_lifted_foot_does_not_slide(still):
    motion = replace(still, rotations=still.rotations.copy(), positions=still.positions.copy())
    seconds = np.arange(len(motion)) / 20
    up = seconds > 30
    motion.positions[up, 0, 1] += 3
    motion.positions[:, 0, 0] += np.where(up, 2 * seconds, 0)
    scores = standing.standing(motion)
    assert scores["slide"] < 1e-6 and scores["on_ground"] == pytest.approx(0.5, abs=0.01)


def test_jerk_at_borders_is_found(still):
    rng = np.random.default_rng(0)
    gesture = look_at(still)
    gesture.places[:] += 0.01 * rng.normal(size=(len(still), 1, 1)) * (np.arange(16) > 4)[:, None]
    assert standing.border_jerk(gesture) == pytest.approx(1, abs=0.2)
    gesture.places[40::40, 5:] += 0.1
    assert standing.border_jerk(gesture) > 2
    gesture.places[:, 5:] = np.roll(gesture.places[:, 5:], 20, axis=0)  # in the middle of segments
    assert standing.border_jerk(gesture) < 1


def test_the_command_prints_a_line_for_a_file(still, tmp_path):
    write_bvh(tmp_path / "a.bvh", still)
    done = call(standing, tmp_path / "a.bvh")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "a.bvh") in done.stdout
