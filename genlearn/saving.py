"""A fitted model out to a folder and back in: what is stored, and what a folder is allowed to bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import ranks, store
from .codecs import codec_for
from .errors import Problem
from .registry import model_class, model_names

if TYPE_CHECKING:
    from .model import Model


DRAWS = 4  # that a loaded model makes on trial


def names_state(attribute: str) -> bool:
    """Return whether an attribute is learned state by its name: it ends in `_`.

    Example:
        >>> names_state("means_"), names_state("means"), names_state("_cache_")
        (True, False, False)
    """
    return attribute.endswith("_") and not attribute.startswith("_")


def save_model(model: Model, path: Path) -> Path:
    """Write a fitted model to a folder.

    Errors:
        Problem: If the folder cannot be written, or `load` would not find the model's class.
    """
    name = model.name()
    if name not in model_names():
        raise Problem(
            f'load would not find "{name}". Keep {type(model).__name__} in a module of its own, named by an entry point '
            "genlearn.models."
        )
    tensors, values = model._state()
    spec = {"model": name, "params": model.get_params(deep=False), "state": values}
    with ranks.first_does(f"save {path}") as writes:
        if writes:
            store.save(path, spec, model.codec_.modality, model.codec_.to_json(), tensors, _card(model))
    return path


def load_model(path: Path) -> Model:
    """Read a model from a folder that `save_model` wrote.

    Errors:
        Problem: If the folder holds no model, one that is damaged, or one that is not installed here.
    """
    spec, modality, codec, tensors = store.load(path)
    if spec["model"] not in model_names():
        raise Problem(f'{path} holds a model named "{spec["model"]}". Install the package that brings it.')
    found = model_class(spec["model"])
    known = {f.name for f in dataclasses.fields(found) if f.init}
    if unknown := sorted(set(spec["params"]) - known):
        raise Problem(f"{path}/config.json names unknown settings of {spec['model']}: {', '.join(unknown)}.")
    params: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in spec["params"].items()}
    model = found(**params)
    try:
        model._check_params()
        model.codec_ = codec_for(modality).from_json(codec)
        _check_names(model, [*tensors, *spec["state"]])
        model._set_state(tensors, spec["state"])
        model._check_learned()
        _try(model)
    except Problem as e:
        raise Problem(f"{path}: {e}") from e
    except Exception as e:  # what a folder from anywhere may bring about has no end
        cause = (str(e) or type(e).__name__).splitlines()[0]
        cause = f"unknown or missing: {cause}" if isinstance(e, KeyError) else cause
        wrote = spec["versions"].get("genlearn", "another version")
        raise Problem(
            f"{path} does not fit together ({cause}). genlearn {wrote} wrote it: use that, or fit again."
        ) from e
    return model


def _check_names(model: Model, keys: Iterable[str]) -> None:
    """Raise `Problem` unless the model takes what the codec gives, and all keys name learned state: no folder sets anything else."""
    if untaken := sorted(f.kind for f in model.layout_.fields if f.kind not in model.takes):
        raise Problem(f"{model.name()} takes no {untaken[0]} values. Restore the folder.")
    names = {key.partition(".")[0] for key in keys}
    strange = {n for n in names if not names_state(n) or n == "codec_" or hasattr(type(model), n)}
    if strange:
        raise Problem(f"{', '.join(sorted(strange))} cannot be learned state of {model.name()}. Restore the folder.")


def _try(model: Model) -> None:
    """Draw a few records, so that parts that do not go together are found here and not when the model is used."""
    with torch.no_grad():
        code = model._sample(DRAWS, torch.Generator().manual_seed(0), None)
    model.codec_.decode(code).natural()


def _card(model: Model) -> dict[str, Any]:
    """Return the facts for the model card."""
    summary = (type(model).__doc__ or "").strip().splitlines()[0]
    fields = [f"{f.name} ({f.kind})" for f in model.layout_.fields]
    return {"summary": summary, "fields": fields, "measure": model.layout_.measure, "notes": model.codec_.notes}
