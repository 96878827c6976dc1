"""Chapter two: where we leave the paper on purpose, each departure by itself.

A section says: paper / ours / why / cost / measured / source. beyond/recipes.py has OURS, the
recipe with all of them. `python train.py --undo NAME,...` takes single ones back, `--recipe paper`
takes back all.

    the network     split, context, voice, start, window, segments, v, innovations, momentum
    training        loss, muon, cosine, ema, starts, openings, noise, voices
    sampling        solver, guidance, warmup_frames: in beyond/samplers.py
    an option       the weighted sum of WavLM's layers (--layer sum), which is not part of OURS

Names that are easily confused: `start` marks a clip's first frame; `starts` and `openings` say
where training windows begin. The departure `window` is how far back a frame sees; `--window` of
train.py is the length of a training window. A piece of the recipe that has settings is a partial:
partial(segment_mask, window=100, segment=40).

"measured": the same model without the departure, three trainings on a sixth of the windows that the
shipped model saw, on twelve test takes of the puppet (results/experiments/departures.json). With
all of them such trainings have beat F1 0.864 +- 0.011, style error 0.162 +- 0.021, jerk of the
hands 61.5 +- 1.5 (recorded: 48). What differs by no more than the spread is called a tie.
lab/report.py explains the scores.
"""

import math
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as fun

from diffmotion import AdaLN, GestureEncoder, SpeechEncoder


# ------------------------------------------------------------------------------------------------
# split: adaLN's two halves
#   paper     modulation = Linear(SiLU(condition + step))
#   ours      modulation = W_c SiLU(condition) + W_t SiLU(step)
#   why       the condition's half, the costly one, is the same at all diffusion steps: it is
#             computed once a clip (beyond/fast.py), where the paper's is computed at every step
#   cost      adaLN has twice the weights: the small model 1.95 M instead of 1.53 M
#   measured  a tie: beat F1 0.857, style error 0.147, jerk 63 (with 5 blocks for 4)
#   source    our own
# ------------------------------------------------------------------------------------------------
class SplitAdaLN(AdaLN):
    """modulation = W_c SiLU(condition_n) + W_t SiLU(step_t). All weights start at zero."""

    def __init__(self, width, parts):
        super().__init__(width, parts)  # self.linear is W_c
        self.step = nn.Linear(width, parts * width, bias=False)  # W_t
        nn.init.zeros_(self.step.weight)

    def forward(self, condition, step):
        """condition [B, F, W], embedding of the step [B or 1, W] -> `parts` tensors [B, F, W]."""
        both = self.condition_half(condition) + self.step_half(step)  # [B, F, parts W]
        return both.chunk(self.parts, dim=-1)

    def condition_half(self, condition):
        """condition [B, F, W] -> W_c SiLU(condition) [B, F, parts W]."""
        return self.linear(fun.silu(condition))

    def step_half(self, step):
        """step [B or 1, W] -> W_t SiLU(step) [B or 1, 1, parts W]."""
        return self.step(fun.silu(step))[:, None]


# ------------------------------------------------------------------------------------------------
# context: speech around a frame;  voice: who speaks
#   paper     the condition of a frame is one linear layer of the frame's own speech feature
#   ours      context: a convolution hears 0.8 s (16 frames) on both sides of the frame, then a
#             two-layer network. voice: between the two is added a running average over the last
#             100 frames, weighted by a learned number
#   why       a hand must rise before the syllable that it beats; posture and size of gesture belong
#             to the speaker, whose voice takes seconds to recognise. WavLM looks around a frame by
#             itself; a row of mel bands does not
#   cost      a ninth of the small model's weights; live gesture comes 0.8 s late
#   measured  without context: beat F1 0.701, jerk 53. Without voice a tie: 0.853, style error 0.148
#   source    our own
# ------------------------------------------------------------------------------------------------
class ContextEncoder(nn.Module):
    """Speech [B, F, S] -> condition [B, F, W], from the speech around a frame and from the voice.

    reach    frames that are heard on each side; around a clip it hears zeros, an average sound
    window   frames of the voice's running average; None: all so far
    voice    False leaves the average out

        heard_n     = SiLU(conv(speech from n - reach to n + reach))
        voice_n     = sum_k w_k V heard_k / sum_k w_k,   k from n - window + 1 to n
        condition_n = MLP(heard_n + voice_n)

    V is self.voice, with one output more than W. That first one, through a sigmoid and plus 0.001,
    is the weight w_k: silence may tell nothing about the voice.
    """

    def __init__(self, speech_dim, width, reach=16, window=100, voice=True):
        super().__init__()
        self.reach, self.window = reach, window
        self.conv = nn.Conv1d(speech_dim, width, 2 * reach + 1)
        self.voice = nn.Linear(width, width + 1) if voice else None
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, speech):
        """speech [B, F, S] -> [B, F, W]."""
        speech = self.around(speech).transpose(1, 2)  # [B, S, F + 2 reach]
        heard = fun.silu(self.conv(speech).transpose(1, 2))  # [B, F, W]
        if self.voice is None:
            return self.mlp(heard)
        return self.mlp(heard + self.average(self.voice(heard)).to(heard.dtype))

    def around(self, speech):
        """Zeros for what is heard before and after the clip: [B, F + 2 reach, S]."""
        return fun.pad(speech, (0, 0, self.reach, self.reach))

    def average(self, traits):
        """traits [B, F, W + 1], the first column the weight -> their running average [B, F, W]."""
        weight = traits[..., :1].double().sigmoid() + 1e-3  # [B, F, 1]; double: sums of long clips
        total = self.running_sum(torch.cat([weight, weight * traits[..., 1:]], dim=-1))
        return total[..., 1:] / total[..., :1]  # [B, F, W]

    def running_sum(self, terms):
        """terms [B, F, D] -> for each frame the sum of the last `window` of them [B, F, D]."""
        total = terms.cumsum(dim=1)
        if self.window is None:
            return total
        return total - fun.pad(total, (0, 0, self.window, 0))[:, : total.shape[1]]


