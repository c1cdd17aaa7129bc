"""Level columns: categories, truth values, and numbers that take few values."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ..data.columns import hashable
from ..errors import Problem
from ..layout import Field, Role
from .levels import MISSING, UNSEEN, Levels
from .numbers import NumberFormat, check_dtype
from .part_number import Asked, read_range
from .stored import rebuild, typed


@dataclass(eq=False)
class LevelColumn:
    """A column of categories, truth values, or numbers that take few values: one field of levels.

    Arguments:
        name: The column.
        key: Name of its field.
        dtype: The pandas dtype, as text.
        levels: The values; the last `len(rest)` of them share one level of the code.
        rest: How often each of the rarest values occurred, where there are too many levels.
        absent: Whether "missing" is a level.
        binary: Whether the field is of kind `binary`.
        format: How numbers are written, where the values are numbers.
        categories: All categories of a Categorical, in order; None for other dtypes.
        ranked: Whether the order of the levels means something: of an ordered Categorical, of numbers that are no mere names.
        none: Whether missing cells were None rather than NaN.
        common: The most frequent level: where unseen values go.
        role: `target` for the label.
    """

    part: ClassVar[str] = "level"
    gated: ClassVar[bool] = False

    name: Any
    key: str
    dtype: str
    levels: Levels
    rest: tuple[int, ...]
    absent: bool
    binary: bool
    format: NumberFormat | None
    categories: tuple[Any, ...] | None
    ranked: bool
    none: bool
    common: int
    role: Role = "feature"

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if len(self.rest) > len(self.levels) or not all(count > 0 for count in self.rest):
            raise ValueError(f'column "{self.name}": each of the rarest levels needs a count above 0')
        if not 0 <= self.common < max(1, len(self.levels)) or (self.binary and len(self.labels) != 2):
            raise ValueError(f'column "{self.name}": its {len(self.levels)} levels do not go with what is said of them')
        if self.categories is not None and self.format is None and not {*self.levels.values} <= {*self.categories}:
            raise ValueError(f'column "{self.name}": its levels are not among its categories')

    @property
    def measure(self) -> str:
        """What the column's probability is taken against."""
        return f"{self.name}: levels" + (" + missing" if self.absent else "")

    @property
    def labels(self) -> tuple[str, ...]:
        """Printable names of the code's levels."""
        names = self.levels.labels
        if self.format is not None:
            names = tuple(map(str, self.format.write(np.array(self.levels.values, dtype=np.float64))))
        if self.rest:
            names = (*names[: -len(self.rest)], "other")
        return (*names, "missing") if self.absent else names

    @property
    def counted(self) -> bool:
        """Whether the levels are numbers that have a mean."""
        return self.ranked and self.format is not None and self.categories is None and not self.rest

    def fields(self) -> list[Field]:
        """Return the one field."""
        labels = self.labels
        absent = len(labels) - 1 if self.absent else None
        kind = "binary" if self.binary else "category"
        return [Field(self.key, kind, levels=len(labels), absent=absent, labels=labels, role=self.role)]  # type: ignore[arg-type]

    def index(self, series: pd.Series) -> np.ndarray:
        """Return `(n,)` positions in `levels`, -1 where missing, -2 where unseen."""
        if self.format is None:
            return self.levels.index(hashable(series))
        numbers = self.format.read(series)
        known = np.array(self.levels.values, dtype=np.float64)
        if not len(known):
            return np.where(np.isnan(numbers), MISSING, UNSEEN)
        order = np.argsort(known)
        place = order[np.clip(np.searchsorted(known, numbers, sorter=order), 0, len(known) - 1)]
        return np.where(np.isnan(numbers), MISSING, np.where(known[place] == numbers, place, UNSEEN))

    def parse(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return `(n, 1)` levels and the log probability of each cell within its level, NaN where training has no such cell."""
        place = self.index(series)
        kept = len(self.levels) - len(self.rest)
        level = np.minimum(place, kept).astype(np.float64)
        within = np.zeros(len(place))
        if self.rest:
            share = np.log(np.array(self.rest) / sum(self.rest))
            within[place >= kept] = share[place[place >= kept] - kept]
        level[place == UNSEEN] = self.common
        level[place == MISSING] = len(self.labels) - 1 if self.absent else math.nan
        within[(place == UNSEEN) | ((place == MISSING) & (not self.absent))] = math.nan
        return level[:, None], within

    def decode(self, x: np.ndarray) -> pd.Series:
        """Turn `(n, 1)` codes into a column."""
        level = x[:, 0]
        top = len(self.labels) - int(self.absent)
        missing = ~((level >= 0) & (level < top))
        place = np.where(missing, 0, level).astype(np.int64)
        kept = len(self.levels) - len(self.rest)
        if self.rest and (other := (place == kept) & ~missing).any():
            # A code has no room for the draw within "other": take it from the content, so that the same codes decode alike.
            seed = int.from_bytes(hashlib.blake2b(level.tobytes(), digest_size=8).digest(), "little")
            draws = np.random.default_rng(seed).choice(
                len(self.rest), other.sum(), p=np.array(self.rest) / sum(self.rest)
            )
            place[other] = kept + draws
        place = np.where(missing, len(self.levels), place)
        if self.format is not None:
            return self.format.write(np.array([*self.levels.values, math.nan], dtype=np.float64)[place])
        return self._palette(bool(missing.any())).take(place).reset_index(drop=True)

    def _palette(self, missing: bool) -> pd.Series:
        values = [*self.levels.values, *([None if self.none else math.nan] if missing else [])]
        if self.categories is not None:
            return pd.Series(pd.Categorical(values, categories=list(self.categories), ordered=self.ranked))
        dtype = pd.api.types.pandas_dtype(self.dtype)
        if isinstance(dtype, np.dtype) and missing and dtype.kind in "biu":
            dtype = np.dtype(object) if dtype.kind == "b" else np.dtype(float)
        return pd.Series(
            [None if v is math.nan and not pd.api.types.is_object_dtype(dtype) else v for v in values], dtype=dtype
        )

    def given(self, value: Any) -> Asked:
        """Return what a condition means: the level, or a range of levels where the values are numbers."""
        if self.format is None:
            return {0: float(min(self.levels.one(str(self.name), value), len(self.levels) - len(self.rest)))}
        low, high = read_range(self.format, value)
        inside = [i for i, v in enumerate(self.levels.values) if low <= v <= high]
        if not inside:
            Levels(self.labels).one(str(self.name), value)
            raise Problem(f'"{self.name}" has no value "{value}". Ask for one of {", ".join(self.labels[:8])}.')
        return {0: float(inside[0]) if len(inside) == 1 else (float(inside[0]), float(inside[-1]))}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        fmt = vars(self.format) if self.format else None
        values, categories = list(self.levels.values), None if self.categories is None else list(self.categories)
        return {**vars(self), "part": self.part, "levels": values, "rest": list(self.rest), "format": fmt,
                "categories": categories}  # fmt: skip

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> LevelColumn:
        """Rebuild a column."""
        levels = Levels(typed(spec["levels"], tuple[Any, ...], "levels"))
        fmt = rebuild(NumberFormat, spec["format"]) if spec["format"] is not None else None
        return rebuild(cls, spec, levels=levels, format=fmt)
