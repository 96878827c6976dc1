"""What can be measured of gestures: pure functions from motions and arrays to numbers. evaluate.py calls them on whole corpora.

Reading order
    1. known answers      the puppet's scores: beats, style, hands, rests
    2. energy onsets      the score that needs no answers
"""
import numpy as np

from motion import find_strokes, hand_joints
from wavlm_loader import SAMPLE_RATE, loud_level

TOLERANCE = 0.1          # s: a stroke is on a syllable if it is this near


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
