"""Verdicts follow the paired difference, intervals cover seeds and blocks, and the report is one sound offline file."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from genlearn.compare import compare
from genlearn.data.records import Dataset, Records, as_records
from genlearn.errors import Problem
from genlearn.metrics import METRICS, Result
from genlearn.metrics.intervals import jackknife
from genlearn.metrics.schema import Schema
from genlearn.model import Event
from genlearn.report import drawings, write
from genlearn.report.album import Album
from genlearn.report.board import Board, leaderboard, leaderboard_table
from genlearn.report.pictures import Pictures, grid, pixels, save_samples
from genlearn.report.rows import REAL, Row, Trial, numbers, pooled
from genlearn.report.sketch import sketch
from genlearn.report.verdict import judge


# -- rows and verdicts -------------------------------------------------------------------------------------------------
def result(value: float, spread: float = 0.01, seed: int = 0, n: int = 100) -> Result:
    left_out = value + spread * np.random.default_rng(seed).normal(size=20) / 20
    return jackknife(value, left_out, n=n)


def row(
    name: str,
    auc: float,
    *,
    seconds: float = 10.0,
    copies: bool | None = False,
    reference: bool = False,
    **metrics: float,
) -> Row:
    found = {"auc": result(auc), **{k: result(v) for k, v in metrics.items()}}
    trial = Trial(
        name,
        metrics=found,
        copies={"flag": copies},
        cost={"seconds": seconds},
        kind="exact" if "nats" in metrics else None,
    )
    return Row(name, [trial], reference)


def test_lowest_auc_wins_and_cheaper_runner_up_is_mentioned() -> None:
    verdict = judge([row("gmm", 0.70, seconds=2, useful=0.92), row("vae", 0.60, seconds=20, useful=0.93)], [])
    assert (verdict.winner, verdict.keep, verdict.runner_up) == ("vae", "vae", "gmm")
    assert verdict.difference is not None
    assert verdict.difference.value == pytest.approx(0.10)
    assert verdict.text == (
        "Verdict (one seed): keep vae. It beats gmm on realism (two-sample AUC lower by 0.10 [0.10 0.10]) and no copying was found. "
        "gmm is 10x cheaper and nearly as useful."
    )


def test_no_difference_shown_keeps_the_cheaper() -> None:
    noisy = [
        Row(
            name,
            [Trial(name, metrics={"auc": result(auc, 1.0, seed)}, copies={"flag": False}, cost={"seconds": seconds})],
        )
        for name, auc, seconds, seed in (("vae", 0.60, 60.0, 1), ("gmm", 0.61, 2.0, 2))
    ]
    verdict = judge(noisy, [])
    assert verdict.difference is not None
    assert verdict.difference.low < 0 < verdict.difference.high
    assert (verdict.winner, verdict.keep) == ("vae", "gmm")
    assert verdict.headline == "no difference shown between vae and gmm; keep gmm"
    assert "gmm is 30x cheaper." in verdict.text


def test_copying_models_cannot_win() -> None:
    verdict = judge([row("gan", 0.50, copies=True), row("vae", 0.60), row("gmm", 0.70)], [])
    assert verdict.winner == "vae"
    assert "gan is left out: the samples copy training records." in verdict.text
    assert judge([row("gan", 0.50, copies=True)], []).keep is None


def test_nats_decide_nothing() -> None:
    low = judge([row("vae", 0.60, nats=-900.0), row("gmm", 0.70, nats=-1.0)], [])
    high = judge([row("vae", 0.60, nats=-1.0), row("gmm", 0.70, nats=-900.0)], [])
    assert low.winner == high.winner == "vae"
    assert low.text == high.text


def test_references_cannot_win_but_are_mentioned() -> None:
    verdict = judge([row("vae", 0.80)], [row(REAL, 0.50, reference=True), row("kde", 0.60, reference=True)])
    assert verdict.keep == "vae"
    assert "Beware: the reference kde (0.60) is ahead of it (0.80)." in verdict.text
    assert REAL not in verdict.text


def test_verdict_without_anything_to_choose() -> None:
    failed = Row("vae", [Trial("vae", error="diverged")])
    assert judge([failed], []).keep is None
    assert "every model failed" in judge([failed], []).text
    assert "no model was compared" in judge([], []).text
    assert "nearly always" in judge([row("vae", 0.99)], []).text
    assert "could not be tested" in judge([row("vae", 0.6, copies=None)], []).text
    assert (
        "more useful, though (0.90 against 0.80)"
        in judge([row("a", 0.6, useful=0.8), row("b", 0.7, useful=0.9)], []).text
    )


def test_pooling_adds_the_spread_between_seeds() -> None:
    one = result(0.6, 0.2)
    assert pooled([one]) is one
    same = pooled([one, one])
    assert (same.low, same.high) == pytest.approx((one.low, one.high)), (
        "equal seeds add nothing; 19 degrees of freedom both"
    )
    shifted = jackknife(0.7, one.blocks + 0.1, n=100)
    both = pooled([one, shifted])
    blocks = 19 / 20 * np.sum((one.blocks - one.blocks.mean()) ** 2)
    seeds = 0.1**2 / 2 / 2  # variance of two values 0.1 apart, over two seeds
    degrees = (blocks + seeds) ** 2 / (blocks**2 / 19 + seeds**2 / 1)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(blocks + seeds)
    assert (both.value, both.low, both.high) == pytest.approx((0.65, max(0.65 - half, -np.inf), 0.65 + half))


def test_pooled_intervals_cover() -> None:
    """Normal seeds and shared normal blocks: 95 % intervals cover in 95 +- 4 % of 400 draws (three standard errors)."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        records = rng.normal(0, 1, 200)
        seeds = [records + rng.normal(0, 0.1) for _ in range(3)]
        trials = [
            jackknife(x.mean(), np.array([np.delete(x, np.arange(b, 200, 20)).mean() for b in range(20)]), n=200)
            for x in seeds
        ]
        found = pooled(trials)
        hits += found.low <= 0 <= found.high
    assert 0.91 <= hits / 400 <= 0.99


