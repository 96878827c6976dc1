"""Motion dissolves into noise and comes back: the noise schedule, a picture, and a film.

Reading order
    1. plot_schedule      signal and noise at every diffusion step
    2. walk_back          what the sampler holds on its way from noise to motion
    3. plot_dissolve      a pose on both ways
    4. animate_dissolve   the film at the head of the README
"""

import numpy as np
import torch
import torch.nn.functional as fun

from beyond.samplers import FrameNoise, guided, sample_ddim, time_grid
from beyond.stream import segment_of
from body.pose import HEIGHT
from diffmotion import generate
from recordings.audio import SAMPLE_RATE
from show.figures import DARK, draw_bodies, new_figure, stand, write_picture
from show.film import Scene, paint_film, write_film


# ------------------------------------------------------------------------------------------------
# 1. The schedule
# ------------------------------------------------------------------------------------------------
def plot_schedule(path, schedules):
    """Noise schedules {label: NoiseSchedule}, as three curves over t.

    The betas; the shares of signal and noise in x_t; their ratio in decibels.
    """
    figure = new_figure(13, 3.6, layout="constrained")
    betas, shares, ratio = figure.subplots(1, 3)
    for n, (label, schedule) in enumerate(schedules.items()):
        colour, abar = f"C{n}", schedule.alphas_cumprod.double().numpy()  # [num_steps]
        betas.plot(schedule.betas, color=colour, label=label)
        shares.plot(np.sqrt(abar), color=colour, label=f"{label}: signal")
        shares.plot(np.sqrt(1 - abar), color=colour, ls="--", label=f"{label}: noise")
        ratio.plot(10 * np.log10(abar / (1 - abar)), color=colour, label=label)
    betas.set(title="noise added at step t", ylabel=r"$\beta_t$")
    formula = r"$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$"
    shares.set(title=formula, ylabel="share of the deviation")
    ratio.set(title="signal over noise", ylabel="dB")
    ratio.axhline(0, color="#999999", lw=0.8)
    for axes in (betas, shares, ratio):
        axes.set_xlabel("t")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return write_picture(path, figure, dpi=100)


# ------------------------------------------------------------------------------------------------
# 2. The way from noise to motion
# ------------------------------------------------------------------------------------------------
def walk_back(generator, speech, steps=50, guidance=1.2, seed=0):
    """What DDIM holds on its way from noise to motion: [(t, poses [F, P])], the last with t = -1.

    generator: a sample.Generator; speech: [1, F, S] from generator.speech_of. A sampler shows its
    x_t to the network at each pass, so it is enough to take notes there.
    """
    model, schedule, notes = generator.model, generator.schedule, []
    F = speech.shape[1]
    speech = fun.pad(speech, (0, 0, 0, -F % segment_of(model)))  # [1, whole segments, S]

    def sample(predict_eps, schedule, x, noise):
        def noted(x_t, t):
            notes.append((t, x_t))
            return predict_eps(x_t, t)

        x0 = sample_ddim(noted, schedule, x, noise, time_grid(schedule.num_steps, steps))
        notes.append((-1, x0))
        return x0

    noise = FrameNoise(seed, 1, 0, speech.shape[1], model.size["pose_dim"], speech.device)
    generate(guided(model, guidance), schedule, speech, sample, noise)
    return [(t, model.transform.inverse(x_t)[0, :F]) for t, x_t in notes]


def walk_there(generator, x0, seed=0):
    """The other direction: a function t -> poses [F, P] with the noise of step t.

    x0 [1, F, P]. The same noise is used at all t.
    """
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0.device)
    model, schedule = generator.model, generator.schedule

    def noisy(t):
        x_t = schedule.add_noise(x0, torch.tensor([t], device=x0.device), eps)
        return model.transform.inverse(x_t)[0]  # [F, P]

    return noisy


def held(codec, pose):
    """Poses, a tensor [F, P] -> Motion that stays where it is.

    Noise in the root's steps would add up to a wild dance, so its place and facing are held.
    """
    pose = pose.cpu().numpy().astype(np.float64)
    moves = codec.kept < HEIGHT  # the columns of the root over the ground
    pose[:, moves] = -(codec.mean / codec.std)[codec.kept[moves]]
    return codec.decode(pose)


