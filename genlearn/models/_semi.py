r"""Labels that only some records have: a guess \(q(y \mid x)\) of the others, summed over inside a bound.

References:
    Semi-supervised Learning with Deep Generative Models (Kingma et al., 2014), https://arxiv.org/abs/1406.5298
    Virtual Adversarial Training (Miyato et al., 2018; `unevenness`), https://arxiv.org/abs/1704.03976
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine import Batch, Neural, Terms
from ..errors import Problem
from ..layout import Code
from ..model import Encodes, Scores

RARE = 0.01  # labels less likely than this share of the likeliest one are left out of a sum
NEARBY = 0.1  # of the radius: how far off the direction of the steepest change is looked for
TINY = 1e-8

Guess = Callable[[Tensor], Tensor]


@dataclass
class Deal:
    r"""Records, each with every label that it may have: what a bound is taken of.

    With \(S\) the likely labels of a record and \(q_S\) the guess among them,
    \(\log p(x) \ge \sum_{y \in S} q_S(y \mid x) [\mathrm{bound}(x \mid y) + \log p(y) - \log q_S(y \mid x)]\): a bound whatever
    \(S\) is. A record that is sure of its label costs one pass of the nets, not one per label.

    Arguments:
        x: `(m, d)` records, one row per label.
        y: `(m,)` labels; None without a target.
        rows: `(m,)` place of each row's record among n; None where each record stands there once.
        weight: `(m,)` q of the label.
        cost: `(n,)` divergence of q(y | x) from p(y), nats; of a known label, minus its log frequency.
    """

    x: Tensor
    y: Tensor | None
    rows: Tensor | None = None
    weight: Tensor | None = None
    cost: Tensor | None = None

    def share(self, noise: Tensor) -> Tensor:
        """Return each record's noise `(n, ...)` for its rows: labels are compared under the same noise."""
        return noise if self.rows is None else noise[self.rows]

    def gather(self, values: Tensor) -> Tensor:
        """Return the expectations over labels `(n, ...)` of `(m, ...)`."""
        if self.rows is None or self.weight is None or self.cost is None:
            return values
        weighted = values * self.weight.view(-1, *[1] * (values.ndim - 1))
        return values.new_zeros(len(self.cost), *values.shape[1:]).index_add(0, self.rows, weighted.to(values.dtype))

    def price(self) -> Tensor | float:
        """Return the mean cost."""
        return 0.0 if self.cost is None else self.cost.mean()


def deal(x: Tensor, y: Tensor, log_q: Tensor, prior: Tensor) -> Deal:
    """Return every record with its label, or with its likely labels where none is known.

    Arguments:
        x: `(n, d)` records.
        y: `(n,)` labels, -1 where unknown.
        log_q: `(n, labels)` log q(y | x).
        prior: `(labels,)` log p(y).
    """
    known = F.one_hot(y.clamp(min=0), log_q.shape[1]).bool()
    likely = log_q >= log_q.max(1, keepdim=True).values + torch.tensor(RARE).log()
    kept = torch.where((y >= 0)[:, None], known, likely)
    among = log_q.masked_fill(~kept, -torch.inf).log_softmax(1)
    rows, labels = kept.nonzero(as_tuple=True)
    log_weight = among[rows, labels]
    weight = log_weight.exp()
    cost = log_q.new_zeros(len(x)).index_add(0, rows, weight * (log_weight - prior[labels]))
    return Deal(x[rows], labels, rows, weight, cost)


