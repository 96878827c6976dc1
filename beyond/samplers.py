"""Faster samplers, guidance and warm-up frames: what `generate` is given beyond the paper.

solver (DDIM, DPM-Solver++)
    paper     DDPM, 1000 passes of the network
    ours      DPM-Solver++(2M), 10 passes
    why       a hundred times as fast
    measured  the shipped model on takes for choosing: beat F1 0.909 +- 0.025, rest error 1.17, jerk
              of the hands 47.7 (recorded: 43.6); with 100 steps of DDPM 0.911, 1.00, 39.7; with 10
              of them 0.924, 0.63, 42.7, but hips sway 48 mm, not 77 (results/README.md). A small
              model (one training) with 10 steps of ours 0.874, 3.5, 61, with 1000 of DDPM 0.879,
              2.3, 51 (recorded: 48)
guidance (Ho & Salimans 2022, arXiv 2207.12598)
    paper     eps of the speech, as the network was trained
    ours      eps = eps_none + 1.2 (eps_speech - eps_none): away from the answer to no speech
    cost      a second pass, made in the same batch
    measured  in small models without it beat F1 0.841 +- 0.025, with it 0.864 +- 0.011; jerk 52,
              with it 61; the same style error (results/experiments/departures.json)
warmup_frames
    paper     the first frame is the first
    ours      2 s are made before it, to copies of the first frame of speech, and thrown away
    why       the first frame has no past: hands begin anywhere, and sink to where they rest
    measured  hands' speed in the first 0.4 s of silence, body heights a second: 0.033 with 20
              frames, 0.020 with 40, 0.21 without; the recorded motion has 0.017
And the noise of a frame belongs to that frame: it is the same in any batch and in any chunk.
"""

import math
from functools import partial

import torch

from diffmotion import generate, sample_ddpm


# ------------------------------------------------------------------------------------------------
# Which steps are walked
# ------------------------------------------------------------------------------------------------
def time_grid(num_steps, steps):
    """`steps` of num_steps diffusion steps, falling evenly: t_k = num_steps (1 - k / steps) - 1.

    999, 899, ..., 99 for ten: the last jump goes from 99 to the data ("trailing" in Lin et al.
    2024, arXiv 2305.08891). A grid that ends at t = 0 wastes its last pass, since x_t is the data
    there but for noise of 0.01. ValueError for less than one step, or more than there are.
    """
    if not 1 <= steps <= num_steps:
        raise ValueError(f"steps must be between 1 and {num_steps}, not {steps}")
    return [round(num_steps * (1 - k / steps)) - 1 for k in range(steps)]


# ------------------------------------------------------------------------------------------------
# Samplers, with the arguments of diffmotion.sample_ddpm
# ------------------------------------------------------------------------------------------------
def sample_ddim(predict_eps, schedule, x, noise, grid, progress=iter):
    """Song et al. 2021 (arXiv 2010.02502), eta = 0: keep the noise, do not draw anew."""
    for t, t_next in progress(list(zip(grid, [*grid[1:], -1]))):
        eps = predict_eps(x, t)
        abar_next = schedule.abar(t_next, x)
        x0 = schedule.predict_x0(x, t, eps)
        x = abar_next**0.5 * x0 + (1 - abar_next) ** 0.5 * eps
    return x


def sample_dpmpp(predict_eps, schedule, x, noise, grid, progress=iter):
    """DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095): second order along DDIM's path.

    With a = sqrt(abar), s = sqrt(1 - abar), lambda = log(a / s), h the step in lambda:

        x <- (s' / s) x - a' (exp(-h) - 1) D,    D = x0 + (x0 - x0_last) h / (2 h_last)

    where s', a' belong to the next level. DDIM is the same with D = x0. As a function of lambda, x0
    changes almost along a straight line; D continues the line through the last two. The first step
    has no x0_last. At the last one h is infinite, and a trend so long means nothing: there x <- x0.
    """
    x0_last = h_last = None
    for t, t_next in progress(list(zip(grid, [*grid[1:], -1]))):
        x0 = schedule.predict_x0(x, t, predict_eps(x, t))
        if t_next < 0:
            return x0
        abar, abar_next = schedule.abar(t, x), schedule.abar(t_next, x)
        s, s_next = (1 - abar) ** 0.5, (1 - abar_next) ** 0.5
        h = math.log(abar_next**0.5 / s_next) - math.log(abar**0.5 / s)
        D = x0 if x0_last is None else x0 + (x0 - x0_last) * h / (2 * h_last)
        x = (s_next / s) * x - abar_next**0.5 * math.expm1(-h) * D
        x0_last, h_last = x0, h


SAMPLERS = {"ddpm": sample_ddpm, "ddim": sample_ddim, "dpmpp": sample_dpmpp}


