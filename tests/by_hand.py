"""The network and its training written a second time, from the equations alone.

Plain functions of tensors. Nothing of the program is used: no module, no optimiser, not even
torch's own layer norm or softmax. Tests compare the program with this.

    paper_network, our_network    eps(x_t, t, speech) from the weights w, {name: tensor}
    AdamWByHand, MuonByHand       the update equations
    train_by_hand                 steps of training
"""

import math

import torch


# ------------------------------------------------------------------------------------------------
# Pieces of both networks
# ------------------------------------------------------------------------------------------------
def linear(w, name, x):
    """W x + b."""
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def layer_norm(x):
    """Mean 0 and variance 1 over the features, no affine part."""
    x = x - x.mean(dim=-1, keepdim=True)
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


def silu(x):
    """x sigmoid(x)."""
    return x / (1 + torch.exp(-x))


def gelu(x):
    """x times the normal distribution's share below x."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def mlp(w, name, x, between):
    """Two linear layers with a function between them."""
    return linear(w, f"{name}.2", between(linear(w, f"{name}.0", x)))


def convolution(w, name, x, before):
    """y_n = b + sum_k W_k x_{n + k - before}; zeros stand for frames that there are not."""
    weight, frames = w[f"{name}.weight"], x.shape[1]  # [W, C, kernel]
    zeros = torch.zeros_like(x[:, :1])
    y = []
    for n in range(frames):
        total = w[f"{name}.bias"]
        for k in range(weight.shape[2]):
            m = n + k - before
            seen = x[:, m] if 0 <= m < frames else zeros[:, 0]
            total = total + seen @ weight[:, :, k].T
        y.append(total)
    return torch.stack(y, dim=1)  # [B, F, W]


def step_embedding(w, t, width):
    """MLP of cos(t f_k), then sin(t f_k), with f_k = 10000^(-k / half)."""
    half = width // 2
    frequency = torch.tensor([10000 ** (-k / half) for k in range(half)])
    angle = t.float()[:, None] * frequency
    return mlp(w, "step_embedding", torch.cat([torch.cos(angle), torch.sin(angle)], dim=1), silu)


def rotated(x):
    """x [B, F, D]: features k and k + D/2 are a complex number, times exp(i n f_k) at frame n."""
    frames, half = x.shape[1], x.shape[2] // 2
    frequency = torch.tensor([10000 ** (-k / half) for k in range(half)])
    angle = torch.arange(frames)[:, None] * frequency  # [F, D / 2]
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones(()), angle)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def attention(w, name, x, heads, sees):
    """Each head by itself: softmax over the frames m that frame n sees, sees [B or 1, F, F]."""
    width = x.shape[2]
    q, k, v = linear(w, f"{name}.qkv", x).split(width, dim=-1)
    size, answers = width // heads, []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = rotated(q[..., part]) @ rotated(k[..., part]).mT / math.sqrt(size)  # [B, F, F]
        weight = torch.exp(scores - scores.amax(dim=-1, keepdim=True)) * sees
        answers.append(weight / weight.sum(dim=-1, keepdim=True) @ v[..., part])
    return linear(w, f"{name}.out", torch.cat(answers, dim=-1))


def layers(w, x, modulation, heads, sees, depth):
    """The blocks and the final layer -> what the network puts out [B, F, P]."""
    for n in range(depth):
        name = f"blocks.{n}"
        parts = modulation(f"{name}.adaln").chunk(6, dim=-1)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = parts
        y = attention(w, name, layer_norm(x) * (1 + scale_1) + shift_1, heads, sees)
        x = x + gate_1 * y
        y = mlp(w, f"{name}.mlp", layer_norm(x) * (1 + scale_2) + shift_2, gelu)
        x = x + gate_2 * y
    shift, scale = modulation("final_adaln").chunk(2, dim=-1)
    return linear(w, "final", layer_norm(x) * (1 + scale) + shift)


def with_null(w, condition, drop):
    """The learned null condition in the place of each frame's, for the clips in drop."""
    if drop is None:
        return condition
    clips = [
        w["null_condition"].expand_as(one) if dropped else one
        for one, dropped in zip(condition, drop)
    ]
    return torch.stack(clips)


