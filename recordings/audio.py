"""Sound files: any file that soundfile or ffmpeg reads -> 16 kHz mono float32.

In reading order: load_audio (the whole file), without_rumble (the high-pass filter that every
waveform goes through), load_audio_blocks (the same sound block by block, for recordings that need
not fit into memory), and the reading itself with everything that can be wrong with a sound file.
"""

import functools
import itertools
import math
from pathlib import Path

import numpy as np
import torch
import torchaudio

from recordings.containers import sound_parts
from recordings.parts import SpeechError, say_once
from tools import not_the_file

SAMPLE_RATE = 16_000  # what WavLM was trained on; enough for every formant of speech
CUT = 40  # Hz, of the high-pass filter
SETTLING = 1600  # samples (0.1 s) after which the filter's ringing is below 2e-8
SILENCE = 1e-4  # -80 dB: below the noise of any microphone
LEAST_RATE, MOST_RATE = 4000, 1_000_000  # Hz, of a file: a telephone has 8000, a studio 192,000
CANCELLED = 0.5  # the mix of channels that cancel has less than half the power of unlike ones


def load_audio(path):
    """Any speech file -> float32 tensor [samples], 16 kHz mono, high-pass filtered at 40 Hz.

    The content decides the format, not the ending: an MP3 that is called .wav is read as an MP3.
    Raises SpeechError if the file cannot be read, is damaged, or holds no sound.
    """
    # Mixed to mono block by block: as a whole, an hour of stereo at 48 kHz would take 1.4 GB
    waveforms = []
    for rate, blocks in itertools.groupby(_blocks(path), lambda block: block[0]):
        waveform = torch.from_numpy(np.concatenate([block for _, block in blocks]))
        if rate != SAMPLE_RATE:
            # resample() takes the sound to be 0 beyond both ends: with an offset that is a click
            waveform = waveform - waveform[0]
            waveform = torchaudio.functional.resample(waveform, rate, SAMPLE_RATE)
        waveforms.append(waveform)
    waveform = torch.cat(waveforms) if len(waveforms) > 1 else waveforms[0]
    done = 0
    # In place and a minute at a time, because the filter works in float64
    for block in without_rumble(waveform.split(60 * SAMPLE_RATE)):
        waveform[done : done + len(block)] = block
        done += len(block)
    return waveform  # [samples]


def without_rumble(blocks):
    """Blocks [n_i] of a waveform at 16 kHz -> the same blocks without what lies below 40 Hz.

    That is steps, wind, and the constant offset of a sound card. No speech is there, and the
    lowest mel band begins at 60 Hz. But a 25 ms window leaks such slow swings into the bands
    above, and they would count in the level of the recording.

    A second-order Butterworth high-pass. Each block is filtered together with the 0.1 s before
    it, so that the joined blocks are what one filter over the whole would give. The sound before
    the first sample is taken to be constant.
    """
    # R. Bristow-Johnson, "Cookbook formulae for audio EQ biquad filters", with Q = 1 / sqrt(2)
    angle = 2 * math.pi * CUT / SAMPLE_RATE
    cos, alpha = math.cos(angle), math.sin(angle) / math.sqrt(2)
    b = torch.tensor([(1 + cos) / 2, -1 - cos, (1 + cos) / 2], dtype=torch.float64) / (1 + alpha)
    a = torch.tensor([1 + alpha, -2 * cos, 1 - alpha], dtype=torch.float64) / (1 + alpha)
    before = None
    for block in blocks:
        if len(block):
            if before is None:
                before = block[:1].expand(SETTLING)
            joined = torch.cat([before, block])  # [SETTLING + n]
            before = joined[-SETTLING:]
            # In float64: 40 Hz is so far below the rate that float32 loses the filter's poles
            joined = torchaudio.functional.lfilter(joined.double(), a, b, clamp=False)
            block = joined[SETTLING:].float()  # [n]
        yield block


# ------------------------------------------------------------------------------------------------
# The same sound, block by block
# ------------------------------------------------------------------------------------------------
def load_audio_blocks(path, seconds=10):
    """load_audio without holding the recording: yields tensors [n] at 16 kHz.

    Joined, they are what load_audio gives. Faults of the file as a whole (silence, a missing end)
    are raised after the last block: walk through the file once, as recordings.level.loud_level_of
    does, before anything is made of it.
    """
    return without_rumble(_resampled_blocks(path, seconds))


def _resampled_blocks(path, seconds):
    """The file in pieces [n] at 16 kHz. A file of several parts may have several rates."""
    for rate, blocks in itertools.groupby(_blocks(path, seconds), lambda block: block[0]):
        blocks = (torch.from_numpy(block) for _, block in blocks)
        yield from blocks if rate == SAMPLE_RATE else _resampled(rate, blocks)


