"""The parts of a table codec: how one column becomes fields of a code, and comes back."""

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
from .numbers import NumberFormat
from .scales import Scale, scale_from_json

Asked = dict[int, float | tuple[float, float]]


@dataclass(frozen=True)
class Lattice:
    """Numbers `(origin + step * k) / 10**decimals`, k = 0, 1, ..., `levels` - 1 in training; k is the index."""

    origin: int
    step: int
    decimals: int
    levels: int

    def index(self, numbers: np.ndarray) -> np.ndarray:
        """Return the index of each number; not whole where a number lies between lattice points."""
        k = (numbers * 10.0**self.decimals - self.origin) / self.step
        near = np.rint(k)
        # Decimals are not exact in binary: 0.455 * 1000 may miss 455 by rounding.
        return np.where(np.abs(k - near) <= 1e-6 * np.maximum(1, np.abs(near) * 1e-6), near, k)

    def number(self, k: np.ndarray) -> np.ndarray:
        """Return the numbers of whole indices, clipped to the range of training."""
        return (self.origin + self.step * np.clip(np.rint(k), 0, self.levels - 1)) / 10.0**self.decimals


@dataclass(eq=False)
class NumberColumn:
    """A column of numbers: one value field, and a gate where values repeat (atoms) or cells are missing.

    Arguments:
        name: The column.
        key: Name of its value field.
        format: How the numbers are written.
        scale: The map to code units, from numbers or from lattice indices.
        lattice: The lattice, if the numbers are counts or have a fixed step.
        ordered: Whether the value field is the lattice index itself; else it is `scale` of it, or of the number.
        atoms: Values that repeat, each a level of the gate.
        absent: Whether cells are missing in training.
        low, high: Range in training.
        loc, spread: Mean and deviation of the lattice index, for nets.
        gate: Name of the gate field; empty without one.
        role: `target` for a numeric label.
    """

    part: ClassVar[str] = "number"

    name: Any
    key: str
    format: NumberFormat
    scale: Scale
    lattice: Lattice | None
    ordered: bool
    atoms: tuple[float, ...]
    absent: bool
    low: float
    high: float
    loc: float
    spread: float
    gate: str
    role: Role = "feature"

    @property
    def gated(self) -> bool:
        """Whether the first of two fields is a gate."""
        return bool(self.atoms) or self.absent

    @property
    def measure(self) -> str:
        """What the column's density is taken against."""
        kind = "Lebesgue"
        if self.lattice is not None:
            kind = "counts" if (self.lattice.step, self.lattice.decimals) == (1, 0) else f"lattice {self.step:g}"
        shown = ["atoms {" + ", ".join(f"{a:g}" for a in self.atoms) + "}"] if self.atoms else []
        return f"{self.name}: " + " + ".join([*shown, kind, *(["missing"] if self.absent else [])])

    @property
    def step(self) -> float:
        """Distance of lattice points; 0 without a lattice."""
        return self.lattice.step / 10.0**self.lattice.decimals if self.lattice else 0.0

    def fields(self) -> list[Field]:
        """Return the gate, if there is one, and the value field."""
        gate = self.gate if self.gated else None
        if self.ordered and self.lattice:
            value = Field(
                self.key, "ordered", levels=self.lattice.levels, loc=self.loc, scale=self.spread, bounded=False,
                gate=gate, role=self.role,
            )  # fmt: skip
        else:
            width = self.scale.unit if self.lattice else 0.0
            value = Field(self.key, "real", width=width, gate=gate, role=self.role)
        if gate is None:
            return [value]
        labels = ("value", *(self._shown(a) for a in self.atoms), *(("missing",) if self.absent else ()))
        absent = len(labels) - 1 if self.absent else None
        return [Field(gate, "category", levels=len(labels), absent=absent, labels=labels, role=self.role), value]

    def _shown(self, number: float) -> str:
        return str(self.format.write(np.array([number])).iloc[0])

    def parse(self, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return `(n, fields)` gate levels and numbers (lattice indices), and 0 per cell, NaN where training has no such cell."""
        numbers = self.format.read(series)
        missing = np.isnan(numbers)
        value, strange = numbers, missing & (not self.absent)
        if self.lattice is not None:
            value = self.lattice.index(numbers)
            strange = strange | (~missing & (value != np.rint(value)))
            value = np.rint(value)
        within = np.where(strange, math.nan, 0.0)
        if not self.gated:
            return value[:, None], within
        gate = np.zeros(len(numbers))
        for level, atom in enumerate(self.atoms, 1):
            gate[numbers == atom] = level
        gate[missing] = len(self.atoms) + 1 if self.absent else math.nan
        return np.stack([gate, np.where(gate == 0, value, math.nan)], 1), within

    def encode(self, x: np.ndarray, noise: Any) -> np.ndarray | None:
        """Map the value column of `x` to code units in place; return log g' per row, or None if it is 0 throughout."""
        if self.ordered:
            return None
        present = ~np.isnan(x[:, -1])
        v = np.where(present, x[:, -1], self.low if self.lattice is None else 0.0)
        z, log_slope = self.scale.forward(v + (noise - 0.5) if self.lattice else v)
        x[:, -1] = np.where(present, z, math.nan)
        return np.where(present, log_slope, 0.0)

    def decode(self, x: np.ndarray) -> pd.Series:
        """Turn `(n, fields)` codes into a column."""
        value = x[:, -1] if self.ordered else self.scale.inverse(x[:, -1])
        numbers = self.lattice.number(value) if self.lattice else value
        if self.lattice is None and self.format.form == "time":
            numbers = np.clip(numbers, 2 * self.low - self.high, 2 * self.high - self.low)  # calendars end
        if self.gated:
            gate = np.nan_to_num(x[:, 0]).astype(np.int64)
            table = np.array([math.nan, *self.atoms, math.nan])
            numbers = np.where(gate == 0, numbers, table[np.clip(gate, 0, len(table) - 1)])
        return self.format.write(numbers)

    def given(self, value: Any) -> Asked:
        """Return what a condition means: field number -> value or (low, high), in code units."""
        low, high = _range(self.format, value)
        if low > self.high or high < self.low:
            raise Problem(
                f'"{self.name}" lay in {self._shown(self.low)}..{self._shown(self.high)}, "{value}" is outside.'
            )
        if low == high and low in self.atoms:
            return {0: 1.0 + self.atoms.index(low)}
        inside = [a for a in self.atoms if low <= a <= high]
        if inside:
            raise Problem(
                f'"{self.name}" has the frequent value {self._shown(inside[0])} inside "{value}". '
                "Ask for that value alone or for a range beside it."
            )
        return {**({0: 0.0} if self.gated else {}), int(self.gated): self._code_range(low, high, value)}

    def _code_range(self, low: float, high: float, value: Any) -> float | tuple[float, float]:
        if self.lattice is None:
            ends, _ = self.scale.forward(np.array([max(low, -1e300), min(high, 1e300)]))
            return float(ends[0]) if low == high else (float(ends[0]), float(ends[1]))
        bounded = np.array([max(low, self.low), min(high, self.high)])
        ends = self.lattice.index(bounded)
        first, last = np.ceil(ends[0]), np.floor(ends[1])
        if first > last:
            near = self._shown(float(self.lattice.number(ends[:1])[0]))
            raise Problem(f'"{self.name}" goes in steps of {self.step:g}, "{value}" lies between. Nearest: {near}.')
        if self.ordered:
            return float(first) if first == last else (float(first), float(last))
        if first == last:
            return float(self.scale.forward(np.array([first]))[0][0])
        cells, _ = self.scale.forward(np.array([first - 0.5, last + 0.5]))
        return float(cells[0]), float(cells[1])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        spec = dict(vars(self))
        lattice = vars(self.lattice) if self.lattice else None
        return {**spec, "part": self.part, "format": vars(self.format), "scale": self.scale.to_json(), "lattice": lattice,
                "atoms": list(self.atoms)}  # fmt: skip

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> NumberColumn:
        """Rebuild a column."""
        spec = {k: v for k, v in spec.items() if k != "part"}
        spec["format"], spec["scale"] = NumberFormat(**spec["format"]), scale_from_json(spec["scale"])
        spec["lattice"] = Lattice(**spec["lattice"]) if spec["lattice"] else None
        return cls(**{**spec, "atoms": tuple(spec["atoms"])})


def _range(fmt: NumberFormat, value: Any) -> tuple[float, float]:
    """Read "30:40", "30:", ":40", (30, 40) or one value as a range of numbers."""
    if isinstance(value, tuple | list) and len(value) == 2:
        return _number(fmt, value[0], -math.inf), _number(fmt, value[1], math.inf)
    if isinstance(value, str) and ":" in value:
        try:
            return (_number(fmt, value, 0.0),) * 2  # a time of day has colons of its own
        except Problem:
            pass
        cuts = [i for i, c in enumerate(value) if c == ":"]
        for cut in sorted(cuts, key=lambda i: abs(2 * i + 1 - len(value))):
            try:
                low, high = _number(fmt, value[:cut], -math.inf), _number(fmt, value[cut + 1 :], math.inf)
            except Problem:
                continue
            if low > high:
                raise Problem(f'"{fmt.name}": the range "{value}" is empty. Write the smaller end first.')
            return low, high
    return (_number(fmt, value, 0.0),) * 2


def _number(fmt: NumberFormat, value: Any, open_end: float) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return open_end
    try:
        return float(fmt.read(pd.Series([value.strip() if isinstance(value, str) else value], dtype=object))[0])
    except Problem:
        raise Problem(f'"{fmt.name}" takes a number or a range "low:high", not "{value}".') from None


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
        ranked: Whether the Categorical is ordered.
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
        missing = np.isnan(level) | (level == (len(self.labels) - 1 if self.absent else -1)) | (level < 0)
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
        return self._palette(missing.any()).take(place).reset_index(drop=True)

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
        low, high = _range(self.format, value)
        inside = [i for i, v in enumerate(self.levels.values) if low <= v <= high]
        if not inside:
            Levels(self.labels).one(str(self.name), value)
            raise Problem(f'"{self.name}" has no value "{value}".')
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
        spec = {k: v for k, v in spec.items() if k != "part"}
        spec["levels"], spec["rest"] = Levels(tuple(spec["levels"])), tuple(spec["rest"])
        spec["format"] = NumberFormat(**spec["format"]) if spec["format"] else None
        spec["categories"] = None if spec["categories"] is None else tuple(spec["categories"])
        return cls(**spec)


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
    type: str
    dtype: str
    next: int = 1
    prefix: str = ""
    digits: int = 0

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
        return cls(**{k: v for k, v in spec.items() if k != "part"})


Part = NumberColumn | LevelColumn | SkippedColumn


def part_from_json(spec: dict[str, Any]) -> Part:
    """Rebuild any column."""
    kinds: dict[str, Any] = {c.part: c for c in (NumberColumn, LevelColumn, SkippedColumn)}
    return kinds[spec["part"]].from_json(spec)
