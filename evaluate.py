"""How good is a model?   python evaluate.py --checkpoint F --data puppet --json scores.json

On the puppet, whose answers are known, each score asks one question of takes that were not trained on:

    beat_f1               do strokes fall on the stressed syllables (within 0.1 s)?
    beat_f1_truth         ... what the recorded motion itself scores, with the same detector: the ceiling
    beat_f1_mismatched    ... the same motion against another take's speech: what chance gives, the floor
    style_error           are posture and size of stroke the speaker's own? (relative, 0 is perfect; no label is given)
    style_error_average   ... what the average speaker's posture and stroke would score: the floor
    hand_agreement        how often do two seeds choose the same hand for a phrase? 0.5 is a fair coin, as the rules say
    rest_error            do the hands rest in pauses? |their speed / the recorded motion's - 1|

Before them it prints all of metrics.py with a floor and a ceiling: the model's mean and spread over three seeds of the sampler, the recorded
motion (of Fréchet distances: other recorded takes), the mean pose held still, and the recorded motion with another take's speech.

The beat detector is motion.find_strokes. On other corpora, and with --speech on single files, the question is
whether strokes fall on energy onsets of the speech, more often than on the same speech shifted by random times.
"""
import json
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data import CACHE, CorpusError, Parser, device, find_pairs, load_take, run_script, seed_number, usable_takes
from diffmotion import SAMPLERS
from metrics import PUPPET_SCORES, fit_reference, onset_hits, onset_hits_of_takes, puppet_scores, report
from motion import BvhError, find_strokes, read_bvh, written_beside
from sample import GRID_POWER, GUIDANCE, HERE, SAMPLER, STEPS, load_generator
from wavlm_loader import SAMPLE_RATE, load_audio

PUPPET = Path("corpora/puppet")
FITTED = 24              # training takes that features are fitted on: of the puppet 24 minutes, 1400 windows for 32 dimensions


# ------------------------------------------------------------------------------------------------
# Whole corpora
# ------------------------------------------------------------------------------------------------
def generate_for(generator, waveforms, seed, desc, **settings):
    """Motions for waveforms of any lengths; those of one length go through the network together, eight at a time."""
    motions, order = [None] * len(waveforms), sorted(range(len(waveforms)), key=lambda n: len(waveforms[n]))
    with tqdm(total=len(waveforms), desc=desc, unit="take", disable=None) as bar:
        while order:
            group = [n for n in order if len(waveforms[n]) == len(waveforms[order[0]])][:8]
            order = [n for n in order if n not in group]
            speech = torch.cat([generator.hear(waveforms[n]) for n in group])                # [B, F, S]
            for n, motion in zip(group, generator(speech, seed=seed + 1000 * group[0], **settings)):
                motions[n] = motion
            bar.update(len(group))
    return motions


def answers_of(pairs):
    """The puppet's answers beside (bvh, sound) pairs, or None if not all takes have them."""
    files = [bvh.with_suffix(".json") for bvh, _ in pairs]
    try:
        answers = [json.loads(f.read_text(encoding="utf-8")) for f in files] if all(f.exists() for f in files) else None
    except ValueError:                               # no JSON, or in letters of another kind
        answers = None
    if answers and not all(isinstance(a, dict) and "stresses" in a for a in answers):
        answers = None                               # not the puppet's: BEAT has a .json of the face beside each take
    return answers


def read_held_out(pairs, fps):
    """(bvh, sound) pairs -> (Motions at fps, waveforms, answers or None). The detector must see all at one rate."""
    takes = [load_take(*pair, fps) for pair in tqdm(pairs, desc="reading takes", unit="take", disable=None)]
    return [motion for motion, _ in takes], [waveform for _, waveform in takes], answers_of(pairs)


