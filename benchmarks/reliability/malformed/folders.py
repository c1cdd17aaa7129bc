"""Run folders that are missing, damaged or of something else, and tables that do not fit the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .arrays import npy
from .cases import Case, Place, good_csv


def _damaged(name: str, damage: Callable[[Path], object], *says: str, verb: Sequence[str] = ("sample",)) -> Case:
    """Return the case of a copy of a finished run, `run`, that was damaged."""

    def make(place: Place) -> Sequence[str]:
        shutil.copytree(place.run("vae"), place.folder / "run")
        damage(place.folder / "run")
        return (*verb, "run")

    return Case(f"run: {name}", make, says)


def _edited(
    name: str, file: str, edit: Callable[[dict[str, object]], object], *says: str, verb: Sequence[str] = ("sample",)
) -> Case:
    def damage(run: Path) -> None:
        found = json.loads((run / file).read_text())
        edit(found)
        (run / file).write_text(json.dumps(found))

    return _damaged(name, damage, *says, verb=verb)


def _cut(file: str, keep: int) -> Callable[[Path], object]:
    return lambda run: (run / file).write_bytes((run / file).read_bytes()[:keep])


def _replaced(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / file).write_bytes(content)


FOLDERS = (
    Case("run: not there", lambda place: ("sample", "nothing"), ("nothing",)),
    Case("run: with a typo", lambda place: ("sample", str(place.runs / "gmmm")), ('"gmm"',)),
    Case("run: a folder above several", lambda place: ("sample", str(place.runs)), ("several", "gmm")),
    Case("run: an empty name", lambda place: ("sample", ""), ()),
    _damaged("empty", lambda run: [p.unlink() for p in run.rglob("*") if p.is_file()], "no model"),
    _damaged("without config.json", lambda run: (run / "config.json").unlink(), "no model"),
    _damaged("without codec.json", lambda run: (run / "codec.json").unlink(), "codec.json"),
    _damaged("without weights", lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors"),
    _damaged("config.json cut", _cut("config.json", 100), "config.json"),
    _damaged("config.json empty", _cut("config.json", 0), "config.json"),
    _damaged("config.json of noise", _replaced("config.json", b"\xff\xfe\0\1"), "config.json"),
    _damaged("config.json of another tool", _replaced("config.json", b'{"model_type": "bert"}'), "config.json"),
    _damaged("config.json that is a list", _replaced("config.json", b"[]"), "config.json"),
    _damaged("codec.json cut", _cut("codec.json", 50), "codec.json"),
    _damaged("codec.json of another run", _replaced("codec.json", b"{}"), "codec.json"),
    _damaged("weights cut", _cut("weights.safetensors", 200), "weights.safetensors"),
    _damaged("weights empty", _cut("weights.safetensors", 0), "weights.safetensors"),
    _damaged("weights that are a pickle", _replaced("weights.safetensors", b"\x80\x04."), "weights.safetensors"),
    _damaged(
        "config.json that is a folder",
        lambda run: ((run / "config.json").unlink(), (run / "config.json").mkdir()),
        "config.json",
    ),
    _edited("a format of the future", "config.json", lambda c: c.update(format=99), "99"),
    _edited("a format in words", "config.json", lambda c: c.update(format="one"), "config.json"),
    _edited("another model's name", "config.json", lambda c: c.update(model="gmm"), "config.json"),
    _edited("settings that were changed by hand", "config.json", lambda c: c["params"].update(latent=3), "config.json"),
    _damaged("run.json cut", _cut("run.json", 40), "run.json", verb=("score",)),
    _damaged("run.json that is a list", _replaced("run.json", b"[1, 2]"), "Name a source", verb=("score",)),
    _damaged("run.json that is a word", _replaced("run.json", b'"yes"'), "run.json", verb=("fit", "--resume")),
    _damaged("run.json without anything", _replaced("run.json", b"{}"), "run.json", verb=("fit", "--resume")),
    _edited(
        "run.json with a model that is no word",
        "run.json",
        lambda c: c.update(model=3),
        '"3"',
        verb=("fit", "--resume"),
    ),
    _edited(
        "run.json with data that are no object",
        "run.json",
        lambda c: c.update(data="x"),
        "Name a source",
        verb=("score",),
    ),
    _edited(
        "data that moved away",
        "run.json",
        lambda c: c["data"].update(source="/gone/good.csv"),
        "/gone/good.csv",
        verb=("score",),
    ),
    _edited(
        "data that moved away, going on",
        "run.json",
        lambda c: c["data"].update(source="/gone/good.csv"),
        "/gone/good.csv",
        verb=("fit", "--resume"),
    ),
    _edited(
        "data that changed, going on",
        "run.json",
        lambda c: c["data"].update(split="0000"),
        "changed",
        verb=("fit", "--resume"),
    ),
    _edited(
        "reading with an unknown word",
        "run.json",
        lambda c: c["data"]["reading"].update(colour="red"),
        "run.json",
        verb=("score",),
    ),
)


def _fits(name: str, text: str, *says: str, verb: str = "score", run: str = "gmm") -> Case:
    """Return the case of a table that a finished run is to use."""

    def make(place: Place) -> Sequence[str]:
        (place.folder / "new.csv").write_text(text)
        return (verb, place.run(run), "new.csv")

    return Case(f"fit together: {name}", make, says)


def _latents(name: str, content: Callable[[], bytes], *says: str, file: str = "z.npy") -> Case:
    def make(place: Place) -> Sequence[str]:
        (place.folder / file).write_bytes(content())
        return ("decode", place.run("vae"), file)

    return Case(f"latents: {name}", make, (file, *says))


GOOD = good_csv(6)
TOGETHER = (
    _fits("a column too few", "height,city,churn\n1.5,a,no\n2.5,b,yes\n", "new.csv", "age"),
    _fits("a column by another name", GOOD.replace("age", "agee"), "new.csv", '"agee"'),
    _fits("a column too many", GOOD.replace("\n", ",1\n").replace("churn,1", "churn,extra"), "new.csv", "extra"),
    _fits("none of the columns", "x,y\n1,2\n3,4\n", "new.csv", "height"),
    _fits(
        "words for numbers",
        GOOD.replace(",a,", ",a,").replace("0.13", "tall").replace("-0.13", "small"),
        "height",
        "row",
    ),
    _fits("words for whole numbers", "height,age,city,churn\n1.5,old,a,no\n2.5,30,b,yes\n", "age", "row 1", '"old"'),
    _fits("no rows", "height,age,city,churn\n", "new.csv", "no rows"),
    _fits("no file but letters", "Dear Ann\n", "new.csv"),
    _fits("a ragged row", GOOD + "1,2\n", "new.csv", "line 8", verb="impute"),
    _fits("a table without a column, to encode", "height\n1.5\n2.5\n", "new.csv", "age", verb="encode", run="vae"),
    _latents("of another size", lambda: npy(np.zeros((3, 99))), "99"),
    _latents("of one axis", lambda: npy(np.zeros(3)), "(3,)"),
    _latents("that are not numbers", lambda: npy(np.full((3, 2), np.nan)), "finite"),
    _latents("that are objects", lambda: npy(np.array([[None]]))),
    _latents("that are words", lambda: npy(np.array([["a", "b"]])), "<U1"),
    _latents("that are cut", lambda: npy(np.zeros((3, 2)))[:100]),
    _latents("without bytes", bytes),
    _latents(
        "of a trillion rows",
        lambda: npy(np.zeros((3, 2))).replace(b"(3, 2)", b"(9999999999, 2)").replace(b" " * 8 + b"\n", b"\n"),
    ),
    _latents("ragged CSV", lambda: b"z0,z1\n1,2\n1,2,3\n", file="z.csv"),
    _latents("CSV of words", lambda: b"z0,z1\na,b\n", file="z.csv"),
    _latents("an npz without arrays", lambda: b"PK\x05\x06" + bytes(18), file="z.npz"),
    _latents("a file of no known kind", lambda: b"\0\1\2", file="z.bin"),
)

CASES: tuple[Case, ...] = (*FOLDERS, *TOGETHER)
