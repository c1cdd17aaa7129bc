r"""A stack of numbers in almost as few bits as their laws allow: asymmetric numeral systems, many lanes at a time.

A lane's state is a whole number \(s \in [2^{32}, 2^{64})\). Pushing a symbol whose law gives it the slots \([a, a + f)\) of
\(2^{24}\) maps \(s \mapsto 2^{24} \lfloor s / f \rfloor + a + s \bmod f\), which makes it longer by \(\log_2(2^{24} / f)\) bits;
popping undoes that. What overflows goes, 32 bits at a time, to one pile that all lanes share. What is popped from a stack on which
nothing was pushed is random and is drawn from the law that was asked for: bits-back coding lives on that.

References:
    Asymmetric numeral systems (Duda, 2009), https://arxiv.org/abs/0902.0271
    Interleaved entropy coders (Giesen, 2014), https://arxiv.org/abs/1402.3392
"""

from __future__ import annotations

import numpy as np

from ..errors import Problem
from .laws import BITS, TOTAL, Law

LOW = np.uint64(2**32)
_WORD, _ROOM, _BITS, _SLOT = np.uint64(32), np.uint64(64 - BITS), np.uint64(BITS), np.uint64(TOTAL - 1)
SEED = 20190115  # of the bits that lie at the bottom of every stack


class Stack:
    """Symbols under integer laws, last in, first out.

    Arguments:
        lanes: How many symbols are coded at a time; each lane costs about five bytes.
        words: What `words()` returned, to pop from; None starts an empty stack.

    Example:
        >>> from genlearn.compress.laws import Uniform
        >>> stack, law = Stack(2), Uniform(3, 16)
        >>> stack.push(law, np.array([3, 15, 0]))
        >>> Stack(2, stack.words()).pop(law)
        array([ 3, 15,  0])
    """

    def __init__(self, lanes: int, words: np.ndarray | None = None) -> None:
        self._bottom = np.random.PCG64(SEED)
        start = LOW + (self._bottom.random_raw(lanes).astype(np.uint64) >> _WORD)
        self._start, self._heads, self._reading = start, start.copy(), words is not None
        self._pile, self._height = np.empty(1024, np.uint32), 0
        if words is not None:
            heads = words[: 2 * lanes].astype(np.uint64)
            self._heads = heads[:lanes] << _WORD | heads[lanes:]
            self._pile, self._height = words[2 * lanes :].copy(), len(words) - 2 * lanes

    def words(self, least: int = 0) -> np.ndarray:
        """Return all that the stack holds as uint32; if there are fewer than `least`, with more of what lies at the bottom."""
        heads = np.concatenate([self._heads >> _WORD, self._heads & (LOW - np.uint64(1))]).astype(np.uint32)
        deeper = _thin(self._bottom.random_raw(max(0, least - len(heads) - self._height)))[::-1]
        return np.concatenate([heads, deeper, self._pile[: self._height]])

    @property
    def bits(self) -> int:
        """Bits on the pile."""
        return 32 * self._height

    def push(self, law: Law, symbols: np.ndarray) -> None:
        """Push one symbol under each of the laws."""
        rows = slice(0, law.size)
        start = law.start(symbols, rows)
        width = law.start(symbols + 1, rows) - start
        if width.size and int(width.min()) < 1:
            raise Problem("the model's probabilities are not in order. Fit again.")
        starts, widths = start.astype(np.uint64), width.astype(np.uint64)
        for i in reversed(range(0, law.size, len(self._heads))):
            self._push(starts[i : i + len(self._heads)], widths[i : i + len(self._heads)])

    def pop(self, law: Law) -> np.ndarray:
        """Pop one symbol under each of the laws."""
        found = np.empty(law.size, np.int64)
        for i in range(0, law.size, len(self._heads)):
            rows = slice(i, min(i + len(self._heads), law.size))
            slot = (self._heads[: rows.stop - i] & _SLOT).astype(np.int64)
            found[rows], start, width = law.find(slot, rows)
            self._pop((slot - start).astype(np.uint64), width.astype(np.uint64))
        return found

    def check_bottom(self) -> None:
        """Raise `Problem` unless the stack is down to what lay at its bottom, as it must be when all was read."""
        drawn = np.random.PCG64(SEED)
        drawn.random_raw(len(self._heads))
        left = self._pile[: self._height][::-1]
        same = np.array_equal(self._heads, self._start) and np.array_equal(left, _thin(drawn.random_raw(len(left))))
        if not same:
            raise unreadable()

    def _push(self, start: np.ndarray, width: np.ndarray) -> None:
        heads = self._heads[: len(start)]
        full = heads >> _ROOM >= width
        if count := int(np.count_nonzero(full)):
            self._make_room(count)
            self._pile[self._height : self._height + count] = heads[full].astype(np.uint32)  # the low halves
            self._height += count
            heads[full] >>= _WORD
        whole, rest = np.divmod(heads, width)
        heads[:] = (whole << _BITS) + start + rest

    def _pop(self, above: np.ndarray, width: np.ndarray) -> None:
        heads = self._heads[: len(above)]
        heads[:] = width * (heads >> _BITS) + above
        short = heads < LOW
        if count := int(np.count_nonzero(short)):
            heads[short] = heads[short] << _WORD | self._take(count).astype(np.uint64)

    def _take(self, count: int) -> np.ndarray:
        """Return the topmost words of the pile; where it is empty, those that lie at the bottom of every stack."""
        if missing := max(0, count - self._height):
            if self._reading:
                raise unreadable()
            found = np.concatenate([_thin(self._bottom.random_raw(missing))[::-1], self._pile[: self._height]])
            self._height = 0
            return found
        self._height -= count
        return self._pile[self._height : self._height + count]

    def _make_room(self, count: int) -> None:
        if self._height + count > len(self._pile):
            grown = np.empty(2 * len(self._pile) + count, np.uint32)
            grown[: self._height] = self._pile[: self._height]
            self._pile = grown


def _thin(raw: np.ndarray) -> np.ndarray:
    return (raw >> _WORD).astype(np.uint32)


def unreadable() -> Problem:
    """Return what is said of bytes that do not come apart as they were put together."""
    return Problem(
        "the file does not come apart as it was put together: it is damaged, or the machine computes other roundings than the one "
        "that wrote it. Use the file as it was written, on the same kind of machine."
    )
