"""What processes do side by side: a case for each way to learn, the script that they run, and how far apart two models are.

`torchrun --nproc-per-node 2 -m benchmarks.reliability.together FOLDER [CASE ...]`, as `processes` starts it, is a script that knows
nothing of processes: it fits and saves.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genlearn.data.records import Records
from genlearn.engine import Neural
from genlearn.errors import Interrupted, Problem
from genlearn.events import Event
from genlearn.model import Model
from genlearn.models import (
    GAN,
    GMM,
    HVAE,
    KDE,
    VAE,
    VAEGAN,
    VQVAE,
    Autoencoder,
    BayesNet,
    Copycat,
    DensityTree,
    Forest,
    Marginals,
    Mixture,
    SequentialTree,
    SVDensity,
    TreeMixture,
)
from genlearn.testing import customers

BATCH = 8  # records of one process; one alone takes twice as many
ODD = 15  # records per step, which two cannot share
STEPS = 20
STOP = 8  # step at which a run is stopped, to go on with another number of processes
SMALL: dict[str, Any] = {
    "hidden": (8,),
    "latent": 2,
    "steps": STEPS,
    "lr": 1e-2,
    "random_state": 0,
    "precision": "fp32",
}
CONV: dict[str, Any] = SMALL | {"net": "conv", "width": 4}
QUANTISED: dict[str, Any] = {k: v for k, v in SMALL.items() if k != "latent"} | {
    "entries": 20, "dim": 2, "width": 4, "prior_width": 8, "prior_layers": 1,
}  # fmt: skip
CHAIN: dict[str, Any] = {k: v for k, v in SMALL.items() if k not in ("latent", "hidden")} | {
    "net": "mlp",
    "latent": (3, 2),
    "hidden": (8, 6),
}
RUNGS: dict[str, Any] = {k: v for k, v in SMALL.items() if k not in ("latent", "hidden")} | {
    "net": "ladder", "width": 8, "channels": 2, "rungs": (1, 1), "warmup": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One way to learn.

    Arguments:
        model: The class.
        settings: Its settings, without the batch.
        data: Name of the records.
        bar: How far apart one process and two may end: see `distance`.
    """

    model: type[Model]
    settings: dict[str, Any] = field(default_factory=dict)
    data: str = "numbers"
    bar: float = 0.0

    def make(self, batch: int) -> Model:
        """Return the model, unfitted."""
        own = {"batch": batch} if issubclass(self.model, Neural) else {}
        return self.model(**{"random_state": 0, **self.settings, **own})

    def fit(self, batch: int, **where: Any) -> Model:
        """Return the model, fitted."""
        return self.make(batch).fit(**records(self.data), **where)


# Sums over records are taken in another order. Bars, as a share of the way that the weights went:
ROUNDED = 1e-5  # a float32 rounds at 6e-8, which 20 steps amplify; another order of sums, not another sum
COARSE = 0.05  # bf16 rounds the gradient of every process by itself to 3 digits, before they are averaged
# Under a warm-up the first loss does not depend on the priors of labels at all: their gradients are roundings of 0, of which
# Adam, which divides them by their own size, makes steps of full length. They change nothing that the model computes at that point.
# So does a hinge that no record has passed: the bias of a hidden unit that is open to all raises real and drawn ones alike.
BLIND = 0.05
SUMMED = 1e-8  # relative, for sums in float64

