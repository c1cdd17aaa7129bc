"""Stopped runs: what is resumed ends as if it had never been stopped, byte by byte, whatever happened to it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from genlearn import store
from genlearn.engine import Batch, Neural, Stage, Turn
from genlearn.errors import Interrupted, Problem, RunFailed, Terminated
from genlearn.events import Event
from genlearn.layout import Code
from genlearn.models import GAN, VAE, VAEGAN
from genlearn.training import checkpoints, loop

X = np.random.default_rng(0).normal(size=(96, 3))
V = np.random.default_rng(1).normal(size=(30, 3))
IMAGES = np.random.default_rng(2).integers(0, 9, size=(96, 8, 8, 3)).astype(np.uint8)


class Phases(Neural):
    """An autoencoder in two stages with layers that draw (dropout) and remember (batch normalisation)."""

    batch: int = 16

    def build(self) -> nn.Module:
        d = self.layout_.size
        code = nn.Sequential(nn.Linear(d, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        return nn.ModuleDict({"code": code, "back": nn.Linear(8, d)})

    def stages(self, net: Any) -> list[Stage]:
        def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            x = batch.x.float()
            return (net["back"](net["code"](x)) - x).square().mean(), {}

        return [Stage("back", [Turn("back", net["back"], loss)]), Stage("all", [Turn("all", net, loss)], 2.0)]

    def _validation(self, net: Any, batch: Batch) -> tuple[str, float]:
        return "-error", -float((net["back"](net["code"](batch.x.float())) - batch.x).square().mean())

    def _sample(self, n: int, rng: torch.Generator, given: Any) -> Code:
        return Code(self.net_["back"](torch.randn(n, 8, generator=rng)))


SMALL: dict[str, Any] = {"hidden": (8,), "latent": 2, "batch": 16, "steps": 60, "random_state": 3}
MODELS: dict[str, Callable[[], Neural]] = {
    "vae": lambda: VAE(**SMALL),
    "vae, patience and average": lambda: VAE(**SMALL | {"patience": 20, "ema": 0.9, "lr": 0.05, "steps": 100}),
    "vae, rmsprop": lambda: VAE(**SMALL, optimizer="rmsprop", schedule="linear"),
    "vae, sgd": lambda: VAE(**SMALL | {"lr": 1e-3}, optimizer="sgd", clip=1.0),
    "vae, accumulation in bf16": lambda: VAE(**SMALL, accumulate=3, optimizer="adam", precision="bf16"),
    "gan, 5 critic moves": lambda: GAN(**SMALL, loss="wasserstein"),
    "gan, spectral norm": lambda: GAN(**SMALL, spectral_norm=True, ema=0.0),
    "gan that convolves": lambda: GAN(**SMALL | {"steps": 40}, net="conv", width=8),
    "vaegan": lambda: VAEGAN(**SMALL),
    "stages": lambda: Phases(steps=60, random_state=3),
    "budget": lambda: VAE(**SMALL | {"steps": None}, budget=0.2),
}


def stop_at(*steps: int, by: int = signal.SIGINT) -> Callable[[Event], None]:
    """Return a watcher that sends a signal at the first events at or after these steps."""
    left = list(steps)

    def watch(event: Event) -> None:
        if left and event.step >= left[0] and not event.done and event.stage != "resume":
            left.pop(0)
            os.kill(os.getpid(), by)

    return watch


def stopped(model: Neural, folder: Path, step: int, data: Any = (X, V), *, resume: bool = False) -> Neural:
    """Fit until a step."""
    with pytest.raises(Interrupted):
        model.fit(data[0], valid=data[1], out=folder, resume=resume, watch=[stop_at(step)])
    return model


def resumed(model: Neural, folder: Path, data: Any = (X, V)) -> tuple[Neural, list[Event]]:
    events: list[Event] = []
    return model.fit(data[0], valid=data[1], out=folder, resume=True, watch=[events.append]), events


def everything(model: Neural, folder: Path) -> dict[str, Any]:
    """Return all that a run leaves, but for the times it took."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in lines]
    tensors, values = model._state()
    kept = {k: v.numpy().tobytes() for k, v in tensors.items()}
    values = {k: v for k, v in values.items() if k != "seconds_"}
    return {"history": history, "weights": kept, "values": values, "sample": model.sample(5, random_state=0).tobytes()}


