"""Small networks whose weights are all random, for tests.

With the gates of adaLN at zero, as training begins, most tests of the network would pass whatever
it computed.
"""

from dataclasses import replace
from functools import partial

import torch

import runs
import train
from beyond import muon
from beyond.departures import ContextEncoder, Innovations, segment_mask
from beyond.recipes import OURS
from beyond.several_gpus import Team
from diffmotion import DiffMotion

# A second thread only costs time on networks this small: six times as much on a busy machine
torch.set_num_threads(1)

SIZE = dict(pose_dim=6, speech_dim=5, width=16, depth=2, heads=2, kernel=3)


def small_ours(window=8, segment=4, reach=2, memory=0.9, momentum=0.5, **more):
    """OURS with windows and segments of a few frames. more: other fields of the recipe."""
    return replace(
        OURS,
        **dict(
            mask=partial(segment_mask, window=window, segment=segment),
            speech_encoder=partial(ContextEncoder, reach=reach, window=window, voice=True),
            transform=partial(Innovations, memory=memory, momentum=momentum),
        )
        | more,
    )


def small_model(recipe=None, seed=0, schedule=None, **size):
    """A network with random numbers, none of them 0, in each of its tensors. recipe: the paper's"""
    torch.manual_seed(seed)
    model = DiffMotion(**SIZE | size, recipe=recipe, schedule=schedule)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)
        if hasattr(model.transform, "scale"):
            model.transform.scale.uniform_(0.2, 1.2)
    return model.eval()


def inputs(clips=2, frames=9, pose_dim=6, speech_dim=5, seed=1):
    """x_t [B, F, P], t [B], speech [B, F, S] for a pass of the network."""
    random = torch.Generator().manual_seed(seed)
    x_t = torch.randn(clips, frames, pose_dim, generator=random)
    t = torch.randint(1000, (clips,), generator=random)
    return x_t, t, torch.randn(clips, frames, speech_dim, generator=random)


class NumbersForTakes:
    """Stands in for data.Corpus: windows of random numbers, of which the first are smooth."""

    pairs, poses, speeches = [], [], []
    speech_scale = (torch.zeros(5), torch.ones(5))

    def __init__(self, frames=12):
        random = torch.Generator().manual_seed(8)
        self.pose = torch.randn(40, frames, 6, generator=random).cumsum(dim=1) / 3
        self.speech = torch.randn(40, frames, 5, generator=random)
        self.codec = self.features = self

    def state(self):
        return {}

    settings = state

    def batch(self, size, random, openings=0.0, noisy=0.0):
        """pose [B, F, P], speech [B, F, S]."""
        chosen = torch.randint(40, (size,), generator=random)
        return self.pose[chosen], self.speech[chosen]


def train_small(recipe, folder, monkeypatch, steps=20, lr=0.01, warmup=5, seed=3):
    """train.train for a few steps, in float32 -> (weights at first, losses, averaged weights)."""
    monkeypatch.setattr(runs, "CHECK_EVERY", 1)
    for module in (train, muon):
        monkeypatch.setattr(module, "has_bf16", lambda device: False)
    torch.manual_seed(seed)
    model = DiffMotion(**SIZE, recipe=recipe)
    first = {name: x.clone() for name, x in model.state_dict().items()}
    s = train.Settings(steps=steps, lr=lr, warmup=warmup, seed=seed, batch=4, out=str(folder))
    run = runs.Run(folder, s, None, Team("cpu", 4), "train.py")
    ema = train.train(model, NumbersForTakes(), run, train.training_loss, "DiffMotion", None)
    run.end()
    return first, run.losses, ema.state_dict()
