"""A process that loads folders, from outside: its answers, its peak memory, its end if it ends."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HANGS = 20.0  # seconds of wall time after which a load counts as one that never ends


@dataclass
class Outcome:
    """What came of one folder.

    Arguments:
        kind: `fine`, `problem`, or what must not be: `unprintable`, `error`, `odd`, `died`, `hangs`.
        text: The message.
        cpu: The processor's seconds.
        wall: Seconds.
        seen: What the audit hook saw besides reading files of the folder.
        memory: Peak bytes beyond what the process had before.
        size: Bytes of the folder.
    """

    kind: str
    text: str = ""
    cpu: float = 0.0
    wall: float = 0.0
    seen: list[str] = field(default_factory=list)
    memory: int = 0
    size: int = 0


class Loader:
    """A child that loads folders one by one, started anew where it died.

    Arguments:
        good: Folders that it loads first, so that nothing needs to be imported later.
    """

    def __init__(self, good: Sequence[Path]) -> None:
        self.good, self._child = [str(p) for p in good], None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def load(self, folder: Path) -> Outcome:
        """Return what comes of a folder."""
        child = self._child or self._start()
        Path(f"/proc/{child.pid}/clear_refs").write_text("5")  # the peak begins anew
        before = self._status("VmRSS")
        size = sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())
        assert child.stdin is not None
        child.stdin.write(f"{folder}\n")
        child.stdin.flush()
        said = self._read()
        if said is None:
            kind = "hangs" if child.poll() is None else "died"
            text = f"exit {child.poll()}"
            self._end()
            return Outcome(kind, text, size=size)
        return Outcome(**said, memory=max(0, self._status("VmHWM") - before), size=size)

    def _start(self) -> subprocess.Popen[str]:
        root = Path(__file__).parents[3]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reliability.folders.child"], cwd=root, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(self.good) + "\n")
        self._child.stdin.flush()
        if self._read(120.0) is None:
            raise RuntimeError("the loading process did not start: a good folder does not load")
        return self._child

    def _read(self, seconds: float = HANGS) -> dict[str, Any] | None:
        assert self._child is not None
        assert self._child.stdout is not None
        if not select.select([self._child.stdout], [], [], seconds)[0]:
            return None
        line = self._child.stdout.readline()
        return json.loads(line) if line else None

    def _status(self, key: str) -> int:
        assert self._child is not None
        text = Path(f"/proc/{self._child.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(key))

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
