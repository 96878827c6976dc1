"""Takes as ZEGGS, BEAT and Trinity have them: their joints, channels, rates and names, in small."""

from dataclasses import replace

import numpy as np
import soundfile

from body.bvh import write_bvh
from body.joints import side_and_stem
from body.motion import Motion
from body.rotations import exp_to_matrix

FINGERS = [f"{f}{n}" for f in ("Thumb", "Index", "Middle", "Ring", "Pinky") for n in (1, 2, 3, 4)]
TRUNK = [
    ("Hips", ""),
    ("Spine", "Hips"),
    ("Spine1", "Spine"),
    ("Spine2", "Spine1"),
    ("Spine3", "Spine2"),
    ("Neck", "Spine3"),
    ("Neck1", "Neck"),
    ("Head", "Neck1"),
    ("HeadEnd", "Head"),
]


def chain(side, *parts):
    """(name, parent) of joints of one side that hang on each other; the first part is a parent."""
    names = [parts[0], *(side + part for part in parts[1:])]
    return list(zip(names[1:], names))


def zeggs_rows():
    """(name, parent) of the 75 joints of ZEGGS in file order."""
    rows = list(TRUNK)
    for s in ("Right", "Left"):
        rows += chain(s, "Spine3", "Shoulder", "Arm", "ForeArm", "Hand")
        for f in FINGERS:
            before = "" if f.endswith("1") else f"{f[:-1]}{int(f[-1]) - 1}"
            rows.append((f"{s}Hand{f}", f"{s}Hand{before}"))
        rows += [(f"{s}ForeArmEnd", f"{s}Hand"), (f"{s}ArmEnd", f"{s}ForeArm")]
    for s in ("Right", "Left"):
        rows += chain(s, "Hips", "UpLeg", "Leg", "Foot", "ToeBase", "ToeBaseEnd")
        rows += [(f"{s}LegEnd", f"{s}Foot"), (f"{s}UpLegEnd", f"{s}Leg")]
    return rows


def beat_rows():
    """(name, parent) of the 75 joints of BEAT."""
    rows = list(TRUNK)
    for s in ("Right", "Left"):
        hand = f"{s}Hand"
        rows += chain(s, "Spine3", "Shoulder", "Arm", "ForeArm", "Hand")
        rows += chain(hand, hand, *(f"Middle{n}" for n in (1, 2, 3, 4)))
        for finger, on in (("Ring", hand), ("Pinky", f"{hand}Ring"), ("Index", hand)):
            rows += chain(hand, on, finger, *(f"{finger}{n}" for n in (1, 2, 3, 4)))
        rows += chain(hand, f"{hand}Index", *(f"Thumb{n}" for n in (1, 2, 3, 4)))
    for s in ("Right", "Left"):
        rows += chain(s, "Hips", "UpLeg", "Leg", "Foot", "ForeFoot", "ToeBase", "ToeBaseEnd")
    return rows


def trinity_rows():
    """(name, parent) of the joints of Trinity that the authors keep."""
    limbs = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
    keep = {"Hips", "Spine", "Spine1", "Spine2", "Spine3", "Neck", "Head"}
    keep |= {side + part for side in ("Left", "Right") for part in limbs}
    return [(n, "Neck" if n == "Head" else p) for n, p in zeggs_rows() if n in keep]


PLACES = dict(  # of joints in their parents' frames, cm; (3, 0, 0) where nothing is said
    hips=(0, 93, 0),
    spine=(0, 10, 0),
    spine1=(0, 10, 0),
    spine2=(0, 10, 0),
    spine3=(0, 10, 0),
    neck=(0, 14, 0),
    neck1=(0, 5, 0),
    head=(0, 6, 1),
    headend=(0, 16, 0),
    shoulder=(3, 11, 0),
    arm=(14, 0, 0),
    forearm=(27, 0, 0),
    hand=(25, 0, 0),
    upleg=(9, -2, 0),
    leg=(0, -42, 0),
    foot=(0, -42, 0),
    toebase=(0, -5, 12),
    forefoot=(0, -2, 5),
    toebaseend=(0, 0, 5),
    legend=(0, -4, 0),
    uplegend=(0, -4, 0),
)
# rows, Frame Time as files say it, rotation order, positions on every joint?, sound's rate
CORPORA = {
    "zeggs": (zeggs_rows, "0.016667", "ZYX", True, 48_000),
    "beat": (beat_rows, "0.008333", "XYZ", False, 16_000),
    "trinity": (trinity_rows, "0.016667", "ZXY", False, 44_100),
}


