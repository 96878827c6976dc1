"""Endless speech: motion in chunks that equal the whole.

paper     one window of 20 s; longer speech is cut, and the seams are blended
ours      chunk after chunk, exact: nothing looks beyond its segment, so a chunk needs of the past
          only what the network's passes saw of it
how       objects that remember stand in the places of the network's own methods. The network does
          not know:
              Attention     adds the keys and values of the last window - 1 frames, step by step
              Frames        the last kernel - 1 noisy frames instead of zeros
              RunningSum    what the voice's running average still holds
cost      memory for each step: 8 MB for 10 steps of the shipped model, whatever the length

    generate_stream(model, schedule, speech, ...)   yields [B, chunk, P]
    generate_long(...)                              all of it, whole if it is short
"""

import copy
import functools

import torch
import torch.nn as nn

from beyond import fast
from beyond.departures import LayerMix, keywords, segment_mask
from beyond.samplers import (
    FrameNoise,
    generate_whole,
    guided,
    refuse_other_schedule,
    sampler_of,
    with_warmup,
)
from body.feet import plant
from diffmotion import Identity, rotary_angles
from tools import CheckpointError

# Frames that a model without a window can make: 10 minutes. Its mask grows with their square
LONGEST = 12_000
NO_SPEECH = "there is no speech to gesture to: not one frame came"


class Past:
    """Where the stream is: the current diffusion step, the number of the chunk's first frame."""

    step, start = None, 0


class Attention:
    """Stands in for Block.attend: keys and values are [B, heads, past + F, head_dim]."""

    def __init__(self, attend, past, window):
        self.attend, self.past, self.window, self.held = attend, past, window, {}

    def __call__(self, q, k, v, mask):
        if self.past.step in self.held:
            k, v = (torch.cat(pair, dim=2) for pair in zip(self.held[self.past.step], (k, v)))
        # clone: a view would keep the whole chunk's keys alive
        first = max(0, k.shape[2] - self.window + 1)
        self.held[self.past.step] = [z[:, :, first:].clone() for z in (k, v)]
        return self.attend(q, k, v, mask)


class Frames:
    """Stands in for GestureEncoder.with_past: the frames before the chunk, not zeros."""

    def __init__(self, encoder, past):
        self.first, self.kernel, self.past, self.held = encoder.with_past, encoder.kernel, past, {}

    def __call__(self, x):
        held = self.held.get(self.past.step)
        x = self.first(x) if held is None else torch.cat([held, x], dim=1)  # [B, kernel - 1 + F, P]
        self.held[self.past.step] = x[:, x.shape[1] - self.kernel + 1 :].clone()
        return x


class RunningSum:
    """Stands in for ContextEncoder.running_sum: goes on from the last window - 1 frames."""

    def __init__(self, encoder):
        self.whole, self.window, self.held = encoder.running_sum, encoder.window, None

    def __call__(self, terms):
        before = 0 if self.held is None else self.held.shape[1]
        terms = terms if self.held is None else torch.cat([self.held, terms], dim=1)
        self.held = terms[:, max(0, terms.shape[1] - self.window + 1) :].clone()
        return self.whole(terms)[:, before:]  # [B, F, D]


def shallow(module):
    """A module that shares all weights with `module`, and whose methods can be replaced."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def remembering(model, past, window):
    """A twin of `model` that shares its weights and remembers the frames of earlier chunks."""
    twin = shallow(model)
    twin.blocks = nn.ModuleList(shallow(block) for block in model.blocks)
    for block in twin.blocks:
        if hasattr(block, "attend"):
            block.attend = Attention(block.attend, past, window)
        if hasattr(block, "adaln"):
            block.adaln = shallow(block.adaln)
    twin.final_adaln = shallow(model.final_adaln)
    twin.step_embedding = shallow(model.step_embedding)
    twin.gesture_encoder = shallow(model.gesture_encoder)
    twin.gesture_encoder.with_past = Frames(model.gesture_encoder, past)
    twin.angles = angles_from(model, past)
    if "denoise" in model.__dict__:  # made fast: this twin's own passes, see fast.prepare
        del twin.denoise
        fast.prepare(twin)
    return twin


def angles_from(model, past):
    """Stands in for DiffMotion.angles: the chunk's frames are numbered from past.start."""
    head_dim, device = model.size["width"] // model.size["heads"], model.null_condition.device

    @functools.lru_cache(1)  # each of the steps asks for them
    def angles(start, frames):
        return rotary_angles(torch.arange(start, start + frames, device=device), head_dim)

    return lambda frames: angles(past.start, frames)


