"""Recipes by name: OURS, what --undo takes back, and how a checkpoint stores a recipe.

OURS                  the paper with every departure of beyond/departures.py
DEPARTURES, undo      single departures taken back
recipe_for(settings)  the recipe of train.py's command line
paper_table           what --recipe paper trains, with a source for each number
names_of, recipe_of   a recipe <-> plain names and numbers
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import diffmotion
from beyond.departures import (
    ContextEncoder,
    Innovations,
    LayerMix,
    MarkedGestureEncoder,
    SplitAdaLN,
    balanced_loss,
    cosine,
    keywords,
    predict_v,
    segment_mask,
)
from beyond.muon import muon
from diffmotion import PAPER, AdaLN, GestureEncoder, Identity, Recipe, SpeechEncoder

OURS = Recipe(
    adaln=SplitAdaLN,
    speech_encoder=partial(ContextEncoder, reach=16, window=100, voice=True),
    gesture_encoder=MarkedGestureEncoder,
    mask=partial(segment_mask, window=100, segment=40),
    prediction=predict_v,
    transform=partial(Innovations, memory=0.9, momentum=0.5),
    loss=partial(balanced_loss, power=0.5),
    optimiser=partial(muon, ratio=2.0),
    learning_rate=cosine,
    ema=0.998,
    hop=0.0,
    openings=1 / 8,
    noisy=0.25,
    octaves=0.4,
    sampler="dpmpp",
    steps=10,
    guidance=1.2,
    warmup_frames=40,
)

# What --undo NAME changes in OURS: {field: the paper's value}, or {field: {keyword: value}} where
# two departures share a field.
DEPARTURES = {
    "split": dict(adaln=PAPER.adaln),
    "context": dict(speech_encoder=dict(reach=0)),
    "voice": dict(speech_encoder=dict(voice=False)),
    "start": dict(gesture_encoder=PAPER.gesture_encoder),
    "window": dict(mask=dict(window=None), speech_encoder=dict(window=None)),
    "segments": dict(mask=dict(segment=1)),
    "v": dict(prediction=PAPER.prediction),
    "innovations": dict(transform=PAPER.transform),
    "momentum": dict(transform=dict(momentum=0.0)),
    "loss": dict(loss=PAPER.loss),
    "muon": dict(optimiser=PAPER.optimiser),
    "cosine": dict(learning_rate=PAPER.learning_rate),
    "ema": dict(ema=PAPER.ema),
    "starts": dict(hop=PAPER.hop),
    "openings": dict(openings=PAPER.openings),
    "noise": dict(noisy=PAPER.noisy, octaves=PAPER.octaves),
    "voices": dict(octaves=PAPER.octaves),
    "solver": dict(sampler=PAPER.sampler, steps=PAPER.steps),
    "guidance": dict(guidance=PAPER.guidance),
    "warmup_frames": dict(warmup_frames=PAPER.warmup_frames),
}


def undo(recipe, names):
    """The recipe without the departures of these names. KeyError for a name that there is not."""
    for name in names:
        for field, change in DEPARTURES[name].items():
            piece = getattr(recipe, field)
            if not isinstance(change, dict):
                piece = change
            elif isinstance(piece, partial):
                piece = partial(piece.func, **(piece.keywords | change))
            recipe = replace(recipe, **{field: piece})
    # Pieces that have nothing left of ours are the paper's
    if keywords(recipe.mask).get("segment") == 1 and keywords(recipe.mask)["window"] is None:
        recipe = replace(recipe, mask=PAPER.mask)
    if keywords(recipe.speech_encoder).get("reach") == 0:
        if not keywords(recipe.speech_encoder)["voice"]:
            recipe = replace(recipe, speech_encoder=PAPER.speech_encoder)
    return recipe


def within(recipe, frames):
    """The recipe for training windows of so many frames: what it sees is no longer than they are.

    Else the model would be used with a longer past, or longer segments, than it was trained with.
    """
    mask = keywords(recipe.mask)
    if not mask:
        return recipe
    window = None if mask["window"] is None else min(mask["window"], frames)
    shorter = dict(window=window, segment=min(mask["segment"], frames))
    recipe = replace(recipe, mask=partial(recipe.mask.func, **shorter))
    if keywords(recipe.speech_encoder):
        encoder = partial(recipe.speech_encoder, window=window)
        recipe = replace(recipe, speech_encoder=encoder)
    return recipe


def with_layers(recipe, layers):
    """The recipe for features of several layers side by side: they are mixed first."""
    if layers == 1:
        return recipe
    mix = partial(LayerMix, encoder=recipe.speech_encoder, layers=layers)
    return replace(recipe, speech_encoder=mix)


RECIPES = {"ours": OURS, "paper": PAPER}

# What `train.py --recipe paper` sets, unless told otherwise: {setting: (value, source)}
PAPER_SETTINGS = dict(
    features=("wavlm", "the paper: WavLM Base+"),
    layer=("last", "the authors' later configurations"),
    width=(1280, "the authors' later configurations"),
    depth=(12, "the authors' later configurations"),
    heads=(16, "the authors' later configurations"),
    window=(400, "20 s; the authors' later configurations"),
    mirror=(True, "the authors' later configurations"),
    batch=(36, "the authors' later configurations"),
    lr=(2e-4, "the authors' later configurations"),
    warmup=(1000, "the authors' later configurations"),
    steps=(18_000, "400 epochs (the authors') of ZEGGS' 1620 windows"),
    out=("runs/paper", "ours"),
)


def paper_table(settings):
    """What --recipe paper trains, a line each: name, value, source."""
    rows = [
        ("objective", "mean squared error of the noise", "the paper"),
        ("adaLN", "Linear(SiLU(condition + step))", "the paper; the sum: the authors' next"),
        ("attention", "causal", "the paper"),
        ("positions", "rotary", "ours: the paper does not say"),
        ("gesture encoder", "one convolution, 5 frames", "the paper; its size is ours"),
        ("diffusion", "1000 steps, betas 1e-4 to 2e-2", "Ho et al. 2020"),
        ("optimiser", "AdamW, betas 0.9, 0.99, decay 0.01", "the paper; betas, decay are ours"),
        ("gradient norm", "clipped at 0.5", "the authors' later configurations"),
        ("condition dropout", "0.1", "the authors' later configurations"),
        ("windows", "overlap by half", "the authors' later configurations"),
        ("sampling", "DDPM, 1000 steps, whole window", "the paper"),
    ]
    for name, (value, source) in PAPER_SETTINGS.items():
        own = getattr(settings, name)
        rows.append((name, str(own), source if own == value else "the command line"))
    if settings.undo:
        rows.append(("--undo", settings.undo, "takes nothing back: this is the paper"))
    return "\n".join(f"  {name:<18} {value:<35} {source}" for name, value, source in rows)


def recipe_for(settings, layers=1):
    """The recipe of train.py's settings: recipe, undo, features, window.

    layers: of the speech features, see LayerMix. KeyError for a departure that there is not.
    """
    names = [name.strip() for name in settings.undo.split(",") if name.strip()]
    if settings.features == "wavlm":  # its own training had noise in it
        names.append("noise")
    recipe = within(undo(RECIPES[settings.recipe], names), settings.window)
    return with_layers(recipe, layers)


# The pieces that a checkpoint may name. A checkpoint holds names and numbers, never code.
PIECES = dict(  # field: those that can stand there
    adaln=(AdaLN, SplitAdaLN),
    speech_encoder=(SpeechEncoder, ContextEncoder, LayerMix),
    encoder=(SpeechEncoder, ContextEncoder),  # behind a LayerMix
    gesture_encoder=(GestureEncoder, MarkedGestureEncoder),
    mask=(diffmotion.causal_mask, segment_mask),
    prediction=(diffmotion.predict_noise, predict_v),
    transform=(Identity, Innovations),
    loss=(diffmotion.equal_weight, balanced_loss),
    optimiser=(diffmotion.adamw, muon),
    learning_rate=(diffmotion.linear_warmup, cosine),
)


def names_of(recipe):
    """A recipe as plain names and numbers, for a checkpoint: {field: number or name or dict}."""

    def plain(piece):
        if isinstance(piece, partial):
            settings = {name: plain(value) for name, value in piece.keywords.items()}
            return dict(piece=piece.func.__name__, **settings)
        return dict(piece=piece.__name__) if isinstance(piece, Callable) else piece

    return {field.name: plain(getattr(recipe, field.name)) for field in fields(recipe)}


def recipe_of(names):
    """The inverse of names_of. KeyError, TypeError for what no recipe has."""

    def piece(field, value):
        if not isinstance(value, dict):
            return value
        settings = {name: piece(name, v) for name, v in value.items() if name != "piece"}
        found = {one.__name__: one for one in PIECES[field]}[value["piece"]]
        inspect.signature(found).bind_partial(**settings)  # TypeError for a keyword it lacks
        return partial(found, **settings) if settings else found

    return Recipe(**{name: piece(name, value) for name, value in names.items()})
