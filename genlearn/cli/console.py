"""What the command says: answers on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Problem, Terminated, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from ..model import Model
    from ..progress import Progress
    from .flags import Shared


UNBOUNDED = 10_000  # columns of a pipe: one record, one line

_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


def begin(argv: Sequence[str]) -> None:
    """Begin a call: keep its words for `run.json`, speak unless it says otherwise, in UTF-8 wherever no terminal decides."""
    _WORDS.set(tuple(argv))
    _QUIET.set(False)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before the start: nobody listens
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, by an exception: what was begun is left whole, and the end is said."""

    def receive(number: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals
        yield
        return
    before = signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def forget_stdout() -> None:
    """Send what is still to be written to stdout nowhere: nobody takes it, and Python would complain of that at the end."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    """Print one line on stderr; of processes that stumble together, one says it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .. import ranks

        if not ranks.complains():
            return
    print(f"genlearn: {one_line(' '.join(message.split()))}", file=sys.stderr, flush=True)


def note(*lines: str) -> None:
    """Print lines on stderr, unless `--quiet` was asked for."""
    if not _QUIET.get() and first_process():
        for line in lines:
            print(line, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print the answer on stdout; go on without where the reader of a pipe has had enough."""
    if first_process():
        try:
            print(text, flush=True)
        except BrokenPipeError:
            forget_stdout()


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print the answer as JSON: one document."""
    from ..store import to_jsonable

    say(json.dumps(to_jsonable(value), indent=indent, ensure_ascii=False, allow_nan=False))


def answer(shared: Shared, value: Any, text: str | Any, *, file: str | None = None) -> None:
    """Give an answer: JSON with `--json`, else text or a rich table; `--out FILE` gets the JSON as well, or the text of a `file`."""
    if shared.out and first_process():
        from ..store import json_bytes, write_bytes

        try:
            write_bytes(Path(shared.out), json_bytes(value) if file is None else file.encode())
        except OSError as e:
            raise Problem(f"cannot write {shared.out} ({e.strerror or e}). Choose another --out.") from None
        note(f"wrote {shared.out}")
    if shared.as_json:
        say_json(value, indent=1)
    elif isinstance(text, str):
        say(text)
    else:
        draw(text)


def draw(table: Any) -> None:
    """Print a rich table: folded to a terminal's width as far as it allows, in full for pipes."""
    screen = stdout()
    needed = screen.measure(table, options=screen.options.update(width=UNBOUNDED))
    folds = not all(column.no_wrap for column in table.columns)
    screen.width = max(screen.width, needed.minimum if folds else needed.maximum)
    show(screen, table)


def show(screen: Console, *parts: Any) -> None:
    """Print what rich draws, each part from a new line, without spaces at the ends of lines."""
    with screen.capture() as caught:
        screen.print(*parts, sep="\n", soft_wrap=len(parts) > 1)
    say("\n".join(line.rstrip() for line in caught.get().splitlines()))


def stdout(piped: int = UNBOUNDED) -> Console:
    """Return a console on stdout, so many columns wide where it is no terminal."""
    return _console(sys.stdout, piped)


def _console(stream: Any, piped: int | None) -> Console:
    """Return a console that colours on terminals, never with `NO_COLOR` or `TERM=dumb`, and always with `FORCE_COLOR`."""
    from rich.console import Console

    ask = os.environ.get
    forced = ask("FORCE_COLOR", "") not in ("", "0") or ask("CLICOLOR_FORCE", "") not in ("", "0")
    coloured = (stream.isatty() or forced) and not ask("NO_COLOR") and ask("TERM") != "dumb"
    return Console(
        file=stream, highlight=False, width=None if stream.isatty() or ask("COLUMNS") else piped,
        color_system="auto" if coloured else None, force_terminal=stream.isatty() or forced,
    )  # fmt: skip


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


@contextlib.contextmanager
def followed(model: Model, what: str) -> Iterator[None]:
    """Show how far a model is with what it is asked for inside the block."""
    progress = watchers()
    with progress.during(model, what) if progress else contextlib.nullcontext():
        yield


def watchers() -> Progress | None:
    """Return a progress display, or None where nobody wants one."""
    from ..progress import Progress

    if _QUIET.get() or not first_process():
        return None
    return Progress(_console(sys.stderr, None), live=sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
