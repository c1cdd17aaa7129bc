"""Small drawings as inline SVG: whiskers, curves, histograms, heat maps. Colours come from the page's style sheet.

Every function returns markup; text in a drawing is real text, and each drawing says in words what it shows.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np

Series = tuple[str, Sequence[float], Sequence[float]]

COLOURS = 6  # of the style sheet, c1 to c6; c0 is real data


def svg(width: float, height: float, body: str, label: str, kind: str) -> str:
    """Return a drawing: its size in pixels, what is in it, what it shows in words, its class."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{body}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "tick", more: str = "") -> str:
    """Return words at a point; `more` are further attributes."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def clipped(words: str, most: int) -> str:
    """Return words shortened to `most` letters.

    Example:
        >>> clipped("Massachusetts", 8)
        'Massach…'
    """
    return words if len(words) <= most else words[: most - 1] + "…"


def short(value: float) -> str:
    """Return a number in at most six characters, for axes.

    Example:
        >>> short(-41.23), short(12500), short(0.00012), short(3.0), short(0.5)
        ('-41.2', '12.5k', '1e-04', '3', '0.5')
    """
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        return f"{value:.0e}"
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (limit if unit == 'M' else 1e3):.3g}{unit}"
    return f"{value:.0f}" if size >= 1000 else f"{value:.3g}"


def whisker(
    value: float, low: float | None, high: float | None, domain: tuple[float, float], goal: float | None, label: str
) -> str:
    """Draw a value with its interval on a line; a thin stroke marks what real data reach.

    Arguments:
        value: The dot.
        low: Left end of the interval; None for no interval.
        high: Right end.
        domain: Values at the two ends of the line.
        goal: The value of real data.
        label: The drawing in words.
    """
    width, height, pad = 112.0, 14.0, 4.0

    def x(v: float) -> float:
        share = (v - domain[0]) / ((domain[1] - domain[0]) or 1.0)
        return pad + (width - 2 * pad) * min(1.0, max(0.0, share))

    body = f'<line class="track" x1="{pad:g}" x2="{width - pad:g}" y1="7" y2="7"/>'
    if goal is not None:
        body += f'<line class="goal" x1="{x(goal):.1f}" x2="{x(goal):.1f}" y1="1" y2="13"/>'
    if low is not None and high is not None:
        body += f'<line class="span" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="7" y2="7"/>'
    return svg(width, height, body + f'<circle class="dot" cx="{x(value):.1f}" cy="7" r="3"/>', label, "whisker")


def curve(series: Sequence[Series], label: str, *, unit: str = "steps") -> str:
    """Draw training curves over steps; the range leaves out the wildest 2 % of the values.

    Arguments:
        series: `(name, x, y)`; the second and later ones are drawn as validation.
        label: The drawing in words.
        unit: What x counts.
    """
    width, height, left, bottom, top = 248.0, 122.0, 44.0, 18.0, 8.0
    xs = np.concatenate([np.asarray(x, float) for _, x, _ in series])
    ys = np.concatenate([np.asarray(y, float) for _, _, y in series])
    ys = ys[np.isfinite(ys)]
    low, high = (
        (float(q) for q in np.quantile(ys, [0.01, 0.99])) if len(ys) > 50 else (float(ys.min()), float(ys.max()))
    )
    if high - low <= 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    first, last = float(xs.min()), float(max(xs.max(), xs.min() + 1))

    def place(x: float, y: float) -> str:
        px = left + (width - left - 6) * (x - first) / (last - first)
        py = top + (height - top - bottom) * (1 - (min(high, max(low, y)) - low) / (high - low))
        return f"{px:.1f},{py:.1f}"

    ground = height - bottom
    body = f'<line class="axis" x1="{left:g}" x2="{width - 6:g}" y1="{ground:g}" y2="{ground:g}"/>'
    body += f'<line class="rule" x1="{left:g}" x2="{width - 6:g}" y1="{top:g}" y2="{top:g}"/>'
    body += text(left - 5, top + 4, short(high), "end") + text(left - 5, ground + 1, short(low), "end")
    body += text(left, height - 4, short(first)) + text(width - 6, height - 4, f"{short(last)} {unit}", "end")
    for number, (_, x, y) in enumerate(series):
        points = " ".join(place(a, b) for a, b in _thin(x, y) if math.isfinite(b))
        body += f'<polyline class="{"line" if number == 0 else "line second"}" points="{points}"/>'
    return svg(width, height, body, label, "curve")


def _thin(x: Sequence[float], y: Sequence[float], most: int = 160) -> list[tuple[float, float]]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return [(float(x[i]), float(y[i])) for i in keep]


def histogram(
    edges: Sequence[float],
    real: Sequence[float],
    fakes: Sequence[tuple[int, Sequence[float]]],
    label: str,
    *,
    dates: bool = False,
) -> str:
    """Draw the distribution of a number column: real as a filled ground, models as stepped lines.

    Arguments:
        edges: `(bins + 1,)` limits of the bins.
        real: `(bins,)` shares of real records.
        fakes: `(colour number, shares)` per model.
        label: The drawing in words.
        dates: Edges are seconds since 1970, written as days.
    """
    width, height, bottom, top = 236.0, 100.0, 16.0, 4.0
    peak = max([*real, *(s for _, shares in fakes for s in shares), 1e-9])
    step = width / len(real)

    def outline(shares: Sequence[float]) -> str:
        points = []
        for j, share in enumerate(shares):
            y = top + (height - top - bottom) * (1 - share / peak)
            points += [f"{j * step:.1f},{y:.1f}", f"{(j + 1) * step:.1f},{y:.1f}"]
        return " ".join(points)

    ground = height - bottom
    body = f'<polygon class="ground" points="0,{ground:g} {outline(real)} {width:g},{ground:g}"/>'
    body += "".join(f'<polyline class="line c{colour}" points="{outline(shares)}"/>' for colour, shares in fakes)
    body += f'<line class="axis" x1="0" x2="{width:g}" y1="{ground:g}" y2="{ground:g}"/>'
    first, last = ends(edges, dates)
    body += text(0, height - 3, first) + text(width, height - 3, last, "end")
    return svg(width, height, body, label, "histogram")


def ends(edges: Sequence[float], dates: bool = False) -> tuple[str, str]:
    """Return the outer limits of bins as a person names them; bins around whole numbers begin and end at whole numbers.

    Example:
        >>> ends([-0.5, 0.5, 1.5]), ends([0, 86400], dates=True)
        (('0', '1'), ('1970-01-01', '1970-01-02'))
    """
    inner = 0.5 if all(float(e) % 1 == 0.5 for e in edges) else 0.0
    first, last = edges[0] + inner, edges[-1] - inner
    if dates:
        return str(np.datetime64(int(first), "s"))[:10], str(np.datetime64(int(last), "s"))[:10]
    return short(first), short(last)


def bars(levels: Sequence[str], real: Sequence[float], fakes: Sequence[tuple[int, Sequence[float]]], label: str) -> str:
    """Draw the shares of a category column: real as a filled bar, models as strokes on it.

    Arguments:
        levels: Names of the levels, top to bottom.
        real: `(levels,)` shares of real records.
        fakes: `(colour number, shares)` per model.
        label: The drawing in words.
    """
    width, line, name = 236.0, 15.0, 98.0
    height = line * len(levels) + 2
    peak = max([*real, *(s for _, shares in fakes for s in shares), 1e-9])
    body = ""
    for j, (level, share) in enumerate(zip(levels, real, strict=True)):
        y = j * line + 2
        body += text(name - 6, y + 9.5, clipped(level, 14), "end")
        body += (
            f'<rect class="ground" x="{name:g}" y="{y:g}" width="{(width - name - 4) * share / peak:.1f}" height="11"/>'
        )
        for k, (colour, shares) in enumerate(fakes):
            x, part = name + (width - name - 4) * shares[j] / peak, 11 / len(fakes)
            body += f'<line class="mark c{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{y + k * part:.1f}" y2="{y + (k + 1) * part:.1f}"/>'
    return svg(width, height, body, label, "bars")


def heatmap(matrix: np.ndarray, names: Sequence[str], label: str) -> str:
    """Draw a matrix of values in [-1, 1]: blue below zero, red above, nothing at zero, grey where there is no value.

    Arguments:
        matrix: `(n, n)` values.
        names: The columns; written beside the picture while they can be read.
        label: The drawing in words.
    """
    from PIL import Image

    n = len(matrix)
    value = np.clip(np.nan_to_num(matrix), -1, 1)
    colour = np.where(value[..., None] < 0, (49, 105, 170), (190, 74, 49)).astype(np.uint8)
    alpha = np.round(255 * np.abs(value) ** 0.7)[..., None].astype(np.uint8)
    rgba = np.concatenate([colour, alpha], 2)
    rgba[~np.isfinite(matrix)] = (128, 128, 128, 60)
    buffer = io.BytesIO()
    Image.fromarray(rgba, "RGBA").save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    side, left = 192.0, 84.0 if n <= 20 else 0.0
    body = f'<image class="pixels" href="data:image/png;base64,{data}" x="{left:g}" y="0" width="{side:g}" height="{side:g}"/>'
    body += f'<rect class="frame" x="{left:g}" y="0" width="{side:g}" height="{side:g}"/>'
    if left:
        for j, name in enumerate(names):
            body += text(left - 5, (j + 0.5) * side / n + 3, clipped(name, 12), "end")
    return svg(side + left, side + 2, body, label, "heatmap")
