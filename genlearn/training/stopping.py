"""When a run ends before its last step, and which weights are kept: signals, targets, the best validation."""

from __future__ import annotations

import math
import re
import signal
import threading
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import Interrupted, Problem, Terminated


class Signals:
    """Turns Ctrl-C and SIGTERM into a wish, `received`, that the loop heeds after the step; a second signal stops at once.

    Outside of the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self.received = number

    def stop(self, message: str) -> Interrupted:
        """Return the error that ends the run, with the exit code of the signal."""
        return Interrupted(message, exit_code=128 + (self.received or signal.SIGINT))


@dataclass(frozen=True)
class Target:
    """A validation value that is good enough to stop at: `nats=-90`, or `kid=0.05` for a distance."""

    name: str
    bar: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `name=number`.

        Errors:
            Problem: If the text has another form.

        Example:
            >>> Target.parse("nats=-90")
            Target(name='nats', bar=-90.0)
        """
        found = re.fullmatch(r"\s*([A-Za-z][\w ]*?)\s*=\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*", text)
        try:
            return cls(found[1], float(found[2]))  # type: ignore[index]  # no match is a TypeError, answered below
        except (TypeError, ValueError):
            raise Problem(f'until "{text}" is no target. Write a validation score and a number: nats=-90.') from None

    def reached(self, name: str, value: float) -> bool:
        """Return whether a validation got there; a name with a minus is a distance, negated so that higher is better."""
        return value >= (-self.bar if name.startswith("-") else self.bar)


def plain(name: str, value: float) -> tuple[str, float]:
    """Return a validation as people read it: a distance, negated for the machine, as it is.

    Example:
        >>> plain("nats", -91.2), plain("-kid", -0.03)
        (('nats', -91.2), ('kid', 0.03))
    """
    return (name[1:], -value) if name.startswith("-") else (name, value)


@dataclass
class Best:
    """The best validation so far, and the weights to fall back on.

    Arguments:
        step: Step of the best validation.
        name: What was validated, "nats" or, for a distance, "-kid".
        value: Its score, higher is better; None before the first.
        bad: Validations since then.
        kept: Step of the weights.
        weights: Those of the best validation, or the last ones that were sound.
    """

    step: int = 0
    name: str = ""
    value: float | None = None
    bad: int = 0
    kept: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return everything but the weights."""
        return {"step": self.step, "name": self.name, "value": self.value, "bad": self.bad, "kept": self.kept}

    def shown(self) -> dict[str, float]:
        """Return the best value for people, nothing without one."""
        return {} if self.value is None else {"best": plain(self.name, self.value)[1]}

    def offer(self, net: nn.Module, step: int, found: tuple[str, float] | None = None, *, latest: bool = False) -> None:
        """Keep a copy of the weights if a validation found them better, if none was found yet, or if the `latest` are wanted."""
        name, value = found or ("", None)
        better = value is not None and math.isfinite(value) and (self.value is None or value > self.value)
        if better:
            self.step, self.name, self.value, self.bad = step, name, value, 0
        elif value is not None:
            self.bad += 1
        if better or latest or self.value is None:
            self.kept, self.weights = step, {k: v.detach().clone() for k, v in net.state_dict().items()}


def broken_weight(net: nn.Module) -> str | None:
    """Return the name of a parameter that is not finite, if there is one."""
    return next((name for name, p in net.named_parameters() if not bool(torch.isfinite(p).all())), None)
