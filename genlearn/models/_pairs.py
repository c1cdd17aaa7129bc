"""Pairs of records and components, those of a record one after the other: shares, choices and averages."""

from __future__ import annotations

import torch
from scipy.sparse import csr_array
from torch import Tensor


def shares(rows: Tensor, log_weight: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the share of every pair among those of its record, and the log of the sum of weights of every record `(n,)`."""
    top = torch.full((n,), -torch.inf, dtype=torch.float64).scatter_reduce_(0, rows, log_weight, "amax")
    impossible = torch.isinf(top)
    weight = torch.exp(log_weight - top.masked_fill(impossible, 0.0)[rows])
    weight = weight + impossible[rows]  # no leaf explains the record: none is better than another
    total = torch.zeros(n, dtype=torch.float64).index_add_(0, rows, weight)
    return weight / total[rows], top + total.clamp_min(1e-300).log()


def choose(rows: Tensor, weight: Tensor, rng: torch.Generator | None) -> Tensor:
    """Return one pair of every record: drawn by weight, or without `rng` the heaviest."""
    counts = torch.unique_consecutive(rows, return_counts=True)[1]
    last = counts.cumsum(0) - 1
    if rng is None:
        order = torch.argsort(weight, stable=True)
        order = order[torch.argsort(rows[order], stable=True)]
        return order[last]
    u = torch.rand(len(counts), dtype=torch.float64, generator=rng)
    at = torch.searchsorted(weight.cumsum(0), torch.arange(len(counts)) + u, right=True)
    return torch.minimum(torch.maximum(at, last - counts + 1), last)


def averaged(rows: Tensor, leaf: Tensor, weight: Tensor, n: int, tables: Tensor) -> Tensor:
    """Return the tables of leaves, averaged by weight for every record, `(n, width)`."""
    pairs = csr_array((weight.float().numpy(), (rows.numpy(), leaf.numpy())), shape=(n, len(tables)))
    return torch.from_numpy(pairs @ tables.numpy()).double()
