"""What the report draws is what the numbers say: latent spaces, pairs of columns, quick judgements, colours for every eye."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import genlearn.report
from benchmarks.reliability.pages import MOST_BYTES, table
from genlearn.data.records import Dataset, Records, as_records
from genlearn.errors import Problem
from genlearn.metrics import Result
from genlearn.metrics.pairs import pair_trends
from genlearn.metrics.schema import Schema
from genlearn.model import Encodes
from genlearn.models import Marginals
from genlearn.report import latent, planes, sketch, write
from genlearn.report.album import Album
from genlearn.report.quick import RECORDS, judge_quickly
from genlearn.report.rows import Row, Trial
from genlearn.report.verdict import alone

CSS = (Path(genlearn.report.__file__).parent / "report.css").read_text(encoding="utf-8")


# -- colours -----------------------------------------------------------------------------------------------------------
def colours(scheme: str) -> dict[str, np.ndarray]:
    """Return the colours of a scheme as linear RGB."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
    found = dict(re.findall(r"--(\w+): #(\w{6})", light))
    found |= dict(re.findall(r"--(\w+): #(\w{6})", dark)) if scheme == "dark" else {}
    sides = {name: np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]) for name, code in found.items()}
    return {name: np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for name, c in sides.items()}


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    """WCAG's ratio of luminances."""
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


# How people without red, green or blue cones see, in linear RGB: Machado et al., 2009, https://doi.org/10.1109/TVCG.2009.113
EYES = {
    "all": np.eye(3),
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    f = np.cbrt(np.clip(XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883], 0.008856, None))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read_and_told_apart_by_every_eye(scheme: str) -> None:
    found = colours(scheme)
    for name in ("ink", "soft", "accent", "warn"):
        assert contrast(found[name], found["paper"]) >= 4.5, f"{name}: text, WCAG 1.4.3"
    marks = [f"c{k}" for k in range(1, 7)]
    for name in (*marks, "line"):
        assert contrast(found[name], found["paper"]) >= 3.0, f"{name}: a mark, WCAG 1.4.11"
    for eye, seen in EYES.items():
        for a, b in itertools.combinations(marks, 2):
            apart = np.linalg.norm(lab(np.asarray(seen) @ found[a]) - lab(np.asarray(seen) @ found[b]))
            assert apart >= 20, (
                f"{a} and {b} without {eye}: 2.3 units can just be told apart, small marks need far more"
            )


# -- latent spaces -----------------------------------------------------------------------------------------------------
class Stage(Encodes):
    """Stands in for a fitted model whose latent space is known: `width` follows dimension 1, `kind` dimension 0."""

    class layout_:
        labels = 0

    def posterior(self, data: Records, y: Any = None) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[override,misc]
        sign = np.where(np.arange(len(data)) % 2, 1.0, -1.0)
        mean = np.stack([sign, 2 * sign, 0 * sign], 1)
        return mean, np.ones_like(mean)

    def decode_records(self, latents: np.ndarray, y: Any = None) -> Records:  # type: ignore[override,misc]
        kind = np.where(latents[:, 0] > 0, "b", "a")
        return as_records(pd.DataFrame({"width": 10 * latents[:, 1], "kind": kind, "still": 1.5}))


def staged() -> tuple[Dataset, Schema]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"width": 20 * rng.normal(size=60), "kind": rng.choice(["a", "b"], 60), "still": rng.normal(size=60)}
    )
    part = as_records(frame)
    return Dataset("stage", part, part, part), Schema.of(part)


def test_dimensions_come_by_what_they_carry(tmp_path: Path) -> None:
    data, schema = staged()
    kept = latent.look(Stage(), data, schema, tmp_path)
    assert kept["order"] == [1, 0, 2]
    assert kept["carries"] == [2.0, 0.5, 0.0], "the KL of N(m, 1) from N(0, 1) is m^2 / 2"
    assert kept["map"] == {"x": [2 * s for s in ([-1, 1] * 30)], "y": [-1, 1] * 30}
    assert [[m["column"] for m in dim] for dim in kept["moves"]] == [["width"], ["kind"]], (
        "a dimension of 0 nats is left out"
    )
    assert kept["moves"][0][0]["cells"] == ["-20", "0", "20"]
    assert kept["moves"][1][0]["cells"] == ["a", "a", "b"]
    shown = latent.view({"name": "stage", "colour": 1}, kept, tmp_path, Album([]))
    assert shown["words"].startswith("3 latent dimensions, numbered from 0, carry 2.50 nats")
    assert "1 (2.00 nats) and 0 (0.50 nats)" in ElementTree.fromstring(shown["map"]).attrib["aria-label"]


