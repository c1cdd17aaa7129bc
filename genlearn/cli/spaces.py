"""Verbs that measure a latent space: `latents` and `bounds`."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Option

from .console import answer, dry_run, followed, table
from .flags import Reading, Seed, Shared
from .runs import OpenRun, about, capable, open_run
from .use import RunArgument, SourceArgument, Split, require

SHOWN = 10  # dimensions


def latents(
    run: RunArgument,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Measure the latent space: units in use, the KL and its parts, clusters, a linear probe; and what is wrong, if anything is.

    Examples:
        $ genlearn latents runs/digits-vae
        $ genlearn latents runs/customers --json
    """
    from ..metrics.latent_diagnosis import diagnose

    opened = open_run(run)
    capable(opened, "encode")
    data = opened.data(reading.options())
    if dry_run(shared, "latents", {"run": run, "records": f"{len(data.test):,} of {data.name} test"}):
        return
    require(data.test, f"{data.name} test")
    with about(data.name):
        found = _facts(opened, data)
        found["findings"] = [str(finding) for finding in diagnose(opened.model, data)]
    answer(shared, found, _text(found))


def _facts(opened: OpenRun, data: Any) -> dict[str, Any]:
    """Return what the report shows of the latent space."""
    import numpy as np

    from ..metrics.schema import Schema
    from ..report.latent import HELD_OUT, carried
    from ..report.latent_facts import measure

    rows = np.sort(np.random.default_rng(0).permutation(len(data.test))[:HELD_OUT])
    mean, std = opened.model.posterior(data.test.take(rows))
    schema = Schema.of(data.train) if data.modality == "table" else None
    carries, unit = carried(mean, std)
    order = [int(j) for j in np.argsort(-carries, kind="stable")]
    dimensions = [{"dim": j, unit: float(carries[j])} for j in order]
    measured = measure(opened.model, data, schema, mean, std)
    return {"model": opened.name, "data": f"{data.name} test", "n": len(mean), "unit": unit, "measures": measured,
            "dimensions": dimensions}  # fmt: skip


def _text(found: dict[str, Any]) -> str:
    """Return the measures, the dimensions that carry most, and the findings, as a person reads them."""
    from ..report.latent_facts import title

    lines = [f"{found['model']} on {found['data']}, {found['n']:,} records"]
    rows = []
    for name, results in found["measures"].items():
        cells = [_figure(name, result) for result in results]
        called, words = title(name)
        rows.append([called, *cells, *[""] * (2 - len(cells)), words])
    widths = [max(len(row[k]) for row in [["", "latent vectors", "raw records"], *rows]) for k in range(3)]
    for row in [["", "latent vectors", "raw records", ""], *rows]:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip())
    unit, most = found["unit"], found["dimensions"][:SHOWN]
    lines.append(f"dimensions by {unit}: " + ", ".join(f"{d['dim']} ({d[unit]:.2f})" for d in most))
    return "\n".join([*lines, *found["findings"]])


def _figure(name: str, result: dict[str, Any]) -> str:
    if result["value"] is None:
        return f"- ({result['note']})"
    if name == "active":
        return f"{result['value']:.0f} {result['note']}"
    low, high = result["low"], result["high"]
    return f"{result['value']:.2f}" + ("" if low is None else f" [{low:.2f} {high:.2f}]")


def bounds(
    run: RunArgument,
    source: SourceArgument = None,
    n: Annotated[int, Option("-n", "--number", metavar="INT", help="How many records, the first ones.")] = 100,
    draws: Annotated[int, Option("--draws", metavar="K", help="Draws of the proposal per record.")] = 1000,
    ais: Annotated[
        int, Option("--ais", metavar="T", help="Laws of annealed importance sampling; 0 leaves it out.")
    ] = 0,
    chains: Annotated[int, Option("--chains", metavar="INT", help="Chains per record.")] = 8,
    split: Split = None,
    seed: Seed = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Bound the log density from below: ELBO, importance-weighted, annealed; each tighter and dearer than the one before.

    Examples:
        $ genlearn bounds runs/digits-vae
        $ genlearn bounds runs/digits-vae -n 20 --draws 5000 --ais 500
    """
    opened = open_run(run)
    model: Any = capable(opened, "bounds")
    records, what = opened.records(source, split, reading.options())
    require(records, what)
    records = records.take(slice(0, n))
    plan = {"run": run, "records": f"{len(records):,} of {what}", "draws": draws, "ais": ais, "chains": chains}
    if dry_run(shared, "bounds", {**plan, "seed": seed}):
        return
    with about(what), followed(model, "bounds"):
        found = model.bounds(records, draws=draws, ais=ais, chains=chains, random_state=seed or 0)
    rows, told = [], {}
    for name, e in found.named.items():
        low, high = e.interval
        told[name] = {"value": e.value, "low": low, "high": high, "error": e.error}
        rows.append([name, f"{e.value:.2f}", f"{low:.2f} to {high:.2f}", f"{e.error:.3f}"])
    columns = ["bound", "nats/record", "95 % interval", "Monte Carlo error"]
    facts = {"model": opened.name, "data": what, "n": len(records), "bounds": told}
    facts |= {"reconstruction": found.reconstruction.value, "kl": found.kl}
    answer(shared, facts, table(columns, rows, right=columns[1:]))
