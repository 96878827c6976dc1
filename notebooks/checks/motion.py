"""Notebook 1: motion."""

import itertools

import numpy as np

from body.rotations import euler_to_matrix, exp_to_matrix, turn_about_y
from checks.judging import judge, judge_number, numbers

IDENTITY = np.eye(3)
TURNS = [lambda angle, axis=axis: euler_to_matrix(np.array(angle), axis) for axis in "ZXY"]


def euler_zxy(answer):
    """angles [3] as in a BVH row with the channels Zrotation Xrotation Yrotation -> R [3, 3]."""
    rows = [30.0, 20.0, -50.0], [90.0, 0.0, 45.0], [-120.0, 60.0, 10.0]
    inputs = [(np.array(row),) for row in rows]

    def right(angles):
        return euler_to_matrix(np.radians(angles), "ZXY")

    def three(angles):
        return [turn([angle]) for angle, turn in zip(np.radians(angles), TURNS)]

    def in_order(order, read=(0, 1, 2)):
        """Z, X and Y multiplied in another order; `read`: which angle each of them takes."""

        def wrong(angles):
            matrices = three(np.array(angles)[list(read)])
            return matrices[order[0]] @ matrices[order[1]] @ matrices[order[2]]

        return wrong

    def turned(*signs):
        return lambda angles: right(np.array(signs) * angles)

    def product(angles):
        Z, X, Y = three(angles)
        return Z * X * Y

    orders = list(itertools.permutations(range(3)))
    mistakes = {
        "degrees taken for radians; a BVH file holds degrees, numpy's sin and cos want radians":
            lambda angles: euler_to_matrix(angles, "ZXY"),
        "the product is in the reverse order; the first channel stands leftmost, R = R_Z R_X R_Y":
            in_order((2, 1, 0)),
        "every rotation turns the other way; look at the signs of the two sines":
            turned(-1, -1, -1),
        "that is the transpose, which is the way back":
            lambda angles: right(angles).T,
        "the product is in another order; as the channels stand, R = R_Z R_X R_Y":
            [in_order(order) for order in orders[1:]],
        "the numbers stand in the order of the channels: the first turns about Z, the second about "
        "X, the third about Y":
            [in_order(order, read) for read in orders[1:] for order in orders],
        "one of the three turns the other way; look at the signs of its sines":
            [turned(-1, 1, 1), turned(1, -1, 1), turned(1, 1, -1)],
        "* multiplies number by number; the product of matrices is @":
            product,
        "rotations that follow each other are multiplied, not added":
            lambda angles: sum(three(angles)),
        "one of the three rotations is missing":
            [turned(0, 1, 1), turned(1, 0, 1), turned(1, 1, 0)],
        "from degrees to radians is times pi / 180":
            [lambda angles: euler_to_matrix(np.array(angles) * np.pi, "ZXY"),
             lambda angles: euler_to_matrix(np.array(angles) / 180, "ZXY")],
    }  # fmt: skip
    well_done = "this is how every BVH reader turns numbers into a pose"
    return judge(answer, inputs, right, mistakes, well_done)


