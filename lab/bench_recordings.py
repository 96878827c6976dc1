"""How fast are recordings read, and what can be found in them? Measurements for lab/bench.py.

hearing               rows of speech features a second
read_one_minute       a minute like BEAT's, from the file to features, against a plain loop
prepare_half_an_hour  30 such minutes until training could begin, and what 76 hours would take
find_lags             which shifts between motion and sound lab/check.py can find
"""

import math
import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from beyond.augment import VERSIONS, versions
from beyond.recipes import OURS
from body.bvh import read_bvh, write_bvh
from body.mirror import mirror_pairs
from body.motion import Motion
from body.pose import PoseCodec
from body.rotations import exp_to_matrix
from data import Corpus
from lab.lag import evidence, lag_of, verdict
from lab.machine import fastest, fastest_of
from recordings.audio import SAMPLE_RATE
from recordings.frames import motion_frames
from recordings.pairs import find_pairs, load_take
from recordings.puppet import ready_puppet, speaker
from recordings.puppet_body import skeleton
from recordings.puppet_voice import script, speak
from recordings.wavlm_long import hidden_states
from tools import default_device
from wavlm_loader import WAVLM_FIRST, WAVLM_RATE, SpeechFeatures

BEAT_HOURS, BEAT_FPS, BEAT_JOINTS = 76, 120, 75


# ------------------------------------------------------------------------------------------------
# Speech features
# ------------------------------------------------------------------------------------------------
def hearing(_, seconds=30):
    """Rows a second (20 are a second of speech), and how many times as fast as it was spoken."""
    who = speaker(0)
    phrases = script(who, "calm", float(seconds), np.random.default_rng(0))
    sound = speak(who, phrases, float(seconds), np.random.default_rng(1))
    waveform = torch.from_numpy(sound.astype(np.float32))
    wavlm = torchaudio.models.wavlm_base().eval().to(default_device())  # random weights

    def rows_of(kind):
        features = SpeechFeatures(kind)
        return lambda: features(waveform)

    def wavlm_rows():
        states = hidden_states(wavlm, waveform, [12])
        return torch.cat(list(motion_frames(states, WAVLM_RATE, WAVLM_FIRST, 20, 20 * seconds)))

    took = fastest_of({kind: rows_of(kind) for kind in ("mel", "mfcc")}, 3)
    took |= fastest_of({"wavlm": wavlm_rows}, 1)
    return {
        kind: {"rows a second": 20 * seconds / s, "times real": seconds / s}
        for kind, s in took.items()
    }


# ------------------------------------------------------------------------------------------------
# A file like BEAT's
# ------------------------------------------------------------------------------------------------
def beat_like(seed, seconds=60.0):
    """A Motion of 75 joints at 120 fps: the puppet's body with many fingers, swaying.

    Six channels on the root, XYZ on the others.
    """
    names, parents, offsets = skeleton()
    fingers = (BEAT_JOINTS - 1 - len(names)) // 2  # a side
    names, parents, offsets = list(names), parents.tolist(), offsets.tolist()
    for side, out in (("Left", 1), ("Right", -1)):
        for n in range(fingers):
            names.append(f"{side}Finger{n}")
            parents.append(names.index(f"{side}Hand") if n % 4 == 0 else len(names) - 2)
            offsets.append([out * 3, 0, 0])
    names.append("HeadEnd")
    parents.append(names.index("Head"))
    offsets.append([0, 20, 0])
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * BEAT_FPS)) / BEAT_FPS
    phase, speed = rng.uniform(0, 6, (2, len(names), 3))
    angle = 0.3 * np.sin(phase + (0.5 + speed) * t[:, None, None])  # [F, J, 3]
    rotations = exp_to_matrix(angle)  # [F, J, 3, 3]
    positions = np.tile(np.array(offsets), (len(t), 1, 1))  # [F, J, 3]
    positions[:, 0] += np.stack([3 * np.sin(t), np.sin(2 * t), np.cos(t)], axis=1)
    turns = ("Xrotation", "Yrotation", "Zrotation")
    channels = [turns] * len(names)
    channels[0] = ("Xposition", "Yposition", "Zposition", *turns)
    ends = [(j, "", (0.0, 2.0, 0.0)) for j in range(len(names)) if j not in parents]
    return Motion(
        names, np.array(parents), np.array(offsets), channels, ends, 1 / BEAT_FPS, rotations,
        positions,
    )  # fmt: skip


