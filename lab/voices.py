"""Voices that the model never heard:   python -m lab.voices [FILE or FOLDER...]

One row a voice: espeak-ng in ten languages, a female and a male voice each, and every sound file
that is named. Each row says

    a minute    strokes a minute, of all seeds together
    on onsets   share of the strokes that fall on an energy onset of the speech (within 0.1 s)
    by chance   the same for the speech shifted by random times
    lucky       share of the shifts that hit at least as often

and below the table which of GOALS are met. lab.metrics.onset_hits explains the last three.

    synthetic_voices, sound_files   what is heard
    rows_of, judged                 scores, goals
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.evaluate import evaluate_speech
from lab.unfamiliar import LANGUAGES, SEXES, has_espeak, read_aloud
from recordings.audio import SAMPLE_RATE, SpeechError, load_audio
from sample import load_generator
from tools import SHIPPED, Parser, default_device, device, run_script, seed_number, written_beside

A_MINUTE = 20  # strokes that every voice should get
HEARD = 10.0  # s: a shorter recording is too short to tell strokes on onsets from chance
LONG = 28.0  # s: from here on the shifts differ enough to ask for luck below LUCK
LUCK = 0.05
ENDINGS = (".wav", ".flac", ".ogg", ".mp3")


@dataclass
class Row:
    """What one voice got."""

    voice: str
    synthetic: bool  # espeak-ng's, not a recording
    seconds: float
    a_minute: float
    on_onsets: float
    by_chance: float
    lucky: float


# ------------------------------------------------------------------------------------------------
# What is heard
# ------------------------------------------------------------------------------------------------
def synthetic_voices(folder):
    """espeak-ng's voices, written into `folder`: {name: path}."""
    voices = {}
    for language, code in LANGUAGES.items():
        for sex in SEXES:
            voices[f"{language}, {sex}"] = path = folder / f"{code}-{sex}.wav"
            read_aloud(code, sex, path)
    return voices


def sound_files(names):
    """Files, and all sound files in folders and the folders in them: {name: path}.

    SpeechError for a name that does not exist, and for a folder without sound.
    """
    paths = []
    for path in map(Path, names):
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        found = [p for p in found if p == path or p.suffix.lower() in ENDINGS]
        if not found:
            raise SpeechError(f"{path}: is no sound file and no folder with some")
        paths += found
    return {str(path): path for path in dict.fromkeys(paths)}


# ------------------------------------------------------------------------------------------------
# Scores and goals
# ------------------------------------------------------------------------------------------------
def rows_of(generator, voices, seeds, synthetic=False, **settings):
    """Yields a Row for each of voices {name: path}."""
    for name, path in voices.items():
        scores = evaluate_speech(generator, [path], seeds, **settings)[path.name]
        yield Row(
            name,
            synthetic,
            len(load_audio(path)) / SAMPLE_RATE,
            scores["strokes_per_minute"],
            scores["onset_hits"],
            scores["onset_hits_shifted"],
            scores["onset_hits_lucky"],
        )


def judged(rows):
    """Goals: a list of (what is asked for, rows that do it, rows that are asked, share wanted)."""
    people = [row for row in rows if not row.synthetic]
    heard = [row for row in people if row.seconds >= HEARD]
    long = [row for row in people if row.seconds >= LONG]
    enough = f"at least {A_MINUTE} strokes a minute"

    def count(rows, good):
        return sum(map(good, rows)), len(rows)

    def often(row):
        return row.a_minute >= A_MINUTE

    synthetic = [row for row in rows if row.synthetic]
    return [
        (f"espeak-ng: {enough}", *count(synthetic, often), 1.0),
        (f"recordings: {enough}", *count(people, often), 1.0),
        (
            f"recordings of {HEARD:g} s: more on onsets than by chance",
            *count(heard, lambda row: row.on_onsets > row.by_chance),
            1.0,
        ),
        (
            f"recordings of {LONG:g} s: lucky below {LUCK:g}",
            *count(long, lambda row: row.lucky < LUCK),
            0.75,
        ),
    ]


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
def parse(arguments=None):
    """The command line."""
    what = "Strokes for voices that the model never heard: espeak-ng's, and recordings."
    parser = Parser(prog="python -m lab.voices", description=what)
    add, usual = parser.add_argument, " (default: %(default)s)"
    add("sounds", nargs="*", metavar="FILE", help="recordings of speech, or folders of them")
    add("--checkpoint", default=SHIPPED, type=Path, help="of train.py (default: the shipped one)")
    add("--seed", type=seed_number, default=0, help="first seed of the sampler" + usual)
    add("--seeds", type=int, default=5, metavar="N", help="motions for each voice" + usual)
    add("--guidance", type=float, metavar="G", help="as in sample.py")
    add("--json", type=Path, metavar="FILE", help="to write the rows to")
    add("--device", type=device, default=default_device(), help="cpu or cuda" + usual)
    args = parser.parse_args(arguments)
    if args.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {args.seeds}")
    if args.guidance is not None and not np.isfinite(args.guidance):
        parser.error(f"--guidance must be a number, not {args.guidance}")
    if args.json and args.json.is_dir():
        parser.error(f"--json {args.json}: is a folder; name a file in it")
    return args


def main(arguments=None):
    """The command lab.voices."""
    args = parse(arguments)
    recordings = sound_files(args.sounds)
    generator = load_generator(args.checkpoint, args.device)
    seeds = range(args.seed, args.seed + args.seeds)
    settings = {} if args.guidance is None else dict(guidance=args.guidance)
    width, rows = max(28, *map(len, recordings), 0), []
    print(
        f"{'voice':<{width}}{'s':>8}{'a minute':>11}{'on onsets':>11}{'by chance':>11}{'lucky':>8}"
    )

    def show(found):
        for row in found:
            scores = (row.on_onsets, row.by_chance, row.lucky)
            onsets = [f"{s:.3f}" if np.isfinite(s) else "-" for s in scores]
            print(
                f"{row.voice:<{width}}{row.seconds:>8.1f}{row.a_minute:>11.1f}"
                f"{onsets[0]:>11}{onsets[1]:>11}{onsets[2]:>8}",
                flush=True,
            )
            rows.append(row)

    if has_espeak():
        with tempfile.TemporaryDirectory() as folder:
            voices = synthetic_voices(Path(folder))
            show(rows_of(generator, voices, seeds, synthetic=True, **settings))
    else:
        for language in LANGUAGES:
            print(f"{language:<{width}}not run: install espeak-ng, and give the command again")
    show(rows_of(generator, recordings, seeds, **settings))
    print()
    for goal, good, asked, share in judged(rows):
        met = "nothing to judge" if not asked else "met" if good >= share * asked else "missed"
        print(f"{goal:<64}{good:>3} of {asked:<3} {met}")
    if args.json:
        with written_beside(args.json) as beside:
            beside.write_text(json.dumps([vars(row) for row in rows], indent=1))


if __name__ == "__main__":
    run_script(main)
