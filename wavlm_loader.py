"""Speech: file -> waveform -> features at the motion frame rate.

    load_audio(path)               any file that soundfile reads -> 16 kHz mono float32 [samples]
    load_audio_blocks(path)        the same a block at a time, for recordings that need not fit into memory
    SpeechFeatures(kind, fps)      waveform -> [frames, dim], one row for each motion frame, frames = ceil(seconds * fps)
    load_wavlm(checkpoint)         the pre-trained network behind kind="wavlm"
    hear(wavlm, waveform, layers)  its hidden states, 50 a second, for speech of any length

Time: row n speaks for n / fps to (n + 1) / fps and is centred there, whatever the kind. Each kind first gives
features at its own rate, each valid around its own centre; `to_motion_frames` averages them over the motion frames.
"""
import hashlib
import http.client
import itertools
import math
import re
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from tqdm import tqdm

SAMPLE_RATE = 16_000     # what WavLM was trained on; enough for every formant of speech
CUT, WARM = 40, 1600     # Hz, samples (0.1 s): see without_rumble
LAYERS = ("last", "sum", *map(str, range(13)))   # what SpeechFeatures takes as `layer` of WavLM


class SpeechError(ValueError):
    """A speech file or a speech model cannot be used. The message names the file and says what to do."""


# ------------------------------------------------------------------------------------------------
# 1. File -> waveform
# ------------------------------------------------------------------------------------------------
def load_audio(path):
    """Any speech file -> float32 tensor [samples], 16 kHz mono, without rumble. Raises SpeechError for what cannot be spoken to.

    The content decides the format, not the ending: an MP3 that is called .wav is read as an MP3.
    """
    rate, pieces = None, []
    for rate, block in _blocks(path):                # mixed down while reading: an hour of stereo at 48 kHz would take 1.4 GB otherwise
        pieces.append(block)
    waveform = torch.from_numpy(np.concatenate(pieces))
    if rate != SAMPLE_RATE:                          # it takes the sound to be 0 beyond both ends: beside an offset that would be a click
        waveform = torchaudio.functional.resample(waveform - waveform[0], rate, SAMPLE_RATE)
    done = 0
    for piece in without_rumble(waveform.split(60 * SAMPLE_RATE)):           # in place, a minute at a time: an hour would take 0.9 GB otherwise
        waveform[done:done + len(piece)] = piece
        done += len(piece)
    return waveform                                              # [samples]


def without_rumble(blocks):
    """Blocks [n_i] of a waveform at 16 kHz -> the same blocks without what lies below CUT: steps, wind, a sound card's constant offset.

    No speech is there, and the ear's lowest band begins at 60 Hz; but a 25 ms window tells so slow a swing badly from the bands above, and the level of
    the loud parts counts it as loud. An offset of 0.01 under speech at -35 dB left 9 strokes of 16.
    A second-order Butterworth filter. Its ringing is over by 2e-8 after WARM samples, so each block is filtered behind so many before it, and
    joined they are what all at once would be. Before the first sample the sound is taken to have stood where it begins.
    """
    turn = 2 * math.pi * CUT / SAMPLE_RATE
    cos, alpha = math.cos(turn), math.sin(turn) / math.sqrt(2)               # after R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filters", Q = 1 / sqrt(2)
    b = torch.tensor([(1 + cos) / 2, -1 - cos, (1 + cos) / 2], dtype=torch.float64) / (1 + alpha)
    a = torch.tensor([1 + alpha, -2 * cos, 1 - alpha], dtype=torch.float64) / (1 + alpha)
    before = None
    for block in blocks:
        if len(block):
            held = torch.cat([block[:1].expand(WARM) if before is None else before, block])                  # [WARM + n]
            before = held[-WARM:]
            block = torchaudio.functional.lfilter(held.double(), a, b, clamp=False)[WARM:].float()           # [n]; of 32 bits too few would be left so far below the rate
        yield block


def load_audio_blocks(path, seconds=10):
    """load_audio without holding the recording: yields tensors [n], at 16 kHz; joined, they are what load_audio gives.

    What is wrong with the file as a whole, as silence or a missing end, is known and raised at the end only: walk through it
    once, as loud_level_of does, before anything is made of it.
    """
    return without_rumble(_resampled_blocks(path, seconds))


