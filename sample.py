"""Speech in, gesture out:   python sample.py "my talk.wav" other.mp3

For each speech file it writes STEM.bvh (opens in Blender and every other animation program), STEM.html (plays the
motion with its sound in a browser, offline) and STEM.png (the same at a glance), into --out.

Any motions side by side:   python sample.py view truth.bvh model.bvh --audio talk.wav --out both.html
The ending of --out says what is written: .html, .mp4 or .gif for slides, .png.
"""
import base64
import html
import io
import json
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

import diffmotion
from baselines import MODELS
from data import CheckpointError, Parser, device, hear_take, run_script
from motion import BvhError, PoseCodec, find_strokes, read_bvh, write_bvh, written_beside
from pictures import plot_motion, write_video
from wavlm_loader import SAMPLE_RATE, SpeechError, SpeechFeatures, load_audio

HERE = Path(__file__).resolve().parent
STEPS, GUIDANCE = 10, 1.35   # chosen on puppet takes of their own (seed 77), with DDIM: see README


# ------------------------------------------------------------------------------------------------
# From a checkpoint to a motion
# ------------------------------------------------------------------------------------------------
@dataclass
class Generator:
    """Everything between a waveform and a Motion; all of it comes out of one checkpoint file."""
    model: diffmotion.DiffMotion
    schedule: diffmotion.NoiseSchedule
    codec: PoseCodec
    features: SpeechFeatures
    speech_scale: tuple          # (mean [S], deviation [S])
    device: str = "cpu"
    cache: str | None = None     # folder that keeps WavLM's features, for those who hear a recording again and again

    def hear(self, waveform):
        """waveform [samples] -> standardised speech features [1, F, S]. Layers are mixed here: an hour of all 13 would take 2.9 GB."""
        pieces = self.features.pieces(waveform) if self.cache is None else hear_take(self.features, waveform, self.cache).split(1024)
        mean, deviation = self.speech_scale
        with torch.no_grad():
            return torch.cat([self.model.mix_layers(((piece.float() - mean) / deviation).to(self.device)) for piece in pieces])[None]  # [1, F, S]

    def __call__(self, speech, **settings):
        """Speech features [B, F, S] -> B Motions. settings: sampler, steps, guidance, seed, progress of diffmotion.generate."""
        settings = dict(steps=min(STEPS, self.schedule.num_steps), guidance=GUIDANCE) | settings
        generate = getattr(self.model, "generate", None) or partial(diffmotion.generate, self.model)         # two baselines have their own
        poses = generate(self.schedule, speech, **settings)
        if not torch.isfinite(poses).all():
            raise CheckpointError("the model's answer is not a number; its training went wrong, use another checkpoint")
        return [self.codec.decode(pose) for pose in poses.float().cpu().numpy()]


