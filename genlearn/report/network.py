"""The graph of a model that has one: which column depends on which, in layers from the top down, as inline SVG.

References:
    Methods for Visual Understanding of Hierarchical System Structures (Sugiyama et al., 1981), https://doi.org/10.1109/TSMC.1981.4308636
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .drawings import clipped, svg, text

Edges = Sequence[Sequence[Any]]

MOST_EDGES = 120  # that are drawn: the strongest
LETTERS = 16  # of a name
GAP, ROW, HIGH, PAD = 14.0, 58.0, 21.0, 4.0  # between nodes, between layers; height of a node; rim
SWEEPS = 12


@runtime_checkable
class HasGraph(Protocol):
    """A fitted model that can say which column depends on which; `report` draws it."""

    def graph(self) -> tuple[list[str], list[tuple[int, int, float]]]:
        """Return the names of the nodes, and edges (parent, child, strength); there is no cycle."""


def exhibit(model: HasGraph) -> dict[str, Any]:
    """Return the graph of a model as it is stored: its strongest edges, and the nodes that they join."""
    names, edges = model.graph()
    shown = sorted(sorted(edges, key=lambda e: -e[2])[:MOST_EDGES])
    joined = sorted({v for a, b, _ in shown for v in (a, b)})
    place = {v: i for i, v in enumerate(joined)}
    return {
        "nodes": [names[v] for v in joined], "columns": len(names), "links": len(edges),
        "alone": len(names) - len({v for a, b, _ in edges for v in (a, b)}),
        "edges": [[place[a], place[b], round(float(w), 4)] for a, b, w in shown],
    }  # fmt: skip


def view(rows: Sequence[dict[str, Any]], trials: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the template shows of every row that has a graph."""
    found = []
    for row in rows:
        kept = trials[row["name"]].get("exhibits", {}).get("graph")
        if not kept:
            continue
        all_shown = len(kept["edges"]) == kept["links"]
        which = (
            f"{kept['links']} edges" if all_shown else f"the strongest {len(kept['edges'])} of {kept['links']} edges"
        )
        alone = f", {kept['alone']} of which stand alone" if kept["alone"] else ""
        words = f"{which} among {kept['columns']} columns{alone}"
        found.append({
            "name": row["name"], "colour": row["colour"], "words": words,
            "svg": draw(kept["nodes"], kept["edges"], f"Graph of {row['name']}: {words}", row["colour"]),
        })  # fmt: skip
    return found


def draw(names: Sequence[str], edges: Edges, label: str, colour: int) -> str:
    """Draw a graph without cycles: parents above children, stronger edges thicker.

    Arguments:
        names: The nodes.
        edges: (parent, child, strength).
        label: The drawing in words.
        colour: Number of the model's colour.
    """
    said = [clipped(str(name), LETTERS) for name in names]
    width = [6.6 * len(name) + 14 for name in said]
    if not names:
        return ""
    layers, chains, layer = layered(len(names), [(int(a), int(b)) for a, b, _ in edges])
    x, total = _places(layers, chains, width)
    y = [PAD + HIGH / 2 + ROW * k for k in layer]
    most = max((float(w) for *_, w in edges), default=0.0) or 1.0
    body = ""
    for (*_, w), chain in zip(edges, chains, strict=True):
        thick = 0.8 + 2.4 * (max(float(w), 0.0) / most) ** 0.5
        body += _edge([(x[v], y[v]) for v in chain], thick)
    for v, name in enumerate(said):
        corner = f'x="{x[v] - width[v] / 2:.1f}" y="{y[v] - HIGH / 2:.1f}"'
        body += f'<rect class="node" {corner} width="{width[v]:.1f}" height="{HIGH:g}" rx="5"/>'
        body += text(x[v], y[v] + 4, name, "middle", "tick name")
    return svg(total, 2 * PAD + HIGH + ROW * (len(layers) - 1), body, label, f"network c{colour}")


