"""Runs that die on demand: the real command, in processes forked from a server that has imported everything already.

A process dies by SIGKILL: at a place that it comes to (then it kills itself), or some time after its first step (then it is killed).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

PLACES = ("start", "step", "save", "write", "rename", "delete", "history", "end")
SURVIVORS_TIME = (
    20.0  # seconds in which the others must have ended after one process was killed; they need less than one
)
LONGEST = 300.0  # seconds of any sitting; all of them need less than ten

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["genlearn.cli", "genlearn.compare", "genlearn.progress", "genlearn.report.pictures", "genlearn.models.gmm"]
    + ["genlearn.models.vae", "genlearn.models.gan", "torch._dynamo", "pandas", "safetensors.torch"]
)


@dataclass(frozen=True)
class Death:
    """When processes die.

    Arguments:
        place: The place where they kill themselves, one of `PLACES`; empty to be killed from outside.
        nth: The how-many-th time that they come to it.
        seconds: Without a place: seconds after the first step.
        of: Numbers of the processes that die.
    """

    place: str = ""
    nth: int = 1
    seconds: float = 0.0
    of: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Sitting:
    """How processes ended that were started together.

    Arguments:
        codes: Exit codes, by process; -9 of those that were killed.
        places: Where each of them stood at the end.
        said: What each of them printed.
        hung: Whether one that was left alone did not end by itself.
        seconds: From the first step to the end.
    """

    codes: tuple[int, ...]
    places: tuple[str, ...]
    said: tuple[str, ...]
    hung: bool
    seconds: float

    @property
    def fell(self) -> str:
        """Where the first process that was killed stood; empty if none was."""
        return next((place for place, code in zip(self.places, self.codes, strict=True) if code == -signal.SIGKILL), "")


def sit(command: Sequence[str], folder: Path, death: Death | None = None, *, processes: int = 1) -> Sitting:
    """Run a command that writes to `folder` until it ends or dies; two and more processes meet on loopback, as under torchrun."""
    where, death = _SERVER.RawArray("b", processes), death or Death(of=())
    meeting = _meeting_place() if processes > 1 else None
    said = [_beside(folder, f"said-{rank}") for rank in range(processes)]
    started = []
    for rank in range(processes):
        about = (
            list(command),
            folder,
            death if rank in death.of else None,
            where,
            rank,
            processes,
            meeting.port if meeting else 0,
        )
        started.append(_SERVER.Process(target=_live, args=about))
        started[-1].start()
    if not death.place:
        _kill_from_outside(started, where, death)
    hung, seconds = _wait(started, where)
    codes = tuple(process.exitcode or 0 for process in started)
    return Sitting(codes, tuple(PLACES[w] for w in where), tuple(path.read_text() for path in said), hung, seconds)


def _kill_from_outside(started: list[Any], where: Any, death: Death) -> None:
    while death.of and all(process.is_alive() for process in started) and not all(where):
        time.sleep(0.005)
    time.sleep(death.seconds)
    for rank in death.of:
        started[rank].kill()


def _wait(started: list[Any], where: Any) -> tuple[bool, float]:
    """Wait for all to end; return whether one hung that was left alone, and the seconds from the first step to the end.

    Those that wait for a process which died before they met are ended, as torchrun ends them.
    """
    begun = time.monotonic()
    stepped = alone = None
    hung = False
    while any(process.is_alive() for process in started):
        time.sleep(0.005)
        now = time.monotonic()
        if all(where):
            stepped = stepped or now
        if any(process.exitcode not in (None, 0) for process in started):
            alone = alone or now
        late = now - begun > LONGEST or (alone is not None and now - alone > SURVIVORS_TIME)
        if late or (alone is not None and not all(where)):
            hung = hung or late
            for process in started:
                process.kill()
    for process in started:
        process.join()
    return hung, time.monotonic() - (stepped or begun)


def _meeting_place() -> Any:
    """Return a store where processes meet, held by this one: torchrun, too, survives those that it starts."""
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def _beside(folder: Path, name: str) -> Path:
    """Return where something is kept about a run, outside of its folder."""
    return folder.with_name(f"{folder.name}.{name}")


# -- in the process that dies --------------------------------------------------------------------------------------------
def _live(
    command: list[str], folder: Path, death: Death | None, where: Any, rank: int, processes: int, port: int
) -> None:
    if processes > 1:
        about: dict[str, Any] = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": processes,
            "LOCAL_WORLD_SIZE": processes,
        }
        about |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
        os.environ |= {name: str(value) for name, value in about.items()}
    said = os.open(_beside(folder, f"said-{rank}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    from genlearn.cli import main

    _Fate(folder, death, where, rank).begin()
    sys.exit(main(command))


class _Fate:
    """Follows a process from place to place, and ends it where it has to die."""

    def __init__(self, folder: Path, death: Death | None, where: Any, rank: int) -> None:
        self.folder, self.death, self.where, self.rank = folder, death, where, rank
        self.left = death.nth if death else 0
        self.ending = False

    def begin(self) -> None:
        """Put an ear to everything that changes the run: moves, checkpoints, and what the system is asked to do with files."""
        from genlearn import ranks
        from genlearn.cli import train
        from genlearn.training import checkpoints, loop

        loop.CHECKPOINT_SECONDS, loop.SAVING_SHARE = 0.02, 0.3  # a checkpoint after every few steps
        ranks._HEARD = 0.5  # seconds that a survivor waits for the first process to complain
        mock.patch.object(train, "_report").start()  # it comes when all is saved, and takes most of the time
        trainer: Any = loop.Trainer
        end, flush = trainer._end, os.fsync

        def note_and_end(trainer: Any) -> None:
            _note_last_state(trainer, _beside(self.folder, "end.json"))
            self.ending = True
            self.come_to("end")
            end(trainer)

        def flush_or_die(fd: Any) -> None:
            if self.dies_at("write"):
                self.die(lambda: _halve(fd))
            flush(fd)

        trainer._play, trainer._end = self._before("step", trainer._play), note_and_end
        checkpoints.write = self._before("save", checkpoints.write)
        os.fsync = flush_or_die
        sys.addaudithook(self._hear)

    def _before(self, place: str, act: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(act)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.come_to(place)
            return act(*args, **kwargs)

        return wrapped

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove") or not str(args[0]).startswith(str(self.folder)):
            return
        if event == "os.rename":
            self.come_to("rename")
        elif event == "os.remove":
            self.come_to("delete")
        elif args[1] == "a" and self.dies_at("history"):
            self.die(lambda: _tear(args[0]))

    def dies_at(self, place: str) -> bool:
        """Take note of a place, and return whether this is where the process has to die."""
        place = "end" if self.ending else place
        self.where[self.rank] = PLACES.index(place)
        if self.death is None or self.death.place != place:
            return False
        self.left -= 1
        return self.left == 0

    def come_to(self, place: str) -> None:
        if self.dies_at(place):
            self.die()

    def die(self, first: Callable[[], None] | None = None) -> None:
        """Leave what a kill in the middle leaves, and die."""
        if first:
            with contextlib.suppress(OSError):
                first()
        os.kill(os.getpid(), signal.SIGKILL)


def _halve(handle: int) -> None:
    os.ftruncate(handle, os.fstat(handle).st_size // 2)


def _tear(path: Any) -> None:
    """Leave half a row of history."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(handle, b'{"step": 7, "sec')


