"""One well-proportioned body for every skeleton: its parts, for the page, films and pictures.

Skeletons differ in their joints. So a body is dressed: where its points are is up to the motion,
how it looks is up to the tables below.

    motion -> dress -> Dressed: points [F, P, 3] and Parts

A Part is a skin over rings (ellipses) in a row. The middle of a ring is a weighted sum of points,
so the parts are found once, and each frame only moves them. skin.py makes meshes of them for films
and pictures, mannequin.js for the page.
"""

from dataclasses import dataclass, replace

import numpy as np

from body.joints import shown_points, sides_and_stems
from show.anatomy import Directions, axes_of, find_anatomy, stature, unit, without

# ------------------------------------------------------------------------------------------------
# Proportions. All numbers are shares of the body's height
# ------------------------------------------------------------------------------------------------
# Radii along a limb: (way from its upper joint to its lower one, radius)
UPPER_ARM = ((0, 0.034), (0.2, 0.034), (0.55, 0.029), (1, 0.0245))
FOREARM = ((0, 0.0245), (0.22, 0.0265), (0.65, 0.021), (1, 0.0165))
THIGH = ((0, 0.052), (0.2, 0.053), (0.6, 0.044), (1, 0.0325))
SHIN = ((0, 0.0325), (0.28, 0.0345), (0.7, 0.024), (1, 0.0205))
NECK = 0.033
FINGER, THUMB = (0.0075, 0.0055), (0.0088, 0.0066)  # radii at the root, at the tip
PLAIN = 0.02  # a bone of a skeleton whose joints nobody knows

# The trunk: (way from the hips to the shoulders, half width, half depth). A half width is a share
# of the height and a share of the distance between the joints there: studios put hips and
# shoulders in different places.
TRUNK = (
    (-0.07, (0.012, 0.60), 0.032),
    (-0.04, (0.026, 0.86), 0.050),
    (0.03, (0.036, 1.00), 0.062),
    (0.14, (0.038, 0.95), 0.063),
    (0.30, (0.050, 0.52), 0.057),
    (0.46, (0.052, 0.34), 0.056),
    (0.64, (0.054, 0.44), 0.063),
    (0.82, (0.050, 0.62), 0.064),
    (0.95, (0.042, 0.66), 0.056),
    (1.04, (0.034, 0.42), 0.046),
    (1.12, (0.032, 0.10), 0.037),
)
SHORTS = 0.30  # below this way, the trunk is the pelvis
SLEEVE, SHORT_LEG = 0.36, 0.34  # how far down the upper arm and the thigh these reach

# The head, seen from its joint at the top of the neck: (up, front, half width, half depth)
HEAD = (
    (-0.0430, 0.031, 0.001, 0.001),
    (-0.0420, 0.031, 0.009, 0.010),
    (-0.0390, 0.0305, 0.0165, 0.0185),
    (-0.033, 0.028, 0.0235, 0.027),
    (-0.018, 0.022, 0.0325, 0.038),
    (0.002, 0.017, 0.0395, 0.047),
    (0.024, 0.013, 0.0440, 0.053),
    (0.046, 0.010, 0.0455, 0.056),
    (0.068, 0.008, 0.0425, 0.053),
    (0.084, 0.007, 0.0335, 0.042),
    (0.0935, 0.006, 0.0200, 0.0255),
    (0.0965, 0.006, 0.0100, 0.0130),
    (0.0972, 0.006, 0.0020, 0.0030),
)
# Small parts of the face, each a rod: (colour, radii, (to its left, up, front) of both ends).
# Those that are not in the middle are drawn on both sides.
FACE = (
    ("head", (0.0045, 0.0085), (0, 0.034, 0.062), (0, 0.009, 0.072)),  # nose
    ("eye", (0.0066, 0.0060), (0.0148, 0.030, 0.0592), (0.0228, 0.030, 0.0566)),
    ("dark", (0.0050, 0.0050), (0.0183, 0.030, 0.0613), (0.0187, 0.030, 0.0620)),  # iris
    ("dark", (0.0022, 0.0016), (0.0100, 0.0433, 0.0655), (0.0272, 0.0429, 0.0585)),  # brow
    ("lips", (0.0024, 0.0024), (-0.0110, -0.0185, 0.0570), (0.0110, -0.0185, 0.0570)),
    ("head", (0.0060, 0.0075), (0.0430, 0.006, 0.006), (0.0450, 0.030, 0.000)),  # ear
)

