"""Several processes as one: the only file that talks to torch.distributed. Alone, every function is the identity."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from .errors import RunFailed

_HEARD = 5.0  # seconds that a process waits to hear whether the first one has complained already
_LATE = 60.0  # seconds that it waits for the first one to write
_store: Any = None  # of the process group: notes that nobody has to answer
_turns: Counter[str] = Counter()
_apart = False


# -- who is there ------------------------------------------------------------------------------------------------------
def start() -> None:
    """Join the process group that `torchrun` announced through the environment; do nothing without one, or if it was joined."""
    global _store
    if not announced() or distributed.is_initialized():
        return
    if _on_one_machine() and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the machine's name need not resolve, no network is needed
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(local % gpus)
    # NCCL wants a GPU for each process; gloo lets several share one.
    enough = gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # Its functions take the group of the day as a default, and torch's optimizers import it: loaded later, it would keep the
    # group's threads alive beyond the interpreter, which may end in an abort.
    importlib.import_module("torch.distributed.nn")

    with _everyone(), _stoppable():
        _store, number, count = next(distributed.rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if gpus and enough else "gloo"
        distributed.init_process_group(backend, store=_store, rank=number, world_size=count)
    atexit.register(distributed.destroy_process_group)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a process that waits for others to come: it waits outside of Python, which would not heed them."""
    if threading.current_thread() is not threading.main_thread():  # where no signals can be set
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def announced() -> bool:
    """Return whether `torchrun` started this process beside others."""
    named = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return named and int(os.environ["WORLD_SIZE"]) > 1


def _on_one_machine() -> bool:
    local = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return local or os.environ["MASTER_ADDR"] in ("127.0.0.1", "localhost", "::1")


def rank() -> int:
    """Return this process's number, 0 alone."""
    return distributed.get_rank() if _together() else 0


def world() -> int:
    """Return the number of processes, 1 alone."""
    return distributed.get_world_size() if _together() else 1


def is_first() -> bool:
    """Return whether this process writes files and prints."""
    return rank() == 0


@contextlib.contextmanager
def apart() -> Iterator[tuple[int, int]]:
    """Let every process work by itself, as if it were alone; yield its number and how many there are, to share work out by."""
    global _apart
    number, count, before = rank(), world(), _apart
    _apart = True
    try:
        yield number, count
    finally:
        _apart = before


def _together() -> bool:
    return not _apart and distributed.is_available() and distributed.is_initialized()


@contextlib.contextmanager
def _everyone() -> Iterator[None]:
    """End this process, too, when another one is gone: gloo and NCCL notice it in the next exchange."""
    try:
        yield
    except RuntimeError as e:
        raise RunFailed("another process of this run has ended. See what it said, then go on with --resume.") from e


# -- rows and sums -----------------------------------------------------------------------------------------------------
def mine(global_rows: Tensor) -> Tensor:
    """Return this process's share of rows drawn for the global batch, so that N processes see what one would."""
    return global_rows if world() == 1 else global_rows.tensor_split(world())[rank()]


def all_rows(own: Tensor, total: int) -> Tensor:
    """Return the rows of all processes, `total` of them, in the order in which `mine` shared them out; no gradient flows."""
    if world() == 1:
        return own
    rows = own.new_zeros(total, *own.shape[1:])
    mine(rows).copy_(own.detach())
    _add(rows)
    return rows


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes, with one flattened all-reduce."""
    _average([p.grad for p in parameters if p.grad is not None])


def average_buffers(module: nn.Module) -> None:
    """Replace floating-point buffers by their mean over processes."""
    _average([b for b in module.buffers() if b.is_floating_point()])


def _average(tensors: Sequence[Tensor]) -> None:
    add_up(tensors)
    if world() > 1 and tensors:
        torch._foreach_div_(list(tensors), world())


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by their sums over processes, with one flattened all-reduce."""
    if world() == 1 or not tensors:
        return
    flat = torch.cat([t.flatten() for t in tensors])
    _add(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over processes."""
    if world() == 1:
        return values
    total = values.detach().clone()
    _add(total)
    return total / world()


def _add(tensor: Tensor) -> None:
    with _everyone():
        distributed.all_reduce(tensor)


# -- decisions that all take alike -------------------------------------------------------------------------------------
def any_of(*flags: bool) -> list[bool]:
    """Return for each flag whether any process raised it: decisions that all take alike, at the same step."""
    if world() == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.uint8)
    with _everyone():
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
    return [bool(r) for r in raised]


def share(value: float) -> float:
    """Return the first process's value everywhere."""
    if world() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    with _everyone():
        distributed.broadcast(shared, 0)
    return float(shared)


def texts(own: str) -> list[str]:
    """Return the text that every process gave, by its number."""
    if world() == 1:
        return [own]
    body = torch.frombuffer(bytearray(own.encode()), dtype=torch.uint8)
    sizes = torch.zeros(world(), dtype=torch.int64)
    sizes[rank()] = len(body)
    _add(sizes)
    padded = torch.zeros(int(sizes.max()), dtype=torch.uint8)
    padded[: len(body)] = body
    found = [torch.empty_like(padded) for _ in range(world())]
    with _everyone():
        distributed.all_gather(found, padded)
    return [bytes(t[:n].tolist()).decode() for t, n in zip(found, sizes.tolist(), strict=True)]


def wait() -> None:
    """Wait for the other processes."""
    any_of(False)


# -- what only the first does ------------------------------------------------------------------------------------------
@contextlib.contextmanager
def first_does(task: str) -> Iterator[bool]:
    """Yield True on the first process; on the others False, once the first has done the task, or a minute later.

    The first waits for nobody: a program may well let only the first one do it.
    """
    if world() == 1:
        yield True
        return
    _turns[task] += 1
    note = f"{task} {_turns[task]}"
    if not is_first():
        _heard(note, _LATE)
        yield False
        return
    try:
        yield True
    finally:
        _say(note)


def complains() -> bool:
    """Return whether this process should say what is wrong: the first one, or one that is alone with its trouble."""
    if not announced() or os.environ["RANK"] == "0":
        _say("complained")
        return True
    return distributed.is_initialized() and not _heard("complained", _HEARD)


def _say(note: str) -> None:
    if _store is not None:
        with contextlib.suppress(RuntimeError):  # nobody is left to hear it
            _store.set(note, "")


def _heard(note: str, seconds: float) -> bool:
    """Return whether the first process left a note, or is gone; wait for it."""
    end = time.monotonic() + seconds
    try:
        while not _store.check([note]):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
    except RuntimeError:
        pass
    return True
