"""WavLM Base+: its weights from any of three files, its hidden states for any length."""

import math
import re

import numpy as np
import pytest
import torch
import torchaudio
import transformers
from conftest import shared_files
from test_features import little_wavlm
from torchaudio.models.wav2vec2.utils import import_huggingface_model

from recordings import wavlm_long
from recordings.audio import SpeechError, load_audio
from recordings.wavlm_long import CONTEXT, PIECE, hidden_states, normaliser
from wavlm_loader import load_wavlm, wavlm_states


def states_of(*arguments, **settings):
    """hidden_states, joined [K, layers * width]."""
    return torch.cat(list(hidden_states(*arguments, **settings)))


# ------------------------------------------------------------------------------------------------
# The weights
# ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def reference():
    """transformers' WavLMModel with random weights. They test the plumbing, not the features.

    None of them is zero or one, and the attention prefers some places.
    """
    torch.manual_seed(0)
    model = transformers.WavLMModel(transformers.WavLMConfig()).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "bias" in name or "layer_norm" in name or "gru_rel_pos_const" in name:
                weight += 0.1 * torch.randn_like(weight)
            elif "q_proj" in name or "k_proj" in name:
                weight *= 3
            elif "rel_attn_embed" in name:
                weight.normal_()
    return model


def old_weight_norm(state):
    """The names of weight norm before torch 2.0; the published files have them."""
    new = {"original0": "weight_g", "original1": "weight_v"}
    pattern = r"parametrizations\.weight\.(original[01])"
    return {re.sub(pattern, lambda m: new[m[1]], name): w for name, w in state.items()}


