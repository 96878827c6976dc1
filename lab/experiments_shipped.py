"""Experiments with the shipped model, which train nothing: see lab/experiments.py.

samplers, guidance   how it is sampled
longer               five minutes of speech
unfamiliar           sound that it never heard the like of
"""

import shutil
import subprocess
from functools import partial

import numpy as np

from body.strokes import find_strokes
from lab.evaluate import evaluate_speech, generate_for
from lab.experiment_runs import (
    RUNS,
    bounds,
    bounds_within,
    corpus,
    load,
    one_model,
    remembered,
    scores_within,
    takes_of,
    within,
)
from lab.puppet_scores import beat_f1, puppet_scores
from lab.unfamiliar import LANGUAGES, SPEED, SPOKEN, UNFAMILIAR
from recordings.audio import SAMPLE_RATE
from tools import SHIPPED

# ------------------------------------------------------------------------------------------------
# Sampling, on takes that are used for nothing but choosing
# ------------------------------------------------------------------------------------------------
# fmt: off
SAMPLER_STEPS = {  # beyond.samplers.time_grid: how the steps are spread
    "ddpm": (5, 8, 10, 15, 25, 50, 100, 1000),
    "ddim": (5, 8, 10, 15, 25, 50, 100),
    "dpmpp": (5, 8, 10, 15, 25, 50, 100),
    "ddpm, power 1.67": (10, 25),
    "dpmpp, power 1.67": (10, 25),
}
# fmt: on


def choosing():
    """Takes to choose settings by, of another seed than those that are reported on."""
    return corpus("puppet-77", train=0, valid=6, test=0, seconds=30.0, seed=77)


def shipped(args, **sampling):
    """Scores of the shipped model on the takes to choose by, one for each seed."""
    return [
        one_model(args, ["shipped"], SHIPPED, choosing(), seed, "valid", **sampling)
        for seed in args.seeds
    ]


def samplers(args):
    """How many steps, of which sampler?"""
    for family, counts in SAMPLER_STEPS.items():
        sampler, _, power = family.partition(", power ")
        spread = dict(power=float(power)) if power else {}
        for steps in counts:
            yield f"{family} {steps}", shipped(args, sampler=sampler, steps=steps, **spread)
    yield from bounds(choosing(), "valid")


def guidance(args):
    """How strictly should the speech be followed? 1: the model as trained; 0: without speech."""
    for strength in (0.0, 0.5, 1.0, 1.2, 1.35, 1.5, 2.0, 3.0):
        yield f"{strength:g}", shipped(args, guidance=strength)
    yield from bounds(choosing(), "valid")


# ------------------------------------------------------------------------------------------------
# Five minutes, and unfamiliar sound
# ------------------------------------------------------------------------------------------------
def longer(args):
    """What becomes of it after five minutes, with windows of 8 s in training?

    The last 20 s are made alone too, as if the recording began there: what is as bad there lies in
    these seconds, the rest has crept in.
    """
    takes = takes_of(corpus("puppet-five-minutes", train=0, valid=0, test=6, seconds=300.0, seed=5))
    rows = {"first 20 s": [], "last 20 s": [], "last 20 s, made alone": []}
    for seed in args.seeds:
        compute = partial(five_minutes, args, takes, seed)
        scores = remembered(SHIPPED, ["longer", "and alone", seed], compute)
        for label in rows:
            rows[label].append(scores[label] | dict(made=scores["made"]))
    yield from rows.items()
    for part, start in (("first 20 s", 0.0), ("last 20 s", 280.0)):
        there = bounds_within(corpus("puppet-five-minutes"), start, start + 20)
        for label, scores in there.items():
            yield f"{label}: {part}", [scores]


def five_minutes(args, takes, seed):
    """Scores of the rows of `longer`, for one seed."""
    truth, waveforms, answers = takes
    generator = load(SHIPPED, args.device)
    last = [w[280 * SAMPLE_RATE :] for w in waveforms]
    whole, alone = (
        [generate_for(generator, heard, seed + n, desc) for n in (0, 1)]
        for heard, desc in ((waveforms, "generating five minutes"), (last, "generating 20 s"))
    )
    ending = [within(m, a, 280.0, 300.0) for m, a in zip(truth, answers)]
    recorded, said = zip(*ending)
    return {
        "first 20 s": scores_within((*whole, truth), answers, 0.0),
        "last 20 s": scores_within((*whole, truth), answers, 280.0),
        "last 20 s, made alone": puppet_scores(*alone, recorded, said),
    }


def unfamiliar(args):
    """What does it do with sound that it never, or in training seldom, heard the like of?

    Strokes are asked for where they were in the original.
    """
    takes = takes_of(corpus())
    for label in UNFAMILIAR:
        rows = []
        for seed in args.seeds:
            compute = partial(changed_speech, args, takes, label, seed)
            rows.append(remembered(SHIPPED, ["unfamiliar", label, seed], compute))
        yield label, rows
    shown = ("beat_f1", "beat_f1_mismatched", "strokes_per_minute")
    for label, (scores,) in bounds():
        yield label, [{name: scores[name] for name in shown if name in scores}]
    for language, code in LANGUAGES.items():
        if not shutil.which("espeak-ng"):
            yield language, "not run: install espeak-ng, and give the command again"
            continue
        rows = []
        for seed in args.seeds:
            compute = partial(foreign_speech, args, code, seed)
            rows.append(remembered(SHIPPED, ["language", code, seed], compute))
        yield language, rows


def changed_speech(args, takes, label, seed):
    """Scores of motions for the test takes' speech after UNFAMILIAR[label]."""
    _, waveforms, answers = takes
    changed = [UNFAMILIAR[label](w) for w in waveforms]
    made = generate_for(load(SHIPPED, args.device), changed, seed, label)
    speed = SPEED.get(label, 1.0)
    stresses = [np.array([s["time"] for s in a["stresses"]]) / speed for a in answers]
    strokes = [find_strokes(m)[0] for m in made]
    seconds = sum(len(w) / SAMPLE_RATE for w in changed)
    return dict(
        beat_f1=beat_f1(strokes, stresses),
        beat_f1_mismatched=beat_f1(strokes, stresses[1:] + stresses[:1]),
        strokes_per_minute=60 * sum(map(len, strokes)) / seconds,
    )


def foreign_speech(args, code, seed):
    """Onset scores of numbers that espeak-ng reads out in a language."""
    spoken = RUNS / f"{code}.wav"
    subprocess.run(["espeak-ng", "-v", code, "-s", "150", "-w", str(spoken), SPOKEN], check=True)
    seeds = [3 * seed, 3 * seed + 1, 3 * seed + 2]
    return evaluate_speech(load(SHIPPED, args.device), [spoken], seeds=seeds)[spoken.name]
