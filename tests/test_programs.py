"""Skeletons as programs name them: hips, knees, ankles, shoulders, elbows, wrists, mirror images.

PROGRAMS holds facts: the names in the order of the file's joints. "{}" stands for the side; "*"
marks the joint that begins a bone: shoulder, elbow and wrist, or hip, knee and ankle.
"""

from dataclasses import replace

import numpy as np
import pytest

from body.joints import (
    choose_joints,
    common_joints,
    hand_joints,
    legs_of,
    sides_and_stems,
    upper_joints,
)
from body.mirror import mirror_pairs
from body.motion import BvhError, Motion
from body.size import height_of

LEFT_RIGHT, LETTERS, SMALL = ("Left", "Right"), ("L", "R"), ("l", "r")
MIXAMO = (
    "Hips, Spine, Spine1, Spine2, Neck, Head",
    "{}Shoulder, {}Arm*, {}ForeArm*, {}Hand*, {}HandThumb1",
    "{}UpLeg*, {}Leg*, {}Foot*, {}ToeBase",
)
POSER = (
    "hip, abdomen, chest, neck, head",
    "{}Collar, {}Shldr*, {}ForeArm*, {}Hand*, {}Thumb1",
    "{}Buttock, {}Thigh*, {}Shin*, {}Foot*, {}Toe",
)
BIPED = (
    "Bip01, Bip01 Pelvis, Bip01 Spine, Bip01 Spine1, Bip01 Neck, Bip01 Head",
    "Bip01 {} Clavicle, Bip01 {} UpperArm*, Bip01 {} Forearm*, Bip01 {} Hand*, Bip01 {} Finger0",
    "Bip01 {} Thigh*, Bip01 {} Calf*, Bip01 {} Foot*, Bip01 {} Toe0",
)
UNREAL = (
    "root, pelvis, spine_01, spine_02, spine_03, neck_01, head",
    "clavicle_{}, upperarm_{}*, lowerarm_{}*, hand_{}*, index_01_{}",
    "thigh_{}*, calf_{}*, foot_{}*, ball_{}",
)
SMPL = (
    "pelvis, spine1, spine2, spine3, neck, head",
    "{}_collar, {}_shoulder*, {}_elbow*, {}_wrist*, {}_hand",
    "{}_hip*, {}_knee*, {}_ankle*, {}_foot",
)
CMU = (  # the names of CMU's own files (ASF), which Vicon's and HDM05 share
    "root, lowerback, upperback, thorax, lowerneck, upperneck, head",
    "{}clavicle, {}humerus*, {}radius*, {}wrist*, {}hand, {}fingers",
    "{}hipjoint, {}femur*, {}tibia*, {}foot*, {}toes",
)
XSENS = (
    "Hips, Chest, Chest2, Chest3, Chest4, Neck, Head",
    "{}Collar, {}Shoulder*, {}Elbow*, {}Wrist*",
    "{}Hip*, {}Knee*, {}Ankle*, {}Toe",
)
RIGIFY = (
    "DEF-spine, DEF-spine.001, DEF-spine.003, DEF-spine.004, DEF-spine.006",  # the last is the head
    "DEF-shoulder.{}, DEF-upper_arm.{}*, DEF-upper_arm.{}.001, DEF-forearm.{}*, "
    "DEF-forearm.{}.001, DEF-hand.{}*, DEF-f_index.01.{}",
    "DEF-pelvis.{}, DEF-thigh.{}*, DEF-thigh.{}.001, DEF-shin.{}*, DEF-shin.{}.001, "
    "DEF-foot.{}*, DEF-toe.{}",
)
MAKEHUMAN = (
    "root, spine05, spine02, spine01, neck01, neck02, head",
    "clavicle.{}, shoulder01.{}, upperarm01.{}*, upperarm02.{}, lowerarm01.{}*, lowerarm02.{}, "
    "wrist.{}*, metacarpal1.{}, finger2-1.{}",
    "pelvis.{}, __upperleg01.{}, upperleg01.{}*, upperleg02.{}, lowerleg01.{}*, lowerleg02.{}, "
    "foot.{}*, toe1-1.{}",
)
KINECT = (
    "SpineBase, SpineMid, SpineShoulder, Neck, Head",
    "Shoulder{}*, Elbow{}*, Wrist{}*, Hand{}, HandTip{}",
    "Hip{}*, Knee{}*, Ankle{}*, Foot{}",
)
UNITY = (
    "Hips, Spine, Chest, UpperChest, Neck, Head",
    "{}Shoulder, {}UpperArm*, {}LowerArm*, {}Hand*, {}Thumb Proximal",
    "{}UpperLeg*, {}LowerLeg*, {}Foot*, {}Toes",
)
VRM = (
    "J_Bip_C_Hips, J_Bip_C_Spine, J_Bip_C_UpperChest, J_Bip_C_Neck, J_Bip_C_Head",
    "J_Bip_{}_Shoulder, J_Bip_{}_UpperArm*, J_Bip_{}_LowerArm*, J_Bip_{}_Hand*, J_Bip_{}_Index1",
    "J_Bip_{}_UpperLeg*, J_Bip_{}_LowerLeg*, J_Bip_{}_Foot*, J_Bip_{}_ToeBase",
)
PROGRAMS = {
    "Mixamo": (LEFT_RIGHT, *(part.replace("{}", "mixamorig:{}") for part in MIXAMO)),
    "Perception Neuron, BEAT, ZEGGS": (LEFT_RIGHT, *MIXAMO),
    "MotionBuilder with rolls": (
        LEFT_RIGHT,
        MIXAMO[0],
        "{}Shoulder, {}Arm*, {}ArmRoll, {}ForeArm*, {}ForeArmRoll, {}Hand*, {}FingerBase",
        "{}UpLeg*, {}UpLegRoll, {}Leg*, {}LegRoll, {}Foot*, {}ToeBase",
    ),
    "cgspeed's CMU": (
        LEFT_RIGHT,
        "Hips, LowerBack, Spine, Spine1, Neck, Neck1, Head",
        *MIXAMO[1:],
    ),
    "CMU, Vicon": (SMALL, *CMU),
    "SMPL": (LETTERS, *(part.title() for part in SMPL)),
    "SMPL with its prefix": (
        LETTERS,
        "m_avg_Pelvis, m_avg_Spine1, m_avg_Spine2, m_avg_Spine3, m_avg_Neck, m_avg_Head",
        "m_avg_{}_Collar, m_avg_{}_Shoulder*, m_avg_{}_Elbow*, m_avg_{}_Wrist*, m_avg_{}_Hand",
        "m_avg_{}_Hip*, m_avg_{}_Knee*, m_avg_{}_Ankle*, m_avg_{}_Foot",
    ),
    "SMPL-X, EMAGE": (("left", "right"), SMPL[0], SMPL[1].replace("hand", "index1"), SMPL[2]),
    "Kinect": (LEFT_RIGHT, *KINECT),
    "Azure Kinect": (
        ("LEFT", "RIGHT"),
        "PELVIS, SPINE_NAVEL, SPINE_CHEST, NECK, HEAD",
        "CLAVICLE_{}, SHOULDER_{}*, ELBOW_{}*, WRIST_{}*, HAND_{}, HANDTIP_{}",
        "HIP_{}*, KNEE_{}*, ANKLE_{}*, FOOT_{}",
    ),
    "MediaPipe": (
        ("left", "right"),
        "mid_hip, spine, neck, nose",
        "{}_shoulder*, {}_elbow*, {}_wrist*, {}_index",
        "{}_hip*, {}_knee*, {}_ankle*, {}_heel, {}_foot_index",
    ),
    "OpenPose": (
        LETTERS,
        "MidHip, Spine, Neck, Head",
        "{}Shoulder*, {}Elbow*, {}Wrist*",
        "{}Hip*, {}Knee*, {}Ankle*, {}BigToe",
    ),
    "Rokoko": (
        LEFT_RIGHT,
        MIXAMO[0],
        MIXAMO[1],
        "{}Thigh*, {}Shin*, {}Foot*, {}Toe",
    ),
    "Xsens": (LEFT_RIGHT, *XSENS),
    "Xsens' segments": (
        LEFT_RIGHT,
        "Pelvis, L5, L3, T12, T8, Neck, Head",
        "{}Shoulder, {}UpperArm*, {}ForeArm*, {}Hand*",
        "{}UpperLeg*, {}LowerLeg*, {}Foot*, {}Toe",
    ),
    "Unreal": (SMALL, *UNREAL),
    "Unity": (LEFT_RIGHT, *UNITY),
    "Unity with blanks": (("Left ", "Right "), *UNITY),
    "VRM": (LETTERS, *VRM),
    "VRM 1": (("left", "right"), *UNITY),
    "3ds Max Biped": (LETTERS, *BIPED),
    "3ds Max Biped, underscores": (LETTERS, *(part.replace("1 ", "1_") for part in BIPED)),
    "Poser, Daz": (SMALL, *POSER),
    "Daz Genesis 8": (
        SMALL,
        "hip, abdomenLower, abdomenUpper, chestLower, chestUpper, neckLower, neckUpper, head",
        "{}Collar, {}ShldrBend*, {}ShldrTwist, {}ForearmBend*, {}ForearmTwist, {}Hand*, {}Thumb1",
        "{}ThighBend*, {}ThighTwist, {}Shin*, {}Foot*, {}Metatarsals, {}Toe",
    ),
    "MakeHuman": (LETTERS, *MAKEHUMAN),
    "Rigify": (LETTERS, *RIGIFY),
    "Blender, a meta-rig": (
        LETTERS,
        "spine, spine.001, spine.003, spine.004, spine.006",
        "shoulder.{}, upper_arm.{}*, forearm.{}*, hand.{}*, palm.01.{}",
        "thigh.{}*, shin.{}*, foot.{}*, toe.{}",
    ),
    "Blender, bones that deform": (
        LETTERS,
        "DEF-hips, DEF-spine, DEF-chest, DEF-neck, DEF-head",
        "DEF-clavicle.{}, DEF-arm.{}*, DEF-arm.{}.001, DEF-forearm.{}*, DEF-hand.{}*",
        "DEF-thigh.{}*, DEF-shin.{}*, DEF-foot.{}*",
    ),
    "Second Life Bento": (
        LEFT_RIGHT,
        "mPelvis, mTorso, mChest, mNeck, mHead",
        "mCollar{}, mShoulder{}*, mElbow{}*, mWrist{}*, mHandMiddle1{}",
        "mHip{}*, mKnee{}*, mAnkle{}*, mFoot{}, mToe{}",
    ),
    "OptiTrack": (
        LETTERS,
        "Hip, Ab, Chest, Neck, Head",
        "{}Shoulder, {}UArm*, {}FArm*, {}Hand*",
        "{}Thigh*, {}Shin*, {}Foot*, {}Toe",
    ),
    "MocapNET": (
        SMALL,
        "hip, abdomen, chest, neck, head",
        "{}collar, {}shoulder*, {}elbow*, {}hand*, {}thumb",
        "{}hip*, {}knee*, {}foot*, {}toe",
    ),
    "capitals": (
        LETTERS,
        "HIPS, SPINE, CHEST, NECK, HEAD",
        "{}CLAVICLE, {}UPPERARM*, {}FOREARM*, {}HAND*",
        "{}THIGH*, {}SHIN*, {}FOOT*, {}TOE",
    ),
    "sides at the end": (
        LETTERS,
        "Hips, Spine, Chest, Neck, Head",
        "Clavicle{}, UpperArm{}*, Forearm{}*, __Hand{}, Hand{}*, Finger{}1",
        "Thigh{}*, Calf{}*, Foot{}*, Toe{}",
    ),
    "Maya's Advanced Skeleton": (
        LETTERS,
        "Root_M, Spine1_M, Chest_M, Neck_M, Head_M",
        "Scapula_{}, Shoulder_{}*, ShoulderPart1_{}, Elbow_{}*, ElbowPart1_{}, Wrist_{}*",
        "Hip_{}*, HipPart1_{}, Knee_{}*, KneePart1_{}, Ankle_{}*, Toes_{}",
    ),
    "ARKit": (
        ("left", "right"),
        "hips_joint, spine_1_joint, spine_7_joint, neck_1_joint, head_joint",
        "{}_shoulder_1_joint, {}_arm_joint*, {}_forearm_joint*, {}_hand_joint*, "
        "{}_handThumbStart_joint",
        "{}_upLeg_joint*, {}_leg_joint*, {}_foot_joint*, {}_toes_joint",
    ),
    "Character Creator": (
        LETTERS,
        "CC_Base_Hip, CC_Base_Waist, CC_Base_Spine01, CC_Base_NeckTwist01, CC_Base_Head",
        "CC_Base_{}_Clavicle, CC_Base_{}_Upperarm*, CC_Base_{}_Forearm*, CC_Base_{}_Hand*",
        "CC_Base_{}_Thigh*, CC_Base_{}_Calf*, CC_Base_{}_Foot*, CC_Base_{}_ToeBase",
    ),
    "GENEA": (
        SMALL,
        "body_world, b_root, b_spine0, b_spine3, b_neck0, b_head",
        "b_{}_shoulder, b_{}_arm*, b_{}_arm_twist, b_{}_forearm*, b_{}_wrist_twist, b_{}_wrist*",
        "b_{}_upleg*, b_{}_leg*, b_{}_foot*",
    ),
    "MikuMikuDance": (
        ("左", "右"),
        "センター, 下半身, 上半身, 首, 頭",
        "{}肩, {}腕*, {}腕捩, {}ひじ*, {}手捩, {}手首*, {}人指１",
        "{}足*, {}ひざ*, {}足首*, {}つま先",
    ),
    "bones that are only numbered": (
        LETTERS,
        "Pelvis, Spine, Chest, Neck, Head",
        "{}_scapula, {}_a_1*, {}_a_2, {}_b_1*, {}_b_2, {}_wrist*",
        "{}_c_1*, {}_c_2, {}_d_1*, {}_d_2, {}_ankle*",
    ),
    "a joint a bone, numbered": (
        LETTERS,
        "Pelvis, Spine, Chest, Neck, Head",
        "{}_clavicle, {}_arm1*, {}_arm2*, {}_hand*",
        "{}_leg1*, {}_leg2*, {}_foot*",
    ),
}
# Joints beside the body's: followers, controls and dummies, before what they follow
FOLLOWERS = {
    "Unreal": "ik_foot_root, ik_foot_{}, ik_hand_root > ik_hand_gun, ik_hand_{}",
    "3ds Max Biped": "{} Hand, {} Foot",
    "CMU, Vicon": "ctrl_{}humerus > ctrl_{}radius > ctrl_{}wrist",
    "Blender, a meta-rig": "hand_ik.{}, foot_ik.{}",
    "Mixamo": "{}HandIK, {}FootTarget, HeadTarget",
    "sides at the end": "__Clavicle{}, __Foot{}, __Head",
}


