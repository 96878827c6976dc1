"""The talking puppet: a corpus with known answers.

Real corpora need a licence form or 100 GB of disk, and nobody knows the right gesture for a sentence. The puppet
talks nonsense and gestures by rules that we wrote, so that one can measure whether a model has found them:

    * one hand beats on each stressed syllable, harder when it is louder: preparation, stroke, retraction;
    * which hand, is drawn anew each phrase, and the body leans to its side: one speech, many right answers;
    * posture and size of gesture belong to the speaker, and can be heard: low voices gesture large, and the longer
      the vocal tract (the lower the formants) the wider the hands are held;
    * the head nods with the strokes; hands rest in pauses; the body sways slowly, and no speech explains that.

It writes ordinary .wav and .bvh files, so the demo runs the code that real recordings run, with a .json of the
answers beside each:   python puppet.py --out corpora/puppet

Reading order: who speaks -> what is said and when -> how it sounds -> how the body moves -> the corpus on disk.
Seconds, centimetres, degrees (BVH's unit) throughout. The puppet faces +Z, Y is up, its left hand is at +X.
"""
import json
import os
import shutil
import wave
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from motion import Motion, euler_to_matrix, turn_about_y, write_bvh, written_beside

SAMPLE_RATE = 16_000
FPS = 30                 # not the model's 20, so that the demo resamples as it would with real data
SPEAKERS = 6


# ------------------------------------------------------------------------------------------------
# 1. Who speaks
# ------------------------------------------------------------------------------------------------
@dataclass
class Speaker:
    """A voice, and the manner of gesturing that goes with it."""
    number: int
    pitch: float         # Hz, the average of the voice
    tract: float         # length of the vocal tract; formants are divided by it
    tempo: float         # syllables a second
    stroke: float        # cm that a full stroke falls
    spread: float        # cm from the body's middle plane to a resting hand
    lean: float          # degrees forward


def speaker(number):
    """Speaker `number`, any whole number: spread over the voices by the golden ratio, so that few are well apart."""
    low_voice = (0.5 + number * 0.6180339887) % 1                # 0 high .. 1 low
    long_tract = (0.2 + number * 0.7548776662) % 1               # 0 short .. 1 long, independent of the pitch
    return Speaker(number, pitch=240 * (95 / 240) ** low_voice, tract=0.85 + 0.35 * long_tract, tempo=4.2 + 1.2 * ((number * 0.43) % 1),
                   stroke=15 + 13 * low_voice, spread=11 + 20 * long_tract, lean=2 + 8 * ((0.7 + number * 0.38) % 1))


# ------------------------------------------------------------------------------------------------
# 2. What is said, and when
# ------------------------------------------------------------------------------------------------
def script(who, mood, seconds, rng):
    """Phrases and pauses that fill `seconds`: a list of {start, end, hand, syllables}, with times in seconds.

    A syllable is {start, duration, peak, loudness, pitch, vowel, stressed}; peak is where its vowel is loudest.
    Stresses are at least 0.55 s apart: an arm needs that for a preparation and a stroke, and so do real speakers,
    whose strokes come one to two a second.
    """
    lively = mood == "lively"
    phrases, t = [], rng.uniform(0.6, 1.4)
    while True:
        length = rng.uniform(1.8, 4.5)
        if t + length > seconds - 0.8:
            if phrases or t > seconds - 1.4:
                return phrases
            length = seconds - 0.8 - t               # a short take still says something
        syllables, start, next_stress = [], t, t + rng.uniform(0.15, 0.5)
        while t < start + length:
            stressed = t >= next_stress
            duration = (1.25 if stressed else 0.95) / (who.tempo * (1.1 if lively else 0.95)) * rng.uniform(0.85, 1.2)
            loudness = rng.uniform(0.55, 1.0) if stressed else rng.uniform(0.2, 0.38)
            along = (t - start) / length
            pitch = who.pitch * (1.12 - 0.25 * along) * (rng.uniform(1.15, 1.3) if stressed else rng.uniform(0.95, 1.05))
            syllables.append(dict(start=t, duration=duration, peak=t + 0.07, loudness=loudness * (1.15 if lively else 0.85),
                                  pitch=pitch * (1.08 if lively else 0.97), vowel=int(rng.integers(len(VOWELS))), stressed=stressed))
            if stressed:
                next_stress = syllables[-1]["peak"] + rng.uniform(0.5, 1.25 if lively else 1.6)
            t += duration
        phrases.append(dict(start=start, end=t, hand=("left", "right")[int(rng.integers(2))], syllables=syllables))
        t += rng.uniform(0.35, 0.9) if rng.random() < 0.55 else rng.uniform(1.9, 3.0)


