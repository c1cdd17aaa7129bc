"""Settings: constructor keywords with type, default and meaning, from which flags, checks and documents are derived."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from .errors import Problem, did_you_mean

LONGEST = 1000  # characters of a text, entries of a list: what a configuration from anywhere may hold
_NONE_WORDS = ("none", "auto")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
_MANY = {int: "whole numbers", float: "numbers", str: "words"}


@dataclass(frozen=True)
class Setting:
    """One constructor keyword: flags, documents and checks are derived from it.

    Arguments:
        name: The keyword.
        type: Its annotation: `int`, `float`, `bool`, `str`, `None`, `Literal[...]`, `tuple[int, ...]`, or a union of those.
        default: Its value where none is given.
        doc: The sentence that documents it.

    Example:
        >>> hidden = Setting("hidden", tuple[int, ...] | None, (512,), "Sizes of the hidden layers.")
        >>> hidden.describe(), hidden.parse("256,128", "vae"), hidden.parse("none", "vae")
        ('a list of whole numbers or none', (256, 128), None)
    """

    name: str
    type: Any
    default: Any
    doc: str

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values of a `Literal`, else an empty tuple."""
        return tuple(c for t in self._options if typing.get_origin(t) is Literal for c in typing.get_args(t))

    @property
    def counts(self) -> bool:
        """Whether it takes whole numbers, or lists of them."""
        return any(t is int or (typing.get_origin(t) is tuple and typing.get_args(t)[0] is int) for t in self._options)

    @property
    def _options(self) -> tuple[Any, ...]:
        union = typing.get_origin(self.type) in (typing.Union, types.UnionType)
        return typing.get_args(self.type) if union else (self.type,)

    def describe(self) -> str:
        """Return the type in words."""
        return " or ".join(_described(t) for t in self._options)

    def check(self, value: Any, model: str) -> None:
        """Raise `Problem` unless `value` fits the declared type."""
        if not any(_fits(value, t) for t in self._options):
            raise self._refusal(value, model)

    def parse(self, text: str, model: str) -> Any:
        """Turn a command-line word into a value of the declared type; raise `Problem` if it is none.

        `none` and `auto` stand for None where that is allowed, `256,128` and `256x128` are lists. The narrowest type that takes
        the word wins: a choice, None, a truth value, a number, a list, and last any text.
        """
        for t in sorted(self._options, key=_width):
            try:
                value = _read(text.strip(), t)
            except ValueError:
                continue
            if _fits(value, t):
                return value
        raise self._refusal(text, model)

    def _refusal(self, value: Any, model: str) -> Problem:
        close = did_you_mean(str(value), map(str, self.choices))
        return Problem(f"{model}: {self.name} must be {self.describe()}, not {value!r}.{close}")


def _described(t: Any) -> str:
    if typing.get_origin(t) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(t)))
    if typing.get_origin(t) is tuple:
        return f"a list of {_MANY.get(typing.get_args(t)[0], 'values')}"
    return _WORDS.get(t, getattr(t, "__name__", str(t)))


def _fits(value: Any, t: Any) -> bool:
    truth = isinstance(value, bool | np.bool_)
    if t is type(None):
        return value is None
    if typing.get_origin(t) is Literal:
        return any(
            isinstance(value, type(c)) and value == c and truth == isinstance(c, bool) for c in typing.get_args(t)
        )
    if typing.get_origin(t) is tuple:
        return (
            isinstance(value, list | tuple)
            and len(value) <= LONGEST
            and all(_fits(v, typing.get_args(t)[0]) for v in value)
        )
    if t is bool:
        return truth
    if t is int:
        return isinstance(value, int | np.integer) and not truth
    if t is float:
        return isinstance(value, int | float | np.integer | np.floating) and not truth and not np.isnan(value)
    return isinstance(value, t) and (t is not str or len(value) <= LONGEST)


def _width(t: Any) -> int:
    order: tuple[Any, ...] = (Literal, type(None), bool, int, float, tuple, str)
    kind = typing.get_origin(t) or t
    return order.index(kind) if kind in order else len(order)


def _read(text: str, t: Any) -> Any:
    """Read a word as a value of one type; raise ValueError if it is none."""
    kind = typing.get_origin(t) or t
    if kind in (int, float):
        return kind(text)
    if kind is tuple:
        item = typing.get_args(t)[0]
        return tuple(_read(part, item) for part in _parts(text, item))
    if kind is str:
        return text
    words: dict[str, Any] = {str(c): c for c in typing.get_args(t)} if kind is Literal else {}
    words |= _TRUTH if kind is bool else dict.fromkeys(_NONE_WORDS) if kind is type(None) else {}
    word = text if kind is Literal else text.lower()
    if word not in words:
        raise ValueError(text)
    return words[word]


def _parts(text: str, item: Any) -> list[str]:
    inner = text.removeprefix("(").removesuffix(")").removeprefix("[").removesuffix("]").removesuffix(",").strip()
    between = r"\s*,\s*|\s+" if item is str else r"\s*[,x]\s*|\s+"
    return re.split(between, inner) if inner else []


def argument_docs(docstring: str) -> dict[str, str]:
    """Return the sentences of a docstring's `Arguments:` section by argument."""
    section = re.search(r"^Arguments:\n((?:[ ]+.*\n?)*)", inspect.cleandoc(docstring), re.M)
    block = inspect.cleandoc("\n" + section[1]) if section else ""
    entries = re.findall(r"^(\w+): (.*(?:\n[ ]+.*)*)", block, re.M)  # what is indented goes on with its argument
    return {name: " ".join(text.split()) for name, text in entries}


@cache
def settings_of(cls: type) -> dict[str, Setting]:
    """Return the settings of a dataclass of keywords, in the order of its constructor."""
    hints = typing.get_type_hints(cls)
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if "__dataclass_fields__" in vars(base):
            docs |= argument_docs(base.__doc__ or "")
    fields = [f for f in dataclasses.fields(cls) if f.init]
    return {f.name: Setting(f.name, hints[f.name], f.default, docs.get(f.name, "")) for f in fields}
