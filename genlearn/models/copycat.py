"""Hands out training records: the reference that every copy test must flag."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, Model


class Copycat(Conditional, Model):
    """Training records in random order, none twice before all have been handed out.

    It learns nothing, and yet no test of realism can tell its records from real ones. A yardstick that does not flag it as
    copying would also praise a model that memorises. It has no likelihood. Conditions select records that match exactly.

    Errors:
        Problem: If no training record matches a condition.

    References:
        A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan et al., 2020), https://arxiv.org/abs/2004.05675

    Example:
        >>> import numpy as np
        >>> x = np.arange(8.0).reshape(4, 2)
        >>> copies = Copycat(random_state=0).fit(x).sample(4, random_state=0)
        >>> sorted(copies[:, 0].round().tolist())
        [0.0, 2.0, 4.0, 6.0]
    """

    label_as_field: ClassVar[bool] = True
    reference: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"

    def _fit(self, code: Code, valid: Code | None) -> None:
        x = code.x
        small = torch.nan_to_num(x, nan=-1.0).to(torch.uint8) if x.is_floating_point() else x
        self.records_: Tensor = small if torch.equal(small.to(x.dtype), x) else x
        self._tell(1, 1, 0.0, done=True, note=f"keeps {len(x):,} records")

    def _check_learned(self) -> None:
        super()._check_learned()
        if self.records_.ndim != 2 or not len(self.records_) or self.records_.shape[1] != self.layout_.size:
            raise ValueError(f"records_ must hold records of {self.layout_.size} values")
        for field, columns in self.layout_.slices():
            low, high = (float(end) for end in torch.nan_to_num(self.records_[:, columns]).aminmax())
            if field.levels and not field.width and not 0 <= low <= high < field.levels:
                raise ValueError(f'records_ holds levels of "{field.name}" that there are not')

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        rows = torch.arange(len(self.records_)) if given is None else self._matches(given)
        rounds = [rows[torch.randperm(len(rows), generator=rng)] for _ in range(-(-n // len(rows)))]
        return Code(self.records_[torch.cat(rounds)[:n]].to(torch.float64))

    def _matches(self, given: Given) -> Tensor:
        """Return the positions of the records that meet the conditions."""
        good = torch.ones(len(self.records_), dtype=torch.bool)
        for field, columns in self.layout_.slices():
            for j in range(columns.start, columns.stop):
                value, asked = self.records_[:, j].double(), float(given.x[0, j])
                if j in given.ranges:
                    low, high = given.ranges[j]
                    good &= (value >= low) & (value <= high)
                elif asked == asked:
                    # A dequantised integer lies anywhere in its cell; other values must agree to rounding.
                    good &= (value - asked).abs() <= max(field.width / 2, 1e-9 * (1 + abs(asked)))
        if not good.any():
            raise Problem(
                f"copycat: no training record has {', '.join(given.names)} as asked. "
                "Widen the condition, or use a model that has learned (gmm, kde)."
            )
        return torch.nonzero(good)[:, 0]
