"""Answers to the exercises that checks can check, for teachers. Written to be read, not fast."""

import numpy as np


# ---- notebook 1: motion ------------------------------------------------------------------------
def euler_zxy(angles):
    """Angles (z, x, y) in degrees, as in the file -> R [3, 3]: the first channel is outermost."""
    z, x, y = np.radians(angles)
    R_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    R_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    R_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    return R_z @ R_x @ R_y


def exponential_map(w):
    """Axis times angle in radians, w [3] -> R [3, 3], by Rodrigues' formula; identity at w = 0."""
    t = np.linalg.norm(w)
    if t < 1e-12:
        return np.eye(3)
    K = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    return np.eye(3) + np.sin(t) / t * K + (1 - np.cos(t)) / t**2 * K @ K


def forward_kinematics(rotations, offsets, parents):
    """Rotations [J, 3, 3], offsets [J, 3], parents [J], -1 for the root -> places [J, 3].

    Parents come before their children.
    """
    R, places = np.array(rotations), np.array(offsets)
    for j, parent in enumerate(parents):
        if parent >= 0:
            places[j] = places[parent] + R[parent] @ offsets[j]
            R[j] = R[parent] @ rotations[j]
    return places


half_way = 180


def facing(R):
    """Root's R [3, 3] -> where its +Z points over the ground, radians from +Z towards +X."""
    x, _, z = R @ [0, 0, 1]
    return np.arctan2(x, z)


# ---- notebook 2: hearing -----------------------------------------------------------------------
def hz_to_mel(f):
    """The ear's scale: straight for low tones, logarithmic for high ones."""
    return 2595 * np.log10(1 + f / 700)


def cepstra(bands, count):
    """Log bands [N] -> [count]: a row of cosines for each coefficient."""
    N, k = len(bands), np.arange(count)[:, None]
    cosines = np.cos(np.pi * k * (np.arange(N) + 0.5) / N)  # [count, N]
    scale = np.full(count, np.sqrt(2 / N))
    scale[0] = np.sqrt(1 / N)
    return scale * (cosines @ bands)


def sight_and_step(convolutions):
    """From the first to the last: a kernel sees k - 1 steps more than one row; the step grows."""
    sight, step = 1, 1
    for kernel, stride in convolutions:
        sight += (kernel - 1) * step
        step *= stride
    return sight, step


wavlm_rows = 499  # (160000 - 400) // 320 + 1


# ---- notebook 3: diffusion ---------------------------------------------------------------------
def q_sample(x0, t, eps, alphas_cumprod):
    """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps; x0, eps [n], t a whole number."""
    abar = alphas_cumprod[t]
    return abar.sqrt() * x0 + (1 - abar).sqrt() * eps


def posterior_mean(x0, x_t, t, betas, alphas_cumprod):
    """Mean of q(x_{t-1} | x_t, x0) [n], equation 7 of Ho et al. 2020, for t >= 1."""
    beta, abar, abar_before = betas[t], alphas_cumprod[t], alphas_cumprod[t - 1]
    of_x0 = abar_before.sqrt() * beta / (1 - abar)
    of_x_t = (1 - beta).sqrt() * (1 - abar_before) / (1 - abar)
    return of_x0 * x0 + of_x_t * x_t


def ddim_step(x_t, eps, abar, abar_previous):
    """x_t, eps [n] -> x at the earlier level [n]: the same eps, with less noise (eta = 0)."""
    x0 = (x_t - (1 - abar).sqrt() * eps) / abar.sqrt()
    return abar_previous.sqrt() * x0 + (1 - abar_previous).sqrt() * eps


half_noise = 259


# ---- notebook 4: the paper's network -----------------------------------------------------------
def modulated(x, modulation, layer):
    """adaLN around a layer, with its gate."""
    shift, scale, gate = modulation.chunk(3, dim=-1)  # [F, W] each
    centred = x - x.mean(dim=-1, keepdim=True)
    normal = centred / (x.var(dim=-1, keepdim=True, correction=0) + 1e-5).sqrt()
    return x + gate * layer(normal * (1 + scale) + shift)


