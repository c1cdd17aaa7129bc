"""Run commands of genlearn while their data may grow by so many bytes:
`python -m benchmarks.reliability.limited BYTES SAMPLE WORDS... [--then WORDS...]`

The kernel refuses memory beyond the limit (RLIMIT_DATA: what the process owns alone, not the files that it maps). SAMPLE is a small
source of the same kind: it is fitted first, so that libraries are loaded and warm before the bytes are counted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import threading
import time
from itertools import groupby
from pathlib import Path

from genlearn.cli import main
from genlearn.training import loop

SMALL = ["--net", "mlp", "--latent", "2", "--hidden", "16", "--batch", "32", "--samples", "2", "--seed", "0", "--quiet"]


def run() -> int:
    """Warm up, set the limit, run the commands until one fails; write the peak of memory to the file that PEAK names."""
    allowed, sample, *words = sys.argv[1:]
    commands = [list(part) for is_cut, part in groupby(words, lambda word: word == "--then") if not is_cut]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        _quietly(["fit", "vae", sample, "--steps", "3", *SMALL, "--out", f"{folder}/run"])
        _quietly(["score", f"{folder}/run", "--samples", "2", "--quiet"])
        _quietly(["sample", f"{folder}/run", "-n", "3", "--out", f"{folder}/samples{Path(sample).suffix}", "--quiet"])
    loop.CHECKPOINT_SECONDS = 0.5
    os.environ["GENLEARN_MEMORY"] = os.environ["LIMITED_MEMORY"]
    begun = _anonymous()
    limit = _status("VmData") + int(allowed)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    peak = Peak()
    peak.start()
    status = next((found for found in map(_quietly, commands) if found), 0)
    peak.stopped.set()
    peak.join()
    Path(os.environ["PEAK"]).write_text(str(peak.most - begun))
    return status


class Peak(threading.Thread):
    """Looks at the memory of the process twenty times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped, self.most = threading.Event(), 0

    def run(self) -> None:
        """Look until told to stop."""
        while not self.stopped.is_set():
            self.most = max(self.most, _anonymous())
            time.sleep(0.05)


def _quietly(words: list[str]) -> int:
    """Run a command; return its exit status."""
    try:
        return int(main(words) or 0)
    except SystemExit as done:
        return int(done.code or 0)


def _anonymous() -> int:
    """Return the bytes of memory that belong to no file."""
    return _status("RssAnon")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.exit(run())