# A hand without fingers: (along, to the thumb, radius) of the ends of each finger, and a palm
PALM = 0.055  # from the wrist to the knuckles
MITTEN = (
    ((0.050, 0.018), (0.100, 0.018)),
    ((0.053, 0.006), (0.108, 0.006)),
    ((0.051, -0.006), (0.103, -0.007)),
    ((0.047, -0.017), (0.088, -0.019)),
)
MITTEN_THUMB = ((0.018, 0.016), (0.040, 0.034), (0.062, 0.037))

# A shoe: (way from the ankle to the ball of the foot, half width, top above the sole)
SHOE = ((-0.40, 0.013, 0.026), (-0.24, 0.019, 0.046), (0.0, 0.021, 0.054), (0.45, 0.0225, 0.044),
        (1.0, 0.0255, 0.030))  # fmt: skip
SOLE = 0.012  # from the lowest joint of a foot down to its sole
STAND = 0.20  # a body without legs: from its hips to the floor


# ------------------------------------------------------------------------------------------------
# What a dressed body is
# ------------------------------------------------------------------------------------------------
@dataclass
class Part:
    """A skin over rings, each (middle, across, wide, deep).

    middle, across: lists of (point, weight). `across` is a direction, from right to left; None for
    a round ring. wide, deep: half of the ring's size across, and square to that and to the row of
    rings; in body heights. sides: corners of a ring.
    """

    colour: str  # left, right, trunk, pelvis, head, eye, dark, lips, stand
    sides: int
    rings: list


@dataclass
class Dressed:
    """A motion, ready to be drawn."""

    points: np.ndarray  # [F, P, 3] in body heights: joints, End Sites, then points of our own
    names: list  # [P]; "" for what is no joint
    height: float  # the body's, in the motion's unit
    parts: list  # of Part
    across: tuple  # (left, right) points of the shoulders, or else of the hips; () without both
    wrists: list  # [left, right] points, or None
    head: int  # point, or -1
    root: int  # point: the pelvis


# ------------------------------------------------------------------------------------------------
# Sums of points
# ------------------------------------------------------------------------------------------------
def at(point):
    """One point, as a sum."""
    return [(point, 1.0)]


def total(*terms):
    """The sum of (sum of points, factor) terms."""
    weights = {}
    for one, factor in terms:
        for point, weight in one:
            weights[point] = weights.get(point, 0.0) + factor * weight
    return [(point, weight) for point, weight in weights.items() if weight]


def between(a, b, way):
    """The sum of points that is `way` of the way from sum a to sum b."""
    return total((a, 1 - way), (b, way))


def mean(points):
    """The middle of some points, as a sum."""
    return [(point, 1 / len(points)) for point in points]


# ------------------------------------------------------------------------------------------------
# Dressing
# ------------------------------------------------------------------------------------------------
def dress(motion):
    """Motion -> Dressed."""
    tailor = _Tailor(motion)
    a = tailor.anatomy
    if a.shoulders:
        tailor.trunk()
    for side, arm, leg in zip(("left", "right"), a.arms, a.legs):
        if arm:
            tailor.sleeve("trunk", arm, UPPER_ARM, SLEEVE)
            tailor.limb(side, arm, UPPER_ARM, FOREARM, SLEEVE)
            tailor.hand(side, arm[-1])
        if leg:
            tailor.sleeve("pelvis", leg, THIGH, SHORT_LEG)
            tailor.limb(side, leg, THIGH, SHIN, SHORT_LEG)
            tailor.foot(side, leg[-1])
    if a.head >= 0 and a.shoulders:
        tailor.head()
    if not a.shoulders:
        tailor.plain_bones()
    return tailor.dressed()


