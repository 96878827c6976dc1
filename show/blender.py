"""A motion on Blender's stage, with its sound: scale, frame rate, length, floor, camera.

    blender --python show/blender.py -- out/talk.bvh talk.wav
    blender --background --python show/blender.py -- out/talk.bvh talk.wav --save talk.blend

Runs inside Blender (4.2 to 5.0), or where the package bpy is installed. It needs no other file of
this project. Blender's own importer, left at its defaults, takes centimetres for metres, plays
at 24 frames a second and stops at frame 250.
"""

import argparse
import math
import sys
from pathlib import Path

import bpy
from mathutils import Vector

USUAL_HEIGHT = 1.7  # m
SAMPLES = 60  # frames that are looked at, to find height and floor


def main():
    """Read the command line behind the word --, and build the stage."""
    args = parse(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
    if not bpy.data.filepath and "Cube" in bpy.data.objects:  # a new file: its cube is in the way
        bpy.data.objects.remove(bpy.data.objects["Cube"])
    scene = bpy.context.scene
    body = import_body(args.motion, scene)
    floor, height, middle = measure(body, scene)
    add_floor(floor, middle)
    add_camera(scene, middle, floor, height, front_of(body))
    if args.sound:
        add_sound(scene, args.sound)
    scene.frame_set(scene.frame_start)
    if args.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(args.save.resolve()))
    rate = scene.render.fps / scene.render.fps_base
    print(f"{args.motion}: {scene.frame_end} frames at {rate:.5g} a second, {height:.2f} m tall")


def parse(arguments):
    """The command line -> its values."""
    parser = argparse.ArgumentParser(prog="blender --python show/blender.py --")
    parser.add_argument("motion", type=Path, help="a BVH file whose Y axis is up, of any unit")
    parser.add_argument("sound", type=Path, nargs="?", help="the speech")
    parser.add_argument("--save", type=Path, metavar="FILE.blend", help="keep the stage")
    args = parser.parse_args(arguments)
    for path in filter(None, (args.motion, args.sound)):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    if not args.motion.read_bytes().lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"HIERARCHY"):
        parser.error(f"{args.motion}: is no BVH file, it does not begin with HIERARCHY")
    return args


# ------------------------------------------------------------------------------------------------
# The body
# ------------------------------------------------------------------------------------------------
def import_body(path, scene):
    """The BVH as an armature in metres; the scene gets its frame rate and its length."""
    body = import_bvh(path, 1.0)
    _, height, _ = measure(body, scene)
    if not height > 0:
        sys.exit(f"error: {path}: all joints stand in one place; check the export")
    # Metres, centimetres or millimetres: the power of ten that makes a person of it
    scale = 10.0 ** -round(math.log10(height / USUAL_HEIGHT))
    if scale != 1:
        armature, action = body.data, body.animation_data.action
        bpy.data.objects.remove(body)
        bpy.data.armatures.remove(armature)
        bpy.data.actions.remove(action)
        body = import_bvh(path, scale)
    scene.frame_start, scene.frame_end = map(round, body.animation_data.action.frame_range)
    body.name = "Armature"  # by any other name Unreal takes it for a bone; see docs/retargeting.md
    body.data.display_type = "STICK"
    body.show_in_front = True
    return body


def import_bvh(path, scale):
    """Blender's importer, with the frame rate of the file -> the armature's object."""
    bpy.ops.import_anim.bvh(
        filepath=str(path.resolve()), global_scale=scale, frame_start=1, update_scene_fps=True
    )
    return bpy.context.object


def measure(body, scene):
    """(lowest foot, mean height, middle of the hips [3]), over some frames of the motion."""
    first, last = map(round, body.animation_data.action.frame_range)
    lows, heights, places = [], [], []
    for n in range(first, last + 1, max(1, (last - first) // SAMPLES)):
        scene.frame_set(n)
        points = [body.matrix_world @ p for bone in body.pose.bones for p in (bone.head, bone.tail)]
        low, high = min(p.z for p in points), max(p.z for p in points)
        lows.append(low)
        heights.append(high - low)
        places.append(points[0])
    # One bad frame must not sink the floor
    floor = sorted(lows)[len(lows) // 20]
    return floor, sum(heights) / len(heights), sum(places, Vector()) / len(places)


def front_of(body):
    """The horizontal unit vector that the body looks along in the first frame.

    From pairs such as LeftArm and RightArm that hang on one bone: collar bones and thighs.
    """
    bones, across = {bone.name.lower(): bone for bone in body.pose.bones}, Vector()
    for name, left in bones.items():
        right = bones.get(name.replace("left", "right"))
        if "left" in name and right and left.parent == right.parent:
            across += left.tail - right.tail
    front = (body.matrix_world.to_3x3() @ across).cross(Vector((0, 0, 1)))
    return front.normalized() if front.length > 0 else Vector((0, -1, 0))


# ------------------------------------------------------------------------------------------------
# The stage
# ------------------------------------------------------------------------------------------------
def add_floor(height, middle):
    """A floor of 10 x 10 m below the body."""
    bpy.ops.mesh.primitive_plane_add(size=10, location=(middle.x, middle.y, height))
    bpy.context.object.name = "Floor"


def add_camera(scene, middle, floor, height, front):
    """A camera 3 body heights in front of the body, that has its head and feet in the picture."""
    target = Vector((middle.x, middle.y, floor + 0.5 * height))
    place = target + 3 * height * front + Vector((0, 0, 0.25 * height))
    camera = bpy.data.objects.new("Front", bpy.data.cameras.new("Front"))
    camera.location = place
    camera.rotation_euler = (target - place).to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(camera)
    scene.camera = camera


def add_sound(scene, path):
    """The sound in the sequencer, from the first frame on; playing keeps to its time."""
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # before Blender 4.4
    strips.new_sound(path.stem, str(path.resolve()), channel=1, frame_start=scene.frame_start)
    scene.sync_mode = "AUDIO_SYNC"


main()
