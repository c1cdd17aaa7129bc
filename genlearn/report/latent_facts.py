"""What a latent space holds, in numbers: units in use, the KL and its parts, clusters and probes beside the raw records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..data.records import Dataset, Records
from ..metrics import Result
from ..metrics.latent import active_units, kl
from ..metrics.latent_information import information
from ..metrics.latent_uses import linear_probe, purity
from ..metrics.schema import Schema, as_word
from ..model import Latent
from . import drawings
from .rows import numbers
from .sections import figure

LEARNED, JUDGED, MOST_LABELS = 1000, 500, 50  # training records of the probe, held-out ones, labels that are told apart
DRAWN = 64  # dimensions in the drawing

TITLES = {
    "active": ("active units", "dimensions whose posterior mean varies by more than 0.01"),
    "kl": ("KL", "nats per record that the latent vector costs, against a standard normal prior"),
    "mutual": ("mutual information", "the part of it that tells about the record"),
    "aggregate": ("aggregated posterior", "the rest: how far all latent vectors together are from the prior"),
    "purity": ("k-means purity", "share of records with the commonest label of their cluster"),
    "probe": ("linear probe", "held-out labels that a logistic regression guesses right"),
}


def measure(model: Any, data: Dataset, schema: Schema | None, mean: np.ndarray, std: np.ndarray) -> dict[str, Any]:
    """Return results by name, ready for JSON: of the latent vectors, and of the raw records where that makes sense.

    Arguments:
        model: A fitted model that encodes.
        data: The records.
        schema: The columns of a table; None for images.
        mean: `(n, d)` posterior means of held-out records.
        std: `(n, d)` posterior standard deviations.
    """
    found: dict[str, list[Result]] = {"active": [active_units(mean)]}
    if (std > 0).all():
        mutual, aggregate = information(mean, std)
        found |= {"kl": [kl(mean, std)], "mutual": [mutual], "aggregate": [aggregate]}
    if isinstance(model, Latent) and len(layers := model.layer_kl(_some(data.test))) > 1:
        found |= {f"layer {k}": [Result(float(value), n=len(mean))] for k, value in enumerate(layers, 1)}
    for name, pair in uses(model, data, schema).items():
        found[name] = list(pair)
    return {name: [numbers(result) for result in results] for name, results in found.items()}


def uses(model: Any, data: Dataset, schema: Schema | None) -> dict[str, tuple[Result, Result]]:
    """Return purity and probe of the latent vectors and of the raw records; empty without a few labels.

    No label is shown to the encoder.
    """
    train, test = _labelled(data.train, LEARNED), _labelled(data.test, JUDGED)
    if train is None or test is None:
        return {}
    (some, y), (held_out, held_y) = train, test
    if not 2 <= len(set(y)) <= MOST_LABELS or len(set(held_y)) < 2:
        return {}
    z, held_z = (model.encode(_hidden(r)) for r in (some, held_out))
    raw, held_raw = _raw(data.train, schema, some, held_out)
    return {
        "purity": (purity(held_z, held_y), purity(held_raw, held_y)),
        "probe": (linear_probe(z, y, held_z, held_y), linear_probe(raw, y, held_raw, held_y)),
    }


def _some(records: Records) -> Records:
    """Return held-out records to measure by, drawn with a fixed seed."""
    return records.take(np.sort(np.random.default_rng(0).permutation(len(records))[:JUDGED]))


def _labelled(records: Records, most: int) -> tuple[Records, np.ndarray] | None:
    """Return records whose label is known and their labels as words; None where there are none."""
    if records.labels is None or pd.api.types.is_float_dtype(records.labels):
        return None
    known = np.flatnonzero(~pd.isna(records.labels))
    some = records.take(known[np.sort(np.random.default_rng(0).permutation(len(known))[:most])])
    assert some.labels is not None
    return some, np.array([as_word(label) for label in some.labels])


def _hidden(records: Records) -> Records:
    """Return the records without their labels."""
    if records.modality == "image":
        return replace(records, y=None)
    return replace(records, x=records.x.drop(columns=[records.target]))


def _raw(train: Records, schema: Schema | None, *parts: Records) -> list[np.ndarray]:
    """Return the records themselves as vectors: pixels, or standardised and one-hot columns."""
    if schema is None:
        from ..metrics.image_features import pixel_vectors

        return [pixel_vectors(part, train) for part in parts]
    from ..metrics.table_features import Columns

    columns = Columns(schema, without=train.target)
    return [columns.embed(part) for part in parts]


# -- what the page shows -----------------------------------------------------------------------------------------------
def title(name: str) -> tuple[str, str]:
    """Return what a measure is called, and what it says."""
    if name.startswith("layer"):
        return f"KL of {name}", "nats per record that this layer costs, given those above; layer 1 is the top"
    return TITLES[name]


def table(kept: dict[str, Any], told: bool) -> dict[str, Any]:
    """Return rows of the table of numbers, and notes below it."""
    rows, notes = [], []
    for name, results in kept.items():
        called, words = title(name)
        whole = name == "active"
        cells = [figure(result, 0 if whole else 2) for result in results]
        if whole:
            cells[0]["value"] += f" {cells[0]['note']}"
        elif cells[0]["note"] and name != "kl":
            notes.append(f"{called}: {cells[0]['note']}")
        rows.append({"title": called, "words": words, "latent": cells[0], "raw": cells[1] if len(cells) > 1 else None})
    if told and "probe" in kept:
        notes.append(
            "the model is told the label, so its latent vectors need not hold it; here no label was shown to the encoder"
        )
    return {"rows": rows, "notes": notes, "beside": any(row["raw"] for row in rows)}


def spectrum(carries: Sequence[float], unit: str, colour: int, name: str) -> str:
    """Draw what every dimension carries, largest first.

    Arguments:
        carries: Amounts, largest first.
        unit: `nats` or `variance`.
        colour: Number of the model's colour.
        name: The model.
    """
    width, height, left, bottom, top = 300.0, 122.0, 44.0, 18.0, 8.0
    shown = [max(0.0, value) for value in carries[:DRAWN]]
    peak, ground = max(*shown, 1e-9, 0.0), height - bottom
    step = (width - left - 6) / len(shown)
    body = f'<line class="axis" x1="{left:g}" x2="{width - 6:g}" y1="{ground:g}" y2="{ground:g}"/>'
    body += f'<line class="rule" x1="{left:g}" x2="{width - 6:g}" y1="{top:g}" y2="{top:g}"/>'
    for j, value in enumerate(shown):
        high = (ground - top) * value / peak
        body += f'<rect class="bar c{colour}" x="{left + (j + 0.1) * step:.1f}" y="{ground - high:.1f}" '
        body += f'width="{0.8 * step:.1f}" height="{high:.1f}"/>'
    body += drawings.text(left - 5, top + 4, drawings.short(peak), "end") + drawings.text(
        left - 5, ground + 1, "0", "end"
    )
    body += drawings.text(left, height - 4, "1") + drawings.text(
        width - 6, height - 4, f"{len(shown)} dimensions", "end"
    )
    many = sum(value >= 0.01 for value in carries)
    label = f"What {len(carries)} latent dimensions of {name} carry, largest first: {shown[0]:.2f} {unit} at most, "
    return drawings.svg(width, height, body, label + f"{many} of them 0.01 or more", "spectrum")
