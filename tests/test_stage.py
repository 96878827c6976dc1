"""What other programs get: the frame rate and unit asked for, and a body that stands right.

Blender (or its package bpy) and three.js under node are asked where they put the joints. These
tests are skipped, with the reason, where the program is not there:
    pip install bpy          some 400 MB; or a `blender` on the PATH
    npm install three        in any folder above this one, or NODE_PATH names its node_modules
"""

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, assert_one_error_line, call

import sample
from body.bvh import read_bvh, write_bvh
from body.feet import plant
from body.motion import Motion, in_unit, resample, smoothly
from body.rotations import exp_to_matrix
from recordings import puppet
from show.outputs import as_asked

SECONDS = 9.0  # 270 frames at 30 a second: more than Blender's 250


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """A puppet's take as (bvh, wav)."""
    folder = tmp_path_factory.mktemp("a stage")
    puppet.write_corpus(folder, train=1, valid=0, test=0, seconds=SECONDS, seed=3)
    return next(folder.rglob("*.bvh")), next(folder.rglob("*.wav"))


# ------------------------------------------------------------------------------------------------
# Another frame rate, another unit
# ------------------------------------------------------------------------------------------------
def turning(frames, fps):
    """A root that turns faster and faster about one axis and falls: angle t², height 1 - 3 t²."""
    t = np.arange(frames) / fps
    axis = np.array([2.0, 1.0, -2.0]) / 3
    rotations = exp_to_matrix(t[:, None, None] ** 2 * axis)  # [F, 1, 3, 3]
    positions = np.stack([0 * t, 1 - 3 * t**2, 2 * t], axis=1)[:, None]
    channels = [("Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation")]
    names, offsets, ends = ["Hips"], np.zeros((1, 3)), [(0, "", (0.0, 1.0, 0.0))]
    return Motion(names, np.array([-1]), offsets, channels, ends, 1 / fps, rotations, positions)


@pytest.mark.parametrize("fps", [24, 30, 60, 20])
def test_a_finer_motion_follows_the_curve_and_lasts_as_long(fps):
    made, true = smoothly(turning(40, 20), fps), turning(2 * fps, fps)
    assert len(made) == len(true) and made.frame_time == true.frame_time
    # The cubic is exact where speed grows evenly; the outermost frames lack a neighbour
    inside = slice(math.ceil(fps / 20), math.floor(38 / 20 * fps))
    np.testing.assert_allclose(made.positions[inside], true.positions[inside], atol=1e-9)
    np.testing.assert_allclose(made.rotations[inside], true.rotations[inside], atol=1e-9)
    np.testing.assert_allclose(made.rotations[-1], turning(40, 20).rotations[-1], atol=0.02)


def test_between_the_frames_of_speech_no_hand_jerks_and_no_foot_slides(take):
    motion = plant(resample(read_bvh(take[0]), 20))
    fine, straight = as_asked(motion, 60, None), resample(motion, 60)
    hand, foot = (motion.names.index(name) for name in ("RightHand", "RightFoot"))

    def roughness(motion):
        """Root mean square of the hand's acceleration, m/s²."""
        p = motion.joint_positions()[:, hand] / 100
        return np.sqrt((np.diff(p, 2, axis=0) ** 2).sum(axis=1).mean()) / motion.frame_time**2

    assert roughness(fine) < 1.35 * roughness(motion) < roughness(straight)
    p, coarse = fine.joint_positions()[:, foot], motion.joint_positions()[:, foot]
    still = np.linalg.norm(np.diff(coarse, axis=0), axis=1) < 1e-6  # [F - 1]
    assert still.mean() > 0.3
    moved = np.linalg.norm(np.diff(p, axis=0), axis=1)[:-2].reshape(-1, 3)  # cm, in each 20th
    assert moved[still[: len(moved)]].max() < 1e-6


