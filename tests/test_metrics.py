"""Each metric against a case whose answer is known: in closed form, or from another program."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from body.bvh import read_bvh
from body.joints import COMMON_BODY
from body.motion import BvhError
from body.rotations import turn_about_y
from body.size import hands_of
from lab import metrics
from lab.frechet import windows
from lab.metrics import Gesture

FPS = 20
RATE = 16_000


def standing(frames=100):
    """A Gesture of a body that stands still, hips 0.5 above the ankles."""
    height = dict(
        hips=0.5,
        chest=0.8,
        neck=0.9,
        head=1,
        shoulder=0.8,
        elbow=0.6,
        wrist=0.4,
        hip=0.5,
        knee=0.25,
        ankle=0,
    )
    places = np.zeros((16, 3))
    for j, name in enumerate(COMMON_BODY):
        side = {"left": 1, "right": -1}.get(name.split()[0], 0)
        places[j] = 0.1 * side, height[name.split()[-1]], 0
    places = np.repeat(places[None], frames, axis=0)  # [F, 16, 3]
    return Gesture(FPS, places, places - places[:, :1], np.zeros(0))


def moved(gesture, joint, path):
    """The gesture with one joint moved by path [F, 3]."""
    shift = np.zeros_like(gesture.places)
    shift[:, COMMON_BODY.index(joint)] = path
    return Gesture(FPS, gesture.places + shift, gesture.own + shift, gesture.strokes)


def along_x(path):
    """[F] -> [F, 3]."""
    return np.stack([path, 0 * path, 0 * path], axis=1)


# ---- energy onsets -----------------------------------------------------------------------------
def sound(seconds, starts=0.0):
    """A tone of 220 Hz that begins at `starts` seconds."""
    t = torch.arange(int(seconds * RATE)) / RATE
    return 0.3 * torch.sin(2 * np.pi * 220 * t) * (t > starts)


def test_onsets_of_known_bursts_are_found():
    times = np.array([0.5, 1.31, 2.0, 2.77])
    t = torch.arange(3 * RATE + 8000) / RATE
    bursts = [
        torch.exp(-(t - at).clamp(min=0) / 0.1) * torch.sigmoid((t - at) * 300) for at in times
    ]
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0))
    found = metrics.energy_onsets(sum(bursts) * noise)
    assert len(found) == 4 and np.abs(found - times).max() < 0.07


def test_strokes_on_onsets_beat_chance_and_random_strokes_do_not():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    t = torch.arange(60 * RATE) / RATE
    times = np.cumsum(rng.uniform(0.5, 2.0, 40))
    times = times[times < 59]
    level = sum(torch.exp(-(((t - at - 0.05) / 0.05) ** 2)) for at in times)
    waveform = torch.randn(len(t)) * level + 1e-3 * torch.randn(len(t))
    strokes = [metrics.energy_onsets(waveform)]
    on, chance, high, lucky = metrics.onset_hits(strokes, waveform, rng)
    assert on == 1 and chance < 0.35 and high < 0.5 and lucky == 0
    anywhere = [[np.sort(rng.uniform(0, 60, 40))] for _ in range(20)]
    random = np.array([metrics.onset_hits(strokes, waveform, rng) for strokes in anywhere])
    assert abs(np.mean(random[:, 0] - random[:, 1])) < 0.06
    assert 0.3 < np.mean(random[:, 3]) < 0.7


def test_speech_too_short_to_be_shifted_is_not_scored():
    rng, strokes = np.random.default_rng(0), [np.array([0.5])]
    assert np.isnan(metrics.onset_hits(strokes, sound(1.9), rng)).all()
    assert np.isfinite(metrics.onset_hits(strokes, sound(2.1), rng)).all()


def test_a_take_without_strokes_says_nothing_about_onsets():
    """Nor does one that is too short, nor a stroke that comes after the sound.

    Of four takes one is left, and its one stroke hits.
    """
    waveform, rng = sound(3.0, starts=1.0), np.random.default_rng
    none, one = np.zeros(0), metrics.energy_onsets(waveform)[:1]
    alone = metrics.onset_hits([one], waveform, rng(0))[:2]
    assert alone[0] == 1
    strokes, seconds = [none, one, one, one + 9], [3, 3, 1.5, 20]
    assert metrics.onset_hits_of_takes(strokes, seconds, [waveform] * 4, rng(0)) == alone
    assert np.isnan(metrics.onset_hits_of_takes([none], [3], [waveform], rng(0))).all()


# ---- motion and speech -------------------------------------------------------------------------
def test_correlation_finds_a_shift_of_three_frames_either_way():
    x = np.random.default_rng(0).normal(size=400)
    for shift in (3, -3, 0):
        curve = metrics.correlation_by_lag(x, np.roll(x, shift), 20)
        assert metrics.best_lag([curve], [400], FPS) == pytest.approx((1.0, shift / FPS))
        for lag in (-7, 4):  # against numpy, on the frames that both have
            y = np.roll(x, shift)
            a, b = (x[: 400 - lag], y[lag:]) if lag > 0 else (x[-lag:], y[:lag])
            assert curve[20 + lag] == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_correlation_with_what_does_not_move_is_not_defined():
    x = np.random.default_rng(0).normal(size=400)
    curve = metrics.correlation_by_lag(x, np.zeros(400), 20)
    assert np.isnan(metrics.best_lag([curve], [400], FPS)).all()


def test_short_takes_count_little_in_the_best_lag():
    """A take of 1 s, whose outer lags leave a frame or two, may agree by chance."""
    x = np.random.default_rng(0).normal(size=400)
    whole = metrics.correlation_by_lag(x, np.roll(x, 3), 20)
    chance = np.where(np.arange(41) == 39, 1.0, 0.0)
    best = metrics.best_lag([whole, chance, chance], [400, 20, 20], FPS)
    assert best == pytest.approx((whole[23] * 400 / 440, 3 / FPS), abs=1e-9)


def test_beat_alignment_of_shifted_beats():
    onsets = np.arange(1, 20, 1.0)
    for shift in (0, 0.05, 0.1, 0.3):
        aligned = metrics.beat_alignment(onsets, onsets + shift, 0.1)
        assert aligned == pytest.approx(np.exp(-(shift**2) / 0.02))
    # half of the onsets have no beat within 10 sigma
    assert metrics.beat_alignment(onsets, onsets[::2], 0.1) == pytest.approx(10 / 19, abs=1e-6)
    assert metrics.beat_alignment(onsets, np.zeros(0)) == 0
    assert np.isnan(metrics.beat_alignment(np.zeros(0), onsets))


def test_the_level_of_known_speech():
    """Half the amplitude is 6 dB below the loud parts, silence 35, at any frame rate."""
    t = torch.arange(4 * RATE) / RATE
    amplitude = torch.where(t < 2, 1.0, torch.where(t < 3, 0.5, 0.0))
    for fps in (20, 24, 30, 29.97):
        level = metrics.speech_level(torch.sin(2 * np.pi * 400 * t) * amplitude, fps)
        assert len(level) == int(4 * fps)
        assert np.allclose(level[: int(1.9 * fps)], 0, atol=0.1)
        half = level[int(2.1 * fps) : int(2.9 * fps)]
        assert np.allclose(half, 20 * np.log10(0.5), atol=0.1)
        assert (level[int(3.1 * fps) :] == -35).all()


# ---- motion alone ------------------------------------------------------------------------------
def test_jerk_of_a_cubic_and_of_a_sine():
    t = np.arange(400) / FPS
    path = np.stack([0.01 * t**3, 0 * t, 5 + t**2], axis=1)
    cubic = metrics.jerk(moved(standing(400), "left wrist", path))
    assert cubic.shape == (397, 2)
    assert np.allclose(cubic[:, 0], 6 * 0.01) and np.allclose(cubic[:, 1], 0, atol=1e-9)
    # third differences of A sin(w t) have the amplitude A (2 sin(w / 2 fps) fps)^3, near A w^3
    A, w = 0.2, 2 * np.pi * 0.7
    sine = metrics.jerk(moved(standing(400), "right wrist", along_x(A * np.sin(w * t))))[:, 1]
    amplitude = A * (2 * np.sin(w / 2 / FPS) * FPS) ** 3
    assert amplitude == pytest.approx(A * w**3, rel=0.01)
    assert sine.max() == pytest.approx(amplitude, rel=1e-3)
    assert sine.mean() == pytest.approx(2 / np.pi * amplitude, rel=0.01)


def test_feet_of_a_body_that_is_moved_at_known_speed_slide_at_that_speed():
    g, t = standing(200), np.arange(200) / FPS
    assert metrics.foot_sliding(g).max() == 0
    path = np.stack([0.3 * t, 0 * t, 0.4 * t], axis=1)
    pushed = Gesture(FPS, g.places + path[:, None], g.own, g.strokes)
    sliding = metrics.foot_sliding(pushed)
    assert np.allclose(sliding, 0.5) and len(sliding) == 2 * 199


def test_a_foot_that_is_moved_only_while_it_is_in_the_air_does_not_slide():
    frame = np.arange(200) % 20
    height = np.where((frame < 10)[:, None], 0, [0.0, 0.1, 0.0])  # [F, 3]
    path = height + along_x(np.cumsum(frame > 10) * 0.05)
    assert metrics.foot_sliding(moved(standing(200), "left ankle", path)).max() == 0


def test_diversity_of_a_known_offset():
    g = standing()
    away = moved(g, "left wrist", np.tile([0.03, 0, 0.04], (100, 1)))
    assert metrics.diversity([[g], [away]]) == pytest.approx(0.05 / 16)
    assert metrics.diversity([[g], [away], [g]]) == pytest.approx(2 / 3 * 0.05 / 16)
    assert metrics.diversity([[g], [g]]) == 0 and np.isnan(metrics.diversity([[g]]))


def test_range_of_motion_of_a_known_swing():
    """The left forearm swings +-40 degrees as a sine, whose 95th percentile is sin(85.5°)."""
    angle = np.radians(40) * np.sin(2 * np.pi * 0.5 * np.arange(4000) / FPS + 0.1)
    path = 0.2 * np.stack([0 * angle, 1 - np.cos(angle), np.sin(angle)], axis=1)
    swings = metrics.range_of_motion(moved(standing(4000), "left wrist", path))
    assert swings[1] == pytest.approx(80 * np.sin(0.95 * np.pi / 2), rel=0.01)
    assert np.allclose(swings[[0, 2, 3]], 0, atol=1e-6)


# ---- what is looked at -------------------------------------------------------------------------
@pytest.fixture(scope="module")
def take(tiny_corpus):
    """A recorded motion."""
    return read_bvh(next(tiny_corpus.glob("test/*.bvh")), FPS)


def test_a_gesture_does_not_depend_on_place_facing_or_unit(take):
    turn = turn_about_y(np.full(len(take), 2.0))
    rotations, positions = take.rotations.copy(), take.positions * 0.01
    rotations[:, 0] = turn @ rotations[:, 0]
    positions[:, 0] = (turn @ positions[:, 0, :, None])[..., 0] + [3, 0, -7]
    offsets = take.offsets * 0.01
    elsewhere = replace(take, rotations=rotations, positions=positions, offsets=offsets)
    here, there = metrics.look_at(take), metrics.look_at(elsewhere)
    assert np.allclose(here.own, there.own, atol=1e-9)


def test_a_gesture_faces_the_same_way_in_every_frame(take):
    own = metrics.look_at(take).own
    left, right = (own[:, COMMON_BODY.index(f"{side} hip")] for side in ("left", "right"))
    assert (left[:, 0] > 0).all() and np.allclose(left[:, 2], right[:, 2], atol=1e-9)
    in_front = own[:, COMMON_BODY.index("left wrist"), 2] > 0
    assert in_front.mean() > 0.5, "hands gesture in front"


def test_of_a_body_without_feet_all_but_its_feet_is_seen(take):
    names = [name.replace("Foot", "Paw") for name in take.names]
    seen, nameless = metrics.look_at(take), metrics.look_at(replace(take, names=names))
    assert len(metrics.foot_sliding(seen)) and len(metrics.foot_sliding(nameless)) == 0
    assert windows([nameless]).shape[1] == 40 * 9 * 3, "9 joints seen from the hips, for 2 s"
    assert np.isfinite(windows([nameless])).all()
    assert np.allclose(metrics.range_of_motion(nameless), metrics.range_of_motion(seen), atol=5)
    assert np.isfinite(metrics.diversity([[seen], [nameless]]))
    one_foot = [name.replace("LeftFoot", "Paw") for name in take.names]
    with pytest.raises(BvhError, match="left foot"):
        metrics.look_at(replace(take, names=one_foot))


def test_hands_are_seen_from_the_hips(take):
    walked = replace(take, positions=take.positions.copy())
    walked.positions[:, 0] += np.arange(len(take))[:, None] * [1.0, 0.2, 3.0]
    np.testing.assert_allclose(hands_of(walked), hands_of(take), atol=1e-5)
