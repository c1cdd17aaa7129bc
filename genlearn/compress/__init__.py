"""Records to a compact file and back: without loss by bits-back coding, with loss by rounded latent vectors.

The file needs the model that wrote it, and for lossless ones the same kind of machine: both directions must round alike. What does
not fit is noticed (digests, a checksum of the records, the bottom of the stack) and refused in one line.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..counting import counted
from ..data.records import Records
from ..errors import Problem
from ..layout import Code
from .container import MOST_BLOCK, MOST_LANES, Container, digest_of_layout, digest_of_model
from .grid import Grid
from .lossless import BitsBack, Labels, likeliest_labels
from .rans import Stack, unreadable

STEP = 2.0
PER_BLOCK = 1000  # records a block sees one of: its start costs about one part in a thousand then
PER_LANE = 2**16  # bits of records before coding: a lane's five bytes are a small part of what it writes
ROWS = 256  # records that are decoded at a time

__all__ = ["STEP", "compress", "decompress"]


def compress(model: Any, records: Records, *, lossy: bool = False, step: float = STEP, check: bool = True) -> bytes:
    """Return a compressed file.

    Arguments:
        model: A fitted model that encodes and decodes.
        records: What to write down.
        lossy: Keep what the latent vectors hold, not every value.
        step: Of a lossy file: width of a cell of latent numbers, in standard deviations of the posterior.
        check: Read a lossless file back, to be sure that it can be.

    Errors:
        Problem: If there are no records, or they cannot be written down exactly.
    """
    if not len(records):
        raise Problem("there is nothing to compress. Give at least one record.")
    if lossy and not 1e-3 <= step <= 1e3:
        raise Problem(f"step must lie between 0.001 and 1000, not {step}.")
    if not lossy and not model._codes_exactly():
        raise Problem(
            f"this {model.name()} writes nothing down exactly. A vae with prior normal and inference diagonal does, and an hvae with "
            "net ladder. Compress with loss (lossy=True, --lossy)."
        )
    with _alike():
        code = model.codec_.transform(model.codec_.parse(records))
        y, known = _labels(model, code)
        form = _form(model, code, lossy, step, known)
        if lossy:
            _write_lossy(model, form, code, y, known)
        else:
            _write_lossless(model, form, code, y, known)
            _same(model, records, Code(code.x, _told(y, known)))
    data = form.to_bytes()
    if check and not lossy:
        decompress(model, data)
    return data


def decompress(model: Any, data: bytes) -> Records:
    """Return the records of a compressed file.

    Errors:
        Problem: If the file is damaged, or another model or kind of machine wrote it.
    """
    form = Container.from_bytes(bytes(data))
    form.check_model(model)
    with _alike():
        return model.codec_.decode((_read_lossy if form.lossy else _read_lossless)(model, form))


# -- without loss ------------------------------------------------------------------------------------------------------
def _write_lossless(model: Any, form: Container, code: Code, y: Tensor | None, known: np.ndarray | None) -> None:
    coder = BitsBack(model, form.block)
    values = coder.factors.values(code.x.numpy())
    form.check = _checksum(values, y, known)
    stack, labels = Stack(form.lanes), _law_of_labels(model, form)
    begins = range(0, form.count, form.block)
    for done, start in enumerate(counted(reversed(begins), len(begins))):
        rows = slice(start, min(start + form.block, form.count))
        told = None if y is None else y[rows]
        if form.rounded == done and coder.lacks_bits(stack, values[rows], told):
            coder.write_rounded(stack, values[rows], told)
            form.rounded += 1
        else:
            coder.write(stack, values[rows], told)
        if labels is not None and y is not None and known is not None:
            labels.write(stack, y[rows], known[rows])
    form.words = stack.words(Container.fewest_words(form.count))


def _read_lossless(model: Any, form: Container) -> Code:
    coder = BitsBack(model, form.block)
    labels, stack = _law_of_labels(model, form), Stack(form.lanes, form.words)
    first_rounded = (-(-form.count // form.block) - form.rounded) * form.block
    values, ys, flags = np.empty((form.count, model.layout_.size), np.int64), [], []
    for start in counted(range(0, form.count, form.block)):
        rows = slice(start, min(start + form.block, form.count))
        y = None
        if labels is not None:
            y, known = labels.read(stack, rows.stop - start)
            ys.append(y)
            flags.append(known)
        values[rows] = (coder.read_rounded if start >= first_rounded else coder.read)(stack, rows.stop - start, y)
    stack.check_bottom()
    every, brought = (torch.cat(ys), np.concatenate(flags)) if ys else (None, None)
    if _checksum(values, every, brought) != form.check:
        raise unreadable()
    return Code(torch.from_numpy(coder.factors.code(values)), _told(every, brought))


def _same(model: Any, records: Records, code: Code) -> None:
    """Raise `Problem` unless the codec gives the records back exactly."""
    (x, y), (x2, y2) = (r.natural(return_y=True) for r in (records, model.codec_.decode(code)))
    if records.modality == "table":
        ordered = x2[list(x)] if hasattr(x, "columns") else x2
        same = np.array_equal(_cells(x), _cells(ordered))
    else:
        same = np.array_equal(np.asarray(x).reshape(x2.shape), x2)
    if model.layout_.labels and records.y is not None:
        same = same and np.array_equal(_cells(y), _cells(y2))
    if not same:
        raise Problem(
            "the model sees the records only roughly (it rounds values, draws pixels, or met a new label), so that they cannot be "
            "written down exactly. Compress with loss."
        )


def _cells(x: Any) -> np.ndarray:
    """Return values as text, numbers by their value, missing ones alike."""
    import pandas as pd

    def plain(v: Any) -> str:
        if pd.isna(v):
            return ""
        return repr(float(v)) if isinstance(v, int | float | np.number | np.bool_) else str(v)

    return np.array([plain(v) for v in np.asarray(x, dtype=object).ravel()], dtype=object)


# -- with loss ---------------------------------------------------------------------------------------------------------
def _write_lossy(model: Any, form: Container, code: Code, y: Tensor | None, known: np.ndarray | None) -> None:
    grid, stack, labels = Grid.of(model, form.step), Stack(form.lanes), _law_of_labels(model, form)
    starts = counted(range(0, form.count, ROWS))
    cells = np.concatenate([grid.rounded(model, code[i : i + ROWS]) for i in starts])
    form.check = _checksum(cells, y, known)
    grid.push(stack, cells)
    if labels is not None and y is not None and known is not None:
        labels.write(stack, y, known)
    form.words = stack.words(Container.fewest_words(form.count))


def _read_lossy(model: Any, form: Container) -> Code:
    grid, stack, labels = Grid.of(model, form.step), Stack(form.lanes, form.words), _law_of_labels(model, form)
    y, known = labels.read(stack, form.count) if labels is not None else (None, None)
    cells = grid.pop(stack, form.count)
    stack.check_bottom()
    if _checksum(cells, y, known) != form.check:
        raise unreadable()
    parts = [
        model._decode(grid.middles(cells[i : i + ROWS]), None if y is None else y[i : i + ROWS]).x
        for i in counted(range(0, form.count, ROWS))
    ]
    return Code(torch.cat(parts), _told(y, known))


# -- what both need ----------------------------------------------------------------------------------------------------
def _form(model: Any, code: Code, lossy: bool, step: float, known: np.ndarray | None) -> Container:
    n = len(code)
    bits = model.latents_ * 4 if lossy else sum(f.size * math.log2(max(2, f.levels)) for f in model.layout_.fields)
    return Container(
        lossy=lossy,
        lanes=int(np.clip(n * bits / PER_LANE, 1, MOST_LANES)),
        block=int(np.clip(n // PER_BLOCK, 1, MOST_BLOCK)),
        count=n,
        labelled=0 if known is None else int(known.sum()),
        rounded=0,
        step=float(np.float32(step if lossy else 0)),
        model=digest_of_model(model),
        layout=digest_of_layout(model),
        check=0,
        words=np.empty(0, np.uint32),
    )


def _labels(model: Any, code: Code) -> tuple[Tensor | None, np.ndarray | None]:
    """Return a label for every record, where the model has labels, and which of them are known; set them in the code."""
    if not model.layout_.labels:
        return None, None
    code.y = torch.full((len(code),), -1) if code.y is None else code.y
    known = code.y >= 0
    code.y = (
        code.y
        if bool(known.all())
        else torch.cat([_guessed(model, code[i : i + ROWS]) for i in range(0, len(code), ROWS)])
    )
    return code.y, known.numpy()


def _guessed(model: Any, code: Code) -> Tensor:
    """Return the labels, likely ones where unknown: with them, records are shorter."""
    if not model._codes_exactly():
        return model._known_labels(code)  # type: ignore[no-any-return]
    assert code.y is not None
    return torch.where(code.y < 0, likeliest_labels(model, code), code.y)


def _told(y: Tensor | None, known: np.ndarray | None) -> Tensor | None:
    return None if y is None or known is None else torch.where(torch.from_numpy(known), y, -1)


def _law_of_labels(model: Any, form: Container) -> Labels | None:
    return Labels(model.label_prior_, form.labelled, form.count) if model.layout_.labels else None


def _checksum(values: np.ndarray, y: Tensor | None, known: np.ndarray | None) -> int:
    found = zlib.crc32(np.ascontiguousarray(values, "<i8").tobytes())
    if y is None or known is None:
        return found
    return zlib.crc32(np.stack([y.numpy(), known]).astype("<i8").tobytes(), found)


@contextlib.contextmanager
def _alike() -> Iterator[None]:
    """Compute in one thread and without shortcuts of matrix products: rounding must not depend on the load or the settings around."""
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)
