"""Checkpoints whose values are looked at before anything is built of them.

tools.read_checkpoint gives the dictionary in a file. It may be damaged, or of another version, or
written by somebody else: a depth of ten million, a mean that is not a number, a joint that is its
own parent. Here every value is compared with what it can be, once, so that the rest of the program
need not doubt it. What does not fit is a CheckpointError that names the field.

In reading order: what is called from elsewhere (read_model, read_run, restore_training); the
parts of a checkpoint, one after the other; single values.

    train.checkpoint writes the dictionary. runs.Run.state adds `training`.
"""

from argparse import ArgumentTypeError
from contextlib import contextmanager
from dataclasses import fields
from math import inf, isfinite

import numpy as np
import torch

from beyond.muon import MuonAndAdamW
from beyond.recipes import recipe_for, recipe_of
from beyond.samplers import SAMPLERS
from body.hierarchy import CHANNEL_NAMES, FAR, is_a_name
from diffmotion import NoiseSchedule
from tools import CheckpointError, read_checkpoint, shortened
from wavlm_loader import LAYERS, Spectrum


class Unfit(ValueError):
    """A value that no checkpoint has."""


# ------------------------------------------------------------------------------------------------
# Reading
# ------------------------------------------------------------------------------------------------
def read_model(path, networks):
    """The dictionary in a checkpoint, of which all that sampling needs is sound.

    networks: {name: class}. CheckpointError also for another network than these.
    """
    state = read_checkpoint(path)
    with named_in(path):
        network = state.get("network")
        need(isinstance(network, str), "network", "is no name")
        if network not in networks:
            raise CheckpointError(f"{path}: is a baseline; python -m lab.evaluate scores it")
        check_model(state)
        # On "meta" a network has shapes and no numbers: it takes no memory, whatever its size
        schedule, recipe = NoiseSchedule(**state["schedule"]), recipe_of(state["recipe"])
        with torch.device("meta"):
            empty = networks[network](**state["model"], recipe=recipe, schedule=schedule)
        check_weights("ema", state["ema"], empty)
    return state


def read_run(path, Settings):
    """The dictionary in a run's last.pt -> (it, the Settings of the run); all of it is sound.

    The weights are compared with a network by restore_training.
    """
    state = read_checkpoint(path)
    if "training" not in state:
        raise CheckpointError(f"{path}: was written for sampling only; train anew")
    with named_in(path):
        check_model(state)
        training = state["training"]
        names = "settings takes step losses weights optimiser".split()
        need(isinstance(training, dict) and set(names) <= set(training), "training", "lacks parts")
        settings = settings_from(training["settings"], Settings)
        for name in ("width", "depth", "heads"):
            same = getattr(settings, name) == state["model"][name]
            need(same, f"training.settings.{name}", f"is not the model's {state['model'][name]}")
        whole("training.step", training["step"], 0, settings.steps)
        whole("training.threads", training.get("threads", 1), 1, 1024)  # earlier ones lack it
        losses = training["losses"]
        numbers("training.losses", losses, (size_of(losses, "training.losses"),), -inf)
        need(plain(training["takes"]), "training.takes", "is no list of names and numbers")
        of_takes = training.get("fingerprints", [])
        shape = (size_of(of_takes, "training.fingerprints"), 2) if of_takes else (0,)
        numbers("training.fingerprints", of_takes, shape)
        valid = training.get("valid", [])  # an earlier version stored none
        shape = (size_of(valid, "training.valid"), 2) if valid else (0,)
        numbers("training.valid", valid, shape, -inf)
    return state, settings


def restore_training(path, state, model, ema, optimiser):
    """Put the weights of a run's last.pt, and what its optimiser knew, in place."""
    with named_in(path):
        weights, known = state["training"]["weights"], state["training"]["optimiser"]
        check_weights("training.weights", weights, model)
        check_weights("ema", state["ema"], ema)
        two = isinstance(optimiser, MuonAndAdamW)
        parts = dict(zip(("muon", "adamw"), optimiser.both)) if two else {"": optimiser}
        states = known if two else {"": known}
        need(isinstance(states, dict) and set(states) == set(parts), "optimiser", "is another")
        for name, part in parts.items():
            check_optimiser(f"optimiser {name}".strip(), states[name], part)
        model.load_state_dict(weights)
        ema.load_state_dict(state["ema"])
        for name, part in parts.items():
            # Learning rates, decay and so on are those of the settings, as at the first start
            groups = part.state_dict()["param_groups"]
            part.load_state_dict(dict(state=states[name]["state"], param_groups=groups))


