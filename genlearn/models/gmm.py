"""Gaussian mixture models: numbers by Gaussian components, categories by level tables, fitted by EM."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from .. import ranks
from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from ._em import DenseEM, FactoredEM, Statistics
from ._levels import Levels
from ._means import Means
from ._mixture import Fitter, Mixture
from ._normals import Dense, Factored, log_mass, patterns, truncated
from ._rows import CHUNK, Rows
from ._starts import Starts
from ._tasks import Task, best_count
from ._variational import Bayes

Covariance = Literal["full", "diag", "tied", "spherical", "lowrank"]

COMPONENTS, MOST_COMPONENTS = 30, 100
WIDE = 100  # numbers per record above which a matrix per component has too many entries
NARROW = 30  # numbers per record up to which it has few enough even where records are few
MOST_DENSE = 500  # numbers per record that a matrix per component is worked out for, where nothing else will do
SEARCHED, MOST_TRIED = (
    50_000,
    256,
)  # records and components that the search for the best number of components goes through


@dataclass(frozen=True)
class Bound:
    """A range on one number: its mean and deviation under every component `(K,)`, and the range in those deviations."""

    column: int
    mean: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor


class GMM(Scores, Imputes, Conditional, Model):
    r"""Gaussian mixture: components for numbers, times level tables for categories, fitted by EM.

    \[ p(x) = \sum_k \pi_k\, N(x_{\mathrm{num}}; \mu_k, \Sigma_k) \prod_j T_{kj}(x_j) \]

    Binary images are mixtures of Bernoullis; a label is one more category, so the model gives p(x, y). Every marginal and every
    conditional of a mixture is a mixture again: missing numbers are left out of the score exactly, unknown ones are drawn
    exactly (`impute`), and `sample` takes conditions on any column, with one range on a number (several where the numbers are
    independent within components: `diag`, `spherical`).

    EM climbs the log posterior: \(\nu\) pseudo-records per component carry a covariance between the pooled one of the first
    clusters and an even cut of the whole, and the level tables hold `smoothing` pseudo-records spread by overall frequency. It
    starts from k-means++ clusters that the label, if there is one, keeps apart, and stops when nothing is gained or when the
    score of validation records has fallen for three passes.

    Records may count more or less than one (`fit(..., weights=...)`: whole weights are repeated records). What does not fit into
    memory is read block by block in every pass, with the same result. Passes over more than a million values are products of
    float32 matrices, added up in float64.

    With `posterior="variational"` the parameters have distributions, \(q(\pi) \prod_k q(\mu_k, \Lambda_k) q(T_k)\), Dirichlet and
    normal-Wishart; passes climb the evidence lower bound, a Dirichlet count below 1 empties components that are not needed, and
    the mixture of the posterior means is kept, which is a density like any other.

    | covariance | \(\Sigma_k\) | numbers per component |
    |---|---|---|
    | full | any | \(d(d+1)/2\) |
    | tied | one for all components | \(d(d+1)/2\) in all |
    | lowrank | \(W_k W_k^\top + \mathrm{diag}(\psi_k)\), a mixture of factor analysers | \(d(q+1)\) |
    | diag | \(\mathrm{diag}(\psi_k)\) | d |
    | spherical | \(\sigma_k^2 I\) of standardised numbers | 1 |

    Measured on two cores (`python -m benchmarks.classical gmm`): a pass over 100,000 x 16 numbers with 20 full components takes
    0.025 s, scikit-learn's 0.40 s in float64 and 0.31 s in float32, at equal likelihood.

    Arguments:
        components: Number of components K, never more than records; None takes one for 200 records, at least 30 and at
            most 100 (30 for records of more than 100 values), and never more than a tenth of the records; `auto` tries
            1, 2, 4, ... (256 at most, on 50,000 records at most) and takes the best by `select`.
        select: What `auto` goes by: the score of held-out records (those for validation, else a fifth), or the Bayesian
            information criterion of the records learned from.
        covariance: Shape of the components; `auto` is `lowrank` above 100 numbers per record, and above 30 where a
            component has fewer records than its matrix has entries; else `full`.
        rank: Factors per component of `lowrank`.
        regularization: Pseudo-records per component for each coefficient behind a number: d of them in full matrices, q + 1 in
            `lowrank`, 1 in `diag` and `spherical`. 0 is maximum likelihood.
        smoothing: Pseudo-records in every component's level tables.
        tol: Stop when a pass gains less than this, nats per record (a hundredth of it under `variational`).
        max_iter: Most passes.
        restarts: k-means++ starts, of which the best after five passes goes on.
        posterior: `mode` climbs the log posterior; `variational` approaches the whole posterior of full components, empties
            those that are not needed, and keeps the mixture of the posterior means.
        concentration: Dirichlet count of every weight under `variational`; None for 1 / K.

    Errors:
        Problem: If a setting is out of range, a condition has no density anywhere, or several ranges are asked of
            components whose numbers depend on each other.

    References:
        Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster et al., 1977), https://www.jstor.org/stable/2984875
        The EM Algorithm for Mixtures of Factor Analyzers (Ghahramani & Hinton, 1997), https://mlg.eng.cam.ac.uk/zoubin/papers/tr-96-1.pdf
        Pattern Recognition and Machine Learning, section 10.2 (Bishop, 2006), https://www.microsoft.com/en-us/research/people/cmbishop/prml-book/
        On GANs and GMMs (Richardson & Weiss, 2018), https://arxiv.org/abs/1805.12462

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = np.concatenate([rng.normal(-3, 1, (200, 2)), rng.normal(3, 1, (200, 2))])
        >>> model = GMM(components=2, random_state=0).fit(x)
        >>> sorted(model.means_[:, 0].round().tolist()) == sorted(model.means_[:, 1].round().tolist())
        True
        >>> model.sample(1000, given={"x0": "1:9"}, random_state=0)[:, 1].mean().round()
        np.float64(3.0)
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"
    streams: ClassVar[bool] = True
    weighs: ClassVar[bool] = True

    components: int | Literal["auto"] | None = None
    select: Literal["held-out", "bic"] = "held-out"
    covariance: Literal["auto", "full", "diag", "tied", "spherical", "lowrank"] = "auto"
    rank: int = 10
    regularization: float = 0.5
    smoothing: float = 1.0
    tol: float = 1e-3
    max_iter: int = 200
    restarts: int = 1
    posterior: Literal["mode", "variational"] = "mode"
    concentration: float | None = None

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [
            cls(components=3, random_state=0),
            cls(components=3, covariance="lowrank", rank=2, random_state=0),
            cls(components=3, covariance="diag", random_state=0),
        ]

    # -- learning ----------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        task = Task.of(code.x, self.layout_, self._weights())
        rows = task.rows(code.x, task.weights)
        held_out = task.rows(valid.x) if valid is not None and len(valid) else None
        shift = task.shift(code.log_det)
        note = ""
        if self.components == "auto":
            k = self._choose(task, code, held_out, shift, began)
            note = f", {k} components by {self.select}"
        else:
            k = min(self.components or self._usual(len(code)), task.count)
            if self.components and k < self.components:
                note = f", with {k} components: there are no more records"
        fitter = self._fitter(rows, held_out, task, k)

        def tell(step: int, nats: float) -> None:
            self._tell(step, self.max_iter, time.perf_counter() - began, nats=nats + shift)

        start = self._start(fitter, task, k, self._rng("start"))
        mixture, passes, nats, why = fitter.run(start, self.max_iter, tell)
        self._keep(mixture.point, task.centre, task.scale)
        self.passes_: int = passes
        self._tell(passes, passes, time.perf_counter() - began, done=True, note=why + note, nats=nats + shift)

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("components", "max_iter", "restarts", "rank"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise Problem(f"gmm: {name} must be at least 1, not {value}.")
        for name in ("regularization", "smoothing", "tol"):
            if not 0 <= getattr(self, name) < math.inf:
                raise Problem(f"gmm: {name} must be 0 or more, not {getattr(self, name)}.")
        if self.concentration is not None and not 0 < self.concentration < math.inf:
            raise Problem(f"gmm: concentration must be above 0, not {self.concentration}.")
        if self.posterior == "variational":
            if self.covariance not in ("auto", "full"):
                raise Problem(f'gmm: posterior "variational" needs full covariances, not "{self.covariance}".')
            if not self.smoothing:
                raise Problem('gmm: posterior "variational" needs smoothing above 0: tables have a prior.')

    def _usual(self, n: int) -> int:
        """Return how many components `n` records get if nobody says."""
        most = COMPONENTS if self.layout_.size > WIDE else max(COMPONENTS, min(n // 200, MOST_COMPONENTS))
        return max(1, min(most, n // 10))

    def _shape(self, d: int, share: float) -> Covariance:
        """Return the shape of the components, given how many records each of them gets."""
        if self.posterior == "variational":
            if d > MOST_DENSE:
                raise Problem(
                    f"gmm: {d} numbers per record make full matrices too large for posterior "
                    f'"variational", which takes {MOST_DENSE}. Use posterior "mode".'
                )
            return "full"
        if d == 0:
            return "diag"
        if self.covariance == "auto":
            few = d > NARROW and d * (d + 1) / 2 > share
            return "lowrank" if d > WIDE or few else "full"
        return self.covariance

    def _fitter(self, rows: Rows, held_out: Rows | None, task: Task, k: int) -> Fitter:
        """Return the loop for `k` components."""
        d = rows.numbers.shape[1]
        self.covariance_: str = self._shape(d, rows.n / k)
        em: Statistics
        if self.covariance_ in ("full", "tied"):
            em = DenseEM(self.regularization * d, self.covariance_ == "tied")
        else:
            strength = self.regularization * (min(self.rank, d) + 1 if self.covariance_ == "lowrank" else 1)
            em = FactoredEM(strength, rows.complete, self.covariance_ == "spherical")
        if self.posterior == "variational":
            tol = self.tol / 100  # components empty slowly
            return Bayes(rows, held_out, em, task.base, self.smoothing, tol, self.concentration or 1 / k)
        return Fitter(rows, held_out, em, task.base, self.smoothing, self.tol)

    def _start(self, fitter: Fitter, task: Task, k: int, rng: torch.Generator) -> Mixture:
        rank = min(self.rank, len(task.numbers)) if self.covariance_ == "lowrank" else 0
        return Starts(fitter, task.scale, task.target, rank).best(k, self.restarts, rng)

    def _choose(self, task: Task, code: Code, valid: Rows | None, shift: float, began: float) -> int:
        """Return the number of components that `select` finds best, among those that some of the records can tell apart."""
        rng = self._rng("choose")
        places = torch.randperm(len(code), generator=rng)[:SEARCHED]
        cut = len(places) // 5 if self.select == "held-out" and valid is None else 0
        held, own = places[:cut].sort().values, places[cut:].sort().values
        learn = task.rows(code.x[own], None if task.weights is None else task.weights[own])
        if cut:
            valid = task.rows(code.x[held], None if task.weights is None else task.weights[held])

        def judge(k: int) -> float:
            fitter = self._fitter(learn, valid if self.select == "held-out" else None, task, k)
            start = self._start(fitter, task, k, self._rng(f"start {k}"))
            mixture, passes, nats, _ = fitter.run(start, self.max_iter, lambda step, nats: None)
            if self.select == "held-out" and valid is not None:
                nats = fitter.score(valid, mixture.point)
            else:
                nats -= self._parameters(k, task) * math.log(learn.mass) / (2 * learn.mass)
            self._tell(passes, None, time.perf_counter() - began, stage="components", tried=k, nats=nats + shift)
            return ranks.share(nats)

        return best_count(judge, max(1, min(learn.n // 10, MOST_TRIED)))

    def _parameters(self, k: int, task: Task) -> int:
        """Return how many free numbers `k` components have."""
        d = len(task.numbers)
        tied, full = self.covariance_ == "tied", d * (d + 1) // 2
        q = min(self.rank, d)
        each = {"full": full, "tied": 0, "diag": d, "spherical": 1, "lowrank": d * (q + 1) - q * (q - 1) // 2}
        levels = task.levels.width - len(task.levels.counts)
        return k * (each[self.covariance_] + d + levels + 1) - 1 + full * tied

    def _keep(self, mixture: Mixture, centre: Tensor, scale: Tensor) -> None:
        normals = mixture.normals
        self.weights_: Tensor = mixture.weights
        self.tables_: Tensor = mixture.tables
        self.means_: Tensor = normals.mean.double() * scale + centre
        if isinstance(normals, Dense):
            shared = normals.cov[:1] if self.covariance_ == "tied" else normals.cov
            self.covariances_: Tensor = shared * scale[:, None] * scale
        else:
            self.factors_: Tensor = normals.factors * scale[:, None]
            self.noise_: Tensor = normals.noise * scale.square()

    def _check_learned(self) -> None:
        super()._check_learned()
        k, d = len(self.weights_), len(self.layout_.columns("real"))
        self._expect(weights_=(k,), means_=(k, d), tables_=(k, Levels(self.layout_).width))
        positive = [self.weights_.sum()]
        if self.covariance_ in ("full", "tied"):
            self._expect(covariances_=(1 if self.covariance_ == "tied" else k, d, d))
            torch.linalg.cholesky(self.covariances_)
        else:
            self._expect(noise_=(k, d), factors_=(k, d, min(d, self.factors_.shape[2])))
            positive += [self.noise_]
        if not all(bool((t > 0).all()) for t in positive) or not all(
            bool((t >= 0).all()) for t in (self.weights_, self.tables_)
        ):
            raise ValueError("weights, tables or variances are negative")

    # -- what the mixture answers ------------------------------------------------------------------------------------
    @property
    def _mixture(self) -> Mixture:
        if self.covariance_ in ("full", "tied"):
            cov = self.covariances_.expand(len(self.means_), -1, -1)
            return Mixture(self.weights_, Dense(self.means_, cov), self.tables_)
        return Mixture(self.weights_, Factored(self.means_, self.factors_, self.noise_), self.tables_)

    def _log_prob(self, code: Code) -> Tensor:
        mixture, levels = self._mixture, Levels(self.layout_)
        numbers = self.layout_.columns("real")
        parts = []
        for x in code.x.split(CHUNK):
            joint = mixture.joint(x[:, numbers].double(), levels.one_hot(x[:, levels.columns]))
            parts.append(torch.logsumexp(joint, 1))
        return torch.cat(parts)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        mixture, levels = self._mixture, Levels(self.layout_)
        numbers = torch.tensor(self.layout_.columns("real"), dtype=torch.long)
        given = given or Given(torch.full((1, self.layout_.size), torch.nan))
        asked = given.x.double()
        places = levels.within(asked[0], given.ranges)
        known = torch.nonzero(~torch.isnan(asked[0, numbers]))[:, 0]
        values = asked[:, numbers]
        bounds = self._bounds(mixture, numbers, values[:, known], known, given)
        log_weights = mixture.weights.log() + levels.total(mixture.tables * places).log().sum(1)
        log_weights = log_weights + mixture.normals.at(known).log_prob(values[:, known])[0]
        log_weights = log_weights + sum(log_mass(b.low, b.high) for b in bounds)
        if not (log_weights > -1e6).any():
            raise Problem(f"gmm: no record has {', '.join(given.names)} as asked. Widen the condition.")
        which = torch.multinomial(torch.softmax(log_weights, 0), n, replacement=True, generator=rng)
        x = asked.repeat(n, 1)
        x[:, levels.columns] = levels.draw(mixture.tables[which] * places, rng)
        values = values.repeat(n, 1)
        for b in bounds:
            values[:, b.column] = b.mean[which] + b.sd[which] * truncated(b.low[which], b.high[which], rng)
        fixed = ~torch.isnan(values[0])
        known, rest = torch.nonzero(fixed)[:, 0], torch.nonzero(~fixed)[:, 0]
        values[:, rest] = mixture.normals.draw(which, values[:, known], known, rest, rng)
        x[:, numbers] = values
        return Code(self.layout_.shut_gates(x))

    def _bounds(self, mixture: Mixture, numbers: Tensor, values: Tensor, known: Tensor, given: Given) -> list[Bound]:
        """Return the asked ranges of numbers, in standard deviations of each component given the known numbers."""
        inside = [(i, given.ranges[j]) for i, j in enumerate(numbers.tolist()) if j in given.ranges]
        if len(inside) > 1 and not (isinstance(mixture.normals, Factored) and mixture.normals.rank == 0):
            raise Problem(
                f"gmm: {len(inside)} ranges at once need independent numbers within components. "
                'Give one range and otherwise values, or fit with covariance "diag".'
            )
        bounds = []
        for i, (low, high) in inside:
            mean, sd = (t[0] for t in mixture.normals.single(values, known, i))
            bounds.append(Bound(i, mean, sd, (low - mean) / sd, (high - mean) / sd))
        return bounds

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        rows = max(1, int(2e7 / (len(self.weights_) * max(1, self.layout_.size))))
        parts = [self._filled(a, ~b, how, rng) for a, b in zip(x.split(rows), code.mask.split(rows), strict=True)]
        return Code(torch.cat(parts), code.y, None, code.log_det)

    def _filled(self, x: Tensor, unknown: Tensor, how: How, rng: torch.Generator) -> Tensor:
        mixture, levels = self._mixture, Levels(self.layout_)
        numbers = torch.tensor(self.layout_.columns("real"), dtype=torch.long)
        values, discrete = x[:, numbers], x[:, levels.columns]
        open_discrete, wanted = unknown[:, levels.columns], unknown[:, numbers]
        log_r = mixture.joint(values, levels.one_hot(discrete))
        for i, level in levels.absent:  # what is filled in is not missing: components that say so weigh less
            present = torch.log1p(-mixture.tables[:, levels.start[i] + level].clamp_max(1 - 1e-12))
            log_r = log_r + open_discrete[:, i : i + 1] * present
        r = torch.softmax(log_r, 1)
        which = torch.multinomial(r, 1, generator=rng)[:, 0] if how == "draw" else r.argmax(1)
        laws = levels.present(mixture.tables)
        tables = r @ laws if how == "mean" else laws[which]
        tables = tables * levels.allowed(discrete, open_discrete)
        chosen = levels.choose(tables, how, rng)
        means = Means(self.codec_.units, levels)
        x = x.clone()
        x[:, levels.columns] = torch.where(open_discrete, chosen, discrete)
        present = ~torch.isnan(values)
        for columns, at in patterns(torch.cat([present, wanted], 1)):
            d = len(numbers)
            known, rest = columns[columns < d], columns[columns >= d] - d
            given = values[at][:, known]
            if how == "draw":
                drawn = mixture.normals.draw(which[at], given, known, rest, rng)
            else:
                each = mixture.normals.expect(given, known, rest)
                if how == "mean":
                    for u, j in enumerate(numbers[rest].tolist()):
                        if means.curve(j) is not None:
                            each[:, :, u] = means.of_normal(j, *mixture.normals.single(given, known, int(rest[u])))
                    w = r[at][:, :, None] * self._gate_open(laws, levels, numbers[rest], open_discrete[at])
                    drawn = (each * w).sum(1) / w.sum(1)
                else:
                    drawn = each[torch.arange(len(at)), which[at]]
            x[at[:, None], numbers[rest]] = drawn
        if how == "mean":
            x = means.put(x, unknown, tables)
        return self.layout_.shut_gates(x)

    def _gate_open(self, laws: Tensor, levels: Levels, columns: Tensor, unknown: Tensor) -> Tensor:
        """Return `(n, K, u)`: how much a component believes that a number is present, where that is unknown."""
        out = torch.ones(len(unknown), len(laws), len(columns), dtype=torch.float64)
        gates = {j: gate for s, gate in self.layout_.gates for j in range(s.start, s.stop)}
        for u, j in enumerate(columns.tolist()):
            if j in gates:
                i = levels.columns.index(gates[j])
                out[:, :, u] = torch.where(unknown[:, i : i + 1], laws[:, levels.start[i]], 1.0)
        return out
