"""A run in its folder: one at a time, the recordings that it was started with, what ends it not.

Runs that are stopped and go on are in test_train.py.
"""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import (
    TINY,
    assert_one_error_line,
    call,
    command,
    environment,
    last,
    take,
)

import progress
import runs
import train
from lab.kills import same
from tools import alone_in


def goes_on(out, steps):
    """Have a run's last checkpoint ask for more steps."""
    state = last(out)
    state["training"]["settings"]["steps"] = steps
    torch.save(state, out / "last.pt")


# ------------------------------------------------------------------------------------------------
# One run in a folder
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("also", [[], ["--resume"]], ids=["anew", "resumed"])
def test_a_second_run_in_a_folder_gets_one_line_and_changes_nothing(
    tiny_corpus, tiny_run, tmp_path, also
):
    out = tmp_path / "o"
    shutil.copytree(tiny_run, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    given = ["--data", tiny_corpus, "--out", out, *also, *TINY]
    with alone_in(out, "busy"):
        done = call(train, *given, *([] if also else ["--steps", 10]))
        assert_one_error_line(done, str(out), "another run is at work", "--out")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path):
    done = call(train, "--data", tmp_path / "nowhere", "--out", tmp_path / "o", *TINY)
    assert_one_error_line(done, "nowhere: no such folder")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------
# The same recordings
# ------------------------------------------------------------------------------------------------
@pytest.fixture
def begun(tmp_path):
    """(corpus, out): a run of 10 steps on two takes, which wants to go on to 20."""
    for number, stem in enumerate(("one", "two", "three")):
        take(tmp_path / "c", stem, number=number)
    given = ["--data", tmp_path / "c", "--test", "two", "--out", tmp_path / "o", "--steps", 10]
    assert call(train, *given, *TINY).returncode == 0
    goes_on(tmp_path / "o", 20)
    return tmp_path / "c", tmp_path / "o"


@pytest.mark.parametrize("ending, what", [(".bvh", "motion"), (".wav", "sound")])
def test_other_recordings_of_the_same_names_and_lengths_are_noticed(begun, ending, what):
    corpus, out = begun
    take(corpus.parent, "other", number=5)
    (corpus.parent / f"other{ending}").rename(corpus / f"three{ending}")
    done = call(train, "--out", out, "--resume")
    assert_one_error_line(done, f"last.pt: the {what} of three.bvh in {corpus}", "start anew")


def test_the_same_sound_in_another_format_is_the_same_recording(begun):
    corpus, out = begun
    sound, rate = soundfile.read(corpus / "one.wav", dtype="int16")
    soundfile.write(corpus / "one.flac", sound, rate)
    (corpus / "one.wav").unlink()
    done = call(train, "--out", out, "--resume")
    assert done.returncode == 0 and last(out)["training"]["step"] == 20, done.stderr


def test_a_run_of_an_earlier_version_has_no_fingerprints_and_goes_on(begun):
    _, out = begun
    state = last(out)
    del state["training"]["fingerprints"]
    torch.save(state, out / "last.pt")
    done = call(train, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(last(out)["training"]["fingerprints"]) == 2


def test_a_run_goes_on_with_the_number_of_threads_that_it_was_started_with(begun, monkeypatch):
    """Sums of another number of threads are rounded otherwise."""
    _, out = begun
    state, asked = last(out), []
    assert state["training"]["threads"] == torch.get_num_threads()
    state["training"]["threads"] = 2
    torch.save(state, out / "last.pt")
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert call(train, "--out", out, "--resume").returncode == 0 and asked == [2]
    state["training"]["threads"] = 0
    torch.save(state, out / "last.pt")
    assert_one_error_line(call(train, "--out", out, "--resume"), "last.pt", "training.threads")


def test_a_fingerprint_is_the_product_with_two_waves():
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3)))
    by_hand = sum(math.cos(n) * math.cos(k) * float(rows[n, k]) for n in range(5) for k in range(3))
    assert runs.of_wave(rows) == pytest.approx(by_hand / math.sqrt(15), rel=1e-5)
    assert runs.of_wave(rows.roll(1, 0)) != pytest.approx(by_hand / math.sqrt(15), abs=runs.SAME)


# ------------------------------------------------------------------------------------------------
# What ends no run
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("both", [False, True], ids=["| head -1", "2>&1 | head -1"])
def test_a_training_goes_on_where_nobody_reads_what_it_prints(tiny_corpus, tmp_path, both):
    given = ["--data", tiny_corpus, "--out", tmp_path, "--steps", 10, *TINY]
    error = subprocess.STDOUT if both else subprocess.PIPE
    pipes = dict(stdout=subprocess.PIPE, stderr=error, text=True, env=environment())
    with subprocess.Popen(command("train.py", *given), **pipes) as process:
        process.stdout.close()
        said = "" if both else process.stderr.read()
        assert process.wait(timeout=300) == 0 and "Error" not in said, said
    assert last(tmp_path)["training"]["step"] == 10 and (tmp_path / "model.pt").exists()


def test_a_disk_too_full_for_a_picture_ends_no_training(tiny_corpus, tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    for name in ("plot_motion", "plot_loss"):
        monkeypatch.setattr(train, name, full)
    monkeypatch.setattr(progress, "write_table", full)
    often = ["--steps", 20, "--picture-every", 10]
    done = call(train, "--data", tiny_corpus, "--out", tmp_path, *often, *TINY)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    for name in ("loss.csv", "sample-10.png", "loss.png", "sample-20.png"):
        assert any(f"{name}: No space left" in line for line in warnings), name
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "model.pt"}


def test_a_run_that_is_killed_at_a_picture_draws_it_when_it_goes_on(
    tiny_corpus, tmp_path, monkeypatch
):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    often = ["--steps", 40, "--save-every", 10, "--picture-every", 20, *TINY]
    assert call(train, "--data", tiny_corpus, "--out", whole, *often).returncode == 0

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(train, "draw_sample", kill)
        assert call(train, "--data", tiny_corpus, "--out", killed, *often).returncode == 130
    assert last(killed)["training"]["step"] == 10
    assert call(train, "--out", killed, "--resume").returncode == 0
    assert {p.name for p in killed.iterdir()} == {p.name for p in whole.iterdir()}
    one, two = last(whole), last(killed)
    for state in (one, two):
        del state["training"]["settings"]["out"]
    assert same(one, two)


def test_held_out_takes_are_named_in_one_line():
    def pairs(*names):
        return [(Path(f"c/{name}.bvh"), Path(f"c/{name}.wav")) for name in names]

    line = runs.names_held_out(dict(test=pairs("b", "anna/1", "ben/1"), valid=[]), [])
    assert line == "held out for test: anna/1, b, ben/1; valid: none"
    of_two = runs.names_held_out(dict(test=pairs("anna/1"), valid=[]), pairs("ben/1", "ben/2"))
    assert of_two == "held out for test: anna/1; valid: none"
    many = runs.names_held_out(dict(test=[], valid=pairs(*"abcde")), [], most=2)
    assert many == "held out for test: none; valid: a, b and 3 more"
