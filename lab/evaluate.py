"""How good is a model?   python -m lab.evaluate --checkpoint F --data puppet --json scores.json

On the puppet, whose answers are known, each score asks one question of takes that were not trained
on:

    beat_f1               do strokes fall on the stressed syllables (within 0.1 s)?
    beat_f1_truth         what the recorded motion scores, with the same detector: the ceiling
    beat_f1_mismatched    the same motion against another take's speech: chance, the floor
    style_error           are posture and size of stroke the speaker's own? (relative, 0 is perfect)
    style_error_average   what the average speaker's posture and stroke would score: the floor
    rest_error            do the hands rest in pauses? |their speed / the recorded motion's - 1|
    hand_share_error      are left, right, both and both in turn chosen as often as in the
                          recordings? total variation distance, 0: as often
    hand_agreement        how often do two seeds choose the same hands for a phrase?
                          hand_agreement_chance: independent draws would
    form_...              the same of the forms of gesture (beat, sweep, palms, point, cycle), which
                          are recognised by the nearest centroid of a few looks
                          (lab/puppet_forms.py); of the recorded motion, form_as_recorded says in
                          how many phrases rightly
    shrug_hits            at how many questions do the shoulders go up? shrug_false: at how many
                          other phrases?
    steps_per_minute      how often is a foot lifted?

Before them it prints all of lab/report.py: the model's mean and spread over three seeds of the
sampler, and beside it the recorded motion (for Fréchet distances other recorded takes), the mean
pose held still, and the recorded motion with another take's speech.

What the takes cannot tell is left out with a line: lab/report.py says how much a score needs.

On other corpora, and with --speech on single files, the question is whether strokes fall on energy
onsets of the speech more often than on the same speech shifted by random times.

    generate_for, evaluate_fully   a model -> motions -> scores
    evaluate_speech                scores of speech without motion
    print_report, print_table      and main, the command

What a model is held against is in lab/reference.py.
"""

import json
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from beyond.options import settings_of
from beyond.samplers import SAMPLERS
from body.strokes import find_strokes
from lab.baselines import BASELINES
from lab.machine import machine
from lab.metrics import onset_hits
from lab.puppet_scores import PUPPET_SCORES
from lab.reference import corpus_reference
from lab.report import report
from recordings.audio import SAMPLE_RATE, load_audio
from recordings.cache import CACHE
from recordings.pairs import CorpusError, find_pairs, usable_takes
from recordings.puppet import ready_puppet
from sample import load_generator
from tools import (
    HERE,
    SHIPPED,
    CheckpointError,
    Parser,
    default_device,
    device,
    run_script,
    seed_number,
    written_beside,
)


