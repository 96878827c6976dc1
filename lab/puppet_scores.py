"""Scores against the puppet's known answers: beats, style, rests, hands, forms, shrugs, steps.

Reading order
    matches, beat_f1           do strokes fall on stressed syllables?
    rest_speed                 do hands rest in pauses?
    style, style_error         are posture and size of stroke the speaker's own?
    share_error, agreement     are hands and forms chosen as often as in the recordings, and anew?
    shrug_rates                do the shoulders go up at questions, and at nothing else?
    steps_per_minute           how often a foot is lifted
    puppet_scores              all of them
    scores_of_others           what other takes of the same speakers score: the best to expect

`answers` is the dictionary in a take's .json (see recordings.puppet). What is looked at of a
motion, and how hands and forms are recognised, is in puppet_forms.py.
"""

from collections import Counter

import numpy as np

from lab.puppet_forms import columns_of, frames_of, moves_of, phrase_hands, rises

TOLERANCE = 0.1  # s: a stroke is on a syllable if it is this near
LIFTED = 0.013  # body lengths, 2 cm of 1.5 m: a foot that is higher over its ground takes a step
PUPPET_SCORES = (
    "beat_f1",
    "beat_f1_truth",
    "beat_f1_share",
    "beat_f1_mismatched",
    "style_error",
    "style_error_average",
    "rest_error",
    "rest_speed",
    "rest_speed_truth",
    "hand_share_error",
    "hand_as_recorded",
    "hand_agreement",
    "hand_agreement_chance",
    "form_share_error",
    "form_as_recorded",
    "form_agreement",
    "form_agreement_chance",
    "shrug_hits",
    "shrug_false",
    "steps_per_minute",
    "steps_per_minute_truth",
)
OF_TWO_SEEDS = ("hand_agreement", "form_agreement")  # not defined for one


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

    2 hits / (strokes + stresses). Both are lists over takes of times [n] in seconds. Strokes of
    both hands at once count as one (body.strokes), as the stress that they fall on.
    """
    hits = sum(matches(np.sort(s), np.sort(w)) for s, w in zip(strokes, stresses))
    return 2 * hits / max(1, sum(map(len, strokes)) + sum(map(len, stresses)))


# ------------------------------------------------------------------------------------------------
# Hands in pauses
# ------------------------------------------------------------------------------------------------
def rest_speed(takes, answers):
    """Mean speed of the hands in rests, body lengths a second; NaN where no take has a rest."""
    speeds = []
    for moves, a in zip(takes, answers):
        for start, end in a["rests"]:
            hands = moves.hands[frames_of(moves, start, end)]  # [rest, 2, 3]
            speeds.append(np.linalg.norm(np.diff(hands, axis=0), axis=-1) * moves.fps)
    return mean(speeds)


def rest_error(speed, truth):
    """|speed / truth - 1| of two rest_speeds; NaN where the truth has no rest, or does not move."""
    return abs(speed / truth - 1) if truth else float("nan")


# ------------------------------------------------------------------------------------------------
# The speaker's style
# ------------------------------------------------------------------------------------------------
def style(moves, answers):
    """(posture, stroke) [2]: how far from the middle hands speak, the median drop of a stroke.

    Posture: the distance of the speaking hands from the body's middle plane, mean over a phrase,
    median over the phrases. Which hands speak is free, and so is how far they are from each other;
    this tells speakers apart best. NaN without a phrase.
    """
    out = []
    for phrase, hands in zip(answers["phrases"], phrase_hands(moves, answers)):
        frames = frames_of(moves, phrase["start"], phrase["end"])
        aside = np.abs(moves.hands[frames][:, columns_of(hands), 0])  # [F, 1 or 2]
        if len(aside):
            out.append(aside.mean())
    posture = np.median(out) if out else np.nan
    return np.array([posture, np.median(moves.drops) if len(moves.drops) else 0.0])


def style_by_speaker(takes, answers):
    """{speaker number: mean of `style` over the speaker's takes, each part where it is shown}."""
    styles = {}
    for moves, a in zip(takes, answers):
        styles.setdefault(a["speaker"]["number"], []).append(style(moves, a))
    return {
        number: np.array([mean(part) for part in zip(*each)]) for number, each in styles.items()
    }


def style_error(made, truth):
    """Mean of |made - truth| / truth over speakers, posture and stroke. Both {speaker: [2]}."""
    known = {number: np.where(s > 0, s, np.nan) for number, s in truth.items()}
    return mean([np.abs(made[n] - truth[n]) / known[n] for n in truth])


# ------------------------------------------------------------------------------------------------
# What is free: hands and forms
# ------------------------------------------------------------------------------------------------
def shares(chosen):
    """A list over takes of names -> {name: its share of all}; empty where there is none."""
    counts = Counter(name for names in chosen for name in names)
    return {name: count / counts.total() for name, count in counts.items()}


def share_error(made, truth):
    """Total variation distance of the shares of names, 0: chosen as often, 1: never the same.

    1/2 sum |p - q|. Both are lists over takes of names; NaN where one is empty.
    """
    p, q = shares(made), shares(truth)
    if not (p and q):
        return float("nan")
    return sum(abs(p.get(name, 0) - q.get(name, 0)) for name in {*p, *q}) / 2


def agreement(a, b):
    """(share of phrases with the same name, the share that independent draws would give).

    By chance: sum p q of the shares of the two. Both are lists over takes of names.
    """
    same = [[x == y for x, y in zip(*names)] for names in zip(a, b)]
    p, q = shares(a), shares(b)
    chance = sum(share * q.get(name, 0) for name, share in p.items()) if p else float("nan")
    return mean([np.array(one, float) for one in same]), chance


# ------------------------------------------------------------------------------------------------
# Shrugs and steps
# ------------------------------------------------------------------------------------------------
def shrug_rates(takes, truth, answers):
    """(share of the questions at whose end shoulders go up, share of the other phrases).

    Up: by more than half of what the truth's shoulders rise at questions, in the median. NaN where
    there are no such phrases.
    """
    asked = np.array([p["question"] for a in answers for p in a["phrases"]], dtype=bool)
    made, recorded = (
        np.concatenate([rises(moves, a) for moves, a in zip(side, answers)])
        for side in (takes, truth)
    )
    known = defined(recorded[asked])
    if not len(known):
        return float("nan"), float("nan")
    up = np.where(np.isnan(made), np.nan, made > np.median(known) / 2)  # [phrases]
    return mean([up[asked]]), mean([up[~asked]])


def steps_per_minute(takes):
    """How often a foot is lifted, both feet together.

    A foot's ground is the 5th percentile of the ankle's height; a step is a time above LIFTED.
    """
    count = 0
    for moves in takes:
        ground = np.quantile(moves.feet, 0.05, axis=0) if len(moves) else 0.0
        up = moves.feet > ground + LIFTED  # [F, 2]
        count += int((up[1:] & ~up[:-1]).sum())
    return 60 * count / max(sum(len(moves) / moves.fps for moves in takes), 1e-6)


# ------------------------------------------------------------------------------------------------
# All of them
# ------------------------------------------------------------------------------------------------
def puppet_scores(made, other_seed, truth, answers, forms=None):
    """All puppet scores -> {name: value}, by the names in PUPPET_SCORES; NaN where not defined.

    Lists over takes: motions made, motions made with another seed, motions recorded, and answers.
    forms: puppet_forms.Forms of training takes; without, no form is recognised.
    """
    made, other, truth = ([moves_of(m) for m in side] for side in (made, other_seed, truth))
    return (
        beat_scores(made, truth, answers)
        | style_scores(made, truth, answers)
        | choice_scores(made, other, truth, answers, forms)
        | body_scores(made, truth, answers)
    )


def beat_scores(made, truth, answers):
    """The scores of strokes on stresses."""
    stresses = [np.array([s["time"] for s in a["stresses"]]) for a in answers]
    strokes = [moves.strokes for moves in made]
    f1, f1_truth = beat_f1(strokes, stresses), beat_f1([m.strokes for m in truth], stresses)
    others = stresses[1:] + stresses[:1]  # of the next take
    return dict(
        beat_f1=f1,
        beat_f1_truth=f1_truth,
        beat_f1_share=f1 / f1_truth if f1_truth else float("nan"),
        beat_f1_mismatched=beat_f1(strokes, others) if len(others) > 1 else float("nan"),
    )


def style_scores(made, truth, answers):
    """The scores of posture, size of stroke, and rest."""
    true_style = style_by_speaker(truth, answers)
    average = np.array([mean(part) for part in zip(*true_style.values())])
    speed, speed_truth = rest_speed(made, answers), rest_speed(truth, answers)
    return dict(
        style_error=style_error(style_by_speaker(made, answers), true_style),
        style_error_average=style_error(dict.fromkeys(true_style, average), true_style),
        rest_error=rest_error(speed, speed_truth),
        rest_speed=speed,
        rest_speed_truth=speed_truth,
    )


def choice_scores(made, other, truth, answers, forms):
    """The scores of what is free: hands and forms.

    as_recorded: the share of phrases with the recording's own. A model cannot know it; of the
    recorded motion it says how well hands and forms are recognised.
    """
    scores = {}
    for kind, name, recognise in recognisers(forms):
        ours, others, true = (
            [recognise(moves, a) for moves, a in zip(side, answers)]
            for side in (made, other, truth)
        )
        said = [[phrase[name] for phrase in a["phrases"]] for a in answers]
        same, chance = agreement(ours, others)
        scores |= {
            f"{kind}_share_error": share_error(ours, true),
            f"{kind}_as_recorded": agreement(ours, said)[0],
            f"{kind}_agreement": same,
            f"{kind}_agreement_chance": chance,
        }
    return scores


def recognisers(forms):
    """What is recognised in phrases: (kind, its name in the answers, function of a take)."""
    form = forms.of if forms else lambda moves, answers: []
    return ("hand", "hands", phrase_hands), ("form", "form", form)


def body_scores(made, truth, answers):
    """The scores of shoulders and feet."""
    hits, false = shrug_rates(made, truth, answers)
    return dict(
        shrug_hits=hits,
        shrug_false=false,
        steps_per_minute=steps_per_minute(made),
        steps_per_minute_truth=steps_per_minute(truth),
    )


def scores_of_others(others, their_answers, truth, answers, forms=None):
    """Scores of recorded takes of the same speakers with other speech, where 0 is perfect.

    No model can be expected to come nearer to 0: a speaker's strokes, rests and choices differ
    from minute to minute. The style is NaN where a speaker has no other take.
    """
    others, truth = [moves_of(m) for m in others], [moves_of(m) for m in truth]
    theirs, true = style_by_speaker(others, their_answers), style_by_speaker(truth, answers)
    speed, speed_truth = rest_speed(others, their_answers), rest_speed(truth, answers)
    floor = dict(
        style_error=style_error(theirs, true) if set(true) <= set(theirs) else float("nan"),
        rest_error=rest_error(speed, speed_truth),
    )
    for kind, _, recognise in recognisers(forms):
        chosen = [
            [recognise(moves, a) for moves, a in zip(*side)]
            for side in ((others, their_answers), (truth, answers))
        ]
        floor[f"{kind}_share_error"] = share_error(*chosen)
    return floor


def defined(values):
    """The numbers [n] of an array that are no NaN."""
    values = np.ravel(values)
    return values[~np.isnan(values)]


def mean(values):
    """Mean of the numbers, in a list of arrays, that are defined; NaN where none is."""
    values = defined(np.concatenate([np.ravel(v) for v in values])) if len(values) else []
    return float(values.mean()) if len(values) else float("nan")
