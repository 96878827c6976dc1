"""DiffMotion-v2: a diffusion model that turns speech features into full-body motion.

The paper is "Audio is all in one: speech-driven gesture synthetics using WavLM pre-trained model"
(arXiv 2308.05995). This file is all of it but the data; read it from top to bottom:

    1. NoiseSchedule     how a pose dissolves into noise, and the one step back           (DDPM)
    2. DiffMotion        the network that sees the noise: an adaLN transformer, causal from segment to segment
    3. samplers          from noise to motion: DDPM, DDIM, DPM-Solver++(2M)
    4. generate          noise per frame, guidance, one clip at once or an endless stream

Shapes: B clips, F frames (20 a second), P pose features (pose_dim), S speech features (speech_dim),
W width of the network, D = W / heads. Symbols are those of Ho et al. 2020: betas, alphas_cumprod (written abar_t), x0, x_t, eps.
The *condition* of a frame is W numbers made of the speech around it; the *step*, W numbers made of t. AdaLN reads both.
"""
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as fun


# ------------------------------------------------------------------------------------------------
# 1. The noise schedule
# ------------------------------------------------------------------------------------------------
class NoiseSchedule:
    """Linear betas (Ho et al. 2020): x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps, eps ~ N(0, 1).

    betas, alphas_cumprod: float32 [num_steps]; entry t belongs to x_t. Steps count from 0, so that x_t at t = 0 has one step of noise
    already; the clean data, written x0, stands at t = -1.
    beta_end is 2e-2 as in DDPM; the authors' own later configurations disagree (5e-2 and 8e-2), so it is a setting.
    """

    def __init__(self, num_steps=1000, beta_start=1e-4, beta_end=2e-2):
        if not 0 < beta_start <= beta_end < 1 or num_steps < 1:
            raise ValueError(f"betas must rise between 0 and 1 over at least one step, not {beta_start} to {beta_end} over {num_steps}")
        self.num_steps, self.beta_start, self.beta_end = num_steps, beta_start, beta_end
        # The product of a thousand factors is formed in float64: float32 would lose a digit of abar.
        betas = torch.linspace(beta_start, beta_end, num_steps, dtype=torch.float64)
        self.betas = betas.float()
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0).float()
        if self.alphas_cumprod[-1] < 1e-24:          # then sqrt(abar), which we divide by, drowns in float32's rounding, and soon is 0
            raise ValueError(f"betas up to {beta_end} over {num_steps} steps leave {self.alphas_cumprod[-1]:.0e} of the motion's variance, too little to compute with; take smaller betas or fewer steps")
        self.on_device = {}          # copies of alphas_cumprod: to send the table to a GPU at every step would make it wait

    def settings(self):
        """What __init__ needs to build it again."""
        return dict(num_steps=self.num_steps, beta_start=self.beta_start, beta_end=self.beta_end)

    def abar(self, t, like):
        """abar_t for t [B] or an int, shaped to multiply with `like` [B, ...]; t = -1 is clean data, abar = 1.

        An int gives a Python number: the samplers' steps are known beforehand, and a number costs a GPU no transfer and no wait.
        """
        if isinstance(t, int):
            return float(self.alphas_cumprod[t]) if t >= 0 else 1.0
        if like.device not in self.on_device:
            self.on_device[like.device] = self.alphas_cumprod.to(like.device)
        abar = self.on_device[like.device][t.clamp(min=0)].where(t >= 0, 1.0)
        return abar.reshape(abar.shape + (1,) * (like.dim() - 1))            # [B, 1, 1]

    def add_noise(self, x0, t, noise):
        """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise.   x0, noise [B, ...], t [B] -> x_t [B, ...]."""
        abar = self.abar(t, x0)
        return abar ** 0.5 * x0 + (1 - abar) ** 0.5 * noise

    def predict_x0(self, x_t, t, eps):
        """The same equation solved for x0: what the data would be if eps were the noise.  -> [B, ...]."""
        abar = self.abar(t, x_t)
        return (x_t - (1 - abar) ** 0.5 * eps) / abar ** 0.5

    def eps_from_v(self, x_t, t, v):
        """The noise in x_t, from v = sqrt(abar_t) eps - sqrt(1 - abar_t) x0, which is what our network answers.  -> eps [B, ...].

        x_t and v are the pair (x0, eps) seen from axes that are turned by an angle whose cosine is sqrt(abar_t); this is the way back
        (Salimans & Ho 2022, arXiv 2202.00512, appendix D). Where the noise is strong eps is nearly x_t, and v is nearly -x0: the
        network need not learn to hand x_t through, which costs it digits that predict_x0 multiplies by up to 1 / sqrt(abar_t) = 157.
        """
        abar = self.abar(t, x_t)
        return abar ** 0.5 * v + (1 - abar) ** 0.5 * x_t

    def posterior(self, x0, x_t, t, t_previous=None):
        """q(x_{t-1} | x_t, x0), equations 6 and 7 of Ho et al. -> (mean [B, ...], variance, broadcastable).

        t_previous, if given, skips to an earlier step than t - 1: the chain on fewer steps is a chain with
        larger betas, beta = 1 - abar_t / abar_previous (Nichol & Dhariwal 2021). t_previous = -1 is the data.
        """
        abar = self.abar(t, x_t)
        abar_previous = self.abar(t - 1 if t_previous is None else t_previous, x_t)
        alpha = abar / abar_previous
        mean = abar_previous ** 0.5 * (1 - alpha) / (1 - abar) * x0 + alpha ** 0.5 * (1 - abar_previous) / (1 - abar) * x_t
        return mean, (1 - alpha) * (1 - abar_previous) / (1 - abar)


