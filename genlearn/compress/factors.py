"""Codes under a head: the observation distribution of a layout as integer laws, group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from ..errors import Problem
from ..groups.base import two
from ..groups.levels import Binary, Category
from ..groups.mixtures import OrderedMixture
from ..groups.numbers import Ordered
from ..layout import Head, Layout
from .laws import Coin, Law, Logistic, Mixture, Table, logistic_mass
from .rans import Stack

WINDOW = 2**14  # levels of an open lattice that can be coded, about the field's centre
RAREST = 1e-12  # mass of a level under one part of a mixture

# Columns, and their law given all values so far and where they are coded.
Step = tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], Law]]


class Factors:
    """Which values of a code are coded, from which level they count, and their laws under a head.

    Values are `(rows, size)` int64, levels from 0 on.

    Arguments:
        layout: What the columns mean.

    Errors:
        Problem: If a column holds numbers that are no integers.
    """

    def __init__(self, layout: Layout) -> None:
        real = [f.name for f in layout.fields if f.kind not in ("ordered", "binary", "category")]
        if real:
            raise Problem(
                f'"{real[0]}" holds numbers on no short lattice; only integers and categories can be written down exactly. '
                "Compress with loss, or leave the column out."
            )
        self.layout = layout
        fields = [f for f in layout.fields for _ in range(f.size)]
        opened = np.array([f.kind == "ordered" and not f.bounded for f in fields])
        self._levels = np.where(opened, WINDOW, [f.levels for f in fields])
        self._lowest = np.where(opened, [round(f.loc) - WINDOW // 2 for f in fields], 0)
        self._unit = np.array([f.scale for f in fields])
        self._loc = np.array([f.loc for f in fields]) - self._lowest
        self._gate = np.full(len(fields), -1)
        for columns, gate in layout.gates:
            self._gate[columns] = gate

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return a code's levels, counted from 0; 0 where a gate is shut.

        Errors:
            Problem: If a value is unknown, or lies outside of what can be coded.
        """
        x = np.asarray(x, np.float64)
        shut = (self._gate >= 0) & (x[:, self._gate] != 0)
        if np.isnan(x[~shut]).any():
            raise Problem("the records hold values that the model has never seen. Leave those records out.")
        values = np.where(shut, 0, np.nan_to_num(x) - self._lowest * ~shut).astype(np.int64)
        if (bad := (values < 0) | (values >= self._levels)).any():
            column = int(np.flatnonzero(bad.any(0))[0])
            name = next(f.name for f, s in self.layout.slices() if s.start <= column < s.stop)
            raise Problem(f'"{name}" holds a value far beyond those of training. Leave those records out.')
        return values

    def code(self, values: np.ndarray) -> np.ndarray:
        """Return the code of these values, float64."""
        x = (values + self._lowest).astype(np.float64)
        return np.where((self._gate >= 0) & (values[:, self._gate] != 0), np.nan, x)

    def push(self, stack: Stack, head: Head, values: np.ndarray) -> None:
        """Push the values of as many records as there are; a head may have more."""
        for columns, law in reversed(list(self._steps(head, len(values)))):
            cells = self._open(columns, values)
            stack.push(law(values, cells), values[:, columns][cells])

    def pop(self, stack: Stack, head: Head, rows: int) -> np.ndarray:
        """Pop the values of so many records."""
        values = np.zeros((rows, self.layout.size), np.int64)
        for columns, law in self._steps(head, rows):
            cells = self._open(columns, values)
            found = np.zeros(cells.shape, np.int64)
            found[cells] = stack.pop(law(values, cells))
            values[:, columns] = found
        return values

    def _open(self, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return where values are coded: wherever no gate is shut."""
        gate = self._gate[columns]
        return (gate < 0) | (values[:, gate] == 0)

    def _steps(self, head: Head, rows: int) -> Iterator[Step]:
        """Yield columns with their laws; gates, which are categories, before what they open."""
        for group, whole in reversed(head._parts):
            columns, params = np.array(group.columns), whole[:rows]
            if isinstance(group, OrderedMixture):
                yield from self._mixtures(group, params, columns)
            elif isinstance(group, Category):
                for j, logits in enumerate(params.double().split(group.widths, 1)):
                    p = logits.softmax(1).numpy()
                    yield columns[j : j + 1], lambda _, cells, p=p: Table(p[cells[:, 0]])  # type: ignore[misc]
            elif isinstance(group, Binary):
                logit = params.double().numpy()
                yield columns, lambda _, cells, logit=logit: Coin(logit[cells])  # type: ignore[misc]
            elif isinstance(group, Ordered):
                yield columns, self._logistic(columns, params)
            else:
                raise Problem(f"{type(group).__name__} values cannot be written down exactly yet. Compress with loss.")

    def _logistic(self, columns: np.ndarray, params: Tensor) -> Callable[[np.ndarray, np.ndarray], Law]:
        centre, log_scale = (t.double().numpy() for t in two(params))
        loc, scale = centre * self._unit[columns] + self._loc[columns], np.exp(log_scale) * self._unit[columns]
        levels = np.broadcast_to(self._levels[columns], loc.shape)
        return lambda _, cells: Logistic(loc[cells], scale[cells], levels[cells])

    def _mixtures(self, group: OrderedMixture, params: Tensor, columns: np.ndarray) -> Iterator[Step]:
        """Yield the channels of all pixels one after the other: the weights and centres of each know those before."""
        log_weight, mean, log_scale, slope = (t.double().numpy() for t in group.laws(params))
        planes = columns.reshape(group.channels, group.pixels)

        def law(c: int, values: np.ndarray, cells: np.ndarray) -> Law:
            log_w, centre = log_weight, mean[:, :, 0]
            for b in range(c + 1):
                unit, at = self._unit[planes[b]], self._loc[planes[b]]
                first = b * (b - 1) // 2
                seen = ((values[:, planes[e]] - self._loc[planes[e]]) / self._unit[planes[e]] for e in range(b))
                centre = mean[:, :, b].copy()
                for e, units in enumerate(seen):
                    centre += slope[:, :, first + e] * units[:, None]
                loc, scale = centre * unit + at, np.exp(log_scale[:, :, b]) * unit
                if b < c:
                    mass = logistic_mass(values[:, None, planes[b]], loc, scale, self._levels[planes[b]])
                    log_w = log_w + np.log(np.maximum(mass, RAREST))
            weight = np.exp(log_w - log_w.max(1, keepdims=True))
            weight, loc, scale = (
                np.moveaxis(part, 1, -1)[cells] for part in (weight / weight.sum(1, keepdims=True), loc, scale)
            )
            return Mixture(weight, loc, scale, np.broadcast_to(self._levels[planes[c]], cells.shape)[cells])

        for c, plane in enumerate(planes):
            yield plane, lambda values, cells, c=c: law(c, values, cells)  # type: ignore[misc]
