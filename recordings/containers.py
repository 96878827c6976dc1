"""What a sound file is by its content, and where in it the sound is: sound_parts.

WAV, RF64, W64, AIFF, AU and CAF hold a few numbers about the sound, and then the sound. Programs
that wrote to a pipe, were killed, or counted with 32 bits left wrong sizes there; and a file that
breaks off says more than it holds. Decoders believe the smaller number and say nothing. Here what
breaks off is an error, and everything that is there is read.
"""

import struct
from collections import namedtuple

from recordings.ffmpeg import Film, is_film
from recordings.parts import Part, SpeechError, say_once
from recordings.streams import (
    after_tags,
    bytes_at,
    flac_parts,
    is_mp3,
    mp3_parts,
    ogg_parts,
)

# How the chunks of a file are written: bytes of a name and of a size, how to read the size,
# whether it counts name and size too, and what chunks begin at a multiple of
Chunks = namedtuple("Chunks", "name size how counts_head align")
LITTLE, BIG = Chunks(4, 4, "<I", False, 2), Chunks(4, 4, ">I", False, 2)
W64, CAF = Chunks(16, 8, "<Q", True, 8), Chunks(4, 8, ">Q", False, 1)
W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
SURE = 4  # so many heads of MPEG frames do not stand one behind the other by chance
# Chunks that stand behind the sound. Of other names, a whole row of chunks must fit the file
BEHIND = (
    b"LIST id3  ID3  bext iXML cue  smpl JUNK PAD  fact PEAK inst plst cart FLLR acid DISP axml "
)
BEHIND += b"MARK NAME AUTH ANNO COMT INST APPL info pakt edct free"


def sound_parts(path):
    """Where the sound of a file is -> Parts, in order. SpeechError for what breaks off.

    Of formats in which it cannot be seen whether they are whole, MP3 without a tag alone is read.
    """
    parts = ()
    with open(path, "rb") as file:
        at, stop = 0, path.stat().st_size
        while at < stop:
            begin = after_tags(file, at, stop)
            read = reader_of(file, begin, stop)
            if read is None and at < begin:  # a tag whose size is wrong
                read = mp3_parts
            if read is None:
                break
            found, at = read(file, path, begin, stop)
            parts += tuple(found)
            at = max(at, begin + 1)
    if not parts:
        raise SpeechError(
            f"{path}: is no audio file that can be read (unknown format); convert it to WAV"
        )
    return parts


def reader_of(file, at, stop):
    """The function that reads what begins here, by its content, or None."""
    head = bytes_at(file, at, 64)
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX") and head[8:12] == b"WAVE":
        return wav_parts
    if head[:16] == W64_RIFF:
        return w64_parts
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return aiff_parts
    if head[:4] in (b".snd", b"dns."):
        return au_parts
    if head[:4] == b"caff":
        return caf_parts
    if head[:4] == b"OggS":
        known = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC")
        return ogg_parts if any(name in head for name in known) else film_parts
    if head[:4] == b"fLaC":
        return flac_parts
    if head[:8] == b"NIST_1A\n":
        return nist_parts
    if is_film(head):
        return film_parts
    return mp3_parts if is_mp3(file, at, stop, SURE) else None


def film_parts(file, path, at, stop):
    """A file for ffmpeg, which is given all of it."""
    return (Film(path),), stop


# ------------------------------------------------------------------------------------------------
# Chunks
# ------------------------------------------------------------------------------------------------
def chunks(file, at, stop, form):
    """Yield (name, begin of what is in it, size by its head) of chunk after chunk."""
    head = form.name + form.size
    while at + head <= stop:
        name = bytes_at(file, at, form.name)
        if not all(32 <= letter < 127 for letter in name[:4]):
            return
        (size,) = struct.unpack(form.how, bytes_at(file, at + form.name, form.size))
        size = max(0, size - head) if form.counts_head else size
        yield name, at + head, size
        at = next_chunk(file, at + head + size, stop, form)


def next_chunk(file, at, stop, form):
    """Where the next chunk begins, at or behind the end of one. Some programs do not pad."""
    padded = at + -at % form.align
    if padded != at and padded < stop and not bytes_at(file, padded, 4).strip().isalnum():
        if bytes_at(file, at, 4).strip().isalnum():
            return at
    return padded


def other_file(file, at, stop):
    """Where another file begins, here or behind a few bytes of padding; or None."""
    for begin in range(at, min(at + 8, stop)):
        if reader_of(file, begin, stop):
            return begin
    return None


