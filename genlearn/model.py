r"""The contract: what every generative model does, and the registry that finds models by name.

A model learns \(p(x)\) from records. Public methods are final and live here, once; a model file writes hooks:

| hook | gives | capability |
|---|---|---|
| `_fit(code, valid)` | learning (neural models write `build` and `turns` instead, see `engine.py`) | every model |
| `_sample(n, rng, given)` | new codes | every model |
| `_log_prob(code)` | \(\log p\) of codes, nats | `Scores` |
| `_encode(code)`, `_decode(z, y)` | latent codes and back | `Encodes` |
| `_impute(code, how, rng)` | unknown values filled in | `Imputes` |
| `conditions = "target"` or `"any"` | what `sample(given=...)` may name | `Conditional` |

Learned state ends in `_`; tensors, modules, numbers, strings and lists among it are what `save` stores.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import math
import pkgutil
import re
import secrets
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from . import ranks, store
from .codecs import EVERY_KIND, Codec, Exactness, Given, codec_for, weakest
from .data.records import Dataset, Records, as_records
from .errors import MissingCapability, Problem, did_you_mean
from .layout import Code, Layout

How = Literal["draw", "mean", "mode"]
Watch = Callable[["Event"], None]

DEQUANTISATION_DRAWS = 8


@dataclasses.dataclass
class Event:
    """What a running fit tells its watchers.

    Arguments:
        model: The model that is being fitted.
        stage: Name of the phase ("fit" for EM and counts).
        step: Steps or passes done.
        steps: Steps or passes planned, if known.
        seconds: Time since the start of this fit.
        values: Current numbers by name, for example `{"nats": -41.2, "kl": 9.8}`.
        done: The last event of a fit.
        note: A sentence worth showing ("converged after 41 passes").
    """

    model: Model
    stage: str
    step: int
    steps: int | None
    seconds: float
    values: dict[str, float]
    done: bool = False
    note: str = ""


@dataclasses.dataclass
class Run:
    """Where and how a fit happens, apart from what the model is: never part of its configuration.

    Arguments:
        out: Folder for checkpoints, history and pictures; None keeps nothing on disk.
        resume: Go on from the newest good checkpoint in `out`.
        watch: Callables that receive every `Event`.
        train: The records that are being learned from (for pictures).
        valid: The validation records, if there are any.
    """

    out: Path | None = None
    resume: bool = False
    watch: Sequence[Watch] = ()
    train: Records | None = None
    valid: Records | None = None


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class Model(BaseEstimator):
    """A generative model: `fit` records, `sample` new ones. Constructor keywords are the configuration, stored untouched.

    Arguments:
        random_state: Seed of all randomness of a fit; None draws one, kept as `seed_`.
    """

    random_state: int | None = None

    takes: ClassVar[frozenset[str]] = EVERY_KIND
    label_as_field: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    reference: ClassVar[bool] = False
    xfail: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(eq=False, kw_only=True, repr=False)(cls)

    # -- the contract ------------------------------------------------------------------------------------------------
    @final
    def fit(
        self,
        data: Any,
        y: Any = None,
        *,
        valid: Any = None,
        out: str | Path | None = None,
        resume: bool = False,
        watch: Sequence[Watch] = (),
    ) -> Self:
        """Learn from records.

        Arguments:
            data: A `Dataset` (its train part is learned, its valid part stops early), a DataFrame, a numeric array `(n, d)`,
                uint8 images `(n, h, w[, c])`, `Records`, or a path.
            y: Labels, one per record.
            valid: Validation records, in the form of `data`.
            out: Run folder for checkpoints, history and pictures.
            resume: Go on where a run in `out` was stopped.
            watch: Callables that receive every `Event`.

        Errors:
            Problem: If a keyword or the data cannot be used; the message says what to change.
        """
        self._check_params()
        ranks.start()
        train, valid_records = self._records_of(data, y), None
        if isinstance(data, Dataset) and valid is None:
            valid = data.valid
        if valid is not None:
            valid_records = self._records_of(valid, None)
        if len(train) == 0:
            raise Problem("there are no records to learn from. Give at least one.")
        run = Run(Path(out) if out else None, resume, watch, train, valid_records)
        self.seed_: int = self._choose_seed(run)
        self.codec_: Codec = codec_for(train.modality)(self.takes, self.label_as_field).fit(train)
        self._run = run
        code = self.codec_.encode(train, noise=self._rng("dequantise"))
        valid_code = None
        if valid_records is not None and len(valid_records):
            valid_code = self.codec_.encode(valid_records, noise=self._rng("dequantise valid"))
        if self.layout_.target is not None:
            counts = torch.bincount(code.y[code.y >= 0], minlength=self.layout_.labels) if code.y is not None else 0
            self.label_prior_: Tensor = (counts + 1.0) / torch.sum(counts + torch.ones(self.layout_.labels))
        try:
            self._fit(code, valid_code)
        finally:
            del self._run
        return self

    @final
    def sample(
        self,
        n: int = 1,
        *,
        given: Mapping[str, Any] | None = None,
        random_state: int | None = None,
        return_y: bool = False,
    ) -> Any:
        """Draw `n` new records, in the form that `fit` was given.

        Arguments:
            n: How many.
            given: Conditions, `{"churn": "yes", "age": "30:40"}`; only models with `Conditional` take them.
            random_state: Seed; None gives fresh records each time.
            return_y: Return `(records, labels)` where the labels were given apart from the records.

        Example:
            >>> import numpy as np
            >>> from genlearn.models import GMM
            >>> x = np.random.default_rng(0).normal(size=(200, 2))
            >>> GMM(components=1, random_state=0).fit(x).sample(3, random_state=0).shape
            (3, 2)
        """
        return self.draw(n, given=given, random_state=random_state).natural(return_y=return_y)

    @final
    def draw(self, n: int = 1, *, given: Mapping[str, Any] | None = None, random_state: int | None = None) -> Records:
        """Draw `n` new `Records`, labels included: what metrics and reports use."""
        self._check_fitted()
        if not isinstance(n, int | np.integer) or n < 1:
            raise Problem(f"n must be a whole number of at least 1, not {n!r}.")
        seed = secrets.randbits(31) if random_state is None else int(random_state)
        wanted = self._conditions(given)
        with torch.no_grad():
            code = self._sample(int(n), torch.Generator().manual_seed(seed), wanted)
        return self.codec_.decode(code)

    @final
    def save(self, path: str | Path) -> Path:
        """Write the model to a folder: JSON and safetensors, never anything that runs when loaded."""
        self._check_fitted()
        tensors, values = self._state()
        spec = {"model": self.name(), "params": self.get_params(deep=False), "state": values}
        if not ranks.is_first():  # of processes that train together, one writes
            return Path(path)
        return store.save(Path(path), spec, self.codec_.modality, self.codec_.to_json(), tensors, self._card())

    @classmethod
    @final
    def load(cls, path: str | Path) -> Self:
        """Read a model from a folder that `save` wrote; `genlearn.load` does so for any model."""
        spec, modality, codec, tensors = store.load(Path(path))
        found = model_class(spec["model"])
        if not issubclass(found, cls):
            raise Problem(f"{path} holds a {spec['model']}, not a {cls.name()}. Use genlearn.load.")
        known = {f.name for f in dataclasses.fields(found) if f.init}
        if unknown := sorted(set(spec["params"]) - known):
            raise Problem(f"{path}/config.json names unknown settings of {spec['model']}: {', '.join(unknown)}.")
        params = {k: tuple(v) if isinstance(v, list) else v for k, v in spec["params"].items()}
        model = found(**params)
        model.codec_ = codec_for(modality).from_json(codec)
        model._set_state(tensors, spec["state"])
        return model

    # -- hooks -------------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        """Learn from a code; `valid` is for early stopping and may be None."""
        raise TypeError(f"{type(self).__name__} must define _fit (or build and turns)")

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        """Draw `n` codes from `rng`; `given` holds conditions in code units."""
        raise TypeError(f"{type(self).__name__} must define _sample")

    def _choose_seed(self, run: Run) -> int:
        """Return the seed of a fit: the one asked for, or a fresh one, which processes that train together share."""
        if self.random_state is not None:
            return int(self.random_state)
        return int(ranks.share(float(secrets.randbits(31))))

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(random_state=0)]

    # -- what subclasses use -----------------------------------------------------------------------------------------
    @property
    def layout_(self) -> Layout:
        """What the columns of this model's codes mean."""
        return self.codec_.layout

    def _rng(self, purpose: str) -> torch.Generator:
        """Return a generator that depends on the seed and the purpose only."""
        salt = sum(ord(c) * 131**i for i, c in enumerate(purpose)) % (2**31)
        return torch.Generator().manual_seed((self.seed_ * 1_000_003 + salt) % (2**63))

    def _tell(
        self, step: int, steps: int | None, seconds: float, *, stage: str = "fit", done: bool = False, note: str = "",
        **values: float,
    ) -> None:  # fmt: skip
        """Tell watchers how the fit goes."""
        run: Run | None = getattr(self, "_run", None)
        for watch in run.watch if run else ():
            watch(Event(self, stage, step, steps, seconds, values, done, note))

    def _draw_labels(self, n: int, rng: torch.Generator, given: Given | None) -> Tensor | None:
        """Return `(n,)` labels of the target: the one asked for, else draws from their frequencies; None without a target."""
        if self.layout_.target is None:
            return None
        if given is not None and given.y is not None:
            return torch.full((n,), given.y)
        return torch.multinomial(self.label_prior_, n, replacement=True, generator=rng)

    # -- the configuration, derived ----------------------------------------------------------------------------------
    @classmethod
    def name(cls) -> str:
        """Return the registry name: the module's name."""
        return cls.__module__.rsplit(".", 1)[-1]

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return every constructor keyword with type, default and the sentence that documents it."""
        hints = typing.get_type_hints(cls)
        docs = _argument_docs(cls)
        return {
            f.name: Setting(f.name, hints[f.name], f.default, docs.get(f.name, ""))
            for f in dataclasses.fields(cls)
            if f.init
        }

    def _check_params(self) -> None:
        for setting in type(self).settings().values():
            setting.check(getattr(self, setting.name), self.name())

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise Problem(f"this {self.name()} is not fitted yet. Call fit(data) first.")

    def __sklearn_is_fitted__(self) -> bool:
        return "codec_" in vars(self)

    def __getattr__(self, attribute: str) -> Any:
        if (capability := _GIVEN_BY.get(attribute)) is not None:
            able = ", ".join(models_with(capability))
            raise MissingCapability(f"{self.name()} {capability.lacks} Models that {capability.verb}: {able}.")
        raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")

    def _records_of(self, data: Any, y: Any) -> Records:
        if isinstance(data, str | Path):
            from .data import read

            data = read(data)
        return as_records(data, y)

    def _conditions(self, given: Mapping[str, Any] | None) -> Given | None:
        if not given:
            return None
        conditions = getattr(type(self), "conditions", None)
        if conditions is None:
            able = ", ".join(models_with(Conditional))
            raise MissingCapability(f"{self.name()} cannot sample under conditions. Models that can: {able}.")
        wanted = self.codec_.given(given)
        if conditions == "target" and (wanted.y is None or len(given) > 1):
            target = self.layout_.target
            hint = (
                f'It takes "{target.name}" only.'
                if target
                else "It was fitted without labels: give --label or --target."
            )
            able = ", ".join(n for n in model_names() if getattr(model_class(n), "conditions", None) == "any")
            raise Problem(f"{self.name()} cannot hold {', '.join(given)}. {hint} Models that take any column: {able}.")
        return wanted

    # -- state -------------------------------------------------------------------------------------------------------
    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Split learned attributes (those ending in `_`) into tensors and JSON values."""
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {}
        for key, value in vars(self).items():
            if key.endswith("_") and not key.startswith("_") and key != "codec_":
                if isinstance(value, Tensor):
                    tensors[key] = value.detach().cpu().contiguous()
                elif isinstance(value, torch.nn.Module):
                    tensors |= {f"{key}.{k}": v.detach().cpu().contiguous() for k, v in value.state_dict().items()}
                else:
                    values[key] = value
        return tensors, values

    def _set_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Undo `_state`."""
        for key, value in {**values, **tensors}.items():
            setattr(self, key, value)

    def _card(self) -> dict[str, Any]:
        """Facts for the model card."""
        summary = (type(self).__doc__ or "").strip().splitlines()[0]
        fields = [f"{f.name} ({f.kind})" for f in self.layout_.fields]
        return {"summary": summary, "fields": fields, "measure": self.layout_.measure, "notes": self.codec_.notes}


class Scores:
    """Capability: gives log densities of records.

    `kind` says what the model's own number is: `exact`, `bound` (a lower bound) or `estimate`.
    """

    kind: ClassVar[Exactness] = "exact"
    verb: ClassVar[str] = "score"
    lacks: ClassVar[str] = "has no likelihood."

    @property
    def kind_(self: Any) -> Exactness:
        """What `score` is after the codec's and the model's steps: `exact`, `bound` or `estimate`."""
        return weakest(self.codec_.kind, self.kind)

    @final
    def log_prob(self: Any, data: Any, y: Any = None) -> np.ndarray:
        r"""Return \(\log p(x)\) per record, `(n,)` float64, nats in data units.

        Integers that the model sees as numbers are dequantised: \(\log p(k) \ge \log \frac1S \sum_s p(k + u_s)\) with one fixed
        set of draws \(u_s\) shared by all rows. Records without a label are scored by the sum over labels.
        """
        self._check_fitted()
        records = self._records_of(data, y)
        raw = self.codec_.parse(records)
        rng = self._rng("score")
        if self.codec_.kind == "exact":
            draws: list[Tensor | None] = [None]
        else:
            draws = [torch.rand(self.layout_.size, generator=rng) for _ in range(DEQUANTISATION_DRAWS)]
        terms = []
        with torch.no_grad():
            for noise in draws:
                code = self.codec_.transform(raw, noise=noise)
                terms.append(self._labelled_log_prob(code).double() + code.log_det)
        return (torch.logsumexp(torch.stack(terms), 0) - math.log(len(terms))).numpy()

    @final
    def score(self: Any, data: Any, y: Any = None) -> float:
        """Return the mean log density per record in nats; higher is better."""
        return float(np.mean(self.log_prob(data, y)))

    def _labelled_log_prob(self: Any, code: Code) -> Tensor:
        labels = self.layout_.labels
        if not labels:
            return self._log_prob(code)
        prior = torch.log(self.label_prior_)
        y = code.y if code.y is not None else torch.full((len(code),), -1)
        out = torch.empty(len(code), dtype=torch.float64)
        known = y >= 0
        if known.any():
            out[known] = self._log_prob(code[known]).double() + prior[y[known]].double()
        if not known.all():
            rest = code[~known]
            each = []
            for label in range(labels):
                rest.y = torch.full((len(rest),), label)
                each.append(self._log_prob(rest).double() + prior[label])
            out[~known] = torch.logsumexp(torch.stack(each), 0)
        return out

    def _log_prob(self, code: Code) -> Tensor:
        """Return `(n,)` log densities of codes; with a target, given the label: the base adds its frequency."""
        raise TypeError(f"{type(self).__name__} must define _log_prob")


class Encodes:
    """Capability: maps records to latent vectors and back."""

    verb: ClassVar[str] = "encode"
    lacks: ClassVar[str] = "has no latent space."

    @final
    def encode(self: Any, data: Any, y: Any = None) -> np.ndarray:
        """Return `(n, latent)` float32 latent vectors (posterior means); deterministic."""
        self._check_fitted()
        with torch.no_grad():
            return self._encode(self.codec_.encode(self._records_of(data, y))).cpu().float().numpy()

    @final
    def transform(self, data: Any, y: Any = None) -> np.ndarray:
        """The same as `encode`, for scikit-learn pipelines."""
        return self.encode(data, y)

    @final
    def decode(self: Any, latents: Any, y: Any = None) -> Any:
        """Return the typical record of every latent vector `(n, latent)`, in the form that `fit` was given."""
        return self.decode_records(latents, y).natural()

    @final
    def decode_records(self: Any, latents: Any, y: Any = None) -> Records:
        """`decode` as `Records`."""
        self._check_fitted()
        z = torch.as_tensor(np.asarray(latents), dtype=torch.float32)
        if z.ndim != 2 or z.shape[1] != self.latents_:
            raise Problem(f"latents must have shape (n, {self.latents_}), not {tuple(z.shape)}.")
        labels = self._label_levels(y, len(z))
        with torch.no_grad():
            return self.codec_.decode(self._decode(z, labels))

    @final
    def reconstruct(self: Any, data: Any, y: Any = None) -> Any:
        """Return records encoded and decoded again."""
        return self.reconstruct_records(data, y).natural()

    @final
    def reconstruct_records(self: Any, data: Any, y: Any = None) -> Records:
        """`reconstruct` as `Records`."""
        self._check_fitted()
        code = self.codec_.encode(self._records_of(data, y))
        with torch.no_grad():
            return self.codec_.decode(self._decode(self._encode(code), self._known_labels(code)))

    @final
    def interpolate(
        self: Any, a: Any, b: Any, steps: int = 9, *, path: Literal["straight", "spherical"] = "straight"
    ) -> Any:
        """Return `steps` records on the way from record `a` to record `b` through latent space, ends included."""
        self._check_fitted()
        ends = self.codec_.encode(_joined(self._records_of(a, None).take([0]), self._records_of(b, None).take([0])))
        t = torch.linspace(0, 1, steps)[:, None]
        with torch.no_grad():
            first, last = self._encode(ends)
            if path == "spherical":
                angle = torch.arccos((torch.nn.functional.cosine_similarity(first, last, 0)).clamp(-0.9999, 0.9999))
                z = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * last) / torch.sin(angle)
            else:
                z = (1 - t) * first + t * last
            y = self._known_labels(ends)
            labels = None if y is None else torch.where(t[:, 0] < 0.5, y[0], y[1])
            return self.codec_.decode(self._decode(z, labels)).natural()

    @final
    def traverse(self: Any, record: Any, dim: int, values: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3)) -> Any:
        """Return records decoded along latent dimension `dim` set to `values`, the others as in `record`."""
        self._check_fitted()
        code = self.codec_.encode(self._records_of(record, None).take([0]))
        if not 0 <= dim < self.latents_:
            raise Problem(f"dim must lie in 0..{self.latents_ - 1}, not {dim}.")
        with torch.no_grad():
            z = self._encode(code).repeat(len(values), 1)
            z[:, dim] = torch.tensor(values, dtype=z.dtype)
            y = self._known_labels(code)
            return self.codec_.decode(self._decode(z, None if y is None else y.expand(len(z)))).natural()

    def _known_labels(self: Any, code: Code) -> Tensor | None:
        """Return the code's labels, the most frequent one where unknown; None without a target."""
        if not self.layout_.labels:
            return None
        y = code.y if code.y is not None else torch.full((len(code),), -1)
        return torch.where(y < 0, self.label_prior_.argmax(), y)

    def _label_levels(self: Any, y: Any, n: int) -> Tensor | None:
        if not self.layout_.labels:
            return None
        if y is None:
            return self.label_prior_.argmax().expand(n)
        name = self.layout_.target.name
        return torch.tensor([self.codec_.given({name: value}).y for value in np.atleast_1d(y)]).expand(n)

    def _encode(self, code: Code) -> Tensor:
        """Return `(n, latent)` posterior means."""
        raise TypeError(f"{type(self).__name__} must define _encode")

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        """Return the typical code of every latent vector, given labels where the layout has a target."""
        raise TypeError(f"{type(self).__name__} must define _decode")


