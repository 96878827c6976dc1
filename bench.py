"""How fast is it?   python bench.py     (make bench)

One function a thing measured. Each prints its figures, and all go to results/bench-<machine>.json; python bench.py table
makes tables of that. A machine that does other work at the same time is slow in all of them alike: compare
the ratios within one function, which measures its rates in turn, and not the seconds.

    step_times           one pass of the network at the small and the paper's size: float32, bfloat16, split and joint adaLN,
                         and what share of a plain matrix product's rate it reaches
    training             windows a second of the training step, and the same share
    samplers             seconds of motion a second, for each sampler at the small size and for 20 steps at the paper's
    hearing              feature rows a second, of mel, mfcc and WavLM (random weights)
    read_one_minute      a minute of a corpus like BEAT, from the file to mirrored, standardised features, against a plain loop
    prepare_half_an_hour 30 such minutes until training could begin, its memory, and what 76 hours would take
    find_lags            puppet takes whose sound is shifted by known times: what data.py check can find, and what not
"""
import copy
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import data
import diffmotion
import evaluate
import puppet
import sample
import train
import wavlm_loader
from motion import Motion, PoseCodec, exp_to_matrix, mirror_pairs, read_bvh, write_bvh, written_beside
from wavlm_loader import SAMPLE_RATE, SpeechFeatures

BEAT_HOURS, BEAT_FPS, BEAT_JOINTS = 76, 120, 75
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TYPES = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if data.has_bf16(DEVICE) else {})      # emulated bfloat16 is of use to nobody
# train.py's defaults, and the paper's size; pose and speech as the puppet's and ZEGGS' are about
SIZES = {"small": dict(pose_dim=46, speech_dim=40, width=128, depth=4, heads=4, attention_window=100, segment=40),
         "paper": dict(pose_dim=200, speech_dim=768, width=1280, depth=12, heads=16, attention_window=400, segment=40)}
FRAMES = 400                 # 20 s, the paper's clip


def machine():
    """A name for this machine that can stand in a file's name: the processor, the instructions that PyTorch uses of it (two that differ in
    them may call themselves the same), how many cores this program may use, and the GPU where there is one."""
    try:
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):                     # not Linux, or a processor that does not say
        model = platform.processor() or platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability() + " amx" * torch.cpu._is_amx_tile_supported()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if DEVICE == "cuda" else ""
    return re.sub(r"[^a-z0-9]+", "-", f"{model} {instructions} {cores} cores {gpu}".lower()).strip("-")


def fastest(function, times=5, warm=True):
    """The shortest of some runs in seconds: what else the machine does can only make a run longer."""
    return fastest_of({"": function}, times, warm)[""]


def fastest_of(functions, times=5, warm=True):
    """{name: function} -> {name: seconds}. They take turns, so that a noisy moment hits none of them alone; a first turn only warms up."""
    seconds = {name: [] for name in functions}
    for turn in range(times + warm):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if DEVICE == "cuda":                     # it was only told what to do until here
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(turns[warm:]) for name, turns in seconds.items()}


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
    """A BEAT-like minute: seconds from the file to features and their mirror image, ours and a plain loop's."""
    path = folder / "minute.bvh"
    write_bvh(path, beat_like(0))
    codec = PoseCodec.fit([read_bvh(path, 20)], mirror=True)

    def ours():
        pose = codec.encode(read_bvh(path, 20))                              # [F, P]
        return pose, pose[:, codec.swap] * codec.sign

    motion, megabytes = read_bvh(path), path.stat().st_size / 1e6
    scores = dict(megabytes=megabytes, read_all_frames=fastest(lambda: read_bvh(path), 3), read_at_20_fps=fastest(lambda: read_bvh(path, 20)),
                  to_features=fastest(ours), plain_loop=fastest(lambda: plain_loop(path), 2), write=fastest(lambda: write_bvh(folder / "copy.bvh", motion), 2))
    return scores | dict(times_as_fast=scores["plain_loop"] / scores["to_features"], megabytes_a_second_at_20_fps=megabytes / scores["read_at_20_fps"],
                         megabytes_a_second_all_frames=megabytes / scores["read_all_frames"], megabytes_a_second_written=megabytes / scores["write"])


