"""What all models on a corpus are held against: recorded takes, read and compared.

answers_of         the puppet's known answers beside its takes
read_held_out      the takes that are judged
corpus_reference   a corpus -> lab.report.Reference
takes_like         which other recorded takes stand beside them
"""

import json
import sys
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from body.bvh import read_bvh
from body.motion import BvhError
from lab.report import fit_reference
from recordings.cache import CACHE
from recordings.pairs import CorpusError, load_take

FITTED = 24  # training takes that features are fitted on; of the puppet 24 minutes, 1400 windows


def answers_of(pairs):
    """The puppet's answers beside (bvh, sound) pairs, or None if not all takes have them.

    Another program's .json is no answer: BEAT has one of the face beside each take. CorpusError
    for answers of a puppet from before it had forms of gesture, and for damaged ones.
    """
    files = [bvh.with_suffix(".json") for bvh, _ in pairs]
    if not all(file.exists() for file in files):
        return None
    try:
        answers = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    except (ValueError, RecursionError):  # no JSON, or in letters of another kind
        return None
    if not all(isinstance(a, dict) and isinstance(a.get("stresses"), list) for a in answers):
        return None
    for file, a in zip(files, answers):
        if "rests" not in a:
            raise CorpusError(
                f"{file}: holds the answers of an earlier puppet; delete or move the corpus away, "
                "and it is written anew"
            )
        if not _whole(a):
            raise CorpusError(
                f"{file}: holds damaged answers; copy it again, or move it away and the take is "
                "scored like anybody's"
            )
    return answers


def _whole(a):
    """Does the dictionary hold all that lab.puppet_scores asks for?"""

    def is_time(x):
        return isinstance(x, int | float) and abs(x) < 1e6

    def is_phrase(p):
        named = all(isinstance(p[name], str) for name in ("hands", "form"))
        return named and is_time(p["start"]) and is_time(p["end"]) and p["question"] in (0, 1)

    try:
        return (
            isinstance(a["speaker"]["number"], int)
            and all(is_time(s["time"]) for s in a["stresses"])
            and all(is_time(start) and is_time(end) for start, end in a["rests"])
            and all(map(is_phrase, a["phrases"]))
        )
    except (KeyError, TypeError, ValueError, IndexError):  # no such field, or of another kind
        return False


def read_held_out(pairs, fps):
    """(bvh, sound) pairs -> (Motions at fps, waveforms, answers or None).

    The stroke detector must see all motions at one rate.
    """
    bar = tqdm(pairs, desc="reading takes", unit="take", disable=None)
    takes = [load_take(*pair, fps) for pair in bar]
    return [motion for motion, _ in takes], [waveform for _, waveform in takes], answers_of(pairs)


def corpus_reference(parts, part="test", fps=20, cache=CACHE, skip=False):
    """What all models on a corpus are held against -> lab.report.Reference.

    parts: of find_pairs. part: the takes that are judged. skip: leave out training takes that
    cannot be read or have other joints, with a line for each, instead of stopping.

    "Other truth" is as many training takes as are judged, spread evenly over the list; of the
    puppet, whose takes say who speaks in which mood, a take like each that is judged. What is
    fitted is fitted on at most FITTED of the other training takes, two minutes of each, so that a
    corpus of days needs no more memory than a small one. Where there are too few takes for both,
    the same do for both, and `how` says so. Where there are none, the mean pose is that of the
    judged takes, and what compares with other takes is left out.
    """
    judged = parts[part]
    first = judged[0][0]
    truth, waveforms, answers = read_held_out(judged, fps)
    train = [pair for pair in parts["train"] if pair not in judged]
    if not train:
        train = [pair for name in ("valid", "test") if name != part for pair in parts[name]]
    others = takes_like(judged, train, alike=bool(answers))
    rest = [pair for pair in train if pair not in others]
    fitted = spread(rest if len(train) >= 2 * len(others) else train, FITTED)
    if not train:
        line = "no other takes lie beside those that are judged: the mean pose is their own"
        tqdm.write(line, file=sys.stderr)
        fitted = spread(judged, FITTED)
    how = dict(fps=fps, like=truth[0], of=first, skip=skip)
    training, training_answers = read_training(fitted, "reading training takes", **how)
    if not training:
        raise CorpusError(
            f"{first}: none of the training takes beside it can be used; "
            "python -m lab.check says why"
        )
    others_read = read_training(others, "reading other takes", **how)
    try:
        held_out = truth, waveforms, answers
        reference = fit_reference(training, *others_read, *held_out, cache, training_answers)
    except BvhError as error:  # a joint that is found by name is not there
        raise BvhError(f"{first}: {error}") from None
    reference.how.update(
        fitted_on=[bvh.stem for bvh, _ in fitted],
        other_truth=[bvh.stem for bvh, _ in others],
        other_truth_was_fitted_on=any(pair in fitted for pair in others),
    )
    return reference


def spread(takes, count):
    """At most `count` of a list of takes, evenly spread over it."""
    places = np.linspace(0, len(takes) - 1, min(count, len(takes))).round().astype(int)
    return [takes[n] for n in places] if takes else []


def takes_like(judged, train, alike):
    """As many training takes as are judged, or all there are, evenly spread over the list.

    alike: prefer those of the same speaker and mood, which the puppet's file names say.
    """

    def kind(pair):  # speaker4_calm_003: another calm take of speaker 4
        return pair[0].stem.rpartition("_")[0]

    chosen, free = [], list(range(len(train)))
    for place, take in zip(np.linspace(0, len(train) - 1, len(judged)), judged):
        near = [n for n in free if alike and kind(train[n]) == kind(take)] or free
        if near:  # of a small corpus all are taken
            free.remove(nearest := min(near, key=lambda n: abs(n - place)))
            chosen.append(train[nearest])
    return chosen


def read_training(pairs, desc, fps, like, of, skip):
    """Training takes -> (Motions of at most two minutes, their answers or None).

    like: a Motion of the file `of`, whose joints they must have.
    """
    motions, answers, frames = [], [], int(120 * fps)
    for pair in tqdm(pairs, desc=desc, unit="take", disable=None):
        try:
            motion = read_bvh(pair[0], fps)
            if motion.names != like.names:
                raise BvhError(f"{pair[0]}: has other joints than {of}; leave it out with --skip")
        except BvhError as error:
            if not skip:
                raise
            tqdm.write(f"left out: {error}", file=sys.stderr)
            continue
        rotations, positions = motion.rotations[:frames], motion.positions[:frames]
        motions.append(replace(motion, rotations=rotations, positions=positions))
        answers += answers_of([pair]) or []
    return motions, answers if len(answers) == len(motions) else None
