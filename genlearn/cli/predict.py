"""The verb `predict`: labels of records, and how sure the model is of them."""

from __future__ import annotations

from typing import Any

from .console import dry_run, followed, note, say_json
from .flags import Reading, Shared
from .runs import about, capable, open_run
from .use import RunArgument, SourceArgument, Split, require


def predict(
    run: RunArgument,
    source: SourceArgument = None,
    split: Split = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Predict labels, in the order of the source: the likeliest label and the probability of each; CSV on stdout.

    Examples:
        $ genlearn predict runs/customers new.csv --out labels.csv
        $ genlearn predict runs/digits-vae photos/ --json
    """
    import pandas as pd

    from ..data.records import Records
    from . import files

    opened = open_run(run)
    model: Any = capable(opened, "predict")
    records, what = opened.records(source, split, reading.options())
    require(records, what)
    plan = {"run": run, "records": f"{len(records):,} of {what}", "out": shared.out or "stdout"}
    if dry_run(shared, "predict", plan):
        return
    with about(what), followed(model, "predict"):
        chances = model.predict_proba(records)
    labels = model.classes_
    name = str(getattr(model.codec_, "target", None) or "label")
    columns = {name: labels[chances.argmax(1)], **{f"p({label})": chances[:, j] for j, label in enumerate(labels)}}
    table = Records("table", pd.DataFrame(columns))
    if shared.out is None:
        files.emit(table, as_json=shared.as_json)
        return
    path = files.write_records(table, shared.out)
    note(f"wrote {path} ({len(chances):,} labels of {len(labels)} kinds)")
    if shared.as_json:
        say_json({"out": str(path), "n": len(chances), "labels": [str(label) for label in labels]})