class Imputes:
    """Capability: fills in unknown values given the known ones."""

    verb: ClassVar[str] = "impute"
    lacks: ClassVar[str] = "cannot fill in missing values."

    @final
    def impute(self: Any, data: Any, mask: Any = None, *, how: How = "draw", random_state: int | None = None) -> Any:
        """Return the records with unknown values filled in; observed values never change.

        Arguments:
            data: Records in the form of `fit`.
            mask: True (white) where a value is to be filled: `(n, columns)` for tables, `(h, w)` or `(n, h, w)` for images.
                None fills the missing cells of a table.
            how: `draw` from p(unknown | known), or its `mean` or `mode`.
            random_state: Seed; None draws anew each time.
        """
        return self.impute_records(data, mask, how=how, random_state=random_state).natural()

    @final
    def impute_records(
        self: Any, data: Any, mask: Any = None, *, how: How = "draw", random_state: int | None = None
    ) -> Records:
        """`impute` as `Records`."""
        self._check_fitted()
        if how not in typing.get_args(How):
            raise Problem(f'how must be one of {", ".join(typing.get_args(How))}, not "{how}".')
        records = self._records_of(data, None)
        unknown = self.codec_.missing(records, mask)
        rng = torch.Generator().manual_seed(secrets.randbits(31) if random_state is None else int(random_state))
        code = self.codec_.encode(records, unknown=unknown)
        with torch.no_grad():
            filled = self.codec_.decode(self._impute(code, how, rng))
        return self.codec_.fill(records, filled, unknown)

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        """Return a complete code: where `code.mask` is False, values given the others. Missing levels are not drawn."""
        raise TypeError(f"{type(self).__name__} must define _impute")


