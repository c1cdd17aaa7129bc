r"""Means of unknown values in the units of the records, written as codes.

A number z on a scale f, behind a gate with probabilities \(g_0, g_1, \ldots\) and atoms \(a_1, a_2, \ldots\), has the mean

\[ E[v] = g_0 \, E[f^{-1}(z)] + g_1 a_1 + g_2 a_2 + \ldots, \]

which is neither an atom nor the value of the mean of z. Categories whose levels are numbers get the level next to their mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from ..codecs.units import Units
from ..layout import Layout
from ._levels import Levels

NODES = 32  # of quadrature

Curve = Callable[[Tensor], Tensor]

NO_UNITS = Units()  # of codes that are their own records


class Means:
    """Posterior means of a layout's columns.

    Arguments:
        units: What codes say in the units of the records.
        levels: The discrete columns.
    """

    def __init__(self, units: Units, levels: Levels) -> None:
        self.units, self.levels = units, levels

    def curve(self, j: int) -> Curve | None:
        """Return the map from codes of column `j` to where means are taken; None where they may be taken of the codes."""
        number = self.units.numbers.get(j)
        if number is None or not number.curved:
            return None
        inverse = number.scale.inverse
        return lambda z: torch.from_numpy(inverse(z.double().numpy()))

    def of_normal(self, j: int, mean: Tensor, sd: Tensor) -> Tensor:
        """Return the means of column `j` under normal distributions of its code."""
        curve = self.curve(j)
        if curve is None:
            return mean
        nodes, weights = (torch.from_numpy(t) for t in hermegauss(NODES))
        out = torch.zeros_like(mean)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            out += weight * curve(mean + node * sd)
        return out

    def put(self, x: Tensor, unknown: Tensor, weights: Tensor) -> Tensor:
        """Turn means into codes, in place; return the codes.

        Arguments:
            x: `(n, d)` codes; unknown numbers hold their means given that their gates are open, `curve` applied.
            unknown: `(n, d)`, True where a value is to be filled in.
            weights: `(n, width)` weights of the levels that a filled-in record may take.
        """
        for j, number in self.units.numbers.items():
            rows = torch.nonzero(unknown[:, j])[:, 0]
            if not len(rows):
                continue
            mean = x[rows, j].double()
            mean = mean if number.curved else torch.from_numpy(number.scale.inverse(mean.numpy()))
            if number.gate is not None:
                share, open_ = self._share(number.gate, weights[rows]), unknown[rows, number.gate]
                share[~open_] = torch.eye(1, share.shape[1], dtype=share.dtype)  # known to be there
                atoms = torch.tensor(number.atoms, dtype=torch.float64).nan_to_num(0.0)
                mean = share[:, 0] * torch.where(share[:, 0] > 0, mean, 0.0) + share[:, 1:] @ atoms
                x[rows, number.gate] = torch.where(open_, 0.0, x[rows, number.gate])
            x[rows, j] = torch.from_numpy(number.scale.forward(mean.numpy())[0])
        for j, values in self.units.ranked.items():
            rows = torch.nonzero(unknown[:, j])[:, 0]
            mean = self._share(j, weights[rows]) @ torch.tensor(values, dtype=torch.float64).nan_to_num(0.0)
            x[rows, j] = torch.from_numpy(_nearest(mean.numpy(), np.array(values))).double()
        return x

    def _share(self, j: int, weights: Tensor) -> Tensor:
        """Return `(n, levels)` probabilities of the levels of column `j`."""
        i = self.levels.columns.index(j)
        own = weights[:, int(self.levels.start[i]) : int(self.levels.start[i]) + self.levels.counts[i]].double()
        return own / own.sum(1, keepdim=True).clamp_min(1e-300)


class Beliefs:
    """What is believed of the unknown values of `n` records, gathered column by column.

    Arguments:
        units: What codes say in the units of the records.
        layout: The columns.
        n: How many records.
    """

    def __init__(self, units: Units, layout: Layout, n: int) -> None:
        self.means = Means(units, Levels(layout))
        self.numbers = torch.full((n, layout.size), torch.nan, dtype=torch.float64)
        self._weights = torch.ones(n, self.means.levels.width, dtype=torch.float64)

    def learn(self, rows: Tensor, j: int, share: Tensor) -> None:
        """Take in the probabilities `(rows, levels)` of column `j`."""
        levels = self.means.levels
        start = int(levels.start[levels.columns.index(j)])
        self._weights[rows[:, None], torch.arange(start, start + share.shape[1])] = share

    def put(self, filled: Tensor, unknown: Tensor) -> Tensor:
        """Return codes `(n, d)` with the means of what is unknown."""
        out = torch.where(torch.isnan(self.numbers), filled, self.numbers)
        return self.means.put(out, unknown, self._weights)


def _nearest(mean: np.ndarray, values: np.ndarray) -> np.ndarray:
    away = np.abs(mean[:, None] - values)
    return np.where(np.isnan(away), np.inf, away).argmin(1)
