"""Theorems of structure search: scores equal their formulas, exact search equals enumeration, greedy search keeps its rules."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.special import gammaln

from genlearn.errors import Problem
from genlearn.models._graphs import Graph, cycle, topological
from genlearn.models._scores import Families, Score
from genlearn.models._structure import MOST_COLUMNS, Search, learn, total

SCORES: tuple[Score, ...] = ("bic", "bdeu", "k2")
GREEDY: tuple[Search, ...] = ("hill-climbing", "tabu")


def network(n: int, d: int, seed: int, missing: float = 0.0) -> tuple[np.ndarray, list[int], list[tuple[int, ...]]]:
    """Draw a network with up to two parents a column, and `n` records of it, some cells unknown (-1)."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 5, d).tolist()
    levels, parents = np.zeros((n, d), dtype=np.int32), []
    for j in range(d):
        own = sorted(rng.choice(j, min(j, int(rng.integers(0, 3))), replace=False).tolist())
        parents.append(tuple(own))
        table = rng.dirichlet(np.full(sizes[j], 0.4), [sizes[p] for p in own])
        rows = table[tuple(levels[:, p] for p in own)] if own else np.broadcast_to(table, (n, sizes[j]))
        levels[:, j] = np.minimum((rows.cumsum(1) < rng.random((n, 1))).sum(1), sizes[j] - 1)
    return np.where(rng.random((n, d)) < missing, -1, levels).astype(np.int32), sizes, parents


def by_hand(
    levels: np.ndarray, sizes: list[int], child: int, parents: tuple[int, ...], score: Score, a: float
) -> float:
    """Score a family by counting record by record; unknown parents make one configuration of their own."""
    counts: dict[tuple[int, ...] | None, np.ndarray] = {}
    for row in levels[levels[:, child] >= 0]:
        key = tuple(int(row[p]) for p in parents)
        counts.setdefault(None if -1 in key else key, np.zeros(sizes[child]))[row[child]] += 1
    q, r = math.prod(sizes[p] for p in parents), sizes[child]
    if score == "bic":
        n = sum(c.sum() for c in counts.values())
        fit = sum((c[c > 0] * np.log(c[c > 0] / c.sum())).sum() for c in counts.values())
        return float(fit - 0.5 * math.log(n) * (r - 1) * (q + (None in counts)))
    alpha = a / (q * r) if score == "bdeu" else 1.0
    return float(
        sum(
            gammaln(alpha * r) - gammaln(c.sum() + alpha * r) + (gammaln(c + alpha) - gammaln(alpha)).sum()
            for c in counts.values()
        )
    )


@pytest.mark.parametrize("missing", [0.0, 0.2, "one column"])
@pytest.mark.parametrize("score", SCORES)
def test_scores_equal_their_formulas_however_they_are_asked_for(score: Score, missing: float | str) -> None:
    """Alone, as one of many additions, and from the table of all pairs; tolerance: sums of a few hundred float64 terms."""
    levels, sizes, _ = network(300, 5, 0, 0.0 if isinstance(missing, str) else missing)
    if missing == "one column":
        levels[::3, 2] = -1
    alone, adding, warmed = (Families(levels, sizes, score, 2.5) for _ in range(3))
    warmed.warm()
    for child in range(5):
        others = [j for j in range(5) if j != child]
        for size in range(4):
            for parents in itertools.combinations(others, size):
                expected = by_hand(levels, sizes, child, parents, score, 2.5)
                assert alone.score(child, parents) == pytest.approx(expected, abs=1e-8)
                if size:
                    assert adding.adding(child, parents[:-1])[parents[-1]] == pytest.approx(expected, abs=1e-8)
                if size == 1:
                    assert warmed.score(child, parents) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("score", ["bic", "bdeu"])
def test_equivalent_graphs_score_alike_and_k2_tells_them_apart(score: Score) -> None:
    """a -> b -> c, a <- b <- c and a <- b -> c say the same (BIC and BDeu see it); the collider says something else."""
    levels, sizes, _ = network(500, 3, 3)
    chains = ([(), (0,), (1,)], [(1,), (2,), ()], [(1,), (), (1,)])
    values = [total(levels, sizes, list(g), score) for g in chains]
    assert np.ptp(values) < 1e-8
    assert abs(total(levels, sizes, [(), (0, 2), ()], score) - values[0]) > 0.1
    assert np.ptp([total(levels, sizes, list(g), "k2") for g in chains]) > 0.1


def graphs(d: int, most: int) -> list[list[tuple[int, ...]]]:
    """All graphs without cycles on `d` columns."""
    sets = [
        [p for k in range(most + 1) for p in itertools.combinations([j for j in range(d) if j != c], k)]
        for c in range(d)
    ]
    return [list(g) for g in itertools.product(*sets) if len(topological(g)) == d]


@pytest.mark.parametrize("score", SCORES)
def test_exact_search_finds_the_best_of_all_graphs(score: Score) -> None:
    for seed, most in ((1, 2), (2, 3)):
        levels, sizes, _ = network(200, 4, seed)
        found = learn(levels, sizes, search="exact", score=score, max_parents=most)
        best = max(total(levels, sizes, g, score) for g in graphs(4, most))
        assert total(levels, sizes, found, score) == pytest.approx(best, abs=1e-6)
        assert max(map(len, found)) <= most


