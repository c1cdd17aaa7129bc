"""Data of three times the memory that is allowed: fitted, killed, resumed, scored and sampled under a limit that the kernel keeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import Check, Report
from .limited import SMALL

ALLOWED, ALLOWED_QUICK = 2**30, {"images": 3 * 2**25, "table": 2**27}
TIMES = 3
SIDE = 24  # pixels
COLUMNS = 24
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Story:
    """What became of one source under the limit.

    Arguments:
        killed: Exit status of the fit, which is killed once it has a checkpoint.
        done: Exit status of what comes after: resume, perhaps score, sample.
        peak: Most bytes of the latter beyond those of a warm process.
        errors: What the latter said on stderr if it failed.
    """

    killed: int
    done: int
    peak: int
    errors: str

    @property
    def ends_well(self) -> bool:
        """Whether the fit was killed in its midst, and all that followed worked."""
        return self.killed == -signal.SIGKILL and self.done == 0


def images(path: Path, size: int) -> int:
    """Write uint8 images of about `size` bytes to a `.npy`; return how many: gradients in four directions, with noise."""
    n = size // SIDE**2
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE))
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, SIDE)
    ways = np.stack([np.add.outer(a * ramp, b * ramp) / 2 for a, b in ((1, 0), (0, 1), (1, 1), (2, 0))])
    for start in range(0, n, 2**14):
        count = min(2**14, n - start)
        out[start : start + count] = ways[rng.integers(0, 4, count)] + rng.integers(0, 50, (count, SIDE, SIDE))
    out.flush()
    return n


def table(path: Path, size: int) -> int:
    """Write a table that takes about `size` bytes in memory to a Parquet file, in row groups; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = size // (8 * COLUMNS)
    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, n, 2**16):
        count = min(2**16, n - start)
        city = rng.integers(0, 5, count)
        columns: dict[str, object] = {f"x{j}": city + rng.random(count) for j in range(COLUMNS - 3)}
        columns["count"] = rng.poisson(40, count)
        columns["city"] = np.array(["Basel", "Bern", "Chur", "Genf", "Thun"])[city]
        columns["gap"] = np.where(rng.random(count) < 0.1, np.nan, rng.gamma(2.0, 1.0, count))
        batch = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, batch.schema, use_dictionary=["city"])
        writer.write_table(batch)
    assert writer is not None
    writer.close()
    return n


def tell(kind: str, allowed: int, folder: Path, *, score: bool = False, memory: int | None = None) -> Story:
    """Fit, kill, resume and sample a source of three times the allowed bytes.

    Arguments:
        kind: `images` or `table`.
        allowed: Bytes beyond those of a warm process.
        folder: Where to work.
        score: Whether its test part is scored as well.
        memory: What `GENLEARN_MEMORY` says; by default a half of what is allowed, as genlearn takes a half of what is free.
    """
    name, write = ("data.npy", images) if kind == "images" else ("data.parquet", table)
    write(folder / f"small-{name}", 2**19)
    write(folder / name, TIMES * allowed)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GENLEARN_CACHE": str(folder / "cache"), "PEAK": str(folder / "peak")}
    env |= {"LIMITED_MEMORY": f"{(memory or allowed // 2) / 2**20}MB", "MALLOC_ARENA_MAX": "1"}
    run = str(folder / "run")
    fit = ["fit", "vae", str(folder / name), "--steps", "300", *SMALL, "--out", run]
    after = ["fit", "--resume", run, "--quiet"]
    after += ["--then", "score", run, "--samples", "2", "--quiet"] if score else []
    after += ["--then", "sample", run, "-n", "1000", "--out", str(folder / f"samples-{name}"), "--quiet"]

    def start(words: list[str]) -> subprocess.Popen[bytes]:
        limited = ["-m", "benchmarks.reliability.limited", str(allowed), str(folder / f"small-{name}")]
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, *limited, *words], env=env, cwd=ROOT, **pipes)

    first = start(fit)
    while first.poll() is None and not list(Path(run).glob("checkpoints/step-*")):
        time.sleep(0.05)
    first.kill()
    said = first.communicate()[1].decode()
    if first.returncode != -signal.SIGKILL:
        return Story(first.returncode, -1, 0, said)
    second = start(after)
    said = second.communicate()[1].decode()
    peak = folder / "peak"
    return Story(first.returncode, second.returncode, int(peak.read_text()) if peak.exists() else 0, said)


def run(*, quick: bool = False) -> Report:
    """Tell the story of images, of a table, and of images that are taken into memory nevertheless."""
    checks, scored = [], "" if quick else "scored, "
    for kind, small in ALLOWED_QUICK.items():
        allowed = small if quick else ALLOWED
        with tempfile.TemporaryDirectory(prefix="genlearn-large-") as folder:
            begun = time.perf_counter()
            story = tell(kind, allowed, Path(folder), score=not quick)
            seconds = time.perf_counter() - begun
        failed = f"exit {story.killed}, then {story.done}: {story.errors.strip()[-300:]}"
        checks.append(
            Check(
                f"{kind}: {TIMES * allowed / 2**20:,.0f} MB of data; a VAE is fitted, killed, resumed, {scored}sampled",
                f"at most {allowed / 2**20:,.0f} MB beyond a warm process, kept by the kernel",
                f"{story.peak / 2**20:,.0f} MB, {seconds:.0f} s" if story.ends_well else failed,
                story.ends_well and story.peak <= allowed,
            )
        )
    with tempfile.TemporaryDirectory(prefix="genlearn-large-") as folder:
        refused = tell("images", ALLOWED_QUICK["images"], Path(folder), memory=2**40)
    checks.append(
        Check(
            "the same in memory, as a control: GENLEARN_MEMORY says that there is more than there is",
            "refused by the kernel, told in one line",
            f"exit {refused.killed}: {refused.errors.strip()[-200:]}",
            refused.killed in (1, 2) and "memory" in refused.errors and len(refused.errors.strip().splitlines()) == 1,
        )
    )
    notes = [
        "Beyond a warm process: one that has loaded its libraries and fitted a small source of the same kind.",
        "The limit is RLIMIT_DATA: memory that the process owns alone, touched or not; mapped files are not part of it.",
        "GENLEARN_MEMORY is half of the limit, as the default is half of what is free.",
    ]
    return Report("Data larger than memory", checks, notes)
