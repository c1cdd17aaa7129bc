"""The laws inside the leaves of a forest, from the records that they hold."""

from __future__ import annotations

import torch
from torch import Tensor

from ._boxlaws import Leaves, allowed, number_ends, truncated_moments
from ._forest import Features, Trees

PRIOR = 0.2  # pseudo-records behind the variance of a leaf
STEPS = 8  # steps towards the moments of a truncated normal


def fit_leaves(
    features: Features, trees: Trees, x: Tensor, completed: Tensor, smoothing: float
) -> tuple[Leaves, Tensor]:
    """Return the laws of the leaves of a forest, and how many records each holds.

    Arguments:
        features: How codes become features.
        trees: The forest.
        x: `(n, d)` codes.
        completed: `(n, d)` their features without NaN.
        smoothing: Pseudo-records a.
    """
    numbers = features.layout.columns("real")
    v = x[:, numbers].double()
    shown = (~torch.isnan(v)).double()
    v = torch.nan_to_num(v)
    m = v.sum(0) / shown.sum(0).clamp_min(1)
    v = (v - m) * shown  # around their mean, for the sake of the squares
    held, sums = leaf_sums(trees, completed, [shown, v, v.square()])
    low, high = number_ends(trees.boxes(features.layout.size), numbers)
    mean, sd, s = _normals(sums, (low - m, high - m), v, shown)
    overall, share = torch.stack([m, s]), (smoothing / (held + smoothing)).float()
    tables = level_tables(features, trees, x, completed, smoothing, boxed=True)
    return Leaves(features, tables, (mean + m).float(), overall, trees, sd.float(), share), held


def leaf_sums(trees: Trees, completed: Tensor, terms: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return how many records every leaf holds `(K,)`, and sums of terms `(n, d)` over them, `(K, d)`."""
    held = torch.zeros(trees.leaves, dtype=torch.float64)
    sums = [torch.zeros(trees.leaves, t.shape[1], dtype=torch.float64) for t in terms]
    for t in range(trees.count):
        leaf = trees.leaf_of(completed, t)
        held += torch.bincount(leaf, minlength=trees.leaves)
        for total, term in zip(sums, terms, strict=True):
            total.index_add_(0, leaf, term)
    return held, sums


def level_tables(
    features: Features, trees: Trees, x: Tensor, completed: Tensor, smoothing: float, boxed: bool = False
) -> Tensor:
    """Return smoothed frequencies of levels in every leaf, `(K, width)` float32; where `boxed`, of those that the box holds."""
    levels = features.levels
    counts = torch.zeros(trees.leaves * levels.width)
    places = [torch.nan_to_num(x[:, j].double(), nan=-1.0).long() for j in levels.columns]
    for t in range(trees.count):
        first = trees.leaf_of(completed, t) * levels.width
        for start, place in zip(levels.start.tolist(), places, strict=True):
            known = place >= 0
            cell = (first + place)[known] + start
            counts.index_add_(0, cell, torch.ones(len(cell)))
    prior = levels.share((levels.count(x[:, levels.columns]) + 0.5)[None]).float()
    if boxed:
        prior = levels.share(allowed(features, trees.boxes(features.layout.size)) * prior)
    return levels.share(counts.view(trees.leaves, levels.width) + smoothing * prior)


def _normals(
    sums: list[Tensor], ends: tuple[Tensor, Tensor], v: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return means and deviations of truncated normals with the moments of their leaves, and the deviations of all numbers."""
    count, first, second = sums
    variance = v.square().sum(0) / shown.sum(0).clamp_min(1)
    s = torch.where(variance > 1e-18, variance, 1.0).sqrt()
    n = count.clamp_min(1)
    low, high = ends
    middle = torch.where(count > 0, first / n, torch.zeros_like(n).clamp(low, high))
    scatter = (second - count * middle.square()).clamp_min(0)
    pooled = (scatter.sum(0) / (count.sum(0) - (count > 0).sum(0)).clamp_min(1)).clamp_min(1e-6 * s.square())
    wanted = (scatter + PRIOR * pooled) / (count + PRIOR)
    mean, sd = middle.clone(), wanted.sqrt()
    for _ in range(STEPS):  # towards the moments of the leaf: they are those of the likelihood's maximum
        got, spread = truncated_moments(mean, sd, low, high)
        mean = torch.maximum(torch.minimum(mean + (middle - got), middle + 3 * s), middle - 3 * s)
        sd = (sd * (wanted / spread.clamp_min(1e-12 * wanted)).sqrt().clamp(0.5, 2)).clamp_max(3 * s)
    return mean, sd, s
