"""Run the answers in one student's notebooks. mark.py calls it, in a process of its own.

    python -m notebooks.answers SECONDS '{"notebook": ["exercise", ...], ...}'

prints a line of JSON for each exercise, [name, said]. After an answer that does not end within so
many seconds it stops: nothing but the end of the process ends that answer. Only what the answers
need is run: the imports, functions and constants of all cells, and the cell of the exercise itself.
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
UNREADABLE = "missing: the notebook cannot be read"


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


def is_constant(statement):
    """Is it `NAME = a number, a text, or a list of such`?"""
    try:
        ast.literal_eval(statement.value)
    except (AttributeError, ValueError):
        return False
    return isinstance(statement, ast.Assign)


def surroundings(cells):
    """What the answers may use: imports, constants, functions of all cells, as far as they run."""
    names = {}
    statements = [statement for cell in cells for statement in parsed(cell)]
    imports = [s for s in statements if isinstance(s, (ast.Import, ast.ImportFrom))]
    constants = [s for s in statements if is_constant(s)]
    functions = [s for s in statements if isinstance(s, ast.FunctionDef)]
    for statement in imports + constants + functions:
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
    if any(getattr(s, "name", None) == name for s in statements) or not callable(names.get(name)):
        names.pop(name, None)  # the answer is this cell's; only a function may stand elsewhere
    is_check = [f"checks.{name}(" in ast.unparse(statement) for statement in statements]
    rest = [s for s, check in zip(statements, is_check) if not check]
    error = run(rest, names)
    if name not in names:
        return f"wrong: the cell stops with {error}" if error else MISSING
    with contextlib.redirect_stdout(sys.stderr):
        said = getattr(checks, name)(names[name])
    if "NameError" in said:
        said += " (of other cells an answer may use imports, constants and functions)"
    return said


def main():
    """The command."""
    if len(sys.argv) != 3:
        sys.exit("python -m notebooks.mark calls this; give that command")
    seconds, out = sys.argv[1], sys.stdout
    for path, names in json.loads(sys.argv[2]).items():
        try:
            cells = list(code_cells(path))
        except (OSError, ValueError, KeyError, TypeError):
            for name in names:
                print(json.dumps([name, UNREADABLE]), file=out, flush=True)
            continue
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
