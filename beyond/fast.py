"""The same motion sooner: what a pass of the network can do without, and bfloat16.

Only bfloat16 changes numbers, by its rounding. Objects stand in the places of the network's own
methods:

    MatrixProduct   a convolution as one matrix product
    ByHand          attention in bfloat16 on a CPU as two matrix products
    Once            the halves of split adaLN: the condition's is the same at all steps of a clip
    Replayed        a pass recorded as a CUDA graph
    in_bfloat16, compile_or_refuse

    for_training(model), for_sampling(model)   put them in
    threads_for_training, threads_for_sampling   how many threads of a CPU are used
"""

import functools
import math
import os
import shutil
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as fun

from beyond.departures import SplitAdaLN
from tools import CheckpointError, has_bf16

# From this width on bfloat16 is faster on a CPU that has it. One block over 400 frames, float32
# against bfloat16 on one core of an EPYC: 1.1 times at width 128, 1.7 at 256, 2.1 at 1280
BF16_WIDTH = 256


class MatrixProduct:
    """Stands in for a Conv1d's forward: x [B, C, T] -> [B, W, T - kernel + 1].

    At the paper's size with 33 frames of WavLM, forwards and backwards: 12 ms instead of cuDNN's
    126 on an H200, 122 ms instead of 1140 on two cores of a Xeon with AMX. There oneDNN's answer
    in bfloat16 was wrong, too: by up to 94 where the deviation is 0.6 (PyTorch 2.11). It costs
    memory, `kernel` copies of x.
    """

    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x):
        rows = x.transpose(1, 2).unfold(1, self.conv.kernel_size[0], 1)  # [B, F, C, kernel]
        rows = rows.flatten(2)  # [B, F, C kernel]
        weight = self.conv.weight.flatten(1)  # [W, C kernel]
        # GPUs multiply rows whose length is a multiple of 8 four times as fast as others
        fill = -rows.shape[2] % 8
        y = fun.linear(fun.pad(rows, (0, fill)), fun.pad(weight, (0, fill)), self.conv.bias)
        return y.transpose(1, 2)  # [B, W, F]


class ByHand:
    """Stands in for Block.attend: in bfloat16 on a CPU half the time of PyTorch's fused kernel."""

    def __init__(self, attend):
        self.attend = attend

    def __call__(self, q, k, v, mask):
        if q.dtype != torch.bfloat16 or q.device.type != "cpu":
            return self.attend(q, k, v, mask)
        hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -torch.inf)  # [F, keys]
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(2, 3) + hidden  # [B, heads, F, keys]
        return scores.softmax(dim=-1) @ v  # [B, heads, F, head_dim]


class Once:
    """Stands in for SplitAdaLN.forward: each half is computed once.

    The condition's half by `prepare`, once a clip; the step's half once for each diffusion step.
    """

    def __init__(self, adaln, steps):
        self.adaln, self.steps, self.half, self.step_halves = adaln, steps, None, {}

    def prepare(self, condition):
        """condition [B, F, W]; the half keeps its place in memory, where a CUDA graph reads it."""
        half = self.adaln.condition_half(condition)  # [B, F, parts W]
        if self.half is None or self.half.shape != half.shape or self.half.dtype != half.dtype:
            self.half = half
        else:
            self.half.copy_(half)

    def __call__(self, condition, step):
        step_half = self.steps.remembered(self.step_halves, self.adaln.step_half, step)
        return (self.half + step_half).chunk(self.adaln.parts, dim=-1)


class StepOnce:
    """Stands in for the step embedding's forward: computed once for each diffusion step."""

    def __init__(self, embedding):
        # The class' own forward: a twin of the model (beyond/stream.py) has this one in its place
        self.embed = functools.partial(type(embedding).forward, embedding)
        self.now, self.known, self.compiled = None, {}, False

    def at(self, t):
        """The pass that follows is at t. Not on a GPU, which would be waited for; not if compiled:
        a number would be compiled in."""
        shared = len(t) == 1 and t.device.type == "cpu" and not self.compiled
        self.now = int(t[0]) if shared else None

    def __call__(self, code):
        return self.remembered(self.known, self.embed, code)

    def remembered(self, known, function, argument):
        """function(argument), from `known` if it was computed for this step before."""
        if self.now is None:  # no step that all clips share
            return function(argument)
        if self.now not in known:
            known[self.now] = function(argument)
        return known[self.now]


class Prepared:
    """Stands in for DiffMotion.denoise on a CPU: what can be done once is done once."""

    def __init__(self, denoise, onces, steps):
        self.denoise, self.onces, self.steps, self.clip = denoise, onces, steps, None

    def __call__(self, x_t, t, condition, mask=None):
        self.steps.at(t)
        if condition is not self.clip:
            for once in self.onces:
                once.prepare(condition)
            self.clip = condition
        return self.denoise(x_t, t, condition, mask)