def plain_product(dtype):
    """The largest product of the paper's size, [rows, 1280] x [1280, 5120] -> (function, operations): the rate to compare with. On a CPU 800 rows; on a
    GPU the 14,400 of its batch of 36 windows, ten times over, or most of what is measured would be the launch and the wait for it."""
    rows, times = (36 * FRAMES, 10) if DEVICE == "cuda" else (2 * FRAMES, 1)
    a, b = torch.randn(rows, 1280, device=DEVICE, dtype=dtype), torch.randn(1280, 5120, device=DEVICE, dtype=dtype)
    return lambda: [a @ b for _ in range(times)], times * 2 * a.numel() * b.shape[1]


def operations(function):
    """Multiplications and additions in the matrix products, convolutions and attentions of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@torch.no_grad()
def step_times(_):
    """Seconds a pass for 20 s of motion, without guidance, and split adaLN's share of a plain product's rate in the same type.

    Both forms and the product take turns. What is made once a clip is not in it.
    """
    scores = {}
    for size, settings in SIZES.items():
        models = {form: diffmotion.DiffMotion(diffmotion.DiffMotionConfig(**settings, adaln=form)).eval().to(DEVICE) for form in ("split", "joint")}
        for name, dtype in TYPES.items():
            product, product_work = plain_product(dtype)
            runs, t = {"product": product}, torch.tensor([5], device=DEVICE)
            for form, model in models.items():
                model.to(dtype)
                x, condition = (torch.randn(1, FRAMES, width, device=DEVICE, dtype=dtype) for width in (settings["pose_dim"], settings["width"]))
                runs[form] = lambda model=model, x=x, ready=(model.speech_halves(condition), model.step_halves(t), model.turns(0, FRAMES), model.mask(FRAMES)): model.denoise(x, t, *ready)
            seconds = fastest_of(runs, 20 if size == "small" else 2)
            scores[f"{size} {name}"] = {form: seconds[form] for form in models} | {
                "joint takes times as long": seconds["joint"] / seconds["split"], "product gflop/s": product_work / seconds["product"] / 1e9,
                "share of a product": operations(runs["split"]) / seconds["split"] / (product_work / seconds["product"])}
        if "bfloat16" in TYPES:
            scores[f"{size} float32 takes times as long as bfloat16"] = scores[f"{size} float32"]["split"] / scores[f"{size} bfloat16"]["split"]
    return scores


def training(_, batch=8, window=160):
    """The step of train.py at its defaults, without drawing the windows: windows a second, and the share of a plain product's rate.

    With AdamW alone, and with Muon too, which is train.py's default. Where there is a GPU, also the paper's size (36 windows of 400 frames), and in bfloat16 with its --compile.
    """
    scores = {}
    for size, batch, window in (("small", batch, window),) + (("paper", 36, 400),) * (DEVICE == "cuda"):
        config = diffmotion.DiffMotionConfig(**SIZES[size], memory=train.Settings.memory, momentum=train.Settings.momentum)
        schedule = diffmotion.NoiseSchedule()
        x0, speech = (torch.randn(batch, window, n, device=DEVICE) for n in (config.pose_dim, config.speech_dim))
        for name, way in itertools.chain(itertools.product(TYPES, ("", " Muon")), [("bfloat16", " compiled"), ("bfloat16", " Muon compiled")] * (DEVICE == "cuda" and "bfloat16" in TYPES)):
            model = diffmotion.DiffMotion(config, schedule).to(DEVICE)
            predict = model
            ema, optimisers = copy.deepcopy(model).requires_grad_(False), train.optimisers_of(model, train.Settings(lr=1e-6, muon=2.0 if "Muon" in way else 0.0, device=DEVICE)).values()

            def step():
                t, eps = torch.randint(1000, (batch,), device=DEVICE), torch.randn_like(x0)
                with torch.autocast(DEVICE, torch.bfloat16, enabled=name == "bfloat16"):
                    predicted = predict(schedule.add_noise(model.innovations(x0), t, eps), t, speech, torch.zeros(batch, dtype=torch.bool, device=DEVICE), phase=torch.randint(config.segment, (batch,), device=DEVICE))
                model.zero_grad(set_to_none=True)
                error = (eps - predicted.float()) ** 2
                torch.mean(error / schedule.abar(t, error) ** 0.5).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                for optimiser in optimisers:
                    optimiser.step()
                torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 0.002)

            work = operations(step)
            if "compiled" in way:                    # as in train.py
                for block in model.blocks:
                    data.compile_or_refuse(block, DEVICE)
            product, product_work = plain_product(TYPES[name])
            seconds = fastest_of(dict(product=product, step=step), 8)
            scores[f"{size} {name}{way}"] = {"windows a second": batch / seconds["step"], "milliseconds a step": 1e3 * seconds["step"],
                                        "share of a product": work / seconds["step"] / (product_work / seconds["product"])}
    return scores


def samplers(_):
    """Seconds of motion a second: each sampler for one clip of 20 s at the small size, then batches, chunks, and the paper's size with 20 and 10 steps."""
    speech = {size: torch.randn(8, FRAMES, SIZES[size]["speech_dim"], device=DEVICE) for size in SIZES}
    scores, schedule = {}, diffmotion.NoiseSchedule()

    def model(size, dtype):
        network = diffmotion.DiffMotion(diffmotion.DiffMotionConfig(**SIZES[size], memory=train.Settings.memory, momentum=train.Settings.momentum)).eval().to(DEVICE)
        for weight in network.parameters():
            weight.data = weight.data.to(dtype)
        return network

    def times_real(runs, clips=1, times=5):
        return {name: clips * FRAMES / 20 / seconds for name, seconds in fastest_of(runs, times).items()}

    small, settings = model("small", torch.float32), dict(steps=sample.STEPS, guidance=sample.GUIDANCE)
    scores["small, 10 steps with guidance"] = times_real({name: lambda name=name: diffmotion.generate(small, schedule, speech["small"][:1], name, **settings)
                                                          for name in diffmotion.SAMPLERS})
    scores["small, without guidance"] = times_real({sample.SAMPLER: lambda: diffmotion.generate(small, schedule, speech["small"][:1], sample.SAMPLER, sample.STEPS)})
    scores["small, 8 clips in a batch"] = times_real({sample.SAMPLER: lambda: diffmotion.generate(small, schedule, speech["small"], sample.SAMPLER, **settings)}, clips=8, times=2)
    scores["small, in chunks"] = times_real({f"{chunk} frames": lambda chunk=chunk: list(diffmotion.generate_stream(small, schedule, speech["small"][:1], chunk=chunk, segment=min(chunk, small.config.segment), **settings))
                                             for chunk in (10, 20, 40, 200)}, times=2)
    name = "bfloat16" if data.has_bf16(DEVICE) else "float32"    # as sample.py chooses
    network = model("paper", TYPES[name])

    def clip(network, sampler, steps):
        return lambda: diffmotion.generate(network, schedule, speech["paper"][:1], sampler, steps)

    if DEVICE == "cpu":
        networks = {name: network}
        if data.has_int8():
            networks["int8"] = model("paper", torch.float32)
            for block in networks["int8"].blocks:
                sample.in_int8(block)
            for weight in networks["int8"].parameters():     # what is left beside the blocks' products
                weight.data = weight.data.to(TYPES[name])
        for net in networks.values():
            clip(net, "ddim", 1)()                          # warm
        runs = {f"{n} steps of ddim, {kind}": clip(net, "ddim", n) for n in (20, 10) for kind, net in networks.items()}
        for what, seconds in fastest_of(runs, 2, warm=False).items():
            scores[f"paper's size, {what}"] = {"seconds for 20 s": seconds, "times real": 20 / seconds}
        return scores
    schedule.abar(torch.zeros(1, dtype=torch.long, device=DEVICE), torch.zeros(1, device=DEVICE))       # as sample.load_generator does
    network.schedule, plain = schedule, network.denoise
    for compiled in (False, True):
        network.denoise = sample.Replayed(data.compile_or_refuse(plain, DEVICE) if compiled else plain)
        for sampler, steps in (("ddim", 20), ("ddpm", 1000)):
            clip(network, sampler, 3)()                          # warm
            seconds = fastest(clip(network, sampler, steps), 1, warm=False)
            scores[f"paper's size, {steps} steps of {sampler}, {name}{', --compile' * compiled}"] = {"seconds for 20 s": seconds, "times real": 20 / seconds}
    return scores


