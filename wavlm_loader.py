"""Speech -> one row of features for each motion frame.

    load_wavlm()                WavLM Base+, through torchaudio's pipelines
    wavlm_states(...)           waveform -> its hidden states, 50 rows a second
    Spectrum                    waveform -> MFCC or mel, 100 rows a second: the paper's comparison
    to_motion_frames(...)       50 or 100 rows a second -> one row a motion frame
    SpeechFeatures(kind, fps)   all of it: waveform [samples] -> [frames, dim]

A waveform is 16 kHz mono float32; recordings.audio.load_audio reads any file as one. Motion frame
n is the time from n / fps to (n + 1) / fps seconds. frames = ceil(seconds * fps).
"""

import torch
import torchaudio

from recordings.audio import SAMPLE_RATE, SpeechError
from recordings.blocks import features_in_blocks
from recordings.frames import frame_count, motion_frames, overlap_means
from recordings.level import loud_level
from recordings.wavlm_long import FIELD, STRIDE, full_precision, hidden_states
from recordings.wavlm_weights import download_errors, fingerprint, read_weights

LAYERS = ("last", "sum", *map(str, range(13)))  # what SpeechFeatures takes as `layer` of WavLM


# ------------------------------------------------------------------------------------------------
# 1. WavLM Base+
# ------------------------------------------------------------------------------------------------
def load_wavlm(checkpoint=None):
    """WavLM Base+ in eval mode, a torchaudio Wav2Vec2Model: 12 blocks, 768 wide.

        wavlm = load_wavlm()
        states, _ = wavlm.extract_features(waveform[None])  # 12 of [1, K, 768], 50 rows a second
        speech = states[-1][0]                              # [K, 768], the paper's features

    checkpoint   None: torchaudio's copy, downloaded once (360 MB). Otherwise a file of the weights
                 from torchaudio, Microsoft or Hugging Face

    Raises SpeechError for any other file, and if the weights cannot be downloaded.
    """
    if checkpoint is None:
        with download_errors():
            return torchaudio.pipelines.WAVLM_BASE_PLUS.get_model(dl_kwargs={"weights_only": True})
    return read_weights(checkpoint)


# ------------------------------------------------------------------------------------------------
# 2. Waveform -> WavLM's hidden states, 50 rows a second
# ------------------------------------------------------------------------------------------------
# Seven convolutions turn samples into rows: one row every 320 samples, each from 400 samples
# (25 ms). So row k is centred at sample 320 k + 200. Twelve transformer blocks follow.
WAVLM_RATE = SAMPLE_RATE / STRIDE  # 50 rows a second
WAVLM_FIRST = FIELD / 2 / SAMPLE_RATE  # 0.0125 s: the centre of row 0
AT_ONCE = 15 * SAMPLE_RATE  # longest waveform in one pass. WavLM was trained on up to 15.6 s


@torch.no_grad()
@full_precision
def wavlm_states(wavlm, waveform, layers):
    """Waveform [samples], up to 15 s -> hidden states side by side [K, len(layers) * 768].

    Layer n, from 1 to 12, is what leaves block n. Layer 0 is what enters the first block:
    extract_features does not return it, recordings.wavlm_long does, computed in the same way.
    """
    if 0 in layers:
        return torch.cat(list(hidden_states(wavlm, waveform, layers)))
    waveform = torch.nn.functional.pad(waveform, (0, max(0, FIELD - len(waveform))))
    waveform = waveform.to(next(wavlm.parameters()).device)
    states, _ = wavlm.extract_features(waveform[None], num_layers=max(layers))  # [1, K, 768] each
    return torch.cat([states[n - 1][0] for n in layers], dim=1).cpu()  # [K, len(layers) * 768]


