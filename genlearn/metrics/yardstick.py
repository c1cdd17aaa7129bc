"""One yardstick for all models: the same real records, features and blocks for every row of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..data.memory import FORMS, allowance, fits, in_words
from ..data.records import Dataset, Records
from ..errors import Problem
from .alike import differences
from .auc import two_sample_auc
from .base import Result
from .copies import Copies, tail_test
from .coverage import coverage, density
from .features import Space, spaces
from .frechet import frechet
from .groups import group_shares
from .intervals import mean_of
from .kid import kid
from .latent import active_units, kl, posterior_auc
from .neighbours import Nearest, nearest
from .pairs import Trends, mean_score, pair_trends
from .schema import Schema
from .shapes import column_shapes, shapes
from .useful import useful_classes, useful_features, useful_number
from .validity import validity
from .variance import variance_ratio

MOST = 5000


@dataclass(frozen=True)
class Columns:
    """A table column by column.

    Arguments:
        shapes: Shape score of every column, 1 = same distribution.
        trends: Associations of the columns in real and generated rows, and their similarity.
    """

    shapes: dict[str, float]
    trends: Trends

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        matrices = {k: np.round(getattr(self.trends, k), 4).tolist() for k in ("real", "fake", "scores")}
        return {"shapes": self.shapes, "names": list(self.trends.names), **matrices}


@dataclass(frozen=True)
class Judgement:
    """What the yardstick says about one set of generated records.

    Arguments:
        metrics: Results by metric name, in the order of `METRICS`; only those that apply to these records.
        copies: The tail test for copies; None in a quick judgement.
        columns: Tables only, and not in a quick judgement.
        notes: What a reader must know, one sentence each.
        n: How many generated records were judged, against as many real ones.
    """

    metrics: dict[str, Result]
    copies: Copies | None = None
    columns: Columns | None = None
    notes: tuple[str, ...] = ()
    n: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; write it with `store.write_json`."""
        return {
            "n": self.n,
            "metrics": {name: result.to_json() for name, result in self.metrics.items()},
            "copies": self.copies.to_json() if self.copies else None,
            "columns": self.columns.to_json() if self.columns else None,
            "notes": list(self.notes),
        }


