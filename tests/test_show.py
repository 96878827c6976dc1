"""The command `view`, the films and the pictures: what is drawn is what is there."""

import base64
import io
import re
import shutil
import subprocess
import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import OTHER_NAMES, renamed, run, shared_files
from PIL import Image

from body.bvh import read_bvh, write_bvh
from body.joints import above, side_and_stem
from body.motion import resample, upright
from body.rotations import euler_to_matrix, turn_about_y
from recordings import puppet
from recordings.audio import load_audio
from show import figures, film, mannequin, painter, player, skin, view
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


def draw_frame_20(path, motion, inches=4):
    """One body in a picture of its own."""
    body = figures.stand(motion)
    figure = figures.new_figure(inches, inches)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.6, 0.6), ylim=(-0.1, 1.1))
    figures.draw_bodies(axes, [(body, min(20, len(motion) - 1), 0.0)])
    figures.write_picture(path, figure, dpi=100)


def seen_at(stage, picture, place):
    """The colour in a picture [height, width, 3] where the stage shows a place [3]."""
    column, row, _ = stage.pixels(np.array([place]))[0].astype(int)
    return picture[row, column]


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
    assert "data:audio/" in page
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
    short, out = tmp_path / "short.bvh", tmp_path / "film.gif"
    write_bvh(short, read_bvh(take[0]).cut(slice(30)))
    view.main([str(short), "--audio", str(take[1]), "--out", str(out)])
    film = Image.open(out)
    assert film.n_frames == len(resample(read_bvh(short), 20)) and film.info["loop"] == 0
    pictures, seconds = [], 0.0
    for n in range(film.n_frames):
        film.seek(n)
        seconds += film.info["duration"] / 1000
        pictures.append(np.asarray(film.convert("RGB"), dtype=int))
    assert seconds == pytest.approx(1.0, abs=0.1)
    stage = [p[:450] for p in pictures[::10]]  # without the waveform's moving line
    assert min(np.abs(a - b).sum() for a, b in zip(stage, stage[1:])) > 0