# ------------------------------------------------------------------------------------------------
# 3. How it sounds: a pulse of air, shaped by formants
# ------------------------------------------------------------------------------------------------
VOWELS = [(700, 1220, 2600), (530, 1840, 2480), (390, 1990, 2550), (570, 840, 2410), (440, 1020, 2240), (640, 1190, 2390)]
# Hz: the first three formants. All but the first (an open vowel of our own) are those of the men of Peterson & Barney
# 1952 in head, hid, hawed, hood, hud.


def speak(who, phrases, seconds, rng):
    """The waveform of the phrases [samples], float, in a room: the source-filter model of speech.

    Each opening of the glottis is a pulse; a vowel is what the mouth makes of one pulse, a sum of damped
    sinusoids at the formants; consonants are short noises. Room, noise, microphone and gain differ by take, so
    that a model cannot rely on any of them.
    """
    samples = int(round(seconds * SAMPLE_RATE))
    out = np.zeros(samples + SAMPLE_RATE)                        # a second of margin for what rings on
    tail = np.arange(int(0.025 * SAMPLE_RATE)) / SAMPLE_RATE     # a pulse has died away after 25 ms
    responses = [sum(gain * np.exp(-np.pi * width * tail) * np.sin(2 * np.pi * formant / who.tract * tail)
                     for formant, gain, width in zip(vowel, (1.0, 0.5, 0.2), (80, 110, 160))) for vowel in VOWELS]
    # The glottis closes softly: its pulses lose 6 dB an octave above some 600 Hz, and with them all voiced sound.
    soft = 1 / (1 + 1j * np.fft.rfftfreq(len(tail), 1 / SAMPLE_RATE) / 600)
    responses = [np.fft.irfft(np.fft.rfft(response) * soft, len(tail)) for response in responses]
    for phrase in phrases:
        for s in phrase["syllables"]:
            # Pulses where the running phase of the (falling) pitch passes a whole number.
            voiced = s["start"] + 0.03 + np.arange(0, s["duration"] - 0.03, 1 / SAMPLE_RATE)
            u = (voiced - voiced[0]) / (s["duration"] - 0.03)    # 0..1 along the vowel
            phase = np.cumsum(s["pitch"] * (1.05 - 0.1 * u) / SAMPLE_RATE)
            pulses = np.flatnonzero(np.diff(np.floor(phase), prepend=0))
            rise = np.minimum(1, (voiced - voiced[0]) / (s["peak"] - voiced[0]))
            swell = s["loudness"] * rise * np.minimum(1, np.exp(-(voiced - s["peak"]) / 0.12))
            at = (voiced[pulses] * SAMPLE_RATE).astype(int)[:, None] + np.arange(len(tail))  # [pulses, tail]
            shape = swell[pulses, None] * rng.uniform(0.95, 1.05, (len(pulses), 1)) * responses[s["vowel"]]
            np.add.at(out, at.ravel(), shape.ravel())
            if rng.random() < 0.8:                               # a consonant before most vowels
                first, n = int(s["start"] * SAMPLE_RATE), int(rng.uniform(0.03, 0.06) * SAMPLE_RATE)
                hiss = np.diff(rng.standard_normal(n + 1)) * np.hanning(n)
                out[first:first + n] += 0.1 * s["loudness"] * rng.uniform(0.3, 1) * hiss
    # The room: reverberation, then a tilted spectrum (microphone), all by one multiplication of spectra.
    decay = rng.uniform(0.03, 0.12)
    room = rng.standard_normal(int(0.4 * SAMPLE_RATE)) * np.exp(-np.arange(int(0.4 * SAMPLE_RATE)) / SAMPLE_RATE / decay)
    room *= rng.uniform(0.0, 0.4) / np.linalg.norm(room)
    room[0] += 1
    size = 1 << (len(out) + len(room)).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(frequency, 50) / 1000)
    microphone = 10 ** ((rng.uniform(-2, 1) * octaves + rng.uniform(-2.5, 2.5) * np.sin(2 * np.pi * (octaves / rng.uniform(2, 5) + rng.random()))) / 20)
    dry = np.fft.rfft(out, size) * np.fft.rfft(room, size) * microphone
    speech = np.fft.irfft(dry, size)[:samples]
    loud = np.sqrt(np.mean(speech ** 2))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * np.maximum(frequency, 40) ** rng.uniform(-0.8, -0.2), size)[:samples]
    noise *= loud * 10 ** (-rng.uniform(18, 45) / 20) / np.sqrt(np.mean(noise ** 2))         # 18 to 45 dB below
    return (speech + noise) / np.abs(speech + noise).max() * 10 ** (-rng.uniform(1, 20) / 20)


