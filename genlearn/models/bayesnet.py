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
from ._growth import MOST_SEARCHED, Growth, linear_names, split_parents
from ._interchange import codec_of, network_of, state_of
from ._linear import Linear
from ._network import Network, check_graph
from ._nodes import Nodes
from ._regression import Regression

CUTS = (8, 16, 24)  # numbers of levels that are tried where nobody says
JUDGED = 10_000  # records that a score in passing is taken of


class BayesNet(Scores, Imputes, Conditional, Model):
    r"""Bayesian network: every column depends on a few others, its parents, in a graph without cycles.

    \[ p(x) = \prod_j T_j(b_j \mid b_{\mathrm{pa}(j)}) \prod_{j\ \mathrm{number}} p(x_j \mid b_j) \]

    With `numbers="bins"` a number is cut into levels \(b_j\) at its quantiles, with a proper density inside each; its repeated
    values and "missing" are further levels of the same column. With `numbers="gaussian"` a number is linear-Gaussian given
    its parents, \(x_j \sim N(a_c + b_c^\top x_{\mathrm{pa}(j)}, v_c)\), with one regression for each configuration c of those
    parents that are categories, and no category depends on a number.

    Inference is exact, by variable elimination: any unknown value is summed out of the score, `impute` draws or averages what
    is unknown given all that is known, and `sample` takes conditions and ranges on any columns (of "gaussian" numbers that
    depend on each other, one range). An answer that needs a table of more than 4 million entries is refused.

    The graph is found by search, over at most 256 columns by `hill-climbing` and `tabu`, 20 by `exact`, more by `chow-liu`,
    or given by `edges`. Tables are counted from the records that know a column and all its parents. `model.graph()` returns
    the graph, `from_bif` and `to_bif` exchange networks with other programs.

    Arguments:
        search: How the graph is found: greedily by single edges, the same with a way out of local optima, the best tree, or
            the best graph of all.
        edges: The graph, if it is known, `("age->income", "sex->income")`; None searches for it.
        criterion: What the search climbs: `k2` and `bdeu` are marginal likelihoods under Dirichlet priors, `bic` has
            fewer edges.
        equivalent: Equivalent sample size of the priors: pseudo-records behind each table, with `backoff` behind each of
            its rows.
        max_parents: Most parents of a column; None takes 3, or fewer where exact inference would need too large tables.
        required: Edges that the graph must have, written as in `edges`.
        forbidden: Edges that it must not have.
        parameters: How tables are estimated: `backoff` is the Dirichlet posterior mean around the table with one parent
            fewer, the weakest; `bdeu` the one around even shares; `likelihood` the maximum likelihood, which calls
            impossible what never occurred.
        numbers: `bins` follows any shape, `gaussian` is smooth and needs few records.
        bins: Most levels of a number; None tries 8, 16 and 24 on validation records.

    Errors:
        Problem: If a setting is out of range, an edge names no column or closes a cycle, there are too many columns,
            no record can meet a condition, or an exact answer needs too large a table.

    References:
        A Bayesian Method for the Induction of Probabilistic Networks from Data (Cooper & Herskovits, 1992), https://doi.org/10.1007/BF00994110
        Learning Bayesian Networks: The Combination of Knowledge and Statistical Data (Heckerman et al., 1995), https://doi.org/10.1007/BF00994016
        Bucket elimination: A unifying framework for reasoning (Dechter, 1999), https://doi.org/10.1016/S0004-3702(99)00059-4

    Example:
        >>> import numpy as np, pandas as pd
        >>> rng = np.random.default_rng(0)
        >>> rain = rng.random(1000) < 0.2
        >>> wet = rng.random(1000) < np.where(rain, 0.9, 0.1)
        >>> table = pd.DataFrame({"rain": np.where(rain, "yes", "no"), "grass": np.where(wet, "wet", "dry")})
        >>> model = BayesNet(edges=("rain->grass",), random_state=0).fit(table)
        >>> model.sample(1000, given={"grass": "wet"}, random_state=0)["rain"].value_counts()["yes"] > 600
        np.True_
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
    numbers: Literal["bins", "gaussian"] = "bins"
    bins: int | None = None

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [
            cls(bins=8, random_state=0),
            cls(search="chow-liu", bins=8, random_state=0),
            cls(numbers="gaussian", random_state=0),
        ]

    def _check_params(self) -> None:
        super()._check_params()
        for name, least in (("max_parents", 0), ("bins", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise Problem(f"bayesnet: {name} must be at least {least}, not {value}.")
        if self.numbers == "gaussian" and self.search == "chow-liu" and self.edges is None:
            raise Problem(
                'bayesnet: "chow-liu" cannot keep categories above numbers "gaussian". Use search "hill-climbing".'
            )
        if not 0 < self.equivalent < math.inf:
            raise Problem(f"bayesnet: equivalent must be above 0 and finite, not {self.equivalent}.")

    # -- learning ----------------------------------------------------------------------------------------------------
    @property
    def _growth(self) -> Growth:
        return Growth(
            self.search, self.edges, self.criterion, self.equivalent, self.max_parents, self.required, self.forbidden,
            self.parameters,
        )  # fmt: skip

    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        self._growth.check(self.layout_.size - len(self.layout_.gates))
        x = code.x.double()
        law: Binned | Linear
        if self.numbers == "gaussian":
            law, strengths = self._growth.linear(self.layout_, x, self.bins or CUTS[0])
        else:
            most = self._most_bins(x, None if valid is None else valid.x.double())
            law, strengths = self._growth.binned(self.layout_, x, most)
        self._keep(law, strengths)
        nats = float(law.log_prob(x[:JUDGED]).mean())
        nats += float(code.log_det[:JUDGED].mean()) if code.log_det is not None else 0.0
        note = f"{sum(map(len, self.parents_))} edges among {len(self.parents_)} columns"
        self._tell(1, 1, time.perf_counter() - began, done=True, note=note, nats=nats)

    def _most_bins(self, x: Tensor, valid: Tensor | None) -> int:
        """Return how many levels numbers are cut into at most: those asked for, or what scores held-out records best."""
        columns = self.layout_.columns("real")
        if self.bins is not None or not columns or len(columns) > MOST_SEARCHED or (valid is None and len(x) < 5):
            return self.bins or CUTS[0]
        if valid is None:
            order = torch.randperm(len(x), generator=self._rng("held out"))
            x, valid = x[order[len(x) // 5 :]], x[order[: len(x) // 5]]
        growth, layout = self._growth, self.layout_
        return max(CUTS, key=lambda most: float(growth.binned(layout, x, most)[0].log_prob(valid[:JUDGED]).mean()))

    # -- learned state -----------------------------------------------------------------------------------------------
    def _keep(self, law: Binned | Linear, strengths: list[list[float]]) -> None:
        cut = law.nodes.bins or Bins.fit(torch.zeros(0, 0))
        self.knots_, self.cdf_, self.tails_, self.cuts_ = cut.knots, cut.cdf, cut.tails, cut.cuts
        self.parents_: list[list[int]] = [list(p) for p in law.network.parents]
        self.strengths_: list[list[float]] = strengths
        self.tables_: Tensor = _joined([t.exp() for t in law.network.log_tables])
        if isinstance(law, Linear):
            self.parents_ += [[*r.nodes, *(len(law.nodes) + u for u in r.numbers)] for r in law.regressions]
            self.regressions_: Tensor = _joined([r.weights for r in law.regressions])

    @property
    def _law(self) -> Binned | Linear:
        linear = self.numbers == "gaussian"
        nodes = Nodes(self.layout_, None if linear else Bins(self.knots_, self.cdf_, self.tails_, self.cuts_))
        d, sizes = len(nodes), nodes.sizes
        above = [math.prod(sizes[u] for u in own if u < d) for own in self.parents_]
        tables = _parts(self.tables_, [(above[j], sizes[j]) for j in range(d)])
        network = Network(sizes, self.parents_[:d], tables)
        if not linear:
            return Binned(nodes, network)
        apart = [split_parents(own, d) for own in self.parents_[d:]]
        weights = _parts(self.regressions_, [(q, 2 + len(p)) for q, (_, p) in zip(above[d:], apart, strict=True)])
        return Linear(nodes, network, [Regression(*own, w) for own, w in zip(apart, weights, strict=True)])

    def graph(self) -> tuple[list[str], list[tuple[int, int, float]]]:
        """Return the names of the columns, and edges (parent, child, mutual information of the two in training, nats)."""
        self._check_fitted()
        links = [zip(own, strong, strict=True) for own, strong in zip(self.parents_, self.strengths_, strict=True)]
        law = self._law
        names = law.nodes.names if isinstance(law, Binned) else linear_names(self.layout_)
        return names, [(u, j, strength) for j, pairs in enumerate(links) for u, strength in pairs]

    # -- other programs ----------------------------------------------------------------------------------------------
    @classmethod
    def from_bif(cls, path: str | os.PathLike[str], **settings: Any) -> Self:
        """Return the network of a file in the Bayesian Interchange Format, ready to be used: its variables are columns of text.

        Arguments:
            path: The file, plain or gzipped.
            settings: Keywords of the model, for a later `fit`.

        Errors:
            Problem: If there is no such file, or it is malformed or cyclic; the message names the line.

        Example:
            >>> import tempfile, pathlib
            >>> text = '''network sprinkler { }
            ... variable rain { type discrete [ 2 ] { yes, no }; }
            ... variable grass { type discrete [ 2 ] { wet, dry }; }
            ... probability ( rain ) { table 0.2, 0.8; }
            ... probability ( grass | rain ) { (yes) 0.9, 0.1; (no) 0.1, 0.9; }'''
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder) / "sprinkler.bif"
            ...     n = path.write_text(text)
            ...     model = BayesNet.from_bif(path)
            ...     model.to_bif(path)
            >>> float(model.log_prob(model.sample(1, given={"rain": "yes", "grass": "wet"}))[0].round(3))  # log 0.18
            -1.715
        """
        network = _bif.read(path)
        model = cls(**settings)
        model._check_params()
        model.seed_ = 0 if model.random_state is None else model.random_state
        model.codec_ = codec_of(network, cls.takes)
        cut = Bins.fit(torch.zeros(0, 0))
        model.knots_, model.cdf_, model.tails_, model.cuts_ = cut.knots, cut.cdf, cut.tails, cut.cuts
        model.parents_, model.tables_ = state_of(network, model.codec_)
        if model.numbers == "gaussian":
            model.regressions_ = torch.zeros(0, dtype=torch.float64)
        model.strengths_ = [[0.0] * len(own) for own in model.parents_]
        model._check_learned()
        return model

    def to_bif(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a file in the Bayesian Interchange Format; the bins of a number are states such as `20..35`.

        Columns that are constant are left out.

        Errors:
            Problem: If a name cannot be written, or numbers are not cut: the format holds tables only.
        """
        self._check_fitted()
        law = self._law
        if isinstance(law, Linear) and law.regressions:
            raise Problem('bayesnet: BIF holds tables only, and numbers are "gaussian" here. Fit with numbers "bins".')
        tables = [t.exp() for t in law.network.log_tables]
        _bif.write(path, network_of(law.nodes, law.network.parents, tables, self.codec_))

    def _check_learned(self) -> None:
        super()._check_learned()
        linear, numbers = self.numbers == "gaussian", len(self.layout_.columns("real"))
        cut = Bins(self.knots_, self.cdf_, self.tails_, self.cuts_)
        cut.check(0 if linear else numbers)
        nodes = Nodes(self.layout_, None if linear else cut)
        d, sizes, parents = len(nodes), nodes.sizes, self.parents_
        check_graph(parents, self.strengths_, d + numbers * linear)
        if any(u >= d for own in parents[:d] for u in own):
            raise ValueError("parents_ makes a category depend on a number")
        above = [math.prod(sizes[u] for u in own if u < d) for own in parents]
        self._expect(tables_=(sum(q * size for q, size in zip(above, sizes, strict=False)),))
        if not bool((self.tables_ >= 0).all()):
            raise ValueError("tables_ holds negative probabilities")
        if linear:
            widths = [2 + sum(u >= d for u in own) for own in parents[d:]]
            self._expect(regressions_=(sum(q * w for q, w in zip(above[d:], widths, strict=True)),))
        law = self._law
        if not all(bool(((t.exp().sum(1) - 1).abs() < 1e-6).all()) for t in law.network.log_tables):
            raise ValueError("tables_ holds probabilities that do not sum to 1")
        if isinstance(law, Linear) and not all(bool((r.weights[:, -1] > 0).all()) for r in law.regressions):
            raise ValueError("regressions_ holds variances that are not positive")

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        return self._law.log_prob(code.x.double())

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        return Code(self._law.sample(n, rng, given))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        return Code(self._law.fill(x, ~code.mask, how, rng, self.codec_.units), code.y, None, code.log_det)


def _joined(tables: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tables]) if tables else torch.zeros(0, dtype=torch.float64)


def _parts(flat: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(flat.split([q * r for q, r in shapes]), shapes, strict=True)]
