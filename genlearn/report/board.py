"""The outcome of a comparison: rows, verdict, and the leaderboard as a person reads it in a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import ranks
from ..metrics import Result
from .rows import Row
from .verdict import Verdict, judge

if TYPE_CHECKING:
    from rich.table import Table

SHORT = {"accuracy": "acc"}


class Board:
    """What `compare` returns: one row per model, references, a verdict, the fitted winner and a report.

    Arguments:
        folder: Run folder; models lie in its subfolders.
        data: What was compared on: name, summary, notes, split, counts.
        rows: The candidates, best first.
        references: Real held-out data, marginals, copycat and other yardsticks.
        skipped: Models that cannot take the data: `{"name": ..., "reason": ...}`.
        run: How it was made: command, versions, seeds, budget.
        interrupted: What stopped it before all models were done; None if nothing did.
    """

    def __init__(
        self,
        folder: Path,
        data: dict[str, Any],
        rows: Sequence[Row],
        references: Sequence[Row],
        skipped: Sequence[dict[str, str]] = (),
        *,
        run: dict[str, Any] | None = None,
        interrupted: KeyboardInterrupt | None = None,
    ) -> None:
        self.folder, self.data, self.skipped, self.run = folder, data, list(skipped), run or {}
        self.rows = sorted(rows, key=_rank)
        self.references = list(references)
        self.interrupted = interrupted

    @cached_property
    def decision(self) -> Verdict:
        """The verdict with its parts."""
        return judge(self.rows, self.references)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return self.decision.text

    @cached_property
    def best(self) -> Any:
        """The fitted model to keep (its first seed); None if there is none."""
        from ..model import Model

        return None if self.decision.keep is None else Model.load(self.folder / self.decision.keep)

    def to_json(self) -> dict[str, Any]:
        """Return the board in the schema of `report.json`."""
        return {
            "data": self.data,
            "models": [row.to_json() for row in self.rows],
            "references": [row.to_json() for row in self.references],
            "skipped": self.skipped,
            "verdict": self.decision.to_json(),
            "run": {**self.run, "interrupted": self.interrupted is not None},
        }

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one offline HTML file, to `path` (default: `report.html` in the run folder); return its path."""
        from . import write

        written = self.folder / "report.html"
        path = written if path is None else Path(path)
        with ranks.first_does(f"report {path}") as writes:
            if writes:
                write(self.folder)
                if path.resolve() != written.resolve():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(written, path)
        return path

    def __repr__(self) -> str:
        return f"{leaderboard(self)}\n{self.verdict}"


def _rank(row: Row) -> tuple[bool, float, str]:
    value = row.value("auc")
    return (value is None, value if value is not None else 0.0, row.name)


# -- the leaderboard ---------------------------------------------------------------------------------------------------
def number(value: float | None, digits: int = 2) -> str:
    """Return a number for a table, a dash where there is none.

    Example:
        >>> number(0.6149), number(-39.81, 1), number(None)
        ('0.61', '-39.8', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def interval(result: Result, digits: int = 2) -> str:
    """Return `0.61 [.58 .64]`: a value with its 95 % interval.

    Example:
        >>> interval(Result(0.612, 0.581, 0.643, 360))
        '0.61 [.58 .64]'
    """
    if result.value is None or result.low is None or result.high is None:
        return number(result.value, digits)
    low, high = (f"{v:.{digits}f}".replace("0.", ".", 1) for v in (result.low, result.high))
    return f"{result.value:.{digits}f} [{low} {high}]"


def duration(seconds: float | None) -> str:
    """Return seconds as a person says them.

    Example:
        >>> duration(0.2), duration(2.13), duration(20.4), duration(312), duration(None)
        ('0.2 s', '2.1 s', '20 s', '5.2 min', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def copying(flag: bool | None) -> str:
    """Return the outcome of the copy test in a word."""
    return {True: "YES", False: "no", None: "?"}[flag]


def columns(board: Board) -> list[tuple[str, bool]]:
    """Return the headings of the leaderboard that have something to show, and whether they are numbers (right-aligned)."""
    every = [*board.rows, *board.references]
    heads = [("model", False)]
    if any("nats" in row.metrics for row in every):
        heads.append(("nats/record", True))
    heads += [("two-sample AUC", True), ("coverage", True)]
    if any(row.value("useful") is not None for row in every):
        unit = SHORT.get(board.data.get("useful", ""), board.data.get("useful", ""))
        heads.append((f"useful ({unit})" if unit else "useful", True))
    return [*heads, ("copies", False), ("fit", True)]


def cells(row: Row, heads: Sequence[tuple[str, bool]]) -> list[str]:
    """Return the leaderboard line of a row."""
    nothing = Result(None, None, None, 0)
    metric = {name: row.metrics.get(name, nothing) for name in ("nats", "auc", "coverage", "useful")}
    nats = f"{number(metric['nats'].value, 1)} {row.kind or ''}".strip() if metric["nats"].value is not None else "-"
    shown = {
        "model": row.name, "nats/record": nats, "two-sample AUC": interval(metric["auc"]), "coverage": interval(metric["coverage"]),
        "useful": number(metric["useful"].value), "copies": copying(row.copies), "fit": duration(row.cost.get("seconds")),
    }  # fmt: skip
    return [shown[head.split(" (")[0]] for head, _ in heads]


def _lines(board: Board) -> list[Row]:
    """Real data first, the candidates by rank, then the other yardsticks."""
    return [*board.references[:1], *board.rows, *board.references[1:]]


def leaderboard(board: Board) -> str:
    """Return the leaderboard as aligned text, for logs and pipes."""
    heads = columns(board)
    table = [[head for head, _ in heads], *(cells(row, heads) for row in _lines(board) if row.error is None)]
    widths = [max(len(line[j]) for line in table) for j in range(len(heads))]
    text = [
        "   ".join(
            c.rjust(w) if right else c.ljust(w) for c, w, (_, right) in zip(line, widths, heads, strict=True)
        ).rstrip()
        for line in table
    ]
    return "\n".join([*text, *remarks(board)])


def remarks(board: Board) -> list[str]:
    """Return a line for every model that failed or was left out, with the reason."""
    failed = [f"{row.name}: failed. {row.error}" for row in _lines(board) if row.error is not None]
    partly = []
    for row in _lines(board):
        bad = [t.error for t in row.trials if t.error is not None]
        if bad and row.good:
            partly.append(f"{row.name}: {len(bad)} of {len(row.trials)} seeds failed. {bad[0]}")
    left_out = [f"{entry['name']}: left out. {entry['reason']}" for entry in board.skipped]
    return [*failed, *partly, *left_out]


def leaderboard_table(board: Board) -> Table:
    """Return the leaderboard for a terminal: the model to keep stands out, yardsticks step back, copying warns."""
    from rich.table import Table

    heads = columns(board)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head, right in heads:
        table.add_column(head, justify="right" if right else "left", no_wrap=True)
    for row in _lines(board):
        if row.error is None:
            style = "bold" if row.name == board.decision.keep else "dim" if row.reference else ""
            line = cells(row, heads)
            table.add_row(*(f"[red]{c}[/red]" if c == "YES" else c for c in line), style=style)
    return table
