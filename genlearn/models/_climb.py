r"""Greedy search for the structure of a Bayesian network: hill climbing and tabu search.

A move adds an edge, removes one or turns one round. The gains of all moves stand in matrices, and a move changes only the rows of the
children it touches, since the score is a sum over families. Tabu search goes on from a top to the best neighbour not yet visited.

The first top is seldom the highest, since many moves are equally good and the search commits itself early. So a few columns are
freed of their edges and the search climbs again, some rounds long, and keeps what is better. Most families were scored before: a
round costs little.

References:
    Iterated Local Search (Lourenco et al., 2003), https://doi.org/10.1007/0-306-48056-5_11
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import numpy as np

from ._graphs import Graph, Parents
from ._scores import Array, Families

TIE = 1e-6  # nats that count as no difference
FREED = 1 / 4  # share of the columns that a round frees of their edges
MOST_FREED = 8
REMEMBERED = 100  # graphs that tabu search does not visit again


def climb(
    families: Families, max_parents: int, need: Array, ban: Array, *, rounds: int = 12, patience: int = 0
) -> Parents:
    """Return the parents that greedy search ends with.

    Arguments:
        families: Scores.
        max_parents: Most parents of a column.
        need: `(d, d)` edges `[child, parent]` that must be there.
        ban: `(d, d)` edges that must not.
        rounds: How often to free some columns and climb again.
        patience: Moves to go on for after the last best graph, without visiting a graph again (tabu search); 0 stops at a top.
    """
    d = len(need)
    families.warm()
    top = Moves(families, Graph(need), max_parents, need, ban)
    top.refresh(range(d))
    _ascend(top, np.arange(d * d).reshape(d, d), patience)
    rng = np.random.default_rng(0)
    for _ in range(rounds if d > 2 else 0):
        other = top.copy()
        loss = other.free(rng.permutation(d)[: max(2, min(MOST_FREED, int(FREED * d)))])
        rank = rng.permutation(d)  # of equally good moves, another one
        if _ascend(other, rank[:, None] * d + rank, patience) - loss > TIE:
            top = other
    return [top.graph.parents(child) for child in range(d)]


class Moves:
    """Gains of every edge that could be added or removed, `(d, d)` at `[child, parent]`, kept up to date child by child."""

    def __init__(self, families: Families, graph: Graph, max_parents: int, need: Array, ban: Array) -> None:
        self.families, self.graph, self.max_parents = families, graph, max_parents
        self.need, self.ban = need, ban
        d = len(need)
        self.add, self.drop = np.full((d, d), -np.inf), np.full((d, d), -np.inf)

    def copy(self) -> Moves:
        """Return moves from the same graph that go their own way."""
        other = Moves(self.families, self.graph.copy(), self.max_parents, self.need, self.ban)
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
        gains = np.empty((3, *self.add.shape))
        gains[0] = self.add
        gains[0, self.graph.above.T] = -np.inf
        gains[1] = self.drop
        np.add(self.drop, self.add.T, out=gains[2])
        return gains

    def best(self, first: Array, visited: Collection[bytes], floor: float) -> tuple[float, int, int, int] | None:
        """Return gain, kind, child and parent of the best move that gains more than `floor`, or None."""
        gains = self.gains()
        flat = gains.reshape(-1)
        while flat.size:
            highest = float(flat.max())
            if not highest > floor:
                return None
            tied = (flat >= highest - TIE).nonzero()[0]
            chosen = int(tied[np.argmin(first.reshape(-1)[tied % first.size])]) if len(tied) > 1 else int(tied[0])
            kind, child, parent = _place(chosen, len(self.need))
            legal = kind != 2 or self.graph.turns(child, parent)
            if legal and not (visited and self.after(kind, child, parent) in visited):
                return float(flat[chosen]), kind, child, parent
            flat[chosen] = -np.inf
        return None

    def free(self, columns: Array) -> float:
        """Remove all edges of some columns that may go; return how much that loses."""
        freed = np.zeros(len(self.need), dtype=bool)
        freed[columns] = True
        gone = self.graph.edges & ~self.need & (freed[:, None] | freed)
        children = np.flatnonzero(gone.any(1)).tolist()
        before = sum(self.families.score(c, self.graph.parents(c)) for c in children)
        self.go(self.graph.edges & ~gone)
        return before - sum(self.families.score(c, self.graph.parents(c)) for c in children)

    def after(self, kind: int, child: int, parent: int) -> bytes:
        """Return the graph that a move leads to."""
        edges = self.graph.edges.copy()
        edges[child, parent] = kind == 0
        edges[parent, child] = kind == 2
        return np.packbits(edges).tobytes()

    def go(self, edges: Array) -> None:
        """Go to another graph."""
        changed = np.flatnonzero((self.graph.edges != edges).any(1)).tolist()
        self.graph = Graph(edges)
        self.refresh(changed)

    def make(self, kind: int, child: int, parent: int) -> None:
        """Make a move: 0 adds, 1 removes, 2 turns round."""
        if kind == 0:
            self.graph.add(child, parent)
        else:
            self.graph.drop(child, parent)
        if kind == 2:
            self.graph.add(parent, child)
        self.refresh((child, parent) if kind == 2 else (child,))


def _place(chosen: int, d: int) -> tuple[int, int, int]:
    """Return the position `(kind, child, parent)` of a flat one."""
    kind, rest = divmod(chosen, d * d)
    return kind, *divmod(rest, d)


def _ascend(moves: Moves, first: Array, patience: int) -> float:
    """Climb to a top and return the gain; of equally good moves that with the smallest `first` is made."""
    visited: deque[bytes] = deque(maxlen=REMEMBERED)
    here, highest, idle, best = 0.0, 0.0, 0, moves.graph.edges.copy()
    while idle <= patience:
        if patience:
            visited.append(np.packbits(moves.graph.edges).tobytes())
        found = moves.best(first, visited, floor=-np.inf if patience else TIE)
        if found is None:
            break
        gain, kind, child, parent = found
        moves.make(kind, child, parent)
        here += gain
        idle += 1
        if here > highest + TIE:
            best, highest, idle = moves.graph.edges.copy(), here, 0
    if idle:
        moves.go(best)
    return highest