def test_a_gif_keeps_the_colours_beside_an_image_of_features(take, tmp_path):
    body = figures.stand(read_bvh(take[0]).cut(slice(2)))
    features = np.random.default_rng(0).normal(size=(60, 90))
    scenes = [film.Scene([(body, n, 0.0)], [], "noise", features) for n in range(2)]
    pictures = list(film.paint_film(scenes, (-0.45, 0.45, 1.08), None, 10, 240, 220))
    film.write_gif(tmp_path / "film.gif", pictures, 10)
    kept = pixels(tmp_path / "film.gif")
    apart = np.abs(kept - pictures[0]).max(axis=2)[: 220 * 4 // 5]  # without the features
    assert np.quantile(apart, 0.99) < 20
    assert len(np.unique(np.asarray(pictures[0])[-20:].reshape(-1, 3), axis=0)) > 100


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
    short = read_bvh(take[0]).cut(slice(15))
    for name in ("a$1^2^3$", "b"):
        write_bvh(tmp_path / f"{name}.bvh", short)
    first, second, out = (str(tmp_path / name) for name in ("a$1^2^3$.bvh", "b.bvh", "both.gif"))
    view.main([first, "--up", "y", second, "--out", out])
    assert Image.open(out).n_frames == len(resample(short, 20))


def test_letters_that_no_font_has_print_no_warning(take):
    scene = film.Scene([(figures.stand(read_bvh(take[0])), 0, 0.0)], [], "\U0001e8a0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = list(film.paint_film([scene], (-0.6, 0.6, 1.1), None, 10, 160, 120))
    assert len(pictures) == 1


# ---- the page's sound ----------------------------------------------------------------------------
def test_sound_beyond_full_scale_is_made_quieter_not_cut(take):
    """A WAV of floats may hold more than 1, or integers; 16 bits cannot."""
    sound, _ = soundfile.read(take[1], dtype="float32")
    page = player.player_page("t", {"a": read_bvh(take[0])}, 32767 * sound)
    kept = base64.b64decode(re.search(r"data:audio/\w+;base64,([^\"]*)", page)[1])
    written, _ = soundfile.read(io.BytesIO(kept))
    n = min(len(sound), len(written))
    assert np.abs(written).max() < 1.05 and (np.abs(written) > 0.99).sum() < 20
    # MP3 may begin some ms later: loudness is compared, not the waves
    loud = [np.abs(one[: n // 400 * 400]).reshape(-1, 400).mean(axis=1) for one in (sound, written)]
    assert np.corrcoef(*loud)[0, 1] > 0.95


# ---- bodies on paper -----------------------------------------------------------------------------
def test_a_body_is_seen_from_the_front_wherever_it_faces_and_walks(take):
    motion = read_bvh(take[0])
    turn = turn_about_y(np.array([2.0]))
    way = np.linspace(0, 300, len(motion))[:, None] * [0.6, 0, 0.8]
    rotations, positions = motion.rotations.copy(), motion.positions.copy()
    rotations[:, 0], positions[:, 0] = turn @ rotations[:, 0], positions[:, 0] @ turn[0].T + way
    moved = replace(motion, rotations=rotations, positions=positions)
    here, there = figures.stand(motion), figures.stand(moved)
    inside = slice(15, -15)  # half a second at both ends sees only half of the way
    np.testing.assert_allclose(there.points[inside], here.points[inside], atol=1e-6)
    left, right = (here.points[:, here.names.index(n), 0].mean() for n in ("LeftArm", "RightArm"))
    assert left > 0.05 > -0.05 > right, "its left is on our right"
    soles = [here.skin.mesh(pose)[0][:, 1].min() for pose in here.points]
    assert np.quantile(soles, 0.05) == pytest.approx(0, abs=2e-3)
    tops = [here.skin.mesh(pose)[0][:, 1].max() for pose in here.points]
    assert np.median(tops) == pytest.approx(1.0, abs=0.06), "in body heights"


def test_the_front_is_that_of_hips_and_shoulders_whatever_hands_and_feet_do(take):
    motion = read_bvh(take[0])
    straight = figures.stand(motion)
    names, rotations = motion.names, motion.rotations.copy()
    for side, way in (("Left", 1), ("Right", -1)):  # arms and legs are crossed, all the time
        rotations[:, names.index(f"{side}Arm")] = turn_about_y(np.array([way * 3.7]))[0]
        rotations[:, names.index(f"{side}ForeArm")] = np.eye(3)
        across = euler_to_matrix(np.array([-way * 0.4]), "Z")
        rotations[:, names.index(f"{side}UpLeg")] = across
    crossed = figures.stand(replace(motion, rotations=rotations))
    for end in ("Hand", "Foot"):
        left, right = (crossed.points[:, names.index(side + end), 0] for side in ("Left", "Right"))
        assert (left < right - 0.1).all(), end
    hips = [names.index(name) for name in ("LeftUpLeg", "RightUpLeg")]
    np.testing.assert_allclose(crossed.points[:, hips, 0], straight.points[:, hips, 0], atol=0.01)


def test_who_turns_round_is_seen_as_in_the_middle(take):
    motion = read_bvh(take[0])
    turn = turn_about_y(np.linspace(0, 2 * np.pi, len(motion)))  # [F, 3, 3]
    rotations, positions = motion.rotations.copy(), motion.positions.copy()
    rotations[:, 0] = turn @ rotations[:, 0]
    positions[:, 0] = (turn @ positions[:, 0, :, None])[..., 0]
    body = figures.stand(replace(motion, rotations=rotations, positions=positions))
    left, right = (body.points[len(motion) // 2, motion.names.index(f"{s}UpLeg")]
                   for s in ("Left", "Right"))  # fmt: skip
    assert left[0] - right[0] > 0.08 and abs(left[2] - right[2]) < 0.03


def test_a_picture_has_the_left_side_on_our_right(take, tmp_path):
    draw_frame_20(tmp_path / "body.png", read_bvh(take[0]))
    red, _, blue = np.moveaxis(pixels(tmp_path / "body.png"), 2, 0)
    left, right = np.argwhere(red - blue > 60), np.argwhere(blue - red > 60)
    assert len(left) > 300 and len(right) > 300
    assert left[:, 1].mean() > right[:, 1].mean() + 20


def test_a_head_is_drawn_even_if_the_file_gives_it_no_length(take, tmp_path):
    motion = read_bvh(take[0])
    assert motion.names[motion.end_sites[0][0]] == "Head"
    without = [(j, n, (0.0, 0.0, 0.0) if j == motion.end_sites[0][0] else p)
               for j, n, p in motion.end_sites]  # fmt: skip
    seen = []
    for ends in (motion.end_sites, without):
        draw_frame_20(tmp_path / "body.png", replace(motion, end_sites=ends))
        seen.append(pixels(tmp_path / "body.png"))
    skin = (np.abs(seen[1] - [217, 202, 189]).sum(axis=2) < 60)[: len(seen[1]) // 4]
    assert skin.sum() > 300
    assert (np.abs(seen[0] - seen[1]).max(axis=2) > 40).mean() < 0.002


def test_no_raised_hand_and_no_head_is_cut_off(take):
    motion = read_bvh(take[0])
    high = motion.rotations.copy()
    for side, way in (("Left", 1), ("Right", -1)):
        up = euler_to_matrix(np.array([way * np.radians(80)]), "Z")
        high[:, motion.names.index(f"{side}Arm")] = up
    figure = figures.plot_motion(None, "hands up", replace(motion, rotations=high))
    top = np.asarray(figure.axes[0].images[0].get_array())[:8]
    wall = painter.rgb(painter.WALL)
    assert np.abs(top - wall).max() < 0.05, "above the highest hand is nothing but wall"


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
    assert [side_and_stem(name)[0] for name in names] == [side] * len(names)


@pytest.mark.parametrize("program", OTHER_NAMES)
def test_a_body_looks_the_same_whatever_program_named_its_joints(take, tmp_path, program):
    motion, seen = read_bvh(take[0]), []
    others = renamed(motion.names, program)
    assert others != list(motion.names)
    for names in (motion.names, others):
        draw_frame_20(tmp_path / "body.png", replace(motion, names=names), inches=3)
        seen.append(pixels(tmp_path / "body.png"))
    assert (seen[0] == seen[1]).all()


# ---- the painter ---------------------------------------------------------------------------------
def ball(centre, radius, colour):
    """A Skin and its pose [3, 3]: a rod that is hardly longer than a point."""
    return skin.Skin([rod(0, radius, colour)], 3), np.array([centre, [1, 0, 0], [0, 1, 0]], float)


def rod(point, radius, colour):
    """A Part for ball, around a point; the two last points are directions."""
    ends = [[(point, 1.0)], [(point, 1.0), (-1, 1e-4)]]
    return mannequin.Part(colour, 48, [(end, [(-2, 1.0)], radius, radius) for end in ends])


def test_the_skin_of_a_body_is_that_of_its_parts(take):
    dressed = mannequin.dress(read_bvh(take[0]))
    whole = skin.Skin(dressed.parts, dressed.points.shape[1])
    for pose in dressed.points[::30]:
        corners, normals = whole.mesh(pose)
        parts = [skin.surface(part, pose) for part in dressed.parts]
        expected = np.concatenate([places.reshape(-1, 3) for places, _ in parts])
        np.testing.assert_allclose(corners, expected, atol=1e-9)
        outside = np.concatenate([directions.reshape(-1, 3) for _, directions in parts])
        along = (normals * outside).sum(axis=1)
        assert np.quantile(along, 0.02) > 0.9
    # All triangles face outwards: a closed body has a volume, and theirs add up to it
    a, b, c = corners[whole.triangles].swapaxes(0, 1)
    assert 0.01 < (np.cross(a, b) * c).sum() / 6 < 0.03


def test_a_triangle_covers_the_pixels_whose_middle_is_inside():
    points = np.array([[1.0, 1.0, 5.0], [9.3, 2.2, 7.0], [3.1, 8.4, 6.0]])
    values = np.array([[0.0, 1.0], [3.0, 1.0], [6.0, 1.0]])
    triangles = np.array([[0, 2, 1]])  # y runs down: this side is seen
    pixels, (value, one) = painter.rasterise(points, triangles, values, 10, 12)
    x, y = pixels % 12 + 0.5, pixels // 12 + 0.5
    inside = []
    for row, column in np.ndindex(10, 12):
        weights = np.linalg.solve(
            np.stack([*points[:, :2].T, np.ones(3)]), [column + 0.5, row + 0.5, 1]
        )
        if (weights >= 0).all():
            inside.append(row * 12 + column)
    assert pixels.tolist() == inside and len(inside) > 20
    plane = np.linalg.solve(np.c_[points[:, :2], np.ones(3)], values[:, 0])
    np.testing.assert_allclose(value, np.stack([x, y, 0 * x + 1], 1) @ plane, atol=1e-5)
    np.testing.assert_allclose(one, 1, atol=1e-6)
    none, _ = painter.rasterise(points, triangles[:, ::-1], values, 10, 12)
    assert len(none) == 0, "its back is not seen"


def test_what_is_in_front_hides_what_is_behind_whatever_is_painted_first():
    stage = painter.Stage(200, 200, -0.5, 0.0, 200, pitch=0.0)
    near, far = ([0.0, 0.5, z] for z in (0.3, -0.3))
    both = [rod(0, 0.1, "left"), rod(1, 0.2, "right")]
    pose = np.array([near, far, [1, 0, 0], [0, 1, 0]], float)
    for parts in (both, both[::-1]):
        picture = stage.empty()
        stage.paint(picture, skin.Skin(parts, 4), pose, shadow=False)
        red, _, blue = seen_at(stage, picture, near)
        assert red > blue + 0.2
        red, _, blue = seen_at(stage, picture, [0.15, 0.5, 0])
        assert blue > red + 0.2


def test_a_ball_has_the_area_of_a_circle_and_smooth_edges():
    stage = painter.Stage(200, 200, -0.5, 0.0, 200)
    picture, wall = stage.empty(), stage.empty()
    stage.paint(picture, *ball([0.0, 0.5, 0.0], 0.2, "dark"), shadow=False)
    dark = wall.mean() - painter.rgb(painter.PALETTE["dark"]).mean()
    cover = np.clip((wall - picture).mean(axis=2) / dark, 0, 1)
    changed = np.abs(picture - wall).max(axis=2) > 0.01
    assert changed.sum() == pytest.approx(np.pi * 40**2, rel=0.05)
    half = (cover > 0.3) & (cover < 0.7)
    upright, level = half[90:110], half[:, 90:110]  # 20 rows at both sides, 20 columns
    assert upright.sum() > 12 and level.sum() > 12, "half covered pixels along its edge"


def test_a_shadow_falls_on_the_floor_away_from_the_light():
    stage = painter.Stage(300, 200, -0.75, -0.2, 200)
    picture, floor = stage.empty(), stage.empty()
    stage.paint(picture, *ball([0.0, 0.3, 0.0], 0.1, "left"))
    shade = (floor - picture).mean(axis=2)[140:]  # below the ball
    assert shade.max() > 0.05
    columns = np.arange(300) / 200 - 0.75
    middle = (shade.sum(axis=0) * columns).sum() / shade.sum()
    assert middle == pytest.approx(-0.3 * painter.LIGHT[0] / painter.LIGHT[1], abs=0.02)


def test_films_and_page_have_one_light_and_the_same_colours():
    page = player.TEMPLATE.with_name("mannequin.js").read_text(encoding="utf-8")
    numbers = re.search(r"const LIGHT = \[([^]]*)\]", page)[1].split(",")
    np.testing.assert_allclose(painter.LIGHT, [float(number) for number in numbers])
    words = re.findall(r'"(\w+)"', re.search(r"const COLOURS = \[([^]]*)\]", page)[1])
    colours = re.findall(r"#\w{6}", re.search(r"light: \[([^]]*)\]", page)[1])
    assert dict(zip(words, colours)) == painter.PALETTE


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


def test_a_body_with_one_arm_and_one_leg_is_drawn(take, tmp_path):
    """Neither shoulders nor hips are known then, so nothing says where it looks."""
    motion = read_bvh(take[0])
    gone = [
        any(motion.names[a] in ("LeftShoulder", "LeftUpLeg") for a in (j, *above(motion, j)))
        for j in range(len(motion.names))
    ]
    left = np.flatnonzero(~np.array(gone))
    number = {int(j): n for n, j in enumerate(left)} | {-1: -1}
    one_sided = replace(
        motion,
        names=[motion.names[j] for j in left],
        parents=np.array([number[int(motion.parents[j])] for j in left]),
        offsets=motion.offsets[left],
        channels=[motion.channels[j] for j in left],
        end_sites=[],
        rotations=motion.rotations[:, left],
        positions=motion.positions[:, left],
    )
    figures.plot_motion(tmp_path / "a.png", "one arm", one_sided)
    assert pixels(tmp_path / "a.png")[..., 0].std() > 5
    sound = torch.zeros(RATE)
    player.write_page(tmp_path / "a.html", "one arm", {"one arm": one_sided}, sound)
    assert mannequin.dress(one_sided).wrists[0] is None


def test_a_joint_without_bones_is_drawn_as_nothing(take):
    motion = read_bvh(take[0])
    alone = replace(
        motion,
        names=["root"],
        parents=motion.parents[:1],
        offsets=motion.offsets[:1],
        channels=motion.channels[:1],
        end_sites=[],
        rotations=motion.rotations[:, :1],
        positions=motion.positions[:, :1],
    )
    picture = np.asarray(figures.plot_motion(None, "alone", alone).axes[0].images[0].get_array())
    assert np.ptp(picture, axis=1).max() == 0, "nothing but wall and floor"


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
