r"""Chow-Liu trees over discrete columns: pair counts, the best tree, and exact sums over it.

A tree gives \(p(x) = \prod_j p(x_j \mid x_{\pi(j)})\). Its likelihood differs from that of independent columns by the sum of
\(n\,I(x_j; x_{\pi(j)})\) over the edges, so the best tree is a maximum spanning tree of mutual information, which pair counts give.
Sums over unknown values take one pass from the leaves to the root, for all rows and several trees at once.

References:
    Approximating Discrete Probability Distributions with Dependence Trees (Chow & Liu, 1968), https://doi.org/10.1109/TIT.1968.1054142
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ._levels import Levels

CHUNK = 2**21  # one-hot values per matrix product; sums over products are float64
CELLS = 2**23  # numbers that a pass through the trees holds at a time
BINARY = 2


def pair_counts(levels: Levels, values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return how often every two levels of different columns meet, `(width, width)` float64; singles on the diagonal.

    Arguments:
        levels: What the columns are.
        values: `(n, columns)` levels, NaN where unknown: a pair counts where both are known.
        weights: `(n,)` weights of the rows; 1 by default.
    """
    if set(levels.counts) == {BINARY} and not torch.isnan(values).any():
        return pairs_of_ones(*ones_product(values, weights))
    total = torch.zeros(levels.width, levels.width, dtype=torch.float64)
    for rows in _chunks(len(values), levels.width):
        hot = levels.one_hot(values[rows], torch.float32)
        left = hot if weights is None else hot * weights[rows, None].float()
        total += (left.T @ hot).double()
    return total