class Known:
    """The records of a training set that have a label, to draw from: few of them would be met by chance.

    Arguments:
        code: The training set.
    """

    def __init__(self, code: Code) -> None:
        assert code.y is not None
        self.code, self.rows = code, (code.y >= 0).nonzero()[:, 0]

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return as many records as the batch has, with their labels."""
        assert self.code.y is not None
        places = (batch.rand(1)[:, 0] * len(self.rows)).long().clamp(max=len(self.rows) - 1)
        rows = self.rows[places.cpu()]
        x, y = self.code.x[rows].to(batch.x.device), self.code.y[rows].to(batch.x.device)
        if self.code.chance is not None:
            chance = self.code.chance[rows].to(batch.x.device)
            x = (batch.rand(chance.shape[1]) * 255 < chance).to(x.dtype)
        return x, y


@dataclass
class Neighbours:
    r"""What a guess owes to records without a label: the same answer nearby, and labels as frequent as they are.

    Arguments:
        guess: Maps embedded records `(n, width)` to log q(y | x), `(n, labels)`.
        radius: How far records with the same label may lie apart, as a share of the records' root mean square distance from
            their mean.
        image: `(channels, height, width)` of records that may be moved; None for others.
        shift: How far an image may be moved with its label unchanged, as a share of its smaller side.
    """

    guess: Guess
    radius: float
    image: tuple[int, int, int] | None = None
    shift: float = 0.0

    def terms(self, e: Tensor, batch: Batch, prior: Tensor) -> dict[str, Tensor]:
        r"""Return the divergences of q(y | x) from that of neighbours, and of \(\bar q(y)\) from p(y), `(labels,)` logs; nats."""
        spread = batch.mean((e - batch.mean(e)).square().sum(1)).sqrt()
        log_q = self.guess(e)
        noise = batch.randn(e.shape[1])
        away = unevenness(self.guess, log_q.detach(), self.moved(e, batch), noise, self.radius * spread)
        share = batch.mean(log_q.exp())
        return {"uneven": away.mean(), "unbalanced": (share * (torch.log(share + TINY) - prior)).sum()}

    def moved(self, e: Tensor, batch: Batch) -> Tensor:
        """Return images `(n, width)`, each moved by its own number of pixels, edges repeated; other records as they are."""
        if self.image is None or e.shape[1] != math.prod(self.image):
            return e
        c, h, w = self.image
        shift = round(self.shift * min(h, w))
        by = (batch.rand(2) * (2 * shift + 1)).long().clamp(max=2 * shift) - shift
        rows = (torch.arange(h, device=e.device) + by[:, :1]).clamp(0, h - 1)
        columns = (torch.arange(w, device=e.device) + by[:, 1:]).clamp(0, w - 1)
        grid = e.view(-1, c, h, w).gather(2, rows[:, None, :, None].expand(-1, c, -1, w))
        return grid.gather(3, columns[:, None, None, :].expand(-1, c, h, -1)).flatten(1)


def unevenness(guess: Guess, here: Tensor, e: Tensor, noise: Tensor, radius: Tensor) -> Tensor:
    r"""Return \(\max_{|r| \le \rho} \mathrm{KL}(q \,\|\, q(y \mid e + r))\), `(n,)` nats, by one step of power iteration.

    Arguments:
        guess: Maps embedded records `(n, width)` to log q(y | e), `(n, labels)`.
        here: `(n, labels)` log q to be kept to.
        e: `(n, width)` embedded records.
        noise: `(n, width)` normal noise, where the search starts.
        radius: The radius \(\rho\).
    """
    start = (NEARBY * radius * F.normalize(noise)).requires_grad_()
    away = F.kl_div(guess(e + start), here, reduction="sum", log_target=True)
    (steepest,) = torch.autograd.grad(away, start)
    step = radius * F.normalize(steepest)
    return F.kl_div(guess(e + step), here, reduction="none", log_target=True).sum(1)


class Guesses(Scores, Encodes, Neural):
    """A model with labels, some of which may be unknown: it puts a classifier "labels" among its nets where `_guesses`."""

    if TYPE_CHECKING:  # settings of the model
        objective: str
        smooth: float
        radius: float
        shift: float
        evidence: float

    def _look(self, code: Code) -> None:
        self.guesses_ = code.y is not None and bool((code.y < 0).any())
        if self.guesses_ and self.objective not in ("elbo", "iwae"):
            raise Problem(
                f"{self.name()}: {self.objective} needs the label of every record. Choose elbo or iwae, or drop those without."
            )

    @property
    def _guesses(self) -> bool:
        """Whether the net has a guess q(y | x): only where some labels were unknown in training."""
        return bool(self.layout_.labels) and vars(self).get("guesses_", False) is True

    def _label_log_prob(self, code: Code) -> Tensor:
        if not self._guesses:
            return super()._label_log_prob(code)
        return self._log_guess(self.net_, self.layout_.embed(code.x))

    def _check_learned(self) -> None:
        super()._check_learned()
        if type(vars(self).get("guesses_", False)) is not bool:
            raise ValueError("guesses_ is neither true nor false")

    def _known_labels(self, code: Code) -> Tensor | None:
        """Return the code's labels; where unknown the likeliest, given what is known of the record."""
        if not self._guesses or code.y is None:
            return super()._known_labels(code)
        x = code.x if code.mask is None else code.x.to(torch.float64).masked_fill(~code.mask, math.nan)
        return torch.where(code.y < 0, self._log_guess(self.net_, self.layout_.embed(x)).argmax(1), code.y)

    def _with_guesses(self, net: Any, batch: Batch, known: Known, found: tuple[Tensor, Terms]) -> tuple[Tensor, Terms]:
        """Return the loss with what the classifier learns besides: known labels, and what it owes to the others."""
        loss, terms = found
        near = Neighbours(partial(self._log_guess, net), self.radius, self.layout_.image, self.shift)
        x, y = known.draw(batch)
        wrong = F.nll_loss(near.guess(near.moved(self.layout_.embed(x), batch)), y)
        loss, terms = loss + wrong, {**terms, "label": wrong}
        if self.smooth:
            owed = near.terms(self.layout_.embed(batch.x), batch, self._log_frequencies(batch.x))
            loss, terms = loss + self.smooth * (owed["uneven"] + owed["unbalanced"]), terms | owed
        return loss, terms

    def _deal(self, net: Any, x: Tensor, y: Tensor | None) -> Deal:
        """Return every record with its label, or with its likely ones."""
        if not self._guesses or y is None:
            return Deal(x, y)
        log_q = self._log_guess(net, self.layout_.embed(x))
        log_q = self.evidence * log_q + (1 - self.evidence) * log_q.detach()  # the same number, another gradient
        return deal(x, y, log_q, self._log_frequencies(x))

    def _log_guess(self, net: Any, e: Tensor) -> Tensor:
        """Return log q(y | x) of embedded records, `(n, labels)`."""
        return net["labels"](e).float().log_softmax(1)  # type: ignore[no-any-return]

    def _log_frequencies(self, like: Tensor) -> Tensor:
        """Return log p(y), `(labels,)`, on the device of another tensor."""
        return torch.log(self.label_prior_.float()).to(like.device)
