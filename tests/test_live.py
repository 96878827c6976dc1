"""sample.py --stream and --live: files that grow, speech that is still being spoken."""

import io
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_one_error_line, call, command, environment, run, take
from test_audio import speechlike

import sample
from beyond import live
from body.bvh import BvhStream, read_bvh
from body.motion import BvhError
from recordings.audio import SpeechError, load_audio
from sample import load_generator


def pcm(seconds):
    """Raw 16 kHz 16-bit mono sound, as a microphone's program writes it."""
    return (speechlike(seconds) * 32767).astype("<i2").tobytes()


def start(*arguments, **pipes):
    """Start sample.py in a process of its own."""
    pipes = dict(stderr=subprocess.PIPE, env=environment()) | pipes
    return subprocess.Popen(command("sample.py", *arguments), **pipes)


# ------------------------------------------------------------------------------------------------
# --stream
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "chunk, segment", [(17, 17), (80, 40)], ids=["shorter than a segment", "two segments"]
)
def test_stream_writes_the_motion_of_the_whole(tiny_run, tmp_path, chunk, segment):
    sound, out, model = tmp_path / "a.wav", tmp_path / "stream", tiny_run / "last.pt"
    soundfile.write(sound, speechlike(6.03, 44_100), 44_100)
    given = ["--checkpoint", model, "--steps", 4, "--out", out, "--stream", "--chunk", chunk]
    done = run("sample.py", sound, *given)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.iterdir()] == ["a.bvh"]
    assert "6.0 s of speech, 121 frames" in done.stdout
    generator = load_generator(model)
    speech = generator.speech_of(load_audio(sound))
    (whole,) = generator(speech, steps=4, segment=segment)
    streamed = read_bvh(out / "a.bvh")
    assert len(whole) == 121
    assert np.abs(whole.joint_positions() - streamed.joint_positions()).max() < 0.01  # cm


def test_without_a_chunk_it_is_whole_segments_of_about_10_s(tiny_run):
    model = load_generator(tiny_run / "last.pt").model  # segments of 40 frames
    assert live.whole_segments(live.STREAM_CHUNK, model) == 200
    assert live.whole_segments(201, model) == 240
    assert live.whole_segments(live.LIVE_CHUNK, model) == 10, "fewer than a segment stay so"


def test_a_chunk_that_would_cut_a_segment_gets_one_line(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(3.0), 16_000)
    out = tmp_path / "out"
    given = ["--checkpoint", tiny_run / "last.pt", "--out", out, "--stream", "--chunk", 50]
    done = call(sample, tmp_path / "a.wav", *given)
    assert_one_error_line(done, "--chunk 50", "multiple of 40")
    assert list(out.iterdir()) == []


def test_bad_speech_leaves_no_file_behind_a_stream_and_the_next_is_done(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(50_000), 16_000)
    soundfile.write(tmp_path / "b.wav", speechlike(1), 16_000)
    out = tmp_path / "out"
    given = ["--checkpoint", tiny_run / "last.pt", "--out", out, "--stream", "--steps", 2]
    done = call(sample, tmp_path / "a.wav", tmp_path / "b.wav", *given)
    assert_one_error_line(done, "a.wav", "silent")
    assert [path.name for path in out.iterdir()] == ["b.bvh"]


def test_a_killed_stream_leaves_a_file_that_can_be_read(tiny_run, tmp_path):
    sound, path = tmp_path / "long.wav", tmp_path / "out" / "long.bvh"
    soundfile.write(sound, speechlike(1200, 8_000), 8_000)
    given = ["--checkpoint", tiny_run / "last.pt", "--out", path.parent, "--steps", 5]
    process = start(sound, *given, "--stream", "--chunk", 20)
    while not path.exists() or path.stat().st_size < 100_000:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.wait()
    process.stderr.close()
    frames = len(read_bvh(path))
    assert 20 <= frames < 24_000 and frames % 20 == 0


