"""The checks of the exercises tell right from wrong, and one mistake from another.

Wrong answers as a student would write them, not taken from checks/, are in common_mistakes.py and
wrong_answers.py. The latter were collected before there were hints for them.
"""

import ast
import sys

import numpy as np
import pytest
import torch
import torchaudio
from conftest import ROOT
from diffusers import DDIMScheduler, DDPMScheduler
from scipy.fft import dct
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(ROOT / "notebooks"))
import checks  # noqa: E402
import solutions  # noqa: E402
from checks.diffusion import ABAR, BETAS  # noqa: E402
from checks.judging import difference, numbers  # noqa: E402
from common_mistakes import MISTAKES  # noqa: E402
from wrong_answers import WRONG_ANSWERS  # noqa: E402

EXERCISES = [check.__name__ for each in checks.EXERCISES.values() for check in each]
FUNCTIONS = [name for name in EXERCISES if callable(getattr(solutions, name))]
PREDICTIONS = [name for name in EXERCISES if name not in FUNCTIONS]


# ---- right answers -----------------------------------------------------------------------------
@pytest.mark.parametrize("name", EXERCISES)
def test_every_solution_is_right(name):
    assert getattr(checks, name)(getattr(solutions, name)).startswith("right: ")


def test_rotations_are_those_of_scipy():
    rng = np.random.default_rng(1)
    for angles, w in zip(rng.uniform(-180, 180, (20, 3)), rng.normal(size=(20, 3))):
        euler = Rotation.from_euler("ZXY", angles, degrees=True).as_matrix()
        np.testing.assert_allclose(solutions.euler_zxy(angles), euler, atol=1e-9)
        vector = Rotation.from_rotvec(w).as_matrix()
        np.testing.assert_allclose(solutions.exponential_map(w), vector, atol=1e-9)


def test_diffusion_is_that_of_diffusers():
    usual = dict(clip_sample=False, beta_schedule="linear", beta_start=1e-4, beta_end=2e-2)
    ddpm = DDPMScheduler(1000, prediction_type="sample", variance_type="fixed_small", **usual)
    ddim = DDIMScheduler(1000, **usual)
    ddim.set_timesteps(1000)
    random = torch.Generator().manual_seed(4)
    x0, x_t, eps = (torch.randn(1, 4, generator=random) for _ in range(3))
    for t in (1, 30, 600):
        noisy = ddpm.add_noise(x0, eps, torch.tensor([t]))
        mine = solutions.q_sample(x0, t, eps, ABAR)
        torch.testing.assert_close(mine, noisy, atol=1e-5, rtol=1e-5)

        mine = solutions.ddim_step(x_t, eps, ABAR[t], ABAR[t - 1])
        earlier = ddim.step(eps, t, x_t, eta=0.0).prev_sample
        torch.testing.assert_close(mine, earlier, atol=1e-4, rtol=1e-4)

        seeds = (torch.Generator().manual_seed(n) for n in range(2000))
        draws = torch.stack([ddpm.step(x0, t, x_t, generator=g).prev_sample for g in seeds])
        mine = solutions.posterior_mean(x0, x_t, t, BETAS, ABAR)
        error = float(4 * draws.std() / 2000**0.5)
        torch.testing.assert_close(mine, draws.mean(dim=0), atol=error, rtol=0)


def test_the_best_loss_is_that_of_a_regression_on_draws():
    rng = np.random.default_rng(1)
    for s, t in ((1.0, 500), (0.3, 100)):
        abar, eps = float(ABAR[t]), rng.normal(size=100_000)
        noisy = abar**0.5 * s * rng.normal(size=100_000) + (1 - abar) ** 0.5 * eps
        left = eps - np.polyval(np.polyfit(noisy, eps, 1), noisy)
        np.testing.assert_allclose(solutions.best_loss(abar, s), np.mean(left**2), atol=0.01)


def test_the_learning_rate_falls_as_torchs_does():
    rates, optimiser = [], torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 40)
    for _ in range(40):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        falling.step()
    mine = [solutions.learning_rate(10 + n, 10, 50, 0.5) for n in range(40)]
    np.testing.assert_allclose(mine, rates, atol=1e-6)


def test_mel_and_cepstra_are_those_of_torchaudio_and_scipy():
    tones, w = [50.0, 3000.0], np.random.default_rng(1).normal(size=3)
    theirs = [torchaudio.functional.functional._hz_to_mel(f) for f in tones]
    np.testing.assert_allclose(solutions.hz_to_mel(np.array(tones)), theirs)
    np.testing.assert_allclose(solutions.cepstra(w, 2), dct(w, norm="ortho")[:2])


def test_sight_and_step_say_which_samples_two_neighbouring_rows_depend_on():
    sight, step = solutions.sight_and_step([(4, 2), (3, 3)])
    sound = torch.zeros(1, 1, 40).requires_grad_()
    layers = torch.nn.Conv1d(1, 1, 4, 2), torch.nn.Conv1d(1, 1, 3, 3)
    rows = torch.nn.Sequential(*layers)(sound)[0, 0]
    gradients = (torch.autograd.grad(rows[n], sound, retain_graph=True)[0] for n in (1, 2))
    first, second = (gradient.flatten().nonzero().flatten() for gradient in gradients)
    assert (len(first), int(second[0] - first[0])) == (sight, step)


# ---- empty and broken answers ------------------------------------------------------------------
def dots(*arguments): ...


def nothing(*arguments):
    return None


def the_dots_themselves(*arguments):
    return ...


