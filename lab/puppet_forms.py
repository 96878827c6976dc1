"""What a phrase of the puppet shows: which hands speak, in which form, and whether shoulders shrug.

Reading order
    Moves, moves_of     what is looked at of a motion
    frames_of           the frames of a phrase
    phrase_hands        left, right, both at once, or both in turn
    looks, Forms        which form: a few plain features, and the nearest centroid
    rises               do the shoulders go up at the end of a phrase?

`answers` is the dictionary in a take's .json (see recordings.puppet). All lengths are in body
lengths, of which a body of 1.7 m has about 1.5 m.
"""

from dataclasses import dataclass

import numpy as np

from body.joints import COMMON_BODY, above, hand_joints
from body.rotations import turn_about_y
from body.size import common_body
from body.strokes import find_strokes

ONE_HAND = 0.7  # a hand with this share of the path of both speaks alone
AT_ONCE = 0.6  # hands whose speeds overlap this far move at once, not in turn
STILL = 0.01  # body lengths a second: slower hands than this do not speak
SHRUG = (-0.1, 0.5)  # s from a phrase's end: when the shoulders are up after a question
LOOKS = ("sideways", "up", "front", "ahead", "straight", "palm")
LEAST_SPREAD = 0.01  # of a look: where all phrases of a form look alike, it is no smaller


@dataclass
class Moves:
    """What the puppet's scores look at of one motion of F frames."""

    fps: float
    hands: np.ndarray  # [F, 2, 3] left and right wrist from the hips: to the left, up, to the front
    shoulders: np.ndarray  # [F] height of the shoulders over the neck
    feet: np.ndarray  # [F, 2] height of the ankles
    straight: np.ndarray  # [F, 2] the fingers of each hand: 1 straight, less: bent
    palms: np.ndarray  # [F, 2] where the palm faces: -1 down, 1 up
    strokes: np.ndarray  # [n] s
    drops: np.ndarray  # [n] body heights

    def __len__(self):
        return len(self.hands)


def moves_of(motion):
    """A Motion -> Moves. The front is where the shoulders face.

    The palm is that of a skeleton that rests with its palms down, as the puppet's T-pose does.
    """
    places = common_body(motion)  # [F, 16, 3]
    of = {name: places[:, j] for j, name in enumerate(COMMON_BODY)}  # [F, 3] each
    across = of["left shoulder"] - of["right shoulder"]
    level = turn_about_y(-np.arctan2(-across[:, 2], across[:, 0]))  # [F, 3, 3]
    wrists = [of[f"{side} wrist"] - of["hips"] for side in ("left", "right")]
    shoulders = [(of[f"{side} shoulder"] - of["neck"])[:, 1] for side in ("left", "right")]
    straight, palms = fingers_and_palms(motion)
    strokes, drops, _ = find_strokes(motion)
    return Moves(
        fps=1 / motion.frame_time,
        hands=np.stack(wrists, axis=1) @ np.swapaxes(level, 1, 2),
        shoulders=np.mean(shoulders, axis=0),
        feet=np.stack([of[f"{side} ankle"][:, 1] for side in ("left", "right")], axis=1),
        straight=straight,
        palms=palms,
        strokes=strokes,
        drops=drops,
    )


def fingers_and_palms(motion):
    """(how straight the fingers are, where the palms face), [F, 2] each.

    Straight: from the wrist to a finger's tip, by the length of the bones between; the mean over
    the fingers. 1 where the skeleton has none.
    """
    points, parents = motion.points()  # [F, J + E, 3], [J + E]
    wrists, joints = hand_joints(motion), len(motion.names)
    turned = motion.world()[0][:, wrists]  # [F, 2, 3, 3]
    straight = []
    for wrist in wrists:
        fingers = []
        for end, (joint, _, _) in enumerate(motion.end_sites):
            way = [joints + end, joint, *above(motion, joint)]
            if wrist in way:
                bones = np.diff(points[:, way[: way.index(wrist) + 1]], axis=1)  # [F, bones, 3]
                along = np.linalg.norm(bones, axis=-1).sum(axis=1)
                fingers.append(np.linalg.norm(bones.sum(axis=1), axis=-1) / along)
        straight.append(np.mean(fingers, axis=0) if fingers else np.ones(len(motion)))
    return np.stack(straight, axis=1), -turned[:, :, 1, 1]


def frames_of(moves, start, end):
    """The frames from `start` to `end`, in seconds, as a slice; shorter where the motion ends."""
    first, last = round(start * moves.fps), round(end * moves.fps)
    return slice(max(0, first), max(0, min(last, len(moves))))


# ------------------------------------------------------------------------------------------------
# Which hands speak
# ------------------------------------------------------------------------------------------------
def phrase_hands(moves, answers):
    """The hands that speak in each phrase: "left", "right", "both", "turn" or "none"."""
    return [
        speaking(moves.hands[frames_of(moves, p["start"], p["end"])], moves.fps)
        for p in answers["phrases"]
    ]


