"""Run folders: what a fit leaves beside the model, so that later verbs read the same data in the same way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Problem, did_you_mean
from .console import note
from .journal import RUN_FILE, read_facts

if TYPE_CHECKING:
    from ..data.records import Dataset, Records
    from ..model import Model

_OF_SPLITS = ("valid", "test", "drop_duplicates", "rows", "seed")
_READING: dict[str, Any] = {
    **dict.fromkeys(("modality", "target", "valid", "test", "scale", "binarize"), str), "types": dict, "label": (str, int),
    **dict.fromkeys(("header", "drop_duplicates"), bool), "size": (int, tuple, list), "seed": int, "rows": int,
}  # fmt: skip


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
        about = self.facts.get("data")
        if not isinstance(about, dict) or not {"source", "reading", "split"} <= about.keys():
            raise Problem(f"{self.path} does not say which data it was fitted to. Name a source after it.")
        try:
            data = read(about["source"], {**about["reading"], **options})
        except Problem as e:
            raise Problem(f"the data that {self.path} was fitted to cannot be read now: {e}") from None
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

    path = existing(folder)
    if not (path / "config.json").exists():
        inside = sorted(str(p.parent) for p in path.glob("*/config.json"))
        if inside:
            raise Problem(f"{folder} holds several models. Name one of them: {', '.join(inside)}.")
        stopped = f"Go on with: genlearn fit --resume {folder}." if (path / RUN_FILE).exists() else ""
        raise Problem(f"{folder} holds no model. {stopped or 'Give a folder that `genlearn fit` wrote.'}")
    return OpenRun(path, Model.load(path), read_facts(path))


def existing(folder: str) -> Path:
    """Return the path of a folder.

    Errors:
        Problem: If there is none, with the closest name beside it.
    """
    path = Path(folder)
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise Problem(f"{folder} does not exist.{near} Give a folder that `genlearn fit` wrote.")
    if not path.is_dir():
        raise Problem(f"{folder} is a file, not a run. Give a folder that `genlearn fit` wrote.")
    return path


def read(source: str, options: Mapping[str, Any]) -> Dataset:
    """`genlearn.read`, with options as they lie in `run.json`."""
    from ..data import read as read_source

    if not isinstance(source, str) or not isinstance(options, Mapping):
        raise Problem(f"{RUN_FILE} does not say how data were read. Restore it, or fit again.")
    usable = dict(options)
    if strange := [k for k, value in usable.items() if not isinstance(value, _READING.get(k, ()))]:
        raise Problem(f"{RUN_FILE} names unknown ways of reading: {', '.join(strange)}. Restore it, or fit again.")
    if isinstance(usable.get("size"), list):
        usable["size"] = tuple(usable["size"])
    return read_source(source, **usable)


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Let a `Problem` of a model with records name the source that they came from."""
    try:
        yield
    except Problem as e:
        raise Problem(f"{what}: {e}") from None


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