# ------------------------------------------------------------------------------------------------
# The paper's network, and ours
# ------------------------------------------------------------------------------------------------
def paper_network(w, heads, depth, x_t, t, speech, drop=None):
    """eps(x_t, t, speech) of the paper."""
    condition = with_null(w, linear(w, "speech_encoder", speech), drop)
    step = step_embedding(w, t, condition.shape[2])
    kernel, frames = w["gesture_encoder.conv.weight"].shape[2], x_t.shape[1]
    x = convolution(w, "gesture_encoder.conv", x_t, before=kernel - 1)
    sees = torch.tensor([[float(m <= n) for m in range(frames)] for n in range(frames)])

    def modulation(name):
        return linear(w, f"{name}.linear", silu(condition + step[:, None]))

    return layers(w, x, modulation, heads, sees[None], depth)


def our_network(w, heads, depth, x_t, t, speech, drop=None, phases=None, window=8, segment=4):
    """eps(x_t, t, speech) of OURS, in segments that begin at -phases [B]."""
    heard = around_and_voice(w, speech, window)
    condition = with_null(w, mlp(w, "speech_encoder.mlp", heard, silu), drop)
    step = step_embedding(w, t, condition.shape[2])
    kernel, (clips, frames, _) = w["gesture_encoder.conv.weight"].shape[2], x_t.shape
    marked = torch.cat([x_t, torch.ones(clips, frames, 1)], dim=-1)
    x = convolution(w, "gesture_encoder.conv", marked, before=kernel - 1)
    sees = torch.zeros(clips, frames, frames)
    for clip, phase in enumerate([0] * clips if phases is None else phases.tolist()):
        for n in range(frames):
            for m in range(frames):
                own = (m + phase) // segment == (n + phase) // segment
                sees[clip, n, m] = float(own or n - window < m <= n)

    def modulation(name):
        of_step = silu(step) @ w[f"{name}.step.weight"].T
        return linear(w, f"{name}.linear", silu(condition)) + of_step[:, None]

    v = layers(w, x, modulation, heads, sees, depth)
    abar = abars()[t][:, None, None]
    return abar.sqrt() * v + (1 - abar).sqrt() * x_t


def around_and_voice(w, speech, window):
    """SiLU of a convolution around each frame, plus the weighted mean of the last `window`."""
    reach = w["speech_encoder.conv.weight"].shape[2] // 2
    heard = silu(convolution(w, "speech_encoder.conv", speech, before=reach))
    traits = linear(w, "speech_encoder.voice", heard)
    weight = 1 / (1 + torch.exp(-traits[..., :1])) + 0.001  # [B, F, 1]
    means = []
    for n in range(speech.shape[1]):
        last = slice(max(0, n - window + 1), n + 1)
        total = (weight[:, last] * traits[:, last, 1:]).sum(dim=1)
        means.append(total / weight[:, last].sum(dim=1))
    return heard + torch.stack(means, dim=1)


# ------------------------------------------------------------------------------------------------
# Diffusion and training
# ------------------------------------------------------------------------------------------------
def abars(steps=1000, first=1e-4, last=2e-2):
    """abar_t = product of (1 - beta_s) for s <= t, [steps]."""
    product, all_of_them = 1.0, []
    for t in range(steps):
        product *= 1 - (first + (last - first) * t / (steps - 1))
        all_of_them.append(product)
    return torch.tensor(all_of_them)


def innovations(pose, scale, memory=0.9, momentum=0.5):
    """x0_0 = pose_0; x0_n = (change_n - momentum change_{n-1}) / scale, frame by frame."""
    clips, x0 = pose, [pose[:, 0]]
    change_before = (1 - memory) * pose[:, 0]
    for n in range(1, clips.shape[1]):
        change = pose[:, n] - memory * pose[:, n - 1]
        x0.append((change - momentum * change_before) / scale)
        change_before = change
    return torch.stack(x0, dim=1)


