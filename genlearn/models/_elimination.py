r"""Exact inference in networks of discrete nodes: variable elimination over log factors, batched over records.

A factor is a table of logs over some nodes, for one record or for many at once. Eliminating node \(v\) adds up the factors that
hold it, \(\psi_v(v, S_v)\), and leaves \(\log \sum_v \exp \psi_v\) over the other nodes \(S_v\) it met. Walking back through the
\(\psi_v\) gives draws, \(v \sim p(v \mid S_v) \propto \exp \psi_v\), and all marginals, \(p(v, S_v) = p(v \mid S_v)\,p(S_v)\).

References:
    Bucket elimination: a unifying framework for reasoning (Dechter, 1999), https://doi.org/10.1016/S0004-3702(99)00059-4
    Probabilistic Graphical Models (Koller & Friedman, 2009), chapter 9
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import Problem

MOST_CELLS = 2**22  # entries of the largest table that one record may need


@dataclass
class Factor:
    """A table of logs.

    Arguments:
        nodes: What its axes are, after the first.
        table: `(records, *sizes of the nodes)`; one record stands for all.
    """

    nodes: tuple[int, ...]
    table: Tensor

    def over(self, nodes: Sequence[int]) -> Tensor:
        """Return the table with an axis for each of `nodes`, of size 1 where it does not hold that node."""
        own = [n for n in nodes if n in self.nodes]
        table = self.table.permute(0, *(1 + self.nodes.index(n) for n in own))
        sizes = iter(table.shape[1:])
        return table.reshape(len(table), *(next(sizes) if n in self.nodes else 1 for n in nodes))


def min_fill(scopes: Iterable[Sequence[int]], sizes: Sequence[int], most: float = math.inf) -> list[int]:
    """Return an order in which to eliminate all nodes of some factors: next the one whose neighbours lack fewest links.

    Arguments:
        scopes: Nodes of every factor.
        sizes: Levels of every node: of two that lack as many links, the one with the smaller table is next.
        most: Entries of a table at which to give up: the order ends before it.
    """
    near: dict[int, set[int]] = {}
    for scope in scopes:
        for v in scope:
            near.setdefault(v, set()).update(u for u in scope if u != v)

    def cost(v: int) -> tuple[int, float, int]:
        around = near[v]
        lacking = sum(len(around) - 1 - len(near[u] & around) for u in around) // 2
        return lacking, math.log(sizes[v]) + sum(math.log(sizes[u]) for u in around), v

    costs = {v: cost(v) for v in near}
    order = []
    while costs:
        v = min(costs, key=costs.__getitem__)
        if costs[v][1] > math.log(most):
            break
        around = near.pop(v)
        touched = set(around) if costs.pop(v)[0] == 0 else around.union(*(near[u] for u in around))
        for u in around:
            near[u] |= around
            near[u] -= {u, v}
        for u in touched & costs.keys():
            costs[u] = cost(u)
        order.append(v)
    return order


def largest(scopes: Iterable[Sequence[int]], sizes: Sequence[int], order: Sequence[int]) -> tuple[float, float]:
    """Return the entries of the largest table that eliminating in this order needs, and those of all tables together."""
    factors = [frozenset(s) for s in scopes]
    most = total = 1.0
    for v in order:
        met = frozenset().union(*(s for s in factors if v in s)) | {v}
        cells = math.prod(float(sizes[u]) for u in met)
        most, total = max(most, cells), total + cells
        factors = [s for s in factors if v not in s] + [met - {v}]
    return most, total


def check_size(cells: float, model: str) -> None:
    """Raise `Problem` if a table would be too large."""
    if cells > MOST_CELLS:
        raise Problem(
            f"{model}: an exact answer needs a table of {cells:.0e} entries, {MOST_CELLS:.0e} at most are made. "
            "Fit with fewer parents (max_parents=1) or fewer bins, or give more columns."
        )


class Buckets:
    """Factors with all nodes eliminated, ready to be walked back.

    Arguments:
        factors: What is multiplied; every node of them is in `order` or known.
        order: Nodes as they are eliminated.
        sizes: Levels of every node.
    """

    def __init__(self, factors: Sequence[Factor], order: Sequence[int], sizes: Sequence[int]) -> None:
        left = list(factors)
        self.met: list[Factor] = []  # one for each node of the order: the node is the last axis
        for v in order:
            own, left = [f for f in left if v in f.nodes], [f for f in left if v not in f.nodes]
            others = sorted({u for f in own for u in f.nodes} - {v})
            psi = torch.zeros(1, *(1 for _ in others), sizes[v], dtype=torch.float64)
            for f in own:
                psi = psi + f.over([*others, v])
            self.met.append(Factor((*others, v), psi))
            left.append(Factor(tuple(others), torch.logsumexp(psi, -1)))
        self.log_total = torch.zeros(1, dtype=torch.float64)
        for f in left:
            self.log_total = self.log_total + f.table

    def draw(self, n: int, rng: torch.Generator) -> dict[int, Tensor]:
        """Draw `n` levels of every node: equally many for each of the records, next to each other."""
        drawn: dict[int, Tensor] = {}
        for psi in reversed(self.met):
            drawn[psi.nodes[-1]] = pick(at(psi, drawn, n), rng)
        return drawn

    def marginals(self) -> dict[int, Tensor]:
        """Return the probabilities of the levels of every node, `(records, size)`."""
        joints: dict[int, Factor] = {}
        found = {}
        place = {psi.nodes[-1]: i for i, psi in enumerate(self.met)}
        for psi in reversed(self.met):
            *others, v = psi.nodes
            joint = torch.nan_to_num(torch.softmax(psi.table, -1))
            if others:
                above = joints[min(others, key=place.__getitem__)]
                gone = tuple(1 + i for i, u in enumerate(above.nodes) if u not in others)
                rest = Factor(
                    tuple(u for u in above.nodes if u in others), above.table.sum(gone) if gone else above.table
                )
                joint = joint * rest.over(others)[..., None]
            joints[v] = Factor((*others, v), joint)
            found[v] = joint.flatten(1, -2).sum(1) if joint.ndim > 2 else joint
        return found


def at(factor: Factor, values: Mapping[int, Tensor], n: int) -> Tensor:
    """Return the last axis `(n, size)` of a factor where its other nodes have these values, equally many for each record."""
    *others, _ = factor.nodes
    table = factor.table
    place = torch.arange(n) * len(table) // max(1, n)
    for node, size in zip(others, table.shape[1:], strict=False):
        place = place * size + (values[node] if size > 1 else 0)
    return table.reshape(-1, table.shape[-1])[place]


def pick(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Draw a level `(n,)` in proportion to the exponentials of `(n, levels)`."""
    below = torch.softmax(logits, 1).cumsum(1)
    u = torch.rand(len(logits), 1, dtype=below.dtype, generator=rng) * below[:, -1:] * (1 - 1e-12)
    return (below <= u).sum(1).clamp_max(logits.shape[1] - 1)
