"""Would we notice? Each mistake here is put into diffmotion.py or train.py, and a test must fail.

A row says what is wrong, the text that is replaced, the text in its place, and the test of
test_paper.py that notices.
"""

import types

import pytest
import small_models
import test_paper
from conftest import ROOT

NETWORK = "test_the_network_is_what_its_equations_say"
SAMPLER = "test_ddpm_is_algorithm_2_of_ho_et_al"
TRAINING = "test_20_steps_of_training_are_those_of_the_equations"
ATTENTION = "self.attention(self.norm(x) * (1 + scale_1) + shift_1, angles, mask)"
MLP = "self.mlp(self.norm(x) * (1 + scale_2) + shift_2)"
FINAL = "self.final(self.final_norm(x) * (1 + scale) + shift)"
POSTERIOR = "return mean, (1 - alpha) * (1 - abar_next) / (1 - abar)"

SWAPPED = "[angle.sin(), angle.cos()], dim"

IN_NETWORK = [
    ("attention is not normalised", ATTENTION, ATTENTION.replace("self.norm(x)", "x")),
    ("the MLP is not normalised", MLP, MLP.replace("self.norm(x)", "x")),
    ("scale_1 lacks 1 +", ATTENTION, ATTENTION.replace("1 + ", "")),
    ("scale_2 lacks 1 +", MLP, MLP.replace("1 + ", "")),
    ("no scale_1", ATTENTION, ATTENTION.replace(" * (1 + scale_1)", "")),
    ("no scale_2", MLP, MLP.replace(" * (1 + scale_2)", "")),
    ("no shift_1", ATTENTION, ATTENTION.replace(" + shift_1", "")),
    ("no shift_2", MLP, MLP.replace(" + shift_2", "")),
    ("no gate_1", "gate_1 * self.attention", "self.attention"),
    ("no gate_2", "gate_2 * self.mlp", "self.mlp"),
    ("shift and scale swapped", "shift_1, scale_1, gate_1,", "scale_1, shift_1, gate_1,"),
    ("no residual at attention", "x + gate_1 * self", "gate_1 * self"),
    ("no residual at the MLP", "x + gate_2 * self", "gate_2 * self"),
    ("the final layer is not normalised", FINAL, FINAL.replace("self.final_norm(x)", "x")),
    ("the final scale lacks 1 +", FINAL, FINAL.replace("1 + ", "")),
    ("no final scale", FINAL, FINAL.replace(" * (1 + scale)", "")),
    ("no final shift", FINAL, FINAL.replace(" + shift", "")),
    ("adaLN without SiLU", "self.linear(fun.silu(both))", "self.linear(both)"),
    ("the network is never told t", "both = condition + step[:, None]", "both = condition"),
    ("the network is told t + 1", "sinusoid(t, self", "sinusoid(t + 1, self"),
    ("cosine and sine swapped", "[angle.cos(), angle.sin()], dim", SWAPPED),
    ("the step's MLP is linear", "nn.Linear(W, W), nn.SiLU()", "nn.Linear(W, W), nn.Identity()"),
    ("ReLU instead of GELU", "nn.GELU()", "nn.ReLU()"),
    ("the mask is not causal", "device=device).tril()", "device=device)"),
    ("padded on the right", "(0, 0, self.kernel - 1, 0)", "(0, 0, 0, self.kernel - 1)"),
    ("rotary left out of q", "rotate(q, angles), rotate(k, angles)", "q, rotate(k, angles)"),
    ("rotary left out of k", "rotate(q, angles), rotate(k, angles)", "rotate(q, angles), k"),
    ("rotary turns the other way", "a * cos - b * sin, a * sin", "a * cos + b * sin, -a * sin"),
    ("scores are not divided", "attn_mask=mask)", "attn_mask=mask, scale=1.0)"),
    ("the condition of frame n - 1", "encoder(speech)  #", "encoder(speech).roll(1, 1)  #"),
    ("the null condition is not used", "[:, None, None], null, cond", "[:, None, None], 0.0, cond"),
    ("the null condition for the others", "torch.where(drop[", "torch.where(~drop["),
]
IN_DIFFUSION = [
    ("the variance is beta", POSTERIOR, "return mean, 1 - alpha",
     "test_the_posterior_is_bayes_rule"),
    ("the posterior of another step", "t - 1 if t_next is None", "t - 2 if t_next is None",
     "test_the_posterior_is_bayes_rule"),
    ("noise of the step before", "abar = self.abar(t, x0)", "abar = self.abar(t - 1, x0)",
     "test_noise_is_added_at_once_as_if_it_had_been_added_step_by_step"),
    ("noise that is not noise's root", "(1 - abar) ** 0.5 * noise", "(1 - abar) * noise",
     "test_noise_variance_stays_one_at_every_step"),
    ("betas rise otherwise", "dtype=torch.float64)\n        abar", "dtype=torch.float64) ** 1.1\n"
     "        abar", "test_there_are_1000_steps_with_betas_that_rise_in_equal_steps"),
    ("the network is asked at the next step", "predict_eps(x, t))", "predict_eps(x, t_next))",
     SAMPLER),
    ("no step 999", "range(schedule.num_steps)", "range(schedule.num_steps - 1)",
     "test_all_frames_are_made_at_once_in_1000_passes_of_falling_steps"),
    ("no noise in sampling", "mean + variance**0.5 * noise()", "mean", SAMPLER),
    ("gates begin open", "nn.init.zeros_(self.linear.weight)", "pass",
     "test_a_block_begins_as_the_identity"),
    ("an untrained network answers", "nn.init.zeros_(self.final.weight)", "pass",
     "test_an_untrained_network_predicts_no_noise"),
]  # fmt: skip
IN_TRAINING = [
    ("another target", "(eps - predicted) ** 2", "(x0 - predicted) ** 2"),
    ("the absolute error", "(eps - predicted) ** 2", "(eps - predicted).abs()"),
    ("the mean of another axis", "error).mean()", "error).sum(-1).mean()"),
    ("no dropout", "< DROP", "< 0"),
    ("the gradient is not clipped", "CLIP = 0.5", "CLIP = 50.0"),
    ("no warm-up", '* recipe.learning_rate(step, s.warmup, s.steps)', "* 1.0"),
    ("the gradient is never cleared", "model.zero_grad(set_to_none=True)", "pass"),
    ("noise of another step", "add_noise(x0, t, eps)", "add_noise(x0, t - 1, eps)"),
    ("the weights are averaged", "decay = min(decay, ", "decay = min(0.9, "),
]  # fmt: skip
MISTAKES = (
    [("diffmotion.py", *mistake, NETWORK) for mistake in IN_NETWORK]
    + [("diffmotion.py", *mistake) for mistake in IN_DIFFUSION]
    + [("train.py", *mistake, TRAINING) for mistake in IN_TRAINING]
)


