"""Would the tests notice? Mistakes are made in a copy of the project, and a test must fail.

    python -m lab.mutate                      all of them: some minutes
    python -m lab.mutate --only no gate_1     one, or all that have these words in their names

The list is lab/mutations.txt. A mistake names the file, a text in it, the text in its place, and
the test that must notice. The outcomes are kept in --out: what was tried with the same code and the
same test is not tried again. What no test can notice has a line "why". Needs requirements-dev.txt,
and a system that can fork: not Windows.
"""

import contextlib
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tools import HERE, InputError, Parser, run_script, written_beside

LIST = HERE / "lab" / "mutations.txt"
SECONDS = 120  # of computing, for one test; a mistake may make it run for ever
BESIDE = (
    ".git",
    ".venv",
    "__pycache__",
    ".*cache",
    "out",
    "runs",
    "corpora",
    "cache",
    "experiments",
)
# Imported once, and there in all the processes that are forked
FIRST = ("scipy.signal", "scipy.spatial.transform", "matplotlib.pyplot", "hypothesis", "torchaudio")
OUTCOMES = {
    "noticed": "the test failed",
    "hang": f"the test computed for more than {SECONDS} s",
    "explained": "the test passed, and the list says why it must",
    "survived": "the test passed: write a sharper one",
    "broken": "the test could not be run: the list is out of date",
}


# ------------------------------------------------------------------------------------------------
# The list
# ------------------------------------------------------------------------------------------------
@dataclass
class Mutation:
    """A mistake: in `file` the text `right` becomes `wrong`, and `test` must fail."""

    what: str
    file: str
    test: str  # as pytest takes it, from the project's folder
    right: str = ""
    wrong: str = ""
    why: str = ""  # why no test can notice it

    def made(self, folder=HERE):
        """The text of the file with the mistake. InputError if `right` is not there just once."""
        text = (Path(folder) / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.right)) != 1:
            times = f"{self.right!r} is {count} times in {self.file}, and must be there once"
            raise InputError(f"{LIST.name}: {self.what}: {times}; bring the list up to date")
        return text.replace(self.right, self.wrong)

    def digest(self, folder=HERE):
        """Changes with the code that has the mistake, and with the test's file."""
        test = Path(folder, self.test.partition("::")[0]).read_bytes()
        return hashlib.sha256(self.made(folder).encode() + test + self.test.encode()).hexdigest()


def read_list(path=LIST):
    """The file of mistakes -> [Mutation]. "file: " and "test: " hold for all that follow them.

    Lines that begin with "-" are the text, those with "+" what is in its place.
    """
    found, here = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        key, _, rest = line.partition(": ")
        if key in ("file", "test"):
            here[key] = rest
        elif key == "what":
            found.append(Mutation(rest, **here))
        elif key == "why" and found:
            found[-1].why = rest
        elif line[:1] in ("-", "+") and found:
            side = "right" if line[0] == "-" else "wrong"
            before = getattr(found[-1], side)
            setattr(found[-1], side, f"{before}\n{line[2:]}" if before else line[2:])
        elif line and not line.startswith("#"):
            raise InputError(f"{path}: line {number} is none of file, test, what, why, - and +")
    return found


