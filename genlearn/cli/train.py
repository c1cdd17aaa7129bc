"""`fit`: one model learns one source; `--resume` goes on where a run was stopped."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from ..errors import Interrupted, Problem, RunFailed, did_you_mean
from ..lock import alone_in, on_first
from . import candidates
from .console import answer, dry_run, first_process, note, watchers, words
from .flags import Reading, Seed, Shared, Training, training_flag
from .journal import RUN_FILE, facts_of_run, free_folder, make_room, read_facts, recorded, what_lies_in
from .runs import about, existing, read

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
        str | None,
        Argument(
            metavar="MODEL",
            help="Name of a model; `genlearn models` lists them.",
            show_default=False,
            autocompletion=candidates.models,
        ),
    ] = None,
    source: Annotated[
        str | None,
        Argument(
            metavar="SOURCE",
            help="A folder, zip, file or the name of a data set.",
            show_default=False,
            autocompletion=candidates.sources,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        training_flag("--resume", metavar="RUN", help="Go on with a stopped run.", autocompletion=candidates.runs),
    ] = None,
    like: Annotated[
        str | None,
        training_flag(
            "--like",
            metavar="RUN",
            help="Take model, data, settings and seed of a run; what is given goes before.",
            autocompletion=candidates.runs,
        ),
    ] = None,
    force: Annotated[bool, training_flag("--force", help="Replace the run that lies in --out.")] = False,
    seed: Seed = None,
    settings: Any = None,
    training: Training = None,  # type: ignore[assignment]
    reading: Reading = None,  # type: ignore[assignment]
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Fit one model. `genlearn fit MODEL --help` lists the settings of a model.

    Examples:
        $ genlearn fit gmm wine --components 3
        $ genlearn fit vae digits --latent 8 --budget 2m --out runs/vae
        $ genlearn fit vae --resume runs/vae        # after Ctrl-C or a power cut
        $ genlearn fit --like runs/vae --seed 2     # the same again, by another seed
    """
    asked = {**(settings or {}), **training.options()}
    if resume is not None:
        other = {**reading.options(), "seed of the fit": seed, "out": shared.out and str(Path(shared.out).resolve())}
        job = _resumed(resume, model, asked, other)
    else:
        job = _new(_wanted(model, source, reading.options(), seed, like), asked, shared.out)
    lines = _plan(job)
    options = {"model": job.facts["model"], "source": job.facts["data"]["source"], "out": str(job.out)}
    options |= {"settings": job.model.get_params(deep=False), "reading": job.facts["data"]["reading"]}
    if dry_run(shared, "fit", options, lines):
        return
    if job.resume and job.facts["state"] == "finished":
        with alone_in(job.out, words()):  # a lock that a kill left behind goes with this one
            note(f"{job.out} is finished: nothing is left to do.")
    else:
        _run(job, lines, force=force)
    _tell(job, shared)


def _run(job: Job, lines: list[str], *, force: bool) -> None:
    """Fit, alone in the run folder, which says at any moment what happens there."""
    try:
        with alone_in(job.out, words()):
            if not job.resume:
                on_first(lambda: make_room(job.out, force=force))
            note(*lines)
            with recorded(job.out, job.facts):
                _learn(job)
            if first_process():
                _report(job)
    except Interrupted as stop:
        how = f"The best so far is in {job.out}; go on with: genlearn fit --resume {shlex.quote(str(job.out))}"
        raise Interrupted(f"{stop}. {how}", exit_code=stop.exit_code) from None


def takes_part(verb: str) -> bool:
    """Return whether this process has something to do, of those that `torchrun` started: they learn together, the rest one does."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and verb in ("fit", "compare", "demo"):
        from .. import ranks

        ranks.start()
        return True
    return first_process()


@dataclass
class Wanted:
    """What a new fit is asked to be, before anything is read."""

    name: str
    source: str
    reading: dict[str, Any]
    seed: int | None
    settings: dict[str, Any] = field(default_factory=dict)


def _wanted(
    name: str | None, source: str | None, options: dict[str, Any], seed: int | None, like: str | None
) -> Wanted:
    """Return what the command line asks for; what it leaves open comes from the run that `--like` names."""
    if like is not None:
        facts = _facts(like)
        if name not in (None, facts["model"]):
            raise Problem(
                f"{like} holds {facts['model']}, whose settings are not those of {name}. Leave the model out."
            )
        reading = {**facts["data"]["reading"], **options} if source is None else options
        seed = facts["seed"] if seed is None else seed
        return Wanted(facts["model"], source or facts["data"]["source"], reading, seed, _settings_in(facts))
    if name is None or source is None:
        raise Problem("fit needs a model and a source: genlearn fit MODEL SOURCE. `genlearn models` lists the models.")
    return Wanted(name, source, options, seed)


def _new(wanted: Wanted, asked: Mapping[str, Any], out: str | None) -> Job:
    """Return the job that the words on the command line describe."""
    from ..model import model_class
    from ..training.numerics import device_of

    found = model_class(wanted.name)
    chosen = {**wanted.settings, **_parsed(found, asked)}
    found(**chosen)._check_params()  # before hours of reading
    if "device" in chosen:
        device_of(chosen["device"])
    data = read(wanted.source, wanted.reading)
    seed = _common_seed() if wanted.seed is None else wanted.seed
    model = found(random_state=seed, **chosen)
    settings = {k: v for k, v in model.get_params(deep=False).items() if k != "random_state"}
    facts = {"model": wanted.name, "settings": settings, "seed": seed}
    facts |= facts_of_run(data, wanted.source, wanted.reading)
    folder = Path(out) if out else free_folder(Path("runs") / f"{data.name}-{wanted.name}", _free)
    return Job(model, data, folder, False, facts)


def _facts(folder: str) -> dict[str, Any]:
    """Return what a fit's `run.json` says."""
    path = existing(folder)
    facts = read_facts(path) if (path / RUN_FILE).is_file() else {}
    if not {"model", "settings", "seed", "data", "state"} <= facts.keys():
        raise Problem(
            f"{folder} holds no run of a fit ({RUN_FILE} is missing, or of something else). Give a folder that `genlearn fit` wrote."
        )
    return facts