# ------------------------------------------------------------------------------------------------
# start: where a clip begins
#   paper     the convolution of the gesture encoder sees zeros before the first frame
#   ours      a one beside each frame's features, which the padding lacks
#   why       standardised zeros are an average pose: nothing says that there was no frame
#   cost      `kernel` more weights for each of the W channels
#   measured  a tie: beat F1 0.869, style error 0.157, jerk 63
#   source    our own
# ------------------------------------------------------------------------------------------------
class MarkedGestureEncoder(GestureEncoder):
    """The gesture encoder, with a one beside each frame's features."""

    def __init__(self, pose_dim, width, kernel):
        super().__init__(pose_dim + 1, width, kernel)

    def forward(self, x):
        """x [B, F, P] -> [B, F, W]."""
        return super().forward(fun.pad(x, (0, 1), value=1.0))


# ------------------------------------------------------------------------------------------------
# window: how far back;  segments: how far ahead
#   paper     frame n attends to frames 0 to n
#   ours      window: to the last 100 frames (5 s), and so does the voice's average. segments: and
#             to all frames of its own segment of 40 frames (2 s), also the later ones
#   why       window: endless speech needs a bounded past. segments: a sampler needs
#             E[eps_n | all of x_t], and noisy frames after n know something about frame n. Without
#             them movement that no speech explains comes out wrong. Take a hand that swings slowly,
#             with periods of 3 s: the best denoiser that sees no later frame moves it 0.71 as far
#             within 0.8 s as it should. In segments of 2 s it is 0.87, with all frames 0.96
#             (tests/test_departures.py)
#   cost      a frame is ready when its segment is; nothing looks beyond, so speech can be endless
#   measured  without window: beat F1 0.873, but postures leave the puppet's (Fréchet distance 181,
#             with it 47): a minute is longer than the 8 s of training. Without segments: beat F1
#             0.896, but jerk 78
#   source    windows are usual in language models (Beltagy et al. 2020, arXiv 2004.05150); segments
#             are our own
# ------------------------------------------------------------------------------------------------
def segment_mask(frames, device=None, window=100, segment=40, past=0, phases=None):
    """[F, past + F] bool: frame n sees its own segment and the last `window` frames up to itself.

    past     frames before the first that are there to be seen; the first frame begins a segment
    phases   [B]: the first frame's place in its segment, clip by clip -> [B, 1, F, past + F]
    """
    query = torch.arange(frames, device=device)[:, None]  # [F, 1]
    key = torch.arange(-past, frames, device=device)[None]  # [1, past + F]
    phase = 0 if phases is None else phases[:, None, None, None]  # [B, 1, 1, 1]
    own = (key + phase) // segment == (query + phase) // segment
    behind = key <= query
    return own | (behind if window is None else behind & (key > query - window))


def mask_for_training(mask, clips, frames, random, device):
    """The mask [B, 1, F, F] of windows that begin anywhere in a segment. None: the recipe's own."""
    segment = keywords(mask).get("segment", 1)
    if segment == 1:
        return None
    phases = torch.randint(segment, (clips,), generator=random).to(device)  # [B]
    return mask(frames, device, phases=phases)