# ------------------------------------------------------------------------------------------------
# 3. Waveform -> mel or MFCC, 100 rows a second: what the paper compares WavLM with
# ------------------------------------------------------------------------------------------------
class Spectrum:
    """40 log-mel bands, how loud each band of the spectrum is; or 20 MFCC, their coarse shape.

        power = |STFT|^2               25 ms windows every 10 ms, 257 frequencies
        mel   = log(power M + floor)   M [257, 40] sums the power of each band
        mfcc  = mel D                  D [40, 20], the first columns of an orthonormal cosine
                                       transform: mel-frequency cepstral coefficients
    Row k is centred at k * 10 ms. Loud speech is first brought to a root mean square of 0.1, so
    that a microphone farther away gives the same features. (WavLM normalises by itself.)
    """

    RATE = 100  # rows a second
    HOP, WINDOW, SIZE = 160, 400, 512  # samples: 10 ms, 25 ms, and of the Fourier transform
    BANDS, CEPSTRA = 40, 20
    FLOOR = 1e-3  # 45 dB below loud speech in a band: quiet noise of a room changes nothing

    def __init__(self, mfcc):
        self.mfcc, self.dim = mfcc, self.CEPSTRA if mfcc else self.BANDS
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE,
            n_fft=self.SIZE,
            win_length=self.WINDOW,
            hop_length=self.HOP,
            n_mels=self.BANDS,
            f_min=60,
            f_max=7600,
            center=False,
        )
        self.dct = torchaudio.functional.create_dct(self.CEPSTRA, self.BANDS, norm="ortho")

    def __call__(self, waveform, level):
        """Waveform [samples], level of its loud parts -> [samples // 160 + 1, dim]."""
        return self.rows(torch.nn.functional.pad(waveform, (self.SIZE // 2, self.SIZE // 2)), level)

    def rows(self, samples, level):
        """The same without zeros at both ends: one row for each whole window of `samples`."""
        summed = self.mel(samples / level * 0.1)  # [40, K]
        bands = torch.log(summed.T + self.FLOOR)  # [K, 40]
        return bands @ self.dct if self.mfcc else bands  # [K, dim]


# ------------------------------------------------------------------------------------------------
# 4. Rows at their own rate -> one row for each motion frame
# ------------------------------------------------------------------------------------------------
def to_motion_frames(features, rate, first_centre, fps, frames):
    """Average features [K, D] over motion frames -> [frames, D].

    Row k is centred at first_centre + k / rate seconds. We measure time in rows: row k fills the
    interval from k to k + 1. Motion frame n begins at n / fps seconds; in rows this is

        edge_n = (n / fps - first_centre) * rate + 1/2

    where 1/2 is there because the centre of row k is at k + 1/2. Frame n gets the mean of the rows
    from edge_n to edge_{n + 1}; rows at both ends count by their overlap. At 20 frames a second
    that is 2.5 of WavLM's rows. recordings/frames.py does it, and moves edges that lie outside all
    rows to the nearest one.
    """
    n = torch.arange(frames + 1, dtype=torch.float64)
    return overlap_means(features, (n / fps - first_centre) * rate + 0.5)  # [frames, D]


# ------------------------------------------------------------------------------------------------
# 5. All of it
# ------------------------------------------------------------------------------------------------
class SpeechFeatures:
    """SpeechFeatures(kind, fps=20)(waveform [samples]) -> float32 [frames, dim].

    kind         "wavlm", the paper's (dim 768, or 13 * 768); "mel" (40); "mfcc" (20)
    fps          motion frames a second
    checkpoint   of WavLM, for load_wavlm
    layer        of WavLM: "last", the 12th, the paper's; 0, what enters the first block; 1 to 12,
                 what leaves one; "sum": all 13 side by side, for a model that learns their weights
    device       where WavLM runs
    weights      fingerprint of the WavLM used in training; SpeechError if the loaded one differs
    """

    def __init__(
        self, kind="mel", fps=20, checkpoint=None, layer="last", device="cpu", weights=None
    ):
        if kind not in ("mel", "mfcc", "wavlm"):
            raise SpeechError(f"speech features are mel, mfcc or wavlm, not {kind!r}")
        if str(layer) not in LAYERS:
            raise SpeechError(f"the layer of WavLM is last, sum or 0 to 12, not {layer!r}")
        self.kind, self.fps, self.device = kind, fps, device
        self.layer = layer if layer == "sum" else 12 if layer == "last" else int(layer)
        self.layers = 1  # how many are side by side in a row
        if kind == "wavlm":
            self.wavlm = load_wavlm(checkpoint).to(device)
            self.weights = fingerprint(self.wavlm)
            if weights not in (None, self.weights):
                raise SpeechError(
                    f"{checkpoint or 'the downloaded WavLM'}: holds other weights ({self.weights}) "
                    f"than the model was trained with ({weights}); give those with "
                    "--wavlm-checkpoint, or train anew"
                )
            self.wanted = range(13) if layer == "sum" else [self.layer]
            self.layers = len(self.wanted)
            self.dim = self.layers * self.wavlm.encoder.feature_projection.projection.out_features
        else:
            self.spectrum = Spectrum(mfcc=kind == "mfcc")
            self.dim = self.spectrum.dim

    @torch.no_grad()
    def __call__(self, waveform):
        """Waveform [samples] -> [frames, dim]."""
        if len(waveform) > AT_ONCE:
            return torch.cat(list(self.pieces(waveform)))
        frames = frame_count(len(waveform), self.fps)
        if self.kind == "wavlm":
            states = wavlm_states(self.wavlm, waveform, self.wanted)  # [K, dim]
            return to_motion_frames(states, WAVLM_RATE, WAVLM_FIRST, self.fps, frames)
        rows = self.spectrum(waveform, loud_level(waveform))  # [K, dim]
        return to_motion_frames(rows, self.spectrum.RATE, 0.0, self.fps, frames)

    @torch.no_grad()
    def pieces(self, waveform):
        """The same for a long recording, part by part: yields [n, dim], joined [frames, dim].

        An hour of WavLM's 13 layers would not fit into memory.
        """
        if len(waveform) <= AT_ONCE:
            yield self(waveform)
        elif self.kind == "wavlm":
            states = hidden_states(self.wavlm, waveform, self.wanted)
            frames = frame_count(len(waveform), self.fps)
            yield from motion_frames(states, WAVLM_RATE, WAVLM_FIRST, self.fps, frames)
        else:
            level, minutes = loud_level(waveform), waveform.split(60 * SAMPLE_RATE)
            yield from features_in_blocks(self, minutes, lambda: level, len(waveform))

    def settings(self):
        """What __init__ needs to compute the same again, but for the path of WavLM's weights."""
        weights = dict(weights=self.weights) if self.kind == "wavlm" else {}
        return dict(kind=self.kind, fps=self.fps, layer=self.layer) | weights
