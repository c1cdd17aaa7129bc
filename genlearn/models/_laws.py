"""Laws of columns one after the other, each given the columns before it, and weighted draws of what is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._trees import Floats, Ints, Tree


@dataclass
class Law:
    """One column's law given the columns before it.

    Arguments:
        column: The column of the code.
        gate: The column that must be 0 where it has a value, if there is one.
        tree: Splits of the columns before it.
        tables: `(leaves, levels)` probabilities of its levels.
    """

    column: int
    gate: int | None
    tree: Tree
    tables: Floats

    def at(self, levels: Ints) -> Floats:
        """Return the tables `(n, levels)` that records `(n, columns)` meet."""
        return self.tables[self.tree.leaf(levels)]


def pick(tables: Floats, u: Floats) -> Ints:
    """Return levels `(n,)` drawn from tables `(n, levels)` by uniform numbers `(n,)`."""
    total = tables.cumsum(1)
    found = (total <= (u * (1 - 1e-12) * total[:, -1])[:, None]).sum(1)
    return np.minimum(found, tables.shape[1] - 1)


def particles(
    laws: Sequence[Law], levels: Ints, unknown: NDArray[np.bool_], u: Floats, barred: Mapping[int, int]
) -> Floats:
    """Draw the unknown levels `(m, columns)` in order, in place; return the log weights `(m,)` that the known ones give.

    Arguments:
        laws: The laws of the columns, in their order.
        levels: `(m, columns)`, -1 where there is none.
        unknown: `(m, d)` which of them to draw.
        u: `(m, columns)` uniform numbers.
        barred: A level of some columns that is not to be drawn.
    """
    log_weights = np.zeros(len(levels))
    for law in laws:
        j = law.column
        known, rows = ~unknown[:, j] & (levels[:, j] >= 0), unknown[:, j]
        log_weights[known] += np.log(law.at(levels[known])[np.arange(known.sum()), levels[known, j]])
        if not rows.any():
            continue
        table = law.at(levels[rows])
        if j in barred:
            log_weights[rows] += np.log(np.maximum(1 - table[:, barred[j]], 1e-300))
            table[:, barred[j]] = 0
        levels[rows, j] = pick(table, u[rows, j])
        if law.gate is not None:
            levels[rows & (levels[:, law.gate] != 0), j] = -1
    return log_weights
