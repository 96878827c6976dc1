"""The command `view`, the films and the pictures: what is drawn is what is there."""

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import OTHER_NAMES, renamed, run, shared_files
from PIL import Image

from body.bvh import read_bvh
from body.motion import resample, upright
from body.rotations import euler_to_matrix, turn_about_y
from recordings import puppet
from recordings.audio import load_audio
from show import figures, player, view
from show.outputs import few_strokes, speaking
from tools import run_script

RATE = 16_000


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """A puppet take of 3 s as (bvh, wav)."""
    folder = tmp_path_factory.mktemp("take")
    puppet.write_corpus(folder, train=1, valid=0, test=0, seconds=3.0, seed=3)
    return next(folder.rglob("*.bvh")), next(folder.rglob("*.wav"))


def pixels(path):
    """A picture as integers [height, width, 3]."""
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def draw_frame_20(path, points, parents, names, inches=4):
    """One body in a picture of its own."""
    figure = figures.new_figure(inches, inches)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.6, 0.6), ylim=(-0.1, 1.1))
    figures.draw_body(axes, points[20], parents, names)
    figures.write_picture(path, figure)


# ---- sample.py view ------------------------------------------------------------------------------
def test_view_puts_motions_of_one_name_side_by_side_under_one_sound(take, tmp_path):
    for folder in ("truth", "model"):
        (tmp_path / folder).mkdir()
        shutil.copy(take[0], tmp_path / folder / "take 1.bvh")
    both = [tmp_path / folder / "take 1.bvh" for folder in ("truth", "model")]
    out = tmp_path / "new" / "both.html"
    done = run("sample.py", "view", *both, "--audio", take[1], "--out", out)
    assert done.returncode == 0, done.stderr
    page = out.read_text()
    assert '"label": "truth/take 1"' in page and '"label": "model/take 1"' in page
    assert "data:audio/wav;base64," in page
    assert [p.name for p in out.parent.iterdir()] == ["both.html"]


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_any_bvh_can_be_viewed_on_its_own(path, tmp_path):
    view.main([str(path), "--out", str(tmp_path / "one.html")])
    assert f'"frames": {len(read_bvh(path))}' in (tmp_path / "one.html").read_text()


