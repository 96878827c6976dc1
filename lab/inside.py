"""Look inside the network: where a frame looks, and what the speech does to adaLN.

    python -m lab.inside     draws all that is here, in dissolve.py and in architecture.py for the
                             shipped model and the demo's sentence, into out/

Reading order
    1. overhear, attention_weights   listeners; the network does not know that it is looked at
    2. plot_attention                where one frame looks
    3. plot_adaln                    shifts, scales and gates of loud and of quiet speech
    4. main                          all of them
"""

import contextlib
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch

from diffmotion import NoiseSchedule
from lab.architecture import plot_architecture
from lab.dissolve import animate_dissolve, plot_dissolve, plot_schedule
from recordings.audio import SAMPLE_RATE, load_audio
from sample import load_generator
from show.figures import DARK, LEFT, RIGHT, draw_sound, new_figure, write_picture
from tools import HERE, SHIPPED, Parser, run_script


# ------------------------------------------------------------------------------------------------
# 1. Listeners
# ------------------------------------------------------------------------------------------------
@torch.no_grad()
def overhear(model, layers, x_t, t, speech):
    """Run model(x_t, t, speech) once -> what each of `layers` answered, in order."""
    answers = {}

    def note(layer, inputs, answer):
        answers[layer] = answer

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(note).remove)
        _pass(model, x_t, t, speech)
    return [answers[layer] for layer in layers]


@torch.no_grad()
def attention_weights(model, x_t, t, speech):
    """softmax(q k^T / sqrt(head_dim)) of every block -> [depth, B, heads, F, F]; rows sum to 1.

    x_t [B, F, P], t [B], speech [B, F, S]. A listener stands in the place of each block's attend.
    """
    weights = []

    def listen(attend, q, k, v, mask):
        score = q.float() @ k.float().transpose(-1, -2) / math.sqrt(q.shape[-1])  # [B, heads, F, F]
        weights.append(score.masked_fill(~mask, -math.inf).softmax(dim=-1))
        return attend(q, k, v, mask)

    with contextlib.ExitStack() as restore:
        for block in model.blocks:
            restore.callback(_put_back(block, "attend"))
            block.attend = partial(listen, block.attend)
        _pass(model, x_t, t, speech)
    return torch.stack(weights)


def _pass(model, x_t, t, speech):
    """One pass with a mask of its own: it is never replayed as a CUDA graph, which has no hooks."""
    model(x_t, t, speech, mask=model.mask(x_t.shape[1]))


def _put_back(module, name):
    """A function that undoes what will be set as module.name."""
    if name in module.__dict__:
        return partial(setattr, module, name, module.__dict__[name])
    return partial(delattr, module, name)


# ------------------------------------------------------------------------------------------------
# 2. Attention
# ------------------------------------------------------------------------------------------------
def plot_attention(path, weights, frame, fps, waveform=None):
    """Where `frame` looks, a row for each head of each block, first clip of the batch.

    weights: [depth, B, heads, F, F] from attention_weights; waveform: [samples] at 16 kHz, or None.
    """
    depth, _, heads, F, _ = weights.shape
    rows = weights[:, 0, :, frame, :].reshape(depth * heads, F).cpu().numpy()  # [depth heads, F]
    figure = new_figure(11, 5, layout="constrained")
    above, axes = figure.subplots(2, 1, height_ratios=(1, 5), sharex=True)
    if waveform is not None:
        draw_sound(above, waveform, F / fps)
    above.axvline((frame + 0.5) / fps, color=RIGHT)
    title = f"where frame {frame} looks: to its right only as far as its segment goes"
    above.set(yticks=[], title=title)
    picture = axes.imshow(
        rows,
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=0,
        vmax=np.quantile(rows[rows > 0], 0.99),
        extent=(0, F / fps, depth * heads, 0),
    )
    axes.set(xlabel="seconds", ylabel="head")
    axes.set_yticks([heads * (n + 0.5) for n in range(depth)], [f"block {n}" for n in range(depth)])
    for n in range(1, depth):
        axes.axhline(heads * n, color="white", lw=0.8)
    figure.colorbar(picture, ax=axes, label="weight", pad=0.01)
    return write_picture(path, figure, dpi=100)


# ------------------------------------------------------------------------------------------------
# 3. AdaLN
# ------------------------------------------------------------------------------------------------
PARTS = ("shift_1", "scale_1", "gate_1", "shift_2", "scale_2", "gate_2")  # of a block's modulation


def loudness(waveform, frames, fps):
    """Level of each motion frame in decibels, [frames].

    The mean power from n / fps to (n + 1) / fps, at least -60 below the loudest frame.
    """
    missing = max(0, math.ceil(frames * SAMPLE_RATE / fps) - len(waveform))
    sound = np.pad(np.asarray(waveform, dtype=np.float64), (0, missing))
    edges = np.round(np.arange(frames + 1) * SAMPLE_RATE / fps).astype(int)
    power = np.array([np.mean(sound[a:b] ** 2) for a, b in zip(edges, edges[1:])])
    return 10 * np.log10(np.maximum(power, max(power.max(), 1e-12) * 1e-6))