@pytest.mark.parametrize("unit, factor", [("m", 0.01), ("cm", 1.0)])
@pytest.mark.parametrize("recorded", [0.01, 1.0, 10.0])
def test_a_unit_is_that_unit_whatever_the_recordings_had(take, unit, factor, recorded):
    motion = read_bvh(take[0])  # cm
    expected = factor * motion.points()[0]
    motion.offsets, motion.positions = recorded * motion.offsets, recorded * motion.positions
    ends = [(j, name, tuple(recorded * x for x in end)) for j, name, end in motion.end_sites]
    motion.end_sites = ends
    np.testing.assert_allclose(in_unit(motion, unit).points()[0], expected, atol=1e-9)


def test_sample_writes_the_rate_and_the_unit_that_are_asked_for(take, tmp_path):
    wav = tmp_path / "a.wav"
    sound, rate = soundfile.read(take[1])
    soundfile.write(wav, sound[: 2 * rate + 700], rate)
    options = ["--steps", 2, "--fps", 24, "--unit", "m", "--out", tmp_path]
    done = call(sample, wav, *options)
    assert done.returncode == 0, done.stderr
    motion = read_bvh(tmp_path / "a.bvh")
    assert motion.frame_time == pytest.approx(1 / 24) and 1.3 < motion.body_height() < 2.2
    assert len(motion) >= 24 * (2 + 700 / rate) and f"{len(motion)} frames" in done.stdout


@pytest.mark.parametrize(
    "options", [["--fps", "0"], ["--fps", "nan"], ["--unit", "ft"], ["--stream", "--fps", "30"]]
)
def test_rates_and_units_that_cannot_be_get_one_line(options):
    assert_one_error_line(call(sample, "a.wav", *options), options[-2])


