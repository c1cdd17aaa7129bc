r"""Greedy search for the structure of a Bayesian network: hill climbing and tabu search.

A move adds an edge, removes one or turns one round. The gains of all moves stand in matrices, and a move changes only the rows of the
children it touches, since the score is a sum over families. Tabu search goes on from a top to the best neighbour not yet visited.

Many moves are equally good: the first edge, for one, gains the same in both directions, and where the search ends hangs on the choice.
So it starts several times, each time preferring columns in another order, and the best end is kept. Families scored before cost
nothing, so eight starts cost two or three times as much as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import numpy as np

from ._graphs import Graph, Parents
from ._scores import Array, Families

TIE = 1e-6  # nats that count as no difference
STARTS = 8
WIDE = 800  # columns times starts
REMEMBERED = 100  # graphs that tabu search does not visit again


def climb(families: Families, max_parents: int, need: Array, ban: Array, *, patience: int = 0) -> Parents:
    """Return the parents that greedy search ends with.

    Arguments:
        families: Scores.
        max_parents: Most parents of a column.
        need: `(d, d)` edges `[child, parent]` that must be there.
        ban: `(d, d)` edges that must not.
        patience: Moves to go on for after the last best graph, without visiting a graph again (tabu search); 0 stops at the first top.
    """
    d = len(need)
    families.warm()
    begin = Moves(families, Graph(need), max_parents, need, ban)
    begin.refresh(range(d))
    highest, best = -np.inf, need
    for start in range(max(1, min(STARTS, WIDE // max(1, d)))):
        rank = np.random.default_rng(start).permutation(d) if start else np.arange(d)
        gain, edges = _ascend(begin.copy(), rank[:, None] * d + rank, patience)
        if gain > highest + TIE:
            highest, best = gain, edges
    return [tuple(np.flatnonzero(row).tolist()) for row in best]


class Moves:
    """Gains of every edge that could be added or removed, `(d, d)` at `[child, parent]`, kept up to date child by child."""

    def __init__(self, families: Families, graph: Graph, max_parents: int, need: Array, ban: Array) -> None:
        self.families, self.graph, self.max_parents = families, graph, max_parents
        self.need, self.ban = need, ban
        d = len(need)
        self.add, self.drop = np.full((d, d), -np.inf), np.full((d, d), -np.inf)

    def copy(self) -> Moves:
        """Return moves from the same graph that go their own way."""
        other = Moves(self.families, Graph(self.graph.edges), self.max_parents, self.need, self.ban)
        other.add, other.drop = self.add.copy(), self.drop.copy()
        return other

    def refresh(self, children: Collection[int]) -> None:
        """Bring the gains of some children up to date."""
        for child in children:
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

    def best(self, first: Array, visited: Collection[bytes], floor: float) -> tuple[float, int, int, int] | None:
        """Return gain, kind, child and parent of the best move that gains more than `floor`, or None."""
        gains = self.gains()
        flat = gains.reshape(-1)
        while flat.size:
            highest = float(flat.max())
            if not highest > floor:
                return None
            tied = np.flatnonzero(flat >= highest - TIE)
            chosen = int(tied[np.argmin(first.reshape(-1)[tied % first.size])]) if len(tied) > 1 else int(tied[0])
            kind, child, parent = (int(i) for i in np.unravel_index(chosen, gains.shape))
            legal = kind != 2 or self.graph.turns(child, parent)
            if legal and not (visited and self.after(kind, child, parent) in visited):
                return float(flat[chosen]), kind, child, parent
            flat[chosen] = -np.inf
        return None

    def after(self, kind: int, child: int, parent: int) -> bytes:
        """Return the graph that a move leads to."""
        edges = self.graph.edges.copy()
        edges[child, parent] = kind == 0
        edges[parent, child] = kind == 2
        return np.packbits(edges).tobytes()

    def make(self, kind: int, child: int, parent: int) -> None:
        """Make a move: 0 adds, 1 removes, 2 turns round."""
        if kind == 0:
            self.graph.add(child, parent)
        else:
            self.graph.drop(child, parent)
        if kind == 2:
            self.graph.add(parent, child)
        self.refresh((child, parent) if kind == 2 else (child,))


def _ascend(moves: Moves, first: Array, patience: int) -> tuple[float, Array]:
    """Return the best gain over the start, and the edges there; of equally good moves that with the smallest `first` is made."""
    visited: deque[bytes] = deque(maxlen=REMEMBERED)
    edges, here, highest, idle = moves.graph.edges.copy(), 0.0, 0.0, 0
    while True:
        if patience:
            visited.append(np.packbits(moves.graph.edges).tobytes())
        found = moves.best(first, visited, floor=-np.inf if patience else TIE)
        if found is None:
            return highest, edges
        gain, kind, child, parent = found
        moves.make(kind, child, parent)
        here += gain
        if here > highest + TIE:
            edges, highest, idle = moves.graph.edges.copy(), here, 0
        else:
            idle += 1
            if idle >= patience:
                return highest, edges
