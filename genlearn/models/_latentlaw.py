r"""Laws of codes, given the label if there is one: a Gaussian mixture by EM after an autoencoder, or a flow by gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .. import ranks
from ..layout import Field, Layout
from ..nn import Flow, NormalPrior, one_hot
from ._em import DenseEM
from ._mixture import Fitter, Mixture
from ._normals import Dense
from ._rows import Rows
from ._starts import Starts
from ._tasks import Task, best_count

SEARCHED, MOST = 10_000, 128  # codes and components that the search for the best number of components goes through
PASSES, GAIN = 40, 5e-3  # most passes of EM, and the gain in nats per record that is worth another one
STRENGTH, SMOOTHING = 0.5, 0.1  # pseudo-records per component: for each dimension, for the labels
PACE = 0.02  # share of a batch in the running moments
NARROWEST = 1e-4

Told = Callable[[int, int, float], None]  # components tried, passes done, nats per code


class CodesLaw(nn.Module):
    r"""Codes while nets are trained: \(N(m, \mathrm{diag}(s^2))\) at their running moments, bent by a flow where there is one.

    Arguments:
        size: Dimensions of a code.
        layers: Transforms of the flow; 0 for none.
        labels: Number of labels that the flow is told.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, size: int, layers: int, labels: int) -> None:
        super().__init__()
        self.labels, self.base = labels, NormalPrior(size)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.flow = Flow(size, layers, context=labels) if layers else None

    def follow(self, mean: Tensor, square: Tensor) -> None:
        """Move the moments towards those of a batch: means and mean squares `(size,)`."""
        self.centre.lerp_(mean, PACE)
        spread = (square - 2 * mean * self.centre + self.centre.square()).clamp_min(NARROWEST**2)
        self.scale.copy_(self.scale.square().lerp(spread, PACE).sqrt())

    def _told(self, y: Tensor | None) -> Tensor | None:
        return one_hot(y, self.labels) if self.labels else None

    def log_prob(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return `(n,)` log densities of codes `(n, size)` given their labels, nats."""
        u, log_det = (z - self.centre) / self.scale, -self.scale.log().sum()
        if self.flow is not None:
            u, bent = self.flow(u, self._told(y))
            log_det = log_det + bent
        return self.base.log_prob(u) + log_det

    def draw(self, n: int, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """Draw `(n, size)` codes given labels `(n,)`."""
        u = self.base.draw(n, rng)
        if self.flow is not None:
            u = self.flow.inverse(u, self._told(y))
        return self.centre + self.scale * u


@dataclass
class CodesMixture:
    r"""A Gaussian mixture of codes and labels, \(p(z, y) = \sum_k \pi_k N(z; \mu_k, \Sigma_k) T_k(y)\), asked for \(p(z \mid y)\).

    Components belong to several labels or to one, as EM finds them; a label of few records leans on the others.

    Arguments:
        mixture: Float64; tables of width 0 without labels.
    """

    mixture: Mixture

    def _log_weights(self, y: Tensor | None) -> Tensor:
        """Return `(n, K)` log weights given labels, or `(1, K)` without them."""
        logs = self.mixture.weights.log()[None]
        if y is not None:
            logs = logs + self.mixture.tables.log().T[y]
        return logs - torch.logsumexp(logs, 1, keepdim=True)

    def log_prob(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return `(n,)` log densities of codes `(n, d)` given their labels, nats."""
        return torch.logsumexp(self.mixture.normals.log_prob(z.double()) + self._log_weights(y), 1)

    def draw(self, n: int, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """Draw `(n, d)` codes, float32, given labels `(n,)`."""
        chances = self._log_weights(y).exp().expand(n, -1)
        which = torch.multinomial(chances, 1, generator=rng)[:, 0]
        none = torch.arange(0)
        every = torch.arange(self.mixture.normals.mean.shape[1])
        return self.mixture.normals.draw(which, torch.zeros(n, 0).double(), none, every, rng).float()


Law = CodesLaw | CodesMixture


@dataclass
class MixtureFit:
    """EM on codes.

    Arguments:
        z: `(n, d)` codes, float64.
        y: `(n,)` labels, -1 where unknown; None without them.
        labels: How many there are.
        tell: Hears of every pass.
    """

    z: Tensor
    y: Tensor | None
    labels: int
    tell: Told

    def __post_init__(self) -> None:
        fields = tuple(Field(f"z{j}", "real") for j in range(self.z.shape[1]))
        label = (Field("label", "category", levels=self.labels, role="target"),) if self.labels else ()
        self.layout = Layout((*fields, *label))
        self.x = self._joined(self.z, self.y)
        self.task = Task.of(self.x, self.layout, None)

    def _joined(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return codes with their label as the last column, NaN where unknown."""
        if y is None:
            return z.double()
        return torch.cat([z.double(), torch.where(y < 0, torch.nan, y.double())[:, None]], 1)

    def run(
        self,
        components: int | Literal["auto"],
        valid: tuple[Tensor, Tensor | None] | None,
        rng: Callable[[str], torch.Generator],
    ) -> CodesMixture:
        """Return the mixture that EM finds.

        Arguments:
            components: How many, at most one per code; `auto` tries 1, 2, 4, ... and takes what held-out codes find likeliest.
            valid: Held-out codes and labels that end EM where their score falls, and choose; None takes a fifth to choose.
            rng: Gives a generator for a purpose.
        """
        held_out = None if valid is None else self.task.rows(self._joined(*valid))
        k = self._choose(held_out, rng) if components == "auto" else min(components, len(self.z))
        found, task = self._fitted(self.task.rows(self.x), held_out, k, rng("codes"))[1], self.task
        assert isinstance(found.normals, Dense)
        covariances = found.normals.cov * task.scale[:, None] * task.scale
        return CodesMixture(
            Mixture(found.weights, Dense(found.normals.mean * task.scale + task.centre, covariances), found.tables)
        )

    def _choose(self, held_out: Rows | None, rng: Callable[[str], torch.Generator]) -> int:
        """Return the number of components under which held-out codes are likeliest."""
        places = torch.randperm(len(self.x), generator=rng("choose codes"))[:SEARCHED]
        cut = len(places) // 5 if held_out is None else 0
        learn = self.task.rows(self.x[places[cut:].sort().values])
        judges = self.task.rows(self.x[places[:cut].sort().values]) if cut else held_out
        if judges is None:
            return 1

        def judge(k: int) -> float:
            fitter, mixture = self._fitted(learn, judges, k, rng(f"codes {k}"))
            return ranks.share(fitter.score(judges, mixture))

        return best_count(judge, max(1, min(learn.n // 10, MOST)))

    def _fitted(self, rows: Rows, held_out: Rows | None, k: int, rng: torch.Generator) -> tuple[Fitter, Mixture]:
        """Return the loop that has run, and its mixture of standardised codes."""
        task = self.task
        fitter = Fitter(rows, held_out, DenseEM(STRENGTH * self.z.shape[1]), task.base, SMOOTHING, GAIN)
        start = Starts(fitter, task.scale, task.target, 0).best(k, 1, rng)
        shift = task.shift(None)
        return fitter, fitter.run(start, PASSES, lambda step, nats: self.tell(k, step, nats + shift))[0]
