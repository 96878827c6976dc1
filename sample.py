"""Speech in, gesture out:   python sample.py "my talk.wav" other.mp3

For each speech file it writes STEM.bvh (opens in Blender and every other animation program), STEM.html (plays the
motion with its sound in a browser, offline) and STEM.png (the same at a glance), into --out.
"""
import base64
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

import diffmotion
from data import CheckpointError, Parser, device, hear_take, run_script
from motion import PoseCodec, find_strokes, hand_joints, write_bvh, written_beside
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
        poses = diffmotion.generate(self.model, self.schedule, speech, **settings)
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
        model = diffmotion.DiffMotion(diffmotion.DiffMotionConfig(**state["model"]))
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
def write_page(path, title, motions, waveform=None, strokes=()):
    """A page that plays motions side by side with the sound, from disk, offline: player.html filled in.

    motions: {label: Motion} of one frame rate; waveform [samples] at 16 kHz, or None for silence; strokes in seconds.
    """
    bodies = []
    for label, motion in motions.items():
        points, parents = motion.points()                        # [F, joints + ends, 3]
        points = points * 1.7 / motion.body_height()             # everybody is 1.7 m tall: files differ in their units
        scale = max(float(np.abs(points).max()), 1e-6) / 32_000  # 16 bits resolve 0.1 mm within 3 m
        bodies.append(dict(label=label, parents=parents.tolist(), names=list(motion.names) + [""] * len(motion.end_sites), scale=scale,
                           positions=base64.b64encode(np.round(points / scale).astype("<i2").tobytes()).decode()))
    audio = None
    if waveform is not None:
        wav = io.BytesIO()
        soundfile.write(wav, np.asarray(waveform), SAMPLE_RATE, format="WAV", subtype="PCM_16")
        audio = "data:audio/wav;base64," + base64.b64encode(wav.getvalue()).decode()
    first = next(iter(motions.values()))
    data = dict(title=title, fps=1 / first.frame_time, frames=max(map(len, motions.values())), bodies=bodies, audio=audio,
                strokes=[round(float(t), 3) for t in strokes])
    template = (HERE / "player.html").read_text(encoding="utf-8")
    # A title that holds "</script>" must not end the script element
    page = template.replace("__DATA__", json.dumps(data).replace("<", "\\u003c"), 1)
    with written_beside(path) as beside:
        beside.write_text(page, encoding="utf-8")


def plot_motion(path, title, motion, waveform=None, poses=16, seconds=12.0):
    """A strip of poses over the waveform, the hands' speed and their strokes: what happens when, at a glance."""
    import matplotlib                    # 0.5 s to import: only where a picture is drawn
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fps = 1 / motion.frame_time
    frames = min(len(motion), int(seconds * fps))
    points, parents = motion.points()
    height = motion.body_height()
    points = points / height                                     # body heights
    hands = hand_joints(motion)
    colours = {"Left": "#d1495b", "Right": "#2e6f9e"}
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(16, 5.6), height_ratios=(2, 1), constrained_layout=True)
    # Seen from the front: across the hips to the right of the picture, as a person who faces us.
    left, right = (points[:frames, j].mean(axis=0) for j in hands)
    across = (left - right) * [1, 0, 1]
    across = across / max(np.linalg.norm(across), 1e-6)
    for k in range(poses):
        n = min(frames - 1, round((k + 0.5) * frames / poses))
        flat = (points[n] - points[n, :1] * [1, 0, 1]) @ np.stack([across, [0, 1, 0]], axis=1)        # [points, 2]
        for j, parent in enumerate(parents):
            if parent >= 0:
                name = motion.names[j if j < len(motion.names) else parent]
                top.plot(flat[[parent, j], 0] + k * 0.62, flat[[parent, j], 1], lw=3, solid_capstyle="round",
                         color=next((c for side, c in colours.items() if side in name), "#444444"))
        top.text(k * 0.62, points[:frames, :, 1].min() - 0.1, f"{n / fps:.1f} s", ha="center", fontsize=8, color="#666666")
    top.set(title=title, aspect="equal", xlim=(-0.4, poses * 0.62 - 0.2))
    top.axis("off")
    time = np.arange(frames) / fps
    if waveform is not None:
        sound = np.abs(np.asarray(waveform)[:int(frames / fps * SAMPLE_RATE)])
        loudest = np.maximum.reduceat(sound, np.arange(0, len(sound), 160)) / max(sound.max(), 1e-9) / 2    # every 10 ms
        bottom.fill_between(np.arange(len(loudest)) / 100, loudest, -loudest, color="#aaaaaa", lw=0, label="speech")
    for j, (side, colour) in zip(hands, colours.items()):
        speed = np.linalg.norm(np.gradient(points[:, j], axis=0), axis=-1)[:frames] * fps if len(motion) > 1 else np.zeros(frames)
        bottom.plot(time, speed, color=colour, lw=1.5, label=f"{side.lower()} hand")
    for t, _, side in zip(*find_strokes(motion)):
        if t < frames / fps:
            bottom.axvline(t, color=list(colours.values())[side], lw=0.8, ls=":")
    bottom.set(xlim=(0, frames / fps), xlabel="seconds (dotted: strokes)", ylabel="body heights a second")
    bottom.legend(loc="upper right", ncols=3, fontsize=8)
    with written_beside(path) as beside:
        figure.savefig(beside, dpi=80, format="png")
    plt.close(figure)


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def parse():
    """The command line."""
    parser = Parser(prog="sample.py", description="Generate full-body gesture for speech files: STEM.bvh, STEM.html and STEM.png for each.")
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
        write_page(args.out / f"{stem}.html", stem, {"model": motion}, waveform, strokes)
        plot_motion(args.out / f"{stem}.png", stem, motion, waveform)
        written[stem] = name
        print(f"{name}: {len(waveform) / SAMPLE_RATE:.1f} s of speech, {len(motion)} frames, {len(strokes)} strokes -> "
              + ", ".join(str(args.out / f"{stem}.{ending}") for ending in ("bvh", "html", "png")))
    if failed:
        sys.exit(2)


if __name__ == "__main__":
    run_script(main)
