"""lab/mutate.py: that its list is up to date, that a handful is noticed, and that it would say so.

All of the list takes minutes: python -m lab.mutate
"""

import re

import pytest
from conftest import ROOT

from lab import mutate
from tools import InputError

ALL = mutate.read_list()
HANDFUL = ("no gate_1", "the fade begins a frame late")  # one of the network, one of the feet


def test_each_text_is_there_just_once_and_becomes_python():
    for mutation in ALL:
        compile(mutation.made(), mutation.file, "exec")
    names = [mutation.what for mutation in ALL]
    assert len(ALL) >= 100 and len(set(names)) == len(names)


def test_each_of_their_tests_is_there():
    for mutation in ALL:
        file, _, name = mutation.test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, re.M), mutation


def test_a_handful_is_noticed(tmp_path):
    some = [mutation for mutation in ALL if mutation.what in HANDFUL]
    said = []
    assert mutate.judged(some, ROOT, tmp_path, said.append) == ["noticed"] * len(HANDFUL), said


@pytest.fixture
def project(tmp_path):
    """A project of one function and two tests of it."""
    (tmp_path / "small" / "tests").mkdir(parents=True)
    (tmp_path / "small" / "area.py").write_text("def area(a, b):\n    return a * b\n")
    tests = "from area import area\n\n\ndef test_two():\n    assert area(2, 2) == 4\n\n\n"
    tests += "def test_long():\n    assert area(2, 3) == 6\n"
    (tmp_path / "small" / "tests" / "test_area.py").write_text(tests)
    return tmp_path / "small"


def mistake(what="a sum", test="two", right="a * b", wrong="a + b", why=""):
    return mutate.Mutation(what, "area.py", f"tests/test_area.py::test_{test}", right, wrong, why)


def test_what_is_noticed_and_what_survives_is_said_and_kept(project, tmp_path):
    two = [mistake(why="2 + 2 is 2 * 2"), mistake(test="long")]
    said, out = [], tmp_path / "out"
    outcomes = mutate.judged(two, project, out, said.append)
    assert outcomes == ["explained", "noticed"] and said[1].endswith("test_long")
    three = [*two, mistake()]
    assert mutate.table(three, [*outcomes, "survived"])[1].split() == ["spine", "3", "1", "1", "1"]
    assert "a * b" in (project / "area.py").read_text(), "the project itself stays as it is"
    when = (out / "outcomes.json").stat().st_mtime_ns
    assert mutate.judged(two, project, out, said.append) == outcomes
    assert (out / "outcomes.json").stat().st_mtime_ns == when, "nothing is tried again"


def test_a_test_that_fails_by_itself_notices_nothing(project, tmp_path):
    (project / "area.py").write_text("def area(a, b):\n    return 5 or a * b\n")
    with pytest.raises(InputError, match="without a mistake"):
        mutate.judged([mistake()], project, tmp_path / "out")


def test_a_list_out_of_date_gets_one_line(project, tmp_path):
    with pytest.raises(InputError, match="is 0 times in area.py"):
        mutate.judged([mistake(right="a / b")], project, tmp_path / "out")
    (tmp_path / "list.txt").write_text("file: a.py\ntest: t.py::test_a\nwhat: b\n- c\n+ d\noops\n")
    with pytest.raises(InputError, match="line 6"):
        mutate.read_list(tmp_path / "list.txt")


def test_the_list_is_read_as_it_is_written(tmp_path):
    lines = "# a,file: a.py,test: t.py::x,,what: b,-     c,-     d,+     e,why: f,what: g,- h,+"
    (tmp_path / "list.txt").write_text(lines.replace(",", "\n"))
    first, second = mutate.read_list(tmp_path / "list.txt")
    assert first == mutate.Mutation("b", "a.py", "t.py::x", "    c\n    d", "    e", "f")
    assert second == mutate.Mutation("g", "a.py", "t.py::x", "h", "")
