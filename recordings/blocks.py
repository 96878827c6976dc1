"""Mel and MFCC of speech that arrives in blocks, each motion frame as soon as it was heard.

Also for long recordings that are in memory: a minute at a time, the memory stays flat.
"""

import itertools

import torch

from recordings.audio import SAMPLE_RATE, SpeechError
from recordings.frames import frame_count, motion_frames
from recordings.wavlm_long import CONTEXT, PIECE, STRIDE


@torch.no_grad()
def features_in_blocks(features, blocks, level, samples=None):
    """features(waveform) for a waveform in blocks [n_i] of any lengths: yields [m, dim].

    features   SpeechFeatures for mel or mfcc
    level      a function that says how loud the loud parts are: loud_level_of the recording, or
               a RunningLevel's guess
    samples    the length of the recording; None: it ends when the blocks end

    Raises SpeechError for WavLM, which looks at speech that comes later.
    """
    if features.kind == "wavlm":
        ahead = (PIECE + CONTEXT) * STRIDE / SAMPLE_RATE
        raise SpeechError(
            "WavLM cannot be heard while it is spoken: its first layer needs the level of the "
            f"whole recording, and its attention looks {ahead:.1f} s ahead; train with "
            "--features mel or mfcc"
        )
    heard = 0

    def counted():
        nonlocal heard
        for block in blocks:
            heard += len(block)
            yield block

    def frames_heard():
        return frame_count(heard, features.fps)

    frames = frames_heard if samples is None else frame_count(samples, features.fps)
    rows = spectrum_in_blocks(features.spectrum, counted(), level)
    yield from motion_frames(rows, features.spectrum.RATE, 0.0, features.fps, frames)


def spectrum_in_blocks(spectrum, blocks, level):
    """Rows of a Spectrum for a waveform in blocks: yields [n, bands], 100 rows a second.

    A row is given out as soon as its window is complete. The sound is 0 beyond both ends.
    """
    size, hop = spectrum.SIZE, spectrum.HOP
    half = torch.zeros(size // 2)
    held = half
    for block in itertools.chain(blocks, [half]):
        held = torch.cat([held, block])
        rows = (len(held) - size) // hop + 1
        if rows > 0:
            yield spectrum.rows(held[: (rows - 1) * hop + size], level())  # [rows, bands]
            held = held[rows * hop :]