def ones_product(values: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
    """Return how often two of `(n, d)` zeros and ones are both 1, `(d, d)` float64, and the sum of the weights."""
    total = torch.zeros(values.shape[1], values.shape[1], dtype=torch.float64)
    for rows in _chunks(len(values), values.shape[1]):
        one = values[rows].float()
        left = one if weights is None else one * weights[rows, None].float()
        total += (left.T @ one).double()
    return total, float(len(values) if weights is None else weights.double().sum())


def pairs_of_ones(both: Tensor, n: float) -> Tensor:
    """Return the pair counts of binary columns from those of their ones."""
    d = len(both)
    one = both.diagonal()
    pairs = torch.empty(d, 2, d, 2, dtype=torch.float64)
    pairs[:, 1, :, 1] = both
    pairs[:, 1, :, 0] = one[:, None] - both
    pairs[:, 0, :, 1] = one[None] - both
    pairs[:, 0, :, 0] = n - one[:, None] - one[None] + both
    return pairs.view(2 * d, 2 * d).clamp_min_(0)


def gains(levels: Levels, pairs: Tensor) -> Tensor:
    r"""Return \(n\,I(x_i; x_j)\) of all columns, `(columns, columns)` nats, over the rows that know both."""
    joint = _blocks(levels, torch.special.xlogy(pairs, pairs))
    margins = _across(levels, pairs)  # (width, columns): how often a level meets a known value of a column
    alone = _down(levels, torch.special.xlogy(margins, margins))
    n = _down(levels, margins)
    gain = (joint - alone - alone.T + torch.special.xlogy(n, n)).clamp_min(0)
    return gain.fill_diagonal_(0)


def chow_liu(gain: Tensor, leaves: Sequence[int] = (), least: float = 0.0) -> Tensor:
    """Return the parent of every column, `(columns,)`, -1 for roots: the spanning forest of largest gain, by Prim's algorithm.

    Ties go to the lower column.

    Arguments:
        gain: `(columns, columns)`, what an edge between two columns gains.
        leaves: Columns that must have no children.
        least: Edges that gain less are left out.

    Example:
        >>> chow_liu(torch.tensor([[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]])).tolist()
        [-1, 0, 1]
    """
    weight = gain.numpy()
    inner = np.setdiff1d(np.arange(len(weight)), np.asarray(leaves, dtype=int))
    parents = np.full(len(weight), -1)
    if len(inner):
        best, at = np.full(len(weight), -np.inf), np.full(len(weight), -1)
        out = np.zeros(len(weight), dtype=bool)
        out[inner] = True
        j = inner[0]
        for _ in range(len(inner) - 1):
            out[j] = False
            nearer = out & (weight[j] > best)
            best[nearer], at[nearer] = weight[j][nearer], j
            j = int(np.where(out, best, -np.inf).argmax())
            parents[j] = at[j] if best[j] >= least else -1
        for j in leaves:
            p = int(inner[weight[j][inner].argmax()])
            parents[j] = p if weight[j][p] >= least else -1
    return torch.from_numpy(parents)


def tables(levels: Levels, pairs: Tensor, parents: Tensor) -> Tensor:
    """Return the conditional probabilities `(width, most levels)` of a tree.

    Row: a level of a column; place in it: the level of its parent. A root has the same in all places, and places that the parent
    has no level for hold 0.
    """
    parent = parents[levels.owner]
    other = torch.arange(most(levels))
    size = torch.tensor(levels.counts)
    place = torch.where(parent < 0, 0, levels.start[parent])[:, None] + other
    alone = torch.arange(levels.width)[:, None]
    found = pairs.gather(1, torch.where(parent[:, None] < 0, alone, place.clamp_max(levels.width - 1)))
    found = torch.where((parent[:, None] >= 0) & (other >= size[parent][:, None]), 0.0, found)
    total = levels.total(found.T).T[levels.owner]
    spread = 1 / size[levels.owner][:, None].double()  # a parent's level that was never seen tells nothing
    known = torch.where(parent[:, None] < 0, 1, size[parent][:, None]) > torch.where(parent[:, None] < 0, 0, other)
    return torch.where(known, torch.where(total > 0, found / total.clamp_min(1e-300), spread), 0.0)


def most(levels: Levels) -> int:
    """Return the largest number of levels of a column."""
    return max(levels.counts, default=1)


@dataclass
class Trees:
    """K trees over the same discrete columns.

    Arguments:
        levels: What the columns are.
        parents: `(K, columns)` parent of every column, -1 for roots.
        tables: `(K, width, most levels)` conditional probabilities, see `tables`.
    """

    levels: Levels
    parents: Tensor
    tables: Tensor

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def order(self) -> Tensor:
        """Columns of every tree, `(K, columns)`, each after its parent; ValueError if some go round in a circle."""
        k, c = self.parents.shape
        depth = torch.zeros(k, c, dtype=torch.long)
        above = torch.cat([self.parents, torch.full((k, 1), -1)], 1)  # the last place stands for "none"
        above = torch.where(above < 0, c, above)
        reached = torch.arange(c + 1).expand(k, -1)
        for _ in range(c):
            reached = above.gather(1, reached)
            if bool((reached == c).all()):
                return depth.argsort(dim=1, stable=True)
            depth += (reached[:, :c] < c).long()
        if c:
            raise ValueError("the columns of a tree go round in a circle")
        return depth

    def proper(self) -> bool:
        """Return whether every table sums to 1, up to rounding, for every level of the parent."""
        total = torch.zeros(len(self), len(self.levels.counts), self.tables.shape[2], dtype=torch.float64)
        total.index_add_(1, self.levels.owner, self.tables.double())
        parent = self.parents
        size = torch.tensor(self.levels.counts, dtype=torch.long)[parent.clamp_min(0)]
        size = torch.where(parent < 0, self.tables.shape[2], size)
        used = torch.arange(self.tables.shape[2]) < size[:, :, None]
        return bool((((total - 1).abs() < 1e-6) | ~used).all())

    # -- scores ------------------------------------------------------------------------------------------------------
    def log_prob(self, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return log probabilities `(n, K)` of `(n, columns)` levels; NaN is summed over.

        Arguments:
            values: The levels.
            dtype: What products are computed in, where all columns are binary and known.
        """
        if set(self.levels.counts) == {BINARY} and not torch.isnan(values.sum()):
            return self.products.log_prob(values, dtype)
        unknown = torch.isnan(values)
        inner = torch.zeros(values.shape[1], dtype=torch.bool)
        inner[self.parents[self.parents >= 0]] = True
        hidden = (unknown & inner).any(1)  # an unknown value without children only leaves its own factor out
        out = torch.empty(len(values), len(self), dtype=torch.float64)
        if not hidden.all():
            out[~hidden] = self._plain(values[~hidden])
        for rows in torch.nonzero(hidden)[:, 0].split(self.rows) if hidden.any() else []:
            known = self.levels.one_hot(values[rows], torch.float64).bool()
            out[rows] = self.up((known | unknown[rows][:, self.levels.owner]).double())[1].T
        return out

    def _plain(self, values: Tensor) -> Tensor:
        """Return log probabilities `(n, K)` of levels that are known wherever a column has children."""
        level = torch.nan_to_num(values.T.double(), nan=-1.0).long()  # (columns, n)
        place = torch.where(level < 0, self.levels.width, level + self.levels.start[:, None])
        size = self.tables.shape[2]
        log = torch.nn.functional.pad(self.tables.clamp_min(1e-300).log(), (0, 0, 0, 1)).flatten(1)
        out = torch.empty(len(values), len(self), dtype=torch.float64)
        for rows in _chunks(len(values), len(level) + 1):
            here, own = level[:, rows].clamp_min(0), place[:, rows] * size
            for k, parents in enumerate(self.parents):
                out[rows, k] = log[k][own + here[parents.clamp_min(0)]].sum(0)
        return out

    @cached_property
    def products(self) -> Products:
        """These trees over binary columns as linear forms."""
        return Products.of(self)

    # -- sums over what is unknown -----------------------------------------------------------------------------------
    @property
    def rows(self) -> int:
        """How many rows a pass takes at a time."""
        size = self.tables.shape[2]
        return max(1, CELLS // max(1, len(self) * len(self.levels.counts) * size))

    def _step(self, j: Tensor) -> Tensor:
        """Return the tables of columns `j` `(K,)`, `(K, most levels, most levels)`: own level, then the parent's."""
        return self._padded[torch.arange(len(self))[:, None], self._places[j]]

    @cached_property
    def _padded(self) -> Tensor:
        return torch.nn.functional.pad(self.tables, (0, 0, 0, 1))

    @cached_property
    def _places(self) -> Tensor:
        other = torch.arange(self.tables.shape[2])
        size = torch.tensor(self.levels.counts, dtype=torch.long)[:, None]
        return torch.where(other < size, self.levels.start[:, None] + other, self.levels.width)

    def up(self, evidence: Tensor, best: bool = False) -> tuple[Tensor, Tensor]:
        """Pass from the leaves to the roots.

        Returns what every column knows from itself and below, `(K, columns, n, most levels)` up to a factor per row, and the log
        of the sum (or, if `best`, of the largest term) of probability times evidence over all records, `(K, n)`.

        Arguments:
            evidence: `(n, width)` weights of the levels, 0 where one is ruled out.
            best: Take maxima in place of sums.
        """
        k = torch.arange(len(self))
        own = torch.nn.functional.pad(evidence, (0, 1))[:, self._places].transpose(0, 1)
        below = own.expand(len(self), *own.shape).clone()
        log = torch.zeros(len(self), len(evidence), dtype=torch.float64)
        for j in self.order.T.flip(0):
            here = below[k, j]
            total = here.amax(2, keepdim=True)
            here = here / total.clamp_min(1e-300)
            below[k, j] = here
            message = _toward(self._step(j), here, best)
            parent = self.parents[k, j]
            root = (parent < 0)[:, None]
            log += total[:, :, 0].log() + torch.where(root, message[:, :, 0].log(), 0.0)
            parent = parent.clamp_min(0)
            below[k, parent] *= torch.where(root[:, :, None], 1.0, message)
        return below, log

    def down(self, below: Tensor, which: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Pass from the roots to the leaves; return levels `(n, columns)` float64 of trees `which` `(n,)`.

        Arguments:
            below: What `up` returned, for n rows or for one that stands for all.
            which: The tree of every row.
            choose: Turns `(n, most levels)` weights into levels `(n,)`.
        """
        n = len(which)
        row = torch.arange(n) if below.shape[2] > 1 else torch.zeros(n, dtype=torch.long)
        level = torch.zeros(n, len(self.levels.counts), dtype=torch.long)
        for t in range(self.order.shape[1]):
            j = self.order[which, t]
            parent = self.parents[which, j].clamp_min(0)
            above = level.gather(1, parent[:, None])[:, 0]  # 0 for roots, whose table is the same in all places
            above = torch.where(self.parents[which, j] < 0, 0, above)
            table = self._padded[which[:, None], self._places[j], above[:, None]]
            level.scatter_(1, j[:, None], choose(table * below[which, j, row])[:, None])
        return level.double()

    def marginals(self, below: Tensor) -> Tensor:
        """Return the probability of every level given the evidence of `up`, `(K, columns, n, most levels)`."""
        k, out = torch.arange(len(self)), torch.empty_like(below)
        for j in self.order.T:
            here, step = below[k, j], self._step(j)
            parent = self.parents[k, j]
            above = out[k, parent.clamp_min(0)] / _toward(step, here, False).clamp_min(1e-300)
            root = torch.zeros_like(above)
            root[:, :, 0] = 1.0
            above = torch.where((parent < 0)[:, None, None], root, above)
            belief = here * torch.einsum("kab,knb->kna", step, above)
            out[k, j] = belief / belief.sum(2, keepdim=True).clamp_min(1e-300)
        return out


@dataclass
class Products:
    r"""K trees over binary columns as linear forms, \(\log p_k(x) = c_k + a_k^\top x + \sum_{(i,j)} b_{k,ij} x_i x_j\).

    One matrix product scores all rows under all trees, on the products of all pairs that are an edge of some tree.

    Arguments:
        first, second: The pairs, `(pairs,)` each.
        constant: `(K,)`.
        single: `(K, columns)`.
        double: `(K, pairs)`.
    """

    first: Tensor
    second: Tensor
    constant: Tensor
    single: Tensor
    double: Tensor

    @classmethod
    def of(cls, trees: Trees) -> Products:
        """Turn conditional tables into coefficients."""
        k, c = trees.parents.shape
        log = trees.tables.clamp_min(1e-300).log().view(k, c, 2, 2)  # own level, parent's level
        root = trees.parents < 0
        low = log[:, :, 0, 0]
        own = log[:, :, 1, 0] - low
        above = torch.where(root, 0.0, log[:, :, 0, 1] - low)
        both = torch.where(root, 0.0, log[:, :, 1, 1] - log[:, :, 0, 1] - own)
        parent = trees.parents.clamp_min(0)
        single = own.scatter_add(1, parent, above)
        column = torch.arange(c).expand(k, c)
        name = torch.minimum(column, parent) * c + torch.maximum(column, parent)
        pairs, place = torch.unique(name[~root], return_inverse=True)
        double = torch.zeros(k, len(pairs), dtype=torch.float64)
        double[torch.nonzero(~root)[:, 0], place] = both[~root]
        return cls(pairs // max(c, 1), pairs % max(c, 1), low.sum(1), single, double)

    def log_prob(self, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return log probabilities `(n, K)` of `(n, columns)` zeros and ones; `dtype` is what products are computed in."""
        out = torch.empty(len(values), len(self.constant), dtype=torch.float64)
        single, double = self.single.to(dtype), self.double.to(dtype)
        for rows in _chunks(len(values), 4 * len(self.first)):
            x = values[rows].T.to(dtype).contiguous()
            both = x[self.first].mul_(x[self.second])
            out[rows] = (double @ both).addmm_(single, x).T.double() + self.constant
        return out


def drawn(rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return a choice for `Trees.down` that draws levels in proportion to their weights."""

    def choose(weights: Tensor) -> Tensor:
        below = weights.cumsum(1)
        u = torch.rand(len(weights), 1, dtype=weights.dtype, generator=rng) * (1 - 1e-12) * below[:, -1:]
        return (below <= u).sum(1).clamp_max(weights.shape[1] - 1)

    return choose


def likeliest(weights: Tensor) -> Tensor:
    """Choose the levels of largest weight, for `Trees.down`."""
    return weights.argmax(1)


def _toward(step: Tensor, here: Tensor, best: bool) -> Tensor:
    """Return the message `(K, n, levels of the parent)` of columns that know `here` `(K, n, levels)`."""
    if not best:
        return here @ step
    return (here[:, :, :, None] * step[:, None]).amax(2)


def _chunks(n: int, width: int) -> list[slice]:
    rows = max(256, CHUNK // max(1, width))
    return [slice(s, s + rows) for s in range(0, n, rows)]


def _across(levels: Levels, t: Tensor) -> Tensor:
    """Sum `(n, width)` over the levels of each column: `(n, columns)`."""
    if len(set(levels.counts)) == 1:
        return t.reshape(len(t), len(levels.counts), -1).sum(2)
    return levels.total(t)


def _down(levels: Levels, t: Tensor) -> Tensor:
    """Sum `(width, columns)` over the levels of each column: `(columns, columns)`."""
    return _across(levels, t.T).T


def _blocks(levels: Levels, t: Tensor) -> Tensor:
    """Sum `(width, width)` over the levels of each pair of columns: `(columns, columns)`."""
    return _down(levels, _across(levels, t))
