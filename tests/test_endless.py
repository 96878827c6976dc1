"""Speech without end, speech that is still being spoken, and motions made in company: all give what one clip by itself gives."""
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, run
from test_diffmotion import small_model
from test_scripts import assert_one_error_line


import diffmotion as dm
import motion as M
import sample
import wavlm_loader as W
from data import CheckpointError
from diffmotion import NoiseSchedule


def speechlike(seconds, rate=16_000, seed=0):
    """Noise in syllables of different loudness, float32 [samples]."""
    random, n = np.random.default_rng(seed), int(seconds * rate)
    level = np.repeat(random.uniform(0, 1, n // (rate // 5) + 1) ** 3, rate // 5)[:n]
    return (0.2 * level * random.standard_normal(n)).clip(-1, 1).astype(np.float32)


# ---- the network hears in pieces ---------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [1, 2, 3, 31, 90])
@pytest.mark.parametrize("piece", [1, 3, 8, 40])
def test_conditions_of_pieces_are_those_of_the_whole(length, piece):
    """Lengths and pieces below what is heard ahead (2), and far beyond the window of the running average (8)."""
    model, speech = small_model(), torch.randn(2, length, 5)
    pieces = list(dm.conditions(model, speech.split(piece, dim=1)))
    assert torch.allclose(torch.cat(pieces, dim=1), model.encode_speech(speech), atol=1e-5)


def test_a_frame_is_given_out_as_soon_as_it_was_heard():
    model = small_model()                            # hears 2 frames ahead
    pieces = [p.shape[1] for p in dm.conditions(model, torch.randn(1, 12, 5).split(3, dim=1))]
    assert pieces == [1, 3, 3, 3, 2]


@pytest.mark.parametrize("sampler,guidance", [("ddpm", 1.0), ("ddim", 1.5), ("dpmpp", 2.0)])
def test_a_stream_of_speech_gives_the_motion_of_the_whole(sampler, guidance):
    model, schedule, speech = small_model(memory=0.9, momentum=0.5), NoiseSchedule(), torch.randn(2, 70, 5)
    settings = dict(sampler=sampler, steps=6, guidance=guidance, seed=3)
    whole = dm.generate(model, schedule, speech, **settings)
    for piece, chunk in ((1, 7), (13, 20), (70, 100)):
        stream = list(dm.generate_stream(model, schedule, iter(speech.split(piece, dim=1)), chunk=chunk, **settings))
        assert (torch.cat(stream, dim=1) - whole).abs().max() < 1e-3 * whole.abs().max()


def test_what_a_stream_remembers_does_not_grow():
    """Everything that is kept from chunk to chunk, counted while a thousand frames go by: the ear's, and each pass's keys and values."""
    model, kept, denoise, encode = small_model(), [], dm.DiffMotion.denoise, dm.DiffMotion.encode_speech

    def size(x):
        if isinstance(x, dict):
            return sum(map(size, x.values()))
        return x.untyped_storage().nbytes()

    def watch(method):
        def watched(self, *given, cache=None, **named):
            given = list(given)
            held = cache if cache is not None else given.pop()   # denoise gets it last, by place
            result = method(self, *given, cache=held, **named)
            kept.append((method is denoise, size(held)))
            return result
        return watched

    dm.DiffMotion.denoise, dm.DiffMotion.encode_speech = watch(denoise), watch(encode)
    try:
        for _ in dm.generate_stream(model, NoiseSchedule(), iter(torch.randn(1, 1000, 5).split(10, dim=1)), steps=2, chunk=10):
            pass
    finally:
        dm.DiffMotion.denoise, dm.DiffMotion.encode_speech = denoise, encode
    for who in (True, False):
        sizes = [bytes for whose, bytes in kept if whose == who]
        assert len(sizes) > 90 and max(sizes[10:]) == min(sizes[10:-1]) > 0


def test_a_number_for_a_step_says_what_a_tensor_says():
    schedule, x0, x_t = NoiseSchedule(), torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for t in (0, 3, 999):
        at = torch.full((2,), t)
        for a, b in zip(schedule.posterior(x0, x_t, t), schedule.posterior(x0, x_t, at)):
            assert torch.allclose(torch.as_tensor(a).float(), b, rtol=1e-4)
        assert torch.allclose(schedule.predict_x0(x_t, t, x0), schedule.predict_x0(x_t, at, x0), rtol=1e-4, atol=1e-5)


# ---- company -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("segment", [1, 6])
def test_company_never_changes_a_motion(guidance, segment):
    """Clips of other lengths and seeds in the batch: each motion is the one that its speech and seed give alone. With segments too, of which the last may not be full."""
    model, schedule = small_model(memory=0.9, momentum=0.5, segment=segment), NoiseSchedule()
    speeches, seeds = [torch.randn(1, n, 5) for n in (31, 7, 70, 1)], [4, 9, 4, 2]
    batch = torch.cat([torch.nn.functional.pad(s, (0, 0, 0, 70 - s.shape[1])) for s in speeches])
    together = dm.generate(model, schedule, batch, steps=5, guidance=guidance, seed=seeds)
    for clip, (speech, seed) in enumerate(zip(speeches, seeds)):
        alone = dm.generate(model, schedule, speech, steps=5, guidance=guidance, seed=seed)[0]
        assert (together[clip, :len(alone)] - alone).abs().max() < 1e-3 * alone.abs().max()


def test_a_motion_begins_where_it_rests():
    """A second of silence, then speech: no hand may swing before anything was said. Without LEAD the hands are five times as fast as this allows."""
    generator = sample.load_generator(ROOT / "pretrained" / "puppet.pt")
    spoken = W.load_audio(ROOT / "assets" / "speech.wav")[:4 * W.SAMPLE_RATE]
    speech = generator.hear(torch.cat([torch.zeros(W.SAMPLE_RATE), spoken]))
    speeds = []
    for motion in generator.together([speech] * 4, seeds=range(4)):
        wrists = motion.joint_positions()[:9, M.hand_joints(motion)] / motion.body_height()      # [9, 2, 3]
        speeds.append(np.linalg.norm(np.diff(wrists, axis=0), axis=-1).mean() / motion.frame_time)
        assert len(motion) == 100 and not (M.find_strokes(motion)[0] < 0.2).any()
    assert np.mean(speeds) < 0.05


def test_several_files_and_seeds_of_one_command_are_those_of_single_ones(tiny_run, tmp_path):
    for name, seconds in (("a", 2.0), ("b", 1.7), ("c", 0.4)):
        soundfile.write(tmp_path / f"{name}.wav", speechlike(seconds, seed=len(name)), 16_000)
    files = [tmp_path / f"{name}.wav" for name in "abc"]
    common = "--checkpoint", tiny_run / "last.pt", "--steps", 4
    assert run("sample.py", *files, *common, "--out", tmp_path / "all", "--seeds", 2, "--seed", 5).returncode == 0
    assert {p.name for p in (tmp_path / "all").iterdir()} == {f"{s}{e}" for s in "abc" for e in ("-seed5.bvh", "-seed6.bvh", ".html", ".png")}
    generator = sample.load_generator(tiny_run / "last.pt")
    for name, seed in (("a", 5), ("b", 6), ("c", 5)):
        together, (alone,) = M.read_bvh(tmp_path / "all" / f"{name}-seed{seed}.bvh"), generator(generator.hear(W.load_audio(tmp_path / f"{name}.wav")), seed=seed, steps=4)
        assert len(together) == len(alone) and np.abs(together.joint_positions() - alone.joint_positions()).max() < 0.01         # cm
    other = M.read_bvh(tmp_path / "all" / "a-seed6.bvh")
    assert np.abs(M.read_bvh(tmp_path / "all" / "a-seed5.bvh").joint_positions() - other.joint_positions()).max() > 0.1


# ---- sound in blocks ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_sound_in_blocks_is_the_sound_as_a_whole(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.stack([speechlike(3.21, rate)] * 2, axis=1), rate)
    whole = W.load_audio(tmp_path / "a.wav")
    for seconds in (0.01, 0.3, 10):
        blocks = list(W.load_audio_blocks(tmp_path / "a.wav", seconds))
        assert torch.allclose(torch.cat(blocks), whole, atol=1e-6)
    assert len(list(W.load_audio_blocks(tmp_path / "a.wav", 0.3))) > 8, "and they come as blocks"


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("samples", [1, 399, 16_000, 51_234])
def test_features_of_blocks_are_those_of_the_whole(kind, samples):
    features, waveform = W.SpeechFeatures(kind), torch.from_numpy(speechlike(4))[:samples]
    whole = features(waveform)
    for block in (37, 800, 100_000):
        level, counted = W.loud_level_of(waveform.split(block))
        assert counted == samples and torch.equal(level, W.loud_level(waveform))
        for known in (samples, None):                            # None: speech that is still being spoken
            stream = torch.cat(list(features.stream(waveform.split(block), lambda: level, known)))
            assert stream.shape == whole.shape and torch.allclose(stream, whole, atol=1e-4)


def test_the_running_level_starts_where_speech_usually_is_and_ends_where_the_recording_is():
    quiet, level = torch.from_numpy(speechlike(90)) * 0.05, W.RunningLevel()
    assert level() == pytest.approx(0.1)
    blocks = level.hear(quiet.split(777))
    next(blocks)
    assert 0.08 < level() < 0.11, "one block is not believed"
    for _ in blocks:
        pass
    true = float(W.loud_level(quiet))
    assert abs(20 * np.log10(level() / true)) < 1.5              # what is left of the first guess after a minute and a half
    assert abs(20 * np.log10(0.1 / true)) > 15, "it had far to go"


def test_wavlm_is_not_heard_live_and_the_error_says_why():
    features = W.SpeechFeatures("mel")
    features.kind = "wavlm"
    with pytest.raises(W.SpeechError, match="13.8 s ahead"):
        next(features.stream([torch.zeros(800)], lambda: 0.1))


# ---- a BVH file that grows ---------------------------------------------------------------------------------------
def spinning(frames=50):
    """A body that turns round several times and walks, so that angles run past 180 degrees between any two stretches."""
    motion = M.Motion(["Hips", "Arm"], np.array([-1, 0]), np.array([[0.0, 90, 0], [20, 0, 0]]),
                      [("Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation"), ("Zrotation", "Xrotation", "Yrotation")],
                      [(1, "", (10.0, 0, 0))], 0.05, np.zeros((frames, 2, 3, 3)), np.zeros((frames, 2, 3)))
    t = np.arange(frames)[:, None]
    motion.rotations[:] = M.euler_to_matrix(np.stack([0.3 * np.sin(t) + 0 * t, 0.1 * np.cos(t), 0.4 * t], -1), "ZXY")
    motion.positions[:, 0], motion.positions[:, 1] = np.concatenate([t, 90 + 0 * t, -2 * t], axis=1), [20, 0, 0]
    return motion


def stretches(motion, cuts):
    return [M.replace(motion, rotations=motion.rotations[a:b], positions=motion.positions[a:b]) for a, b in zip([0, *cuts], [*cuts, len(motion)])]


def test_a_growing_file_is_whole_after_each_stretch_and_ends_as_if_written_at_once(tmp_path):
    motion, seen = spinning(), 0
    M.write_bvh(tmp_path / "once.bvh", motion)
    with M.BvhStream(tmp_path / "grown.bvh") as bvh:
        for part in stretches(motion, [1, 20, 33]):
            bvh.append(part)
            seen += len(part)
            assert len(M.read_bvh(tmp_path / "grown.bvh")) == seen           # while it is open, as a reader would
    assert (tmp_path / "grown.bvh").read_text().replace("Frames:        50", "Frames: 50") == (tmp_path / "once.bvh").read_text()


def test_another_reader_reads_a_grown_file(tmp_path):
    bvhio = pytest.importorskip("bvhio")
    motion = spinning()
    with M.BvhStream(tmp_path / "grown.bvh") as bvh:
        for part in stretches(motion, [20]):
            bvh.append(part)
    theirs = bvhio.readAsBvh(str(tmp_path / "grown.bvh"))
    assert theirs.FrameCount == 50 and np.allclose(np.array([k.Position for k in theirs.Root.Keyframes]), motion.positions[:, 0], atol=1e-4)


def test_a_disk_that_fills_up_costs_only_the_stretch_that_did_not_fit(tmp_path):
    first, second = stretches(spinning(), [20])
    with M.BvhStream(tmp_path / "x.bvh") as bvh:
        bvh.append(first)
        real, written = bvh.file, []

        class Full:
            """The file, on a disk with room for 100 more bytes."""
            def write(self, data):
                if len(data) == bvh.DIGITS:
                    return real.write(data)
                written.append(real.write(data[:100 if not written else 0]))
                if len(written) > 1:
                    raise OSError(28, "No space left on device")
                return written[-1]

            def __getattr__(self, name):
                return getattr(real, name)

        bvh.file = Full()
        with pytest.raises(OSError, match="space"):
            bvh.append(second)
        bvh.file = real
        assert written[0] == 100 and len(M.read_bvh(tmp_path / "x.bvh")) == 20
        bvh.append(second)                                       # room was made: it goes on
    assert len(M.read_bvh(tmp_path / "x.bvh")) == 50


def test_a_motion_decoded_in_stretches_goes_on_where_the_last_one_stopped():
    motion = spinning(200)
    codec = M.PoseCodec.fit([motion])
    pose = codec.encode(motion) + 0.1 * np.random.default_rng(0).standard_normal((200, codec.pose_dim))
    whole, start, parts = codec.decode(pose), None, []
    for part in np.split(pose, [1, 50, 130]):
        parts.append(codec.decode(part, start))
        start = codec.end_of(part, parts[-1], start)
    assert np.allclose(np.concatenate([p.positions for p in parts]), whole.positions, atol=1e-6)
    assert np.allclose(np.concatenate([p.rotations for p in parts]), whole.rotations, atol=1e-9)


# ---- sample.py --stream and --live -------------------------------------------------------------------------------
@pytest.mark.parametrize("chunk, segment", [(17, 17), (80, 40)], ids=["shorter than a segment", "two segments"])
def test_stream_writes_the_motion_of_the_whole(tiny_run, tmp_path, chunk, segment):
    soundfile.write(tmp_path / "a.wav", speechlike(6.03, 44_100), 44_100)
    done = run("sample.py", tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--steps", 4, "--out", tmp_path / "stream", "--stream", "--chunk", chunk)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "stream").iterdir()] == ["a.bvh"]
    generator = sample.load_generator(tiny_run / "last.pt")
    (whole,), stream = generator(generator.hear(W.load_audio(tmp_path / "a.wav")), steps=4, segment=segment), M.read_bvh(tmp_path / "stream" / "a.bvh")
    assert len(whole) == 121 and np.abs(whole.joint_positions() - stream.joint_positions()).max() < 0.01     # cm


def test_a_chunk_that_would_cut_a_segment_gets_one_line(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(3.0), 16_000)
    done = run("sample.py", tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out", "--stream", "--chunk", 50)
    assert_one_error_line(done, "--chunk 50", "multiple of 40")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_speech_leaves_no_file_behind_a_stream(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(50_000), 16_000)
    done = run("sample.py", tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out", "--stream")
    assert_one_error_line(done, "a.wav", "silent")
    assert list((tmp_path / "out").iterdir()) == []


def start(*arguments, **pipes):
    return subprocess.Popen([sys.executable, str(ROOT / "sample.py"), *map(str, arguments)], stderr=subprocess.PIPE, **pipes)


def test_a_killed_stream_leaves_a_file_that_can_be_read(tiny_run, tmp_path):
    soundfile.write(tmp_path / "long.wav", speechlike(1200, 8_000), 8_000)
    process, path = start(tmp_path / "long.wav", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--stream", "--chunk", 20, "--steps", 5), tmp_path / "long.bvh"
    while not path.exists() or path.stat().st_size < 100_000:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.wait()
    process.stderr.close()
    frames = len(M.read_bvh(path))
    assert 20 <= frames < 24_000 and frames % 20 == 0


def test_live_frames_come_while_the_speech_goes_on_and_never_end_before_it(tiny_run, tmp_path):
    pcm = (speechlike(4.01) * 32767).astype("<i2").tobytes()
    process = start("--live", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--steps", 3, "--chunk", 10, stdin=subprocess.PIPE)
    process.stdin.write(pcm[:96_000])                            # 3 s, and then the speaker pauses
    process.stdin.flush()
    while True:                                                  # 60 frames are spoken; 16 wait for what comes, and 4 for their chunk
        assert process.poll() is None, process.stderr.read()
        try:
            if len(M.read_bvh(tmp_path / "live.bvh")) == 40:
                break
        except (M.BvhError, FileNotFoundError):
            pass
        time.sleep(0.02)
    _, error = process.communicate(pcm[96_000:] + b"\0", timeout=60)         # half a sample at the end
    assert process.returncode == 0 and b"after it was spoken" in error, error
    assert len(M.read_bvh(tmp_path / "live.bvh")) == 81          # ceil(4.01 * 20)


def test_two_that_wait_for_sound_at_once_write_two_files(tiny_run, tmp_path):
    pcm = (speechlike(2) * 32767).astype("<i2").tobytes()
    both = [start("--live", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--steps", 2, stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:                             # the second has started, and waits, while the first writes
        _, error = process.communicate(pcm, timeout=60)
        assert process.returncode == 0, error
    assert [len(M.read_bvh(path)) for path in sorted(tmp_path.iterdir())] == [40, 40]


def test_live_to_standard_output_is_a_head_and_rows(tiny_run, tmp_path):
    process = start("--live", "--checkpoint", tiny_run / "last.pt", "--out", "-", "--steps", 3, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    out, error = process.communicate((speechlike(2) * 32767).astype("<i2").tobytes(), timeout=60)
    head, rows = out.decode().split("Frame Time: 0.05\n")
    assert process.returncode == 0 and len(rows.splitlines()) == 40 and head.startswith("HIERARCHY")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.bvh").write_text(head.rpartition("Frames")[0] + "Frames: 40\nFrame Time: 0.05\n" + rows)
    assert len(M.read_bvh(tmp_path / "x.bvh")) == 40


@pytest.mark.parametrize("arguments,word", [(["--live", "x.wav"], "audio files out"), (["--live", "--seeds", 2], "--seeds"), (["x.wav", "--stream", "--seeds", 2], "--seeds"),
                                            (["--live", "--chunk", 0], "--chunk"), (["--live"], "no sound came"), (["x.wav", "--seeds", 0], "--seeds"), (["x.wav", "--precision", "float8"], "--precision")])
def test_bad_live_options_get_one_line(tiny_run, tmp_path, arguments, word):
    done = subprocess.run([sys.executable, str(ROOT / "sample.py"), *map(str, arguments), "--checkpoint", str(tiny_run / "last.pt"), "--out", str(tmp_path)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert_one_error_line(done, word)
    assert list(tmp_path.iterdir()) == []


def test_a_sound_file_in_the_pipe_is_not_taken_for_pcm(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(1), 16_000)
    done = subprocess.run([sys.executable, str(ROOT / "sample.py"), "--live", "--checkpoint", str(tiny_run / "last.pt"), "--out", str(tmp_path / "o")],
                          input=(tmp_path / "a.wav").read_bytes(), capture_output=True)
    done.stderr = done.stderr.decode()
    assert_one_error_line(done, "is a sound file, not raw PCM")
    assert not list((tmp_path / "o").glob("*"))


# ---- bfloat16 and torch.compile ----------------------------------------------------------------------------------
SHIPPED = ROOT / "pretrained" / "puppet.pt"          # a trained network: one of a few steps answers v = 0 nearly, whatever its digits
LIMIT = 0.05           # 0.006 in bfloat16, 0.004 in int8, 0.54 without attention


def walks(precision, spoil=None):
    """What the shipped model makes of 3 s in float32, in another precision, and with another seed; spoil(model): what is done to the coarse one first."""
    whole, coarse = (sample.load_generator(SHIPPED, precision=p) for p in ("float32", precision))
    if spoil:
        spoil(coarse.model)
    speech = whole.hear(torch.from_numpy(speechlike(3)))
    a, b, other = (g.poses(speech, steps=5, seed=seed) for g, seed in ((whole, 0), (coarse, 0), (whole, 1)))
    assert b.dtype == np.float32 and not np.array_equal(a, b)
    return coarse.model, np.sqrt(np.mean((a - b) ** 2)) / np.sqrt(np.mean((a - other) ** 2))


def without_attention(model):
    """One product of each block answers nothing: a mistake that must not pass for rounding."""
    for block in model.blocks:
        block.out = torch.nn.Identity()


def test_bfloat16_weights_walk_the_same_way():
    """To the digits that bfloat16 has (8 bits, 0.4%); the mean frame step and the deviations keep all of theirs."""
    model, share = walks("bfloat16")
    assert model.final.weight.dtype == torch.bfloat16 and model.innovation_scale.dtype == torch.float32
    assert share < LIMIT, "little, beside another seed"
    assert walks("bfloat16", without_attention)[1] > 3 * LIMIT


def test_int8_layer_is_the_product_of_rounded_numbers():
    """Against float64: exact but for the rounding of both factors, at most half a step each; and a frame knows nothing of the others."""
    random = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(64, 24)
    x = torch.randn(2, 30, 64, generator=random) * torch.logspace(-3, 3, 30)[:, None]        # [2, 30, 64], quiet frames and loud ones
    layer, W, b = sample.Int8Linear(linear), linear.weight.detach().double(), linear.bias.detach().double()
    y, exact = layer(x).double(), x.double() @ W.T + b
    a, w = x.double().abs().amax(-1, keepdim=True) / 127, W.abs().amax(-1) / 127             # [2, 30, 1], [24]
    rounding = x.double().abs().sum(-1, keepdim=True) * w / 2 + a * W.abs().sum(-1) / 2 + 64 * a * w / 4
    assert ((y - exact).abs() <= rounding * 1.001 + 1e-6 * exact.abs()).all() and (y - exact).abs().max() > 0
    assert torch.equal(layer(x[:1, 7:8]), layer(x)[:1, 7:8])
    assert torch.equal(layer(torch.zeros(3, 64)), linear.bias.detach().expand(3, -1)), "silence is not divided by"


def test_int8_walks_the_same_way(monkeypatch):
    monkeypatch.setattr(sample, "has_int8", lambda: True)        # so small a model can do without the instructions
    model, share = walks("int8")
    assert model.blocks[0].qkv.weight.dtype == model.blocks[-1].mlp[2].weight.dtype == torch.int8
    assert share < LIMIT, "little, beside another seed"
    assert walks("int8", without_attention)[1] > 3 * LIMIT


def test_int8_is_refused_where_it_would_be_slow(tiny_run, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict(architecture="x86_64", avx2=True, avx512_vnni=False))
    with pytest.raises(CheckpointError, match="^--precision int8: this processor .* leave it out$"):
        sample.load_generator(tiny_run / "last.pt", precision="int8")


def test_precision_is_chosen_by_width_and_processor(tiny_run, monkeypatch):
    for width, has, expected in ((32, True, torch.bfloat16), (33, True, torch.float32), (32, False, torch.float32)):
        monkeypatch.setattr(sample, "BF16_WIDTH", width)
        monkeypatch.setattr(sample, "has_bf16", lambda device: has)
        assert sample.load_generator(tiny_run / "last.pt", precision="auto").model.final.weight.dtype == expected     # 32 wide


def test_a_space_in_the_path_is_said_before_the_compiler_stumbles_over_it(tiny_run, monkeypatch):
    monkeypatch.setattr(torch, "__file__", "/home/a user/.venv/torch/__init__.py")
    with pytest.raises(CheckpointError, match="^--compile: .*a user.* leave --compile out"):
        sample.load_generator(tiny_run / "last.pt", compile=True)


def test_a_missing_compiler_is_one_line(tiny_run, monkeypatch):
    monkeypatch.setattr(torch, "__file__", "/home/user/.venv/torch/__init__.py")             # where this runs there may be a space in it
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CheckpointError, match="^--compile: needs the C\\+\\+ compiler no-such-compiler"):
        sample.load_generator(tiny_run / "last.pt", compile=True)


@pytest.mark.skipif(" " in torch.__file__, reason="torch.compile cannot work where PyTorch's folder has a space in its path")
def test_the_compiled_network_gives_the_motion_of_the_plain_one(tiny_run, tmp_path, monkeypatch):
    """Half a minute of compiling, for one block."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))             # what another run has compiled proves nothing
    plain, fused = (sample.load_generator(tiny_run / "last.pt", compile=compile) for compile in (False, True))
    speech = torch.randn(1, 20, 40)
    assert hasattr(fused.model.denoise, "_torchdynamo_orig_callable")
    assert np.allclose(fused.poses(speech, steps=4, guidance=1.5), plain.poses(speech, steps=4, guidance=1.5), rtol=1e-4, atol=1e-4)