def skeleton(program):
    """A standing body with a program's names -> (Motion, {name: its partner's})."""
    sides, trunk, *limbs = PROGRAMS[program]
    names, parents, offsets, partner = [], [], [], {}

    def add(name, parent, x, y, z):
        names.append(name)
        parents.append(parent)
        offsets.append((x, y, z))
        return len(names) - 1

    trunk = trunk.split(", ")
    hips = chest = add(trunk[0], -1, 0, 90, 0)
    for chain in filter(None, FOLLOWERS.get(program, "").split(", ")):
        for chain_of_side in dict.fromkeys(chain.replace("{}", side) for side in sides):
            on = hips
            for name in chain_of_side.split(" > "):
                on = add(name, on, 0, 0, 0)
        for pattern in chain.split(" > "):
            partner |= named(pattern, sides)
    for name in trunk[1:-2]:
        chest = add(name, chest, 0, 10, 0)
    add(trunk[-1], add(trunk[-2], chest, 0, 10, 0), 0, 10, 0)
    for side, sign in zip(sides, (1, -1)):
        for limb, on, bone in zip(limbs, (chest, hips), ((25, -1, 0), (0, -42, 2))):
            for n, pattern in enumerate(limb.replace("*", "").split(", ")):
                x, y, z = bone if n else (7, -3, 0)
                on = add(pattern.replace("{}", side), on, sign * x, y, z)
                partner |= named(pattern, sides)
    offsets = np.array(offsets, float)
    still, places = np.tile(np.eye(3), (3, len(names), 1, 1)), np.tile(offsets, (3, 1, 1))
    channels = [("Zrotation", "Xrotation", "Yrotation")] * len(names)
    parents = np.array(parents)
    return Motion(names, parents, offsets, channels, [], 0.05, still, places), partner


