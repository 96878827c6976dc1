"""Copies of the project for students: without solutions, tests and what is for teachers.

    python -m notebooks.handout class anna ben     ->  class/anna, class/ben

A folder that is there already is left alone: nobody's answers are overwritten.
"""

import shutil
from pathlib import Path

from tools import HERE, InputError, Parser, run_script

# tests/ hold right answers too. Hidden folders are .git, .venv and caches
FOLDERS = {"tests", "runs", "cache", "corpora", "out", "__pycache__"}
FILES = {"solutions.py", "TEACHERS.md", "handout.py", "mark.py", "answers.py", "colab.py"}


def left_out(folder, names):
    """Names in a folder that students do not get, for shutil.copytree."""
    at_top, in_notebooks = Path(folder) == HERE, Path(folder) == HERE / "notebooks"
    return [
        name
        for name in names
        if name.startswith(".")
        or name == "__pycache__"
        or (at_top and name in FOLDERS)
        or (in_notebooks and name in FILES)
    ]


def main(arguments=None):
    """The command."""
    parser = Parser(prog="python -m notebooks.handout", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the copies go, a folder each")
    parser.add_argument("names", nargs="*", default=["student"], help="of the students")
    args = parser.parse_args(arguments)
    folder = args.folder.resolve()
    if folder == HERE or HERE in folder.parents:
        raise InputError(f"{args.folder}: lies in the project itself; give a folder elsewhere")
    for name in args.names:
        if Path(name).name != name or name.startswith("."):
            raise InputError(f"{name}: cannot be a folder's name")
    for name in args.names:
        copy = folder / name
        if copy.exists():
            print(f"{copy} is there already, and stays as it is")
            continue
        part = copy.with_name(f".{name}.part")  # a copy is there as a whole or not at all
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(HERE, part, ignore=left_out)
        part.rename(copy)
        print(copy)


if __name__ == "__main__":
    run_script(main)
