"""Pictures: a body on paper, a motion at a glance, and what a training run writes.

Reading order
    1. figures        new_figure, write_picture
    2. a body         stand (Motion -> points to draw), draw_body, draw_trails
    3. a motion       draw_sound, plot_motion: poses along the waveform
    4. a training     plot_loss, plot_layers

A plot_ function takes the path to write first, None to write nothing, and returns the matplotlib
figure, which a notebook shows. pyplot is not used: it keeps every figure alive, and it chooses how
to show one. What draws the network itself is in lab/inside.py and lab/dissolve.py.

matplotlib takes half a second to import. So it is imported where something is drawn: programs
that import this file and draw nothing start without it.
"""

import math
import re
import warnings

import numpy as np

from body.joints import hand_joints, shown_points, side_and_stem
from body.motion import BvhError
from body.size import height_of
from body.strokes import find_strokes
from recordings.audio import SAMPLE_RATE
from tools import written_beside

# The colours of the player page, darker where they are used for thin lines
LEFT, RIGHT, MIDDLE, DARK = "#ee8b3e", "#3a7bc8", "#7d8aa0", "#2b3445"

# Fonts for letters that matplotlib's own font lacks. Those that are installed are tried in turn.
OTHER_LETTERS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Micro Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Nirmala UI",
)


# ------------------------------------------------------------------------------------------------
# 1. Figures
# ------------------------------------------------------------------------------------------------
def new_figure(width, height, **settings):
    """An empty matplotlib figure, `width` x `height` in inches."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.font_manager import get_font_names

    installed = get_font_names()
    others = [font for font in OTHER_LETTERS if font in installed]
    matplotlib.rcParams["font.family"] = ["sans-serif", *others]
    return Figure(figsize=(width, height), **settings)


def write_picture(path, figure, dpi=80):
    """Write the figure as PNG, unless path is None -> the figure."""
    if path is not None:
        with written_beside(path) as beside, warnings.catch_warnings():
            # A letter that no font has becomes a box in the picture. No warning is needed.
            warnings.filterwarnings("ignore", "Glyph")
            figure.savefig(beside, dpi=dpi, format="png")
    return figure


# ------------------------------------------------------------------------------------------------
# 2. A body on paper
# ------------------------------------------------------------------------------------------------
# Thickness of a bone in body heights, by the name of its lower joint. The first that matches.
THICKNESS = [
    (r"thumb|index|middle|ring|pinky|finger", 0.010),
    (r"hand|wrist|toe|foot|ankle", 0.028),
    (r"fore|lower|elbow|knee|shin|calf|(?<!up)(?<!upper)leg", 0.036),
    ("", 0.048),
]

# Where a limb begins. "LeftShoulder" is the collar bone in some skeletons. In others it is the
# joint of the upper arm, and there is no "LeftArm". So the patterns are tried in this order.
LIMB_TOPS = {
    "hip": ("up(per)?[_ ]?leg|thigh", "hip"),
    "shoulder": (r"(^|left|right|up|upper|[_.: -])arm", "shoulder|shldr"),
}


def side_of(name):
    """ "left", "right" or "" from a joint's name, as various programs write it."""
    return side_and_stem(name)[0]


