"""Muon, the optimiser that moves nine tenths of our weights.

paper     AdamW for all weights
ours      Muon for the matrices of the speech encoder and the blocks, AdamW for the rest
why       AdamW scales each number of a gradient by itself, so in a matrix the few directions in
          which most examples agree rule the step. Muon takes the gradient's running mean as the
          matrix that it is, and makes the step about equally long in nearly all directions
cost      a step of the small model takes 1.3 times as long on two cores in bfloat16, on an H200
          1.5 times; at the paper's size there 1.3 times
measured  AdamW: beat F1 0.803, with Muon 0.864; style error 0.178, with it 0.162; jerk 78, with it
          61 (beyond/departures.py). In an earlier model half as many windows did as well as AdamW's
source    Jordan 2024, https://kellerjordan.github.io/posts/muon

Why not torch.optim.Muon? It takes the same steps (a test compares them), but it refuses the
convolution of the speech encoder, computes in bfloat16 only, which processors without it must
emulate (8 times as long), and goes matrix by matrix.
"""

import math

import torch

from tools import has_bf16


def orthogonalised(A, rounds=5):
    """A = U S V^T -> nearly U V^T: all but the smallest singular values become 0.65 to 1.2.

    A [n, rows, columns] -> the same shape and precision. Newton-Schulz iteration: odd polynomials
    of X act on each singular value by itself, here as p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5.
    The numbers are Jordan's: p pushes small values up by 3.4 a round, and keeps those near one.
    """
    wide = A.shape[1] <= A.shape[2]
    X = A if wide else A.mT  # [n, small, large]: products of the short side are cheaper
    # No singular value may be above 1.3 or so, or the iteration diverges
    X = X / (X.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        XXt = X @ X.mT  # [n, small, small]
        polynomial = torch.baddbmm(XXt, XXt, XXt, beta=-4.775, alpha=2.0315)
        X = torch.baddbmm(X, polynomial, X, beta=3.4445)  # [n, small, large]
    return X if wide else X.mT


class Muon(torch.optim.Optimizer):
    """Momentum, then a step of which nearly all directions are about equally long.

    params    matrices [rows, columns], or a convolution's weights, taken as [W, C kernel]
    momentum  how much of the running mean of gradients stays at each step
    dtype     what `orthogonalised` computes in
    """

    def __init__(self, params, lr, weight_decay, momentum=0.95, dtype=torch.float32):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        """p <- (1 - lr decay) p - lr 0.2 sqrt(max(rows, columns)) orthogonalised(mean)."""
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            # Matrices of one shape go through the small products together
            for shape in dict.fromkeys(p.shape for p in learning):
                self.move([p for p in learning if p.shape == shape], group)

    def move(self, alike, group):
        """One step for parameters of one shape."""
        gradients = [p.grad for p in alike]
        for p in alike:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        means = [self.state[p]["momentum_buffer"] for p in alike]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        # Nesterov: where the mean will be after one more gradient like this
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        ahead = torch.stack(ahead).flatten(2)  # [n, rows, columns]
        steps = orthogonalised(ahead.to(self.dtype)).to(ahead.dtype)  # [n, rows, columns]
        # AdamW's steps are about 0.2 a number; so one learning rate means about the same to both
        # (Liu et al. 2025, arXiv 2502.16982)
        length = group["lr"] * 0.2 * math.sqrt(max(steps.shape[1:]))
        torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(alike, list(steps.view(-1, *alike[0].shape)), alpha=-length)


class MuonAndAdamW:
    """Two optimisers that are used as one: the loop of train.py need not know."""

    def __init__(self, muon, adamw):
        self.both = (muon, adamw)

    @property
    def param_groups(self):
        """The parameter groups of both."""
        return [group for one in self.both for group in one.param_groups]

    def step(self):
        """A step of each."""
        for one in self.both:
            one.step()

    def state_dict(self):
        """What load_state_dict needs, for --resume."""
        return dict(zip(("muon", "adamw"), (one.state_dict() for one in self.both)))

    def load_state_dict(self, state):
        """The inverse of state_dict."""
        for name, one in zip(("muon", "adamw"), self.both):
            one.load_state_dict(state[name])


def muon(model, lr, weight_decay=0.01, ratio=2.0):
    """Muon for the matrices of the speech encoder and the blocks, AdamW for the rest.

    ratio: Muon's learning rate as a multiple of AdamW's, which is lr. Usually Muon leaves the first
    layer alone; here it moves the speech encoder's convolution too, since bands of sound are much
    alike (an earlier model: style error 0.053, with it 0.045; beat F1 0.989, with it 0.986).
    """
    ours = ("speech_encoder", "blocks")
    named = dict(model.named_parameters())
    hidden = {name for name, p in named.items() if p.dim() >= 2 and name.startswith(ours)}
    rest = [p for name, p in named.items() if name not in hidden]
    groups = [
        dict(params=[p for p in rest if p.dim() >= 2], weight_decay=weight_decay),
        dict(params=[p for p in rest if p.dim() < 2], weight_decay=0.0),
    ]
    adamw = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)
    device = model.null_condition.device
    dtype = torch.bfloat16 if has_bf16(device) else torch.float32
    moved = [p for name, p in named.items() if name in hidden]
    return MuonAndAdamW(Muon(moved, ratio * lr, weight_decay, dtype=dtype), adamw)