def _settings_in(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in facts["settings"].items()}


def _resumed(folder: str, name: str | None, asked: Mapping[str, Any], other: Mapping[str, Any]) -> Job:
    """Return the job of a stopped run, exactly as it was begun; raise `Problem` where the command line says otherwise."""
    from ..model import model_class

    path, facts = Path(folder), _facts(folder)
    if name is not None and name != facts["model"]:
        raise Problem(f"{folder} was begun with {facts['model']}, not {name}. Leave the model out, or begin a new run.")
    found = model_class(facts["model"])
    chosen = _settings_in(facts)
    reading = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["data"]["reading"].items()}
    begun = {**chosen, **reading, "seed of the fit": facts["seed"], "out": str(path.resolve())}
    now = {**_parsed(found, asked), **{k: v for k, v in other.items() if v is not None}}
    for key, value in now.items():
        if begun.get(key) != value:
            raise Problem(
                f"{folder} was begun with {key} {begun.get(key)}; a resumed run keeps it. Leave that flag out."
            )
    with about(f"{folder} cannot go on"):
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


def _free(folder: Path) -> bool:
    return not (folder / RUN_FILE).exists() and not what_lies_in(folder)


def _plan(job: Job) -> list[str]:
    from .. import __version__

    defaults = {k: s.default for k, s in type(job.model).settings().items()}
    chosen = " ".join(f"{k} {v}" for k, v in job.facts["settings"].items() if v != defaults[k])
    lines = [f"genlearn {__version__} · {job.data.summary or job.data.name}", *(f"  {n}" for n in job.data.notes)]
    parts = [job.facts["model"], *([chosen] if chosen else []), f"seed {job.facts['seed']}", f"out {job.out}"]
    return [*lines, f"plan: {' · '.join(parts)}{' · resumed' if job.resume else ''}"]


def _learn(job: Job) -> None:
    """Fit, and save what there is: the model at the end, or the best so far where training was stopped or came to grief."""
    from ..report.pictures import Pictures

    progress, last = watchers(), {}
    pictures = Pictures(job.out) if first_process() else None
    watch: list[Any] = [w for w in (progress, pictures, lambda event: last.update(event.values)) if w is not None]
    begun = time.monotonic()
    try:
        job.model.fit(job.data, out=job.out, resume=job.resume, watch=watch)
    except (Interrupted, RunFailed) as stop:
        if progress:
            progress.close()
        if stop.usable:
            with contextlib.suppress(Problem):  # a full disk may be the reason
                _save(job, time.monotonic() - begun, last)
        raise
    finally:
        if progress:
            progress.close()
    _save(job, time.monotonic() - begun, last)


def _save(job: Job, seconds: float, values: Mapping[str, float]) -> None:
    from ..report.pictures import save_samples

    if not first_process():
        return
    job.model.save(job.out)
    seconds += float(job.facts.get("seconds", 0.0))
    job.facts |= {"seconds": round(seconds, 3), "values": dict(values)}
    job.facts |= {k: getattr(job.model, f"{k}_", None) for k in ("steps", "parameters")}
    job.facts["samples"] = save_samples(job.model, job.out / "samples", seed=0).name


def _report(job: Job) -> None:
    """Judge the finished model in seconds and write its report; the fit is done and saved, whatever comes of it."""
    from ..report import write
    from ..report.quick import judge_quickly

    try:
        with contextlib.suppress(Problem):  # too few records to judge by: the report shows the rest
            job.facts["findings"] = judge_quickly(job.model, job.data, job.out)
        write(job.out)
    except Exception as e:  # days of training must not end in an error of a picture
        note(f"no report was written ({type(e).__name__}: {e}). The model is saved; try: genlearn report {job.out}")


def _tell(job: Job, shared: Shared) -> None:
    if not first_process():
        return
    keys = ("model", "state", "settings", "seed", "steps", "seconds", "values", "data")
    samples = str(job.out / job.facts["samples"])
    found = {"run": str(job.out), **{k: job.facts.get(k) for k in keys}, "samples": samples}
    findings = job.facts.get("findings", [])
    found["findings"] = findings
    note(*(f"beware: {text}" for text in findings))
    report = job.out / "report.html"
    found["report"] = str(report) if report.exists() else None
    places = f"model  {job.out}      samples  {samples}" + (f"      report  {report}" if report.exists() else "")
    answer(replace(shared, out=None), found, places)
