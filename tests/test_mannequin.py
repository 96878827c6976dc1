"""The mannequin: anatomy of any skeleton, where the face looks, and a skin that closes."""

import numpy as np
import pytest
from conftest import OTHER_NAMES, renamed, shared_files
from test_player import motion_of, person

from body.bvh import read_bvh
from body.motion import BvhError
from show.anatomy import find_anatomy, stature
from show.mannequin import Part, at, dress
from show.skin import surface


def a_person(**settings):
    _, names, parents, positions, _ = person(**settings)
    return motion_of(names, parents, positions)


def places_of(dressed, colours=None):
    """All corners of a dressed body at its first frame: [n, 3] in body heights."""
    parts = [part for part in dressed.parts if colours is None or part.colour in colours]
    return np.concatenate([surface(part, dressed.points[0])[0].reshape(-1, 3) for part in parts])


def turned(motion, joint, axis, degrees):
    """The motion with one joint turned about an axis of its own, in every frame."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = {
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
    }[axis]
    motion.rotations = motion.rotations.copy()
    motion.rotations[:, motion.names.index(joint)] = turn
    return motion


@pytest.mark.parametrize("program", OTHER_NAMES)
def test_the_anatomy_is_found_whatever_program_named_the_joints(program):
    motion = a_person()
    usual = find_anatomy(motion)
    names = motion.names
    assert [names[j] for j in usual.arms[0]] == ["LeftArm", "LeftForeArm", "LeftHand"]
    assert [names[j] for j in usual.legs[1]] == ["RightUpLeg", "RightLeg", "RightFoot"]
    assert names[usual.head] == "Head" and names[usual.pelvis] == "Hips"
    motion.names = renamed(names, program)
    assert find_anatomy(motion) == usual


@pytest.mark.parametrize("degrees", [-40, 0, 25])
def test_the_nose_points_where_the_head_is_turned(degrees):
    body = dress(turned(a_person(), "Head", "y", degrees))
    eyes = places_of(body, ["eye"]).mean(axis=0) - body.points[0, body.head]
    # The body faces +z, with its left at +x
    assert np.degrees(np.arctan2(eyes[0], eyes[2])) == pytest.approx(degrees, abs=0.5)


def test_a_head_that_is_built_askew_looks_to_the_front_on_average():
    body = dress(turned(a_person(), "Head", "y", 120))
    eyes = places_of(body, ["eye"]).mean(axis=0) - body.points[0, body.head]
    assert np.degrees(np.arctan2(eyes[0], eyes[2])) == pytest.approx(0, abs=0.5)


def test_raised_arms_and_a_crouch_do_not_change_the_height():
    standing = stature(a_person())
    assert standing == pytest.approx(1.7, rel=0.1)
    bent = turned(turned(a_person(), "LeftUpLeg", "x", -60), "RightArm", "x", 170)
    assert stature(bent) == pytest.approx(standing)


def test_a_rod_is_a_cylinder_with_round_ends_and_normals_that_leave_it():
    part = Part("left", 16, [(at(0), None, 0.1, 0.1), (at(1), None, 0.1, 0.1)])
    places, normals = surface(part, np.array([[0.3, 0.2, 0.1], [0.3, 1.2, 0.1]]))
    along = np.clip(places[..., 1], 0.2, 1.2)
    axis = np.stack([np.full_like(along, 0.3), along, np.full_like(along, 0.1)], axis=-1)
    assert np.linalg.norm(places - axis, axis=-1) == pytest.approx(0.1)
    assert normals == pytest.approx((places - axis) / 0.1, abs=1e-6)


def test_a_cone_leans_its_normals():
    part = Part("left", 8, [(at(0), None, 0.2, 0.2), (at(1), None, 0.1, 0.1)])
    _, normals = surface(part, np.array([[0.0, 0, 0], [0, 1, 0]]))
    assert normals[3, :, 1] == pytest.approx(0.1 / np.hypot(1, 0.1))


def test_fingers_of_the_rig_are_drawn_and_others_made_up():
    counts = []
    for fingers in (0, 5):
        body = dress(a_person(fingers=fingers))
        counts.append(sum(part.colour == "left" and part.sides == 8 for part in body.parts))
    assert counts == [5, 5]  # four fingers and a thumb of our own; five of the rig, none a thumb


def test_without_legs_there_is_a_stand():
    _, names, parents, positions, joints = person()
    legs = ("Leg", "Foot", "Toe")
    kept = [j for j in range(joints) if not any(word in names[j] for word in legs)]
    motion = motion_of(
        [names[j] for j in kept],
        [kept.index(parents[j]) if parents[j] >= 0 else -1 for j in kept],
        positions[:, kept],
    )
    body = dress(motion)
    lowest = places_of(body)[:, 1].min()
    assert lowest == pytest.approx(places_of(body, ["stand"])[:, 1].min())
    assert body.height == pytest.approx(1.7, rel=0.25)


def test_of_unknown_joints_each_bone_is_a_rod():
    positions = np.tile([[0.0, 0.9, 0], [0.1, 0.6, 0], [-0.1, 1.2, 0], [-0.1, 1.6, 0]], (5, 1, 1))
    body = dress(motion_of(["Root", "A", "B", "C"], [-1, 0, 0, 2], positions))
    assert len(body.parts) == 3 and np.isfinite(places_of(body)).all()


@pytest.mark.parametrize("path", shared_files("**/*.bvh"))
def test_real_skeletons_are_dressed(path):
    try:
        motion = read_bvh(path)
    except BvhError:
        pytest.skip("no BVH that can be read")
    body = dress(motion)
    corners = places_of(body)
    assert np.isfinite(corners).all()
    # No part lies far from the skeleton
    apart = np.linalg.norm(corners[::7, None] - body.points[0][None], axis=-1).min(axis=1)
    assert apart.max() < 0.2  # a bust ends below its lowest joint
