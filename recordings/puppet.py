"""The talking puppet: a corpus of speech and gesture whose right answers are known.

Real corpora need a licence form or 100 GB of disk, and nobody knows the right gesture for a
sentence. The puppet talks nonsense and gestures by rules that we wrote, so a score can say whether
a model has found the rules:

    * a stroke falls on each stressed syllable: preparation, stroke, retraction. A louder syllable
      gets a larger stroke;
    * size and posture of the gestures belong to the speaker and can be heard. The lower the voice,
      the larger the strokes. The longer the vocal tract (the lower the formants), the wider apart
      the hands are held;
    * a question, whose pitch rises at its end, gets a shrug;
    * the rest is free: one speech has many right answers. For each phrase are drawn the hands (one,
      the other, both, both in turn), the form (beat, sweep, open palms, pointing, cycle), height
      and lean, where the hands rest afterwards, weight and steps, and where the head looks.

The answers say what of it was drawn. The speech is nonsense, and people gesture by meaning too: the
puppet tests what was learnt, it is no model of a person.

It writes ordinary .wav and .bvh files, so training runs the code that real recordings run, and a
.json of the answers beside each:    python -m recordings.puppet --out corpora/puppet

Reading order
    1. who speaks            this file
    2. what is said, when    puppet_voice.py: script
    3. how it sounds         puppet_voice.py: speak
    4. what the body intends puppet_gesture.py: plan
    5. how the body moves    puppet_body.py: gesture
    6. the corpus on disk    this file

Seconds, centimetres and degrees (BVH's unit) throughout. The puppet faces +Z, Y is up, and its left
hand is at +X.
"""

import json
import multiprocessing
import os
import threading
import wave
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from body.bvh import write_bvh
from recordings.audio import SAMPLE_RATE
from recordings.puppet_body import gesture
from recordings.puppet_voice import Voice, draw_voice, script, speak
from tools import Parser, folder_written_beside, run_script, shown, written_beside

PUPPET = Path("corpora/puppet")  # where the scripts look for the corpus, from the current folder
SPEAKERS = 6


# ------------------------------------------------------------------------------------------------
# 1. Who speaks
# ------------------------------------------------------------------------------------------------
@dataclass
class Speaker:
    """A voice, and the manner of gesturing that goes with it."""

    number: int
    pitch: float  # Hz, the average of the voice
    tract: float  # length of the vocal tract; the formants are divided by it
    tempo: float  # syllables a second
    stroke: float  # cm that the hand falls in a full stroke
    spread: float  # cm from the body's middle plane to a hand that gestures
    lean: float  # degrees forward
    voice: Voice = field(default_factory=Voice)  # of one take


def speaker(number):
    """Speaker `number`, any whole number from 0.

    Multiples of the golden ratio (and of other irrational numbers) spread few speakers far apart.
    """
    low_voice = (0.5 + number * 0.6180339887) % 1  # 0 high .. 1 low
    long_tract = (0.2 + number * 0.7548776662) % 1  # 0 short .. 1 long, independent of the pitch
    return Speaker(
        number,
        pitch=390 * (85 / 390) ** low_voice,  # a child's to a man's
        tract=0.8 + 0.4 * long_tract,
        tempo=4.2 + 1.2 * ((number * 0.43) % 1),
        stroke=15 + 17 * low_voice,
        spread=12 + 28 * long_tract,
        lean=2 + 8 * ((0.7 + number * 0.38) % 1),
    )


# ------------------------------------------------------------------------------------------------
# 6. The corpus on disk
# ------------------------------------------------------------------------------------------------
def ready_puppet():
    """The folder of the default corpus, PUPPET; it is written first if it is not there."""
    if not PUPPET.is_dir() or not any(PUPPET.iterdir()):
        write_corpus(PUPPET)
    return PUPPET


