"""The scripts, run as people run them: the whole path, odd names, bad input, runs that are killed."""
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, TINY, run, shared_files
from test_speech import KINDS, damaged, tone

import data
import diffmotion
import evaluate
import metrics
import motion as M
import sample
import train


def assert_one_error_line(done, *words):
    """Exit status 2, one line on standard error that starts with error:, no traceback. (What libmpg123 says of a cut MP3 by itself is not ours to silence.)"""
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip() and "%|" not in line and "it/s" not in line and not line.startswith("Warning: Xing")]
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


# ---- sample.py ---------------------------------------------------------------------------------------------------
def test_speech_files_of_any_name_become_motion_page_and_picture(tiny_run, tmp_path):
    soundfile.write(tmp_path / "my talk (2) ü.wav", tone(2.03, 44_100) * (np.arange(int(2.03 * 44_100)) % 9000 < 5000), 44_100)
    soundfile.write(tmp_path / "other.mp3", np.stack([tone(1.5, 24_000)] * 2, axis=1), 24_000)
    (tmp_path / "again").mkdir()
    soundfile.write(tmp_path / "again" / "other.flac", tone(1), 8_000)           # the stem of another file
    out = tmp_path / "where I want it"
    done = run("sample.py", tmp_path / "my talk (2) ü.wav", tmp_path / "other.mp3", tmp_path / "again" / "other.flac",
               "--checkpoint", tiny_run / "last.pt", "--out", out, "--steps", 4)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{s}.{e}" for s in ("my talk (2) ü", "other", "other-2") for e in ("bvh", "html", "png"))
    assert len(M.read_bvh(out / "my talk (2) ü.bvh")) == 41                      # ceil(2.03 * 20)
    page = (out / "my talk (2) ü.html").read_text()
    assert "__DATA__" not in page and "data:audio/wav;base64," in page
    assert not re.search(r"(src|href)=[\"']https?:", page), "the page must work offline"


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.051, 1.0, 7.999])
def test_the_motion_never_ends_before_the_speech(tiny_run, seconds):
    generator = sample.load_generator(tiny_run / "last.pt")
    waveform = torch.randn(int(seconds * 16_000))
    motion, = generator(generator.hear(waveform), steps=2)
    assert len(motion) == int(np.ceil(round(len(waveform) / 800, 9)))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp"])
def test_each_sampler_grid_and_guidance_can_be_chosen_and_a_seed_repeats(tiny_run, tmp_path, sampler):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    for name, seed, power in (("one", 3, 1), ("two", 3, 1), ("other", 4, 1), ("bent", 3, 2)):
        done = run("sample.py", tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path / name, "--sampler", sampler,
                   "--steps", 3, "--grid-power", power, "--guidance", 1.5, "--seed", seed)
        assert done.returncode == 0, done.stderr
    one, two, other, bent = ((tmp_path / name / "a.bvh").read_bytes() for name in ("one", "two", "other", "bent"))
    assert one == two and len({one, other, bent}) == 3