class _Tailor:
    """Makes the parts of one body."""

    def __init__(self, motion):
        self.motion, self.anatomy = motion, find_anatomy(motion)
        self.height = stature(motion, self.anatomy)
        self.directions = Directions(motion, self.anatomy)
        self.ends = list(motion.end_sites)
        self.parts, self.stand = [], None
        self.parents = [int(p) for p in (*motion.parents, *(j for j, *_ in self.ends))]
        local = motion.positions[len(motion) // 2]  # [J, 3]
        ends = [offset for _, _, offset in self.ends]
        self.bones = np.concatenate([local, np.reshape(ends, (-1, 3))]) / self.height  # [J + E, 3]
        self.lengths = np.linalg.norm(self.bones, axis=1)

    def point(self, joint, offset):
        """A new point that is carried by a joint, `offset` [3] body heights away in its frame."""
        self.ends.append((joint, "", tuple(np.asarray(offset, dtype=float) * self.height)))
        return len(self.motion.names) + len(self.ends) - 1

    def frame(self, joint, axes):
        """Three points around a joint -> a function (left, up, front) -> sum of points."""
        points = [self.point(joint, 0.1 * axis) for axis in axes]

        def place(*coordinates):
            ways = [10 * one for one in coordinates]
            return total((at(joint), 1 - sum(ways)), *zip(map(at, points), ways))

        return place

    def rod(self, colour, middles, radii, sides=8, across=None, deep=None):
        """A part through these sums of points; `radii` across, and `deep` where that differs."""
        rings = [(m, across, *radius) for m, *radius in zip(middles, radii, deep or radii)]
        self.parts.append(Part(colour, sides, rings))

    def below(self, joint):
        """Chains of points that hang on a joint, each down to a tip."""
        chains = []
        for p, parent in enumerate(self.parents):
            if p in self.parents or parent < 0:
                continue
            chain = [p]
            while chain[0] >= 0 and chain[0] != joint:
                chain.insert(0, self.parents[chain[0]])
            if chain[0] == joint:
                chains.append(chain[1:])
        return [chain for chain in chains if chain]

    # ---- limbs --------------------------------------------------------------------------------
    def limb(self, side, joints, upper, lower, hidden):
        """A rod for each bone; the elbow or knee is the joint nearest to the middle.

        hidden: the share of the upper half that lies under a sleeve, and is not drawn.
        """
        ways = np.cumsum([0, *self.lengths[joints[1:]]])
        bend = ways[np.argmin(np.abs(ways - ways[-1] / 2))] if len(joints) > 2 else ways[-1] / 2
        bend = max(bend, 1e-6)
        rest = max(ways[-1] - bend, 1e-6)
        knots = [(way * bend, radius) for way, radius in upper]
        knots += [(bend + way * rest, radius) for way, radius in lower[1:]]
        knot_ways, knot_radii = zip(*knots)
        for a, b, top, stop in zip(joints, joints[1:], ways, ways[1:]):
            start = 0.8 * min(hidden * bend, stop) if top == 0 else top
            if stop - start < 1e-4:
                continue
            inside = [way for way in knot_ways if start + 0.005 < way < stop - 0.005]
            stops = [start, *inside, stop]
            middles = [between(at(a), at(b), (s - top) / (stop - top)) for s in stops]
            self.rod(side, middles, np.interp(stops, knot_ways, knot_radii), sides=18)

    def sleeve(self, colour, joints, upper, until):
        """Cloth over the top of a limb, so that the trunk ends in a clean edge."""
        top, below = joints[:2]
        whole = self.lengths[joints[1:]].sum() / 2  # split limbs have several bones down to here
        way = min(until * whole / max(self.lengths[below], 1e-6), 1)
        stops = [0, way / 2, way]
        radii = np.interp([0, until / 2, until], *zip(*upper)) + 0.003
        self.rod(colour, [between(at(top), at(below), s) for s in stops], radii, sides=18)

    # ---- hands --------------------------------------------------------------------------------
    def hand(self, side, wrist):
        """A palm and fingers, those of the rig or else of our own."""
        chains = []
        for chain in self.below(wrist):
            # What is still at the wrist are bones of the palm, or twists of the forearm
            way = np.cumsum(self.lengths[chain])
            near = 0.012 if self._is_thumb(chain) else 0.03
            chain = [p for p, far in zip(chain, way) if far > near]
            if len(chain) > 1 and self.lengths[chain[1:]].sum() > 0.01:
                chains.append(chain)
        fingers = [chain for chain in chains if not self._is_thumb(chain)]
        if len(fingers) < 2:
            return self._mitten(side, wrist)
        for chain in chains:
            base, tip = THUMB if self._is_thumb(chain) else FINGER
            ways = np.cumsum([0, *self.lengths[chain[1:]]])
            radii = base + (tip - base) * ways / ways[-1]
            inside = between(at(wrist), at(chain[0]), 0.6)  # it starts in the palm
            self.rod(side, [inside, *map(at, chain)], [base, *radii], sides=8)
        self._palm(side, wrist, chains, fingers)

    def _is_thumb(self, chain):
        names = self.motion.names
        return any(p < len(names) and "thumb" in names[p].lower() for p in chain)

    def _palm(self, side, wrist, chains, fingers):
        """From the wrist to the knuckles, as wide as these are apart; and the ball of the thumb."""
        places = self._places(wrist)
        knuckles = [chain[0] for chain in fingers]
        thumbs = [chain[0] for chain in chains if chain not in fingers]
        apart = [[np.linalg.norm(places[a] - places[b]) for b in knuckles] for a in knuckles]
        first, last = np.unravel_index(np.argmax(apart), (len(knuckles), len(knuckles)))
        wide = np.max(apart) / 2 + FINGER[0]
        across = [(knuckles[first], 1.0), (knuckles[last], -1.0)]
        end = mean([knuckles[first], knuckles[last]])
        middles = [between(at(wrist), end, way) for way in (0.0, 0.35, 0.75, 1.0)]
        widths = [FOREARM[-1][1], 0.5 * (wide + FOREARM[-1][1]), wide, wide]
        self.rod(side, middles, widths, 12, across, (0.0145, 0.0130, 0.0115, FINGER[0]))
        for thumb in thumbs:
            root = between(at(wrist), end, 0.25)
            self.rod(side, [root, at(thumb)], (0.0125, THUMB[0]), sides=8)

    def _places(self, joint):
        """Where the points below a joint are in the rest pose, seen from it: {point: [3]}."""
        places = {joint: np.zeros(3)}
        for chain in self.below(joint):
            for p in chain:
                places[p] = places[self.parents[p]] + self.bones[p]
        return places

    def _mitten(self, side, wrist):
        """A hand of our own. In a rest pose thumbs point to the front, or upwards."""
        _, up, front = self.directions.axes(wrist)
        along = self.bones[wrist]
        if far := [chain[-1] for chain in self.below(wrist) if not self._is_thumb(chain)]:
            places = self._places(wrist)
            end = max((places[p] for p in far), key=np.linalg.norm)
            along = end if np.linalg.norm(end) > 0.03 else along
        along = unit(along)
        thumb = front if abs(front @ along) < 0.7 else up
        thumb = unit(thumb - (thumb @ along) * along)
        frame = self.frame(wrist, np.stack([thumb, np.cross(along, thumb), along]))

        def place(far, to_thumb):
            return frame(to_thumb, 0, far)

        across = total((place(0, 0.01), 1), (place(0, 0), -1))
        middles = [at(wrist), place(0.02, 0.002), place(0.04, 0.001), place(PALM, 0)]
        self.rod(side, middles, (0.0165, 0.021, 0.0245, 0.0235), 12, across,
                 (0.0145, 0.0130, 0.0115, 0.0080))  # fmt: skip
        for (far, to_thumb), tip in MITTEN:
            self.rod(side, [place(far, to_thumb), place(*tip)], FINGER)
        self.rod(side, [place(*one) for one in MITTEN_THUMB], (0.0115, *THUMB))

    # ---- feet ---------------------------------------------------------------------------------
    def foot(self, side, ankle):
        """A shoe. Its sole is flat on the floor where the ankle is low."""
        d = self.directions
        height = d.p[:, ankle, 1]
        low = height <= np.median(height)
        up = d.usual(ankle, d.up, low) if d.rest is not None else np.array([0.0, 1.0, 0.0])
        toes = [p for chain in self.below(ankle) for p in chain]
        places = self._places(ankle)
        far = [p for p in toes if np.linalg.norm(without(places[p], up)) > 0.03]
        if far:
            ahead = without(places[far[0]], up)
        elif d.rest is not None:
            ahead = d.axes(ankle)[2]
        else:
            return
        axes = axes_of(up, front=without(ahead, up))
        frame = self.frame(ankle, axes)
        ball = min(np.linalg.norm(ahead), 0.11) if far else 0.075
        lowest = min([0.0, *(places[p] @ up for p in toes)])
        sole = max(lowest, -0.075) - SOLE
        across = total((frame(0.01, 0, 0), 1), (frame(0, 0, 0), -1))
        middles = [frame(0, sole + top / 2, way * ball) for way, _, top in SHOE]
        place = axes.T @ [0, sole + 0.0085, ball + 0.035]
        middles.append(self._tip(ankle, far, place) or frame(0, sole + 0.0085, ball + 0.035))
        widths = [wide for _, wide, _ in SHOE] + [0.018]
        deep = [top / 2 for *_, top in SHOE] + [0.0085]
        self.rod(side, middles, widths, 12, across, deep)

    def _tip(self, ankle, far, place):
        """The end of the toes, `place` [3] seen from the ankle, on the toe joint; None without."""
        if not far or far[0] >= len(self.motion.names):
            return None
        R, toe = self.directions.R, far[0]
        turn = np.einsum("fba,fbc->ac", R[:, toe], R[:, ankle])  # on average, times F
        way = place - self._places(ankle)[toe]
        return at(self.point(toe, unit(turn @ way) * np.linalg.norm(way)))

    # ---- trunk, neck and head -----------------------------------------------------------------
    def trunk(self):
        """Chest and pelvis: one skin from the legs to the neck, which the spine bends."""
        a = self.anatomy
        chest, shoulders = mean(a.shoulders), self._apart(a.shoulders)
        hips, wide = (mean(a.hips), self._apart(a.hips)) if a.hips else self._no_hips(chest)
        middle = between(hips, chest, 0.5)
        if a.spine:
            middle = between(middle, mean(a.spine), 0.5)

        def centre(u):  # a curve through hips and chest, drawn to the middle
            ends = total((hips, (1 - u) ** 2), (chest, u**2))
            return total((ends, 1), (middle, 2 * u * (1 - u)))

        across = total((at(a.shoulders[0]), 1 / shoulders), (at(a.shoulders[1]), -1 / shoulders))
        low = across
        if a.hips:
            low = total((at(a.hips[0]), 1 / wide), (at(a.hips[1]), -1 / wide))
        rings = []
        for u, (fixed, share), deep in TRUNK:
            twist = min(max((u - 0.1) / 0.8, 0), 1)
            apart = wide + (shoulders - wide) * twist
            rings.append((centre(u), between(low, across, twist), fixed + share * apart, deep))
        cut = next(n for n, (u, *_) in enumerate(TRUNK) if u >= SHORTS)
        self.parts.append(Part("pelvis", 28, rings[: cut + 1]))
        self.parts.append(Part("trunk", 28, rings[cut:]))
        for side in range(2):  # from the neck to the shoulders
            inside = between(chest, at(a.shoulders[side]), 0.45)
            self.rod("trunk", [inside, at(a.shoulders[side])], (0.031, 0.0358), sides=20)

    def _apart(self, pair):
        places = self.directions.places
        return max(np.linalg.norm(places[pair[0]] - places[pair[1]]) / self.height / 2, 0.03)

    def _no_hips(self, chest):
        """Hips for a body without legs, as far below the chest as they usually are; and a stand."""
        root = self.anatomy.pelvis
        places, shoulders = self.directions.places, self.anatomy.shoulders
        long = np.linalg.norm(places[shoulders].mean(axis=0) - places[root]) / self.height
        hips = between(at(root), chest, -max(0, 0.28 - long) / max(long, 0.05))
        self.stand = hips
        return hips, 0.05

    def head(self):
        """Neck, head, nose, eyes, brows, mouth and ears."""
        a = self.anatomy
        frame = self.frame(a.head, self.directions.axes(a.head))
        start = between(mean(a.shoulders), at(a.head), 0.1)
        end = total((frame(0, 0.01, 0.004), 1))
        self.rod("head", [start, end], (NECK + 0.002, NECK - 0.002), sides=14)
        across = total((frame(0.01, 0, 0), 1), (frame(0, 0, 0), -1))
        rings = [(frame(0, up, ahead), across, wide, deep) for up, ahead, wide, deep in HEAD]
        self.parts.append(Part("head", 24, rings))
        for colour, radii, *ends in FACE:
            for sign in (1, -1):
                if sign < 0 and ends[0][0] <= 0:
                    continue  # in the middle of the face
                places = [frame(sign * left, up, ahead) for left, up, ahead in ends]
                self.rod(colour, places, radii, sides=12)

    def plain_bones(self):
        """What nobody knows: a rod for each bone that is not in a limb."""
        known = {p for limb in (*self.anatomy.arms, *self.anatomy.legs) if limb for p in limb[1:]}
        sides = [side or "trunk" for side, _ in sides_and_stems(self.motion.names)]
        for p, parent in enumerate(self.parents):
            # A root on the ground: no bone of a body is that long
            long = len(self.parents) > 2 and parent == 0 and self.lengths[p] > 0.35
            if parent >= 0 and p not in known and self.lengths[p] > 1e-4 and not long:
                side = sides[p if p < len(sides) else parent]
                self.rod(side, [at(parent), at(p)], (PLAIN, PLAIN), sides=10)

    def dressed(self):
        """The points of all that was made -> Dressed."""
        a, joints = self.anatomy, len(self.motion.names)
        points, _ = shown_points(replace(self.motion, end_sites=self.ends))
        points = points / self.height  # [F, P, 3]
        names = [*self.motion.names, *[""] * (points.shape[1] - joints)]
        if self.stand:
            points = self._on_a_stand(points)
            names += ["", ""]
        across, wrists = tuple(a.shoulders or a.hips), [arm and arm[-1] for arm in a.arms]
        return Dressed(points, names, self.height, self.parts, across, wrists, a.head, a.pelvis)

    def _on_a_stand(self, points):
        """A pole from the hips to a foot on the floor, which does not move."""
        hips = sum(weight * points[:, p] for p, weight in self.stand)  # [F, 3]
        foot = hips.mean(axis=0) - [0, STAND, 0]
        still = np.broadcast_to([foot, foot + [0, STAND, 0]], (len(points), 2, 3))
        last, above = at(points.shape[1]), at(points.shape[1] + 1)  # above: the base lies flat
        points = np.concatenate([points, still], axis=1)
        self.rod("stand", [last, self.stand], (0.008, 0.008), sides=10)
        base = [between(last, above, way) for way in (0, 0.01, 0.05, 0.06)]
        self.rod("stand", base, (0.001, 0.085, 0.085, 0.001), sides=28)
        return points
