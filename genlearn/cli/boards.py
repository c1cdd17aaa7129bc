"""Verbs that judge: `compare`, `demo`, `evaluate`, `report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ..errors import Interrupted, Problem, RunFailed
from ..lock import alone_in, on_first
from . import candidates
from .console import answer, draw, dry_run, first_process, note, say, table, watchers, words
from .flags import Reading, Seed, Shared, training_flag
from .journal import RUN_FILE, clear, facts_of_run, free_folder, read_facts, recorded, what_lies_in
from .runs import OpenRun, open_run, read, with_samples
from .use import RunArgument, SourceArgument, Split

if TYPE_CHECKING:
    from ..compare import Plan
    from ..data.records import Dataset
    from ..report.board import Board
    from ..report.rows import Row

DEMO_DATA, DEMO_MODELS, DEMO_BUDGET = "digits", ("gmm", "vae", "gan", "vaegan"), "20s"

Budget = Annotated[str | None, training_flag("--budget", metavar="5m", help="Time per model and seed.")]
Steps = Annotated[
    int | None, training_flag("--steps", metavar="INT", help="Training steps per model and seed, instead of a budget.")
]
Seeds = Annotated[int, training_flag("--seeds", metavar="N", help="Fits per model.")]
Device = Annotated[str | None, training_flag("--device", metavar="cpu|cuda", help="Where to train.")]
Fresh = Annotated[bool, training_flag("--fresh", help="Begin anew: replace what lies in --out.")]


def compare(
    source: Annotated[
        str,
        Argument(
            metavar="SOURCE", help="A folder, zip, file or the name of a data set.", autocompletion=candidates.sources
        ),
    ],
    models: Annotated[
        str | None,
        Option(
            "--models", metavar="A,B", help="Names of models; all by default.", autocompletion=candidates.several_models
        ),
    ] = None,
    seeds: Seeds = 1,
    budget: Budget = None,
    steps: Steps = None,
    device: Device = None,
    fresh: Fresh = False,
    seed: Seed = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Fit several models and say which one to keep, with reasons; goes on where it was stopped.

    Examples:
        $ genlearn compare wine --models gmm,kde
        $ genlearn compare customers.csv --target churn --budget 5m
        $ genlearn compare photos/ --models vae,gan --seeds 3 --out runs/photos
    """
    names = [m.strip() for m in models.split(",") if m.strip()] if models is not None else None
    options = {"budget": budget, "steps": steps, "device": device, "seeds": seeds, "random_state": seed or 0}
    _compare(source, names, options, reading.options(), shared, resume=not fresh)