def hearing(_, seconds=30):
    """Rows a second (20 are a second of speech) and how many times as fast as it was spoken."""
    waveform = torch.from_numpy(puppet.speak(puppet.speaker(0), puppet.script(puppet.speaker(0), "calm", float(seconds), np.random.default_rng(0)), float(seconds),
                                             np.random.default_rng(1)).astype(np.float32))
    runs = {kind: lambda features=SpeechFeatures(kind): features(waveform) for kind in ("mel", "mfcc")}
    wavlm = torchaudio.models.wavlm_base().eval().to(DEVICE)

    def wavlm_rows():
        return torch.cat(list(wavlm_loader.motion_frames(wavlm_loader.hear(wavlm, waveform, [12]), 50, 0.0125, 20, 20 * seconds)))

    took = fastest_of(runs, 3) | fastest_of({"wavlm": wavlm_rows}, 1)
    return {kind: {"rows a second": 20 * seconds / s, "times real": seconds / s} for kind, s in took.items()}


class AnonymousMemory(threading.Thread):
    """The most memory this program holds that is not a file's, in MB, looked up 50 times a second (Linux only; elsewhere nan)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.stop = self.now(), threading.Event()
        self.start()

    def now(self):
        """What is held at this moment, MB."""
        status = Path("/proc/self/status")
        return int(re.search(r"RssAnon:\s*(\d+)", status.read_text())[1]) / 1e3 if status.exists() else float("nan")

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
        corpus = data.Corpus(sounds[:count], features, mirror=True, scratch=folder, noisy=train.HEARD_NOISY, voices=train.Settings.voices).to("cpu", 160)
        corpus.batch(8, torch.Generator(), 0.25)
        seconds = time.perf_counter() - start
        memory.stop.set()
        scores[f"{count}_minutes"] = dict(seconds=seconds, megabytes_of_memory=memory.most - before, megabytes_in_all=memory.most,
                                          pose_features=corpus.codec.pose_dim)
    whole = BEAT_HOURS * 60 / minutes
    frames = BEAT_HOURS * 3600 * 20
    grown = (scores[f"{minutes}_minutes"]["megabytes_of_memory"] - scores[f"{minutes // 5}_minutes"]["megabytes_of_memory"]) / (minutes - minutes // 5)
    # on disk: motions as rotation vectors and places, then features of both
    disk = frames * 4 * (6 * BEAT_JOINTS + corpus.codec.pose_dim + (1 + train.HEARD_NOISY) * features.dim) / 1e9
    return scores | {"76_hours": dict(hours=seconds * whole / 3600, gigabytes_of_memory=(memory.most + max(0, grown) * BEAT_HOURS * 60) / 1e3, gigabytes_of_disk=disk)}


def verdict(lag, follows, shift):
    """What data.py check says of a motion that is known to be late by `shift`, from data.lag_of_motion's two numbers."""
    if follows < data.FOLLOWS:
        return "cannot tell"
    if abs(lag) <= data.IN_STEP:
        return "in step"
    return "shift found" if abs(lag - shift) <= 0.1 else "wrong shift"


