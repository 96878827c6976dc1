"""Is anything lost, half written, or wrong without a word? Damaged files and killed programs.

    python -m lab.torture                          ten minutes: results/torture.json
    python -m lab.torture --bvh 20000 --kills 0    more of one kind; 0: none of it

    checkpoints    a good checkpoint with one damage is sampled from
    bvh            a good BVH file with some damages is read, written and read again
    sounds         a good sound file with some damages is read whole and in blocks
    kills          trainings and the puppet are killed and go on, see lab/kills.py

A damaged file has two good outcomes: one line of error, or an answer that is whole. OUTCOMES names
all. Each case has a process of its own with little memory and time. All is drawn from --seed. What
was tried is in --out, and the same command goes on with it. Needs a system that can fork.

In reading order: a case; what is done with each kind of file; many of them; the command.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

import sample
from body.bvh import read_bvh, write_bvh
from lab import kills
from lab.damage import damaged_bvh, damaged_checkpoint, damaged_sound
from recordings.audio import SAMPLE_RATE, load_audio, load_audio_blocks
from recordings.puppet import write_take
from tools import HERE, LONGEST_LINE, SHIPPED, Parser, read_checkpoint, run_script, written_beside

OUTCOMES = {
    "one line": "exit status 2 and one line that starts with error:",
    "fine": "exit status 0 and an answer that is whole",
    "wrong": "exit status 0 and no such answer",
    "traceback": "anything else that ends by itself; memory above the limit too",
    "hang": "ended after SECONDS",
}
GOOD = ("one line", "fine")
SECONDS = 60  # a case takes one
MEMORY = 2 * 1024**3  # bytes beside what is there before the case begins
WRONG = 4  # exit status of a case whose answer is not whole
SPEECH = HERE / "assets" / "speech.wav"


# ------------------------------------------------------------------------------------------------
# A case
# ------------------------------------------------------------------------------------------------
def outcome_of(work, folder, seconds=SECONDS, memory=MEMORY):
    """Run `work` in a process of its own -> (one of OUTCOMES, what it said).

    work() -> is what came out whole? folder: for what it says.
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
    if status in (0, WRONG):
        return "wrong" if status else "fine", text
    short = all(len(line) <= LONGEST_LINE + len("error: ") for line in errors)
    one_line = status == 2 and len(errors) == 1 and short and "Traceback" not in text
    return "one line" if one_line else "traceback", text


def _work_and_leave(work, said, seconds, memory):
    """In the child: the limits, the work, and the exit status that a script would have."""
    status, whole = 1, []
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.alarm(seconds)
        run_script(lambda: whole.append(work()))
        status = 0 if whole == [True] else WRONG
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


# ------------------------------------------------------------------------------------------------
# What is done with a file of each kind
# ------------------------------------------------------------------------------------------------
def sampled(path, folder):
    """Sample from a checkpoint as sample.py does -> does a whole motion cover the speech?"""
    out = folder / "out"
    words = [SPEECH, "--checkpoint", path, "--out", out, "--device", "cpu"]
    sample.main([str(word) for word in words])
    motion = read_bvh(out / f"{SPEECH.stem}.bvh")
    late = len(motion) * motion.frame_time - len(load_audio(SPEECH)) / SAMPLE_RATE
    whole = np.isfinite(motion.joint_positions()).all()
    return bool(whole and -0.01 < late < motion.frame_time + 0.01)


def copied_bvh(path, folder):
    """Read a BVH file, write it, read that again -> is it the same motion, all of it numbers?"""
    motion, copy = read_bvh(path), folder / "copy.bvh"
    write_bvh(copy, motion)
    ours, theirs = (m.joint_positions() for m in (motion, read_bvh(copy)))
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return False
    return bool(np.abs(ours - theirs).max() <= 1e-4 * max(1, np.abs(ours).max()))


def heard(path, _):
    """Read a sound whole and in blocks -> the same sound, of numbers, and not too long?"""
    whole, blocks = load_audio(path), torch.cat(list(load_audio_blocks(path)))
    same = whole.shape == blocks.shape and torch.allclose(whole, blocks, atol=1e-3)
    return bool(same and torch.isfinite(whole).all() and 0 < len(whole) < 60 * SAMPLE_RATE)


