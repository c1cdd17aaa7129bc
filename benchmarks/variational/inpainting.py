"""The lower half of faces and digits, from the upper half: pictures, and squared errors beside plain baselines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from genlearn.models.vae import VAE
from genlearn.report.pictures import grid, save_picture

from .. import record
from ..checks import Check, Report
from .compression import QUICK_VAE, Pictures, faces, mnist

SHOWN, DRAWS, TESTED = 8, 4, 1000
MINUTES = 8
SETS: dict[str, Callable[[int | None], Pictures]] = {"Olivetti faces": faces, "MNIST": mnist}


def nearest(train: np.ndarray, test: np.ndarray, half: int) -> np.ndarray:
    """Return test pictures with the lower half of the training picture whose upper half is nearest."""
    a, b = (x[:, :half].reshape(len(x), -1).astype(np.float32) for x in (train, test))
    apart = (a**2).sum(1) - 2 * b @ a.T
    return np.concatenate([test[:, :half], train[apart.argmin(1), half:]], 1)


def average(train: np.ndarray, test: np.ndarray, half: int) -> np.ndarray:
    """Return test pictures with the lower half of the mean training picture."""
    below = np.broadcast_to(np.round(train[:, half:].mean(0)), (len(test), *train[:, half:].shape[1:]))
    return np.concatenate([test[:, :half], below.astype(np.uint8)], 1)


def error(test: np.ndarray, filled: np.ndarray, half: int) -> float:
    """Return the mean squared error of the lower half, in grey levels of 0 to 255."""
    return float(np.mean((test[:, half:].astype(float) - filled[:, half:]) ** 2))


def picked(test: np.ndarray) -> np.ndarray:
    """Return the numbers of the pictures that are shown."""
    return np.linspace(0, len(test) - 1, SHOWN).astype(int)


def shown(test: np.ndarray, mask: np.ndarray, ways: list[np.ndarray], path: Any) -> None:
    """Draw columns of pictures: the original, what is left of it, then each way to fill it."""
    rows = np.concatenate([test, np.where(mask, 96, test), *ways])
    save_picture(grid(rows[..., None].astype(np.uint8), SHOWN, max(1, 64 // test.shape[1])), path)


def run(*, quick: bool = False) -> Report:
    """Fill in lower halves, compare."""
    checks, details = [], {}
    limits: dict[str, Any] = QUICK_VAE if quick else {"budget": f"{MINUTES}m", "random_state": 0}
    for name, load in SETS.items():
        pictures = load(8 if quick else None)
        model = VAE(**{**pictures.settings, **limits}, output="mean").fit(pictures.train, valid=pictures.valid)
        test = pictures.test[:TESTED]
        half = test.shape[1] // 2
        mask = np.zeros(test.shape[1:], bool)
        mask[half:] = True
        plain = {"nearest": nearest(pictures.train, test, half), "mean picture": average(pictures.train, test, half)}
        begun = time.perf_counter()
        filled = model.impute(test, mask, how="mean", random_state=0)
        seconds = time.perf_counter() - begun
        few = picked(test)
        draws = [model.impute(test[few], mask, how="draw", random_state=seed) for seed in range(DRAWS)]
        chain = model.set_params(filling="gibbs").impute(test, mask, how="mean", random_state=0)
        kept = all(
            np.array_equal(x[:, :half], of[:, :half]) for of, x in ((test, filled), *((test[few], d) for d in draws))
        )
        checks.append(Check(f"{name}: upper halves", "as they were", "as they were" if kept else "changed", kept))
        found = {way: error(test, x, half) for way, x in {"vae": filled, "pseudo-Gibbs": chain, **plain}.items()}
        beside = "; ".join(f"{way} {found[way]:,.0f}" for way in plain)
        met = found["vae"] < min(found[way] for way in plain)
        what = f"{name}: squared error of lower halves, {len(test):,} pictures"
        checks.append(Check(what, "below both baselines", f"{found['vae']:,.0f} ({beside})", met))
        details[name] = found | {"seconds": round(seconds, 1), "steps": model.steps_}
        if not quick:
            path = record.RESULTS / f"variational_inpainting_{name.split()[0].lower()}.png"
            shown(test[few], mask, [filled[few], *draws, plain["nearest"][few]], path)
    notes = [
        f"VAEs, {MINUTES} minutes each. Pictures in `variational_inpainting_*.png`: columns of original, upper half, mean filling, "
        f"{DRAWS} draws, nearest neighbour by the upper half. Errors in squared grey levels (0 to 255).",
        "Faces: 4 people whom neither the model nor the neighbours met.",
        'By `filling="gibbs"` in place of the default for images, `anneal`: '
        + "; ".join(f"{name} {found['pseudo-Gibbs']:,.0f}" for name, found in details.items())
        + ". How chains are led was chosen on 300 validation digits.",
    ]
    return Report("Lower halves filled in", checks, notes, list(range(DRAWS)), details)