def conditions(model, pieces, fill):
    """Pieces of speech [B, n_i, S] -> conditions [B, m_i, W], each as soon as it can be known.

    fill(frames): how many frames of zeros follow the speech, so that the last segment is whole.
    """
    twin = shallow(model)
    twin.speech_encoder = encoder = shallow(model.speech_encoder)
    if isinstance(encoder, LayerMix):
        encoder.encoder = encoder = shallow(encoder.encoder)
    reach = getattr(encoder, "reach", 0)
    encoder.around = lambda speech: speech  # what is around it is held here
    if getattr(encoder, "voice", None) is not None:
        encoder.running_sum = RunningSum(encoder)
    held, frames = None, 0
    for piece in pieces:
        if held is None:
            held = piece.new_zeros(len(piece), reach, piece.shape[2])
        frames += piece.shape[1]
        held = torch.cat([held, piece], dim=1)  # [B, at most 2 reach + n, S]
        if held.shape[1] > 2 * reach:
            yield twin.encode_speech(held)
            held = held[:, held.shape[1] - 2 * reach :]
    if frames == 0:
        raise ValueError(NO_SPEECH)
    behind = held.new_zeros(len(held), reach + fill(frames), held.shape[2])
    held = torch.cat([held, behind], dim=1)
    if held.shape[1] > 2 * reach:
        yield twin.encode_speech(held)


def in_chunks(pieces, chunk):
    """Pieces [B, n_i, D] -> the same frames as [B, chunk, D]; the last may be shorter."""
    held = None
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=1)  # [B, held, D]
        while held.shape[1] >= chunk:
            yield held[:, :chunk]
            held = held[:, chunk:]
    if held is not None and held.shape[1]:
        yield held


def segment_of(model):
    """How many frames see each other in this model."""
    return keywords(model.recipe.mask).get("segment", 1)


def window_of(model):
    """How far back a frame sees; None: to the first."""
    return keywords(model.recipe.mask).get("window")


def continued(transform, x0, before):
    """x0 [B, F, P] -> poses [B, F, P] that go on from the two poses `before`."""
    if isinstance(transform, Identity):
        return x0
    return transform.inverse(x0, before)


@torch.no_grad()
def generate_stream(
    model, schedule, speech, sampler="dpmpp", steps=10, guidance=1.0, seed=0, chunk=200,
    segment=None, progress=iter,
):  # fmt: skip
    """Motion in pieces [B, chunk, P], the last one shorter; joined, they equal generate_whole's.

    speech    [B, F, S], or an iterator of consecutive pieces [B, n_i, S] of any lengths. A chunk is
              made as soon as it and the frames that its last one hears ahead are there
    segment   frames that see each other, None for the model's own. Shorter chunks need shorter ones
    sampler, steps, guidance, seed, progress: as in beyond/samplers.py

    ValueError: no such sampler or grid, another schedule than the model's, a chunk that is no whole
    number of segments, a model that sees back to the first frame, or no speech at all.
    """
    segment, window = segment or segment_of(model), window_of(model)
    if window is None:
        raise CheckpointError("this model sees back to the first frame; it makes no chunks")
    refuse_other_schedule(model, schedule)
    if chunk % segment:
        raise ValueError(f"a chunk of {chunk} frames does not hold whole segments of {segment}")
    past, before, heard, start = Past(), None, 0, 0
    twin = guided(remembering(model, past, window), guidance)
    sample = sampler_of(schedule, sampler, steps, progress)

    def pieces():
        nonlocal heard
        for piece in speech.split(chunk, dim=1) if isinstance(speech, torch.Tensor) else speech:
            heard += piece.shape[1]
            yield piece

    for condition in in_chunks(conditions(model, pieces(), lambda n: -n % segment), chunk):
        B, F, _ = condition.shape
        mask = segment_mask(F, condition.device, window, segment, past=min(start, window - 1))
        condition = condition if guidance == 1 else twin.both(condition)  # [B or 2B, F, W]
        past.start = start

        def predict_eps(x_t, t, condition=condition, mask=mask):
            past.step = t
            t = torch.full((1,), t, device=condition.device)
            return twin.denoise(x_t, t, condition, mask)

        noise = FrameNoise(seed, B, start, start + F, model.size["pose_dim"], condition.device)
        poses = continued(model.transform, sample(predict_eps, schedule, noise(), noise), before)
        before = torch.cat([poses[:, :1] if before is None else before, poses], dim=1)[:, -2:]
        start += F
        yield poses[:, : F - max(0, start - heard)]  # without what filled the last segment


