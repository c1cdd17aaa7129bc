"""Gaussian mixtures: a pass of EM beside scikit-learn's from the same start, missing numbers, and 10 million rows from the disk.

Speeds are those of 20 passes and a last scoring, alternating, five times after a warm-up; ratios are taken within a repetition.
Both sides add the same 1e-6 to the variances, and one judge in float64 scores what both end with.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from genlearn.layout import Field, Layout
from genlearn.models._em import DenseEM, FactoredEM
from genlearn.models._levels import Levels
from genlearn.models._mixture import Fitter, Mixture, Rows
from genlearn.models._normals import Dense, Factored
from genlearn.models._starts import closest, clusters

from .. import record
from ..checks import Check, Report

REPETITIONS, PASSES, FLOOR = 5, 20, 1e-6
EQUAL = 1e-4  # nats per record: float32 rounds a log density of 100 nats at 1e-5
MEGABYTES = 1000.0
ROWS, COLUMNS, COMPONENTS = 10_000_000, 16, 20


@cache
def digits(n: int, d: int) -> np.ndarray:
    """Return `(n, d)` standardised principal components of MNIST digits; beyond 60,000, of digits shifted by a pixel."""
    with gzip.open(record.data("mnist/train-images-idx3-ubyte.gz")) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    images = np.concatenate([images, np.roll(images, 1, axis=2)])[:n]
    x = images.reshape(len(images), -1).astype(np.float32)
    x -= x.mean(0)
    vectors = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :d]
    found = (x @ vectors).astype(np.float64)
    return (found - found.mean(0)) / found.std(0)


@cache
def start(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, means and variances `(k, d)` of k-means clusters."""
    x = digits(n, d)
    seen = torch.from_numpy(x[:20_000]).float()
    labels = closest(seen, clusters(seen, k, torch.Generator().manual_seed(0))).numpy()
    weights = np.bincount(labels, minlength=k) / len(labels)
    own = [x[:20_000][labels == c] for c in range(k)]
    return weights, np.stack([o.mean(0) for o in own]), np.stack([o.var(0) + 0.01 for o in own])


def fitter(x: np.ndarray, dense: bool, dtype: torch.dtype = torch.float32) -> Fitter:
    """Return the loop of EM without a prior."""
    levels = Levels(Layout(tuple(Field(f"x{j}", "real") for j in range(x.shape[1]))))
    rows = Rows(torch.from_numpy(x), torch.zeros(len(x), 0), levels, dtype)
    em = DenseEM(0.0, floor=FLOOR) if dense else FactoredEM(0.0, rows.complete)
    return Fitter(rows, None, em, torch.zeros(0, dtype=torch.float64), 0.0, 0.0)


def mixture(weights: Any, means: Any, spread: Any) -> Mixture:
    """Return a mixture with variances `(k, d)` or covariances `(k, d, d)`."""
    w, m, s = (torch.as_tensor(np.asarray(a)).double() for a in (weights, means, spread))
    none = torch.zeros(*m.shape, 0, dtype=torch.float64)
    normals = Dense(m, s) if s.ndim == 3 else Factored(m, none, s)
    return Mixture(w, normals, torch.zeros(len(w), 0, dtype=torch.float64))


def ours(x: np.ndarray, begin: tuple[np.ndarray, ...], dense: bool, passes: int = PASSES) -> tuple[float, Mixture]:
    """Return seconds and what the passes end with."""
    weights, means, variances = begin
    now = mixture(weights, means, np.stack([np.diag(v) for v in variances]) if dense else variances)
    begun = time.perf_counter()
    loop = fitter(x, dense)
    for _ in range(passes):
        now = loop.sweep(loop.rows, now)[1]
    loop.score(loop.rows, now)
    return time.perf_counter() - begun, now


def theirs(x: np.ndarray, begin: tuple[np.ndarray, ...], dense: bool, passes: int, dtype: Any) -> tuple[float, Mixture]:
    """The same with scikit-learn."""
    weights, means, variances = (a.astype(dtype) for a in begin)
    precisions = np.stack([np.diag(1 / v) for v in variances]) if dense else 1 / variances
    model = GaussianMixture(
        len(means), covariance_type="full" if dense else "diag", weights_init=weights / weights.sum(), means_init=means,
        precisions_init=precisions, init_params="random_from_data", random_state=0, max_iter=passes, tol=0, reg_covar=FLOOR,
    )  # fmt: skip
    x = x.astype(dtype)
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x)
    return time.perf_counter() - begun, mixture(model.weights_, model.means_, model.covariances_)


