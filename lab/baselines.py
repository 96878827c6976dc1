"""What the paper is compared with: the same network with one idea taken out.

    python -m lab.baselines concat --depth 8 --out runs/concat      the options are train.py's
    python -m lab.evaluate --checkpoint runs/concat/model.pt

    add, concat    plain layer norm instead of adaLN: the speech comes in once, at the input
    none           no speech at all: what moving like a puppet in general is worth
    direct         least squares: the pose is predicted in one pass, without diffusion
    frames         frame by frame, as the first DiffMotion did: a recurrent memory, and a small
                   diffusion model that makes one frame

All share the speech encoder, what is diffused, what is predicted, the data, the optimiser and the
samplers with DiffMotion, so each comparison is about one idea. (Least squares has neither noise nor
samplers: it predicts the pose itself and is trained on its plain squared error.) How they get as
many parameters, and where that is unfair, is said beside lab.experiments.MODELS.
The paper's joint adaLN is no baseline of its own: python train.py --undo split.
"""

import functools
import sys

import torch
import torch.nn as nn
import torch.nn.functional as fun

import train
from beyond.samplers import sampler_of
from beyond.stream import continued
from diffmotion import Block, DiffMotion, sinusoid
from tools import Parser, has_bf16, run_script


# ------------------------------------------------------------------------------------------------
# 1. Plain layer norm: does adaLN help?
# ------------------------------------------------------------------------------------------------
class PlainNorm(nn.Module):
    """The learned scale and shift of a plain layer norm, the same for every frame; no gates.

    It stands in the place of an adaLN, and gives what that gives. Speech and step are not looked
    at: they came in at the input.
    """

    def __init__(self, width, parts):
        super().__init__()
        pairs = {2: 1, 6: 2}[parts]  # of shift and scale; the third of a block's three is a gate
        self.learned = nn.ParameterList(torch.zeros(width) for _ in range(2 * pairs))

    def forward(self, condition, step):
        """-> shift, scale [W]; in a block shift, scale, gate = 1 for attention, and for the MLP."""
        if len(self.learned) == 2:
            return tuple(self.learned)
        shift_1, scale_1, shift_2, scale_2 = self.learned
        return shift_1, scale_1, 1.0, shift_2, scale_2, 1.0


class PlainBlock(Block):
    """A transformer block as everybody knows it.

    x = x + Attention(LayerNorm(x))
    x = x +       MLP(LayerNorm(x))
    """

    def __init__(self, width, heads, adaln):
        super().__init__(width, heads, adaln)  # adaLN draws too: a seed gives the weights it gave
        self.adaln = PlainNorm(width, 6)


class Entrance(nn.Module):
    """Where speech and diffusion step come in, once. It stands before the blocks.

    x + condition + step, or Linear([x, condition]) + step
    """

    def __init__(self, width, concatenated):
        super().__init__()
        self.join = nn.Linear(2 * width, width) if concatenated else None

    def forward(self, x, condition, step, angles, mask):
        """x [B, F, W], condition [B, F, W], step [B or 1, W] -> [B, F, W]."""
        if self.join is None:
            return x + condition + step[:, None]  # [B, F, W]
        return self.join(torch.cat([x, condition], dim=-1)) + step[:, None]  # [B, F, W]


class AddedSpeech(DiffMotion):
    """DiffMotion with plain layer norm; the speech is added to the gesture at the input."""

    concatenated = False

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        width, heads, depth = (self.size[name] for name in ("width", "heads", "depth"))
        blocks = [Entrance(width, self.concatenated)]
        blocks += [PlainBlock(width, heads, self.recipe.adaln) for _ in range(depth)]
        self.blocks, self.final_adaln = nn.ModuleList(blocks), PlainNorm(width, 2)


class ConcatenatedSpeech(AddedSpeech):
    """DiffMotion with plain layer norm; the speech is concatenated with the gesture."""

    concatenated = True


# ------------------------------------------------------------------------------------------------
# 2. No speech: does it listen?
# ------------------------------------------------------------------------------------------------
class NoSpeech(DiffMotion):
    """DiffMotion that always gets the null condition.

    Its speech encoder is there, idle, so that the sizes agree.
    """

    def encode_speech(self, speech, drop=None):
        """speech [B, F, S] -> the null condition for every frame [B, F, W]."""
        with torch.no_grad():  # for the number of frames, which in a stream is the encoder's affair
            condition = super().encode_speech(speech)
        return self.null_condition.expand_as(condition)


