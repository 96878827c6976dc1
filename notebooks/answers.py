"""Run the answers in one student's notebooks. mark.py calls it, in a process of its own.

    python -m notebooks.answers SECONDS '{"notebook": ["exercise", ...], ...}'

prints a line of JSON for each exercise, [name, said]. After an answer that does not end within so
many seconds it stops: nothing but the end of the process ends that answer. Only what the answers
need is run: imports, functions, and the cell of the exercise itself.
"""

import ast
import contextlib
import json
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checks  # noqa: E402

MISSING = "missing: its cell is not in the notebook"


def code_cells(path):
    """The code cells of a notebook as text, without the lines that are Jupyter's own (% and !)."""
    book = json.loads(Path(path).read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def run(statements, names):
    """Run statements one by one among `names`; the first error ends it -> the error, or None."""
    for statement in statements:
        code = compile(ast.Module([statement], []), "answer", "exec")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                exec(code, names)  # a student's code: see mark.py
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}"
    return None


def parsed(text):
    """The statements of a cell; SyntaxError becomes none."""
    try:
        return ast.parse(text).body
    except SyntaxError:
        return []


def surroundings(cells):
    """What the answers may use: the imports and functions of all cells, as far as they run."""
    names = {}
    for kinds in ((ast.Import, ast.ImportFrom), (ast.FunctionDef,)):
        for cell in cells:
            for statement in parsed(cell):
                if isinstance(statement, kinds):
                    run([statement], names)
    return names


def said_of(name, cells, around):
    """What the check says of an exercise's answer."""
    asked = [cell for cell in cells if f"checks.{name}(" in cell]
    if not asked:
        return MISSING
    try:
        statements = ast.parse(asked[-1]).body
    except SyntaxError as error:
        return f"wrong: Python cannot read the cell: {error.msg} (line {error.lineno})"
    names = dict(around)
    names.pop(name, None)
    is_check = [f"checks.{name}(" in ast.unparse(statement) for statement in statements]
    rest = [s for s, check in zip(statements, is_check) if not check]
    error = run(rest, names)
    if name not in names:
        return f"wrong: the cell stops with {error}" if error else MISSING
    with contextlib.redirect_stdout(sys.stderr):
        return getattr(checks, name)(names[name])


def main():
    """The command."""
    seconds, out = sys.argv[1], sys.stdout
    for path, names in json.loads(sys.argv[2]).items():
        cells = list(code_cells(path))
        around = surroundings(cells)
        for name in names:
            said = within(float(seconds), said_of, name, cells, around)
            late = f"wrong: your function does not end within {seconds} s"
            print(json.dumps([name, said or late]), file=out, flush=True)
            if not said:
                os._exit(0)


def within(seconds, function, *arguments):
    """What the function returns, or None if it takes longer. Nothing ends it then."""
    result = []
    work = threading.Thread(target=lambda: result.append(function(*arguments)), daemon=True)
    work.start()
    work.join(seconds)
    return result[0] if result else None


if __name__ == "__main__":
    main()
