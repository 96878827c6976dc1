"""Arrays that grow with the corpus, on disk: the memory that training needs does not grow with it.

DiskRows holds rows of numbers, DiskMotions holds motions, windows_of cuts windows out of takes.
"""

import bisect
import tempfile
from dataclasses import replace

import numpy as np
import torch

from body.rotations import exp_to_matrix, matrix_to_exp
from tools import named


class DiskRows:
    """Float32 rows [rows, ...] in a file without a name, which is gone when the program ends.

    Takes are added one after the other; then the file is mapped into memory. The system keeps as
    much of it in memory as there is room for. folder: None for the system's temporary folder.
    """

    def __init__(self, folder):
        self.folder = folder or tempfile.gettempdir()
        with named(self.folder):
            self.file = tempfile.TemporaryFile(dir=folder)
        self.shape, self.ends = (), [0]

    def __len__(self):
        return self.ends[-1]

    def add(self, rows):
        """Append rows [n, ...] as one take."""
        self.shape = rows.shape[1:]
        with named(self.folder):
            self.file.write(np.ascontiguousarray(rows, dtype=np.float32).tobytes())
        self.ends.append(self.ends[-1] + len(rows))

    def map(self):
        """-> (all rows as one tensor [rows, ...], a list of its parts, one a take)."""
        with named(self.folder):
            self.file.flush()
        rows = np.memmap(self.file, np.float32, "r+", shape=(len(self), *self.shape))
        rows = torch.from_numpy(rows)
        return rows, [rows[a:b] for a, b in zip(self.ends, self.ends[1:])]


class DiskMotions:
    """Motions on disk as rotation vectors and places, 24 bytes a joint and frame.

    Walking over them reads one at a time. The skeletons stay in memory.
    """

    def __init__(self, folder):
        self.rows, self.skeletons = DiskRows(folder), []

    def add(self, motion):
        """Append a motion; all of them must have as many joints."""
        w, places = matrix_to_exp(motion.rotations), motion.positions - motion.offsets
        self.rows.add(np.stack([w, places], axis=1))  # [F, 2, J, 3]
        self.skeletons.append(replace(motion, rotations=None, positions=None))

    def __iter__(self):
        for skeleton, rows in zip(self.skeletons, self.rows.map()[1]):
            w, places = rows.numpy().astype(np.float64).swapaxes(0, 1)  # [F, J, 3] each
            yield replace(skeleton, rotations=exp_to_matrix(w), positions=places + skeleton.offsets)


def windows_of(takes, firsts, starts, frames):
    """Windows out of takes [F_i, S] -> [B, frames, S].

    All takes' frames are counted in a row: firsts says where each take begins, starts (B numbers)
    where each window does.
    """
    windows = []
    for start in starts:
        take = bisect.bisect(firsts, start) - 1
        windows.append(takes[take][start - firsts[take] :][:frames])  # [frames, S]
    return torch.stack(windows)
