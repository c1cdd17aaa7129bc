"""How a table codec chooses what each column becomes: lattice or continuous, atoms, levels, scale. Looks at training records only.

Of a long table it looks at the digest: what may occur in any of the rows, what is usual in those that were drawn.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from ..data.columns import ColumnInfo, hashable, is_date, is_number
from ..data.digest import Column
from ..errors import Problem
from ..layout import Role
from .levels import Levels, plain
from .numbers import NumberFormat
from .part_level import LevelColumn
from .part_number import LATTICE_LEVELS, Lattice, NumberColumn
from .parts import MOST_DIGITS, SkippedColumn
from .scales import Affine, fit_scale

FEW_VALUES = 20  # whole numbers with at most so many values are categories
MOST_LEVELS = 200  # categories beyond it share the level "other"
ATOM_SHARE, LATTICE_ATOM_SHARE, ATOM_COUNT, MOST_ATOMS = 0.05, 0.15, 20, 5
SPIKE = 3  # times as frequent as both neighbours on the lattice
SURE_STEP = 10  # so many distinct values share a step other than 1 by chance with probability below 1e-3


def choose(
    column: Column,
    info: ColumnInfo,
    *,
    takes: frozenset[str],
    keys: tuple[str, str],
    scale: str = "auto",
    role: Role = "feature",
    round_to: int | Literal["found"] | None = "found",
) -> NumberColumn | LevelColumn | SkippedColumn:
    """Return what a column becomes.

    Arguments:
        column: The column in training.
        info: What it is.
        takes: Field kinds that the model can handle.
        keys: Names for the value field and the gate.
        scale: Scale of numbers, see `fit_scale`; `lattice` leaves those on a lattice as indices and standardises the others.
        role: `target` for the label.
        round_to: Digits of the numbers given back; `found` as in training.
    """
    told, series = info.note == "as told", column.cells
    if info.type in ("id", "text"):
        return _skipped(series, info)
    if info.type == "constant" and info.n_distinct > 1:
        raise Problem(f'column "{info.name}" is said to be constant but has {info.n_distinct} values.')
    if info.type in ("real", "integer", "date"):
        if told and info.type == "real" and round_to == "found" and pd.api.types.is_float_dtype(series):
            round_to = None
        fmt, numbers = NumberFormat.of(str(info.name), series, date=info.type == "date", round_to=round_to)
        known = numbers[~np.isnan(numbers)]
        if len(known) and not _takes_few_values(known, fmt, info, told):
            return _number(fmt, numbers, column.drawn, info, told, takes=takes, keys=keys, scale=scale, role=role)
        return _levels_of_numbers(column, info, fmt, numbers, takes, keys[0], role)
    if is_number(series) or is_date(series):
        fmt, numbers = NumberFormat.of(str(info.name), series, date=is_date(series))
        return _levels_of_numbers(column, info, fmt, numbers, takes, keys[0], role)
    series = hashable(series)
    levels = Levels.of(series)
    return _level_column(column, info, levels, levels.index(series), takes, keys[0], role)


# -- categories ------------------------------------------------------------------------------------------------------
def _levels_of_numbers(
    column: Column,
    info: ColumnInfo,
    fmt: NumberFormat,
    numbers: np.ndarray,
    takes: frozenset[str],
    key: str,
    role: Role,
) -> LevelColumn:
    values = np.unique(numbers[~np.isnan(numbers)])
    index = np.where(np.isnan(numbers), -1, np.searchsorted(values, numbers))
    return _level_column(column, info, Levels(tuple(values.tolist())), index, takes, key, role, fmt)


def _level_column(
    column: Column, info: ColumnInfo, levels: Levels, index: np.ndarray, takes: frozenset[str], key: str, role: Role,
    fmt: NumberFormat | None = None,
) -> LevelColumn:  # fmt: skip
    series, missing = column.cells, index < 0
    counts = np.bincount(index[~missing & column.drawn], minlength=len(levels))
    counts = np.maximum(counts, 1)  # a value that was not drawn is rare, not impossible
    rest: tuple[int, ...] = ()
    if len(levels) > MOST_LEVELS:
        by_count = np.argsort(-counts, kind="stable")
        order = np.concatenate([np.sort(by_count[: MOST_LEVELS - 1]), by_count[MOST_LEVELS - 1 :]])
        levels, counts = Levels(tuple(levels.values[i] for i in order)), counts[order]
        rest = tuple(counts[MOST_LEVELS - 1 :].tolist())
        counts = np.append(counts[: MOST_LEVELS - 1], sum(rest))
    # Numbers are in order, unless they are said to be names, or are what is to be told apart.
    categories, ranked = None, fmt is not None and role != "target" and info.type != "category"
    if isinstance(series.dtype, pd.CategoricalDtype):
        categories, ranked = tuple(plain(c) for c in series.dtype.categories), bool(series.dtype.ordered)
    absent = bool(missing.any()) and role != "target" and len(levels) > 0
    return LevelColumn(
        name=info.name,
        key=key,
        dtype=str(series.dtype),
        levels=levels,
        rest=rest,
        absent=absent,
        binary=len(levels) == 2 and not absent and role != "target" and "binary" in takes,
        format=fmt,
        categories=categories,
        ranked=ranked,
        none=series.dtype == object and bool(missing.any()) and series[missing].iloc[0] is None,
        common=int(counts.argmax()) if len(counts) else 0,
        role=role,
    )


# -- numbers ---------------------------------------------------------------------------------------------------------
def _takes_few_values(known: np.ndarray, fmt: NumberFormat, info: ColumnInfo, told: bool) -> bool:
    """Tell whether numbers are better told apart than counted: few values that repeat."""
    if info.n_distinct == 1:
        return info.type != "real" or not told or info.n_missing > 0
    if told and info.type != "date":
        return False
    if info.type == "integer" or fmt.form == "date":
        return info.n_distinct <= FEW_VALUES and len(known) >= 2 * info.n_distinct
    return info.n_distinct <= FEW_VALUES and len(known) > 5 * info.n_distinct


def find_lattice(known: np.ndarray, decimals: int | None, *, whole: bool) -> Lattice | None:
    """Return the lattice that numbers lie on, or None if they are continuous.

    Whole numbers always lie on one; decimals do if at most 256 values occur, five times each on average.
    """
    values = np.unique(known)
    if whole:
        decimals = 0
    elif decimals is None or len(values) > LATTICE_LEVELS or 5 * len(values) >= len(known):
        return None
    assert decimals is not None
    points = np.rint(values * 10.0**decimals).astype(np.int64)
    step = int(np.gcd.reduce(np.diff(points))) if len(points) >= SURE_STEP else 1
    levels = int(points[-1] - points[0]) // step + 1
    if not whole and levels > LATTICE_LEVELS * 4:
        return None
    return Lattice(int(points[0]), step, decimals, levels)


def find_atoms(known: np.ndarray, lattice: Lattice | None) -> tuple[float, ...]:
    """Return the values that repeat so often that no smooth density holds them, at most five, in order.

    An atom holds at least 5 % (15 % on a short lattice) of the numbers that are no atoms yet, and 20 of them. On a lattice it
    must also stand out from both neighbours, so that the mode of a short count is none.
    """
    values, counts = np.unique(known, return_counts=True)
    outstanding = counts
    if lattice is not None:
        at = dict(zip(lattice.index(values).tolist(), counts.tolist(), strict=True))
        beside = np.array([max(at.get(k - 1, 0), at.get(k + 1, 0)) for k in at])
        outstanding = np.where(counts >= SPIKE * beside, counts, 0)
    short = lattice is not None and lattice.levels <= LATTICE_LEVELS
    share, left, atoms = LATTICE_ATOM_SHARE if short else ATOM_SHARE, len(known), []
    for i in np.argsort(-outstanding, kind="stable")[:MOST_ATOMS]:
        if outstanding[i] < max(ATOM_COUNT, share * left):
            break
        atoms.append(float(values[i]))
        left -= int(counts[i])
    return tuple(sorted(atoms))


def _number(
    fmt: NumberFormat, numbers: np.ndarray, drawn: np.ndarray, info: ColumnInfo, told: bool, *, takes: frozenset[str],
    keys: tuple[str, str], scale: str, role: Role,
) -> NumberColumn:  # fmt: skip
    known = numbers[~np.isnan(numbers)]
    smooth = told and info.type == "real"
    lattice = None if smooth else find_lattice(known, fmt.decimals, whole=info.type == "integer" or fmt.form == "date")
    if lattice is not None:
        fmt = replace(fmt, decimals=lattice.decimals if fmt.form != "date" else fmt.decimals)
    usual = numbers[drawn & ~np.isnan(numbers)] if scale != "minmax" else known
    atoms = () if smooth else find_atoms(usual, lattice)
    rest = usual[~np.isin(usual, atoms)]
    rest = rest if len(rest) else known[~np.isin(known, atoms)]
    place = lattice.index(rest) if lattice else rest
    ordered = lattice is not None and lattice.levels <= LATTICE_LEVELS and "ordered" in takes
    if scale == "lattice":  # a model that looks for the lattice itself
        scale = "none" if lattice else "standard"
    return NumberColumn(
        name=info.name,
        key=keys[0],
        format=fmt,
        scale=Affine() if ordered else fit_scale(place, scale, gap=1.0 if lattice else 0.0),
        lattice=lattice,
        ordered=ordered,
        atoms=atoms,
        absent=info.n_missing > 0,
        low=float(known.min()),
        high=float(known.max()),
        loc=float(place.mean()) if ordered else 0.0,
        spread=max(float(place.std()), 0.5) if ordered else 1.0,
        gate=keys[1],
        role=role,
    )


# -- what is not modelled --------------------------------------------------------------------------------------------
def _skipped(series: pd.Series, info: ColumnInfo) -> SkippedColumn:
    present = series.dropna()
    part = SkippedColumn(info.name, info.type, str(series.dtype), prefix="id-")  # type: ignore[arg-type]
    if info.type == "text" or not len(present):
        return part
    if pd.api.types.is_numeric_dtype(series):
        part.next = math.floor(float(present.max())) + 1
        return part
    ends = [re.fullmatch(rf"(.*?)(\d{{1,{MOST_DIGITS}}})", str(v)) for v in present]
    if all(ends) and len({e[1] for e in ends if e}) == 1:
        widths = {len(e[2]) for e in ends if e}
        part.prefix = next(e[1] for e in ends if e)
        part.next = max(int(e[2]) for e in ends if e) + 1
        part.digits = widths.pop() if len(widths) == 1 else 0
    return part