@pytest.mark.parametrize(
    "arguments,word",
    [
        (["missing.bvh"], "missing.bvh"),
        (["TAKE", "--out", "x.avi"], "x.avi"),
        (["TAKE", "--labels", "a", "b"], "2 names for 1"),
        (["TAKE", "TAKE"], "--labels"),
        (["TAKE", "--audio", "nothing.wav"], "nothing.wav"),
        (["TAKE", "--up", "x"], "--up"),
        ([], "motion"),
        (["TAKE", "--out", "x.mp4"], "ffmpeg"),
    ],
)
def test_what_cannot_be_viewed_gets_one_line(take, tmp_path, arguments, word, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without ffmpeg
    monkeypatch.chdir(tmp_path)
    arguments = [str(take[0]) if a == "TAKE" else a for a in arguments]
    with pytest.raises(SystemExit) as left:
        run_script(lambda: view.main(arguments))
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and word in said.err
    assert list(tmp_path.iterdir()) == []


def test_an_ffmpeg_that_fails_is_quoted_and_leaves_nothing(take, tmp_path, monkeypatch):
    program, out = tmp_path / "bin" / "ffmpeg", tmp_path / "out"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Unknown encoder libx264' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    done = run("sample.py", "view", take[0], "--audio", take[1], "--out", out / "film.mp4")
    assert done.returncode == 2
    assert "Unknown encoder libx264" in done.stderr and "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


def test_up_z_stands_the_body_up(take):
    motion = read_bvh(take[0])
    rotations, positions = motion.rotations.copy(), motion.positions.copy()
    quarter = euler_to_matrix(np.array([np.pi / 2]), "X")  # y becomes z: a file whose Z is up
    rotations[:, 0], positions[:, 0] = quarter @ rotations[:, 0], positions[:, 0] @ quarter.T
    lying = replace(motion, rotations=rotations, positions=positions)
    assert lying.body_height() < 0.5 * motion.body_height()
    np.testing.assert_allclose(upright(lying, "z").points()[0], motion.points()[0], atol=1e-9)


# ---- films ---------------------------------------------------------------------------------------
def test_a_gif_lasts_as_long_as_the_motion_and_moves(take, tmp_path):
    out = tmp_path / "film.gif"
    view.main([str(take[0]), "--audio", str(take[1]), "--out", str(out)])
    film = Image.open(out)
    assert film.n_frames == len(resample(read_bvh(take[0]), 20)) and film.info["loop"] == 0
    pictures, seconds = [], 0.0
    for n in range(film.n_frames):
        film.seek(n)
        seconds += film.info["duration"] / 1000
        pictures.append(np.asarray(film.convert("RGB"), dtype=int))
    assert seconds == pytest.approx(3.0, abs=0.1)
    stage = [p[:450] for p in pictures[::10]]  # without the waveform's moving line
    assert min(np.abs(a - b).sum() for a, b in zip(stage, stage[1:])) > 0


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg on the PATH")
def test_an_mp4_has_the_motion_and_the_sound(take, tmp_path):
    film = tmp_path / "film.mp4"
    view.main([str(take[0]), "--audio", str(take[1]), "--out", str(film)])
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]

    def decoded(*settings):
        command = ["ffmpeg", "-loglevel", "error", "-i", film, *settings, "-"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    sound = decoded("-f", "f32le", "-ac", "1", "-ar", str(RATE))
    heard, spoken = np.frombuffer(sound, np.float32), soundfile.read(take[1])[0]
    n = min(len(heard), len(spoken))
    assert n > 2.9 * RATE
    assert np.corrcoef(np.abs(heard[:n]), np.abs(spoken[:n]))[0, 1] > 0.9
    frames = decoded("-f", "rawvideo", "-pix_fmt", "gray", "-s", "16x16")
    assert abs(len(frames) / 256 - 3.0 * 30) <= 1


def test_dollars_in_the_names_of_a_film_are_no_formula(take, tmp_path):
    for name in ("a$1^2^3$", "b"):
        shutil.copy(take[0], tmp_path / f"{name}.bvh")
    first, second, out = (str(tmp_path / name) for name in ("a$1^2^3$.bvh", "b.bvh", "both.gif"))
    view.main([first, "--up", "y", second, "--out", out])
    assert Image.open(out).n_frames == 60


# ---- the page's sound ----------------------------------------------------------------------------
def test_sound_beyond_full_scale_is_made_quieter_not_cut(take):
    """A WAV of floats may hold more than 1, or integers; 16 bits cannot."""
    sound, _ = soundfile.read(take[1], dtype="float32")
    page = player.player_page("t", {"a": read_bvh(take[0])}, 32767 * sound)
    wav = base64.b64decode(re.search(r"data:audio/wav;base64,([^\"]*)", page)[1])
    written, _ = soundfile.read(io.BytesIO(wav))
    assert np.abs(written[: len(sound)] - sound / np.abs(sound).max()).max() < 1e-4


# ---- bodies on paper -----------------------------------------------------------------------------
def test_a_body_is_seen_from_the_front_wherever_it_faces_and_walks(take):
    motion = read_bvh(take[0])
    turn = turn_about_y(np.array([2.0]))
    way = np.linspace(0, 300, len(motion))[:, None] * [0.6, 0, 0.8]
    rotations, positions = motion.rotations.copy(), motion.positions.copy()
    rotations[:, 0], positions[:, 0] = turn @ rotations[:, 0], positions[:, 0] @ turn[0].T + way
    moved = replace(motion, rotations=rotations, positions=positions)
    here, _, names = figures.stand(motion)
    there = figures.stand(moved)[0]
    inside = slice(15, -15)  # half a second at both ends sees only half of the way
    np.testing.assert_allclose(there[inside], here[inside], atol=1e-6)
    left, right = (here[:, names.index(name), 0].mean() for name in ("LeftArm", "RightArm"))
    assert left > 0.05 > -0.05 > right, "its left is on our right"
    assert here[..., 1].max() == pytest.approx(1.0, abs=0.1)
    assert np.quantile(here[..., 1].min(axis=1), 0.05) == pytest.approx(0, abs=1e-9)


def test_a_picture_has_the_left_side_on_our_right(take, tmp_path):
    draw_frame_20(tmp_path / "body.png", *figures.stand(read_bvh(take[0])))
    red, _, blue = np.moveaxis(pixels(tmp_path / "body.png"), 2, 0)
    left, right = np.argwhere(red - blue > 80), np.argwhere(blue - red > 80)
    assert len(left) > 300 and len(right) > 300
    assert left[:, 1].mean() > right[:, 1].mean() + 20


LEFTS = (
    "LeftHand mixamorig:LeftArm l_hand b_l_upleg hand_L Bip01.L.Foot lThigh Hand-L J_Bip_L_UpperArm"
).split() + ["Bip01 L Hand"]


@pytest.mark.parametrize(
    "names,side",
    [
        (LEFTS, "left"),
        (["RightHand", "R_foot", "arm.r"], "right"),
        (["Hips", "Head", "Collar", "Spine"], ""),
    ],
)
def test_sides_are_known_by_name(names, side):
    assert [figures.side_of(name) for name in names] == [side] * len(names)


@pytest.mark.parametrize("program", OTHER_NAMES)
def test_a_body_looks_the_same_whatever_program_named_its_joints(take, tmp_path, program):
    motion, seen = read_bvh(take[0]), []
    others = renamed(motion.names, program)
    assert others != list(motion.names)
    for names in (motion.names, others):
        draw_frame_20(tmp_path / "body.png", *figures.stand(replace(motion, names=names)), inches=3)
        seen.append(pixels(tmp_path / "body.png"))
    assert (seen[0] == seen[1]).all()


# ---- a motion at a glance, a training run --------------------------------------------------------
def test_the_picture_of_a_motion_can_be_opened(take, tmp_path):
    path = tmp_path / "p.png"
    figures.plot_motion(path, "a take", read_bvh(take[0]), load_audio(take[1]))
    picture = pixels(path)
    assert picture.shape[0] > 200 and picture.shape[1] > 300 and picture.std() > 5
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize("sound", [True, False])
def test_the_legend_hides_no_hand(take, tmp_path, sound):
    waveform = load_audio(take[1]) if sound else None
    figure = figures.plot_motion(tmp_path / "p.png", "a take", read_bvh(take[0]), waveform)
    figure.canvas.draw()
    axes = figure.axes[1]
    box = axes.get_legend().get_window_extent()
    hands = [line for line in axes.lines if line.get_label().endswith(" hand")]
    assert len(hands) == 2
    for hand in hands:
        assert not box.count_contains(axes.transData.transform(hand.get_xydata()))


def test_a_skeleton_without_hands_is_drawn_without_their_speed(take):
    motion = read_bvh(take[0])
    names = [f"joint {j}" for j in range(len(motion.names))]
    figure = figures.plot_motion(None, "nameless", replace(motion, names=names))
    assert not figure.axes[1].lines and figure.axes[1].get_legend() is None


def test_the_loss_curve_ends_at_the_last_step():
    losses = [1 / (n + 1) for n in range(57)]
    raw, smooth = figures.plot_loss(None, losses, every=10, last=563).axes[0].lines
    assert list(raw.get_xdata()[[0, -2, -1]]) == [10, 560, 563]
    np.testing.assert_array_equal(raw.get_ydata(), losses)
    assert smooth.get_ydata()[-1] == pytest.approx(np.mean(losses[-20:]))


def test_each_layer_of_wavlm_has_a_bar():
    shares = np.arange(13) / 78
    axes = figures.plot_layers(None, shares).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], shares)


