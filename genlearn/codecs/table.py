"""Tables to codes and back: numbers scaled, counts on their lattice, spikes and missing cells as gates, categories as levels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.columns import infer_columns
from ..data.digest import digest
from ..data.records import Records
from ..errors import Problem, did_you_mean
from ..layout import Code, Field, Layout, fold
from .base import Codec, Given
from .choose import choose
from .numbers import check_array_type
from .part_level import LevelColumn
from .part_number import NumberColumn
from .parts import Part, SkippedColumn, part_from_json
from .stored import typed
from .units import Number, Units

KEPT_OPTIONS: dict[str, Any] = {"origin": str, "dtype": str, "y_apart": bool}
SHOWN = 6


@dataclass
class ParsedTable:
    """A table as plain numbers, before any change of variables.

    Arguments:
        x: `(n, d)` float64: levels, lattice indices and numbers; NaN where absent.
        y: `(n,)` int64 labels, -1 where unknown; None without a target.
        log_det: `(n,)` log probabilities of what a level does not tell and of cells unlike all of training.
        columns: The columns of the table, in its own order.
    """

    x: np.ndarray
    y: np.ndarray | None
    log_det: np.ndarray
    columns: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> ParsedTable:
        return replace(self, x=self.x[rows], y=None if self.y is None else self.y[rows], log_det=self.log_det[rows])


class TableCodec(Codec):
    r"""Tables to codes and back.

    A number becomes \(z = g(v)\) and adds \(\log g'(v)\) to the log density; a count that the model cannot take as such is
    dequantised, \(z = g(k + u - \frac12)\); categories are levels. Repeated values and missing cells are levels of a gate. A cell
    unlike all of training (a new category, a first missing value, a constant that changed) has log probability
    \(-\log(n + 2)\), the rule of succession, whatever the model: a new category counts as the most frequent one besides, a
    missing cell as unknown.

    Options of the records: `types` (column -> type), `scale` (`auto`, `standard`, `minmax`, `quantile`, `none`).

    Example:
        >>> frame = pd.DataFrame({"age": [31.5, 45.25, 27.125], "sex": ["f", "m", "f"]})
        >>> codec = TableCodec().fit(Records("table", frame))
        >>> [field.kind for field in codec.layout.fields]
        ['real', 'binary']
        >>> bool(codec.decode(codec.encode(Records("table", frame))).x.equals(frame))
        True
    """

    modality: ClassVar[str] = "table"

    parts: list[Part]
    target: Any
    rows: int
    options: dict[str, Any]

    @property
    def features(self) -> int:
        """Number of columns, a label that was given apart left out."""
        return len(self.parts) - bool(self.options.get("y_apart"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a DataFrame, if all of them are text."""
        apart = self.target if self.options.get("y_apart") else None
        names = tuple(p.name for p in self.parts if p.name != apart)
        named = self.options.get("origin") != "array" and all(isinstance(n, str) for n in names)
        return names if named else ()

    @property
    def units(self) -> Units:
        """What the codes say in the units of their columns, where the codes themselves do not."""
        numbers: dict[int, Number] = {}
        ranked: dict[int, tuple[float, ...]] = {}
        for part, where in self._where.items():
            j = where.stop - 1
            if isinstance(part, NumberColumn):
                number = part.in_units(j)
                if number is not None:
                    numbers[j] = number
            elif isinstance(part, LevelColumn) and part.counted:
                ranked[j] = (*part.levels.values, *([math.nan] if part.absent else []))
        return Units(numbers, ranked)

    # -- fitting -----------------------------------------------------------------------------------------------------
    def fit(self, records: Records) -> Self:
        """Learn levels, lattices, atoms and scales; set `layout` and `notes`."""
        frame, options = records.x, records.options
        _check_names(frame)
        if records.target is not None and records.target not in frame:
            close = did_you_mean(str(records.target), map(str, frame.columns))
            raise Problem(f'the table has no column "{records.target}" to be the target.{close}')
        self.target, self.rows = records.target, len(frame)
        self.options = {k: options[k] for k in KEPT_OPTIONS if k in options}
        columns = digest(frame)
        infos = infer_columns(columns, options.get("types"), self.target)
        as_array = options.get("origin") == "array"
        whole = as_array and np.dtype(options.get("dtype", "float64")).kind in "iu"
        taken = {str(c) for c in frame.columns}
        self.parts = []
        for name, info in infos.items():
            gate = f"{name}?"
            while gate in taken:
                gate += "?"
            taken.add(gate)
            self.parts.append(
                choose(
                    columns[name],
                    info,
                    takes=self.takes,
                    keys=(str(name), gate),
                    scale=options.get("scale") or self.scale,
                    role="target" if name == self.target else "feature",
                    round_to=0 if whole and info.note == "as told" else "found",
                )
            )
        self._arrange()
        if self._label is not None and not self._label.labels:
            raise Problem(f'the target "{self.target}" has no value in any row. Choose another, or none.')
        self.notes = _notes(self.parts, infos, self.rows)
        return self

    def _arrange(self) -> None:
        """Decide which parts make up `x`, and set the layout."""
        self._named = {p.name: p for p in self.parts}
        label = self._named[self.target] if self.target is not None else None
        self._label = label if isinstance(label, LevelColumn) else None
        still = [p for p in self.parts if not isinstance(p, SkippedColumn) and p is not self._label]
        coded = [p for p in still if _varies(p)]
        if not coded:
            numbers = [p for p in still if isinstance(p, NumberColumn) or p.format is not None]
            coded = (numbers or still)[:1]
        if not coded and self._label is not None:
            coded, self._label = [self._label], None
        if not coded:
            names = ", ".join(f'"{p.name}"' for p in self.parts[:SHOWN])
            raise Problem(f"nothing to model: {names} are identifiers or free text. Set their types (column=category).")
        fields: list[Field] = []
        self._where: dict[Any, slice] = {}  # columns of x by part
        for part in coded:
            own = part.fields()
            self._where[part] = slice(len(fields), len(fields) + len(own))
            fields += own
        measure = "; ".join(p.measure for p in self.parts if not isinstance(p, SkippedColumn))
        layout = Layout(tuple(fields), self._label.fields()[0] if self._label else None, measure)
        self.layout = layout.with_target_as_field() if self.fold else layout

    # -- records to codes --------------------------------------------------------------------------------------------
    def parse(self, records: Records) -> ParsedTable:
        """Turn a table into plain numbers; raise `Problem` for columns or cells that do not fit."""
        frame = self._fitting(records)
        n = len(frame)
        x, log_det, unseen = (
            np.empty((n, sum(s.stop - s.start for s in self._where.values()))),
            np.zeros(n),
            -math.log(self.rows + 2),
        )
        y = np.full(n, -1, dtype=np.int64) if self._label else None
        for part in self.parts:
            if isinstance(part, SkippedColumn) or part.name not in frame:
                continue
            value, within = part.parse(frame[part.name])
            if part is self._label:
                known = ~np.isnan(value[:, 0])
                new = np.isnan(within) & known
                y = np.where(known & ~new, np.nan_to_num(value[:, 0]), -1).astype(np.int64)
                within = np.where(known, within, 0.0)  # a missing label is summed over, which costs nothing
            elif part in self._where:
                x[:, self._where[part]] = value
            elif isinstance(part, NumberColumn):
                within = np.where(value[:, 0] == part.low, 0.0, math.nan)  # a constant
            log_det += np.where(np.isnan(within), unseen, within)
        return ParsedTable(x, y, log_det, tuple(frame.columns))

    def _fitting(self, records: Records) -> pd.DataFrame:
        if records.modality != "table":
            raise Problem(f"this model was fitted on a table, not on {records.modality} records.")
        frame = records.x
        if self.target is not None and self.target not in frame and records.target in frame:
            frame = frame.rename(columns={records.target: self.target})
        needed = [p.name for p in self.parts if not isinstance(p, SkippedColumn) and p.name != self.target]
        if lacking := [str(c) for c in needed if c not in frame]:
            close = did_you_mean(lacking[0], [str(c) for c in frame.columns])
            fix = f"{close} Rename it." if close else " Add them (cells may be empty)."
            raise Problem(f"the table lacks columns that the model was fitted on: {_listed(lacking)}.{fix}")
        known = {p.name for p in self.parts}
        if extra := [str(c) for c in frame.columns if c not in known]:
            close = did_you_mean(extra[0], [str(c) for c in known])
            raise Problem(
                f"the table has columns that the model was not fitted on: {_listed(extra)}. Drop them.{close}"
            )
        return frame

    def transform(
        self, raw: ParsedTable, noise: Tensor | torch.Generator | None = None, unknown: np.ndarray | None = None
    ) -> Code:
        """Turn a parsed table into a code; see `Codec.transform`."""
        x, log_det = raw.x.copy(), raw.log_det.copy()
        y = None if raw.y is None else raw.y.copy()
        mask = None
        if unknown is not None:
            mask = np.ones(x.shape, dtype=bool)
            for name, rows in zip(raw.columns, unknown.T, strict=True):
                part = self._named[name]
                if part is self._label and y is not None:
                    y[rows] = -1
                elif part in self._where:
                    where = self._where[part]
                    mask[rows, where], x[rows, where] = False, math.nan
        for part, where in self._where.items():
            if isinstance(part, NumberColumn):
                block = x[:, where]
                slope = part.encode(block, self._noise(noise, where.stop - 1, len(x)))
                if slope is not None:
                    log_det += slope
        code = Code(
            torch.from_numpy(x),
            None if y is None else torch.from_numpy(y),
            None if mask is None else torch.from_numpy(mask),
            torch.from_numpy(log_det),
        )
        return fold(code) if self.fold else code

    def _noise(self, noise: Tensor | torch.Generator | None, column: int, n: int) -> Any:
        if noise is None or not self.layout.fields[column].width:
            return 0.5
        if isinstance(noise, torch.Generator):
            return torch.rand(n, generator=noise, dtype=torch.float64).numpy()
        return float(noise[column])

    # -- codes to records --------------------------------------------------------------------------------------------
    def decode(self, code: Code) -> Records:
        """Turn codes into a table with the columns and dtypes of training."""
        x = code.x.detach().cpu().double().numpy()
        y = None if code.y is None else code.y.cpu().double().numpy()
        if self.fold and self._label is not None:
            x, y = x[:, :-1], x[:, -1]
        columns = {}
        for part in self.parts:
            if isinstance(part, SkippedColumn):
                columns[part.name] = part.write(len(x))
            elif part is self._label:
                columns[part.name] = part.decode(np.full((len(x), 1), math.nan) if y is None else y[:, None])
            elif part in self._where:
                columns[part.name] = part.decode(x[:, self._where[part]])
            else:
                columns[part.name] = part.decode(np.zeros((len(x), 1)))
        frame = pd.DataFrame(columns)
        return Records("table", frame, target=self.target, options=self.options)

    # -- conditions and holes ----------------------------------------------------------------------------------------
    def given(self, conditions: Mapping[str, Any]) -> Given:
        """Translate conditions on columns; numbers take a value or a range "low:high"."""
        wanted = Given(torch.full((1, self.layout.size), math.nan, dtype=torch.float64), names=tuple(conditions))
        named = {str(p.name): p for p in self.parts}
        for name, value in conditions.items():
            part = named.get(str(name))
            if part is None:
                raise Problem(
                    f'no column named "{name}".{did_you_mean(str(name), named)} Columns: {_listed(list(named))}.'
                )
            if isinstance(part, SkippedColumn):
                raise Problem(
                    f'"{name}" is {"an identifier" if part.type == "id" else "free text"}: it is not modelled.'
                )
            asked = part.given(value)
            if part is self._label and not self.fold:
                if isinstance(asked[0], tuple):
                    raise Problem(f'the target "{name}" takes one value, not the range "{value}".')
                wanted.y = int(asked[0])
                continue
            if part is not self._label and part not in self._where:
                continue  # a constant that was asked for by its own value
            start = self.layout.size - 1 if part is self._label else self._where[part].start
            for offset, bound in asked.items():
                if isinstance(bound, tuple):
                    wanted.ranges[start + offset] = bound
                else:
                    wanted.x[0, start + offset] = bound
        return wanted

    def missing(self, records: Records, mask: Any | None) -> np.ndarray:
        """Return `(n, columns)`, True where a cell is to be filled: `mask`, or the empty cells of modelled columns."""
        frame = self._fitting(records)
        modelled = np.array([not isinstance(self._named[c], SkippedColumn) for c in frame.columns])
        if mask is None:
            return frame.isna().to_numpy() & modelled
        cells = np.asarray(mask)
        if cells.shape != frame.shape:
            raise Problem(f"the mask has shape {cells.shape}, the table {frame.shape}. Give one entry per cell.")
        cells = cells.astype(bool)
        if (lost := cells.any(0) & ~modelled).any():
            names = _listed([str(c) for c, bad in zip(frame.columns, lost, strict=True) if bad])
            raise Problem(f"identifiers and free text cannot be filled in: {names}. Leave them out of the mask.")
        return cells

    def fill(self, records: Records, filled: Records, unknown: np.ndarray) -> Records:
        """Return the table with unknown cells taken from `filled`; dtypes stay where they can hold the new cells."""
        frame = records.x.copy()
        for column, rows in zip(frame.columns, unknown.T, strict=True):
            if rows.any():
                source = column if column in filled.x else self.target
                frame[column] = _merge(frame[column], filled.x[source], rows)
        return Records("table", frame, records.y, records.target, records.options)

    # -- storage -----------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """Return everything that `from_json` needs."""
        return {
            "takes": sorted(self.takes),
            "fold": self.fold,
            "target": self.target,
            "rows": self.rows,
            "options": self.options,
            "notes": self.notes,
            "columns": [p.to_json() for p in self.parts],
        }

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> Self:
        """Rebuild a fitted codec."""
        codec = cls(frozenset(typed(spec["takes"], tuple[str, ...])), typed(spec["fold"], bool))
        codec.target, codec.rows = typed(spec["target"], Any), typed(spec["rows"], int)
        codec.options = {k: typed(v, KEPT_OPTIONS[k], k) for k, v in spec["options"].items()}
        check_array_type(codec.options.get("dtype", "float64"))
        codec.notes = list(typed(spec["notes"], tuple[str, ...]))
        codec.parts = [part_from_json(p) for p in typed(spec["columns"], list)]
        names = [p.name for p in codec.parts]
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        codec._arrange()
        return codec


codec = TableCodec


def _varies(part: Part) -> bool:
    if isinstance(part, LevelColumn):
        return len(part.labels) > 1
    return isinstance(part, NumberColumn) and (part.gated or part.low < part.high)


def _merge(old: pd.Series, new: pd.Series, rows: np.ndarray) -> pd.Series:
    """Return `old` with `rows` from `new`, in the dtype of `old` if that can hold them, else in that of `new`."""
    picked = new[rows]
    for dtype in (old.dtype, new.dtype, np.dtype(object)):
        try:
            out, cells = old.astype(dtype), picked.astype(dtype)
        except (ValueError, TypeError):
            continue
        lossless = (cells.astype(object) == picked.astype(object)) | picked.isna()
        kept = (out.astype(object) == old.astype(object)) | old.isna()
        if lossless.all() and (kept | rows).all():
            out[rows] = cells
            return out
    raise AssertionError("a column of objects holds anything")


def _check_names(frame: pd.DataFrame) -> None:
    if not all(isinstance(c, str | int | np.integer) for c in frame.columns):
        raise Problem("column names must be text or whole numbers. Flatten them: frame.columns = [...].")
    names = [str(c) for c in frame.columns]
    if twice := sorted({c for c in names if names.count(c) > 1}):
        raise Problem(f"the table has several columns named {_listed(twice)}. Rename them.")
    if not names:
        raise Problem("the table has no columns.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > SHOWN else "")


def _notes(parts: list[Part], infos: Mapping[Any, Any], n: int) -> list[str]:
    """Say what encoding does to the columns, one sentence per matter."""
    matters: dict[str, list[str]] = {}

    def say(matter: str, name: str) -> None:
        matters.setdefault(matter, []).append(name)

    for part in parts:
        name, info = str(part.name), infos[part.name]
        if isinstance(part, SkippedColumn):
            say("identifiers, numbered anew" if part.type == "id" else "free text, left empty", name)
            continue
        if not _varies(part):
            say("constant, left out and put back", name)
        if info.n_missing and _varies(part):
            say("missing cells are modelled", f"{name} ({info.n_missing / n:.0%})")
        if isinstance(part, NumberColumn):
            if part.atoms:
                say("values that repeat are atoms", part.measure.split(" + ")[0])
            if part.lattice:
                say("numbers with a fixed step, given back on it within the range of training", name)
        elif part.rest:
            say("the rarest categories share a level and are drawn by frequency", f"{name} ({len(part.rest)})")
    return [f"{matter}: {_listed(names)}" for matter, names in matters.items()]