def exponential_map(answer):
    """w [3] in radians -> R [3, 3], by Rodrigues' formula."""
    vectors = [0.3, -0.5, 0.8], [0.0, 1.2, 0.0], [-1.5, 0.4, 0.1], [0.02, 0.0, 0.05], [0.0] * 3
    inputs = [(np.array(w),) for w in vectors]
    try:
        at_zero = answer(np.zeros(3))
        broken = at_zero is not None and np.isnan(numbers(at_zero)).any()
    except Exception:  # judge says what is wrong with it
        broken = False
    if broken:
        return "wrong: at w = 0 your function divides by zero; there the matrix is the identity"

    def cross(w):
        return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])

    def formula(of_K, of_KK, start=IDENTITY, square=lambda K: K @ K):
        """start + of_K(t) K + of_KK(t) K K; the identity at w = 0. start None: cos t I."""

        def wrong(w):
            t, K = np.linalg.norm(w), cross(w)
            first = np.cos(t) * IDENTITY if start is None else start
            return first + of_K(t) * K + of_KK(t) * square(K) if t else np.eye(3)

        return wrong

    def a(t):
        return np.sin(t) / t

    def b(t):
        return (1 - np.cos(t)) / t**2

    mistakes = {
        "degrees taken for radians; an exponential map is in radians already":
            lambda w: exp_to_matrix(np.radians(w)),
        "the axis still has the length of the angle; "
        "divide K by t once beside the sine and twice beside the cosine":
            formula(np.sin, lambda t: 1 - np.cos(t)),
        "it turns the other way; K v must be w x v, and yours is v x w":
            lambda w: exp_to_matrix(-w),
        "the last factor is (1 - cos t) / t^2 and stands before K K, not before K":
            formula(lambda t: a(t) + b(t), lambda t: 0),
        "the second half, with K K, is missing":
            formula(a, lambda t: 0),
        "K K is a product of matrices, K @ K; * multiplies number by number":
            formula(a, b, square=lambda K: K * K),
        "beside K K the cosine's part is divided by t squared":
            formula(a, lambda t: (1 - np.cos(t)) / t),
        "the cosine's part is 1 - cos t, and it is added":
            [formula(a, lambda t: (1 + np.cos(t)) / t**2), formula(a, lambda t: -b(t)),
             formula(a, lambda t: (np.cos(t) - 1) / t**2)],
        "I stays as it is in this formula; cos t stands beside it in another one, with u u^T":
            formula(a, b, start=None),
        "K is made of w; only t divides it, once beside the sine, twice beside the cosine":
            formula(a, lambda t: 1 - np.cos(t)),
        "the angle is the whole length of w, not half of it":
            lambda w: exp_to_matrix(w / 2),
        "the identity is missing":
            lambda w: exp_to_matrix(w) - np.eye(3) if np.any(w) else np.eye(3),
        "I is the identity, np.eye(3): ones on the diagonal alone":
            formula(a, b, np.ones((3, 3))),
        "t is the length of w, the root of the sum of squares":
            lambda w: formula(lambda t: a(t * t), lambda t: b(t * t))(w),
        "at w = 0 nothing turns: the matrix there is the identity, not zeros":
            lambda w: exp_to_matrix(w) if np.any(w) else np.zeros((3, 3)),
        "sine and cosine are exchanged":
            formula(lambda t: np.cos(t) / t, lambda t: (1 - np.sin(t)) / t**2),
        "a small turn is a turn: take the identity only at w = 0, or very close to it":
            lambda w: exp_to_matrix(w) if np.linalg.norm(w) > 0.1 else np.eye(3),
    }  # fmt: skip
    well_done = "three numbers are enough for any rotation, and nothing locks near the rest pose"
    return judge(answer, inputs, exp_to_matrix, mistakes, well_done)


def forward_kinematics(answer):
    """rotations [J, 3, 3], offsets [J, 3] in the parents' frames, parents [J] -> places [J, 3]."""
    rng = np.random.default_rng(0)
    inputs = []
    for parents in ([-1, 0, 1, 2, 3], [-1, 0, 1, 0, 3]):
        rotations, offsets = exp_to_matrix(rng.normal(size=(5, 3))), rng.normal(size=(5, 3))
        inputs.append((rotations, offsets, np.array(parents)))

    def chain(place=lambda p, R, o: p + R @ o, turn=lambda R, r: R @ r, root=lambda R, o: o):
        """The places, with another step: place(the parent's, its R, the offset), turn(R, own)."""

        def wrong(rotations, offsets, parents):
            R, p = [None] * len(parents), [None] * len(parents)
            for j, a in enumerate(parents):
                if a < 0:
                    R[j], p[j] = rotations[j], root(rotations[j], offsets[j])
                else:
                    R[j] = turn(R[a], rotations[j])
                    p[j] = place(p[a], R[a], offsets[j])
            return np.array(p)

        return wrong

    def by_own(rotations, offsets, parents):
        R, p = list(rotations), list(offsets)
        for j, a in enumerate(parents):
            if a >= 0:
                R[j] = R[a] @ rotations[j]
                p[j] = p[a] + R[j] @ offsets[j]
            else:
                p[j] = R[j] @ offsets[j]
        return np.array(p)

    def by_own_but_root(rotations, offsets, parents):
        return by_own(rotations, offsets, parents) - (rotations[0] @ offsets[0] - offsets[0])

    def parents_only(rotations, offsets, parents):
        p = list(offsets)
        for j, a in enumerate(parents):
            if a >= 0:
                p[j] = p[a] + rotations[a] @ offsets[j]
        return np.array(p)

    right = chain()
    mistakes = {
        "a joint's own rotation turns its own offset; the parent carries the joint around":
            [by_own, by_own_but_root],
        "only the parent's own rotation is used; those of all above it belong in the product":
            parents_only,
        "the parent's place is missing; the offset counts from there":
            chain(lambda p, R, o: R @ o),
        "no rotation at all: the offsets are added up as they are":
            chain(lambda p, R, o: p + o),
        "the order of the product: the parent's rotation stands on the left, R_parent R_j":
            chain(turn=lambda R, r: r @ R),
        "o @ R turns the other way; it is R @ o, and nothing is transposed":
            [chain(lambda p, R, o: p + o @ R), chain(turn=lambda R, r: R @ r.T)],
        "* multiplies number by number; rotations are multiplied with @":
            chain(turn=lambda R, r: R * r),
        "the sign: the turned offset is added to the parent's place":
            chain(lambda p, R, o: p - R @ o),
        "the root's place is its offset; yours stands at 0":
            chain(root=lambda R, o: 0 * o),
        "the root's place is its offset as it is; nothing above it turns it":
            chain(root=lambda R, o: R @ o),
        "the parent is parents[j], which need not be the joint before":
            lambda r, o, parents: right(r, o, np.arange(len(parents)) - 1),
        "the parent's place is in the world already; only the offset is turned":
            chain(lambda p, R, o: R @ (p + o)),
    }  # fmt: skip
    return judge(answer, inputs, right, mistakes, "Motion.world does this for all frames at once")


