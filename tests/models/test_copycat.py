"""What the copycat promises: training records, none twice before all were handed out, and exact matches only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from genlearn.data.records import Records
from genlearn.errors import MissingCapability, Problem
from genlearn.models.copycat import Copycat


def test_hands_out_every_record_before_any_twice() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    model = Copycat(random_state=0).fit(x)
    drawn = model.sample(15, random_state=3)
    counts = pd.Series(drawn[:, 0, 0]).value_counts()
    assert set(counts) == {2, 3}
    assert {tuple(row) for row in drawn.reshape(15, 4)} == {tuple(row) for row in x.reshape(6, 4)}
    assert model.records_.dtype == torch.uint8  # whole levels are kept as bytes


def test_conditions_match_exactly() -> None:
    frame = pd.DataFrame({
        "kind": ["a", "b"] * 60, "n": np.arange(120) * 7, "x": np.linspace(0, 1, 120), "y": np.r_[np.nan, np.arange(119) / 9],
    })  # fmt: skip
    model = Copycat(random_state=0).fit(Records("table", frame))
    assert set(model.sample(80, given={"kind": "b"}, random_state=0)["n"] % 2) == {1}
    assert set(model.sample(5, given={"n": 70}, random_state=0)["n"]) == {70}
    assert model.sample(30, given={"x": "0.2:0.3"}, random_state=0)["x"].between(0.2, 0.3).all()
    with pytest.raises(Problem, match="no training record"):
        model.sample(3, given={"kind": "a", "n": 7})


def test_has_no_likelihood() -> None:
    model = Copycat(random_state=0).fit(np.random.default_rng(0).normal(size=(10, 2)))
    with pytest.raises(MissingCapability, match="likelihood"):
        model.score(np.zeros((2, 2)))
