"""Forests that tell real records from synthetic ones: the adversary, and the synthetic records that it meets."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from ._forest import Trees
from ._normals import standard


@dataclass(frozen=True)
class Grower:
    """Grows forests that tell real records from synthetic ones.

    Arguments:
        features: `(n, d)` features of the real records, without NaN.
        units: Columns that move together.
        trees: Number of trees.
        least: Fewest real records of a leaf.
    """

    features: Tensor
    units: list[list[int]]
    trees: int
    least: int

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centre and scale of every column, and its smallest number: what is absent lies below."""
        numbers = torch.where(torch.isinf(self.features), torch.nan, self.features)
        centre, scale = standard(numbers)
        smallest = torch.nan_to_num((numbers - centre) / scale, nan=torch.inf).amin(0)
        return centre, scale, torch.where(torch.isinf(smallest), 0.0, smallest)

    def _plain(self, features: Tensor) -> np.ndarray:
        """Return what scikit-learn takes: standardised float32, the absent below everything else."""
        centre, scale, smallest = self._scale
        z = (features - centre) / scale
        return torch.where(torch.isinf(z), smallest - 1, z).float().numpy()

    def grow(self, synthetic: Tensor, seed: int) -> tuple[Trees, float]:
        """Return a forest against synthetic records, and its accuracy on records that its trees did not see."""
        real, fake = self._plain(self.features), self._plain(synthetic)
        forest = RandomForestClassifier(
            self.trees, min_samples_leaf=self.least, oob_score=True, random_state=seed, n_jobs=torch.get_num_threads()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few trees: some records were seen by all of them
            forest.fit(np.concatenate([real, fake]), np.repeat([1, 0], [len(real), len(fake)]))
        votes = forest.oob_decision_function_
        voted = votes.sum(1) > 0
        right = (votes[:, 1] > votes[:, 0]) == (np.arange(len(votes)) < len(real))
        accuracy = float(np.where(votes[:, 1] == votes[:, 0], 0.5, right)[voted].mean()) if voted.any() else 0.5
        trees = Trees.read(forest.estimators_, real, self.least)
        centre, scale, smallest = self._scale
        column = trees.feature.long().clamp_min(0)
        below = trees.threshold < smallest[column]  # it parts the absent from the numbers, no number from another
        threshold = (trees.threshold * scale[column] + centre[column]).masked_fill(below, -torch.inf)
        return Trees(trees.feature, threshold, trees.count), accuracy

    def permuted(self, rng: torch.Generator) -> Tensor:
        """Return synthetic records whose columns are independent."""
        out = torch.empty_like(self.features)
        for unit in self.units:
            out[:, unit] = self.features[torch.randperm(len(out), generator=rng)][:, unit]
        return out

    def from_leaves(self, trees: Trees, rng: torch.Generator) -> Tensor:
        """Return synthetic records whose columns are independent within the leaves of a forest."""
        out = torch.empty_like(self.features)
        tree = torch.randint(trees.count, (len(out),), generator=rng)
        for t in range(trees.count):
            rows = torch.nonzero(tree == t)[:, 0]
            leaf = trees.leaf_of(self.features, t)
            members = torch.argsort(leaf, stable=True)
            count = torch.bincount(leaf, minlength=trees.leaves)
            first = count.cumsum(0) - count
            own = leaf[rows]
            u = torch.rand(len(rows), len(self.units), dtype=torch.float64, generator=rng)
            donor = members[first[own][:, None] + (u * count[own][:, None]).long()]
            for i, unit in enumerate(self.units):
                out[rows[:, None], unit] = self.features[donor[:, i : i + 1], unit]
        return out
