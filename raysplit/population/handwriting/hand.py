"""A writer's hand: what stays the same in all that one person writes, and how a sample strays from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysplit.population.handwriting import ink
from raysplit.population.handwriting.glyphs import FREQUENCY
from raysplit.population.handwriting.strokes import WAYS, glyph_table

CLASSES = 62
_KIND = np.repeat([0, 1, 2], [10, 26, 26])  # digits, capitals, small letters
_KIND_PIXELS = np.array([4.7, 5.4, 5.2])  # mean pixels a table unit: half a capital's height
_EVENNESS = np.repeat([8.0, 3.0], [10, 52])  # writers filled all the digit boxes of the forms, not all the letters
_STRAY = 0.07  # how often a writer uses another allograph than their own
_CHUNK = 48  # samples drawn at once: they stay in the cache and below malloc's threshold for fresh pages

# Sizes of the displacement modes of strokes.GlyphTable.bends: page, pen path, stroke by stroke.
_HAND_BEND = np.array([0.05] * 8 + [0.02] * 5 + [0.0] * 3)
_CLASS_BEND = np.array([0.065] * 8 + [0.05, 0.04, 0.025, 0.015, 0.01] + [0.05] * 3)
_SAMPLE_BEND = np.array([0.045] * 8 + [0.03, 0.03, 0.015, 0.012, 0.01] + [0.04] * 3)


@dataclass(frozen=True)
class Hand:
    """One writer. Rows of ``shape`` are allographs, entries of ``habit``, ``cumulative`` and ``size`` classes.

    ``cumulative``: [62], cumulated class shares; ``habit``: int64 [62], the row of each class's own allograph;
    ``bend``: [2, WAYS], ``shape``: [2, A, WAYS], displacement in table units of all letters and of each;
    ``size``: [62], pixels a table unit; ``aspect``, ``slant``, ``turn``: width, lean and tilt of the writing;
    ``offset``: [2], where letters are, in pixels; ``flow``, ``pressure`` [2], ``darkness``: the pen's ink;
    ``care``: how far samples stray, 1 on average.
    """

    cumulative: np.ndarray
    habit: np.ndarray
    bend: np.ndarray
    shape: np.ndarray
    size: np.ndarray
    aspect: float
    slant: float
    turn: float
    offset: np.ndarray
    flow: float
    pressure: np.ndarray
    darkness: float
    care: float


def _choose(classes: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Allograph rows for ``classes`` [n] from uniforms ``draw`` [n], common ones more often."""
    table = glyph_table()
    rows, last = table.first[classes], table.last[classes]
    for _ in range(int((last - rows).max(initial=0))):
        rows = rows + ((rows < last) & (draw >= table.usual[rows]))
    return rows


def draw_hand(random: np.random.Generator, variation: float, skew: float) -> Hand:
    """A new writer from ``random``. ``variation`` scales all that tells hands apart, ``skew`` the class imbalance."""
    table = glyph_table()
    normal = random.standard_normal
    shares = np.array(FREQUENCY)
    if skew > 0:
        kinds = random.standard_gamma(5.0 / skew**2, 3)
        shares = shares * kinds[_KIND] * random.standard_gamma(_EVENNESS / skew**2) / _EVENNESS
        shares = np.maximum(shares, 1e-12)  # a strong skew underflows
    cumulative = np.cumsum(shares)
    size = np.exp(variation * (0.14 * normal() + 0.11 * normal(3)[_KIND] + 0.08 * normal(CLASSES)))
    return Hand(
        cumulative=cumulative / cumulative[-1],
        habit=_choose(np.arange(CLASSES), random.random(CLASSES)),
        bend=variation * _HAND_BEND * normal((2, WAYS)),
        shape=variation * _CLASS_BEND * normal((2, len(table.before), WAYS)),
        size=_KIND_PIXELS[_KIND] * size,
        aspect=float(np.exp(0.08 + variation * 0.13 * normal())),
        slant=float(0.12 + variation * 0.17 * normal()),
        turn=float(variation * 0.05 * normal()),
        offset=variation * 0.35 * normal(2),
        flow=float(np.clip(np.exp(0.65 + variation * 0.32 * normal()), 1.2, 10.0)),
        pressure=variation * 0.18 * normal(2),
        darkness=float(1.0 - 0.12 * random.random() ** 2),
        care=float(np.exp(variation * 0.25 * normal())),
    )


def choose_labels(hand: Hand, count: int, random: np.random.Generator) -> np.ndarray:
    """What ``write`` would write first of all with the same generator: labels, int64 [count]."""
    return np.searchsorted(hand.cumulative, random.random(count), side="right").clip(0, CLASSES - 1)


def write(hand: Hand, count: int, random: np.random.Generator, variation: float) -> tuple[np.ndarray, np.ndarray]:
    """``count`` samples in this hand: images uint8 [count, 28, 28] and labels int64 [count]."""
    labels = choose_labels(hand, count, random)
    stray = random.random(count) < _STRAY * min(variation, 1.0)
    rows = np.where(stray, _choose(labels, random.random(count)), hand.habit[labels])
    jitter = variation * hand.care * random.standard_normal((7, count))
    bend = variation * hand.care * _SAMPLE_BEND * random.standard_normal((2, count, WAYS))
    images = np.empty((count, ink.SIDE, ink.SIDE), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _page(hand, labels[part], rows[part], jitter[:, part], bend[:, part])
    return images, labels


def _page(hand: Hand, labels: np.ndarray, rows: np.ndarray, jitter: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Images [n, 28, 28] of allographs ``rows`` [n] bent by ``bend`` [2, n, WAYS] and strayed by ``jitter`` [7, n]."""
    table = glyph_table()
    modes = table.bends[rows]
    # einsum's own loops, not BLAS: the same bits for any thread count.
    pen = np.einsum("nkp,dnk->dnp", modes, bend + hand.bend[:, None] + hand.shape[:, rows])
    pen += table.points[:, rows]

    scale = hand.size[labels] * np.exp(0.08 * jitter[0])
    width = scale * hand.aspect * np.exp(0.06 * jitter[1])
    slant, turn = hand.slant + 0.06 * jitter[2], hand.turn + 0.05 * jitter[3]
    x = (pen[0] - slant[:, None] * pen[1]) * width[:, None]
    y = (pen[1] + turn[:, None] * pen[0]) * scale[:, None]
    # The forms were cut and centred by box, with a little slack.
    x -= ((x.max(1) + x.min(1)) / 2 - hand.offset[0] - 0.3 * jitter[4])[:, None]
    y -= ((y.max(1) + y.min(1)) / 2 - hand.offset[1] - 0.3 * jitter[5])[:, None]
    shrink = ink.fit(x, y)
    x *= shrink
    y *= shrink

    start = (np.arange(len(rows)) * x.shape[1])[:, None]
    before, after = start + table.before[rows], start + table.after[rows]
    run, rise = x.take(after) - x.take(before), y.take(after) - y.take(before)
    way = np.sqrt(run * run + rise * rise) * table.share[rows]
    press = 1.0 + hand.pressure[0] * modes[:, 8] + hand.pressure[1] * modes[:, 9]
    flow = hand.flow * np.exp(0.12 * jitter[6]) * (scale / 5.0)  # small letters are written with a lighter pen
    drop = np.maximum(way, 0.05) * np.maximum(press, 0.3) * flow[:, None]
    return ink.draw(x, y, drop, np.full(len(rows), hand.darkness))
