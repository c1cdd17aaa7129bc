r"""A codebook of vectors, learned as the centres of moving clusters, and the codes that a record is nearest to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import ranks
from ..nn.masked import Autoregression


class Codebook(nn.Module):
    r"""K vectors, each the moving average of what it is nearest to.

    After a step with sets \(S_k\) of vectors nearest to entry k, \(N_k \leftarrow \delta N_k + (1 - \delta) |S_k|\),
    \(m_k \leftarrow \delta m_k + (1 - \delta) \sum_{v \in S_k} v\), and the entry is \(m_k / N_k\): with decay \(\delta = 0\)
    a step of k-means. Entries that hardly anything is nearest to are moved to vectors of the batch.

    Arguments:
        size: K.
        dim: Numbers in a vector.
        decay: \(\delta\).
        revive: Share of the mean use below which an entry is moved; 0 for never.

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017, appendix A), https://arxiv.org/abs/1711.00937
        Jukebox (Dhariwal et al., 2020; restarts), https://arxiv.org/abs/2005.00341
    """

    entries: Tensor
    mass: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int, *, decay: float = 0.99, revive: float = 0.1) -> None:
        super().__init__()
        self.decay, self.revive = decay, revive
        self.register_buffer("entries", torch.randn(size, dim))
        self.register_buffer("mass", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self._seen: list[Any] = []  # since the last update

    def distances(self, vectors: Tensor) -> Tensor:
        """Return squared distances `(..., K)` of `(..., dim)`, less the squared length of each vector."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self.entries.square().sum(1) - 2 * vectors.float() @ self.entries.T

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the numbers `(...)` of the nearest entries."""
        return self.distances(vectors).argmin(-1)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the entries `(..., dim)` of codes `(...)`."""
        return nn.functional.embedding(codes, self.entries)

    def perplexity(self) -> Tensor:
        r"""Return \(\exp(-\sum_k p_k \log p_k)\) of the moving use: how many entries are in even use, 1 to K."""
        share = self.mass / self.mass.sum().clamp_min(1e-12)
        return torch.exp(torch.special.entr(share).sum())

    @torch.no_grad()
    def observe(self, vectors: Tensor, codes: Tensor, spare: Tensor | None = None) -> None:
        """Take note of vectors `(..., dim)` and of what they are nearest to.

        Arguments:
            vectors: Those of this process.
            codes: `(...)`.
            spare: `(m, dim)`, the same in all processes, for entries that are not in use; None moves none.
        """
        member = nn.functional.one_hot(codes.flatten(), len(self.mass)).float()
        with torch.autocast(vectors.device.type, enabled=False):
            self._seen.append((member.sum(0), member.T @ vectors.float().flatten(0, -2), spare))

    @torch.no_grad()
    def update(self) -> None:
        """Move the entries to the means of what was observed since the last time, in all processes alike."""
        counts, sums = sum(s[0] for s in self._seen), sum(s[1] for s in self._seen)
        spare, self._seen = self._seen[-1][2], []
        ranks.add_up([counts, sums])
        self.mass.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        used = self.mass > 1e-5 * self.mass.mean()
        self.entries.copy_(torch.where(used[:, None], self.sums / self.mass.clamp_min(1e-20)[:, None], self.entries))
        if spare is not None and self.revive:
            self._restart(spare)

    def _restart(self, spare: Tensor) -> None:
        """Move entries that are hardly used to spare vectors, as many as there are."""
        dead = (self.mass < self.revive * self.mass.mean()).nonzero()[: len(spare), 0]
        self.entries[dead] = spare[: len(dead)]
        self.mass[dead] = self.mass.mean()
        self.sums[dead] = self.entries[dead] * self.mass[dead, None]


def likeliest(distances: Tensor, count: int) -> Tensor:
    r"""Return the `count` sequences of codes with the least sums of distances, all different, the nearest one first.

    Arguments:
        distances: `(n, places, K)`.
        count: How many; all \(K^{places}\) if that is fewer.

    Returns:
        `(n, count, places)`.

    Example:
        >>> likeliest(torch.tensor([[[0.0, 1.0], [0.5, 0.0]]]), 3).tolist()
        [[[0, 1], [0, 0], [1, 1]]]
    """
    n, places, size = distances.shape
    each, codes = distances.topk(min(count, size), 2, largest=False)
    total, found = distances.new_zeros(n, 1), codes.new_zeros(n, 1, 0)
    for place in range(places):
        # The best beginnings of the best sequences are among the best beginnings.
        sums = (total[:, :, None] + each[:, place, None]).flatten(1)
        total, kept = sums.topk(min(count, sums.shape[1]), 1, largest=False)
        parent, last = kept // each.shape[2], kept % each.shape[2]
        before = found.gather(1, parent[:, :, None].expand(-1, -1, place))
        found = torch.cat([before, codes[:, place].gather(1, last)[:, :, None]], 2)
    return found


def passed_through(vectors: Tensor, near: Tensor) -> Tensor:
    """Return the entries `near`, with the gradient of what they stand for."""
    return vectors + (near - vectors).detach()


def candidates(
    prior: Autoregression, codes: Tensor, free: Tensor, h: Tensor | None, count: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw what may stand in place of the free codes, from the prior given the codes before each.

    Arguments:
        prior: The law of codes.
        codes: `(n, T)` as they are.
        free: `(n, T)`, True where a code is to be drawn.
        h: `(n, 1 + count, c)`, conditions of what there is and of each candidate; None without.
        count: Candidates for each.
        rng: Where randomness comes from.

    Returns:
        `(n, 1 + count, T)`: what there is, then the candidates; and `(n, 1 + count)`: log probabilities of the codes that are not
        free, each given those before it: the weights under which draws follow the law of all codes.
    """
    n = len(codes)
    own, others = (None, None) if h is None else (h[:, 0], h[:, 1:].flatten(0, 1))
    drawn, kept = prior.draw(
        n * count, rng, others, kept=codes.repeat_interleave(count, 0), free=free.repeat_interleave(count, 0)
    )
    before = prior.each(codes, own).masked_fill(free, 0.0).sum(1, keepdim=True)
    every = torch.cat([codes[:, None], drawn.view(n, count, -1)], 1)
    return every, torch.cat([before, kept.view(n, count)], 1)