# ------------------------------------------------------------------------------------------------
# 2. The network: eps(x_t, t, speech)
# ------------------------------------------------------------------------------------------------
@dataclass
class DiffMotionConfig:
    """The size and the shape of the network."""
    pose_dim: int                 # P, after constant features are dropped
    speech_dim: int               # S: 40 log-mel bands, 20 MFCC, 768 of WavLM Base+
    width: int = 1280             # the authors' width, depth and heads
    depth: int = 12
    heads: int = 16
    attention_window: int = 400   # a frame sees itself and the 399 before it: 20 s, the authors' training window
    adaln: str = "split"          # "split" (ours, cheaper) or "joint" (the paper's): see AdaLN
    kernel: int = 5               # frames seen by the gesture encoder's convolution: 0.25 s
    speech_reach: int = 16        # speech is heard this far back and ahead: 0.8 s, time to raise a hand for a stroke
    memory: float = 0.0           # share of the last pose that is not news: see DiffMotion.innovations; 0 is the paper
    momentum: float = 0.0         # share of the last change that is not news either: 0, a pose is expected to stay as it was
    speech_layers: int = 1        # L > 1: the speech brings L layers of S features side by side; see DiffMotion.mix_layers
    answer: str = "v"             # what the last layer gives: "v" (ours) or "eps" (the paper's): see NoiseSchedule.eps_from_v
    segment: int = 1              # frames that all see each other, also those after them: see sliding_causal_mask; 1 is the paper


class AdaLN(nn.Module):
    """Adaptive layer norm: speech and noise level say how a frame's normalised features are scaled, shifted and gated.

    In the paper one linear layer reads the sum of the frame's condition, here speech_n, and the step (form "joint"):
        modulation = Linear(SiLU(speech_n + step_t))
    We let what the speech says and what the noise level says add up after their own linear layers ("split"):
        modulation = W_s SiLU(speech_n) + W_t SiLU(step_t)
    so that the speech half, the costly one with a row for every frame, is the same at every diffusion step and is computed
    once a clip; and the step half is the same for every frame and clip and is computed once for all the steps that a sampler will
    take. What a pass of the network does for adaLN is then one addition. All weights start at zero: every gate is shut, a block begins
    as the identity.
    """

    def __init__(self, width, parts, form):
        super().__init__()
        if form not in ("split", "joint"):
            raise ValueError(f"adaln is 'split' or 'joint', not {form!r}")
        self.parts, self.form = parts, form
        self.speech = nn.Linear(width, parts * width)            # in the joint form it reads the sum
        if form == "split":
            self.step = nn.Linear(width, parts * width, bias=False)
        for layer in self.children():
            for weight in layer.parameters():
                nn.init.zeros_(weight)

    def speech_half(self, speech):
        """All that can be computed before the diffusion step is known. speech [B, F, W] -> [B, F, parts W or W]."""
        return self.speech(fun.silu(speech)) if self.form == "split" else speech

    def step_half(self, step):
        """All that can be computed before the speech is known. step [n, W] -> [n, parts W or W]."""
        return self.step(fun.silu(step)) if self.form == "split" else step

    def forward(self, speech, step):
        """The two halves, speech [B, F, .] and step [B or 1, .] -> `parts` tensors [B, F, W]."""
        both = speech + step[:, None]                            # [B, F, parts W or W]
        if self.form == "joint":
            both = self.speech(fun.silu(both))                   # [B, F, parts W]
        return both.chunk(self.parts, dim=-1)


