"""Where EM starts: k-means++ clusters of a part of the records, judged after a few passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._em import DenseEM
from ._levels import Levels
from ._mixture import Fitter, Mixture
from ._normals import Dense, Factored, Normals
from ._rows import Matrix, gathered

SEEDING = 5_000_000  # numbers that k-means sees: a part of the records will do to seed clusters
LABEL_PULL = 20.0  # squared distance of two labels against the spread of everything else, when clusters are seeded
TRIAL = 5  # passes after which starts are judged


class Starts:
    """Starting mixtures for EM.

    Arguments:
        fitter: What will go on from them.
        scale: Standard deviation of every number in code units, `(d,)`.
        target: Place of the label among the discrete columns, or None.
        rank: Factors per component, 0 where components have none.
    """

    def __init__(self, fitter: Fitter, scale: Tensor, target: int | None, rank: int) -> None:
        self.fitter, self.scale, self.target, self.rank = fitter, scale, target, rank
        self.numbers, self.discrete = fitter.rows.numbers, fitter.rows.discrete
        self.levels: Levels = fitter.rows.levels

    def best(self, k: int, count: int, rng: torch.Generator) -> Mixture:
        """Return the best of several starts with `k` components."""
        fitter = self.fitter
        places = self._some(k, rng)
        traits = self.traits(gathered(self.numbers, places), gathered(self.discrete, places))
        weights = None if fitter.rows.weights is None else fitter.rows.weights[places]
        best: tuple[Mixture, Tensor | None] | None = None
        best_score, nats = -float("inf"), 0.0
        for _ in range(count):
            mixture = self._from_centres(clusters(traits, k, rng, weights), traits, places)
            for _ in range(TRIAL if count > 1 else 0):
                nats, mixture = fitter.sweep(fitter.rows, mixture)
            if best is None or nats > best_score:
                best, best_score = (mixture, fitter.statistics.target), nats
        assert best is not None
        fitter.statistics.target = best[1]  # every start centres the prior on its own clusters
        return best[0]

    def traits(self, numbers: Tensor, discrete: Tensor) -> Tensor:
        """Return `(n, features)` for k-means: numbers in code units, levels one-hot, the label so that it separates."""
        levels = self.levels
        spread = max(float(self.scale.square().sum()) + 0.5 * len(levels.counts), 1.0)
        weight = torch.full((levels.width,), 0.5**0.5)
        if self.target is not None:
            first = int(levels.start[self.target])
            weight[first : first + levels.counts[self.target]] = (LABEL_PULL * spread) ** 0.5
        shown = (torch.nan_to_num(numbers.double()) * self.scale).float()
        return torch.cat([shown, levels.one_hot(discrete, torch.float32) * weight], 1)

    def _some(self, k: int, rng: torch.Generator) -> Tensor:
        """Return the places of the records that seed clusters, in order."""
        n, width = self.fitter.rows.n, len(self.scale) + self.levels.width
        count = max(20 * k, SEEDING // max(1, width))
        return torch.arange(n) if n <= count else torch.randint(n, (count,), generator=rng).unique()

    def _from_centres(self, centres: Tensor, traits: Tensor, places: Tensor) -> Mixture:
        """Return the mixture that the nearest centres give."""
        fitter, (k, d) = self.fitter, (len(centres), len(self.scale))
        em, dtype = fitter.statistics, torch.float64
        normals: Normals
        mean = torch.zeros(k, d, dtype=dtype)
        if isinstance(em, DenseEM):
            normals = Dense(mean, torch.eye(d, dtype=dtype).repeat(k, 1, 1))
        else:
            normals = Factored(mean, torch.zeros(k, d, 0, dtype=dtype), torch.ones(k, d, dtype=dtype))
        even = Mixture(torch.full((k,), 1 / k, dtype=dtype), normals, torch.ones(k, self.levels.width, dtype=dtype))

        def nearest(joint: Tensor, rows: Tensor) -> Tensor:
            return closest(self.traits(self.numbers[rows], self.discrete[rows]), centres)

        em.target = None
        mixture = fitter.sweep(fitter.rows, even, nearest)[1]
        em.centre_prior(mixture.weights, mixture.normals)  # type: ignore[arg-type]
        mixture = fitter.again()
        if self.rank:
            labels = closest(traits, centres)
            mixture.normals = _local_factors(mixture.normals, self.numbers, places, labels, self.rank)
        return mixture


def clusters(x: Tensor, k: int, rng: torch.Generator, weights: Tensor | None = None, passes: int = 10) -> Tensor:
    """Return `(k, d)` centres by k-means++ and a few passes of Lloyd's algorithm.

    References:
        k-means++: the advantages of careful seeding (Arthur & Vassilvitskii, 2007), http://ilpubs.stanford.edu:8090/778/
    """
    heavy = torch.ones(len(x)) if weights is None else (weights / weights.max()).float()
    centres = x[torch.multinomial(heavy, 1, generator=rng)]
    length = x.square().sum(1)
    nearest = torch.full_like(length, torch.inf)
    while len(centres) < k:
        distance = length - 2 * (x @ centres[-1]) + centres[-1].square().sum()
        nearest = torch.minimum(nearest, distance.clamp_min(0))
        chances = (nearest.double() + 1e-12) * heavy
        centres = torch.cat([centres, x[torch.multinomial(chances, 1, generator=rng)]])
    for _ in range(passes):
        labels = closest(x, centres)
        counts = torch.zeros(k).index_add_(0, labels, heavy)
        sums = torch.zeros_like(centres).index_add_(0, labels, x * heavy[:, None])
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1e-30), centres)
    return centres


def closest(x: Tensor, centres: Tensor) -> Tensor:
    """Return the index of the nearest centre of every row, `(n,)`."""
    return (centres.square().sum(1) - 2 * (x @ centres.T)).argmin(1)


def _local_factors(normals: Any, x: Matrix, places: Tensor, labels: Tensor, rank: int, most: int = 500) -> Factored:
    """Return the components with factors from a principal component analysis of every cluster.

    Arguments:
        normals: The components, without factors.
        x: Numbers of all records.
        places: Some of the records.
        labels: Their clusters.
        rank: Factors per component.
        most: Records of a cluster that are looked at.
    """
    k, d = normals.mean.shape
    factors = torch.zeros(k, d, rank, dtype=torch.float64)
    noise = normals.noise.clone()
    for c in range(k):
        part = torch.nan_to_num(x[places[labels == c][:most]].double() - normals.mean[c])
        q = min(rank, len(part) - 1)
        if q < 1:
            continue
        values, vectors = torch.linalg.eigh(part @ part.T / len(part))
        values, vectors = values.flip(0)[:q].clamp_min(1e-12), vectors.flip(1)[:, :q]
        rest = (noise[c].sum() - values.sum()).clamp_min(0) / d
        directions = part.T @ vectors / (values * len(part)).sqrt()
        factors[c, :, :q] = directions * (values - rest).clamp_min(1e-6).sqrt()
        noise[c] = torch.maximum(noise[c] - factors[c].square().sum(1), 0.05 * noise[c])
    # Factors that a small cluster leaves at zero would stay there: EM needs a direction to start from.
    idle = factors.square().sum(1, keepdim=True) == 0
    start = 1e-2 * torch.cos(torch.arange(d)[:, None] * torch.arange(1, rank + 1) * 1.7)
    factors = torch.where(idle, start.double(), factors)
    return Factored(normals.mean, factors, noise)
