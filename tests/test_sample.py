"""sample.py as people run it: files of any name, bad input, options, and several in one batch."""

import re

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_one_error_line, call, run
from test_audio import DAMAGES, damaged, speechlike, tone

import sample
from beyond.batches import in_batches, together
from body.bvh import read_bvh
from body.joints import hand_joints
from body.motion import Motion
from body.strokes import find_strokes
from recordings.audio import SAMPLE_RATE, load_audio
from sample import load_generator
from show.outputs import free_stem
from show.player import write_page
from tools import HERE, SHIPPED


def endings(folder):
    """The names of a folder's files."""
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------
# What comes out
# ------------------------------------------------------------------------------------------------
def test_speech_files_of_any_name_become_motion_page_and_picture(tiny_run, tmp_path):
    talk, mp3, flac = (
        tmp_path / name for name in ("my talk (2) ü.wav", "other.mp3", "again/other.flac")
    )
    flac.parent.mkdir()
    cut_up = tone(2.03, 44_100) * (np.arange(int(2.03 * 44_100)) % 9000 < 5000)
    soundfile.write(talk, cut_up, 44_100)
    soundfile.write(mp3, np.stack([tone(1.5, 24_000)] * 2, axis=1), 24_000)
    soundfile.write(flac, tone(1), 8_000)  # the stem of another file
    out, model = tmp_path / "where I want it", tiny_run / "last.pt"
    done = run("sample.py", talk, mp3, flac, "--checkpoint", model, "--out", out, "--steps", 4)
    assert done.returncode == 0, done.stderr
    stems = ("my talk (2) ü", "other", "other-2")
    assert endings(out) == {f"{stem}.{e}" for stem in stems for e in ("bvh", "html", "png")}
    assert len(read_bvh(out / "my talk (2) ü.bvh")) == 41  # ceil(2.03 * 20)
    page = (out / "my talk (2) ü.html").read_text()
    assert "__DATA__" not in page and "data:audio/mpeg;base64," in page
    assert not re.search(r"(src|href)=[\"']https?:", page), "the page must work offline"
    assert re.search(r"my talk \(2\) ü.wav: 2.0 s of speech, 41 frames, \d+ strokes", done.stdout)


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.051, 1.0, 7.999])
def test_the_motion_never_ends_before_the_speech(tiny_run, seconds):
    generator = load_generator(tiny_run / "last.pt")
    waveform = torch.randn(int(seconds * 16_000))
    (motion,) = generator(generator.speech_of(waveform), steps=2)
    assert len(motion) == int(np.ceil(round(len(waveform) / 800, 9)))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp"])