def _note_last_state(trainer: Any, path: Path) -> None:
    """Write down digests of all that training changed, before only the weights to keep are left of it."""
    if trainer.state.finished:
        return
    numbers, tensors = trainer.state.pack()
    numbers["rows"] = [{k: v for k, v in row.items() if k != "seconds"} for row in numbers["rows"]]
    digests = {k: hashlib.sha256(v.detach().contiguous().numpy().tobytes()).hexdigest() for k, v in tensors.items()}
    if trainer.path is not None and int(os.environ.get("RANK", "0")) == 0:
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps({"tensors": digests, "numbers": {**numbers, "seconds": None}}))
        aside.replace(path)


# -- what is left --------------------------------------------------------------------------------------------------------
def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a run left but for the times it took, by name: equal for two runs that are bit-identical."""
    import genlearn

    model = genlearn.load(folder)
    tensors, values = model._state()
    left = {
        "weights": {k: v.numpy().tobytes() for k, v in tensors.items()},
        "numbers of the model": {k: v for k, v in values.items() if k != "seconds_"},
        "draws": model.sample(64, random_state=0).to_csv(),
        "samples": (folder / "samples.csv").read_bytes(),
    }
    if (folder / "history.jsonl").exists():
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        left["history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    if _beside(folder, "end.json").exists():
        left |= {f"last step: {k}": v for k, v in json.loads(_beside(folder, "end.json").read_text()).items()}
    return left


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the names under which two outcomes differ."""
    return [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]
