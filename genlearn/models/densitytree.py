"""Density estimation trees: one tree over all columns, a product of tables in every leaf."""

from __future__ import annotations

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
from ._grown import TINY, Grown, volumes_of
from ._leaves import Leaves
from ._splits import Error, Gain, Information, Splits, grow
from ._trees import Floats, Ints, Tree, informative, most_levels, prune

FACTORS = (0.1, 0.3, 1.0)  # of which cross-validation chooses one for all of them
COARSE = 16  # most levels of a number that splits are sought at
COLUMNS = 64  # most columns that splits of wide records look at: those that tell most about the others
SEARCH = 50_000_000  # records x columns x columns looked at: trees of more are grown on a part, and filled by all
PRICES = 40  # cost-complexity parameters tried


class DensityTree(Scores, Imputes, Conditional, Model):
    r"""Density estimation tree: a tree cuts the space of records into boxes, and inside a box the columns are independent.

    \[ p(x) = \sum_\ell \frac{n_\ell}{n}\, [x \in \ell] \prod_j q_{\ell j}(x_j) \]

    Numbers are cut into levels at their quantiles, with the column's own density inside a level and exponential tails outside of
    the training range: the density is positive everywhere. A table q in a leaf is drawn towards its parent's, as strongly as
    left-out records ask for; for numbers that holds for every halving of the range. Splits are chosen greedily:

    | criterion | what a split of n records into l and r gains |
    |---|---|
    | likelihood | \(n \sum_j I(\text{split}; x_j)\) over the other columns: the log likelihood of independent columns |
    | ise | \(n_l^2/V_l + n_r^2/V_r - n^2/V\): integrated squared error of a constant density in volumes V |

    Ram and Gray's tree is `criterion="ise", leaf="constant"`. The tree is cut back by cost-complexity pruning, at the price per
    leaf that does best on left-out records in cross-validation, by the same criterion.

    Every marginal and every conditional reweights the leaves, exactly: unknown cells are summed out, `sample` takes values and
    ranges of any columns, `impute` draws from p(unknown | known). Numbers that are missing in training go with one side of a
    split. Of more than 64 columns, splits look at the 64 that tell most about the others.

    Arguments:
        bins: Most levels of a number; fewer where records are few (\(2 n^{0.4}\)) or wide (6,000 in all), but at least 8.
        criterion: What splits and pruning go by: `likelihood` or `ise`.
        leaf: A `product` of tables in every leaf, or a `constant` density on its levels.
        folds: Parts of the cross-validation.
        min_leaf: Fewest records in a leaf.
        max_leaves: Most leaves before pruning.

    Errors:
        Problem: If a setting is out of range, or no leaf has what a condition asks for.

    References:
        Density Estimation Trees (Ram & Gray, 2011), https://doi.org/10.1145/2020408.2020507
        Classification and Regression Trees (Breiman et al., 1984), https://doi.org/10.1201/9781315139470

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = np.concatenate([rng.normal(-3, 1, (300, 2)), rng.normal(3, 1, (300, 2))])
        >>> model = DensityTree(random_state=0).fit(x)
        >>> bool(model.sample(500, given={"x0": "1:9"}, random_state=0)[:, 1].mean() > 2)
        True
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"

    bins: int = 100
    criterion: Literal["likelihood", "ise"] = "likelihood"
    leaf: Literal["product", "constant"] = "product"
    folds: int = 5
    min_leaf: int = 20
    max_leaves: int = 500

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(random_state=0), cls(criterion="ise", bins=24, folds=3, random_state=0)]

    def _check_params(self) -> None:
        super()._check_params()
        for name, least in (("bins", 2), ("min_leaf", 1), ("max_leaves", 1), ("folds", 2)):
            if getattr(self, name) < least:
                raise Problem(f"densitytree: {name} must be at least {least}, not {getattr(self, name)}.")

    # -- learning ----------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        numbers = code.x[:, self.layout_.columns("real")].double()
        bins = Bins.fit(numbers, most_levels(self.bins, *numbers.shape))
        self.knots_, self.cdf_, self.tails_, self.cuts_ = bins.knots, bins.cdf, bins.tails, bins.cuts
        cells = self._cells
        levels = torch.nan_to_num(cells.encode(code.x), nan=-1.0).int().numpy()
        levels = levels[torch.randperm(len(levels), generator=self._rng("rows")).numpy()]
        columns = list(range(levels.shape[1]))
        if len(columns) > COLUMNS:
            told = informative(levels, cells.levels.counts).sum(1)
            columns = sorted(np.argsort(-told, kind="stable")[:COLUMNS].tolist())
        whole = self._grow(cells, levels, columns)
        prices = [_prices(whole, self._worth(whole, levels, factor)) for factor in FACTORS]
        found = [np.zeros(len(p)) for p in prices]
        fold = np.arange(len(levels)) % self.folds
        for k in range(self.folds if len(levels) >= 2 * self.folds else 0):
            rest, left_out = levels[fold != k], levels[fold == k]
            part = self._grow(cells, rest, columns)
            for i, factor in enumerate(FACTORS):
                keep = prune(part.tree, self._worth(part, rest, factor), prices[i])
                worth = self._worth(part, left_out, factor)
                found[i] += len(left_out) * _pruned_worth(part.tree, worth, keep)
            self._tell(k + 1, self.folds + 1, time.perf_counter() - began, leaves=float(len(part.tree.leaves)))
        i = int(np.argmax([f.max() for f in found]))
        best = len(prices[i]) - 1 - int(found[i][::-1].argmax())  # of equals the highest price: the smallest tree
        keep = prune(whole.tree, self._worth(whole, levels, FACTORS[i]), prices[i][best : best + 1])[:, 0]
        pruned, which = whole.tree.kept(keep)
        kept = which[pruned.leaves]
        self.weights_: Tensor = torch.from_numpy(whole.share(levels)[kept])
        self.tables_: Tensor = torch.from_numpy(whole.tables(FACTORS[i])[kept])
        note = f"{len(kept)} leaves of {len(whole.tree.leaves)} grown"
        self._tell(self.folds + 1, self.folds + 1, time.perf_counter() - began, done=True, note=note)

    def _grow(self, cells: Cells, levels: Ints, columns: list[int]) -> Grown:
        """Return a tree of some columns, filled with records of levels `(n, d)`."""
        fine = np.array([cells.levels.counts[j] for j in columns])
        number = np.array([j in cells.numbers for j in columns])
        few = fine if self.criterion == "ise" else np.where(number, np.minimum(fine, COARSE), fine)
        some = levels[: max(10_000, SEARCH // len(columns) ** 2)].copy()
        some[:, columns] = np.maximum(some[:, columns] * few // fine, -1)
        lacking = [bool((some[:, j] < 0).any()) for j in columns]
        splits = Splits(columns, few.tolist(), number.tolist(), lacking)
        gain: Gain
        if self.criterion == "ise":
            gain, least = Error(splits, [volumes_of(cells, j) for j in columns]), 0.0
        else:  # chance alone gains half a nat per free level: what gains less than half of that is not tried
            gain = Information(some[:, columns], few.tolist(), range(len(columns)), splits)
            least = 0.25 * float((few - 1).sum())
        tree = grow(some, splits, gain, self.min_leaf, self.max_leaves, least)
        for j, a, b in zip(columns, fine, few, strict=True):  # back from coarse levels to fine ones
            own = (tree.left > 0) & (tree.column == j) & (a > b)
            tree.high[own] = -(-(tree.high[own] + 1) * a // b) - 1
        return Grown(cells, tree, levels, self.leaf == "constant")

    def _worth(self, grown: Grown, levels: Ints, factor: float) -> Floats:
        """Return what every node gives to the criterion, per record of levels `(n, d)`, if it is a leaf."""
        own, share = grown.own_share, grown.share(levels)
        if self.criterion == "ise":
            return (2 * share - own) * np.exp(np.minimum(np.log(np.maximum(own, TINY)) - grown.log_volume, 600.0))
        logs = np.log(np.maximum(grown.tables(factor), TINY))
        return share * np.log(np.maximum(own, TINY)) + (grown.count(levels) * logs).sum(1) / len(levels)

    # -- pieces ------------------------------------------------------------------------------------------------------
    @property
    def _cells(self) -> Cells:
        return Cells(self.layout_, Bins(self.knots_, self.cdf_, self.tails_, self.cuts_))

    @property
    def _leaves(self) -> Leaves:
        return Leaves(self._cells, self.weights_, self.tables_)

    def tree_sizes(self) -> list[tuple[str, int, int | None]]:
        """Return (name, leaves, depth) of the tree, for reports; splits are not kept, only what the leaves hold."""
        return [("", len(self.weights_), None)]

    def _check_learned(self) -> None:
        super()._check_learned()
        Bins(self.knots_, self.cdf_, self.tails_, self.cuts_).check(len(self.layout_.columns("real")))
        levels = self._cells.levels
        self._expect(weights_=(len(self.weights_),), tables_=(len(self.weights_), levels.width))
        if self.weights_.dtype != torch.float64 or self.tables_.dtype != torch.float64:
            raise ValueError("weights_ and tables_ must be float64")
        sums = levels.total(self.tables_)
        if not (bool((self.weights_ > 0).all()) and abs(float(self.weights_.sum()) - 1) < 1e-6):
            raise ValueError("weights_ must be shares")
        if not bool((self.tables_ >= 0).all()) or not torch.allclose(sums, torch.ones_like(sums)):
            raise ValueError("tables_ must hold probabilities")

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        return self._leaves.log_prob(code.x)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        return Code(self._leaves.sample(n, rng, given, "densitytree"))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        return self._leaves.impute(code, how, rng, self.codec_.units)


def _prices(grown: Grown, worth: Floats) -> Floats:
    """Return what a leaf may have to gain, from nothing to more than all splits together."""
    tree = grown.tree
    inner = np.nonzero(tree.left)[0]
    gains = np.maximum(worth[tree.left[inner]] + worth[tree.left[inner] + 1] - worth[inner], 0)
    some = np.quantile(gains, np.linspace(0, 1, PRICES)) if len(gains) else gains
    return np.unique(np.concatenate([[0.0], some, [2 * gains.sum() + 1e-9]]))


def _pruned_worth(tree: Tree, worth: Floats, keep: NDArray[np.bool_]) -> Floats:
    """Return the sums `(prices,)` of `worth` over the leaves of the trees that are kept at every price."""
    found = np.repeat(worth[:, None], keep.shape[1], 1)
    for node in range(len(tree) - 1, -1, -1):
        if child := int(tree.left[node]):
            found[node] = np.where(keep[node], found[child] + found[child + 1], found[node])
    return found[0]
