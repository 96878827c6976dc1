"""The player page: one HTML file that plays motions with their sound in a browser, offline.

player.html is the template; player_page puts the motions and the sound into it as one JSON object.
"""

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
import soundfile

from body.joints import shown_points, side_and_stem
from body.motion import rate_of
from recordings.audio import SAMPLE_RATE
from tools import written_beside

TEMPLATE = Path(__file__).with_name("player.html")


def player_page(title, motions, waveform=None, strokes=None):
    """A page that plays motions side by side with the sound -> str, a whole HTML file.

    motions: {label: Motion}, of any lengths, frame rates and units; waveform: [samples] at 16 kHz,
    or None for silence; strokes: {label: seconds [n]}, marked on the waveform, or None.
    """
    first, strokes, bodies = next(iter(motions.values())), strokes or {}, []
    for label, motion in motions.items():
        height = (first if _same_skeleton(motion, first) else motion).body_height()
        bodies.append(_body_data(label, motion, height, strokes.get(label, ())))
    audio = None
    if waveform is not None:
        seconds = max(len(motion) * motion.frame_time for motion in motions.values())
        audio = _sound_data(waveform, seconds)
    data = json.dumps(dict(title=title, bodies=bodies, audio=audio))
    # A title that holds "</script>" must not end the script element
    data = data.replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", data, 1)


def _same_skeleton(motion, other):
    """Have both the same joints, with offsets that differ by less than a hundredth?"""
    if list(motion.names) != list(other.names):
        return False
    return np.allclose(
        motion.offsets[1:], other.offsets[1:], rtol=0.01, atol=0.01 * np.abs(other.offsets).max()
    )


def _body_data(label, motion, height, strokes):
    """What the page is told of one motion: a dictionary of plain values.

    height: the body's height in the motion's unit. All bodies are shown 1.7 m tall, since files
    differ in their units. The height that is measured includes raised hands. So motions of one
    skeleton are given the same height, or one that gestures high would be drawn small.
    """
    points, parents = shown_points(motion)  # [F, joints + ends, 3]
    # Centred, so that the 16 bits are spent on the body, not on its distance from the origin
    points = (points - points.mean(axis=(0, 1))) * 1.7 / max(height, 1e-6)
    scale = max(float(np.abs(points).max()), 1e-6) / 32_000  # 16 bits: 0.1 mm within 3 m
    names, sides = list(motion.names) + [""] * len(motion.end_sites), []
    for name, parent in zip(names, parents):
        # An End Site has no name of its own: it is on the side of its parent
        sides.append(side_and_stem(name)[0] if name or parent < 0 else sides[parent])
    positions = np.round(points / scale).astype("<i2").tobytes()
    return dict(
        label=label,
        parents=parents.tolist(),
        names=names,
        sides=sides,
        scale=scale,
        fps=rate_of(motion.frame_time),
        frames=len(motion),
        strokes=[round(float(t), 3) for t in strokes],
        positions=base64.b64encode(positions).decode(),
    )


def _sound_data(waveform, seconds):
    """The waveform [samples] as a WAV of 16 bits in a data: URL, at least `seconds` long.

    The sound is the page's clock, so silence is added where the motion is longer.
    """
    missing = max(0, round(seconds * SAMPLE_RATE) - len(waveform))
    waveform = np.pad(np.asarray(waveform), (0, missing))
    # A WAV of floats may go beyond 1, where 16 bits end: made quieter, not cut
    waveform = waveform / max(1.0, np.abs(waveform).max())
    wav = io.BytesIO()
    soundfile.write(wav, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(wav.getvalue()).decode()


def write_page(path, title, motions, waveform=None, strokes=None):
    """Write player_page(...) into a file, which plays from disk."""
    with written_beside(path) as beside:
        beside.write_text(player_page(title, motions, waveform, strokes), encoding="utf-8")


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
