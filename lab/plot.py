"""One take as a picture: poses, sound, strokes, and the features of both.

python -m lab.plot FOLDER TAKE
"""

from pathlib import Path

import numpy as np

from body.joints import hand_joints, shown_points
from body.motion import BvhError
from body.pose import PoseCodec
from body.size import height_of
from body.strokes import strokes_of
from lab.lag import falling_speed
from recordings.audio import SAMPLE_RATE
from recordings.pairs import CorpusError, load_take, match_files, one_spelling
from show.figures import new_figure, write_picture
from tools import Parser, run_script
from wavlm_loader import SpeechFeatures

FPS = 20


def plot_take(path, bvh, sound, start=0.0, length=12.0, poses=12):
    """Write a picture of one take, from `start` for `length` seconds, to `path`.

    From top to bottom: `poses` bodies seen from the front; the sound, the falling speed of the
    hands and the strokes; the speech features (mel bands); the pose features. CorpusError if the
    take ends before `start`, or if nothing moves.
    """
    motion, waveform = load_take(bvh, sound, FPS)
    seconds = len(motion) / FPS
    if start * FPS > len(motion) - 2:
        what = "give a smaller --start" if start else "that is too short to be drawn"
        raise CorpusError(f"{bvh}: lasts {seconds:.1f} s; {what}")
    length = min(length, seconds - start)
    a, b = int(start * FPS), int((start + length) * FPS)
    figure = new_figure(16, 10, layout="constrained")
    axes = figure.subplots(4, 1, height_ratios=(2.4, 1, 1, 1.6), sharex=True)
    draw_poses(axes[0], motion, a, b, length, poses)
    title = f"{bvh.stem}: {len(motion.names)} joints, {seconds:.1f} s"
    axes[0].set_title(title, parse_math=False)  # a name may hold dollars
    draw_sound_and_strokes(axes[1], motion, waveform, a, b)
    speech, codec = SpeechFeatures("mel")(waveform), PoseCodec.fit([motion])
    if codec.pose_dim == 0:
        raise CorpusError(f"{bvh}: nothing moves in this file; check the export")
    draw_features(axes[2], speech[a:b].numpy(), a, b, "mel bands", cmap="magma")
    pose = codec.encode(motion)[a:b]
    draw_features(axes[3], pose, a, b, "pose features", cmap="RdBu", vmin=-3, vmax=3)
    axes[3].set(xlabel="seconds (dotted: strokes)", xlim=(a / FPS, b / FPS))
    write_picture(path, figure)


def draw_poses(axis, motion, a, b, length, poses):
    """Bodies between frames a and b, from the front, each at its time along the axis."""
    points, parents = shown_points(motion)
    points = points / height_of(motion)  # [F, points, 3]
    across = across_the_body(motion, points[a:b])
    wide = 0.2 * length  # seconds of the axis that are as long as a body height on the other one
    shown = np.linspace(a, b - 1, poses + 1).astype(int)[:-1] + (b - a) // (2 * poses)
    for n in shown:
        seen = points[n] - points[n, :1] * [1, 0, 1]  # [points, 3], the root in the middle
        flat = seen @ np.stack([across, [0, 1, 0]], axis=1)  # [points, 2]
        for j, parent in enumerate(parents):
            if parent >= 0:
                x, y = flat[[parent, j]].T
                axis.plot(x * wide + n / FPS, y, color="#444444", lw=2, solid_capstyle="round")
    axis.set(ylabel="body heights")


def across_the_body(motion, points):
    """Direction [3] from the right hand to the left one: then the left is right in the picture.

    The X axis if no joint is called a hand. points: [F, points, 3].
    """
    try:
        left, right = (points[:, j].mean(axis=0) for j in hand_joints(motion))  # [3] each
    except BvhError:
        return np.array([1.0, 0.0, 0.0])
    across = (left - right) * [1, 0, 1]
    return across / max(np.linalg.norm(across), 1e-6)


def draw_sound_and_strokes(axis, motion, waveform, a, b):
    """The sound between frames a and b, the falling speed of the hands, and lines at strokes."""
    sound = np.abs(waveform.numpy()[a * SAMPLE_RATE // FPS : b * SAMPLE_RATE // FPS])
    loudest = np.maximum.reduceat(sound, np.arange(0, len(sound), 160))  # of 10 ms each
    loudest = loudest / max(float(waveform.abs().max()), 1e-9)
    times = a / FPS + np.arange(len(loudest)) / 100
    axis.fill_between(times, loudest, color="#aaaaaa", lw=0, label="sound")
    try:
        falls = falling_speed(motion)[a:b]
        label = "a hand falls, body heights a second"
        axis.plot(np.arange(a, b) / FPS, falls, color="#2e6f9e", label=label)
    except BvhError:  # no joint is called a hand: then there are no strokes either
        pass
    for t in strokes_of(motion):
        axis.axvline(t, color="#d1495b", lw=1, ls=":")
    axis.legend(loc="upper right", ncols=2, fontsize=8)


def draw_features(axis, rows, a, b, what, **colours):
    """Features [frames, columns] between frames a and b as an image."""
    extent = (a / FPS, b / FPS, 0, rows.shape[1])
    look = dict(aspect="auto", origin="lower", extent=extent, interpolation="nearest")
    axis.imshow(rows.T, **look, **colours)
    axis.set(ylabel=what)


def find_take(folder, name):
    """The pair of a folder that is called `name`: a stem, a file, or a path below the folder.

    CorpusError if there is none, or several.
    """
    pairs = match_files(folder)[0]

    def names(bvh):
        return bvh.stem, bvh.name, bvh.relative_to(folder).with_suffix("").as_posix()

    asked = one_spelling(name)
    found = [pair for pair in pairs if asked in map(one_spelling, names(pair[0]))]
    if len(found) != 1:
        shown = [bvh.relative_to(folder).with_suffix("") for bvh, _ in (found or pairs)[:3]]
        count = f"{len(found)} pairs" if found else "no pair"
        some = ", ".join(map(str, shown))
        raise CorpusError(f"{folder}: holds {count} named {name!r}; name one as in {some}")
    return found[0]


def main():
    parser = Parser(prog="python -m lab.plot", description="Draw one take of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "take",
        help="name of the take, without ending; where several have it, with its folder, as in "
        "anna/take1",
    )
    parser.add_argument(
        "--start", type=float, default=0.0, help="seconds into the take (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="how much of it (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="folder to write TAKE.png to, or the picture's own name, ending in .png "
        "(default: %(default)s)",
    )
    args = parser.parse_args()
    bvh, sound = find_take(args.folder, args.take)
    if not (args.start >= 0 and args.seconds >= 1):
        parser.error("--start must be at least 0 and --seconds at least 1")
    path = args.out if args.out.suffix.lower() == ".png" else args.out / f"{bvh.stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_take(path, bvh, sound, args.start, args.seconds)
    print(path)


if __name__ == "__main__":
    run_script(main)
