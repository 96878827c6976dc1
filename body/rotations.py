"""Rotations: Euler angles <-> rotation matrix <-> exponential map.

In reading order: Euler angles (a BVH file holds them), the exponential map (the model's features),
the mean of several rotations, a rotation about the vertical.

Conventions in all of body/: positions are in the file's own unit (usually centimetres), Y is up,
angles are radians. A rotation matrix R acts on column vectors: v_parent = R @ v_child. F is the
number of frames, J of joints. "..." stands for any number of leading dimensions.
"""

import numpy as np

X, Y, Z = range(3)


# ------------------------------------------------------------------------------------------------
# Euler angles
# ------------------------------------------------------------------------------------------------
def euler_to_matrix(angles, order):
    """Euler angles [..., k] in radians about the axes in `order` -> R [..., 3, 3].

    BVH multiplies in channel order: R = R_Z @ R_X @ R_Y for "ZXY". Any axes and any k work.
    """
    angles = np.asarray(angles, dtype=np.float64)
    R = np.broadcast_to(np.eye(3), angles.shape[:-1] + (3, 3)).copy()  # [..., 3, 3]
    for n, axis in enumerate(order):
        # R @ R_axis mixes two columns of R and keeps the third. Two column updates are several
        # times faster than a 3x3 product.
        i, j = {"X": (Y, Z), "Y": (Z, X), "Z": (X, Y)}[axis]
        cos, sin = np.cos(angles[..., n, None]), np.sin(angles[..., n, None])  # [..., 1]
        column_i, column_j = R[..., i].copy(), R[..., j].copy()  # [..., 3]
        R[..., i] = cos * column_i + sin * column_j
        R[..., j] = cos * column_j - sin * column_i
    return R


def matrix_to_euler(R, order):
    """R [..., 3, 3] -> angles [..., 3] in radians for three different axes, e.g. "ZXY".

    For R = R_i(a) R_j(b) R_k(c) the entry R[i, k] is +-sin(b); its neighbours give a and c.
    At b = +-90 degrees (gimbal lock) only a + c or a - c is determined; there c is set to 0.
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    even = 1.0 if (j - i) % 3 == 1 else -1.0  # is (i, j, k) a cyclic shift of (0, 1, 2)?
    b = np.arcsin(np.clip(even * R[..., i, k], -1, 1))
    locked = np.abs(R[..., i, k]) > 1 - 1e-10
    a_locked = np.arctan2(even * R[..., k, j], R[..., j, j])
    a = np.where(locked, a_locked, np.arctan2(-even * R[..., j, k], R[..., k, k]))
    c = np.where(locked, 0.0, np.arctan2(-even * R[..., i, j], R[..., i, i]))
    return np.stack([a, b, c], axis=-1)  # [..., 3]


def smooth_angles(angles, of_two=False):
    """Euler angles [F, 3] in radians -> the same rotations without jumps of 180 or 360 degrees.

    Each rotation has two triples: (a, b, c) and (a + pi, pi - b, c + pi), each modulo 2 pi.
    matrix_to_euler takes the b within 90 degrees. Where a joint rotates past that, it changes to
    the other triple, and the curves jump although the joint does not. Whether the change is the
    shorter way does not depend on the triple before it, so the choices are a running sum.
    of_two: the joint rotates about the first two axes only, so the right triple has c = 0.
    """
    other = np.stack(
        [angles[:, 0] + np.pi, np.pi - angles[:, 1], angles[:, 2] + np.pi], axis=-1
    )  # [F, 3]
    if of_two:
        take_other = _angle_between(angles[:, 2], 0) > np.pi / 2  # [F]
    else:
        stay = _angle_between(angles[1:], angles[:-1]).sum(axis=1)  # [F - 1]
        change = _angle_between(other[1:], angles[:-1]).sum(axis=1)  # [F - 1]
        take_other = np.append(False, np.cumsum(change < stay) % 2 == 1)  # [F]
    return np.unwrap(np.where(take_other[:, None], other, angles), axis=0)


def _angle_between(a, b):
    """How far two angles are apart, the shorter way round: 0 to pi."""
    return np.abs((a - b + np.pi) % (2 * np.pi) - np.pi)


# ------------------------------------------------------------------------------------------------
# Exponential map
# ------------------------------------------------------------------------------------------------
def exp_to_matrix(w):
    """Exponential map w [..., 3] (axis times angle in radians) -> R [..., 3, 3].

    Rodrigues' formula, with t = |w| and K v = w x v:
        R = I + (sin t / t) K + ((1 - cos t) / t^2) K^2
    np.sinc computes both factors, also at t = 0, since (1 - cos t) / t^2 = sinc(t/2)^2 / 2.
    """
    w = np.asarray(w, dtype=np.float64)
    t = np.linalg.norm(w, axis=-1)[..., None, None]  # [..., 1, 1]
    K = np.zeros(w.shape[:-1] + (3, 3))  # [..., 3, 3]
    K[..., 2, 1], K[..., 0, 2], K[..., 1, 0] = w[..., 0], w[..., 1], w[..., 2]
    K[..., 1, 2], K[..., 2, 0], K[..., 0, 1] = -w[..., 0], -w[..., 1], -w[..., 2]
    return np.eye(3) + np.sinc(t / np.pi) * K + 0.5 * np.sinc(t / (2 * np.pi)) ** 2 * (K @ K)


def matrix_to_exp(R):
    """R [..., 3, 3] -> exponential map [..., 3] with its angle t in [0, pi].

    arccos((trace - 1) / 2) would lose half the digits near 0 and the axis near pi. So this goes
    through the quaternion (cos t/2, sin t/2 * axis), from its largest entry (Shepperd 1978).
    """
    R = np.asarray(R, dtype=np.float64)
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    a = R[..., 2, 1] - R[..., 1, 2]
    b = R[..., 0, 2] - R[..., 2, 0]
    c = R[..., 1, 0] - R[..., 0, 1]
    d = R[..., 1, 0] + R[..., 0, 1]
    e = R[..., 0, 2] + R[..., 2, 0]
    f = R[..., 2, 1] + R[..., 1, 2]
    # Row n is the quaternion (w, x, y, z) times 4 times its own n-th entry.
    rows = [
        np.stack([1 + xx + yy + zz, a, b, c], axis=-1),
        np.stack([a, 1 + xx - yy - zz, d, e], axis=-1),
        np.stack([b, d, 1 - xx + yy - zz, f], axis=-1),
        np.stack([c, e, f, 1 - xx - yy + zz], axis=-1),
    ]
    rows = np.stack(rows, axis=-2)  # [..., 4, 4]
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)  # [...]
    q = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]  # [..., 4]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)  # q and -q are one rotation: take the one with t <= pi
    sin_half = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)  # [..., 1]
    t = 2 * np.arctan2(sin_half, q[..., :1])
    scale = np.where(sin_half > 1e-12, t / np.maximum(sin_half, 1e-12), 2.0)
    return q[..., 1:] * scale  # [..., 3]


# ------------------------------------------------------------------------------------------------
# Mean, and rotation about the vertical
# ------------------------------------------------------------------------------------------------
def mean_rotation(R):
    """The rotation [3, 3] nearest to the average of R [n, 3, 3]: least squares, by SVD."""
    U, _, Vt = np.linalg.svd(np.mean(R, axis=0))
    return U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt


def turn_about_y(angle):
    """Headings [...] in radians -> R [..., 3, 3] about Y; +90 degrees carries +Z to +X."""
    return euler_to_matrix(np.asarray(angle)[..., None], "Y")
