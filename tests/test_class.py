"""What a teacher does with a class: copies without solutions, marks, Colab, a page to print."""

import csv
import json
import os
import re
import shutil
import sys

import pytest
from conftest import ROOT, assert_one_error_line, call, run

sys.path.insert(0, str(ROOT))
from lab import architecture  # noqa: E402
from notebooks import colab, handout, mark  # noqa: E402


# ---- copies for students -----------------------------------------------------------------------
def test_a_students_copy_has_no_solutions_and_is_never_overwritten(tmp_path):
    assert call(handout, tmp_path / "class", "anna").returncode == 0
    copy = tmp_path / "class" / "anna"
    names = {path.name for path in copy.rglob("*")}
    assert names.isdisjoint({"solutions.py", "TEACHERS.md", "mark.py", "tests", ".git", ".venv"})
    given = {"1_motion.ipynb", "7_changes.ipynb", "judging.py", "puppet.pt", "speech.wav"}
    assert given <= names
    assert not [path for path in (tmp_path / "class").iterdir() if path.name != "anna"]

    (copy / "notebooks" / "1_motion.ipynb").write_text("my answers")
    done = call(handout, tmp_path / "class", "anna", "ben")
    assert done.returncode == 0 and "stays as it is" in done.stdout
    assert (copy / "notebooks" / "1_motion.ipynb").read_text() == "my answers"
    assert (tmp_path / "class" / "ben" / "train.py").exists()


@pytest.mark.parametrize("arguments", [(ROOT / "class", "a"), ("elsewhere", "../a"), ("x", ".a")])
def test_a_copy_inside_the_project_or_with_an_odd_name_is_refused(arguments):
    assert_one_error_line(call(handout, *arguments))


# ---- marks -------------------------------------------------------------------------------------
def notebook(path, answers, before=""):
    """A notebook of a student: a cell each with the check below it, as ours are."""
    cells = ["import numpy as np\nimport torch\n\nimport checks", before]
    cells += [f"%time\n{text}\n\n\nprint(checks.{name}({name}))" for name, text in answers.items()]
    made = [dict(cell_type="code", source=cell.splitlines(keepends=True)) for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=made)))


def test_a_class_is_marked_into_one_table(tmp_path):
    right = "def q_sample(x0, t, eps, a):\n    return root(a[t]) * x0 + root(1 - a[t]) * eps"
    answers = dict(
        q_sample=right,
        posterior_mean="def posterior_mean(x0, x_t, t, betas, abar):\n    while True: pass",
        ddim_step="def ddim_step(x_t, eps, a, b)\n    return x_t",
        half_noise="half_noise = 500",
    )
    helper = "def root(x):\n    return x**0.5\n\nraise SystemExit('not run')"
    notebook(tmp_path / "anna" / "notebooks" / "3_diffusion.ipynb", answers, helper)
    wrong = right.replace("root(a[t]) * x0", "a[t] ** 0.5 * x0").replace("root(1 - a[t])", "1")
    notebook(tmp_path / "ben" / "3_diffusion.ipynb", dict(q_sample=wrong, ddim_step="1 / 0"))
    (tmp_path / "empty").mkdir()
    done = run("notebooks.mark", tmp_path, "--out", tmp_path / "marks.csv", "--seconds", 5)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "marks.csv", newline="", encoding="utf-8-sig") as file:
        anna, ben, empty = csv.DictReader(file)
    assert empty["student"] == "empty" and set(list(empty.values())[2:]) == {mark.NO_NOTEBOOK}
    assert anna["student"] == "anna" and ben["student"] == "ben"
    assert anna["right of 30"] == "1" and ben["right of 30"] == "0"
    assert anna["3.1 q_sample"] == "right"
    assert "does not end within 5 s" in anna["3.2 posterior_mean"]
    assert "cannot read the cell" in anna["3.3 ddim_step"]
    assert anna["3.4 half_noise"].startswith("wrong: half of the steps")
    assert anna["1.1 euler_zxy"] == "missing: no notebook"
    assert "the noise has no factor" in ben["3.1 q_sample"]
    assert "ZeroDivisionError" in ben["3.3 ddim_step"]
    assert ben["3.4 half_noise"] == "missing: its cell is not in the notebook"