def _resampled_blocks(path, seconds):
    """The file in pieces [n] at 16 kHz, as one resampling of all of it would give them."""
    held, context, step = None, 0, 1
    for rate, block in _blocks(path, seconds):
        if rate == SAMPLE_RATE:
            yield torch.from_numpy(block)
            continue
        if held is None:
            # Samples at the old and the new rate meet every `step` samples. A sample depends on less than 20 others on both sides,
            # or where the rate falls, on that many times its ratio: so pieces overlap by `context`, and what they lack is cut off.
            step, new_step = rate // math.gcd(rate, SAMPLE_RATE), SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
            context = step * math.ceil(20 * max(1, rate / SAMPLE_RATE) / step)
            held, first, offset = torch.zeros(0), True, block[0]
        held = torch.cat([held, torch.from_numpy(block - offset)])           # as in load_audio
        whole = (len(held) - context) // step * step             # up to here all that counts is there
        if whole <= context:
            continue
        yield torchaudio.functional.resample(held, rate, SAMPLE_RATE)[0 if first else context // step * new_step:whole // step * new_step]
        held, first = held[whole - context:], False
    if held is not None:
        yield torchaudio.functional.resample(held, rate, SAMPLE_RATE)[0 if first else context // step * new_step:]


def _blocks(path, seconds=20):
    """Yields (rate, float32 [n]), mono, at the file's own rate, and raises SpeechError for what cannot be spoken to."""
    path = Path(path)
    if not path.is_file():
        raise SpeechError(f"{path}: no such file; check the name" if not path.exists() else f"{path}: is not a file but a folder or device")
    if not_utf8(path):
        raise SpeechError(f"{path}: its name is not UTF-8, as that of a file from an old archive; rename it")
    if path.stat().st_size == 0:
        raise SpeechError(f"{path}: is empty (0 bytes); copy or export it again")
    try:
        _refuse_cut_riff(path)
    except OSError as error:                         # its rights, or a disk that fails
        raise SpeechError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    read, loudest, apart = 0, 0.0, 0.0               # how far the mean of all channels swings, to one side, and each by itself; an offset is no sound
    try:
        with soundfile.SoundFile(path) as f:
            rate, declared = f.samplerate, f.frames
            if rate * SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE) ** 2 > 5e7:         # as many numbers has the filter that resamples: of 44101 Hz 700 million, of 44100 Hz 70,000
                raise SpeechError(f"{path}: has {rate} samples a second, which hardly anything has; convert it to 48000")
            # An MP3 knows its length where its encoder left a tag at its head; for others it is a guess, which may be ten times too long
            known = f.format in ("WAV", "FLAC") or f.format == "MP3" and tagged(path)
            # Not f.blocks(): of a file that ends before it says so that gives a whole block, filled up with what lay in memory (soundfile 0.14)
            while len(block := f.read(int(rate * seconds), dtype="float32", always_2d=True)):
                apart = max(apart, float(np.ptp(block, axis=0).max()) / 2)
                block = block.mean(axis=1)                       # [n]
                sound = np.abs(block) < 1e10                     # false for NaN too. Integers written as floats, up to 2e9, are still sound
                if not sound.all():
                    raise SpeechError(f"{path}: sample {read + int(np.argmin(sound))} is {block[np.argmin(sound)]:g}, which is no sound; export it again")
                read, loudest = read + len(block), max(loudest, float(np.ptp(block)) / 2)
                yield rate, block
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise SpeechError(f"{path}: is no audio file that can be read ({str(error).split(': ')[-1].strip().rstrip('.')}); convert it to WAV") from None
    if read == 0:
        raise SpeechError(f"{path}: holds no sound (0 samples); export it again")
    if known and read < declared < 2 ** 62:
        raise SpeechError(f"{path}: breaks off after {read / rate:.1f} of {declared / rate:.1f} s; copy it again")
    if loudest < 1e-4 <= apart:
        raise SpeechError(f"{path}: its channels cancel each other, as if one were wired the wrong way round; keep one of them")
    if loudest < 1e-4:                               # -80 dB: below the noise of any microphone
        raise SpeechError(f"{path}: is silent from end to end; check the recording")


def not_utf8(path):
    """Does the path hold bytes that are no letters? Python lets them stand for halves of letters, which nobody else can write."""
    return any("\ud800" <= letter <= "\udfff" for letter in str(path))


def tagged(path):
    """Does an MP3 hold the tag in which encoders write its length, "Xing" or "Info"? It is in the first frame, behind names and pictures."""
    with open(path, "rb") as f:
        head = f.read(10)
        if head[:3] == b"ID3":                       # ten bytes, the last four of which are the length of what follows, in sevens of bits
            f.seek(10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:]))))
        else:
            f.seek(0)
        first = f.read(2000)
    return b"Xing" in first or b"Info" in first


