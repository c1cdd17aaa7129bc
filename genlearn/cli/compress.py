"""Verbs that store records by a model: `compress`, `decompress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import Problem
from . import candidates
from .console import dry_run, followed, note, say_json
from .flags import Reading, Shared
from .runs import about, capable, open_run
from .use import RunArgument, SourceArgument, Split, require


def compress(
    run: RunArgument,
    source: SourceArgument = None,
    lossy: Annotated[bool, Option("--lossy", help="Keep what the latent vectors hold, not every value.")] = False,
    step: Annotated[
        float | None,
        Option("--step", metavar="NUMBER", help="How coarsely, where lossy: larger files are finer.", show_default="2"),
    ] = None,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Write records to a compact file that the same model reads back: exactly, or with loss.

    Examples:
        $ genlearn compress runs/digits-vae --split test --out digits.gl
        $ genlearn compress runs/faces photos/ --lossy --step 4 --out photos.gl
    """
    opened = open_run(run)
    model: Any = capable(opened, "compress")
    if step is not None and not lossy:
        raise Problem("--step says how much is lost. Give --lossy too, or leave --step out.")
    records, what = opened.records(source, split, reading.options())
    require(records, what)
    out = shared.out or "records.gl"
    options = {} if step is None else {"step": step}
    plan = {"run": run, "records": f"{len(records):,} of {what}", "lossy": lossy, **options, "out": out}
    if dry_run(shared, "compress", plan):
        return
    with about(what), followed(model, "compress"):
        data = model.compress(records, lossy=lossy, **options)
    _write(out, data)
    n = len(records)
    found: dict[str, Any] = {
        "out": out,
        "n": n,
        "bytes": len(data),
        "lossy": lossy,
        "bits_per_record": 8 * len(data) / n,
    }
    if opened.modality == "image":
        found["bits_per_dim"] = found["bits_per_record"] / records.width
    note(f"wrote {out} ({n:,} records, {len(data):,} bytes, {_rate(found)})")
    if shared.as_json:
        say_json(found)


def decompress(
    run: RunArgument,
    file: Annotated[
        str, Argument(metavar="FILE", help="What `genlearn compress` wrote.", autocompletion=candidates.files)
    ],
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Read records back from a compressed file: a folder, a picture, an .npz, or a table on stdout or in a file.

    Examples:
        $ genlearn decompress runs/digits-vae digits.gl --out back/
        $ genlearn decompress runs/faces photos.gl --out back.npz
    """
    from ..store import read_bytes
    from . import files

    opened = open_run(run)
    model: Any = capable(opened, "decompress_records")
    out = shared.out or (None if opened.modality == "table" else f"{Path(file).with_suffix('')}-back/")
    if dry_run(shared, "decompress", {"run": run, "file": file, "out": out or "stdout"}):
        return
    if not Path(file).is_file():
        raise Problem(f"{file} is no file. Give one that `genlearn compress` wrote.")
    data = read_bytes(Path(file))
    with about(file), followed(model, "decompress"):
        records = model.decompress_records(data)
    if out is None:
        files.emit(records, as_json=shared.as_json)
        return
    path = files.write_records(records, out)
    note(f"wrote {path} ({files.describe(records)})")
    if shared.as_json:
        say_json({"out": str(path), "n": len(records)})


def _write(out: str, data: bytes) -> None:
    from ..store import write_bytes

    try:
        write_bytes(Path(out), data)
    except OSError as e:
        raise Problem(f"cannot write {out} ({e.strerror or e}). Choose another --out.") from None


def _rate(found: dict[str, Any]) -> str:
    if "bits_per_dim" in found:
        return f"{found['bits_per_dim']:.3f} bits/dim"
    return f"{found['bits_per_record']:.1f} bits a record"
