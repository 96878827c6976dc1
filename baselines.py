"""What the paper is compared with: the same network with one idea taken out, each as small as it can honestly be.

    python train.py --model concat --depth 8 --out runs/concat        and sample.py, evaluate.py as for any other checkpoint

    add, concat    plain layer norm instead of adaLN: the speech enters once, at the input, added or concatenated
    none           no speech at all: what can be had by moving like a puppet in general
    direct         least squares: the pose predicted in one go, without diffusion
    frames         frame by frame, the first DiffMotion's way: a recurrent memory, and a small diffusion model for one frame

(The paper's joint adaLN is no model of its own: python train.py --adaln joint.) All share the condition encoder, what is
diffused (DiffMotion.innovations), what is answered (see DiffMotion.noise), the data, the optimiser and the samplers with DiffMotion; so each comparison is about
one idea. (Least squares has neither noise nor samplers: it answers the pose itself, and is trained on its plain squared error.) How they are given as many parameters, and where that is unfair, is said beside experiments.MODELS.
"""
from dataclasses import replace

import torch
import torch.nn as nn
import torch.nn.functional as fun

from diffmotion import SAMPLERS, Block, DiffMotion, sinusoid


# ------------------------------------------------------------------------------------------------
# 1. Plain layer norm: does adaLN help?
# ------------------------------------------------------------------------------------------------
class PlainBlock(Block):
    """A transformer block as everybody knows it: layer norm with its own learned scale and shift, no gates, no condition.

        x = x + Attention(LayerNorm(x))
        x = x + MLP(LayerNorm(x))
    """

    def __init__(self, config):
        super().__init__(config)
        del self.adaln, self.norm
        self.norm_1, self.norm_2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)

    def forward(self, x, speech, step, turn, mask, cache=None):
        """As Block.forward; speech and step are not looked at: they came in at the input."""
        x = x + self.attention(self.norm_1(x), turn, mask, cache)
        return x + self.mlp(self.norm_2(x))


class Entrance(nn.Module):
    """Where speech and diffusion step come in, once: x + speech + step, or Linear([x, speech]) + step. It stands before the blocks."""

    def __init__(self, width, concatenated):
        super().__init__()
        self.join = nn.Linear(2 * width, width) if concatenated else None

    def forward(self, x, speech, step, turn, mask, cache=None):
        """x [B, F, W], speech: the condition [B, F, W], step [B or 1, W] -> [B, F, W]."""
        x = x + speech if self.join is None else self.join(torch.cat([x, speech], dim=-1))   # [B, F, W]
        return x + step[:, None]


class LearnedScale(nn.Module):
    """Scale and shift of the last layer norm, learned and the same for every frame; it stands where the last adaLN stood."""

    def __init__(self, width):
        super().__init__()
        self.shift, self.scale = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, speech, step):
        """-> shift [W], scale [W]."""
        return self.shift, self.scale


class AddedSpeech(DiffMotion):
    """DiffMotion with plain layer norm; the speech is added to the gesture at the input."""
    concatenated = False

    def __init__(self, config, schedule=None):
        super().__init__(config, schedule)
        self.blocks = nn.ModuleList([Entrance(config.width, self.concatenated), *(PlainBlock(config) for _ in range(config.depth))])
        self.final_adaln = LearnedScale(config.width)

    def speech_halves(self, condition):
        """condition [B, F, W] -> what each block is given: the condition for the entrance, nothing for the others."""
        return [condition] + [None] * len(self.blocks)

    def step_halves(self, t):
        """t [n] -> the same for the steps: [n, W] for the entrance, nothing for the others."""
        return [self.step(sinusoid(t, self.config.width).to(self.no_speech.dtype))] + [None] * len(self.blocks)


class ConcatenatedSpeech(AddedSpeech):
    """DiffMotion with plain layer norm; the speech is concatenated with the gesture at the input."""
    concatenated = True


# ------------------------------------------------------------------------------------------------
# 2. No speech: does it listen?
# ------------------------------------------------------------------------------------------------
class Deaf(DiffMotion):
    """DiffMotion whose speech is withheld always. Its ears are there, so that the sizes agree, and idle."""

    def encode_speech(self, speech, withheld=None, cache=None):
        """speech [B, F, S] -> the learned "no speech" for every frame [B, F, W]; in a stream as late as the others' answers."""
        if cache is not None:
            speech = super().encode_speech(speech, cache=cache)
        return self.no_speech.expand(*speech.shape[:2], -1)


# ------------------------------------------------------------------------------------------------
# 3. Least squares: what is diffusion for?
# ------------------------------------------------------------------------------------------------
class Direct(DiffMotion):
    """The same network, asked for the pose itself, in one pass from the speech alone: pose = model(speech).

    The least squares answer to "left or right hand?" is the mean of both. Train it with --memory 0: what is predicted
    is then the pose, not what is new in it.
    """

    def forward(self, x_t, t, speech, withheld=None, phase=None):
        """speech [B, F, S] -> poses [B, F, P]; x_t and t are there for their shapes only."""
        return super().forward(torch.zeros_like(x_t), torch.zeros_like(t), speech, withheld, phase)

    @torch.no_grad()
    def generate(self, schedule, speech, seed=0, **sampling):
        """diffmotion.generate for this model; there is nothing to sample, every seed gives the same."""
        B, F, _ = speech.shape
        pose = self(speech.new_zeros(B, F, self.config.pose_dim), torch.zeros(B, dtype=torch.long, device=speech.device), speech)
        return self.poses(pose)


