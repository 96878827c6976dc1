"""How fast is it?   python bench.py     (make bench)

One function a thing measured. Each prints its figures, and all go to results/bench-<machine>.json.
A machine that does other work at the same time is slow in all of them alike: compare the ratios, not the seconds.

    read_one_minute      a minute of a corpus like BEAT, from the file to mirrored, standardised features, against a plain loop
    prepare_half_an_hour 30 such minutes until training could begin, its memory, and what 76 hours would take
    find_lags            puppet takes whose sound is shifted by known times: what data.py check can find, and what not
"""
import json
import math
import os
import platform
import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

import data
import evaluate
import puppet
from motion import Motion, PoseCodec, exp_to_matrix, mirror_pairs, read_bvh, write_bvh, written_beside
from wavlm_loader import SAMPLE_RATE, SpeechFeatures

BEAT_HOURS, BEAT_FPS, BEAT_JOINTS = 76, 120, 75


def machine():
    """A name for this machine that can stand in a file's name: the processor and how many cores this program may use."""
    try:
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):                     # not Linux, or a processor that does not say
        model = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return re.sub(r"[^a-z0-9]+", "-", f"{model} {cores} cores".lower()).strip("-")


def fastest(function, times=5):
    """The shortest of some runs in seconds: what else the machine does can only make a run longer."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


# ------------------------------------------------------------------------------------------------
# A file like BEAT's
# ------------------------------------------------------------------------------------------------
def beat_like(seed, seconds=60.0):
    """A Motion of 75 joints at 120 fps, six channels on the root and XYZ on the others: the puppet's body with many fingers, swaying."""
    names, parents, offsets = puppet.skeleton()
    names, parents, offsets = list(names), parents.tolist(), offsets.tolist()
    for side, out in (("Left", 1), ("Right", -1)):
        for n in range((BEAT_JOINTS - 1 - len(puppet.skeleton()[0])) // 2):
            names.append(f"{side}Finger{n}")
            parents.append(names.index(f"{side}Hand") if n % 4 == 0 else len(names) - 2)
            offsets.append([out * 3, 0, 0])
    names, parents, offsets = names + ["HeadEnd"], parents + [names.index("Head")], offsets + [[0, 20, 0]]
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * BEAT_FPS)) / BEAT_FPS
    phase, speed = rng.uniform(0, 6, (2, len(names), 3))
    rotations = exp_to_matrix(0.3 * np.sin(phase + (0.5 + speed) * t[:, None, None]))        # [F, J, 3, 3]
    positions = np.tile(np.array(offsets), (len(t), 1, 1))                   # [F, J, 3]
    positions[:, 0] += np.stack([3 * np.sin(t), np.sin(2 * t), np.cos(t)], axis=1)
    channels = [("Xposition", "Yposition", "Zposition") * (j == 0) + ("Xrotation", "Yrotation", "Zrotation") for j in range(len(names))]
    ends = [(j, "", (0.0, 2.0, 0.0)) for j in range(len(names)) if j not in parents]
    return Motion(names, np.array(parents), np.array(offsets), channels, ends, 1 / BEAT_FPS, rotations, positions)


