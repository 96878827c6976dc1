"""The puppet's body: its skeleton, and its movement to what is said (`gesture`).

Reading order
    skeleton               joints and bones
    wander, smooth         paths
    look_along, two_bones  inverse kinematics of a limb
    gesture                the whole body, from move_trunk, move_arm and move_leg

What hands, head and feet intend is planned in puppet_gesture.py; here the joints carry it out.
`who` is a recordings.puppet.Speaker, `phrases` are those of puppet_voice.script. Random numbers are
drawn in a fixed order: to reorder the draws would change every corpus.
"""

import numpy as np

from body.motion import Motion
from body.rotations import euler_to_matrix, turn_about_y
from recordings.puppet_gesture import follow, plan

FPS = 30  # not the model's 20: the puppet is resampled as real recordings are
SIDES = (("Left", 1), ("Right", -1))  # and the sign of the side's x

# name, parent, offset in cm at rest (a T-pose, 1.7 m tall); names as in ZEGGS and BEAT
# fmt: off
_CENTRE = [
    ("Hips",   None,     (0, 93, 0)),
    ("Spine",  "Hips",   (0, 10, -1)),
    ("Spine1", "Spine",  (0, 14, -1)),
    ("Spine2", "Spine1", (0, 14, 0)),
    ("Neck",   "Spine2", (0, 16, 1)),
    ("Head",   "Neck",   (0, 9, 2)),
]
_SIDE = [  # of the left; the right's x is mirrored
    ("Shoulder", "Spine2",   (4, 11, 2)),
    ("Arm",      "Shoulder", (13, 1, -2)),
    ("ForeArm",  "Arm",      (28, 0, 0)),
    ("Hand",     "ForeArm",  (25, 0, 0)),
    ("HandThumb1",  "Hand",  (3, -1.5, 3)),
    ("HandIndex1",  "Hand",  (9, 0, 2.5)),
    ("HandMiddle1", "Hand",  (9, 0, -0.5)),  # it stands for the other fingers
    ("UpLeg",    "Hips",     (9, -2, 0)),
    ("Leg",      "UpLeg",    (0, -42, 0)),
    ("Foot",     "Leg",      (0, -41, 0)),
    ("ToeBase",  "Foot",     (0, -6, 13)),
]
_ENDS = {
    "Head":         (0, 17, 1),
    "LeftHandThumb1":   (4.5, -1, 3),
    "RightHandThumb1":  (-4.5, -1, 3),
    "LeftHandIndex1":   (8, 0, 0.5),
    "RightHandIndex1":  (-8, 0, 0.5),
    "LeftHandMiddle1":  (9, 0, -0.5),
    "RightHandMiddle1": (-9, 0, -0.5),
    "LeftToeBase":  (0, -1, 7),
    "RightToeBase": (0, -1, 7),
}
# fmt: on
UPPER_ARM, FOREARM, THIGH, SHIN = 28, 25, 42, 41  # cm, as in the table
ANKLE = 9.0  # cm: its height on the ground


def skeleton():
    """The puppet's (names [28], parents [28], offsets [28, 3] in cm)."""
    rows = list(_CENTRE)
    for side, sign in SIDES:
        for name, parent, (x, y, z) in _SIDE:
            parent = parent if parent in ("Spine2", "Hips") else side + parent
            rows.append((side + name, parent, (sign * x, y, z)))
    names = [name for name, _, _ in rows]
    parents = [-1 if parent is None else names.index(parent) for _, parent, _ in rows]
    return names, np.array(parents), np.array([offset for _, _, offset in rows], float)


def resting(frames):
    """The body in its T-pose for so many frames -> Motion at FPS."""
    names, parents, offsets = skeleton()
    rotate = ("Zrotation", "Yrotation", "Xrotation")
    move = ("Xposition", "Yposition", "Zposition")
    channels = [move + rotate] + [rotate] * (len(names) - 1)
    ends = [(names.index(name), "", offset) for name, offset in _ENDS.items()]
    rotations = np.broadcast_to(np.eye(3), (frames, len(names), 3, 3)).copy()  # [F, J, 3, 3]
    positions = np.broadcast_to(offsets, (frames, len(names), 3)).copy()  # [F, J, 3]
    return Motion(names, parents, offsets, channels, ends, 1 / FPS, rotations, positions)


# ------------------------------------------------------------------------------------------------
# Paths
# ------------------------------------------------------------------------------------------------
def smooth(path):
    """A path [F, n] without its corners: a binomial window of five frames, deviation 33 ms."""
    padded = np.pad(path, ((2, 2), (0, 0)), mode="edge")  # [F + 4, n]
    return sum(w * padded[k : k + len(path)] for k, w in enumerate((1, 4, 6, 4, 1))) / 16


