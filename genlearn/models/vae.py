r"""Variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..codecs import Exactness, Given
from ..counting import counted
from ..engine import Batch, Neural, Turn
from ..errors import Problem
from ..layout import Code, Head
from ..model import Conditional, Encodes, How, Imputes, Latent, Scores
from ..nn import (
    Flow,
    FlowPrior,
    MixturePrior,
    NormalPrior,
    Prior,
    Shape,
    Shapes,
    VampPrior,
    convolves,
    decoder_for,
    encoder_for,
    one_hot,
    with_label,
)
from ._bounds import Posterior, RecordNoise, discrepancy, enough, gaussian_kl, total_correlation
from ._inpaint import Filling, completed
from ._semi import Deal, Guesses, Known

CHUNK = 4096
SPREAD = 32  # draws that tell how far a bent posterior reaches


class VAE(Guesses, Latent, Scores, Encodes, Imputes, Conditional, Neural):
    r"""Variational autoencoder: a latent variable model \(p(x) = \int p(x \mid z)\, N(z; 0, I)\, dz\), trained by a bound.

    An encoder \(q(z \mid x) = N(\mu(x), \sigma^2(x))\) and a decoder \(p(x \mid z)\) (the layout's head: Bernoulli, discretised
    logistic, normal with learned variance, categorical) maximise, per record and in nats,

    $$\mathrm{ELBO}(x) = E_{q(z \mid x)}[\log p(x \mid z)] - \beta\, \mathrm{KL}(q(z \mid x) \,\|\, N(0, I)).$$

    | objective | maximised, with \(w_k = p(x \mid z_k)\, p(z_k) / q(z_k \mid x)\) from `draws` draws \(z_k\) |
    |---|---|
    | elbo | the ELBO, \(\log p(x \mid z)\) averaged over the draws |
    | iwae | \(\log \frac1K \sum_k w_k\), a tighter bound on \(\log p(x)\) |
    | dreg | the same bound; the encoder's gradient comes in a form whose noise does not grow with K |
    | beta-tc | the ELBO with \(\beta\) on one part of the KL, the total correlation: the dependence among latent dimensions |
    | info | the ELBO less `mmd` times \(\mathrm{MMD}^2(q(z), p(z))\): all codes together look like the prior, whatever `beta` |

    | prior | \(p(z)\), and what it costs |
    |---|---|
    | normal | \(N(0, I)\) |
    | mixture | `parts` diagonal normals: clusters of codes |
    | vamp | the mixture of the posteriors at `parts` learned pseudo-records; without labels only |
    | flow | a masked autoregressive flow of `layers` transforms; draws take one pass a dimension and layer |

    With `inference="flow"` the encoder's normal is bent by `layers` inverse autoregressive transforms that see the record.

    `score` is the tighter importance-weighted bound
    \(\log \frac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x) \le \log p(x)\), with K = `samples`. With labels, encoder and
    decoder take the label as a condition, the prior is a learned normal \(N(\mu_y, \sigma_y^2)\) per label (latent coordinates are
    given in its units, so that they are standard normal for every label), and `score` adds the label's log frequency.

    Where some records have no label (None, NaN, an empty cell), a classifier \(q(y \mid x)\) guesses it, and all records are learned
    from: \(\log p(x) \ge \sum_y q(y \mid x) [\mathrm{ELBO}(x \mid y) + \log p(y) - \log q(y \mid x)]\), summed over the likely labels.
    The classifier learns the known labels, gives records within `radius` of one another the same label, and labels the shares that
    they have; `predict` returns its answer.

    Arguments:
        latent: Number of latent dimensions.
        net: `mlp`, `conv`, `resnet`, or `auto` (conv for images of more than 1024 values, else mlp).
        hidden: Sizes of the hidden layers of an mlp.
        width: Channels of the first convolution of a conv net or resnet.
        mixtures: Logistic laws per whole number or pixel that p(x | z) is a mixture of; with several, the colours of a pixel depend
            on each other.
        objective: What is maximised, see the table.
        draws: Latent draws per record and step, K.
        beta: Weight of the KL term (of the total correlation for `beta-tc`); 1 is the bound.
        warmup: Share of the training over which the KL weight goes from `start` times its final value to that; with several
            `cycles`, share of each.
        start: KL weight at the beginning, as a multiple of the final one. Below 1 it rises evenly. Above 1 it falls by equal
            factors in equal times: latent dimensions come into use one after the other, those that explain most first.
        cycles: How often the KL weight starts anew.
        free_nats: KL per latent dimension (mean over a batch) that costs nothing.
        capacity: KL in nats that the encoder is to use at the end: `beta` then weighs the distance of the KL from a target that
            rises from 0 to here; none for no target.
        mmd: Weight of the discrepancy between codes and prior, for `info`.
        prior: Law of the latent vectors, see the table.
        inference: Posteriors, `diagonal` normals or `flow`.
        parts: Components of the mixture and vamp priors.
        layers: Transforms of flows.
        samples: Importance samples of `score`.
        output: `sample` draws records from p(x | z); `mean` returns its mean (sharper to look at, but not a draw from p).
        filling: How unknown values are drawn: `gibbs` encodes, draws and encodes again; `resample` weighs these draws by how well
            they explain what is known, which corrects an encoder that misses the posterior; `anneal` leads chains from the prior
            to the posterior of what is known, without the encoder, and takes 10 times as long; `auto` anneals images only.
        smooth: Weight of the classifier's smoothness and of its labels' shares, where labels are guessed; the label of a known
            record has weight 1.
        radius: How far records with the same label may lie apart, as a share of the records' spread, where labels are guessed.
        shift: How far an image may be moved with its label unchanged, as a share of its smaller side, where labels are guessed.
        evidence: Share of the bound's gradient that reaches the classifier: 1, with `smooth` 0, is the M2 of Kingma et al.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
        Learning Structured Output Representation using Deep Conditional Generative Models (Sohn et al., 2015; priors given labels),
            https://papers.nips.cc/paper/5775
        Semi-supervised Learning with Deep Generative Models (Kingma et al., 2014; labels of some records),
            https://arxiv.org/abs/1406.5298
        Virtual Adversarial Training (Miyato et al., 2018; smooth, radius), https://arxiv.org/abs/1704.03976
        Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
        Doubly Reparameterized Gradient Estimators (Tucker et al., 2018; dreg), https://arxiv.org/abs/1810.04152
        Isolating Sources of Disentanglement (Chen et al., 2018; beta-tc), https://arxiv.org/abs/1802.04942
        InfoVAE (Zhao et al., 2017; info), https://arxiv.org/abs/1706.02262
        PixelCNN++ (Salimans et al., 2017; mixtures), https://arxiv.org/abs/1701.05517
        Cyclical Annealing Schedule (Fu et al., 2019; cycles), https://arxiv.org/abs/1903.10145
        Deterministic Annealing for Clustering, Compression, Classification ... (Rose, 1998; start above 1),
            https://doi.org/10.1109/5.726788
        Understanding disentangling in beta-VAE (Burgess et al., 2018; capacity), https://arxiv.org/abs/1804.03599

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 3))
        >>> model = VAE(latent=2, steps=20, random_state=0).fit(x)
        >>> model.sample(2, random_state=0).shape, model.encode(x).shape, model.kind_
        ((2, 3), (256, 2), 'bound')
    """

    latent: int = 16
    net: Literal["auto", "mlp", "conv", "resnet"] = "auto"
    hidden: tuple[int, ...] = (512, 256)
    width: int = 32
    mixtures: int = 1
    objective: Literal["elbo", "iwae", "dreg", "beta-tc", "info"] = "elbo"
    draws: int = 1
    beta: float = 1.0
    warmup: float = 0.1
    start: float = 0.0
    cycles: int = 1
    free_nats: float = 0.0
    capacity: float | None = None
    mmd: float = 10.0
    prior: Literal["normal", "mixture", "vamp", "flow"] = "normal"
    inference: Literal["diagonal", "flow"] = "diagonal"
    parts: int = 100
    layers: int = 2
    samples: int = 100
    output: Literal["sample", "mean"] = "sample"
    filling: Literal["auto", "gibbs", "resample", "anneal"] = "auto"
    smooth: float = 1.0
    radius: float = 0.25
    shift: float = 0.07
    evidence: float = 0.1

    kind: ClassVar[Exactness] = "bound"

    @classmethod
    def examples(cls) -> list[Self]:
        small: dict[str, Any] = {
            "latent": 4,
            "hidden": (64,),
            "steps": 300,
            "lr": 5e-3,
            "batch": 64,
            "samples": 20,
            "random_state": 0,
        }
        flows = small | {"steps": 200, "layers": 1, "mixtures": 2, "net": "resnet", "width": 8}
        return [cls(**small), cls(**small, objective="dreg", draws=4), cls(**flows, prior="flow", inference="flow")]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield "beta", self.beta >= 0, "0 or more"
        yield "warmup", 0 <= self.warmup <= 1, "from 0 to 1"
        yield "start", self.start >= 0, "0 or more"
        yield "start", self.warmup > 0 or not self.start, "0 where there is no warmup"
        yield "free_nats", self.free_nats >= 0, "0 or more"
        yield "capacity", self.capacity is None or self.capacity >= 0, "0 or more"
        yield "mmd", self.mmd >= 0, "0 or more"
        yield "smooth", self.smooth >= 0, "0 or more"
        yield "radius", self.radius > 0, "above 0"
        yield "shift", 0 <= self.shift < 1, "from 0 to below 1"
        yield "evidence", 0 <= self.evidence <= 1, "from 0 to 1"
        yield "free_nats", self._closed or not self.free_nats, "0 unless prior is normal and inference diagonal"
        yield (
            "inference",
            self.inference == "diagonal" or self.objective in ("elbo", "iwae"),
            f"diagonal for {self.objective}",
        )
        yield (
            "prior",
            self.prior == "normal" or self.objective not in ("info", "beta-tc"),
            f"normal for {self.objective}",
        )
        whole = not (self.free_nats or self.capacity is not None) or self.objective in ("elbo", "info")
        yield "objective", whole, "elbo or info where free_nats or capacity change the KL term"

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        layout = self.layout_
        net = Shapes(self._image, self.hidden, self.width, layout.labels, residual=self.net == "resnet")
        bent = self.inference == "flow"
        encoder = encoder_for(net, layout.embed_size, (3 if bent else 2) * self.latent)
        decoder = decoder_for(net, self.latent, layout.head_params(self.mixtures))
        parts: dict[str, nn.Module] = {"encoder": encoder, "decoder": decoder, "codes": self._codes_prior(encoder)}
        if bent:
            parts["bend"] = Flow(self.latent, self.layers, context=self.latent)
        if layout.labels:
            prior = nn.Linear(layout.labels, 2 * self.latent, bias=False)
            nn.init.zeros_(prior.weight)
            parts["prior"] = prior
        if self._guesses:
            parts["labels"] = encoder_for(net._replace(labels=0), layout.embed_size, layout.labels)
        return nn.ModuleDict(parts)

    def _codes_prior(self, encoder: nn.Module) -> Prior:
        """Return the prior of latent vectors, in the coordinates of their label."""
        if self.prior == "normal":
            return NormalPrior(self.latent)
        if self.prior == "flow":
            return FlowPrior(self.latent, self.layers)
        if self.prior == "mixture":
            return MixturePrior(self.latent, self.parts)
        if self.layout_.labels:
            raise Problem(
                "vae: the vamp prior has no labels to give its pseudo-records. Choose mixture or flow, or drop the label."
            )
        return VampPrior(self.latent, self.parts, self.layout_.embed_size, encoder)

    def turns(self, net: Any) -> list[Turn]:
        if not self._guesses:
            return [Turn("loss", net, lambda batch: self._loss(net, batch))]
        known = Known(self._code)
        return [Turn("loss", net, lambda batch: self._with_guesses(net, batch, known, self._loss(net, batch)))]

    def _loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        dealt, eps = self._deal(net, batch.x, batch.y), batch.randn(self.draws, self.latent)
        q, eps = self._posterior(net, dealt.x, dealt.y), dealt.share(eps)
        if self.objective in ("iwae", "dreg"):
            return self._importance_loss(net, batch, dealt, q, eps)
        if self._closed:
            z, each = q.draw(eps), gaussian_kl(q.mean, q.log_sd)
        else:
            z, log_q = q.scored(eps)
            each = (log_q - net["codes"].log_prob(z)).mean(1, keepdim=True)
        nats = dealt.gather(self._nats(net, z, dealt.x, dealt.y)).mean() - dealt.price()
        each = dealt.gather(each)
        # What is free, or a distance, is decided for all processes alike.
        kl = batch.mean(each) if self.free_nats or self.capacity is not None else each.mean(0)
        terms = {"nats": nats - kl.sum(), "kl": kl.sum()}
        if self.objective == "beta-tc":
            total = total_correlation(z[:, 0], q.mean, q.log_sd)
            return self._annealed(batch) * kl.sum() + (self.beta - 1) * total - nats, {**terms, "tc": total}
        loss = self.beta * self._annealed(batch) * self._price(kl, batch.progress) - nats
        if self.objective == "info":
            apart = discrepancy(z[:, 0], batch.randn(self.latent))
            return loss + self.mmd * apart, {**terms, "mmd": apart}
        return loss, terms

    @property
    def _closed(self) -> bool:
        """Whether the KL term has a closed form."""
        return self.prior == "normal" and self.inference == "diagonal"

    def _importance_loss(
        self, net: Any, batch: Batch, dealt: Deal, q: Posterior, eps: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the importance-weighted bound.

        For `dreg` the posterior's density counts as fixed, and what reaches the encoder through a draw is weighted by its share of
        the weights once more: the same gradient on average.
        """
        doubly = self.objective == "dreg"
        z, log_q = (q.draw(eps), None) if doubly else q.scored(eps)
        if log_q is None:
            log_q = Posterior(q.mean.detach(), q.log_sd.detach()).log_prob(z)
        weights = self._nats(net, z, dealt.x, dealt.y) - self.beta * self._annealed(batch) * (
            log_q - net["codes"].log_prob(z)
        )
        bound = dealt.gather(torch.logsumexp(weights, 1)).mean() - dealt.price() - math.log(self.draws)
        if not doubly:
            return -bound, {"nats": bound}
        share = torch.softmax(weights.detach(), 1)
        if z.requires_grad:
            z.register_hook(lambda gradient: share[:, :, None] * gradient)
        return -(share * weights).sum(1).mean(), {"nats": bound.detach()}

    def _nats(self, net: Any, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        """Return `(n, k)` log probabilities of records given draws `(n, k, latent)`."""
        n, k, _ = z.shape
        if k > 1:
            x, y = x.repeat_interleave(k, 0), None if y is None else y.repeat_interleave(k, 0)
        return self._head(net, z.flatten(0, 1), y).log_prob(x).view(n, k)

    def _annealed(self, batch: Batch) -> float:
        """Return the weight of the KL term at this point of the training, as a multiple of its final one."""
        if not self.warmup:
            return 1.0
        place = batch.progress * self.cycles
        share = min(1.0, (place - min(int(place), self.cycles - 1)) / self.warmup)
        return self.start + (1 - self.start) * share if self.start < 1 else self.start ** (1 - share)

    def _price(self, kl: Tensor, progress: float) -> Tensor:
        """Return what the KL `(latent,)` costs."""
        total = kl.clamp(min=self.free_nats).sum() if self.free_nats else kl.sum()
        return total if self.capacity is None else (total - self.capacity * progress).abs()

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float]:
        dealt, weighted = self._deal(net, batch.x, batch.y), self.objective in ("iwae", "dreg")
        q, each = self._posterior(net, dealt.x, dealt.y), []
        for _ in range(
            enough(self.draws, 4, batch.total * self.layout_.size)
        ):  # one after the other: there may be many records
            z, log_q = q.scored(dealt.share(batch.randn(1, self.latent)))
            nats = self._nats(net, z, dealt.x, dealt.y)
            each.append(nats if self._closed and not weighted else nats - log_q + net["codes"].log_prob(z))
        if weighted:
            bound = torch.logsumexp(torch.cat(each[: self.draws], 1), 1) - math.log(self.draws)
        else:
            bound = torch.cat(each, 1).mean(1)
        if self._closed and not weighted:
            bound = bound - gaussian_kl(q.mean, q.log_sd).sum(1)
        return "nats", float(dealt.gather(bound).mean() - dealt.price())

    def _posterior(self, net: Any, x: Tensor, y: Tensor | None) -> Posterior:
        """Return q(u | x, y), in coordinates in which the label's prior has mean 0 and deviation 1."""
        e = with_label(self.layout_.embed(x), y, self.layout_.labels, self._image)
        mean, log_sd, *context = net["encoder"](e).float().split(self.latent, 1)
        if self.layout_.labels:
            shift, log_scale = self._prior(net, y)
            mean, log_sd = (mean - shift) * torch.exp(-log_scale), log_sd - log_scale
        return Posterior(mean, log_sd.clamp(-7, 5), net["bend"] if context else None, context[0] if context else None)

    def _head(self, net: Any, u: Tensor, y: Tensor | None) -> Head:
        if self.layout_.labels:
            shift, log_scale = self._prior(net, y)
            u = with_label(shift + torch.exp(log_scale) * u, y, self.layout_.labels)
        return self.layout_.head(net["decoder"](u), self.mixtures)

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
        for i in counted(range(0, n, CHUNK)):
            rows = slice(i, min(i + CHUNK, n))
            z = self.net_["codes"].draw(rows.stop - i, rng)
            head = self._head(self.net_, z, None if y is None else y[rows])
            chunks.append(head.sample(rng) if self.output == "sample" else head.mean())
        return Code(torch.cat(chunks), y)

    def _log_prob(self, code: Code) -> Tensor:
        noise = RecordNoise(self.samples, self.latent, self.layout_.size, self._rng("importance"))
        rows = max(1, min(CHUNK, 2**22 // max(1, self.layout_.head_params(self.mixtures))))
        return torch.cat([self._bound(code[i : i + rows], noise) for i in counted(range(0, len(code), rows))])

    def _bound(self, code: Code, noise: RecordNoise) -> Tensor:
        q = self._posterior(self.net_, code.x, code.y)
        log_weights = []
        for eps in counted(noise.of(code.x), self.samples):
            z, log_q = q.scored(eps[:, None])
            gap = log_q - self.net_["codes"].log_prob(z)
            log_weights.append((self._nats(self.net_, z, code.x, code.y) - gap)[:, 0])
        return torch.logsumexp(torch.stack(log_weights), 0) - math.log(self.samples)

    def _propose(self, code: Code, eps: Tensor) -> tuple[Tensor, Tensor]:
        return self._posterior(self.net_, code.x, code.y).scored(eps)

    def _log_joint(self, code: Code, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._nats(self.net_, z, code.x, code.y), self.net_["codes"].log_prob(z)

    def _draw_latents(self, n: int, rng: torch.Generator) -> Tensor:
        return self.net_["codes"].draw(n, rng)  # type: ignore[no-any-return]

    def _encode(self, code: Code) -> Tensor:
        q = self._posterior(self.net_, code.x, self._known_labels(code))
        return q.draw(torch.zeros_like(q.mean)[:, None])[:, 0]

    def _spread(self, code: Code) -> Tensor:
        q = self._posterior(self.net_, code.x, self._known_labels(code))
        if q.bend is None:
            return torch.exp(q.log_sd)
        eps = torch.randn(SPREAD, self.latent, generator=self._rng("spread"))
        return q.draw(eps.expand(len(code), -1, -1)).std(1)

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        return Code(self._head(self.net_, z, y).mean(), y)

    def _codes_exactly(self) -> bool:
        return self._closed

    def _bits_back(self, code: Code, known: Tensor) -> tuple[Tensor, Tensor] | None:
        if known.shape[1]:
            return None
        q = self._posterior(self.net_, code.x, code.y)
        return q.mean, q.log_sd

    def _observed(self, u: Tensor, y: Tensor | None) -> Head:
        return self._head(self.net_, u, y)

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        by_layout: Filling = "gibbs" if self.layout_.image is None else "anneal"
        return completed(self, code, how, rng, by_layout if self.filling == "auto" else self.filling)
