r"""Scores of families: how well a discrete column is explained by a set of parents, in nats.

A network's score is a sum over its families, one child with its parents. With \(N_{jk}\) the number of records that have configuration
\(j\) of the parents and level \(k\) of the child, \(q\) configurations, \(r\) levels and \(N\) records in which the child is known

\[ \mathrm{BIC} = \sum_{jk} N_{jk} \log \frac{N_{jk}}{N_j} - \frac{\log N}{2}\, q (r - 1), \qquad
   \mathrm{BDeu} = \sum_j \log \frac{\Gamma(\alpha/q)}{\Gamma(N_j + \alpha/q)}
   + \sum_{jk} \log \frac{\Gamma(N_{jk} + \alpha/qr)}{\Gamma(\alpha/qr)} \]

and K2 is the latter with ones in place of \(\alpha/qr\). A search asks for one child and its parents with *every* other column added in
turn. All these families are counted by one product of a sparse matrix, (configuration, level) by record, with one-hot levels.

Records whose child is unknown say nothing of the family. Records with an unknown parent share one more configuration, so that all
families of a child are judged on the same records.

References:
    Learning Bayesian Networks: The Combination of Knowledge and Statistical Data (Heckerman et al., 1995),
    https://doi.org/10.1007/BF00994016
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.sparse import csc_array
from scipy.special import gammaln, xlogy

Score = Literal["bic", "bdeu", "k2"]
Array = np.ndarray

MOST_CELLS = 2**20  # entries of one table of probabilities; larger families score minus infinity
BLOCK = 2**22  # counts that are held at once


class Families:
    """Scores of the families of discrete records, each counted once.

    Arguments:
        levels: `(n, d)` levels, negative where unknown.
        sizes: Number of levels of every column.
        score: `bic`, `bdeu` or `k2`.
        equivalent: Equivalent sample size of BDeu.
    """

    def __init__(self, levels: Array, sizes: list[int], score: Score = "bic", equivalent: float = 1.0) -> None:
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.levels = np.ascontiguousarray(levels.T, dtype=np.int32)  # a column at a time
        self.score_name, self.equivalent = score, equivalent
        n = self.levels.shape[1]
        self.start = np.concatenate([[0], np.cumsum(self.sizes)])
        # Counts up to 2^24 are exact in float32, which halves the traffic of memory.
        self.places = np.zeros((n, self.start[-1]), dtype=np.float32 if n < 2**24 else np.float64)
        for j, column in enumerate(self.levels):
            known = np.flatnonzero(column >= 0)
            self.places[known, self.start[j] + column[known]] = 1
        self._ones, self._row = np.ones(n, dtype=self.places.dtype), np.arange(n + 1, dtype=np.int32)
        self._added: dict[tuple[int, tuple[int, ...]], Array] = {}
        self._alone: dict[tuple[int, tuple[int, ...]], float] = {}

    def score(self, child: int, parents: tuple[int, ...]) -> float:
        """Return the score of one family; `parents` in rising order."""
        for i, last in enumerate(parents):
            found = self._added.get((child, parents[:i] + parents[i + 1 :]))
            if found is not None:
                return float(found[last])
        key = child, parents
        if key not in self._alone:
            self._alone[key] = self._count_alone(child, parents)
        return self._alone[key]

    def adding(self, child: int, parents: tuple[int, ...]) -> Array:
        """Return the scores `(d,)` of the family with each column as one more parent; minus infinity for its own."""
        key = child, parents
        if key not in self._added:
            self._added[key] = self._count_adding(child, parents)
        return self._added[key]

    def warm(self) -> None:
        """Score every pair of columns, many children by one matrix product."""
        d = len(self.sizes)
        most = max(1, BLOCK // max(1, int(self.start[-1])))
        first = 0
        while first < d:
            last = max(first + 1, int(np.searchsorted(self.start, self.start[first] + most, side="right")) - 1)
            counts = self.places[:, self.start[first] : self.start[last]].T @ self.places
            for child in range(first, last):
                rows = slice(self.start[child] - self.start[first], self.start[child + 1] - self.start[first])
                self._added[child, ()] = self._mask(child, (), self._evaluate(child, counts[None, rows], 1))
            first = last

    def _configurations(self, parents: tuple[int, ...]) -> tuple[Array | None, int, int]:
        """Return every record's configuration among those that occur (negative: unknown), their number, and `q`."""
        code, occurring, q = None, 1, 1
        for j in parents:
            size, column = int(self.sizes[j]), self.levels[j]
            q *= size
            if code is None:
                code, occurring = column.astype(np.int64), size
                continue
            code = np.where((code < 0) | (column < 0), -1, code * size + column)
            occurring *= size
            if occurring > 64:  # leave out what never occurs, so that counts grow with the records and not with q
                found = np.bincount(code + 1, minlength=occurring + 1)[1:] > 0
                number = np.cumsum(found) - 1
                code, occurring = np.where(code < 0, -1, number[code]), int(found.sum())
        return code, max(1, occurring), q

    def _count_alone(self, child: int, parents: tuple[int, ...]) -> float:
        r, q = int(self.sizes[child]), math.prod(int(self.sizes[j]) for j in parents)
        if q * r > MOST_CELLS:
            return -math.inf
        code, j, _ = self._configurations(parents)
        value = self.levels[child].astype(np.int64)
        known = value >= 0
        if code is None:
            return float(self._value(np.bincount(value[known], minlength=r).reshape(1, r, 1), 1.0, r)[0])
        place = np.where(code < 0, j, code)[known] * r + value[known]
        counts = np.bincount(place, minlength=(j + 1) * r).reshape(j + 1, r, 1)
        lump = counts[-1].sum() > 0
        return float(self._value(counts if lump else counts[:-1], float(q), r, lump)[0])

    def _count_adding(self, child: int, parents: tuple[int, ...]) -> Array:
        r, (code, occurring, q) = int(self.sizes[child]), self._configurations(parents)
        place = self.levels[child] if code is None else np.where(code < 0, -1, code * r + self.levels[child])
        cells = occurring * r
        place = np.where((place < 0) | (self.levels[child] < 0), cells, place).astype(np.int32)
        counter = csc_array((self._ones, place, self._row), shape=(cells + 1, len(place)))
        total = int(self.start[-1])
        if cells * total <= BLOCK:
            counts = (counter @ self.places)[:-1].reshape(occurring, r, total)
            return self._mask(child, parents, self._evaluate(child, counts, q))
        scores, first = [], 0
        while first < len(self.sizes):
            last = int(np.searchsorted(self.start, self.start[first] + BLOCK // cells, side="right")) - 1
            last = max(first + 1, last)
            part = np.ascontiguousarray(self.places[:, self.start[first] : self.start[last]])
            counts = (counter @ part)[:-1].reshape(occurring, r, -1)
            scores.append(self._evaluate(child, counts, q, first, last))
            first = last
        return self._mask(child, parents, np.concatenate(scores))

    def _mask(self, child: int, parents: tuple[int, ...], scores: Array) -> Array:
        scores[[child, *parents]] = -math.inf
        return scores

    def _evaluate(self, child: int, counts: Array, q: int, first: int = 0, last: int | None = None) -> Array:
        """Return scores of columns `first` to `last` from counts `(configuration, level, place)`."""
        last = len(self.sizes) if last is None else last
        sizes, r = self.sizes[first:last], int(self.sizes[child])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        begins = self.start[first:last] - self.start[first]
        joint = (q * sizes).astype(np.float64)
        scores = np.add.reduceat(self._value(counts, joint[owner], r, charge=False), begins)
        # Records whose parents are not all known share one configuration.
        whole = np.bincount(self.levels[child][self.levels[child] >= 0], minlength=r)
        seen = np.add.reduceat(counts.sum(0, dtype=np.float64), begins, axis=1)
        rest = whole[:, None] - seen
        lumped = rest.sum(0) > 0.5
        if lumped.any():
            scores[lumped] += self._value(rest[None][:, :, lumped], joint[lumped], r, charge=False)
        scores -= self._charge(joint + lumped, r, whole.sum())
        return np.where(joint * r > MOST_CELLS, -math.inf, scores)

    def _charge(self, q: Array, r: int, n: float) -> Array | float:
        return 0.5 * math.log(max(1.0, n)) * (r - 1) * q if self.score_name == "bic" else 0.0

    def _value(self, counts: Array, q: Array | float, r: int, lump: bool = False, charge: bool = True) -> Array:
        """Return scores `(places,)` from counts `(configuration, level, place)`; `q` configurations, one more if `lump`."""
        each = counts.sum(1, dtype=np.float64)
        if self.score_name == "bic":
            counts = counts.astype(np.float64)
            value = xlogy(counts, counts).sum((0, 1)) - xlogy(each, each).sum(0)
        else:
            q = np.broadcast_to(np.asarray(q, dtype=np.float64), each.shape[1:])
            alpha = self.equivalent / (q * r) if self.score_name == "bdeu" else np.ones_like(q)
            value = _rising(counts.reshape(-1, counts.shape[-1]), alpha) - _rising(each, alpha * r)
        return value - self._charge(np.asarray(q + lump), r, each.sum()) if charge else value


def _rising(counts: Array, alpha: Array) -> Array:
    """Return `sum log Gamma(N + a) / Gamma(a)` of every column of counts `(cells, places)`."""
    cell, place = np.nonzero(counts)
    a = alpha[place]
    return np.bincount(place, gammaln(counts[cell, place] + a) - gammaln(a), minlength=counts.shape[1])
