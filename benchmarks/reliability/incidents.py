"""What befalls the real command: signals, disks that are full or read-only, folders that vanish. It says one line, and can go on."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..checks import Check
from .victims import differing, outcome, sit

SETTINGS = ["--hidden", "8", "--latent", "2", "--batch", "16", "--steps", "1500", "--seed", "5"]
LIMIT = 6000  # bytes of a file: enough for run.json, too few for the history of such a run
PATIENCE = 120.0


@dataclass(frozen=True)
class Incident:
    """Something that befell a run.

    Arguments:
        name: What it was.
        codes: Exit codes that the documentation allows.
        code: The exit code.
        said: What the command wrote to stderr.
        folder: Where the run can go on.
    """

    name: str
    codes: tuple[int, ...]
    code: int
    said: str
    folder: Path

    def wrong(self) -> str:
        """Return what is not as documented; empty if all is."""
        lines = [line for line in self.said.splitlines() if line.startswith("genlearn: ")]
        if self.code not in self.codes or "Traceback" in self.said or len(lines) != (self.code != 0):
            return f"{self.name}: exit {self.code}: {self.said[-300:]}"
        return ""


def begin(source: Path, folder: Path) -> list[str]:
    """Return the command that begins a run."""
    return ["fit", "vae", str(source), *SETTINGS, "--out", str(folder)]


def play(
    words: list[str], during: Callable[[subprocess.Popen[str]], None] | None = None, **how: object
) -> tuple[int, str]:
    """Run `python -m genlearn`, do something to it, and return its exit code and what it wrote to stderr."""
    started: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-m", "genlearn", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **how
    )  # type: ignore[call-overload]
    with started:
        try:
            if during:
                during(started)
            said = started.communicate(timeout=PATIENCE)[1]
            return started.returncode, said
        finally:
            started.kill()


def when_it_learns(
    folder: Path, act: Callable[[subprocess.Popen[str]], object]
) -> Callable[[subprocess.Popen[str]], None]:
    """Return what waits for the first rows of history, and then acts."""

    def during(started: subprocess.Popen[str]) -> None:
        end = time.monotonic() + PATIENCE
        while not (folder / "history.jsonl").exists() or (folder / "history.jsonl").stat().st_size < 300:
            if started.poll() is not None or time.monotonic() > end:
                return
            time.sleep(0.005)
        act(started)

    return during


def _signal(number: int, run: subprocess.Popen[str]) -> None:
    run.send_signal(number)


# -- what befalls it -----------------------------------------------------------------------------------------------------
def signals(source: Path, home: Path) -> Iterator[Incident]:
    """Ctrl-C and SIGTERM, once and twice."""
    for name, number, code in (("Ctrl-C", signal.SIGINT, 130), ("SIGTERM", signal.SIGTERM, 143)):
        folder = home / name
        found = play(begin(source, folder), when_it_learns(folder, functools.partial(_signal, number)))
        yield Incident(name, (code,), *found, folder)

    def twice(run: subprocess.Popen[str]) -> None:
        run.send_signal(signal.SIGINT)
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)

    folder = home / "twice"  # long steps, so that the second comes before the first is heeded
    words = [*begin(source, folder), "--accumulate", "1000", "--steps", "5000"]

    def during(run: subprocess.Popen[str]) -> None:
        while run.poll() is None and not (folder / "history.jsonl").exists():
            time.sleep(0.01)
        time.sleep(1.0)
        twice(run)

    code, said = play(words, during)
    shutil.rmtree(folder)  # it would take hours: only how it ended is of interest
    yield Incident("second Ctrl-C", (130,), code, said, folder)


def folders(source: Path, home: Path, stopped: Path) -> Iterator[Incident]:
    """Folders that cannot be written, vanish, or lack what a run goes on from."""
    (home / "file").write_text("in the way")
    yield Incident("a file in place of --out", (2,), *play(begin(source, home / "file")), home / "elsewhere")

    folder = home / "vanishing"
    found = play(begin(source, folder), when_it_learns(folder, lambda run: shutil.rmtree(folder)))
    yield Incident("--out deleted during the run", (0,), *found, folder)

    folder = _copy(stopped, home / "half")
    found = play(["fit", "--resume", str(folder)], lambda run: shutil.rmtree(folder / "checkpoints"))
    yield Incident("checkpoints deleted while it starts", (0,), *found, folder)

    folder = _copy(stopped, home / "bare")
    shutil.rmtree(folder / "checkpoints")
    yield Incident("--resume without checkpoints", (0,), *play(["fit", "--resume", str(folder)]), folder)

    folder = _copy(stopped, home / "ruined")
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    found = play(["fit", "--resume", str(folder)])
    shutil.rmtree(folder / "checkpoints")
    yield Incident("all checkpoints damaged", (2,), *found, folder)
    yield Incident("--resume of nothing", (2,), *play(["fit", "--resume", str(home / "none")]), home / "begun")


def disks(source: Path, home: Path, stopped: Path) -> Iterator[Incident]:
    """Disks that are full, fill up, or take nothing; real ones where this user may mount them."""
    folder = home / "limited"
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))}
    yield Incident("files may not grow", (1,), *play(begin(source, folder), None, **limit), folder)
    if not may_mount():
        return
    full = home / "full"
    full.mkdir()
    for name, left in (("disk full", 0), ("disk fills up", 24)):
        folder = _copy(stopped, home / name.replace(" ", "-"))
        before = (
            f"mount -t tmpfs -o size=2m none {full} && cp -r {folder}/. {full} && dd if=/dev/zero of={full}/ballast bs=1k count="
            f"$(( $(df -k --output=avail {full} | tail -1) - {left} )) 2>/dev/null"
        )
        found = _in_own_mounts(before, ["fit", "--resume", str(full)], f"rm {full}/ballast; cp -r {full}/. {folder}")
        yield Incident(name, (1, 2), *found, folder)
    folder = _copy(stopped, home / "read-only")
    before = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    yield Incident("read-only folder", (2,), *_in_own_mounts(before, ["fit", "--resume", str(folder)], ""), folder)


def may_mount() -> bool:
    """Return whether this user may mount file systems of its own."""
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


def _in_own_mounts(before: str, words: list[str], after: str) -> tuple[int, str]:
    """Run the command where only it and its children see what is mounted; return its exit code and stderr."""
    script = f'{before} || exit 99; "$@"; code=$?; {after or ":"}; exit $code'
    run = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "genlearn", *words]
    done = subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr


def _copy(stopped: Path, folder: Path) -> Path:
    return Path(shutil.copytree(stopped, folder))


# -- figures -------------------------------------------------------------------------------------------------------------
def checks(source: Path, home: Path) -> list[Check]:
    """Play all incidents, let every run go on, and compare what it leaves."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sit(begin(source, home / "straight"), home / "straight")
    expected = without_last_step(home / "straight")
    found = list(signals(source, home))
    stopped = _copy(next(i.folder for i in found if i.name == "SIGTERM"), home / "stopped")
    found += [*folders(source, home, stopped), *disks(source, home, stopped)]
    wrong = [said for incident in found if (said := incident.wrong())]
    different = []
    for incident in found:
        words = ["fit", "--resume", str(incident.folder)]
        last = sit(words if incident.folder.exists() else begin(source, incident.folder), incident.folder)
        if last.codes != (0,) or (other := differing(expected, without_last_step(incident.folder))):
            different.append(f"{incident.name}: {last.said[0][-300:] if any(last.codes) else other}")
    names = ", ".join(f"{incident.name} {incident.code}" for incident in found)
    return [
        Check(
            f"incidents of the real command: {names}",
            "one line, a documented exit, no traceback",
            f"{len(found) - len(wrong)} of {len(found)}" + (f"; first: {wrong[0]}" if wrong else ""),
            not wrong,
        ),
        Check(
            "the run after each of them",
            "goes on and ends bit-identical",
            f"{len(found) - len(different)} of {len(found)}" + (f"; first: {different[0]}" if different else ""),
            not different,
        ),
    ]


def without_last_step(folder: Path) -> dict[str, object]:
    """Return the outcome without what only forked processes note down."""
    return {k: v for k, v in outcome(folder).items() if not k.startswith("last step")}
