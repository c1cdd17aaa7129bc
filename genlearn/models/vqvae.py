r"""Vector-quantised variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..codecs import Exactness, Given
from ..counting import counted
from ..engine import Batch, Neural, Stage, Turn
from ..errors import Problem
from ..layout import Code, Head
from ..model import Conditional, Encodes, How, Imputes, Scores
from ..nn import Shape, convolves, mlp, one_hot
from ..nn.grids import GridDecoder, GridEncoder, grid_of
from ..nn.masked import Autoregression, PixelCNN, Transformer
from ._codebook import Codebook, candidates, likeliest, passed_through

SETTLED = 0.8  # share of the first stage after which entries stay where they are used
CHUNK = 512
CANDIDATES, GRID_ROUNDS, SWEEPS = 8, 2, 3  # of imputation


class VQVAE(Scores, Encodes, Imputes, Conditional, Neural):
    r"""Vector-quantised autoencoder with an autoregressive prior: a record is a few codes, each the number of a codebook entry.

    $$p(x) = \sum_z p(x \mid e_{z_1}, \dots, e_{z_T})\, \prod_t p(z_t \mid z_{<t}, y)$$

    The first stage learns codes. An encoder gives T vectors \(v_t\) (a grid of them for images), each is replaced by the nearest
    entry \(e_k\) of the codebook, and a decoder makes the layout's head from them. The loss is, per record and in nats,

    $$-\log p(x \mid e_z) + \beta \frac{d}{T D} \sum_t |v_t - e_{z_t}|^2,$$

    with d the number of values of a record, D that of numbers in an entry; gradients pass the rounding as if it were not there, and
    entries are moving averages of what they are nearest to. `perplexity` tells how many entries are in even use.
    The second stage holds the codes fixed and maximises \(\log p(x \mid e_z) + \log p(z)\): it learns the prior, gated masked
    convolutions or a causal transformer that sees the label if there is one, and goes on with the decoder.

    `score` is a lower bound: of the sum over all codes it takes the `terms` terms whose entries lie nearest to the encoder's vectors.
    In the first stage `nats` is the bound under codes that are all equally likely. Latent vectors are the entries of a
    record's codes, one after the other; `decode` takes the nearest entries of what it is given. Labels shift the prior only.
    Imputation draws candidates for the codes of what is unknown from the prior given the other codes, and takes one in
    proportion to the probability of the other codes and of the known values. For tables it does so code by code, several times
    over: a chain whose law is \(p(z \mid \text{known})\) in the end. For images it draws all of them at once; patches that are
    wholly known keep the encoder's codes.

    Arguments:
        entries: Entries of the codebook, K.
        dim: Numbers in an entry.
        net: `mlp`, `conv`, or `auto` (conv for images of more than 256 values, else mlp).
        codes: Codes of a record for an mlp; none for one per two columns, from 2 to 8.
        halve: How often a conv net halves the image; none for as often as leaves 6 rows and columns or more, at least once.
        hidden: Sizes of the hidden layers of an mlp.
        width: Channels of a conv net at the resolution of the codes.
        blocks: Residual blocks of a conv net, on either side.
        commitment: Weight of the distance between vectors and entries.
        decay: Decay of the moving averages that the entries are.
        revive: Share of the mean use below which an entry moves to a vector of the batch; 0 for never.
        prior: `pixelcnn` (grids only), `transformer`, or `auto` (pixelcnn for grids).
        prior_width: Channels of the prior.
        prior_layers: Layers of the prior.
        prior_share: Share of the training that the second stage takes.
        terms: Codes of a record that `score` sums over.
        output: `sample` draws records from p(x | z); `mean` returns its mean (sharper to look at, but not a draw from p).

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017), https://arxiv.org/abs/1711.00937
        Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019), https://arxiv.org/abs/1906.00446
        Particle Markov chain Monte Carlo methods (Andrieu et al., 2010; iterated resampling),
            https://doi.org/10.1111/j.1467-9868.2009.00736.x

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 3))
        >>> model = VQVAE(entries=16, steps=20, random_state=0).fit(x)
        >>> model.sample(2, random_state=0).shape, model.encode(x).shape, model.kind_
        ((2, 3), (256, 16), 'bound')
    """

    entries: int = 256
    dim: int = 8
    net: Literal["auto", "mlp", "conv"] = "auto"
    codes: int | None = None
    halve: int | None = None
    hidden: tuple[int, ...] = (256, 256)
    width: int = 128
    blocks: int = 2
    commitment: float = 0.25
    decay: float = 0.99
    revive: float = 0.1
    prior: Literal["auto", "pixelcnn", "transformer"] = "auto"
    prior_width: int = 64
    prior_layers: int = 4
    prior_share: float = 0.6
    terms: int = 8
    output: Literal["sample", "mean"] = "sample"
    lr: float = 2e-3

    kind: ClassVar[Exactness] = "bound"

    @classmethod
    def examples(cls) -> list[Self]:
        small: dict[str, Any] = {
            "entries": 16, "dim": 4, "codes": 2, "hidden": (64,), "width": 16, "blocks": 1, "prior_width": 16, "prior_layers": 1,
            "steps": 400, "lr": 5e-3, "batch": 64, "random_state": 0,
        }  # fmt: skip
        return [cls(**small), cls(**small, net="conv", terms=1)]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        yield from super()._rules()
        yield "entries", self.entries > 1, "at least 2"
        yield "commitment", self.commitment > 0, "above 0"
        yield "decay", 0 <= self.decay < 1, "from 0 to below 1"
        yield "revive", 0 <= self.revive < 1, "from 0 to below 1"
        yield "blocks", self.blocks <= 64, "at most 64"
        yield "prior_layers", self.prior_layers <= 64, "at most 64"
        yield "prior_share", 0 < self.prior_share < 1, "between 0 and 1"

    # -- shapes ------------------------------------------------------------------------------------------------------
    @property
    def _image(self) -> Shape | None:
        return self.layout_.image if convolves(self.net, self.layout_.image) else None

    @property
    def _halvings(self) -> int:
        assert self._image is not None
        least = min(self._image[1:])
        return max(1, min(self.halve or int(math.log2(least / 6)), int(math.log2(least))))

    @property
    def _places(self) -> int:
        """Return the number of codes of a record, T."""
        if self._image is not None:
            return math.prod(grid_of(self._image, self._halvings))
        return self.codes or min(8, max(2, self.layout_.size // 2))

    def build(self) -> nn.Module:
        layout, image, flat = self.layout_, self._image, self._places * self.dim
        if image is None:
            encoder: nn.Module = mlp([layout.embed_size, *self.hidden, flat])
            decoder: nn.Module = mlp([flat, *reversed(self.hidden), layout.head_size])
        else:
            shape: dict[str, int] = {"times": self._halvings, "width": self.width, "blocks": self.blocks}
            outputs = layout.head_size // math.prod(image[1:])
            encoder = GridEncoder(image, self.dim, **shape)
            decoder = GridDecoder((outputs, *image[1:]), self.dim, **shape)
        book = Codebook(self.entries, self.dim, decay=self.decay, revive=self.revive)
        return nn.ModuleDict({"encoder": encoder, "book": book, "decoder": decoder, "prior": self._prior()})

    def _prior(self) -> Autoregression:
        net: dict[str, int] = {"context": self.layout_.labels, "width": self.prior_width, "layers": self.prior_layers}
        if self._image is None and self.prior == "pixelcnn":
            raise Problem("vqvae: pixelcnn needs codes in a grid. Choose transformer, or net conv for images.")
        if self._image is not None and self.prior != "transformer":
            return PixelCNN(grid_of(self._image, self._halvings), self.entries, **net)
        return Transformer(self._places, self.entries, **net)

    # -- learning ----------------------------------------------------------------------------------------------------
    def stages(self, net: Any) -> list[Stage]:
        outer = [net["encoder"], net["decoder"]]
        learn = Turn("codes", outer, lambda batch: self._code_loss(net, batch), after=net["book"].update)
        follow = Turn("prior", [net["prior"], net["decoder"]], lambda batch: self._bound_loss(net, batch))
        return [Stage("codes", [learn], 1 - self.prior_share), Stage("prior", [follow], self.prior_share)]

    def _code_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        book, vectors = net["book"], self._vectors(net, batch.x)
        codes = book.nearest(vectors.detach())
        near = book(codes)
        book.observe(vectors.detach(), codes, self._spare(batch, vectors))
        nats = self._head(net, passed_through(vectors, near)).log_prob(batch.x).mean()
        apart = (vectors - near).square().mean()
        terms = {
            "nats": nats - self._places * math.log(self.entries), "reconstruction": nats, "distance": apart,
            "perplexity": book.perplexity(),
        }  # fmt: skip
        return self.commitment * self.layout_.size * apart - nats, terms

    def _spare(self, batch: Batch, vectors: Tensor) -> Tensor | None:
        """Return vectors of the global batch, taken at random, for entries that are not in use: at least one for each."""
        if batch.progress > SETTLED:
            return None
        picks = (batch.rand(-(-self.entries // batch.total)) * self._places).long()[:, :, None]
        own = vectors.detach().float().gather(1, picks.expand(-1, -1, self.dim))
        return batch.all(own).flatten(0, 1)

    def _bound_loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            codes = net["book"].nearest(self._vectors(net, batch.x))
        prior = net["prior"].log_prob(codes, self._context(batch.y)).mean()
        nats = prior + self._nats(net, codes[:, None], batch.x).mean()
        return -nats, {"nats": nats, "code nats": prior}

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float]:
        codes = net["book"].nearest(self._vectors(net, batch.x))
        nats = self._nats(net, codes[:, None], batch.x)[:, 0]
        return "nats", float((nats + net["prior"].log_prob(codes, self._context(batch.y))).mean())

    def _vectors(self, net: Any, x: Tensor) -> Tensor:
        """Return the encoder's vectors, `(n, T, dim)` float32."""
        return net["encoder"](self.layout_.embed(x)).float().view(len(x), self._places, self.dim)

    def _head(self, net: Any, entries: Tensor) -> Head:
        """Return p(x | e) for entries `(n, T, dim)`."""
        return self.layout_.head(net["decoder"](entries if self._image else entries.flatten(1)))

    def _nats(self, net: Any, codes: Tensor, x: Tensor) -> Tensor:
        """Return `(n, k)` log probabilities of records given codes `(n, k, T)`."""
        n, k, _ = codes.shape
        return self._head(net, net["book"](codes.flatten(0, 1))).log_prob(x.repeat_interleave(k, 0)).view(n, k)

    def _context(self, y: Tensor | None) -> Tensor | None:
        return one_hot(y, self.layout_.labels) if self.layout_.labels else None

    # -- the contract ------------------------------------------------------------------------------------------------
    @property
    def latents_(self) -> int:
        """Number of latent dimensions: all numbers of the entries of a record's codes."""
        return self._places * self.dim

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        y, found = self._draw_labels(n, rng, given), []
        for start in counted(range(0, n, CHUNK)):
            part = None if y is None else y[start : start + CHUNK]
            codes, _ = self.net_["prior"].draw(min(CHUNK, n - start), rng, self._context(part))
            head = self._head(self.net_, self.net_["book"](codes))
            found.append(head.sample(rng) if self.output == "sample" else head.mean())
        return Code(torch.cat(found), y)

    def _log_prob(self, code: Code) -> Tensor:
        width = max(self.layout_.head_size, self._places * self.entries)
        rows = max(1, 2**23 // (self.terms * width))
        return torch.cat([self._bound(code[start : start + rows]) for start in counted(range(0, len(code), rows))])

    def _bound(self, code: Code) -> Tensor:
        net: Any = self.net_
        codes = likeliest(net["book"].distances(self._vectors(net, code.x)), self.terms)
        y = None if code.y is None else code.y.repeat_interleave(codes.shape[1], 0)
        prior = net["prior"].log_prob(codes.flatten(0, 1), self._context(y), torch.float64).view(codes.shape[:2])
        return torch.logsumexp(prior + self._nats(net, codes, code.x), 1)

    def _encode(self, code: Code) -> Tensor:
        book = self.net_["book"]
        return book(book.nearest(self._vectors(self.net_, code.x))).flatten(1)

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        book = self.net_["book"]
        codes = book.nearest(z.view(len(z), self._places, self.dim))
        return Code(self._head(self.net_, book(codes)).mean(), y)

    # -- filling in --------------------------------------------------------------------------------------------------
    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        rows = CHUNK // CANDIDATES
        parts = [self._filled(code[start : start + rows], how, rng) for start in counted(range(0, len(code), rows))]
        return Code(torch.cat(parts), self._known_labels(code))

    def _filled(self, code: Code, how: How, rng: torch.Generator) -> Tensor:
        assert code.mask is not None
        net: Any = self.net_
        known = code.x.double().masked_fill(~code.mask, math.nan)
        codes, y, guess = net["book"].nearest(self._vectors(net, known)), None, None
        if self.layout_.labels:
            y = torch.full((len(code),), -1) if code.y is None else code.y
            guess, y = y < 0, torch.where(y < 0, self._labels(len(y), rng), y)
        for free in self._blocks(code.mask):
            codes, y = self._renewed(known, codes, y, free, guess, rng)
            head = self._head(net, net["book"](codes)).without_absent()
            filled = head.sample(rng) if how == "draw" and self.output == "sample" else head.mean()
            x = torch.where(code.mask, code.x.double(), filled)
            if self._image is not None:  # a patch at the edge of what is unknown has a code that depends on it
                codes = torch.where(free, codes, net["book"].nearest(self._vectors(net, x)))
        return x

    def _blocks(self, mask: Tensor) -> Iterator[Tensor]:
        """Yield what is drawn anew at a time, `(n, T)`: patches with something unknown, or one code after the other."""
        if self._image is None:
            for place in [*range(self._places)] * SWEEPS:
                yield (torch.arange(self._places) == place).expand(len(mask), -1)
            return
        patch = 2**self._halvings
        hidden = (~mask).view(-1, *self._image).float()
        free = nn.functional.max_pool2d(hidden, patch, ceil_mode=True).amax(1).flatten(1) > 0
        yield from [free] * GRID_ROUNDS

    def _labels(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.multinomial(self.label_prior_, n, replacement=True, generator=rng)

    def _renewed(
        self, known: Tensor, codes: Tensor, y: Tensor | None, free: Tensor, guess: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Draw candidates for the codes that are free, and for labels that are a guess; return one of them or what there was.

        A step of iterated sampling and resampling: it keeps the law of codes and labels given the values that are known.
        """
        n, k, labels, h = len(codes), CANDIDATES, None, None
        if y is not None and guess is not None:
            others = torch.where(guess[:, None], self._labels(n * k, rng).view(n, k), y[:, None])
            labels = torch.cat([y[:, None], others], 1)
            h = self._context(labels.flatten()).view(n, k + 1, -1)  # type: ignore[union-attr]
        every, weights = candidates(self.net_["prior"], codes, free, h, k, rng)
        weights = weights + self._nats(self.net_, every, known)
        pick = torch.multinomial(torch.softmax(weights.double(), 1), 1, generator=rng)[:, 0]
        one = torch.arange(n), pick
        return every[one], None if labels is None else labels[one]
