"""Pictures and films: what scripts and notebooks draw, one function each.

    plot_motion        poses along the waveform                    sample.py, train.py
    plot_schedule      signal and noise at every diffusion step
    plot_architecture  the network and what is around it, with the names of the code
    plot_dissolve      a pose dissolves into noise, and comes back
    plot_attention     where one frame looks
    plot_adaln         what loud and quiet speech do to adaLN's shifts, scales and gates
    write_video        motions side by side, .mp4 with sound or .gif
    animate_dissolve   the moving picture at the head of the README

Each takes the path to write first, None to write nothing, and returns the matplotlib figure, which a notebook shows
after `%matplotlib inline`. No pyplot: it keeps every figure alive and wants to choose how to show it. (The loss
curve is train.plot_loss.)

    python pictures.py     draws all of them for the shipped model and the demo's sentence, into out/
"""
import math
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from diffmotion import SAMPLERS, FrameNoise, rotate, sliding_causal_mask
from motion import BvhError, find_strokes, hand_joints, resample, shown_points, side_and_stem, written_beside
from wavlm_loader import SAMPLE_RATE

# The player page's colours, darker where they are thin
LEFT, RIGHT, MIDDLE, DARK = "#ee8b3e", "#3a7bc8", "#7d8aa0", "#2b3445"


# Fonts for names in letters that matplotlib's own has not; of those that are installed each is asked in turn
OTHER_LETTERS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Devanagari", "Nirmala UI")


def new_figure(width, height, **settings):
    """An empty figure, width x height in inches. matplotlib takes half a second to import: only where a picture is drawn."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.font_manager import get_font_names
    installed = get_font_names()
    matplotlib.rcParams["font.family"] = ["sans-serif", *(font for font in OTHER_LETTERS if font in installed)]
    return Figure(figsize=(width, height), **settings)


def write_picture(path, figure, dpi=80):
    """Write the figure as PNG, unless path is None -> the figure."""
    if path is not None:
        with written_beside(path) as beside, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")           # a letter that no font has becomes a box in the picture, which says enough
            figure.savefig(beside, dpi=dpi, format="png")
    return figure


# ------------------------------------------------------------------------------------------------
# 1. A body on paper
# ------------------------------------------------------------------------------------------------
# Thickness of a bone in body heights by the name of its lower joint; the first that fits
THICK = [(r"thumb|index|middle|ring|pinky|finger", 0.010), (r"hand|wrist|toe|foot|ankle", 0.028), (r"fore|lower|elbow|knee|shin|calf|(?<!up)(?<!upper)leg", 0.036), ("", 0.048)]


def side_of(name):
    """"left", "right" or "" from a joint's name, in the manners of several programs."""
    return side_and_stem(name)[0]


