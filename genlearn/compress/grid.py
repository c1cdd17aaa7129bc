r"""Latent vectors to bits and back, each number rounded to a grid, coded by how often the model expects each cell.

The grid of a dimension is so many times as coarse as the posterior is wide: what the model could not tell apart costs next to
nothing to merge. Groups of numbers whose posteriors know those before are told what those were rounded to, so that they make up for it.

What the grid and the laws of its cells need is stored nowhere: whoever has the model draws the same records and finds the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..layout import Code
from .laws import Normal
from .rans import Stack

DRAWS, FEW = 64, 32  # that tell how codes are spread, and how wide the posteriors of an encoder are
CELLS = 2**12  # of a dimension's grid
NARROWEST = 1e-3  # least step, in spreads of the codes
FRACTION = 0.25  # step of an encoder that knows no posterior width, in the same
WIDER, ROUGH = 1.1, 0.15  # real codes spread a little further than those of draws, and by some part of a step


@dataclass
class Grid:
    """Cells of latent vectors, and their laws: normals.

    Arguments:
        mean: `(latent,)`.
        sd: `(latent,)`.
        step: `(latent,)` widths of cells.
    """

    mean: np.ndarray
    sd: np.ndarray
    step: np.ndarray

    def __post_init__(self) -> None:
        # Few digits: rounding errors of another machine rarely reach them, and what they do reach is found out.
        self.mean, self.sd, self.step = (_few_digits(part) for part in (self.mean, self.sd, self.step))

    @classmethod
    def of(cls, model: Any, step: float) -> Self:
        """Return the grid of a fitted model that encodes, `step` posterior widths coarse."""
        code = model._sample(DRAWS, torch.Generator().manual_seed(0), None)
        known, widths = torch.zeros(DRAWS, 0), []
        while (found := _next(model, code, known)) is not None:
            mean, log_sd = found
            known = torch.cat([known, mean], 1)
            widths.append((model._spread(code[:FEW]) if log_sd is None else torch.exp(log_sd)).mean(0))
        z, width = known.double().numpy(), torch.cat(widths).double().numpy()
        spread = np.maximum(z.std(0), 1e-6)
        steps = np.maximum(step * np.where(width > 0, width, FRACTION * spread), NARROWEST * spread)
        return cls(z.mean(0), np.hypot(WIDER * spread, ROUGH * steps), steps)

    def rounded(self, model: Any, code: Code, rows: int | None = None) -> np.ndarray:
        """Return the cells `(n, latent)` of the first `rows` records, by default of all; those beyond the grid take its last ones."""
        rows = len(code) if rows is None else rows
        cells = np.empty((rows, 0), np.int64)
        while (found := _next(model, code, padded(self.middles(cells), len(code)))) is not None:
            mean, _ = found
            step = self.step[cells.shape[1] : cells.shape[1] + mean.shape[1]]
            at = np.rint(mean[:rows].double().numpy() / step) + CELLS // 2
            cells = np.concatenate([cells, np.clip(at, 0, CELLS - 1).astype(np.int64)], 1)
        return cells

    def middles(self, cells: np.ndarray) -> Tensor:
        """Return latent vectors, or their first numbers."""
        return torch.from_numpy((cells - CELLS // 2) * self.step[: cells.shape[1]]).float()

    def push(self, stack: Stack, cells: np.ndarray) -> None:
        """Push cells `(n, latent)`."""
        stack.push(self._law(len(cells)), cells.ravel())

    def pop(self, stack: Stack, n: int) -> np.ndarray:
        """Pop cells `(n, latent)`."""
        return stack.pop(self._law(n)).reshape(n, -1)

    def bits(self, cells: np.ndarray) -> float:
        """Return how many bits `push` takes."""
        return self._law(len(cells)).bits(cells.ravel())

    def _law(self, n: int) -> Normal:
        mean, sd, step = (np.tile(part, n) for part in (self.mean, self.sd, self.step))
        return Normal(mean, sd, step, CELLS)


def padded(z: Tensor, rows: int) -> Tensor:
    """Return latent vectors with zeros below, so many rows in all."""
    return torch.nn.functional.pad(z, (0, 0, 0, rows - len(z)))


def _next(model: Any, code: Code, known: Tensor) -> tuple[Tensor, Tensor | None] | None:
    """Return posterior means and, if it says, log deviations of the next group of numbers given those `known`; None after the last."""
    if model._codes_exactly():
        return model._bits_back(code, known)  # type: ignore[no-any-return]
    return None if known.shape[1] else (model._encode(code), None)


def _few_digits(x: np.ndarray) -> np.ndarray:
    """Return numbers with eight binary digits each."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)
