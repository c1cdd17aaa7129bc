r"""Latent vectors to bits and back, each number rounded to a grid, coded by how often the model expects each cell.

The grid of a dimension is so many times as coarse as the posterior is wide: what the model could not tell apart costs next to
nothing to merge. What the grid and the laws of its cells need is stored nowhere: whoever has the model draws the same records and finds
the same numbers.
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

DRAWS, FEW = 256, 32  # that tell how codes are spread, and how wide their posteriors are
CELLS = 2**12  # of a dimension's grid
NARROWEST, FRACTION = (
    1e-3,
    0.25,
)  # least step, in spreads of the codes; step of an encoder that knows no posterior width
WIDER = 1.1  # real codes spread a little further than those of draws
WIDE = 3.0  # steps, in widths of the posterior, where values are told exactly all the same: 12 ** 0.5 is best for normal ones
ROUGH, STILL = 0.3, 0.1  # of a step, what is added to the spread of codes, and of means of posteriors


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
    def of_codes(cls, model: Any, step: float) -> Self:
        """Return the grid of what a model's `_encode` returns, `step` posterior widths coarse."""
        code = _draws(model, DRAWS)
        z, width = (t.double().numpy() for t in (model._encode(code), model._spread(code[:FEW])))
        spread = np.maximum(z.std(0), 1e-6)
        fine = np.where(width.mean(0) > 0, width.mean(0), FRACTION * spread)
        steps = np.maximum(step * fine, NARROWEST * spread)
        return cls(z.mean(0), np.hypot(WIDER * spread, ROUGH * steps), steps)

    @classmethod
    def of_posteriors(cls, model: Any) -> Self:
        """Return the grid of the means of a model's `_bits_back`, whose prior is standard normal."""
        code = _draws(model, FEW)
        known, widths = torch.zeros(FEW, 0), []
        while (posterior := model._bits_back(code, known)) is not None:
            mean, log_sd = posterior
            known = torch.cat([known, mean], 1)
            widths.append(torch.exp(log_sd).double().mean(0))
        width = torch.cat(widths).numpy()
        spread, steps = np.sqrt(np.maximum(1 - width**2, 0.0)), np.maximum(WIDE * width, NARROWEST)
        return cls(np.zeros_like(width), np.hypot(spread, STILL * steps), steps)

    def cells(self, z: Tensor, first: int = 0) -> np.ndarray:
        """Return the cells of latent vectors from the number `first` on; those beyond the grid take its last ones."""
        step = self.step[first : first + z.shape[1]]
        return np.clip(np.rint(z.double().numpy() / step) + CELLS // 2, 0, CELLS - 1).astype(np.int64)

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


def _draws(model: Any, n: int) -> Code:
    return model._sample(n, torch.Generator().manual_seed(0), None)  # type: ignore[no-any-return]


def _few_digits(x: np.ndarray) -> np.ndarray:
    """Return numbers with eight binary digits each."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)
