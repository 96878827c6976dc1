"""The paper's claims, tried where the right answer is known.

    python -m lab.experiments list
    python -m lab.experiments conditioning      trains what it needs, scores it, and writes
                                                results/experiments/conditioning.json, .png

Each experiment is one function that yields rows; a row is a label and its scores, once for each
seed. Those that train nothing are in experiments_shipped.py. How models are trained and scored, and
what is kept of it, is in experiment_runs.py; tables and pictures in experiment_tables.py.

The puppet is the corpus throughout (recordings/puppet.py): its takes for testing are looked at for
reporting only. The curve of the samplers, by which a setting is chosen, is drawn on other takes, of
another seed of the puppet. What is printed begins with the answer, worked out from the rows
(lab/experiment_answers.py).
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

from beyond.recipes import DEPARTURES
from lab.evaluate import generate_for
from lab.experiment_answers import ANSWERS, LABELS
from lab.experiment_runs import (
    SAMPLING,
    bounds,
    bounds_within,
    corpus,
    load,
    on_seeds,
    remembered,
    scores_within,
    takes_of,
    train_side_by_side,
    trained,
)
from lab.experiment_tables import draw, print_rows, summary
from lab.experiments_shipped import longer, samplers, unfamiliar
from tools import Parser, default_device, device, run_script, seed_number, written_beside

# What is trained: name -> (label, options of train.py, with a baseline's name before them). All see
# the same number of windows. Sizes are equal within a tenth (tests/test_experiments.py).
#
# adaLN spends half of its weights on modulation. So plain layer norm gets twice the blocks, and
# needs 1.3 times the time for a step. The joint form gets 5 blocks instead of 4; the paper's model,
# whose speech encoder is small, 6.
# Where this is unfair: the learning rate was chosen for our model alone, and no baseline was tuned.
# Least squares is by AdamW: with Muon it trembles. "No speech" keeps an idle speech encoder. The
# speech encoder for WavLM's 768 numbers a frame has 3.2 M weights more than MFCC's, which makes
# those two models 2.6 times as large as the others.
MODELS = {
    "split": (LABELS["split"], ""),
    "joint": (LABELS["joint"], "--undo split --depth 5"),
    "concat": (LABELS["concat"], "concat --depth 8"),
    "add": ("layer norm, speech added", "add --depth 8"),
    "none": ("no speech", "none"),
    "direct": ("least squares", "direct --undo innovations,muon"),
    "frames": (LABELS["frames"], "frames"),
    "mfcc": (LABELS["mfcc"], "--features mfcc"),
    "wavlm": ("WavLM, last layer", "--features wavlm --layer last"),
    "wavlm-sum": (LABELS["wavlm-sum"], "--features wavlm --layer sum"),
    # "without split" is "joint", by its other name
    **{
        f"without-{name}": (f"without {name}", f"--undo {name}")
        for name in DEPARTURES
        if name != "split"
    },
    "paper": (LABELS["paper"], f"--undo {','.join(DEPARTURES)} --depth 6"),
}


# ------------------------------------------------------------------------------------------------
# The paper's claims
# ------------------------------------------------------------------------------------------------
def models(args, *names):
    """Rows for models of MODELS, and their bounds."""
    for name in names:
        label, arguments = MODELS[name]
        if "wavlm" in arguments and not args.wavlm_checkpoint:
            yield (
                label,
                "not run: WavLM's weights are not here; "
                "python -m lab.experiments features --wavlm-checkpoint FILE",
            )
        else:
            yield label, on_seeds(args, name, arguments)
    yield from bounds()


def features(args):
    """Claim 1 of the paper: WavLM over MFCC."""
    for label, scores in models(args, "split", "mfcc", "wavlm", "wavlm-sum"):
        # The default model by the name of its features, which are the question here
        yield LABELS["mel"] if label == MODELS["split"][0] else label, scores


def conditioning(args):
    """Claim 2: adaLN over plain layer norm."""
    yield from models(args, "split", "joint", "concat", "add", "none")


def at_once(args, seconds=60.0):
    """Claim 3: all frames at once over frame by frame; and what diffusion is for.

    Drift is looked for in the first and the last 20 s of takes of a minute; speed is that of one
    take at a time, on this machine.
    """
    takes = takes_of(corpus())
    for name in ("split", "frames", "direct"):
        label, arguments = MODELS[name]
        rows = on_seeds(args, name, arguments)
        if not isinstance(rows, str):
            made = [(seed, trained(name, arguments, seed, args)) for seed in args.seeds]
            made = [(seed, checkpoint) for seed, checkpoint in made if checkpoint]
            size = f"{args.steps}x{args.batch}"
            rows = [
                row | remembered(checkpoint, ["drift", name, size, seed],
                                 partial(ends, args, checkpoint, takes, seed, seconds))
                for row, (seed, checkpoint) in zip(rows, made)
            ]  # fmt: skip
        yield label, rows
    drift = {
        name: bounds_within(corpus(), start, start + 20) for name, start in first_and_last(seconds)
    }
    for label, (scores,) in bounds():
        for name, part in drift.items():
            scores = scores | {f"{name}_{score}": part[label][score] for score in DRIFTING}
        yield label, [scores]


DRIFTING = ("beat_f1", "rest_speed", "rest_speed_truth")


def first_and_last(seconds):
    """The two parts of a take in which drift is looked for: their scores' name, their start."""
    return ("first_20_s", 0.0), ("last_20_s", seconds - 20)


