"""Numeric arrays into records: numpy files with splits and labels among their keys, and idx files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Problem
from . import memory
from .arrange import PART_WORDS
from .disk import blocks, converted
from .raw import gunzip
from .records import Records, as_records
from .zips import checked_zip, read_entry

_X_WORDS = frozenset({"x", "images", "image", "imgs", "data", "features", "inputs", "arr", "samples"})
_Y_WORDS = frozenset({"y", "labels", "label", "target", "targets", "classes"})
_CASE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])")  # between the words of XTrain
_HEADER = 2**20  # bytes among which the header of an array ends
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(data: bytes, where: str) -> np.ndarray:
    """Read an idx file (also gzipped): two zero bytes, type, number of axes, sizes as big-endian int32, values.

    References:
        http://yann.lecun.com/exdb/mnist/ (the format of MNIST)
    """
    data = gunzip(data, where)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not data[3]:
        raise Problem(f"{where} is not an idx file (it starts with {data[:4].hex() or 'nothing'}). Download it again.")
    dtype = np.dtype(_IDX_TYPES[data[2]])
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big", signed=True) for i in range(4, min(start, len(data)), 4)]
    expected = start + math.prod(shape) * dtype.itemsize
    if min(shape, default=-1) < 0 or len(data) != expected:
        raise Problem(
            f"{where} is damaged: {len(data):,} bytes, its header promises {expected:,} ({shape}). Download it again."
        )
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_numpy(source: bytes | Path, where: str) -> tuple[dict[str, Records], list[str]]:
    """Read `.npy` or `.npz`; return records by part ("all" where the file names none), and notes.

    Keys are understood by their words: `train`, `valid`, `test` name parts, `y`, `labels`, `target` name labels; so
    `x_train`/`y_train`, `train_images`/`train_labels`, `x`/`y` and `train`/`valid`/`test` all work. Nothing is unpickled.
    A file that does not fit into memory is mapped, not read.
    """
    data = memory.contents(source) if isinstance(source, Path) else source
    if data[:2] != b"PK":
        return _by_key({"x": read_npy(data, where)}, where)
    archive = checked_zip(source if isinstance(source, Path) else io.BytesIO(source), len(data), where)
    files = [(e.filename.removesuffix(".npy"), e) for e in archive.infolist() if e.filename.endswith(".npy")]
    return _by_key({key: read_npy(read_entry(archive, e, where), f"{where}, {key}") for key, e in files}, where)


def read_npy(data: bytes | memoryview, where: str) -> np.ndarray:
    """Read one array of numbers, after comparing what its header promises with the bytes that are there.

    Errors:
        Problem: If it is damaged, or would have to be unpickled.
    """
    file = io.BytesIO(data[:_HEADER])
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = header(file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        promised, start = math.prod(shape) * dtype.itemsize, file.tell()
        if min(shape, default=0) < 0 or promised != len(data) - start:
            raise ValueError(f"{len(data) - start:,} bytes of numbers where its header promises {promised:,}")
        flat = np.frombuffer(data, dtype, math.prod(shape), start) if promised else np.empty(0, dtype)
        array = flat.reshape(shape, order="F" if by_columns else "C")
        return array if isinstance(data, memoryview) else array.copy(order="K")
    except Exception as e:  # numpy evaluates a header as Python's literals, of which broken ones raise anything
        told = str(e).partition("\n")[0].rstrip(".")
        reason = "it holds Python objects, which may run code" if "Object arrays" in told else told
        raise Problem(f"{where} cannot be read: {reason}. Save plain numeric arrays with numpy.savez.") from None


def _by_key(arrays: Mapping[str, np.ndarray], where: str) -> tuple[dict[str, Records], list[str]]:
    listing = ", ".join(f"{k} {v.shape}" for k, v in arrays.items()) or "nothing"
    x: dict[str, np.ndarray] = {}
    y: dict[str, np.ndarray] = {}
    ignored = []
    for key, value in arrays.items():
        words = [w for w in re.split(r"[^a-z0-9]+", _CASE.sub("_", key).lower()) if w]
        part = next((PART_WORDS[w] for w in words if w in PART_WORDS), "all")
        is_y, is_x = bool(_Y_WORDS & set(words)), bool(_X_WORDS & set(words))
        if value.ndim == 0 or not (part != "all" or is_y or is_x or len(arrays) == 1):
            ignored.append(key)
            continue
        kind = y if is_y and len(arrays) > 1 else x
        if part in kind:
            raise Problem(f"{where} holds two arrays for the same thing: {listing}. Keep one (keys x and y).")
        kind[part] = value
    if not x or ("all" in x and len(x) > 1):
        raise Problem(f"{where} holds {listing}. Name the arrays x and y, or x_train, y_train, x_test, ...")
    notes = [f"{where}: the arrays {', '.join(ignored)} are not used."] if ignored else []
    if lonely := sorted(set(y) - set(x)):
        raise Problem(f"{where} has labels but no records for {', '.join(lonely)}: {listing}. Add them, as x_test.")
    if y and (missing := sorted(set(x) - set(y))):
        notes.append(f"{where}: no labels for {', '.join(missing)}: unknown there.")
        y |= {part: np.full(len(x[part]), np.nan, dtype=object) for part in missing}
    records = {}
    for name, array in x.items():
        records[name], said = array_records(array, y.get(name), where)
        notes += [n for n in said if n not in notes]
    return records, notes


def array_records(
    array: np.ndarray, y: np.ndarray | None = None, where: str = "the array"
) -> tuple[Records, list[str]]:
    """Turn one numeric array into records: 3 or 4 axes are images, 2 axes (or 1) a table.

    Images may be uint8, bool, whole numbers in 0..255, floats in 0..1 or -1..1, or 16-bit; channels first or last.

    Errors:
        Problem: If shape or values fit neither.
    """
    notes: list[str] = []
    if not 1 <= array.ndim <= 4 or not array.size:
        held = "nothing" if not array.size else f"an array of {array.ndim} axes"
        raise Problem(f"{where} holds {held}: shape {array.shape}. Give a table (n, d) or images (n, h, w[, c]).")
    if y is not None:
        y = _plain_labels(y, len(array), where)
    if array.dtype.names:
        if nested := [name for name in array.dtype.names if array.dtype[name].subdtype or array.dtype[name].names]:
            raise Problem(f'{where}: the field "{nested[0]}" holds several values per record. Split it into fields.')
        import pandas as pd

        return as_records(pd.DataFrame(array), y), notes
    if array.dtype.kind not in "biuf":
        raise Problem(f"{where} holds {array.dtype} values. Give numbers: a table (n, d) or images (n, h, w[, c]).")
    if array.ndim not in (3, 4):
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim == 2 and array.dtype.kind != "f":
            import pandas as pd

            array = array.view(np.uint8) if array.dtype.kind == "b" else array
            names = [f"x{j}" for j in range(array.shape[1])]
            return as_records(pd.DataFrame(array, columns=names, copy=memory.fits(array.nbytes)), y), notes
        return as_records(array, y), notes
    if array.ndim == 4 and array.shape[-1] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        array = np.moveaxis(array, 1, -1)
        notes.append(f"{where}: channels came first and were moved last.")
    if array.ndim == 4 and array.shape[-1] not in (1, 3, 4):
        raise Problem(
            f"{where} has shape {array.shape}. Give images (n, h, w), with 1, 3 or 4 channels as last or second axis."
        )
    change, said = _to_bytes(array, where)
    notes += said
    if array.ndim == 4 and array.shape[-1] == 4:
        pixels = converted(array[..., :3], lambda rows: _on_white(change(array[rows])))
        notes.append(f"{where}: images with transparency were laid on white.")
    elif array.dtype == np.uint8 and array.flags.c_contiguous and not memory.fits(array.nbytes):
        pixels = array
    else:
        pixels = converted(array, lambda rows: change(array[rows]))
    records = as_records(pixels, y)
    if pixels.size and pixels.max() <= 1:
        records = Records(records.modality, records.x, records.y, records.target, {**records.options, "levels": 2})
    return records, notes


def _on_white(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _to_bytes(array: np.ndarray, where: str) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """Return what makes pixels of some of the images, by the values of all, and a note."""
    if array.dtype in (np.dtype(np.uint8), np.dtype(np.bool_)):
        return lambda x: x.astype(np.uint8), []
    if not array.size:
        raise Problem(f"{where} holds no images: shape {array.shape}.")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise Problem(f"{where} holds NaN or infinite pixels. Replace them before reading.")
    parts = (array[rows] for rows in blocks(len(array), math.prod(array.shape[1:])))
    whole = array.dtype.kind in "iu" or all(bool((part == np.round(part)).all()) for part in parts)
    if whole and low >= 0 and high <= 255:
        return lambda x: x.astype(np.uint8), []
    if whole and low >= 0 and high <= 65535:
        return lambda x: np.round(x / 257.0).astype(np.uint8), [f"{where}: 16-bit values were scaled to 0..255."]
    if low >= 0 and high <= 1:
        return lambda x: np.round(x * 255).astype(np.uint8), [f"{where}: values in 0..1 were scaled to 0..255."]
    if low >= -1 and high <= 1:
        said = f"{where}: values in -1..1 were scaled to 0..255."
        return lambda x: np.round((x + 1) * 127.5).astype(np.uint8), [said]
    if low >= 0 and high <= 255:
        return lambda x: np.round(x).astype(np.uint8), [f"{where}: values were rounded to whole grey levels."]
    raise Problem(f"{where} holds pixels from {low:g} to {high:g}. Scale them to 0..255 and use .astype('uint8').")


def _plain_labels(y: Any, n: int, where: str) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != n:
        raise Problem(f"{where}: labels of shape {y.shape} for {n:,} records. Give one label per record.")
    if y.dtype.kind not in "biufUSO":
        raise Problem(f"{where}: labels of type {y.dtype}. Give whole numbers or text.")
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.round(y)).all():
        y = y.astype(np.int64)
    if y.dtype.kind in "US":
        return y.astype(str).astype(object)
    return y.astype(np.int64) if y.dtype.kind in "iu" else y
