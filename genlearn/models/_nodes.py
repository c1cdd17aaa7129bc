"""The columns of a layout as nodes of a discrete network: numbers are cut into levels, a number and its gate are one node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..codecs.base import Given
from ..layout import Layout
from ._bins import Bins
from ._means import Curve


@dataclass(frozen=True)
class Node:
    """One variable of a network.

    Its levels are those of its category, or the bins of its number; of a gated number the bins, then what else the gate may say.

    Arguments:
        name: The field's name; with its place, where a field has several values.
        category: Column of its category or gate; None for a number without gate.
        number: Column of its number; None for a category.
        bin_index: Which of the cut numbers that is.
        bins: Number of its bins.
        size: Number of levels.
        absent: The level that means "missing", if there is one.
        labels: Names of the category's levels, if they have names.
    """

    name: str
    category: int | None
    number: int | None
    bin_index: int
    bins: int
    size: int
    absent: int | None
    labels: tuple[str, ...]


class Nodes:
    """All columns of a layout (of kinds `real`, `binary`, `category`) as nodes, in column order.

    Arguments:
        layout: What the columns mean.
        bins: How its numbers are cut, in the order of `layout.columns("real")`; None leaves them out, and gates are nodes.
    """

    def __init__(self, layout: Layout, bins: Bins | None) -> None:
        self.layout, self.bins = layout, bins
        numbers = layout.columns("real")
        self.numbers = numbers if bins is not None else []
        merged = {f.gate: s.start for f, s in layout.slices() if f.gate and bins is not None}
        self.nodes: list[Node] = []
        for f, s in layout.slices():
            for i, j in enumerate(range(s.start, s.stop)):
                name = f.name if f.size == 1 else f"{f.name}[{i}]"
                if f.kind == "real" and bins is not None:
                    at, gate = numbers.index(j), next((x for x in layout.fields if x.name == f.gate), None)
                    own, others = bins.sizes[at], gate.levels - 1 if gate else 0
                    absent = None if gate is None or gate.absent is None else own + gate.absent - 1
                    column = layout.where[gate.name].start if gate else None
                    labels = gate.labels[1:] if gate else ()
                    self.nodes.append(Node(name, column, j, at, own, own + others, absent, labels))
                elif f.kind != "real" and f.name not in merged:
                    size = 2 if f.kind == "binary" else f.levels
                    self.nodes.append(Node(name, j, None, -1, 0, size, f.absent, f.labels))
        self.sizes = [node.size for node in self.nodes]
        self.names = [node.name for node in self.nodes]

    def __len__(self) -> int:
        return len(self.nodes)

    def encode(self, x: Tensor) -> Tensor:
        """Return the levels `(n, nodes)` of codes, int64, -1 where unknown."""
        out = torch.empty(len(self.nodes), len(x), dtype=torch.long).T  # columns are read one by one
        cut = self.bins.level(x[:, self.numbers].double()) if self.bins is not None else x[:, :0]
        for i, node in enumerate(self.nodes):
            if node.number is None:
                level = x[:, node.category].double()  # type: ignore[index]  # a node has one of the two
            else:
                level = cut[:, node.bin_index]
                if node.category is not None:
                    gate = x[:, node.category].double()
                    level = torch.where(gate > 0, gate - 1 + node.bins, level)
            out[:, i] = torch.nan_to_num(level, nan=-1.0).long().clamp_max(node.size - 1)
        return out

    def log_inside(self, x: Tensor) -> Tensor:
        """Return the log densities `(n,)` of the numbers given their bins."""
        if self.bins is None:
            return torch.zeros(len(x), dtype=torch.float64)
        return self.bins.log_density(x[:, self.numbers].double()).sum(1)

    def wanted(self, unknown: Tensor) -> Tensor:
        """Return which nodes `(n, nodes)` hold an unknown column of `(n, d)`."""
        return torch.stack([unknown[:, self._column(node)] for node in self.nodes], 1)

    @staticmethod
    def _column(node: Node) -> int:
        column = node.category if node.number is None else node.number
        assert column is not None
        return column

    def evidence(self, given: Given) -> dict[int, Tensor]:
        """Return what conditions leave of the levels of the nodes they are about, `(size,)` from 0 to 1."""
        found = {}
        for i, node in enumerate(self.nodes):
            kept = torch.ones(node.size, dtype=torch.float64)
            if node.category is not None:
                shift = node.bins - 1 if node.number is not None else 0
                level = torch.arange(node.size) - shift
                if node.number is not None:
                    level = torch.where(torch.arange(node.size) < node.bins, 0, level)
                kept *= _holds(level, given, node.category)
            if node.number is not None:
                shown = torch.arange(node.size) < node.bins
                if not torch.isnan(given.x[0, node.number]):
                    kept *= torch.arange(node.size) == self._bin(node, float(given.x[0, node.number]))
                elif node.number in given.ranges and self.bins is not None:
                    share = self.bins.share(node.bin_index, *given.ranges[node.number])
                    kept *= torch.nn.functional.pad(share, (0, node.size - node.bins)) * shown
            if bool((kept < 1).any()):
                found[i] = kept
        return found

    def _bin(self, node: Node, value: float) -> int:
        assert self.bins is not None
        x = torch.full((1, len(self.numbers)), torch.nan, dtype=torch.float64)
        x[0, node.bin_index] = value
        return int(self.bins.level(x)[0, node.bin_index])

    def decode(self, levels: Tensor, rng: torch.Generator | None = None, given: Given | None = None) -> Tensor:
        """Return codes `(n, d)` of levels `(n, nodes)`: numbers drawn from `rng`, or the means of their bins; gates shut.

        Arguments:
            levels: `(n, nodes)`.
            rng: None for means.
            given: Conditions that the levels meet already: values are kept, ranges narrow the draws.
        """
        out = torch.full((len(levels), self.layout.size), torch.nan, dtype=torch.float64)
        cut = torch.zeros(len(levels), len(self.numbers), dtype=torch.float64)
        for i, node in enumerate(self.nodes):
            if node.number is not None:
                cut[:, node.bin_index] = levels[:, i].clamp_max(node.bins - 1).double()
            if node.category is not None:
                shift = node.bins - 1 if node.number is not None else 0
                out[:, node.category] = (levels[:, i] - shift).clamp_min(0).double()
        if self.bins is not None and self.numbers:
            ranges = {} if given is None else given.ranges
            asked = {i: ranges[j] for i, j in enumerate(self.numbers) if j in ranges}
            out[:, self.numbers] = self.bins.mean(cut) if rng is None else self.bins.draw(cut, rng, asked)
        if given is not None:
            out = torch.where(torch.isnan(given.x), out, given.x.double())
        return self.layout.shut_gates(out)

    def expected(self, i: int, weights: Tensor, curve: Curve | None = None) -> tuple[Tensor, Tensor]:
        """Return the most probable level `(n,)` of a node, and the mean `(n,)` of its number in the bins, given weights `(n, size)`;
        of the `curve` of it, where there is one.

        All bins together count as one level, "a number is present".
        """
        node = self.nodes[i]
        if node.number is None or self.bins is None:
            return weights.argmax(1), torch.full((len(weights),), torch.nan, dtype=torch.float64)
        shown = weights[:, : node.bins]
        mean = (shown * self.bins.means(node.bin_index, curve)).sum(1) / shown.sum(1).clamp_min(1e-300)
        whole = torch.cat([shown.sum(1, keepdim=True), weights[:, node.bins :]], 1).argmax(1)
        return torch.where(whole == 0, shown.argmax(1), whole - 1 + node.bins), mean

    def category_share(self, i: int, weights: Tensor) -> Tensor:
        """Return what weights `(n, size)` of a node say of its category or gate, `(n, levels)`."""
        node = self.nodes[i]
        if node.number is None:
            return weights
        return torch.cat([weights[:, : node.bins].sum(1, keepdim=True), weights[:, node.bins :]], 1)


def _holds(level: Tensor, given: Given, column: int) -> Tensor:
    """Return 1 for levels that a condition on a category's column allows, else 0."""
    value = given.x[0, column]
    if not torch.isnan(value):
        return (level == value).double()
    low, high = given.ranges.get(column, (-torch.inf, torch.inf))
    return ((level >= low) & (level <= high)).double()