def with_mistake(file, right, wrong, monkeypatch):
    """The file with a mistake, in the place of what the tests have imported from it."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.count(right) == 1, f"{file} has changed: change this test's table too"
    mistaken = types.ModuleType(file.removesuffix(".py"))
    exec(compile(text.replace(right, wrong), file, "exec"), mistaken.__dict__)
    for module in (test_paper, small_models):
        if file == "train.py":
            monkeypatch.setattr(module, "train", mistaken)
        for name, value in vars(mistaken).items():
            ours = getattr(value, "__module__", None) == mistaken.__name__ or name == "PAPER"
            if file == "diffmotion.py" and ours and hasattr(module, name):
                monkeypatch.setattr(module, name, value)


def given(test, tmp_path, monkeypatch):
    """What a test of test_paper.py is called with."""
    if test == NETWORK:
        return dict(size={}, drop=[True, False])
    if test == TRAINING:
        return dict(tmp_path=tmp_path, monkeypatch=monkeypatch)
    return dict(t=40) if "bayes" in test else {}


@pytest.mark.parametrize(
    "file, right, wrong, test",
    [pytest.param(file, *rest, id=what) for file, what, *rest in MISTAKES],
)
def test_it_would_be_noticed(file, right, wrong, test, monkeypatch, tmp_path):
    with_mistake(file, right, wrong, monkeypatch)
    with pytest.raises(AssertionError):
        getattr(test_paper, test)(**given(test, tmp_path, monkeypatch))


@pytest.mark.parametrize("file, test", sorted({(file, test) for file, *_, test in MISTAKES}))
def test_without_a_mistake_they_pass(file, test, monkeypatch, tmp_path):
    with_mistake(file, "import torch\n", "import torch\n", monkeypatch)
    getattr(test_paper, test)(**given(test, tmp_path, monkeypatch))