def test_the_bvh_has_the_skeleton_of_the_corpus(tiny_run, tiny_corpus, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    run("sample.py", tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--steps", 2)
    hierarchy = lambda path: path.read_text().split("MOTION")[0]
    assert hierarchy(tmp_path / "a.bvh") == hierarchy(next(tiny_corpus.glob("train/*.bvh")))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_speech_gets_one_line_and_leaves_nothing(tiny_run, tmp_path, kind):
    out = tmp_path / "out"
    done = run("sample.py", damaged(tmp_path, kind), "--checkpoint", tiny_run / "last.pt", "--out", out, "--steps", 2)
    assert_one_error_line(done, "file.")
    assert list(out.iterdir()) == []


def test_one_bad_file_does_not_cost_the_good_ones(tiny_run, tmp_path):
    soundfile.write(tmp_path / "good.wav", tone(1), 16_000)
    done = run("sample.py", damaged(tmp_path, "silent"), tmp_path / "good.wav", "--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out", "--steps", 2)
    assert_one_error_line(done, "silent")
    assert (tmp_path / "out" / "good.bvh").exists()


class Evil:
    """A pickle that runs a command when it is loaded without care."""

    def __reduce__(self):
        return os.system, ("touch /tmp/diffmotion-was-here",)


@pytest.mark.parametrize("kind,word", [("missing", "no such"), ("empty", "damaged"), ("junk", "damaged"), ("cut", "damaged"), ("flipped", "damaged (in"), ("folder", "folder"),
                                       ("code", "refused"), ("other", "something else"), ("mixed", "do not fit"), ("old", "another version")])
def test_bad_checkpoints_get_one_line(tiny_run, tmp_path, kind, word):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    path = tmp_path / "model.pt"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "junk":
        path.write_bytes(np.random.default_rng(0).bytes(3000))
    elif kind == "cut":
        whole = (tiny_run / "last.pt").read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
    elif kind == "flipped":              # some weights are others, and nothing else is wrong
        whole = bytearray((tiny_run / "last.pt").read_bytes())
        middle = len(whole) // 2
        whole[middle:middle + 100] = bytes(255 - byte for byte in whole[middle:middle + 100])
        path.write_bytes(whole)
    elif kind == "folder":
        path.mkdir()
    elif kind == "code":
        torch.save({"format": "diffmotion", "model": Evil()}, path)
    elif kind == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "mixed":
        state = torch.load(tiny_run / "last.pt", weights_only=True)
        state["model"]["width"] = 48
        torch.save(state, path)
    elif kind == "old":                  # when the network answered the noise: the same weights, by name and shape
        state = torch.load(tiny_run / "last.pt", weights_only=True)
        torch.save(state | dict(format="diffmotion"), path)
        torch.save(state | dict(format="diffmotion"), tmp_path / "last.pt")
        assert_one_error_line(run("train.py", "--out", tmp_path, "--resume"), "last.pt", word)
    done = run("sample.py", tmp_path / "a.wav", "--checkpoint", path, "--out", tmp_path / "out")
    assert_one_error_line(done, "model.pt", word)
    assert not os.path.exists("/tmp/diffmotion-was-here")


@pytest.mark.parametrize("arguments,word", [(["--steps", 0], "steps"), (["--steps", -3], "steps"), (["--steps", 1001], "steps"), (["--steps", "many"], "steps"),
                                            (["--sampler", "euler"], "sampler"), (["--grid-power", "nan"], "grid-power"), (["--guidance", "nan"], "guidance"), ([], "audio"), (["--speed", 3], "speed"), (["--device", "abacus"], "device"), (["--out", "-"], "--live")])
def test_bad_options_get_one_line(tiny_run, tmp_path, arguments, word):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    files = [tmp_path / "a.wav"] if arguments else []
    assert_one_error_line(run("sample.py", *files, "--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out", *arguments), word)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["under a file", "is a file"])
def test_an_output_folder_that_cannot_be_written_gets_one_line(tiny_run, tmp_path, place):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    out = tmp_path / "a.wav" / "out" if place == "under a file" else tmp_path / "a.wav"
    assert_one_error_line(run("sample.py", tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--out", out, "--steps", 2), "a.wav")


def test_what_lies_beside_the_sound_is_not_overwritten(tmp_path):
    """The motion that was recorded with a sound has its name, and somebody may give that folder as --out."""
    (tmp_path / "talk.bvh").write_text("recorded")
    out = tmp_path / "out"
    assert sample.free_stem(tmp_path / "talk.wav", set(), tmp_path, True) == "talk-2"
    (tmp_path / "talk-2.html").touch()
    assert sample.free_stem(tmp_path / "talk.wav", set(), tmp_path, True) == "talk-3"
    assert sample.free_stem(tmp_path / "other.wav", set(), tmp_path, True) == "other"
    out.mkdir()
    (out / "talk.bvh").touch()                       # of an earlier run
    assert sample.free_stem(tmp_path / "talk.wav", set(), out) == "talk" and sample.free_stem(tmp_path / "Talk.flac", {"talk"}, out) == "Talk-2"


@pytest.mark.parametrize("ways", [[], ["--stream"]])
def test_no_recorded_motion_is_overwritten_by_a_link_or_by_a_second_sound(tiny_run, tmp_path, ways):
    """A sound that is a link into another folder, with its motion beside the link; and a sound of the same name from elsewhere. Options stand between the files."""
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "talk.wav", tone(1), 16_000)
    (tmp_path / "a" / "linked.wav").symlink_to(tmp_path / "c" / "talk.wav")
    for name in ("talk.bvh", "linked.bvh"):
        (tmp_path / "a" / name).write_text("recorded")
    done = run("sample.py", tmp_path / "a" / "linked.wav", "--checkpoint", tiny_run / "last.pt", "--steps", 2, tmp_path / "b" / "talk.wav", "--out", tmp_path / "a", *ways)
    assert done.returncode == 0 and {path.name for path in (tmp_path / "a").glob("*.bvh")} == {"talk.bvh", "talk-2.bvh", "linked.bvh", "linked-2.bvh"}, done.stderr
    assert (tmp_path / "a" / "talk.bvh").read_text() == (tmp_path / "a" / "linked.bvh").read_text() == "recorded"


def test_a_name_that_is_too_long_with_an_ending_costs_its_own_file_alone(tiny_run, tmp_path):
    files = [tmp_path / f"{name}.wav" for name in ("first", "l" * 251, "last")]
    for file in files:
        soundfile.write(file, tone(1), 16_000)
    done = run("sample.py", *files, "--checkpoint", tiny_run / "last.pt", "--steps", 2, "--out", tmp_path / "out")
    assert done.returncode == 2 and [line for line in done.stderr.splitlines() if line.startswith("error:")] and "too long" in done.stderr and "Traceback" not in done.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.bvh")} >= {"first.bvh", "last.bvh"}


def test_a_name_with_dollars_is_no_formula(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a$1^2^3$.wav", 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
    done = run("sample.py", tmp_path / "a$1^2^3$.wav", "--checkpoint", tiny_run / "last.pt", "--steps", 2, "--out", tmp_path / "out")
    assert done.returncode == 0 and (tmp_path / "out" / "a$1^2^3$.png").exists(), done.stderr


def test_an_out_that_looks_like_a_file_gets_one_line(tmp_path):
    assert_one_error_line(run("sample.py", "a.wav", "--out", tmp_path / "my.bvh"), "name of a folder")
    assert not (tmp_path / "my.bvh").exists()


def test_a_title_cannot_break_out_of_the_page(tmp_path):
    motion = M.Motion(["Hips", "LeftHand", "RightHand"], np.array([-1, 0, 0]), np.eye(3), [()] * 3, [], 0.05, np.tile(np.eye(3), (4, 3, 1, 1)), np.tile(np.eye(3), (4, 1, 1)))
    sample.write_page(tmp_path / "x.html", "</script><script>alert(1)</script>", {"a": motion})
    assert "</script><script>alert" not in (tmp_path / "x.html").read_text()


# ---- train.py ----------------------------------------------------------------------------------------------------
def test_training_leaves_a_model_pictures_a_curve_and_scores(tiny_run):
    names = {p.name for p in tiny_run.iterdir()}
    assert names == {"last.pt", "model.pt", "loss.png", "sample-20.png", "sample-40.png", "scores.json"}
    scores = json.loads((tiny_run / "scores.json").read_text())["scores"]
    assert set(evaluate.GOALS) <= set(scores)
    assert scores.pop("beat_f1_mismatched") is None, "one test take: no other's speech to be held against"
    assert all(np.isfinite(v) for v in scores.values())


def last(out):
    return torch.load(out / "last.pt", weights_only=True)


def same(a, b):
    """Are two nested structures of tensors and values the same, bit for bit?"""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k != "out")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def start_training(corpus, out, steps, *more):
    return subprocess.Popen([sys.executable, str(ROOT / "train.py"), *map(str, ["--data", corpus, "--out", out, "--steps", steps, "--save-every", 20, *TINY, *more])],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process, out):
    while not (out / "last.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def test_each_weight_has_one_optimiser_and_muon_the_matrices_of_ear_and_blocks():
    model = diffmotion.DiffMotion(diffmotion.DiffMotionConfig(6, 5, width=8, depth=2, heads=2))
    names = {id(p): name for name, p in model.named_parameters()}
    for muon in (0.0, 2.0):
        optimisers = train.optimisers_of(model, train.Settings(muon=muon))
        held = {key: [names[id(p)] for group in optimiser.param_groups for p in group["params"]] for key, optimiser in optimisers.items()}
        assert sorted(sum(held.values(), [])) == sorted(names.values()) and len(held) == 1 + (muon > 0)
    assert {name.split(".")[0] for name in held["muon"]} == {"hear", "voice", "understand", "blocks"} and all("bias" not in name for name in held["muon"])


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 9, 4), (2, 4, 9)])
def test_flattened_acts_on_singular_values_alone_as_its_polynomial_does(shape):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, lengths, right = torch.linalg.svd(A, full_matrices=False)
    s = lengths / (A.norm(dim=(1, 2))[:, None] + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s ** 3 + 2.0315 * s ** 5
    torch.testing.assert_close(train.flattened(A), left @ torch.diag_embed(s) @ right, rtol=0, atol=1e-9)
    assert (0.65 < s[lengths > lengths[:, :1] / 20]).all() and (s < 1.25).all()


def test_muon_takes_the_steps_of_pytorchs():
    random = torch.Generator().manual_seed(0)
    shapes = [(12, 8), (12, 8), (8, 20), (8, 8), (6, 5, 3)]
    ours = [torch.randn(shape, generator=random).requires_grad_() for shape in shapes]
    theirs = [p.detach().clone().flatten(1).requires_grad_() for p in ours]      # PyTorch's knows no convolutions
    start = [p.detach().clone() for p in ours]
    optimisers = (train.Muon(ours, 0.02, 0.1, dtype=torch.bfloat16), torch.optim.Muon(theirs, 0.02, 0.1, adjust_lr_fn="match_rms_adamw"))
    for step in range(20):
        gradients = [torch.randn(shape, generator=random) for shape in shapes]
        for params, optimiser in zip((ours, theirs), optimisers):
            for n, (p, gradient) in enumerate(zip(params, gradients)):
                p.grad = None if n == 3 and step % 2 else gradient.clone().view_as(p)       # as a part that is not used
            optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 20)
            optimiser.step()
    for p, q, begun in zip(ours, theirs, start):     # theirs rounds each product to bfloat16, in another order
        assert (p.flatten(1) - q).norm() < 0.01 * (q - begun.flatten(1)).norm()


