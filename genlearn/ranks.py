"""Several processes as one: the only file that talks to torch.distributed. Alone, every function is the identity."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def start() -> None:
    """Join the process group that `torchrun` announced through the environment; do nothing without one, or if it was joined."""
    announced = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if not announced or int(os.environ["WORLD_SIZE"]) < 2 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        distributed.init_process_group("cpu:gloo,cuda:nccl")
    else:
        distributed.init_process_group("gloo")
    atexit.register(distributed.destroy_process_group)


def rank() -> int:
    """Return this process's number, 0 alone."""
    return distributed.get_rank() if _together() else 0


def world() -> int:
    """Return the number of processes, 1 alone."""
    return distributed.get_world_size() if _together() else 1


def is_first() -> bool:
    """Return whether this process writes files and prints."""
    return rank() == 0


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def mine(global_rows: Tensor) -> Tensor:
    """Return this process's share of rows drawn for the global batch, so that N processes see what one would."""
    if world() == 1:
        return global_rows
    return global_rows.chunk(world())[rank()]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes, with one flattened all-reduce."""
    if world() == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    if grads:
        flat = mean(torch.cat([g.flatten() for g in grads]))
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))


def average_buffers(module: nn.Module) -> None:
    """Replace floating-point buffers by their mean over processes."""
    if world() > 1:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(mean(buffer))


def mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over processes."""
    if world() == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total / world()


def any_of(*flags: bool) -> list[bool]:
    """Return for each flag whether any process raised it: decisions that all take alike, at the same step."""
    if world() == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.uint8)
    distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
    return [bool(r) for r in raised]


def share(value: float) -> float:
    """Return the first process's value everywhere."""
    if world() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared)


def wait() -> None:
    """Wait for the other processes."""
    if world() > 1:
        distributed.barrier()
