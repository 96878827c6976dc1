"""What can be measured of gestures: pure functions from motions and arrays to numbers. evaluate.py calls them on whole corpora.

Reading order
    1. known answers      the puppet's scores: beats, style, hands, rests
    2. energy onsets      the score that needs no answers
    3. Gesture            any skeleton as 16 joints in body lengths: what the metrics below look at
    4. motion and speech  beat alignment, correlation of loudness and hand speed
    5. motion alone       diversity, jerk, foot sliding, range of motion
    6. Fréchet distance   of windows of motion, by their principal components and by an autoencoder
    7. report             all of them, with the truth above and a still body and shuffled pairs below

None of them says whether people find a motion human. Each docstring says what its metric cannot tell.
"""
import hashlib
import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data import CorpusError
from motion import COMMON_BODY, PoseCodec, common_body, find_strokes, hands_of, turn_about_y, written_beside
from wavlm_loader import SAMPLE_RATE, loud_level

TOLERANCE = 0.1          # s: a stroke is on a syllable if it is this near


# ------------------------------------------------------------------------------------------------
# 1. Scores against known answers
# ------------------------------------------------------------------------------------------------
def matches(found, wanted, tolerance=TOLERANCE):
    """How many of the times `found` can be paired, one to one, with times `wanted` at most `tolerance` apart.

    Both sorted; taking each in turn with the earliest partner left is the largest matching on a line.
    """
    count = i = j = 0
    while i < len(found) and j < len(wanted):
        if abs(found[i] - wanted[j]) <= tolerance:
            count, i, j = count + 1, i + 1, j + 1
        elif found[i] < wanted[j]:
            i += 1
        else:
            j += 1
    return count


def beat_f1(strokes, stresses):
    """F1 of stroke times against stress times, lists over takes: 2 hits / (strokes + stresses), pooled over the takes."""
    hits = sum(matches(np.sort(s), np.sort(w)) for s, w in zip(strokes, stresses))
    return 2 * hits / max(1, sum(map(len, strokes)) + sum(map(len, stresses)))


def rests(answers):
    """Stretches of a take in which the rules say that hands rest: from 1.4 s after a phrase to 0.6 s before the next one."""
    phrases = answers["phrases"]
    return [(a["end"] + 1.4, b["start"] - 0.6) for a, b in zip(phrases, phrases[1:]) if b["start"] - a["end"] > 2.2]


def during(motion, stretches):
    """Which frames [F] bool lie within the (start, end) stretches."""
    t = np.arange(len(motion)) * motion.frame_time
    return np.any([(t >= a) & (t < b) for a, b in stretches], axis=0) if stretches else np.zeros(len(t), bool)


def rest_speed(motions, answers):
    """Mean speed of the hands in rests, body heights a second; NaN where no take has a rest."""
    speeds = []
    for motion, a in zip(motions, answers):
        speed = np.linalg.norm(np.diff(hands_of(motion), axis=0), axis=-1).mean(axis=1) / motion.frame_time  # [F - 1]
        speeds.append(speed[during(motion, rests(a))[1:]])
    return mean(speeds)


def style(motion, answers):
    """(posture, stroke): distance between the resting hands and median drop of a stroke, in body heights.

    NaN for a posture that a take without a long pause does not show.
    """
    hands = hands_of(motion)[during(motion, rests(answers))]                 # [rest frames, 2, 3]
    apart, drops = np.linalg.norm(hands[:, 0] - hands[:, 1], axis=-1), find_strokes(motion)[1]
    return np.array([apart.mean() if len(apart) else np.nan, np.median(drops) if len(drops) else 0.0])


def style_by_speaker(motions, answers):
    """{speaker number: mean of `style` over the speaker's takes, each part over those that show it}."""
    styles = {}
    for motion, a in zip(motions, answers):
        styles.setdefault(a["speaker"]["number"], []).append(style(motion, a))
    return {number: np.array([mean(part) for part in zip(*each)]) for number, each in styles.items()}


def style_error(made, truth):
    """Mean over speakers, and over posture and stroke, of |made - truth| / truth. Both {speaker: [2]}."""
    return mean([np.abs(made[n] - truth[n]) / np.where(truth[n] > 0, truth[n], np.nan) for n in truth])


