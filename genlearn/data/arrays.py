"""Numeric arrays into records: numpy files with splits and labels among their keys, and idx files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import Problem
from .arrange import PART_WORDS
from .delimited import gunzip
from .records import Records, as_records

_X_WORDS = frozenset({"x", "images", "image", "imgs", "data", "features", "inputs", "arr", "samples"})
_Y_WORDS = frozenset({"y", "labels", "label", "target", "targets", "classes"})
_CASE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])")  # between the words of XTrain
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(data: bytes, where: str) -> np.ndarray:
    """Read an idx file (also gzipped): two zero bytes, type, number of axes, sizes as big-endian int32, values.

    References:
        http://yann.lecun.com/exdb/mnist/ (the format of MNIST)
    """
    data = gunzip(data, where)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise Problem(f"{where} is not an idx file (it starts with {data[:4].hex()}).")
    dtype = np.dtype(_IDX_TYPES[data[2]])
    start = 4 + 4 * data[3]
    shape = tuple(int(s) for s in np.frombuffer(data[4:start], dtype=">i4"))
    expected = start + int(np.prod(shape)) * dtype.itemsize
    if len(shape) != data[3] or len(data) != expected:
        raise Problem(f"{where} is damaged: {len(data):,} bytes where its header promises {expected:,}.")
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_numpy(data: bytes, where: str) -> tuple[dict[str, Records], list[str]]:
    """Read `.npy` or `.npz`; return records by part ("all" where the file names none), and notes.

    Keys are understood by their words: `train`, `valid`, `test` name parts, `y`, `labels`, `target` name labels; so
    `x_train`/`y_train`, `train_images`/`train_labels`, `x`/`y` and `train`/`valid`/`test` all work. Nothing is unpickled.
    """
    try:
        stored = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = {k: stored[k] for k in stored.files} if isinstance(stored, np.lib.npyio.NpzFile) else {"x": stored}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        reason = "it holds Python objects, which may run code" if "pickle" in str(e).lower() else str(e)
        raise Problem(f"{where} cannot be read: {reason}. Save plain numeric arrays with numpy.savez.") from None
    return _by_key(arrays, where)


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
        raise Problem(f"{where} has labels but no records for {', '.join(lonely)}: {listing}.")
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
    if y is not None:
        y = _plain_labels(y, len(array), where)
    if array.dtype.names:
        import pandas as pd

        return as_records(pd.DataFrame(array), y), notes
    if array.dtype.kind not in "biuf":
        raise Problem(f"{where} holds {array.dtype} values. Give numbers: a table (n, d) or images (n, h, w[, c]).")
    if array.ndim not in (3, 4):
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim == 2 and array.dtype.kind != "f":
            import pandas as pd

            array = array.astype(np.uint8) if array.dtype.kind == "b" else array
            return as_records(pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])]), y), notes
        return as_records(array, y), notes
    if array.ndim == 4 and array.shape[-1] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        array = np.moveaxis(array, 1, -1)
        notes.append(f"{where}: channels came first and were moved last.")
    if array.ndim == 4 and array.shape[-1] not in (1, 3, 4):
        raise Problem(
            f"{where} has shape {array.shape}. Images are (n, h, w), (n, h, w, 1), (n, h, w, 3) or channels first."
        )
    pixels, said = _as_bytes(array, where)
    notes += said
    if pixels.ndim == 4 and pixels.shape[-1] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        notes.append(f"{where}: images with transparency were laid on white.")
    records = as_records(np.ascontiguousarray(pixels), y)
    if pixels.size and pixels.max() <= 1:
        records = Records(records.modality, records.x, records.y, records.target, {**records.options, "levels": 2})
    return records, notes


def _as_bytes(array: np.ndarray, where: str) -> tuple[np.ndarray, list[str]]:
    if array.dtype in (np.dtype(np.uint8), np.dtype(np.bool_)):
        return array.astype(np.uint8), []
    if not array.size:
        raise Problem(f"{where} holds no images: shape {array.shape}.")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise Problem(f"{where} holds NaN or infinite pixels. Replace them before reading.")
    whole = array.dtype.kind in "iu" or bool((array == np.round(array)).all())
    if whole and low >= 0 and high <= 255:
        return array.astype(np.uint8), []
    if whole and low >= 0 and high <= 65535:
        return np.round(array / 257.0).astype(np.uint8), [f"{where}: 16-bit values were scaled to 0..255."]
    if low >= 0 and high <= 1:
        return np.round(array * 255).astype(np.uint8), [f"{where}: values in 0..1 were scaled to 0..255."]
    if low >= -1 and high <= 1:
        return np.round((array + 1) * 127.5).astype(np.uint8), [f"{where}: values in -1..1 were scaled to 0..255."]
    if low >= 0 and high <= 255:
        return np.round(array).astype(np.uint8), [f"{where}: values were rounded to whole grey levels."]
    raise Problem(f"{where} holds pixels from {low:g} to {high:g}. Scale them to 0..255 and use .astype('uint8').")


def _plain_labels(y: Any, n: int, where: str) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != n:
        raise Problem(f"{where}: labels of shape {y.shape} for {n:,} records. Give one label per record.")
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.round(y)).all():
        y = y.astype(np.int64)
    if y.dtype.kind in "US":
        return y.astype(str).astype(object)
    return y.astype(np.int64) if y.dtype.kind in "iu" else y
