"""Scores against the puppet's known answers: beats, style, hands, rests.

Reading order
    matches, beat_f1           do strokes fall on stressed syllables?
    rests, rest_speed          do hands rest in pauses?
    style, style_error         are posture and size of stroke the speaker's own?
    phrase_hands               which hand speaks?
    puppet_scores              all of them
    scores_of_others           what other takes of the same speakers score: the best to expect

`answers` is the dictionary in a take's .json (see recordings.puppet.known_answers).
"""

import numpy as np

from body.joints import hands_of
from body.strokes import find_strokes

TOLERANCE = 0.1  # s: a stroke is on a syllable if it is this near
PUPPET_SCORES = (
    "beat_f1",
    "beat_f1_truth",
    "beat_f1_share",
    "beat_f1_mismatched",
    "style_error",
    "style_error_average",
    "hand_agreement",
    "rest_error",
    "rest_speed",
    "rest_speed_truth",
)


# ------------------------------------------------------------------------------------------------
# Strokes on stressed syllables
# ------------------------------------------------------------------------------------------------
def matches(found, wanted, tolerance=TOLERANCE):
    """The most pairs, one to one, of a time `found` and a time `wanted` <= `tolerance` apart.

    Both are sorted, in seconds. Each time in turn takes the earliest partner that is left: on a
    line that is the largest matching.
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
    """F1 of stroke times against stress times, pooled over the takes.

    2 hits / (strokes + stresses). Both are lists over takes of times [n] in seconds.
    """
    hits = sum(matches(np.sort(s), np.sort(w)) for s, w in zip(strokes, stresses))
    return 2 * hits / max(1, sum(map(len, strokes)) + sum(map(len, stresses)))


# ------------------------------------------------------------------------------------------------
# Hands in pauses
# ------------------------------------------------------------------------------------------------
def rests(answers):
    """The stretches of a take in which hands must rest by the rules: a list of (start, end) in s.

    From 1.4 s after a phrase, when the hand has retracted, to 0.6 s before the next one.
    """
    phrases = answers["phrases"]
    return [
        (a["end"] + 1.4, b["start"] - 0.6)
        for a, b in zip(phrases, phrases[1:])
        if b["start"] - a["end"] > 2.2
    ]


def during(motion, stretches):
    """Which frames [F] bool lie within the (start, end) stretches, in seconds."""
    t = np.arange(len(motion)) * motion.frame_time
    inside = [(t >= a) & (t < b) for a, b in stretches]
    return np.any(inside, axis=0) if inside else np.zeros(len(t), bool)


def rest_speed(motions, answers):
    """Mean speed of the hands in rests, body heights a second; NaN where no take has a rest."""
    speeds = []
    for motion, a in zip(motions, answers):
        steps = np.linalg.norm(np.diff(hands_of(motion), axis=0), axis=-1)  # [F - 1, 2]
        speed = steps.mean(axis=1) / motion.frame_time  # [F - 1]
        speeds.append(speed[during(motion, rests(a))[1:]])
    return mean(speeds)


def rest_error(speed, truth):
    """|speed / truth - 1| of two rest_speeds; NaN where the truth has no rest, or does not move."""
    return abs(speed / truth - 1) if truth else float("nan")


# ------------------------------------------------------------------------------------------------
# The speaker's style
# ------------------------------------------------------------------------------------------------
def style(motion, answers):
    """(posture, stroke) [2]: the distance between the resting hands, the median drop of a stroke.

    In body heights. The posture is NaN where a take has no long pause, and so does not show it.
    """
    hands = hands_of(motion)[during(motion, rests(answers))]  # [rest frames, 2, 3]
    apart = np.linalg.norm(hands[:, 0] - hands[:, 1], axis=-1)  # [rest frames]
    drops = find_strokes(motion)[1]
    posture = apart.mean() if len(apart) else np.nan
    return np.array([posture, np.median(drops) if len(drops) else 0.0])


def style_by_speaker(motions, answers):
    """{speaker number: mean of `style` over the speaker's takes, each part where it is shown}."""
    styles = {}
    for motion, a in zip(motions, answers):
        styles.setdefault(a["speaker"]["number"], []).append(style(motion, a))
    return {
        number: np.array([mean(part) for part in zip(*each)]) for number, each in styles.items()
    }


def style_error(made, truth):
    """Mean of |made - truth| / truth over speakers, posture and stroke. Both {speaker: [2]}."""
    known = {number: np.where(s > 0, s, np.nan) for number, s in truth.items()}
    return mean([np.abs(made[n] - truth[n]) / known[n] for n in truth])


# ------------------------------------------------------------------------------------------------
# Which hand speaks
# ------------------------------------------------------------------------------------------------
def phrase_hands(motion, answers):
    """The hand that moves farther in each phrase, [phrases]: 0 left, 1 right."""
    steps = np.linalg.norm(np.diff(hands_of(motion), axis=0), axis=-1)  # [F - 1, 2]
    within = [during(motion, [(p["start"] - 0.3, p["end"] + 0.3)]) for p in answers["phrases"]]
    return np.array([steps[frames[1:]].sum(axis=0).argmax() for frames in within])


# ------------------------------------------------------------------------------------------------
# All of them
# ------------------------------------------------------------------------------------------------
def puppet_scores(made, other_seed, truth, answers):
    """All puppet scores -> {name: value}, by the names in PUPPET_SCORES; NaN where not defined.

    Lists over takes: motions made, motions made with another seed, motions recorded, and answers.
    """
    stresses = [np.array([s["time"] for s in a["stresses"]]) for a in answers]
    strokes = [find_strokes(m)[0] for m in made]
    f1 = beat_f1(strokes, stresses)
    f1_truth = beat_f1([find_strokes(m)[0] for m in truth], stresses)
    several = len(stresses) > 1
    mismatched = beat_f1(strokes, stresses[1:] + stresses[:1]) if several else float("nan")
    true_style = style_by_speaker(truth, answers)
    average = np.array([mean(part) for part in zip(*true_style.values())])
    agreement = [
        (phrase_hands(a, x) == phrase_hands(b, x)).astype(float)
        for a, b, x in zip(made, other_seed, answers)
    ]
    speed, speed_truth = rest_speed(made, answers), rest_speed(truth, answers)
    return dict(
        beat_f1=f1,
        beat_f1_truth=f1_truth,
        beat_f1_share=f1 / f1_truth if f1_truth else float("nan"),
        beat_f1_mismatched=mismatched,
        style_error=style_error(style_by_speaker(made, answers), true_style),
        style_error_average=style_error(dict.fromkeys(true_style, average), true_style),
        hand_agreement=mean(agreement),
        rest_error=rest_error(speed, speed_truth),
        rest_speed=speed,
        rest_speed_truth=speed_truth,
    )


def scores_of_others(others, their_answers, truth, answers):
    """style_error and rest_error of recorded takes of the same speakers with other speech.

    No model can be expected to come nearer to 0: a speaker's strokes and rests differ from minute
    to minute. The style is NaN where a speaker has no other take.
    """
    theirs, true = style_by_speaker(others, their_answers), style_by_speaker(truth, answers)
    speed, speed_truth = rest_speed(others, their_answers), rest_speed(truth, answers)
    return dict(
        style_error=style_error(theirs, true) if set(true) <= set(theirs) else float("nan"),
        rest_error=rest_error(speed, speed_truth),
    )


def mean(values):
    """Mean of the numbers, in a list of arrays, that are defined; NaN where none is."""
    values = np.concatenate([np.ravel(v) for v in values]) if len(values) else np.zeros(0)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
