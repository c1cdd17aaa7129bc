"""The report: one HTML file without outside parts, built from what lies in a run folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .. import store
from ..errors import Problem
from . import columns, latent, network, plates, sections, trees
from .album import Album
from .board import duration
from .rows import Row, Trial
from .verdict import alone

HERE = Path(__file__).parent


def write(folder: str | Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    A comparison (`report.json` and a folder per model) gives the whole report; the folder of one fitted model gives its card,
    pictures, training curves, and its numbers if it was judged. Every number is one of `report.json` or `row-0.json`.

    Arguments:
        folder: What `compare(out=...)`, `fit(out=...)` or `save` wrote.

    Errors:
        Problem: If the folder holds neither, or something damaged.
    """
    import jinja2

    folder = Path(folder)
    try:
        if (folder / "report.json").is_file():
            view = comparison(folder, store.read_json(folder / "report.json"))
        elif (folder / "config.json").is_file():
            view = single(folder)
        else:
            raise Problem(f"{folder} holds no comparison and no model.{_instead(folder)}")
        html = _page(view).encode()
    except Problem:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, OSError, jinja2.TemplateError) as e:
        why = f"{type(e).__name__}: {e}".splitlines()[0]
        raise Problem(f"a file in {folder} is damaged ({why}). Run the fit or the comparison again.") from e
    store.write_bytes(folder / "report.html", html)
    return folder / "report.html"


def _page(view: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    style = (HERE / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(style=style, **view)


def comparison(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows of a comparison."""
    rows = sections.lines(report)
    homes = {row["name"]: sections.home_of(folder, row["name"]) for row in rows}
    trials = {row["name"]: sections.trial_of(homes[row["name"]]) for row in rows}
    return {
        **_shown(report, rows, trials, homes, _album(homes)), "data": report["data"], "settings": sections.settings(rows), "card": None,
        "run": {**report["run"], "split": report["data"]["split"]}, "along": [],
    }  # fmt: skip


def single(folder: Path) -> dict[str, Any]:
    """Return what the template shows of one fitted model: a comparison of one, beside real data."""
    config = store.read_json(folder / "config.json")
    run = store.read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    name, data = config["model"], run.get("data", {})
    real_home = next((h for h in (folder / "real", folder.parent / "real") if (h / "row-0.json").is_file()), None)
    stored = sections.trial_of(folder) or _unjudged(folder, name)
    real = sections.trial_of(real_home) if real_home else {}
    model_row = Row(name, [Trial.from_json(stored)])
    references = [Row(real["model"], [Trial.from_json(real)], reference=True)] if real else []
    report = {
        "data": {"name": " · ".join(t for t in (name, data.get("name")) if t), "summary": data.get("summary", ""),
                 "modality": config["modality"], "n": max((r.n for r in model_row.metrics.values()), default=0)},
        "models": [model_row.to_json()], "references": [row.to_json() for row in references], "skipped": [],
        "verdict": alone(model_row).to_json(),
    }  # fmt: skip
    rows = sections.lines(report)
    trials = {row["name"]: real if row["reference"] else stored for row in rows}
    homes = {row["name"]: real_home if row["reference"] and real_home else folder for row in rows}
    album = _album(homes)
    facts = {"data": data.get("name"), "modality": config["modality"]}
    facts |= {k.rstrip("_"): _fact(k, v) for k, v in config["state"].items() if isinstance(v, int | float | str)}
    options = {"name": name, "settings": config["params"]}
    return {
        **_shown(report, rows, trials, homes, album), "data": None, "settings": sections.settings([options]),
        "card": {"state": {k: v for k, v in facts.items() if v}}, "along": plates.along(folder, album),
        "run": {"versions": config["versions"], "command": run.get("command"), "split": data.get("split"), "seed": run.get("seed")},
    }  # fmt: skip


def _shown(
    report: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    trials: dict[str, dict[str, Any]],
    homes: dict[str, Path],
    album: Album,
) -> dict[str, Any]:
    """Return what comparisons and single fits have in common."""
    table = report["data"]["modality"] == "table"
    spaces = [(row, trials[row["name"]].get("exhibits", {}).get("latent")) for row in rows]
    judged = any(row["metrics"] for row in rows)
    return {
        "title": report["data"]["name"],
        "summary": report["data"]["summary"],
        "verdict": report["verdict"],
        "findings": sections.findings(rows, trials),
        "board": sections.board(report, rows) if judged or len(rows) > 1 else None,
        "skipped": report["skipped"],
        "numbers": sections.numbers(rows) if judged else None,
        "remarks": sections.remarks(rows),
        "spreads": sections.spreads(rows),
        "pictures": [] if table else plates.pictures(rows, trials, homes, album),
        "tables": plates.tables(rows, trials) if table else [],
        "columns": columns.view(rows, trials) if table else None,
        "latents": [latent.view(row, kept, homes[row["name"]], album) for row, kept in spaces if kept],
        "graphs": network.view(rows, trials),
        "trees": trees.view(rows, trials),
        "curves": [c for row in rows if (c := plates.curves(row, homes[row["name"]]))],
        "costs": sections.costs(rows),
        "notes": sections.codec_notes(rows),
    }


def _album(homes: dict[str, Path]) -> Album:
    """Return one album for all pictures of a page, so that they share its size."""
    return Album(path for home in set(homes.values()) for path in home.glob("*.png"))


def _unjudged(folder: Path, name: str) -> dict[str, Any]:
    """Return the trial of a model that was never judged: what it drew is all there is to see."""
    trial = Trial(name)
    if (folder / "samples.png").is_file():
        trial.exhibits["alt"] = {"samples": f"Images drawn by {name}, in rows of eight"}
    if (folder / "samples.csv").is_file():
        with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
            head, *lines = islice(csv.reader(file), 9)
        trial.exhibits = {"columns": head, "samples": lines}
    return trial.to_json()


def _fact(name: str, value: float | str) -> str:
    """Return a learned number or word as text."""
    if name == "seconds_":
        return duration(float(value))
    if isinstance(value, bool | str) or name == "seed_":
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _instead(folder: Path) -> str:
    if not folder.is_dir():
        return " There is no such folder."
    found = sorted({p.parent for name in ("report.json", "config.json") for p in folder.glob(f"*/{name}")})
    return (
        f" Give one of: {', '.join(str(p) for p in found[:6])}."
        if found
        else " Give a folder that fit or compare wrote."
    )
