"""BVH files: read what real programs write, write what real programs read.

In reading order: reading a file (its rows of numbers; its hierarchy is read by hierarchy.py),
writing one, and writing one that grows.

A BVH file holds the skeleton after the word HIERARCHY, and after MOTION one row of numbers a
frame, in the order of the joints' CHANNELS.
"""

import contextlib
import os
import re
import warnings
from pathlib import Path

import numpy as np

from body.hierarchy import FAR, WITH_POINTS, read_hierarchy
from body.motion import BvhError, Motion, between, meant_frame_time, neighbours
from body.rotations import euler_to_matrix, matrix_to_euler, smooth_angles
from body.stretch import are_changes
from tools import named, not_the_file, what_never_ends, written_beside


# ------------------------------------------------------------------------------------------------
# Reading
# ------------------------------------------------------------------------------------------------
def read_bvh(path, fps=None):
    """Read a BVH file -> Motion, of F frames. Raises BvhError, naming the file, if it is not sound.

    Position channels replace the joint's OFFSET, on the root and on inner joints alike, unless
    the file shows that they are changes from it (stretch.py). The number of rows must be what
    `Frames:` says, or one more: otherwise the file has usually been cut off. Only `Frames: 0`,
    which BvhStream writes to a pipe, means all rows. What is odd is said in Motion.remarks.

    With fps the result is resample(read_bvh(path), fps), but only the rows that this needs are
    turned into numbers: one in six at 120 frames a second. Reading digits is what takes the time.
    A wrong number in another row is then not seen; lab.check reads them all.
    """
    with _errors_of(path):
        head, body = _split_at_motion(Path(path).read_bytes())
        names, parents, offsets, channels, end_sites = read_hierarchy(head)
        frames, frame_time, body = _read_header(body)
        width = sum(len(joint_channels) for joint_channels in channels)
        if len(names) > 100 + 10 * width:  # a small file must not become gigabytes
            few = sum(map(bool, channels))
            raise BvhError(f"has {len(names)} joints and channels for {few} of them; export again")
        rows, needed, more = _read_rows(body, frames, width, frame_time, fps)
    rotations, positions, changes = _apply_channels(rows, channels, offsets)
    motion = Motion(names, parents, offsets, channels, end_sites, frame_time, rotations, positions)
    motion.remarks = more + changes
    return between(motion, *needed, 1 / fps) if fps else motion


def read_skeleton(path):
    """(joint names, parents [J], offsets [J, 3]) of a BVH file; its motion is not read."""
    data, last = b"", 0  # last: where the last line begins that was read
    line = re.compile(rb"^[ \t]*MOTION", flags=re.MULTILINE | re.IGNORECASE)
    with _errors_of(path):
        with open(path, "rb") as file:
            while not line.search(data, last) and (more := file.read(65_536)):
                last, data = data.rfind(b"\n") + 1, data + more
        return read_hierarchy(_split_at_motion(data + b"\n")[0])[:3]


@contextlib.contextmanager
def _errors_of(path):
    """Within it a BvhError says which file it is about; a file that cannot be read is one too."""
    try:
        if what := what_never_ends(path):
            raise BvhError(f"is a {what}; name a file")
        if Path(path).is_file() and (instead := not_the_file(path)):
            raise BvhError(instead)
        yield
    except BvhError as error:
        raise BvhError(f"{path}: {error}") from None
    except OSError as error:
        reason = error.strerror or error
        raise BvhError(f"{path}: cannot be read ({reason}); check its name and rights") from None