@pytest.mark.parametrize("also", [[], ["--muon", 0]], ids=["Muon", "AdamW"])
def test_a_killed_run_resumes_to_the_same_numbers_bit_for_bit(tiny_corpus, tmp_path, also):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start_training(tiny_corpus, whole, 300, *also)
    assert process.wait(300) == 0
    process = start_training(tiny_corpus, killed, 300, *also)
    wait_for_checkpoint(process, killed)
    process.kill()
    process.wait()
    step = last(killed)["training"]["step"]
    assert 0 < step < 300
    done = run("train.py", "--out", killed, "--resume")
    assert done.returncode == 0, done.stderr
    assert same(last(whole), last(killed)) and ("muon" in last(whole)["training"]) == (not also)


def test_a_run_that_began_before_there_were_these_settings_goes_on_without_them(tiny_corpus, tmp_path):
    common = ["--data", tiny_corpus, "--out", tmp_path, *TINY]
    assert run("train.py", *common, "--steps", 20, "--muon", 0, "--segment", 1, "--noise", 0, "--momentum", 0).returncode == 0
    saved = last(tmp_path)
    saved["training"]["step"] = 10                   # as if it had been killed there
    for name in ("muon", "segment", "noise", "voices", "momentum"):
        del saved["training"]["settings"][name]
    del saved["model"]["segment"], saved["model"]["momentum"]
    torch.save(saved, tmp_path / "last.pt")
    done = run("train.py", "--out", tmp_path, "--resume")
    assert done.returncode == 0, done.stderr         # its optimiser's state has been read: Muon has none in it
    done = last(tmp_path)
    assert done["training"]["step"] == 20 and done["model"]["segment"] == 1 and [done["training"]["settings"][name] for name in ("muon", "segment", "noise", "voices", "momentum")] == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("features", ["mel", "mfcc"])
def test_training_hears_noise_and_voices_and_lets_windows_begin_anywhere_in_a_segment(tiny_corpus, tmp_path, monkeypatch, features):
    """Looked at while it trains: which phases the masks are of, how many windows were asked for in noise, and how far voices were stretched for it."""
    phases, shares, octaves = [], [], []
    voice = data.in_another_voice
    monkeypatch.setattr(data, "in_another_voice", lambda waveform, far, seed: (octaves.append(far), voice(waveform, far, seed))[1])
    mask, batch = train.MODELS["diffmotion"].mask, data.Corpus.batch
    monkeypatch.setattr(train.MODELS["diffmotion"], "mask", lambda self, *given, phase=None, **named: (phases.append(phase), mask(self, *given, phase=phase, **named))[1])
    monkeypatch.setattr(data.Corpus, "batch", lambda self, size, generator, noise: (shares.append((noise, self.speech.shape[1])), batch(self, size, generator, noise))[1])
    for also, share, drawn, voices in (([], (0.25, 4), set(range(10)), {0.4}), (["--segment", 1, "--voices", 0], (0.25, 4), {None}, set()), (["--noise", 0], (0.0, 1), set(range(10)), set()), (["--segment", 1, "--noise", 0], (0.0, 1), {None}, set())):
        phases.clear(), shares.clear(), octaves.clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, ["--data", tiny_corpus, "--out", tmp_path / features, "--features", features, "--steps", 30, *TINY, "--segment", 10, "--no-scores", *also])])
        usual = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            train.main()
        finally:
            for sign, handler in usual.items():
                signal.signal(sign, handler)
        assert shares == [share] * 30 and set(octaves) == voices and len(octaves) == train.HEARD_NOISY * len(voices)         # one take
        assert {None if phase is None else int(p) for phase in phases[:30] for p in ([0] if phase is None else phase)} == drawn


