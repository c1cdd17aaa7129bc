r"""The only training loop. It knows no model: it plays turns in stages until the steps are used up, and can be stopped at any moment.

A model says what is to be done in `turns(net)`: a VAE has one turn, a GAN two (critic, generator), a VAE-GAN three. The loop owns
device, precision, optimizers, clipping, accumulation, schedules, moving averages, early stopping, the NaN guard, history,
checkpoints and exact resume. All randomness of a step is derived from (seed, step, turn), so a resumed run repeats the bytes of
an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from . import checkpoints, ranks, store
from .errors import Interrupted, Problem, RunFailed
from .layout import Code
from .model import Model

CHECKPOINT_SECONDS = 60.0
PROBE_STEPS = 20
VALIDATION_ROWS = 2048
LARGE = 4 * 2**30


@dataclass
class Batch:
    """One batch, and all that a loss may depend on besides the net.

    Arguments:
        x: `(n, d)` rows of the code.
        y: `(n,)` labels, or None.
        rng: Generator of this turn's noise, on the device of `x`.
        progress: Share of the stage that is done, 0 to 1 (for warm-ups).
        step: Steps done in the whole run.
        cache: Shared by the turns of one step, for forwards that several of them need.
    """

    x: Tensor
    y: Tensor | None
    rng: torch.Generator
    progress: float
    step: int
    cache: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def randn(self, *shape: int) -> Tensor:
        """Return standard normal noise `(n, *shape)`: drawn for the global batch, this process's rows of it."""
        size = (len(self) * ranks.world(), *shape)
        return ranks.mine(torch.randn(size, generator=self.rng, device=self.x.device))

    def rand(self, *shape: int) -> Tensor:
        """Return uniform (0, 1) noise `(n, *shape)`, like `randn`."""
        size = (len(self) * ranks.world(), *shape)
        return ranks.mine(torch.rand(size, generator=self.rng, device=self.x.device))


Terms = dict[str, Tensor]
Loss = Callable[[Batch], tuple[Tensor, Terms]]


