r"""Feature spaces of tables: standardised columns (A), and the leaves of a boosted model of the target, or ranks (B)."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

from ..data.records import Dataset, Records
from .features import Space
from .schema import Schema

TREES = 20
DEPTH = 3
MOST = 10_000
ONE_HOT = 100


def table_spaces(data: Dataset, seed: int) -> dict[str, Space]:
    r"""Return the spaces A and B of a table.

    A: numbers standardised by training mean and standard deviation, 0 where missing, and an indicator of missing cells;
    categories one-hot (the 100 most frequent levels; missing, rarer and unseen ones have places of their own).

    B: one-hot leaves of 20 boosted trees of depth 3 that predict the target from the other columns (fitted on at most
    10,000 training rows), beside the target itself. Without a target: \(\sqrt{12}\,(F(x) - \tfrac12)\) with F the training
    distribution function, in place of the standardised numbers.
    """
    schema = Schema.of(data.train)
    plain = Columns(schema)

    def trees(records: Records) -> tuple[np.ndarray, np.ndarray]:
        return schema.matrix(records.x)

    first = Space("A", "standardised numbers and one-hot categories", plain.embed, trees)
    if schema.target is not None and schema.target in schema.varying and len(schema.varying) > 1:
        leaves = Leaves(schema, data, seed)
        return {"A": first, "B": Space("B", leaves.note, leaves.embed, leaves.matrix)}
    ranks = Columns(schema, ranks=True)
    note = "standardised ranks (no target to learn from); trees see the same order as in A, so that both AUCs are one"
    return {"A": first, "B": Space("B", note, ranks.embed, trees)}


class Columns:
    """Numbers standardised (or as ranks) with indicators of missing cells, categories one-hot.

    Arguments:
        schema: The table's columns.
        without: Columns to leave out.
        ranks: Put the training distribution function in place of the standardised value.
    """

    def __init__(self, schema: Schema, *, without: str | None = None, ranks: bool = False) -> None:
        self.schema, self.ranks = schema, ranks
        self.names = tuple(c for c in schema.varying if c != without)
        self.sorted: dict[str, np.ndarray] = {}
        self.affine: dict[str, tuple[float, float]] = {}
        for name in self.names:
            if name in schema.numbers:
                x = schema.number(schema.train, name)
                x = np.sort(x[np.isfinite(x)])
                self.sorted[name] = x
                spread = float(x.std()) if len(x) else 0.0
                self.affine[name] = (float(x.mean()) if len(x) else 0.0, spread if spread > 0 else 1.0)

    def embed(self, records: Records) -> np.ndarray:
        """Return `(n, d)` float32."""
        parts = [self._number(records, c) if c in self.sorted else self._level(records, c) for c in self.names]
        return np.concatenate(parts, 1).astype(np.float32) if parts else np.zeros((len(records), 1), np.float32)

    def _number(self, records: Records, name: str) -> np.ndarray:
        x = self.schema.number(records.x, name)
        if self.ranks:
            train = self.sorted[name]
            places = np.searchsorted(train, x, "left") + np.searchsorted(train, x, "right")
            z = np.sqrt(12.0) * (places / (2 * max(len(train), 1)) - 0.5)
        else:
            loc, scale = self.affine[name]
            z = (x - loc) / scale
        absent = np.isnan(x)
        return np.stack([np.where(absent, 0.0, z), absent], 1)

    def _level(self, records: Records, name: str) -> np.ndarray:
        levels = len(self.schema.levels[name])
        code = self.schema.level(records.x, name)
        kept = min(levels, ONE_HOT)
        # kept levels, then rarer ones together, then missing, then unseen
        place = np.where(code < levels, np.minimum(code, kept), kept + 1 + (code - levels))
        return (place[:, None] == np.arange(kept + 3)).astype(np.float32)


class Leaves:
    """Leaves of boosted trees that predict the target: rows that fall into the same leaves are alike where it matters."""

    def __init__(self, schema: Schema, data: Dataset, seed: int) -> None:
        self.schema, self.target = schema, str(schema.target)
        self.inputs = Columns(schema, without=self.target)
        self.outputs = Columns(schema)
        self.outputs.names = (self.target,)
        rows = np.sort(np.random.default_rng(seed).permutation(len(data.train))[:MOST])
        x, y = self._labelled(data.train.take(rows))
        self.classes = 0 if self.target in schema.numbers else len(np.unique(y))
        if self.classes:
            trees = max(2, TREES // (1 if self.classes == 2 else self.classes))
            self.model = GradientBoostingClassifier(n_estimators=trees, max_depth=DEPTH, random_state=seed)
        else:
            self.model = GradientBoostingRegressor(n_estimators=TREES, max_depth=DEPTH, random_state=seed)
        leaves = self._apply(self.model.fit(x, y), x)
        self.known = [np.unique(column) for column in leaves.T]
        held_x, held_y = self._labelled(data.valid)
        quality = f"{self.model.score(held_x, held_y):.2f}" if len(held_y) > 1 else "unknown"
        what = "accuracy" if self.classes else "R2"
        self.note = (
            f'leaves of {len(self.known)} boosted trees for "{self.target}": {what} {quality} on validation rows'
        )

    def _labelled(self, records: Records) -> tuple[np.ndarray, np.ndarray]:
        if self.target in self.schema.numbers:
            y = self.schema.number(records.x, self.target)
            known = np.isfinite(y)
        else:
            y = self.schema.level(records.x, self.target)
            known = y < len(self.schema.levels[self.target])
        return self.inputs.embed(records)[known], y[known]

    @staticmethod
    def _apply(model, x: np.ndarray) -> np.ndarray:
        return model.apply(x).reshape(len(x), -1).astype(np.int64)

    def _leaf_numbers(self, records: Records) -> np.ndarray:
        found = self._apply(self.model, self.inputs.embed(records))
        return np.stack([np.searchsorted(known, c) for known, c in zip(self.known, found.T, strict=True)], 1)

    def embed(self, records: Records) -> np.ndarray:
        """Return `(n, d)` float32: one-hot leaves and the target."""
        places = self._leaf_numbers(records)
        parts = [(p[:, None] == np.arange(len(known))) for p, known in zip(places.T, self.known, strict=True)]
        return np.concatenate([*parts, self.outputs.embed(records)], 1).astype(np.float32)

    def matrix(self, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """Return leaf numbers and the target as columns for trees, and which are categories."""
        columns, categorical = self.schema.matrix(records.x)
        at = self.schema.varying.index(self.target)
        places = self._leaf_numbers(records).astype(np.float64)
        mask = np.append(np.ones(places.shape[1], bool), categorical[at])
        return np.concatenate([places, columns[:, at : at + 1]], 1), mask
