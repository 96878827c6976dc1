"""A body becomes pixels, in numpy: a depth buffer, soft light, smooth edges, a shadow.

    1. Stage        where in the picture what is; an empty stage; a body on it
    2. lit          the colours of corners in our light: what mannequin.js does in its shader
    3. rasterise    which triangle is the nearest at each pixel

We look from infinitely far away, from slightly above. Places are in body heights: x to the right,
y up from the floor, z towards us.
"""

import math

import numpy as np

# Two samples a pixel smooth its edges: one in its upper half on the left, one below on the right
SLANT = 0.25
COARSE = 3  # shadows are painted so many times coarser, then blurred
LIGHT = np.array([-0.34, 0.85, 0.40])  # where it comes from; length 1, as on the page
# The page's colours, by the word for a part
PALETTE = {
    "left": "#e8833a",
    "right": "#3d7cc4",
    "trunk": "#a9b3c4",
    "pelvis": "#76839a",
    "head": "#d9cabd",
    "eye": "#ffffff",
    "dark": "#262c38",
    "lips": "#b98b7c",
    "stand": "#8d97a8",
}
WALL, FAR_FLOOR, FLOOR = "#fbfcfd", "#eef1f6", "#dde3ec"  # from the upper edge to the lower one


def rgb(colour):
    """ "#ff8000" -> [1.0, 0.5, 0.0]."""
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)], dtype=np.float32)


