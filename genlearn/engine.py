r"""Models that are trained by gradient steps: what they say (`Turn`, `Stage`, `Batch`) and what they inherit (`Neural`).

A model says what a step consists of in `turns(net)`: a VAE has one turn, a GAN two (critic, generator), a VAE-GAN three. The one
loop, in `training/loop.py`, knows no model and does the rest: device, precision, optimizers, clipping, accumulation, schedules,
moving averages, early stopping, the NaN guard, history, checkpoints and exact resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from .errors import Interrupted, Problem, RunFailed
from .layout import Code
from .model import Model, Run
from .training import checkpoints
from .training.budget import seconds_of
from .training.loop import Trainer
from .training.stopping import Target
from .training.turns import Batch, Loss, Stage, Terms, Turn

__all__ = ["Batch", "Loss", "Neural", "Stage", "Terms", "Turn", "seconds_of"]


class Neural(Model):
    """A model that is trained by gradient steps: write `build` and `turns`, the engine does the rest.

    Arguments:
        steps: Training steps; None chooses from the number of records, or from `budget`.
        budget: Most time for training, in seconds or as "5m"; a short probe turns it into steps, at most 200 passes over the
            records (or 2,000 steps, if that is more).
        batch: Records per step and process.
        optimizer: `adamw` (fused), `adam`, `rmsprop` (uses the second of `betas`) or `sgd` (uses the first, as momentum).
        lr: Step size.
        betas: Decay of the optimizer's first and second moments.
        weight_decay: Weight decay: decoupled for `adamw`, added to the gradient for the others.
        clip: Largest norm of a turn's gradient; none for no clipping.
        ema: Decay of the moving average of the weights that is kept for use; 0 keeps the weights themselves.
        schedule: Step size over each stage of the run: `constant`, `cosine` (to 0, after a warm-up over 2 % of the steps) or `linear`.
        accumulate: Batches per update.
        precision: `bf16` (autocast), `fp32`, or `auto`: bf16 for nets of 200,000 weights and more on machines that have it, else
            fp32 with fast matrix products.
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
    streams: ClassVar[bool] = True
    keeps_best: ClassVar[bool] = (
        True  # the weights of the best validation; else the last ones, and validation only stops early
    )

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

    def _look(self, code: Code) -> None:
        """Note what the net depends on besides the layout, before `build`; during a fit, `self._code` is the training set."""

    def _validation(self, net: nn.Module, batch: Batch) -> tuple[str, float] | None:
        """Return name and value of a validation score, higher is better; None for models without one.

        A distance is negated, and its name begins with a minus: `("-kid", -0.03)`.
        """
        return None

    def _finish(self, code: Code, valid: Code | None) -> None:
        """Learn from the trained `net_` what takes no gradient steps; also of a run that was stopped. It depends on the seed only."""

    # -- what the base calls -----------------------------------------------------------------------------------------
    @final
    def _fit(self, code: Code, valid: Code | None) -> None:
        self._code = code
        try:
            self._look(code)
            Trainer(self, code, valid).run()
            self._finish(code, valid)
        except (Interrupted, RunFailed) as error:
            if error.usable:
                self._finish(code, valid)
            raise
        finally:
            del self._code

    def _choose_seed(self, run: Run) -> int:
        """Return the seed of the run that is gone on with, if no other is asked for: the codec draws from it, too."""
        if run.out and run.resume and self.random_state is None:
            found = checkpoints.newest(run.out / checkpoints.FOLDER)
            if found is not None:
                return int(found.numbers["seed"])
        return super()._choose_seed(run)

    def _check_params(self) -> None:
        super()._check_params()
        for setting, holds, words in self._rules():
            if not holds:
                raise Problem(f"{self.name()}: {setting} must be {words}, not {getattr(self, setting)!r}.")
        if self.budget is not None:
            seconds_of(self.budget)
            if self.steps is not None:
                raise Problem(
                    f"{self.name()}: steps and budget must not be given both. Leave one out, or set it to none."
                )
        if self.until is not None:
            Target.parse(self.until)

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        """Yield settings, whether their value will do, and what would: models add their own."""
        yield "lr", self.lr > 0, "above 0"
        yield "betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers from 0 to below 1"
        yield "weight_decay", self.weight_decay >= 0, "0 or more"
        yield "clip", self.clip is None or self.clip > 0, "above 0"
        yield "ema", 0 <= self.ema < 1, "from 0 to below 1"
        yield from ((name, least >= 1, "at least 1") for name, least in self._whole_numbers())

    def _whole_numbers(self) -> Iterator[tuple[str, int]]:
        """Yield the settings that count something: steps, layers' sizes, samples; of lists, the smallest entry."""
        for name, setting in self.settings().items():
            value = getattr(self, name)
            entries = value if isinstance(value, tuple | list) else (value,)
            counts = setting.counts and name != "random_state" and not isinstance(value, str)
            if counts and entries and value is not None:
                yield name, min(entries)

    def _set_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        weights = {k.removeprefix("net_."): v for k, v in tensors.items() if k.startswith("net_.")}
        super()._set_state({k: v for k, v in tensors.items() if not k.startswith("net_.")}, values)
        with torch.random.fork_rng(devices=[]):
            self._check_weights(weights)
            net = self.build()
        net.load_state_dict(weights)
        self.net_: Any = net.eval()

    def _check_weights(self, weights: dict[str, Tensor]) -> None:
        """Raise `Problem` unless weights are those of the net. Settings may ask for any size: it is planned without memory."""
        with torch.device("meta"):
            planned = self.build().state_dict()
        for name in sorted(planned.keys() | weights.keys()):
            plan, found = ((tuple(w[name].shape), w[name].dtype) if name in w else None for w in (planned, weights))
            if plan != found:
                raise Problem(
                    f"the weights do not fit the settings ({name}: {found} in place of {plan}). Restore the model folder."
                )
            if not bool(torch.isfinite(weights[name]).all()):
                raise Problem(f"the weights {name} are not all finite. Restore the model folder.")
