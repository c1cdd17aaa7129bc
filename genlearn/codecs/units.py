"""What codes say in the units of their columns. Means need it: the mean of a column is not the value of the mean code."""

from __future__ import annotations

from dataclasses import dataclass, field

from .scales import Affine, Scale


@dataclass(frozen=True)
class Number:
    """A number whose mean is not where its code's mean is: on a curved scale, or behind a gate.

    Arguments:
        scale: The map from the units of the column to code units.
        gate: Column of its gate, or None.
        atoms: What the levels of the gate stand for, from 1 on; NaN for "missing".
    """

    scale: Scale
    gate: int | None
    atoms: tuple[float, ...]

    @property
    def curved(self) -> bool:
        """Whether the scale is more than a shift and a stretch."""
        return not isinstance(self.scale, Affine)


@dataclass(frozen=True)
class Units:
    """The columns of a code whose means are taken in units of their own; of all others they are taken in code units.

    Arguments:
        numbers: Column -> number.
        ranked: Column of levels -> the number that each level stands for, NaN for "missing".
    """

    numbers: dict[int, Number] = field(default_factory=dict)
    ranked: dict[int, tuple[float, ...]] = field(default_factory=dict)
