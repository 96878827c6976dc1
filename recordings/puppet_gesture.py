"""What the puppet's hands, head and feet intend: a plan of keys in time (`plan`).

Reading order
    FORMS, RESTS          what a gesture may look like, and where hands rest
    Key, follow           a smooth path through keys
    plan                  what is drawn for each phrase, and the answers
    hand_keys             preparation, stroke, hold, retraction of one hand
    stance                weight and steps

What the sound decides: when (a stroke on each stressed syllable), how strongly (its loudness), how
large (the voice's pitch: `who.stroke`), whose posture (the vocal tract: `who.spread`), and the
shrug at a question's end. What is free, drawn anew: the form and the hands of each phrase, its
height, where hands rest, where the weight goes, steps, the head's direction. One speech has many
right answers.

Places of a wrist are (out, up, front) in cm, seen from the hips: out is away from the body's middle
plane, so that both hands share one description. The phrases are those of puppet_voice.script.
Random numbers are drawn in a fixed order: to reorder the draws would change every corpus.
"""

from dataclasses import dataclass, replace

import numpy as np

HALF_STROKE = 0.12  # s: a stroke takes 0.24 s, fastest half-way, which is on the stress
PREPARATION = 0.65  # s: the hand comes back to where the next stroke starts
HIGHEST = 60.0  # cm above the hips that a stroke begins at most; the shoulders are at 50
WIDEST = 50.0  # cm from the middle plane that a stroke ends at most
RETRACTION = 2.4  # s that a hand takes at most to come to rest
OFF_THE_THIGH = (5.0, 0.0, 5.0, 0.0, 0.0, 0.0)  # cm: how the way up from rest bends
HANDS = ("left", "right", "both", "turn")  # one hand, both in mirror, both in turn
SHARES = (0.15, 0.23, 0.42, 0.2)  # of the phrases


@dataclass(frozen=True)
class Form:
    """A kind of stroke. While the hand falls it also goes aside and ahead, in shares of `reach`."""

    aside: float  # outwards
    ahead: float  # forwards
    arc: tuple  # (out, up, front): how the stroke's path bends, in shares of `reach`
    back: tuple  # the same for the way back to the next stroke
    roll: tuple  # degrees at the top and at the bottom: 0 palm inwards, 90 down, -90 up
    curl: float  # degrees that the fingers bend: 0 straight, 80 a fist
    index: float  # degrees that the index finger bends
    raised: float = 0.0  # cm that the form is held higher than others
    flows: bool = False  # no holds: the way back takes all the time that there is


# fmt: off
FORMS = {
    "beat":  Form(0.35, 0.4, (0, 0, 0.2), (0, 0, -0.15), (15, 25), 40, 40),
    "sweep": Form(1.8, 0.1, (0, 0, 0.4), (0, 0.1, 0.2), (35, 75), 15, 12),
    "palms": Form(0.9, 0.9, (0, -0.3, 0.1), (0, 0, -0.2), (10, -70), 22, 18),
    "point": Form(0.2, 1.3, (0, 0.2, 0), (0, 0, -0.1), (60, 70), 75, 4, raised=9),
    "cycle": Form(0.5, -0.3, (0.3, 0, 0.9), (-0.2, 0, -0.7), (25, 35), 30, 26, flows=True),
}
# where a hand rests: (place, roll, curl)
RESTS = {
    "hang":  ((27, -1, 4), 5, 32),
    "clasp": ((11, 7, 22), 30, 38),
    "hip":   ((25, 9, -3), 55, 45),
}
# fmt: on


# ------------------------------------------------------------------------------------------------
# A smooth path through keys
# ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Key:
    """Where something is at a time, and how the way to it bends."""

    time: float  # s
    value: tuple
    bend: tuple | None = None  # how far the way from the key before goes off the straight line


def follow(times, keys):
    """The smooth path through `keys`, at `times` [F] -> [F, n].

    Minimum jerk from each key to the next (Flash and Hogan 1985): as u goes from 0 to 1, the value
    goes as s = 10 u^3 - 15 u^4 + 6 u^5. It is at rest at both ends and fastest half-way. A bend is
    added as sin(pi s).
    """
    keys = in_order(keys)
    if len(keys) == 1:
        keys = [replace(keys[0], time=keys[0].time - 1), *keys]
    at = np.array([key.time for key in keys])
    values = np.array([key.value for key in keys], float)  # [K, n]
    bends = np.array([key.bend or np.zeros(values.shape[1]) for key in keys], float)  # [K, n]
    n = np.clip(np.searchsorted(at, times, side="right") - 1, 0, len(keys) - 2)  # [F]
    u = np.clip((times - at[n]) / (at[n + 1] - at[n]), 0, 1)
    s = (u**3 * (10 - 15 * u + 6 * u**2))[:, None]  # [F, 1]
    return values[n] + s * (values[n + 1] - values[n]) + bends[n + 1] * np.sin(np.pi * s)


