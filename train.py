"""Training:   python train.py                    the talking puppet, on two CPU cores
            python train.py --data FOLDER      your own paired BVH and sound files
            python train.py --recipe paper     the paper as it is

Three functions are all of it: `draw` (noise levels and noise), `training_loss` (add the noise,
predict it, take the squared error) and the loop in `train`. What lands in --out:

    last.pt         the model with all that sampling needs, and what --resume needs
    model.pt        the model with all that sampling needs, in float16: to give away
    loss.png, .csv  the loss, on held-out takes too, and the learning rate
    sample-N.png    what the model does after N steps to a held-out take; .html: the player
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import tools  # before torch: it says how torch's threads wait for each other

# isort: split
import torch
from torch.nn.utils import clip_grad_norm_

import runs
from beyond import fast
from beyond.augment import versions
from beyond.departures import mask_for_training
from beyond.recipes import DEPARTURES, PAPER_SETTINGS, names_of, paper_table, recipe_for
from beyond.several_gpus import Team
from beyond.stream import generate_by_recipe
from data import Corpus
from diffmotion import DiffMotion, NoiseSchedule
from recordings.audio import SAMPLE_RATE
from recordings.cache import CACHE, cached_features
from recordings.pairs import find_pairs, load_take, usable_takes
from recordings.puppet import ready_puppet
from runs import setting
from show.figures import plot_layers, plot_loss, plot_motion
from show.player import write_page
from tools import has_bf16, send
from wavlm_loader import LAYERS, SpeechFeatures

CLIP = 0.5  # the gradient's norm is clipped here (the authors' value)
DROP = 0.1  # condition dropout: share of windows with the null condition (the authors' value)


# ------------------------------------------------------------------------------------------------
# Settings
# ------------------------------------------------------------------------------------------------
@dataclass
class Settings:
    """What one can set. The defaults: a quarter of an hour on two CPU cores, for the puppet.

    "(paper: N)" is the value with --recipe paper; beyond/recipes.py says where it is from. The
    default recipe is ours.
    """

    recipe: str = setting("ours", "the paper as it is, or ours", choices=("ours", "paper"))
    undo: str = setting("", "parts of ours to take back: split,muon,... (beyond/departures.py)")
    width: int = setting(128, "width of the network (paper: 1280)", least=2)
    depth: int = setting(4, "transformer blocks (paper: 12)", least=1)
    heads: int = setting(4, "attention heads (paper: 16)", least=1)
    data: str = setting("puppet", "'puppet', or a folder of paired BVH and sound files")
    test: tuple = setting((), "takes to hold out, * and ? allowed; else folder test/, or a tenth")
    skip: bool = setting(False, "leave out takes that cannot be used, do not stop at them")
    mirror: bool = setting(False, "learn from mirror images too (paper: yes)", no=True)
    joints: str = setting("", "joints to learn: upper, no-fingers, or names as 'Spine*,*Hand'")
    fps: float = setting(20, "motion frames a second (paper: 20)", least=1, most=240)
    features: str = setting("mel", "of the speech (paper: wavlm)", choices=("mel", "mfcc", "wavlm"))
    layer: str = setting("last", "of WavLM (paper: last); 0 to 12, or sum: all", choices=LAYERS)
    wavlm_checkpoint: str = setting("", "WavLM Base+: torchaudio's, Microsoft's, Hugging Face's")
    cache: str = setting(CACHE, "folder that keeps WavLM's features from run to run")
    steps: int = setting(7000, "optimiser steps (paper: 400 epochs)", least=1)
    batch: int = setting(8, "windows a step (paper: 36); many small steps suit a CPU", least=1)
    window: int = setting(160, "frames a window: 8 s, two phrases (paper: 400)", least=1)
    lr: float = setting(1e-3, "peak learning rate (paper: 2e-4)", least=1e-12, most=1)
    warmup: int = setting(200, "steps while the learning rate rises (paper: 1000)", least=0)
    seed: int = setting(0, "the same seed gives the same run, bit for bit", kind=tools.seed_number)
    out: str = setting("runs/puppet", "folder for checkpoints and pictures")
    save_every: int = setting(250, "steps between checkpoints", least=1)
    picture_every: int = setting(1000, "steps between pictures of a sample", least=1)
    device: str = setting(tools.default_device(), "cpu or cuda", kind=tools.device)
    compile: bool = setting(False, "let torch.compile fuse the network: for long runs on a GPU")


GROUPS = {
    "the model": "recipe undo width depth heads",
    "the recordings": "data test skip mirror joints fps",
    "the speech": "features layer wavlm_checkpoint cache",
    "the training": "steps batch window lr warmup seed",
    "the run": "out save_every picture_every device compile",
}
EXAMPLES = """examples:
  python train.py --data recordings --mirror --out runs/mine
  python train.py --recipe paper --features mfcc --out runs/paper"""


def parse(arguments=None, command="train.py"):
    """The command line -> (Settings, {name: value} of what was given, is it --resume?)."""
    texts = dict(prog=command, description="Train DiffMotion-v2.", epilog=EXAMPLES)
    parser, given, resume = runs.parse(Settings, GROUPS, arguments, **texts)
    usual = PAPER_SETTINGS if given.get("recipe") == "paper" else {}
    settings = Settings(**({name: value for name, (value, _) in usual.items()} | given))
    runs.in_range(settings, parser)
    try:
        recipe_for(settings)
    except KeyError as error:
        parser.error(f"--undo {error.args[0]}: is none of {', '.join(DEPARTURES)}")
    if not resume and (settings.width % settings.heads or settings.width // settings.heads % 2):
        heads = f"{settings.heads} heads of even size"
        parser.error(f"--width {settings.width} does not divide into {heads}")
    for name in ("layer", "wavlm_checkpoint"):
        if not resume and settings.features != "wavlm" and name in given:
            parser.error(f"--{name.replace('_', '-')} is WavLM's; give --features wavlm too")
    return settings, given, resume


# ------------------------------------------------------------------------------------------------
# The loss
# ------------------------------------------------------------------------------------------------
def draw(model, pose, random):
    """What a step of training draws for windows pose [B, F, P] -> t, eps, drop, mask.

    t [B] diffusion steps; eps [B, F, P] noise; drop [B] bool: windows that get the null condition;
    mask: None means the recipe's own mask, and always in the paper (see "segments" in
    beyond/departures.py).
    """
    B, F, _ = pose.shape
    t = torch.randint(model.schedule.num_steps, (B,), generator=random)
    eps = torch.randn(pose.shape, generator=random)
    drop = torch.rand(B, generator=random) < DROP
    t, eps, drop = (send(x, pose.device) for x in (t, eps, drop))
    return t, eps, drop, mask_for_training(model.recipe.mask, B, F, random, pose.device)


def training_loss(model, pose, speech, t, eps, drop, mask=None):
    """Mean of |eps - model(x_t, t, speech)|^2: equation 14 of Ho et al. -> a number."""
    x0 = model.transform(pose)  # [B, F, P]; in the paper the pose itself
    x_t = model.schedule.add_noise(x0, t, eps)  # [B, F, P]
    # Matrix products in bfloat16 where the device has it: twice as fast
    with torch.autocast(pose.device.type, torch.bfloat16, enabled=has_bf16(pose.device)):
        predicted = model(x_t, t, speech, drop, mask)  # [B, F, P]
    error = (eps - predicted) ** 2  # [B, F, P]
    return model.recipe.loss(model.schedule, t, error).mean()  # in the paper all t count alike


@torch.no_grad()
def average(ema, model, decay, step):
    """ema <- decay ema + (1 - decay) model. In the paper decay is 0: ema is the model."""
    decay = min(decay, (step + 1) / (step + 10))  # early: a short average
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


# ------------------------------------------------------------------------------------------------
# The run
# ------------------------------------------------------------------------------------------------
def main(arguments=None, network=DiffMotion, loss_of=training_loss, command="train.py"):
    """Train by the command line. lab/baselines.py puts in another network and its loss."""
    s, given, resume = parse(arguments, command)
    saved = None
    if resume:
        saved, s = runs.resume_from(s.out, Settings, given, s)
    run = runs.Run(Path(s.out), s, saved, Team(s.device, s.batch), command)
    with runs.claimed(run.folder, run.team.first):
        whole_run(run, network, loss_of)


def whole_run(run, network, loss_of):
    """From recordings to model.pt in the run's folder."""
    s, team, out = run.s, run.team, run.folder  # team: several GPUs, if there are
    say = print if team.first else lambda *_: None
    if s.recipe == "paper" and not run.saved:
        say(paper_table(s))
    features = SpeechFeatures(s.features, s.fps, s.wavlm_checkpoint or None, s.layer, team.device)
    recipe = recipe_for(s, features.layers)
    with team.first_goes_ahead():  # it writes the puppet and WavLM's features
        pairs = find_pairs(ready_puppet() if s.data == "puppet" else s.data, s.test, s.skip)
        held_out = {part: usable_takes(pairs[part], s.skip) for part in ("valid", "test")}
        corpus = Corpus(
            pairs["train"], features, joints=s.joints, mirror=s.mirror, skip=s.skip,
            scratch=out, cache=s.cache, versions=versions(recipe),
        ).to(team.device, s.window, hop=max(1, int(recipe.hop * s.window)))  # fmt: skip
    say(runs.summary(corpus, s, held_out))
    run.hold_out(held_out["valid"] or held_out["test"], corpus)

    torch.manual_seed(s.seed)
    size = dict(pose_dim=corpus.codec.pose_dim, speech_dim=features.dim, width=s.width,
                depth=s.depth, heads=s.heads)  # fmt: skip
    model = network(**size, recipe=recipe, schedule=NoiseSchedule()).to(team.device)
    if hasattr(model.transform, "fit"):  # our Innovations measure their scale
        model.transform.fit(corpus.poses, corpus.codec)
    digits = "bfloat16" if has_bf16(team.device) else "float32"
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    say(f"{millions:.2f} M parameters, {team.device}, {digits}")

    example = (held_out["valid"] or held_out["test"] or corpus.pairs)[0]
    ema = train(model, corpus, run, loss_of, network.__name__, example)
    team.close()  # of several GPUs' processes only the first goes on
    run.validate(s.steps, ema, loss_of, draw)
    with runs.only_a_picture():
        plot_loss(out / "loss.png", run.losses, runs.CHECK_EVERY, s.steps, run.valid)
        if features.layers > 1:
            plot_layers(out / "layers.png", ema.speech_encoder.shares.softmax(dim=0).tolist())
    state = checkpoint(network.__name__, ema, corpus)
    state["ema"] = {name: weight.half() for name, weight in state["ema"].items()}
    tools.save_checkpoint(out / "model.pt", state)
    run.end()
    draw_sample(out / f"sample-{s.steps}.png", ema, corpus, example, s)


