"""Training, by hand:   python train.py                      the talking puppet, ten minutes on two CPU cores
                       python train.py --data FOLDER         your own paired BVH and sound files

All of it is one loop below: draw windows, draw noise levels, add noise, predict it, take the mean squared error. That is the
paper's loss (equation 14 of Ho et al. 2020); ours gives large noise levels more weight. What lands in --out:

    last.pt         the model and all that sampling needs, and what --resume needs
    before/         all of this of an earlier run in the same folder, if this one began without --resume (then before-2/, ...)
    model.pt        the model and all that sampling needs, in half the digits: to give away
    loss.png        the loss curve
    sample-N.png    what the model does after N steps to a held-out take
    layers.png      how much of each layer of WavLM the model takes, for --layer sum
    scores.json     how well it does on the takes held out for the test, at the end

Several GPUs of one machine share each batch:   torchrun --nproc-per-node 4 train.py --data FOLDER ...
The run is the same, up to rounding, on any number of them.
"""
import argparse
import copy
import itertools
import json
import math
import os
import shlex
import signal
import sys
import time
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import evaluate
from baselines import MODELS
from data import CACHE, CheckpointError, Corpus, Parser, compile_or_refuse, device, find_pairs, has_bf16, load_take, run_script, seed_number, send, usable_takes
from diffmotion import DiffMotionConfig, NoiseSchedule
from motion import BvhError, written_beside
from pictures import new_figure, plot_motion, write_picture
from sample import FORMAT, Generator, read_checkpoint
from wavlm_loader import LAYERS, SpeechFeatures


@dataclass
class Settings:
    """Everything that one can set; the comment is the help text. The defaults are for the puppet on two CPU cores."""
    data: str = "puppet"            # 'puppet' (written on first use), or a folder of paired BVH and sound files
    features: str = "mel"           # what is heard: mel, mfcc or wavlm (the paper's)
    out: str = "runs/puppet"        # folder for the checkpoint, the pictures and the scores
    steps: int = 3600               # optimiser steps; what two cores do in seven to eight minutes
    batch: int = 8                  # windows a step, of all GPUs together: many small steps go further in ten minutes than few large ones (authors: 36)
    window: int = 160               # frames a window: 8 s, two or three phrases of the puppet (the authors': 400)
    model: str = "diffmotion"       # diffmotion, or one of those that it is compared with, see baselines.py: add, concat, none, direct (give it --memory 0), frames
    width: int = 128                # 1280 for the paper's size, with --depth 12 --heads 16
    depth: int = 4                  # transformer blocks
    heads: int = 4                  # attention heads
    attention_window: int = 100     # frames that a frame sees, itself and those before it, beside its segment; at most --window, so that it is used as it was trained
    segment: int = 40               # frames that all see each other, 2 s, also those after them; at most --window. 1 is the paper, where a frame sees only the past: see sliding_causal_mask
    adaln: str = "split"            # "joint" is the paper's form: see AdaLN in diffmotion.py
    answer: str = "v"               # what the network answers; "eps", the noise itself, is the paper's: see NoiseSchedule.eps_from_v
    loss_power: float = 0.5         # the squared error of the noise is divided by abar to this power: 0 is the paper's loss, 1 is the squared error of v
    lr: float = 1e-3                # peak learning rate; the authors' 2e-4 is for ten times the width
    muon: float = 2.0               # learning rate of Muon, which moves the matrices of the ear and the blocks, as a multiple of --lr; 0: AdamW moves them too
    warmup: int = 200               # steps of linear warm-up (the authors: 1000, of far more)
    clip: float = 0.5               # gradient norm is clipped here (the authors' value)
    weight_decay: float = 0.01      # how strongly weights are pulled towards zero, so that they do not grow without need; AdamW's default
    ema: float = 0.998              # decay of the averaged weights, which are what gets sampled: a memory of 500 steps
    noise: float = 0.25             # share of windows whose speech is heard with noise laid over it, see data.in_noise. Not for WavLM, whose own training had noise in it
    voices: float = 0.4             # the windows of --noise are first heard in another voice, formants moved by up to so many octaves, and through another microphone, see data.in_another_voice; 0: only in noise
    drop: float = 0.1               # share of windows trained without their speech, for guidance, which steers away from the answer to no speech (the authors' value)
    diffusion_steps: int = 1000     # T of the noise schedule (the authors' value)
    beta_end: float = 2e-2          # last beta; DDPM's, since the authors' own configurations disagree (5e-2, 8e-2)
    memory: float = 0.9             # share of the last pose that is no news to a frame, 0 is the paper, and then --momentum is nothing: see DiffMotion.innovations
    momentum: float = 0.5           # share of the last change that is no news either, see diffmotion.news. Takes a sixth of the hands' jerk; with --segment 1 a fifth to a quarter, but three to seven syllables in a thousand too
    test: tuple = ()                # names of takes to hold out for the test, * and ? allowed; by default those in a folder test/, else those that the corpus' authors hold out, else a tenth
    skip: bool = False              # leave out takes that cannot be used instead of stopping at the first
    mirror: bool = False            # learn from every take and its mirror image (the authors do); not for the puppet's default, to keep its numbers
    joints: str = ""                # joints to learn, the others rest: "upper", "no-fingers", "upper,no-fingers" or names, as "Spine*,*Arm,*Hand"
    fps: float = 20                 # motion frames a second (the authors' value). Windows, --memory, --momentum and how far speech is heard count frames: at 30 all of them, and segments, last two thirds as long
    seed: int = 0                   # the same seed gives the same run, bit for bit on a CPU
    save_every: int = 250           # steps between checkpoints
    picture_every: int = 1000       # steps between pictures of a sample
    no_scores: bool = False         # leave out the scores at the end, which take a minute: for runs that are scored by another command
    device: str = "cuda" if torch.cuda.is_available() else "cpu"   # cpu or cuda
    compile: bool = False           # let torch.compile fuse the network's small operations: a minute at the start, for long runs on a GPU
    wavlm_checkpoint: str = ""      # WavLM Base+ weights, for --features wavlm: torchaudio's, Microsoft's or Hugging Face's file
    layer: str = "last"             # which layer of WavLM: last (the paper's), 0 to 12, or sum (all, with learned shares)
    cache: str = CACHE              # folder that keeps WavLM's features from run to run


