"""Recipes: OURS is the paper with every departure, and each can be taken back."""

from dataclasses import fields, replace
from functools import partial

import pytest
import torch
from small_models import SIZE, inputs, small_ours, train_small

import diffmotion
from beyond.departures import (
    ContextEncoder,
    Innovations,
    LayerMix,
    MarkedGestureEncoder,
    SplitAdaLN,
    balanced_loss,
    cosine,
    predict_v,
    segment_mask,
)
from beyond.muon import muon
from beyond.recipes import (
    DEPARTURES,
    OURS,
    RECIPES,
    names_of,
    paper_table,
    recipe_for,
    recipe_of,
    undo,
    with_layers,
    within,
)
from beyond.stream import generate_by_recipe
from diffmotion import PAPER, DiffMotion, SpeechEncoder
from tools import FORMAT, CheckpointError, read_checkpoint, save_checkpoint
from train import Settings, parse


def pieces(recipe):
    """A recipe as values that compare: partials as (function, keywords)."""

    def plain(piece):
        if isinstance(piece, partial):
            return piece.func, {name: plain(value) for name, value in piece.keywords.items()}
        return piece

    return {field.name: plain(getattr(recipe, field.name)) for field in fields(recipe)}


def test_ours_is_what_chapter_two_says():
    assert pieces(OURS) == dict(
        adaln=SplitAdaLN,
        speech_encoder=(ContextEncoder, dict(reach=16, window=100, voice=True)),
        gesture_encoder=MarkedGestureEncoder,
        mask=(segment_mask, dict(window=100, segment=40)),
        prediction=predict_v,
        transform=(Innovations, dict(memory=0.9, momentum=0.5)),
        loss=(balanced_loss, dict(power=0.5)),
        optimiser=(muon, dict(ratio=2.0)),
        learning_rate=cosine,
        ema=0.998,
        hop=0.0,
        openings=0.125,
        noisy=0.25,
        octaves=0.4,
        sampler="dpmpp",
        steps=10,
        guidance=1.2,
        warmup_frames=40,
    )


def test_ours_without_any_departure_is_the_paper():
    assert undo(OURS, DEPARTURES) == PAPER
    assert undo(OURS, reversed(DEPARTURES)) == PAPER, "in any order"


def test_a_departure_taken_back_twice_or_from_the_paper_changes_nothing():
    for name in DEPARTURES:
        once = undo(OURS, [name])
        assert pieces(undo(once, [name])) == pieces(once) != pieces(OURS), name
        assert undo(PAPER, [name]) == PAPER


def test_departures_that_share_a_piece_are_taken_back_by_themselves():
    assert undo(OURS, ["context"]).speech_encoder.keywords == dict(reach=0, window=100, voice=True)
    assert undo(OURS, ["voice"]).speech_encoder.keywords == dict(reach=16, window=100, voice=False)
    assert undo(OURS, ["segments"]).mask.keywords == dict(window=100, segment=1)
    assert undo(OURS, ["momentum"]).transform.keywords == dict(memory=0.9, momentum=0.0)
    windowless = undo(OURS, ["window"])
    assert windowless.mask.keywords == dict(window=None, segment=40)
    assert windowless.speech_encoder.keywords["window"] is None
    assert undo(OURS, ["voices"]).noisy == 0.25 and undo(OURS, ["noise"]).octaves == 0