def _split_at_motion(data):
    """A file's bytes -> (hierarchy as text, bytes after the line MOTION)."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BvhError("is text of two bytes a letter (UTF-16); save it as UTF-8")
    if data.find(b"\n", 0, -1) < 0:  # lines that end as on old Macs
        data = data.replace(b"\r", b"\n")
    line = re.compile(rb"^[ \t]*MOTION[ \t]*\r?$", flags=re.MULTILINE | re.IGNORECASE)
    parts = line.split(data, maxsplit=1)
    if len(parts) != 2 or b"HIERARCHY" not in parts[0].upper():
        raise BvhError(
            "not a complete BVH file (no HIERARCHY and MOTION sections); export it again"
        )
    try:
        return parts[0].decode("utf-8-sig"), parts[1]
    except UnicodeDecodeError:  # names from an older program; every byte is a letter
        return parts[0].decode("latin-1"), parts[1]


def _read_header(data):
    """Bytes after MOTION -> (frames, frame time in seconds, bytes of the rows)."""
    header = re.match(
        rb"\s*Frames\s*:?\s*(\d{1,9})\s+Frame\s+Time\s*:?\s*(\S+)[ \t]*\r?(?:\n|$)",
        data,
        flags=re.IGNORECASE,
    )
    if not header:
        lines = data[:200].decode(errors="replace").strip().splitlines()[:2]
        found = " / ".join(line.strip() for line in lines)
        raise BvhError(
            "'Frames: a whole number' and 'Frame Time: seconds' must follow MOTION, "
            f"there stands {found[:60]!r}; correct it, or export the file again"
        )
    frames, time = int(header[1]), header[2].decode(errors="replace")
    try:
        frame_time = meant_frame_time(time)
    except ValueError:
        frame_time = float("nan")
    if not 1e-4 <= frame_time <= 1:
        hint = ", with a decimal point" if "," in time else ""
        raise BvhError(
            f"Frame Time is {time!r}, not a number of seconds from 0.0001 to 1{hint}; correct it"
        )
    return frames, frame_time, data[header.end() :]


def _read_rows(body, frames, width, frame_time, fps):
    """Bytes of the rows -> (rows [F, width], None, remarks).

    With fps: (the rows that are needed [n, width], (before, after, u) for between(), remarks).
    """
    numeral = b"0123456789+-.eE \t\r\n"
    plain = not body.translate(None, numeral)  # nothing but digits, signs and blanks
    if not plain:
        body = body.rstrip(b"\0\x1a")  # some programs fill up or end a file with these
        plain = not body.translate(None, numeral)
        _refuse_other_words(body)
    # A number begins at a visible byte after a blank one: it is found without being read.
    visible = np.frombuffer(b" " + body, dtype=np.uint8) > 32
    begins = np.flatnonzero(visible[1:] & ~visible[:-1])  # [numbers]
    if frames == 0 and width:  # from BvhStream's pipe: the head did not know how many would follow
        frames = len(begins) // width
    remarks = ()
    if frames and len(begins) == (frames + 1) * width:  # some do not count the first pose
        remarks = (f"holds one row more than 'Frames: {frames}' says; all are read",)
        frames += 1
    _check_count(frames, width, len(begins))

    needed, wanted = None, np.arange(frames)
    if fps:
        before, after, u = neighbours(frames, frame_time, fps)
        if plain:  # where there is a nan all rows are read, to say in which frame
            wanted = np.union1d(before, after)
            edges = np.append(begins[::width], len(body)).tolist()  # a row may span several lines
            body = b" ".join([body[edges[n] : edges[n + 1]] for n in wanted.tolist()])
        needed = np.searchsorted(wanted, before), np.searchsorted(wanted, after), u
    rows = _numbers(body).reshape(len(wanted), width)  # [n, width]
    good = np.abs(rows) < FAR  # False for NaN too
    if not good.all():
        n, column = np.argwhere(~good)[0]
        what = "NaN or infinity" if not np.isfinite(rows[n, column]) else f"{rows[n, column]:g}"
        raise BvhError(f"frame {wanted[n]} holds {what}; cut it out or export the file again")
    return rows, needed, remarks


def _refuse_other_words(body):
    """BvhError for the first word that is neither a number nor NaN nor infinity."""
    number = re.compile(
        r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)\w*", flags=re.IGNORECASE
    )
    for word in body.decode(errors="replace").split():
        if not number.fullmatch(word):
            hint = WITH_POINTS if "," in word else ""
            raise BvhError(
                f"{word[:20]!r} stands among the numbers of the motion; export the file again{hint}"
            )


def _check_count(frames, width, count):
    """BvhError unless `count` numbers are `frames` rows of `width`."""
    if width == 0 or frames == 0 or count == 0:
        raise BvhError(
            f"holds no motion (Frames: {frames}, {width} channels, {count} numbers); "
            "export the file again"
        )
    if count != frames * width:
        raise BvhError(
            f"{frames} frames of {width} channels need {frames * width} numbers, found "
            f"{count} (= {count / width:.6g} frames); it was cut off, or 'Frames:' is wrong: "
            "copy it again or correct it"
        )


def _numbers(body):
    """Bytes -> numbers [n]."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy warns of what is no number, such as 1.2.3
        try:
            return np.fromstring(body, sep=" ")
        except (DeprecationWarning, ValueError):
            _refuse_other_words(body)
            raise BvhError(
                "the numbers of the motion cannot be read; export the file again"
            ) from None


