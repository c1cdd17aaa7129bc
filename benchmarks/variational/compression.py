"""Files by `compress` beside PNG, WebP and JPEG: the test parts of MNIST (grey, static binarization) and faces of unseen people.

Sizes are those of whole files. PNG, WebP and JPEG get every picture as a file of its own and, since that is unkind to small ones,
all pictures tiled into one sheet. The weights of the model, which reader and writer share, are not counted.
"""

from __future__ import annotations

import gzip
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from genlearn.models.hvae import HVAE
from genlearn.models.vae import VAE

from .. import record
from ..checks import Check, Report
from .codecs import bits_per_pixel, point, quality_curves

STEPS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # of lossy files
QUALITY = 28.0  # PSNR in dB at which files are compared
NEAR = 0.02  # of the bound
MINUTES = 9
WITHIN: dict[str, Any] = {"random_state": 0, "budget": f"{MINUTES}m", "samples": 1}
QUICK: dict[str, Any] = {"random_state": 0, "steps": 20, "samples": 1, "width": 8}
QUICK_VAE: dict[str, Any] = QUICK | {"hidden": (32,), "latent": 4}


@dataclass(frozen=True)
class Pictures:
    """Grey pictures `(n, h, w)` to learn from, to choose by and to compress.

    Arguments:
        train: To learn from.
        valid: To choose by.
        test: To compress.
        bits: That one pixel takes as it is.
        settings: Of the VAE.
        ladder: Of an HVAE beside it; None for none.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    bits: int
    settings: dict[str, Any]
    ladder: dict[str, Any] | None = None


def mnist(n: int | None) -> Pictures:
    """Return MNIST in 256 grey levels; the last 5,000 training digits validate."""
    train, test = (idx_images(f"mnist/{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    settings = {"latent": 40, "hidden": (512, 512), "mixtures": 3, "batch": 200, "lr": 1e-3}
    ladder = {"net": "ladder", "width": 32, "channels": 4, "rungs": (1, 2, 1), "mixtures": 3, "batch": 64, "lr": 1.5e-3}
    return Pictures(train[: n or -5000], train[-5000:][:n], test[:n], 8, settings, ladder)


def idx_images(name: str) -> np.ndarray:
    """Return the pictures of a gzipped idx file."""
    return np.frombuffer(gzip.decompress(record.data(name).read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)


def binarized(n: int | None) -> Pictures:
    """Return the static binarization of MNIST."""
    with np.load(record.data("binarized_mnist.npz")) as parts:
        train, valid, test = (255 * parts[k].reshape(-1, 28, 28)[:n] for k in ("train", "valid", "test"))
    return Pictures(train, valid, test, 1, {"latent": 40, "hidden": (512, 512), "batch": 200, "lr": 1e-3})


def faces(n: int | None) -> Pictures:
    """Return Olivetti faces, split by person: 32 to learn from, 4 to choose by, 4 to compress."""
    people = people_of_faces()
    train, valid, test = (part.reshape(-1, 64, 64)[:n] for part in (people[:32], people[32:36], people[36:]))
    settings = {"latent": 64, "net": "conv", "width": 32, "mixtures": 3, "batch": 32, "lr": 1e-3}
    ladder = {"net": "ladder", "width": 48, "channels": 2, "rungs": (2, 3, 1), "mixtures": 3, "batch": 16, "lr": 1e-3}
    return Pictures(train, valid, test, 8, settings, ladder)


def people_of_faces() -> np.ndarray:
    """Return Olivetti faces by person, `(40, 10, 64, 64)`."""
    from PIL import Image

    folder = record.data("olivetti_faces")
    names = [[folder / f"s{p:02d}" / f"{k}.png" for k in range(10)] for p in range(1, 41)]
    return np.array([[np.asarray(Image.open(path).convert("L")) for path in person] for person in names])


SETS = {"MNIST, grey": mnist, "MNIST, binarized": binarized, "Olivetti faces": faces}


def without_loss(name: str, model: Any, pictures: Pictures) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of lossless files, and their figures."""
    test = pictures.test
    began = time.perf_counter()
    data = model.compress(test, check=False)
    wrote = time.perf_counter()
    equal = np.all(model.decompress(data) == test, (1, 2))
    read_back = time.perf_counter()
    ours, bound = 8 * len(data) / test.size, -model.score(test) / math.log(2) / test[0].size
    peers = bits_per_pixel(test, pictures.bits)
    beside = "; ".join(f"{peer} {value:.3f}" for peer, value in peers.items())
    best = min(peers.values())
    speed = f"{len(test) / (wrote - began):,.0f} written and {len(test) / (read_back - wrote):,.0f} read a second"
    excess = ours / bound - 1
    checks = [
        Check(f"{name}, lossless: round trip", "bit by bit", f"{equal.sum():,} of {len(test):,}; {speed}", bool(equal.all())),
        Check(f"{name}, lossless: size", f"within {100 * NEAR:.0f} % of the ELBO", f"{100 * excess:+.2f} %", excess <= NEAR),
        Check(f"{name}, lossless: bits per pixel", "fewer than PNG and WebP", f"{ours:.3f} ({beside})", ours < best),
    ]  # fmt: skip
    figures = {"bits_per_pixel": ours, "elbo_bits_per_pixel": bound, "bytes": len(data), "pictures": len(test), **peers}
    return checks, figures | {"write_seconds": wrote - began, "read_seconds": read_back - wrote}


