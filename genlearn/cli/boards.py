"""Verbs that judge: `compare`, `demo`, `evaluate`, `report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from ..errors import Problem
from .console import answer, complain, dry_run, first_process, note, stdout, table, watchers, words
from .flags import Reading, Seed, Shared, training_flag
from .runs import OpenRun, facts_of, open_run, read, versions, with_samples, write_facts
from .use import RunArgument, SourceArgument, Split

if TYPE_CHECKING:
    from ..data.records import Dataset
    from ..report.board import Board
    from ..report.rows import Row

DEMO_DATA, DEMO_MODELS, DEMO_BUDGET = "digits", ("gmm", "vae", "gan", "vaegan"), "20s"

Budget = Annotated[str | None, training_flag("--budget", metavar="5m", help="Time per model and seed.")]
Steps = Annotated[int | None, training_flag("--steps", help="Training steps per model and seed, instead of a budget.")]
Seeds = Annotated[int, training_flag("--seeds", metavar="N", help="Fits per model.")]
Device = Annotated[str | None, training_flag("--device", metavar="cpu|cuda", help="Where to train.")]


def compare(
    source: Annotated[str, Argument(metavar="SOURCE", help="A folder, zip, file or the name of a data set.")],
    models: Annotated[str | None, Option("--models", metavar="A,B", help="Names of models; all by default.")] = None,
    seeds: Seeds = 1,
    budget: Budget = None,
    steps: Steps = None,
    device: Device = None,
    fresh: Annotated[bool, training_flag("--fresh", help="Do not take finished rows from --out.")] = False,
    seed: Seed = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Fit several models and say which one to keep, with reasons; goes on where it was stopped."""
    names = [m.strip() for m in models.split(",") if m.strip()] if models is not None else None
    options = {"budget": budget, "steps": steps, "device": device, "seeds": seeds, "random_state": seed or 0}
    _compare(source, names, options, reading.options(), shared, resume=not fresh)


