"""How fast is the network? Measurements for lab/bench.py.

step_times    one pass at the small and the paper's size, and its share of a plain matrix
              product's rate
training      windows a second
samplers      seconds of motion a second
"""

import copy
import itertools
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from beyond import fast
from beyond.recipes import OURS, undo
from beyond.samplers import SAMPLERS, generate_whole
from beyond.stream import generate_stream, segment_of
from diffmotion import DiffMotion, NoiseSchedule
from lab.machine import fastest, fastest_of
from tools import default_device, has_bf16
from train import CLIP, average

DEVICE = default_device()
# Emulated bfloat16 is of use to nobody
TYPES = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if has_bf16(DEVICE) else {})
# train.py's defaults, and the paper's size; pose and speech about as the puppet's and ZEGGS'
SIZES = {
    "small": dict(pose_dim=46, speech_dim=40, width=128, depth=4, heads=4),
    "paper": dict(pose_dim=200, speech_dim=768, width=1280, depth=12, heads=16),
}
RECIPES = {"small": OURS, "paper": undo(OURS, ["window"])}  # the paper's 20 s see each other
FRAMES = 400  # 20 s, the paper's clip


def plain_product(dtype):
    """The largest product of the paper's size, the rate to compare with -> (function, operations).

    [rows, 1280] x [1280, 5120]. On a CPU 800 rows; on a GPU the 14,400 of its batch of 36 windows,
    ten times over, or most of what is measured would be the launch and the wait for it.
    """
    rows, times = (36 * FRAMES, 10) if DEVICE == "cuda" else (2 * FRAMES, 1)
    a = torch.randn(rows, 1280, device=DEVICE, dtype=dtype)
    b = torch.randn(1280, 5120, device=DEVICE, dtype=dtype)
    return lambda: [a @ b for _ in range(times)], times * 2 * a.numel() * b.shape[1]


