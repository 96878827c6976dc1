"""Mark the notebooks of a class: one row a student, one column an exercise, as CSV.

    python -m notebooks.mark class --out marks.csv

class/ holds a folder for each student, as notebooks.handout makes them, with that student's
notebooks anywhere inside, under names that still have ours in them (dora_6_judging.ipynb). The
students' code is run, with your rights: read it first, or mark on a machine where it can do no
harm.
"""

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checks  # noqa: E402

from tools import HERE, InputError, Parser, run_script, written_beside  # noqa: E402

NO_NOTEBOOK = "missing: no notebook"
OURS = r"(?<!\d)([1-7])_(motion|hearing|diffusion|network|training|judging|changes)"


def notebooks_of(student):
    """A student's notebooks -> {number: path}, and the paths that are marked not.

    Of several copies the one that was saved last is marked.
    """
    found, others = {}, []
    for path in sorted(student.rglob("*.ipynb"), key=lambda path: path.stat().st_mtime):
        if ".ipynb_checkpoints" in path.parts:
            continue
        ours = re.search(OURS, path.name)
        if not ours or int(ours[1]) in found:
            others.append(found[int(ours[1])] if ours else path)
        if ours:
            found[int(ours[1])] = path
    return found, others


def marked(wanted, seconds):
    """{exercise: what the check says} for {notebook: exercises}, in a process of its own.

    If it stops early, because an answer does not end, another one goes on with the rest.
    """
    said = {}
    while names := [name for each in wanted.values() for name in each]:
        command = [sys.executable, "-m", "notebooks.answers", f"{seconds:g}", json.dumps(wanted)]
        limit = 120 + seconds * len(names)  # where an answer stops Python as a whole
        with contextlib.suppress(subprocess.TimeoutExpired), tempfile.TemporaryFile() as out:
            try:
                subprocess.run(
                    command, cwd=HERE, stdout=out, stderr=subprocess.DEVNULL, timeout=limit
                )
            finally:
                out.seek(0)
                said |= dict(json.loads(line) for line in out if line.endswith(b"\n"))
        if said.keys().isdisjoint(names):
            said[names[0]] = "wrong: the cell, or a cell before it, stops Python itself"
        wanted = {path: [n for n in each if n not in said] for path, each in wanted.items()}
    return said


def row_of(student, seconds):
    """A student's row: name, how many are right, and what is said of each exercise."""
    paths, others = notebooks_of(student)
    for path in others:
        print(f"{path}: not marked (a newer copy is, or its name is none of ours)")
    names = {n: [check.__name__ for check in each] for n, each in checks.EXERCISES.items()}
    there = {str(path.resolve()): names[n] for n, path in paths.items()}
    said = marked(there, seconds)
    said = [said.get(name, NO_NOTEBOOK) for each in names.values() for name in each]
    words = [text.split(":")[0] if text.startswith(("right", "empty")) else text for text in said]
    return [student.name, words.count("right"), *words]


def heading():
    """The first row of the table."""
    numbered = [
        f"{number}.{n} {check.__name__}"
        for number, each in checks.EXERCISES.items()
        for n, check in enumerate(each, 1)
    ]
    return ["student", f"right of {len(numbered)}", *numbered]


def main(arguments=None):
    """The command."""
    parser = Parser(prog="python -m notebooks.mark", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with a folder for each student")
    parser.add_argument("--out", type=Path, default=Path("marks.csv"), help="default: marks.csv")
    limit = "that an answer may take (default: %(default)g)"
    parser.add_argument("--seconds", type=float, default=10, help=limit)
    args = parser.parse_args(arguments)
    if not args.folder.is_dir():
        raise InputError(f"{args.folder}: is no folder; give the one with the students' folders")
    students = [p for p in sorted(args.folder.iterdir()) if p.is_dir() and p.name[0] != "."]
    if not any(notebooks_of(student)[0] for student in students):
        raise InputError(f"{args.folder}: no folder in it has a notebook like 1_motion.ipynb")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(heading())
    for student in students:
        row = row_of(student, args.seconds)
        writer.writerow(row)
        print(f"{row[0]:24} {row[1]:3} right")
    with written_beside(args.out) as beside:  # a spreadsheet knows UTF-8 by the mark at its start
        beside.write_text(table.getvalue(), encoding="utf-8-sig", newline="")
    print(args.out)


if __name__ == "__main__":
    run_script(main)
