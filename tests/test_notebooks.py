"""The notebooks run from top to bottom, and name nothing that is not there.

The exercises' checks have tests of their own: test_exercises.py.
"""

import ast
import importlib
import re
import sys

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

import diffmotion
from beyond.departures import ContextEncoder, Innovations
from beyond.recipes import DEPARTURES
from body.motion import Motion
from body.pose import PoseCodec

sys.path.insert(0, str(ROOT / "notebooks"))
import checks  # noqa: E402
from answers import code_cells, parsed  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path, kind):
    """The code or markdown cells of a notebook."""
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def asked_in(cells):
    """Names of the exercises that these cells check."""
    return [name for c in cells for name in re.findall(r"^print\(checks\.(\w+)\(", c.source, re.M)]


@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path):
    book = nbformat.read(path, as_version=4)
    # 600 s stop what hangs; the slowest cell takes half a minute on an idle core
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=where).execute()
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    outputs = [o for cell in code for o in cell.outputs if o.output_type == "stream"]
    said = [o["text"] for o in outputs if o.name == "stdout"]
    empty = [text for text in said if text.startswith("empty: ")]
    message = "every exercise is still to be done, and its check says so"
    assert len(empty) == len(asked_in(code)) >= 3, message


@each_notebook
def test_a_committed_notebook_was_run_in_order_and_without_a_complaint(path):
    code = cells_of(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_each_notebook_asks_for_its_checks_in_their_order():
    asked = {int(path.stem[0]): asked_in(cells_of(path, "code")) for path in NOTEBOOKS}
    assert asked == {n: [c.__name__ for c in each] for n, each in checks.EXERCISES.items()}


# ---- what we changed ---------------------------------------------------------------------------
def test_no_answer_takes_the_name_of_an_import():
    """Cells above would then call the answer, which is empty at first."""
    for path in NOTEBOOKS:
        statements = [s for cell in code_cells(path) for s in parsed(cell)]
        imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
        imported = {alias.asname or alias.name for s in imports for alias in s.names}
        assert imported.isdisjoint(asked_in(cells_of(path, "code"))), path.name


def test_each_departure_has_its_section_with_its_price_in_notebook_7():
    path = ROOT / "notebooks" / "7_changes.ipynb"
    text = "\n".join(cell.source for cell in cells_of(path, "markdown"))
    titles = re.findall(r"^### (\w+)$", text, re.M)
    prices = [p for c in cells_of(path, "code") for p in re.findall(r'price\("(\w+)"\)', c.source)]
    assert titles == prices == list(DEPARTURES)


OF_OURS = re.compile(
    r"beyond\.departures|beyond\.muon|SplitAdaLN|ContextEncoder|Innovations|innovation|segment_mask"
    r"|predict_v|balanced_loss|[Mm]omentum|our recipe|--undo"
)


@pytest.mark.parametrize("path", NOTEBOOKS[:5], ids=lambda path: path.stem)
def test_no_departure_is_mentioned_before_its_time(path):
    """Averaged weights, guidance and the solvers have theirs in notebooks 3 and 5."""
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    assert OF_OURS.findall(text) == []


@each_notebook
def test_the_first_cell_does_nothing_outside_colab(path):
    first = cells_of(path, "code")[0]
    assert "COLAB_RELEASE_TAG" in first.source and first.outputs == []
    lines = first.source.splitlines()
    assert all(line.startswith(("#", "import os", "REPOSITORY", "if ", "    ")) or not line
               for line in lines)  # fmt: skip


# ---- names in the text -------------------------------------------------------------------------
PLACES = ("body", "recordings", "show", "beyond", "lab")  # packages
FILES = ("diffmotion", "wavlm_loader", "data", "train", "sample", "tools", "checks")
CLASSES = dict(
    DiffMotion=diffmotion.DiffMotion(1, 1, width=2, depth=1, heads=1),  # layers are the instance's
    GestureEncoder=diffmotion.GestureEncoder,
    NoiseSchedule=diffmotion.NoiseSchedule,
    Block=diffmotion.Block,
    ContextEncoder=ContextEncoder,
    Innovations=Innovations,
    Motion=Motion,
    PoseCodec=PoseCodec,
)


def exists(name):
    """Is there something of this dotted name?"""
    first, *rest = name.split(".")
    if first in CLASSES:
        thing = CLASSES[first]
    elif first in FILES:
        thing = importlib.import_module(first)
    else:
        try:
            thing = importlib.import_module(f"{first}.{rest.pop(0)}")
        except ModuleNotFoundError:
            return False
    for part in rest:
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


@each_notebook
def test_every_function_that_a_notebook_names_exists(path):
    """Text goes out of date in silence: `module.name` must be something that module has."""
    text = "\n".join(cell.source for cell in cells_of(path, "markdown"))
    homes = "|".join((*PLACES, *FILES, *CLASSES))
    named = set(re.findall(rf"`((?:{homes})(?:\.\w+)+)", text))
    named = {name for name in named if not name.endswith((".py", ".md"))}
    assert len(named) >= 3 and [name for name in sorted(named) if not exists(name)] == []


@each_notebook
def test_every_module_and_file_that_a_notebook_names_exists(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
    files = set(re.findall(r"`((?:[\w]+/)*[\w-]+\.(?:py|md|json|png))`", text))
    folders = ROOT, ROOT / "lab", ROOT / "notebooks"
    for file in files:
        assert any((folder / file).exists() for folder in folders), file


# ---- the teachers' page ------------------------------------------------------------------------
PAGE = ROOT / "notebooks" / "TEACHERS.md"


def test_the_teachers_page_names_every_exercise():
    there = [
        f"{path.stem[0]}.{number}"
        for path in NOTEBOOKS
        for cell in cells_of(path, "markdown")
        for number in re.findall(r"^\*\*(\d) · ", cell.source, re.MULTILINE)
    ]
    page = PAGE.read_text()
    assert re.findall(r"^\| (\d\.\d)", page, re.MULTILINE) == there
    assert f"{len(there)} exercises" in page


def test_the_plans_of_the_sessions_last_90_minutes():
    sessions = PAGE.read_text().split("## Session")[1:]
    minutes = [re.findall(r"^\| (\d+) \|", part, re.MULTILINE) for part in sessions]
    assert [sum(map(int, each)) for each in minutes] == [90, 90]