# ------------------------------------------------------------------------------------------------
# 4. Frame by frame: does it help to make all frames at once?
# ------------------------------------------------------------------------------------------------
class FrameByFrame(DiffMotion):
    """The first DiffMotion's way (arXiv 2301.10047): a recurrent network remembers the frames made so far, and a small
    diffusion model makes the next one from that memory and the speech. All `steps` for frame n, then all for frame n + 1.

        h_n = LSTM(h_{n-1}, [x0_{n-1}, pose_{n-1}, speech_n])        eps_n = denoiser(x_t_n, t, h_n)

    In training the memory is fed with the recorded frames; in sampling with its own, whose errors it has never seen. That
    difference, and the thousands of small passes, are what the paper's second version wants to be rid of.
    """
    HIDDEN = 232             # width of memory and denoiser; with 4 blocks as many parameters as DiffMotion of width 128

    def __init__(self, config, schedule=None):
        super().__init__(replace(config, depth=0), schedule)
        del self.gesture, self.final_adaln, self.final_norm, self.final
        self.config, H, P, W = config, self.HIDDEN, config.pose_dim, config.width
        self.memory = nn.LSTM(2 * P + 1 + W, H, num_layers=2, batch_first=True)
        self.enter, self.leave = nn.Linear(P, H), nn.Linear(H, P)
        self.norms = nn.ModuleList(nn.LayerNorm(H) for _ in range(config.depth))
        self.ins = nn.ModuleList(nn.Linear(H + H + W, H) for _ in range(config.depth))
        self.outs = nn.ModuleList(nn.Linear(H, H) for _ in range(config.depth))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_t, t, speech, withheld=None, x0=None):
        """As DiffMotion.forward, with the clean frames x0 [B, F, P] for the memory: frame n is shown those before n."""
        with torch.autocast(x_t.device.type, enabled=False):                 # poses are sums over all frames, which eight bits would blur; and PyTorch's LSTM has no fast bfloat16 on a CPU
            past = self.seen(x0, self.poses(x0))                             # [B, F, 2P + 1]
            past = torch.cat([torch.zeros_like(past[:, :1]), past[:, :-1]], dim=1)
            memory, _ = self.memory(torch.cat([past, self.encode_speech(speech, withheld).float()], dim=-1))     # [B, F, H]
        return self.denoise_frames(x_t, t, memory)

    @staticmethod
    def seen(x0, pose):
        """What the memory gets of a frame: what was new, the pose, and a one that says there was a frame. -> [B, F, 2P + 1]."""
        return fun.pad(torch.cat([x0, pose], dim=-1), (0, 1), value=1.0)

    def denoise_frames(self, x_t, t, memory):
        """x_t [B, F, P], t [B], memory [B, F, H] -> eps [B, F, P], each frame by itself."""
        step = self.step(sinusoid(t, self.config.width).to(x_t.dtype))[:, None].expand(-1, x_t.shape[1], -1)     # [B, F, W]
        x = self.enter(x_t)                                                  # [B, F, H]
        for norm, into, out in zip(self.norms, self.ins, self.outs):
            x = x + out(fun.silu(into(torch.cat([norm(x), memory.to(x.dtype), step], dim=-1))))
        return self.noise(x_t, t, self.leave(x))                             # [B, F, P]

    @torch.no_grad()
    def generate(self, schedule, speech, sampler="dpmpp", steps=10, guidance=1.0, seed=0, progress=iter, power=1.0):
        """diffmotion.generate for this model: speech [B, F, S] -> poses [B, F, P]."""
        (B, F, _), P, guided = speech.shape, self.config.pose_dim, guidance != 1
        random = torch.Generator().manual_seed(seed)
        condition = self.encode_speech(speech)                               # [B, F, W]
        if guided:
            condition = torch.cat([condition, self.no_speech.expand_as(condition)])          # [2B, F, W]
        past, state, poses = condition.new_zeros(len(condition), 1, 2 * P + 1), None, []

        def fresh_noise():
            return torch.randn(B, 1, P, generator=random).to(speech.device)

        for n in progress(range(F)):
            memory, state = self.memory(torch.cat([past, condition[:, n:n + 1]], dim=-1), state)     # [B or 2B, 1, H]

            def predict_eps(x_t, t, k):
                t = torch.full((len(memory),), t, device=x_t.device)
                eps = self.denoise_frames(torch.cat([x_t, x_t]) if guided else x_t, t, memory)
                if guided:
                    eps_speech, eps_none = eps.chunk(2)
                    eps = eps_none + guidance * (eps_speech - eps_none)
                return eps

            x0 = SAMPLERS[sampler](predict_eps, schedule, fresh_noise(), steps, fresh_noise, power=power)         # [B, 1, P]
            pose = self.poses(x0, torch.cat([poses[0], *poses][-2:], dim=1) if poses else None)             # [B, 1, P]
            poses.append(pose)
            past = self.seen(x0, pose).repeat(len(memory) // B, 1, 1)        # [B or 2B, 1, 2P + 1]
        return torch.cat(poses, dim=1)                                       # [B, F, P]


MODELS = dict(diffmotion=DiffMotion, add=AddedSpeech, concat=ConcatenatedSpeech, none=Deaf, direct=Direct, frames=FrameByFrame)