class Conditional:
    """Capability: samples under conditions, on the `target` only or on `any` field."""

    conditions: ClassVar[Literal["target", "any"]] = "target"
    verb: ClassVar[str] = "sample under conditions"
    lacks: ClassVar[str] = "cannot sample under conditions."


CAPABILITIES: tuple[type, ...] = (Scores, Encodes, Imputes, Conditional)
_GIVEN_BY: dict[str, Any] = {
    name: capability
    for capability in (Scores, Encodes, Imputes)
    for name in vars(capability)
    if not name.startswith("_") and name not in ("verb", "lacks", "kind", "conditions")
}


def _joined(a: Records, b: Records) -> Records:
    import pandas as pd

    x = pd.concat([a.x, b.x], ignore_index=True) if a.modality == "table" else np.concatenate([a.x, b.x])
    y = None if a.y is None or b.y is None else np.concatenate([a.y, b.y])
    return dataclasses.replace(a, x=x, y=y)


# -- settings --------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Setting:
    """One constructor keyword: flags, documents and checks are derived from it."""

    name: str
    type: Any
    default: Any
    doc: str

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values of a `Literal`, else an empty tuple."""
        return tuple(c for t in self._options for c in (typing.get_args(t) if typing.get_origin(t) is Literal else ()))

    @property
    def _options(self) -> tuple[Any, ...]:
        union = typing.get_origin(self.type) in (typing.Union, types.UnionType)
        return typing.get_args(self.type) if union else (self.type,)

    def check(self, value: Any, model: str) -> None:
        """Raise `Problem` unless `value` fits the declared type."""
        if not any(self._fits(value, t) for t in self._options):
            if self.choices:
                close = did_you_mean(str(value), map(str, self.choices))
                raise Problem(f"{model}: {self.name} must be {self.describe()}, not {value!r}.{close}")
            raise Problem(f"{model}: {self.name} must be {self.describe()}, not {value!r}.")

    @staticmethod
    def _fits(value: Any, t: Any) -> bool:
        if t is type(None):
            return value is None
        if typing.get_origin(t) is Literal:
            return isinstance(value, str | int) and value in typing.get_args(t)
        if typing.get_origin(t) is tuple:
            item = typing.get_args(t)[0]
            return isinstance(value, list | tuple) and all(Setting._fits(v, item) for v in value)
        if t is bool:
            return isinstance(value, bool | np.bool_)
        if t is int:
            return isinstance(value, int | np.integer) and not isinstance(value, bool)
        if t is float:
            return isinstance(value, int | float | np.number) and not isinstance(value, bool) and value == value
        return isinstance(value, t)

    def describe(self) -> str:
        """Return the type in words."""
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
        parts = []
        for t in self._options:
            if typing.get_origin(t) is Literal:
                parts.append("one of " + ", ".join(map(str, typing.get_args(t))))
            elif typing.get_origin(t) is tuple:
                parts.append(
                    "a list of " + {int: "whole numbers", float: "numbers"}.get(typing.get_args(t)[0], "values")
                )
            else:
                parts.append(words.get(t, getattr(t, "__name__", str(t))))
        return " or ".join(parts)

    def parse(self, text: str, model: str) -> Any:
        """Turn a command-line word into a value of the declared type; raise `Problem` if it is none."""
        for t in self._options:
            if t is type(None) and text.lower() in ("none", "auto", "") and "auto" not in self.choices:
                return None
            if typing.get_origin(t) is Literal:
                for choice in typing.get_args(t):
                    if text == str(choice):
                        return choice
            elif t is bool and text.lower() in ("true", "yes", "1", "false", "no", "0"):
                return text.lower() in ("true", "yes", "1")
            elif t in (int, float):
                try:
                    return t(text)
                except ValueError:
                    continue
            elif typing.get_origin(t) is tuple:
                item = typing.get_args(t)[0]
                try:
                    return tuple(item(part) for part in re.split(r"[,x ]+", text.strip()) if part)
                except ValueError:
                    continue
            elif t is str:
                return text
        self.check(text if not text.isdigit() or str in self._options else object(), model)
        raise Problem(f"{model}: {self.name} must be {self.describe()}, not {text!r}.")


def _argument_docs(cls: type) -> dict[str, str]:
    """Return the sentences of the `Arguments:` sections of a class and its bases, by argument."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        block = re.search(r"Arguments:\n(.*?)(?:\n\s*\n|\Z)", vars(base).get("__doc__") or "", re.S)
        if block and issubclass(base, Model):
            for entry in re.finditer(r"^\s+(\w+): (.*?)(?=^\s+\w+: |\Z)", block[1] + "\n", re.S | re.M):
                docs[entry[1]] = " ".join(entry[2].split())
    return docs