def test_each_sampler_and_guidance_can_be_chosen_and_a_seed_repeats(tiny_run, tmp_path, sampler):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    common = ["--checkpoint", tiny_run / "last.pt", "--sampler", sampler, "--steps", 3]
    made = {}
    for name, seed, guidance in (
        ("one", 3, 1.5), ("two", 3, 1.5), ("seed", 4, 1.5), ("guidance", 3, 1.0),
    ):  # fmt: skip
        own = ["--seed", seed, "--guidance", guidance]
        done = call(sample, tmp_path / "a.wav", *common, *own, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        made[name] = (tmp_path / name / "a.bvh").read_bytes()
    assert made["one"] == made["two"] and len(set(made.values())) == 3


def test_what_the_command_does_not_say_the_models_recipe_says(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    common = [tmp_path / "a.wav", "--checkpoint", tiny_run / "last.pt", "--out"]
    ours = ["--sampler", "dpmpp", "--steps", 10, "--guidance", 1.2]
    assert call(sample, *common, tmp_path / "usual").returncode == 0
    assert call(sample, *common, tmp_path / "said", *ours).returncode == 0
    usual, said = (tmp_path / name / "a.bvh" for name in ("usual", "said"))
    assert usual.read_bytes() == said.read_bytes()


def test_the_bvh_has_the_skeleton_of_the_corpus(tiny_run, tiny_corpus, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path, "--steps", 2]
    assert call(sample, tmp_path / "a.wav", *given).returncode == 0
    made, recorded = tmp_path / "a.bvh", next(tiny_corpus.glob("train/*.bvh"))
    made, recorded = (path.read_text().split("MOTION")[0] for path in (made, recorded))
    assert made == recorded


def test_a_motion_begins_where_it_rests():
    """A second of silence, then speech: no hand may swing before anything was said.

    Without warm-up frames the hands are five times as fast as this allows.
    """
    generator = load_generator(SHIPPED)
    spoken = load_audio(HERE / "assets" / "speech.wav")[: 4 * SAMPLE_RATE]
    speech = generator.speech_of(torch.cat([torch.zeros(SAMPLE_RATE), spoken]))
    speeds = []
    for motion in together(generator, [speech] * 4, seeds=range(4)):
        wrists = motion.joint_positions()[:9, hand_joints(motion)]  # [9, 2, 3]
        steps = np.linalg.norm(np.diff(wrists, axis=0), axis=-1) / motion.body_height()
        speeds.append(steps.mean() / motion.frame_time)  # body heights a second
        assert len(motion) == 100 and not (find_strokes(motion)[0] < 0.2).any()
    assert np.mean(speeds) < 0.05


def test_the_shipped_model_is_small_and_carries_no_training_state():
    state = torch.load(SHIPPED, weights_only=True)
    assert SHIPPED.stat().st_size < 5e6 and "training" not in state


# ------------------------------------------------------------------------------------------------
# Several at once
# ------------------------------------------------------------------------------------------------
def test_several_files_and_seeds_of_one_command_are_those_of_single_ones(tiny_run, tmp_path):
    files = [tmp_path / f"{name}.wav" for name in "abc"]
    for n, (file, seconds) in enumerate(zip(files, (2.0, 1.7, 0.4))):
        soundfile.write(file, speechlike(seconds, seed=n), 16_000)
    out, model = tmp_path / "all", tiny_run / "last.pt"
    common = ["--checkpoint", model, "--steps", 4, "--out", out]
    assert run("sample.py", *files, *common, "--seeds", 2, "--seed", 5).returncode == 0
    made = ("-seed5.bvh", "-seed6.bvh", ".html", ".png")
    assert endings(out) == {f"{stem}{ending}" for stem in "abc" for ending in made}
    generator = load_generator(model)
    for name, seed in (("a", 5), ("b", 6), ("c", 5)):
        speech = generator.speech_of(load_audio(tmp_path / f"{name}.wav"))
        (alone,) = generator(speech, seed=seed, steps=4)
        shared = read_bvh(out / f"{name}-seed{seed}.bvh")
        assert len(shared) == len(alone)
        assert np.abs(shared.joint_positions() - alone.joint_positions()).max() < 0.01  # cm
    five, six = (read_bvh(out / f"a-seed{seed}.bvh").joint_positions() for seed in (5, 6))
    assert np.abs(five - six).max() > 0.1


def test_a_batch_holds_files_of_about_one_length():
    def batches(*lengths, copies=1):
        jobs = [(None, None, torch.empty(1, frames, 0)) for frames in lengths]
        return [[job[2].shape[1] for job in jobs] for jobs in in_batches(jobs, copies)]

    assert batches(100, 90, 80) == [[100, 90, 80]]
    assert batches(100, 40) == [[100], [40]], "more than a quarter would be padding"
    assert batches(3000, 3000, 3000) == [[3000, 3000], [3000]], "at most 8000 frames"
    assert batches(1000, 1000, 1000, copies=4) == [[1000, 1000], [1000]], "of all seeds"
    assert batches() == []


# ------------------------------------------------------------------------------------------------
# Bad input
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", DAMAGES)
def test_bad_speech_gets_one_line_and_leaves_nothing(tiny_run, tmp_path, kind):
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out", "--steps", 2]
    assert_one_error_line(call(sample, damaged(tmp_path, kind), *given), "file.")
    assert endings(tmp_path / "out") == set()


def test_one_bad_file_does_not_cost_the_good_ones(tiny_run, tmp_path):
    soundfile.write(tmp_path / "good.wav", tone(1), 16_000)
    files = [damaged(tmp_path, "silent"), tmp_path / "good.wav"]
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out", "--steps", 2]
    assert_one_error_line(run("sample.py", *files, *given), "silent")
    assert (tmp_path / "out" / "good.bvh").exists()


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--steps", 0], "--steps"),
        (["--steps", -3], "--steps"),
        (["--steps", 1001], "--steps 1001"),
        (["--steps", "many"], "--steps"),
        (["--seeds", 0], "--seeds"),
        (["--seeds", 10**9], "--seeds"),
        (["--seed", 2**32 - 1, "--seeds", 2], "--seed "),
        (["--device", "meta"], "meta"),
        (["--chunk", 0], "--chunk"),
        (["--chunk", 7], "--chunk 7: is for --stream and --live"),
        (["--sampler", "euler"], "--sampler"),
        (["--guidance", "nan"], "--guidance"),
        (["--guidance", "inf"], "--guidance"),
        (["--seed", -1], "--seed"),
        (["--precision", "float8"], "--precision"),
        (["--precision", "int8"], "--precision"),  # there is no more
        (["--speed", 3], "--speed"),
        (["--device", "abacus"], "abacus"),
        (["--out", "-"], "--live"),
        (["--live"], "--live"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_options_get_one_line(tiny_run, tmp_path, arguments, word):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out"]
    assert_one_error_line(call(sample, tmp_path / "a.wav", *given, *arguments), word)
    assert not (tmp_path / "out").exists()


def test_without_a_file_one_line_asks_for_it():
    assert_one_error_line(call(sample), "audio")


def test_a_guidance_that_leaves_no_number_gets_one_line(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1), 16_000)
    given = ["--checkpoint", tiny_run / "last.pt", "--out", tmp_path / "out"]
    done = call(sample, tmp_path / "a.wav", *given, "--guidance", 1e38)
    assert_one_error_line(done, "not a number", "--guidance")
    assert endings(tmp_path / "out") == set()


# ------------------------------------------------------------------------------------------------
# Where it is written
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", ["under a file", "is a file"])
def test_an_output_folder_that_cannot_be_written_gets_one_line(tiny_run, tmp_path, place):
    sound = tmp_path / "a.wav"
    soundfile.write(sound, tone(1), 16_000)
    out = sound / "out" if place == "under a file" else sound
    given = ["--checkpoint", tiny_run / "last.pt", "--out", out, "--steps", 2]
    assert_one_error_line(call(sample, sound, *given), "a.wav")


@pytest.mark.parametrize("name", ["my.bvh", "my.HTML", "my.png", "my.mp4", "my.gif"])
def test_an_out_that_looks_like_a_file_gets_one_line(tmp_path, name):
    done = call(sample, "a.wav", "--out", tmp_path / name)
    assert_one_error_line(done, "a folder", f"--out {tmp_path}")
    assert endings(tmp_path) == set()


def test_what_lies_beside_the_sound_is_not_overwritten(tmp_path):
    """The motion recorded with a sound has its name, and that folder may be given as --out."""
    (tmp_path / "talk.bvh").write_text("recorded")
    assert free_stem(tmp_path / "talk.wav", set(), tmp_path, True) == "talk-2"
    (tmp_path / "talk-2.html").touch()
    assert free_stem(tmp_path / "talk.wav", set(), tmp_path, True) == "talk-3"
    assert free_stem(tmp_path / "other.wav", set(), tmp_path, True) == "other"
    out = tmp_path / "out"
    out.mkdir()
    (out / "talk.bvh").touch()  # of an earlier run, which is replaced
    assert free_stem(tmp_path / "talk.wav", set(), out) == "talk"
    assert free_stem(tmp_path / "Talk.flac", {"talk"}, out) == "Talk-2"


@pytest.mark.parametrize("ways", [[], ["--stream"]], ids=["files", "stream"])
def test_no_recorded_motion_is_overwritten_by_a_link_or_by_a_second_sound(tiny_run, tmp_path, ways):
    """A sound that is a link, with its motion beside the link; and one that shares a name.

    Options stand between the files.
    """
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "talk.wav", tone(1), 16_000)
    linked, second = tmp_path / "a" / "linked.wav", tmp_path / "b" / "talk.wav"
    linked.symlink_to(tmp_path / "c" / "talk.wav")
    recorded = [tmp_path / "a" / name for name in ("talk.bvh", "linked.bvh")]
    for path in recorded:
        path.write_text("recorded")
    given = ["--checkpoint", tiny_run / "last.pt", "--steps", 2]
    done = call(sample, linked, *given, second, "--out", tmp_path / "a", *ways)
    assert done.returncode == 0, done.stderr
    motions = {path.name for path in (tmp_path / "a").glob("*.bvh")}
    assert motions == {"talk.bvh", "talk-2.bvh", "linked.bvh", "linked-2.bvh"}
    assert [path.read_text() for path in recorded] == ["recorded", "recorded"]


def test_a_name_that_is_too_long_with_an_ending_costs_its_own_file_alone(tiny_run, tmp_path):
    files = [tmp_path / f"{name}.wav" for name in ("first", "l" * 251, "last")]
    for file in files:
        soundfile.write(file, tone(1), 16_000)
    given = ["--checkpoint", tiny_run / "last.pt", "--steps", 2, "--out", tmp_path / "out"]
    assert_one_error_line(call(sample, *files, *given), "too long")
    assert {"first.bvh", "last.bvh"} <= endings(tmp_path / "out")


def test_a_name_with_dollars_is_no_formula(tiny_run, tmp_path):
    sound = tmp_path / "a$1^2^3$.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
    given = ["--checkpoint", tiny_run / "last.pt", "--steps", 2, "--out", tmp_path / "out"]
    done = call(sample, sound, *given)
    assert done.returncode == 0 and (tmp_path / "out" / "a$1^2^3$.png").exists(), done.stderr


def test_a_title_cannot_break_out_of_the_page(tmp_path):
    names, still = ["Hips", "LeftHand", "RightHand"], np.tile(np.eye(3), (4, 3, 1, 1))
    places = np.tile(np.eye(3), (4, 1, 1))
    parents = np.array([-1, 0, 0])
    motion = Motion(names, parents, np.eye(3), [()] * 3, [], 0.05, still, places)
    write_page(tmp_path / "x.html", "</script><script>alert(1)</script>", {"a": motion})
    assert "</script><script>alert" not in (tmp_path / "x.html").read_text()
