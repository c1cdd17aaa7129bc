"""Bayesian networks: elimination against enumeration and quadrature, draws against the laws they come from, graphs and files."""

from __future__ import annotations

import gzip
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.model import Model
from genlearn.models import BayesNet
from genlearn.models._elimination import MOST_CELLS, largest, min_fill
from genlearn.models._network import Network, Query
from genlearn.models._normals import patterns
from genlearn.report import network as drawing

FALSE_ALARM = 1e-4  # of each two-sample test; seeds are fixed
PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


def random_network(seed: int, sizes: tuple[int, ...] = (2, 3, 2, 4, 2, 3), most: int = 3) -> Network:
    """Return a network with parents of lower number and tables drawn from Dirichlet distributions."""
    rng = np.random.default_rng(seed)
    parents = [tuple(sorted(rng.permutation(j)[: rng.integers(0, most + 1)].tolist())) for j in range(len(sizes))]
    tables = [rng.dirichlet(np.ones(r), math.prod(sizes[u] for u in p)) for p, r in zip(parents, sizes, strict=True)]
    return Network(sizes, parents, [torch.from_numpy(t) for t in tables])


def everything(network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all records that a network can draw, and their probabilities, multiplied node by node."""
    levels = torch.cartesian_prod(*(torch.arange(s) for s in network.sizes))
    p = torch.ones(len(levels), dtype=torch.float64)
    for j, above in enumerate(network.parents):
        for i, row in enumerate(levels.tolist()):
            place = 0
            for u in above:
                place = place * network.sizes[u] + row[u]
            p[i] *= network.log_tables[j][place, row[j]].exp()
    return levels, p


def mixed(n: int, seed: int) -> pd.DataFrame:
    """Draw a table whose numbers depend on its categories and on each other; one has a spike."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    flag = np.where(rng.random(n) < np.where(kind == "a", 0.2, 0.7), "yes", "no")
    x = rng.normal(np.where(kind == "a", 0.0, 2.0), 1.0)
    y = 0.8 * x + rng.normal(0, 0.5, n) + (flag == "yes")
    z = np.where(rng.random(n) < 0.25, 0.0, np.exp(0.4 * y + rng.normal(0, 0.3, n)))
    return pd.DataFrame({"x": x, "kind": kind, "y": y, "flag": flag, "z": z})


def plain(frame: pd.DataFrame) -> Records:
    """Return records whose numbers are only centred and scaled."""
    return Records("table", frame, options={"scale": "standard"})


# -- elimination -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_elimination_equals_enumeration(seed: int) -> None:
    network = random_network(seed)
    levels, p = everything(network)
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(network.log_prob(levels), p.log(), rtol=1e-12, atol=1e-12)
    rng = np.random.default_rng(seed)
    for _ in range(12):
        known = frozenset(torch.nonzero(torch.from_numpy(rng.random(6) < 0.5))[:, 0].tolist())
        row = torch.where(torch.tensor([j in known for j in range(6)]), levels[int(rng.integers(len(levels)))], -1)
        fits = torch.stack([levels[:, j] == row[j] for j in known], 1).all(1) if known else torch.ones(len(p)).bool()
        total = float(p[fits].sum())
        assert float(network.log_prob(row[None])[0]) == pytest.approx(math.log(total), abs=1e-12)
        found = Query(network, known, range(6)).buckets(row[None]).marginals()
        assert set(found) == set(range(6)) - known
        for j, share in found.items():
            wanted = torch.stack([p[fits & (levels[:, j] == k)].sum() for k in range(network.sizes[j])]) / total
            torch.testing.assert_close(share[0], wanted, rtol=1e-10, atol=1e-12)


def test_many_records_at_once_equal_one_by_one() -> None:
    network = random_network(7)
    levels = everything(network)[0]
    hidden = torch.from_numpy(np.random.default_rng(0).random(levels.shape) < 0.4)
    rows = torch.where(hidden, -1, levels)
    each = torch.cat([network.log_prob(row[None]) for row in rows])
    torch.testing.assert_close(network.log_prob(rows), each, rtol=1e-12, atol=1e-12)
    for columns, at in patterns(rows >= 0):
        known = frozenset(columns.tolist())
        together = Query(network, known, range(6)).buckets(rows[at]).marginals()
        alone = Query(network, known, range(6)).buckets(rows[at[-1:]]).marginals()
        for j, share in together.items():
            torch.testing.assert_close(share.expand(len(at), -1)[-1], alone[j][0], rtol=1e-10, atol=1e-12)


def test_draws_come_from_the_posterior() -> None:
    network = random_network(3)
    levels, p = everything(network)
    fits = (levels[:, 5] == 1) & (levels[:, 3] == 2)
    row = torch.tensor([[-1, -1, -1, 2, -1, 1]])
    drawn = Query(network, frozenset([3, 5]), range(6)).buckets(row).draw(20_000, torch.Generator().manual_seed(0))
    seen = sum(drawn[j] * m for j, m in zip((0, 1, 2, 4), (1, 2, 6, 12), strict=True))
    code = levels[fits][:, [0, 1, 2, 4]] @ torch.tensor([1, 2, 6, 12])
    counts = torch.bincount(seen, minlength=24)[code].numpy()
    assert counts.sum() == 20_000
    assert stats.chisquare(counts, 20_000 * (p[fits] / p[fits].sum()).numpy()).pvalue > FALSE_ALARM


def test_min_fill_finds_the_width_of_a_grid_and_of_a_tree() -> None:
    tree = [(0,), *(((j - 1) // 2, j) for j in range(1, 200))]
    assert largest(tree, [3] * 200, min_fill(tree, [3] * 200))[0] == 9
    grid = [(4 * i + j, 4 * i + j + 1) for i in range(4) for j in range(3)]
    grid += [(4 * i + j, 4 * i + j + 4) for i in range(3) for j in range(4)]
    assert largest(grid, [2] * 16, min_fill(grid, [2] * 16))[0] == 2**5  # a 4 x 4 grid has treewidth 4


def test_what_is_too_large_is_refused_in_one_line() -> None:
    sizes, n = [8] * 20, 20
    parents = [*([()] * 10), *(tuple(range(10)) for _ in range(10))]
    scopes = [(*p, j) for j, p in enumerate(parents)]
    assert largest(scopes, sizes, min_fill(scopes, sizes))[0] > MOST_CELLS
    network = Network(sizes, parents, [torch.full((1, 8), 0.125, dtype=torch.float64)] * n)
    with pytest.raises(Problem, match="max_parents"):
        Query(network, frozenset([15]), [15])


@pytest.mark.parametrize("which", ["alarm", "random"])
def test_elimination_equals_pyagrum(which: str, tmp_path: Path) -> None:
    """Up to 1e-6: files give a third as 0.3333333, and rows of tables are brought to the sum 1 when they are read.

    alarm comes with a peer of the benchmarks (`benchmarks/peers/make.sh pgmpy`); a random network of its size is at hand everywhere.
    """
    gum = pytest.importorskip("pyagrum")
    path = tmp_path / "network.bif"
    if which == "random":
        gum.initRandom(3)
        gum.saveBN(gum.randomBN(n=37, ratio_arc=1.25, domain_size=3), str(path))
    else:
        found = sorted(PEERS.glob("pgmpy/lib/*/site-packages/pgmpy/utils/example_models/alarm.bif.gz"))
        if not found:
            pytest.skip("no alarm.bif: run benchmarks/peers/make.sh pgmpy")
        path.write_bytes(gzip.decompress(found[0].read_bytes()))
    peer, model = gum.loadBN(str(path)), BayesNet.from_bif(path)
    law: Any = model._law
    names, rng = law.nodes.names, np.random.default_rng(0)
    states = {f.name: list(f.labels) for f in model.layout_.fields}
    for _ in range(10):
        sample = law.network.forward(
            torch.full((1, len(names)), -1), torch.Generator().manual_seed(int(rng.integers(1e6)))
        )
        known = sorted(rng.permutation(len(names))[:8].tolist())
        inference = gum.LazyPropagation(peer)
        inference.setEvidence({names[j]: states[names[j]][int(sample[0, j])] for j in known})
        inference.makeInference()
        row = torch.full((1, len(names)), -1)
        row[0, known] = sample[0, known]
        ours = Query(law.network, frozenset(known), range(len(names))).buckets(row)
        assert float(ours.log_total) == pytest.approx(math.log(inference.evidenceProbability()), abs=1e-6)
        for j, share in ours.marginals().items():
            theirs = inference.posterior(names[j])
            order = [theirs.variable(0).index(label) for label in states[names[j]]]
            np.testing.assert_allclose(share[0].numpy(), theirs.toarray()[order], atol=1e-6)


# -- densities ---------------------------------------------------------------------------------------------------------
EDGES = ("kind->flag", "kind->x", "x->y", "flag->y", "y->z", "kind->z")


@pytest.fixture(scope="module", params=["bins", "gaussian"])
def model(request: pytest.FixtureRequest) -> BayesNet:
    return BayesNet(edges=EDGES, numbers=request.param, bins=8, random_state=0).fit(plain(mixed(1500, 0)))


def codes(model: BayesNet, frame: pd.DataFrame) -> torch.Tensor:
    return model.codec_.encode(plain(frame)).x


def test_unknown_values_are_summed_and_integrated_out(model: BayesNet) -> None:
    """Each marginal equals the sum over levels, or the integral over a number, of what has one unknown value fewer."""
    law, x = model._law, codes(model, mixed(6, 3))
    fields = {f.name: s.start for f, s in model.layout_.slices()}
    present = x[~x[:, fields["z"]].isnan()][:3]
    for hidden in ((), ("kind",), ("y",), ("x", "y"), ("flag", "kind"), ("kind", "x", "y")):
        base = present.clone()
        base[:, [fields[name] for name in hidden]] = torch.nan
        for name in ("kind", "flag"):
            if name not in hidden:
                one = base.clone()
                one[:, fields[name]] = torch.nan
                size = 3 if name == "kind" else 2
                each = []
                for level in range(size):
                    base[:, fields[name]] = level
                    each.append(law.log_prob(base))
                torch.testing.assert_close(
                    law.log_prob(one), torch.logsumexp(torch.stack(each), 0), rtol=1e-9, atol=1e-9
                )
                base[:, fields[name]] = present[:, fields[name]]
    grid = torch.linspace(-9, 9, 40_001, dtype=torch.float64)
    for name, others in (("y", ()), ("x", ("kind",)), ("y", ("flag", "x"))):
        row = present[:1].clone()
        row[:, [fields[o] for o in (*others, name)]] = torch.nan
        rows = row.repeat(len(grid), 1)
        rows[:, fields[name]] = grid
        mass = integrate.trapezoid(law.log_prob(rows).exp().numpy(), grid.numpy())
        assert mass == pytest.approx(float(law.log_prob(row).exp()), rel=2e-3)  # steps of bins on a grid


def test_mass_is_one(model: BayesNet) -> None:
    """Over all categories, the gate of z, and z itself where it is present; x and y are summed out by the model."""
    law, fields = model._law, {f.name: s.start for f, s in model.layout_.slices()}
    grid = torch.linspace(-6, 40, 60_001, dtype=torch.float64)
    total = 0.0
    for kind, flag in itertools.product(range(3), range(2)):
        row = torch.full((1, model.layout_.size), torch.nan, dtype=torch.float64)
        row[0, fields["kind"]], row[0, fields["flag"]], row[0, fields["z?"]] = kind, flag, 1
        total += float(law.log_prob(row).exp())
        rows = row.repeat(len(grid), 1)
        rows[:, fields["z?"]], rows[:, fields["z"]] = 0, grid
        total += float(integrate.trapezoid(law.log_prob(rows).exp().numpy(), grid.numpy()))
    assert total == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    "given", [{"x": "0.5:1.5"}, {"flag": "yes", "y": "1:3"}, {"z": "0"}, {"kind": "b", "z": "0.5:2"}, {"flag": "no"}]
)
def test_conditions_agree_with_rejection(model: BayesNet, given: dict[str, str]) -> None:
    many = model.sample(60_000, random_state=1)
    kept = np.ones(len(many), dtype=bool)
    for name, wanted in given.items():
        if ":" in wanted:
            low, high = map(float, wanted.split(":"))
            kept &= ((many[name] >= low) & (many[name] <= high)).to_numpy()
        else:
            kept &= (many[name].astype(str).str.replace(".0", "") == wanted).to_numpy()
    rejection, direct = many[kept], model.sample(4000, given=given, random_state=2)
    assert len(rejection) > 1000
    for name in ("x", "y", "z"):
        assert stats.ks_2samp(rejection[name], direct[name]).pvalue > FALSE_ALARM, name
    for name in ("kind", "flag"):
        counts = pd.concat([rejection[name].value_counts(), direct[name].value_counts()], axis=1).fillna(0)
        assert len(counts) == 1 or stats.chi2_contingency(counts.T).pvalue > FALSE_ALARM, name


def test_samples_agree_with_the_density(model: BayesNet) -> None:
    """The mean score of fresh samples equals that of samples drawn by hand under the same law: half of them re-imputed."""
    frame = model.sample(6000, random_state=5)
    mask = np.zeros(frame.shape, dtype=bool)
    mask[:3000, [0, 1]] = True  # x and kind, drawn again given the others: the joint law stays
    again = model.impute(frame, mask, how="draw", random_state=6)
    a, b = model.log_prob(plain(again))[:3000], model.log_prob(plain(again))[3000:]
    assert stats.ks_2samp(a, b).pvalue > FALSE_ALARM


def test_several_ranges_of_dependent_numbers() -> None:
    frame = mixed(800, 0)
    cut = BayesNet(edges=EDGES, bins=8, random_state=0).fit(frame)
    drawn = cut.sample(300, given={"x": "0:1", "y": "0.5:2"}, random_state=0)
    assert drawn["x"].between(0, 1).all()
    assert drawn["y"].between(0.5, 2).all()
    linear = BayesNet(edges=EDGES, numbers="gaussian", random_state=0).fit(frame)
    with pytest.raises(Problem, match="one range"):
        linear.sample(3, given={"x": "0:1", "y": "0.5:2"})


def test_the_order_of_columns_does_not_matter(model: BayesNet) -> None:
    frame, fresh = mixed(1500, 0), mixed(200, 9)
    turned = BayesNet(edges=EDGES, numbers=model.numbers, bins=8, random_state=0).fit(plain(frame[frame.columns[::-1]]))
    np.testing.assert_allclose(
        turned.log_prob(plain(fresh[fresh.columns[::-1]])), model.log_prob(plain(fresh)), atol=1e-9
    )


def test_imputed_means_and_modes(model: BayesNet) -> None:
    """With everything else known, the mean of y is that of its posterior, by quadrature."""
    x = codes(model, mixed(40, 11))
    fields = {f.name: s.start for f, s in model.layout_.slices()}
    row = x[~x[:, fields["z"]].isnan()][:1]
    grid = torch.linspace(-9, 9, 40_001, dtype=torch.float64)
    rows = row.repeat(len(grid), 1)
    rows[:, fields["y"]] = grid
    p = model._law.log_prob(rows).exp().numpy()
    wanted = integrate.trapezoid(p * grid.numpy(), grid.numpy()) / integrate.trapezoid(p, grid.numpy())
    unknown = torch.zeros_like(row, dtype=torch.bool)
    unknown[0, fields["y"]] = True
    hidden = torch.where(unknown, torch.nan, row)
    filled = model._law.fill(hidden, unknown, "mean", torch.Generator())
    assert float(filled[0, fields["y"]]) == pytest.approx(wanted, abs=2e-3)
    kinds = row.repeat(3, 1)
    kinds[:, fields["kind"]] = torch.arange(3).double()
    unknown = torch.zeros_like(row, dtype=torch.bool)
    unknown[0, fields["kind"]] = True
    filled = model._law.fill(torch.where(unknown, torch.nan, row), unknown, "mode", torch.Generator())
    assert int(filled[0, fields["kind"]]) == int(model._law.log_prob(kinds).argmax())


# -- learning ----------------------------------------------------------------------------------------------------------
def test_tables_are_what_the_formulas_say() -> None:
    frame = pd.DataFrame({"a": list("uuuvvvvw") * 3, "b": list("xyxxyyyx") * 3, "c": list("pqpqpqpp") * 3})
    counts = pd.crosstab(frame["a"], frame["b"]).to_numpy().astype(float)

    def table(**settings: Any) -> np.ndarray:
        law = BayesNet(edges=("a->b",), random_state=0, **settings).fit(frame)._law
        return law.network.log_tables[1].exp().numpy()

    np.testing.assert_allclose(table(parameters="likelihood"), counts / counts.sum(1, keepdims=True), atol=1e-12)
    bdeu = counts + 6.0 / counts.size
    np.testing.assert_allclose(table(parameters="bdeu", equivalent=6.0), bdeu / bdeu.sum(1, keepdims=True), atol=1e-12)
    alone = counts.sum(0) + 2.0 / 2
    backoff = counts + 2.0 * alone / alone.sum()
    np.testing.assert_allclose(table(equivalent=2.0), backoff / backoff.sum(1, keepdims=True), atol=1e-12)


def test_labels_that_are_unknown_are_left_out_of_the_counts() -> None:
    frame = mixed(400, 3)[["kind", "flag"]]
    frame.loc[frame.index[::3], "flag"] = None
    records = Records("table", frame, target="flag")
    law = BayesNet(edges=("kind->flag",), parameters="likelihood", random_state=0).fit(records)._law
    counts = pd.crosstab(frame["kind"], frame["flag"]).to_numpy()
    np.testing.assert_allclose(
        law.network.log_tables[1].exp().numpy(), counts / counts.sum(1, keepdims=True), atol=1e-12
    )
    assert law.network.sizes == [3, 2]


def test_regressions_without_a_prior_are_least_squares() -> None:
    frame = mixed(600, 2)
    model = BayesNet(edges=("x->y", "flag->y"), numbers="gaussian", parameters="likelihood", random_state=0)
    law: Any = model.fit(plain(frame))._law
    x, fields = codes(model, frame).numpy(), {f.name: s.start for f, s in model.layout_.slices()}
    for level in range(2):
        rows = x[x[:, fields["flag"]] == level]
        slope, intercept = np.polyfit(rows[:, fields["x"]], rows[:, fields["y"]], 1)
        rest = rows[:, fields["y"]] - intercept - slope * rows[:, fields["x"]]
        place = model.layout_.columns("real").index(fields["y"])
        weights = law.regressions[place].weights[level].numpy()
        np.testing.assert_allclose(weights, [intercept, slope, rest.var()], rtol=1e-5)


def test_required_and_forbidden_edges_hold() -> None:
    settings: dict[str, Any] = {"required": ("z->kind",), "forbidden": ("x->y", "y->x"), "bins": 6, "random_state": 0}
    names, edges = BayesNet(**settings).fit(mixed(800, 0)).graph()
    found = {(names[a], names[b]) for a, b, _ in edges}
    assert ("z", "kind") in found
    assert not {("x", "y"), ("y", "x")} & found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"edges": ("kind->flg",)}, 'names no column "flg". Did you mean "flag"?'),
        ({"edges": ("kind-flag",)}, 'edges such as "age->income"'),
        ({"edges": ("x->y", "y->z", "z->x")}, "cycle among x, y, z"),
        ({"required": ("x->y", "y->x")}, "cycle among x, y"),
        ({"edges": ("x->x",)}, "from a column to itself"),
        ({"edges": ("x->kind",), "numbers": "gaussian"}, "no category depends on a number"),
        ({"numbers": "gaussian", "search": "chow-liu"}, "hill-climbing"),
        ({"bins": 1}, "bins must be at least 2"),
        ({"equivalent": 0.0}, "equivalent must be above 0"),
    ],
)
def test_bad_settings_are_told_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem, match=re.escape(words)) as caught:
        BayesNet(random_state=0, **settings).fit(mixed(60, 0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("numbers", ["bins", "gaussian"])
def test_a_damaged_folder_is_refused(numbers: str) -> None:
    model = BayesNet(edges=EDGES, numbers=numbers, bins=6, random_state=0).fit(mixed(100, 0))  # type: ignore[arg-type]
    names = model.graph()[0]
    cycle = [[(j + 1) % len(names)] for j in range(len(names))]
    damages: list[tuple[str, Any]] = [
        ("parents_", cycle), ("parents_", [[99] for _ in names]), ("parents_", 3), ("parents_", [[0.0] for _ in names]),
        ("tables_", model.tables_ * 2), ("tables_", -model.tables_), ("tables_", model.tables_[1:]), ("strengths_", []),
        ("tables_", model.tables_ * torch.nan),
    ]  # fmt: skip
    if numbers == "gaussian":
        damages += [("regressions_", -model.regressions_.abs()), ("regressions_", model.regressions_[1:])]
    model._check_learned()
    for name, value in damages:
        kept = getattr(model, name)
        setattr(model, name, value)
        with pytest.raises(ValueError, match=name):
            model._check_learned()
        setattr(model, name, kept)


# -- files and pictures ------------------------------------------------------------------------------------------------
SPRINKLER = """network sprinkler { }
variable rain { type discrete [ 2 ] { TRUE, None }; }
variable sprinkler { type discrete [ 3 ] { off, low, high }; }
variable planet { type discrete [ 1 ] { earth }; }
variable grass { type discrete [ 2 ] { wet, dry }; }
probability ( rain ) { table 0.2, 0.8; }
probability ( planet ) { table 1; }
probability ( sprinkler | rain ) { (TRUE) 0.9, 0.1, 0.0; (None) 0.5, 0.25, 0.25; }
probability ( grass | planet, sprinkler, rain ) { (earth, off, TRUE) 0.8, 0.2; (earth, low, TRUE) 0.9, 0.1; default 0.5, 0.5; }
"""


def test_a_network_of_the_interchange_format(tmp_path: Path) -> None:
    path = tmp_path / "sprinkler.bif"
    path.write_text(SPRINKLER)
    model = BayesNet.from_bif(path)
    one = pd.DataFrame({"rain": ["TRUE"], "sprinkler": ["off"], "planet": ["earth"], "grass": ["wet"]})
    assert float(model.log_prob(one)[0]) == pytest.approx(math.log(0.2 * 0.9 * 0.8))
    drawn = model.sample(20_000, given={"grass": "dry"}, random_state=0)
    assert set(drawn["rain"]) == {"TRUE", "None"}
    dry = 0.2 * (0.9 * 0.2 + 0.1 * 0.1), 0.8 * 0.5  # by hand
    rainy = int((drawn["rain"] == "TRUE").sum())
    assert stats.binomtest(rainy, 20_000, dry[0] / sum(dry)).pvalue > FALSE_ALARM
    with pytest.raises(Problem, match="no record has rain, sprinkler as asked"):
        model.sample(3, given={"rain": "TRUE", "sprinkler": "high"})
    loaded = Model.load(model.save(tmp_path / "model"))
    pd.testing.assert_frame_equal(loaded.sample(9, random_state=0), model.sample(9, random_state=0))
    model.to_bif(tmp_path / "again.bif")
    fresh = model.sample(50, random_state=1)
    np.testing.assert_allclose(
        BayesNet.from_bif(tmp_path / "again.bif").log_prob(fresh.drop(columns="planet")), model.log_prob(fresh)
    )


def test_cut_numbers_become_states(tmp_path: Path) -> None:
    frame = mixed(500, 0)
    model = BayesNet(edges=EDGES, bins=4, random_state=0).fit(frame)
    model.to_bif(tmp_path / "mixed.bif")
    back = BayesNet.from_bif(tmp_path / "mixed.bif")
    assert len(back.layout_.fields) == 5
    many = back.sample(4000, random_state=0)
    low = many["x"].str.startswith("..").mean()
    limit = float(many["x"][many["x"].str.startswith("..")].iloc[0].removeprefix(".."))
    share = (model.sample(4000, random_state=1)["x"] < limit).mean()
    assert abs(low - share) < 4 * math.sqrt(2 * 0.25 * 0.75 / 4000)
    with pytest.raises(Problem, match="tables only"):
        BayesNet(numbers="gaussian", random_state=0).fit(frame).to_bif(tmp_path / "no.bif")


def test_the_drawing_leads_from_parents_down_to_children() -> None:
    names, edges = BayesNet(bins=6, random_state=0).fit(mixed(800, 0)).graph()
    layers, chains, layer = drawing.layered(len(names), [(a, b) for a, b, _ in edges])
    assert sorted(v for own in layers for v in own) == list(range(len(layer)))
    for (a, b, _), chain in zip(edges, chains, strict=True):
        assert (chain[0], chain[-1]) == (a, b)
        assert [layer[v] for v in chain] == list(range(layer[a], layer[b] + 1))
    svg = drawing.draw(["<b>", "ordinary", "another"], [(0, 1, 0.5), (1, 2, 0.0), (0, 2, 1.0)], 'a "graph"', 1)
    assert "<b>" not in svg
    boxes = [tuple(map(float, m)) for m in re.findall(r'rect class="node" x="(.*?)" y="(.*?)" width="(.*?)"', svg)]
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())  # type: ignore[union-attr]
    assert all(x >= 0 and x + w <= width and 0 <= y <= height for x, y, w in boxes)
    with pytest.raises(ValueError, match="cycle"):
        drawing.layered(2, [(0, 1), (1, 0)])
