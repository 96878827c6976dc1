"""Checkpoints with wrong values: one line says which, before anything large or endless is built."""

import time
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import assert_one_error_line, call, last

import runs
import train
from body.motion import BvhError
from body.pose import PoseCodec
from checkpoints import read_run
from sample import load_generator
from tools import SHIPPED, CheckpointError, read_checkpoint

NAN = float("nan")


def put(place, value):
    """A change of a checkpoint: the value at a place such as "codec.parents.3" is replaced."""

    def change(state):
        *above, name = [int(one) if one.isdigit() else one for one in place.split(".")]
        for one in above:
            state = state[one]
        state[name] = value(state[name]) if callable(value) else value

    return change


def gone(part, name):
    """A change of a checkpoint: a field of a part is missing."""
    return lambda state: state[part].pop(name)


def spoilt_weight(change):
    return put("ema", lambda ema: ema | {"final.bias": change(ema["final.bias"])})


# (what is changed, a word of the message)
WRONG = {
    # fields
    "no speech": (lambda state: state.pop("speech"), "lacks ['speech']"),
    "an unknown part": (lambda state: state.update(colour="red"), "'colour', which is unknown"),
    "an unknown size": (put("model.ears", 2), "'ears', which is unknown"),
    "an unknown field of the codec": (put("codec.ears", 2), "'ears', which is unknown"),
    "an unknown field of the speech": (put("speech.a", 1), "'a', which is unknown"),
    "no fps": (gone("speech", "fps"), "lacks ['fps']"),
    "a list for a dictionary": (put("codec", []), "codec is no dictionary"),
    # sizes
    "no heads": (put("model.heads", 0), "model.heads is 0"),
    "endless blocks": (put("model.depth", 10**7), "model.depth is 10000000"),
    "1000 blocks": (put("model.depth", 1000), "ema lacks"),
    "a pose of a million": (put("model.pose_dim", 10**6), "model.pose_dim"),
    "a width of a million": (put("model.width", 10**6), "has shape"),
    "a width of half": (put("model.width", 64.0), "model.width is 64.0"),
    "endless steps": (put("schedule.num_steps", 10**12), "schedule.num_steps"),
    "betas nan": (put("schedule.beta_end", NAN), "schedule.beta_end is nan"),
    # recipe
    "a piece in another's place": (put("recipe.prediction", dict(piece="cosine")), "cosine"),
    "endless segments": (put("recipe.mask.segment", 10**8), "recipe.mask.segment"),
    "no segments": (put("recipe.mask.segment", 0), "recipe.mask.segment"),
    "guidance inf": (put("recipe.guidance", float("inf")), "recipe.guidance"),
    "another sampler": (put("recipe.sampler", "euler"), "recipe.sampler is no sampler"),
    "no steps": (put("recipe.steps", 0), "recipe.steps is 0"),
    "endless warm-up": (put("recipe.warmup_frames", 10**9), "recipe.warmup_frames"),
    # skeleton
    "a circle of parents": (put("codec.parents.3", 3), "codec.parents[3] is 3"),
    "a parent that is not there": (put("codec.parents.3", 99), "codec.parents[3] is 99"),
    "a name that ends the joint": (put("codec.names.2", "\n}"), "codec.names"),
    "a name twice": (put("codec.names.2", "Hips"), "codec.names has one twice"),
    "no joints": (put("codec.names", []), "codec.names"),
    "an unknown channel": (put("codec.channels.1", ["Wrotation"]), "codec.channels"),
    "an end of no joint": (put("codec.end_sites.0", [99, "", [0.0, 0.0, 0.0]]), "codec.end_sites"),
    "an offset of two": (put("codec.offsets.1", [0.0, 1.0]), "codec.offsets"),
    "an offset nan": (put("codec.offsets.1.0", NAN), "codec.offsets"),
    # numbers of the codec
    "fps 0": (put("codec.fps", 0), "codec.fps is 0"),
    "fps -1": (put("codec.fps", -1), "codec.fps is -1"),
    "fps nan": (put("codec.fps", NAN), "codec.fps is nan"),
    "another fps of the speech": (put("speech.fps", 30), "speech.fps is not the codec's"),
    "facing nan": (put("codec.facing", NAN), "codec.facing is nan"),
    "mean nan": (put("codec.mean.7", NAN), "codec.mean holds a number"),
    "mean 1e308": (put("codec.mean.7", 1e308), "codec.mean holds a number"),
    "mean too short": (put("codec.mean", lambda mean: mean[:-1]), "codec.mean is no list"),
    "deviation 0": (put("codec.std.7", 0.0), "codec.std holds a number"),
    "forward is no direction": (put("codec.forward", [0.0, 0.0, 0.0]), "codec.forward"),
    "no rotation": (put("codec.mean_rotations.1", [[0.0] * 3] * 3), "are no rotations"),
    "a mirror": (put("codec.mean_rotations.1", np.diag([1.0, 1, -1]).tolist()), "no rotations"),
    "a kept column too far": (put("codec.kept", lambda k: [*k[:-1], 10**6]), "codec.kept"),
    "a kept column twice": (put("codec.kept", lambda k: [*k[:-1], k[-2]]), "codec.kept"),
    "fewer kept columns": (put("codec.kept", lambda k: k[:-1]), "model.pose_dim"),
    "another root": (put("codec.root", "flies"), "codec.root"),
    # speech
    "a scale of three": (put("speech_scale", lambda pair: [*pair, pair[0]]), "speech_scale has 3"),
    "a scale of three numbers": (put("speech_scale.0", torch.zeros(3)), "speech_scale has shape"),
    "a scale of 0": (put("speech_scale.1", torch.zeros(40)), "deviations that are not above 0"),
    "a scale nan": (put("speech_scale.0", torch.full((40,), NAN)), "speech_scale"),
    "a scale beyond float32": (
        put("speech_scale.0", torch.full((40,), 1e300, dtype=torch.float64)),
        "finite",
    ),
    "a scale below it": (
        put("speech_scale.1", torch.full((40,), 1e-300, dtype=torch.float64)),
        "not above 0",
    ),
    "another kind": (put("speech.kind", "mfcc"), "model.speech_dim"),
    "another layer": (put("speech.layer", 13), "speech.layer"),
    # weights
    "a weight nan": (spoilt_weight(lambda bias: bias * NAN), "not finite"),
    "a weight of whole numbers": (spoilt_weight(lambda bias: bias.long()), "no plain numbers"),
    "a sparse weight": (spoilt_weight(lambda bias: bias.float().to_sparse()), "no plain numbers"),
    "one number for all": (spoilt_weight(lambda x: x[:1].clone().expand(len(x))), "not finite"),
    "no weight": (gone("ema", "final.bias"), "ema lacks ['final.bias']"),
}


