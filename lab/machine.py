"""This machine's name, and how long things take on it."""

import os
import platform
import re
import time
from pathlib import Path

import torch


def machine():
    """A name for this machine that can stand in a file's name.

    The processor, the instructions that PyTorch uses of it (two processors that differ in them may
    have one name), the number of cores that this program may use, and the GPU where there is one.
    """
    try:
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):  # not Linux, or a processor that does not say
        model = platform.processor() or platform.machine()
    amx = " amx" * torch.cpu._is_amx_tile_supported()
    instructions = torch.backends.cpu.get_cpu_capability() + amx
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    name = f"{model} {instructions} {cores} cores {gpu}".lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def fastest(function, times=5, warm=True):
    """The shortest of some runs, in seconds: other work on the machine can only lengthen a run."""
    return fastest_of({"": function}, times, warm)[""]


def fastest_of(functions, times=5, warm=True):
    """{name: function} -> {name: seconds of its shortest run}.

    The functions take turns, so that a busy moment hits none of them alone. A first turn only warms
    up.
    """
    seconds = {name: [] for name in functions}
    for _ in range(times + warm):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():  # until here the GPU was only told what to do
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(turns[warm:]) for name, turns in seconds.items()}