def find_lags(_, seconds=(60, 30), shifts=(0, 0.2, 0.4, 1, 3, 8, 12)):
    """Of the puppet's 12 test takes, the share that gets each verdict of data.py check, by how late their motion is made."""
    if not evaluate.PUPPET.exists():
        puppet.write_corpus(evaluate.PUPPET)
    takes = [data.load_take(*pair) for pair in data.find_pairs(evaluate.PUPPET)["test"]]

    def quantiles(values):
        return dict(zip(("least", "median", "most"), np.quantile(values, (0, 0.5, 1))))

    scores = {}
    for length in seconds:
        frames = [round(length / m.frame_time) for m, _ in takes]
        cut = [(replace(m, rotations=m.rotations[:n], positions=m.positions[:n]), w[:length * SAMPLE_RATE]) for (m, w), n in zip(takes, frames)]
        own = [data.lag_of_motion(m, w)[1] for m, w in cut]
        others = [data.lag_of_motion(m, w)[1] for k, (m, _) in enumerate(cut) for n, (_, w) in enumerate(cut) if n != k]
        rows = {"own sound": quantiles(own), "another's sound": quantiles(others) | {"taken for related": float(np.mean(np.array(others) >= data.FOLLOWS))}}
        for shift in shifts:
            verdicts = [verdict(*data.lag_of_motion(m, torch.roll(w, -int(shift * SAMPLE_RATE))), shift) for m, w in cut]
            rows[f"motion {shift} s late"] = {kind: verdicts.count(kind) / len(verdicts) for kind in ("in step", "shift found", "wrong shift", "cannot tell")}
        scores[f"{length} s"] = rows
    return scores


def print_scores(scores, indent=2):
    """Nested scores as indented lines; a dictionary of numbers alone is one line."""
    for name, score in scores.items():
        if not isinstance(score, dict):
            print(f"{' ' * indent}{name:<28} {score:10.3f}" if not isinstance(score, str) else f"{' ' * indent}{name:<28} {score}")
        elif any(isinstance(value, dict) for value in score.values()):
            print(f"{' ' * indent}{name}")
            print_scores(score, indent + 2)
        else:
            print(f"{' ' * indent}{name:<28} " + "  ".join(f"{key} {value:.3g}" for key, value in score.items()))


