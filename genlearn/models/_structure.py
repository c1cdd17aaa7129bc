r"""Structures of Bayesian networks from discrete records: hill climbing, tabu search, exact search, Chow-Liu trees.

Greedy search moves from graph to graph by one edge added, removed or turned round. The gains of all moves stand in a matrix, and a move
changes only the rows of the children it touches. Exact search finds the best parents of every column among every subset of the
others, and then the best last column of every subset.

Columns are put in an order that depends on what they hold before anything is compared, so ties fall the same way however a table is
arranged.

References:
    A Simple Approach for Finding the Globally Optimal Bayesian Network Structure (Silander & Myllymaki, 2006), https://arxiv.org/abs/1206.6875
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np

from ..errors import Problem
from ._scores import MOST_CELLS, Array, Families, Score

Search = Literal["hill-climbing", "tabu", "chow-liu", "exact"]
Edges = Sequence[tuple[int, int]]
Parents = list[tuple[int, ...]]

MOST_COLUMNS = 1000  # of a greedy search: it keeps the gain of every pair
MOST_EXACT = 20  # of an exact search: it keeps a number for every subset and column
MOST_PLACES = 2**28  # records times levels, which are held as one matrix
TIE = 1e-6  # nats that count as no difference
REMEMBERED = 100  # graphs that tabu search does not visit again
PATIENCE = 30  # moves that tabu search makes without a new best graph


def learn(
    levels: Array,
    sizes: Sequence[int],
    *,
    search: Search = "hill-climbing",
    score: Score = "bic",
    equivalent: float = 1.0,
    max_parents: int = 3,
    required: Edges = (),
    forbidden: Edges = (),
    rng: Any = None,
) -> Parents:
    """Return the parents of every column, in rising order.

    Arguments:
        levels: `(n, d)` levels, negative where unknown.
        sizes: Number of levels of every column.
        search: How to look for a graph.
        score: What makes a graph good.
        equivalent: Equivalent sample size of BDeu.
        max_parents: Most parents of a column.
        required: Edges `(parent, child)` that the graph must have.
        forbidden: Edges `(parent, child)` that it must not have.
        rng: Not used: no search draws anything.
    """
    n, d = levels.shape
    _check(n, d, sizes, search, max_parents, required, forbidden)
    order = content_order(levels, sizes)
    place = {j: i for i, j in enumerate(order)}
    need, ban = (np.zeros((d, d), dtype=bool) for _ in range(2))  # [child, parent]
    for matrix, edges in ((need, required), (ban, forbidden)):
        for a, b in edges:
            matrix[place[b], place[a]] = True
    if search == "chow-liu":
        raise NotImplementedError
    families = Families(levels[:, order], [sizes[j] for j in order], score, equivalent)
    if search == "exact":
        found = exact(families, max_parents, need, ban)
    else:
        found = climb(families, max_parents, need, ban, patience=PATIENCE if search == "tabu" else 0)
    parents: Parents = [()] * d
    for i, j in enumerate(order):
        parents[j] = tuple(sorted(order[p] for p in found[i]))
    return parents


def content_order(levels: Array, sizes: Sequence[int]) -> list[int]:
    """Return the columns in an order that depends on their content only (and on their position where they are equal)."""
    keys = []
    for j in range(levels.shape[1]):
        column = np.ascontiguousarray(levels[:, j], dtype=np.int32)
        share = np.bincount(column[column >= 0], minlength=1) / max(1, len(column))
        entropy = -float((share * np.log(np.maximum(share, 1e-300))).sum())
        keys.append((-round(entropy, 9), sizes[j], hashlib.blake2b(column.tobytes(), digest_size=16).digest(), j))
    return [key[-1] for key in sorted(keys)]


def topological(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return the columns so that parents come before children; those on a cycle, and below one, are left out."""
    waiting = [len(set(p)) for p in parents]
    children: list[list[int]] = [[] for _ in parents]
    for child, of_child in enumerate(parents):
        for p in set(of_child):
            children[p].append(child)
    order = [j for j, count in enumerate(waiting) if count == 0]
    for j in order:  # which grows
        for child in children[j]:
            waiting[child] -= 1
            if waiting[child] == 0:
                order.append(child)
    return order