def rest_error(speed, truth):
    """|speed / truth - 1| of two rest_speeds; NaN where the truth has no rest, or rests without a motion."""
    return abs(speed / truth - 1) if truth else float("nan")


def scores_of_others(others, their_answers, truth, answers):
    """style_error and rest_error of recorded takes of the same speakers with other speech, which is as near to 0 as anybody can expect to come:
    a speaker's strokes and rests differ from minute to minute. NaN for the style where a speaker has no other take."""
    theirs, true = style_by_speaker(others, their_answers), style_by_speaker(truth, answers)
    return dict(style_error=style_error(theirs, true) if set(true) <= set(theirs) else float("nan"),
                rest_error=rest_error(rest_speed(others, their_answers), rest_speed(truth, answers)))


def phrase_hands(motion, answers):
    """The hand that moves farther in each phrase, [phrases]: 0 left, 1 right."""
    step = np.linalg.norm(np.diff(hands_of(motion), axis=0), axis=-1)        # [F - 1, 2]
    return np.array([step[during(motion, [(p["start"] - 0.3, p["end"] + 0.3)])[1:]].sum(axis=0).argmax() for p in answers["phrases"]])


def puppet_scores(made, other_seed, truth, answers):
    """All puppet scores. Lists over takes: motions made, made with another seed, recorded, and their answers."""
    stresses = [np.array([s["time"] for s in a["stresses"]]) for a in answers]
    strokes = [find_strokes(m)[0] for m in made]
    true_style = style_by_speaker(truth, answers)
    average = np.array([mean(part) for part in zip(*true_style.values())])
    f1, f1_truth = beat_f1(strokes, stresses), beat_f1([find_strokes(m)[0] for m in truth], stresses)
    speed, speed_truth = rest_speed(made, answers), rest_speed(truth, answers)
    return dict(beat_f1=f1, beat_f1_truth=f1_truth, beat_f1_share=f1 / f1_truth if f1_truth else float("nan"),
                beat_f1_mismatched=beat_f1(strokes, stresses[1:] + stresses[:1]) if len(stresses) > 1 else float("nan"),
                style_error=style_error(style_by_speaker(made, answers), true_style),
                style_error_average=style_error(dict.fromkeys(true_style, average), true_style),
                hand_agreement=mean([(phrase_hands(a, x) == phrase_hands(b, x)).astype(float) for a, b, x in zip(made, other_seed, answers)]),
                rest_error=rest_error(speed, speed_truth), rest_speed=speed, rest_speed_truth=speed_truth)


# ------------------------------------------------------------------------------------------------
# 2. A score without answers: strokes on energy onsets
# ------------------------------------------------------------------------------------------------
def energy_onsets(waveform):
    """Times [n] in seconds at which the speech gets louder: what a stressed syllable does in any language.

    Level in dB of 20 ms steps, smoothed over 60 ms and cut off 35 dB below the loud parts; an onset is where it rises fastest,
    by at least 6 dB in 60 ms, with no faster rise within 0.15 s; its time is 40 ms later, when the vowel is there.
    """
    hop = SAMPLE_RATE // 50
    steps = len(waveform) // hop
    if steps < 10:
        return np.zeros(0)
    power = (waveform[:steps * hop] / loud_level(waveform)).reshape(steps, hop).square().mean(dim=1).numpy()
    power = np.convolve(power, np.ones(3) / 3, mode="same")
    level = 10 * np.log10(np.maximum(power, 10 ** -3.5))                     # dB, [steps]
    rise = np.zeros(steps)
    rise[2:-1] = level[3:] - level[:-3]                                      # over 60 ms, centred
    around = np.lib.stride_tricks.sliding_window_view(np.pad(rise, 7), 15).max(axis=1)
    return np.flatnonzero((rise == around) & (rise >= 6)) / 50 + 0.04


