"""What every script needs and none of them is about.

One-line errors, files that are written beside and renamed, checkpoints on disk, and what a device
can do. Everything here is plain plumbing; nothing of the paper is in this file.
"""

import argparse
import contextlib
import os
import sys
import zipfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent  # the project's folder
SHIPPED = HERE / "pretrained" / "puppet.pt"  # the model that the project brings along


# ------------------------------------------------------------------------------------------------
# One-line errors
# ------------------------------------------------------------------------------------------------
class InputError(ValueError):
    """What the user gave cannot be used. The message names it and says what to do, in one line."""


class CheckpointError(InputError):
    """A checkpoint cannot be used."""


class Parser(argparse.ArgumentParser):
    """argparse, with errors as everywhere here: one line that starts with "error:", status 2."""

    def error(self, message):
        """Say `message` in one line and leave with status 2."""
        sys.stderr.write(f"error: {message}; see {self.prog} --help\n")
        sys.exit(2)


def run_script(main):
    """Run main(). What the user can mend becomes one line on standard error and exit status 2.

    A bug keeps its traceback.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # the terminal may lack a file name's letters
    try:
        main()
    except InputError as error:
        message = one_line(error)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left, as in "| head": not an error
        # Python flushes stdout once more at its end, which must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except OSError as error:  # a folder that cannot be written, a full disk
        message = one_line(error)
    else:
        return
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


def one_line(error):
    """What an InputError or an OSError says to the user."""
    if isinstance(error, OSError):
        what = f"{error.filename or 'file'}: {error.strerror or error}"
        return " ".join(f"{what}; check the name, the rights and the space on the disk".split())
    return " ".join(str(error).split())


# ------------------------------------------------------------------------------------------------
# Files
# ------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def named(path):
    """Within it an OSError says which file it is about; that of a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def written_beside(path):
    """Yield a temporary path beside `path` and rename it on success: nobody sees half a file."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")  # one name: the next run overwrites a killed one
    try:
        with named(path):
            yield beside
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------
# Checkpoints
# ------------------------------------------------------------------------------------------------
FORMAT = "diffmotion-recipe-1"  # of the dictionary in a checkpoint, see train.checkpoint


def read_checkpoint(path):
    """The dictionary in a checkpoint file, or CheckpointError.

    Only tensors and plain values are loaded: a file that would run code is refused.
    """
    try:
        # torch.load does not look at the checksums
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):
            raise CheckpointError(
                f"{path}: is damaged (in {damaged}); copy it again, or train anew"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; give one of train.py's") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; name the checkpoint file in it") from None
    except (CheckpointError, PermissionError):
        raise
    except Exception as error:  # torch.load raises some ten kinds of error for files not its own
        code = "unsupported global" in str(error).lower()
        what = "would run code when loaded, which is refused" if code else "is no checkpoint"
        raise CheckpointError(f"{path}: {what}, or damaged; use a file of train.py's") from None
    if not isinstance(state, dict) or not str(state.get("format")).startswith("diffmotion"):
        raise CheckpointError(f"{path}: holds no DiffMotion model; use a file of train.py's")
    if state["format"] != FORMAT:  # an earlier form's weights might fit and mean something else
        raise CheckpointError(f"{path}: comes from an earlier version of this program; train anew")
    return state


def save_checkpoint(path, state):
    """Write a checkpoint beside and rename it: a run killed meanwhile still has the last one."""
    with written_beside(path) as beside, open(beside, "wb") as file:
        try:
            torch.save(state, file)
        except (
            RuntimeError
        ) as error:  # what torch makes of a full disk: "unexpected pos 704 vs 598"
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


# ------------------------------------------------------------------------------------------------
# Devices and numbers of the command line
# ------------------------------------------------------------------------------------------------
def device(name):
    """A device that can be used here, for argparse: "cpu", "cuda", "cuda:1"."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        message = f"{name!r} cannot be used on this machine; take cpu"
        raise argparse.ArgumentTypeError(message) from None
    return name


def default_device():
    """ "cuda" where there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def seed_number(text):
    """A seed, for argparse. torch's CPU generator takes 32 bits: 0 and 2**32 would be one seed."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be between 0 and {2**32 - 1}, not {number}")
    return number


def has_bf16(device):
    """Does this device multiply bfloat16 in hardware? Emulated, it is slower than float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def send(tensor, device):
    """A tensor to the device. From pinned memory the copy runs beside the GPU's work."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
