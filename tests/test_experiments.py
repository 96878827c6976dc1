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
from lab import experiment_answers as answers
from lab.machine import machine
from recordings.pairs import CorpusError
from recordings.puppet import write_corpus
from show.figures import new_figure
from tools import SHIPPED


# ---- the models ----------------------------------------------------------------------------------
def network_of(arguments):
    """(class, train.py's settings, recipe) of arguments that an experiment trains with."""
    name, words = experiment_runs.words_of(f"{arguments} --data puppet")
    settings, _, _ = train.parse(words)
    network = baselines.MODELS[name][0] if name else DiffMotion
    return network, settings, recipe_for(settings)


def test_all_models_have_as_many_parameters_within_a_tenth():
    """All but WavLM's, whose 768 numbers a frame need a larger speech encoder.

    How much larger is said beside experiments.MODELS.
    """
    sizes, dims = {}, dict(mel=40, mfcc=20, wavlm=768)
    for name, (_, arguments) in experiments.MODELS.items():
        network, s, recipe = network_of(arguments)
        model = network(46, dims[s.features], s.width, s.depth, heads=s.heads, recipe=recipe)
        sizes[name] = sum(p.numel() for p in model.parameters())
    ratios = {name: size / sizes["split"] for name, size in sizes.items()}
    odd = {"wavlm", "wavlm-sum"}
    assert all(abs(ratio - 1) < 0.1 for name, ratio in ratios.items() if name not in odd), ratios
    assert ratios["wavlm"] == pytest.approx(2.6, abs=0.05)
    assert (sizes["wavlm"] - sizes["mfcc"]) / 1e6 == pytest.approx(3.2, abs=0.05)


def test_the_departures_are_undone_one_by_one_and_at_last_all():
    def fields(name):
        return names_of(network_of(experiments.MODELS[name][1])[2])

    ours = names_of(OURS)
    assert fields("split") == ours and fields("paper") == names_of(PAPER)
    for name, change in DEPARTURES.items():
        undone = fields("joint" if name == "split" else f"without-{name}")
        assert {field for field in ours if undone[field] != ours[field]} == set(change), name


def test_no_two_models_are_the_same_training():
    arguments = [arguments for _, arguments in experiments.MODELS.values()]
    assert len(set(arguments)) == len(arguments) and experiments.MODELS["split"][1] == ""