def onset_hits(strokes, waveform, rng, shifts=200):
    """Share of strokes on an energy onset, and the same for the recording shifted round by random times: (share, mean, 95th percentile, lucky).

    lucky: how many of the shifts, from 0 to 1, hit at least as often as the recording as it is. In a short one few shares are possible, and many shifts may have the same.

    strokes: a list of stroke times [n], one for each seed, judged together: a shift moves the onsets of all seeds alike,
    so that the percentile is the one that their common share must pass, not what each seed alone would have to.
    Speech of less than 2 s leaves no room to shift, and is not scored, nor are motions without a stroke: four NaN.
    """
    if len(waveform) < 2 * SAMPLE_RATE or not sum(map(len, strokes)):
        return (float("nan"),) * 4
    seconds, onsets = len(waveform) / SAMPLE_RATE, energy_onsets(waveform)

    def share(onsets):
        return sum(matches(np.sort(s), np.sort(onsets)) for s in strokes) / sum(map(len, strokes))

    hits = share(onsets)
    shifted = np.array([share((onsets + rng.uniform(0.5, seconds - 0.5)) % seconds) for _ in range(shifts)])  # [shifts]
    return hits, float(shifted.mean()), float(np.quantile(shifted, 0.95)), float((shifted >= hits).mean())


def onset_hits_of_takes(strokes, seconds, waveforms, rng):
    """onset_hits of many takes, each by itself -> (share, share for shifted onsets), means over the takes that have a stroke; NaN where none has.

    strokes [takes] of times [n]; seconds [takes]: how long the motions last; of a shuffled pair the speech may be longer or shorter.
    """
    hits = []
    for times, lasts, waveform in zip(strokes, seconds, waveforms):
        waveform = waveform[:int(lasts * SAMPLE_RATE)]
        times = times[times < len(waveform) / SAMPLE_RATE]
        if len(times):
            hits.append(onset_hits([times], waveform, rng)[:2])
    return mean([share for share, _ in hits]), mean([shifted for _, shifted in hits])


# ------------------------------------------------------------------------------------------------
# 3. What is looked at: any skeleton, as 16 joints in body lengths
# ------------------------------------------------------------------------------------------------
@dataclass
class Gesture:
    """What the metrics below need of one motion, worked out once: forward kinematics is what costs time."""
    fps: float
    places: np.ndarray     # [F, 16, 3] joints of motion.COMMON_BODY in the world, in body lengths (ankle to head)
    own: np.ndarray        # [F, 16, 3] the same, seen from the hips and turned so that the hips face +Z
    strokes: np.ndarray    # [n] seconds


def look_at(motion):
    """Motion -> Gesture. BvhError where head, wrists or ankles are not found by name.

    Facing +Z with Y up, the left hip is at +X of the right one: that line says which way the body faces, in any skeleton.
    """
    places = common_body(motion)                                             # [F, 16, 3]
    across = places[:, COMMON_BODY.index("left hip")] - places[:, COMMON_BODY.index("right hip")]            # [F, 3]
    level = turn_about_y(-np.arctan2(-across[:, 2], across[:, 0]))           # [F, 3, 3]
    own = (places - places[:, :1]) @ np.swapaxes(level, 1, 2)                # [F, 16, 3]
    return Gesture(1 / motion.frame_time, places, own, find_strokes(motion)[0])


def wrists(gesture):
    """Both wrists [F, 2, 3], seen from the hips' place but not turned with them: a turning frame would add accelerations."""
    ends = [COMMON_BODY.index(f"{side} wrist") for side in ("left", "right")]
    return gesture.places[:, ends] - gesture.places[:, :1]


def mean(values):
    """Mean of the numbers that are defined; NaN where none is."""
    values = np.concatenate([np.ravel(v) for v in values]) if len(values) else np.zeros(0)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


# ------------------------------------------------------------------------------------------------
# 4. Motion and speech
# ------------------------------------------------------------------------------------------------
SIGMA = 0.1              # s: at this distance a beat counts 0.61, at twice 0.14; TOLERANCE of the puppet's score, softened


def beat_alignment(onsets, beats, sigma=SIGMA):
    """How near the nearest beat of the body is to each onset of the speech: mean over onsets of exp(-d² / (2 sigma²)), 0 to 1.

    d is the distance in seconds from an onset to the nearest beat. The kernel is that of Li et al. 2021 (AI Choreographer, there
    with sigma = 3 frames of 60 a second, and local minima of joint speed as beats); but they take the mean over the body's beats, from each to the
    nearest of the music, and we take it over the onsets, so that a body which hardly moves has a low score. The two cannot be compared. Here the beats are
    the strokes of motion.find_strokes, the onsets those of energy_onsets. Whoever beats all the time is near to every onset, so read
    it beside strokes_per_minute, and against its value on shuffled pairs. NaN without onsets, 0 without beats.
    """
    if len(onsets) == 0:
        return float("nan")
    if len(beats) == 0:
        return 0.0
    nearest = np.abs(np.subtract.outer(onsets, beats)).min(axis=1)           # [onsets]
    return float(np.exp(-nearest ** 2 / (2 * sigma ** 2)).mean())


