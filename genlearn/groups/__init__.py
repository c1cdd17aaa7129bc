r"""One class per kind of value: how values of that kind are embedded, relaxed, scored and drawn.

All columns of a kind are handled together, so that an image or a wide table is one tensor operation. A kind is a class here and
nothing else: layouts and heads go through `KINDS`.

| kind | embedding | relaxation | factor |
|---|---|---|---|
| real | \(x\) | the raw number | normal |
| ordered | \((k - \mathrm{loc}) / \mathrm{scale}\) | tanh on bounded lattices, else the raw number | discretised logistics |
| binary | \(x\) | sigmoid | Bernoulli |
| category | one-hot | Gumbel softmax | softmax |
"""

from __future__ import annotations

from .base import Group
from .levels import Binary, Category
from .numbers import Ordered, Real

# The order in which parameters and embeddings are laid out.
KINDS: dict[str, type[Group]] = {"real": Real, "ordered": Ordered, "binary": Binary, "category": Category}

__all__ = ["KINDS", "Group"]
