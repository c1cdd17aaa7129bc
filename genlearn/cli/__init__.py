"""The command `genlearn`: thin verbs over the contract. They name no model.

Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted, 143 ended by SIGTERM. Answers go to stdout, progress
and messages to stderr. A mistake is one line that says what, where and the fix; `GENLEARN_DEBUG=1` shows tracebacks.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from .. import __version__
from ..errors import Problem, RunFailed, did_you_mean
from ..registry import model_names
from . import boards, completion, compress, latents, look, predict, spaces, train, use
from .completion import line_so_far
from .console import begin, complain, ended_by_sigterm, forget_stdout, note, say
from .flags import command, switches
from .help import Verb, Verbs, split, welcome
from .journal import glance

_VERBS: dict[str, tuple[Callable[..., Any], ...]] = {
    "Learn": (boards.demo, train.fit, boards.compare),
    "Use": (use.sample, use.score, use.impute, predict.predict),
    "Latent space": (
        latents.encode,
        latents.decode,
        latents.reconstruct,
        latents.interpolate,
        latents.traverse,
        spaces.latents,
        spaces.bounds,
    ),
    "Store": (compress.compress, compress.decompress),
    "Judge": (boards.evaluate, boards.report),
    "Look up": (look.show, look.models, look.datasets, completion.completion),
}
_Refusal: Any = typer.BadParameter.__mro__[2]  # the base of all of typer's complaints, which it exports under no name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the words of `argv` (default: those of the process); return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    begin(args)
    debug = bool(os.environ.get("GENLEARN_DEBUG"))
    show, warnings.showwarning = warnings.showwarning, _warn
    try:
        if not train.takes_part("".join(args[:1])):
            return 0
        with ended_by_sigterm():
            code = _done(args)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort) as e:
        complain(str(e) or "interrupted")
        return getattr(e, "exit_code", 130)
    except _Refusal as e:
        complain(_usage(e, args))
        return 2
    except Exception as e:
        if debug:
            raise
        return _failed(e)
    finally:
        warnings.showwarning = show


def _done(args: list[str]) -> Any:
    """Do what the words say; return an exit code, or anything else for success."""
    asked = line_so_far()
    if not args and asked is None:
        return welcome()
    if args[:1] == ["help"]:
        args = [*args[1:2], "--help", *args[2:]] if args[1:2] != ["fit"] else [*args[1:], "--help"]
    app = _app(args if asked is None else asked, lenient=asked is not None)
    return app(args=args, prog_name="genlearn", standalone_mode=False)


def _failed(e: Exception) -> int:
    """Say in one line what went wrong; return the exit code."""
    if isinstance(e, Problem | RunFailed):
        complain(str(e))
        return 2 if isinstance(e, Problem) else 1
    if isinstance(e, OSError) and e.errno == errno.ENOSPC:
        forget_stdout()
        complain(f"cannot write ({e.strerror}). Free the disk, or send the output elsewhere.")
        return 1
    told = (str(e).splitlines() or ["no message"])[0]
    if isinstance(e, MemoryError) or "can't allocate memory" in told or "out of memory" in told:
        complain("there is not enough memory. Ask for fewer records (-n), or a smaller --batch, --hidden or --latent.")
        return 1
    complain(f"{type(e).__name__}: {told} (GENLEARN_DEBUG=1 shows the traceback)")
    return 1


def _app(args: Sequence[str], *, lenient: bool = False) -> typer.Typer:
    """Return the command; where a model is named after `fit`, that verb has the model's settings as flags."""
    app = typer.Typer(
        name="genlearn",
        cls=Verbs,
        help="Generative models for people with real data: fit, sample, score, repair, compare.",
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    names = {function.__name__ for functions in _VERBS.values() for function in functions}
    for panel, functions in _VERBS.items():
        for function in functions:
            if args[:1] != [function.__name__] and names.intersection(args[:1]):
                continue  # one verb is made in a tenth of the time of all
            settings = _settings_after_fit(args, lenient=lenient) if function is train.fit else (None, "")
            about, examples = split(function.__doc__ or "")
            verb = app.command(function.__name__, cls=Verb, rich_help_panel=panel, help=about, epilog=examples)
            verb(command(function, *settings))
    return app


def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", is_eager=True, callback=lambda v: _version(v)
    ),
) -> None:
    """Generative models for people with real data: fit, sample, score, repair, compare."""


