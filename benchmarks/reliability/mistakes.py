"""Seeded mistakes: a generator takes correct commands and makes the slips that people make; the answer must name the right word."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .malformed.cases import Answer, Case, Place

COUNT = 60
# A correct command, and the words in it that may be misspelt; everything else of the command stays.
COMMANDS = (
    ("fit gmm good.csv --components 2", ("fit", "gmm", "good.csv", "--components")),
    (
        "fit vae good.csv --steps 2 --latent 3 --target churn",
        ("fit", "vae", "--steps", "--latent", "--target", "churn"),
    ),
    (
        "fit gan good.csv --batch 32 --schedule cosine --budget 5m",
        ("gan", "--batch", "--schedule", "cosine", "--budget"),
    ),
    ("fit kde good.csv --bandwidth silverman --scale standard", ("kde", "--bandwidth", "--scale", "standard")),
    ("fit marginals good.csv --types age=real --bins 20", ("marginals", "--types", "age", "real", "--bins")),
    ("sample <gmm> -n 5 --given churn=yes --seed 3", ("sample", "<gmm>", "--given", "churn", "--seed")),
    ("sample <gmm> --given height=0.5 --number 5", ("height", "--number")),
    ("score <vae> good.csv --samples 5", ("score", "<vae>", "good.csv", "--samples")),
    ("score <gmm> --split valid", ("--split", "valid")),
    ("impute <gmm> good.csv --mask height --how mean", ("impute", "--mask", "height", "--how", "mean")),
    ("encode <vae> good.csv", ("encode", "<vae>")),
    ("interpolate <vae> 0 1 --path spherical --steps 5", ("interpolate", "--path", "spherical", "--steps")),
    ("compare good.csv --models gmm,kde --seeds 1", ("compare", "good.csv", "--models", "gmm", "kde", "--seeds")),
    ("evaluate <gmm> --seed 3", ("evaluate", "--seed")),
    ("datasets --quiet", ("datasets", "--quiet")),
)
# Slips that no misspelling makes: the words, and what the answer must hold.
OTHER = (
    ("fit good.csv gmm", "genlearn fit gmm"),
    ("fit good.csv", "genlearn fit MODEL"),
    ("fit vae good.csv --budget 5min", "5m"),
    ("fit vae good.csv --budget '2 hours'", "1h30m"),
    ("fit vae good.csv --steps 1,000", "whole number"),
    ("fit vae good.csv --hidden 64;32", "list of whole numbers"),
    ("fit gmm good.csv --latent 3", "gmm has no flag --latent"),
    ("fit gmm good.csv --target yes", "churn"),
    ("fit gmm good.csv --types age:real", "age=real"),
    ("fit gmm good.csv --size 32", "--size is for images"),
    ("sample <gmm> --given age>50", "age=50:"),
    ("sample <gmm> --given age=40-60", "40:60"),
    ("sample <gmm> --given age=60:40", "smaller end first"),
    ("sample <gmm> --given churn", "name=value"),
    ("sample <gmm> --given churn=maybe", "no, yes"),
    ("sample good.csv", "genlearn fit"),
    ("sample <gmm> --out out.png", ".csv"),
    ("sample <pictures> --out out.csv", ".png"),
    ("score <gmm> --samples 5", "Leave it out"),
    ("interpolate <vae> 0 999999", "Choose one of 0 to"),
)


@dataclass(frozen=True)
class Mistake(Case):
    """A slip in a command.

    Arguments:
        right: What the message must hold; a word that was misspelt stands in quotes there.
    """

    right: str = ""


def mistakes(seed: int = 0, count: int = COUNT) -> list[Mistake]:
    """Return `count` different mistakes: misspelt words of every kind, and other slips."""
    rng = random.Random(seed)
    found = {words: _mistake(words, right) for words, right in OTHER}
    places = [(command, word) for command, words in COMMANDS for word in words]
    rng.shuffle(places)
    for command, word in places * 9:
        if len(found) == count:
            break
        wrong = misspelt(word, rng)
        words = shlex.split(command)
        at = next(i for i, w in enumerate(words) if word in _pieces(w))
        words[at] = words[at].replace(word, wrong, 1)
        found.setdefault(shlex.join(words), _mistake(shlex.join(words), f'"{word.strip("<>")}"'))
    return list(found.values())


def misspelt(word: str, rng: random.Random) -> str:
    """Return a word with two letters swapped, one left out, doubled, replaced, or in capitals; flags keep their dashes."""
    dashes = word[: len(word) - len(word.lstrip("-"))]
    bare = word.strip("-<>")
    i = rng.randrange(1, len(bare))
    slips: list[Callable[[], str]] = [
        lambda: bare[: i - 1] + bare[i] + bare[i - 1] + bare[i + 1 :],
        lambda: bare[:i] + bare[i + 1 :],
        lambda: bare[:i] + bare[i] + bare[i:],
        lambda: bare[:i] + rng.choice("aeiourstn") + bare[i + 1 :],
        lambda: bare.upper() if not dashes else bare + "s",
    ]
    while (wrong := rng.choice(slips)()) == bare or wrong in ("vea", ""):
        continue
    return f"<{wrong}>" if word.startswith("<") else dashes + wrong


def misses(mistake: Mistake, given: Answer) -> bool:
    """Return whether the answer lacks the right word."""
    return mistake.right not in given.err


def _pieces(word: str) -> list[str]:
    return [word, *word.replace("=", ",").split(",")]


def _mistake(words: str, right: str) -> Mistake:
    def make(place: Place) -> Sequence[str]:
        assert place.table == "good.csv"
        split = shlex.split(words)
        return [str(place.runs / word.strip("<>")) if word.startswith("<") else word for word in split]

    return Mistake(f"slip: {words}", make, (), right)