def half_way(answer):
    """A joint turns about Y, from 170 to -170 degrees. Where is it half way, from 0 to 360?"""
    mistakes = {
        "0 is the mean of the two numbers, and the limb would swing round through the body; "
        "170 and -170 are 20 degrees apart": [0, 360],
        "radians; degrees are wanted": np.pi,
        "that is the distance between the two, 20 degrees, the short way": 20,
        "the right place, but write it from 0 to 360": -180,
        "so far it is from 170, half of the 20 degrees between them; where does it arrive?": 10,
        "that is where it begins; half way is on": [170, 190],
    }  # fmt: skip
    well_done = (
        "the short way round; body.motion.resample goes it with matrix_to_exp, "
        "whatever the numbers in the file say"
    )
    return judge_number(answer, 180, 1, mistakes, well_done)


def facing(answer):
    """R [3, 3] of the root -> how far its forward axis, +Z, has turned over the ground, radians.

    0 for +Z, positive towards +X.
    """
    turns = (0.5, [0.2, 0, 0]), (-2.0, [0, 0, 0.3]), (2.8, [-0.4, 0, 0.1])
    inputs = [(turn_about_y(np.array(a)) @ exp_to_matrix(np.array(tilt)),) for a, tilt in turns]

    def right(R):
        return np.arctan2(R[0, 2], R[2, 2])

    mistakes = {
        "the two arguments of arctan2 are exchanged; 0 must mean +Z":
            [lambda R: np.arctan2(R[2, 2], R[0, 2]), lambda R: -np.arctan2(R[2, 2], R[0, 2])],
        "row for column; a rotation's columns are where the axes go, R[:, 2] is where +Z goes":
            lambda R: np.arctan2(R[2, 0], R[2, 2]),
        "the direction is right, but written from 0 to 2 pi; an angle from -pi to pi is wanted":
            lambda R: right(R) % (2 * np.pi),
        "degrees; the project counts in radians":
            lambda R: np.degrees(right(R)),
        "arctan knows no difference between ahead and behind; take arctan2":
            lambda R: np.arctan(R[0, 2] / R[2, 2]),
        "the sign: it is positive towards +X":
            lambda R: -right(R),
        "that is another axis; a body faces along +Z, the column R[:, 2]":
            [lambda R: np.arctan2(R[0, 0], R[2, 0]), lambda R: np.arctan2(R[0, 1], R[2, 1]),
             lambda R: np.arctan2(-R[2, 0], R[0, 0])],
        "the ground is x and z; y points up":
            [lambda R: np.arctan2(R[1, 2], R[2, 2]), lambda R: np.arctan2(R[0, 2], R[1, 2])],
        "one number does not tell: arcsin and arccos mistake ahead for behind, left for right, and "
        "a tilt for a turn; take arctan2 of both":
            [lambda R: np.arcsin(R[0, 2]), lambda R: np.arccos(R[2, 2])],
    }  # fmt: skip
    well_done = "PoseCodec takes it out: a gesture is the same wherever one faces"
    return judge(answer, inputs, right, mistakes, well_done)
