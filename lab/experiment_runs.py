"""What the experiments share: corpora, trainings, scores, and what both are kept in.

    corpus                        a folder of the puppet, written if it is not there
    trained, train_side_by_side   models, in runs/experiments/
    remembered                    scores, in runs/experiments/scores/
    takes_of, within              takes, and parts of them; scores_within
    one_model, on_seeds           all metrics of a model
    bounds, bounds_within         what no model can pass, and what it must

A killed experiment goes on where it was, and one that shares a model with another does not train it
again. Run one at a time (--jobs trains its models side by side): two that want the same model would
write the same files.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

import train
from beyond.recipes import names_of, recipe_for
from lab import baselines, metrics, reference, report
from lab.evaluate import finite, generate_for
from lab.machine import machine
from lab.puppet_scores import OF_TWO_SEEDS, puppet_scores
from recordings.pairs import CorpusError, find_pairs
from recordings.puppet import PUPPET, write_corpus
from runs import HERE_AND_NOW
from sample import load_generator
from tools import HERE, has_bf16, read_checkpoint, written_beside

RUNS = Path("runs/experiments")
SAMPLING = ("sampler", "steps", "guidance", "warmup_frames")  # a recipe's fields after training


# ------------------------------------------------------------------------------------------------
# Corpora
# ------------------------------------------------------------------------------------------------
def corpus(name="puppet", **settings):
    """The folder of a puppet corpus, written if it is not there; settings as for write_corpus.

    CorpusError for one that has another number of takes.
    """
    folder = PUPPET if name == "puppet" else Path("corpora") / name
    if not folder.exists():
        write_corpus(folder, **settings)
    for part in ("train", "valid", "test"):
        there = len(list((folder / part).glob("*.bvh")))
        if there != settings.get(part, there):
            raise CorpusError(
                f"{folder}: has {there} takes in {part}/, and {settings[part]} are wanted: it was "
                "written with other settings; delete it or move it away"
            )
    return folder


def takes_of(folder, part="test"):
    """A part of a puppet corpus -> (recorded Motions, waveforms, answers), lists over takes."""
    return reference.read_held_out(find_pairs(folder)[part], 20)


def within(motion, answers, start, stop):
    """Motion and answers of the seconds from start to stop; phrases cut in two are left out."""
    a, b = round(start / motion.frame_time), round(stop / motion.frame_time)

    def shifted(x, *names):
        return x | {name: x[name] - start for name in names}

    def stretches(name):
        cut = [(max(s, start) - start, min(e, stop) - start) for s, e in answers[name]]
        return [(s, e) for s, e in cut if s < e]

    phrases = [
        shifted(p, "start", "end")
        for p in answers["phrases"]
        if start <= p["start"] and p["end"] < stop
    ]
    stresses = [shifted(s, "time") for s in answers["stresses"] if start <= s["time"] < stop]
    also = {name: stretches(name) for name in ("rests", "shrugs", "steps")}
    return motion.cut(slice(a, b)), answers | dict(phrases=phrases, stresses=stresses) | also


def scores_within(columns, answers, start, forms=None, seconds=20):
    """The puppet's scores of some seconds of takes; columns: (made, another seed's, recorded)."""
    stop, cut = start + seconds, []
    for motions in columns:
        cut.append([within(m, a, start, stop)[0] for m, a in zip(motions, answers)])
    said = [within(m, a, start, stop)[1] for m, a in zip(columns[-1], answers)]
    return puppet_scores(*cut, said, forms)


# ------------------------------------------------------------------------------------------------
# Trainings
# ------------------------------------------------------------------------------------------------
def trained(name, arguments, seed, args):
    """The checkpoint of a training run with this seed; trained first, or trained on, if need be.

    arguments: options of train.py; the name of a baseline may stand before them.
    None: it would have to be trained, and --no-training says not to, or `args.wanted` is there to
    note it in, {folder: command}.
    """
    out = RUNS / f"{name}-{args.steps}x{args.batch}-{seed}"
    what, kept = f"{arguments} --data {corpus()}".strip(), out / "arguments.txt"
    asked = f"{what}\n{all_settings(what)}"  # a model of other defaults is another model
    if kept.exists() and kept.read_text() != asked:
        before = kept.read_text().splitlines()[0]
        raise CorpusError(
            f"{out}: was trained with '{before}', and '{what}' is wanted, or the defaults of "
            "train.py were others; delete it or move it away"
        )
    if (out / "model.pt").exists():
        return out / "model.pt"
    if args.no_training:
        return None
    command = command_of(what, out, seed, args)
    precision = "bfloat16" if has_bf16(args.device) else "float32"
    how = dict(precision=precision, date=date.today().isoformat(), machine=machine())
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(asked)
    (out / "trained.json").write_text(json.dumps(how))
    if args.wanted is not None:
        args.wanted[out] = command
        return None
    train_here(command, out)
    return out / "model.pt"


def words_of(what):
    """Arguments -> (name of a baseline or None, words for train.py)."""
    words = what.split()
    named = words[0] in baselines.MODELS
    return (words[0], words[1:]) if named else (None, words)


def all_settings(what):
    """All that decides what is trained, beyond steps, batch and seed, as JSON: also defaults."""
    settings, _, _ = train.parse(words_of(what)[1])
    usual = asdict(settings) | dict(recipe=names_of(recipe_for(settings)))
    for name in ("steps", "batch", "seed", *HERE_AND_NOW):
        del usual[name]
    return json.dumps(usual)


def command_of(what, out, seed, args):
    """The command that trains, or goes on with, what was begun in the folder `out`."""
    baseline, words = words_of(what)
    script = ["-m", "lab.baselines", baseline] if baseline else [str(HERE / "train.py")]
    command = [sys.executable, *script, *words, "--out", str(out), "--steps", str(args.steps)]
    command += ["--batch", str(args.batch), "--seed", str(seed), "--device", args.device]
    command += ["--picture-every", str(args.steps)]
    if "wavlm" in what:
        command += ["--wavlm-checkpoint", args.wavlm_checkpoint]
    return command + ["--resume"] * (out / "last.pt").exists()


def environment(**more):
    """Of a training: `-m lab.baselines` must be found from any working folder."""
    there = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(HERE), there] if there else [str(HERE)])
    return os.environ | dict(PYTHONPATH=path) | more


def train_here(command, out):
    """Run one training and wait for it; what it prints goes to standard error."""
    print(" ".join(command), file=sys.stderr, flush=True)
    training = subprocess.Popen(command, stdout=sys.stderr, env=environment())
    try:
        training.wait()
    except KeyboardInterrupt:  # it was told too, and saves, which may take a while
        training.wait()
        raise
    if training.returncode:
        raise CorpusError(
            f"{out}: the training stopped; see above, mend it and give the same command again: "
            "it goes on from there"
        )


def train_side_by_side(function, args):
    """Train what an experiment wants, args.jobs models at a time, each on its share of the cores.

    What a training prints goes into its folder's training.log. One of these small models cannot
    keep two cores busy, and a GPU far less: on two cores of an EPYC two at a time take 0.7 of the
    time of one after the other.
    """
    wanted = {}
    for _ in function(argparse.Namespace(**vars(args) | dict(wanted=wanted))):
        pass  # to the end, only to note what is wanted
    share = environment(OMP_NUM_THREADS=str(max(1, torch.get_num_threads() // args.jobs)))
    stopping = threading.Event()
    one_hears = threading.Lock()  # two that compute WavLM's features would write the same files

    def train_one(out):
        alone = one_hears if "wavlm" in wanted[out] else nullcontext()
        with alone, open(out / "training.log", "ab") as log:
            if stopping.is_set():
                return
            if subprocess.run(wanted[out], stdout=log, stderr=log, env=share).returncode:
                stopping.set()
                raise CorpusError(
                    f"{out}: the training stopped; see {out / 'training.log'}, mend it and give "
                    "the same command again: it goes on from there"
                )

    pool, desc = ThreadPoolExecutor(args.jobs), f"training, {args.jobs} side by side"
    running = [pool.submit(train_one, out) for out in wanted]
    bar = dict(total=len(running), desc=desc, unit="model", disable=not running)
    try:
        for ended in tqdm(as_completed(running), **bar):
            ended.result()
    finally:  # Ctrl-C, or one that stopped: no other is begun, those that run go on to their end
        stopping.set()
        pool.shutdown()


# ------------------------------------------------------------------------------------------------
# Scores
# ------------------------------------------------------------------------------------------------
def remembered(checkpoint, key, compute, **sampling):
    """compute() -> scores of a checkpoint, or what it returned the last time under this key.

    key: a list of strings and numbers. sampling: what differs from the checkpoint's recipe. Both
    and the checkpoint's content are in the file's name: with others, what was remembered is not the
    answer. Beside the scores stands how they were made: {"made": {sampler, steps, guidance,
    warmup_frames, checkpoint, date, machine}}, and under "trained" the precision, date and machine
    of the training, which may have been another.
    """
    recipe = read_checkpoint(checkpoint)["recipe"]
    made = {name: recipe[name] for name in SAMPLING}
    made |= sampling | dict(checkpoint=f"{zlib.crc32(Path(checkpoint).read_bytes()):08x}")
    name = "_".join(map(str, [*key, *made.values()])).replace("/", "-").replace(" ", "-")
    path = RUNS / "scores" / f"{name}.json"
    if not path.exists():
        made |= dict(date=date.today().isoformat(), machine=machine())
        beside_it = Path(checkpoint).parent / "trained.json"
        if beside_it.exists():  # there is none beside the shipped model
            made |= dict(trained=json.loads(beside_it.read_text()))
        scores = finite(compute()) | dict(made=made)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            beside.write_text(json.dumps(scores))
    return json.loads(path.read_text())


def load(checkpoint, device, wavlm_checkpoint=None, **sampling):
    """A checkpoint's Generator. sampling: fields of its recipe that are to be others."""
    generator = load_generator(checkpoint, device, wavlm_checkpoint, networks=baselines.BASELINES)
    generator.model.recipe = replace(generator.model.recipe, **sampling)
    return generator


