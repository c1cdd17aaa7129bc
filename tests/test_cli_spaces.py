"""The verbs that measure a latent space, on a run of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import genlearn
from genlearn.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("spaces") / "vae")
    words = "fit vae digits --label none --steps 30 --latent 3 --hidden 16 --samples 5 --seed 5 --quiet --out"
    assert main([*words.split(), out]) == 0
    return out


def ask(capsys: Any, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_latents_says_what_the_report_shows(run: str, capsys: Any) -> None:
    code, out, _ = ask(capsys, "latents", run, "--json")
    assert code == 0
    found = json.loads(out)
    kept = json.loads((Path(run) / "row-0.json").read_text())["exhibits"]
    assert [d["dim"] for d in found["dimensions"]] == kept["latent"]["order"]
    assert found["measures"] == kept["latent"]["facts"]
    assert found["findings"] == kept["findings"]
    text = ask(capsys, "latents", run)[1]
    assert "mutual information" in text
    assert text.count("\n") >= 6


def test_bounds_are_those_of_the_model(run: str, capsys: Any) -> None:
    code, out, _ = ask(capsys, "bounds", run, "-n", "10", "--draws", "4", "--ais", "3", "--chains", "2", "--json")
    assert code == 0
    found = json.loads(out)
    records = genlearn.read("digits", label="none").test.take(slice(0, 10))
    expected = genlearn.load(run).bounds(records, draws=4, ais=3, chains=2)
    assert {name: e["value"] for name, e in found["bounds"].items()} == {
        name: pytest.approx(e.value) for name, e in expected.named.items()
    }
    assert "IW-4" in ask(capsys, "bounds", run, "-n", "3", "--draws", "4")[1]
    assert "draws must be a whole number of at least 1" in ask(capsys, "bounds", run, "--draws", "0")[2]


def test_traverse_goes_by_what_dimensions_carry(run: str, capsys: Any, tmp_path: Path) -> None:
    order = [d["dim"] for d in json.loads(ask(capsys, "latents", run, "--json")[1])["dimensions"]]
    said = ask(capsys, "traverse", run, "--out", str(tmp_path / "t.png"))[2]
    assert f"latent dimensions {', '.join(map(str, order))};" in said
