"""Models by name: the files of `genlearn/models`, and entry points of other packages. Imported when asked for, not before."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Any

from .errors import Problem, did_you_mean

if TYPE_CHECKING:
    from .model import Model


@cache
def model_names() -> tuple[str, ...]:
    """Return the names of all models: files of `genlearn/models`, and entry points `genlearn.models` of other packages."""
    return tuple(sorted({*_own(), *_foreign()}))


@cache
def model_class(name: str) -> type[Model]:
    """Return the class of a model by name.

    Errors:
        Problem: If no model has that name, with the closest one.
        TypeError: If a module does not define what its name promises.

    Example:
        >>> model_class("gmm").__name__
        'GMM'
    """
    if name not in model_names():
        raise Problem(f'no model named "{name}".{did_you_mean(name, model_names())} `genlearn models` lists all.')
    if entry := _foreign().get(name):
        if name in _own():
            raise Problem(f'two models are named "{name}": genlearn\'s own and {entry.value}. Rename the entry point.')
        return _checked(entry.load(), name, entry.value)
    module = importlib.import_module(f"genlearn.models.{name}")
    defined = [c for c in vars(module).values() if _is_model(c) and c.__module__ == module.__name__]
    if len(defined) != 1:
        raise TypeError(f"genlearn/models/{name}.py must define one Model, it defines {len(defined)}")
    return defined[0]


def models_with(capability: type) -> list[str]:
    """Return the names of the models that have a capability, with "(bound)" where a score is one.

    Example:
        >>> from genlearn.capabilities import Scores
        >>> "gmm" in models_with(Scores), "vae (bound)" in models_with(Scores)
        (True, True)
    """
    from .capabilities import Scores  # and torch with it, which the names of models can do without

    found = []
    for name in model_names():
        cls: Any = model_class(name)
        if issubclass(cls, capability):
            weak = capability is Scores and cls.kind != "exact"
            found.append(f"{name} ({cls.kind})" if weak else name)
    return found


def _own() -> list[str]:
    from . import models

    return [m.name for m in pkgutil.iter_modules(models.__path__) if not m.name.startswith("_")]


def _foreign() -> dict[str, importlib.metadata.EntryPoint]:
    return {e.name: e for e in importlib.metadata.entry_points(group="genlearn.models")}


def _is_model(found: Any) -> bool:
    from .model import Model

    return isinstance(found, type) and issubclass(found, Model)


def _checked(found: Any, name: str, where: str) -> type[Model]:
    if not _is_model(found):
        raise TypeError(f"the entry point {name} = {where} must name a subclass of genlearn.Model")
    if found.name() != name:
        raise TypeError(f"the entry point {name} = {where} must carry the name of its module, {found.name()}")
    return found