def is_rest(file, at, stop, form):
    """Is what stands here something else than sound: chunks, another file, tags, padding?"""
    if stop - at <= 8 or other_file(file, at, stop) or after_tags(file, at, stop) > at:
        return True
    if not bytes_at(file, at, min(stop - at, 2**20)).strip(b"\0"):
        return True
    at = next_chunk(file, at, stop, form) if form else at
    end, known = at, False
    for name, begin, size in chunks(file, at, stop, form) if form else ():
        known = known or name[:4] in BEHIND
        end = begin + size
    return known or (at < end and abs(stop - end) <= 8)


def is_unknown(size, bits=32):
    """Is this what programs write that cannot know a size: nothing, or as much as there can be?"""
    if bits == 64:
        return size == 0 or size >= 2**62
    ranges = ((0, 0), (0x7EFFFF00, 0x7F001000), (0x7FFFF000, 0x80001000), (0xFFFFF000, 2**32))
    return any(low <= size <= high for low, high in ranges)


def sound_end(file, path, at, stop, size, form, unknown):
    """Where the sound that begins at `at` ends, if its head says that it has `size` bytes.

    SpeechError if there are fewer, a line if there are more.
    """
    there = stop - at
    if unknown:
        return at if size == 0 and there and is_rest(file, at, stop, form) else stop
    if size - there > min(at, 256):  # a recorder may have counted its own header
        raise SpeechError(
            f"{path}: breaks off, {size - there} of its {size} bytes of sound are missing; "
            "copy it again"
        )
    if size >= there or is_rest(file, at + size, stop, form):
        return min(stop, at + size)
    say_once(
        f"{path}: its header counts {100 * size / there:.1f}% of the sound that is there, as that "
        "of a recorder that was stopped; all of it is read"
    )
    return stop


def _no_sound(path):
    return SpeechError(f"{path}: breaks off before its sound begins; copy it again")


# ------------------------------------------------------------------------------------------------
# The containers. Each function: (file, path, at, stop) -> (Parts, where they end)
# ------------------------------------------------------------------------------------------------
def wav_parts(file, path, at, stop):
    """RIFF, its big-endian twin RIFX, and RF64 for more than 4 GB."""
    big = bytes_at(file, at, 4) == b"RIFX"
    return _wav_parts(file, path, at + 12, stop, BIG if big else LITTLE)


def w64_parts(file, path, at, stop):
    """Sony's W64: as WAV, with 64-bit sizes."""
    return _wav_parts(file, path, at + 40, stop, W64)


def _wav_parts(file, path, at, stop, form):
    about = long = None
    for name, begin, size in chunks(file, at, stop, form):
        if name[:4] == b"ds64":
            (long,) = struct.unpack("<Q", bytes_at(file, begin + 8, 8).ljust(8, b"\0"))
        elif name[:4] == b"fmt ":
            about = bytes_at(file, begin, min(size, 4096))
        elif name[:4] == b"data":
            break
    else:
        raise _no_sound(path)
    if about is None or len(about) < 16:
        raise SpeechError(f"{path}: does not say what its sound is (no fmt chunk); export it again")
    unknown = is_unknown(size, 64 if form is W64 else 32)
    if long is not None and size >= 0xFFFFFFFF:
        size, unknown = long, is_unknown(long, 64) or is_unknown(long)
    order = ">" if form is BIG else "<"
    (kind,) = struct.unpack(order + "H", about[:2])
    if kind == 0xFFFE and len(about) >= 26:  # the kind is behind, in 16 bytes
        (kind,) = struct.unpack(order + "H", about[24:26])
    end = sound_end(file, path, begin, stop, size, form, unknown)
    inside = reader_of(file, begin, end) or (mp3_parts if kind in (0x50, 0x55) else None)
    if inside in (mp3_parts, ogg_parts, flac_parts):
        parts = inside(file, path, begin, end)[0]
    elif kind in SOUNDFILE_READS:
        parts = (Part(path, (_wav_head(about, end - begin, order), (begin, end))),)
    else:
        parts = (Film(path),)
    return parts, _behind(file, end, stop, form)


# PCM, ADPCM, float, A-law, mu-law, IMA, G.723, GSM, G.721, NMS
SOUNDFILE_READS = (1, 2, 3, 6, 7, 0x11, 0x14, 0x31, 0x38, 0x40)


def _wav_head(about, size, order):
    """The head of a WAV: what its fmt chunk says, and the true size."""
    about += b"\0" * (len(about) % 2)
    fmt = b"fmt " + struct.pack(order + "I", len(about)) + about
    if size >= 2**32 - 4096:
        long = struct.pack("<QQQI", size + len(fmt) + 48, size, 0, 0)
        head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", len(long)) + long
        return head + fmt + b"data\xff\xff\xff\xff"
    head = (b"RIFX" if order == ">" else b"RIFF") + struct.pack(order + "I", size + len(fmt) + 12)
    return head + b"WAVE" + fmt + b"data" + struct.pack(order + "I", size)


