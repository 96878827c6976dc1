"""train.py's command line: the paper's recipe, settings and corpora that cannot be used."""

import re

import numpy as np
import pytest
import soundfile
from conftest import TINY, assert_one_error_line, call, environment, last, run, take
from test_audio import tone
from test_train import PAPER, same

import runs
import sample
import train
from beyond.recipes import DEPARTURES, PAPER_SETTINGS


# ------------------------------------------------------------------------------------------------
# The paper as it is
# ------------------------------------------------------------------------------------------------
def test_the_papers_recipe_prints_a_source_for_each_of_its_numbers(
    tiny_corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = ["--data", tiny_corpus, "--out", "run", "--steps", 10, *PAPER, *TINY]
    done = call(train, *given)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    rows = [re.split(r"  +", line.strip()) for line in lines]
    assert len(rows) == 11 + len(PAPER_SETTINGS) and {len(row) for row in rows} == {3}
    table = {name: (value, source) for name, value, source in rows}
    assert table["objective"] == ("mean squared error of the noise", "the paper")
    for name in ("width", "steps", "features"):  # what was given here is not the paper's
        assert table[name][1] == "the command line"
    assert table["lr"] == ("0.0002", "the authors' later configurations")
    assert all(len(line) <= 100 for line in lines)


def test_the_papers_recipe_trains_and_samples_by_ddpm(tiny_corpus, tmp_path):
    """That it resumes to the same numbers is in test_train.py."""
    out, sound = tmp_path / "run", tmp_path / "a.wav"
    given = ["--data", tiny_corpus, "--out", out, "--steps", 10, *PAPER, *TINY]
    assert call(train, *given).returncode == 0
    state = last(out)
    assert state["recipe"]["adaln"] == dict(piece="AdaLN") and state["recipe"]["steps"] == 1000
    assert state["speech"]["kind"] == "mfcc" and state["training"]["settings"]["mirror"]
    assert same(state["ema"], state["training"]["weights"]), "the paper averages nothing"
    soundfile.write(sound, tone(1), 16_000)
    common = [sound, "--checkpoint", out / "model.pt", "--steps", 4]
    assert call(sample, *common, "--out", tmp_path / "usual").returncode == 0
    said = ["--sampler", "ddpm", "--guidance", 1, "--out", tmp_path / "said"]
    assert call(sample, *common, *said).returncode == 0
    usual, said = (tmp_path / name / "a.bvh" for name in ("usual", "said"))
    assert usual.read_bytes() == said.read_bytes()
    done = call(sample, *common, "--out", tmp_path / "s", "--stream")
    assert_one_error_line(done, "sees back to the first frame")


def test_without_wavlm_the_error_says_how_to_get_it_and_how_to_do_without(tmp_path):
    cut_off = dict(TORCH_HOME=str(tmp_path), HTTPS_PROXY="http://127.0.0.1:9")
    given = ["--recipe", "paper", "--out", tmp_path / "o", "--device", "cpu"]
    done = run("train.py", *given, env=environment(**cut_off))
    for how in ("--wavlm-checkpoint FILE", "to download it", "--recipe paper --features mfcc"):
        assert_one_error_line(done, how)


# ------------------------------------------------------------------------------------------------
# Bad settings and bad corpora
# ------------------------------------------------------------------------------------------------
# fmt: off
BAD_SETTINGS = [
    (["--steps", 0], "--steps"), (["--steps", "many"], "--steps"), (["--batch", 0], "--batch"),
    (["--window", 0], "--window"), (["--depth", 0], "--depth"), (["--save-every", 0], "--save"),
    (["--width", 30, "--heads", 4], "heads"), (["--width", 36, "--heads", 4], "heads"),
    (["--features", "ears"], "--features"), (["--layer", 13, "--features", "wavlm"], "--layer"),
    (["--layer", 3], "--layer is WavLM's"), (["--recipe", "cake"], "--recipe"),
    (["--wavlm-checkpoint", "w"], "--wavlm-checkpoint is"),
    (["--device", "x"], "--device"), (["--fps", 0], "--fps"), (["--fps", "nan"], "--fps"),
    (["--fps", 241], "--fps"),
    (["--lr", "nan"], "--lr"), (["--lr", -1], "--lr"), (["--lr", 2], "--lr"),
    (["--warmup", -1], "--warmup"), (["--seed", -1], "--seed"), (["--seed", 10**18], "--seed"),
    (["--undo", "ear"], "--undo ear"), (["--undo", "muon,ears"], "--undo ears"),
    (["--resume", "--out", "/nowhere"], "nowhere"), (["--data", "/nowhere"], "nowhere"),
]
# Flags that --undo or lab.baselines stand for now
GONE = [
    "--adaln", "--answer", "--memory", "--momentum", "--segment", "--muon", "--noise", "--voices",
    "--loss-power", "--attention-window", "--diffusion-steps", "--beta-end", "--clip", "--ema",
    "--drop", "--weight-decay", "--model", "--no-scores",
]
# fmt: on


@pytest.mark.parametrize("arguments, word", BAD_SETTINGS, ids=lambda x: " ".join(map(str, x)))
def test_bad_settings_get_one_line(arguments, word, tmp_path):
    assert_one_error_line(call(train, "--out", tmp_path / "o", *arguments), word)


@pytest.mark.parametrize("flag", GONE)
def test_flags_that_there_are_no_more_get_one_line(flag, tmp_path):
    done = call(train, "--out", tmp_path / "o", flag, 1)
    assert_one_error_line(done, flag, "train.py --help")


def test_each_departure_can_be_taken_back_from_the_command_line():
    for name in DEPARTURES:
        settings, _, _ = train.parse(["--undo", name])
        assert settings.undo == name


def other_skeleton(folder):
    take(folder, "a", number=0)
    take(folder, "b", number=1)
    text = (folder / "b.bvh").read_text()
    (folder / "b.bvh").write_text(text.replace("JOINT LeftHand\n", "JOINT LeftPaw\n"))


def cut_motion(folder):
    take(folder, "a")
    (folder / "a.bvh").write_text((folder / "a.bvh").read_text()[:-400])


def long_sound(folder):
    take(folder, "a")
    soundfile.write(folder / "a.wav", tone(9), 16_000)


def silent_sound(folder):
    take(folder, "a")
    soundfile.write(folder / "a.wav", np.zeros(64_000), 16_000)


def second_sound(folder):
    take(folder, "a")
    (folder / "a.mp3").write_bytes(b"x")


def lonely(ending):
    def build(folder):
        take(folder, "a")
        take(folder, "b", without=[ending])

    return build


BAD_CORPORA = {
    "empty": (lambda folder: folder.mkdir(), "no pairs"),
    "no sound": (lambda folder: take(folder, "a", without=[".wav"]), "no pairs"),
    "a sound alone": (lonely(".bvh"), "b.wav"),
    "a motion alone": (lonely(".wav"), "b.bvh"),
    "another skeleton": (other_skeleton, "LeftPaw"),
    "a motion cut off": (cut_motion, "a.bvh"),
    "a sound too long": (long_sound, "last"),
    "a silent sound": (silent_sound, "silent"),
    "shorter than a window": (lambda folder: take(folder, "a", seconds=2.9), "--window"),
    "two sounds": (second_sound, "several"),
}


@pytest.mark.parametrize("build, word", BAD_CORPORA.values(), ids=BAD_CORPORA)
def test_bad_corpora_get_one_line(tmp_path, build, word):
    build(tmp_path / "corpus")
    done = call(train, "--data", tmp_path / "corpus", "--out", tmp_path / "o", *TINY)
    assert_one_error_line(done, word)


def test_each_setting_is_in_one_group_of_the_help():
    names = " ".join(train.GROUPS.values()).split()
    assert sorted(names) == sorted(vars(train.Settings()))
    assert set(runs.HERE_AND_NOW) | set(runs.ANEW) | set(PAPER_SETTINGS) <= set(names)
