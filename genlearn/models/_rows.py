"""Records as EM visits them, in memory or on the disk: block by block, grouped by the numbers they show, chunk by chunk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .. import ranks
from ..data.memory import fits, let_go
from ._levels import Levels
from ._normals import PAIRS, patterns

CHUNK = 4096
BLOCK = 2**21  # values that are read and grouped at a time
WORK = 3 * 2**19  # values of pairwise products that a chunk may have
FEW = 32  # records of a pattern below which patterns are worked out together


class Matrix(Protocol):
    """Rows to be read a part at a time: a tensor, or `Columns` of one."""

    @property
    def shape(self) -> torch.Size:
        """Rows and columns."""
        ...

    def __getitem__(self, rows: slice | Tensor) -> Tensor: ...


class Columns:
    """Some columns of a code, which may lie on the disk: read, made float64 and standardised a part at a time.

    Arguments:
        x: `(n, d)`.
        columns: Which of its columns, in order.
        centre: What is subtracted, `(columns,)`; None for 0.
        scale: What it is divided by, `(columns,)`; None for 1.
    """

    def __init__(
        self, x: Tensor, columns: list[int], centre: Tensor | None = None, scale: Tensor | None = None
    ) -> None:
        self.x, self.columns, self.centre, self.scale = x, columns, centre, scale
        first = columns[0] if columns else 0
        self.together = columns == list(range(first, first + len(columns)))
        self.shape = torch.Size((len(x), len(columns)))

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        part = self.x[rows]
        first = self.columns[0] if self.columns else 0
        part = part[:, first : first + len(self.columns)] if self.together else part[:, self.columns]
        if self.centre is None or self.scale is None:
            return part
        return (part.double() - self.centre) / self.scale


class Group(NamedTuple):
    """Records of one block that show the same numbers.

    Arguments:
        columns: The numbers they show.
        numbers: `(n, columns)`.
        discrete: `(n, c)` levels.
        weights: `(n,)` how much every record counts; None if all count 1.
        ragged: They show different numbers, NaN where they show none.
        places: `(n,)` which records these are.
    """

    columns: Tensor
    numbers: Tensor
    discrete: Tensor
    weights: Tensor | None
    ragged: bool
    places: Tensor


class Rows:
    """Records, grouped by the numbers they show, in chunks which processes take in turn.

    What does not fit into memory is read and grouped anew in every pass; blocks are the same wherever the records lie, so that a
    fit from the disk repeats one from memory bit for bit.

    Arguments:
        numbers: `(n, d)`, NaN where absent or unknown.
        discrete: `(n, c)` levels.
        levels: What the discrete columns are.
        dtype: Precision of the chunks; sums are kept in float64 in any case.
        weights: `(n,)` how much every record counts, 0 or more; None for 1 each.
    """

    def __init__(
        self, numbers: Matrix, discrete: Matrix, levels: Levels, dtype: torch.dtype, weights: Tensor | None = None
    ) -> None:
        self.numbers, self.discrete, self.levels, self.dtype, self.weights = numbers, discrete, levels, dtype, weights
        self.n, d = numbers.shape
        self.mass = self.n if weights is None else float(weights.sum())
        self.step = min(CHUNK, WORK // (d * (d + 1) // 2 + d + 1)) if d <= PAIRS else CHUNK
        self.complete = True
        self.groups: list[Group] = []
        self.joined: list[Group] | None = None
        self.held = fits(8 * self.n * (d + discrete.shape[1]))
        if self.held:
            self.groups = list(self._read())
        else:
            self.complete = not any(bool(torch.isnan(numbers[block]).any()) for block in self.blocks())

    def blocks(self) -> Iterator[slice]:
        """Yield slices of the records, as many as are read at a time."""
        return blocks(self.n, self.numbers.shape[1] + self.discrete.shape[1])

    def visit(self, together: bool = False) -> Iterator[Group]:
        """Yield the groups of all blocks, of this process's share; rare patterns `together`, if asked."""
        groups = iter(self.groups) if self.held else self._read()
        if not together or self.complete:
            yield from groups
        elif not self.held:
            yield from self._join(groups)
        else:
            self.joined = list(self._join(groups)) if self.joined is None else self.joined
            yield from self.joined

    def chunks(self, group: Group, step: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor]]:
        """Yield numbers, one-hot levels, weights and places of a group, `step` rows at a time."""
        for start in range(0, len(group.places), step):
            part = slice(start, start + step)
            one_hot = self.levels.one_hot(group.discrete[part], self.dtype)
            heavy = None if group.weights is None else group.weights[part]
            yield group.numbers[part], one_hot, heavy, group.places[part]

    def _join(self, groups: Iterator[Group]) -> Iterator[Group]:
        """Yield groups of many records as they are, the others in ragged ones."""
        rare: list[Group] = []
        for group in groups:
            if len(group.places) >= FEW:
                yield group
                continue
            rare.append(group)
            if FEW * len(rare) >= BLOCK // 4:
                yield self._ragged(rare)
                rare = []
        if rare:
            yield self._ragged(rare)

    def _ragged(self, groups: list[Group]) -> Group:
        d = self.numbers.shape[1]
        numbers = torch.full((sum(len(g.places) for g in groups), d), torch.nan, dtype=self.dtype)
        start = 0
        for group in groups:
            numbers[start : start + len(group.places), group.columns] = group.numbers
            start += len(group.places)
        weights = [g.weights for g in groups if g.weights is not None]
        return Group(
            torch.arange(d), numbers, torch.cat([g.discrete for g in groups]), torch.cat(weights) if weights else None, True,
            torch.cat([g.places for g in groups]),
        )  # fmt: skip

    def _read(self) -> Iterator[Group]:
        turns = itertools.cycle(range(ranks.world()))
        for block in self.blocks():
            numbers, discrete = self.numbers[block].double(), self.discrete[block]
            weights = None if self.weights is None else self.weights[block]
            for columns, rows in patterns(~torch.isnan(numbers)):
                whole = len(rows) == len(numbers) and len(columns) == numbers.shape[1]
                self.complete &= len(columns) == numbers.shape[1]
                if ranks.world() > 1:
                    own = [chunk for chunk in rows.split(self.step) if next(turns) == ranks.rank()]
                    if not own:
                        continue
                    rows, whole = torch.cat(own), False
                shown = numbers if whole else numbers[rows][:, columns]
                levels = discrete if whole else discrete[rows]
                counts = None if weights is None else weights if whole else weights[rows]
                by_column = shown.T.to(self.dtype).contiguous().T  # as products of pairs read it
                yield Group(columns, by_column, levels, counts, False, rows + block.start)


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of `n` rows of `width` values, as many as are read at a time."""
    size = max(CHUNK, BLOCK // max(1, width))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
        if start + size < n:
            let_go()


def gathered(x: Matrix, places: Tensor) -> Tensor:
    """Return the rows at some places, in increasing order."""
    parts = []
    for part in places.split(2**14):
        parts.append(x[part])
        let_go()
    return torch.cat(parts)


def moments(numbers: Matrix, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, standard deviation (1 where nothing varies) and weight of the present values of every column, `(d,)` each."""
    n, d = numbers.shape

    def mean(of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        total, mass = torch.zeros(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
        for block in blocks(n, 8 * d):  # smaller ones, of which several copies are made
            x = numbers[block].double()
            present, values = (~torch.isnan(x)).double(), torch.nan_to_num(of(x))
            total += values.sum(0) if weights is None else weights[block] @ values
            mass += present.sum(0) if weights is None else weights[block] @ present
        return total / torch.where(mass > 0, mass, 1.0), mass

    centre, mass = mean(lambda x: x)
    sd = mean(lambda x: (x - centre).square())[0].sqrt()
    return centre, torch.where(sd > 1e-9 * (1 + centre.abs()), sd, 1.0), mass
