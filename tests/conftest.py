"""What several tests share: where things are, a tiny corpus and a run on it, ways to run a script.

run     a script in a process of its own, as a user does
call    the same in this process, which saves the 3 s of its start
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

# Small models are no faster with two threads, and on a busy machine the two wait for each other.
# Before torch is imported; scripts that tests start inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared" / "data"  # real speech and BVH files; a user's clone has none

from recordings import puppet  # noqa: E402
from tools import run_script  # noqa: E402

# How some programs name what the puppet calls LeftArm and so on; "{}" stands for the side
PARTS = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
OTHER_PARTS = {
    "3ds Max": "{} Clavicle, {} UpperArm, {} Forearm, {} Hand, {} Thigh, {} Calf, {} Foot, {} Toe0",
    "Poser": "{}Collar, {}Shldr, {}ForeArm, {}Hand, {}Thigh, {}Shin, {}Foot, {}Toe",
    "Unity": "{}Shoulder, {}UpperArm, {}LowerArm, {}Hand, {}UpperLeg, {}LowerLeg, {}Foot, {}Toes",
    "VRM": "{}_Shoulder, {}_UpperArm, {}_LowerArm, {}_Hand, {}_UpperLeg, {}_LowerLeg, {}_Foot, "
    "{}_ToeBase",
    "dashes": "Shoulder-{}, UpperArm-{}, Forearm-{}, Hand-{}, Thigh-{}, Calf-{}, Foot-{}, Toe-{}",
}
SIDES = {"Poser": ("l", "r"), "Unity": ("Left", "Right")}
BEFORE = {"3ds Max": "Bip01 ", "VRM": "J_Bip_"}
OTHER_NAMES = {
    program: (
        SIDES.get(program, ("L", "R")),
        tuple(BEFORE.get(program, "") + part for part in parts.split(", ")),
    )
    for program, parts in OTHER_PARTS.items()
}


# Files whose tests take longest stand last; what is said of the paper stands first
LAST = ("test_experiments", "test_evaluate", "test_layers", "test_train", "test_player",
        "test_precision", "test_notebooks")  # fmt: skip


def pytest_collection_modifyitems(items):
    """The paper first, then what is quick, then what takes minutes."""

    def place(item):
        name = item.path.stem
        return 0 if name == "test_paper" else 2 + LAST.index(name) if name in LAST else 1

    items.sort(key=place)


def renamed(names, program):
    """Names of the puppet's joints as `program` has them."""
    sides, parts = OTHER_NAMES[program]
    known = {
        usual + part: other.format(side)
        for usual, side in zip(("Left", "Right"), sides)
        for part, other in zip(PARTS, parts)
    }
    return [known.get(name, name) for name in names]


def shared_files(pattern):
    """Real files that match, as parameters of a test; a skipped one where they are absent."""
    found = [pytest.param(path, id=path.name) for path in sorted(SHARED.glob(pattern))]
    skip = pytest.mark.skip(reason=f"no real files at ../shared/data/{pattern}")
    return found or [pytest.param(None, marks=skip)]


# ------------------------------------------------------------------------------------------------
# Running scripts
# ------------------------------------------------------------------------------------------------
def command(script, *arguments):
    """The words that run a script: "train.py", or a module as "lab.check"."""
    what = [str(ROOT / script)] if script.endswith(".py") else ["-m", script]
    return [sys.executable, *what, *map(str, arguments)]


def environment(**more):
    """The variables that a script is run with."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": path, **more}


def run(script, *arguments, cwd=None, timeout=300, **more):
    """Run a script of the project as a user does -> CompletedProcess with text output."""
    more = dict(capture_output=True, text=True, env=environment()) | more
    return subprocess.run(command(script, *arguments), cwd=cwd or ROOT, timeout=timeout, **more)


def call(script, *arguments):
    """Run the main of a script's module in this process -> CompletedProcess, as `run` gives it."""
    arguments, code = [str(one) for one in arguments], 0
    out, error = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    usual = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            run_script(lambda: script.main(arguments))
    except SystemExit as left:
        code = left.code
        if isinstance(code, str):  # as the interpreter does
            error.write(code + "\n")
            code = 1
    finally:
        for sign, handler in usual.items():
            signal.signal(sign, handler)
    out.flush()
    said = out.buffer.getvalue().decode()
    return subprocess.CompletedProcess(arguments, code or 0, said, error.getvalue())


def assert_one_error_line(done, *words):
    """Exit status 2, one line on standard error that starts with error:, no traceback.

    Progress bars do not count, nor what libmpg123 says of a cut MP3 by itself.
    """
    lines = [line.strip() for line in done.stderr.replace("\r", "\n").splitlines()]
    others = ("%|", "it/s", "Warning: Xing")
    lines = [line for line in lines if line and not any(other in line for other in others)]
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


# ------------------------------------------------------------------------------------------------
# A corpus and a run
# ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """A puppet corpus of three takes of 12 s: to train on, for pictures, and to test on."""
    folder = tmp_path_factory.mktemp("a corpus")
    puppet.write_corpus(folder, train=1, valid=1, test=1, seconds=12.0, seed=1)
    return folder


# fmt: off
TINY = ["--width", 32, "--depth", 1, "--heads", 2, "--window", 60, "--batch", 4, "--device", "cpu"]
# fmt: on


@pytest.fixture(scope="session")
def tiny_run(tiny_corpus, tmp_path_factory):
    """The output folder of 40 training steps on the tiny corpus."""
    out = tmp_path_factory.mktemp("run")
    often = ["--steps", 40, "--save-every", 20, "--picture-every", 20]
    done = run("train.py", "--data", tiny_corpus, "--out", out, *often, *TINY)
    assert done.returncode == 0, done.stderr
    return out


def last(out):
    """The checkpoint last.pt of a run's folder."""
    return torch.load(Path(out) / "last.pt", weights_only=True)


def take(folder, stem, seconds=4.0, number=0, without=()):
    """A puppet's take as anybody's: no answers beside it; without: endings that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    puppet.write_take(folder, stem, number, "calm", seconds, (1, 2, number))
    for ending in (".json", *without):
        (folder / f"{stem}{ending}").unlink()
