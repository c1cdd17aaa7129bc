r"""Records with many patterns of missing numbers: all patterns of a chunk at once, in batches of small matrices.

Where a pattern has few records, one product per pattern is a loop over records. Here the missing part of every covariance is
replaced by the identity, so that the inverse of a pattern's observed part is a batched Cholesky factorisation of equal sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._normals import LOG_2PI, Dense

CELLS = 2**21  # entries of matrices that are worked on at a time


class Ragged:
    """One group of records that miss numbers in many ways.

    Arguments:
        normals: The components.
    """

    def __init__(self, normals: Dense) -> None:
        self.normals = normals
        k, d = normals.mean.shape
        zeros = normals.mean.new_zeros
        self.total, self.first, self.second = zeros(k), zeros(k, d), zeros(k, d, d)

    @staticmethod
    def step(k: int, d: int) -> int:
        """Return how many records make a chunk."""
        return max(1, CELLS // max(1, k * d * d))

    def density(self, x: Tensor) -> Tensor:
        """Return `(n, K)` log densities of a chunk `(n, d)` with NaN where a number is missing."""
        mean, cov = self.normals.mean, self.normals.cov
        kinds, self.which = torch.unique(~torch.isnan(x), dim=0, return_inverse=True)
        self.shown = kinds.double()[:, None]  # (P, 1, d)
        both = self.shown[:, :, :, None] * self.shown[:, :, None]
        lower = torch.linalg.cholesky(torch.where(both > 0, cov, torch.eye(len(cov[0]), dtype=cov.dtype)))
        self.inverse = torch.cholesky_inverse(lower) * both  # (P, K, d, d), of the observed part
        log_det = 2 * lower.diagonal(dim1=2, dim2=3).log().sum(2)
        self.x, present = torch.nan_to_num(x.double()), self.shown[self.which]
        self.away = (self.x[:, None] - mean) * present
        self.solved = (self.inverse[self.which] @ self.away[:, :, :, None])[:, :, :, 0]
        distance = (self.solved * self.away).sum(2)
        return -0.5 * (distance + log_det[self.which] + present.sum(2) * LOG_2PI)

    def add(self, r: Tensor) -> None:
        """Add the last chunk with responsibilities `(n, K)`: missing numbers count with their mean and covariance."""
        mean, cov = self.normals.mean, self.normals.cov
        r, present = r.double(), self.shown[self.which]
        guess = mean + torch.einsum("kij,nkj->nki", cov, self.solved)
        filled = torch.where(present > 0, self.x[:, None], guess)
        weighted = filled * r[:, :, None]
        self.total += r.sum(0)
        self.first += weighted.sum(0)
        self.second += torch.einsum("nki,nkj->kij", weighted, filled)
        share = r.new_zeros(len(self.shown), r.shape[1]).index_add_(0, self.which, r)
        gaps = 1 - self.shown
        left = (cov - cov @ self.inverse @ cov) * gaps[:, :, :, None] * gaps[:, :, None]
        self.second += torch.einsum("pk,pkij->kij", share, left)
