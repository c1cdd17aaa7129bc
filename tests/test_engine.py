"""The training loop: every promise of the engine's settings, against closed forms and plain loops."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genlearn.engine import Batch, Neural, Stage, Turn, seconds_of
from genlearn.errors import Problem, RunFailed
from genlearn.events import Event
from genlearn.layout import Code
from genlearn.models import GAN, VAE
from genlearn.report.pictures import Pictures
from genlearn.training import budget, feed, optimizers
from genlearn.training.stopping import Best, Target

X = np.random.default_rng(0).normal(size=(64, 3))


class Toy(Neural):
    """A linear layer whose output is pulled to the first column: the smallest model that learns."""

    batch: int = 16
    steps: int | None = 20
    lr: float = 0.1
    optimizer: str = "sgd"  # type: ignore[assignment]
    betas: tuple[float, ...] = (0.0, 0.9)
    schedule: str = "constant"  # type: ignore[assignment]
    precision: str = "fp32"  # type: ignore[assignment]
    random_state: int | None = 0

    def build(self) -> nn.Module:
        return nn.Linear(self.layout_.size, 1)

    def turns(self, net: nn.Module) -> list[Turn]:
        self.seen: list[Batch] = []
        return [Turn("pull", net, lambda batch: self.loss(net, batch))]

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen.append(batch)
        loss = self.error(net, batch.x)
        return loss, {"error": loss, "place": torch.tensor(float(batch.step))}

    @staticmethod
    def error(net: nn.Module, x: Tensor) -> Tensor:
        return (net(x.float())[:, 0] - x[:, 0].float()).square().mean()

    def _sample(self, n: int, rng: torch.Generator, given: Any) -> Code:
        return Code(torch.randn(n, self.layout_.size, generator=rng))


def weights(model: Neural) -> dict[str, Tensor]:
    return model.net_.state_dict()


def same(a: Neural, b: Neural) -> bool:
    return all(torch.equal(u, v) for u, v in zip(weights(a).values(), weights(b).values(), strict=True))


def plain_loop(model: Toy, optimizer: Callable[..., torch.optim.Optimizer], start: nn.Module) -> nn.Module:
    """Train again by the batches that the model saw, the way PyTorch's tutorials do."""
    own = optimizer(start.parameters())
    for batch in model.seen:
        own.zero_grad()
        Toy.error(start, batch.x).backward()
        own.step()
    return start


def untrained(model: Toy) -> nn.Module:
    """Return the net that the seed gives before the first step."""
    with torch.random.fork_rng():
        torch.manual_seed(model.seed_)
        return model.build()