def _version(wanted: bool) -> None:
    if wanted:
        say(f"genlearn {__version__}")
        raise typer.Exit


def _settings_after_fit(args: Sequence[str], *, lenient: bool) -> tuple[dict[str, Any] | None, str]:
    """Return the settings of the model that is named after `fit`, and its name.

    Errors:
        Problem: If the first plain word after `fit` names no model, unless that is no matter.
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
    begun = _model_of_run(args)
    if not plain and not begun:
        return None, ""
    # A switch of the model before its name looks like a flag with a value: then the name is among the skipped words.
    name = begun or next((w for w in plain[:1] + skipped if w in model_names()), plain[0])
    if lenient and name not in model_names():
        return None, ""
    if name not in model_names() and Path(name).exists():
        fix = f"Swap the words: genlearn fit {plain[1]} {name}." if plain[1:2] and plain[1] in model_names() else ""
        raise Problem(f"{name} is data, no model. {fix or f'Name a model before it: genlearn fit MODEL {name}.'}")
    from .outline import settings_of_model

    return settings_of_model(name), name


def _model_of_run(args: Sequence[str]) -> str:
    """Return the model of the run that `--resume` or `--like` names; empty if there is none, of which `fit` will complain."""
    named = {flag: after for flag, after in pairwise(args)} | dict(w.split("=", 1) for w in args if "=" in w)
    folder = named.get("--resume", named.get("--like"))
    return "" if folder is None else str(glance(Path(folder)).get("model", ""))


def _usage(error: Any, args: Sequence[str]) -> str:
    """Return typer's message in the form of all others, with the closest flag or verb."""
    text = str(error.format_message()).strip().rstrip(".")
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "genlearn")
    if model := _settings_after_fit(args, lenient=True)[1]:
        path = f"{path} {model}"
    if (wrong := getattr(error, "option_name", None)) and text.lower().startswith("no such option"):
        known = [o for p in context.command.params for o in (*p.opts, *p.secondary_opts)] if context else []
        wrong = next((w for w in args if w.startswith(wrong)), wrong)  # of -latent, typer names the -l
        bare = did_you_mean(wrong.lstrip("-"), [name[2:] for name in known if name.startswith("--")])
        fix = bare.replace('mean "', 'mean "--')
        if Path(wrong).exists():
            fix = f" Write a file of that name as ./{wrong}."
        return f"{path.removeprefix('genlearn ')} has no flag {wrong}.{fix} `{path} --help` lists all."
    if text.lower().startswith("no such command"):
        wrong = text.split("'")[1] if "'" in text else text
        known = [f.__name__ for functions in _VERBS.values() for f in functions]
        return f'no verb "{wrong}".{did_you_mean(wrong, known)} `genlearn --help` lists all.'
    said = _wrong_value(error, text, args) or f"{text[:1].lower()}{text[1:]}."
    return f"{path.removeprefix('genlearn ')}: {said} `{path} --help` shows how."


def _wrong_value(error: Any, text: str, args: Sequence[str]) -> str:
    """Return which flag has which wrong value and what would do; empty if typer's complaint is another."""
    flags = getattr(getattr(error, "param", None), "opts", ())
    at = next((i for i, word in enumerate(args) if word.partition("=")[0] in flags), None)
    if at is None:
        return ""
    flag, equals, value = args[at].partition("=")
    value = value if equals else "".join(args[at + 1 : at + 2])
    choices = re.findall(r"'([^']*)'", text.partition("not one of")[2])
    if choices:
        return f'{flag} must be one of {", ".join(choices)}, not "{value}".{did_you_mean(value, choices)}'
    kind = next((words for word, words in (("integer", "a whole number"), ("number", "a number")) if word in text), "")
    return f'{flag} must be {kind}, not "{value}".' if kind else ""


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning):
        note(f"note: {' '.join(str(message).split())}")


__all__ = ["main"]