def not_yet(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("answer", [dots, nothing, the_dots_themselves, not_yet])
def test_an_empty_answer_is_called_empty(name, answer):
    assert getattr(checks, name)(answer).startswith("empty: ")


@pytest.mark.parametrize("name", PREDICTIONS)
def test_an_empty_prediction_is_called_empty_and_a_word_is_no_number(name):
    assert getattr(checks, name)(...).startswith("empty: ")
    assert getattr(checks, name)(None).startswith("empty: ")
    assert "a number is wanted" in getattr(checks, name)("half")


BROKEN = [
    (lambda *arguments: 1 / 0, "ZeroDivisionError"),
    (lambda *arguments: np.zeros((7, 2)), "shape"),
    (lambda *arguments: "x", "numbers"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("answer,words", BROKEN, ids=["raises", "shape", "text"])
def test_a_broken_answer_is_wrong_and_says_how(name, answer, words):
    said = getattr(checks, name)(answer)
    assert said.startswith("wrong: ") and words in said


def forgotten_return(*arguments):
    result = arguments[0]
    result = result


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_forgotten_return_is_not_called_empty(name):
    said = getattr(checks, name)(forgotten_return)
    assert said.startswith("wrong: ") and "`return` missing" in said


def with_docstring(*arguments):
    """What to do."""
    ...


def test_a_docstring_alone_is_empty():
    assert checks.guided(with_docstring).startswith("empty: ")


# ---- a mistake that nobody thought of: how does it differ? -------------------------------------
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mistake_that_nobody_thought_of_gets_one_line(name):
    def answer(*arguments):
        return 7 + 3 * numbers(getattr(solutions, name)(*arguments)) ** 3

    said = getattr(checks, name)(answer)
    assert said.startswith("wrong, by none of the common mistakes; it differs: ")
    assert "\n" not in said and len(said) < 300 and ("should be" in said or "every" in said)


WANTED = [np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.5, -2.0], [7.0, 4.0]])]
DIFFERENCES = [
    (lambda x: -x, "other sign"),
    (lambda x: x.T, "transpose"),
    (lambda x: x[::-1], "reverse order"),
    (lambda x: np.concatenate([x[:1], x[:-1]]), "late by one row"),
    (lambda x: np.concatenate([x[1:], x[-1:]]), "early by one row"),
    (lambda x: x * x, "the square"),
    (lambda x: abs(x) ** 0.5, "the root"),
    (lambda x: 1 - x, "1 minus"),
    (lambda x: 1 / x, "1 divided by"),
    (abs, "lacks its sign"),
    (lambda x: 2.5 * x, "is 2.5 times"),
    (lambda x: x[0, 0] * x, "depends on the input (0.5, 1)"),
    (lambda x: x - 0.25, "off by -0.25"),
    (lambda x: x / 0, "finite"),
    (lambda x: np.triu(x), "1 of 4 numbers are wrong, all below the diagonal"),
    (
        lambda x: x + np.eye(2),
        "at [0, 0] it should be 1 and is 2; 2 of 4 numbers are wrong, all on",
    ),
    (lambda x: x if x[0, 0] == 1 else x + x**3, "1 of 2 inputs come out right"),
    (lambda x: np.roll(x, 1), "their places are not"),
]


@pytest.mark.parametrize("change,words", DIFFERENCES, ids=[words for _, words in DIFFERENCES])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_how_numbers_differ_is_said_in_words(change, words):
    assert words in difference([change(x) for x in WANTED], WANTED, ["", ""])


def test_the_first_wrong_input_is_named_by_its_small_arguments():
    said = checks.ema_update(lambda average, weight, decay: average + decay**3 * weight)
    assert "for decay = 0.9, at [0] it should be" in said


# ---- the share of mistakes that are named ------------------------------------------------------
def test_no_wrong_answer_is_accepted_and_nine_in_ten_are_named():
    """Before there were hints for them, 7 of 238 were named."""
    named = 0
    for name, slip, answer in WRONG_ANSWERS:
        with np.errstate(all="ignore"):
            said = getattr(checks, name)(answer)
        assert said.startswith("wrong") and "\n" not in said, (name, slip, said)
        assert "stops with" not in said, (name, slip, said)
        unnamed = "none of the common" in said or said in ("wrong: too large", "wrong: too small")
        named += not unnamed
    assert len(WRONG_ANSWERS) > 250 and named > 0.9 * len(WRONG_ANSWERS)


# ---- common mistakes, each with its own hint ---------------------------------------------------
@pytest.mark.parametrize(
    "name,answer,words", MISTAKES, ids=[f"{name}-{words}" for name, _, words in MISTAKES]
)
def test_each_mistake_gets_its_own_hint(name, answer, words):
    said = getattr(checks, name)(answer)
    assert said.startswith("wrong: ") and words in said, said


def test_every_hint_has_its_mistake():
    """A hint that no wrong answer leads to is a dead line, or a case is missing."""
    answers = [(name, answer) for name, answer, _ in MISTAKES]
    answers += [(name, answer) for name, _, answer in WRONG_ANSWERS]
    with np.errstate(all="ignore"):
        said = {getattr(checks, name)(answer).removeprefix("wrong: ") for name, answer in answers}
    hints = set()
    for path in (ROOT / "notebooks" / "checks").glob("*.py"):
        tree = ast.parse(path.read_text())
        keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
        hints |= {key.value for key in keys if isinstance(key, ast.Constant)}
    hints = {hint for hint in hints if isinstance(hint, str) and not hint.startswith(", all ")}
    assert len(hints) > 200 and sorted(hints - said) == []
