"""What a run wrote down: rows of numbers, also as JSON lines in the run folder, and the values since the last row."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import ranks, store

FILE = "history.jsonl"


@dataclass
class Waiting:
    """Values of one term of a player since the last row, and the steps that they belong to."""

    player: str
    steps: list[int] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class History:
    """Rows such as `{"step": 200, "seconds": 1.4, "stage": "train", "nats": -93.1}`.

    Arguments:
        folder: Run folder, where the first process keeps `history.jsonl`; None keeps rows in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.waiting: dict[str, Waiting] = {}
        self._file = folder / FILE if folder and ranks.is_first() else None

    def begin(self, rows: list[dict[str, Any]]) -> None:
        """Start the file with these rows: none, or those of the checkpoint that a run goes on from."""
        self.rows = rows
        if self._file:
            store.write_bytes(self._file, "".join(_line(row) for row in rows).encode())

    def add(self, step: int, player: str, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Take note of a move; nothing waits for the device that computes it."""
        for name, value in terms.items():
            self._note(step, player, name, value)
        self._note(step, player, player if player not in terms else f"{player} loss", loss)

    def _note(self, step: int, player: str, name: str, value: Tensor) -> None:
        if (found := self.waiting.get(name)) is None:
            found = self.waiting[name] = Waiting(player)
        found.steps.append(step)
        found.values.append(value.detach())

    def broken(self) -> tuple[int, str, float] | None:
        """Return step, name and value of the first term since the last row that is not finite."""
        first: tuple[int, str, float] | None = None
        for name, term in self.waiting.items():
            values = torch.stack(term.values)
            bad = torch.isfinite(values).logical_not().nonzero()
            if len(bad) and (first is None or term.steps[int(bad[0])] < first[0]):
                at = int(bad[0])
                first = term.steps[at], f'{name} of turn "{term.player}"', float(values[at])
        return first

    def means(self) -> dict[str, float]:
        """Return the mean of every term since the last row, over all processes, and begin anew."""
        values, self.waiting = self._averaged(), {}
        return {name: float(v.double().mean()) for name, v in values.items()}

    def last(self) -> dict[str, float]:
        """Return the values of the last training row."""
        row: dict[str, Any] = next((r for r in reversed(self.rows) if "stage" in r), {})
        return {k: v for k, v in row.items() if k not in ("step", "seconds", "stage")}

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; numbers that are not finite, which JSON does not know, are left out."""
        row = {k: v for k, v in row.items() if not isinstance(v, float) or math.isfinite(v)}
        self.rows.append(row)
        if self._file is None:
            return
        if not self._file.exists():  # somebody deleted it, perhaps with its folder: nothing is lost by that
            return self.begin(self.rows)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def packed(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what waits for the next row: players and steps, and values averaged over processes, of every term."""
        return {name: [term.player, term.steps] for name, term in self.waiting.items()}, self._averaged()

    def _averaged(self) -> dict[str, Tensor]:
        """Return what waits, averaged over processes value by value: it has the same bits when it is read back."""
        if not self.waiting:
            return {}
        values = [torch.stack(term.values).cpu() for term in self.waiting.values()]
        averaged = ranks.mean(torch.cat(values)).split([len(v) for v in values])
        return dict(zip(self.waiting, averaged, strict=True))

    def unpack(self, facts: dict[str, Any], values: dict[str, Tensor]) -> None:
        """Undo `packed`."""
        self.waiting = {k: Waiting(player, steps, list(values[k].unbind())) for k, (player, steps) in facts.items()}


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
