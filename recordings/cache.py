"""Speech features, kept on disk: WavLM's, which take minutes to compute for an hour of speech."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from recordings.audio import SpeechError
from recordings.frames import frame_count
from recordings.pairs import CorpusError
from recordings.wavlm_long import CONTEXT, PIECE
from tools import written_beside

CACHE = "cache"  # the folder, in the working directory


def cached_features(features, waveform, folder=None):
    """features(waveform) [frames, dim]; with a `folder`, WavLM's come from there if they can.

    features   SpeechFeatures
    folder     None: computed, float32. A path: WavLM's features are computed once, kept there as
               float16 and mapped from disk; mel and mfcc, which take seconds, are not kept

    An entry is one .npy file. Its name is made of the sound's content and all settings that
    matter, WavLM's weights among them: a recording may be renamed, and an edited one is computed
    anew. float16 keeps 11 bits, more than the standardised features need.

    Raises CorpusError for a damaged entry.
    """
    if folder is None or features.kind != "wavlm":
        return features(waveform)
    frames = frame_count(len(waveform), features.fps)
    path = _entry(folder, features, waveform, features.layer)
    all_layers = _entry(folder, features, waveform, "sum")
    if not path.exists() and all_layers.exists():  # an entry of all layers holds this one
        width = features.dim // features.layers
        first = features.layer * width
        return _mapped(all_layers, (frames, 13 * width))[:, first : first + width]
    shape = (frames, features.dim)
    if not path.exists():
        _write(path, features.pieces(waveform), shape)
    return _mapped(path, shape)


def _entry(folder, features, waveform, layer):
    """The path of an entry. Old entries stay valid only while this gives the same names."""
    sound = hashlib.sha256(waveform.numpy().tobytes()).hexdigest()[:20]
    settings = features.settings() | dict(layer=layer, pieces=(PIECE, CONTEXT))
    settings = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:12]
    return Path(folder) / f"{sound}-{settings}.npy"


def _write(path, pieces, shape):
    """Pieces [n, dim] -> a .npy file of float16 [frames, dim], piece by piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as beside, open(beside, "wb") as file:
        header = dict(descr="<f2", fortran_order=False, shape=shape)
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            piece = piece.half()
            if not torch.isfinite(piece).all():
                raise SpeechError(
                    "WavLM's features do not fit into float16; the weights are damaged, get them "
                    "again"
                )
            file.write(piece.numpy().tobytes())


def _mapped(path, shape):
    """An entry as a float16 tensor, of which only what is looked at is read from the disk."""
    try:
        array = np.load(path, mmap_mode="c")  # not "r": torch warns of arrays that are read-only
        if array.shape != shape or array.dtype != np.float16:
            raise ValueError(f"{array.dtype} {array.shape}")
    except OSError:  # of the disk
        raise
    except Exception:  # numpy raises half a dozen kinds for a damaged head
        raise CorpusError(f"{path}: is a damaged entry of the cache; delete it") from None
    return torch.from_numpy(array)  # [frames, dim]
