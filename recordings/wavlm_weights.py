"""WavLM Base+'s weights: three kinds of files, what can be wrong with them, and their fingerprint.

In reading order: download_errors (around torchaudio's own download), read_weights (a file that the
user has), the names of the weights in the three kinds of files, describe (what a wrong file
holds), fingerprint.
"""

import contextlib
import hashlib
import http.client
import re
from pathlib import Path

import torch
import torchaudio

from recordings.audio import SpeechError


def downloaded():
    """Where torchaudio keeps its copy of WavLM Base+, in torch's folder for downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "wavlm_base_plus.pth"


def ways():
    """How to get the weights, or on without them. The end of every error line."""
    return (
        "give --wavlm-checkpoint FILE with WavLM Base+ from torchaudio (wavlm_base_plus.pth), "
        "Microsoft (WavLM-Base+.pt) or Hugging Face (pytorch_model.bin of "
        "microsoft/wavlm-base-plus), or run once with network access to download it (360 MB to "
        f"{downloaded()}), or train with --features mfcc or mel, which need no download: "
        "--recipe paper --features mfcc runs the rest of the paper today"
    )


@contextlib.contextmanager
def download_errors():
    """Within it, whatever goes wrong with torchaudio's download becomes one SpeechError."""
    path = downloaded()
    here = path.is_file()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:  # no network, a refusal, a broken line
        if here:  # it is the file that cannot be read
            raise
        raise SpeechError(
            "WavLM Base+'s weights are not on this machine and cannot be downloaded "
            f"({error}): {ways()}"
        ) from None
    except Exception as error:  # torch raises half a dozen kinds for a file that is cut off
        raise SpeechError(
            f"{path}: {what_is_wrong(error)}; delete it and run again, or {ways()}"
        ) from None


def read_weights(path):
    """A file of WavLM Base+'s weights, of any of the three kinds -> a torchaudio model, eval mode.

    Raises SpeechError for any other file. Only tensors and plain values are loaded: a file that
    would run code is refused.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "no such file"
        raise SpeechError(f"{path}: {what}; {ways()}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:
        raise SpeechError(f"{path}: {what_is_wrong(error)}; {ways()}") from None
    if path.name.lower() in ("wavlm-base.pt", "wavlm_base.pth"):
        raise SpeechError(
            f"{path}: is WavLM Base by its name, which has the same shape as WavLM Base+ but "
            f"learnt from a hundredth of the speech; {ways()}"
        )
    state = torchaudio_names(loaded)
    model = torchaudio.models.wavlm_base()  # Base and Base+ are one architecture
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in state.items()}
    if found != wanted:
        held = describe(loaded, found, wanted)
        raise SpeechError(f"{path}: holds {held}, but WavLM Base+ is needed; {ways()}")
    model.load_state_dict(state)
    return model.eval()


def what_is_wrong(error):
    """What an error of torch.load says about the file, in a few words."""
    if "unsupported global" in str(error).lower():
        return "would run code when loaded, which is refused"
    return "is cut off, damaged or no file of weights"


# ------------------------------------------------------------------------------------------------
# The names of the weights
# ------------------------------------------------------------------------------------------------
# One network, three sets of names. Microsoft's names become Hugging Face's, and these become
# torchaudio's. Each rule is a pattern and its replacement.
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
# torch 2.0 renamed the two parts, length and direction, of a weight under weight norm
OLD_WEIGHT_NORM = (
    (r"\.weight_g$", r".parametrizations.weight.original0"),
    (r"\.weight_v$", r".parametrizations.weight.original1"),
)
# Used in pre-training only: what stood for a masked frame, and the heads that predicted it
PRETRAINING_ONLY = r"^(mask_emb|masked_spec_embed|final_proj\.|label_embs_concat)"


def torchaudio_names(loaded):
    """What torch.load gave, of any of the three kinds -> {torchaudio's name: float32 tensor}.

    Names that it does not know stay as they are.
    """
    if not isinstance(loaded, dict):
        return {}
    microsoft = "cfg" in loaded and isinstance(loaded.get("model"), dict)
    state = {
        name: weight
        for name, weight in (loaded["model"] if microsoft else loaded).items()
        if isinstance(name, str) and isinstance(weight, torch.Tensor)
    }
    if any(".self_attn." in name for name in state):
        state = renamed(state, MICROSOFT_TO_HUGGING_FACE)
    if not any(name.startswith("encoder.transformer.") for name in state):
        state = renamed(state, HUGGING_FACE_TO_TORCHAUDIO)
        state = {n: weight for n, weight in state.items() if not re.match(PRETRAINING_ONLY, n)}
    state = renamed(state, OLD_WEIGHT_NORM)
    # torchaudio keeps the three projections of an attention in one matrix
    for query in [name for name in state if ".q_proj." in name]:
        names = [query.replace(".q_proj.", f".{letter}_proj.") for letter in "qkv"]
        parts = [state.get(name) for name in names]
        if any(part is None or part.dim() == 0 for part in parts):
            continue  # of another network, which describe will name
        if len({part.shape[1:] for part in parts}) == 1:
            for name in names:
                del state[name]
            joined = torch.cat(parts)  # [3 * 768, 768] or [3 * 768]
            state[query.replace(".q_proj.", ".in_proj_")] = joined
    return {name: weight.float() for name, weight in state.items()}


def renamed(state, rules):
    """`state` with each (pattern, replacement) applied to its names, one rule after another."""
    for pattern, replacement in rules:
        state = {re.sub(pattern, replacement, name): weight for name, weight in state.items()}
    return state


def describe(loaded, found, wanted):
    """What a file of other weights holds, in a few words.

    loaded: what torch.load gave; found, wanted: {torchaudio's name: shape}.
    """
    blocks = {int(n) for name in found for n in re.findall(r"\blayers\.(\d+)\.", name)}
    if not found:
        return f"no weights by name ({type(loaded).__name__})"
    if not blocks:
        return f"something else ({len(found)} tensors, the first is {next(iter(found))})"
    if any(name.startswith(("wavlm.", "w2v_model.")) for name in found):
        return "a WavLM that was tuned for another task"
    norms = (shape for name, shape in found.items() if name.endswith(".final_layer_norm.weight"))
    width = next((shape[-1] for shape in norms if shape), "?")
    kind = "HuBERT, wav2vec 2.0 or the like (no gated positions)"
    if any("gru_rel_pos" in name for name in found):
        kind = "WavLM"
    names = found.keys() | wanted.keys()
    differ = sorted(name for name in names if found.get(name) != wanted.get(name))
    return (
        f"{kind} with {len(blocks)} blocks, {width} wide "
        f"({len(differ)} tensors differ, the first is {differ[0]})"
    )


def fingerprint(model):
    """16 hexadecimal digits that tell one set of weights from another, from whatever file."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
