r"""VAE-GAN hybrid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..codecs import Given
from ..counting import counted
from ..engine import Batch, Neural, Turn
from ..layout import Code
from ..model import Conditional, Encodes
from ..nn import Shape, Shapes, convolves, critic_for, decoder_for, encoder_for, with_label
from ._bounds import gaussian_kl
from .gan import kid_score, squared_gradient

CHUNK = 4096
FLOOR = 0.01  # of the features' variance: copies need not be truer than that


class VAEGAN(Encodes, Conditional, Neural):
    r"""Autoencoder and GAN in one: a critic judges draws, and its features \(\phi\) measure how well a record is reconstructed.

    Three players, each minimising its own loss (\(\tilde x = G(z)\) with \(z \sim q(z \mid x)\), \(x_p = G(z_p)\) with
    \(z_p \sim N(0, I)\); \(D\) is the sigmoid of the critic's score):

    | player | loss |
    |---|---|
    | encoder | \(\beta\, \mathrm{KL}(q(z \mid x) \,\|\, N(0, I)) + d \cdot \frac12 \log s^2\) |
    | generator | \(\gamma \cdot \frac12 \log s^2 - \frac12 \log D(\tilde x) - \frac12 \log D(x_p)\) |
    | critic | \(-\log D(x) - \frac12\log(1 - D(\tilde x)) - \frac12\log(1 - D(x_p)) + \frac{r}{2} |\nabla D(x)|^2\) |

    Here \(s^2\) is the mean square of \(\phi(x) - \phi(\tilde x)\) over batch and features, as a share of the features' variance, plus
    a floor of 0.01; d is the smaller of the numbers of values and features. Up to a constant \(\frac d2 \log s^2\) is the negative
    log-likelihood of a normal law in feature space at its best variance, so that the features' scale does not matter. (The paper
    fixes that variance to 1; then the KL term outweighs small features and the posterior collapses.)

    It encodes, reconstructs and interpolates; it has no likelihood, since the reconstruction is measured in learned features.

    Arguments:
        latent: Number of latent dimensions.
        net: `mlp`, `conv`, or `auto` (conv for images larger than 16x16).
        hidden: Sizes of the hidden layers of an mlp.
        width: Channels of the first convolution of a conv net.
        gamma: Weight of the reconstruction in the generator's loss; larger gives truer copies and worse draws.
        beta: Weight of the KL term in the encoder's loss.
        r1: Weight of the squared gradient of the critic at real records.
        tau: Temperature of relaxed categories.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016), https://arxiv.org/abs/1512.09300
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021), https://arxiv.org/abs/2006.13202

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 3))
        >>> model = VAEGAN(latent=2, steps=10, hidden=(16,), random_state=0).fit(x)
        >>> model.sample(2, random_state=0).shape, model.reconstruct(x[:5]).shape
        ((2, 3), (5, 3))
    """

    latent: int = 16
    net: Literal["auto", "mlp", "conv"] = "auto"
    hidden: tuple[int, ...] = (256, 256)
    width: int = 32
    gamma: float = 0.25
    beta: float = 1.0
    r1: float = 1.0
    tau: float = 0.3
    lr: float = 1e-3
    betas: tuple[float, ...] = (0.5, 0.99)
    ema: float = 0.999
    schedule: Literal["constant", "cosine", "linear"] = "linear"

    keeps_best: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(hidden=(64, 64), latent=4, steps=500, lr=1e-3, batch=128, random_state=0)]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield from ((name, getattr(self, name) >= 0, "0 or more") for name in ("gamma", "beta", "r1"))
        yield "tau", self.tau > 0, "above 0"

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        layout, net = self.layout_, Shapes(self._image, self.hidden, self.width, self.layout_.labels)
        return nn.ModuleDict(
            {
                "encoder": encoder_for(net, layout.embed_size, 2 * self.latent),
                "generator": decoder_for(net, self.latent, layout.embed_size),
                "critic": critic_for(net, layout.embed_size),
            }
        )

    def turns(self, net: Any) -> list[Turn]:
        return [
            Turn("critic", net["critic"], lambda batch: self._critic_loss(net, batch)),
            Turn("encoder", net["encoder"], lambda batch: self._encoder_loss(net, batch)),
            Turn("generator", net["generator"], lambda batch: self._generator_loss(net, batch)),
        ]

    def _critic_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real = self.layout_.embed(batch.x)
        with torch.no_grad():
            copy, draw = self._both(net, batch)
        y = None if batch.y is None else batch.y.repeat(3)
        on_real, on_copy, on_draw = net["critic"](torch.cat([real, copy, draw]), y).float().chunk(3)
        loss = F.softplus(-on_real).mean() + 0.5 * F.softplus(on_copy).mean() + 0.5 * F.softplus(on_draw).mean()
        smooth = 0.5 * self.r1 * squared_gradient(net["critic"], real, batch.y).mean()
        return loss + smooth, {"critic": loss}

    def _encoder_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        mean, log_sd = self._posterior(net, batch.x, batch.y)
        copy = self._generate(net, mean + torch.exp(log_sd) * batch.randn(self.latent), batch.y, batch)
        kl = gaussian_kl(mean, log_sd).sum(1).mean()
        distance = self._distance(net, batch, copy)
        return self.beta * kl + self._dimensions(net) * distance, {"kl": kl, "distance": distance}

    def _generator_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        copy, draw = self._both(net, batch)
        y = None if batch.y is None else batch.y.repeat(2)
        fooled = F.softplus(-net["critic"](torch.cat([copy, draw]), y).float()).mean()
        return self.gamma * self._distance(net, batch, copy) + fooled, {"generator": fooled}

    def _both(self, net: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return reconstructions of the batch and draws from the prior, in the critic's space."""
        with torch.no_grad():
            mean, log_sd = self._posterior(net, batch.x, batch.y)
            z = mean + torch.exp(log_sd) * batch.randn(self.latent)
        copy = self._generate(net, z, batch.y, batch)
        return copy, self._generate(net, batch.randn(self.latent), batch.y, batch)

    def _dimensions(self, net: Any) -> int:
        return min(net["critic"].size, self.layout_.embed_size)

    def _distance(self, net: Any, batch: Batch, copy: Tensor) -> Tensor:
        """Return half the log mean square difference of the critic's features."""
        features = net["critic"].features
        with torch.no_grad():
            aim = features(self.layout_.embed(batch.x)).float()
            spread = batch.mean((aim - batch.mean(aim)).square()).mean()
        error = batch.mean((features(copy).float() - aim).square().mean(1)) / (spread + 1e-8)
        return 0.5 * torch.log(error + FLOOR)

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float] | None:
        fake = self._generate(net, batch.randn(self.latent), batch.y, batch)
        return kid_score(batch.all(self.layout_.embed(batch.x)), batch.all(fake))

    def _posterior(self, net: Any, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        e = with_label(self.layout_.embed(x), y, self.layout_.labels, self._image)
        mean, log_sd = net["encoder"](e).float().chunk(2, 1)
        return mean, log_sd.clamp(-7, 5)

    def _generate(self, net: Any, z: Tensor, y: Tensor | None, batch: Batch) -> Tensor:
        raw = net["generator"](with_label(z, y, self.layout_.labels)).float()
        return self.layout_.relax(raw, batch.rand(self.layout_.embed_size), self.tau)

    @property
    def _image(self) -> Shape | None:
        return self.layout_.image if convolves(self.net, self.layout_.image) else None

    # -- the contract ------------------------------------------------------------------------------------------------
    @property
    def latents_(self) -> int:
        """Number of latent dimensions."""
        return self.latent

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y = self._draw_labels(n, rng, given)
        parts = [slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
        codes = [
            self._records(torch.randn(p.stop - p.start, self.latent, generator=rng), None if y is None else y[p], rng).x
            for p in counted(parts)
        ]
        return Code(torch.cat(codes), y)

    def _encode(self, code: Code) -> Tensor:
        return self._posterior(self.net_, code.x, self._known_labels(code))[0]

    def _spread(self, code: Code) -> Tensor:
        return torch.exp(self._posterior(self.net_, code.x, self._known_labels(code))[1])

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        return self._records(z, y, None)

    def _records(self, z: Tensor, y: Tensor | None, rng: torch.Generator | None) -> Code:
        raw = self.net_["generator"](with_label(z, y, self.layout_.labels))
        noise = None if rng is None else torch.rand(len(z), self.layout_.embed_size, generator=rng)
        return Code(self.layout_.harden(self.layout_.relax(raw, noise, self.tau)), y)