def evaluate(generator, pairs, seed=0, **settings):
    """A quick look at one model, as at the end of training: scores of one seed, the puppet's if answers lie beside the takes, else the onset score."""
    truth, waveforms, answers = read_held_out(pairs, generator.codec.fps)
    made = generate_for(generator, waveforms, seed, "generating", **settings)
    if answers:
        other = generate_for(generator, waveforms, seed + 1, "generating with another seed", **settings)
        return puppet_scores(made, other, truth, answers)
    scores = {}
    for name, motions in (("", made), ("_truth", truth)):
        strokes, seconds = [find_strokes(m)[0] for m in motions], [len(m) * m.frame_time for m in motions]
        hits, shifted = onset_hits_of_takes(strokes, seconds, waveforms, np.random.default_rng(seed))
        scores |= {f"onset_hits{name}": hits, f"onset_hits{name}_shifted": shifted, f"strokes_per_minute{name}": 60 * sum(map(len, strokes)) / sum(seconds)}
    return scores


def corpus_reference(parts, part="test", fps=20, cache=CACHE, skip=False):
    """What all models on a corpus are held against -> metrics.Reference. parts: of find_pairs; part: the takes that are judged.

    "Other truth" is as many training takes as are judged, spread evenly over the list; of the puppet, whose takes say who speaks in which mood, a take like each that is judged.
    What is fitted, is fitted on at most FITTED of the other training takes, two minutes of each, so that a corpus of days needs no more memory
    than a small one. Where there are too few takes for both, the same do for both, and `how` says so. skip: leave out training takes that
    cannot be read or have other joints, with a line for each, instead of stopping.
    """
    def spread(takes, count):
        return [takes[n] for n in np.linspace(0, len(takes) - 1, min(count, len(takes))).round().astype(int)] if takes else []

    def kind(pair):
        return pair[0].stem.rpartition("_")[0]       # speaker4_calm_003: another calm take of speaker 4

    truth, waveforms, answers = read_held_out(parts[part], fps)
    train = [pair for pair in parts["train"] if pair not in parts[part]] or [pair for name in ("valid", "test") for pair in parts[name] if name != part]
    if not train:
        raise CorpusError(f"{parts[part][0][0]}: there are no training takes beside it to compare with; put the other takes of the corpus in the same folder")
    others, free = [], list(range(len(train)))
    for place, judged in zip(np.linspace(0, len(train) - 1, len(truth)), parts[part]):
        alike = [n for n in free if answers and kind(train[n]) == kind(judged)] or free
        if alike:                                    # of a small corpus all are taken
            free.remove(nearest := min(alike, key=lambda n: abs(n - place)))
            others.append(train[nearest])
    fitted = spread([pair for pair in train if pair not in others] if len(train) >= 2 * len(others) else train, FITTED)

    def read(pairs, desc):
        motions, answers, frames = [], [], int(120 * fps)
        for pair in tqdm(pairs, desc=desc, unit="take", disable=None):
            try:
                m = read_bvh(pair[0], fps)
                if m.names != truth[0].names:
                    raise BvhError(f"{pair[0]}: has other joints than {parts[part][0][0]}; leave it out with --skip")
                motions.append(replace(m, rotations=m.rotations[:frames], positions=m.positions[:frames]))
                answers += answers_of([pair]) or []
            except BvhError as error:
                if not skip:
                    raise
                tqdm.write(f"left out: {error}", file=sys.stderr)
        return motions, answers if len(answers) == len(motions) else None

    training, _ = read(fitted, "reading training takes")
    if not training:
        raise CorpusError(f"{parts[part][0][0]}: none of the training takes beside it can be used; python data.py check says why")
    others_read = read(others, "reading other takes")
    try:
        reference = fit_reference(training, *others_read, truth, waveforms, answers, cache)
    except BvhError as error:                        # a joint that is found by name is not there
        raise BvhError(f"{parts[part][0][0]}: {error}") from None
    reference.how.update(fitted_on=[bvh.stem for bvh, _ in fitted], other_truth=[bvh.stem for bvh, _ in others], other_truth_was_fitted_on=any(p in fitted for p in others))
    return reference