@contextmanager
def named_in(path):
    """Within it, what does not fit becomes a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    # Beside Unfit, what recipe_of, NoiseSchedule and a network's __init__ raise
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        what = error if isinstance(error, Unfit) else f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{path}: its parts do not fit together ({shortened(str(what), 200)}); it is damaged, "
            "or of another version: copy it again, or train anew"
        ) from None


# ------------------------------------------------------------------------------------------------
# The parts of a checkpoint
# ------------------------------------------------------------------------------------------------
PARTS = "format network recipe model schedule ema codec speech speech_scale"


def check_model(state):
    """Unfit unless all parts but the weights are sound, and fit together."""
    has_names("the checkpoint", state, PARTS, "training")
    sizes = state["model"]
    has_names("model", sizes, "pose_dim speech_dim width depth heads kernel")
    for name, value in sizes.items():
        whole(f"model.{name}", value, 1, 1000 if name == "depth" else 10**6)
    schedule = state["schedule"]
    has_names("schedule", schedule, "num_steps beta_start beta_end")
    whole("schedule.num_steps", schedule["num_steps"], 1, 100_000)
    for name in ("beta_start", "beta_end"):
        number(f"schedule.{name}", schedule[name], 0, 1)
    check_recipe(state["recipe"])
    check_codec(state["codec"])
    check_speech(state["speech"], state["speech_scale"], sizes["speech_dim"])
    need(len(state["codec"]["kept"]) == sizes["pose_dim"], "model.pose_dim", "is not the codec's")
    need(state["speech"]["fps"] == state["codec"]["fps"], "speech.fps", "is not the codec's")


# Numbers in a recipe: {name: (least, most)}
RECIPE_WHOLE = dict(reach=(0, 1000), window=(1, 3000), segment=(1, 1000), layers=(1, 100),
                    steps=(1, 100_000), warmup_frames=(0, 1000))  # fmt: skip
RECIPE_NUMBERS = dict(memory=(0, 0.9999), momentum=(0, 0.9999), power=(-10, 10), ratio=(0, 1e3),
                      hop=(0, 1e3), ema=(0, 1), openings=(0, 1), noisy=(0, 1), octaves=(0, 10),
                      guidance=(-100, 100))  # fmt: skip


def check_recipe(names, where="recipe"):
    """Unfit unless the numbers of a recipe are such as a recipe has; recipe_of knows the pieces."""
    need(isinstance(names, dict), where, "is no dictionary")
    for name, value in names.items():
        place = f"{where}.{name}"
        if isinstance(value, dict):
            need(where.count(".") < 2, place, "has pieces of pieces of pieces")
            need(isinstance(value.get("piece"), str), place, "names no piece")
            check_recipe(value, place)
        elif name == "window" and value is None:  # sees back to the first frame
            continue
        elif name in RECIPE_WHOLE:
            whole(place, value, *RECIPE_WHOLE[name])
        elif name in RECIPE_NUMBERS:
            number(place, value, *RECIPE_NUMBERS[name])
        elif name == "voice":
            need(isinstance(value, bool), place, "is neither True nor False")
        elif name == "sampler":
            need(isinstance(value, str) and value in SAMPLERS, place, "is no sampler")
        else:
            need(name == "piece", place, "is unknown, or no piece")


CODEC = "fps names parents channels end_sites offsets mirror height forward facing mean_rotations"


def check_codec(state):
    """Unfit unless state is such as PoseCodec.state() gives; then what it decodes is finite."""
    has_names("codec", state, CODEC + " mean std kept", "root")
    number("codec.fps", state["fps"], 1, 240)
    J = check_skeleton(state)
    columns = 7 + 6 * (J - 1)
    number("codec.height", state["height"], 1 / FAR)
    number("codec.facing", state["facing"])
    forward = numbers("codec.forward", state["forward"], (3,))
    need(abs(np.linalg.norm(forward) - 1) < 1e-3, "codec.forward", "is no direction")
    R = numbers("codec.mean_rotations", state["mean_rotations"], (J, 3, 3), -2, 2)
    straight = np.allclose(R @ R.swapaxes(1, 2), np.eye(3), atol=1e-3)
    need(straight and (np.linalg.det(R) > 0).all(), "codec.mean_rotations", "are no rotations")
    numbers("codec.mean", state["mean"], (columns,))
    numbers("codec.std", state["std"], (columns,), 1 / FAR)
    kept = state["kept"]
    rising(kept, "codec.kept", columns)
    root = state.get("root", "steps")
    need(isinstance(root, str) and root in ("places", "steps"), "codec.root", "is neither")
    if state["mirror"] is not None:
        has_names("codec.mirror", state["mirror"], "pairs axis")
        whole("codec.mirror.axis", state["mirror"]["axis"], 0, 2)
        pairs = state["mirror"]["pairs"]
        size_of(pairs, "codec.mirror.pairs", J)
        for j, partner in enumerate(pairs):
            whole("codec.mirror.pairs", partner, 0, J - 1)
            need(pairs[partner] == j, "codec.mirror.pairs", "are no pairs")


def check_skeleton(state):
    """Unfit unless the codec's joints make a skeleton that a BVH file can hold -> J."""
    names, parents = state["names"], state["parents"]
    J = size_of(names, "codec.names")
    need(J > 0 and all(map(is_a_name, names)), "codec.names", "are no names of joints")
    need(len(set(names)) == J, "codec.names", "has one twice")
    size_of(parents, "codec.parents", J)
    whole("codec.parents[0]", parents[0], -1, -1)
    for j in range(1, J):
        whole(f"codec.parents[{j}]", parents[j], 0, j - 1)  # so there are no circles
    numbers("codec.offsets", state["offsets"], (J, 3))
    size_of(state["channels"], "codec.channels", J)
    for channels in state["channels"]:
        size_of(channels, "codec.channels")
        known = all(isinstance(one, str) and one in CHANNEL_NAMES.values() for one in channels)
        need(known and len(set(channels)) == len(channels), "codec.channels", "are unknown")
    need(any(state["channels"]), "codec.channels", "are empty")
    ends = size_of(state["end_sites"], "codec.end_sites")
    need(ends <= 10 * J, "codec.end_sites", f"has {ends} for {J} joints")
    for end in state["end_sites"]:
        size_of(end, "codec.end_sites", 3)
        whole("codec.end_sites", end[0], 0, J - 1)
        need(is_a_name(end[1]), "codec.end_sites", "has a name that no file can hold")
        numbers("codec.end_sites", end[2], (3,))
    return J