def ends(args, checkpoint, takes, seed, seconds):
    """Scores of the first and the last 20 s of takes, and seconds of work a second of motion."""
    truth, waveforms, answers = takes
    generator = load(checkpoint, args.device, args.wavlm_checkpoint)
    started = time.perf_counter()
    generate_for(generator, waveforms[:1], seed, "timing")
    scores = dict(seconds_per_second=(time.perf_counter() - started) / seconds)
    made = generate_for(generator, waveforms, seed, "generating")
    other = generate_for(generator, waveforms, seed + 1, "generating with another seed")
    for name, start in first_and_last(seconds):
        part = scores_within((made, other, truth), answers, start)
        scores |= {f"{name}_{score}": part[score] for score in DRIFTING}
    return scores


def departures(args):
    """What is each departure of beyond/departures.py worth? Each is undone alone, at last all.

    Three of them are about sampling only: they are undone in our own model, which is trained once.
    """
    yield LABELS["ours"], on_seeds(args, "split")
    for name, change in DEPARTURES.items():
        model = "joint" if name == "split" else f"without-{name}"
        if set(change) <= set(SAMPLING):
            yield f"without {name}", on_seeds(args, "split", **change)
        else:
            yield f"without {name}", on_seeds(args, model, MODELS[model][1])
    yield from models(args, "paper")


EXPERIMENTS = {  # name: (function, question, how it is drawn)
    "features": (features, "Which speech features?", "category"),
    "conditioning": (conditioning, "How should the speech come in?", "category"),
    "at_once": (at_once, "All frames at once, or frame by frame?", "category"),
    "departures": (departures, "What is each departure from the paper worth?", "category"),
    "samplers": (samplers, "How many steps, of which sampler?", "steps"),
    "longer": (longer, "What becomes of it after five minutes?", "category"),
    "unfamiliar": (unfamiliar, "What does it do with unfamiliar sound?", "category"),
}
OF_THE_SHIPPED = ("samplers", "unfamiliar", "longer")  # they train nothing
OF_MODELS = ("features", "conditioning", "at_once", "departures")  # they are rows of MODELS


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def experiment(name, args):
    """Run one, print its table, write its .json and .png."""
    function, question, kind = EXPERIMENTS[name]
    print(f"\n{name}: {question}  {' '.join(function.__doc__.split())}")
    if args.jobs > 1 and not args.no_training and name not in OF_THE_SHIPPED:
        train_side_by_side(function, args)
    rows = []
    for label, scores in function(args):
        if isinstance(scores, str):
            rows.append(dict(label=label, scores={}, not_run=scores))
        else:  # made: how each seed's row came about; bounds are worked out anew
            made = [s["made"] for s in scores if "made" in s]
            rows.append(dict(label=label, scores=summary(scores), made=made))
    answer = ANSWERS[name](rows)
    print(answer or "not answered: the rows that would tell are not there", end="\n\n")
    print_rows(rows)
    if not any(row.get("made") for row in rows):
        print("nothing was run: nothing is written")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    written = dict(experiment=name, question=question, answer=answer, rows=rows)
    written |= how_it_was_made(name, args, rows)
    with written_beside(args.out / f"{name}.json") as beside:
        beside.write_text(json.dumps(written, indent=1) + "\n")
    draw(args.out / f"{name}.png", question, kind, rows)
    print(f"-> {args.out / name}.json, .png")


def how_it_was_made(name, args, rows):
    """What stands beside the rows in the .json."""
    fewest = min(len(row["made"]) for row in rows if row.get("made"))
    all_there = fewest == len(args.seeds)  # --no-training may have found fewer models
    seeds = args.seeds if all_there else f"{fewest} or more of {args.seeds}"
    training = dict(steps=args.steps, batch=args.batch)
    if name in OF_THE_SHIPPED:
        training = dict(checkpoint="pretrained/puppet.pt")
    return dict(
        seeds=seeds, **training, models=MODELS if name in OF_MODELS else None, device=args.device
    )


def main(arguments=None):
    """The command `experiments`."""
    what = "The paper's experiments on the puppet. All of them take a night on two CPU cores."
    parser = Parser(prog="python -m lab.experiments", description=what)
    add, usual = parser.add_argument, " (default: %(default)s)"
    names = ("list", "all", *EXPERIMENTS)
    add("name", choices=names, help="which one; list says what each asks")
    add("--steps", type=int, default=2400, help="training steps of each model" + usual)
    # A sixth of the shipped model's windows: four minutes a model. Half of train.py's batch, since
    # the number of steps matters more: an early network got beat F1 0.57 in 1800 steps of 8
    # windows, and 0.94 in 3600 steps of 4
    add("--batch", type=int, default=4, help="windows a step, half of train.py's" + usual)
    seeds = "each model is trained and sampled once with each (default: 0 1 2)"
    add("--seeds", type=seed_number, nargs="+", default=[0, 1, 2], help=seeds)
    add("--no-training", action="store_true", help="report on the models that there are")
    jobs = "models that are trained at the same time, at most as many as there are cores"
    add("--jobs", type=int, default=1, help=jobs + usual)
    where = "folder for tables and pictures"
    add("--out", type=Path, default=Path("results/experiments"), help=where + usual)
    add("--device", type=device, default=default_device(), help="cpu or cuda" + usual)
    add("--wavlm-checkpoint", metavar="FILE", help="WavLM Base+; else its rows are not run")
    args = parser.parse_args(arguments, argparse.Namespace(wanted=None))
    for name in ("steps", "batch", "jobs"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    weights = args.wavlm_checkpoint
    if weights and not Path(weights).is_file():  # not after an hour of training the other models
        parser.error(f"--wavlm-checkpoint {weights}: no such file")
    if args.name == "list":
        for name, (_, question, _) in EXPERIMENTS.items():
            print(f"  {name:<14}{question}")
        return
    for name in EXPERIMENTS if args.name == "all" else [args.name]:
        experiment(name, args)


if __name__ == "__main__":
    run_script(main, goes_on=True)
