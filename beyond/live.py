"""Motion that is written while it is made: for recordings of any length, and for live speech.

    python sample.py --stream lecture.wav
    arecord -q -t raw -f S16_LE -r 16000 -c 1 | python sample.py --live

How late is a frame? It waits for the speech that it hears ahead (0.8 s), for the spectrum's window
(0.02 s), for the rest of its chunk and for the computing. `from_pipe` says what it really was.
"""

import io
import itertools
import sys
import time
from collections import deque

import numpy as np
import torch
from tqdm import tqdm

from beyond.stream import motions, segment_of
from body.bvh import BvhStream
from recordings.audio import SAMPLE_RATE, SpeechError, load_audio, load_audio_blocks, without_rumble
from recordings.blocks import features_in_blocks
from recordings.ffmpeg import ATOMS, HEADS
from recordings.level import RunningLevel, loud_level_of
from recordings.streams import is_mp3
from tools import shown

# Frames made at once: 10 s. Smaller chunks cost more a frame, larger ones memory
STREAM_CHUNK = 200
# The same where somebody waits: 0.5 s. They see no farther ahead, so the motion is a little worse:
# beat F1 0.990, not 0.994 (an earlier model)
LIVE_CHUNK = 10
PIPE_BLOCK = 800  # samples read at once: 50 ms, a frame
PIPE_HOLDS = 2.0  # seconds: 64 KB, of Linux and macOS. What comes then, the recorder must hold
# How files of sound begin: their bytes would pass for loud noise
# fmt: off
FILE_HEADS = (
    b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff\x2e\x91", b"OggS", b"fLaC", b"ID3", b"FORM", b"caff",
    b".snd", b"dns.", b"NIST_1A", *HEADS,
)
# fmt: on


