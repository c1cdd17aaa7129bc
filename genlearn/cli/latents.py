"""Verbs of the latent space: `encode`, `decode`, `reconstruct`, `interpolate`, `traverse`."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from ..errors import Problem, did_you_mean
from . import candidates
from .console import dry_run, note, say_json
from .flags import Reading, Shared
from .runs import OpenRun, about, capable, open_run
from .use import RunArgument, SourceArgument, Split, place_for, require

TRAVERSED = 10


def encode(
    run: RunArgument,
    source: SourceArgument = None,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Map records to latent vectors, in the order of the source: .npy, .npz, or CSV on stdout.

    Examples:
        $ genlearn encode runs/digits-vae --split test --out latents.npy
        $ genlearn encode runs/faces photos/ --out latents.csv
    """
    from . import files

    opened = open_run(run)
    model: Any = capable(opened, "encode")
    records, what = opened.records(source, split, reading.options())
    require(records, what)
    if dry_run(shared, "encode", {"run": run, "records": f"{len(records):,} of {what}", "out": shared.out or "stdout"}):
        return
    with about(what):
        latents = model.encode(records)
    if shared.out is None:
        files.emit_matrix(latents, as_json=shared.as_json)
        return
    path = files.write_matrix(latents, shared.out)
    note(f"wrote {path} ({len(latents):,} vectors of {latents.shape[1]})")
    if shared.as_json:
        say_json({"out": str(path), "n": len(latents), "latent": latents.shape[1]})


def decode(
    run: RunArgument,
    latents: Annotated[
        str,
        Argument(
            metavar="LATENTS", help="Latent vectors: .npy, .npz or .csv, one per row.", autocompletion=candidates.files
        ),
    ],
    label: Annotated[
        str | None, Option("--label", metavar="LABEL", help="Label of all records, where the model has labels.")
    ] = None,
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Map latent vectors to the typical record of each.

    Examples:
        $ genlearn decode runs/digits-vae latents.npy --label 3 --out back.png
        $ genlearn decode runs/customers latents.csv --out back.csv
    """
    from . import files

    opened = open_run(run)
    model: Any = capable(opened, "decode_records")
    z = files.read_matrix(latents)
    if dry_run(
        shared,
        "decode",
        {
            "run": run,
            "latents": f"{z.shape[0]:,} x {z.shape[1]}",
            "out": place_for(opened, shared, "decoded") or "stdout",
        },
    ):
        return
    with about(latents):
        decoded = model.decode_records(z, label)
    deliver(opened, decoded, shared, "decoded")


def reconstruct(
    run: RunArgument,
    source: Annotated[
        list[str] | None,
        Argument(
            metavar="[SOURCE]...",
            help="Records or image files; without them, test records.",
            show_default=False,
            autocompletion=candidates.sources,
        ),
    ] = None,
    n: Annotated[int, Option("-n", "--number", metavar="INT", help="How many records to draw in a picture.")] = 16,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Encode and decode records: for images a picture with each original above its reconstruction.

    Examples:
        $ genlearn reconstruct runs/digits-vae -n 16 --out pairs.png
        $ genlearn reconstruct runs/customers new.csv --out again.csv
    """
    from . import files, picks

    opened = open_run(run)
    model: Any = capable(opened, "reconstruct_records")
    records, what = picks.some(opened, source or [], split, reading.options(), n)
    require(records, what)
    out = place_for(opened, shared, "reconstructions")
    if dry_run(shared, "reconstruct", {"run": run, "records": f"{len(records):,} of {what}", "out": out or "stdout"}):
        return
    if opened.modality == "image" and out is not None and files.is_picture(out):
        records = records.take(slice(0, n))
        with about(what):
            pairs = [records, model.reconstruct_records(records)]
        path = files.write_rows(pairs, out)
        note(f"wrote {path} (originals above reconstructions)")
        if shared.as_json:
            say_json({"out": str(path), "n": len(records)})
        return
    with about(what):
        again = model.reconstruct_records(records)
    deliver(opened, again, shared, "reconstructions")


def interpolate(
    run: RunArgument,
    a: Annotated[str, Argument(metavar="[A]", help="First record: an image file, or a number in the test part.")] = "0",
    b: Annotated[str, Argument(metavar="[B]", help="Second record.")] = "1",
    steps: Annotated[int, Option("--steps", metavar="INT", help="Records on the way, ends included.")] = 9,
    path: Annotated[str, Option("--path", metavar="straight|spherical", help="Way through latent space.")] = "straight",
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Walk from one record to another through latent space.

    Examples:
        $ genlearn interpolate runs/digits-vae 4 7 --steps 9 --out strip.png
        $ genlearn interpolate runs/faces a.png b.png --path spherical
    """
    from . import picks

    opened = open_run(run)
    model: Any = capable(opened, "interpolate")
    if steps < 2:
        raise Problem(f"--steps must be at least 2, not {steps}.")
    if path not in ("straight", "spherical"):
        close = did_you_mean(path, ("straight", "spherical"))
        raise Problem(f'--path must be straight or spherical, not "{path}".{close}')
    ends = [picks.one(opened, end, split, reading.options()) for end in (a, b)]
    if dry_run(
        shared,
        "interpolate",
        {
            "run": run,
            "a": a,
            "b": b,
            "steps": steps,
            "path": path,
            "out": place_for(opened, shared, "interpolation") or "stdout",
        },
    ):
        return
    strip = picks.natural_records(opened, model.interpolate(*ends, steps=steps, path=path))
    deliver(opened, strip, shared, "interpolation", columns=steps)


def traverse(
    run: RunArgument,
    record: Annotated[str, Argument(metavar="[RECORD]", help="An image file, or a number in the test part.")] = "0",
    dim: Annotated[
        int | None,
        Option(
            "--dim", metavar="INT", help="Latent dimension; without it, the ten that carry most.", show_default=False
        ),
    ] = None,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Decode along latent dimensions from -3 to 3: one strip per dimension.

    Examples:
        $ genlearn traverse runs/digits-vae --out strips.png
        $ genlearn traverse runs/digits-vae 12 --dim 3
    """
    from . import picks

    opened = open_run(run)
    model: Any = capable(opened, "traverse")
    start = picks.one(opened, record, split, reading.options())
    dims = [dim] if dim is not None else _liveliest(opened, reading.options())
    if dry_run(
        shared,
        "traverse",
        {"run": run, "record": record, "dims": dims, "out": place_for(opened, shared, "traversal") or "stdout"},
    ):
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
    """Return the latent dimensions that carry most nats over data, largest first; the first ones without data."""
    import numpy as np

    from ..report.latent import carried

    latent = int(opened.model.latents_)
    if "data" not in opened.facts:
        return list(range(min(latent, TRAVERSED)))
    part = opened.data(options).test
    carries, _ = carried(*opened.model.posterior(part.take(slice(0, 1000))))
    return [int(d) for d in np.argsort(-carries, kind="stable")[:TRAVERSED]]


def deliver(opened: OpenRun, records: Any, shared: Shared, name: str, columns: int | None = None) -> None:
    """Give records back: to `--out`, else a picture in the run folder or a table on stdout."""
    from . import files

    out = place_for(opened, shared, name)
    if out is None:
        files.emit(records, as_json=shared.as_json)
        return
    path = files.write_records(records, out, columns=columns)
    note(f"wrote {path} ({files.describe(records)})")
    if shared.as_json:
        say_json({"out": str(path), "n": len(records)})
