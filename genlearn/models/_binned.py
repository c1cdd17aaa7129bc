"""What a network answers whose numbers are cut into levels: scores, draws under conditions, and unknown values filled in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..codecs.base import Given
from ..codecs.units import Units
from ..errors import Problem
from ._elimination import Factor
from ._means import NO_UNITS, Beliefs
from ._network import Network, Query
from ._nodes import Nodes
from ._normals import patterns


class Binned:
    """A density over codes: a network over the levels of all columns, times the density of each number inside its bin.

    Arguments:
        nodes: The columns as nodes.
        network: Their network.
    """

    def __init__(self, nodes: Nodes, network: Network) -> None:
        self.nodes, self.network = nodes, network

    def log_prob(self, x: Tensor) -> Tensor:
        """Return `(n,)` log densities of codes."""
        return self.network.log_prob(self.nodes.encode(x)) + self.nodes.log_inside(x)

    def sample(self, n: int, rng: torch.Generator, given: Given | None) -> Tensor:
        """Draw `n` codes: first what conditions are about and what precedes it, by elimination, then the rest in order."""
        levels = torch.full((n, len(self.nodes)), -1)
        evidence = {} if given is None else self.nodes.evidence(given)
        if evidence and given is not None:
            row, fixed, weights = split(evidence, len(self.nodes))
            query = Query(self.network, fixed, evidence, [f.nodes for f in weights])
            buckets = query.buckets(row, weights)
            check_possible(evidence, float(buckets.log_total), given)
            for j, drawn in buckets.draw(n, rng).items():
                levels[:, j] = drawn
            levels[:, sorted(fixed)] = row[:, sorted(fixed)]
        return self.nodes.decode(self.network.forward(levels, rng), rng, given)

    def fill(self, x: Tensor, unknown: Tensor, how: str, rng: torch.Generator, units: Units = NO_UNITS) -> Tensor:
        """Return codes `(n, d)` whose unknown values are drawn, or are the means or the most probable values given the others."""
        nodes, beliefs = self.nodes, Beliefs(units, self.nodes.layout, len(x))
        levels, wanted = nodes.encode(x), nodes.wanted(unknown)
        for columns, rows in patterns(torch.cat([levels >= 0, wanted], 1)):
            sought = [j - len(nodes) for j in columns.tolist() if j >= len(nodes)]
            if not sought:
                continue
            known = frozenset(j for j in columns.tolist() if j < len(nodes)).difference(sought)
            query = Query(self.network, known, [*known, *sought])
            weights = [present(nodes.sizes[j], nodes.nodes[j].absent, j) for j in sought]
            for part in rows.split(query.rows):
                buckets = query.buckets(levels[part], weights)
                if how == "draw":
                    for j, drawn in buckets.draw(len(part), rng).items():
                        levels[part, j] = drawn
                    continue
                found = buckets.marginals()
                for j in sought:
                    weights_of, node = found[j].expand(len(part), -1), nodes.nodes[j]
                    curve = None if node.number is None else beliefs.means.curve(node.number)
                    levels[part, j], mean = nodes.expected(j, weights_of, curve)
                    if node.category is not None:
                        beliefs.learn(part, node.category, nodes.category_share(j, weights_of))
                    if node.number is not None:
                        beliefs.numbers[part, node.number] = mean
        filled = nodes.decode(levels.clamp_min(0), rng if how == "draw" else None)
        if how == "mean":
            filled = beliefs.put(filled, unknown)
        return torch.where(unknown, filled, x)


def split(evidence: dict[int, Tensor], d: int) -> tuple[Tensor, frozenset[int], list[Factor]]:
    """Return conditions as one row of levels `(1, d)`, the nodes that it fixes, and factors for the others."""
    row, fixed, weights = torch.full((1, d), -1), set(), []
    for j, kept in evidence.items():
        if int((kept > 0).sum()) == 1:
            row[0, j] = int(kept.argmax())
            fixed.add(j)
        else:
            weights.append(Factor((j,), kept.log()[None]))
    return row, frozenset(fixed), weights


def present(size: int, absent: int | None, j: int) -> Factor:
    """Return a factor that keeps node `j` from being missing: what is filled in is there."""
    table = torch.zeros(1, size, dtype=torch.float64)
    if absent is not None:
        table[0, absent] = -math.inf
    return Factor((j,), table)


def check_possible(evidence: dict[int, Tensor], log_total: float, given: Given) -> None:
    """Raise `Problem` if nothing meets the conditions."""
    if not all(bool((kept > 0).any()) for kept in evidence.values()) or not log_total > -math.inf:
        raise Problem(f"bayesnet: no record has {', '.join(given.names)} as asked. Widen the condition.")
