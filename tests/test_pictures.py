"""The command `view`, the films and the pictures: what is drawn is what is there."""
import base64
import inspect
import io
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import OTHER_NAMES, ROOT, renamed, run, shared_files
from diffusers import DDPMScheduler
from PIL import Image

import diffmotion
import motion as M
import pictures
import puppet
import sample
from data import run_script
from diffmotion import DiffMotion, DiffMotionConfig, NoiseSchedule

RATE = 16_000


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """A puppet take of 3 s as (bvh, wav)."""
    folder = tmp_path_factory.mktemp("take")
    puppet.write_corpus(folder, train=1, valid=0, test=0, seconds=3.0, seed=3)
    return next(folder.rglob("*.bvh")), next(folder.rglob("*.wav"))


@pytest.fixture(scope="module")
def generator():
    return sample.load_generator(ROOT / "pretrained" / "puppet.pt")


# ---- sample.py view ----------------------------------------------------------------------------------------------
def test_view_puts_motions_of_one_name_side_by_side_under_one_sound(take, tmp_path):
    for folder in ("truth", "model"):
        (tmp_path / folder).mkdir()
        shutil.copy(take[0], tmp_path / folder / "take 1.bvh")
    done = run("sample.py", "view", tmp_path / "truth" / "take 1.bvh", tmp_path / "model" / "take 1.bvh", "--audio", take[1], "--out", tmp_path / "new" / "both.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "new" / "both.html").read_text()
    assert '"label": "truth/take 1"' in page and '"label": "model/take 1"' in page and "data:audio/wav;base64," in page
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["both.html"]


@pytest.mark.parametrize("path", shared_files("bvh/*.bvh"))
def test_any_bvh_can_be_viewed_on_its_own(path, tmp_path):
    sample.view([str(path), "--out", str(tmp_path / "one.html")])
    assert f'"frames": {len(M.read_bvh(path))}' in (tmp_path / "one.html").read_text()


@pytest.mark.parametrize("arguments,word", [(["missing.bvh"], "missing.bvh"), (["TAKE", "--out", "x.avi"], "x.avi"), (["TAKE", "--labels", "a", "b"], "2 names for 1"),
                                            (["TAKE", "TAKE"], "--labels"), (["TAKE", "--audio", "nothing.wav"], "nothing.wav"), (["TAKE", "--up", "x"], "--up"),
                                            ([], "motion"), (["TAKE", "--out", "x.mp4"], "ffmpeg")])
def test_what_cannot_be_viewed_gets_one_line(take, tmp_path, arguments, word, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))            # a machine without ffmpeg
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        run_script(lambda: sample.view([str(take[0]) if a == "TAKE" else a for a in arguments]))
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
    assert done.returncode == 2 and "Unknown encoder libx264" in done.stderr and "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


def test_up_z_stands_the_body_up(take):
    motion = M.read_bvh(take[0])
    lying = replace(motion, rotations=motion.rotations.copy(), positions=motion.positions.copy())
    quarter = M.euler_to_matrix(np.array([np.pi / 2]), "X")                      # y becomes z: a file whose Z is up
    lying.rotations[:, 0], lying.positions[:, 0] = quarter @ lying.rotations[:, 0], lying.positions[:, 0] @ quarter.T
    assert lying.body_height() < 0.5 * motion.body_height()
    np.testing.assert_allclose(sample.upright(lying, "z").points()[0], motion.points()[0], atol=1e-9)


# ---- films -------------------------------------------------------------------------------------------------------
def test_a_gif_lasts_as_long_as_the_motion_and_moves(take, tmp_path):
    sample.view([str(take[0]), "--audio", str(take[1]), "--out", str(tmp_path / "film.gif")])
    film = Image.open(tmp_path / "film.gif")
    assert film.n_frames == len(M.resample(M.read_bvh(take[0]), 20)) and film.info["loop"] == 0
    pictures_, seconds = [], 0.0
    for n in range(film.n_frames):
        film.seek(n)
        seconds += film.info["duration"] / 1000
        pictures_.append(np.asarray(film.convert("RGB"), dtype=int))
    assert seconds == pytest.approx(3.0, abs=0.1)
    stage = [p[:450] for p in pictures_[::10]]                                   # without the waveform's moving line
    assert min(np.abs(a - b).sum() for a, b in zip(stage, stage[1:])) > 0


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg on the PATH")
def test_an_mp4_has_the_motion_and_the_sound(take, tmp_path):
    sample.view([str(take[0]), "--audio", str(take[1]), "--out", str(tmp_path / "film.mp4")])
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]
    sound = subprocess.run(["ffmpeg", "-loglevel", "error", "-i", tmp_path / "film.mp4", "-f", "f32le", "-ac", "1", "-ar", str(RATE), "-"], capture_output=True, check=True).stdout
    heard, spoken = np.frombuffer(sound, np.float32), soundfile.read(take[1])[0]
    n = min(len(heard), len(spoken))
    assert n > 2.9 * RATE and np.corrcoef(np.abs(heard[:n]), np.abs(spoken[:n]))[0, 1] > 0.9
    frames = subprocess.run(["ffmpeg", "-loglevel", "error", "-i", tmp_path / "film.mp4", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "16x16", "-"], capture_output=True, check=True).stdout
    assert abs(len(frames) / 256 - 3.0 * 30) <= 1


