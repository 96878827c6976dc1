"""Sound files to their real ends: chains, wrong sizes, files that break off, channels, ffmpeg."""

import io
import struct
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from test_audio import speechlike, tone

from recordings import ffmpeg, parts, streams
from recordings.audio import SpeechError, load_audio, load_audio_blocks
from recordings.streams import bytes_at, mp3_frame

CASES = sorted((ROOT.parent / "shared" / "cases" / "audio").glob("*"))
FORMATS = {
    "wav": ("WAV", "PCM_16", 16_000),
    "rifx": ("WAV", "PCM_16", 16_000),
    "rf64": ("RF64", "PCM_16", 44_100),
    "w64": ("W64", "PCM_24", 44_100),
    "adpcm": ("WAV", "IMA_ADPCM", 16_000),
    "aiff": ("AIFF", "PCM_16", 44_100),
    "aifc": ("AIFF", "ULAW", 8_000),
    "au": ("AU", "PCM_16", 16_000),
    "caf": ("CAF", "ULAW", 16_000),
    "alac": ("CAF", "ALAC_16", 44_100),
    "nist": ("NIST", "PCM_16", 16_000),
    "flac": ("FLAC", "PCM_16", 16_000),
    "vorbis": ("OGG", "VORBIS", 44_100),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100),
}


def encoded(name, seconds=1.0, channels=1, rate=None):
    """A file of so many seconds of noise, in this format -> bytes."""
    form, subtype, usual = FORMATS[name]
    rate = rate or usual
    sound = np.stack([speechlike(seconds, rate)] * channels, axis=1)
    file, endian = io.BytesIO(), "BIG" if name == "rifx" else None
    soundfile.write(file, sound, rate, format=form, subtype=subtype, endian=endian)
    return file.getvalue()


def heard(tmp_path, data):
    """The seconds that load_audio hears in a file of these bytes, and nearly so in blocks."""
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    waveform = load_audio(path)
    blocks = torch.cat(list(load_audio_blocks(path, 0.3)))
    assert torch.allclose(blocks, waveform, atol=1e-5)
    return len(waveform) / 16_000


def refused(tmp_path, data):
    """What the error says about a file of these bytes."""
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    with pytest.raises(SpeechError) as caught:
        load_audio(path)
    assert "a.bin" in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def changed(data, at, form, *numbers):
    """A copy of bytes with numbers written over what was there."""
    data = bytearray(data)
    struct.pack_into(form, data, at, *numbers)
    return bytes(data)


