"""Mixtures of fully factorised components on mixed columns, hundreds to thousands of them: the default model for tables."""

from __future__ import annotations

import time
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from ..codecs.base import Given
from ..data.memory import FORMS, allowance, fits, in_words
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from ._axis import Axis
from ._bins import Bins, Cells
from ._cut import cut, edges
from ._deal import Traits, inherited
from ._means import Means
from ._mixed import CHUNK, WORK, Fitter, Rows, Tables, places

SMOOTHING, MOST_SMOOTHING = 0.3, 2.0  # pseudo-records per component, if nobody says
RECORDS = 15  # per component, if nobody says how many there are
COMPONENTS, FEWEST = 2000, 50
VISITS = 6e8  # record-column-component visits of a pass that the usual number of components keeps to
FAMILY = 20  # components with one parent
LONG = 50_000  # records from which on passes begin stepwise
TEMPORARIES = 10  # copies of all tables that a pass holds at once


class Mixture(Scores, Imputes, Conditional, Model):
    r"""Mixture of fully factorised components: within a component all columns are independent, and there are many components.

    \[ p(x) = \sum_k \pi_k \prod_j T_{kj}(c_j)\; p_j(x_j \mid c_j) \]

    Categories are levels \(c_j\) as they are. A number is cut into cells, up to 128 that are even in normal scores (quantiles of the
    normal distribution); a value that repeats gets a cell of its own, so spikes stay spikes. Inside a cell the density \(p_j\) is the
    same for all components. A component is normal on the axis of the column's scores, stretched where two modes lie apart:
    \(T_{kj}(c) = \Phi((e_c - \mu_{kj}) / \sigma_{kj}) - \Phi((e_{c-1} - \mu_{kj}) / \sigma_{kj})\) with the cells' edges
    \(e_c\). Records of more than 100 columns have at most 24 cells in each.

    Scores, marginals, conditionals with any number of values and ranges, and unknown values are exact: all are sums over
    components. A label is one more category, so the model gives p(x, y).

    EM climbs the log posterior. `smoothing` pseudo-records stand beside the records of every component, distributed as its
    parent: components come in families of 20 whose parent is a component of a coarser mixture, fitted first. So a component with
    few records shrinks towards a plausible neighbourhood instead of becoming a copy of them. With more than 50,000 records the
    first pass moves after every chunk (stepwise EM). EM stops when nothing is gained, or when the score of validation records
    lies 0.1 nats below its best.

    Arguments:
        components: Number of components K, never more than records; None takes one for 15 records, at most 2,000, and fewer
            (at least 50) where records are wide or many.
        smoothing: Pseudo-records per component. More is smoother, 0 is maximum likelihood; None takes 0.3 where a component has
            15 records or more, and up to 2 where it has fewer, so that no record comes back as a copy.
        background: Share of the records that the parents stand for, so that a record unlike all others keeps a probability.
        cells: Most cells of a number whose values hardly repeat.
        tol: Stop when a pass gains less than this, nats per record.
        max_iter: Most passes.

    Errors:
        Problem: If a setting is out of range, or a condition has no density anywhere.

    References:
        Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster et al., 1977), https://www.jstor.org/stable/2984875
        On-line Expectation-Maximization Algorithm for Latent Data Models (Cappe & Moulines, 2009), https://arxiv.org/abs/0712.4273

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = np.concatenate([rng.normal(-3, 1, (200, 2)), rng.normal(3, 1, (200, 2))])
        >>> model = Mixture(components=4, random_state=0).fit(x)
        >>> model.sample(1000, given={"x0": "1:9"}, random_state=0)[:, 1].mean().round()
        np.float64(3.0)
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    number_scale: ClassVar[str] = "lattice"
    conditions: ClassVar[Literal["target", "any"]] = "any"

    components: int | None = None
    smoothing: float | None = None
    background: float = 0.05
    cells: int = 128
    tol: float = 3e-3
    max_iter: int = 15

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(components=20, random_state=0), cls(components=60, smoothing=1.0, cells=32, random_state=0)]

    # -- learning ----------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        n, columns = len(code), self.layout_.columns("real")
        k = min(self.components or self._usual(n), n)
        bins = cut(self.layout_, code.x[:, columns], self.cells)
        cells = Cells(self.layout_, bins)
        levels = cells.levels
        self._check_room(k, levels.width)
        size = max(64, min(CHUNK, WORK // k))
        rows = Rows(_places(cells, code.x), levels.width, size)
        held_out = Rows(_places(cells, valid.x), levels.width, size) if valid is not None and len(valid) else None
        axis = Axis.of(levels, columns, edges(bins))
        base = levels.share(rows.frequency()[None] + 0.5)[0][:, None]
        fitter = Fitter(levels, axis, rows, base, self._pseudo(n, k), self.tol)
        traits = Traits(levels, axis, self._labels())
        labels = traits.deal(rows, k, self._rng("start"))
        if k >= 2 * FAMILY:
            start = fitter.labelled(traits.deal(rows, k // FAMILY, self._rng("parents")), k // FAMILY)
            parents = fitter.run(start, 0, self.max_iter, lambda step, nats: None)[0].tables
            fitter.base = inherited(parents, rows, labels, k)
            fitter.background, fitter.share = parents, self.background
        fitter.valid = held_out
        shift = float(cells.log_inside(code.x).mean()) + (
            float(code.log_det.mean()) if code.log_det is not None else 0.0
        )

        def tell(step: int, nats: float) -> None:
            self._tell(step, self.max_iter, time.perf_counter() - began, nats=nats + shift)

        state, passes, nats, why = fitter.run(fitter.labelled(labels, k), int(n > LONG), self.max_iter, tell)
        self._keep(state.tables.behind(fitter.background, fitter.share), bins)
        self.passes_: int = passes
        self._tell(
            passes, passes, time.perf_counter() - began, done=True, note=f"{why}, {k} components", nats=nats + shift
        )

    def _check_params(self) -> None:
        super()._check_params()
        for name, least in (("components", 1), ("max_iter", 1), ("cells", 4)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise Problem(f"mixture: {name} must be at least {least}, not {value}.")
        for name in ("smoothing", "tol"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise Problem(f"mixture: {name} must be 0 or more, not {value}.")
        if not 0 <= self.background < 1:
            raise Problem(f"mixture: background must be at least 0 and below 1, not {self.background}.")

    def _usual(self, n: int) -> int:
        """Return how many components `n` records get if nobody says."""
        most = max(FEWEST, min(COMPONENTS, int(VISITS / (n * self.layout_.size))))
        return max(1, min(n // RECORDS, most))

    def _pseudo(self, n: int, k: int) -> float:
        """Return the pseudo-records per component: more where records are few, which else would come back as copies."""
        if self.smoothing is not None:
            return self.smoothing
        return min(MOST_SMOOTHING, SMOOTHING * max(1.0, RECORDS * k / n))

    def _check_room(self, k: int, width: int) -> None:
        """Refuse components whose tables do not fit into memory."""
        size = 8 * TEMPORARIES * width
        if not fits(size * k):
            most = max(1, allowance() // FORMS // size)
            raise Problem(
                f"mixture: {k:,} components of {width:,} levels take {in_words(size * k)} while they learn, {most:,} would fit. "
                f"Set components to {most}, or allow more memory (GENLEARN_MEMORY)."
            )

    def _labels(self) -> list[int]:
        """Return the code columns of the label."""
        return [s.start for f, s in self.layout_.slices() if f.role == "target" and f.kind != "real"]

    def _keep(self, tables: Tables, bins: Bins) -> None:
        self.weights_: Tensor = tables.weights
        self.tables_: Tensor = tables.tables.T.contiguous()
        self.knots_: Tensor = bins.knots
        self.cdf_: Tensor = bins.cdf
        self.tails_: Tensor = bins.tails
        self.cuts_: Tensor = bins.cuts

    def _check_learned(self) -> None:
        super()._check_learned()
        d = len(self.layout_.columns("real"))
        for name in ("knots_", "cdf_", "tails_", "cuts_"):
            if not isinstance(getattr(self, name, None), Tensor):
                raise ValueError(f"{name} is missing")
        Bins(self.knots_, self.cdf_, self.tails_, self.cuts_).check(d)
        levels = self._cells.levels
        k = len(self.weights_)
        self._expect(weights_=(k,), tables_=(k, levels.width))
        if (
            not bool((self.weights_ >= 0).all())
            or not float(self.weights_.sum()) > 0
            or not bool((self.tables_ >= 0).all())
        ):
            raise ValueError("weights or tables are negative")
        if levels.width and float((levels.total(self.tables_.double()) - 1).abs().max()) > 1e-6:
            raise ValueError("tables do not sum to 1")

    # -- what the mixture answers ------------------------------------------------------------------------------------
    @property
    def _cells(self) -> Cells:
        return Cells(self.layout_, Bins(self.knots_, self.cdf_, self.tails_, self.cuts_))

    def _log_prob(self, code: Code) -> Tensor:
        cells, tables = self._cells, Tables(self.weights_, self.tables_.T)
        logs = tables.logs(torch.float64)
        parts = [torch.logsumexp(tables.joint(at, logs), 1) for at in _places(cells, code.x).split(self._chunk)]
        return torch.cat(parts) + cells.log_inside(code.x)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        cells, levels = self._cells, self._cells.levels
        kept = cells.evidence(given)
        log_weights = self.weights_.log() + levels.total(self.tables_ * kept).log().sum(1)
        if not (log_weights > -1e6).any():
            names = ", ".join(given.names) if given is not None else "anything"
            raise Problem(f"mixture: no record has {names} as asked. Widen the condition.")
        which = torch.multinomial(torch.softmax(log_weights, 0), n, replacement=True, generator=rng)
        x = torch.empty(n, self.layout_.size, dtype=torch.float64)
        for rows in torch.arange(n).split(self._chunk):
            x[rows[:, None], levels.columns] = levels.draw(self.tables_[which[rows]] * kept, rng)
        return Code(cells.decode(x, rng, given))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        cells, tables = self._cells, Tables(self.weights_, self.tables_.T)
        logs = tables.logs(torch.float64)
        parts = zip(x.split(self._chunk), (~code.mask).split(self._chunk), strict=True)
        filled = [self._filled(cells, a, b, tables.joint(_places(cells, a), logs), how, rng) for a, b in parts]
        return Code(torch.cat(filled) if filled else x, code.y, None, code.log_det)

    def _filled(
        self, cells: Cells, x: Tensor, unknown: Tensor, joint: Tensor, how: How, rng: torch.Generator
    ) -> Tensor:
        levels = cells.levels
        values, wanted = cells.encode(x)[:, levels.columns], unknown[:, levels.columns]
        for i, level in levels.absent:  # what is filled in is not missing: components that say so weigh less
            present = torch.log1p(-self.tables_[:, levels.start[i] + level].clamp_max(1 - 1e-12))
            joint = joint + wanted[:, i : i + 1] * present
        r = torch.softmax(joint, 1)
        which = torch.multinomial(r, 1, generator=rng)[:, 0] if how == "draw" else r.argmax(1)
        tables = r @ levels.present(self.tables_) if how == "mean" else self.tables_[which]
        tables = tables * levels.allowed(values, wanted)
        chosen = levels.choose(tables, how, rng)
        out = x.clone()
        out[:, levels.columns] = torch.where(wanted, chosen, values)
        out = cells.decode(out.nan_to_num(0.0), rng if how == "draw" else None)
        if how == "mean":
            means = Means(self.codec_.units, levels)
            self._put_means(cells, means, out, wanted, r)
            out = means.put(out, unknown, tables)
        return self.layout_.shut_gates(torch.where(unknown, out, x))

    def _put_means(self, cells: Cells, means: Means, out: Tensor, wanted: Tensor, r: Tensor) -> None:
        """Put the means of unknown numbers given all that is known into `out`; a shut gate has no say in its number's mean."""
        levels = cells.levels
        present = levels.present(self.tables_)
        gates = {j: gate for s, gate in self.layout_.gates for j in range(s.start, s.stop)}
        for b, j in enumerate(cells.numbers):
            i = levels.columns.index(j)
            rows = torch.nonzero(wanted[:, i])[:, 0]
            if not len(rows):
                continue
            w = r[rows]
            if j in gates:
                g = levels.columns.index(gates[j])
                w = w * torch.where(wanted[rows, g][:, None], present[:, levels.start[g]], 1.0)
            shares = w @ self.tables_[:, levels.start[i] : levels.start[i] + levels.counts[i]]
            out[rows, j] = (shares @ cells.bins.means(b, means.curve(j))) / shares.sum(1)

    @property
    def _chunk(self) -> int:
        """How many records are worked on at a time."""
        return max(1, WORK // (len(self.weights_) + self.tables_.shape[1]))


def _places(cells: Cells, x: Tensor) -> Tensor:
    """Return the places `(n, columns)` of codes, int32."""
    levels = cells.levels
    parts = [
        places(levels, cells.encode(part)[:, levels.columns]) for part in x.split(max(1, WORK // max(1, x.shape[1])))
    ]
    return torch.cat(parts) if parts else torch.zeros(0, len(levels.columns), dtype=torch.int32)
