"""The command `genlearn`: thin verbs over the contract. They name no model.

Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted. Answers go to stdout, progress and messages to
stderr. A mistake is one line that says what, where and the fix; `GENLEARN_DEBUG=1` shows tracebacks.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from .. import __version__
from ..errors import Problem, RunFailed, did_you_mean
from . import boards, latents, look, train, use
from .console import begin, complain, note
from .flags import command, switches
from .runs import read_facts

_VERBS: dict[str, tuple[Callable[..., Any], ...]] = {
    "Learn": (boards.demo, train.fit, boards.compare),
    "Use": (use.sample, use.score, use.impute),
    "Latent space": (latents.encode, latents.decode, latents.reconstruct, latents.interpolate, latents.traverse),
    "Judge and look up": (boards.evaluate, boards.report, look.show, look.models, look.datasets),
}
_Refusal: Any = typer.BadParameter.__mro__[2]  # the base of all of typer's complaints, which it exports under no name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the words of `argv` (default: those of the process); return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    begin(args)
    debug = bool(os.environ.get("GENLEARN_DEBUG"))
    show, warnings.showwarning = warnings.showwarning, _warn
    try:
        code = _app(args)(args=args or ["--help"], prog_name="genlearn", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return 130
    except _Refusal as e:
        complain(_usage(e, args))
        return 2
    except (Problem, RunFailed) as e:
        if debug:
            raise
        complain(str(e))
        return 2 if isinstance(e, Problem) else 1
    except Exception as e:
        if debug:
            raise
        complain(
            f"{type(e).__name__}: {(str(e).splitlines() or ['no message'])[0]} (GENLEARN_DEBUG=1 shows the traceback)"
        )
        return 1
    finally:
        warnings.showwarning = show


def _app(args: Sequence[str]) -> typer.Typer:
    """Return the command; where a model is named after `fit`, that verb has the model's settings as flags."""
    app = typer.Typer(
        name="genlearn",
        help="Generative models for people with real data: fit, sample, score, repair, compare.",
        epilog="Begin with: genlearn demo · genlearn compare SOURCE · genlearn fit MODEL SOURCE",
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for panel, functions in _VERBS.items():
        for function in functions:
            made = command(function, *_settings_after_fit(args)) if function is train.fit else command(function)
            app.command(function.__name__, rich_help_panel=panel)(made)
    return app


def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", is_eager=True, callback=lambda v: _version(v)
    ),
) -> None:
    """Generative models for people with real data: fit, sample, score, repair, compare."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"genlearn {__version__}")
        raise typer.Exit


def _settings_after_fit(args: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """Return the settings of the model that is named after `fit`, and its name.

    Errors:
        Problem: If the first plain word after `fit` names no model.
    """
    if not args or args[0] != "fit":
        return None, ""
    plain: list[str] = []
    skipped: list[str] = []
    after = ""
    for word in args[1:]:
        if word.startswith("-") and word != "-":
            after = word
            continue
        takes_it = after and "=" not in after and after not in switches()
        (skipped if takes_it else plain).append(word)
        after = ""
    from ..model import model_class, model_names

    begun = _resumed_model(args)
    if not plain and not begun:
        return None, ""
    # A switch of the model before its name looks like a flag with a value: then the name is among the skipped words.
    name = begun or next((w for w in plain[:1] + skipped if w in model_names()), plain[0])
    settings = {k: s for k, s in model_class(name).settings().items() if k != "random_state"}
    return settings, name


def _resumed_model(args: Sequence[str]) -> str:
    """Return the model of the run that `--resume` names; empty if there is none, which `fit` itself will complain about."""
    words = [word.removeprefix("--resume=") for word in args if word.startswith("--resume=")]
    words += [after for word, after in pairwise(args) if word == "--resume"]
    return str(read_facts(Path(words[-1])).get("model", "")) if words else ""


def _usage(error: Any, args: Sequence[str]) -> str:
    """Return typer's message in the form of all others, with the closest flag or verb."""
    text = str(error.format_message()).strip().rstrip(".")
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "genlearn")
    if model := _settings_after_fit(args)[1]:
        path = f"{path} {model}"
    if (wrong := getattr(error, "option_name", None)) and text.lower().startswith("no such option"):
        known = [o for p in context.command.params for o in (*p.opts, *p.secondary_opts)] if context else []
        return f"{path.removeprefix('genlearn ')} has no flag {wrong}.{did_you_mean(wrong, known)} `{path} --help` lists all."
    if text.lower().startswith("no such command"):
        wrong = text.split("'")[1] if "'" in text else text
        known = [f.__name__ for functions in _VERBS.values() for f in functions]
        return f'no verb "{wrong}".{did_you_mean(wrong, known)} `genlearn --help` lists all.'
    return f"{path.removeprefix('genlearn ')}: {text[:1].lower()}{text[1:]}. `{path} --help` shows how."


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning):
        note(f"note: {' '.join(str(message).split())}")


__all__ = ["main"]
