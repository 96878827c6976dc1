"""Films: bodies that move over the waveform, as .mp4 with the sound or as .gif without.

Reading order
    1. write_video              motions side by side
    2. Body, Scene, paint_film  what is in a picture; scenes -> pictures
    3. write_film               pictures -> a file: write_gif, write_mp4
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from tqdm import tqdm

from body.motion import resample
from recordings.audio import SAMPLE_RATE
from show.figures import DARK, RIGHT, draw_body, draw_sound, draw_trails, new_figure, stand
from tools import shown, written_beside


# ------------------------------------------------------------------------------------------------
# 1. Motions side by side
# ------------------------------------------------------------------------------------------------
def write_video(path, motions, waveform=None, width=960, height=540):
    """Motions {label: Motion} side by side into an .mp4 with the sound, or a .gif without.

    The film lasts as long as the longest motion; the others keep their last pose. An .mp4 has 30
    pictures a second, a .gif 20; motions are resampled to that. waveform: [samples] at 16 kHz.
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
    scenes = []
    for n in range(frames):
        scenes.append(Scene([Body(*body, frame=min(n, len(body[1]) - 1)) for body in bodies]))
    pictures = paint_film(scenes, (-0.15, x, top), waveform, fps, width, height)
    write_film(path, pictures, frames, fps, waveform)


# ------------------------------------------------------------------------------------------------
# 2. From scenes to pictures
# ------------------------------------------------------------------------------------------------
@dataclass
class Body:
    """A body in a scene."""

    label: str
    points: np.ndarray  # [F, P, 3], as stand() gives them
    parents: np.ndarray  # [P]
    names: list  # [P]
    x: float  # where it stands
    frame: int  # which of the F poses it has


@dataclass
class Scene:
    """What one picture of a film shows."""

    bodies: list
    caption: str = ""
    features: np.ndarray | None = None  # an image [rows, columns] above the waveform


