"""Progress of a fit for people: a live line per model on a terminal, now and then a plain line elsewhere.

`Progress` is a watcher: give it to `fit(watch=[...])` or `compare(watch=[...])`. It writes to stderr only, so that stdout stays
free for data, and honours `NO_COLOR`.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from .model import Event

BAR = 26
SHOWN_VALUES = 4
PLAIN_EVERY = 5.0
_SMALL_PARTS = ("best",)


class Progress:
    """Shows events of running fits.

    Arguments:
        console: Where to show them; stderr by default.
        every: Seconds between two plain lines of a model where there is no terminal.

    Example:
        >>> import io
        >>> from types import SimpleNamespace
        >>> from rich.console import Console
        >>> from genlearn.model import Event
        >>> out = io.StringIO()
        >>> gmm = SimpleNamespace(name=lambda: "gmm")
        >>> with Progress(Console(file=out, width=100)) as watch:
        ...     watch(Event(gmm, "fit", 41, None, 2.1, {"nats": -44.0}, done=True, note="converged after 41 passes"))
        >>> out.getvalue()
        'gmm      nats -44  converged after 41 passes  2.1 s\\n'
    """

    def __init__(self, console: Console | None = None, *, every: float = PLAIN_EVERY) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True, highlight=False)
        self.every = every
        self._live: Any = None
        self._printed = 0.0
        self._running: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.done:
            self.close()
            self.console.print(self._line(event), soft_wrap=True)
            self._running = None
        elif self.console.is_terminal:
            self._show(event)
        else:
            self._log(event)

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, event: Event) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        line = self._line(event)
        line.truncate(self.console.width, overflow="ellipsis")
        self._live.update(line)

    def _log(self, event: Event) -> None:
        now = time.monotonic()
        if event.model is not self._running:
            self._running, self._printed = event.model, now
        if now - self._printed >= self.every or event.note:
            self._printed = now
            self.console.print(self._line(event), soft_wrap=True)

    def _line(self, event: Event) -> Text:
        """Return `vae      ██████░░░░  nats -41.2  kl 9.8  ETA 12 s`."""
        from rich.text import Text

        line = Text.assemble((f"{event.model.name():<8} ", "bold"))
        share = 1.0 if event.done else event.step / event.steps if event.steps else None
        parts: list[Text] = []
        if self.console.is_terminal and share is not None:
            full = round(BAR * min(1.0, share))
            parts.append(Text("█" * full, style="cyan") + Text("░" * (BAR - full), style="dim"))
        elif not event.done:
            of = f" of {event.steps:,}" if event.steps else ""
            parts.append(Text(f"{event.stage} {event.step:,}{of}"))
        values = [f"{k} {_number(v)}" for k, v in event.values.items() if k not in _SMALL_PARTS][:SHOWN_VALUES]
        parts += [Text(v) for v in values]
        if event.note:
            parts.append(Text(event.note))
        if event.done:
            parts.append(Text(duration(event.seconds), style="bold"))
        elif share and event.seconds > 0:
            parts.append(Text(f"ETA {duration(event.seconds * (1 - share) / share)}", style="bold"))
        else:
            parts.append(Text(duration(event.seconds)))
        return line.append_text(Text("  ").join(parts))


def _number(value: float) -> str:
    """Return a number in at most four digits, without noise: -41.2, 9.82, 0.0031, 12,400."""
    if value != value or abs(value) == float("inf"):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a duration as people write it.

    Example:
        >>> duration(2.13), duration(75), duration(7380)
        ('2.1 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
