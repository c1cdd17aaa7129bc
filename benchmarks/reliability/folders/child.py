"""The process that loads folders: told one path a line, it answers one line of JSON. A hook sees all that Python does meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
import zoneinfo
from pathlib import Path
from typing import Any

SAFETY = 3 * 2**30  # bytes beyond which the system refuses, so that a miss does not take the machine with it
HARMLESS = (
    "object.__getattr__",
    "object.__setattr__",
    "sys._getframe",
    "builtins.id",
    "array.__new__",
    "cpython.PyInterpreterState",
)
ZONES = tuple(zoneinfo.TZPATH)  # the time zone database: zoneinfo refuses names that lead out of it


class Watch:
    """What an audit hook saw: everything but harmless events and opening files of the folder for reading."""

    def __init__(self) -> None:
        self.folder, self.seen = "", list[str]()
        sys.addaudithook(self._see)

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.folder or event.startswith(HARMLESS):
            return
        if event == "open":
            path, mode, flags = os.fspath(args[0]) if not isinstance(args[0], int) else "", args[1], args[2]
            reads = not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and "r" in (mode or "r")
            inside = os.path.realpath(path).startswith(self.folder + os.sep) or path == ""
            if reads and (inside or str(path).startswith(ZONES)):
                return
        self.seen.append(f"{event} {args!r:.200}")


def answer(path: str, watch: Watch) -> dict[str, Any]:
    """Load a folder and draw from it; return what came of it, the processor's seconds, and what the hook saw."""
    import genlearn
    from genlearn.errors import Problem

    watch.folder, watch.seen = os.path.realpath(path), []
    begun, clock = time.process_time(), time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            drawn = genlearn.load(path).sample(2, random_state=0)
        kind, text = ("fine", "") if len(drawn) == 2 else ("odd", f"{len(drawn)} records")
    except Problem as problem:
        text = str(problem)
        kind = "problem" if text.isprintable() and len(text) < 10_000 else "unprintable"
    except BaseException as error:
        kind, text = "error", f"{error!r:.300} {traceback.format_exc()[-600:]}"
    cpu, wall = time.process_time() - begun, time.perf_counter() - clock
    watch.folder = ""
    watch.seen += [f"warning {w.message}" for w in said]
    return {"kind": kind, "text": text, "cpu": cpu, "wall": wall, "seen": watch.seen}


def main() -> None:
    """Answer paths from standard input; the first ones are good folders, loaded before the hook is armed."""
    import genlearn

    warnings.simplefilter("ignore")
    with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError):
        zoneinfo.ZoneInfo("Nowhere/Land")  # imports what is looked at where the system has no such zone
    watch = Watch()
    for good in json.loads(sys.stdin.readline()):
        model = genlearn.load(Path(good))
        model.sample(2, random_state=0)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + SAFETY, used + SAFETY))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line.rstrip("\n"), watch)), flush=True)


if __name__ == "__main__":
    main()
