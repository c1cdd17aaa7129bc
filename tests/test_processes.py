"""Two processes learn what one learns from twice the batch, hand runs on, stumble in one line; a script need not know of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability import processes, together
from benchmarks.reliability.together import BATCH, CASES, CLOSED, NETS, RESUMED, SUMS, UNSHARED
from genlearn.engine import Neural
from genlearn.model import model_class, model_names

ROOT = Path(__file__).parent.parent
QUICK = [
    "vae, table", "vae, free nats", "vae, colour images, conv", "vae, accumulate, ema, clip", "gan, wasserstein",
    "gan, hinge, spectral norm", "gan, patience", "vaegan, table", "gmm, full", "gmm, missing numbers, lowrank",
    "gmm, dead components", *CLOSED,
]  # fmt: skip

# A script that knows nothing of processes. What it found out, each process writes down for the tests.
SCRIPT = """
import contextlib, io, json, os, sys
from pathlib import Path

import genlearn
from benchmarks.reliability import together
from genlearn.cli import main
from genlearn.errors import Problem, RunFailed
from genlearn.models import GMM, VAE
from genlearn.models._mixture import Rows
from genlearn.training.history import History

out, rank, found = Path(sys.argv[1]), os.environ["RANK"], {}
together.main(out, sys.argv[2:])

rows = Rows.__init__
def noted(self, *given):
    rows(self, *given)
    found.setdefault("visited", [i for *_, places in self.groups for i in places.tolist()])
Rows.__init__ = noted

x, heard = together.records("many")["data"], []
model = GMM(components=2, random_state=0).fit(x, watch=[heard.append])
model.save(out / "own")
again = genlearn.load(out / "own")
found["score"] = [model.score(x[:50]), again.score(x[:50])]
found["sample"] = again.sample(3, random_state=1).tolist()
found["heard"] = len(heard)
x = x[:100]
board = genlearn.compare(x, ["gmm", VAE(**together.SMALL)], out=out / "board")
found["board"] = [[row.name, row.value("auc"), row.error] for row in [*board.rows, *board.references]]
found["report"] = board.report().stat().st_size
found["best"] = board.best.sample(2, random_state=0).tolist()

def line(act):
    try:
        act()
    except (Problem, RunFailed) as e:
        return f"{type(e).__name__}: {e}"

small = together.CASES["vae"]
found["other records"] = line(lambda: GMM(random_state=0).fit(x + int(rank)))
found["other seed"] = line(lambda: VAE(**together.SMALL | {"random_state": int(rank)}).fit(x))
write, full = History.write, OSError(28, "No space left on device")
def refused(self, row):
    if self._file:
        raise full
History.write = refused
found["full disk"] = line(lambda: small.fit(8, out=out / "full"))
History.write = write

def command(*words):
    said, answered = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(answered):
        code = main([str(word) for word in words])
    return [code, answered.getvalue(), said.getvalue()]

found["no source"] = command("fit", "vae", out / "missing.csv")
found["fit"] = command("fit", "vae", out / "table.csv", "--steps", 3, "--hidden", 4, "--out", out / "run")
found["score of the run"] = command("score", out / "run", "--json")
(out / f"found-{rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return what two processes left."""
    place = tmp_path_factory.mktemp("together")
    (place / "script.py").write_text(SCRIPT)
    (place / "table.csv").write_text("a,b\n" + "\n".join(f"{i / 7:.4f},{(i * i) % 11}" for i in range(120)))
    together.prepare(place)
    processes.succeeded(processes.launch([str(place / "script.py"), str(place), *QUICK]))
    return place


@pytest.fixture(scope="module")
def found(folder) -> list[dict[str, Any]]:
    """Return what each of them found out."""
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]


# -- the same models ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", QUICK)
def test_two_processes_learn_what_one_does_with_twice_the_batch(name, folder):
    assert processes.apart(folder, name) <= CASES[name].bar


@pytest.mark.parametrize("name", ["vae, table", "gan, patience", "vaegan, table"])
def test_what_they_write_down_is_that_of_the_global_batch(name, folder, tmp_path):
    """Terms are means, validations distances of all 21 records: roundings apart, 1e-5 of their size, and of 1 near zero."""
    CASES[name].fit(2 * BATCH, out=tmp_path)
    alone, both = (
        [json.loads(line) for line in (place / "history.jsonl").read_text().splitlines()]
        for place in (tmp_path, folder / name)
    )
    assert [row.keys() for row in alone] == [row.keys() for row in both]
    for a, b in zip(alone, both, strict=True):
        assert all(b[k] == pytest.approx(v, rel=1e-5, abs=1e-5) for k, v in a.items() if k not in ("seconds", "stage"))
    assert any(key.startswith("valid") for row in both for key in row)


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_with_another_number_of_processes(name, folder):
    assert max(processes.handed_on(folder, name)) <= CASES[name].bar


