"""Verbs that use a fitted model: `sample`, `score`, `impute`."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from typer import Argument, Option

from ..errors import Problem
from ..lock import holder
from . import candidates
from .console import answer, dry_run, followed, note, say_json
from .flags import Reading, Seed, Shared, pairs, reading_flag
from .runs import OpenRun, about, capable, open_run, with_samples

RunArgument = Annotated[
    str, Argument(metavar="RUN", help="A folder that `genlearn fit` wrote.", autocompletion=candidates.runs)
]
SourceArgument = Annotated[
    str | None,
    Argument(
        metavar="[SOURCE]",
        help="Records to use; without it, those of the run.",
        show_default=False,
        autocompletion=candidates.sources,
    ),
]
Split = Annotated[
    Literal["train", "valid", "test"] | None,
    reading_flag("--split", metavar="train|valid|test", help="The part of the data to use."),
]


def sample(
    run: RunArgument,
    n: Annotated[
        int | None, Option("-n", "--number", metavar="INT", help="How many records.", show_default="64")
    ] = None,
    given: Annotated[
        list[str] | None, Option("--given", metavar="NAME=VALUE,...", help="Conditions: churn=yes,age=30:40.")
    ] = None,
    seed: Seed = None,
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Draw new records: a picture, a folder, an .npz, or a table on stdout or in a file.

    Examples:
        $ genlearn sample runs/digits-vae -n 64 --seed 7 --out grid.png
        $ genlearn sample runs/digits-vae -n 1000 --given label=3 --out threes.npz
        $ genlearn sample runs/customers -n 500 --given churn=yes,age=30:40
        $ genlearn sample runs/customers -n 5 --json
    """
    from .files import describe, emit, is_picture, write_records

    opened = open_run(run)
    count = 64 if n is None else n
    conditions = {k: v for text in given or () for k, v in pairs(text, "--given").items()}
    out = place_for(opened, shared, "samples")
    if dry_run(shared, "sample", {"run": run, "n": count, "given": conditions, "seed": seed, "out": out or "stdout"}):
        return
    with followed(opened.model, "sample"):
        records = opened.model.draw(count, given=conditions or None, random_state=seed)
    if out is None:
        emit(records, as_json=shared.as_json)
        return
    path = write_records(records, out, limit=None if not is_picture(out) else count)
    note(f"wrote {path} ({describe(records)})")
    if shared.as_json:
        say_json({"out": str(path), "n": len(records), "given": conditions, "seed": seed})


