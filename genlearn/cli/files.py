"""Records and latent vectors to files and back: the suffix of `--out` decides the form."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra, Problem
from ..store import write_bytes
from .console import say, say_json

if TYPE_CHECKING:
    import numpy as np

    from ..data.records import Records

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SEEN = 64  # pixels
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def suffix(path: str | Path) -> str:
    """Return the suffix in small letters, without `.gz`; empty for a folder."""
    name = str(path).lower().removesuffix(".gz")
    return Path(name).suffix if not str(path).endswith("/") else ""


def is_picture(path: str | Path) -> bool:
    """Return whether a path names a picture file."""
    return suffix(path) in PICTURES


def describe(records: Records) -> str:
    """Return "64 images 28x28" or "1,000 rows, 15 columns"."""
    n = len(records)
    if records.modality == "image":
        _, h, w, c = records.x.shape
        return f"{n:,} image{'s' * (n != 1)} {h}x{w} {'grey' if c == 1 else 'colour'}"
    return f"{n:,} row{'s' * (n != 1)}, {records.x.shape[1]} columns"


def write_records(records: Records, out: str, *, limit: int | None = None, columns: int | None = None) -> Path:
    """Write records in the form that the suffix asks for.

    Arguments:
        records: What to write.
        out: `.png` and its kin, `.npz`, `.npy` or a folder for images; `.csv`, `.tsv`, `.jsonl` (each also `.gz`), `.parquet`,
            `.npz` or `.npy` for tables.
        limit: Draw at most so many images in a picture.
        columns: Images per row of a picture.

    Errors:
        Problem: If the records cannot take that form, or the file cannot be written.
    """
    path, kind = Path(out), suffix(out)
    if path.is_dir():
        kind = ""
    try:
        if kind in (".npz", ".npy"):
            write_bytes(path, _arrays(records, kind))
        elif records.modality == "image":
            _write_images(records, path, kind, limit, columns)
        else:
            _write_table(records, path, kind)
    except OSError as e:
        raise Problem(f"cannot write {out} ({e.strerror or e}). Choose another --out.") from None
    return path


def _write_images(records: Records, path: Path, kind: str, limit: int | None, columns: int | None) -> None:
    from ..report.pictures import grid, pixels

    images = pixels(records)
    if kind == "":
        width = max(4, len(str(len(images))))
        for i, image in enumerate(images):
            label = "" if records.y is None else f"{_file_name(records.y[i])}/"
            write_bytes(path / f"{label}{i + 1:0{width}d}.png", _encoded(_picture(image), ".png"))
    elif kind not in PICTURES:
        raise Problem(f"images cannot be written as {kind}. Use .png, .npz, .npy or a folder.")
    elif len(images) == 1:
        write_bytes(path, _encoded(_picture(images[0]), kind))
    else:
        images = images[:limit] if limit else images
        write_bytes(path, _encoded(grid(images, columns or max(8, math.isqrt(len(images))), _scale(images)), kind))


def write_rows(rows: Sequence[Records], out: str, *, columns: int = 8) -> Path:
    """Draw several versions of the same images below each other, for example originals above reconstructions."""
    import numpy as np

    from ..report.pictures import grid, pixels

    versions = [pixels(r) for r in rows]
    n = len(versions[0])
    parts = [v[i : i + columns] for i in range(0, n, columns) for v in versions]
    if n > columns and n % columns:  # a last block that is not full would let rows slip
        pad = columns - n % columns
        parts = [np.concatenate([p, np.zeros((pad, *p.shape[1:]), p.dtype)]) if len(p) < columns else p for p in parts]
    try:
        write_bytes(Path(out), _encoded(grid(np.concatenate(parts), min(columns, n), _scale(parts[0])), suffix(out)))
    except OSError as e:
        raise Problem(f"cannot write {out} ({e.strerror or e}). Choose another --out.") from None
    return Path(out)


def write_repair(original: Records, hidden: np.ndarray, filled: Records, out: str) -> Path:
    """Draw originals, what was left of them, and the repaired ones."""
    from dataclasses import replace

    import numpy as np

    cover = np.broadcast_to(hidden, original.x.shape[:3])[..., None]
    half = int(original.x.max(initial=1)) // 2
    masked = replace(original, x=np.where(cover, np.asarray(half, original.x.dtype), original.x))
    return write_rows([original, masked, filled], out)


def _scale(images: np.ndarray) -> int:
    """Return a whole-number magnification that brings small images to a size at which people see them."""
    return max(1, round(SEEN / max(images.shape[1:3])))


def _picture(image: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _encoded(picture: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    names = {".jpg": "JPEG", ".tif": "TIFF"}
    if kind in (".jpg", ".jpeg", ".bmp") and picture.mode in ("LA", "RGBA"):
        picture = picture.convert(picture.mode[:-1])
    picture.save(buffer, format=names.get(kind, kind[1:].upper()))
    return buffer.getvalue()


def _file_name(label: Any) -> str:
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in str(label)) or "_"


def _write_table(records: Records, path: Path, kind: str) -> None:
    if kind not in TABLES:
        given = f"as {kind}" if kind else "to a folder"
        raise Problem(f"a table cannot be written {given}. Use .csv, .tsv, .jsonl, .parquet, .npz or .npy.")
    if kind == ".parquet":
        try:
            body = records.x.to_parquet(index=False)
        except ImportError:
            raise MissingExtra("writing Parquet", "pyarrow", "parquet") from None
    else:
        body = table_text(records, kind).encode()
    if str(path).lower().endswith(".gz"):
        import gzip

        body = gzip.compress(body, mtime=0)
    write_bytes(path, body)


def table_text(records: Records, kind: str = ".csv") -> str:
    """Return a table as CSV, TSV or JSON lines."""
    if kind in (".jsonl", ".ndjson"):
        return records.x.to_json(orient="records", lines=True, date_format="iso", force_ascii=False)
    return records.x.to_csv(index=False, sep="\t" if kind == ".tsv" else ",", lineterminator="\n")


def _arrays(records: Records, kind: str) -> bytes:
    import numpy as np

    x = records.natural()
    if records.modality == "table":
        x = records.x.to_numpy()
        if x.dtype == object:
            raise Problem(f"a table with categories cannot be written as {kind}. Use .csv, .jsonl or .parquet.")
    buffer = io.BytesIO()
    if kind == ".npy":
        np.save(buffer, x, allow_pickle=False)
    else:
        labels = {} if records.y is None else {"y": _plain_labels(records.y)}
        np.savez_compressed(buffer, allow_pickle=False, x=x, **labels)
    return buffer.getvalue()


def _plain_labels(y: np.ndarray) -> np.ndarray:
    import numpy as np

    flat = np.array(y.tolist())
    return flat if flat.dtype != object else np.array([str(v) for v in y])


def emit(records: Records, *, as_json: bool) -> None:
    """Write a table to stdout: CSV, or JSON rows."""
    if as_json:
        rows = json.loads(records.x.to_json(orient="records", date_format="iso", force_ascii=False))
        say(json.dumps(rows, ensure_ascii=False))
    else:
        say(table_text(records).removesuffix("\n"))


def emit_matrix(z: np.ndarray, *, as_json: bool) -> None:
    """Write vectors to stdout: CSV, or JSON."""
    if as_json:
        say_json(z)
    else:
        say(_matrix_text(z).removesuffix("\n"))


def write_matrix(z: np.ndarray, out: str) -> Path:
    """Write vectors as .npy, .npz (key `z`) or .csv."""
    import numpy as np

    buffer, kind = io.BytesIO(), suffix(out)
    if kind == ".npy":
        np.save(buffer, z, allow_pickle=False)
    elif kind == ".npz":
        np.savez_compressed(buffer, allow_pickle=False, z=z)
    elif kind == ".csv":
        buffer.write(_matrix_text(z).encode())
    else:
        raise Problem(f"latent vectors cannot be written to {out}. Use .npy, .npz or .csv.")
    try:
        write_bytes(Path(out), buffer.getvalue())
    except OSError as e:
        raise Problem(f"cannot write {out} ({e.strerror or e}). Choose another --out.") from None
    return Path(out)


def _matrix_text(z: np.ndarray) -> str:
    lines = [",".join(f"z{j}" for j in range(z.shape[1]))]
    return "\n".join([*lines, *(",".join(f"{v:.9g}" for v in row) for row in z)]) + "\n"


def read_matrix(path: str) -> np.ndarray:
    """Read vectors that `write_matrix` wrote, or any numeric matrix in those forms.

    Errors:
        Problem: If the file is missing or holds no matrix of numbers.
    """
    import numpy as np

    from ..data.arrays import read_npy
    from ..data.zips import checked_zip, read_entry

    kind, place = suffix(path), Path(path)
    if not place.is_file():
        raise Problem(f"{path} does not exist. Give latent vectors that `genlearn encode` wrote.")
    if kind == ".npy":
        z = read_npy(place.read_bytes(), path)
    elif kind == ".npz":
        archive = checked_zip(place, place.stat().st_size, path)
        inside = [e for e in archive.infolist() if e.filename.endswith(".npy")]
        z = read_npy(read_entry(archive, inside[0], path), path) if inside else np.empty(0)
    elif kind == ".csv":
        z = _matrix_of_text(path)
    else:
        raise Problem(f"{path}: cannot tell what a {kind or 'nameless'} file holds. Give .npy, .npz or .csv.")
    if z.ndim != 2 or z.dtype.kind not in "iuf" or not np.isfinite(z).all():
        raise Problem(f"{path} must hold a matrix of finite numbers (n, latent), not {z.dtype} of shape {z.shape}.")
    return z


def _matrix_of_text(path: str) -> np.ndarray:
    import numpy as np
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        named = all(str(c).lstrip("-").replace(".", "", 1).isdigit() for c in frame.columns)
        return (pd.read_csv(path, header=None) if named else frame).to_numpy(dtype=np.float64)
    except (OSError, ValueError) as e:
        reason = str(e).partition("\n")[0].rstrip(".")
        raise Problem(f"{path} holds no matrix of numbers ({reason}). Give one vector per row.") from None