# ---- bodies on paper ---------------------------------------------------------------------------------------------
def test_a_body_is_seen_from_the_front_wherever_it_faces_and_walks(take):
    motion = M.read_bvh(take[0])
    turn, way = M.turn_about_y(np.array([2.0])), np.linspace(0, 300, len(motion))[:, None] * [0.6, 0, 0.8]
    moved = replace(motion, rotations=motion.rotations.copy(), positions=motion.positions.copy())
    moved.rotations[:, 0], moved.positions[:, 0] = turn @ moved.rotations[:, 0], moved.positions[:, 0] @ turn[0].T + way
    here, there = pictures.stand(motion)[0], pictures.stand(moved)[0]
    inside = slice(15, -15)                                                      # half a second at both ends sees only half of the way
    np.testing.assert_allclose(there[inside], here[inside], atol=1e-6)
    names = pictures.stand(motion)[2]
    assert here[:, names.index("LeftArm"), 0].mean() > 0.05 > -0.05 > here[:, names.index("RightArm"), 0].mean(), "its left is on our right"
    assert here[..., 1].max() == pytest.approx(1.0, abs=0.1) and np.quantile(here[..., 1].min(axis=1), 0.05) == pytest.approx(0, abs=1e-9)


def test_a_picture_has_the_left_side_on_our_right(take, tmp_path):
    motion = M.read_bvh(take[0])
    points, parents, names = pictures.stand(motion)
    figure = pictures.new_figure(4, 4)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.6, 0.6), ylim=(-0.1, 1.1))
    pictures.draw_body(axes, points[20], parents, names)
    pictures.write_picture(tmp_path / "body.png", figure)
    red, _, blue = np.moveaxis(np.asarray(Image.open(tmp_path / "body.png").convert("RGB"), dtype=int), 2, 0)
    left, right = np.argwhere(red - blue > 80), np.argwhere(blue - red > 80)
    assert len(left) > 300 and len(right) > 300 and left[:, 1].mean() > right[:, 1].mean() + 20


def test_sound_beyond_full_scale_is_made_quieter_not_cut(take, tmp_path):
    """A WAV of floats may hold more than 1, or integers; 16 bits cannot."""
    sound, _ = soundfile.read(take[1], dtype="float32")
    page = sample.player_page("t", {"a": M.read_bvh(take[0])}, 32767 * sound)
    wav = base64.b64decode(re.search(r"data:audio/wav;base64,([^\"]*)", page)[1])
    written, _ = soundfile.read(io.BytesIO(wav))
    assert np.abs(written[:len(sound)] - sound / np.abs(sound).max()).max() < 1e-4


def test_dollars_in_the_names_of_a_film_are_no_formula(take, tmp_path):
    for name in ("a$1^2^3$", "b"):
        shutil.copy(take[0], tmp_path / f"{name}.bvh")
    sample.view([str(tmp_path / "a$1^2^3$.bvh"), "--up", "y", str(tmp_path / "b.bvh"), "--out", str(tmp_path / "both.gif")])
    assert Image.open(tmp_path / "both.gif").n_frames == 60


@pytest.mark.parametrize("names,side", [(["LeftHand", "mixamorig:LeftArm", "l_hand", "b_l_upleg", "hand_L", "Bip01.L.Foot", "Bip01 L Hand", "lThigh", "Hand-L", "J_Bip_L_UpperArm"], "left"),
                                        (["RightHand", "R_foot", "arm.r"], "right"), (["Hips", "Head", "Collar", "Spine"], "")])
def test_sides_are_known_by_name(names, side):
    assert [pictures.side_of(name) for name in names] == [side] * len(names)