def test_numbers_for_json_are_finite() -> None:
    assert numbers(Result(-np.inf, -np.inf, -np.inf, 10, "3 impossible")) == {
        "value": None, "low": None, "high": None, "n": 10, "note": "-inf; 3 impossible"
    }  # fmt: skip


def test_trials_survive_json() -> None:
    trial = row("vae", 0.6, nats=-3.0).trials[0]
    again = Trial.from_json(json.loads(json.dumps({**trial.to_json(), "metrics": _plain(trial)})))
    assert again.metrics["auc"] == trial.metrics["auc"]
    np.testing.assert_array_equal(again.metrics["auc"].blocks, trial.metrics["auc"].blocks)


def _plain(trial: Trial) -> dict[str, Any]:
    return {k: {**vars(r), "blocks": r.blocks.tolist()} for k, r in trial.metrics.items()}


def test_leaderboard_reads_as_a_table() -> None:
    rows = [
        row("gmm", 0.662, coverage=0.9, useful=0.91, nats=-44.04, seconds=2),
        row("vae", 0.612, coverage=0.93, useful=0.93, seconds=20),
    ]
    references = [
        row(REAL, 0.5, coverage=0.97, useful=0.96, reference=True),
        row("copycat", 0.5, coverage=0.63, copies=True, reference=True),
    ]
    rows.append(Row("gan", [Trial("gan", error="critic became nan")]))
    board = Board(
        Path("runs"), {"useful": "accuracy"}, rows, references, [{"name": "kde", "reason": "it takes numbers."}]
    )
    lines = leaderboard(board).splitlines()
    assert lines[0].split() == [
        "model",
        "nats/record",
        "two-sample",
        "AUC",
        "coverage",
        "useful",
        "(acc)",
        "copies",
        "fit",
    ]
    assert [line.split()[0] for line in lines[1:5]] == ["real", "vae", "gmm", "copycat"]
    assert "-44.0 exact" in lines[3]
    assert "0.61 [.6" in lines[2]
    assert "YES" in lines[4]
    assert lines[5:] == ["gan: failed. critic became nan", "kde: left out. it takes numbers."]
    assert len({line.rfind("s") for line in lines[2:4]}) == 1, "columns are aligned"
    assert leaderboard_table(board).row_count == 4


