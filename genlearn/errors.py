"""The one error that people meet: what is wrong, where, and the fix, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Problem(Exception):
    """Something the user can mend: one line that says what, where and the fix. The command line prints it and exits 2."""


class MissingExtra(Problem):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f'{what} needs {package}, which is not installed. Run: pip install "genlearn[{extra}]"')


class NotFitted(Problem, AttributeError):
    """The model has not learned anything yet."""


class MissingCapability(Problem, AttributeError):
    """The model's mathematics does not give what was asked for."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `' Did you mean "vae"?'` for the closest known word, or an empty string.

    Example:
        >>> did_you_mean("vea", ["vae", "gan"])
        ' Did you mean "vae"?'
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


class RunFailed(Exception):
    """A training run came to grief: one line with the cause and a remedy. The command line exits 1."""

    usable = False  # set it where the model holds good weights nevertheless; else `fit` puts back what was there before


class Interrupted(KeyboardInterrupt):
    """Training was stopped on purpose; the model holds the best weights so far and can be saved. The command line exits 130."""

    usable = True