@pytest.mark.parametrize("program", OTHER_NAMES)
def test_a_body_looks_the_same_whatever_program_named_its_joints(take, tmp_path, program):
    motion, seen = M.read_bvh(take[0]), []
    for names in (motion.names, renamed(motion.names, program)):
        points, parents, names = pictures.stand(replace(motion, names=names))
        figure = pictures.new_figure(3, 3)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-0.6, 0.6), ylim=(-0.1, 1.1))
        pictures.draw_body(axes, points[20], parents, names)
        pictures.write_picture(tmp_path / "body.png", figure)
        seen.append(np.asarray(Image.open(tmp_path / "body.png")))
    assert names != list(motion.names) and (seen[0] == seen[1]).all()


# ---- diffusion ---------------------------------------------------------------------------------------------------
def test_the_schedule_is_drawn_as_diffusers_has_it():
    figure = pictures.plot_schedule(None, {"here": NoiseSchedule(beta_end=5e-2)})
    abar = DDPMScheduler(1000, beta_start=1e-4, beta_end=5e-2, beta_schedule="linear").alphas_cumprod.numpy()
    signal, noise = (line.get_ydata() for line in figure.axes[1].lines)
    np.testing.assert_allclose(signal, np.sqrt(abar), atol=1e-4)
    np.testing.assert_allclose(noise, np.sqrt(1 - abar), atol=1e-4)


def test_every_name_in_the_architecture_is_in_the_code():
    """A drawing goes out of date in silence."""
    figure = pictures.plot_architecture(None)
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_family() == ["monospace"])]
    names = set(re.findall(r"[A-Za-z]\w+", " ".join(texts)))
    network = DiffMotion(DiffMotionConfig(4, 4, width=8, depth=1, heads=2))
    homes = (sample, diffmotion, M, network, network.blocks[0], network.blocks[0].adaln, NoiseSchedule, M.PoseCodec)
    knobs = set(re.findall(r"\w+_\d", inspect.getsource(type(network.blocks[0]).forward)))
    assert len(names) > 20 and {name for name in names if not any(hasattr(home, name) for home in homes)} - knobs == {"loss", "mean", "eps", "model"}


def test_the_walk_back_from_noise_ends_at_what_the_sampler_makes(generator):
    samples = int(2.3 * RATE)                        # the shipped model's second segment is not full
    speech = generator.hear(torch.sin(torch.arange(samples) * 0.05) * torch.linspace(0, 1, samples))
    walk = pictures.walk_back(generator, speech, steps=8, guidance=1.3, seed=5)
    made = diffmotion.generate(generator.model, generator.schedule, speech, "ddim", steps=8, guidance=1.3, seed=5)
    assert [t for t, _ in walk] == diffmotion.time_grid(1000, 8) + [-1]
    torch.testing.assert_close(walk[-1][1], made[0], atol=1e-5, rtol=0)
    news = generator.model.innovations(walk[0][1][None])
    assert news.std() == pytest.approx(1, abs=0.1) and news.mean() == pytest.approx(0, abs=0.1), "it begins with noise"


def test_a_held_body_stays_where_it_is(generator):
    walk = generator.codec.decode(np.random.default_rng(0).normal(size=(60, generator.codec.pose_dim)))
    stays = pictures.held(generator.codec, torch.from_numpy(generator.codec.encode(walk)))
    assert np.ptp(stays.positions[:, 0, [0, 2]], axis=0).max() < 1e-6 < np.ptp(walk.positions[:, 0, [0, 2]], axis=0).max()
    np.testing.assert_allclose(stays.rotations[:, 1:], walk.rotations[:, 1:], atol=1e-4)


# ---- inside the network ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("adaln, segment", [("split", 1), ("joint", 1), ("split", 6)])
def test_attention_weights_are_those_that_the_network_used(adaln, segment):
    torch.manual_seed(0)
    model = DiffMotion(DiffMotionConfig(6, 5, width=32, depth=2, heads=4, attention_window=9, adaln=adaln, segment=segment)).eval()
    for parameter in model.parameters():                 # an untrained gate is shut; open everything
        torch.nn.init.normal_(parameter, std=0.3)
    x_t, t, speech = torch.randn(2, 20, 6), torch.tensor([3, 700]), torch.randn(2, 20, 5)
    weights = pictures.attention_weights(model, x_t, t, speech)                  # [depth, B, heads, F, F]
    assert weights.shape == (2, 2, 4, 20, 20)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 4, 20))
    query, key = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    unseen = (key // segment > query // segment) | (key <= query - 9)
    assert (weights[..., unseen] == 0).all(), "no later segment, none before the window"
    assert (weights[..., (key > query) & ~unseen] > 0.1).any() == (segment > 1)
    # What came out of the network's own attention, before its last linear layer, must be these weights times its values.
    seen = []
    hooks = [block.out.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0])) for block in model.blocks]
    qkv = pictures.overhear(model, [block.qkv for block in model.blocks], x_t, t, speech)
    for hook in hooks:
        hook.remove()
    for mine, theirs, answer in zip(weights, seen, qkv):
        v = answer[..., 64:].view(2, 20, 4, 8).transpose(1, 2)                   # [B, heads, F, D]
        torch.testing.assert_close((mine @ v).transpose(1, 2).reshape(2, 20, 32), theirs, atol=1e-3, rtol=1e-3)
    assert not any(module._forward_hooks for module in model.modules()), "nobody listens any more"


