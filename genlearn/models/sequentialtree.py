"""One tree per column given the columns before it: the sequential synthesis of official statistics as a proper density."""

from __future__ import annotations

import itertools
import math
import time
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from ._bins import Bins, Cells
from ._laws import Law, particles, pick
from ._means import Means
from ._splits import Information, Splits, grow
from ._trees import Floats, Ints, Tree, choices, informative, most_levels, prune, smoothed, together

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # pseudo-records of the parent's table, of which left-out records choose
COARSE = 16  # most levels of a number that a split is judged by: few records fill no more
FEATURES = 32  # most earlier columns that a wide record's tree looks at
SEARCH = 250_000_000  # records x columns x columns looked at: trees of more are grown on a part, and filled by all
PARTICLES = 200  # draws per record with unknown cells
ROWS = 50_000  # records and draws worked through at once


class SequentialTree(Scores, Imputes, Conditional, Model):
    r"""One decision tree per column, given the columns before it: \(p(x) = \prod_i p(x_i \mid x_1, \ldots, x_{i-1})\).

    Numbers are cut into levels at their quantiles (`bins`), with the column's own density inside a level. The tree of column i
    splits on levels of the columns before it, where the split tells most about \(x_i\); its leaf \(\ell\) holds a table

    \[ q_\ell(l) = \frac{n_{\ell l} + s\, q_{\mathrm{parent}(\ell)}(l)}{n_\ell + s}, \]

    drawn towards its parent's with s chosen by leave-one-out likelihood. For numbers the same rule holds for every halving of the
    range. So all levels stay possible in every leaf, and a draw is never a donor's value but one from the density in its level. A
    leaf must gain more left-out likelihood than its split takes to describe, the log of the number of possible splits.

    A label comes first, so `sample(given={label: ...})` and p(x | y) are exact. Scores of complete records are exact, with missing
    cells among them where training had some: "missing" is a level. A cell unknown otherwise is averaged over 200 draws of the
    columns before (importance sampling with fixed draws), an estimate; `impute` resamples among 200 such draws.
    Above 64 columns a tree looks at the 32 earlier columns that tell most about its own.

    Arguments:
        bins: Most levels of a number; fewer where records are few (\(2 n^{0.4}\)) or wide (6,000 in all), but at least 8.
        criterion: What a split gains: `entropy` is the information gain of ID3, `gini` the impurity of CART.
        order: Order of the columns: as `given`, or by rising `entropy` of their levels. A gate precedes its number.
        min_leaf: Fewest records in a leaf.
        max_leaves: Most leaves of a tree before pruning.

    Errors:
        Problem: If a setting is out of range, or a condition names anything but the label.

    References:
        Induction of Decision Trees (Quinlan, 1986), https://doi.org/10.1007/BF00116251
        Using CART to generate partially synthetic, public use microdata (Reiter, 2005), https://www.scb.se/dokumentation/statistiska-metoder/JOS-archive/
        synthpop: Bespoke Creation of Synthetic Data in R (Nowok et al., 2016), https://doi.org/10.18637/jss.v074.i11

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(1000, 1))
        >>> pair = np.concatenate([x, -x], 1)
        >>> model = SequentialTree(random_state=0).fit(pair)
        >>> bool(np.corrcoef(model.sample(500, random_state=0).T)[0, 1] < -0.8)
        True
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})

    bins: int = 100
    criterion: Literal["entropy", "gini"] = "entropy"
    order: Literal["given", "entropy"] = "given"
    min_leaf: int = 10
    max_leaves: int = 500

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(random_state=0), cls(bins=16, criterion="gini", order="entropy", random_state=0)]

    def _check_params(self) -> None:
        super()._check_params()
        for name, least in (("bins", 2), ("min_leaf", 1), ("max_leaves", 1)):
            if getattr(self, name) < least:
                raise Problem(f"sequentialtree: {name} must be at least {least}, not {getattr(self, name)}.")

    # -- learning ----------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        numbers = code.x[:, self.layout_.columns("real")].double()
        bins = Bins.fit(numbers, most_levels(self.bins, *numbers.shape))
        self.knots_, self.cdf_, self.tails_, self.cuts_ = bins.knots, bins.cdf, bins.tails, bins.cuts
        shuffled = torch.randperm(len(code), generator=self._rng("rows"))  # a part of the records is any part
        levels, d = self._levels(code[shuffled]), self.layout_.size
        self.order_: list[int] = self._ordered(levels)
        wide = len(self._sizes) > 2 * FEATURES
        told = informative(levels, self._sizes) if wide else None
        before = [] if code.y is None else [d]
        splits, tables, sizes, gained = [], [], [], 0.0
        for step, j in enumerate(self.order_):
            looked_at = before
            if told is not None:
                looked_at = sorted(before, key=lambda i: -float(told[i, j]))[:FEATURES]
            there = levels[:, j] >= 0
            seen = levels[:, looked_at] if there.all() else levels[there][:, looked_at]
            tree, leaves, nats = self._grow(seen, levels[there, j], looked_at, j)
            gained += nats * len(seen) / len(levels)
            splits.append(np.stack([tree.column, tree.low, tree.high, tree.left], 1))
            tables.append(leaves.ravel())
            sizes.append(len(tree))
            before = [*before, j]
            self._tell(step + 1, d, time.perf_counter() - began, nodes=float(len(tree)))
        self.splits_: Tensor = torch.from_numpy(np.concatenate(splits))
        self.tables_: Tensor = torch.from_numpy(np.concatenate(tables))
        self.nodes_: list[int] = sizes
        note = f"{sum(sizes) // 2 + d:,} leaves in {d} trees"
        self._tell(d, d, time.perf_counter() - began, done=True, note=note)

    def _ordered(self, levels: Ints) -> list[int]:
        """Return the columns in the order of their trees, a gate before its numbers."""
        columns = list(range(self.layout_.size))
        if self.order == "entropy":
            columns.sort(key=lambda j: _entropy(levels[:, j]))
        gates = self._gates
        both = itertools.chain.from_iterable((gates[j], j) if j in gates else (j,) for j in columns)
        return list(dict.fromkeys(both))

    def _grow(self, seen: Ints, own: Ints, before: list[int], j: int) -> tuple[Tree, Floats, float]:
        """Return the pruned tree of column `j`, the tables of its leaves, and its left-out log likelihood per record.

        Arguments:
            seen: `(n, m)` levels of the columns before it.
            own: `(n,)` its own levels.
            before: Which columns these are.
            j: The column.
        """
        sizes, numbers, bins = self._sizes, self._numbers, self._bins
        size, number = sizes[j], j in numbers
        lacking = [bool((column < 0).any()) for column in seen.T]
        splits = Splits(range(len(before)), [sizes[i] for i in before], [i in numbers for i in before], lacking)
        few = min(size, COARSE) if number else size
        some = slice(0, max(10_000, SEARCH // (len(sizes) * max(1, len(before)))))
        gain = Information((own[some, None] * few) // size, [few], [-1], splits, self.criterion)
        price = math.log(len(splits) + 1)
        least = price if self.criterion == "entropy" else 0.0
        tree = grow(seen[some], splits, gain, self.min_leaf, self.max_leaves, least)
        counts: Floats = np.bincount(tree.route(seen) * size + own, minlength=len(tree) * size).astype(float)
        counts = tree.gather(counts.reshape(-1, size))
        base: Floats = bins.mass(numbers.index(j)).numpy() if number else np.full(size, 1 / size)
        found, root = choices(counts, number), choices(base[None], number)[0]
        root = root / root.sum(1, keepdims=True)
        best: tuple[float, float, Tree, Ints] | None = None
        for strength in STRENGTHS:
            left_out = smoothed(tree, found, root, strength, left_out=True)
            worth = (found * np.log(np.maximum(left_out, 1e-300))).sum((1, 2))
            pruned, which = tree.kept(prune(tree, worth, np.array([price]))[:, 0])
            total = float(worth[which[pruned.leaves]].sum() - price * len(pruned.leaves))
            if best is None or total > best[0]:
                best = total, strength, pruned, which
        assert best is not None
        total, strength, pruned, which = best
        tables = together(smoothed(tree, found, root, strength), size, number)[which[pruned.leaves]]
        pruned.column = np.array(before, dtype=np.int64)[pruned.column] if before else pruned.column
        return pruned, tables, total / max(1, len(own))

    # -- pieces ------------------------------------------------------------------------------------------------------
    @property
    def _bins(self) -> Bins:
        return Bins(self.knots_, self.cdf_, self.tails_, self.cuts_)

    @property
    def _cells(self) -> Cells:
        return Cells(self.layout_, self._bins)

    @property
    def _numbers(self) -> list[int]:
        return self.layout_.columns("real")

    @property
    def _gates(self) -> dict[int, int]:
        """The gate of every gated column."""
        return {j: gate for s, gate in self.layout_.gates for j in range(s.start, s.stop)}

    @property
    def _sizes(self) -> list[int]:
        """Number of levels of every column, that of the label last."""
        counts = self._cells.levels.counts  # all columns are levels here
        return [*counts, self.layout_.labels] if self.layout_.labels else counts

    def _levels(self, code: Code) -> Ints:
        """Return the levels of a code `(n, d)`, -1 where there is none, the label last."""
        x = self._cells.encode(code.x)
        if code.y is not None:
            x = torch.cat([x, code.y[:, None].double()], 1)
        return torch.nan_to_num(x, nan=-1.0).int().numpy()

    @property
    def _laws(self) -> list[Law]:
        """The conditional laws of the columns, in their order."""
        splits, tables, sizes, gates = self.splits_.numpy(), self.tables_.numpy(), self._sizes, self._gates
        found, node, place = [], 0, 0
        for j, nodes in zip(self.order_, self.nodes_, strict=True):
            column, low, high, left = splits[node : node + nodes].T
            width = (nodes // 2 + 1) * sizes[j]
            table = tables[place : place + width].reshape(-1, sizes[j])
            found.append(Law(j, gates.get(j), Tree(column, low, high, left), table))
            node, place = node + nodes, place + width
        return found

    def tree_sizes(self) -> list[tuple[str, int, int | None]]:
        """Return (column, leaves, depth) of every tree, for reports."""
        names = [f"{f.name}[{i}]" if f.size > 1 else f.name for f in self.layout_.fields for i in range(f.size)]
        return [(names[law.column], len(law.tree.leaves), len(law.tree.tiers)) for law in self._laws]

    def _check_learned(self) -> None:
        super()._check_learned()
        d = self.layout_.size
        self._bins.check(len(self._numbers))
        if not isinstance(self.order_, list) or not isinstance(self.nodes_, list):
            raise ValueError("order_ and nodes_ must be lists")
        if any(type(n) is not int for n in self.order_ + self.nodes_):
            raise ValueError("order_ and nodes_ must hold whole numbers")
        if (
            sorted(self.order_) != list(range(d))
            or len(self.nodes_) != d
            or any(n < 1 or n % 2 == 0 for n in self.nodes_)
        ):
            raise ValueError("order_ must name every column once, and trees have an odd number of nodes")
        sizes, at = self._sizes, {j: i for i, j in enumerate(self.order_)}
        if any(at[gate] > at[j] for j, gate in self._gates.items()):
            raise ValueError("order_ must put gates before their numbers")
        width = sum((n // 2 + 1) * sizes[j] for n, j in zip(self.nodes_, self.order_, strict=True))
        self._expect(splits_=(sum(self.nodes_), 4), tables_=(width,))
        if self.splits_.dtype != torch.long or self.tables_.dtype != torch.float64:
            raise ValueError("splits_ must hold whole numbers, and tables_ float64")
        before = set(range(d, len(sizes)))
        for law in self._laws:
            law.tree.check(before)
            if not (law.tables > 0).all() or not np.allclose(law.tables.sum(1), 1):
                raise ValueError("tables_ must hold positive probabilities")
            before.add(law.column)

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        cells, levels = self._cells, self._levels(code)
        total = cells.log_inside(code.x).numpy()
        unknown = self._unknown(code.x)
        open_ends, laws = unknown.any(1), self._laws
        for law in laws:
            known = ~open_ends & (levels[:, law.column] >= 0)
            total[known] += np.log(law.at(levels[known])[np.arange(known.sum()), levels[known, law.column]])
        if open_ends.any():
            # Every record meets the same draws, so that its score does not depend on its neighbours.
            u = torch.rand(PARTICLES, len(self._sizes), generator=self._rng("unknown"), dtype=torch.float64).numpy()
            for rows in np.array_split(np.nonzero(open_ends)[0], 1 + int(open_ends.sum()) * PARTICLES // ROWS):
                drawn, free = levels[rows].repeat(PARTICLES, 0), unknown[rows].repeat(PARTICLES, 0)
                log_weights = particles(laws, drawn, free, np.tile(u, (len(rows), 1)), {}).reshape(-1, PARTICLES)
                total[rows] += np.logaddexp.reduce(log_weights, axis=1) - math.log(PARTICLES)
        return torch.from_numpy(total)

    def _unknown(self, x: Tensor) -> NDArray[np.bool_]:
        """Return which values `(n, d)` are unknown: not there, though no gate says so."""
        unknown = torch.isnan(x)
        for columns, gate in self.layout_.gates:
            shut = (x[:, gate] != 0) & ~torch.isnan(x[:, gate])
            unknown[:, columns] &= ~shut[:, None]
        return unknown.numpy()

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y = self._draw_labels(n, rng, given)
        levels = np.full((n, len(self._sizes)), -1, dtype=np.int64)
        if y is not None:
            levels[:, -1] = y.numpy()
        laws = self._laws
        for start in range(0, n, ROWS):
            part = levels[start : start + ROWS]
            u = torch.rand(len(part), len(laws), generator=rng, dtype=torch.float64).numpy()
            for law in laws:
                part[:, law.column] = pick(law.at(part), u[:, law.column])
                if law.gate is not None:
                    part[part[:, law.gate] != 0, law.column] = -1
        return Code(self._values(levels, rng), y)

    def _values(self, levels: Ints, rng: torch.Generator | None) -> Tensor:
        """Return codes in levels, drawn inside of them, or their means."""
        known = torch.from_numpy(np.maximum(levels[:, : self.layout_.size], 0))
        return self._cells.decode(known.double(), rng)

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        y = None if code.y is None else code.y.clone()
        open_ends = (~code.mask).any(1)
        if y is not None:
            open_ends |= y < 0
        holes = torch.nonzero(open_ends)[:, 0]
        for rows in holes.split(max(1, ROWS // PARTICLES)):
            part = Code(x[rows], None if y is None else y[rows], code.mask[rows])
            self._fill(part, how, rng)
            x[rows] = part.x
            if y is not None and part.y is not None:
                y[rows] = part.y
        return Code(self.layout_.shut_gates(x), y, None, code.log_det)

    def _fill(self, code: Code, how: How, rng: torch.Generator) -> None:
        """Fill the unknown values of a few records, in place."""
        assert code.mask is not None
        n, sizes = len(code), self._sizes
        drawn = self._levels(code).repeat(PARTICLES, 0)
        u = torch.rand(n * PARTICLES, len(sizes), generator=rng, dtype=torch.float64).numpy()
        if code.y is not None:  # an unknown label is drawn from its frequencies, which the weights then correct
            prior = self.label_prior_.double().numpy()
            label = pick(np.broadcast_to(prior, (len(u), sizes[-1])), u[:, -1])
            drawn[:, -1] = np.where(drawn[:, -1] < 0, label, drawn[:, -1])
        own = self._cells.levels
        absent = {own.columns[i]: level for i, level in own.absent}
        log_weights = particles(self._laws, drawn, self._unknown(code.x).repeat(PARTICLES, 0), u, absent)
        weights = torch.softmax(torch.from_numpy(log_weights.reshape(n, PARTICLES)), 1)
        drawn = drawn.reshape(n, PARTICLES, -1)
        if how == "draw":
            best = torch.multinomial(weights, 1, generator=rng)[:, 0].numpy()
            chosen = drawn[np.arange(n), best]
            values = self._values(chosen, rng)
        else:
            chosen, values = self._typical_of(drawn, weights.numpy(), how, ~code.mask)
        code.x = torch.where(code.mask, code.x, values)
        if code.y is not None:
            code.y = torch.where(code.y < 0, torch.from_numpy(chosen[:, -1]), code.y)

    def _typical_of(self, drawn: Ints, weights: Floats, how: str, unknown: Tensor) -> tuple[Ints, Tensor]:
        """Return the likeliest levels `(n, columns)` among weighted draws, and values: their numbers the mean or the median."""
        rows = np.arange(len(drawn))
        chosen = np.empty((len(drawn), drawn.shape[2]), dtype=np.int64)
        levels, shares = self._cells.levels, []
        for j, size in enumerate(self._sizes):
            votes = np.zeros((len(drawn), size + 1))
            np.add.at(votes, (rows[:, None], drawn[:, :, j]), weights)  # -1, no value, is counted last
            shares.append(votes[:, :size])
            if j in self._numbers and how == "mode":
                share = votes[:, :size].cumsum(1)
                chosen[:, j] = (share < 0.5 * share[:, -1:]).sum(1)
            else:
                chosen[:, j] = votes[:, :size].argmax(1)
        values = self._values(chosen, None)
        if how == "mean":
            means = Means(self.codec_.units, levels)
            for i, j in enumerate(self._numbers):
                mean, there = self._bins.means(i, means.curve(j)).numpy(), drawn[:, :, j] >= 0
                own = weights * there
                total = (own * mean[drawn[:, :, j]]).sum(1) / np.maximum(own.sum(1), 1e-300)
                values[:, j] = torch.from_numpy(np.where(own.sum(1) > 0, total, values[:, j].numpy()))
            weights = np.concatenate(shares[: len(levels.counts)], 1)
            values = means.put(values, unknown, torch.from_numpy(weights))
        return chosen, values


def _entropy(levels: Ints) -> float:
    """Return the entropy of a column's levels, nats; -1 is left out."""
    share = np.bincount(levels[levels >= 0]) / max(1, int((levels >= 0).sum()))
    return -float((share * np.log(np.maximum(share, 1e-300))).sum())
