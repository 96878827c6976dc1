"""lab/kills.py: that it kills, and that it would notice what is lost."""

import json

import torch

from lab import kills
from recordings.puppet import write_corpus


def test_a_small_campaign_loses_nothing_and_goes_on_where_it_stopped(tmp_path):
    first = kills.campaign(tmp_path, 1, seed=3, kinds=["puppet"], say=lambda _: None)
    both = kills.campaign(tmp_path, 2, seed=3, kinds=["puppet"], say=lambda _: None)
    assert both[:1] == first and json.loads((tmp_path / "kills.json").read_text()) == both
    assert all(row["passed"] for row in both), both
    failed = dict(kind="once", passed=False)
    assert kills.table([*both, failed])[1:] == [
        "puppet       2       2",
        "once         1       0",
        "all          3       2",
    ]
    assert not list(tmp_path.glob("kill-*")), "what passed is deleted"


def test_other_numbers_are_noticed(tmp_path):
    state = dict(weights=torch.zeros(3), step=[1, (2, "a")])
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        for name in ("last.pt", "model.pt"):
            torch.save(state, tmp_path / run / name)
    assert kills.other_numbers(tmp_path / "a", tmp_path / "b") == ""
    (tmp_path / "b" / "sample-20.png").touch()
    assert "sample-20.png" in kills.other_numbers(tmp_path / "a", tmp_path / "b")
    torch.save(state | dict(weights=torch.tensor([0, 0, 1e-30])), tmp_path / "a" / "model.pt")
    assert kills.other_numbers(tmp_path / "a", tmp_path / "b") == "model.pt differs"
    assert not kills.same(state, state | dict(step=[1, (2, "b")]))


def test_a_half_corpus_and_what_is_left_over_are_noticed(tmp_path):
    write_corpus(tmp_path / "c", train=1, valid=0, test=1, seconds=4.0)
    write_corpus(tmp_path / "d", train=1, valid=0, test=1, seconds=4.0)
    assert kills.differences(tmp_path / "c", tmp_path / "d") == ""
    next((tmp_path / "c" / "test").glob("*.wav")).unlink()
    assert kills.differences(tmp_path / "c", tmp_path / "d")
    (tmp_path / ".c.0123abcd.part").mkdir()
    assert ".c.0123abcd.part" in kills.left_over(tmp_path)


def test_how_processes_ended_is_judged(tmp_path):
    assert kills.odd_end([-9, 0], tmp_path) == kills.odd_end([0, 0], tmp_path) == ""
    (tmp_path / "said").write_text("error: no idea")
    assert "error" in kills.odd_end([2, 0], tmp_path)
    (tmp_path / "said by the second").write_text("error: run: another run is at work in it")
    assert kills.odd_end([2, -9], tmp_path) == ""
    assert "gone" in kills.odd_end([0, 0], tmp_path)
    (tmp_path / "run" / "before").mkdir(parents=True)
    (tmp_path / "run" / "before" / "model.pt").touch()
    assert kills.odd_end([0, 0], tmp_path) == ""
    (tmp_path / "said").write_text("Traceback (most recent call last):")
    assert kills.odd_end([-9, 0], tmp_path) == "a traceback"