def operations(function):
    """Multiplications and additions in the products, convolutions and attentions of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


# ------------------------------------------------------------------------------------------------
# A pass
# ------------------------------------------------------------------------------------------------
@torch.no_grad()
def step_times(_):
    """Seconds a pass for 20 s of motion, without guidance, and its share of a product's rate.

    Split and joint adaLN and the product, in the same type, take turns. What is computed once a
    clip is not in it; nor is a GPU's replay, which would hide the operations from the counter.
    """
    scores = {
        f"{size} {name}": of_passes(size, name) for size, name in itertools.product(SIZES, TYPES)
    }
    for size in SIZES if "bfloat16" in TYPES else ():
        ratio = scores[f"{size} float32"]["split"] / scores[f"{size} bfloat16"]["split"]
        scores[f"{size} float32 takes times as long as bfloat16"] = ratio
    return scores


def of_passes(size, precision):
    """The scores of step_times for one size and precision."""
    product, product_work = plain_product(TYPES[precision])
    passes = {form: one_pass(size, form, precision) for form in ("split", "joint")}
    seconds = fastest_of({"product": product} | passes, 20 if size == "small" else 2)
    rate, work = product_work / seconds["product"], operations(passes["split"])
    return {
        "split": seconds["split"],
        "joint": seconds["joint"],
        "joint takes times as long": seconds["joint"] / seconds["split"],
        "product gflop/s": rate / 1e9,
        "share of a product": work / seconds["split"] / rate,
    }


def one_pass(size, form, precision):
    """A pass of a network that is ready for sampling, as a function without arguments."""
    recipe = RECIPES[size] if form == "split" else undo(RECIPES[size], ["split"])
    model = DiffMotion(**SIZES[size], recipe=recipe)
    fast.for_sampling(model, "cpu", precision)  # as for a CPU: without a graph
    model.to(DEVICE)
    x = torch.randn(1, FRAMES, SIZES[size]["pose_dim"], device=DEVICE)
    condition = torch.randn(1, FRAMES, SIZES[size]["width"], device=DEVICE, dtype=TYPES[precision])
    return partial(model.denoise, x, torch.tensor([5], device=DEVICE), condition)


# ------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------
def training(_):
    """The step of train.py at its defaults, without drawing the windows: windows a second.

    And the share of a plain product's rate. With AdamW, and with Muon, which is train.py's default.
    Where there is a GPU, also the paper's size (36 windows of 400 frames), and --compile.
    """
    scores = {}
    ways = list(itertools.product(TYPES, ("", " Muon")))
    if DEVICE == "cuda" and "bfloat16" in TYPES:
        ways += [("bfloat16", " compiled"), ("bfloat16", " Muon compiled")]
    sizes = (("small", 8, 160), ("paper", 36, 400))
    for size, batch, window in sizes if DEVICE == "cuda" else sizes[:1]:
        for name, way in ways:
            recipe = RECIPES[size] if "Muon" in way else undo(RECIPES[size], ["muon"])
            model = DiffMotion(**SIZES[size], recipe=recipe).to(DEVICE)
            step = training_step(model, batch, window, name)
            work = operations(step)
            fast.for_training(model, DEVICE, compile="compiled" in way)
            product, product_work = plain_product(TYPES[name])
            seconds = fastest_of(dict(product=product, step=step), 8)
            rate = product_work / seconds["product"]
            scores[f"{size} {name}{way}"] = {
                "windows a second": batch / seconds["step"],
                "milliseconds a step": 1e3 * seconds["step"],
                "share of a product": work / seconds["step"] / rate,
            }
    return scores


def training_step(model, batch, window, precision):
    """A step of train.train in this precision, as a function without arguments."""
    recipe, schedule, size = model.recipe, model.schedule, model.size
    pose, speech = (
        torch.randn(batch, window, size[name], device=DEVICE) for name in ("pose_dim", "speech_dim")
    )
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = recipe.optimiser(model, 1e-6)
    drop = torch.zeros(batch, dtype=torch.bool, device=DEVICE)
    segment = segment_of(model)

    def step():
        t, eps = torch.randint(1000, (batch,), device=DEVICE), torch.randn_like(pose)
        phases = torch.randint(segment, (batch,), device=DEVICE)  # [B]
        mask = recipe.mask(window, DEVICE, phases=phases)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
            x_t = schedule.add_noise(model.transform(pose), t, eps)  # [B, F, P]
            predicted = model(x_t, t, speech, drop, mask)  # [B, F, P]
        model.zero_grad(set_to_none=True)
        recipe.loss(schedule, t, (eps - predicted) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        average(ema, model, recipe.ema, 10_000)

    return step


# ------------------------------------------------------------------------------------------------
# Sampling
# ------------------------------------------------------------------------------------------------
def ready(size, precision, compile=False):
    """A network of random weights, as sample.py makes it ready."""
    model = DiffMotion(**SIZES[size], recipe=RECIPES[size])
    fast.for_sampling(model, DEVICE, precision, compile)
    return model


def samplers(_):
    """Seconds of motion a second: each sampler for one clip of 20 s, then batches and chunks.

    All at the small size; then the paper's size with 20 and 10 steps.
    """
    speech = torch.randn(8, FRAMES, SIZES["small"]["speech_dim"], device=DEVICE)
    model, schedule = ready("small", "float32"), NoiseSchedule()
    usual, plain = (dict(steps=OURS.steps, guidance=g) for g in (OURS.guidance, 1.0))

    def clips(count, sampler, **settings):
        return partial(generate_whole, model, schedule, speech[:count], sampler, **settings)

    def chunks(size):
        segment = min(size, segment_of(model))
        settings = dict(chunk=size, segment=segment) | usual
        return lambda: list(generate_stream(model, schedule, speech[:1], **settings))

    def times_real(runs, clips=1, times=5):
        seconds = fastest_of(runs, times)
        return {name: clips * FRAMES / 20 / seconds[name] for name in seconds}

    ours = OURS.sampler
    alone = {name: clips(1, name, **usual) for name in SAMPLERS}
    pieces = {f"{size} frames": chunks(size) for size in (10, 20, 40, 200)}
    return {
        "small, 10 steps with guidance": times_real(alone),
        "small, without guidance": times_real({ours: clips(1, ours, **plain)}),
        "small, 8 clips in a batch": times_real({ours: clips(8, ours, **usual)}, 8, times=2),
        "small, in chunks": times_real(pieces, times=2),
    } | papers_size(schedule)


def papers_size(schedule):
    """Seconds for 20 s of motion at the paper's size, in the precision that sample.py chooses."""
    speech = torch.randn(1, FRAMES, SIZES["paper"]["speech_dim"], device=DEVICE)
    name = "bfloat16" if "bfloat16" in TYPES else "float32"
    walks = (("ddim", 20), ("ddim", 10)) if DEVICE == "cpu" else (("ddim", 20), ("ddpm", 1000))
    scores = {}
    for compiled in (False,) if DEVICE == "cpu" else (False, True):
        model = ready("paper", name, compiled)
        clip = partial(generate_whole, model, schedule, speech)
        clip("ddim", 1)  # warm
        runs = {f"{steps} steps of {sampler}, {name}": (sampler, steps) for sampler, steps in walks}
        for what, walk in runs.items():
            seconds = fastest(partial(clip, *walk), 2 if DEVICE == "cpu" else 1, warm=False)
            label = f"paper's size, {what}{', --compile' * compiled}"
            scores[label] = {"seconds for 20 s": seconds, "times real": 20 / seconds}
    return scores