def with_loss(
    name: str, models: list[Any], pictures: Pictures
) -> tuple[list[Check], dict[str, list[dict[str, float]]]]:
    """Return the checks of lossy files, and all curves: ours, and those of JPEG and WebP."""
    test, ours = pictures.test[:1000], {}
    for model in models:
        for step in STEPS:
            data = model.compress(test, lossy=True, step=step)
            found = {"step": step, **point(len(data) / len(test), test, model.decompress(data))}
            ours.setdefault(model.name(), []).append(found)
    curves, own = quality_curves(test), [p for line in ours.values() for p in line]
    checks = []
    for peer in ("JPEG, one sheet", "WebP, one sheet"):
        mine, theirs, size = at_equal_bytes(own, curves[peer])
        reached = f"{mine['psnr']:.1f} dB, SSIM {mine['ssim']:.3f} in {mine['bytes']:.0f} bytes a picture; "
        reached += f"{theirs['psnr']:.1f} dB, SSIM {theirs['ssim']:.3f} in {theirs['bytes']:.0f}"
        what, met = f"{name}, lossy, beside {peer} at {size}", mine["psnr"] > theirs["psnr"]
        checks.append(Check(what, "higher PSNR in no more bytes", reached, met))
        size, other = min(at_quality(line) for line in ours.values()), at_quality(curves[peer])
        reached = (
            f"{size:.0f} bytes a picture beside {other:.0f}"
            if size < math.inf
            else f"not reached in {len(STEPS)} files"
        )
        checks.append(Check(f"{name}, lossy, beside {peer} at {QUALITY:.0f} dB", "fewer bytes", reached, size < other))
    return checks, {**ours, **curves}


def at_quality(line: list[dict[str, float]]) -> float:
    """Return the bytes a picture at which a curve has the PSNR to compare at, between its points; infinite where it has not."""
    at = sorted(line, key=lambda p: p["psnr"])
    psnr, size = [p["psnr"] for p in at], [math.log(p["bytes"]) for p in at]
    return math.exp(np.interp(QUALITY, psnr, size)) if psnr[0] <= QUALITY <= psnr[-1] else math.inf


def at_equal_bytes(own: list[Any], theirs: list[Any]) -> tuple[Any, Any, str]:
    """Return our finest file that is no larger than their smallest one, and that; or our smallest and their nearest above it."""
    least = min(theirs, key=lambda p: p["bytes"])
    fits = [p for p in own if p["bytes"] <= least["bytes"]]
    if fits:
        return max(fits, key=lambda p: p["psnr"]), least, "its smallest file"
    mine = min(own, key=lambda p: p["bytes"])
    larger = [p for p in theirs if p["bytes"] >= mine["bytes"]] or [max(theirs, key=lambda p: p["bytes"])]
    return mine, min(larger, key=lambda p: p["bytes"]), "our smallest file"


def draw(curves: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Draw PSNR and SSIM against bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(curves), 2, figsize=(10, 4 * len(curves)), squeeze=False)
    for row, (name, lines) in zip(axes, curves.items(), strict=True):
        for axis, what in zip(row, ("psnr", "ssim"), strict=True):
            for label, points in lines.items():
                at = sorted(points, key=lambda p: p["bytes"])
                ours = label in ("vae", "hvae")
                style, width = "o-" if ours else "s--" if "sheet" in label else "x:", 2.5 if ours else 1
                axis.plot([p["bytes"] for p in at], [p[what] for p in at], style, label=label, lw=width, ms=4)
            axis.set(
                xscale="log", xlabel="bytes a picture", ylabel={"psnr": "PSNR, dB", "ssim": "SSIM"}[what], title=name
            )
            axis.grid(alpha=0.3)
        row[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(record.RESULTS / "variational_compression.png", dpi=80)
    pyplot.close(figure)


def run(*, quick: bool = False) -> Report:
    """Train a VAE and an HVAE on each set of pictures, compress its test part, compare; the better one writes lossless files."""
    checks, details, curves = [], {}, {}
    for name, load in SETS.items():
        pictures = load(40 if quick else None)
        vae: Any = VAE(**{**pictures.settings, **(QUICK_VAE if quick else WITHIN)})
        models = [vae]
        if pictures.ladder:
            models.append(HVAE(**{**pictures.ladder, **(QUICK if quick else WITHIN)}))
        for model in models:
            model.fit(pictures.train, valid=pictures.valid)
        writer = max(models, key=lambda model: model.score(pictures.valid))
        some, figures = without_loss(name, writer, pictures)
        details[name] = {"model": writer.name(), **figures}
        checks += some
        if pictures.bits > 1:
            some, curves[name] = with_loss(name, models, pictures)
            checks += some
    if not quick:
        draw(curves)
    notes = [
        f"A VAE and, but for binarized digits, an HVAE, {MINUTES} minutes each; lossless files by the likelier on the validation part ("
        + ", ".join(f"{name}: {found['model']}" for name, found in details.items())
        + "). Whole files, the model's weights left out. PNG and WebP: every picture a file (of the first thousand), or all pictures "
        "on one sheet.",
        "Curves of all lossy forms: `variational_compression.png`, figures in the JSON. Lossy sizes and qualities are those of the "
        "first 1,000 test pictures.",
    ]
    return Report("Compression beside PNG, WebP and JPEG", checks, notes, [0], {"lossless": details, "lossy": curves})