# ------------------------------------------------------------------------------------------------
# --live
# ------------------------------------------------------------------------------------------------
def test_live_frames_come_while_the_speech_goes_on_and_never_end_before_it(tiny_run, tmp_path):
    sound, path = pcm(4.01), tmp_path / "live.bvh"
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--steps", 3]
    process = start("--live", *given, "--chunk", 10, stdin=subprocess.PIPE)
    process.stdin.write(sound[:96_000])  # 3 s, and then the speaker pauses
    process.stdin.flush()
    while True:  # 60 frames are spoken; 16 wait for what comes, and 4 for their chunk
        assert process.poll() is None, process.stderr.read()
        try:
            if len(read_bvh(path)) == 40:
                break
        except (BvhError, FileNotFoundError):
            pass
        time.sleep(0.02)
    rest = sound[96_000:] + b"\0"  # half a sample at the end
    _, error = process.communicate(rest, timeout=60)
    assert process.returncode == 0 and b"after it was spoken" in error, error
    assert len(read_bvh(path)) == 81  # ceil(4.01 * 20)


def test_two_that_wait_for_sound_at_once_write_two_files(tiny_run, tmp_path):
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--steps", 2]
    both = [start("--live", *given, stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:  # the second has started, and waits, while the first writes
        _, error = process.communicate(pcm(2), timeout=60)
        assert process.returncode == 0, error
    assert {path.name for path in tmp_path.iterdir()} == {"live.bvh", "live-2.bvh"}
    assert [len(read_bvh(path)) for path in tmp_path.iterdir()] == [40, 40]


def test_a_file_that_grows_is_new_and_no_link_is_followed(tmp_path):
    take(tmp_path / "c", "a", 4.0)
    motion = read_bvh(tmp_path / "c" / "a.bvh", fps=20)
    (tmp_path / "precious").write_text("precious")
    for name in ("talk.bvh", "live.bvh", "live-2.bvh"):
        (tmp_path / name).symlink_to("precious" if name != "live-2.bvh" else "nowhere")
    with BvhStream(tmp_path / "talk.bvh") as bvh:
        bvh.append(motion)
    names = (tmp_path / name for name in ("live.bvh", "live-2.bvh", "live-3.bvh", "live-4.bvh"))
    with BvhStream(names) as bvh:  # nothing is replaced
        bvh.append(motion)
        bvh.append(motion)
    assert bvh.path == tmp_path / "live-3.bvh" and len(read_bvh(bvh.path)) == 160
    assert len(read_bvh(tmp_path / "talk.bvh")) == 80
    assert (tmp_path / "live.bvh").is_symlink() and not (tmp_path / "nowhere").exists()
    assert (tmp_path / "precious").read_text() == "precious"


def test_live_to_standard_output_is_a_head_and_rows(tiny_run, tmp_path):
    given = ["--checkpoint", tiny_run / "last.pt", "--out", "-", "--steps", 3]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    process = start("--live", *given, **pipes)
    out, error = process.communicate(pcm(2), timeout=60)
    head, rows = out.decode().split("Frame Time: 0.05\n")
    assert process.returncode == 0 and head.startswith("HIERARCHY"), error
    assert len(rows.splitlines()) == 40
    assert list(tmp_path.iterdir()) == []
    counted = head.rpartition("Frames")[0] + "Frames: 40\nFrame Time: 0.05\n" + rows
    (tmp_path / "x.bvh").write_text(counted)
    assert len(read_bvh(tmp_path / "x.bvh")) == 40


def test_ctrl_c_is_how_a_recording_ends(tiny_run, tmp_path):
    """All whole chunks are there, and it is no error."""

    class Microphone:
        def __init__(self, sound):
            self.sound = io.BytesIO(sound)

        def read(self, size):
            data = self.sound.read(size)
            if not data:
                raise KeyboardInterrupt
            return data

    generator = load_generator(tiny_run / "last.pt")
    settings = dict(steps=2, sampler="dpmpp", guidance=1.0)
    with BvhStream(tmp_path / "a.bvh") as bvh:
        live.from_pipe(generator, Microphone(pcm(3)), bvh, **settings)
    assert len(read_bvh(tmp_path / "a.bvh")) == 40


MP3_FRAME = b"\xff\xfb\x90\xc4" + bytes(413)


@pytest.mark.parametrize("head", live.FILE_HEADS + (b"\0\0\0\x20ftypM4A ", MP3_FRAME * 2))
def test_a_sound_file_in_the_pipe_is_not_taken_for_pcm(head):
    """Its bytes would pass for loud noise."""
    with pytest.raises(SpeechError, match="is a sound file, not raw PCM"):
        next(live.blocks_of(io.BytesIO(head + bytes(2000)), []))


def test_the_command_says_so_and_writes_nothing(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(1), 16_000)
    given = ["--live", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "o"]
    with open(tmp_path / "a.wav", "rb") as sound:
        done = run("sample.py", *given, stdin=sound)
    assert_one_error_line(done, "is a sound file, not raw PCM")
    assert not list((tmp_path / "o").glob("*"))


def test_blocks_of_a_pipe_are_its_samples_and_when_they_came():
    sound, arrivals = pcm(0.13), []
    blocks = list(live.blocks_of(io.BytesIO(sound + b"\0"), arrivals))
    whole = torch.frombuffer(bytearray(sound), dtype=torch.int16) / 2**15
    assert torch.equal(torch.cat(blocks), whole)
    assert [samples for samples, _ in arrivals] == [800, 1600, 2080]


@pytest.mark.parametrize("computing, held", [(0.05, 0.0), (0.15, 69 * 0.15 - 3.5 - 2)])
def test_live_says_how_long_its_source_had_to_wait(monkeypatch, computing, held):
    """70 blocks of 50 ms, each of which is computed in so many seconds, by a clock of our own."""
    now, waited = [100.0], [0.0]
    monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])
    for _ in live.blocks_of(io.BytesIO(pcm(3.5)), [], waited):
        now[0] += computing
    # When the last is read 69 are computed, 70 were taken out, and 2 s fit into the pipe
    assert waited[0] == pytest.approx(held)


