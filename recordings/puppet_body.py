"""The puppet's body: its skeleton, and its movement to what is said (`gesture`).

Reading order
    skeleton               joints and bones
    through, wander        smooth paths
    hand_plan              when a hand is lifted, and how far
    look_along, two_bones  inverse kinematics of a limb
    gesture                the whole body, from move_trunk, move_arm and move_leg

`who` is a recordings.puppet.Speaker, `phrases` are those of puppet_voice.script. Random numbers are
drawn in a fixed order: to reorder the draws would change every corpus.
"""

import numpy as np

from body.motion import Motion
from body.rotations import euler_to_matrix, turn_about_y

FPS = 30  # not the model's 20: the puppet is resampled as real recordings are
HALF_STROKE = 0.12  # s: a stroke takes 0.24 s, fastest half-way, which is on the stress
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
    ("UpLeg",    "Hips",     (9, -2, 0)),
    ("Leg",      "UpLeg",    (0, -42, 0)),
    ("Foot",     "Leg",      (0, -41, 0)),
    ("ToeBase",  "Foot",     (0, -6, 13)),
]
_ENDS = {
    "Head":         (0, 17, 1),
    "LeftHand":     (17, 0, 0),
    "RightHand":    (-17, 0, 0),
    "LeftToeBase":  (0, -1, 7),
    "RightToeBase": (0, -1, 7),
}
# fmt: on
UPPER_ARM, FOREARM, THIGH, SHIN = 28, 25, 42, 41  # cm, as in the table


def skeleton(arms=1.0, legs=1.0):
    """The puppet's (names [22], parents [22], offsets [22, 3] in cm).

    arms, legs: their lengths, times the usual ones.
    """
    rows = list(_CENTRE)
    rows[0] = ("Hips", None, (0, 93 - (THIGH + SHIN) * (1 - legs), 0))
    longer = dict(ForeArm=arms, Hand=arms, Leg=legs, Foot=legs)
    for side, sign in SIDES:
        for name, parent, (x, y, z) in _SIDE:
            parent = parent if parent in ("Spine2", "Hips") else side + parent
            offset = np.array([sign * x, y, z]) * longer.get(name, 1.0)
            rows.append((side + name, parent, tuple(offset)))
    names = [name for name, _, _ in rows]
    parents = [-1 if parent is None else names.index(parent) for _, parent, _ in rows]
    return names, np.array(parents), np.array([offset for _, _, offset in rows], float)


def resting(frames, arms, legs):
    """The body in its T-pose for so many frames -> Motion at FPS."""
    names, parents, offsets = skeleton(arms, legs)
    rotate = ("Zrotation", "Yrotation", "Xrotation")
    move = ("Xposition", "Yposition", "Zposition")
    channels = [move + rotate] + [rotate] * (len(names) - 1)
    ends = [(names.index(name), "", offset) for name, offset in _ENDS.items()]
    rotations = np.broadcast_to(np.eye(3), (frames, len(names), 3, 3)).copy()  # [F, J, 3, 3]
    positions = np.broadcast_to(offsets, (frames, len(names), 3)).copy()  # [F, J, 3]
    return Motion(names, parents, offsets, channels, ends, 1 / FPS, rotations, positions)