def body(corpus, seconds=4.0, seed=0, size=1.0, frame_time=None, still=("End", "4")):
    """A talking body: the arms beat, all joints sway but those whose names end in `still`."""
    rows, time, order, everywhere, _ = CORPORA[corpus]
    rows, time = rows(), frame_time or time
    names = [n for n, _ in rows]
    parents = np.array([names.index(p) if p else -1 for _, p in rows])
    offsets = [PLACES.get(side_and_stem(n)[1], (3, 0, 0)) for n in names]
    offsets = np.array(offsets, float) * size  # [J, 3]
    offsets[[n.startswith("Right") for n in names], 0] *= -1
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds / float(time))) * float(time)  # [F]
    phase, speed = rng.uniform(0, 6, (2, len(names), 3))
    w = 0.1 * np.sin(phase + (0.5 + speed / 3) * t[:, None, None])  # [F, J, 3]
    for side, sign in (("Left", 1), ("Right", -1)):
        w[:, names.index(side + "Arm"), 2] += sign * (-1.0 + 0.4 * np.sin(7 * t + sign))
    w[:, [n.endswith(still) for n in names]] = 0
    positions = np.tile(offsets, (len(t), 1, 1))  # [F, J, 3]
    positions[:, 0, :2] += size * np.stack([2 * np.sin(t + seed), np.sin(2 * t)], axis=1)
    xyz, turns = ("Xposition", "Yposition", "Zposition"), tuple(f"{a}rotation" for a in order)
    channels = [(xyz if everywhere or j == 0 else ()) + turns for j in range(len(names))]
    ends = [(j, "", (0.0, 3.0 * size, 0.0)) for j in range(len(names)) if j not in parents]
    rotations = exp_to_matrix(w)
    return Motion(names, parents, offsets, channels, ends, float(time), rotations, positions)


LEGS = ("upleg", "leg", "foot", "toe", "thigh", "calf")


def without_legs(motion):
    """The same body without all that hangs below the hips."""
    kept, names = [], motion.names
    for j, parent in enumerate(motion.parents):
        if (parent < 0 or parent in kept) and not side_and_stem(names[j])[1].startswith(LEGS):
            kept.append(j)
    parents = [kept.index(p) if p >= 0 else -1 for p in motion.parents[kept]]
    ends = [(kept.index(j), name, place) for j, name, place in motion.end_sites if j in kept]
    return replace(
        motion,
        names=[names[j] for j in kept],
        parents=np.array(parents),
        offsets=motion.offsets[kept],
        channels=[motion.channels[j] for j in kept],
        end_sites=ends,
        rotations=motion.rotations[:, kept],
        positions=motion.positions[:, kept],
    )


def write_take(folder, stem, corpus, seconds=4.0, sound=None, legs=True, **more):
    """A pair in `folder`; the sound goes to the folder `sound` if given."""
    sound = sound or folder
    folder.mkdir(parents=True, exist_ok=True)
    sound.mkdir(parents=True, exist_ok=True)
    motion = body(corpus, seconds, **more)
    write_bvh(folder / f"{stem}.bvh", motion if legs else without_legs(motion))
    rate = CORPORA[corpus][4]
    t = np.arange(int(seconds * rate)) / rate
    rng = np.random.default_rng(more.get("seed", 0))
    wave = 0.3 * np.sin(700 * t) * (np.sin(7 * t) > 0) + 0.003 * rng.normal(size=len(t))
    soundfile.write(sound / f"{stem}.wav", wave, rate)


def touch(root, *names):
    """Empty files, for what looks at names only."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
