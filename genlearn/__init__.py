"""genlearn: generative models for people with real data. Fit, sample, score, repair and compare under one contract."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "read": "data", "Dataset": "data", "Records": "data", "Board": "compare",
    "Problem": "errors", "Model": "model", "check_model": "testing", "diagnose": "metrics",
}  # fmt: skip
__all__ = ["__version__", "compare", "load", *_HOMES]


def load(path: Any) -> Any:
    """Read any model from a folder that `fit --out` or `save` wrote; nothing in it executes."""
    from .model import Model

    return Model.load(path)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in ("compare", "models", "metrics", "data", "codecs", "engine", "layout", "report", "testing"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'genlearn' has no attribute {name!r}")
