"""`fit`: one model learns one source; `--resume` goes on where a run was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from ..errors import Interrupted, Problem, did_you_mean
from .console import answer, complain, dry_run, first_process, note, watchers, words
from .flags import Reading, Seed, Shared, Training
from .runs import RUN_FILE, facts_of, read, versions, write_facts

if TYPE_CHECKING:
    from ..data.records import Dataset
    from ..model import Model


@dataclass
class Job:
    """A fit that is about to happen: what `run.json` says of it, in objects."""

    model: Model
    data: Dataset
    out: Path
    resume: bool
    facts: dict[str, Any] = field(default_factory=dict)


def fit(
    model: Annotated[
        str | None, Argument(metavar="MODEL", help="Name of a model; `genlearn models` lists them.", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        Argument(metavar="SOURCE", help="A folder, zip, file or the name of a data set.", show_default=False),
    ] = None,
    resume: Annotated[
        str | None, Option("--resume", metavar="RUN", help="Go on with a stopped run.", rich_help_panel="Training")
    ] = None,
    seed: Seed = None,
    settings: Any = None,
    training: Training = None,  # type: ignore[assignment]
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Fit one model. `genlearn fit MODEL --help` lists the settings of a model."""
    _join_processes()
    asked = {**(settings or {}), **training.options()}
    if resume is not None:
        other = {**reading.options(), "seed of the fit": seed, "out": shared.out and str(Path(shared.out).resolve())}
        job = _resumed(resume, model, asked, other)
    else:
        job = _new(model, source, asked, reading.options(), seed, shared.out)
    lines = _plan(job)
    options = {"model": job.facts["model"], "source": job.facts["data"]["source"], "out": str(job.out)}
    options |= {"settings": job.model.get_params(deep=False), "reading": job.facts["data"]["reading"]}
    if dry_run(shared, "fit", options, lines):
        return
    if job.resume and job.facts.get("finished"):
        note(f"{job.out} is finished: nothing is left to do.")
        return
    note(*lines)
    if first_process():
        write_facts(job.out, job.facts)
    _learn(job)
    _tell(job, shared)


def _join_processes() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .. import ranks

        ranks.start()


def _new(
    name: str | None,
    source: str | None,
    asked: Mapping[str, Any],
    options: dict[str, Any],
    seed: int | None,
    out: str | None,
) -> Job:
    """Return the job that the words on the command line describe."""
    from ..model import model_class

    if name is None or source is None:
        raise Problem("fit needs a model and a source: genlearn fit MODEL SOURCE. `genlearn models` lists the models.")
    found = model_class(name)
    chosen = _parsed(found, asked)
    data = read(source, options)
    seed = _common_seed() if seed is None else seed
    folder = Path(out) if out else _free_folder(Path("runs") / f"{data.name}-{name}")
    facts = {
        "command": words(),
        "model": name,
        "settings": chosen,
        "seed": seed,
        "data": facts_of(data, source, options),
        "versions": versions(),
        "finished": False,
    }
    return Job(found(random_state=seed, **chosen), data, folder, False, facts)


def _resumed(folder: str, name: str | None, asked: Mapping[str, Any], other: Mapping[str, Any]) -> Job:
    """Return the job of a stopped run, exactly as it was begun; raise `Problem` where the command line says otherwise."""
    from ..model import model_class
    from ..store import read_json

    path = Path(folder)
    if not (path / RUN_FILE).is_file():
        raise Problem(
            f"{folder} holds no run to go on with ({RUN_FILE} is missing). Give the --out folder of a stopped fit."
        )
    facts = read_json(path / RUN_FILE)
    if name is not None and name != facts["model"]:
        raise Problem(f"{folder} was begun with {facts['model']}, not {name}. Leave the model out, or begin a new run.")
    found = model_class(facts["model"])
    chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["settings"].items()}
    begun = {**{k: s.default for k, s in found.settings().items()}, **chosen, **facts["data"]["reading"]}
    begun |= {"seed of the fit": facts["seed"], "out": str(path.resolve())}
    now = {**_parsed(found, asked), **{k: v for k, v in other.items() if v is not None}}
    for key, value in now.items():
        if begun.get(key) != value:
            raise Problem(
                f"{folder} was begun with {key} {begun.get(key)}; a resumed run keeps it. Leave that flag out."
            )
    data = read(facts["data"]["source"], facts["data"]["reading"])
    if data.split_id != facts["data"]["split"]:
        raise Problem(
            f"the data at {facts['data']['source']} changed since {folder} was begun (split {facts['data']['split']}, "
            f"now {data.split_id}). Restore the data, or begin a new run."
        )
    return Job(found(random_state=facts["seed"], **chosen), data, path, True, facts)


