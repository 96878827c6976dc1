"""MP3, Ogg and FLAC: streams of frames or pages, of which several may stand in one file.

Players read the first of them and stop, without a word. Here each becomes a Part, and what breaks
off is an error. Each function: (file, path, start, stop) -> (Parts, where they end).
"""

import re
import zlib

from recordings.parts import Part, SpeechError

BLOCK = 2**16  # bytes that are searched at once


def bytes_at(file, at, count):
    """So many bytes of a file, or fewer at its end."""
    file.seek(at)
    return file.read(count)


def find(file, mark, at, stop):
    """Where these bytes come next in a file, or `stop`."""
    while at < stop:
        block = bytes_at(file, at, min(BLOCK + len(mark), stop - at))
        if (found := block.find(mark)) >= 0:
            return at + found
        at += BLOCK
    return stop


def tag_size(file, at):
    """The bytes of a tag with titles and pictures that begins here, or 0. ID3v1, ID3v2, APE."""
    head = bytes_at(file, at, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = 0
        for byte in head[6:10]:  # 7 bits in each
            size = size * 128 + byte
        return 10 + size + 10 * bool(head[5] & 16)
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX":
        return 32 + int.from_bytes(head[12:16], "little")
    return 0


def after_tags(file, at, stop):
    """Where tags, and zeros behind them, end. Some programs put a second tag before the first."""
    while at < stop and (size := tag_size(file, at)):
        at = min(stop, at + size)
        while at < stop and (block := bytes_at(file, at, min(BLOCK, stop - at))):
            at += len(block) - len(block.lstrip(b"\0"))
            if block.strip(b"\0"):
                break
    return at


# ------------------------------------------------------------------------------------------------
# MP3
# ------------------------------------------------------------------------------------------------
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
KILOBITS = {  # (MPEG 1?, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
KILOBITS[False, 3] = KILOBITS[False, 2]
MPEG = re.compile(rb"\xff(?=[\xe0-\xff][\x10-\xef].)", re.DOTALL)  # what mp3_frame asks for, nearly


def mp3_frame(head):
    """The 4 bytes that begin an MPEG frame -> (its bytes, kind); None if they begin none.

    kind   (MPEG version, layer, rate, one channel?): one decoder reads frames of one kind
    """
    if len(head) < 4 or head[0] != 255 or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    rate = RATES[version][rate]
    bits = 1000 * KILOBITS[version == 3, layer][bits - 1]
    pad = head[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // rate + pad) * 4
    else:
        size = (144 if layer == 2 or version == 3 else 72) * bits // rate + pad
    return size, (version, layer, rate, head[3] >> 6 == 3)


def is_mp3(file, at, stop, frames=2):
    """Do so many MPEG frames of a kind begin here, or fewer up to the end?"""
    kind = None
    for _ in range(frames):
        frame = mp3_frame(bytes_at(file, at, 4))
        if frame is None or (kind and frame[1][:3] != kind):
            return kind is not None and at == stop
        kind = frame[1][:3]
        at += frame[0]
    return True


def find_mp3(file, at, stop):
    """Where the next MPEG frame begins, or `stop`."""
    while at < stop:
        block = bytes_at(file, at, min(BLOCK + 3, stop - at))
        for begin in MPEG.finditer(block):
            if begin.start() < BLOCK and is_mp3(file, at + begin.start(), stop):
                return at + begin.start()
        at += BLOCK
    return stop


def mp3_tag(frame, kind):
    """The first frame -> (does it hold a tag instead of sound, number of frames by it or None)."""
    mpeg1, mono = kind[0] == 3, kind[3]
    at = 4 + 2 * (not frame[1] & 1) + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    if frame[at : at + 4] in (b"Xing", b"Info"):
        counted = frame[at + 7 : at + 8] and frame[at + 7] & 1
        return True, int.from_bytes(frame[at + 8 : at + 12], "big") if counted else None
    if frame[36:40] == b"VBRI":
        return True, int.from_bytes(frame[50:54], "big")
    return False, None


def mp3_parts(file, path, at, stop):
    """Frames up to a tag of another file, to another kind of frame, to no frame: a Part each."""
    runs, run = [], None
    while at < stop:
        head = bytes_at(file, at, 200)
        frame = mp3_frame(head)
        if frame is None or (run and frame[1] != run["kind"] and not is_mp3(file, at, stop)):
            run = None
            begin, at = at, after_tags(file, at, stop)
            if at == begin:
                if at < stop and head[:4] in (b"RIFF", b"FORM", b"OggS", b"fLaC", b".snd", b"caff"):
                    break  # another file stands behind this one
                at = find_mp3(file, at + 1, stop)
            continue
        size, kind = frame
        if at + size > stop:
            raise SpeechError(f"{path}: breaks off in its last frame; copy it again")
        tag, count = mp3_tag(head[:size], kind)
        if run is None or kind != run["kind"] or tag:
            run = dict(kind=kind, start=at, frames=-int(tag), count=count, sound=at + size * tag)
            runs.append(run)
        run["frames"] += 1
        at += size
        run["stop"] = at
    long = [run for run in runs if run["frames"] > 2]  # what is shorter was noise
    return tuple(_mp3_part(path, run) for run in long or runs), at


def _mp3_part(path, run):
    """One run of frames -> Part. SpeechError if there are fewer than its tag says."""
    start, frames, count = run["start"], run["frames"], run["count"]
    if count and frames < count - 1:
        raise SpeechError(
            f"{path}: breaks off, {count - frames} of its {count} frames are missing; copy it again"
        )
    if run["kind"][1] != 3:
        return Part(path, ((start, run["stop"]),), 0)
    if count and frames <= count + 1:
        return Part(path, ((start, run["stop"]),))
    # Without a tag, or with a wrong one, the decoder guesses the length and may stop too early
    sound = (run["sound"], run["stop"])
    return Part(path, (_mp3_length(run["kind"], frames), sound), 0)


def _mp3_length(kind, frames):
    """An MPEG frame of layer 3 that holds no sound, but the number of frames behind it."""
    version, _, rate, mono = kind
    head = bytes([255, 0xE3 | version << 3, 14 << 4 | RATES[version].index(rate) << 2, mono * 0xC0])
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    tag = b"Info" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return (head + bytes(side) + tag).ljust(mp3_frame(head)[0], b"\0")


# ------------------------------------------------------------------------------------------------
# Ogg, with Vorbis, Opus or FLAC in it
# ------------------------------------------------------------------------------------------------
def ogg_parts(file, path, at, stop):
    """The links of a chain, a Part each. SpeechError where pages are missing or damaged.

    The decoder leaves such a page out without a word, and what is behind it would come too early.
    """
    starts, sound = [], False
    going = {}  # {a stream that has begun and not ended: the number of its last page}
    while at < stop:
        head = bytes_at(file, at, 27 + 255)
        if head[:4] != b"OggS":
            if (found := find(file, b"OggS", at, stop)) == stop:
                break
            _refuse_open(path, going)
            at = found
            continue
        sizes = head[27 : 27 + head[26]] if len(head) > 26 else b""
        size = 27 + len(sizes) + sum(sizes)
        if len(head) < 27 or len(sizes) < head[26] or at + size > stop:
            raise SpeechError(f"{path}: breaks off in a page of its Ogg stream; copy it again")
        if _ogg_checksum(bytes_at(file, at, size)) != head[22:26]:
            raise SpeechError(f"{path}: a page of its Ogg stream is damaged; copy it again")
        serial, begins, ends = head[14:18], head[5] & 2, head[5] & 4
        number = int.from_bytes(head[18:22], "little")
        if begins:
            if sound or not starts:
                _refuse_open(path, going)
                starts.append(at)
        elif serial in going and number != going[serial] + 1:
            raise SpeechError(f"{path}: a page of its Ogg stream is missing; copy it again")
        going[serial] = number
        sound = not begins
        if ends:
            del going[serial]
        at += size
    _refuse_open(path, going)
    stops = [*starts[1:], at]
    return tuple(Part(path, ((a, b),)) for a, b in zip(starts, stops)), at


BITS_TURNED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))  # of each byte


def _ogg_checksum(page):
    """Bytes 22 to 25 of a page as they should be: the CRC-32 of zlib, but with its bits turned."""
    turned = (page[:22] + bytes(4) + page[26:]).translate(BITS_TURNED)
    crc = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF  # both ends plain, where zlib's are inverted
    return int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")


def _refuse_open(path, going):
    """SpeechError if a stream has begun and not ended."""
    if going:
        raise SpeechError(
            f"{path}: ends without the mark of an end, as a file that breaks off; copy it again, "
            "or convert it to WAV if nothing is missing"
        )


# ------------------------------------------------------------------------------------------------
# FLAC
# ------------------------------------------------------------------------------------------------
def flac_parts(file, path, at, stop):
    """FLACs one behind the other, a Part each, read to their ends whatever their heads say."""
    starts = []
    begin = at
    while at < stop:
        if _is_flac(bytes_at(file, at, 8)):
            starts.append(at)
        at = find(file, b"fLaC", at + 4, stop)
    stop = _before_tags(file, begin, stop)
    parts = []
    for start, end in zip(starts, [*starts[1:], stop]):
        info = bytes_at(file, start, 26)
        frames = int.from_bytes(info[21:26], "big") & 0xFFFFFFFFF
        unknown = bytes([info[21] & 0xF0, 0, 0, 0, 0]) if len(info) == 26 else b""
        # Other things may stand behind it, for which the decoder finds no name
        or_else = Part(path, ((start, end),), frames) if frames else None
        parts.append(Part(path, (info[:21], unknown, (start + len(info), end)), frames, or_else))
    return tuple(parts), stop


def _is_flac(head):
    """Do these 8 bytes begin a FLAC: its name, and a block of 34 bytes about the stream?"""
    return head[:4] == b"fLaC" and head[4:] in (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")


def _before_tags(file, start, stop):
    """Where the sound ends, if tags are appended to it."""
    if stop - start > 160 and bytes_at(file, stop - 128, 3) == b"TAG":
        stop -= 128
    foot = bytes_at(file, stop - 32, 32)
    if foot[:8] == b"APETAGEX":
        size = int.from_bytes(foot[12:16], "little") + 32 * (foot[23] >> 7)
        stop = max(start, stop - size)
    return stop
