"""The command line of sample.py."""

import sys
from pathlib import Path

import numpy as np

from beyond.samplers import SAMPLERS
from show.outputs import ENDINGS
from tools import SHIPPED, CheckpointError, Parser, default_device, device, seed_number

MOST_SEEDS = 100  # bodies on one page


def parse(arguments=None):
    """The command line."""
    what = "Speech files -> full-body gesture: STEM.bvh, STEM.html and STEM.png for each."
    epilog = "To look at motions that exist already: sample.py view --help"
    parser = Parser(prog="sample.py", description=what, epilog=epilog)
    add, usual = parser.add_argument, " (default: %(default)s)"
    add("audio", nargs="*", help="speech files, of any format, rate and name")
    add("--checkpoint", default=SHIPPED, type=Path, help="of train.py (default: the shipped one)")
    add("--out", default="out", type=Path, help="folder to write to" + usual)
    add("--seed", type=seed_number, default=0, help="another seed, another motion" + usual)
    add("--seeds", type=int, default=1, metavar="N", help="N motions for each file, on one page")
    rate = "frames a second of the BVH, usually 24, 30 or 60 (default: the model's, 20)"
    add("--fps", type=float, metavar="N", help=rate)
    add("--unit", choices=("m", "cm"), help="unit of the BVH (default: that of the recordings)")
    how = parser.add_argument_group("sampling; by default as the model's recipe says").add_argument
    how("--sampler", choices=list(SAMPLERS), help="how noise becomes motion; ddpm is the paper's")
    how("--steps", type=int, metavar="N", help="passes of the network; 1000 is the paper's")
    how("--guidance", type=float, metavar="G", help="1: as trained; more: follows speech more")
    room = parser.add_argument_group("endless and live speech").add_argument
    room("--stream", action="store_true", help="any length in constant memory; only STEM.bvh")
    live = "16 kHz 16-bit mono PCM from standard input, into OUT/live.bvh; --out -: to stdout"
    room("--live", action="store_true", help=live)
    room("--chunk", type=int, metavar="N", help="frames made at once (200; with --live 10)")
    machine = parser.add_argument_group("the machine").add_argument
    machine("--device", type=device, default=default_device(), help="cpu or cuda" + usual)
    precision = "auto: bfloat16 for wide models, where the processor has it"
    machine("--precision", default="auto", choices=("auto", "float32", "bfloat16"), help=precision)
    machine("--compile", action="store_true", help="torch.compile: slow start, worth it on a GPU")
    machine("--wavlm-checkpoint", metavar="FILE", help="WavLM Base+, for models that need it")
    args = parser.parse_intermixed_args(arguments)
    refuse_odd(parser, args)
    return args


def refuse_odd(parser, args):
    """What argparse does not know to be wrong."""
    for name in ("steps", "seeds", "chunk"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    if args.seeds > MOST_SEEDS:
        parser.error(f"--seeds must be at most {MOST_SEEDS}, all on one page, not {args.seeds}")
    if args.seed + args.seeds > 2**32:
        parser.error(f"--seed {args.seed}: --seeds {args.seeds} goes beyond the last seed there is")
    if args.fps is not None and not 1 <= args.fps <= 240:
        parser.error(f"--fps must be between 1 and 240, not {args.fps:g}")
    if (args.stream or args.live) and (args.fps or args.unit):
        what = "--stream and --live write the model's own frames; leave --fps and --unit out"
        parser.error(what)
    if args.stream and args.live:
        parser.error("--live streams already; leave --stream out")
    if args.chunk and not (args.stream or args.live):
        parser.error(f"--chunk {args.chunk}: is for --stream and --live; leave it out")
    if args.guidance is not None and not np.isfinite(args.guidance):
        parser.error(f"--guidance must be a number, not {args.guidance}")
    if bool(args.audio) == args.live:
        both = "--live listens to standard input; leave the audio files out"
        parser.error(both if args.live else "give an audio file, or --live for standard input")
    if args.out.suffix.lower() in (*ENDINGS, ".mp4", ".gif") and not args.out.is_dir():
        what = "names a folder, each speech file gives its name to what is written there"
        parser.error(f"--out {args.out}: {what}; say --out {args.out.parent}")
    if str(args.out) == "-" and not args.live:
        parser.error("--out -: only --live writes to standard output; name a folder")
    if (args.stream or args.live) and args.seeds > 1:
        what = "--stream and --live make one motion; run them once for each --seed"
        parser.error(f"--seeds {args.seeds}: {what}")
    if args.live and (sys.stdin is None or sys.stdin.isatty()):
        what = "standard input is a keyboard, or closed; pipe sound into it, as in"
        how = "arecord -q -t raw -f S16_LE -r 16000 -c 1 | python sample.py --live"
        parser.error(f"--live: {what}: {how}")


def settings_of(args, generator):
    """How to sample: what the command line says, else what the model's recipe says."""
    recipe, sampler = generator.model.recipe, args.sampler or generator.model.recipe.sampler
    # The paper's 1000 steps are DDPM's: another sampler in its place needs only ten
    usual = recipe.steps if sampler == recipe.sampler or recipe.steps < 1000 else 10
    steps = args.steps or min(usual, generator.schedule.num_steps)
    if steps > generator.schedule.num_steps:
        most = f"{args.checkpoint} has {generator.schedule.num_steps} diffusion steps"
        raise CheckpointError(f"--steps {steps}: {most}; ask for at most that")
    guidance = recipe.guidance if args.guidance is None else args.guidance
    return dict(sampler=sampler, steps=steps, guidance=guidance)