def train(model, corpus, run, loss_of, name, example):
    """The loop -> the averaged weights, as a network."""
    s, recipe, team = run.s, model.recipe, run.team
    ema = copy.deepcopy(model).requires_grad_(False)
    fast.for_training(model, team.device, s.compile)
    fast.threads_for_training(model)
    optimiser = recipe.optimiser(model, s.lr)
    for group in optimiser.param_groups:
        group["peak"] = group["lr"]
    run.restore(model, ema, optimiser, corpus)
    model.train()
    for step in run.steps():
        # Each step draws from a seed of its own, so that a resumed run goes on with the same draws
        random = torch.Generator().manual_seed(s.seed * 1_000_003 + step)
        pose, speech = corpus.batch(s.batch, random, recipe.openings, recipe.noisy)
        drawn = draw(model, pose, random)  # t, eps, drop, mask
        # training_loss; of several GPUs each takes its share of the batch
        loss = loss_of(model, *team.share(pose, speech, *drawn))

        model.zero_grad(set_to_none=True)
        loss.backward()
        team.average_gradients(model)
        norm = clip_grad_norm_(model.parameters(), CLIP)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * recipe.learning_rate(step, s.warmup, s.steps)
        optimiser.step()
        average(ema, model, recipe.ema, step)

        done = step + 1
        if not run.looks(done, loss, norm):  # every 10 steps it reads the loss; nan stops the run
            continue
        if run.picture_is_due(done):  # before it is saved: a resumed run draws what was not drawn
            run.validate(done, ema, loss_of, draw)
            draw_sample(run.folder / f"sample-{done}.png", ema, corpus, example, s)
        if run.save_is_due(done):
            training = run.state(done, model, optimiser, corpus)
            tools.save_checkpoint(run.folder / "last.pt", checkpoint(name, ema, corpus) | training)
        run.stop_if_asked(done)
    return ema


