"""The words of a file in the Bayesian Interchange Format: read once from front to back, with the line they stand in."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..errors import Problem

MOST_BYTES = 2**25  # of a file, unpacked
ROUNDED = 0.01  # how far a row of probabilities may be from one: files round them

_SPACE = re.compile(r"\s+")
_WORD = re.compile(r'[^\s{}\[\]();,|"]+')
_SIGNS = frozenset("{}[]();,|")


def text_of(path: Path) -> str:
    """Return what a file says, if it is a plain one of moderate size."""
    try:
        if not path.is_file():
            raise Problem(f"{path} is no file. Give the path of a BIF file.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
            if data[:2] == b"\x1f\x8b":
                file.seek(0)
                data = gzip.GzipFile(fileobj=file).read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error, ValueError) as e:
        if isinstance(e, Problem):
            raise
        raise Problem(
            f"{path} cannot be read ({getattr(e, 'strerror', None) or e}). Give a readable BIF file."
        ) from None
    if len(data) > MOST_BYTES:
        raise Problem(f"{path} is too large for a BIF file (at most {MOST_BYTES:,} bytes). Give a smaller network.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise Problem(f"{path}, line {line}: this is no text in UTF-8. Save the file as UTF-8.") from None


@dataclass(frozen=True)
class Token:
    """A name (a word or a quoted text) or a sign, and its line."""

    text: str
    line: int
    name: bool


class Words:
    """One pass over the words of a file, with one word in view.

    Arguments:
        text: What the file says.
        path: How messages call it.
    """

    def __init__(self, text: str, path: str) -> None:
        self.path, self.line = path, 1
        self.tokens = self._tokens(text)
        self.seen: Token | None = next(self.tokens, None)

    def fail(self, what: str, line: int | None = None) -> NoReturn:
        """Raise `Problem` with file and line."""
        raise Problem(f"{self.path}, line {line or self.line}: {what}")

    def _tokens(self, text: str) -> Iterator[Token]:
        at, line = 0, 1
        while at < len(text):
            begin, char = at, text[at]
            if space := _SPACE.match(text, at):
                at = space.end()
            elif text.startswith("//", at):
                at = text.find("\n", at)
                at = len(text) if at < 0 else at
            elif text.startswith("/*", at):
                at = text.find("*/", at + 2) + 2
                if at < 2:
                    self.fail("the comment that begins here has no end. Close it with */", line)
            elif char == '"':
                end, newline = text.find('"', at + 1), text.find("\n", at + 1, at + 2**16)
                if end < 0 or 0 <= newline < end:
                    self.fail('the quoted name that begins here has no end on its line. Close it with "', line)
                at = end + 1
                yield Token(text[begin + 1 : end], line, True)
            elif char in _SIGNS:
                at += 1
                yield Token(char, line, False)
            else:
                word = _WORD.match(text, at)
                assert word is not None
                at = word.end()
                yield Token(word[0], line, True)
            line += text.count("\n", begin, at)

    def take(self, wanted: str = "") -> Token:
        """Return the next word, which must be a sign or word `wanted` if one is given."""
        token = self.seen
        if token is None:
            self.fail(f"the file ends where {repr(wanted) if wanted else 'more'} should follow. Complete the file.")
        self.line = token.line
        if wanted and token.text != wanted:
            self.fail(f"{wanted!r} should stand where {token.text!r} stands.")
        self.seen = next(self.tokens, None)
        return token

    def name(self, what: str) -> str:
        token = self.take()
        if not token.name:
            self.fail(f"{what} should stand where {token.text!r} stands.")
        return token.text

    def names(self, end: str, what: str) -> list[str]:
        """Return names up to a closing sign; commas and bars between them are passed over."""
        found: list[str] = []
        while self.seen is None or self.seen.name or self.seen.text != end:
            if self.seen is not None and not self.seen.name and self.seen.text in ",|":
                self.take()
            else:
                found.append(self.name(what))
        self.take()
        return found

    def numbers(self, expected: int) -> np.ndarray:
        """Return as many probabilities as expected, up to a semicolon."""
        line, found = self.line, np.empty(expected)
        count = 0
        while self.seen is None or self.seen.name or self.seen.text != ";":
            token = self.take()
            if token.text == "," and not token.name:
                continue
            if count < expected:
                found[count] = self.probability(token)
            count += 1
        if count != expected:
            self.fail(f"{expected} probabilities should stand here, not {count}.", line)
        self.take()
        return found

    def probability(self, token: Token) -> float:
        try:
            value = float(token.text) if len(token.text) <= 64 and "_" not in token.text else math.nan
        except ValueError:
            value = math.nan
        if not token.name or not 0 <= value <= 1 + ROUNDED:
            self.fail(f"{token.text!r} is no probability.")
        return value

    def skip(self, end: str) -> None:
        """Pass over everything up to a sign."""
        while (token := self.take()).name or token.text != end:
            pass
