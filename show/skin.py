"""From parts to corners and normals: surface() part by part, Skin all at once, for films.

parts -> Skin -> skin.mesh(pose): corners and normals, to go with skin.triangles
"""

import numpy as np

from show.anatomy import unit

CAP = np.radians([90, 60, 30])  # both ends of a part are rounded: three rings more


def surface(part, pose):
    """The mesh of a Part in one pose [P, 3] -> (places [K + 6, sides, 3], normals, the same).

    Corners that are neighbours in either direction belong together; each row is closed.
    """
    middle = np.array([sum(w * pose[p] for p, w in ring[0]) for ring in part.rings])  # [K, 3]
    wide, deep = (np.array([ring[k] for ring in part.rings], dtype=float) for k in (2, 3))
    along = unit(np.gradient(middle, axis=0))  # [K, 3]
    seed = np.eye(3)[np.argmin(np.abs(middle[-1] - middle[0]))]
    steps = np.linalg.norm(np.gradient(middle, axis=0), axis=1)  # [K]
    slopes = np.gradient((wide + deep) / 2) / np.maximum(steps, 1e-9)
    across = np.array([sum(w * pose[p] for p, w in ring[1]) if ring[1] else seed
                       for ring in part.rings])  # fmt: skip
    across = unit(across - np.sum(across * along, axis=1, keepdims=True) * along)
    front = np.cross(across, along)
    angles = np.arange(part.sides) * 2 * np.pi / part.sides
    rows, normals = [], []
    last = len(middle) - 1
    rings = [(0, -1, angle) for angle in CAP] + [(k, 0, 0.0) for k in range(last + 1)]
    rings += [(last, 1, angle) for angle in CAP[::-1]]
    for k, end, angle in rings:
        round = min(wide[k], deep[k])
        a, b = wide[k] * np.cos(angle), deep[k] * np.cos(angle)
        out = np.cos(angles)[:, None] * across[k], np.sin(angles)[:, None] * front[k]
        centre = middle[k] + end * round * np.sin(angle) * along[k]
        rows.append(centre + a * out[0] + b * out[1])
        # The normal of an ellipse is (x / a^2, y / b^2); then lean it along the row of rings
        side = unit(deep[k] * out[0] + wide[k] * out[1])
        tilt = end * np.sin(angle) if end else -slopes[k]
        normals.append(np.cos(angle) * side + tilt * along[k])
    return np.array(rows), unit(np.array(normals))


class Skin:
    """Where the corners of all parts are, in any pose of P points. V corners, T triangles.

    triangles [T, 3] run counter-clockwise seen from outside. Corner v has the colour
    words[word[v]].
    """

    def __init__(self, parts, points):
        rings = [ring for part in parts for ring in part.rings]
        self.middles = _weights([middle for middle, *_ in rings], points)  # [R, P]
        self.across = _weights([across or [] for _, across, *_ in rings], points)  # [R, P]
        self.round = np.array([not across for _, across, *_ in rings])
        self.wide, self.deep = (np.array([ring[k] for ring in rings], float) for k in (2, 3))
        counts = [len(part.rings) for part in parts]
        first = np.repeat(np.cumsum(counts) - counts, counts)  # [R]: of the ring's part
        self.first, self.last = first, first + np.repeat(counts, counts) - 1
        ring = np.arange(len(rings))
        self.before, self.after = np.maximum(ring - 1, first), np.minimum(ring + 1, self.last)
        self._lay_out(parts)

    def _lay_out(self, parts):
        """Rows of corners, three rounded ones at both ends of a part; and triangles between."""
        rows, corners, triangles, colours = [], [], [], []  # rows: (ring, end, angle of the cap)
        ring = corner = 0
        for part in parts:
            last = ring + len(part.rings) - 1
            own = [(ring, -1, angle) for angle in CAP]
            own += [(k, 0, 0.0) for k in range(ring, last + 1)]
            own += [(last, 1, angle) for angle in CAP[::-1]]
            grid = np.arange(len(own) * part.sides).reshape(-1, part.sides)  # [rows, sides]
            angle = grid % part.sides * 2 * np.pi / part.sides
            corners.append(np.stack([len(rows) + grid // part.sides, angle], axis=-1))
            here, beside = grid[:-1] + corner, np.roll(grid, -1, axis=1)[:-1] + corner
            above, across = grid[1:] + corner, np.roll(grid, -1, axis=1)[1:] + corner
            both = [[here, above, beside], [beside, above, across]]
            triangles += [np.stack(one, axis=-1).reshape(-1, 3) for one in both]
            colours += [part.colour] * grid.size
            rows += own
            ring, corner = last + 1, corner + grid.size
        corners = np.concatenate([one.reshape(-1, 2) for one in corners])  # [V, 2]
        self.triangles = np.concatenate(triangles)
        self.words, self.word = np.unique(colours, return_inverse=True)
        self.row, angle = corners[:, 0].astype(int), corners[:, 1]
        self.cos, self.sin = np.cos(angle)[:, None], np.sin(angle)[:, None]  # [V, 1]
        self.ring, self.end, cap = (np.array(column) for column in zip(*rows))
        self.ring_of = self.ring[self.row]  # [V]
        self.cap_cos, self.cap_sin = np.cos(cap)[:, None], (self.end * np.sin(cap))[:, None]
        self.lean = np.where(self.end == 0, 1.0, 0.0)[:, None]  # [rows, 1]

    def mesh(self, pose):
        """pose [P, 3] -> (corners [V, 3], their normals [V, 3])."""
        middle = self.middles @ pose  # [R, 3]
        step = middle[self.after] - middle[self.before]
        size = np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
        along = step / size
        across = self.across @ pose
        whole = np.abs(middle[self.last] - middle[self.first])
        across[self.round] = np.eye(3)[np.argmin(whole, axis=1)][self.round]
        across -= (across * along).sum(axis=1, keepdims=True) * along
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
        front = np.cross(across, along)
        wide, deep = self.wide[:, None], self.deep[:, None]  # [R, 1]
        both = wide + deep
        slope = (both[self.after] - both[self.before]) / 2 / size

        ring = self.ring  # rows: shrunk and pushed outwards at both ends
        push = self.cap_sin * np.minimum(wide, deep)[ring] * along[ring]
        centre = (middle[ring] + push)[self.row]  # [V, 3]
        a = (self.cap_cos * wide[ring] * across[ring])[self.row]
        b = (self.cap_cos * deep[ring] * front[ring])[self.row]
        corners = centre + self.cos * a + self.sin * b
        # Of an ellipse: (x / a^2, y / b^2), then leant along the row
        x, y = self.cos * deep[self.ring_of], self.sin * wide[self.ring_of]
        shrink = self.cap_cos[self.row] / np.maximum(np.hypot(x, y), 1e-9)
        tilt = (self.cap_sin - self.lean * slope[ring]) * along[ring]  # [rows, 3]
        outward = x * across[self.ring_of] + y * front[self.ring_of]
        normals = shrink * outward + tilt[self.row]
        size = np.linalg.norm(normals, axis=1, keepdims=True)
        return corners, normals / np.maximum(size, 1e-9)


def _weights(sums, points):
    """Sums of points, lists of (point, weight) -> a matrix [sums, points]."""
    matrix = np.zeros((len(sums), points))
    for row, terms in zip(matrix, sums):
        for point, weight in terms:
            row[point] += weight
    return matrix