def test_ctrl_c_saves_and_says_how_to_go_on(tiny_corpus, tmp_path):
    process = start_training(tiny_corpus, tmp_path, 100_000, "--save-every", 50_000)
    seen = ""
    while "5/100000" not in seen:                    # the bar has reached some step
        seen = seen[-200:] + process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopping: at most 10 more steps" in error and "--resume" in error and "Traceback" not in error
    assert last(tmp_path)["training"]["step"] > 0


QUESTIONS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "_unique2", "equal"}       # item(), float(), if x, and whose size depends on values


class Asked(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operations that want to know a number now, or how many rows there will be: a GPU is waited for there."""
    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += name in QUESTIONS or by_mask
        return operation(*args, **(kwargs or {}))


def test_training_asks_for_its_numbers_every_tenth_step_only(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)     # Ctrl-C stays pytest's
    handed_over = []
    for name in ("tolist", "numpy", "cpu", "__array__"):             # on a CPU these are no operations
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda *a, original=original, **more: (handed_over.append(original), original(*a, **more))[1])
    counts = []
    for steps in (20, 30):                           # what they differ in is ten steps of the loop
        handed_over.clear()
        arguments = ["--data", tiny_corpus, "--out", tmp_path / str(steps), "--steps", steps, "--save-every", 1000, "--picture-every", 1000, "--no-scores", *TINY]
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        with Asked() as asked:
            train.main()
        counts.append((asked.count, len(handed_over)))
    assert counts[1] == (counts[0][0], counts[0][1] + 1), "ten steps: one list of losses"


SAVING = "import sys; sys.path.insert(0, sys.argv[1]); import data, torch, train; data.run_script(lambda: train.save('last.pt', dict(weights=torch.zeros(10_000))))"


@pytest.mark.skipif(os.name != "posix", reason="ulimit, which stands for the full disk, is not there")
@pytest.mark.parametrize("what, name", [(["-c", SAVING, ROOT], "last.pt"), ([ROOT / "sample.py", "a.wav", "--out", "."], "a.bvh"), ([ROOT / "sample.py", "a.wav", "--out", ".", "--stream"], "a.bvh")])
def test_a_disk_that_is_full_gets_one_line_that_names_the_file(tmp_path, what, name):
    """No file may get larger than 1 kB here. A checkpoint that was there stays; half a motion does not."""
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
    (tmp_path / "last.pt").write_text("of yesterday")
    done = subprocess.run(["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", sys.executable, *map(str, what)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert_one_error_line(done, f"error: {name}: ", "too large")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "last.pt"] and (tmp_path / "last.pt").read_text() == "of yesterday"


def test_a_forgotten_resume_costs_nothing(tiny_corpus, tmp_path):
    given = ["--data", tiny_corpus, "--out", tmp_path, "--steps", 10, "--no-scores", *TINY]
    assert run("train.py", *given).returncode == 0
    before = (tmp_path / "last.pt").read_bytes()
    done = run("train.py", *given, "--seed", 1)
    assert done.returncode == 0 and f"--resume --out {shlex.quote(str(tmp_path / 'before'))}" in done.stdout
    assert (tmp_path / "before" / "last.pt").read_bytes() == before != (tmp_path / "last.pt").read_bytes()
    second, small = (tmp_path / "last.pt").read_bytes(), (tmp_path / "model.pt").read_bytes()
    (tmp_path / "scores.json").write_text("of the second")
    done = run("train.py", *given, "--seed", 2)      # and forgotten once more
    assert (tmp_path / "before-2" / "model.pt").read_bytes() == small != (tmp_path / "model.pt").read_bytes()
    assert (tmp_path / "before-2" / "scores.json").read_text() == "of the second" and not (tmp_path / "scores.json").exists(), "no score of another run may pass for this one's"
    assert (tmp_path / "before" / "last.pt").read_bytes() == before and (tmp_path / "before-2" / "last.pt").read_bytes() == second
    assert run("train.py", "--resume", "--out", tmp_path / "before", "--no-scores").returncode == 0, "and what was said holds"


def test_ctrl_c_in_the_last_steps_keeps_the_model_and_leaves_the_scores(tiny_corpus, tmp_path, monkeypatch):
    batch, asked = data.Corpus.batch, []
    monkeypatch.setattr(data.Corpus, "batch", lambda self, *given: (asked.append(1), len(asked) == 12 and signal.raise_signal(signal.SIGINT), batch(self, *given))[2])
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, ["--data", tiny_corpus, "--out", tmp_path, "--steps", 12, *TINY])])
    usual = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit, match="at its end"):
            train.main()
        assert {sign: signal.getsignal(sign) for sign in usual} == usual
    finally:
        for sign, handler in usual.items():
            signal.signal(sign, handler)
    assert (tmp_path / "model.pt").exists() and not (tmp_path / "scores.json").exists()


def test_another_programs_json_beside_a_take_is_no_answer(tmp_path):
    for name, text in (("a", b"\xef\xbb\xbf{}"), ("b", b"caf\xe9"), ("c", b"[1"), ("d", b"[]")):
        (tmp_path / f"{name}.json").write_bytes(text)
        assert evaluate.answers_of([(tmp_path / f"{name}.bvh", None)]) is None


@pytest.mark.parametrize("answer,power", [("eps", 0), ("v", 1)])
def test_the_loss_of_answering_nothing_is_the_variance_of_what_is_asked(tiny_corpus, tmp_path, answer, power):
    """A network that has not learnt answers 0: the paper's loss then is the variance of the noise, v's own that of v; both are 1, for any other pair they are not."""
    done = run("train.py", "--data", tiny_corpus, "--out", tmp_path, "--steps", 20, "--lr", 1e-12, "--answer", answer, "--loss-power", power,
               "--adaln", "joint", "--no-scores", *TINY, "--batch", 8)
    assert done.returncode == 0, done.stderr
    assert last(tmp_path)["training"]["losses"] == pytest.approx([1, 1], abs=0.01 if answer == "eps" else 0.15)
    assert last(tmp_path)["model"]["answer"] == answer


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_corpus, tmp_path):
    assert run("train.py", "--data", tiny_corpus, "--out", tmp_path, "--steps", 20, "--save-every", 10, *TINY).returncode == 0
    state = last(tmp_path)
    state["training"]["settings"].update(lr=1e30, steps=400, save_every=1000)
    torch.save(state, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    assert_one_error_line(run("train.py", "--out", tmp_path, "--resume"), "at step 2", "last.pt keeps")
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_gradient_that_is_not_a_number_is_not_saved_either(tiny_corpus, tmp_path, monkeypatch):
    """The loss of step 10, at which a checkpoint is due, is a number still, and its gradient is none."""
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)     # Ctrl-C stays pytest's
    original, calls = torch.nn.utils.clip_grad_norm_, []

    def spoiling(parameters, most):
        parameters = list(parameters)
        calls.append(None)
        if len(calls) == 20:
            parameters[0].grad[0] = math.nan
        return original(parameters, most)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoiling)
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, ["--data", tiny_corpus, "--out", tmp_path, "--steps", 40, "--save-every", 10, *TINY])])
    with pytest.raises(data.CheckpointError, match="gradient is not a number at step 19; .*keeps step 10"):
        train.main()
    assert last(tmp_path)["training"]["step"] == 10 and all(torch.isfinite(w).all() for w in last(tmp_path)["training"]["weights"].values())


def test_a_resumed_run_is_checked_by_its_own_settings(tiny_corpus, tmp_path):
    """3 heads do not divide the default width; --compile belongs to the machine, and is not kept."""
    given = [*TINY, "--width", 36, "--heads", 3]
    assert run("train.py", "--data", tiny_corpus, "--out", tmp_path, "--steps", 10, "--no-scores", *given).returncode == 0
    state = last(tmp_path)
    state["training"]["settings"].update(steps=20, compile=True)
    torch.save(state, tmp_path / "last.pt")
    done = run("train.py", "--out", tmp_path, "--resume", "--heads", 3)
    assert done.returncode == 0, done.stderr
    assert last(tmp_path)["training"]["step"] == 20 and not last(tmp_path)["training"]["settings"]["compile"]


@pytest.mark.parametrize("setting,value", [("--width", 64), ("--width", 128), ("--heads", 4)])       # the run's are 32 and 2; 128 and 4 are the defaults
def test_resuming_with_another_setting_is_refused_and_not_ignored(tiny_run, setting, value):
    assert_one_error_line(run("train.py", "--out", tiny_run, "--resume", setting, value), setting)


def test_the_data_of_a_resumed_run_may_have_moved_but_must_be_the_same(tmp_path):
    for stem in ("one", "two", "three"):
        take(tmp_path / "corpus", stem)
    given = ["--no-scores", "--test", "two", "--out", tmp_path / "run", *TINY]
    done = run("train.py", "--data", tmp_path / "corpus", "--steps", 10, *given)
    assert done.returncode == 0, done.stderr
    state = last(tmp_path / "run")
    state["training"]["settings"].update(steps=20)
    torch.save(state, tmp_path / "run" / "last.pt")
    (tmp_path / "corpus").rename(tmp_path / "moved")
    take(tmp_path / "moved", "four")
    resume = ["train.py", "--out", tmp_path / "run", "--resume", "--data", tmp_path / "moved"]
    assert_one_error_line(run(*resume), "not those that the run was started with")
    for ending in (".bvh", ".wav"):
        (tmp_path / "moved" / f"four{ending}").unlink()
    done = run(*resume)
    assert done.returncode == 0 and last(tmp_path / "run")["training"]["step"] == 20, done.stderr


def test_takes_below_the_window_are_named_as_not_learnt_from(tmp_path):
    for stem, seconds in (("one", 4.0), ("two", 2.5)):
        take(tmp_path, stem, seconds)
    done = run("train.py", "--data", tmp_path, "--steps", 2, "--out", tmp_path / "run", "--no-scores", *TINY)
    assert done.returncode == 0 and "1 of 2 takes are shorter than a window of 60 frames" in done.stdout, done.stdout + done.stderr


def test_a_resumed_run_keeps_what_it_was_given_where_the_new_command_says_nothing(tmp_path):
    given = ["--no-scores", "--cache", tmp_path / "my cache", "--test", "two*"]
    for stem in ("one", "two"):
        take(tmp_path / "corpus", stem)
    assert run("train.py", "--data", tmp_path / "corpus", "--out", tmp_path, "--steps", 10, *given, *TINY).returncode == 0
    done = run("train.py", "--out", tmp_path, "--resume", "--cache", tmp_path / "elsewhere")
    assert done.returncode == 0 and not (tmp_path / "scores.json").exists(), done.stderr
    state = last(tmp_path)
    state["training"]["settings"].update(steps=20)
    torch.save(state, tmp_path / "last.pt")
    assert run("train.py", "--out", tmp_path, "--resume", "--test", "two*").returncode == 0
    kept = last(tmp_path)["training"]["settings"]
    assert kept["no_scores"] and kept["cache"] == str(tmp_path / "my cache") and not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize("arguments,word", [(["--steps", 0], "--steps"), (["--width", 30, "--heads", 4], "heads"), (["--features", "ears"], "features"),
                                            (["--resume", "--out", "/nowhere"], "nowhere"), (["--data", "/nowhere"], "nowhere"), (["--adaln", "x"], "adaln"),
                                            (["--answer", "x0"], "--answer is v or eps"), (["--loss-power", 2], "--loss-power"),
                                            (["--beta-end", 2], "--beta-end"), (["--beta-end", 0.2], "too little to compute with"), (["--ema", 1], "0.999999, not 1"), (["--fps", 0], "--fps"), (["--fps", "nan"], "--fps"), (["--lr", "nan"], "--lr"), (["--lr", -1], "--lr"),
                                            (["--memory", 2], "--memory"), (["--drop", 1.5], "--drop"), (["--seed", -1], "--seed"), (["--seed", 10 ** 18], "--seed"), (["--noise", 1.5], "--noise"), (["--voices", 1.5], "--voices"), (["--voices", 0.2, "--noise", 0], "--voices 0.2: is for the windows that are heard in noise"), (["--voices", 0.4, "--features", "wavlm"], "--voices 0.4: is for the windows"), (["--memory", 0, "--momentum", 0.5], "--momentum 0.5: is for what --memory leaves"), (["--segment", 0], "--segment must be at least 1"), (["--segment", 161], "--segment 161 is more than --window 160"), (["--features", "wavlm", "--noise", 0.5], "--noise 0.5: is for mel and mfcc"), (["--ema", 1.5], "--ema"), (["--warmup", -1], "--warmup"),
                                            (["--window", 80], "--attention-window 100 is more than --window 80")])
def test_bad_settings_get_one_line(arguments, word, tmp_path):
    assert_one_error_line(run("train.py", "--out", tmp_path / "o", *arguments), word)


def take(folder, stem, seconds=4.0, bvh=True, wav=True, number=0):
    import puppet
    folder.mkdir(parents=True, exist_ok=True)
    puppet.write_take(folder, stem, number, "calm", seconds, (1, 2, number))
    (folder / f"{stem}.json").unlink()
    if not bvh:
        (folder / f"{stem}.bvh").unlink()
    if not wav:
        (folder / f"{stem}.wav").unlink()


def test_any_folder_of_pairs_trains_samples_and_is_scored(tmp_path):
    for n in range(4):
        take(tmp_path / "my corpus", f"Take {n}", 5.0)
    for ending, folder in (("bvh", "Motion"), ("wav", "Audio")):                 # pairs in parallel folders
        (tmp_path / "my corpus" / folder).mkdir()
        for p in (tmp_path / "my corpus").glob(f"*.{ending}"):
            p.rename(p.parent / folder / p.name)
    take(tmp_path / "my corpus" / "test", "held out", 5.0)
    (tmp_path / "my corpus" / "test" / "held out.json").write_text('{"names": ["jawOpen"], "frames": []}')       # BEAT's, of the face: no puppet's answers
    done = run("train.py", "--data", tmp_path / "my corpus", "--out", tmp_path / "o", "--steps", 10, "--features", "mfcc", *TINY)
    assert done.returncode == 0 and "4 takes" in done.stdout, done.stderr
    scored = run("evaluate.py", "--checkpoint", tmp_path / "o" / "last.pt", "--data", tmp_path / "my corpus", "--json", tmp_path / "s.json", "--steps", 3, "--grid-power", 2,
                 "--speech", tmp_path / "my corpus" / "test" / "held out.wav")
    assert scored.returncode == 0, scored.stderr
    report = json.loads((tmp_path / "s.json").read_text())
    scores = report["scores"]
    assert (report["steps"], report["power"]) == (3, 2) and "onset_hits_truth" in scores and "onset_hits_shifted" in scores["speech"]["held out.wav"]


def test_a_skeleton_without_a_hand_by_name_trains_and_samples_all_the_same(tmp_path):
    """Strokes are then looked for nowhere: there are none in the picture and no scores, and check says so beforehand."""
    for stem in ("a", "b", "test/c"):
        take((tmp_path / "c" / stem).parent, stem[-1])
        path = tmp_path / "c" / f"{stem}.bvh"
        path.write_text(path.read_text().replace("Hand", "Paw"))
    checked = run("data.py", "check", tmp_path / "c")
    assert checked.returncode == 0 and re.search("hands +no: no left hand among the joints", checked.stdout), checked.stdout
    done = run("train.py", "--data", tmp_path / "c", "--out", tmp_path / "o", "--steps", 20, "--picture-every", 10, *TINY)
    assert done.returncode == 0 and "no scores: no left hand" in done.stdout and (tmp_path / "o" / "sample-10.png").exists(), done.stderr
    done = run("sample.py", tmp_path / "c" / "a.wav", "--checkpoint", tmp_path / "o" / "model.pt", "--out", tmp_path / "made")
    assert done.returncode == 0 and sorted(p.name for p in (tmp_path / "made").iterdir()) == ["a.bvh", "a.html", "a.png"], done.stderr
    assert_one_error_line(run("evaluate.py", "--checkpoint", tmp_path / "o" / "model.pt", "--data", tmp_path / "c"), "c.bvh: no left hand")
    done = run("data.py", "plot", tmp_path / "c", "a", "--out", tmp_path / "made")
    assert done.returncode == 0 and (tmp_path / "made" / "a.png").stat().st_size > 10_000, done.stderr


def other_skeleton(folder):
    take(folder, "a", number=0)
    take(folder, "b", number=1)
    text = (folder / "b.bvh").read_text()
    (folder / "b.bvh").write_text(text.replace("JOINT LeftHand\n", "JOINT LeftPaw\n"))


@pytest.mark.parametrize("build,word", [
    (lambda f: f.mkdir(), "no pairs"), (lambda f: take(f, "a", wav=False), "no pairs"), (lambda f: (take(f, "a"), take(f, "b", bvh=False)), "b.wav"),
    (lambda f: (take(f, "a"), take(f, "b", wav=False)), "b.bvh"), (other_skeleton, "LeftPaw"),
    (lambda f: (take(f, "a"), (f / "a.bvh").write_text((f / "a.bvh").read_text()[:-400])), "a.bvh"),
    (lambda f: (take(f, "a"), soundfile.write(f / "a.wav", tone(9), 16_000)), "last"), (lambda f: (take(f, "a"), soundfile.write(f / "a.wav", np.zeros(64_000), 16_000)), "silent"),
    (lambda f: take(f, "a", seconds=2.9), "--window"), (lambda f: (take(f, "a"), (f / "a.mp3").write_bytes(b"x")), "several")])
def test_bad_corpora_get_one_line(tmp_path, build, word):
    build(tmp_path / "corpus")
    assert_one_error_line(run("train.py", "--data", tmp_path / "corpus", "--out", tmp_path / "o", *TINY), word)


def test_without_named_folders_a_tenth_is_held_out_by_name(tmp_path):
    for n in range(200):
        (tmp_path / f"{n}.bvh").touch(), (tmp_path / f"{n}.wav").touch()
    split = data.find_pairs(tmp_path)
    assert 8 <= len(split["test"]) <= 35 and 8 <= len(split["valid"]) <= 35 and sum(map(len, split.values())) == 200
    (tmp_path / "new.bvh").touch(), (tmp_path / "new.wav").touch()
    assert set(split["test"]) <= set(data.find_pairs(tmp_path)["test"]), "a new take does not move the others"


def test_a_handful_of_takes_has_one_to_test_whatever_their_names(tmp_path):
    for n in range(40):
        folder = tmp_path / f"names {n}"
        folder.mkdir()
        for m in range(3 + n % 4):
            (folder / f"{n}-{m}.bvh").touch(), (folder / f"{n}-{m}.wav").touch()
        split = data.find_pairs(folder)
        assert split["test"] and split["train"] and sum(map(len, split.values())) == 3 + n % 4
    folder = tmp_path / "all of them held out by their names"
    folder.mkdir()
    for name in ("take19", "take37", "take2"):       # by their hashes two for valid, one for the test
        (folder / f"{name}.bvh").touch(), (folder / f"{name}.wav").touch()
    assert {part: len(takes) for part, takes in data.find_pairs(folder).items()} == dict(train=1, valid=1, test=1)
    all_valid = [(tmp_path / f"take{n}.bvh", tmp_path / f"take{n}.wav") for n in (19, 37, 60)]
    assert {data.name_hash(bvh.stem) % 10 for bvh, _ in all_valid} == {1}
    assert {part: len(takes) for part, takes in data.split_takes(tmp_path, all_valid).items()} == dict(train=1, valid=1, test=1)
    assert {part: len(takes) for part, takes in data.find_pairs(folder, ["*"]).items()} == dict(train=0, valid=0, test=3), "names given say it all"
    (tmp_path / "named" / "valid").mkdir(parents=True)
    for name in ("a", "b", "valid/c"):
        (tmp_path / "named" / f"{name}.bvh").touch(), (tmp_path / "named" / f"{name}.wav").touch()
    assert {part: len(takes) for part, takes in data.find_pairs(tmp_path / "named").items()} == dict(train=2, valid=1, test=0), "folders say it all"


@pytest.mark.parametrize("arguments,word", [
    (["--seconds", "0"], "--seconds"), (["--train", "x"], "--train"), (["--train", "0", "--valid", "0", "--test", "0"], "nothing to write"),
    (["--speakers", "1", "-1"], "--speakers"), (["--out", "file/corpus"], "file"), (["--out", "."], "--out .: holds something already")])
def test_a_puppet_that_cannot_be_written_gets_one_line(tmp_path, arguments, word):
    (tmp_path / "file").touch()
    assert_one_error_line(run("puppet.py", *arguments, cwd=tmp_path), word)


def test_ctrl_c_is_no_error_of_the_program(capsys):
    def main():
        raise KeyboardInterrupt
    with pytest.raises(SystemExit) as left:
        data.run_script(main)
    assert left.value.code == 130 and capsys.readouterr().err == "stopped\n"     # 128 + the signal's number, as shells have it


def test_a_reader_that_stops_listening_is_no_error(tiny_corpus):
    script = subprocess.Popen([sys.executable, str(ROOT / "data.py"), "check", str(tiny_corpus)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    script.stdout.close()                            # before the first line comes
    said = script.stderr.read()
    assert script.wait() == 0 and "error" not in said.lower(), said


def test_windows_are_cut_inside_takes_and_pose_and_speech_belong_together(tiny_corpus):
    from wavlm_loader import SpeechFeatures
    corpus = data.Corpus(sum(data.find_pairs(tiny_corpus).values(), []), SpeechFeatures("mel")).to("cpu", 50)
    corpus.pose = torch.arange(len(corpus.pose)).float()[:, None]
    corpus.speech = -corpus.pose[:, None]            # [all frames, one hearing, 1]
    pose, speech = corpus.batch(500, torch.Generator().manual_seed(0))
    assert torch.equal(pose, -speech) and (pose.diff(dim=1) == 1).all()
    ends = torch.tensor(np.cumsum([len(p) for p in corpus.poses]))[:-1]
    assert not ((pose[:, 0] < ends[:, None, None].float()) & (pose[:, -1] >= ends[:, None, None].float())).any()


# ---- evaluate.py -------------------------------------------------------------------------------------------------
def test_speech_too_short_to_be_shifted_is_not_scored(tiny_run, tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(1.9), 16_000)
    done = run("evaluate.py", "--checkpoint", tiny_run / "last.pt", "--steps", 2, "--speech", tmp_path / "short.wav")
    assert done.returncode == 0 and re.search(r"onset_hits +-\n", done.stdout), done.stderr
    hits = metrics.onset_hits([np.array([0.5])], torch.from_numpy(tone(2.1)).float(), np.random.default_rng(0))
    assert np.isfinite(hits).all()
    assert_one_error_line(run("evaluate.py", "--guidance", "nan"), "--guidance")
    assert_one_error_line(run("evaluate.py", "--grid-power", "inf"), "--grid-power")


def test_a_take_without_strokes_says_nothing_about_onsets():
    """Nor does one that is too short, nor a stroke that comes after the sound: one of four takes is left, and its one stroke hits."""
    waveform, rng = torch.from_numpy(tone(3.0)).float() * (torch.arange(48_000) > 16_000), np.random.default_rng     # it begins after a second
    onset = metrics.energy_onsets(waveform)[0]
    alone = metrics.onset_hits([np.array([onset])], waveform, rng(0))[:2]
    none, one = np.zeros(0), np.array([onset])
    assert alone[0] == 1 and metrics.onset_hits_of_takes([none, one, one, one + 9], [3, 3, 1.5, 20], [waveform] * 4, rng(0)) == alone
    assert np.isnan(metrics.onset_hits_of_takes([none], [3], [waveform], rng(0))).all()


def test_the_truth_scores_as_the_truth(tiny_corpus):
    """Every puppet score of the recorded motion itself is the best that can be had; of a still body, the worst."""
    bvh, _ = data.find_pairs(tiny_corpus)["test"][0]
    answers = json.loads(bvh.with_suffix(".json").read_text())
    truth = M.resample(M.read_bvh(bvh), 20)
    scores = metrics.puppet_scores([truth] * 2, [truth] * 2, [truth] * 2, [answers] * 2)
    assert scores["beat_f1_share"] == 1 and scores["style_error"] == 0 and scores["rest_error"] == 0 and scores["hand_agreement"] == 1
    assert scores["beat_f1"] > 0.9
    still = M.Motion(**{**vars(truth), "rotations": np.repeat(truth.rotations[:1], len(truth), 0), "positions": np.repeat(truth.positions[:1], len(truth), 0)})
    scores = metrics.puppet_scores([still] * 2, [still] * 2, [truth] * 2, [answers] * 2)
    assert scores["beat_f1"] == 0 and scores["rest_error"] == pytest.approx(1) and scores["style_error"] > 0.4


def test_matching_is_the_largest_one_to_one_matching():
    scipy = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = np.sort(rng.uniform(0, 2, rng.integers(1, 9))), np.sort(rng.uniform(0, 2, rng.integers(1, 9)))
        near = np.abs(a[:, None] - b) <= 0.1
        rows, columns = scipy.linear_sum_assignment(-near.astype(float))
        assert metrics.matches(a, b) == near[rows, columns].sum()


def test_onsets_of_known_bursts_are_found():
    times = np.array([0.5, 1.31, 2.0, 2.77])
    t = torch.arange(3 * 16_000 + 8000) / 16_000
    level = sum(torch.exp(-(t - at).clamp(min=0) / 0.1) * torch.sigmoid((t - at) * 300) for at in times)
    found = metrics.energy_onsets(level * torch.randn(len(t), generator=torch.Generator().manual_seed(0)))
    assert len(found) == 4 and np.abs(found - times).max() < 0.07


def test_strokes_on_onsets_beat_chance_and_random_strokes_do_not():
    rng = np.random.default_rng(0)
    t = torch.arange(60 * 16_000) / 16_000
    times = np.cumsum(rng.uniform(0.5, 2.0, 40))
    times = times[times < 59]
    waveform = torch.randn(len(t)) * sum(torch.exp(-((t - at - 0.05) / 0.05) ** 2) for at in times) + 1e-3 * torch.randn(len(t))
    on, chance, high, lucky = metrics.onset_hits([metrics.energy_onsets(waveform)], waveform, rng)
    assert on == 1 and chance < 0.35 and high < 0.5 and lucky == 0
    random = [metrics.onset_hits([np.sort(rng.uniform(0, 60, 40))], waveform, rng) for _ in range(20)]
    assert abs(np.mean([r[0] - r[1] for r in random])) < 0.06 and 0.3 < np.mean([r[3] for r in random]) < 0.7


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_the_shipped_model_beats_on_the_energy_onsets_of_real_speech(path):
    """Speech that the puppet never heard, against the same recording shifted by random amounts."""
    if not (ROOT / "pretrained" / "puppet.pt").exists():
        pytest.skip("no shipped model")
    generator = sample.load_generator(ROOT / "pretrained" / "puppet.pt")
    scores = evaluate.evaluate_speech(generator, [path], seeds=range(3))[path.name]
    assert scores["onset_hits"] > scores["onset_hits_shifted"] and scores["strokes_per_minute"] > 10


def test_the_shipped_model_is_small_and_carries_no_training_state():
    path = ROOT / "pretrained" / "puppet.pt"
    assert path.stat().st_size < 5e6 and "training" not in sample.read_checkpoint(path)


@pytest.mark.parametrize("muon", [0, 2])
def test_two_processes_train_as_one_with_the_whole_batch(tiny_corpus, tmp_path, muon):
    """torchrun with gloo on the CPU: each takes half of every batch, and losses and weights are those of one process with all of it."""
    common = ["--data", tiny_corpus, "--steps", 20, "--save-every", 20, *TINY, "--warmup", 5, "--muon", muon]
    alone = run("train.py", *common, "--out", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", 0, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    both = subprocess.run([*map(str, [*launch, ROOT / "train.py", *common, "--out", tmp_path / "two"])], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"})
    assert both.returncode == 0, both.stderr[-2000:]
    assert both.stdout.count("parameters, cpu") == 1, "one of them speaks"
    one, two = last(tmp_path / "one")["training"], last(tmp_path / "two")["training"]
    assert np.allclose(one["losses"], two["losses"], rtol=2e-3) and one["losses"][0] != one["losses"][1]
    apart = torch.cat([(weight - one["weights"][name]).abs().flatten() for name, weight in two["weights"].items()])
    # 20 steps of at most 1e-3 moved them up to 2e-2. Muon makes steps of what is only rounding, in directions that no gradient asks for: there on the whole only
    assert apart.max() < 5e-3 if muon == 0 else apart.mean() < 5e-4


def test_a_batch_that_does_not_divide_among_the_processes_gets_one_line(tiny_corpus, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), "--data", str(tiny_corpus), "--out", str(tmp_path / "o"), *map(str, TINY)], capture_output=True, text=True,
                          env={**os.environ, "WORLD_SIZE": "3", "RANK": "0"})
    assert_one_error_line(done, "--batch 4", "3 processes")
