"""Records: the data as a person has it, and data sets: records in three parts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import Problem

if TYPE_CHECKING:
    import pandas as pd

Modality = Literal["table", "image", "text", "audio"]
Part = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Records:
    """Records of one modality. What does not fit into memory is the same DataFrame or array, mapped from a file (`memory.py`).

    Arguments:
        modality: `table` or `image` (later `text`, `audio`).
        x: A DataFrame, or images as `(n, height, width, channels)` uint8.
        y: Labels of images, one per record, as the person names them (objects, NaN where unknown); None without labels.
            A table keeps its label as a column.
        target: Name of the label: a column of the table, or what to call `y`.
        options: How to read and give back: `types` (column -> kind), `scale`, `origin` ("dataframe", "array"),
            `levels` (grey levels per channel), `squeeze` (images came without a channel axis).
    """

    modality: Modality
    x: Any
    y: np.ndarray | None = None
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Any) -> Records:
        """Return the records at the given positions (an index array, a mask or a slice)."""
        from .disk import gather, gather_rows

        x = gather_rows(self.x, rows) if self.modality == "table" else gather(self.x, rows)
        return replace(self, x=x, y=None if self.y is None else self.y[rows])

    def blocks(self, size: int | None = None) -> Iterator[tuple[slice, Records]]:
        """Yield all records in order with their rows, `size` at a time; by default as many as have about a million values."""
        from .disk import blocks

        for rows in blocks(len(self), self.width, size):
            x = self.x.iloc[rows] if self.modality == "table" else self.x[rows]
            yield rows, replace(self, x=x, y=None if self.y is None else self.y[rows])

    @property
    def width(self) -> int:
        """Values per record: columns, or pixels and channels."""
        return math.prod(self.x.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of all records, wherever they lie."""
        from .disk import frame_bytes

        return frame_bytes(self.x) if self.modality == "table" else self.x.nbytes

    @staticmethod
    def join(parts: Sequence[Records]) -> Records:
        """Return the records of all parts, in order; labels only if every part has them."""
        from .disk import stack, stack_rows

        first = parts[0]
        if len(parts) == 1:
            return first
        if first.modality == "table":
            return replace(first, x=stack_rows([p.x for p in parts]))
        labels = [p.y for p in parts if p.y is not None]
        y = np.concatenate(labels) if len(labels) == len(parts) else None
        return replace(first, x=stack([p.x for p in parts]), y=y)

    @property
    def labels(self) -> np.ndarray | None:
        """The label of every record, wherever it lives; None without a target."""
        if self.modality == "table" and self.target is not None and self.target in self.x:
            return self.x[self.target].to_numpy()
        return self.y

    def natural(self, *, return_y: bool = False) -> Any:
        """Return what a person handed over: a DataFrame, an array, images with or without a channel axis.

        With `return_y`, a pair of records and labels (both as they were given to `fit`).
        """
        x, y = self.x, self.y
        if self.modality == "table" and self.options.get("origin") == "array":
            if self.options.get("y_apart") and self.target in x:
                y, x = x[self.target].to_numpy(), x.drop(columns=self.target)
            x = x.to_numpy(dtype=self.options.get("dtype", "float64"))
        elif self.modality == "table" and self.options.get("y_apart") and self.target in x:
            y, x = x[self.target].to_numpy(), x.drop(columns=self.target)
        elif self.modality == "image" and self.options.get("squeeze"):
            x = x[..., 0]
        return (x, y) if return_y else x


@dataclass(frozen=True)
class Dataset:
    """Records in three parts, with what was noticed while reading them.

    Arguments:
        name: Short name, for printing and folders.
        train: Records to learn from.
        valid: Records to choose by.
        test: Records to judge by, read once per report.
        notes: What reading and cleaning did, one sentence each.
        summary: One line: counts, shapes, labels.
        brought_split: The data came with its own parts.
    """

    name: str
    train: Records
    valid: Records
    test: Records
    notes: tuple[str, ...] = ()
    summary: str = ""
    brought_split: bool = False

    @property
    def modality(self) -> Modality:
        """The modality of all parts."""
        return self.train.modality

    @property
    def target(self) -> str | None:
        """Name of the label, if there is one."""
        return self.train.target

    @cached_property
    def split_id(self) -> str:
        """Short hash of the three parts' contents: results belong to one split."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            digest.update(fingerprint(part).tobytes())
            digest.update(b"|")
        return digest.hexdigest()[:4]

    def part(self, name: str) -> Records:
        """Return `train`, `valid` or `test`."""
        if name not in ("train", "valid", "test"):
            raise Problem(f'no part named "{name}". Use train, valid or test.')
        return getattr(self, name)


def fingerprint(records: Records) -> np.ndarray:
    """Return `(n,)` uint64 hashes of the records' contents: equal records have equal hashes."""
    import pandas as pd

    found = np.empty(len(records), dtype=np.uint64)
    for rows, block in records.blocks():
        if records.modality == "table":
            found[rows] = pd.util.hash_pandas_object(block.x, index=False)
            continue
        flat = np.ascontiguousarray(block.x).reshape(len(block), block.width)
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in flat)
        found[rows] = [int.from_bytes(digest, "little") for digest in digests]
    return found