def speech_level(waveform, fps):
    """Level of the speech in each frame [frames] in dB below its loud parts, cut off at -35 dB: pauses are alike, however silent."""
    edges = np.round(np.arange(int(len(waveform) * fps / SAMPLE_RATE) + 1) * SAMPLE_RATE / fps).astype(int)
    if len(edges) < 2:
        return np.zeros(0)
    square = np.square(np.asarray(waveform / loud_level(waveform), dtype=np.float64))[:edges[-1]]
    power = np.add.reduceat(square, edges[:-1]) / np.diff(edges)             # [frames]
    return 10 * np.log10(np.maximum(power, 10 ** -3.5))


def correlation_by_lag(speech, motion, most):
    """Pearson correlation of speech[n] with motion[n + lag] for lag = -most ... most frames -> [2 most + 1].

    A positive lag is motion that comes after its speech. Each lag uses the frames that both have; NaN where one of them is constant.
    """
    n, curve = min(len(speech), len(motion)), []
    for lag in range(-most, most + 1):
        both = max(0, n - abs(lag))                  # frames that both have
        a, b = speech[max(0, -lag):][:both], motion[max(0, lag):][:both]
        constant = both < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9
        curve.append(np.nan if constant else np.corrcoef(a, b)[0, 1])
    return np.array(curve)


