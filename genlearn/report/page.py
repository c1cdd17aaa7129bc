"""The report: one HTML file without outside parts, built from what lies in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import store
from ..errors import Problem
from . import plates, sections
from .album import Album
from .board import duration

HERE = Path(__file__).parent


def write(folder: str | Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    A comparison (`report.json` and a folder per model) gives the whole report; the folder of one fitted model gives its card,
    pictures and training curves. Every number is one of `report.json`.

    Arguments:
        folder: What `compare(out=...)`, `fit(out=...)` or `save` wrote.

    Errors:
        Problem: If the folder holds neither.
    """
    import jinja2

    folder = Path(folder)
    if (folder / "report.json").is_file():
        view = comparison(folder, store.read_json(folder / "report.json"))
    elif (folder / "config.json").is_file():
        view = single(folder)
    else:
        raise Problem(f"{folder} holds no comparison and no model.{_instead(folder)}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    style = (HERE / "report.css").read_text(encoding="utf-8")
    html = environment.get_template("report.html.j2").render(style=style, **view)
    store.write_bytes(folder / "report.html", html.encode())
    return folder / "report.html"


def comparison(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows of a comparison."""
    rows = sections.lines(report)
    trials = {row["name"]: sections.trial_of(folder, row["name"]) for row in rows}
    homes = {row["name"]: sections.home_of(folder, row["name"]) for row in rows}
    album = Album(path for home in homes.values() for path in home.glob("*.png"))
    table = report["data"]["modality"] == "table"
    return {
        "title": report["data"]["name"],
        "summary": report["data"]["summary"],
        "verdict": report["verdict"],
        "board": sections.board(report, rows),
        "skipped": report["skipped"],
        "metrics": sections.metric_cards(rows),
        "numbers": sections.numbers(rows),
        "remarks": sections.remarks(rows),
        "spreads": sections.spreads(rows),
        "pictures": [] if table else plates.pictures(rows, homes, album),
        "tables": plates.tables(rows, trials) if table else [],
        "columns": plates.columns(rows, trials) if table else None,
        "curves": [c for row in rows if (c := plates.curves(row, homes[row["name"]]))],
        "costs": sections.costs(rows),
        "settings": sections.settings(rows),
        "data": report["data"],
        "notes": sections.codec_notes(rows),
        "run": report["run"],
        "card": None,
    }


def single(folder: Path) -> dict[str, Any]:
    """Return what the template shows of one fitted model."""
    config = store.read_json(folder / "config.json")
    run = store.read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    row = {"name": config["model"], "colour": 1, "settings": config["params"], "reference": False, "error": None}
    album = Album(folder.glob("*.png"))
    data = run.get("data", {})
    facts = {"data": data.get("name"), "split": data.get("split"), "modality": config["modality"]}
    facts |= {k.rstrip("_"): _fact(k, v) for k, v in config["state"].items() if isinstance(v, int | float | str)}
    return {
        "title": " · ".join(t for t in (config["model"], data.get("name")) if t), "summary": data.get("summary", ""),
        "verdict": None, "board": None, "skipped": [], "metrics": [], "numbers": None, "remarks": [], "spreads": [],
        "pictures": plates.run_pictures(folder, album), "tables": plates.run_tables(folder), "columns": None,
        "curves": [c for c in [plates.curves(row, folder)] if c], "costs": [], "settings": sections.settings([row]),
        "data": None, "notes": [], "run": {"versions": config["versions"], "command": run.get("command")},
        "card": {"state": {k: v for k, v in facts.items() if v}},
    }  # fmt: skip


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
