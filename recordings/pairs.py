"""A folder of recordings -> pairs of a motion and a sound, and which of them are held out.

In reading order: names of takes; which .bvh belongs to which sound (match_files); which takes are
held out (find_pairs, split_takes); reading a pair (load_take).

Whole takes are held out, never windows: two windows of one take share their speech.
"""

import hashlib
import os
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from body.bvh import read_bvh
from recordings.audio import SAMPLE_RATE, load_audio, not_utf8
from recordings.remarks import odd_body, other_rate, said_rate
from tools import InputError, fits_pattern, one_line, shown

SOUND_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a")


class CorpusError(InputError):
    """A folder of recordings cannot be used. The message names it and says what to do."""


# ------------------------------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------------------------------
def one_spelling(name):
    """A name with its accents composed. Macs store "ü" as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def stem_of(path):
    """A file's name without its ending, in one spelling."""
    return one_spelling(path.stem)


def take_names(pairs, folder=None):
    """{pair: name of the take}. The name is the stem, or anna/take1 where several share a stem.

    The folders are those below `folder`; for None, only the file's own folder.
    """
    shared = Counter(stem_of(bvh) for bvh, _ in pairs)

    def name(bvh):
        if shared[stem_of(bvh)] == 1:
            return stem_of(bvh)
        above = bvh.parent.relative_to(folder).as_posix() if folder else bvh.parent.name
        return one_spelling(f"{above}/{bvh.stem}".removeprefix("./"))

    return {pair: name(pair[0]) for pair in pairs}


def name_hash(name):
    """A number that depends on the name alone: the same on every machine and in every run."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)


# ------------------------------------------------------------------------------------------------
# Which .bvh belongs to which sound
# ------------------------------------------------------------------------------------------------
NO_PARTNER = (
    "has no partner of the same name; add the missing file, or move this one out of the folder"
)


def match_files(folder):
    """folder -> (pairs, odd): sorted (bvh, sound), and sorted (path, what is wrong with it).

    Files match by their stem. Where several files share a stem, their folders decide. CorpusError
    if there is no pair.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorpusError(
            f"{folder}: no such folder; give one that holds .bvh files and sound files "
            "of the same names"
        )
    files, odd = files_below(folder)
    motions, sounds, unnamed = group_by_stem(files)
    pairs, odd = [], odd + unnamed
    for stem, group in motions.items():
        matched, left, several = match_group(folder, group, sounds.get(stem, []))
        pairs, odd, sounds[stem] = pairs + matched, odd + several, left
    odd += [(path, NO_PARTNER) for left in sounds.values() for path in left]
    if not pairs:
        why = next((f"; {p.name}: {what}" for p, what in odd if "no partner" not in what), "")
        found = f"{in_words('.bvh', is_motion, files)}; {in_words('sound files', is_sound, files)}"
        raise CorpusError(
            f"{folder}: no pairs of a .bvh and a sound file with the same name, to the letter "
            f"(found {found}{why})"
        )
    return sorted(pairs), sorted(odd)


def in_words(what, kind, files):
    """How many files of a kind there are, and their names: "4 .bvh: a.bvh, b.bvh, c.bvh, ..."."""
    names = sorted(path.name for path in files if kind(path))
    some = ", ".join(names[:3] + ["..."] * (len(names) > 3))
    return f"{len(names)} {what}" + (f": {some}" if names else "")


def is_motion(path):
    """Does the file's ending say that it holds a motion?"""
    return path.suffix.lower() == ".bvh"


def is_sound(path):
    """Does the file's ending say that it holds sound?"""
    return path.suffix.lower() in SOUND_ENDINGS


def files_below(folder):
    """All files below `folder` -> (sorted paths, odd [(folder that may not be read, why)]).

    Links are followed, hidden files and folders are left out: a killed copy leaves such.
    """
    files, seen, closed = [], set(), {}

    def note(error):
        what = f"cannot be read ({error.strerror}); check the folder's rights, or move it away"
        closed.setdefault(Path(error.filename), what)

    for at, below, names in os.walk(folder, onerror=note, followlinks=True):
        if os.path.realpath(at) in seen:  # a link that leads back
            below.clear()
            continue
        seen.add(os.path.realpath(at))
        below[:] = [name for name in below if not name.startswith(".")]
        for path in (Path(at, name) for name in names if not name.startswith(".")):
            try:
                if path.is_file():
                    files.append(path)
            except PermissionError as error:  # the names may be read, and nothing else
                note(OSError(error.errno, error.strerror, at))
    return sorted(files), list(closed.items())


def group_by_stem(files):
    """files -> (motions {stem: [paths]}, sounds {stem: [paths]}, odd [(path, what is wrong)])."""
    motions, sounds, odd = {}, {}, []
    for path in files:
        if not is_motion(path) and not is_sound(path):
            continue
        if not_utf8(path):
            what = "its name is not UTF-8, as that of a file from an old archive; rename it"
            odd.append((path, what))
        else:
            (motions if is_motion(path) else sounds).setdefault(stem_of(path), []).append(path)
    return motions, sounds, odd