def score(
    run: RunArgument,
    source: SourceArgument = None,
    split: Split = None,
    samples: Annotated[int | None, Option("--samples", metavar="K", help="Importance samples of a bound.")] = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Print the mean log density per record, in nats; higher is better.

    Examples:
        $ genlearn score runs/customers
        $ genlearn score runs/customers new.csv --json
        $ genlearn score runs/digits-vae --samples 500
    """
    opened = with_samples(open_run(run), samples)
    model: Any = capable(opened, "log_prob")
    records, what = opened.records(source, split, reading.options())
    plan = {"run": run, "records": f"{len(records):,} of {what}", "samples": getattr(model, "samples", None)}
    if dry_run(shared, "score", plan):
        return
    from ..metrics import nats
    from ..report.rows import numbers

    require(records, what)
    with about(what), followed(model, "score"):
        result = numbers(nats(model.log_prob(records)))
    found: dict[str, Any] = {"run": str(opened.path), "model": opened.name, "data": what, "nats": result}
    found |= {"nll": None if result["value"] is None else -result["value"], "kind": model.kind_}
    found |= {"measure": model.layout_.measure, "samples": getattr(model, "samples", None)}
    if opened.modality == "image":
        found |= bits_per_dimension(opened, result["value"])
    answer(shared, found, _score_text(found))


def bits_per_dimension(opened: OpenRun, value: float | None) -> dict[str, Any]:
    """Return `-score / (D ln 2)` with D stated."""
    dims = math.prod(opened.model.layout_.image)
    return {"dims": dims, "bits_per_dim": None if value is None else -value / (dims * math.log(2))}


def _score_text(found: dict[str, Any]) -> str:
    nats = found["nats"]
    if nats["value"] is None:
        return f"{found['model']} on {found['data']}: no number. {nats['note']}"
    value, low, high = (_figure(nats[k]) for k in ("value", "low", "high"))
    lines = [
        f"{found['model']} on {found['data']}: {value} nats/record [{low} {high}], {found['kind']}, n {nats['n']:,}"
    ]
    more = [f"nll {_figure(found['nll'])}"]
    if found.get("bits_per_dim") is not None:
        more.append(f"{found['bits_per_dim']:.4g} bits/dim over {found['dims']:,} dimensions")
    if found["samples"]:
        more.append(f"{found['samples']:,} importance samples")
    lines.append(" · ".join(more))
    if nats.get("note"):
        lines.append(nats["note"])
    return "\n".join(lines)


def impute(
    run: RunArgument,
    source: Annotated[
        list[str] | None,
        Argument(
            metavar="[SOURCE]...",
            help="Image files, a folder or a table; without it, test records.",
            show_default=False,
            autocompletion=candidates.sources,
        ),
    ] = None,
    mask: Annotated[
        str | None,
        Option(
            "--mask",
            metavar="MASK",
            help="Image whose white is to be filled; or left, right, top, bottom, center; columns of a table.",
        ),
    ] = None,
    how: Annotated[
        Literal["draw", "mean", "mode"], Option("--how", metavar="draw|mean|mode", help="How to fill.")
    ] = "draw",
    n: Annotated[
        int, Option("-n", "--number", metavar="INT", help="How many test records, where no source is given.")
    ] = 8,
    split: Split = None,
    seed: Seed = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Fill in what is missing or masked; what is known never changes.

    Examples:
        $ genlearn impute runs/customers holes.csv --out full.csv
        $ genlearn impute runs/customers customers.csv --mask income --how mean
        $ genlearn impute runs/digits-vae --mask bottom -n 8 --out repaired.png
    """
    from . import files, picks

    opened = open_run(run)
    model: Any = capable(opened, "impute_records")
    records, what = picks.some(opened, source or [], split, reading.options(), n)
    require(records, what)
    hidden = picks.mask_for(opened, records, mask)
    out = place_for(opened, shared, "imputed")
    plan = {"run": run, "records": f"{len(records):,} of {what}", "mask": mask, "how": how, "seed": seed}
    if dry_run(shared, "impute", {**plan, "out": out or "stdout"}):
        return
    with about(what), followed(model, "impute"):
        filled = model.impute_records(records, hidden, how=how, random_state=seed)
    if out is None:
        files.emit(filled, as_json=shared.as_json)
        return
    shows = opened.modality == "image" and files.is_picture(out) and (len(records) > 1 or not source)
    if shows and hidden is not None:
        path = files.write_repair(records, hidden, filled, out)
        note(f"wrote {path} (rows: original, masked, repaired)")
    else:
        path = files.write_records(filled, out)
        note(f"wrote {path} ({files.describe(filled)})")
    if shared.as_json:
        say_json({"out": str(path), "n": len(filled), "how": how, "seed": seed})


def place_for(opened: OpenRun, shared: Shared, name: str) -> str | None:
    """Return where a verb writes: `--out`, else a picture in the run folder; None for a table on stdout.

    Errors:
        Problem: If that folder is being written by a run, whose pictures it would mix with.
    """
    if shared.out or opened.modality != "image":
        return shared.out
    if who := holder(opened.path) or holder(opened.path.parent):
        raise Problem(f"{opened.path} is being written by {who}. Wait for it, or give --out.")
    return str(opened.path / f"{name}.png")


def require(records: Any, what: str) -> None:
    """Raise `Problem` unless there are records."""
    if not len(records):
        raise Problem(f"{what} holds no records. Choose another --split or source.")


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.1f}"
