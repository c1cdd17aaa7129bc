"""Optimizers by name, step sizes over a run, moving averages of weights, and their state as tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .numerics import laid_out_like

NOTHING = 1e-30  # of a moment: what it moves a weight by is lost in rounding


def optimizer_for(
    parameters: list[nn.Parameter], *, name: str, lr: float, betas: Sequence[float], weight_decay: float
) -> torch.optim.Optimizer:
    """Return an optimizer: `adamw`, `adam` (both fused), `rmsprop` (decay `betas[1]`) or `sgd` (momentum `betas[0]`)."""
    momentum, decay = betas
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr, (momentum, decay), weight_decay=weight_decay, fused=True)
    if name == "adam":
        return torch.optim.Adam(parameters, lr, (momentum, decay), weight_decay=weight_decay, fused=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr, alpha=decay, weight_decay=weight_decay, foreach=True)
    return torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay, foreach=True)


def rate(schedule: str, step: int, steps: int) -> float:
    r"""Return the factor on the step size: 1 (`constant`), \(1 - t\) (`linear`), or \(\frac12(1 + \cos \pi t)\) (`cosine`) after a
    linear warm-up over the first 2 % of the steps; \(t\) is the share of the steps that is done.

    Example:
        >>> [round(rate("cosine", step, 100), 3) for step in (0, 1, 50, 99)], rate("linear", 25, 100)
        ([0.5, 1.0, 0.5, 0.0], 0.75)
    """
    done = step / steps
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - done
    warm = min(1.0, (step + 1) / max(1, steps // 50))
    return warm * 0.5 * (1 + math.cos(math.pi * done))


def add_gradients(parameters: Sequence[nn.Parameter], loss: Tensor) -> None:
    """Add the gradients of a loss to those of the given parameters, and of no others."""
    for p, grad in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
        if grad is not None:
            grad = laid_out_like(p, grad)
            p.grad = grad if p.grad is None else p.grad + grad


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    r"""Move the average of the weights, \(a \leftarrow \delta a + (1 - \delta) w\); buffers are copied.

    At step t, \(\delta = \min(\mathrm{decay}, \frac{1 + t}{10 + t})\), so that the first weights are soon forgotten.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), share)
    for mean, now in zip(average.buffers(), net.buffers(), strict=True):
        mean.copy_(now)


@torch.no_grad()
def sweep(optimizer: torch.optim.Optimizer) -> None:
    """Set moments that are as good as 0 to 0: fading on, they would become denormal numbers, with which CPUs are many times slower."""
    for slots in optimizer.state.values():
        for moment in slots.values():
            if isinstance(moment, Tensor) and moment.dim():
                moment.copy_(nn.functional.hardshrink(moment, NOTHING))


def packed(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's moments as tensors, named `<parameter>.<slot>`."""
    slots = optimizer.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v) for i, named in slots.items() for k, v in named.items() if v is not None}


def unpack(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put moments that `packed` returned back."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, slot = key.split(".")
        p = parameters[int(i)]
        slots.setdefault(int(i), {})[slot] = laid_out_like(p, value) if value.shape == p.shape else value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
