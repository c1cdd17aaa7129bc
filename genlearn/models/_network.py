"""A discrete Bayesian network: tables, their estimation, scores, draws and posteriors; which nodes precede which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import Problem, did_you_mean
from ._elimination import Buckets, Factor, check_size, largest, min_fill, pick
from ._normals import patterns

MOST_ENTRIES = 2**23  # of one node's table
AT_ONCE = 2**22  # table entries of all records that are worked on together

Parents = Sequence[Sequence[int]]


class Network:
    r"""\(p(x) = \prod_j T_j(x_j \mid x_{\mathrm{pa}(j)})\) over nodes of levels.

    Arguments:
        sizes: Levels of every node.
        parents: Parents of every node.
        tables: For every node `(configurations of its parents, levels)` probabilities; the last parent varies fastest.
    """

    def __init__(self, sizes: Sequence[int], parents: Parents, tables: Sequence[Tensor]) -> None:
        self.sizes, self.parents = list(sizes), [tuple(p) for p in parents]
        self.log_tables = [t.log() for t in tables]

    @cached_property
    def order(self) -> list[int]:
        """Nodes, parents before children."""
        return ordered(self.parents)

    def log_prob(self, levels: Tensor, more: Mapping[int, Tensor] | None = None) -> Tensor:
        """Return `(n,)` log probabilities of levels `(n, nodes)`; an unknown one (-1) is summed out."""
        if bool((levels >= 0).all()):
            return sum((self._of(j, levels) for j in range(len(self.sizes))), torch.zeros(len(levels)).double())
        out = torch.empty(len(levels), dtype=torch.float64)
        for columns, rows in patterns(levels >= 0):
            known = frozenset(columns.tolist())
            if len(known) == len(self.sizes):
                out[rows] = self.log_prob(levels[rows])
                continue
            query = Query(self, known, known)
            for part in rows.split(query.rows):
                out[part] = query.buckets(levels[part]).log_total
        return out

    def _of(self, j: int, levels: Tensor) -> Tensor:
        """Return the log probability `(n,)` of node `j` given its parents, all known."""
        return self.log_tables[j][mixed(levels, self.parents[j], self.sizes), levels[:, j]]

    def forward(self, levels: Tensor, rng: torch.Generator) -> Tensor:
        """Draw what is unknown (-1) in whole columns, parents first; what is known must hold all its ancestors."""
        for j in self.order:
            if not len(levels) or int(levels[0, j]) >= 0:
                continue
            for part in torch.arange(len(levels)).split(max(1, AT_ONCE // self.sizes[j])):
                config = mixed(levels[part], self.parents[j], self.sizes)
                levels[part, j] = pick(self.log_tables[j][config], rng)
        return levels

    def factor(self, j: int, levels: Tensor, known: frozenset[int]) -> Factor:
        """Return the table of node `j` where the known nodes of its family have the levels `(n, nodes)`."""
        family = [*self.parents[j], j]
        table = self.log_tables[j].reshape([self.sizes[u] for u in family])
        given = [i for i, u in enumerate(family) if u in known]
        free = [i for i, u in enumerate(family) if u not in known]
        cells = table.permute(*given, *free).reshape(-1, *(self.sizes[family[i]] for i in free))
        return Factor(tuple(family[i] for i in free), cells[mixed(levels, [family[i] for i in given], self.sizes)]
                      if given else cells)  # fmt: skip

    def ancestors(self, nodes: Iterable[int]) -> frozenset[int]:
        """Return these nodes and all that precede them."""
        found: set[int] = set()
        left = list(nodes)
        while left:
            j = left.pop()
            if j not in found:
                found.add(j)
                left.extend(self.parents[j])
        return frozenset(found)


class Query:
    """What elimination does for all records that know the same nodes.

    Arguments:
        network: The network.
        known: Nodes whose levels are known.
        about: Nodes that the answer depends on; what descends from none of them sums to one and is left out.
        more: Further scopes, of factors that `buckets` is given.
    """

    def __init__(
        self, network: Network, known: frozenset[int], about: Iterable[int], more: Sequence[Sequence[int]] = ()
    ) -> None:
        self.network, self.known = network, known
        self.nodes = sorted(network.ancestors([*about, *(u for scope in more for u in scope)]))
        families = [tuple(u for u in (*network.parents[j], j) if u not in known) for j in self.nodes]
        scopes = [*families, *more]
        self.order = min_fill(scopes, network.sizes)
        cells, total = largest(scopes, network.sizes, self.order)
        check_size(cells, "bayesnet")
        self.rows = max(1, int(AT_ONCE / total))

    def buckets(self, levels: Tensor, more: Sequence[Factor] = ()) -> Buckets:
        """Return the factors of records with the levels `(n, nodes)`, all unknown nodes eliminated."""
        factors = [self.network.factor(j, levels, self.known) for j in self.nodes]
        return Buckets([*factors, *more], self.order, self.network.sizes)


def mixed(levels: Tensor, nodes: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Return the number `(n,)` of the configuration that some nodes have; the last one varies fastest."""
    out = torch.zeros(len(levels), dtype=torch.long)
    for u in nodes:
        out = out * sizes[u] + levels[:, u]
    return out


