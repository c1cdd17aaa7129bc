"""Levels on an integer lattice, once more: mixtures of discretised logistics, in which the colours of a pixel depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import Problem
from .base import LOG_SCALE, Group
from .levels import gumbel
from .numbers import Ordered, logistic

if TYPE_CHECKING:
    from ..layout import Field

TERMS = 2**22  # numbers of a sum over the levels of unknown colours that are held at a time


class Laws(NamedTuple):
    r"""Mixtures of K laws over pixels of C channels, P of them a record.

    Arguments:
        log_weight: `(n, K, P)`, normalised over K.
        mean: `(n, K, C, P)`, in units of the field's scale, before what the earlier channels add.
        log_scale: `(n, K, C, P)`.
        slope: `(n, K, C(C-1)/2, P)`: of channel 1 on 0, of 2 on 0 and 1, ...
    """

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor
    slope: Tensor


class OrderedMixture(Ordered):
    r"""Levels on an integer lattice: a mixture of discretised logistics for every value; for an image in colour, for every pixel.

    \(p(x) = \sum_k \pi_k \prod_c L(x_c;\, \mu_{kc} + \sum_{b<c} a_{kcb}\, x_b,\, s_{kc})\), with L the discretised logistic,
    channels in order and x in units of the field's scale: channels share the weights, and the mean of one moves linearly with
    the levels of those before it. A value that is no pixel is a pixel of one channel.

    Arguments:
        columns: Their columns in the code.
        fields: The field of each.
        alone: Whether they are all that the code holds.
        parts: Components K.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    def __init__(self, columns: list[int], fields: list[Field], *, alone: bool, parts: int) -> None:
        super().__init__(columns, fields, alone=alone)
        first = fields[0]
        self.channels = first.shape[0] if len(first.shape) == 3 and first.size == len(columns) else 1
        self.parts, self.pixels = parts, len(columns) // self.channels
        self.slopes = self.channels * (self.channels - 1) // 2
        self.params = self.pixels * parts * (1 + 2 * self.channels + self.slopes)

    def mixed(self, parts: int) -> Group:
        return Ordered(self.columns, self.fields, alone=self.alone).mixed(parts)

    def laws(self, params: Tensor) -> Laws:
        """Return what the parameters `(n, params)` mean."""
        raw = params.float().reshape(len(params), self.parts, -1, self.pixels)
        logit, mean, log_scale, slope = raw.split([1, self.channels, self.channels, self.slopes], 2)
        return Laws(torch.log_softmax(logit[:, :, 0], 1), mean, log_scale.clamp(*LOG_SCALE), torch.tanh(slope))

    # -- the factor of each pixel ------------------------------------------------------------------------------------
    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        """Return log probabilities of complete values, nats, one per pixel."""
        return self._joint(self.laws(params), self._by_pixel(value), None)

    def nats(self, params: Tensor, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return self.log_prob(params, value).sum(1)
        laws, value = self.laws(params), self._by_pixel(value)
        known = ~torch.isnan(value)
        value = value.masked_fill(~known, 0.0)
        logs = self._joint(laws, value, known)
        # An unknown channel without a known one behind it only leaves its factor out. Others are summed over their levels.
        behind = known.flip(1).cummax(1).values.flip(1) if self.channels > 1 else known
        rows, pixels = (behind & ~known).any(1).nonzero(as_tuple=True)
        if len(rows):
            chosen = Laws(*(part.movedim(-1, 1)[rows, pixels][..., None] for part in laws))
            value, known, behind = (t.movedim(-1, 1)[rows, pixels] for t in (value, known, behind))
            logs = logs.index_put((rows, pixels), self._summed(chosen, value, known, behind & ~known))
        return logs.sum(1)

    def _by_pixel(self, value: Tensor) -> Tensor:
        return value.reshape(len(value), self.channels, self.pixels)

    def _joint(self, laws: Laws, value: Tensor, known: Tensor | None) -> Tensor:
        """Return `(n, P)` log probabilities of `(n, C, P)` levels; factors of unknown channels are left out."""
        units, centres = self._units(value)[:, None], [laws.mean[:, :, 0]]
        for c in range(1, self.channels):
            centres.append(laws.mean[:, :, c] + (self._slope(laws, c) * units[:, :, :c]).sum(2))
        terms = self._mass(units - torch.stack(centres, 2), laws.log_scale, value[:, None].float())
        if known is not None:
            terms = terms.masked_fill(~known[:, None], 0.0)
        return torch.logsumexp(laws.log_weight + terms.sum(2), 1)

    def _slope(self, laws: Laws, c: int) -> Tensor:
        """Return slopes of channel c on those before it, `(n, K, c, P)`."""
        start = c * (c - 1) // 2
        return laws.slope[:, :, start : start + c]

    def _summed(self, laws: Laws, value: Tensor, known: Tensor, open_: Tensor) -> Tensor:
        """Return `(m,)` log probabilities of m pixels `(m, C)`, summed over the levels of the one channel that is `open_`."""
        levels = self.fields[0].levels
        if int(open_.sum(1).max()) > 1:
            raise Problem(
                "several unknown colours of a pixel cannot be summed out where a later one is known. "
                "Hide whole pixels, or use one component (mixtures=1)."
            )
        every = torch.arange(levels, device=value.device, dtype=value.dtype)
        found, rows = [], max(1, TERMS // (levels * self.parts * self.channels))
        for i in range(0, len(value), rows):
            part = slice(i, i + rows)
            grid = torch.where(open_[part, :, None], every, value[part, :, None])  # (rows, C, levels)
            seen = (known | open_)[part, :, None].expand(-1, -1, levels)
            same = Laws(*(law[part].expand(*law[part].shape[:-1], levels) for law in laws))
            found.append(torch.logsumexp(self._joint(same, grid, seen), 1))
        return torch.cat(found)

    # -- draws -------------------------------------------------------------------------------------------------------
    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        laws = self.laws(params)
        uniform = torch.rand(laws.log_weight.shape, generator=generator, device=params.device)
        part = (laws.log_weight + gumbel(uniform)).argmax(1)[:, None, None]
        one = Laws(*(law if i == 0 else _of_part(law, part) for i, law in enumerate(laws)))
        noise = torch.exp(one.log_scale[:, 0]) * logistic(one.mean[:, 0], generator)
        levels = [self.harden(one.mean[:, 0, 0] + noise[:, 0])]
        for c in range(1, self.channels):
            before = self._units(torch.stack(levels, 1))
            moved = (self._slope(one, c)[:, 0] * before).sum(1)
            levels.append(self.harden(one.mean[:, 0, c] + moved + noise[:, c]))
        return torch.cat(levels, 1)

    def centre(self, params: Tensor) -> Tensor:
        """Return the means, rounded; those of later channels as if the earlier ones lay at their component's mean."""
        laws = self.laws(params)
        means = [self._mean(laws.mean[:, :, 0], laws.log_scale[:, :, 0])]
        for c in range(1, self.channels):
            moved = (self._slope(laws, c) * torch.stack(means, 2)).sum(2)
            means.append(self._mean(laws.mean[:, :, c] + moved, laws.log_scale[:, :, c]))
        weight = torch.exp(laws.log_weight)
        return torch.cat([self.harden((weight * mean).sum(1)) for mean in means], 1)

    def _mean(self, centre: Tensor, log_scale: Tensor) -> Tensor:
        r"""Return the mean of a logistic whose tails are held by the edge levels l and h: \(l + s\,[\mathrm{sp}((\mu - l)/s) -
        \mathrm{sp}((\mu - h)/s)]\), sp the softplus."""
        device, scale = centre.device, torch.exp(log_scale)
        low, high = self._units(self._bottom(device)), self._units(self._top(device))
        held = low + scale * (F.softplus((centre - low) / scale) - F.softplus((centre - high) / scale))
        return torch.where(torch.isfinite(high), held, centre)


def _of_part(law: Tensor, part: Tensor) -> Tensor:
    """Return `(n, 1, C, P)` of the chosen component `(n, 1, 1, P)` out of `(n, K, C, P)`."""
    return law.gather(1, part.expand(-1, -1, law.shape[2], -1))