def _edge(points: Sequence[tuple[float, float]], thick: float) -> str:
    """Draw a smooth line downwards through points, with an arrow at its end."""
    (x, y), (end_x, end_y) = points[0], points[-1]
    tip = end_y - HIGH / 2
    stops = [(x, y + HIGH / 2), *points[1:-1], (end_x, tip - 5)]
    line = f"M{stops[0][0]:.1f} {stops[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(stops):
        bend = (y1 - y0) / 2
        line += f"C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
    arrow = f"M{end_x - 3.6:.1f} {tip - 6.5:.1f}h7.2l-3.6 6.5z"
    return f'<path class="link" stroke-width="{thick:.1f}" d="{line}"/><path class="arrow" d="{arrow}"/>'


def layered(n: int, edges: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Return layers of nodes in order, the way of every edge through the layers, and the layer of every node.

    An edge over several layers passes through nodes of its own, numbered from `n`. Nodes are ordered within layers so that few
    edges cross: each goes to the mean place of its neighbours, downwards and upwards in turn.
    """
    layer = _depths(n, edges)
    chains = []
    for a, b in edges:
        between = range(len(layer), len(layer) + layer[b] - layer[a] - 1)
        layer += range(layer[a] + 1, layer[b])
        chains.append([a, *between, b])
    layers: list[list[int]] = [[] for _ in range(max(layer, default=0) + 1)]
    for v, k in enumerate(layer):
        layers[k].append(v)
    above, below = _neighbours(len(layer), chains)
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for members in layers if sweep % 2 == 0 else layers[::-1]:
            place = {v: i for own in layers for i, v in enumerate(own)}
            mean = {v: float(np.mean([place[u] for u in near[v]])) if near[v] else float(place[v]) for v in members}
            rank = {v: (mean[v], place[v]) for v in members}
            members.sort(key=rank.__getitem__)
    return layers, chains, layer


def _depths(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the layer of every node: as far up as its parents allow; what has none stands just above its first child."""
    depth = [0] * n
    for _ in range(n):
        deeper = [max([depth[a] + 1 for a, b in edges if b == v], default=0) for v in range(n)]
        if deeper == depth:
            break
        depth = deeper
    else:
        if n:
            raise ValueError("the graph has a cycle")
    roots = set(range(n)) - {b for _, b in edges}
    lifted = {v: min((depth[b] for a, b in edges if a == v), default=1) - 1 for v in roots}
    return [lifted.get(v, d) for v, d in enumerate(depth)]


def _neighbours(n: int, chains: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(n)]
    below: list[list[int]] = [[] for _ in range(n)]
    for chain in chains:
        for a, b in itertools.pairwise(chain):
            above[b].append(a)
            below[a].append(b)
    return above, below


def _places(
    layers: Sequence[Sequence[int]], chains: Sequence[Sequence[int]], width: Sequence[float]
) -> tuple[list[float], float]:
    """Return where every node stands from left to right, and how wide the drawing is.

    In every layer: the least squares fit to the mean place of the neighbours that keeps order and distances.
    """
    from sklearn.isotonic import isotonic_regression

    count = sum(map(len, layers))
    wide = [*width, *[8.0] * (count - len(width))]
    above, below = _neighbours(count, chains)
    x = [0.0] * count
    offsets = []
    for members in layers:
        steps = [(wide[a] + wide[b]) / 2 + GAP for a, b in itertools.pairwise(members)]
        offsets.append(np.cumsum([0.0, *steps]) if members else np.zeros(0))
        for v, at in zip(members, offsets[-1] - (offsets[-1][-1] / 2 if members else 0), strict=True):
            x[v] = float(at)
    for sweep in range(SWEEPS):
        order = range(len(layers)) if sweep % 2 == 0 else range(len(layers) - 1, -1, -1)
        for k in order:
            if not layers[k]:
                continue
            wish = [float(np.mean([x[u] for u in (*above[v], *below[v])] or [x[v]])) for v in layers[k]]
            fitted = isotonic_regression(np.array(wish) - offsets[k]) + offsets[k]
            for v, at in zip(layers[k], fitted, strict=True):
                x[v] = float(at)
    left = min((x[v] - wide[v] / 2 for v in range(count)), default=0.0)
    right = max((x[v] + wide[v] / 2 for v in range(count)), default=0.0)
    return [at - left + PAD for at in x], right - left + 2 * PAD