# ------------------------------------------------------------------------------------------------
# 4. How the body moves
# ------------------------------------------------------------------------------------------------
# name, parent, offset in cm at rest (a T-pose, 1.7 m tall), names as in ZEGGS and BEAT
_CENTRE = [("Hips", None, (0, 93, 0)), ("Spine", "Hips", (0, 10, -1)), ("Spine1", "Spine", (0, 14, -1)), ("Spine2", "Spine1", (0, 14, 0)),
           ("Neck", "Spine2", (0, 16, 1)), ("Head", "Neck", (0, 9, 2))]
_SIDE = [("Shoulder", "Spine2", (4, 11, 2)), ("Arm", "Shoulder", (13, 1, -2)), ("ForeArm", "Arm", (28, 0, 0)), ("Hand", "ForeArm", (25, 0, 0)),
         ("UpLeg", "Hips", (9, -2, 0)), ("Leg", "UpLeg", (0, -42, 0)), ("Foot", "Leg", (0, -41, 0)), ("ToeBase", "Foot", (0, -6, 13))]
_ENDS = {"Head": (0, 17, 1), "LeftHand": (17, 0, 0), "RightHand": (-17, 0, 0), "LeftToeBase": (0, -1, 7), "RightToeBase": (0, -1, 7)}


def skeleton(arms=1.0, legs=1.0):
    """The puppet's (names [22], parents [22], offsets [22, 3]); arms and legs that many times as long as the usual ones."""
    rows = list(_CENTRE)
    rows[0] = ("Hips", None, (0, 93 - 83 * (1 - legs), 0))       # thigh and shin are 83 cm
    longer = dict(ForeArm=arms, Hand=arms, Leg=legs, Foot=legs)
    for side, sign in (("Left", 1), ("Right", -1)):
        rows += [(side + name, parent if parent in ("Spine2", "Hips") else side + parent, tuple(np.array([sign * x, y, z]) * longer.get(name, 1.0)))
                 for name, parent, (x, y, z) in _SIDE]
    names = [name for name, _, _ in rows]
    return names, np.array([-1 if parent is None else names.index(parent) for _, parent, _ in rows]), np.array([o for _, _, o in rows], float)


def through(times, keys):
    """A smooth path through keys [(time, value)]: minimum jerk (Flash & Hogan 1985) from each to the next.

    Between two keys u goes 0..1 as 10 u^3 - 15 u^4 + 6 u^5: at rest at both ends, fastest half-way. -> [F] or [F, 3]
    """
    key_times = np.array([time for time, _ in keys])
    values = np.array([value for _, value in keys], float)
    n = np.clip(np.searchsorted(key_times, times, side="right") - 1, 0, len(keys) - 2)
    u = np.clip((times - key_times[n]) / (key_times[n + 1] - key_times[n]), 0, 1)
    u = u ** 3 * (10 - 15 * u + 6 * u ** 2)
    u = u.reshape(u.shape + (1,) * (values.ndim - 1))
    return values[n] + u * (values[n + 1] - values[n])


def wander(times, rng, period, size):
    """Slow movement without a reason: four sinusoids with periods of about `period` seconds, deviation `size` -> [F]."""
    waves = [np.sin(2 * np.pi * (times / (period * rng.uniform(0.6, 1.8)) + rng.random())) for _ in range(4)]
    return size * sum(waves) / np.sqrt(2)


HALF_STROKE = 0.12       # s: a stroke takes 0.24 s, fastest half-way, which is on the stress