def _resampled(rate, blocks):
    """Pieces [n] of one rate -> pieces at 16 kHz. Joined, they are one resampling of the whole.

    The old and the new sampling grid meet every `step` old samples. A new sample depends on fewer
    than 20 old ones on each side, times the ratio if the rate falls. So consecutive pieces overlap
    by `context`, a multiple of `step`, and the part that lacks its context is cut off.
    """
    common = math.gcd(rate, SAMPLE_RATE)
    step, new_step = rate // common, SAMPLE_RATE // common
    context = step * math.ceil(20 * max(1, rate / SAMPLE_RATE) / step)
    held, offset, start = torch.zeros(0), None, 0
    for block in blocks:
        offset = block[0] if offset is None else offset  # as in load_audio
        held = torch.cat([held, block - offset])
        end = (len(held) - context) // step * step  # up to here all that counts is known
        if end <= context:
            continue
        resampled = torchaudio.functional.resample(held, rate, SAMPLE_RATE)
        yield resampled[start : end // step * new_step]
        held, start = held[end - context :], context // step * new_step
    yield torchaudio.functional.resample(held, rate, SAMPLE_RATE)[start:]


# ------------------------------------------------------------------------------------------------
# Reading, and what can be wrong with a file
# ------------------------------------------------------------------------------------------------
def _blocks(path, seconds=20):
    """Yield (rate, float32 [n]): mono, at the file's own rate. Raises SpeechError."""
    path = Path(path)
    _refuse_unreadable(path)
    state = path.stat()
    channel = _channel_to_hear(path, state.st_size, state.st_mtime_ns)
    read, loudest = 0, 0.0  # half the range: an offset is no sound
    for rate, block in file_blocks(path, seconds):  # [n, channels]
        _refuse_odd_rate(path, rate)
        block = block.mean(axis=1) if channel is None else block[:, channel]  # [n]
        _refuse_no_sound(path, block, read)
        read, loudest = read + len(block), max(loudest, float(np.ptp(block)) / 2)
        yield rate, block
    if read == 0:
        raise SpeechError(f"{path}: holds no sound (0 samples); export it again")
    if loudest < SILENCE:
        raise SpeechError(f"{path}: is silent from end to end; check the recording")


def file_blocks(path, seconds=20):
    """What is in the file: yield (rate, float32 [n, channels]). Raises SpeechError.

    A file of several parts may have several rates and numbers of channels.
    """
    try:
        parts = sound_parts(path)
    except OSError as error:  # its rights, or a failing disk
        raise SpeechError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    for part in parts:
        yield from part.blocks(seconds)


@functools.lru_cache(maxsize=4)
def _channel_to_hear(path, size, changed):
    """The one channel to be heard, where the mix of all is weak because they cancel each other.

    None: the mix. As if one microphone were wired the wrong way round, the channels of such a file
    are each other's negative, but for their noise and what a codec has left: the mix is that
    alone. Uncorrelated channels have a mix of 1 / channels of their power, equal ones all of it.

    size, changed   of the file, whose answer is kept
    """
    powers, mixes = [], []  # of stretches of 25 ms
    for rate, block in file_blocks(path, 5):  # [n, channels]
        _refuse_odd_rate(path, rate)
        if (channels := block.shape[1]) == 1:
            return None
        n = max(1, rate // 40)
        sound = np.ascontiguousarray(block[: len(block) // n * n].T)  # [channels, samples]
        powers.append(sound.reshape(channels, -1, n).var(axis=2).T)  # [stretches, channels]
        mixes.append(sound.mean(axis=0).reshape(-1, n).var(axis=1))  # [stretches]
    counts = {power.shape[1] for power in powers}
    if len(counts) != 1:  # nothing was there, or some parts have more channels than others
        return None
    power, mix = np.concatenate(powers), np.concatenate(mixes)  # [stretches, channels], [stretches]
    if not mix.sum() * power.shape[1] < CANCELLED * power.mean(axis=1).sum():
        return None
    # Where the noise is on one of them, the other has the deeper pauses
    pauses, speech = np.percentile(power, [10, 95], axis=0)  # [channels]
    channel = int(np.argmax(speech / (pauses + SILENCE**2)))
    say_once(
        f"{path}: its channels cancel each other, as if one were wired the wrong way round; "
        f"channel {channel + 1} alone is used"
    )
    return channel


def _refuse_unreadable(path):
    """SpeechError if there is no file of this name, or no sound in it by its size or rights."""
    if not path.exists():
        raise SpeechError(f"{path}: no such file; check the name")
    if not path.is_file():
        raise SpeechError(f"{path}: is not a file but a folder or device")
    if not_utf8(path):
        raise SpeechError(f"{path}: its name is not UTF-8, as from an old archive; rename it")
    if path.stat().st_size == 0:
        raise SpeechError(f"{path}: is empty (0 bytes); copy or export it again")
    try:
        instead = not_the_file(path)
    except OSError as error:  # its rights, or a failing disk
        raise SpeechError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    if instead:
        raise SpeechError(f"{path}: {instead}")


def _refuse_odd_rate(path, rate):
    """SpeechError for a rate that holds no speech, or whose resampling filter is far too large.

    The filter has old * new / gcd^2 numbers: 70,000 for 44100 Hz, 700 million for 44101 Hz. Of 20
    million numbers it takes 0.4 GB and 2 s to make.
    """
    if rate < LEAST_RATE:
        raise SpeechError(
            f"{path}: has {rate} samples a second, of which at least {LEAST_RATE} are needed for "
            "speech; if the number in the file is wrong, correct it, else record again"
        )
    if rate > MOST_RATE or rate * SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE) ** 2 > 2e7:
        raise SpeechError(
            f"{path}: has {rate} samples a second, which hardly anything has; convert it to 48000"
        )


def _refuse_no_sound(path, block, first):
    """SpeechError for numbers that are no sound: NaN, or beyond integers written as floats."""
    sound = np.abs(block) < 1e10  # false for NaN too
    if not sound.all():
        n = int(np.argmin(sound))
        raise SpeechError(
            f"{path}: sample {first + n} is {block[n]:g}, which is no sound; export it again"
        )


def not_utf8(path):
    """Does the path hold bytes that are no letters?

    Python keeps such bytes as lone surrogates, which no other program can write.
    """
    return any("\ud800" <= letter <= "\udfff" for letter in str(path))
