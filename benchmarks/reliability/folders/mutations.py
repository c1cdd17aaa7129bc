"""Seeded mutations of model folders, as damage makes them and as somebody makes them who recomputes the checksums."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genlearn import store

Files = dict[str, bytes]
NAMES = (store.CONFIG, store.CODEC, store.WEIGHTS)
EXTREMES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 255, 10**6, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, -1e308,
    5e-324, {"$float": "nan"}, {"$float": "inf"}, "", "a", "0", "nan", "\n", "\x1b[2J", "\u202e", "é" * 3000, "../../etc/passwd",
    "/etc/passwd", "{0.__class__}", "%s%n", "__class__", "os", "object", "category", "float64", "datetime64[ns, UTC]", "x" * 100_000,
    [], {}, [[]], [0], [None], [1, 2, 3], ["a", "a"], [1e308] * 50, list(range(300)), {"a": 1}, {"$float": "x"}, [[[[[[[[]]]]]]]],
)  # fmt: skip
DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def read(folder: Path) -> Files:
    """Return the files of a model folder."""
    return {name: (folder / name).read_bytes() for name in NAMES}


def write(folder: Path, files: Files) -> Path:
    """Write files as a model folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def signed(files: Files, config: Any = None) -> Files:
    """Return the files with a config.json whose checksums are right, whatever else it says."""
    config = json.loads(files[store.CONFIG]) if config is None else config
    if not isinstance(config, dict):
        return {**files, store.CONFIG: json.dumps(config).encode()}
    return {**files, store.CONFIG: store._sealed(config, {name: files[name] for name in (store.CODEC, store.WEIGHTS)})}


# -- bytes -----------------------------------------------------------------------------------------------------------
def hurt(data: bytes, rng: random.Random) -> bytes:
    """Return bytes flipped, cut, inserted, zeroed or moved."""
    at, size = rng.randrange(len(data)), rng.choice((1, 2, 8, 64))
    how = rng.randrange(6)
    if how == 0:
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if how == 1:
        return data[:at]
    if how == 2:
        return data[:at] + rng.randbytes(size) + data[at:]
    if how == 3:
        return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]
    if how == 4:
        return data[:at] + data[at + size :]
    return data[at:] + data[:at]


def damage(files: Files, others: list[Files], rng: random.Random) -> Files:
    """A disk's way: bytes of one file, checksums as they were."""
    name = rng.choice(NAMES)
    return {**files, name: hurt(files[name], rng)}


def forged_bytes(files: Files, others: list[Files], rng: random.Random) -> Files:
    """Bytes of the codec or the weights, checksums made right again."""
    name = rng.choice((store.CODEC, store.WEIGHTS))
    return signed({**files, name: hurt(files[name], rng)})


# -- JSON ------------------------------------------------------------------------------------------------------------
def places(value: Any) -> list[tuple[Any, Any]]:
    """Return `(container, key)` of every value inside a JSON value."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += [(value, key), *places(value[key])]
    return found


def change(spec: Any, rng: random.Random) -> None:
    """Change one place of a JSON value: another value, none, one more, another's."""
    found = places(spec)
    if not found:
        return
    where, key = rng.choice(found)
    how = rng.randrange(8)
    if how < 4:
        where[key] = copy.deepcopy(rng.choice(EXTREMES))
    elif how == 4:
        del where[key]
    elif how == 5:
        there, other = rng.choice(found)
        where[key] = copy.deepcopy(there[other])
    elif how == 6 and isinstance(where, list):
        where.extend([copy.deepcopy(where[key])] * rng.choice((1, 2, 100)))
    elif isinstance(where, dict):
        where[rng.choice(("more", "", "__init__", "codec_", "sample", "net_", "part"))] = copy.deepcopy(
            rng.choice(EXTREMES)
        )
    elif isinstance(where[key], int | float):
        where[key] = where[key] * rng.choice((-1, 2, 1e9, 0))


def forged_codec(files: Files, others: list[Files], rng: random.Random) -> Files:
    """Values of codec.json, checksums made right again."""
    spec = json.loads(files[store.CODEC])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change(spec, rng)
    return signed({**files, store.CODEC: json.dumps(spec).encode()})


def forged_config(files: Files, others: list[Files], rng: random.Random) -> Files:
    """Values of config.json, checksums made right again."""
    config = json.loads(files[store.CONFIG])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change(rng.choice((config, config["params"], config["state"])), rng)
        if not all(isinstance(config.get(k), dict) for k in ("params", "state")):
            break
    return signed(files, config)


# -- tensors and whole files -----------------------------------------------------------------------------------------
def twist(t: Tensor, rng: random.Random) -> Tensor:
    """Return a tensor of another shape, type or content."""
    how = rng.randrange(9)
    if how == 0:
        return t.to(rng.choice(DTYPES))
    if how == 1:
        return t.flatten() if t.ndim > 1 else t[None]
    if how == 2:
        return t[: len(t) // 2] if t.ndim else t.repeat(2)
    if how == 3:
        return torch.cat([t, t]) if t.ndim else t[None]
    if how == 4:
        return torch.zeros([0, *t.shape[1:]] if rng.random() < 0.5 else [*t.shape[:-1], 0], dtype=t.dtype)
    if how == 5:
        return t.T if t.ndim == 2 else torch.full_like(t, 0)
    if how == 6:
        return torch.randn(t.shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))).mul(1e3).to(t.dtype)
    out = t.clone().flatten()
    if len(out):
        fill = rng.choice(
            (float("nan"), float("inf"), -1.0, 0.0, 3e38, 255.0, 1e-30) if t.is_floating_point() else (-1.0, 0.0, 99.0)
        )
        out[rng.randrange(len(out)) if how == 7 else slice(None)] = torch.tensor(fill, dtype=torch.float64).to(t.dtype)
    return out.view(t.shape)


def forged_tensors(files: Files, others: list[Files], rng: random.Random) -> Files:
    """Tensors twisted, renamed, lost, added or exchanged, checksums made right again."""
    from safetensors.torch import load

    tensors = load(files[store.WEIGHTS])
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(tensors) or ["x_"])
        t = tensors.get(name, torch.zeros(3))
        how = rng.randrange(10)
        if how < 6:
            tensors[name] = twist(t, rng)
        elif how == 6:
            tensors.pop(name, None)
            tensors[rng.choice(("x_", "means_", "codec_", "net_.x", "__dict__", "a.b_", name + "_"))] = t
        elif how == 7:
            tensors.pop(name, None)
        elif how == 8:
            tensors[rng.choice(("more_", "label_prior_", "seed_", "net_"))] = t
        else:
            tensors[name] = tensors.get(rng.choice(sorted(tensors) or [name]), t).clone()
    return signed({**files, store.WEIGHTS: store.tensor_bytes(tensors)})


def swapped(files: Files, others: list[Files], rng: random.Random) -> Files:
    """Codec, weights or settings of another model, checksums made right again."""
    other = rng.choice(others)
    name = rng.choice(NAMES)
    return signed({**files, name: other[name]})


KINDS: tuple[tuple[Callable[[Files, list[Files], random.Random], Files], int], ...] = (
    (damage, 2), (forged_bytes, 3), (forged_codec, 7), (forged_config, 4), (forged_tensors, 5), (swapped, 2),
)  # fmt: skip


def mutate(files: Files, others: list[Files], rng: random.Random) -> tuple[str, Files]:
    """Return what was done, and the files after it."""
    (kind,) = rng.choices([k for k, _ in KINDS], [weight for _, weight in KINDS])
    return kind.__name__, kind(files, others, rng)
