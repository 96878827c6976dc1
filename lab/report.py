"""All metrics of a model, with the recorded motion above it and three floors below it.

Reading order
    Reference       what every model on one corpus is held against
    measure         every metric of one set of motions
    fit_reference   a corpus -> its Reference
    report          a model's motions, several seeds -> the table

lab.evaluate reads a corpus, generates, and prints what comes out.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from body.joints import COMMON_BODY
from body.pose import PoseCodec
from lab.frechet import (
    DIMENSIONS,
    HOP,
    WINDOW,
    WindowFeatures,
    fit_windows,
    gesture_distance,
    joints_seen,
    windows,
)
from lab.metrics import (
    CONTACT,
    SIGMA,
    beat_alignment,
    best_lag,
    correlation_by_lag,
    diversity,
    energy_onsets,
    foot_sliding,
    hand_speed,
    jerk,
    look_at,
    onset_hits_of_takes,
    range_of_motion,
    speech_level,
)
from lab.puppet_forms import Forms, fit_forms, moves_of
from lab.puppet_scores import OF_TWO_SEEDS, PUPPET_SCORES, mean, puppet_scores, scores_of_others
from recordings.audio import SAMPLE_RATE

LAG = 1.0  # s: how far speech and hands are shifted against each other
PEAK = 99  # percentile of the jerk that is called its peak: the maximum would be one frame's doing
UNITS = dict(
    fgd_raw="(% of body length)²",
    fgd_code="squared deviations",
    beat_alignment="0 to 1",
    onset_hits="share of strokes",
    onset_hits_shifted="... by chance",
    strokes_per_minute="1/min",
    speech_hand_correlation="-1 to 1",
    speech_hand_lag="s, > 0: hands later",
    diversity="body lengths",
    hand_jerk="body lengths/s³",
    hand_jerk_peak="body lengths/s³",
    foot_sliding="body lengths/s",
    range_of_motion="degrees",
)
PUPPET_UNITS = dict(
    rest_speed="body lengths/s",
    hand_share_error="0 to 1: hands as often as recorded",
    hand_as_recorded="share of phrases",
    hand_agreement="share of phrases, of two seeds",
    hand_agreement_chance="... by chance",
    form_share_error="0 to 1: forms as often as recorded",
    form_as_recorded="share of phrases",
    form_agreement="share of phrases, of two seeds",
    form_agreement_chance="... by chance",
    shrug_hits="share of questions",
    shrug_false="share of other phrases",
    steps_per_minute="1/min",
)
OF_SPEECH = (  # the metrics that depend on the speech
    "beat_alignment",
    "onset_hits",
    "onset_hits_shifted",
    "speech_hand_correlation",
    "speech_hand_lag",
)
OF_OTHERS = ("style_error", "rest_error", "hand_share_error", "form_share_error")
NAN = float("nan")

# How much it takes until a score tells something. Pieces of 8 s to 8 minutes were drawn from the
# puppet's takes, 60 of each length. Other recordings were nearer to the truth than a mean pose is
# (Fréchet, principal components) with 7 windows in 1 of 4, with 15 in 2 of 3, with 29 in 19 of 20,
# with 44 in 59 of 60 and from 59 on in all; but from 59 windows at a third of the mean pose's
# distance, from 236 at a tenth. The lag of the hands was within 0.1 s of that of all takes with
# 8 s in 3 of 4, with 16 s in 9 of 10, with 45 s in 99 of 100. People follow their speech less
WINDOWS_NEEDED = 50  # on either side of a Fréchet distance
SECONDS_NEEDED = 50.0  # for a correlation with the speech at the best lag


@dataclass
class Reference:
    """What every model on one corpus is held against. Made once: many models are then cheap."""

    fps: float
    truth: list  # [takes] Motions recorded with the held-out speech
    seen: list  # [takes] their Gestures
    waveforms: list  # [takes] of the same takes, each [samples]
    answers: list | None  # [takes] the puppet's, or None
    forms: Forms | None  # the puppet's forms of gesture, fitted on training takes
    onsets: list  # [takes] seconds [n]
    levels: list  # [takes] dB [frames]
    joints: list  # places in COMMON_BODY of the joints in windows: all, or without legs
    features: WindowFeatures | None
    true_windows: np.ndarray  # [n, D]
    samples: int  # windows on either side of each Fréchet distance
    still: list  # [takes] Motions that hold the mean training pose, in the take's own body
    left_out: dict  # {metric: why it is not computed}
    columns: dict  # {"truth", "mean_pose", "shuffled": {metric: value}}
    how: dict  # sizes, for the JSON


# ------------------------------------------------------------------------------------------------
# Every metric
# ------------------------------------------------------------------------------------------------
def measure(motions, seen, reference, second=None):
    """Every metric of motions made for the held-out speech -> {metric: value}; NaN: not defined.

    motions: one for each take of the reference. seen: their Gestures. second: what another seed
    made, for the puppet's agreement of two seeds.
    """
    values = distances(windows(seen, reference.joints), reference)
    values |= with_speech(seen, reference)
    jerks = np.concatenate([jerk(g).ravel() for g in seen])
    values["hand_jerk"] = mean([jerks])
    values["hand_jerk_peak"] = float(np.percentile(jerks, PEAK)) if len(jerks) else NAN
    values["foot_sliding"] = mean([foot_sliding(g) for g in seen])
    values["range_of_motion"] = mean([range_of_motion(g) for g in seen])
    if reference.answers:
        of_truth = reference.truth, reference.answers, reference.forms
        values |= puppet_scores(motions, second or motions, *of_truth)
        if second is None:
            values |= dict.fromkeys(OF_TWO_SEEDS, NAN)
    return values | dict.fromkeys(reference.left_out, NAN)


def distances(x, reference):
    """Fréchet distances of windows [n, D] from the recorded ones, by both kinds of features."""
    features = reference.features
    if features is None or not len(x) or np.isnan(x).any():
        return dict(fgd_raw=NAN, fgd_code=NAN)
    true, samples = reference.true_windows, reference.samples
    return dict(
        fgd_raw=gesture_distance(features.raw(x), features.raw(true), samples),
        fgd_code=gesture_distance(features.code(x), features.code(true), samples),
    )


def with_speech(seen, reference):
    """The metrics that hold Gestures [takes] against their speech, and strokes a minute."""
    fps, waveforms = reference.fps, reference.waveforms
    lasts = [len(g.own) / fps for g in seen]  # seconds
    aligned = []
    for g, onsets, waveform, seconds in zip(seen, reference.onsets, waveforms, lasts):
        both = min(seconds, len(waveform) / SAMPLE_RATE)  # of a shuffled pair one may be longer
        aligned.append(beat_alignment(onsets[onsets < both], g.strokes[g.strokes < both]))
    strokes, rng = [g.strokes for g in seen], np.random.default_rng(0)
    hits, shifted = onset_hits_of_takes(strokes, lasts, waveforms, rng)
    most = round(LAG * fps)
    curves = [
        correlation_by_lag(level, hand_speed(g), most) for level, g in zip(reference.levels, seen)
    ]
    correlation, lag = best_lag(curves, [len(g.own) for g in seen], fps)
    return dict(
        beat_alignment=mean(aligned),
        onset_hits=hits,
        onset_hits_shifted=shifted,
        strokes_per_minute=60 * sum(map(len, strokes)) / sum(lasts),
        speech_hand_correlation=correlation,
        speech_hand_lag=lag,
    )


# ------------------------------------------------------------------------------------------------
# What depends on the corpus alone
# ------------------------------------------------------------------------------------------------
def fit_reference(
    train, others, their_answers, truth, waveforms, answers=None, cache=None, train_answers=None
):
    """Everything that depends on the corpus alone -> Reference. All Motions at one frame rate.

    train      training takes that the features, the mean pose and the puppet's forms are fitted on.
               train_answers: the puppet's, or None
    others     training takes kept out of that, as many as `truth` if there are so many. Their
               distance from the truth is the least that a Fréchet distance can be expected to be.
               their_answers: the puppet's, or None
    truth      the held-out takes; waveforms and answers are theirs

    The columns beside the model's:
    truth      the recorded motion itself. For Fréchet distances and the errors of style, rest,
               hands and forms it is `others`; for diversity it is the distance of `others` and
               truth, two recordings that have nothing to do with each other
    mean_pose  the mean training pose, held still
    shuffled   the recorded motion with the speech and the answers of the take half the list away,
               for what depends on them; empty with a single take
    """
    fps = 1 / truth[0].frame_time
    seen, seen_others = [look_at(m) for m in truth], [look_at(m) for m in others]
    joints = joints_seen(seen)
    x, true_windows = windows([look_at(m) for m in train]), windows(seen)
    other_windows = windows(seen_others, joints)
    left_out = not_told(seen, fps, len(true_windows), len(other_windows))
    reference = Reference(
        fps=fps,
        truth=truth,
        seen=seen,
        waveforms=waveforms,
        answers=answers,
        forms=fit_forms([moves_of(m) for m in train], train_answers) if train_answers else None,
        onsets=[energy_onsets(w) for w in waveforms],
        levels=[speech_level(w, fps) for w in waveforms],
        joints=joints,
        features=None if "fgd_raw" in left_out else fit_windows(x, cache, joints=len(joints)),
        true_windows=true_windows,
        samples=min(len(true_windows), len(other_windows)),
        still=mean_poses(train, truth, fps),
        left_out=left_out,
        columns={},
        how={},
    )
    reference.how = sizes(reference, x, train, other_windows)
    true = measure(truth, seen, reference) | distances(other_windows, reference)
    true["diversity"] = diversity([seen_others, seen])
    if answers and their_answers:
        true |= scores_of_others(others, their_answers, truth, answers, reference.forms)
    elif answers:
        true |= dict.fromkeys(OF_OTHERS, NAN)
    reference.columns = dict(
        truth=true, mean_pose=mean_pose_column(reference), shuffled=shuffled_column(reference)
    )
    return reference


def not_told(seen, fps, true_windows, other_windows):
    """What the takes cannot tell -> {metric: why}. seen: Gestures [takes] of the truth."""
    left_out = {}
    if min(true_windows, other_windows) < WINDOWS_NEEDED:
        why = (
            f"a Fréchet distance needs {WINDOWS_NEEDED} windows of {WINDOW:.0f} s, about a minute, "
            f"of judged takes and of others; there are {true_windows} and {other_windows}"
        )
        left_out |= dict(fgd_raw=why, fgd_code=why)
    seconds = sum(len(g.own) for g in seen) / fps
    if seconds < SECONDS_NEEDED:
        why = f"takes of {SECONDS_NEEDED:.0f} s together tell it; these last {seconds:.0f} s"
        left_out |= dict(speech_hand_correlation=why, speech_hand_lag=why)
    if len(joints_seen(seen)) < len(COMMON_BODY) - 1:
        left_out["foot_sliding"] = "no joint is called a foot or an ankle"
    return left_out


def mean_poses(train, truth, fps):
    """For each take of `truth` a Motion as long, in its own body, that holds the mean pose."""
    codec = PoseCodec.fit(train, fps)
    still = []
    for motion in truth:
        pose = codec.decode(np.zeros((1, codec.pose_dim)), body=motion)
        rotations = np.repeat(pose.rotations, len(motion), axis=0)  # [F, J, 3, 3]
        positions = np.repeat(pose.positions, len(motion), axis=0)  # [F, J, 3]
        still.append(replace(pose, rotations=rotations, positions=positions))
    return still


def mean_pose_column(reference):
    """The metrics of the mean pose, held still."""
    still = reference.still
    values = measure(still, [look_at(m) for m in still], reference, second=still)
    return values | dict(diversity=0.0)


def shuffled_column(reference):
    """The metrics of recorded motion with another take's speech, where they depend on it."""
    truth, seen, half = reference.truth, reference.seen, len(reference.truth) // 2
    if not half:
        return {}
    other, other_seen = truth[half:] + truth[:half], seen[half:] + seen[:half]
    values = measure(other, other_seen, reference, second=truth)
    kept = set(OF_SPEECH + PUPPET_SCORES) - {"beat_f1_mismatched"}
    return {name: value for name, value in values.items() if name in kept}


