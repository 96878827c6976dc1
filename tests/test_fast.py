"""What makes passes of the network faster changes no number."""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from small_models import inputs, small_model, small_ours

from beyond import fast
from beyond.departures import segment_mask
from beyond.samplers import generate_whole
from diffmotion import PAPER, NoiseSchedule, causal_mask, rotary_angles, rotate

RECIPES = {"paper": PAPER, "ours": small_ours(), "ours, causal": small_ours(segment=1)}
many = pytest.mark.parametrize("name", RECIPES)


def faster(model):
    """A copy of the model that was made fast for sampling."""
    quick = copy.deepcopy(model)
    fast.for_sampling(quick, "cpu", "float32")
    return quick


@pytest.fixture(autouse=True)
def the_same_numbers_each_time():
    torch.manual_seed(0)


def same(ours, theirs, within=1e-5):
    """Equal to `within` of the largest number."""
    return (ours - theirs).abs().max() <= within * theirs.abs().max()


@many
def test_the_faster_network_gives_the_same_numbers(name):
    model, (x_t, t, speech) = small_model(RECIPES[name]), inputs(frames=21)
    quick, drop = faster(model), torch.tensor([True, False])
    assert same(quick(x_t, t, speech), model(x_t, t, speech))
    assert same(quick(x_t, t, speech, drop), model(x_t, t, speech, drop))
    if name == "ours":
        mask = segment_mask(21, window=8, segment=4, phases=torch.tensor([3, 1]))
        assert same(quick(x_t, t, speech, mask=mask), model(x_t, t, speech, mask=mask))


@many
def test_clips_and_steps_in_turn_do_not_mix(name):
    """What belongs to a clip or to a step is computed once: is it the right one's?"""
    model = small_model(RECIPES[name])
    quick, (x_t, t, speech), other = faster(model), inputs(), inputs(seed=2)[2]
    conditions = [quick.encode_speech(s) for s in (speech, other, other[:, :5])]
    steps = (t[:1], torch.tensor([700]), t)  # the last: a step for each clip
    with torch.no_grad():
        for clip, step in zip((0, 1, 0, 0, 2, 1, 2, 0, 1), (0, 0, 1, 0, 1, 2, 0, 2, 1)):
            condition, frames = conditions[clip], conditions[clip].shape[1]
            ours = quick.denoise(x_t[:, :frames], steps[step], condition)
            theirs = model.denoise(x_t[:, :frames], steps[step], condition)
            assert same(ours, theirs), (clip, step)


@many
@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_the_faster_network_samples_the_same_motion(name, guidance):
    model, speech = small_model(RECIPES[name], schedule=NoiseSchedule(30)), inputs()[2]
    how = dict(sampler="ddim", steps=5, seed=1, guidance=guidance)
    ours, plain = (generate_whole(m, model.schedule, speech, **how) for m in (faster(model), model))
    assert same(ours, plain, 1e-4)


def test_the_network_for_training_has_the_same_gradients():
    model, (x_t, t, speech) = small_model(small_ours()), inputs(frames=21)
    quick = copy.deepcopy(model)
    fast.for_training(quick, "cpu")
    for one in (model, quick):
        one(x_t, t, speech).square().mean().backward()
    for (name, p), q in zip(model.named_parameters(), quick.parameters()):
        if p.grad is not None:
            assert (p.grad - q.grad).abs().max() <= 1e-5 * p.grad.abs().max() + 1e-7, name


@pytest.mark.parametrize(
    "channels, width, kernel", [(5, 16, 3), (768, 1280, 33)], ids=["small", "WavLM at full size"]
)
@pytest.mark.parametrize(
    "dtype, tolerance",
    [(torch.float32, 1e-4), (torch.bfloat16, 0.02)],
    ids=["float32", "bfloat16"],
)
def test_a_convolution_as_a_matrix_product_is_pytorchs_own(
    channels, width, kernel, dtype, tolerance
):
    """In float64, because PyTorch's own in bfloat16 is wrong on some processors at full size."""
    conv = torch.nn.Conv1d(channels, width, kernel).to(dtype)
    x = torch.randn(1, channels, 20 + kernel - 1, dtype=dtype)
    weight, bias = conv.weight.double(), conv.bias.double()
    theirs = torch.nn.functional.conv1d(x.double(), weight, bias)
    assert torch.allclose(fast.MatrixProduct(conv)(x).double(), theirs, atol=tolerance)


