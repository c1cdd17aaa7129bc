"""Several processes as one: the only file that talks to torch.distributed. Alone, every function is the identity."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def start() -> None:
    """Join the process group that `torchrun` announced through the environment; do nothing without one."""
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


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
        flat = torch.cat([g.flatten() for g in grads])
        distributed.all_reduce(flat)
        flat /= world()
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))


def average_buffers(module: nn.Module) -> None:
    """Replace floating-point buffers by their mean over processes."""
    if world() > 1:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= world()


def agree(value: float) -> float:
    """Return the largest of all processes' values: a decision that all take alike."""
    if world() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return float(shared)


def share(value: float) -> float:
    """Return the first process's value everywhere."""
    if world() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.broadcast(shared, 0)
    return float(shared)


def wait() -> None:
    """Wait for the other processes."""
    if world() > 1:
        distributed.barrier()
