"""Our BVH on other programs' stages: Blender (or its package bpy), and three.js under node.

Each is asked where it puts the joints. Skipped, with the reason, where the program is not there:
    pip install bpy          some 400 MB; or a `blender` on the PATH
    npm install three        in any folder above this one, or NODE_PATH names its node_modules
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from body.bvh import read_bvh, write_bvh
from recordings import puppet

SECONDS = 9.0  # 270 frames at 30 a second: more than Blender's 250


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """A puppet's take as (bvh, wav)."""
    folder = tmp_path_factory.mktemp("a stage")
    puppet.write_corpus(folder, train=1, valid=0, test=0, seconds=SECONDS, seed=3)
    return next(folder.rglob("*.bvh")), next(folder.rglob("*.wav"))


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