@functools.cache
def reference_of(folder, part):
    """What models are held against on a part of a corpus, worked out once a run.

    A corpus without training takes borrows the usual one's.
    """
    parts = find_pairs(folder)
    usual = parts["train"] or find_pairs(corpus())["train"]
    return reference.corpus_reference(parts | dict(train=usual), part)


@functools.lru_cache(maxsize=2)
def motions_of(checkpoint, device, wavlm_checkpoint, folder, part, seed, sampling):
    """A checkpoint's motions for a part of a corpus; sampling: (name, value) pairs.

    The last two are kept: what is one seed's own is the other seed of the one before.
    """
    generator = load(checkpoint, device, wavlm_checkpoint, **dict(sampling))
    waveforms = reference_of(folder, part).waveforms
    return generate_for(generator, waveforms, seed, "generating")


def one_model(args, key, checkpoint, folder, seed, part="test", **sampling):
    """All metrics of one checkpoint on a part of a corpus; seed is the sampler's."""

    def motions(seed):
        how = tuple(sampling.items())
        return motions_of(checkpoint, args.device, args.wavlm_checkpoint, folder, part, seed, how)

    def compute():
        made, other = motions(seed), motions(seed + 1)
        seen = [[metrics.look_at(m) for m in motions] for motions in (made, other)]
        scores = report.measure(made, seen[0], reference_of(folder, part), second=other)
        return scores | dict(diversity=metrics.diversity(seen))

    return remembered(checkpoint, [*key, folder.name, part, seed], compute, **sampling)


