"""Training speed of VAEs against a plain PyTorch loop and pythae, the share of the machine's peak, and the latency of one record.

Steps per second are those of `benchmarks.speed`: the whole loop, in alternation, the median of the ratios within a repetition. The
share of the peak is the matrix products and convolutions of a step (torch's own count) times steps per second, over the speed of
one large bf16 product in the same run. Latencies go through the public methods, one record a call.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import record
from benchmarks.checks import Check, Report
from benchmarks.speed import alternate, matmul_peak, our_vae, plain_loop, plain_vae, pythae_vae
from genlearn import read
from genlearn.models import VAE
from genlearn.nn import ConvDecoder, ConvFeatures

LATENT, BATCH = 32, 128
CALLS, SLOWEST = 200, 50.0  # ms
BARS = {("mlp", "plain"): 1.5, ("mlp", "pythae"): 3.0, ("conv", "plain"): 1.2}


def run(*, quick: bool = False) -> Report:
    """Compare speeds, measure latencies."""
    x = np.load(record.data("binarized_mnist.npz"))["train"]
    x = x[:5000] if quick else x
    repetitions, mlp_steps, conv_steps = (1, 100, 4) if quick else (3, 2000, 60)
    flat = torch.from_numpy(x.reshape(len(x), -1).astype(np.float32))
    mlp: dict[str, Callable[[], float]] = {
        "genlearn": lambda: our_vae(x, mlp_steps),
        "plain": lambda: plain_vae(flat, mlp_steps // 2),
    }
    if not quick:
        mlp["pythae"] = pythae_vae
    conv = {"genlearn": lambda: our_conv(x, conv_steps), "plain": lambda: plain_conv(flat, conv_steps)}
    seen = {"mlp": alternate(mlp, repetitions), "conv": alternate(conv, repetitions)}
    peak = {"fp32": matmul_peak(torch.float32), "bf16": matmul_peak(torch.bfloat16)}
    work = {"mlp": flops(lambda steps: our_vae(x, steps)), "conv": flops(lambda steps: our_conv(x, steps))}
    latency = latencies(20 if quick else CALLS)
    return Report(
        title="Speed of VAEs",
        checks=[*_ratios(seen), *_latencies(latency)],
        notes=[
            "MLP: 784-400-20, batch 128, static MNIST. Conv: width 32, 32 latents, batch 128, the same images. "
            "The plain loop: the same nets and loss, a shuffling DataLoader, eager Adam, fp32.",
            *_shares(seen, work, peak),
            "Latency: a convolutional VAE of Olivetti faces, 64 x 64, one record a call.",
        ],
        details={
            "steps_per_second": {net: {who: record.spread(v) for who, v in by.items()} for net, by in seen.items()},
            "gflop_per_step": {net: round(count / 1e9, 3) for net, count in work.items()},
            "matmul_gflops": {name: round(value) for name, value in peak.items()},
            "latency_ms": latency,
        },
    )


# -- training --------------------------------------------------------------------------------------------------------
def our_conv(x: np.ndarray, steps: int) -> float:
    """Train a convolutional VAE; return steps per second."""
    model = VAE(latent=LATENT, net="conv", batch=BATCH, steps=steps, random_state=0).fit(x)
    return steps / model.seconds_


def plain_conv(x: torch.Tensor, steps: int) -> float:
    """Train the same nets in the plain loop; return steps per second."""
    features = ConvFeatures((1, 28, 28), width=32)
    encoder = nn.Sequential(features, nn.Linear(features.size, 2 * LATENT))
    return plain_loop(encoder, ConvDecoder(LATENT, (1, 28, 28), width=32), x, steps)


def flops(train: Callable[[int], float]) -> float:
    """Return the floating-point operations of a step's matrix products and convolutions: those of 12 steps less those of 2."""
    counts = []
    for steps in (2, 12):
        with FlopCounterMode(display=False) as counter:
            train(steps)
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / 10


# -- one record ------------------------------------------------------------------------------------------------------
def latencies(calls: int) -> dict[str, dict[str, float]]:
    """Return median and 95th percentile of one sample and one reconstruction, ms."""
    faces = read(record.data("olivetti_faces"), label="none").train.x
    model = VAE(latent=LATENT, net="conv", steps=20, batch=32, random_state=0).fit(faces)
    work: dict[str, Callable[[int], object]] = {
        "sample": lambda i: model.sample(1, random_state=i),
        "reconstruct": lambda i: model.reconstruct(faces[i % len(faces)][None]),
    }
    found = {}
    for name, call in work.items():
        for i in range(5):
            call(i)
        each = []
        for i in range(calls):
            begun = time.perf_counter()
            call(i)
            each.append(1e3 * (time.perf_counter() - begun))
        found[name] = {"median": round(float(np.median(each)), 2), "p95": round(float(np.quantile(each, 0.95)), 2)}
    return found


# -- words -----------------------------------------------------------------------------------------------------------
def _ratios(seen: dict[str, dict[str, list[float]]]) -> list[Check]:
    checks = []
    for (net, peer), bar in BARS.items():
        if peer in seen[net]:
            ratio = [a / b for a, b in zip(seen[net]["genlearn"], seen[net][peer], strict=True)]
            found = record.spread(ratio)
            words = f"{found['median']:.2f}x [{found['low']:.2f}, {found['high']:.2f}]"
            name = {"mlp": "MLP", "conv": "convolutional"}[net]
            against = {"plain": "the plain loop", "pythae": "pythae"}[peer]
            what = f"steps per second of the {name} VAE over {against}"
            checks.append(Check(what, f">= {bar}x", words, found["median"] >= bar))
    return checks


def _latencies(latency: dict[str, dict[str, float]]) -> list[Check]:
    return [
        Check(
            f"p95 latency of one {what}, 64 x 64", f"<= {SLOWEST:.0f} ms", f"{found['p95']} ms", found["p95"] <= SLOWEST
        )
        for what, found in latency.items()
    ]


def _shares(seen: dict[str, dict[str, list[float]]], work: dict[str, float], peak: dict[str, float]) -> list[str]:
    said = []
    for net, count in work.items():
        rate = count / 1e9 * float(np.median(seen[net]["genlearn"]))
        said.append(
            f"{net}: {count / 1e9:.2f} GFLOP a step, {rate:.0f} GFLOP/s, {rate / peak['bf16']:.0%} of the peak of bf16 products "
            f"({peak['bf16']:.0f} GFLOP/s) and {rate / peak['fp32']:.0%} of that of fp32 ones ({peak['fp32']:.0f})."
        )
    return said
