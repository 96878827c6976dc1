"""The experiments do what they print."""

import json
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import assert_one_error_line, call, run

import train
from beyond.recipes import DEPARTURES, OURS, names_of, recipe_for
from body.motion import Motion
from diffmotion import PAPER, DiffMotion
from lab import (
    baselines,
    experiment_runs,
    experiment_tables,
    experiments,
    experiments_shipped,
    unfamiliar,
)
from lab.machine import machine
from recordings.pairs import CorpusError
from recordings.puppet import write_corpus
from tools import SHIPPED


# ---- the models ----------------------------------------------------------------------------------
def network_of(arguments):
    """(class, train.py's settings, recipe) of arguments that an experiment trains with."""
    name, words = experiment_runs.words_of(f"{arguments} --data puppet")
    settings, _, _ = train.parse(words)
    network = baselines.MODELS[name][0] if name else DiffMotion
    return network, settings, recipe_for(settings)


def test_all_models_have_as_many_parameters_within_a_tenth():
    """All but WavLM's, whose 768 numbers a frame need a larger speech encoder, and concat-4.

    How much larger and smaller is said beside experiments.MODELS.
    """
    sizes, dims = {}, dict(mel=40, mfcc=20, wavlm=768)
    for name, (_, arguments) in experiments.MODELS.items():
        network, s, recipe = network_of(arguments)
        model = network(46, dims[s.features], s.width, s.depth, heads=s.heads, recipe=recipe)
        sizes[name] = sum(p.numel() for p in model.parameters())
    ratios = {name: size / sizes["split"] for name, size in sizes.items()}
    odd = {"wavlm", "wavlm-sum", "concat-4"}
    assert all(abs(ratio - 1) < 0.1 for name, ratio in ratios.items() if name not in odd), ratios
    assert ratios["concat-4"] == pytest.approx(0.58, abs=0.02)
    assert ratios["wavlm"] == pytest.approx(2.6, abs=0.05)
    assert (sizes["wavlm"] - sizes["mfcc"]) / 1e6 == pytest.approx(3.2, abs=0.05)


def test_the_departures_are_undone_one_by_one_and_at_last_all():
    def fields(name):
        return names_of(network_of(experiments.MODELS[name][1])[2])

    ours = names_of(OURS)
    assert fields("ours") == ours and fields("paper") == names_of(PAPER)
    for name, change in DEPARTURES.items():
        undone = fields(f"without-{name}")
        assert {field for field in ours if undone[field] != ours[field]} == set(change), name


def test_departures_of_sampling_are_undone_in_our_own_model(monkeypatch):
    asked = []

    def on_seeds(args, name, arguments="", **sampling):
        asked.append((name, arguments, sampling))
        return "not run"

    monkeypatch.setattr(experiments, "on_seeds", on_seeds)
    monkeypatch.setattr(experiments, "bounds", lambda: [])
    labels = [label for label, _ in experiments.departures(SimpleNamespace(wavlm_checkpoint=None))]
    assert len(labels) == len(asked) == len(DEPARTURES) + 2
    assert asked[0] == ("ours", "", {}) and asked[-1][0] == "paper"
    sampled = [more for name, _, more in asked[1:] if name == "ours"]
    assert sampled == [dict(sampler="ddpm", steps=1000), dict(guidance=1.0), dict(warmup_frames=0)]
    assert ("without-muon", "--undo muon", {}) in asked


def test_what_is_to_differ_in_sampling_is_put_into_the_recipe():
    generator = experiment_runs.load(SHIPPED, "cpu", steps=2, warmup_frames=0)
    assert names_of(generator.model.recipe) == names_of(OURS) | dict(steps=2, warmup_frames=0)


# ---- parts of takes ------------------------------------------------------------------------------
def test_a_part_of_a_take_keeps_its_clock():
    still = np.broadcast_to(np.eye(3), (200, 1, 3, 3))
    place = np.arange(200.0)[:, None, None] * np.ones(3)
    none = np.zeros((1, 3))
    motion = Motion(["Hips"], np.array([-1]), none, [()], [], 0.05, still, place)
    phrases = [dict(start=1.0, end=3.5), dict(start=4.0, end=6.0), dict(start=7.0, end=8.5)]
    stresses = [dict(time=3.0), dict(time=4.5), dict(time=8.0)]
    answers = dict(phrases=phrases, stresses=stresses, speaker=7)
    cut, kept = experiment_runs.within(motion, answers, 3.5, 8.5)
    assert len(cut) == 100 and cut.positions[0, 0, 0] == 70
    assert kept == dict(
        phrases=[dict(start=0.5, end=2.5)], stresses=[dict(time=1.0), dict(time=4.5)], speaker=7
    )


