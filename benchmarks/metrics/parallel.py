"""Many independent draws on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def workers() -> Iterator[Executor]:
    """Give a pool of fresh processes, one per core; set OMP_NUM_THREADS=1, or their threads fight for the cores."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield pool


def draws(pool: Executor, draw: Callable[[int], T], count: int) -> list[T]:
    """Return `draw(0)` to `draw(count - 1)`; a draw depends on its number only, so the pool's size changes nothing."""
    return list(pool.map(draw, range(count), chunksize=5))