# ------------------------------------------------------------------------------------------------
# 3. Least squares: what is diffusion for?
# ------------------------------------------------------------------------------------------------
class LeastSquares(DiffMotion):
    """The same network asked for the pose itself, in one pass: pose = model(speech).

    The least squares answer to "left or right hand?" is the mean of both. Train it with --undo
    innovations: what is predicted is then the pose, not what is new in it.
    """

    def forward(self, x_t, t, speech, drop=None, mask=None):
        """speech [B, F, S] -> x0 [B, F, P]; x_t and t are there for their shapes only."""
        return super().forward(torch.zeros_like(x_t), torch.zeros_like(t), speech, drop, mask)

    @torch.no_grad()
    def generate(self, schedule, speech, seed=0, **settings):
        """Poses [B, F, P] for speech [B, F, S]. Nothing is drawn: every seed gives the same."""
        B, F, _ = speech.shape
        nothing = speech.new_zeros(B, F, self.size["pose_dim"])
        steps = torch.zeros(B, dtype=torch.long, device=speech.device)
        return self.transform.inverse(self(nothing, steps, speech))


def in_fast_precision(pose):
    """What train.training_loss computes in: bfloat16 where the device has it."""
    kind = pose.device.type
    return torch.autocast(kind, torch.bfloat16, enabled=has_bf16(pose.device))


def pose_loss(model, pose, speech, t, eps, drop, mask=None):
    """mean |x0 - model(speech)|^2; arguments as of train.training_loss."""
    x0 = model.transform(pose)  # [B, F, P]
    with in_fast_precision(pose):
        predicted = model(x0, t, speech, drop, mask)  # [B, F, P]
    return (x0 - predicted).square().mean()


