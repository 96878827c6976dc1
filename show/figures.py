"""Pictures: a body on paper, a motion at a glance, and what a training run writes.

Reading order
    1. figures        new_figure, write_picture
    2. a body         stand (Motion -> Standing), draw_bodies; painter.py paints
    3. a motion       draw_sound, plot_motion: poses along the waveform
    4. a training     plot_loss, plot_layers

A plot_ function takes the path to write first, None to write nothing, and returns the matplotlib
figure, which a notebook shows. pyplot is not used: it keeps every figure alive, and it chooses how
to show one. What draws the network itself is in lab/inside.py and lab/dissolve.py.

matplotlib takes half a second to import. So it is imported where something is drawn: programs
that import this file and draw nothing start without it.
"""

import contextlib
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from body.joints import hand_joints
from body.motion import BvhError
from body.size import height_of
from body.strokes import find_strokes
from recordings.audio import SAMPLE_RATE
from show.anatomy import find_anatomy
from show.mannequin import Part, dress
from show.painter import Stage
from show.skin import Skin
from tools import written_beside

# Near the colours of the player page
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


@contextlib.contextmanager
def boxes_for_letters():
    """A letter that no font has becomes a box in the picture. No warning is needed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield


def write_picture(path, figure, dpi=80):
    """Write the figure as PNG, unless path is None -> the figure."""
    if path is not None:
        with written_beside(path) as beside, boxes_for_letters():
            figure.savefig(beside, dpi=dpi, format="png")
    return figure


# ------------------------------------------------------------------------------------------------
# 2. A body on paper
# ------------------------------------------------------------------------------------------------
@dataclass
class Standing:
    """A body, ready to be painted: in body heights, from the front, its soles at y = 0.

    x runs to our right, y up, z towards us. Its path over the ground, averaged over 1 s, is
    subtracted: who walks stays in the picture.
    """

    points: np.ndarray  # [F, P, 3] joints, then End Sites, then points of the mannequin
    names: list  # [P]; "" for what is no joint
    skin: Skin
    wrists: list  # [left, right] points, or None


def stand(motion):
    """Motion -> Standing."""
    dressed = dress(motion)
    across = _across(motion, dressed)
    axes = np.stack([across, [0, 1, 0], np.cross(across, [0, 1, 0])], axis=1)
    points = dressed.points @ axes  # [F, P, 3]
    reach = min(len(points) // 2, round(0.5 / motion.frame_time))
    root = np.pad(points[:, 0], ((reach, reach), (0, 0)), mode="edge")  # [F + 2 reach, 3]
    window = np.ones(2 * reach + 1) / (2 * reach + 1)
    path = [np.convolve(root[:, axis], window, mode="valid") for axis in (0, 2)]
    points[..., [0, 2]] -= np.stack(path, axis=1)[:, None]  # [F, 1, 2]
    nothing = [Part("trunk", 3, [([(0, 1.0)], None, 0.0, 0.0)] * 2)]  # no bone has a length
    skin = Skin(dressed.parts or nothing, points.shape[1])
    # A low quantile, not the minimum: one bad frame must not sink the floor.
    some = points[:: -(-len(points) // 100)]
    points[..., 1] -= np.quantile([skin.mesh(pose)[0][:, 1].min() for pose in some], 0.05)
    return Standing(points, dressed.names, skin, dressed.wrists)


def _across(motion, dressed):
    """The horizontal unit vector [3] from a body's right to its left, over the whole motion.

    From hips and shoulders; hands and feet may be crossed. A body that turns round is taken as it
    stands in the middle frame. A skeleton without either is seen along z.
    """
    anatomy = find_anatomy(motion)
    across = np.zeros((len(motion), 3))
    for pair in filter(None, (anatomy.hips, anatomy.shoulders)):
        left, right = pair
        across += (dressed.points[:, left] - dressed.points[:, right]) * [1, 0, 1]
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)  # [F, 3]
    mean = across.mean(axis=0)
    mean = mean if np.linalg.norm(mean) > 0.7 else across[len(across) // 2]
    size = np.linalg.norm(mean)
    return mean / size if size > 0.1 else np.array([1.0, 0.0, 0.0])


def draw_bodies(axes, bodies, trail=0):
    """Paint bodies on a floor onto axes with fixed limits: [(Standing, frame, x)].

    x: how far it is shifted to our right. trail: over so many frames the paths of the hands.
    """
    box = axes.get_window_extent()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, tall = max(1, round(box.width)), max(1, round(box.height))
    stage = Stage(wide, tall, left, bottom, wide / (right - left))
    picture = stage.empty()
    for body, frame, x in bodies:
        paint_body(stage, picture, body, frame, x, trail)
    limits = (left, right, bottom, top)
    axes.imshow(np.clip(picture, 0, 1), extent=limits, aspect="auto", zorder=0)


def paint_body(stage, picture, body, frame, x=0.0, trail=0):
    """Paint one pose of a Standing onto a picture of the stage, with its hands' paths."""
    stage.paint(picture, body.skin, body.points[frame], x)
    for side, wrist in zip(("left", "right"), body.wrists):
        if trail and wrist is not None:
            n = np.maximum(np.arange(frame - trail, frame + 1), 0)
            stage.paint(picture, trail_skin(side, trail + 1), body.points[n, wrist], x, False)