def test_departures_of_sampling_are_undone_in_our_own_model(monkeypatch):
    asked = []

    def on_seeds(args, name, arguments="", **sampling):
        asked.append((name, arguments, sampling))
        return "not run"

    monkeypatch.setattr(experiments, "on_seeds", on_seeds)
    monkeypatch.setattr(experiments, "bounds", lambda: [])
    labels = [label for label, _ in experiments.departures(SimpleNamespace(wavlm_checkpoint=None))]
    assert len(labels) == len(asked) == len(DEPARTURES) + 2
    assert asked[0] == ("split", "", {}) and asked[-1][0] == "paper"
    assert labels[1] == "without split" and asked[1] == ("joint", "--undo split --depth 5", {})
    sampled = [more for name, _, more in asked[1:] if name == "split"]
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
    more = dict(rests=[[3.0, 4.5], [9.0, 9.5]], shrugs=[[8.0, 8.6]], steps=[[1.0, 1.5]])
    answers = dict(phrases=phrases, stresses=stresses, speaker=7, **more)
    cut, kept = experiment_runs.within(motion, answers, 3.5, 8.5)
    assert len(cut) == 100 and cut.positions[0, 0, 0] == 70
    assert kept == dict(
        phrases=[dict(start=0.5, end=2.5)],
        stresses=[dict(time=1.0), dict(time=4.5)],
        speaker=7,
        rests=[(0.0, 1.0)],
        shrugs=[(4.5, 5.0)],
        steps=[],
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
    undefined = ("hand_agreement", "form_agreement", "style_error", "rest_error")
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


@pytest.mark.parametrize("there", [True, False])
def test_every_language_is_read_by_a_woman_and_a_man(monkeypatch, there):
    read = []
    monkeypatch.setattr(experiments_shipped, "has_espeak", lambda: there)
    monkeypatch.setattr(experiments_shipped, "UNFAMILIAR", {})
    monkeypatch.setattr(experiments_shipped, "takes_of", lambda folder: None)
    monkeypatch.setattr(experiments_shipped, "corpus", lambda: None)
    monkeypatch.setattr(experiments_shipped, "bounds", lambda: [])
    monkeypatch.setattr(
        experiments_shipped, "remembered", lambda checkpoint, key, compute: read.append(key)
    )
    rows = dict(experiments_shipped.unfamiliar(SimpleNamespace(seeds=[4, 5])))
    assert list(rows)[:2] == ["English, female", "English, male"]
    assert len(rows) == 2 * len(unfamiliar.LANGUAGES)
    assert read[:2] == [["language", "en", "female", seed] for seed in (4, 5)] or not there
    assert len(read) == there * 2 * len(rows)
    assert there or all(row.startswith("not run: install espeak-ng") for row in rows.values())


# ---- scores over seeds ---------------------------------------------------------------------------
def score(value):
    return dict(mean=value, spread=0.0, each=[value])


def test_the_spread_is_that_over_seeds():
    table = experiment_tables.summary([dict(beat_f1=f1) for f1 in (0.8, 0.9, 1.0)])
    assert table["beat_f1"]["mean"] == pytest.approx(0.9)
    assert table["beat_f1"]["spread"] == pytest.approx(0.1)
    assert experiment_tables.summary([dict(beat_f1=0.8)])["beat_f1"]["spread"] is None


def test_what_is_not_defined_for_a_seed_has_no_mean():
    assert experiment_tables.summary([dict(a=0.8, made={}), dict(a=None, made={})]) == {}


def test_a_bar_far_longer_than_the_first_ends_at_the_edge_with_its_number():
    """One bad row would else squeeze all others."""
    values = dict(ours=2.0, near=10.0, far=88.7, farther=1104.7)
    rows = [dict(label=label, scores=dict(jerk=score(each))) for label, each in values.items()]
    axis = new_figure(3, 3).subplots()
    experiment_tables.bars(axis, "jerk", rows, rows)
    assert axis.get_xlim() == (0.0, 10.0)
    assert [text.get_text() for text in axis.texts] == ["88.7", "1105"]


@pytest.mark.parametrize("first", [4.0, None])
def test_bars_of_like_length_are_whole(first):
    """So are all where the first row lacks the score."""
    scores = {} if first is None else dict(jerk=score(first))
    rows = [dict(label="ours", scores=scores), dict(label="far", scores=dict(jerk=score(19.0)))]
    axis = new_figure(3, 3).subplots()
    experiment_tables.bars(axis, "jerk", rows, rows)
    assert axis.get_xlim()[1] > 19.0 and not axis.texts


def test_each_seed_trains_and_samples_its_own_and_is_held_against_another(monkeypatch):
    sampled, seen = [], []
    args = SimpleNamespace(
        seeds=[0, 1, 5], steps=3600, batch=4, device="cpu", wavlm_checkpoint=None, wanted=None
    )

    def trained(name, arguments, seed, args):
        seen.append(seed)
        return f"{name} {seed}"

    def motions_of(checkpoint, device, wavlm, folder, part, seed, sampling):
        return [(checkpoint, seed)]

    def measure(made, gestures, reference, second):
        sampled.append(made + second)
        return {}

    monkeypatch.setattr(experiment_runs, "trained", trained)
    monkeypatch.setattr(experiment_runs, "corpus", lambda: Path("corpora/puppet"))
    monkeypatch.setattr(experiment_runs, "motions_of", motions_of)
    monkeypatch.setattr(experiment_runs, "reference_of", lambda folder, part: None)
    monkeypatch.setattr(
        experiment_runs, "remembered", lambda checkpoint, key, compute, **sampling: compute()
    )
    monkeypatch.setattr(experiment_runs.metrics, "look_at", lambda motion: motion)
    monkeypatch.setattr(experiment_runs.report, "measure", measure)
    monkeypatch.setattr(experiment_runs.metrics, "diversity", lambda seen: 0.0)
    experiment_runs.on_seeds(args, "split")
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
    assert asked["dpmpp 10"] == dict(sampler="dpmpp", steps=10)


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
        expected = dict(sampler="dpmpp", steps=10, guidance=1.2, warmup_frames=40)
        assert {name: made[name] for name in expected} == expected | sampling
        assert made["machine"] == machine() and "trained" not in made
    assert len(counted) == 3


# ---- answers -------------------------------------------------------------------------------------
def row(label, spread=0.01, **scores):
    """A row of a table; each score has the same spread."""
    each = {name: dict(mean=mean, spread=spread) for name, mean in scores.items()}
    return dict(label=label, scores=each, made=[{}])


def test_a_difference_within_the_spread_is_a_tie():
    rows = [row("a", x=0.99, style_error=0.05), row("b", x=0.98, style_error=0.09)]
    assert answers.against(rows, "a", "b", "x") == "0.990 against 0.980, a tie within the spread"
    assert answers.against(rows, "a", "b", "style_error") == "0.050 against 0.090, better"
    assert answers.against(rows, "b", "a", "style_error") == "0.090 against 0.050, worse"
    rows[1] = row("b", x=0.9)
    told = "a, against b: x 0.990 against 0.900, better."
    assert answers.versus("a", "b", "x", "style_error")(rows) == told
    assert answers.versus("a", "c", "x")(rows) is None
    once = [row("a", spread=0.1, x=0.9), row("b", spread=None, x=0.8), row("c", None, x=0.7)]
    assert answers.against(once, "b", "a", "x").endswith("a tie within the spread")
    assert answers.against(once, "a", "c", "x").endswith("better")
    assert answers.against(once, "b", "c", "x").endswith("better")


def test_the_fewest_passes_that_tie_with_the_best_are_enough():
    rows = [row("ddpm 5", beat_f1=0.9), row("dpmpp 10", beat_f1=0.985)]
    rows += [row("ddpm 1000", beat_f1=0.99), row("dpmpp 25", beat_f1=0.988)]
    answer = answers.ANSWERS["samplers"](rows + [dict(row("recorded", beat_f1=1.0), made=[])])
    assert answer == (
        "dpmpp 10 is enough: beat F1 0.985, within the spread of the best, ddpm 1000, 0.990."
    )


def test_departures_that_are_missed_are_named():
    scores = dict(beat_f1=0.99, style_error=0.05)
    rows = [row(answers.LABELS["ours"], **scores), row(answers.LABELS["paper"], **scores)]
    rows += [row("without a", beat_f1=0.9, style_error=0.05), row("without b", **scores)]
    rows += [row("without c", beat_f1=0.99, style_error=0.2)]
    answer = answers.ANSWERS["departures"](rows)
    assert answer.endswith("missed by more than the spread: a, c.")


def test_longer_and_unfamiliar_say_what_is_worst():
    rows = [row("last 20 s", beat_f1=0.9), row("first 20 s", beat_f1=0.99)]
    rows += [row("whole", heading=12.4, slide=3.21)]
    answer = answers.ANSWERS["longer"](rows)
    assert "0.900 against 0.990, worse" in answer and "12 degrees" in answer and "3.2 cm" in answer
    rows = [row(n, beat_f1=x) for n, x in (("as recorded", 0.9), ("a", 0.4), ("silence", 0.0))]
    rows += [row("German", onset_hits=0.7, strokes_per_minute=9)]
    answer = answers.ANSWERS["unfamiliar"](rows)
    assert "at worst 0.400, with a." in answer and answer.endswith("German, 9.")


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_has_an_answer_and_says_nothing_of_no_rows(name):
    assert answers.ANSWERS[name]([]) is None
    assert answers.ANSWERS[name]([dict(label="MFCC", scores={}, not_run="not run")]) is None


def test_what_is_said_of_whether_a_body_stays_is_the_mean_over_takes(monkeypatch):
    heading = dict(a=3.0, b=5.0)
    monkeypatch.setattr(experiments_shipped, "standing", lambda m: dict(heading=heading[m]))
    assert experiments_shipped.stands(["a", "b"]) == dict(heading=4.0)


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
    assert report["answer"].startswith("log-mel (ours), against MFCC: beat_f1 ")
    assert first.stdout.strip().splitlines()[1] == report["answer"]
    assert "not run" in labels["WavLM, last layer"]["not_run"]
    assert (tmp_path / "results/experiments/features.png").stat().st_size > 5000
    assert report["models"]["mfcc"] == list(experiments.MODELS["mfcc"])
    training = labels["MFCC"]["made"][0]["trained"]
    assert training["precision"] in ("float32", "bfloat16") and training["machine"] == machine()

    folder = tmp_path / "runs/experiments/mfcc-2x4-0"
    assert "2 steps" in (folder / "training.log").read_text()
    model = torch.load(folder / "model.pt", weights_only=True)
    assert model["speech"]["kind"] == "mfcc"
    assert model["recipe"] == names_of(OURS)
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
    assert first_line == "--features mfcc --data corpora/puppet"
    monkeypatch.chdir(tmp_path)
    whole = kept.read_text()
    for usual, other in (('"lr": 0.001', '"lr": 0.002'), ('"ema": 0.998', '"ema": 0.99')):
        kept.write_text(whole.replace(usual, other))
        done = call(experiments, *map(str, FEATURES))
        assert_one_error_line(done, "the defaults of train.py were others")