# ------------------------------------------------------------------------------------------------
# Smooth paths
# ------------------------------------------------------------------------------------------------
def through(times, keys):
    """A smooth path through keys [(time, value)], at `times` [F] -> [F] or [F, 3].

    Minimum jerk from each key to the next (Flash and Hogan 1985): as u goes from 0 to 1, the value
    goes as 10 u^3 - 15 u^4 + 6 u^5. It is at rest at both ends and fastest half-way.
    """
    key_times = np.array([time for time, _ in keys])
    values = np.array([value for _, value in keys], float)
    n = np.clip(np.searchsorted(key_times, times, side="right") - 1, 0, len(keys) - 2)
    u = np.clip((times - key_times[n]) / (key_times[n + 1] - key_times[n]), 0, 1)
    u = u**3 * (10 - 15 * u + 6 * u**2)
    u = u.reshape(u.shape + (1,) * (values.ndim - 1))
    return values[n] + u * (values[n + 1] - values[n])


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
# When a hand is lifted
# ------------------------------------------------------------------------------------------------
def hand_plan(phrases, side, size, seconds):
    """When the `side` hand is lifted and how far -> (raised, lift), lists of (time, value).

    raised: from 0, at rest, to 1, in gesture space. lift: cm above that; `size` is a full stroke.

    In a phrase of its own the hand first comes up to gesture space, in 0.35 s. Then for each
    stress: up within 0.45 s (preparation), down in 0.24 s with the fastest moment on the stress
    (stroke). After the phrase it retracts in 1.1 s, slowly enough not to look like a stroke.
    """
    raised, lift = [(-1.0, 0.0)], [(-1.0, 0.0)]
    for n, phrase in enumerate(phrases):
        stresses = [s for s in phrase["syllables"] if s["stressed"]]
        if phrase["hand"] != side or not stresses:
            continue
        first_top = stresses[0]["peak"] - HALF_STROKE
        raised += [(first_top - 0.6, raised[-1][1]), (first_top - 0.25, 1.0)]
        free = lift[-1][0]  # the hand is busy until then
        for m, s in enumerate(stresses):
            top, bottom = s["peak"] - HALF_STROKE, s["peak"] + HALF_STROKE
            height = size * s["loudness"]
            begin = max(free, top - (0.3 if m == 0 else 0.45))
            up = max(top - 0.02, begin + 0.1)
            lift += [(begin, lift[-1][1]), (up, height), (top, height), (bottom, 0.0)]
            free = bottom
        last = n + 1 == len(phrases)
        after = seconds if last else phrases[n + 1]["start"]
        leave = max(phrase["end"], free + 0.1)
        goes_on = not last and phrases[n + 1]["hand"] == side
        if not (goes_on and after - leave < 1.0):  # no rest between two close phrases
            raised += [(leave, 1.0), (leave + 1.1, 0.0)]
            lift += [(leave, 0.0)]
    return rising(raised, seconds), rising(lift, seconds)


def rising(keys, seconds):
    """Keys whose times rise: where a plan overlaps itself, the later intention wins."""
    kept = []
    for key in keys + [(seconds + 5.0, keys[-1][1])]:
        while kept and key[0] <= kept[-1][0] + 1e-3:
            kept.pop()
        kept.append(key)
    return kept


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
def gesture(who, mood, phrases, seconds, rng, arms=1.0, legs=1.0):
    """The body's movement to the phrases -> Motion at FPS, frame n at n / FPS seconds.

    mood, seconds: as for puppet_voice.script. arms, legs: as for `skeleton`.
    """
    t = np.arange(int(np.ceil(seconds * FPS))) / FPS  # [F]
    size = who.stroke * (1.15 if mood == "lively" else 1.0)
    raised, lift = {}, {}
    for side, _ in SIDES:
        raised_keys, lift_keys = hand_plan(phrases, side.lower(), size, seconds)
        raised[side], lift[side] = through(t, raised_keys), through(t, lift_keys)  # [F] each
    motion = resting(len(t), arms, legs)
    towards = raised["Left"] - raised["Right"]  # [F] from -1, right, to 1, left
    facing = move_trunk(motion, who, phrases, towards, t, rng)
    rotations, places = (
        motion.world()
    )  # [F, J, 3, 3], [F, J, 3] of the trunk, which arms don't move
    for side, sign in SIDES:
        seen = wrist_path(who, sign, raised[side], lift[side], t, rng)
        wrist = places[:, 0] + (turn_about_y(np.radians(facing)) @ seen[..., None])[..., 0]
        move_arm(motion, side, sign, wrist, rotations, places, arms)
        palm = np.radians((sign * (10 * raised[side] - 20))[:, None])  # palms turn up a little
        motion.rotations[:, motion.names.index(side + "Hand")] = euler_to_matrix(palm, "X")
        move_leg(motion, side, sign, rotations, places, legs)
    return motion


