"""docs/equations.md names lines, tests and sections that exist, and glossary.md twenty words."""

import json
import re

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (.+) \| `([\w/]+\.py)`: `(.+)` \| `(\w+\.py)`: `(\w+)` \| (\d), section (\d) \|$", re.M
)
ROWS = ROW.findall(PAGE)


def test_every_row_is_understood():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(ROWS) == len(rows) > 20


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_line_test_and_section_of_a_row_are_there(row):
    _, file, line, test_file, test, notebook, section = row
    lines = [each.strip() for each in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    assert line in lines
    assert f"\ndef {test}(" in (ROOT / "tests" / test_file).read_text(encoding="utf-8")
    (path,) = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert re.search(rf"^## {section} · ", text, re.M)


def test_the_glossary_has_some_twenty_words_in_order():
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| (.+?) \|", page, re.M)[1:]
    assert 20 <= len(words) <= 24
    plain = [word.replace("`", "").lower() for word in words]
    assert plain == sorted(plain)
