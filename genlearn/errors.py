"""The one error that people meet: what is wrong, where, and the fix, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

LONGEST = 1500  # characters of a message; names that come from files may have any number
MOST_COMPARED = 5000  # known words that a misspelt one is compared with


class Problem(ValueError):
    """Something the user can mend: one line that says what, where and the fix. The command line prints it and exits 2."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class MissingExtra(Problem):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f'{what} needs {package}, which is not installed. Run: pip install "genlearn[{extra}]"')


class MissingCapability(Problem, AttributeError):
    """The model's mathematics does not give what was asked for."""


def one_line(text: str) -> str:
    r"""Return a text as one line that a terminal shows and does not obey: control characters escaped, the middle left out.

    Example:
        >>> print(one_line("column \"a\nb\" \x1b[2J"))
        column "a\nb" \x1b[2J
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `' Did you mean "vae"?'` for the closest known word, or an empty string; small and capital letters are alike.

    Example:
        >>> did_you_mean("VEA", ["vae", "gan"])
        ' Did you mean "vae"?'
    """
    folded = {name.strip().casefold(): name for name in islice(known, MOST_COMPARED) if name != word}
    close = difflib.get_close_matches(word.strip().casefold(), folded, n=1, cutoff=0.5)
    return f' Did you mean "{folded[close[0]]}"?' if close else ""


class RunFailed(Exception):
    """A training run came to grief: one line with the cause and a remedy. The command line exits 1."""

    usable = False  # set it where the model holds good weights nevertheless; else `fit` puts back what was there before


class Interrupted(KeyboardInterrupt):
    """Training was stopped on purpose; the model holds the best weights so far and can be saved. The command line exits 130 or 143."""

    usable = True

    def __init__(self, message: str = "", *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM ended what was going on, as Ctrl-C does. The command line exits 143, as shells and schedulers expect."""

    exit_code = 143
