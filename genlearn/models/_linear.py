r"""Networks with linear-Gaussian numbers: exact inference over discrete nodes and numbers together.

A number given its parents is \(N(a_c + b_c^\top x_{\mathrm{pa}}, v_c)\), with one regression for each configuration \(c\) of its
discrete parents; no category depends on a number. Given all discrete nodes the numbers are jointly normal. Where some are unknown, the
densities of the known numbers are factors over the discrete parents, which elimination takes like any table; numbers that are
unknown are integrated out of them first (a strong elimination order).

References:
    Propagation of Probabilities, Means and Variances in Mixed Graphical Association Models (Lauritzen, 1992), https://doi.org/10.1080/01621459.1992.10476265
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..codecs.base import Given
from ..codecs.units import Units
from ..errors import Problem
from ._binned import check_possible, present, split
from ._elimination import Factor, check_size
from ._means import NO_UNITS, Beliefs
from ._network import AT_ONCE, Network, Query, mixed, ordered
from ._nodes import Nodes
from ._normals import log_mass, patterns, truncated
from ._regression import Normal, Regression

DRAWS = 32  # of unknown categories, over which the mean of a number is averaged
ROUNDS = 32  # of as many draws, of numbers as well, where a scale is curved

Ranges = Mapping[int, tuple[float, float]]


class Linear:
    """A density over codes: a network over the categories, and a regression for each number.

    Arguments:
        nodes: The categories (and gates) as nodes.
        network: Their network.
        regressions: One for each number, in the order of `layout.columns("real")`.
    """

    def __init__(self, nodes: Nodes, network: Network, regressions: Sequence[Regression]) -> None:
        self.nodes, self.network, self.regressions = nodes, network, list(regressions)
        self.columns = nodes.layout.columns("real")
        self.order = ordered([r.numbers for r in regressions])

    # -- scores ------------------------------------------------------------------------------------------------------
    def log_prob(self, x: Tensor) -> Tensor:
        """Return `(n,)` log densities of codes."""
        levels, values = self.nodes.encode(x), x[:, self.columns].double()
        out = torch.empty(len(x), dtype=torch.float64)
        for shown, rows in patterns(torch.cat([levels >= 0, ~torch.isnan(values)], 1)):
            nodes, numbers = self._apart(shown)
            question = Question(self, nodes, numbers, nodes)
            for part in rows.split(question.rows):
                out[part] = question.total(levels[part], values[part])
        return out

    def _apart(self, shown: Tensor) -> tuple[frozenset[int], frozenset[int]]:
        d = len(self.nodes)
        return frozenset(j for j in shown.tolist() if j < d), frozenset(j - d for j in shown.tolist() if j >= d)

    # -- draws -------------------------------------------------------------------------------------------------------
    def sample(self, n: int, rng: torch.Generator, given: Given | None) -> Tensor:
        """Draw `n` codes: what conditions are about and what precedes it, then the rest in order."""
        levels = torch.full((n, len(self.nodes)), -1)
        values = torch.full((n, len(self.columns)), torch.nan, dtype=torch.float64)
        ranges: Ranges = {}
        if given is not None:
            asked = given.x[:, self.columns].double()
            ranges = {i: given.ranges[j] for i, j in enumerate(self.columns) if j in given.ranges}
            known = frozenset(torch.nonzero(~torch.isnan(asked[0]))[:, 0].tolist())
            evidence = self.nodes.evidence(given)
            row, fixed, weights = split(evidence, len(self.nodes))
            question = Question(self, fixed, known, evidence, weights, ranges)
            buckets = question.query.buckets(row, [*weights, *question.factors(row, asked)])
            check_possible(evidence, float(buckets.log_total), given)
            for j, drawn in buckets.draw(n, rng).items():
                levels[:, j] = drawn
            levels[:, sorted(fixed)] = row[:, sorted(fixed)]
            values[:] = asked
        levels = self.network.forward(levels, rng)
        out = self.nodes.decode(levels)
        out[:, self.columns] = self.numbers(levels, values, rng, ranges)
        if given is not None:
            out = torch.where(torch.isnan(given.x), out, given.x.double())
        return self.nodes.layout.shut_gates(out)

    def numbers(
        self, levels: Tensor, values: Tensor, rng: torch.Generator | None, ranges: Ranges | None = None
    ) -> Tensor:
        """Return numbers `(n, m)`, the unknown ones drawn, or their means without `rng`, given the known ones and all levels."""
        values = values.clone()
        for shown, rows in patterns(~torch.isnan(values)):
            known = frozenset(shown.tolist())
            for part in rows.split(max(1, AT_ONCE // max(1, len(self.columns)) ** 2)):
                values[part] = self._given(levels[part], values[part], known, rng, ranges or {})
        return values

    def _given(
        self, levels: Tensor, values: Tensor, known: frozenset[int], rng: torch.Generator | None, ranges: Ranges
    ) -> Tensor:
        out = values.clone()
        for members in self.components(known, every=True):
            unknown = [j for j in members if j not in known]
            if not unknown:
                continue
            normal = self.normal(members, levels, values).given(known, values)
            assert rng is not None or not ranges
            for j in unknown:
                if j in ranges:
                    mean, sd = normal.single(j)
                    low, high = ((end - mean) / sd for end in ranges[j])
                    out[:, j] = mean + sd * truncated(low, high, rng)  # type: ignore[arg-type]  # asserted above
                    normal = normal.given(frozenset([j]), out)
            rest = [j for j in unknown if j not in ranges]
            out[:, rest] = normal.mean if rng is None else normal.draw(rng)
        return out

    # -- unknown values ----------------------------------------------------------------------------------------------
    def fill(self, x: Tensor, unknown: Tensor, how: str, rng: torch.Generator, units: Units = NO_UNITS) -> Tensor:
        """Return codes `(n, d)` whose unknown values are drawn, or are means or most probable levels given the others."""
        beliefs = Beliefs(units, self.nodes.layout, len(x))
        levels, values = self.nodes.encode(x), x[:, self.columns].double()
        wanted = self.nodes.wanted(unknown) if len(self.nodes) else unknown[:, :0]
        open_ = unknown[:, self.columns]
        filled = values.clone()
        for shown, rows in patterns(torch.cat([levels >= 0, ~torch.isnan(values), wanted, open_], 1)):
            d, m = len(self.nodes), len(self.columns)
            nodes, numbers = self._apart(shown[shown < d + m])
            sought = (shown[(shown >= d + m) & (shown < d + m + d)] - d - m).tolist()
            weights = [present(self.nodes.sizes[j], self.nodes.nodes[j].absent, j) for j in sought]
            question = Question(self, nodes, numbers, range(d), weights)
            for part in rows.split(question.rows):
                factors = [*weights, *question.factors(levels[part], values[part])]
                if how == "mean":
                    levels[part] = self._believe(
                        question.query, factors, levels[part], values[part], part, beliefs, rng
                    )
                    continue
                levels[part], filled[part] = self._filled(question.query, factors, levels[part], values[part], how, rng)
        out = self.nodes.decode(levels.clamp_min(0))
        out[:, self.columns] = filled
        if how == "mean":
            out = beliefs.put(out, unknown)
        return torch.where(unknown, self.nodes.layout.shut_gates(out), x)

    def _filled(
        self, query: Query, factors: list[Factor], levels: Tensor, values: Tensor, how: str, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if not query.order:  # all levels are known
            return levels, self.numbers(levels, values, rng if how == "draw" else None)
        buckets = query.buckets(levels, factors)
        if how == "mode":
            for j, share in buckets.marginals().items():
                levels[:, j] = share.argmax(1)
            return levels, self.numbers(levels, values, None)
        for j, level in buckets.draw(len(levels), rng).items():
            levels[:, j] = level
        return levels, self.numbers(levels, values, rng)

    def _believe(
        self, query: Query, factors: list[Factor], levels: Tensor, values: Tensor, rows: Tensor, beliefs: Beliefs,
        rng: torch.Generator,
    ) -> Tensor:  # fmt: skip
        """Gather what is believed of some rows, numbers as averages over draws of the levels; return the likeliest levels."""
        buckets = query.buckets(levels, factors) if query.order else None
        drawn, repeated = levels.repeat_interleave(DRAWS, 0), values.repeat_interleave(DRAWS, 0)
        curves = [beliefs.means.curve(j) for j in self.columns]
        total = torch.zeros(2, len(rows), len(self.columns), dtype=torch.float64)
        for _ in range(ROUNDS if any(curves) else 1):
            if buckets is not None:
                for j, level in buckets.draw(len(drawn), rng).items():
                    drawn[:, j] = level
            found = self.numbers(drawn, repeated, rng if any(curves) else None)
            for i, curve in enumerate(curves):
                found[:, i] = found[:, i] if curve is None else curve(found[:, i])
            weight = self._open(drawn).view(len(rows), DRAWS, -1) + 1e-12  # all count alike where none is open
            total += torch.stack([(found.view_as(weight) * weight).sum(1), weight.sum(1)])
        beliefs.numbers[rows[:, None], self.columns] = total[0] / total[1]
        if buckets is not None:
            for j, share in buckets.marginals().items():
                levels[:, j] = share.argmax(1)
                column = self.nodes.nodes[j].category
                assert column is not None
                beliefs.learn(rows, column, share.expand(len(rows), -1))
        return levels

    def _open(self, levels: Tensor) -> Tensor:
        """Return 1 for the numbers `(n, m)` that their gates let be there, else 0."""
        out = torch.ones(len(levels), len(self.columns), dtype=torch.float64)
        node_of = {node.category: i for i, node in enumerate(self.nodes.nodes)}
        for columns, gate in self.nodes.layout.gates:
            for j in range(columns.start, columns.stop):
                out[:, self.columns.index(j)] = (levels[:, node_of[gate]] == 0).double()
        return out

    # -- joint normal distributions ----------------------------------------------------------------------------------
    def components(
        self, known: frozenset[int], ranged: Ranges | None = None, *, every: bool = False
    ) -> list[list[int]]:
        """Return groups of numbers whose regressions share an unknown number, each in order, parents first.

        Unknown numbers that nothing known descends from are left out, unless `every` is asked for.
        """
        left, found = [*(self.order if every else known), *(ranged or ())], set()
        while left:
            j = left.pop()
            if j not in found:
                found.add(j)
                left.extend(self.regressions[j].numbers)
        groups: list[tuple[set[int], set[int]]] = []  # unknown numbers, and those whose regressions speak of them
        for j in (j for j in self.order if j in found):
            unknown, members = {u for u in (j, *self.regressions[j].numbers) if u not in known}, {j}
            for group in [g for g in groups if g[0] & unknown]:
                groups.remove(group)
                unknown, members = unknown | group[0], members | group[1]
            groups.append((unknown, members))
        return [[j for j in self.order if j in members] for _, members in groups]

    def normal(self, members: Sequence[int], levels: Tensor, values: Tensor) -> Normal:
        """Return the joint distribution of some numbers, given all levels and their parents outside, `(n, ...)`."""
        n, k = len(levels), len(members)
        place = {j: i for i, j in enumerate(members)}
        base, noise = (torch.empty(n, k, dtype=torch.float64) for _ in range(2))
        slopes = torch.zeros(n, k, k, dtype=torch.float64)
        for i, j in enumerate(members):
            own = self.regressions[j]
            weights = own.weights[mixed(levels, own.nodes, self.network.sizes)]
            base[:, i], noise[:, i] = weights[:, 0], weights[:, -1]
            for c, u in enumerate(own.numbers, 1):
                if u in place:
                    slopes[:, i, place[u]] = weights[:, c]
                else:
                    base[:, i] += weights[:, c] * values[:, u]
        if k == 1:
            return Normal(list(members), base, noise[:, :, None])
        eye = torch.eye(k, dtype=torch.float64)
        reach = torch.linalg.solve_triangular(eye - slopes, eye.expand(n, -1, -1), upper=False, unitriangular=True)
        cov = (reach * noise[:, None]) @ reach.transpose(1, 2)
        return Normal(list(members), (reach @ base[:, :, None])[:, :, 0], cov)


class Question:
    """What is asked of all records that know the same nodes and numbers.

    Arguments:
        law: The model.
        nodes: Discrete nodes that are known.
        numbers: Numbers that are known.
        about: Further discrete nodes that the answer depends on.
        weights: Further factors.
        ranges: Numbers that lie within a range.
    """

    def __init__(
        self,
        law: Linear,
        nodes: frozenset[int],
        numbers: frozenset[int],
        about: object,
        weights: Sequence[Factor] = (),
        ranges: Ranges | None = None,
    ) -> None:
        self.law, self.nodes, self.numbers, self.ranges = law, nodes, numbers, ranges or {}
        self.parts = law.components(numbers, self.ranges)
        for members in self.parts:
            if sum(j in self.ranges for j in members) > 1:
                raise Problem(
                    "bayesnet: ranges of numbers that depend on each other cannot be asked for at once. "
                    'Give one range and otherwise values, or fit with numbers "bins".'
                )
        regressions = law.regressions
        self.scopes = [
            tuple(sorted({u for j in members for u in regressions[j].nodes if u not in nodes}))
            for members in self.parts
        ]
        above = {u for members in self.parts for j in members for u in regressions[j].nodes}
        self.query = Query(law.network, nodes, [*above, *about], [*self.scopes, *(f.nodes for f in weights)])  # type: ignore[misc]
        cells = [math.prod(law.network.sizes[u] for u in scope) * len(m) ** 2 for scope, m in self._pairs()]
        check_size(max(cells, default=1), "bayesnet")
        self.rows = max(1, min(self.query.rows, AT_ONCE // max(1, *cells, 1)))

    def _pairs(self) -> list[tuple[tuple[int, ...], list[int]]]:
        return list(zip(self.scopes, self.parts, strict=True))

    def total(self, levels: Tensor, values: Tensor) -> Tensor:
        """Return the log density `(n,)` of what is known."""
        return self.query.buckets(levels, self.factors(levels, values)).log_total.expand(len(levels))

    def factors(self, levels: Tensor, values: Tensor) -> list[Factor]:
        """Return the densities of the known numbers as factors over the unknown discrete nodes that they depend on."""
        sizes, n, found = self.law.network.sizes, len(levels), []
        for scope, members in self._pairs():
            shape = [sizes[u] for u in scope]
            every = (
                torch.cartesian_prod(*(torch.arange(size) for size in shape)).view(-1, len(scope)) if scope else None
            )
            count = 1 if every is None else len(every)
            own, known = levels.repeat_interleave(count, 0), values.repeat_interleave(count, 0)
            if every is not None:
                own[:, list(scope)] = every.repeat(n, 1)
            normal = self.law.normal(members, own, known)
            log_density = normal.log_prob(self.numbers, known)
            for j in members:
                if j in self.ranges:
                    mean, sd = normal.given(self.numbers, known).single(j)
                    low, high = ((end - mean) / sd for end in self.ranges[j])
                    log_density = log_density + log_mass(low, high)
            found.append(Factor(scope, log_density.view(n, *shape)))
        return found