def speed(n: int, d: int, k: int, dense: bool, repetitions: int, passes: int) -> tuple[list[Check], dict[str, Any]]:
    """Compare passes from the same start."""
    x, begin = digits(n, d), start(n, d, k)
    runs: dict[str, Callable[[], tuple[float, Mixture]]] = {
        "genlearn": lambda: ours(x, begin, dense, passes),
        "float64": lambda: theirs(x, begin, dense, passes, np.float64),
        "float32": lambda: theirs(x, begin, dense, passes, np.float32),
    }
    judge = fitter(x, dense, torch.float64)
    scores = {name: judge.score(judge.rows, run()[1]) for name, run in runs.items()}
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            seen[name].append(run()[0] / passes)
    what = f"{'full' if dense else 'diagonal'}, {n // 1000}k x {d}, K = {k}"
    seconds = {name: record.spread(values) for name, values in seen.items()}
    checks = []
    for peer, bar in (("float64", 5.0 if dense else 1.0), ("float32", 2.5 if dense else 1.0)):
        ratio = record.spread([b / a for a, b in zip(seen["genlearn"], seen[peer], strict=True)])
        shown = f"{ratio['median']:.1f}x [{ratio['low']:.1f} {ratio['high']:.1f}]"
        pair = f"{seconds['genlearn']['median']:.3f} s a pass against {seconds[peer]['median']:.3f} s"
        checks.append(
            Check(f"{what}, scikit-learn {peer}", f">= {bar:g}x as fast", f"{shown}, {pair}", ratio["median"] >= bar)
        )
    gap = abs(scores["genlearn"] - scores["float64"])
    checks.append(
        Check(f"{what}, final likelihood beside float64", f"within {EQUAL:g} nats", f"{gap:.1e}", gap <= EQUAL)
    )
    found: dict[str, Any] = {"seconds": seconds, "nats": scores}
    if dense:
        work = 4 * (d * (d + 1) // 2 + d + 1) * k * n / 1e9
        found["gflops"] = work / seconds["genlearn"]["median"]
    return checks, found


def missing(n: int, passes: int) -> tuple[list[Check], dict[str, Any]]:
    """Hide a fifth of the numbers; judge what is learned by whole records, beside learning from them and from means filled in."""
    x, (weights, means, variances) = digits(n, 16), start(n, 16, 20)
    hidden = np.random.default_rng(0).random(x.shape) < 0.2
    judge = fitter(x, True, torch.float64)
    found: dict[str, Any] = {"patterns": len({row.tobytes() for row in hidden})}
    for name, fill in (("whole", x), ("hidden", np.nan), ("means filled in", 0.0)):
        loop = fitter(np.where(hidden, fill, x), True)
        now = mixture(weights, means, np.stack([np.diag(v) for v in variances]))
        begun, nats = time.perf_counter(), []
        for _ in range(passes):
            score, now = loop.sweep(loop.rows, now)
            nats.append(score)
        seconds = (time.perf_counter() - begun) / passes
        found[name] = {"seconds": seconds, "least": float(min(np.diff(nats))), "nats": judge.score(judge.rows, now)}
    own, filled = found["hidden"], found["means filled in"]
    checks = [
        Check(
            f"a fifth of {n // 1000}k x 16 hidden, K = 20: likelihood of what is seen",
            "never falls",
            f"least step {own['least']:.1e} nats, {own['seconds']:.2f} s a pass for {found['patterns']:,} patterns",
            own["least"] > -1e-5,
        ),
        Check(
            "score of whole records",
            "above that with means filled in",
            f"{own['nats']:.2f} nats, {filled['nats']:.2f} with means filled in, {found['whole']['nats']:.2f} with none hidden",
            own["nats"] > filled["nats"],
        ),
    ]
    return checks, found


def write(path: Path, rows: int) -> None:
    """Draw rows from a mixture that was fitted to digits, into a `.npy`."""
    x, begin = digits(60_000, COLUMNS), start(60_000, COLUMNS, COMPONENTS)
    law = ours(x, begin, True)[1]
    assert isinstance(law.normals, Dense)
    roots = torch.linalg.cholesky(law.normals.cov)
    out = np.lib.format.open_memmap(path, "w+", np.float64, (rows, COLUMNS))
    rng = torch.Generator().manual_seed(0)
    for begun in range(0, rows, 100_000):
        which = torch.multinomial(law.weights, min(100_000, rows - begun), replacement=True, generator=rng)
        noise: Tensor = torch.randn(len(which), COLUMNS, dtype=torch.float64, generator=rng)
        out[begun : begun + len(which)] = law.normals.mean[which] + torch.einsum("nij,nj->ni", roots[which], noise)
    out.flush()


def streamed(path: str, passes: int) -> dict[str, float]:
    """Fit a file that the memory allowed cannot hold; return seconds and the peak of resident memory in MB."""
    from genlearn.models import GMM

    seen: list[float] = []
    x = np.load(path, mmap_mode="r")
    begun = time.perf_counter()
    model = GMM(components=COMPONENTS, max_iter=passes, tol=0.0, random_state=0)
    model.fit(x, watch=[lambda event: None if event.done else seen.append(event.seconds)])
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "seconds": time.perf_counter() - begun,
        "seconds_per_pass": float(np.median(np.diff(seen))),
        "peak_mb": int(status["VmHWM"].split()[0]) / 1024,
        "score_of_the_first_1000": model.score(np.array(x[:1000])),
    }


