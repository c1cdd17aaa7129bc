"""What config.json and codec.json of a hostile folder claim: names that are paths, code or commands, numbers without end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from .deeds import ESCAPE, Deed, Idea, codec, config

REVERSED = "\u202egnihton"
NAMES = (
    "{0.__class__}", "%s%n", "$(touch /tmp/x)", ESCAPE, REVERSED, "../../etc/passwd", "__import__('os').system('id')", "\ud800", "\0",
    "x" * 300_000,
)  # fmt: skip
MODELS = (
    "os", "builtins", "__init__", "../gmm", "gmm.GMM", "genlearn.models.gmm", "_em", "_levels", "", "GMM", "gmm ", "subprocess", 7,
    ["gmm"], {},
)  # fmt: skip
DTYPES = (
    "string[pyarrow]", "datetime64[ns, dateutil//etc/passwd]", "datetime64[ns, /etc/localtime]", "datetime64[ns, ../../etc/passwd]",
    "datetime64[ns, posixrules]", "datetime64[ns, Nowhere/Land]", "Sparse[object]", "period[999999999s]", "interval[interval[int64]]",
    "<U999999999", "int64,int64", "category[a]", "object]", "timedelta64[as]",
)  # fmt: skip
ARRAYS = ("<U999999999", "V999999999", "i8,i8", "(9,9)f8", "object_", "O,O", ESCAPE, "M8[as]", 7)
SHAPES = (
    [10**9, 10**9, 1], [1, 10**6, 10**6], [1, 0, 8], [-1, -8, 8], [8, 8], [1, 8, 8, 1], [1.0, 8, 8], ["1", 8, 8], 64, [2**40, 1, 1],
)  # fmt: skip
NAN, ENDLESS = {"$float": "nan"}, {"$float": "inf"}
Table = dict[str, tuple[Any, ...]]


def ideas() -> Iterator[Idea]:
    """Yield every idea: its name, the good folder that it begins from, the deed."""
    yield from _settings()
    yield from _state()
    yield from _images()
    yield from _columns()


def _each(what: str, base: str, where: Callable[[Callable[[Any], object]], Deed], table: Table) -> Iterator[Idea]:
    """Yield an idea for every value of every key."""
    for key, values in table.items():
        for value in values:
            yield f"{what}: {key} is {_shown(value)}", base, where(lambda found, k=key, v=value: found.update({k: v}))


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of many digits"
    return text if len(text) < 60 else f"{text[:50]}... ({len(text)})"


def _at(key: str) -> Callable[[Callable[[Any], object]], Deed]:
    return lambda change: config(lambda c: change(c[key]))


def _part(kind: str) -> Callable[[Callable[[Any], object]], Deed]:
    """Return what changes the first column of a kind."""
    return lambda change: codec(lambda spec: change(next(c for c in spec["columns"] if c["part"] == kind)))


def _settings() -> Iterator[Idea]:
    base = "vae-table"
    yield from _each("config.json", base, config, {
        "model": (*MODELS, *NAMES), "format": (2, -1, 10**9, "1", None, 1.5, 10**4000, [1]),
        "modality": ("os.path", "base", "__init__", "stored", "ｔａｂｌｅ", "../table", "table.codec", *NAMES),
        "params": ([], "x", {"data": "/etc/passwd"}), "state": ({}, [["a_", 1]]), "versions": (7, {"genlearn": ESCAPE},
        {"genlearn": [NAMES]}),
        "bytes": ({}, 7), "sha256": ({}, "x", None),
    })  # fmt: skip
    yield (
        "config.json: written by a command",
        base,
        config(lambda c: (c["versions"].update(genlearn=ESCAPE), c["state"].clear())),
    )
    yield from _each("the setting", base, _at("params"), {
        "hidden": ([10**9], [1] * 1000, [1] * 1001, json.loads("[" * 400 + "]" * 400)), "latent": (10**12, 2**63, -1, True, NAN),
        "width": (2**62,),
        "batch": (2**70,), "steps": (10**300,), "random_state": (10**300, -1), "samples": (-1, 10**12),
        "budget": ("1" * 990, "1" * 1001, ESCAPE),
        "until": ("a" + " " * 990, "a" + " " * 10**5), "device": ("/dev/zero", "cuda:99", ESCAPE), "net": ("conv", ESCAPE),
        "output": ("__class__",),
        "betas": ([0.1] * 999, [NAN, NAN]), "lr": (NAN, ENDLESS), "data": ("/etc/passwd",), "out": ("/tmp/x",), "__class__": ("os",),
        "codec_": ({},), "self": (1,), "compile": (True,), **{name: (1,) for name in NAMES},
    })  # fmt: skip
    yield from _each(
        "the setting", "vae-colour", _at("params"), {"width": (10**9,), "latent": (2**40,), "net": ("mlp",)}
    )
    yield from _each("the setting", "marginals-table", _at("params"), {"bins": (10**12, -7, 0)})


def _state() -> Iterator[Idea]:
    keys = (
        "__class__", "__dict__", "codec_", "layout_", "sample", "fit", "kind_", "net_", "_run", "a b_", "__reduce__", "numbers_.x",
        "_", "name_",
        ESCAPE + "_",
    )  # fmt: skip
    yield from _each("the state", "kde-table", _at("state"), {
        **{key: ("os", {"a": 1}) for key in keys}, "seed_": ("x", None, 10**400, 1.5, NAN),
        "bandwidth_": (ENDLESS, -1, "x", 0, True, [1]),
        "mixing_": (0, 2, NAN, "x"), "numbers_": ("x", [[1]]), "levels_": (7,),
    })  # fmt: skip
    yield from _each("the state", "gmm-colour", _at("state"), {"covariance_": ("full", "other", 7, ESCAPE)})


def _images() -> Iterator[Idea]:
    base, labelled = "marginals-grey", "copycat-colour"
    for folder in (base, "vae-colour"):
        yield from _each(f"images of {folder}", folder, codec, {"shape": SHAPES})
    yield from _each("images", base, codec, {
        "levels": (10**12, 0, -1, 1, 257, 2.5, "256", None), "takes": ([[]], ["token"], "ordered"), "fold": ("no", True),
        "rows": (-1, "x"),
        "notes": (7, [ESCAPE]), "options": ([], {"squeeze": "x"}, {"more": 1}), "target": (None, 7), "more": (1,),
    })  # fmt: skip
    yield from _each(
        "images", "marginals-binary", codec, {"pair": ([0, 10**9], [-1, 5], [0], [1, 2, 3], "ab", [None, None])}
    )
    names = ([[1]], [{}], [], "abc", ["a", "a"], [ESCAPE], [None], list(NAMES))
    yield from _each("labels", labelled, codec, {"label_type": ARRAYS, "labels": names, "target": NAMES})
    for kind in ARRAYS:
        yield f"an array of type {kind!r}", "copycat-matrix", codec(lambda s, v=kind: s["options"].update(dtype=v))


def _columns() -> Iterator[Idea]:
    base = "copycat-table"
    lattice = {"origin": 0, "step": 1, "decimals": 0, "levels": 9}
    affine, spline = (
        {"map": "affine", "loc": 0, "scale": 1},
        {"map": "spline", "v": [0, 1], "z": [0, 1], "slopes": [1, 1]},
    )
    yield from _each("a number", base, _part("number"), {
        "lattice": ({**lattice, "step": 0}, {**lattice, "origin": 2**64, "levels": 2**64}, {**lattice, "decimals": 10**9}, {}, 7),
        "scale": (
            {**spline, "v": [0]}, {**spline, "v": [0, 0]}, {**spline, "v": [-1e308, 1e308]}, {**spline, "slopes": [5e-324, 1e308]},
            {**spline, "slopes": [0, 0]}, {**affine, "loc": 1e308, "scale": 1e308}, {**affine, "scale": 0},
            {**affine, "scale": NAN}, {"map": "os"},
            {"map": ["affine"]},
        ),
        "atoms": ([1e308] * 9, ["x"], [[1]], [0] * 10**5), "ordered": (True, "x"), "absent": (True, 2), "spread": (0, -1),
        "gate": ("age", "", ESCAPE), "key": ("when", 7), "low": (10**30, "x"), "name": ([], "income", "", True, *NAMES),
        "role": ("target", "x"), "part": ("os", "__class__", [], None, "level"),
    })  # fmt: skip
    formats: Table = {
        "zone": ("dateutil//etc/passwd", "/etc/passwd", "../../../etc/passwd", "tzfile('/etc/passwd')", "Mars/Olympus",
        "UTC+99:99", ESCAPE),
        "pattern": ("%9999999999d", "%" * 1000, ESCAPE, "%Y" * 1000), "decimals": (10**9, -1, 2**70, "x"),
        "origin": (2**80, -(2**63), "x"),
        "name": ([], {}, ESCAPE),
    }  # fmt: skip
    for form in ("number", "time", "date"):
        yield from _each(
            f"a format of {form}",
            base,
            lambda change, f=form: _part("number")(lambda c: change(_formed(c, f))),
            formats,
        )
    yield from _each(
        "a format",
        base,
        lambda change: _part("number")(lambda c: change(c["format"])),
        {"form": ("file", "__class__", 7)},
    )
    yield from _each("levels", base, _part("level"), {
        "levels": ([], ["a", "a"], [[1]], [ESCAPE] * 3, ["x" * 10**6], list(range(50_000)), [1e308, -1e308, 0]),
        "rest": ([-1], [0], [10**30], [1] * 99),
        "common": (-1, 10**9), "categories": ([1, 1], [[]], []), "binary": (True, 1), "absent": (True,), "format": ({}, 7),
        "ranked": (1,),
    })  # fmt: skip
    yield from _each("identifiers", base, _part("skipped"), {
        "digits": (10**9, -1), "next": (10**30, -1, "x"), "prefix": ("x" * 10**6, ESCAPE), "type": ("file",), "name": ("age", {}),
    })  # fmt: skip
    for kind in ("number", "level", "skipped"):
        inner = (lambda c: c["format"]) if kind == "number" else (lambda c: c)
        yield from _each(
            f"a {kind}",
            base,
            lambda change, k=kind, i=inner: _part(k)(lambda c: change(i(c))),
            {"dtype": (*DTYPES, *NAMES)},
        )
    yield from _each("a table", base, codec, {
        "columns": ([], {}, [[]]), "target": ("nowhere", []), "fold": (False,), "rows": (10**400,), "takes": (["os"],),
        "options": ({"dtype": "O"}, {"origin": 1}), "notes": ([ESCAPE],),
    })  # fmt: skip
    yield (
        "a table of identifiers",
        base,
        codec(lambda s: s.update(columns=[c for c in s["columns"] if c["part"] == "skipped"], target=None)),
    )


def _formed(column: dict[str, Any], form: str) -> Any:
    column["format"]["form"] = form
    return column["format"]
