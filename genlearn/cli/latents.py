"""Verbs of the latent space: `encode`, `decode`, `reconstruct`, `interpolate`, `traverse`."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from ..errors import Problem
from .console import dry_run, note, say
from .flags import Reading, Shared
from .runs import OpenRun, capable, open_run
from .use import RunArgument, SourceArgument, Split, _json, _require

TRAVERSED = 10


def encode(
    run: RunArgument,
    source: SourceArgument = None,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Map records to latent vectors, in the order of the source: .npy, .npz, or CSV on stdout."""
    from . import files

    opened = open_run(run)
    model: Any = capable(opened, "encode")
    records, what = opened.records(source, split, reading.options())
    _require(records, what)
    if dry_run(shared, "encode", {"run": run, "records": f"{len(records):,} of {what}", "out": shared.out or "stdout"}):
        return
    latents = model.encode(records)
    if shared.out is None:
        files.emit_matrix(latents, as_json=shared.as_json)
        return
    path = files.write_matrix(latents, shared.out)
    note(f"wrote {path} ({len(latents):,} vectors of {latents.shape[1]})")
    if shared.as_json:
        say(_json({"out": str(path), "n": len(latents), "latent": latents.shape[1]}))


def decode(
    run: RunArgument,
    latents: Annotated[str, Argument(metavar="LATENTS", help="Latent vectors: .npy, .npz or .csv, one per row.")],
    label: Annotated[str | None, Option("--label", help="Label of all records, where the model has labels.")] = None,
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Map latent vectors to the typical record of each."""
    from . import files

    opened = open_run(run)
    model: Any = capable(opened, "decode_records")
    z = files.read_matrix(latents)
    if dry_run(
        shared, "decode", {"run": run, "latents": f"{z.shape[0]:,} x {z.shape[1]}", "out": shared.out or "default"}
    ):
        return
    deliver(opened, model.decode_records(z, label), shared, "decoded")


def reconstruct(
    run: RunArgument,
    source: Annotated[
        list[str] | None,
        Argument(metavar="[SOURCE]...", help="Records or image files; without them, test records.", show_default=False),
    ] = None,
    n: Annotated[int, Option("-n", "--number", help="How many records to draw in a picture.")] = 16,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Encode and decode records: for images a picture with each original above its reconstruction."""
    from . import files, picks

    opened = open_run(run)
    model: Any = capable(opened, "reconstruct_records")
    records, what = picks.some(opened, source or [], split, reading.options(), n)
    _require(records, what)
    out = shared.out or (str(opened.path / "reconstructions.png") if opened.modality == "image" else None)
    if dry_run(shared, "reconstruct", {"run": run, "records": f"{len(records):,} of {what}", "out": out or "stdout"}):
        return
    if opened.modality == "image" and out is not None and files.is_picture(out):
        records = records.take(slice(0, n))
        path = files.write_rows([records, model.reconstruct_records(records)], out)
        note(f"wrote {path} (originals above reconstructions)")
        if shared.as_json:
            say(_json({"out": str(path), "n": len(records)}))
        return
    deliver(opened, model.reconstruct_records(records), shared, "reconstructions")


def interpolate(
    run: RunArgument,
    a: Annotated[str, Argument(metavar="[A]", help="First record: an image file, or a number in the test part.")] = "0",
    b: Annotated[str, Argument(metavar="[B]", help="Second record.")] = "1",
    steps: Annotated[int, Option("--steps", help="Records on the way, ends included.")] = 9,
    path: Annotated[str, Option("--path", metavar="straight|spherical", help="Way through latent space.")] = "straight",
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Walk from one record to another through latent space."""
    from . import picks

    opened = open_run(run)
    model: Any = capable(opened, "interpolate")
    if steps < 2:
        raise Problem(f"--steps must be at least 2, not {steps}.")
    if path not in ("straight", "spherical"):
        raise Problem(f'--path must be straight or spherical, not "{path}".')
    ends = [picks.one(opened, end, split, reading.options()) for end in (a, b)]
    if dry_run(
        shared,
        "interpolate",
        {"run": run, "a": a, "b": b, "steps": steps, "path": path, "out": shared.out or "default"},
    ):
        return
    strip = picks.natural_records(opened, model.interpolate(*ends, steps=steps, path=path))
    deliver(opened, strip, shared, "interpolation", columns=steps)


def traverse(
    run: RunArgument,
    record: Annotated[str, Argument(metavar="[RECORD]", help="An image file, or a number in the test part.")] = "0",
    dim: Annotated[
        int | None, Option("--dim", help="Latent dimension; without it, the ten that vary most.", show_default=False)
    ] = None,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Decode along latent dimensions from -3 to 3: one strip per dimension."""
    from . import picks

    opened = open_run(run)
    model: Any = capable(opened, "traverse")
    start = picks.one(opened, record, split, reading.options())
    dims = [dim] if dim is not None else _liveliest(opened, reading.options())
    if dry_run(shared, "traverse", {"run": run, "record": record, "dims": dims, "out": shared.out or "default"}):
        return
    values = (-3, -2, -1, 0, 1, 2, 3)
    strips = [picks.natural_records(opened, model.traverse(start, d, values)) for d in dims]
    if opened.modality == "table":
        for strip, d in zip(strips, dims, strict=True):
            strip.x.insert(0, "dim", d)
            strip.x.insert(1, "value", values)
    note(f"rows: latent dimensions {', '.join(map(str, dims))}; columns: -3 to 3")
    deliver(opened, picks.joined(strips), shared, "traversal", columns=len(values))


def _liveliest(opened: OpenRun, options: dict[str, Any]) -> list[int]:
    """Return the latent dimensions whose posterior mean varies most over data; the first ones without data."""
    import numpy as np

    latent = int(opened.model.latents_)
    if "data" not in opened.facts:
        return list(range(min(latent, TRAVERSED)))
    part = opened.data(options).test
    spread = np.var(opened.model.encode(part.take(slice(0, 1000))), axis=0)
    return [int(d) for d in np.argsort(-spread, kind="stable")[:TRAVERSED]]


def deliver(opened: OpenRun, records: Any, shared: Shared, name: str, columns: int | None = None) -> None:
    """Give records back: to `--out`, else a picture in the run folder or a table on stdout."""
    from . import files

    out = shared.out or (str(opened.path / f"{name}.png") if opened.modality == "image" else None)
    if out is None:
        files.emit(records, as_json=shared.as_json)
        return
    path = files.write_records(records, out, columns=columns)
    note(f"wrote {path} ({files.describe(records)})")
    if shared.as_json:
        say(_json({"out": str(path), "n": len(records)}))