def kinship(folder, bvh, sound):
    """How near two files stand: in one folder, then by the names of folders that both have.

    Motion/anna/1.bvh belongs to Audio/anna/1.wav and not to Audio/ben/1.wav.
    """
    a, b = (
        {part.lower() for part in path.parent.relative_to(folder).parts} for path in (bvh, sound)
    )
    return bvh.parent == sound.parent, len(a & b), -len(a ^ b)


def match_group(folder, motions, sounds):
    """Files of one stem -> (pairs, sounds that are left over, odd [(bvh, what is wrong)])."""
    pairs, left, odd = [], list(sounds), []

    def near(bvh, sound):
        return kinship(folder, bvh, sound)

    def nearest(bvh):
        return max((near(bvh, sound) for sound in left), default=(False, 0, 0))

    # The surest pair first: a motion without a sound must not take its neighbour's
    for bvh in sorted(motions, key=nearest, reverse=True):
        ranked = sorted(left, key=lambda sound: near(bvh, sound), reverse=True)
        if not ranked:
            odd.append((bvh, NO_PARTNER))
        elif len(ranked) > 1 and near(bvh, ranked[0]) == near(bvh, ranked[1]):
            two = f"{ranked[0]}, {ranked[1]}"
            odd.append((bvh, f"several sound files could belong to it ({two}); keep one"))
            left = [sound for sound in left if near(bvh, sound) != near(bvh, ranked[0])]
        else:
            pairs.append((bvh, ranked[0]))
            left.remove(ranked[0])
    return pairs, left, odd


# ------------------------------------------------------------------------------------------------
# Which takes are held out
# ------------------------------------------------------------------------------------------------
HELD_OUT = {  # folders; GENEA calls them trn, val, tst
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "tst"),
}
# The takes of ZEGGS whose column `validation` is TRUE in its info.csv
ZEGGS_TEST = {5, 10, 15, 20, 25, 29, 33, 35, 38, 41, 44, 47, 50, 53, 56, 58, 61, 64, 65, 66, 67}
TRINITY_TEST = {"Recording_008", "Recording_015"}  # as in the paper's authors' configurations


def find_pairs(folder, test=(), skip=False):
    """folder -> {"train": [...], "valid": [...], "test": [...]} of (bvh path, sound path), sorted.

    A .bvh and a sound of one stem are a pair. They lie side by side or in parallel folders
    (Motion/ and Audio/, one folder a speaker). A file without a partner raises CorpusError, or
    with skip=True is left out with a line. split_takes says what is held out.
    """
    pairs, odd = match_files(folder)
    if odd and not (skip and pairs):
        path, what = odd[0]
        more = f" ({len(odd) - 1} more are odd or have no partner)" if len(odd) > 1 else ""
        raise CorpusError(f"{path}: {what}{more}, or leave such files out with --skip")
    for path, what in odd:
        print(shown(f"left out: {path}: {what}"), file=sys.stderr)
    return split_takes(folder, pairs, test)


def split_takes(folder, pairs, test=()):
    """(bvh, sound) pairs -> {"train": [...], "valid": [...], "test": [...]}.

    The test takes are, whichever comes first:
      1. those that `test` names: stems, or anna/take1 where several share one; * and ? are allowed
      2. those in a folder named test; none where there is a folder named valid alone
      3. those that the authors of Trinity, ZEGGS or BEAT hold out
      4. about a tenth of the takes, at least one of three
    The valid takes are those in a folder named valid. If there are no folders named valid or test,
    they are about another tenth, at least one of six. The tenths go by a hash of the take's path
    below `folder`: see tenth_of. A name in `test` that fits no take: CorpusError.
    """
    in_folder = {pair: part_of_folder(folder, pair) for pair in pairs}
    folders = set(in_folder.values()) != {"train"}
    named = takes_named(folder, pairs, test)
    authors = set() if folders else authors_test({stem_of(bvh) for bvh, _ in pairs})
    if test:
        held_out = named
    elif authors:
        held_out = {pair for pair in pairs if stem_of(pair[0]) in authors}
    else:
        held_out = {pair for pair in pairs if in_folder[pair] == "test"}
    valid = {pair for pair in pairs if in_folder[pair] == "valid"} - held_out
    if len(pairs) >= 3 and not folders:
        hashes = {pair: path_hash(folder, pair) for pair in pairs}
        if not held_out:
            held_out = tenth_of(hashes, TEST_DIGITS, len(pairs), at_least=1)
        rest = {pair: h for pair, h in hashes.items() if pair not in held_out}
        valid = tenth_of(rest, VALID_DIGITS, len(pairs), at_least=1 if len(pairs) >= 6 else 0)
    split = {"train": [], "valid": [], "test": []}
    for pair in pairs:
        part = "test" if pair in held_out else "valid" if pair in valid else "train"
        split[part].append(pair)
    return split


