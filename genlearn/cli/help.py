"""What `--help` prints: what a verb does, examples, arguments, and flags in panels; in plain text that fits any width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from .console import show, stdout

if TYPE_CHECKING:
    from rich.text import Text

WIDEST, NARROW = 100, 60  # columns: longer lines are hard to read; on fewer, explanations go below what they explain
TERM = 26  # columns for the name of a flag
OWN, LAST = "Flags", "Shared flags"

FIRST_STEPS = (
    ("genlearn demo", "all of it in a minute"),
    ("genlearn compare customers.csv --target churn", "which model fits my data?"),
    ("genlearn fit gmm wine --out runs/wine", "learn a bundled data set"),
    ("genlearn sample runs/wine -n 5", "new records"),
)


class Verb(TyperCommand):
    """A verb whose help is laid out here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        every: list[Any] = self.get_params(ctx)
        words = [_argument(p) for p in every if not _is_flag(p)]
        lines = [f"Usage: {' '.join([ctx.command_path, *words])} [flags]", "", *_wrapped(self.help or "")]
        lines += ["", *_panel("Examples", examples_of(self))]
        lines += _rows("Arguments", [(_name(p), p.help or "") for p in every if not _is_flag(p)])
        panels: dict[str, list[Any]] = {}
        for p in every:
            if _is_flag(p) and not p.hidden:
                panels.setdefault(p.rich_help_panel or OWN, []).append(p)
        for name in sorted(panels, key=lambda name: (name == LAST, name != OWN)):
            lines += _rows(name, [(_name(p), _help(p)) for p in panels[name]])
        _print(lines)


class Verbs(TyperGroup):
    """The command itself: first steps, then its verbs in panels."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        lines = ["Usage: genlearn VERB ... [flags]", "", *_wrapped(self.help or ""), "", *first_steps()]
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            verb: Any = self.get_command(ctx, name)
            panels.setdefault(str(verb.rich_help_panel), []).append((name, verb.help or ""))
        for panel, verbs in panels.items():
            lines += _rows(panel, verbs)
        flags: list[Any] = self.get_params(ctx)
        lines += _rows(OWN, [(_name(p), p.help or "") for p in flags])
        lines += [
            *_wrapped("`genlearn VERB --help` explains a verb, `genlearn fit MODEL --help` the settings of a model.")
        ]
        _print(lines)


def first_steps() -> list[str]:
    """Return what a newcomer types first."""
    width = max(len(line) for line, _ in FIRST_STEPS)
    wide = _width() >= 80
    return _panel("First steps", [f"$ {line:<{width}}  # {why}" if wide else f"$ {line}" for line, why in FIRST_STEPS])


def welcome() -> None:
    """Print what `genlearn` alone says."""
    _print(["Generative models for people with real data.", "", *first_steps(), "`genlearn --help` lists all verbs."])


def examples_of(verb: Any) -> list[str]:
    """Return the command lines that a verb's docstring gives as examples, each with `$` in front."""
    return [line.strip() for line in (verb.epilog or "").splitlines() if line.strip().startswith("$")]


def split(docstring: str) -> tuple[str, str]:
    """Return the first paragraph of a verb's docstring on one line, and its examples."""
    about, _, rest = docstring.partition("\n\n")
    return " ".join(about.split()), rest.partition("Examples:\n")[2]


# -- layout ------------------------------------------------------------------------------------------------------------
def _is_flag(p: Any) -> bool:
    return bool(p.opts[0].startswith("-"))


def _argument(p: Any) -> str:
    word = p.metavar or p.name.upper()
    return word if p.required or word.startswith("[") else f"[{word}]"


def _name(p: Any) -> str:
    if not _is_flag(p):
        return str(p.metavar or p.name.upper()).strip("[].")
    flags = sorted([*p.opts, *p.secondary_opts], key=len)
    return f"{', '.join(flags)} {p.metavar or ''}".rstrip()


def _help(p: Any) -> str:
    shown = p.show_default if isinstance(p.show_default, str) else p.default
    if p.is_flag or shown is None or shown == [] or not p.show_default:
        return p.help or ""
    return f"{p.help or ''} [default: {shown}]"


def _width() -> int:
    return min(WIDEST, stdout(piped=80).width)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _width(), break_on_hyphens=False)


def _panel(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines), ""] if lines else []


def _rows(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return names beside explanations, or above them where there is no room beside."""
    rows, width = list(rows), _width()
    longest = max((len(name) for name, _ in rows), default=0)
    left = 2 if width < NARROW else min(TERM, longest) + 2
    lines: list[str] = []
    for name, text in rows:
        told = textwrap.wrap(text, max(20, width - left - 2), break_on_hyphens=False) or [""]
        if len(name) + 2 > left:
            lines.append(name)
        else:
            lines.append(f"{name:<{left}}{told.pop(0)}".rstrip())
        lines += [" " * left + line for line in told]
    return _panel(title, lines)


def _print(lines: Sequence[str]) -> None:
    show(stdout(piped=80), *map(_styled, lines if lines[-1] else lines[:-1]))


def _styled(line: str) -> Text:
    """Return a line with its heading, flags or command in bold."""
    from rich.text import Text

    text = Text(line)
    text.highlight_regex(r"^(Usage|[A-Z][\w ]*:)(?=\s|$)", "bold")
    text.highlight_regex(r"(?<=^  )(-[\w-]+(, -[\w/-]+)*)", "cyan")
    text.highlight_regex(r"(?<=^  )\$ [^#]*", "green")
    return text
