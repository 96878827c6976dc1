"""The answer of each experiment in one sentence, worked out from its rows.

    against, versus    two rows: a tie, or which is better
    ANSWERS            experiment -> function of its rows

A row is as in experiment_tables.py. Two means over seeds are a tie if they differ by no more than
the root of the sum of their squared spreads. A single training is taken to spread as the other row
does. That is no test of significance: of three seeds the spread itself is a rough figure.
"""

import math

LABELS = {  # of the rows that are compared
    "split": "adaLN, split (ours)",
    "joint": "adaLN, joint (the paper's)",
    "concat": "layer norm, speech concatenated",
    "frames": "frame by frame",
    "mel": "log-mel (ours)",
    "mfcc": "MFCC",
    "wavlm-sum": "WavLM, weighted sum",
    "ours": "ours, with all departures",
    "paper": "the paper: all undone",
}
LOWER_IS_BETTER = ("style_error", "rest_error", "heading", "place", "slide", "borders")


def score_of(rows, label, score):
    """dict(mean, spread, each) of a row's score, or None."""
    return next((row["scores"].get(score) for row in rows if row["label"] == label), None)


def margin(a, b):
    """What two scores may differ by and still be a tie."""
    one, other = a["spread"], b["spread"]
    return math.hypot(one or other or 0.0, other or one or 0.0)


def against(rows, first, second, score):
    """How two rows compare by a score: "0.994 against 0.990, better"; None where one is missing."""
    a, b = score_of(rows, first, score), score_of(rows, second, score)
    if not (a and b):
        return None
    if abs(a["mean"] - b["mean"]) <= margin(a, b):
        verdict = "a tie within the spread"
    else:
        lower = score.startswith(LOWER_IS_BETTER)
        verdict = "better" if (a["mean"] < b["mean"]) == lower else "worse"
    return f"{a['mean']:.3f} against {b['mean']:.3f}, {verdict}"


def versus(first, second, *scores):
    """A function of rows -> "FIRST against SECOND: beat_f1 0.994 against 0.990, a tie; ..."."""

    def answer(rows):
        told = [(score, against(rows, first, second, score)) for score in scores]
        told = [f"{score} {words}" for score, words in told if words]
        return f"{first}, against {second}: {'; '.join(told)}." if told else None

    return answer


def of_features(rows):
    """WavLM against MFCC where it was run, else log-mel."""
    scores, mfcc = ("beat_f1", "style_error"), LABELS["mfcc"]
    wavlm = versus(LABELS["wavlm-sum"], mfcc, *scores)(rows)
    return wavlm or versus(LABELS["mel"], mfcc, *scores)(rows)


def of_departures(rows):
    """Which departures beat F1 or style_error misses by more than the spread."""
    ours, missed = LABELS["ours"], []
    for row in rows:
        if row["label"].startswith("without "):
            words = [against(rows, ours, row["label"], s) for s in ("beat_f1", "style_error")]
            if any(w and w.endswith("better") for w in words):
                missed.append(row["label"].removeprefix("without "))
    whole = versus(ours, LABELS["paper"], "beat_f1", "style_error")(rows)
    alone = ", ".join(missed) or "none"
    return f"{whole} Undone alone, missed by more than the spread: {alone}." if whole else None


def of_samplers(rows):
    """The fewest passes whose beat F1 ties with the best."""
    made = [row for row in rows if row.get("made") and "beat_f1" in row["scores"]]
    if not made:
        return None

    def passes(row):
        return int(row["label"].split()[-1])

    best = max(made, key=lambda row: row["scores"]["beat_f1"]["mean"])
    f1 = best["scores"]["beat_f1"]
    enough = [
        row for row in made
        if f1["mean"] - row["scores"]["beat_f1"]["mean"] <= margin(f1, row["scores"]["beat_f1"])
    ]  # fmt: skip
    few = min(enough, key=lambda row: (passes(row), -row["scores"]["beat_f1"]["mean"]))
    return (
        f"{few['label']} is enough: beat F1 {few['scores']['beat_f1']['mean']:.3f}, within the "
        f"spread of the best, {best['label']}, {f1['mean']:.3f}."
    )


def of_longer(rows):
    """The last 20 s against the first, and how far the body drifts."""
    beats = versus("last 20 s", "first 20 s", "beat_f1", "rest_error")(rows)
    drift = {name: score_of(rows, "whole", name) for name in ("heading", "slide")}
    if not (beats and all(drift.values())):
        return beats
    heading, slide = (drift[name]["mean"] for name in drift)
    return (
        f"{beats} In five minutes it turns by up to {heading:.0f} degrees, "
        f"and its feet slide {slide:.1f} cm a minute."
    )


def of_unfamiliar(rows):
    """The sound whose beats it misses most, and the foreign voice with the fewest strokes."""
    usual = score_of(rows, "as recorded", "beat_f1")
    silent = ("music", "silence")  # nobody speaks there
    beats = {
        row["label"]: row["scores"]["beat_f1"]["mean"]
        for row in rows
        if row.get("made") and "beat_f1" in row["scores"] and row["label"] not in silent
    }
    if not (usual and len(beats) > 1):
        return None
    worst = min(beats, key=beats.get)
    spoken = {
        row["label"]: row["scores"]["strokes_per_minute"]["mean"]
        for row in rows
        if row.get("made") and "onset_hits" in row["scores"]
    }
    few = min(spoken, key=spoken.get) if spoken else None
    last = (
        f" Fewest strokes a minute of espeak-ng's voices: {few}, {spoken[few]:.0f}." if few else ""
    )
    return (
        f"beat F1 is {usual['mean']:.3f} as recorded and at worst {beats[worst]:.3f}, "
        f"with {worst}.{last}"
    )


ANSWERS = {
    "features": of_features,
    "conditioning": versus(LABELS["split"], LABELS["concat"], "beat_f1", "style_error"),
    "at_once": versus(LABELS["split"], LABELS["frames"], "last_20_s_beat_f1", "style_error"),
    "departures": of_departures,
    "samplers": of_samplers,
    "longer": of_longer,
    "unfamiliar": of_unfamiliar,
}