@dataclass
class Turn:
    """One player's move.

    Arguments:
        name: Who moves ("critic").
        params: The module (or modules) that this turn changes; all others are held fixed.
        loss: Maps a batch to the loss to be minimised, a mean over records, and terms worth showing.
        repeat: How often the move is made in one step, each on the next batch; an int or a function of the step.
        after: Called after every update, for example to clip weights.
    """

    name: str
    params: nn.Module | list[nn.Module]
    loss: Loss
    repeat: int | Callable[[int], int] = 1
    after: Callable[[], None] | None = None

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that this turn changes."""
        modules = [self.params] if isinstance(self.params, nn.Module) else self.params
        return [p for m in modules for p in m.parameters() if p.requires_grad]

    def times(self, step: int) -> int:
        """Return how often this turn moves in a step."""
        return self.repeat(step) if callable(self.repeat) else self.repeat


@dataclass
class Stage:
    """A phase of training with its own turns and optimizers; `share` is its part of all steps."""

    name: str
    turns: list[Turn]
    share: float = 1.0


def seconds_of(budget: str | float) -> float:
    """Return a duration in seconds: a number, or text such as "90s", "5m", "1h30m".

    Errors:
        Problem: If the text is no duration.

    Example:
        >>> seconds_of("5m"), seconds_of("1h30m"), seconds_of(20)
        (300.0, 5400.0, 20.0)
    """
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    text = str(budget).strip().lower()
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)) and value > 0:
            return value
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(a + b for a, b in parts) != text or not sum(float(a) for a, _ in parts):
        raise Problem(f'budget "{budget}" is no duration. Write 90s, 5m or 1h30m.')
    return sum(float(a) * units[b] for a, b in parts)


class Neural(Model):
    """A model that is trained by gradient steps: write `build` and `turns`, the engine does the rest.

    Arguments:
        steps: Training steps; None chooses from the number of records, or from `budget`.
        budget: Time for training, in seconds or as "5m"; a short probe turns it into steps.
        batch: Records per step (and process).
        optimizer: `adamw` (fused), `adam`, `rmsprop` or `sgd`.
        lr: Step size.
        betas: Decay of the optimizer's first and second moments.
        weight_decay: Decoupled weight decay.
        clip: Largest norm of a turn's gradient; none for no clipping.
        ema: Decay of the moving average of the weights that is kept for use; 0 keeps the weights themselves.
        schedule: Step size over the run: `constant`, `cosine` (to 0, after a warm-up over 2 % of the steps) or `linear`.
        accumulate: Batches per update.
        precision: `auto` (fp32 with fast matrix products), `fp32` or `bf16` (autocast).
        device: `auto`, `cpu`, `cuda`, ...
        patience: Stop after so many validations without an improvement; none trains all steps and keeps the best weights.
        until: Stop once a validation value is reached, such as `nats=-90` or `kid=0.05`.
        compile: Compile the losses with `torch.compile` (10-20 s once; helps long runs of small nets).
    """

    steps: int | None = None
    budget: float | str | None = None
    batch: int = 128
    optimizer: Literal["adamw", "adam", "rmsprop", "sgd"] = "adamw"
    lr: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float | None = None
    ema: float = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    accumulate: int = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    patience: int | None = None
    until: str | None = None
    compile: bool = False

    needs_gradients: ClassVar[bool] = True

    # -- hooks -------------------------------------------------------------------------------------------------------
    def build(self) -> nn.Module:
        """Return the net for `self.layout_`."""
        raise TypeError(f"{type(self).__name__} must define build")

    def turns(self, net: nn.Module) -> list[Turn]:
        """Return the players' moves of one step."""
        raise TypeError(f"{type(self).__name__} must define turns")

    def stages(self, net: nn.Module) -> list[Stage]:
        """Return the phases of training; one by default."""
        return [Stage("train", self.turns(net))]

    def _validation(self, net: nn.Module, batch: Batch) -> tuple[str, float] | None:
        """Return name and value of a validation score, higher is better; None for models without one."""
        return None

    # -- what the base calls -----------------------------------------------------------------------------------------
    @final
    def _fit(self, code: Code, valid: Code | None) -> None:
        Trainer(self, code, valid).run()

    @property
    def net(self) -> nn.Module:
        """The trained net, for inference."""
        return self.net_

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = super()._state()
        return tensors, values

    def _set_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        weights = {k.removeprefix("net_."): v for k, v in tensors.items() if k.startswith("net_.")}
        super()._set_state({k: v for k, v in tensors.items() if not k.startswith("net_.")}, values)
        with torch.random.fork_rng():
            net = self.build()
        try:
            net.load_state_dict(weights)
        except RuntimeError as e:
            raise Problem(
                f"the weights do not fit the settings ({str(e).splitlines()[0]}). Restore the model folder."
            ) from None
        self.net_ = net.eval()


