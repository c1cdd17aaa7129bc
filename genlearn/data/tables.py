"""Table files (delimited text, JSON lines, Parquet) into DataFrames that agree on their columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import Problem
from .cells import check_cells, clean_cells
from .delimited import Dialect, parse, sniff
from .memory import allowance, in_words
from .parquet import is_large, matching, read_parquet, read_row_groups
from .raw import decode_text

if TYPE_CHECKING:
    import pandas as pd

JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
DELIMITED_SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
SUFFIXES = JSON_SUFFIXES | PARQUET_SUFFIXES | DELIMITED_SUFFIXES


@dataclass(frozen=True)
class TableFile:
    """One table that has not been read yet: its path for people, how to get its bytes, and where it lies if it is a file."""

    path: str
    read: Callable[[], bytes]
    place: Path | None = None


def suffix(name: str) -> str:
    """Return the lower-case ending that says what a file is, `.gz` aside.

    Example:
        >>> suffix("data/Train.CSV.gz")
        '.csv'
    """
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix == ".gz" else path.suffix


def load_tables(
    files: Sequence[TableFile], *, header: bool = True, target: str | None = None
) -> tuple[list[pd.DataFrame], list[str]]:
    """Read table files that hold parts of one data set; their columns get the same names and types.

    Arguments:
        files: What to read; the first one sets columns and header.
        header: False: the first row is data. True: it is a header unless it parses like the body.
        target: A column that later files may lack.

    Returns:
        One DataFrame per file, and notes.

    Errors:
        Problem: If a file cannot be read, or the columns of two files differ.
    """
    import pandas as pd

    if all(suffix(f.path) in PARQUET_SUFFIXES and f.place is not None for f in files):
        paths = {f.path: cast(Path, f.place) for f in files}
        if is_large(paths):
            return read_row_groups(paths, target=target)
    frames: list[pd.DataFrame] = []
    notes: list[str] = []
    dialect: Dialect | None = None
    for file in files:
        _refuse_large(file)
        if suffix(file.path) in JSON_SUFFIXES | PARQUET_SUFFIXES:
            frame = read_parquet(file.read(), file.path) if suffix(file.path) in PARQUET_SUFFIXES else _json(file)
        else:
            text, said = decode_text(file.read(), file.path)
            first = dialect
            dialect = sniff(text, file.path, header and not (first is not None and first.names is None))
            frame, more = parse(text, dialect, file.path)
            notes += said + ([] if first else more)
        frame.columns = [str(c) for c in frame.columns]
        check_cells(frame, file.path)
        frames.append(
            matching(frame, [str(c) for c in frames[0]], file.path, files[0].path, target) if frames else frame
        )
    lengths = np.cumsum([0, *map(len, frames)])
    whole, said = clean_cells(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0])
    pieces = [whole.iloc[a:b].reset_index(drop=True) for a, b in pairwise(lengths)]
    return pieces, notes + said


def _refuse_large(file: TableFile) -> None:
    """Refuse text that would have to be in memory as a whole, several times over."""
    if file.place is not None and (size := file.place.stat().st_size) > allowance():
        raise Problem(
            f"{file.path} holds {in_words(size)}, more than the memory that data may take ({in_words(allowance())}). "
            "Write it as Parquet, which is read in pieces, or give a part of it."
        )


def _json(file: TableFile) -> pd.DataFrame:
    import pandas as pd

    text, _ = decode_text(file.read(), file.path)
    records: list[Any] = []
    places: list[str] = []
    where = file.path
    try:
        if text.lstrip().startswith("["):
            records = json.loads(text)
            places = [f"record {i + 1}" for i in range(len(records))]
        else:
            for number, line in enumerate(text.split("\n"), start=1):
                where = f"{file.path}, line {number}"
                if line.strip():
                    records.append(json.loads(line))
                    places.append(f"line {number}")
    except (ValueError, RecursionError) as e:  # also numbers of more digits than Python reads
        reason = e.msg if isinstance(e, json.JSONDecodeError) else "nested too deeply, or a number without an end"
        raise Problem(f"{where}: not JSON ({reason}). Write one object per line.") from None
    bad = next((i for i, r in enumerate(records) if not isinstance(r, dict)), None)
    if bad is not None or not records:
        said = ": it holds no records" if bad is None else f", {places[bad]}: no object"
        raise Problem(f'{file.path}{said}. Write one object per line: {{"age": 30, "city": "Bern"}}.')
    try:
        frame = pd.json_normalize(records)
    except RecursionError:
        raise Problem(f"{file.path}: objects are nested too deeply. Write one flat object per line.") from None
    for name in frame.columns[[d.kind == "f" for d in frame.dtypes]]:
        if all(type(r.get(name)) in (int, type(None)) for r in records) and any(name in r for r in records):
            frame[name] = frame[name].astype("Int64")
    return frame