def plain_loop(path):
    """The same work as one would write it first, number by number -> [frames, 2 J, 3].

    Rotation vectors of the motion and of its mirror image, standardised.
    """
    lines = Path(path).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Frame Time"))
    rows = [[float(word) for word in line.split()] for line in lines[start + 1 :]]
    pairs = mirror_pairs(read_bvh(path, 0.1))[0]
    frames = []
    for row in rows[:: BEAT_FPS // 20]:
        vectors = [rotation_vector(row[3 + 3 * j : 6 + 3 * j]) for j in range(BEAT_JOINTS)]
        mirrored = [[vectors[p][0], -vectors[p][1], -vectors[p][2]] for p in pairs]
        frames.append(vectors + mirrored)
    frames = np.array(frames)  # [F, 2 J, 3]
    return (frames - frames.mean(axis=0)) / np.maximum(frames.std(axis=0), 1e-6)


def rotation_vector(angles):
    """Three angles in degrees, about X, Y and Z in turn -> a rotation vector [3]."""
    cx, cy, cz = (math.cos(math.radians(a)) for a in angles)
    sx, sy, sz = (math.sin(math.radians(a)) for a in angles)
    R = [
        [cy * cz, -cy * sz, sy],
        [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
        [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
    ]
    cosine = (R[0][0] + R[1][1] + R[2][2] - 1) / 2
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    scale = angle / (2 * math.sin(angle)) if angle > 1e-9 else 0.5
    return [scale * (R[2][1] - R[1][2]), scale * (R[0][2] - R[2][0]), scale * (R[1][0] - R[0][1])]


def read_one_minute(folder):
    """A BEAT-like minute: seconds from the file to features and their mirror image.

    Ours, and a plain loop's.
    """
    path = folder / "minute.bvh"
    write_bvh(path, beat_like(0))
    codec = PoseCodec.fit([read_bvh(path, 20)], mirror=True)

    def ours():
        pose = codec.encode(read_bvh(path, 20))  # [F, P]
        return pose, pose[:, codec.swap] * codec.sign

    motion, megabytes = read_bvh(path), path.stat().st_size / 1e6
    whole, at_20 = fastest(lambda: read_bvh(path), 3), fastest(lambda: read_bvh(path, 20))
    features, plain = fastest(ours), fastest(lambda: plain_loop(path), 2)
    write = fastest(lambda: write_bvh(folder / "copy.bvh", motion), 2)
    return dict(
        megabytes=megabytes, read_all_frames=whole, read_at_20_fps=at_20, to_features=features,
        plain_loop=plain, write=write, times_as_fast=plain / features,
        megabytes_a_second_at_20_fps=megabytes / at_20,
        megabytes_a_second_all_frames=megabytes / whole,
        megabytes_a_second_written=megabytes / write,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------
# A corpus
# ------------------------------------------------------------------------------------------------
class AnonymousMemory(threading.Thread):
    """The most memory that this program holds and that is no file's, in MB.

    Looked up 50 times a second (Linux only; elsewhere nan).
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.stop = self.now(), threading.Event()
        self.start()

    def now(self):
        """What is held at this moment, MB."""
        status = Path("/proc/self/status")
        if not status.exists():
            return float("nan")
        return int(re.search(r"RssAnon:\s*(\d+)", status.read_text())[1]) / 1e3

    def run(self):
        """The thread's own loop, until `stop` is set."""
        while not self.stop.wait(0.02):
            self.most = max(self.most, self.now())


def write_minutes(folder, minutes, kept):
    """BEAT-like minutes with sound -> [(bvh, sound)]; `kept` different ones stand behind them."""
    pairs = []
    for n in range(minutes):
        take, original = folder / f"take{n}.bvh", folder / f"take{n % kept}.bvh"
        if n < kept:
            write_bvh(take, beat_like(n))
            who, rng = speaker(n), np.random.default_rng(n)
            sound = speak(who, script(who, "calm", 60.0, rng), 60.0, rng)
            soundfile.write(take.with_suffix(".wav"), sound, SAMPLE_RATE)
        else:
            os.link(original, take)
            os.link(original.with_suffix(".wav"), take.with_suffix(".wav"))
        pairs.append((take, take.with_suffix(".wav")))
    return pairs


def prepare_half_an_hour(folder, minutes=30, kept=3):
    """Seconds and memory until a corpus of BEAT-like minutes is ready to train on.

    And what BEAT's 76 hours would take. `kept` different takes stand behind the names; the system
    has them in memory, so the time that a disk needs is not in it.
    """
    pairs, features, scores = write_minutes(folder, minutes, kept), SpeechFeatures("mel"), {}
    few = minutes // 5
    Corpus(pairs[:2], features, scratch=folder)  # warm: libraries are not the corpus' memory
    for count in (few, minutes):
        memory, start = AnonymousMemory(), time.perf_counter()
        before = memory.now()
        settings = dict(mirror=True, scratch=folder, versions=versions(OURS))
        corpus = Corpus(pairs[:count], features, **settings).to("cpu", 160)
        corpus.batch(8, torch.Generator(), OURS.openings, OURS.noisy)
        seconds = time.perf_counter() - start
        memory.stop.set()
        scores[f"{count}_minutes"] = dict(
            seconds=seconds, megabytes_of_memory=memory.most - before,
            megabytes_in_all=memory.most, pose_features=corpus.codec.pose_dim,
        )  # fmt: skip
    held = [scores[f"{count}_minutes"]["megabytes_of_memory"] for count in (few, minutes)]
    grown = max(0, held[1] - held[0]) / (minutes - few)  # MB a minute
    # On disk: motions as rotation vectors and places, then the features of both
    row = 6 * BEAT_JOINTS + corpus.codec.pose_dim + (1 + VERSIONS) * features.dim
    scores["76_hours"] = dict(
        hours=seconds * BEAT_HOURS * 60 / minutes / 3600,
        gigabytes_of_memory=(memory.most + grown * BEAT_HOURS * 60) / 1e3,
        gigabytes_of_disk=BEAT_HOURS * 3600 * 20 * 4 * row / 1e9,
    )
    return scores


# ------------------------------------------------------------------------------------------------
# Motion that is late
# ------------------------------------------------------------------------------------------------
def verdict_on(found, shift):
    """What lab/check.py says of a motion that is late by `shift`; found: its Evidence."""
    what, by = verdict(found)
    if what != "shifted":
        return what
    return "shift found" if abs(by - shift) <= 0.15 else "wrong shift"


def find_lags(_, seconds=(60, 30), shifts=(0, 0.4, 1, 3, 8, 12)):
    """Of the puppet's 12 test takes, the share that gets each verdict of lab/check.py.

    By how late their motion is made; and those of takes with another's sound. `deviations` are
    those of the best shift.
    """
    takes = [load_take(*pair) for pair in find_pairs(ready_puppet())["test"]]

    def row(found, shift=0):
        verdicts = [verdict_on(one, shift) for one in found]
        best = [max(sure for _, sure in lag_of(one)) for one in found]
        kinds = ("in step", "shift found", "wrong shift", "cannot tell")
        deviations = dict(zip(("least", "median", "most"), np.quantile(best, (0, 0.5, 1))))
        return {kind: verdicts.count(kind) / len(found) for kind in kinds} | deviations

    scores = {}
    for length in seconds:
        cut = [first_seconds(motion, waveform, length) for motion, waveform in takes]
        rows = {}
        for shift in shifts:
            late = int(shift * SAMPLE_RATE)
            found = [evidence(m, torch.roll(w, -late)) for m, w in cut]
            rows[f"motion {shift} s late"] = row(found, shift)
        pairs = [(m, w) for n, (m, _) in enumerate(cut) for k, (_, w) in enumerate(cut) if n != k]
        rows["another's sound"] = row([evidence(m, w) for m, w in pairs])
        scores[f"{length} s"] = rows
    return scores


def first_seconds(motion, waveform, seconds):
    """The beginning of a take."""
    n = round(seconds / motion.frame_time)
    return motion.cut(slice(n)), waveform[: seconds * SAMPLE_RATE]
