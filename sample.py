"""Speech in, gesture out:   python sample.py "my talk.wav" other.mp3

For each speech file it writes STEM.bvh (opens in Blender and every other animation program), STEM.html (plays the
motion with its sound in a browser, offline) and STEM.png (the same at a glance), into --out. Several files, and with
--seeds several motions for each, are made in one batch.

Speech of any length in constant memory, STEM.bvh growing as it is made:   python sample.py --stream lecture.wav
Speech that is still being spoken, 16 kHz PCM from a pipe:   arecord -q -t raw -f S16_LE -r 16000 -c 1 | python sample.py --live

Any motions side by side:   python sample.py view truth.bvh model.bvh --audio talk.wav --out both.html
The ending of --out says what is written: .html, .mp4 or .gif for slides, .png.
"""
import base64
import html
import io
import itertools
import json
import shutil
import sys
import time
import zipfile
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

import diffmotion
from baselines import MODELS
from data import CheckpointError, Parser, compile_or_refuse, device, has_bf16, has_int8, hear_take, one_line, run_script, seed_number
from motion import BvhStream, PoseCodec, rate_of, read_bvh, shown_points, side_and_stem, strokes_of, write_bvh, written_beside
from pictures import plot_motion, write_video
from wavlm_loader import SAMPLE_RATE, RunningLevel, SpeechError, SpeechFeatures, load_audio, load_audio_blocks, loud_level_of, without_rumble

HERE = Path(__file__).resolve().parent
SAMPLER, STEPS, GRID_POWER, GUIDANCE = "dpmpp", 10, 1.0, 1.2     # chosen on puppet takes of their own (seed 77): see results/README.md
# Frames that are made before the first one and thrown away, to copies of the first frame of speech. The first frame has no past to go on from: hands
# begin anywhere, and sink to where they rest over some 20 frames. Hands' mean speed in the first 0.4 s of 24 clips that begin with silence, body
# heights a second, with a lead of 0, 10, 20, 40 frames: 0.21, 0.071, 0.033, 0.020; the recorded motion: 0.017.
LEAD = 40
# From this width on the network computes in bfloat16 where the processor can. A pass of one block over 400 frames, float32 against bfloat16 on one
# core of an EPYC: 1.1 times as fast at width 128, 1.7 at 256, 2.1 at 1280 (the whole network there: 1.9, python bench.py step_times).
BF16_WIDTH = 256
BATCH_FRAMES = 8000          # frames in a batch of several files, with the padding: 100 MB of activations at the small size
STREAM_CHUNK = 200           # frames made at once: 10 s; smaller chunks cost more a frame, larger ones memory
LIVE_CHUNK = 10              # the same where somebody waits for them: 0.5 s. They see no farther ahead than that, so the motion is a little worse: see results/README.md


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
        return torch.cat(list(self.standardised(pieces)), dim=1)             # [1, F, S]

    @torch.no_grad()
    def standardised(self, pieces):
        """Pieces of features [n, L S], as they were heard -> pieces [1, n, S] as the model wants them."""
        mean, deviation = self.speech_scale
        for piece in pieces:
            yield self.model.mix_layers(((piece.float() - mean) / deviation).to(self.device))[None]

    def __call__(self, speech, **settings):
        """Speech features [B, F, S] -> B Motions. settings: sampler, steps, power, guidance, seed, progress, segment of diffmotion.generate."""
        return [self.codec.decode(pose) for pose in self.poses(speech, **settings)]

    def poses(self, speech, **settings):
        """The same as features [B, F, P], numpy."""
        settings = dict(sampler=SAMPLER, steps=min(STEPS, self.schedule.num_steps), guidance=GUIDANCE) | settings
        generate = getattr(self.model, "generate", None) or partial(diffmotion.generate, self.model)         # two baselines have their own
        speech = torch.cat([speech[:, :1].expand(-1, LEAD, -1), speech], dim=1)                              # [B, LEAD + F, S]
        return finite(generate(self.schedule, speech, **settings))[:, LEAD:]                                 # [B, F, P]

    def together(self, speeches, seeds, **settings):
        """Speech features [1, F_i, S], n of them, of any lengths, and n seeds -> n Motions, each the one that it would be alone.

        Short clips are padded with zeros, which is what a clip by itself hears behind its end, and fills up its last segment with; and motion looks at nothing beyond its segment.
        """
        if hasattr(self.model, "generate"):          # two baselines, which know nothing of seeds in a batch
            return [self(speech, seed=seed, **settings)[0] for speech, seed in zip(speeches, seeds)]
        longest = max(speech.shape[1] for speech in speeches)
        batch = torch.cat([torch.nn.functional.pad(speech, (0, 0, 0, longest - speech.shape[1])) for speech in speeches])    # [n, F, S]
        return [self.codec.decode(pose[:speech.shape[1]]) for pose, speech in zip(self.poses(batch, seed=list(seeds), **settings), speeches)]

    def led(self, pieces):
        """The standardised pieces, the first of them behind LEAD copies of its first frame."""
        for n, piece in enumerate(self.standardised(pieces)):
            yield piece if n else torch.cat([piece[:, :1].expand(-1, LEAD, -1), piece], dim=1)

    def stream(self, pieces, chunk, **settings):
        """Pieces of features [n, L S], as they are heard -> Motions of `chunk` frames, the first of fewer, each of which goes on where the last one stopped.

        Chunks shorter than the model's segments are segments of their own: their frames see less far ahead than the model could.
        """
        if hasattr(self.model, "generate"):
            raise CheckpointError("this baseline makes a motion as a whole or frame by frame, not in chunks; leave --stream and --live out")
        segment = min(chunk, self.model.config.segment)
        if chunk % segment:
            raise CheckpointError(f"--chunk {chunk}: in this model {segment} frames see each other; give a multiple of {segment}, or fewer")
        start, lead = None, LEAD
        for poses in diffmotion.generate_stream(self.model, self.schedule, self.led(pieces), chunk=chunk, segment=segment, **settings):
            pose = finite(poses)[0, lead:]                       # [chunk, P]; as long as the lead lasts, what is left of it
            lead = max(0, lead - poses.shape[1])
            if not len(pose):
                continue
            motion = self.codec.decode(pose, start)
            start = self.codec.end_of(pose, motion, start)
            yield motion