# ------------------------------------------------------------------------------------------------
# Many of them
# ------------------------------------------------------------------------------------------------
def goods(kind, folder):
    """What is damaged: [(file name, what stands in the good file)]."""
    if kind == "checkpoints":
        return [("damaged.pt", read_checkpoint(SHIPPED))]
    if kind == "bvh":
        write_take(folder, "good", 0, "lively", 6.0, (1, 2))
        hand_made = b"\r\n".join((folder / "good.bvh").read_bytes().split(b"\n")[:-1])
        return [("damaged.bvh", (folder / "good.bvh").read_bytes()), ("damaged.bvh", hand_made)]
    waveform = load_audio(SPEECH)[: 2 * SAMPLE_RATE].numpy()
    found = []
    for ending, how in (
        ("wav", "PCM_16"),
        ("wav", "FLOAT"),
        ("flac", None),
        ("ogg", None),
        ("mp3", None),
    ):
        if ending.upper() in soundfile.available_formats():
            soundfile.write(folder / f"good.{ending}", waveform, SAMPLE_RATE, subtype=how)
            found.append((f"damaged.{ending}", (folder / f"good.{ending}").read_bytes()))
    return found


DAMAGES = dict(checkpoints=damaged_checkpoint, bvh=damaged_bvh, sounds=damaged_sound)
WORKS = dict(checkpoints=sampled, bvh=copied_bvh, sounds=heard)


def damage(kind, times, seed, folder, say=print):
    """Damage files of a kind, one after another -> {tried, outcomes, bad}; goes on where it was.

    bad: [[number, damage, outcome, the last line of what it said]]
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, out = folder / f"{kind}.json", folder / "out"
    done = dict(seed=seed, tried=0, outcomes={}, bad=[])
    if log.exists() and (kept := json.loads(log.read_text()))["seed"] == seed:
        done = kept
    good = goods(kind, folder)
    for n in range(done["tried"], times):
        name, whole = good[n % len(good)]
        path = folder / name
        spoilt, how = DAMAGES[kind](whole, f"{seed} {n}")
        torch.save(spoilt, path) if kind == "checkpoints" else path.write_bytes(spoilt)
        for old in sorted(out.glob("*")):
            old.unlink()
        outcome, said = outcome_of(partial(WORKS[kind], path, folder), folder)
        path.unlink()
        done["tried"] += 1
        done["outcomes"][outcome] = done["outcomes"].get(outcome, 0) + 1
        if outcome not in GOOD:
            last = (said.strip().splitlines() or [""])[-1]
            done["bad"].append([n, how, outcome, last[:300]])
            say(f"{kind} {n:6}  {how[:60]:60}  {outcome:10}  {last[:100]}")
        if n % 50 == 49 or n == times - 1:
            with written_beside(log) as beside:
                beside.write_text(json.dumps(done, indent=1))
    return done


def killed(times, seed, folder, say=print):
    """lab.kills' campaign, in the same form."""
    tried = kills.campaign(folder / "kills", times, seed, say=say)
    counts = Counter("fine" if row["passed"] else "wrong" for row in tried)
    bad = [[n, row["kind"], "wrong", row["why"]] for n, row in enumerate(tried) if row["why"]]
    return dict(seed=seed, tried=len(tried), outcomes=dict(counts), bad=bad)


def table(found):
    """{kind: what `damage` gives} -> lines of text: tried, passed, and each outcome."""
    lines = [f"{'':12}{'tried':>7}{'passed':>8}" + "".join(f"{name:>11}" for name in OUTCOMES)]
    for kind, row in found.items():
        counts = [row["outcomes"].get(name, 0) for name in OUTCOMES]
        passed = sum(row["outcomes"].get(name, 0) for name in GOOD)
        lines.append(f"{kind:12}{row['tried']:7}{passed:8}" + "".join(f"{n:11}" for n in counts))
    return lines


def main(arguments=None):
    """The command: exit status 1 if something did not pass."""
    parser = Parser(prog="python -m lab.torture", description=__doc__.partition("\n")[0])
    sizes = dict(checkpoints=300, bvh=3000, sounds=3000, kills=24)
    for kind, usual in sizes.items():
        how = dict(type=int, default=usual, metavar="N")
        parser.add_argument(f"--{kind}", help=f"how many {kind} (default: %(default)s)", **how)
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("out/torture"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a process that forks must not have threads
    found = {}
    for kind in sizes:
        if times := getattr(args, kind):
            run = killed if kind == "kills" else partial(damage, kind)
            found[kind] = run(times, args.seed, args.out.resolve())
    print(*table(found), *(f"{name:10} {what}" for name, what in OUTCOMES.items()), sep="\n")
    if args.json:
        with written_beside(args.json) as beside:
            beside.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(any(row["bad"] for row in found.values()))


if __name__ == "__main__":
    run_script(main)
