r"""One class per kind of value: how values of that kind are embedded, relaxed, scored and drawn.

All columns of a kind are handled together, so that an image or a wide table is one tensor operation. A kind is a class here and
nothing else: layouts and heads go through `KINDS`.

| kind | embedding | relaxation | factor |
|---|---|---|---|
| real | \(x\) | the raw number | normal |
| ordered | \((k - \mathrm{loc}) / \mathrm{scale}\) | tanh on bounded lattices, else the raw number | discretised logistic |
| binary | \(x\) | sigmoid | Bernoulli |
| category | one-hot | Gumbel softmax | softmax |
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from .layout import Field

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

    def without_absent(self, params: Tensor) -> Tensor:
        """Return parameters under which no value is missing."""
        return params


class Real(Group):
    """Numbers: normal factors."""

    each = 2

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        return raw

    def harden(self, embedded: Tensor) -> Tensor:
        return embedded.clone()

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        mean, log_sd = _two(params)
        z = (value.float() - mean) * torch.exp(-log_sd)
        return -0.5 * z.square() - log_sd - 0.5 * math.log(2 * math.pi)

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, log_sd = _two(params)
        return mean + torch.exp(log_sd) * torch.randn(mean.shape, generator=generator, device=mean.device)

    def centre(self, params: Tensor) -> Tensor:
        return _two(params)[0]


class Ordered(Group):
    """Levels on an integer lattice: discretised logistic factors, whose edge levels hold the tails where it is bounded."""

    each = 2

    def embed(self, value: Tensor) -> Tensor:
        return torch.nan_to_num((value.float() - self._loc(value.device)) / self._scale(value.device))

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        """Squash numbers into the range of bounded lattices by tanh; leave those of open lattices as they are."""
        loc, scale = self._loc(raw.device), self._scale(raw.device)
        top = self._top(raw.device)
        # Finite stand-ins keep the unused branch free of infinities, whose gradients would be NaN.
        low = (self._bottom(raw.device).nan_to_num(neginf=0.0) - loc) / scale
        high = (top.nan_to_num(posinf=1.0) - loc) / scale
        return torch.where(torch.isfinite(top), (low + high) / 2 + (high - low) / 2 * torch.tanh(raw), raw)

    def harden(self, embedded: Tensor) -> Tensor:
        device = embedded.device
        levels = torch.round(embedded * self._scale(device) + self._loc(device))
        return torch.minimum(torch.maximum(levels, self._bottom(device)), self._top(device))

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        # log(sig(a) - sig(b)) = log sig(a) + log sig(-b) + log(1 - exp(b - a)): exact where the difference underflows.
        mean, log_scale = _two(params)
        level, unit, inverse = value.float(), self._scale(value.device), torch.exp(-log_scale)
        half = 0.5 / unit * inverse
        middle = ((level - self._loc(value.device)) / unit - mean) * inverse
        below, above = F.logsigmoid(middle + half), F.logsigmoid(half - middle)
        lowest, highest = level <= self._bottom(value.device), level >= self._top(value.device)
        inner = below + above + torch.log(-torch.expm1(-2 * half))
        return torch.where(lowest, below, torch.where(highest, above, inner))

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, log_scale = _two(params)
        uniform = torch.rand(mean.shape, generator=generator, device=mean.device).clamp(1e-7, 1 - 1e-7)
        return self.harden(mean + torch.exp(log_scale) * (torch.log(uniform) - torch.log1p(-uniform)))

    def centre(self, params: Tensor) -> Tensor:
        return self.harden(_two(params)[0])

    def _row(self, name: str, values: list[float], device: torch.device) -> Tensor:
        if (name, device) not in self._constants:
            same = len(set(values)) == 1  # an image: a scalar is faster than a row
            row = torch.tensor(values[0] if same else values, dtype=torch.float32, device=device)
            self._constants[name, device] = row
        return self._constants[name, device]

    def _loc(self, device: torch.device) -> Tensor:
        return self._row("loc", [f.loc for f in self.fields], device)

    def _scale(self, device: torch.device) -> Tensor:
        return self._row("scale", [f.scale for f in self.fields], device)

    def _top(self, device: torch.device) -> Tensor:
        return self._row("top", [f.levels - 1.0 if f.bounded else math.inf for f in self.fields], device)

    def _bottom(self, device: torch.device) -> Tensor:
        return self._row("bottom", [0.0 if f.bounded else -math.inf for f in self.fields], device)


class Binary(Group):
    """Zeros and ones: Bernoulli factors."""

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        return torch.sigmoid(raw)

    def harden(self, embedded: Tensor) -> Tensor:
        return embedded > 0.5

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        logits = params.float()
        return value.float() * logits - F.softplus(logits)

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        p = torch.sigmoid(params.float())
        return torch.rand(p.shape, generator=generator, device=p.device) < p

    def centre(self, params: Tensor) -> Tensor:
        return params > 0


class Category(Group):
    """Levels without order: softmax factors."""

    def _widths(self) -> list[int]:
        return [f.levels for f in self.fields]

    def embed(self, value: Tensor) -> Tensor:
        owner = [j for j, levels in enumerate(self.widths) for _ in range(levels)]
        level = [k for levels in self.widths for k in range(levels)]
        repeated = value.index_select(1, self._index("owner", owner, value.device))
        return (repeated == self._index("level", level, value.device)).float()  # NaN equals no level: a zero vector

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        logits = raw if noise is None else raw + _gumbel(noise)
        return torch.cat([torch.softmax(column / tau, 1) for column in logits.split(self.widths, 1)], 1)

    def harden(self, embedded: Tensor) -> Tensor:
        return torch.stack([column.argmax(1) for column in embedded.split(self.widths, 1)], 1)

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        logs = [torch.log_softmax(column, 1) for column in params.float().split(self.widths, 1)]
        return torch.cat([log.gather(1, value[:, j : j + 1].long()) for j, log in enumerate(logs)], 1)

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.rand(params.shape, generator=generator, device=params.device)
        return self.harden(params.float() + _gumbel(noise))

    def centre(self, params: Tensor) -> Tensor:
        return self.harden(params)

    def without_absent(self, params: Tensor) -> Tensor:
        absent = [k == f.absent for f in self.fields for k in range(f.levels)]
        return params.masked_fill(self._index("absent", absent, params.device), -math.inf)


# The order in which parameters and embeddings are laid out.
KINDS: dict[str, type[Group]] = {"real": Real, "ordered": Ordered, "binary": Binary, "category": Category}


def _two(params: Tensor) -> tuple[Tensor, Tensor]:
    centre, log_scale = params.float().chunk(2, 1)
    return centre, log_scale.clamp(*LOG_SCALE)


def _gumbel(uniform: Tensor) -> Tensor:
    return -torch.log(-torch.log(uniform.clamp(1e-10, 1 - 1e-7)))
