"""Table files (delimited text, JSON lines, Parquet) into DataFrames that agree on their columns."""

from __future__ import annotations

import decimal
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtra, Problem, did_you_mean
from .cells import clean_cells
from .delimited import Dialect, decode_text, parse, sniff

if TYPE_CHECKING:
    import pandas as pd

JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
DELIMITED_SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
SUFFIXES = JSON_SUFFIXES | PARQUET_SUFFIXES | DELIMITED_SUFFIXES


@dataclass(frozen=True)
class TableFile:
    """One table that has not been read yet: its path for people, and how to get its bytes."""

    path: str
    read: Callable[[], bytes]


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

    frames: list[pd.DataFrame] = []
    notes: list[str] = []
    dialect: Dialect | None = None
    for file in files:
        if suffix(file.path) in JSON_SUFFIXES | PARQUET_SUFFIXES:
            frame = _parquet(file) if suffix(file.path) in PARQUET_SUFFIXES else _json(file)
        else:
            text, said = decode_text(file.read(), file.path)
            first = dialect
            dialect = sniff(text, file.path, header and not (first is not None and first.names is None))
            frame, more = parse(text, dialect, file.path)
            notes += said + ([] if first else more)
        frame.columns = [str(c) for c in frame.columns]
        check_cells(frame, file.path)
        frames.append(_matching(frame, frames[0], file.path, files[0].path, target) if frames else frame)
    lengths = np.cumsum([0, *map(len, frames)])
    whole, said = clean_cells(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0])
    pieces = [whole.iloc[a:b].reset_index(drop=True) for a, b in pairwise(lengths)]
    return pieces, notes + said


def _matching(
    frame: pd.DataFrame, first: pd.DataFrame, where: str, first_where: str, target: str | None
) -> pd.DataFrame:
    missing = [c for c in first.columns if c not in frame.columns and c != target]
    if missing:
        close = did_you_mean(missing[0], frame.columns)
        raise Problem(
            f'{where} has no column "{missing[0]}", which {first_where} has.{close} Give files with the same columns.'
        )
    return frame.reindex(columns=first.columns)


def _parquet(file: TableFile) -> pd.DataFrame:
    import pandas as pd

    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("reading Parquet", "pyarrow", "parquet") from None
    try:
        frame = pd.read_parquet(io.BytesIO(file.read()), engine="pyarrow")
    except (pyarrow.ArrowException, OSError, ValueError) as e:
        reason = str(e).splitlines()[0]
        raise Problem(f"{file.path} cannot be read as Parquet ({reason}). Write it again or give a CSV.") from None
    if not isinstance(frame.index, pd.RangeIndex):
        named = any(n is not None for n in frame.index.names)
        frame = frame.reset_index(drop=not named)
    for name in frame.columns:
        if pd.api.types.is_object_dtype(frame[name].dtype):
            values = frame[name].dropna()
            if len(values) and all(isinstance(v, decimal.Decimal) for v in values):
                frame[name] = frame[name].astype("float64")
    return frame


def _json(file: TableFile) -> pd.DataFrame:
    import pandas as pd

    text, _ = decode_text(file.read(), file.path)
    records: list[Any] = []
    where = file.path
    try:
        if text.lstrip().startswith("["):
            records = json.loads(text)
        else:
            for number, line in enumerate(text.split("\n"), start=1):
                where = f"{file.path}, line {number}"
                if line.strip():
                    records.append(json.loads(line))
    except (json.JSONDecodeError, RecursionError) as e:
        reason = e.msg if isinstance(e, json.JSONDecodeError) else "nested too deeply"
        raise Problem(f"{where}: not JSON ({reason}). Write one object per line.") from None
    bad = next((i for i, r in enumerate(records, start=1) if not isinstance(r, dict)), None)
    if bad or not records:
        said = f"record {bad} is no object" if bad else "it holds no records"
        raise Problem(f'{file.path}: {said}. Write one object per line: {{"age": 30, "city": "Bern"}}.')
    frame = pd.json_normalize(records)
    for name in frame.columns[[d.kind == "f" for d in frame.dtypes]]:
        if all(type(r.get(name)) in (int, type(None)) for r in records) and any(name in r for r in records):
            frame[name] = frame[name].astype("Int64")
    return frame


def check_cells(frame: pd.DataFrame, where: str) -> None:
    """Raise `Problem` for a table without rows, or with lists and other containers in its cells."""
    import pandas as pd

    if not len(frame):
        raise Problem(f"{where} holds no rows. Give a file with at least one record.")
    for name in frame.columns:
        if pd.api.types.is_object_dtype(frame[name].dtype):
            odd = next((v for v in frame[name] if isinstance(v, list | dict | tuple | set | bytes | np.ndarray)), None)
            if odd is not None:
                raise Problem(
                    f'{where}: column "{name}" holds a {type(odd).__name__} per row. Split it into columns or drop it.'
                )
