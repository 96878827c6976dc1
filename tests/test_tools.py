"""tools.py: one-line errors, files that are written whole or not at all, checkpoints, devices."""

import argparse
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, assert_one_error_line, environment, last, run

import tools
from body.bvh import read_bvh, read_skeleton
from sample import load_generator
from tools import CheckpointError, InputError, Parser, run_script


# ------------------------------------------------------------------------------------------------
# One-line errors
# ------------------------------------------------------------------------------------------------
def said_of(error, capsys):
    """What run_script says of an error, and the status that it leaves with."""

    def main():
        raise error

    with pytest.raises(SystemExit) as left:
        run_script(main)
    return capsys.readouterr().err, left.value.code


def test_what_the_user_can_mend_is_one_line_and_status_2(capsys):
    assert said_of(InputError("a.wav:  is\nsilent"), capsys) == ("error: a.wav: is silent\n", 2)
    error, status = said_of(FileNotFoundError(2, "No such file", "b.wav"), capsys)
    assert error.startswith("error: b.wav: No such file; check") and status == 2
    with pytest.raises(SystemExit):
        Parser(prog="x.py").parse_args(["--speed"])
    assert capsys.readouterr().err == "error: unrecognized arguments: --speed; see x.py --help\n"


def test_a_bug_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)
    assert capsys.readouterr().err == ""


def test_what_drives_a_terminal_is_shown_and_not_sent_to_it(capsys):
    assert tools.shown("Größe 語 \u200c.wav") == "Größe 語 \u200c.wav"
    assert tools.shown("a\x1b[31m\x07\n\x9b\u202e.wav") == r"a\x1b[31m\x07\n\x9b\u202e.wav"
    assert said_of(InputError("a\x1b.wav: no"), capsys)[0] == "error: a\\x1b.wav: no\n"
    assert said_of(OSError(28, "Full", "a\x1b.wav"), capsys)[0].startswith(
        "error: a\\x1b.wav: Full"
    )
    with pytest.raises(SystemExit):
        Parser(prog="x.py").parse_args(["--\x1b"])
    assert "\x1b" not in capsys.readouterr().err


def test_ctrl_c_is_no_error_of_the_program(capsys):
    # 128 + the signal's number, as shells have it
    assert said_of(KeyboardInterrupt(), capsys) == ("stopped\n", 130)