def cycle(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return a cycle, from a column along its children back to itself, or an empty list."""
    left = set(range(len(parents))) - set(topological(parents))
    path: list[int] = []
    place: dict[int, int] = {}
    here = min(left, default=None)
    while here is not None and here not in place:
        place[here] = len(path)
        path.append(here)
        here = min(p for p in parents[here] if p in left)
    return [] if here is None else [here, *reversed(path[place[here] :])]


def total(
    levels: Array, sizes: Sequence[int], parents: Parents, score: Score = "bic", equivalent: float = 1.0
) -> float:
    """Return the score of a graph, in nats."""
    families = Families(levels, list(sizes), score, equivalent)
    return math.fsum(families.score(j, tuple(sorted(p))) for j, p in enumerate(parents))


class Graph:
    """A directed graph without cycles, and who is above whom.

    Arguments:
        edges: `(d, d)` bool, True at `[child, parent]`.
    """

    def __init__(self, edges: Array) -> None:
        self.edges = edges.copy()
        self.above = np.eye(len(edges), dtype=bool)  # [j, i]: i is j or an ancestor of j
        self._close()

    def _close(self) -> None:
        parents = [np.flatnonzero(row).tolist() for row in self.edges]
        self.above[:] = np.eye(len(self.edges), dtype=bool)
        for j in topological(parents):
            for p in parents[j]:
                self.above[j] |= self.above[p]

    def parents(self, child: int) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.edges[child]).tolist())

    def add(self, child: int, parent: int) -> None:
        self.edges[child, parent] = True
        self.above[self.above[:, child]] |= self.above[parent]

    def drop(self, child: int, parent: int) -> None:
        self.edges[child, parent] = False
        self._close()

    def turns(self, child: int, parent: int) -> bool:
        """Return whether the edge can be turned round: no other way leads from parent to child."""
        others = self.edges[child].copy()
        others[parent] = False
        return not self.above[others, parent].any()


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


def climb(families: Families, max_parents: int, need: Array, ban: Array, *, patience: int = 0) -> list[tuple[int, ...]]:
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


def exact(families: Families, max_parents: int, need: Array, ban: Array) -> list[tuple[int, ...]]:
    """Return the parents of the best graph of all, by dynamic programming over subsets of the columns."""
    d = len(need)
    known = [_family_scores(families, child, max_parents, need[child], ban[child]) for child in range(d)]
    best = np.empty((d, 2**d))  # of every child and every subset: the best family with parents in it
    for child, (masks, values) in enumerate(known):
        table = best[child]
        table.fill(-np.inf)
        table[masks] = values
        for bit in range(d):
            halves = table.reshape(-1, 2, 2**bit)
            np.maximum(halves[:, 1], halves[:, 0], out=halves[:, 1])
    # The best graph on a subset has some last column, with the best parents among the others.
    subsets = np.arange(2**d)
    size = sum((subsets >> bit) & 1 for bit in range(d)) if d else np.zeros(1)
    value, last = np.full(2**d, -np.inf), np.full(2**d, -1, dtype=np.int8)
    value[0] = 0.0
    for count in range(1, d + 1):
        here = subsets[size == count]
        for child in range(d):
            rows = here[(here >> child) & 1 == 1]
            others = rows ^ (1 << child)
            candidate = value[others] + best[child][others]
            better = candidate > value[rows] + TIE
            value[rows[better]], last[rows[better]] = candidate[better], child
    parents: list[tuple[int, ...]] = [()] * d
    rest = 2**d - 1
    while rest:
        child = int(last[rest])
        rest ^= 1 << child
        masks, values = known[child]
        inside = np.where(masks & ~rest, -np.inf, values)
        mask = int(masks[int(np.argmax(inside >= inside.max() - TIE))])
        parents[child] = tuple(j for j in range(d) if mask >> j & 1)
    return parents


def _family_scores(families: Families, child: int, most: int, need: Array, ban: Array) -> tuple[Array, Array]:
    """Return all allowed parent sets of a child, smallest first, as bit masks, and their scores."""
    d = len(need)
    others = [j for j in range(d) if j != child and not ban[j]]
    wanted = set(np.flatnonzero(need).tolist())
    masks, values = [], []
    for size in range(min(most, len(others)) + 1):
        for parents in combinations(others, size):
            if size < most:
                families.adding(child, parents)
            if wanted <= set(parents):
                masks.append(sum(1 << j for j in parents))
                values.append(families.score(child, parents))
    return np.array(masks, dtype=np.int64), np.array(values)


def _check(
    n: int, d: int, sizes: Sequence[int], search: Search, max_parents: int, required: Edges, forbidden: Edges
) -> None:
    """Raise `Problem` where the columns are too many or the rules contradict themselves."""
    if search == "exact" and d > MOST_EXACT:
        raise Problem(
            f"structure search: exact search goes through all subsets of the columns and takes {MOST_EXACT} of them, not {d}. "
            'Use search "tabu" or "hill-climbing", or leave columns out.'
        )
    if search in ("hill-climbing", "tabu") and d > MOST_COLUMNS:
        raise Problem(
            f"structure search: {search} compares all pairs of columns and takes {MOST_COLUMNS:,} of them, not {d:,}. "
            'Use search "chow-liu", or leave columns out.'
        )
    if search != "chow-liu" and n * sum(sizes) > MOST_PLACES:
        raise Problem(
            f"structure search: {n:,} records with {sum(sizes):,} levels in all are too many for {search} "
            f'(records x levels is at most {MOST_PLACES:,}). Give fewer records, or use search "chow-liu".'
        )
    if search == "chow-liu" and (required or forbidden):
        raise Problem('structure search: "chow-liu" takes no required or forbidden edges. Use search "hill-climbing".')
    parents: list[list[int]] = [[] for _ in range(d)]
    for a, b in dict.fromkeys(required):
        parents[b].append(a)
        if (a, b) in forbidden:
            raise Problem("structure search: an edge is both required and forbidden. Take it out of one of the two.")
    if cycle(parents):
        raise Problem("structure search: the required edges form a cycle. Leave one of them out.")
    for child, of_child in enumerate(parents):
        if search != "chow-liu" and len(of_child) > max_parents:
            raise Problem(
                f"structure search: {len(of_child)} parents of one column are required, but max_parents is {max_parents}. "
                "Raise max_parents, or require fewer edges."
            )
        if sizes and math.prod(sizes[j] for j in of_child) * sizes[child] > MOST_CELLS:
            raise Problem(
                f"structure search: the required parents of one column give a table of more than {MOST_CELLS:,} entries. "
                "Require fewer edges."
            )
