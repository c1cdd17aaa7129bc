"""Batches and noise that depend on the seed and the place in the run only, so that a resumed run repeats every byte."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from .. import ranks
from ..errors import Problem
from ..layout import Code

LARGE = 4 * 2**30  # bytes of data that are moved to an accelerator as a whole


class Feed:
    """Hands out the batches of one fit: every epoch is a fresh shuffle, every process takes its rows, every place can be found again.

    Arguments:
        code: The training data: one tensor that is indexed by batch.
        seed: Seed of the order.
        size: Records in the global batch, which the processes share.
        device: Where batches are wanted.
    """

    def __init__(self, code: Code, seed: int, size: int, device: torch.device) -> None:
        self.code = code.to(device) if code.x.numel() * code.x.element_size() < LARGE else code
        self.seed, self.size, self.device = seed, size, device
        self.position = 0
        self._epoch, self._order = -1, torch.empty(0)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.code) // self.size)

    def go_to(self, position: int, size: int) -> None:
        """Go on after `position` batches of `size` records, as another number of processes may have begun.

        Errors:
            Problem: If these processes cannot share `size` records evenly.
        """
        if size % ranks.world():
            raise Problem(
                f"this run takes {size} records per step, which {ranks.world()} processes cannot share evenly. "
                f"Start a number that divides {size}."
            )
        self.position, self.size = position, size

    def next(self) -> tuple[Tensor, Tensor | None]:
        """Return `x` and labels of the next batch, and move on."""
        epoch, place = divmod(self.position, self.per_epoch)
        if epoch != self._epoch:
            order = torch.Generator().manual_seed(mix(self.seed, epoch, 7))
            self._epoch = epoch
            self._order = torch.randperm(len(self.code), generator=order).to(self.code.x.device)
        self.position += 1
        rows = ranks.mine(self._order[place * self.size : (place + 1) * self.size])
        x = self._drawn(rows) if self.code.chance is not None else self.code.x.index_select(0, rows)
        x = x.to(self.device, non_blocking=True)
        y = None if self.code.y is None else self.code.y.index_select(0, rows).to(self.device)
        return x, y

    def _drawn(self, rows: Tensor) -> Tensor:
        """Return fresh draws of binary values, from the place in the run: the global batch's, this process's rows of them."""
        assert self.code.chance is not None
        rng = torch.Generator().manual_seed(mix(self.seed, self.position, 11))
        u = ranks.mine(torch.rand(self.size, self.code.chance.shape[1], generator=rng))
        chance = self.code.chance.index_select(0, rows)
        return (u.to(chance.device) * 255 < chance).to(torch.uint8)


class Noise:
    """The random numbers of a move: a generator for the loss, and torch's own one for layers such as dropout."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.rng = torch.Generator(device=device)
        self._layers = torch.default_generator
        if device.type == "cuda":
            self._layers = torch.cuda.default_generators[device.index or 0]

    def at(self, *place: int) -> torch.Generator:
        """Return the generator of the move at `place`, both seeded anew."""
        # Layers draw for the rows of their own process, the loss draws for the global batch.
        self._layers.manual_seed(mix(self.seed, ranks.rank() + 1, *place))
        return self.rng.manual_seed(mix(self.seed, *place))


def mix(*numbers: int) -> int:
    """Return a 63-bit seed that depends on all numbers and their order (splitmix64).

    Example:
        >>> mix(1, 2) == mix(1, 2), mix(1, 2) == mix(2, 1), mix(0) == mix(0, 0)
        (True, False, False)
    """
    state = 0
    for n in numbers:
        state = (state + n + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def fingerprint(code: Code) -> str:
    """Return a short hash of all values and labels: a run goes on with the same data only.

    Example:
        >>> fingerprint(Code(torch.ones(2, 3))) == fingerprint(Code(torch.ones(3, 2)))
        False
    """
    digest = hashlib.sha256()
    for part in (code.x, code.y):
        if part is not None:
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def spread_rows(code: Code, most: int) -> Code:
    """Return at most `most` records, evenly spaced, so that data sorted by label keep all their labels."""
    return code if len(code) <= most else code[torch.arange(most) * len(code) // most]