def whole_segments(frames, model):
    """So many frames, rounded up to whole segments; fewer than one stay as they are."""
    segment = segment_of(model)
    return frames if frames < segment else -(-frames // segment) * segment


def from_file(generator, name, path, chunk=None, **settings):
    """--stream: speech file `name` -> a BVH file at `path` that grows, in constant memory.

    The file is read twice: once for the level of its loud parts and for what may be wrong with it,
    once to be gestured to. For WavLM the waveform stays in memory: 230 MB an hour.
    """
    chunk = chunk or whole_segments(STREAM_CHUNK, generator.model)
    begun, features = time.perf_counter(), generator.features
    if features.kind == "wavlm":
        waveform = load_audio(name)
        samples, pieces = len(waveform), features.pieces(waveform)
    else:
        level, samples = loud_level_of(load_audio_blocks(name))
        pieces = features_in_blocks(features, load_audio_blocks(name), lambda: level, samples)
    seconds = samples / SAMPLE_RATE
    bar = tqdm(desc=shown(name.name), total=int(seconds), unit=" s of speech", disable=None)
    with BvhStream(path) as bvh:
        for motion in motions(generator, pieces, chunk, **settings):
            bvh.append(motion)
            bar.update(round(bvh.frames * motion.frame_time) - bar.n)
    bar.close()
    times = seconds / (time.perf_counter() - begun)
    print(
        f"{shown(name)}: {seconds:.1f} s of speech, {bvh.frames} frames, "
        f"{times:.1f} times as fast as it was spoken -> {shown(path)}"
    )


def from_pipe(generator, pipe, bvh, chunk=None, **settings):
    """--live: raw 16 kHz 16-bit little-endian mono PCM -> frames, appended to the BvhStream `bvh`.

    Nobody knows how loud the recording will be: RunningLevel guesses from what was heard so far.
    """
    chunk = chunk or whole_segments(LIVE_CHUNK, generator.model)
    arrivals, level, waits = deque(), RunningLevel(), []  # arrivals: (samples so far, when)
    held = [0.0]
    sound = without_rumble(blocks_of(pipe, arrivals, held))
    first = next(sound, None)
    if first is None:
        what = "pipe raw 16 kHz 16-bit mono PCM into --live"
        raise SpeechError(f"standard input: no sound came; {what}")
    heard = level.hear(itertools.chain([first], sound))
    pieces = features_in_blocks(generator.features, heard, level)
    try:
        for motion in motions(generator, pieces, chunk, **settings):
            # When the chunk's first frame, which waits longest, was complete
            spoken = (bvh.frames + 1) * motion.frame_time * SAMPLE_RATE
            bvh.append(motion)
            while len(arrivals) > 1 and arrivals[0][0] < spoken:
                arrivals.popleft()
            waits.append(time.perf_counter() - arrivals[0][1])
    except KeyboardInterrupt:  # how a recording ends; all whole chunks are there
        pass
    if held[0] > 0.1:
        sys.stderr.write(
            f"the source had to wait, {held[0]:.1f} s at the longest, and may have lost sound: "
            "this machine is too slow or too busy; take fewer --steps or a larger --chunk\n"
        )
    if waits:
        where = f" -> {shown(bvh.path)}" if bvh.path else ""
        sys.stderr.write(
            f"{bvh.frames} frames{where}; the first frame of a chunk was written "
            f"{np.mean(waits):.2f} s after it was spoken, at most {max(waits):.2f} s\n"
        )


def main(args, generator, how):
    """--live: standard input -> OUT/live.bvh, the next time live-2.bvh; or to standard output.

    Nobody can play the same again, so nothing is replaced, also not what another run has written
    while this one waited for sound.
    """
    pipe, settings = sys.stdin.buffer, dict(chunk=args.chunk, seed=args.seed) | how
    if str(args.out) == "-":
        return from_pipe(generator, pipe, BvhStream(out=sys.stdout.buffer), **settings)

    more = (args.out / f"live-{n}.bvh" for n in itertools.count(2))
    with BvhStream(itertools.chain([args.out / "live.bvh"], more)) as bvh:
        return from_pipe(generator, pipe, bvh, **settings)


def from_files(generator, names, args, stem_of, refuse, failed, how):
    """--stream for each of the files; one that fails is said, and the others are still done."""
    taken = set()
    for name in names:
        stem = stem_of(name, taken)
        path = args.out / f"{stem}.bvh"
        try:
            from_file(generator, name, path, chunk=args.chunk, seed=args.seed, **how)
        except (SpeechError, OSError) as error:
            refuse(error, failed)
        else:
            taken.add(stem.casefold())


def blocks_of(pipe, arrivals, held=None):
    """Read PCM from a pipe -> blocks [n] of a waveform.

    arrivals   gets (samples so far, when)
    held       a list of one number: the seconds that the other side had to wait at the longest.
               Taken that it speaks at the usual speed: since the pipe was last empty, so much more
               has passed than was read and than the pipe holds
    """
    samples, empty, held = 0, (0, time.perf_counter()), [0.0] if held is None else held
    while True:
        asked = time.perf_counter()
        data = pipe.read(2 * PIPE_BLOCK)
        now = time.perf_counter()
        if len(data) < 2:
            return
        if samples == 0 and is_sound_file(data):
            how = "ffmpeg -i - -f s16le -ar 16000 -ac 1 -"
            raise SpeechError(f"standard input: is a sound file, not raw PCM; put before it: {how}")
        samples += len(data) // 2
        if now - asked > 0.005:
            empty = samples, now
        late = now - empty[1] - (samples - empty[0]) / SAMPLE_RATE
        held[0] = max(held[0], late - PIPE_HOLDS)
        arrivals.append((samples, now))
        numbers = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32)
        yield torch.from_numpy(numbers / 2**15)


def is_sound_file(data):
    """Are these the first bytes of a file with a head, instead of PCM?"""
    return (
        data.startswith(FILE_HEADS) or data[4:8] in ATOMS or is_mp3(io.BytesIO(data), 0, len(data))
    )