def as_records(data: Any, y: Any = None) -> Records:
    """Bring what `fit` or `score` was given into `Records`.

    A DataFrame is a table; a 2-D numeric array is a table of `real` columns without inference; a uint8 array with 3 or 4 axes
    is images `(n, h, w)` or `(n, h, w, c)`; `y` becomes the label.

    Errors:
        Problem: For anything else, with the way to read it.

    Example:
        >>> import numpy as np
        >>> as_records(np.zeros((5, 8, 8), "uint8")).modality
        'image'
    """
    import pandas as pd

    if isinstance(data, Records):
        return data
    if isinstance(data, Dataset):
        return data.train
    if isinstance(data, pd.Series):
        data = data.to_frame()
    if isinstance(data, pd.DataFrame):
        return _table(data, y, {"origin": "dataframe"})
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise Problem("sparse matrices are not supported. Give a dense one: X.toarray().")
    if hasattr(data, "__array__") or (isinstance(data, Sequence) and not isinstance(data, str)):
        return _of_array(np.asarray(data), y)
    raise Problem(f"cannot read a {type(data).__name__}. Give a DataFrame, an array, or genlearn.read(path).")


def _of_array(array: np.ndarray, y: Any) -> Records:
    """Return an array as images or as a table, whichever its axes say."""
    if array.dtype.kind == "c":
        raise Problem("Complex data not supported. Give real and imaginary parts as two columns.")
    if array.ndim in (3, 4) and array.dtype == np.uint8:
        return _images(array, y)
    if array.ndim in (3, 4):
        raise Problem(
            f"images must be uint8 arrays (n, h, w) or (n, h, w, c), this is {array.dtype}. "
            "Scale to 0..255 and use .astype('uint8')."
        )
    if array.ndim == 2:
        return _matrix(array, y)
    if array.ndim == 1 and array.dtype.kind in "US":
        raise Problem("lists of text are not supported yet. Give a table, images, or a path to either.")
    if array.ndim == 1 and array.dtype.kind in "biuf":
        raise Problem(
            f"expected a 2D array, got a 1D array of {len(array)} numbers. Reshape your data: X.reshape(-1, 1) for one "
            "column, X.reshape(1, -1) for one record."
        )
    raise _unknown(array)


def _matrix(array: np.ndarray, y: Any) -> Records:
    """Return a matrix of numbers as `real` columns without inference, one of objects as a table."""
    import pandas as pd

    if not array.shape[1]:
        raise Problem(f"0 feature(s) (shape={array.shape}) while a minimum of 1 is required. Give at least one column.")
    if array.dtype.kind in "OUS":
        array = _numbers_if_all_are(array)
    if array.dtype.kind in "OUS":
        return _table(pd.DataFrame(array).add_prefix("x").infer_objects(), y, {"origin": "dataframe"})
    if array.dtype.kind not in "biuf":
        raise _unknown(array)
    names = [f"x{j}" for j in range(array.shape[1])]
    frame = pd.DataFrame(_floats(array), columns=names, copy=False)
    types = dict.fromkeys(frame.columns, "real")
    return _table(frame, y, {"origin": "array", "types": types, "scale": "standard", "dtype": str(array.dtype)})


def _unknown(array: np.ndarray) -> Problem:
    return Problem(
        f"cannot tell what an array of shape {array.shape} and type {array.dtype} is. "
        "Give a DataFrame, a numeric (n, d) array, or uint8 images (n, h, w[, c])."
    )


def _floats(array: np.ndarray) -> np.ndarray:
    """Return a copy as float64; one that is too large for the memory lies on the disk already, or is put there."""
    from .disk import converted
    from .memory import fits

    if array.dtype == np.float64 and not fits(array.nbytes):
        return array
    return converted(array, lambda rows: array[rows], dtype=np.float64)


def _numbers_if_all_are(array: np.ndarray) -> np.ndarray:
    """Return an array of objects as float64 if every cell is a number, else as it is."""
    numbers = all(cell is None or isinstance(cell, int | float | np.number) for cell in array.flat)
    return array.astype(np.float64) if numbers else array


def _table(frame: pd.DataFrame, y: Any, options: dict[str, Any]) -> Records:
    frame = frame.reset_index(drop=True)
    if y is None:
        return Records("table", frame, options=options)
    y = np.asarray(y)
    if len(y) != len(frame):
        raise Problem(f"y has {len(y)} entries but the table has {len(frame)} rows. Give one label per row.")
    name = "y" if "y" not in frame else "y_"
    return Records("table", frame.assign(**{name: y}), target=name, options={**options, "y_apart": True})


def _images(array: np.ndarray, y: Any) -> Records:
    squeeze = array.ndim == 3
    x = array[..., None] if squeeze else array
    labels = None if y is None else np.asarray(y)
    if labels is not None and len(labels) != len(x):
        raise Problem(f"y has {len(labels)} entries but there are {len(x)} images. Give one label per image.")
    target = None if labels is None else "label"
    return Records("image", x, labels, target, {"origin": "array", "squeeze": squeeze})
