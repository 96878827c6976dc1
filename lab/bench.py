"""How fast is it?   python -m lab.bench     (make bench)

One function a thing measured. Each prints its figures, and all go to results/bench-<machine>.json;
`python -m lab.bench table` makes tables of that. A machine that does other work at the same time is
slow in all of them alike: compare the ratios within one function, which measures its rates in turn,
and not the seconds.

    step_times            one pass of the network at the small and the paper's size: float32,
                          bfloat16, split and joint adaLN, and its share of a plain product's rate
    training              windows a second of the training step, and the same share
    samplers              seconds of motion a second, for each sampler, in batches and in chunks
    hearing               feature rows a second of mel, mfcc and WavLM (random weights)
    read_one_minute       a minute of a corpus like BEAT, from the file to mirrored features
    prepare_half_an_hour  30 such minutes until training could begin, its memory, and 76 hours
    find_lags             what lab/check.py can find of puppet takes that are shifted by known times
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from lab.bench_network import DEVICE, SIZES, samplers, step_times, training
from lab.bench_recordings import (
    AnonymousMemory,
    find_lags,
    hearing,
    prepare_half_an_hour,
    read_one_minute,
)
from lab.evaluate import finite
from lab.machine import machine
from tools import HERE, Parser, run_script, written_beside

MEASURED = {
    function.__name__: function
    for function in (
        step_times,
        training,
        samplers,
        hearing,
        read_one_minute,
        prepare_half_an_hour,
        find_lags,
    )
}
IN_TABLES = list(MEASURED)[:5]


# ------------------------------------------------------------------------------------------------
# What was measured
# ------------------------------------------------------------------------------------------------
def print_scores(scores, indent=2):
    """Nested scores as indented lines; a dictionary of numbers alone is one line."""
    for name, score in scores.items():
        start = f"{' ' * indent}{name:<28} "
        if isinstance(score, str):
            print(f"{start}{score}")
        elif not isinstance(score, dict):
            print(f"{start}{score:10.3f}")
        elif any(isinstance(value, dict) for value in score.values()):
            print(f"{' ' * indent}{name}")
            print_scores(score, indent + 2)
        else:
            print(start + "  ".join(f"{key} {value:.3g}" for key, value in score.items()))


def table(results):
    """Tables in Markdown of what a run has measured; results/README.md joins several machines'."""
    print("| a pass for 20 s of motion | split adaLN | joint adaLN | split's share of a plain "
          "product's rate |\n|---|---|---|---|")  # fmt: skip
    for name in (f"{size} {kind}" for size in SIZES for kind in ("float32", "bfloat16")):
        if score := results["step_times"].get(name):
            longer, share = score["joint takes times as long"], score["share of a product"]
            split = f"{1e3 * score['split']:.4g} ms"
            print(f"| {name} | {split} | {longer:.2f} times as long | {share:.2f} |")
    print("\n| what | how fast |\n|---|---|")
    for name, score in scores_in(results["training"]):
        rate, share = score["windows a second"], score["share of a product"]
        what = f"{rate:.0f} windows a second, {share:.2f} of a plain product's rate"
        print(f"| training, {name} | {what} |")
    for name, score in scores_in(results["samplers"]):
        figures = ", ".join(f"{key}: {value:.3g}" for key, value in score.items())
        print(f"| {name} | {figures}{'' if 'times real' in score else ' times real time'} |")
    heard = (f"{kind}: {score['times real']:.3g}" for kind, score in scores_in(results["hearing"]))
    print(f"| speech features, times real time | {', '.join(heard)} |")
    bvh = results["read_one_minute"]
    read, whole = bvh["megabytes_a_second_at_20_fps"], bvh["megabytes_a_second_all_frames"]
    rates = f"read at 20 fps: {read:.0f} MB/s, all of it: {whole:.0f} MB/s"
    written = f"written: {bvh['megabytes_a_second_written']:.0f} MB/s"
    print(f"| BVH of 75 joints, 120 fps | {rates}, {written} |")
    peaks = {name: score.get("peak_megabytes") for name, score in scores_in(results)}
    held = ", ".join(f"{name}: {peak:.0f} MB" for name, peak in peaks.items() if peak)
    print(f"| most memory held | {held} |")


def scores_in(scores):
    """Those of its entries that are scores by themselves, not a date or a peak."""
    return [(name, score) for name, score in scores.items() if isinstance(score, dict)]


def measure(name, path):
    """Run one, print its figures, and put them into the file beside those of the others."""
    memory = AnonymousMemory() if Path("/proc/self/status").exists() else None
    with tempfile.TemporaryDirectory() as folder:
        scores = MEASURED[name](Path(folder))
    if memory:
        memory.stop.set()
        scores["peak_megabytes"] = memory.most
    if DEVICE == "cuda":
        scores["peak_gpu_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
    scores["date"] = date.today().isoformat()
    print(name)
    print_scores(scores)
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = finite(scores)
    results["machine"] = {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    with written_beside(path) as beside:
        beside.write_text(json.dumps(results, indent=1, default=float) + "\n")


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def run_each(names):
    """Each in a program of its own: what one took and kept would count as the next one's memory."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    for name in tqdm(names, desc="measuring", disable=None):
        command = [sys.executable, "-m", "lab.bench", name]
        if subprocess.run(command, env=os.environ | dict(PYTHONPATH=path)).returncode:
            raise SystemExit(1)  # it has said why


def main(arguments=None):
    """The command `bench`."""
    what = "Measure how fast this machine does it; results/bench-MACHINE.json."
    parser = Parser(prog="python -m lab.bench", description=what)
    which = f"which of {', '.join(MEASURED)} (default: all); or table: the last run as tables"
    parser.add_argument("only", nargs="*", help=which)
    args = parser.parse_args(arguments)
    for name in args.only:
        if name not in (*MEASURED, "table"):
            parser.error(f"nothing is called {name!r}")
    path = Path("results") / f"bench-{machine()}.json"
    path.parent.mkdir(exist_ok=True)
    if len(args.only) == 1 and args.only != ["table"]:
        measure(args.only[0], path)
        print(path)
        return
    run_each([name for name in MEASURED if not args.only or name in args.only])
    results = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in IN_TABLES if name not in results]
    if "table" in args.only and missing:
        parser.error(f"{path}: has no {missing[0]} yet; run python -m lab.bench")
    if not missing:
        table(results)
    print(path)


if __name__ == "__main__":
    run_script(main)
