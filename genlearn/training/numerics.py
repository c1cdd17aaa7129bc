"""Where and how precisely a run computes: devices, fast matrix products, automatic mixed precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Problem

LARGE_NET = 200_000  # weights


def device_of(name: str) -> torch.device:
    """Return the device of a name; `auto` is the current GPU if there is one.

    Errors:
        Problem: If the device is not available here.
    """
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        return torch.empty(1, device=name).device  # with its number
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        why = "torch knows no such device" if "device type at start" in str(e) else str(e).splitlines()[0].rstrip(".")
        raise Problem(f'device "{name}" is not available here ({why}). Use --device cpu.') from None


def placed(net: nn.Module, device: torch.device) -> nn.Module:
    """Move a net to a device for training; on GPUs weights of convolutions have channels last.

    On CPUs convolutions gain a tenth by that order at best, and group normalisation in bf16 takes ten times as long.
    """
    net = net.to(device)
    for p in net.parameters():
        if p.dim() == 4 and device.type == "cuda":
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    return net


def released(net: nn.Module) -> nn.Module:
    """Move a trained net to the CPU, weights in their usual order: so that it computes the same bytes as when it is loaded again."""
    net = net.to("cpu")
    for p in net.parameters():
        p.data = p.data.contiguous()
    return net.eval()


def laid_out_like(p: Tensor, value: Tensor) -> Tensor:
    """Return a gradient or moment of `p` in the strides of `p`: fused optimizers read memory in order, whatever the strides say."""
    return value if value.stride() == p.stride() else torch.empty_like(p).copy_(value)


@contextlib.contextmanager
def fast_products(precision: str) -> Iterator[None]:
    """Switch on fast fp32 matrix products (split bf16 on CPUs, TF32 on GPUs) for the length of a run, and restore what was set.

    torch before 2.9 has no such switches and computes as it always does.
    """
    backends = [] if precision == "fp32" else [(torch.backends.mkldnn, "bf16"), (torch.backends.cuda, "tf32")]
    switches: list[tuple[Any, str]] = [(getattr(b, "matmul", None), word) for b, word in backends]
    switches = [(s, word) for s, word in switches if hasattr(s, "fp32_precision")]
    before = [s.fp32_precision for s, _ in switches]
    for switch, word in switches:
        switch.fp32_precision = word
    try:
        yield
    finally:
        for (switch, _), word in zip(switches, before, strict=True):
            switch.fp32_precision = word


@contextlib.contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Give torch's global generators back as they were: a fit must not change the random numbers of the program around it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def precision_for(asked: str, net: nn.Module, device: torch.device) -> str:
    """Return `fp32` or `bf16` as asked; for `auto`, `bf16` for nets that are large enough to gain by it, else `fast` fp32.

    Measured on 2 cores with AVX512-BF16: a DCGAN trains 1.4 times as fast, a VAE 784-400-20 1.35 times, nets of a few thousand
    weights lose by the conversions. Where bf16 would be emulated, it is not used.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        able = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if able and sum(p.numel() for p in net.parameters()) >= LARGE_NET else "fast"


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context of a forward pass: mixed precision for `bf16`, nothing otherwise."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