@pytest.mark.parametrize("search", GREEDY)
@pytest.mark.parametrize("score", SCORES)
def test_greedy_search_ends_where_no_move_helps(search: Search, score: Score) -> None:
    """Neither an edge more, nor one less, nor one turned round is better than where it ended."""
    levels, sizes, _ = network(800, 6, 4, missing=0.05)
    found = learn(levels, sizes, search=search, score=score, max_parents=2)
    value = total(levels, sizes, found, score)
    edges = {(p, c) for c, own in enumerate(found) for p in own}
    for a, b in itertools.permutations(range(6), 2):
        moves = [edges ^ {(a, b)}] if (b, a) not in edges else []
        moves += [edges - {(a, b)} | {(b, a)}] if (a, b) in edges else []
        for move in moves:
            graph = [tuple(sorted(p for p, c in move if c == j)) for j in range(6)]
            if not cycle(graph) and max(map(len, graph)) <= 2:
                assert total(levels, sizes, graph, score) <= value + 1e-6


def test_no_search_beats_the_exact_one() -> None:
    """Tabu and hill climbing do not; nor does the Chow-Liu tree where one parent is the most."""
    for seed in range(4):
        levels, sizes, _ = network(400, 7, seed)
        hill, tabu, exact = (total(levels, sizes, learn(levels, sizes, search=s)) for s in (*GREEDY, "exact"))
        assert max(hill, tabu) <= exact + 1e-6
        assert min(hill, tabu) >= exact - 0.01 * abs(exact)  # and they come near
        tree = learn(levels, sizes, search="chow-liu")
        one = learn(levels, sizes, search="exact", max_parents=1)
        assert total(levels, sizes, tree) <= total(levels, sizes, one) + 1e-6


def test_the_source_is_found_again() -> None:
    """With records enough, the best graph scores as the source does, or better by chance."""
    levels, sizes, source = network(20_000, 6, 9)
    assert total(levels, sizes, learn(levels, sizes, search="exact")) >= total(levels, sizes, source) - 1e-6


@pytest.mark.parametrize("search", ["hill-climbing", "tabu", "exact", "chow-liu"])
def test_the_order_of_columns_does_not_matter(search: Search) -> None:
    levels, sizes, _ = network(500, 7, 5, missing=0.0 if search == "chow-liu" else 0.1)
    found = learn(levels, sizes, search=search)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(7).tolist()
        other = learn(levels[:, order], [sizes[j] for j in order], search=search)
        back = {order[i]: tuple(sorted(order[p] for p in own)) for i, own in enumerate(other)}
        assert [back[j] for j in range(7)] == found


@pytest.mark.parametrize("search", ["hill-climbing", "tabu", "exact"])
def test_rules_are_kept(search: Search) -> None:
    levels, sizes, source = network(500, 6, 6)
    child = max(range(6), key=lambda j: len(source[j]))
    forbidden = tuple((p, child) for p in range(6) if p != child)
    assert learn(levels, sizes, search=search, forbidden=forbidden)[child] == ()
    required = ((5, 0), (4, 0), (0, 1))
    found = learn(levels, sizes, search=search, required=required, max_parents=2)
    assert all(a in found[b] for a, b in required)
    assert not cycle(found)
    assert max(map(len, found)) <= 2


def test_gated_columns_and_columns_that_say_nothing_get_an_answer() -> None:
    """A constant column, one without any value, a copy, one row, no row: no edge of them is invented."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, 200)
    levels = np.stack([a, np.zeros(200), np.full(200, -1), a, rng.integers(0, 3, 200)], 1).astype(np.int32)
    for search in ("hill-climbing", "tabu", "exact", "chow-liu"):
        found = learn(levels, [2, 1, 4, 2, 3], search=search)
        edges = {frozenset((p, c)) for c, own in enumerate(found) for p in own}
        assert frozenset((0, 3)) in edges
        assert not any(e & {1, 2} for e in edges)
        assert learn(levels[:1], [2, 1, 4, 2, 3], search=search)
        assert learn(levels[:0], [2, 1, 4, 2, 3], search=search) == [()] * 5
        assert learn(levels[:, :1], [2], search=search) == [()]
        assert learn(levels[:, :0], [], search=search) == []


def test_graph_knows_who_is_above_whom() -> None:
    """Ancestors kept up by additions and removals equal those found afresh."""
    rng = np.random.default_rng(0)
    graph = Graph(np.zeros((7, 7), dtype=bool))
    for _ in range(300):
        c, p = rng.choice(7, 2, replace=False).tolist()
        if graph.edges[c, p]:
            graph.drop(c, p)
        elif not graph.above[p, c]:
            graph.add(c, p)
        reach = np.linalg.matrix_power(graph.edges + np.eye(7), 7) > 0
        np.testing.assert_array_equal(graph.above, reach)


def test_cycles_are_named_along_their_edges() -> None:
    parents = [(2,), (0,), (1, 3), (), (2,)]  # 0 -> 1 -> 2 -> 0
    found = cycle(parents)
    assert found[0] == found[-1]
    assert all(a in parents[b] for a, b in itertools.pairwise(found))
    assert len(found) == 4
    assert cycle([(), (0,), (0, 1)]) == []


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"search": "exact"}, "takes 20"),
        ({"required": ((0, 1), (1, 0))}, "cycle"),
        ({"required": ((0, 1),), "forbidden": ((0, 1),)}, "both required and forbidden"),
        ({"required": ((0, 3), (1, 3)), "max_parents": 1}, "max_parents"),
        ({"search": "chow-liu", "required": ((0, 1),)}, "chow-liu"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(settings: dict, words: str) -> None:
    levels = np.zeros((5, 21), dtype=np.int32)
    with pytest.raises(Problem, match=words) as raised:
        learn(levels, [2] * 21, **settings)
    assert "\n" not in str(raised.value)


def test_too_many_columns_are_refused_before_any_work() -> None:
    wide = np.zeros((2, MOST_COLUMNS + 1), dtype=np.int32)
    with pytest.raises(Problem, match="chow-liu"):
        learn(wide, [2] * wide.shape[1])
