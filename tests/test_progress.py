"""What one sees of a training: loss.csv, and the loss on held-out takes."""

import csv
import math

import pytest
import torch
from conftest import TINY, call, last

import progress
import runs
import train
from data import Corpus
from diffmotion import DiffMotion
from recordings.pairs import find_pairs
from wavlm_loader import SpeechFeatures


@pytest.fixture(scope="module")
def rows(tiny_run):
    """loss.csv of 40 steps, as numbers or None."""
    with open(tiny_run / "loss.csv", newline="") as file:
        return [
            {name: float(text) if text else None for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def test_the_table_has_the_losses_and_the_learning_rate(rows, tiny_run):
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    losses = last(tiny_run)["training"]["losses"]
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=1e-5)
    # Within the warm-up of 200 steps to 1e-3: each step's number, counted from 1, of 200
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([1e-3 * step / 200 for step in (10, 20, 30, 40)])


def test_held_out_takes_are_listened_to_at_each_picture_and_at_the_end(rows, tiny_run):
    heard = [row["valid_loss"] for row in rows]
    assert [loss is None for loss in heard] == [True, False, True, False]
    kept = last(tiny_run)["training"]["valid"]  # the end's comes after the last checkpoint
    assert kept == [[20, pytest.approx(heard[1], rel=1e-5)]]


def test_pictures_and_validation_do_not_change_the_training(tiny_corpus, tiny_run, tmp_path):
    given = ["--data", tiny_corpus, "--out", tmp_path, "--steps", 40, "--save-every", 40, *TINY]
    assert call(train, *given).returncode == 0
    seldom, often = last(tmp_path), last(tiny_run)
    assert seldom["training"]["losses"] == often["training"]["losses"]
    for name, weight in seldom["training"]["weights"].items():
        assert torch.equal(weight, often["training"]["weights"][name]), name


def test_an_untrained_network_of_the_paper_misses_all_of_the_noise():
    """Its answer is 0, so that the loss is the mean square of the noise that was drawn."""
    model, pose = DiffMotion(6, 5, width=16, depth=1, heads=2), torch.zeros(3, 20, 6)
    squares = []
    for seed in range(4):
        random = torch.Generator().manual_seed(seed)
        torch.randint(1000, (3,), generator=random)
        squares.append(torch.randn(3, 20, 6, generator=random).square().mean().item())
    before = torch.get_rng_state()
    given = model, pose, torch.zeros(3, 20, 5), train.training_loss, train.draw
    loss = progress.validation_loss(*given)
    assert loss == pytest.approx(sum(squares) / 4, rel=1e-5) and 0.8 < loss < 1.2
    assert progress.validation_loss(*given) == loss
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_windows_are_scaled_as_those_of_the_training(tiny_corpus, tmp_path, capsys):
    pairs = find_pairs(tiny_corpus)
    corpus = Corpus(pairs["train"], SpeechFeatures("mel")).to("cpu", 60)
    settings = train.Settings(window=60)
    pose, speech = progress.held_out_windows(pairs["valid"], corpus, settings, tmp_path)
    again, _ = progress.held_out_windows(pairs["valid"], corpus, settings, tmp_path)
    assert pose.shape == (16, 60, corpus.codec.pose_dim) and torch.equal(pose, again)
    scales = dict(codec=corpus.codec, speech_scale=corpus.speech_scale)
    seen = Corpus(pairs["valid"], SpeechFeatures("mel"), **scales)
    first = (seen.poses[0].unfold(0, 60, 1) == pose[0].T).all(dim=(1, 2))  # which window is it?
    assert first.sum() == 1
    at = int(first.nonzero())
    assert torch.equal(seen.speeches[0][at : at + 60], speech[0])

    assert progress.held_out_windows([], corpus, settings, tmp_path) is None
    settings.window = 10_000
    assert progress.held_out_windows(pairs["valid"], corpus, settings, tmp_path) is None
    assert capsys.readouterr().out.startswith("no validation loss: ")


def test_a_run_without_held_out_takes_has_a_table_all_the_same(tmp_path):
    class Alone:
        first = True

    s = train.Settings(steps=20, warmup=0)
    run = runs.Run(tmp_path, s, None, Alone, "train.py")
    run.losses, run.learning_rate = [0.5, 0.25], lambda step, warmup, steps: math.exp(-step)
    run.validate(20, None, None, None)  # nothing to do
    run.write_table()
    lines = (tmp_path / "loss.csv").read_text().splitlines()
    assert lines[0] == "step,loss,learning_rate,valid_loss"
    assert lines[2].startswith("20,0.25,") and lines[2].endswith(",")
