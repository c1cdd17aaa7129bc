"""Values and dataclasses from JSON that may come from anywhere: nothing is taken that is not of its declared type."""

from __future__ import annotations

import math
import types
from dataclasses import fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = 2**64  # whole numbers beyond it are in no column
SCALARS = (str, int, float, bool, type(None))


def typed(value: Any, kind: Any, what: str = "a value") -> Any:
    """Return `value` as one of the type `kind`, lists as tuples.

    Arguments:
        value: What JSON held.
        kind: `int`, `float` (finite), `bool`, `str`, `None`, `Literal[...]`, `tuple[T, ...]`, `tuple[T, T]`, a union of those, or
            `Any`: what names a column or a level, text, a number, a truth value or None.
        what: Words for the message.

    Errors:
        ValueError: If it is of another type.

    Example:
        >>> typed([1, 2], tuple[int, ...]), typed(None, int | None)
        ((1, 2), None)
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kind, found = next(((k, True) for k in args if _fits(value, k)), (None, False))
        origin, args = get_origin(kind), get_args(kind)
    else:
        found = _fits(value, kind)
    if not found:
        raise ValueError(f"{what} cannot be {value!r:.60}")
    if origin is not tuple:
        return float(value) if kind is float else value
    items = args[:1] * len(value) if args[-1] is ... else args
    if len(items) != len(value):
        raise ValueError(f"{what} takes {len(items)} values, not {len(value)}")
    return tuple(typed(v, k, what) for v, k in zip(value, items, strict=True))


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type; of a tuple, whether it is a list."""
    if kind is Any:
        return isinstance(value, SCALARS) and _usable(value)
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _usable(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and _usable(value)
    return type(value) is kind


def _usable(value: Any) -> bool:
    return not isinstance(value, int | float) or (
        abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)
    )


def rebuild(cls: type[T], spec: Any, **built: Any) -> T:
    """Return a dataclass from the dictionary of its fields, no more and no fewer.

    Arguments:
        cls: The dataclass; what else its values must satisfy stands in its `__post_init__`.
        spec: The dictionary.
        built: Fields that are made already, whatever stands in the dictionary.

    Errors:
        ValueError: If a field is missing, unknown or of the wrong type.
    """
    kinds = _kinds(cls)  # type: ignore[arg-type]  # classes are hashable
    if not isinstance(spec, dict) or spec.keys() != kinds.keys():
        came = ", ".join(sorted(spec)) if isinstance(spec, dict) else type(spec).__name__
        raise ValueError(f"a {cls.__name__} is described by {', '.join(kinds)}, not by {came:.200}")
    values = {k: typed(v, kinds[k], f"{k} of a {cls.__name__}") for k, v in spec.items() if k not in built}
    return cls(**values, **built)


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}