def test_loudness_of_a_tone_is_half_its_amplitude_squared():
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE) * np.repeat([0.5, 0.05], RATE // 2)
    level = pictures.loudness(tone, 20, 20)
    np.testing.assert_allclose(level, np.repeat([10 * np.log10(0.125), 10 * np.log10(0.00125)], 10), atol=1e-6)


def test_adaln_picture_tells_a_feature_that_follows_loudness(generator):
    """In a network whose scale is made to follow loudness in one feature, that feature comes first, by far."""
    class Follows(torch.nn.Module):
        def forward(self, half, step):
            scale = torch.zeros(1, 80, 8)
            scale[0, 40:, 3] = 0.7                       # the second half of the clip is the loud one
            return (torch.zeros_like(scale), scale, *[torch.zeros_like(scale)] * 4)

    class Model:
        blocks, config, mix_layers = [torch.nn.Module()], generator.model.config, generator.model.mix_layers

        def __call__(self, x_t, t, speech):
            self.blocks[0].adaln(None, None)

    Model.blocks[0].adaln = Follows()
    sound = torch.sin(torch.arange(4 * RATE) * 0.1) * torch.repeat_interleave(torch.tensor([0.05, 0.5]), 2 * RATE)
    figure = pictures.plot_adaln(None, replace(generator, model=Model()), sound, block=0, part="scale_1")
    image = next(axes for axes in figure.axes if axes.images).images[0].get_array()
    np.testing.assert_allclose(image[0], np.repeat([-0.35, 0.35], 40), atol=1e-6)
    np.testing.assert_allclose(image[1:], 0, atol=1e-6)


@pytest.mark.parametrize("draw", ["dissolve", "attention", "motion"])
def test_the_pictures_can_be_opened(generator, take, tmp_path, draw):
    waveform = sample.load_audio(take[1])
    speech, motion, path = generator.hear(waveform), M.read_bvh(take[0]), tmp_path / "p.png"
    if draw == "dissolve":
        pictures.plot_dissolve(path, generator, motion, speech, frame=30, times=(0, 400, 999))
    elif draw == "attention":
        weights = torch.softmax(torch.randn(2, 1, 4, 30, 30), dim=-1)
        figure = pictures.plot_attention(path, weights, 12, 20)
        np.testing.assert_allclose(next(a for a in figure.axes if a.images).images[0].get_array(), weights[:, 0, :, 12].reshape(8, 30))
    else:
        pictures.plot_motion(path, "a take", motion, waveform)
    picture = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    assert picture.shape[0] > 200 and picture.shape[1] > 300 and picture.std() > 5
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize("sound", [True, False])
def test_the_legend_hides_no_hand(take, tmp_path, sound):
    waveform = sample.load_audio(take[1]) if sound else None
    figure = pictures.plot_motion(tmp_path / "p.png", "a take", M.read_bvh(take[0]), waveform)
    figure.canvas.draw()
    axes = figure.axes[1]
    box, hands = axes.get_legend().get_window_extent(), [line for line in axes.lines if line.get_label().endswith(" hand")]
    assert len(hands) == 2
    for hand in hands:
        assert not box.count_contains(axes.transData.transform(hand.get_xydata()))


def test_the_moving_picture_goes_from_noise_to_motion_and_back(generator, tmp_path):
    pictures.animate_dissolve(tmp_path / "d.gif", generator, sample.load_audio(ROOT / "assets" / "speech.wav"), seconds=2.0, width=240, height=220)
    film = Image.open(tmp_path / "d.gif")
    assert film.n_frames == 20
    bands = []                                           # the picture of the pose features, above the waveform
    for n in range(20):
        film.seek(n)
        bands.append(np.asarray(film.convert("RGB"), dtype=int)[156:182])
    changed = [np.abs(a - b).mean() for a, b in zip(bands, bands[1:])]
    assert min(changed[:5]) > 0.5 and min(changed[-3:]) > 0.5, "the noise goes, and comes"
    assert max(changed[7:15]) == 0, "and in between the motion stays what it is"
