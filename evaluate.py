"""How good is a model?   python evaluate.py --checkpoint F --data puppet --json scores.json

On the puppet, whose answers are known, each score asks one question of takes that were not trained on:

    beat_f1               do strokes fall on the stressed syllables (within 0.1 s)?
    beat_f1_truth         ... what the recorded motion itself scores, with the same detector: the ceiling
    beat_f1_mismatched    ... the same motion against another take's speech: what chance gives, the floor
    style_error           are posture and size of stroke the speaker's own? (relative, 0 is perfect; no label is given)
    style_error_average   ... what the average speaker's posture and stroke would score: the floor
    hand_agreement        how often do two seeds choose the same hand for a phrase? 0.5 is a fair coin, as the rules say
    rest_error            do the hands rest in pauses? |their speed / the recorded motion's - 1|

The beat detector is motion.find_strokes. On other corpora, and with --speech on single files, the question is
whether strokes fall on energy onsets of the speech, more often than on the same speech shifted by random times.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data import CACHE, CorpusError, Parser, device, find_pairs, load_take, run_script, usable_takes
from diffmotion import SAMPLERS
from motion import find_strokes, hand_joints, resample, written_beside
from sample import GUIDANCE, STEPS, load_generator
from wavlm_loader import SAMPLE_RATE, load_audio, loud_level

TOLERANCE = 0.1          # s: a stroke is on a syllable if it is this near
PUPPET = Path("corpora/puppet")


# ------------------------------------------------------------------------------------------------
# Scores against known answers
# ------------------------------------------------------------------------------------------------
def matches(found, wanted, tolerance=TOLERANCE):
    """How many of the times `found` can be paired, one to one, with times `wanted` at most `tolerance` apart.

    Both sorted; taking each in turn with the earliest partner left is the largest matching on a line.
    """
    count = i = j = 0
    while i < len(found) and j < len(wanted):
        if abs(found[i] - wanted[j]) <= tolerance:
            count, i, j = count + 1, i + 1, j + 1
        elif found[i] < wanted[j]:
            i += 1
        else:
            j += 1
    return count


def beat_f1(strokes, stresses):
    """F1 of stroke times against stress times, lists over takes: 2 hits / (strokes + stresses), pooled over the takes."""
    hits = sum(matches(np.sort(s), np.sort(w)) for s, w in zip(strokes, stresses))
    return 2 * hits / max(1, sum(map(len, strokes)) + sum(map(len, stresses)))


def rests(answers):
    """Stretches of a take in which the rules say that hands rest: from 1.4 s after a phrase to 0.6 s before the next one."""
    phrases = answers["phrases"]
    return [(a["end"] + 1.4, b["start"] - 0.6) for a, b in zip(phrases, phrases[1:]) if b["start"] - a["end"] > 2.2]


def hands_of(motion):
    """Both wrists' places [F, 2, 3] in body heights, seen from the hips' place."""
    p = motion.joint_positions()
    return (p[:, hand_joints(motion)] - p[:, :1]) / motion.body_height()


def during(motion, stretches):
    """Which frames [F] bool lie within the (start, end) stretches."""
    t = np.arange(len(motion)) * motion.frame_time
    return np.any([(t >= a) & (t < b) for a, b in stretches], axis=0) if stretches else np.zeros(len(t), bool)


def rest_speed(motions, answers):
    """Mean speed of the hands in rests, body heights a second."""
    speeds = []
    for motion, a in zip(motions, answers):
        speed = np.linalg.norm(np.diff(hands_of(motion), axis=0), axis=-1).mean(axis=1) / motion.frame_time  # [F - 1]
        speeds.append(speed[during(motion, rests(a))[1:]])
    return float(np.concatenate(speeds).mean())


def style(motion, answers):
    """(posture, stroke): distance between the resting hands and median drop of a stroke, in body heights.

    NaN for a posture that a take without a long pause does not show.
    """
    hands = hands_of(motion)[during(motion, rests(answers))]                 # [rest frames, 2, 3]
    apart, drops = np.linalg.norm(hands[:, 0] - hands[:, 1], axis=-1), find_strokes(motion)[1]
    return np.array([apart.mean() if len(apart) else np.nan, np.median(drops) if len(drops) else 0.0])


def style_by_speaker(motions, answers):
    """{speaker number: mean of `style` over the speaker's takes, each part over those that show it}."""
    styles = {}
    for motion, a in zip(motions, answers):
        styles.setdefault(a["speaker"]["number"], []).append(style(motion, a))
    return {number: np.nanmean(each, axis=0) for number, each in styles.items()}


def style_error(made, truth):
    """Mean over speakers, and over posture and stroke, of |made - truth| / truth. Both {speaker: [2]}."""
    return float(np.nanmean([np.abs(made[n] - truth[n]) / truth[n] for n in truth]))


def phrase_hands(motion, answers):
    """The hand that moves farther in each phrase, [phrases]: 0 left, 1 right."""
    step = np.linalg.norm(np.diff(hands_of(motion), axis=0), axis=-1)        # [F - 1, 2]
    return np.array([step[during(motion, [(p["start"] - 0.3, p["end"] + 0.3)])[1:]].sum(axis=0).argmax() for p in answers["phrases"]])


def puppet_scores(made, other_seed, truth, answers):
    """All puppet scores. Lists over takes: motions made, made with another seed, recorded, and their answers."""
    stresses = [np.array([s["time"] for s in a["stresses"]]) for a in answers]
    strokes = [find_strokes(m)[0] for m in made]
    true_style = style_by_speaker(truth, answers)
    average = np.nanmean(list(true_style.values()), axis=0)
    f1, f1_truth = beat_f1(strokes, stresses), beat_f1([find_strokes(m)[0] for m in truth], stresses)
    speed, speed_truth = rest_speed(made, answers), rest_speed(truth, answers)
    return dict(beat_f1=f1, beat_f1_truth=f1_truth, beat_f1_share=f1 / f1_truth,
                beat_f1_mismatched=beat_f1(strokes, stresses[1:] + stresses[:1]),
                style_error=style_error(style_by_speaker(made, answers), true_style),
                style_error_average=style_error(dict.fromkeys(true_style, average), true_style),
                hand_agreement=float(np.mean(np.concatenate([phrase_hands(a, x) == phrase_hands(b, x) for a, b, x in zip(made, other_seed, answers)]))),
                rest_error=abs(speed / speed_truth - 1), rest_speed=speed, rest_speed_truth=speed_truth)


# ------------------------------------------------------------------------------------------------
# A score without answers: strokes on energy onsets
# ------------------------------------------------------------------------------------------------
def energy_onsets(waveform):
    """Times [n] in seconds at which the speech gets louder: what a stressed syllable does in any language.

    Level in dB of 20 ms steps, smoothed over 60 ms and cut off 35 dB below the loud parts; an onset is where it rises fastest,
    by at least 6 dB in 60 ms, with no faster rise within 0.15 s; its time is 40 ms later, when the vowel is there.
    """
    hop = SAMPLE_RATE // 50
    steps = len(waveform) // hop
    if steps < 10:
        return np.zeros(0)
    power = (waveform[:steps * hop] / loud_level(waveform)).reshape(steps, hop).square().mean(dim=1).numpy()
    power = np.convolve(power, np.ones(3) / 3, mode="same")
    level = 10 * np.log10(np.maximum(power, 10 ** -3.5))                     # dB, [steps]
    rise = np.zeros(steps)
    rise[2:-1] = level[3:] - level[:-3]                                      # over 60 ms, centred
    around = np.lib.stride_tricks.sliding_window_view(np.pad(rise, 7), 15).max(axis=1)
    return np.flatnonzero((rise == around) & (rise >= 6)) / 50 + 0.04


def onset_hits(strokes, waveform, rng, shifts=200):
    """Share of strokes on an energy onset, and the same for the recording shifted round by random times: (share, mean, 95th percentile).

    strokes: a list of stroke times [n], one for each seed, judged together: a shift moves the onsets of all seeds alike,
    so that the percentile is the one that their common share must pass, not what each seed alone would have to.
    """
    seconds, onsets = len(waveform) / SAMPLE_RATE, energy_onsets(waveform)

    def share(onsets):
        return sum(matches(np.sort(s), np.sort(onsets)) for s in strokes) / max(1, sum(map(len, strokes)))

    shifted = [share((onsets + rng.uniform(0.5, seconds - 0.5)) % seconds) for _ in range(shifts)]
    return share(onsets), float(np.mean(shifted)), float(np.quantile(shifted, 0.95))


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


def evaluate(generator, pairs, seed=0, **settings):
    """Scores of the generator on (bvh, sound) pairs: the puppet's if answers lie beside them, else the onset score."""
    takes = [load_take(*pair) for pair in tqdm(pairs, desc="reading takes", unit="take", disable=None)]
    truth = [resample(motion, generator.codec.fps) for motion, _ in takes]   # the detector must see both at one rate
    waveforms = [waveform for _, waveform in takes]
    made = generate_for(generator, waveforms, seed, "generating", **settings)
    answer_files = [bvh.with_suffix(".json") for bvh, _ in pairs]
    if all(f.exists() for f in answer_files):
        answers = [json.loads(f.read_text()) for f in answer_files]
        other = generate_for(generator, waveforms, seed + 1, "generating with another seed", **settings)
        return puppet_scores(made, other, truth, answers)
    rng = np.random.default_rng(seed)
    scores = {}
    for name, motions in (("", made), ("_truth", truth)):
        hits = np.array([onset_hits([find_strokes(m)[0]], w, rng) for m, w in zip(motions, waveforms)])
        scores.update({f"onset_hits{name}": hits[:, 0].mean(), f"onset_hits{name}_shifted": hits[:, 1].mean(),
                       f"strokes_per_minute{name}": 60 * sum(len(find_strokes(m)[0]) for m in motions) / sum(len(m) * m.frame_time for m in motions)})
    return {name: float(score) for name, score in scores.items()}


def evaluate_speech(generator, paths, seeds=range(5), **settings):
    """Onset scores of speech files that have no motion, all seeds together: {file name: scores}."""
    scores = {}
    for path in paths:
        waveform = load_audio(path)
        strokes = [find_strokes(generator(generator.hear(waveform), seed=seed, **settings)[0])[0] for seed in seeds]
        hits, shifted, shifted_95 = onset_hits(strokes, waveform, np.random.default_rng(0))
        scores[Path(path).name] = dict(onset_hits=hits, onset_hits_shifted=shifted, onset_hits_shifted_95=shifted_95,
                                       strokes_per_minute=60 * float(np.mean(list(map(len, strokes)))) * SAMPLE_RATE / len(waveform))
    return scores


GOALS = dict(beat_f1_share="at least 0.93", beat_f1_mismatched="at most 0.35", style_error="at most 0.10",
             hand_agreement="0.35 to 0.65", rest_error="at most 0.20")


def print_table(scores):
    """Scores as a table, with the goal where there is one."""
    for name, score in scores.items():
        if isinstance(score, dict):
            print(f"\n{name}")
            print_table(score)
        else:
            print(f"  {name:<28}{score:>8.3f}   {GOALS.get(name, '')}".rstrip())


def parse():
    """The command line."""
    parser = Parser(prog="evaluate.py", description="Score a model on held-out takes.",
                    epilog="The paper's experiments: evaluate.py experiment --help")
    parser.add_argument("--checkpoint", default=Path(__file__).resolve().parent / "pretrained" / "puppet.pt", type=Path, help="a model that train.py wrote (default: the shipped puppet)")
    parser.add_argument("--data", default=None, help="'puppet', or a folder of paired BVH and sound files")
    parser.add_argument("--part", default="test", choices=("test", "valid", "train"), help="which takes; choose settings on valid, report on test (default: %(default)s)")
    parser.add_argument("--test", nargs="+", default=[], metavar="NAME", help="the takes that train.py was told to hold out, if it was")
    parser.add_argument("--skip", action="store_true", help="leave out takes that cannot be used, as for train.py")
    parser.add_argument("--speech", nargs="+", default=[], help="speech files without motion: strokes on energy onsets, five seeds together")
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    parser.add_argument("--sampler", default="ddim", choices=list(SAMPLERS), help="as in sample.py (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="passes of the network (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="as in sample.py (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler (default: %(default)s)")
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default here: %(default)s)")
    parser.add_argument("--wavlm-checkpoint", help="WavLM Base+ weights, for models trained on its features")
    parser.add_argument("--cache", default=CACHE, help="folder that keeps WavLM's features (default: %(default)s)")
    args = parser.parse_args()
    if args.data is None and not args.speech:
        args.data = "puppet"
    if args.steps < 1:
        parser.error(f"--steps must be at least 1, not {args.steps}")
    return args


def main():
    if sys.argv[1:2] == ["experiment"]:
        import experiments           # which imports this file: only when it is asked for
        return experiments.main(sys.argv[2:])
    args = parse()
    generator = load_generator(args.checkpoint, args.device, args.wavlm_checkpoint, args.steps)
    generator.cache = args.cache
    settings = dict(sampler=args.sampler, steps=args.steps, guidance=args.guidance)
    scores = {}
    if args.data:
        folder = PUPPET if args.data == "puppet" else Path(args.data)
        if args.data == "puppet" and not folder.exists():
            import puppet
            puppet.write_corpus(folder)
        pairs = usable_takes(find_pairs(folder, args.test, args.skip)[args.part], args.skip)
        if not pairs:
            raise CorpusError(f"{folder}: has no takes held out for '{args.part}'; make a folder {args.part}/ in it, or choose another --part")
        scores = evaluate(generator, pairs, args.seed, **settings)
    if args.speech:
        scores["speech"] = evaluate_speech(generator, args.speech, **settings)
    print_table(scores)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report = dict(scores=scores, checkpoint=str(args.checkpoint), data=args.data, part=args.part, seed=args.seed, **settings)
        with written_beside(args.json) as beside:
            beside.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main)