NETS: dict[str, Case] = {
    "vae": Case(VAE, SMALL, bar=ROUNDED),
    "vae, table": Case(VAE, SMALL | {"warmup": 0.0, "filling": "gibbs"}, "table", ROUNDED),
    "vae, binary images": Case(
        VAE, SMALL | {"net": "mlp", "beta": 0.5, "warmup": 0.0, "filling": "resample"}, "binary", ROUNDED
    ),
    "vae, colour images, conv": Case(VAE, CONV | {"warmup": 0.0, "filling": "anneal"}, "colour", ROUNDED),
    "vae, labels, warm-up": Case(VAE, SMALL, "table", BLIND),
    "vae, some labels": Case(VAE, SMALL | {"net": "mlp", "warmup": 0.0, "shift": 0.2}, "some labels", ROUNDED),
    "vae, free nats": Case(VAE, SMALL | {"free_nats": 0.05, "output": "mean"}, bar=ROUNDED),
    "vae, accumulate, ema, clip": Case(VAE, SMALL | {"accumulate": 3, "ema": 0.9, "clip": 1.0}, bar=ROUNDED),
    "vae, adam": Case(VAE, SMALL | {"optimizer": "adam", "schedule": "linear", "weight_decay": 0.1}, bar=ROUNDED),
    "vae, rmsprop": Case(VAE, SMALL | {"optimizer": "rmsprop", "schedule": "constant"}, bar=ROUNDED),
    "vae, sgd": Case(VAE, SMALL | {"optimizer": "sgd", "lr": 1e-3}, bar=ROUNDED),
    "vae, patience": Case(VAE, SMALL | {"patience": 1, "lr": 0.3}, bar=ROUNDED),
    "vae, dreg": Case(VAE, SMALL | {"objective": "dreg", "draws": 3}, bar=ROUNDED),
    "vae, iwae, binary images": Case(VAE, SMALL | {"objective": "iwae", "draws": 2, "warmup": 0.0}, "binary", ROUNDED),
    "vae, capacity, cycles": Case(VAE, SMALL | {"capacity": 2.0, "cycles": 2}, bar=ROUNDED),
    "vae, mixture prior": Case(VAE, SMALL | {"prior": "mixture", "parts": 5}, bar=ROUNDED),
    "vae, vamp prior": Case(VAE, SMALL | {"prior": "vamp", "parts": 5}, bar=ROUNDED),
    "vae, flows": Case(VAE, SMALL | {"prior": "flow", "inference": "flow"}, bar=ROUNDED),
    "vae, bf16": Case(VAE, SMALL | {"precision": "bf16"}, bar=COARSE),
    "vae, auto": Case(VAE, SMALL | {"precision": "auto", "net": "auto"}, "colour", COARSE),
    "gan, non-saturating": Case(GAN, SMALL | {"loss": "non-saturating"}, bar=ROUNDED),
    "gan, minimax": Case(GAN, SMALL | {"loss": "minimax", "regularizer": "none"}, bar=ROUNDED),
    "gan, least-squares": Case(GAN, SMALL | {"loss": "least-squares", "critic_steps": 2, "net": "mlp"}, bar=ROUNDED),
    "gan, wasserstein": Case(GAN, SMALL | {"loss": "wasserstein"}, "table", ROUNDED),
    "gan, wasserstein, clipping": Case(GAN, SMALL | {"loss": "wasserstein", "regularizer": "clipping"}, bar=ROUNDED),
    "gan, hinge, spectral norm": Case(GAN, SMALL | {"loss": "hinge", "spectral_norm": True}, "table", BLIND),
    "gan, gradient penalty": Case(GAN, SMALL | {"regularizer": "gradient-penalty"}, bar=ROUNDED),
    "gan, colour images, conv": Case(GAN, CONV | {"regularizer": "r1"}, "colour", ROUNDED),
    "gan, patience": Case(GAN, SMALL | {"patience": 2}, bar=ROUNDED),
    "gan, bf16": Case(GAN, SMALL | {"precision": "bf16", "net": "auto"}, bar=COARSE),
    "hvae": Case(HVAE, CHAIN, bar=ROUNDED),
    "hvae, iwae, table": Case(
        HVAE, CHAIN | {"net": "auto", "objective": "iwae", "draws": 3, "warmup": 0.0}, "table", ROUNDED
    ),
    "hvae, ladder": Case(HVAE, RUNGS, "binary", ROUNDED),
    "hvae, ladder, colour images": Case(
        HVAE, RUNGS | {"free_nats": 0.05, "output": "mean", "filling": "resample"}, "colour", ROUNDED
    ),
    "vae, resnet, mixtures": Case(VAE, CONV | {"net": "resnet", "mixtures": 2, "warmup": 0.0}, "colour", ROUNDED),
    "vqvae": Case(VQVAE, QUANTISED, bar=ROUNDED),
    "vqvae, table": Case(VQVAE, QUANTISED | {"net": "mlp", "prior": "transformer", "accumulate": 2}, "table", ROUNDED),
    "vqvae, colour images, conv": Case(
        VQVAE, QUANTISED | {"net": "conv", "prior": "pixelcnn", "output": "mean"}, "colour", ROUNDED
    ),
    "autoencoder": Case(Autoencoder, SMALL | {"components": "auto"}, bar=ROUNDED),
    "autoencoder, table": Case(Autoencoder, SMALL | {"components": 3, "smooth": "spectral"}, "table", ROUNDED),
    "autoencoder, flow": Case(Autoencoder, SMALL | {"density": "flow", "smooth": "gradient"}, "table", ROUNDED),
    "autoencoder, colour images, conv": Case(
        Autoencoder, CONV | {"components": 3, "smooth": "none", "output": "mean"}, "colour", ROUNDED
    ),
    "autoencoder, resnet": Case(Autoencoder, CONV | {"components": 3, "net": "resnet"}, "colour", ROUNDED),
    "autoencoder, mlp": Case(Autoencoder, SMALL | {"components": 3, "net": "mlp"}, "binary", ROUNDED),
    "vaegan": Case(VAEGAN, SMALL, bar=ROUNDED),
    "vaegan, table": Case(VAEGAN, SMALL, "table", ROUNDED),
    "vaegan, colour images, conv": Case(VAEGAN, CONV, "colour", ROUNDED),
    "vaegan, mlp": Case(VAEGAN, SMALL | {"net": "mlp", "optimizer": "adam"}, "binary", ROUNDED),
}
SUMS: dict[str, Case] = {
    f"gmm, {covariance}": Case(GMM, {"components": 3, "covariance": covariance, "rank": 2}, "many", SUMMED)
    for covariance in ("full", "diag", "tied", "spherical", "lowrank")
} | {
    "gmm, missing numbers": Case(GMM, {"components": 3}, "table", SUMMED),
    "gmm, missing numbers, lowrank": Case(GMM, {"components": 3, "covariance": "lowrank", "rank": 2}, "table", SUMMED),
    "gmm, dead components": Case(GMM, {"components": 9, "regularization": 0.01}, "repeated", SUMMED),
    "gmm, restarts": Case(GMM, {"components": 3, "restarts": 2}, "many", SUMMED),
}
CLOSED: dict[str, Case] = {
    cls.name(): Case(cls, data="table")
    for cls in (Marginals, KDE, Copycat, Mixture, TreeMixture, BayesNet, SVDensity, DensityTree, SequentialTree, Forest)
}
# Choices whose loss compares the records of a batch with each other: every process compares its own.
UNSHARED = {("vae", "objective", "beta-tc"), ("vae", "objective", "info")}
CASES = NETS | SUMS | CLOSED
RESUMED = ("vae, accumulate, ema, clip", "gan, wasserstein", "vaegan")  # stopped, and gone on with by others


