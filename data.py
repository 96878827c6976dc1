"""Data: takes -> the standardised windows that training draws.

A take is one recording: a motion (.bvh) and its sound. What happens to it, in this order:

    motion ── read, resampled to 20 frames a second ── PoseCodec.encode ──► pose   [F, P]
    sound  ── read, resampled to 16 kHz ───────────── SpeechFeatures ────► speech [F, S]

    1. A row of `pose` describes one frame: where the root stands and faces, seen from the take's
       mean (if somebody walks: how far it moves and turns since the last frame), its height and
       tilt, and the rotation of each joint (three numbers, an exponential map). Columns that never
       change are dropped (body/pose.py).
    2. Both have one row a motion frame, and are cut to equal length.
    3. Each column is standardised over all takes: mean 0, deviation 1. The pose must be
       standardised, because diffusion adds noise of deviation 1 to it (PoseCodec standardises it).
       The speech is standardised because networks then learn faster.
    4. Corpus.batch cuts out windows of F frames at random: pose [B, F, P], speech [B, F, S].

Pose n is that at n / 20 s; row n of the speech covers the time from n / 20 to (n + 1) / 20 s.
Which takes are trained on is decided before, by recordings.pairs.find_pairs. Whole takes are held
out, never windows: two windows of one take share their speech.
"""

from dataclasses import replace

import torch
from tqdm import tqdm

from body.joints import choose_joints
from body.motion import BvhError
from body.pose import PoseCodec
from recordings.cache import cached_features
from recordings.disk import DiskMotions, DiskRows, windows_of
from recordings.pairs import CorpusError, take_names
from recordings.skeletons import takes_of_one_skeleton
from tools import send


def mean_and_deviation(speeches):
    """Takes [F_i, S] -> (mean [S], deviation [S]) of each column, over all frames of all takes.

    Summed in float64, 1024 frames at a time: what lies on disk need not fit into memory.
    """
    count, total, squares = sum(map(len, speeches)), 0, 0
    quick = speeches[0].dtype == torch.float32  # float16: WavLM's features, to be read from disk
    for speech in tqdm(speeches, desc="means", unit="take", leave=False, disable=quick):
        for part in speech.split(1024):
            part = part.double()
            total = total + part.sum(dim=0)  # [S]
            squares = squares + part.square().sum(dim=0)  # [S]
    mean = total / count
    variance = (squares - count * mean**2) / max(1, count - 1)
    return mean.float(), variance.clamp(min=1e-8).sqrt().float()