def in_order(keys):
    """Keys whose times rise: where a plan overlaps itself, the later intention wins."""
    kept = []
    for key in keys:
        while kept and key.time <= kept[-1].time + 1e-3:
            kept.pop()
        kept.append(key)
    return kept


# ------------------------------------------------------------------------------------------------
# The plan
# ------------------------------------------------------------------------------------------------
@dataclass
class Plan:
    """All that the body is to do: keys for each part, and what the scores need to know."""

    phrases: list  # those of the script, with hands, form, and what else was drawn
    hands: dict  # {"left", "right": keys of (out, up, front, roll, curl, index)}
    shrugs: list  # keys of (share,) from 0 to 1
    head: list  # keys of (turn, tilt, nod) in degrees
    trunk: list  # keys of (lean, turn) in degrees
    weight: list  # keys of (share,) from -1, on the right foot, to 1, on the left
    feet: dict  # {"left", "right": keys of (x in cm, z in cm, direction in degrees)}
    steps: list  # (start, end, side): when a foot is in the air
    answers: dict  # what a take's .json holds of it


def plan(who, mood, phrases, seconds, rng):
    """Draw what the body does to the phrases -> Plan. mood, seconds: as for puppet_voice.script."""
    size = who.stroke * (1.15 if mood == "lively" else 1.0)
    phrases = [phrase | drawn_for(phrase, rng) for phrase in phrases]
    hands = {s: hand_keys(who, phrases, s, size, seconds, rng) for s in ("left", "right")}
    shrugs, when = shrug_keys(phrases)
    weight, feet, steps = stance(phrases, seconds, rng)
    head, trunk = head_keys(phrases), [Key(-1.0, (0.0, 0.0))]
    for phrase in phrases:
        begin = phrase["start"] - 0.35
        trunk += [Key(begin, trunk[-1].value), Key(begin + 1.0, phrase["lean"])]
    answers = dict(
        phrases=[
            {name: phrase[name] for name in ("start", "end", "question", "hands", "form")}
            for phrase in phrases
        ],
        stresses=[
            dict(time=s["peak"], loudness=s["loudness"], hand=s["hand"])
            for phrase in phrases
            for s in phrase["stresses"]
        ],
        rests=rests_by_rule(phrases, seconds),
        shrugs=when,
        steps=[(start, end) for start, end, _ in steps],
    )
    return Plan(phrases, hands, shrugs, head, trunk, weight, feet, steps, answers)


def drawn_for(phrase, rng):
    """What is free in a phrase: hands, form, height, rest afterwards, gaze, lean."""
    hands = HANDS[rng.choice(len(HANDS), p=SHARES)]
    form = list(FORMS)[rng.integers(len(FORMS))]
    first = ("left", "right")[int(rng.integers(2))]
    height, ahead = rng.uniform(10, 42), rng.uniform(23, 33)
    rest = list(RESTS)[rng.choice(len(RESTS), p=(0.45, 0.35, 0.2))]
    hip_side = ("left", "right")[int(rng.integers(2))]
    towards = {"left": 1, "right": -1}.get(hands, 0)
    gaze = (rng.normal(0, 11) + 4 * towards, rng.normal(0, 6), rng.normal(0, 6))
    lean = (rng.normal(0, 3.4), -5.0 * towards + rng.normal(0, 3))
    stresses = [dict(s) for s in phrase["syllables"] if s["stressed"]]
    for n, s in enumerate(stresses):
        in_turn = first if n % 2 == 0 else other(first)
        s["hand"] = in_turn if hands == "turn" else hands
    return dict(
        hands=hands, form=form, height=height, ahead=ahead, rest=rest, hip_side=hip_side,
        gaze=gaze, lean=lean, stresses=stresses,
    )  # fmt: skip


def other(side):
    """The other side."""
    return "right" if side == "left" else "left"


def rests_by_rule(phrases, seconds):
    """Stretches (start, end) in which both hands rest, whatever was drawn, of at least 0.4 s.

    From when the slowest hand has retracted to when the quickest is prepared for the next phrase.
    """
    over = [0.0] + [p["end"] + 0.3 + (0.6 if p["question"] else 0) + RETRACTION for p in phrases]
    before = [p["start"] - 0.5 for p in phrases] + [seconds]
    return [(start, end) for start, end in zip(over, before) if end - start > 0.4]