def test_an_unknown_departure_is_refused(capsys):
    with pytest.raises(KeyError):
        undo(OURS, ["split", "joint"])
    with pytest.raises(SystemExit) as stopped:
        parse(["--undo", "split,joint"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("error: --undo joint: is none of split, context,") and "\n" not in said[:-1]
    )


def small(recipe):
    """The recipe, for clips of 12 frames, with few steps of sampling and 2 warm-up frames."""
    encoder = recipe.speech_encoder
    if getattr(encoder, "keywords", {}).get("reach"):
        recipe = replace(recipe, speech_encoder=partial(encoder, reach=2))
    warm = min(2, recipe.warmup_frames)
    return replace(within(recipe, 12), steps=min(recipe.steps, 20), warmup_frames=warm)


@pytest.mark.parametrize("name", ["nothing", *DEPARTURES, "all"])
def test_ours_without_a_departure_trains_and_samples(name, tmp_path, monkeypatch):
    taken_back = dict(nothing=[], all=DEPARTURES).get(name, [name])
    recipe = small(undo(OURS, taken_back))
    _, losses, weights = train_small(recipe, tmp_path, monkeypatch, steps=2)
    assert len(losses) == 2
    state = read_checkpoint(tmp_path / "last.pt")
    model = DiffMotion(**state["model"], recipe=recipe_of(state["recipe"])).eval()
    assert pieces(model.recipe) == pieces(recipe)
    model.load_state_dict(state["ema"])
    motion = generate_by_recipe(model, model.schedule, inputs(frames=12)[2], seed=1)
    assert motion.shape == (2, 12, 6) and motion.std() > 0
    assert torch.equal(state["ema"]["final.weight"], weights["final.weight"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_holds_names_and_numbers_and_no_code(name, tmp_path):
    recipe = with_layers(RECIPES[name], 13)
    names = names_of(recipe)

    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(one) for key, one in value.items())
        return value is None or isinstance(value, (str, int, float))

    assert plain(names)
    save_checkpoint(tmp_path / "a.pt", dict(format=FORMAT, recipe=names))
    assert pieces(recipe_of(read_checkpoint(tmp_path / "a.pt")["recipe"])) == pieces(recipe)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    save_checkpoint(tmp_path / "a.pt", dict(format=FORMAT, recipe=PAPER))
    with pytest.raises(CheckpointError, match="would run code"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "bad, error",
    [
        (dict(adaln=dict(piece="eval")), KeyError),
        (dict(adaln=dict(piece="os.system")), KeyError),
        (dict(adaln=dict(setting=1)), KeyError),
        (dict(colour="red"), TypeError),
    ],
)
def test_unknown_pieces_are_refused(bad, error):
    with pytest.raises(error):
        recipe_of(names_of(OURS) | bad)


def test_a_recipe_for_short_windows_sees_no_more_than_they_are_long():
    """Else a model would see farther in sampling than it ever did in training."""
    assert within(OURS, 160) is not PAPER and pieces(within(OURS, 160)) == pieces(OURS)
    short = within(OURS, 60)
    assert short.mask.keywords == dict(window=60, segment=40)
    assert short.speech_encoder.keywords == dict(reach=16, window=60, voice=True)
    assert within(OURS, 30).mask.keywords == dict(window=30, segment=30)
    assert within(undo(OURS, ["window"]), 30).mask.keywords == dict(window=None, segment=30)
    assert within(PAPER, 30) == PAPER


def test_the_command_line_says_which_recipe():
    assert pieces(recipe_for(Settings())) == pieces(OURS)
    assert recipe_for(Settings(recipe="paper", features="wavlm")) == PAPER
    wavlm = recipe_for(Settings(features="wavlm", undo="v,ema"), layers=13)
    assert wavlm.noisy == 0 and wavlm.octaves == 0, "WavLM's own training had noise in it"
    assert wavlm.prediction is diffmotion.predict_noise and wavlm.ema == 0
    assert wavlm.speech_encoder.func is LayerMix
    assert wavlm.speech_encoder.keywords["encoder"].func is ContextEncoder
    assert with_layers(PAPER, 13).speech_encoder.keywords == dict(encoder=SpeechEncoder, layers=13)
    assert with_layers(PAPER, 1) is PAPER


def test_the_table_of_the_paper_names_a_source_for_each_number():
    settings, _, _ = parse(["--recipe", "paper", "--width", "64"])
    table = paper_table(settings)
    assert all(len(line) <= 120 for line in table.splitlines())
    for line in table.splitlines():
        assert any(source in line for source in ("paper", "authors", "ours", "Ho et al", "command"))
    width = next(line for line in table.splitlines() if line.split()[0] == "width")
    assert "64" in width and "the command line" in width


def test_a_model_sees_what_its_recipe_says():
    model = DiffMotion(**SIZE, recipe=small_ours())
    assert model.mask(9).equal(segment_mask(9, window=8, segment=4))
    assert DiffMotion(**SIZE).mask(9).equal(diffmotion.causal_mask(9))