def turns(position, D):
    """position [F] -> (cos, sin) of position * frequency, [F, 1, D/2] each, for rotate. Wavelengths from 2 pi to 2 pi 10000^(1 - 2/D) frames.

    The angles are formed in float64: at frame 72,000 (an hour) float32 would be 0.004 rad out.
    """
    frequency = 10000 ** (-torch.arange(D // 2, device=position.device, dtype=torch.float64) / (D // 2))
    angle = position.double()[:, None, None] * frequency         # [F, 1, D/2]
    return angle.cos().float(), angle.sin().float()


def rotate(x, turn):
    """Rotary positions (Su et al. 2021): turn pairs of features of x [..., F, heads, D] by angles whose (cos, sin) are `turn`, from turns.

    The product of a turned query and a turned key depends on the distance of their frames alone, so no clip is too long.
    """
    (cos, sin), (a, b) = turn, x.chunk(2, dim=-1)                # [F, 1, D/2], [..., F, heads, D/2]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def sliding_causal_mask(queries, keys, window, device=None, segment=1, phase=None):
    """[queries, keys] bool: may this frame look at that one? Queries are the last `queries` of the `keys` frames.

    A frame sees all of its own segment, and the last `window` frames up to itself. The first query begins a segment; or in the
    windows of training, with `phase` [B], it is the segment's frame of that number, from 0: [B, 1, queries, keys].

    With segments of one frame nobody looks ahead, as in the paper, and that has a price. The samplers want E[eps_n | all of x_t]. The noisy frames after n
    know something about frame n, so E[eps_n | x_t up to n] is another number, and what is drawn with it is not what was learnt: movement that no speech
    explains comes out too small where it is slow, and too large where it is fast. For the best denoiser of a hand that wanders with periods of some
    3 s this is closed form (tests/test_diffmotion.py): within 0.8 s it strays 0.71 as far as it should, in segments of 2 s 0.88 as far, and where
    all see all 0.97. And since nothing looks beyond the end of its segment, speech can still be endless.
    """
    query = torch.arange(queries, device=device)[:, None]                    # [queries, 1]
    key = torch.arange(queries - keys, queries, device=device)[None]         # [1, keys]
    within = 0 if phase is None else phase[:, None, None, None]              # 0 or [B, 1, 1, 1]
    own = (key + within) // segment == (query + within) // segment           # [queries, keys] or [B, 1, queries, keys]
    return own | (key <= query) & (key > query - window)


class Block(nn.Module):
    """Attention over the past and the segment, then a two-layer network on each frame; adaLN modulates and gates both halves.

        x = x + gate_1 * Attention(LayerNorm(x) * (1 + scale_1) + shift_1)
        x = x + gate_2 * MLP(LayerNorm(x) * (1 + scale_2) + shift_2)
    """

    def __init__(self, config):
        super().__init__()
        W = config.width
        self.heads, self.window = config.heads, config.attention_window
        self.adaln = AdaLN(W, 6, config.adaln)
        self.norm = nn.LayerNorm(W, elementwise_affine=False)    # adaLN brings the scale and the shift
        self.qkv = nn.Linear(W, 3 * W)
        self.out = nn.Linear(W, W)
        self.mlp = nn.Sequential(nn.Linear(W, 4 * W), nn.GELU(), nn.Linear(4 * W, W))

    def forward(self, x, speech, step, turn, mask, cache=None):
        """x [B, F, W] -> [B, F, W].

        speech      adaLN's half that depends on the speech alone, from AdaLN.speech_half: [B, F, 6 W], joint [B, F, W]
        step        the half that depends on the diffusion step alone, from AdaLN.step_half: [B or 1, 6 W], joint [B or 1, W]
        turn        (cos, sin) [F, 1, D/2] each, of the frames' places in the clip, from turns, in the type of x
        mask        from DiffMotion.mask, [F, past + F] or [B, 1, F, past + F] bool: which frames see which; None: each sees itself and all before it
        cache       a dict that holds the keys and values of the frames before these, or None
        """
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.adaln(speech, step)
        x = x + gate_1 * self.attention(self.norm(x) * (1 + scale_1) + shift_1, turn, mask, cache)
        return x + gate_2 * self.mlp(self.norm(x) * (1 + scale_2) + shift_2)

    def attention(self, x, turn, mask, cache):
        """softmax(q k^T / sqrt(D)) v for each head, x [B, F, W] -> [B, F, W]; `cache` brings the keys and values of the past."""
        B, F, W = x.shape
        qkv = self.qkv(x).view(B, F, 3, self.heads, W // self.heads).permute(2, 0, 1, 3, 4)  # [3, B, F, heads, D]
        q, k, v = (z.transpose(1, 2) for z in (*rotate(qkv[:2], turn), qkv[2]))              # [B, heads, F, D] each
        if cache is not None:
            if "k" in cache:
                k, v = torch.cat([cache["k"], k], dim=2), torch.cat([cache["v"], v], dim=2)  # [B, heads, past + F, D]
            # clone: a view would keep the whole chunk's keys alive behind the few that are needed
            cache["k"], cache["v"] = (z[:, :, max(0, z.shape[2] - self.window + 1):].clone() for z in (k, v))    # [B, heads, window - 1 at most, D]
        if q.dtype == torch.bfloat16 and q.device.type == "cpu":
            # The same by hand: two matrix products in bfloat16 take half the time of the fused kernel, forwards and backwards
            mask = sliding_causal_mask(F, F, self.window) if mask is None else mask
            hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -torch.inf)   # [F, past + F] or [B, 1, F, past + F]
            scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(2, 3) + hidden               # [B, heads, F, past + F]
            y = scores.softmax(dim=-1) @ v                                                   # [B, heads, F, D]
        else:
            y = fun.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)        # [B, heads, F, D]
        return self.out(y.transpose(1, 2).reshape(B, F, W))      # [B, F, W]


class OverTime(nn.Conv1d):
    """A convolution over time: x [B, F + kernel - 1, C] -> [B, F, W], each frame of the answer from `kernel` frames of x.

    As one matrix product, since the kernels of convolutions are not made for one as long as the ear's in bfloat16. For the paper's size and
    WavLM, forwards and backwards: 12 ms instead of cuDNN's 126 on an H200 (36 windows), 122 ms instead of 1140 on two cores of a Xeon with AMX
    (one window); there oneDNN's answer was wrong, too, by up to 94 where the deviation is 0.6 (PyTorch 2.11). It costs memory:
    `kernel` copies of x.
    """

    def forward(self, x):
        rows, weight = x.unfold(1, self.kernel_size[0], 1).flatten(2), self.weight.flatten(1)        # [B, F, C kernel], [W, C kernel]
        fill = -rows.shape[2] % 8                    # GPUs multiply rows whose length is a multiple of 8 four times as fast as others
        return fun.linear(fun.pad(rows, (0, fill)), fun.pad(weight, (0, fill)), self.bias)           # [B, F, W]


def news(pose, memory, momentum=0.0):
    """What in each frame was not to be expected from the frames before it: pose [..., F, P] -> [..., F, P].

        change_n = pose_n - memory pose_{n-1}                a pose is expected to stay as it was,
        news_n   = change_n - momentum change_{n-1}          and to go on as it went. With 1 and 1 this is the acceleration

    A clip's first pose is taken to have been held before.
    """
    for share in (memory, momentum):
        pose = pose - share * torch.cat([pose[..., :1, :], pose[..., :-1, :]], dim=-2)
    return pose


class DiffMotion(nn.Module):
    """eps = model(x_t [B, F, P], t [B], speech [B, F, S]): the noise in x_t, for every frame at once.

    Frame n of the answer depends on x_t up to the end of its segment, and on speech up to `speech_reach` frames beyond that.
    schedule: how much noise there is in x_t at step t, the NoiseSchedule that it is trained with; without one, DDPM's.
    """

    def __init__(self, config, schedule=None):
        super().__init__()
        self.config, self.schedule = config, schedule or NoiseSchedule()
        W = config.width
        if W % config.heads or (W // config.heads) % 2:
            raise ValueError(f"width {W} does not divide into {config.heads} heads of even size")
        if config.answer not in ("v", "eps"):
            raise ValueError(f"the network answers 'v' or 'eps', not {config.answer!r}")
        if not isinstance(config.segment, int) or config.segment < 1:
            raise ValueError(f"a segment has 1 frame or more, not {config.segment!r}")
        if config.speech_layers > 1:                             # equal shares at first
            self.layer_shares = nn.Parameter(torch.zeros(config.speech_layers))
        # Condition encoder, behind WavLM or mel: what is said around a frame, and by what voice. See encode_speech.
        self.hear = OverTime(config.speech_dim, W, 2 * config.speech_reach + 1)
        self.voice = nn.Linear(W, W + 1)
        self.understand = nn.Sequential(nn.Linear(W, W), nn.SiLU(), nn.Linear(W, W))
        self.no_speech = nn.Parameter(torch.zeros(W))            # stands for the speech when it is withheld
        self.step = nn.Sequential(nn.Linear(W, W), nn.SiLU(), nn.Linear(W, W))
        # Gesture encoder: one convolution over time. It is padded by hand, on the left only: see denoise.
        self.gesture = OverTime(config.pose_dim + 1, W, config.kernel)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        # Final layer: adaLN without a gate, then back to pose features. Zero: v = 0 (and eps = 0) is the best guess as long as x_t looks like white noise.
        self.final_adaln = AdaLN(W, 2, config.adaln)
        self.final_norm = nn.LayerNorm(W, elementwise_affine=False)
        self.final = nn.Linear(W, config.pose_dim)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)
        # [P], deviation of the news before they are scaled, over the training data; a buffer, so that it travels with the weights
        self.register_buffer("innovation_scale", torch.ones(config.pose_dim))

    def settings(self):
        """What DiffMotionConfig(**settings) needs to build the same network again."""
        return asdict(self.config)

    def innovations(self, pose):
        """What is new in each frame (statisticians say innovation), which is what gets diffused. pose [B, F, P] -> [B, F, P].

            u_0 = pose_0,   u_n = news_n / innovation_scale, with the news as in the function `news`

        Why not the poses themselves: neighbouring poses are nearly equal, so the noisy frames after a frame hold information about it,
        which a network that does not look ahead cannot use. The less the news of neighbouring frames have in common, the less is lost by that
        (and at a segment's end nobody looks ahead, see sliding_causal_mask).
        It also stops the jitter: an error in u_n is smoothed by `poses`.
        (It is the same as diffusing the poses with noise that is correlated from frame to frame; memory 0 is the paper.)
        """
        if not self.config.memory:
            return pose
        return torch.cat([pose[:, :1], news(pose, self.config.memory, self.config.momentum)[:, 1:] / self.innovation_scale], dim=1)

    def poses(self, innovations, before=None):
        """The inverse. [B, F, P] -> [B, F, P]; `before` [B, 2, P] are the two poses before the first frame, None at a clip's start.

        First the momentum is put back, then the memory. Each time x_n = new_n + share x_{n-1}, which is the sum over k <= n of share^(n - k) new_k: one
        product with a triangular matrix. Frame 0 needs the x before it; at a clip's start its own pose, u_0, is taken to have been held.
        """
        memory, momentum, F = self.config.memory, self.config.momentum, innovations.shape[1]
        if not memory:
            return innovations
        age = torch.arange(F, device=innovations.device)[:, None] - torch.arange(F, device=innovations.device)  # [F, F]
        x = innovations * self.innovation_scale                  # [B, F, P]
        held = innovations[:, :1] if before is None else before  # [B, 1 or 2, P]
        for share, seen in ((momentum, news(held, memory)), (memory, held)):             # seen: what x was before frame 0
            x[:, 0] = seen[:, 0] if before is None else x[:, 0] + share * seen[:, -1]
            x = torch.where(age >= 0, share ** age.clamp(min=0).float(), 0.0) @ x        # [F, F] @ [B, F, P]
        return x

    def forward(self, x_t, t, speech, withheld=None, phase=None):
        """x_t [B, F, P], t [B] ints, speech [B, F, S] -> eps [B, F, P].

        withheld [B] bool: these clips get the learned vector `no_speech` in place of their condition. In training a share of the windows does,
        so that the network can also answer without speech; generate_stream says what for.
        phase [B] ints: the place of each clip's first frame in its segment, 0 by default: training begins anywhere. (The last segment may break off, as in
        training; generate fills it up.)
        """
        F = x_t.shape[1]
        return self.denoise(x_t, t, self.speech_halves(self.encode_speech(speech, withheld)), self.step_halves(t), self.turns(0, F), self.mask(F, phase=phase))

    def mix_layers(self, speech):
        """All layers of a speech model, [B, F, L S] -> their weighted sum [B, F, S]. Speech of S features was mixed before,
        piece by piece as long recordings are, and stays as it is.

            speech = sum over l of softmax(layer_shares)_l layer_l

        as in SUPERB (Yang et al. 2021). The shares are trained along and tell which layers this task listens to: the
        layers come standardised, so that a large share is not just a layer of small numbers.
        """
        L, S = self.config.speech_layers, self.config.speech_dim
        if L == 1 or speech.shape[-1] == S:
            return speech
        shares = self.layer_shares.softmax(dim=0).to(speech.dtype)
        return shares @ speech.unflatten(-1, (L, S))             # [L] @ [B, F, L, S] -> [B, F, S]

    def encode_speech(self, speech, withheld=None, cache=None):
        """speech [B, F, S] or [B, F, L S] -> the frames' conditions [B, F, W]; `withheld` clips get the learned "no speech".

        To what is heard around a frame we add a running average over the attention window, weighted by how much
        each frame tells (a learned number between 0 and 1: it can learn that silence tells nothing). That is where a voice is recognised.

        For a stream, `cache` is a dict, empty at first and kept from piece to piece. The answer then is `speech_reach` frames
        late, since a frame waits for what it hears ahead: the first is that much shorter, and the last frames come out when
        as many frames of zeros are sent after the speech, which is what a clip by itself hears behind its end.
        """
        reach, window = self.config.speech_reach, self.config.attention_window
        speech = self.mix_layers(speech)                         # [B, F, S]
        # zeros around a clip: an average sound, since features come standardised
        padding, told = speech.new_zeros(len(speech), reach, speech.shape[2]), None          # [B, reach, S]
        if cache is None:
            speech = torch.cat([padding, speech, padding], dim=1)            # [B, F + 2 reach, S]
        else:
            speech = torch.cat([cache.get("speech", padding), speech], dim=1)            # [B, at most 2 reach + F, S]
            cache["speech"], told = speech[:, -2 * reach:].clone() if reach else speech[:, :0], cache.get("told")
            if speech.shape[1] <= 2 * reach:                     # nobody has heard far enough yet
                return speech.new_zeros(len(speech), 0, self.config.width)
        heard = fun.silu(self.hear(speech))                      # [B, F, W]
        traits = self.voice(heard)                               # [B, F, W + 1]
        weight = traits[..., :1].double().sigmoid() + 1e-3       # [B, F, 1]; never 0, we divide by its sum; float64, for sums over a long clip
        tells = torch.cat([weight, weight * traits[..., 1:]], dim=-1)        # [B, F, 1 + W]
        past = 0 if told is None else told.shape[1]
        tells = tells if told is None else torch.cat([told, tells], dim=1)   # [B, past + F, 1 + W]
        if cache is not None:
            cache["told"] = tells[:, max(0, tells.shape[1] - window + 1):].clone()       # all that a later average still holds
        total = tells.cumsum(dim=1)
        total = (total - fun.pad(total, (0, 0, window, 0))[:, :total.shape[1]])[:, past:]    # [B, F, 1 + W]
        voice = (total[..., 1:] / total[..., :1]).to(heard.dtype)                        # [B, F, W]
        condition = self.understand(heard + voice)               # [B, F, W]
        if withheld is not None:
            condition = torch.where(withheld[:, None, None], self.no_speech.to(condition.dtype), condition)
        return condition

    def adalns(self):
        """All of them: each block's and the last one."""
        return [block.adaln for block in self.blocks] + [self.final_adaln]

    def speech_halves(self, condition):
        """condition [B, F, W] -> what each adaLN can prepare before the diffusion step is known, a list."""
        return [adaln.speech_half(condition) for adaln in self.adalns()]

    def step_halves(self, t):
        """Diffusion steps t [n] -> what each adaLN can prepare before the speech is known, a list."""
        step = self.step(sinusoid(t, self.config.width).to(self.no_speech.dtype))        # [n, W]
        return [adaln.step_half(step) for adaln in self.adalns()]

    def turns(self, start, stop):
        """(cos, sin) of the frames from start to stop in the clip, for rotate: [F, 1, D/2] each."""
        return turns(torch.arange(start, stop, device=self.no_speech.device), self.config.width // self.config.heads)

    def mask(self, frames, past=0, segment=None, phase=None):
        """Which of `frames` frames see which, and which of the `past` frames before them: [F, past + F], or with phase [B] [B, 1, F, past + F], see
        sliding_causal_mask. None: each sees itself and all before it. segment: None for the one that the network was trained with."""
        segment, window = self.config.segment if segment is None else segment, self.config.attention_window
        if segment == 1 and not past and frames <= window:       # plain causal attention has the faster kernel
            return None
        return sliding_causal_mask(frames, past + frames, window, self.no_speech.device, segment, phase)

    def denoise(self, x_t, t, speech, step, turn, mask, cache=None):
        """One pass. x_t float32 [B, F, P], t [B] -> eps float32 [B, F, P], whatever the type of the weights.

        All that a pass can be given ready-made it is given, since a sampler makes many:
        speech      from speech_halves, of the B clips: once a clip
        step        from step_halves, of t [B], or of one t that is everybody's: once for all steps
        turn        from turns, of these F frames: once a clip
        mask        from mask: once a clip, or a chunk of a stream
        cache       for a stream: a dict, empty at first and kept between the chunks of one diffusion step. It holds all that later
                    frames can still see of earlier ones
        """
        F, reach = x_t.shape[1], self.config.kernel - 1
        # A one beside each frame: the padding before the first has none, so that the network knows where a clip begins.
        x = fun.pad(x_t.to(self.no_speech.dtype), (0, 1), value=1.0)         # [B, F, P + 1]
        before = x.new_zeros(x.shape[0], reach, x.shape[2])      # nothing comes before the first frame
        if cache is not None:
            before = cache.get("x_t", before)
            cache["x_t"] = torch.cat([before, x], dim=1)[:, F:].clone()      # [B, kernel - 1, P + 1]
        x = self.gesture(torch.cat([before, x], dim=1))                  # [B, F, W]
        turn = [z.to(x.dtype) for z in turn]
        for n, block in enumerate(self.blocks):
            x = block(x, speech[n], step[n], turn, mask, None if cache is None else cache.setdefault(n, {}))
        shift, scale = self.final_adaln(speech[-1], step[-1])
        return self.noise(x_t, t, self.final(self.final_norm(x) * (1 + scale) + shift))      # [B, F, P]

    def noise(self, x_t, t, answer):
        """What the last layer gave, v or the noise itself -> eps float32 [B, F, P]."""
        return self.schedule.eps_from_v(x_t, t, answer.float()) if self.config.answer == "v" else answer.float()


def sinusoid(t, width):
    """The transformer's position code, for diffusion steps: t [B] -> [B, width], wavelengths 2 pi to nearly 20,000 pi."""
    frequency = torch.exp(-math.log(10000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angle = t[:, None].float() * frequency                       # [B, width / 2]
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


# ------------------------------------------------------------------------------------------------
# 3. Samplers.  Each is hardly longer than its equation: it walks x from noise to data.
#    predict_eps(x_t, t, k) is the network at the k-th of `steps` passes; fresh_noise() is like x, N(0, 1).
# ------------------------------------------------------------------------------------------------
def time_grid(num_steps, steps, power=1.0):
    """`steps` of the num_steps diffusion steps, from the noisiest down: t_k = num_steps (1 - k / steps)^power - 1, a list of falling ints.

    power 1 spreads them evenly; a larger one puts more of them at weak noise, where small movement is settled: calmer hands, for a little of the
    timing, which is settled at strong noise (figures: results/README.md, "The grid of steps").

    Evenly, 10 of 1000 are 999, 899, ..., 99, and the last jump goes from 99 to the data ("trailing" in Lin et al. 2024, arXiv 2305.08891). A grid that
    ends at t = 0 wastes its last pass: x_t is the data there but for noise of 0.01, so there is nothing left to do. For DPM-Solver++ it is worse than
    waste: measured in its lambda (see sample_dpmpp), the step into t = 0 is three times as long as any other, and a trend followed that far leads astray (notebook 3, section 7).
    """
    if not 1 <= steps <= num_steps:
        raise ValueError(f"steps must be between 1 and {num_steps}, not {steps}")
    if not 0 < power < math.inf:
        raise ValueError(f"the grid's power must be a positive number, not {power}")
    grid = [round(num_steps * (1 - k / steps) ** power) - 1 for k in range(steps)]
    # Where they would crowd, at either end, they are one apart: no step twice, and as many below as are still to come
    for k in range(1, steps):
        grid[k] = min(max(grid[k], steps - 1 - k), grid[k - 1] - 1)
    return grid


def sample_ddpm(predict_eps, schedule, x, steps, fresh_noise, progress=iter, power=1.0):
    """Ho et al. 2020, algorithm 2: draw x_{t-1} from the posterior at the predicted x0. x [B, F, P] ~ N(0, 1).

    Fresh noise at each step forgives: what was decided wrongly at one is half forgotten at the next, and decided again.
    """
    grid = time_grid(schedule.num_steps, steps, power)
    for k, t in progress(list(enumerate(grid))):
        t_previous = grid[k + 1] if k + 1 < steps else -1
        x0 = schedule.predict_x0(x, t, predict_eps(x, t, k))
        mean, variance = schedule.posterior(x0, x, t, t_previous)
        x = mean + variance ** 0.5 * fresh_noise() if t_previous >= 0 else mean
    return x


def sample_ddim(predict_eps, schedule, x, steps, fresh_noise, progress=iter, power=1.0):
    """Song et al. 2021 with eta = 0: keep the predicted noise instead of drawing anew. No randomness but the start."""
    grid = time_grid(schedule.num_steps, steps, power)
    for k, t in progress(list(enumerate(grid))):
        eps = predict_eps(x, t, k)
        abar_previous = schedule.abar(grid[k + 1] if k + 1 < steps else -1, x)
        x = abar_previous ** 0.5 * schedule.predict_x0(x, t, eps) + (1 - abar_previous) ** 0.5 * eps
    return x


def sample_dpmpp(predict_eps, schedule, x, steps, fresh_noise, progress=iter, power=1.0):
    """DPM-Solver++(2M), Lu et al. 2022: a second-order step along the same path as DDIM, at one pass a step.

    With a = sqrt(abar), s = sqrt(1 - abar), lambda = log(a / s), h the step in lambda:
        x <- (s' / s) x - a' (exp(-h) - 1) D,   D = x0 + (x0 - x0_last) h / (2 h_last)
    where s', a' belong to the next level. DDIM is the same with D = x0: it holds x0 fixed during a step, although it changes. As a
    function of lambda it changes almost along a straight line, so this one continues the line through the last two. The first step
    has no x0_last. At the last one s' = 0 and h is infinite: no trend can be followed that far, so D = x0 there, and the formula becomes x <- x0.
    """
    grid = time_grid(schedule.num_steps, steps, power)
    x0_last = h_last = None
    for k, t in progress(list(enumerate(grid))):
        x0 = schedule.predict_x0(x, t, predict_eps(x, t, k))
        if k + 1 == steps:
            return x0
        abar, abar_next = schedule.abar(t, x), schedule.abar(grid[k + 1], x)
        s, s_next = (1 - abar) ** 0.5, (1 - abar_next) ** 0.5
        h = math.log(abar_next ** 0.5 / s_next) - math.log(abar ** 0.5 / s)
        D = x0 if x0_last is None else x0 + (x0 - x0_last) * h / (2 * h_last)
        x = (s_next / s) * x - abar_next ** 0.5 * math.expm1(-h) * D
        x0_last, h_last = x0, h


SAMPLERS = {"ddpm": sample_ddpm, "ddim": sample_ddim, "dpmpp": sample_dpmpp}


# ------------------------------------------------------------------------------------------------
# 4. Generation
# ------------------------------------------------------------------------------------------------
class FrameNoise:
    """Noise that belongs to its frame: a frame's draws depend on the seed, the clip and the frame, not on the chunk.

    seed   a number, for clips that are drawn together; or a list of one number a clip, each of which then draws what it
           would draw alone: who shares a batch must not change a motion
    Frames are drawn in blocks of BLOCK with a generator each, on the CPU, so that a GPU gives the same motion.
    Call it for the next draw: [B, stop - start, P].
    """
    BLOCK = 64

    def __init__(self, seed, clips, start, stop, features, device):
        first, last = start // self.BLOCK, (stop - 1) // self.BLOCK
        self.inside = slice(start - first * self.BLOCK, stop - first * self.BLOCK)
        self.features, self.device = features, torch.device(device)
        drawn_as = [(int(one), 0) for one in seed] if hasattr(seed, "__len__") else [(int(seed), clip) for clip in range(clips)]
        if len(drawn_as) != clips:
            raise ValueError(f"{len(drawn_as)} seeds for {clips} clips; give one number for all, or one a clip")
        # (seed, clip, block) -> one seed, of which torch takes the last 32 bits; the odd multipliers keep neighbours far apart there too
        self.generators = [[torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + clip * 0xC2B2AE3D27D4EB4F + block * 0x165667B19E3779F9)
                                                          % 2 ** 63) for block in range(first, last + 1)] for seed, clip in drawn_as]

    def __call__(self):
        # From pinned memory the copy runs beside the GPU's work; from any other the GPU would be waited for at each step.
        draw = torch.empty(len(self.generators), len(self.generators[0]), self.BLOCK, self.features, pin_memory=self.device.type == "cuda")
        for clip, row in zip(draw, self.generators):
            for block, generator in zip(clip, row):
                block.normal_(generator=generator)
        return draw.to(self.device, non_blocking=True).flatten(1, 2)[:, self.inside]     # [B, stop - start, P]


def in_chunks(pieces, chunk):
    """Consecutive pieces [B, n_i, D], of any lengths -> the same frames in chunks [B, chunk, D], the last one shorter."""
    held = None
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=1)    # [B, held, D]
        while held.shape[1] >= chunk:
            yield held[:, :chunk]
            held = held[:, chunk:]
    if held is not None and held.shape[1]:
        yield held


def conditions(model, pieces, segment=1):
    """Pieces of speech [B, n_i, S] -> their conditions [B, m_i, W], each as soon as the speech ahead of it was heard; the last segment is filled up with the sound of nothing."""
    cache, frames = {}, 0
    for piece in pieces:
        frames += piece.shape[1]
        yield model.encode_speech(piece, cache=cache)
    if frames == 0:
        raise ValueError("there is no speech to gesture to: not one frame came")
    yield model.encode_speech(piece.new_zeros(len(piece), model.config.speech_reach + -frames % segment, piece.shape[2]), cache=cache)


@torch.no_grad()
def generate_stream(model, schedule, speech, sampler="dpmpp", steps=10, guidance=1.0, seed=0, chunk=200, progress=iter, segment=None, power=1.0):
    """Motion for speech [B, F, S], in pieces [B, chunk, P] (the last one shorter); joined, they equal generate().

    Nothing looks beyond its segment in the motion, so a chunk of whole segments needs of the past only what its network passes saw of it: for each
    of the `steps` passes the keys and values of the last attention_window frames. Memory does not grow with F.

    segment: how many frames see each other, None for what the network was trained with. Shorter chunks need shorter ones; the network knows how
    frames near a segment's end fare, and that is what all are then, or nearly so.

    speech may also be an iterator of consecutive pieces [B, n_i, S] of any lengths, so that it need not be in memory either, or
    need not have been spoken yet: a chunk is made as soon as it and the `speech_reach` frames after it are there.

    guidance g (Ho & Salimans 2022): eps = eps_none + g (eps_speech - eps_none). In training a share of the windows has the learned vector
    `no_speech` in place of its condition, so the network can also answer without speech: eps_none, and guidance moves away from that. 1 is
    the model as trained, more follows the speech more strictly; anything but 1 costs a second pass, made in the same batch.

    seed: see FrameNoise; power: see time_grid. The network computes in the type of its weights, the samplers in float32.

    ValueError: a sampler, a number of steps or a power that there is not, another schedule than the network was trained with, a chunk that is no whole number of
    segments, or no speech at all.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is one of {', '.join(SAMPLERS)}, not {sampler!r}")
    if schedule.settings() != model.schedule.settings():
        raise ValueError(f"the network was trained with {model.schedule.settings()}, not with {schedule.settings()}: it would take its answers for others")
    segment = model.config.segment if segment is None else segment
    if segment < 1 or chunk % segment:
        raise ValueError(f"a chunk of {chunk} frames does not hold whole segments of {segment}")
    guided, before, start, heard = guidance != 1, None, 0, 0
    dtype, device = model.no_speech.dtype, model.no_speech.device
    grid = torch.tensor(time_grid(schedule.num_steps, steps, power), pin_memory=device.type == "cuda").to(device, non_blocking=True)            # [steps]
    step_halves = model.step_halves(grid)                        # [steps, parts W or W] each
    whole = isinstance(speech, torch.Tensor) and speech.shape[1] <= chunk
    caches = [None if whole else {} for _ in range(steps)]

    def pieces():
        nonlocal heard
        for piece in speech.split(chunk, dim=1) if isinstance(speech, torch.Tensor) else speech:
            heard += piece.shape[1]
            yield piece.to(dtype)

    for here in in_chunks(conditions(model, pieces(), segment), chunk):      # [B, chunk, W]
        B, F, _ = here.shape
        if guided:
            here = torch.cat([here, model.no_speech.expand_as(here)])        # [2B, chunk, W]
        speech_halves, turn, mask = model.speech_halves(here), model.turns(start, start + F), model.mask(F, min(start, model.config.attention_window - 1), segment)

        def predict_eps(x_t, t, k):
            step = [half if half is None else half[k:k + 1] for half in step_halves]         # None: plain layer norm, a baseline, has no such half
            eps = model.denoise(torch.cat([x_t, x_t]) if guided else x_t, grid[k].expand(len(here)), speech_halves, step, turn, mask, caches[k])     # [B or 2B, chunk, P]
            if guided:
                eps_speech, eps_none = eps.chunk(2)                      # [B, chunk, P] each
                eps = eps_none + guidance * (eps_speech - eps_none)
            return eps

        noise = FrameNoise(seed, B, start, start + F, model.config.pose_dim, here.device)
        poses = model.poses(SAMPLERS[sampler](predict_eps, schedule, noise(), steps, noise, progress, power), before)
        before, start = torch.cat([poses[:, :1] if before is None else before, poses], dim=1)[:, -2:], start + F
        yield poses[:, :F - max(0, start - heard)]   # [B, F, P], at the end without what filled up the last segment


def generate(model, schedule, speech, sampler="dpmpp", steps=10, guidance=1.0, seed=0, progress=iter, segment=None, power=1.0):
    """Motion for speech [B, F, S] -> standardised pose features [B, F, P]. `steps` counts network passes.

    Up to four attention windows, in whole segments, all frames are made at once, as in the paper; beyond, in chunks that give the same
    result, because the attention's mask would grow with the square of the length. The arguments, and what raises ValueError, are those of generate_stream.
    """
    segment = model.config.segment if segment is None else segment
    chunk = max(1, 4 * model.config.attention_window // segment) * segment
    return torch.cat(list(generate_stream(model, schedule, speech, sampler, steps, guidance, seed, chunk, progress, segment, power)), dim=1)
