"""Pictures of records: sample grids, side-by-side pairs, and a watcher that draws them while a model learns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Problem
from ..store import write_bytes

if TYPE_CHECKING:
    from PIL import Image

    from ..data.records import Records
    from ..model import Event

FIXED = 8  # validation records that are reconstructed again and again, so that pictures can be compared


def pixels(records: Records) -> np.ndarray:
    """Return images as `(n, height, width, channels)` uint8 with grey levels stretched to 0..255.

    Images with few levels (the digits have 17) would be nearly black if they were shown as they are.
    """
    x = np.asarray(records.x)
    x = x[..., None] if x.ndim == 3 else x
    highest = int(x.max(initial=0))
    levels = int(records.options.get("levels") or (highest + 1 if highest < 32 else 256))
    top = levels - 1 if highest < levels else 255  # two-level images may be stored as 0 and 255
    return np.round(x * (255.0 / max(top, 1))).astype(np.uint8)


def grid(images: np.ndarray, columns: int = 8, scale: int | None = None, gap: int = 1) -> Image.Image:
    """Lay images out in rows on a transparent ground, which is at home on light and dark pages.

    Arguments:
        images: `(n, h, w)` or `(n, h, w, c)` uint8 with values 0..255.
        columns: Images per row.
        scale: Whole-number magnification without smoothing; None brings small images to about 40 pixels.
        gap: Space between images, in pixels of the original.

    Example:
        >>> grid(np.zeros((10, 8, 8), "uint8"), columns=5, scale=1).size
        (44, 17)
    """
    from PIL import Image

    images = images[..., None] if images.ndim == 3 else images
    n, h, w, c = images.shape
    if n == 0:
        raise Problem("there are no images to draw. Give at least one.")
    columns = min(columns, n)
    rows = -(-n // columns)
    colours = 1 if c < 3 else 3
    sheet = np.zeros((rows * (h + gap) - gap, columns * (w + gap) - gap, colours + 1), np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w, :colours] = image[..., :colours]
        sheet[top : top + h, left : left + w, colours] = image[..., 3] if c == 4 else 255
    picture = Image.fromarray(sheet, "LA" if colours == 1 else "RGBA")
    scale = max(1, round(40 / max(h, w))) if scale is None else scale
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def stacked(top: np.ndarray, bottom: np.ndarray, columns: int = 8) -> Image.Image:
    """Lay pairs of images out: each image of `top` above its partner in `bottom`."""
    rows = [part[i : i + columns] for i in range(0, len(top), columns) for part in (top, bottom)]
    return grid(np.concatenate(rows), columns=min(columns, len(top)))


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a picture as PNG, aside and renamed."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())
    return path


def save_records(records: Records, path: str | Path, *, limit: int = 64) -> Path:
    """Write records where a person can look at them: the first `limit` images as one PNG, a table as CSV.

    The suffix is set by what the records are, so `samples` is enough as a path.
    """
    path = Path(path)
    if records.modality == "image":
        return save_picture(grid(pixels(records.take(slice(0, limit)))), path.with_suffix(".png"))
    if records.modality == "table":
        path = path.with_suffix(".csv")
        write_bytes(path, records.x.to_csv(index=False).encode())
        return path
    raise Problem(f"cannot draw records of modality {records.modality} yet. Tables and images can be shown.")


def save_samples(model: Any, path: str | Path, n: int = 64, seed: int = 0) -> Path:
    """Draw `n` records from a fitted model and write them: a grid (PNG) for images, a CSV for tables.

    Arguments:
        model: Any fitted model.
        path: File to write; its suffix becomes `.png` or `.csv`.
        n: How many records.
        seed: Seed of the draw, so that the same model gives the same picture.
    """
    return save_records(model.draw(n, random_state=seed), path, limit=n)


def save_reconstructions(model: Any, records: Records, path: str | Path) -> Path:
    """Write images above their reconstructions as one PNG."""
    again = model.reconstruct_records(records)
    return save_picture(stacked(pixels(records), pixels(again)), Path(path).with_suffix(".png"))


class Pictures:
    """Watcher for `fit(watch=...)`: writes `samples-<step>.png` (or `.csv`), and reconstructions of eight fixed records.

    The pause between two pictures doubles each time: early steps change most, and a day of training leaves about a dozen
    files.

    Arguments:
        out: Folder for the pictures.
        every_seconds: Pause before the first picture and, doubled each time, between the following ones.
        n: Records per picture.
        seed: Seed of every draw, so that pictures of different steps can be compared.

    Example:
        >>> watch = Pictures("runs/faces", every_seconds=60)
    """

    def __init__(self, out: str | Path, every_seconds: float = 30.0, n: int = 64, seed: int = 0) -> None:
        self.out, self.n, self.seed = Path(out), n, seed
        self._pause, self._next = every_seconds, every_seconds

    def __call__(self, event: Event) -> None:
        """Draw if it is time to; at the end, leave the reconstructions of the finished model as `reconstructions.png`."""
        if not event.model.needs_gradients or not (event.done or event.seconds >= self._next):
            return
        if not event.done:
            self._pause *= 2
            self._next = event.seconds + self._pause
            save_samples(event.model, self.out / f"samples-{event.step}", self.n, self.seed)
        valid = self._fixed(event)
        if valid is not None:
            name = "reconstructions" if event.done else f"reconstructions-{event.step}"
            save_reconstructions(event.model, valid, self.out / name)

    @staticmethod
    def _fixed(event: Event) -> Records | None:
        from ..model import Encodes

        run = getattr(event.model, "_run", None)
        valid = getattr(run, "valid", None)
        if valid is None or not len(valid) or valid.modality != "image" or not isinstance(event.model, Encodes):
            return None
        return valid.take(slice(0, FIXED))


def rows_of(records: Records, rows: Sequence[int] | slice) -> list[list[str]]:
    """Return table rows as text cells, the way the report prints them.

    Example:
        >>> import pandas as pd
        >>> from genlearn.data.records import as_records
        >>> rows_of(as_records(pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]})), [0, 1])
        [['1.5', 'x'], ['', 'y']]
    """
    part = records.take(rows).x
    return [[_cell(value) for value in row] for row in part.itertuples(index=False, name=None)]


def _cell(value: Any) -> str:
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, pd.Timestamp) and value == value.normalize():
        return value.date().isoformat()
    return str(value)
