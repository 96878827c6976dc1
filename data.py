"""Data: a folder of paired motion and speech -> the windows that training draws from.

    find_pairs(folder)     which .bvh belongs to which sound, and which takes are held out
    hear_take(...)         speech features of a recording, WavLM's from the cache
    Corpus(...)            standardised features of every take
    Corpus.batch(...)      random windows (pose [B, F, P], speech [B, F, S])

Also here, because every script needs them: one-line errors (run_script) and the parser that keeps to them.

A take is held out by take and never by window: two windows of one take share their speech.
"""
import argparse
import bisect
import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from motion import BvhError, PoseCodec, read_bvh, resample, written_beside
from wavlm_loader import CONTEXT, PIECE, SpeechError, frame_count, load_audio


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


def run_script(main):
    """Run main(). What the user can mend becomes one line on standard error and exit status 2; a bug keeps its traceback."""
    try:
        main()
    except (BvhError, SpeechError, CorpusError, CheckpointError) as error:
        message = str(error)
    except OSError as error:                         # a folder that cannot be written, a disk that is full
        message = f"{error.filename or 'file'}: {error.strerror or error}; check the name, the rights and the space on the disk"
    else:
        return
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
    sys.exit(2)


# ------------------------------------------------------------------------------------------------
# Pairs
# ------------------------------------------------------------------------------------------------
SOUND_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a")
HELD_OUT = {"valid": ("valid", "validation", "dev"), "test": ("test",)}