def _refuse_cut_riff(path):
    """A WAV says how long its data should be; the decoder reads what is there and keeps quiet about the rest."""
    with open(path, "rb") as f:
        head = f.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        end, second = path.stat().st_size, 0
        while len(chunk := f.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"fmt ":
                second = int.from_bytes(f.read(12)[8:], "little")            # bytes
                f.seek(-12, 1)
            if chunk[:4] == b"data":
                # 0 and 0xFFFFFFFF and so on: a recorder that wrote to a pipe and could not know the length. Less than a tenth of a second
                # too much: one that counted its own header
                if 0 < size < 0x7FFFF000 and f.tell() + size - end > second / 10:
                    raise SpeechError(f"{path}: breaks off, {f.tell() + size - end} of its {size} bytes of sound are missing; copy it again")
                return
            f.seek(size + size % 2, 1)


# ------------------------------------------------------------------------------------------------
# 2. Waveform -> features, one row a motion frame
# ------------------------------------------------------------------------------------------------
def frame_count(samples, fps, rate=SAMPLE_RATE):
    """ceil(seconds * fps): the motion never ends before the speech. (1e-9 forgives the division's rounding.)"""
    return max(1, math.ceil(samples * fps / rate - 1e-9))


def to_motion_frames(features, rate, first_centre, fps, frames):
    """Average features [K, D], `rate` a second, the first centred at `first_centre` seconds, over motion frames -> [frames, D].

    Feature k stands for the time within half a period of its centre; a motion frame takes each in proportion
    to their overlap. (Differences of the running integral: exact for any pair of rates, fps above `rate` too.)
    """
    return torch.cat(list(motion_frames([features], rate, first_centre, fps, frames)))       # [frames, D]


def motion_frames(pieces, rate, first_centre, fps, frames):
    """to_motion_frames for features that come in consecutive `pieces` [K_i, D]: yields [n_i, D], joined [frames, D].

    A motion frame is given out as soon as the last feature that it overlaps is there, so that no more than a piece is held.
    frames: how many, or for speech that has no end yet, a function that is asked for it once the pieces have ended.
    """
    held, first, done = None, 0, 0       # features that are still needed, the number of their first, frames given out

    def edges(until):                    # of the frames from `done` to `until`, in features, [until - done + 1]
        return (torch.arange(done, until + 1, dtype=torch.float64) / fps - first_centre) * rate + 0.5

    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece])           # [held, D]
        most = int(((first + len(held)) / rate + first_centre) * fps) + 1    # no later frame can be ready
        most = most if callable(frames) else min(most, frames)
        ready = done + int(torch.searchsorted(edges(most)[1:], torch.tensor(first + len(held), dtype=torch.float64), right=True))
        if ready > done:
            last = edges(ready)
            yield _overlap_means(held, last - first)             # [ready - done, D]
            # The last one stays: a frame that lies wholly beyond the features takes it.
            used = max(0, min(int(last[-1]) - first, len(held) - 1))
            held, first, done = held[used:], first + used, ready
    frames = frames() if callable(frames) else frames
    if done < frames:
        yield _overlap_means(held, edges(frames) - first)        # [frames - done, D]


def _overlap_means(features, edges):
    """Means of features [K, D] between consecutive edges [n + 1], which count in features -> [n, D]."""
    integral = torch.cat([features.new_zeros(1, features.shape[1], dtype=torch.float64), features.double().cumsum(0)])  # [K + 1, D]
    edges = edges.clamp(0, len(features))
    # A frame that lies wholly beyond the features (the very end of a clip) takes the last one.
    low, high = edges[:-1].clamp(max=len(features) - 1e-3), edges[1:]
    high = torch.maximum(high, low + 1e-3)

    def at(x):                                                   # the integral between whole features is linear
        whole = x.floor().long().clamp(max=len(features) - 1)
        return integral[whole] + (x - whole)[:, None] * features[whole].double()

    return ((at(high) - at(low)) / (high - low)[:, None]).float()            # [n, D]