def parse():
    """(Settings, those of them that were given {name: value}, --resume) from the command line; the help texts are the comments of Settings."""
    parser = Parser(prog="train.py", description="Train DiffMotion-v2.", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    source = Path(__file__).read_text(encoding="utf-8").split("class Settings")[1].split("\n\n")[0]
    for field in fields(Settings):
        comment = next(line for line in source.splitlines() if line.startswith(f"    {field.name}:")).rpartition("# ")[2]
        kind = {tuple: dict(nargs="+", metavar="NAME"), bool: dict(action="store_true")}.get(field.type, dict(type=dict(device=device, seed=seed_number).get(field.name, field.type)))
        parser.add_argument("--" + field.name.replace("_", "-"), default=field.default, help=comment, **kind)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out where its last checkpoint was written, with its settings")
    # argparse gives no default to what is there already: so None is what was not given, and help can still say the defaults
    args = vars(parser.parse_args(namespace=argparse.Namespace(**{field.name: None for field in fields(Settings)})))
    resume, given = args.pop("resume"), {name: tuple(value) if name == "test" else value for name, value in args.items() if value is not None}
    settings = Settings(**given)
    for name in ("steps", "batch", "window", "segment", "width", "depth", "heads", "attention_window", "diffusion_steps", "save_every", "picture_every"):
        if getattr(settings, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {getattr(settings, name)}")
    for name, least, most in (("lr", 1e-12, 1), ("muon", 0, 1000), ("clip", 1e-12, 1e9), ("weight_decay", 0, 1000), ("ema", 0, 0.999999), ("drop", 0.001, 0.999), ("warmup", 0, 1e9),
                              ("noise", 0, 1), ("voices", 0, 1), ("memory", 0, 0.999), ("loss_power", 0, 1), ("momentum", 0, 0.999), ("fps", 1, 240)):
        if not least <= getattr(settings, name) <= most:         # nan is refused too
            parser.error(f"--{name.replace('_', '-')} must be between {least:g} and {most:g}, not {getattr(settings, name)}")
    try:
        NoiseSchedule(settings.diffusion_steps, beta_end=settings.beta_end)
    except ValueError as error:
        parser.error(f"--beta-end, --diffusion-steps: {error}")
    if settings.attention_window > settings.window and not resume:
        parser.error(f"--attention-window {settings.attention_window} is more than --window {settings.window}: the model would be used with a longer past than it was trained with; give at most that")
    if settings.segment > settings.window and not resume:
        parser.error(f"--segment {settings.segment} is more than --window {settings.window}: the model would be used with longer ones than it was trained with; give at most that, better half of it")
    if settings.features == "wavlm":                 # it learnt to hear through noise itself
        if given.get("noise"):
            parser.error(f"--noise {settings.noise:g}: is for mel and mfcc, WavLM's own training had noise in it; leave it out")
        settings.noise = 0.0
    for name, needs, why in (("voices", settings.noise, "the windows that are heard in noise, and here there are none (--noise 0, or WavLM)"), ("momentum", settings.memory, "what --memory leaves, and with --memory 0 poses are diffused as they are")):
        if given.get(name) and not needs and not resume:
            parser.error(f"--{name} {given[name]:g}: is for {why}; leave it out")
        if not needs:                                # so that no checkpoint names what was not used
            setattr(settings, name, 0.0)
    if (settings.width % settings.heads or settings.width // settings.heads % 2) and not resume:
        parser.error(f"--width {settings.width} does not divide into {settings.heads} heads of even size")
    if settings.features not in ("mel", "mfcc", "wavlm"):
        parser.error(f"--features is mel, mfcc or wavlm, not {settings.features!r}")
    if settings.layer not in LAYERS:
        parser.error(f"--layer is last, sum or 0 to 12, not {settings.layer!r}")
    if settings.features != "wavlm" and settings.layer != "last" and not resume:
        parser.error(f"--layer {settings.layer} chooses among WavLM's layers; give --features wavlm too")
    if settings.model not in MODELS:
        parser.error(f"--model is one of {', '.join(MODELS)}, not {settings.model!r}")
    for name, forms in (("adaln", ("split", "joint")), ("answer", ("v", "eps"))):
        if getattr(settings, name) not in forms:
            parser.error(f"--{name} is {' or '.join(forms)}, not {getattr(settings, name)!r}")
    return settings, given, resume


def learning_rate(step, s, peak):
    """Linear warm-up to `peak`, then half a cosine down to zero: the last steps average out what the first ones stirred up."""
    if step < s.warmup:
        return peak * (step + 1) / s.warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - s.warmup) / max(1, s.steps - s.warmup)))