def named(pattern, sides):
    """{the left name: the right one, and the other way round}."""
    left, right = (pattern.replace("{}", side) for side in sides)
    return {left: right, right: left}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_programs_limbs_and_mirror_image_are_found(program):
    motion, partner = skeleton(program)
    sides, trunk, arm, leg = PROGRAMS[program]
    limbs = [
        [name[:-1].replace("{}", side) for name in limb.split(", ") if name.endswith("*")]
        for side in sides
        for limb in (arm, leg)
    ]
    names = np.array(motion.names)
    found = names[common_joints(motion)].tolist()
    assert [found[n : n + 3] for n in (4, 7, 10, 13)] == limbs
    assert found[3] == trunk.split(", ")[-1], "the head"
    assert names[hand_joints(motion)].tolist() == [limbs[0][2], limbs[2][2]]
    assert names[list(sum(legs_of(motion), ()))].tolist() == limbs[1] + limbs[3]
    pairs, axis = mirror_pairs(motion)
    assert names[pairs].tolist() == [partner.get(name, name) for name in names] and axis == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_upper_body_has_the_arms_and_nothing_of_the_legs(program):
    """Nor what hangs on them, as joints that twist, nor what follows a foot."""
    motion, _ = skeleton(program)
    sides, _, arm, leg = PROGRAMS[program]
    arms, legs = (
        {n.replace("{}", s) for n in limb.replace("*", "").split(", ") for s in sides}
        for limb in (arm, leg)
    )
    thigh, J = legs_of(motion)[0][0], len(motion.names)
    again = [*range(J), thigh]  # a joint more, which hangs on the thigh
    more = replace(
        motion,
        names=[*motion.names, "helper"],
        parents=np.append(motion.parents, thigh),
        offsets=motion.offsets[again],
        channels=[motion.channels[j] for j in again],
        rotations=motion.rotations[:, again],
        positions=motion.positions[:, again],
    )
    chosen = {more.names[j] for j in choose_joints(more, "upper")}
    assert arms <= chosen and chosen.isdisjoint(legs | {"helper"})
    assert not [name for name in chosen if "foot" in name.lower()]