def speaking(hands, fps):
    """The hands that speak in some frames [F, 2, 3].

    One hand alone: more than ONE_HAND of the path is its own. Both at once: the speeds a and b
    overlap, sum min(a, b) / sum (a + b) / 2, by more than AT_ONCE; else in turn. A phrase of one
    stroke in turn looks as if one hand spoke.
    """
    speed = np.linalg.norm(np.diff(hands, axis=0), axis=-1) * fps  # [F - 1, 2]
    if len(speed) < 2 or speed.mean() < STILL:
        return "none"
    left = speed[:, 0].sum() / speed.sum()
    if max(left, 1 - left) > ONE_HAND:
        return "left" if left > ONE_HAND else "right"
    overlap = 2 * speed.min(axis=1).sum() / speed.sum()
    return "both" if overlap > AT_ONCE else "turn"


def columns_of(hands):
    """The columns of the hands that speak, of [F, 2, ...]."""
    return {"left": [0], "right": [1]}.get(hands, [0, 1])


# ------------------------------------------------------------------------------------------------
# In which form
# ------------------------------------------------------------------------------------------------
def looks(moves, answers):
    """How the speaking hands of each phrase look, [phrases, LOOKS]; NaN where none speaks.

    sideways, up, front   share of the hands' path along each axis
    ahead                 how far a falling hand goes to the front, by how far it falls
    straight, palm        the means of Moves' own
    """
    rows = []
    for phrase, hands in zip(answers["phrases"], phrase_hands(moves, answers)):
        frames, columns = frames_of(moves, phrase["start"], phrase["end"]), columns_of(hands)
        if hands == "none":
            rows.append(np.full(len(LOOKS), np.nan))
            continue
        steps = np.diff(moves.hands[frames][:, columns], axis=0)  # [F - 1, 1 or 2, 3]
        shares = np.abs(steps).sum(axis=(0, 1)) / np.linalg.norm(steps, axis=-1).sum()  # [3]
        fall = np.maximum(-steps[..., 1], 0)  # [F - 1, 1 or 2]
        stroke = fall > 0.5 * fall.max()  # the fast part of falls
        ahead = steps[..., 2][stroke].sum() / max(fall[stroke].sum(), 1e-6)
        straight, palm = moves.straight[frames], moves.palms[frames]
        rows.append([*shares, ahead, straight[:, columns].mean(), palm[:, columns].mean()])
    return np.array(rows).reshape(-1, len(LOOKS))


@dataclass
class Forms:
    """The forms of gesture by their looks: the mean of each, and the spread within a form."""

    names: list
    centroids: np.ndarray  # [forms, LOOKS]
    spread: np.ndarray  # [LOOKS]

    def of(self, moves, answers):
        """The form of each phrase: that of the nearest centroid; "none" where no hand speaks."""
        away = (looks(moves, answers)[:, None] - self.centroids) / self.spread
        distances = np.square(away).sum(axis=-1)  # [phrases, forms]
        return ["none" if np.isnan(d).any() else self.names[d.argmin()] for d in distances]


def fit_forms(takes, answers):
    """Lists of Moves and answers of training takes -> Forms; None where no phrase has a form."""
    rows, names = [], []
    for moves, a in zip(takes, answers):
        rows += list(looks(moves, a))
        names += [phrase["form"] for phrase in a["phrases"]]
    known = [n for n, row in enumerate(rows) if not np.isnan(row).any()]
    if not known:
        return None
    rows, names = np.array([rows[n] for n in known]), [names[n] for n in known]
    kinds = sorted(set(names))
    which = np.array([kinds.index(name) for name in names])  # [phrases]
    centroids = np.array([rows[which == n].mean(axis=0) for n in range(len(kinds))])
    own = centroids[which]  # [phrases, LOOKS]
    spread = np.sqrt(np.square(rows - own).mean(axis=0))
    return Forms(kinds, centroids, np.maximum(spread, LEAST_SPREAD))


# ------------------------------------------------------------------------------------------------
# Shoulders
# ------------------------------------------------------------------------------------------------
def rises(moves, answers):
    """How far the shoulders are up at the end of each phrase, against the phrase before it [n].

    NaN where the motion ends too early to tell.
    """
    heights = []
    for phrase in answers["phrases"]:
        end = phrase["end"]
        up = moves.shoulders[frames_of(moves, end + SHRUG[0], end + SHRUG[1])]
        usual = moves.shoulders[frames_of(moves, phrase["start"], end - 0.5)]
        whole = len(up) >= 0.9 * (SHRUG[1] - SHRUG[0]) * moves.fps
        heights.append(up.mean() - np.median(usual) if whole and len(usual) else np.nan)
    return np.array(heights)