# ------------------------------------------------------------------------------------------------
# A model's motions and their scores
# ------------------------------------------------------------------------------------------------
def generate_for(generator, waveforms, seed, desc, **settings):
    """Motions for waveforms of any lengths; up to eight of one length go through together.

    With more than 100 steps of the sampler fewer do: each step keeps the past that it sees, 2.5 MB
    for a take of a minute (1000 steps of eight takes filled 20 GB).
    """
    motions = [None] * len(waveforms)
    most = max(1, min(8, 800 // (settings.get("steps") or generator.model.recipe.steps)))
    order = sorted(range(len(waveforms)), key=lambda n: len(waveforms[n]))
    with tqdm(total=len(waveforms), desc=desc, unit="take", disable=None) as bar:
        while order:
            length = len(waveforms[order[0]])
            group = [n for n in order if len(waveforms[n]) == length][:most]
            order = [n for n in order if n not in group]
            speech = torch.cat([generator.speech_of(waveforms[n]) for n in group])  # [B, F, S]
            made = generator(speech, seed=seed + 1000 * group[0], **settings)
            for n, motion in zip(group, made):
                motions[n] = motion
            bar.update(len(group))
    return motions


def evaluate_fully(generator, reference, seeds=range(3), **settings):
    """(flat scores, lab.report's table) of a generator, over `seeds` of the sampler.

    The flat scores are the model's means: the puppet's, or of a corpus without known answers onset
    hits and strokes a minute.
    """
    made = [
        generate_for(generator, reference.waveforms, seed, f"generating, seed {seed}", **settings)
        for seed in seeds
    ]
    table = report(made, reference)
    if reference.answers:
        return {name: table[name]["model"] for name in PUPPET_SCORES}, table
    scores = {}
    for end, column in (("", "model"), ("_truth", "truth")):
        scores[f"onset_hits{end}"] = table["onset_hits"][column]
        scores[f"onset_hits{end}_shifted"] = table["onset_hits_shifted"][column]
        scores[f"strokes_per_minute{end}"] = table["strokes_per_minute"][column]
    return scores, table


def evaluate_speech(generator, paths, seeds, **settings):
    """Onset scores of speech files that have no motion, all seeds together.

    -> {file name: scores}, or {path: scores} where two files have one name.
    """
    scores, names = {}, [Path(path).name for path in paths]
    for path, name in zip(paths, names):
        waveform = load_audio(path)
        speech = generator.speech_of(waveform)
        made = [generator(speech, seed=seed, **settings)[0] for seed in seeds]
        strokes = [find_strokes(motion)[0] for motion in made]
        hits, shifted, high, lucky = onset_hits(strokes, waveform, np.random.default_rng(0))
        a_minute = 60 * float(np.mean([len(times) for times in strokes]))
        scores[name if names.count(name) == 1 else str(path)] = dict(
            onset_hits=hits, onset_hits_shifted=shifted, onset_hits_shifted_95=high,
            onset_hits_lucky=lucky, strokes_per_minute=a_minute * SAMPLE_RATE / len(waveform),
        )  # fmt: skip
    return scores


# ------------------------------------------------------------------------------------------------
# Tables
# ------------------------------------------------------------------------------------------------
GOALS = dict(
    beat_f1_share="at least 0.93",
    beat_f1_mismatched="at most 0.35",
    style_error="at most 0.10",
    rest_error="at most 0.20",
)


def print_table(scores):
    """Scores as a table, with the goal where there is one. A dash: not defined."""
    for name, score in scores.items():
        if isinstance(score, dict):
            print(f"\n{name}")
            print_table(score)
        else:
            shown = "-" if np.isnan(score) else f"{score:.3f}"
            print(f"  {name:<28}{shown:>8}   {GOALS.get(name, '')}".rstrip())


def print_report(table, left_out):
    """lab.report's table, a row a metric. A dash: not defined. left_out: {metric: why}."""

    def number(value):
        return "-" if np.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"

    print(
        f"{'metric':<26}{'model':>9} {'± spread':<9}{'truth':>9}{'mean pose':>11}"
        f"{'shuffled':>10}   goal or unit"
    )
    for name, row in table.items():
        column = name.endswith("_truth") or name == "style_error_average"
        if column or name in left_out:
            continue
        spread = "" if np.isnan(row["spread"]) else f"± {number(row['spread'])}"
        known = not np.isnan(row["model"])
        model = f"{number(row['model']):>9} {spread}" if known else "not defined"
        beside = f"{number(row['truth']):>9}{number(row['mean_pose']):>11}"
        shuffled = number(row.get("shuffled", np.nan))
        goal = GOALS.get(name, row["unit"])
        print(f"{name:<26}{model:<19}{beside}{shuffled:>10}   {goal}".rstrip())
    for why in dict.fromkeys(left_out.values()):
        names = ", ".join(name for name in left_out if left_out[name] == why)
        print(f"left out: {names}: {why}")


def finite(value):
    """The same with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def parse(arguments=None):
    """The command line."""
    what = "Score a model on held-out takes. The paper's experiments: python -m lab.experiments"
    parser = Parser(prog="python -m lab.evaluate", description=what)
    add, usual = parser.add_argument, " (default: %(default)s)"
    add("--checkpoint", default=SHIPPED, type=Path, help="of train.py (default: the shipped one)")
    add("--data", help="'puppet', or a folder of paired BVH and sound files")
    parts = ("test", "valid", "train")
    add("--part", default="test", choices=parts, help="takes; choose settings on valid" + usual)
    add("--test", nargs="+", default=[], metavar="NAME", help="what train.py held out, if told to")
    add("--skip", action="store_true", help="leave out takes that cannot be used, as train.py")
    add("--speech", nargs="+", default=[], metavar="FILE", help="speech files without motion")
    add("--json", type=Path, metavar="FILE", help="to write the scores to")
    how = parser.add_argument_group("sampling; by default as the model's recipe says").add_argument
    how("--sampler", choices=list(SAMPLERS), help="as in sample.py")
    how("--steps", type=int, metavar="N", help="passes of the network")
    how("--guidance", type=float, metavar="G", help="as in sample.py")
    add(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16"),
        help="of sampling" + usual,
    )
    add("--seed", type=seed_number, default=0, help="first seed of the sampler" + usual)
    add("--seeds", type=int, default=3, metavar="N", help="3 or more; the spread is theirs" + usual)
    add("--device", type=device, default=default_device(), help="cpu or cuda" + usual)
    add("--wavlm-checkpoint", metavar="FILE", help="WavLM Base+, for models that need it")
    add("--cache", default=CACHE, metavar="FOLDER", help="keeps WavLM's features" + usual)
    args = parser.parse_args(arguments)
    if args.data is None and not args.speech:
        args.data = "puppet"
    refuse_odd(parser, args)
    return args


def refuse_odd(parser, args):
    """What argparse does not know to be wrong; said before anything is computed."""
    if args.json and args.json.is_dir():
        parser.error(f"--json {args.json}: is a folder; name a file in it")
    if args.steps is not None and args.steps < 1:
        parser.error(f"--steps must be at least 1, not {args.steps}")
    if args.guidance is not None and not np.isfinite(args.guidance):
        parser.error(f"--guidance must be a number, not {args.guidance}")
    if args.seeds < 3:
        parser.error(
            f"--seeds must be at least 3, not {args.seeds}: what two of them choose alike is one "
            "number, which has no spread"
        )


def reference_for(args, fps):
    """corpus_reference for the takes that the command line names."""
    folder = ready_puppet() if args.data == "puppet" else Path(args.data)
    parts = find_pairs(folder, args.test, args.skip)
    parts[args.part] = usable_takes(parts[args.part], args.skip)
    if not parts[args.part]:
        raise CorpusError(
            f"{folder}: has no takes held out for '{args.part}'; make a folder {args.part}/ in "
            "it, or name takes with --test ('*' for all), or choose another --part"
        )
    return corpus_reference(parts, args.part, fps, args.cache, args.skip)


def write_json(args, settings, **scores):
    """The scores and how they were made, to --json."""
    inside = args.checkpoint.is_relative_to(HERE)  # then no folder of ours is in its name
    checkpoint = args.checkpoint.relative_to(HERE) if inside else args.checkpoint
    written = scores | dict(checkpoint=checkpoint.as_posix())
    for name in ("data", "part", "seed", "seeds", "precision"):
        written[name] = getattr(args, name)
    written |= dict(date=date.today().isoformat(), machine=machine(), **settings)
    with written_beside(args.json) as beside:
        beside.write_text(json.dumps(finite(written), indent=1, allow_nan=False) + "\n")


def main(arguments=None):
    """The command `evaluate`."""
    args = parse(arguments)
    if args.json:  # what cannot be made or read is said before all is computed
        args.json.parent.mkdir(parents=True, exist_ok=True)
    for path in args.speech:
        load_audio(path)
    generator = load_generator(
        args.checkpoint, args.device, args.wavlm_checkpoint, args.precision, networks=BASELINES
    )
    if args.precision != "float32" and hasattr(generator.model, "generate"):
        raise CheckpointError(
            f"{args.checkpoint}: this baseline computes in float32; leave --precision out"
        )
    generator.cache = args.cache
    settings = settings_of(args, generator)
    seeds, scores, table, how = range(args.seed, args.seed + args.seeds), {}, {}, {}
    if args.data:
        reference = reference_for(args, generator.codec.fps)
        scores, table = evaluate_fully(generator, reference, seeds, **settings)
        how, count = reference.how, len(reference.waveforms)
        judged = sum(map(len, reference.waveforms)) / SAMPLE_RATE
        little = "; less than a minute tells little" if judged < 60 else ""
        print(f"judged: {count} take{'s' * (count > 1)}, {judged:.0f} s together{little}\n")
        print_report(table, reference.left_out)
    if args.speech:
        scores["speech"] = evaluate_speech(generator, args.speech, seeds, **settings)
        print_table(scores["speech"])
    if args.json:
        write_json(args, settings, scores=scores, table=table, how=how)


if __name__ == "__main__":
    run_script(main)
