"""Films: bodies that move over the waveform, as .mp4 with the sound or as .gif without.

Reading order
    1. write_video              motions side by side
    2. Scene, paint_film        what is in a picture; scenes -> pictures
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
from show.figures import (
    DARK,
    RIGHT,
    boxes_for_letters,
    draw_sound,
    new_figure,
    paint_body,
    stand,
)
from show.painter import Stage, rgb
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
    bodies, x, top = {}, 0.0, 1.1
    for label, motion in motions.items():
        body = stand(resample(motion, fps))
        x -= body.points[..., 0].min()
        bodies[label] = body, x
        x += body.points[..., 0].max() + 0.15
        top = max(top, body.points[..., 1].max() + 0.06)
    frames = max(len(body.points) for body, _ in bodies.values())
    scenes = []
    for n in range(frames):
        places = [(body, min(n, len(body.points) - 1), x) for body, x in bodies.values()]
        scenes.append(Scene(places, list(bodies) if len(bodies) > 1 else []))
    pictures = paint_film(scenes, (-0.15, x, top), waveform, fps, width, height)
    write_film(path, pictures, frames, fps, waveform)


# ------------------------------------------------------------------------------------------------
# 2. From scenes to pictures
# ------------------------------------------------------------------------------------------------
@dataclass
class Scene:
    """What one picture of a film shows."""

    bodies: list  # (Standing, frame, x): which of its poses, and where
    labels: list  # a name below each body, or none
    caption: str = ""
    features: np.ndarray | None = None  # an image [rows, columns] above the waveform

    def has_backdrop_of(self, other):
        """Do both look the same but for the bodies?"""
        return self.caption == other.caption and self.features is other.features


def paint_film(scenes, limits, waveform, fps, width, height):
    """Yield a picture for each scene, uint8 [height, width, 3], the waveform and the moment below.

    limits: (left, right, top) of what must be seen, in body heights; width, height: in pixels.
    Where scenes have features, the paths of the hands over the last 2 s are drawn too.
    """
    sound = round(0.14 * height) if waveform is not None else 0  # pixels
    above = sound + (round(0.17 * height) if scenes[0].features is not None else 0)
    left, right, top = limits
    bottom = -0.17 if scenes[0].labels else -0.1
    scale = min(width / (right - left), (height - above) / (top - bottom))  # pixels a body height
    stage = Stage(width, height - above, (left + right - width / scale) / 2, bottom, scale)
    seconds, trail = len(scenes) / fps, 0 if scenes[0].features is None else round(2 * fps)
    backdrop, drawn = None, None
    for n, scene in enumerate(scenes):
        if drawn is None or not scene.has_backdrop_of(drawn):
            backdrop, drawn = _backdrop(stage, scene, waveform, seconds, height, sound), scene
        picture = backdrop.copy()  # [height, width, 3]
        for body, frame, x in scene.bodies:
            paint_body(stage, picture[: stage.height], body, frame, x, trail)
        if sound:
            moment = int(n / len(scenes) * width)
            picture[-sound:, moment : moment + 2] = rgb(RIGHT)
        yield (picture * 255 + 0.5).astype(np.uint8)


def _backdrop(stage, scene, waveform, seconds, height, sound):
    """All of a picture but the bodies, and the moment -> [height, width, 3], from 0 to 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = new_figure(stage.width / 100, height / 100, dpi=100, facecolor="#f4f6f9")
    figure.figimage(stage.empty(), 0, height - stage.height, origin="upper")
    text = dict(color=DARK, parse_math=False)  # dollars in a file's name are no formula
    for (_, _, x), label in zip(scene.bodies, scene.labels):
        across = (x - stage.left) * stage.scale / stage.width
        up = (height - stage.height + 0.03 * stage.scale) / height
        figure.text(across, up, label, ha="center", fontsize=11, **text)
    figure.text(0.03, 0.96, scene.caption, va="top", fontsize=13, **text)
    if waveform is not None:
        strip = figure.add_axes((0, 0, 1, sound / height))
        strip.axis("off")
        strip.set(xlim=(0, seconds), ylim=(-0.55, 0.55))
        draw_sound(strip, waveform, seconds)
    if scene.features is not None:
        axes = figure.add_axes((0, sound / height, 1, 0.16))
        axes.axis("off")
        colours = dict(cmap="RdBu_r", vmin=-2.5, vmax=2.5)
        axes.imshow(scene.features, aspect="auto", interpolation="nearest", **colours)
    canvas = FigureCanvasAgg(figure)
    with boxes_for_letters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255


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
    # kmeans: colours of small parts, such as an arm, are kept too.
    first = next(pictures).quantize(256, kmeans=3, dither=Image.Dither.NONE)
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
