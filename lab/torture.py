"""Damage on purpose: what the program makes of checkpoints whose values were exchanged.

    python -m lab.torture --cases 300

Each case takes a good checkpoint, does one seeded damage to it and samples from it, in a process
of its own with little memory and little time. There are two good outcomes: one line of error, or
a motion that is whole. OUTCOMES names all.

In reading order: the damage; a case; many of them; the command.
"""

import copy
import os
import random
import resource
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import sample
from body.bvh import read_bvh
from recordings.audio import SAMPLE_RATE, load_audio
from tools import HERE, SHIPPED, InputError, Parser, read_checkpoint, run_script

OUTCOMES = {
    "one line": "exit status 2 and one line that starts with error:",
    "fine": "exit status 0 and a motion that is as long as the speech",
    "wrong": "exit status 0 and no such motion",
    "traceback": "anything else that ends by itself; memory above the limit too",
    "hang": "ended after SECONDS",
}
GOOD = ("one line", "fine")
SECONDS = 60  # a case takes one
MEMORY = 2 * 1024**3  # bytes beside what is there before the case begins
LONGEST_LINE = 600  # letters of an error, beside the file's name


# ------------------------------------------------------------------------------------------------
# The damage
# ------------------------------------------------------------------------------------------------
ODD = (
    None, True, False, -1, 0, 1, 2, 3, 7, 10**7, 10**30, -0.5, 0.5, 1e-300, 1e308, -1e308,
    float("nan"), float("inf"), "", "x", "\n}", "a" * 20_000, "places", "mel", "sum", [], [1, 2, 3],
    [[]], {}, {"a": 1}, torch.zeros(()), torch.zeros(3), torch.full((40,), float("nan")),
    torch.zeros(3, dtype=torch.int64),
)  # fmt: skip


def damaged(state, seed):
    """A checkpoint's dictionary -> (a copy with one damage, where it is as text)."""
    draw, state = random.Random(seed), copy.deepcopy(state)
    parent, key, path = None, None, []
    here = state
    while isinstance(here, dict | list) and here and (not path or draw.random() < 0.8):
        parent, key = here, draw.choice(list(here) if isinstance(here, dict) else range(len(here)))
        here = parent[key]
        path.append(str(key))
    how, value = draw.choice(changes(here))
    if how == "gone":
        del parent[key]
    elif how == "beside":
        parent["another" if isinstance(parent, dict) else slice(key, key)] = [value]
    else:
        parent[key] = value(here) if callable(value) else value
    return state, f"{'.'.join(path)}: {how}"


def changes(here):
    """The damages that a value can suffer: [(name, value, function of the old value or None)]."""
    odd = [(f"becomes {str(value)[:20]!r}", value) for value in ODD]
    if isinstance(here, torch.Tensor):
        return odd[::4] + [
            ("nan in it", lambda x: x.clone().flatten().index_fill(
                0, torch.tensor([0]), float("nan")).view(x.shape)),
            ("turned", lambda x: x.movedim(0, -1)),
            ("whole numbers", lambda x: x.long()),
            ("complex", lambda x: x.float() * 1j),
            ("sparse", lambda x: x.float().to_sparse()),
            ("a million times as long", lambda x: x.flatten()[:1].expand(10**9)),
            ("huge", lambda x: x.float() * 1e30),
        ]  # fmt: skip
    if isinstance(here, list):
        odd += [("twice", lambda x: x * 2), ("backwards", lambda x: x[::-1])] * 5
    if isinstance(here, int | float) and not isinstance(here, bool):
        odd += [("times 1000", lambda x: x * 1000), ("less 1", lambda x: x - 1)] * 5
    return odd + [("gone", None), ("beside", 1)] * 5


# ------------------------------------------------------------------------------------------------
# A case
# ------------------------------------------------------------------------------------------------
def outcome_of(work, folder, looks_good, seconds=SECONDS, memory=MEMORY):
    """Run `work`, a function, in a process of its own -> (one of OUTCOMES, what it said).

    folder: for what it says. looks_good(): is what it wrote good? Asked after exit status 0.
    """
    said = Path(folder) / "said.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _work_and_leave(work, said, seconds, memory)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = said.read_text(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if status == -signal.SIGALRM:
        return "hang", text
    if status == 0:
        return "fine" if looks_good() else "wrong", text
    short = all(len(line) < LONGEST_LINE + len(str(folder)) for line in errors)
    one_line = status == 2 and len(errors) == 1 and short and "Traceback" not in text
    return "one line" if one_line else "traceback", text


def _work_and_leave(work, said, seconds, memory):
    """In the child: the limits, the work, and the exit status that a script would have."""
    status = 1
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.alarm(seconds)
        run_script(work)
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def sampled(checkpoint, sound, folder):
    """Sample from a checkpoint as sample.py does -> (one of OUTCOMES, what was said)."""
    out = Path(folder) / "out"
    words = [sound, "--checkpoint", checkpoint, "--out", out, "--device", "cpu"]
    seconds = len(load_audio(sound)) / SAMPLE_RATE

    def looks_good():
        try:
            motion = read_bvh(out / f"{Path(sound).stem}.bvh")
        except (InputError, OSError):
            return False
        late = len(motion) * motion.frame_time - seconds  # the motion covers the speech
        whole = np.isfinite(motion.joint_positions()).all()
        return bool(whole and -0.01 < late < motion.frame_time + 0.01)

    return outcome_of(lambda: sample.main([str(word) for word in words]), folder, looks_good)


# ------------------------------------------------------------------------------------------------
# Many of them
# ------------------------------------------------------------------------------------------------
def torture_checkpoints(good, sound, folder, seeds):
    """Damage the checkpoint `good` once for each seed -> yields (seed, damage, outcome, said).

    sound: the speech to sample. folder: for the damaged files; each is gone after its case.
    """
    state, path = read_checkpoint(good), Path(folder) / "damaged.pt"
    for seed in seeds:
        spoilt, damage = damaged(state, seed)
        torch.save(spoilt, path)
        for old in sorted(Path(folder, "out").glob("*")):
            old.unlink()
        yield seed, damage, *sampled(path, sound, folder)
        path.unlink()


def main(arguments=None):
    """The command: damage the shipped checkpoint, print what was not good, and a table."""
    parser = Parser(prog="python -m lab.torture", description="Damaged checkpoints, one by one.")
    parser.add_argument("--cases", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("out/torture"), help="folder to work in")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # a process that forks must not have threads
    counts, sound = Counter(), HERE / "assets" / "speech.wav"
    seeds = range(args.first, args.first + args.cases)
    for seed, damage, outcome, said in torture_checkpoints(SHIPPED, sound, args.out, seeds):
        counts[outcome] += 1
        if outcome not in GOOD:
            last = said.strip().splitlines()[-1:] or [""]
            print(f"{seed:6}  {damage[:60]:60}  {outcome:10}  {last[0][:100]}", flush=True)
    for outcome, meaning in OUTCOMES.items():
        print(f"{counts[outcome]:6}  {outcome:10}  {meaning}")
    sys.exit(sum(counts[outcome] for outcome in OUTCOMES if outcome not in GOOD) > 0)


if __name__ == "__main__":
    run_script(main)
