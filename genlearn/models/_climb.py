r"""Greedy search for the structure of a Bayesian network: hill climbing and tabu search.

A move adds an edge, removes one or turns one round. The gains of all moves stand in matrices, and a move changes only the rows of the
children it touches, since the score is a sum over families. Tabu search goes on from a top to the best neighbour not yet visited.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ._graphs import Graph, Parents
from ._scores import Array, Families

TIE = 1e-6  # nats that count as no difference
REMEMBERED = 100  # graphs that tabu search does not visit again


class Moves:
    """Gains of every edge that could be added or removed, `(d, d)` at `[child, parent]`, kept up to date child by child."""

    def __init__(self, families: Families, graph: Graph, max_parents: int, need: Array, ban: Array) -> None:
        self.families, self.graph, self.max_parents = families, graph, max_parents
        self.need, self.ban = need, ban
        d = len(need)
        self.add, self.drop = np.full((d, d), -np.inf), np.full((d, d), -np.inf)
        families.warm()
        for child in range(d):
            self.refresh(child)

    def refresh(self, child: int) -> None:
        parents = self.graph.parents(child)
        now = self.families.score(child, parents)
        self.add[child] = self.drop[child] = -np.inf
        if len(parents) < self.max_parents:
            self.add[child] = self.families.adding(child, parents) - now
            self.add[child, self.ban[child]] = -np.inf
        for p in parents:
            if not self.need[child, p]:
                self.drop[child, p] = self.families.score(child, tuple(x for x in parents if x != p)) - now

    def gains(self) -> Array:
        """Return gains `(3, d, d)` of adding, removing and turning round; turning may still close a cycle."""
        add = np.where(self.graph.above.T, -np.inf, self.add)
        return np.stack([add, self.drop, self.drop + self.add.T])

    def after(self, kind: int, child: int, parent: int) -> bytes:
        """Return the graph that a move leads to."""
        edges = self.graph.edges.copy()
        edges[child, parent] = kind == 0
        edges[parent, child] = kind == 2
        return np.packbits(edges).tobytes()

    def make(self, kind: int, child: int, parent: int) -> None:
        if kind == 0:
            self.graph.add(child, parent)
        else:
            self.graph.drop(child, parent)
        self.refresh(child)
        if kind == 2:
            self.graph.add(parent, child)
            self.refresh(parent)


def climb(families: Families, max_parents: int, need: Array, ban: Array, *, patience: int = 0) -> Parents:
    """Return the parents that greedy search ends with.

    Arguments:
        families: Scores.
        max_parents: Most parents of a column.
        need: `(d, d)` edges `[child, parent]` that must be there.
        ban: `(d, d)` edges that must not.
        patience: Moves to go on for after the last best graph, without visiting a graph again (tabu search); 0 stops at the first top.
    """
    graph = Graph(need)
    moves = Moves(families, graph, max_parents, need, ban)
    visited: deque[bytes] = deque(maxlen=REMEMBERED)
    best, here, highest, idle = graph.edges.copy(), 0.0, 0.0, 0
    while len(need):
        if patience:
            visited.append(np.packbits(graph.edges).tobytes())
        found = _best(moves, visited, floor=-np.inf if patience else TIE)
        if found is None:
            break
        gain, kind, child, parent = found
        moves.make(kind, child, parent)
        here += gain
        if here > highest + TIE:
            best, highest, idle = graph.edges.copy(), here, 0
        else:
            idle += 1
            if idle >= patience:
                break
    return [tuple(np.flatnonzero(row).tolist()) for row in best]


def _best(moves: Moves, visited: deque[bytes], floor: float) -> tuple[float, int, int, int] | None:
    gains = moves.gains()
    flat = gains.reshape(-1)
    while True:
        highest = float(flat.max())
        if not highest > floor:
            return None
        first = int(np.argmax(flat >= highest - TIE))
        kind, child, parent = (int(i) for i in np.unravel_index(first, gains.shape))
        legal = kind != 2 or moves.graph.turns(child, parent)
        if legal and not (visited and moves.after(kind, child, parent) in visited):
            return float(flat[first]), kind, child, parent
        flat[first] = -np.inf