@cache
def records(name: str) -> dict[str, Any]:
    """Return what `fit` is given; an odd number of records for validation, so that shares differ."""
    rng = np.random.default_rng(5)
    if name == "table":
        return {
            part: Records("table", customers(n, k), target="churn")
            for part, n, k in (("data", 96, 0), ("valid", 21, 1))
        }
    if name == "many":  # several chunks of a pass
        x = rng.normal(size=(20_000, 3)) + rng.integers(0, 3, (20_000, 1)) * np.array([3.0, -2.0, 4.0])
        return {"data": x[:15_000], "valid": x[15_000:]}
    if name == "repeated":  # fewer different records than components
        return {"data": np.repeat(rng.normal(size=(6, 2)), 2_000, 0)}
    if name == "numbers":
        x = rng.normal(size=(117, 3)) @ rng.normal(size=(3, 3))
        return {"data": x[:96], "valid": x[96:]}
    if name == "some labels":
        whole = records("binary")
        return whole | {"y": np.where(np.arange(96) % 3 == 0, whole["y"], None)}
    shape, high = ((117, 8, 8, 3), 256) if name == "colour" else ((117, 8, 8), 2)
    x, y = (rng.integers(0, high, shape) * (255 // (high - 1))).astype(np.uint8), rng.integers(0, 3, 117)
    return {"data": x[:96], "y": y[:96], "valid": (x[96:], y[96:])}


def distance(one: Model, other: Model) -> float:
    """Return how far apart two models ended: nets as a share of the way that the weights went, others relatively."""
    if isinstance(one, Neural):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(one.seed_)
            begun = weights(one.build())
        a, b = weights(one.net_), weights(other.net_)
        return float((a - b).norm() / (a - begun).norm())
    ours, theirs = one._state()[0], other._state()[0]
    assert ours.keys() == theirs.keys()
    pairs = [(ours[k].nan_to_num(), theirs[k].nan_to_num()) for k in ours if ours[k].numel()]
    return float(max((a - b).abs().max() / a.abs().max().clamp_min(1e-300) for a, b in pairs))


def weights(net: Any) -> torch.Tensor:
    """Return all weights of a net in one vector."""
    return torch.cat([p.detach().double().flatten() for p in net.parameters()])


def stop(event: Event) -> None:
    """Stop a run, as Ctrl-C does."""
    if event.step == STOP and not event.done:
        os.kill(os.getpid(), signal.SIGINT)


def begin(case: Case, batch: int, folder: Path) -> None:
    """Begin a run and stop it."""
    try:
        case.fit(batch, out=folder, watch=[stop])
    except Interrupted:
        return
    raise AssertionError("nobody stopped it")


def prepare(folder: Path) -> None:
    """Begin, as one process, what several go on with."""
    for name in RESUMED:
        begin(CASES[name], 2 * BATCH, folder / f"{name}, begun by one")
    begin(CASES["vae"], ODD, folder / "odd")


def main(folder: Path, names: Iterable[str]) -> None:
    """Fit the cases that are named; go on with what `prepare` left, and leave runs for one process to go on with."""
    for name in names:
        CASES[name].fit(BATCH, out=folder / name).save(folder / name)
    if not (folder / "odd").exists():
        return
    for name in RESUMED:
        home = folder / f"{name}, begun by one"
        CASES[name].fit(2 * BATCH, out=home, resume=True).save(home)
        begin(CASES[name], BATCH, folder / f"{name}, begun by two")
    try:
        CASES["vae"].fit(ODD, out=folder / "odd", resume=True)
    except Problem as e:
        (folder / "odd" / f"refusal-{os.environ['RANK']}").write_text(str(e))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or CASES)
