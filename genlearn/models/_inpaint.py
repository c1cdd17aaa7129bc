r"""Unknown values of records under latent variable models: draws from, and means of, \(p(x_u \mid x_k)\), u unknown and k known.

Pseudo-Gibbs encodes the completed record, draws z and with it the unknown part anew: its law is \(p(x_u \mid x_k)\) if
\(q(z \mid x)\) is the posterior. Importance resampling corrects for a q that is not: the z of each sweep t is a proposal, weighted by

\[ w_t = p(x_k \mid z_t)\, p(z_t) / q_t(z_t), \]

and one of them is chosen in proportion to its weight, or all are averaged: exact as the number of sweeps grows. Either begins at one of
a few draws from the prior and from the encoder's guess, chosen by weight, as a chain that begins elsewhere may stay there.

An encoder that met whole records only says little of half a picture. Annealing goes without it: chains are led from the prior to
\(p(z \mid x_k)\) by Hamiltonian steps (`nn.annealing`), and one is chosen in proportion to its weight, or all are averaged.

References:
    Stochastic Backpropagation (Rezende et al., 2014, appendix F; pseudo-Gibbs), https://arxiv.org/abs/1401.4082
    MIWAE (Mattei & Frellsen, 2019; importance resampling), https://arxiv.org/abs/1812.02633
    Annealed Importance Sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ..counting import counted
from ..layout import Code
from ..model import How
from ..nn.annealing import Start, annealed
from ._levels import Levels
from ._means import Means

Filling = Literal["gibbs", "resample", "anneal"]

STARTS = 16  # proposals of either kind for where a chain begins
CHAINS, LAWS = 8, 30  # that are led from the prior to the posterior of what is known
WIDTH = 0.3  # of that posterior, about: chains find the sizes of their steps themselves
CELLS = 2**24  # parameters of heads that are held at once
SETTLING, COUNTED = 10, 50  # sweeps: those that forget where the chain began, and those that count


def completed(model: Any, code: Code, how: How, rng: torch.Generator, filling: Filling) -> Code:
    """Return the code with unknown values filled in; `model` has latent vectors, a `_head` and a `net_`."""
    assert code.mask is not None
    y, sampled = model._known_labels(code), how == "draw" and model.output == "sample"
    known = Code(code.x.to(torch.float64).masked_fill(~code.mask, math.nan), y)
    tally = _Tally(model, known.x, code.mask, how)
    drawn = _led(model, known, rng) if filling == "anneal" else _chain(model, known, code.mask, filling, rng)
    for z, log_w in drawn:
        head = model._head(model.net_, z, y).without_absent()
        # Means of images are smoother when they are averaged; those of tables need levels, which only draws have.
        smooth = not sampled and (how == "draw" or model.layout_.image is not None)
        tally.add(head.mean() if smooth else head.sample(rng), log_w, rng, latest=filling == "gibbs")
    return Code(tally.result(), y)


def _chain(
    model: Any, known: Code, mask: Tensor, filling: Filling, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield latent vectors `(n, latent)` of pseudo-Gibbs sweeps and log weights `(n,)`."""
    z = _start(model, known, rng)
    for sweep in counted(range(SETTLING + COUNTED)):
        head = model._head(model.net_, z[:, 0], known.y).without_absent()
        x = torch.where(mask, known.x, head.sample(rng))
        z, log_q = model._propose(Code(x, known.y), torch.randn(len(x), 1, model.latents_, generator=rng))
        if sweep >= SETTLING:
            yield (
                z[:, 0],
                _log_weight(model, known, z, log_q) if filling == "resample" else torch.zeros(len(x)).double(),
            )


