"""Static MNIST beside pythae: the same net (784-400-z40), the same minutes, one run; both are scored by the same importance sampling.

pythae's weights are put into our net, so that one and the same code scores both. Its trainer validates nothing here and keeps its last
weights; a cosine step size ends it well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import genlearn
from genlearn.models import VAE

from .. import record
from ..checks import Check, Report

MINUTES, SAMPLES, FASTER = 6.0, 1000, 3.0
LATENT, HIDDEN = 40, 400


def ours(minutes: float, data: genlearn.Dataset) -> VAE:
    """Return our model, trained for so many minutes at most."""
    return VAE(latent=LATENT, hidden=(HIDDEN,), net="mlp", batch=128, budget=60 * minutes, random_state=0).fit(data)


def theirs(minutes: float, data: genlearn.Dataset) -> tuple[VAE, dict[str, float]]:
    """Train pythae in its own environment; return its weights in our net, and its clock."""
    python = record.HERE / "peers/pythae/bin/python"
    if not python.exists():
        sys.exit("benchmarks: pythae's environment is missing. Run benchmarks/peers/make.sh pythae")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        script = str(record.HERE / "peers/pythae_density.py")
        command = [str(python), script, str(record.data("binarized_mnist.npz")), str(minutes), str(weights)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = {k: torch.from_numpy(v) for k, v in np.load(weights).items()}
    model = VAE(latent=LATENT, hidden=(HIDDEN,), net="mlp", steps=1, random_state=0).fit(data)
    half = torch.tensor(0.5)  # they give log variances, we log standard deviations
    values = [
        found["encoder.hidden.weight"],
        found["encoder.hidden.bias"],
        torch.cat([found["encoder.mean.weight"], half * found["encoder.log_var.weight"]]),
        torch.cat([found["encoder.mean.bias"], half * found["encoder.log_var.bias"]]),
        *(found[f"decoder.net.{i}.{kind}"] for i in (0, 2) for kind in ("weight", "bias")),
    ]
    for p, value in zip(model.net_.parameters(), values, strict=True):
        p.data = value.clone()
    return model, json.loads(out.strip().splitlines()[-1])


def run(*, quick: bool = False) -> Report:
    """Train both, one after the other, and score both."""
    minutes, samples = (0.2, 20) if quick else (MINUTES, SAMPLES)
    data = genlearn.read(record.data("binarized_mnist.npz"))
    mine = ours(minutes, data)
    peer, clock = theirs(minutes, data)
    mine.set_params(samples=samples)
    peer.set_params(samples=samples)
    test = data.test.take(slice(0, 500)) if quick else data.test
    nats, peer_nats = -mine.score(test), -peer.score(test)
    speed = mine.steps_ * mine.batch / mine.seconds_
    ratio = speed / clock["records_per_second"]
    passes = mine.steps_ * mine.batch / len(data.train)
    checks = [
        Check("test nats (importance-weighted)", f"below pythae's {peer_nats:.2f}", f"{nats:.2f}", nats < peer_nats),
        Check(
            "training records per second",
            f"at least {FASTER:.0f}x pythae's {clock['records_per_second']:,.0f}",
            f"{speed:,.0f}, {ratio:.2f}x",
            ratio >= FASTER,
        ),
    ]
    notes = [
        f"784-400-(40, 40)-400-784, ReLU, batch 128, {minutes:g} minutes each, {torch.get_num_threads()} threads: ours made "
        f"{passes:.0f} passes in {mine.seconds_:.0f} s (a budget buys at most 200) and kept its best validation, pythae "
        f"{clock['passes']:.0f} in {clock['seconds']:.0f} s.",
        f"Both are scored by our importance sampling with {samples:,} samples, pythae's weights in our net.",
    ]
    return Report("Static MNIST, VAE 784-400-z40 beside pythae", checks, notes)
