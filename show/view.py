"""The command `python sample.py view`: BVH files side by side under one sound.

The ending of --out says what is written: a page, a film or a picture.
"""

import shutil
from pathlib import Path

from body.bvh import read_bvh
from body.motion import upright
from body.strokes import strokes_of
from recordings.audio import load_audio
from show.figures import plot_motion
from show.film import write_video
from show.player import write_page
from tools import Parser, shown


def main(arguments):
    """Run the command with these arguments, a list of str: those behind the word `view`."""
    args = parse(arguments)
    motions = {label: upright(read_bvh(path), args.up) for label, path in args.motions.items()}
    waveform = load_audio(args.audio) if args.audio else None
    labels = list(motions)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    ending = args.out.suffix.lower()
    if ending == ".html":
        title = " and ".join(labels) if len(labels) < 3 else ", ".join(labels)
        strokes = {label: strokes_of(motion) for label, motion in motions.items()}
        write_page(args.out, title, motions, waveform, strokes)
    elif ending == ".png":
        plot_motion(args.out, labels[0], motions[labels[0]], waveform)
    else:
        write_video(args.out, motions, waveform)
    lengths = []
    for label, motion in motions.items():
        lengths.append(f"{label}: {len(motion)} frames at {1 / motion.frame_time:.4g} a second")
    print(shown(f"{', '.join(lengths)} -> {args.out}"))


def parse(arguments):
    """The command line -> its values; `motions` is {label: path}."""
    parser = Parser(
        prog="sample.py view",
        description="Show BVH files side by side under one sound: a page, a video or a picture.",
    )
    add = parser.add_argument
    add("motion", nargs="+", type=Path, help="BVH files, of any skeleton, rate and unit")
    add("--audio", help="what is heard, any format")
    names = "a name for each motion (default: the file's)"
    add("--labels", nargs="+", metavar="LABEL", help=names)
    axis = "the files' upward axis; z if the figure lies on its back (default: %(default)s)"
    add("--up", choices=("y", "z"), default="y", help=axis)
    written = (
        "file to write: .html plays in a browser, .mp4 (needs ffmpeg) and .gif (silent) go on "
        "slides, .png shows the first motion at a glance (default: %(default)s)"
    )
    add("--out", default=Path("out/view.html"), type=Path, help=written)
    args = parser.parse_intermixed_args(arguments)  # options may stand between the files
    ending = args.out.suffix.lower()
    if ending not in (".html", ".mp4", ".gif", ".png"):
        parser.error(f"--out {args.out}: ends in neither .html, .mp4, .gif nor .png")
    if ending == ".mp4" and not shutil.which("ffmpeg"):
        parser.error(
            f"--out {args.out}: an .mp4 needs the program ffmpeg, which is not installed; "
            "install it, or take a name that ends in .gif"
        )
    if args.labels and len(args.labels) != len(args.motion):
        counts = f"{len(args.labels)} names for {len(args.motion)} files"
        parser.error(f"--labels: {counts}; give one each")
    labels = args.labels or labels_of(args.motion)
    if len(set(labels)) < len(labels):
        parser.error("two motions have the same name; tell them apart with --labels")
    args.motions = dict(zip(labels, args.motion))
    return args


def labels_of(paths):
    """A label for each path: its stem, with its folder where two stems are the same."""
    # A name from an old archive may hold bytes that are no letters
    labels = [path.stem.encode("utf-8", "replace").decode() for path in paths]
    if len(set(labels)) < len(labels):  # truth/take1.bvh and model/take1.bvh
        labels = [f"{path.resolve().parent.name}/{stem}" for path, stem in zip(paths, labels)]
    return labels
