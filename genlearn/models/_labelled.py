"""Sums of kernels with a label: as a column that belongs to its kernel's class, or by a classifier on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import How
from ._kernels import CELLS
from ._kernelsum import KernelSum
from ._levels import Levels
from ._platt import Machines

LEAK = 1e-6  # share of a kernel of one class that counts for all classes alike, so that no label is impossible
LIKELY = 16  # centres over which a classifier averages what it does not know
TRIES = 50  # rounds in which imputed values are drawn anew until they fit the label


class LabelledSum(KernelSum):
    r"""A kernel sum whose label is a column of the kernels (`joint`), or has \(p(x, y) = p(x)\,p(y \mid x)\) by machines."""

    if TYPE_CHECKING:
        labels: Literal["joint", "linear", "rbf"] = "joint"

    # -- the label ---------------------------------------------------------------------------------------------------
    @property
    def _label(self) -> tuple[int, int, int] | None:
        """The label's column in the code, its place among the discrete columns, and its number of classes."""
        levels = Levels(self.layout_)
        for f, s in self.layout_.slices():
            if f.role == "target" and s.start in levels.columns:
                i = levels.columns.index(s.start)
                return s.start, i, levels.counts[i]
        return None

    @property
    def _classifies(self) -> bool:
        return self.labels != "joint" and self._label is not None and self._label[2] > 1 and self.layout_.size > 1

    def _shares(self, mixing: float) -> float | Tensor:
        """Return the uniform's share: a label belongs to its class, or with a classifier to no kernel at all."""
        if self._label is None:
            return mixing
        levels = Levels(self.layout_)
        shares = torch.full((levels.width,), mixing, dtype=torch.float64)
        shares[levels.owner == self._label[1]] = 1.0 if self._classifies else LEAK
        return shares

    # -- the classifier ----------------------------------------------------------------------------------------------
    def _features(self, x: Tensor) -> Tensor:
        """Return what the classifier sees: standardised numbers, 0 where there is none, and levels one-hot."""
        levels = Levels(self.layout_)
        assert self._label is not None
        one_hot = levels.one_hot(x[:, levels.columns])[:, levels.owner != self._label[1]]
        return torch.cat([torch.nan_to_num(self._standardised(x)), one_hot], 1)

    def _log_classes(self, x: Tensor) -> Tensor:
        """Return `(n, L)` log probabilities of the label given the other columns of `(n, d)` codes."""
        machines = Machines(self.labels, self.gamma_, self.vectors_, self.duals_, self.offsets_, self.platt_)  # type: ignore[arg-type]
        return torch.cat([self._averaged(machines, rows) for rows in x.double().split(4096)])

    def _averaged(self, machines: Machines, x: Tensor) -> Tensor:
        log_p = machines.log_probs(self._features(x))
        unknown = self._unknown(x)
        vague = torch.nonzero(unknown.any(1))[:, 0]
        chunk = max(1, CELLS // (len(self.numbers_) + LIKELY * self.layout_.size))
        for rows in vague.split(chunk) if len(vague) else ():
            own = x[rows]
            blind = own.clone()
            blind[:, self._label[0]] = torch.nan  # type: ignore[index]
            discrete = blind[:, Levels(self.layout_).columns]
            log_r = self._kernels.at(self._standardised(blind), discrete, self.bandwidth_, self._mixing).double()
            log_r, which = (log_r + self._log_weights).topk(min(LIKELY, len(self.numbers_)), 1)
            filled = torch.where(unknown[rows][:, None], self._centres[which], own[:, None])
            each = machines.log_probs(self._features(filled.flatten(0, 1))).view(*which.shape, -1)
            log_p[rows] = torch.logsumexp(torch.log_softmax(log_r, 1)[:, :, None] + each, 1)
        return log_p

    def _unknown(self, x: Tensor) -> Tensor:
        """Return where features are unknown, `(n, d)`; a number behind a shut gate is not."""
        unknown = torch.isnan(x)
        for columns, gate in self.layout_.gates:
            unknown[:, columns] &= (torch.isnan(x[:, gate]) | (x[:, gate] == 0))[:, None]
        unknown[:, self._label[0]] = False  # type: ignore[index]
        return unknown

    @property
    def _centres(self) -> Tensor:
        """The centres as codes `(m, d)`."""
        out = torch.full((len(self.numbers_), self.layout_.size), torch.nan, dtype=torch.float64)
        out[:, self._numbers] = self.numbers_.double() * self.scale_ + self.centre_
        out[:, Levels(self.layout_).columns] = self.levels_.double()
        return out

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        if not self._classifies:
            return super()._log_prob(code)
        assert self._label is not None
        x = code.x.double().clone()
        y, x[:, self._label[0]] = x[:, self._label[0]].clone(), torch.nan
        each = self._log_classes(x).gather(1, torch.nan_to_num(y).long()[:, None])[:, 0]
        return super()._log_prob(Code(x)) + torch.where(torch.isnan(y), 0.0, each)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        if not self._classifies:
            return super()._sample(n, rng, given)
        assert self._label is not None
        column, i, classes = self._label
        allowed = torch.ones(classes, dtype=torch.bool)
        if given is not None:
            levels = Levels(self.layout_)
            start = int(levels.start[i])
            allowed = levels.within(given.x[0].double(), given.ranges)[start : start + classes]
            asked = given.x.double().clone()
            asked[:, column] = torch.nan
            given = Given(asked, given.y, {j: r for j, r in given.ranges.items() if j != column}, given.names)
        found, drawn, fit = [], 0, 0
        while fit < n:  # rejection: p(x | y) is p(x) p(y | x) up to a factor
            if drawn > 100_000 + 2000 * n:
                raise Problem(
                    f"{self.name()}: of {drawn:,} draws {fit} have {', '.join(given.names) if given else ''} as asked. "
                    'Ask for fewer, or fit with labels "joint".'
                )
            size = n if bool(allowed.all()) else min(20_000, max(256, int(1.2 * (n - fit) * (drawn + 1) / (fit + 1))))
            x = super()._sample(size, rng, given).x
            p = self._log_classes(x).exp() * allowed
            keep = torch.rand(size, dtype=torch.float64, generator=rng) < p.sum(1)
            if bool(allowed.all()):
                keep[:] = True
            x, p = x[keep], p[keep]
            if len(x):
                x[:, column] = torch.multinomial(p, 1, generator=rng)[:, 0].double()
            found.append(x)
            drawn, fit = drawn + size, fit + len(x)
        return Code(torch.cat(found)[:n])

    def _filled(self, x: Tensor, unknown: Tensor, how: How, rng: torch.Generator) -> Tensor:
        """Fill features by p(x), drawn until they fit the label where that is known, and labels by p(y | x)."""
        if not self._classifies:
            return super()._filled(x, unknown, how, rng)
        assert self._label is not None
        column = self._label[0]
        y, hidden, blind = x[:, column].clone(), unknown.clone(), x.clone()
        hidden[:, column], blind[:, column] = False, torch.nan
        out = super()._filled(blind, hidden, how, rng)
        free, want = unknown[:, column], torch.nan_to_num(y).long()[:, None]
        again = torch.nonzero(~torch.isnan(y) & hidden.any(1))[:, 0] if how == "draw" else torch.arange(0)
        for _ in range(TRIES):
            if not len(again):
                break
            p = self._log_classes(out[again]).gather(1, want[again])[:, 0].exp()
            again = again[torch.rand(len(again), dtype=torch.float64, generator=rng) >= p]
            if len(again):
                out[again] = super()._filled(blind[again], hidden[again], how, rng)
        p = self._log_classes(out).exp()
        chosen = torch.multinomial(p, 1, generator=rng)[:, 0] if how == "draw" else p.argmax(1)
        out[:, column] = torch.where(free, chosen.double(), y)
        return out
