"""Bayesian networks: a graph of which column depends on which, a table for each, and exact inference."""

from __future__ import annotations

import math
import os
import time
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code
from ..model import Conditional, How, Imputes, Model, Scores
from . import _bif
from ._binned import Binned
from ._bins import Bins
from ._elimination import MOST_CELLS, largest, min_fill
from ._interchange import codec_of, network_of, state_of
from ._network import Network, count, edges_of, given_parents, information, ordered
from ._nodes import Nodes
from ._structure import learn

MOST_PARENTS = 3  # that a column gets where nobody says
CUTS = (8, 16, 24)  # numbers of levels that are tried where nobody says
JUDGED = 10_000  # records that a score in passing is taken of


class BayesNet(Scores, Imputes, Conditional, Model):
    r"""Bayesian network: every column depends on a few others, its parents, by a table.

    \[ p(x) = \prod_j T_j(b_j \mid b_{\mathrm{pa}(j)}) \; \prod_{j\ \mathrm{number}} p(x_j \mid b_j) \]

    Arguments:
        search: How the graph is found.
        edges: The graph, if it is known: `("age->income", "sex->income")`; None learns it.
        criterion: What the search climbs.
        equivalent: Equivalent sample size.
        max_parents: Most parents of a column; None takes 3, or fewer where exact inference would need too large tables.
        required: Edges that the graph must have.
        forbidden: Edges that it must not have.
        parameters: How tables are estimated.
        bins: Most levels that a number is cut into.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "category", "binary"})
    label_as_field: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"

    search: Literal["hill-climbing", "tabu", "chow-liu", "exact"] = "hill-climbing"
    edges: tuple[str, ...] | None = None
    criterion: Literal["bic", "bdeu", "k2"] = "k2"
    equivalent: float = 1.0
    max_parents: int | None = None
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    parameters: Literal["backoff", "bdeu", "likelihood"] = "backoff"
    bins: int | None = None

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(bins=8, random_state=0), cls(search="chow-liu", bins=8, random_state=0)]

    def _check_params(self) -> None:
        super()._check_params()
        for name, least in (("max_parents", 0), ("bins", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise Problem(f"bayesnet: {name} must be at least {least}, not {value}.")
        if not 0 < self.equivalent < math.inf:
            raise Problem(f"bayesnet: equivalent must be above 0 and finite, not {self.equivalent}.")

    # -- learning ----------------------------------------------------------------------------------------------------
    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        x = code.x.double()
        most = self._most_bins(x, None if valid is None else valid.x.double())
        cut, nodes, parents, tables = self._learned_from(x, most)
        levels = nodes.encode(x[:JUDGED])
        self.strengths_: list[list[float]] = [
            [information(levels, u, j, nodes.sizes) for u in own] for j, own in enumerate(parents)
        ]
        self.knots_, self.cdf_, self.tails_, self.cuts_ = cut.knots, cut.cdf, cut.tails, cut.cuts
        self.parents_: list[list[int]] = parents
        self.tables_: Tensor = torch.cat([t.flatten() for t in tables])
        some = code[:JUDGED]
        nats = float(self._log_prob(some).mean()) + (float(some.log_det.mean()) if some.log_det is not None else 0.0)
        note = f"{sum(map(len, parents))} edges among {len(parents)} columns"
        self._tell(1, 1, time.perf_counter() - began, done=True, note=note, nats=nats)

    def _most_bins(self, x: Tensor, valid: Tensor | None) -> int:
        """Return how many levels numbers are cut into at most: those asked for, or what scores held-out records best."""
        if self.bins is not None or not self.layout_.columns("real") or (valid is None and len(x) < 5):
            return self.bins or CUTS[0]
        if valid is None:
            order = torch.randperm(len(x), generator=self._rng("held out"))
            x, valid = x[order[len(x) // 5 :]], x[order[: len(x) // 5]]

        def score(most: int) -> float:
            _, nodes, parents, tables = self._learned_from(x, most)
            return float(Binned(nodes, Network(nodes.sizes, parents, tables)).log_prob(valid[:JUDGED]).mean())

        return max(CUTS, key=score)

    def _learned_from(self, x: Tensor, most: int) -> tuple[Bins, Nodes, list[list[int]], list[Tensor]]:
        """Return cuts, nodes, parents and tables that codes `(n, d)` give."""
        cut = Bins.fit(x[:, self.layout_.columns("real")], most)
        nodes = Nodes(self.layout_, cut)
        levels = nodes.encode(x)
        parents = self._structure(levels, nodes)
        for j, own in enumerate(parents):  # strongest first: tables back off to those
            own.sort(key=lambda u, j=j: (-round(information(levels, u, j, nodes.sizes), 9), u))
        return cut, nodes, parents, [self._table(levels, j, p, nodes.sizes) for j, p in enumerate(parents)]

    def _structure(self, levels: Tensor, nodes: Nodes) -> list[list[int]]:
        """Return the parents of every node: those given, or found by search."""
        names, sizes = nodes.names, nodes.sizes
        if self.edges is not None:
            return given_parents(edges_of(self.edges, names, "edges"), names, "edges")
        required = edges_of(self.required, names, "required")
        given_parents(required, names, "required")
        most = MOST_PARENTS if self.max_parents is None else self.max_parents
        while True:
            found = learn(
                levels.to(torch.int32).numpy(), sizes, search=self.search, score=self.criterion,
                equivalent=self.equivalent, max_parents=most, required=tuple(required),
                forbidden=tuple(edges_of(self.forbidden, names, "forbidden")), rng=self._rng("structure"),
            )  # fmt: skip
            scopes = [(*p, j) for j, p in enumerate(found)]
            done = self.max_parents is not None or most == 1 or self.search == "chow-liu"
            if done or largest(scopes, sizes, min_fill(scopes, sizes))[0] <= MOST_CELLS:
                return [list(p) for p in found]
            most -= 1

    def _table(self, levels: Tensor, j: int, parents: list[int], sizes: list[int]) -> Tensor:
        """Return the probabilities of node `j` under each configuration of its parents."""
        counts = count(levels, j, parents, sizes)
        even = torch.full((1, sizes[j]), 1 / sizes[j], dtype=torch.float64)
        if self.parameters == "likelihood":
            total = counts.sum(1, keepdim=True)
            return torch.where(total > 0, counts / total.clamp_min(1), even)
        if self.parameters == "bdeu":
            counts = counts + self.equivalent / counts.numel()
        else:
            fewer = self._table(levels, j, parents[:-1], sizes) if parents else even
            counts = counts + self.equivalent * fewer.repeat_interleave(len(counts) // len(fewer), 0)
        return counts / counts.sum(1, keepdim=True)

    # -- pieces ------------------------------------------------------------------------------------------------------
    @property
    def _law(self) -> Binned:
        nodes = Nodes(self.layout_, Bins(self.knots_, self.cdf_, self.tails_, self.cuts_))
        shapes = [(math.prod(nodes.sizes[u] for u in own), nodes.sizes[j]) for j, own in enumerate(self.parents_)]
        parts = self.tables_.split([q * r for q, r in shapes])
        tables = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        return Binned(nodes, Network(nodes.sizes, self.parents_, tables))

    def graph(self) -> tuple[list[str], list[tuple[int, int, float]]]:
        """Return the names of the columns, and edges (parent, child, mutual information of the two in training, nats)."""
        self._check_fitted()
        links = [zip(own, strong, strict=True) for own, strong in zip(self.parents_, self.strengths_, strict=True)]
        return self._law.nodes.names, [(u, j, strength) for j, pairs in enumerate(links) for u, strength in pairs]

    # -- other programs ----------------------------------------------------------------------------------------------
    @classmethod
    def from_bif(cls, path: str | os.PathLike[str], **settings: Any) -> Self:
        """Return the network of a file in the Bayesian Interchange Format, ready to be used: its variables are columns of text.

        Arguments:
            path: The file, plain or gzipped.
            settings: Keywords of the model, for a later `fit`.

        Errors:
            Problem: If there is no such file, or it is malformed or cyclic; the message names the line.
        """
        network = _bif.read(path)
        model = cls(**settings)
        model._check_params()
        model.seed_ = 0 if model.random_state is None else model.random_state
        model.codec_ = codec_of(network, cls.takes)
        cut = Bins.fit(torch.zeros(0, 0))
        model.knots_, model.cdf_, model.tails_, model.cuts_ = cut.knots, cut.cdf, cut.tails, cut.cuts
        model.parents_, model.tables_ = state_of(network, model.codec_)
        model.strengths_ = [[0.0] * len(own) for own in model.parents_]
        model._check_learned()
        return model

    def to_bif(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a file in the Bayesian Interchange Format; the bins of a number are states such as `20..35`.

        Errors:
            Problem: If a name cannot be written.
        """
        self._check_fitted()
        law = self._law
        tables = [t.exp() for t in law.network.log_tables]
        _bif.write(path, network_of(law.nodes, law.network.parents, tables, self.codec_))

    def _check_learned(self) -> None:
        super()._check_learned()
        cut = Bins(self.knots_, self.cdf_, self.tails_, self.cuts_)
        cut.check(len(self.layout_.columns("real")))
        sizes, parents = Nodes(self.layout_, cut).sizes, self.parents_
        if not isinstance(parents, list) or len(parents) != len(sizes):
            raise ValueError("parents_ must hold a list for every node")
        for own in parents:
            if not isinstance(own, list) or not all(type(u) is int and 0 <= u < len(sizes) for u in own):
                raise ValueError("parents_ must hold numbers of nodes")
            if len(set(own)) < len(own):
                raise ValueError("parents_ names a node twice")
        if len(ordered(parents)) < len(sizes):
            raise ValueError("parents_ holds a cycle")
        _check_strengths(self.strengths_, parents)
        self._expect(tables_=(sum(math.prod(sizes[u] for u in [*p, j]) for j, p in enumerate(parents)),))
        if not bool((self.tables_ >= 0).all()):
            raise ValueError("tables_ holds negative probabilities")
        if not all(bool(((t.exp().sum(1) - 1).abs() < 1e-6).all()) for t in self._law.network.log_tables):
            raise ValueError("tables_ holds probabilities that do not sum to 1")

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        return self._law.log_prob(code.x.double())

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        return Code(self._law.sample(n, rng, given))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        return Code(self._law.fill(x, ~code.mask, how, rng), code.y, None, code.log_det)


def _check_strengths(strengths: Any, parents: list[list[int]]) -> None:
    """Raise ValueError unless there is a number for every edge."""
    if not isinstance(strengths, list) or [len(own) for own in strengths] != [len(own) for own in parents]:
        raise ValueError("strengths_ must hold a number for every edge")
    if not all(type(v) is float and math.isfinite(v) for own in strengths for v in own):
        raise ValueError("strengths_ must hold finite numbers")
