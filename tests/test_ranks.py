"""Several processes as one: alone every function is the identity, and two processes learn what one would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genlearn import ranks
from genlearn.models import GAN, VAE

X = np.random.default_rng(0).normal(size=(64, 3))
V = np.random.default_rng(1).normal(size=(20, 3))
SETTINGS: dict[str, Any] = {"latent": 2, "hidden": (8,), "steps": 30, "lr": 1e-2, "random_state": 0}

# What a user's script looks like: it knows nothing of processes. Only what this test wants to know is added.
SCRIPT = f"""
import os, signal, sys
import numpy as np
from genlearn.errors import Interrupted
from genlearn.models import GAN, GMM, VAE

out, rank = sys.argv[1], os.environ["RANK"]
x = np.random.default_rng(0).normal(size=(64, 3))
v = np.random.default_rng(1).normal(size=(20, 3))
settings = {SETTINGS!r}

def stop(event):
    if event.step == 12 and not event.done:
        os.kill(os.getpid(), signal.SIGTERM)  # reaches the first process only; all stop at the same step

VAE(batch=8, **settings).fit(x, valid=v, out=out + "/vae").save(out + "/vae/model")
GAN(batch=8, loss="wasserstein", **settings).fit(x).save(out + "/gan")
stopped = VAE(batch=8, **settings)
try:
    stopped.fit(x, valid=v, out=out + "/stopped", watch=[stop])
except Interrupted:
    open(out + "/stopped-" + rank, "w").write(str(stopped.steps_))
stopped.fit(x, valid=v, out=out + "/stopped", resume=True).save(out + "/stopped/model")
timed = VAE(budget=0.2, **settings | {{"steps": None}}).fit(x, valid=v)
open(out + "/steps-" + rank, "w").write(str(timed.steps_))
seeds = [m.fit(x).seed_ for m in (VAE(**settings | {{"random_state": None, "steps": 3}}), GMM(components=2))]
open(out + "/seeds-" + rank, "w").write(str(seeds))
try:
    VAE(**settings).fit(x[:1])
except Exception as e:
    open(out + "/few-" + rank, "w").write(str(e))
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """Return what two processes wrote."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(folder / "script.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "", "nobody prints"
    return folder


def assert_alike(together: Any, alone: Any, most: float) -> None:
    for (name, a), b in zip(together.net_.state_dict().items(), alone.net_.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=most, msg=lambda text, name=name: f"{name}: {text}")


def test_two_processes_learn_what_one_does_with_twice_the_batch(together):
    """All noise is drawn for the global batch, so only the order of sums differs: 1e-5 is 100 roundings of numbers near 1."""
    alone = VAE(batch=16, **SETTINGS).fit(X, valid=V)
    assert_alike(VAE.load(together / "vae" / "model"), alone, 1e-5)
    alone = GAN(batch=16, loss="wasserstein", **SETTINGS).fit(X)
    assert_alike(GAN.load(together / "gan"), alone, 1e-4)  # 180 moves of a game amplify roundings


def test_history_is_that_of_the_global_batch(together, tmp_path):
    VAE(batch=16, **SETTINGS).fit(X, valid=V, out=tmp_path)
    ours, theirs = (
        [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        for folder in (tmp_path, together / "vae")
    )
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        assert all(b[k] == pytest.approx(v, abs=1e-4) for k, v in a.items() if k not in ("seconds", "stage"))


def test_a_signal_to_one_process_stops_all_and_resuming_is_exact(together):
    assert [(together / f"stopped-{rank}").read_text() for rank in (0, 1)] == ["12", "12"]
    straight, resumed = (VAE.load(together / run / "model") for run in ("vae", "stopped"))
    assert_alike(straight, resumed, 0.0)


def test_processes_share_the_seed_that_was_drawn(together):
    seeds = [json.loads((together / f"seeds-{rank}").read_text()) for rank in (0, 1)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 2


def test_processes_share_the_steps_of_a_budget(together):
    steps = [int((together / f"steps-{rank}").read_text()) for rank in (0, 1)]
    assert steps[0] == steps[1] >= 20


def test_fewer_records_than_processes_are_refused(together):
    for rank in (0, 1):
        assert (together / f"few-{rank}").read_text() == "1 records cannot be shared by 2 processes. Start fewer."


# -- alone -------------------------------------------------------------------------------------------------------------
def test_alone_everything_is_the_identity():
    ranks.start()
    ranks.wait()
    rows, net = torch.arange(4.0), nn.BatchNorm1d(2)
    net.weight.grad = torch.ones(2)
    ranks.average_gradients(net.parameters())
    ranks.average_buffers(net)
    assert (ranks.rank(), ranks.world(), ranks.is_first(), ranks.share(1.5)) == (0, 1, True, 1.5)
    assert ranks.mine(rows) is rows
    assert ranks.mean(rows) is rows
    assert ranks.any_of(True, False) == [True, False]
    assert torch.equal(net.weight.grad, torch.ones(2))
