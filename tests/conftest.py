"""What several tests share: where things are, a tiny puppet corpus, a way to run a script as a user does."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared" / "data"         # real speech and BVH files; a user's clone has none

# How some programs name what the puppet calls LeftArm and so on; "{}" is the side in each one's manner
PARTS = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
OTHER_NAMES = {
    "3ds Max": (("L", "R"), ("Bip01 {} Clavicle", "Bip01 {} UpperArm", "Bip01 {} Forearm", "Bip01 {} Hand", "Bip01 {} Thigh", "Bip01 {} Calf", "Bip01 {} Foot", "Bip01 {} Toe0")),
    "Poser": (("l", "r"), ("{}Collar", "{}Shldr", "{}ForeArm", "{}Hand", "{}Thigh", "{}Shin", "{}Foot", "{}Toe")),
    "Unity": (("Left", "Right"), ("{}Shoulder", "{}UpperArm", "{}LowerArm", "{}Hand", "{}UpperLeg", "{}LowerLeg", "{}Foot", "{}Toes")),
    "VRM": (("L", "R"), ("J_Bip_{}_Shoulder", "J_Bip_{}_UpperArm", "J_Bip_{}_LowerArm", "J_Bip_{}_Hand", "J_Bip_{}_UpperLeg", "J_Bip_{}_LowerLeg", "J_Bip_{}_Foot", "J_Bip_{}_ToeBase")),
    "dashes": (("L", "R"), ("Shoulder-{}", "UpperArm-{}", "Forearm-{}", "Hand-{}", "Thigh-{}", "Calf-{}", "Foot-{}", "Toe-{}")),
}


def renamed(names, program):
    """Names of the puppet's joints as `program` has them."""
    sides, parts = OTHER_NAMES[program]
    known = {usual + part: other.format(side) for usual, side in zip(("Left", "Right"), sides) for part, other in zip(PARTS, parts)}
    return [known.get(name, name) for name in names]


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