def stream(rows: int, passes: int, memory: str) -> tuple[list[Check], dict[str, Any]]:
    """Measure in a process of its own, with one tenth of the rows beside all of them: the peak must not grow."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("GENLEARN_CACHE")) as folder:
        for n in (rows // 10, rows):
            path = Path(folder) / f"{n}.npy"
            write(path, n)
            child = subprocess.run(
                [sys.executable, "-m", __name__, str(path), str(passes)], stdout=subprocess.PIPE, check=True, text=True,
                env={**os.environ, "GENLEARN_MEMORY": memory, "GENLEARN_CACHE": folder},
            )  # fmt: skip
            found[f"{n:,}"] = json.loads(child.stdout)
            path.unlink()
    last = found[f"{rows:,}"]
    shown = f"{last['peak_mb']:,.0f} MB ({found[f'{rows // 10:,}']['peak_mb']:,.0f} MB for a tenth of the rows)"
    check = Check(
        f"{rows:,} x {COLUMNS} from the disk, K = {COMPONENTS}: peak of resident memory",
        f"below {MEGABYTES:,.0f} MB",
        f"{shown}, {last['seconds_per_pass']:.1f} s a pass",
        last["peak_mb"] < MEGABYTES,
    )
    return [check], found


def run(quick: bool = False) -> Report:
    """Measure all."""
    small = 6_000
    cases = [(100_000, 16, 20, True), (60_000, 50, 50, True), (100_000, 16, 20, False), (60_000, 50, 50, False)]
    checks: list[Check] = []
    details: dict[str, Any] = {}
    for n, d, k, dense in cases:
        n = small if quick else n
        found, details[f"{'full' if dense else 'diagonal'} {n} {d} {k}"] = speed(
            n, d, k, dense, *((1, 3) if quick else (REPETITIONS, PASSES))
        )
        checks += found
    found, details["missing"] = missing(*((small, 3) if quick else (60_000, PASSES)))
    checks += found
    found, details["stream"] = stream(*((1_000_000, 3, "64MB") if quick else (ROWS, 5, "256MB")))
    checks += found
    peak = matmul_peak()
    details["matmul_gflops"] = peak
    shares = ", ".join(
        f"{name}: {d['gflops'] / peak:.0%}" for name, d in details.items() if isinstance(d, dict) and "gflops" in d
    )
    notes = [
        f"{torch.get_num_threads()} threads. Principal components of MNIST digits, standardised; of the 100,000 rows 40,000 are "
        "digits shifted by a pixel. Both sides run in float32 or float64 as named, genlearn in float32 with float64 sums.",
        f"Share of the machine's own float32 matrix product speed ({peak:.0f} GFLOP/s), of a pass's two products alone: {shares}.",
        "From the disk: rows drawn from a mixture of digits; resident memory counts mapped files, the interpreter and libraries.",
    ]
    return Report("Gaussian mixtures: speed, missing numbers, rows from the disk", checks, notes, [0], details)


def matmul_peak() -> float:
    """Return the machine's own matrix-product speed, GFLOP/s."""
    a, best = torch.randn(2048, 2048), 0.0
    for _ in range(5):
        begun = time.perf_counter()
        _ = a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - begun) / 1e9)
    return best


if __name__ == "__main__":
    print(json.dumps(streamed(sys.argv[1], int(sys.argv[2]))))