def newest(folder: Path) -> Path:
    return max(folder.glob("checkpoints/step-*"))


# -- exactness ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [n for n in MODELS if n != "budget"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(name, tmp_path):
    make, data = MODELS[name], (IMAGES, IMAGES[:30]) if "convolves" in name else (X, V)
    straight = make().fit(data[0], valid=data[1], out=tmp_path / "a")
    stopped(make(), tmp_path / "b", 13, data)
    stopped(make(), tmp_path / "b", 31, data, resume=True)
    model, events = resumed(make(), tmp_path / "b", data)
    assert events[0].note == "resumed at step 31"
    assert everything(model, tmp_path / "b") == everything(straight, tmp_path / "a")


@pytest.mark.parametrize("name", ["vae, patience and average", "gan, 5 critic moves", "stages"])
def test_all_state_of_a_run_is_in_its_checkpoint(name, tmp_path):
    make = MODELS[name]
    stopped(make(), tmp_path / "a", 37)
    stopped(make(), tmp_path / "b", 12)
    stopped(make(), tmp_path / "b", 37, resume=True)
    a, b = (checkpoints.newest(tmp_path / run / "checkpoints") for run in "ab")
    assert a.tensors.keys() == b.tensors.keys()
    assert all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors), "weights, moments, averages, waiting terms"
    timeless = [{k: v for k, v in c.numbers.items() if k not in ("seconds", "rows")} for c in (a, b)]
    assert timeless[0] == timeless[1]


def test_a_budget_is_planned_once(tmp_path, monkeypatch):
    make = MODELS["budget"]
    monkeypatch.setattr(loop, "seconds_each", lambda act, most, times=20: (act(), 0.002)[1])
    stopped(make(), tmp_path, 13)
    planned = checkpoints.newest(tmp_path / "checkpoints").numbers["steps"]
    monkeypatch.setattr(loop, "seconds_each", lambda act, most, times=20: 1 / 0)
    model, _ = resumed(make(), tmp_path)
    assert model.steps_ == planned


def test_a_seed_that_was_drawn_is_kept(tmp_path):
    """Codecs draw from the seed, too: integers are spread over their cells before the first step."""

    class Spread(Phases):
        takes = frozenset({"real", "category", "binary"})

    frame = pd.DataFrame({"a": np.random.default_rng(0).integers(0, 50, 96), "b": X[:, 0]})
    first = Spread(steps=40)
    with pytest.raises(Interrupted):
        first.fit(frame, out=tmp_path / "b", watch=[stop_at(9)])
    model = Spread(steps=40).fit(frame, out=tmp_path / "b", resume=True)
    straight = Spread(steps=40, random_state=first.seed_).fit(frame, out=tmp_path / "a")
    for a, b in zip(model.net_.parameters(), straight.net_.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_killed_run_goes_on(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        import numpy as np
        from genlearn.models import VAE
        from genlearn.training import loop
        loop.CHECKPOINT_SECONDS = 0.0
        x, v = (np.random.default_rng(k).normal(size=(n, 3)) for k, n in ((0, 96), (1, 30)))
        slow = lambda event: time.sleep(0.005)
        VAE(hidden=(8,), latent=2, batch=16, steps=5000, random_state=3).fit(x, valid=v, out=sys.argv[1], watch=[slow])
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "b")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "b").glob("checkpoints/step-*"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint in a minute"
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    process.stderr.close()
    # The same run, ended where the killed one stands now: everything up to there must be the same.
    before = checkpoints.newest(tmp_path / "b" / "checkpoints").step
    settings = SMALL | {"steps": 5000}
    stopped(VAE(**settings), tmp_path / "b", before + 60, resume=True)
    stopped(VAE(**settings), tmp_path / "a", before + 60)
    a, b = (checkpoints.newest(tmp_path / run / "checkpoints") for run in "ab")
    assert a.step == b.step > before
    assert all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)
    steps = [json.loads(line)["step"] for line in (tmp_path / "b" / "history.jsonl").read_text().splitlines()]
    assert steps == sorted(steps), "rows after the checkpoint were written anew, not twice"


# -- damage ------------------------------------------------------------------------------------------------------------
def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _name_anew(path: Path) -> None:
    """Put good bytes, with their checksum, under the name of another step."""
    older = min(path.parent.iterdir())
    shutil.copy(older, path.with_name(older.name.replace("step-000000000020", "step-000000000040")))
    path.unlink()


