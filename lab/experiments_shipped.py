"""Experiments with the shipped model, which train nothing: see lab/experiments.py.

samplers     how it is sampled
longer       five minutes of speech
unfamiliar   sound that it never heard the like of
"""

import itertools
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
    reference_of,
    remembered,
    scores_within,
    takes_of,
    within,
)
from lab.puppet_scores import beat_f1, mean, puppet_scores
from lab.standing import standing
from lab.unfamiliar import LANGUAGES, SEXES, SPEED, UNFAMILIAR, has_espeak, read_aloud
from recordings.audio import SAMPLE_RATE
from tools import SHIPPED

# ------------------------------------------------------------------------------------------------
# Sampling, on takes that are used for nothing but choosing
# ------------------------------------------------------------------------------------------------
SAMPLER_STEPS = {"ddpm": (10, 25, 100, 1000), "ddim": (10, 25, 100), "dpmpp": (5, 10, 25)}


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
    for sampler, counts in SAMPLER_STEPS.items():
        for steps in counts:
            yield f"{sampler} {steps}", shipped(args, sampler=sampler, steps=steps)
    yield from bounds(choosing(), "valid")


# ------------------------------------------------------------------------------------------------
# Five minutes, and unfamiliar sound
# ------------------------------------------------------------------------------------------------
FIVE_MINUTES = dict(train=0, valid=0, test=6, seconds=300.0, seed=5)
PARTS = {"first 20 s": 0.0, "last 20 s": 280.0}


def longer(args):
    """What becomes of it after five minutes, with windows of 8 s in training?

    The last 20 s are made alone too, as if the recording began there: what is as bad there lies in
    these seconds, the rest has crept in. Heading, place, slide and borders (lab/standing.py) are of
    the whole.
    """
    folder = corpus("puppet-five-minutes", **FIVE_MINUTES)
    forms, takes = reference_of(folder, "test").forms, takes_of(folder)
    rows = {label: [] for label in ("whole", *PARTS, "last 20 s, made alone")}
    for seed in args.seeds:
        compute = partial(five_minutes, args, takes, forms, seed)
        scores = remembered(SHIPPED, ["longer", "standing", seed], compute)
        for label in rows:
            rows[label].append(scores[label] | dict(made=scores["made"]))
    yield from rows.items()
    yield "the recorded motion: whole", [stands(takes[0])]
    for part, start in PARTS.items():
        there = bounds_within(folder, start, start + 20)
        for label, scores in there.items():
            yield f"{label}: {part}", [scores]


def stands(motions):
    """Means of lab.standing over motions: does the body stay where it stands?"""
    each = [standing(motion) for motion in motions]
    return {name: mean([np.array([s[name] for s in each])]) for name in each[0]}


def five_minutes(args, takes, forms, seed):
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
    parts = {
        label: scores_within((*whole, truth), answers, start, forms)
        for label, start in PARTS.items()
    }
    made_alone = puppet_scores(*alone, recorded, said, forms)
    return parts | {"last 20 s, made alone": made_alone, "whole": stands(whole[0])}


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
    for (language, code), sex in itertools.product(LANGUAGES.items(), SEXES):
        rows = "not run: install espeak-ng, and give the command again"
        if has_espeak():
            rows = [
                remembered(SHIPPED, ["language", code, sex, seed],
                           partial(foreign_speech, args, code, sex, seed))
                for seed in args.seeds
            ]  # fmt: skip
        yield f"{language}, {sex}", rows


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


def foreign_speech(args, code, sex, seed):
    """Onset scores of what espeak-ng reads out in a language."""
    spoken = RUNS / f"{code}-{sex}.wav"
    spoken.parent.mkdir(parents=True, exist_ok=True)
    read_aloud(code, sex, spoken)
    seeds = [3 * seed, 3 * seed + 1, 3 * seed + 2]
    return evaluate_speech(load(SHIPPED, args.device), [spoken], seeds=seeds)[spoken.name]
