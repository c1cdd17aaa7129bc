"""How much memory data may take, and arrays that lie on the disk where they would take more."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import Problem

FORMS = 4  # data are held as they were read, in parts, as codes, and as what is being worked on
BLOCK = 2**20  # values that are worked on at a time
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def allowance() -> int:
    """Return how many bytes of memory data may take: `GENLEARN_MEMORY` ("8GB"), else half of what is free.

    Processes that `torchrun` starts on one machine share that half.

    Example:
        >>> os.environ["GENLEARN_MEMORY"] = "1.5 GB"
        >>> allowance()
        1610612736
        >>> del os.environ["GENLEARN_MEMORY"]
    """
    asked = os.environ.get("GENLEARN_MEMORY", "").strip()
    if not asked:
        return _free() // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", asked, re.I)
    if match is None or not float(match[1]):
        raise Problem(f'GENLEARN_MEMORY must be a size such as 8GB or 500MB, not "{asked}".')
    return int(float(match[1]) * _UNITS[match[2].upper()])


def fits(size: int) -> bool:
    """Return whether so many bytes may be held in memory; else they lie on the disk."""
    return size <= allowance() // FORMS


def room(shape: tuple[int, ...], dtype: Any, *, whole: int | None = None) -> np.ndarray:
    """Return an array to be filled: in memory if it fits, else in a file without a name, which is gone with the process.

    Arguments:
        shape: Of the array.
        dtype: Of the array.
        whole: Bytes of all that it is a part of; None for an array that stands alone.

    Errors:
        Problem: If the disk has no room for it.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if fits(size if whole is None else whole) or not size:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(dir=disk()) as file:
            # A file with holes would let the disk run full in the midst of writing, which kills a process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)
    except OSError as e:
        raise no_room(e, size) from None


def let_go(most: int = 3 * 2**27) -> None:
    """Let mapped files leave the memory where they take more than `most` bytes of it: they are read again where they are needed.

    The kernel does so by itself when memory runs short; done early, a process shows what it needs and no more. Linux only.
    """
    with contextlib.suppress(OSError, AttributeError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        if next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile:")) <= most:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, access, _, device, *_ = line.split()
            if access[3] == "s" and "/dev/" not in line and device != "00:00":  # written through to its file
                start, end = (int(edge, 16) for edge in span.split("-"))
                libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def contents(path: Path) -> bytes | memoryview:
    """Return the bytes of a file, mapped if they do not fit into memory."""
    if fits(path.stat().st_size):
        return path.read_bytes()
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def held(file: IO[bytes], size: int) -> memoryview:
    """Return the next `size` bytes of a stream, on the disk if they do not fit into memory."""
    whole = room((size,), np.uint8).data
    for start in range(0, size, BLOCK):
        part = file.read(min(BLOCK, size - start))
        if len(part) < min(BLOCK, size - start):
            raise EOFError("it ends early")
        whole[start : start + len(part)] = part
    return whole


def no_room(error: OSError, size: int = 0) -> Problem:
    """Return the error of a disk that takes no more."""
    what = f"{in_words(size)} of data that do" if size else "data that do"
    return Problem(
        f"{disk()} has no room for {what} not fit into memory ({error.strerror or error}). "
        "Free the disk, or name another folder with GENLEARN_CACHE."
    )


def disk() -> Path:
    """Return the folder for data that do not fit into memory: the cache, as /tmp may itself lie in memory."""
    from .catalog import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def in_words(size: float) -> str:
    """Return a number of bytes for people.

    Example:
        >>> in_words(3 * 2**30), in_words(200)
        ('3.0 GB', '0.0 MB')
    """
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 else f"{size / 2**20:,.1f} MB"


def block_rows(width: int) -> int:
    """Return how many rows of `width` values are worked on at a time."""
    return max(1, BLOCK // max(1, width))


@cache
def _free() -> int:
    """Return the bytes that were free when first asked: of the machine, of its container, and of the process's own limit."""
    found = [2**33]  # where nothing can be asked
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if (about := Path("/proc/meminfo")).exists():
        found += [int(line.split()[1]) * 1024 for line in about.read_text().splitlines() if "MemAvailable" in line]
    group = Path("/sys/fs/cgroup")
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if (group / most).exists() and (limit := (group / most).read_text().strip()).isdigit():
            found.append(int(limit) - int((group / used).read_text()))
    with contextlib.suppress(ImportError):
        import resource

        own = resource.getrlimit(resource.RLIMIT_DATA)[0]
        found += [own] if own != resource.RLIM_INFINITY else []
    return max(min(found), 2**20)