def checkpoint(name, model, corpus):
    """What sampling needs, all of it: sample.load_generator reads this and nothing else."""
    return dict(
        format=tools.FORMAT, network=name, recipe=names_of(model.recipe), model=model.size,
        schedule=model.schedule.settings(), ema=model.state_dict(), codec=corpus.codec.state(),
        speech=corpus.features.settings(), speech_scale=list(corpus.speech_scale),
    )  # fmt: skip


@runs.only_a_picture()
def draw_sample(path, model, corpus, take, s):
    """A picture of what the model does to the first 12 s of a held-out take, (bvh, sound)."""
    waveform = load_take(*take)[1][: 12 * SAMPLE_RATE]
    mean, deviation = corpus.speech_scale
    speech = cached_features(corpus.features, waveform, s.cache).float()  # [F, S]
    speech = ((speech - mean) / deviation)[None].to(model.null_condition.device)  # [1, F, S]
    pose = generate_by_recipe(model, model.schedule, speech, seed=s.seed)  # [1, F, P]
    motion = corpus.codec.decode(pose[0].float().cpu().numpy())
    title = f"{take[0].stem} after {path.stem.removeprefix('sample-')} steps"
    plot_motion(path, title, motion, waveform)
    write_page(path.with_suffix(".html"), title, {"the model": motion}, waveform)


if __name__ == "__main__":
    tools.run_script(main, goes_on=True)
