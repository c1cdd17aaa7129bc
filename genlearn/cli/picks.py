"""Which records a verb works on: files or numbers that a person names, brought into the form of the run's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Problem, did_you_mean
from .console import note
from .files import is_picture

if TYPE_CHECKING:
    import numpy as np

    from ..data.records import Records
    from .runs import OpenRun

HALVES = ("left", "right", "top", "bottom", "center")


def some(
    run: OpenRun, sources: Sequence[str], split: str | None, options: Mapping[str, Any], n: int
) -> tuple[Records, str]:
    """Return the records of image files or of one source; without any, `n` of the run's own."""
    if n < 1:
        raise Problem(f"-n must be at least 1, not {n}.")
    if not sources:
        records, what = run.records(None, split, options)
        return records.take(slice(0, n)) if run.modality == "image" else records, what
    if run.modality == "image" and all(is_picture(s) for s in sources):
        return joined([read_image(run, s) for s in sources]), ", ".join(sources)
    if len(sources) > 1:
        raise Problem(f"several sources work for image files only, not for {sources[-1]}. Give one source.")
    return run.records(sources[0], split, options)


def one(run: OpenRun, named: str, split: str | None, options: Mapping[str, Any]) -> Records:
    """Return one record: an image file, or the number of a record in a part of the run's data."""
    if named.isdigit() and not Path(named).exists():
        records, what = run.records(None, split, options)
        if int(named) >= len(records):
            last = f"Choose one of 0 to {len(records) - 1}" if len(records) else "Choose another --split"
            raise Problem(f"there is no record {named} in {what}: it holds {len(records):,}. {last}.")
        return records.take([int(named)])
    if run.modality == "image" and is_picture(named):
        return read_image(run, named)
    records, what = run.records(named, split, options)
    if len(records) != 1:
        raise Problem(f"{what} holds {len(records):,} records where one is needed. Give an image file or a number.")
    return records


def read_image(run: OpenRun, path: str) -> Records:
    """Read an image file as those of training are read; bring it to channels and grey levels of the run's model."""
    from ..data.images import ImageFile, load_images
    from ..data.records import Records

    place = Path(path)
    if not place.is_file():
        raise Problem(f"{path} does not exist. Give an image file, or the number of a test record.")
    _, height, width = run.model.layout_.image
    x, _, notes = load_images([ImageFile(path, place.read_bytes)], (height, width), path)
    note(*notes)
    return fitting(run.model, Records("image", x))


def fitting(model: Any, records: Records) -> Records:
    """Bring images from files to channels and grey levels of a model; tables pass."""
    import numpy as np

    if records.modality != "image" or model.codec_.modality != "image":
        return records
    channels, x = model.layout_.image[0], records.x
    if x.shape[-1] == 3 and channels == 1:
        x = np.round(x @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    elif x.shape[-1] == 1 and channels == 3:
        x = np.repeat(x, 3, axis=-1)
    return replace(records, x=stretched(model, x), options={**records.options, **_image_options(model)})


def stretched(model: Any, x: np.ndarray) -> np.ndarray:
    """Map grey levels 0..255 of a picture to the levels that the model knows, if they go beyond them."""
    import numpy as np

    codec = model.codec_
    if codec.pair is not None:
        low, high = codec.pair
        if ((x == low) | (x == high)).all():
            return x
        return np.where(x > (0 if int(x.max(initial=0)) <= 1 else 127), high, low).astype(np.uint8)
    top = codec.levels - 1
    return x if int(x.max(initial=0)) <= top else np.round(x * (top / 255.0)).astype(np.uint8)


def _image_options(model: Any) -> dict[str, Any]:
    return {**model.codec_.options, "levels": model.codec_.levels}


def joined(parts: Sequence[Records]) -> Records:
    """Return records one after the other."""
    import numpy as np

    first = parts[0]
    if len(parts) == 1:
        return first
    if first.modality == "table":
        import pandas as pd

        return replace(first, x=pd.concat([p.x for p in parts], ignore_index=True))
    labelled = all(p.y is not None for p in parts)
    y = np.concatenate([p.y for p in parts if p.y is not None]) if labelled else None
    return replace(first, x=np.concatenate([p.x for p in parts]), y=y)


def natural_records(run: OpenRun, value: Any) -> Records:
    """Return what a model's method gave back (arrays, DataFrames) as `Records` again."""
    import numpy as np

    from ..data.records import as_records

    records = as_records(value)
    if run.modality == "image":
        return replace(records, x=np.asarray(records.x), options=_image_options(run.model))
    return records


def mask_for(run: OpenRun, records: Records, mask: str | None) -> np.ndarray | None:
    """Return what is to be filled: an image's white or a named half, or named columns of a table."""
    import numpy as np

    if run.modality == "table":
        if mask is None:
            return None
        columns = [c.strip() for c in mask.split(",")]
        if missing := [c for c in columns if c not in records.x.columns]:
            known = [str(c) for c in records.x.columns]
            close = did_you_mean(missing[0], known)
            raise Problem(f'--mask names no column "{missing[0]}".{close} Columns: {", ".join(known[:12])}.')
        return np.broadcast_to(np.isin(records.x.columns.astype(str), columns), records.x.shape).copy()
    if mask is None:
        raise Problem(
            f"images need a mask. Give --mask, a picture whose white is to be filled, or {', '.join(HALVES)}."
        )
    _, height, width = run.model.layout_.image
    if mask in HALVES:
        return _half(mask, height, width)
    return _mask_picture(mask, height, width)


def _half(name: str, height: int, width: int) -> np.ndarray:
    import numpy as np

    hidden = np.zeros((height, width), bool)
    rows, columns = {
        "left": (slice(None), slice(0, width // 2)),
        "right": (slice(None), slice(width - width // 2, None)),
        "top": (slice(0, height // 2), slice(None)),
        "bottom": (slice(height - height // 2, None), slice(None)),
        "center": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }[name]
    hidden[rows, columns] = True
    return hidden


def _mask_picture(path: str, height: int, width: int) -> np.ndarray:
    import numpy as np
    from PIL import Image

    from ..data.images import bombs_refused, why_unreadable

    if not Path(path).is_file():
        close = did_you_mean(path, HALVES)
        raise Problem(f"mask {path} does not exist.{close} Give an image file, or one of {', '.join(HALVES)}.")
    try:
        with bombs_refused(), Image.open(path) as opened:
            picture = opened.convert("L").resize((width, height), Image.Resampling.NEAREST)
    except Exception as e:  # decoders of broken files raise anything
        raise Problem(f"mask {path} cannot be read as an image ({why_unreadable(e)}). Give another file.") from None
    hidden = np.asarray(picture) >= 128
    if not hidden.any():
        raise Problem(f"mask {path} has no white: nothing is to be filled. Make white what is missing.")
    return hidden
