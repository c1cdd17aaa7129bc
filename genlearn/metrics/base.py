"""What every metric gives: a value with its interval, and the card that says what the value means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Result:
    """One measured number: the expected value at this `n` with this trained model, with a 95 % interval.

    Arguments:
        value: The estimate; None if it is not available, and `note` says why.
        low: Lower end of the 95 % interval; None for numbers that carry none.
        high: Upper end.
        n: How many records (of each side) it was measured on.
        note: What a reader must know beside the number.
        blocks: `(blocks,)` values with one block of records left out each; they make paired differences possible and are
            never stored.

    Example:
        >>> Result(0.61, 0.58, 0.64, n=360)
        Result(0.61 [0.58 0.64], n=360)
        >>> Result.unavailable("no labels", n=360)
        Result(not available: no labels, n=360)
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""
    blocks: np.ndarray | None = field(default=None, compare=False, repr=False)

    @classmethod
    def unavailable(cls, why: str, n: int = 0) -> Self:
        """Return the result of a metric that these records do not allow."""
        return cls(None, n=n, note=why)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def __repr__(self) -> str:
        if self.value is None:
            return f"Result(not available: {self.note}, n={self.n})"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.4g} {self.high:.4g}]"
        return f"Result({self.value:.4g}{interval}, n={self.n}{', ' + self.note if self.note else ''})"

    def to_json(self) -> dict[str, Any]:
        """Return `value`, `low`, `high`, `n`, `note`; write it with `store.write_json`, which keeps infinities."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "note": self.note}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Self:
        """Rebuild a result from `to_json` (without blocks)."""
        return cls(spec["value"], spec["low"], spec["high"], spec["n"], spec["note"])


@dataclass(frozen=True)
class Metric:
    """One question to generated records.

    Arguments:
        name: Key of its `Result` in a judgement.
        title: What tables print.
        question: The question that it answers.
        direction: Whether `lower` or `higher` is better.
        needs: What it takes: any of `table`, `image`, `labels`, `latent`, `scores`; empty for records of any kind.
        explain: Two plain sentences for a reader.
        fn: The pure function that computes it.
    """

    name: str
    title: str
    question: str
    direction: Direction
    needs: frozenset[str]
    explain: str
    fn: Callable[..., Any]
