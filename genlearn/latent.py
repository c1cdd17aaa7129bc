r"""The capability of models with latent vectors: bounds on \(\log p(x) = \log \int p(x, z)\, dz\), one tighter than the other.

A model gives \(\log p(x, z)\) and a proposal \(q(z \mid x)\); with \(w_k = p(x, z_k) / q(z_k \mid x)\)

| bound | value | |
|---|---|---|
| ELBO | \(\frac1K \sum_k \log w_k\) | what training maximises |
| IW-K | \(\log \frac1K \sum_k w_k\) | importance-weighted |
| AIS-T | \(\log \frac1C \sum_c w_c\), chains led over T laws to the posterior | for posteriors that q misses |

Each is a lower bound on average over its own draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from .counting import counted
from .errors import Problem
from .layout import Code
from .nn.annealing import Start, annealed

CELLS = 2**21  # values that decoders hold at once
MOMENTS = 64  # draws that tell where chains start
BLIND = 16  # draws of the prior
FEWEST = 0.01  # least standard deviation of a chain's start
DEQUANTISATION_DRAWS = 8

From = Literal["posterior", "prior"]


@dataclass(frozen=True)
class Estimate:
    """One bound on the log density of some records.

    Arguments:
        values: `(n,)` nats per record, in data units.
        errors: `(n,)` Monte Carlo standard error of each.
    """

    values: np.ndarray
    errors: np.ndarray

    @property
    def value(self) -> float:
        """Mean over records."""
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Monte Carlo standard error of the mean: the luck of the draws."""
        return float(np.sqrt(np.square(self.errors).sum()) / len(self.errors))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean over records: the luck of the records and of the draws."""
        half = 1.96 * float(self.values.std(ddof=1)) / math.sqrt(len(self.values)) if len(self.values) > 1 else math.inf
        return self.value - half, self.value + half

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f} {high:.2f}] (Monte Carlo error {self.error:.3f})"


@dataclass(frozen=True)
class Bounds:
    """Lower bounds on the mean log density of records, nats per record.

    Arguments:
        reconstruction: \\(\\log p(x \\mid z)\\) on average over the proposal, the first part of the ELBO.
        blind: Importance-weighted over a few draws of the prior: what decoding without a look at the record gives.
        elbo: The evidence lower bound.
        iw: The importance-weighted bound.
        ais: The bound of annealed importance sampling; None if it was not asked for.
        draws: K of the importance-weighted bound.
        laws: T of the annealed one.
        chains: Its chains.
    """

    reconstruction: Estimate
    blind: Estimate
    elbo: Estimate
    iw: Estimate
    ais: Estimate | None
    draws: int
    laws: int
    chains: int

    @property
    def kl(self) -> float:
        """Nats per record that the latent vector costs: what the ELBO lacks of the reconstruction."""
        return self.reconstruction.value - self.elbo.value

    @property
    def named(self) -> dict[str, Estimate]:
        """The estimates by name, loosest first."""
        found = {"ELBO": self.elbo, f"IW-{self.draws}": self.iw}
        return found if self.ais is None else {**found, f"AIS-{self.laws}": self.ais}

    def __repr__(self) -> str:
        return "\n".join(f"{name:<8} {estimate!r}" for name, estimate in self.named.items())


class Latent:
    """Capability: a latent variable model that knows its joint density and a proposal for the posterior."""

    verb: ClassVar[str] = "bound a log density"
    lacks: ClassVar[str] = "has no latent variables to sum out."

    @final
    @torch.no_grad()
    def bounds(
        self: Any, data: Any, y: Any = None, *, draws: int = 100, ais: int = 0, chains: int = 8,
        start: From = "posterior", random_state: int = 0,
    ) -> Bounds:  # fmt: skip
        """Return lower bounds on the log density of records: ELBO, importance-weighted and, if asked for, annealed.

        Arguments:
            data: Records in the form of `fit`.
            y: Labels, if they are apart.
            draws: Draws of the proposal per record, K.
            ais: Laws that chains are led over; 0 leaves annealing out. A few hundred take minutes for a hundred images.
            chains: Chains per record.
            start: Where chains begin: at a normal law with the moments of the proposal, or at the standard normal one.
            random_state: Seed of all draws.
        """
        self._check_fitted()
        for name, value, least in (("draws", draws, 1), ("ais", ais, 0), ("chains", chains, 1)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise Problem(f"{name} must be a whole number of at least {least}, not {value!r}.")
        if start not in ("posterior", "prior"):
            raise Problem(f'start must be posterior or prior, not "{start}".')
        records = self._records_of(data, y)
        if not len(records):
            raise Problem("there are no records to score. Give at least one.")
        rng = self._fresh_rng(random_state)

        def of(code: Code) -> Tensor:
            found = _importance(self, code, int(draws), rng)
            more = _annealing(self, code, int(ais), int(chains), start, rng) if ais else found[:0]
            return torch.cat([found, more])

        width = max(1, self.layout_.head_size) * (chains if ais else 1)
        parts = [self._bounds_of(block, of) for _, block in records.blocks(max(1, CELLS // width))]
        rows = torch.cat(parts, 2).numpy()
        reconstruction, blind, elbo, iw, *rest = (Estimate(values, errors) for values, errors in rows)
        annealed = rest[0] if rest else None
        return Bounds(reconstruction, blind, elbo, iw, annealed, int(draws), int(ais), int(chains) if ais else 0)

    @final
    @torch.no_grad()
    def draw_latents(self: Any, n: int, *, random_state: int | None = None) -> np.ndarray:
        """Draw `(n, latent)` float32 vectors from the prior."""
        self._check_fitted()
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise Problem(f"n must be a whole number of at least 1, not {n!r}.")
        return self._draw_latents(int(n), self._fresh_rng(random_state)).cpu().float().numpy()

    @final
    @torch.no_grad()
    def layer_kl(self: Any, data: Any, y: Any = None, *, draws: int = 8, random_state: int = 0) -> np.ndarray:
        r"""Return `(layers,)` nats per record that each layer of latent vectors costs, from the top; one entry without a hierarchy.

        That is \(\mathbb{E}_q[\log q(z_l) - \log p(z_l)]\), each law given the layers that it depends on.
        """
        self._check_fitted()
        records, rng = self._records_of(data, y), self._fresh_rng(random_state)
        if not len(records):
            raise Problem("there are no records to encode. Give at least one.")
        total: Any = 0.0
        for _, block in records.blocks(max(1, CELLS // max(1, self.layout_.head_size * draws))):
            code = self.codec_.transform(self.codec_.parse(block))
            code.y = self._known_labels(code)
            eps = torch.randn(len(code), draws, self.latents_, generator=rng)
            total += self._gaps(code, eps).double().mean(1).sum(0)
        return (total / len(records)).cpu().numpy()  # type: ignore[no-any-return]

    def _bounds_of(self: Any, block: Any, of: Callable[[Code], Tensor]) -> Tensor:
        """Return `(bounds, 2, n)` values and errors of records, over dequantisation noise and unknown labels."""
        raw = self.codec_.parse(block)
        shifts: list[Tensor | None] = [None]
        if self.codec_.kind != "exact":
            rng = self._rng("score")
            shifts = [torch.rand(self.layout_.size, generator=rng) for _ in range(DEQUANTISATION_DRAWS)]
        each = []
        for noise in counted(shifts):
            code = self.codec_.transform(raw, noise=noise)
            found = _over_labels(self, code, of)
            found[:, 0] += code.log_det - math.log(len(shifts))
            each.append(found)
        return _mixed(torch.stack(each))

    # -- hooks -------------------------------------------------------------------------------------------------------
    def _propose(self, code: Code, eps: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return latent vectors `(n, k, latent)` from normal noise of that shape, and their \(\log q(z \mid x, y)\) `(n, k)`."""
        raise TypeError(f"{type(self).__name__} must define _propose")

    def _log_joint(self, code: Code, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return \(\log p(x \mid z, y)\) and \(\log p(z \mid y)\) of latent vectors `(n, k, latent)`, `(n, k)` each.

        Gradients flow to z.
        """
        raise TypeError(f"{type(self).__name__} must define _log_joint")

    def _gaps(self, code: Code, eps: Tensor) -> Tensor:
        r"""Return \(\log q - \log p\) of every layer of latent vectors, `(n, k, layers)`: one layer, unless a model has more."""
        z, log_q = self._propose(code, eps)
        return (log_q - self._log_joint(code, z)[1])[..., None]

    def _draw_latents(self: Any, n: int, rng: torch.Generator) -> Tensor:
        """Draw `(n, latent)` vectors from the prior, standard normal unless a model knows better."""
        return torch.randn(n, self.latents_, generator=rng)


def _importance(model: Any, code: Code, draws: int, rng: torch.Generator) -> Tensor:
    """Return `(4, 2, n)`: reconstruction, blind, ELBO and importance-weighted bound, values and Monte Carlo errors."""
    at_once = max(1, CELLS // (len(code) * max(1, model.layout_.head_size)))
    parts = []
    for first in range(0, draws, at_once):
        eps = torch.randn(len(code), min(at_once, draws - first), model.latents_, generator=rng)
        z, log_q = model._propose(code, eps)
        given, prior = model._log_joint(code, z)
        parts.append(torch.stack([given, given + prior - log_q]).double())
    given, log_w = torch.cat(parts, 2)
    prior = torch.stack([model._draw_latents(len(code), rng) for _ in range(min(draws, BLIND))], 1)
    blind = model._log_joint(code, prior)[0].double()
    return torch.stack([_mean(given), _log_mean(blind), _mean(log_w), _log_mean(log_w)])


def _annealing(model: Any, code: Code, laws: int, chains: int, start: From, rng: torch.Generator) -> Tensor:
    """Return `(1, 2, n)`: the annealed bound, values and Monte Carlo errors."""
    eps = torch.randn(len(code), MOMENTS, model.latents_, generator=rng)
    eps = (eps - eps.mean(1, keepdim=True)) / eps.std(1, keepdim=True)  # the moments of normal proposals come out exact
    z, _ = model._propose(code, eps)
    mean, sd = z.mean(1), z.std(1).clamp(min=FEWEST)
    begin = Start(mean, sd) if start == "posterior" else Start(torch.zeros_like(mean), torch.ones_like(sd))
    _, log_w = annealed(lambda at: sum(model._log_joint(code, at)), begin, sd, steps=laws, chains=chains, rng=rng)
    return _log_mean(log_w)[None]


def _mean(terms: Tensor) -> Tensor:
    """Return `(2, n)`: the mean of `(n, k)` over k, and its standard error."""
    k = terms.shape[1]
    spread = terms.std(1) if k > 1 else torch.zeros_like(terms[:, 0])
    return torch.stack([terms.mean(1), spread / math.sqrt(k)])


def _log_mean(log_w: Tensor) -> Tensor:
    """Return `(2, n)`: the log of the mean of weights `(n, k)`, and its standard error to first order."""
    k = log_w.shape[1]
    value = torch.logsumexp(log_w, 1) - math.log(k)
    spread = torch.exp(log_w - value[:, None]).std(1) if k > 1 else torch.zeros_like(value)
    return torch.stack([value, spread / math.sqrt(k)])


def _over_labels(model: Any, code: Code, of: Callable[[Code], Tensor]) -> Tensor:
    """Return bounds `(b, 2, n)` on log p(x, y) where labels are known and on log p(x), summed over labels, where they are not."""
    if not model.layout_.labels:
        return of(code)
    prior = torch.log(model.label_prior_.double())
    y = code.y if code.y is not None else torch.full((len(code),), -1)
    known, parts = y >= 0, {}
    if known.any():
        parts[True] = of(code[known])
        parts[True][:, 0] += prior[y[known]]
    if not known.all():
        rest, each = code[~known], []
        for label in counted(range(model.layout_.labels)):
            rest.y = torch.full((len(rest),), label)
            found = of(rest)
            found[:, 0] += prior[label]
            each.append(found)
        parts[False] = _mixed(torch.stack(each))
    out = torch.empty(*next(iter(parts.values())).shape[:2], len(code), dtype=torch.float64)
    for which, found in parts.items():
        out[..., known if which else ~known] = found
    return out


def _mixed(terms: Tensor) -> Tensor:
    """Return `(b, 2, n)`: the log of the sum of densities whose logs and errors are `(m, b, 2, n)`, errors to first order."""
    values, errors = terms[:, :, 0], terms[:, :, 1]
    shares = torch.softmax(values, 0)
    return torch.stack([torch.logsumexp(values, 0), (shares * errors).square().sum(0).sqrt()], 1)
