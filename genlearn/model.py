r"""The contract: what every generative model does, and the registry that finds models by name.

A model learns \(p(x)\) from records. Public methods are final and live here, once; a model file writes hooks:

| hook | gives | capability |
|---|---|---|
| `_fit(code, valid)` | learning (neural models write `build` and `turns` instead, see `engine.py`) | every model |
| `_sample(n, rng, given)` | new codes | every model |
| `_log_prob(code)` | \(\log p\) of codes, nats | `Scores` |
| `_encode(code)`, `_decode(z, y)` | latent codes and back | `Encodes` |
| `_impute(code, how, rng)` | unknown values filled in | `Imputes` |
| `_propose(code, eps)`, `_log_joint(code, z)` | `bounds`: ELBO, importance-weighted, annealed | `Latent` |
| `conditions = "target"` or `"any"` | what `sample(given=...)` may name | `Conditional` |

Learned state ends in `_`; tensors, modules, numbers, strings and lists among it are what `save` stores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor

from . import ranks
from .capabilities import CAPABILITIES, GIVEN_BY, Conditional, Encodes, How, Imputes, Scores
from .codecs import EVERY_KIND, Codec, Given, codec_for
from .data.memory import FORMS, allowance, fits, in_words
from .data.records import Dataset, Records, as_records
from .errors import MissingCapability, Problem
from .estimator import Estimator, NotFitted
from .events import Event, Run, Watch
from .latent import Latent
from .layout import Code, Layout
from .lock import alone_in
from .registry import model_class, model_names, models_with
from .saving import load_model, names_state, save_model
from .settings import Setting, settings_of
from .store import check_codec
from .training.identity import check_alike, identity_of

# What a model file needs beside layouts and nets, in one place.
__all__ = [
    "CAPABILITIES", "Conditional", "Encodes", "Event", "How", "Imputes", "Latent", "Model", "Run", "Scores", "Setting", "Watch",
    "model_class", "model_names", "models_with",
]  # fmt: skip


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class Model(Estimator):
    """A generative model: `fit` records, `sample` new ones. Constructor keywords are the configuration, stored untouched.

    Arguments:
        random_state: Seed of all randomness of a fit; None draws one, kept as `seed_`.
    """

    random_state: int | None = None

    takes: ClassVar[frozenset[str]] = EVERY_KIND
    label_as_field: ClassVar[bool] = False
    number_scale: ClassVar[str] = "auto"  # of the numbers in tables, where the records ask for none
    needs_gradients: ClassVar[bool] = False
    streams: ClassVar[bool] = False  # learns from codes that lie on the disk
    weighs: ClassVar[bool] = False  # takes records that count more or less than one
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
        weights: Any = None,
        out: str | Path | None = None,
        resume: bool = False,
        watch: Sequence[Watch] = (),
    ) -> Self:
        """Learn from records.

        Arguments:
            data: A `Dataset` (its train part is learned, its valid part stops early), a DataFrame, a numeric array `(n, d)`,
                uint8 images `(n, h, w[, c])`, `Records`, or a path.
            y: Labels, one per record; None or NaN where unknown (so are empty cells of a target column).
            valid: Validation records, in the form of `data`; with labels of their own, a pair `(records, labels)`.
            weights: How much every record to learn from counts, 0 or more each; only some models take them.
            out: Run folder for checkpoints, history and pictures.
            resume: Go on where a run in `out` was stopped.
            watch: Callables that receive every `Event`.

        Errors:
            Problem: If a keyword or the data cannot be used; the message says what to change.
            RunFailed: If training comes to grief. After an error the model is what it was before the call.
            Interrupted: If training was stopped on purpose; the model holds the best so far.
        """
        self._check_params()
        ranks.start()
        train, held_out = self._parts(data, y, valid)
        run = Run(train, held_out, Path(out) if out else None, resume, watch, self._weighed(weights, len(train)))
        before = self._forget()
        self._run = run
        try:
            with alone_in(run.out, f"{self.name()}.fit") if run.out else contextlib.nullcontext():
                self._learn(run)
        except BaseException as error:
            if not getattr(error, "usable", False):
                self._forget()
                self.__dict__.update(before)
            raise
        finally:
            del self._run
        return self

    def _learn(self, run: Run) -> None:
        """Fit the codec, encode, and call the model's hook."""
        self.seed_: int = self._choose_seed(run)
        codec = codec_for(run.train.modality)(self.takes, self.label_as_field, self.number_scale)
        self.codec_: Codec = codec.fit(run.train)
        check_codec(self.codec_.to_json())
        self._check_memory(len(run.train))
        code = self.codec_.encode(run.train, noise=self._rng("dequantise"))
        valid_code = None
        if run.valid is not None and len(run.valid):
            valid_code = self.codec_.encode(run.valid, noise=self._rng("dequantise valid"))
        if ranks.world() > 1:
            check_alike(identity_of(self.get_params(deep=False), self.seed_, code))
        if self.layout_.target is not None and code.y is not None:
            counts = torch.bincount(code.y[code.y >= 0], minlength=self.layout_.labels) + 1.0
            self.label_prior_: Tensor = counts / counts.sum()
        self._fit(code, valid_code)

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
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise Problem(f"n must be a whole number of at least 1, not {n!r}.")
        rng, wanted = self._fresh_rng(random_state), self._conditions(given)
        with torch.no_grad():
            try:
                code = self._sample(int(n), rng, wanted)
            except (MemoryError, RuntimeError) as e:
                if isinstance(e, RuntimeError) and "allocate" not in str(e) and "out of memory" not in str(e):
                    raise
                raise Problem(f"{n} records do not fit into memory at once. Ask for fewer, several times.") from None
        return self.codec_.decode(code)

    @final
    def save(self, path: str | Path) -> Path:
        """Write the model to a folder: JSON and safetensors, never anything that runs when loaded."""
        self._check_fitted()
        return save_model(self, Path(path))

    @classmethod
    @final
    def load(cls, path: str | Path) -> Self:
        """Read a model from a folder that `save` wrote; `genlearn.load` does so for any model.

        Errors:
            Problem: If the folder holds no model, one that is damaged, or one that is not installed here.
        """
        model = load_model(Path(path))
        if not isinstance(model, cls):
            raise Problem(f"{path} holds a {model.name()}, not a {cls.name()}. Use genlearn.load.")
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

    def _fresh_rng(self, random_state: int | None) -> torch.Generator:
        """Return a generator for draws: seeded, or new each time."""
        if random_state is None:
            random_state = secrets.randbits(31)
        elif isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
            raise Problem(f"random_state must be a whole number or none, not {random_state!r}.")
        return torch.Generator().manual_seed(int(random_state) % 2**63)

    def _tell(
        self, step: int, steps: int | None, seconds: float, *, stage: str = "fit", done: bool = False, note: str = "",
        **values: float,
    ) -> None:  # fmt: skip
        """Tell watchers how the fit goes: in the first process, of several that learn together."""
        run: Run | None = getattr(self, "_run", None)
        for watch in run.watch if run and ranks.is_first() else ():
            watch(Event(self, stage, step, steps, seconds, values, done, note))

    def _weights(self) -> Tensor | None:
        """Return how much every record of this fit counts, `(n,)` float64; None where all count 1."""
        run: Run | None = getattr(self, "_run", None)
        return None if run is None or run.weights is None else torch.from_numpy(run.weights)

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
        return settings_of(cls)  # type: ignore[arg-type]  # classes are hashable

    def _check_params(self) -> None:
        for setting in type(self).settings().values():
            setting.check(getattr(self, setting.name), self.name())

    def _check_memory(self, n: int) -> None:
        """Refuse more records than fit into memory, unless the model learns from the disk."""
        size = 8 * n * self.layout_.size
        if not self.streams and not fits(size):
            wanted = in_words(1.1 * size * FORMS).replace(" ", "")
            most = max(1, allowance() // FORMS // (8 * self.layout_.size))
            raise Problem(
                f"{self.name()} holds all records in memory: {n:,} take {in_words(size)}, {most:,} would fit. "
                f"Learn from a part (--rows {most}), or allow more memory (GENLEARN_MEMORY={wanted})."
            )

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFitted(f"this {self.name()} is not fitted yet. Call fit(data) first.")

    def __sklearn_is_fitted__(self) -> bool:
        return "codec_" in vars(self)

    def __getattr__(self, attribute: str) -> Any:
        capability = GIVEN_BY.get(attribute)
        if capability is not None and not isinstance(self, capability):
            able = ", ".join(models_with(capability))
            raise MissingCapability(f"{self.name()} {capability.lacks} Models that {capability.verb}: {able}.")
        if attribute.endswith("_") and not attribute.startswith("_"):
            self._check_fitted()
        return object.__getattribute__(self, attribute)  # raises, with the error of a property where that is the cause

    def _parts(self, data: Any, y: Any, valid: Any) -> tuple[Records, Records | None]:
        """Return the records to learn from and those to validate by."""
        train = self._records_of(data, y)
        if not len(train):
            raise Problem("there are no records to learn from. Give at least one.")
        if valid is None:
            return train, data.valid if isinstance(data, Dataset) else None
        return train, self._records_of(*valid) if isinstance(valid, tuple) and len(valid) == 2 else as_records(valid)

    def _records_of(self, data: Any, y: Any) -> Records:
        if isinstance(data, str | Path):
            from .data import read

            data = read(data)
        records = as_records(data, y)
        if self.__sklearn_is_fitted__():
            self._check_features(records)
        return records

    def _weighed(self, weights: Any, n: int) -> np.ndarray | None:
        """Return weights of `n` records as float64, or None; raise `Problem` for what are none."""
        if weights is None:
            return None
        if not self.weighs:
            able = ", ".join(name for name in model_names() if model_class(name).weighs)
            raise MissingCapability(f"{self.name()} takes no weights. Models that do: {able}.")
        try:
            found = np.array(weights, dtype=np.float64)
        except (TypeError, ValueError):
            raise Problem("weights must be numbers. Give one per record.") from None
        if found.shape != (n,):
            raise Problem(f"weights have shape {found.shape}, but there are {n} records. Give one per record.")
        if not np.isfinite(found).all() or found.min() < 0 or not found.max() > 0:
            raise Problem(
                "weights must be finite and 0 or more, with one above 0. Drop the records that have no weight."
            )
        return found

    def _conditions(self, given: Mapping[str, Any] | None) -> Given | None:
        if not given:
            return None
        if not isinstance(given, Mapping):
            raise Problem(f'given must map names to values, such as {{"churn": "yes"}}, not {given!r}.')
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
        for key, value in self._learned().items():
            if isinstance(value, Tensor):
                tensors[key] = value.detach().cpu().contiguous()
            elif isinstance(value, torch.nn.Module):
                tensors |= {f"{key}.{k}": v.detach().cpu().contiguous() for k, v in value.state_dict().items()}
            elif key != "codec_":
                values[key] = value
        return tensors, values

    def _learned(self) -> dict[str, Any]:
        """Return the attributes that `fit` sets."""
        return {k: v for k, v in vars(self).items() if names_state(k) and k not in type(self).settings()}

    def _forget(self) -> dict[str, Any]:
        """Remove what was learned, and return it."""
        return {key: self.__dict__.pop(key) for key in self._learned()}

    def _set_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Undo `_state`."""
        for key, value in {**values, **tensors}.items():
            setattr(self, key, value)

    def _check_learned(self) -> None:
        """Raise ValueError unless the learned state is one that `fit` could have left: a folder may come from anywhere.

        A model file adds what its own tensors must satisfy, see `_expect`.
        """
        if type(self.seed_) is not int:
            raise ValueError(f"seed_ is a {type(self.seed_).__name__}, no whole number")
        if self.layout_.labels:
            self._expect(label_prior_=(self.layout_.labels,))
            if float(self.label_prior_.min()) < 0 or float(self.label_prior_.sum()) <= 0:
                raise ValueError("label_prior_ holds no probabilities")

    def _expect(self, **shapes: tuple[int, ...]) -> None:
        """Raise ValueError unless learned tensors have these shapes and finite numbers."""
        for name, shape in shapes.items():
            found = getattr(self, name, None)
            if not isinstance(found, Tensor) or found.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, not {tuple(getattr(found, 'shape', ()))}")
            if not bool(torch.isfinite(found).all()):
                raise ValueError(f"{name} holds numbers that are not finite")
