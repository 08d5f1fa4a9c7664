"""From the drawings of ``glyphs.py`` to one table of equally spaced pen positions that a renderer can deform."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from raysplit.population.handwriting.glyphs import ALLOGRAPHS, CHARACTERS

POINTS = 48
"""Pen positions an allograph: about one a pixel on a tall letter, more than the splat of ``ink.py`` needs."""

WAYS = 16
"""Ways in which a glyph can be bent: the rows of ``GlyphTable.bends``."""

UNIT = 50.0
"""Hundredths of the capital height in one table unit: a capital reaches from -1 to +1."""


@dataclass(frozen=True)
class GlyphTable:
    """All allographs as pen positions, rows in class order.

    ``points``: float64 [2, A, P], x and y about the centre of each glyph's box, capitals 2 units high;
    ``before``/``after``: int64 [A, P], each position's neighbours on its own stroke (itself at a stroke's end);
    ``share``: float64 [A, P], what part of the way from before to after the position stands for;
    ``bends``: float64 [A, WAYS, P], smooth displacement modes: along the page, along the pen's path and stroke by
    stroke; ``first``, ``last``: int64 [62], the first and last row of each class; ``usual``: float64 [A], how much of
    its class's writing is done with an allograph or one before it.
    """

    points: np.ndarray
    before: np.ndarray
    after: np.ndarray
    share: np.ndarray
    bends: np.ndarray
    first: np.ndarray
    last: np.ndarray
    usual: np.ndarray


def _curve(nodes: np.ndarray) -> np.ndarray:
    """A smooth (Catmull-Rom) curve through ``nodes`` [m, 2], 12 points a piece."""
    if len(nodes) == 2:
        return nodes
    padded = np.concatenate([2 * nodes[:1] - nodes[1:2], nodes, 2 * nodes[-1:] - nodes[-2:-1]])
    t = (np.arange(12) / 12)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.concatenate([*pieces, nodes[-1:]])


def _trace(stroke: str) -> np.ndarray:
    """A stroke of ``glyphs.py`` as a dense polyline [m, 2]."""
    straight = stroke.startswith("-")
    tokens = stroke.removeprefix("-").split()
    nodes = np.array([[float(part) for part in token.rstrip("!").split(",")] for token in tokens])
    inner = range(1, len(tokens) - 1)
    corners = [0, *(i for i in inner if straight or tokens[i].endswith("!")), len(tokens) - 1]
    runs = [_curve(nodes[start : stop + 1]) for start, stop in pairwise(corners)]
    return np.concatenate([runs[0], *(run[1:] for run in runs[1:])])


def _walk(line: np.ndarray, count: int) -> np.ndarray:
    """``count`` positions in the middles of equal lengths along a polyline."""
    steps = np.sqrt(((line[1:] - line[:-1]) ** 2).sum(1))
    length = np.concatenate([[0.0], np.cumsum(steps)])
    at = (np.arange(count) + 0.5) / count * length[-1]
    return np.stack([np.interp(at, length, line[:, axis]) for axis in (0, 1)])


def _shares(lengths: np.ndarray) -> np.ndarray:
    """POINTS dealt to strokes by length, at least two each."""
    extra = POINTS - 2 * len(lengths)
    ends = np.rint(np.cumsum(lengths) / lengths.sum() * extra).astype(np.int64)
    return 2 + np.diff(ends, prepend=0)


def _bends(x: np.ndarray, y: np.ndarray, stroke: np.ndarray, along: np.ndarray, stiff: np.ndarray) -> np.ndarray:
    """The displacement modes [WAYS, P] of one glyph, each of size about one; ``stiff`` positions waver less."""
    page = [x, y, x * y, x * x - 0.3, y * y - 0.3, x * x * y, x * y * y, 0.5 * y * y * y]
    pen = [np.cos(np.pi * k * along) * (1.0 if k == 1 else stiff) for k in (1, 2, 3, 4, 5)]
    # Second and third strokes land where they land: bars too high, dots too far, legs that miss.
    parts = [(stroke == 0) * 1.0, (stroke == 1) * 1.0, (stroke >= 2) * 1.0]
    return np.stack([*page, *pen, *parts])


def _glyph(drawing: str) -> tuple[np.ndarray, ...]:
    lines = [_trace(stroke) for stroke in drawing.split(";")]
    lengths = np.array([np.sqrt(((line[1:] - line[:-1]) ** 2).sum(1)).sum() for line in lines])
    counts = _shares(lengths)
    points = np.concatenate([_walk(line, int(n)) for line, n in zip(lines, counts, strict=True)], axis=1)
    whole = np.concatenate(lines)
    points = (points - ((whole.min(0) + whole.max(0)) / 2)[:, None]) / UNIT
    stroke = np.repeat(np.arange(len(lines)), counts)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    stop = np.repeat(np.cumsum(counts), counts) - 1
    index = np.arange(POINTS)
    before, after = np.maximum(index - 1, start), np.minimum(index + 1, stop)
    share = 1.0 / (after - before)
    # People draw a straight line straighter than they draw a bow.
    stiff = np.repeat([0.4 if part.startswith("-") else 1.0 for part in drawing.split(";")], counts)
    return points, before, after, share, _bends(points[0], points[1], stroke, (index + 0.5) / POINTS, stiff)


@lru_cache(maxsize=1)
def glyph_table() -> GlyphTable:
    """The table of all allographs, built once a process (about 20 ms) and read-only."""
    count = np.array([len(ALLOGRAPHS[character]) for character in CHARACTERS])
    glyphs = [_glyph(drawing) for character in CHARACTERS for drawing in ALLOGRAPHS[character]]
    points, before, after, share, bends = zip(*glyphs, strict=True)
    columns = [np.stack(points, axis=1), np.stack(before), np.stack(after), np.stack(share), np.stack(bends)]
    weights = [1.0 / np.arange(1, int(n) + 1) for n in count]
    usual = np.concatenate([np.cumsum(weight / weight.sum()) for weight in weights])
    columns += [np.cumsum(count) - count, np.cumsum(count) - 1, usual]
    for column in columns:
        column.setflags(write=False)
    return GlyphTable(*columns)
