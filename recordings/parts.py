"""The parts of a file that hold sound: bytes of the file, as a file that soundfile can read.

A Part is a list of byte strings and of ranges of the real file. So a header can be put right
without a copy of the sound behind it.
"""

import functools
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm import tqdm

from tools import InputError, shown

AT_ONCE = 2**22  # numbers of a file that are read at once, of all its channels: 16 MB
BEHIND = 2**17  # bytes: a picture of a title, and what decoders read ahead


class SpeechError(InputError):
    """A speech file or a speech model cannot be used."""


@functools.cache
def say_once(line):
    """One line on standard error, however often a file is read."""
    tqdm.write(shown(line), file=sys.stderr)


@dataclass(frozen=True)
class Part:
    """A stretch of a file that one decoder reads from its begin to its end.

    pieces   bytes, and ranges (start, stop) of the file
    frames   how many samples a channel there must be. None: as many as soundfile says that there
             are; 0: nobody knows
    or_else  what is read where these pieces turn out to hold more than sound
    """

    path: Path
    pieces: tuple
    frames: int | None = None
    or_else: "Part | None" = None

    def blocks(self, seconds):
        """Yield (rate, float32 [n, channels]), n for at most so many seconds. SpeechError."""
        read = 0
        try:
            for rate, block in self._decoded(seconds):
                read += len(block)
                yield rate, block
        except SpeechError:
            if self.or_else is None:
                raise
            for rate, block in self.or_else._decoded(seconds, BEHIND):
                known = min(read, len(block))
                read -= known
                if known < len(block):
                    yield rate, block[known:]

    def _decoded(self, seconds, behind=None):
        """blocks, of these pieces. behind: how many bytes need not be looked at by the decoder."""
        read, rate = 0, None
        try:
            with (
                open(self.path, "rb") as file,
                Spliced(file, self.pieces) as source,
                Straight(source) as sound,
            ):
                rate, frames = sound.samplerate, self.frames
                if frames is None:
                    # One block may be missing: encoders do not agree on how they count the first
                    frames = max(0, sound.frames - 1200)
                size = max(1, min(int(rate * seconds), AT_ONCE // sound.channels))
                # Not sound.blocks(): where the file is cut off, soundfile 0.14 fills up the last
                # block with whatever is in memory
                # Not more than there are: behind them, a FLAC's decoder would look for a frame
                while left := min(size, sound.frames - read):
                    block = sound.read(left, dtype="float32", always_2d=True)
                    if not len(block):
                        break
                    read += len(block)
                    yield rate, block
                left = source.size - source.at
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if rate:
                what = f"breaks off, or is damaged, {read / rate:.1f} s or more after its begin"
                raise SpeechError(f"{self.path}: {what}; copy it again") from None
            reason = str(error).split(": ")[-1].strip().rstrip(".")
            raise SpeechError(
                f"{self.path}: is no audio file that can be read ({reason}); convert it to WAV"
            ) from None
        if read < frames < 2**62:
            raise SpeechError(
                f"{self.path}: breaks off after {read / rate:.1f} of {frames / rate:.1f} s; "
                "copy it again"
            )
        if behind is not None and left > behind:
            raise SpeechError(
                f"{self.path}: something else stands behind its {read / rate:.1f} s of sound, or "
                "it is damaged there; convert it to WAV"
            )


class Straight(soundfile.SoundFile):
    """A SoundFile that is read from its begin to its end.

    By itself soundfile seeks after every block, which fails in a FLAC that does not know its
    length.
    """

    def seekable(self):
        """No."""
        return False


class Spliced(io.RawIOBase):
    """Pieces of a file and other bytes, one behind the other, as a file that can be read."""

    def __init__(self, file, pieces):
        self.file, self.at, self.pieces, start = file, 0, [], 0
        for piece in pieces:
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            self.pieces.append((start, start + size, piece))
            start += size
        self.size = start

    def readable(self):
        """Yes."""
        return True

    def seekable(self):
        """Yes, unlike what is decoded from it."""
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        """As of any file."""
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at}.get(whence, self.size))
        return self.at

    def tell(self):
        """As of any file."""
        return self.at

    def readinto(self, buffer):
        """Fill the buffer, but for the end of the file -> number of bytes."""
        done, wanted = 0, len(buffer)
        for start, stop, piece in self.pieces:
            if start <= self.at < stop and done < wanted:
                inside, size = self.at - start, min(stop - self.at, wanted - done)
                if isinstance(piece, bytes):
                    data = piece[inside : inside + size]
                else:
                    self.file.seek(piece[0] + inside)
                    data = self.file.read(size)
                buffer[done : done + len(data)] = data
                done, self.at = done + len(data), self.at + len(data)
        return done