class Replayed:
    """Stands in for DiffMotion.denoise on a GPU: a pass is recorded once as a CUDA graph.

    The several hundred launches of a pass take Python longer than the GPU needs for them; a graph
    is one launch. It reads and writes the same memory at each replay, so x_t, t and the condition
    are copied there. A new shape is recorded anew, which costs two passes. The answer is good until
    the next pass. A pass with a mask of its own is made the plain way.
    """

    def __init__(self, denoise, onces, steps):
        self.denoise, self.onces, self.steps = denoise, onces, steps
        self.clip = self.graph = None

    def __call__(self, x_t, t, condition, mask=None):
        if mask is not None:
            self.graph = None  # its memory is used otherwise
            return Prepared(self.denoise, self.onces, self.steps)(x_t, t, condition, mask)
        if self.graph is None or (x_t.shape, t.shape) != (self.x_t.shape, self.t.shape):
            self.record(x_t, t, condition)
        if condition is not self.clip:
            self.condition.copy_(condition)
            self.prepare()
            self.clip = condition
        self.x_t.copy_(x_t)
        self.t.copy_(t)
        self.graph.replay()
        return self.eps

    def prepare(self):
        """The condition's halves of the clip whose condition was copied in."""
        for once in self.onces:
            once.prepare(self.condition)

    def record(self, x_t, t, condition):
        """Record a pass of this shape."""
        self.x_t, self.t, self.condition = x_t.clone(), t.clone(), condition.clone()
        self.clip = None
        self.prepare()
        # What is done but once, as compiling, must not be recorded
        self.denoise(self.x_t, self.t, self.condition)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.eps = self.denoise(self.x_t, self.t, self.condition)


def prepare(model, stand_in=Prepared, compiled=False):
    """Let `model` compute once what is the same at all steps, or for all clips."""
    onces, steps = [], StepOnce(model.step_embedding)
    steps.compiled = compiled
    model.step_embedding.forward = steps
    for adaln in model.modules():
        if isinstance(adaln, SplitAdaLN):
            adaln.forward = Once(adaln, steps)
            onces.append(adaln.forward)
    model.denoise = stand_in(model.denoise, onces, steps)


def plain_products(model):
    """Convolutions as matrix products, attention by hand where that is faster."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            module.forward = MatrixProduct(module)
        if hasattr(module, "attend"):
            module.attend = ByHand(module.attend)


def in_bfloat16(model):
    """Weights in bfloat16; what comes in is brought to that type, what goes out is float32."""
    for name, weight in model.named_parameters():
        if not name.endswith("shares"):  # these mix features in float32
            weight.data = weight.data.bfloat16()

    def narrow(module, arguments):
        return tuple(x.bfloat16() for x in arguments)

    for entrance in (model.speech_encoder, model.step_embedding, model.gesture_encoder):
        entrance.register_forward_pre_hook(narrow)


# ------------------------------------------------------------------------------------------------
# Threads of a CPU. OMP_NUM_THREADS, where it is set, says how many, and nothing here does anything
# ------------------------------------------------------------------------------------------------
def threads_for_sampling(generator, waited_for):
    """One thread for a small model, and for any that somebody waits for (--live, --stream).

    But where WavLM runs, which keeps all cores busy. A small model's products take less time than
    threads need to meet. Where another program has the second core, they wait for each other at
    each of them: docs/speed.md has the figures.
    """
    if generator.features.kind != "wavlm" and (waited_for or is_small(generator.model)):
        at_most_threads(1)


def threads_for_training(model):
    """Two threads for a small model: more have nothing to do, and wait for each other."""
    if is_small(model):
        at_most_threads(2)


def is_small(model):
    """Is the model too small to keep several threads busy?"""
    return model.size["width"] < BF16_WIDTH


def at_most_threads(most):
    """No more threads than so many, unless the user says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(most, torch.get_num_threads()))


# ------------------------------------------------------------------------------------------------
# All of it
# ------------------------------------------------------------------------------------------------
def for_training(model, device, compile=False):
    """Make training steps faster. compile: one kernel for what stands between two products.

    The blocks are alike and all windows have one length, so it compiles once: 15 s on an H100, for
    370 windows a second at the paper's size instead of 270.
    """
    plain_products(model)
    if compile:
        for block in model.blocks:
            compile_or_refuse(block, device)


def for_sampling(model, device, precision="auto", compile=False):
    """Make sampling faster: precision "float32", "bfloat16" or "auto", where it is faster."""
    plain_products(model)
    wide = model.size["width"] >= BF16_WIDTH
    if precision == "bfloat16" or (precision == "auto" and wide and has_bf16(device)):
        in_bfloat16(model)
    model.eval().to(device)
    if compile:
        model.denoise = compile_or_refuse(model.denoise, device)
    else:  # asked for at each step, and the same each time; a compiled pass would break there
        model.mask, model.angles = (functools.lru_cache(2)(f) for f in (model.mask, model.angles))
    on_gpu = torch.device(device).type == "cuda"
    prepare(model, Replayed if on_gpu else Prepared, compiled=compile)


def compile_or_refuse(function, device):
    """torch.compile, where it can work; CheckpointError where it cannot."""
    folder = str(Path(torch.__file__).parent)
    if " " in folder:  # it hands the compiler this path without quotes
        raise CheckpointError(
            f"--compile: torch.compile cannot work where PyTorch's folder has a space in its path "
            f"({folder}); leave --compile out, or keep the project in a folder without"
        )
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual)
    if torch.device(device).type == "cpu" and not shutil.which(compiler):
        raise CheckpointError(
            f"--compile: needs the C++ compiler {compiler}, which is not installed; "
            "install it, or leave --compile out"
        )
    if isinstance(function, nn.Module):  # in place: its weights keep their names
        function.compile()
        return function
    return torch.compile(function)
