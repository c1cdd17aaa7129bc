"""Hierarchical variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..codecs import Exactness, Given
from ..counting import counted
from ..engine import Batch, Neural, Turn
from ..layout import Code, Head
from ..model import Conditional, Encodes, How, Imputes, Latent, Scores
from ..nn import one_hot
from ..nn.ladder import Chain, Draw, Ladder
from ..nn.priors import LOG_2PI
from ._bounds import RecordNoise, enough
from ._inpaint import completed

CHUNK = 4096
VALUES = 2**22  # in the widest layer of a chunk
MOST_RUNGS = 200
SPREAD = 32  # draws that tell how far posteriors reach


class HVAE(Latent, Scores, Encodes, Imputes, Conditional, Neural):
    r"""Hierarchical variational autoencoder: layers of latent vectors, each the prior of the one below it.

    $$p(x) = \int p(x \mid z)\, p(z_L) \prod_{l < L} p(z_l \mid z_{>l})\, dz, \qquad
      \mathrm{ELBO}(x) = E_q[\log p(x \mid z)] - \sum_l \beta\, E_q\!\left[\log \frac{q(z_l)}{p(z_l)}\right].$$

    | net | layers and posterior |
    |---|---|
    | mlp | vectors of the sizes `latent`, from the record upwards, between perceptrons; bottom-up \(q(z_1 \mid x)\, q(z_2 \mid z_1)\) |
    | ladder | grids from coarse to fine, `rungs` at each resolution, in a residual net; top-down \(q(z_l \mid z_{>l}, x)\) |

    While training, `kl_1` is the term of the top layer in nats, `kl_2` of the next one down, and so on; they sum to `kl`. In a
    ladder each is a KL divergence; in the mlp the lower terms may fall below 0, their sum cannot.

    Latent coordinates are given in units of each layer's prior, from the top down: under the model they are standard normal.
    `encode` returns the posterior means of all layers, each given the means of those that it depends on.

    `score` is the importance-weighted bound \(\log \frac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x) \le \log p(x)\) with
    K = `samples`. Labels are a condition of every layer, and `score` adds the label's log frequency.

    Arguments:
        net: `mlp`, `ladder`, or `auto` (ladder for images of more than 256 values, else mlp).
        latent: Sizes of the latent layers of an mlp, from the record upwards.
        hidden: Units of the two tanh layers below each latent layer of an mlp.
        width: Channels of a ladder's state.
        channels: Channels of each latent grid of a ladder.
        rungs: Latent grids at each resolution of a ladder, from coarse to fine.
        dropout: Share of channels dropped in a ladder's residual blocks while training.
        mixtures: Logistic laws per whole number or pixel that p(x | z) is a mixture of.
        objective: `elbo`, or `iwae`: the importance-weighted bound with `draws` samples.
        draws: Latent draws per record and step, K.
        beta: Weight of the KL terms; 1 is the bound.
        warmup: Share of the training over which the KL weight rises from 0 to `beta`.
        balance: During the warm-up, layers pay in proportion to their KL, so that those that hold little are not given up.
        free_nats: KL per layer (mean over a batch) that costs nothing.
        samples: Importance samples of `score`.
        output: `sample` draws records from p(x | z); `mean` returns its mean.
        filling: How unknown values are drawn: `gibbs` encodes, draws and encodes again; `resample` weighs these draws by how well
            they explain what is known, which corrects an encoder that misses the posterior.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016; mlp with two layers), https://arxiv.org/abs/1509.00519
        Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Very Deep VAEs (Child, 2021), https://arxiv.org/abs/2011.10650
        NVAE (Vahdat & Kautz, 2020; balance), https://arxiv.org/abs/2007.03898

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 3))
        >>> model = HVAE(latent=(3, 2), hidden=(16, 8), steps=20, random_state=0).fit(x)
        >>> model.sample(2, random_state=0).shape, model.encode(x).shape, model.kind_
        ((2, 3), (256, 5), 'bound')
    """

    net: Literal["auto", "mlp", "ladder"] = "auto"
    latent: tuple[int, ...] = (100, 50)
    hidden: tuple[int, ...] = (200, 100)
    width: int = 64
    channels: int = 8
    rungs: tuple[int, ...] = (2, 4, 1)
    dropout: float = 0.0
    mixtures: int = 1
    objective: Literal["elbo", "iwae"] = "elbo"
    draws: int = 1
    beta: float = 1.0
    warmup: float = 0.1
    balance: bool = True
    free_nats: float = 0.0
    samples: int = 100
    output: Literal["sample", "mean"] = "sample"
    filling: Literal["gibbs", "resample"] = "gibbs"
    ema: float = 0.999
    clip: float | None = 200.0

    kind: ClassVar[Exactness] = "bound"

    @classmethod
    def examples(cls) -> list[Self]:
        small: dict[str, Any] = {"steps": 300, "lr": 5e-3, "batch": 64, "samples": 20, "random_state": 0}
        chain = small | {"net": "mlp", "latent": (4, 3), "hidden": (32, 16), "ema": 0.98}
        ladder = small | {"net": "ladder", "width": 16, "channels": 2, "rungs": (1, 1), "ema": 0.98}
        return [cls(**chain), cls(**ladder)]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield "latent", len(self.latent) > 0, "one size or more"
        yield "hidden", len(self.hidden) == len(self.latent), f"as many sizes as latent has, {len(self.latent)}"
        yield "rungs", 0 < sum(self.rungs) <= MOST_RUNGS, f"some, and at most {MOST_RUNGS} in all"
        yield "dropout", 0 <= self.dropout < 1, "from 0 to below 1"
        yield "beta", self.beta >= 0, "0 or more"
        yield "warmup", 0 <= self.warmup <= 1, "from 0 to 1"
        yield "free_nats", self.free_nats >= 0, "0 or more"
        yield "objective", self.objective == "elbo" or not self.free_nats, "elbo where free_nats change the KL term"

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        layout, image = self.layout_, self.layout_.image
        out = layout.head_params(self.mixtures)
        if not self._climbs:
            return Chain(layout.embed_size, out, layout.labels, self.latent, self.hidden)
        shape = image or (layout.embed_size, 1, 1)
        return Ladder(
            shape, out // (shape[1] * shape[2]), layout.labels, width=self.width, channels=self.channels, rungs=self.rungs,
            dropout=self.dropout,
        )  # fmt: skip

    @property
    def _climbs(self) -> bool:
        """Whether the net is a ladder."""
        image = self.layout_.image
        return self.net == "ladder" or (self.net == "auto" and image is not None and math.prod(image) > 256)

    def turns(self, net: Any) -> list[Turn]:
        return [Turn("loss", net, lambda batch: self._loss(net, batch))]

    def _loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        nats, found = self._draws(net, batch.x, batch.y, batch.randn(self.draws, net.latents))
        layers = {f"kl_{i + 1}": kl for i, kl in enumerate(found.kl.mean((0, 1)))}
        weight = self.beta * min(1.0, batch.progress / self.warmup) if self.warmup else self.beta
        if self.objective == "iwae":
            weights = nats - weight * found.gaps.sum(2)
            bound = torch.logsumexp(weights, 1).mean() - math.log(self.draws)
            return -bound, {"nats": bound, "kl": found.kl.mean((0, 1)).sum(), **layers}
        # What is free, or shared out among layers, is decided for all processes alike.
        balanced = self.balance and weight < self.beta
        each = found.kl.mean(1)
        kl = batch.mean(each) if self.free_nats or balanced else each.mean(0)
        price = kl.clamp(min=self.free_nats) if self.free_nats else kl
        if balanced:
            price = price * _shares(kl.detach())
        nats = nats.mean()
        return weight * price.sum() - nats, {"nats": nats - kl.sum(), "kl": kl.sum(), **layers}

    def _draws(self, net: Any, x: Tensor, y: Tensor | None, eps: Tensor) -> tuple[Tensor, Draw]:
        """Return `(n, k)` log probabilities of records given draws with noise `(n, k, latents)`, and the draws `(n, k, ...)`."""
        n, k, _ = eps.shape
        label = self._label(y, x)
        features = net.features(self.layout_.embed(x), label)
        if k > 1:
            features = [f.repeat_interleave(k, 0) for f in features]
            x, label = x.repeat_interleave(k, 0), label.repeat_interleave(k, 0)
        found = net.draw(features, label, eps.flatten(0, 1))
        nats = self.layout_.head(found.params, self.mixtures).log_prob(x).view(n, k)
        return nats, Draw(*(part.unflatten(0, (n, k)) for part in found))

    def _label(self, y: Tensor | None, rows: Tensor) -> Tensor:
        """Return labels as nets see them, `(n, labels)`; no columns without labels."""
        labels = self.layout_.labels
        return one_hot(y, labels) if labels else torch.zeros(len(rows), 0, device=rows.device)

    def _head(self, net: Any, u: Tensor, y: Tensor | None) -> Head:
        return self.layout_.head(net.generate(u, self._label(y, u)), self.mixtures)

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float]:
        weighted, each = self.objective == "iwae", []
        for _ in range(
            enough(self.draws, 2, batch.total * self.layout_.size)
        ):  # one after the other: there may be many records
            nats, found = self._draws(net, batch.x, batch.y, batch.randn(1, net.latents))
            each.append(nats - (found.gaps if weighted else found.kl).sum(2))
        if weighted:
            bound = torch.logsumexp(torch.cat(each[: self.draws], 1), 1).mean() - math.log(self.draws)
            return "nats", float(bound)
        return "nats", float(torch.cat(each, 1).mean())

    # -- the contract ------------------------------------------------------------------------------------------------
    @property
    def latents_(self) -> int:
        """Number of latent dimensions, of all layers together."""
        return int(self.net_.latents)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y, rows = self._draw_labels(n, rng, given), self._rows()
        parts = []
        for i in counted(range(0, n, rows)):
            part = None if y is None else y[i : i + rows]
            head = self._head(self.net_, torch.randn(min(rows, n - i), self.latents_, generator=rng), part)
            parts.append(head.sample(rng) if self.output == "sample" else head.mean())
        return Code(torch.cat(parts), y)

    def _log_prob(self, code: Code) -> Tensor:
        noise = RecordNoise(self.samples, self.latents_, self.layout_.size, self._rng("importance"))
        rows = self._rows()
        return torch.cat([self._bound(code[i : i + rows], noise) for i in counted(range(0, len(code), rows))])

    def _bound(self, code: Code, noise: RecordNoise) -> Tensor:
        label = self._label(code.y, code.x)
        features = self.net_.features(self.layout_.embed(code.x), label)
        weights = []
        for eps in counted(noise.of(code.x), self.samples):
            found = self.net_.draw(features, label, eps)
            weights.append(self.layout_.head(found.params, self.mixtures).log_prob(code.x) - found.gaps.sum(1))
        return torch.logsumexp(torch.stack(weights), 0) - math.log(len(weights))

    def _propose(self, code: Code, eps: Tensor) -> tuple[Tensor, Tensor]:
        _, found = self._draws(self.net_, code.x, code.y, eps)
        return found.u, found.gaps.sum(2) + _standard(found.u)

    def _gaps(self, code: Code, eps: Tensor) -> Tensor:
        return self._draws(self.net_, code.x, code.y, eps)[1].gaps

    def _log_joint(self, code: Code, z: Tensor) -> tuple[Tensor, Tensor]:
        n, k, _ = z.shape
        y = None if code.y is None else code.y.repeat_interleave(k, 0)
        head = self._head(self.net_, z.flatten(0, 1), y)
        return head.log_prob(code.x.repeat_interleave(k, 0)).view(n, k), _standard(z)

    def _encode(self, code: Code) -> Tensor:
        return torch.cat([self._coordinates(part, torch.zeros(self.latents_)) for part in self._blocks(code)])

    def _spread(self, code: Code) -> Tensor:
        rng = self._rng("spread")
        each = [torch.randn(self.latents_, generator=rng) for _ in range(SPREAD)]
        blocks = self._blocks(code)
        return torch.cat([torch.stack([self._coordinates(part, eps) for eps in each]).std(0) for part in blocks])

    def _blocks(self, code: Code) -> Iterator[Code]:
        """Yield parts of a code that the net can hold, labels filled in."""
        whole, rows = Code(code.x, self._known_labels(code)), self._rows()
        return (whole[i : i + rows] for i in range(0, len(code), rows))

    def _coordinates(self, code: Code, eps: Tensor) -> Tensor:
        """Return draws from the posteriors with the same noise for all; with zeros the means, layer by layer."""
        label = self._label(code.y, code.x)
        features = self.net_.features(self.layout_.embed(code.x), label)
        return self.net_.draw(features, label, eps.expand(len(code), -1)).u  # type: ignore[no-any-return]

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        rows = self._rows()
        parts = [self._head(self.net_, z[i : i + rows], None if y is None else y[i : i + rows]).mean()
                 for i in range(0, len(z), rows)]  # fmt: skip
        return Code(torch.cat(parts), y)

    def _codes_exactly(self) -> bool:
        return self._climbs

    def _bits_back(self, code: Code, known: Tensor) -> tuple[Tensor, Tensor] | None:
        label = self._label(code.y, code.x)
        features = self.net_.features(self.layout_.embed(code.x), label)
        return self.net_.posterior(features, label, known)  # type: ignore[no-any-return]

    def _observed(self, u: Tensor, y: Tensor | None) -> Head:
        return self._head(self.net_, u, y)

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        return completed(self, code, how, rng, self.filling)

    def _rows(self) -> int:
        """Return how many records go through the net at a time."""
        return max(1, min(CHUNK, VALUES // self.net_.values))


def _shares(kl: Tensor) -> Tensor:
    """Return factors with mean 1 on the prices of layers, in proportion to what they hold."""
    held = kl.clamp(min=0) + 1e-3
    return held / held.mean()


def _standard(u: Tensor) -> Tensor:
    """Return log densities `(...)` of `(..., d)` under the standard normal law, nats."""
    return -0.5 * (u.square() + LOG_2PI).sum(-1)
