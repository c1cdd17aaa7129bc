r"""Variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..codecs import Exactness, Given
from ..engine import Batch, Neural, Turn
from ..layout import Code, Head
from ..model import Conditional, Encodes, How, Imputes, Scores
from ..nn import Shape, Shapes, convolves, decoder_for, encoder_for, one_hot, with_label

GIBBS_SWEEPS = 60
CHUNK = 4096


class VAE(Scores, Encodes, Imputes, Conditional, Neural):
    r"""Variational autoencoder: a latent variable model \(p(x) = \int p(x \mid z)\, N(z; 0, I)\, dz\), trained by a bound.

    An encoder \(q(z \mid x) = N(\mu(x), \sigma^2(x))\) and a decoder \(p(x \mid z)\) (the layout's head: Bernoulli, discretised
    logistic, normal with learned variance, categorical) maximise, per record and in nats,

    $$\mathrm{ELBO}(x) = E_{q(z \mid x)}[\log p(x \mid z)] - \beta\, \mathrm{KL}(q(z \mid x) \,\|\, N(0, I)).$$

    `score` is the tighter importance-weighted bound
    \(\log \frac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x) \le \log p(x)\), with K = `samples`. With labels, encoder and
    decoder take the label as a condition, the prior is a learned normal \(N(\mu_y, \sigma_y^2)\) per label (latent coordinates are
    given in its units, so that they are standard normal for every label), and `score` adds the label's log frequency.

    Arguments:
        latent: Number of latent dimensions.
        net: `mlp`, `conv`, or `auto` (conv for images of more than 1024 values, else mlp).
        hidden: Sizes of the hidden layers of an mlp.
        width: Channels of the first convolution of a conv net.
        beta: Weight of the KL term; 1 is the bound.
        warmup: Share of the training over which the KL weight rises from 0 to `beta`.
        free_nats: KL per latent dimension (mean over a batch) that costs nothing.
        samples: Importance samples of `score`.
        output: `sample` draws records from p(x | z); `mean` returns its mean (sharper to look at, but not a draw from p).

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
        Learning Structured Output Representation using Deep Conditional Generative Models (Sohn et al., 2015; priors given labels),
            https://papers.nips.cc/paper/5775
        Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 3))
        >>> model = VAE(latent=2, steps=20, random_state=0).fit(x)
        >>> model.sample(2, random_state=0).shape, model.encode(x).shape, model.kind_
        ((2, 3), (256, 2), 'bound')
    """

    latent: int = 16
    net: Literal["auto", "mlp", "conv"] = "auto"
    hidden: tuple[int, ...] = (512, 256)
    width: int = 32
    beta: float = 1.0
    warmup: float = 0.1
    free_nats: float = 0.0
    samples: int = 100
    output: Literal["sample", "mean"] = "sample"

    kind: ClassVar[Exactness] = "bound"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(latent=4, hidden=(64,), steps=300, lr=5e-3, batch=64, samples=20, random_state=0)]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield "beta", self.beta >= 0, "0 or more"
        yield "warmup", 0 <= self.warmup <= 1, "from 0 to 1"
        yield "free_nats", self.free_nats >= 0, "0 or more"

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        layout, net = self.layout_, Shapes(self._image, self.hidden, self.width, self.layout_.labels)
        encoder = encoder_for(net, layout.embed_size, 2 * self.latent)
        decoder = decoder_for(net, self.latent, layout.head_size)
        parts: dict[str, nn.Module] = {"encoder": encoder, "decoder": decoder}
        if layout.labels:
            prior = nn.Linear(layout.labels, 2 * self.latent, bias=False)
            nn.init.zeros_(prior.weight)
            parts["prior"] = prior
        return nn.ModuleDict(parts)

    def turns(self, net: Any) -> list[Turn]:
        return [Turn("loss", net, lambda batch: self._loss(net, batch))]

    def _loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        mean, log_sd = self._posterior(net, batch.x, batch.y)
        z = mean + torch.exp(log_sd) * batch.randn(self.latent)
        nats = self._head(net, z, batch.y).log_prob(batch.x).mean()
        each = gaussian_kl(mean, log_sd)
        kl = batch.mean(each) if self.free_nats else each.mean(0)  # what is free is decided for all processes alike
        weight = self.beta * min(1.0, batch.progress / self.warmup) if self.warmup else self.beta
        loss = weight * kl.clamp(min=self.free_nats).sum() - nats
        return loss, {"nats": nats - kl.sum(), "kl": kl.sum()}

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float]:
        mean, log_sd = self._posterior(net, batch.x, batch.y)
        nats = torch.stack(
            [
                self._head(net, mean + torch.exp(log_sd) * batch.randn(self.latent), batch.y).log_prob(batch.x).mean()
                for _ in range(4)
            ]
        ).mean()
        return "nats", float(nats - gaussian_kl(mean, log_sd).sum(1).mean())

    def _posterior(self, net: Any, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of q(u | x, y), in coordinates in which the prior is N(0, I)."""
        e = with_label(self.layout_.embed(x), y, self.layout_.labels, self._image)
        mean, log_sd = net["encoder"](e).float().chunk(2, 1)
        if self.layout_.labels:
            shift, log_scale = self._prior(net, y)
            mean, log_sd = (mean - shift) * torch.exp(-log_scale), log_sd - log_scale
        return mean, log_sd.clamp(-7, 5)

    def _head(self, net: Any, u: Tensor, y: Tensor | None) -> Head:
        if self.layout_.labels:
            shift, log_scale = self._prior(net, y)
            u = with_label(shift + torch.exp(log_scale) * u, y, self.layout_.labels)
        return self.layout_.head(net["decoder"](u))

    def _prior(self, net: Any, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of p(z | y), `(n, latent)` each."""
        shift, log_scale = net["prior"](one_hot(y, self.layout_.labels)).float().chunk(2, 1)
        return shift, log_scale.clamp(-3, 3)

    @property
    def _image(self) -> Shape | None:
        return self.layout_.image if convolves(self.net, self.layout_.image, above=1024) else None

    # -- the contract ------------------------------------------------------------------------------------------------
    @property
    def latents_(self) -> int:
        """Number of latent dimensions."""
        return self.latent

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y = self._draw_labels(n, rng, given)
        chunks = []
        for i in range(0, n, CHUNK):
            rows = slice(i, min(i + CHUNK, n))
            z = torch.randn(rows.stop - i, self.latent, generator=rng)
            head = self._head(self.net_, z, None if y is None else y[rows])
            chunks.append(head.sample(rng) if self.output == "sample" else head.mean())
        return Code(torch.cat(chunks), y)

    def _log_prob(self, code: Code) -> Tensor:
        rng = self._rng("importance")
        noise = torch.rand(self.samples, self.latent, generator=rng)
        mixer = 1e3 * torch.randn(self.layout_.size, self.latent, generator=rng, dtype=torch.float64)
        rows = max(1, min(CHUNK, 2**22 // max(1, self.layout_.head_size)))
        return torch.cat([self._bound(code[i : i + rows], noise, mixer) for i in range(0, len(code), rows)])

    def _bound(self, code: Code, noise: Tensor, mixer: Tensor) -> Tensor:
        mean, log_sd = self._posterior(self.net_, code.x, code.y)
        # Every record shifts the uniform noise, modulo 1, by its own contents: errors of different records are independent and
        # average out in `score`, while a record's number does not depend on its company.
        shift = (torch.nan_to_num(code.x.double()) @ mixer).remainder(1.0).float()
        log_weights = []
        for uniform in noise:
            eps = torch.special.ndtri((uniform + shift).remainder(1.0).clamp(1e-7, 1 - 1e-7))
            z = mean + torch.exp(log_sd) * eps
            log_ratio = (-0.5 * z.square() + 0.5 * eps.square() + log_sd).sum(1)  # log N(z; 0, I) - log q(z | x)
            log_weights.append(self._head(self.net_, z, code.y).log_prob(code.x) + log_ratio)
        return torch.logsumexp(torch.stack(log_weights), 0) - math.log(len(noise))

    def _encode(self, code: Code) -> Tensor:
        return self._posterior(self.net_, code.x, self._known_labels(code))[0]

    def _spread(self, code: Code) -> Tensor:
        return torch.exp(self._posterior(self.net_, code.x, self._known_labels(code))[1])

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        return Code(self._head(self.net_, z, y).mean(), y)

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        """Pseudo-Gibbs: encode the completed record, draw z, draw the unknown part from p(x | z); repeat.

        References:
            Stochastic Backpropagation (Rezende et al., 2014, appendix F), https://arxiv.org/abs/1401.4082
        """
        assert code.mask is not None
        y = self._known_labels(code)
        x = code.x.to(torch.float64).masked_fill(~code.mask, math.nan)
        for sweep in range(GIBBS_SWEEPS):
            mean, log_sd = self._posterior(self.net_, x, y)
            last = sweep == GIBBS_SWEEPS - 1
            settle = last and how != "draw"
            z = mean if settle else mean + torch.exp(log_sd) * torch.randn(mean.shape, generator=rng)
            head = self._head(self.net_, z, y).without_absent()
            filled = head.sample(rng) if how == "draw" and self.output == "sample" else head.mean()
            x = torch.where(code.mask, code.x.to(torch.float64), filled)
        return Code(x, y)


def gaussian_kl(mean: Tensor, log_sd: Tensor) -> Tensor:
    r"""Return \(\mathrm{KL}(N(\mu, \sigma^2) \,\|\, N(0, 1)) = \frac12(\mu^2 + \sigma^2 - 1) - \log\sigma\), nats, elementwise.

    Example:
        >>> float(gaussian_kl(torch.ones(1), torch.zeros(1)))
        0.5
    """
    return 0.5 * (mean.square() + torch.exp(2 * log_sd) - 1) - log_sd
