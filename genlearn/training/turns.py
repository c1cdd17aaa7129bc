"""What a model says of its training: turns, the stages that they are played in, and the batch that a loss gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .. import ranks

Terms = dict[str, Tensor]


@dataclass
class Batch:
    """One batch, and all that a loss may depend on besides the net.

    Arguments:
        x: `(n, d)` rows of the code.
        y: `(n,)` labels, or None.
        rng: Generator of this turn's noise, on the device of `x`.
        progress: Share of the stage that is done, 0 to 1 (for warm-ups).
        step: Steps done in the whole run.
        cache: Shared by the turns of one step, for forwards that several of them need.
        total: Records in the global batch, of which these are this process's share; 0 if every process has as many.
    """

    x: Tensor
    y: Tensor | None
    rng: torch.Generator
    progress: float
    step: int
    cache: dict[str, Any] = field(default_factory=dict)
    total: int = 0

    def __post_init__(self) -> None:
        self.total = self.total or len(self) * ranks.world()

    def __len__(self) -> int:
        return len(self.x)

    def randn(self, *shape: int) -> Tensor:
        """Return standard normal noise `(n, *shape)`: drawn for the global batch, this process's rows of it."""
        return ranks.mine(torch.randn((self.total, *shape), generator=self.rng, device=self.x.device))

    def rand(self, *shape: int) -> Tensor:
        """Return uniform (0, 1) noise `(n, *shape)`, like `randn`."""
        return ranks.mine(torch.rand((self.total, *shape), generator=self.rng, device=self.x.device))

    def mean(self, values: Tensor) -> Tensor:
        r"""Return the mean of `(n, ...)` over the records of the global batch, for losses that are no mean over records themselves.

        A loss \(f(\bar v)\) of a mean \(\bar v\) over records, such as a logarithm of it, needs \(\bar v\) of all processes. The
        gradient flows through the own records; averaged over processes it is that of one process with all records.
        """
        if ranks.world() == 1:
            return values.mean(0)
        own = values.sum(0) * (ranks.world() / self.total)
        return own + (ranks.mean(own) - own).detach()

    def all(self, values: Tensor) -> Tensor:
        """Return `(n, ...)` of this process among those of all, in order, without gradients: the distance of halves is not half of
        the distance."""
        return ranks.all_rows(values, self.total)


Loss = Callable[[Batch], tuple[Tensor, Terms]]


@dataclass
class Turn:
    """One player's move.

    Arguments:
        name: Who moves ("critic").
        params: The module (or modules) that this turn changes; all others are held fixed.
        loss: Maps a batch to the loss to be minimised, a mean over records, and terms worth showing.
        repeat: How often the move is made in one step, each on the next batch; an int or a function of the step.
        after: Called after every update, for example to clip weights.
    """

    name: str
    params: nn.Module | list[nn.Module]
    loss: Loss
    repeat: int | Callable[[int], int] = 1
    after: Callable[[], None] | None = None

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that this turn changes, each once."""
        modules = [self.params] if isinstance(self.params, nn.Module) else self.params
        return list({id(p): p for m in modules for p in m.parameters() if p.requires_grad}.values())

    def times(self, step: int) -> int:
        """Return how often this turn moves in a step."""
        return self.repeat(step) if callable(self.repeat) else self.repeat


@dataclass
class Stage:
    """A phase of training with its own turns and optimizers; `share` is its part of all steps.

    Weights are chosen by validation, and training is stopped early, in the last stage only: before it no model is complete.
    """

    name: str
    turns: list[Turn]
    share: float = 1.0


def stage_ends(stages: list[Stage], steps: int) -> list[int]:
    """Return the step at which each stage ends, the last one at `steps`.

    Example:
        >>> stage_ends([Stage("warm-up", [], 1), Stage("train", [], 3)], 100)
        [25, 100]
    """
    total = sum(s.share for s in stages)
    ends = [round(steps * sum(s.share for s in stages[: i + 1]) / total) for i in range(len(stages))]
    return [*ends[:-1], steps]
