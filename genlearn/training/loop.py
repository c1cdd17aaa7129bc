"""The only training loop. It knows no model: it plays turns in stages until the steps are used up, and can be stopped at any moment.

All randomness of a step is derived from (seed, step, turn), so a resumed run repeats the bytes of an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import ranks
from ..errors import Problem, RunFailed
from . import checkpoints
from .budget import seconds_each, seconds_of, steps_within
from .feed import Feed, Noise, spread_rows
from .history import History
from .identity import check_identity, identity_of
from .numerics import autocast, device_of, fast_products, own_randomness, placed, precision_for, released
from .optimizers import add_gradients, follow, optimizer_for, rate, sweep
from .state import State
from .stopping import Signals, Target, broken_weight, plain
from .turns import Batch, Turn, stage_ends

if TYPE_CHECKING:
    from ..engine import Neural
    from ..layout import Code

CHECKPOINT_SECONDS, SAVING_SHARE = (
    60.0,
    0.05,
)  # pause between checkpoints; longer where they would take more of the time
SWEEP = 100  # steps between sweeps of the optimizers' moments
LOGS, CHECKS = 100, 25  # rows of history and validations in a run
MOST_STEPS_LOGGED = 1000  # in one row
MOST_EPOCHS, FEW_STEPS = 200, 2000  # what a budget buys at most: more passes over few records teach them by heart
FEWEST_CHECKED, MOST_CHECKED = 256, 2048  # records that a validation looks at
VALUES_CHECKED = 2**21  # fewer of large records, so that a validation stays short beside the steps
VALUES_AT_ONCE = 2**19  # in one forward pass of a validation


def rows_checked(values: int) -> int:
    """Return how many records of so many values a validation looks at, at most.

    Example:
        >>> rows_checked(28 * 28), rows_checked(32 * 32 * 3), rows_checked(64 * 64 * 3)
        (2048, 682, 256)
    """
    return min(MOST_CHECKED, max(FEWEST_CHECKED, VALUES_CHECKED // max(1, values)))


class Trainer:
    """Plays the turns of one fit. Create it, then `run`."""

    def __init__(self, model: Neural, code: Code, valid: Code | None) -> None:
        for part in (code, valid):
            if part is not None and len(part) < ranks.world():
                raise Problem(f"{len(part)} records cannot be shared by {ranks.world()} processes. Start fewer.")
        self.model, self.where, self.code = model, device_of(model.device), code
        self.path, self.resume = model._run.out, model._run.resume
        self.identity: dict[str, Any] = {}
        self.valid = None if valid is None else spread_rows(valid, rows_checked(model.layout_.size))
        with own_randomness(self.where):
            torch.manual_seed(model.seed_)
            net = placed(model.build(), self.where)
        self.precision = precision_for(model.precision, net, self.where)
        average = copy.deepcopy(net).requires_grad_(False) if model.ema else None
        size = min(model.batch, len(code) // ranks.world()) * ranks.world()
        feed = Feed(code, model.seed_, size, self.where)
        self.state = State(net, average, feed, History(self.path))
        self.stages = model.stages(net)
        self.noise = Noise(model.seed_, self.where)
        self.signals, self.stopped = Signals(), False
        self.refused: OSError | None = None  # by the disk
        self.values: dict[str, float] = {}  # of the last row of history

    # -- the run -----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Train to the end, to an early stop or to an interruption; leave the model usable in each case."""
        with fast_products(self.model.precision), own_randomness(self.where), self.signals:
            self._begin()
            try:
                self._loop()
                self._end()
            except OSError as e:
                self._settle()
                raise failed(
                    f"{self.model.name()}: cannot write to {self.path} ({e.strerror or e}). "
                    "Free the disk or choose another --out.",
                    usable=True,
                ) from None
        if ranks.any_of(self.stopped or self.signals.received is not None)[0]:
            raise self.signals.stop(f"stopped after {self.state.step:,} of {self.state.steps:,} steps")

    def _loop(self) -> None:
        s = self.state
        ends = stage_ends(self.stages, s.steps)
        log_every = min(max(1, s.steps // LOGS), MOST_STEPS_LOGGED)
        check_every = max(1, s.steps // CHECKS)
        begun, saved, pause = time.monotonic() - s.seconds, time.monotonic(), CHECKPOINT_SECONDS
        while s.step < s.steps and not s.note and not self.stopped:
            # Enter the stage that this step belongs to.
            stage = next(i for i, end in enumerate(ends) if s.step < end)
            if stage != s.stage:
                self._enter(stage)
            start = ends[stage - 1] if stage else 0
            # Let every player move.
            self._play(self.stages[stage].turns, s.step - start, ends[stage] - start)
            s.step += 1
            if s.step % SWEEP == 0:
                for optimizer in s.optimizers.values():
                    sweep(optimizer)
            s.seconds = time.monotonic() - begun
            # Write the numbers down, unless one is not finite.
            if s.step % log_every == 0 or s.step == s.steps:
                self._log()
            # Validate, keep the best weights, see whether they are good enough.
            if s.step % check_every == 0 or s.step == s.steps:
                self._check()
            # Heed Ctrl-C, and make the run safe against a power cut: all processes at the same step.
            waited = self.path is not None and time.monotonic() - saved > pause
            flags = self.signals.received is not None, waited, self.refused is not None
            self.stopped, due, refused = ranks.any_of(*flags)
            if refused:
                return
            if due and not self.stopped:
                begun_saving = time.monotonic()
                self._save()
                saved = time.monotonic()
                pause = max(CHECKPOINT_SECONDS, (saved - begun_saving) / SAVING_SHARE)

    def _play(self, turns: list[Turn], step: int, steps: int) -> None:
        """Play one step of a stage, which has so many: every stage has a schedule of its own."""
        s, m = self.state, self.model
        lr, progress = m.lr * rate(m.schedule, step, steps), step / steps
        caches: list[dict[str, Any]] = [{} for _ in range(m.accumulate)]
        for number, turn in enumerate(turns):
            parameters, optimizer = self._parameters[turn.name], s.optimizers[turn.name]
            for repeat in range(turn.times(s.step)):
                # Accumulate gradients: of this player's parameters only, so that nobody else has to be frozen.
                for part in range(m.accumulate):
                    if repeat:
                        caches[part] = {}
                    rng = self.noise.at(s.step, number, repeat, part)
                    batch = Batch(*s.feed.next(), rng, progress, s.step, caches[part])
                    with autocast(self.precision, self.where):
                        loss, terms = self._losses[turn.name](batch)
                    s.history.add(s.step, turn.name, loss, terms)
                    if not loss.requires_grad:
                        raise TypeError(
                            f'{m.name()}: the loss of turn "{turn.name}" does not depend on what the turn trains'
                        )
                    add_gradients(parameters, loss if m.accumulate == 1 else loss / m.accumulate)
                # Average over processes, clip, update the weights.
                ranks.average_gradients(parameters)
                if m.clip is not None:
                    nn.utils.clip_grad_norm_(parameters, m.clip)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
                for p in parameters:
                    p.grad = None
                if turn.after is not None:
                    turn.after()
        # Let the moving average follow.
        ranks.average_buffers(s.net)
        if s.average is not None:
            follow(s.average, s.net, m.ema, s.step)

    def _enter(self, stage: int) -> None:
        m, turns = self.model, self.stages[stage].turns
        self._parameters = {t.name: t.parameters() for t in turns}
        if len(self._parameters) < len(turns) or not all(self._parameters.values()):
            raise TypeError(f"{m.name()}: turns of a stage need different names and parameters to train")
        self._losses = {t.name: torch.compile(t.loss) if m.compile else t.loss for t in turns}
        self.state.stage, self.state.optimizers = (
            stage,
            {
                name: optimizer_for(p, name=m.optimizer, lr=m.lr, betas=m.betas, weight_decay=m.weight_decay)
                for name, p in self._parameters.items()
            },
        )

    # -- numbers -----------------------------------------------------------------------------------------------------
    def _log(self) -> None:
        """Write a row of history, and tell the watchers, who may draw from the model."""
        self._guard()
        s = self.state
        self.values = s.history.means()
        stage = self.stages[s.stage].name
        with self._writing():
            s.history.write({"step": s.step, "seconds": round(s.seconds, 3), "stage": stage, **self.values})
        with self._at_rest():
            self._tell(stage=stage)

    def _check(self) -> None:
        """Validate, and keep the weights if they are the best so far; set the note that ends the run if that is enough."""
        self._guard(weights=True)
        s, m = self.state, self.model
        found, last = self._validate(), s.stage == len(self.stages) - 1
        s.best.offer(s.shown, s.step, found if last else None, latest=not m.keeps_best)
        if found is None:
            return
        name, value = plain(*found)
        with self._writing():
            s.history.write({"step": s.step, "seconds": round(s.seconds, 3), f"valid {name}": value})
        if last and m.patience is not None and s.best.bad >= m.patience:
            s.note = f"stopped early: no better {name} in {s.best.bad} validations"
        if last and m.until is not None and Target.parse(m.until).reached(*found):
            s.note = f"reached {name} {value:.4g}"

    def _validate(self) -> tuple[str, float] | None:
        """Return name and value of the validation score over the rows of all processes; None for models without one."""
        if self.valid is None:
            return None
        count, total, name = len(self.valid), 0.0, ""
        rng = torch.Generator(device=self.where).manual_seed(self.model.seed_)
        most = max(1, VALUES_AT_ONCE // max(1, self.model.layout_.size))
        passes = max(1, min(-(-count // most), count // ranks.world()))  # none leaves a process without rows
        with self._at_rest() as net, torch.no_grad():
            for rows in torch.arange(count).tensor_split(passes):
                part = self.valid[ranks.mine(rows)].to(self.where)
                batch = Batch(part.x, part.y, rng, 1.0, self.state.step, total=len(rows))
                found = self.model._validation(net, batch)
                if found is None:
                    return None
                name, total = found[0], total + found[1] * len(part)
        return name, float(ranks.mean(torch.tensor(total * ranks.world() / count, dtype=torch.float64)))

    @contextlib.contextmanager
    def _at_rest(self) -> Iterator[nn.Module]:
        """Lend the net as it would be used: in evaluation mode, and as the model's own net, on the CPU."""
        net = self.state.shown.eval()
        self.model.net_ = net if self.where.type == "cpu" else released(copy.deepcopy(net))
        yield net
        net.train()

    def _guard(self, *, weights: bool = False) -> None:
        """Stop the run if a term, or a weight, is not finite; the last good weights stay with the model."""
        s, m, found = self.state, self.model, self.state.history.broken()
        if found is None and weights and (name := broken_weight(s.net)) is not None:
            found = s.step, f"the weight {name}", math.nan
        if not ranks.any_of(found is not None)[0]:
            return
        step, what, value = found or (s.step, "a loss of another process", math.nan)
        self._settle(sound=False)
        kept = f"; the weights of step {s.best.kept:,} were kept" if s.best.kept else ""
        raise failed(
            f"{m.name()}: {what} became {value} at step {step:,}{kept}. "
            f"Try --lr {m.lr / 3:.0e} or --clip 1; outliers in the data also cause this.",
            usable=bool(kept),
        )

    def _tell(self, *, stage: str, note: str = "", done: bool = False) -> None:
        s = self.state
        values = {**self.values, **s.best.shown()}
        self.model._tell(s.step, s.steps, s.seconds, stage=stage, note=note, done=done, **values)

    # -- beginning and end -------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        """Go on from the newest good checkpoint, or plan a new run."""
        s, m, found, note = self.state, self.model, None, ""
        if self.path is not None:
            self.identity = identity_of(m.get_params(deep=False), m.seed_, self.code)
            try:
                with self._writing():
                    found, note = self._go_on(self.path)
                self._agree()
            except OSError as e:
                raise Problem(f"cannot write to {self.path} ({e.strerror or e}). Choose another --out.") from None
        if found is None:
            s.steps = self._plan()
            s.best.offer(s.shown, 0)
        if not s.finished:
            self._check_goal()
        if note:
            self._tell(stage="resume", note=note)

    def _go_on(self, path: Path) -> tuple[checkpoints.Checkpoint | None, str]:
        """Go back to the newest good checkpoint if one is wanted, else sweep up after an earlier run; return it, and a note."""
        s, folder = self.state, path / checkpoints.FOLDER
        found = checkpoints.newest(folder) if self.resume else None
        step = -1 if found is None else found.step
        if ranks.any_of(ranks.share(step) != step)[0]:
            raise Problem(
                f"the processes of this run find different checkpoints in {path}. Give an --out that all machines share."
            )
        if found is None:
            s.history.begin([])
            if ranks.is_first():
                checkpoints.clear(folder)
            return None, f"nothing to go on with in {path}: begun anew" if self.resume else ""
        check_identity(path, found.numbers, self.identity)
        s.unpack(found, self._enter)
        self.values = s.history.last()
        return found, "; ".join([*found.notes, "finished before" if s.finished else f"resumed at step {s.step:,}"])

    def _check_goal(self) -> None:
        """Find out before training whether `until` and `patience` have a validation score to wait for."""
        m = self.model
        if m.until is None and m.patience is None:
            return
        asked = "until" if m.until is not None else "patience"
        found = self._validate()
        if found is None:
            raise Problem(
                f"{m.name()}: {asked} needs validation records to score. Give fit(valid=...), or leave it out."
            )
        name = plain(*found)[0]
        if m.until is not None and Target.parse(m.until).name != name:
            raise Problem(f'until "{m.until}" cannot be checked: {m.name()} validates by {name}. Use {name}=NUMBER.')

    def _plan(self) -> int:
        """Return the number of steps: as asked for, as many as fit into the budget, or by the number of records."""
        m, feed = self.model, self.state.feed
        if m.steps is not None:
            return m.steps
        if m.budget is None:
            return min(20_000, max(1_000, 30 * feed.per_epoch))
        # Time a throw-away copy: a step of each stage, and a validation. Seeds, data order and weights of the run stay as they are.
        begun, budget, each = time.monotonic(), seconds_of(m.budget), 0.0
        probe = Trainer(m, feed.code, self.valid)
        probe.state.steps = 10**9
        for number, stage in enumerate(probe.stages):
            probe._enter(number)
            share = stage.share / sum(other.share for other in probe.stages)
            each += share * seconds_each(lambda s=stage: probe._play(s.turns, 0, 10**9), 0.1 * budget)  # type: ignore[misc]
        checks = CHECKS * seconds_each(probe._validate, 0.05 * budget, times=1)
        self.stages = m.stages(
            self.state.net
        )  # what a model may keep of its own net when it is asked for turns is its own again
        most = max(MOST_EPOCHS * feed.per_epoch, FEW_STEPS)
        return int(ranks.share(min(most, steps_within(budget, each, time.monotonic() - begun + checks))))

    def _save(self) -> None:
        """Write a checkpoint, but never one with broken numbers."""
        self._guard(weights=True)
        numbers, tensors = self.state.pack()
        if self.path is not None and ranks.is_first():
            with self._writing():
                checkpoints.write(self.path / checkpoints.FOLDER, self.state.step, self.identity | numbers, tensors)

    def _end(self) -> None:
        s, m = self.state, self.model
        over = s.finished or s.step >= s.steps or bool(s.note)
        if over and not s.note and m.keeps_best and s.best.value is not None and s.best.step < s.step:
            s.note = f"best weights from step {s.best.step:,}"
        self._settle()
        if not over:
            self._save()
        elif self.path is not None and ranks.is_first() and not s.finished:
            numbers, tensors = s.pack_end(m.net_)
            folder = self.path / checkpoints.FOLDER
            with self._writing():
                checkpoints.write(folder, s.step, self.identity | numbers, tensors, keep=1)
        self._agree()
        self._tell(stage="train", done=True, note="nothing was left to train" if s.finished else s.note)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Remember what the disk refuses: only the first process writes, and the others must hear of it before all stop."""
        try:
            yield
        except OSError as e:
            self.refused = e

    def _agree(self) -> None:
        """Raise in all processes what the disk refused to the first."""
        if ranks.any_of(self.refused is not None)[0]:
            raise self.refused or OSError("it was refused to the first process")

    def _settle(self, *, sound: bool = True) -> None:
        """Leave the model with the best weights, or with the last ones if none are better; unsound ones are not left."""
        s, m = self.state, self.model
        net = copy.deepcopy(s.shown)
        if s.best.weights and (not sound or (m.keeps_best and s.best.value is not None)):
            net.load_state_dict(s.best.weights)
        m.net_ = released(net)
        m.steps_, m.seconds_ = s.step, round(s.seconds, 3)
        m.parameters_ = sum(p.numel() for p in net.parameters())


def failed(message: str, *, usable: bool) -> RunFailed:
    """Return the error of a run that came to grief; `usable` if the model holds good weights nevertheless."""
    error = RunFailed(message)
    error.usable = usable
    return error
