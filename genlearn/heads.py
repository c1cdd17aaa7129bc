r"""The observation distribution \(p(x \mid \theta)\) of a layout, written once for all models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .layout import Layout


class Head:
    r"""The observation distribution \(p(x \mid \theta)\) of a layout: independent factors, one per value, chosen by kind.

    | kind | factor | parameters |
    |---|---|---|
    | real | \(N(x; \mu, \sigma^2)\) | \(\mu, \log\sigma\) |
    | ordered | \(\sigma((k + \frac12 - \mu)/s) - \sigma((k - \frac12 - \mu)/s)\), in units of the field's scale | \(\mu, \log s\) |
    | binary | \(p^x (1-p)^{1-x}\) | logit |
    | category | softmax | logits |

    With K `mixtures` ordered values are mixtures of K discretised logistics, and the colours of a pixel depend on each other: see
    `OrderedMixture`. Then all values of one pixel make one factor.

    Arguments:
        layout: What the columns mean.
        params: `(n, layout.head_params(mixtures))`, grouped by kind in the order real, ordered, binary, category.
        mixtures: Components of ordered values; 1 for single logistics.

    References:
        PixelCNN++ (Salimans et al., 2017; the discretised logistic), https://arxiv.org/abs/1701.05517

    Example:
        >>> from genlearn.layout import Field, Layout
        >>> coin = Layout((Field("heads", "binary"),))
        >>> coin.head(torch.zeros(1, 1)).log_prob(torch.ones(1, 1)).exp()
        tensor([0.5000])
    """

    def __init__(self, layout: Layout, params: Tensor, mixtures: int = 1) -> None:
        self.layout, self.mixtures = layout, mixtures
        groups = layout.factors(mixtures)
        self._parts = list(zip(groups, params.split([g.params for g in groups], 1), strict=True))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return `(n,)` log probabilities in nats of codes `(n, size)`; factors of absent or unknown (NaN) values are left out."""
        total = torch.zeros(len(x), device=x.device)
        for group, params in self._parts:
            total = total + group.nats(params, group.pick(x))
        return total

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes `(n, size)`, float64; NaN where a gate is shut."""
        return self.layout.assemble([group.draw(params, generator) for group, params in self._parts])

    def mean(self) -> Tensor:
        """Return the most typical codes `(n, size)`: means of numbers (lattice ones rounded), modes of the others."""
        return self.layout.assemble([group.centre(params) for group, params in self._parts])

    def without_absent(self) -> Head:
        """Return the head given that no category is missing: what imputation draws from."""
        return Head(
            self.layout, torch.cat([group.without_absent(params) for group, params in self._parts], 1), self.mixtures
        )