def motions(generator, pieces, chunk, **settings):
    """Pieces of speech features [n, L S] -> Motions of `chunk` frames, each going on from the last.

    generator: sample.Generator. The first Motion is shorter by the warm-up frames, which are made
    and thrown away. CheckpointError for a chunk that does not hold whole segments.
    """
    model, codec, recipe = generator.model, generator.codec, generator.model.recipe
    if hasattr(model, "generate"):
        raise CheckpointError("this baseline makes no chunks; leave --stream and --live out")
    segment = min(chunk, segment_of(model))
    if chunk % segment:
        raise CheckpointError(
            f"--chunk {chunk}: in this model {segment} frames see each other; "
            f"give a multiple of {segment}, or fewer"
        )

    def speech():
        for n, piece in enumerate(generator.standardised(pieces)):  # [1, n, S]
            yield piece if n else with_warmup(piece, recipe.warmup_frames)

    start, feet, warm = None, [], recipe.warmup_frames
    settings = dict(chunk=chunk, segment=segment) | settings
    for poses in generate_stream(model, generator.schedule, speech(), **settings):
        pose = finite(poses)[0, warm:].float().cpu().numpy()  # [chunk, P]
        warm = max(0, warm - poses.shape[1])
        if len(pose):
            motion = codec.decode(pose, start)
            start = codec.end_of(pose, motion, start)
            yield plant(motion, feet)


def generate_by_recipe(model, schedule, speech, **settings):
    """generate_long with the model's own sampler, steps, guidance and warm-up frames.

    settings: those that are to differ, and seed, progress. CheckpointError if what comes out
    is not a number.
    """
    recipe = model.recipe
    usual = dict(
        sampler=recipe.sampler,
        steps=min(recipe.steps, schedule.num_steps),
        guidance=recipe.guidance,
    )
    # Some baselines of lab/ have a way of their own
    make = getattr(model, "generate", None) or functools.partial(generate_long, model)
    warm = recipe.warmup_frames
    pose = make(schedule, with_warmup(speech, warm), **(usual | settings))[:, warm:]  # [B, F, P]
    return finite(pose)


def finite(pose):
    """The poses, if all of them are numbers."""
    if not torch.isfinite(pose).all():
        raise CheckpointError(
            "the model's answer is not a number; its training went wrong, "
            "or --guidance is far too large: use another"
        )
    return pose


def generate_long(model, schedule, speech, segment=None, **settings):
    """Motion for speech [B, F, S] of any length -> [B, F, P].

    Up to four attention windows all frames are made at once, as in the paper. Beyond, in chunks
    that give the same result: the attention's mask would grow with the square of the length. The
    speech is filled up with zeros to whole segments, as the last frames' segment needs.
    """
    if speech.shape[1] == 0:
        raise ValueError(NO_SPEECH)
    own, window = segment_of(model), window_of(model)
    if window is None and speech.shape[1] > LONGEST:
        raise CheckpointError(
            f"this model sees back to the first frame, and can make {LONGEST} frames at most; "
            "cut the recording, or train a model with the departure 'window'"
        )
    segment = segment or own
    chunk = None if window is None else max(1, 4 * window // segment) * segment
    if segment == own and (chunk is None or speech.shape[1] <= chunk):
        fill = -speech.shape[1] % segment
        filled = torch.nn.functional.pad(speech, (0, 0, 0, fill))  # [B, F + fill, S]
        return generate_whole(model, schedule, filled, **settings)[:, : speech.shape[1]]
    return torch.cat(
        list(generate_stream(model, schedule, speech, chunk=chunk, segment=segment, **settings)),
        dim=1,
    )