def finite(poses):
    """Features [B, F, P] as numpy, if all of them are numbers."""
    if not torch.isfinite(poses).all():
        raise CheckpointError("the model's answer is not a number; its training went wrong, or --guidance is far too large: use another")
    return poses.float().cpu().numpy()


FORMAT = "diffmotion-v"      # of checkpoints: a dictionary of train.contents, whose network answers what its config says; by default v


def read_checkpoint(path):
    """The dictionary in a checkpoint file. Only tensors and plain values are loaded: a file that would run code is refused."""
    try:
        if zipfile.is_zipfile(path) and (record := zipfile.ZipFile(path).testzip()):         # checksums, at which torch.load does not look
            raise CheckpointError(f"{path}: is damaged (in {record}); copy it again, or train anew")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; give one that train.py wrote") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; name the checkpoint file in it") from None
    except (CheckpointError, PermissionError):
        raise
    except Exception as error:           # torch.load raises some ten kinds of error for files that are not its own
        what = "would run code when loaded, which is refused" if "unsupported global" in str(error).lower() else "is damaged or no checkpoint"
        raise CheckpointError(f"{path}: {what}; use a file that train.py wrote") from None
    if not isinstance(state, dict) or not str(state.get("format")).startswith("diffmotion"):
        raise CheckpointError(f"{path}: holds something else than a DiffMotion model; use a file that train.py wrote")
    if state["format"] != FORMAT:        # the weights of an earlier form may fit, and would be read as what they are not
        raise CheckpointError(f"{path}: comes from another version, whose network answered something else; train anew")
    return state