def flattened(A, rounds=5):
    """Matrices with all but the smallest of their singular values brought to about one (0.65 to 1.2), A = U S V^T to nearly U V^T: [n, rows, columns] -> the same, in A's own precision.

    Newton and Schulz's iteration: X + X X^T X and such odd polynomials act on each singular value s by itself, here as p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5.
    The numbers are Jordan's: p pushes what is small up as fast as it can (3.4 times a round), and what is near one it keeps near one.
    """
    X = A.mT if A.shape[1] > A.shape[2] else A                           # [n, small, large]: the products of rows are the smaller ones
    X = X / (X.norm(dim=(1, 2), keepdim=True) + 1e-7)                    # no singular value is larger than one: beyond 1.3 or so the iteration would run away
    for _ in range(rounds):
        XXt = X @ X.mT                                                   # [n, small, small]
        X = torch.baddbmm(X, torch.baddbmm(XXt, XXt, XXt, beta=-4.775, alpha=2.0315), X, beta=3.4445)    # [n, small, large]
    return X.mT if A.shape[1] > A.shape[2] else X                        # [n, rows, columns]


class Muon(torch.optim.Optimizer):
    """Muon (Jordan 2024): momentum, and then a step of which nearly all directions are about equally long.

    AdamW scales each number of a gradient by itself, so in a matrix the few directions in which most examples agree rule the step. Muon takes the gradient's
    running mean as the matrix that it is, and `flattened` makes the step go as far in the directions that few examples ask for. For matrices only; a convolution's
    weights [W, C, kernel] are one, [W, C kernel]. Which, is said in optimisers_of: not those that read and write poses and steps, as is usual, but the ear's, since bands of sound are much alike.

    params, and lr, weight_decay: as for AdamW; momentum: how much of the running mean stays at each step; dtype: what `flattened` computes in. PyTorch's own takes
    the same steps (tests/test_scripts.py), but matrix by matrix, and always in bfloat16: where a processor has to emulate that, training took eight times as long.
    """

    def __init__(self, params, lr, weight_decay, momentum=0.95, dtype=torch.float32):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        """Moves each parameter p [rows, columns, ...] that has a gradient: p <- (1 - lr weight_decay) p - lr 0.2 sqrt(max(rows, columns)) flattened(mean), columns of all further sizes together."""
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            for shape in dict.fromkeys(p.shape for p in learning):       # matrices of one shape go through the small products together
                alike = [p for p in learning if p.shape == shape]
                gradients, means = [p.grad for p in alike], []
                for p in alike:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                    means.append(self.state[p]["momentum_buffer"])
                torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
                # Nesterov: where the mean will be after one more gradient like this
                ahead = torch._foreach_lerp(gradients, means, group["momentum"])
                ahead = torch.stack(ahead).flatten(2)                    # [n, rows, columns]
                steps = flattened(ahead.to(self.dtype)).to(ahead.dtype)  # [n, rows, columns]
                # As long as AdamW's steps usually are, 0.2 a number, so that one learning rate means about the same to both (Liu et al. 2025, arXiv 2502.16982)
                torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(alike, list(steps.view(-1, *shape)), alpha=-group["lr"] * 0.2 * math.sqrt(max(steps.shape[1:])))


