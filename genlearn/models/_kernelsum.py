"""Weighted sums of product kernels around records: their density, draws and conditionals, and how wide they should be."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from ._kernels import CELLS, Kernels, golden, summed
from ._levels import Levels
from ._means import Means
from ._normals import log_mass, standard, truncated

LEFT_OUT = 300  # records whose leave-one-out density chooses the bandwidths
WIDE = 1_000_000  # numbers in all centres above which products are float32


class KernelSum(Scores, Imputes, Conditional, Model):
    r"""A density \(p(x) = \sum_i w_i \prod_j K_j(x_j \mid x_{ij})\): what all such models answer, whatever weights they choose.

    A model that inherits places the centres, chooses `bandwidth_` and `mixing_`, and says what the weights are.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"

    @property
    def _log_weights(self) -> Tensor:
        """Logs of the kernels' weights, `(m,)`, or `(1,)` if all are the same."""
        return torch.tensor([-math.log(len(self.numbers_))], dtype=torch.float64)

    def _shares(self, mixing: float) -> float | Tensor:
        """Return the share of the uniform in the kernels of levels, one for all or `(width,)`."""
        return mixing

    # -- learning ----------------------------------------------------------------------------------------------------
    def _place(self, x: Tensor, rng: torch.Generator) -> None:
        """Put the centres on some records `(m, d)`; unknown levels are drawn by their frequency."""
        levels = Levels(self.layout_)
        numbers = x[:, self._numbers].double()
        self.centre_, self.scale_ = standard(numbers)
        frequencies = levels.share((levels.count(x[:, levels.columns]) + 0.5)[None])
        drawn = levels.draw(frequencies.expand(len(x), -1), rng)
        discrete = x[:, levels.columns].double()
        small = torch.float32 if numbers.numel() > WIDE else torch.float64
        self.numbers_: Tensor = ((numbers - self.centre_) / self.scale_).to(small)
        self.levels_: Tensor = torch.where(torch.isnan(discrete), drawn, discrete).to(torch.int32)

    def _widths(self, bandwidth: float | str) -> None:
        """Set the widths: a given bandwidth, `silverman`, or `likelihood`; that of levels by likelihood in any case."""
        n, d = self.numbers_.shape
        self.bandwidth_: float = (4 / (d + 2) / n) ** (1 / (d + 4)) if isinstance(bandwidth, str) else bandwidth
        self.mixing_: float = 1 / (n + 1)
        if n > 1:
            self._choose(bandwidth == "likelihood")

    def _choose(self, by_likelihood: bool, most: int = LEFT_OUT) -> Tensor:
        """Set the bandwidths to what makes left-out records most likely, one after the other; return their scores.

        Arguments:
            by_likelihood: Whether that of numbers is chosen too.
            most: How many records are left out in turn: the first ones.
        """
        kernels, weights = self._kernels, self._log_weights
        some = torch.arange(min(most, len(self.numbers_)))
        # A record and its exact copies say nothing about its neighbourhood: they would pull the bandwidth to zero.
        same = kernels.copies(some)
        rest: float | Tensor = 0.0
        z, one_hot = self.numbers_[some], kernels.one_hot[some]
        if len(weights) > 1:
            held = torch.nonzero(weights > -torch.inf)[:, 0]
            weights, same, kernels = weights[held], same[:, held], kernels.around(held)
            rest = torch.where(same, 0.0, weights.exp()).sum(1).clamp_min(1e-12).log()

        def each(h: float, mixing: float) -> Tensor:
            log_kernel = kernels.log_kernel(z, one_hot, h, self._shares(mixing)).masked_fill(same, -torch.inf)
            return (summed(log_kernel, weights) - rest).clamp_min(-1e9)

        def left_out(h: float, mixing: float) -> float:
            return float(each(h, mixing).mean())

        for _ in range(2):
            if by_likelihood and self.numbers_.shape[1]:
                log_h = golden(lambda t: left_out(math.exp(t), self.mixing_), math.log(0.01), math.log(3.0))
                self.bandwidth_ = math.exp(log_h)
            if self.levels_.shape[1]:
                self.mixing_ = math.exp(golden(lambda t: left_out(self.bandwidth_, math.exp(t)), math.log(1e-5), -1e-3))
        return each(self.bandwidth_, self.mixing_)

    # -- pieces ------------------------------------------------------------------------------------------------------
    @property
    def _numbers(self) -> Tensor:
        return torch.tensor(self.layout_.columns("real"), dtype=torch.long)

    @property
    def _mixing(self) -> float | Tensor:
        return self._shares(self.mixing_)

    @property
    def _kernels(self) -> Kernels:
        return Kernels(self.numbers_, Levels(self.layout_), self.levels_)

    def _standardised(self, x: Tensor) -> Tensor:
        return (x[:, self._numbers].double() - self.centre_) / self.scale_

    def _deviation(self, which: Tensor) -> Tensor:
        """Return the kernels' standard deviations around some centres, standardised."""
        return torch.where(torch.isnan(self.numbers_[which]), 1.0, self.bandwidth_).double()

    def _check_learned(self) -> None:
        super()._check_learned()
        levels, d = Levels(self.layout_), len(self._numbers)
        self._expect(centre_=(d,), scale_=(d,), levels_=(len(self.numbers_), len(levels.columns)))
        if self.numbers_.shape[1:] != (d,) or bool(torch.isinf(self.numbers_).any()):
            raise ValueError("numbers_ must hold a finite number or none for every centre and column")
        if not bool(((self.levels_ >= 0) & (self.levels_ < torch.tensor(levels.counts))).all()):
            raise ValueError("levels_ holds levels that there are not")
        if not (bool((self.scale_ > 0).all()) and 0 < self.bandwidth_ < math.inf and 0 < self.mixing_ <= 1):
            raise ValueError("a bandwidth must be above 0, and the share of the uniform at most 1")

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        kernels, out = self._kernels, []
        for x in code.x.split(max(1, CELLS // len(self.numbers_))):
            z = self._standardised(x)
            log_kernel = kernels.at(z, x[:, kernels.levels.columns], self.bandwidth_, self._mixing)
            jacobian = (~torch.isnan(z)).double() @ self.scale_.log()
            out.append(summed(log_kernel, self._log_weights) - jacobian)
        return torch.cat(out)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        kernels, numbers = self._kernels, self._numbers
        levels, m = kernels.levels, len(self.numbers_)
        asked = torch.full((1, self.layout_.size), torch.nan, dtype=torch.float64)
        ranges: dict[int, tuple[float, float]] = {}
        log_weights, places = self._log_weights.expand(m), torch.ones(levels.width, dtype=torch.bool)
        if given is not None:
            asked, ranges = given.x.double(), given.ranges
            places = levels.within(asked[0], ranges)
            shut = torch.full((1, len(levels.columns)), torch.nan)
            asked_kernel = kernels.at(self._standardised(asked), shut, self.bandwidth_, self._mixing)[0]
            log_weights = log_weights + asked_kernel.double()
            if levels.width:
                log_weights = log_weights + levels.total(kernels.table(self._mixing) * places).log().sum(1)
        bounds = {}
        everyone = torch.arange(m)
        for i, j in enumerate(numbers.tolist()):
            if j in ranges:
                centre, sd = torch.nan_to_num(self.numbers_[:, i].double()), self._deviation(everyone)[:, i]
                low, high = ((b - self.centre_[i]) / self.scale_[i] for b in ranges[j])
                bounds[i] = ((low - centre) / sd, (high - centre) / sd)
                log_weights = log_weights + log_mass(*bounds[i])
        if not (log_weights > -1e6).any():
            raise Problem(
                f"{self.name()}: no record has {', '.join(given.names) if given else ''} as asked. Widen the condition."
            )
        which = torch.multinomial(torch.softmax(log_weights, 0), n, replacement=True, generator=rng)
        x = torch.full((n, self.layout_.size), torch.nan, dtype=torch.float64)
        x[:, levels.columns] = levels.draw(kernels.table(self._mixing, which) * places, rng)
        noise = torch.randn(n, len(numbers), dtype=torch.float64, generator=rng)
        for i, (low, high) in bounds.items():
            noise[:, i] = truncated(low[which], high[which], rng)
        z = torch.nan_to_num(self.numbers_[which].double()) + self._deviation(which) * noise
        x[:, numbers] = z * self.scale_ + self.centre_
        return Code(self.layout_.shut_gates(torch.where(torch.isnan(asked), x, asked)))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x, unknown = torch.where(code.mask, code.x.double(), torch.nan), ~code.mask
        rows = max(1, CELLS // len(self.numbers_))
        parts = [self._filled(a, b, how, rng) for a, b in zip(x.split(rows), unknown.split(rows), strict=True)]
        return Code(torch.cat(parts), code.y, None, code.log_det)

    def _filled(self, x: Tensor, unknown: Tensor, how: How, rng: torch.Generator) -> Tensor:
        kernels, numbers = self._kernels, self._numbers
        levels = kernels.levels
        discrete, fill = x[:, levels.columns], unknown[:, levels.columns]
        log_weights = kernels.at(self._standardised(x), discrete, self.bandwidth_, self._mixing).double()
        log_weights = log_weights + self._log_weights
        table = kernels.table(self._mixing)
        for i, level in levels.absent:  # what is filled in is not missing: kernels that say so weigh less
            present = torch.log1p(-table[:, levels.start[i] + level].clamp_max(1 - 1e-12))
            log_weights = log_weights + fill[:, i : i + 1] * present
        weights = torch.softmax(log_weights, 1)
        which = torch.multinomial(weights, 1, generator=rng)[:, 0] if how == "draw" else weights.argmax(1)
        table = levels.present(table)
        places = weights @ table if how == "mean" else table[which]
        places = places * levels.allowed(discrete, fill)
        chosen = levels.choose(places, how, rng)
        z = torch.nan_to_num(self.numbers_[which].double())
        if how == "draw":
            z = z + self._deviation(which) * torch.randn(z.shape, dtype=torch.float64, generator=rng)
        out = x.clone()
        out[:, levels.columns] = torch.where(fill, chosen, discrete)
        values, means = z * self.scale_ + self.centre_, Means(self.codec_.units, levels)
        if how == "mean":
            values = self._means(weights, fill, table, means)
        out[:, numbers] = torch.where(unknown[:, numbers], values, x[:, numbers])
        if how == "mean":
            out = means.put(out, unknown, places)
        return self.layout_.shut_gates(out)

    def _means(self, weights: Tensor, fill: Tensor, table: Tensor, means: Means) -> Tensor:
        """Return `(n, d)` conditional means of the numbers, their curves applied, those behind unknown gates given an open one."""
        levels = means.levels
        centres = torch.nan_to_num(self.numbers_.double()) * self.scale_ + self.centre_
        sd = self._deviation(torch.arange(len(centres))) * self.scale_
        for i, j in enumerate(self._numbers.tolist()):
            centres[:, i] = means.of_normal(j, centres[:, i], sd[:, i])
        z = weights @ centres
        place = {j: i for i, j in enumerate(self._numbers.tolist())}
        for columns, gate in self.layout_.gates:
            g = levels.columns.index(gate)
            is_open = table[:, levels.start[g]]
            share = (weights @ is_open)[:, None]
            own = [place[j] for j in range(columns.start, columns.stop) if j in place]
            z[:, own] = torch.where(
                fill[:, g : g + 1], weights @ (is_open[:, None] * centres[:, own]) / share, z[:, own]
            )
        return z