class Corpus:
    """Standardised features of takes, and random windows of them.

    pairs         the takes: [(path of the .bvh, path of the sound)]
    features      SpeechFeatures, which also says how many frames a second
    codec         PoseCodec, or None to fit one to these takes
    speech_scale  (mean [S], deviation [S]) to standardise speech with, or None for these takes' own
    joints        the joints to learn, as body.joints.choose_joints reads it; "" for all
    mirror        show half of the windows, by chance, mirrored, left for right; same speech
    skip          leave out takes that cannot be used, with a line for each; else the first stops us
    scratch       folder for features on disk, None for the system's temporary folder
    cache         folder that keeps WavLM's features from run to run, or None
    versions      V functions (waveform, name of the take) -> waveform, for data augmentation. Each
                  take's speech features are also computed for these; batch(noisy=...) draws them

    Afterwards: pairs, the takes that are used; poses and speeches, a tensor [frames, P] and
    [frames, S] for each of them; seconds, of all takes together. Features lie on disk, so memory
    does not grow with the number of takes. WavLM's, when they come from the cache, stay there as
    float16: they are standardised window by window, in batch.

    Raises CorpusError, BvhError or SpeechError for takes that cannot be used.
    """

    def __init__(
        self,
        pairs,
        features,
        codec=None,
        speech_scale=None,
        joints="",
        mirror=False,
        skip=False,
        scratch=None,
        cache=None,
        versions=(),
    ):
        self.features, self.versions, self.pairs = features, versions, []
        self.motions, self.rows, self.cached = DiskMotions(scratch), DiskRows(scratch), []
        names = take_names(pairs)
        progress = len(pairs) >= 8 or features.kind == "wavlm"
        for pair, motion, waveform in takes_of_one_skeleton(pairs, features.fps, skip, progress):
            speech = cached_features(features, waveform, cache)  # [frames, S]
            self._add(motion, waveform, speech, names[pair])
            self.pairs.append(pair)
        self.codec = codec or self._fit_codec(joints, mirror)
        self._encode_poses(scratch)
        self._standardise_speech(speech_scale)
        self.seconds = len(self.pose) / features.fps

    def _add(self, motion, waveform, speech, name):
        """Keep a take's motion and speech features [frames, S], cut to equal length."""
        n = min(len(motion), len(speech))
        rotations, positions = motion.rotations[:n], motion.positions[:n]
        self.motions.add(replace(motion, rotations=rotations, positions=positions))
        if speech.dtype == torch.float16:  # from the cache: on disk already
            if self.versions:
                raise ValueError("the cache keeps no versions of the speech; give versions=()")
            self.cached.append(speech[:n])
            return
        others = [self.features(version(waveform, name)) for version in self.versions]
        self.rows.add(torch.stack([s[:n] for s in (speech, *others)], dim=1))  # [n, 1 + V, S]

    def _fit_codec(self, joints, mirror):
        """A PoseCodec whose means and deviations are those of these takes."""
        try:
            chosen = choose_joints(next(iter(self.motions)), joints) if joints else None
            return PoseCodec.fit(self.motions, self.features.fps, chosen, mirror)
        except BvhError as error:  # about the skeleton: name a file that has it
            raise CorpusError(f"{self.pairs[0][0]}: {error}") from None

    def _encode_poses(self, scratch):
        """Motions -> standardised pose features: pose [all frames, P], and poses, its parts."""
        if self.codec.pose_dim == 0:
            folder = self.pairs[0][0].parent
            raise CorpusError(f"{folder}: nothing moves in these files; check the export")
        rows = DiskRows(scratch)
        for motion in self.motions:
            rows.add(self.codec.encode(motion))  # [frames, P]
        self.pose, self.poses = rows.map()
        del self.motions  # they were needed for the codec only

    def _standardise_speech(self, scale):
        """Sets speech [all frames, 1 + V, S] and speeches; speech is None if the cache has it.

        The means and deviations are those of the speech as recorded, not of its versions.
        """
        if self.cached:
            self.speech, takes, self.speeches = None, [], self.cached
        else:
            self.speech, takes = self.rows.map()
            self.speeches = [take[:, 0] for take in takes]  # [frames, S] each
        self.speech_scale = mean, deviation = scale or mean_and_deviation(self.speeches)
        for take in takes:
            take.sub_(mean).div_(deviation)  # in place, on disk

    # --------------------------------------------------------------------------------------------
    # Windows
    # --------------------------------------------------------------------------------------------
    # Features of up to this many bytes move to the device as a whole; then a batch costs no copy.
    # 4 GB are 61 hours of the puppet with three versions, or 32 hours of BEAT.
    RESIDENT = 4e9

    def to(self, device, frames, hop=1):
        """Call it before batch: chooses the device of the batches, and the length of the windows.

        Windows of `frames` begin every `hop` frames of a take. The authors' overlap by half, so
        hop = frames / 2 there. With hop=1 they may begin anywhere: no two epochs are the same.
        Takes shorter than a window are not learnt from; if all are, CorpusError.
        """
        if max(map(len, self.poses)) < frames:
            raise CorpusError(
                f"every take is shorter than a training window of {frames} frames; "
                "give a smaller --window"
            )
        self.device, self.frames = device, frames
        size = 4 * (self.pose.numel() + (0 if self.speech is None else self.speech.numel()))
        if size < self.RESIDENT:
            self.pose = self.pose.to(device)  # [all frames, P]
            self.speech = None if self.speech is None else self.speech.to(device)
        ends = torch.tensor([len(pose) for pose in self.poses]).cumsum(dim=0)
        self.firsts = [0, *ends[:-1].tolist()]  # index of each take's first frame in self.pose
        starts = [
            torch.arange(first, first + len(pose) - frames + 1, hop)
            for first, pose in zip(self.firsts, self.poses)
            if len(pose) >= frames
        ]
        self.starts = torch.cat(starts)  # first frame of every window
        self.openings = torch.stack(
            [windows[0] for windows in starts]
        )  # ... of each take's first window
        return self

    def batch(self, size, random, openings=0.0, noisy=0.0):
        """`size` windows drawn at random -> pose [B, F, P], speech [B, F, S].

        random    torch.Generator on the CPU. Everything is drawn from it, in a fixed order
        openings  share of windows that are the beginning of a take. Elsewhere a window may open in
                  the middle of a gesture, and beginnings are rare, so a model hardly learns them
        noisy     share of windows whose speech is one of the versions; ValueError without versions
        """
        if noisy and not self.versions:
            raise ValueError("the speech has no other versions; give Corpus versions=")
        start = self.starts[torch.randint(len(self.starts), (size,), generator=random)]  # [B]
        if openings:
            chosen = torch.randint(len(self.openings), (size,), generator=random)
            opens = torch.rand(size, generator=random) < openings
            start = torch.where(opens, self.openings[chosen], start)  # [B]
        version = torch.zeros(size, dtype=torch.long)  # 0: as recorded
        if noisy:
            drawn = torch.randint(1, 1 + len(self.versions), (size,), generator=random)
            version = drawn * (torch.rand(size, generator=random) < noisy)  # [B]
        at = send(start[:, None] + torch.arange(self.frames), self.pose.device)  # [B, F]
        pose = send(self.pose[at], self.device)  # [B, F, P]
        speech = self._speech(start, at, version)  # [B, F, S]
        if self.codec.swap is not None:
            flip = send(torch.rand(size, generator=random) < 0.5, self.device)  # [B]
            pose = torch.where(flip[:, None, None], self._mirrored(pose), pose)  # [B, F, P]
        return pose, speech

    def _speech(self, start, at, version):
        """The speech of windows that begin at start [B], of the frames at [B, F] -> [B, F, S]."""
        if self.speech is None:
            mean, deviation = self.speech_scale
            windows = windows_of(self.speeches, self.firsts, start.tolist(), self.frames).float()
            return send((windows - mean) / deviation, self.device)
        version = send(version, self.speech.device)[:, None]  # [B, 1]
        return send(self.speech[at, version], self.device)

    def _mirrored(self, pose):
        """The mirror image of poses [B, F, P]: swap columns of left and right, turn some signs."""
        columns = self.codec.swap, self.codec.sign
        swap, sign = (send(torch.from_numpy(x), self.device) for x in columns)
        return pose[..., swap] * sign