def count(levels: Tensor, j: int, parents: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Return how often node `j` has each level under each configuration of its parents, `(configurations, levels)`.

    Records that do not know the whole family are left out.
    """
    family = [*parents, j]
    cells = math.prod(sizes[u] for u in family)
    check_table(cells, len(parents))
    own = levels[:, family]
    at = mixed(own, range(len(family)), [sizes[u] for u in family])
    return torch.bincount(at[(own >= 0).all(1)], minlength=cells).double().view(-1, sizes[j])


def check_table(cells: int, parents: int) -> None:
    """Raise `Problem` if the table of a node with so many parents would be too large."""
    if cells > MOST_ENTRIES:
        raise Problem(
            f"bayesnet: a column with {parents} parents needs a table of {cells:.0e} entries, at most "
            f"{MOST_ENTRIES:.0e} are made. Give it fewer parents, or merge levels."
        )


def information(levels: Tensor, i: int, j: int, sizes: Sequence[int]) -> float:
    """Return the mutual information of two nodes in the records, nats."""
    joint = count(levels, j, [i], sizes)
    joint = joint / joint.sum().clamp_min(1)
    apart = joint.sum(1, keepdim=True) * joint.sum(0)
    return float(torch.special.xlogy(joint, joint / apart.clamp_min(1e-300)).sum())


def ordered(parents: Parents) -> list[int]:
    """Return all nodes, parents before children, of lower number first; fewer than there are if there is a cycle."""
    children: list[list[int]] = [[] for _ in parents]
    waiting = [len(p) for p in parents]
    for j, above in enumerate(parents):
        for u in above:
            children[u].append(j)
    ready, order = [j for j, w in enumerate(waiting) if w == 0], []
    while ready:
        j = ready.pop(0)
        order.append(j)
        for child in children[j]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    return order


def edges_of(words: Sequence[str], names: Sequence[str], setting: str) -> list[tuple[int, int]]:
    """Return `(parent, child)` of edges written as "a->b"; raise `Problem` for words that name none."""
    place = {name: i for i, name in enumerate(names)}
    found = []
    for word in words:
        cuts = [i for i in range(len(word)) if word.startswith("->", i)]
        pairs = [(word[:i].strip(), word[i + 2 :].strip()) for i in cuts]
        if not pairs:
            raise Problem(f'bayesnet: {setting} takes edges such as "age->income", not "{word}".')
        known = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
        if not known:
            strange = next((name for name in pairs[0] if name not in place), word)
            raise Problem(
                f'bayesnet: {setting} names no column "{strange}".{did_you_mean(strange, names)} Columns: {", ".join(names[:12])}.'
            )
        if known[0][0] == known[0][1]:
            raise Problem(f'bayesnet: {setting} has the edge "{word}" from a column to itself. Leave it out.')
        found.append(known[0])
    return found


def given_parents(edges: Sequence[tuple[int, int]], names: Sequence[str], setting: str) -> list[list[int]]:
    """Return the parents of every node; raise `Problem` if the edges form a cycle."""
    parents = [sorted({a for a, b in edges if b == j}) for j in range(len(names))]
    inside = set(range(len(names))) - set(ordered(parents))
    if inside:
        shown = ", ".join(names[j] for j in sorted(inside)[:6])
        raise Problem(f"bayesnet: {setting} holds a cycle among {shown}. Turn or drop one of its edges.")
    return parents


def check_graph(parents: Any, strengths: Any, n: int) -> None:
    """Raise ValueError unless these are lists of parents of `n` nodes, without a cycle, and a number for every edge."""
    if not isinstance(parents, list) or len(parents) != n:
        raise ValueError("parents_ must hold a list for every node")
    for own in parents:
        if not isinstance(own, list) or not all(type(u) is int and 0 <= u < n for u in own):
            raise ValueError("parents_ must hold numbers of nodes")
        if len(set(own)) < len(own):
            raise ValueError("parents_ names a node twice")
    if len(ordered(parents)) < n:
        raise ValueError("parents_ holds a cycle")
    if not isinstance(strengths, list) or [len(own) for own in strengths] != [len(own) for own in parents]:
        raise ValueError("strengths_ must hold a number for every edge")
    if not all(type(v) is float and math.isfinite(v) for own in strengths for v in own):
        raise ValueError("strengths_ must hold finite numbers")