@pytest.mark.parametrize(
    "frames, phases",
    [(6, None), (20, None), (20, [0, 3])],
    ids=["within the window", "beyond it", "segments that begin anywhere"],
)
def test_attention_by_hand_in_bfloat16_is_that_of_pytorch(frames, phases):
    """PyTorch's in float64 with a mask written out, from the same inputs; and backwards."""
    model = small_model(small_ours(), width=32)
    fast.plain_products(model)
    block = model.blocks[0].bfloat16()
    block.out.weight.data = torch.eye(32, dtype=torch.bfloat16)
    block.out.bias.data.zero_()
    x = torch.randn(2, frames, 32).bfloat16().requires_grad_()
    angles = rotary_angles(torch.arange(frames), 16).bfloat16()
    segment, first = (4, torch.tensor(phases)) if phases else (1, None)
    mask = segment_mask(frames, window=8, segment=segment, phases=first)
    ours = block.attention(x, angles, mask)

    def sees(n, k, phase):
        return n - 8 < k <= n or (k + phase) // segment == (n + phase) // segment

    allowed = torch.tensor(
        [
            [[[sees(n, k, phase) for k in range(frames)] for n in range(frames)]]
            for phase in phases or [0, 0]
        ]
    )
    q, k, v = block.qkv(x).view(2, frames, 3, 2, 16).permute(2, 0, 1, 3, 4)
    q, k, v = (z.transpose(1, 2).double() for z in (rotate(q, angles), rotate(k, angles), v))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    theirs = theirs.transpose(1, 2).reshape(2, frames, 32)
    assert torch.allclose(ours.double(), theirs, atol=0.03 * theirs.detach().abs().max().item())
    upstream = torch.randn(2, frames, 32)
    one, other = (
        torch.autograd.grad((y * upstream).sum(), x, retain_graph=True)[0].double()
        for y in (ours, theirs)
    )
    assert (one - other).norm() < 0.03 * other.norm()


def test_bfloat16_weights_leave_what_is_mixed_or_undone_in_full_precision():
    model = small_model(small_ours())
    fast.in_bfloat16(model)
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    assert model.transform.scale.dtype == torch.float32
    answer = model(*inputs())
    assert answer.dtype == torch.float32
    assert same(answer, small_model(small_ours())(*inputs()), 0.1)


def test_masks_and_angles_are_computed_once_for_each_length():
    model = faster(small_model())
    assert model.mask(9) is model.mask(9) and model.angles(9) is model.angles(9)
    assert torch.equal(model.mask(9), causal_mask(9)) and model.mask(5).shape == (5, 5)


MASKED = "001000100"


class Graph:
    """Stands in for torch.cuda.CUDAGraph: what it reads stays where it was when recorded."""

    replayed = None  # fast.Replayed

    def __init__(self):
        self.read = [once.half for once in self.replayed.onces]

    def replay(self):
        """The recorded pass again, which reads and writes the same memory."""
        owner = self.replayed
        assert all(once.half is half for once, half in zip(owner.onces, self.read))
        owner.eps.copy_(owner.denoise(owner.x_t, owner.t, owner.condition))


@many
def test_a_recorded_pass_follows_clip_step_shape_and_mask(name, monkeypatch):
    """The bookkeeping of fast.Replayed, without a GPU; tests/test_gpu.py needs one."""
    model = small_model(RECIPES[name])
    quick, (x_t, t, speech), other = copy.deepcopy(model), inputs(), inputs(seed=2)[2]
    fast.prepare(quick, fast.Replayed, compiled=True)  # as on a GPU: no step is remembered
    monkeypatch.setattr(Graph, "replayed", quick.denoise)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: contextlib.nullcontext())
    conditions = [quick.encode_speech(s) for s in (speech, other, other[:, :5])]
    steps, recorded = (t[:1], torch.tensor([700])), []
    with torch.no_grad():
        for clip, step, masked in zip(
            (0, 0, 1, 0, 2, 2, 1, 1, 0), (0, 1, 1, 0, 0, 1, 0, 1, 1), MASKED
        ):
            condition, frames = conditions[clip], conditions[clip].shape[1]
            mask = causal_mask(frames) if masked == "1" else None
            ours = quick.denoise(x_t[:, :frames], steps[step], condition, mask).clone()
            theirs = model.denoise(x_t[:, :frames], steps[step], condition, mask)
            assert same(ours, theirs), (clip, step, masked)
            recorded.append(quick.denoise.graph)
    assert recorded[0] is recorded[1]  # another step: nothing is recorded anew
    assert recorded[0] is not recorded[4] and recorded[4] is recorded[5]  # another length


# ------------------------------------------------------------------------------------------------
# Threads
# ------------------------------------------------------------------------------------------------
def threads_after(choose, monkeypatch, told=None):
    """How many of 8 threads are left after choose()."""
    count = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: count.__setitem__(0, n))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    choose()
    return count[0]


@pytest.mark.parametrize(
    "width, kind, waited_for, threads",
    [(128, "mel", False, 1), (1280, "mel", False, 8), (1280, "mel", True, 1),
     (128, "wavlm", False, 8), (128, "wavlm", True, 8)],
)  # fmt: skip
def test_a_small_model_samples_in_one_thread_and_live_always(
    width, kind, waited_for, threads, monkeypatch
):
    """WavLM itself is large."""
    model, features = SimpleNamespace(size=dict(width=width)), SimpleNamespace(kind=kind)
    generator = SimpleNamespace(model=model, features=features)

    def choose():
        fast.threads_for_sampling(generator, waited_for)

    assert threads_after(choose, monkeypatch) == threads
    assert threads_after(choose, monkeypatch, told="8") == 8


@pytest.mark.parametrize("width, threads", [(128, 2), (1280, 8)])
def test_a_small_model_is_trained_in_two_threads(width, threads, monkeypatch):
    model = SimpleNamespace(size=dict(width=width))
    assert threads_after(lambda: fast.threads_for_training(model), monkeypatch) == threads