# -- optimizers, schedules, averages -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, reference",
    [
        ("adamw", lambda p: torch.optim.AdamW(p, 0.1, (0.8, 0.9), weight_decay=0.01)),
        ("adam", lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.9), weight_decay=0.01)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, 0.1, alpha=0.9, weight_decay=0.01)),
        ("sgd", lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, weight_decay=0.01)),
    ],
)
def test_optimizers_do_what_a_plain_loop_does(name, reference):
    model = Toy(optimizer=name, betas=(0.8, 0.9), weight_decay=0.01).fit(X)
    expected = plain_loop(model, reference, untrained(model))
    for ours, theirs in zip(model.net_.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # fused and plain kernels round differently


class Woven(Toy):
    """Its gradients come transposed, expanded, or in the order of a convolution: not in the order of the weights' memory."""

    def build(self) -> nn.Module:
        wide, conv = nn.Linear(self.layout_.size, 8), nn.Conv2d(8, 8, 3, padding=1)
        return nn.ModuleDict({"wide": wide, "conv": conv, "sum": nn.Linear(8, 8)})

    @staticmethod
    def error(net: Any, x: Tensor) -> Tensor:
        h = torch.einsum("nd,hd->nh", x.float(), net["wide"].weight)
        image = net["conv"](h[:, :, None, None].expand(-1, -1, 3, 3))
        return (image.mean((1, 2, 3)) - x[:, 0].float()).square().mean() + net["sum"].weight.sum() ** 2


@pytest.mark.parametrize("name, reference", [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_fused_optimizers_meet_gradients_in_the_order_of_the_weights(name, reference):
    model = Woven(optimizer=name, betas=(0.9, 0.999), lr=0.01, steps=30).fit(X)
    seen = [batch.x for batch in model.seen]
    expected = untrained(model)
    own = reference(expected.parameters(), 0.01, (0.9, 0.999), weight_decay=0.0, foreach=False)
    for x in seen:
        own.zero_grad()
        Woven.error(expected, x).backward()
        own.step()
    for ours, theirs in zip(model.net_.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)  # Adam's first steps amplify roundings


class Fading(Toy):
    """Its gradients are 0 after the first step: moments halve for ever."""

    def build(self) -> nn.Module:
        return nn.ParameterList([torch.ones(3)])

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return float(batch.step == 0) * next(net.parameters()).sum(), {}


@pytest.mark.parametrize("name", ["adamw", "adam", "rmsprop", "sgd"])
def test_moments_end_at_zero_before_they_are_denormal(name, monkeypatch):
    """2^-100 is swept away; without sweeps the halves would reach 2^-149, the last number before 0, and stay there."""
    moments: dict[int, list[Tensor]] = {}

    def sweep(optimizer: torch.optim.Optimizer) -> None:
        optimizers.sweep(optimizer)
        slots = next(iter(optimizer.state.values())).values()
        moments[len(moments)] = [v.clone() for v in slots if isinstance(v, Tensor) and v.dim()]

    monkeypatch.setattr("genlearn.training.loop.sweep", sweep)
    Fading(optimizer=name, betas=(0.5, 0.5), schedule="constant", steps=220).fit(X)
    assert len(moments) == 2
    assert moments[0], "there are moments"
    for moment in [*moments[0], *moments[1]]:
        assert bool((moment == 0).all() | (moment.abs() >= optimizers.NOTHING).all())
    assert all((moment == 0).all() for moment in moments[1])


class Slide(Toy):
    """Its loss is the weight itself: every step of plain gradient descent moves by the step size."""

    def build(self) -> nn.Module:
        return nn.ParameterList([torch.zeros(())])

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return next(net.parameters()).clone(), {}

    @property
    def place(self) -> float:
        return float(next(self.net_.parameters()).detach())


@pytest.mark.parametrize(
    "schedule, factor",
    [
        ("constant", lambda t, n: 1.0),
        ("linear", lambda t, n: 1 - t / n),
        ("cosine", lambda t, n: min(1.0, (t + 1) / (n // 50)) * 0.5 * (1 + math.cos(math.pi * t / n))),
    ],
)
def test_schedules(schedule, factor):
    model = Slide(schedule=schedule, steps=200).fit(X)
    assert model.place == pytest.approx(-0.1 * sum(factor(t, 200) for t in range(200)), rel=1e-4)


def test_moving_average_follows_its_recursion():
    model = Slide(ema=0.9, steps=30).fit(X)
    place = average = 0.0
    for t in range(30):
        place -= 0.1
        decay = min(0.9, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * place
    assert model.place == pytest.approx(average, rel=1e-5)


def test_clipping_bounds_the_step():
    model = Slide(clip=0.25, steps=8).fit(X)  # the gradient is 1
    assert model.place == pytest.approx(-0.1 * 0.25 * 8, rel=1e-4)


def test_accumulation_equals_a_larger_batch():
    parts, whole = Toy(batch=8, accumulate=4).fit(X), Toy(batch=32).fit(X)
    assert len(parts.seen) == 4 * len(whole.seen)
    for a, b in zip(weights(parts).values(), weights(whole).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # sums in another order


def test_accumulation_keeps_the_cache_of_each_part():
    x = np.random.default_rng(1).normal(size=(64, 2))
    # The generator reuses the critic's fakes: a cache shared by the parts would go backward twice through one graph.
    model = GAN(hidden=(8,), steps=3, batch=8, accumulate=3, random_state=0).fit(x)
    assert model.steps_ == 3
    assert all(bool(torch.isfinite(p).all()) for p in model.net_.parameters())


def test_mixed_precision_learns():
    model = Toy(precision="bf16", steps=60).fit(X)
    assert Toy.error(model.net_, torch.as_tensor(model.seen[0].x)) < 0.05


# -- turns and stages --------------------------------------------------------------------------------------------------
class Game(Toy):
    """Two players: the first moves 1, 2, 1, 2, ... times a step, the second once."""

    def build(self) -> nn.Module:
        return nn.ModuleDict({"one": nn.Linear(3, 1), "two": nn.Linear(3, 1), "idle": nn.Linear(3, 1)})

    def turns(self, net: Any) -> list[Turn]:
        self.moves: list[tuple[str, Batch]] = []
        self.counted = 0

        def move(who: str, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            self.moves.append((who, batch))
            batch.cache.setdefault("made by", (who, batch.step, len(self.moves)))
            return self.error(net["one"], batch.x) + self.error(net["two"], batch.x), {}

        def after() -> None:
            self.counted += 1

        first = Turn("one", [net["one"], net["one"]], lambda b: move("one", b), repeat=lambda step: 1 + step % 2)
        return [first, Turn("two", net["two"], lambda b: move("two", b), after=after)]


def test_turns_move_in_order_each_on_the_next_batch():
    model = Game(steps=4, batch=8).fit(X)
    assert [who for who, _ in model.moves] == ["one", "two", "one", "one", "two"] * 2
    assert model.counted == 4
    rows = [tuple(batch.x[:, 0].tolist()) for _, batch in model.moves[:8]]
    assert len(set(itertools.chain(*rows))) == 64, "8 moves of 8 rows are one epoch: every record once"
    made = [batch.cache["made by"] for _, batch in model.moves[:5]]
    assert made == [("one", 0, 1), ("one", 0, 1), ("one", 1, 3), ("one", 1, 4), ("one", 1, 4)], (
        "turns of a step share their cache, a repeat begins a new one"
    )


def test_a_turn_changes_its_own_parameters_only():
    model = Game(steps=3).fit(X)
    before, after = untrained(model), model.net_
    assert not torch.equal(before["one"].weight, after["one"].weight)
    assert torch.equal(before["idle"].weight, after["idle"].weight)
    own = plain_loop(model_with(model, "one"), lambda p: torch.optim.SGD(p, 0.1), before["one"])
    torch.testing.assert_close(own.weight, after["one"].weight, rtol=1e-5, atol=1e-6)


def model_with(model: Game, who: str) -> Game:
    model.seen = [batch for name, batch in model.moves if name == who]
    return model


class Staged(Toy):
    """A warm-up over a quarter of the steps that moves the bias only, then the whole net."""

    def stages(self, net: Any) -> list[Stage]:
        self.progress: list[tuple[str, float]] = []

        def turn(name: str, params: Any) -> Turn:
            def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
                self.progress.append((name, batch.progress))
                return self.error(net, batch.x), {}

            return Turn(name, params, loss)

        class Bias(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.bias = net.bias

        return [Stage("warm-up", [turn("bias", Bias())], 1.0), Stage("main", [turn("all", net)], 3.0)]


def test_stages_share_the_steps():
    events: list[Event] = []
    model = Staged(steps=8).fit(X, watch=[events.append])
    assert model.progress == [("bias", 0.0), ("bias", 0.5), *(("all", i / 6) for i in range(6))]
    assert [e.stage for e in events if not e.done] == ["warm-up"] * 2 + ["main"] * 6


def test_a_turn_without_gradients_is_named():
    class Deaf(Toy):
        def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            return batch.x.mean().float(), {}

    with pytest.raises(TypeError, match='turn "pull" does not depend on what the turn trains'):
        Deaf().fit(X)


def test_parameters_that_a_turn_does_not_use_stay():
    class Half(Toy):
        def build(self) -> nn.Module:
            return nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])

        def loss(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            return self.error(net[0], batch.x), {}

    model = Half(optimizer="adamw", weight_decay=0.1).fit(X)
    assert torch.equal(untrained(model)[1].weight, model.net_[1].weight)


def test_turns_need_different_names():
    class Twins(Toy):
        def turns(self, net: nn.Module) -> list[Turn]:
            return super().turns(net) * 2

    with pytest.raises(TypeError, match="different names"):
        Twins().fit(X)


# -- validation: best weights, patience, targets -----------------------------------------------------------------------
class Judged(Slide):
    """Validates by a script; its weight tells the step: -0.1 a step."""

    def _validation(self, net: nn.Module, batch: Batch) -> tuple[str, float] | None:
        return self.called, self.script(batch.step)

    def judged_by(self, script: Callable[[int], float], name: str = "nats") -> Judged:
        self.script, self.called = script, name
        return self


def test_the_best_weights_are_kept():
    events: list[Event] = []
    model = Judged(steps=25).judged_by(lambda step: -abs(step - 10)).fit(X, valid=X, watch=[events.append])
    assert model.place == pytest.approx(-1.0)
    assert model.steps_ == 25
    assert events[-1].note == "best weights from step 10"
    assert events[-1].values["best"] == 0


def test_a_validation_that_is_not_finite_is_never_the_best():
    model = Judged(steps=25).judged_by(lambda step: math.nan if step > 5 else step).fit(X, valid=X)
    assert model.place == pytest.approx(-0.5)


def test_models_may_keep_the_last_weights():
    class Latest(Judged):
        keeps_best = False

    model = Latest(steps=25).judged_by(lambda step: -abs(step - 10)).fit(X, valid=X)
    assert model.place == pytest.approx(-2.5)


def test_patience_stops_early():
    events: list[Event] = []
    model = Judged(steps=25, patience=3).judged_by(lambda step: -abs(step - 10)).fit(X, valid=X, watch=[events.append])
    assert model.steps_ == 13
    assert model.place == pytest.approx(-1.0)
    assert events[-1].note == "stopped early: no better nats in 3 validations"


def test_early_stopping_waits_for_the_last_stage():
    class Phases(Judged):
        def stages(self, net: nn.Module) -> list[Stage]:
            return [Stage("first", self.turns(net)), Stage("second", self.turns(net))]

    model = Phases(steps=26, patience=2).judged_by(lambda step: -step).fit(X, valid=X)
    assert model.steps_ == 16, "13 steps of the first stage, the best validation, two that are worse"
    assert model.place == pytest.approx(-1.4)


@pytest.mark.parametrize(
    "name, until, script, stops",
    [
        ("nats", "nats=-3", lambda step: -10 + step, 7),
        ("-kid", "kid=0.5", lambda step: -5 / step if step else -9, 10),
        ("nats", " nats = 1e1 ", lambda step: step, 10),
    ],
)
def test_targets_stop_the_run(name, until, script, stops):
    events: list[Event] = []
    model = Judged(steps=25, until=until).judged_by(script, name).fit(X, valid=X, watch=[events.append])
    assert model.steps_ == stops
    assert events[-1].note.startswith(f"reached {name.lstrip('-')}")


@pytest.mark.parametrize("until", ["nats", "nats=", "=3", "nats=low", "nats>3", "nats=1.2.3", "-3"])
def test_targets_of_another_form_are_refused_at_once(until):
    with pytest.raises(Problem, match="Write a validation score and a number"):
        Judged(until=until).fit("a path that is never read")


def test_targets_that_nobody_validates_are_refused_before_training():
    model = Judged(until="kid=0.1").judged_by(lambda step: 0.0)
    with pytest.raises(Problem, match=r"Use nats=NUMBER"):
        model.fit(X, valid=X)
    assert not hasattr(model, "net_")
    for settings in ({"until": "nats=1"}, {"patience": 2}):
        with pytest.raises(Problem, match="needs validation records"):
            Judged(**settings).judged_by(lambda step: 0.0).fit(X)


def test_best_and_target():
    net = nn.Linear(1, 1)
    best = Best()
    best.offer(net, 1)
    assert (best.value, best.kept) == (None, 1)
    for step, value in ((2, -5.0), (3, -7.0), (4, math.nan), (5, -4.0), (6, -4.0)):
        best.offer(net, step, ("nats", value))
    assert (best.step, best.value, best.bad, best.kept) == (5, -4.0, 1, 5)
    best.offer(net, 7, ("nats", -9.0), latest=True)
    assert (best.step, best.kept, best.bad) == (5, 7, 2)
    assert Target("kid", 0.1).reached("-kid", -0.05)
    assert not Target("nats", -90).reached("nats", -91)


# -- the guard ---------------------------------------------------------------------------------------------------------
class Fragile(Slide):
    """Breaks at step 17: its loss, a term of it, or its gradient."""

    breaks: str = "loss"

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        weight = next(net.parameters())
        good, bad = weight.clone(), torch.tensor(math.nan if batch.step == 17 else 0.0)
        if self.breaks == "gradient":
            return good + (torch.sqrt(0 * weight) if batch.step == 17 else 0), {}  # 0 with an infinite slope
        return good + bad, {"kl": bad if self.breaks == "term" else good}


@pytest.mark.parametrize(
    "breaks, steps, named",
    [
        ("term", 1000, 'kl of turn "pull" became nan at step 17'),
        ("loss", 1000, 'pull of turn "pull" became nan at step 17'),
        ("gradient", 1000, 'pull of turn "pull" became nan at step 18'),
        ("gradient", 18, "the weight 0 became nan at step 18"),
    ],
)
def test_what_is_not_finite_is_named(breaks, steps, named, tmp_path):
    model = Fragile(breaks=breaks, steps=steps, lr=0.1)
    with pytest.raises(RunFailed) as failure:
        model.fit(X, out=tmp_path)
    message = str(failure.value)
    assert named in message
    assert "\n" not in message
    assert "Try --lr 3e-02 or --clip 1" in message
    assert math.isfinite(model.place) if failure.value.usable else not hasattr(model, "net_")
    assert not list(tmp_path.glob("checkpoints/*"))
    assert all(math.isfinite(v) for row in rows(tmp_path) for v in row.values() if isinstance(v, float))


def test_the_last_good_weights_are_kept():
    class Late(Fragile):
        def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            loss = next(net.parameters()).clone()
            return loss * (math.nan if batch.step == 88 else 1), {}

    model = Late(steps=100)
    with pytest.raises(RunFailed, match="at step 88; the weights of step 88 were kept") as failure:
        model.fit(X)
    assert failure.value.usable
    assert model.place == pytest.approx(-8.8, rel=1e-5)
    assert len(model.sample(3)) == 3


def test_a_failed_fit_gives_its_numerics_back():
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    with pytest.raises(RunFailed):
        Fragile(steps=100, precision="auto").fit(X)
    assert backend.fp32_precision == before


# -- history, events, watchers -----------------------------------------------------------------------------------------
def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_history_holds_means_over_the_steps_of_a_row(tmp_path):
    Toy(steps=200).fit(X, out=tmp_path)
    written = rows(tmp_path)
    assert [row["step"] for row in written] == list(range(2, 201, 2))
    assert [row["place"] for row in written] == [step - 1.5 for step in range(2, 201, 2)]
    assert set(written[0]) == {"step", "seconds", "stage", "error", "place", "pull"}


def test_history_of_validations_is_json_even_where_they_are_not_finite(tmp_path):
    Judged(steps=25).judged_by(lambda step: math.inf if step == 3 else step, "-kid").fit(X, valid=X, out=tmp_path)
    checks = {row["step"]: row.get("valid kid") for row in rows(tmp_path) if "stage" not in row}
    assert checks == {step: None if step == 3 else -step for step in range(1, 26)}


def test_events_count_up_and_end():
    events: list[Event] = []
    Toy(steps=30).fit(X, valid=X, watch=[events.append])
    steps = [e.step for e in events]
    assert steps == sorted(steps)
    assert [e.done for e in events] == [False] * (len(events) - 1) + [True]
    assert all(e.steps == 30 for e in events)
    assert set(events[-1].values) == {"error", "place", "pull"}


class Moody(Toy):
    """Layers with moods: dropout draws, batch normalisation remembers, spectral normalisation turns at every look."""

    def build(self) -> nn.Module:
        first = nn.utils.parametrizations.spectral_norm(nn.Linear(self.layout_.size, 8))
        return nn.Sequential(first, nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))

    def _sample(self, n: int, rng: torch.Generator, given: Any) -> Code:
        x = torch.randn(n, self.layout_.size, generator=rng)
        return Code(x + self.net_(x))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_watchers_that_draw_change_nothing(ema):
    def watch(event: Event) -> None:
        event.model.sample(5)
        event.model.net_(torch.randn(7, 3))
        torch.manual_seed(event.step)

    alone, watched = Moody(ema=ema).fit(X), Moody(ema=ema).fit(X, watch=[watch])
    assert same(alone, watched)


def test_pictures_change_nothing(tmp_path):
    from sklearn.datasets import load_digits

    x = load_digits().images[:128].astype(np.uint8)
    settings = {"hidden": (16,), "latent": 2, "steps": 25, "batch": 32, "random_state": 0}
    alone = VAE(**settings).fit(x, valid=x[:32])
    watched = VAE(**settings).fit(x, valid=x[:32], watch=[Pictures(tmp_path, every_seconds=0)])
    assert len(list(tmp_path.glob("samples-*.png"))) > 1
    assert len(list(tmp_path.glob("reconstructions-*.png"))) > 1
    assert same(alone, watched)


def test_the_random_numbers_of_the_program_around_a_fit_stay():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Moody().fit(X, watch=[lambda event: event.model.sample(2)])
    assert torch.equal(torch.rand(3), expected)


def test_a_fit_repeats_itself():
    assert same(Moody().fit(X), Moody().fit(X))
    assert not same(Moody().fit(X), Moody(random_state=1).fit(X))


def test_a_fit_in_a_thread():
    model = Toy()
    thread = threading.Thread(target=lambda: model.fit(X))
    thread.start()
    thread.join()
    assert same(model, Toy().fit(X))


# -- data --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 15])
def test_batches_larger_than_the_data(n):
    model = Toy(batch=1000, steps=3).fit(X[:n])
    assert [len(batch) for batch in model.seen] == [n] * 3


def test_every_epoch_is_another_shuffle_of_all_records():
    code = Code(torch.arange(10.0)[:, None], torch.arange(10))
    hand = feed.Feed(code, seed=3, size=5, device=torch.device("cpu"))
    epochs = [torch.cat([hand.next()[0][:, 0] for _ in range(2)]) for _ in range(3)]
    assert all(sorted(e.tolist()) == list(range(10)) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    again = feed.Feed(code, seed=3, size=5, device=torch.device("cpu"))
    again.position = 3
    x, y = again.next()
    assert torch.equal(x[:, 0], epochs[1][5:])
    assert torch.equal(x[:, 0], y.double().float())


def test_validation_rows_are_spread_over_sorted_data():
    code = Code(torch.arange(1000.0)[:, None], torch.arange(10).repeat_interleave(100))
    part = feed.spread_rows(code, 50)
    assert torch.bincount(part.y).tolist() == [5] * 10
    assert feed.spread_rows(code, 1000) is code


def test_fingerprints_tell_data_apart():
    x, y = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0])
    codes = [Code(x), Code(x, y), Code(x, 1 - y), Code(x.double()), Code(x.view(2, 3)), Code(x + 1e-6)]
    assert len({feed.fingerprint(c) for c in codes}) == len(codes)
    assert feed.fingerprint(Code(x, y)) == feed.fingerprint(Code(x.clone(), y.clone()))


# -- budgets -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, seconds", [("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5h", 1800), ("7", 7), (2.5, 2.5), (" 1M ", 60)]
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "0s", "5 m", "m", "nan", "inf", "1d", "5m!", -1])
def test_words_that_are_no_durations(text):
    with pytest.raises(Problem, match="Write 90s, 5m or 1h30m"):
        seconds_of(text)


def test_the_probe_takes_the_median(monkeypatch):
    costs = iter([9.0, 9.0, 9.0] + [1.0, 1.0, 50.0, 1.0] * 5)
    now = [0.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])

    def act() -> None:
        now[0] += next(costs)

    assert budget.seconds_each(act, most=1e9) == 1.0, "neither the warm-up nor a busy neighbour counts"
    assert next(costs, None) is None, "3 to warm up and 20 to measure"


def test_a_slow_probe_is_cut_short(monkeypatch):
    now, acts = [0.0], []
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])

    def act() -> None:
        acts.append(1)
        now[0] += 30.0 if len(acts) == 1 else 7.0

    assert budget.seconds_each(act, most=5.0) == 7.0
    assert len(acts) == 2


def test_a_budget_is_steps_and_nothing_else():
    timed = Toy(steps=None, budget=0.3).fit(X)
    assert timed.steps_ >= budget.FEWEST_STEPS
    assert same(timed, Toy(steps=timed.steps_).fit(X)), "the probe must not touch net, data order or seeds"


def test_a_tiny_budget_still_trains():
    assert Toy(steps=None, budget="0.0001s").fit(X).steps_ == budget.FEWEST_STEPS


def test_rates_are_those_of_the_docs():
    assert optimizers.rate("cosine", 0, 1) == 1.0
    assert optimizers.rate("linear", 999, 1000) == pytest.approx(0.001)


# -- settings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "setting, value",
    [
        ("steps", 0), ("batch", 0), ("lr", 0.0), ("lr", -1.0), ("betas", (0.9,)), ("betas", (0.9, 1.0)), ("clip", 0.0),
        ("weight_decay", -0.1), ("ema", 1.0), ("ema", -0.5), ("accumulate", 0), ("patience", 0), ("budget", "soon"),
        ("optimizer", "adagrad"), ("schedule", "steps"), ("precision", "fp16"), ("device", "gpu9"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_one_line(setting, value):
    with pytest.raises(Problem) as problem:
        VAE(**{"hidden": (8,), "steps": 1, setting: value}).fit(X)
    assert setting in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_fraction_may_be_a_whole_zero_and_a_count_may_not():
    model = VAE(warmup=0, beta=0, steps=2, hidden=(4,), latent=2, random_state=0).fit(X)
    assert model.steps_ == 2
    for setting in ({"draws": 0}, {"hidden": (4, 0)}):
        with pytest.raises(Problem, match="must be at least 1"):
            VAE(**setting).fit(X)