# ------------------------------------------------------------------------------------------------
# One mistake
# ------------------------------------------------------------------------------------------------
def copied(project, folder):
    """A copy of a project without what is not needed -> its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(project, folder, ignore=shutil.ignore_patterns(*BESIDE)))


def outcome_of(mutation, copy, said):
    """Make the mistake in the copy, run its test, take it back -> (one of OUTCOMES, the test)."""
    file = copy / mutation.file
    usual, mistaken = file.read_text(encoding="utf-8"), mutation.made(copy)
    try:
        file.write_text(mistaken, encoding="utf-8")
        code = tested([mutation.test], copy, said)
    finally:
        file.write_text(usual, encoding="utf-8")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said.read_text(errors="replace"), re.M)
    kinds = {0: "survived", 1: "noticed", -signal.SIGXCPU: "hang"}
    return kinds.get(code, "broken"), failed[1] if failed else ""


def tested(tests, copy, said):
    """Run tests of a copy in a process of its own -> pytest's exit status. said: its output."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 3
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 10))
        only_of(copy)
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def only_of(copy):
    """In the child: from here on modules are those of the copy, and none is kept as .pyc.

    Python would take a .pyc for that of a file which was changed within the same second.
    """
    files = [*HERE.iterdir(), *copy.iterdir(), *HERE.glob("tests/*.py")]
    ours = {path.stem for path in files}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]
    elsewhere = [at for at in sys.path if at and Path(at).resolve() not in (HERE, HERE / "tests")]
    sys.path[:] = [str(copy), *elsewhere]
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", MPLBACKEND="Agg",
                      PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # fmt: skip
    torch.set_num_threads(1)
    os.chdir(copy)


# ------------------------------------------------------------------------------------------------
# All of them
# ------------------------------------------------------------------------------------------------
def judged(mutations, project, out, say=print):
    """Try the mistakes -> [outcome]. InputError if a test fails without a mistake.

    out: a folder for the copy and for outcomes.json, which a second call goes on with.
    """
    out.mkdir(parents=True, exist_ok=True)
    kept, said = out / "outcomes.json", out.resolve() / "said.txt"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    digests = [mutation.digest(project) for mutation in mutations]
    copy = copied(project, out.resolve() / "copy")
    tests = sorted({m.test for m, one in zip(mutations, digests) if one not in known})
    if tests and (code := tested(tests, copy, said)):
        raise InputError(f"without a mistake pytest ends with {code}; see {said}")
    outcomes = []
    for n, (mutation, digest) in enumerate(zip(mutations, digests), 1):
        if digest not in known:
            known[digest] = outcome_of(mutation, copy, said)
            with written_beside(kept) as beside:
                beside.write_text(json.dumps(known, indent=1))
        outcome, test = known[digest]
        if outcome == "survived" and mutation.why:
            outcome = "explained"
        outcomes.append(outcome)
        say(f"{n:4}  {outcome:9}  {mutation.file:24} {mutation.what}  {test.rpartition('::')[2]}")
    shutil.rmtree(copy)
    return outcomes


def table(mutations, outcomes):
    """Lines of text: for each folder how many mistakes there are, and how many were noticed."""
    places = [
        file.partition("/")[0] if "/" in file else "spine" for file in (m.file for m in mutations)
    ]
    lines = [f"{'':10}{'mistakes':>9}{'noticed':>9}{'explained':>11}{'survived':>10}"]
    for place in (*dict.fromkeys(places), "all"):
        own = [one for at, one in zip(places, outcomes) if place in (at, "all")]
        noticed = sum(one in ("noticed", "hang") for one in own)
        explained = own.count("explained")
        left = len(own) - noticed - explained
        lines.append(f"{place:10}{len(own):9}{noticed:9}{explained:11}{left:10}")
    return lines


def main(arguments=None):
    """The command: exit status 1 if a mistake survives that the list does not explain."""
    parser = Parser(prog="python -m lab.mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="words of the mistakes' names")
    parser.add_argument("--out", type=Path, default=Path("out/mutate"), help="folder to work in")
    args = parser.parse_args(arguments)
    words = " ".join(args.only or ())
    mutations = [one for one in read_list() if words in f"{one.file} {one.what}"]
    if not mutations:
        parser.error(f"--only {words}: no mistake has that in its name")
    for name in FIRST:
        importlib.import_module(name)
    outcomes = judged(mutations, HERE, args.out)
    print("", *table(mutations, outcomes), sep="\n")
    sys.exit(any(one in ("survived", "broken") for one in outcomes))


if __name__ == "__main__":
    run_script(main)