def test_the_bounds_of_a_part_of_takes_are_those_of_its_own_seconds(tmp_path, monkeypatch):
    """From 12 s on the recordings are spoilt, and only there may it show."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "c", train=2, valid=0, test=2, seconds=24.0)
    truth = experiment_runs.reference_of(tmp_path / "c", "test").truth
    for n, motion in enumerate(truth):  # nobody moves any more
        still = np.minimum(np.arange(len(motion)), 12 * 20 - 1)
        rotations, positions = motion.rotations[still], motion.positions[still]
        truth[n] = replace(motion, rotations=rotations, positions=positions)
    bounds_within = partial(experiment_runs.bounds_within, tmp_path / "c")
    first, second = bounds_within(0, 12), bounds_within(12, 24)
    assert list(first) == list(experiment_runs.BOUNDS)
    recorded = first["the recorded motion"]
    assert recorded["beat_f1"] > 0.9 and second["the recorded motion"]["beat_f1"] == 0
    undefined = ("hand_agreement", "style_error", "rest_error")
    assert all(np.isnan(recorded[name]) for name in undefined)
    assert first["a mean pose"]["beat_f1"] == 0
    assert first["recorded, with other speech"]["beat_f1"] < 0.6
    assert np.isnan(first["recorded, with other speech"]["beat_f1_mismatched"])


# ---- unfamiliar sound ----------------------------------------------------------------------------
TONE = 0.3 * torch.sin(2 * torch.pi * 1000 * torch.arange(32_000) / 16_000)


def peak(x):
    """The loudest frequency, Hz."""
    return torch.fft.rfftfreq(len(x), 1 / 16_000)[torch.fft.rfft(x).abs().argmax()].item()


def test_noise_is_as_many_decibels_below_the_speech_as_it_says():
    noise = unfamiliar.noisy(TONE, 10) - TONE
    ratio = TONE.square().mean() / noise.square().mean()
    assert 10 * torch.log10(ratio).item() == pytest.approx(10, abs=0.1)


def test_a_telephone_lets_its_band_through_and_nothing_below():
    assert torch.allclose(unfamiliar.telephone(TONE), TONE, atol=1e-3)
    low = torch.sin(2 * torch.pi * 200 * torch.arange(32_000) / 16_000)
    assert unfamiliar.telephone(low).abs().max() < 1e-3


def test_pitch_and_tempo_change_one_without_the_other():
    higher = unfamiliar.pitched(TONE, 4)
    assert peak(higher) == pytest.approx(1000 * 2 ** (4 / 12), rel=0.01)
    assert len(higher) == len(TONE)
    for factor in (1.25, 0.8):
        changed = unfamiliar.faster(TONE, factor)
        assert len(changed) == round(32_000 / factor)
        assert peak(changed) == pytest.approx(1000, rel=0.01)


def test_music_is_as_long_as_the_speech_and_every_speed_is_known():
    quick = {n: f for n, f in unfamiliar.UNFAMILIAR.items() if "semitones" not in n}
    lengths = {name: len(change(TONE)) for name, change in quick.items()}
    faster = {name: round(32_000 / speed) for name, speed in unfamiliar.SPEED.items()}
    assert lengths == dict.fromkeys(quick, 32_000) | faster


# ---- scores over seeds ---------------------------------------------------------------------------
def test_the_spread_is_that_over_seeds():
    table = experiment_tables.summary([dict(beat_f1=f1) for f1 in (0.8, 0.9, 1.0)])
    assert table["beat_f1"]["mean"] == pytest.approx(0.9)
    assert table["beat_f1"]["spread"] == pytest.approx(0.1)
    assert experiment_tables.summary([dict(beat_f1=0.8)])["beat_f1"]["spread"] is None


def test_what_is_not_defined_for_a_seed_has_no_mean():
    assert experiment_tables.summary([dict(a=0.8, made={}), dict(a=None, made={})]) == {}


def test_each_seed_trains_and_samples_its_own_and_is_held_against_another(monkeypatch):
    sampled, seen = [], []
    args = SimpleNamespace(
        seeds=[0, 1, 5], steps=3600, batch=4, device="cpu", wavlm_checkpoint=None, wanted=None
    )

    def trained(name, arguments, seed, args, folder):
        seen.append(seed)
        return f"{name} {seed}"

    def motions_of(checkpoint, device, wavlm, folder, part, seed, sampling):
        return [(checkpoint, seed)]

    def measure(made, gestures, reference, second):
        sampled.append(made + second)
        return {}

    monkeypatch.setattr(experiment_runs, "trained", trained)
    monkeypatch.setattr(experiment_runs, "motions_of", motions_of)
    monkeypatch.setattr(experiment_runs, "reference_of", lambda folder, part: None)
    monkeypatch.setattr(
        experiment_runs, "remembered", lambda checkpoint, key, compute, **sampling: compute()
    )
    monkeypatch.setattr(experiment_runs.metrics, "look_at", lambda motion: motion)
    monkeypatch.setattr(experiment_runs.report, "measure", measure)
    monkeypatch.setattr(experiment_runs.metrics, "diversity", lambda seen: 0.0)
    experiment_runs.on_seeds(args, "split", tested=Path("corpora/puppet"))
    assert seen == [0, 1, 5]
    assert sampled == [[(f"split {s}", s), (f"split {s}", s + 1)] for s in (0, 1, 5)]


def test_the_samplers_are_asked_for_by_their_labels(monkeypatch):
    def one_model(args, key, checkpoint, folder, seed, part, **sampling):
        return sampling

    monkeypatch.setattr(experiments_shipped, "one_model", one_model)
    monkeypatch.setattr(experiments_shipped, "choosing", lambda: None)
    monkeypatch.setattr(experiments_shipped, "bounds", lambda *_: [])
    rows = experiments.samplers(SimpleNamespace(seeds=[3]))
    asked = {label: scores[0] for label, scores in rows}
    assert asked["ddpm 1000"] == dict(sampler="ddpm", steps=1000)
    assert asked["ddpm, power 1.67 25"] == dict(sampler="ddpm", steps=25, power=1.67)


def test_scores_are_remembered_by_how_they_were_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counted = []

    def compute():
        counted.append(1)
        return dict(beat_f1=0.5, rest_error=float("nan"))

    for sampling in ({}, dict(steps=5), dict(warmup_frames=0), {}, dict(steps=5)):
        scores = experiment_runs.remembered(SHIPPED, ["a key", 0], compute, **sampling)
        assert scores["rest_error"] is None
        made = scores["made"]
        expected = dict(sampler="dpmpp", steps=10, power=1.0, guidance=1.2, warmup_frames=40)
        assert {name: made[name] for name in expected} == expected | sampling
        assert made["machine"] == machine() and "trained" not in made
    assert len(counted) == 3


# ---- trainings and corpora -----------------------------------------------------------------------
@pytest.mark.parametrize("jobs", [1, 2])
def test_of_models_side_by_side_none_is_begun_after_one_that_stopped(tmp_path, monkeypatch, jobs):
    """The first fails; the second, if it runs beside the first, goes on to its end.

    It goes on until the failure is known. The others are not begun.
    """
    folders, begun, made = [tmp_path / str(n) for n in range(5)], [], []
    for folder in folders:
        folder.mkdir()
    event, all_run = threading.Event, threading.Barrier(jobs)

    def noted():  # the first event that is made is the one that says stop
        made.append(event())
        return made[-1]

    def run(command, **_):
        begun.append(command)
        all_run.wait(60)
        return SimpleNamespace(returncode=3 if command == ["0"] else not made[0].wait(60))

    def function(args):
        args.wanted |= {folder: [folder.name] for folder in folders}
        yield "a row", "not run"

    monkeypatch.setattr(threading, "Event", noted)
    monkeypatch.setattr(experiment_runs.subprocess, "run", run)
    with pytest.raises(CorpusError, match="0: the training stopped; see .*training.log"):
        experiment_runs.train_side_by_side(function, SimpleNamespace(jobs=jobs))
    assert sorted(begun) == [["0"], ["1"]][:jobs]


def test_a_corpus_of_other_settings_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = dict(valid=0, test=1, seconds=4.0)
    folder = experiment_runs.corpus("small", train=2, **settings)
    assert len(list((folder / "train").glob("*.bvh"))) == 2
    with pytest.raises(CorpusError, match="has 2 takes in train/, and 3 are wanted"):
        experiment_runs.corpus("small", train=3, **settings)


def test_a_baseline_is_trained_by_its_own_command(tmp_path):
    args = SimpleNamespace(steps=2, batch=4, device="cpu", wavlm_checkpoint="w.pt")
    concat = experiment_runs.command_of("concat --depth 8 --data c", tmp_path, 0, args)
    assert concat[1:7] == ["-m", "lab.baselines", "concat", "--depth", "8", "--data"]
    (tmp_path / "last.pt").touch()
    wavlm = experiment_runs.command_of("--features wavlm --data c", tmp_path, 0, args)
    assert wavlm[1].endswith("train.py") and wavlm[2:4] == ["--features", "wavlm"]
    assert "--wavlm-checkpoint" in wavlm and wavlm[-1] == "--resume"


# ---- the command ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "arguments,words",
    [
        (["features", "--steps", "0"], "--steps must be at least 1"),
        (["features", "--wavlm-checkpoint", "none.pt"], "none.pt: no such file"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_what_cannot_be_used_gets_one_line(arguments, words):
    assert_one_error_line(call(experiments, *arguments), words)


def test_the_list_says_what_each_asks():
    done = call(experiments, "list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(experiments.EXPERIMENTS)


FEATURES = ("features", "--steps", 2, "--seeds", 0, "--device", "cpu")


@pytest.fixture
def command(tmp_path):
    """An experiment of two training steps on a corpus of a minute, as a user runs it."""
    write_corpus(tmp_path / "corpora/puppet", train=3, valid=1, test=2, seconds=12.0)
    return partial(run, "lab.experiments", *FEATURES, cwd=tmp_path)


def test_an_experiment_trains_scores_draws_and_does_nothing_twice(command, tmp_path, monkeypatch):
    """The scores mean nothing, the files are whole."""
    first = command("--jobs", 2)
    assert first.returncode == 0, first.stderr
    report = json.loads((tmp_path / "results/experiments/features.json").read_text())
    labels = {row["label"]: row for row in report["rows"]}
    assert labels["MFCC"]["scores"]["beat_f1"]["each"] and "not run" in first.stdout
    assert "not run" in labels["WavLM, last layer"]["not_run"]
    assert (tmp_path / "results/experiments/features.png").stat().st_size > 5000
    assert report["models"]["mfcc"] == list(experiments.MODELS["mfcc"])
    training = labels["MFCC"]["made"][0]["trained"]
    assert training["precision"] in ("float32", "bfloat16") and training["machine"] == machine()

    folder = tmp_path / "runs/experiments/mfcc-2x4-0"
    assert "2 steps" in (folder / "training.log").read_text()
    model = torch.load(folder / "model.pt", weights_only=True)
    assert model["speech"]["kind"] == "mfcc"
    assert model["recipe"]["transform"]["momentum"] == model["recipe"]["octaves"] == 0
    for one in ("model.pt", "last.pt"):  # one at a time is the same run: its scores are remembered
        (folder / one).unlink()
    again = command()
    assert again.stdout == first.stdout and "training" in again.stderr
    before = (folder / "model.pt").stat().st_mtime_ns
    second = command()
    assert second.stdout == first.stdout and "training" not in second.stderr
    assert (folder / "model.pt").stat().st_mtime_ns == before

    kept = folder / "arguments.txt"
    first_line = kept.read_text().splitlines()[0]
    assert first_line == f"--undo {experiments.THEN} --features mfcc --data corpora/puppet"
    monkeypatch.chdir(tmp_path)
    whole = kept.read_text()
    for usual, other in (('"lr": 0.001', '"lr": 0.002'), ('"ema": 0.998', '"ema": 0.99')):
        kept.write_text(whole.replace(usual, other))
        done = call(experiments, *map(str, FEATURES))
        assert_one_error_line(done, "the defaults of train.py were others")
