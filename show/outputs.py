"""What sample.py writes for a recording: STEM.bvh, STEM.html, STEM.png; and what it says."""

from body.bvh import write_bvh
from body.feet import plant
from body.motion import in_unit, smoothly
from body.strokes import strokes_of
from recordings.audio import SAMPLE_RATE
from recordings.level import STRETCH, loud_level
from show.figures import plot_motion
from show.player import write_page
from tools import shown

ENDINGS = (".bvh", ".html", ".png")
FEW = 12  # strokes a minute of speech; the puppet makes some 35
ENOUGH = 5.0  # s of speech: in less, no stroke may be chance


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


def made_by(args, how):
    """What made a motion, as the page says it: the model, the seed and how it was sampled."""
    model = "/".join(args.checkpoint.absolute().parts[-2:])
    seeds = f"seed {args.seed}"
    if args.seeds > 1:
        seeds = f"seeds {args.seed} to {args.seed + args.seeds - 1}"
    return shown(f"{model}, {seeds}, guidance {how['guidance']:g}, {how['steps']} steps")


def write_outputs(out, stem, motions, waveform, args, how):
    """motions {label: Motion}: a BVH each, one page with all, a picture of the first.

    args, how: the command line, and how it was sampled. -> a sentence that says what was written,
    for the terminal.
    """
    strokes = {label: strokes_of(motion) for label, motion in motions.items()}
    asked = {label: as_asked(motion, args.fps, args.unit) for label, motion in motions.items()}
    files = []
    for label, motion in asked.items():
        own = f"{stem}-{label.replace(' ', '')}" if len(motions) > 1 else stem
        files.append(out / f"{own}.bvh")
        write_bvh(files[-1], motion)
    page, picture = out / f"{stem}.html", out / f"{stem}.png"
    write_page(page, stem, asked, waveform, strokes, made_by(args, how))
    label, motion = next(iter(motions.items()))
    plot_motion(picture, f"{stem}, {label}" if len(motions) > 1 else stem, motion, waveform)
    counts = ", ".join(str(len(times)) for times in strokes.values())
    names = ", ".join(map(str, [*files, page, picture]))
    remark = few_strokes(strokes.values(), waveform)
    frames = len(next(iter(asked.values())))
    return f"{frames} frames, {counts} strokes -> {names}{remark}"


def as_asked(motion, fps, unit):
    """The motion at this frame rate and in this unit; None: as it is."""
    # Between two frames a foot that stands would move a little: it is held again
    motion = plant(smoothly(motion, fps)) if fps else motion
    return in_unit(motion, unit) if unit else motion


def few_strokes(strokes, waveform):
    """A remark for the end of the line, where an unfamiliar voice gets little; else "".

    strokes: for each seed its times [n].
    """
    seconds, most = speaking(waveform), max(map(len, strokes))
    if seconds < ENOUGH or most >= FEW * seconds / 60:
        return ""
    return (
        f" (few strokes for {seconds:.0f} s of speech: the model hears little stress in this voice;"
        " try --guidance 2; or is it no speech?)"
    )


def speaking(waveform):
    """Seconds of a waveform [samples] without its pauses: within 25 dB of its loud parts."""
    stretches = waveform[: len(waveform) // STRETCH * STRETCH].reshape(-1, STRETCH)
    level = stretches.square().mean(dim=1).sqrt()  # [stretches of 25 ms]
    loud = level > loud_level(waveform) * 10 ** (-25 / 20)
    return loud.sum().item() * STRETCH / SAMPLE_RATE
