"""DiffMotion-v2: a diffusion model that turns speech features into full-body motion.

This file is the paper: "Audio is all in one: speech-driven gesture synthetics using WavLM
pre-trained model" (arXiv 2308.05995). Read it from top to bottom:

    1. NoiseSchedule    motion dissolves into noise, and the posterior of one step back  (DDPM)
    2. the network      adaLN, block, speech encoder, gesture encoder, DiffMotion
    3. sampling         DDPM, and `generate`: all frames of a clip at once
    4. training         weight of the loss, optimiser, learning rate; the loop is in train.py
    5. Recipe           which of these pieces is used where. Its defaults are the paper

With the defaults of Recipe this file is the paper's model. Fields of Recipe that are 0 or off by
default belong to our own recipe, in beyond/: here they do nothing. For the same reason some steps
are methods of their own (attend, with_past, mask, angles): beyond/ replaces them.

Shapes: B clips, F frames (20 a second), P pose features, S speech features, W width of the network.
Symbols are those of Ho et al. 2020: betas, abar_t (alphas_cumprod), x0 = clean motion, x_t, eps.

Sources: some numbers are missing in the paper. For these we take the values of the configuration
files that its authors published for their next model, marked "the authors'". What is open in both
is marked "our choice". The block with adaLN, its GELU and 4 W wide MLP, and the weights that start
at zero are those of DiT (Peebles & Xie 2022).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as fun


# ------------------------------------------------------------------------------------------------
# 1. The noise schedule
# ------------------------------------------------------------------------------------------------
class NoiseSchedule(nn.Module):
    """Linear betas: betas, alphas_cumprod, float32 [num_steps]; entry t belongs to x_t.

    Steps are numbered 0 to 999. Careful: x_t at t = 0 has a little noise already. The clean motion,
    always called x0, is step t = -1, with abar = 1. The authors' last beta differs between their
    configurations; ours is DDPM's (Ho et al. 2020). ValueError for betas outside 0 to 1, or so
    large that nothing of the motion is left.
    """

    def __init__(self, num_steps=1000, beta_start=1e-4, beta_end=2e-2):
        super().__init__()
        if not 0 < beta_start <= beta_end < 1 or num_steps < 1:
            raise ValueError(f"no schedule: {num_steps} steps, betas {beta_start} to {beta_end}")
        self.num_steps, self.beta_start, self.beta_end = num_steps, beta_start, beta_end
        # The product of 1000 factors is formed in float64: float32 would lose a digit
        betas = torch.linspace(beta_start, beta_end, num_steps, dtype=torch.float64)
        abar = torch.cumprod(1 - betas, dim=0)
        if abar[-1] < 1e-24:  # predict_x0 divides by its root, which float32 would round away
            raise ValueError(f"betas up to {beta_end} leave no motion after {num_steps} steps")
        # The usual names, for the notebooks and tests; abar(t) reads the table below
        self.register_buffer("betas", betas.float(), persistent=False)
        self.register_buffer("alphas_cumprod", abar.float(), persistent=False)
        # The same with a 1 behind it, which index -1 finds: abar of the clean data
        self.register_buffer("table", fun.pad(abar.float(), (0, 1), value=1.0), persistent=False)
        self.numbers = self.table.tolist()  # as Python's numbers, for an int t

    def settings(self):
        """What __init__ needs to build it again."""
        return dict(num_steps=self.num_steps, beta_start=self.beta_start, beta_end=self.beta_end)

    def abar(self, t, like):
        """abar_t for t [B], as [B, 1, 1] for `like` [B, F, P]; for an int t a plain number."""
        if isinstance(t, int):  # a sampler's step: no GPU has to be waited for
            return self.numbers[t]
        return self.table[t].reshape(-1, *[1] * (like.dim() - 1))  # [B, 1, 1]

    def add_noise(self, x0, t, noise):
        """q(x_t | x0), often called q_sample: x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise."""
        abar = self.abar(t, x0)
        return abar**0.5 * x0 + (1 - abar) ** 0.5 * noise

    def predict_x0(self, x_t, t, eps):
        """The same equation solved for x0: what the data would be if eps were the noise."""
        abar = self.abar(t, x_t)
        return (x_t - (1 - abar) ** 0.5 * eps) / abar**0.5

    def posterior(self, x0, x_t, t, t_next=None):
        """q(x_{t-1} | x_t, x0), equations 6 and 7 of Ho et al. -> (mean [B, F, P],
        variance [B, 1, 1], or a number for an int t).

            beta = 1 - alpha,   alpha = abar_t / abar_{t-1}
            mean = sqrt(abar_{t-1}) beta / (1 - abar_t) x0
                   + sqrt(alpha) (1 - abar_{t-1}) / (1 - abar_t) x_t
            variance = beta (1 - abar_{t-1}) / (1 - abar_t)

        t_next: the step in the place of t - 1, for a sampler that skips some.
        """
        abar = self.abar(t, x_t)
        abar_next = self.abar(t - 1 if t_next is None else t_next, x_t)
        alpha = abar / abar_next
        mean = abar_next**0.5 * (1 - alpha) / (1 - abar) * x0
        mean = mean + alpha**0.5 * (1 - abar_next) / (1 - abar) * x_t
        return mean, (1 - alpha) * (1 - abar_next) / (1 - abar)


# ------------------------------------------------------------------------------------------------
# 2. The network: eps(x_t, t, speech)
# ------------------------------------------------------------------------------------------------
class AdaLN(nn.Module):
    """Adaptive layer norm: shift, scale and gate from the condition of frame n and the step t.

        modulation = Linear(SiLU(condition_n + step_t))        the same Linear for all frames

    Each block has its own, with 6 parts; the final layer's has 2. The weights start at zero: all
    gates are shut, and a block begins as the identity.
    """

    def __init__(self, width, parts):
        super().__init__()
        self.parts, self.linear = parts, nn.Linear(width, parts * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition, step):
        """condition [B, F, W], embedding of the step [B or 1, W] -> `parts` tensors [B, F, W]."""
        both = condition + step[:, None]  # [B, F, W]
        return self.linear(fun.silu(both)).chunk(self.parts, dim=-1)


def rotary_angles(positions, head_dim):
    """positions [F] -> (cos, sin) of position * frequency, [2, F, 1, head_dim / 2], for rotate."""
    half = head_dim // 2
    # Formed in float64: at frame 72,000, an hour of motion, float32 would be 0.004 rad out
    exponent = torch.arange(half, device=positions.device, dtype=torch.float64) / half
    angle = positions.double()[:, None, None] * 10000**-exponent  # [F, 1, head_dim / 2]
    return torch.stack([angle.cos(), angle.sin()]).float()  # [2, F, 1, head_dim / 2]


def rotate(x, angles):
    """Rotary positions (Su et al. 2021), our choice. x [B, F, heads, head_dim] -> the same shape.

    Features i and i + head_dim / 2, a pair (a, b), turn by an angle that grows with the frame's
    number. So the product of a query and a key depends on how far apart their frames are, not on
    where they are.
    """
    cos, sin = angles  # [F, 1, head_dim / 2] each
    a, b = x.chunk(2, dim=-1)  # [B, F, heads, head_dim / 2] each
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def causal_mask(frames, device=None):
    """[F, F] bool: frame n sees frames 0 to n."""
    return torch.ones(frames, frames, dtype=torch.bool, device=device).tril()


class Block(nn.Module):
    """Causal attention, then a two-layer MLP on each frame; adaLN modulates and gates both.

    x = x + gate_1 * Attention(LayerNorm(x) * (1 + scale_1) + shift_1)
    x = x + gate_2 *       MLP(LayerNorm(x) * (1 + scale_2) + shift_2)
    """

    def __init__(self, width, heads, adaln=AdaLN):
        super().__init__()
        self.heads, self.adaln = heads, adaln(width, 6)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)  # adaLN brings scale and shift
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        wide = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, width))

    def forward(self, x, condition, step, angles, mask):
        """x [B, F, W], condition [B, F, W], step [B or 1, W] -> x [B, F, W]."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.adaln(condition, step)
        x = x + gate_1 * self.attention(self.norm(x) * (1 + scale_1) + shift_1, angles, mask)
        return x + gate_2 * self.mlp(self.norm(x) * (1 + scale_2) + shift_2)

    def attention(self, x, angles, mask):
        """Multi-head attention of x [B, F, W]; mask [F, F], or [B, 1, F, F] where clips
        differ, says which frame sees which."""
        B, F, W = x.shape
        qkv = self.qkv(x).view(B, F, 3, self.heads, W // self.heads)
        q, k, v = qkv.unbind(2)  # [B, F, heads, head_dim] each
        q, k = rotate(q, angles), rotate(k, angles)
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))  # [B, heads, F, head_dim]
        y = self.attend(q, k, v, mask)  # [B, heads, F, head_dim]
        return self.out(y.transpose(1, 2).reshape(B, F, W))  # [B, F, W]

    def attend(self, q, k, v, mask):
        """softmax(q k^T / sqrt(head_dim)) v for each head, over the frames that the mask allows."""
        return fun.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class SpeechEncoder(nn.Linear):
    """speech [B, F, S] -> condition [B, F, W]: one linear layer on each frame's own feature."""