class Trainer:
    """Plays the turns of one fit. Create it, then `run`."""

    def __init__(self, model: Neural, code: Code, valid: Code | None) -> None:
        self.model, self.where = model, _device(model.device)
        self.out: Path | None = model._run.out
        self.world = ranks.world()
        self.data = code.to(self.where) if code.x.numel() * code.x.element_size() < LARGE else code
        self.valid = None if valid is None else valid[:VALIDATION_ROWS].to(self.where)
        with torch.random.fork_rng():
            torch.manual_seed(model.seed_)
            self.net = model.build().to(self.where)
        if self.where.type == "cuda":
            self.net = self.net.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.net).requires_grad_(False) if model.ema else None
        self.stages = model.stages(self.net)
        self.batch = max(1, min(model.batch, len(code) // self.world))
        self.step, self.position, self.seconds = 0, 0, 0.0
        self.best: tuple[int, float, dict[str, Tensor]] | None = None
        self.history: list[dict[str, Any]] = []
        self.note = ""
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._rng = torch.Generator(device=self.where)
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._stopped: int | None = None
        self._stage = -1
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._bad = 0

    # -- the run -----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Train to the end, to an early stop or to an interruption; leave the model usable in each case."""
        model = self.model
        with _numerics(model.precision), self._signals():
            resumed = self._resume()
            if not resumed:
                self.steps = self._plan_steps()
            self.log_every = max(1, self.steps // 200)
            self.check_every = max(1, self.steps // 25)
            self._publish(self.net)
            self._loop()
            self._finish()
        if self._stopped is not None:
            error = Interrupted(f"stopped after {self.step} of {self.steps} steps")
            error.signum = self._stopped  # type: ignore[attr-defined]
            raise error

    def _loop(self) -> None:
        begun, last_saved = time.monotonic() - self.seconds, time.monotonic()
        bounds = self._stage_bounds()
        while self.step < self.steps and not self.note and self._stopped is None:
            # Enter the stage that this step belongs to.
            stage = next(i for i, end in enumerate(bounds) if self.step < end)
            if stage != self._stage:
                self._enter(stage)
            start = bounds[stage - 1] if stage else 0
            progress = (self.step - start) / max(1, bounds[stage] - start)
            # Let every player move.
            self._play(self.stages[stage].turns, progress)
            self.step += 1
            self.seconds = time.monotonic() - begun
            # Look at the numbers, validate, remember the best weights.
            if self.step % self.log_every == 0 or self.step == self.steps:
                self._log(self.stages[stage].name)
            if self.step % self.check_every == 0 or self.step == self.steps:
                self._validate()
            # Make the run safe against a power cut.
            if self.out and ranks.share(time.monotonic() - last_saved) > CHECKPOINT_SECONDS:
                self._checkpoint()
                last_saved = time.monotonic()

    def _play(self, turns: list[Turn], progress: float) -> None:
        cache: dict[str, Any] = {}
        for number, turn in enumerate(turns):
            parameters = self._turn_parameters[turn.name]
            optimizer = self._optimizers[turn.name]
            for repeat in range(turn.times(self.step)):
                if repeat:
                    cache = {}
                # Accumulate gradients.
                for part in range(self.model.accumulate):
                    batch = self._next_batch((number, repeat, part), progress, cache)
                    with self._autocast():
                        loss, terms = self._losses[turn.name](batch)
                    grads = torch.autograd.grad(loss / self.model.accumulate, parameters, allow_unused=True)
                    for p, g in zip(parameters, grads, strict=True):
                        if g is not None:
                            p.grad = g if p.grad is None else p.grad + g
                # Average over processes, clip, update weights.
                ranks.average_gradients(parameters)
                if self.model.clip is not None:
                    nn.utils.clip_grad_norm_(parameters, self.model.clip)
                for group in optimizer.param_groups:
                    group["lr"] = self.model.lr * self._schedule()
                optimizer.step()
                for p in parameters:
                    p.grad = None
                if turn.after is not None:
                    turn.after()
                self._note_terms(turn.name, loss, terms)
        ranks.average_buffers(self.net)
        # Update the moving average.
        if self.average is not None:
            decay = min(self.model.ema, (1 + self.step) / (10 + self.step))
            now_weights = [p.detach() for p in self.net.parameters()]
            torch._foreach_lerp_(list(self.average.parameters()), now_weights, 1 - decay)
            for mean, now in zip(self.average.buffers(), self.net.buffers(), strict=True):
                mean.copy_(now)

    # -- pieces ------------------------------------------------------------------------------------------------------
    def _enter(self, stage: int) -> None:
        self._stage = stage
        turns = self.stages[stage].turns
        self._turn_parameters = {t.name: t.parameters() for t in turns}
        self._optimizers = {t.name: self._new_optimizer(self._turn_parameters[t.name]) for t in turns}
        self._losses = {t.name: torch.compile(t.loss) if self.model.compile else t.loss for t in turns}

    def _new_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        m = self.model
        beta1, beta2 = m.betas
        if m.optimizer == "adamw":
            return torch.optim.AdamW(parameters, m.lr, (beta1, beta2), weight_decay=m.weight_decay, fused=True)
        if m.optimizer == "adam":
            return torch.optim.Adam(parameters, m.lr, (beta1, beta2), weight_decay=m.weight_decay, fused=True)
        if m.optimizer == "rmsprop":
            return torch.optim.RMSprop(parameters, m.lr, alpha=beta2, weight_decay=m.weight_decay, foreach=True)
        return torch.optim.SGD(parameters, m.lr, momentum=beta1, weight_decay=m.weight_decay, foreach=True)

    def _schedule(self) -> float:
        done = self.step / self.steps
        if self.model.schedule == "constant":
            return 1.0
        if self.model.schedule == "linear":
            return 1.0 - done
        warm = min(1.0, (self.step + 1) / max(1, self.steps // 50))
        return warm * 0.5 * (1 + math.cos(math.pi * done))

    def _next_batch(self, move: tuple[int, int, int], progress: float, cache: dict[str, Any]) -> Batch:
        size = self.batch * self.world
        per_epoch = max(1, len(self.data) // size)
        epoch, place = divmod(self.position, per_epoch)
        if epoch != self._order[0]:
            order = torch.Generator().manual_seed(_mix(self.model.seed_, epoch, 7))
            self._order = (epoch, torch.randperm(len(self.data), generator=order).to(self.data.x.device))
        rows = ranks.mine(self._order[1][place * size : (place + 1) * size])
        self.position += 1
        x = self.data.x.index_select(0, rows)
        y = None if self.data.y is None else self.data.y.index_select(0, rows).to(self.where)
        self._rng.manual_seed(_mix(self.model.seed_, self.step, *move))
        return Batch(x.to(self.where, non_blocking=True), y, self._rng, progress, self.step, cache)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.model.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.where.type, dtype=torch.bfloat16)

    def _stage_bounds(self) -> list[int]:
        total = sum(s.share for s in self.stages)
        ends = [round(self.steps * sum(s.share for s in self.stages[: i + 1]) / total) for i in range(len(self.stages))]
        return [*ends[:-1], self.steps]

    def _plan_steps(self) -> int:
        m = self.model
        if m.steps is not None:
            if m.steps < 1:
                raise Problem(f"{m.name()}: steps must be at least 1, not {m.steps}.")
            return m.steps
        per_epoch = max(1, len(self.data) // (self.batch * self.world))
        if m.budget is None:
            return int(min(20_000, max(1_000, 30 * per_epoch)))
        # A probe on a throw-away copy: what one step costs, and one validation.
        budget, probe = seconds_of(m.budget), Trainer(m, self.data, self.valid)
        probe.steps, probe._stopped = 10**9, None
        probe._enter(0)
        for _ in range(3):
            probe._play(probe.stages[0].turns, 0.0)
        begun = time.monotonic()
        for _ in range(PROBE_STEPS):
            probe._play(probe.stages[0].turns, 0.0)
            probe.step += 1
            if time.monotonic() - begun > budget / 5:
                break
        each = (time.monotonic() - begun) / max(1, probe.step)
        begun = time.monotonic()
        probe._score_validation()
        left = budget - 25 * (time.monotonic() - begun)
        return int(ranks.share(max(20, left / each)))

    # -- numbers -----------------------------------------------------------------------------------------------------
    def _note_terms(self, turn: str, loss: Tensor, terms: Terms) -> None:
        for name, value in {turn if turn not in terms else f"{turn} loss": loss, **terms}.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value.detach(), count + 1)

    def _log(self, stage: str) -> None:
        values = {k: float(total) / count for k, (total, count) in self._sums.items()}
        self._sums = {}
        broken = [k for k, v in values.items() if not math.isfinite(v)]
        if ranks.agree(float(bool(broken))):
            name = broken[0] if broken else "a loss of another process"
            if self.best is not None:
                self._publish_state(self.best[2])
            raise RunFailed(
                f"{self.model.name()}: {name} became {values.get(name, math.nan)} before step {self.step}. "
                f"Try --lr {self.model.lr / 3:.0e} or --clip 1; outliers in the data also cause this."
            )
        row = {"step": self.step, "seconds": round(self.seconds, 3), "stage": stage, **values}
        self.history.append(row)
        if self.out and ranks.is_first():
            self.out.mkdir(parents=True, exist_ok=True)
            with (self.out / "history.jsonl").open("a") as f:
                f.write(json.dumps(row) + "\n")
        if ranks.is_first():
            self._publish(self.average or self.net)
            shown = {**values, **({"best": self.best[1]} if self.best else {})}
            self.model._tell(self.step, self.steps, self.seconds, stage=stage, **shown)

    def _score_validation(self) -> tuple[str, float] | None:
        if self.valid is None:
            return None
        net = self.average or self.net
        net.eval()
        rng = torch.Generator(device=self.where).manual_seed(self.model.seed_)
        with torch.no_grad(), self._autocast():
            found = self.model._validation(net, Batch(self.valid.x, self.valid.y, rng, 1.0, self.step))
        net.train()
        return found

    def _validate(self) -> None:
        found = self._score_validation()
        if found is None:
            return
        name, value = found
        value = -ranks.agree(-value)
        self.history.append({"step": self.step, "seconds": round(self.seconds, 3), f"valid {name}": value})
        if self.out and ranks.is_first():
            with (self.out / "history.jsonl").open("a") as f:
                f.write(json.dumps(self.history[-1]) + "\n")
        if math.isfinite(value) and (self.best is None or value > self.best[1]):
            weights = {k: v.detach().clone() for k, v in (self.average or self.net).state_dict().items()}
            self.best, self._bad = (self.step, value, weights), 0
        else:
            self._bad += 1
        if self.model.patience is not None and self._bad >= self.model.patience:
            self.note = f"stopped early: no better {name} in {self._bad} validations"
        if self.model.until is not None:
            self._check_until(name, value)

    def _check_until(self, name: str, value: float) -> None:
        asked, _, bar = str(self.model.until).partition("=")
        # Validation scores are "higher is better": a distance such as KID arrives negated.
        reached = {name: value, name.removeprefix("-"): -value if name.startswith("-") else value}
        if asked.strip() not in reached or not bar:
            raise Problem(
                f"until={self.model.until!r} cannot be checked: {self.model.name()} validates by {name}=VALUE."
            )
        score = reached[asked.strip()]
        if score <= float(bar) if name.startswith("-") else score >= float(bar):
            self.note = f"reached {asked.strip()} {score:.4g}"

    # -- ends --------------------------------------------------------------------------------------------------------
    def _finish(self) -> None:
        if self.best is not None:
            self._publish_state(self.best[2])
        else:
            self._publish(self.average or self.net)
        m = self.model
        m.net_ = copy.deepcopy(m.net_).to("cpu").eval()
        m.steps_, m.seconds_ = self.step, round(self.seconds, 3)
        m.parameters_ = sum(p.numel() for p in self.net.parameters())
        if self.out and self._stopped is not None:
            self._checkpoint()
        elif self.out and ranks.is_first():
            checkpoints.clear(self.out / "checkpoints")
        if self.best is not None and self._stopped is None and self.best[0] < self.step and not self.note:
            self.note = f"best weights from step {self.best[0]:,}"
        if ranks.is_first():
            last = (
                {k: v for k, v in self.history[-1].items() if isinstance(v, float) and k != "seconds"}
                if self.history
                else {}
            )
            m._tell(self.step, self.steps, self.seconds, done=True, note=self.note, **last)

    def _publish(self, net: nn.Module) -> None:
        self.model.net_ = net

    def _publish_state(self, weights: dict[str, Tensor]) -> None:
        net = copy.deepcopy(self.net)
        net.load_state_dict(weights)
        self.model.net_ = net

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a stop at the next step; a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(signum: int, frame: FrameType | None) -> None:
            if self._stopped is not None:
                raise KeyboardInterrupt
            self._stopped = signum

        old = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for s, handler in old.items():
                signal.signal(s, handler)

    # -- checkpoints -------------------------------------------------------------------------------------------------
    def _checkpoint(self) -> None:
        if not self.out or not ranks.is_first():
            return
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        if self.best is not None:
            tensors |= {f"best.{k}": v for k, v in self.best[2].items()}
        for name, optimizer in self._optimizers.items():
            for i, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{name}.{i}.{k}": torch.as_tensor(v) for k, v in slots.items() if v is not None}
        for name, (total, _) in self._sums.items():
            tensors[f"sum.{name}"] = torch.as_tensor(total)
        state = {
            "settings": store.to_jsonable({k: v for k, v in self.model.get_params().items() if k != "random_state"}),
            "seed": self.model.seed_, "steps": self.steps, "position": self.position, "seconds": self.seconds,
            "stage": self._stage, "best": self.best[:2] if self.best else None, "bad": self._bad, "history": self.history,
            "counts": {k: n for k, (_, n) in self._sums.items()}, "world": self.world, "records": len(self.data),
        }  # fmt: skip
        try:
            checkpoints.write(self.out / "checkpoints", self.step, state, tensors)
        except OSError as e:
            raise RunFailed(
                f"cannot write a checkpoint to {self.out} ({e.strerror}). Free the disk or choose another --out."
            ) from None

    def _resume(self) -> bool:
        if not (self.out and self.model._run.resume):
            if self.out and ranks.is_first():
                checkpoints.clear(self.out / "checkpoints")
                (self.out / "history.jsonl").unlink(missing_ok=True)
            return False
        found = checkpoints.newest(self.out / "checkpoints")
        if found is None:
            return False
        step, state, tensors, notes = found
        self._check_same_run(state)
        self.model.seed_ = state["seed"]
        self.step, self.steps, self.position = step, state["steps"], state["position"]
        self.seconds, self._bad, self.history = state["seconds"], state["bad"], state["history"]

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.net.load_state_dict(part("net."))
        if self.average is not None:
            self.average.load_state_dict(part("average."))
        if state["best"]:
            weights = {k: v.to(self.where) for k, v in part("best.").items()}
            self.best = (state["best"][0], state["best"][1], weights)
        if state["stage"] >= 0:
            self._enter(state["stage"])
        for name, optimizer in self._optimizers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in part(f"optimizer.{name}.").items():
                i, slot = key.split(".")
                slots.setdefault(int(i), {})[slot] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        self._sums = {k: (tensors[f"sum.{k}"].to(self.where), n) for k, n in state["counts"].items()}
        self._rewrite_history()
        note = "; ".join([*notes, f"resumed at step {step:,}"])
        self.model._tell(step, self.steps, self.seconds, stage="resume", note=note)
        return True

    def _check_same_run(self, state: dict[str, Any]) -> None:
        free = {"random_state", "device", "budget", "steps"}
        now = store.to_jsonable(self.model.get_params())
        changed = [k for k, v in state["settings"].items() if k not in free and now.get(k) != v]
        if changed:
            raise Problem(
                f"{self.out} was trained with other settings ({', '.join(changed)}). Use the same, or a new --out."
            )
        if state["records"] != len(self.data):
            raise Problem(
                f"{self.out} was trained on {state['records']} records, these are {len(self.data)}. Give the same data."
            )

    def _rewrite_history(self) -> None:
        if self.out and ranks.is_first():
            lines = "".join(json.dumps(row) + "\n" for row in self.history)
            store.write_bytes(self.out / "history.jsonl", lines.encode())


def _mix(*numbers: int) -> int:
    """Return a 63-bit seed that depends on all numbers (splitmix64)."""
    state = 0
    for n in numbers:
        state = (state + n + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        raise Problem(f'device "{name}" is not available here ({str(e).splitlines()[0]}). Use --device cpu.') from None
    return device


@contextlib.contextmanager
def _numerics(precision: str) -> Iterator[None]:
    """Switch on fast fp32 matrix products (split bf16 on CPUs, TF32 on GPUs) for the length of a run, and restore what was set."""
    if precision == "fp32":
        yield
        return
    backend = torch.backends.mkldnn.matmul
    before, tf32 = backend.fp32_precision, torch.backends.cuda.matmul.allow_tf32
    backend.fp32_precision = "bf16"
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        backend.fp32_precision = before
        torch.backends.cuda.matmul.allow_tf32 = tf32