# -- pictures ----------------------------------------------------------------------------------------------------------
def test_grid_places_every_image_and_leaves_the_gaps_open() -> None:
    images = np.arange(1, 7, dtype=np.uint8)[:, None, None] * np.ones((6, 2, 3), np.uint8)
    sheet = np.asarray(grid(images, columns=3, scale=1))
    assert sheet.shape == (5, 11, 2)
    assert sheet[:2, :3, 0].tolist() == [[1] * 3] * 2
    assert sheet[3:, 8:, 0].tolist() == [[6] * 3] * 2
    assert (sheet[..., 1] == 0).sum() == 5 * 11 - 6 * 6, "transparent between the images"
    assert grid(images, columns=3, scale=4).size == (44, 20)
    assert grid(np.zeros((1, 8, 8, 3), np.uint8), scale=None).size == (40, 40)
    with pytest.raises(Problem, match="no images"):
        grid(images[:0])


def test_few_levels_are_stretched_to_full_contrast() -> None:
    digits = Records("image", np.array([[[[0], [16]]]], np.uint8), options={"levels": 17})
    assert pixels(digits).ravel().tolist() == [0, 255]
    assert pixels(Records("image", np.array([[[[0], [1]]]], np.uint8))).ravel().tolist() == [0, 255]
    assert pixels(Records("image", np.array([[[[0], [255]]]], np.uint8), options={"levels": 2})).ravel().tolist() == [
        0,
        255,
    ]
    assert pixels(Records("image", np.array([[[[0], [200]]]], np.uint8))).ravel().tolist() == [0, 200]


class Painter:
    """Stands in for a model that is being fitted."""

    needs_gradients = True

    def __init__(self, table: bool = False) -> None:
        self.table, self.seeds = table, []

    def draw(self, n: int, *, random_state: int) -> Records:
        self.seeds.append(random_state)
        if self.table:
            return as_records(pd.DataFrame({"a": np.arange(n)}))
        return as_records(np.zeros((n, 4, 4), np.uint8))


def test_save_samples_chooses_the_format(tmp_path: Path) -> None:
    assert save_samples(Painter(), tmp_path / "x").name == "x.png"
    path = save_samples(Painter(table=True), tmp_path / "x.png", n=5)
    assert path.name == "x.csv"
    assert pd.read_csv(path)["a"].tolist() == [0, 1, 2, 3, 4]


def test_pictures_come_ever_more_rarely(tmp_path: Path) -> None:
    watch, model = Pictures(tmp_path, every_seconds=10), Painter()
    for second in range(0, 1000, 5):
        watch(Event(model, "train", second, None, float(second), {}))  # type: ignore[arg-type]
    steps = sorted(int(p.stem.split("-")[1]) for p in tmp_path.glob("samples-*.png"))
    assert steps == [10, 30, 70, 150, 310, 630]
    assert set(model.seeds) == {0}