def _led(model: Any, known: Code, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield latent vectors `(n, latent)` led from the prior to the posterior of what is known, and log weights `(n,)`."""
    rows = max(1, CELLS // (CHAINS * model.layout_.head_params(model.mixtures)))
    found = []
    for i in counted(range(0, len(known), rows)):
        part = known[i : i + rows]
        zero = torch.zeros(len(part), model.latents_)
        begin, widths = Start(zero, torch.ones_like(zero)), torch.full_like(zero, WIDTH)
        found.append(annealed(partial(_joint, model, part), begin, widths, steps=LAWS, chains=CHAINS, rng=rng))
    z, log_w = (torch.cat(parts) for parts in zip(*found, strict=True))
    return zip(z.unbind(1), log_w.unbind(1), strict=True)


def _joint(model: Any, known: Code, z: Tensor) -> Tensor:
    given, prior = model._log_joint(known, z)
    return given + prior  # type: ignore[no-any-return]


def _start(model: Any, known: Code, rng: torch.Generator) -> Tensor:
    """Return latent vectors `(n, 1, latent)` to begin with, drawn by weight from proposals of the prior and of the encoder."""
    shape = (len(known), 1, model.latents_)
    z, total = torch.zeros(shape), torch.full(shape[:1], -math.inf, dtype=torch.float64)
    for number in range(2 * STARTS):
        if number % 2:
            proposed, log_q = model._propose(known, torch.randn(shape, generator=rng))
            log_w = _log_weight(model, known, proposed, log_q)
        else:
            proposed = model._draw_latents(len(known), rng)[:, None]
            log_w = model._log_joint(known, proposed)[0][:, 0].double()
        total = torch.logaddexp(total, log_w)
        taken = torch.rand(shape[0], generator=rng, dtype=torch.float64) < torch.exp(log_w - total)
        z = torch.where(taken[:, None, None], proposed, z)
    return z


def _log_weight(model: Any, known: Code, z: Tensor, log_q: Tensor) -> Tensor:
    return (_joint(model, known, z) - log_q)[:, 0].double()


class _Tally:
    """One completion of many, or their mean, while they come by."""

    def __init__(self, model: Any, known: Tensor, mask: Tensor, how: How) -> None:
        self.known, self.mask, self.how = known, mask, how
        self.total = torch.full((len(known),), -math.inf, dtype=torch.float64)
        self.kept = known.clone()
        self.levels = Levels(model.layout_)
        self.means = Means(model.codec_.units, self.levels)
        self.weights = torch.zeros(len(known), self.levels.width, dtype=torch.float64)
        self.open = torch.zeros_like(known)  # weight of what is a number

    def add(self, drawn: Tensor, log_w: Tensor, rng: torch.Generator, *, latest: bool) -> None:
        """Take a completion `(n, d)` with log weights `(n,)`."""
        drawn = torch.where(self.mask, self.known, drawn.to(torch.float64))
        self.total = torch.logaddexp(self.total, log_w)
        share = torch.exp(log_w - self.total)[:, None]
        if self.how == "draw":
            taken = torch.ones_like(share) if latest else share
            self.kept = torch.where(torch.rand(share.shape, generator=rng) < taken, drawn, self.kept)
            return
        self.weights += share * (self.levels.one_hot(drawn[:, self.levels.columns]) - self.weights)
        value = drawn.clone()
        for j in range(value.shape[1]):
            if (curve := self.means.curve(j)) is not None:
                value[:, j] = curve(drawn[:, j])
        there = torch.isfinite(value).double()
        self.open += share * (there - self.open)
        # The mean of numbers over those completions in which they are there.
        part = torch.where(there > 0, share / self.open.clamp_min(1e-300), 0.0)
        before = torch.where(torch.isfinite(self.kept) & (self.open > 0), self.kept, 0.0)
        self.kept = before + part * (torch.nan_to_num(value) - before)

    def result(self) -> Tensor:
        """Return the completed codes."""
        if self.how == "draw":
            return self.kept
        x = torch.where(self.mask, self.known, self.kept)
        for i, j in enumerate(self.levels.columns):
            own = slice(int(self.levels.start[i]), int(self.levels.start[i]) + self.levels.counts[i])
            x[:, j] = torch.where(self.mask[:, j], self.known[:, j], self.weights[:, own].argmax(1).double())
        if self.how == "mean":
            x = self.means.put(x, ~self.mask, self.weights)
        return x