def demo(
    budget: Budget = DEMO_BUDGET,
    seeds: Seeds = 1,
    fresh: Fresh = False,
    seed: Seed = None,
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Compare four models on 1,797 embedded images of handwritten digits: about a minute, no download.

    Examples:
        $ genlearn demo
        $ genlearn demo --budget 5s --out runs/quick
    """
    options = {"budget": budget, "seeds": seeds, "random_state": seed or 0}
    _compare(DEMO_DATA, list(DEMO_MODELS), options, {}, shared, resume=not fresh)


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
    from ..compare import plan

    data = read(source, reading)
    wanted = plan(data, names, **options)
    out = Path(shared.out) if shared.out else _home(data)
    lines = [f"genlearn {__version__} · {data.summary or data.name}", *(f"  {n}" for n in data.notes), str(wanted)]
    lines += [f"  {entry['name']} is left out: {entry['reason']}" for entry in wanted.skipped]
    if dry_run(shared, "compare", {"source": source, **options, "reading": reading, "out": str(out)}, lines):
        return
    facts = {"comparison": [entry.name for entry in wanted.entries], "settings": options}
    facts |= facts_of_run(data, source, reading)
    with alone_in(out, words()):
        on_first(lambda: _make_room(out, data, fresh=not resume))
        note(*lines)
        with recorded(out, facts):
            board = _board(wanted, out, resume)
            _show(board, out, shared)
            if board.interrupted:
                code = getattr(board.interrupted, "exit_code", 130)
                raise Interrupted(
                    f"interrupted; finished rows are kept. The same command goes on: {words()}", exit_code=code
                )
            if board.rows and all(row.error for row in board.rows):
                raise RunFailed("no model could be fitted; the remarks above say why. Mend the cause and run it again.")


def _board(wanted: Plan, out: Path, resume: bool) -> Board:
    from ..compare import compare as run_comparison

    progress = watchers()
    try:
        return run_comparison(wanted, out=out, resume=resume, watch=[progress] if progress else [])
    finally:
        if progress:
            progress.close()


def _make_room(out: Path, data: Dataset, *, fresh: bool) -> None:
    """Go on in the folder of a comparison of the same data; do not mix it with anything else."""
    if fresh:
        clear(out)
    elif (found := what_lies_in(out)) and not _compares(out, data):
        raise Problem(f"{out} holds {found}, of other data. Choose another --out, or give --fresh to replace it.")


def _compares(out: Path, data: Dataset) -> bool:
    """Return whether a folder holds a comparison of the same data."""
    facts = read_facts(out) if (out / RUN_FILE).is_file() else {}
    return "comparison" in facts and facts.get("data", {}).get("split") == data.split_id


def _home(data: Dataset) -> Path:
    """Return the folder of this data's comparison, by its name, with a number after it where something else lies."""
    return free_folder(Path("runs") / data.name, lambda folder: not what_lies_in(folder) or _compares(folder, data))


def _show(board: Board, out: Path, shared: Shared) -> None:
    """Print leaderboard, verdict and where things lie; write the report."""
    from ..report.board import leaderboard_table, remarks

    if not first_process():
        return
    report = board.report()
    if shared.as_json:
        answer(replace(shared, out=None), board.to_json(), "")
        return
    draw(leaderboard_table(board))
    for line in [*remarks(board), board.verdict]:
        say(line)
    kept = board.decision.keep
    places = {"report": report}
    if kept is not None:
        samples = next(iter(sorted((out / kept).glob("samples.*"))), None)
        places |= {"model": out / kept, **({"samples": samples} if samples else {})}
    say("      ".join(f"{name}  {place}" for name, place in places.items()))


def evaluate(
    run: RunArgument,
    source: SourceArgument = None,
    split: Split = None,
    samples: Annotated[int | None, Option("--samples", metavar="K", help="Importance samples of a bound.")] = None,
    seed: Seed = None,
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Judge one model by every metric, beside real held-out data.

    Examples:
        $ genlearn evaluate runs/customers
        $ genlearn evaluate runs/faces photos-test/ --json
    """
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
        draw(_metric_table(row, real))
        say(_one_model_verdict(row))


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
    from ..report.verdict import alone

    said = alone(row)
    return " ".join([f"{said.headline[:1].upper()}{said.headline[1:]}.", *said.reasons])


def report(
    folder: Annotated[
        str, Argument(metavar="FOLDER", help="The folder of a comparison or of a fit.", autocompletion=candidates.runs)
    ],
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Write the report of a folder again: one offline HTML file.

    Examples:
        $ genlearn report runs/digits
        $ genlearn report runs/digits-vae --out vae.html
    """
    from ..report import write

    if not Path(folder).is_dir():
        raise Problem(f"{folder} is no folder. Give one that `genlearn compare` or `genlearn fit` wrote.")
    if dry_run(shared, "report", {"folder": folder, "out": shared.out or str(Path(folder) / "report.html")}):
        return
    if shared.out and Path(shared.out).is_dir():
        raise Problem(f"--out {shared.out} is a folder. Give the name of a file, such as report.html.")
    path = write(Path(folder))
    if shared.out:
        from ..store import write_bytes

        write_bytes(Path(shared.out), path.read_bytes())
        path = Path(shared.out)
    answer(replace(shared, out=None), {"report": str(path)}, f"report  {path}")