class SpeechFeatures:
    """Speech as the model hears it: SpeechFeatures(kind, fps=20)(waveform [samples]) -> float32 [frames, dim].

    kind   "mel"    40 log-mel bands: how loud each band of the spectrum is                     (dim 40)
           "mfcc"   20 mel-frequency cepstral coefficients: the shape of those bands            (dim 20)
           "wavlm"  what `layer` of WavLM Base+ says                                            (dim 768, or 13 * 768)
    layer  "last", the 12th, which is the paper's; 0, what enters the first of the 12 blocks; 1 to 12, what leaves one;
           or "sum": all 13 side by side, for a model that learns how much of each it wants (DiffMotionConfig.speech_layers)
    weights   fingerprint of the WavLM weights that a model was trained with: others raise SpeechError

    mel and mfcc first bring the loud parts of the recording to one level, so that a microphone that stands farther
    away gives the same features; WavLM's first layer normalises by itself.
    """
    HOP, WINDOW = 160, 400       # 10 ms, 25 ms: the usual ones in speech recognition
    BANDS, CEPSTRA = 40, 20
    # Band power that is added before the logarithm: 45 dB below that of loud speech in its band, so that
    # the noise of a room does not look like speech.
    FLOOR = 1e-3

    def __init__(self, kind="mel", fps=20, checkpoint=None, layer="last", device="cpu", weights=None):
        if kind not in ("mel", "mfcc", "wavlm"):
            raise SpeechError(f"speech features are mel, mfcc or wavlm, not {kind!r}")
        if str(layer) not in LAYERS:
            raise SpeechError(f"the layer of WavLM is last, sum or 0 to 12, not {layer!r}")
        self.kind, self.fps, self.device = kind, fps, device
        self.layer = "sum" if layer == "sum" else 12 if layer == "last" else int(layer)
        self.layers, self.dim = 1, {"mel": self.BANDS, "mfcc": self.CEPSTRA, "wavlm": 768}[kind]
        if kind == "wavlm":
            self.wavlm = load_wavlm(checkpoint).to(device)
            self.weights = fingerprint(self.wavlm)
            if weights not in (None, self.weights):
                raise SpeechError(f"{checkpoint or 'the downloaded WavLM'}: holds other weights ({self.weights}) than the model was trained with ({weights}); "
                                  "give those with --wavlm-checkpoint, or train anew")
            self.layers = 13 if layer == "sum" else 1
            self.dim = self.layers * self.wavlm.encoder.feature_projection.projection.out_features
        self.mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=512, win_length=self.WINDOW, hop_length=self.HOP,
                                                        n_mels=self.BANDS, f_min=60, f_max=7600, center=False)
        self.dct = torchaudio.functional.create_dct(self.CEPSTRA, self.BANDS, norm="ortho")  # [BANDS, CEPSTRA]

    def settings(self):
        """What __init__ needs to hear the same again (the path of WavLM's weights is the user's affair)."""
        return dict(kind=self.kind, fps=self.fps, layer=self.layer) | (dict(weights=self.weights) if self.kind == "wavlm" else {})

    def __call__(self, waveform):
        """waveform [samples] -> [frames, dim]."""
        return torch.cat(list(self.pieces(waveform)))            # [frames, dim]

    @torch.no_grad()
    def pieces(self, waveform):
        """The same, a piece at a time: yields [n, dim], so that an hour takes no more memory than a minute."""
        frames = frame_count(len(waveform), self.fps)
        if self.kind == "wavlm":
            # WavLM's convolutions see 400 samples (25 ms) every 320: feature k is centred at sample 320 k + 200.
            heard = hear(self.wavlm, waveform, range(13) if self.layer == "sum" else [self.layer])
            yield from motion_frames(heard, SAMPLE_RATE / STRIDE, FIELD / 2 / SAMPLE_RATE, self.fps, frames)
        else:                                                    # feature k centred at k * 10 ms
            level, minute = loud_level(waveform), 60 * SAMPLE_RATE           # flat memory for an hour
            yield from motion_frames(self._log_mel(waveform.split(minute), lambda: level), SAMPLE_RATE / self.HOP, 0.0, self.fps, frames)

    @torch.no_grad()
    def stream(self, blocks, level, samples=None):
        """pieces() for a waveform that comes in `blocks` [n_i] of any lengths: yields [m, dim], each frame as soon as it was heard.

        level     a function that says how loud the loud parts are: loud_level_of the recording, or RunningLevel's guess
        samples   the length of the recording, None where it ends when it ends
        mel and mfcc only: WavLM listens to what comes up to a quarter of a minute later, and its first layer normalises over all of it.
        """
        if self.kind == "wavlm":
            raise SpeechError("WavLM cannot be heard while it is spoken: its first layer needs the level of the whole recording, and its attention looks "
                              f"{PIECE * STRIDE / SAMPLE_RATE + CONTEXT * STRIDE / SAMPLE_RATE:.1f} s ahead; train with --features mel or mfcc")
        heard = 0

        def counted():
            nonlocal heard
            for block in blocks:
                heard += len(block)
                yield block

        frames = (lambda: frame_count(heard, self.fps)) if samples is None else frame_count(samples, self.fps)
        yield from motion_frames(self._log_mel(counted(), level), SAMPLE_RATE / self.HOP, 0.0, self.fps, frames)

    def _log_mel(self, blocks, level):
        """Yields [n, BANDS], or for mfcc [n, CEPSTRA], 100 rows a second, of a waveform in blocks [n_i]. Row k is centred at sample k HOP."""
        half = torch.zeros(self.mel.n_fft // 2)      # before the first sample and behind the last one
        held = half
        for block in itertools.chain(blocks, [half]):
            held = torch.cat([held, block])
            hops = (len(held) - self.mel.n_fft) // self.HOP + 1
            if hops > 0:
                piece = held[:(hops - 1) * self.HOP + self.mel.n_fft] / level() * 0.1
                bands = torch.log(self.mel(piece).T + self.FLOOR)            # [hops, BANDS]
                yield bands @ self.dct if self.kind == "mfcc" else bands
                held = held[hops * self.HOP:]


LOUD = 0.95              # share of the 25 ms stretches that are below the level of the loud parts
RARE, BELOW = 0.995, 12.0        # but that level is at most so many dB below what this share does not reach


def below_the_clicks(n):
    """How many of n stretches are below the few loudest, which may be clicks: RARE of them, but at least 0.1 s are above."""
    return max(1, min(math.ceil(RARE * n), n - 4))


def loud_level(waveform):
    """The level of the loud parts: root mean square of the 25 ms stretch that 95% of the others do not reach.

    Not the overall level, which depends on how long the pauses are; not the peak, which a single click would set. Where somebody speaks for less than a
    twentieth of the time, as on one side of a conversation, 95% are pauses, and what is in them would pass for speech: so the level is at most 12 dB below
    that of the loudest 0.5%. (In speech without such pauses these are 2 to 10 dB louder: there, nothing changes.)
    """
    return loud_level_of([waveform])[0]


def loud_level_of(blocks):
    """(loud_level, number of samples) of a waveform that comes in blocks [n_i]. What it keeps of an hour is 0.6 MB."""
    powers, held, samples = [], torch.zeros(0), 0
    for block in blocks:
        held, samples = torch.cat([held, block]), samples + len(block)
        whole = len(held) // 400 * 400
        powers.append(held[:whole].view(-1, 400).square().mean(dim=1))       # [stretches]
        held = held[whole:]
    power = torch.cat(powers)
    power = power if len(power) else held.square().mean()[None]
    loud, rare = (power.kthvalue(k).values.sqrt() for k in (max(1, math.ceil(LOUD * len(power))), below_the_clicks(len(power))))
    return torch.maximum(loud, rare * 10 ** (-BELOW / 20)).clamp(min=1e-5), samples


class RunningLevel:
    """loud_level of what has been heard so far, for speech that is still being spoken.

    The first sounds may be a breath: so it starts as if 5 s had been heard at -20 dB, where recordings of speech usually are, and
    what is really heard takes over in proportion, in dB. A microphone may be on long before somebody speaks: what is more than 30 dB
    below the usual is taken for a room's silence and no speech. It counts stretches by their level, a tenth of a dB a bin, and so
    takes no more memory after a day than at once. As a function it says the level.
    """
    USUAL, TRUST, SILENT = -20.0, 200, -50.0         # dB below full scale; stretches of 25 ms; dB below full scale

    def __init__(self):
        self.counts, self.held = torch.zeros(1001), torch.zeros(0)           # bin n: n / 10 dB below full scale

    def hear(self, blocks):
        """Hands blocks [n_i] on, after it has listened to them."""
        for block in blocks:
            held = torch.cat([self.held, block])
            whole = len(held) // 400 * 400
            decibels = 10 * torch.log10(held[:whole].view(-1, 400).square().mean(dim=1).clamp(min=1e-10))    # [stretches]
            self.counts += torch.bincount((-10 * decibels).round().long().clamp(0, 1000), minlength=1001)
            self.held = held[whole:]
            yield block

    def __call__(self):
        """The level, root mean square."""
        heard = int(self.counts.sum())
        if heard:
            above = torch.tensor([heard * (1 - LOUD), heard - below_the_clicks(heard)])      # [2], stretches
            loud, rare = (-0.1 * torch.searchsorted(self.counts.cumsum(0), above, right=True).clamp(max=1000)).tolist()
            loud = max(loud, rare - BELOW, self.SILENT)
        else:
            loud = self.USUAL
        return 10 ** ((self.TRUST * self.USUAL + heard * loud) / (self.TRUST + heard) / 20)


# ------------------------------------------------------------------------------------------------
# 3. WavLM Base+: the weights
# ------------------------------------------------------------------------------------------------
# The same network has three sets of names. Microsoft's become Hugging Face's, and these become torchaudio's: what is
# found is rewritten, in this order, wherever it stands in a name.
MICROSOFT_TO_HUGGING_FACE = (
    (r"^feature_extractor\.conv_layers\.(\d)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.0\.2\.", r"feature_extractor.conv_layers.0.layer_norm."),
    (r"^post_extract_proj\.", r"feature_projection.projection."),
    (r"^layer_norm\.", r"feature_projection.layer_norm."),
    (r"^encoder\.pos_conv\.0\.", r"encoder.pos_conv_embed.conv."),
    (r"\.self_attn_layer_norm\.", r".layer_norm."),
    (r"\.self_attn\.grep_a$", r".attention.gru_rel_pos_const"),
    (r"\.self_attn\.grep_linear\.", r".attention.gru_rel_pos_linear."),
    (r"\.self_attn\.relative_attention_bias\.", r".attention.rel_attn_embed."),
    (r"\.self_attn\.", r".attention."),
    (r"\.fc1\.", r".feed_forward.intermediate_dense."),
    (r"\.fc2\.", r".feed_forward.output_dense."),
)
HUGGING_FACE_TO_TORCHAUDIO = (
    (r"^feature_projection\.", r"encoder.feature_projection."),
    (r"^encoder\.(pos_conv_embed|layer_norm|layers)\.", r"encoder.transformer.\1."),
    (r"\.attention\.(out_proj|[qkv]_proj)\.", r".attention.attention.\1."),
)
# Used in pre-training only: what stood for a masked frame, and the heads that guessed it.
PRETRAINING_ONLY = r"^(mask_emb|masked_spec_embed|final_proj\.|label_embs_concat)"


def load_wavlm(checkpoint=None):
    """WavLM Base+ (12 blocks, 768 wide, 50 features a second), in eval mode: a torchaudio Wav2Vec2Model.

    checkpoint   None: torchaudio's own copy, downloaded once (360 MB) into torch's cache. Otherwise the path of torchaudio's
                 wavlm_base_plus.pth, Microsoft's WavLM-Base+.pt, or Hugging Face's pytorch_model.bin of microsoft/wavlm-base-plus

    Raises SpeechError for any other file. Only tensors and plain values are loaded: a file that holds code is refused.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / "wavlm_base_plus.pth"
    ways = ("give --wavlm-checkpoint FILE with WavLM Base+ from torchaudio (wavlm_base_plus.pth), Microsoft (WavLM-Base+.pt) or Hugging Face "
            f"(pytorch_model.bin of microsoft/wavlm-base-plus), or run once with network access to download it (360 MB to {cached}), "
            "or train with --features mfcc or mel, which need no download")
    if checkpoint is None and not cached.is_file():
        try:
            return torchaudio.pipelines.WAVLM_BASE_PLUS.get_model(dl_kwargs={"progress": True, "weights_only": True}).eval()
        except (OSError, http.client.HTTPException) as error:    # no network, a proxy's refusal, a line that breaks off
            raise SpeechError(f"WavLM Base+'s weights are not on this machine and cannot be downloaded ({error}): {ways}") from None
        except Exception as error:                               # torch raises half a dozen kinds for a file that is cut off
            raise SpeechError(f"{cached}: came damaged ({type(error).__name__}); delete it and run again, or {ways}") from None
    path = Path(checkpoint or cached)
    if not path.is_file():
        raise SpeechError(f"{path}: {'no such file' if not path.exists() else 'is a folder'}; {ways}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:
        what = "would run code when loaded, which is refused" if "unsupported global" in str(error).lower() else "is cut off, damaged or no file of weights"
        raise SpeechError(f"{path}: {what}; {'delete it and run again' if checkpoint is None else ways}") from None
    state = torchaudio_names(loaded)
    model = torchaudio.models.wavlm_base()           # Base and Base+ are one architecture
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in state.items()}
    if path.name.lower() in ("wavlm-base.pt", "wavlm_base.pth"):
        raise SpeechError(f"{path}: is WavLM Base by its name, which has the same shape as WavLM Base+ but learnt from a hundredth of the speech; {ways}")
    if found != wanted:
        raise SpeechError(f"{path}: holds {describe(loaded, found, wanted)}, but WavLM Base+ is needed; {ways}")
    model.load_state_dict(state)
    return model.eval()


def torchaudio_names(loaded):
    """What torch.load gave, in any of the three forms -> {torchaudio's name: float32 tensor}. Unknown names stay as they are."""
    if not isinstance(loaded, dict):
        return {}
    state = loaded["model"] if "cfg" in loaded and isinstance(loaded.get("model"), dict) else loaded     # Microsoft's
    state = {name: weight for name, weight in state.items() if isinstance(name, str) and isinstance(weight, torch.Tensor)}
    if any(".self_attn." in name for name in state):
        state = renamed(state, MICROSOFT_TO_HUGGING_FACE)
    if not any(name.startswith("encoder.transformer.") for name in state):
        state = renamed(state, HUGGING_FACE_TO_TORCHAUDIO)
        state = {name: weight for name, weight in state.items() if not re.match(PRETRAINING_ONLY, name)}
    # The position convolution's weight is kept as a length and a direction, whose names changed with torch 2.0.
    state = renamed(state, ((r"\.weight_g$", ".parametrizations.weight.original0"), (r"\.weight_v$", ".parametrizations.weight.original1")))
    # torchaudio keeps the three projections of an attention in one matrix.
    for query in [name for name in state if ".q_proj." in name]:
        parts = [state.pop(query.replace(".q_proj.", f".{letter}_proj."), None) for letter in "qkv"]
        if all(part is not None for part in parts):
            state[query.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)  # [3 * 768, 768] or [3 * 768]
    return {name: weight.float() for name, weight in state.items()}


def renamed(state, rules):
    """`state` with each (pattern, replacement) applied to its names."""
    for pattern, replacement in rules:
        state = {re.sub(pattern, replacement, name): weight for name, weight in state.items()}
    return state


def describe(loaded, found, wanted):
    """What a file of other weights holds, in a few words. found, wanted: {name: shape} in torchaudio's names."""
    blocks = {int(n) for name in found for n in re.findall(r"\blayers\.(\d+)\.", name)}
    if not found:
        return f"no weights by name ({type(loaded).__name__})"
    if not blocks:
        return f"something else ({len(found)} tensors, the first is {next(iter(found))})"
    if any(name.startswith(("wavlm.", "w2v_model.")) for name in found):
        return "a WavLM that was tuned for another task"
    width = next((shape[-1] for name, shape in found.items() if name.endswith(".final_layer_norm.weight")), "?")
    kind = "WavLM" if any("gru_rel_pos" in name for name in found) else "HuBERT, wav2vec 2.0 or the like (no gated positions)"
    differ = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return f"{kind} with {len(blocks)} blocks, {width} wide ({len(differ)} tensors differ, the first is {differ[0]})"


def fingerprint(model):
    """16 hexadecimal digits that tell one set of weights from another, whatever file they came from."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


# ------------------------------------------------------------------------------------------------
# 4. WavLM Base+: from a waveform to its hidden states, for any length
# ------------------------------------------------------------------------------------------------
STRIDE, FIELD = 320, 400     # samples from one feature to the next, and samples that the convolutions see for one

# How far pieces are from the whole, on 28 s of real speech: root mean square of the difference over the deviation of the
# whole, layer 12, with random weights (python hear.py FILE --random --pieces):
#     context   pieces of 5 s   10 s   20 s
#       0           0.50        0.32   0.25
#       0.5 s       0.44        0.29   0.24
#       1.3 s       0.38        0.28   0.23
#       2.0 s       0.36        0.28   0.24
#       5.0 s       0.26        0.24
# In layer 0 it is 2e-7 from 1.28 s (64 features) on, the reach of the position convolution; each piece with a normalisation
# of its own would be 0.16 off. What stays in the later layers shrinks with the length of the whole window more than with
# the context, because random attention looks everywhere alike: the worst case. We take the 64, and a window of 15 s: WavLM
# follows HuBERT, which was trained on at most 15.6 s at once (fairseq, hubert_base_librispeech.yaml). It is also the cheapest, since
# shorter pieces do more of their work twice and attention over longer ones grows with the square: seconds of two cores for a
# minute of speech, pieces of 6, 10, 12.5, 15 and 20 s: 7.5, 6.9, 6.9, 7.0, 7.4, and 5.9 for a clip of 10 s by itself.
PIECE, CONTEXT = 625, 64     # features: 12.5 s, and 1.28 s on both sides


@torch.no_grad()
def hear(wavlm, waveform, layers, piece=PIECE, context=CONTEXT):
    """Hidden states of WavLM for a waveform [samples]: yields consecutive pieces [n, len(layers) * width], 50 rows a second.

    layers   numbers from 0, what enters the first block, to 12, what leaves the last

    Up to piece + 2 context features the recording goes through whole. A longer one goes through in pieces with `context`
    features on both sides, which are thrown away. Three of the network's parts mix times, and this is what a piece changes:
    the first layer's normalisation runs over the whole recording, so it is worked out for the whole, see `normaliser`;
    the convolutions see 25 ms, and the position convolution 64 features on each side, less than `context`, so they give
    the same; only attention misses what lies outside the piece.

    One recording at a time: torchaudio's WavLM cannot mask the padding that a batch of different lengths needs
    (it stops at an assertion, pytorch/audio issue 3700), and unmasked padding changes the first layer's normalisation.
    """
    device = next(wavlm.parameters()).device
    waveform = torch.nn.functional.pad(waveform, (0, max(0, FIELD - len(waveform))))
    scale, shift = (z.to(device) for z in normaliser(wavlm.feature_extractor.conv_layers[0], waveform))
    features = (len(waveform) - FIELD) // STRIDE + 1
    piece = piece if features > piece + 2 * context else features
    # How much a row cares for one so far away, before its gate: the same for all pieces, and a twentieth of the work.
    rows = min(features, piece + 2 * context)
    bias = wavlm.encoder.transformer.layers[0].attention.compute_bias(rows, rows)[None].contiguous()         # [1, 12, rows, rows]
    held, first = None, 0                            # convolved features that are still needed, and the number of their first
    for start in tqdm(range(0, features, piece), desc="WavLM", unit="piece", leave=False, disable=features <= 4 * piece):
        stop = min(start + piece, features)
        low, high = max(0, start - context), min(features, stop + context)
        done = 0 if held is None else first + len(held)
        for begin in range(done, high, 250):         # 5 s at a time: the first layers hold 512 numbers for every five samples
            end = min(begin + 250, high)
            new = convolve(wavlm, waveform[STRIDE * begin:STRIDE * (end - 1) + FIELD].to(device), scale, shift)  # [end - begin, 512]
            held = new if held is None else torch.cat([held, new])
        held, first = held[low - first:], low        # [high - low, 512]
        yield transform(wavlm, held, layers, bias)[start - low:stop - low].float().cpu()           # [stop - start, layers * width]


def normaliser(layer, waveform):
    """WavLM's first layer normalises each of its 512 channels over the whole recording -> scale, shift [512, 1] that do it.

        y = (w p - mean) / sqrt(variance + eps) * weight + bias = scale w p + shift

    A channel is a weighted sum w p of ten samples p, so mean and variance need no pass through the layer: they are
    w E[p] and w Cov[p] w. In float64: sums over an hour, and a difference of two of them.
    """
    windows = waveform.unfold(0, layer.conv.kernel_size[0], layer.conv.stride[0])            # [T, 10], a view
    total, squares = torch.zeros(windows.shape[1], dtype=torch.float64), torch.zeros([windows.shape[1]] * 2, dtype=torch.float64)
    for part in windows.split(2 ** 16):
        part = part.double()
        total, squares = total + part.sum(dim=0), squares + part.T @ part
    mean = total / len(windows)                                  # [10]
    covariance = squares / len(windows) - mean[:, None] * mean   # [10, 10]
    w = layer.conv.weight[:, 0].double().cpu()                   # [512, 10]
    variance = ((w @ covariance) * w).sum(dim=1).clamp(min=0)    # [512]
    scale = layer.layer_norm.weight.double().cpu() / (variance + layer.layer_norm.eps).sqrt()
    shift = layer.layer_norm.bias.double().cpu() - scale * (w @ mean)
    return scale.float()[:, None], shift.float()[:, None]        # [512, 1] each


# On a GPU, convolutions in float32 round their inputs to 10 bits unless told not to: 1e-3 instead of 1e-6.
full_precision = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


@full_precision
def convolve(wavlm, waveform, scale, shift):
    """The seven convolutions. waveform [samples] -> [K, 512], K = (samples - 400) // 320 + 1."""
    layers = wavlm.feature_extractor.conv_layers
    x = torch.nn.functional.gelu(layers[0].conv(waveform[None, None]) * scale + shift)       # [1, 512, samples / 5]
    for layer in layers[1:]:
        x, _ = layer(x, None)                                    # [1, 512, half as many]
    return x[0].T                                                # [K, 512]


@full_precision
def transform(wavlm, convolved, layers, bias):
    """The transformer. convolved [K, 512] -> hidden states of the wanted layers side by side [K, len(layers) * width].

    bias [1, heads, >= K, >= K] is what the first block's compute_bias gives: torchaudio hands it on from block to block.

    torchaudio's extract_features gives what leaves the blocks, 1 to 12, at its indices 0 to 11; ours count as
    transformers' hidden_states do, where 0 is what enters the first block.
    """
    transformer = wavlm.encoder.transformer
    x = wavlm.encoder.feature_projection(convolved[None])        # [1, K, width]
    x = transformer.layer_norm(x + transformer.pos_conv_embed(x))
    bias = bias[:, :, :len(convolved), :len(convolved)]          # [1, heads, K, K]
    states = [x]
    for block in transformer.layers[:max(layers)]:
        x, _ = block(x, position_bias=bias)
        states.append(x)
    return torch.cat([states[n][0] for n in layers], dim=1)      # [K, len(layers) * width]
