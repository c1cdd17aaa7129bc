"""Directed graphs as lists of parents: orders, cycles, and who is above whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Parents = list[tuple[int, ...]]


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


class Graph:
    """A directed graph without cycles, and who is above whom.

    Arguments:
        edges: `(d, d)` bool, True at `[child, parent]`.
    """

    def __init__(self, edges: np.ndarray) -> None:
        self.edges = edges.copy()
        self.above = np.eye(len(edges), dtype=bool)  # [j, i]: i is j or an ancestor of j
        self._close()

    def _close(self) -> None:
        parents: list[list[int]] = [[] for _ in self.edges]
        for child, parent in np.argwhere(self.edges).tolist():
            parents[child].append(parent)
        self.above[:] = np.eye(len(self.edges), dtype=bool)
        for j in topological(parents):
            for p in parents[j]:
                self.above[j] |= self.above[p]

    def copy(self) -> Graph:
        """Return the same graph, to be changed alone."""
        other = Graph.__new__(Graph)
        other.edges, other.above = self.edges.copy(), self.above.copy()
        return other

    def parents(self, child: int) -> tuple[int, ...]:
        return tuple(self.edges[child].nonzero()[0].tolist())

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
