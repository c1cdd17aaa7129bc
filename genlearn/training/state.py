"""All that changes while a run goes on: what a checkpoint holds, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Problem
from . import optimizers
from .checkpoints import Checkpoint
from .feed import Feed
from .history import History
from .stopping import Best


@dataclass
class State:
    """Where a run stands.

    Arguments:
        net: The weights that are trained.
        average: Their moving average, if one is kept.
        feed: Batches, and how many were handed out.
        history: Rows written, and terms that wait for the next row.
        best: The weights to keep.
        optimizers: By turn, of the stage that is being played.
        stage: Number of that stage; -1 before the first.
        step: Steps done.
        steps: Steps planned.
        seconds: Time spent, over all sittings.
        note: Why the run ended before its last step, or which weights were kept; empty while it goes on.
        finished: Whether the run had come to its end before this fit.
    """

    net: nn.Module
    average: nn.Module | None
    feed: Feed
    history: History
    best: Best = field(default_factory=Best)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    stage: int = -1
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    note: str = ""
    finished: bool = False

    @property
    def shown(self) -> nn.Module:
        """The net that is validated, drawn from and kept: the moving average, if there is one."""
        return self.net if self.average is None else self.average

    def pack(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return everything as JSON values and tensors."""
        waiting, values = self.history.packed()
        parts = {"net": self.net.state_dict(), "best": self.best.weights, "waiting": values}
        if self.average is not None:
            parts["average"] = self.average.state_dict()
        for name, optimizer in self.optimizers.items():
            parts[f"optimizer.{name}"] = optimizers.packed(optimizer)
        numbers = {
            "steps": self.steps, "global_batch": self.feed.size, "position": self.feed.position,
            "seconds": self.seconds, "stage": self.stage,
            "best": self.best.facts(), "rows": self.history.rows, "waiting": waiting, "note": self.note,
        }  # fmt: skip
        return numbers, {f"{prefix}.{k}": v for prefix, part in parts.items() for k, v in part.items()}

    def pack_end(self, kept: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what is left to be known of a finished run: its numbers, and the net that was kept."""
        numbers = {
            "steps": self.steps, "seconds": self.seconds, "best": self.best.facts(), "rows": self.history.rows,
            "note": self.note, "finished": True,
        }  # fmt: skip
        return numbers, {f"net.{k}": v for k, v in kept.state_dict().items()}

    def unpack(self, found: Checkpoint, enter: Callable[[int], None]) -> None:
        """Undo `pack` or `pack_end`; `enter` begins a stage, so that its optimizers exist."""
        numbers, device = found.numbers, self.feed.device
        self.step, self.steps, self.seconds = found.step, numbers["steps"], numbers["seconds"]
        self.note, self.finished = numbers["note"], numbers.get("finished", False)
        self.history.begin(numbers["rows"])
        _load(self.shown if self.finished else self.net, found.part("net."))
        if self.finished:
            self.best = Best(**numbers["best"])
            return
        self.feed.go_to(numbers["position"], numbers["global_batch"])
        if self.average is not None:
            _load(self.average, found.part("average."))
        weights = {k: v.to(device) for k, v in found.part("best.").items()}
        self.best = Best(**numbers["best"], weights=weights)
        if numbers["stage"] >= 0:
            enter(numbers["stage"])
        for name, optimizer in self.optimizers.items():
            optimizers.unpack(optimizer, found.part(f"optimizer.{name}."))
        self.history.unpack(numbers["waiting"], {k: v.to(device) for k, v in found.part("waiting.").items()})


def _load(net: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as e:
        raise Problem(
            f"the checkpoint does not fit the net ({str(e).splitlines()[0]}). Start anew without --resume."
        ) from None
