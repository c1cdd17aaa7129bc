"""The parts of a table codec: how one column becomes fields of a code, and comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd

from .numbers import check_dtype
from .part_level import LevelColumn
from .part_number import NumberColumn
from .stored import rebuild

MOST_DIGITS = 15  # float64 holds them exactly


@dataclass(eq=False)
class SkippedColumn:
    """An identifier or free text: not modelled; identifiers are numbered anew, texts are left empty.

    Arguments:
        name: The column.
        type: `id` or `text`.
        dtype: The pandas dtype, as text.
        next: The first new number of an identifier.
        prefix: What stands before the number, where identifiers are texts.
        digits: To how many digits it is filled up with zeros.
    """

    part: ClassVar[str] = "skipped"

    name: Any
    type: Literal["id", "text"]
    dtype: str
    next: int = 1
    prefix: str = ""
    digits: int = 0

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if not 0 <= self.digits <= MOST_DIGITS:
            raise ValueError(f"identifiers have at most {MOST_DIGITS} digits, not {self.digits}")

    def write(self, n: int) -> pd.Series:
        """Return `n` new cells."""
        dtype = pd.api.types.pandas_dtype(self.dtype)
        if self.type == "id":
            numbers = range(self.next, self.next + n)
            if pd.api.types.is_numeric_dtype(dtype):
                return pd.Series(list(numbers), dtype=dtype)
            cells = [f"{self.prefix}{i:0{self.digits}d}" for i in numbers]
            return pd.Series(cells, dtype=dtype if pd.api.types.is_string_dtype(dtype) else object)
        if pd.api.types.is_string_dtype(dtype):
            return pd.Series([None] * n, dtype=dtype)
        return (
            pd.Series([math.nan] * n) if pd.api.types.is_numeric_dtype(dtype) else pd.Series([None] * n, dtype=object)
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {**vars(self), "part": self.part}

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> SkippedColumn:
        """Rebuild a column."""
        return rebuild(cls, spec)


Part = NumberColumn | LevelColumn | SkippedColumn


def part_from_json(spec: dict[str, Any]) -> Part:
    """Rebuild any column."""
    kinds: dict[str, Any] = {c.part: c for c in (NumberColumn, LevelColumn, SkippedColumn)}
    return kinds[spec["part"]].from_json({k: v for k, v in spec.items() if k != "part"})