# ------------------------------------------------------------------------------------------------
# Guidance: stands in the model's place
# ------------------------------------------------------------------------------------------------
class Guided:
    """A model whose eps is eps_none + guidance (eps_speech - eps_none).

    1 is the model as trained, more follows the speech more strictly. encode_speech gives both
    conditions as one batch of 2 B clips, denoise takes it apart again.
    """

    def __init__(self, model, guidance):
        self.model, self.guidance = model, guidance
        self.size, self.transform = model.size, model.transform

    def encode_speech(self, speech):
        """speech [B, F, S] -> the conditions with speech and without [2B, F, W]."""
        return self.both(self.model.encode_speech(speech))

    def both(self, condition):
        """condition [B, F, W] -> with the null condition behind it [2B, F, W]."""
        return torch.cat([condition, self.model.null_condition.expand_as(condition)])

    def denoise(self, x_t, t, condition, mask=None):
        """x_t [B, F, P], t [1], condition [2B, F, W] -> eps [B, F, P]."""
        eps = self.model.denoise(torch.cat([x_t, x_t]), t, condition, mask)
        eps_speech, eps_none = eps.chunk(2)  # [B, F, P] each
        return eps_none + self.guidance * (eps_speech - eps_none)


def guided(model, guidance):
    """The model, or with a guidance other than 1 its guided stand-in."""
    return model if guidance == 1 else Guided(model, guidance)


# ------------------------------------------------------------------------------------------------
# Noise that belongs to its frame
# ------------------------------------------------------------------------------------------------
class FrameNoise:
    """Draws of N(0, 1) that depend on the seed, the clip and the frame, and on nothing else.

    seed   a number, for clips that are drawn together; or a list of one number a clip, each of
           which then draws what it would draw alone
    Frames are drawn in blocks of BLOCK with a generator each, on the CPU, so that a GPU makes the
    same motion. Call it for the next draw: [B, stop - start, P].
    """

    BLOCK = 64

    def __init__(self, seed, clips, start, stop, features, device):
        first, last = start // self.BLOCK, (stop - 1) // self.BLOCK
        self.inside = slice(start - first * self.BLOCK, stop - first * self.BLOCK)
        self.features, self.device = features, torch.device(device)
        if hasattr(seed, "__len__"):
            drawn_as = [(int(one), 0) for one in seed]
        else:
            drawn_as = [(int(seed), clip) for clip in range(clips)]
        if len(drawn_as) != clips:
            raise ValueError(f"{len(drawn_as)} seeds for {clips} clips; give one, or one a clip")
        blocks = range(first, last + 1)
        self.generators = [[self.generator(*clip, block) for block in blocks] for clip in drawn_as]

    @staticmethod
    def generator(seed, clip, block):
        """A generator of its own for a block of a clip; odd multipliers keep neighbours apart."""
        mixed = seed * 0x9E3779B97F4A7C15 + clip * 0xC2B2AE3D27D4EB4F + block * 0x165667B19E3779F9
        return torch.Generator().manual_seed(mixed % 2**63)

    def __call__(self):
        # From pinned memory the copy runs beside the GPU's work
        size = len(self.generators), len(self.generators[0]), self.BLOCK, self.features
        draw = torch.empty(size, pin_memory=self.device.type == "cuda")
        for clip, row in zip(draw, self.generators):
            for block, generator in zip(clip, row):
                block.normal_(generator=generator)
        draw = draw.to(self.device, non_blocking=True)
        return draw.flatten(1, 2)[:, self.inside]  # [B, stop - start, P]


# ------------------------------------------------------------------------------------------------
# All of it together
# ------------------------------------------------------------------------------------------------
def sampler_of(schedule, name, steps, progress=iter):
    """A sampler by name, ready for `generate`. ValueError for one that there is not."""
    if name not in SAMPLERS:
        raise ValueError(f"sampler is one of {', '.join(SAMPLERS)}, not {name!r}")
    grid = time_grid(schedule.num_steps, steps)
    return partial(SAMPLERS[name], grid=grid, progress=progress)


def refuse_other_schedule(model, schedule):
    """ValueError for a schedule that the model was not trained with: its eps would be wrong."""
    own = model.schedule.settings()
    if schedule.settings() != own:
        raise ValueError(f"the model was trained with another schedule: {own}")


def with_warmup(speech, frames):
    """speech [B, F, S] behind `frames` copies of its first frame: [B, frames + F, S]."""
    return torch.cat([speech[:, :1].expand(-1, frames, -1), speech], dim=1)


def generate_whole(model, schedule, speech, sampler, steps, guidance=1.0, seed=0,
                   progress=iter):  # fmt: skip
    """diffmotion.generate with a sampler by name, guidance and frames' own noise -> [B, F, P]."""
    refuse_other_schedule(model, schedule)
    B, F, _ = speech.shape
    noise = FrameNoise(seed, B, 0, F, model.size["pose_dim"], speech.device)
    sample = sampler_of(schedule, sampler, steps, progress)
    return generate(guided(model, guidance), schedule, speech, sample, noise)