def wander(times, rng, period, size):
    """Slow movement without a reason -> [F], of standard deviation `size`.

    Four sinusoids with periods of about `period` seconds.
    """
    waves = [
        np.sin(2 * np.pi * (times / (period * rng.uniform(0.6, 1.8)) + rng.random()))
        for _ in range(4)
    ]
    return size * sum(waves) / np.sqrt(2)


# ------------------------------------------------------------------------------------------------
# Inverse kinematics
# ------------------------------------------------------------------------------------------------
def look_along(x, y):
    """Rotations [F, 3, 3] whose first axis is along x [F, 3], the second as near y as it can be."""
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    z = np.cross(x, y)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def two_bones(root, target, pole, upper, lower):
    """The middle and end joints of a limb, each [F, 3], which reaches from root towards target.

    root, target [F, 3]; pole [F, 3]: the side to which the middle joint bends; upper, lower: the
    lengths of the bones. The end falls short of a target that is too far away.
    """
    reach = target - root
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)  # [F, 1]
    # never quite straight: a knee would snap
    d = np.clip(distance, abs(upper - lower) + 0.5, upper + lower - 0.5)
    along = (d**2 + upper**2 - lower**2) / (2 * d)  # cosine rule
    direction = reach / distance
    side = pole - direction * np.sum(pole * direction, axis=-1, keepdims=True)
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    middle = root + direction * along + side * np.sqrt(np.maximum(upper**2 - along**2, 0))
    return middle, root + direction * d


def inverse(R):
    """The inverse of rotations [..., 3, 3]: the transpose."""
    return np.swapaxes(R, -1, -2)


# ------------------------------------------------------------------------------------------------
# The whole body
# ------------------------------------------------------------------------------------------------
def gesture(who, mood, phrases, seconds, rng):
    """The body's movement to the phrases -> (Motion at FPS, answers).

    Frame n is at n / FPS seconds. mood, seconds: as for puppet_voice.script. answers: see
    puppet_gesture.Plan.
    """
    t = np.arange(int(np.ceil(seconds * FPS))) / FPS  # [F]
    planned = plan(who, mood, phrases, seconds, rng)
    hands = {side: smooth(follow(t, planned.hands[side.lower()])) for side, _ in SIDES}  # [F, 6]
    shrug = follow(t, planned.shrugs)[:, 0]  # [F]
    motion = resting(len(t))
    ankles, facing = move_hips(motion, planned, t, rng)
    facing = facing + move_trunk(motion, who, planned, shrug, t, rng)
    places = {
        side: wrist_path(hands[side], hands[other], sign, t, rng)
        for (side, sign), (other, _) in zip(SIDES, SIDES[::-1])
    }  # [F, 3] seen from the hips
    for side, sign in SIDES:
        move_shoulder(motion, side, sign, places[side], shrug)
    rotations, joints = motion.world()  # [F, J, 3, 3], [F, J, 3]; what follows moves none of them
    front = turn_about_y(np.radians(facing))  # [F, 3, 3]
    spine = joints[:, motion.names.index("Neck")] - joints[:, 0]  # [F, 3]
    leaning = spine * (1, 0, 1) / spine[:, 1:2]  # [F, 3] cm over the ground for each cm of height
    for side, sign in SIDES:
        wrist = joints[:, 0] + (front @ places[side][..., None])[..., 0]  # [F, 3]
        wrist += leaning * places[side][:, 1:2]  # hands go with the trunk that leans
        move_arm(motion, side, sign, wrist, hands[side][:, 3], rotations, joints)
        move_hand(motion, side, sign, places[side], hands[side])
        move_leg(motion, side, sign, *ankles[side], rotations, joints)
    return motion, planned.answers


def turn(motion, name, x=0.0, y=0.0, z=0.0):
    """Give a joint its rotation, in place: degrees [F] about Z first, then X, then Y."""
    angles = np.stack(np.broadcast_arrays(y, x, z, np.zeros(len(motion)))[:3], axis=-1)  # [F, 3]
    motion.rotations[:, motion.names.index(name)] = euler_to_matrix(np.radians(angles), "YXZ")


