"""Tables and arrays on the disk: the same DataFrames and arrays, with columns that are mapped files."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..counting import counted
from . import memory

if TYPE_CHECKING:
    import pandas as pd


def gather(x: np.ndarray, rows: Any) -> np.ndarray:
    """Return `x[rows]`, on the disk if it is too large for the memory."""
    if isinstance(rows, slice):
        return x[rows]
    at = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=np.intp)
    return converted(x, lambda block: x[at[block]], len(at), x.dtype)


def converted(
    x: np.ndarray, change: Callable[[slice], np.ndarray], n: int | None = None, dtype: Any = np.uint8
) -> np.ndarray:
    """Return an array like `x` of `n` rows that `change` writes block by block."""
    n = len(x) if n is None else n
    out = memory.room((n, *x.shape[1:]), dtype)
    for block in blocks(n, int(np.prod(x.shape[1:]))):
        out[block] = change(block)
    return out


def blocks(n: int, width: int, size: int | None = None) -> Iterator[slice]:
    """Yield slices of `n` rows of `width` values: `size` rows each, by default as many as are worked on at a time."""
    step = memory.block_rows(width) if size is None else size
    for start in counted(range(0, n, step)):
        yield slice(start, min(start + step, n))
        if start + step < n:
            memory.let_go()


def frame_bytes(frame: pd.DataFrame) -> int:
    """Return the bytes of a table, texts included where they are not Python objects."""
    return int(frame.memory_usage(index=False).sum())


def gather_rows(frame: pd.DataFrame, rows: Any) -> pd.DataFrame:
    """Return `frame.iloc[rows]` with a fresh index, on the disk if it is too large for the memory."""
    if isinstance(rows, slice):
        return frame.iloc[rows].reset_index(drop=True)
    at = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=np.intp)
    size = frame_bytes(frame) * len(at) // max(1, len(frame))
    if memory.fits(size):
        return frame.iloc[at].reset_index(drop=True)
    return spill((frame.iloc[at[block]] for block in blocks(len(at), frame.shape[1])), len(at), size)


def stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Return arrays one below the other, on the disk if that is too large for the memory."""
    if memory.fits(sum(a.nbytes for a in arrays)):
        return np.concatenate(arrays)
    out = memory.room((sum(map(len, arrays)), *arrays[0].shape[1:]), np.result_type(*arrays))
    start = 0
    for a in arrays:
        for rows in blocks(len(a), int(np.prod(a.shape[1:]))):
            out[start + rows.start : start + rows.stop] = a[rows]
        start += len(a)
    return out


def stack_rows(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other, on the disk if that is too large for the memory."""
    import pandas as pd

    size, n = sum(map(frame_bytes, frames)), sum(map(len, frames))
    if memory.fits(size):
        return pd.concat(frames, ignore_index=True)
    like = pd.concat([f.iloc[:1] for f in frames], ignore_index=True).dtypes
    pieces = (f.iloc[rows].astype(like) for f in frames for rows in blocks(len(f), f.shape[1]))
    return spill(pieces, n, size)


def spill(pieces: Iterable[pd.DataFrame], n: int, size: int) -> pd.DataFrame:
    """Write tables of equal columns one below the other into mapped columns; return them as one DataFrame.

    Arguments:
        pieces: The tables, `n` rows in all.
        n: How many rows there are.
        size: Bytes of all, about.
    """
    import pandas as pd

    columns: dict[Any, _Numbers | _Texts] = {}
    start = 0
    for piece in pieces:
        if not columns:
            columns = {
                name: (_Texts if _is_arrow_text(piece[name].dtype) else _Numbers)(piece[name], n, size)
                for name in piece
            }
        for name, column in columns.items():
            column.put(slice(start, start + len(piece)), piece[name])
        start += len(piece)
    return pd.DataFrame({name: column.series() for name, column in columns.items()}, copy=False)


# -- columns -----------------------------------------------------------------------------------------------------------
class _Numbers:
    """A column of numbers, truth values, dates or categories that is filled from top to bottom. Objects stay in memory."""

    def __init__(self, first: pd.Series, n: int, size: int) -> None:
        self.dtype: Any = first.dtype
        self.arrays = [
            np.empty(n, object) if a.dtype == object else memory.room((n,), a.dtype, whole=size)
            for a in _arrays_of(first)
        ]

    def put(self, rows: slice, series: pd.Series) -> None:
        """Write some rows."""
        for array, part in zip(self.arrays, _arrays_of(series), strict=True):
            array[rows] = part

    def series(self) -> pd.Series:
        """Return the column, without a copy of its values."""
        import pandas as pd

        values = self.arrays[0]
        if len(self.arrays) == 2:
            return pd.Series(self.dtype.construct_array_type()(*self.arrays))
        if isinstance(self.dtype, pd.CategoricalDtype):
            return pd.Series(pd.Categorical.from_codes(values, dtype=self.dtype))
        if isinstance(self.dtype, pd.DatetimeTZDtype):
            return pd.Series(values, copy=False).dt.tz_localize("UTC").dt.tz_convert(self.dtype.tz)
        return pd.Series(values, dtype=self.dtype, copy=False)


def _arrays_of(series: pd.Series) -> tuple[np.ndarray, ...]:
    """Return the plain arrays that hold a column: values, and for columns with a mask what is missing."""
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        return (series.cat.codes.to_numpy(),)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return (series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(),)
    plain = getattr(series.dtype, "numpy_dtype", None)
    if plain is not None and not pd.api.types.is_string_dtype(series.dtype):
        missing = series.isna().to_numpy()
        return series.to_numpy(plain, na_value=plain.type(0)), missing
    return (series.to_numpy(),)


class _Texts:
    """A column of texts, written block by block as Arrow lays them out in memory."""

    def __init__(self, first: pd.Series, n: int, size: int) -> None:
        import pyarrow as pa

        self.dtype: Any = first.dtype
        self.file = tempfile.TemporaryFile(dir=memory.disk())  # noqa: SIM115 (closed in `series`)
        self.writer = pa.ipc.new_file(self.file, pa.schema([("text", pa.large_string())]))

    def put(self, rows: slice, series: pd.Series) -> None:
        """Write some rows."""
        import pyarrow as pa

        try:
            self.writer.write_batch(pa.record_batch([pa.array(series, pa.large_string(), from_pandas=True)], ["text"]))
        except OSError as e:
            raise memory.no_room(e) from None

    def series(self) -> pd.Series:
        """Return the column: its texts stay in the file, which has no name and is gone with the process."""
        import pandas as pd
        import pyarrow as pa

        self.writer.close()
        self.file.flush()
        mapped = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        self.file.close()
        texts = pa.ipc.open_file(pa.py_buffer(mapped)).read_all().column("text")
        return pd.Series(self.dtype.__from_arrow__(texts), copy=False)


def _is_arrow_text(dtype: Any) -> bool:
    import pandas as pd

    return isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow"