# ------------------------------------------------------------------------------------------------
# Blender
# ------------------------------------------------------------------------------------------------
def blender(script, *arguments):
    """Run a script within Blender with what stands behind the word -- -> CompletedProcess."""
    if program := shutil.which("blender"):
        command = [program, "--background", "--factory-startup", "--python", script]
    elif importlib.util.find_spec("bpy"):
        command = [sys.executable, script]
    else:
        pytest.skip("neither a blender on the PATH nor the package bpy")
    command = [str(word) for word in (*command, "--", *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


LOOK = """
import json, runpy, sys
import bpy
from bpy_extras.object_utils import world_to_camera_view

where = sys.argv.index("--") + 1
said, script = sys.argv.pop(where), sys.argv.pop(where)
runpy.run_path(script)
scene = bpy.context.scene
body = next(o for o in bpy.data.objects if o.type == "ARMATURE")
frames, seen = [], []
for n in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(n)
    heads = {b.name: body.matrix_world @ b.head for b in body.pose.bones}
    frames.append({name: list(place) for name, place in heads.items()})
    seen += [list(world_to_camera_view(scene, scene.camera, place)) for place in heads.values()]
strip = next(iter(scene.sequence_editor.strips_all), None) if scene.sequence_editor else None
told = dict(
    frames=frames,
    seen=seen,
    rate=scene.render.fps / scene.render.fps_base,
    floor=bpy.data.objects["Floor"].location.z,
    camera=list(scene.camera.location),
    sound=strip and [strip.frame_final_start, strip.frame_final_duration],
    names=[o.name for o in bpy.data.objects],
)
with open(said, "w") as file:
    json.dump(told, file)
"""


def staged(folder, *arguments):
    """What Blender's stage holds after show/blender.py -> dict."""
    script, said = folder / "look.py", folder / "said.json"
    script.write_text(LOOK)
    done = blender(script, said, ROOT / "show" / "blender.py", *arguments)
    assert said.exists(), done.stdout + done.stderr
    return json.loads(said.read_text())


def in_metres(path, stage):
    """(where our reader has the joints, where Blender has them), [F, J, 3] each, y up."""
    motion = read_bvh(path)
    theirs = np.array([[frame[name] for name in motion.names] for frame in stage["frames"]])
    theirs = theirs[..., [0, 2, 1]] * [1, 1, -1]  # Blender's z is up, its -y to the front
    return motion.joint_positions(), theirs


def test_blender_has_scale_rate_length_floor_camera_and_sound(take, tmp_path):
    stage = staged(tmp_path, *take)
    ours, theirs = in_metres(take[0], stage)
    assert len(theirs) == len(ours) == SECONDS * 30 and stage["rate"] == pytest.approx(30)
    np.testing.assert_allclose(theirs, ours / 100, atol=1e-5)  # m: the puppet is in cm
    assert stage["floor"] == pytest.approx(0, abs=0.03)
    start, length = stage["sound"]
    assert start == 1 and length / 30 == pytest.approx(soundfile.info(take[1]).duration, abs=0.1)
    seen = np.array(stage["seen"])  # from 0 to 1 across the picture, then the distance
    assert (seen[:, :2] > 0.02).all() and (seen[:, :2] < 0.98).all()
    assert stage["camera"][1] < -3, "the puppet looks along +z, which is Blender's -y"
    assert "Cube" not in stage["names"]


@pytest.mark.parametrize("unit", [0.01, 10.0])
def test_blender_finds_metres_and_millimetres_and_who_turns(take, tmp_path, unit):
    motion = read_bvh(take[0])
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # looks along +x now
    motion.rotations[:, 0] = quarter @ motion.rotations[:, 0]
    motion.positions[:, 0] = motion.positions[:, 0] @ quarter.T
    motion.offsets, motion.positions = unit * motion.offsets, unit * motion.positions
    ends = [(j, name, tuple(unit * x for x in offset)) for j, name, offset in motion.end_sites]
    motion.end_sites, motion.frame_time = ends, 1001 / 30000
    write_bvh(tmp_path / "a.bvh", motion)
    stage = staged(tmp_path, tmp_path / "a.bvh")
    ours, theirs = in_metres(tmp_path / "a.bvh", stage)
    np.testing.assert_allclose(theirs, ours / (100 * unit), atol=1e-5)
    assert stage["rate"] == pytest.approx(30 / 1.001, rel=1e-5)
    assert stage["camera"][0] > 3 and stage["sound"] is None


def test_blender_says_what_is_not_there(take, tmp_path):
    done = blender(ROOT / "show" / "blender.py", tmp_path / "none.bvh")
    assert "none.bvh: no such file" in done.stdout + done.stderr
    done = blender(ROOT / "show" / "blender.py", take[1])
    assert f"{take[1].name}: is no BVH file" in done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------
# three.js
# ------------------------------------------------------------------------------------------------
LOAD = """
const { readFileSync } = require('fs'), [path, three] = process.argv.slice(-2);
const part = name => import(require('url').pathToFileURL(`${three}/${name}`).href);
Promise.all([part('build/three.module.js'), part('examples/jsm/loaders/BVHLoader.js')])
    .then(([{ AnimationMixer, Vector3 }, { BVHLoader }]) => {
        const { skeleton, clip } = new BVHLoader().parse(readFileSync(path, 'utf8'));
        const root = skeleton.bones[0], mixer = new AnimationMixer(root);
        mixer.clipAction(clip).play();
        // A clip begins again at its very end
        const frames = [...clip.tracks[0].times].slice(0, -1).map(time => {
            mixer.setTime(time);
            root.updateMatrixWorld(true);
            return skeleton.bones.map(bone => bone.getWorldPosition(new Vector3()).toArray()); });
        console.log(JSON.stringify({ names: skeleton.bones.map(bone => bone.name), frames })); });
"""


def three_js_positions(path):
    """Where three.js puts the joints of a file -> ([F, J, 3], names)."""
    places = [*os.environ.get("NODE_PATH", "").split(os.pathsep)]
    places += [folder / "node_modules" for folder in (ROOT, *ROOT.parents)]
    found = [place for place in map(Path, filter(None, places)) if (place / "three").is_dir()]
    if not (shutil.which("node") and found):
        pytest.skip("no node with three.js")
    command = ["node", "-e", LOAD, "--", str(path), str(found[0] / "three")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return np.array(told["frames"]), told["names"]


def test_in_three_js_the_body_stands_on_the_floor(take):
    motion = read_bvh(take[0])
    theirs, names = three_js_positions(take[0])
    ours = motion.joint_positions()[: len(theirs)]
    assert len(ours) == len(motion) - 1 and motion.positions[0, 0, 1] > 80
    theirs = theirs[:, [names.index(name) for name in motion.names]]
    np.testing.assert_allclose(theirs, ours, atol=1e-3)
