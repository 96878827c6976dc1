"""A model of all 13 of WavLM's layers, with learned shares: from the cache to the motion."""

import pytest
import torch
import torchaudio
from conftest import TINY, run
from test_features import little_wavlm

import lab.hearing
import sample
import train
import wavlm_loader
from beyond.departures import LayerMix
from beyond.recipes import OURS, with_layers, within
from beyond.stream import generate_long, generate_stream
from data import Corpus
from diffmotion import DiffMotion, NoiseSchedule
from recordings.audio import SpeechError, load_audio
from recordings.pairs import find_pairs
from wavlm_loader import SpeechFeatures


def test_the_layers_are_weighted_by_a_softmax_that_is_trained_along():
    torch.manual_seed(0)
    mix, layers = LayerMix(3 * 7, 16, layers=3), torch.randn(2, 30, 3, 7)
    joined = layers.flatten(2)  # [B, F, 3 * 7]
    assert torch.allclose(mix.mix(joined), layers.mean(dim=2), atol=1e-6)  # equal shares at first
    with torch.no_grad():
        mix.shares.copy_(torch.log(torch.tensor([0.5, 0.2, 0.3])))
    wanted = 0.5 * layers[:, :, 0] + 0.2 * layers[:, :, 1] + 0.3 * layers[:, :, 2]
    assert torch.allclose(mix.mix(joined), wanted, atol=1e-6)
    assert torch.allclose(mix(joined), mix.encoder(wanted), atol=1e-5)
    assert torch.allclose(mix(joined), mix(wanted), atol=1e-5)  # and mixed features stay
    mix(joined).square().sum().backward()
    assert mix.shares.grad.abs().min() > 0


def test_a_stream_of_a_model_of_all_layers_equals_the_whole():
    torch.manual_seed(0)
    schedule, recipe = NoiseSchedule(20), with_layers(within(OURS, 10), 3)
    model = DiffMotion(5, 3 * 7, 16, 2, 2, recipe=recipe, schedule=schedule).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    speech = torch.randn(1, 60, 3 * 7)
    how = dict(steps=4, guidance=1.5, sampler="dpmpp")
    whole = generate_long(model, schedule, speech, **how)
    stream = torch.cat(list(generate_stream(model, schedule, speech, chunk=20, **how)), dim=1)
    assert whole.shape == (1, 60, 5) and torch.allclose(whole, stream, atol=1e-4)


def test_windows_from_the_cache_are_standardised_pieces_of_the_recordings(
    tiny_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(wavlm_loader, "load_wavlm", lambda checkpoint=None: little_wavlm())
    pairs = [pair for part in find_pairs(tiny_corpus).values() for pair in part]
    features = SpeechFeatures("wavlm", layer="sum")
    corpus = Corpus(pairs, features, cache=tmp_path).to("cpu", 50)
    takes = [features(load_audio(sound)) for _, sound in pairs]
    every = torch.cat(takes).double()
    mean, deviation = every.mean(dim=0), every.std(dim=0)
    assert torch.allclose(corpus.speech_scale[0].double(), mean, atol=1e-3)
    assert torch.allclose(corpus.speech_scale[1].double(), deviation, rtol=1e-2)
    poses, speeches = corpus.batch(16, torch.Generator().manual_seed(0))
    assert speeches.shape == (16, 50, 13 * 16) and speeches.dtype == torch.float32
    takes = [((take - mean) / deviation).float() for take in takes]
    for pose, speech in zip(poses, speeches):  # motion and speech are of one place in one take
        places = [
            (n, at)
            for n, take in enumerate(corpus.poses)
            for at in range(len(take) - 49)
            if torch.equal(take[at : at + 50], pose)
        ]
        assert any(torch.allclose(takes[n][at : at + 50], speech, atol=0.05) for n, at in places)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of WavLM Base+'s architecture with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(torchaudio.models.wavlm_base().state_dict(), path)
    return path


def test_train_and_sample_with_the_learned_sum_of_wavlms_layers(tiny_corpus, tmp_path, weights):
    """The whole path as a user runs it."""
    cache, out = tmp_path / "a cache", tmp_path / "run"
    wavlm = ["--wavlm-checkpoint", weights]
    speech = ["--features", "wavlm", "--layer", "sum", *wavlm, "--cache", cache]
    done = run("train.py", "--data", tiny_corpus, "--out", out, "--steps", 10, *speech, *TINY)
    assert done.returncode == 0, done.stderr
    assert (out / "layers.png").stat().st_size > 5000
    state = torch.load(out / "model.pt", weights_only=True)
    shares = state["ema"]["speech_encoder.shares"].float()
    assert shares.shape == (13,) and shares.abs().max() > 0
    mean, deviation = state["speech_scale"]
    assert mean.shape == (13 * 768,)
    entries = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert len(entries) == 2  # the training take, and the one that the pictures show

    # sample.py standardises with what the checkpoint holds
    sound = next(tiny_corpus.rglob("*.wav"))
    model = ["--checkpoint", out / "model.pt"]
    done = run("sample.py", sound, *model, *wavlm, "--out", tmp_path / "out", "--steps", 2)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / f"{sound.stem}.bvh").exists()
    generator = sample.load_generator(out / "model.pt", wavlm_checkpoint=weights)
    waveform = load_audio(sound)[:32_000]
    layers = ((generator.features(waveform) - mean) / deviation).unflatten(1, (13, 768))
    wanted = (layers * shares.softmax(dim=0)[:, None]).sum(dim=1)  # [F, 768]
    assert torch.allclose(generator.speech_of(waveform)[0], wanted, atol=1e-4)

    # Other weights are other features: refused, in one line
    state = torch.load(weights)
    state["encoder.transformer.layers.5.layer_norm.bias"][3] += 0.01
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(SpeechError, match="other.pth: holds other weights"):
        sample.load_generator(out / "model.pt", wavlm_checkpoint=tmp_path / "other.pth")
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == entries


def test_features_of_a_file_of_weights_are_drawn(tiny_corpus, tmp_path, weights):
    sound, picture = next(tiny_corpus.rglob("*.wav")), tmp_path / "heard.png"
    lab.hearing.main([str(sound), "--wavlm-checkpoint", str(weights), "--out", str(picture)])
    assert picture.stat().st_size > 50_000


@pytest.mark.parametrize("arguments", [["--layer", "3"], ["--features", "wavlm", "--layer", "13"]])
def test_a_layer_without_wavlm_gets_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.parse(arguments)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: ")
    assert "--layer" in said and said.count("\n") == 1