# ---- what sample.py says of a voice --------------------------------------------------------------
def test_seconds_of_speech_are_counted_without_pauses_at_any_loudness():
    tone = torch.sin(torch.arange(30 * RATE) * 0.3)
    for second in range(10, 30):  # every third second speaks
        tone[second * RATE : (second + 1) * RATE] *= 1.0 if second % 3 == 0 else 0.01
    spoken_seconds = 10 + len(range(12, 30, 3))
    for loudness in (0.01, 0.3):
        assert speaking(loudness * tone) == pytest.approx(spoken_seconds, abs=0.2)
    assert speaking(torch.zeros(RATE)) == speaking(torch.zeros(0)) == 0


def test_a_voice_that_gets_few_strokes_is_told_what_to_try():
    waveform = torch.sin(torch.arange(60 * RATE) * 0.3)
    waveform[30 * RATE :] = 0  # 30 s of speech: 12 a minute are 6 strokes
    few, enough = np.arange(5.0), np.arange(6.0)
    said = few_strokes([few], waveform)
    assert "few strokes for 30 s of speech" in said and "--guidance" in said and "\n" not in said
    assert few_strokes([enough], waveform) == few_strokes([few, enough], waveform) == ""
    nothing = np.zeros(0)
    assert few_strokes([nothing], waveform)
    assert few_strokes([nothing], waveform[: 4 * RATE]) == ""  # too short to tell
    assert few_strokes([nothing], torch.zeros(60 * RATE)) == ""