def plain_loop(path):
    """The same work as one would write it first: number by number -> rotation vectors [frames, 2 J, 3], of the motion and its mirror image."""
    lines = Path(path).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Frame Time"))
    rows = [[float(word) for word in line.split()] for line in lines[start + 1:]]
    pairs = mirror_pairs(read_bvh(path, 0.1))[0]
    frames = []
    for row in rows[::BEAT_FPS // 20]:
        vectors = []
        for j in range(BEAT_JOINTS):
            cx, cy, cz = (math.cos(math.radians(a)) for a in row[3 + 3 * j:6 + 3 * j])
            sx, sy, sz = (math.sin(math.radians(a)) for a in row[3 + 3 * j:6 + 3 * j])
            R = [[cy * cz, -cy * sz, sy],
                 [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
                 [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy]]
            angle = math.acos(max(-1.0, min(1.0, (R[0][0] + R[1][1] + R[2][2] - 1) / 2)))
            scale = angle / (2 * math.sin(angle)) if angle > 1e-9 else 0.5
            vectors.append([scale * (R[2][1] - R[1][2]), scale * (R[0][2] - R[2][0]), scale * (R[1][0] - R[0][1])])
        frames.append(vectors + [[vectors[p][0], -vectors[p][1], -vectors[p][2]] for p in pairs])
    frames = np.array(frames)                                                # [F, 2 J, 3]
    return (frames - frames.mean(axis=0)) / np.maximum(frames.std(axis=0), 1e-6)


# ------------------------------------------------------------------------------------------------
# What is measured
# ------------------------------------------------------------------------------------------------
def read_one_minute(folder):
    """A BEAT-like minute, on one thread: seconds from the file to features and their mirror image, ours and a plain loop's."""
    path = folder / "minute.bvh"
    write_bvh(path, beat_like(0))
    codec = PoseCodec.fit([read_bvh(path, 20)], mirror=True)

    def ours():
        pose = codec.encode(read_bvh(path, 20))                              # [F, P]
        return pose, pose[:, codec.swap] * codec.sign

    scores = dict(megabytes=path.stat().st_size / 1e6, read_all_frames=fastest(lambda: read_bvh(path), 3), read_at_20_fps=fastest(lambda: read_bvh(path, 20)),
                  to_features=fastest(ours), plain_loop=fastest(lambda: plain_loop(path), 2))
    return scores | dict(times_as_fast=scores["plain_loop"] / scores["to_features"])


class AnonymousMemory(threading.Thread):
    """The most memory this program holds that is not a file's, in MB, looked up 50 times a second (Linux only)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.stop = self.now(), threading.Event()
        self.start()

    def now(self):
        """What is held at this moment, MB."""
        return int(re.search(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3

    def run(self):
        """The thread's own loop, until `stop` is set."""
        while not self.stop.wait(0.02):
            self.most = max(self.most, self.now())


def prepare_half_an_hour(folder, minutes=30, kept=3):
    """Seconds and memory until a corpus of BEAT-like minutes is ready to train on, and what BEAT's 76 hours would take.

    `kept` different takes stand behind the names; the system has them in memory, so the time that a disk needs is not in it.
    """
    sounds = []
    for n in range(minutes):
        take, original = folder / f"take{n}.bvh", folder / f"take{n % kept}.bvh"
        if n < kept:
            write_bvh(take, beat_like(n))
            who, rng = puppet.speaker(n), np.random.default_rng(n)
            soundfile.write(take.with_suffix(".wav"), puppet.speak(who, puppet.script(who, "calm", 60.0, rng), 60.0, rng), SAMPLE_RATE)
        else:
            os.link(original, take)
            os.link(original.with_suffix(".wav"), take.with_suffix(".wav"))
        sounds.append((take, take.with_suffix(".wav")))
    features, scores = SpeechFeatures("mel"), {}
    data.Corpus(sounds[:2], features, scratch=folder)            # warm: libraries that load at first use are not the corpus' memory
    for count in (minutes // 5, minutes):
        memory, start = AnonymousMemory(), time.perf_counter()
        before = memory.now()
        corpus = data.Corpus(sounds[:count], features, mirror=True, scratch=folder).to("cpu", 160)
        corpus.batch(8, torch.Generator())
        seconds = time.perf_counter() - start
        memory.stop.set()
        scores[f"{count}_minutes"] = dict(seconds=seconds, megabytes_of_memory=memory.most - before, megabytes_in_all=memory.most,
                                          pose_features=corpus.codec.pose_dim)
    whole = BEAT_HOURS * 60 / minutes
    frames = BEAT_HOURS * 3600 * 20
    grown = (scores[f"{minutes}_minutes"]["megabytes_of_memory"] - scores[f"{minutes // 5}_minutes"]["megabytes_of_memory"]) / (minutes - minutes // 5)
    # on disk: motions as rotation vectors and places, then features of both
    disk = frames * 4 * (6 * BEAT_JOINTS + corpus.codec.pose_dim + features.dim) / 1e9
    return scores | {"76_hours": dict(hours=seconds * whole / 3600, gigabytes_of_memory=(memory.most + max(0, grown) * BEAT_HOURS * 60) / 1e3, gigabytes_of_disk=disk)}


def find_lags(_, seconds=(60, 30), shifts=(0, 0.2, 0.4, 1, 3, 8, 12)):
    """Of the puppet's 12 test takes, the share in which data.py check says "in step", the right shift, a wrong one, or cannot tell."""
    if not evaluate.PUPPET.exists():
        puppet.write_corpus(evaluate.PUPPET)
    takes = [data.load_take(*pair) for pair in data.find_pairs(evaluate.PUPPET)["test"]]
    scores = {}
    for length in seconds:
        cut = [(Motion(**{**vars(m), "rotations": m.rotations[:round(length / m.frame_time)], "positions": m.positions[:round(length / m.frame_time)]}), w[:length * SAMPLE_RATE]) for m, w in takes]
        alone = [data.lag_of_motion(m, w)[1] for m, w in cut]
        strange = [data.lag_of_motion(m, w)[1] for k, (m, _) in enumerate(cut) for n, (_, w) in enumerate(cut) if n != k]
        rows = {"own sound": dict(zip(("least", "median", "most"), np.quantile(alone, (0, 0.5, 1)))), "another's sound": dict(zip(("least", "median", "most"), np.quantile(strange, (0, 0.5, 1))))}
        rows["another's sound"]["taken for related"] = float(np.mean(np.array(strange) >= data.FOLLOWS))
        for shift in shifts:
            found = [data.lag_of_motion(m, torch.roll(w, -int(shift * SAMPLE_RATE))) for m, w in cut]
            sure = [lag for lag, how in found if how >= data.FOLLOWS]
            rows[f"motion {shift} s late"] = {"in step": sum(abs(lag) <= data.IN_STEP for lag in sure) / len(found),
                                              "shift found": sum(abs(lag) > data.IN_STEP and abs(lag - shift) <= 0.1 for lag in sure) / len(found),
                                              "wrong shift": sum(abs(lag) > data.IN_STEP and abs(lag - shift) > 0.1 for lag in sure) / len(found),
                                              "cannot tell": 1 - len(sure) / len(found)}
        scores[f"{length} s"] = rows
    return scores


def print_scores(scores, indent=2):
    """Nested scores as indented lines; a dictionary of numbers alone is one line."""
    for name, score in scores.items():
        if not isinstance(score, dict):
            print(f"{' ' * indent}{name:<28}{score:10.3f}")
        elif any(isinstance(value, dict) for value in score.values()):
            print(f"{' ' * indent}{name}")
            print_scores(score, indent + 2)
        else:
            print(f"{' ' * indent}{name:<28}" + "  ".join(f"{key} {value:.2f}" for key, value in score.items()))


def main():
    measured = [read_one_minute, prepare_half_an_hour, find_lags]
    parser = data.Parser(prog="bench.py", description="Measure how fast this machine does it; results/bench-MACHINE.json.")
    parser.add_argument("only", nargs="*", help="which of " + ", ".join(f.__name__ for f in measured) + " (default: all)")
    args = parser.parse_args()
    unknown = set(args.only) - {f.__name__ for f in measured}
    if unknown:
        parser.error(f"nothing is called {sorted(unknown)[0]!r}")
    path = Path("results") / f"bench-{machine()}.json"
    path.parent.mkdir(exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else {}
    for function in tqdm([f for f in measured if f.__name__ in (args.only or [f.__name__])], desc="measuring", disable=None):
        with tempfile.TemporaryDirectory() as folder:
            results[function.__name__] = function(Path(folder))
        print(function.__name__)
        print_scores(results[function.__name__])
        with written_beside(path) as beside:
            beside.write_text(json.dumps(results, indent=1, default=float) + "\n")
    print(path)


if __name__ == "__main__":
    data.run_script(main)