def demo(
    budget: Budget = DEMO_BUDGET,
    seeds: Seeds = 1,
    seed: Seed = None,
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Compare four models on 1,797 embedded images of handwritten digits: about a minute, no download."""
    options = {"budget": budget, "seeds": seeds, "random_state": seed or 0}
    _compare(DEMO_DATA, list(DEMO_MODELS), options, {}, shared, resume=True)


def _compare(
    source: str,
    names: list[str] | None,
    options: dict[str, Any],
    reading: dict[str, Any],
    shared: Shared,
    *,
    resume: bool,
) -> None:
    from .. import __version__
    from ..compare import compare as run_comparison
    from ..compare import plan

    data = read(source, reading)
    wanted = plan(data, names, **options)
    out = Path(shared.out or Path("runs") / data.name)
    lines = [f"genlearn {__version__} · {data.summary or data.name}", *(f"  {n}" for n in data.notes), str(wanted)]
    lines += [f"  {entry['name']} is left out: {entry['reason']}" for entry in wanted.skipped]
    if dry_run(shared, "compare", {"source": source, **options, "reading": reading, "out": str(out)}, lines):
        return
    note(*lines)
    if first_process():
        facts = {"command": words(), "data": facts_of(data, source, reading), "versions": versions()}
        write_facts(out, {**facts, "settings": options})
    progress = watchers()
    try:
        board = run_comparison(wanted, out=out, resume=resume, watch=[progress] if progress else [])
    finally:
        if progress:
            progress.close()
    _show(board, out, shared)
    if board.interrupted:
        complain(f"interrupted; finished rows are kept. The same command goes on: {words()}")
        raise Exit(130)
    if board.rows and all(row.error for row in board.rows):
        raise Exit(1)


def _show(board: Board, out: Path, shared: Shared) -> None:
    """Print leaderboard, verdict and where things lie; write the report."""
    from ..report.board import leaderboard_table, remarks

    if not first_process():
        return
    report = board.report()
    if shared.as_json:
        answer(replace(shared, out=None), board.to_json(), "")
        return
    screen = stdout()
    screen.print(leaderboard_table(board))
    for line in [*remarks(board), board.verdict]:
        screen.print(line, soft_wrap=True, markup=False)
    kept = board.decision.keep
    places = {"report": report}
    if kept is not None:
        samples = next(iter(sorted((out / kept).glob("samples.*"))), None)
        places |= {"model": out / kept, **({"samples": samples} if samples else {})}
    screen.print("      ".join(f"{name}  {place}" for name, place in places.items()), soft_wrap=True, markup=False)


def evaluate(
    run: RunArgument,
    source: SourceArgument = None,
    split: Split = None,
    samples: Annotated[int | None, Option("--samples", metavar="K", help="Importance samples of a bound.")] = None,
    seed: Seed = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Judge one model by every metric, beside real held-out data."""
    opened = with_samples(open_run(run), samples)
    data = _judged_data(opened, source, split, reading.options())
    plan = {"run": run, "data": data.name, "real": f"{len(data.test):,} records", "seed": seed or 0}
    if dry_run(shared, "evaluate", plan):
        return
    row, real = _rows(opened, data, seed or 0)
    found = {
        "data": {"name": data.name, "summary": data.summary, "split": data.split_id, "n": row.metrics["auc"].n},
        "models": [row.to_json()],
        "references": [real.to_json()],
        "skipped": [],
        "verdict": {"winner": None, "text": _one_model_verdict(row)},
    }
    if shared.as_json or shared.out:
        answer(shared, found, "")
    if not shared.as_json:
        stdout().print(_metric_table(row, real))
        stdout().print(_one_model_verdict(row), soft_wrap=True, markup=False)


def _judged_data(opened: OpenRun, source: str | None, split: str | None, options: dict[str, Any]) -> Dataset:
    """Return the run's data; its test part replaced by a source that was given beside it."""
    if source is None:
        data = opened.data(options)
        return replace(data, test=data.part(split)) if split else data
    if "source" not in opened.facts.get("data", {}):
        return opened.other(source, options)
    records, what = opened.records(source, split, options)
    return replace(opened.data({}), test=records, name=what)


def _rows(opened: OpenRun, data: Dataset, seed: int) -> tuple[Row, Row]:
    """Judge the model and, beside it, real held-out data."""
    from ..metrics import Yardstick, nats
    from ..model import Scores
    from ..report.exhibits import copy_test
    from ..report.rows import REAL, Row, Trial

    if not len(data.test) or not len(data.valid):
        raise Problem(f"{data.name} has too few records to judge by. Give more, or another source.")
    model, yardstick = opened.model, Yardstick(data, seed=0)
    judgement, best = yardstick.judge(model.draw(yardstick.n, random_state=seed), model=model), yardstick.real()
    metrics = dict(judgement.metrics)
    if isinstance(model, Scores):
        metrics["nats"] = nats(model.log_prob(data.test))
    trial = Trial(
        opened.name, seed, metrics=metrics, copies=copy_test(judgement.copies), settings=model.get_params(deep=False)
    )
    trial.kind = getattr(model, "kind_", None) if isinstance(model, Scores) else None
    trial.measure, trial.notes = model.layout_.measure_id, list(model.codec_.notes)
    known = {"seconds": opened.facts.get("seconds"), "steps": "steps_", "parameters": "parameters_"}
    trial.cost = {k: getattr(model, v, None) if isinstance(v, str) else v for k, v in known.items()}
    real = Trial(REAL, metrics=dict(best.metrics), copies=copy_test(best.copies), reference=True)
    return Row(opened.name, [trial]), Row(REAL, [real], reference=True)


def _metric_table(row: Row, real: Row) -> Any:
    from ..metrics import METRICS

    cards = {m.name: m for m in (METRICS.values() if isinstance(METRICS, dict) else METRICS)}
    lines = []
    for name, result in row.metrics.items():
        card = cards.get(name)
        best = real.metrics.get(name)
        arrow = "" if card is None else {"lower": "lower", "higher": "higher"}[card.direction]
        title = card.title if card is not None else name
        lines.append([title, _cell(result), _cell(best) if best else "-", arrow, result.n, result.note])
    copies = {True: "YES", False: "no", None: "?"}
    lines.append(["copies", copies[row.copies], copies[real.copies], "no", "", row.good[0].copies.get("note", "")])
    return table(["metric", row.name, real.name, "better", "n", "note"], lines, right=["n"])


def _cell(result: Any) -> str:
    if result.value is None:
        return "-"
    interval = "" if result.low is None or result.high is None else f" [{result.low:.3g} {result.high:.3g}]"
    return f"{result.value:.3g}{interval}"


def _one_model_verdict(row: Row) -> str:
    auc = row.value("auc")
    if row.copies:
        return f"{row.name} hands out training records: do not use it as a source of new ones."
    if auc is None:
        return f"{row.name}: no two-sample AUC is available."
    told = "cannot be told from" if auc < 0.55 else "can sometimes be told from" if auc < 0.75 else "can be told from"
    return f"Samples of {row.name} {told} real records (two-sample AUC {_cell(row.metrics['auc'])}; 0.5 is perfect)."


def report(
    folder: Annotated[str, Argument(metavar="FOLDER", help="The folder of a comparison or of a fit.")],
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Write the report of a folder again: one offline HTML file."""
    from ..report import write

    if not Path(folder).is_dir():
        raise Problem(f"{folder} is no folder. Give one that `genlearn compare` or `genlearn fit` wrote.")
    if dry_run(shared, "report", {"folder": folder, "out": shared.out or str(Path(folder) / "report.html")}):
        return
    path = write(Path(folder))
    if shared.out:
        from ..store import write_bytes

        write_bytes(Path(shared.out), path.read_bytes())
        path = Path(shared.out)
    answer(replace(shared, out=None), {"report": str(path)}, f"report  {path}")