@dataclass
class Yardstick:
    """Judges generated records of one data set. Spaces and real features are prepared once, on first use.

    Arguments:
        data: The data set: features are learned from `train`, records are judged against `test`.
        seed: Seed of every random step; the same seed gives the same numbers.

    Errors:
        Problem: If a part is empty, or the training records do not fit into memory.

    Example:
        >>> import pandas as pd
        >>> from genlearn.data.records import Dataset, Records
        >>> x = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 2)), columns=["a", "b"])
        >>> part = Records("table", x)
        >>> data = Dataset("toy", part.take(slice(0, 300)), part.take(slice(300, 340)), part.take(slice(340, 400)))
        >>> yardstick = Yardstick(data)
        >>> yardstick.n, yardstick.judge(part.take(slice(0, 40))).copies.flag is None
        (40, True)
    """

    data: Dataset
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        for part in ("train", "valid", "test"):
            if not len(self.data.part(part)):
                raise Problem(
                    f"{self.data.name} has no {part} records, which judging needs. Give more records or another split."
                )
        if not fits(size := self.data.train.nbytes):
            rows = len(self.data.train) * (allowance() // FORMS) // size
            raise Problem(
                f"judging compares with all {in_words(size)} of training records in memory, more than fit. "
                f"Give a part of them (--rows {rows}), or allow more memory with GENLEARN_MEMORY."
            )
        self.n = min(len(self.data.test), len(self.data.valid), MOST)

    # -- prepared once -----------------------------------------------------------------------------------------------
    @cached_property
    def spaces(self) -> dict[str, Space]:
        """The feature spaces A and B."""
        return spaces(self.data, seed=self.seed)

    @cached_property
    def schema(self) -> Schema | None:
        """The columns of a table; None for other records."""
        return Schema.of(self.data.train) if self.data.modality == "table" else None

    @cached_property
    def test(self) -> Records:
        """The real records that every row is judged against, in random order."""
        return self.data.test.take(self._drawn(self.data.test, self.n))

    @cached_property
    def _features(self) -> dict[str, np.ndarray]:
        return {name: space(self.test) for name, space in self.spaces.items()}

    @cached_property
    def _held_out_nearest(self) -> Nearest:
        held_out = self.data.test.take(self._drawn(self.data.test, MOST))
        return nearest(self._vectors(held_out), self._train_vectors)

    @cached_property
    def _train_vectors(self) -> np.ndarray:
        return self._vectors(self.data.train)

    def _vectors(self, records: Records) -> np.ndarray:
        """Return records as vectors in which copies are close."""
        if self.schema is not None:
            return self.spaces["A"](records)
        from .image_features import pixel_vectors

        return pixel_vectors(records, self.data.train)

    def _drawn(self, records: Records, n: int) -> np.ndarray:
        """Return `n` record numbers in random order: sorted files would unbalance folds and blocks."""
        return np.random.default_rng(self.seed).permutation(len(records))[:n]

    # -- judging -----------------------------------------------------------------------------------------------------
    def real(self) -> Judgement:
        """Judge validation records as if they were generated: the best that a model can reach."""
        return self.judge(self.data.valid)

    def judge(self, fake: Records, *, model: Any = None, full: bool = True) -> Judgement:
        """Judge generated records against the test part.

        Arguments:
            fake: Generated records, `n` of them at best; more are sampled down, fewer are met by fewer real ones.
            model: The model behind them, for the metrics of its latent space.
            full: False gives two-sample AUC, KID, coverage, variance and group shares only.

        Errors:
            Problem: If the records are not of the data set's kind.
        """
        self._check(fake)
        rows = self._drawn(fake, self.n)
        fake = fake.take(rows)
        n = len(fake)
        found = self._realism(fake, n, full)
        notes = self._notes(found)
        if not full:
            return Judgement(found, notes=notes, n=n)
        copies = self._copies(fake, rows)
        columns = None
        if (useful := self._useful(fake, n)) is not None:
            found["useful"] = useful
        if self.schema is not None:
            real = self.test.x.iloc[:n]
            trends = pair_trends(self.schema, real, fake.x, seed=self.seed)
            columns = Columns(column_shapes(self.schema, real, fake.x), trends)
            found["shapes"] = shapes(self.schema, real, fake.x)
            found["pairs"] = mean_score(trends, n)
            found["validity"] = validity(self.schema, fake.x)
        found |= self._latent(model)
        return Judgement(_ordered(found), copies, columns, notes, n)

    def _realism(self, fake: Records, n: int, full: bool) -> dict[str, Result]:
        found: dict[str, Result] = {}
        for name, space in self.spaces.items():
            real_x, fake_x = self._features[name][:n], space(fake)
            if name == "B" and space.trees is not None and space.trees is self.spaces["A"].trees:
                found["auc_b"] = found["auc_a"]
            elif space.trees is not None:
                (a, categorical), (b, _) = space.trees(self.test.take(slice(0, n))), space.trees(fake)
                auc = two_sample_auc(a, b, classifier="trees", categorical=categorical, seed=self.seed)
                found[f"auc_{name.lower()}"] = auc
            else:
                found[f"auc_{name.lower()}"] = two_sample_auc(real_x, fake_x)
            found[f"kid_{name.lower()}"] = kid(real_x, fake_x)
            if name == "B":
                found["groups"] = group_shares(real_x, fake_x, seed=self.seed)
            if name == "A":
                found["coverage"] = coverage(real_x, fake_x)
                found["variance"] = variance_ratio(real_x, fake_x)
                if full:
                    found["density"] = density(real_x, fake_x)
                    found["frechet_a"] = frechet(real_x, fake_x)
        found["auc"] = mean_of([found["auc_a"], found["auc_b"]], low=0.0, high=1.0)
        return _ordered(found)

    def _useful(self, fake: Records, n: int) -> Result | None:
        """Train on the generated records, test on the real ones; None where there is no target."""
        if self.schema is None:
            return self._useful_images(fake, n)
        target = self.schema.target
        if target is None or target not in self.schema.varying or len(self.schema.varying) < 2:
            return None
        real = self.test.x.iloc[:n]
        (a, categorical), (b, _) = self.schema.matrix(fake.x), self.schema.matrix(real)
        at = self.schema.varying.index(target)
        a, b, categorical = np.delete(a, at, 1), np.delete(b, at, 1), np.delete(categorical, at)
        if target in self.schema.numbers:
            y, real_y = (self.schema.number(x, target) for x in (fake.x, real))
            return useful_number(a, y, b, real_y, categorical=categorical, seed=self.seed)
        y, real_y = (self.schema.level(x, target) for x in (fake.x, real))
        names = list(self.schema.levels[target])
        return useful_classes(a, y, b, real_y, names=names, categorical=categorical, seed=self.seed)

    def _useful_images(self, fake: Records, n: int) -> Result | None:
        from .image_features import label_levels

        names, _ = label_levels(self.data.train)
        if len(names) < 2:
            return None
        real_y = label_levels(self.test, names)[1][:n]
        y = label_levels(fake, names)[1]
        return useful_features(self.spaces["A"](fake), y, self._features["A"][:n], real_y, names=names)

    def _copies(self, fake: Records, rows: np.ndarray) -> Copies:
        found = tail_test(nearest(self._vectors(fake), self._train_vectors), self._held_out_nearest)
        return replace(found, pairs=tuple((int(rows[i]), j, d) for i, j, d in found.pairs))

    def _latent(self, model: Any) -> dict[str, Result]:
        """Judge the latent space on the real records; a deterministic encoder has no posterior to compare with the prior."""
        from ..model import Encodes, Latent

        if not isinstance(model, Encodes):
            return {}
        mean, std = model.posterior(self.test)
        prior = model.draw_latents(len(mean), random_state=self.seed) if isinstance(model, Latent) else None
        if not std.any():
            return {"active_units": active_units(mean)}
        return {
            "active_units": active_units(mean),
            "kl": kl(mean, std),
            "posterior_auc": posterior_auc(mean, std, prior=prior, seed=self.seed),
        }

    def _notes(self, found: dict[str, Result]) -> tuple[str, ...]:
        notes = [f"space {name}: {space.note}" for name, space in self.spaces.items()]
        a, b = found["auc_a"], found["auc_b"]
        if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
            tells = [r.low > 0.5 for r in (a, b) if r.low is not None]
            apart = a.high < b.low or b.high < a.low
            if apart and tells[0] != tells[1]:
                which = "A" if tells[0] else "B"
                notes.append(
                    f"the spaces disagree: a classifier tells generated from real in space {which} only "
                    f"(AUC {a.value:.2f} in A, {b.value:.2f} in B)"
                )
        from .registry import METRICS

        if signs := [METRICS[name].title for name in differences(found)]:
            notes.append(f"not like real, by {', '.join(signs)} at n = {a.n}")
        return tuple(notes)

    def _check(self, fake: Records) -> None:
        if fake.modality != self.data.modality:
            raise Problem(
                f"{self.data.name} holds {self.data.modality} records, these are {fake.modality}. Judge like with like."
            )
        if not len(fake):
            raise Problem("there are no generated records to judge. Sample at least one.")
        if fake.modality == "image" and fake.x.shape[1:] != self.data.train.x.shape[1:]:
            shapes = ["x".join(map(str, r.x.shape[1:])) for r in (self.data.train, fake)]
            raise Problem(f"{self.data.name} holds images of {shapes[0]}, these are {shapes[1]}. Resize them first.")


def _ordered(found: dict[str, Result]) -> dict[str, Result]:
    from .registry import METRICS

    return {name: found[name] for name in METRICS if name in found}
