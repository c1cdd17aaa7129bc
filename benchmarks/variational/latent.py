"""An autoencoder with a Gaussian mixture of codes beside the plain VAE, in equal time: KID on MNIST and on colour images of animals.

Both have as many latent dimensions, else their defaults. The autoencoder is fitted first; the VAE then gets all the time that it took,
mixture included. The house's yardstick judges both against the test part, in its two feature spaces; samples lie beside the results.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import genlearn
from genlearn.data.records import Dataset
from genlearn.engine import Neural
from genlearn.metrics import Yardstick
from genlearn.metrics.base import Result
from genlearn.metrics.yardstick import Judgement
from genlearn.models import VAE, Autoencoder
from genlearn.report.pictures import grid, pixels, save_picture

from .. import record
from ..checks import Check, Report

MINUTES = {"mnist": 6.0, "cifar_animals.zip": 10.0}
LATENT = {"mnist": 64, "cifar_animals.zip": 128, "digits": 16}
QUICK = {"steps": 1000}
STEPS_SHARE = 0.85  # of the autoencoder's time is for its steps, the rest for its mixture
HALF = 0.5
SHOWN, COLUMNS = 96, 16
SPACES = ("kid_a", "kid_b")


def fitted(model: Neural, data: Dataset) -> tuple[Any, dict[str, float]]:
    """Return the model and its clock."""
    begun = time.perf_counter()
    model.fit(data)
    return model, {"seconds": round(time.perf_counter() - begun, 1), "steps": model.steps_}


def judged(model: Any, yardstick: Yardstick, output: str) -> Judgement:
    """Judge as many records as there are real ones, drawn from p(x | z) or its means."""
    before = model.output
    fake = model.set_params(output=output).draw(yardstick.n, random_state=1)
    model.set_params(output=before)
    return yardstick.judge(fake)


def words(found: Result) -> str:
    """Return a value with its interval."""
    if found.value is None or found.low is None or found.high is None:
        return "not available"
    return f"{found.value:.3f} [{found.low:.3f} {found.high:.3f}]"


def compared(name: str, ours: Judgement, plain: Judgement) -> Iterator[Check]:
    """Yield the bars of one data set."""
    for space in SPACES:
        a, b = ours.metrics[space], plain.metrics[space]
        met = a.value is not None and b.value is not None and a.value <= HALF * b.value
        yield Check(
            f"{name}, {space.replace('_', ' ').upper()}",
            "at most half of the VAE's",
            f"{words(a)}, VAE {words(b)}",
            met,
        )
    assert ours.copies is not None
    shown = ours.copies.note or "not flagged"
    yield Check(f"{name}, copies of training records", "not flagged", shown, not ours.copies.flag)


def one(name: str, seconds: float | None) -> tuple[list[Check], dict[str, Any]]:
    """Fit both models to a data set, for so many seconds each (None: digits, a few steps), and judge them."""
    data = genlearn.read(record.data(name) if seconds else name)
    yardstick = Yardstick(data)
    settings: dict[str, Any] = {"latent": LATENT[name], "random_state": 0}
    length: dict[str, Any] = {"budget": STEPS_SHARE * seconds} if seconds else QUICK
    ours, clock = fitted(Autoencoder(**length, **settings), data)
    length = {"budget": clock["seconds"]} if seconds else QUICK
    plain, theirs = fitted(VAE(**length, **settings), data)
    judgements = {
        f"{model.name()}, {output}": judged(model, yardstick, output)
        for model in (ours, plain)
        for output in ("sample", "mean")
    } | {"real data": yardstick.real()}
    own, other = judgements[f"autoencoder, {ours.output}"], judgements[f"vae, {plain.output}"]
    if seconds:
        for model in (ours, plain):
            path = record.RESULTS / f"variational_latent_{name.split('.')[0]}_{model.name()}.png"
            save_picture(grid(pixels(model.draw(SHOWN, random_state=1)), columns=COLUMNS, scale=1), path)
    details = {
        "kid": {who: {s: found.metrics[s].to_json() for s in SPACES} for who, found in judgements.items()},
        "auc": {who: found.metrics["auc"].to_json() for who, found in judgements.items()},
        "clock": {"autoencoder": clock, "vae": theirs},
        "components": len(ours.weights_),
        "settings": {m.name(): {k: v for k, v in m.get_params().items() if k != "budget"} for m in (ours, plain)},
        "n": own.n,
    }
    return list(compared(name.split(".")[0], own, other)), details


def note(name: str, details: dict[str, Any]) -> str:
    """Return what a reader must know of one data set."""
    both = ", ".join(
        f"{who} {'; '.join(words(Result.from_json(kid[space])) for space in SPACES)}"
        for who, kid in details["kid"].items()
    )
    clock = ", ".join(f"{who} {c['seconds']:.0f} s, {c['steps']:,} steps" for who, c in details["clock"].items())
    return f"{name}: {clock}; {details['components']} components; KID A; KID B at n = {details['n']}: {both}."


def run(*, quick: bool = False) -> Report:
    """Compare on both data sets; `quick` takes digits and a few steps, and draws no pictures."""
    checks: list[Check] = []
    details: dict[str, Any] = {}
    for name in ("digits",) if quick else MINUTES:
        found, details[name] = one(name, None if quick else 60 * MINUTES[name])
        checks += found
    notes = [
        "64 latent dimensions on digits and 128 on animals, chosen on their validation parts, else defaults of both models. The "
        "autoencoder is fitted first, and the VAE gets all the time that it took. Both are judged by what `sample` gives by default; "
        "what the other choice of `output` gives stands below.",
        *(note(name, found) for name, found in details.items()),
        *([] if quick else ["Pictures: results/variational_latent_*.png, the first 96 draws of each model."]),
    ]
    return Report("Autoencoder with a mixture of codes beside the plain VAE", checks, notes, [0], details)
