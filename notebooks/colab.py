"""For whoever publishes the project: make the notebooks run in Colab.

    python -m notebooks.colab OWNER/NAME

writes the repository's name on GitHub into the first cell of every notebook, which clones it in
Colab and does nothing elsewhere, and a badge that opens the notebook there.
"""

import json
import re
from pathlib import Path

from tools import Parser, run_script, written_beside

FOLDER = Path(__file__).resolve().parent
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
ADDRESS = "https://colab.research.google.com/github/{}/blob/main/notebooks/{}"


def set_repository(path, repository):
    """Badge and first cell of one notebook."""
    book = json.loads(path.read_text(encoding="utf-8"))
    title, first = book["cells"][:2]
    lines = [line for line in "".join(title["source"]).splitlines() if BADGE not in line]
    lines[1:1] = ["", f"{BADGE}({ADDRESS.format(repository, path.name)})"]
    text = re.sub(r"^REPOSITORY = .*?(?=  #)", f'REPOSITORY = "{repository}"',
                  "".join(first["source"]), flags=re.M)  # fmt: skip
    title["source"] = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).splitlines(keepends=True)
    first["source"] = text.splitlines(keepends=True)
    with written_beside(path) as beside:
        beside.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments=None):
    """The command."""
    parser = Parser(prog="python -m notebooks.colab", description=__doc__.splitlines()[0])
    parser.add_argument("repository", metavar="OWNER/NAME", help="of the repository on GitHub")
    repository = parser.parse_args(arguments).repository
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        parser.error(f"{repository}: give OWNER/NAME, as GitHub spells it")
    for path in sorted(FOLDER.glob("*.ipynb")):
        set_repository(path, repository)
        print(ADDRESS.format(repository, path.name))


if __name__ == "__main__":
    run_script(main)