def evaluate_fully(generator, reference, seeds=range(3), **settings):
    """(flat scores by the names of `evaluate`, metrics.report) of a generator: the means over `seeds` of the sampler, and the whole table."""
    made = [generate_for(generator, reference.waveforms, seed, f"generating, seed {seed}", **settings) for seed in seeds]
    table = report(made, reference)
    if reference.answers:
        return {name: table[name]["model"] for name in PUPPET_SCORES}, table
    scores = {}
    for end, column in (("", "model"), ("_truth", "truth")):
        scores.update({f"onset_hits{end}": table["onset_hits"][column], f"onset_hits{end}_shifted": table["onset_hits_shifted"][column],
                       f"strokes_per_minute{end}": table["strokes_per_minute"][column]})
    return scores, table


def evaluate_speech(generator, paths, seeds, **settings):
    """Onset scores of speech files that have no motion, all seeds together: {file name: scores}, or {path: scores} where two have one name."""
    scores, names = {}, [Path(path).name for path in paths]
    for path, name in zip(paths, names):
        waveform = load_audio(path)
        strokes = [find_strokes(generator(generator.hear(waveform), seed=seed, **settings)[0])[0] for seed in seeds]
        hits, shifted, shifted_95, lucky = onset_hits(strokes, waveform, np.random.default_rng(0))
        scores[name if names.count(name) == 1 else str(path)] = dict(onset_hits=hits, onset_hits_shifted=shifted, onset_hits_shifted_95=shifted_95, onset_hits_lucky=lucky,
                                       strokes_per_minute=60 * float(np.mean(list(map(len, strokes)))) * SAMPLE_RATE / len(waveform))
    return scores


GOALS = dict(beat_f1_share="at least 0.93", beat_f1_mismatched="at most 0.35", style_error="at most 0.10",
             hand_agreement="0.35 to 0.65", rest_error="at most 0.20")


def print_table(scores):
    """Scores as a table, with the goal where there is one. A dash stands for what is not defined."""
    for name, score in scores.items():
        if isinstance(score, dict):
            print(f"\n{name}")
            print_table(score)
        else:
            print(f"  {name:<28}{'-' if np.isnan(score) else f'{score:.3f}':>8}   {GOALS.get(name, '')}".rstrip())


def print_report(table):
    """metrics.report as a table: a row a metric. A dash stands for what is not defined."""
    def number(value):
        return "-" if np.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"

    print(f"{'metric':<26}{'model':>9} {'± spread':<9}{'truth':>9}{'mean pose':>11}{'shuffled':>10}   goal or unit")
    for name, row in table.items():
        if name.endswith("_truth") or name == "style_error_average":             # are columns here
            continue
        spread = "" if np.isnan(row["spread"]) else f"± {number(row['spread'])}"
        model = "not defined" if np.isnan(row["model"]) else f"{number(row['model']):>9} {spread}"
        print(f"{name:<26}{model:<19}{number(row['truth']):>9}{number(row['mean_pose']):>11}{number(row.get('shuffled', np.nan)):>10}   {GOALS.get(name, row['unit'])}".rstrip())