def write_corpus(
    folder,
    train=192,
    valid=6,
    test=12,
    seconds=60.0,
    seed=1,
    speakers=range(SPEAKERS),
):
    """Write takes of `seconds` into folder/train, folder/valid and folder/test.

    The defaults give 192 minutes to learn from, 6 to choose settings by and 12 to report on; all
    published figures are made with them. The `speakers` (their numbers) and the two moods take
    turns. No two takes share a seed or a voice, so no part of the corpus tells anything about
    another part.

    The folder is written beside and renamed at the end, and must be new or empty: a killed run
    leaves no half corpus that looks like a whole one.
    """
    jobs = []  # the arguments of write_take, without the folder
    for part, (name, count) in enumerate((("train", train), ("valid", valid), ("test", test))):
        for n in range(count):
            number = speakers[n % len(speakers)]
            mood = ("calm", "lively")[(n // len(speakers) + n) % 2]
            stem = f"speaker{number}_{mood}_{n:03d}"
            jobs.append((name, stem, number, mood, seconds, (seed, part, n)))
    with folder_written_beside(folder) as beside:
        for name in {job[0] for job in jobs}:
            (beside / name).mkdir()
        folders, *rest = zip(*[(beside / name, *more) for name, *more in jobs])
        with ProcessPoolExecutor(initializer=end_with_parent) as pool:
            written = pool.map(write_take, folders, *rest)
            label = f"writing the puppet to {shown(folder)}"
            list(tqdm(written, total=len(jobs), desc=label, unit="take"))


def end_with_parent():
    """In a worker process: end when the one that started it has ended, or was killed."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_take(folder, stem, number, mood, seconds, seed):
    """Write one take: stem.wav, stem.bvh and stem.json (the answers).

    mood is "calm" or "lively", seed a list of whole numbers. The same arguments write the same
    bytes.
    """
    rng = np.random.default_rng(seed)
    who = speaker(number)
    who = replace(who, voice=draw_voice(rng))
    phrases = script(who, mood, seconds, rng)
    sound = speak(who, phrases, seconds, rng)
    motion, answers = gesture(who, mood, phrases, seconds, rng)
    write_bvh(folder / f"{stem}.bvh", motion)
    with written_beside(folder / f"{stem}.wav") as beside, wave.open(str(beside), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    answers = dict(speaker=asdict(who), mood=mood, seed=list(seed), **rounded(answers))
    with written_beside(folder / f"{stem}.json") as beside:
        beside.write_text(json.dumps(answers, indent=1))


def rounded(value):
    """Numbers in lists and dictionaries, to 0.1 ms."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    return round(float(value), 4) if isinstance(value, float) else value


def parse():
    """The command line."""
    parser = Parser(
        prog="python -m recordings.puppet",
        description="Write the talking puppet's corpus: "
        "paired .wav and .bvh files with known answers (.json).",
    )

    def add(name, kind, default, help, **more):
        help = f"{help} (default: %(default)s)"
        parser.add_argument(name, type=kind, default=default, help=help, **more)

    add("--out", str, str(PUPPET), "folder to write to")
    add("--train", int, 192, "training takes")
    add("--valid", int, 6, "takes to choose settings by")
    add("--test", int, 12, "takes to report on")
    add("--seconds", float, 60.0, "length of a take")
    add("--seed", int, 1, "the same seed writes the same bytes")
    numbers = "numbers of the speakers, any whole numbers from 0"
    add("--speakers", int, list(range(SPEAKERS)), numbers, nargs="+")
    args = parser.parse_args()
    least = dict(train=0, valid=0, test=0, seconds=4, seed=0)
    for name, bound in least.items():
        if not getattr(args, name) >= bound:  # nan is refused too
            parser.error(f"--{name} must be at least {bound}, not {getattr(args, name)}")
    if args.seconds > 3600:
        parser.error(f"--seconds must be at most 3600, an hour, not {args.seconds}")
    if not args.train + args.valid + args.test:
        parser.error("--train, --valid and --test are all 0: there is nothing to write")
    if min(args.speakers) < 0:
        parser.error(f"--speakers must be at least 0, not {min(args.speakers)}")
    return args


def main():
    """Write the corpus that the command line asks for."""
    args = parse()
    parts = args.train, args.valid, args.test
    write_corpus(args.out, *parts, args.seconds, args.seed, args.speakers)


if __name__ == "__main__":
    run_script(main)