# ------------------------------------------------------------------------------------------------
# Hands
# ------------------------------------------------------------------------------------------------
def hand_keys(who, phrases, side, size, seconds, rng):
    """Keys of one hand: (out, up, front, roll, curl, index).

    size: cm that the hand falls in a full stroke. In a phrase the hand is prepared for the first
    stroke 0.6 s before it. After the phrase it retracts, slowly enough not to look like a stroke;
    where the next phrase is near, it goes part of the way, or stays.
    """
    keys = [Key(-1.0, rest_value("hang"))]
    ours = [p for p in phrases if p["stresses"] and p["hands"] in (side, "both", "turn")]
    for n, phrase in enumerate(ours):
        strokes = strokes_of_phrase(who, phrase, side, size, rng)
        if not strokes:  # the other hand had the phrase's only turn
            continue
        begin = strokes[0][0] - 0.62
        keys.append(Key(begin, keys[-1].value))
        keys += stroke_keys(phrase, strokes, keys[-1])
        leave = max(phrase["end"], keys[-1].time + 0.15)
        if phrase["question"]:
            keys += asking(keys[-1].value, leave)
            leave = keys[-1].time
        keys.append(Key(leave, keys[-1].value))
        after = ours[n + 1]["stresses"][0]["peak"] - 0.9 if n + 1 < len(ours) else seconds + 5
        rest = phrase["rest"]
        if rest == "hip" and phrase["hip_side"] != side:
            rest = "hang"
        keys += retract(keys[-1], rest, after)
    return keys


def rest_value(rest):
    """What a hand's key holds where it rests."""
    place, roll, curl = RESTS[rest]
    return (*place, roll, curl, curl - 4)


def retract(key, rest, before):
    """Keys from `key` to the rest pose, or part of the way if there is no time `before`.

    It falls with 33 cm/s at its fastest, from the highest places with 40 cm/s: a stroke has more.
    The fastest moment of a path of minimum jerk is 15 / 8 of its mean speed.
    """
    goal = np.array(rest_value(rest))
    here = np.array(key.value)
    lasts = np.clip(15 / 8 * (here[1] - goal[1]) / 33, 0.9, RETRACTION)
    share = (before - key.time) / lasts
    if share >= 1.0:
        bend = (2.0, 0.0, 3.0, 0.0, 0.0, 0.0)
        return [Key(key.time + lasts, tuple(goal), bend)]
    if share < 0.4:  # the next phrase is near: it stays where it is
        return []
    return [Key(before, tuple(here + 0.7 * share * (goal - here)))]


def strokes_of_phrase(who, phrase, side, size, rng):
    """The strokes of one hand in a phrase: a list of (time of the stress, top, bottom, reach).

    top, bottom: places [3]; reach: cm that the form's shares are of.
    """
    form, strokes = FORMS[phrase["form"]], []
    both = phrase["hands"] in ("both", "turn")
    nearest = 9.0 if both else -3.0  # cm from the middle plane: both hands must not meet
    for s in phrase["stresses"]:
        stray, unlike = rng.normal(0, (4.5, 3.5, 3.5)), rng.uniform(0.85, 1.0)
        if s["hand"] not in (side, "both"):
            continue
        fall = size * (0.4 + 0.6 * s["loudness"])  # a weak stroke is still seen to be one
        reach = (13 + 0.5 * fall) * (unlike if s["hand"] == "both" else 1.0)
        centre = np.array([who.spread, phrase["height"] + form.raised, phrase["ahead"]]) + stray
        centre[1] = min(centre[1], HIGHEST - fall)
        half = 0.5 * reach * np.array([form.aside, 0.0, form.ahead])
        top, bottom = centre - half + (0, fall, 0), centre + half
        beside_head = max(nearest, 6 + 0.75 * (top[1] - 38))  # a high hand keeps off the face
        top[0] = max(top[0], beside_head)
        bottom[0] = np.clip(bottom[0], nearest, WIDEST)
        strokes.append((s["peak"], top, bottom, reach))
    return strokes


def stroke_keys(phrase, strokes, last):
    """Keys of the strokes of one hand: preparation, hold, stroke, hold; and so on."""
    form, keys = FORMS[phrase["form"]], []
    free = last.time
    for n, (peak, top, bottom, reach) in enumerate(strokes):
        start, end = peak - HALF_STROKE, peak + HALF_STROKE
        at_top = (*top, form.roll[0], form.curl, form.index)
        at_bottom = (*bottom, form.roll[1], form.curl, form.index)
        if n == 0:
            begin, ready = last.time, start - 0.06
        elif form.flows:
            begin, ready = free, start - 0.02
        else:
            begin, ready = max(free, start - PREPARATION), start - 0.04
            # no hand is held quite still: it rises a little before the next stroke is prepared
            keys.append(Key(begin, between(keys[-1].value, at_top, 0.25)))
        ready = max(ready, begin + 0.1)
        back = bent(form.back, reach) if n else OFF_THE_THIGH
        keys += [Key(ready, at_top, back), Key(max(start, ready + 0.01), at_top)]
        keys.append(Key(end, at_bottom, bent(form.arc, reach)))
        free = end
    return keys