def test_album_keeps_large_pictures_within_the_budget(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(4):
        Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    paths = sorted(tmp_path.glob("*.png"))
    album = Album(paths, budget=60_000)
    found = [album.picture(p, "noise") for p in paths]
    assert sum(len(p.uri) for p in found if p) * 3 / 4 <= 60_000
    assert found[-1] is not None
    assert found[-1].uri.startswith("data:image/png")
    assert found[0] is not None
    assert found[0].uri.startswith("data:image/webp")
    assert (found[0].width, found[0].height) == (200, 200), "the page lays it out at its natural size"
    assert album.picture(tmp_path / "none.png", "") is None


@pytest.mark.parametrize(
    "svg",
    [
        drawings.whisker(0.6, 0.5, 0.7, (0.5, 1.0), 0.5, 'AUC of "a<b"'),
        drawings.whisker(0.6, None, None, (0.5, 0.5), None, "no interval"),
        drawings.curve([("nats", [1, 2, 3], [-5.0, float("nan"), -4.0]), ("valid nats", [2], [-4.5])], "nats"),
        drawings.curve([("flat", [1, 2], [1.0, 1.0])], "flat"),
        drawings.histogram([0, 1, 2], [0.5, 0.5], [(1, [0.2, 0.8])], "a & b"),
        drawings.histogram([0, 86400, 172800], [0.5, 0.5], [], "days", dates=True),
        drawings.bars(
            ["<=50K", ">50K & more than fits in here"], [0.7, 0.3], [(1, [0.6, 0.4]), (2, [0.5, 0.5])], "income"
        ),
        drawings.heatmap(np.array([[1, -0.5], [np.nan, 1]]), ["a", "b"], "pairs"),
    ],
)
def test_drawings_are_sound_svg_with_words(svg: str) -> None:
    tree = ElementTree.fromstring(svg)
    assert tree.attrib["aria-label"]
    assert "nan" not in svg


def test_sketch_shares_sum_to_one_in_common_bins() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=200),
            "count": rng.integers(0, 12, 200),
            "kind": rng.choice(list("abcdefghijkl"), 200),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 100, 200), "D"),
            "few": rng.integers(0, 2, 200).astype(bool),
            "id": [f"c-{i:04d}" for i in range(200)],
            "same": "x",
        }
    )
    frame.loc[:49, "number"] = np.nan
    part = as_records(frame)
    schema = Schema.of(part)
    other = sketch(schema, frame, frame.assign(number=frame["number"] + 100, kind="z").iloc[:100])
    mine = sketch(schema, frame, frame)
    for name, column in {**mine, **{f"other {k}": v for k, v in other.items()}}.items():
        assert sum(column["share"]) == pytest.approx(1, abs=1e-4), name
    assert mine["number"]["missing"] == 0.25
    assert other["number"]["edges"] == mine["number"]["edges"]
    assert other["number"]["share"][-1] == 1, "what lies beyond falls into the last bin"
    assert np.allclose(np.array(mine["count"]["edges"]) % 1, 0.5), "whole numbers are never cut"
    assert (mine["kind"]["levels"][-1], other["kind"]["share"][-1]) == ("other", 1)
    assert set(mine) == {"number", "count", "kind", "day", "few"}, "no identifiers, no constants"
    assert mine["day"]["dates"] is True
    assert set(mine["few"]["levels"]) == {"False", "True"}


# -- the page ----------------------------------------------------------------------------------------------------------
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Collects what a sound offline page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.words: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "iframe", "link"):
            self.faults.append(tag)
        given = dict(attrs)
        for name in ("src", "href"):
            if name in given and not str(given[name]).startswith(("data:image/", "#")):
                self.faults.append(f"{tag} {name}={given[name]}")
        if tag == "img":
            self.images += 1
            if not given.get("alt") or not given.get("width"):
                self.faults.append("img without words or size")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def checked(path: Path) -> tuple[Checker, str]:
    html = path.read_text(encoding="utf-8")
    page = Checker()
    page.feed(html)
    assert page.faults == []
    assert page.open == []
    assert "url(" not in html
    assert "@import" not in html
    assert len(html.encode()) <= 3_000_000
    return page, " ".join(" ".join(page.words).split())


def split_of(records: Records, name: str) -> Dataset:
    parts = [records.take(slice(a, b)) for a, b in ((0, 120), (120, 160), (160, 200))]
    return Dataset(name, *parts, notes=("3 cells were <missing>.",), summary=f"200 records of {name}")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Board:
    from sklearn.datasets import load_digits

    digits = load_digits()
    records = as_records(digits.images[:200].astype(np.uint8), digits.target[:200])
    out = tmp_path_factory.mktemp("images") / "run"
    return compare(split_of(records, "digits & co"), ["vae"], steps=30, out=out)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Board:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, 200),
            "city": rng.choice(["Rome", "<b>Oslo</b>"], 200),
            "wage": rng.normal(size=200),
        }
    )
    frame.loc[::9, "wage"] = np.nan
    return compare(
        split_of(as_records(frame), "people"), ["gmm", "vae"], steps=20, out=tmp_path_factory.mktemp("table") / "run"
    )


def test_image_report_shows_every_part(images: Board) -> None:
    page, words = checked(images.report())
    titles = (
        "Leaderboard|Samples|Nearest training records|Reconstructions|Samples by label|Latent space|Training|All numbers|Cost|"
        "Reproduce"
    )
    for title in titles.split("|"):
        assert title in words, title
    assert images.decision.headline[1:] in words
    rows = 2 + len(images.references)
    assert page.images >= rows + 4
    assert "3 cells were <missing>." in words


