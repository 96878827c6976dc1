"""Data: a folder of paired motion and speech -> the windows that training draws from.

    python data.py check FOLDER         what is in there, what is wrong with it, what training would use
    python data.py plot FOLDER TAKE     one take as a picture: poses, sound, strokes, features

    find_pairs(folder)     which .bvh belongs to which sound, and which takes are held out
    in_noise(...), in_another_voice(...)    speech as it might also have been heard
    hear_take(...)         speech features of a recording, WavLM's from the cache
    Corpus(...)            standardised features of every take, on disk
    Corpus.batch(...)      random windows (pose [B, F, P], speech [B, F, S])

Also here, because every script needs them: one-line errors (run_script), the parser that keeps to them, and which devices can do what.

A take is held out by take and never by window: two windows of one take share their speech.
"""
import argparse
import bisect
import fnmatch
import hashlib
import os
import re
import shutil
import sys
import tempfile
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from diffmotion import news
from motion import (BvhError, PoseCodec, body_root, choose_joints, exp_to_matrix, hand_joints, hands_of, matrix_to_exp, mirror_pairs, named, read_bvh, read_skeleton,
                    resample, shown_points, strokes_of, written_beside)
from pictures import new_figure, write_picture
from wavlm_loader import CONTEXT, PIECE, SAMPLE_RATE, SpeechError, SpeechFeatures, frame_count, load_audio, loud_level, not_utf8


class CorpusError(ValueError):
    """A folder of recordings cannot be used. The message names it and says what to do."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used. The message names it and says what to do."""


# ------------------------------------------------------------------------------------------------
# One-line errors
# ------------------------------------------------------------------------------------------------
class Parser(argparse.ArgumentParser):
    """argparse, with errors as everywhere here: one line that starts with "error:", exit status 2."""

    def error(self, message):
        """Say `message` in one line and leave with status 2."""
        sys.stderr.write(f"error: {message}; see {self.prog} --help\n")
        sys.exit(2)


def device(name):
    """A device that can be used here, for argparse: "cpu", "cuda", "cuda:1"."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise argparse.ArgumentTypeError(f"{name!r} cannot be used on this machine; take cpu") from None
    return name


def seed_number(text):
    """A seed, for argparse: of a seed torch's generator on the CPU takes 32 bits, so 0 and 4294967296 would be one."""
    number = int(text)
    if not 0 <= number < 2 ** 32:
        raise argparse.ArgumentTypeError(f"must be between 0 and {2 ** 32 - 1}, not {number}")
    return number


def has_bf16(device):
    """Does this device multiply bfloat16 in hardware? (On a CPU without, it is emulated and slower than float32.)"""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def has_int8():
    """Does the processor multiply whole numbers of eight bits in hardware? PyTorch's product of them is a plain loop where it does
    not: for [400, 1280] x [1280, 5120] 2.9 s instead of 0.09 s in float32 (one core of an EPYC with AVX2)."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_vnni", "amx_int8"))


def compile_or_refuse(function, device, **settings):
    """torch.compile for a device, where it can work: it gives the compiler PyTorch's own folder without quotes, and a space in that ends in pages of errors."""
    if " " in str(Path(torch.__file__).parent):
        raise CheckpointError(f"--compile: torch.compile cannot work where PyTorch's folder has a space in its path ({Path(torch.__file__).parent}); "
                              "leave --compile out, or keep the project in a folder without")
    compiler = os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))      # which PyTorch calls for code that runs on a CPU
    if torch.device(device).type == "cpu" and not shutil.which(compiler):
        raise CheckpointError(f"--compile: needs the C++ compiler {compiler}, which is not installed; install it, or leave --compile out")
    if isinstance(function, torch.nn.Module):        # in place: its weights keep their names
        function.compile(**settings)
        return function
    return torch.compile(function, **settings)


def send(tensor, device):
    """A tensor to the device. From pinned memory the copy runs beside the GPU's work; from any other the GPU would be waited for."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def run_script(main):
    """Run main(). What the user can mend becomes one line on standard error and exit status 2; a bug keeps its traceback."""
    sys.stdout.reconfigure(errors="backslashreplace")            # a file's name may hold what the terminal cannot show
    try:
        main()
    except (BvhError, SpeechError, CorpusError, CheckpointError) as error:
        message = one_line(error)
    except KeyboardInterrupt:                        # Ctrl-C, where nobody took it for something of his own
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except BrokenPipeError:                          # who read our output has heard enough, as in "| head": no error of anybody's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())       # or Python's last flush would complain
        return
    except OSError as error:                         # a folder that cannot be written, a disk that is full
        message = one_line(error)
    else:
        return
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


def one_line(error):
    """What an error of ours, or of the system's files, says to the user."""
    message = f"{error.filename or 'file'}: {error.strerror or error}; check the name, the rights and the space on the disk" if isinstance(error, OSError) else str(error)
    return " ".join(message.split())


# ------------------------------------------------------------------------------------------------
# Pairs
# ------------------------------------------------------------------------------------------------
SOUND_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a")
HELD_OUT = {"valid": ("valid", "validation", "val", "dev"), "test": ("test", "testing", "tst")}     # GENEA's folders are trn, val, tst


def find_pairs(folder, test=(), skip=False):
    """folder -> {"train": [...], "valid": [...], "test": [...]} of (bvh path, sound path), sorted.

    A pair has one stem, side by side or in parallel folders (Motion/ and Audio/, one folder a speaker). What is held out
    for the test is, whichever comes first: the takes that `test` names (stems, or anna/take1 where several share one, with * and ?); those in a folder named
    test; those that the authors of Trinity, ZEGGS and BEAT hold out; a tenth of the takes, and at least one of three. Another
    tenth goes to valid unless there are folders named test or valid. The tenths go by a hash of the take's path below `folder`, so that they
    stay the same when takes are added. A file without a partner is an error, or with skip=True left out, with a line.
    """
    pairs, odd = match_files(folder)
    if odd and not (skip and pairs):
        path, what = odd[0]
        raise CorpusError(f"{path}: {what}{f' ({len(odd) - 1} more files have no partner)' * (len(odd) > 1)}, or leave such files out with --skip")
    for path, what in odd:
        print(f"left out: {path}: {what}", file=sys.stderr)
    return split_takes(folder, pairs, test)


def stem_of(path):
    """A file's name without its ending. The two dots of "ü" may be part of the letter or follow it: what a Mac wrote and what another system wrote are one name."""
    return unicodedata.normalize("NFC", path.stem)


