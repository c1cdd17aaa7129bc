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
from scipy.special import gammaln

Score = Literal["bic", "bdeu", "k2"]
Array = np.ndarray

MOST_CELLS = 2**20  # entries of one table of probabilities; larger families score minus infinity
BLOCK = 2**22  # counts that are held at once
ROWS = 2**16 - 1  # records that are counted at once, so that a count fits into 16 bits


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
        d, n = self.levels.shape
        self.known = self.levels >= 0
        self.complete = bool(self.known.all())
        self.start = np.concatenate([[0], np.cumsum(self.sizes)])
        self.owner = np.repeat(np.arange(d), self.sizes)
        self.places = np.zeros((n, self.start[-1]), dtype=np.uint16)  # one-hot; narrow, since counting is reading
        for j, column in enumerate(self.levels):
            rows = np.flatnonzero(self.known[j])
            self.places[rows, self.start[j] + column[rows]] = 1
        self.whole = [np.bincount(c[k], minlength=r) for c, k, r in zip(self.levels, self.known, sizes, strict=True)]
        self.price = 0.5 * np.log(np.maximum(1, self.known.sum(1))) * (self.sizes - 1)  # of a configuration, in BIC
        self._ones, self._row = np.ones(min(n, ROWS), dtype=np.uint16), np.arange(min(n, ROWS) + 1, dtype=np.int32)
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
            counts = np.zeros((self.start[last] - self.start[first], self.start[-1]))
            for part in self._parts():
                hot = self.places[part].astype(np.float32)  # sums of so few ones are exact
                counts += hot[:, self.start[first] : self.start[last]].T @ hot
            for child in range(first, last):
                rows = slice(self.start[child] - self.start[first], self.start[child + 1] - self.start[first])
                self._added[child, ()] = self._mask(child, (), self._evaluate(child, counts[None, rows], 1))
            first = last

    def _parts(self) -> list[slice]:
        """Return rows that are counted at once."""
        return [slice(i, i + ROWS) for i in range(0, len(self.places), ROWS)]

    def _configurations(self, parents: tuple[int, ...]) -> tuple[Array | None, int, int]:
        """Return every record's configuration among those that occur (negative: unknown), their number, and `q` <= MOST_CELLS."""
        code, occurring, q = None, 1, 1
        for j in parents:
            size, column = int(self.sizes[j]), self.levels[j]
            q *= size
            if code is None:
                code, occurring = column, size
                continue
            unknown = None if self.complete else (code < 0) | (column < 0)
            code = code * size + column
            if unknown is not None:
                code[unknown] = -1
            occurring *= size
            if occurring > 64:  # leave out what never occurs, so that counts grow with the records and not with q
                found = np.bincount(code + 1, minlength=occurring + 1)[1:] > 0
                number = np.concatenate([[-1], np.cumsum(found, dtype=np.int32) - 1]).astype(np.int32)
                code, occurring = number[code + 1], int(found.sum())
        return code, max(1, occurring), q

    def _count_alone(self, child: int, parents: tuple[int, ...]) -> float:
        r, q = int(self.sizes[child]), math.prod(int(self.sizes[j]) for j in parents)
        if q * r > MOST_CELLS:
            return -math.inf
        code, j, _ = self._configurations(parents)
        known = self.known[child]
        value = self.levels[child][known].astype(np.int64)
        if code is not None:
            value += np.where(code < 0, j, code)[known] * np.int64(r)
        counts = np.bincount(value, minlength=(j + 1) * r).reshape(j + 1, r, 1)  # the last: parents not all known
        score = self._value(counts, float(q), r) - self._charge(q + float(counts[-1].any()), child)
        return float(score[0])

    def _count_adding(self, child: int, parents: tuple[int, ...]) -> Array:
        r = int(self.sizes[child])
        if math.prod(int(self.sizes[j]) for j in parents) * r > MOST_CELLS:
            return np.full(len(self.sizes), -math.inf)
        code, occurring, q = self._configurations(parents)
        cells = occurring * r
        place = self.levels[child] if code is None else code * np.int32(r) + self.levels[child]
        if not self.complete:
            unknown = ~self.known[child] if code is None else (code < 0) | ~self.known[child]
            place = np.where(unknown, cells, place)
        scores, first, d = [], 0, len(self.sizes)
        while first < d:
            last = int(np.searchsorted(self.start, self.start[first] + BLOCK // cells, side="right")) - 1
            last = min(d, max(first + 1, last))
            counts = self._count(place, cells, first, last).reshape(occurring, r, -1)
            scores.append(self._evaluate(child, counts, q, first, last))
            first = last
        return self._mask(child, parents, np.concatenate(scores))

    def _count(self, place: Array, cells: int, first: int, last: int) -> Array:
        """Return how often each of the cells meets each level of columns `first` to `last`; cell number `cells` is left out."""
        whole = last - first == len(self.sizes)
        total: Array | None = None
        for part in self._parts():
            rows = place[part]
            hot = self.places[part] if whole else self.places[part, self.start[first] : self.start[last]].copy()
            counter = csc_array(
                (self._ones[: len(rows)], rows, self._row[: len(rows) + 1]), shape=(cells + 1, len(rows))
            )
            counts = (counter @ hot)[:-1]
            total = counts if total is None else total + counts.astype(np.int64)
        return np.zeros((cells, self.start[last] - self.start[first])) if total is None else total

    def _mask(self, child: int, parents: tuple[int, ...], scores: Array) -> Array:
        scores[[child, *parents]] = -math.inf
        return scores

    def _evaluate(self, child: int, counts: Array, q: int, first: int = 0, last: int | None = None) -> Array:
        """Return scores of columns `first` to `last` from counts `(configuration, level, place)`."""
        last = len(self.sizes) if last is None else last
        sizes, r = self.sizes[first:last], int(self.sizes[child])
        begins = self.start[first:last] - self.start[first]
        joint = (q * sizes).astype(np.float64)
        owner = self.owner[self.start[first] : self.start[last]] - first
        scores = np.add.reduceat(self._value(counts, joint[owner], r), begins)
        charged = joint
        if not self.complete:  # records whose parents are not all known share one configuration
            seen = np.add.reduceat(counts.sum(0, dtype=np.float64), begins, axis=1)
            rest = self.whole[child][:, None] - seen
            lumped = rest.sum(0) > 0
            if lumped.any():
                scores[lumped] += self._value(rest[None][:, :, lumped], joint[lumped], r)
            charged = joint + lumped
        scores -= self._charge(charged, child)
        return np.where(joint * r > MOST_CELLS, -math.inf, scores)

    def _charge(self, q: Array | float, child: int) -> Array | float:
        if self.score_name != "bic":
            return 0.0
        return self.price[child] * q

    def _value(self, counts: Array, q: Array | float, r: int) -> Array:
        """Return what counts `(configuration, level, place)` say for `q` configurations, `(places,)`."""
        if self.score_name == "bic":
            return _entropic(counts).sum((0, 1)) - _entropic(counts.sum(1, dtype=np.float64)).sum(0)
        q = np.broadcast_to(np.asarray(q, dtype=np.float64), counts.shape[2:])
        alpha = self.equivalent / (q * r) if self.score_name == "bdeu" else np.ones_like(q)
        each = counts.sum(1, dtype=np.float64)
        return _rising(counts.reshape(-1, counts.shape[-1]), alpha) - _rising(each, alpha * r)


def _entropic(counts: Array) -> Array:
    """Return `N log N`."""
    counts = counts.astype(np.float64)
    return counts * np.log(np.maximum(counts, 1))


def _rising(counts: Array, alpha: Array) -> Array:
    """Return `sum log Gamma(N + a) / Gamma(a)` of every column of counts `(cells, places)`."""
    cell, place = np.nonzero(counts)
    a = alpha[place]
    return np.bincount(place, gammaln(counts[cell, place] + a) - gammaln(a), minlength=counts.shape[1])