def optimisers_of(model, s):
    """Muon for the matrices of the ear and the blocks, AdamW for the rest (or, with `muon` 0, for all) -> {name in last.pt: optimiser}."""
    hidden = {name for name, p in model.named_parameters() if s.muon and p.dim() >= 2 and name.startswith(("hear", "voice", "understand", "blocks"))}
    rest = [p for name, p in model.named_parameters() if name not in hidden]
    # Weight decay pulls matrices towards zero, which keeps them from growing; biases have no reason to be near zero.
    adamw = torch.optim.AdamW([dict(params=[p for p in rest if p.dim() >= 2], weight_decay=s.weight_decay), dict(params=[p for p in rest if p.dim() < 2], weight_decay=0.0)],
                              lr=s.lr, betas=(0.9, 0.99), fused=True)
    if not hidden:
        return dict(optimiser=adamw)
    muon = Muon([p for name, p in model.named_parameters() if name in hidden], s.muon * s.lr, s.weight_decay, dtype=torch.bfloat16 if has_bf16(s.device) else torch.float32)
    return dict(optimiser=adamw, muon=muon)


def contents(name, model, ema, schedule, corpus):
    """What sampling needs, all of it: sample.load_generator reads this and nothing else."""
    return dict(format=FORMAT, network=name, model=model.settings(), schedule=schedule.settings(), ema=ema.state_dict(),
                codec=corpus.codec.state(), speech=corpus.features.settings(), speech_scale=list(corpus.speech_scale))


