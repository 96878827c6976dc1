"""beyond/stream.py: speech in pieces gives what the whole gives, and nothing that is kept grows."""

import gc

import numpy as np
import pytest
import torch
from small_models import small_model, small_ours
from test_audio import speechlike

from beyond.departures import ContextEncoder
from beyond.samplers import generate_whole
from beyond.stream import conditions, generate_long, generate_stream, in_chunks, motions
from body.pose import PoseCodec
from diffmotion import PAPER, NoiseSchedule
from recordings.blocks import features_in_blocks
from recordings.level import loud_level
from sample import load_generator
from tools import SHIPPED, CheckpointError


def ours(segment=1, **more):
    """A small network of ours; it hears 2 frames ahead and remembers 8."""
    return small_model(small_ours(segment=segment, **more))


# ------------------------------------------------------------------------------------------------
# Conditions
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [1, 2, 3, 31, 90])
@pytest.mark.parametrize("piece", [1, 3, 8, 40])
def test_conditions_of_pieces_are_those_of_the_whole(length, piece):
    """Lengths below what is heard ahead (2), and far beyond the running average's window (8)."""
    model, speech = ours(), torch.randn(2, length, 5)
    pieces = list(conditions(model, speech.split(piece, dim=1), lambda frames: 0))
    with torch.no_grad():
        assert torch.allclose(torch.cat(pieces, dim=1), model.encode_speech(speech), atol=1e-5)


def test_a_frame_is_given_out_as_soon_as_it_was_heard():
    pieces = torch.randn(1, 12, 5).split(3, dim=1)
    given_out = [c.shape[1] for c in conditions(ours(), pieces, lambda frames: 0)]
    assert given_out == [1, 3, 3, 3, 2]  # 2 frames are heard ahead


def test_the_last_segment_is_filled_with_silence_that_is_heard():
    model, speech = ours(), torch.randn(1, 10, 5)
    made = torch.cat(list(conditions(model, [speech], lambda frames: -frames % 4)), dim=1)
    filled = torch.nn.functional.pad(speech, (0, 0, 0, 2))
    with torch.no_grad():
        assert torch.allclose(made, model.encode_speech(filled), atol=1e-5)


@pytest.mark.parametrize("lengths", [[1], [4], [3, 3, 3], [9, 1], [1, 1, 12]])
def test_chunks_are_the_pieces_cut_anew(lengths):
    pieces = list(torch.arange(sum(lengths))[None, :, None].split(lengths, dim=1))
    chunks = list(in_chunks(pieces, 4))
    assert torch.equal(torch.cat(chunks, dim=1), torch.cat(pieces, dim=1))
    assert all(chunk.shape[1] == 4 for chunk in chunks[:-1]) and chunks[-1].shape[1] <= 4


# ------------------------------------------------------------------------------------------------
# Poses
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sampler, guidance", [("ddpm", 1.0), ("ddim", 1.5), ("dpmpp", 2.0)])
def test_a_stream_of_speech_gives_the_motion_of_the_whole(sampler, guidance):
    model, schedule, speech = ours(), NoiseSchedule(), torch.randn(2, 70, 5)
    settings = dict(sampler=sampler, steps=6, guidance=guidance, seed=3)
    whole = generate_whole(model, schedule, speech, **settings)
    for piece, chunk in ((1, 7), (13, 20), (70, 100)):
        pieces = iter(speech.split(piece, dim=1))
        stream = list(generate_stream(model, schedule, pieces, chunk=chunk, **settings))
        apart = (torch.cat(stream, dim=1) - whole).abs().max()
        assert apart < 1e-3 * whole.abs().max()


def test_a_chunk_comes_before_the_speech_behind_it_is_there():
    heard = []

    def pieces():
        for n in range(20):
            heard.append(n)
            yield torch.randn(1, 1, 5)

    stream = generate_stream(ours(segment=4), NoiseSchedule(), pieces(), steps=2, chunk=8)
    for chunks in (1, 2):
        next(stream)
        assert len(heard) == 8 * chunks + 2, "what is heard ahead, and no more"