def plot_adaln(path, generator, waveform, t=200, block=2, part="gate_2"):
    """What loud and quiet speech do to one of the PARTS of a block's modulation, at step t.

    The default is the gate behind the MLP of the third block: in the shipped model it follows the
    loudness most of all.

    Left: each row a feature of the network, how far its number is above its mean over the clip.
    The features that loud speech turns up most are at the top. Right: each dot a feature, its mean
    over the loudest quarter of the frames less that over the quietest. In grey the same with the
    loudness moved by half a clip, which tells nothing.
    """
    speech, fps = generator.speech_of(waveform), generator.features.fps
    F = speech.shape[1]
    knob = _modulation(generator.model, speech, t, block, part)  # [W, F]
    level = loudness(waveform, F, fps)  # [F]

    def difference(level):
        loud, quiet = level >= np.quantile(level, 0.75), level <= np.quantile(level, 0.25)
        return knob[:, loud].mean(axis=1) - knob[:, quiet].mean(axis=1)  # [W]

    turned_up, by_chance = difference(level), difference(np.roll(level, F // 2))
    change = (knob - knob.mean(axis=1, keepdims=True))[np.argsort(-turned_up)]  # [W, F]
    figure = new_figure(13, 4.6, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.2, 1), height_ratios=(1, 4))
    top, image = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    dots = figure.add_subplot(grid[:, 1])
    name = rf"$\mathrm{{{part[:-2]}}}_{part[-1]}$"
    _draw_level(top, level, fps)
    picture = _draw_change(image, change, F / fps)
    figure.colorbar(picture, ax=image, label=f"{name}, above its mean", pad=0.01)
    dots.axhline(0, color="#999999", lw=0.8)
    mean = knob.mean(axis=1)
    dots.plot(mean, by_chance, "o", ms=4, color="#b6c1d3", label="loudness of another moment")
    dots.plot(mean, turned_up, "o", ms=4, color=RIGHT, label="loudness of the frame")
    dots.set(xlabel=f"mean {name}", ylabel="loud less quiet")
    dots.set_title(f"block {block}, t = {t}: a dot is a feature")
    dots.margins(y=0.2)  # room for the legend, which must not hide a dot
    dots.legend(fontsize=8, loc="upper right")
    return write_picture(path, figure, dpi=100)


def _modulation(model, speech, t, block, part):
    """One of the PARTS of this block at step t, for speech [1, F, S] -> [W, F]."""
    adaln, step = model.blocks[block].adaln, torch.tensor([t], device=speech.device)
    # AdaLN never sees x_t, so any will do
    x_t = torch.zeros(1, speech.shape[1], model.size["pose_dim"], device=speech.device)
    (parts,) = overhear(model, [adaln], x_t, step, speech)
    return parts[PARTS.index(part)][0].float().cpu().numpy().T


def _draw_level(axes, level, fps):
    """The loudness [F] over time, its loudest quarter filled."""
    times = (np.arange(len(level)) + 0.5) / fps
    loud = level >= np.quantile(level, 0.75)
    axes.plot(times, level, color=DARK, lw=1)
    filled = dict(where=loud, color=LEFT, alpha=0.6, step="mid")
    axes.fill_between(times, level.min(), level, **filled)
    title = "loudness (filled: the loudest quarter)"
    axes.set(xlim=(0, len(level) / fps), xticks=[], ylabel="dB", title=title)


def _draw_change(axes, change, seconds):
    """Features [W, F] as an image, blue below 0 and red above -> the image."""
    reach = max(np.quantile(np.abs(change), 0.99), 1e-6)
    colours = dict(cmap="RdBu_r", vmin=-reach, vmax=reach)
    place = dict(aspect="auto", interpolation="nearest", extent=(0, seconds, len(change), 0))
    axes.set(xlabel="seconds", ylabel="feature, sorted")
    return axes.imshow(change, **colours, **place)


# ------------------------------------------------------------------------------------------------
# 4. All of them
# ------------------------------------------------------------------------------------------------
def main():
    """Draw everything into the folder --out."""
    parser = Parser(
        prog="python -m lab.inside",
        description="Draw what goes on inside the shipped model: the noise schedule, the "
        "architecture, a motion that dissolves and comes back, where a frame looks, what speech "
        "does to adaLN. Half a minute.",
    )
    folder = "folder to write to (default: %(default)s)"
    parser.add_argument("--out", default="out", type=Path, help=folder)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    generator, waveform = load_generator(SHIPPED), load_audio(HERE / "assets" / "speech.wav")
    start = waveform[: 8 * SAMPLE_RATE]
    speech = generator.speech_of(start)  # [1, F, S]
    (motion,) = generator(speech)

    schedules = {"DDPM, last beta 0.02": NoiseSchedule()}
    for last in (0.05, 0.08):
        schedules[f"last beta {last}"] = NoiseSchedule(beta_end=last)
    plot_schedule(out / "schedule.png", schedules)
    plot_architecture(out / "architecture.png")
    plot_architecture(out / "paper.png", paper=True)
    plot_dissolve(out / "dissolve.png", generator, motion, speech, frame=60)

    x0 = generator.model.transform(torch.from_numpy(generator.codec.encode(motion))[None])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([200])
    x_t = generator.schedule.add_noise(x0, t, noise)  # [1, F, P]
    weights = attention_weights(generator.model, x_t, t, speech)
    plot_attention(out / "attention.png", weights, 120, generator.codec.fps, start)
    plot_adaln(out / "adaln.png", generator, start)
    # With this seed there are strokes enough in nine seconds
    animate_dissolve(out / "dissolve.gif", generator, waveform, seed=0)
    names = "schedule architecture paper dissolve attention adaln".split()
    pictures = [*(f"{name}.png" for name in names), "dissolve.gif"]
    print(", ".join(str(out / name) for name in pictures))


if __name__ == "__main__":
    run_script(main)
