"""Training speed: genlearn against a plain PyTorch loop and pythae, alternating in one run.

    GENLEARN_DATA=<folder> python -m benchmarks.speed

Every figure is steps per second of the whole loop (data, step, logging), the median of 5 alternating repetitions after a warm-up;
ratios are taken within a repetition. Ours writes 100 rows of history in a run of 2,000 steps. The plain loop is the one of
countless tutorials: DataLoader, eager Adam, fp32, the same nets. Bars: 1.5x the plain loop and 3x pythae on the VAE, 1.35x the
plain loop on the DCGAN.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from genlearn.models import GAN, VAE
from genlearn.nn import ConvDecoder, ConvFeatures, Critic, mlp

from . import record

REPETITIONS = 5


def plain_vae(x: torch.Tensor, steps: int) -> float:
    """Train 784-400-20-400-784 in the plain loop; return steps per second."""
    return plain_loop(mlp([784, 400, 40]), mlp([20, 400, 784]), x, steps)


def plain_loop(encoder: nn.Module, decoder: nn.Module, x: torch.Tensor, steps: int) -> float:
    """Train a VAE with Adam, fp32, a shuffling DataLoader; return steps per second."""
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    loader = DataLoader(TensorDataset(x), batch_size=128, shuffle=True, drop_last=True)
    done, begun = 0, time.perf_counter()
    while True:
        for (batch,) in loader:
            optimizer.zero_grad()
            mean, log_var = encoder(batch).chunk(2, 1)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            bce = F.binary_cross_entropy_with_logits(decoder(z), batch, reduction="sum")
            kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()
            ((bce + kl) / len(batch)).backward()
            optimizer.step()
            done += 1
            if done == steps:
                return steps / (time.perf_counter() - begun)


def our_vae(x: np.ndarray, steps: int) -> float:
    """The same net in genlearn, default settings."""
    model = VAE(latent=20, hidden=(400,), net="mlp", batch=128, steps=steps, random_state=0).fit(x)
    return steps / model.seconds_


def pythae_vae() -> float:
    """The same net in pythae's trainer, in its own environment."""
    python = record.HERE / "peers/pythae/bin/python"
    if not python.exists():
        sys.exit("benchmarks: pythae's environment is missing. Run benchmarks/peers/make.sh pythae")
    command = [str(python), str(record.HERE / "peers/pythae_speed.py"), str(record.data("binarized_mnist.npz")), "1"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(out.strip().splitlines()[-1])["steps_per_second"])


def plain_gan(x: torch.Tensor, steps: int) -> float:
    """Train a DCGAN (width 64) with two Adams, fp32, a shuffling DataLoader; return steps per second."""
    generator = nn.Sequential(ConvDecoder(100, (1, 32, 32), width=64), nn.Tanh())
    features = ConvFeatures((1, 32, 32), width=64)
    critic = Critic(features, features.size)
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loader = DataLoader(TensorDataset(x), batch_size=64, shuffle=True, drop_last=True)
    done, begun = 0, time.perf_counter()
    while True:
        for (real,) in loader:
            of_critic.zero_grad()
            fake = generator(torch.randn(len(real), 100))
            real_score, fake_score = critic(real, None), critic(fake.detach(), None)
            loss = F.binary_cross_entropy_with_logits(real_score, torch.ones_like(real_score))
            loss = loss + F.binary_cross_entropy_with_logits(fake_score, torch.zeros_like(fake_score))
            loss.backward()
            of_critic.step()
            of_generator.zero_grad()
            score = critic(fake, None)
            F.binary_cross_entropy_with_logits(score, torch.ones_like(score)).backward()
            of_generator.step()
            done += 1
            if done == steps:
                return steps / (time.perf_counter() - begun)


def our_gan(x: np.ndarray, steps: int) -> float:
    """The same nets and game in genlearn: non-saturating, no penalty, with the moving average that is its default."""
    model = GAN(
        latent=100, width=64, net="conv", regularizer="none", lr=2e-4, batch=64, steps=steps, random_state=0
    ).fit(x)  # fmt: skip
    return steps / model.seconds_


def matmul_peak(dtype: torch.dtype) -> float:
    """Return the machine's own matrix-product speed, GFLOP/s."""
    a = torch.randn(2048, 2048, dtype=dtype)
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        _ = a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - begun) / 1e9)
    return best


def alternate(runs: dict[str, Callable[[], float]], repetitions: int = REPETITIONS) -> dict[str, list[float]]:
    """Run everything once to warm up, then A B A B ...; return steps per second by name."""
    for run in runs.values():
        run()
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            seen[name].append(run())
            print(f"  {name:9} {seen[name][-1]:8.1f} steps/s", flush=True)
    return seen


def compare(seen: dict[str, list[float]], bars: dict[str, float]) -> dict[str, object]:
    """Return medians, ratios to ours and whether each bar is met."""
    ours = seen["genlearn"]
    ratios = {peer: [a / b for a, b in zip(ours, seen[peer], strict=True)] for peer in bars}
    for peer, bar in bars.items():
        found = record.spread(ratios[peer])
        met = "met" if found["median"] >= bar else "MISSED"
        print(
            f"  genlearn / {peer}: {found['median']:.2f}x [{found['low']:.2f} {found['high']:.2f}], bar {bar}x: {met}"
        )
    return {
        "steps_per_second": {name: record.spread(values) for name, values in seen.items()},
        "ratio": {peer: record.spread(values) | {"bar": bars[peer]} for peer, values in ratios.items()},
    }


def main() -> None:
    """Run both comparisons and write results/speed.json."""
    x = np.load(record.data("binarized_mnist.npz"))["train"]
    flat = torch.from_numpy(x.reshape(len(x), -1).astype(np.float32))
    print("MLP VAE 784-400-20, batch 128, static MNIST")
    vae = alternate(
        {
            "genlearn": lambda: our_vae(x, 2000),
            "plain": lambda: plain_vae(flat, 800),
            "pythae": pythae_vae,
        }
    )
    result: dict[str, object] = {"vae": compare(vae, {"plain": 1.5, "pythae": 3.0})}
    small = np.pad(x[:10_000] * 255, ((0, 0), (2, 2), (2, 2)))
    scaled = torch.from_numpy(small[:, None].astype(np.float32) / 127.5 - 1)
    print("DCGAN 32x32x1, width 64, batch 64")
    grey = np.pad(np.clip(x[:10_000] * 254 + 1, 0, 255).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    gan = alternate({"genlearn": lambda: our_gan(grey, 30), "plain": lambda: plain_gan(scaled, 30)})
    result["dcgan"] = compare(gan, {"plain": 1.35})
    result["matmul_gflops"] = {"fp32": matmul_peak(torch.float32), "bf16": matmul_peak(torch.bfloat16)}
    print(record.write("speed", result))


if __name__ == "__main__":
    main()
