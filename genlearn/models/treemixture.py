"""Mixtures of Chow-Liu trees: discrete columns whose dependence is a tree in every component, fitted by EM."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from ._bins import Bins, Cells
from ._chowliu import Trees, drawn, likeliest, most
from ._levels import Levels
from ._means import Means
from ._starts import closest, clusters
from ._treefit import Climb, Fitted, Grove, Rows, frequencies, single_tree

COMPONENTS = (10, 30, 100)  # tried one after the other
SMOOTHINGS = (20.0, 100.0, 500.0)  # tried likewise; the lower one, if the second is no better than the first
LOWER = 5.0
EVEN = (1.0, 0.1, 10.0)  # pseudo-records of a single tree, spread evenly
SHARE = 20  # fewest records per component, if nobody says how many components
MEMBERS, WORK = 8, 3e10  # most members if nobody says; multiplications that a pass of all their trees may take then
BINS = 16  # levels of a number
WIDEST = 4096  # levels of all columns above which numbers have fewer
MOST_LEVELS = 8192  # pair counts hold a number for every two levels
MOST_ENTRIES = 2**27  # of all tables
LARGE, LEAST = (
    100_000,
    1e-3,
)  # values above which scores inside EM are float32, and such small responsibilities count as 0
SEEDS = 5_000_000  # one-hot values that k-means sees
SOFT = 0.7  # of the first responsibilities, this much is spread over all components: EM sorts out the rest
FEW = 20  # records below which none are held out


class TreeMixture(Scores, Imputes, Conditional, Model):
    r"""Mixture of Chow-Liu trees over levels, with a density of its own inside the levels of a number.

    \[ p(x) = \sum_k \pi_k \prod_j T_{kj}(b_j \mid b_{\pi_k(j)}) \prod_{j\ \mathrm{number}} p(x_j \mid b_j) \]

    Every component has its own tree \(\pi_k\), the best one for its share of the records: a maximum spanning tree of mutual
    information. Numbers are cut at quantiles into levels \(b_j\), inside which their density is piecewise constant. A label is one
    more category, so the model gives p(x, y). Scores, marginals (unknown values), conditional draws and ranges on any column are
    exact: sums over a tree take one pass from its leaves to its root.

    EM climbs the log posterior with `smoothing` pseudo-records per component, spread by overall pair frequencies, from k-means++
    clusters, until the score of held-out records falls. The mean of several such mixtures from different starts is a mixture of
    trees again, and a better one. Without validation records each of them holds out another tenth of the records. One component is the
    Chow-Liu tree of all records.

    Arguments:
        components: Trees per member; None tries 10, 30 and 100 while the held-out score rises.
        members: Mixtures from different starts, averaged; None takes up to 8, fewer where records times pairs of levels are many.
        smoothing: Pseudo-records per component; for a single tree, pseudo-records spread evenly over all pairs of levels. None
            chooses by the held-out score.
        bins: Levels of a number, at most; fewer where all columns would have more than 4,096 levels.
        tol: Stop a member when a pass gains less than this, nats per record.
        max_iter: Most passes of a member.

    Errors:
        Problem: If a setting is out of range, there are more than 8,192 levels in all, or no record can meet a condition.

    References:
        Approximating Discrete Probability Distributions with Dependence Trees (Chow & Liu, 1968), https://doi.org/10.1109/TIT.1968.1054142
        Learning with Mixtures of Trees (Meila & Jordan, 2000), https://www.jmlr.org/papers/v1/meila00a.html

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> rng = np.random.default_rng(0)
        >>> rain = rng.random(500) < 0.4
        >>> wet = rain ^ (rng.random(500) < 0.1)
        >>> slippery = wet & (rng.random(500) < 0.8)
        >>> x = pd.DataFrame({"rain": rain, "wet": wet, "slippery": slippery})
        >>> model = TreeMixture(components=1, random_state=0).fit(x)
        >>> model.parents_.tolist()
        [[-1, 0, 1]]
        >>> float(model.sample(1000, given={"rain": True}, random_state=0)["wet"].mean().round(1))
        0.9
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"

    components: int | None = None
    members: int | None = None
    smoothing: float | None = None
    bins: int = BINS
    tol: float = 1e-3
    max_iter: int = 100

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(components=3, members=2, smoothing=10.0, random_state=0), cls(components=1, random_state=0)]

    # -- learning ----------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        self._began, self._passes = time.perf_counter(), 0
        numbers = self.layout_.columns("real")
        others = Levels(self.layout_).width
        few = max(2, min(self.bins, max(0, WIDEST - others) // max(1, len(numbers)))) if self.bins > 1 else 1
        self._keep_bins(Bins.fit(code.x[:, numbers].double(), few))
        cells = self._cells
        levels = cells.levels
        self._check_size(levels)
        inside = float(cells.log_inside(code.x).mean())
        self._shift = inside + (float(code.log_det.mean()) if code.log_det is not None else 0.0)
        values = cells.encode(code.x)[:, levels.columns].float()
        gated = {j for s, _ in self.layout_.gates for j in range(s.start, s.stop)}
        leaves = [i for i, j in enumerate(levels.columns) if j in gated]
        rows = Rows(levels, values, leaves, LEAST if values.numel() > LARGE else 0.0)
        held = None
        if valid is not None and len(valid):
            held = Rows(levels, cells.encode(valid.x)[:, levels.columns].float()).joined()
            rows = rows.joined()
        if self.components == 1 or len(values) < 2:
            grove, why = self._single(rows, held)
        else:
            grove, why = self._averaged(rows, held)
        self.weights_: Tensor = grove.weights
        self.parents_: Tensor = grove.trees.parents
        self.tables_: Tensor = grove.trees.tables
        seconds = time.perf_counter() - self._began
        del self._began, self._shift
        self._tell(self._passes, self._passes, seconds, done=True, note=why)
        del self._passes

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("components", "members", "max_iter", "bins"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Problem(f"treemixture: {name} must be at least 1, not {value}.")
        if self.smoothing is not None and self.smoothing < 0:
            raise Problem(f"treemixture: smoothing must be 0 or more, not {self.smoothing}.")
        if self.tol < 0:
            raise Problem(f"treemixture: tol must be 0 or more, not {self.tol}.")

    def _check_size(self, levels: Levels) -> None:
        if levels.width > MOST_LEVELS:
            raise Problem(
                f"treemixture: the columns have {levels.width:,} levels, of which every pair is counted; at most "
                f"{MOST_LEVELS:,} are possible. Leave out columns, or join rare categories."
            )
        each = levels.width * most(levels)
        asked = (self.components or 1) * (self.members or 1) * each
        if asked > MOST_ENTRIES:
            raise Problem(
                f"treemixture: {asked / each:,.0f} trees of {each:,} probabilities each are too many; "
                f"{MOST_ENTRIES // each:,} are possible. Ask for fewer components or members."
            )

    def _single(self, rows: Rows, valid: Rows | None) -> tuple[Grove, str]:
        """Return the Chow-Liu tree of all records."""
        options = EVEN if self.smoothing is None else (self.smoothing,)
        if valid is None and len(options) > 1:
            train, held = self._split(rows, 0)
            options = (single_tree(train, options, held)[1],)
        grove, smoothing = single_tree(rows, options, valid)
        return grove, f"one tree, {smoothing:g} pseudo-records"

    def _averaged(self, rows: Rows, valid: Rows | None) -> tuple[Grove, str]:
        """Return the mean of the members."""
        n, width = len(rows.joined().values), len(rows.levels.counts) if rows.binary else rows.levels.width
        each = n * width**2  # multiplications for the pair counts of a tree
        members = self.members or int(max(1, min(MEMBERS, WORK // (COMPONENTS[0] * each))))
        room = min(MOST_ENTRIES // (rows.levels.width * most(rows.levels)), WORK // each) // members
        k, smoothing, first = self._choose(rows, valid, max(COMPONENTS[0], int(room)))
        fits = [first] + [self._member(rows, valid, m, k, smoothing) for m in range(1, members)]
        weights = torch.cat([f.grove.weights for f in fits]) / members
        trees = [f.grove.trees for f in fits]
        parents, found = torch.cat([t.parents for t in trees]), torch.cat([t.tables for t in trees])
        why = f"{members} of {k} trees each, {smoothing:g} pseudo-records: {first.why} after {first.passes} passes"
        return Grove(weights, Trees(rows.levels, parents, found)), why

    def _choose(self, rows: Rows, valid: Rows | None, room: int) -> tuple[int, float, Fitted]:
        """Return the components, the smoothing and the first member: the best by the held-out score."""
        n = int(rows.n)
        sizes = [self.components] if self.components else [k for k in COMPONENTS if k * SHARE <= n and k <= room] or [1]
        sizes = [min(k, len(rows.values)) for k in sizes]
        options = (self.smoothing,) if self.smoothing is not None else SMOOTHINGS
        if room <= COMPONENTS[0]:  # a pass takes seconds: one start will do
            options = options[:1]
        k, smoothing = sizes[0], options[0]
        best = self._member(rows, valid, 0, k, smoothing)
        for other in options[1:]:
            found = self._member(rows, valid, 0, k, other)
            if found.score <= best.score:
                break
            best, smoothing = found, other
        if len(options) > 1 and smoothing == options[0]:
            found = self._member(rows, valid, 0, k, LOWER)
            if found.score > best.score:
                best, smoothing = found, LOWER
        for more in sizes[1:]:
            found = self._member(rows, valid, 0, more, smoothing)
            if found.score <= best.score:
                break
            best, k = found, more
        return k, smoothing, best

    def _member(self, rows: Rows, valid: Rows | None, m: int, k: int, smoothing: float) -> Fitted:
        """Fit one mixture."""
        if valid is None:
            rows, valid = self._split(rows, m)
        rng = self._rng(f"start {m}")
        dtype = torch.float32 if rows.values.numel() > LARGE else torch.float64
        climb = Climb(rows, valid, frequencies(rows, 1.0), smoothing, dtype)
        return climb.run(_start(rows, min(k, len(rows.values)), rng), self.max_iter, self.tol, self._told)

    def _told(self, nats: float) -> None:
        self._passes += 1
        self._tell(self._passes, None, time.perf_counter() - self._began, nats=nats + self._shift)

    def _split(self, rows: Rows, m: int) -> tuple[Rows, Rows | None]:
        """Hold out one tenth of the records, another for every member."""
        n = len(rows.values)
        if n < FEW:
            return rows, None
        order = torch.randperm(n, generator=self._rng("held out"))
        held = torch.zeros(n, dtype=torch.bool)
        held[order[m % 10 :: 10]] = True
        train, rest = (replace(rows, values=rows.values[part]).joined() for part in (~held, held))
        return train, rest

    # -- what was learned --------------------------------------------------------------------------------------------
    def _keep_bins(self, bins: Bins) -> None:
        self.knots_: Tensor = bins.knots
        self.cdf_: Tensor = bins.cdf
        self.tails_: Tensor = bins.tails
        self.cuts_: Tensor = bins.cuts

    @property
    def _cells(self) -> Cells:
        return Cells(self.layout_, Bins(self.knots_, self.cdf_, self.tails_, self.cuts_))

    @property
    def _grove(self) -> Grove:
        return Grove(self.weights_, Trees(self._cells.levels, self.parents_, self.tables_))

    def _check_learned(self) -> None:
        super()._check_learned()
        for name in ("knots_", "cdf_", "tails_", "cuts_", "weights_", "parents_", "tables_"):
            if not isinstance(getattr(self, name, None), Tensor):
                raise ValueError(f"{name} is missing")
        Bins(self.knots_, self.cdf_, self.tails_, self.cuts_).check(len(self.layout_.columns("real")))
        levels, k = self._cells.levels, len(self.weights_)
        c = len(levels.counts)
        self._expect(weights_=(k,), parents_=(k, c), tables_=(k, levels.width, most(levels)))
        if self.parents_.dtype != torch.long or bool(((self.parents_ < -1) | (self.parents_ >= c)).any()):
            raise ValueError("parents_ must name columns")
        if not k or bool((self.weights_ < 0).any()) or abs(float(self.weights_.sum()) - 1) > 1e-6:
            raise ValueError("weights_ must be probabilities")
        trees = Trees(levels, self.parents_, self.tables_)
        if trees.order.shape != self.parents_.shape or bool((self.tables_ < 0).any()) or not trees.proper():
            raise ValueError("tables_ must hold probabilities")

    # -- what the mixture answers ------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        cells = self._cells
        values = cells.encode(code.x)[:, cells.levels.columns]
        return self._grove.log_prob(values) + cells.log_inside(code.x)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        cells, grove = self._cells, self._grove
        below, log = grove.trees.up(cells.evidence(given)[None])
        score = log[:, 0] + grove.weights.log()
        if given is not None and not bool((score > -1e6).any()):
            raise Problem(f"treemixture: no record has {', '.join(given.names)} as asked. Widen the condition.")
        which = torch.multinomial(torch.softmax(score, 0), n, replacement=True, generator=rng)
        parts = [grove.trees.down(below, w, drawn(rng)) for w in which.split(2**16)]
        return Code(cells.decode(self._in_place(torch.cat(parts)), rng, given))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x, unknown = torch.where(code.mask, code.x.double(), torch.nan), ~code.mask
        trees = self._grove.trees
        filled = [
            self._filled(a, b, how, rng) for a, b in zip(x.split(trees.rows), unknown.split(trees.rows), strict=True)
        ]
        out = torch.where(unknown, torch.cat(filled), x)
        return Code(self.layout_.shut_gates(out), code.y, None, code.log_det)

    def _filled(self, x: Tensor, unknown: Tensor, how: How, rng: torch.Generator) -> Tensor:
        """Return complete records `(n, d)`, of which the unknown values are of use."""
        cells, grove = self._cells, self._grove
        levels = cells.levels
        evidence = levels.allowed(cells.encode(x)[:, levels.columns], unknown[:, levels.columns]).double()
        below, log = grove.trees.up(evidence)
        share = torch.softmax(log.T + grove.weights.log(), 1)
        if how == "mean":
            return self._means(below, share, evidence, unknown)
        which = torch.multinomial(share, 1, generator=rng)[:, 0] if how == "draw" else share.argmax(1)
        if how == "mode":
            below = grove.trees.up(evidence, best=True)[0]
        chosen = grove.trees.down(below, which, drawn(rng) if how == "draw" else likeliest)
        return cells.decode(self._in_place(chosen), rng if how == "draw" else None)

    def _means(self, below: Tensor, share: Tensor, evidence: Tensor, unknown: Tensor) -> Tensor:
        """Return the likeliest level of every category, and the means of numbers, where they have one given that they are there."""
        cells, grove = self._cells, self._grove
        levels, means = cells.levels, Means(self.codec_.units, cells.levels)
        belief = torch.einsum("kjna,nk->nja", grove.trees.marginals(below), share)
        out = self._in_place(belief.argmax(2).double())
        gates = {j: gate for s, gate in self.layout_.gates for j in range(s.start, s.stop)}
        for i, j in enumerate(cells.numbers):
            own, rows = belief[:, levels.columns.index(j)], torch.zeros(0, dtype=torch.long)
            if j in gates:
                rows = torch.nonzero(unknown[:, gates[j]])[:, 0]
            if len(rows):  # what the number is if it is there
                gate, opened = levels.columns.index(gates[j]), evidence[rows]
                opened[:, (levels.owner == gate) & (torch.arange(levels.width) != levels.start[gate])] = 0.0
                there, log = grove.trees.up(opened)
                weights = torch.softmax(log.T + grove.weights.log(), 1)
                own = own.clone()
                own[rows] = torch.einsum("kjna,nk->nja", grove.trees.marginals(there), weights)[
                    :, levels.columns.index(j)
                ]
            at = cells.bins.means(i, means.curve(j))
            out[:, j] = own[:, : len(at)] @ at
        place = torch.arange(levels.width) - levels.start[levels.owner]
        return means.put(out, unknown, belief[:, levels.owner, place])

    def _in_place(self, values: Tensor) -> Tensor:
        """Return levels `(n, columns)` at the places of the code."""
        out = torch.zeros(len(values), self.layout_.size, dtype=torch.float64)
        out[:, self._cells.levels.columns] = values
        return out


def _start(rows: Rows, k: int, rng: torch.Generator) -> Tensor:
    """Return responsibilities `(n, K)` from k-means++ clusters of the records."""
    width = len(rows.levels.counts) if rows.binary else rows.levels.width
    some = torch.randperm(len(rows.values), generator=rng)[: max(20 * k, 2000, SEEDS // max(1, width))]

    def seen(values: Tensor) -> Tensor:
        return values if rows.binary else rows.levels.one_hot(values, torch.float32)

    weights = None if rows.weights is None else rows.weights[some]
    centres = clusters(seen(rows.values[some]), k, rng, weights)
    labels = [closest(seen(v), centres) for v in rows.values.split(max(256, SEEDS // max(1, width)))]
    share = torch.nn.functional.one_hot(torch.cat(labels), k).float()
    return (1 - SOFT) * share + SOFT / k