def test_an_answer_uses_what_other_cells_define(tmp_path):
    halves = "import numpy as np\nHALF, TWO = 0.5, 2\ndef q_sample(x0, t, eps, a):\n"
    halves += "    return a[t] ** HALF * x0 + (1 - a[t]) ** HALF * eps\nscale = max(1, 2)"
    answers = dict(q_sample="", ddim_step="def ddim_step(x_t, eps, a, b):\n    return x_t * scale")
    notebook(tmp_path / "a" / "Copy of 3_diffusion (1).ipynb", answers, halves)
    row = dict(zip(mark.heading(), mark.row_of(tmp_path / "a", 20), strict=True))
    assert row["3.1 q_sample"] == "right"
    assert "'scale' is not defined" in row["3.3 ddim_step"]
    assert row["3.3 ddim_step"].endswith("constants and functions)")


def test_one_broken_notebook_spoils_no_other(tmp_path, capsys):
    answers = dict(half_noise="half_noise = 500")
    for name in ("dora_3_diffusion.ipynb", "old/3_diffusion.ipynb"):
        notebook(tmp_path / "d" / name, answers)
    os.utime(tmp_path / "d" / "old" / "3_diffusion.ipynb", (0, 0))
    for number, text in enumerate(("", "[]", '{"cells": 5}', "\0"), 4):
        name = ("network", "training", "judging", "changes")[number - 4]
        (tmp_path / "d" / f"{number}_{name}.ipynb").write_text(text)
    notebook(tmp_path / "d" / "thoughts.ipynb", answers)
    row = dict(zip(mark.heading(), mark.row_of(tmp_path / "d", 20), strict=True))
    assert row["3.4 half_noise"].startswith("wrong: half of the steps")
    broken = [said for name, said in row.items() if name[0] in "4567"]
    assert set(broken) == {"missing: the notebook cannot be read"}
    told = capsys.readouterr().out
    assert "old/3_diffusion.ipynb: not marked" in told and "thoughts.ipynb: not marked" in told
    assert len(told.splitlines()) == 2


def test_notebooks_as_they_are_handed_out_are_empty(tmp_path):
    (tmp_path / "c" / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "7_changes.ipynb", tmp_path / "c" / "notebooks")
    row = mark.row_of(tmp_path / "c", 20)
    assert row[:2] == ["c", 0] and row[-4:] == ["empty"] * 4
    assert row[2:-4] == ["missing: no notebook"] * 26


def test_a_folder_without_students_gets_one_line(tmp_path):
    assert_one_error_line(call(mark, tmp_path), "1_motion.ipynb")
    assert_one_error_line(call(mark, tmp_path / "none"), "no folder")


# ---- Colab, and paper --------------------------------------------------------------------------
def test_the_repositorys_name_is_written_into_badge_and_first_cell_once(tmp_path):
    path = tmp_path / "4_network.ipynb"
    shutil.copy(ROOT / "notebooks" / path.name, path)
    before = json.loads(path.read_text(encoding="utf-8"))
    for repository in ("anna/first", "ben/second"):
        colab.set_repository(path, repository)
    after = json.loads(path.read_text(encoding="utf-8"))
    title, first = ("".join(cell["source"]) for cell in after["cells"][:2])
    assert len(re.findall("Open in Colab", title)) == 1
    assert "github/ben/second/blob/main/notebooks/4_network.ipynb" in title
    assert 'REPOSITORY = "ben/second"' in first and "anna" not in title + first
    assert after["cells"][2:] == before["cells"][2:]
    assert_one_error_line(call(colab, "no-slash"), "OWNER/NAME")


def test_the_architecture_is_printed_on_two_pages(tmp_path):
    assert call(architecture, "--out", tmp_path / "a" / "b.pdf").returncode == 0
    pdf = (tmp_path / "a" / "b.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b(?!s)", pdf)) == 2
