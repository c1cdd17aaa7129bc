"""How large trees are: what models say of themselves, against what they hold, and what the report shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genlearn.model import model_class
from genlearn.report import trees


@pytest.mark.parametrize("name", ["forest", "densitytree", "sequentialtree"])
def test_leaves_and_splits_add_up(name: str) -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(300, 1)), 3, 1) + 0.3 * rng.normal(size=(300, 3))
    model: Any = model_class(name)(random_state=0).fit(x)
    assert isinstance(model, trees.HasTrees)
    sizes = model.tree_sizes()
    leaves = sum(n for _, n, _ in sizes)
    wanted = (sum(model.nodes_) + len(model.nodes_)) // 2 if name == "sequentialtree" else len(model.weights_)
    assert leaves == wanted
    for _, n, depth in sizes:
        assert depth is None or depth + 1 <= n <= 2**depth, "no binary tree has fewer or more leaves"
    drawing = trees.draw(trees.exhibit(model)["trees"], "as is", 1)
    assert drawing.count("<rect") == (len(sizes) if len(sizes) > 1 else 0)