def test_a_global_batch_that_two_cannot_share_is_refused(folder):
    said = {(folder / "odd" / f"refusal-{rank}").read_text() for rank in (0, 1)}
    assert said == {
        "this run takes 15 records per step, which 2 processes cannot share evenly. Start a number that divides 15."
    }


def test_every_way_to_learn_is_tried():
    """Every choice of every model that trains, and every one of a mixture's covariances, is a case of the benchmark."""
    used = {(case.model.name(), k, v) for case in CASES.values() for k, v in case.make(BATCH).get_params().items()
            if isinstance(v, str)} | UNSHARED  # fmt: skip
    for name in model_names():
        cls = model_class(name)
        for setting in cls.settings().values() if issubclass(cls, Neural) else ():
            if setting.name not in Neural.settings():
                assert {c for c in setting.choices if (name, setting.name, c) not in used} == set(), (
                    name,
                    setting.name,
                )
    shared = {(k, v) for _, k, v in used}
    for setting in Neural.settings().values():
        assert {c for c in setting.choices if (setting.name, c) not in shared} == set(), setting.name
    assert {case.model.name() for case in CASES.values()} == set(model_names())
    assert NETS.keys() | SUMS.keys() | CLOSED.keys() == CASES.keys()


def test_the_page_says_how_far_apart_they_may_end():
    page = (ROOT / "docs" / "processes.md").read_text(encoding="utf-8")
    bars = [{f"{case.bar:g}" for case in cases.values()} for cases in (NETS, SUMS, CLOSED)]
    assert bars == [{"1e-05", "0.05"}, {"1e-08"}, {"0"}]
    assert {row.split("|")[2].strip() for row in page.splitlines() if row.count("|") == 4} >= set.union(*bars)


# -- a script ----------------------------------------------------------------------------------------------------------
def test_every_record_is_visited_by_one_process(found):
    first, second = (f["visited"] for f in found)
    assert sorted(first + second) == list(range(15_000))
    assert min(len(first), len(second)) > 5_000, "both work"


def test_both_processes_hold_the_same_model_at_once(found):
    for key in ("score", "sample", "board", "best"):
        assert found[0][key] == found[1][key]
    assert found[0]["score"][0] == found[0]["score"][1], "what was saved can be read by both straight away"


def test_watchers_hear_the_first_process_only(found):
    assert found[0]["heard"] > 0
    assert found[1]["heard"] == 0


def test_a_comparison_is_shared_out(found, folder):
    assert {name for name, *_ in found[0]["board"]} == {"gmm", "vae", "real data", "marginals", "kde", "copycat"}
    assert not any(error for *_, error in found[0]["board"])
    assert (folder / "board" / "report.html").stat().st_size == found[0]["report"] == found[1]["report"]


# -- trouble -----------------------------------------------------------------------------------------------------------
def test_processes_that_were_given_different_things_are_refused(found):
    line = "Problem: the 2 processes were given different settings or records. Give all the same: seed what draws them."
    assert {f[key] for f in found for key in ("other records", "other seed")} == {line}


def test_all_hear_of_a_full_disk_at_once(found):
    assert "cannot write to" in found[0]["full disk"]
    assert "No space left on device" in found[0]["full disk"]
    assert found[1]["full disk"].startswith("RunFailed: vae: cannot write to")


def test_the_command_speaks_once(found):
    (code, out, err), other = found[0]["no source"], found[1]["no source"]
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "missing.csv does not exist" in err
    assert other == [2, "", ""]
    assert [f["fit"][0] for f in found] == [0, 0]
    assert found[0]["fit"][1].startswith("model")
    assert found[1]["fit"][1:] == ["", ""]
    assert json.loads(found[0]["score of the run"][1])
    assert found[1]["score of the run"] == [0, "", ""]


def test_when_one_process_fails_both_end_and_say_why(tmp_path):
    """One of them finds no data: it says so, and the other, which waits for it, hears that it is gone."""
    (tmp_path / "0.csv").write_text("a,b\n" + "\n".join(f"{i},{i * i % 7}" for i in range(60)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pair = [
        subprocess.Popen(
            [sys.executable, "-m", "genlearn", "fit", "vae", f"{rank}.csv", "--steps", "3", "--out", "run", "--quiet"],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
        )
        for rank in (0, 1)
    ]  # fmt: skip
    (_, first), (_, second) = (process.communicate(timeout=300) for process in pair)
    assert second.startswith("genlearn: 1.csv does not exist.")
    assert second.count("\n") == 1
    assert first == "genlearn: another process of this run has ended. See what it said, then go on with --resume.\n"
    assert [process.returncode for process in pair] == [1, 2]