def check_speech(speech, scale, dim):
    """Unfit unless the settings of SpeechFeatures, and their scale, are of `dim` numbers a row."""
    has_names("speech", speech, "kind fps layer", "weights")
    number("speech.fps", speech["fps"], 1, 240)
    kind, layer, weights = speech["kind"], speech["layer"], speech.get("weights")
    layers = [known for known in LAYERS if known == layer or known == str(layer)]
    need(type(layer) in (int, str) and layers, "speech.layer", "is none of WavLM's")
    need(weights is None or isinstance(weights, str), "speech.weights", "is no fingerprint")
    need(isinstance(kind, str) and kind in ("mel", "mfcc", "wavlm"), "speech.kind", "is unknown")
    own = dict(mel=Spectrum.BANDS, mfcc=Spectrum.CEPSTRA, wavlm=dim)[kind]
    need(own == dim, "model.speech_dim", f"is not the {own} of {kind}")
    need(kind != "wavlm" or weights, "speech.weights", "is missing")
    size_of(scale, "speech_scale", 2)
    for one in scale:
        check_tensor("speech_scale", one, (dim,))
        check_tensor("speech_scale", one.float(), (dim,))  # as it is used
    need((scale[1].float() > 0).all(), "speech_scale", "has deviations that are not above 0")


def check_weights(where, found, network):
    """Unfit unless `found` has a finite tensor for each of the network's, of its shape."""
    wanted = network.state_dict()
    has_names(where, found, list(wanted))
    for name, weight in wanted.items():
        check_tensor(f"{where}.{name}", found[name], tuple(weight.shape))


# What an optimiser keeps of a parameter: tensors like it, but for AdamW's count of steps
KEPT = dict(AdamW={"step", "exp_avg", "exp_avg_sq"}, Muon={"momentum_buffer"})


def check_optimiser(where, state, optimiser):
    """Unfit unless the state dictionary of an optimiser is of this one's parameters."""
    need(isinstance(state, dict) and isinstance(state.get("state"), dict), where, "has no state")
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for n, kept in state["state"].items():
        whole(where, n, 0, len(parameters) - 1)
        has_names(f"{where} of parameter {n}", kept, KEPT.get(type(optimiser).__name__, kept))
        for name, value in kept.items():
            shape = () if name == "step" else tuple(parameters[n].shape)
            check_tensor(f"{where} {name}", value, shape)
            good = value.min() >= 0 if name in ("step", "exp_avg_sq") else True
            need(good, f"{where} {name}", "is below 0")


