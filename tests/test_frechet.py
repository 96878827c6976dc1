"""The Fréchet distance against closed forms and scipy, and the features that it compares."""

import numpy as np
import pytest
import scipy.linalg
import torch
from test_metrics import FPS, moved, standing

from lab.frechet import fit_windows, frechet_distance, gesture_distance, windows
from recordings.pairs import CorpusError


# ---- the distance ------------------------------------------------------------------------------
def test_frechet_distance_of_gaussians_whose_answer_is_known():
    """Diagonal covariances: |m|² + sum (a - b)² of the deviations; one of them may be a point."""
    a, b, m = np.array([1.0, 2, 3]), np.array([2.0, 2, 0]), np.array([3.0, 0, 4])
    A, B = np.diag(a**2), np.diag(b**2)
    assert frechet_distance(m, A, 0 * m, B) == pytest.approx(25 + 1 + 0 + 9)
    assert frechet_distance(m, A, m, A) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(m, np.zeros((3, 3)), 0 * m, A) == pytest.approx(25 + 14)


def test_frechet_distance_agrees_with_scipys_matrix_square_root():
    rng = np.random.default_rng(0)
    for d in (2, 8, 32):
        A, B = (x @ x.T / d + 0.01 * np.eye(d) for x in rng.normal(size=(2, d, d)))
        a, b = rng.normal(size=(2, d))
        root = np.real(scipy.linalg.sqrtm(A @ B))
        other = np.sum((a - b) ** 2) + np.trace(A + B - 2 * root)
        assert frechet_distance(a, A, b, B) == pytest.approx(other, rel=1e-8)


def test_few_samples_make_the_distance_too_large():
    """One distribution: far from 0 with 40 samples of 32 dimensions, near it with 4000."""
    a, b = np.random.default_rng(0).normal(size=(2, 4000, 32))
    assert gesture_distance(a, b, 40) > 10 > 1 > gesture_distance(a, b, 4000)


def test_gesture_distance_takes_as_many_samples_of_either_side():
    a, b = np.random.default_rng(0).normal(size=(2, 4000, 32))
    spread = np.linspace(0, 3999, 40).round().astype(int)
    wanted = gesture_distance(a[spread], b[:40], 40)
    assert gesture_distance(a, b[:40], 4000) == pytest.approx(wanted)
    assert np.isnan(gesture_distance(a, b[:1], 4000))


# ---- windows and their features ----------------------------------------------------------------
def windows_of_swings(takes, seed, frames=200):
    """Windows of bodies whose joints swing at random, in few dimensions as real motion."""
    rng, t, gestures = np.random.default_rng(seed), np.arange(frames)[:, None] / FPS, []
    for _ in range(takes):
        g = standing(frames)
        for joint in ("left wrist", "right wrist", "left elbow", "head"):
            phase = rng.uniform(0.2, 0.5) * t + rng.uniform(size=3)
            g = moved(g, joint, 0.1 * np.sin(2 * np.pi * phase))
        gestures.append(g)
    return windows(gestures)


@pytest.fixture(scope="module")
def seen():
    return windows_of_swings(30, 0)


@pytest.fixture(scope="module")
def held_out():
    return windows_of_swings(10, 1)


@pytest.fixture(scope="module")
def features(seen):
    return fit_windows(seen)


def error(x, y):
    """Root mean square."""
    return np.sqrt(np.mean((x - y) ** 2))


def test_a_window_is_two_seconds_of_fifteen_joints_one_every_second():
    assert windows([standing(200), standing(39), standing(40)]).shape == (9 + 0 + 1, 40 * 45)
    assert windows([]).shape == (0, 45)


def test_the_autoencoder_reconstructs_better_than_the_mean(features, seen, held_out):
    of_mean = error(seen.mean(axis=0), held_out)
    assert error(features.reconstruction(held_out), held_out) < 0.5 * of_mean


def test_fitting_leaves_the_callers_random_numbers_as_they_were(seen):
    state = torch.get_rng_state()
    fit_windows(seen[:40])
    assert torch.equal(state, torch.get_rng_state())


def test_the_same_seed_gives_the_same_network(features, seen, held_out):
    torch.rand(3)
    again = fit_windows(seen)
    assert np.allclose(features.code(held_out), again.code(held_out), atol=1e-4)


def test_the_cache_keeps_one_entry_for_each_set_of_windows(seen, held_out, tmp_path):
    few = seen[:40]
    first, kept = fit_windows(few, tmp_path), fit_windows(few, tmp_path)
    assert np.array_equal(first.code(held_out), kept.code(held_out))
    assert len(list(tmp_path.iterdir())) == 1
    fit_windows(few[:-1], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "other windows are another entry"


def test_a_damaged_entry_of_the_cache_is_refused_by_name(seen, tmp_path):
    fit_windows(seen[:40], tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CorpusError, match=f"{path.name}: is a damaged"):
        fit_windows(seen[:40], tmp_path)


def test_two_windows_are_too_few_to_fit(seen):
    assert fit_windows(seen[:2]) is None and fit_windows(seen[:3]) is not None
