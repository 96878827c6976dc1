"""What README and docs say of the project is so: links, lengths, commands."""

import importlib
import re
import sys

import pytest
from conftest import ROOT

from beyond.recipes import DEPARTURES

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("results", "pretrained", "notebooks", "assets")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"(?:\.venv/bin/)?python3? (-m [\w.]+|\w+\.py)((?: [^`\n#|]+)?)")


def without_code(text):
    """Markdown without its code blocks and code spans."""
    return re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    titles = [title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)]
    return {re.sub(r"[^\w-]", "", title) for title in titles}


# ---- links -------------------------------------------------------------------------------------
def test_anchors_are_those_of_github():
    text = "# A run: the paper's size\n\n```\n# no title\n```\n\n## `x.py`, and _y_\n"
    assert anchors(text) == {"a-run-the-papers-size", "xpy-and-_y_"}
    assert without_code("a `[b](c)` [d](e)\n```\n[f](g)\n```\n") == "a  [d](e)\n\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_of_docs_can_be_found_from_readme():
    linked = set(re.findall(r"\((docs/\w+\.md)", README))
    assert linked == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}


# ---- README: three screens ---------------------------------------------------------------------
def test_readme_is_three_screens():
    lines = README.splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 100] == []


def test_the_tour_says_how_long_the_files_are():
    tour = re.findall(r"^\| `(\w+\.py)` \| (\d+) \| \d+ \|", README, re.M)
    spine = ["diffmotion.py", "wavlm_loader.py", "data.py", "train.py", "sample.py"]
    assert [name for name, _ in tour] == spine
    for name, count in tour:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) == int(count), f"{name} has {len(lines)} lines"


def test_every_departure_is_a_row_of_readme_and_of_docs():
    """In the order of DEPARTURES, so that a reader can go from one to the other."""
    rows = re.findall(r"^\|[^|]*\|[^|]*\| `(\w+)` \|", README, re.M)
    assert rows == list(DEPARTURES)
    page = (ROOT / "docs" / "departures.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == list(DEPARTURES)


# ---- commands ----------------------------------------------------------------------------------
def commands():
    """{(module, "view" or ""): options} of all commands on all pages."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", "")
        for what, words in COMMAND.findall(text):
            module = what.removeprefix("-m ").removesuffix(".py")
            mode = "view" if words.strip().startswith("view") else ""
            found.setdefault((module, mode), set()).update(re.findall(r"(?<= )--[a-z-]+", words))
    return {key: found[key] for key in found if key[0] not in ("venv", "pytest")}


@pytest.mark.parametrize("module, mode", sorted(commands()))
def test_every_command_takes_its_options(module, mode, monkeypatch, capsys):
    """python -m MODULE --help, in this process."""
    script = importlib.import_module(module.replace("/", "."))
    monkeypatch.setattr(sys, "argv", [module, *mode.split(), "--help"])
    with pytest.raises(SystemExit) as left:
        script.main()
    said = capsys.readouterr().out
    assert left.value.code == 0
    if module == "lab.baselines":  # behind the name stand train.py's
        return
    for option in commands()[module, mode]:
        assert re.search(rf"{option}\b", said), option