def save(path, state):
    """Write a checkpoint beside and rename it: a run killed in the middle of this still has the last one."""
    with written_beside(path) as beside, open(beside, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:                # "unexpected pos 704 vs 598": what torch makes of a disk that is full
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def plot_loss(path, losses, every, last):
    """The loss curve: each mean over `every` steps (the end's over fewer, up to step `last`), and a running mean. Most of the loss is noise that nobody can predict."""
    steps = np.minimum((np.arange(len(losses)) + 1) * every, last)
    figure = new_figure(8, 4, layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="#bbbbbb", lw=1, label=f"mean of {every} steps")
    wide = min(20, len(losses))
    axes.plot(steps[wide - 1:], np.convolve(losses, np.ones(wide) / wide, mode="valid"), color="#2e6f9e", lw=2, label=f"mean of {wide * every} steps")
    axes.set(yscale="log", xlabel="step", ylabel="weighted mean squared error of the predicted noise")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    write_picture(path, figure, dpi=100)


def plot_layers(path, shares):
    """How much of each layer the model takes: shares [13], which add up to one."""
    figure = new_figure(8, 4, layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(range(len(shares)), shares, color="#2e6f9e")
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
    axes.axhline(1 / len(shares), color="#666666", lw=0.8, ls=":")
    axes.set(xticks=range(len(shares)), xlabel="layer of WavLM (0 enters the first block, 12 leaves the last)", ylabel="share of the sum",
             title="how much of each layer the model takes (dotted: equal shares, as at the start)")
    write_picture(path, figure, dpi=100)


# What a resumed run may be given otherwise than the first. The data may have moved; whether they are the same is seen from the takes
HERE_AND_NOW = ("out", "data", "no_scores", "save_every", "picture_every", "device", "compile", "wavlm_checkpoint", "cache")
ANEW = ("out", "device", "compile")      # and what it does not take over: the folder may have moved, and the machine be another
HEARD_NOISY = 3              # times that each take is heard in noise; each takes as much memory as the clean hearing, and 0.15 s of a core a minute of speech
CHECK_EVERY = 10             # steps between looks at the loss: each look makes a GPU wait for all it was given


def main():
    settings, given, resume = parse()
    out = Path(settings.out)
    saved = None
    if resume:
        saved = read_checkpoint(out / "last.pt")
        if "training" not in saved:
            raise CheckpointError(f"{out / 'last.pt'}: was written for sampling only and cannot be resumed; train anew")
        try:
            before = Settings(**dict(muon=0.0, noise=0.0, voices=0.0, segment=1, momentum=0.0) | saved["training"]["settings"])   # runs from before there were these do not have them
        except TypeError as error:                   # a setting that there is no more
            raise CheckpointError(f"{out / 'last.pt'}: comes from another version ({error}); train anew") from None
        before.test = tuple(before.test)
        for name, value in given.items():            # a setting given with --resume must not be ignored in silence
            if value != getattr(before, name) and name not in HERE_AND_NOW:
                raise CheckpointError(f"--{name.replace('_', '-')} {value}: the run in {out} was started with {getattr(before, name)}; leave it out, or start anew in another --out")
        settings = Settings(**asdict(before) | given | {name: getattr(settings, name) for name in ANEW})
    s = settings
    # torchrun starts this script once a GPU and says by these variables how many there are and which one this is. Each draws
    # the whole batch from the same seed and takes its share; DistributedDataParallel averages the gradients.
    ranks, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if s.batch % ranks:
        raise CheckpointError(f"--batch {s.batch} does not divide among {ranks} processes; give a multiple of that")
    if ranks > 1:
        if s.device == "cuda":
            s.device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(s.device)
        # a day: the others wait while the first one writes the cache of WavLM's features
        dist.init_process_group("nccl" if s.device.startswith("cuda") else "gloo", timeout=timedelta(days=1))
    say = print if rank == 0 else lambda *_: None
    mine = slice(rank * s.batch // ranks, (rank + 1) * s.batch // ranks)
    if rank > 0:                                     # the first one writes the puppet and the cache, the others read them
        dist.barrier()
    if s.data == "puppet" and not evaluate.PUPPET.exists():
        import puppet
        puppet.write_corpus(evaluate.PUPPET)
    pairs = find_pairs(evaluate.PUPPET if s.data == "puppet" else s.data, s.test, s.skip)
    pairs = {part: takes if part == "train" else usable_takes(takes, s.skip) for part, takes in pairs.items()}

    # ---- data: on the device, or on disk where there is more of it -----------------------------------------------------------
    features = SpeechFeatures(s.features, s.fps, s.wavlm_checkpoint or None, s.layer, s.device)
    out.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(pairs["train"], features, joints=s.joints, mirror=s.mirror, skip=s.skip, scratch=out, cache=s.cache, noisy=HEARD_NOISY if s.noise else 0, voices=s.voices).to(s.device, s.window)
    if ranks > 1 and rank == 0:
        dist.barrier()
    short = sum(len(pose) < s.window for pose in corpus.poses)
    if short:
        say(f"{short} of {len(corpus.poses)} takes are shorter than a window of {s.window} frames and not learnt from; a smaller --window takes them in")
    say(f"{len(corpus.poses)} takes, {corpus.seconds / 60:.1f} min, {corpus.codec.pose_dim} pose features, {features.dim} speech features ({s.features})")
    if s.features == "wavlm":
        size = sum(speech.numel() * speech.element_size() for speech in corpus.speeches)
        say(f"{s.cache}: {size / 1e9:.2f} GB of WavLM's features, {size / 1e6 / corpus.seconds * 3600:.0f} MB an hour of speech")

    # ---- model -----------------------------------------------------------------------------------------------
    torch.manual_seed(s.seed)
    schedule = NoiseSchedule(s.diffusion_steps, beta_end=s.beta_end)
    model = MODELS[s.model](DiffMotionConfig(corpus.codec.pose_dim, features.dim // features.layers, s.width, s.depth, s.heads, s.attention_window, s.adaln,
                                        memory=s.memory, momentum=s.momentum, speech_layers=features.layers, answer=s.answer, segment=s.segment), schedule).to(s.device)
    if s.memory:                                     # the deviation of what is new in a frame, over the training set
        model.innovation_scale.copy_(corpus.innovation_scale(s.memory, s.momentum).clamp(min=1e-4))
    ema = copy.deepcopy(model).requires_grad_(False)
    optimisers = optimisers_of(model, s)
    bf16 = has_bf16(s.device)
    say(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {s.device}, {'bfloat16' if bf16 else 'float32'}")
    takes = [[bvh.name, len(pose)] for (bvh, _), pose in zip(corpus.pairs, corpus.poses)]
    first, losses, kept = 0, [], 0                   # losses: mean of every CHECK_EVERY steps; kept: the step that is in last.pt
    if saved:
        if DiffMotionConfig(**saved["model"]) != model.config or saved["training"].get("takes", takes) != takes:
            raise CheckpointError(f"{out / 'last.pt'}: the takes to train on in {s.data} are not those that the run was started with; restore them or start anew")
        model.load_state_dict(saved["training"]["weights"])
        ema.load_state_dict(saved["ema"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(saved["training"][name])
        first = kept = saved["training"]["step"]
        losses = saved["training"]["losses"]

    generator = Generator(ema, schedule, corpus.codec, features, corpus.speech_scale, s.device, s.cache)
    example = (pairs["valid"] or pairs["test"] or corpus.pairs)[0]    # the take that the pictures show
    example_speech = load_take(*example)[1][:12 * 16_000]

    predict = model
    if ranks > 1:                                    # some baselines have parts that they do not use
        predict = DistributedDataParallel(predict, device_ids=[s.device] if s.device.startswith("cuda") else None, find_unused_parameters=s.model != "diffmotion")
    if s.compile:
        # Between two matrix products stand a norm, a scale, a shift, a gate: each reads and writes all of x, and costs a launch. The compiler
        # makes one kernel of each such row. The blocks are alike and all windows have one length, so it compiles once: 15 s on an H100, for 370
        # windows a second at the paper's size instead of 270. The network as a whole took 53 s, was 4% faster, and at the small size failed in PyTorch 2.11.
        for block in model.blocks:
            compile_or_refuse(block, s.device)

    earlier = [path for name in ("last.pt", "model.pt", "scores.json", "loss.png", "layers.png", "sample-*.png") for path in sorted(out.glob(name))]
    if rank == 0 and not saved and earlier:          # a forgotten --resume must not cost a night's work, nor one that is forgotten twice; and no model.pt may pass for this run's
        before = next(folder for folder in (out / f"before{f'-{n}' * (n > 1)}" for n in itertools.count(1)) if not folder.exists())
        before.mkdir()
        for path in earlier:
            path.replace(before / path.name)
        say(f"what an earlier run left in {out} is now in {before}" + f"; --resume would have gone on with it, and --resume --out {shlex.quote(str(before))} does" * (before / "last.pt").exists())

    # ---- the loop --------------------------------------------------------------------------------------------
    asked_to_stop = []
    usual = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}

    def stop_soon(number, _):
        """Ctrl-C or kill: save at the next look at the loss, and go; the second time at once."""
        asked_to_stop.append(number)
        signal.signal(number, signal.SIG_DFL)
        if rank == 0:
            tqdm.write(f"stopping: at most {CHECK_EVERY} more steps, then all is saved; the second time at once", file=sys.stderr)

    for sign in usual:
        signal.signal(sign, stop_soon)
    started, recent = time.time(), []
    model.train()
    bar = tqdm(range(first, s.steps), initial=first, total=s.steps, desc="training", unit="step", smoothing=0.05, disable=rank > 0)
    for step in bar:
        # Each step draws from a seed of its own, so that a resumed run draws what the killed one would have drawn.
        random = torch.Generator().manual_seed(s.seed * 1_000_003 + step)
        pose, speech = corpus.batch(s.batch, random, s.noise)                # [B, F, P], [B, F, S]
        x0 = model.innovations(pose)                                         # [B, F, P]
        t = send(torch.randint(s.diffusion_steps, (s.batch,), generator=random), s.device)   # [B]
        eps = send(torch.randn(x0.shape, generator=random), s.device)        # [B, F, P]
        withheld = send(torch.rand(s.batch, generator=random) < s.drop, s.device)            # [B] bool: these learn to do without speech, for guidance
        phase = send(torch.randint(s.segment, (s.batch,), generator=random), s.device)       # [B]: a window may begin anywhere in a segment
        x0, speech, t, eps, withheld, phase = (whole[mine] for whole in (x0, speech, t, eps, withheld, phase))       # from here on B is this GPU's share

        x_t = schedule.add_noise(x0, t, eps)                                 # [B, F, P]
        target = x0 if s.model == "direct" else eps                          # least squares, a baseline, has no noise to predict
        also = dict(x0=x0) if s.model == "frames" else dict(phase=phase if s.segment > 1 else None)  # and frame by frame is taught by the recorded frames
        with torch.autocast(torch.device(s.device).type, torch.bfloat16, enabled=bf16):
            predicted = predict(x_t, t, speech, withheld, **also)            # [B, F, P]
        error = (target - predicted.float()) ** 2                            # [B, F, P]
        # Left or right hand, stroke or rest: such things are settled at large t, where an error in eps is small whatever the network says. Ho et al.
        # leave it so and neglect large t; v's own error (Salimans & Ho 2022) is this one / abar, and neglects small t. We take the middle between the two.
        loss = torch.mean(error if s.model == "direct" else error / schedule.abar(t, error) ** s.loss_power)

        model.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), s.clip)
        for optimiser, peak in zip(optimisers.values(), (s.lr, s.muon * s.lr)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, s, peak)
            optimiser.step()
        # The first average is short: at step n it forgets what is older than about n / 10 steps.
        decay = min(s.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)

        recent.append(torch.stack([loss.detach(), norm]))        # [2]
        done = step + 1
        if done % CHECK_EVERY and done < s.steps:
            continue
        recent.append(torch.full_like(recent[0], len(asked_to_stop)))
        values, recent = torch.stack(recent), []     # [steps + 1, 2]
        if ranks > 1:                                # the mean of all, and all stop at the same step
            dist.all_reduce(values)
            values /= ranks
        *values, (stop, _) = values.tolist()
        # A loss can be finite where its gradient is not, and after such a step the weights are not either: they must not be saved
        bad = next((n for n, pair in enumerate(values) if not all(map(math.isfinite, pair))), None)
        if bad is not None:
            bar.close()
            kept = f"{out / 'last.pt'} keeps step {kept}, the last good one" if kept else "no checkpoint was due before it"
            if rank > 0:                             # one says it
                raise SystemExit(2)
            raise CheckpointError(f"the loss or its gradient is not a number at step {done - len(values) + bad}; {kept}; try a smaller --lr, now {s.lr:g}")
        losses.append(sum(loss for loss, _ in values) / len(values))
        bar.set_postfix(loss=f"{np.mean(losses[-20:]):.4f}", refresh=False)
        if stop or done % s.save_every < CHECK_EVERY or done == s.steps:
            kept = done
        if rank == 0 and kept == done:
            save(out / "last.pt", dict(contents(s.model, model, ema, schedule, corpus), training=dict(
                settings=asdict(s), takes=takes, step=done, losses=losses, weights=model.state_dict(), **{name: optimiser.state_dict() for name, optimiser in optimisers.items()})))
        if stop and done < s.steps:
            bar.close()
            raise SystemExit(f"stopped after {done} steps and saved; continue with: python train.py --out {shlex.quote(str(out))} --resume")
        if rank == 0 and done % s.picture_every < CHECK_EVERY and done < s.steps:
            picture = generator(generator.hear(example_speech), seed=s.seed)[0]
            plot_motion(out / f"sample-{done}.png", f"{example[0].stem} after {done} steps", picture, example_speech)
    if ranks > 1:
        dist.destroy_process_group()
    if rank > 0:                                     # pictures and scores are the first one's work
        return
    print(f"{(time.time() - started) / 60:.1f} minutes for {s.steps - first} steps -> {out / 'last.pt'}")
    plot_loss(out / "loss.png", losses, CHECK_EVERY, s.steps)
    if features.layers > 1:
        plot_layers(out / "layers.png", ema.layer_shares.softmax(dim=0).tolist())
    small = contents(s.model, model, ema, schedule, corpus)
    small["ema"] = {name: weight.half() for name, weight in small["ema"].items()}
    save(out / "model.pt", small)
    for sign, handler in usual.items():              # the model is saved: from here on it stops at once
        signal.signal(sign, handler)
    if asked_to_stop:
        raise SystemExit(f"stopped: the training was at its end, and {out / 'model.pt'} is saved; evaluate.py scores it")

    # ---- what has it learnt? ---------------------------------------------------------------------------------
    picture = generator(generator.hear(example_speech), seed=s.seed)[0]
    plot_motion(out / f"sample-{s.steps}.png", f"{example[0].stem} after {s.steps} steps", picture, example_speech)
    if not pairs["test"] and not s.no_scores:
        print("no scores: no take is held out for the test; name some with --test, or evaluate.py can judge the model on another folder")
    if pairs["test"] and not s.no_scores:
        try:
            scores = evaluate.evaluate(generator, pairs["test"], s.seed)
        except BvhError as error:                    # no joint is called a hand: there are no strokes to score, and the model is saved
            print(f"no scores: {error}")
            return
        evaluate.print_table(scores)
        with written_beside(out / "scores.json") as beside:
            beside.write_text(json.dumps(evaluate.finite(dict(scores=scores, settings=asdict(s))), indent=1) + "\n")


if __name__ == "__main__":
    run_script(main)
