"""How our weights move: Muon, the cosine, averaged weights.

test_departures.py compares 20 steps of training with all three written again from the equations.
"""

import math

import pytest
import torch
from small_models import small_model, small_ours

import train
from beyond.departures import cosine
from beyond.muon import Muon, muon, orthogonalised


def test_each_weight_has_one_optimiser_and_muon_the_matrices_of_speech_encoder_and_blocks():
    model = small_model(small_ours())
    names = {id(p): name for name, p in model.named_parameters()}
    both = muon(model, lr=1e-3)
    held = [
        [names[id(p)] for group in one.param_groups for p in group["params"]] for one in both.both
    ]
    assert sorted(sum(held, [])) == sorted(names.values())
    assert {name.split(".")[0] for name in held[0]} == {"speech_encoder", "blocks"}
    assert all("bias" not in name for name in held[0])
    assert not any(n.startswith(("speech_encoder", "blocks")) and "weight" in n for n in held[1])
    assert [group["lr"] for group in both.param_groups] == [2e-3, 1e-3, 1e-3]
    assert [group["weight_decay"] for group in both.param_groups] == [0.01, 0.01, 0.0]


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 9, 4), (2, 4, 9)])
def test_orthogonalising_acts_on_singular_values_alone_as_its_polynomial_does(shape):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, lengths, right = torch.linalg.svd(A, full_matrices=False)
    s = lengths / (A.norm(dim=(1, 2))[:, None] + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    expected = left @ torch.diag_embed(s) @ right
    torch.testing.assert_close(orthogonalised(A), expected, rtol=0, atol=1e-9)
    assert (0.65 < s[lengths > lengths[:, :1] / 20]).all() and (s < 1.25).all()


def test_muon_takes_the_steps_of_pytorchs():
    random = torch.Generator().manual_seed(0)
    shapes = [(12, 8), (12, 8), (8, 20), (8, 8), (6, 5, 3)]
    ours = [torch.randn(shape, generator=random).requires_grad_() for shape in shapes]
    # PyTorch's knows no convolutions
    theirs = [p.detach().clone().flatten(1).requires_grad_() for p in ours]
    start = [p.detach().clone() for p in theirs]
    optimisers = (
        Muon(ours, 0.02, 0.1, dtype=torch.bfloat16),
        torch.optim.Muon(theirs, 0.02, 0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for step in range(20):
        gradients = [torch.randn(shape, generator=random) for shape in shapes]
        for params, optimiser in zip((ours, theirs), optimisers):
            for n, (p, gradient) in enumerate(zip(params, gradients)):
                unused = n == 3 and step % 2
                p.grad = None if unused else gradient.clone().view_as(p)
            optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 20)
            optimiser.step()
    # Theirs rounds each product to bfloat16, in another order
    for p, q, begun in zip(ours, theirs, start):
        assert (p.flatten(1) - q).norm() < 0.01 * (q - begun).norm()


def test_the_cosine_rises_and_falls_to_zero():
    rates = [cosine(step, 10, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)]) and rates[10] == 1
    assert rates[60] == pytest.approx(0.5) and rates[110] == pytest.approx(0, abs=1e-9)
    assert all(a > b for a, b in zip(rates[10:], rates[11:]))
    assert cosine(0, 0, 1) == 1


def test_averaged_weights_remember_a_tenth_of_all_steps_at_first_and_500_in_the_end():
    """A weight that was 0 until now and is 1 from now on: how much of it is 1 after n steps?"""
    ema, model = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    for begun, steps in ((0, 1), (100, 11), (100_000, 500)):
        ema.weight.data.zero_()
        for step in range(begun, begun + steps):
            train.average(ema, model, 0.998, step)
        left = math.prod(min(0.998, (n + 1) / (n + 10)) for n in range(begun, begun + steps))
        assert ema.weight.item() == pytest.approx(1 - left, abs=1e-4)
    train.average(ema, model, 0.0, 5)
    assert ema.weight.item() == 1, "without: the last weights"
