"""One run per folder: a lock that the kernel holds, so that it ends with its process, whatever ends that."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from .errors import Problem

try:
    import fcntl
except ImportError:  # Windows has no such locks: runs are not kept apart there
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
TRIES, PAUSE = 5, 0.05

_HELD: ContextVar[tuple[Path, ...]] = ContextVar("held", default=())


@contextlib.contextmanager
def alone_in(folder: str | Path, what: str = "a run") -> Iterator[None]:
    """Keep everyone else from writing into a run folder, which is created if need be and removed again if it stays empty.

    The lock is `flock` on a file of the folder that says who holds it. It is released by the kernel when the process ends, also by
    a kill, so it is never stale. Processes that train together hold one lock; who holds a folder may lock it, or one inside it, again.

    Arguments:
        folder: The run folder.
        what: What is going on there, for the one who is turned away; the command line, for example.

    Errors:
        Problem: If another process writes there, with its number and since when; or if the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place, alone_in(f"{place}/vae"):
        ...     (Path(place) / "vae" / LOCK_FILE).exists()
        True
    """
    from . import ranks  # and torch with it, which those who only look can do without

    place = Path(folder).resolve()
    if any(place.is_relative_to(held) for held in _HELD.get()):
        yield
        return
    ranks.start()
    missing = [p for p in (place, *place.parents) if not p.exists()]
    taken: list[int] = []
    on_first(lambda: taken.append(_take(Path(folder), what)))
    token = _HELD.set((*_HELD.get(), place))
    try:
        yield
    finally:
        _HELD.reset(token)
        if taken:
            (place / LOCK_FILE).unlink(missing_ok=True)
            os.close(taken[0])
            with contextlib.suppress(OSError):  # a folder that holds something is kept, and those above it
                for empty in missing:
                    empty.rmdir()


def holder(folder: str | Path) -> str:
    """Return who writes into a run folder at this moment, in words; empty if nobody does."""
    path = Path(folder) / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return "" if _locked(handle) else _named(handle)
    finally:
        os.close(handle)


def on_first(act: Callable[[], object]) -> None:
    """Do something in the first of the processes that train together; a `Problem` there is one in all of them."""
    from . import ranks

    refusal = ""
    if ranks.is_first():
        try:
            act()
        except Problem as e:
            refusal = str(e)
    if ranks.any_of(bool(refusal))[0]:
        raise Problem(refusal or "the first process was refused; its line says why.")


def _take(folder: Path, what: str) -> int:
    """Return the handle of a locked file that lies in the folder."""
    path, tries = folder / LOCK_FILE, 0
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as e:
            raise Problem(f"cannot write to {folder} ({e.strerror}). Choose another --out.") from None
        locked, named = _locked(handle), _named(handle)
        if locked and _lies_at(handle, path):
            break
        os.close(handle)
        tries += 1  # not at once: it may be on its way out, or somebody who only looks
        if not locked and tries > TRIES:
            raise Problem(f"{folder} is being written by {named}. Wait for it, or choose another --out.")
        time.sleep(PAUSE)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    about = {"pid": os.getpid(), "host": platform.node(), "since": since, "what": what}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(about).encode(), 0)
    return handle


def _locked(handle: int) -> bool:
    """Lock an open file if nobody else has; where a file system knows no locks, nobody has."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _named(handle: int) -> str:
    try:
        about = json.loads(os.pread(handle, 100_000, 0))
        where = "" if about["host"] == platform.node() else f" on {about['host']}"
        return f"process {about['pid']}{where} since {about['since']} ({' '.join(str(about['what']).split())})"
    except (ValueError, KeyError, TypeError, OSError):  # it has just been taken, and says nothing yet
        return "another process"


def _lies_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
