r"""Invertible nets on vectors: masked autoregressive transforms, one pass in one direction and d passes in the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEEPEST = 3.0  # largest log scale of one transform, so that no product overflows


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are held at zero.

    Arguments:
        mask: `(out, in)`, True where a weight is kept.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        return F.linear(x, self.weight * self.mask, self.bias)


class Autoregressive(nn.Module):
    r"""\(y_i = x_i\, e^{s_i(x_{<i}, h)} + m_i(x_{<i}, h)\), nearly the identity at first.

    Arguments:
        size: Dimensions d.
        context: Numbers in `h`; 0 for none.
        hidden: Units of the one hidden layer.

    References:
        MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), https://arxiv.org/abs/1606.04934
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057

    Example:
        >>> flow = Autoregressive(3)
        >>> x = torch.randn(5, 3)
        >>> y, log_det = flow(x)
        >>> torch.allclose(flow.inverse(y), x, atol=1e-5), tuple(log_det.shape)
        (True, (5,))
    """

    def __init__(self, size: int, context: int = 0, hidden: int = 128) -> None:
        super().__init__()
        self.size = size
        place, unit = torch.arange(size), torch.arange(hidden) % max(1, size - 1)  # unit u sees x_0 .. x_u
        free = torch.ones(hidden, context, dtype=torch.bool)
        self.inner = MaskedLinear(torch.cat([(place[None] <= unit[:, None]) & (size > 1), free], 1))
        self.outer = MaskedLinear((unit[None] < place[:, None]).repeat(2, 1))
        self.direct = nn.Linear(context, 2 * size) if context else None  # the first number has no other way to h
        for layer in (self.outer, self.direct):
            if layer is not None:
                nn.init.normal_(layer.weight, std=1e-3)
                nn.init.zeros_(layer.bias)

    def _parts(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return log scale and shift, `(..., d)` each."""
        seen = x if h is None else torch.cat([x, h], -1)
        out = self.outer(F.elu(self.inner(seen)))
        if h is not None and self.direct is not None:
            out = out + self.direct(h)
        log_scale, shift = out.to(x.dtype).chunk(2, -1)
        return STEEPEST * torch.tanh(log_scale / STEEPEST), shift

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y `(..., d)` and the log determinant `(...)`, in one pass."""
        log_scale, shift = self._parts(x, h)
        return x * torch.exp(log_scale) + shift, log_scale.sum(-1)

    def inverse(self, y: Tensor, h: Tensor | None = None) -> Tensor:
        """Return x `(..., d)`, one number after the other: d passes."""
        x = torch.zeros_like(y)
        for i in range(self.size):
            log_scale, shift = self._parts(x, h)
            x = torch.cat([x[..., :i], ((y - shift) * torch.exp(-log_scale))[..., i : i + 1], x[..., i + 1 :]], -1)
        return x


class Flow(nn.Module):
    """Several autoregressive transforms, the order of the numbers turned round between them.

    Arguments:
        size: Dimensions d.
        layers: How many transforms.
        context: Numbers in `h` that every transform sees.
        hidden: Units of each.
    """

    def __init__(self, size: int, layers: int, context: int = 0, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Autoregressive(size, context, hidden) for _ in range(layers))

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y `(..., d)` and the log determinant `(...)`."""
        total = x.new_zeros(x.shape[:-1])
        for layer in self.layers:
            x, log_det = layer(x, h)
            x, total = x.flip(-1), total + log_det
        return x, total

    def inverse(self, y: Tensor, h: Tensor | None = None) -> Tensor:
        """Return x `(..., d)`."""
        for layer in reversed(self.layers):
            y = layer.inverse(y.flip(-1), h)  # type: ignore[operator]
        return y