# ------------------------------------------------------------------------------------------------
# v: what the network predicts
#   paper     the noise eps
#   ours      v = sqrt(abar_t) eps - sqrt(1 - abar_t) x0
#   why       at strong noise eps is nearly x_t, and handing x_t through normalised layers costs
#             digits, which predict_x0 multiplies by up to 1 / sqrt(abar_t) = 157. v is nearly -x0
#   cost      none
#   measured  the noise: a tie, beat F1 0.846, style error 0.179, jerk 57. With the first puppet,
#             which beat with one hand, 0.944, with v 0.994
#   source    Salimans & Ho 2022, arXiv 2202.00512, appendix D
# ------------------------------------------------------------------------------------------------
def predict_v(schedule, x_t, t, output):
    """output is v -> eps = sqrt(abar_t) v + sqrt(1 - abar_t) x_t, [B, F, P]."""
    abar = schedule.abar(t, x_t)
    return abar**0.5 * output + (1 - abar) ** 0.5 * x_t


# ------------------------------------------------------------------------------------------------
# innovations and momentum: what is diffused
#   paper     the pose
#   ours      what in a pose was not to be expected (statisticians say innovation):
#                 change_n = pose_n - 0.9 pose_{n-1}    a pose is expected to stay
#                 news_n = change_n - 0.5 change_{n-1}   momentum: and to go on as it went
#   why       neighbouring poses are nearly equal, so the noisy frames after a frame hold
#             information about it that a causal network cannot use. News have less in common. And
#             an error in one frame's news is smoothed when poses are summed up: no jitter
#   cost      two products with an [F, F] matrix a clip
#   measured  the pose: beat F1 0.684, jerk 291, hands never rest. Without momentum alone: beat F1
#             0.855, a tie, but jerk 78
#   source    our own; it is diffusion with noise that is correlated from frame to frame
# ------------------------------------------------------------------------------------------------
def news(pose, memory, momentum=0.0):
    """pose [..., F, P] -> [..., F, P], as above. The first pose was held before it, we assume."""
    for share in (memory, momentum):
        pose = pose - share * torch.cat([pose[..., :1, :], pose[..., :-1, :]], dim=-2)
    return pose


class Innovations(nn.Module):
    """x0_0 = pose_0;  x0_n = news_n / scale, scale [P] the deviation of the news in training."""

    def __init__(self, pose_dim, memory=0.9, momentum=0.5):
        super().__init__()
        self.memory, self.momentum = memory, momentum
        self.register_buffer("scale", torch.ones(pose_dim))  # travels with the weights

    def forward(self, pose):
        """pose [B, F, P] -> x0 [B, F, P]."""
        new = news(pose, self.memory, self.momentum)[:, 1:] / self.scale
        return torch.cat([pose[:, :1], new], dim=1)

    def inverse(self, x0, before=None):
        """x0 [B, F, P] -> pose [B, F, P]; before [B, 2, P]: the two poses before the first frame.

        Each share is undone by x_n = new_n + share x_{n-1}, which is the sum over k <= n of
        share^(n - k) new_k: one product with a triangular matrix.
        """
        F = x0.shape[1]
        age = torch.arange(F, device=x0.device)[:, None] - torch.arange(F, device=x0.device)
        x = x0 * self.scale  # [B, F, P]
        held = x0[:, :1] if before is None else before  # [B, 1 or 2, P]
        changes = news(held, self.memory)
        for share, seen in ((self.momentum, changes), (self.memory, held)):
            # Frame 0 needs what was before it. At a clip's start frame 0 itself is known
            x[:, 0] = seen[:, 0] if before is None else x[:, 0] + share * seen[:, -1]
            powers = torch.where(age >= 0, share ** age.clamp(min=0).float(), 0.0)  # [F, F]
            x = powers @ x  # [B, F, P]
        return x

    @torch.no_grad()
    def fit(self, poses, codec):
        """Set scale from the training takes: poses, a list of [frames, P].

        codec.swap, codec.sign: the mirror image of a pose, where takes are mirrored; else None.
        """
        count = sum(len(pose) - 1 for pose in poses)
        total, squares = 0, 0
        for pose in poses:
            new = news(pose, self.memory, self.momentum)[1:].double()  # [frames - 1, P]
            total, squares = total + new.sum(dim=0), squares + new.square().sum(dim=0)
        if codec.swap is not None:  # of the takes and their mirror images
            swap, sign = torch.from_numpy(codec.swap), torch.from_numpy(codec.sign)
            total, squares = (total + total[swap] * sign) / 2, (squares + squares[swap]) / 2
        variance = (squares - total.square() / max(1, count)) / max(1, count - 1)
        self.scale.copy_(variance.clamp(min=0).sqrt().float().clamp(min=1e-4))