def sizes(reference, fitted_windows, train, other_windows):
    """What the numbers were made with, for the JSON of the results."""
    fgd = dict(
        window_s=WINDOW,
        hop_s=HOP,
        dimensions=DIMENSIONS,
        fitted_on_windows=len(fitted_windows),
        fitted_on_takes=len(train),
        samples_on_either_side=reference.samples,
        samples_of_other_truth=len(other_windows),
    )
    return dict(
        fps=reference.fps,
        takes=len(reference.truth),
        fgd=fgd,
        beat_sigma_s=SIGMA,
        left_out=reference.left_out,
        jerk_peak_percentile=PEAK,
        foot_contact_body_lengths=CONTACT,
    )


# ------------------------------------------------------------------------------------------------
# A model's table
# ------------------------------------------------------------------------------------------------
def report(made, reference):
    """All metrics of a model, with floor and ceiling -> {metric: row}, NaN where not defined.

    made: [seeds][takes] of Motions for the reference's speech, three seeds or more.
    A row: dict(model, spread, truth, mean_pose, shuffled, seeds=[a value for each seed], unit).

    spread is the standard deviation over the seeds of the sampler: how much the score of one model
    changes when it generates again. It says nothing about another training of the model.
    The agreements and diversity compare pairs that share seeds, so their spread is a little small.
    """
    seen = [[look_at(m) for m in motions] for motions in made]
    seconds = made[1:] + made[:1] if len(made) > 1 else [None]  # each seed against the next
    each = [measure(m, s, reference, second=o) for m, s, o in zip(made, seen, seconds)]
    seeds = {name: [values[name] for values in each] for name in each[0]}
    seeds["diversity"] = [diversity(pair) for pair in itertools.combinations(seen, 2)] or [NAN]
    return {
        name: row_of(name, seeds[name], reference.columns)
        for name in [*UNITS, *PUPPET_SCORES]
        if name in seeds
    }


def row_of(name, values, columns):
    """One metric's row of the table; values: one for each seed."""
    defined = [v for v in values if not np.isnan(v)]
    spread = float(np.std(defined, ddof=1)) if len(defined) > 1 else NAN
    beside = {column: scores.get(name, NAN) for column, scores in columns.items()}
    unit = (UNITS | PUPPET_UNITS).get(name, "")
    return dict(model=mean([defined]), spread=spread, **beside, seeds=values, unit=unit)