def take_names(pairs, folder=None):
    """{pair: what its take is called}: the stem, or where several share one, as anna/take1 and ben/take1, with the folders below `folder` (None: with its own folder's name)."""
    shared = Counter(stem_of(bvh) for bvh, _ in pairs)

    def name(bvh):
        above = bvh.parent.relative_to(folder).as_posix() if folder else bvh.parent.name
        return stem_of(bvh) if shared[stem_of(bvh)] == 1 else unicodedata.normalize("NFC", f"{above}/{bvh.stem}".removeprefix("./"))

    return {pair: name(pair[0]) for pair in pairs}


def match_files(folder):
    """folder -> (pairs of (bvh, sound), sorted; [(path, what is wrong and what to do)] for the files that are in no pair)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give one that holds .bvh files and sound files of the same names")
    files, seen, odd = [], set(), []
    for at, below, names in os.walk(folder, followlinks=True):
        if os.path.realpath(at) in seen:             # a link that leads back
            below.clear()
            continue
        seen.add(os.path.realpath(at))
        files += [Path(at, name) for name in names if not name.startswith(".")]
    motions, sounds = {}, {}                         # {stem: [paths]}
    for p in sorted(p for p in files if p.is_file()):
        stem = stem_of(p)
        if p.suffix.lower() in (".bvh", *SOUND_ENDINGS) and not_utf8(p):
            odd.append((p, "its name is not UTF-8, as that of a file from an old archive; rename it"))
        elif p.suffix.lower() == ".bvh":
            motions.setdefault(stem, []).append(p)
        elif p.suffix.lower() in SOUND_ENDINGS:
            sounds.setdefault(stem, []).append(p)

    def kinship(bvh, sound):
        # Folders of the same name count, wherever they stand: Motion/anna/1.bvh belongs to Audio/anna/1.wav, not to Audio/ben/1.wav
        a, b = ({part.lower() for part in p.parent.relative_to(folder).parts} for p in (bvh, sound))
        return bvh.parent == sound.parent, len(a & b), -len(a ^ b)

    pairs = []
    for stem, group in motions.items():
        left = list(sounds.get(stem, []))
        # The surest pair first, so that a take without a sound does not take away its neighbour's.
        for bvh in sorted(group, key=lambda m: max((kinship(m, s) for s in left), default=(False, 0, 0)), reverse=True):
            ranked = sorted(left, key=lambda s: kinship(bvh, s), reverse=True)
            if len(ranked) > 1 and kinship(bvh, ranked[0]) == kinship(bvh, ranked[1]):
                odd.append((bvh, f"several sound files could belong to it ({ranked[0]}, {ranked[1]}); keep one"))
                left = [s for s in left if kinship(bvh, s) != kinship(bvh, ranked[0])]
            elif ranked:
                pairs.append((bvh, ranked[0]))
                left.remove(ranked[0])
            else:
                odd.append((bvh, "has no partner of the same name; add the missing file, or move this one out of the folder"))
        sounds[stem] = left
    odd += [(p, "has no partner of the same name; add the missing file, or move this one out of the folder") for group in sounds.values() for p in group]
    if not pairs:
        why = next((f"; {path.name}: {what}" for path, what in odd if "no partner" not in what), "")
        raise CorpusError(f"{folder}: no pairs of a .bvh and a sound file with the same name (found {sum(p.suffix.lower() == '.bvh' for p in files)} .bvh, "
                          f"{sum(p.suffix.lower() in SOUND_ENDINGS for p in files)} sound files{why})")
    return sorted(pairs), sorted(odd)


# The takes whose column `validation` is TRUE in ZEGGS' info.csv: the last one or so of each style, and the three speeches.
ZEGGS_TEST = {5, 10, 15, 20, 25, 29, 33, 35, 38, 41, 44, 47, 50, 53, 56, 58, 61, 64, 65, 66, 67}
TRINITY_TEST = {"Recording_008", "Recording_015"}                # as in the configurations of the paper's authors


def name_hash(stem):
    """A number that depends on the name alone: the same on every machine, in every run."""
    return int(hashlib.sha256(stem.encode()).hexdigest(), 16)


def authors_test(stems):
    """Those of the stems that the corpora's authors hold out: Trinity's two, ZEGGS' of info.csv, one take of each of BEAT's speakers."""
    test, speakers = set(stems) & TRINITY_TEST, {}
    for stem in stems:
        zeggs, beat = re.match(r"(\d{3})_[A-Z][a-z]+_\d", stem), re.fullmatch(r"(\d+_[a-z]+)_\d+_\d+_\d+", stem)
        if zeggs and int(zeggs[1]) in ZEGGS_TEST:
            test.add(stem)
        if beat:
            speakers.setdefault(beat[1], []).append(stem)
    return test | {min(takes, key=name_hash) for takes in speakers.values() if len(takes) > 1}


def split_takes(folder, pairs, test=()):
    """(bvh, sound) pairs -> {"train": [...], "valid": [...], "test": [...]}, as find_pairs says."""
    by_folder = {pair: next((part for part, names in HELD_OUT.items() if {f.lower() for f in pair[0].relative_to(folder).parts[:-1]} & set(names)), "train")
                 for pair in pairs}
    names = take_names(pairs, folder)
    stems = {stem_of(bvh) for bvh, _ in pairs}
    hashes = {pair: name_hash(unicodedata.normalize("NFC", pair[0].relative_to(folder).with_suffix("").as_posix())) for pair in pairs}

    def tested(pair, name):              # only * and ? mean something: a take may be called "take [1]"
        return any(fnmatch.fnmatchcase(known, unicodedata.normalize("NFC", name).replace("[", "[[]")) for known in (names[pair], stem_of(pair[0])))

    for name in test:
        if not any(tested(pair, name) for pair in pairs):
            raise CorpusError(f"--test {name}: {folder} holds no take of that name (it has {', '.join(sorted(names.values())[:3])}, ...); give names without ending, * and ? are allowed")
    folders = set(by_folder.values()) != {"train"}
    authors = authors_test(stems)
    split = {"train": [], "valid": [], "test": []}
    for pair in pairs:
        stem, part = stem_of(pair[0]), by_folder[pair]
        tenth = {0: "test", 1: "valid"}.get(hashes[pair] % 10, "train") if len(pairs) >= 3 and not folders else part
        # Where names say what is tested, the hash still chooses the valid takes; those that it would test are trained on.
        if test:
            part = "test" if any(tested(pair, name) for name in test) else {"test": "train"}.get(tenth, tenth)
        elif authors and not folders:
            part = "test" if stem in authors else {"test": "train"}.get(tenth, tenth)
        else:
            part = tenth
        split[part].append(pair)
    if len(pairs) >= 3 and not folders:              # of a handful of names it happens that a part gets none: then it gets one that another can spare
        def give(part, takes):
            one = sorted(takes, key=hashes.get)[:1]
            for others in split.values():
                others[:] = [pair for pair in others if pair not in one]
            split[part] += one

        if not split["train"]:
            give("train", split["valid"] or split["test"][:-1] * (not test and not authors))
        if not split["test"]:
            give("test", split["train"] if len(split["train"]) > 1 else split["valid"])
    return split


def load_take(bvh, sound, fps=None):
    """One pair -> (Motion, at fps or at the file's rate; waveform). More than 2 s of difference in length is an error."""
    motion, waveform = read_bvh(bvh, fps), load_audio(sound)
    spoken, moved = len(waveform) / SAMPLE_RATE, len(motion) * motion.frame_time
    if abs(spoken - moved) > 2:
        raise CorpusError(f"{bvh}: the motion lasts {moved:.1f} s and the sound {spoken:.1f} s; cut them to the same length")
    return motion, waveform


def usable_takes(pairs, skip=False):
    """Read the pairs once -> those that can be used. The others stop the program, or with skip=True are left out with a line each.

    For held-out takes: without it, a damaged one would be noticed after the training, by the evaluation.
    """
    good = []
    for bvh, sound in tqdm(pairs, desc="looking at held-out takes", unit="take", disable=len(pairs) < 8):
        try:
            load_take(bvh, sound, 20)
            good.append((bvh, sound))
        except (BvhError, SpeechError, CorpusError) as error:
            if not skip:
                raise
            tqdm.write(f"left out: {error}", file=sys.stderr)
    return good


# ------------------------------------------------------------------------------------------------
# Speech as it might also have been heard, so that training knows more rooms and voices than its recordings have
# ------------------------------------------------------------------------------------------------
def in_noise(waveform, seed):
    """waveform [samples] -> the same with noise laid over it, 0 to 30 dB below the speech.

    A hiss or a rumble (its power falls by 0 to 6 dB an octave) whose level wanders, by up to 12 dB within seconds: neither a colour nor
    a level is noise's own, and what swells need not be speech. Colour and level are drawn anew for each minute. seed: any whole number.
    """
    if len(waveform) > 60 * SAMPLE_RATE:
        return torch.cat([in_noise(minute, seed + n) for n, minute in enumerate(waveform.split(60 * SAMPLE_RATE))])
    random = torch.Generator().manual_seed(seed % 2 ** 63)

    def uniform(low, high):
        return low + (high - low) * torch.rand(1, generator=random).item()

    size = 1 << (len(waveform) - 1).bit_length()                 # the next power of two: other lengths can take a Fourier transform ten times as long
    hertz = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE).clamp(min=40)          # [size / 2 + 1]; below 40 Hz a rumble grows no further
    spectrum = torch.randn(len(hertz), dtype=torch.complex64, generator=random) * hertz ** -uniform(0, 1)    # [size / 2 + 1]
    noise = torch.fft.irfft(spectrum, size)[:len(waveform)]      # [samples]
    marks = torch.rand(2 + int(len(waveform) / SAMPLE_RATE / uniform(0.3, 3)), generator=random) * uniform(0, 12)            # [marks], dB, one every so many seconds
    noise = noise * 10 ** (torch.nn.functional.interpolate(marks[None, None], len(waveform), mode="linear", align_corners=True)[0, 0] / 20)
    return waveform + noise * (waveform.square().mean() / noise.square().mean()).sqrt() * 10 ** (-uniform(0, 30) / 20)