def test_a_reader_that_stops_listening_is_no_error():
    listing = [sys.executable, ROOT / "train.py", "--help"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(listing, **pipes) as script:
        script.stdout.close()  # before the first line comes
        assert script.stderr.read() == "" and script.wait() == 0


NOISE = 0.1 * np.random.default_rng(0).standard_normal(16_000)


@pytest.mark.skipif(os.name != "posix", reason="there is no >&-")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_result(closed, tmp_path):
    soundfile.write(tmp_path / "a.wav", NOISE, 16_000)
    words = [sys.executable, str(ROOT / "sample.py")]
    shell = ["bash", "-c", f'"$@" {closed}', "bash", *words]
    made = [*shell, str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]
    done = subprocess.run(made, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.bvh", "a.html", "a.png"]  # fmt: skip
    done = subprocess.run([*shell, "nothing.wav"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
    ids=["python", "torch", "cuda"],
)
def test_too_little_memory_is_one_line(error, capsys):
    said, status = said_of(error, capsys)
    assert said.startswith("error: there is not enough memory; ") and status == 2
    assert said.count("\n") == 1


def test_torch_says_it_in_these_words(capsys):
    def main():
        torch.zeros(10**15)

    with pytest.raises(SystemExit):
        run_script(main)
    assert capsys.readouterr().err.startswith("error: there is not enough memory")


def test_an_error_of_20000_letters_is_shortened_in_its_middle(capsys):
    said, _ = said_of(InputError(f"{'a' * 20_000}.wav: is silent; check the recording"), capsys)
    assert len(said) < 1020 and " ... " in said
    assert said.startswith("error: aaa") and said.endswith("check the recording\n")
    with pytest.raises(SystemExit):
        Parser(prog="x.py").parse_args(["--" + "b" * 20_000])
    assert len(capsys.readouterr().err) < 1050


def test_a_script_that_goes_on_prints_into_nothing_when_its_reader_has_left():
    code = (
        "import sys, tools\n"
        "def main():\n"
        "    for n in range(20_000):\n"
        "        print(n)\n"
        "        sys.stderr.write('x')\n"
        "    sys.exit(7)\n"
        "tools.run_script(main, goes_on=True)\n"
    )
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as script:
        script.stdout.read(10)
        script.stdout.close()
        assert script.wait() == 7


@pytest.mark.parametrize("script", ["train.py", "sample.py"])
def test_help_fits_a_terminal_and_names_the_defaults(script):
    done = run(script, "--help", env=environment(OMP_DISPLAY_ENV="verbose"))
    assert done.returncode == 0 and "(default: " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    if "GOMP_SPINCOUNT" in done.stderr and script == "train.py":  # GNU's OpenMP says it so
        assert "GOMP_SPINCOUNT = '10000'" in done.stderr, "tools is imported before torch"


# ------------------------------------------------------------------------------------------------
# Files
# ------------------------------------------------------------------------------------------------
SAVING = """
import sys
sys.path.insert(0, sys.argv[1])
import torch, tools
save = lambda: tools.save_checkpoint("last.pt", dict(weights=torch.zeros(10_000)))
tools.run_script(save)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no ulimit, which stands for a full disk")
@pytest.mark.parametrize(
    "what, name",
    [
        (["-c", SAVING, ROOT], "last.pt"),
        ([ROOT / "sample.py", "a.wav", "--out", "."], "a.bvh"),
        ([ROOT / "sample.py", "a.wav", "--out", ".", "--stream"], "a.bvh"),
    ],
    ids=["a checkpoint", "a motion", "a motion that grows"],
)
def test_a_full_disk_gets_one_line_that_names_the_file(tmp_path, what, name):
    """No file may get larger than 1 kB here. An old checkpoint stays; half a motion does not."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "a.wav", noise, 16_000)
    (tmp_path / "last.pt").write_text("of yesterday")
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", sys.executable, *map(str, what)]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert_one_error_line(done, f"error: {name}: ", "too large")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "last.pt"]
    assert (tmp_path / "last.pt").read_text() == "of yesterday"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), tools.written_beside(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    with tools.written_beside(tmp_path / "a.txt") as beside:
        beside.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_no_link_is_followed_to_where_somebody_wants_a_file_to_be_overwritten(tmp_path):
    """The name used to be .a.txt.part, which anybody can link elsewhere beforehand."""
    (tmp_path / "precious").write_text("precious")
    for name in (".a.txt.part", "a.txt"):
        (tmp_path / name).symlink_to("precious")
    names = set()
    for text in ("one", "two"):
        with tools.written_beside(tmp_path / "a.txt") as beside:
            beside.write_text(text)
            names.add(beside.name)
    assert len(names) == 2 and (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "a.txt").is_symlink() and (tmp_path / "a.txt").read_text() == "two"


def test_two_programs_may_write_one_file_and_what_a_killed_one_left_is_removed(tmp_path):
    (tmp_path / ".a.txt.0123abcd.part").write_text("of a killed one")
    (tmp_path / ".b.txt.0123abcd.part").write_text("of another file")
    with tools.written_beside(tmp_path / "a.txt") as one:
        one.write_text("one")
        with tools.written_beside(tmp_path / "a.txt") as two:
            two.write_text("two")
        assert (tmp_path / "a.txt").read_text() == "two"
    assert (tmp_path / "a.txt").read_text() == "one"
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", ".b.txt.0123abcd.part"}


@pytest.mark.skipif(os.name != "posix", reason="rights are others there")
def test_a_file_that_is_written_beside_has_the_rights_of_any_new_file(tmp_path):
    usual = os.umask(0o026)
    try:
        with tools.written_beside(tmp_path / "a.txt") as beside:
            beside.write_text("new")
    finally:
        os.umask(usual)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, os.replace

    def synced(number):
        done.append(("sync", os.fstat(number).st_ino, os.fstat(number).st_size))
        sync(number)

    def replaced(a, b):
        done.append(("replace", os.stat(a).st_ino, os.stat(a).st_size))
        replace(a, b)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with tools.written_beside(tmp_path / "a.txt") as beside:
        beside.write_text("new")
    inode = (tmp_path / "a.txt").stat().st_ino
    assert done[:2] == [("sync", inode, 3), ("replace", inode, 3)]
    if os.name == "posix":
        assert done[2][:2] == ("sync", tmp_path.stat().st_ino), "and then the folder"


def test_an_error_names_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    def refused(a, b):
        raise OSError(30, "Read-only file system", str(a), None, str(b))

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError) as error, tools.written_beside(tmp_path / "a.txt") as beside:
        beside.write_text("new")
    assert error.value.filename == str(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path):
    with tools.written_beside(tmp_path / ("ü" * 127)) as beside:  # 254 bytes
        beside.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_a_checkpoint_that_unpacks_to_more_than_its_size_is_refused(tmp_path):
    tools.save_checkpoint(tmp_path / "good.pt", dict(format=tools.FORMAT, a=torch.zeros(4)))
    assert tools.read_checkpoint(tmp_path / "good.pt")["a"].shape == (4,)
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        path = tmp_path / "bomb.pt"
        shutil.copy(tmp_path / "good.pt", path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/data/1", bytes(10**7), compress_type=kind)
        if kind == zipfile.ZIP_STORED:  # the directory at the end names one entry's bytes twice
            data = bytearray(path.read_bytes())
            at = data.rindex(b"PK\1\2")
            entry, end = data[at : data.rindex(b"PK\5\6")], data[data.rindex(b"PK\5\6") :]
            count = 2 + int.from_bytes(end[8:10], "little")
            end[8:12] = count.to_bytes(2, "little") * 2
            size = int.from_bytes(end[12:16], "little") + 2 * len(entry)
            end[12:16] = size.to_bytes(4, "little")
            path.write_bytes(data[: data.rindex(b"PK\5\6")] + entry * 2 + end)
        with pytest.raises(CheckpointError, match="bomb.pt: is a packed zip"):
            tools.read_checkpoint(path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
def test_a_device_that_never_ends_is_refused():
    for read in (tools.read_checkpoint, read_bvh, read_skeleton):
        with pytest.raises(InputError, match="/dev/zero: is a device"):
            read("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for read in (tools.read_checkpoint, read_bvh, read_skeleton):
        with pytest.raises(InputError, match="pipe: is a named pipe"):
            read(path)
    ends = os.pipe()
    try:
        assert not tools.is_named_pipe(f"/dev/fd/{ends[0]}"), "that of <(...) is open already"
    finally:
        [os.close(end) for end in ends]


# ------------------------------------------------------------------------------------------------
# Locks
# ------------------------------------------------------------------------------------------------
HOLDING = """
import sys, tools
with tools.alone_in(sys.argv[1], "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_for_one_process_and_a_killed_one_blocks_nobody(tmp_path):
    pipes = dict(stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="^busy$"), tools.alone_in(tmp_path, "busy"):
            pass
        other.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        other.wait()
    assert (tmp_path / ".lock").exists()
    with tools.alone_in(tmp_path, "busy"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_follows_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".lock").symlink_to("elsewhere/new")
    with pytest.raises(OSError) as error, tools.alone_in(tmp_path, "busy"):
        pass
    assert error.value.filename == str(tmp_path) and not any((tmp_path / "elsewhere").iterdir())


# ------------------------------------------------------------------------------------------------
# Checkpoints
# ------------------------------------------------------------------------------------------------
class Evil:
    """A pickle that runs a command when it is loaded without care."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch '{self.trace}'",)


def spoil(path, kind, good):
    """Write a checkpoint to `path` that is spoilt in this way; `good` is one that is whole."""
    whole = bytearray(good.read_bytes())
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "junk":
        path.write_bytes(np.random.default_rng(0).bytes(3000))
    elif kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":  # some weights are others, and nothing else is wrong
        middle = slice(len(whole) // 2, len(whole) // 2 + 100)
        whole[middle] = bytes(255 - byte for byte in whole[middle])
        path.write_bytes(whole)
    elif kind == "folder":
        path.mkdir()
    elif kind == "code":
        torch.save({"format": tools.FORMAT, "model": Evil(path.parent / "was here")}, path)
    elif kind == "other":
        torch.save({"weights": torch.zeros(3)}, path)


BAD = {
    "missing": "no such",
    "empty": "or damaged",
    "junk": "or damaged",
    "cut": "or damaged",
    "flipped": "is damaged (in",
    "folder": "is a folder",
    "code": "refused",
    "other": "holds no DiffMotion model",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_checkpoint_gets_one_line_that_names_it(tiny_run, tmp_path, kind):
    path = tmp_path / "model.pt"
    spoil(path, kind, tiny_run / "last.pt")
    with pytest.raises(CheckpointError) as error:
        load_generator(path)
    assert str(error.value).startswith(f"{path}: ") and BAD[kind] in str(error.value)
    assert "\n" not in str(error.value) and not (tmp_path / "was here").exists()


def test_the_scripts_say_it_too(tiny_run, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(100), 16_000)
    spoil(tmp_path / "last.pt", "flipped", tiny_run / "last.pt")
    done = run("sample.py", tmp_path / "a.wav", "--checkpoint", tmp_path / "last.pt")
    assert_one_error_line(done, "last.pt", "damaged")
    assert_one_error_line(run("train.py", "--out", tmp_path, "--resume"), "last.pt", "damaged")


@pytest.mark.parametrize("form", ["diffmotion", "diffmotion-v"])
def test_a_checkpoint_of_an_earlier_program_is_refused(tiny_run, tmp_path, form):
    """Its weights may fit by name and shape, and would mean something else."""
    torch.save(last(tiny_run) | dict(format=form), tmp_path / "last.pt")
    soundfile.write(tmp_path / "a.wav", np.ones(100), 16_000)
    done = run("sample.py", tmp_path / "a.wav", "--checkpoint", tmp_path / "last.pt")
    assert_one_error_line(done, "last.pt", "earlier version", "train anew")
    done = run("train.py", "--out", tmp_path, "--resume")
    assert_one_error_line(done, "last.pt", "earlier version", "train anew")


def unfitting():
    """Changes to a good checkpoint after which its parts do not fit together."""
    yield "another width", lambda state: state["model"].update(width=48)
    yield "odd heads", lambda state: state["model"].update(heads=5)
    yield "no codec", lambda state: state.pop("codec")
    yield "an unknown piece", lambda state: state["recipe"].update(adaln=dict(piece="Joint"))
    yield "an unknown place", lambda state: state["recipe"].update(ear=1)
    yield "an unknown keyword", lambda state: state["recipe"]["mask"].update(ahead=3)
    yield "no such schedule", lambda state: state["schedule"].update(beta_end=2.0)


@pytest.mark.parametrize("change", [pytest.param(f, id=name) for name, f in unfitting()])
def test_parts_that_do_not_fit_together_get_one_line(tiny_run, tmp_path, change):
    state = last(tiny_run)
    change(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="model.pt: its parts do not fit together"):
        load_generator(tmp_path / "model.pt")


def test_a_baselines_checkpoint_says_who_can_use_it(tiny_run, tmp_path):
    torch.save(last(tiny_run) | dict(network="Concat"), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="model.pt: is a baseline; python -m lab.evaluate"):
        load_generator(tmp_path / "model.pt")


# ------------------------------------------------------------------------------------------------
# Devices and numbers
# ------------------------------------------------------------------------------------------------
def test_a_seed_is_a_whole_number_of_32_bits():
    assert tools.seed_number("0") == 0 and tools.seed_number(str(2**32 - 1)) == 2**32 - 1
    for text in ("-1", str(2**32)):
        with pytest.raises(argparse.ArgumentTypeError, match="between 0 and 4294967295"):
            tools.seed_number(text)


def test_a_device_that_is_not_there_is_said():
    assert tools.device("cpu") == "cpu"
    for name in ("abacus", "cuda:99", "hpu"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{name}' cannot be used"):
            tools.device(name)
