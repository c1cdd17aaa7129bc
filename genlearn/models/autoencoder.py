r"""Regularised autoencoder with a density on its codes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..codecs import Exactness, Given
from ..counting import counted
from ..engine import Batch, Neural, Stage, Turn
from ..layout import Code, Head
from ..model import Conditional, Encodes, How, Imputes, Latent, Scores
from ..nn import Shape, Shapes, convolves, decoder_for, encoder_for
from ..nn.priors import LOG_2PI
from ._bounds import RecordNoise
from ._inpaint import completed
from ._latentlaw import CodesLaw, CodesMixture, Law, MixtureFit
from ._mixture import Mixture
from ._normals import Dense

CHUNK = 4096
TRIED, DRAWS = 128, 8  # held-out records, and draws of each, that tell how wide the proposal of `score` is to be
WIDTHS = 20  # widths that are tried, each larger by a root of 2


class Autoencoder(Latent, Scores, Encodes, Imputes, Conditional, Neural):
    r"""Regularised autoencoder, then a density on its codes: a sampler that is cheap to train and sharp.

    First an encoder \(e\) and a decoder \(p(x \mid z)\) (the layout's head) minimise, per record and in nats,

    $$-\log p(x \mid e(x) + \sigma \epsilon) + \tfrac{\beta}{2} |e(x)|^2 + \lambda R, \qquad \epsilon \sim N(0, I),$$

    with a penalty R that keeps the decoder smooth. Then the density \(p(z)\) of the codes \(e(x) + \sigma \epsilon\) is learned, and
    the model is \(p(x) = \int p(x \mid z)\, p(z)\, dz\): no prior had to be guessed, so none pulls the codes into holes.
    With `noise=0` this is the deterministic autoencoder of the paper; else its variant of constant variance.

    | smooth | R |
    |---|---|
    | none | 0 |
    | weights | half the sum of the decoder's squared weights |
    | gradient | half the squared Frobenius norm of the decoder's Jacobian, by one random projection |
    | spectral | 0; every layer of the decoder but the last has spectral norm 1 |

    | density | \(p(z)\) |
    |---|---|
    | gmm | Gaussian mixture with full covariances, by EM after the training: seconds, which come on top of a `budget` |
    | flow | masked autoregressive flow of `layers` transforms, in a second stage of the training |

    With labels, \(p(z \mid y)\) is learned; encoder and decoder do not see the label.

    `score` is the importance-weighted bound \(\log \frac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x) \le \log p(x)\) with
    proposals \(q = N(e(x), s^2 I)\) of one width s for all records, chosen on held-out ones. It is a bound for any width, but a loose
    one where records differ in how precisely they fix their codes; a VAE's is tighter.

    `impute` is pseudo-Gibbs: encode the completed record, draw a code from \(q\), draw the unknown values from \(p(x \mid z)\), repeat.

    Arguments:
        latent: Number of latent dimensions.
        net: `mlp`, `conv`, `resnet`, or `auto` (conv for images of more than 1024 values, else mlp).
        hidden: Sizes of the hidden layers of an mlp.
        width: Channels of the first convolution of a conv net or resnet.
        mixtures: Logistic laws per whole number or pixel that p(x | z) is a mixture of; with several, the colours of a pixel depend
            on each other.
        noise: Standard deviation \(\sigma\) of the noise on codes in training.
        beta: Weight of the codes' square.
        smooth: Penalty on the decoder, see the table.
        strength: Its weight \(\lambda\).
        density: Law of the codes, see the table.
        components: Components of the mixture; `auto` tries 1, 2, 4, ... (128 at most, on 10,000 codes at most) and takes the number
            that held-out codes find likeliest.
        layers: Transforms of the flow.
        share: Share of the steps that the flow is trained for.
        samples: Importance samples of `score`.
        output: `sample` draws records from p(x | z); `mean` returns its mean (smoother to look at, but not a draw from p).

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020), https://arxiv.org/abs/1903.12436

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 3))
        >>> model = Autoencoder(latent=2, steps=20, components=3, random_state=0).fit(x)
        >>> model.sample(2, random_state=0).shape, model.encode(x).shape, model.kind_
        ((2, 3), (256, 2), 'bound')
    """

    latent: int = 32
    net: Literal["auto", "mlp", "conv", "resnet"] = "auto"
    hidden: tuple[int, ...] = (512, 256)
    width: int = 32
    mixtures: int = 1
    noise: float = 0.1
    beta: float = 1.0
    smooth: Literal["none", "weights", "gradient", "spectral"] = "weights"
    strength: float = 1e-3
    density: Literal["gmm", "flow"] = "gmm"
    components: int | Literal["auto"] = "auto"
    layers: int = 4
    share: float = 0.3
    samples: int = 100
    output: Literal["sample", "mean"] = "sample"

    kind: ClassVar[Exactness] = "bound"

    @classmethod
    def examples(cls) -> list[Self]:
        small: dict[str, Any] = {
            "latent": 3,
            "hidden": (64,),
            "steps": 300,
            "lr": 5e-3,
            "batch": 64,
            "samples": 20,
            "random_state": 0,
        }
        flow = small | {"steps": 400, "density": "flow", "layers": 2, "smooth": "gradient"}
        return [cls(**small, components=4), cls(**flow)]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield from ((name, getattr(self, name) >= 0, "0 or more") for name in ("noise", "beta", "strength"))
        yield "share", 0 < self.share < 1, "above 0 and below 1"

    # -- the nets ----------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        layout, net = self.layout_, Shapes(self._image, self.hidden, self.width, 0, residual=self.net == "resnet")
        decoder = decoder_for(net, self.latent, layout.head_params(self.mixtures))
        if self.smooth == "spectral":
            linear = [m for m in decoder.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
            for layer in linear[:-1]:
                spectral_norm(layer)
        return nn.ModuleDict(
            {
                "encoder": encoder_for(net, layout.embed_size, self.latent),
                "decoder": decoder,
                "law": CodesLaw(self.latent, self.layers if self.density == "flow" else 0, layout.labels),
            }
        )

    @property
    def _image(self) -> Shape | None:
        return self.layout_.image if convolves(self.net, self.layout_.image, above=1024) else None

    def _codes_of(self, net: Any, x: Tensor) -> Tensor:
        return net["encoder"](self.layout_.embed(x)).float()

    def _head(self, net: Any, z: Tensor, y: Tensor | None = None) -> Head:
        """Return p(x | z), whatever the label."""
        return self.layout_.head(net["decoder"](z), self.mixtures)

    # -- training ----------------------------------------------------------------------------------------------------
    def stages(self, net: Any) -> list[Stage]:
        copies = Turn("copies", [net["encoder"], net["decoder"]], lambda batch: self._loss(net, batch))
        if self.density == "gmm":
            return [Stage("train", [copies])]
        flow = Turn("flow", net["law"], lambda batch: self._flow_loss(net, batch))
        return [Stage("train", [copies], 1 - self.share), Stage("density", [flow], self.share)]

    def _loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        clean = self._codes_of(net, batch.x)
        z = clean + self.noise * batch.randn(self.latent)
        with torch.no_grad():
            net["law"].follow(batch.mean(z.detach()), batch.mean(z.detach().square()))
        params = net["decoder"](z)
        nats, size = (
            self.layout_.head(params, self.mixtures).log_prob(batch.x).mean(),
            0.5 * clean.square().sum(1).mean(),
        )
        loss, terms = self.beta * size - nats, {"nats": nats - self.beta * size, "size": size}
        if self.smooth in ("none", "spectral") or not self.strength:
            return loss, terms
        rough = self._squared_weights(net) if self.smooth == "weights" else self._squared_slope(z, params, batch)
        return loss + self.strength * rough, {**terms, "rough": rough}

    def _squared_weights(self, net: Any) -> Tensor:
        return 0.5 * torch.stack([p.square().sum() for p in net["decoder"].parameters()]).sum()

    def _squared_slope(self, z: Tensor, params: Tensor, batch: Batch) -> Tensor:
        r"""Return \(\frac12 |J|_F^2 = \frac12 E |v^\top J|^2\) with v of independent standard normals, one draw a record."""
        along = (params.flatten(1).float() * batch.randn(params[0].numel())).sum()
        return 0.5 * torch.autograd.grad(along, z, create_graph=True)[0].square().sum(1).mean()

    def _flow_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            z = self._codes_of(net, batch.x) + self.noise * batch.randn(self.latent)
        density = net["law"].log_prob(z, batch.y).mean()
        return -density, {"density": density}

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float]:
        clean = self._codes_of(net, batch.x)
        z = clean + self.noise * batch.randn(self.latent)
        nats = self._head(net, z).log_prob(batch.x).mean() - self.beta * 0.5 * clean.square().sum(1).mean()
        if self.density == "flow":
            nats = nats + net["law"].log_prob(z, batch.y).mean()
        return "nats", float(nats)

    # -- the density of codes ----------------------------------------------------------------------------------------
    @torch.no_grad()
    def _finish(self, code: Code, valid: Code | None) -> None:
        """Fit the mixture to the codes of all records, and choose the width of the proposal."""
        began = time.perf_counter()
        held_out = valid if valid is not None and len(valid) else None
        if self.density == "gmm":
            z = self._noisy_codes(code, "noise of codes")
            spare = None if held_out is None else (self._noisy_codes(held_out, "noise of valid codes"), held_out.y)

            def tell(k: int, step: int, nats: float) -> None:
                self._tell(step, None, time.perf_counter() - began, stage="density", components=k, density=nats)

            labels = self.layout_.labels
            law = MixtureFit(z, code.y if labels else None, labels, tell).run(self.components, spare, self._rng)
            self._keep(law.mixture)
        self.spread_: Tensor = self._proposal(code if held_out is None else held_out)

    def _noisy_codes(self, code: Code, purpose: str) -> Tensor:
        """Return the codes of all records with the noise of training, `(n, latent)`."""
        rows = max(1, 2**22 // max(1, self.layout_.embed_size))
        z = torch.cat([self._codes_of(self.net_, code.x[i : i + rows]) for i in range(0, len(code), rows)])
        return z + self.noise * torch.randn(z.shape, generator=self._rng(purpose))

    def _keep(self, mixture: Mixture) -> None:
        assert isinstance(mixture.normals, Dense)
        self.weights_: Tensor = mixture.weights
        self.tables_: Tensor = mixture.tables
        self.means_: Tensor = mixture.normals.mean
        self.covariances_: Tensor = mixture.normals.cov

    def _proposal(self, code: Code) -> Tensor:
        """Return standard deviations `(latent,)` of the proposal: those of the codes, times what scores best."""
        part = code[torch.arange(min(TRIED, len(code))) * len(code) // min(TRIED, len(code))]
        part.y = self._known_labels(part)
        mean, law = self._codes_of(self.net_, part.x), self._law
        unit, least = torch.full((self.latent,), self.noise or 1.0), -3.0 if self.noise else -10.0
        eps = torch.randn(DRAWS, len(part), self.latent, generator=self._rng("proposal"))

        def bound(width: float) -> float:
            return float(torch.logsumexp(self._log_weights(part, mean, width * unit, eps, law), 0).mean())

        return max((2 ** (least + 0.5 * step) for step in range(WIDTHS)), key=bound) * unit

    @property
    def _law(self) -> Law:
        """The density of codes: the mixture, or what the net holds while it is trained."""
        if self.density == "flow" or "weights_" not in vars(self):
            return self.net_["law"]
        return CodesMixture(Mixture(self.weights_, Dense(self.means_, self.covariances_), self.tables_))

    def _check_learned(self) -> None:
        super()._check_learned()
        d = self.latent
        self._expect(spread_=(d,))
        positive = [self.spread_, self.net_["law"].scale]
        if self.density == "gmm":
            k = len(self.weights_)
            self._expect(weights_=(k,), tables_=(k, self.layout_.labels), means_=(k, d), covariances_=(k, d, d))
            torch.linalg.cholesky(self.covariances_)
            positive += [self.weights_.sum(), self.tables_]
            if bool((self.weights_ < 0).any()):
                raise ValueError("weights_ holds no probabilities")
        if not all(bool((t > 0).all()) for t in positive):
            raise ValueError("weights, tables or scales are not above 0")

    # -- the contract ------------------------------------------------------------------------------------------------
    @property
    def latents_(self) -> int:
        """Number of latent dimensions."""
        return self.latent

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y, law = self._draw_labels(n, rng, given), self._law
        chunks = []
        for i in counted(range(0, n, CHUNK)):
            rows = slice(i, min(i + CHUNK, n))
            head = self._head(self.net_, law.draw(rows.stop - i, None if y is None else y[rows], rng))
            chunks.append(head.sample(rng) if self.output == "sample" else head.mean())
        return Code(torch.cat(chunks), y)

    def _log_prob(self, code: Code) -> Tensor:
        noise = RecordNoise(self.samples, self.latent, self.layout_.size, self._rng("importance"))
        rows, law = max(1, min(CHUNK, 2**22 // max(1, self.layout_.head_params(self.mixtures)))), self._law
        parts = [self._bound(code[i : i + rows], noise, law) for i in counted(range(0, len(code), rows))]
        return torch.cat(parts) if parts else torch.empty(0)

    def _bound(self, code: Code, noise: RecordNoise, law: Law) -> Tensor:
        mean = self._codes_of(self.net_, code.x)
        eps = counted(noise.of(code.x), self.samples)
        weights = self._log_weights(code, mean, self.spread_, eps, law)
        return torch.logsumexp(weights, 0) - math.log(self.samples)

    def _log_weights(self, code: Code, mean: Tensor, sd: Tensor, noise: Iterable[Tensor], law: Law) -> Tensor:
        r"""Return \(\log p(x \mid z)\, p(z \mid y) / q(z \mid x)\) at \(z = \mu + s \epsilon\), `(k, n)`, of k draws of noise."""
        each = []
        for eps in noise:
            z = mean + sd * eps
            given = self._head(self.net_, z).log_prob(code.x)
            each.append(given + law.log_prob(z, code.y) - _log_normal(eps, sd))
        return torch.stack(each)

    # Bounds by other means, see `Latent`.
    def _propose(self, code: Code, eps: Tensor) -> tuple[Tensor, Tensor]:
        z = self._codes_of(self.net_, code.x)[:, None] + self.spread_ * eps
        return z, _log_normal(eps, self.spread_)

    def _log_joint(self, code: Code, z: Tensor) -> tuple[Tensor, Tensor]:
        n, k, _ = z.shape
        flat, x = z.flatten(0, 1).float(), code.x.repeat_interleave(k, 0)
        y = None if code.y is None else code.y.repeat_interleave(k, 0)
        return self._head(self.net_, flat).log_prob(x).view(n, k), self._law.log_prob(flat, y).view(n, k)

    def _draw_latents(self, n: int, rng: torch.Generator) -> Tensor:
        return self._law.draw(n, self._draw_labels(n, rng, None), rng)

    def _encode(self, code: Code) -> Tensor:
        return self._codes_of(self.net_, code.x)

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        return Code(self._head(self.net_, z).mean(), y)

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        return completed(self, code, how, rng, "gibbs")


def _log_normal(eps: Tensor, sd: Tensor) -> Tensor:
    """Return log densities `(...)` of normal draws with deviations `(d,)` that came from standard noise `(..., d)`."""
    return -(0.5 * eps.square() + sd.log() + 0.5 * LOG_2PI).sum(-1)