def _apply_channels(rows, channels, offsets):
    """Rows [F, width] -> (rotations [F, J, 3, 3], positions [F, J, 3], remarks).

    Both in the parents' frames.
    """
    F, J = len(rows), len(channels)
    rotations = np.broadcast_to(np.eye(3), (F, J, 3, 3)).copy()  # [F, J, 3, 3]
    positions = np.broadcast_to(offsets, (F, J, 3)).copy()  # [F, J, 3]
    by_order = {}  # "ZXY" -> (joint, its columns) of all joints with that order: computed together
    column = 0
    for j, joint_channels in enumerate(channels):
        order, columns = "", []
        for channel in joint_channels:
            if channel.endswith("position"):
                positions[:, j, "XYZ".index(channel[0])] = rows[:, column]
            else:
                order += channel[0]
                columns.append(column)
            column += 1
        if order:
            by_order.setdefault(order, []).append((j, columns))
    for order, joints in by_order.items():
        columns = np.array([columns for _, columns in joints])  # [joints, len(order)]
        angles = np.radians(rows[:, columns])  # [F, joints, len(order)]
        rotations[:, [j for j, _ in joints]] = euler_to_matrix(angles, order)
    moved = np.array([sum("position" in name for name in names) == 3 for names in channels])  # [J]
    changes = are_changes(positions, offsets, moved)  # [J]
    if not changes.any():
        return rotations, positions, ()
    positions[:, changes] += offsets[changes]
    remark = "positions of inner joints are nearly 0 in its rows: they are added to OFFSET"
    return rotations, positions, (remark,)


# ------------------------------------------------------------------------------------------------
# Writing
# ------------------------------------------------------------------------------------------------
def write_bvh(path, motion):
    """Write bvh_text(motion) into a file, which appears whole or not at all."""
    with written_beside(path) as beside:
        beside.write_text(bvh_text(motion), encoding="utf-8")


def bvh_text(motion):
    """`motion` as BVH, with the joints, offsets and channel orders that it came with -> str.

    Angles run on past 180 degrees instead of jumping: a program that interpolates between frames
    would otherwise spin the limb.
    """
    text, file_order = _head(motion, str(len(motion)))
    return text + _rows(motion, file_order)[0]


def _head(motion, frames):
    """(all text before the rows, with `frames` as their number; the joints in file order [J])."""
    children = {j: [] for j in range(-1, len(motion.names))}
    for j, parent in enumerate(motion.parents):
        children[int(parent)].append(j)
    ends = {}
    for j, name, offset in motion.end_sites:
        ends.setdefault(j, []).append((name, offset))
    lines, file_order = ["HIERARCHY"], []

    def numbers(offset):
        return " ".join(f"{x:.6f}" for x in offset)

    def begin(j, tab):
        file_order.append(j)
        channels = motion.channels[j]
        lines.append(f"{tab}{'JOINT' if tab else 'ROOT'} {motion.names[j]}")
        lines.append(tab + "{")
        lines.append(f"{tab}\tOFFSET {numbers(_rest_place(motion, j))}")
        lines.append(f"{tab}\tCHANNELS {len(channels)} {' '.join(channels)}".rstrip())

    def end(j, tab):
        for name, offset in ends.get(j, []):
            lines.append(f"{tab}\tEnd Site {name}".rstrip())
            lines.extend([f"{tab}\t{{", f"{tab}\t\tOFFSET {numbers(offset)}", f"{tab}\t}}"])
        lines.append(tab + "}")

    stack = [(begin, 0, "")]  # not a recursion: Python's ends at some 1000 joints in a chain
    while stack:
        step, j, tab = stack.pop()
        step(j, tab)
        if step is begin:
            stack.append((end, j, tab))
            stack += [(begin, child, tab + "\t") for child in reversed(children[j])]
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {motion.frame_time:.9g}"]
    return "\n".join(lines) + "\n", file_order


