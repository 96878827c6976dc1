"""Several GPUs of one machine share each batch.

    torchrun --nproc-per-node 4 train.py --data FOLDER ...

torchrun starts the script once a GPU and says by environment variables how many there are. Each
process draws the whole batch from the same seed and takes its share; gradients are averaged. So the
run is the same, up to rounding, on any number of them. Without torchrun there is one process, and
nothing here does anything.
"""

import contextlib
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

from tools import CheckpointError


class Team:
    """The processes that train together; `first` is the one that writes and prints."""

    def __init__(self, device, batch):
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank, self.device = int(os.environ.get("RANK", 0)), device
        self.first = self.rank == 0
        if batch % self.size:
            raise CheckpointError(f"--batch {batch} does not divide among {self.size} processes")
        share = batch // self.size
        self.mine = slice(self.rank * share, (self.rank + 1) * share)
        if self.size == 1:
            return
        if device == "cuda":
            self.device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(self.device)
        # A day: the others wait while the first one computes WavLM's features of a whole corpus
        backend = "nccl" if self.device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=timedelta(days=1))

    @contextlib.contextmanager
    def first_goes_ahead(self):
        """The first process does this before the others, who then find what it has written."""
        if self.size > 1 and not self.first:
            dist.barrier()
        yield
        if self.size > 1 and self.first:
            dist.barrier()

    def share(self, *batch):
        """This process' share of tensors [B, ...]; None stays None."""
        return [None if whole is None else whole[self.mine] for whole in batch]

    def average_gradients(self, model):
        """The mean over all processes, for each parameter that has a gradient."""
        if self.size > 1:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            together = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(together)
            parts = (together / self.size).split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts):
                gradient.copy_(part.view_as(gradient))

    def mean(self, values):
        """The mean of a tensor over all processes: all of them see the same loss."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def close(self):
        """The training is over: the first process goes on alone, the others end here.

        They end without Python's clean-up. There, once in 50 runs, a thread that still ran (gloo's,
        it seems) aborted the process, and torchrun then stopped the first one too.
        """
        if self.size == 1:
            return
        dist.destroy_process_group()
        if not self.first:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
