"""What every kind of value has: its embedding, its relaxation and its factor of the observation distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..layout import Field

LOG_SCALE = (-7.0, 5.0)  # bounds of log standard deviations and log scales


class Group(ABC):
    """All values of one kind in a layout.

    Arguments:
        columns: Their columns in the code.
        fields: The field of each.
        alone: Whether they are all that the code holds.
    """

    each: ClassVar[int] = 1  # parameters per embedded number

    def __init__(self, columns: list[int], fields: list[Field], *, alone: bool) -> None:
        self.columns, self.fields, self.alone = columns, fields, alone
        self.widths = self._widths()
        self.width = sum(self.widths)
        self.params = self.width * self.each
        self._constants: dict[tuple[str, torch.device], Tensor] = {}

    def _widths(self) -> list[int]:
        """Return how many embedded numbers each value becomes."""
        return [1] * len(self.columns)

    def pick(self, x: Tensor) -> Tensor:
        """Return the columns of this kind of a code."""
        return x if self.alone else x.index_select(1, self._index("columns", self.columns, x.device))

    def _index(self, name: str, values: Sequence[int], device: torch.device) -> Tensor:
        if (name, device) not in self._constants:
            self._constants[name, device] = torch.tensor(values, device=device)
        return self._constants[name, device]

    # -- what nets see -----------------------------------------------------------------------------------------------
    def embed(self, value: Tensor) -> Tensor:
        """Map values to what nets see, float32; unknown ones become 0."""
        return torch.nan_to_num(value.float()) if value.is_floating_point() else value.float()

    @abstractmethod
    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        """Map a generator's raw output to embedded values, with gradients."""

    @abstractmethod
    def harden(self, embedded: Tensor) -> Tensor:
        """Map embedded values back."""

    # -- the factor of each value ------------------------------------------------------------------------------------
    @abstractmethod
    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        """Return log probabilities of complete values, nats, one per value."""

    @abstractmethod
    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw values."""

    @abstractmethod
    def centre(self, params: Tensor) -> Tensor:
        """Return the most typical values."""

    def nats(self, params: Tensor, value: Tensor) -> Tensor:
        """Return `(n,)` log probabilities of all values together, nats; absent or unknown (NaN) ones are summed out."""
        if not value.is_floating_point():
            return self.log_prob(params, value).sum(1)
        absent = torch.isnan(value)
        return self.log_prob(params, value.masked_fill(absent, 0.0)).masked_fill(absent, 0.0).sum(1)

    def mixed(self, parts: int) -> Group:
        """Return the same values with mixtures of `parts` factors in place of single ones, where the kind has such."""
        return self

    def without_absent(self, params: Tensor) -> Tensor:
        """Return parameters under which no value is missing."""
        return params


def two(params: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres and bounded log scales, `(n, values)` each."""
    centre, log_scale = params.float().chunk(2, 1)
    return centre, log_scale.clamp(*LOG_SCALE)
