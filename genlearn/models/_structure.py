r"""Structures of Bayesian networks from discrete records: hill climbing, tabu search, exact search, Chow-Liu trees.

Exact search finds the best parents of every column among every subset of the others, and then the best last column of every subset.

Columns are put in an order that depends on what they hold before anything is compared, so ties fall the same way however a table is
arranged.

References:
    A Simple Approach for Finding the Globally Optimal Bayesian Network Structure (Silander & Myllymaki, 2006), https://arxiv.org/abs/1206.6875
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch

from ..errors import Problem
from ..layout import Field, Layout
from ._chowliu import chow_liu, gains, pair_counts
from ._climb import TIE, climb
from ._graphs import Parents, cycle
from ._levels import Levels
from ._scores import MOST_CELLS, Array, Families, Score

Search = Literal["hill-climbing", "tabu", "chow-liu", "exact"]
Edges = Sequence[tuple[int, int]]

MOST_COLUMNS = 1000  # of a greedy search: it keeps the gain of every pair
MOST_EXACT = 20  # of an exact search: it keeps a number for every subset and column
MOST_PLACES = 2**28  # records times levels, which are held as one matrix
LEAST_ROUNDS = 12  # of hill climbing, or one for three columns
TABU_ROUNDS, PATIENCE = 60, 8  # of tabu search, and moves that it makes without a new best graph
WIDE = 2400  # columns times rounds of hill climbing


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
        rng: Not used: the orders in which ties are broken are fixed, so a table has one answer.
    """
    n, d = levels.shape
    _check(n, d, sizes, search, max_parents, required, forbidden)
    order = content_order(levels, sizes)
    place = {j: i for i, j in enumerate(order)}
    need, ban = (np.zeros((d, d), dtype=bool) for _ in range(2))  # [child, parent]
    for matrix, edges in ((need, required), (ban, forbidden)):
        for a, b in edges:
            matrix[place[b], place[a]] = True
    levels, sizes = levels[:, order], [sizes[j] for j in order]
    if search == "chow-liu":
        found = tree(levels, sizes)
    elif search == "exact":
        found = exact(Families(levels, sizes, score, equivalent), max_parents, need, ban)
    else:
        families = Families(levels, sizes, score, equivalent)
        tabu, wide = search == "tabu", WIDE // max(1, d)
        rounds = min(TABU_ROUNDS, 4 * wide) if tabu else min(max(LEAST_ROUNDS, d // 3), wide)
        found = climb(families, max_parents, need, ban, rounds=rounds, patience=PATIENCE if tabu else 0)
    parents: Parents = [()] * d
    for i, j in enumerate(order):
        parents[j] = tuple(sorted(order[p] for p in found[i]))
    return parents


def content_order(levels: Array, sizes: Sequence[int]) -> list[int]:
    """Return the columns in an order that depends on their content only (and on their position where they are equal)."""
    keys = []
    for j, column in enumerate(np.ascontiguousarray(levels.T, dtype=np.int32)):
        share = np.bincount(column[column >= 0], minlength=1) / max(1, len(column))
        entropy = -float((share * np.log(np.maximum(share, 1e-300))).sum())  # low first: worked better than high first
        keys.append((round(entropy, 9), sizes[j], hashlib.blake2b(column.tobytes(), digest_size=16).digest(), j))
    return [key[-1] for key in sorted(keys)]


def total(
    levels: Array, sizes: Sequence[int], parents: Parents, score: Score = "bic", equivalent: float = 1.0
) -> float:
    """Return the score of a graph, in nats."""
    families = Families(levels, list(sizes), score, equivalent)
    return math.fsum(families.score(j, tuple(sorted(p))) for j, p in enumerate(parents))


def tree(levels: Array, sizes: Sequence[int]) -> Parents:
    """Return the parents in the tree of largest likelihood; columns that tell nothing of each other stay apart."""
    columns = Levels(Layout(tuple(Field(str(j), "category", levels=size) for j, size in enumerate(sizes))))
    values = torch.from_numpy(levels.astype(np.float32))
    values[values < 0] = torch.nan
    above = chow_liu(gains(columns, pair_counts(columns, values)), least=TIE).tolist()
    return [() if p < 0 else (p,) for p in above]


def exact(families: Families, max_parents: int, need: Array, ban: Array) -> Parents:
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