# ------------------------------------------------------------------------------------------------
# 1. The stage
# ------------------------------------------------------------------------------------------------
class Stage:
    """A picture of `width` x `height` pixels, `scale` of them a body height.

    left, bottom: what its lower left corner shows, in body heights. The floor's points right below
    us are at 0, those behind them higher. pitch: how far from above we look, radians.
    """

    def __init__(self, width, height, left, bottom, scale, pitch=0.12):
        self.width, self.height, self.scale = width, height, scale
        self.left, self.bottom = left, bottom
        self.sin, self.cos = math.sin(pitch), math.cos(pitch)

    def empty(self):
        """A wall that becomes the floor -> [height, width, 3], from 0 to 1."""
        y = self.bottom + (np.arange(self.height)[::-1] + 0.5) / self.scale
        stops, colours = (-0.2, 0.05, 0.3, 1.2), (FLOOR, FLOOR, FAR_FLOOR, WALL)
        channels = np.stack([rgb(colour) for colour in colours])  # [4, 3]
        column = np.stack([np.interp(y, stops, channel) for channel in channels.T], axis=1)
        return np.repeat(column[:, None].astype(np.float32), self.width, axis=1)

    def pixels(self, places):
        """Places [V, 3] -> columns, rows and depth [V, 3] in the picture."""
        x, y, z = places.T
        up = self.cos * y - self.sin * z
        columns = (x - self.left) * self.scale
        rows = self.height - (up - self.bottom) * self.scale
        return np.stack([columns, rows, (self.sin * y + self.cos * z) * self.scale], axis=1)

    def paint(self, picture, skin, pose, x=0.0, shadow=True):
        """Paint a Skin in a pose [P, 3], `x` body heights to the right, onto [height, width, 3]."""
        places, normals = skin.mesh(pose)
        places = places + [x, 0, 0]
        if shadow:
            self._shade_floor(picture, places, skin.triangles)
        palette = np.stack([rgb(PALETTE[word]) for word in skin.words])  # [words, 3]
        colours = lit(palette[skin.word], places, normals, (0.0, self.sin, self.cos))  # [V, 3]
        self._blend(picture, self.pixels(places), skin.triangles, colours)

    def _blend(self, picture, corners, triangles, colours):
        """Triangles onto the picture, with the colours [V, 3] of their corners."""
        part, (x, y) = self._around(picture, corners)
        tall, wide, _ = part.shape
        fine = (corners - [x, y, 0]) * [1, 2, 1]
        pixels, channels = rasterise(fine, triangles, colours, 2 * tall, wide, SLANT)
        rows, columns = np.divmod(pixels, max(wide, 1))
        pixels = rows // 2 * wide + columns  # of the picture
        cover = np.bincount(pixels, minlength=tall * wide).reshape(tall, wide) / 2
        for k, channel in enumerate(channels):
            light = np.bincount(pixels, weights=channel, minlength=tall * wide)
            part[..., k] += light.reshape(tall, wide) / 2 - cover * part[..., k]

    def _shade_floor(self, picture, places, triangles):
        """The shadow on the floor: soft, and fainter below what is high."""
        high = places[:, 1:2]
        corners = self.pixels(places - high * LIGHT / LIGHT[1])
        corners[:, 2] = -high[:, 0]  # of all that shades a point, the lowest counts
        reach = [max(COARSE, round(share * self.scale)) for share in (0.012, 0.004)]
        part, (x, y) = self._around(picture, corners, margin=2 * np.array(reach) + COARSE)
        tall, wide, _ = part.shape
        rows, columns = -(-tall // COARSE), -(-wide // COARSE)
        coarse = (corners - [x, y, 0]) / COARSE
        pixels, (over,) = rasterise(coarse, triangles, high, rows, columns)
        shade = np.zeros(rows * columns, dtype=np.float32)
        shade[pixels] = 0.34 * (1 - 0.6 * _smoothstep(over / 0.7))
        shade = shade.reshape(rows, columns)
        for axis in range(2):
            shade = _blurred(shade, reach[1 - axis] // COARSE, axis)
        shade = np.repeat(np.repeat(shade, COARSE, axis=0), COARSE, axis=1)
        part *= 1 - shade[:tall, :wide, None]

    def _around(self, picture, corners, margin=(0, 0)):
        """The part of the picture around all corners, and (column, row) where it begins."""
        ends = np.floor(corners[:, :2].min(axis=0) - margin), corners[:, :2].max(axis=0) + margin
        (x0, y0), (x1, y1) = np.clip(ends, 0, (self.width, self.height)).astype(int)
        return picture[y0 : y1 + 1, x0 : x1 + 1], (x0, y0)


def _smoothstep(x):
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _blurred(image, reach, axis):
    """The mean over `reach` pixels to both sides, twice."""
    for _ in range(2):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (reach + 1, reach)
        sums = np.cumsum(np.pad(image, pads), axis=axis)
        size, wide = image.shape[axis], 2 * reach + 1
        upper = sums.take(range(wide, wide + size), axis=axis)
        image = (upper - sums.take(range(size), axis=axis)) / wide
    return image


# ------------------------------------------------------------------------------------------------
# 2. Light
# ------------------------------------------------------------------------------------------------
def lit(colours, places, normals, eye):
    """Colours [V, 3] of corners in our light, seen from the direction `eye` [3] -> [V, 3]."""
    look = np.maximum(normals @ eye, 0)
    key = np.maximum((normals @ LIGHT + 0.35) / 1.35, 0)
    sky = 0.5 + 0.5 * normals[:, 1]
    bright = 0.50 + 0.16 * sky + 0.42 * key + 0.06 * look
    bright *= 1 - 0.14 * _smoothstep(1 - places[:, 1] / 0.2) * (1 - sky)  # near the floor
    edge = (1 - look) ** 3  # the edge keeps an arm before a chest
    half = (LIGHT + eye) / np.linalg.norm(LIGHT + eye)
    shine = 0.07 * np.maximum(normals @ half, 0) ** 28
    lit = colours * (bright * (1 - 0.5 * edge))[:, None] + shine[:, None]
    return np.clip(lit, 0, 1).astype(np.float32)


# ------------------------------------------------------------------------------------------------
# 3. Which triangle is seen
# ------------------------------------------------------------------------------------------------
def rasterise(points, triangles, values, height, width, slant=0.0):
    """What is seen at each pixel -> (pixels [n], counted row by row; their values, c of [n]).

    points [V, 3]: x and y in pixels, y down, and a depth that grows towards us; values [V, c] are
    mixed between the corners of a triangle. triangles [T, 3] run counter-clockwise where their
    outside is seen; those seen from inside are left out. A pixel is what is seen in its middle,
    or `slant` to the left of it in even rows, to the right in odd ones.
    """
    x, y, _ = points.T.astype(np.float32)
    shown = _area(x[triangles.T], y[triangles.T]) < 0  # y runs down: counter-clockwise is negative
    triangles = triangles[shown].T  # [3, T]
    owner, row, slopes, starts, left, right = _rows(
        x[triangles], y[triangles], height, width, slant
    )
    # Depth and values along a row: slope * column + start
    mixed = np.concatenate([points[:, 2:], values], axis=1).astype(np.float32)  # [V, 1 + c]
    mixed = mixed[triangles[:, owner]]  # [3, rows, 1 + c]
    slopes = np.einsum("kr,krc->cr", slopes, mixed)  # [1 + c, rows]
    starts = np.einsum("kr,krc->cr", starts, mixed)
    span, column = _runs(left, right)  # [candidates]: the number of the row, and the column
    depth = slopes[0][span] * column + starts[0][span]
    # Depth in the upper bits, the candidate's number in the lower: the largest is the nearest
    low, range_ = (depth.min(), np.ptp(depth) + 1e-9) if len(depth) else (0.0, 1.0)
    key = ((depth - low) * ((1 << 30) / range_)).astype(np.int64) << 32 | np.arange(len(depth))
    nearest = np.full(height * width, -1)
    np.maximum.at(nearest, row[span] * width + column, key)
    pixels = np.flatnonzero(nearest >= 0)
    seen = nearest[pixels] & 0xFFFFFFFF  # [n] candidates
    rows, column = span[seen], column[seen].astype(np.float32)
    mixed = [slope[rows] * column + start[rows] for slope, start in zip(slopes, starts)]
    return pixels, mixed[1:]


def _area(x, y):
    """Twice the signed area of triangles with corners x, y [3, T] -> [T]."""
    return (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])


def _rows(x, y, height, width, slant):
    """Each row of pixels that a triangle crosses; it crosses it in one span of columns.

    -> (triangle [n], row [n], slopes [3, n], starts [3, n], first and last column [n]). The weight
    of corner k in column c is slopes[k] c + starts[k]: inside the triangle all three are positive.
    """
    top = np.maximum(np.ceil(y.min(axis=0) - 0.5), 0).astype(int)  # pixel k is seen at k + 0.5
    last = np.minimum(np.floor(y.max(axis=0) - 0.5), height - 1).astype(int)
    owner, row = _runs(top, last)
    # Weight k falls from 1 at corner k to 0 on the opposite edge: a x + b y + c
    px, py, qx, qy = x[[1, 2, 0]], y[[1, 2, 0]], x[[2, 0, 1]], y[[2, 0, 1]]
    area = _area(x, y)
    a, b, c = (py - qy) / area, (qx - px) / area, (px * qy - qx * py) / area  # [3, T] each
    slopes = a[:, owner]  # [3, n]
    middle = np.array([0.5 - slant, 0.5 + slant], dtype=np.float32)[row % 2]  # [n] of column 0
    starts = slopes * middle + b[:, owner] * (row + 0.5).astype(np.float32) + c[:, owner]
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = -starts / slopes  # the column where the weight is 0
    left = np.where(slopes > 0, zero, -np.inf).max(axis=0)
    right = np.where(slopes < 0, zero, np.inf).min(axis=0)
    left = np.clip(np.ceil(left), 0, width).astype(int)
    right = np.clip(np.floor(right), -1, width - 1).astype(int)
    return owner, row, slopes, starts, left, right


def _runs(first, last):
    """Whole numbers from first[k] to last[k] for each k -> (k [n], number [n])."""
    counts = np.maximum(last - first + 1, 0)
    k = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return k, (first - starts)[k] + np.arange(len(k))
