"""Flags: groups that verbs share, and flags derived from a model's settings.

A verb is a plain function. A parameter whose type is one of the groups here stands for all flags of that group; `command`
spreads them out for typer and puts them together again at the call, so that a flag is written once.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from ..errors import Problem
from .candidates import choices
from .console import be_quiet, complain

if TYPE_CHECKING:
    from ..settings import Setting

shared_flag = partial(Option, rich_help_panel="Shared flags")
reading_flag = partial(Option, rich_help_panel="Reading data")
training_flag = partial(Option, rich_help_panel="Training")

Seed = Annotated[
    int | None, shared_flag("--seed", metavar="INT", help="Seed of all randomness; without one, a fresh one.")
]


@dataclass(kw_only=True)
class Shared:
    """Flags that every verb takes."""

    out: Annotated[str | None, shared_flag("--out", metavar="PATH", help="Where to write.")] = None
    as_json: Annotated[bool, shared_flag("--json", help="Print JSON on stdout.")] = False
    dry_run: Annotated[bool, shared_flag("--dry-run", help="Print the resolved options and the plan, then stop.")] = (
        False
    )
    quiet: Annotated[bool, shared_flag("--quiet", help="No progress and no notes.")] = False


@dataclass(kw_only=True)
class Reading:
    """How a source is read; what a run was fitted with is the default of every later verb."""

    modality: Annotated[str | None, reading_flag("--modality", metavar="table|image", help="What the records are.")] = (
        None
    )
    types: Annotated[str | None, reading_flag("--types", metavar="COL=KIND,...", help="Kinds of columns.")] = None
    label: Annotated[
        str | None,
        reading_flag("--label", metavar="LABEL", help="Label: a column, a folder level, or a pattern over file names."),
    ] = None
    target: Annotated[str | None, reading_flag("--target", metavar="COLUMN", help="Label column.")] = None
    valid: Annotated[str | None, reading_flag("--valid", metavar="FILE", help="Validation records.")] = None
    test: Annotated[str | None, reading_flag("--test", metavar="FILE", help="Test records.")] = None
    no_header: Annotated[bool, reading_flag("--no-header", help="The first row of a table is data.")] = False
    scale: Annotated[
        str | None, reading_flag("--scale", metavar="standard|minmax|quantile|none", help="Scaling of numbers.")
    ] = None
    drop_duplicates: Annotated[bool, reading_flag("--drop-duplicates", help="Keep one of equal records.")] = False
    size: Annotated[str | None, reading_flag("--size", metavar="N|HxW", help="Size that images are brought to.")] = None
    binarize: Annotated[
        str | None, reading_flag("--binarize", metavar="threshold|dynamic", help="Make images two-valued.")
    ] = None
    rows: Annotated[
        int | None, reading_flag("--rows", metavar="N", help="Learn from at most so many of the training records.")
    ] = None
    split_seed: Annotated[
        int | None, reading_flag("--split-seed", metavar="INT", help="Seed of the split into train, valid and test.")
    ] = None

    def options(self) -> dict[str, Any]:
        """Return what was asked for, as keywords of `genlearn.read`."""
        given: dict[str, Any] = {
            "modality": self.modality,
            "types": None if self.types is None else pairs(self.types, "--types"),
            "label": self.label,
            "target": self.target,
            "valid": self.valid,
            "test": self.test,
            "header": False if self.no_header else None,
            "scale": self.scale,
            "drop_duplicates": self.drop_duplicates or None,
            "size": None if self.size is None else _size(self.size),
            "binarize": self.binarize,
            "rows": self.rows,
            "seed": self.split_seed,
        }
        return {k: v for k, v in given.items() if v is not None}


@dataclass(kw_only=True)
class Training:
    """How long, where and until when a model learns."""

    steps: Annotated[int | None, training_flag("--steps", metavar="INT", help="Training steps.")] = None
    budget: Annotated[
        str | None, training_flag("--budget", metavar="5m", help="Training time; a probe turns it into steps.")
    ] = None
    device: Annotated[str | None, training_flag("--device", metavar="cpu|cuda", help="Where to train.")] = None
    until: Annotated[
        str | None, training_flag("--until", metavar="NAME=VALUE", help="Stop at a validation value, like kid=0.01.")
    ] = None

    def options(self) -> dict[str, str]:
        """Return what was asked for, as words."""
        return {k: str(v) for k, v in vars(self).items() if v is not None}


def command(function: Callable[..., Any], settings: Mapping[str, Setting] | None = None, model: str = "") -> Any:
    """Return the function as typer wants it: groups spread out into flags, and one flag per setting of a model.

    Arguments:
        function: A verb; with settings, it takes them as `settings`, a mapping of those that were given.
        settings: What `Model.settings()` returned.
        model: The model's name, for the help text.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    taken = {f"--{name.replace('_', '-')}" for name in settings or ()}
    for p in inspect.signature(function).parameters.values():
        hint = hints[p.name]
        if p.name == "settings":
            parameters += [_setting_flag(s, model) for s in (settings or {}).values()]
        elif dataclasses.is_dataclass(hint):
            inner = typing.get_type_hints(hint, include_extras=True)
            own = [f for f in dataclasses.fields(hint) if f"--{f.name.replace('_', '-')}" not in taken]
            groups[p.name] = (typing.cast(type, hint), [f.name for f in own])
            parameters += [_keyword(f.name, inner[f.name], f.default) for f in own]
        else:
            parameters.append(_keyword(p.name, hint, p.default))

    def run(**values: Any) -> Any:
        for name, (group, names) in groups.items():
            values[name] = group(**{n: values.pop(n) for n in names})
        if "settings" in hints:
            given = {name: values.pop(_PREFIX + name, None) for name in settings or ()}
            values["settings"] = {name: value for name, value in given.items() if value is not None}
        if values["shared"].quiet:
            be_quiet()
        try:
            return function(**values)
        except KeyboardInterrupt as e:
            complain(str(e) or "interrupted")
            raise Exit(getattr(e, "exit_code", 130)) from None

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