def between(a, b, share):
    """The value that lies a share of the way from a to b."""
    return tuple(np.array(a) + share * (np.array(b) - np.array(a)))


def bent(shares, reach):
    """A bend for Key, from shares of `reach` in cm."""
    return (*(share * reach for share in shares), 0.0, 0.0, 0.0)


def asking(value, leave):
    """Keys of a question's end: the palms turn up and go apart."""
    out, up, front, _, _, _ = value
    asked = (out + 5, up + 4, front + 2, -75, 15, 12)
    return [Key(leave - 0.15, value), Key(leave + 0.25, asked), Key(leave + 0.6, asked)]


def shrug_keys(phrases):
    """Keys of the shoulders' shrug at the end of each question -> (keys, [(start, end)])."""
    keys, when = [Key(-1.0, (0.0,))], []
    for phrase in phrases:
        if phrase["question"]:
            end = phrase["end"]
            keys += [Key(end - 0.4, (0.0,)), Key(end, (1.0,)), Key(end + 0.45, (1.0,))]
            keys.append(Key(end + 0.95, (0.0,)))
            when.append((end - 0.1, end + 0.5))
    return keys, when


def head_keys(phrases):
    """Keys of the head: (turn, tilt, nod) in degrees. It looks elsewhere in each phrase.

    In a shrug it tilts.
    """
    keys = [Key(-1.0, (0.0, 0.0, 0.0))]
    for phrase in phrases:
        begin, end, gaze = phrase["start"] - 0.15, phrase["end"], phrase["gaze"]
        keys += [Key(begin, keys[-1].value), Key(begin + 0.55, gaze)]
        if phrase["question"]:
            turned, tilt, nod = gaze
            asking = (turned, tilt + np.copysign(9.0, tilt), nod)
            keys += [Key(end - 0.4, gaze), Key(end, asking), Key(end + 0.45, asking)]
            keys.append(Key(end + 0.95, gaze))
    return keys


# ------------------------------------------------------------------------------------------------
# Weight and steps
# ------------------------------------------------------------------------------------------------
STEP = 0.5  # s that a foot is in the air
WIDTH = 11.0  # cm from the middle of the stance to a foot
SPLAY = 9.0  # degrees that a foot turns outwards


def stance(phrases, seconds, rng):
    """Where the feet stand and on which the weight is -> (weight, feet, steps) as in Plan.

    At the border of two phrases the weight shifts; at two of five borders the body also takes a
    step: the foot on the side where it goes, then the other. Stances are drawn around one place, so
    the body stays where it is.
    """
    where = np.zeros(3)  # x, z, direction
    feet = {side: [Key(-1.0, foot_at(where, side))] for side in ("left", "right")}
    weight, steps = [Key(-1.0, (0.3,))], []
    free = 0.5
    for phrase in phrases:
        to_step, new = rng.random() < 0.42, rng.normal(0, (13, 9.5, 5))
        heavy = rng.uniform(0.3, 0.95) * (1 if rng.random() < 0.5 else -1)
        side = {"left": 1, "right": -1}.get(phrase["hands"])
        heavy = abs(heavy) * side if side else heavy
        begin = max(free, phrase["start"] - 0.7)
        if to_step and begin + 2 * STEP + 0.5 < seconds:
            new = np.clip(new, (-18, -15, -9), (18, 15, 9))
            first = "left" if new[0] > where[0] else "right"
            for side in (first, other(first)):
                on_other = -0.85 if side == "left" else 0.85
                feet[side] += [
                    Key(begin + 0.25 + 0.15 * STEP, feet[side][-1].value),
                    Key(begin + 0.25 + 0.85 * STEP, foot_at(new, side)),
                ]
                weight += [Key(begin, weight[-1].value), Key(begin + 0.3, (on_other,))]
                weight.append(Key(begin + 0.2 + STEP, (on_other,)))
                steps.append((begin + 0.25, begin + 0.25 + STEP, side))
                begin += STEP + 0.2
            where = new
        weight += [Key(begin, weight[-1].value), Key(begin + 0.9, (heavy,))]
        free = begin + 0.9
    return weight, feet, steps


def foot_at(where, side):
    """A foot's (x, z, direction) in the stance at `where`, its (x, z, direction)."""
    x, z, direction = where
    sign, radians = (1 if side == "left" else -1), np.radians(direction)
    aside = sign * WIDTH
    return (
        x + aside * np.cos(radians),
        z - aside * np.sin(radians),
        direction + sign * SPLAY,
    )
