"""The main job on real data, by the same commands that a person types; writes one small JSON per job.

    GENLEARN_DATA=<folder> python -m benchmarks.main_job digits adult binarized mnist animals

| job | shows |
|---|---|
| digits | `genlearn demo`: real data best, the copycat flagged, a trained model ahead of marginals and kernels |
| adult | a mixed table with missing values, all models, 1 minute each |
| binarized | static MNIST, a VAE in 5 minutes: nll <= 95 nats, 500 importance samples |
| mnist | MNIST end to end: a VAE in 5 minutes, then every verb on it |
| animals | colour images from a zip, 3 minutes each |
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import record

RUNS = record.HERE / "runs"


def genlearn(*words: str | Path) -> tuple[str, float]:
    """Run the command; return what it printed and the seconds it took; stop at the first failure."""
    command = [sys.executable, "-m", "genlearn", *map(str, words)]
    print("$ genlearn", *words, flush=True)
    begun = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmarks: genlearn {words[0]} exited {done.returncode}")
    return done.stdout, round(time.perf_counter() - begun, 1)


def fresh(name: str) -> Path:
    """Return an empty run folder."""
    shutil.rmtree(RUNS / name, ignore_errors=True)
    return RUNS / name


def leaderboard(folder: Path, seconds: float) -> dict[str, Any]:
    """Return the rows of a comparison: headline numbers with their intervals, flags, cost."""
    report = json.loads((folder / "report.json").read_text())
    shown = ("nats", "auc", "auc_a", "auc_b", "coverage", "useful", "shapes", "pairs")

    def row(found: dict[str, Any]) -> dict[str, Any]:
        metrics = {k: v for k, v in found.get("metrics", {}).items() if k in shown}
        return {k: found.get(k) for k in ("name", "kind", "copies", "cost") if k in found} | {"metrics": metrics}

    return {
        "seconds": seconds,
        "verdict": report["verdict"],
        "models": [row(r) for r in report["models"]],
        "references": [row(r) for r in report["references"]],
        "skipped": report["skipped"],
        "report_bytes": (folder / "report.html").stat().st_size,
    }


def digits() -> dict[str, Any]:
    out = fresh("digits")
    return leaderboard(out, genlearn("demo", "--out", out)[1])


def adult() -> dict[str, Any]:
    out = fresh("adult")
    table = record.data("tables/adult-train.csv")
    return leaderboard(out, genlearn("compare", table, "--target", "income", "--budget", "1m", "--out", out)[1])


def animals() -> dict[str, Any]:
    out = fresh("animals")
    pictures = record.data("cifar_animals.zip")
    return leaderboard(out, genlearn("compare", pictures, "--models", "vae,gan", "--budget", "3m", "--out", out)[1])


def binarized() -> dict[str, Any]:
    out = fresh("binarized")
    _, fit = genlearn("fit", "vae", record.data("binarized_mnist.npz"), "--budget", "5m", "--seed", "0", "--out", out)
    scored, score = genlearn("score", out, "--samples", "500", "--json")
    found = json.loads(scored)
    return {"bar": "nll <= 95 nats", "fit_seconds": fit, "score_seconds": score, "score": found}


def mnist() -> dict[str, Any]:
    out = fresh("mnist")
    _, fit = genlearn("fit", "vae", record.data("mnist"), "--budget", "5m", "--seed", "0", "--out", out)
    verbs: list[tuple[str | Path, ...]] = [
        ("sample", out, "-n", "64", "--seed", "7", "--out", out / "sample.png"),
        ("sample", out, "-n", "20", "--seed", "7", "--given", "label=3", "--out", out / "threes.png"),
        ("score", out, "--samples", "20", "--json"),
        ("encode", out, "--out", out / "latents.npy"),
        ("decode", out, out / "latents.npy", "--out", out / "decoded.npz"),
        ("reconstruct", out, "--out", out / "reconstructions.png"),
        ("interpolate", out, "0", "1", "--steps", "9", "--out", out / "strip.png"),
        ("traverse", out, "--out", out / "strips.png"),
        ("impute", out, "--mask", "bottom", "--seed", "0", "--out", out / "repaired.png"),
        ("evaluate", out, "--json"),
        ("report", out),
        ("show", out),
    ]
    seconds, printed = {}, {}
    for words in verbs:
        name = f"{words[0]} {words[-1].name if isinstance(words[-1], Path) else ''}".strip()
        printed[name], seconds[name] = genlearn(*words)
    return {
        "fit_seconds": fit,
        "verb_seconds": seconds,
        "score": json.loads(printed["score"]),
        "evaluate": json.loads(printed["evaluate"])["models"][0]["metrics"],
    }


JOBS: dict[str, Callable[[], dict[str, Any]]] = {j.__name__: j for j in (digits, adult, binarized, mnist, animals)}


def main() -> None:
    """Run the jobs that the command line names, all by default."""
    names = sys.argv[1:] or list(JOBS)
    if unknown := [n for n in names if n not in JOBS]:
        sys.exit(f"benchmarks: no job named {unknown[0]}. Jobs: {', '.join(JOBS)}.")
    for name in names:
        print(record.write(f"main_{name}", JOBS[name]()))


if __name__ == "__main__":
    main()