def hand_plan(phrases, side, size, seconds):
    """When a hand is lifted and how far: keys of (raised 0..1: rest to gesture space, lift in cm above it).

    In a phrase of its own the hand first comes up to gesture space, in 0.35 s. Then for each stress: up within 0.45 s
    (preparation), down in 0.24 s with the fastest moment on the stress (stroke). After the phrase it retracts in 1.1 s,
    slowly enough not to look like a stroke.
    """
    raised, lift = [(-1.0, 0.0)], [(-1.0, 0.0)]
    for n, phrase in enumerate(phrases):
        peaks = [s for s in phrase["syllables"] if s["stressed"]]
        if phrase["hand"] != side or not peaks:
            continue
        free = lift[-1][0]                                       # the hand is busy until then
        for m, s in enumerate(peaks):
            top, bottom = s["peak"] - HALF_STROKE, s["peak"] + HALF_STROKE
            begin = max(free, top - (0.3 if m == 0 else 0.45))
            lift += [(begin, lift[-1][1]), (max(top - 0.02, begin + 0.1), size * s["loudness"]), (top, size * s["loudness"]), (bottom, 0.0)]
            if m == 0:
                raised += [(top - 0.6, raised[-1][1]), (top - 0.25, 1.0)]
            free = bottom
        after = phrases[n + 1]["start"] if n + 1 < len(phrases) else seconds
        leave = max(phrase["end"], free + 0.1)
        mine_next = n + 1 < len(phrases) and phrases[n + 1]["hand"] == side
        if not (mine_next and after - leave < 1.0):              # no rest between two phrases that follow closely
            raised += [(leave, 1.0), (leave + 1.1, 0.0)]
            lift += [(leave, 0.0)]
    # keys must rise in time: where a plan overlaps itself, the later intention wins
    def rising(keys):
        kept = []
        for key in keys + [(seconds + 5.0, keys[-1][1])]:
            while kept and key[0] <= kept[-1][0] + 1e-3:
                kept.pop()
            kept.append(key)
        return kept

    return rising(raised), rising(lift)


def look(x, y):
    """Rotation matrices [F, 3, 3] whose first axis is along x [F, 3] and whose second is as near to y [F, 3] as it can be."""
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    z = np.cross(x, y)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def two_bones(root, target, pole, upper, lower):
    """Two-bone inverse kinematics: the middle joint [F, 3], on pole's side, for a limb from root to target [F, 3]."""
    reach = target - root
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)                 # [F, 1]
    d = np.clip(distance, abs(upper - lower) + 0.5, upper + lower - 0.5)     # never quite straight: knees would snap
    along = (d ** 2 + upper ** 2 - lower ** 2) / (2 * d)                     # cosine rule
    direction = reach / distance
    side = pole - direction * np.sum(pole * direction, axis=-1, keepdims=True)
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    return root + direction * along + side * np.sqrt(np.maximum(upper ** 2 - along ** 2, 0)), root + direction * d