def _make_link(path: Path) -> None:
    """Put a link to good bytes, with their checksum in its name, in place of the file: it could lead anywhere."""
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a link": _make_link,
    "a pipe": _make_pipe,
    "larger than the memory": lambda path: os.truncate(path, 2**42),
    "cut": _cut,
    "flipped": _flip,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("[1, 2]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "no metadata": lambda path: path.write_bytes(store.tensor_bytes({"a": torch.ones(1)})),
    "other metadata": lambda path: path.write_bytes(store.tensor_bytes({}, {"run": "[1, 2]"})),
    "deep metadata": lambda path: path.write_bytes(store.tensor_bytes({}, {"run": "[" * 100_000})),
    "a folder": _make_folder,
    "an older one": lambda path: shutil.copy(min(path.parent.iterdir()), path),
    "an older one by name": _name_anew,
}


@pytest.fixture(scope="module")
def twice_saved(tmp_path_factory) -> Path:
    """Return a run that was stopped at step 20 and at step 40."""
    folder = tmp_path_factory.mktemp("run")
    stopped(MODELS["vae"](), folder, 20)
    stopped(MODELS["vae"](), folder, 40, resume=True)
    assert [p.name[:17] for p in sorted(folder.glob("checkpoints/*"))] == ["step-000000000020", "step-000000000040"]
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("straight")
    return everything(MODELS["vae"]().fit(X, valid=V, out=folder), folder)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(damage, twice_saved, uninterrupted, tmp_path):
    shutil.copytree(twice_saved, tmp_path / "run")
    damage(newest(tmp_path / "run"))
    model, events = resumed(MODELS["vae"](), tmp_path / "run")
    says = r"step-000000000040-\w{16}\.safetensors is damaged and was passed over; resumed at step 20"
    assert re.fullmatch(says, events[0].note), events[0].note
    assert everything(model, tmp_path / "run") == uninterrupted


def test_damage_to_all_checkpoints_is_one_line(twice_saved, tmp_path):
    shutil.copytree(twice_saved, tmp_path / "run")
    for path in tmp_path.glob("run/checkpoints/step-*"):
        _flip(path)
    with pytest.raises(Problem, match=r"all 2 checkpoints in .* are damaged. Start anew without --resume"):
        MODELS["vae"]().fit(X, valid=V, out=tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_net_is_one_line(twice_saved, tmp_path):
    class Grown(VAE):
        """A VAE after its code changed."""

        def build(self) -> nn.Module:
            return nn.ModuleDict({**super().build(), "more": nn.Linear(1, 1)})

    shutil.copytree(twice_saved, tmp_path / "run")
    with pytest.raises(Problem, match="the checkpoint does not fit the net"):
        Grown(**SMALL).fit(X, valid=V, out=tmp_path / "run", resume=True)


# -- other ways to resume ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, settings", [("vae", {}), ("vae, patience and average", {"patience": 2, "lr": 1.0}), ("vaegan", {})]
)
def test_a_finished_run_trains_nothing(name, settings, tmp_path):
    def make() -> Neural:
        return MODELS[name]().set_params(**settings)

    first = make().fit(X, valid=V, out=tmp_path)
    left = everything(first, tmp_path)
    again, events = resumed(make(), tmp_path)
    assert everything(again, tmp_path) == left
    assert [(e.step, e.done, e.note) for e in events] == [
        (first.steps_, False, "finished before"),
        (first.steps_, True, "nothing was left to train"),
    ]
    assert (again.steps_, again.seconds_) == (first.steps_, first.seconds_)
    assert first.steps_ < 60 if settings else first.steps_ == 60, "a huge step size stops early"


def test_an_empty_folder_is_begun_anew(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"step": 9, "seconds": 1.0, "stage": "of a run that is gone"}\n')
    model, events = resumed(MODELS["vae"](), tmp_path)
    assert (events[0].step, events[0].note) == (0, f"nothing to go on with in {tmp_path}: begun anew")
    left = everything(model, tmp_path)
    assert left == everything(MODELS["vae"]().fit(X, valid=V, out=tmp_path / "b"), tmp_path / "b")


