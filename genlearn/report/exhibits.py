"""What a report shows of a model besides numbers: records, their nearest training records, distributions, the latent space.

Images become PNG files in the model's folder; table rows and distributions become part of the stored row, so that a report
can be rebuilt from the run folder alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.records import Dataset, Records
from ..metrics import Copies, Judgement
from ..metrics.latent_diagnosis import diagnose
from ..metrics.schema import Schema
from ..model import Conditional, Encodes, Model
from . import latent, network, sketch, trees
from .pictures import grid as lay_out
from .pictures import pixels, rows_of, save_picture, save_records, stacked
from .rows import Trial

SHOWN_ROWS = 8
STRIPS, STEPS = 4, 9
MOST_LABELS = 12


def copy_test(copies: Copies | None) -> dict[str, Any]:
    """Return the outcome of a copy test without its pairs, ready for JSON; empty if there was none."""
    return {} if copies is None else {k: v for k, v in copies.to_json().items() if k != "pairs"}


def note_judgement(trial: Trial, judgement: Judgement) -> None:
    """Write what the yardstick said into a trial."""
    trial.metrics, trial.remarks = dict(judgement.metrics), list(judgement.notes)
    trial.copies = copy_test(judgement.copies)


def show_real(trial: Trial, data: Dataset, schema: Schema | None, home: Path) -> None:
    """Keep test records to look at, and the distributions of their columns."""
    if schema is None:
        save_records(data.test, home / "samples")
        trial.exhibits["alt"] = {"samples": "Real held-out images, in rows of eight"}
        return
    trial.exhibits = {"columns": list(data.test.x.columns), "samples": rows_of(data.test, slice(0, SHOWN_ROWS))}
    trial.columns = {"sketch": sketch.sketch(schema, data.test.x, data.test.x)}


def show(
    trial: Trial,
    model: Model,
    data: Dataset,
    fake: Records,
    judgement: Judgement,
    schema: Schema | None,
    home: Path,
) -> None:
    """Keep what there is to look at: nearest training records, reconstructions, strips, distributions, latent space; and findings.

    Arguments:
        trial: Receives table rows and distributions.
        model: The fitted model.
        data: The records in three parts; nothing of the test part but its first records is shown.
        fake: The records that were judged.
        judgement: What the yardstick said about them.
        schema: The columns of a table; None for images.
        home: Folder for pictures.
    """
    pairs = judgement.copies.pairs if judgement.copies else ()
    made, kept = [i for i, _, _ in pairs], [j for _, j, _ in pairs]
    if schema is None:
        alt = trial.exhibits["alt"] = {"samples": f"Images drawn by {trial.model}, in rows of eight"}
        if pairs:
            save_picture(stacked(pixels(fake.take(made)), pixels(data.train.take(kept))), home / "nearest.png")
            spread = f"distances {min(d for _, _, d in pairs):.3g} to {max(d for _, _, d in pairs):.3g}"
            alt["nearest"] = (
                f"{len(pairs)} images drawn by {trial.model}, each above its nearest training image, {spread}"
            )
        _show_images(alt, trial.model, model, data, home)
    else:
        trial.exhibits = {"columns": list(fake.x.columns), "samples": rows_of(fake, slice(0, SHOWN_ROWS))}
        if pairs:
            trial.exhibits["nearest"] = {
                "made": rows_of(fake, made), "kept": rows_of(data.train, kept), "distance": [float(d) for _, _, d in pairs]
            }  # fmt: skip
        trial.columns = {"sketch": sketch.sketch(schema, data.test.x, fake.x)}
        if judgement.columns:
            drawn = sketch.pairs(schema, judgement.columns.trends, data.test.x, fake.x)
            trial.columns |= {**judgement.columns.to_json(), "pairs": drawn}
        _show_rows(trial, model, data, fake)
    if isinstance(model, Encodes):
        trial.exhibits["latent"] = latent.look(model, data, schema, home)
    if not trial.reference:
        trial.exhibits["findings"] = [str(f) for f in diagnose(model, data, metrics=judgement.metrics)]
    if isinstance(model, network.HasGraph):
        trial.exhibits["graph"] = network.exhibit(model)
    if isinstance(model, trees.HasTrees):
        trial.exhibits["trees"] = trees.exhibit(model)


def _show_rows(trial: Trial, model: Model, data: Dataset, fake: Records) -> None:
    if not isinstance(model, Encodes):
        return
    some = data.test.take(slice(0, 4))
    made = model.reconstruct_records(some)
    trial.exhibits["reconstructions"] = {"kept": rows_of(some, slice(0, 4)), "made": rows_of(made, slice(0, 4))}
    if len(data.test) > 1:
        way = model.interpolate(data.test.take([0]), data.test.take([1]), 5)
        between = _like(fake, way)
        trial.exhibits["interpolation"] = {"columns": list(between.x.columns), "rows": rows_of(between, slice(0, 5))}


def _show_images(alt: dict[str, str], name: str, model: Model, data: Dataset, home: Path) -> None:
    """Draw images by label, reconstructions and strips, and say of each in words what it shows."""
    if isinstance(model, Conditional) and (labels := _labels(data.train)):
        drawn = [pixels(model.draw(6, given={str(data.target): label}, random_state=0)) for label in labels]
        rows = np.stack(drawn, 1).reshape(-1, *drawn[0].shape[1:])
        save_picture(lay_out(rows, columns=len(labels)), home / "labels.png")
        alt["labels"] = f"Six images drawn by {name} for each label, in columns: {', '.join(map(str, labels))}"
    if isinstance(model, Encodes):
        some = data.test.take(slice(0, SHOWN_ROWS))
        again = model.reconstruct_records(some)
        save_picture(stacked(pixels(some), pixels(again)), home / "reconstructions.png")
        error = float(np.abs(pixels(some).astype(float) - pixels(again)).mean() / 2.55)
        pairs = f"{len(some)} held-out images above their reconstructions by {name}"
        alt["reconstructions"] = f"{pairs}, mean error {error:.1f} % of the range"
        ends = min(STRIPS, len(data.test) // 2)
        if ends:
            strips = [
                pixels(_like(data.test, model.interpolate(data.test.take([2 * i]), data.test.take([2 * i + 1]), STEPS)))
                for i in range(ends)
            ]
            save_picture(lay_out(np.concatenate(strips), columns=STEPS), home / "interpolation.png")
            alt["interpolation"] = (
                f"{ends} strips of {STEPS} images decoded by {name}, each from one held-out image to another"
            )


def _like(records: Records, x: Any) -> Records:
    """Return records of the same kind with other contents."""
    if records.modality == "image" and x.ndim == 3:
        x = x[..., None]
    if records.modality == "table" and not hasattr(x, "columns"):
        import pandas as pd

        complete = x.shape[1] == records.x.shape[1]
        x = pd.DataFrame(x, columns=[c for c in records.x.columns if complete or c != records.target])
    return replace(records, x=x, y=None)


def _labels(records: Records) -> list[Any]:
    """Return the labels in order, if they are few enough to be laid out side by side."""
    if records.labels is None or records.target is None:
        return []
    known = {label for label in records.labels if label == label and label is not None}
    found = sorted(known, key=lambda v: (str(type(v)), v))
    return found if len(found) <= MOST_LABELS else []