def in_another_voice(waveform, octaves, seed, decibels=10.0):
    """waveform [samples] -> the same words by a larger or a smaller speaker, through another microphone.

    The magnitudes of its spectrum are stretched along the frequencies by a factor between 2^-octaves and 2^octaves. That moves the formants (Jaitly &
    Hinton's vocal tract length perturbation, 2013, a usual help for recognisers of speech). The pitch stays, since the phases do: a harmonic grows or
    shrinks where it is, or turns up multiples of 125 Hz away, the rate over the hop, which an ear would find rough. Microphone and room are an equaliser with six marks,
    spread evenly over the logarithm of the frequency from 40 Hz to 8 kHz, each drawn between -decibels and decibels. When things are said and how loudly stays (as a
    root mean square of each minute). Drawn anew for each minute. seed: any whole number.
    """
    if len(waveform) > 60 * SAMPLE_RATE:
        return torch.cat([in_another_voice(minute, octaves, seed + n, decibels) for n, minute in enumerate(waveform.split(60 * SAMPLE_RATE))])
    stretch, *marks = (torch.rand(7, generator=torch.Generator().manual_seed(seed % 2 ** 63)) * 2 - 1).tolist()
    size, window = 512, torch.hann_window(512)                   # 32 ms: syllables stay apart
    spectrum = torch.stft(waveform, size, size // 4, window=window, pad_mode="constant", return_complex=True)        # [257, columns]
    bins = np.arange(len(spectrum))                              # [257]
    source = torch.from_numpy(bins / 2 ** (octaves * stretch))   # [257], from where each bin takes its magnitude
    below = source.long().clamp(max=len(bins) - 2)               # [257]
    magnitude = spectrum.abs()                                   # [257, columns]
    stretched = torch.lerp(magnitude[below], magnitude[below + 1], (source - below).float()[:, None])                # [257, columns]
    place = np.log(np.maximum(bins * SAMPLE_RATE / size, 40) / 40) / np.log(8000 / 40) * 5                           # [257], 0 at the first mark, 5 at the last
    gain = 10 ** (torch.from_numpy(np.interp(place, range(6), marks)).float() * decibels / 20) * (source <= len(bins) - 1)   # [257]; above 8 kHz there is nothing to take
    spectrum *= stretched.mul_(gain[:, None]).div_(magnitude.clamp_(min=1e-20))      # [257, columns], with the phases that it had
    voice = torch.istft(spectrum, size, size // 4, window=window, length=len(waveform))          # [samples]
    return voice * (waveform.square().mean() / voice.square().mean().clamp(min=1e-12)).sqrt()


# ------------------------------------------------------------------------------------------------
# Speech features, kept on disk
# ------------------------------------------------------------------------------------------------
CACHE = "cache"          # the folder, in the working directory


def hear_take(features, waveform, cache=None):
    """waveform [samples] -> features [frames, dim]: computed, float32; or with a `cache` folder, WavLM's as float16 mapped from disk.

    An entry is one .npy file, named by the sound's content and all settings that matter, WavLM's weights among them: a
    recording may be renamed, and an edited one is heard anew. float16 keeps 11 bits, which is more than the standardised
    features need. mel and mfcc are not kept: an hour of them takes a few seconds.
    """
    if cache is None or features.kind != "wavlm":
        return features(waveform)
    sound = hashlib.sha256(waveform.numpy().tobytes()).hexdigest()[:20]

    def entry(layer):
        heard = repr(sorted((features.settings() | dict(layer=layer, pieces=(PIECE, CONTEXT))).items()))
        return Path(cache) / f"{sound}-{hashlib.sha256(heard.encode()).hexdigest()[:12]}.npy"

    path, everything = entry(features.layer), entry("sum")
    if not path.exists() and everything.exists():                # an entry of all the layers holds this one
        width = features.dim // features.layers
        return _mapped(everything, (frame_count(len(waveform), features.fps), 13 * width))[:, features.layer * width:(features.layer + 1) * width]
    shape = (frame_count(len(waveform), features.fps), features.dim)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside, open(beside, "wb") as f:
            np.lib.format.write_array_header_1_0(f, dict(descr="<f2", fortran_order=False, shape=shape))
            for piece in features.pieces(waveform):
                piece = piece.half()
                if not torch.isfinite(piece).all():
                    raise SpeechError("WavLM's features do not fit into float16; the weights are damaged, get them again")
                f.write(piece.numpy().tobytes())
    return _mapped(path, shape)


def _mapped(path, shape):
    """An entry of the cache as a float16 tensor, of which only what is looked at is read from the disk."""
    try:
        array = np.load(path, mmap_mode="c")         # "c", not "r": torch warns of arrays that may not be written to
        if array.shape != shape or array.dtype != np.float16:
            raise ValueError(f"{array.dtype} {array.shape}")
    except (ValueError, EOFError):
        raise CorpusError(f"{path}: is a damaged entry of the cache; delete it") from None
    return torch.from_numpy(array)                               # [frames, dim]


def mean_and_deviation(speeches):
    """Of every feature over all frames of the recordings, a list of [frames, S] -> (mean [S], deviation [S]).

    Summed in float64, a stretch at a time: what is mapped from disk need not fit into memory.
    """
    count, total, squares = sum(map(len, speeches)), 0, 0
    for speech in tqdm(speeches, desc="means and deviations", unit="take", leave=False, disable=speeches[0].dtype == torch.float32):
        for part in speech.split(1024):
            part = part.double()
            total, squares = total + part.sum(dim=0), squares + part.square().sum(dim=0)     # [S] each
    mean = total / count
    variance = (squares - count * mean ** 2) / max(1, count - 1)
    return mean.float(), variance.clamp(min=1e-8).sqrt().float()


# ------------------------------------------------------------------------------------------------
# Corpus: features of every take, and windows cut out of them
# ------------------------------------------------------------------------------------------------
class DiskRows:
    """Rows of float32 [rows, columns] in a nameless file, which is gone when the program ends: added one take at a time,
    then mapped into memory, where the system keeps as much of them as there is room for."""

    def __init__(self, folder, columns):
        self.folder, self.file, self.columns, self.ends = folder or tempfile.gettempdir(), tempfile.TemporaryFile(dir=folder), columns, [0]

    def add(self, rows):
        """Append rows [n, columns] as one take."""
        with named(self.folder):
            self.file.write(np.ascontiguousarray(rows, dtype=np.float32).tobytes())
        self.ends.append(self.ends[-1] + len(rows))

    def map(self):
        """-> (all rows as one tensor [rows, columns], a list of its parts, one a take)."""
        with named(self.folder):
            self.file.flush()
        rows = torch.from_numpy(np.memmap(self.file, np.float32, "r+", shape=(self.ends[-1], self.columns)))
        return rows, [rows[a:b] for a, b in zip(self.ends, self.ends[1:])]


class DiskMotions:
    """Motions on disk as rotation vectors and places, 24 bytes a joint and frame: walking over them makes one at a time."""

    def __init__(self, folder, joints):
        self.rows, self.skeletons = DiskRows(folder, 6 * joints), []

    def add(self, motion):
        """Append a motion; the arrays that grow with time go to disk, the skeleton stays in memory."""
        F = len(motion)
        self.rows.add(np.concatenate([matrix_to_exp(motion.rotations).reshape(F, -1), (motion.positions - motion.offsets).reshape(F, -1)], axis=1))
        self.skeletons.append(replace(motion, rotations=None, positions=None))

    def __iter__(self):
        for skeleton, rows in zip(self.skeletons, self.rows.map()[1]):
            w, p = rows.numpy().astype(np.float64).reshape(len(rows), 2, -1, 3).swapaxes(0, 1)   # [F, J, 3] each
            yield replace(skeleton, rotations=exp_to_matrix(w), positions=p + skeleton.offsets)


class Corpus:
    """Standardised features of the takes in `pairs`. Memory does not grow with their number: they lie on disk, in `scratch`.

    codec      PoseCodec fitted on the training takes, or None to fit it here
    features   SpeechFeatures
    speech_scale   (mean [S], deviation [S]) of the speech features over the training takes, or None to compute them here
    joints     which joints to learn, as motion.choose_joints reads it; "" for all
    mirror     draw every second window mirrored, left for right, with the same speech
    skip       leave out the takes that cannot be used, with a line for each, instead of stopping at the first
    noisy      how many times each take is also heard with noise laid over it (see in_noise); batch draws from these as its `noise` says
    voices     and before that in another voice, if this is more than 0: the octaves of in_another_voice
    scratch    folder for what would not fit into memory, None for the system's (which may be in memory)
    cache      folder that keeps WavLM's features, or None
    poses, speeches: lists of float32 tensors [frames, P], [frames, S], of equal lengths in pairs; pairs: the takes they are from.
    Speech that is mapped from the cache stays there, as heard and in float16 (an hour of all of WavLM's layers is 1.4 GB):
    batch standardises it.
    """

    def __init__(self, pairs, features, codec=None, speech_scale=None, joints="", mirror=False, skip=False, scratch=None, cache=None, noisy=0, voices=0.0):
        if not pairs:
            raise CorpusError("no takes to train on are left beside those that are held out (in folders named test or valid, or by --test); add recordings")
        self.features, self.pairs, first = features, [], None
        skeleton, bones = most_common_skeleton(pairs) if skip else (None, None)
        size, names = None, take_names(pairs)
        for bvh, sound in tqdm(pairs, desc="reading takes", unit="take", disable=len(pairs) < 8 and features.kind != "wavlm"):
            try:
                motion, waveform = load_take(bvh, sound, features.fps)
                skeleton = skeleton or (bvh, motion.names, motion.parents.tolist())
                refuse_other_skeleton(bvh, motion, *skeleton)
                size = refuse_other_unit(bvh, motion, size, bones)
            except (BvhError, SpeechError, CorpusError) as error:
                if not skip:
                    raise
                tqdm.write(f"left out: {error}", file=sys.stderr)
                continue
            speech = hear_take(features, waveform, cache)
            if first is None:
                first, motions = motion, DiskMotions(scratch, len(motion.names))
                rows, mapped = DiskRows(scratch, (1 + noisy) * features.dim), []
            n = min(len(motion), len(speech))
            motions.add(replace(motion, rotations=motion.rotations[:n], positions=motion.positions[:n]))
            if speech.dtype == torch.float16:        # from the cache: on disk already
                mapped.append(speech[:n])
            else:
                heard = [speech]
                for k in range(noisy):               # the same noises and voices in each run, so that --resume goes on with them
                    voice = in_another_voice(waveform, voices, name_hash(f"{names[bvh, sound]} voice {k}")) if voices else waveform
                    heard.append(features(in_noise(voice, name_hash(f"{names[bvh, sound]} {k}"))))
                rows.add(torch.cat([s[:n] for s in heard], dim=1).numpy())
            self.pairs.append((bvh, sound))
        if first is None:
            raise CorpusError(f"{pairs[0][0].parent}: none of its {len(pairs)} takes can be used; mend what the lines above name")
        try:
            self.codec = codec or PoseCodec.fit(motions, features.fps, choose_joints(first, joints) if joints else None, mirror)
        except BvhError as error:                    # a question of the skeleton: name the file that it is from
            raise CorpusError(f"{skeleton[0]}: {error}") from None
        if self.codec.pose_dim == 0:
            raise CorpusError(f"{pairs[0][0].parent}: nothing moves in these files; check the export")
        poses = DiskRows(scratch, self.codec.pose_dim)
        for motion in motions:
            poses.add(self.codec.encode(motion))
        self.pose, self.poses = poses.map()
        if mapped:
            if noisy:
                raise ValueError("speech from the cache is heard without noise; give noisy=0")
            self.speech, self.speeches = None, mapped
        else:
            whole, takes = rows.map()
            self.speech = whole.unflatten(1, (1 + noisy, features.dim))      # [all frames, hearings, S]
            takes = [take.unflatten(1, (1 + noisy, features.dim)) for take in takes]         # [frames, hearings, S] each
            self.speeches = [take[:, 0] for take in takes]                   # [frames, S] each, without noise: what the scale below is of
        self.speech_scale = speech_scale or mean_and_deviation(self.speeches)
        if self.speech is not None:
            for take in takes:                       # in place, on disk
                take.sub_(self.speech_scale[0]).div_(self.speech_scale[1])
        self.seconds = len(self.pose) / features.fps

    def innovation_scale(self, memory, momentum=0.0):
        """The deviation [P] of what is new in a frame, see diffmotion.news, over all takes."""
        count = sum(len(p) - 1 for p in self.poses)
        total, squares = 0, 0
        for pose in self.poses:
            new = news(pose, memory, momentum)[1:].double()      # [frames - 1, P]
            total, squares = total + new.sum(dim=0), squares + new.square().sum(dim=0)
        if self.codec.swap is not None:              # of the takes and their mirror images
            swap, sign = torch.from_numpy(self.codec.swap), torch.from_numpy(self.codec.sign)
            total, squares = (total + total[swap] * sign) / 2, (squares + squares[swap]) / 2
        return ((squares - total.square() / max(1, count)) / max(1, count - 1)).clamp(min=0).sqrt().float()

    # Up to this many bytes, the features move to the device as a whole: then a batch costs no copy. 4 GB are 67 hours of
    # the puppet heard four times (in noise too), 35 of BEAT, 60 of BEAT with WavLM, which stays in its cache; beyond it they stay on disk, and each batch is read from there.
    RESIDENT = 4e9

    def to(self, device, frames):
        """Choose the device of the batches, and note where a window of `frames` may begin. Call it before batch()."""
        if max(map(len, self.poses)) < frames:
            raise CorpusError(f"every take is shorter than a training window of {frames} frames; give a smaller --window, and an --attention-window and a --segment of at most that")
        self.device, self.frames = device, frames
        # Speech in the cache stays there: it is standardised window by window, in batch
        if 4 * (self.pose.numel() + (0 if self.speech is None else self.speech.numel())) < self.RESIDENT:
            self.pose = self.pose.to(device)                                                 # [all frames, P]
            self.speech = None if self.speech is None else self.speech.to(device)            # [all frames, hearings, S]
        starts, first, self.firsts = [], 0, []
        for pose in self.poses:
            self.firsts.append(first)
            starts.append(torch.arange(first, first + max(0, len(pose) - frames + 1)))
            first += len(pose)
        self.starts = torch.cat(starts)
        self.openings = torch.stack([s[0] for s in starts if len(s)])
        return self

    def batch(self, size, generator, noise=0.0):
        """`size` windows drawn at random (CPU generator) -> pose [B, F, P], speech [B, F, S], a share `noise` of them as heard in noise, which takes a corpus that was heard so (ValueError).

        One in eight is the beginning of a take, so that the model learns how one begins: elsewhere a
        window may open in the middle of a gesture.
        """
        if noise and (self.speech is None or self.speech.shape[1] == 1):
            raise ValueError("no take was heard in noise; give Corpus noisy=1 or more")
        start = self.starts[torch.randint(len(self.starts), (size,), generator=generator)]   # [B]
        opening = self.openings[torch.randint(len(self.openings), (size,), generator=generator)]
        start = torch.where(torch.rand(size, generator=generator) < 1 / 8, opening, start)
        at = send(start[:, None] + torch.arange(self.frames), self.pose.device)              # [B, F]
        pose = send(self.pose[at], self.device)                                              # [B, F, P]
        if self.speech is not None:
            hearing = torch.zeros(size, dtype=torch.long)
            if noise:                                # only then: without it the draws stay what they were
                hearing = torch.randint(1, self.speech.shape[1], (size,), generator=generator) * (torch.rand(size, generator=generator) < noise)
            speech = send(self.speech[at, send(hearing, self.speech.device)[:, None]], self.device)          # [B, F, S]
        else:
            windows = []
            for n in start.tolist():
                take = bisect.bisect(self.firsts, n) - 1
                windows.append(self.speeches[take][n - self.firsts[take]:][:self.frames])    # [F, S]
            speech = (torch.stack(windows).float() - self.speech_scale[0]) / self.speech_scale[1]            # [B, F, S]
            speech = send(speech, self.device)
        if self.codec.swap is not None:
            swap, sign = (send(torch.from_numpy(x), self.device) for x in (self.codec.swap, self.codec.sign))
            flip = send(torch.rand(size, generator=generator) < 0.5, self.device)
            pose = torch.where(flip[:, None, None], pose[..., swap] * sign, pose)            # [B, F, P]
        return pose, speech


def refuse_other_skeleton(bvh, motion, example, names, parents):
    """Raise CorpusError unless the motion has these joints with these parents; bones may have other lengths."""
    if list(motion.names) != list(names) or motion.parents.tolist() != list(parents):
        odd = sorted(set(motion.names) ^ set(names)) or ["the order of the joints"]
        raise CorpusError(f"{bvh}: another skeleton than {example} (difference: {', '.join(odd[:3])}); train on one at a time")


def extents(motion):
    """How far a body reaches along x, y and z [3], averaged over some fifty of its frames, in the file's units."""
    few = slice(None, None, max(1, len(motion) // 50))
    points = replace(motion, rotations=motion.rotations[few], positions=motion.positions[few]).points()[0]   # [50, points, 3]
    return np.ptp(points, axis=1).mean(axis=0)


def bone_length(offsets):
    """How long all bones are together, offsets [J, 3]; the root's is where it stands and no bone."""
    return float(np.linalg.norm(offsets[1:], axis=1).sum())


def refuse_other_unit(bvh, motion, size, bones=None):
    """Raise CorpusError unless the body is half to twice as large, as among people, as the first take's. size, and the answer: (that take's file, its largest extent); None at first.

    bones: how long a body's bones are together in most takes, if that is known; then the first take must be like those, or one in metres would make a hundred in centimetres wrong.
    """
    own = bone_length(motion.offsets)
    if bones and size is None and not 0.5 < own / bones < 2:
        raise CorpusError(f"{bvh}: the body is {own / bones:.2g} times as large as in most takes; bring all takes to one unit")
    largest = float(extents(motion).max())
    if largest < 1e-6:
        raise CorpusError(f"{bvh}: all joints stand in one place; check the export")
    if size and not 0.5 < largest / size[1] < 2:
        raise CorpusError(f"{bvh}: the body is {largest / size[1]:.2g} times as large as that in {size[0]}; bring all takes to one unit")
    return size or (bvh, largest)


def most_common_skeleton(pairs):
    """((a file that has it, names, parents) of the skeleton that most takes share, how long its bones are together in the middle one of these takes); of two that are as common, the first."""
    seen = {}
    for bvh, _ in pairs:
        try:
            names, parents, offsets = read_skeleton(bvh)
        except BvhError:                             # load_take will say what is wrong with it
            continue
        seen.setdefault((tuple(names), tuple(parents.tolist())), []).append((bvh, bone_length(offsets)))
    (names, parents), files = max(seen.items(), key=lambda item: len(item[1]), default=(((), ()), [(pairs[0][0], 0.0)]))
    return (files[0][0], list(names), list(parents)), sorted(bones for _, bones in files)[len(files) // 2]


# ------------------------------------------------------------------------------------------------
# Look before you train
# ------------------------------------------------------------------------------------------------
FASTEST_TURN = 3000      # degrees a second: twice the fastest wrist in sports; faster is a jump of the capture
FASTEST_MOVE = 6         # body heights a second, 10 m/s: a sprinter
USUAL_WINDOW = 8.0       # s: train.py's --window, 160 frames of 20 a second
CLIPPED_SHARE = 1e-4     # of the samples, in runs of three or more at one and the same peak
QUIET = -50              # dB below full scale of the loud parts: a microphone that was not on
FOLLOWS = 4.2            # deviations of the correlation; see lag_of_motion
IN_STEP = 0.25           # s: what a person's own gestures run ahead or behind
LAGS = 10.0              # s, searched on either side
TELLING = 30.0           # s: shorter takes cannot tell


def falling_speed(motion):
    """How fast the faster of the hands falls, seen from the hips: [F] in body heights a second, 0 where they rise."""
    y = hands_of(motion)[..., 1]                                             # [F, 2]
    return np.maximum(-np.gradient(y, axis=0), 0).max(axis=1) / motion.frame_time if len(y) > 1 else np.zeros(len(y))


def lag_of_motion(motion, waveform, rate=20):
    """(seconds that the motion comes after the sound; how sure that is, in deviations), or None where it cannot be told.

    The hands' falling speed is correlated with the level of the speech (dB, cut off 35 dB below the loud parts) at every
    shift, the take taken as a circle. The highest correlation within LAGS is the lag; how far it stands above
    the mean of all shifts, in their standard deviations, is how sure. On 12 takes of the puppet (60 s) it was 5.8 to 9.7, and
    4.0 at most for the 132 ways to give a take another one's sound; for their first 30 s, 4.3 to 7.8, and 3.8 at most. So FOLLOWS lies
    between, and held on 12 new takes (6.8 and 3.8; 4.6 and 3.8). Shorter takes cannot tell: python bench.py find_lags. People gesture less to the beat than puppets, so a low value
    does not prove that a take is wrong: look at it.
    """
    motion = resample(motion, rate)
    hop = SAMPLE_RATE // rate
    n = min(len(motion), len(waveform) // hop)
    if n < TELLING * rate:
        return None
    power = (waveform[:n * hop] / loud_level(waveform)).reshape(n, hop).square().mean(dim=1).numpy()     # [n]
    level, falling = 10 * np.log10(np.maximum(power, 10 ** -3.5)), falling_speed(motion)[:n]
    if falling.std() == 0 or level.std() == 0:
        return None
    correlation = np.fft.irfft(np.fft.rfft(falling - falling.mean()) * np.conj(np.fft.rfft(level - level.mean())), n)    # [n], by shift
    sure = (correlation - correlation.mean()) / correlation.std()
    lag = (np.arange(n) + n // 2) % n - n // 2                               # in frames, [n]
    best = np.argmax(np.where(np.abs(lag) <= min(LAGS * rate, n // 3), sure, -np.inf))
    return lag[best] / rate, float(sure[best])


def find_jumps(motion):
    """Times in seconds at which a joint turns or moves faster than a human can, [n]."""
    R, p, dt = motion.rotations, motion.positions, motion.frame_time
    cosine = (np.einsum("fjab,fjab->fj", R[:-1], R[1:]) - 1) / 2             # [F - 1, J]
    turned = np.arccos(np.clip(cosine, -1, 1)).max(axis=1, initial=0)
    moved = np.linalg.norm(np.diff(p, axis=0), axis=-1).max(axis=1, initial=0) / max(motion.body_height(), 1e-9)
    jumps = (turned > np.radians(max(30, FASTEST_TURN * dt))) | (moved > max(0.05, FASTEST_MOVE * dt))
    return (np.flatnonzero(jumps) + 1) * dt


def clipped_share(sound):
    """Share of a file's samples that lie in runs of three or more at the peak, as a clipped wave does; of the channel where it is largest."""
    shares = [0.0]
    for samples in soundfile.read(sound, dtype="float32", always_2d=True)[0].T:
        if np.ptp(samples) == 0:                     # a channel that nothing came in on
            continue
        at_peak = (samples == samples.max()) | (samples == samples.min())    # 16 bits reach 1 below zero, and not quite above
        edges = np.flatnonzero(np.diff(np.concatenate([[0], at_peak.astype(np.int8), [0]])))     # begin, end, begin, end, ...
        runs = edges[1::2] - edges[::2]
        shares.append(runs[runs >= 3].sum() / len(samples))
    return max(shares)


def check_take(bvh, sound):
    """One pair -> (Motion, its seconds that have sound too, what is odd about it: [sentences]). Raises what training would raise."""
    motion, waveform = load_take(bvh, sound)
    odd, spoken, moved = [], len(waveform) / SAMPLE_RATE, len(motion) * motion.frame_time
    if abs(spoken - moved) > 0.5:
        odd.append(f"the motion lasts {moved:.1f} s and the sound {spoken:.1f} s; the rest is not used")
    x, y, z = extents(motion)
    if z > 1.5 * y and z > x:                        # arms stretched to the sides make x large
        odd.append(f"the body lies ({z:.3g} long along z, {y:.3g} along y): if z points up in this file, export it with y up, which training takes for granted")
    if np.ptp(motion.rotations, axis=0).max() < 1e-9:
        odd.append("nothing moves")
    jumps = find_jumps(motion)
    if len(jumps):
        odd.append(f"{len(jumps)} jumps that no human can do, the first at {jumps[0]:.2f} s")
    share = clipped_share(sound)
    if share > CLIPPED_SHARE:
        odd.append(f"the sound is clipped ({100 * share:.2g}% of its samples)")
    level = 20 * np.log10(float(loud_level(waveform)))
    if level < QUIET:
        odd.append(f"the sound is nearly silent (its loud parts reach {level:.0f} dB)")
    try:
        lag = lag_of_motion(motion, waveform)
    except BvhError:                                 # no joint is called a hand: nothing to listen for
        lag = None
    if lag and lag[1] < FOLLOWS:
        odd.append(f"no sign that the motion follows the sound ({lag[1]:.1f} deviations; {FOLLOWS} would be one)")
    elif lag and abs(lag[0]) > IN_STEP:
        odd.append(f"the motion comes {abs(lag[0]):.1f} s {'after' if lag[0] > 0 else 'before'} the sound ({lag[1]:.1f} deviations); shift one of them")
    return motion, min(spoken, moved), odd


def check(folder, test=()):
    """Read everything once and print what there is, what is wrong and what training would use."""
    pairs, lonely = match_files(folder)
    split = split_takes(folder, pairs, test)         # as for training, which leaves out what cannot be used afterwards
    skeleton, size_of_most = most_common_skeleton(split["train"] or pairs)
    wrong = [(path, what, True) for path, what in lonely]                    # (file, sentence, does training stop there?)
    usable, seconds, rates, sounds, bones, joints, first = [], {}, Counter(), Counter(), set(), {}, None
    size = None
    taught = set(split["train"])                     # first, as training reads them: what all others are held against is one of these
    for bvh, sound in tqdm(sorted(pairs, key=lambda pair: pair not in taught), desc="checking", unit="take", disable=None):
        stops = True
        try:
            motion, both, odd = check_take(bvh, sound)
            joints.setdefault((len(motion.names), motion.names[0], tuple(motion.names)), []).append(bvh.name)
            rates[f"{1 / motion.frame_time:.4g} frames a second"] += 1
            sounds[f"{soundfile.info(sound).samplerate} Hz"] += 1
            stops = (bvh, sound) in taught           # training does not compare what is held out
            refuse_other_skeleton(bvh, motion, *skeleton)
            try:
                size = refuse_other_unit(bvh, motion, size, size_of_most)
            except CorpusError as error:
                if stops:
                    raise
                odd.append(str(error).removeprefix(f"{bvh}: "))              # it can be judged on all the same: scores are in body heights
        except (BvhError, SpeechError, CorpusError) as error:
            wrong.append((bvh, str(error).removeprefix(f"{bvh}: "), stops))
            continue
        wrong += [(bvh, what, False) for what in odd]
        usable.append((bvh, sound))
        seconds[bvh] = both
        bones.add(np.round(motion.offsets[1:], 3).tobytes())
        first = first or motion                      # whom training asks, since all that it takes have the same joints

    def line(name, what):
        print(f"  {name:<22}{what}")

    print(f"{folder}")
    line("pairs", f"{len(pairs)}, of which {len(usable)} can be used")
    line("minutes", f"{sum(seconds.values()) / 60:.1f}")
    line("motion", ", ".join(f"{n} takes at {rate}" for rate, n in rates.most_common()) or "none")
    line("sound", ", ".join(f"{n} takes at {rate}" for rate, n in sounds.most_common()) or "none")
    for (count, root, _), files in sorted(joints.items(), key=lambda item: -len(item[1])):
        line("skeleton", f"{count} joints from {root}: {len(files)} takes" + (f" ({', '.join(files[:5])}{', ...' * (len(files) > 5)})" if len(files) < len(pairs) / 2 else ""))
    if usable:
        line("bodies", f"{len(bones)}, by the lengths of their bones")
        if root := body_root(first):
            line("root", f"{first.names[0]} stays behind where {first.names[root]} goes: where one stands and faces is learnt along with the gesture; if people walk or turn, better export with {first.names[root]} as ROOT")
        for what, question in (("hands", lambda: f"{', '.join(first.names[j] for j in hand_joints(first))}: strokes are looked for there"),
                               ("can be mirrored", lambda: f"yes, across the {'xyz'[mirror_pairs(first)[1]]} axis")):
            try:
                line(what, question())
            except BvhError as error:
                line(what, f"no: {error}")
    if wrong:
        print("what to look at (! stops training, or is left out with --skip)")
    for path, what, stops in sorted(wrong):
        line("!" if stops else "", f"{path}: {what}")
    if not usable:
        raise CorpusError(f"{folder}: nothing usable is left; mend what stands above")
    print("what training would use" + (" with --skip" if any(stops for _, _, stops in wrong) else ""))
    for part, takes in split.items():
        takes = [pair for pair in takes if pair[0] in seconds]
        nothing = {"train": "; there is nothing to train on: add recordings, or hold out fewer",
                   "test": "; evaluate.py can judge no model on it: name takes with --test, or make a folder test/"}.get(part, "") if not takes else ""
        short = sum(seconds[bvh] < USUAL_WINDOW - 0.05 for bvh, _ in takes) if part == "train" else 0
        line(part, f"{len(takes)} takes, {sum(seconds[bvh] for bvh, _ in takes) / 60:.1f} minutes{nothing}"
             + f"; {short} of them shorter than train.py's usual window of {USUAL_WINDOW:g} s, and not learnt from but with a smaller --window" * (short > 0))


def plot_take(path, bvh, sound, start=0.0, length=12.0, poses=12):
    """A picture of one take from `start` for `length` seconds: poses, sound with the hands' falling speed and strokes, features of both."""
    motion, waveform = load_take(bvh, sound, 20)
    if start * 20 > len(motion) - 2:
        raise CorpusError(f"{bvh}: lasts {len(motion) / 20:.1f} s; " + ("give a smaller --start" if start else "that is too short to be drawn"))
    length = min(length, len(motion) / 20 - start)
    a, b = int(start * 20), int((start + length) * 20)
    height = motion.body_height()
    figure = new_figure(16, 10, layout="constrained")
    axes = figure.subplots(4, 1, height_ratios=(2.4, 1, 1, 1.6), sharex=True)
    points, parents = shown_points(motion)
    points = points / height                                                 # [F, points, 3]
    try:
        left, right = (points[a:b, j].mean(axis=0) for j in hand_joints(motion))
        across, falls = (left - right) * [1, 0, 1], falling_speed(motion)
    except BvhError:                                 # no joint is called a hand: shown without its strokes, along the file's own X axis
        across, falls = np.array([1.0, 0.0, 0.0]), None
    across = across / max(np.linalg.norm(across), 1e-6)          # from the front: the left hand to the right of the picture
    wide = 0.2 * length                                          # seconds of the axis that are as long as a body height on the other one
    for n in np.linspace(a, b - 1, poses + 1).astype(int)[:-1] + (b - a) // (2 * poses):
        flat = (points[n] - points[n, :1] * [1, 0, 1]) @ np.stack([across, [0, 1, 0]], axis=1)               # [points, 2]
        for j, parent in enumerate(parents):
            if parent >= 0:
                axes[0].plot(flat[[parent, j], 0] * wide + n / 20, flat[[parent, j], 1], color="#444444", lw=2, solid_capstyle="round")
    axes[0].set(ylabel="body heights")
    axes[0].set_title(f"{bvh.stem}: {len(motion.names)} joints, {len(motion) / 20:.1f} s", parse_math=False)     # a name may hold dollars
    sound_part = np.abs(waveform.numpy()[a * SAMPLE_RATE // 20:b * SAMPLE_RATE // 20])
    loudest = np.maximum.reduceat(sound_part, np.arange(0, len(sound_part), 160)) / max(float(waveform.abs().max()), 1e-9)
    axes[1].fill_between(a / 20 + np.arange(len(loudest)) / 100, loudest, color="#aaaaaa", lw=0, label="sound")
    if falls is not None:
        axes[1].plot(np.arange(a, b) / 20, falls[a:b], color="#2e6f9e", label="a hand falls, body heights a second")
    for t in strokes_of(motion):
        axes[1].axvline(t, color="#d1495b", lw=1, ls=":")
    axes[1].legend(loc="upper right", ncols=2, fontsize=8)
    speech, codec = SpeechFeatures("mel")(waveform), PoseCodec.fit([motion])
    if codec.pose_dim == 0:
        raise CorpusError(f"{bvh}: nothing moves in this file; check the export")
    for axis, rows, what in ((axes[2], speech[a:b].numpy(), "mel bands"), (axes[3], codec.encode(motion)[a:b], "pose features")):
        axis.imshow(rows.T, aspect="auto", origin="lower", extent=(a / 20, b / 20, 0, rows.shape[1]), interpolation="nearest",
                    cmap="magma" if axis is axes[2] else "RdBu", **({} if axis is axes[2] else dict(vmin=-3, vmax=3)))
        axis.set(ylabel=what)
    axes[3].set(xlabel="seconds (dotted: strokes)", xlim=(a / 20, b / 20))
    write_picture(path, figure)


def main():
    parser = Parser(prog="data.py", description="Look at a folder of paired BVH and sound files before training on it.")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="read everything once; say what there is, what is wrong, what training would use")
    checking.add_argument("folder", type=Path)
    checking.add_argument("--test", nargs="+", default=[], metavar="NAME", help="takes to hold out, as for train.py")
    plotting = commands.add_parser("plot", help="draw one take")
    plotting.add_argument("folder", type=Path)
    plotting.add_argument("take", help="name of the take, without ending; where several have it, with its folder, as in anna/take1")
    plotting.add_argument("--start", type=float, default=0.0, help="seconds into the take (default: %(default)s)")
    plotting.add_argument("--seconds", type=float, default=12.0, help="how much of it (default: %(default)s)")
    plotting.add_argument("--out", type=Path, default=Path("out"), help="folder to write TAKE.png to, or the picture's own name, ending in .png (default: %(default)s)")
    args = parser.parse_args()
    if args.command == "check":
        check(args.folder, args.test)
        return
    pairs = match_files(args.folder)[0]
    asked = unicodedata.normalize("NFC", args.take)
    found = [pair for pair in pairs if asked in (unicodedata.normalize("NFC", name) for name in (pair[0].stem, pair[0].name, pair[0].relative_to(args.folder).with_suffix("").as_posix()))]
    if len(found) != 1:
        some = ", ".join(str(bvh.relative_to(args.folder).with_suffix("")) for bvh, _ in (found or pairs)[:3])
        raise CorpusError(f"{args.folder}: holds {f'{len(found)} pairs' if found else 'no pair'} named {args.take!r}; name one as in {some}")
    if not (args.start >= 0 and args.seconds >= 1):
        parser.error("--start must be at least 0 and --seconds at least 1")
    path = args.out if args.out.suffix.lower() == ".png" else args.out / f"{found[0][0].stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_take(path, *found[0], args.start, args.seconds)
    print(path)


if __name__ == "__main__":
    run_script(main)
