"""Speech in, gesture out:   python sample.py "my talk.wav" other.mp3

For each recording it writes STEM.bvh (opens in Blender and every other animation program),
STEM.html (plays the motion with its sound in a browser, offline) and STEM.png (its first 12 s).

    sound -> load_audio -> SpeechFeatures -> generate -> PoseCodec.decode -> plant -> .bvh, ...

`Generator` is these steps. generate_by_recipe (beyond/stream.py) calls diffmotion.generate with the
sampler and the number of steps of the model's recipe: for the paper sample_ddpm and 1000 steps; for
ours another sampler and 10 steps, with guidance and warm-up frames. Our recipe makes speech of more
than 18 s in chunks, with the same result (generate_long, in the same file).
Three more commands are calls into other files:

    python sample.py --stream lecture.wav        any length in constant memory     beyond/live.py
    arecord ... | python sample.py --live        speech that is still being spoken beyond/live.py
    python sample.py view a.bvh b.bvh            motions side by side              show/view.py
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from beyond import fast, live
from beyond.batches import in_batches, together
from beyond.departures import mixed_layers
from beyond.options import parse, settings_of
from beyond.recipes import recipe_of
from beyond.stream import generate_by_recipe
from body.feet import plant
from body.pose import PoseCodec
from checkpoints import read_model
from diffmotion import DiffMotion, NoiseSchedule
from recordings.audio import SAMPLE_RATE, SpeechError, load_audio
from recordings.cache import cached_features
from show import view
from show.outputs import free_stem, write_outputs
from tools import one_line, run_script, shown
from wavlm_loader import SpeechFeatures


# ------------------------------------------------------------------------------------------------
# From a checkpoint to a motion
# ------------------------------------------------------------------------------------------------
@dataclass
class Generator:
    """Everything between a waveform and a Motion; all of it comes out of one checkpoint file."""

    model: DiffMotion
    schedule: NoiseSchedule
    codec: PoseCodec
    features: SpeechFeatures
    speech_scale: tuple  # (mean [S], deviation [S]) over the training takes
    device: str = "cpu"
    cache: str | None = None  # folder that keeps WavLM's features

    def speech_of(self, waveform):
        """waveform [samples] -> standardised speech features [1, F, S]."""
        if self.cache is None:
            pieces = self.features.pieces(waveform)
        else:
            pieces = cached_features(self.features, waveform, self.cache).split(1024)
        return torch.cat(list(self.standardised(pieces)), dim=1)  # [1, F, S]

    @torch.no_grad()
    def standardised(self, pieces):
        """Pieces of features [n, S] -> the same in training's mean and deviation, [1, n, S].

        --layer sum: the pieces are [n, 13 S], the layers of WavLM, which are mixed here, piece by
        piece: an hour of all of them would take 2.9 GB.
        """
        mean, deviation = self.speech_scale
        for piece in pieces:
            piece = ((piece.float() - mean) / deviation).to(self.device)
            yield mixed_layers(self.model, piece)[None]

    def __call__(self, speech, **settings):
        """Speech features [B, F, S] -> B Motions.

        settings: seed; and sampler, steps, guidance, where they are not to be those of the model's
        recipe
        """
        pose = generate_by_recipe(self.model, self.schedule, speech, **settings)  # [B, F, P]
        return [self.motion_of(one) for one in pose.float().cpu().numpy()]

    def motion_of(self, pose):
        """Pose features [F, P] -> Motion, with feet that stand still where they stand."""
        return plant(self.codec.decode(pose))


def load_generator(
    path, device="cpu", wavlm_checkpoint=None, precision="float32", compile=False, networks=()
):
    """Checkpoint file -> Generator on `device`. CheckpointError for a file of no sound model.

    precision   "float32", "bfloat16", or "auto": bfloat16 where it is faster
    networks    {name: class} of baselines, see lab/baselines.py
    """
    networks = dict(networks) | dict(DiffMotion=DiffMotion)
    state = read_model(path, networks)
    mean, deviation = (scale.float() for scale in state["speech_scale"])
    schedule, recipe = NoiseSchedule(**state["schedule"]), recipe_of(state["recipe"])
    model = networks[state["network"]](**state["model"], recipe=recipe, schedule=schedule)
    model.load_state_dict({name: weight.float() for name, weight in state["ema"].items()})
    codec = PoseCodec(state["codec"])
    fast.for_sampling(model, device, precision, compile)
    features = SpeechFeatures(**state["speech"], checkpoint=wavlm_checkpoint, device=device)
    return Generator(model, schedule, codec, features, (mean, deviation), device)


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def encoded(names, generator, failed):
    """Read the files -> (name, waveform, speech [1, F, S]) for each that can be read."""
    for name in names:
        try:
            waveform = load_audio(name)
        except (SpeechError, OSError) as error:  # the other files are still worth doing
            refuse(error, failed)
            continue
        yield name, waveform, generator.speech_of(waveform)


def refuse(error, failed):
    """Say what was wrong with one file, and go on with the others."""
    if isinstance(error, BrokenPipeError):
        raise error
    sys.stderr.write(f"error: {one_line(error)}\n")
    failed.append(error)


def main(arguments=None):
    """The command sample.py."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["view"]:
        return view.main(arguments[1:])
    args = parse(arguments)
    generator = load_generator(args.checkpoint, args.device, args.wavlm_checkpoint,
                               args.precision, args.compile)  # fmt: skip
    fast.threads_for_sampling(generator, waited_for=args.live or args.stream)
    how, seeds = settings_of(args, generator), range(args.seed, args.seed + args.seeds)
    if str(args.out) != "-":
        args.out.mkdir(parents=True, exist_ok=True)
    if args.live:
        return live.main(args, generator, how)
    return files(args, generator, how, seeds)