class GestureEncoder(nn.Module):
    """One convolution over time: frame n is made of frames n - kernel + 1 to n."""

    def __init__(self, pose_dim, width, kernel):
        super().__init__()
        self.kernel, self.conv = kernel, nn.Conv1d(pose_dim, width, kernel)

    def forward(self, x):
        """x [B, F, P] -> [B, F, W]."""
        x = self.with_past(x).transpose(1, 2)  # [B, P, kernel - 1 + F]
        return self.conv(x).transpose(1, 2)  # [B, F, W]

    def with_past(self, x):
        """Zeros stand for the frames before the first: [B, kernel - 1 + F, P]."""
        return fun.pad(x, (0, 0, self.kernel - 1, 0))


def sinusoid(t, width):
    """t [B] -> [B, W], cosines and sines: the transformer's position code, as in DiT."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angle = t[:, None].float() * frequency  # [B, W / 2]
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Identity(nn.Identity):
    """What is diffused is the pose itself: pose -> x0, both [B, F, P]."""

    def inverse(self, x0):
        """x0 -> pose."""
        return x0


def predict_noise(schedule, x_t, t, output):
    """The network's output [B, F, P] -> eps [B, F, P]: in the paper the output is the noise."""
    return output


class DiffMotion(nn.Module):
    """eps = model(x_t [B, F, P], t [B], speech [B, F, S]): the noise in x_t, all frames at once.

    1280 wide, 12 blocks, 16 heads are the authors'; a kernel of 5 frames, 0.25 s, is our choice.
    schedule: the one that it is trained with. ValueError if the heads' size would not be even.
    """

    def __init__(self, pose_dim, speech_dim, width=1280, depth=12, heads=16, kernel=5,
                 recipe=None, schedule=None):  # fmt: skip
        super().__init__()
        if width % heads or width // heads % 2:
            raise ValueError(f"width {width} does not divide into {heads} heads of even size")
        self.size = dict(pose_dim=pose_dim, speech_dim=speech_dim, width=width, depth=depth,
                         heads=heads, kernel=kernel)  # fmt: skip
        self.recipe = recipe = recipe or PAPER
        self.schedule = schedule or NoiseSchedule()
        W = width
        self.speech_encoder = recipe.speech_encoder(speech_dim, W)
        self.null_condition = nn.Parameter(torch.zeros(W))  # stands for "no speech"
        self.step_embedding = nn.Sequential(nn.Linear(W, W), nn.SiLU(), nn.Linear(W, W))
        self.gesture_encoder = recipe.gesture_encoder(pose_dim, W, kernel)
        self.blocks = nn.ModuleList(Block(W, heads, recipe.adaln) for _ in range(depth))
        self.final_adaln = recipe.adaln(W, 2)
        self.final_norm = nn.LayerNorm(W, elementwise_affine=False)
        self.final = nn.Linear(W, pose_dim)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)
        self.transform = recipe.transform(pose_dim)

    def forward(self, x_t, t, speech, drop=None, mask=None):
        """x_t [B, F, P], t [B], speech [B, F, S] -> eps [B, F, P].

        drop [B] bool: see encode_speech. mask: which frame sees which, else the recipe's.
        """
        return self.denoise(x_t, t, self.encode_speech(speech, drop), mask)

    def encode_speech(self, speech, drop=None):
        """speech [B, F, S] -> the frames' condition [B, F, W].

        drop [B] bool: condition dropout. These clips get the learned null condition instead, as
        classifier-free guidance needs it. The paper's sampling, guidance 1, does not use it.
        """
        condition = self.speech_encoder(speech)  # [B, F, W]
        if drop is not None:
            null = self.null_condition.to(condition.dtype)  # bfloat16 in training on some devices
            condition = torch.where(drop[:, None, None], null, condition)
        return condition

    def denoise(self, x_t, t, condition, mask=None):
        """One pass: x_t [B, F, P], t [B] or [1], condition [B, F, W] -> eps [B, F, P], float32."""
        if mask is None:
            mask = self.mask(x_t.shape[1])  # [F, F]
        step = self.step_embedding(sinusoid(t, self.size["width"]))  # [B or 1, W]
        x = self.gesture_encoder(x_t)  # [B, F, W]
        angles = self.angles(x_t.shape[1]).to(x.dtype)
        for block in self.blocks:
            x = block(x, condition, step, angles, mask)  # [B, F, W]
        shift, scale = self.final_adaln(condition, step)
        output = self.final(self.final_norm(x) * (1 + scale) + shift)  # [B, F, P]
        # float32 again: samplers and the loss need all digits
        return self.recipe.prediction(self.schedule, x_t, t, output.float())

    def mask(self, frames):
        """Which frame sees which, [F, F] bool."""
        return self.recipe.mask(frames, self.null_condition.device)

    def angles(self, frames):
        """Rotary angles of the frames 0, 1, ... of a clip: [2, F, 1, head_dim / 2]."""
        positions = torch.arange(frames, device=self.null_condition.device)
        return rotary_angles(positions, self.size["width"] // self.size["heads"])


# ------------------------------------------------------------------------------------------------
# 3. Sampling
# ------------------------------------------------------------------------------------------------
def sample_ddpm(predict_eps, schedule, x, noise, grid=None, progress=iter):
    """Ho et al. 2020, algorithm 2: from x ~ N(0, 1) [B, F, P] to x0, a draw from each posterior.

    predict_eps(x_t, t): the network. noise(): a fresh draw of N(0, 1), like x. grid: the steps t to
    visit, from high to low; all by default. progress: wraps the list that is looped over, as tqdm.
    """
    grid = list(reversed(range(schedule.num_steps))) if grid is None else grid
    steps = list(zip(grid, [*grid[1:], -1]))  # (999, 998), ..., (1, 0), (0, -1)
    for t, t_next in progress(steps):
        x0 = schedule.predict_x0(x, t, predict_eps(x, t))
        mean, variance = schedule.posterior(x0, x, t, t_next)
        x = mean if t_next == -1 else mean + variance**0.5 * noise()
    return x


@torch.no_grad()
def generate(model, schedule, speech, sampler=sample_ddpm, noise=None):
    """Motion for speech [B, F, S], all frames at once -> standardised pose features [B, F, P].

    schedule: the one that the model was trained with, model.schedule. noise(): a fresh draw from
    N(0, 1), [B, F, P]; by default from torch's own generator.
    """
    B, F, _ = speech.shape
    noise = noise or (lambda: torch.randn(B, F, model.size["pose_dim"], device=speech.device))
    condition = model.encode_speech(speech)  # [B, F, W], once for all steps

    def predict_eps(x_t, t):
        return model.denoise(x_t, torch.full((1,), t, device=speech.device), condition)

    x0 = sampler(predict_eps, schedule, noise(), noise)  # [B, F, P], starting at x_999 = noise()
    return model.transform.inverse(x0)


# ------------------------------------------------------------------------------------------------
# 4. Training: parts of the loop in train.py
# ------------------------------------------------------------------------------------------------
def equal_weight(schedule, t, error):
    """Squared error of the noise [B, F, P] -> the same: all steps t count alike (eq. 14, Ho)."""
    return error


def adamw(model, lr, weight_decay=0.01):
    """AdamW. Its betas, and weight decay for matrices but not for biases, are our choice."""
    parameters = list(model.parameters())
    groups = [
        dict(params=[p for p in parameters if p.dim() >= 2], weight_decay=weight_decay),
        dict(params=[p for p in parameters if p.dim() < 2], weight_decay=0.0),
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)


def linear_warmup(step, warmup, steps):
    """Share of the peak rate at an optimiser step: rises over `warmup` of `steps`, then stays."""
    return min(1.0, (step + 1) / max(1, warmup))


# ------------------------------------------------------------------------------------------------
# 5. The recipe: which piece is used where
# ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Recipe:
    """The defaults are the paper. beyond/departures.py has our other pieces, with reasons.

    ema, openings, noisy, octaves, guidance, warmup_frames are for our recipe alone: their values
    here switch them off.
    """

    # the network
    adaln: Callable = AdaLN  # (width, parts) -> module
    speech_encoder: Callable = SpeechEncoder  # (speech_dim, width) -> module
    gesture_encoder: Callable = GestureEncoder  # (pose_dim, width, kernel) -> module
    mask: Callable = causal_mask  # (frames, device) -> [F, F] bool
    prediction: Callable = predict_noise  # (schedule, x_t, t, output) -> eps
    transform: Callable = Identity  # (pose_dim) -> module with an inverse
    # training
    loss: Callable = equal_weight  # (schedule, t, squared error) -> weighted error
    optimiser: Callable = adamw  # (model, lr) -> optimiser
    learning_rate: Callable = linear_warmup  # (optimiser step, warmup, steps) -> share of the peak
    hop: float = 0.5  # from one window's start to the next, in windows (the authors')
    ema: float = 0.0  # decay of averaged weights; 0 keeps the last weights
    openings: float = 0.0  # share of windows that are made to begin where a take begins
    noisy: float = 0.0  # share of windows with noise added to their speech
    octaves: float = 0.0  # and with another voice: formants are moved by up to so many octaves
    # sampling
    sampler: str = "ddpm"  # sample_ddpm above; the others are in beyond/samplers.py
    steps: int = 1000  # diffusion steps that are walked: passes of the network
    guidance: float = 1.0  # 1: eps as the network gives it
    warmup_frames: int = 0  # made before the first frame, and thrown away


PAPER = Recipe()
