"""The latent space of a model: a map of held-out records, strips along the dimensions that carry most, the manifold of a plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..data.records import Dataset, Records
from ..metrics.latent import kl_per_dim
from ..metrics.schema import Schema, as_word
from ..model import Encodes
from . import latent_facts, planes
from .album import Album
from .pictures import grid, pixels, rows_of, save_picture

HELD_OUT = 400  # records on the map
DIMS, UNUSED = 6, 0.005  # dimensions that are walked along; what less is carried would be printed as 0.00
MOST_LABELS = 12
WALK, STOPS = (
    np.linspace(-2.5, 2.5, 9),
    (-2.0, 0.0, 2.0),
)  # of images, of table rows; in standard deviations of the prior
MOVED = 4  # columns shown per dimension
PLANE = 12  # images per side of a manifold


def look(model: Any, data: Dataset, schema: Schema | None, home: Path) -> dict[str, Any]:
    """Keep what there is to see in a latent space, largest dimensions first.

    A dimension carries \\(\\operatorname{KL}(q(z_j \\mid x) \\| p(z_j))\\) nats, averaged over held-out records; where the encoder is
    deterministic, the variance of its codes is taken instead.

    Arguments:
        model: A fitted model that encodes.
        data: The records; up to 400 of the test part are mapped.
        schema: The columns of a table; None for images.
        home: Folder for pictures: `traversal-<k>.png`, and `manifold.png` of a space of two dimensions.
    """
    assert isinstance(model, Encodes)
    chosen = np.sort(np.random.default_rng(0).permutation(len(data.test))[:HELD_OUT])
    some = data.test.take(chosen)
    mean, std = model.posterior(some)
    carries, unit = carried(mean, std)
    order = [int(j) for j in np.argsort(-carries, kind="stable")]
    found: dict[str, Any] = {"unit": unit, "carries": [round(float(carries[j]), 4) for j in order], "order": order}
    found |= {"records": len(some), "told": bool(model.layout_.labels)}
    found["facts"] = latent_facts.measure(model, data, schema, mean, std)
    found["map"] = _map(mean[:, order[:2]], some)
    walked = [j for j in order[:DIMS] if carries[j] >= UNUSED]
    start, label = mean[0], _label_of(model, some)
    if schema is None:
        for k, j in enumerate(walked):
            strip = model.decode_records(_walk(start, j, WALK), label)
            save_picture(grid(pixels(strip), columns=len(WALK)), home / f"traversal-{k}.png")
        if len(order) == 2:
            save_picture(_manifold(model), home / "manifold.png")
    else:
        found["moves"] = [_moves(model.decode_records(_walk(start, j, STOPS), label), schema) for j in walked]
    return found


def carried(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, str]:
    """Return what every dimension carries, `(d,)`, and its unit: nats, or variance where the encoder is deterministic."""
    if (std > 0).all():
        return kl_per_dim(mean, std), "nats"
    return mean.var(0, dtype=np.float64), "variance"


def _map(places: np.ndarray, records: Records) -> dict[str, Any] | None:
    """Return points and labels; None where there are not two dimensions."""
    if places.shape[1] < 2:
        return None
    found: dict[str, Any] = {"x": np.round(places[:, 0], 3).tolist(), "y": np.round(places[:, 1], 3).tolist()}
    if records.labels is None:
        return found
    words = ["" if label is None or label != label else as_word(label) for label in records.labels]
    names = sorted({w for w in words if w})
    if len(names) <= MOST_LABELS:
        level = {name: k for k, name in enumerate(names)}
        found |= {"names": list(level), "label": [level.get(w, -1) for w in words]}
    return found


def _walk(start: np.ndarray, dim: int, stops: Any) -> np.ndarray:
    z = np.repeat(start[None], len(stops), 0)
    z[:, dim] = stops
    return z


def _label_of(model: Any, records: Records) -> Any:
    """Return the label of the first record for a model that is given labels; None for its most frequent one."""
    if not model.layout_.labels or records.labels is None:
        return None
    label = records.labels[0]
    return None if label is None or label != label else label


def _manifold(model: Any) -> Any:
    """Return the plane of a two-dimensional latent space, decoded at equal steps of probability."""
    steps = stats.norm.ppf(np.linspace(0.04, 0.96, PLANE))
    z = np.stack(np.meshgrid(steps, steps[::-1]), -1).reshape(-1, 2)
    return grid(pixels(model.decode_records(z)), columns=PLANE)


def _moves(walked: Records, schema: Schema) -> list[dict[str, Any]]:
    """Return the columns that change most along one dimension, each with its cells."""
    frame, found = walked.x, []
    for name in schema.varying:
        if name not in frame:
            continue
        if name in schema.numbers:
            values, known = schema.number(frame, name), schema.number(schema.train.iloc[:5000], name)
            size = float(abs(values[-1] - values[0]) / (np.nanstd(known) or 1.0)) if np.isfinite(values).all() else 0.0
        else:
            size = float(len(set(schema.level(frame, name))) > 1)
        found.append((size, str(name), list(frame.columns).index(name)))
    cells = rows_of(walked, slice(0, len(frame)))
    found.sort(key=lambda entry: -entry[0])
    return [{"column": name, "cells": [row[j] for row in cells]} for size, name, j in found[:MOVED] if size > 0.01]


# -- what the page shows -----------------------------------------------------------------------------------------------
def view(row: dict[str, Any], kept: dict[str, Any], home: Path, album: Album) -> dict[str, Any]:
    """Return the latent space of one row for the template."""
    name, unit, carries, order = row["name"], kept["unit"], kept["carries"], kept["order"]
    amounts = [_amount(value, unit) for value in carries]
    plural = "dimension" if len(order) == 1 else "dimensions"
    words = f"{len(order)} latent {plural}, numbered from 0, carry {_amount(sum(carries), unit)} per record in all."
    shown: dict[str, Any] = {"name": name, "colour": row["colour"], "stops": [f"{s:+g}" if s else "0" for s in STOPS]}
    if kept["map"]:
        a, b = order[:2]
        words += f" The map shows the two that carry most: {a} ({amounts[0]}) and {b} ({amounts[1]})."
        words += " The model is told the label, so labels that mix are no fault." if kept["told"] else ""
        groups = _groups(kept["map"])
        label = f"Latent map of {name}: {kept['records']} held-out records on dimensions {a} ({amounts[0]}) and {b} ({amounts[1]})"
        label += f", by label: {', '.join(g for g, _, _ in groups)}" if groups[0][0] else ""
        shown["map"] = planes.scatter(groups, (f"dimension {a}", f"dimension {b}"), label)
        shown["legend"] = [
            {"name": g, "key": planes.key(k)} for k, (g, _, _) in enumerate(groups) if g and not planes.as_words(groups)
        ]
    if "facts" in kept:
        shown["facts"] = latent_facts.table(kept["facts"], kept["told"])
    shown["spectrum"] = latent_facts.spectrum(carries, unit, row["colour"], name)
    strips = []
    for k, (dim, amount) in enumerate(zip(order, amounts, strict=True)):
        alt = f"Images decoded by {name} along latent dimension {dim} ({amount}), from {WALK[0]:g} to {WALK[-1]:g}"
        if picture := album.picture(home / f"traversal-{k}.png", alt):
            strips.append({"dim": dim, "amount": amount, "picture": picture})
    moves = [
        {"dim": dim, "amount": amount, "columns": columns}
        for dim, amount, columns in zip(order, amounts, kept.get("moves", []), strict=False)
        if columns
    ]
    plane = album.picture(home / "manifold.png", f"The latent plane of {name}, {PLANE} x {PLANE} decoded images")
    return {**shown, "words": words, "strips": strips, "moves": moves, "manifold": plane}


def _amount(value: float, unit: str) -> str:
    return f"{value:.2f} nats" if unit == "nats" else f"variance {value:.2f}"


def _groups(points: dict[str, Any]) -> list[tuple[str, list[float], list[float]]]:
    """Return the points by label, those without one last."""
    x, y = points["x"], points["y"]
    if "label" not in points:
        return [("", x, y)]
    found = []
    for level, name in [*enumerate(points["names"]), (-1, "")]:
        rows = [i for i, k in enumerate(points["label"]) if k == level]
        if rows:
            found.append((name, [x[i] for i in rows], [y[i] for i in rows]))
    return found
