"""The sizes of the trees of a model that grows some: leaves and depth of each, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Protocol, runtime_checkable

from .drawings import clipped, short, svg, text

MOST = 60  # trees that are drawn: the largest
LINE, HIGH, WIDE, NAME = 16.0, 90.0, 300.0, 118.0  # height of a row, of columns; length of a bar, of a name
LETTERS = 17


@runtime_checkable
class HasTrees(Protocol):
    """A fitted model that is made of trees; `report` draws how large they are."""

    def tree_sizes(self) -> list[tuple[str, int, int | None]]:
        """Return (what it is for, leaves, depth) of every tree; no name where trees are alike, no depth where it is not kept."""


def exhibit(model: HasTrees) -> dict[str, Any]:
    """Return the sizes of the trees of a model as they are stored: of the largest trees, and in words of all."""
    sizes = sorted(model.tree_sizes(), key=lambda t: -t[1])
    return {"words": _words(sizes), "trees": [list(t) for t in sizes[:MOST]]} if sizes else {}


def _words(sizes: Sequence[tuple[str, int, int | None]]) -> str:
    """Return what is to be seen, in words."""
    depths = [depth for *_, depth in sizes if depth is not None]
    deep = f", {_span(depths)} splits deep" if depths else ""
    return f"{len(sizes)} {'tree' if len(sizes) == 1 else 'trees'} of {_span([n for _, n, _ in sizes])} leaves{deep}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,} (median {median(values):,.0f})"


def view(rows: Sequence[dict[str, Any]], trials: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the template shows of every row that has trees."""
    found = []
    for row in rows:
        kept = trials[row["name"]].get("exhibits", {}).get("trees")
        if kept:
            drawing = draw(kept["trees"], f"Leaves of the trees of {row['name']}: {kept['words']}", row["colour"])
            found.append({"name": row["name"], "colour": row["colour"], "words": kept["words"], "svg": drawing})
    return found


def draw(trees: Sequence[Sequence[Any]], label: str, colour: int) -> str:
    """Draw a bar of the leaves of every tree, largest first; nothing for a single one.

    Arguments:
        trees: (name, leaves, depth).
        label: The drawing in words.
        colour: Number of the model's colour.
    """
    if len(trees) < 2:
        return ""
    most = max(int(leaves) for _, leaves, _ in trees) or 1
    body = ""
    if any(name for name, *_ in trees):
        for i, (name, leaves, depth) in enumerate(trees):
            y, length = LINE * i + 2, (WIDE - NAME) * leaves / most
            body += text(NAME - 6, y + 10, clipped(str(name), LETTERS), "end", "tick name")
            body += f'<rect class="bar" x="{NAME:g}" y="{y:g}" width="{length:.1f}" height="11"/>'
            body += text(NAME + length + 5, y + 10, f"{leaves:,}" + ("" if depth is None else f", {depth} deep"))
        return svg(WIDE + 80, LINE * len(trees) + 2, body, label, f"sizes c{colour}")
    step, left = (WIDE + 40) / max(len(trees), 12), 40.0
    for i, (_, leaves, _) in enumerate(trees):
        high = HIGH * leaves / most
        body += f'<rect class="bar" x="{left + step * i:.1f}" y="{HIGH - high + 6:.1f}" width="{0.8 * step:.1f}" height="{high:.1f}"/>'
    body += text(left - 6, 14, short(float(most)), "end") + text(left - 6, HIGH + 8, "0", "end")
    body += text(left, HIGH + 21, "leaves, the largest tree first")
    return svg(WIDE + 80, HIGH + 26, body, label, f"sizes c{colour}")
