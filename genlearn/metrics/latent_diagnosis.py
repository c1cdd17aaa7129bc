"""What is wrong with a fitted model, and what to do about it: one line per trouble, none for a healthy model.

| name | trouble |
|---|---|
| collapse | no latent dimension follows the records |
| spare | most latent dimensions are unused |
| dear | the latent vector costs more nats than it brings |
| holes | the prior draws latent vectors that no record has |
| luck | the score rests on a few lucky importance samples |
| flat | images were given as rows of a table |
| range | numbers lie far outside of what the model's distributions reach |
| few | too few held-out records for any metric |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.records import Dataset, Records, as_records
from .base import Result
from .latent import active_units, kl, posterior_auc

JUDGED, SCORED = 500, 64  # held-out records of the latent metrics, and of the bounds
SPARE, MANY = 4, 8  # so many times more dimensions than are used, of at least so many
HOLES = 0.8  # AUC of prior against posterior: in healthy spaces it stays below
SPENT = 0.1  # nats of KL that are worth a word
DEAR = 0.25  # share of the KL that is lost
LUCKY = 0.5  # Monte Carlo error of a record's score, nats: near 1 a single draw decides
FEW = 100  # held-out records
FAR, WIDE = 25.0, 100.0  # standard deviations from the mean; standard deviation in code units
LEVELS, SIDE = 256, 8  # grey levels, and the smallest side of an image


@dataclass(frozen=True)
class Finding:
    """One trouble and its remedy.

    Arguments:
        name: A word for it, see the table of this module.
        problem: What is wrong, with the figure that says so.
        remedy: What to try.
    """

    name: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}."


def diagnose(model: Any, data: Any, *, metrics: Mapping[str, Result] | None = None, seed: int = 0) -> list[Finding]:
    """Return what is wrong with a fitted model; an empty list if nothing was found.

    Arguments:
        model: A fitted model.
        data: A data set, of which the test part is judged, or held-out records in the form of `fit`.
        metrics: What was measured already on the same records, by name.
        seed: Seed of draws.
    """
    held_out = data.test if isinstance(data, Dataset) else as_records(data)
    train = data.train if isinstance(data, Dataset) else held_out
    some = held_out.take(np.sort(np.random.default_rng(seed).permutation(len(held_out))[:JUDGED]))
    return [
        *_of_records(model, train, held_out),
        *_of_latents(model, some, metrics or {}, seed),
        *_of_bounds(model, some),
    ]


# -- latent space ------------------------------------------------------------------------------------------------------
def _of_latents(model: Any, some: Records, metrics: Mapping[str, Result], seed: int) -> Iterator[Finding]:
    from ..model import Encodes, Latent

    if not isinstance(model, Encodes) or len(some) < 2:
        return
    mean, std = model.posterior(some)
    used, size = int(active_units(mean).value or 0), mean.shape[1]
    spread = bool((std > 0).all())
    carried = f" (KL {kl(mean, std).value:.2g} nats)" if spread else ""
    if not used:
        yield Finding(
            "collapse",
            f"posterior collapse: none of {size} latent dimensions follows the records{carried}",
            _try(model, warmup="a longer {}", free_nats="{} of 0.1 or more", beta="a lower {}", latent="a smaller {}"),
        )
        return
    if SPARE * used < size and size >= MANY:
        yield Finding(
            "spare",
            f"only {used} of {size} latent dimensions are used{carried}",
            "A smaller one learns the same, faster; if reconstructions are coarse, "
            + _lower(_try(model, free_nats="{} of 0.1 or more", beta="a lower {}", warmup="a longer {}")),
        )
    if not spread and not isinstance(model, Latent):
        return
    auc = metrics.get("posterior_auc")
    if auc is None:
        prior = model.draw_latents(len(mean), random_state=seed) if isinstance(model, Latent) else None
        auc = posterior_auc(mean, std, prior=prior, seed=seed)
    if auc.value is not None and auc.value > HOLES and (auc.low is None or auc.low > HOLES - 0.05):
        yield Finding(
            "holes",
            f"the prior has holes: latent vectors of records are told from its draws (AUC {auc.value:.2f}), "
            "so samples are decoded from places that training never met",
            _try(model, prior="a learned {}", density="another {}", beta="a higher {}", latent="a smaller {}"),
        )


def _of_bounds(model: Any, some: Records) -> Iterator[Finding]:
    from ..model import Latent

    if not isinstance(model, Latent) or not len(some):
        return
    draws = int(getattr(model, "samples", 100))
    found = model.bounds(some.take(slice(0, SCORED)), draws=draws)
    lost = found.blind.value - found.elbo.value - 2 * (found.elbo.error + found.blind.error)
    if found.kl > SPENT and lost > DEAR * found.kl:
        gain = found.reconstruction.value - found.blind.value
        yield Finding(
            "dear",
            f"the KL outweighs what it buys: {found.kl:.1f} nats for reconstructions that are better by {gain:.1f}",
            _try(model, beta="a higher {}", free_nats="a lower {}", capacity="a lower {}", latent="a smaller {}"),
        )
    error = float(found.iw.errors.mean())
    if draws > 1 and error > LUCKY:
        yield Finding(
            "luck",
            f"the score rests on too few importance samples: with {draws}, a record's errs by {error:.1f} nats and more",
            _try(model, samples="a higher {}") + ", or bounds(ais=500), for a tighter one",
        )


def _try(model: Any, **settings: str) -> str:
    """Return the remedies whose settings the model has, with the present value of each."""
    known = type(model).settings() if hasattr(type(model), "settings") else {}
    words = []
    for name, words_of in settings.items():
        value = getattr(model, name) if name in known else None
        if name in known and (value or not words_of.startswith("a lower")):
            now = "none" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)
            words.append(f"{words_of.format('--' + name.replace('_', '-'))} (now {now})")
    if not words:
        return "Try another model"
    return "Try " + (words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


# -- records -----------------------------------------------------------------------------------------------------------
def _of_records(model: Any, train: Records, held_out: Records) -> Iterator[Finding]:
    if len(held_out) < FEW:
        yield Finding(
            "few",
            f"{len(held_out)} held-out records are too few to judge by: every metric has a wide interval",
            f"Give at least {FEW}, by more data or a larger --test",
        )
    if train.modality != "table":
        return
    if shape := _flattened(train):
        yield Finding(
            "flat",
            f"{train.x.shape[1]} columns of up to {LEVELS} shared levels look like images row by row",
            f"Give them as a uint8 array of shape (n, {', '.join(map(str, shape))}): neighbours and levels then count",
        )
        return
    yield from _out_of_range(model, train.take(slice(0, 5000)))


def _flattened(train: Records) -> tuple[int, ...] | None:
    """Return the shape of images that the columns of a table seem to be; None if they do not."""
    frame = train.take(slice(0, 500)).x
    frame = frame.drop(columns=[train.target]) if train.target in frame else frame
    width = frame.shape[1]
    shape = next(
        (
            (side, side) if channels == 1 else (side, side, channels)
            for channels in (1, 3)
            if (side := math.isqrt(width // channels)) >= SIDE and side * side * channels == width
        ),
        None,
    )
    if shape is None or not all(d.kind in "biuf" for d in frame.dtypes):
        return None
    values = np.unique(frame.to_numpy(np.float64))
    if not len(values) or len(values) > LEVELS or values[0] != 0 or not np.isfinite(values).all():
        return None
    steps = values * (1 if values[-1] > 1 else LEVELS - 1)
    return shape if np.allclose(steps, np.round(steps), atol=1e-3) and steps[-1] < LEVELS else None


def _out_of_range(model: Any, some: Records) -> Iterator[Finding]:
    """Yield the number column that lies farthest out, if it is too far for normal laws and nets."""
    code, worst = model.codec_.encode(some), None
    for field, columns in model.layout_.slices():
        if field.kind != "real" or field.size != 1:
            continue
        values = code.x[:, columns].double().numpy().ravel()
        values = values[np.isfinite(values)]
        if len(values) < 2 or not values.std():
            continue
        sd = float(values.std())
        away, wide = float(np.abs(values - values.mean()).max()) / sd, max(sd, 1 / sd)
        if away > FAR or wide > WIDE:
            size = max(away / FAR, wide / WIDE)
            what = (
                f"values up to {away:.0f} standard deviations from their mean"
                if away > FAR
                else f"a spread of {sd:.2g} code units"
            )
            worst = max(worst or (0.0, "", ""), (size, field.name, what))
    if worst:
        yield Finding(
            "range",
            f'the numbers of column "{worst[1]}" are out of range: {worst[2]}',
            "Try --scale quantile (in Python: a DataFrame, whose scale is chosen by column), or clean outliers",
        )