# Last digits of a hash: a take whose digit is the first is in that tenth. Where those are too few,
# takes with the next digits follow. The two orders meet in the middle
TEST_DIGITS, VALID_DIGITS = (0, 9, 8, 7, 6, 5, 4, 3, 2, 1), (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)


def tenth_of(hashes, digits, count, at_least):
    """About a tenth of `count` takes, out of {take: hash} -> a set that leaves at least one.

    Each take whose hash ends in digits[0] is in it, as long as these are 2/3 to 4/3 of a tenth;
    what is more or fewer is left out or added by the order of the hashes. To hold out a tenth to
    the take would be plainer, but takes would change their part more often when others are added,
    and a test take that was trained on flatters the model. With 6 to 200 takes added one by one,
    earlier takes change their part 22 times, in a tenth to the take 67 times.
    """
    order = sorted(hashes, key=lambda take: (digits.index(hashes[take] % 10), hashes[take]))
    natural = sum(h % 10 == digits[0] for h in hashes.values())
    fewest = max(at_least, round(count / 15))
    size = min(max(natural, fewest), max(1, round(count / 7.5)), len(hashes) - 1)
    return set(order[: max(size, 0)])


def part_of_folder(folder, pair):
    """The part that a pair's folders name: "valid", "test", or "train" where none does."""
    above = {name.lower() for name in pair[0].relative_to(folder).parts[:-1]}
    return next((part for part, names in HELD_OUT.items() if above & set(names)), "train")


def path_hash(folder, pair):
    """name_hash of a take's path below `folder`, without its ending."""
    return name_hash(one_spelling(pair[0].relative_to(folder).with_suffix("").as_posix()))


def takes_named(folder, pairs, asked):
    """The pairs [set] whose name or stem fits one of the names `asked`; each must fit some."""
    names, found = take_names(pairs, folder), set()
    for name in asked:
        pattern = one_spelling(name)
        fits = {
            pair
            for pair in pairs
            if any(fits_pattern(n, pattern) for n in (names[pair], stem_of(pair[0])))
        }
        if not fits:
            some = ", ".join(sorted(names.values())[:3])
            raise CorpusError(
                f"--test {name}: {folder} holds no take of that name (it has {some}, ...); "
                "give names without ending, * and ? are allowed"
            )
        found |= fits
    return found


def authors_test(stems):
    """Those of the stems [set] that the authors of a corpus hold out.

    Trinity's two takes, ZEGGS's of its info.csv, and one take of each speaker of BEAT.
    """
    test, speakers = set(stems) & TRINITY_TEST, {}
    for stem in stems:
        zeggs = re.match(r"(\d{3})_[A-Z][a-z]+_\d", stem)
        beat = re.fullmatch(r"(\d+_[a-z]+)_\d+_\d+_\d+", stem)
        if zeggs and int(zeggs[1]) in ZEGGS_TEST:
            test.add(stem)
        if beat:
            speakers.setdefault(beat[1], []).append(stem)
    return test | {min(takes, key=name_hash) for takes in speakers.values() if len(takes) > 1}


# ------------------------------------------------------------------------------------------------
# Reading a pair
# ------------------------------------------------------------------------------------------------
def load_take(bvh, sound, fps=None):
    """One pair -> (Motion at `fps`, None for the file's rate; waveform [samples] at 16 kHz).

    What is odd without being an error stands in Motion.remarks. Raises BvhError and SpeechError,
    and CorpusError if the lengths differ by more than 2 s.
    """
    motion, waveform = read_bvh(bvh, fps), load_audio(sound)
    odd = odd_body(motion)
    spoken, moved = len(waveform) / SAMPLE_RATE, len(motion) * motion.frame_time
    if abs(spoken - moved) > 0.5:
        what = f"the motion lasts {moved:.1f} s and the sound {spoken:.1f} s; "
        why = other_rate(moved, spoken, said_rate(bvh))
        if abs(spoken - moved) > 2:
            why = why and f"{why}, or else "
            raise CorpusError(f"{bvh}: {what}{why}cut them to the same length")
        odd.append(what + (why or "the rest is not used"))
    motion.remarks = (*motion.remarks, *odd)
    return motion, waveform


def usable_takes(pairs, skip=False):
    """Read held-out pairs once, before training -> those that can be used.

    Without this, a damaged one would be noticed after the training, by the evaluation. It raises
    what load_take raises, or with skip=True leaves the take out with a line.
    """
    good = []
    few = len(pairs) < 8
    for bvh, sound in tqdm(pairs, desc="looking at held-out takes", unit="take", disable=few):
        try:
            load_take(bvh, sound, 20)
            good.append((bvh, sound))
        except InputError as error:
            leave_out(error, skip)
    return good


def leave_out(error, skip):
    """A take cannot be used: raise its error, or with skip=True say so in one line."""
    if not skip:
        raise error
    tqdm.write(f"left out: {one_line(error)}", file=sys.stderr)
