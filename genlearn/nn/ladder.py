r"""Latent hierarchies: several layers of latent vectors between a prior and a record, and the posteriors that go with them.

Latent coordinates \(u\) of every layer are given in units of its prior, \(z_l = m_l(z_{>l}) + s_l(z_{>l})\, u_l\): under the model
all of them are standard normal, whatever the layers above say.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .nets import Shape

STEEPEST, SHARPEST = 5.0, 7.0  # largest log scale of a prior either way; smallest log deviation of a posterior, negated


class Draw(NamedTuple):
    r"""One draw from the posteriors of a batch.

    Arguments:
        u: `(n, latents)` coordinates, layers from the top down.
        params: `(n, out)` what the decoder makes of them.
        gaps: `(n, layers)` \(\log q - \log p\) of each layer's draw, nats.
        kl: `(n, layers)` the mean of the gap over the layer's own noise where it has a closed form, else the gap itself.
    """

    u: Tensor
    params: Tensor
    gaps: Tensor
    kl: Tensor


class Chain(nn.Module):
    r"""Perceptrons between layers: \(q(z_1 \mid x)\, q(z_2 \mid z_1)\) upwards, \(p(z_2)\, p(z_1 \mid z_2)\, p(x \mid z_1)\) downwards.

    Arguments:
        size: Values of a record as the net sees it.
        out: Numbers that the decoder returns.
        labels: Number of labels that are a condition; 0 for none.
        latents: Sizes of the latent layers, from the record upwards.
        hidden: Units of the two tanh layers below each of them.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
    """

    def __init__(self, size: int, out: int, labels: int, latents: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = latents[::-1]
        self.latents, self.values = sum(latents), max(size, out, *hidden)
        below, ends = (size, *latents), (out, *(2 * k for k in latents))
        rows = list(enumerate(zip(latents, hidden, strict=True)))
        self.up = nn.ModuleList(_tanh([below[i] + labels, h, h, 2 * k]) for i, (k, h) in rows)
        self.down = nn.ModuleList(_tanh([k + labels, h, h, ends[i]]) for i, (k, h) in rows)
        self.top = nn.Linear(labels, 2 * latents[-1], bias=False) if labels else None
        if self.top is not None:
            nn.init.zeros_(self.top.weight)

    def features(self, x: Tensor, label: Tensor) -> list[Tensor]:
        """Return what all draws of a record share: the parameters of the lowest posterior."""
        return [self.up[0](torch.cat([x, label], 1))]

    def draw(self, features: list[Tensor], label: Tensor, eps: Tensor) -> Draw:
        """Draw from the posteriors with noise `(n, latents)`."""
        noises = eps.split(self.sizes, 1)[::-1]
        zs: list[Tensor] = []
        entropies: list[Tensor] = []
        stats = features[0]
        for i, noise in enumerate(noises):  # upwards
            if i:
                stats = self.up[i](torch.cat([zs[-1], label], 1))
            mean, log_sd = stats.float().chunk(2, 1)
            log_sd = log_sd.clamp(-SHARPEST, STEEPEST)
            zs.append(mean + torch.exp(log_sd) * noise)
            entropies.append(0.5 * noise.square() + log_sd)
        us: list[Tensor] = []
        gaps: list[Tensor] = []
        for i, (z, entropy) in enumerate(zip(zs, entropies, strict=True)):
            shift, log_scale = self._prior(i, zs, label)
            us.append((z - shift) * torch.exp(-log_scale))
            gaps.append((0.5 * us[-1].square() + log_scale - entropy).sum(1))
        stacked = torch.stack(gaps[::-1], 1)
        return Draw(torch.cat(us[::-1], 1), self.down[0](torch.cat([zs[0], label], 1)), stacked, stacked)

    def generate(self, u: Tensor, label: Tensor) -> Tensor:
        """Return the decoder's numbers for coordinates `(n, latents)`."""
        zs: list[Tensor] = [u[:, :0]] * len(self.sizes)
        for i, part in reversed(list(enumerate(u.split(self.sizes, 1)[::-1]))):
            shift, log_scale = self._prior(i, zs, label)
            zs[i] = shift + torch.exp(log_scale) * part
        return self.down[0](torch.cat([zs[0], label], 1))

    def _prior(self, layer: int, zs: list[Tensor], label: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log deviation of a layer given the one above it."""
        if layer + 1 < len(zs):
            stats = self.down[layer + 1](torch.cat([zs[layer + 1], label], 1)).float()
        elif self.top is not None:
            stats = self.top(label).float()
        else:
            return label.new_zeros(len(label), 1), label.new_zeros(len(label), self.sizes[0])
        mean, log_sd = stats.chunk(2, 1)
        return mean, log_sd.clamp(-STEEPEST, STEEPEST)


class Ladder(nn.Module):
    r"""A deep hierarchy of grids of latent vectors, drawn from coarse to fine, with residual nets both ways.

    Bottom-up, a residual net makes features of the record at every resolution. Top-down, a state starts from a learned grid; every
    rung reads the prior of its latent grid off the state, the posterior off state and features together, and adds the draw.

    Arguments:
        shape: `(channels, height, width)` of a record as the net sees it; a vector is `(size, 1, 1)`.
        out: Channels that the decoder returns for every pixel.
        labels: Number of labels that are a condition; 0 for none.
        width: Channels of the state.
        channels: Channels of every latent grid.
        rungs: How many latent grids there are at each resolution, from coarse to fine, each twice as fine as the one before.
        dropout: Share of the state's channels that is dropped in residual blocks while training.

    References:
        Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Very Deep VAEs (Child, 2021), https://arxiv.org/abs/2011.10650
        NVAE (Vahdat & Kautz, 2020; posteriors relative to priors), https://arxiv.org/abs/2007.03898
    """

    def __init__(
        self, shape: Shape, out: int, labels: int, *, width: int, channels: int, rungs: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.shape, self.out, self.width, self.channels = shape, out, width, channels
        self.fold = 2 if min(shape[1:]) > 16 else 1  # pixels of a large image are worked on in squares of 2 x 2
        self.grids = _grids([-(-side // self.fold) for side in shape[1:]], rungs)
        self.places = [place for place, count in enumerate(rungs[-len(self.grids) :]) for _ in range(count)]
        sizes = [channels * height * width_ for height, width_ in self.grids]
        self.sizes = [sizes[place] for place in self.places]
        self.latents, self.values = sum(self.sizes), width * self.grids[-1][0] * self.grids[-1][1]
        kernel, depth = 3 if max(self.grids[-1]) > 1 else 1, len(self.places)
        self.stem = nn.Conv2d(shape[0] * self.fold**2, width, kernel, padding=kernel // 2)
        self.up = nn.ModuleList(Residual(width, kernel, dropout, 1.0) for _ in self.grids)
        self.start = nn.ParameterList(nn.Parameter(torch.zeros(1, width, *grid)) for grid in self.grids)
        self.rungs: Any = nn.ModuleList(Rung(width, channels, kernel, dropout, depth**-0.5) for _ in self.places)
        self.end = nn.Conv2d(width, out * self.fold**2, kernel, padding=kernel // 2)
        self.label = nn.Linear(labels, 2 * width, bias=False) if labels else None

    def features(self, x: Tensor, label: Tensor) -> list[Tensor]:
        """Return what all draws of a record share: what every rung sees of it, from coarse to fine."""
        h = self.stem(self._folded(x))
        if self.label is not None:
            h = h + self.label(label)[:, : self.width, None, None].to(h.dtype)
        found = []
        for grid, block in zip(reversed(self.grids), reversed(self.up), strict=True):
            h = block(h if h.shape[2:] == grid else F.adaptive_avg_pool2d(h, grid))
            found.append(h)
        found.reverse()
        return [rung.bridge(found[place]) for rung, place in zip(self.rungs, self.places, strict=True)]

    def draw(self, features: list[Tensor], label: Tensor, eps: Tensor) -> Draw:
        """Draw from the posteriors with noise `(n, latents)`."""
        us: list[Tensor] = []
        gaps: list[Tensor] = []
        kls: list[Tensor] = []
        h = features[0][:, :0]
        for i, (place, noise) in enumerate(zip(self.places, eps.split(self.sizes, 1), strict=True)):
            h, rung = self._arrive(h, i, label, features[0].dtype), self.rungs[i]
            mean, log_sd = rung.posterior(h, features[i])
            noise = self._grid(noise, place)
            u = mean + torch.exp(log_sd) * noise
            h = rung.add(h, u)
            gaps.append((0.5 * (u.square() - noise.square()) - log_sd).flatten(1).sum(1))
            kls.append((0.5 * (mean.square() + torch.exp(2 * log_sd) - 1) - log_sd).flatten(1).sum(1))
            us.append(u.permute(0, 2, 3, 1).flatten(1))
        return Draw(torch.cat(us, 1), self._pixels(h), torch.stack(gaps, 1), torch.stack(kls, 1))

    def generate(self, u: Tensor, label: Tensor) -> Tensor:
        """Return the decoder's numbers for coordinates `(n, latents)`."""
        h = u[:, :0]
        for i, (place, part) in enumerate(zip(self.places, u.split(self.sizes, 1), strict=True)):
            h = self.rungs[i].add(self._arrive(h, i, label, u.dtype), self._grid(part, place))
        return self._pixels(h)

    def posterior(self, features: list[Tensor], label: Tensor, known: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mean and log deviation of the layer below those `known` `(n, k)`, in units of its prior; None below the last."""
        h, start = known[:, :0], 0
        for i, (place, size) in enumerate(zip(self.places, self.sizes, strict=True)):
            h = self._arrive(h, i, label, features[0].dtype)
            if start == known.shape[1]:
                mean, log_sd = (t.permute(0, 2, 3, 1).flatten(1) for t in self.rungs[i].posterior(h, features[i]))
                return mean, log_sd
            h = self.rungs[i].add(h, self._grid(known[:, start : start + size], place))
            start += size
        return None

    # -- the way of the state ----------------------------------------------------------------------------------------
    def _arrive(self, h: Tensor, i: int, label: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the state that rung `i` meets: on a finer grid than the last one's, it is enlarged."""
        place = self.places[i]
        if i and place == self.places[i - 1]:
            return h
        start = self.start[place].expand(len(label), -1, -1, -1)
        if i == 0:
            if self.label is not None:
                start = start + self.label(label)[:, self.width :, None, None]
            return start.to(dtype).contiguous(memory_format=torch.channels_last)
        return F.interpolate(h, self.grids[place]) + start.to(dtype)

    def _grid(self, part: Tensor, place: int) -> Tensor:
        """Return a layer's numbers `(n, size)` on their grid, channels last in memory."""
        return part.view(len(part), *self.grids[place], self.channels).permute(0, 3, 1, 2)

    def _folded(self, x: Tensor) -> Tensor:
        _, height, width = self.shape
        x = x.view(-1, *self.shape)
        x = F.pad(x, (0, -width % self.fold, 0, -height % self.fold))
        return F.pixel_unshuffle(x, self.fold).contiguous(memory_format=torch.channels_last)

    def _pixels(self, h: Tensor) -> Tensor:
        image = F.pixel_shuffle(self.end(F.silu(h)).float(), self.fold)
        return image[:, :, : self.shape[1], : self.shape[2]].flatten(1)


class Residual(nn.Module):
    """A state plus two convolutions of it, with one activation: on CPUs activations cost as much as convolutions."""

    def __init__(self, width: int, kernel: int, dropout: float, scale: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.drop = nn.Dropout2d(dropout)
        with torch.no_grad():
            self.second.weight.mul_(scale)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(self.drop(F.silu(self.first(h))))


class Rung(nn.Module):
    """One latent grid of a ladder: its prior and posterior, and what the state becomes with a draw of it.

    Arguments:
        width: Channels of the state.
        channels: Channels of the latent grid.
        kernel: Side of the convolutions.
        dropout: Share of channels dropped while training.
        scale: Factor on the first weights of what is added to the state.
    """

    def __init__(self, width: int, channels: int, kernel: int, dropout: float, scale: float) -> None:
        super().__init__()
        self.look = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.bridge = nn.Conv2d(width, width, 1)
        self.stats = nn.Conv2d(width, 2 * channels, 1)
        self.prior = nn.Conv2d(width, 2 * channels, 1)
        self.into = nn.Conv2d(channels, width, 1)
        self.after = Residual(width, kernel, dropout, scale)
        with torch.no_grad():
            self.stats.weight.mul_(0.1)
            self.prior.weight.mul_(0.1)

    def posterior(self, h: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log deviation in units of the prior, from the state and what the bridge made of the record."""
        mean, log_sd = self.stats(F.silu(self.look(h) + features)).float().chunk(2, 1)
        return mean, log_sd.clamp(-SHARPEST, STEEPEST)

    def add(self, h: Tensor, u: Tensor) -> Tensor:
        """Return the state with latent coordinates `u` in it."""
        mean, log_sd = self.prior(h).float().chunk(2, 1)
        z = mean + torch.exp(log_sd.clamp(-STEEPEST, STEEPEST)) * u
        return self.after(h + self.into(z))


def _grids(finest: list[int], rungs: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the resolutions, from coarse to fine: fewer than asked for where an image is too small to be halved so often."""
    grids = [(finest[0], finest[1])]
    while len(grids) < len(rungs) and min(grids[0]) > 1:
        grids.insert(0, (-(-grids[0][0] // 2), -(-grids[0][1] // 2)))
    return grids


def _tanh(sizes: list[int]) -> nn.Sequential:
    """Return a perceptron with tanh between its layers."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