class Int8Linear(torch.nn.Module):
    """A linear layer, y = x W^T + b, whose product is one of whole numbers between -127 and 127.

    Each frame of x [n, K] has a step a_n, and each row of W [N, K] a step w_m, so that its largest number becomes 127:
        y_nm = a_n w_m sum_k round(x_nk / a_n) round(W_mk / w_m) + b_m
    Processors with AVX-512 VNNI or AMX make such products twice as fast as those in bfloat16; others are refused, see data.has_int8. The weights
    are rounded once; the frames at each call, in float32, since bfloat16's eight bits would be rounded twice.
    """

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()                  # [N, K]
        step = weight.abs().amax(dim=1).clamp(min=1e-12) / 127   # [N]
        self.register_buffer("weight", (weight / step[:, None]).round().to(torch.int8).t())              # [K, N]
        self.register_buffer("step", step)
        self.register_buffer("bias", linear.bias.detach().float())

    def forward(self, x):
        """x [..., K] -> [..., N], in the type of x."""
        rows = x.flatten(0, -2).float()                          # [n, K]
        step = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12) / 127          # [n, 1]
        product = torch._int_mm((rows / step).round_().to(torch.int8), self.weight)  # [n, N], int32
        return torch.addcmul(self.bias, product * step, self.step).to(x.dtype).unflatten(0, x.shape[:-1])


def in_int8(block):
    """Replace the four large products of a Block. AdaLN's stay as they are: the split form's are made once a clip, and once for all steps.
    (The joint form makes one at each step, as large as the MLP's; it was not tried with eight bits.)"""
    block.qkv, block.out = Int8Linear(block.qkv), Int8Linear(block.out)
    block.mlp[0], block.mlp[2] = Int8Linear(block.mlp[0]), Int8Linear(block.mlp[2])


class Replayed:
    """DiffMotion.denoise as a CUDA graph: the launches of a pass, several hundred, are recorded once and handed to the GPU as one.

    Started one by one from Python they take longer than the GPU needs to do them. A graph reads and writes the same memory at each replay, so
    what a pass is given is copied there: x_t, t and the step's halves each time, the speech's halves and the mask once a clip. A new shape is recorded anew, which
    costs two passes.
    The answer is good until the next pass. Passes with a cache, which is another one in each chunk, are made the plain way.
    """

    def __init__(self, denoise):
        self.denoise, self.graph, self.clip = denoise, None, None

    def __call__(self, x_t, t, speech, step, turn, mask, cache=None):
        """As DiffMotion.denoise: x_t [B, F, P], t [B] -> eps [B, F, P]."""
        if cache is not None:
            return self.denoise(x_t, t, speech, step, turn, mask, cache)
        if self.graph is None or x_t.shape != self.x_t.shape or getattr(mask, "shape", None) != getattr(self.mask, "shape", None):
            self.x_t, self.t = x_t.clone(), t.clone()
            self.speech, self.step = ([half if half is None else half.clone() for half in halves] for halves in (speech, step))
            self.turn, self.mask = turn, None if mask is None else mask.clone()          # of one shape there is but one turn: without a cache a clip begins at 0
            self.denoise(self.x_t, self.t, self.speech, self.step, turn, self.mask)      # what is done but once, as compiling, must not be recorded
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.eps = self.denoise(self.x_t, self.t, self.speech, self.step, turn, self.mask)
        if speech is not self.clip:
            self.copy(self.speech, speech)
            if mask is not None:
                self.mask.copy_(mask)
            self.clip = speech
        self.copy(self.step, step)
        self.x_t.copy_(x_t)
        self.t.copy_(t)
        self.graph.replay()
        return self.eps

    @staticmethod
    def copy(places, tensors):
        """Each tensor to its place, all in one launch; some baselines' blocks are given None, which has none."""
        torch._foreach_copy_(*zip(*((place, tensor) for place, tensor in zip(places, tensors) if tensor is not None)))