def test_a_wait_counts_from_the_first_frame_of_a_chunk(monkeypatch, capsys):
    """Ten blocks of 50 ms, by a clock of our own; ten frames of 50 ms are made of them."""
    now, written = [0.0], []
    monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])

    def blocks(pipe, arrivals, held):
        for n in range(1, 11):
            now[0] = n * 0.05
            arrivals.append((800 * n, now[0]))
            yield torch.full((800,), 0.1)

    def motions(generator, pieces, chunk):
        list(pieces)
        yield Chunk(10)

    stand_ins = dict(blocks_of=blocks, motions=motions, without_rumble=lambda sound: sound)
    stand_ins |= dict(features_in_blocks=lambda features, heard, level: heard)
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(live, name, stand_in)
    bvh = SimpleNamespace(frames=0, path=None, append=written.append)
    live.from_pipe(SimpleNamespace(features=None), None, bvh, chunk=10)
    assert len(written) == 1 and "0.45 s after it was spoken" in capsys.readouterr().err


class Chunk:
    """A motion of so many frames, at 20 a second."""

    frame_time = 0.05

    def __init__(self, frames):
        self.frames = frames

    def __len__(self):
        return self.frames


class Clock:
    """A pipe that is empty for 100 s before each block: the speaker pauses, nobody waits."""

    def __init__(self, now):
        self.now, self.sound = now, io.BytesIO(pcm(1))

    def read(self, size):
        self.now[0] += 100
        return self.sound.read(size)


def test_a_speaker_who_pauses_does_not_make_the_source_wait(monkeypatch):
    now, waited = [0.0], [0.0]
    monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])
    assert len(list(live.blocks_of(Clock(now), [], waited))) == 20 and waited == [0.0]


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--live", "x.wav"], "audio file"),
        (["--live", "--seeds", 2], "--seeds"),
        (["x.wav", "--stream", "--seeds", 2], "--seeds"),
        (["--live", "--chunk", 0], "--chunk"),
        (["--live"], "no sound came"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_live_options_get_one_line(tiny_run, tmp_path, monkeypatch, arguments, word):
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path]
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert_one_error_line(call(sample, *arguments, *given), word)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_wavlm_is_not_used_live_and_the_error_says_why(tiny_run, tmp_path):
    generator = load_generator(tiny_run / "last.pt")
    generator.features.kind = "wavlm"
    with pytest.raises(SpeechError, match="13.8 s ahead"):
        live.from_pipe(generator, io.BytesIO(pcm(1)), BvhStream(tmp_path / "a.bvh"), steps=2)