def test_without_resume_a_run_begins_anew(twice_saved, uninterrupted, tmp_path):
    shutil.copytree(twice_saved, tmp_path / "run")
    model = MODELS["vae"]().fit(X, valid=V, out=tmp_path / "run")
    assert everything(model, tmp_path / "run") == uninterrupted


@pytest.mark.parametrize(
    "change, says",
    [
        ({"lr": 0.01}, "lr 0.001, not 0.01"),
        ({"hidden": (9,)}, r"hidden \[8\], not \[9\]"),
        ({"steps": 70}, "steps 60, not 70"),
        ({"random_state": 4}, "random_state 3, not 4"),
        ({"x": X[:90]}, "96 records, these are 90"),
        ({"x": X + 1e-3 * np.arange(96)[:, None]}, "other data"),
    ],
    ids=["lr", "net", "steps", "seed", "fewer records", "other records"],
)
def test_another_run_is_not_gone_on_with(change, says, twice_saved, tmp_path, monkeypatch):
    shutil.copytree(twice_saved, tmp_path / "run")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    settings = {k: v for k, v in change.items() if k != "x"}
    with pytest.raises(Problem) as problem:
        VAE(**SMALL | settings).fit(change.get("x", X), valid=V, out=tmp_path / "run", resume=True)
    assert re.search(says, str(problem.value)), str(problem.value)
    assert "\n" not in str(problem.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before, "the run is as it was"


def test_other_labels_are_other_data(tmp_path):
    y = np.arange(96) % 2
    with pytest.raises(Interrupted):
        VAE(**SMALL).fit(X, y, out=tmp_path, watch=[stop_at(9)])
    with pytest.raises(Problem, match="other labels"):
        VAE(**SMALL).fit(X, y[::-1].copy(), out=tmp_path, resume=True)
    VAE(**SMALL).fit(X, y, out=tmp_path, resume=True)


# -- interruptions -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("by, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_best_so_far(by, code, tmp_path):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    model, events = VAE(**SMALL), []
    with pytest.raises(Interrupted, match="stopped after 33 of 60 steps") as stop:
        model.fit(X, valid=V, out=tmp_path, watch=[events.append, stop_at(33, by=by)])
    assert stop.value.exit_code == code
    best = checkpoints.newest(tmp_path / "checkpoints").part("best.")
    assert all(torch.equal(v, best[k]) for k, v in model.net_.state_dict().items())
    assert model.sample(4, random_state=0).shape == (4, 3)
    assert np.isfinite(VAE.load(model.save(tmp_path / "model")).score(V))
    assert (events[-1].step, events[-1].done) == (33, True)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_signal_during_the_probe_or_the_last_step_is_heeded(tmp_path, monkeypatch):
    model = MODELS["budget"]()
    monkeypatch.setattr(loop, "seconds_each", lambda act, most, times=20: os.kill(os.getpid(), signal.SIGINT) or 0.001)
    monkeypatch.setattr(loop.Signals, "_receive", lambda self, number, frame: setattr(self, "received", number))
    with pytest.raises(Interrupted, match="stopped after 1 of"):
        model.fit(X, valid=V, out=tmp_path / "a")
    with pytest.raises(Interrupted, match="stopped after 60 of 60 steps"):
        VAE(**SMALL).fit(X, valid=V, out=tmp_path / "b", watch=[stop_at(60)])
    _, events = resumed(VAE(**SMALL), tmp_path / "b")
    assert events[0].note == "finished before"


@pytest.mark.parametrize("by, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_second_signal_stops_at_once(by, error, tmp_path):
    model = VAE(**SMALL).fit(V)
    before = model.sample(3, random_state=0)
    with pytest.raises(KeyboardInterrupt) as stop:
        model.fit(X, out=tmp_path, watch=[stop_at(20, 20), stop_at(20, by=by)])
    assert type(stop.value) is error
    np.testing.assert_array_equal(model.sample(3, random_state=0), before)


def test_a_run_that_breaks_off_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch, uninterrupted):
    def fall(event: Event) -> None:
        if event.step == 40:
            raise ZeroDivisionError

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(loop, "SAVING_SHARE", 1e9)
    with pytest.raises(ZeroDivisionError):
        MODELS["vae"]().fit(X, valid=V, out=tmp_path, watch=[fall])
    left = sorted(int(p.name[5:17]) for p in tmp_path.glob("checkpoints/*"))
    assert len(left) == 2, "the last two are kept"
    model, events = resumed(MODELS["vae"](), tmp_path)
    assert events[0].note == f"resumed at step {left[-1]}"
    assert everything(model, tmp_path) == uninterrupted


# -- a disk that refuses -----------------------------------------------------------------------------------------------
def test_a_full_disk_leaves_whole_checkpoints_only(tmp_path, monkeypatch):
    def refuse(handle: int) -> None:
        os.ftruncate(handle, 9)
        raise OSError(errno.ENOSPC, "No space left on device")

    first = checkpoints.write(tmp_path, 1, {"a": 1}, {"net.w": torch.arange(5.0)})
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(tmp_path, 2, {"a": 2}, {"net.w": torch.arange(5.0)})
    assert list(tmp_path.iterdir()) == [first]
    assert checkpoints.newest(tmp_path).numbers == {"a": 1}


def test_writing_a_step_again_replaces_it_and_clears_what_a_kill_left(tmp_path):
    (tmp_path / ".step-000000000009-0.safetensors.77.tmp").write_bytes(b"half")
    written = [checkpoints.write(tmp_path, step, {"step": step}, {"w": torch.ones(1)}) for step in (0, 1, 2, 2)]
    assert sorted(tmp_path.iterdir()) == written[1:3]
    assert checkpoints.newest(tmp_path).numbers == {"step": 2}


def test_of_a_finished_run_only_the_end_is_kept(tmp_path):
    """A finished run writes the step at which it was interrupted again, with other contents."""
    checkpoints.write(tmp_path, 5, {"finished": False}, {"w": torch.ones(1)})
    last = checkpoints.write(tmp_path, 5, {"finished": True}, {"w": torch.ones(1)}, keep=1)
    assert list(tmp_path.iterdir()) == [last]


def test_damaged_checkpoints_make_room_for_good_ones(tmp_path):
    """What lies behind the step that a run went back to was passed over: it must not count among the last two."""
    paths = [checkpoints.write(tmp_path, step, {}, {"w": torch.ones(1)}) for step in (1, 5)]
    _flip(paths[1])
    assert checkpoints.newest(tmp_path).step == 1
    later = [checkpoints.write(tmp_path, step, {}, {"w": torch.ones(1)}) for step in (2, 3)]
    assert sorted(tmp_path.iterdir()) == later


def test_a_disk_that_fills_up_ends_the_run_in_one_line(tmp_path, monkeypatch):
    def refuse(path: Path, step: int, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(checkpoints, "write", refuse)
    model = VAE(**SMALL)
    with pytest.raises(RunFailed, match=r"cannot write to .* \(No space left on device\). Free the disk") as failure:
        model.fit(X, out=tmp_path / "run")
    assert failure.value.usable
    assert model.sample(3).shape == (3, 3)
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_a_run_whose_folder_is_deleted_loses_nothing(tmp_path, uninterrupted):
    def delete(event: Event) -> None:
        if event.step == 30:
            shutil.rmtree(tmp_path / "run")

    model = MODELS["vae"]().fit(X, valid=V, out=tmp_path / "run", watch=[delete])
    assert everything(model, tmp_path / "run") == uninterrupted
    assert checkpoints.newest(tmp_path / "run" / "checkpoints").numbers["finished"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_refused_before_training(resume, tmp_path):
    (tmp_path / "file").write_text("in the way")
    events: list[Event] = []
    with pytest.raises(Problem, match=r"cannot write to .*Choose another --out"):
        VAE(**SMALL).fit(X, out=tmp_path / "file" / "run", resume=resume, watch=[events.append])
    assert not events


def test_broken_numbers_are_never_saved(tmp_path):
    class Breaks(Phases):
        def stages(self, net: Any) -> list[Stage]:
            def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
                if batch.step == 20:
                    os.kill(os.getpid(), signal.SIGINT)  # the loop is about to save and to leave
                return net["back"](torch.ones(1, 8)).sum() * (np.nan if batch.step == 20 else 1.0), {}

            return [Stage("train", [Turn("back", net["back"], loss)])]

    with pytest.raises(RunFailed, match="at step 20"):
        Breaks(steps=100_000).fit(X, out=tmp_path)  # a row of history every 500 steps
    assert not list(tmp_path.glob("checkpoints/*"))
