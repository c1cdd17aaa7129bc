"""Number columns: on a lattice or continuous, scaled, with a gate for atoms and missing cells."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ..errors import Problem
from ..layout import Field, Role
from .numbers import MOST_DECIMALS, NumberFormat
from .scales import Scale, scale_from_json
from .stored import rebuild
from .units import Number

LATTICE_LEVELS = 256  # lattices up to this long are ordered fields, longer ones are dequantised

Asked = dict[int, float | tuple[float, float]]


@dataclass(frozen=True)
class Lattice:
    """Numbers `(origin + step * k) / 10**decimals`, k = 0, 1, ..., `levels` - 1 in training; k is the index."""

    origin: int
    step: int
    decimals: int
    levels: int

    def __post_init__(self) -> None:
        if self.step < 1 or self.levels < 1 or not 0 <= self.decimals <= MOST_DECIMALS:
            raise ValueError(f"no numbers lie on {self}")

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

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f'column "{self.name}": the range {self.low}..{self.high} is empty')
        if self.ordered and (self.lattice is None or self.lattice.levels > LATTICE_LEVELS):
            raise ValueError(
                f'column "{self.name}": an ordered field needs a lattice of at most {LATTICE_LEVELS} levels'
            )

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
        atoms = map(str, self.format.write(np.array(self.atoms)))
        labels = ("value", *atoms, *(("missing",) if self.absent else ()))
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

    def in_units(self, column: int) -> Number | None:
        """Return what codes say in units of the value or of the lattice index; None where means are those of codes."""
        number = Number(self.scale, None, ())
        if not self.gated:
            return number if number.curved else None
        atoms = np.array(self.atoms) if self.lattice is None else self.lattice.index(np.array(self.atoms))
        return Number(self.scale, column - 1, (*atoms.tolist(), *([math.nan] if self.absent else [])))

    def given(self, value: Any) -> Asked:
        """Return what a condition means: field number -> value or (low, high), in code units."""
        low, high = read_range(self.format, value)
        if low > self.high or high < self.low:
            raise Problem(
                f'"{self.name}" lay in {self._shown(self.low)}..{self._shown(self.high)}, "{value}" is outside. '
                "Choose a value or range within."
            )
        if low == high and low in self.atoms:
            return {0: 1.0 + self.atoms.index(low)}
        inside = [a for a in self.atoms if low <= a <= high]
        if inside:
            shown = ", ".join(self._shown(a) for a in inside)
            raise Problem(
                f'"{self.name}" has frequent values of their own inside "{value}": {shown}. '
                "Ask for one of them alone or for a range between them."
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
            raise Problem(f'"{self.name}" goes in steps of {self.step:g}, "{value}" lies between. Use {near}.')
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
        lattice = rebuild(Lattice, spec["lattice"]) if spec["lattice"] is not None else None
        fmt, scale = rebuild(NumberFormat, spec["format"]), scale_from_json(spec["scale"])
        return rebuild(cls, spec, format=fmt, scale=scale, lattice=lattice)


def read_range(fmt: NumberFormat, value: Any) -> tuple[float, float]:
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
        dash = re.fullmatch(r"\s*([\d.]+)\s*(?:-|\.\.+|to)\s*([\d.]+)\s*", str(value))
        close = f' Did you mean "{dash[1]}:{dash[2]}"?' if dash else ""
        raise Problem(f'"{fmt.name}" must be given a number or a range "low:high", not "{value}".{close}') from None