def table(results):
    """Tables in Markdown of what a run of all has measured; those of results/README.md join several machines by hand."""
    steps, train, motion, heard, bvh = (results[name] for name in ("step_times", "training", "samplers", "hearing", "read_one_minute"))
    print("| a pass for 20 s of motion | split adaLN | joint adaLN | split's share of a plain product's rate |\n|---|---|---|---|")
    for name in (f"{size} {kind}" for size in SIZES for kind in ("float32", "bfloat16")):
        if name in steps:
            print(f"| {name} | {1e3 * steps[name]['split']:.4g} ms | {steps[name]['joint takes times as long']:.2f} times as long | {steps[name]['share of a product']:.2f} |")
    print("\n| what | how fast |\n|---|---|")
    for name, score in train.items():
        if isinstance(score, dict):
            print(f"| training, {name} | {score['windows a second']:.0f} windows a second, {score['share of a product']:.2f} of a plain product's rate |")
    for name, score in motion.items():
        if isinstance(score, dict):
            print(f"| {name} | " + ", ".join(f"{key}: {value:.3g}" for key, value in score.items()) + (" times real time |" if "times real" not in score else " |"))
    print("| hearing, times real time | " + ", ".join(f"{kind}: {score['times real']:.3g}" for kind, score in heard.items() if isinstance(score, dict)) + " |")
    print(f"| BVH of 75 joints, 120 fps | read at 20 fps: {bvh['megabytes_a_second_at_20_fps']:.0f} MB/s, all of it: {bvh['megabytes_a_second_all_frames']:.0f} MB/s, "
          f"written: {bvh['megabytes_a_second_written']:.0f} MB/s |")
    print("| most memory held | " + ", ".join(f"{name}: {score['peak_megabytes']:.0f} MB" for name, score in results.items() if "peak_megabytes" in score) + " |")


def measure(function, path):
    """Run one, print its figures, and put them into the file beside those of the others."""
    memory = AnonymousMemory() if Path("/proc/self/status").exists() else None
    with tempfile.TemporaryDirectory() as folder:
        scores = function(Path(folder))
    if memory:
        memory.stop.set()
        scores["peak_megabytes"] = memory.most
    if DEVICE == "cuda":
        scores["peak_gpu_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
    scores["date"] = date.today().isoformat()
    print(function.__name__)
    print_scores(scores)
    results = json.loads(path.read_text()) if path.exists() else {}
    results[function.__name__] = evaluate.finite(scores)
    results["machine"] = {"device": torch.cuda.get_device_name() if DEVICE == "cuda" else machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    with written_beside(path) as beside:
        beside.write_text(json.dumps(results, indent=1, default=float) + "\n")


def main():
    measured = [step_times, training, samplers, hearing, read_one_minute, prepare_half_an_hour, find_lags]
    parser = data.Parser(prog="bench.py", description="Measure how fast this machine does it; results/bench-MACHINE.json.")
    parser.add_argument("only", nargs="*", help="which of " + ", ".join(f.__name__ for f in measured) + " (default: all); or table, to print the last run as tables")
    args = parser.parse_args()
    unknown = set(args.only) - {f.__name__ for f in measured} - {"table"}
    if unknown:
        parser.error(f"nothing is called {sorted(unknown)[0]!r}")
    path = Path("results") / f"bench-{machine()}.json"
    path.parent.mkdir(exist_ok=True)
    if len(args.only) == 1 and args.only != ["table"]:
        measure(next(f for f in measured if f.__name__ == args.only[0]), path)
        print(path)
        return
    # Each in a program of its own: what one took and kept would count as the next one's memory.
    for function in tqdm([f for f in measured if f.__name__ in (args.only or [f.__name__])], desc="measuring", disable=None):
        if subprocess.run([sys.executable, __file__, function.__name__]).returncode:
            raise SystemExit(1)                      # it has said why
    results = json.loads(path.read_text()) if path.exists() else {}
    missing = [f.__name__ for f in measured[:5] if f.__name__ not in results]        # the five that the tables are made of
    if "table" in args.only and missing:
        parser.error(f"{path}: has no {missing[0]} yet; run python bench.py")
    if not missing:
        table(results)
    print(path)


if __name__ == "__main__":
    data.run_script(main)
