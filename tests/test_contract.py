"""One contract test over all models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from genlearn.model import model_class, model_names
from genlearn.testing import checks

ALL = [(name, run) for model in model_names() for name, run in checks(model)]


@pytest.mark.parametrize("run", [pytest.param(run, id=name) for name, run in ALL])
def test_law(run: Callable[[], None]) -> None:
    """Every model keeps every law that its capabilities call for."""
    run()  # each check asserts


def test_every_module_defines_one_model() -> None:
    assert {model_class(name).name() for name in model_names()} == set(model_names())