_PREFIX = "setting_"


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _setting_flag(setting: Setting, model: str) -> inspect.Parameter:
    """Return the flag of a setting: a word that `Setting.parse` reads, or a pair of switches for true and false."""
    word = setting.name.replace("_", "-")
    switch = setting.type is bool
    default = "none" if setting.default is None else setting.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    kind = "" if switch else f"{setting.describe()[:1].upper()}{setting.describe()[1:]}. "
    text = f"{_plain(setting.doc)} {kind}[default: {default}]".strip()
    option = Option(
        f"--{word}/--no-{word}" if switch else f"--{word}",
        help=text,
        metavar=None if switch else _metavar(setting),
        rich_help_panel=f"Settings of {model}",
        autocompletion=choices(setting.choices) if setting.choices else None,
    )
    return _keyword(_PREFIX + setting.name, Annotated[(bool if switch else str) | None, option], None)  # type: ignore[operator]


def _metavar(setting: Setting) -> str:
    text = setting.describe()
    if setting.choices:
        return "CHOICE"
    return "N,N,..." if "list" in text else "INT" if "whole" in text else "NUMBER" if "number" in text else "TEXT"


def _plain(text: str) -> str:
    return re.sub(r"\\[()]|`", "", text)


def switches() -> set[str]:
    """Return the shared flags that take no value."""
    found = {"--help"}
    for group in (Shared, Reading, Training):
        for name, hint in typing.get_type_hints(group, include_extras=True).items():
            if typing.get_args(hint)[0] is bool:
                found.add("--json" if name == "as_json" else f"--{name.replace('_', '-')}")
    return found


def pairs(text: str, flag: str) -> dict[str, str]:
    """Read `a=1,b=2`; a piece without `=` belongs to the value before it, so that values may hold commas.

    Errors:
        Problem: If the first piece has no `=`.

    Example:
        >>> pairs("churn=yes,city=Paris, Texas", "--given")
        {'churn': 'yes', 'city': 'Paris, Texas'}
    """
    found: dict[str, str] = {}
    last = None
    for piece in text.split(","):
        name, equals, value = piece.partition("=")
        if equals and name.strip()[-1:] not in ("<", ">"):
            last = name.strip()
            found[last] = value.strip()
        elif last is None or equals:
            raise Problem(f'{flag} must read name=value,name=value, not "{text}".{_as_pair(piece)}')
        else:
            found[last] += f",{piece}"
    return found


def _as_pair(piece: str) -> str:
    """Return what was probably meant by `age>40` or `churn:yes`."""
    match = re.fullmatch(r"\s*(.+?)\s*([<>]=?|:)\s*(.+?)\s*", piece)
    if not match:
        return ""
    value = {"<": f":{match[3]}", ">": f"{match[3]}:"}.get(match[2][0], match[3])
    return f' Did you mean "{match[1]}={value}"?'


def _size(text: str) -> int | tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text.strip())
    if not match or not int(match[1]) or (match[2] and not int(match[2])):
        raise Problem(f'--size must be a number of pixels or HxW, like 32 or 32x48, not "{text}".')
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])