def stand(motion):
    """Motion -> (points [F, P, 3], parents [P], names [P]), ready to be drawn.

    Points are joints, then End Sites, which have the name of their joint. They are in body
    heights, with the floor at y = 0, seen from the front: x to our right, y up, z towards us. The
    path over the ground, averaged over 1 s, is subtracted: a body that walks stays in the picture.
    """
    points, parents = shown_points(motion)  # [F, P, 3], [P]
    names = list(motion.names) + [motion.names[j] for j, _, _ in motion.end_sites]
    points = points / max(height_of(motion), 1e-9)
    across = _across(points[len(points) // 2], names)
    front = np.cross(across, [0, 1, 0])
    points = points @ np.stack([across, [0, 1, 0], front], axis=1)  # [F, P, 3]
    # A low quantile, not the minimum: one bad frame must not sink the floor.
    points[..., 1] -= np.quantile(points[..., 1].min(axis=1), 0.05)
    reach = min(len(points) // 2, round(0.5 / motion.frame_time))
    root = np.pad(points[:, 0], ((reach, reach), (0, 0)), mode="edge")  # [F + 2 reach, 3]
    window = np.ones(2 * reach + 1) / (2 * reach + 1)
    path = [np.convolve(root[:, axis], window, mode="valid") for axis in (0, 2)]
    points[..., [0, 2]] -= np.stack(path, axis=1)[:, None]  # [F, 1, 2]
    return points, parents, names


def _across(pose, names):
    """The horizontal unit vector [3] from the right side of a pose [P, 3] to its left side."""
    left = [p for p, name in enumerate(names) if side_of(name) == "left"]
    right = [p for p, name in enumerate(names) if side_of(name) == "right"]
    if not left or not right:
        return np.array([1.0, 0.0, 0.0])
    across = (pose[left].mean(axis=0) - pose[right].mean(axis=0)) * [1, 0, 1]
    return across / max(np.linalg.norm(across), 1e-9)


class Tubes:
    """Thick lines with a dark rim and a light streak, painted from the farthest to the nearest."""

    def __init__(self, axes):
        self.axes = axes
        inches = axes.get_position().width * axes.figure.get_figwidth()
        self.scale = 72 * (inches / np.ptp(axes.get_xlim()))  # points of paper a body height
        self.lines = []  # (depth, two ends [2, 2], width in points, colour)

    def add(self, a, b, depth, width, colour, streaked=True):
        """A tube from a [2] to b [2]; `width` in body heights; what has more depth is nearer."""
        from matplotlib.colors import to_rgb

        colour, width = np.array(to_rgb(colour)), self.scale * width
        streak = np.array([-0.2, 0.2]) * width / self.scale
        self.lines.append((depth, (a, b), width + 1.2, 0.55 * colour))
        self.lines.append((depth + 1e-4, (a, b), width, colour))
        if streaked:
            ends = (a + streak, b + streak)
            self.lines.append((depth + 2e-4, ends, 0.3 * width, colour + 0.45 * (1 - colour)))

    def draw(self):
        """Put all tubes onto the axes, the farthest first."""
        from matplotlib.collections import LineCollection

        self.lines.sort(key=lambda line: line[0])
        _, ends, widths, colours = zip(*self.lines) if self.lines else ((), (), (), ())
        lines = LineCollection(ends, linewidths=widths, colors=colours, capstyle="round", zorder=2)
        self.axes.add_collection(lines)


def draw_body(axes, points, parents, names, x=0.0, pitch=0.12):
    """Draw one pose, points [P, 3] as stand() gives them, onto axes with fixed limits.

    x: how far it is shifted to our right; pitch: how far above we look from, radians.
    """
    height = math.cos(pitch) * points[:, 1] - math.sin(pitch) * points[:, 2]
    flat = np.stack([points[:, 0] + x, height], axis=1)  # [P, 2]
    _draw_shadow(axes, flat, points, parents, pitch)
    tubes, colours = Tubes(axes), {"left": LEFT, "right": RIGHT, "": MIDDLE}
    limbs = _limb_tops(names)
    inside = set()  # joints of the trunk, whose bones are not drawn
    if None not in limbs.values():
        inside = _with_all_above(limbs.values(), parents)
        chest = _draw_trunk(tubes, flat, points, limbs)
    head = next((p for p, name in enumerate(names) if "head" in name.lower()), None)
    for p, parent in enumerate(parents):
        if parent < 0 or parent == head or p in inside:
            continue
        # The neck of some skeletons begins deep in the chest; it is drawn from the shoulders on.
        start = chest if parent in inside and not side_of(names[p]) else flat[parent]
        depth = points[[parent, p], 2].mean()
        tubes.add(start, flat[p], depth, _thickness(names[p]), colours[side_of(names[p])])
    if head is not None:
        top = next((p for p, parent in enumerate(parents) if parent == head), head)
        up = flat[top] - flat[head]
        depth = points[head, 2] + 0.02
        tubes.add(flat[head] + 0.45 * up, flat[head] + 0.6 * up, depth, 0.1, "#a8b2c4")
    tubes.draw()


def _thickness(name):
    """The thickness in body heights of the bone above the joint of this name."""
    return next(wide for pattern, wide in THICKNESS if re.search(pattern, name, re.IGNORECASE))


def _limb_tops(names):
    """{(side, "hip" or "shoulder"): index of the joint where the limb begins, or None}."""

    def first(side, patterns):
        for pattern in patterns:
            for p, name in enumerate(names):
                if side_of(name) == side and re.search(pattern, name, re.IGNORECASE):
                    return p
        return None

    sides = ("left", "right")
    return {(side, kind): first(side, words) for side in sides for kind, words in LIMB_TOPS.items()}


def _with_all_above(joints, parents):
    """These joints and all that they hang on, up to the root: a set of indices."""
    found = set()
    for p in joints:
        while p >= 0:
            found.add(p)
            p = parents[p]
    return found


def _draw_shadow(axes, flat, points, parents, pitch):
    """An ellipse on the floor below every point that is lower than 0.35 body heights."""
    from matplotlib.collections import EllipseCollection

    ground = np.stack([flat[:, 0], -math.sin(pitch) * points[:, 2]], axis=1)  # [P, 2]
    low = (points[:, 1] < 0.35) & (parents >= 0)
    wide = 2 * (0.07 + 0.2 * points[low, 1])
    alpha = 0.16 * (1 - np.maximum(points[low, 1], 0) / 0.35)
    shadow = EllipseCollection(
        wide,
        wide * max(math.sin(pitch), 0.1),
        np.zeros(low.sum()),
        units="x",
        offsets=ground[low],
        offset_transform=axes.transData,
        facecolors=[(0.16, 0.2, 0.3, a) for a in alpha],
        zorder=1,
    )
    axes.add_collection(shadow)


def _draw_trunk(tubes, flat, points, limbs):
    """The trunk, as wide as hips and shoulders are apart -> the middle of the chest [2]."""
    hips = [flat[limbs[side, "hip"]] for side in ("left", "right")]
    shoulders = [flat[limbs[side, "shoulder"]] for side in ("left", "right")]
    waist, chest = sum(hips) / 2, sum(shoulders) / 2
    # One depth for all parts, so that the rim of each lies below all of them
    depth = points[list(limbs.values()), 2].mean()
    parts = [
        (*hips, 0.08),
        (0.8 * shoulders[0] + 0.2 * chest, 0.8 * shoulders[1] + 0.2 * chest, 0.07),
        (waist, chest, 0.1),
    ]
    for hip, shoulder in zip(hips, shoulders):
        parts.append((0.5 * hip + 0.5 * waist, 0.6 * shoulder + 0.4 * chest, 0.1))
    for a, b, width in parts:
        tubes.add(a, b, depth, width, MIDDLE, streaked=False)
    a, b = 0.5 * hips[1] + 0.5 * waist, 0.6 * shoulders[1] + 0.4 * chest
    tubes.add(a, b, depth + 1e-5, 0.02, "#98a5ba", streaked=False)  # the light
    return chest


def draw_trails(axes, points, names, n, x=0.0, frames=20):
    """The paths of both hands over the last `frames` frames up to frame n.

    Smooth for a motion, a scribble for noise. points [F, P, 3] and names as stand() gives them.
    """
    for side, colour in (("left", LEFT), ("right", RIGHT)):
        for p, name in enumerate(names):
            if side_of(name) == side and re.search("hand|wrist", name, re.IGNORECASE):
                path = points[max(0, n - frames) : n + 1, p]  # [frames + 1, 3]
                line = dict(color=colour, lw=1.5, alpha=0.7, zorder=3)
                axes.plot(path[:, 0] + x, path[:, 1], **line)
                break


# ------------------------------------------------------------------------------------------------
# 3. A motion at a glance
# ------------------------------------------------------------------------------------------------
def draw_sound(axes, waveform, seconds):
    """The outline of a waveform [samples] over `seconds`, every 10 ms, its loudest at 0.5."""
    sound = np.abs(np.asarray(waveform)[: int(seconds * SAMPLE_RATE)])
    if len(sound):
        starts = np.arange(0, len(sound), SAMPLE_RATE // 100)
        loudest = np.maximum.reduceat(sound, starts) / max(sound.max(), 1e-9) / 2
        times = np.arange(len(loudest)) / 100
        axes.fill_between(times, loudest, -loudest, color="#aab4c4", lw=0, label="speech")


def plot_motion(path, title, motion, waveform=None, poses=16, seconds=12.0):
    """A strip of `poses` poses over the waveform, the speed of the hands and their strokes.

    Shows the first `seconds` of the motion. waveform: [samples] at 16 kHz or None. A skeleton
    whose hands cannot be found by name is shown without their speed and strokes.
    """
    fps = 1 / motion.frame_time
    frames = min(len(motion), max(1, int(seconds * fps)))
    gap = 0.65  # body heights from pose to pose
    inches = 0.98 * 16 / (poses * gap)  # of a body height: one scale for both axes
    tall = 1.32 * inches + 2.2
    figure = new_figure(16, tall)
    top = figure.add_axes((0.01, 1.9 / tall, 0.98, 1.32 * inches / tall))
    bottom = figure.add_axes((0.045, 0.5 / tall, 0.95, 1.4 / tall))
    top.set(xlim=(-0.5 * gap, (poses - 0.5) * gap), ylim=(-0.2, 1.12))
    top.set_title(title, pad=2, parse_math=False)  # dollars in a file's name are no formula
    top.axis("off")
    points, parents, names = stand(motion)
    for k in range(poses):
        n = min(frames - 1, round((k + 0.5) * frames / poses))
        draw_body(top, points[n], parents, names, x=k * gap)
        text = dict(ha="center", fontsize=8, color="#666666")
        top.text(k * gap, -0.19, f"{n / fps:.1f} s", **text)
    if waveform is not None:
        draw_sound(bottom, waveform, frames / fps)
    _draw_hands(bottom, motion, frames)
    bottom.set(xlim=(0, frames / fps), xlabel="seconds (dotted: strokes)")
    bottom.set_ylabel("body heights a second")
    if bottom.get_legend_handles_labels()[0]:
        low, high = bottom.get_ylim()
        bottom.set_ylim(min(low, -0.3 * high), high)  # no speed is below 0: room for the legend
        bottom.legend(loc="lower right", ncols=3, fontsize=8)
    return write_picture(path, figure)


def _draw_hands(axes, motion, frames):
    """The speed of both hands in body heights a second, over `frames` frames, and their strokes."""
    try:
        hands, strokes = hand_joints(motion), list(zip(*find_strokes(motion)))
    except BvhError:  # no joint is named like a hand
        return
    fps = 1 / motion.frame_time
    wrists = motion.joint_positions()[:, hands] / max(height_of(motion), 1e-9)  # [F, 2, 3]
    for wrist, side, colour in zip(wrists.swapaxes(0, 1), ("left", "right"), (LEFT, RIGHT)):
        speed = np.zeros(frames)
        if len(motion) > 1:
            speed = np.linalg.norm(np.gradient(wrist, axis=0), axis=-1)[:frames] * fps
        times = np.arange(frames) / fps
        axes.plot(times, speed, color=colour, lw=1.5, label=f"{side} hand")
    for t, _, side in strokes:
        if t < frames / fps:
            axes.axvline(t, color=(LEFT, RIGHT)[side], lw=0.8, ls=":")


# ------------------------------------------------------------------------------------------------
# 4. A training run
# ------------------------------------------------------------------------------------------------
def plot_loss(path, losses, every, last, valid=()):
    """The loss curve: `losses`, each a mean over `every` steps, and their running mean.

    The last of them may be over fewer steps; it ends at step `last`. Most of the loss is noise
    that nobody can predict. valid: [step, loss on held-out windows] pairs.
    """
    steps = np.minimum((np.arange(len(losses)) + 1) * every, last)
    figure = new_figure(8, 4, layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="#bbbbbb", lw=1, label=f"mean of {every} steps")
    wide = min(20, len(losses))
    smooth = np.convolve(losses, np.ones(wide) / wide, mode="valid")
    label = f"mean of {wide * every} steps"
    axes.plot(steps[wide - 1 :], smooth, color="#2e6f9e", lw=2, label=label)
    if valid:
        axes.plot(*zip(*valid), "o-", color="#c83c6e", ms=4, label="held-out takes")
    axes.set(yscale="log", xlabel="step")
    axes.set_ylabel("weighted mean squared error of the predicted noise")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return write_picture(path, figure, dpi=100)


def plot_layers(path, shares):
    """How much of each layer of WavLM the model takes: shares [13], which add up to one."""
    figure = new_figure(8, 4, layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(range(len(shares)), shares, color="#2e6f9e")
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
    axes.axhline(1 / len(shares), color="#666666", lw=0.8, ls=":")
    axes.set(xticks=range(len(shares)), ylabel="share of the sum")
    axes.set_xlabel("layer of WavLM (0 enters the first block, 12 leaves the last)")
    axes.set_title("how much of each layer the model takes (dotted: equal shares, as at the start)")
    return write_picture(path, figure, dpi=100)
