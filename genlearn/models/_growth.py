"""How a network grows out of records: its graph by search or by order of the user, its tables by counting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import Problem
from ..layout import Layout
from ._binned import Binned
from ._bins import Bins
from ._elimination import MOST_CELLS, min_fill
from ._linear import Linear
from ._network import Network, count, edges_of, given_parents, information
from ._nodes import Nodes
from ._regression import Regression
from ._scores import Score
from ._structure import Search, learn

MOST_PARENTS = 3  # that a column gets where nobody says
MOST_SEARCHED = 256  # columns of a greedy search
MOST_LINEAR = 128  # numbers of a linear-Gaussian network
SEEN = 10_000  # records that the strength of an edge is taken from


@dataclass(frozen=True)
class Growth:
    """The settings of a network that speak of its graph and its tables; see `BayesNet`."""

    search: Search
    edges: tuple[str, ...] | None
    criterion: Score
    equivalent: float
    max_parents: int | None
    required: tuple[str, ...]
    forbidden: tuple[str, ...]
    parameters: str

    def check(self, columns: int) -> None:
        """Raise `Problem` if there are more columns than the search can take."""
        if self.edges is None and self.search in ("hill-climbing", "tabu") and columns > MOST_SEARCHED:
            raise Problem(
                f"bayesnet: {self.search} weighs every pair of columns again and again and takes {MOST_SEARCHED} of them, "
                f'not {columns}. Use search "chow-liu", or leave columns out.'
            )

    # -- what is learned ---------------------------------------------------------------------------------------------
    def binned(self, layout: Layout, x: Tensor, most: int) -> tuple[Binned, list[list[float]]]:
        """Return what codes `(n, d)` teach, their numbers cut into at most so many levels, and the strengths of the edges."""
        nodes = Nodes(layout, Bins.fit(x[:, layout.columns("real")], most))
        levels, sizes = nodes.encode(x), nodes.sizes
        parents = self.parents(levels, sizes, nodes.names)
        tables = [self.table(levels, j, p, sizes) for j, p in enumerate(parents)]
        return Binned(nodes, Network(sizes, parents, tables)), _strengths(levels, sizes, parents)

    def linear(self, layout: Layout, x: Tensor, most: int) -> tuple[Linear, list[list[float]]]:
        """Return what codes `(n, d)` teach, their numbers linear in each other; the graph is found on cut numbers."""
        nodes, columns = Nodes(layout, None), layout.columns("real")
        d, values = len(nodes), x[:, columns]
        if len(columns) > MOST_LINEAR:
            raise Problem(
                f'bayesnet: numbers "gaussian" keep a matrix for each record and take {MOST_LINEAR} numbers, not '
                f'{len(columns)}. Use numbers "bins", or leave columns out.'
            )
        cut = Bins.fit(values, most)
        levels = torch.cat([nodes.encode(x), torch.nan_to_num(cut.level(values), nan=-1.0).long()], 1)
        sizes = [*nodes.sizes, *cut.sizes]
        parents = self.parents(levels, sizes, linear_names(layout), _barred(nodes, columns))
        parents = [sorted(own, key=lambda u: u >= d) for own in parents]  # categories first
        tables = [self.table(levels, j, p, sizes) for j, p in enumerate(parents[:d])]
        strength = 0.0 if self.parameters == "likelihood" else self.equivalent
        regressions = [
            Regression.fit(j, *split_parents(p, d), levels[:, :d], values, nodes.sizes, strength)
            for j, p in enumerate(parents[d:])
        ]
        law = Linear(nodes, Network(nodes.sizes, parents[:d], tables), regressions)
        return law, _strengths(levels, sizes, parents)

    # -- the graph ---------------------------------------------------------------------------------------------------
    def parents(
        self, levels: Tensor, sizes: Sequence[int], names: Sequence[str], barred: Collection[tuple[int, int]] = ()
    ) -> list[list[int]]:
        """Return the parents of every column, those that tell most about it first.

        Arguments:
            levels: `(n, columns)`, -1 where unknown.
            sizes: Levels of every column.
            names: Names of the columns, by which edges are given.
            barred: Edges that the kind of the columns rules out.
        """
        found = self._told(names, barred)
        if found is None:
            found = self._searched(levels, sizes, names, barred)
        for j, own in enumerate(found):
            if len(own) > 1:
                told = {u: round(information(levels, u, j, sizes), 9) for u in own}
                own.sort(key=lambda u, told=told: (-told[u], u))  # type: ignore[misc]
        return found

    def _told(self, names: Sequence[str], barred: Collection[tuple[int, int]]) -> list[list[int]] | None:
        """Return the parents that `edges` give, if it is set; raise `Problem` for edges that cannot be."""
        told = {name: edges_of(getattr(self, name) or (), names, name) for name in ("edges", "required")}
        for name, edges in told.items():
            given_parents(edges, names, name)
            if wrong := [(a, b) for a, b in edges if (a, b) in barred]:
                a, b = (names[j] for j in wrong[0])
                raise Problem(
                    f'bayesnet: {name} has "{a}->{b}", but with numbers "gaussian" no category depends on a number, '
                    'nor a number on its own gate. Turn the edge, or use numbers "bins".'
                )
        return None if self.edges is None else given_parents(told["edges"], names, "edges")

    def _searched(
        self, levels: Tensor, sizes: Sequence[int], names: Sequence[str], barred: Collection[tuple[int, int]]
    ) -> list[list[int]]:
        required = tuple(edges_of(self.required, names, "required"))
        forbidden = (*edges_of(self.forbidden, names, "forbidden"), *barred)
        most = MOST_PARENTS if self.max_parents is None else self.max_parents
        while True:
            found = learn(
                levels.to(torch.int32).numpy(), sizes, search=self.search, score=self.criterion,
                equivalent=self.equivalent, max_parents=most, required=required, forbidden=forbidden,
            )  # fmt: skip
            scopes = [(*p, j) for j, p in enumerate(found)]
            done = self.max_parents is not None or most == 1 or self.search == "chow-liu"
            if done or len(min_fill(scopes, sizes, MOST_CELLS)) == len(scopes):
                return [list(p) for p in found]
            most -= 1  # exact inference would be out of reach

    # -- the tables --------------------------------------------------------------------------------------------------
    def table(self, levels: Tensor, j: int, parents: Sequence[int], sizes: Sequence[int]) -> Tensor:
        """Return the probabilities of a column under each configuration of its parents."""
        counts = count(levels, j, parents, sizes)
        even = torch.full((1, sizes[j]), 1 / sizes[j], dtype=torch.float64)
        if self.parameters == "likelihood":
            total = counts.sum(1, keepdim=True)
            return torch.where(total > 0, counts / total.clamp_min(1), even)
        if self.parameters == "bdeu":
            counts = counts + self.equivalent / counts.numel()
        else:
            fewer = self.table(levels, j, parents[:-1], sizes) if parents else even
            counts = counts + self.equivalent * fewer.repeat_interleave(len(counts) // len(fewer), 0)
        return counts / counts.sum(1, keepdim=True)


def _strengths(levels: Tensor, sizes: Sequence[int], parents: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return for every edge the mutual information of its two columns, nats."""
    return [[information(levels[:SEEN], u, j, sizes) for u in own] for j, own in enumerate(parents)]


def split_parents(parents: Sequence[int], d: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the parents that are categories, of which there are `d`, and those that are numbers, counted from 0."""
    return tuple(u for u in parents if u < d), tuple(u - d for u in parents if u >= d)


def linear_names(layout: Layout) -> list[str]:
    """Return the names of the columns of a linear-Gaussian network: categories and gates first, then numbers."""
    real = [(f.name, f.size) for f in layout.fields if f.kind == "real"]
    numbers = [name if size == 1 else f"{name}[{i}]" for name, size in real for i in range(size)]
    return [*Nodes(layout, None).names, *numbers]


def _barred(nodes: Nodes, columns: Sequence[int]) -> set[tuple[int, int]]:
    """Return the edges that linear-Gaussian numbers rule out: into categories, and from a gate to its own number."""
    gates = {j: gate for s, gate in nodes.layout.gates for j in range(s.start, s.stop)}
    places, d = [node.category for node in nodes.nodes], len(nodes)
    own = {(places.index(gates[j]), d + i) for i, j in enumerate(columns) if j in gates}
    return own | {(d + i, u) for i in range(len(columns)) for u in range(d)}
