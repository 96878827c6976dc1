"""What do MFCC and WavLM hear in a sentence?   python hear.py assets/speech.wav

Draws the waveform, the MFCC and WavLM's features of the same sentence, and beside both how alike any two moments of it
are: out/heard.png. WavLM's weights are downloaded on first use (360 MB), or given with --wavlm-checkpoint.

    --pieces       how far does long speech, heard in pieces, differ from the whole? The curve behind PIECE and CONTEXT; wants a file of 15 s at least
    --minutes N    how fast is it, and in how much memory, for N minutes of this speech over and over?

Both also run with --random, without weights: the arithmetic costs the same, but nothing is understood.
"""
import itertools
import time
from pathlib import Path

import numpy as np
import torch
import torchaudio

import wavlm_loader
from data import Parser, run_script
from pictures import new_figure, write_picture
from wavlm_loader import SAMPLE_RATE, SpeechError, SpeechFeatures, hear, load_audio


def principal_components(features, count=20):
    """features [K, D] -> the `count` directions in which they vary most, each of deviation one [K, count]."""
    centred = features - features.mean(dim=0)
    u, _, _ = torch.linalg.svd(centred, full_matrices=False)
    return u[:, :count] * len(u) ** 0.5


def likeness(features):
    """Cosine between any two moments [K, K]; each dimension standardised first, as the model gets it."""
    z = (features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-4)
    z = z / z.norm(dim=1, keepdim=True)
    return z @ z.T                                               # [K, K]


def plot_heard(path, waveform, wavlm_features, title):
    """Waveform, MFCC and WavLM of a few seconds, and beside each of the two the likeness of its moments. path None writes nothing -> figure."""
    mfcc = SpeechFeatures("mfcc", 50)(waveform)                  # [K, 20], at WavLM's rate
    seconds = len(waveform) / SAMPLE_RATE
    figure = new_figure(15, 10, layout="constrained")
    axes = figure.subplots(3, 2, height_ratios=(1, 3, 3), width_ratios=(2, 1))
    axes[0, 0].plot(np.arange(len(waveform)) / SAMPLE_RATE, waveform, color="#444444", lw=0.4)
    axes[0, 0].set(xlim=(0, seconds), yticks=[])
    axes[0, 0].set_title(title, parse_math=False)    # dollars in a file's name are no formula
    axes[0, 1].axis("off")
    rows = (("MFCC: 20 numbers, the coarse shape of the spectrum", ((mfcc - mfcc.mean(dim=0)) / mfcc.std(dim=0)).T, mfcc),
            (f"WavLM: the 20 directions in which its {wavlm_features.shape[1]} numbers vary most", principal_components(wavlm_features).T, wavlm_features))
    for (left, right), (name, picture, features) in zip(axes[1:], rows):
        left.imshow(picture, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-2.5, vmax=2.5, extent=(0, seconds, 0, 20), interpolation="nearest")
        left.set(title=name, xlabel="seconds", yticks=[])
        right.imshow(likeness(features), origin="lower", cmap="magma", vmin=0, vmax=1, extent=(0, seconds, 0, seconds))
        right.set(title="how alike two moments are (cosine)", xlabel="seconds", ylabel="seconds")
    return write_picture(path, figure)


def print_curve(wavlm, waveform, layers=(0, 6, 12)):
    """For pieces and contexts of several lengths: root mean square of pieces - whole, over the deviation of the whole."""
    longest = len(waveform) // wavlm_loader.STRIDE
    whole = torch.cat(list(hear(wavlm, waveform, layers, piece=longest))).chunk(len(layers), dim=1)
    print("context  piece   " + "".join(f"layer {n:<7}" for n in layers))
    for context, piece in itertools.product((0, 25, 64, 100, 250), (250, 500, 1000)):
        if piece + 2 * context < longest:
            pieces = torch.cat(list(hear(wavlm, waveform, layers, piece, context))).chunk(len(layers), dim=1)
            errors = [((p - w).square().mean().sqrt() / (w - w.mean(dim=0)).square().mean().sqrt()).item() for p, w in zip(pieces, whole)]
            print(f"{context / 50:5.1f} s {piece / 50:5.1f} s  " + "".join(f"{e:<13.2g}" for e in errors), flush=True)