NOT_TRAINED = "not run: not trained yet; give the command without --no-training"


def on_seeds(args, name, arguments="", **sampling):
    """Scores of a model on the puppet's test takes, one for each seed."""
    scores = []
    for seed in args.seeds:
        checkpoint = trained(name, arguments, seed, args)
        if checkpoint and args.wanted is None:  # else it is only asked what is to be trained
            key = (name, f"{args.steps}x{args.batch}")
            scores.append(one_model(args, key, checkpoint, corpus(), seed, **sampling))
    return scores or NOT_TRAINED


# ------------------------------------------------------------------------------------------------
# Bounds
# ------------------------------------------------------------------------------------------------
BOUNDS = {  # labels of rows: columns of lab.report.Reference
    "the recorded motion": "truth",
    "a mean pose": "mean_pose",
    "recorded, with other speech": "shuffled",
}


def bounds(folder=None, part="test"):
    """Rows of what no model can pass and of what it must."""
    for label, column in BOUNDS.items():
        yield label, [reference_of(folder or corpus(), part).columns[column]]


def bounds_within(folder, start, stop):
    """The puppet's scores of the bounds, for some seconds of the test takes.

    -> {label: {score: value}}.
    """
    held, scores = reference_of(folder, "test"), {}
    truth, half = held.truth, len(held.truth) // 2
    columns = dict(  # (motions, another seed's)
        truth=(truth, truth),
        mean_pose=(held.still, held.still),
        shuffled=(truth[half:] + truth[:half], truth),
    )
    recorded, said = zip(*(within(*t, start, stop) for t in zip(truth, held.answers)))
    for label, column in BOUNDS.items():
        made, other = (
            [within(m, a, start, stop)[0] for m, a in zip(motions, held.answers)]
            for motions in columns[column]
        )
        scores[label] = puppet_scores(made, other, recorded, said, held.forms)
        undefined = {
            "truth": (*report.OF_OTHERS, *OF_TWO_SEEDS),  # there is one recording
            "shuffled": ("beat_f1_mismatched",),  # mismatched as it is
        }
        scores[label] |= dict.fromkeys(undefined.get(column, ()), float("nan"))
    return scores