def move_trunk(motion, who, phrases, towards, t, rng):
    """Trunk and head, in place -> the way the upper body faces [F], degrees from +Z to +X.

    Sway, the speaker's lean, a turn towards the hand that speaks, and a nod with each stroke. The
    weight goes to the side of that hand: one sees by the whole body which hand it will be.
    """
    nod = np.zeros(len(t))  # [F] degrees
    for s in [s for p in phrases for s in p["syllables"] if s["stressed"]]:
        nod += 9 * s["loudness"] * np.exp(-0.5 * ((t - s["peak"] - 0.05) / 0.1) ** 2)
    sway_x = wander(t, rng, 7, 1.0) + 3.5 * towards  # cm
    sway_z = wander(t, rng, 9, 0.8)
    turn = wander(t, rng, 8, 1.5) - 5 * towards  # degrees
    breath = np.sin(2 * np.pi * (t / rng.uniform(3.2, 4.5) + rng.random()))
    motion.positions[:, 0] += np.stack([sway_x, -0.3 + 0.15 * breath, sway_z], axis=-1)

    nothing, spine_x = np.zeros(len(t)), who.lean / 3 + 0.12 * nod + 0.3 * breath
    spine = (spine_x, 3 * towards, 0.4 * sway_x)
    degrees = {  # about X (forward), Y (left), Z
        "Hips": (nothing, turn, -0.6 * sway_x),
        "Spine": spine,
        "Spine1": spine,
        "Spine2": spine,
        "Neck": (-0.4 * who.lean + 0.4 * nod, nothing, nothing),
        "Head": (
            -0.4 * who.lean + 0.6 * nod + wander(t, rng, 5, 1.5),
            -4 * towards + wander(t, rng, 6, 4),
            wander(t, rng, 7, 1.5),
        ),
    }
    for name, (x, y, z) in degrees.items():
        R = euler_to_matrix(np.radians(np.stack([y, x, z], axis=-1)), "YXZ")  # [F, 3, 3]
        motion.rotations[:, motion.names.index(name)] = R
    return turn + 6 * towards


def wrist_path(who, sign, raised, lift, t, rng):
    """Where the wrist should be, [F, 3] in cm, seen from the hips: rest, gesture space, strokes."""
    stray = [wander(t, rng, 3, 1.0), wander(t, rng, 4, 1.0), wander(t, rng, 3, 1.0)]
    rest = np.array([sign * who.spread, 2.0, 14.0])
    space = np.array([sign * (who.spread + 2.0), 20.0, 30.0])
    up = np.array([sign * 0.25, 1.0, 0.1])  # up and out
    moved = rest + raised[:, None] * (space - rest) + lift[:, None] * up
    return moved + np.stack(stray, axis=-1)


def move_arm(motion, side, sign, wrist, rotations, places, arms):
    """Turn upper arm and forearm, in place, so that the wrist is at `wrist` [F, 3].

    rotations, places: of all joints in the world, with the trunk as it will be.
    """
    own, elder = motion.names.index(side + "Arm"), motion.names.index(side + "Shoulder")
    chest, shoulder = rotations[:, motion.names.index("Spine2")], places[:, own]
    pole = chest @ np.array([sign * 0.7, -0.6, -0.5])  # elbows point out, down and back
    elbow, wrist = two_bones(shoulder, wrist, pole, UPPER_ARM * arms, FOREARM * arms)
    # An arm bone rests along +-X. Its second axis is the elbow's hinge, the same for both bones.
    at_rest = look_along(np.array([[sign, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
    hinge = np.cross(wrist - shoulder, elbow - shoulder) * sign
    upper = look_along(elbow - shoulder, hinge) @ inverse(at_rest)
    lower = look_along(wrist - elbow, hinge) @ inverse(at_rest)
    motion.rotations[:, own] = inverse(rotations[:, elder]) @ upper
    motion.rotations[:, motion.names.index(side + "ForeArm")] = inverse(upper) @ lower


def move_leg(motion, side, sign, rotations, places, legs):
    """Turn thigh, shin and foot, in place: feet stay where they stand, knees take up the sway."""
    upleg, leg, foot = (motion.names.index(side + name) for name in ("UpLeg", "Leg", "Foot"))
    F = len(motion)
    hip, ankle = places[:, upleg], np.tile([sign * 12.0, 9.0, -2.0], (F, 1))
    pole = np.tile([sign * 0.15, 0.0, 1.0], (F, 1))
    knee, ankle = two_bones(hip, ankle, pole, THIGH * legs, SHIN * legs)
    forward = np.tile([sign * 0.2, 0.0, 1.0], (F, 1))
    at_rest = look_along(np.array([[0.0, -1.0, 0.0]]), np.array([[0.0, 0.0, 1.0]]))
    thigh = look_along(knee - hip, forward) @ inverse(at_rest)
    shin = look_along(ankle - knee, forward) @ inverse(at_rest)
    motion.rotations[:, upleg] = inverse(rotations[:, 0]) @ thigh
    motion.rotations[:, leg] = inverse(thigh) @ shin
    motion.rotations[:, foot] = inverse(shin) @ turn_about_y(np.full(F, sign * 0.2))
