"""How far a long computation is: its loops count, and whoever listens is told. Nothing has to be handed from call to call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
Told = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


@dataclass(eq=False)
class _Loop:
    total: int
    done: int = 0
    innermost: bool = True


@dataclass
class _Listener:
    told: Told
    loops: list[_Loop] = field(default_factory=list)
    reached: float = 0.0

    def tell(self) -> None:
        done, of = 0, 1
        for loop in self.loops:
            done, of = done * loop.total + min(loop.done, loop.total), of * loop.total
        if done > self.reached * of:  # several loops in one turn of another: the first of them counts
            self.reached = done / of
            self.told(done, of)


_LISTENER: ContextVar[_Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(told: Told) -> Iterator[None]:
    """Be told how far `counted` loops inside the block are: of nested ones the innermost, in its own steps.

    What is told rises; with a loop that begins after another has ended, it begins anew.

    Example:
        >>> heard = []
        >>> with listening(lambda done, of: heard.append(f"{done}/{of}")):
        ...     sums = [sum(counted(range(n, n + 2))) for n in counted([5, 6])]
        >>> sums, heard
        ([11, 13], ['1/4', '2/4', '3/4', '4/4'])
    """
    token = _LISTENER.set(_Listener(told))
    try:
        yield
    finally:
        _LISTENER.reset(token)


def counted(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield the items, and tell after each how far the loop is.

    Arguments:
        items: What is looped over.
        total: How many there are; by default their length.
    """
    listener = _LISTENER.get()
    if listener is None:
        yield from items
        return
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    for around in listener.loops:
        around.innermost = False
    if not listener.loops:
        listener.reached = 0.0
    loop = _Loop(total)
    listener.loops.append(loop)
    try:
        for item in items:
            yield item
            loop.done += 1
            if loop.innermost:
                listener.tell()
    finally:
        listener.loops.remove(loop)
