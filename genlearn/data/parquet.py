"""Parquet files: read whole, or in batches where the table does not fit into memory."""

from __future__ import annotations

import decimal
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra, Problem, did_you_mean
from . import memory
from .cells import Cleaner, check_cells
from .disk import spill

if TYPE_CHECKING:
    import pandas as pd

TEXT, NUMBER = 32, 8  # bytes of a cell in memory, about


def read_parquet(data: bytes, where: str) -> pd.DataFrame:
    """Read a whole table."""
    import pandas as pd

    _pyarrow()
    try:
        return _plain(pd.read_parquet(io.BytesIO(data), engine="pyarrow"))
    except Exception as e:  # of a broken file, Arrow and pandas raise anything
        raise _unreadable(where, e) from None


def matching(
    frame: pd.DataFrame, columns: Sequence[str], where: str, first_where: str, target: str | None
) -> pd.DataFrame:
    """Return the table with the columns of the first one; `target` may be absent.

    Errors:
        Problem: If another is.
    """
    if missing := [c for c in columns if c not in frame.columns and c != target]:
        close = did_you_mean(missing[0], frame.columns)
        raise Problem(
            f'{where} has no column "{missing[0]}", which {first_where} has.{close} Give files with the same columns.'
        )
    return frame.reindex(columns=list(columns))


def is_large(files: Mapping[str, Path]) -> bool:
    """Return whether tables do not fit into memory together; they go by the names that people know them by."""
    return not memory.fits(sum(_size(path, where) for where, path in files.items()))


def read_row_groups(files: Mapping[str, Path], *, target: str | None = None) -> tuple[list[pd.DataFrame], list[str]]:
    """Read tables in batches: once to see what their cells are, once to write them to the disk as such.

    Arguments:
        files: Paths by the names that people know them by; the first one sets the columns.
        target: A column that later files may lack.

    Returns:
        One mapped DataFrame per file, equal to what reading and cleaning them in memory gives, and notes.
    """
    import pandas as pd

    first, columns, kinds = next(iter(files)), list[str](), _Kinds()
    for where, path in files.items():
        for frame in _batches(path, where):
            check_cells(frame, where)
            columns = columns or [str(c) for c in frame]
            kinds.look(frame if where == first else matching(frame, columns, where, first, target), where)
        if where not in kinds.heads:
            raise Problem(f"{where} holds no rows. Give a file with at least one record.")

    def settled(where: str, path: Path) -> Iterator[pd.DataFrame]:
        for frame in _batches(path, where):
            frame = frame if where == first else matching(frame, columns, where, first, target)
            yield kinds.settle(frame).astype(dtypes)

    dtypes = pd.concat([kinds.settle(head) for head in kinds.heads.values()]).dtypes
    size = sum(_size(path, where) for where, path in files.items())
    frames = [spill(settled(where, path), kinds.rows[where], size) for where, path in files.items()]
    return frames, kinds.cleaner.notes()


class _Kinds:
    """What the cells of all batches are, so that each is read as the whole table would be."""

    def __init__(self) -> None:
        self.cleaner = Cleaner()
        self.categories: dict[Any, list[Any]] = {}
        self.heads: dict[str, pd.DataFrame] = {}  # the first row of each file
        self.rows: Counter[str] = Counter()

    def look(self, frame: pd.DataFrame, where: str) -> None:
        """Take note of a batch."""
        self.cleaner.look(frame)
        self.heads.setdefault(where, frame.iloc[:1])
        self.rows[where] += len(frame)
        for name, column in frame.items():
            if column.dtype == "category":
                known = dict.fromkeys(self.categories.get(name, [])) | dict.fromkeys(column.cat.categories)
                self.categories[name] = list(known)

    def settle(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a batch with the types of the whole: whole numbers as float64 where any is missing, categories of all."""
        for name, column in frame.items():
            if column.dtype.kind in "iu" and self.cleaner.missing[name] and column.dtype == column.to_numpy().dtype:
                frame = frame.assign(**{str(name): column.astype("float64")})
            elif column.dtype == "category":
                frame = frame.assign(**{str(name): column.cat.set_categories(self.categories[name])})
        return self.cleaner.clean(frame)


def _size(path: Path, where: str) -> int:
    """Return the bytes that a table takes in memory, about."""
    pa = _pyarrow()
    try:
        about = pa.parquet.read_metadata(path)
    except Exception as e:  # as above
        raise _unreadable(where, e) from None
    kinds = [about.schema.column(j).physical_type for j in range(about.num_columns)]
    return about.num_rows * sum(TEXT if kind == "BYTE_ARRAY" else NUMBER for kind in kinds)


def _batches(path: Path, where: str) -> Iterator[pd.DataFrame]:
    pa = _pyarrow()
    try:
        file = pa.parquet.ParquetFile(path, memory_map=True)
        rows = memory.block_rows(len(file.schema_arrow))
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(rows, row_groups=[group], use_threads=False):
                if len(batch):
                    yield _plain(pa.Table.from_batches([batch]).to_pandas())
                pa.default_memory_pool().release_unused()  # Arrow would keep what it freed, up to the size of the table
    except (pa.ArrowException, OSError, ValueError) as e:
        raise _unreadable(where, e) from None


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with an index that was meant as a column among its columns, and decimals as floats."""
    import pandas as pd

    if not isinstance(frame.index, pd.RangeIndex):
        named = any(n is not None for n in frame.index.names)
        frame = frame.reset_index(drop=not named)
    frame.columns = [str(c) for c in frame.columns]
    for name in frame.columns:
        if pd.api.types.is_object_dtype(frame[name].dtype):
            values = frame[name].dropna()
            if len(values) and all(isinstance(v, decimal.Decimal) for v in values):
                frame[name] = frame[name].astype("float64")
    return frame


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("reading Parquet", "pyarrow", "parquet") from None
    return pyarrow


def _unreadable(where: str, error: Exception) -> Problem:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return Problem(f"{where} cannot be read as Parquet ({reason}). Write it again or give a CSV.")
