"""What a person should know about their data before training: duplicates, constants, missing cells, outliers, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .disk import blocks
from .records import Dataset, Records

if TYPE_CHECKING:
    import pandas as pd

    from .columns import ColumnInfo

NATURAL_REPEATS = 0.2  # above it, equal rows are no accident but what few columns with few levels give
_OUTLIER = 20.0
_NORMAL_MAD = 0.6745  # median absolute deviation of a standard normal


def duplicate_notes(parts: dict[str, np.ndarray], dropped: int) -> list[str]:
    """Say how many records occur more than once, and which later parts repeat training records.

    Arguments:
        parts: Content hashes by part, after dropping.
        dropped: How many records were dropped before.
    """
    notes = [f"{dropped:,} repeated records were dropped."] if dropped else []
    n, repeats = sum(map(len, parts.values())), repeats_in(*parts.values())
    if repeats > NATURAL_REPEATS * n:
        return [
            *notes,
            f"{repeats / n:.0%} of the records repeat an earlier one (kept; --drop-duplicates drops repeats).",
        ]
    if repeats:
        said = "1 record repeats" if repeats == 1 else f"{repeats:,} records repeat"
        notes.append(f"{said} an earlier one (kept; --drop-duplicates drops repeats).")
        train = np.sort(parts["train"])
        for name in ("valid", "test"):
            if len(train) and (shared := _shared(parts[name], train)):
                notes.append(f"{shared:,} of the {len(parts[name]):,} {name} records also occur in train.")
    return notes


def repeats_in(*content: np.ndarray) -> int:
    """Return how many of the hashes repeat an earlier one."""
    ordered = np.concatenate(content)
    ordered.sort()
    return sum(int((ordered[rows][1:] == ordered[rows][:-1]).sum()) for rows in _overlapping(len(ordered)))


def _overlapping(n: int) -> Iterator[slice]:
    """Yield slices that share their ends, so that neighbours meet."""
    return (slice(max(0, rows.start - 1), rows.stop) for rows in blocks(n, 1))


def _shared(content: np.ndarray, ordered: np.ndarray) -> int:
    """Return how many hashes occur among ordered ones."""
    found = 0
    for rows in blocks(len(content), 1):
        part = content[rows]
        found += int((ordered[np.searchsorted(ordered, part).clip(max=len(ordered) - 1)] == part).sum())
    return found


def column_notes(records: Records, columns: Mapping[Any, ColumnInfo]) -> list[str]:
    """Say which columns of a table are constant, identifiers, free text, or hold outliers."""
    notes = []
    for kind, one, many in (
        ("constant", "constant", "constant"),
        ("id", "an identifier", "identifiers"),
        ("text", "free text", "free text"),
    ):
        names = [str(c.name) for c in columns.values() if c.type == kind]
        if names:
            said = f"is {one}" if len(names) == 1 else f"are {many}"
            notes.append(f"{_listed(names)} {said}: not learned.")
    far = {str(c.name): outliers(records, c.name) for c in columns.values() if c.type in ("real", "integer")}
    if far := {name: count for name, count in far.items() if count}:
        listed = _listed([f"{name} {count:,}" for name, count in far.items()])
        notes.append(f"values more than {_OUTLIER:g} robust deviations from the median: {listed} (kept).")
    return notes


def outliers(records: Records, name: str) -> int:
    r"""Return how many values have \(|x - \mathrm{median}| > 20 \cdot \mathrm{MAD} / 0.6745\); 0 where MAD is 0 (spikes).

    Median and MAD of a long table are those of evenly spaced rows; the count is of all.
    """
    from .digest import DRAWN

    column, n = records.x[name], len(records)
    drawn = _finite(column if n <= DRAWN else column.iloc[np.arange(DRAWN) * n // DRAWN])
    if not len(drawn):
        return 0
    with np.errstate(over="ignore"):  # near the largest float, a spread may be infinite: then nothing is far
        median = np.median(drawn)
        spread = np.median(np.abs(drawn - median)) / _NORMAL_MAD
        if not spread > 0:
            return 0
        far = (np.abs(_finite(column.iloc[rows]) - median) > _OUTLIER * spread for rows in blocks(n, 1))
        return sum(int(part.sum()) for part in far)


def _finite(column: pd.Series) -> np.ndarray:
    values = column.to_numpy("float64", na_value=np.nan)
    return values[np.isfinite(values)]


def summarise(data: Dataset, columns: Mapping[Any, ColumnInfo]) -> str:
    """Return one line: how many records of what shape, which label, and the sizes of the parts.

    Arguments:
        data: The three parts.
        columns: What the columns of a table are; empty for images.
    """
    parts = {name: data.part(name) for name in ("train", "valid", "test")}
    total = sum(map(len, parts.values()))
    sizes = " / ".join(f"{name} {len(part):,}" for name, part in parts.items())
    what = _image_words(data.train, total) if data.modality == "image" else _table_words(data.train, total, columns)
    return f"{what} · {sizes} (split {data.split_id})"


def _image_words(records: Records, total: int) -> str:
    _, height, width, channels = records.x.shape
    colour = "grey" if channels == 1 else "colour"
    if records.options.get("levels") == 2:
        colour = "black and white"
    labels = ""
    if records.y is not None:
        labels = f", {len({str(v) for v in records.y if v == v}):,} labels"
    return f"{total:,} image{'s' if total != 1 else ''} {height}x{width} {colour}{labels}"


def _table_words(records: Records, total: int, columns: Mapping[Any, ColumnInfo]) -> str:
    kinds = Counter(c.type for c in columns.values())
    binary = sum(c.type == "integer" and c.n_distinct == 2 for c in columns.values())
    groups = {
        ("number", "numbers"): kinds["real"] + kinds["integer"] - binary,
        ("binary", "binary"): binary,
        ("category", "categories"): kinds["category"] + kinds["boolean"],
        ("date", "dates"): kinds["date"],
        ("identifier", "identifiers"): kinds["id"],
        ("text", "texts"): kinds["text"],
        ("constant", "constants"): kinds["constant"],
    }
    inside = ", ".join(f"{k:,} {many if k != 1 else one}" for (one, many), k in groups.items() if k)
    width = records.x.shape[1]
    target = f", target {records.target}" if records.target else ""
    return f"{total:,} row{'s' if total != 1 else ''}, {width:,} column{'s' if width != 1 else ''} ({inside}){target}"


def inferred(records: Records) -> dict[str, ColumnInfo]:
    """Return what every column of a table is."""
    from .columns import infer_columns

    return infer_columns(records.x, records.options.get("types"), records.target)


def repeated(content: np.ndarray) -> np.ndarray:
    """Return True where a content hash repeats an earlier one."""
    again = np.ones(len(content), dtype=bool)
    again[np.unique(content, return_index=True)[1]] = False
    return again


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
