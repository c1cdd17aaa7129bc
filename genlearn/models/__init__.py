"""One file per model; adding a model touches this folder only. `from genlearn.models import GMM` imports on use."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from ..model import model_class, model_names

    for module in model_names():
        if module.replace("_", "") == name.lower() and name[0].isupper():
            return model_class(module)
    raise AttributeError(f"genlearn.models has no {name!r}")


def __dir__() -> list[str]:
    from ..model import model_class, model_names

    return [model_class(name).__name__ for name in model_names()]
