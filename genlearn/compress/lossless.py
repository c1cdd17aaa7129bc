r"""Records to bits and back, bit by bit the same, through a model with latent vectors: bits-back coding.

To write x, pop z from the stack under \(q(z \mid x)\), push x under \(p(x \mid z)\), push z under \(p(z)\). On average that
costs \(-\log_2 p(x \mid z) - \log_2 p(z) + \log_2 q(z \mid x)\) bits: the negative ELBO. Reading does the same steps backwards.
A latent number is one of 16,384 cells that the prior fills alike. Latent numbers may come in groups, each of whose posteriors knows
those before.

The first records find no bits to read. Where that is shorter, their latent numbers are the middles of the posteriors, rounded to a
coarse grid and told under the prior, until the stack holds what the next records want to read.

References:
    Practical Lossless Compression with Latent Variables using Bits Back Coding (Townsend et al., 2019), https://arxiv.org/abs/1901.04866
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Problem
from ..layout import Code, Head
from .factors import Factors
from .grid import Grid, padded
from .laws import BINS, Normal, Table, Uniform, quantiles
from .rans import Stack

EDGES, MIDDLES = quantiles()
MOST_GROUPS = 64
COARSE = 3.0  # of rounded numbers, in posterior widths: about what is best for normal ones, the root of 12


class BitsBack:
    """Blocks of records onto a stack and off it.

    The nets see `block` records at a time, of which the last block may have fewer: so that rounding errors are the same both ways.

    Arguments:
        model: A model that defines `_bits_back` and `_observed`.
        block: Records that the nets see at a time.
    """

    def __init__(self, model: Any, block: int) -> None:
        self.model, self.block, self.factors = model, block, Factors(model.layout_)
        self.sizes = self._sizes()

    def write(self, stack: Stack, values: np.ndarray, y: Tensor | None) -> None:
        """Push a block of records."""
        code, rows = self._code(values, y), len(values)
        cells = np.empty((rows, 0), np.int64)
        while (posterior := self._posterior(code, cells)) is not None:
            found = stack.pop(Normal(*posterior, EDGES)).reshape(rows, -1)
            cells = np.concatenate([cells, found], 1)
        head = self.model._observed(self._latents(cells), code.y)
        self.factors.push(stack, head, values)
        stack.push(Uniform(cells.size, BINS), cells.ravel())

    def lacks_bits(self, stack: Stack, values: np.ndarray, y: Tensor | None) -> bool:
        """Return whether a block is shorter with rounded latent numbers, since there are too few bits to read them from."""
        code, rows = self._code(values, y), len(values)
        u, kl = _middles(self.model, code)
        cells, head = self._rounded(code, rows)
        plain, nats = (h.log_prob(code.x)[:rows].sum() for h in (head, self.model._observed(u, code.y)))
        back = float(kl[:rows].sum() - nats) / math.log(2)
        read = rows * sum(self.sizes) * math.log2(BINS) - float(kl[:rows].sum()) / math.log(2)
        alone = self._grid.bits(cells) - float(plain) / math.log(2)
        return alone < back + min(alone, max(0.0, read - stack.bits))

    def write_rounded(self, stack: Stack, values: np.ndarray, y: Tensor | None) -> None:
        """Push a block of records with rounded latent numbers."""
        cells, head = self._rounded(self._code(values, y), len(values))
        self.factors.push(stack, head, values)
        self._grid.push(stack, cells)

    def read_rounded(self, stack: Stack, rows: int, y: Tensor | None) -> np.ndarray:
        """Pop a block of records with rounded latent numbers."""
        cells = self._grid.pop(stack, rows)
        return self.factors.pop(stack, self._coarsely_observed(cells, self._padded(y)), rows)

    @cached_property
    def _grid(self) -> Grid:
        return Grid.of(self.model, COARSE)

    def _rounded(self, code: Code, rows: int) -> tuple[np.ndarray, Head]:
        """Return the cells of a block's posterior means, and the law of records there."""
        cells = self._grid.rounded(self.model, code, rows)
        return cells, self._coarsely_observed(cells, code.y)

    def _coarsely_observed(self, cells: np.ndarray, y: Tensor | None) -> Head:
        return self.model._observed(padded(self._grid.middles(cells), self.block), y)  # type: ignore[no-any-return]

    def read(self, stack: Stack, rows: int, y: Tensor | None) -> np.ndarray:
        """Pop a block of records."""
        cells = stack.pop(Uniform(rows * sum(self.sizes), BINS)).reshape(rows, -1)
        labels = self._padded(y)
        values = self.factors.pop(stack, self.model._observed(self._latents(cells), labels), rows)
        code = self._code(values, y)
        ends = np.cumsum(self.sizes)
        for start, end in reversed(list(zip(ends - self.sizes, ends, strict=True))):
            posterior = self._posterior(code, cells[:, :start])
            assert posterior is not None
            stack.push(Normal(*posterior, EDGES), cells[:, start:end].ravel())
        return values

    def _sizes(self) -> list[int]:
        """Return how many latent numbers each group has."""
        empty = Code(torch.zeros(self.block, self.model.layout_.size, dtype=torch.float64), self._padded(None))
        cells, found = np.zeros((self.block, 0), np.int64), []
        while (posterior := self._posterior(empty, cells)) is not None:
            found.append(len(posterior[0]) // self.block)
            cells = np.concatenate([cells, np.zeros((self.block, found[-1]), np.int64)], 1)
            if len(found) > MOST_GROUPS:
                raise Problem(f"{self.model.name()} has too many groups of latent numbers to write down.")
        return found

    def _posterior(self, code: Code, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return means and standard deviations of the next group's numbers, flat; None after the last group."""
        found = self.model._bits_back(code, self._latents(cells))
        if found is None:
            return None
        mean, log_sd = (t.double().numpy()[: len(cells)].ravel() for t in found)
        return mean, np.exp(log_sd)

    def _latents(self, cells: np.ndarray) -> Tensor:
        return padded(torch.from_numpy(MIDDLES[cells].astype(np.float32)), self.block)

    def _code(self, values: np.ndarray, y: Tensor | None) -> Code:
        padded = np.zeros((self.block, values.shape[1]), np.int64)
        padded[: len(values)] = values
        return Code(torch.from_numpy(self.factors.code(padded)), self._padded(y))

    def _padded(self, y: Tensor | None) -> Tensor | None:
        if not self.model.layout_.labels:
            return None
        labels = torch.zeros(self.block, dtype=torch.int64)
        if y is not None:
            labels[: len(y)] = y
        return labels


def likeliest_labels(model: Any, code: Code) -> Tensor:
    """Return the label of every record under which its bound, at the middle of its posterior, is highest."""
    every = []
    for label in range(model.layout_.labels):
        told = Code(code.x, torch.full((len(code),), label))
        u, kl = _middles(model, told)
        every.append(model._observed(u, told.y).log_prob(code.x) - kl + torch.log(model.label_prior_[label]))
    return torch.stack(every).argmax(0)


def _middles(model: Any, code: Code) -> tuple[Tensor, Tensor]:
    """Return the means of all latent numbers, each group given those before, and the KL of their posteriors in nats."""
    u, kl = torch.zeros(len(code), 0), torch.zeros(len(code))
    while (posterior := model._bits_back(code, u)) is not None:
        mean, log_sd = posterior
        kl = kl + (0.5 * (mean.square() + torch.exp(2 * log_sd) - 1) - log_sd).sum(1)
        u = torch.cat([u, mean], 1)
    return u, kl


class Labels:
    """Labels on a stack: whether a record brings one, and which one it is taken to have.

    Arguments:
        frequencies: Of the labels, in training.
        labelled: How many records bring one.
        count: How many records there are.
    """

    def __init__(self, frequencies: Tensor, labelled: int, count: int) -> None:
        self._p = frequencies.double().numpy()
        self._known = np.array([count - labelled, labelled], np.float64) / max(1, count)

    def write(self, stack: Stack, y: Tensor, known: np.ndarray) -> None:
        """Push the labels of some records."""
        stack.push(self._law(self._p, len(y)), y.numpy())
        if 0 < self._known[1] < 1:
            stack.push(self._law(self._known, len(y)), known.astype(np.int64))

    def read(self, stack: Stack, rows: int) -> tuple[Tensor, np.ndarray]:
        """Pop the labels of some records, and which of them were known."""
        known = np.full(rows, self._known[1] == 1)
        if 0 < self._known[1] < 1:
            known = stack.pop(self._law(self._known, rows)).astype(bool)
        return torch.from_numpy(stack.pop(self._law(self._p, rows))), known

    @staticmethod
    def _law(p: np.ndarray, rows: int) -> Table:
        return Table(np.broadcast_to(p, (rows, len(p))))