def settings_from(found, Settings):
    """A dictionary -> Settings, each of which is such as the command line would let through."""
    need(isinstance(found, dict), "training.settings", "is no dictionary")
    known = {one.name: one for one in fields(Settings)}
    for name in [*known, *found]:
        need(name in known and name in found, f"training.settings.{name}", "is unknown, or missing")
    for name, one in known.items():
        where, value, meta = f"training.settings.{name}", found[name], one.metadata
        if one.type in (int, float):
            check = whole if one.type is int else number
            check(where, value, meta.get("least", -inf), meta.get("most", inf))
        elif one.type is tuple:
            is_list = isinstance(value, list | tuple)
            need(is_list and all(isinstance(v, str) for v in value), where, "is no list of names")
        else:
            need(isinstance(value, one.type), where, f"is no {one.type.__name__}")
        need(value in meta.get("choices", (value,)), where, "is none of the choices")
        if name == "seed":
            try:
                meta["kind"](str(value))
            except ArgumentTypeError as error:
                raise Unfit(f"{where} {error}") from None
    lists = {name: tuple(found[name]) for name, one in known.items() if one.type is tuple}
    settings = Settings(**found | lists)
    recipe_for(settings)  # KeyError for a departure that there is not
    return settings


# ------------------------------------------------------------------------------------------------
# Single values. `where` is the field's name, for the message
# ------------------------------------------------------------------------------------------------
def need(true, where, what):
    """Unfit, in the words "WHERE WHAT", unless it is true."""
    if not true:
        raise Unfit(f"{where} {what}")


def has_names(where, found, needed, optional=""):
    """Unfit unless `found` is a dictionary of these names: words of a text, or a list."""
    needed = needed.split() if isinstance(needed, str) else needed
    need(isinstance(found, dict), where, "is no dictionary")
    missing = [name for name in needed if name not in found]
    need(not missing, where, f"lacks {missing[:1]}")
    odd = set(found) - {*needed, *optional.split()}
    need(not odd, where, f"has {str(next(iter(odd), ''))!r}, which is unknown")


def whole(where, value, least, most):
    """Unfit unless it is a whole number from `least` to `most`."""
    good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    need(good, where, f"is {shortened(repr(value), 40)}, no whole number from {least} to {most}")


def number(where, value, least=-FAR, most=FAR):
    """Unfit unless it is a finite number from `least` to `most`."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    good = real and least <= value <= most and abs(value) < inf
    need(good, where, f"is {shortened(repr(value), 40)}, no number from {least:g} to {most:g}")


def numbers(where, value, shape, least=-FAR, most=FAR):
    """Unfit unless it is a list, or lists in a list, of finite numbers -> their array."""
    size_of(value, where)
    try:
        array = np.array(value)
    except (ValueError, TypeError, RuntimeError):  # of ragged lists
        array = np.array("")
    good = array.shape == shape and (array.size == 0 or array.dtype.kind in "fi")
    need(good, where, f"is no list of numbers of shape {list(shape)}")
    finite = np.isfinite(array).all() if array.size else True
    need(finite and ((array >= least) & (array <= most)).all(), where,
         f"holds a number that is not from {least:g} to {most:g}")  # fmt: skip
    return array


def size_of(value, where, size=None):
    """The length of a list; Unfit if it is none, or of another size."""
    need(isinstance(value, list | tuple), where, "is no list")
    need(size in (None, len(value)), where, f"has {len(value)} entries instead of {size}")
    return len(value)


def rising(value, where, end):
    """Unfit unless it is a list of whole numbers from 0 below `end`, each above the last."""
    last = -1
    size_of(value, where)
    for one in value:
        whole(where, one, last + 1, end - 1)
        last = one


def check_tensor(where, value, shape):
    """Unfit unless it is a tensor of finite real numbers, of this shape, all of them in the file.

    A tensor may claim a million rows that are one and the same: only their shape is in the file.
    """
    need(isinstance(value, torch.Tensor), where, "is no tensor")
    need(tuple(value.shape) == shape, where, f"has shape {tuple(value.shape)} instead of {shape}")
    simple = value.layout == torch.strided and value.device.type == "cpu"
    need(simple and value.is_floating_point(), where, "holds no plain numbers")
    there = value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    need(there and value.isfinite().all(), where, "holds numbers that are not finite, or not there")


def plain(value):
    """Is it made of lists, texts and finite numbers?"""
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))
