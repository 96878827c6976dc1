"""The statistics of a talking body: by hand, against another program, and against two people."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import SHARED, assert_one_error_line, call, shared_files
from three_corpora import body, without_legs

from body.bvh import read_bvh
from body.rotations import turn_about_y
from lab import people
from recordings.pairs import find_pairs
from tools import InputError

# What ../shared/tools/people.py, which reads by pybvh, calls them
THEIRS = dict(
    hands_moving="hands moving, share of time",
    both_moving="both of them, of that",
    vertical_share="vertical share of the hands' path",
    range_sideways="hand range sideways, m",
    range_up="hand range up, m",
    range_front="hand range to the front, m",
    highest_hand="highest hand under the shoulder, m",
    least_distance="hands' least distance, m",
    speed_median="hand speed while moving, median m/s",
    speed_95="the same, 95%",
    shoulder_sd="shoulder rises and falls, sd cm",
    trunk_sd="trunk leans, sd degrees",
    elbow_range="elbow angle, 2% to 98%, degrees",
    hips_sway="hips sway, rms mm",
    neck_sd="neck bends, sd degrees",
    knee_mean="knee angle, mean degrees",
)


# ---- by hand -----------------------------------------------------------------------------------
def standing(frames=400):
    """A body at rest: {joint: [F, 3]} in metres, x to its left, y up, z to the front."""
    places = dict(hips=(0, 0, 0), neck=(0, 0.5, 0), head=(0, 0.6, 0))
    for side, sign in (("left", 1), ("right", -1)):
        places |= {
            f"{side} shoulder": (sign * 0.2, 0.5, 0),
            f"{side} elbow": (sign * 0.2, 0.25, 0),
            f"{side} wrist": (sign * 0.2, 0.25, 0.25),
            f"{side} hip": (sign * 0.1, 0, 0),
            f"{side} knee": (sign * 0.1, -0.4, 0.0),
            f"{side} ankle": (sign * 0.1, -0.4, 0.4),
        }
    return {name: np.tile(np.array(place, float), (frames, 1)) for name, place in places.items()}


T = np.arange(400) / people.FPS  # 20 s


def test_hands_that_move_as_told():
    """The left hand goes up evenly by 0.5 m/s for the first half; the right goes sideways too."""
    places, up = standing(), 0.5 * np.minimum(T, 10)
    places["left wrist"][:, 1] += up
    places["right wrist"][:, 0] -= np.where(T < 5, 0.0, 0.3 * (np.minimum(T, 15) - 5))
    got = people.of_hands(places)
    assert got["hands_moving"] == pytest.approx(0.75, abs=0.01)
    assert got["both_moving"] == pytest.approx(0.25 / 0.75, abs=0.01)
    assert got["vertical_share"] == pytest.approx(5 / (5 + 3))
    assert got["speed_median"] == pytest.approx(0.4, abs=0.11)
    assert got["speed_95"] == pytest.approx(0.5)
    assert got["range_up"] == pytest.approx(np.subtract(*np.percentile(up, (98, 2))) / 2)
    assert got["range_front"] == pytest.approx(0, abs=1e-9)
    assert got["highest_hand"] == pytest.approx(0.25 - 5.0)
    assert got["least_distance"] == pytest.approx(0.4, abs=0.05)


def test_hands_at_rest_have_no_speed():
    got = people.of_hands(standing())
    assert got["hands_moving"] == 0 and got["least_distance"] == pytest.approx(0.4)
    assert all(np.isnan(got[name]) for name in ("both_moving", "vertical_share", "speed_95"))


def test_angles_and_sway_of_a_body_that_moves_as_told():
    """The trunk swings by +-10 degrees as a sine, whose rms is 10 / sqrt(2); so does the neck."""
    places, angle = standing(4000), np.radians(10) * np.sin(np.arange(4000) * np.pi / 100)
    aside = np.stack([np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    places["neck"] = 0.5 * aside
    places["head"] = places["neck"] + 0.1 * aside
    for side in ("left", "right"):
        places[f"{side} shoulder"] = places["neck"] + (0, 0.03, 0)
        places[f"{side} shoulder"][::2, 1] -= 0.06  # 3 cm up, 3 cm down
        places[f"{side} elbow"] = places[f"{side} shoulder"] - (0, 0.25, 0)
        places[f"{side} wrist"] = places[f"{side} elbow"] + (0, 0, 0.25)
    hips = 0.1 * np.stack([np.cos(T * 2), 0 * T, np.sin(T * 2)], axis=1)  # a circle of 10 cm
    got = people.of_body(places, hips)
    assert got["trunk_sd"] == pytest.approx(10 / np.sqrt(2), rel=0.01)
    assert got["neck_sd"] == pytest.approx(10 / np.sqrt(2), rel=0.01)
    assert got["shoulder_sd"] == pytest.approx(3)
    assert got["elbow_range"] == pytest.approx(0, abs=1e-6)
    assert got["knee_mean"] == pytest.approx(90)
    assert got["hips_sway"] == pytest.approx(100, rel=0.02)
    still = people.of_body(places, 0 * hips)
    assert np.isnan(still["hips_sway"]) and np.isnan(still["knee_mean"]), "legs not recorded"


def test_the_body_is_seen_from_its_hips_in_metres(tiny_corpus):
    take = read_bvh(find_pairs(tiny_corpus)["test"][0][0])
    places, hips = people.seen_from_the_hips(take)
    assert len(hips) == pytest.approx(12 * people.FPS, abs=1) and not places["hips"].any()
    for side, sign in (("left", 1), ("right", -1)):
        limb = [places[f"{side} {joint}"] for joint in ("shoulder", "elbow", "wrist")]
        bones = np.linalg.norm(np.diff(limb, axis=0), axis=-1).mean(axis=1)
        assert bones.sum() == pytest.approx(0.53) and (sign * limb[0][:, 0] > 0).all()
        assert (limb[2][:, 2] > 0).mean() > 0.5, "hands gesture in front"
    assert (places["neck"][:, 1] > 0).all()


def test_they_do_not_depend_on_unit_place_or_facing(tiny_corpus):
    take = read_bvh(find_pairs(tiny_corpus)["test"][0][0])
    turn = turn_about_y(np.full(len(take), 2.0))
    rotations, positions = take.rotations.copy(), take.positions * 0.01
    rotations[:, 0] = turn @ rotations[:, 0]
    positions[:, 0] = (turn @ positions[:, 0, :, None])[..., 0] + [3, 0, -7]
    elsewhere = replace(take, rotations=rotations, positions=positions, offsets=take.offsets * 0.01)
    assert people.statistics(elsewhere) == pytest.approx(people.statistics(take), rel=1e-6)


# ---- two people --------------------------------------------------------------------------------
def test_limits_are_a_third_wider_outwards():
    assert people.limits("hands_moving") == pytest.approx((0.46, 0.83 * 4 / 3))
    assert people.limits("hips_sway") == pytest.approx((127 * 2 / 3, 127 * 4 / 3))
    assert people.limits("highest_hand") == pytest.approx((-0.13 * 4 / 3, -0.05 * 2 / 3))
    middle = {name: np.mean([x for x in row[1:] if x]) for name, row in people.STATISTICS.items()}
    assert len(people.COUNTED) == 15 and all(people.within(middle).values())
    outside = people.within(middle | dict(highest_hand=0.0, hips_sway=float("nan")))
    assert [name for name, mark in outside.items() if not mark] == ["highest_hand", "hips_sway"]


def test_files_count_by_their_seconds_and_nothing_counts_what_is_not_defined(monkeypatch):
    values = dict(a=1.0, b=3.0, c=float("nan"))
    rest = dict.fromkeys(people.STATISTICS, float("nan"))
    stub = {name: rest | dict(trunk_sd=value) for name, value in values.items()}

    class Named(str):
        frame_time = 0.5

        def __len__(self):
            return dict(a=30, b=10, c=50)[str(self)]

    monkeypatch.setattr(people, "statistics", lambda motion: stub[str(motion)])
    means = people.mean_statistics(list(map(Named, "abc")))
    assert means["trunk_sd"] == pytest.approx((1 * 30 + 3 * 10) / 40)
    assert np.isnan(means["neck_sd"])


def test_pieces_are_whole_and_follow_each_other(tiny_corpus):
    take = read_bvh(find_pairs(tiny_corpus)["test"][0][0], people.FPS)
    thrice = {x: np.concatenate([getattr(take, x)] * 3) for x in ("rotations", "positions")}
    long, seconds = replace(take, **thrice), len(take) / people.FPS
    cut = people.pieces([long, take], seconds)
    assert [len(piece) for piece in cut] == [len(take)] * 4
    assert all(np.array_equal(piece.rotations, take.rotations) for piece in cut)
    assert len(people.pieces([long], 1.9 * seconds)) == 1
    assert not people.pieces([take], 1.1 * seconds)


def test_each_piece_is_counted_and_none_gets_one_line(tiny_corpus, capsys):
    column = f"puppet={tiny_corpus}/train/*.bvh"
    people.main([column, "--pieces", "4"])
    assert re.search(r"puppet, each of \d+ pieces of 4 s: \d+ to \d+,", capsys.readouterr().out)
    with pytest.raises(InputError, match="no take is as long"):
        people.main([column, "--pieces", "1000"])
    with pytest.raises(SystemExit):
        people.main([column, "--pieces", "nan"])


@pytest.mark.parametrize(
    "path", shared_files("people/zeggs/*.bvh") + shared_files("people/beat/*.bvh")
)
def test_recorded_people_are_as_their_row_says(path):
    column = 1 if "Speech" in path.name else 2
    got = people.statistics(read_bvh(path))
    for name, row in people.STATISTICS.items():
        if row[column] is None:  # legs not recorded
            assert np.isnan(got[name])
        else:  # the table has two digits
            assert got[name] == pytest.approx(row[column], rel=0.015, abs=0.006), name


@pytest.fixture
def trial(monkeypatch):
    """The same statistics by another program."""
    pytest.importorskip("pybvh")
    if not (SHARED.parent / "tools/people.py").exists():
        pytest.skip("no ../shared/tools/people.py")
    monkeypatch.syspath_prepend(SHARED.parent / "tools")
    monkeypatch.delitem(sys.modules, "people", raising=False)
    import people as theirs

    return theirs.stats


def assert_alike(ours, theirs):
    """To 1%; to 1.5% for fast hands: they interpolate places along chords, we joints on arcs."""
    for name, other in THEIRS.items():
        if not np.isnan(ours[name]):
            near = dict(rel=0.015 if name == "speed_95" else 0.01, abs=2e-3)
            assert ours[name] == pytest.approx(theirs[other], **near), name


@pytest.mark.parametrize(
    "path", shared_files("people/zeggs/*.bvh") + shared_files("people/beat/*.bvh")
)
def test_another_program_finds_the_same_of_people(path, trial):
    assert_alike(people.statistics(read_bvh(path)), trial(str(path)))


def test_another_program_finds_the_same_of_the_puppet(tiny_corpus, trial):
    path = find_pairs(tiny_corpus)["test"][0][0]
    assert_alike(people.statistics(read_bvh(path)), trial(str(path)))


# ---- the command -------------------------------------------------------------------------------
def test_the_table_marks_what_is_outside_and_counts_what_is_within(tiny_corpus, tmp_path):
    columns = f"a={tiny_corpus}/test/*.bvh", f"b={tiny_corpus}/**/*.bvh"
    done = call(people, *columns, "--json", tmp_path / "p.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 16 + 2 and lines[0].split()[-2:] == ["a", "b"]
    ((bvh, _),) = find_pairs(tiny_corpus)["test"]
    inside = people.within(people.statistics(read_bvh(bvh)))
    assert lines[-2] == f"a: {sum(inside.values())} of 15 within"
    marked = [line.split()[-2].endswith("!") for line in lines[1:16]]
    assert marked == [not inside[name] for name in people.COUNTED]


@pytest.mark.parametrize("words,said", [("talk.bvh", "not LABEL=GLOB"), ("a=no/*.bvh", "no such")])
def test_what_cannot_be_used_gets_one_line(words, said):
    assert_one_error_line(call(people, words), said)


def test_of_an_upper_body_all_but_its_legs_is_measured():
    whole, upper = (people.statistics(m) for m in (body("zeggs"), without_legs(body("zeggs"))))
    for name, value in whole.items():
        if name in ("hips_sway", "knee_mean"):
            assert np.isnan(upper[name]) and not np.isnan(value)
        else:
            assert upper[name] == pytest.approx(value, nan_ok=True), name