# ------------------------------------------------------------------------------------------------
# Everything that is there
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FORMATS)
def test_of_a_file_all_is_heard_of_two_both_and_of_a_cut_one_nothing(tmp_path, name):
    data = encoded(name)
    slack = 0.05 if name in ("mp3", "adpcm") else 0.002
    assert heard(tmp_path, data) == pytest.approx(1, abs=slack)
    assert heard(tmp_path, data + data) == pytest.approx(2, abs=2 * slack)
    for share in (0.3, 0.5, 0.77, 0.97):
        assert "breaks off" in refused(tmp_path, data[: int(share * len(data))])
    assert "breaks off" in refused(tmp_path, data + data[: len(data) // 2])


@pytest.mark.parametrize("first, second", [("vorbis", "opus"), ("mp3", "wav"), ("wav", "mp3")])
def test_files_of_other_formats_rates_and_channels_behind_are_heard_too(tmp_path, first, second):
    data = encoded(first) + encoded(second, channels=2, rate=24_000)
    assert heard(tmp_path, data) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["vorbis", "opus"])
def test_an_ogg_page_that_is_damaged_or_missing_is_said(tmp_path, name):
    """The decoder leaves it out without a word: what is behind it would be a second too early."""
    data = encoded(name, seconds=6.0)
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    assert len(starts) > 5
    for begin, end in zip(starts, [*starts[1:], len(data)]):
        middle = (begin + end) // 2
        damaged = changed(data, middle, "B", data[middle] ^ 4)
        said = refused(tmp_path, damaged), refused(tmp_path, data[:begin] + data[end:])
        if begin:  # of the first page, which says what it is, something else is said
            assert "damaged; copy it again" in said[0]


def test_what_stands_behind_the_sound_is_not_heard(tmp_path):
    tag, notes = b"TAG" + bytes(125), b"LIST\x0e\0\0\0INFOISFT\x02\0\0\0x\0"
    for behind in (notes, notes[:11], tag, bytes(5000), b"id3 \x04\0\0\0abcd"):
        assert heard(tmp_path, encoded("wav") + behind) == 1
    for name in ("flac", "vorbis", "mp3"):
        for behind in (tag, bytes(5000)):
            assert heard(tmp_path, encoded(name) + behind) == pytest.approx(1, abs=0.05)
    assert "something else" in refused(tmp_path, encoded("flac") + encoded("mp3", 20))


@pytest.mark.parametrize("name", ["mp3", "flac", "wav", "vorbis"])
def test_two_tags_in_front_are_skipped(tmp_path, name):
    tag = b"ID3\x03\0\0\0\0\x01\x0a" + bytes(138)
    data = tag + tag + bytes(20) + encoded(name)
    assert heard(tmp_path, data) == pytest.approx(1, abs=0.05)


# ------------------------------------------------------------------------------------------------
# Heads that are wrong
# ------------------------------------------------------------------------------------------------
SIZES = {  # (what stands before the size, how far behind it the size is, its form)
    "wav": (b"data", 4, "<I"),
    "rf64": (b"ds64", 16, "<Q"),
    "w64": (b"data", 16, "<Q"),
    "aiff": (b"SSND", 4, ">I"),
    "au": (b".snd", 8, ">I"),
    "caf": (b"data", 4, ">Q"),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_a_recorder_could_not_know_does_not_matter(tmp_path, name):
    mark, behind, form = SIZES[name]
    data, most = encoded(name), 2 ** (64 if form[1] == "Q" else 32) - 1
    for size in (0, most) + ((0x7FFFF000, 0x80000000) if name == "wav" else ()):
        wrong = changed(data, data.index(mark) + behind, form, size)
        assert heard(tmp_path, wrong) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("name", SIZES)
def test_a_head_that_says_too_little_is_not_believed_and_a_line_says_so(tmp_path, capsys, name):
    mark, behind, form = SIZES[name]
    data = encoded(name)
    parts.say_once.cache_clear()
    wrong = changed(data, data.index(mark) + behind, form, 4000)
    assert heard(tmp_path, wrong) == pytest.approx(1, abs=0.001)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a.bin: its header counts" in said


def test_chunks_of_odd_sizes_may_be_padded_or_not(tmp_path):
    data = encoded("wav")
    for odd in (b"junk\x05\0\0\0abcde", b"junk\x05\0\0\0abcde\0"):
        assert heard(tmp_path, data[:12] + odd + data[12:]) == 1
        assert heard(tmp_path, data[:36] + odd + data[36:]) == 1


def test_a_flac_from_a_pipe_or_with_a_wrong_length_is_read_to_its_end(tmp_path):
    data = encoded("flac", 2)
    for frames in (0, 5000):
        assert heard(tmp_path, changed(data, 22, ">I", frames)) == 2
    assert "breaks off" in refused(tmp_path, changed(data, 22, ">I", 0)[:-1000])
    assert "breaks off" in refused(tmp_path, changed(data, 22, ">I", 40_000))


def riff(kind, data):
    """Compressed sound in a WAV."""
    fmt = struct.pack("<IHHIIHH", 16, kind, 1, 16_000, 32_000, 2, 16)
    return b"RIFF\0\0\0\0WAVEfmt " + fmt + b"data" + struct.pack("<I", len(data)) + data


def test_compressed_sound_inside_riff_is_read_or_said_to_be_none(tmp_path, monkeypatch):
    kinds = dict(mp3=0x55, opus=0x704F, vorbis=0x674F, flac=0xF1AC)
    for name, kind in kinds.items():
        assert heard(tmp_path, riff(kind, encoded(name))) == pytest.approx(1, abs=0.05)
        assert "breaks off" in refused(tmp_path, riff(kind, encoded(name))[:-3000])
    monkeypatch.setenv("PATH", "")
    assert "install ffmpeg" in refused(tmp_path, riff(0x161, bytes(range(256)) * 9))


# ------------------------------------------------------------------------------------------------
# MP3
# ------------------------------------------------------------------------------------------------
def test_an_mp3_without_or_with_a_wrong_number_of_frames_is_read_to_its_end(tmp_path):
    """Decoders guess the length of the first, and believe the second."""
    noise = np.concatenate([np.zeros(32_000), 0.3 * np.random.default_rng(0).normal(size=64_000)])
    file = io.BytesIO()
    mp3 = dict(format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    with soundfile.SoundFile(file, "w", 16_000, 1, **mp3) as f:
        f.write(noise)
    data = file.getvalue()
    at = data.index(b"Xing") + 8
    (frames,) = struct.unpack_from(">I", data, at)
    bare = data[mp3_frame(data[:4])[0] :]
    for whole in (data, bare, changed(data, at, ">I", frames // 4)):
        assert heard(tmp_path, whole) == pytest.approx(6, abs=0.15)
        assert heard(tmp_path, whole + whole) == pytest.approx(12, abs=0.3)
    assert "10 of its" in refused(tmp_path, changed(data, at, ">I", frames + 10))
    assert "breaks off in its last frame" in refused(tmp_path, bare[: len(bare) // 2])


def test_a_megabyte_of_ones_behind_an_mp3_is_searched_once(tmp_path, monkeypatch):
    file, reads = io.BytesIO(), []
    soundfile.write(file, 0.3 * np.sin(np.arange(32_000) / 20), 16_000, format="MP3")
    monkeypatch.setattr(streams, "bytes_at", lambda *given: reads.append(1) or bytes_at(*given))
    heard(tmp_path, file.getvalue() + b"\xff" * 2**20)
    assert len(reads) < 5000


def test_where_an_mpeg_frame_begins_is_found_among_ones():
    frame = bytes.fromhex("ffe59000")  # MPEG 2.5, layer 2
    data = b"\xff" * 5 + frame.ljust(mp3_frame(frame)[0], b"\0") * 2
    for before in (0, streams.BLOCK - 7, streams.BLOCK - 3):
        file = io.BytesIO(bytes(before) + data)
        assert streams.find_mp3(file, 0, before + len(data)) == before + 5


@pytest.mark.parametrize("head, size", [("fffb90c4", 417), ("fff384c4", 192), ("fffd84c4", 384)])
def test_the_size_of_an_mpeg_frame(head, size):
    """128 kbit/s at 44.1 kHz, 64 at 24, and layer 2 with 128 at 48: 144 or 72 bits a kbit."""
    assert mp3_frame(bytes.fromhex(head))[0] == size


# ------------------------------------------------------------------------------------------------
# Channels
# ------------------------------------------------------------------------------------------------
def spoken(seconds=4):
    """A tone with pauses."""
    sound = tone(seconds)
    return sound * (np.arange(len(sound)) // 4000 % 2)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.02])
@pytest.mark.parametrize("name", ["wav", "mp3", "vorbis"])
def test_of_channels_that_cancel_the_one_without_noise_is_heard(tmp_path, capsys, name, noise):
    parts.say_once.cache_clear()
    sound, random = spoken(), np.random.default_rng(1)
    other = -sound + noise * random.standard_normal(len(sound))
    form, subtype, _ = FORMATS[name]
    for channels, number in (((sound, other), 1), ((other, sound), 2)):
        path = tmp_path / f"{number}.bin"
        soundfile.write(path, np.stack(channels, axis=1), 16_000, subtype=subtype, format=form)
        waveform = load_audio(path).numpy()[: len(sound)]
        assert waveform.std() == pytest.approx(sound.std(), rel=0.05)
        if name == "wav":
            # 440 Hz is 7 degrees late behind the high-pass filter
            assert abs(np.corrcoef(waveform, sound)[0, 1]) > 0.99
        blocks = torch.cat(list(load_audio_blocks(path, 0.3)))[: len(sound)]
        np.testing.assert_allclose(blocks, waveform, atol=1e-6)
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "cancel each other" in said
        assert not noise or f"channel {number} alone" in said


def test_other_channels_are_mixed_without_a_word(tmp_path, capsys):
    sound, other = spoken(), speechlike(4, seed=5)
    for channels in ((sound, sound), (sound, 0 * sound), (sound, other), (sound, -0.1 * sound)):
        soundfile.write(tmp_path / "a.wav", np.stack(channels, axis=1), 16_000, subtype="FLOAT")
        waveform = load_audio(tmp_path / "a.wav").numpy()
        assert np.corrcoef(waveform, sum(channels))[0, 1] > 0.99
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------------------
# ffmpeg, and files that are none
# ------------------------------------------------------------------------------------------------
FAKE = """\
import os, sys
given = sys.argv[sys.argv.index("-i") + 1]
data = open(given, "rb").read()[32:]
sys.stdout.buffer.write(data)
sys.stdout.flush()
if b"cut" in open(given, "rb").read(32):
    sys.stderr.write("stream 0, offset 0x30: partial file\\n")
sys.exit(b"bad" in open(given, "rb").read(32))
"""


def phone_file(tmp_path, note=b""):
    """What the fake ffmpeg takes for an M4A: a head and raw samples, 1 s of 16 kHz stereo."""
    path = tmp_path / "talk.m4a"
    sound = np.stack([tone(1)] * 2, axis=1).astype("<f4").tobytes()
    path.write_bytes((b"\0\0\0\x20ftypM4A " + note).ljust(32, b"\0") + sound)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="the fake is a script")
def test_a_phones_file_goes_through_ffmpeg_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechError, match="talk.m4a: .*install ffmpeg"):
        load_audio(phone_file(tmp_path))
    (tmp_path / "fake.py").write_text(FAKE)
    fake = tmp_path / "ffmpeg"  # a folder of Python may have a space in its name
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/fake.py" "$@"\n')
    fake.chmod(0o755)
    assert len(load_audio(phone_file(tmp_path))) == 16_000
    assert sum(map(len, load_audio_blocks(phone_file(tmp_path), 0.1))) == 16_000
    for note, said in ((b"cut", "partial file"), (b"bad", "failed")):
        with pytest.raises(SpeechError, match=f"talk.m4a: ffmpeg read 1.0 s .*{said}"):
            load_audio(phone_file(tmp_path, note))


@pytest.mark.parametrize(
    "head",
    [b"\x1aE\xdf\xa3", b"\0\0\0\x14ftypqt  ", b"#!AMR\n", b"RIFF\0\0\0\0AVI ", b"\xff\xf1\x50"],
)
def test_films_and_what_phones_record_are_known_by_their_heads(head):
    assert ffmpeg.is_film(head.ljust(64, b"\0"))
    assert not ffmpeg.is_film(b"RIFF\0\0\0\0WAVE") and not ffmpeg.is_film(MP3[:64])


MP3 = encoded("mp3", 0.1)


def test_pointers_and_pages_are_said_to_be_what_they_are(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    assert "git lfs pull" in refused(tmp_path, pointer)
    assert "web page" in refused(tmp_path, b"\n<!DOCTYPE html><html></html>")


@pytest.mark.skipif(not CASES, reason="no files at ../shared/cases/audio")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_public_reports(path):
    seconds = {
        "plain": 5,
        "says_half_a_second": 5,
        "size0": 5,
        "chained": 18.53,
        "concat_xing": 18.53,
    }
    if path.stem in ("vorbis", "x"):
        with pytest.raises(SpeechError, match="breaks off"):
            load_audio(path)
    else:
        assert len(load_audio(path)) / 16_000 == pytest.approx(
            seconds.get(path.stem, 9.27), abs=0.03
        )