def read_checkpoint(path):
    """The dictionary in a checkpoint file. Only tensors and plain values are loaded: a file that would run code is refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; train one with train.py, or leave --checkpoint out to use the shipped one") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; name the checkpoint file in it") from None
    except Exception as error:           # torch.load raises some ten kinds of error for files that are not its own
        what = "would run code when loaded, which is refused" if "unsupported global" in str(error).lower() else "is damaged or no checkpoint"
        raise CheckpointError(f"{path}: {what}; use a file that train.py wrote") from None
    if not isinstance(state, dict) or state.get("format") != "diffmotion":
        raise CheckpointError(f"{path}: holds something else than a DiffMotion model; use a file that train.py wrote")
    return state


def load_generator(path, device="cpu", wavlm_checkpoint=None, steps=1):
    """Checkpoint file -> Generator with the averaged (EMA) weights, in eval mode on `device`, able to walk `steps` steps."""
    state = read_checkpoint(path)
    try:
        model = MODELS[state.get("network", "diffmotion")](diffmotion.DiffMotionConfig(**state["model"]))
        model.load_state_dict({name: weight.float() for name, weight in state["ema"].items()})
        schedule = diffmotion.NoiseSchedule(**state["schedule"])
        codec, scale = PoseCodec(state["codec"]), state["speech_scale"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together ({type(error).__name__}); it comes from another version, train anew") from None
    if steps > schedule.num_steps:
        raise CheckpointError(f"--steps {steps}: {path} has only {schedule.num_steps} diffusion steps; ask for at most that")
    features = SpeechFeatures(**state["speech"], checkpoint=wavlm_checkpoint, device=device)
    return Generator(model.eval().to(device), schedule, codec, features, (scale[0], scale[1]), device)


# ------------------------------------------------------------------------------------------------
# What is written
# ------------------------------------------------------------------------------------------------
def player_page(title, motions, waveform=None, strokes={}):
    """A page that plays motions side by side with the sound, offline: player.html filled in -> str.

    motions: {label: Motion}, of any lengths, frame rates and units; waveform [samples] at 16 kHz, or None for
    silence; strokes: {label: seconds [n]}, marked on the waveform.
    """
    first, bodies = next(iter(motions.values())), []
    for label, motion in motions.items():
        points, parents = motion.points()                        # [F, joints + ends, 3]
        # Everybody is 1.7 m tall, since files differ in their units. The height is what stands out upwards, raised
        # hands too, so motions of one skeleton share one, or who gestures high would be drawn small.
        same = list(motion.names) == list(first.names) and np.allclose(motion.offsets, first.offsets, rtol=0.01, atol=0.01 * np.abs(first.offsets).max())
        points = points * 1.7 / max((first if same else motion).body_height(), 1e-6)
        scale = max(float(np.abs(points).max()), 1e-6) / 32_000  # 16 bits resolve 0.1 mm within 3 m
        bodies.append(dict(label=label, parents=parents.tolist(), names=list(motion.names) + [""] * len(motion.end_sites), scale=scale,
                           fps=1 / motion.frame_time, frames=len(motion), strokes=[round(float(t), 3) for t in strokes.get(label, ())],
                           positions=base64.b64encode(np.round(points / scale).astype("<i2").tobytes()).decode()))
    audio = None
    if waveform is not None:
        # The sound is the page's clock: silence behind it lets a motion that is longer play to its end.
        seconds = max(len(motion) * motion.frame_time for motion in motions.values())
        waveform = np.pad(np.asarray(waveform), (0, max(0, round(seconds * SAMPLE_RATE) - len(waveform))))
        wav = io.BytesIO()
        soundfile.write(wav, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        audio = "data:audio/wav;base64," + base64.b64encode(wav.getvalue()).decode()
    template = (HERE / "player.html").read_text(encoding="utf-8")
    # A title that holds "</script>" must not end the script element
    return template.replace("__DATA__", json.dumps(dict(title=title, bodies=bodies, audio=audio)).replace("<", "\\u003c"), 1)


def write_page(path, title, motions, waveform=None, strokes={}):
    """player_page into a file, which then plays from disk."""
    with written_beside(path) as beside:
        beside.write_text(player_page(title, motions, waveform, strokes), encoding="utf-8")


class PageInNotebook:
    """player_page as the value of a notebook cell; the arguments are the same, `height` is in pixels."""

    def __init__(self, title, motions, waveform=None, strokes={}, height=560):
        self.page, self.height = player_page(title, motions, waveform, strokes), height

    def __repr__(self):
        """What is shown where no HTML is."""
        return "the player page; run the cell to see it"

    def _repr_html_(self):
        """What Jupyter shows. A frame of its own keeps the page's keys and styles from the notebook's."""
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width: 100%; height: {self.height}px; border: 0"></iframe>'


# ------------------------------------------------------------------------------------------------
# python sample.py view: motions that exist already
# ------------------------------------------------------------------------------------------------
def upright(motion, up):
    """The motion with the axis `up` of its file, "y" or "z", turned to Y, which is up everywhere in this project."""
    if up == "y":
        return motion
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])        # z becomes y, y becomes -z: a quarter turn about x
    rotations, positions = motion.rotations.copy(), motion.positions.copy()
    rotations[:, 0], positions[:, 0] = turn @ rotations[:, 0], positions[:, 0] @ turn.T
    return replace(motion, rotations=rotations, positions=positions)


def strokes_of(motion):
    """Times of the strokes, seconds [n]; none for a skeleton whose hands cannot be found by name, which can be looked at all the same."""
    try:
        return find_strokes(motion)[0]
    except BvhError:
        return np.zeros(0)


def view(arguments):
    """The command `view`: BVH files side by side, under one sound."""
    parser = Parser(prog="sample.py view", description="Show BVH files side by side under one sound: a page, a video or a picture.")
    parser.add_argument("motion", nargs="+", type=Path, help="BVH files, of any skeleton, rate and unit")
    parser.add_argument("--audio", help="what is heard, any format")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="a name for each motion (default: the file's)")
    parser.add_argument("--up", choices=("y", "z"), default="y", help="the files' upward axis; z if the figure lies on its back (default: %(default)s)")
    parser.add_argument("--out", default=Path("out/view.html"), type=Path,
                        help="file to write: .html plays in a browser, .mp4 (needs ffmpeg) and .gif (silent) go on slides, .png shows the first motion at a glance (default: %(default)s)")
    args = parser.parse_args(arguments)
    ending = args.out.suffix.lower()
    if ending not in (".html", ".mp4", ".gif", ".png"):
        parser.error(f"--out {args.out}: ends in neither .html, .mp4, .gif nor .png")
    if ending == ".mp4" and not shutil.which("ffmpeg"):
        parser.error(f"--out {args.out}: an .mp4 needs the program ffmpeg, which is not installed; install it, or take a name that ends in .gif")
    if args.labels and len(args.labels) != len(args.motion):
        parser.error(f"--labels: {len(args.labels)} names for {len(args.motion)} files; give one each")
    labels = args.labels or [path.stem for path in args.motion]
    if len(set(labels)) < len(labels) and not args.labels:       # truth/take1.bvh and model/take1.bvh
        labels = [f"{path.resolve().parent.name}/{path.stem}" for path in args.motion]
    if len(set(labels)) < len(labels):
        parser.error("two motions have the same name; tell them apart with --labels")
    motions = {label: upright(read_bvh(path), args.up) for label, path in zip(labels, args.motion)}
    waveform = load_audio(args.audio) if args.audio else None
    title = " and ".join(labels) if len(labels) < 3 else ", ".join(labels)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".html":
        write_page(args.out, title, motions, waveform, {label: strokes_of(motion) for label, motion in motions.items()})
    elif ending == ".png":
        plot_motion(args.out, labels[0], motions[labels[0]], waveform)
    else:
        write_video(args.out, motions, waveform)
    print(f"{', '.join(f'{label}: {len(motion)} frames at {1 / motion.frame_time:.4g} a second' for label, motion in motions.items())} -> {args.out}")


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def parse():
    """The command line."""
    parser = Parser(prog="sample.py", description="Generate full-body gesture for speech files: STEM.bvh, STEM.html and STEM.png for each.",
                    epilog="To look at motions that exist already: sample.py view --help")
    parser.add_argument("audio", nargs="+", help="speech files, any format, rate and name")
    parser.add_argument("--checkpoint", default=HERE / "pretrained" / "puppet.pt", type=Path, help="a model that train.py wrote (default: the shipped puppet)")
    parser.add_argument("--out", default="out", type=Path, help="folder to write to (default: %(default)s)")
    parser.add_argument("--sampler", default="ddim", choices=list(diffmotion.SAMPLERS), help="how noise becomes motion (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="passes of the network; 1000 with --sampler ddpm is the paper's way (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="1 is the model as trained, more follows the speech more strictly (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another motion for the same speech (default: %(default)s)")
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default here: %(default)s)")
    parser.add_argument("--wavlm-checkpoint", help="WavLM Base+ weights, for models trained on its features")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"--steps must be at least 1, not {args.steps}")
    if not np.isfinite(args.guidance):
        parser.error(f"--guidance must be a number, not {args.guidance}")
    return args


def free_stem(path, taken):
    """The stem for this file's outputs; a second file of the same stem gets -2, so that nothing is overwritten."""
    stem, n = path.stem, 1
    while (stem if n == 1 else f"{stem}-{n}") in taken:
        n += 1
    return stem if n == 1 else f"{stem}-{n}"


