"""What do MFCC and WavLM make of a sentence?   python -m lab.hearing assets/speech.wav

Draws the waveform, the MFCC and WavLM's features of the same sentence, and beside both how alike
any two moments of it are: out/heard.png. WavLM's weights are downloaded on first use (360 MB), or
given with --wavlm-checkpoint.

    --pieces       how far long speech, taken in pieces, is from the whole: the reason for PIECE and
                   CONTEXT in recordings/wavlm_long.py. Needs a file of at least 15 s
    --minutes N    speed and memory for N minutes of this speech, repeated

Both also run with --random, without weights: the cost is the same, the features mean nothing.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import torch
import torchaudio

from recordings.audio import SAMPLE_RATE, SpeechError, load_audio
from recordings.wavlm_long import STRIDE, hidden_states
from show.figures import new_figure, write_picture
from tools import Parser, run_script
from wavlm_loader import SpeechFeatures, load_wavlm

try:
    import resource  # not on Windows
except ImportError:
    resource = None

SHOWN = 6 * SAMPLE_RATE  # samples in the figure


# ------------------------------------------------------------------------------------------------
# The figure
# ------------------------------------------------------------------------------------------------
def principal_components(features, count=20):
    """Features [K, D] -> their `count` directions of largest variance, scaled to variance 1."""
    centred = features - features.mean(dim=0)
    u, _, _ = torch.linalg.svd(centred, full_matrices=False)
    return u[:, :count] * len(u) ** 0.5  # [K, count]


def likeness(features):
    """Cosine between any two moments [K, K], of features that are standardised as for the model."""
    z = (features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-4)
    z = z / z.norm(dim=1, keepdim=True)
    return z @ z.T  # [K, K]


def plot_heard(path, waveform, wavlm_features, title):
    """Draw a few seconds: waveform, MFCC and WavLM, and beside the two the likeness of moments.

    path None writes nothing. Returns the figure.
    """
    mfcc = SpeechFeatures("mfcc", 50)(waveform)  # [K, 20], at WavLM's rate
    seconds = len(waveform) / SAMPLE_RATE
    figure = new_figure(15, 10, layout="constrained")
    axes = figure.subplots(3, 2, height_ratios=(1, 3, 3), width_ratios=(2, 1))
    times = np.arange(len(waveform)) / SAMPLE_RATE
    axes[0, 0].plot(times, waveform.numpy(), color="#444444", lw=0.4)
    axes[0, 0].set(xlim=(0, seconds), yticks=[])
    axes[0, 0].set_title(title, parse_math=False)  # dollars in a file's name are no formula
    axes[0, 1].axis("off")
    name = "MFCC: 20 numbers, the coarse shape of the spectrum"
    _draw_features(axes[1], name, (mfcc - mfcc.mean(dim=0)) / mfcc.std(dim=0), mfcc, seconds)
    width = wavlm_features.shape[1]
    name = f"WavLM: the 20 directions in which its {width} numbers vary most"
    _draw_features(axes[2], name, principal_components(wavlm_features), wavlm_features, seconds)
    return write_picture(path, figure)


def _draw_features(axes, name, shown, features, seconds):
    """Two axes: 20 features over time, shown [K, 20], and the likeness of features [K, D]."""
    left, right = axes
    extent = (0, seconds, 0, 20)
    look = dict(origin="lower", cmap="RdBu_r", vmin=-2.5, vmax=2.5, interpolation="nearest")
    left.imshow(shown.T.numpy(), aspect="auto", extent=extent, **look)
    left.set(title=name, xlabel="seconds", yticks=[])
    extent = (0, seconds, 0, seconds)
    right.imshow(
        likeness(features).numpy(), origin="lower", cmap="magma", vmin=0, vmax=1, extent=extent
    )
    right.set(title="how alike two moments are (cosine)", xlabel="seconds", ylabel="seconds")


# ------------------------------------------------------------------------------------------------
# The measurements
# ------------------------------------------------------------------------------------------------
def print_curve(wavlm, waveform, layers=(0, 6, 12)):
    """For several pieces and contexts: root mean square of pieces - whole, over the deviation."""

    def states(*lengths):
        return torch.cat(list(hidden_states(wavlm, waveform, layers, *lengths))).chunk(
            len(layers), dim=1
        )

    longest = len(waveform) // STRIDE
    whole = states(longest)
    print("context  piece   " + "".join(f"layer {n:<7}" for n in layers))
    for context, piece in itertools.product((0, 25, 64, 100, 250), (250, 500, 1000)):
        if piece + 2 * context >= longest:
            continue
        errors = [
            ((p - w).square().mean() / (w - w.mean(dim=0)).square().mean()).sqrt().item()
            for p, w in zip(states(piece, context), whole)
        ]
        row = "".join(f"{e:<13.2g}" for e in errors)
        print(f"{context / 50:5.1f} s {piece / 50:5.1f} s  {row}", flush=True)


def print_cost(wavlm, waveform, minutes):
    """Seconds of computing a minute of speech, for clips of 10 s and for the whole; peak memory.

    The clip is computed again after every fourth piece of the whole, so that whatever else the
    machine does slows down both.
    """
    samples = int(minutes * 60 * SAMPLE_RATE)
    waveform = waveform.repeat(int(np.ceil(samples / len(waveform))))[:samples]
    clip = waveform[: 10 * SAMPLE_RATE]
    list(hidden_states(wavlm, clip, [12]))  # the first pass is slower: it fetches memory
    rows, spent, clip_rows, clip_spent = 0, 0.0, 0, 0.0
    started = time.perf_counter()
    for n, piece in enumerate(hidden_states(wavlm, waveform, [12])):
        rows, spent = rows + len(piece), spent + time.perf_counter() - started
        if n % 4 == 0:
            started = time.perf_counter()
            clip_rows += sum(map(len, hidden_states(wavlm, clip, [12])))
            clip_spent += time.perf_counter() - started
        started = time.perf_counter()
    long, short = spent / rows * 3000, clip_spent / clip_rows * 3000  # 3000 rows are a minute
    memory = ""
    if resource:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # KB on Linux
        memory = f"; peak memory {peak:.2f} GB"
    print(
        f"{minutes:g} min: {long:.2f} s a minute of speech, clips of 10 s {short:.2f} s: "
        f"{long / short:.2f} times as long; {rows} features{memory}"
    )


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def parse(arguments=None):
    """The command line."""
    parser = Parser(
        prog="lab.hearing",
        description="Draw what MFCC and WavLM make of a sentence; measure WavLM on long speech.",
    )
    add = parser.add_argument
    add("audio", type=Path, help="a speech file; the figure shows its first 6 seconds")
    add(
        "--out",
        type=Path,
        default=Path("out/heard.png"),
        help="the picture (default: %(default)s)",
    )
    add(
        "--layer",
        type=int,
        default=12,
        choices=range(13),
        metavar="0..12",
        help="of WavLM, in the figure (default: %(default)s, the last)",
    )
    add(
        "--wavlm-checkpoint",
        help="WavLM Base+ weights: torchaudio's, Microsoft's or Hugging Face's file",
    )
    add(
        "--random",
        action="store_true",
        help="random weights, for measurements where there are no others",
    )
    add(
        "--pieces",
        action="store_true",
        help="print how pieces differ from the whole, instead of drawing",
    )
    add("--minutes", type=float, help="print the cost of that many minutes, instead of drawing")
    args = parser.parse_args(arguments)
    if args.random and not (args.pieces or args.minutes):
        parser.error("--random goes with --pieces or --minutes: the figure would show nothing")
    if args.minutes is not None and not args.minutes >= 1:
        parser.error(f"--minutes must be at least 1, not {args.minutes:g}")
    return args


def refuse_shorter(args, waveform, seconds, purpose):
    """SpeechError if there is less than so many seconds of speech."""
    if len(waveform) < seconds * SAMPLE_RATE:
        raise SpeechError(
            f"{args.audio}: lasts {len(waveform) / SAMPLE_RATE:.2f} s; "
            f"give at least {seconds:g} s to {purpose}"
        )


def main(arguments=None):
    args = parse(arguments)
    waveform = load_audio(args.audio)
    if args.random:
        torch.manual_seed(0)
        wavlm = torchaudio.models.wavlm_base().eval()
    else:
        wavlm = load_wavlm(args.wavlm_checkpoint)
    if args.minutes:
        print_cost(wavlm, waveform, args.minutes)
    elif args.pieces:
        refuse_shorter(args, waveform, 15, "cut into pieces")
        print_curve(wavlm, waveform)
    else:
        refuse_shorter(args, waveform, 0.5, "look at")
        waveform = waveform[:SHOWN]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        states = torch.cat(list(hidden_states(wavlm, waveform, [args.layer])))  # [K, 768]
        plot_heard(args.out, waveform, states, f"{args.audio.name}, WavLM's layer {args.layer}")
        print(args.out)


if __name__ == "__main__":
    run_script(main)
