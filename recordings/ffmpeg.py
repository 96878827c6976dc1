"""The sound of phones and films, through ffmpeg where it is on the PATH: M4A, MP4, MOV, WebM, ...

ffmpeg is a program of its own, which is not installed with this project.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recordings.parts import SpeechError

RATE, CHANNELS = 16_000, 2
ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # of MP4 and QuickTime
HEADS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # WMA, WMV
    b"#!AMR",
    b"FLV\x01",
    b"\x00\x00\x01\xba",  # MPEG
    b"OggS",  # with film, or with Speex
    b"MAC ",
    b"wvpk",
    b"ADIF",
)
# What ffmpeg says, and goes on, where a file breaks off
BROKEN = ("partial file", "truncat", "premature", "invalid data", "end of file", "error")


def is_film(head):
    """Do these bytes begin a file of a phone or a film, which soundfile cannot read?"""
    if head[4:8] in ATOMS or head.startswith(HEADS):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return True
    # AAC without a container: the head of a frame, of one of 13 rates
    sync = head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")
    return sync and len(head) > 2 and head[2] >> 2 & 15 < 13


@dataclass(frozen=True)
class Film:
    """A file whose sound ffmpeg decodes. Its first sound track is taken."""

    path: Path

    def blocks(self, seconds):
        """Yield (rate, float32 [n, 2]), n for at most so many seconds. SpeechError."""
        if shutil.which("ffmpeg") is None:
            raise SpeechError(
                f"{self.path}: is a sound or film that only ffmpeg reads; install ffmpeg, or "
                "convert it to WAV"
            )
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(self.path.absolute())]
        command += ["-map", "0:a:0", "-ar", str(RATE), "-ac", str(CHANNELS), "-f", "f32le", "-"]
        size, read = 4 * CHANNELS * max(1, int(RATE * seconds)), 0
        with tempfile.TemporaryFile() as said:
            streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
            process = subprocess.Popen(command, **streams)
            try:
                while data := process.stdout.read(size):
                    data = data[: len(data) // (4 * CHANNELS) * 4 * CHANNELS]
                    block = np.frombuffer(data, "<f4").reshape(-1, CHANNELS)  # [n, 2]
                    read += len(block)
                    yield RATE, block
                status = process.wait()
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
            said.seek(0)
            lines = said.read(10_000).decode(errors="replace").strip().splitlines()
        self._refuse_broken(status, lines, read / RATE)

    def _refuse_broken(self, status, lines, seconds):
        """SpeechError if ffmpeg has failed, or has said that something is missing."""
        broken = [line for line in lines if any(word in line.lower() for word in BROKEN)]
        if status or broken:
            why = (broken or lines or ["no reason given"])[-1]
            raise SpeechError(
                f"{self.path}: ffmpeg read {seconds:.1f} s of it and then failed ({why}); copy it "
                "again, or convert it to WAV"
            )
