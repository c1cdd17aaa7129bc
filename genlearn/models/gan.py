r"""Generative adversarial network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..codecs import Given
from ..counting import counted
from ..engine import Batch, Neural, Turn
from ..layout import Code
from ..metrics.kid import kid
from ..model import Conditional
from ..nn import Shape, Shapes, convolves, critic_for, decoder_for, with_label

GanLoss = Literal["non-saturating", "minimax", "least-squares", "wasserstein", "hinge"]

# (critic's loss of real and fake scores, generator's loss of fake scores); scores are logits of "real". All are minimised.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "non-saturating": (
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda fake: F.softplus(-fake).mean(),
    ),
    "minimax": (
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda fake: -F.softplus(fake).mean(),
    ),
    "least-squares": (
        lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        lambda fake: 0.5 * (fake - 1).square().mean(),
    ),
    "wasserstein": (lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
    "hinge": (lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()),
}


CHUNK = 4096


class GAN(Conditional, Neural):
    r"""Generative adversarial network: a generator \(G(z)\) learns to fool a critic \(D\) that tells its draws from records.

    The game of the minimax loss, with \(D = \mathrm{sigmoid}\) of the critic's score:

    $$\min_G \max_D\; E_x[\log D(x)] + E_z[\log(1 - D(G(z)))].$$

    | loss | critic minimises | generator minimises |
    |---|---|---|
    | minimax | \(-E\log D(x) - E\log(1 - D(G))\) | \(E\log(1 - D(G))\) |
    | non-saturating | the same | \(-E\log D(G)\) |
    | least-squares | \(\frac12 E(D(x) - 1)^2 + \frac12 E D(G)^2\) | \(\frac12 E(D(G) - 1)^2\) |
    | wasserstein | \(E D(G) - E D(x)\) + constraint | \(-E D(G)\) |
    | hinge | \(E\max(0, 1 - D(x)) + E\max(0, 1 + D(G))\) | \(-E D(G)\) |

    Categories of tables are relaxed by the Gumbel softmax; labels enter the generator as one-hot input and the critic as a
    projection. A GAN has no likelihood.

    Arguments:
        loss: The game, see the table.
        regularizer: Keeps the critic smooth: `gradient-penalty` (one interpolation per record, \(10 (|\nabla D| - 1)^2\)), `r1`
            (\(\frac\gamma2 |\nabla D(x)|^2\) on real records), `clipping` (weights to +-0.01), `none`; `auto` is
            gradient-penalty for wasserstein, none with spectral norm, else r1.
        gamma: Weight of `r1`.
        spectral_norm: Constrain every layer of the critic to spectral norm 1.
        critic_steps: Critic moves per generator move; none means 1 (5 for wasserstein).
        latent: Number of latent dimensions.
        net: `mlp`, `conv` (as in DCGAN, with group normalisation), or `auto` (conv for images larger than 16x16).
        hidden: Sizes of the hidden layers of an mlp.
        width: Channels of the first convolution of a conv net.
        tau: Temperature of relaxed categories.

    References:
        Generative Adversarial Networks (Goodfellow et al., 2014), https://arxiv.org/abs/1406.2661
        Least Squares GANs (Mao et al., 2017), https://arxiv.org/abs/1611.04076
        Wasserstein GAN (Arjovsky et al., 2017), https://arxiv.org/abs/1701.07875
        Improved Training of Wasserstein GANs (Gulrajani et al., 2017), https://arxiv.org/abs/1704.00028
        Geometric GAN (Lim & Ye, 2017; hinge), https://arxiv.org/abs/1705.02894
        Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018; R1), https://arxiv.org/abs/1801.04406

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 2))
        >>> GAN(steps=10, hidden=(16,), random_state=0).fit(x).sample(3, random_state=0).shape
        (3, 2)
    """

    loss: GanLoss = "non-saturating"
    regularizer: Literal["auto", "none", "gradient-penalty", "r1", "clipping"] = "auto"
    gamma: float = 1.0
    spectral_norm: bool = False
    critic_steps: int | None = None
    latent: int = 64
    net: Literal["auto", "mlp", "conv"] = "auto"
    hidden: tuple[int, ...] = (256, 256)
    width: int = 32
    tau: float = 0.3
    lr: float = 1e-3
    betas: tuple[float, ...] = (0.5, 0.99)
    ema: float = 0.999
    schedule: Literal["constant", "cosine", "linear"] = "linear"

    keeps_best: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(hidden=(64, 64), latent=8, steps=500, lr=1e-3, batch=128, random_state=0)]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield "gamma", self.gamma >= 0, "0 or more"
        yield "tau", self.tau > 0, "above 0"

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        layout, net = self.layout_, Shapes(self._image, self.hidden, self.width, self.layout_.labels)
        smooth = self.spectral_norm or self._regularizer == "gradient-penalty"
        critic = critic_for(net, layout.embed_size, normalize=not smooth, spectral=self.spectral_norm)
        return nn.ModuleDict({"generator": decoder_for(net, self.latent, layout.embed_size), "critic": critic})

    def turns(self, net: Any) -> list[Turn]:
        moves = self.critic_steps or (5 if self.loss == "wasserstein" else 1)
        clip = (lambda: clip_weights(net["critic"])) if self._regularizer == "clipping" else None
        return [
            Turn("critic", net["critic"], lambda batch: self._critic_loss(net, batch), repeat=moves, after=clip),
            Turn("generator", net["generator"], lambda batch: self._generator_loss(net, batch)),
        ]

    def _critic_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        batch.cache["fake"] = self._generate(net, batch)
        batch.cache["y"] = batch.y
        real, fake = self.layout_.embed(batch.x), batch.cache["fake"].detach()
        y = None if batch.y is None else torch.cat([batch.y, batch.y])
        on_real, on_fake = net["critic"](torch.cat([real, fake]), y).float().chunk(2)
        loss = LOSSES[self.loss][0](on_real, on_fake)
        penalty = self._penalty(net["critic"], real, fake, batch)
        return loss + penalty, {"critic": loss, "gap": (on_real - on_fake).mean()}

    def _generator_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fake = batch.cache["fake"]
        return LOSSES[self.loss][1](net["critic"](fake, batch.cache["y"]).float()), {}

    def _generate(self, net: Any, batch: Batch) -> Tensor:
        z = with_label(batch.randn(self.latent), batch.y, self.layout_.labels)
        raw = net["generator"](z).float()
        return self.layout_.relax(raw, batch.rand(self.layout_.embed_size), self.tau)

    def _penalty(self, critic: nn.Module, real: Tensor, fake: Tensor, batch: Batch) -> Tensor | float:
        if self._regularizer == "gradient-penalty":
            return 10.0 * gradient_penalty(critic, real, fake, batch.y, batch.rand(1))
        if self._regularizer == "r1":
            return 0.5 * self.gamma * squared_gradient(critic, real, batch.y).mean()
        return 0.0

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float] | None:
        return kid_score(batch.all(self.layout_.embed(batch.x)), batch.all(self._generate(net, batch)))

    @property
    def _regularizer(self) -> str:
        if self.regularizer != "auto":
            return self.regularizer
        return "gradient-penalty" if self.loss == "wasserstein" else "none" if self.spectral_norm else "r1"

    @property
    def _image(self) -> Shape | None:
        return self.layout_.image if convolves(self.net, self.layout_.image) else None

    # -- the contract ------------------------------------------------------------------------------------------------
    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y = self._draw_labels(n, rng, given)
        chunks = []
        for i in counted(range(0, n, CHUNK)):
            rows = min(CHUNK, n - i)
            z = torch.randn(rows, self.latent, generator=rng)
            raw = self.net_["generator"](with_label(z, None if y is None else y[i : i + rows], self.layout_.labels))
            noise = torch.rand(rows, self.layout_.embed_size, generator=rng)
            chunks.append(self.layout_.harden(self.layout_.relax(raw, noise, self.tau)))
        return Code(torch.cat(chunks), y)


def kid_score(real: Tensor, fake: Tensor, rows: int = 1024) -> tuple[str, float] | None:
    """Return `("-kid", value)` for validation, in the embedding standardised by the real records; None for too few."""
    scale = real.std(0, correction=0) + 1e-3
    a, b = ((x - real.mean(0)) / scale for x in (real[:rows], fake[:rows]))
    distance = kid(a.cpu().numpy(), b.float().cpu().numpy()).value
    return None if distance is None else ("-kid", -distance)


def squared_gradient(critic: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
    r"""Return \(|\nabla_x D(x)|^2\) per record, over all dimensions, differentiable."""
    x = x.detach().requires_grad_()
    score = critic(x, y).float().sum()
    (grad,) = torch.autograd.grad(score, x, create_graph=True)
    return grad.flatten(1).square().sum(1)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, y: Tensor | None, alpha: Tensor) -> Tensor:
    r"""Return \(E(|\nabla D(\alpha x + (1 - \alpha) G)| - 1)^2\): one alpha per record, the norm over all dimensions."""
    middle = alpha * real + (1 - alpha) * fake
    return ((squared_gradient(critic, middle, y) + 1e-12).sqrt() - 1).square().mean()


@torch.no_grad()
def clip_weights(module: nn.Module, bound: float = 0.01) -> None:
    """Clamp all weights to +-bound (in place)."""
    for p in module.parameters():
        p.clamp_(-bound, bound)
