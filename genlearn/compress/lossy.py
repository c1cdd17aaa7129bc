r"""Latent vectors to bits and back, with loss: each number rounded to a grid, coded by how often the model expects each cell.

The grid of a dimension is `step` times as coarse as the posterior is wide: what the model could not tell apart costs nothing to
merge. The law of a cell is that of a normal with the mean and spread of codes of the model's own draws. Both are stored nowhere:
whoever has the model draws the same records and finds the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .laws import Normal
from .rans import Stack

DRAWS, FEW = 256, 32  # that tell how codes are spread, and how wide their posteriors are
CELLS = 2**12  # of a dimension's grid
NARROWEST, FRACTION = (
    1e-3,
    0.25,
)  # least step, in spreads of the codes; step of an encoder that knows no posterior width
WIDER = 1.1  # real codes spread a little further than those of draws


class Grid:
    """Cells of latent vectors, and their laws.

    Arguments:
        model: A fitted model that encodes and decodes.
        step: Width of a cell in standard deviations of the posterior.
    """

    def __init__(self, model: Any, step: float) -> None:
        code = model._sample(DRAWS, torch.Generator().manual_seed(0), None)
        z, width = (t.double().numpy() for t in (model._encode(code), model._spread(code[:FEW])))
        spread = np.maximum(z.std(0), 1e-6)
        fine = np.where(width.mean(0) > 0, width.mean(0), FRACTION * spread)
        # Few digits: rounding errors of another machine rarely reach them, and what they do reach is found out.
        self.mean, self.sd = _few_digits(z.mean(0)), _few_digits(WIDER * spread)
        self.step = _few_digits(np.maximum(step * fine, NARROWEST * spread))

    def cells(self, z: Tensor) -> np.ndarray:
        """Return the cells of latent vectors; those beyond the grid take its last ones."""
        return np.clip(np.rint(z.double().numpy() / self.step) + CELLS // 2, 0, CELLS - 1).astype(np.int64)

    def middles(self, cells: np.ndarray) -> Tensor:
        """Return latent vectors."""
        return torch.from_numpy((cells - CELLS // 2) * self.step).float()

    def push(self, stack: Stack, cells: np.ndarray) -> None:
        """Push cells `(n, latent)`."""
        stack.push(self._law(len(cells)), cells.ravel())

    def pop(self, stack: Stack, n: int) -> np.ndarray:
        """Pop cells `(n, latent)`."""
        return stack.pop(self._law(n)).reshape(n, -1)

    def _law(self, n: int) -> Normal:
        mean, sd, step = (np.tile(part, n) for part in (self.mean, self.sd, self.step))
        return Normal(mean, np.sqrt(sd**2 + (0.3 * step) ** 2), step, CELLS)


def _few_digits(x: np.ndarray) -> np.ndarray:
    """Return numbers with eight binary digits each."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)
