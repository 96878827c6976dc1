"""Speech: any file to a waveform, any waveform to one row of features a motion frame."""
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
import torchaudio
from conftest import ROOT, TINY, run, shared_files

import data
import diffmotion
import sample
import train
import wavlm_loader as W


def tone(seconds, rate=16_000, frequency=440.0):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("ending,subtype", [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")])
def test_any_rate_and_format_becomes_16_khz_mono(tmp_path, rate, ending, subtype):
    path = tmp_path / f"ü  talk (1).{ending}"
    stereo = np.stack([tone(2, rate), tone(2, rate)], axis=1)
    soundfile.write(path, stereo, rate, subtype=subtype)
    waveform = W.load_audio(path)
    assert waveform.dtype == torch.float32 and abs(len(waveform) - 32_000) < 2500 * (ending == "mp3") + 2
    spectrum = torch.fft.rfft(waveform[:16_000] * torch.hann_window(16_000)).abs()
    assert spectrum.argmax().item() == 440


def test_the_content_decides_not_the_ending(tmp_path):
    soundfile.write(tmp_path / "x.mp3", tone(1), 16_000)
    (tmp_path / "x.mp3").rename(tmp_path / "x.wav")
    assert len(W.load_audio(tmp_path / "x.wav")) > 15_000


@pytest.mark.parametrize("lengths", [[48_000], [1, 5, 700, 3_000, 44_294], [1600] * 30])
def test_rumble_is_taken_out_as_scipys_butterworth_does(lengths):
    waveform = torch.from_numpy(np.random.default_rng(0).standard_normal(sum(lengths)) + 0.5).float()
    sections = scipy.signal.butter(2, W.CUT, "highpass", fs=16_000, output="sos")
    state = scipy.signal.sosfilt_zi(sections) * float(waveform[0])           # as if it had stood there for ever
    expected = scipy.signal.sosfilt(sections, waveform.double().numpy(), zi=state)[0]
    blocks = list(W.without_rumble(waveform.split(lengths)))
    assert [len(b) for b in blocks] == lengths
    np.testing.assert_allclose(torch.cat(blocks).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("offset, rumble", [(0.01, 0.0), (0.3, 0.0), (0.0, 0.01)])
def test_what_lies_below_speech_is_not_heard(tmp_path, offset, rumble, rate):
    """A quiet recording through a sound card with an offset, or with a swing of 20 Hz that is as loud as the speech is 8 dB higher."""
    speech, had = soundfile.read(ROOT / "assets" / "speech.wav")
    speech = scipy.signal.resample_poly(speech, rate // had, 1)
    speech = speech[:, 0] if speech.ndim > 1 else speech
    below = offset + rumble * np.sin(2 * np.pi * 20 * np.arange(len(speech)) / rate)
    for name, sound in (("plain", 0.1 * speech), ("odd", 0.1 * speech + below)):
        soundfile.write(tmp_path / f"{name}.wav", sound, rate, subtype="FLOAT")
    ear = W.SpeechFeatures("mel")
    plain, odd = (ear(W.load_audio(tmp_path / f"{name}.wav")) for name in ("plain", "odd"))
    assert (plain - odd).abs().mean() < 0.02 * plain.std()
    if offset:                                       # nor a click where it begins and ends
        assert max((plain - odd)[[0, -1]].abs().mean(dim=1)) < 0.02 * plain.std()
    blocks = torch.cat(list(W.load_audio_blocks(tmp_path / "odd.wav", seconds=0.7)))
    np.testing.assert_allclose(blocks, W.load_audio(tmp_path / "odd.wav"), atol=1e-5)


def test_an_offset_alone_is_silence(tmp_path):
    soundfile.write(tmp_path / "offset.wav", np.full(32_000, 0.1), 16_000)
    with pytest.raises(W.SpeechError, match="offset.wav: is silent"):
        W.load_audio(tmp_path / "offset.wav")


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_real_recordings_are_read(path):
    waveform = W.load_audio(path)
    features = W.SpeechFeatures("mfcc")(waveform)
    assert len(features) == math.ceil(len(waveform) / 16_000 * 20) and torch.isfinite(features).all()


def damaged(tmp_path, kind):
    path = tmp_path / f"{kind} file.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no sound\n" * 20)
    elif kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut-off":
        soundfile.write(path, tone(2), 16_000)
        path.write_bytes(path.read_bytes()[:30_000])
    elif kind == "cut-flac":
        path = path.with_suffix(".flac")
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64_000), 16_000)
        path.write_bytes(path.read_bytes()[:60_000])
    elif kind == "cut-mp3":
        soundfile.write(path, tone(3), 16_000, format="MP3")     # by another ending's name, as it happens
        path.write_bytes(path.read_bytes()[:-len(path.read_bytes()) // 2])
    elif kind == "no-sound":
        soundfile.write(path, np.where(np.arange(16_000) == 777, 1e30, tone(1)), 16_000, subtype="FLOAT")
    elif kind == "silent":
        soundfile.write(path, np.zeros(16_000), 16_000)
    elif kind == "zero-length":
        soundfile.write(path, np.zeros(0), 16_000)
    elif kind == "other-phase":
        soundfile.write(path, np.stack([tone(1), -tone(1)], axis=1), 16_000)
    elif kind == "odd-rate":                         # the filter that resamples it would have 700 million numbers
        soundfile.write(path, tone(1), 44_101)
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(16_000) == 777, np.nan, tone(1)), 16_000, subtype="FLOAT")
    return path


KINDS = ["missing", "empty", "text", "random", "folder", "cut-off", "cut-flac", "cut-mp3", "silent", "zero-length", "nan", "no-sound", "other-phase", "odd-rate"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_sound_gets_one_clear_line(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(W.SpeechError) as caught:
        W.load_audio(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    assert {"nan": "sample 777 is nan", "no-sound": "sample 777 is 1e+30", "cut-off": "breaks off", "cut-mp3": "breaks off", "silent": "silent", "other-phase": "cancel each other", "odd-rate": "44101"}.get(kind, "") in str(caught.value)


def test_an_mp3_whose_length_is_a_guess_is_read_to_its_end_and_no_farther(tmp_path):
    """Without the tag of its length the decoder guesses, for a variable rate far too long; and so it does for half of such a file."""
    path, half = tmp_path / "a.mp3", tmp_path / "half.mp3"
    whole = np.concatenate([np.zeros(32_000), 0.3 * np.random.default_rng(0).standard_normal(64_000)])
    with soundfile.SoundFile(path, "w", 16_000, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5) as f:
        f.write(whole)
    data = path.read_bytes()
    first = data.index(b"\xff\xf3", 10)             # where the second frame begins, behind the tag's
    path.write_bytes(data[first:])
    half.write_bytes(data[first:first + (len(data) - first) // 2])
    (tmp_path / "with the tag.mp3").write_bytes(data)
    assert W.tagged(tmp_path / "with the tag.mp3") and not W.tagged(path) and soundfile.info(half).frames > 100_000
    sound, begun = W.load_audio(path), W.load_audio(half)
    assert len(sound) == pytest.approx(96_000, abs=3000) and 20_000 < len(begun) < 90_000 and begun.abs().max() < 3
    assert torch.allclose(sound[:len(begun) - 4000], begun[:-4000], atol=1e-3)


def test_a_wav_that_counts_its_header_as_sound_is_read(tmp_path):
    path = damaged(tmp_path, "nan")
    soundfile.write(path, tone(1), 16_000)
    sound = bytearray(path.read_bytes())
    size = sound.index(b"data") + 4
    sound[size:size + 4] = (32_000 + 44).to_bytes(4, "little")
    path.write_bytes(sound)
    assert len(W.load_audio(path)) == 16_000


@pytest.mark.skipif(os.name != "posix", reason="needs a file that may not be read")
def test_a_file_that_may_not_be_read_costs_no_other(tmp_path):
    for name in ("locked", "good"):
        soundfile.write(tmp_path / f"{name}.wav", tone(1), 16_000)
    (tmp_path / "locked.wav").chmod(0)
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []        # root may read all, unless it gives that up
    if bound and (not shutil.which("setpriv") or subprocess.run([*bound, "true"]).returncode):
        pytest.skip("root, who may read all, and cannot give that up here")
    say = "import sys, wavlm_loader as W\nfor name in sys.argv[1:]:\n    try: print(len(W.load_audio(name)))\n    except W.SpeechError as error: print(error)"
    done = subprocess.run([*bound, sys.executable, "-c", say, tmp_path / "locked.wav", tmp_path / "good.wav"], cwd=ROOT, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert "cannot be read (Permission denied)" in first and second == "16000", done.stderr


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read_all_the_same(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(1), 16_000)
    raw = bytearray((tmp_path / "x.wav").read_bytes())
    at = raw.index(b"data") + 4
    raw[at:at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(raw)
    assert len(W.load_audio(tmp_path / "x.wav")) == 16_000


# ---- features ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("fps", [20, 30, 25, 29.97, 60, 120])
@pytest.mark.parametrize("samples", [1, 37, 799, 800, 801, 16_000, 50_001])
def test_frames_cover_the_speech(kind, fps, samples):
    features = W.SpeechFeatures(kind, fps)(torch.randn(samples))
    assert features.shape == (math.ceil(round(samples * fps / 16_000, 9)), W.SpeechFeatures(kind).dim)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
@pytest.mark.parametrize("second", [0.01, 1.23, 29.99, 59.96])
@pytest.mark.parametrize("fps", [20, 29.97])
def test_a_click_appears_in_its_own_frame(kind, second, fps):
    waveform = torch.randn(16_000 * 60, generator=torch.Generator().manual_seed(0)) * 1e-2
    at = int(second * 16_000)
    waveform[at:at + 30] += 1
    features = W.SpeechFeatures(kind, fps)(waveform)
    change = features[:, 0] if kind == "mfcc" else features.mean(dim=1)      # the first cepstrum is the loudness
    assert abs(change.argmax().item() - int((second + 15 / 16_000) * fps)) == 0


def test_features_are_averaged_over_the_motion_frame():
    """Features with a known integral: a ramp, whose mean over a frame is its value at the frame's centre."""
    ramp = (torch.arange(1000).float() / 100)[:, None]                       # at 100 a second, feature k is k / 100 s
    frames = W.to_motion_frames(ramp, 100, 0.0, 20, 199)
    centres = (torch.arange(199) + 0.5) / 20
    assert torch.allclose(frames[:, 0], centres, atol=1e-4)
    finer = W.to_motion_frames(ramp, 100, 0.0, 240, 2000)                    # a frame rate above the features' own
    assert (finer[:, 0] - (torch.arange(2000) + 0.5) / 240).abs().max() < 0.006


@pytest.mark.parametrize("kind", ["mel", "mfcc"])
def test_a_quiet_recording_is_heard_as_a_loud_one(kind):
    waveform = torch.from_numpy(tone(3)).float() * (torch.rand(48_000) > 0.5)
    features = W.SpeechFeatures(kind)
    assert torch.allclose(features(waveform), features(waveform * 0.03), atol=1e-3)


@pytest.mark.parametrize("room", [0.0, 1e-3])
def test_the_level_is_that_of_the_speech_also_where_nearly_all_is_pause(room):
    """Six seconds of speech in two minutes of a quiet room: 95% of it are pauses, whose level would make the speech 40 dB too loud."""
    random = torch.Generator().manual_seed(0)
    speech = torch.randn(96_000, generator=random) * 0.1 * (1 + torch.sin(torch.arange(96_000) / 600))
    alone = W.loud_level(speech)
    among = torch.randn(1_920_000, generator=random) * room
    among[800_000:896_000] += speech
    assert alone / 5 < W.loud_level(among) < 1.05 * alone
    among[:1600] = 1.0                               # a tenth of a second of clicks is no speech
    assert W.loud_level(among) < 1.05 * alone and W.loud_level(among[:80_000]) < max(0.02 * alone, 1.1 * room)
    live = W.RunningLevel()
    for _ in live.hear(among[:320_000].split(800)):
        pass
    assert live() > 10 ** (-45 / 20), "twenty seconds in which nobody speaks"


def test_log_mel_is_made_of_the_power_of_the_bands():
    """A tone of 1000 Hz is loudest in the band whose centre is nearest on the mel scale."""
    mel = lambda hz: 2595 * math.log10(1 + hz / 700)
    centres = np.linspace(mel(60), mel(7600), 42)[1:-1]
    loudest = W.SpeechFeatures("mel")(torch.from_numpy(tone(1, frequency=1000.0)).float()).mean(dim=0).argmax().item()
    assert loudest == np.abs(centres - mel(1000)).argmin()


# ---- WavLM: the weights ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def reference():
    """transformers' WavLMModel with random weights, none of them zero or one, and an attention that prefers some places.

    (Random weights test the plumbing, not the hearing.)"""
    import transformers
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
    """The names that torch's weight norm had before torch 2.0; the published files have them."""
    return {name.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v"): w for name, w in state.items()}


def microsoft_form(state):
    """Hugging Face's names -> the names in Microsoft's WavLM.py and modules.py, and the dictionary around them."""
    named = {}
    for name, weight in old_weight_norm(state).items():
        part = name.split(".")
        if name == "masked_spec_embed":
            name = "mask_emb"
        elif part[0] == "feature_extractor":
            name = f"feature_extractor.conv_layers.{part[2]}.{dict(conv=0, layer_norm=2)[part[3]]}.{part[4]}"
        elif part[0] == "feature_projection":
            name = ("layer_norm." if part[1] == "layer_norm" else "post_extract_proj.") + part[2]
        elif part[1] == "pos_conv_embed":
            name = "encoder.pos_conv.0." + part[3]
        elif part[1] == "layers":
            inner = {"attention.gru_rel_pos_const": "self_attn.grep_a", "attention.gru_rel_pos_linear": "self_attn.grep_linear",
                     "attention.rel_attn_embed": "self_attn.relative_attention_bias", "layer_norm": "self_attn_layer_norm",
                     "feed_forward.intermediate_dense": "fc1", "feed_forward.output_dense": "fc2", "final_layer_norm": "final_layer_norm"}
            inner |= {f"attention.{p}_proj": f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")}
            key = ".".join(part[3:])
            stem, _, end = key.rpartition(".")
            name = f"encoder.layers.{part[2]}." + (inner[key] if key in inner else f"{inner[stem]}.{end}")
        named[name] = weight
    return {"cfg": {"encoder_layers": 12, "extractor_mode": "default"}, "model": named}


def torchaudio_form(model):
    from torchaudio.models.wav2vec2.utils import import_huggingface_model
    return import_huggingface_model(model).state_dict()


FORMS = {"hugging-face": lambda m: old_weight_norm(m.state_dict()), "hugging-face-new": lambda m: m.state_dict(),
         "microsoft": lambda m: microsoft_form(m.state_dict()), "torchaudio": torchaudio_form, "torchaudio-old": lambda m: old_weight_norm(torchaudio_form(m))}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_weights_gives_the_hidden_states_of_transformers(reference, tmp_path, form):
    torch.save(FORMS[form](reference), tmp_path / "weights")
    wavlm = W.load_wavlm(tmp_path / "weights")
    (tmp_path / "weights").unlink()                              # 380 MB
    waveform = torch.randn(20_007, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = reference(waveform[None], output_hidden_states=True).hidden_states          # 13 of [1, K, 768]
    ours = torch.cat(list(W.hear(wavlm, waveform, range(13)))).unflatten(1, (13, 768))       # [K, 13, 768]
    assert len(wanted) == 13
    for n in range(13):
        assert (ours[:, n] - wanted[n][0]).abs().max() < 1e-4, n
    assert torch.equal(torch.cat(list(W.hear(wavlm, waveform, [7]))), ours[:, 7])


def test_what_is_heard_does_not_depend_on_what_else_is_in_the_batch(reference):
    """torchaudio's WavLM cannot mask padding, and padding alone changes what it hears; we hear one recording at a time."""
    wavlm = torchaudio.models.wavlm_base().eval()
    wavlm.load_state_dict(torchaudio_form(reference))
    short, long = torch.randn(8_000), torch.randn(16_000)
    padded = torch.stack([torch.cat([short, torch.zeros(8_000)]), long])
    with torch.no_grad():
        alone = reference(short[None]).last_hidden_state[0]                                  # [24, 768]
        with pytest.raises(AssertionError):
            wavlm.extract_features(padded, lengths=torch.tensor([8_000, 16_000]))
        beside = wavlm.extract_features(padded)[0][-1][0, :24]
    assert (beside - alone).abs().max() > 0.1
    for waveforms in ([short], [long, short], [short, long, short]):
        heard = [torch.cat(list(W.hear(wavlm, w, [12]))) for w in waveforms if w is short]
        assert all((h - alone).abs().max() < 1e-4 for h in heard)


def test_missing_wavlm_weights_are_said_never_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(W.SpeechError) as caught:
        W.load_wavlm()
    for word in ("no network", "--wavlm-checkpoint", "wavlm_base_plus.pth", "WavLM-Base+.pt", "pytorch_model.bin", "mfcc"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_download_that_broke_off_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "wavlm_base_plus.pth"
    cached.parent.mkdir(parents=True)
    torch.save({"a": torch.zeros(1000)}, cached)
    cached.write_bytes(cached.read_bytes()[:2000])
    with pytest.raises(W.SpeechError, match="wavlm_base_plus.pth: is cut off.*delete it"):
        W.load_wavlm()


def shapes_only(model):
    """A state dict whose tensors have the right shapes and one number each: a file of another model without its size."""
    with torch.device("meta"):
        return {name: torch.zeros(1).expand(w.shape) for name, w in model().state_dict().items()}


class Evil:
    """A pickle that runs a command when it is loaded without care."""

    def __reduce__(self):
        return print, ("the file ran",)


OTHERS = {"large": (lambda: shapes_only(torchaudio.models.wavlm_large), "WavLM with 24 blocks, 1024 wide"),
          "hubert": (lambda: shapes_only(torchaudio.models.hubert_base), "HuBERT.* with 12 blocks, 768 wide"),
          "fewer": (lambda: {n: w for n, w in shapes_only(torchaudio.models.wavlm_base).items() if ".layers.11." not in n}, "with 11 blocks"),
          "tuned": (lambda: {"wavlm." + n: w for n, w in shapes_only(torchaudio.models.wavlm_base).items()}, "tuned for another task"),
          "something": (lambda: {"a": torch.zeros(2)}, "something else"), "list": (lambda: [1, 2], "list"), "code": (Evil, "refused")}


@pytest.mark.parametrize("content", ["missing", "folder", "junk", "cut", "base", *OTHERS])
def test_a_file_without_wavlm_base_plus_gets_one_line(tmp_path, content, capsys):
    path, word = tmp_path / "weights.pth", {"missing": "no such file", "folder": "folder", "base": "is WavLM Base by its name"}.get(content, "damaged")
    if content == "folder":
        path.mkdir()
    elif content == "junk":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif content == "cut":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif content == "base":
        path = tmp_path / "WavLM-Base.pt"
        torch.save(shapes_only(torchaudio.models.wavlm_base), path)
    elif content in OTHERS:
        make, word = OTHERS[content]
        torch.save(make(), path)
    with pytest.raises(W.SpeechError, match=rf"{path.name}: .*{word}.*--features mfcc") as caught:
        W.load_wavlm(path)
    assert "\n" not in str(caught.value) and "ran" not in capsys.readouterr().out


# ---- WavLM: any length -------------------------------------------------------------------------------------------
def little_wavlm():
    """WavLM's architecture and strides with few channels: an hour goes through it in seconds."""
    torch.manual_seed(1)
    convolutions = [(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2
    return torchaudio.models.wavlm_model("group_norm", convolutions, False, 16, 0.0, 128, 4, 12, 2, 320, 800, 0.0, 16, 0.0, 0.0, False, 0.0, None).eval()


@pytest.fixture
def small_ear(monkeypatch):
    """SpeechFeatures("wavlm") with little_wavlm."""
    monkeypatch.setattr(W, "load_wavlm", lambda checkpoint=None: little_wavlm())


def test_the_first_normalisation_is_that_of_the_whole_recording():
    """Against torch's own group norm on what the first convolution gives; with an offset, which is where variances go wrong."""
    torch.manual_seed(0)
    layer = little_wavlm().feature_extractor.conv_layers[0]
    with torch.no_grad():
        layer.layer_norm.weight.normal_()
        layer.layer_norm.bias.normal_()
        waveform = 0.02 * torch.randn(300_000) + 0.1
        scale, shift = W.normaliser(layer, waveform)
        convolved = layer.conv(waveform[None, None])             # [1, 8, T]
        assert torch.allclose(convolved * scale + shift, layer.layer_norm.double()(convolved.double()).float(), atol=2e-4)


def test_pieces_are_the_whole_but_for_what_attention_sees():
    """With attention's output shut off nothing else may differ, at any seam, in any layer; with it, layer 0 may not."""
    wavlm = little_wavlm()
    waveform = torch.randn(16_000 * 40, generator=torch.Generator().manual_seed(0))
    whole, = W.hear(wavlm, waveform, [0], piece=2000)            # [1999, 16]
    assert torch.allclose(torch.cat(list(W.hear(wavlm, waveform, [0], 300, 64))), whole, atol=1e-5)
    with torch.no_grad():
        for block in wavlm.encoder.transformer.layers:
            block.attention.attention.out_proj.weight.zero_()
            block.attention.attention.out_proj.bias.zero_()
    whole, = W.hear(wavlm, waveform, range(13), piece=2000)      # [1999, 13 * 16]
    for piece, context in ((W.PIECE, W.CONTEXT), (333, 64), (64, 100)):
        pieces = list(W.hear(wavlm, waveform, range(13), piece, context))
        assert len(pieces) == math.ceil(1999 / piece) and torch.allclose(torch.cat(pieces), whole, atol=1e-5)


def test_memory_does_not_grow_with_the_recording(monkeypatch):
    """No part of the network ever sees more than a piece with its context."""
    seen = dict(convolve=0, transform=0)
    for name in seen:
        real = getattr(W, name)

        def watched(wavlm, x, *rest, real=real, name=name):
            seen[name] = max(seen[name], len(x))
            return real(wavlm, x, *rest)
        monkeypatch.setattr(W, name, watched)
    rows = sum(len(piece) for piece in W.hear(little_wavlm(), torch.randn(16_000 * 300), [2]))
    assert rows == (16_000 * 300 - 400) // 320 + 1
    assert seen == dict(convolve=320 * 249 + 400, transform=W.PIECE + 2 * W.CONTEXT)


def test_motion_frames_of_pieces_are_those_of_the_whole_and_the_mean_by_definition():
    """A frame's features are the integral over it of a function that is constant around each centre, worked out one by one."""
    rng = np.random.default_rng(0)
    for fps, rate, centre in ((20, 50, 0.0125), (29.97, 50, 0.0125), (60, 100, 0.0), (120, 50, 0.0125)):
        features = torch.from_numpy(rng.normal(size=(171, 3)))
        frames = math.floor((171 / rate + centre - 0.5 / rate) * fps)
        cuts = np.sort(rng.integers(0, 171, 9))
        pieces = [p for p in np.split(features.numpy(), cuts) if len(p)]
        got = torch.cat(list(W.motion_frames(map(torch.from_numpy, pieces), rate, centre, fps, frames)))
        left = centre - 0.5 / rate + np.arange(171) / rate       # where each feature begins to be valid, in seconds
        wanted = np.empty((frames, 3))
        for n in range(frames):
            overlap = np.clip(np.minimum(left + 1 / rate, (n + 1) / fps) - np.maximum(left, n / fps), 0, None)
            wanted[n] = overlap @ features.numpy() / overlap.sum()
        assert np.abs(got.numpy() - wanted).max() < 1e-5
        assert torch.allclose(got, W.to_motion_frames(features, rate, centre, fps, frames), atol=1e-6)


@pytest.mark.parametrize("kind,layer,length", [("mel", 0, 3600), ("mfcc", 0, 3600), ("wavlm", 0, 900), ("wavlm", 12, 90)])
def test_clicks_at_the_start_the_middle_and_the_end_of_an_hour(kind, layer, length, small_ear):
    """At 29.97 frames a second, where an error of one in a million would be out by 0.1 frames at the end of the hour.

    WavLM's change is smeared by everything that mixes times: what counts is where it is largest. It is looked at in a quarter of an
    hour, which is 72 pieces, and its last layer in a minute and a half, for the sake of time.
    """
    quiet = torch.randn(16_000 * length, generator=torch.Generator().manual_seed(0)) * 1e-2
    clicks = quiet.clone()
    seconds = [0.27, length / 2 + 0.013, length - 0.1]
    for second in seconds:
        clicks[int(second * 16_000):int(second * 16_000) + 30] += 1
    features = W.SpeechFeatures(kind, 29.97, layer=layer)
    change = (features(clicks) - features(quiet)).abs().sum(dim=1)
    assert len(change) == math.ceil(length * 29.97)
    for second in seconds:
        frame = int(second * 29.97)
        near = slice(max(0, frame - 150), frame + 150)
        assert near.start + change[near].argmax().item() == frame


@pytest.mark.parametrize("fps", [20, 29.97, 120])
@pytest.mark.parametrize("samples", [1, 400, 8_000, 20_001])
def test_wavlm_frames_cover_the_speech(small_ear, fps, samples):
    features = W.SpeechFeatures("wavlm", fps, layer="sum")(torch.randn(samples))
    assert features.shape == (math.ceil(round(samples * fps / 16_000, 9)), 13 * 16) and torch.isfinite(features).all()


def test_a_layer_alone_is_its_part_of_all_layers(small_ear):
    waveform = torch.randn(30_000)
    everything = W.SpeechFeatures("wavlm", layer="sum")(waveform).unflatten(1, (13, 16))
    for layer in ("last", 12, "0", 5):
        assert torch.allclose(W.SpeechFeatures("wavlm", layer=layer)(waveform), everything[:, 12 if layer == "last" else int(layer)], atol=1e-6)
    with pytest.raises(W.SpeechError, match="0 to 12"):
        W.SpeechFeatures("wavlm", layer=13)


VOICES = ["en", "de", "fr", "es", "cmn", "ar", "hi"]


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng")
@pytest.mark.parametrize("voice", VOICES)
def test_voices_of_many_languages_and_8_khz_prompts_are_heard(tmp_path, voice, small_ear):
    subprocess.run(["espeak-ng", "-v", voice, "-w", tmp_path / "16.wav", "one two three, Berlin, 1 2 3"], check=True, capture_output=True)
    sound, rate = soundfile.read(tmp_path / "16.wav")
    eight = torchaudio.functional.resample(torch.from_numpy(sound).float(), rate, 8_000)
    soundfile.write(tmp_path / "8.wav", eight.numpy(), 8_000, subtype="ULAW")                # as telephones have it
    for kind in ("mel", "mfcc", "wavlm"):
        full, prompt = (W.SpeechFeatures(kind)(W.load_audio(tmp_path / f"{n}.wav")) for n in (16, 8))
        assert abs(len(full) - len(prompt)) <= 1 and len(full) == math.ceil(len(sound) / rate * 20)
        assert torch.isfinite(full).all() and torch.isfinite(prompt).all() and full.std() > 0.1


@pytest.mark.parametrize("path", shared_files("speech/*"))
def test_wavlm_hears_real_recordings_in_pieces_as_whole(path, small_ear):
    waveform, wavlm = W.load_audio(path), little_wavlm()
    assert len(W.SpeechFeatures("wavlm")(waveform)) == math.ceil(len(waveform) / 800)
    whole, = W.hear(wavlm, waveform, [0], piece=10_000)
    assert torch.allclose(torch.cat(list(W.hear(wavlm, waveform, [0], 100, 64))), whole, atol=1e-4)


# ---- the cache ---------------------------------------------------------------------------------------------------
def test_features_are_computed_once_for_a_sound_and_its_settings(small_ear, tmp_path, monkeypatch):
    heard, real = [], W.hear
    monkeypatch.setattr(W, "hear", lambda *a: heard.append(1) or real(*a))
    waveform = torch.randn(50_000)
    features = W.SpeechFeatures("wavlm", layer=3)
    first = data.hear_take(features, waveform, tmp_path)
    again = data.hear_take(W.SpeechFeatures("wavlm", layer=3), waveform.clone(), tmp_path)
    assert len(heard) == 1 and torch.equal(first, again) and first.dtype == torch.float16
    exact = features(waveform)
    assert (first.float() - exact).abs().max() <= exact.abs().max() * 2 ** -11
    heard.clear()
    changed = waveform.clone()
    changed[77] += 1e-6                                          # another sound
    data.hear_take(features, changed, tmp_path)
    data.hear_take(W.SpeechFeatures("wavlm", 30, layer=3), waveform, tmp_path)
    other = W.SpeechFeatures("wavlm", layer=3)
    other.weights = "other"
    data.hear_take(other, waveform, tmp_path)
    everything = data.hear_take(W.SpeechFeatures("wavlm", layer="sum"), waveform, tmp_path)
    assert len(heard) == 4 and len(list(tmp_path.iterdir())) == 5
    for layer in (0, 5, 12):                                     # any layer is in the entry of all of them
        assert torch.equal(data.hear_take(W.SpeechFeatures("wavlm", layer=layer), waveform, tmp_path), everything[:, 16 * layer:16 * layer + 16])
    assert len(heard) == 4
    size = next(p.stat().st_size for p in tmp_path.iterdir() if np.load(p, mmap_mode="r").shape == (63, 13 * 16))
    assert size == 63 * 13 * 16 * 2 + 128                        # float16, and the header of a .npy file


def test_a_killed_run_leaves_no_broken_entry(tmp_path):
    """Killed in the middle of an entry, as by the kernel: no entry is there, and the next run writes a whole one."""
    script = """
import os, signal, sys, torch
import data, wavlm_loader as W
import test_speech
W.load_wavlm = lambda checkpoint=None: test_speech.little_wavlm()
features = W.SpeechFeatures("wavlm")
waveform = torch.randn(16_000 * 60, generator=torch.Generator().manual_seed(0))
def killed(waveform, real=features.pieces):
    for piece in real(waveform):
        yield piece
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "kill":
    features.pieces = killed
assert torch.equal(data.hear_take(features, waveform, sys.argv[1]), features(waveform).half())
"""
    for what, status in (("kill", -9), ("live", 0)):
        done = subprocess.run([sys.executable, "-c", script, tmp_path / "cache", what], cwd=ROOT / "tests", capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == status, done.stderr
        assert len(list((tmp_path / "cache").glob("*.npy"))) == (what == "live")
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npy"]


def test_a_damaged_entry_is_said(small_ear, tmp_path):
    features, waveform = W.SpeechFeatures("wavlm"), torch.randn(50_000)
    data.hear_take(features, waveform, tmp_path)
    entry, = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:500])
    with pytest.raises(data.CorpusError, match=f"{entry.name}: is a damaged entry of the cache; delete it"):
        data.hear_take(features, waveform, tmp_path)


def test_windows_from_the_cache_are_standardised_pieces_of_the_recordings(small_ear, tiny_corpus, tmp_path):
    pairs = [pair for part in data.find_pairs(tiny_corpus).values() for pair in part]
    features = W.SpeechFeatures("wavlm", layer="sum")
    corpus = data.Corpus(pairs, features, cache=tmp_path).to("cpu", 50)
    every = torch.cat([features(W.load_audio(sound)) for _, sound in pairs]).double()
    mean, deviation = every.mean(dim=0), every.std(dim=0)
    assert torch.allclose(corpus.speech_scale[0].double(), mean, atol=1e-3) and torch.allclose(corpus.speech_scale[1].double(), deviation, rtol=1e-2)
    pose, speech = corpus.batch(16, torch.Generator().manual_seed(0))
    assert speech.shape == (16, 50, 13 * 16) and speech.dtype == torch.float32
    takes = [((features(W.load_audio(sound)) - mean) / deviation).float() for _, sound in pairs]
    for one_pose, one_speech in zip(pose, speech):               # each window is one stretch of one take, of motion and speech alike
        places = [(n, at) for n, take in enumerate(corpus.poses) for at in range(len(take) - 49) if torch.equal(take[at:at + 50], one_pose)]
        assert any(torch.allclose(takes[n][at:at + 50], one_speech, atol=0.05) for n, at in places)


# ---- a model that listens to all layers --------------------------------------------------------------------------
def test_the_sum_of_layers_is_weighted_by_a_softmax_that_is_trained_along():
    torch.manual_seed(0)
    model = diffmotion.DiffMotion(diffmotion.DiffMotionConfig(5, 7, width=16, depth=1, heads=2, attention_window=10, speech_layers=3))
    layers = torch.randn(2, 30, 3, 7)
    assert torch.allclose(model.mix_layers(layers.flatten(2)), layers.mean(dim=2), atol=1e-6)            # equal shares at first
    with torch.no_grad():
        model.layer_shares.copy_(torch.log(torch.tensor([0.5, 0.2, 0.3])))
    wanted = 0.5 * layers[:, :, 0] + 0.2 * layers[:, :, 1] + 0.3 * layers[:, :, 2]
    assert torch.allclose(model.mix_layers(layers.flatten(2)), wanted, atol=1e-6)
    assert torch.allclose(model.encode_speech(layers.flatten(2)), model.encode_speech(wanted), atol=1e-5)
    torch.nn.init.normal_(model.final.weight)                    # zero at first: nothing would come back
    model.encode_speech(layers.flatten(2)).square().sum().backward()
    assert model.layer_shares.grad.abs().min() > 0


def test_a_stream_of_a_model_of_all_layers_equals_the_whole():
    torch.manual_seed(0)
    schedule = diffmotion.NoiseSchedule(20)
    model = diffmotion.DiffMotion(diffmotion.DiffMotionConfig(5, 7, width=16, depth=2, heads=2, attention_window=10, speech_layers=3), schedule).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    speech = torch.randn(1, 60, 21)
    whole = diffmotion.generate(model, schedule, speech, steps=4, guidance=1.5)
    stream = torch.cat(list(diffmotion.generate_stream(model, schedule, speech, steps=4, guidance=1.5, chunk=13)), dim=1)
    assert torch.allclose(whole, stream, atol=1e-4)


def test_train_and_sample_with_the_learned_sum_of_wavlms_layers(tiny_corpus, tmp_path):
    """The whole path as a user runs it, with WavLM Base+'s architecture and random weights."""
    torch.manual_seed(0)
    wavlm = torchaudio.models.wavlm_base()
    torch.save(wavlm.state_dict(), tmp_path / "random.pth")
    cache, out = tmp_path / "a cache", tmp_path / "run"
    common = ["--features", "wavlm", "--wavlm-checkpoint", tmp_path / "random.pth", "--cache", cache]
    done = run("train.py", "--data", tiny_corpus, "--out", out, "--steps", 10, "--layer", "sum", *common, *TINY)
    assert done.returncode == 0, done.stderr
    assert "MB an hour of speech" in done.stdout and (out / "layers.png").stat().st_size > 5000
    state = torch.load(out / "model.pt", weights_only=True)
    assert state["ema"]["layer_shares"].shape == (13,) and state["ema"]["layer_shares"].abs().max() > 0
    assert state["speech_scale"][0].shape == (13 * 768,)
    entries = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert len(entries) >= 2

    # sample.py needs the checkpoint, the speech and WavLM's weights; it standardises with what the checkpoint holds
    sound = next(tiny_corpus.rglob("*.wav"))
    done = run("sample.py", sound, "--checkpoint", out / "model.pt", "--wavlm-checkpoint", tmp_path / "random.pth", "--out", tmp_path / "out", "--steps", 2)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / f"{sound.stem}.bvh").exists()
    generator = sample.load_generator(out / "model.pt", wavlm_checkpoint=tmp_path / "random.pth")
    waveform = W.load_audio(sound)[:32_000]
    raw, (mean, deviation) = generator.features(waveform), state["speech_scale"]
    shares = state["ema"]["layer_shares"].float().softmax(dim=0)
    wanted = (((raw - mean) / deviation).unflatten(1, (13, 768)) * shares[:, None]).sum(dim=1)
    assert torch.allclose(generator.hear(waveform)[0], wanted, atol=1e-4)

    # hear.py draws with these weights
    done = run("hear.py", sound, "--wavlm-checkpoint", tmp_path / "random.pth", "--out", tmp_path / "out" / "heard.png")
    assert done.returncode == 0 and (tmp_path / "out" / "heard.png").stat().st_size > 50_000, done.stderr

    # other weights are other features: refused, in one line
    with torch.no_grad():
        wavlm.encoder.transformer.layers[5].layer_norm.bias[3] += 0.01
    torch.save(wavlm.state_dict(), tmp_path / "random.pth")
    with pytest.raises(W.SpeechError, match="random.pth: holds other weights"):
        sample.load_generator(out / "model.pt", wavlm_checkpoint=tmp_path / "random.pth")
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == entries


@pytest.mark.parametrize("arguments", [["--layer", "3"], ["--features", "wavlm", "--layer", "13"]])
def test_a_layer_without_wavlm_gets_one_line(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        train.parse()
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: --layer") and said.count("\n") == 1
