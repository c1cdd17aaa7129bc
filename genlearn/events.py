"""What goes on around a fit: where it happens, and what it tells its watchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from .data.records import Records
    from .model import Model

Watch = Callable[["Event"], None]


@dataclass
class Event:
    """What a running fit tells its watchers.

    Arguments:
        model: The model that is being fitted.
        stage: Name of the phase ("fit" for EM and counts).
        step: Steps or passes done.
        steps: Steps or passes planned, if known.
        seconds: Time since the start of this fit.
        values: Current numbers by name, for example `{"nats": -41.2, "kl": 9.8}`.
        done: The last event of a fit.
        note: A sentence worth showing ("converged after 41 passes").
    """

    model: Model
    stage: str
    step: int
    steps: int | None
    seconds: float
    values: dict[str, float]
    done: bool = False
    note: str = ""


@dataclass
class Run:
    """Where and how a fit happens, apart from what the model is: never part of its configuration.

    Arguments:
        train: The records that are being learned from.
        valid: The validation records, if there are any.
        out: Folder for checkpoints, history and pictures; None keeps nothing on disk.
        resume: Go on from the newest good checkpoint in `out`.
        watch: Callables that receive every `Event`.
        weights: `(n,)` float64, how much every record counts; None for 1 each.
    """

    train: Records
    valid: Records | None = None
    out: Path | None = None
    resume: bool = False
    watch: Sequence[Watch] = ()
    weights: np.ndarray | None = None