@pytest.mark.parametrize("change, word", WRONG.values(), ids=WRONG)
def test_a_wrong_value_gets_one_line_at_once(change, word, tmp_path):
    state = read_checkpoint(SHIPPED)
    change(state)
    torch.save(state, tmp_path / "a.pt")
    begun = time.perf_counter()
    with pytest.raises(CheckpointError) as error:
        load_generator(tmp_path / "a.pt")
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'a.pt'}: its parts do not fit together (")
    assert word in said and "\n" not in said and len(said) < 400 + len(str(tmp_path))
    assert time.perf_counter() - begun < 5


def test_an_error_line_is_short_whatever_the_names_are(tmp_path):
    torch.save(read_checkpoint(SHIPPED) | {"a" * 20_000: 1}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as error:
        load_generator(tmp_path / "a.pt")
    assert len(str(error.value)) < 500 and "aaa ... aaa" in str(error.value)


@pytest.mark.parametrize("root", [None, "steps", "places"])
def test_what_older_and_newer_codecs_say_of_the_root_is_read(root, tmp_path):
    state = read_checkpoint(SHIPPED)
    state["codec"].pop("root", None)
    if root:
        state["codec"]["root"] = root
    torch.save(state, tmp_path / "a.pt")
    assert load_generator(tmp_path / "a.pt").codec.stays == (root == "places")


def test_what_is_decoded_is_finite_or_an_error():
    codec = PoseCodec(read_checkpoint(SHIPPED)["codec"])
    pose = np.zeros((3, codec.pose_dim))
    assert np.isfinite(codec.decode(pose).joint_positions()).all()
    with pytest.raises(BvhError, match="not a number"):
        codec.decode(pose + np.inf)


# ------------------------------------------------------------------------------------------------
# --resume
# ------------------------------------------------------------------------------------------------
WRONG_RUNS = {
    "no settings": (gone("training", "settings"), "training lacks parts"),
    "an unknown setting": (put("training.settings.loss_power", 1), "loss_power"),
    "fps nan": (put("training.settings.fps", NAN), "training.settings.fps is nan"),
    "a batch of 0": (put("training.settings.batch", 0), "training.settings.batch is 0"),
    "a text for a number": (put("training.settings.window", "x"), "training.settings.window"),
    "an unknown departure": (put("training.settings.undo", "joint"), "joint"),
    "unknown features": (put("training.settings.features", "x"), "none of the choices"),
    "a seed below 0": (put("training.settings.seed", -1), "training.settings.seed must be"),
    "another width": (put("training.settings.width", 48), "is not the model's 32"),
    "a step past the end": (put("training.step", 10**6), "training.step is 1000000"),
    "losses of text": (put("training.losses", ["x"]), "training.losses"),
    "a validation loss of text": (put("training.valid", [[20, "x"]]), "training.valid"),
    "takes of tensors": (put("training.takes", [torch.zeros(3)]), "training.takes"),
}


@pytest.mark.parametrize("change, word", WRONG_RUNS.values(), ids=WRONG_RUNS)
def test_a_wrong_value_of_a_run_is_said(change, word, tiny_run, tmp_path):
    state = deepcopy(last(tiny_run))
    change(state)
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="fit together") as error:
        runs.resume_from(tmp_path, train.Settings, {}, train.Settings())
    assert word in str(error.value)


def test_a_sound_run_is_read_as_it_was_written(tiny_run):
    state, settings = read_run(tiny_run / "last.pt", train.Settings)
    assert settings.width == 32 and settings.steps == state["training"]["step"] == 40


def moment(change):
    """A change of what AdamW keeps of its first parameter."""
    return lambda state: change(state["training"]["optimiser"]["adamw"]["state"][0])


WRONG_OPTIMISERS = {
    "a moment of another shape": moment(lambda kept: kept.update(exp_avg=torch.zeros(3))),
    "a moment below 0": moment(lambda kept: kept["exp_avg_sq"].sub_(1.0)),
    "no moment": moment(lambda kept: kept.pop("exp_avg")),
    "a weight nan": lambda state: state["training"]["weights"]["final.bias"].fill_(NAN),
}


@pytest.mark.parametrize("change", WRONG_OPTIMISERS.values(), ids=WRONG_OPTIMISERS)
def test_what_an_optimiser_knew_must_fit_it(change, tiny_run, tmp_path):
    state = last(tiny_run)
    change(state)
    torch.save(state, tmp_path / "last.pt")
    done = call(train, "--out", tmp_path, "--resume")
    assert_one_error_line(done, "last.pt", "do not fit together", "train anew")