class AdamWByHand:
    """Loshchilov & Hutter 2019, algorithm 2."""

    def __init__(self, w, decay):
        self.w, self.decay, self.n = w, decay, 0
        self.mean = {name: torch.zeros_like(x) for name, x in w.items()}
        self.square = {name: torch.zeros_like(x) for name, x in w.items()}

    def step(self, gradients, lr):
        """One step for all weights."""
        self.n += 1
        for name, x in self.w.items():
            g = gradients[name]
            self.mean[name] = 0.9 * self.mean[name] + 0.1 * g
            self.square[name] = 0.99 * self.square[name] + 0.01 * g**2
            mean = self.mean[name] / (1 - 0.9**self.n)
            square = self.square[name] / (1 - 0.99**self.n)
            decay = self.decay if x.dim() >= 2 else 0.0
            x.data = x.data - lr * decay * x.data - lr * mean / (square.sqrt() + 1e-8)


class MuonByHand:
    """Jordan 2024, with the lengths of steps of Liu et al. 2025; matrix by matrix."""

    def __init__(self, w, decay):
        self.w, self.decay = w, decay
        self.mean = {name: torch.zeros_like(x) for name, x in w.items()}

    def step(self, gradients, lr):
        """One step for all weights."""
        for name, x in self.w.items():
            self.mean[name] = 0.95 * self.mean[name] + 0.05 * gradients[name]
            ahead = (0.95 * self.mean[name] + 0.05 * gradients[name]).flatten(1)
            direction = self.newton_schulz(ahead)
            length = lr * 0.2 * math.sqrt(max(direction.shape))
            x.data = (1 - lr * self.decay) * x.data - length * direction.view_as(x)

    @staticmethod
    def newton_schulz(A):
        """Five rounds of s <- 3.4445 s - 4.775 s^3 + 2.0315 s^5 for each singular value s."""
        X = A.double() / (A.double().norm() + 1e-7)
        for _ in range(5):
            X = 3.4445 * X - 4.775 * X @ X.T @ X + 2.0315 * X @ X.T @ X @ X.T @ X
        return X.float()


def train_by_hand(w, network, batch, steps, seed, lr, rate, x0_of, weight_of, groups, ema, phases):
    """Steps of training -> (losses, averaged weights). It changes w.

    batch(random) -> pose, speech; rate(step): share of the peak; x0_of(pose); weight_of(abar_t);
    groups: [(optimiser, share of lr)]; ema: decay; phases: length of a segment, None without
    """
    losses, abar_of = [], abars()
    average = {name: x.detach().clone() for name, x in w.items()}
    for step in range(steps):
        random = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pose, speech = batch(random)
        t = torch.randint(1000, (len(pose),), generator=random)
        eps = torch.randn(pose.shape, generator=random)
        drop = torch.rand(len(pose), generator=random) < 0.1
        more = {}
        if phases:
            more = dict(phases=torch.randint(phases, (len(pose),), generator=random))
        abar = abar_of[t][:, None, None]
        x_t = abar.sqrt() * x0_of(pose) + (1 - abar).sqrt() * eps
        for x in w.values():
            x.requires_grad_(True)
        error = (eps - network(w, x_t, t, speech, drop, **more)) ** 2
        loss = (error * weight_of(abar)).mean()
        found = torch.autograd.grad(loss, list(w.values()), materialize_grads=True)
        norm = math.sqrt(sum(g.double().square().sum().item() for g in found))
        gradients = {name: g * min(1.0, 0.5 / (norm + 1e-6)) for name, g in zip(w, found)}
        for x in w.values():
            x.requires_grad_(False)
        for optimiser, share in groups:
            optimiser.step(gradients, share * lr * rate(step))
        decay = min(ema, (step + 1) / (step + 10))
        average = {name: decay * average[name] + (1 - decay) * x for name, x in w.items()}
        losses.append(loss.item())
    return losses, average
