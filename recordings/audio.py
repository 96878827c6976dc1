"""Sound files: any file that soundfile reads -> 16 kHz mono float32.

In reading order: load_audio (the whole file), without_rumble (the high-pass filter that every
waveform goes through), load_audio_blocks (the same sound block by block, for recordings that need
not fit into memory), and the reading itself with everything that can be wrong with a sound file.
"""

import math
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from tools import InputError

SAMPLE_RATE = 16_000  # what WavLM was trained on; enough for every formant of speech
CUT = 40  # Hz, of the high-pass filter
SETTLING = 1600  # samples (0.1 s) after which the filter's ringing is below 2e-8
SILENCE = 1e-4  # -80 dB: below the noise of any microphone
LEAST_RATE, MOST_RATE = 4000, 1_000_000  # Hz, of a file: a telephone has 8000, a studio 192,000
AT_ONCE = 2**22  # numbers of a file that are read at once, of all its channels: 16 MB


class SpeechError(InputError):
    """A speech file or a speech model cannot be used."""


def load_audio(path):
    """Any speech file -> float32 tensor [samples], 16 kHz mono, high-pass filtered at 40 Hz.

    The content decides the format, not the ending: an MP3 that is called .wav is read as an MP3.
    Raises SpeechError if the file cannot be read, is damaged, or holds no sound.
    """
    # Mixed to mono block by block: as a whole, an hour of stereo at 48 kHz would take 1.4 GB
    rates, blocks = zip(*_blocks(path))
    rate, waveform = rates[0], torch.from_numpy(np.concatenate(blocks))
    if rate != SAMPLE_RATE:
        # resample() takes the sound to be 0 beyond both ends: with an offset that is a click
        waveform = waveform - waveform[0]
        waveform = torchaudio.functional.resample(waveform, rate, SAMPLE_RATE)
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
    """The file in pieces [n] at 16 kHz. Joined, they are one resampling of the whole file.

    The old and the new sampling grid meet every `step` old samples. A new sample depends on fewer
    than 20 old ones on each side, times the ratio if the rate falls. So consecutive pieces overlap
    by `context`, a multiple of `step`, and the part that lacks its context is cut off.
    """
    held, context, step, new_step, offset, start = None, 0, 1, 1, 0.0, 0
    for rate, block in _blocks(path, seconds):
        if rate == SAMPLE_RATE:
            yield torch.from_numpy(block)
            continue
        if held is None:
            common = math.gcd(rate, SAMPLE_RATE)
            step, new_step = rate // common, SAMPLE_RATE // common
            context = step * math.ceil(20 * max(1, rate / SAMPLE_RATE) / step)
            held, offset = torch.zeros(0), block[0]
        held = torch.cat([held, torch.from_numpy(block - offset)])  # the offset as in load_audio
        end = (len(held) - context) // step * step  # up to here all that counts is known
        if end <= context:
            continue
        resampled = torchaudio.functional.resample(held, rate, SAMPLE_RATE)
        yield resampled[start : end // step * new_step]
        held, start = held[end - context :], context // step * new_step
    if held is not None:
        yield torchaudio.functional.resample(held, rate, SAMPLE_RATE)[start:]


# ------------------------------------------------------------------------------------------------
# Reading, and what can be wrong with a file
# ------------------------------------------------------------------------------------------------
def _blocks(path, seconds=20):
    """Yield (rate, float32 [n]): mono, at the file's own rate. Raises SpeechError."""
    path = Path(path)
    _refuse_unreadable(path)
    read, loudest, loudest_channel = 0, 0.0, 0.0  # half the range: an offset is no sound
    try:
        with soundfile.SoundFile(path) as file:
            rate, declared = file.samplerate, file.frames
            _refuse_odd_rate(path, rate)
            # Without its tag the length of an MP3 is a guess, which may be ten times too long
            known = file.format in ("WAV", "FLAC") or (file.format == "MP3" and tagged(path))
            # Not file.blocks(): where the file is cut off, soundfile 0.14 fills up the last block
            # with whatever is in memory
            size = max(1, min(int(rate * seconds), AT_ONCE // file.channels))
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                loudest_channel = max(loudest_channel, float(np.ptp(block, axis=0).max()) / 2)
                block = block.mean(axis=1)  # [n]
                _refuse_no_sound(path, block, read)
                read, loudest = read + len(block), max(loudest, float(np.ptp(block)) / 2)
                yield rate, block
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).split(": ")[-1].strip().rstrip(".")
        raise SpeechError(
            f"{path}: is no audio file that can be read ({reason}); convert it to WAV"
        ) from None
    if read == 0:
        raise SpeechError(f"{path}: holds no sound (0 samples); export it again")
    if known and read < declared < 2**62:
        raise SpeechError(
            f"{path}: breaks off after {read / rate:.1f} of {declared / rate:.1f} s; copy it again"
        )
    if loudest < SILENCE <= loudest_channel:
        raise SpeechError(
            f"{path}: its channels cancel each other, as if one were wired the wrong way round; "
            "keep one of them"
        )
    if loudest < SILENCE:
        raise SpeechError(f"{path}: is silent from end to end; check the recording")


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
        _refuse_cut_wav(path)
    except OSError as error:  # its rights, or a failing disk
        raise SpeechError(f"{path}: cannot be read ({error.strerror}); check its rights") from None


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


def tagged(path):
    """Does an MP3 hold the tag in which encoders write its length, "Xing" or "Info"?

    It is in the first audio frame, after the ID3 header with titles and pictures.
    """
    with open(path, "rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3":  # the last 4 of its 10 bytes are the length, 7 bits in each
            start = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
        file.seek(start)
        first = file.read(2000)
    return b"Xing" in first or b"Info" in first


def _refuse_cut_wav(path):
    """SpeechError for a WAV whose data is shorter than its header says; decoders ignore that."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        end, second = path.stat().st_size, 0
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"fmt ":
                second = int.from_bytes(file.read(12)[8:], "little")  # bytes a second
                file.seek(-12, 1)
            if chunk[:4] == b"data":
                missing = file.tell() + size - end
                # A recorder that wrote to a pipe could not know the length: 0, 0xFFFFFFFF and so
                # on. Less than 0.1 s too much: a recorder that counted its own header
                if 0 < size < 0x7FFFF000 and missing > second / 10:
                    raise SpeechError(
                        f"{path}: breaks off, {missing} of its {size} bytes of sound are missing; "
                        "copy it again"
                    )
                return
            file.seek(size + size % 2, 1)