def _rest_place(motion, j):
    """Joint j's OFFSET [3]; of the root 0 along each axis of which its rows hold the place.

    They replace the OFFSET in Blender and here. But three.js adds both, and a body whose hips rest
    93 cm high would float at twice that height.
    """
    if motion.parents[j] >= 0:
        return motion.offsets[j]
    in_rows = [f"{axis}position" in motion.channels[j] for axis in "XYZ"]
    return np.where(in_rows, 0.0, motion.offsets[j])


def _rows(motion, file_order, before=None):
    """(the rows as text, the last frame's angles [J, 3] in degrees).

    before: the last frame's angles of the rows that stand before these, which run on from there.
    """
    columns, last = [], []  # one [F] array a channel, in file order
    for n, j in enumerate(file_order):
        axes = "".join(channel[0] for channel in motion.channels[j] if channel.endswith("rotation"))
        order = axes + "".join(axis for axis in "XYZ" if axis not in axes)  # a hinge has fewer
        angles = matrix_to_euler(motion.rotations[:, j], order)  # [F, 3]
        if before is not None:
            angles = np.concatenate([np.radians(before[n])[None], angles])  # [1 + F, 3]
        angles = np.degrees(smooth_angles(angles, of_two=len(axes) == 2))
        angles = angles[-len(motion) :]  # [F, 3]
        last.append(angles[-1])
        for channel in motion.channels[j]:
            if channel.endswith("rotation"):
                columns.append(angles[:, order.index(channel[0])])
            else:
                columns.append(motion.positions[:, j, "XYZ".index(channel[0])])
    rows = np.stack(columns, axis=1)  # [F, width]
    row_format = " ".join(["%.6f"] * rows.shape[1]) + "\n"
    return "".join([row_format % tuple(row) for row in rows.tolist()]), np.array(last)


class BvhStream:
    """A BVH file that grows: `with BvhStream(path) as bvh`, then bvh.append(motion) repeatedly.

    After each append the file is whole and states the right number of frames, so another program
    can open it meanwhile. If this program is killed, what was appended stays. (A kill between an
    append's two writes leaves rows at the end that are not counted.)

    path may also be an iterator of paths: the file is the first of them that nobody has, and no
    other is replaced. With `out`, a binary file such as a pipe, nothing can be corrected later: its
    head says `Frames: 0`, and rows follow until it ends.
    """

    DIGITS = 9  # of the number of frames, filled up with blanks; read_bvh takes as many

    def __init__(self, path=None, out=None):
        self.path, self.file = path, out
        self.frames, self.end, self.angles = 0, 0, None  # end: the file's length in bytes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.path is not None and self.file is not None:
            self.file.close()

    def append(self, motion):
        """Write the frames of `motion` behind the last ones; the first one brings the skeleton.

        If it fails (a full disk, Ctrl-C), the file is as it was before, or absent without frames.
        """
        head = ""
        if self.frames == 0:
            head, self.order = _head(motion, f"{0:{self.DIGITS}}")
            self.count_at = head.encode().index(b"\nFrames: ") + len(b"\nFrames: ")
        rows, angles = _rows(motion, self.order, self.angles)
        data = (head + rows).encode()
        if self.path is None:
            self.file.write(data)
            self.file.flush()
        else:
            if self.frames == 0:
                self._create()
            with named(self.path):
                self._write(data, self.frames + len(motion))
        self.frames, self.end = self.frames + len(motion), self.end + len(data)
        self.angles = angles

    def _create(self):
        """A new file: no link of this name is followed. Unbuffered: a kill loses nothing."""
        if isinstance(self.path, (str, os.PathLike)):
            Path(self.path).unlink(missing_ok=True)
            self.file = open(self.path, "xb", buffering=0)
            return
        for path in self.path:
            with contextlib.suppress(FileExistsError):
                self.file, self.path = open(path, "xb", buffering=0), path
                return

    def _write(self, data, frames):
        """Write `data` at the end, then the new number of frames; take both back if it fails."""
        try:
            left = memoryview(data)
            while left:  # a disk that fills up takes a part first
                left = left[self.file.write(left) :]
            self._write_count(frames)
        except BaseException:
            self.file.truncate(self.end)
            if self.frames:
                self._write_count(self.frames)
            else:  # a file without a frame is of no use
                self.file.close()
                Path(self.path).unlink()
            raise

    def _write_count(self, frames):
        self.file.seek(self.count_at)
        self.file.write(f"{frames:{self.DIGITS}}".encode())
        self.file.seek(0, os.SEEK_END)
