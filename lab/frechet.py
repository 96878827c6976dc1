"""Fréchet gesture distance: how far apart are the windows of two sets of motions?

Reading order
    frechet_distance   of two Gaussians
    gesture_distance   of two sets of features, with as many samples on either side
    windows            motions -> windows of two seconds
    fit_windows        windows -> features: principal components, and codes of an autoencoder

A small distance says that the windows are alike as a crowd. It does not say that any of them fits
its speech.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from body.joints import COMMON_BODY
from body.size import UPPER
from recordings.pairs import CorpusError
from tools import written_beside

WINDOW, HOP = 2.0, 1.0  # s: about one gesture (Yoon et al. 2020: 34 frames at 15 a second, 2.3 s)
DIMENSIONS = 32  # of the features: some hundred windows must give a covariance of this size


# ------------------------------------------------------------------------------------------------
# The distance
# ------------------------------------------------------------------------------------------------
def frechet_distance(mean_a, cov_a, mean_b, cov_b):
    """Squared Fréchet distance of two Gaussians, means [D] and covariances [D, D].

        |mean_a - mean_b|² + trace(A + B - 2 (A^1/2 B A^1/2)^1/2)        Dowson and Landau 1982

    A^1/2 B A^1/2 is symmetric, so two symmetric eigen-decompositions do. Rounding can make
    eigenvalues of a singular covariance slightly negative; they are 0.
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # A^1/2, [D, D]
    middle = np.linalg.eigvalsh(root @ cov_b @ root)  # [D]
    traces = np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b)
    return float(max(traces - 2 * np.sqrt(np.maximum(middle, 0)).sum(), 0))


def gesture_distance(a, b, samples):
    """Fréchet distance of two sets of features [n, D], by `samples` evenly spread over each.

    From few samples the estimate is too large, by an amount that depends on their number (Chong and
    Forsyth 2020). So both sides have the same number, and the distance of two sets of recorded
    motion, with this number, says what 0 looks like. Windows overlap by half, so they are worth
    fewer than they count. NaN below two samples.
    """
    samples = min(samples, len(a), len(b))
    if samples < 2:
        return float("nan")
    a, b = (x[np.linspace(0, len(x) - 1, samples).round().astype(int)] for x in (a, b))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)  # [D, D]
    return frechet_distance(a.mean(axis=0), cov_a, b.mean(axis=0), cov_b)


# ------------------------------------------------------------------------------------------------
# Windows and their features
# ------------------------------------------------------------------------------------------------
def windows(gestures, joints=None):
    """Windows of WINDOW seconds, one every HOP, of the joints seen from the hips -> [n, D].

    gestures: a list of metrics.Gesture. joints: places in COMMON_BODY; by default joints_seen, so
    that D is 45 numbers a frame, or 27 without legs. Shorter takes give no window.
    """
    joints = joints or joints_seen(gestures)
    fps = gestures[0].fps if gestures else 0
    frames, hop = (max(1, round(seconds * fps)) for seconds in (WINDOW, HOP))
    cut = [
        g.own[start : start + frames, joints].reshape(-1)  # [frames * 15 * 3]
        for g in gestures
        for start in range(0, len(g.own) - frames + 1, hop)
    ]
    size = frames * 3 * len(joints)
    return np.stack(cut).astype(np.float32) if cut else np.zeros((0, size), np.float32)


def joints_seen(gestures):
    """Places in COMMON_BODY of the joints that are looked at: 15, or 9 where legs are missing."""
    upper = any(np.isnan(g.own).any() for g in gestures)
    return UPPER[1:] if upper else list(range(1, len(COMMON_BODY)))


class Autoencoder(torch.nn.Module):
    """window [B, D] -> code [B, 32] -> window [B, D].

    It is 128 wide, since a corpus to fit has only some thousand windows.
    """

    def __init__(self, size):
        super().__init__()
        self.encode = torch.nn.Sequential(
            torch.nn.Linear(size, 128), torch.nn.SiLU(), torch.nn.Linear(128, DIMENSIONS)
        )
        self.decode = torch.nn.Sequential(
            torch.nn.Linear(DIMENSIONS, 128), torch.nn.SiLU(), torch.nn.Linear(128, size)
        )

    def forward(self, x):
        """[B, D] -> its reconstruction [B, D]."""
        return self.decode(self.encode(x))


