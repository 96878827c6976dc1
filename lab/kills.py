"""Kills at random moments of a training and of the puppet: is anything lost?

campaign starts a tiny training again and again, kills it, goes on with it, and compares the end
with that of a training that nobody killed: all weights, the optimiser and the losses, bit for bit.
The kinds of kills:

    once     kill, then --resume
    twice    the resumed training is killed too
    two      a second training is started in the same --out meanwhile, and one of the two is killed
    puppet   the puppet's corpus is killed while it is written, and written again

A kill is SIGKILL or SIGTERM to the one process that was started. The moments are drawn from a seed.
What was tried stands in kills.json, and a campaign that is started again goes on behind it.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from recordings.puppet import write_corpus
from tools import HERE, written_beside

KINDS = ("once", "twice", "two", "puppet")
STEPS = 120
TRAINING = f"""train.py --data ../corpus --out run
    --steps {STEPS} --save-every 20 --picture-every 50
    --width 32 --depth 1 --heads 2 --window 60 --batch 4 --device cpu""".split()
PUPPET = "-m recordings.puppet --out puppet --train 6 --valid 1 --test 1 --seconds 20".split()


def campaign(folder, times=30, seed=0, kinds=KINDS, say=print):
    """Try `times` kills of the kinds in turn -> [{kind, moment, what, passed, why}].

    folder: where all is written, at most some 10 MB; a case that passed is deleted.
    """
    folder = Path(folder).resolve()
    log = folder / "kills.json"
    tried = json.loads(log.read_text()) if log.exists() else []
    usual = untouched(folder, kinds) if len(tried) < times else {}
    for n in range(len(tried), times):
        case = folder / f"kill-{n}"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        chance = random.Random(f"{seed} {n}")
        kind = kinds[n % len(kinds)]
        row = dict(kind=kind, what=chance.choice(("SIGKILL", "SIGTERM")))
        row.update(attempt(case, usual, chance=chance, **row))
        row["passed"] = not row["why"]
        if row["passed"]:
            shutil.rmtree(case)
        say(f"{n + 1} of {times}: {row}")
        tried.append(row)
        with written_beside(log) as beside:
            beside.write_text(json.dumps(tried, indent=1))
    return tried


def table(tried):
    """The rows of a campaign -> lines of text: kind, tried, passed."""
    lines = [f"{'kind':<8}{'tried':>6}{'passed':>8}"]
    for kind in (*dict.fromkeys(row["kind"] for row in tried), "all"):
        rows = [row for row in tried if kind in (row["kind"], "all")]
        lines.append(f"{kind:<8}{len(rows):>6}{sum(row['passed'] for row in rows):>8}")
    return lines


def untouched(folder, kinds):
    """The trainings' corpus, and what nobody kills -> {"train" or "puppet": (folder, seconds)}."""
    usual = {}
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus", train=1, valid=1, test=1, seconds=12.0)
    for name in {"puppet" if kind == "puppet" else "train" for kind in kinds}:
        words = PUPPET if name == "puppet" else TRAINING
        at, begun = folder / f"whole-{name}", time.monotonic()
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir()
        assert start(words, at).wait() == 0, (at / "said").read_text()
        usual[name] = at, time.monotonic() - begun
    return usual


# ------------------------------------------------------------------------------------------------
# One kill
# ------------------------------------------------------------------------------------------------
def attempt(case, usual, chance, kind, what):
    """One case in its folder -> {moment, why}: why it failed, or ""."""
    number = getattr(signal, what)
    whole, seconds = usual["puppet" if kind == "puppet" else "train"]
    moment = round(chance.uniform(0.3, 1.05) * seconds, 2)
    words = PUPPET if kind == "puppet" else TRAINING
    processes = [start(words, case)]
    if kind == "two":
        time.sleep(chance.choice((0, 1, 0.7 * seconds)))
        processes.append(start(words, case, "said by the second"))
        moment = round(chance.uniform(0, 0.5) * seconds, 2)  # after the second one's start
    time.sleep(moment)
    chance.choice(processes).send_signal(number)
    codes = [process.wait(timeout=600) for process in processes]
    if kind == "twice":
        process = start(again(case), case)
        time.sleep(chance.uniform(0.3, 1.05) * seconds)
        process.send_signal(number)
        codes.append(process.wait(timeout=600))
    why = odd_end(codes, case)
    if kind == "puppet":
        time.sleep(1)  # its workers end
        if (case / "puppet").exists():
            why = why or differences(case / "puppet", whole / "puppet")
        else:
            codes.append(start(words, case).wait(timeout=600))
            why = why or codes[-1] and f"writing it again ended with {codes[-1]}"
            why = why or differences(case / "puppet", whole / "puppet") or left_over(case)
    else:
        codes.append(start(again(case), case).wait(timeout=600))
        why = why or codes[-1] and f"going on ended with {codes[-1]}"
        why = why or other_numbers(case / "run", whole / "run") or left_over(case / "run")
    return dict(moment=moment, codes=codes, why=why or "")


def start(words, cwd, said="said"):
    """Start a script of the project; what it says is appended to a file in cwd."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [str(HERE / word) if word.endswith(".py") else word for word in words]
    with open(cwd / said, "ab") as file:
        streams = dict(stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        return subprocess.Popen([sys.executable, *words], cwd=cwd, env=environment, **streams)


def again(case):
    """The words that go on with a training: from its last checkpoint, or anew without one."""
    return [*TRAINING, *(["--resume"] if (case / "run" / "last.pt").exists() else [])]


# ------------------------------------------------------------------------------------------------
# What may be wrong afterwards
# ------------------------------------------------------------------------------------------------
def odd_end(codes, case):
    """Did a process end otherwise than killed, saved and stopped, done, or refused in one line?"""
    said = "".join(path.read_text() for path in case.glob("said*"))
    if "Traceback" in said:
        return "a traceback"
    if 2 in codes and "another run is at work" not in said:
        return "an error that is not that of a second run"
    if (case / "said by the second").exists() and codes == [0, 0]:
        # One after the other, then: what the first made was moved away
        if not (case / "run" / "before" / "model.pt").exists():
            return "two runs ended, and one of them is gone"
    return ""


def other_numbers(run, whole):
    """Does a run end with other numbers than the one that nobody killed?"""
    for name in ("last.pt", "model.pt"):
        ours, theirs = (torch.load(at / name, weights_only=True) for at in (run, whole))
        if not same(ours, theirs):
            return f"{name} differs"
    missing = {path.name for path in whole.iterdir()} - {path.name for path in run.iterdir()}
    return f"{sorted(missing)} are missing" if missing else ""


def same(a, b):
    """Are two nested structures of tensors and values the same, bit for bit?"""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def differences(corpus, whole):
    """Are the files of two corpora the same, byte for byte?"""
    ours, theirs = (
        {path.relative_to(at): path.read_bytes() for path in at.rglob("*") if path.is_file()}
        for at in (corpus, whole)
    )
    return "" if ours == theirs else "the corpus differs"


def left_over(folder):
    """Are temporary files or a lock still there?"""
    left = [path.name for path in folder.glob(".*")]
    return f"{left} are left over" if left else ""