# ------------------------------------------------------------------------------------------------
# 3. A picture of both ways
# ------------------------------------------------------------------------------------------------
def plot_dissolve(
    path, generator, motion, speech, frame, times=(0, 50, 150, 300, 500, 999), seed=0
):
    """A motion dissolves into noise, and the model makes one of noise.

    The upper row is read from left to right, the lower one from right to left. At each of `times`:
    the body at `frame` with the paths of its hands over the last second, and the pose features
    over the clip, a row each.

    A pose of pure noise is still a body: the features are rotations, and noise moves each around
    its mean. What is lost is that they fit together, and that frames follow from each other.
    """
    model = generator.model
    pose = torch.from_numpy(generator.codec.encode(motion))[None].to(speech.device)  # [1, F, P]
    noisy = walk_there(generator, model.transform(pose), seed)
    back = walk_back(generator, speech, seed=seed)
    times = [t for t in times if t < generator.schedule.num_steps]
    figure = new_figure(2.2 * len(times), 7.6)
    for k, t in enumerate(times):
        _draw_moment(figure, generator.codec, noisy(t), t, frame, k, len(times), bottom=0.52)
        at, pose = back[-1] if t == 0 else min(back, key=lambda note: abs(note[0] - t))
        _draw_moment(figure, generator.codec, pose, at, frame, k, len(times), bottom=0.02)
    for bottom, label in ((0.52, "into noise"), (0.02, "and back, hearing the speech")):
        text = dict(fontsize=11, color=DARK, rotation=90, va="top")
        figure.text(0.004, bottom + 0.45, label, **text)
    return write_picture(path, figure, dpi=100)


def _draw_moment(figure, codec, pose, t, frame, column, columns, bottom):
    """One of `columns`: the body of poses [F, P] at `frame`, and below it all their features."""
    body = stand(held(codec, pose))
    n, wide = min(frame, len(body.points) - 1), 1 / columns
    axes = figure.add_axes((column * wide, bottom + 0.1, wide, 0.36))
    axes.set(xlim=(-0.44, 0.44))
    axes.set_ylim(-0.07, -0.07 + 0.88 * 0.36 * 7.6 / 2.2)  # one scale for both axes
    axes.axis("off")
    draw_bodies(axes, [(body, n, 0.0)], trail=round(codec.fps))
    axes.set_title(f"t = {t}" if t >= 0 else "x0", fontsize=11, color=DARK, pad=2)
    features = figure.add_axes(((column + 0.06) * wide, bottom, 0.88 * wide, 0.09))
    colours = dict(cmap="RdBu_r", vmin=-2.5, vmax=2.5)
    rows = pose.cpu().numpy().T  # [P, F]
    features.imshow(rows, aspect="auto", interpolation="nearest", **colours)
    features.axvline(n, color=DARK, lw=0.8)
    features.axis("off")


# ------------------------------------------------------------------------------------------------
# 4. The film
# ------------------------------------------------------------------------------------------------
def animate_dissolve(path, generator, waveform, seconds=9.0, fps=10, width=480, height=440, seed=0):
    """A body comes out of noise, gestures to the speech, and dissolves again.

    The reverse chain takes 0.3 of the time, the forward chain 0.15. Over the waveform: all pose
    features of the clip, a row each. The speech goes on while the noise level changes: picture n
    shows the body at moment n as it is at that level, and the paths of its hands over the last
    second.
    """
    codec, schedule = generator.codec, generator.schedule
    speech = generator.speech_of(waveform[: int(seconds * SAMPLE_RATE)])  # [1, F, S]
    every = round(codec.fps / fps)
    frames = speech.shape[1] // every
    come, go = round(0.3 * frames), round(0.15 * frames)
    back = walk_back(generator, speech, seed=seed)
    noisy = walk_there(generator, generator.model.transform(back[-1][1][None]), seed)
    levels, scenes = {}, []  # t -> (Standing, features): most share the clean one
    for n in range(frames):
        if n < come:
            t, pose = back[int(n / come * (len(back) - 1))]
        elif n < frames - go:
            t, pose = back[-1]
        else:
            t = round((n - frames + go + 1) / go * (schedule.num_steps - 1))
            pose = noisy(t)
        if t not in levels:
            levels[t] = stand(held(codec, pose)), pose.cpu().numpy().T
        body, features = levels[t]
        caption = f"noise, t = {t}" if t >= 0 else "motion"
        scenes.append(Scene([(body, n * every, 0.0)], [], caption, features))
    waveform = waveform[: int(frames / fps * SAMPLE_RATE)]
    pictures = paint_film(scenes, (-0.45, 0.45, 1.08), waveform, fps, width, height)
    write_film(path, pictures, frames, fps, waveform)