# ------------------------------------------------------------------------------------------------
# loss: which noise levels count how much
#   paper     the squared error of the noise, all steps alike
#   ours      divided by sqrt(abar_t), the middle between the paper's loss and v's own (1 / abar_t)
#   why       which hand, stroke or rest: such things are settled at strong noise, where an error in
#             eps is small whatever the network says, so the paper's loss neglects them
#   cost      none
#   measured  the paper's: beat F1 0.759, style error 0.173, jerk 52: it moves less. With v's
#             own (an earlier model) hands tremble: jerk 44.6, with ours 34.5
#   source    our own; v's weight is of Salimans & Ho 2022, arXiv 2202.00512
# ------------------------------------------------------------------------------------------------
def balanced_loss(schedule, t, error, power=0.5):
    """error [B, F, P] of the noise at steps t [B] -> error / abar_t^power."""
    return error / schedule.abar(t, error) ** power


# ------------------------------------------------------------------------------------------------
# muon: the optimiser. See beyond/muon.py.
#   measured  AdamW: beat F1 0.803, style error 0.178, jerk 78; a step of the small model takes
#             1.3 times as long with Muon, in bfloat16
#
# cosine: the learning rate
#   paper     linear warm-up, then constant
#   ours      linear warm-up, then half a cosine down to zero
#   why       the last steps average out what the first ones stirred up
#   measured  beat F1 0.871, jerk 58: a tie, but a third as many questions are shrugged at
#   source    Loshchilov & Hutter 2017, arXiv 1608.03983
#
# ema: averaged weights
#   paper     the last weights are sampled
#   ours      a running average of the weights, decay 0.998: a memory of 500 steps
#   why       single steps at a high learning rate are noisy
#   measured  a tie: beat F1 0.858, jerk 62; where the rate falls to zero, little is left to average
#   source    Ho et al. 2020, arXiv 2006.11239, sample averaged weights too
#
# starts and openings: where windows begin
#   paper     every half window (the authors')
#   ours      starts: at every frame. openings: and one window in eight begins a take
#   why       more windows from the same takes; elsewhere a window opens in the middle of a gesture,
#             so how a take begins would hardly be learnt
#   measured  without starts nearly a tie: beat F1 0.847. Without openings a tie: 0.862
#
# noise and voices: disturbed speech, in beyond/augment.py
#   paper     none; WavLM's own training had noise in it
#   ours      a quarter of the windows is heard in noise, and before that with formants moved by up
#             to 0.4 octaves and through another microphone. Not for WavLM
#   measured  on clean speech ties: beat F1 0.865 and 0.862. In white noise as loud as the
#             speech 0.005, with noisy windows 0.961; through a telephone's band 0.949, with them
#             0.960 (both of an earlier model)
#   source    vocal tract length perturbation: Jaitly & Hinton 2013
# ------------------------------------------------------------------------------------------------
def cosine(step, warmup, steps):
    """Learning rate as a share of its peak: linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


# ------------------------------------------------------------------------------------------------
# solver, guidance, warmup_frames: sampling. See beyond/samplers.py.
#
# An option, no part of OURS: --layer sum
#   paper     the last layer of WavLM
#   option    all 13, mixed with learned shares
#   source    SUPERB, Yang et al. 2021, arXiv 2105.01051
# ------------------------------------------------------------------------------------------------
class LayerMix(nn.Module):
    """speech = sum over l of softmax(shares)_l layer_l, then the speech encoder.

    The layers come standardised, so that a large share is not just a layer of small numbers.
    """

    def __init__(self, speech_dim, width, encoder=SpeechEncoder, layers=13):
        super().__init__()
        self.layers, self.dim = layers, speech_dim // layers
        self.shares = nn.Parameter(torch.zeros(layers))  # equal at first
        self.encoder = encoder(self.dim, width)

    def forward(self, speech):
        """speech [B, F, layers S], or [B, F, S] if it was mixed before -> [B, F, W]."""
        return self.encoder(self.mix(speech))

    def mix(self, speech):
        """speech [..., layers S] -> [..., S]; speech of S features stays as it is."""
        if speech.shape[-1] == self.dim:
            return speech
        shares = self.shares.softmax(dim=0).to(speech.dtype)
        return shares @ speech.unflatten(-1, (self.layers, self.dim))  # [..., S]


def mixed_layers(model, speech):
    """Speech [..., layers S] as the model's LayerMix mixes it; as it is where there is none."""
    encoder = model.speech_encoder
    return encoder.mix(speech) if isinstance(encoder, LayerMix) else speech


def keywords(piece):
    """The settings of a piece of a recipe, {} for a plain one."""
    return piece.keywords if isinstance(piece, partial) else {}
