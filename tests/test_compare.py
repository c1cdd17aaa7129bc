"""A comparison fits every model once, judges all alike, survives failures and interruptions, and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import genlearn
from genlearn import compare as module
from genlearn.compare import bench as bench_module
from genlearn.compare import compare, plan
from genlearn.data.records import Dataset, Records
from genlearn.errors import Problem
from genlearn.metrics import Copies, Judgement, Result
from genlearn.metrics.schema import Schema
from genlearn.model import model_class, model_names
from genlearn.report.board import Board

BLOB = '''
import torch
from pathlib import Path
from genlearn.layout import Code
from genlearn.model import Model, Scores

class Blob(Model, Scores):
    """One normal distribution with independent columns."""
    takes = frozenset({"real", "category"})
    label_as_field = True
    shift: float = 0.0

    def _fit(self, code, valid):
        self.mean_, self.std_ = code.x.mean(0) + self.shift, code.x.std(0)
        with (Path(FITS)).open("a") as f:
            f.write("fit\\n")
        for step in (1, 2):
            self._tell(step, 2, 0.1 * step, nats=-1.0 * step, done=step == 2)

    def _sample(self, n, rng, given):
        x = self.mean_ + self.std_ * torch.randn(n, len(self.mean_), generator=rng, dtype=torch.float64)
        return Code(x)

    def _log_prob(self, code):
        return torch.distributions.Normal(self.mean_, self.std_).log_prob(code.x).sum(1)
'''
BROKEN = '''
from genlearn.model import Model

class Broken(Model):
    """Fails while it learns."""
    def _fit(self, code, valid):
        self._tell(1, None, 0.0)
        raise ValueError("matrix is singular\\nand more")
'''
PICKY = '''
from genlearn.errors import Problem
from genlearn.model import Model

class Picky(Model):
    """Refuses what it is given."""
    def _fit(self, code, valid):
        raise Problem("picky needs sound.")
'''
NARROW = '''
from genlearn.model import Model

class Narrow(Model):
    """Knows categories only."""
    takes = frozenset({"category"})
'''
STOPPED = '''
from genlearn.errors import Interrupted
from genlearn.model import Model

class Stopped(Model):
    """Is interrupted by the user."""
    def _fit(self, code, valid):
        raise Interrupted("stopped after 3 of 9 steps")
'''


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put small models beside those of the library."""
    from genlearn import models

    folder = tmp_path_factory.mktemp("zoo")
    sources = {
        "blob": f"FITS = {str(folder / 'fits')!r}\n{BLOB}",
        "broken": BROKEN,
        "picky": PICKY,
        "narrow": NARROW,
        "stopped": STOPPED,
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    models.__path__.append(str(folder))
    model_names.cache_clear()
    yield folder
    models.__path__.remove(str(folder))
    model_names.cache_clear()
    model_class.cache_clear()


def fits(zoo: Path) -> int:
    path = zoo / "fits"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Two correlated columns, 220 records in each judged part: enough for the copy test."""
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 3], [[1, 0.9], [0.9, 1]], 840)
    records = Records("table", pd.DataFrame(x, columns=["a", "b"]), options={"origin": "dataframe"})
    parts = [records.take(slice(a, b)) for a, b in ((0, 400), (400, 620), (620, 840))]
    return Dataset("pair", *parts, notes=("made up",), summary="840 rows, 2 columns")


class QuickYardstick:
    """Stands in for the yardstick where only the order of events matters: the AUC is the distance of means."""

    def __init__(self, data: Dataset, *, seed: int = 0) -> None:
        self.data, self.n, self.schema = data, 50, Schema.of(data.train)

    def judge(self, fake: Records, *, model: Any = None, full: bool = True) -> Judgement:
        gap = abs(float(fake.x["a"].mean() - self.data.test.x["a"].mean()))
        auc = min(1.0, 0.5 + gap)
        blocks = auc + np.linspace(-0.001, 0.001, 20)
        metrics = {"auc": Result(auc, auc - 0.01, auc + 0.01, 50, "", blocks)}
        copies = Copies(False, 0.5, 0.5, 0.5, 0.5, 0, 0, 0.1, 50, 50, ((0, 1, 0.25),))
        return Judgement(metrics, copies, None, ("quick",), 50)

    def real(self) -> Judgement:
        return self.judge(self.data.valid)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "Yardstick", QuickYardstick)


@pytest.fixture(scope="module")
def whole(zoo: Path, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """One real comparison, shared by the tests that look at it."""
    return compare(data, ["blob", "gmm"], out=tmp_path_factory.mktemp("runs") / "pair", random_state=1)


def test_rows_references_and_verdict(whole: Board) -> None:
    names = [row.name for row in whole.references]
    assert names[0] == "real data"
    assert {"copycat", "marginals"} <= set(names)
    assert {row.name for row in whole.rows} == {"blob", "gmm"}
    assert all(row.error is None for row in whole.rows)
    # The columns are correlated by 0.9: independent normals are told apart, a mixture is not.
    assert whole.rows[0].name == "gmm"
    assert whole.decision.winner == "gmm"
    assert "Verdict (one seed): keep gmm." in whole.verdict
    assert "no copying was found" in whole.verdict
    copycat = next(row for row in whole.references if row.name == "copycat")
    assert copycat.copies is True
    assert whole.references[0].copies is False


def test_costs_and_scores_are_measured(whole: Board, data: Dataset) -> None:
    blob = next(row for row in whole.rows if row.name == "blob")
    assert blob.kind == "exact"
    assert blob.metrics["nats"].value == pytest.approx(genlearn.load(whole.folder / "blob").score(data.test), rel=1e-12)
    assert blob.cost["seconds"] < 5
    assert blob.cost["steps"] == 2
    assert blob.cost["parameters"] == 4
    assert blob.cost["samples_per_second"] > 0
    assert blob.cost["peak_memory_mb"] is None or blob.cost["peak_memory_mb"] >= 0


def test_best_is_the_fitted_winner(whole: Board) -> None:
    assert whole.best.name() == "gmm"
    again = whole.best.sample(3, random_state=5)
    pd.testing.assert_frame_equal(again, genlearn.load(whole.folder / "gmm").sample(3, random_state=5))


def test_report_json_is_the_board(whole: Board) -> None:
    stored = json.loads(
        (whole.folder / "report.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON")
    )
    assert stored == json.loads(json.dumps(whole.to_json()))
    assert set(stored) == {"data", "models", "references", "skipped", "verdict", "run"}
    row = stored["models"][0]
    assert {"name", "kind", "measure", "seeds", "copies", "metrics", "cost"} <= set(row)
    assert set(row["metrics"]["auc"]) == {"value", "low", "high", "n", "note"}
    assert stored["verdict"]["winner"] == "gmm"


def test_run_folder_holds_models_samples_and_history(whole: Board) -> None:
    assert len(pd.read_csv(whole.folder / "blob" / "samples.csv")) == 220
    history = [
        json.loads(line) for line in (whole.folder / "blob" / "seed0" / "history.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in history] == [1, 2]
    assert history[0]["nats"] == -1.0


def test_same_seed_same_numbers(whole: Board, data: Dataset, tmp_path: Path) -> None:
    wanted = plan(data, ["blob"], random_state=1)
    entry = next(e for e in wanted.entries if e.name == "blob")
    again = bench_module.Bench(wanted, tmp_path, True, ()).trial(entry, 0)
    row = next(row for row in whole.rows if row.name == "blob")
    assert again.metrics["auc"].value == row.metrics["auc"].value
    assert again.metrics["nats"].value == row.metrics["nats"].value


@pytest.mark.usefixtures("quick")
def test_finished_rows_are_taken_and_changed_ones_fitted_again(zoo: Path, data: Dataset, tmp_path: Path) -> None:
    Blob = model_class("blob")
    before = fits(zoo)
    first = compare(data, ["blob"], out=tmp_path)
    assert fits(zoo) == before + 1
    second = compare(data, ["blob"], out=tmp_path)
    assert fits(zoo) == before + 1
    assert second.rows[0].to_json() == first.rows[0].to_json()
    compare(data, [Blob(shift=0.5)], out=tmp_path)
    assert fits(zoo) == before + 2, "other settings"
    compare(data, ["blob"], out=tmp_path, random_state=7)
    assert fits(zoo) == before + 3, "another seed"
    compare(data, ["blob"], out=tmp_path, random_state=7, resume=False)
    assert fits(zoo) == before + 4, "no resume"


@pytest.mark.usefixtures("quick")
def test_failures_and_refusals_have_reasons(zoo: Path, data: Dataset, tmp_path: Path) -> None:
    board = compare(data, ["blob", "broken", "picky", "narrow"], out=tmp_path)
    assert [row.name for row in board.rows] == ["blob", "broken"]
    assert board.rows[1].error == "ValueError: matrix is singular"
    assert "matrix is singular" in (tmp_path / "broken" / "seed0" / "error.txt").read_text()
    reasons = {entry["name"]: entry["reason"] for entry in board.skipped}
    assert reasons["picky"] == "picky needs sound."
    assert reasons["narrow"] == "it takes category values, the data has real ones"
    text = repr(board)
    assert "broken: failed. ValueError: matrix is singular" in text
    assert "picky: left out. picky needs sound." in text
    assert board.decision.keep == "blob"
    assert not (tmp_path / "broken" / "row-0.json").exists(), "a failed fit is tried again"


@pytest.mark.usefixtures("quick")
def test_interruption_keeps_the_rows_so_far(zoo: Path, data: Dataset, tmp_path: Path) -> None:
    board = compare(data, ["blob", "stopped"], out=tmp_path)
    assert board.interrupted
    assert [row.name for row in board.rows] == ["blob"]
    assert json.loads((tmp_path / "report.json").read_text())["run"]["interrupted"] is True
    before = fits(zoo)
    assert not compare(data, ["blob"], out=tmp_path).interrupted
    assert fits(zoo) == before


@pytest.mark.usefixtures("quick")
def test_several_seeds(zoo: Path, data: Dataset, tmp_path: Path) -> None:
    board = compare(data, ["blob"], seeds=3, out=tmp_path)
    row = board.rows[0]
    values = [t.metrics["auc"].value for t in row.good]
    assert len(set(values)) == 3, "every seed draws its own records"
    assert row.metrics["auc"].value == pytest.approx(np.mean(values))
    assert row.to_json()["spread"]["auc"] == values
    assert "Verdict (3 seeds)" in board.verdict
    assert genlearn.load(tmp_path / "blob" / "seed2").random_state == 2
    assert genlearn.load(tmp_path / "blob").random_state == 0


@pytest.mark.usefixtures("quick")
def test_without_a_folder_the_board_still_has_its_model_and_report(zoo: Path, data: Dataset, tmp_path: Path) -> None:
    board = compare(data, ["blob"])
    assert board.best.sample(2, random_state=0).shape == (2, 2)
    assert board.report(tmp_path / "deep" / "report.html").read_text().startswith("<!doctype html>")


def test_the_module_can_be_called() -> None:
    assert genlearn.compare is module
    with pytest.raises(Problem, match="Did you mean"):
        genlearn.compare(np.zeros((40, 2)) + np.arange(40)[:, None], models=["gmn"])


def test_plan_says_what_will_happen(zoo: Path, data: Dataset) -> None:
    Blob = model_class("blob")
    wanted = plan(data, [Blob(), Blob(shift=2.0), "narrow", "vae"], budget="30s", seeds=2)
    assert [e.name for e in wanted.candidates] == ["blob", "blob-shift2.0", "vae"]
    assert "copycat" in [e.name for e in wanted.references]
    assert [entry["name"] for entry in wanted.skipped] == ["narrow"]
    assert next(e for e in wanted.entries if e.name == "vae").model.budget == "30s"
    assert str(wanted).startswith("plan: blob, blob-shift2.0, vae + references copycat,")
    assert "30 s each, 2 seeds" in str(wanted)
    assert wanted.seconds > 60
    unknown = plan(data, ["vae"])
    assert unknown.seconds is None
    assert "about" not in str(unknown)
    assert "1,000 steps each" in str(plan(data, ["vae"], steps=1000))


def test_plan_without_names_takes_every_model(data: Dataset) -> None:
    wanted = plan(data, budget=5)
    assert {e.name for e in wanted.entries} | {s["name"] for s in wanted.skipped} == set(model_names())
    gradients = [e.model.needs_gradients for e in wanted.candidates]
    assert gradients == sorted(gradients), "quick models first"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": ["vea"]}, 'Did you mean "vae"'),
        ({"models": ["vae"], "budget": "5m", "steps": 10}, "exclude each other"),
        ({"models": ["vae"], "seeds": 0}, "seeds"),
        ({"models": ["vae"], "budget": "soon"}, "no duration"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_fitted(
    data: Dataset, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(Problem, match=message):
        plan(data, **arguments)


@pytest.mark.usefixtures("quick")
def test_a_fit_that_was_never_judged_is_not_lost(
    zoo: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    wanted = plan(data, ["blob"])
    entry = next(e for e in wanted.entries if e.name == "blob")
    with monkeypatch.context() as patch:
        patch.setattr(bench_module.Bench, "_judge", stop)
        with pytest.raises(KeyboardInterrupt):
            bench_module.Bench(wanted, tmp_path, True, ()).trial(entry, 0)
    before = fits(zoo)
    trial = bench_module.Bench(wanted, tmp_path, True, ()).trial(entry, 0)
    assert fits(zoo) == before
    assert trial.error is None
    assert trial.cost["steps"] == 2
    assert trial.metrics["auc"].value is not None
