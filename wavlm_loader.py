"""Speech: file -> waveform -> features at the motion frame rate.

    load_audio(path)               any file that soundfile reads -> 16 kHz mono float32 [samples]
    SpeechFeatures(kind, fps)      waveform -> [frames, dim], one row for each motion frame, frames = ceil(seconds * fps)
    load_wavlm(checkpoint)         the pre-trained network behind kind="wavlm"

Time: row n speaks for n / fps to (n + 1) / fps and is centred there, whatever the kind. Each kind first gives
features at its own rate, each valid around its own centre; `to_motion_frames` averages them over the motion frames.
"""
import math
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

SAMPLE_RATE = 16_000     # what WavLM was trained on; enough for every formant of speech


class SpeechError(ValueError):
    """A speech file or a speech model cannot be used. The message names the file and says what to do."""


# ------------------------------------------------------------------------------------------------
# 1. File -> waveform
# ------------------------------------------------------------------------------------------------
def load_audio(path):
    """Any speech file -> float32 tensor [samples], 16 kHz mono. Raises SpeechError for what cannot be spoken to.

    The content decides the format, not the ending: an MP3 that is called .wav is read as an MP3.
    """
    path = Path(path)
    if not path.is_file():
        raise SpeechError(f"{path}: no such file; check the name" if not path.exists() else f"{path}: is not a file but a folder or device")
    if path.stat().st_size == 0:
        raise SpeechError(f"{path}: is empty (0 bytes); copy or export it again")
    _refuse_cut_riff(path)
    try:
        with soundfile.SoundFile(path) as f:
            rate, declared = f.samplerate, f.frames
            # Mixed down while reading, a piece at a time: an hour of stereo at 48 kHz would take 1.4 GB otherwise.
            pieces = [block.mean(axis=1) for block in f.blocks(2 ** 20, dtype="float32", always_2d=True)]
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise SpeechError(f"{path}: is no audio file that can be read ({str(error).split(': ')[-1].strip().rstrip('.')}); convert it to WAV") from None
    waveform = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if len(waveform) == 0:
        raise SpeechError(f"{path}: holds no sound (0 samples); export it again")
    if path.suffix.lower() in (".flac", ".wav") and 0 < len(waveform) < declared < 2 ** 62:
        raise SpeechError(f"{path}: breaks off after {len(waveform) / rate:.1f} of {declared / rate:.1f} s; copy it again")
    if not np.isfinite(waveform).all():
        raise SpeechError(f"{path}: sample {int(np.argmin(np.isfinite(waveform)))} is NaN or infinite; export it again")
    if np.abs(waveform).max() < 1e-4:                # -80 dB: below the noise of any microphone
        raise SpeechError(f"{path}: is silent from end to end; check the recording")
    waveform = torch.from_numpy(waveform)
    if rate != SAMPLE_RATE:
        waveform = torchaudio.functional.resample(waveform, rate, SAMPLE_RATE)
    return waveform                                              # [samples]


