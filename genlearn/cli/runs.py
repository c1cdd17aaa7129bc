"""Run folders: what a fit leaves beside the model, so that later verbs read the same data in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Problem, did_you_mean
from .console import note

if TYPE_CHECKING:
    from ..data.records import Dataset, Records
    from ..model import Model

RUN_FILE = "run.json"
_OF_SPLITS = ("valid", "test", "drop_duplicates", "seed")


@dataclass(frozen=True)
class OpenRun:
    """A fitted model and what its folder says about it.

    Arguments:
        path: The run folder.
        model: The model in it.
        facts: What `run.json` holds; empty for folders that Python's `save` wrote.
    """

    path: Path
    model: Any
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name()

    @property
    def modality(self) -> str:
        """The modality of the model's records."""
        return self.model.codec_.modality

    def data(self, options: Mapping[str, Any]) -> Dataset:
        """Read the run's own data as it was read for the fit; `options` go before."""
        about = self.facts.get("data", {})
        if "source" not in about:
            raise Problem(f"{self.path} does not say which data it was fitted to. Name a source after it.")
        data = read(about["source"], {**about["reading"], **options})
        if not options and data.split_id != about["split"]:
            note(f"{about['source']} changed since the fit: its split was {about['split']}, now it is {data.split_id}")
        return data

    def other(self, source: str, options: Mapping[str, Any]) -> Dataset:
        """Read another source, with a split, in the form of this run's data."""
        return read(source, {**self._reading(), **options})

    def records(self, source: str | None, split: str | None, options: Mapping[str, Any]) -> tuple[Records, str]:
        """Return records to work on, in the order of the source, and words that say which.

        Without a source: a part of the run's data, test by default. With one: all of its records, unless `split` is asked for
        or the source brings its own test part.
        """
        from ..data import read_all
        from .picks import fitting

        if source is None:
            data = self.data(options)
            return data.part(split or "test"), f"{data.name} {split or 'test'}"
        if split is None and not _brings_test(source, options.get("modality", self.modality)):
            usable = {k: v for k, v in {**self._reading(), **options}.items() if k not in _OF_SPLITS}
            return fitting(self.model, read_all(source, **usable)), source
        data = self.other(source, options)
        return fitting(self.model, data.part(split or "test")), f"{data.name} {split or 'test'}"

    def _reading(self) -> dict[str, Any]:
        """Return how other sources are read. Types and scales are the codec's by now, and a label column may be absent."""
        known = self.facts.get("data", {}).get("reading", {})
        kept = {k: known[k] for k in ("header", "label") if k in known and (k != "label" or self.modality == "image")}
        if self.modality == "image":
            kept["size"] = tuple(self.model.layout_.image[1:])
        return {"modality": self.modality, **kept}


def _brings_test(source: str, modality: Any) -> bool:
    from ..data.sources import locate

    found = locate(source, modality)
    return "test" in {*found.parts, *found.records}


def open_run(folder: str) -> OpenRun:
    """Load the model of a run folder.

    Errors:
        Problem: If the folder holds no model; one that holds several names them.
    """
    from ..model import Model

    path = Path(folder)
    if path.is_dir() and not (path / "config.json").exists():
        inside = sorted(str(p.parent) for p in path.glob("*/config.json"))
        if inside:
            raise Problem(f"{folder} holds several models. Name one of them: {', '.join(inside)}.")
        stopped = " It was stopped before a model was saved; go on with --resume." if (path / RUN_FILE).exists() else ""
        raise Problem(f"{folder} holds no model.{stopped or ' Give a folder that `genlearn fit` wrote.'}")
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise Problem(f"{folder} does not exist.{near} Give a folder that `genlearn fit` wrote.")
    return OpenRun(path, Model.load(path), read_facts(path))


def read_facts(path: Path) -> dict[str, Any]:
    """Return what `run.json` says; a model inside a comparison's folder has that comparison's."""
    from ..store import read_json

    for place in (path / RUN_FILE, path.parent / RUN_FILE):
        if place.exists():
            found = read_json(place)
            return found if isinstance(found, dict) else {}
    return {}


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write `run.json`."""
    from ..store import write_json

    try:
        write_json(path / RUN_FILE, dict(facts))
    except OSError as e:
        raise Problem(f"cannot write to {path} ({e.strerror}). Choose another --out or free the disk.") from None


def read(source: str, options: Mapping[str, Any]) -> Dataset:
    """`genlearn.read`, with options as they lie in `run.json`."""
    from ..data import read as read_source

    usable = dict(options)
    if isinstance(usable.get("size"), list):
        usable["size"] = tuple(usable["size"])
    return read_source(source, **usable)


def facts_of(data: Dataset, source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `run.json` says about data: enough to read the same split again."""
    place = Path(source)
    reading = {
        k: str(Path(v).resolve()) if k in ("valid", "test") and Path(v).exists() else v for k, v in options.items()
    }
    return {
        "source": str(place.resolve()) if place.exists() else source,
        "name": data.name,
        "summary": data.summary,
        "split": data.split_id,
        "reading": reading,
    }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import platform
    from importlib.metadata import version

    return {"python": platform.python_version(), **{p: version(p) for p in ("genlearn", "torch", "numpy")}}


def capable(run: OpenRun, method: str) -> Model:
    """Return the run's model if it has a method; else raise the error that names models which have it."""
    getattr(run.model, method)
    return run.model


def with_samples(run: OpenRun, samples: int | None) -> OpenRun:
    """Set the number of importance samples of a model whose score depends on one."""
    if samples is None:
        return run
    if "samples" not in type(run.model).settings():
        raise Problem(f"--samples does not apply: the score of {run.name} takes no importance samples. Leave it out.")
    if samples < 1:
        raise Problem(f"--samples must be at least 1, not {samples}.")
    run.model.set_params(samples=samples)
    return run