@dataclass
class WindowFeatures:
    """From windows to the two kinds of features that are compared. Fitted on training windows."""

    mean: np.ndarray  # [D] of the fitted windows
    scale: np.ndarray  # [D] their deviations, >= 0.01 body lengths: no blow-up of what is still
    components: np.ndarray  # [D, 32 or fewer] the directions of largest variance
    autoencoder: Autoencoder
    code_scale: np.ndarray  # [32] deviations of the codes
    joints: int  # that a window holds

    def raw(self, x):
        """Windows [n, D] -> projections [n, 32] on the principal components.

        In percent of the body length, root mean square per frame.
        """
        frames = len(self.mean) / (3 * self.joints)
        return 100 / np.sqrt(frames) * (x - self.mean) @ self.components  # [n, 32]

    def code(self, x):
        """Windows [n, D] -> codes [n, 32], in deviations of the training windows."""
        with torch.no_grad():
            codes = self.autoencoder.encode(self._scaled(x))
        return codes.double().numpy() / self.code_scale  # [n, 32]

    def reconstruction(self, x):
        """Windows [n, D] -> what the autoencoder makes of them [n, D], body lengths."""
        with torch.no_grad():
            return self.autoencoder(self._scaled(x)).numpy() * self.scale + self.mean

    def _scaled(self, x):
        return torch.from_numpy((x - self.mean) / self.scale)


def fit_windows(x, cache=None, seed=0, passes=100, joints=15):
    """Training windows [n, D] of `joints` -> WindowFeatures, or None for fewer than three windows.

    The autoencoder sees each window about `passes` times, which takes some seconds for 24 minutes
    of motion. On the puppet's test takes its error (root mean square) is then 0.4% of the body
    length; that of the mean window is 2.5%, that of 32 principal components 0.3%.

    cache: a folder that keeps the weights, by a hash of the windows and all settings. CorpusError
    for a damaged entry. The seed decides the result on one kind of machine. Another kind rounds
    otherwise, and distances of codes come out some percent different: compare them within one file
    of results.
    """
    if len(x) < 3:  # two have one principal component, and no covariance to speak of
        return None
    middle, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 0.01)
    count = min(DIMENSIONS, len(x) - 1)
    components = np.linalg.svd(x - middle, full_matrices=False)[2][:count].T  # [D, count]
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        model = Autoencoder(x.shape[1])
    settings = repr((seed, passes, str(model))).encode()
    key = hashlib.sha256(x.tobytes() + settings).hexdigest()[:20]
    path = Path(cache) / f"autoencoder-{key}.npy" if cache else None
    if path and path.exists():
        load_parameters(model, path)
    else:
        train_autoencoder(model, torch.from_numpy((x - middle) / scale), seed, passes)
        if path:
            save_parameters(model, path)
    model.requires_grad_(False)
    features = WindowFeatures(middle, scale, components, model, np.ones(DIMENSIONS), joints)
    features.code_scale = np.maximum(features.code(x).std(axis=0), 1e-6)
    return features


def train_autoencoder(model, rows, seed, passes):
    """Train in place on scaled windows [n, D], in batches of 128."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)  # Adam's default
    steps = range(max(100, passes * len(rows) // 128))
    for _ in tqdm(steps, desc="autoencoder", unit="step", leave=False, disable=None):
        batch = rows[torch.randint(len(rows), (128,), generator=generator)]  # [128, D]
        loss = (model(batch) - batch).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def load_parameters(model, path):
    """Put the cached weights into the model, or raise CorpusError."""
    try:
        weights = torch.from_numpy(np.load(path))
        torch.nn.utils.vector_to_parameters(weights, model.parameters())
    except (ValueError, EOFError, RuntimeError):
        raise CorpusError(f"{path}: is a damaged entry of the cache; delete it") from None


def save_parameters(model, path):
    """Write the weights to the cache."""
    weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as beside, open(beside, "wb") as file:
        np.save(file, weights)
