"""Answers to the exercises that checks.py can check, for teachers. Written to be read, not to be fast."""
import numpy as np


# ---- notebook 1: motion ------------------------------------------------------------------------------------------
def euler_zxy(angles):
    """Angles (z, x, y) in degrees, in the order of the file's channels -> matrix [3, 3]: the first channel is the outermost turn."""
    z, x, y = np.radians(angles)
    R_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    R_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    R_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    return R_z @ R_x @ R_y


def exponential_map(w):
    """Axis times angle in radians, w [3] -> matrix [3, 3], by Rodrigues' formula; no turn at all where w is 0."""
    t = np.linalg.norm(w)
    if t < 1e-12:
        return np.eye(3)
    K = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    return np.eye(3) + np.sin(t) / t * K + (1 - np.cos(t)) / t ** 2 * K @ K


def forward_kinematics(rotations, offsets, parents):
    """Local rotations [J, 3, 3], offsets [J, 3], parents [J], -1 for the root -> places of the joints [J, 3]. Parents come first."""
    R, places = np.array(rotations), np.array(offsets)
    for j, parent in enumerate(parents):
        if parent >= 0:
            places[j] = places[parent] + R[parent] @ offsets[j]
            R[j] = R[parent] @ rotations[j]
    return places


half_way = 180


def facing(R):
    """Root's matrix [3, 3] -> where its +Z points on the ground, radians from +Z towards +X."""
    x, _, z = R @ [0, 0, 1]
    return np.arctan2(x, z)


# ---- notebook 3: diffusion ---------------------------------------------------------------------------------------
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
    """x_t, eps [n] -> x at the earlier level [n]: the same eps, at the smaller noise (Song et al. 2021, eta = 0)."""
    x0 = (x_t - (1 - abar).sqrt() * eps) / abar.sqrt()
    return abar_previous.sqrt() * x0 + (1 - abar_previous).sqrt() * eps


half_noise = 259