def stand(motion):
    """Motion -> (points [F, P, 3], parents [P], names [P]), ready to be drawn: in body heights, floor at 0, seen from the front.

    x to our right, y up, z towards us. The slow way over the ground is taken out (a mean over 1 s), so that whoever
    walks stays in the picture. An End Site has the name of its joint.
    """
    points, parents = shown_points(motion)                       # [F, P, 3]
    names = list(motion.names) + [motion.names[j] for j, _, _ in motion.end_sites]
    points = points / max(motion.body_height(), 1e-9)
    left, right = ([p for p, name in enumerate(names) if side_of(name) == side] for side in ("left", "right"))
    across = np.array([1.0, 0.0, 0.0])                           # to the body's own left, which is on our right
    if left and right:
        middle = points[len(points) // 2]
        across = (middle[left].mean(axis=0) - middle[right].mean(axis=0)) * [1, 0, 1]
        across = across / max(np.linalg.norm(across), 1e-9)
    front = np.cross(across, [0, 1, 0])
    points = points @ np.stack([across, [0, 1, 0], front], axis=1)           # [F, P, 3]
    points[..., 1] -= np.quantile(points[..., 1].min(axis=1), 0.05)          # one bad frame must not sink the floor
    reach = min(len(points) // 2, round(0.5 / motion.frame_time))
    root = np.pad(points[:, 0], ((reach, reach), (0, 0)), mode="edge")
    walk = np.stack([np.convolve(root[:, axis], np.ones(2 * reach + 1) / (2 * reach + 1), mode="valid") for axis in (0, 2)], axis=1)  # [F, 2]
    points[..., [0, 2]] -= walk[:, None]
    return points, parents, names


def draw_body(axes, points, parents, names, x=0.0, pitch=0.12):
    """Draw one pose, points [P, 3] as stand() gives them, shifted by x, seen from `pitch` radians above, onto axes with fixed limits.

    A bone is a thick line with a dark rim and a light streak towards the upper left, painted from far to near.
    """
    from matplotlib.collections import EllipseCollection, LineCollection
    from matplotlib.colors import to_rgb

    flat = np.stack([points[:, 0] + x, math.cos(pitch) * points[:, 1] - math.sin(pitch) * points[:, 2]], axis=1)      # [P, 2]
    ground = np.stack([flat[:, 0], -math.sin(pitch) * points[:, 2]], axis=1)
    low = (points[:, 1] < 0.35) & (parents >= 0)                 # what is near the floor throws a shadow
    spread = 0.07 + 0.2 * points[low, 1]
    axes.add_collection(EllipseCollection(2 * spread, 2 * spread * max(math.sin(pitch), 0.1), np.zeros(low.sum()), units="x", offsets=ground[low], zorder=1,
                                          offset_transform=axes.transData, facecolors=[(0.16, 0.2, 0.3, 0.16 * (1 - y / 0.35)) for y in np.maximum(points[low, 1], 0)]))
    inch = axes.get_position().width * axes.figure.get_figwidth() / np.ptp(axes.get_xlim())   # of a body height, on paper
    colours = {"left": LEFT, "right": RIGHT, "": MIDDLE}
    strokes = []                                                 # (depth, two ends [2, 2], width in points, colour)

    def tube(a, b, depth, width, colour, streaked=True):
        colour, width = np.array(to_rgb(colour)), 72 * inch * width
        streak = np.array([-0.2, 0.2]) * width / (72 * inch)
        strokes.extend([(depth, (a, b), width + 1.2, 0.55 * colour), (depth + 1e-4, (a, b), width, colour)])
        if streaked:
            strokes.append((depth + 2e-4, (a + streak, b + streak), 0.3 * width, colour + 0.45 * (1 - colour)))

    head = next((p for p, name in enumerate(names) if "head" in name.lower()), None)
    # "LeftShoulder" is the collar bone in some skeletons, the joint of the upper arm in others ("LeftArm" absent).
    limbs = {(side, kind): next((p for pattern in patterns for p, name in enumerate(names) if side_of(name) == side and re.search(pattern, name, re.IGNORECASE)), None)
             for side in ("left", "right") for kind, patterns in (("hip", ["up(per)?[_ ]?leg|thigh", "hip"]), ("shoulder", [r"(^|left|right|up|upper|[_.: -])arm", "shoulder|shldr"]))}
    inside = set()                                               # joints of the trunk: no bones of their own
    if None not in limbs.values():                               # with hips and shoulders known, it has a width
        for p in limbs.values():
            while p >= 0:
                inside.add(p)
                p = parents[p]
        hips, shoulders = ([flat[limbs[side, kind]] for side in ("left", "right")] for kind in ("hip", "shoulder"))
        waist, chest = (sum(pair) / 2 for pair in (hips, shoulders))
        depth = points[list(limbs.values()), 2].mean()           # one for all, so that their rims lie below all of them
        for a, b, width in [(*hips, 0.08), (0.8 * shoulders[0] + 0.2 * chest, 0.8 * shoulders[1] + 0.2 * chest, 0.07), (waist, chest, 0.1),
                            *((0.5 * hip + 0.5 * waist, 0.6 * shoulder + 0.4 * chest, 0.1) for hip, shoulder in zip(hips, shoulders))]:
            tube(a, b, depth, width, MIDDLE, streaked=False)
        tube(0.5 * hips[1] + 0.5 * waist, 0.6 * shoulders[1] + 0.4 * chest, depth + 1e-5, 0.02, "#98a5ba", streaked=False)   # the light
    for p, parent in enumerate(parents):
        if parent < 0 or parent == head or p in inside:
            continue
        width = next(width for pattern, width in THICK if re.search(pattern, names[p], re.IGNORECASE))
        start = chest if parent in inside and not side_of(names[p]) else flat[parent]        # the neck of some begins deep in the chest
        tube(start, flat[p], points[[parent, p], 2].mean(), width, colours[side_of(names[p])])
    if head is not None:
        top = next((p for p, parent in enumerate(parents) if parent == head), head)
        tube(flat[head] + 0.45 * (flat[top] - flat[head]), flat[head] + 0.6 * (flat[top] - flat[head]), points[head, 2] + 0.02, 0.1, "#a8b2c4")
    strokes.sort(key=lambda stroke: stroke[0])
    axes.add_collection(LineCollection([ends for _, ends, _, _ in strokes], linewidths=[w for _, _, w, _ in strokes],
                                       colors=[c for _, _, _, c in strokes], capstyle="round", zorder=2))


def draw_sound(axes, waveform, seconds):
    """The waveform's outline over `seconds`, every 10 ms, its loudest moment at 0.5."""
    sound = np.abs(np.asarray(waveform)[:int(seconds * SAMPLE_RATE)])
    if len(sound):
        loudest = np.maximum.reduceat(sound, np.arange(0, len(sound), 160)) / max(sound.max(), 1e-9) / 2
        axes.fill_between(np.arange(len(loudest)) / 100, loudest, -loudest, color="#aab4c4", lw=0, label="speech")


def plot_motion(path, title, motion, waveform=None, poses=16, seconds=12.0):
    """A strip of poses over the waveform, the hands' speed and their strokes: what happens when, at a glance.

    A skeleton whose hands cannot be found by name is shown without their speed and strokes.
    """
    fps = 1 / motion.frame_time
    frames = min(len(motion), max(1, int(seconds * fps)))
    points, parents, names = stand(motion)
    try:
        hands, strokes = hand_joints(motion), list(zip(*find_strokes(motion)))
    except BvhError:
        hands, strokes = [], []
    gap = 0.65                                                   # body heights from pose to pose
    inches = 0.98 * 16 / (poses * gap)                           # of a body height: one scale for both axes
    tall = 1.32 * inches + 2.2
    figure = new_figure(16, tall)
    top, bottom = figure.add_axes((0.01, 1.9 / tall, 0.98, 1.32 * inches / tall)), figure.add_axes((0.045, 0.5 / tall, 0.95, 1.4 / tall))
    top.set(xlim=(-0.5 * gap, (poses - 0.5) * gap), ylim=(-0.2, 1.12))
    top.set_title(title, pad=2, parse_math=False)    # a name may hold dollars
    top.axis("off")
    for k in range(poses):
        n = min(frames - 1, round((k + 0.5) * frames / poses))
        draw_body(top, points[n], parents, names, x=k * gap)
        top.text(k * gap, -0.19, f"{n / fps:.1f} s", ha="center", fontsize=8, color="#666666")
    if waveform is not None:
        draw_sound(bottom, waveform, frames / fps)
    wrists = motion.joint_positions()[:, hands] / max(motion.body_height(), 1e-9)             # [F, 2, 3]
    for wrist, side, colour in zip(wrists.swapaxes(0, 1), ("left", "right"), (LEFT, RIGHT)):
        speed = np.linalg.norm(np.gradient(wrist, axis=0), axis=-1)[:frames] * fps if len(motion) > 1 else np.zeros(frames)
        bottom.plot(np.arange(frames) / fps, speed, color=colour, lw=1.5, label=f"{side} hand")
    for t, _, side in strokes:
        if t < frames / fps:
            bottom.axvline(t, color=(LEFT, RIGHT)[side], lw=0.8, ls=":")
    bottom.set(xlim=(0, frames / fps), xlabel="seconds (dotted: strokes)", ylabel="body heights a second")
    if bottom.get_legend_handles_labels()[0]:
        low, high = bottom.get_ylim()
        bottom.set_ylim(min(low, -0.3 * high), high)              # room for the legend below zero, where no speed is
        bottom.legend(loc="lower right", ncols=3, fontsize=8)
    return write_picture(path, figure)


# ------------------------------------------------------------------------------------------------
# 2. Diffusion
# ------------------------------------------------------------------------------------------------
def plot_schedule(path, schedules):
    """Noise schedules {label: NoiseSchedule}: betas; the shares of signal and noise in x_t; their ratio in decibels."""
    figure = new_figure(13, 3.6, layout="constrained")
    betas, shares, ratio = figure.subplots(1, 3)
    for n, (label, schedule) in enumerate(schedules.items()):
        colour, abar = f"C{n}", schedule.alphas_cumprod.double().numpy()
        betas.plot(schedule.betas, color=colour, label=label)
        shares.plot(np.sqrt(abar), color=colour, label=f"{label}: signal")
        shares.plot(np.sqrt(1 - abar), color=colour, ls="--", label=f"{label}: noise")
        ratio.plot(10 * np.log10(abar / (1 - abar)), color=colour, label=label)
    betas.set(title="noise added at step t", ylabel=r"$\beta_t$")
    shares.set(title=r"$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$", ylabel="share of the deviation")
    ratio.set(title="signal over noise", ylabel="dB")
    ratio.axhline(0, color="#999999", lw=0.8)
    for axes in (betas, shares, ratio):
        axes.set_xlabel("t")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return write_picture(path, figure, dpi=100)


@torch.no_grad()
def walk_back(generator, speech, steps=50, guidance=1.2, seed=0):
    """What the sampler (DDIM) holds on its way from noise to motion: [(t, poses [F, P])], the last with t = -1.

    generator is a sample.Generator, speech [1, F, S] from generator.hear. A sampler shows its x_t to the network at
    each pass, so a network that takes notes is enough.
    """
    model, schedule, notes = generator.model, generator.schedule, []
    F = speech.shape[1]
    speech = torch.nn.functional.pad(speech, (0, 0, 0, -F % model.config.segment))           # [1, whole segments, S], as generate has it
    condition = model.encode_speech(speech)                      # [1, whole segments, W]
    turn, mask, speech_halves = model.turns(0, speech.shape[1]), model.mask(speech.shape[1]), model.speech_halves(torch.cat([condition, model.no_speech.expand_as(condition)]))

    def predict_eps(x_t, t, k):
        notes.append((t, model.poses(x_t)[0, :F]))
        t = torch.tensor([t, t], device=x_t.device)
        spoken, silent = model.denoise(torch.cat([x_t, x_t]), t, speech_halves, model.step_halves(t), turn, mask).chunk(2)
        return silent + guidance * (spoken - silent)

    noise = FrameNoise(seed, 1, 0, speech.shape[1], model.config.pose_dim, speech.device)
    x0 = SAMPLERS["ddim"](predict_eps, schedule, noise(), steps, noise)
    return notes + [(-1, model.poses(x0)[0, :F])]


def held(codec, pose):
    """pose [F, P], a tensor -> Motion that stays where it is: noise in the root's steps and turns would add up to a wild dance."""
    pose = pose.cpu().numpy().astype(np.float64)
    pose[:, codec.kept < 3] = -(codec.mean / codec.std)[codec.kept[codec.kept < 3]]          # PoseCodec's columns 0 to 2, as zeros
    return codec.decode(pose)


def draw_trails(axes, points, names, n, x=0.0, frames=20):
    """The ways of both hands over the last `frames` frames up to frame n: smooth for a motion, a scribble for noise."""
    for side, colour in (("left", LEFT), ("right", RIGHT)):
        hand = next((p for p, name in enumerate(names) if side_of(name) == side and re.search("hand|wrist", name, re.IGNORECASE)), None)
        if hand is not None:
            way = points[max(0, n - frames):n + 1, hand]
            axes.plot(way[:, 0] + x, way[:, 1], color=colour, lw=1.5, alpha=0.7, zorder=3)


def plot_dissolve(path, generator, motion, speech, frame, times=(0, 50, 150, 300, 500, 999), seed=0):
    """A motion dissolves into noise (above, to be read from left to right), and the model makes one of noise (below, from right to left).

    Each time: the body at `frame` with the ways of its hands over the last second, and the pose features, a row
    each, over the clip. (A pose of pure noise is still a body: the features are rotations and the root's motion,
    and noise moves each around its mean. What noise lacks is that they belong together, and that one frame follows from the last.)
    """
    codec, schedule, model = generator.codec, generator.schedule, generator.model
    times = [t for t in times if t < schedule.num_steps]
    x0 = model.innovations(torch.from_numpy(codec.encode(motion))[None].to(speech.device))   # [1, F, P]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0.device)
    back = walk_back(generator, speech, seed=seed)
    figure = new_figure(2.2 * len(times), 7.6)
    for row, label in enumerate(("into noise", "and back, hearing the speech")):
        for k, t in enumerate(times):
            if row == 0:
                pose = model.poses(schedule.add_noise(x0, torch.tensor([t], device=x0.device), eps))[0]          # [F, P]
            else:
                at, pose = back[-1] if t == 0 else min(back, key=lambda note: abs(note[0] - t))
                t = max(at, 0)
            points, parents, names = stand(held(codec, pose))
            n = min(frame, len(points) - 1)
            bottom, wide = 0.52 - 0.5 * row, 1 / len(times)
            axes = figure.add_axes((k * wide, bottom + 0.1, wide, 0.36))
            axes.set(xlim=(-0.44, 0.44))
            axes.set_ylim(-0.07, -0.07 + 0.88 * 0.36 * 7.6 / 2.2)                # one scale for both axes
            axes.axis("off")
            draw_body(axes, points[n], parents, names)
            draw_trails(axes, points, names, n)
            axes.set_title(f"t = {t}", fontsize=11, color=DARK, pad=2)
            if k == 0:
                figure.text(0.004, bottom + 0.45, label, fontsize=11, color=DARK, rotation=90, va="top")
            features = figure.add_axes(((k + 0.06) * wide, bottom, 0.88 * wide, 0.09))
            features.imshow(pose.cpu().numpy().T, aspect="auto", cmap="RdBu_r", vmin=-2.5, vmax=2.5, interpolation="nearest")
            features.axvline(n, color=DARK, lw=0.8)
            features.axis("off")
    return write_picture(path, figure, dpi=80)


# ------------------------------------------------------------------------------------------------
# 3. The architecture
# ------------------------------------------------------------------------------------------------
def plot_architecture(path):
    """The whole program on one sheet: what is computed once a clip, what at every diffusion step. Names in typewriter are those in the code."""
    from matplotlib.patches import FancyBboxPatch
    width, height = 13.6, 8.3                                    # inches, as are all places and sizes below
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    speech, noise, body = ("#fdf0e2", LEFT), ("#e6eef8", RIGHT), ("#eceef2", MIDDLE)         # faces and edges

    def box(x, y, name, text="", kind=body, wide=2.1, tall=0.62):
        """A box whose centre is (x, y): a name of the code, and what it does."""
        axes.add_patch(FancyBboxPatch((x - wide / 2, y - tall / 2), wide, tall, boxstyle="round,pad=0,rounding_size=0.08", fc=kind[0], ec=kind[1], lw=1.3, zorder=3))
        axes.text(x, y + (0.12 if text else 0), name, ha="center", va="center", family="monospace", fontsize=9.5, color=DARK, zorder=4)
        if text:
            axes.text(x, y - 0.14, text, ha="center", va="center", fontsize=8, color="#555f6f", zorder=4)

    def arrow(*points, label="", colour=DARK, at=0, shift=(0.08, 0)):
        """A line through the points with a head at its end; the label stands beside the middle of its `at`-th piece."""
        for a, b in zip(points, points[1:]):
            axes.annotate("", b, a, arrowprops=dict(arrowstyle="-|>" if b == points[-1] else "-", color=colour, lw=1.4, shrinkA=0, shrinkB=0), zorder=2)
        if label:
            (x1, y1), (x2, y2) = points[at:at + 2]
            axes.text((x1 + x2) / 2 + shift[0], (y1 + y2) / 2 + shift[1], label, fontsize=8, color="#555f6f", va="center", zorder=4)

    def area(x, y, wide, tall, title, colour):
        """What belongs together, from its lower left corner (x, y), with a title at its upper left."""
        axes.add_patch(FancyBboxPatch((x, y), wide, tall, boxstyle="round,pad=0,rounding_size=0.15", fc=colour, ec="none", alpha=0.35, zorder=0))
        axes.text(x + 0.12, y + tall - 0.2, title, fontsize=10, color=DARK, weight="bold", va="center")

    # ---- once a clip -----------------------------------------------------------------------------------------
    area(0.1, 0.2, 2.9, 7.95, "once a clip", speech[0])
    rows = (("load_audio", "any file: 16 kHz, mono"), ("SpeechFeatures", "mel, mfcc or WavLM, 20 rows a second"), ("hear", "convolution over 0.8 s both ways"),
            ("voice", "+ its mean over the last seconds"), ("understand", "two layers"), ("speech_half", "one linear layer for each block"))
    shapes = ("[samples]", "speech [F, S]", "[F, W]", "[F, W]", "condition [F, W]")
    levels = [7.4 - 1.18 * n for n in range(len(rows))]
    for y, (name, text) in zip(levels, rows):
        box(1.55, y, name, text, speech, 2.5)
    for n, shape in enumerate(shapes):
        arrow((1.55, levels[n] - 0.31), (1.55, levels[n + 1] + 0.31), label=shape)
    axes.text(1.55, 0.62, "withheld speech: no_speech\ntakes the condition's place", ha="center", va="center", fontsize=8, color="#555f6f")

    # ---- every step: into the network and out of it ----------------------------------------------------------
    area(3.2, 0.2, 7.2, 7.95, "at every diffusion step: denoise", noise[0])
    box(5.0, 7.2, "gesture", "convolution over 5 frames, none later", noise, 2.6)
    box(5.0, 0.75, "final", "linear layer, back to P", noise, 2.6)
    box(9.0, 7.2, "step_halves", "how noisy is it? All t at once", noise, 2.1)
    axes.text(6.45, 0.5, "eps = √ᾱ · final + √(1 − ᾱ) · x_t", fontsize=8, color=DARK, va="center")

    # ---- one block -------------------------------------------------------------------------------------------
    axes.add_patch(FancyBboxPatch((3.45, 1.62), 6.75, 5.0, boxstyle="round,pad=0,rounding_size=0.12", fc="white", ec=MIDDLE, lw=1.3, zorder=1))
    axes.text(10.08, 1.82, "one Block of `depth`", fontsize=9, color=DARK, ha="right", va="center")
    rows = (("norm", "each frame: mean 0, deviation 1", body), ("attention", "qkv, rotate, sliding_causal_mask, out", noise), ("norm", "each frame: mean 0, deviation 1", body), ("mlp", "each frame by itself", noise))
    levels = (5.85, 4.85, 3.55, 2.55)
    for y, (name, text, kind) in zip(levels, rows):
        box(5.0, y, name, text, kind, 2.6)
    knobs = ((5.35, "· (1 + scale_1) + shift_1"), (4.3, "· gate_1"), (3.05, "· (1 + scale_2) + shift_2"), (2.08, "· gate_2"))
    arrow((5.0, 6.89), (5.0, 6.16), label="x [F, W]", shift=(0.08, 0.23))
    for above, below in ((5.54, 5.16), (4.54, 3.86), (3.24, 2.86)):
        arrow((5.0, above), (5.0, below))
    arrow((5.0, 2.24), (5.0, 1.06))
    for start, stop in ((6.42, 4.13), (4.02, 1.83)):               # past the layers: what comes in is added to what they say
        arrow((5.0, start), (3.58, start), (3.58, stop), (4.88, stop), colour=MIDDLE)
        axes.text(5.0, stop, "+", ha="center", va="center", fontsize=11, color=DARK, zorder=5, bbox=dict(boxstyle="circle,pad=0.12", fc="white", ec=DARK))
    box(8.6, 4.2, "adaln", "speech_half + step_half: six\nnumbers for each frame and feature", speech, 2.5, 0.95)
    for y, text in knobs:
        axes.text(5.12, y, text, fontsize=8.5, color=LEFT, va="center", family="monospace", zorder=5)
        x = 7.2 if "scale" in text else 5.95
        axes.plot((7.28, x), (y, y), color=LEFT, lw=1, zorder=2)
    axes.plot((7.28, 7.28), (knobs[0][0], knobs[-1][0]), color=LEFT, lw=1, zorder=2)
    axes.plot((7.35, 7.28), (4.2, 4.2), color=LEFT, lw=1, zorder=2)
    arrow((9.0, 6.89), (9.0, 4.68), label="[6 W] a block", shift=(0.08, 0.35))
    arrow((2.8, 1.5), (3.3, 1.5), (3.3, 1.28), (8.6, 1.28), (8.6, 3.72), colour=LEFT, label="speech_halves: [F, 6 W] a block, [F, 2 W] for the end", at=2, shift=(0.45, -0.13))
    axes.text(5.12, 1.44, "final_norm, final_adaln", fontsize=8.5, color=LEFT, va="center", family="monospace")

    # ---- around the network ----------------------------------------------------------------------------------
    area(10.6, 4.55, 2.9, 3.6, "sampling: generate", body[0])
    box(12.05, 7.2, "FrameNoise", "x_T, a seed for every frame", body, 2.5)
    box(12.05, 6.2, "sample_dpmpp", "10 times: a little less noisy", body, 2.5)
    box(12.05, 5.1, "poses, decode", "write_bvh", body, 2.5)
    arrow((12.05, 6.89), (12.05, 6.51))
    arrow((12.05, 5.89), (12.05, 5.41), label="x_0 [F, P]")
    area(10.6, 0.2, 2.9, 4.15, "training: train.py", body[0])
    box(12.05, 3.45, "read_bvh, encode", "exponential maps, standardised", body, 2.5)
    box(12.05, 2.45, "innovations", "what is new in each frame", body, 2.5)
    box(12.05, 1.45, "add_noise", "x_t at a random t", body, 2.5)
    axes.text(12.05, 0.62, "loss = mean (eps - model)² / √ᾱ", fontsize=8.5, ha="center", va="center", color=DARK, family="monospace")
    arrow((12.05, 3.14), (12.05, 2.76), label="[F, P]")
    arrow((12.05, 2.14), (12.05, 1.76), label="x_0")
    arrow((12.05, 1.14), (12.05, 0.78), label="x_t, eps")
    arrow((10.8, 6.2), (10.5, 6.2), (10.5, 7.85), (5.0, 7.85), (5.0, 7.51), label="x_t [F, P], t", at=2, shift=(-0.4, 0.12))
    arrow((9.0, 7.85), (9.0, 7.51))
    arrow((6.3, 0.75), (10.3, 0.75), (10.3, 6.05), (10.8, 6.05), label="eps [F, P]", shift=(-0.3, 0.14))
    return write_picture(path, figure, dpi=110)


# ------------------------------------------------------------------------------------------------
# 4. Inside the network, through hooks: the network need not know that it is looked at
# ------------------------------------------------------------------------------------------------
@torch.no_grad()
def overhear(model, layers, x_t, t, speech):
    """Run model(x_t, t, speech) once -> what each of `layers` answered, in order."""
    answers = {}
    hooks = [layer.register_forward_hook(lambda layer, inputs, answer: answers.__setitem__(layer, answer)) for layer in layers]
    try:
        model(x_t, t, speech)
    finally:
        for hook in hooks:
            hook.remove()
    return [answers[layer] for layer in layers]


def attention_weights(model, x_t, t, speech):
    """softmax(q k^T / sqrt(D)) of every block for x_t [B, F, P], t [B], speech [B, F, S] -> [depth, B, heads, F, F]; rows sum to 1."""
    (B, F, _), heads, D = x_t.shape, model.config.heads, model.config.width // model.config.heads
    seen = sliding_causal_mask(F, F, model.config.attention_window, x_t.device, model.config.segment)    # [F, F]
    weights = []
    for qkv in overhear(model, [block.qkv for block in model.blocks], x_t, t, speech):
        q, k = rotate(qkv.float().view(B, F, 3, heads, D).permute(2, 0, 1, 3, 4)[:2], model.turns(0, F)).transpose(2, 3)     # [B, heads, F, D] each
        score = q @ k.transpose(-1, -2) / math.sqrt(D)           # [B, heads, F, F]
        weights.append(score.masked_fill(~seen, -math.inf).softmax(dim=-1))
    return torch.stack(weights)


def plot_attention(path, weights, frame, fps, waveform=None):
    """Where `frame` looks: weights [depth, B, heads, F, F] from attention_weights; a row for each head of each block, first clip."""
    depth, _, heads, F, _ = weights.shape
    rows = weights[:, 0, :, frame, :].reshape(depth * heads, F).cpu().numpy()                # [depth heads, F]
    figure = new_figure(11, 5, layout="constrained")
    above, axes = figure.subplots(2, 1, height_ratios=(1, 5), sharex=True)
    if waveform is not None:
        draw_sound(above, waveform, F / fps)
    above.axvline((frame + 0.5) / fps, color=RIGHT)
    above.set(yticks=[], title=f"where frame {frame} looks: to its right only as far as its segment goes")
    picture = axes.imshow(rows, aspect="auto", cmap="magma", vmin=0, vmax=np.quantile(rows[rows > 0], 0.99), extent=(0, F / fps, depth * heads, 0), interpolation="nearest")
    axes.set(xlabel="seconds", ylabel="head", yticks=[heads * (n + 0.5) for n in range(depth)], yticklabels=[f"block {n}" for n in range(depth)])
    for n in range(1, depth):
        axes.axhline(heads * n, color="white", lw=0.8)
    figure.colorbar(picture, ax=axes, label="weight", pad=0.01)
    return write_picture(path, figure, dpi=100)


def loudness(waveform, frames, fps):
    """Level of each motion frame in decibels, [frames]: mean power over n / fps to (n + 1) / fps, at least -60 below the loudest."""
    sound = np.pad(np.asarray(waveform, dtype=np.float64), (0, max(0, math.ceil(frames * SAMPLE_RATE / fps) - len(waveform))))
    edges = np.round(np.arange(frames + 1) * SAMPLE_RATE / fps).astype(int)
    power = np.array([np.mean(sound[a:b] ** 2) for a, b in zip(edges, edges[1:])])
    return 10 * np.log10(np.maximum(power, max(power.max(), 1e-12) * 1e-6))


def plot_adaln(path, generator, waveform, t=200, block=2, part="gate_2"):
    """What loud and quiet speech do to one part of a block's modulation: how far a gate is open, or a shift_1, scale_1, gate_1 (of the attention), shift_2 or scale_2.

    By default it is the gate behind the third block's MLP, which follows the loudness of speech most of all in the shipped model. Left, each row a feature
    of the network: how far its number is above its mean over the clip, the features that loud speech turns up most at the top. Right, each dot a feature: the mean over the loudest quarter of the frames
    less the mean over the quietest; in grey the same for the loudness moved by half a clip, which says nothing.
    """
    speech, fps = generator.hear(waveform), generator.features.fps
    F, P = speech.shape[1], generator.model.config.pose_dim
    x_t = torch.zeros(1, F, P, device=speech.device)             # adaLN never sees x_t, so any will do
    parts, = overhear(generator.model, [generator.model.blocks[block].adaln], x_t, torch.tensor([t], device=speech.device), speech)
    name = rf"$\mathrm{{{part[:-2]}}}_{part[-1]}$"
    knob = parts[("shift_1", "scale_1", "gate_1", "shift_2", "scale_2", "gate_2").index(part)][0].float().cpu().numpy().T    # [W, F]
    level = loudness(waveform, F, fps)

    def difference(level):
        return knob[:, level >= np.quantile(level, 0.75)].mean(axis=1) - knob[:, level <= np.quantile(level, 0.25)].mean(axis=1)

    turned_up = difference(level)                                # [W]
    order = np.argsort(-turned_up)
    change = (knob - knob.mean(axis=1, keepdims=True))[order]
    figure = new_figure(13, 4.6, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.2, 1), height_ratios=(1, 4))
    top, image, dots = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[:, 1])
    top.plot((np.arange(F) + 0.5) / fps, level, color=DARK, lw=1)
    top.fill_between((np.arange(F) + 0.5) / fps, level.min(), level, where=level >= np.quantile(level, 0.75), color=LEFT, alpha=0.6, step="mid")
    top.set(xlim=(0, F / fps), xticks=[], ylabel="dB", title="loudness (filled: the loudest quarter)")
    reach = max(np.quantile(np.abs(change), 0.99), 1e-6)
    picture = image.imshow(change, aspect="auto", cmap="RdBu_r", vmin=-reach, vmax=reach, extent=(0, F / fps, len(order), 0), interpolation="nearest")
    image.set(xlabel="seconds", ylabel="feature, sorted")
    figure.colorbar(picture, ax=image, label=f"{name}, above its mean", pad=0.01)
    dots.axhline(0, color="#999999", lw=0.8)
    for values, colour, label in ((difference(np.roll(level, F // 2)), "#b6c1d3", "loudness of another moment"), (turned_up, RIGHT, "loudness of the frame")):
        dots.plot(knob.mean(axis=1), values, "o", ms=4, color=colour, label=label)
    dots.set(xlabel=f"mean {name}", ylabel="loud less quiet", title=f"block {block}, t = {t}: a dot is a feature")
    dots.margins(y=0.2)                              # room for the legend, which must not hide a dot
    dots.legend(fontsize=8, loc="upper right")
    return write_picture(path, figure, dpi=100)


# ------------------------------------------------------------------------------------------------
# 5. Films
# ------------------------------------------------------------------------------------------------
def paint_film(scenes, limits, waveform, fps, width, height):
    """Yields a picture for each scene, uint8 [height, width, 3], with the waveform and the moment below it.

    A scene is (bodies, caption, features): bodies a list of (label, points, parents, names, x, frame) as from stand();
    features an image [rows, columns] to show above the waveform, or None. limits: (left, right, top) in body heights.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    figure = new_figure(width / 100, height / 100, dpi=100, facecolor="#f4f6f9")
    canvas, seconds = FigureCanvasAgg(figure), len(scenes) / fps
    sound = 0.14 if waveform is not None else 0.0                # shares of the height
    above = sound + (0.17 if scenes[0][2] is not None else 0.0)
    stage = figure.add_axes((0, above, 1, 1 - above))
    left, right, top = limits
    bottom = -0.1 if len(scenes[0][0]) == 1 else -0.17           # several bodies have names beneath them
    wide = max(right - left, (top - bottom) * width / (height * (1 - above)))                # one scale for both axes
    tall, centre = wide * height * (1 - above) / width, (left + right) / 2
    if waveform is not None:
        strip = figure.add_axes((0, 0, 1, sound))
        strip.axis("off")
        strip.set(xlim=(0, seconds), ylim=(-0.55, 0.55))
        draw_sound(strip, waveform, seconds)
        now = strip.axvline(0, color=RIGHT, lw=2)
    if scenes[0][2] is not None:
        matrix = figure.add_axes((0, sound, 1, 0.16))
        matrix.axis("off")
        image = matrix.imshow(scenes[0][2], aspect="auto", cmap="RdBu_r", vmin=-2.5, vmax=2.5, interpolation="nearest")
    for n, (bodies, caption, features) in enumerate(scenes):
        stage.clear()
        stage.axis("off")
        stage.set(xlim=(centre - wide / 2, centre + wide / 2), ylim=(bottom, bottom + tall))
        for label, points, parents, names, x, frame in bodies:
            draw_body(stage, points[frame], parents, names, x)
            if features is not None:
                draw_trails(stage, points, names, frame, x)
            if len(bodies) > 1:
                stage.text(x, bottom + 0.03, label, ha="center", color=DARK, fontsize=11, parse_math=False)      # dollars in a file's name are no formula
        stage.text(0.03, 0.95, caption, color=DARK, fontsize=13, va="top", transform=stage.transAxes)
        if features is not None:
            image.set_data(features)
        if waveform is not None:
            now.set_xdata([n / fps, n / fps])
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()   # [height, width, 3]


def write_film(path, pictures, frames, fps, waveform=None):
    """Pictures uint8 [height, width, 3], `frames` of them, into path: .mp4 with the sound through ffmpeg, .gif without."""
    pictures = tqdm(pictures, total=frames, desc=Path(path).name, unit="picture", disable=None)
    with written_beside(path) as beside:
        if Path(path).suffix.lower() == ".gif":
            write_gif(beside, pictures, fps)
        else:
            write_mp4(beside, pictures, frames, fps, waveform)


def write_gif(path, pictures, fps):
    """A GIF that repeats. It counts in hundredths of a second, so fps should divide 100: 10, 20 or 25."""
    from PIL import Image                            # matplotlib brings it
    # One palette for all pictures, from the first: colours that flicker from picture to picture would also cost twice the size.
    first = Image.fromarray(next(iter(pictures := iter(pictures)))).quantize(64, dither=Image.Dither.NONE)
    rest = (Image.fromarray(picture).quantize(palette=first, dither=Image.Dither.NONE) for picture in pictures)
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, optimize=False)


def write_mp4(path, pictures, frames, fps, waveform):
    """H.264 in MP4 with the sound as AAC, by the program ffmpeg; OSError with its last words where it fails."""
    first = next(iter(pictures := iter(pictures)))
    height, width, _ = first.shape
    sound, wav = [], path.with_name(path.name + ".wav")
    try:
        if waveform is not None:
            import soundfile
            waveform = np.asarray(waveform)          # a WAV of floats may go beyond 1, where 16 bits end
            with open(wav, "wb") as file:            # whose OSError names the folder that cannot be written; soundfile has an error of its own
                soundfile.write(file, waveform / max(1.0, np.abs(waveform).max()), SAMPLE_RATE, format="WAV", subtype="PCM_16")
            sound = ["-i", str(wav.resolve()), "-c:a", "aac"]     # whole paths: "a:b.mp4" would be a protocol
        # yuv420p: what every player and every slide program decodes. -t: sound that goes on past the motion is cut.
        command = [shutil.which("ffmpeg") or "ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}",
                   "-i", "-", *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-t", f"{frames / fps:.3f}", "-f", "mp4", str(path.resolve())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.stdin.write(first.tobytes())
            for picture in pictures:
                process.stdin.write(picture.tobytes())
        except BrokenPipeError:                      # it gave up; it says why below
            pass
        _, said = process.communicate()
        if process.returncode:
            raise OSError(process.returncode, "ffmpeg said: " + said.decode(errors="replace").strip()[-200:], str(path))
    finally:
        wav.unlink(missing_ok=True)


def write_video(path, motions, waveform=None, width=960, height=540):
    """Motions {label: Motion} side by side into an .mp4 with the sound, or a .gif without; as long as the longest.

    An .mp4 has 30 pictures a second, a .gif 20; motions are resampled to that.
    """
    fps = 20 if Path(path).suffix.lower() == ".gif" else 30
    bodies, x, top = [], 0.0, 1.1
    for label, motion in motions.items():
        points, parents, names = stand(resample(motion, fps))
        x -= points[..., 0].min()
        bodies.append((label, points, parents, names, x))
        x += points[..., 0].max() + 0.15
        top = max(top, points[..., 1].max() + 0.06)
    frames = max(len(points) for _, points, *_ in bodies)
    scenes = [([(*body, min(n, len(body[1]) - 1)) for body in bodies], "", None) for n in range(frames)]
    write_film(path, paint_film(scenes, (-0.15, x, top), waveform, fps, width, height), frames, fps, waveform)


def animate_dissolve(path, generator, waveform, seconds=9.0, fps=10, width=480, height=440, seed=0):
    """A body comes out of noise, gestures to the speech, and dissolves again: the reverse chain, its result, the forward chain.

    Over the waveform: all pose features of the clip, a row each. While the noise level moves, so does the speech:
    picture n shows the body at moment n as it is at that level, and the ways of its hands over the last second.
    """
    codec, schedule, model = generator.codec, generator.schedule, generator.model
    speech = generator.hear(waveform[:int(seconds * SAMPLE_RATE)])
    back = walk_back(generator, speech, seed=seed)
    every = round(codec.fps / fps)
    frames = speech.shape[1] // every
    come, go = round(0.3 * frames), round(0.15 * frames)
    x0 = model.innovations(back[-1][1][None])                    # [1, F, P]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0.device)
    levels, scenes = {}, []                                      # t -> (points, features): most pictures share the clean one
    for n in range(frames):
        if n < come:
            t, pose = back[int(n / come * (len(back) - 1))]
        elif n < frames - go:
            t, pose = back[-1]
        else:
            t = round((n - frames + go + 1) / go * (schedule.num_steps - 1))
            pose = model.poses(schedule.add_noise(x0, torch.tensor([t], device=x0.device), eps))[0]
        if t not in levels:
            levels[t] = *stand(held(codec, pose)), pose.cpu().numpy().T
        points, parents, names, features = levels[t]
        scenes.append(([("", points, parents, names, 0.0, n * every)], f"noise, t = {t}" if t >= 0 else "motion", features))
    heard = waveform[:int(frames / fps * SAMPLE_RATE)]
    write_film(path, paint_film(scenes, (-0.45, 0.45, 1.08), heard, fps, width, height), frames, fps)


def main():
    from data import Parser                          # the scripts import this file, so it imports them only here
    from diffmotion import NoiseSchedule
    from sample import HERE, load_generator
    from wavlm_loader import load_audio
    parser = Parser(prog="pictures.py", description="Draw what goes on inside the shipped model: the noise schedule, the architecture, a motion that dissolves and comes back, "
                    "where a frame looks, what speech does to adaLN. Half a minute.")
    parser.add_argument("--out", default="out", type=Path, help="folder to write to (default: %(default)s)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    generator, waveform = load_generator(HERE / "pretrained" / "puppet.pt"), load_audio(HERE / "assets" / "speech.wav")
    heard = waveform[:8 * SAMPLE_RATE]
    speech = generator.hear(heard)                               # [1, F, S]
    motion, = generator(speech)
    plot_schedule(out / "schedule.png", {"DDPM, last beta 0.02": NoiseSchedule(), "last beta 0.05": NoiseSchedule(beta_end=5e-2), "last beta 0.08": NoiseSchedule(beta_end=8e-2)})
    plot_architecture(out / "architecture.png")
    plot_dissolve(out / "dissolve.png", generator, motion, speech, frame=60)
    x0 = generator.model.innovations(torch.from_numpy(generator.codec.encode(motion))[None])
    t = torch.tensor([200])
    x_t = generator.schedule.add_noise(x0, t, torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)))
    plot_attention(out / "attention.png", attention_weights(generator.model, x_t, t, speech), 120, generator.codec.fps, heard)
    plot_adaln(out / "adaln.png", generator, heard)
    animate_dissolve(out / "dissolve.gif", generator, waveform, seed=0)      # the seed: strokes enough for nine seconds
    print(", ".join(str(out / name) for name in ("schedule.png", "architecture.png", "dissolve.png", "attention.png", "adaln.png", "dissolve.gif")))


if __name__ == "__main__":
    from data import run_script
    run_script(main)