def test_table_report_shows_every_part(table: Board) -> None:
    page, words = checked(table.report())
    titles = (
        "Leaderboard|Columns|Pairs of columns|All pairs|Samples|Nearest training rows|Reconstructions|From one row to another|"
        "Latent space"
    )
    for title in titles.split("|"):
        assert title in words, title
    assert page.images == 0
    assert "<b>Oslo</b>" in words, "cells are text, never markup"


@pytest.mark.parametrize("which", ["images", "table"])
def test_numbers_are_those_of_report_json(which: str, request: pytest.FixtureRequest) -> None:
    board: Board = request.getfixturevalue(which)
    _, words = checked(board.report())
    stored = json.loads((board.folder / "report.json").read_text())
    shown = set(re.findall(r"−?\d+\.\d+", words))
    for line in [*stored["models"], *stored["references"]]:
        for name in ("auc", "coverage", "useful"):
            value = line["metrics"].get(name, {}).get("value")
            if value is not None:
                assert f"{value:.2f}".replace("-", "−") in shown, (line["name"], name)
    for name, result in stored["models"][0]["metrics"].items():
        assert METRICS[name].title in words or result["value"] is None


def test_report_is_rebuilt_from_the_folder_alone(table: Board, tmp_path: Path) -> None:
    first = table.report().read_bytes()
    assert write(table.folder).read_bytes() == first
    assert table.report(tmp_path / "copy.html").read_bytes() == first


def test_failures_are_in_the_report(table: Board) -> None:
    stored = json.loads((table.folder / "report.json").read_text())
    folder = table.folder.parent / "failed"
    folder.mkdir()
    bad = {**stored["models"][0], "name": "gan", "metrics": {}, "error": "critic became <nan>", "cost": {}}
    (folder / "report.json").write_text(
        json.dumps({**stored, "models": [bad], "skipped": [{"name": "flow", "reason": "no numbers."}]})
    )
    _, words = checked(write(folder))
    assert "gan failed. critic became <nan>" in words
    assert "flow was left out. no numbers." in words


def test_report_of_a_single_fit(images: Board) -> None:
    folder = images.folder / "vae"
    (folder / "history.jsonl").write_bytes((folder / "seed0" / "history.jsonl").read_bytes() + b'{"step": 31, "nats"')
    page, words = checked(write(folder))
    assert "Samples" in words
    assert "Training" in words
    assert page.images >= 1
    kept_out = shutil.ignore_patterns("*.png", "*.html", "history.jsonl", "seed0")
    _, words = checked(write(shutil.copytree(folder, folder.parent / "bare", ignore=kept_out)))
    assert "Model" in words


def test_report_of_nothing_names_what_is_there(images: Board, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"Give one of: .*run"):
        write(images.folder.parent)
    with pytest.raises(Problem, match="no such folder"):
        write(tmp_path / "nowhere")
    with pytest.raises(Problem, match="fit or compare wrote"):
        write(tmp_path)


def test_a_run_that_began_anew_replaces_its_curve(tmp_path: Path) -> None:
    from genlearn.report.plates import _history

    steps = [1, 2, 3, 1, 2]
    lines = [json.dumps({"step": step, "nats": float(i)}) for i, step in enumerate(steps)]
    (tmp_path / "history.jsonl").write_text("\n".join([*lines, '{"step": 3, "na']))
    assert [(e["step"], e["nats"]) for e in _history(tmp_path / "history.jsonl")] == [(1, 3.0), (2, 4.0)]


def test_pictures_of_a_run_show_samples_and_reconstructions(tmp_path: Path) -> None:
    from genlearn.models import VAE

    records = as_records(np.random.default_rng(0).integers(0, 2, (40, 4, 4)).astype(np.uint8))
    VAE(steps=3, random_state=0).fit(
        records.take(slice(0, 30)), valid=records.take(slice(30, 40)), watch=[Pictures(tmp_path, 0)]
    )
    names = {p.name for p in tmp_path.iterdir()}
    assert {"samples-1.png", "reconstructions-1.png", "reconstructions.png"} <= names
    again = np.asarray(Image.open(tmp_path / "reconstructions.png"))
    assert again.shape[:2] == (9 * 10, 39 * 10), "eight above eight, one gap between, brought to 40 pixels"
