"""lab/torture.py: that damage gives one line or a whole answer, and that anything else is seen."""

import json
import sys
import time

import pytest
from conftest import run

from lab import torture
from tools import InputError


def test_damage_by_chance_gives_one_line_or_a_whole_answer(tmp_path):
    """A small part of `python -m lab.torture`; of its kills there is one in test_kills.py."""
    sizes = dict(checkpoints=20, bvh=60, sounds=60, kills=0)
    given = [word for kind, n in sizes.items() for word in (f"--{kind}", n)]
    done = run("lab.torture", *given, "--out", tmp_path, "--json", tmp_path / "table.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "table.json").read_text())
    for kind in ("checkpoints", "bvh", "sounds"):
        outcomes = found[kind]["outcomes"]
        assert outcomes["one line"] + outcomes["fine"] == found[kind]["tried"] == sizes[kind]
        assert outcomes["one line"] >= 5 and outcomes["fine"] >= 1


def works():
    """{outcome: something that must be judged so}."""

    def refuses():
        raise InputError("a.bvh: is no motion; export it again")

    def fails():
        raise ValueError("a bug")

    def says_two():
        sys.stderr.write("error: one\n")
        raise InputError("two")

    return {
        "fine": lambda: True,
        "wrong": lambda: False,
        "one line": refuses,
        "traceback": fails,
        "traceback, or two lines": says_two,
        "one line for too much memory": lambda: bytearray(10**9),
        "hang": lambda: time.sleep(30),
    }


@pytest.mark.parametrize("outcome", works())
def test_how_a_case_ended_is_judged(outcome, tmp_path):
    limits = dict(seconds=1 if outcome == "hang" else 30, memory=5 * 10**8)
    found, said = torture.outcome_of(works()[outcome], tmp_path, **limits)
    assert outcome.startswith(found), said


def test_the_same_command_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setitem(torture.WORKS, "sounds", lambda path, _: True)
    seen = []
    monkeypatch.setitem(
        torture.DAMAGES, "sounds", lambda data, seed: (seen.append(seed), (data, seed))[1]
    )
    torture.damage("sounds", 2, 7, tmp_path)
    found = torture.damage("sounds", 4, 7, tmp_path)
    assert seen == ["7 0", "7 1", "7 2", "7 3"] and found["tried"] == 4 and found["bad"] == []
    assert torture.damage("sounds", 4, 7, tmp_path) == found and len(seen) == 4
    monkeypatch.setitem(torture.WORKS, "sounds", lambda path, _: False)
    bad = torture.damage("sounds", 1, 8, tmp_path, say=lambda _: None)
    assert bad["outcomes"] == {"wrong": 1} and bad["bad"][0][:3] == [0, "8 0", "wrong"]
    lines = torture.table(dict(sounds=bad, bvh=found))
    assert [line.split()[:3] for line in lines[1:]] == [["sounds", "1", "0"], ["bvh", "4", "4"]]