def load_generator(path, device="cpu", wavlm_checkpoint=None, steps=1, precision="float32", compile=False):
    """Checkpoint file -> Generator with the averaged (EMA) weights, in eval mode on `device`, able to walk `steps` steps.

    precision   "float32", "bfloat16", "auto": bfloat16 where it is faster, see BF16_WIDTH; or "int8": the blocks' large products as in
                Int8Linear, the rest as "auto" says
    compile     let torch.compile write one kernel where PyTorch runs several, for the pass that is made `steps` times. The first pass of each
                new length waits for the compiler, until it gives up on lengths and compiles for any
    """
    state = read_checkpoint(path)
    try:
        schedule = diffmotion.NoiseSchedule(**state["schedule"])
        model = MODELS[state.get("network", "diffmotion")](diffmotion.DiffMotionConfig(**state["model"]), schedule)
        model.load_state_dict({name: weight.float() for name, weight in state["ema"].items()})
        codec, scale = PoseCodec(state["codec"]), state["speech_scale"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together ({type(error).__name__}); it comes from another version, train anew") from None
    if steps > schedule.num_steps:
        raise CheckpointError(f"--steps {steps}: {path} has only {schedule.num_steps} diffusion steps; ask for at most that")
    own_way = hasattr(model, "generate")             # two baselines
    if own_way and precision in ("bfloat16", "int8"):
        raise CheckpointError(f"{path}: this baseline computes in float32; leave --precision out")
    if precision == "int8":
        if torch.device(device).type != "cpu":
            raise CheckpointError("--precision int8 is for a CPU; on a GPU leave it out, bfloat16 is chosen by itself")
        if not has_int8():
            raise CheckpointError("--precision int8: this processor has neither AVX-512 VNNI nor AMX, and without them it would be some thirty times slower than float32; leave it out")
        for block in model.blocks:
            if isinstance(block, diffmotion.Block):              # baselines have an entrance before them
                in_int8(block)
    if precision == "bfloat16" or precision in ("auto", "int8") and has_bf16(device) and model.config.width >= BF16_WIDTH and not own_way:
        for name, weight in model.named_parameters():
            if name != "layer_shares":               # these mix features in float32
                weight.data = weight.data.bfloat16()
    model.eval().to(device)
    # The table of abar goes to the device now: found missing in the first pass, it would have the second one compiled anew, which cannot be recorded.
    schedule.abar(torch.zeros(1, dtype=torch.long, device=device), torch.zeros(1, device=device))
    if compile:
        model.denoise = compile_or_refuse(model.denoise, device)
    if torch.device(device).type == "cuda":
        model.denoise = Replayed(model.denoise)
    features = SpeechFeatures(**state["speech"], checkpoint=wavlm_checkpoint, device=device)
    return Generator(model, schedule, codec, features, (scale[0], scale[1]), device)


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
        points, parents = shown_points(motion)                   # [F, joints + ends, 3]
        # Everybody is 1.7 m tall, since files differ in their units. The height is what stands out upwards, raised
        # hands too, so motions of one skeleton share one, or who gestures high would be drawn small.
        same = list(motion.names) == list(first.names) and np.allclose(motion.offsets, first.offsets, rtol=0.01, atol=0.01 * np.abs(first.offsets).max())
        points = (points - points.mean(axis=(0, 1))) * 1.7 / max((first if same else motion).body_height(), 1e-6)    # digits are for the body, not for how far from the origin it stands
        scale = max(float(np.abs(points).max()), 1e-6) / 32_000  # 16 bits resolve 0.1 mm within 3 m
        names, sides = list(motion.names) + [""] * len(motion.end_sites), []
        for name, parent in zip(names, parents):                 # an End Site has no name of its own: it is on the side of what it ends
            sides.append(side_and_stem(name)[0] if name or parent < 0 else sides[parent])
        bodies.append(dict(label=label, parents=parents.tolist(), names=names, sides=sides, scale=scale,
                           fps=rate_of(motion.frame_time), frames=len(motion), strokes=[round(float(t), 3) for t in strokes.get(label, ())],
                           positions=base64.b64encode(np.round(points / scale).astype("<i2").tobytes()).decode()))
    audio = None
    if waveform is not None:
        # The sound is the page's clock: silence behind it lets a motion that is longer play to its end.
        seconds = max(len(motion) * motion.frame_time for motion in motions.values())
        waveform = np.pad(np.asarray(waveform), (0, max(0, round(seconds * SAMPLE_RATE) - len(waveform))))
        waveform = waveform / max(1.0, np.abs(waveform).max())               # a WAV of floats may go beyond 1, where 16 bits end
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


def view(arguments):
    """The command `view`: BVH files side by side, under one sound."""
    parser = Parser(prog="sample.py view", description="Show BVH files side by side under one sound: a page, a video or a picture.")
    parser.add_argument("motion", nargs="+", type=Path, help="BVH files, of any skeleton, rate and unit")
    parser.add_argument("--audio", help="what is heard, any format")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="a name for each motion (default: the file's)")
    parser.add_argument("--up", choices=("y", "z"), default="y", help="the files' upward axis; z if the figure lies on its back (default: %(default)s)")
    parser.add_argument("--out", default=Path("out/view.html"), type=Path,
                        help="file to write: .html plays in a browser, .mp4 (needs ffmpeg) and .gif (silent) go on slides, .png shows the first motion at a glance (default: %(default)s)")
    args = parser.parse_intermixed_args(arguments)               # options may stand between the files
    ending = args.out.suffix.lower()
    if ending not in (".html", ".mp4", ".gif", ".png"):
        parser.error(f"--out {args.out}: ends in neither .html, .mp4, .gif nor .png")
    if ending == ".mp4" and not shutil.which("ffmpeg"):
        parser.error(f"--out {args.out}: an .mp4 needs the program ffmpeg, which is not installed; install it, or take a name that ends in .gif")
    if args.labels and len(args.labels) != len(args.motion):
        parser.error(f"--labels: {len(args.labels)} names for {len(args.motion)} files; give one each")
    labels = args.labels or [path.stem.encode("utf-8", "replace").decode() for path in args.motion]      # an old archive's name may hold bytes that are no letters
    if len(set(labels)) < len(labels) and not args.labels:       # truth/take1.bvh and model/take1.bvh
        labels = [f"{path.resolve().parent.name}/{label}" for path, label in zip(args.motion, labels)]
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
# Endless: recordings of any length, and speech that is still being spoken
# ------------------------------------------------------------------------------------------------
def stream_file(generator, name, path, chunk, **settings):
    """--stream: speech file `name` -> a BVH file at `path` that grows. What is in memory does not grow with the recording.

    The file is read twice: once for the level of its loud parts and to find what may be wrong with it, once to be gestured to.
    WavLM hears as it always does, from the whole waveform in memory: 230 MB an hour.
    """
    begun, features = time.perf_counter(), generator.features
    if features.kind == "wavlm":
        waveform = load_audio(name)
        samples, pieces = len(waveform), features.pieces(waveform)
    else:
        level, samples = loud_level_of(load_audio_blocks(name))
        pieces = features.stream(load_audio_blocks(name), lambda: level, samples)
    bar = tqdm(desc=name.name, total=samples // SAMPLE_RATE, unit=" s of speech", disable=None)
    with BvhStream(path) as bvh:
        for motion in generator.stream(pieces, chunk, **settings):
            bvh.append(motion)
            bar.update(round(bvh.frames * motion.frame_time) - bar.n)
    bar.close()
    seconds = samples / SAMPLE_RATE
    print(f"{name}: {seconds:.1f} s of speech, {bvh.frames} frames, {seconds / (time.perf_counter() - begun):.1f} times as fast as it was spoken -> {path}")


PIPE_BLOCK = 800             # samples read at once: 50 ms, a frame


def in_segments(frames, segment):
    """So many frames, rounded up to whole segments; fewer than one stay as they are."""
    return frames if frames < segment else -(-frames // segment) * segment


def stream_pipe(generator, pipe, bvh, chunk, **settings):
    """--live: raw 16 kHz 16-bit little-endian mono PCM from `pipe` -> frames, appended to the BvhStream `bvh` as they are ready.

    A frame waits for the speech that it hears ahead (speech_reach, 0.8 s), for 0.02 s of the spectrum's window, for the rest of its chunk, and
    for the computing. How long it really took, from the arrival of a frame's own sound to its writing, is said at the end.

    Nobody knows how loud the recording will be: RunningLevel guesses, from what was heard so far.
    """
    arrivals, level, waits = deque(), RunningLevel(), []         # arrivals: (samples so far, when)

    def blocks():
        samples = 0
        while len(data := pipe.read(2 * PIPE_BLOCK)) > 1:
            if samples == 0 and (data.startswith((b"RIFF", b"OggS", b"fLaC", b"ID3", b"FORM", b"caff", b"\x1aE\xdf\xa3")) or data[4:8] == b"ftyp"):     # its bytes would pass for loud noise
                raise SpeechError("standard input: is a sound file, not raw PCM; put before it: ffmpeg -i - -f s16le -ar 16000 -ac 1 -")
            samples += len(data) // 2
            arrivals.append((samples, time.perf_counter()))
            yield torch.from_numpy(np.frombuffer(data[:len(data) // 2 * 2], "<i2").astype(np.float32) / 2 ** 15)

    sound = without_rumble(blocks())
    first = next(sound, None)
    if first is None:
        raise SpeechError("standard input: no sound came; pipe raw 16 kHz 16-bit mono PCM into --live")
    heard = level.hear(itertools.chain([first], sound))
    try:
        for motion in generator.stream(generator.features.stream(heard, level), chunk, **settings):
            spoken = (bvh.frames + 1) * motion.frame_time * SAMPLE_RATE      # when the chunk's first frame, which waits longest, was complete
            bvh.append(motion)
            while len(arrivals) > 1 and arrivals[0][0] < spoken:
                arrivals.popleft()
            waits.append(time.perf_counter() - arrivals[0][1])
    except KeyboardInterrupt:                        # how a recording ends; all whole chunks are there
        pass
    if waits:
        sys.stderr.write(f"{bvh.frames} frames{f' -> {bvh.path}' if bvh.path else ''}; the first frame of a chunk was written {np.mean(waits):.2f} s after it was spoken, at most {max(waits):.2f} s\n")


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def parse():
    """The command line."""
    parser = Parser(prog="sample.py", description="Generate full-body gesture for speech files: STEM.bvh, STEM.html and STEM.png for each.",
                    epilog="To look at motions that exist already: sample.py view --help")
    parser.add_argument("audio", nargs="*", help="speech files, any format, rate and name (one that begins with a dash as ./-name.wav)")
    parser.add_argument("--stream", action="store_true", help="for recordings of any length: constant memory, STEM.bvh grows as it is made, no page and no picture")
    parser.add_argument("--live", action="store_true", help="gesture to what comes in on standard input, raw 16 kHz 16-bit little-endian mono PCM, into OUT/live.bvh (then live-2.bvh, ...), "
                        "which grows; with --out - to standard output. Not with WavLM")
    parser.add_argument("--chunk", type=int, help=f"frames made at once by --stream (default: {STREAM_CHUNK}) and --live (default: {LIVE_CHUNK}, 0.5 s: less is sooner and costs more); whole segments of the model (40 frames in the shipped one), or less than one, which then sees less far ahead")
    parser.add_argument("--checkpoint", default=HERE / "pretrained" / "puppet.pt", type=Path, help="a model that train.py wrote (default: the shipped puppet)")
    parser.add_argument("--out", default="out", type=Path, help="folder to write to (default: %(default)s)")
    parser.add_argument("--sampler", default=SAMPLER, choices=list(diffmotion.SAMPLERS), help="how noise becomes motion (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="passes of the network; 1000 with --sampler ddpm is the paper's way (default: %(default)s)")
    parser.add_argument("--grid-power", type=float, default=GRID_POWER, metavar="POWER", help="how the steps are spread: 1 evenly, more puts more of them at weak noise. Of ten steps 1.67 takes a twentieth of the hands' jerk, and five syllables in a thousand (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="1 is the model as trained, more follows the speech more strictly (default: %(default)s)")
    parser.add_argument("--seed", type=seed_number, default=0, help="another seed, another motion for the same speech (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="N motions for each file, from seeds --seed, --seed + 1, ...: STEM-seed0.bvh, ..., one page with all")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "int8"),
                        help=f"auto: bfloat16 where the processor has it and the model is at least {BF16_WIDTH} wide, since below it is no faster; int8: faster still for wide models, with coarser numbers, on processors with AVX-512 VNNI or AMX (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="let torch.compile fuse the network: half a minute or more at the start, worth it for many files, or for many steps on a GPU")
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default here: %(default)s)")
    parser.add_argument("--wavlm-checkpoint", help="WavLM Base+ weights, for models trained on its features")
    args = parser.parse_intermixed_args()            # options may stand between the files
    for name in ("steps", "seeds", "chunk"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    if bool(args.audio) == args.live:
        parser.error("--live listens to standard input; leave the audio files out" if args.live else "give an audio file, or --live for standard input")
    if args.out.suffix.lower() in (".bvh", ".html", ".png", ".mp4", ".gif") and not args.out.is_dir():
        parser.error(f"--out {args.out}: is the name of a folder here, each speech file gives its own names to what is written in it; for one file's sake say --out {args.out.parent}")
    if str(args.out) == "-" and not args.live:
        parser.error("--out -: only --live writes to standard output; name a folder")
    if (args.stream or args.live) and args.seeds > 1:
        parser.error(f"--seeds {args.seeds}: --stream and --live make one motion; run them once for each --seed")
    if args.live and (sys.stdin is None or sys.stdin.isatty()):
        parser.error("--live: standard input is a keyboard, or closed; pipe sound into it, as in: arecord -q -t raw -f S16_LE -r 16000 -c 1 | python sample.py --live")
    if not 0.1 <= args.grid_power <= 10:             # nan is refused too
        parser.error(f"--grid-power must be between 0.1 and 10, not {args.grid_power}")
    if not np.isfinite(args.guidance):
        parser.error(f"--guidance must be a number, not {args.guidance}")
    return args


def free_stem(path, taken, out, beside_speech=False):
    """The stem for this file's outputs in the folder `out`; a second file of the same stem gets -2, so that nothing is overwritten. taken: stems, casefolded, since a Mac and Windows take Talk and talk for one.

    What an earlier run left in `out` is replaced. But beside_speech, in a folder that one of the sounds came from, a STEM.bvh may be the motion that was recorded with it.
    """
    stem, n = path.stem, 1
    while stem.casefold() in taken or beside_speech and any((out / f"{stem}{ending}").exists() for ending in (".bvh", ".html", ".png")):
        n += 1
        stem = f"{path.stem}-{n}"
    return stem


def write_outputs(generator, jobs, args, taken, beside_speech):
    """Make the motions for jobs, a list of (name, waveform, speech [1, F, S]), in one batch, and write what belongs to each file -> how many could not be."""
    seeds = range(args.seed, args.seed + args.seeds)
    bar = tqdm(total=args.steps, desc=", ".join(name.name for name, _, _ in jobs)[:60], unit="step", disable=None)

    def progress(steps):
        bar.reset()
        for step in steps:
            yield step
            bar.update()

    motions = generator.together([speech for _, _, speech in jobs for _ in seeds], [seed for _ in jobs for seed in seeds], sampler=args.sampler,
                                 steps=args.steps, power=args.grid_power, guidance=args.guidance, progress=progress)
    bar.close()
    failed = 0
    for n, (name, waveform, _) in enumerate(jobs):
        stem = free_stem(name, taken, args.out, beside_speech)
        taken.add(stem.casefold())
        own = {f"seed {seed}" if args.seeds > 1 else "model": motion for seed, motion in zip(seeds, motions[n * args.seeds:])}
        strokes = {label: strokes_of(motion) for label, motion in own.items()}
        files = [args.out / (f"{stem}-{label.replace(' ', '')}.bvh" if args.seeds > 1 else f"{stem}.bvh") for label in own]
        label, motion = next(iter(own.items()))
        try:
            for path, made in zip(files, own.values()):
                write_bvh(path, made)
            write_page(args.out / f"{stem}.html", stem, own, waveform, strokes)
            plot_motion(args.out / f"{stem}.png", stem, motion, waveform)
        except OSError as error:                     # a name that is too long with what we add to it, a disk that is full
            sys.stderr.write(f"error: {one_line(error)}\n")
            failed += 1
            continue
        print(f"{name}: {len(waveform) / SAMPLE_RATE:.1f} s of speech, {len(motion)} frames, {', '.join(str(len(times)) for times in strokes.values())} strokes -> "
              + ", ".join(map(str, [*files, args.out / f"{stem}.html", args.out / f"{stem}.png"])))
    return failed


def main():
    if sys.argv[1:2] == ["view"]:
        return view(sys.argv[2:])
    args = parse()
    generator = load_generator(args.checkpoint, args.device, args.wavlm_checkpoint, args.steps, args.precision, args.compile)
    settings, segment = dict(sampler=args.sampler, steps=args.steps, power=args.grid_power, guidance=args.guidance, seed=args.seed), generator.model.config.segment
    if args.live and str(args.out) == "-":
        return stream_pipe(generator, sys.stdin.buffer, BvhStream(out=sys.stdout.buffer), args.chunk or in_segments(LIVE_CHUNK, segment), **settings)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.live:
        # Nobody can play the same again: nothing is replaced, also not what another run has written while this one waited for sound
        with BvhStream(lambda: args.out / f"{free_stem(Path('live.bvh'), {path.stem.casefold() for path in args.out.glob('[Ll]ive*.bvh')}, args.out)}.bvh") as bvh:
            return stream_pipe(generator, sys.stdin.buffer, bvh, args.chunk or in_segments(LIVE_CHUNK, segment), **settings)
    taken, waiting, failed = set(), [], 0
    # A sound may be a link into another folder: its motion lies beside the one or the other
    beside_speech = args.out.resolve() in {folder for name in map(Path, args.audio) for folder in (name.parent.resolve(), name.resolve().parent)}
    for name in map(Path, args.audio):
        try:
            if args.stream:
                stem = free_stem(name, taken, args.out, beside_speech)
                stream_file(generator, name, args.out / f"{stem}.bvh", args.chunk or in_segments(STREAM_CHUNK, segment), **settings)
                taken.add(stem.casefold())
                continue
            waveform = load_audio(name)
        except (SpeechError, OSError) as error:      # the other files are still worth doing
            if isinstance(error, BrokenPipeError):
                raise
            sys.stderr.write(f"error: {one_line(error)}\n")
            failed += 1
            continue
        job = name, waveform, generator.hear(waveform)
        lengths = [speech.shape[1] for _, _, speech in (*waiting, job)]
        padded = max(lengths) * len(lengths)         # a batch is as long as its longest; a quarter of it may be padding
        if waiting and (padded * args.seeds > BATCH_FRAMES or sum(lengths) < 0.75 * padded):
            failed += write_outputs(generator, waiting, args, taken, beside_speech)
            waiting = []
        waiting.append(job)
    if waiting:
        failed += write_outputs(generator, waiting, args, taken, beside_speech)
    if failed:
        sys.exit(2)


if __name__ == "__main__":
    run_script(main)