def test_a_map_has_a_mark_for_every_record_and_a_shape_for_every_label() -> None:
    groups = [(name, [0.0, 1.0], [k, k + 1.0]) for k, name in enumerate(["red", "green", "blue", ""])]
    tree = ElementTree.fromstring(planes.scatter(groups, ("a", "b"), "map"))
    paths = [p.attrib["d"] for p in tree.iter("path")]
    assert [d.count("M") for d in paths] == [2, 2, 2, 2]
    shapes = [re.sub(r"M[\d.]+ [\d.]+", "", d) for d in paths]
    assert len(set(shapes[:3])) == 3, "not by colour alone"
    words = ElementTree.fromstring(planes.scatter([("7", [0, 1], [0, 1]), ("8", [1], [0])], ("a", "b"), "map"))
    assert [t.text for g in words.iter("g") for t in g] == ["7", "7", "8"], "short labels are drawn as they are"


# -- pairs of columns --------------------------------------------------------------------------------------------------
def linked(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a, kind = rng.normal(size=n), rng.choice(list("xyz"), n)
    frame = pd.DataFrame({"a": a, "b": a + 0.1 * rng.normal(size=n), "kind": kind})
    frame["twin"] = np.where(rng.random(n) < 0.9, np.char.add("t", kind.astype(str)), "t0")
    frame["level"] = (kind == "x") * 3.0 + rng.normal(size=n)
    frame.loc[:20, "b"] = np.nan
    return frame


def test_pairs_show_what_goes_together() -> None:
    real = linked()
    fake = pd.DataFrame({c: real[c].sample(frac=1, random_state=k).to_numpy() for k, c in enumerate(real)})
    schema = Schema.of(as_records(real))
    found = sketch.pairs(schema, pair_trends(schema, real, fake), real, fake)
    by_name = {(p["x"]["name"], p["y"]["name"]): p for p in found}
    assert len(found) == len(by_name) == 6, "no pair twice"
    assert [p["why"] for p in found] == ["associated"] * 4 + ["worst"] * 2
    both = by_name["a", "b"]
    assert both["association"][0] == pytest.approx(real[["a", "b"]].corr().iloc[0, 1], abs=1e-4)
    assert abs(both["association"][1]) < 0.2, "shuffled columns: 400 rows, standard error 0.05"
    for shares in both["shares"]:
        assert np.sum(shares) == pytest.approx(1, abs=1e-2), "of rows where both are known; shares are rounded"
    assert np.trace(both["shares"][0]) > 0.4 > np.trace(both["shares"][1])
    box = by_name["level", "kind"]
    for level, five in zip(box["y"]["levels"], box["boxes"][0], strict=True):
        some = real.loc[real["kind"] == level, "level"]
        np.testing.assert_allclose(five, some.quantile([0.05, 0.25, 0.5, 0.75, 0.95]), rtol=1e-4)
    counts = pd.crosstab(real["twin"], real["kind"], normalize=True)
    twins = by_name["kind", "twin"] if ("kind", "twin") in by_name else by_name["twin", "kind"]
    counts = counts if twins["y"]["name"] == "twin" else counts.T
    wanted = counts.reindex(index=twins["y"]["levels"], columns=twins["x"]["levels"])
    np.testing.assert_allclose(twins["shares"][0], wanted, atol=1e-5)


def test_pair_drawings_are_sound_svg() -> None:
    number = {"name": "a & b", "edges": [0.0, 1.0, 2.0], "dates": False}
    level = {"name": "kind", "levels": ["<x>", "a long name of a level"]}
    for svg in (
        planes.density(number, level, [[0.5, 0], [0.25, 0.25]], 0.5, 1, "density 0.5"),
        planes.density(level, level, [[0, 0], [0, 0]], 0.0, 0, "nothing 0"),
        planes.boxes(number, level, [None, [0, 0.5, 1, 1.5, 2]], 2, "boxes 2"),
    ):
        assert "nan" not in ElementTree.tostring(ElementTree.fromstring(svg)).decode()


# -- single fits and large tables --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Reports of single fits to tables of 3,000 and 100,000 rows, 20 columns."""
    home, written = tmp_path_factory.mktemp("large"), {}
    for rows in (3_000, 100_000):
        data, out = genlearn.read(table(rows)), home / str(rows)
        model = Marginals(random_state=0).fit(data)
        model.save(out)
        judge_quickly(model, data, out)
        written[rows] = write(out)
    return written


def test_a_page_does_not_grow_with_the_data(large: dict[int, Path]) -> None:
    small, big = (path.stat().st_size for path in large.values())
    assert big <= 1.3 * small <= MOST_BYTES, "bins and quantiles only"
    assert max(f.stat().st_size for f in large[100_000].parent.glob("**/row-0.json")) < 500_000


def test_a_single_fit_is_judged_quickly_beside_real_data(large: dict[int, Path]) -> None:
    stored = json.loads((large[100_000].parent / "row-0.json").read_text())
    assert {"nats", "auc", "kid_a", "coverage"} <= set(stored["metrics"])
    assert all(0 < result["n"] <= RECORDS for result in stored["metrics"].values())
    assert stored["metrics"]["auc"]["value"] > 0.8, "independent columns are told from real ones"
    words = large[100_000].read_text()
    assert "Samples of marginals can be told from real records" in words
    assert "genlearn evaluate gives the full one" in words
    for name in ("auc", "coverage"):
        assert f"{stored['metrics'][name]['value']:.2f}</span>" in words


def test_pictures_of_a_long_training_fit_into_the_page(large: dict[int, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(large[3_000].parent, tmp_path / "run")
    rng = np.random.default_rng(0)
    for step in range(12):
        noise = rng.integers(0, 256, (500, 500, 3), dtype=np.uint8)  # the worst that can be packed
        Image.fromarray(noise).save(folder / f"samples-{step}.png", compress_level=1)
    page = write(folder)
    assert page.read_text().count("<img") == 12
    assert page.stat().st_size <= MOST_BYTES < sum(p.stat().st_size for p in folder.glob("*.png"))


@pytest.mark.parametrize("name, content", [
    ("row-0.json", b'{"metrics": []}'),
    ("row-0.json", b'{"model": "x", "metrics": {"auc": {"value": "high", "low": 0, "high": 1}}}'),
    ("row-0.json", b"{"),
    ("history.jsonl", b'{"step": "first", "loss": 1}'),
    ("samples-1.png", b"no picture"),
    ("config.json", b"[]"),
])  # fmt: skip
def test_a_damaged_folder_is_one_line(large: dict[int, Path], tmp_path: Path, name: str, content: bytes) -> None:
    folder = shutil.copytree(large[3_000].parent, tmp_path / "run")
    (folder / name).write_bytes(content)
    with pytest.raises(Problem) as problem:
        write(folder)
    assert "\n" not in str(problem.value)
    assert "run" in str(problem.value), "which folder"


def test_one_model_alone_gets_a_sentence() -> None:
    def said(auc: float, copies: dict[str, Any], half: float = 0.05) -> str:
        result = Result(auc, auc - half, auc + half, 90)
        return alone(Row("vae", [Trial("vae", metrics={"auc": result}, copies=copies)])).text

    assert "samples of vae cannot be told from real records" in said(0.52, {"flag": False})
    assert "can sometimes be told" in said(0.6, {"flag": False})
    assert "90 records are too few to say whether samples of vae look real" in said(0.52, {"flag": False}, half=0.3)
    assert "quick" not in said(0.8, {"flag": None, "note": "too few to tell"})
    assert "A quick judgement on 90 records" in said(0.8, {})
    assert "hands out training records" in said(0.5, {"flag": True})
    assert "has no two-sample AUC" in alone(Row("vae", [Trial("vae")])).text
