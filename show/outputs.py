"""What sample.py writes for a recording: STEM.bvh, STEM.html, STEM.png."""

from body.bvh import write_bvh
from body.strokes import strokes_of
from show.figures import plot_motion
from show.player import write_page

ENDINGS = (".bvh", ".html", ".png")


def free_stem(path, taken, out, beside_speech=False):
    """A stem for this file's outputs in the folder `out`; the second of a name gets -2.

    taken: stems in lower case, since a Mac and Windows take Talk and talk for one. What an earlier
    run left in `out` is replaced; but beside_speech, in a folder that one of the sounds came from,
    a STEM.bvh may be the motion that was recorded with it.
    """

    def is_taken(stem):
        there = beside_speech and any((out / f"{stem}{ending}").exists() for ending in ENDINGS)
        return stem.casefold() in taken or there

    stem, n = path.stem, 1
    while is_taken(stem):
        n += 1
        stem = f"{path.stem}-{n}"
    return stem


def write_outputs(out, stem, motions, waveform):
    """motions {label: Motion}: a BVH each, one page with all, a picture of the first.

    -> a sentence that says what was written, for the terminal.
    """
    strokes = {label: strokes_of(motion) for label, motion in motions.items()}
    files = []
    for label, motion in motions.items():
        own = f"{stem}-{label.replace(' ', '')}" if len(motions) > 1 else stem
        files.append(out / f"{own}.bvh")
        write_bvh(files[-1], motion)
    page, picture = out / f"{stem}.html", out / f"{stem}.png"
    write_page(page, stem, motions, waveform, strokes)
    motion = next(iter(motions.values()))
    plot_motion(picture, stem, motion, waveform)
    counts = ", ".join(str(len(times)) for times in strokes.values())
    names = ", ".join(map(str, [*files, page, picture]))
    return f"{len(motion)} frames, {counts} strokes -> {names}"