def find_pairs(folder):
    """folder -> {"train": [...], "valid": [...], "test": [...]} of (bvh path, sound path), sorted.

    A pair has one stem, side by side or in parallel folders (Motion/ and Audio/). A take in a folder named test or
    valid is held out; where there are no such folders, every tenth take (by a hash of its name, so that it stays
    the same when takes are added) goes to test and every other tenth to valid.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give one that holds .bvh files and sound files of the same names")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    sounds = {}
    for p in files:
        if p.suffix.lower() in SOUND_ENDINGS:
            sounds.setdefault(p.stem, []).append(p)
    pairs, lonely = [], []
    for bvh in (p for p in files if p.suffix.lower() == ".bvh"):
        partners = sounds.get(bvh.stem, [])
        beside = [p for p in partners if p.parent == bvh.parent] or [p for p in partners if p.parent.parent == bvh.parent.parent] or partners
        if len(beside) == 1:
            pairs.append((bvh, beside[0]))
        elif beside:
            raise CorpusError(f"{bvh}: several sound files could belong to it ({beside[0]}, {beside[1]}); keep one")
        else:
            lonely.append(bvh)
    paired = {p for pair in pairs for p in pair}
    lonely += [p for group in sounds.values() for p in group if p not in paired]
    if not pairs:
        raise CorpusError(f"{folder}: no pairs of a .bvh and a sound file with the same name "
                          f"(found {sum(p.suffix.lower() == '.bvh' for p in files)} .bvh, {sum(map(len, sounds.values()))} sound files)")
    if lonely:
        raise CorpusError(f"{lonely[0]}: has no partner of the same name{f', and {len(lonely) - 1} more' * (len(lonely) > 1)}; "
                          "add the missing file, or move this one out of the folder")
    split = {"train": [], "valid": [], "test": []}
    named = {pair: next((part for part, names in HELD_OUT.items() if {f.lower() for f in pair[0].relative_to(folder).parts[:-1]} & set(names)), "train")
             for pair in pairs}
    for bvh, sound in pairs:
        part = named[bvh, sound]
        if set(named.values()) == {"train"} and len(pairs) >= 3:
            tenth = int(hashlib.sha256(bvh.stem.encode()).hexdigest(), 16) % 10
            part = {0: "test", 1: "valid"}.get(tenth, "train")
        split[part].append((bvh, sound))
    return split


def load_take(bvh, sound):
    """One pair -> (Motion, waveform), cut to the shorter of the two. More than 2 s of difference is an error."""
    motion, waveform = read_bvh(bvh), load_audio(sound)
    spoken, moved = len(waveform) / 16_000, len(motion) * motion.frame_time
    if abs(spoken - moved) > 2:
        raise CorpusError(f"{bvh}: the motion lasts {moved:.1f} s and the sound {spoken:.1f} s; cut them to the same length")
    return motion, waveform


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
class Corpus:
    """Standardised features of the takes in `pairs`.

    codec      PoseCodec fitted on the training takes, or None to fit it here
    features   SpeechFeatures
    speech_scale   (mean [S], deviation [S]) of the speech features over the training takes, or None to compute them here
    cache      folder that keeps WavLM's features, or None
    poses, speeches: lists of float32 tensors [frames, P], [frames, S], of equal lengths in pairs. Speech that is mapped
    from the cache stays there, as heard and in float16 (an hour of all of WavLM's layers is 1.4 GB): batch standardises it.
    """

    def __init__(self, pairs, features, codec=None, speech_scale=None, cache=None):
        if not pairs:
            raise CorpusError("no takes to train on are left once those for testing are held out; add recordings")
        motions, speeches = [], []
        for bvh, sound in tqdm(pairs, desc="reading takes", unit="take", disable=len(pairs) < 8 and features.kind != "wavlm"):
            motion, waveform = load_take(bvh, sound)
            if motions and list(motion.names) != list(motions[0].names):
                odd = sorted(set(motion.names) ^ set(motions[0].names)) or ["the order of the joints"]
                raise CorpusError(f"{bvh}: another skeleton than {pairs[0][0]} (difference: {', '.join(odd[:3])}); train on one at a time")
            motions.append(resample(motion, features.fps))
            speeches.append(hear_take(features, waveform, cache))
        self.features = features
        self.codec = codec or PoseCodec.fit(motions, features.fps)
        if self.codec.pose_dim == 0:
            raise CorpusError(f"{pairs[0][0].parent}: nothing moves in these files; check the export")
        self.speech_scale = speech_scale or mean_and_deviation(speeches)
        self.poses, self.speeches = [], []
        for motion, speech in zip(motions, speeches):
            pose = torch.from_numpy(self.codec.encode(motion))
            n = min(len(pose), len(speech))
            self.poses.append(pose[:n])
            self.speeches.append(self.standardised(speech[:n]) if speech.dtype == torch.float32 else speech[:n])
        self.seconds = sum(len(p) for p in self.poses) / features.fps

    def to(self, device, frames):
        """Lay all takes end to end on `device`, and note where a window of `frames` may begin. Call it before batch()."""
        if max(map(len, self.poses)) < frames:
            raise CorpusError(f"every take is shorter than a training window of {frames} frames; give a smaller --window")
        self.pose, self.speech = torch.cat(self.poses).to(device), None      # [all frames, P]
        if self.speeches[0].dtype == torch.float32:
            self.speech = torch.cat(self.speeches).to(device)                # [all frames, S]
        starts, first, self.firsts = [], 0, []
        for pose in self.poses:
            self.firsts.append(first)
            starts.append(torch.arange(first, first + max(0, len(pose) - frames + 1)))
            first += len(pose)
        self.starts, self.frames = torch.cat(starts), frames
        self.openings = torch.stack([s[0] for s in starts if len(s)])
        return self

    def batch(self, size, generator):
        """`size` windows drawn at random (CPU generator) -> pose [B, F, P], speech [B, F, S].

        One in eight is the beginning of a take, so that the model learns how one begins: elsewhere a
        window may open in the middle of a gesture.
        """
        start = self.starts[torch.randint(len(self.starts), (size,), generator=generator)]
        opening = self.openings[torch.randint(len(self.openings), (size,), generator=generator)]
        start = torch.where(torch.rand(size, generator=generator) < 1 / 8, opening, start)
        at = (start[:, None] + torch.arange(self.frames)).to(self.pose.device)               # [B, F]
        if self.speech is not None:
            return self.pose[at], self.speech[at]
        windows = []
        for n in start.tolist():
            take = bisect.bisect(self.firsts, n) - 1
            windows.append(self.speeches[take][n - self.firsts[take]:][:self.frames])        # [F, S]
        return self.pose[at], self.standardised(torch.stack(windows).float()).to(self.pose.device)

    def standardised(self, speech):
        """Features as heard [..., S] -> with mean 0 and deviation 1 over the training takes."""
        return (speech - self.speech_scale[0]) / self.speech_scale[1]