def test_a_body_that_hangs_on_no_hips_is_said():
    for name, words in (
        ("Head", "Head is the root"),
        ("mixamorig:LeftArm", "no joint carries both"),
    ):
        motion, _ = skeleton("Mixamo")
        old = motion.names.index(name)
        motion.names[0], motion.names[old] = motion.names[old], motion.names[0]
        with pytest.raises(BvhError, match=words):
            upper_joints(motion)
        assert height_of(motion) > 0


def test_where_no_name_has_a_side_nothing_is_mirrored():
    motion, partner = skeleton("Mixamo")
    motion.names = [f"bone{j}" if name in partner else name for j, name in enumerate(motion.names)]
    with pytest.raises(BvhError, match="no joint's name says left or right"):
        mirror_pairs(motion)


def test_legs_without_a_side_are_not_taken_for_a_part_of_the_middle():
    motion, _ = skeleton("Perception Neuron, BEAT, ZEGGS")
    legs = ("UpLeg", "Leg", "Foot", "ToeBase")
    motion.offsets[motion.names.index("Head"), 0] = 6
    assert mirror_pairs(motion)[1] == 0, "a lock of hair, or a head aside, is no limb"
    motion.names = [
        f"bone{j}" if name.endswith(legs) else name for j, name in enumerate(motion.names)
    ]
    with pytest.raises(BvhError, match="bone.*stands on one side"):
        mirror_pairs(motion)


def test_a_limb_of_two_joints_is_said():
    motion, _ = skeleton("SMPL")
    for side in ("L_", "R_"):
        motion.names[motion.names.index(f"{side}Elbow")] = f"{side}ShoulderTwist"
    with pytest.raises(BvhError, match="fewer than three joints"):
        common_joints(motion)


def test_no_side_is_read_where_there_is_none():
    middle = ["lowerback", "L5", "Pelvis", "Collar", "Root", "Tail", "Ear", "Ball", "rear"]
    assert {side for side, _ in sides_and_stems(middle)} == {""}
    assert sides_and_stems(["lthigh", "rthigh"]) == [("left", "thigh"), ("right", "thigh")]
