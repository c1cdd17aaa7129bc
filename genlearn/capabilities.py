"""Capabilities: what a model can do because its mathematics gives it. Public methods are final; a model writes the hooks.

Large data is worked through in chunks of rows, so that memory does not grow with the number of records.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from torch import Tensor

from .codecs import Exactness, weakest
from .compress.verbs import Compresses
from .counting import counted
from .data.records import Records
from .errors import Problem
from .latent import Latent
from .layout import Code
from .predicting import Predicts

How = Literal["draw", "mean", "mode"]
Way = Literal["straight", "spherical"]

DEQUANTISATION_DRAWS = 8
CELLS = 2**19  # values per chunk: 4 MB of float64


class Scores(Predicts):
    """Capability: gives log densities of records, and with them the label of a record that has none.

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
        draws = self._dequantisation()
        scores = np.empty(len(records))
        for rows, block in records.blocks(_rows(self.layout_.size)):
            scores[rows] = self._mean_density(self.codec_.parse(block), draws).numpy()
        return scores

    @final
    def score(self: Any, data: Any, y: Any = None) -> float:
        """Return the mean log density per record in nats; higher is better."""
        scores = self.log_prob(data, y)
        if not len(scores):
            raise Problem("there are no records to score. Give at least one.")
        return float(np.mean(scores))

    def _dequantisation(self: Any) -> list[Tensor | None]:
        """Return where dequantised values lie in their cells, for each draw; one draw of None where none is dequantised."""
        if self.codec_.kind == "exact":
            return [None]
        rng = self._rng("score")
        return [torch.rand(self.layout_.size, generator=rng) for _ in range(DEQUANTISATION_DRAWS)]

    @torch.no_grad()
    def _mean_density(self: Any, raw: Any, draws: Sequence[Tensor | None]) -> Tensor:
        """Return the log of the mean density over draws of the dequantisation noise."""
        terms = []
        for noise in counted(draws):
            code = self.codec_.transform(raw, noise=noise)
            terms.append(self._labelled_log_prob(code).double() + code.log_det)
        return torch.logsumexp(torch.stack(terms), 0) - math.log(len(terms))

    def _labelled_log_prob(self: Any, code: Code) -> Tensor:
        """Return log p(x, y) where the label is known and log p(x), summed over labels, where it is not."""
        labels = self.layout_.labels
        if not labels:
            return self._log_prob(code)
        prior = torch.log(self.label_prior_.double())
        y = code.y if code.y is not None else torch.full((len(code),), -1)
        out = torch.empty(len(code), dtype=torch.float64)
        known = y >= 0
        if known.any():
            out[known] = self._log_prob(code[known]).double() + prior[y[known]]
        if not known.all():
            rest = code[~known]
            each = []
            for label in counted(range(labels)):
                rest.y = torch.full((len(rest),), label)
                each.append(self._log_prob(rest).double() + prior[label])
            out[~known] = torch.logsumexp(torch.stack(each), 0)
        return out

    def _log_prob(self, code: Code) -> Tensor:
        """Return `(n,)` log densities of codes; with a target, given the label: the base adds its frequency."""
        raise TypeError(f"{type(self).__name__} must define _log_prob")


