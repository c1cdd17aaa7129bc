"""Settings: words become values, values are checked, refusals say what would do, documents come from docstrings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import pytest

from genlearn.engine import Neural
from genlearn.errors import Problem, did_you_mean
from genlearn.registry import model_class, model_names
from genlearn.settings import Setting, argument_docs, settings_of

NET = Literal["auto", "mlp", "conv"]


def setting(t: Any) -> Setting:
    return Setting("width", t, None, "")


@pytest.mark.parametrize(
    ("t", "word", "value"),
    [
        (int, "12", 12),
        (int, "-3", -3),
        (int, " 1_000 ", 1000),
        (float, "1e-3", 1e-3),
        (float, "-2", -2.0),
        (float, "inf", math.inf),
        (bool, "yes", True),
        (bool, "FALSE", False),
        (bool, "0", False),
        (str, "runs/a b", "runs/a b"),
        (NET, "conv", "conv"),
        (NET | None, "auto", "auto"),
        (NET | None, "none", None),
        (int | None, "none", None),
        (int | None, "auto", None),
        (int | None, "7", 7),
        (float | str | None, "90", 90.0),
        (str | float | None, "90", 90.0),
        (float | str | None, "5m", "5m"),
        (int | NET, "3", 3),
        (int | NET, "mlp", "mlp"),
        (Literal[1, 2], "2", 2),
        (int | float, "2", 2),
        (int | float, "2.5", 2.5),
        (tuple[int, ...], "256,128", (256, 128)),
        (tuple[int, ...], "256x128", (256, 128)),
        (tuple[int, ...], "(256, 128)", (256, 128)),
        (tuple[int, ...], "[64]", (64,)),
        (tuple[int, ...], "512", (512,)),
        (tuple[int, ...], "", ()),
        (tuple[int, ...] | None, "none", None),
        (tuple[float, ...], "0.5,-0.999", (0.5, -0.999)),
        (tuple[str, ...], "max, mix", ("max", "mix")),
    ],
)
def test_words_become_values(t: Any, word: str, value: Any) -> None:
    found = setting(t).parse(word, "vae")
    assert found == value
    assert type(found) is type(value)
    setting(t).check(found, "vae")


@pytest.mark.parametrize(
    ("t", "word", "says"),
    [
        (int, "2.5", "vae: width must be a whole number, not '2.5'."),
        (int, "none", "vae: width must be a whole number, not 'none'."),
        (float, "nan", "vae: width must be a number, not 'nan'."),
        (float, "wide", "vae: width must be a number, not 'wide'."),
        (bool, "maybe", "vae: width must be true or false, not 'maybe'."),
        (bool, "2", "vae: width must be true or false, not '2'."),
        (NET, "cnov", "vae: width must be one of auto, mlp, conv, not 'cnov'. Did you mean \"conv\"?"),
        (int | None, "many", "vae: width must be a whole number or none, not 'many'."),
        (tuple[int, ...], "64,x,0.5", "vae: width must be a list of whole numbers, not '64,x,0.5'."),
        (tuple[float, ...] | None, "1,nan", "vae: width must be a list of numbers or none, not '1,nan'."),
        (Literal[1, 2], "3", "vae: width must be one of 1, 2, not '3'."),
    ],
)
def test_words_that_do_not_fit_are_refused(t: Any, word: str, says: str) -> None:
    with pytest.raises(Problem) as problem:
        setting(t).parse(word, "vae")
    assert str(problem.value) == says


@pytest.mark.parametrize(
    ("t", "value", "fits"),
    [
        (int, np.int32(4), True),
        (int, True, False),
        (int, 4.0, False),
        (float, 4, True),
        (float, np.float32(0.5), True),
        (float, math.nan, False),
        (float, True, False),
        (float, "1", False),
        (bool, np.True_, True),
        (bool, 1, False),
        (Literal[1, 2], 1, True),
        (Literal[1, 2], True, False),
        (Literal[1, 2], 1.0, False),
        (NET, np.str_("conv"), True),
        (tuple[int, ...], [1, 2], True),
        (tuple[int, ...], (1, 2.5), False),
        (tuple[int, ...], 7, False),
        (str, 7, False),
        (int | None, None, True),
        (int, None, False),
    ],
)
def test_values_are_checked_by_their_type(t: Any, value: Any, fits: bool) -> None:
    if fits:
        setting(t).check(value, "vae")
        return
    with pytest.raises(Problem, match="width must be"):
        setting(t).check(value, "vae")


@pytest.mark.parametrize(
    ("t", "words", "choices"),
    [
        (int | None, "a whole number or none", ()),
        (NET | int, "one of auto, mlp, conv or a whole number", ("auto", "mlp", "conv")),
        (tuple[float, ...], "a list of numbers", ()),
        (float | str, "a number or text", ()),
        (dict, "dict", ()),
    ],
)
def test_types_in_words(t: Any, words: str, choices: tuple) -> None:
    assert (setting(t).describe(), setting(t).choices) == (words, choices)


@dataclasses.dataclass(kw_only=True)
class Base:
    """A base.

    Arguments:
        seed: Where it
            begins: at this number.
    """

    seed: int | None = None


@dataclasses.dataclass(kw_only=True)
class Derived(Base):
    """Something derived.

    Errors:
        None: of them.

    Arguments:
        net: `mlp` or
            `conv`.
        hidden: Sizes.

    Example:
        hidden: this is no argument
    """

    net: NET = "auto"
    hidden: tuple[int, ...] = (8,)
    kept: float = dataclasses.field(default=0.0, init=False)


def test_settings_come_from_the_class_and_its_docstrings() -> None:
    found = settings_of(Derived)
    assert list(found) == ["seed", "net", "hidden"]
    assert found["seed"] == Setting("seed", int | None, None, "Where it begins: at this number.")
    assert found["net"] == Setting("net", NET, "auto", "`mlp` or `conv`.")
    assert argument_docs(Derived.__doc__ or "")["hidden"] == "Sizes."
    assert argument_docs("") == {}


def test_rules_speak_of_settings() -> None:
    """A rule that names anything else would be refused with words that nobody can act on."""
    trained = [c for c in map(model_class, model_names()) if issubclass(c, Neural)]
    assert len(trained) >= 6
    for cls in trained:
        assert {setting for setting, _, _ in cls()._rules()} <= set(cls.settings())


def test_the_closest_word_is_offered_if_any_is_close() -> None:
    assert did_you_mean("gnm", ["gmm", "vae"]) == ' Did you mean "gmm"?'
    assert did_you_mean("zebra", ["gmm", "vae"]) == ""
