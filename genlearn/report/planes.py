"""Drawings of two quantities: densities, boxes, scattered points. Inline SVG in the colours of the page, as in `drawings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .drawings import COLOURS, clipped, ends, svg, text

Axis = dict[str, Any]
Group = tuple[str, Sequence[float], Sequence[float]]

WIDTH, LEFT, TOP, SIDE = 206.0, 72.0, 4.0, 130.0
SHADES = 6  # steps of a density
SHAPES = (  # drawn from the point's place: dot, cross, upright cross, triangle, square, diamond
    "h0",
    "m-2.6-2.6l5.2 5.2m0-5.2l-5.2 5.2",
    "m-3.2 0h6.4m-3.2-3.2v6.4",
    "m0-3.2l3.2 5.4h-6.4z",
    "m-2.4-2.4h4.8v4.8h-4.8z",
    "m0-3.4l3.4 3.4l-3.4 3.4l-3.4-3.4z",
)


def density(x: Axis, y: Axis, shares: Sequence[Sequence[float]], peak: float, colour: int, label: str) -> str:
    """Draw joint shares of two columns as shaded cells; the darkest cell is the densest of real and generated rows.

    Arguments:
        x: Horizontal axis: `name`, and `edges` or `levels`.
        y: Vertical axis.
        shares: `(cells of y, cells of x)`, lowest first.
        peak: The share that is drawn darkest.
        colour: Number of the model's colour, 0 for real records.
        label: The drawing in words.
    """
    grid = np.asarray(shares, dtype=float)
    high, wide = SIDE / grid.shape[0], SIDE / grid.shape[1]
    shade = np.ceil(SHADES * np.sqrt(np.clip(grid / (peak or 1.0), 0, 1))).astype(int)
    body = ""
    for step in range(1, SHADES + 1):
        cells = "".join(
            f"M{LEFT + j * wide:.1f} {TOP + SIDE - (i + 1) * high:.1f}h{wide:.2f}v{high:.2f}h-{wide:.2f}z"
            for i, j in np.argwhere(shade == step)
        )
        body += f'<path class="cell" opacity="{step / SHADES:.2f}" d="{cells}"/>' if cells else ""
    return _framed(body, x, y, f"density c{colour}", label)


def boxes(x: Axis, y: Axis, quantiles: Sequence[Sequence[float] | None], colour: int, label: str) -> str:
    """Draw one box per level: whiskers from 5 % to 95 %, box from 25 % to 75 %, a stroke at the median.

    Arguments:
        x: Axis of the number.
        y: Axis of the levels.
        quantiles: Five numbers per level; None where there are too few rows.
        colour: Number of the model's colour, 0 for real records.
        label: The drawing in words.
    """
    low, high = x["edges"][0], x["edges"][-1]

    def place(value: float) -> float:
        return LEFT + SIDE * min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))

    body, line = "", SIDE / len(quantiles)
    for k, five in enumerate(quantiles):
        if five is None:
            continue
        a, b, c, d, e = (place(q) for q in five)
        middle, half = TOP + SIDE - (k + 0.5) * line, min(line / 3, 9)
        body += f'<path class="stem" d="M{a:.1f} {middle:.1f}H{e:.1f}"/>'
        tall = f'y="{middle - half:.1f}" height="{2 * half:.1f}"'
        body += f'<rect class="box" x="{b:.1f}" width="{max(d - b, 2):.1f}" {tall}/>'
        if d - b > 4:  # in a thinner box there is nothing to be parted
            body += f'<path class="median" d="M{c:.1f} {middle - half:.1f}v{2 * half:.1f}"/>'
    return _framed(body, x, y, f"boxes c{colour}", label)


def _framed(body: str, x: Axis, y: Axis, kind: str, label: str) -> str:
    """Put axes around a square: ends of a number, names of levels."""
    ground, right = TOP + SIDE, LEFT + SIDE
    body = f'<rect class="frame" x="{LEFT:g}" y="{TOP:g}" width="{SIDE:g}" height="{SIDE:g}"/>' + body
    foot = 30.0
    if "edges" in x:
        first, last = ends(x["edges"], x["dates"])
        body += text(LEFT, ground + 12, first) + text(right, ground + 12, last, "end")
    else:
        step, foot = SIDE / len(x["levels"]), 62.0
        for j, level in enumerate(x["levels"]):
            at = f'transform="translate({LEFT + (j + 0.6) * step:.1f} {ground + 9:.1f}) rotate(-38)"'
            body += text(0, 0, clipped(level, 9), "end", more=at)
    body += text(LEFT + SIDE / 2, ground + foot - 5, clipped(x["name"], 24), "middle", "tick name")
    if "edges" in y:
        first, last = ends(y["edges"], y["dates"])
        body += text(LEFT - 5, ground, first, "end") + text(LEFT - 5, TOP + 9, last, "end")
    else:
        step = SIDE / len(y["levels"])
        for i, level in enumerate(y["levels"]):
            body += text(LEFT - 5, ground - (i + 0.5) * step + 3.5, clipped(level, 9), "end")
    return svg(WIDTH, ground + foot, body, label, kind)


def scatter(groups: Sequence[Group], axes: tuple[str, str], label: str) -> str:
    """Draw points in groups that differ by colour and by shape; groups with names of one or two letters are drawn as their name.

    Arguments:
        groups: `(name, x, y)`; an empty name is drawn grey.
        axes: Names of the axes.
        label: The drawing in words.
    """
    width, height, pad = 320.0, 310.0, 12.0
    xs, ys = (np.concatenate([np.asarray(g[k], float) for g in groups]) for k in (1, 2))
    spans = [(float(v.min()), max(float(v.max() - v.min()), 1e-9)) for v in (xs, ys)]
    inner = width - 2 * pad, height - 2 * pad - 20

    def place(a: float, b: float) -> tuple[float, float]:
        (left, wide), (low, high) = spans
        return pad + inner[0] * (a - left) / wide, pad + inner[1] * (1 - (b - low) / high)

    body = f'<rect class="frame" x="1" y="1" width="{width - 2:g}" height="{height - 22:g}"/>'
    for k, (name, x, y) in enumerate(groups):
        colour = f"c{k % COLOURS + 1}" if name else "c0"
        where = [place(a, b) for a, b in zip(x, y, strict=True)]
        if as_words(groups):
            body += (
                f'<g class="words {colour}">' + "".join(text(a, b + 3.5, name, "middle", "") for a, b in where) + "</g>"
            )
        else:
            shape = SHAPES[k % len(SHAPES)] if name else SHAPES[0]
            body += f'<path class="points {colour}" d="{"".join(f"M{a:.1f} {b:.1f}{shape}" for a, b in where)}"/>'
    body += text(1, height - 6, f"{axes[0]} →") + text(width - 1, height - 6, f"{axes[1]} ↑", "end")
    return svg(width, height, body, label, "scatter")


def as_words(groups: Sequence[Group]) -> bool:
    """Return whether the groups have names, and short enough ones to be drawn as points."""
    return all(len(name) <= 2 for name, _, _ in groups) and any(name for name, _, _ in groups)


def key(k: int) -> str:
    """Return the shape of group `k` of a scatter, for a legend."""
    shape = f'<path class="points" d="M0 0{SHAPES[k % len(SHAPES)]}"/>'
    size = 'viewBox="-6 -6 12 12" width="12" height="12"'
    return f'<svg class="key c{k % COLOURS + 1}" {size} aria-hidden="true">{shape}</svg>'