class Encodes(Compresses, ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Capability: maps records to latent vectors and back; a transformer in scikit-learn's sense."""

    verb: ClassVar[str] = "encode"
    lacks: ClassVar[str] = "has no latent space."

    @final
    @torch.no_grad()
    def encode(self: Any, data: Any, y: Any = None) -> np.ndarray:
        """Return `(n, latent)` float32 latent vectors (posterior means); deterministic."""
        self._check_fitted()
        parts = [self._encode(code).cpu().float().numpy() for code in self._codes(data, y)]
        return np.concatenate(parts) if parts else np.empty((0, self.latents_), np.float32)

    @final
    @torch.no_grad()
    def posterior(self: Any, data: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations of q(z | x), both `(n, latent)`; the latter are 0 for a deterministic encoder."""
        self._check_fitted()
        empty = torch.empty(0, self.latents_)
        pairs = [(self._encode(code), self._spread(code)) for code in self._codes(data, y)] or [(empty, empty)]
        mean, sd = (torch.cat(parts).cpu().float().numpy() for parts in zip(*pairs, strict=True))
        return mean, sd

    @final
    def transform(self, data: Any, y: Any = None) -> np.ndarray:
        """The same as `encode`, for scikit-learn pipelines."""
        return self.encode(data, y)

    @final
    def decode(self: Any, latents: Any, y: Any = None) -> Any:
        """Return the typical record of every latent vector `(n, latent)`, in the form that `fit` was given.

        Arguments:
            latents: `(n, latent)` numbers.
            y: A label for all or one for each, if the model was fitted with labels; the most frequent one by default.
        """
        return self.decode_records(latents, y).natural()

    @final
    def decode_records(self: Any, latents: Any, y: Any = None) -> Records:
        """`decode` as `Records`."""
        self._check_fitted()
        z = self._latents_of(latents)
        labels = self._label_levels(y, len(z))
        rows = _rows(self.layout_.head_size)
        parts = (slice(start, start + rows) for start in range(0, len(z), rows))
        return self._typical((z[part], _of(labels, part)) for part in parts)

    @final
    def reconstruct(self: Any, data: Any, y: Any = None) -> Any:
        """Return records encoded and decoded again."""
        return self.reconstruct_records(data, y).natural()

    @final
    @torch.no_grad()
    def reconstruct_records(self: Any, data: Any, y: Any = None) -> Records:
        """`reconstruct` as `Records`."""
        self._check_fitted()
        return self._typical((self._encode(code), self._known_labels(code)) for code in self._codes(data, y))

    @final
    @torch.no_grad()
    def interpolate(self: Any, a: Any, b: Any, steps: int = 9, *, path: Way = "straight") -> Any:
        """Return `steps` records on the way from record `a` to record `b` through latent space, ends included.

        Arguments:
            a: Where to start, in the form of `fit`: one record (of several, the first).
            b: Where to end.
            steps: How many records, at least 2.
            path: `straight`, or `spherical`: along the great circle, which keeps to lengths that a normal prior finds likely.
        """
        self._check_fitted()
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 2:
            raise Problem(f"steps must be a whole number of at least 2, not {steps!r}.")
        if path not in typing.get_args(Way):
            raise Problem(f"path must be straight or spherical, not {path!r}.")
        start, end = self._one_code(a), self._one_code(b)
        t = torch.linspace(0, 1, int(steps))[:, None]
        first, last = self._encode(start)[0], self._encode(end)[0]
        z = _great_circle(first, last, t) if path == "spherical" else (1 - t) * first + t * last
        labels = None
        if self.layout_.labels:
            labels = torch.where(t[:, 0] < 0.5, self._known_labels(start), self._known_labels(end))
        return self._typical([(z, labels)]).natural()

    @final
    @torch.no_grad()
    def traverse(self: Any, record: Any, dim: int, values: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3)) -> Any:
        """Return records decoded along latent dimension `dim` set to `values`, the others as in `record`."""
        self._check_fitted()
        if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not 0 <= dim < self.latents_:
            raise Problem(f"dim must lie in 0..{self.latents_ - 1}, not {dim!r}.")
        stops = _numbers(values)
        if stops is None or stops.ndim != 1 or not len(stops):
            raise Problem(f"values must be a list of finite numbers, not {values!r}.")
        code = self._one_code(record)
        z = self._encode(code).repeat(len(stops), 1)
        z[:, dim] = stops
        y = self._known_labels(code)
        return self._typical([(z, None if y is None else y.expand(len(z)))]).natural()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # latents are float32, whatever the records are
        return tags

    @property
    def _n_features_out(self: Any) -> int:
        return self.latents_

    def _codes(self: Any, data: Any, y: Any) -> Iterator[Code]:
        for _, block in self._records_of(data, y).blocks(_rows(self.layout_.head_size)):
            yield self.codec_.transform(self.codec_.parse(block))

    def _one_code(self: Any, record: Any) -> Code:
        records = self._records_of(record, None)
        if not len(records):
            raise Problem("there is no record to start from. Give at least one.")
        return self.codec_.encode(records.take(slice(0, 1)))

    @torch.no_grad()
    def _typical(self: Any, parts: Any) -> Records:
        """Decode pairs of latent vectors and labels, chunk by chunk."""
        decoded = [self.codec_.decode(self._decode(z, y)) for z, y in parts]
        if not decoded:
            raise Problem("there is nothing to decode. Give at least one record.")
        return Records.join(decoded)

    def _latents_of(self: Any, latents: Any) -> Tensor:
        z = _numbers(latents)
        if z is None:
            raise Problem("latents must be finite numbers.")
        if z.ndim != 2 or z.shape[1] != self.latents_:
            raise Problem(f"latents must have shape (n, {self.latents_}), not {tuple(z.shape)}.")
        return z

    def _known_labels(self: Any, code: Code) -> Tensor | None:
        """Return the code's labels, the most frequent one where unknown; None without a target."""
        if not self.layout_.labels:
            return None
        y = code.y if code.y is not None else torch.full((len(code),), -1)
        return torch.where(y < 0, self.label_prior_.argmax(), y)

    def _label_levels(self: Any, y: Any, n: int) -> Tensor | None:
        """Return `(n,)` levels of the labels `y`: one for all, one for each, or by default the most frequent."""
        target = self.layout_.target
        if target is None:
            if y is not None:
                raise Problem(f"this {self.name()} was fitted without labels. Leave y out.")
            return None
        if y is None:
            return self.label_prior_.argmax().expand(n)
        asked = np.atleast_1d(np.asarray(y, dtype=object))
        if asked.shape not in ((1,), (n,)):
            raise Problem(f"y must be one label or {n} of them, one for each latent vector, not {asked.size}.")
        level = {value: self.codec_.given({target.name: value}).y for value in set(asked.tolist())}
        return torch.tensor([level[value] for value in asked.tolist()]).expand(n)

    def _spread(self: Any, code: Code) -> Tensor:
        """Return `(n, latent)` standard deviations of the posterior; 0 unless a model knows better."""
        return torch.zeros(len(code), self.latents_)

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
            how: `draw` from p(unknown | known), or its `mean` (of numbers, in their own units, rounded as the column is; of
                categories the likeliest) or `mode`.
            random_state: Seed; None draws anew each time.
        """
        return self.impute_records(data, mask, how=how, random_state=random_state).natural()

    @final
    @torch.no_grad()
    def impute_records(
        self: Any, data: Any, mask: Any = None, *, how: How = "draw", random_state: int | None = None
    ) -> Records:
        """`impute` as `Records`."""
        self._check_fitted()
        if how not in typing.get_args(How):
            raise Problem(f'how must be one of {", ".join(typing.get_args(How))}, not "{how}".')
        rng = self._fresh_rng(random_state)
        records = self._records_of(data, None)
        unknown = self.codec_.missing(records, mask)
        filled = []
        for rows, block in records.blocks(_rows(self.layout_.head_size)):
            code = self.codec_.transform(self.codec_.parse(block), unknown=unknown[rows])
            filled.append(self.codec_.decode(self._impute(code, how, rng)))
        return self.codec_.fill(records, Records.join(filled), unknown) if filled else records

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        """Return a complete code: where `code.mask` is False, values given the others. Missing levels are not drawn."""
        raise TypeError(f"{type(self).__name__} must define _impute")


class Conditional:
    """Capability: samples under conditions, on the `target` only or on `any` field."""

    conditions: ClassVar[Literal["target", "any"]] = "target"
    verb: ClassVar[str] = "sample under conditions"
    lacks: ClassVar[str] = "cannot sample under conditions."


CAPABILITIES: tuple[type, ...] = (Scores, Encodes, Imputes, Conditional)
GIVEN_BY: dict[str, Any] = (
    {
        name: capability
        for capability in CAPABILITIES
        for name in vars(capability)
        if not name.startswith("_") and name not in ("verb", "lacks", "kind", "conditions")
    }
    | {name: Scores for name in ("predict", "predict_proba", "classes_")}
    | dict.fromkeys(("bounds", "draw_latents", "layer_kl"), Latent)
    | {name: Encodes for name in ("compress", "decompress", "decompress_records")}
)


def _rows(width: int) -> int:
    """Return how many rows of `width` values make a chunk."""
    return max(1, CELLS // max(1, width))


def _of(t: Tensor | None, rows: slice) -> Tensor | None:
    return None if t is None else t[rows]


def _numbers(values: Any) -> Tensor | None:
    """Return float32 numbers, or None if there is anything else among the values."""
    try:
        found = torch.from_numpy(np.array(values, dtype=np.float32))
    except (TypeError, ValueError):
        return None
    return found if bool(torch.isfinite(found).all()) else None


def _great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    angle = torch.arccos(torch.nn.functional.cosine_similarity(a, b, 0).clamp(-0.9999, 0.9999))
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
