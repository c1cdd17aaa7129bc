"""Cells of a table that was read as text: missing markers, numbers in words' clothing, infinite values."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Problem
from .delimited import MISSING, refuse_width

if TYPE_CHECKING:
    import pandas as pd

_PLAIN = re.compile(r"[+-]?((0|[1-9]\d{0,17})|\d*\.\d+|\d+\.\d*|\d+(\.\d*)?[eE][+-]?\d+|\d*\.\d+[eE][+-]?\d+)")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3}){1,5}(\.\d+)?")


def clean_cells(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Turn text columns that hold numbers into numbers, and markers such as `?` into missing cells.

    Arguments:
        frame: Columns as a parser left them: numbers, booleans, or text.

    Example:
        >>> import pandas as pd
        >>> frame, notes = clean_cells(pd.DataFrame({"age": ["30", "?"], "name": [" Ann", "Bo "]}))
        >>> frame.age.dtype, list(frame.name), notes
        (Int64Dtype(), ['Ann', 'Bo'], ['missing cells: age 1 (?).'])
    """
    cleaner = Cleaner()
    cleaner.look(frame)
    return cleaner.clean(frame), cleaner.notes()


class Cleaner:
    """Cleans a table block by block alike: look at all blocks first, then clean them."""

    def __init__(self) -> None:
        self.words: dict[Any, Words] = {}  # of text columns
        self.missing: Counter[Any] = Counter()
        self.infinite: Counter[Any] = Counter()

    def look(self, frame: pd.DataFrame) -> None:
        """Take note of what the cells of a block are."""
        import pandas as pd

        for name, column in frame.items():
            self.missing[name] += int(column.isna().sum())
            if pd.api.types.is_float_dtype(column.dtype):
                self.infinite[name] += int(_infinite(column).sum())
            elif pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype):
                found = Words.of(column)
                self.words[name] = self.words[name].joined(found) if name in self.words else found

    def clean(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a block with cells as all blocks have them."""
        import pandas as pd

        columns: dict[Any, Any] = {}
        for name, column in frame.items():
            if name in self.words:
                column = self.words[name].clean(column)
            elif self.infinite[name] and pd.api.types.is_float_dtype(column.dtype):
                column = column.mask(_infinite(column))
            columns[name] = column
        return pd.DataFrame(columns, index=frame.index)

    def notes(self) -> list[str]:
        """Say which numbers were read in an unusual way, and which cells are missing."""
        notes, missing = [], []
        for name, empty in self.missing.items():
            words = self.words.get(name)
            markers: Counter[str] = Counter({"infinite": self.infinite[name]} if self.infinite[name] else {})
            if words is not None and words.cleaned:
                markers = words.markers
                notes += [f"{name}: commas are read as thousands separators."] if words.commas and words.numbers else []
            if empty := empty + sum(markers.values()):
                said = ", ".join(m for m, _ in markers.most_common(3) if m) or "empty"
                missing.append(f"{name} {empty:,} ({said})")
        if missing:
            rest = f" and {len(missing) - 8} more columns" if len(missing) > 8 else ""
            notes.append(f"missing cells: {', '.join(missing[:8])}{rest}.")
        return notes


@dataclass(frozen=True)
class Words:
    """What the cells of a text column are; it decides what becomes of each.

    Arguments:
        truths: All values are True or False, and there are some.
        foreign: Some are dates, decimals: objects that a parser made on purpose.
        present: Some words are no marker of a missing cell.
        numbers: All of these are numbers. Whole ones beyond 18 digits (card numbers, hashes) fit neither int64 nor float64.
        commas: Some numbers have commas.
        points: Some numbers are not whole.
        empty: Some cells are missing.
        markers: How often each marker occurs.
    """

    truths: bool
    foreign: bool
    present: bool
    numbers: bool
    commas: bool
    points: bool
    empty: bool
    markers: Counter[str]

    @classmethod
    def of(cls, column: pd.Series) -> Words:
        """Look at a block of cells."""
        import pandas as pd

        codes, values = pd.factorize(column)
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        words = [str(v).strip() for v in values]
        present = [w for w in words if w not in MISSING]
        markers: Counter[str] = Counter()
        for word, count in zip(words, counts, strict=True):
            if word in MISSING:
                markers[word] += int(count)
        return cls(
            truths=len(values) > 0 and all(isinstance(v, bool | np.bool_) for v in values),
            foreign=any(not isinstance(v, str | int | float | bool | np.generic) for v in values),
            present=bool(present),
            numbers=all(_PLAIN.fullmatch(w) or _THOUSANDS.fullmatch(w) for w in present),
            commas=any("," in w for w in present),
            points=any(re.search(r"[.eE]", w) for w in present),
            empty=bool((codes < 0).any() or markers),
            markers=markers,
        )

    def joined(self, other: Words) -> Words:
        """Return what the cells of two blocks are together."""
        filled = [w for w in (self, other) if w.present or w.markers]
        return Words(
            truths=bool(filled) and all(w.truths for w in filled),
            foreign=self.foreign or other.foreign,
            present=self.present or other.present,
            numbers=self.numbers and other.numbers,
            commas=self.commas or other.commas,
            points=self.points or other.points,
            empty=self.empty or other.empty,
            markers=self.markers + other.markers,
        )

    @property
    def cleaned(self) -> bool:
        """Whether cells are read as words, rather than left as the parser made them."""
        return not self.truths and not self.foreign

    def clean(self, column: pd.Series) -> pd.Series:
        """Return a block of the column as numbers, truth values or texts."""
        import pandas as pd

        if not self.cleaned:
            return column.astype("boolean") if self.truths else column
        codes, values = pd.factorize(column)
        words = [str(v).strip() for v in values]
        if not self.numbers or not self.present:
            texts = np.array([None if w in MISSING else w for w in words] + [None], dtype=object)
            dtype = pd.Series(["text"]).dtype if self.present else None
            return pd.Series(texts[codes].tolist(), index=column.index, dtype=dtype)
        words = [w.replace(",", "") for w in words]
        if self.points:
            numbers = np.array([np.nan if w in MISSING else float(w) for w in words] + [np.nan])
            return pd.Series(numbers[codes], index=column.index)
        whole = pd.Series(np.array([0 if w in MISSING else int(w) for w in words] + [0], np.int64)[codes], column.index)
        missing = np.array([w in MISSING for w in words] + [True])[codes]
        return whole.astype("Int64").mask(missing) if self.empty else whole


def check_cells(frame: pd.DataFrame, where: str) -> None:
    """Raise `Problem` for a table without rows or columns, or with lists and other containers in its cells."""
    import pandas as pd

    if not frame.shape[1]:
        raise Problem(f"{where} holds no columns. Give a table with at least one.")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise Problem(f'{where} has several columns named "{twice}". Rename them.')
    refuse_width(frame.shape[1], where)
    if not len(frame):
        raise Problem(f"{where} holds no rows. Give a file with at least one record.")
    for name in frame.columns:
        if pd.api.types.is_object_dtype(frame[name].dtype):
            odd = next((v for v in frame[name] if isinstance(v, list | dict | tuple | set | bytes | np.ndarray)), None)
            if odd is not None:
                raise Problem(
                    f'{where}: column "{name}" holds a {type(odd).__name__} per row. Split it into columns or drop it.'
                )


def _infinite(column: pd.Series) -> np.ndarray:
    return np.isinf(column.to_numpy("float64", na_value=np.nan))