def finite(value):
    """The same with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def parse():
    """The command line."""
    parser = Parser(prog="evaluate.py", description="Score a model on held-out takes.",
                    epilog="The paper's experiments: evaluate.py experiment --help")
    parser.add_argument("--checkpoint", default=HERE / "pretrained" / "puppet.pt", type=Path, help="a model that train.py wrote (default: the shipped puppet)")
    parser.add_argument("--data", default=None, help="'puppet', or a folder of paired BVH and sound files")
    parser.add_argument("--part", default="test", choices=("test", "valid", "train"), help="which takes; choose settings on valid, report on test (default: %(default)s)")
    parser.add_argument("--test", nargs="+", default=[], metavar="NAME", help="the takes that train.py was told to hold out, if it was")
    parser.add_argument("--skip", action="store_true", help="leave out takes that cannot be used, as for train.py")
    parser.add_argument("--speech", nargs="+", default=[], help="speech files without motion: strokes on energy onsets, all seeds together")
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    parser.add_argument("--sampler", default=SAMPLER, choices=list(SAMPLERS), help="as in sample.py (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="passes of the network (default: %(default)s)")
    parser.add_argument("--grid-power", type=float, default=GRID_POWER, metavar="POWER", help="as in sample.py (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="as in sample.py (default: %(default)s)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "int8"), help="of the network's products, as in sample.py (default: %(default)s)")
    parser.add_argument("--seed", type=seed_number, default=0, help="first seed of the sampler (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, at least 3: scores are means over them, and the spread is theirs (default: %(default)s)")
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default here: %(default)s)")
    parser.add_argument("--wavlm-checkpoint", help="WavLM Base+ weights, for models trained on its features")
    parser.add_argument("--cache", default=CACHE, help="folder that keeps WavLM's features (default: %(default)s)")
    args = parser.parse_args()
    if args.data is None and not args.speech:
        args.data = "puppet"
    if args.json and args.json.is_dir():             # not after all has been computed
        parser.error(f"--json {args.json}: is a folder; name a file in it")
    if args.steps < 1:
        parser.error(f"--steps must be at least 1, not {args.steps}")
    if not 0.1 <= args.grid_power <= 10:             # nan is refused too
        parser.error(f"--grid-power must be between 0.1 and 10, not {args.grid_power}")
    if not np.isfinite(args.guidance):
        parser.error(f"--guidance must be a number, not {args.guidance}")
    if args.seeds < 3:
        parser.error(f"--seeds must be at least 3, not {args.seeds}: what two of them choose alike is one number, which has no spread")
    return args


def main():
    if sys.argv[1:2] == ["experiment"]:
        import experiments           # which imports this file: only when it is asked for
        return experiments.main(sys.argv[2:])
    args = parse()
    if args.json:                                    # a folder that cannot be made, or a sound that cannot be read: not found out after all has been computed
        args.json.parent.mkdir(parents=True, exist_ok=True)
    for path in args.speech:
        load_audio(path)
    generator = load_generator(args.checkpoint, args.device, args.wavlm_checkpoint, args.steps, args.precision)
    generator.cache = args.cache
    settings = dict(sampler=args.sampler, steps=args.steps, power=args.grid_power, guidance=args.guidance)
    scores, table, how = {}, {}, {}
    if args.data:
        folder = PUPPET if args.data == "puppet" else Path(args.data)
        if args.data == "puppet" and not folder.exists():
            import puppet
            puppet.write_corpus(folder)
        parts = find_pairs(folder, args.test, args.skip)
        parts[args.part] = usable_takes(parts[args.part], args.skip)
        if not parts[args.part]:
            raise CorpusError(f"{folder}: has no takes held out for '{args.part}'; make a folder {args.part}/ in it, or choose another --part")
        reference = corpus_reference(parts, args.part, generator.codec.fps, args.cache, args.skip)
        scores, table = evaluate_fully(generator, reference, range(args.seed, args.seed + args.seeds), **settings)
        how = reference.how
        print_report(table)
        print()
    if args.speech:
        scores["speech"] = evaluate_speech(generator, args.speech, range(args.seed, args.seed + args.seeds), **settings)
    print_table(scores)
    if args.json:
        from bench import machine    # which imports this file too
        checkpoint = args.checkpoint.relative_to(HERE) if args.checkpoint.is_relative_to(HERE) else args.checkpoint      # the shipped one has no folder of ours in its name
        written = dict(scores=scores, table=table, how=how, checkpoint=checkpoint.as_posix(), data=args.data, part=args.part, seed=args.seed, seeds=args.seeds, precision=args.precision, date=date.today().isoformat(),
                       machine=machine(), **settings)
        with written_beside(args.json) as beside:
            beside.write_text(json.dumps(finite(written), indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    run_script(main)
