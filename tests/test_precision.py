"""sample.py --precision and --compile: bfloat16 and torch.compile, and when they are chosen."""

import numpy as np
import pytest
import torch
from test_audio import speechlike

from beyond import fast
from beyond.stream import generate_by_recipe
from sample import load_generator
from tools import SHIPPED, CheckpointError

LIMIT = 0.05  # 0.006 in bfloat16, 0.54 without attention


def walks(spoil=None):
    """The shipped model on 3 s of speech in float32, in bfloat16, and with another seed.

    -> the model in bfloat16, and how far it is from float32 as a share of how far the other seed
    is. spoil(model): what is done to the one in bfloat16 first.
    """
    whole, coarse = (load_generator(SHIPPED, precision=p) for p in ("float32", "bfloat16"))
    if spoil:
        spoil(coarse.model)
    speech = whole.speech_of(torch.from_numpy(speechlike(3)))
    a, b, other = (
        generate_by_recipe(one.model, one.schedule, speech, steps=5, seed=seed)
        for one, seed in ((whole, 0), (coarse, 0), (whole, 1))
    )
    assert b.dtype == torch.float32 and not torch.equal(a, b)
    return coarse.model, float((a - b).square().mean() / (a - other).square().mean()) ** 0.5


def without_attention(model):
    """One product of each block gives nothing: a mistake that must not pass for rounding."""
    for block in model.blocks:
        block.out = torch.nn.Identity()


def test_bfloat16_weights_walk_the_same_way():
    """To the digits that bfloat16 has (8 bits, 0.4%); the news' deviations keep all of theirs."""
    model, share = walks()
    assert model.final.weight.dtype == torch.bfloat16
    assert model.transform.scale.dtype == torch.float32
    assert share < LIMIT, "little, beside another seed"
    assert walks(without_attention)[1] > 3 * LIMIT


@pytest.mark.parametrize("width, has, expected", [
    (32, True, torch.bfloat16), (33, True, torch.float32), (32, False, torch.float32),
])  # fmt: skip
def test_precision_is_chosen_by_width_and_processor(tiny_run, monkeypatch, width, has, expected):
    monkeypatch.setattr(fast, "BF16_WIDTH", width)
    monkeypatch.setattr(fast, "has_bf16", lambda device: has)
    generator = load_generator(tiny_run / "last.pt", precision="auto")  # 32 wide
    assert generator.model.final.weight.dtype == expected


def test_a_space_in_the_path_is_said_before_the_compiler_stumbles_over_it(tiny_run, monkeypatch):
    monkeypatch.setattr(torch, "__file__", "/home/a user/.venv/torch/__init__.py")
    with pytest.raises(CheckpointError, match="^--compile: .*a user.* leave --compile out"):
        load_generator(tiny_run / "last.pt", compile=True)


def test_a_missing_compiler_is_one_line(tiny_run, monkeypatch):
    monkeypatch.setattr(torch, "__file__", "/home/user/.venv/torch/__init__.py")  # no space in it
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CheckpointError, match="^--compile: needs the C.. compiler no-such-compil"):
        load_generator(tiny_run / "last.pt", compile=True)


@pytest.mark.skipif(" " in torch.__file__, reason="torch.compile needs a path without spaces")
def test_the_compiled_network_gives_the_motion_of_the_plain_one(tiny_run, tmp_path, monkeypatch):
    """Half a minute of compiling, for one block."""
    # What another run has compiled proves nothing
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled, compile = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or compile(f))
    plain, fused = (load_generator(tiny_run / "last.pt", compile=c) for c in (False, True))
    assert [function.__name__ for function in compiled] == ["denoise"]
    speech = torch.randn(1, 20, 40)
    a, b = (
        generate_by_recipe(one.model, one.schedule, speech, steps=4, guidance=1.5, seed=0)
        for one in (plain, fused)
    )
    assert np.allclose(a, b, rtol=1e-4, atol=1e-4)