@lru_cache
def trail_skin(side, points):
    """The path of a hand through so many points: a rod that grows. A scribble for noise."""
    radii = 0.006 * np.linspace(0, 1, points) ** 0.7
    rings = [([(k, 1.0)], None, radius, radius) for k, radius in enumerate(radii)]
    return Skin([Part(side, 5, rings)], points)


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
    body = stand(motion.cut(slice(frames)))
    shown = [min(frames - 1, round((k + 0.5) * frames / poses)) for k in range(poses)]
    gap = 0.65  # body heights from pose to pose
    low, high = -0.2, float(np.clip(body.points[shown, :, 1].max() + 0.06, 1.1, 2.5))
    inches = 0.95 * 16 / (poses * gap)  # of a body height: one scale for both axes
    tall = (high - low) * inches + 2.2
    figure = new_figure(16, tall)
    # As wide as the plot below, so that a pose stands above its time
    top = figure.add_axes((0.045, 1.9 / tall, 0.95, (high - low) * inches / tall))
    bottom = figure.add_axes((0.045, 0.5 / tall, 0.95, 1.4 / tall))
    top.set(xlim=(-0.5 * gap, (poses - 0.5) * gap), ylim=(low, high))
    if frames < len(motion):
        title = f"{title}: the first {frames / fps:.0f} of {len(motion) / fps:.0f} s"
    top.set_title(title, pad=2, parse_math=False)  # dollars in a file's name are no formula
    top.axis("off")
    draw_bodies(top, [(body, n, k * gap) for k, n in enumerate(shown)])
    for k, n in enumerate(shown):
        top.text(k * gap, low + 0.01, f"{n / fps:.1f} s", ha="center", fontsize=8, color=DARK)
    if waveform is not None:
        draw_sound(bottom, waveform, frames / fps)
    _draw_hands(bottom, motion, frames)
    bottom.set(xlim=(0, frames / fps), xlabel="seconds (dotted: strokes)")
    bottom.set_ylabel("body heights a second", fontsize=8)
    if bottom.get_legend_handles_labels()[0]:
        low, high = bottom.get_ylim()
        bottom.set_ylim(min(low, -0.3 * high), high)  # no speed is below 0: room for the legend
        bottom.set_yticks([tick for tick in bottom.get_yticks() if 0 <= tick <= high])
        bottom.legend(loc="lower right", ncols=3, fontsize=8)
    return write_picture(path, figure, dpi=100)  # bodies are painted pixel by pixel


def _draw_hands(axes, motion, frames):
    """The speed of both hands in body heights a second, over `frames` frames, and their strokes."""
    try:
        hands, strokes = hand_joints(motion), list(zip(*find_strokes(motion)))
    except BvhError:  # no joint is named like a hand
        return
    fps = 1 / motion.frame_time
    wrists = motion.joint_positions()[:, hands] / height_of(motion)  # [F, 2, 3]
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
