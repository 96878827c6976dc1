"""What every script needs and none of them is about.

One-line errors, files that are written beside and renamed, locks, checkpoints on disk, and what a
device can do. Everything here is plain plumbing; nothing of the paper is in this file.
"""

import argparse
import contextlib
import fnmatch
import glob
import os
import secrets
import shutil
import sys
import zipfile
from pathlib import Path

# Read as torch is loaded: how often a waiting thread looks before it sleeps. OpenMP's usual 300,000
# make a training step many times as long beside other programs; with none an idle machine takes
# twice as long for a step (docs/speed.md)
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch  # noqa: E402

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

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
        sys.stderr.write(f"error: {shortened(shown(message))}; see {self.prog} --help\n")
        sys.exit(2)


def run_script(main, goes_on=False):
    """Run main(). What the user can mend becomes one line on standard error and exit status 2.

    A bug keeps its traceback. goes_on: the script's work is not what it prints, and is done to its
    end also where nobody reads that any more.
    """
    open_closed_streams()
    if goes_on:
        sys.stdout, sys.stderr = map(Unbroken, (sys.stdout, sys.stderr))
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
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        message = (
            "there is not enough memory; take shorter recordings (sample.py --stream needs little) "
            "or a smaller --batch"
        )
    else:
        return
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


def open_closed_streams():
    """Where a script was started with stdout or stderr closed (">&-"), what it says goes nowhere.

    Python has None in their places, and the next file that is opened would get their number.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def out_of_memory(error):
    """Is it Python's, numpy's or torch's way to say that there is not enough memory?"""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in ("allocate memory", "not enough memory"))


LONGEST_LINE = 1000  # letters; what is longer is mostly one name


def shortened(text, most=LONGEST_LINE):
    """A text of at most so many letters: what is left out is in its middle."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3 - 5]} ... {text[-(most // 3) :]}"


def one_line(error):
    """What an InputError or an OSError says to the user, in at most LONGEST_LINE letters."""
    if isinstance(error, OSError):
        what = f"{error.filename or 'file'}: {error.strerror or error}"
        error = f"{what}; check the name, the rights and the space on the disk"
    return shortened(shown(" ".join(str(error).split())))


# What drives a terminal instead of being shown: control characters, and those that turn text round
CONTROLS = (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
CONTROLS = {number: repr(chr(number))[1:-1] for number in CONTROLS}


def shown(name):
    """A file's name, or another text from outside, as it is printed: "\\x1b" for an escape."""
    return str(name).translate(CONTROLS)


class Unbroken:
    """A script's stdout or stderr. When writing fails, all that follows goes nowhere.

    The reader may have left, as in "train.py | head -1", or the terminal was closed.
    """

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        """Write, or drop the text."""
        self._try(self.stream.write, text)
        return len(text)

    def flush(self):
        """Flush, or drop what is left."""
        self._try(self.stream.flush)

    def _try(self, do, *given):
        try:
            do(*given)
        except OSError:  # from here on the stream's own file is the null device
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


# ------------------------------------------------------------------------------------------------
# Files
# ------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def named(path):
    """Within it an OSError is said to be about this file.

    By itself that of a full disk names none, and others name a temporary file.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextlib.contextmanager
def written_beside(path):
    """Yield a temporary path beside `path` and rename it on success: nobody sees half a file.

    The temporary file is new and has a name that nobody can foresee. So two programs may write
    one file, and no link is followed. What a killed program left of it is removed.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        remove_left_over(path)
        with open(beside, "xb") as file:
            if fcntl:  # elsewhere an open file cannot be removed, which says as much as a lock
                take_lock(file)
            yield beside
            os.fsync(file.fileno())  # or a power cut may leave the name with nothing behind it
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(beside):
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # it is gone, or the disk lets nothing be done to it
            beside.unlink()


def remove_left_over(path):
    """Remove the temporary files of `path` whose programs were killed."""
    for left in path.parent.glob(f".{glob.escape(path.name[:40])}.????????.part"):
        if left.is_symlink() or not left.is_file():
            continue
        with contextlib.suppress(OSError):  # another program was faster, or is at work in it
            with open(left, "rb") as file:
                dead = not fcntl or take_lock(file)
            if dead:
                left.unlink()