# ------------------------------------------------------------------------------------------------
# 4. Frame by frame: does it help to make all frames at once?
# ------------------------------------------------------------------------------------------------
class FrameByFrame(DiffMotion):
    """The first DiffMotion's way (arXiv 2301.10047): all steps for frame n, then for frame n + 1.

        h_n = LSTM(h_{n-1}, [x0_{n-1}, pose_{n-1}, condition_n])      the frames made so far
        eps_n = denoiser(x_t_n, t, h_n)                               a small diffusion model

    In training the memory is fed with recorded frames, in sampling with its own, whose errors it
    has never seen. That difference, and thousands of small passes, are what the paper's second
    version wants to be rid of.
    """

    HIDDEN = 232  # width of memory and denoiser: with 4 blocks as many weights as ours 128 wide

    def __init__(self, pose_dim, speech_dim, width=1280, depth=12, **settings):
        super().__init__(pose_dim, speech_dim, width, depth=0, **settings)
        del self.final_adaln, self.final_norm, self.final
        self.gesture_encoder = nn.Identity()
        self.size["depth"] = depth
        H, P, W = self.HIDDEN, pose_dim, width
        self.memory = nn.LSTM(2 * P + 1 + W, H, num_layers=2, batch_first=True)
        self.enter, self.leave = nn.Linear(P, H), nn.Linear(H, P)
        self.norms = nn.ModuleList(nn.LayerNorm(H) for _ in range(depth))
        self.ins = nn.ModuleList(nn.Linear(H + H + W, H) for _ in range(depth))
        self.outs = nn.ModuleList(nn.Linear(H, H) for _ in range(depth))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_t, t, speech, drop=None, x0=None):
        """x_t [B, F, P], t [B], speech [B, F, S], clean frames x0 [B, F, P] -> eps [B, F, P].

        The memory of frame n is shown the clean frames before n.
        """
        # Poses are sums over all frames, which bfloat16 would blur
        with torch.autocast(x_t.device.type, enabled=False):
            past = self.seen(x0, self.transform.inverse(x0))  # [B, F, 2P + 1]
            past = torch.cat([torch.zeros_like(past[:, :1]), past[:, :-1]], dim=1)
            condition = self.encode_speech(speech, drop)  # [B, F, W]
            memory, _ = self.memory(torch.cat([past, condition], dim=-1))  # [B, F, H]
        return self.denoise_frames(x_t, t, memory)

    @staticmethod
    def seen(x0, pose):
        """What the memory gets of a frame: x0, the pose, and a one: "there was a frame".

        x0, pose [B, F, P] -> [B, F, 2P + 1].
        """
        return fun.pad(torch.cat([x0, pose], dim=-1), (0, 1), value=1.0)

    def denoise_frames(self, x_t, t, memory):
        """x_t [B, F, P], t [B], memory [B, F, H] -> eps [B, F, P], each frame by itself."""
        step = self.step_embedding(sinusoid(t, self.size["width"]))[:, None]  # [B, 1, W]
        step = step.expand(-1, x_t.shape[1], -1)  # [B, F, W]
        x = self.enter(x_t)  # [B, F, H]
        for norm, into, out in zip(self.norms, self.ins, self.outs):
            inside = torch.cat([norm(x), memory.to(x.dtype), step], dim=-1)  # [B, F, 2H + W]
            x = x + out(fun.silu(into(inside)))  # [B, F, H]
        return self.recipe.prediction(self.schedule, x_t, t, self.leave(x).float())

    @torch.no_grad()
    def generate(self, schedule, speech, sampler="dpmpp", steps=10, guidance=1.0, seed=0,
                 progress=iter):  # fmt: skip
        """Poses [B, F, P] for speech [B, F, S]; settings as in beyond/samplers.py."""
        (B, F, _), P, random = speech.shape, self.size["pose_dim"], torch.Generator()
        random.manual_seed(seed)
        condition = self.encode_speech(speech)  # [B, F, W]
        if guidance != 1:
            null = self.null_condition.expand_as(condition)
            condition = torch.cat([condition, null])  # [2B, F, W]
        past, state, poses = condition.new_zeros(len(condition), 1, 2 * P + 1), None, []
        sample = sampler_of(schedule, sampler, steps)

        def noise():
            return torch.randn(B, 1, P, generator=random).to(speech.device)

        for n in progress(range(F)):
            heard = torch.cat([past, condition[:, n : n + 1]], dim=-1)  # [B or 2B, 1, 2P + 1 + W]
            memory, state = self.memory(heard, state)  # [B or 2B, 1, H]
            predict_eps = functools.partial(self.guided_eps, memory=memory, guidance=guidance)
            x0 = sample(predict_eps, schedule, noise(), noise)  # [B, 1, P]
            before = torch.cat([poses[0], *poses][-2:], dim=1) if poses else None  # [B, 2, P]
            pose = continued(self.transform, x0, before)  # [B, 1, P]
            poses.append(pose)
            past = self.seen(x0, pose).repeat(len(memory) // B, 1, 1)  # [B or 2B, 1, 2P + 1]
        return torch.cat(poses, dim=1)  # [B, F, P]

    def guided_eps(self, x_t, t, memory, guidance):
        """eps [B, 1, P] of one frame x_t [B, 1, P]; with guidance, memory holds 2B clips."""
        t = torch.full((len(memory),), t, device=x_t.device)
        if guidance == 1:
            return self.denoise_frames(x_t, t, memory)
        eps_speech, eps_none = self.denoise_frames(torch.cat([x_t, x_t]), t, memory).chunk(2)
        return eps_none + guidance * (eps_speech - eps_none)


def memory_loss(model, pose, speech, t, eps, drop, mask=None):
    """train.training_loss for frame by frame, whose memory is shown the recorded frames."""
    x0 = model.transform(pose)  # [B, F, P]
    x_t = model.schedule.add_noise(x0, t, eps)  # [B, F, P]
    with in_fast_precision(pose):
        predicted = model(x_t, t, speech, drop, x0)  # [B, F, P]
    return model.recipe.loss(model.schedule, t, (eps - predicted) ** 2).mean()


# ------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------
MODELS = dict(  # name: (network, its loss)
    add=(AddedSpeech, train.training_loss),
    concat=(ConcatenatedSpeech, train.training_loss),
    none=(NoSpeech, train.training_loss),
    direct=(LeastSquares, pose_loss),
    frames=(FrameByFrame, memory_loss),
)
BASELINES = {network.__name__: network for network, _ in MODELS.values()}  # for load_generator


def main(arguments=None):
    """The command: a baseline's name, then options of train.py."""
    arguments = sys.argv[1:] if arguments is None else arguments
    what = "Train a baseline. Behind its name stand the options of train.py."
    parser = Parser(prog="python -m lab.baselines", description=what)
    parser.add_argument("name", choices=list(MODELS))
    network, loss_of = MODELS[parser.parse_args(arguments[:1]).name]
    command = f"-m lab.baselines {arguments[0]}"
    train.main(arguments[1:], network=network, loss_of=loss_of, command=command)


if __name__ == "__main__":
    run_script(main, goes_on=True)
