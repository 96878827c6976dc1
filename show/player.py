"""The player page: one HTML file that plays motions with their sound in a browser, offline.

player.html is the template, mannequin.js paints its bodies; player_page puts them together, with
the motions and the sound as one JSON object.
"""

import base64
import gzip
import html
import io
import json
from pathlib import Path

import numpy as np
import soundfile

from body.bvh import bvh_text
from body.motion import rate_of
from recordings.audio import SAMPLE_RATE
from show.mannequin import dress
from tools import written_beside

TEMPLATE = Path(__file__).with_name("player.html")
PAINTER = Path(__file__).with_name("mannequin.js")
TALL = 1.7  # metres: how tall every body is shown, as in player.html
MP3_LEVEL = 0.6  # of 0 (best) to 1: some 64 kbit a second


def player_page(title, motions, waveform=None, strokes=None, made=""):
    """A page that plays motions side by side with the sound -> str, a whole HTML file.

    motions: {label: Motion}, of any lengths, frame rates and units; waveform: [samples] at 16 kHz,
    or None for silence; strokes: {label: seconds [n]}, marked on the waveform, or None; made: what
    made the motions, a line below the title.
    """
    strokes = strokes or {}
    bodies = [_body_data(label, one, strokes.get(label, ())) for label, one in motions.items()]
    seconds = max(len(motion) * motion.frame_time for motion in motions.values())
    data = dict(title=title, made=made, bodies=bodies, seconds=seconds, audio=None, peaks=None)
    if waveform is not None:
        # The sound is the page's clock, so silence is added where the motion is longer
        missing = max(0, round(seconds * SAMPLE_RATE) - len(waveform))
        waveform = np.pad(np.asarray(waveform), (0, missing))
        data["seconds"] = len(waveform) / SAMPLE_RATE
        data["audio"], data["peaks"] = _sound_data(waveform), _peaks(waveform)
    # A title that holds "</script>" must not end the script element
    data = json.dumps(data).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8")
    page = page.replace("\n__MANNEQUIN__\n", PAINTER.read_text(encoding="utf-8"), 1)
    return page.replace("= __DATA__;", f"= {data};", 1)


def _body_data(label, motion, strokes):
    """What the page is told of one motion: a dictionary of plain values.

    All bodies are shown equally tall, since files differ in their units.
    """
    body = dress(motion)
    points = body.points * TALL  # [F, P, 3] in metres
    # Centred, so that the 16 bits are spent on the body, not on its distance from the origin
    points = points - points.mean(axis=(0, 1))
    scale = max(float(np.abs(points).max()), 1e-6) / 32_000  # 16 bits: 0.1 mm within 3 m
    return dict(
        label=label,
        names=body.names,
        points=points.shape[1],
        parts=[_part_data(part) for part in body.parts],
        across=list(body.across),
        wrists=[-1 if wrist is None else wrist for wrist in body.wrists],
        root=body.root,
        scale=scale,
        fps=rate_of(motion.frame_time),
        frames=len(motion),
        strokes=[round(float(t), 3) for t in strokes],
        positions=_base64(np.round(points / scale).astype("<i2").tobytes()),
        bvh=_bvh_data(motion),
    )


def _bvh_data(motion):
    """The motion as BVH, compressed, as base64; None if no joint has channels to write."""
    if not any(motion.channels):
        return None
    return _base64(gzip.compress(bvh_text(motion).encode(), mtime=0))


def _part_data(part):
    """A Part as the page reads it: colour, sides, and for each ring [middle, across, sizes]."""

    def flat(weights):
        return [number for p, weight in weights for number in (p, round(float(weight), 5))]

    rings = []
    for middle, across, wide, deep in part.rings:
        sizes = (round(float(wide), 5), round(float(deep), 5))
        rings.append([flat(middle), flat(across) if across else 0, *sizes])
    return [part.colour, part.sides, rings]


def _sound_data(waveform):
    """The waveform [samples] in a data: URL: as MP3 where soundfile can write it, else as WAV.

    All browsers play MP3; Safari plays Opus in Ogg only since version 18.4. Its rate is constant:
    where it varies, browsers guess which byte belongs to a moment, and sound and motion part.
    """
    # What goes beyond 1, where 16 bits end, is made quieter, not cut
    waveform = waveform / max(1.0, np.abs(waveform).max())
    sound = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        settings = dict(format="MP3", bitrate_mode="CONSTANT", compression_level=MP3_LEVEL)
        soundfile.write(sound, waveform, SAMPLE_RATE, **settings)
        return "data:audio/mpeg;base64," + _base64(sound.getvalue())
    soundfile.write(sound, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + _base64(sound.getvalue())


def _peaks(waveform):
    """How loud each 10 ms are, a byte each, as base64; a quiet recording shows its shape too."""
    starts = np.arange(0, len(waveform), SAMPLE_RATE // 100)
    loudest = np.maximum.reduceat(np.abs(waveform), starts)
    loudest = loudest / max(loudest.max(), 0.01)  # silence stays flat
    return _base64(np.round(255 * loudest).astype(np.uint8).tobytes())


def _base64(content):
    return base64.b64encode(content).decode()


def write_page(path, title, motions, waveform=None, strokes=None, made=""):
    """Write player_page(...) into a file, which plays from disk."""
    with written_beside(path) as beside:
        page = player_page(title, motions, waveform, strokes, made)
        beside.write_text(page, encoding="utf-8")


class PageInNotebook:
    """player_page as the value of a notebook cell: same arguments, and `height` in pixels."""

    def __init__(self, title, motions, waveform=None, strokes=None, height=560):
        self.page = player_page(title, motions, waveform, strokes)
        self.height = height

    def __repr__(self):
        """What is shown where HTML cannot be."""
        return "the player page; run the cell to see it"

    def _repr_html_(self):
        """What Jupyter shows. A frame keeps the page's keys and styles from the notebook's."""
        style = f"width: 100%; height: {self.height}px; border: 0"
        return f'<iframe srcdoc="{html.escape(self.page)}" style="{style}"></iframe>'