def attended(q, k, v, mask):
    """q, k, v [F, D], mask [F, F] -> [F, D]: a mean of v's rows, more of those whose key fits."""
    scores = q @ k.T / q.shape[-1] ** 0.5  # [F, F]
    weights = scores.masked_fill(~mask, -float("inf")).softmax(dim=-1)  # [F, F]
    return weights @ v


def causal_mask(frames):
    """[frames, frames]: the column's frame is not later than the row's."""
    return np.arange(frames)[:, None] >= np.arange(frames)


def rotated(pair, position, frequency):
    """A rotation of the plane by position * frequency."""
    c, s = np.cos(position * frequency), np.sin(position * frequency)
    return np.array([[c, -s], [s, c]]) @ pair


adaln_share = 1 / 3  # 6 W^2 of 6 + 4 + 8 W^2: adaLN, attention, MLP


# ---- notebook 5: training and sampling ---------------------------------------------------------
def best_loss(abar, s):
    """The best guess of eps is c x_t with c = Cov(eps, x_t) / Var(x_t).

    What is left of eps's variance 1 is 1 - Cov^2 / Var.
    """
    variance = abar * s**2 + (1 - abar)
    return 1 - (1 - abar) / variance


def ema_update(average, weight, decay):
    """Mostly what it was, a little of what is new."""
    return average + (1 - decay) * (weight - average)


def learning_rate(step, warmup, steps, peak):
    """Warm-up in equal steps, then half a cosine."""
    if step < warmup:
        return peak * (step + 1) / warmup
    gone = (step - warmup) / (steps - warmup)
    return peak * (1 + np.cos(np.pi * gone)) / 2


def guided(spoken, silent, strength):
    """From eps without speech, `strength` times as far as the speech pulled."""
    return silent + strength * (spoken - silent)


half_forgotten = 346  # 0.998^n = 1/2


# ---- notebook 6: judging -----------------------------------------------------------------------
def frechet_distance(mean_a, cov_a, mean_b, cov_b):
    """Squared Fréchet distance of two Gaussians.

    The trace of the root of A B is the sum of the roots of the eigenvalues of A B.
    """
    roots = np.sqrt(np.maximum(np.linalg.eigvals(cov_a @ cov_b).real, 0))
    means = np.sum((mean_a - mean_b) ** 2)
    return means + np.trace(cov_a) + np.trace(cov_b) - 2 * roots.sum()


def beat_f1(found, wanted, tolerance):
    """F1 of a one-to-one matching of sorted times: each in turn takes the earliest partner left."""
    hits, left = 0, list(wanted)
    for time in found:
        partner = next((w for w in left if abs(w - time) <= tolerance), None)
        if partner is not None:
            left.remove(partner)
            hits += 1
    return 2 * hits / (len(found) + len(wanted))


chance_hits = 0.0952  # 0.2 s around each of 0.5 stresses a second; 1 - exp(-0.1): they overlap


# ---- notebook 7: what we changed ---------------------------------------------------------------
def eps_from_v(x_t, v, abar):
    """x_t and v are x0 and eps in rotated axes. Rotating back:

    sqrt(abar) v + sqrt(1 - abar) x_t = (abar + 1 - abar) eps
    """
    return abar.sqrt() * v + (1 - abar).sqrt() * x_t


def poses_from_news(news, memory):
    """Each pose is what is new in it and what is left of the one before."""
    poses = np.array(news)
    for n in range(1, len(poses)):
        poses[n] += memory * poses[n - 1]
    return poses


def window_mask(frames, window):
    """How far back is the column's frame? At least 0, and less than the window."""
    back = np.arange(frames)[:, None] - np.arange(frames)  # [frames, frames]
    return (back >= 0) & (back < window)


frames_back = 400  # 4 blocks of 99 frames, and 4 of the convolution