def _refuse_cut_riff(path):
    """A WAV says how long its data should be; the decoder reads what is there and keeps quiet about the rest."""
    with open(path, "rb") as f:
        head = f.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        end = path.stat().st_size
        while len(chunk := f.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                # 0 and 0xFFFFFFFF and so on: a recorder that wrote to a pipe and could not know the length
                if 0 < size < 0x7FFFF000 and f.tell() + size > end:
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
    integral = torch.cat([features.new_zeros(1, features.shape[1], dtype=torch.float64), features.double().cumsum(0)])  # [K + 1, D]
    edges = (torch.arange(frames + 1, dtype=torch.float64) / fps - first_centre) * rate + 0.5    # in features, [frames + 1]
    edges = edges.clamp(0, len(features))
    # A frame that lies wholly beyond the features (the very end of a clip) takes the last one.
    low, high = edges[:-1].clamp(max=len(features) - 1e-3), edges[1:]
    high = torch.maximum(high, low + 1e-3)

    def at(x):                                                   # the integral between whole features is linear
        whole = x.floor().long().clamp(max=len(features) - 1)
        return integral[whole] + (x - whole)[:, None] * features.double()[whole]

    return ((at(high) - at(low)) / (high - low)[:, None]).float()            # [frames, D]


class SpeechFeatures:
    """Speech as the model hears it: SpeechFeatures(kind, fps=20)(waveform [samples]) -> float32 [frames, dim].

    kind   "mel"    40 log-mel bands: how loud each band of the spectrum is                     (dim 40)
           "mfcc"   20 mel-frequency cepstral coefficients: the shape of those bands            (dim 20)
           "wavlm"  a layer of WavLM Base+; the 12th, the last, is the paper's                  (dim 768)

    mel and mfcc first bring the loud parts of the recording to one level, so that a microphone that stands farther
    away gives the same features; WavLM's first layer normalises by itself.
    """
    HOP, WINDOW = 160, 400       # 10 ms, 25 ms: the usual ones in speech recognition
    BANDS, CEPSTRA = 40, 20
    # Band power that is added before the logarithm: 45 dB below that of loud speech in its band, so that
    # the noise of a room does not look like speech.
    FLOOR = 1e-3

    def __init__(self, kind="mel", fps=20, checkpoint=None, layer=12, device="cpu"):
        if kind not in ("mel", "mfcc", "wavlm"):
            raise SpeechError(f"speech features are mel, mfcc or wavlm, not {kind!r}")
        self.kind, self.fps, self.layer, self.device = kind, fps, layer, device
        self.dim = {"mel": self.BANDS, "mfcc": self.CEPSTRA, "wavlm": 768}[kind]
        if kind == "wavlm":
            self.wavlm = load_wavlm(checkpoint).to(device)
        self.mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=512, win_length=self.WINDOW, hop_length=self.HOP,
                                                        n_mels=self.BANDS, f_min=60, f_max=7600, center=False)
        self.dct = torchaudio.functional.create_dct(self.CEPSTRA, self.BANDS, norm="ortho")  # [BANDS, CEPSTRA]

    def settings(self):
        """What __init__ needs to hear the same again (the path of WavLM's weights is the user's affair)."""
        return dict(kind=self.kind, fps=self.fps, layer=self.layer)

    @torch.no_grad()
    def __call__(self, waveform):
        """waveform [samples] -> [frames, dim]."""
        frames = frame_count(len(waveform), self.fps)
        if self.kind == "wavlm":
            # WavLM's convolutions see 400 samples (25 ms) every 320: feature k is centred at sample 320 k + 200.
            padded = torch.nn.functional.pad(waveform, (0, max(0, 400 - len(waveform))))
            layers, _ = self.wavlm.extract_features(padded[None].to(self.device), num_layers=self.layer)
            return to_motion_frames(layers[-1][0].float().cpu(), 50, 200 / SAMPLE_RATE, self.fps, frames)
        features = self._log_mel(waveform)                       # [K, BANDS], feature k centred at k * 10 ms
        if self.kind == "mfcc":
            features = features @ self.dct                       # [K, CEPSTRA]
        return to_motion_frames(features, SAMPLE_RATE / self.HOP, 0.0, self.fps, frames)

    def _log_mel(self, waveform):
        waveform = waveform / loud_level(waveform) * 0.1
        half, hops = self.mel.n_fft // 2, len(waveform) // self.HOP + 1
        padded = torch.nn.functional.pad(waveform, (half, half + self.HOP))
        pieces = []
        for first in range(0, hops, 6000):                       # a minute at a time: flat memory for an hour
            last = min(first + 6000, hops)
            piece = padded[first * self.HOP:(last - 1) * self.HOP + self.mel.n_fft]
            pieces.append(self.mel(piece).T)                     # [hops in the piece, BANDS]
        return torch.log(torch.cat(pieces) + self.FLOOR)         # [K, BANDS]


def loud_level(waveform):
    """The level of the loud parts: root mean square of the 25 ms stretch that 95% of the others do not reach.

    Not the overall level, which depends on how long the pauses are; not the peak, which a single click would set.
    """
    whole = len(waveform) // 400 * 400
    if whole == 0:
        return waveform.square().mean().sqrt().clamp(min=1e-5)
    power = waveform[:whole].view(-1, 400).square().mean(dim=1)  # [stretches]
    return power.kthvalue(max(1, math.ceil(0.95 * len(power)))).values.sqrt().clamp(min=1e-5)


# ------------------------------------------------------------------------------------------------
# 3. WavLM Base+
# ------------------------------------------------------------------------------------------------
def load_wavlm(checkpoint=None):
    """WavLM Base+ (12 layers, 768 wide, 50 features a second), in eval mode.

    checkpoint None: torchaudio's own copy, downloaded once (360 MB) into torch's cache. Otherwise the path of a
    `wavlm_base_plus.pth` of torchaudio's. Only tensors are loaded: a file that holds code is refused.
    """
    ways = ("give --wavlm-checkpoint FILE with torchaudio's wavlm_base_plus.pth, run once with network access to download it "
            "(360 MB), or use --features mel or mfcc, which need no download")
    if checkpoint is None:
        try:
            return torchaudio.pipelines.WAVLM_BASE_PLUS.get_model(dl_kwargs={"progress": True}).eval()
        except (OSError, RuntimeError) as error:     # no network, a proxy's refusal, a download whose hash is wrong
            raise SpeechError(f"WavLM Base+'s weights are not on this machine and cannot be downloaded ({error}): {ways}") from None
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SpeechError(f"{checkpoint}: no such file: {ways}") from None
    except Exception as error:                       # torch raises half a dozen kinds for a file that is not its own
        raise SpeechError(f"{checkpoint}: not a file of weights that can be loaded safely ({type(error).__name__}): {ways}") from None
    model = torchaudio.models.wavlm_base()
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError):
        raise SpeechError(f"{checkpoint}: does not hold torchaudio's WavLM Base+: {ways}") from None
    return model.eval()
