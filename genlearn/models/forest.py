"""Adversarial random forests: a mixture of boxes, cut by trees until independence holds inside them."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from ._adversary import Grower
from ._boxfit import fit_leaves
from ._boxlaws import Leaves, allowed
from ._forest import Features, Trees, like_levels
from ._leafnormals import NormalLeaves, fit_normals
from ._means import Means
from ._pairs import averaged, choose, shares

PARAMETERS = 16_000_000  # levels, and numbers eight times, in all leaves together
NORMALS = 1_000  # leaves in all when each has a covariance: every record meets every one of them
WIDE = 100  # numbers per record above which a covariance has too many entries
PAIRS = 4_000_000  # pairs of a record and a leaf held at once
DRAWN = 4_000_000  # probabilities of levels held at once
GAIN = 0.02  # accuracy that another forest must take away
FEWEST = {"product": 5, "gaussian": 20}  # records of a leaf
POLISH = {"product": 0, "gaussian": 5}  # passes: the leaves of a product law are small enough to learn records by heart


class Forest(Scores, Imputes, Conditional, Model):
    r"""Adversarial random forest: bagged trees whose leaves are the components of a mixture.

    \[ p(x) = \sum_k \pi_k\, f_k(x), \qquad \pi_k = \frac{n_k}{n T} \]

    over the leaves k of all T trees, each with \(n_k\) of the n records. A forest learns to tell the records from synthetic ones,
    first from records with independent columns, then from draws with independent columns within the leaves of the forest before;
    it stops when nothing is left to tell, and then columns are independent within leaves. Leaves with too few records give way
    to their sibling.

    | leaf | \(f_k\) |
    |---|---|
    | product | on the leaf's box: smoothed frequencies of levels; per number a truncated normal, with a share of the overall one |
    | gaussian | on the whole space: smoothed frequencies of levels, and one normal with a full covariance for all numbers |

    With `product` a complete record lies in one leaf per tree. An unknown value lies in several: every marginal and conditional is
    exact, by a sum over the leaves that may hold the record; conditions reweight leaves and narrow their laws.

    Arguments:
        trees: Number of trees T.
        leaf: Law inside the leaves.
        min_leaf: Fewest records of a leaf; None takes 5, with `gaussian` 20. It rises where all leaves together would not fit:
            to n T (levels + 8 numbers) / 32,000,000 records, with `gaussian` so that there are about 1,000 leaves.
        rounds: Most forests that are grown against draws of the one before; 0 keeps the first.
        delta: Stop when the out-of-bag accuracy is at most 0.5 + delta.
        smoothing: Pseudo-records of the overall law in every leaf.
        polish: EM passes over the weights of the leaves, on validation records where there are any; None makes 5 with
            `gaussian`, none with `product`.

    Errors:
        Problem: If a setting is out of range, a condition has no density anywhere, `gaussian` is asked of records with more
            than 100 numbers, or several ranges of numbers are asked of it.

    References:
        Adversarial Random Forests for Density Estimation and Generative Modeling (Watson et al., 2023), https://arxiv.org/abs/2205.09435
        Joints in Random Forests (Correia et al., 2020), https://arxiv.org/abs/2006.14937

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(500, 1)) + np.array([[-3.0, 3.0]])
        >>> model = Forest(random_state=0).fit(np.concatenate([x, -x]))
        >>> bool(model.sample(200, given={"x0": "1:5"}, random_state=0)[:, 1].mean() < 0)
        True
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    number_scale: ClassVar[str] = "quantile"
    conditions: ClassVar[Literal["target", "any"]] = "any"

    trees: int = 30
    leaf: Literal["product", "gaussian"] = "product"
    min_leaf: int | None = None
    rounds: int = 3
    delta: float = 0.0
    smoothing: float = 0.3
    polish: int | None = None

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [
            cls(trees=10, rounds=1, random_state=0),
            cls(trees=5, rounds=1, leaf="gaussian", polish=2, random_state=0),
        ]

    # -- learning ----------------------------------------------------------------------------------------------------
    def _check_params(self) -> None:
        super()._check_params()
        for name, least in (("trees", 1), ("min_leaf", 1), ("rounds", 0), ("polish", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise Problem(f"forest: {name} must be at least {least}, not {value}.")
        if not 0 <= self.delta <= 0.5:
            raise Problem(f"forest: delta must lie between 0 and 0.5, not {self.delta}.")
        if not 0 < self.smoothing < math.inf:
            raise Problem(f"forest: smoothing must be above 0, not {self.smoothing}.")

    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        numbers = len(self.layout_.columns("real"))
        if self.leaf == "gaussian" and numbers > WIDE:
            raise Problem(
                f"forest: {numbers} numbers per record are too many for a covariance in every leaf, {WIDE} fit. "
                'Take leaf "product".'
            )
        shuffled = torch.randperm(len(code), generator=self._rng("order"))
        self.rank_: Tensor = like_levels(code.x[shuffled], self.layout_)
        features = Features(self.layout_, self.rank_)
        completed = features.completed(features(code.x), self._rng("complete"))
        trees, note = self._grown(features, completed, began)
        law: Leaves | NormalLeaves
        if self.leaf == "gaussian":
            law, held = fit_normals(features, trees, code.x, completed, self.smoothing)
        else:
            law, held = fit_leaves(features, trees, code.x, completed, self.smoothing)
        self._keep(law)
        self.weights_: Tensor = held / held.sum()
        passes = POLISH[self.leaf] if self.polish is None else self.polish
        for step in range(passes):
            nats = self._polished(valid if valid is not None and len(valid) else code, held / held.sum())
            self._tell(step, passes, time.perf_counter() - began, stage="polish", nats=nats)
        seconds = time.perf_counter() - began
        self._tell(self.rounds, self.rounds, seconds, done=True, note=f"{note}; {len(held):,} leaves")

    def _grown(self, features: Features, completed: Tensor, began: float) -> tuple[Trees, str]:
        """Return a forest within whose leaves columns are independent, as far as a forest can tell, and why it stopped."""
        n, least = len(completed), self._least(len(completed))
        if n < 2 * least:
            stump = torch.full((1,), -1, dtype=torch.int32), torch.zeros(1, dtype=torch.float64)
            return Trees(*stump, 1), f"{n} records make one leaf"
        rng = self._rng("synthetic")
        grower = Grower(completed, features.units, self.trees, least)
        trees, accuracy = grower.grow(grower.permuted(rng), self.seed_ % 2**31)
        note = "stopped after the first forest"
        for step in range(1, self.rounds + 1):
            self._tell(step - 1, self.rounds, time.perf_counter() - began, accuracy=accuracy)
            following, left = grower.grow(grower.from_leaves(trees, rng), (self.seed_ + step) % 2**31)
            if left <= 0.5 + self.delta:
                return trees, f"draws within leaves pass for records, accuracy {left:.3f}"
            if left > accuracy - GAIN:
                return trees, f"accuracy no longer falls, {left:.3f}"
            trees, accuracy = following, left
            note = f"stopped at the limit of {step} rounds, accuracy {left:.3f}"
        return trees, note

    def _least(self, n: int) -> int:
        """Return the fewest records of a leaf."""
        least = self.min_leaf or FEWEST[self.leaf]
        numbers, width = len(self.layout_.columns("real")), Features(self.layout_, self.rank_).levels.width
        if self.leaf == "gaussian":  # leaves hold about twice as many
            return max(least, n * self.trees // (2 * NORMALS))
        return max(least, math.ceil(n * self.trees * (width + 8 * numbers) / (2 * PARAMETERS)))

    def _polished(self, code: Code, start: Tensor) -> float:
        """Move the weights of leaves by a pass of EM towards what records say; return the log posterior before it, nats.

        As many pseudo-records as a tree has leaves keep the weights near those they started from.
        """
        law, log_weights = self._law, self.weights_.log()
        strength = len(start) / self.trees
        total, nats = strength * start, strength * float(start @ log_weights)
        for x in code.x.split(4096):
            for rows, leaf, log_density in law.pairs(x, PAIRS):
                weight, score = shares(rows, log_weights[leaf] + log_density, len(x))
                total = total.index_add(0, leaf, weight)
                nats += float(score[rows.unique_consecutive()].sum())
        self.weights_ = total / total.sum()
        return nats / (len(code) + strength)

    # -- state -------------------------------------------------------------------------------------------------------
    def _keep(self, law: Leaves | NormalLeaves) -> None:
        self.tables_: Tensor = law.tables
        self._known = self.tables_, law
        self.means_: Tensor = law.mean
        self.overall_: Tensor = law.overall
        self.law_: str = self.leaf
        if isinstance(law, NormalLeaves):
            self.covariances_: Tensor = law.cov
            return
        self.tree_count_: int = law.trees.count
        self.feature_: Tensor = law.trees.feature
        self.threshold_: Tensor = law.trees.threshold
        self.sds_: Tensor = law.sd
        self.shares_: Tensor = law.share

    @property
    def _law(self) -> Leaves | NormalLeaves:
        known: tuple[Tensor, Leaves | NormalLeaves] | None = self.__dict__.get("_known")
        if known is None or known[0] is not self.tables_:
            features = Features(self.layout_, self.rank_)
            law: Leaves | NormalLeaves
            if self.law_ == "gaussian":
                law = NormalLeaves(features, self.tables_, self.means_, self.overall_, self.covariances_)
            else:
                trees = Trees(self.feature_, self.threshold_, self.tree_count_)
                law = Leaves(features, self.tables_, self.means_, self.overall_, trees, self.sds_, self.shares_)
            self._known = known = self.tables_, law
        return known[1]

    def tree_sizes(self) -> list[tuple[str, int, int | None]]:
        """Return (name, leaves, depth) of every tree, for reports; of Gaussian leaves no trees are kept."""
        law = self._law
        return [("", *size) for size in law.trees.sizes()] if isinstance(law, Leaves) else []

    def _check_learned(self) -> None:
        super()._check_learned()
        if not isinstance(self.law_, str) or self.law_ not in FEWEST:
            raise ValueError("law_ is neither product nor gaussian")
        levels, d, k = Features(self.layout_, self.rank_).levels, len(self.layout_.columns("real")), len(self.weights_)
        self._expect(rank_=(levels.width,), weights_=(k,), tables_=(k, levels.width), means_=(k, d), overall_=(2, d))
        if not all(t.is_floating_point() for t in (self.weights_, self.tables_, self.means_, self.overall_)):
            raise ValueError("weights_, tables_, means_ and overall_ must hold real numbers")
        for start, count in zip(levels.start.tolist(), levels.counts, strict=True):
            if self.rank_[start : start + count].sort().values.tolist() != list(range(count)):
                raise ValueError("rank_ is no order of the levels")
        off = (levels.total(self.tables_.double()) - 1).abs()
        if bool((self.tables_ < 0).any()) or bool((off > 1e-3).any()):
            raise ValueError("tables_ must hold probabilities")
        if bool((self.weights_ < 0).any()) or abs(float(self.weights_.sum()) - 1) > 1e-6:
            raise ValueError("weights_ must hold probabilities")
        if bool((self.overall_[1] <= 0).any()):
            raise ValueError("overall_ must hold positive deviations")
        if self.law_ == "gaussian":
            self._expect(covariances_=(k, d, d))
            torch.linalg.cholesky(self.covariances_)
        else:
            self._check_boxes(k, d)

    def _check_boxes(self, k: int, d: int) -> None:
        self._expect(sds_=(k, d), shares_=(k,))
        trees = Trees(self.feature_, self.threshold_, self.tree_count_)
        trees.check(self.layout_.size)
        if trees.leaves != k:
            raise ValueError(f"the trees have {trees.leaves} leaves, the laws {k}")
        if bool((self.sds_ <= 0).any()) or bool(((self.shares_ <= 0) | (self.shares_ > 1)).any()):
            raise ValueError("deviations and shares must be positive, shares at most 1")
        features = Features(self.layout_, self.rank_)
        if bool((self.tables_[~allowed(features, trees.boxes(self.layout_.size))] > 0).any()):
            raise ValueError("tables_ gives probability to levels outside of the leaves")

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        law, log_weights = self._law, self.weights_.log()
        if isinstance(law, NormalLeaves):
            return torch.cat(
                [
                    torch.logsumexp(law.joint(x) + log_weights, 1)
                    for x in code.x.split(max(1, PAIRS // len(log_weights)))
                ]
            )
        features, out = law.features(code.x), torch.full((len(code),), -torch.inf, dtype=torch.float64)
        hole = torch.isnan(features).any(1)
        some = bool(hole.any())
        whole = torch.nonzero(~hole)[:, 0] if some else slice(None)
        x, features = (code.x[whole], features[whole]) if some else (code.x, features)
        values, places, total = law.values(x), law.places(x), out[whole].clone()

        def tree(t: int) -> Tensor:
            leaf = law.trees.leaf_of(features, t)
            return log_weights[leaf] + law.log_prob(values, places, leaf)

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for each in pool.map(tree, range(law.trees.count)):
                total = torch.logaddexp(total, each)
        out[whole] = total
        if some:
            x, rest = code.x[hole], []
            for rows, leaf, log_density in law.pairs(x, PAIRS):
                score = shares(rows, log_weights[leaf] + log_density, len(x))[1]
                rest.append(score[rows.unique_consecutive()])
            out[hole] = torch.cat(rest)
        return out

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        law = self._law
        levels = law.features.levels
        given = given or Given(torch.full((1, self.layout_.size), torch.nan))
        asked = given.x[0].double()
        places = levels.within(asked, given.ranges).to(law.tables.dtype)
        log_weights = self.weights_.log() + law.evidence(asked, given.ranges)
        if not bool((log_weights > -1e6).any()):
            raise Problem(f"forest: no record has {', '.join(given.names)} as asked. Widen the condition.")
        which = torch.multinomial(torch.softmax(log_weights, 0), n, replacement=True, generator=rng)
        parts = []
        for leaf in which.split(max(1, DRAWN // max(1, levels.width))):
            x = asked.repeat(len(leaf), 1)
            x[:, levels.columns] = levels.draw(law.tables[leaf].double() * places, rng)
            drawn = law.draw(leaf, law.values(x), rng, given.ranges)
            x[:, law.numbers] = torch.where(torch.isnan(law.values(x)), drawn, law.values(x))
            parts.append(self.layout_.shut_gates(x))
        return Code(torch.cat(parts))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        rows = max(1, DRAWN // max(1, self._law.features.levels.width))
        parts = [self._filled(a, ~b, how, rng) for a, b in zip(x.split(rows), code.mask.split(rows), strict=True)]
        return Code(torch.cat(parts), code.y, None, code.log_det)

    def _filled(self, x: Tensor, unknown: Tensor, how: How, rng: torch.Generator) -> Tensor:
        law = self._law
        levels, d = law.features.levels, len(law.numbers)
        means = Means(self.codec_.units, levels)
        present = levels.present(law.tables) if how == "mean" else law.tables
        fill, discrete, values = unknown[:, levels.columns], x[:, levels.columns], law.values(x)
        leaf_of = torch.zeros(len(x), dtype=torch.long)
        tables = torch.zeros(len(x), levels.width, dtype=torch.float64)
        sums = torch.zeros(2, len(x), d, dtype=torch.float64)
        for rows, leaf, log_density in law.pairs(x, PAIRS):
            log_weight = self.weights_.log()[leaf] + log_density
            for i, level in levels.absent:  # what is filled in is not missing: leaves that say so weigh less
                share = law.tables[leaf, int(levels.start[i]) + level].double().clamp_max(1 - 1e-12)
                log_weight = log_weight + torch.where(fill[rows, i], torch.log1p(-share), 0.0)
            weight, _ = shares(rows, log_weight, len(x))
            leaf_of[rows.unique_consecutive()] = leaf[choose(rows, weight, rng if how == "draw" else None)]
            if how == "draw":
                continue
            tables += averaged(rows, leaf, weight, len(x), present)
            if how == "mean" and d:
                weight = weight[:, None] * law.openness(leaf, fill[rows])
                sums[0].index_add_(0, rows, weight * law.expect(leaf, values[rows], means))
                sums[1].index_add_(0, rows, weight)
        if how == "draw":
            tables, numbers = law.tables[leaf_of].double(), law.draw(leaf_of, values, rng)
        else:
            numbers = sums[0] / sums[1] if how == "mean" else law.modes(leaf_of, values)
        tables = tables * levels.allowed(discrete, fill)
        chosen = levels.choose(tables, how, rng)
        x = x.clone()
        x[:, levels.columns] = torch.where(fill, chosen, discrete)
        x[:, law.numbers] = torch.where(torch.isnan(values), numbers, values)
        if how == "mean":
            x = means.put(x, unknown, tables)
        return self.layout_.shut_gates(x)