def files(args, generator, how, seeds):
    """Speech files -> their outputs; exit status 2 if one of them failed."""
    # Where --out is a sound's own folder, STEM.bvh may be the recorded motion: it is not replaced
    names = [Path(name) for name in args.audio]
    homes = {home for name in names for home in (name.parent.resolve(), name.resolve().parent)}
    stem_of = partial(free_stem, out=args.out, beside_speech=args.out.resolve() in homes)
    taken, failed = set(), []
    if args.stream:
        live.from_files(generator, names, args, stem_of, refuse, failed, how)
        names = []
    for jobs in in_batches(encoded(names, generator, failed), args.seeds):
        speeches = [speech for _, _, speech in jobs for _ in seeds]
        with progress_bar(jobs, how["steps"]) as progress:
            motions = together(generator, speeches, [*seeds] * len(jobs), progress=progress, **how)
        for n, (name, waveform, _) in enumerate(jobs):
            stem = stem_of(name, taken)
            taken.add(stem.casefold())
            labels = [f"seed {seed}" for seed in seeds] if len(seeds) > 1 else ["model"]
            own = dict(zip(labels, motions[n * len(seeds) :]))
            try:
                said = write_outputs(args.out, stem, own, waveform, args, how)
            except OSError as error:  # too long a name, a full disk
                refuse(error, failed)
                continue
            print(shown(f"{name}: {len(waveform) / SAMPLE_RATE:.1f} s of speech, {said}"))
    if failed:
        sys.exit(2)


@contextmanager
def progress_bar(jobs, steps):
    """A bar over a sampler's steps, for jobs that go through the network together."""
    names = shown(", ".join(name.name for name, _, _ in jobs)[:60])
    with tqdm(total=steps, desc=names, unit="step", disable=None) as bar:

        def progress(steps):
            bar.reset()  # a long recording is made in chunks, and each walks all steps
            for step in steps:
                yield step
                bar.update()

        yield progress


if __name__ == "__main__":
    run_script(main)