# ------------------------------------------------------------------------------------------------
# Hips and trunk
# ------------------------------------------------------------------------------------------------
def move_hips(motion, planned, t, rng):
    """Place and turn the hips over the feet, in place -> (ankles, facing [F] in degrees).

    ankles: {side: (places [F, 3], directions [F] in degrees, pitch [F] in degrees)}. The hips are
    as high as the nearly straight leg that bears the weight allows.
    """
    ankles, feet = {}, {}
    for side, _ in SIDES:
        path = follow(t, planned.feet[side.lower()])  # [F, 3]: x, z, direction
        lift, pitch = np.zeros(len(t)), np.zeros(len(t))
        for start, end, which in planned.steps:
            if which == side.lower():
                u = np.clip((t - start) / (end - start), 0, 1)
                lift += 5.5 * np.sin(np.pi * u) ** 2
                pitch += 24 * np.sin(np.pi * u) ** 2 * (1 - u)
        feet[side] = path
        ankles[side] = np.stack([path[:, 0], ANKLE + lift, path[:, 1]], axis=1), path[:, 2], pitch
    weight = smooth(follow(t, planned.weight))[:, 0]  # [F] -1 right .. 1 left
    left, right = feet["Left"], feet["Right"]
    share = 0.5 + 0.32 * weight  # of the way from the right foot to the left
    middle = right + share[:, None] * (left - right)  # [F, 3]
    facing = (left[:, 2] + right[:, 2]) / 2
    sway_x, sway_z = wander(t, rng, 7, 0.9), wander(t, rng, 9, 0.9)  # cm
    facing = facing + wander(t, rng, 8, 1.8)  # degrees
    turn(motion, "Hips", x=wander(t, rng, 9, 0.8), y=facing, z=3.2 * weight)
    R = motion.rotations[:, 0]  # [F, 3, 3]
    place = np.stack([middle[:, 0] + sway_x, np.zeros(len(t)), middle[:, 1] + 2.5 + sway_z], axis=1)
    allowed = []
    for side, sign in SIDES:
        hip = place + R @ np.array([sign * 9.0, -2.0, 0.0])  # [F, 3] with the hips at height 0
        across = np.square((hip - ankles[side][0])[:, [0, 2]]).sum(axis=1)  # [F]
        reach = np.sqrt(np.maximum((0.993 * (THIGH + SHIN)) ** 2 - across, 1))
        allowed.append(ankles[side][0][:, 1] + reach - hip[:, 1])
    place[:, 1] = -0.8 * np.logaddexp(-allowed[0] / 0.8, -allowed[1] / 0.8)  # a soft minimum
    motion.positions[:, 0] = place
    return ankles, facing


def move_trunk(motion, who, planned, shrug, t, rng):
    """Spine, neck and head, in place -> how far the chest is turned [F], degrees to the left.

    The trunk leans as the speaker does, as drawn for the phrase, and a little with each stroke; it
    balances the hips. The head looks somewhere else in each phrase, nods with the strokes, and
    tilts in a shrug.
    """
    nod = np.zeros(len(t))  # [F] degrees
    for s in [s for phrase in planned.phrases for s in phrase["stresses"]]:
        nod += s["loudness"] * np.exp(-0.5 * ((t - s["peak"] - 0.05) / 0.1) ** 2)
    lean, twist = smooth(follow(t, planned.trunk)).T  # [F] each, degrees
    gaze, tilt, down = smooth(follow(t, planned.head)).T
    weight = smooth(follow(t, planned.weight))[:, 0]
    breath = np.sin(2 * np.pi * (t / rng.uniform(3.2, 4.5) + rng.random()))
    bow = 0.5 * who.lean + lean + wander(t, rng, 8, 2.4) + 1.2 * nod + 0.5 * breath - 1.5 * shrug
    side = -2.2 * weight + wander(t, rng, 7, 3.2)
    twist = twist + wander(t, rng, 6, 1.5)
    for name in ("Spine", "Spine1", "Spine2"):
        turn(motion, name, x=bow / 3, y=twist / 3, z=side / 3)
    level = 0.5 * who.lean + lean  # the eyes stay level
    turn(motion, "Neck", x=0.5 * down - 0.4 * level + 3.5 * nod, y=0.4 * gaze, z=0.5 * tilt)
    turn(
        motion,
        "Head",
        x=0.7 * down - 0.4 * level + 7 * nod + wander(t, rng, 5, 6),
        y=0.6 * gaze - 0.5 * twist + wander(t, rng, 6, 6),
        z=0.8 * tilt - 0.5 * side + wander(t, rng, 7, 4),
    )
    return twist


# ------------------------------------------------------------------------------------------------
# Arms
# ------------------------------------------------------------------------------------------------
def wrist_path(hand, other, sign, t, rng):
    """Where the wrist should be, [F, 3] in cm, seen from the hips (x to the left, y up, z ahead).

    hand, other [F, 6]: the keys' values of this hand and of the other one. What one hand does, the
    other does too, very little; and no hand is ever quite still.
    """
    stray = np.stack([wander(t, rng, 3, 1.1), wander(t, rng, 4, 1.1), wander(t, rng, 3, 1.1)], 1)
    along = other[:, :3] - other[:, :3].mean(axis=0)
    place = hand[:, :3] + 0.06 * along + stray
    place = outside(place * (sign, 1, 1))
    return within_reach(place, np.array([sign * 17.0, 51.0, 1.0]))