# Hugging Face's names within a block -> Microsoft's
MICROSOFT = {
    "attention.gru_rel_pos_const": "self_attn.grep_a",
    "attention.gru_rel_pos_linear": "self_attn.grep_linear",
    "attention.rel_attn_embed": "self_attn.relative_attention_bias",
    "layer_norm": "self_attn_layer_norm",
    "feed_forward.intermediate_dense": "fc1",
    "feed_forward.output_dense": "fc2",
    "final_layer_norm": "final_layer_norm",
} | {f"attention.{p}_proj": f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")}


def microsoft_name(name):
    """Hugging Face's name -> the name in Microsoft's WavLM.py and modules.py."""
    part = name.split(".")
    if name == "masked_spec_embed":
        return "mask_emb"
    if part[0] == "feature_extractor":
        place = dict(conv=0, layer_norm=2)[part[3]]
        return f"feature_extractor.conv_layers.{part[2]}.{place}.{part[4]}"
    if part[0] == "feature_projection":
        return ("layer_norm." if part[1] == "layer_norm" else "post_extract_proj.") + part[2]
    if part[1] == "pos_conv_embed":
        return "encoder.pos_conv.0." + part[3]
    if part[1] != "layers":
        return name
    key = ".".join(part[3:])
    stem, _, end = key.rpartition(".")
    inner = MICROSOFT[key] if key in MICROSOFT else f"{MICROSOFT[stem]}.{end}"
    return f"encoder.layers.{part[2]}.{inner}"


def microsoft_form(model):
    """Microsoft's names, and the dictionary around them."""
    state = old_weight_norm(model.state_dict())
    config = {"encoder_layers": 12, "extractor_mode": "default"}
    return {"cfg": config, "model": {microsoft_name(name): w for name, w in state.items()}}


def torchaudio_form(model):
    return import_huggingface_model(model).state_dict()


FORMS = {
    "hugging-face": lambda m: old_weight_norm(m.state_dict()),
    "hugging-face-new": lambda m: m.state_dict(),
    "microsoft": microsoft_form,
    "torchaudio": torchaudio_form,
    "torchaudio-old": lambda m: old_weight_norm(torchaudio_form(m)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_weights_gives_the_hidden_states_of_transformers(
    reference, tmp_path, form
):
    torch.save(FORMS[form](reference), tmp_path / "weights")
    wavlm = load_wavlm(tmp_path / "weights")
    (tmp_path / "weights").unlink()  # 380 MB
    waveform = torch.randn(20_007, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = reference(waveform[None], output_hidden_states=True).hidden_states
    assert len(wanted) == 13  # of [1, K, 768]
    ours = states_of(wavlm, waveform, range(13)).unflatten(1, (13, 768))  # [K, 13, 768]
    for n in range(13):
        assert (ours[:, n] - wanted[n][0]).abs().max() < 1e-4, n
        assert (wavlm_states(wavlm, waveform, [n]) - wanted[n][0]).abs().max() < 1e-4, n
    assert torch.equal(states_of(wavlm, waveform, [7]), ours[:, 7])


def test_without_a_file_the_weights_are_those_of_torchaudios_pipeline(
    reference, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "wavlm_base_plus.pth"
    path.parent.mkdir(parents=True)
    torch.save(torchaudio_form(reference), path)
    wavlm = load_wavlm()
    path.unlink()
    state = torchaudio_form(reference)
    assert not wavlm.training
    assert all(torch.equal(weight, state[name]) for name, weight in wavlm.state_dict().items())


def test_features_do_not_depend_on_what_else_is_in_the_batch(reference):
    """torchaudio's WavLM cannot mask padding, and unmasked padding changes its features.

    So one recording goes through at a time.
    """
    wavlm = torchaudio.models.wavlm_base().eval()
    wavlm.load_state_dict(torchaudio_form(reference))
    short, long = torch.randn(8_000), torch.randn(16_000)
    padded = torch.stack([torch.cat([short, torch.zeros(8_000)]), long])
    with torch.no_grad():
        alone = reference(short[None]).last_hidden_state[0]  # [24, 768]
        with pytest.raises(AssertionError):
            wavlm.extract_features(padded, lengths=torch.tensor([8_000, 16_000]))
        beside = wavlm.extract_features(padded)[0][-1][0, :24]
    assert (beside - alone).abs().max() > 0.1
    for states in (states_of, wavlm_states):
        states(wavlm, long, [12])
        assert (states(wavlm, short, [12]) - alone).abs().max() < 1e-4


def test_missing_wavlm_weights_are_said_never_replaced(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    with pytest.raises(SpeechError) as caught:
        load_wavlm()
    files = ("wavlm_base_plus.pth", "WavLM-Base+.pt", "pytorch_model.bin")
    ways = ("--wavlm-checkpoint", "--features mfcc", "--recipe paper --features mfcc")
    for word in ("no network", *files, *ways):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_download_that_broke_off_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "wavlm_base_plus.pth"
    path.parent.mkdir(parents=True)
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SpeechError, match="wavlm_base_plus.pth: is cut off.*delete it"):
        load_wavlm()


# ------------------------------------------------------------------------------------------------
# Files of other weights
# ------------------------------------------------------------------------------------------------
def shapes_only(model):
    """A state dict whose tensors have the right shapes and one number each: a small file."""
    with torch.device("meta"):
        return {name: torch.zeros(1).expand(w.shape) for name, w in model().state_dict().items()}


def base():
    return shapes_only(torchaudio.models.wavlm_base)


class Evil:
    """A pickle that runs a command when it is loaded without care."""

    def __reduce__(self):
        return print, ("the file ran",)


OTHERS = {
    "large": (
        lambda: shapes_only(torchaudio.models.wavlm_large),
        "WavLM with 24 blocks, 1024 wide",
    ),
    "hubert": (
        lambda: shapes_only(torchaudio.models.hubert_base),
        "HuBERT.* with 12 blocks, 768 wide",
    ),
    "fewer": (
        lambda: {n: w for n, w in base().items() if ".layers.11." not in n},
        "with 11 blocks",
    ),
    "tuned": (lambda: {"wavlm." + n: w for n, w in base().items()}, "tuned for another task"),
    "two widths": (
        lambda: {
            f"decoder.layers.0.encoder_attn.{letter}_proj.weight": torch.zeros(8, n)
            for letter, n in zip("qkv", (8, 6, 6))
        },
        "with 1 blocks",
    ),
    "numbers": (
        lambda: {
            f"encoder.layers.0.{name}.weight": torch.tensor(1.0)
            for name in ("attention.q_proj", "final_layer_norm")
        },
        r"with 1 blocks, \? wide",
    ),
    "something": (lambda: {"a": torch.zeros(2)}, "something else"),
    "list": (lambda: [1, 2], "list"),
    "code": (Evil, "refused"),
}
SAID = {"missing": "no such file", "folder": "folder", "base": "is WavLM Base by its name"}


@pytest.mark.parametrize("content", ["missing", "folder", "junk", "cut", "base", *OTHERS])
def test_a_file_without_wavlm_base_plus_gets_one_line(tmp_path, content, capsys):
    path, word = tmp_path / "weights.pth", SAID.get(content, "damaged")
    if content == "folder":
        path.mkdir()
    elif content == "junk":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif content == "cut":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif content == "base":
        path = tmp_path / "WavLM-Base.pt"
        torch.save(base(), path)
    elif content in OTHERS:
        make, word = OTHERS[content]
        torch.save(make(), path)
    with pytest.raises(SpeechError, match=rf"{path.name}: .*{word}.*--features mfcc") as caught:
        load_wavlm(path)
    assert "\n" not in str(caught.value) and "ran" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------
# Any length
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seconds", [0.01, 0.025, 1.3, 15])
def test_a_short_clip_goes_through_extract_features(seconds):
    """It gives layers 1 to 12, to 1e-5 what hidden_states gives, which also knows layer 0."""
    wavlm, waveform = little_wavlm(), torch.randn(int(seconds * 16_000))
    everything = states_of(wavlm, waveform, range(13)).unflatten(1, (13, 16))
    for layers in ([12], [3, 7], range(13)):
        ours = wavlm_states(wavlm, waveform, layers).unflatten(1, (len(layers), 16))
        assert torch.allclose(ours, everything[:, layers], atol=1e-5)


def test_the_first_normalisation_is_that_of_the_whole_recording():
    """Against torch's group norm, with an offset, which is where variances go wrong."""
    torch.manual_seed(0)
    layer = little_wavlm().feature_extractor.conv_layers[0]
    with torch.no_grad():
        layer.layer_norm.weight.normal_()
        layer.layer_norm.bias.normal_()
        waveform = 0.02 * torch.randn(300_000) + 0.1
        scale, shift = normaliser(layer, waveform)
        convolved = layer.conv(waveform[None, None])  # [1, 8, T]
        wanted = layer.layer_norm.double()(convolved.double()).float()
        assert torch.allclose(convolved * scale + shift, wanted, atol=2e-4)


def test_pieces_are_the_whole_but_for_what_attention_sees():
    """Without attention's output nothing may differ, in any layer; with it, layer 0 may not."""
    wavlm = little_wavlm()
    waveform = torch.randn(16_000 * 40, generator=torch.Generator().manual_seed(0))
    (whole,) = hidden_states(wavlm, waveform, [0], piece=2000)  # [1999, 16]
    assert torch.allclose(states_of(wavlm, waveform, [0], 300, 64), whole, atol=1e-5)
    with torch.no_grad():
        for block in wavlm.encoder.transformer.layers:
            block.attention.attention.out_proj.weight.zero_()
            block.attention.attention.out_proj.bias.zero_()
    (whole,) = hidden_states(wavlm, waveform, range(13), piece=2000)  # [1999, 13 * 16]
    for piece, context in ((PIECE, CONTEXT), (333, 64), (64, 100)):
        pieces = list(hidden_states(wavlm, waveform, range(13), piece, context))
        assert len(pieces) == math.ceil(1999 / piece)
        assert torch.allclose(torch.cat(pieces), whole, atol=1e-5)


def test_memory_does_not_grow_with_the_recording(monkeypatch):
    """No part of the network ever sees more than a piece with its context."""
    seen = dict(convolve=0, transform=0)
    for name in seen:
        real = getattr(wavlm_long, name)

        def watched(wavlm, x, *rest, real=real, name=name):
            seen[name] = max(seen[name], len(x))
            return real(wavlm, x, *rest)

        monkeypatch.setattr(wavlm_long, name, watched)
    rows = len(states_of(little_wavlm(), torch.randn(16_000 * 300), [2]))
    assert rows == (16_000 * 300 - 400) // 320 + 1
    assert seen == dict(convolve=320 * 249 + 400, transform=PIECE + 2 * CONTEXT)


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_real_recordings_in_pieces_are_the_whole(path):
    waveform, wavlm = load_audio(path), little_wavlm()
    (whole,) = hidden_states(wavlm, waveform, [0], piece=10_000)
    assert torch.allclose(states_of(wavlm, waveform, [0], 100, 64), whole, atol=1e-4)