def _parsed(found: type[Model], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in their types; switches came as booleans."""
    known = found.settings()
    for key in asked:
        if key not in known:
            others = ", ".join(k for k in known if k != "random_state")
            raise Problem(f"{found.name()} has no --{key}.{did_you_mean(key, known)} Its settings: {others}.")
    return {k: v if isinstance(v, bool) else known[k].parse(v, found.name()) for k, v in asked.items()}


def _common_seed() -> int:
    """Draw a seed; processes that train together take the first one's."""
    import secrets

    from .. import ranks

    return int(ranks.share(float(secrets.randbits(31))))


def _free_folder(wanted: Path) -> Path:
    """Return `wanted`, or with a number after it where a run lies already; together, processes must agree without looking."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return wanted
    folder, number = wanted, 2
    while (folder / RUN_FILE).exists() or (folder / "config.json").exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


def _plan(job: Job) -> list[str]:
    from .. import __version__

    chosen = " ".join(f"{k} {v}" for k, v in job.facts["settings"].items())
    lines = [f"genlearn {__version__} · {job.data.summary or job.data.name}", *(f"  {n}" for n in job.data.notes)]
    parts = [job.facts["model"], *([chosen] if chosen else []), f"seed {job.facts['seed']}", f"out {job.out}"]
    return [*lines, f"plan: {' · '.join(parts)}{' · resumed' if job.resume else ''}"]


def _learn(job: Job) -> None:
    """Fit, and save what there is: the model at the end, or the best so far after Ctrl-C."""
    from ..report.pictures import Pictures
    from ..store import remove

    progress = watchers()
    watch: list[Any] = [w for w in (progress, Pictures(job.out) if first_process() else None) if w is not None]
    begun = time.monotonic()
    try:
        job.model.fit(job.data, out=job.out, resume=job.resume, watch=watch)
    except Interrupted as stop:
        if progress:
            progress.close()
        _save(job, time.monotonic() - begun, finished=False)
        complain(f"{stop}. The best so far is in {job.out}; go on with: genlearn fit --resume {job.out}")
        raise Exit(130) from None
    except Problem:
        if first_process() and [p.name for p in job.out.iterdir()] == [RUN_FILE]:
            remove(job.out)  # nothing was learned: leave no folder that looks like a run
        raise
    finally:
        if progress:
            progress.close()
    _save(job, time.monotonic() - begun, finished=True)


def _save(job: Job, seconds: float, *, finished: bool) -> None:
    from ..report.pictures import save_samples

    if not first_process():
        return
    job.model.save(job.out)
    seconds += float(job.facts.get("seconds", 0.0))
    job.facts |= {"seconds": round(seconds, 3), "finished": finished}
    write_facts(job.out, job.facts)
    job.facts["samples"] = str(save_samples(job.model, job.out / "samples", seed=0))


def _tell(job: Job, shared: Shared) -> None:
    from dataclasses import replace

    found = {k: job.facts[k] for k in ("model", "settings", "seed", "seconds", "samples") if k in job.facts}
    text = f"model  {job.out}      samples  {job.facts.get('samples', '')}"
    answer(replace(shared, out=None), {"run": str(job.out), **found, "data": job.facts["data"]}, text)