def outside(place):
    """Wrist places [F, 3] pushed out of the trunk: an upright ellipse, with room for a hand."""
    half = np.array([22.0, 19.0])  # cm to the side, to the front
    x, y, z = place.T
    inside = np.sqrt((x / half[0]) ** 2 + (z / half[1]) ** 2)  # below 1: in the trunk
    push = np.maximum(inside, 1.0) / np.maximum(inside, 1e-6)
    return np.stack([x * push, y, z * push], axis=1)


def within_reach(place, shoulder):
    """Places [F, 3] drawn in softly to at most 51 cm from the shoulder: no elbow ever snaps."""
    away = place - shoulder
    distance = np.linalg.norm(away, axis=1, keepdims=True)  # [F, 1]
    soft = np.where(distance > 44, 44 + 7 * np.tanh((distance - 44) / 9), distance)
    return shoulder + away * soft / distance


def move_shoulder(motion, side, sign, place, shrug):
    """Raise the shoulder in a shrug and with a high hand, and bring it forward with the hand."""
    raised = 0.16 * np.maximum(0, place[:, 1] - 12) + 15 * shrug  # degrees
    forward = 0.22 * np.maximum(0, place[:, 2] - 15)
    turn(motion, side + "Shoulder", y=-sign * forward, z=sign * raised)


def move_arm(motion, side, sign, wrist, roll, rotations, joints):
    """Turn upper arm and forearm, in place, so that the wrist is at `wrist` [F, 3].

    roll [F]: of the palm, in degrees; half of it is the forearm's. rotations, joints: of the world,
    with the trunk as it will be.
    """
    own, elder = motion.names.index(side + "Arm"), motion.names.index(side + "Shoulder")
    chest, shoulder = rotations[:, motion.names.index("Spine2")], joints[:, own]
    pole = chest @ np.array([sign * 0.5, -0.8, -0.35])  # elbows point down, out and back
    elbow, wrist = two_bones(shoulder, wrist, pole, UPPER_ARM, FOREARM)
    # An arm bone rests along +-X. Its second axis is the elbow's hinge, the same for both bones.
    at_rest = look_along(np.array([[sign, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
    hinge = np.cross(wrist - shoulder, elbow - shoulder) * sign
    upper = look_along(elbow - shoulder, hinge) @ inverse(at_rest)
    lower = look_along(wrist - elbow, hinge) @ inverse(at_rest)
    twist = euler_to_matrix(np.radians(roll / 2)[:, None], "X")
    motion.rotations[:, own] = inverse(rotations[:, elder]) @ upper
    motion.rotations[:, motion.names.index(side + "ForeArm")] = inverse(upper) @ lower @ twist


def move_hand(motion, side, sign, place, hand):
    """Turn palm and fingers, in place. A hand that goes up hangs, one that goes down trails."""
    roll, curl, index = hand[:, 3], hand[:, 4], hand[:, 5]  # [F] degrees
    rising = np.gradient(place[:, 1]) * FPS  # [F] cm/s
    bend = 6 + 20 * np.tanh(smooth(rising[:, None])[:, 0] / 90)  # degrees towards the palm
    R = euler_to_matrix(np.radians(np.stack([roll / 2, -sign * bend], axis=-1)), "XZ")
    motion.rotations[:, motion.names.index(side + "Hand")] = R
    turn(motion, side + "HandMiddle1", z=-sign * curl)
    turn(motion, side + "HandIndex1", z=-sign * index)
    turn(motion, side + "HandThumb1", z=-sign * 0.4 * curl)


# ------------------------------------------------------------------------------------------------
# Legs
# ------------------------------------------------------------------------------------------------
def move_leg(motion, side, sign, ankle, direction, pitch, rotations, joints):
    """Turn thigh, shin and foot, in place, so that the ankle is at `ankle` [F, 3].

    direction, pitch [F]: of the foot, in degrees to the left and downwards. Feet stay where they
    stand; knees take up the sway.
    """
    upleg, leg, foot = (motion.names.index(side + name) for name in ("UpLeg", "Leg", "Foot"))
    hip, front = joints[:, upleg], turn_about_y(np.radians(direction))
    forward = front @ np.array([0.0, 0.0, 1.0])  # [F, 3]
    knee, ankle = two_bones(hip, ankle, forward, THIGH, SHIN)
    at_rest = look_along(np.array([[0.0, -1.0, 0.0]]), np.array([[0.0, 0.0, 1.0]]))
    thigh = look_along(knee - hip, forward) @ inverse(at_rest)
    shin = look_along(ankle - knee, forward) @ inverse(at_rest)
    motion.rotations[:, upleg] = inverse(rotations[:, 0]) @ thigh
    motion.rotations[:, leg] = inverse(thigh) @ shin
    flat = front @ euler_to_matrix(np.radians(pitch)[:, None], "X")
    motion.rotations[:, foot] = inverse(shin) @ flat
    turn(motion, side + "ToeBase", x=-0.6 * pitch)