def _behind(file, at, stop, form):
    """Where another file begins behind this one's chunks, or `stop`."""
    while at < stop and (begin := other_file(file, at, stop)) is None:
        following = next(chunks(file, next_chunk(file, at, stop, form), stop, form), None)
        if following is None:
            return stop
        at = following[1] + following[2]
    return begin if at < stop else stop


PLAIN = b"NONE sowt twos raw  in24 in32 42ni 23ni fl32 FL32 fl64 FL64 alaw ALAW ulaw ULAW"


def aiff_parts(file, path, at, stop):
    """AIFF, and AIFF-C with its many kinds of numbers."""
    kind, about, sound, rest = bytes_at(file, at + 8, 4), None, None, stop
    for name, begin, size in chunks(file, at + 12, stop, BIG):
        if name == b"FORM":
            break
        if name == b"COMM":
            about = bytes_at(file, begin, min(size, 4096))
        elif name == b"SSND":
            skip = int.from_bytes(bytes_at(file, begin, 4), "big")
            begin, size = begin + 8 + skip, max(0, size - 8 - skip)
            unknown = is_unknown(size) or is_unknown(size + 8)
            sound = begin, sound_end(file, path, begin, stop, size, BIG, unknown)
            rest = _behind(file, sound[1], stop, BIG)
            if sound[1] != begin + size:
                break
    if sound is None or sound[0] > stop:
        raise _no_sound(path)
    if about is None or len(about) < 18:
        raise SpeechError(
            f"{path}: does not say what its sound is (no COMM chunk); export it again"
        )
    channels, frames, bits = struct.unpack(">hIh", about[:8])
    size = sound[1] - sound[0]
    if kind == b"AIFF" or about[18:22] in PLAIN:
        frames = size // max(1, channels * _aiff_bytes(about))
    about = about[:2] + struct.pack(">I", frames) + about[6:]
    about += b"\0" * (len(about) % 2)
    head = kind + b"COMM" + struct.pack(">I", len(about)) + about
    head += b"SSND" + struct.pack(">III", (size + 8) & 0xFFFFFFFF, 0, 0)
    head = b"FORM" + struct.pack(">I", (size + len(head)) & 0xFFFFFFFF) + head
    return (Part(path, (head, sound)),), rest


def _aiff_bytes(about):
    """Bytes of a sample, by a COMM chunk."""
    if about[18:22] in (b"alaw", b"ALAW", b"ulaw", b"ULAW"):
        return 1
    return (int.from_bytes(about[6:8], "big") + 7) // 8


def au_parts(file, path, at, stop):
    """Sun's and NeXT's AU."""
    head = bytes_at(file, at, 24)
    if len(head) < 24:
        raise _no_sound(path)
    order = ">" if head[:4] == b".snd" else "<"
    skip, size = struct.unpack(order + "II", head[4:12])
    begin = at + max(24, skip)
    if begin > stop:
        raise _no_sound(path)
    end = sound_end(file, path, begin, stop, size, None, is_unknown(size))
    head = head[:4] + struct.pack(order + "II", 24, min(end - begin, 2**32 - 1)) + head[12:]
    return (Part(path, (head, (begin, end))),), end


def caf_parts(file, path, at, stop):
    """Apple's CAF."""
    kind = b""
    for name, begin, size in chunks(file, at + 8, stop, CAF):
        if name == b"desc":
            kind = bytes_at(file, begin + 8, 4)
        elif name == b"data":
            end = sound_end(file, path, begin, stop, size, CAF, is_unknown(size, 64))
            break
    else:
        raise _no_sound(path)
    if kind not in (b"lpcm", b"ulaw", b"alaw", b"alac"):
        return (Film(path),), stop
    sized, rest = struct.pack(">q", end - begin), _behind(file, end, stop, CAF)
    return (Part(path, ((at, begin - 8), sized, (begin, rest))),), rest


def nist_parts(file, path, at, stop):
    """NIST SPHERE, as in the speech corpora of the LDC: lines of text, and then the sound."""
    head = bytes_at(file, at, 1024)
    about = dict.fromkeys(("sample_count", "channel_count", "sample_n_bytes"), 0)
    for line in head.decode("latin-1").splitlines():
        name, *value = line.split()[::2] if len(line.split()) == 3 else [""]
        if name in about and value[0].isascii() and value[0].isdigit():
            about[name] = int(value[0])
    frames, channels, width = about.values()
    end = at + 1024 + frames * channels * width
    if frames == 0 or not other_file(file, end, stop):
        end = stop
    return (Part(path, ((at, end),), frames),), end
