"""Rows of an experiment as a table on the terminal and as a picture.

A row is dict(label, scores={score: dict(mean, spread, each)}, made or not_run).
"""

import math

import numpy as np

from lab.experiment_runs import BOUNDS
from show.figures import new_figure, write_picture

WITHOUT_ANSWERS = (  # they stand in for beat_f1 where nobody knows when to beat
    "strokes_per_minute",
    "onset_hits",
    "onset_hits_shifted",
)
SHOWN = (
    "beat_f1",
    "beat_f1_mismatched",
    "style_error",
    "rest_error",
    "hand_share_error",
    "form_share_error",
    "shrug_hits",
    "fgd_raw",
    "hand_jerk",
    "heading",
    "place",
    "slide",
    "borders",
    "first_20_s_beat_f1",
    "last_20_s_beat_f1",
    "seconds_per_second",
    *WITHOUT_ANSWERS,
)
LONG = 5.0  # times the first bar: longer ones run out of the panel, and the others can be told


def summary(scores):
    """[{score: value}] over seeds -> {score: dict(mean, spread, each)}.

    spread is the sample deviation over seeds, None for one seed. What is not defined for a seed has
    no mean, and is left out.
    """
    table = {}
    for name in scores[0]:
        values = [s[name] for s in scores]
        if name == "made" or any(v is None or not np.isfinite(v) for v in values):
            continue
        each = [float(v) for v in values]
        spread = float(np.std(each, ddof=1)) if len(each) > 1 else None
        table[name] = dict(mean=float(np.mean(each)), spread=spread, each=each)
    return table


def print_rows(rows):
    """The table: a line a row, mean and spread over seeds of the scores in SHOWN that there are."""

    def cell(score):
        if not score:
            return ""
        spread = "" if score["spread"] is None else f" ± {score['spread']:.3f}"
        return f"{score['mean']:.3f}{spread}"

    shown = [name for name in SHOWN if any(name in row["scores"] for row in rows)]
    print(f"{'':<48}" + "".join(f"{name[-20:]:>22}" for name in shown))
    for row in rows:
        cells = "".join(f"{cell(row['scores'].get(name)):>22}" for name in shown)
        print(f"{row['label']:<48}" + (row.get("not_run") or cells))


def bars(axis, name, rows, made):
    """One score as a bar a row, a dot for each seed; grey: what no model made.

    The first row is the default model. A bar of more than LONG times its own ends at the panel's
    edge, with its number.
    """
    means = [row["scores"][name]["mean"] for row in rows if name in row["scores"]]
    edge = LONG * rows[0]["scores"].get(name, {}).get("mean", math.inf)
    if max(means) > edge > 0:
        axis.set_xlim(0, edge)
    for n, row in enumerate(rows):
        score = row["scores"].get(name)
        if score:
            colour = "#2e6f9e" if n == 0 else "#a9c4d9" if row in made else "#c8c8c8"
            axis.barh(n, score["mean"], color=colour)
            axis.plot(score["each"], [n] * len(score["each"]), "o", color="#333333", ms=3)
            if score["mean"] > edge > 0:
                place = dict(x=0.97 * edge, y=n, ha="right", va="center", fontsize=8)
                digits = ".3g" if score["mean"] < 1000 else ".0f"
                axis.text(s=format(score["mean"], digits), **place)
    labels = [row["label"] for row in rows]
    axis.set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.5, -0.5))


def curves(axis, name, rows, made):
    """One score over the number of steps at the end of each label ("ddpm 25"), with its spread.

    A curve for each word before the number; dotted: the recorded motion.
    """
    truth = next(row["scores"].get(name) for row in rows if row not in made)
    if truth:
        axis.axhline(truth["mean"], color="#666666", lw=1, ls=":", label="recorded")
    families = {}
    for row in made:
        family, _, number = row["label"].rpartition(" ")
        if name in row["scores"]:
            families.setdefault(family, []).append((float(number), row["scores"][name]))
    for family, points in families.items():
        x = [number for number, _ in points]
        mean = np.array([score["mean"] for _, score in points])
        spread = np.array([score["spread"] or 0 for _, score in points])
        axis.plot(x, mean, "o-", ms=4, label=family)
        axis.fill_between(x, mean - spread, mean + spread, alpha=0.2)
        axis.set_xscale("log")


def draw(path, question, kind, rows):
    """A panel a score of SHOWN. kind "category": bars; "steps": curves over their number."""
    rows = [row for row in rows if row["scores"]]
    made = [row for row in rows if not row["label"].startswith(tuple(BOUNDS))]
    shown = [name for name in SHOWN if any(name in row["scores"] for row in made)]
    if all("beat_f1" in row["scores"] for row in made):
        shown = [name for name in shown if name not in WITHOUT_ANSWERS]
    down = 1 + (len(shown) > 7)
    across = math.ceil(len(shown) / down)
    height = 3.4 if kind != "category" else 1.2 + 0.32 * len(rows)
    figure = new_figure(2 + 2.6 * across, down * height, layout="constrained")
    axes = figure.subplots(down, across, sharey=kind == "category", squeeze=False)
    for axis in axes.ravel()[len(shown) :]:  # one too many where the number is odd
        axis.set_visible(False)
    for axis, name in zip(axes.ravel(), shown):
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
        if kind == "category":
            bars(axis, name, rows, made)
        else:
            curves(axis, name, rows, made)
    if kind == "steps":
        axes[0][0].legend(fontsize=8)
    figure.suptitle(question, fontsize=11)
    write_picture(path, figure, dpi=90)
