"""What does the whole evaluation cost? Ten thousand 32x32 colour images, 5,000 generated against 5,000 real, in a process of its own.

The clock starts before the yardstick exists: both feature spaces are learned, all metrics and the copy test run. The peak of
memory is the whole process's, reading included. The generated images are real ones that nobody trained on: nothing is easier
to tell than that, so no classifier stops early.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from .. import record
from ..checks import Check, Report

SECONDS, MEGABYTES = 60.0, 2000.0
PARTS = (7400, 5000, 5000)


def measure(parts: tuple[int, int, int]) -> dict[str, float]:
    """Evaluate CIFAR animals dealt into parts of these sizes; return seconds, CPU seconds and the process's peak in MB."""
    from genlearn.data import read
    from genlearn.data.records import Dataset, Records
    from genlearn.metrics import Yardstick

    found = read(record.data("cifar_animals.zip"))
    whole = Records.join([found.train, found.valid, found.test])
    order = np.random.default_rng(0).permutation(len(whole))
    train, valid, test = np.split(order[: sum(parts)], np.cumsum(parts)[:2])
    data = Dataset("animals", whole.take(train), whole.take(valid), whole.take(test))
    del found, whole
    begun, worked = time.perf_counter(), time.process_time()
    judgement = Yardstick(data).judge(data.valid)
    seconds, work = time.perf_counter() - begun, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"seconds": seconds, "cpu_seconds": work, "peak_mb": peak, "n": judgement.n}


def run(*, quick: bool = False) -> Report:
    """Measure in a child process with two threads."""
    parts = (700, 500, 500) if quick else PARTS
    child = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(parts)],
        env={**os.environ, "OMP_NUM_THREADS": "2"}, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    found = json.loads(child.stdout)
    n = int(found["n"])
    checks = [
        Check(
            f"full evaluation, {n:,} generated against {n:,} real 32x32 colour images, 2 threads",
            f"at most {SECONDS:.0f} s",
            f"{found['seconds']:.1f} s ({found['cpu_seconds']:.1f} s of processor time)",
            found["seconds"] <= SECONDS,
        ),
        Check(
            "peak memory of the process",
            f"at most {MEGABYTES:,.0f} MB",
            f"{found['peak_mb']:,.0f} MB",
            found["peak_mb"] <= MEGABYTES,
        ),
    ]
    notes = [
        f"{parts[0]:,} training images for the feature spaces and the copy test. Reading the files is not in the time."
    ]
    return Report("Cost of the full evaluation", checks, notes, [0], found)


if __name__ == "__main__":
    print(json.dumps(measure(tuple(json.loads(sys.argv[1])))))