def gesture(who, mood, phrases, seconds, rng, arms=1.0, legs=1.0):
    """The body's movement to the phrases -> Motion at FPS, frame n at n / FPS seconds. arms, legs: as for skeleton."""
    names, parents, offsets = skeleton(arms, legs)
    index = {name: j for j, name in enumerate(names)}
    t = np.arange(int(np.ceil(seconds * FPS))) / FPS
    F = len(t)
    lively = mood == "lively"
    size = who.stroke * (1.15 if lively else 1.0)
    plans = {side: hand_plan(phrases, side, size, seconds) for side in ("left", "right")}
    raised = {side: through(t, plans[side][0]) for side in plans}            # [F] each
    lift = {side: through(t, plans[side][1]) for side in plans}

    # Trunk and head: sway, the speaker's lean, a turn towards the hand that speaks, a nod with each stroke.
    stresses = [s for p in phrases for s in p["syllables"] if s["stressed"]]
    nod = np.zeros(F)
    for s in stresses:
        nod += 9 * s["loudness"] * np.exp(-0.5 * ((t - s["peak"] - 0.05) / 0.1) ** 2)
    towards = raised["left"] - raised["right"]
    # The weight goes to the side of the hand that speaks: one sees with the whole body which one it will be.
    sway_x, sway_z, turn = wander(t, rng, 7, 1.0) + 3.5 * towards, wander(t, rng, 9, 0.8), wander(t, rng, 8, 1.5) - 5 * towards
    breath = np.sin(2 * np.pi * (t / rng.uniform(3.2, 4.5) + rng.random()))
    degrees = {name: np.zeros((F, 3)) for name in ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")}   # X (forward), Y (left), Z
    degrees["Hips"][:, 1], degrees["Hips"][:, 2] = turn, -0.6 * sway_x
    for name in ("Spine", "Spine1", "Spine2"):
        degrees[name][:, 0] = who.lean / 3 + 0.12 * nod + 0.3 * breath
        degrees[name][:, 1] = 3 * towards
        degrees[name][:, 2] = 0.4 * sway_x
    degrees["Neck"][:, 0] = -0.4 * who.lean + 0.4 * nod
    degrees["Head"][:, 0] = -0.4 * who.lean + 0.6 * nod + wander(t, rng, 5, 1.5)
    degrees["Head"][:, 1] = -4 * towards + wander(t, rng, 6, 4)
    degrees["Head"][:, 2] = wander(t, rng, 7, 1.5)

    local = np.broadcast_to(np.eye(3), (F, len(names), 3, 3)).copy()         # [F, J, 3, 3]
    for name, angles in degrees.items():
        local[:, index[name]] = euler_to_matrix(np.radians(angles[:, [1, 0, 2]]), "YXZ")
    positions = np.broadcast_to(offsets, (F, len(names), 3)).copy()          # [F, J, 3]
    positions[:, 0] += np.stack([sway_x, -0.3 + 0.15 * breath, sway_z], axis=-1)
    motion = Motion(names, parents, offsets, [("Xposition", "Yposition", "Zposition") * (j == 0) + ("Zrotation", "Yrotation", "Xrotation")
                                              for j in range(len(names))],
                    [(index[name], "", offset) for name, offset in _ENDS.items()], 1 / FPS, local, positions)
    for side, sign in (("Left", 1), ("Right", -1)):
        R, p = motion.world()                                    # of trunk and legs as they are so far
        own = index[side + "Arm"]
        chest, shoulder = R[:, index["Spine2"]], p[:, own]
        hand = side.lower()
        # Where the wrist should be, in cm seen from the hips: rest, gesture space, and up and out of it by the lift.
        stray = np.stack([wander(t, rng, 3, 1.0), wander(t, rng, 4, 1.0), wander(t, rng, 3, 1.0)], axis=-1)
        rest = np.array([sign * who.spread, 2.0, 14.0])
        space = np.array([sign * (who.spread + 2.0), 20.0, 30.0])
        up = np.array([sign * 0.25, 1.0, 0.1])
        seen = rest + raised[hand][:, None] * (space - rest) + lift[hand][:, None] * up + stray              # [F, 3]
        target = p[:, 0] + (turn_about_y(np.radians(turn + 6 * towards)) @ seen[..., None])[..., 0]
        pole = (chest @ np.array([sign * 0.7, -0.6, -0.5]))                  # elbows point out, down and back
        elbow, wrist = two_bones(shoulder, target, pole, 28 * arms, 25 * arms)
        # An arm bone's rest direction is +-X; its second axis is the hinge of the elbow, the same for both bones.
        rest_axes = look(np.array([[sign, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
        hinge = np.cross(wrist - shoulder, elbow - shoulder) * sign
        upper, lower = (look(bone, hinge) @ np.swapaxes(rest_axes, -1, -2) for bone in (elbow - shoulder, wrist - elbow))
        local[:, own] = np.swapaxes(R[:, index[side + "Shoulder"]], -1, -2) @ upper
        local[:, index[side + "ForeArm"]] = np.swapaxes(upper, -1, -2) @ lower
        local[:, index[side + "Hand"]] = euler_to_matrix(np.radians((sign * (10 * raised[hand] - 20))[:, None]), "X")  # palms turn up a little
        # Feet stay where they stand; the knees take up the sway.
        hip, ankle = p[:, index[side + "UpLeg"]], np.tile([sign * 12.0, 9.0, -2.0], (F, 1))
        knee, ankle = two_bones(hip, ankle, np.tile([sign * 0.15, 0.0, 1.0], (F, 1)), 42 * legs, 41 * legs)
        forward = np.tile([sign * 0.2, 0.0, 1.0], (F, 1))
        down = look(np.array([[0.0, -1.0, 0.0]]), np.array([[0.0, 0.0, 1.0]]))
        thigh, shin = (look(bone, forward) @ np.swapaxes(down, -1, -2) for bone in (knee - hip, ankle - knee))
        local[:, index[side + "UpLeg"]] = np.swapaxes(R[:, 0], -1, -2) @ thigh
        local[:, index[side + "Leg"]] = np.swapaxes(thigh, -1, -2) @ shin
        local[:, index[side + "Foot"]] = np.swapaxes(shin, -1, -2) @ turn_about_y(np.full(F, sign * 0.2))
    return motion


# ------------------------------------------------------------------------------------------------
# 5. The corpus on disk
# ------------------------------------------------------------------------------------------------
def write_take(folder, stem, number, mood, seconds, seed, arms=1.0, legs=1.0):
    """One take: stem.wav, stem.bvh, stem.json (the answers). The same arguments write the same bytes."""
    rng = np.random.default_rng(seed)
    who = speaker(number)
    phrases = script(who, mood, seconds, rng)
    sound = speak(who, phrases, seconds, rng)
    write_bvh(folder / f"{stem}.bvh", gesture(who, mood, phrases, seconds, rng, arms, legs))
    with written_beside(folder / f"{stem}.wav") as beside, wave.open(str(beside), "wb") as f:
        f.setnchannels(1), f.setsampwidth(2), f.setframerate(SAMPLE_RATE)
        f.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    answers = dict(speaker=asdict(who), mood=mood, seed=list(seed),
                   phrases=[dict(start=round(p["start"], 4), end=round(p["end"], 4), hand=p["hand"]) for p in phrases],
                   stresses=[dict(time=round(s["peak"], 4), loudness=round(s["loudness"], 4)) for p in phrases for s in p["syllables"] if s["stressed"]])
    with written_beside(folder / f"{stem}.json") as beside:
        beside.write_text(json.dumps(answers, indent=1))


def write_corpus(folder, train=96, valid=6, test=12, seconds=60.0, seed=1, speakers=range(SPEAKERS), arms=1.0, legs=1.0):
    """Write takes of `seconds` into folder/train, folder/valid, folder/test; the `speakers` (numbers) and moods take turns.

    The defaults are what train.py's figures are made with: 96 minutes to learn from, 6 to choose settings by,
    12 to report on. Takes differ in their seed, so no take of one part says anything about another part's. A folder that
    is not there yet is written beside and renamed: half a corpus, of a killed run, must not be taken for a whole one.
    """
    folder, jobs = Path(folder), []
    beside = folder if folder.exists() else folder.with_name(f".{folder.name}.{os.getpid()}.part")
    for part, (name, count) in enumerate((("train", train), ("valid", valid), ("test", test))):
        for n in range(count):
            number, mood = speakers[n % len(speakers)], ("calm", "lively")[(n // len(speakers) + n) % 2]
            jobs.append((beside / name, f"speaker{number}_{mood}_{n:03d}", number, mood, seconds, (seed, part, n), arms, legs))
        if count:
            (beside / name).mkdir(parents=True, exist_ok=True)
    try:
        with ProcessPoolExecutor() as pool:
            list(tqdm(pool.map(write_take, *zip(*jobs)), total=len(jobs), desc=f"writing the puppet to {folder}", unit="take"))
        if beside != folder:
            beside.rename(folder)
    finally:
        if beside != folder:
            shutil.rmtree(beside, ignore_errors=True)


def main():
    from data import Parser          # which knows nothing of puppets: only the command wants its one-line errors
    parser = Parser(prog="puppet.py", description="Write the talking puppet's corpus: paired .wav and .bvh files with known answers (.json).")
    parser.add_argument("--out", default="corpora/puppet", help="folder to write to (default: %(default)s)")
    parser.add_argument("--train", type=int, default=96, help="training takes (default: %(default)s)")
    parser.add_argument("--valid", type=int, default=6, help="takes to choose settings by (default: %(default)s)")
    parser.add_argument("--test", type=int, default=12, help="takes to report on (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a take (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed writes the same bytes (default: %(default)s)")
    parser.add_argument("--speakers", type=int, nargs="+", default=list(range(SPEAKERS)), help="numbers of the speakers, any whole numbers from 0 (default: %(default)s)")
    parser.add_argument("--arms", type=float, default=1.0, help="length of the arms, times the usual one (default: %(default)s)")
    parser.add_argument("--legs", type=float, default=1.0, help="length of the legs, times the usual one (default: %(default)s)")
    args = parser.parse_args()
    for name, least in (("train", 0), ("valid", 0), ("test", 0), ("seconds", 4), ("seed", 0), ("arms", 0.1), ("legs", 0.1)):
        if not getattr(args, name) >= least:
            parser.error(f"--{name} must be at least {least}, not {getattr(args, name)}")
    if not args.train + args.valid + args.test:
        parser.error("--train, --valid and --test are all 0: there is nothing to write")
    if min(args.speakers) < 0:
        parser.error(f"--speakers must be at least 0, not {min(args.speakers)}")
    if Path(args.out).is_dir() and any(Path(args.out).iterdir()):
        parser.error(f"--out {args.out}: holds something already, and takes of two corpora would be mixed; name another folder, or delete it first")
    write_corpus(args.out, args.train, args.valid, args.test, args.seconds, args.seed, args.speakers, args.arms, args.legs)


if __name__ == "__main__":
    from data import run_script
    run_script(main)