def sync_folder(folder):
    """Have a new name in the folder on the disk too, where the system can do that."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def not_the_file(path):
    """What stands here in the place of a recording or a checkpoint, and what to do; or None."""
    with open(path, "rb") as file:
        begin = file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith(b"version https://git-lfs.github.com/"):
        return "is a Git LFS pointer, not the file itself; run git lfs pull in its repository"
    if begin.startswith((b"<!doctype html", b"<html")):
        return "is a web page that was saved under this name; download the file itself"
    return None


def is_named_pipe(path):
    """Would opening it wait for another program, maybe for ever? /dev/stdin and <(...) are open."""
    path = Path(path)
    return path.is_fifo() and path.parts[1:2] not in (("dev",), ("proc",))


def what_never_ends(path):
    """What it is, if reading it may wait or go on for ever: "named pipe", "device"; else None."""
    if is_named_pipe(path):
        return "named pipe"
    path = Path(path)
    return "device" if path.is_char_device() or path.is_block_device() else None


# ------------------------------------------------------------------------------------------------
# Locks
# ------------------------------------------------------------------------------------------------
def take_lock(file):
    """Lock an open file -> True; False if another process has locked it.

    The system ends the lock with its process, however that ends. None: the file system has no
    locks, as some network drives.
    """
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def alone_in(folder, busy):
    """Within it no other process is alone in this folder: InputError(busy) for the second.

    A killed one's file .lock is nobody's lock, and the next one takes it over.
    """
    path = Path(folder) / ".lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        with named(folder):
            file = open(os.open(path, flags, 0o666), "rb")
        if take_lock(file) is False:
            file.close()
            raise InputError(busy)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                break
        file.close()  # the process before has just removed it: what we hold has no name
    try:
        yield
    finally:
        if not fcntl:  # an open file cannot be removed there
            file.close()
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


@contextlib.contextmanager
def folder_written_beside(folder):
    """Yield a new folder beside `folder`, which becomes `folder` on success; that must be empty.

    What killed programs left of it is removed. InputError if another program is writing it.
    """
    folder = Path(folder)
    target = folder.resolve()  # where a link leads
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"{folder}: holds something already; name another folder, or delete it")
    if target == Path.cwd() or os.path.ismount(target):
        raise InputError(f"{folder}: cannot be replaced by a new folder; name one in it")
    busy = f"{folder}: another program is writing it now; wait for it"
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.????????.part"):
        if (left / ".lock").is_file() and not left.is_symlink():
            with alone_in(left, busy):
                pass
            shutil.rmtree(left, ignore_errors=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with named(folder):
            beside.mkdir()
        with alone_in(beside, busy):
            yield beside
        with named(folder):
            if target.is_dir():  # only if it is empty
                target.rmdir()
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


# ------------------------------------------------------------------------------------------------
# Checkpoints
# ------------------------------------------------------------------------------------------------
FORMAT = "diffmotion-recipe-1"  # of the dictionary in a checkpoint, see train.checkpoint


def read_checkpoint(path):
    """The dictionary in a checkpoint file, or CheckpointError.

    Only tensors and plain values are loaded: a file that would run code is refused.
    """
    if what := what_never_ends(path):
        raise CheckpointError(f"{path}: is a {what}; name a checkpoint file")
    if Path(path).is_file() and (instead := not_the_file(path)):
        raise CheckpointError(f"{path}: {instead}")
    try:
        if zipfile.is_zipfile(path):
            _check_zip(path)
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


def _check_zip(path):
    """CheckpointError for a zip that torch.save did not write, or whose checksums do not fit.

    torch.save packs nothing: what is packed may unpack to more than there is memory. And torch.load
    does not look at the checksums.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > Path(path).stat().st_size:
            raise CheckpointError(f"{path}: is a packed zip; use a file as train.py wrote it")
        if damaged := archive.testzip():
            raise CheckpointError(
                f"{path}: is damaged (in {damaged}); copy it again, or train anew"
            )


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
# Devices, numbers and patterns of the command line
# ------------------------------------------------------------------------------------------------
def device(name):
    """A device that can be used here, for argparse: "cpu", "cuda", "cuda:1"."""
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError):
        message = f"{name!r} cannot be used on this machine; take cpu"
        raise argparse.ArgumentTypeError(message) from None
    return name


def default_device():
    """ "cuda" where there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fits_pattern(name, pattern):
    """Does a name fit a pattern? Only * and ? are special: a take may be called "take [1]"."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


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