def test_long_speech_is_made_in_chunks_and_is_the_same(monkeypatch):
    """Beyond four windows of attention, which are 32 frames here."""
    model, schedule, speech = ours(segment=4), NoiseSchedule(), torch.randn(1, 90, 5)
    settings = dict(sampler="dpmpp", steps=4, guidance=1.2, seed=1)
    filled = torch.nn.functional.pad(speech, (0, 0, 0, 2))
    whole = generate_whole(model, schedule, filled, **settings)[:, :90]
    assert torch.allclose(generate_long(model, schedule, speech, **settings), whole, atol=1e-3)
    calls = []
    monkeypatch.setattr("beyond.stream.generate_stream", lambda *_, **more: calls.append(more))
    generate_long(model, schedule, speech[:, :32], **settings)
    assert calls == []
    with pytest.raises(TypeError):  # there is nothing to join
        generate_long(model, schedule, speech[:, :33], **settings)
    assert [more["chunk"] for more in calls] == [32]


def bytes_alive():
    """Of all tensors that anything still holds."""
    gc.collect()
    tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor]
    storages = [x.untyped_storage() for x in tensors if x.layout == torch.strided]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize("window", [8, 300], ids=["8 frames", "300 frames, while it fills"])
def test_what_a_stream_remembers_does_not_grow(monkeypatch, window):
    """Counted from outside while frames 50 to 250 of a thousand go by."""
    monkeypatch.setattr("beyond.stream.window_of", lambda model: window)
    speech = iter(torch.randn(1, 1000, 5).split(10, dim=1))
    stream = generate_stream(ours(), NoiseSchedule(), speech, steps=2, chunk=10)
    alive = [bytes_alive() for n, _ in zip(range(26), stream) if n in (5, 10, 15, 20, 25)]
    grows = max(alive) > min(alive)
    assert len(alive) == 5 and grows == (window == 300), "the counting counts"


def test_a_model_that_sees_back_to_the_first_frame_makes_no_chunks():
    for recipe in (PAPER, small_ours(window=None)):
        stream = generate_stream(small_model(recipe), NoiseSchedule(), torch.randn(1, 9, 5))
        with pytest.raises(CheckpointError, match="sees back to the first frame"):
            next(stream)


def test_the_network_itself_is_left_as_it_was():
    model, schedule, speech = ours(), NoiseSchedule(), torch.randn(1, 20, 5)
    x_t, t = torch.randn(1, 20, 6), torch.tensor([500])
    before = model(x_t, t, speech)
    list(generate_stream(model, schedule, speech, steps=2, chunk=5))
    assert torch.equal(model(x_t, t, speech), before)
    assert isinstance(model.speech_encoder, ContextEncoder)


# ------------------------------------------------------------------------------------------------
# Motions
# ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "chunk, segment, root", [(10, 10, "places"), (80, 40, "places"), (40, 40, "steps")]
)
def test_motions_of_a_stream_are_parts_of_the_motion_of_the_whole(chunk, segment, root):
    """steps: the same features, taken for those of somebody who walks."""
    generator = load_generator(SHIPPED)
    generator.codec = PoseCodec(generator.codec.state() | dict(root=root))
    waveform = torch.from_numpy(speechlike(6.03))
    settings = dict(steps=4, sampler="dpmpp", guidance=1.2, seed=2)
    speech = generator.speech_of(waveform)
    (whole,) = generator(speech, segment=segment, **settings)
    level = loud_level(waveform)
    pieces = features_in_blocks(generator.features, waveform.split(3000), lambda: level)
    parts = list(motions(generator, pieces, chunk, **settings))
    joined = np.concatenate([part.joint_positions() for part in parts])
    assert len(joined) == len(whole) == 121
    assert np.abs(joined - whole.joint_positions()).max() < 0.01  # cm


def test_a_chunk_that_would_cut_a_segment_is_refused():
    generator = load_generator(SHIPPED)
    with pytest.raises(CheckpointError, match="--chunk 50.* multiple of 40, or fewer"):
        next(motions(generator, iter([torch.zeros(60, 40)]), 50))