def paint_film(scenes, limits, waveform, fps, width, height):
    """Yield a picture for each scene, uint8 [height, width, 3], the waveform and the moment below.

    limits: (left, right, top) of what must be seen, in body heights; width, height: in pixels.
    Where scenes have features, the paths of the hands are drawn too.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = new_figure(width / 100, height / 100, dpi=100, facecolor="#f4f6f9")
    canvas = FigureCanvasAgg(figure)
    sound = 0.14 if waveform is not None else 0.0  # shares of the height
    above = sound + (0.17 if scenes[0].features is not None else 0.0)
    stage = figure.add_axes((0, above, 1, 1 - above))
    left, right, top = limits
    bottom = -0.1 if len(scenes[0].bodies) == 1 else -0.17  # several bodies have names below
    shape = width / (height * (1 - above))
    wide = max(right - left, (top - bottom) * shape)  # one scale for both axes
    centre = (left + right) / 2
    xlim, ylim = (centre - wide / 2, centre + wide / 2), (bottom, bottom + wide / shape)
    if waveform is not None:
        moment = _add_sound(figure, sound, waveform, len(scenes) / fps)
    if scenes[0].features is not None:
        image = _add_features(figure, sound, scenes[0].features)
    for n, scene in enumerate(scenes):
        stage.clear()
        stage.axis("off")
        stage.set(xlim=xlim, ylim=ylim)
        _draw_scene(stage, scene, bottom)
        if scene.features is not None:
            image.set_data(scene.features)
        if waveform is not None:
            moment.set_xdata([n / fps, n / fps])
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()  # [height, width, 3]


def _add_sound(figure, tall, waveform, seconds):
    """The waveform along the lower edge -> the line that marks the moment."""
    strip = figure.add_axes((0, 0, 1, tall))
    strip.axis("off")
    strip.set(xlim=(0, seconds), ylim=(-0.55, 0.55))
    draw_sound(strip, waveform, seconds)
    return strip.axvline(0, color=RIGHT, lw=2)


def _add_features(figure, bottom, features):
    """An image of features [rows, columns] above the waveform -> the image."""
    axes = figure.add_axes((0, bottom, 1, 0.16))
    axes.axis("off")
    colours = dict(cmap="RdBu_r", vmin=-2.5, vmax=2.5)
    return axes.imshow(features, aspect="auto", interpolation="nearest", **colours)


def _draw_scene(stage, scene, bottom):
    """The bodies of a scene, their names if there are several, and the caption."""
    for body in scene.bodies:
        draw_body(stage, body.points[body.frame], body.parents, body.names, body.x)
        if scene.features is not None:
            draw_trails(stage, body.points, body.names, body.frame, body.x)
        if len(scene.bodies) > 1:
            # parse_math: dollars in a file's name are no formula
            text = dict(ha="center", color=DARK, fontsize=11, parse_math=False)
            stage.text(body.x, bottom + 0.03, body.label, **text)
    text = dict(color=DARK, fontsize=13, va="top", transform=stage.transAxes)
    stage.text(0.03, 0.95, scene.caption, **text)


# ------------------------------------------------------------------------------------------------
# 3. From pictures to a file
# ------------------------------------------------------------------------------------------------
def write_film(path, pictures, frames, fps, waveform=None):
    """`frames` pictures uint8 [height, width, 3] into path: .mp4 with the sound, .gif without."""
    name = shown(Path(path).name)
    pictures = tqdm(pictures, total=frames, desc=name, unit="picture", disable=None)
    with written_beside(path) as beside:
        if Path(path).suffix.lower() == ".gif":
            write_gif(beside, pictures, fps)
        else:
            write_mp4(beside, pictures, frames, fps, waveform)


def write_gif(path, pictures, fps):
    """A GIF that repeats. It counts in hundredths of a second, so fps should divide 100."""
    pictures = map(Image.fromarray, pictures)
    # One palette for all, from the first: otherwise colours flicker, and the file is twice as big.
    first = next(pictures).quantize(64, dither=Image.Dither.NONE)
    rest = (picture.quantize(palette=first, dither=Image.Dither.NONE) for picture in pictures)
    settings = dict(duration=round(1000 / fps), loop=0, optimize=False)
    first.save(path, format="GIF", save_all=True, append_images=rest, **settings)


def write_mp4(path, pictures, frames, fps, waveform=None):
    """H.264 in MP4 with the sound as AAC, by the program ffmpeg.

    Raises OSError with ffmpeg's last words where it fails.
    """
    pictures = iter(pictures)
    first = next(pictures)
    wav = path.with_name(path.name + ".wav")
    try:
        if waveform is not None:
            _write_sound(wav, waveform)
        # Whole paths: ffmpeg takes "a:b.mp4" for a protocol
        sound = ["-i", str(wav.resolve()), "-c:a", "aac"] if waveform is not None else []
        height, width, _ = first.shape
        command = [shutil.which("ffmpeg") or "ffmpeg", "-y", "-loglevel", "error"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{fps:g}", "-i", "-", *sound]
        # yuv420p is what every player decodes. -t: sound that is longer than the motion is cut.
        command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-t", f"{frames / fps:.3f}"]
        command += ["-f", "mp4", str(path.resolve())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.stdin.write(first.tobytes())
            for picture in pictures:
                process.stdin.write(picture.tobytes())
        except BrokenPipeError:  # ffmpeg gave up; it says why below
            pass
        _, said = process.communicate()
        if process.returncode:
            words = said.decode(errors="replace").strip()[-200:]
            raise OSError(process.returncode, f"ffmpeg said: {words}", str(path))
    finally:
        wav.unlink(missing_ok=True)


def _write_sound(path, waveform):
    """The waveform [samples] as 16-bit WAV; what is beyond 1 is made quieter, not cut."""
    waveform = np.asarray(waveform)
    waveform = waveform / max(1.0, np.abs(waveform).max())
    # open() names a folder that cannot be written; soundfile raises an error of its own there
    with open(path, "wb") as file:
        soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