def print_cost(wavlm, waveform, minutes):
    """Seconds of computing a minute of speech, for clips of 10 s and for the whole, and the most memory that was taken.

    The clip is heard anew after every fourth piece of the whole, so that what else the machine does slows down both.
    """
    import resource                                              # not on Windows: only where it is needed
    waveform = waveform.repeat(int(np.ceil(minutes * 60 * SAMPLE_RATE / len(waveform))))[:int(minutes * 60 * SAMPLE_RATE)]
    clip = waveform[:10 * SAMPLE_RATE]
    list(hear(wavlm, clip, [12]))                                # the first pass is slower: memory is fetched
    rows, spent, clip_rows, clip_spent, started = 0, 0.0, 0, 0.0, time.perf_counter()
    for n, piece in enumerate(hear(wavlm, waveform, [12])):
        rows, spent = rows + len(piece), spent + time.perf_counter() - started
        if n % 4 == 0:
            started = time.perf_counter()
            clip_rows += sum(map(len, hear(wavlm, clip, [12])))
            clip_spent += time.perf_counter() - started
        started = time.perf_counter()
    long, short = spent / rows * 3000, clip_spent / clip_rows * 3000         # 3000 rows are a minute
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6          # in KB on Linux
    print(f"{minutes:g} min: {long:.2f} s a minute of speech, clips of 10 s {short:.2f} s: {long / short:.2f} times as long; "
          f"{rows} features; peak memory {peak:.2f} GB")


def parse():
    """The command line."""
    parser = Parser(prog="hear.py", description="Draw what MFCC and WavLM hear in a sentence; measure how WavLM hears long speech.")
    parser.add_argument("audio", type=Path, help="a speech file; the figure shows its first 6 seconds")
    parser.add_argument("--out", type=Path, default=Path("out/heard.png"), help="the picture (default: %(default)s)")
    parser.add_argument("--layer", type=int, default=12, choices=range(13), metavar="0..12", help="of WavLM, in the figure (default: %(default)s, the last)")
    parser.add_argument("--wavlm-checkpoint", help="WavLM Base+ weights: torchaudio's, Microsoft's or Hugging Face's file")
    parser.add_argument("--random", action="store_true", help="random weights, for measurements where there are no others")
    parser.add_argument("--pieces", action="store_true", help="print how pieces differ from the whole, instead of drawing")
    parser.add_argument("--minutes", type=float, help="print the cost of that many minutes, instead of drawing")
    args = parser.parse_args()
    if args.random and not (args.pieces or args.minutes):
        parser.error("--random goes with --pieces or --minutes: a figure of random weights would show nothing")
    if args.minutes is not None and not args.minutes >= 1:
        parser.error(f"--minutes must be at least 1, not {args.minutes:g}")
    return args


def main():
    args = parse()
    waveform = load_audio(args.audio)
    if args.random:
        torch.manual_seed(0)
        wavlm = torchaudio.models.wavlm_base().eval()
    else:
        wavlm = wavlm_loader.load_wavlm(args.wavlm_checkpoint)
    if args.minutes:
        print_cost(wavlm, waveform, args.minutes)
    elif args.pieces:
        if len(waveform) < 15 * SAMPLE_RATE:
            raise SpeechError(f"{args.audio}: lasts {len(waveform) / SAMPLE_RATE:.1f} s; give at least 15 s to cut into pieces")
        print_curve(wavlm, waveform)
    else:
        if len(waveform) < SAMPLE_RATE // 2:
            raise SpeechError(f"{args.audio}: lasts {len(waveform) / SAMPLE_RATE:.2f} s; give at least 0.5 s to look at")
        waveform = waveform[:6 * SAMPLE_RATE]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        plot_heard(args.out, waveform, torch.cat(list(hear(wavlm, waveform, [args.layer]))), f"{args.audio.name}, WavLM's layer {args.layer}")
        print(args.out)


if __name__ == "__main__":
    run_script(main)
