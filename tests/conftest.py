"""What several tests share: where things are, a tiny puppet corpus, a way to run a script as a user does."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared" / "data"         # real speech and BVH files; a user's clone has none


def shared_files(pattern):
    """Real files that match, as parameters of a test; a skipped one where they are absent."""
    found = sorted(SHARED.glob(pattern))
    return [pytest.param(p, id=p.name) for p in found] or [pytest.param(None, marks=pytest.mark.skip(reason=f"no real files at ../shared/data/{pattern}"))]


def run(script, *arguments, cwd=None, timeout=300):
    """Run a script of the project as a user does -> CompletedProcess with text output."""
    return subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], cwd=cwd or ROOT, capture_output=True,
                          text=True, timeout=timeout, env={**os.environ, "MPLBACKEND": "Agg"})


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """A puppet corpus of three takes of 12 s: one to train on, one for pictures, one to test on."""
    import puppet
    folder = tmp_path_factory.mktemp("a corpus")
    puppet.write_corpus(folder, train=1, valid=1, test=1, seconds=12.0, seed=1)
    return folder


TINY = ["--width", 32, "--depth", 1, "--heads", 2, "--window", 60, "--attention-window", 30, "--batch", 4, "--device", "cpu"]


@pytest.fixture(scope="session")
def tiny_run(tiny_corpus, tmp_path_factory):
    """The output folder of 40 training steps on the tiny corpus."""
    out = tmp_path_factory.mktemp("run")
    done = run("train.py", "--data", tiny_corpus, "--out", out, "--steps", 40, "--save-every", 20, "--picture-every", 20, *TINY)
    assert done.returncode == 0, done.stderr
    return out
