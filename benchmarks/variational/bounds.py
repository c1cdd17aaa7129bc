"""ELBO, importance-weighted and annealed bounds beside exact log densities, and in order on models of MNIST digits.

Linear-Gaussian models (probabilistic principal component analysis) have exact log densities. Their weights are set, not trained. With
orthogonal columns of W the encoder's diagonal normal is the posterior, and every bound is exact; with others it is not, and only the
importance-weighted and the annealed bound come close. Records are draws of the model.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from sklearn.base import clone

from genlearn.data import read
from genlearn.models import HVAE, VAE, Autoencoder

from .. import record
from ..checks import Check, Report
from ..metrics.scores import Linear

BAR = 0.05
SIZES = ((20, 5), (50, 10), (100, 20))
MINUTES = 4.0  # of each model
MODELS: tuple[Any, ...] = (
    VAE(net="mlp", latent=20, random_state=0),
    HVAE(net="mlp", latent=(40, 20), hidden=(200, 100), random_state=0),
    Autoencoder(net="mlp", latent=20, random_state=0),
)


def orthogonal(d: int, latent: int, seed: int = 0) -> Linear:
    """Return a linear-Gaussian model whose posterior is a diagonal normal: columns of W are orthogonal, of different lengths."""
    rng = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, latent, generator=rng)).Q
    return Linear(basis * torch.linspace(0.5, 3.0, latent), 1.0)


def _exact(quick: bool) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of linear-Gaussian models, and their figures."""
    n, draws, laws = (20, 100, 50) if quick else (200, 5000, 500)
    checks, details = [], {}
    for d, latent in SIZES[:2] if quick else SIZES:
        for kind, linear in (
            ("exact posterior", orthogonal(d, latent)),
            ("proposal too simple", Linear.drawn(d, latent)),
        ):
            model = linear.vae()
            x = linear.draw(model, n)
            truth = float(linear.exact(model, x).mean())
            found = model.bounds(x, draws=draws, ais=laws, chains=8)
            what = f"{latent} latent and {d} data dimensions, {kind}"
            details[what] = {"exact": truth, **{k: [e.value, e.error] for k, e in found.named.items()}}
            for name, estimate in found.named.items():
                gap = estimate.value - truth
                loose = name == "ELBO" and kind != "exact posterior"
                bar = "below exact" if loose else f"within {BAR} nat"
                met = gap < 0 if loose else abs(gap) <= BAR
                reached = (
                    f"{estimate.value:.3f} beside {truth:.3f} ({gap:+.3f}, Monte Carlo error {estimate.error:.3f})"
                )
                checks.append(Check(f"{what}: {name}", bar, reached, met))
    return checks, details


def _digits(quick: bool) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of models of MNIST digits (quick: scikit-learn's), and their figures."""
    data = read("digits", label="none") if quick else read(record.data("mnist"), binarize="dynamic", label="none")
    n, draws, laws = (20, 20, 30) if quick else (100, 1000, 500)
    some, checks, details = data.test.take(slice(0, n)), [], {}
    for model in MODELS:
        seconds = 6.0 if quick else 60.0 * MINUTES
        fitted: Any = clone(model).set_params(budget=seconds).fit(data)
        began = time.perf_counter()
        found = fitted.bounds(some, draws=draws, ais=laws, chains=8)
        took = time.perf_counter() - began
        elbo, iw, ais = (e.value for e in found.named.values())
        slack = 2 * max(e.error for e in found.named.values())
        shown = ", ".join(f"{name} {e.value:.2f} (error {e.error:.2f})" for name, e in found.named.items())
        what = f"{model.name()}, {seconds / 60:g} minutes, {n} test digits"
        bar = "ELBO <= IW <= AIS, within two Monte Carlo errors"
        checks.append(Check(what, bar, f"{shown}; {took:.0f} s", bool(elbo <= iw <= ais + slack)))
        settings = {k: str(v) for k, v in fitted.get_params(deep=False).items()}
        values = {name: [e.value, e.error, *e.interval] for name, e in found.named.items()}
        details[what] = {**values, "seconds": took, "settings": settings}
    return checks, details


def run(*, quick: bool = False) -> Report:
    """Compare bounds with exact values, then on digits with each other."""
    (checks, details), (more, figures) = _exact(quick), _digits(quick)
    notes = [
        "Weights of the linear-Gaussian models are set, not trained, so that the exact value is known. Annealing starts at a normal "
        "law with the proposal's moments, over Hamiltonian steps whose sizes are found by chains that are thrown away.",
        "An ELBO whose proposal is not the posterior has nothing to reach: its gap is the divergence between the two.",
    ]
    return Report("Bounds beside exact log densities", [*checks, *more], notes, [0], details | figures)