def main():
    if sys.argv[1:2] == ["view"]:
        return view(sys.argv[2:])
    args = parse()
    generator = load_generator(args.checkpoint, args.device, args.wavlm_checkpoint, args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    written, failed = {}, 0
    for name in map(Path, args.audio):
        try:
            waveform = load_audio(name)
        except SpeechError as error:                 # the other files are still worth doing
            sys.stderr.write(f"error: {error}\n")
            failed += 1
            continue
        bar = tqdm(total=args.steps, desc=name.name, unit="step", disable=None)

        def progress(steps):
            bar.reset()
            for step in steps:
                yield step
                bar.update()

        motion, = generator(generator.hear(waveform), sampler=args.sampler, steps=args.steps, guidance=args.guidance, seed=args.seed, progress=progress)
        bar.close()
        stem = free_stem(name, written)
        strokes = find_strokes(motion)[0]
        write_bvh(args.out / f"{stem}.bvh", motion)
        write_page(args.out / f"{stem}.html", stem, {"model": motion}, waveform, {"model": strokes})
        plot_motion(args.out / f"{stem}.png", stem, motion, waveform)
        written[stem] = name
        print(f"{name}: {len(waveform) / SAMPLE_RATE:.1f} s of speech, {len(motion)} frames, {len(strokes)} strokes -> "
              + ", ".join(str(args.out / f"{stem}.{ending}") for ending in ("bvh", "html", "png")))
    if failed:
        sys.exit(2)


if __name__ == "__main__":
    run_script(main)
