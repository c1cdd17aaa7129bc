"""Support-vector density: a sum of kernels around few records, whose weights solve a quadratic programme."""

from __future__ import annotations

import math
import time
from typing import Literal, Self

import torch
from torch import Tensor

from ..errors import Problem
from ..layout import Code
from ._kernelsum import LEFT_OUT
from ._labelled import LabelledSum
from ._levels import Levels
from ._platt import train
from ._reduced import Bumps, distribution, one_class, reduced_set

SMOOTHINGS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # among which `likelihood` chooses
TRIED = 1500  # records on which it does so
SEEN = 20_000  # records that the weights are fitted to
REGRESSED = 2000  # most records that enter the regression of `cdf`


class SVDensity(LabelledSum):
    r"""Support-vector density: kernels around few records, weighted by a quadratic programme, \(p(x) = \sum_i \alpha_i K(x, x_i)\).

    The kernel is that of `kde`: Gaussian in numbers, Aitchison and Aitken's in levels. The weights are not negative, sum to one,
    and are zero for most records; what is left is stored and scored. They minimise over the simplex

    | objective | minimised | what it is |
    |---|---|---|
    | `reduced-set` | \(\frac12 \alpha^\top C \alpha - \alpha^\top p\) | integrated squared error to the truth |
    | `one-class` | \(\frac12 \alpha^\top K \alpha\) with \(\alpha_i \le 1/(\nu m)\) | one-class support-vector machine |
    | `cdf` | \(\frac12 \alpha^\top C \alpha + \frac1{2E} \sum_e \max(0, \lvert r_e \rvert - \kappa)^2\) | regression |

    with overlaps \(C_{ij} = \int K(x, x_i) K(x, x_j)\,dx\), means over the records \(p_i = \frac1n \sum_k K(x_k, x_i)\), and by how
    much the distribution function of the sum misses the empirical one, \(r_e\), in standard errors. One-class weights gather at the
    border of the data, and \(\nu = 1\) is exactly the Parzen window.

    In many columns the plain squared error sees the highest peaks only. So `reduced-set` blurs both sides by a kernel of
    `smoothing` bandwidths first; 0 is Girolami and He's own. Widths and `smoothing` are chosen by the likelihood of records
    whose own kernel is left out.

    Marginals and conditionals are exact: conditions reweight the kernels. A label has weights of its own per class, or a
    classifier: then \(p(x, y) = p(x)\,p(y \mid x)\), draws given a label are exact, by rejection, and where features are unknown
    \(p(y \mid x)\) is its mean over the most likely centres.

    Arguments:
        objective: What the weights minimise.
        bandwidth: Factor h in units of a column's standard deviation; `likelihood` chooses it, `silverman` takes
            \((4 / (d + 2) / m)^{1/(d + 4)}\).
        centers: Most records that enter the quadratic programme (`cdf`: 2,000 at most); of more, so many are drawn at random.
        smoothing: Blur of `reduced-set`, in bandwidths; `likelihood` chooses one of 0, 2, 4, 8, 16 and 32;
            a wider one must gain more than its standard error.
        nu: \(\nu\) of `one-class`: at least this share of the records has weight.
        tube: \(\kappa\) of `cdf`: how many standard errors off cost nothing.
        labels: `joint` gives every class its own weights, \(p(y)\,p(x \mid y)\); `linear` and `rbf` multiply p(x) by a
            support-vector classifier with that kernel and Platt's probabilities. A numeric target is a column like others.
        penalty: Price C of a margin violation of the classifier.

    Errors:
        Problem: If a setting is out of range, or a condition has no density anywhere.

    References:
        Probability Density Estimation from Optimally Condensed Data Samples (Girolami & He, 2003), https://doi.org/10.1109/TPAMI.2003.1233899
        Estimating the Support of a High-Dimensional Distribution (Schoelkopf et al., 2001),
        https://doi.org/10.1162/089976601750264965
        Support Vector Method for Multivariate Density Estimation (Vapnik & Mukherjee, 1999),
        https://papers.nips.cc/paper/1713-support-vector-method-for-multivariate-density-estimation

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(500, 2))
        >>> model = SVDensity(random_state=0).fit(x)
        >>> model.support_vectors_ < 250, round(float(model.alpha_.sum()), 6)
        (True, 1.0)
        >>> model.sample(3, given={"x0": 1.0}, random_state=0)[:, 0].round(3).tolist()
        [1.0, 1.0, 1.0]
    """

    objective: Literal["reduced-set", "cdf", "one-class"] = "reduced-set"
    bandwidth: float | Literal["likelihood", "silverman"] = "likelihood"
    centers: int = 5000
    smoothing: float | Literal["likelihood"] = "likelihood"
    nu: float = 0.5
    tube: float = 0.2
    labels: Literal["joint", "linear", "rbf"] = "joint"
    penalty: float = 1.0

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [
            cls(smoothing=2.0, centers=800, random_state=0),
            cls(objective="one-class", nu=0.9, labels="rbf", centers=600, random_state=0),
            cls(objective="cdf", labels="linear", centers=800, random_state=0),
        ]

    # -- learning ----------------------------------------------------------------------------------------------------
    def _check_params(self) -> None:
        super()._check_params()
        for name in ("bandwidth", "penalty", "centers"):
            value = getattr(self, name)
            if not isinstance(value, str) and not 0 < value < math.inf:
                raise Problem(f"svdensity: {name} must be positive, not {value}.")
        for name in ("smoothing", "tube"):
            value = getattr(self, name)
            if not isinstance(value, str) and not 0 <= value < math.inf:
                raise Problem(f"svdensity: {name} must be 0 or more, not {value}.")
        if not 0 < self.nu <= 1:
            raise Problem(f"svdensity: nu must lie above 0 and at most at 1, not {self.nu}.")

    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        rng, levels = self._rng("centers"), Levels(self.layout_)
        rows = self._order(code, rng)
        most = min(self.centers, REGRESSED) if self.objective == "cdf" else self.centers
        m = len(chosen := rows[:most])
        self._place(code.x[chosen], rng)
        self.alpha_: Tensor = torch.full((m,), 1 / m, dtype=torch.float64)
        self._widths(self.bandwidth)
        seen = code.x[rows[:SEEN]]
        numbers, discrete = self._standardised(seen), seen[:, levels.columns]
        widths = self._tune(numbers, discrete)
        self._solve(numbers, discrete, torch.arange(m))
        if not bool(torch.isclose(self.alpha_, self.alpha_[0]).all()):
            self.bandwidth_, self.mixing_ = widths  # fewer kernels must be wider
        self._train(code, rows)
        self._prune()
        entered = f"{m:,} of {len(code):,} records" if m < len(code) else f"{m:,} records"
        note = f"{self.support_vectors_:,} support vectors of {entered}, bandwidth {self.bandwidth_:.3g}"
        self._tell(1, 1, time.perf_counter() - began, done=True, note=note)

    def _order(self, code: Code, rng: torch.Generator) -> Tensor:
        """Return the records in random order, so that any beginning holds every class in proportion, and at least once."""
        rows = torch.randperm(len(code), generator=rng)
        if self._label is None:
            return rows
        y = torch.nan_to_num(code.x[rows, self._label[0]].double(), nan=-1.0).long() + 1
        counts = torch.bincount(y)
        by_class = torch.argsort(y, stable=True)
        rank = torch.empty(len(y), dtype=torch.float64)
        rank[by_class] = (torch.arange(len(y)) - (counts.cumsum(0) - counts)[y[by_class]]).double()
        return rows[torch.argsort(rank / counts[y], stable=True)]

    def _tune(self, numbers: Tensor, discrete: Tensor) -> tuple[float, float]:
        """Set the smoothing, and return widths for the weights: all by a fit to a part and the likelihood of records left out."""
        self.smoothing_: float = (
            0.0 if isinstance(self.smoothing, str) or self.objective != "reduced-set" else self.smoothing
        )
        parzen = widths = (self.bandwidth_, self.mixing_)
        m, by_likelihood = len(self.numbers_), self.bandwidth == "likelihood"
        smoothings = (
            SMOOTHINGS if isinstance(self.smoothing, str) and self.objective == "reduced-set" else (self.smoothing_,)
        )
        if m < 6 or not (by_likelihood or len(smoothings) > 1):
            return widths
        out = min(LEFT_OUT, m // 3)
        best, best_scores = self.smoothing_, torch.full((out,), -torch.inf)
        for smoothing in smoothings:
            self.smoothing_ = smoothing
            self._solve(numbers[out : 4 * TRIED], discrete[out : 4 * TRIED], torch.arange(out, min(m, out + TRIED)))
            scores = self._choose(by_likelihood, out)
            gain = scores - best_scores
            if float(gain.mean()) > float(gain.std()) / math.sqrt(out) or smoothing == smoothings[0]:
                best_scores, best, widths = scores, smoothing, (self.bandwidth_, self.mixing_)
            self.bandwidth_, self.mixing_ = parzen
        self.smoothing_ = best
        return widths

    def _solve(self, numbers: Tensor, discrete: Tensor, centres: Tensor) -> None:
        """Set the weights of some centres, which stand on the first of the records; the others get none."""
        bumps = Bumps(self.layout_, self.numbers_, self.levels_, self.bandwidth_, self._mixing)
        alpha = torch.zeros(len(self.numbers_), dtype=torch.float64)
        place, rng = torch.arange(len(numbers)), self._rng("pairs")
        for own in self._groups(centres):
            rows, mass = place, 1.0
            if self._label is not None and not self._classifies:  # a class is fitted to its own records
                i = self._label[1]
                rows = torch.nonzero(discrete[:, i] == self.levels_[own[0], i])[:, 0]
                mass = float(max(1, len(rows)))
            part = bumps.at(own)
            if self.objective == "one-class":
                found = one_class(part, self.nu)
            elif self.objective == "cdf":
                found = distribution(part, numbers[rows], discrete[rows], self.tube, rng)
            else:
                where = torch.full((len(numbers),), -1)
                where[rows] = torch.arange(len(rows))
                found = reduced_set(part, numbers[rows], discrete[rows], where[own - centres[0]], self.smoothing_)
            alpha[own] = mass * torch.from_numpy(found)
        self.alpha_ = alpha / alpha.sum()

    def _groups(self, centres: Tensor) -> list[Tensor]:
        """Return centres by class, or all together where the classes share their weights."""
        if self._label is None or self._classifies:
            return [centres]
        y = self.levels_[centres, self._label[1]]
        return [centres[y == c] for c in y.unique()]

    def _prune(self) -> None:
        """Keep the centres that have weight."""
        kept = torch.nonzero(self.alpha_ > 1e-7 / len(self.alpha_))[:, 0]
        self.numbers_, self.levels_ = self.numbers_[kept].clone(), self.levels_[kept].clone()
        self.alpha_ = self.alpha_[kept] / self.alpha_[kept].sum()

    def _train(self, code: Code, rows: Tensor) -> None:
        """Train the classifier, if there is to be one."""
        if not self._classifies:
            return
        assert self._label is not None
        known = rows[~torch.isnan(code.x[rows, self._label[0]])][: self.centers]
        y = code.x[known, self._label[0]].long()
        machines = train(self._features(code.x[known]), y, self._label[2], self.labels, self.penalty)  # type: ignore[arg-type]
        self.gamma_: float = machines.gamma
        self.vectors_: Tensor = machines.vectors
        self.duals_: Tensor = machines.duals
        self.offsets_: Tensor = machines.offsets.double()
        self.platt_: Tensor = machines.platt.double()

    # -- pieces ------------------------------------------------------------------------------------------------------
    @property
    def support_vectors_(self) -> int:
        """How many records have weight."""
        return len(self.alpha_)

    @property
    def _log_weights(self) -> Tensor:
        return self.alpha_.log()

    def _check_learned(self) -> None:
        super()._check_learned()
        self._expect(alpha_=(len(self.numbers_),))
        if not bool((self.alpha_ > 0).all()) or abs(float(self.alpha_.sum()) - 1) > 1e-6:
            raise ValueError("alpha_ must hold positive weights that sum to 1")
        if not self._classifies:
            return
        assert self._label is not None
        machines, features = (
            (1 if self._label[2] == 2 else self._label[2]),
            self._features(torch.zeros(1, self.layout_.size)),
        )
        self._expect(
            vectors_=(len(self.vectors_), features.shape[1]), duals_=(machines, len(self.vectors_)),
            offsets_=(machines,), platt_=(machines, 2),
        )  # fmt: skip
        if not 0 < self.gamma_ < math.inf:
            raise ValueError("gamma_ must be positive")