# -- registry --------------------------------------------------------------------------------------------------------
@cache
def model_names() -> tuple[str, ...]:
    """Return the names of all models: files of `genlearn/models`, and entry points `genlearn.models` of other packages."""
    from . import models

    own = [m.name for m in pkgutil.iter_modules(models.__path__) if not m.name.startswith("_")]
    others = [e.name for e in importlib.metadata.entry_points(group="genlearn.models")]
    return tuple(sorted({*own, *others}))


@cache
def model_class(name: str) -> type[Model]:
    """Return the class of a model by name.

    Errors:
        Problem: If no model has that name, with the closest one.

    Example:
        >>> model_class("gmm").__name__
        'GMM'
    """
    for entry in importlib.metadata.entry_points(group="genlearn.models"):
        if entry.name == name:
            return entry.load()
    if name not in model_names():
        raise Problem(f'no model named "{name}".{did_you_mean(name, model_names())} `genlearn models` lists all.')
    module = importlib.import_module(f"genlearn.models.{name}")
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Model) and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise TypeError(f"genlearn/models/{name}.py must define one Model, it defines {len(own)}")
    return own[0]


def models_with(capability: type) -> list[str]:
    """Return the names of the models that have a capability, with "(bound)" where a score is one."""
    found = []
    for name in model_names():
        cls: Any = model_class(name)
        if issubclass(cls, capability):
            weak = capability is Scores and cls.kind != "exact"
            found.append(f"{name} ({cls.kind})" if weak else name)
    return found
