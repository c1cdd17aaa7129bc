"""Progress for people: a live line per model on a terminal, now and then a plain line elsewhere.

`Progress` is a watcher: give it to `fit(watch=[...])` or `compare(watch=[...])`, or ask a fitted model within `during`. It
writes to stderr only, so that stdout stays free for data, and honours `NO_COLOR`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .counting import listening
from .events import Event

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from .model import Model

BAR = 26
SHOWN_VALUES = 4
PLAIN_EVERY, PLAIN_PAUSE = 5.0, 60.0  # seconds between plain lines: at first, and after several of them
AT_ONCE = 0.7  # seconds after which an answer is late enough for a line
REFRESH = 8  # live lines a second
_SMALL_PARTS = ("best",)


class Progress:
    """Shows events of running fits.

    Arguments:
        console: Where to show them; stderr by default.
        every: Seconds before the first plain line of a model where there is no terminal; the pause doubles up to a minute.
        live: Show one line that changes; by default where the console is a terminal that can move its cursor.

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

    def __init__(self, console: Console | None = None, *, every: float = PLAIN_EVERY, live: bool | None = None) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True, highlight=False)
        self.every = every
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal if live is None else live
        self._live: Any = None
        self._printed = self._pause = 0.0
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
        elif self.live:
            self._show(event)
        else:
            self._log(event)

    @contextmanager
    def during(self, model: Model, what: str) -> Iterator[None]:
        """Show how far a fitted model is with what it is asked for inside the block.

        Arguments:
            model: The model.
            what: What it does, a word: "score", "impute".

        Example:
            >>> import io
            >>> from rich.console import Console
            >>> from genlearn.models import VAE
            >>> out = io.StringIO()
            >>> vae = VAE(latent=1, samples=2, steps=1, random_state=0).fit([[0.5], [1.5]])
            >>> with Progress(Console(file=out, width=100), every=0).during(vae, "score"):
            ...     score = vae.score([[0.0]])
            >>> out.getvalue()[:16]
            'vae      score 1'
        """
        begun, share = time.monotonic(), 0.0

        def show(done: int, of: int) -> None:
            nonlocal begun, share
            now = time.monotonic()
            if done / of < share:  # another loop
                begun = now
            share = done / of
            if now - begun >= min(AT_ONCE, self.every):
                self(Event(model, what, done, of, now - begun, {}))

        try:
            with listening(show):
                yield
        finally:
            self.close()

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, event: Event) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=REFRESH, transient=True)
            self._live.start()
        if event.note:  # what is worth a sentence stays on the screen
            self.console.print(self._line(event, bar=False), soft_wrap=True)
        line = self._line(event, bar=True)
        line.truncate(self.console.width, overflow="ellipsis")
        self._live.update(line)

    def _log(self, event: Event) -> None:
        now = time.monotonic()
        if event.model is not self._running:
            self._running, self._printed, self._pause = event.model, now, self.every
        due = now - self._printed >= self._pause
        if due:
            self._printed, self._pause = now, min(2 * self._pause, PLAIN_PAUSE)
        if due or event.note:
            self.console.print(self._line(event), soft_wrap=True)

    def _line(self, event: Event, *, bar: bool = False) -> Text:
        """Return `vae      train 250 of 1,000  nats -41.2  kl 9.8  5.0 s, ETA 15 s`, or with a bar in place of the step."""
        from rich.text import Text

        line = Text.assemble((f"{event.model.name():<8} ", "bold"))
        share = event.step / event.steps if event.steps else None
        parts: list[Text] = []
        if bar and share is not None:
            whole = min(BAR, self.console.width // 3)
            full = round(whole * min(1.0, share))
            parts.append(Text("█" * full, style="cyan") + Text("░" * (whole - full), style="dim"))
        elif not event.done:
            of = f" of {event.steps:,}" if event.steps else ""
            parts.append(Text(f"{event.stage} {event.step:,}{of}"))
        values = [f"{k} {number(v)}" for k, v in event.values.items() if k not in _SMALL_PARTS][:SHOWN_VALUES]
        parts += [Text(text) for text in [*values, *([event.note] if event.note else [])]]
        took = duration(event.seconds)
        if share and not event.done and event.step < (event.steps or 0):
            left = f"ETA {duration(event.seconds * (1 - share) / share)}"
            parts.append(Text(left if bar else f"{took}, {left}", style="bold"))
        else:
            parts.append(Text(took, style="bold" if event.done else ""))
        return line.append_text(Text("  ").join(parts))


def number(value: float) -> str:
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