def best_lag(curves, frames, fps):
    """(highest correlation, its lag in seconds) of the mean of takes' curves [2 most + 1], each by its `frames`; both NaN where no take has a whole one.

    By its frames, for in a take of 1.2 s the outermost lags leave four to compare, and some of them will agree by chance. The mean comes first: the best of 41 lags, chosen take by take, would be well above 0 for unrelated signals too. A curve may have
    two peaks of nearly one height; the lag is that of the higher one, and may jump to the other for a small difference of the motions.
    """
    whole = [n for n, c in enumerate(curves) if not np.isnan(c).any()]
    if not whole:
        return float("nan"), float("nan")
    curve = np.average([curves[n] for n in whole], axis=0, weights=[frames[n] for n in whole])               # [2 most + 1]
    return float(curve.max()), float((curve.argmax() - len(curve) // 2) / fps)


def hand_speed(gesture):
    """Mean speed of both wrists against the hips in each frame, [F] in body lengths a second."""
    return np.linalg.norm(np.gradient(wrists(gesture), axis=0), axis=-1).mean(axis=1) * gesture.fps if len(gesture.places) > 1 else np.zeros(len(gesture.places))


# ------------------------------------------------------------------------------------------------
# 5. Motion alone
# ------------------------------------------------------------------------------------------------
def diversity(seeds):
    """How far apart joints are in motions made for the same speech: mean over frames, joints and pairs of seeds, in body lengths.

    seeds: [seeds][takes] of Gesture. Bodies are laid over each other at the hips and by their facing. It cannot tell good
    variety from noise: jitter counts as well, and a large value beside a large jerk is no merit. NaN for one seed.
    """
    distances = []
    for a, b in itertools.combinations(range(len(seeds)), 2):
        for x, y in zip(seeds[a], seeds[b]):
            n = min(len(x.own), len(y.own))
            distances.append(np.linalg.norm(x.own[:n] - y.own[:n], axis=-1)) # [n, 16]
    return mean(distances)


def jerk(gesture):
    """Third derivative of both wrists' places, [F - 3, 2] in body lengths / s³, by third differences.

    High where motion jitters, low where it is smoothed; people's own value is the goal, not 0. Its size depends on the frame
    rate (differences damp what is near half of it), so compare at one rate only.
    """
    return np.linalg.norm(np.diff(wrists(gesture), n=3, axis=0), axis=-1) * gesture.fps ** 3 if len(gesture.places) > 3 else np.zeros((0, 2))


CONTACT = 0.02           # body lengths, 3 cm of 1.5 m: how far above its lowest an ankle still stands


def foot_sliding(gesture):
    """Horizontal speed of the feet while they stand, [contacts] in body lengths a second; 0 is perfect.

    An ankle stands from one frame to the next if in both it is at most CONTACT above its own lowest height (5th percentile of the
    take, so that one bad frame does not set the ground). It cannot see a body that floats, nor a floor that is not level.
    """
    if len(gesture.places) < 2:
        return np.zeros(0)
    feet = gesture.places[:, [COMMON_BODY.index(f"{side} ankle") for side in ("left", "right")]]             # [F, 2, 3]
    low = feet[..., 1] <= np.quantile(feet[..., 1], 0.05, axis=0) + CONTACT                                  # [F, 2]
    speed = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1) * gesture.fps                        # [F - 1, 2]
    return speed[low[1:] & low[:-1]]


def range_of_motion(gesture):
    """How far upper arms and forearms swing: [4] in degrees, twice the angle to their mean direction that 95% of the frames keep within.

    Directions are seen from the body's own facing. A planar swing of +-a degrees, as a sine, gives 1.994 a. What it
    cannot see: a bone that twists about its own axis, and whether the swings come at the right time.
    """
    swings = []
    for side in ("left", "right"):
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist")):
            bone = gesture.own[:, COMMON_BODY.index(f"{side} {lower}")] - gesture.own[:, COMMON_BODY.index(f"{side} {upper}")]   # [F, 3]
            bone = bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            middle = bone.mean(axis=0) / max(np.linalg.norm(bone.mean(axis=0)), 1e-9)
            # from sine and cosine: arccos alone cannot resolve angles below a millionth
            angle = np.arctan2(np.linalg.norm(np.cross(bone, middle), axis=-1), bone @ middle)               # [F]
            swings.append(2 * np.degrees(np.quantile(angle, 0.95)))
    return np.array(swings)


# ------------------------------------------------------------------------------------------------
# 6. Fréchet gesture distance
# ------------------------------------------------------------------------------------------------
WINDOW, HOP = 2.0, 1.0   # s: about one gesture (Yoon et al. 2020 take 34 frames at 15 a second: 2.3 s), every second
DIMENSIONS = 32          # of the features: some hundred windows must give a covariance of this size


def frechet_distance(mean_a, cov_a, mean_b, cov_b):
    """Squared Fréchet distance of two Gaussians, means [D] and covariances [D, D]:

        |mean_a - mean_b|² + trace(A + B - 2 (A^1/2 B A^1/2)^1/2)          Dowson and Landau 1982

    A^1/2 B A^1/2 is symmetric with the eigenvalues of A B, so two symmetric eigen-decompositions do; rounding can make
    eigenvalues of a singular covariance slightly negative, which are 0.
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T            # A^1/2, [D, D]
    middle = np.linalg.eigvalsh(root @ cov_b @ root)                         # [D]
    square = np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.maximum(middle, 0)).sum()
    return float(max(square, 0))


def gesture_distance(a, b, samples):
    """Fréchet distance of two sets of features [n, D], `samples` of each, evenly spread over the set.

    Estimated from few samples it is too large, by an amount that depends on their number (Chong and Forsyth 2020). So both sides
    have the same number, and the truth's own distance from other truth, with this number, says what 0 looks like.
    Windows overlap by half, so they are worth fewer than they count. NaN below two.
    """
    samples = min(samples, len(a), len(b))
    if samples < 2:
        return float("nan")
    a, b = (x[np.linspace(0, len(x) - 1, samples).round().astype(int)] for x in (a, b))      # [samples, D]
    return frechet_distance(a.mean(axis=0), np.cov(a, rowvar=False), b.mean(axis=0), np.cov(b, rowvar=False))


def windows(gestures):
    """Windows of WINDOW seconds, one every HOP, of what the joints do seen from the hips -> [n, D], D = frames of a window * 45. Shorter takes give none."""
    frames, hop = (round(seconds * gestures[0].fps) if gestures else 1 for seconds in (WINDOW, HOP))
    cut = [g.own[a:a + frames, 1:].reshape(-1) for g in gestures for a in range(0, len(g.own) - frames + 1, hop)]
    return np.stack(cut).astype(np.float32) if cut else np.zeros((0, frames * 3 * (len(COMMON_BODY) - 1)), np.float32)


class Autoencoder(torch.nn.Module):
    """window [B, D] -> code [B, 32] -> window. 128 wide, since the corpus to fit has but some thousand windows."""

    def __init__(self, size):
        super().__init__()
        self.encode = torch.nn.Sequential(torch.nn.Linear(size, 128), torch.nn.SiLU(), torch.nn.Linear(128, DIMENSIONS))
        self.decode = torch.nn.Sequential(torch.nn.Linear(DIMENSIONS, 128), torch.nn.SiLU(), torch.nn.Linear(128, size))

    def forward(self, x):
        """[B, D] -> its reconstruction [B, D]."""
        return self.decode(self.encode(x))


@dataclass
class WindowFeatures:
    """From windows to the two kinds of features whose distributions are compared. Fitted on training windows only."""
    mean: np.ndarray             # [D] of the fitted windows
    scale: np.ndarray            # [D] their deviations, at least 0.01 body lengths: what hardly moves is not blown up
    components: np.ndarray       # [D, 32 or fewer] the directions of largest variance
    autoencoder: Autoencoder
    code_scale: np.ndarray       # [32] deviations of the codes

    def raw(self, x):
        """Windows [n, D] -> [n, 32] projections on the principal components, in percent of the body length, per frame and root mean square."""
        frames = len(self.mean) / (3 * (len(COMMON_BODY) - 1))
        return 100 / np.sqrt(frames) * (x - self.mean) @ self.components     # [n, 32]

    def code(self, x):
        """Windows [n, D] -> [n, 32] the autoencoder's codes, in deviations of the training windows."""
        with torch.no_grad():
            return self.autoencoder.encode(torch.from_numpy((x - self.mean) / self.scale)).double().numpy() / self.code_scale    # [n, 32]

    def reconstruction(self, x):
        """Windows [n, D] -> what the autoencoder makes of them [n, D], body lengths."""
        with torch.no_grad():
            return self.autoencoder(torch.from_numpy((x - self.mean) / self.scale)).numpy() * self.scale + self.mean


def fit_windows(x, cache=None, seed=0, passes=100):
    """Training windows [n, D] -> WindowFeatures, or None for fewer than three. Deterministic by seed on one kind of machine; another rounds
    otherwise, and distances of codes come out some percent different: compare them within one file of results.

    The autoencoder sees each window about `passes` times: some seconds for 24 minutes of motion. On the puppet's test takes it is then
    0.4% of the body length off (root mean square), where the mean window is 2.5% off and 32 principal components 0.3%.
    cache: a folder that keeps the weights, by a hash of the windows and all settings.
    """
    if len(x) < 3:                                   # two have but one principal component, and no covariance to speak of
        return None
    middle, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 0.01)
    components = np.linalg.svd(x - middle, full_matrices=False)[2][:min(DIMENSIONS, len(x) - 1)].T           # [D, 32]
    with torch.random.fork_rng(devices=[]):          # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        model = Autoencoder(x.shape[1])
    key = hashlib.sha256(x.tobytes() + repr((seed, passes, str(model))).encode()).hexdigest()[:20]
    path = Path(cache) / f"autoencoder-{key}.npy" if cache else None
    if path and path.exists():
        try:
            torch.nn.utils.vector_to_parameters(torch.from_numpy(np.load(path)), model.parameters())
        except (ValueError, EOFError, RuntimeError):
            raise CorpusError(f"{path}: is a damaged entry of the cache; delete it") from None
    else:
        rows, generator = torch.from_numpy((x - middle) / scale), torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)            # Adam's default
        for _ in tqdm(range(max(100, passes * len(x) // 128)), desc="autoencoder", unit="step", leave=False, disable=None):
            batch = rows[torch.randint(len(rows), (128,), generator=generator)]                              # [128, D]
            loss = (model(batch) - batch).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_beside(path) as beside, open(beside, "wb") as f:
                np.save(f, torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy())
    features = WindowFeatures(middle, scale, components, model.requires_grad_(False), np.ones(DIMENSIONS))
    features.code_scale = np.maximum(features.code(x).std(axis=0), 1e-6)
    return features


# ------------------------------------------------------------------------------------------------
# 7. All of them, with floor and ceiling
# ------------------------------------------------------------------------------------------------
LAG = 1.0                # s: how far speech and hands are shifted against each other
PEAK = 99                # percentile of the jerk that is called its peak: the very highest would be one frame's doing
UNITS = dict(fgd_raw="(% of body length)²", fgd_code="squared deviations", beat_alignment="0 to 1", onset_hits="share of strokes", onset_hits_shifted="... by chance",
             strokes_per_minute="1/min", speech_hand_correlation="-1 to 1", speech_hand_lag="s, > 0: hands later", diversity="body lengths",
             hand_jerk="body lengths/s³", hand_jerk_peak="body lengths/s³", foot_sliding="body lengths/s", range_of_motion="degrees")
HEARD = ("beat_alignment", "onset_hits", "onset_hits_shifted", "speech_hand_correlation", "speech_hand_lag")      # what depends on the speech
PUPPET_SCORES = ("beat_f1", "beat_f1_truth", "beat_f1_share", "beat_f1_mismatched", "style_error", "style_error_average", "hand_agreement",
                 "rest_error", "rest_speed", "rest_speed_truth")


@dataclass
class Reference:
    """What every model on one corpus is held against, worked out once: `report` is then cheap enough for many models."""
    fps: float
    truth: list                  # [takes] Motions recorded with the held-out speech
    seen: list                   # [takes] their Gestures
    waveforms: list              # [takes] of the same takes, each [samples]
    answers: list | None         # the puppet's, or None
    onsets: list                 # [takes] seconds [n]
    levels: list                 # [takes] dB [frames]
    features: WindowFeatures | None
    true_windows: np.ndarray     # [n, D]
    samples: int                 # windows on either side of each Fréchet distance
    still: list                  # [takes] Motions that hold the mean training pose, each with the body of its take and as long
    columns: dict                # {"truth", "mean_pose", "shuffled": {metric: value}}
    how: dict                    # sizes, for the JSON


def measure(motions, seen, reference, second=None):
    """Every metric of motions made for the reference's held-out speech, one for each take -> {metric: value}, NaN where not defined.

    seen: the motions' Gestures. second: what another seed made, for the puppet's hand_agreement.
    """
    fps = reference.fps
    x, most = windows(seen), round(LAG * fps)
    values = {}
    for name in ("raw", "code"):
        features = reference.features and getattr(reference.features, name)
        values[f"fgd_{name}"] = gesture_distance(features(x), features(reference.true_windows), reference.samples) if features and len(x) else float("nan")
    aligned = []
    for g, onsets, waveform in zip(seen, reference.onsets, reference.waveforms):
        seconds = min(len(g.own) / fps, len(waveform) / SAMPLE_RATE)         # of a shuffled pair one may be longer
        aligned.append(beat_alignment(onsets[onsets < seconds], g.strokes[g.strokes < seconds]))
    values["beat_alignment"] = mean(aligned)
    values["onset_hits"], values["onset_hits_shifted"] = onset_hits_of_takes([g.strokes for g in seen], [len(g.own) / fps for g in seen], reference.waveforms, np.random.default_rng(0))
    values["strokes_per_minute"] = 60 * sum(len(g.strokes) for g in seen) / sum(len(g.own) / fps for g in seen)
    curves = [correlation_by_lag(level, hand_speed(g), most) for level, g in zip(reference.levels, seen)]
    values["speech_hand_correlation"], values["speech_hand_lag"] = best_lag(curves, [len(g.own) for g in seen], fps)
    jerks = np.concatenate([jerk(g).ravel() for g in seen])
    values["hand_jerk"], values["hand_jerk_peak"] = mean([jerks]), float(np.percentile(jerks, PEAK)) if len(jerks) else float("nan")
    values["foot_sliding"], values["range_of_motion"] = mean([foot_sliding(g) for g in seen]), mean([range_of_motion(g) for g in seen])
    if reference.answers:
        scores = puppet_scores(motions, second or motions, reference.truth, reference.answers)
        if second is None:
            scores["hand_agreement"] = float("nan")
        values.update(scores)
    return values


def fit_reference(train, others, their_answers, truth, waveforms, answers=None, cache=None):
    """Everything that depends on the corpus alone -> Reference. All Motions at one frame rate.

    train      training takes that the features are fitted on, and the mean pose
    others     training takes that are kept out of that, as many as `truth` if there are so many: "other truth", whose
               distance from the truth is the least that anybody can expect of a Fréchet distance; their_answers: the puppet's, or None
    truth      the held-out takes, waveforms and answers theirs

    Columns beside the model's. truth: the recorded motion itself; for Fréchet distances, style_error and rest_error `others`, for diversity the
    distance of two unrelated recordings, `others` and truth. mean_pose: the mean training pose, held still. shuffled: the recorded motion with the
    speech and answers of the take half the list away, for what depends on them; nothing with a single take.
    """
    fps = 1 / truth[0].frame_time
    seen, seen_others = [look_at(m) for m in truth], [look_at(m) for m in others]
    x, true_windows, other_windows = windows([look_at(m) for m in train]), windows(seen), windows(seen_others)
    samples = min(len(true_windows), len(other_windows)) if len(other_windows) else len(true_windows)
    codec = PoseCodec.fit(train, fps)
    still = [codec.decode(np.zeros((1, codec.pose_dim)), body=m) for m in truth]
    still = [replace(s, rotations=np.repeat(s.rotations, len(m), axis=0), positions=np.repeat(s.positions, len(m), axis=0)) for s, m in zip(still, truth)]
    reference = Reference(fps, truth, seen, waveforms, answers, [energy_onsets(w) for w in waveforms], [speech_level(w, fps) for w in waveforms],
                          fit_windows(x, cache), true_windows, samples, still, {}, {})
    reference.how = dict(fps=fps, takes=len(truth), fgd=dict(window_s=WINDOW, hop_s=HOP, dimensions=DIMENSIONS, fitted_on_windows=len(x), fitted_on_takes=len(train),
                         samples_on_either_side=samples, samples_of_other_truth=len(other_windows)), beat_sigma_s=SIGMA, jerk_peak_percentile=PEAK, foot_contact_body_lengths=CONTACT)
    true = measure(truth, seen, reference)
    for name in ("raw", "code"):
        features = reference.features and getattr(reference.features, name)
        true[f"fgd_{name}"] = gesture_distance(features(other_windows), features(true_windows), samples) if features and len(other_windows) else float("nan")
    true["diversity"] = diversity([seen_others, seen])
    if answers:
        true |= scores_of_others(others, their_answers, truth, answers) if their_answers else dict(style_error=float("nan"), rest_error=float("nan"))
    half = len(truth) // 2
    shuffled = measure(truth[half:] + truth[:half], seen[half:] + seen[:half], reference, second=truth) if half else {}
    reference.columns = dict(truth=true, mean_pose=measure(still, [look_at(m) for m in still], reference, second=still) | dict(diversity=0.0),
                             shuffled={name: value for name, value in shuffled.items() if name in HEARD + PUPPET_SCORES and name != "beat_f1_mismatched"})
    return reference


def report(made, reference):
    """All metrics of a model, with floor and ceiling.

    made: [seeds][takes] of Motions for the reference's speech, three seeds or more -> {metric: dict(model, spread, truth, mean_pose,
    shuffled, seeds=[a value for each seed], unit)}, NaN where not defined. spread is the standard deviation over the seeds of the
    sampler: how much one model's score changes when it is asked again. It says nothing about another training of the model. hand_agreement and
    diversity compare seeds in pairs that share seeds, so their spread is a little too small.
    """
    seen = [[look_at(m) for m in motions] for motions in made]
    each = [measure(made[n], seen[n], reference, second=made[(n + 1) % len(made)] if len(made) > 1 else None) for n in range(len(made))]
    seeds = {name: [values[name] for values in each] for name in each[0]}
    seeds["diversity"] = [diversity(pair) for pair in itertools.combinations(seen, 2)] or [float("nan")]
    table = {}
    for name in [*UNITS, *PUPPET_SCORES]:
        if name in seeds:
            defined = [v for v in seeds[name] if not np.isnan(v)]
            table[name] = dict(model=mean([defined]), spread=float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan"),
                               **{column: values.get(name, float("nan")) for column, values in reference.columns.items()}, seeds=seeds[name], unit=UNITS.get(name, ""))
    return table
