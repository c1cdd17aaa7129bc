"""What the command says: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from ..progress import Progress
    from .flags import Shared


_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


def begin(argv: Sequence[str]) -> None:
    """Begin a call: keep its words for `run.json`, and speak unless it says otherwise."""
    _WORDS.set(tuple(argv))
    _QUIET.set(False)


def be_quiet() -> None:
    """Say nothing on stderr for the rest of this call but complaints."""
    _QUIET.set(True)


def words() -> str:
    """Return the command line of this call as a person would type it."""
    import shlex

    return shlex.join(("genlearn", *_WORDS.get()))


def first_process() -> bool:
    """Return whether this process speaks and writes; under `torchrun` only one does."""
    return os.environ.get("RANK", "0") == "0"


def complain(message: str) -> None:
    """Print one line on stderr."""
    print(f"genlearn: {' '.join(message.split())}", file=sys.stderr)


def note(*lines: str) -> None:
    """Print lines on stderr, unless `--quiet` was asked for."""
    if not _QUIET.get() and first_process():
        for line in lines:
            print(line, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print the answer on stdout."""
    if first_process():
        print(text, flush=True)


def answer(shared: Shared, value: Any, text: str | Any) -> None:
    """Give an answer: JSON with `--json`, else text or a rich table; `--out FILE` gets the JSON as well."""
    from ..store import to_jsonable, write_json

    if shared.out and first_process():
        write_json(Path(shared.out), value)
        note(f"wrote {shared.out}")
    if shared.as_json:
        say(json.dumps(to_jsonable(value), indent=1, ensure_ascii=False))
    elif isinstance(text, str):
        say(text)
    elif first_process():
        stdout().print(text)


def stdout() -> Console:
    """Return a console on stdout; wide where it is no terminal, so that no table is cut."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> Any:
    """Return a plain rich table."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in columns:
        built.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        built.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return built


def facts(values: Mapping[str, Any]) -> Any:
    """Return a table of names and values."""
    from rich.table import Table
    from rich.text import Text

    built = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    built.add_column(style="bold", no_wrap=True)
    built.add_column(overflow="fold")
    for name, value in values.items():
        built.add_row(name, Text(str(value)))
    return built


def dry_run(shared: Shared, verb: str, options: Mapping[str, Any], plan: Sequence[str] = ()) -> bool:
    """With `--dry-run`, print the resolved options and the plan and return True: the verb stops there."""
    if not shared.dry_run:
        return False
    shown = {"verb": verb, **options}
    text = "\n".join([f"{k}: {_listed(v)}" for k, v in shown.items()] + list(plan))
    answer(_without_out(shared), {**shown, "plan": list(plan)}, text)
    return True


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "-"
    return "-" if value is None else str(value)


def _without_out(shared: Shared) -> Shared:
    from dataclasses import replace

    return replace(shared, out=None)


def watchers() -> Progress | None:
    """Return a progress display, or None where nobody wants one."""
    from ..progress import Progress

    return None if _QUIET.get() or not first_process() else Progress()
