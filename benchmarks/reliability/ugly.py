"""Ugly data sets, as people have them: each trains, draws, scores and saves with a note on what was done, or is refused usefully."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import genlearn
from genlearn.data import Records, read
from genlearn.errors import Problem
from genlearn.model import Scores, model_class

MODELS = ("marginals", "gmm", "vae")
_QUICK: dict[str, dict[str, Any]] = {"vae": {"steps": 20, "hidden": (16,), "latent": 2, "samples": 5}}
N = 60


@dataclass(frozen=True)
class Ugly:
    """One ugly data set.

    Arguments:
        name: What is ugly about it.
        make: Writes it into a folder and returns the source, or returns the source itself.
        note: What a note of the reader or the codec must say; empty where there is nothing to tell.
        options: Keywords for `genlearn.read`.
        refused: What the message must say, where no model can use it.
        heavy: Only in full runs.
    """

    name: str
    make: Callable[[Path], Any]
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    heavy: bool = False


def use(ugly: Ugly, model: str, folder: Path) -> list[str]:
    """Do with a set what a person would; return what went wrong, nothing if all is well."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        data = read(ugly.make(folder), **ugly.options)
        fitted: Any = model_class(model)(random_state=0, **_QUICK.get(model, {})).fit(data)
    except Problem as e:
        return [] if ugly.refused and ugly.refused in str(e) else [f"refused: {e}"]
    if ugly.refused:
        return ["was not refused"]
    wrong = []
    told = [*data.notes, data.summary, *fitted.codec_.notes]
    if not any(ugly.note in line for line in told):
        wrong.append(f"no note says {ugly.note!r}: {told}")
    drawn = fitted.draw(20, random_state=1)
    wrong += _misshapen(drawn, data.train)
    if isinstance(fitted, Scores):
        score = fitted.log_prob(data.test if len(data.test) else data.train)
        wrong += [] if np.isfinite(score).all() else [f"scores {score[:5]}"]
    again = genlearn.load(fitted.save(folder / "saved")).draw(20, random_state=1)
    same = again.x.equals(drawn.x) if drawn.modality == "table" else np.array_equal(again.x, drawn.x)
    return wrong if same else [*wrong, "the loaded model draws other records"]


def _misshapen(drawn: Records, train: Records) -> list[str]:
    """Return in what drawn records are not of the form of those of training."""
    if train.modality == "image":
        return (
            [] if drawn.x.shape[1:] == train.x.shape[1:] and drawn.x.dtype == np.uint8 else [f"shape {drawn.x.shape}"]
        )
    if list(drawn.x.columns) != list(train.x.columns):
        return [f"columns {list(drawn.x.columns)[:9]}"]
    wrong = []
    for name in train.x:
        old, new = train.x[name], drawn.x[name]
        if old.notna().any() and new.notna().any() and new.dtype != old.dtype:
            wrong.append(f"{name} has dtype {new.dtype}, not {old.dtype}")
        if pd.api.types.is_numeric_dtype(old) and not pd.api.types.is_bool_dtype(old):
            numbers = new.to_numpy(np.float64, na_value=np.nan)
            if np.isinf(numbers).any() or (np.isnan(numbers).any() and not old.isna().any()):
                wrong.append(f"{name} has numbers that are none")
    return wrong


# -- tables ------------------------------------------------------------------------------------------------------------
def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def table(**columns: Any) -> pd.DataFrame:
    """Return a table of 60 rows: a number, a category, and the columns given (values are repeated as needed)."""
    rng = _rng()
    frame = pd.DataFrame({"height": rng.normal(170, 10, N).round(1), "city": rng.choice(["Bern", "Genf"], N)})
    for name, values in columns.items():
        frame[name] = [values[i % len(values)] for i in range(N)] if isinstance(values, list) else values
    return frame


def _csv(text: str | bytes, name: str = "data.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return folder / name

    return make


def _written(**columns: Any) -> Callable[[Path], Path]:
    """Return a maker of a CSV with columns besides two plain ones."""
    return _csv(table(**columns).to_csv(index=False))


def _lines(header: str, row: Callable[[int], str], n: int = N) -> Callable[[Path], Path]:
    return _csv("\n".join([header, *(row(i) for i in range(n)), ""]))


def _wide(columns: int) -> pd.DataFrame:
    return pd.DataFrame(_rng().normal(size=(20, columns)).round(2), columns=[f"c{i}" for i in range(columns)])


def _many(levels: int) -> pd.DataFrame:
    return pd.DataFrame({"v": pd.Series(range(levels)).astype(str), "u": _rng().random(levels)})


DAYS = pd.date_range("2020-01-01", periods=N)
TABLES = (
    Ugly("constant columns", _written(a=["x"], b=[7], c=[2.5]), "constant"),
    Ugly("an empty column", _written(empty=[None]), "constant"),
    Ugly("nothing but empty cells", _lines("a,b", lambda i: ","), refused="empty"),
    Ugly("columns that are nearly empty", _written(rare=[1.5] + [None] * 59), "missing"),
    Ugly("one row", _csv("a,b,c\n1.5,2,x\n"), "constant"),
    Ugly("two rows", _csv("a,b,c\n1.5,2,x\n2.5,3,y\n")),
    Ugly("one column", _lines("a", lambda i: f"{i * i % 17}.5")),
    Ugly("one column of words", _lines("a", lambda i: "xyz"[i % 3])),
    Ugly("equal rows", _lines("a,b", lambda i: "1.5,x"), "repeat"),
    Ugly("rows that occur twice", _csv(pd.concat([table(), table()]).to_csv(index=False)), "repeat"),
    Ugly(
        "dates in three styles, a column each",
        _written(iso=DAYS.strftime("%Y-%m-%d"), german=DAYS.strftime("%d.%m.%Y"), us=DAYS.strftime("%m/%d/%Y")),
        "3 dates",
    ),
    Ugly("dates in three styles in one column", _written(when=["2020-01-31", "31.01.2020", "01/31/2020"]), "categor"),
    Ugly(
        "dates of many styles that never repeat",
        _lines("v,when", lambda i: f"{i % 7},{DAYS[i].strftime(('%Y-%m-%d', '%d.%m.%Y', '%m/%d/%Y')[i % 3])}"),
        "when",
    ),
    Ugly("dates with time zones", _written(when=[f"{d:%Y-%m-%dT%H:%M:%S}+02:00" for d in DAYS]), "when"),
    Ugly("moments with time zones in a DataFrame", lambda _: table(when=DAYS.tz_localize("Europe/Zurich"))),
    Ugly("durations in a DataFrame", lambda _: table(took=pd.to_timedelta(np.arange(N) * 1.5, unit="s"))),
    Ugly("durations as text", _written(took=[f"0:{i:02d}:30" for i in range(N)]), "took"),
    Ugly("emoji for names and values", _written(**{"🎈🎉": ["😀", "😢", "🤷‍♀️"], "ключ": [1, 2, 3]})),
    Ugly(
        "names with commas, quotes, line ends and spaces",
        _written(**{'a, "b"': [1, 2], "c\nd": [1, 3], "  e  ": [1, 4]}),
    ),
    Ugly(
        "names that are taken inside",
        _written(**{"y": [1, 2], "label": ["a", "b"], "height?": [1.5, 2.5], "index": [1, 5]}),
    ),
    Ugly("names that occur twice", _lines("a,a,a", lambda i: f"{i % 5},{i % 3},{i * i % 7}"), "a_2"),
    Ugly(
        "names that occur twice in a DataFrame",
        lambda _: pd.DataFrame(_rng().normal(size=(N, 2)), columns=["a", "a"]),
        refused="several columns named",
    ),
    Ugly("columns without a name", _lines("a,,b,", lambda i: f"{i % 5},{i % 3},{i % 7},{i % 2}"), "column_2"),
    Ugly("the index of pandas", _csv(table().to_csv()), "index"),
    Ugly("a column called Unnamed: 0", _lines("Unnamed: 0,a", lambda i: f"{i},{i % 7}.5"), "identifier"),
    Ugly("identifiers", _written(id=[f"user-{i:04d}" for i in range(N)]), "identifier"),
    Ugly(
        "identifiers that are hashes",
        _written(key=[f"{hash((i, 7)) & (2**64 - 1):016x}z" for i in range(N)]),
        "identifier",
    ),
    Ugly("free text", _written(note=[f"entry {i} says {i * i}, and more" for i in range(N)]), "free text"),
    Ugly("infinities", _written(v=[1.5, 2.5, "inf", "-inf", 4.5]), "infinite"),
    Ugly("infinity among whole numbers", _written(v=[1, 2, "Infinity", 4]), "infinite"),
    Ugly("infinities in a DataFrame", lambda _: table(v=[1.5, 2.5, np.inf, 7.5]), refused="is not finite"),
    Ugly("numbers too large to be numbers", _written(v=[1.5, 2.5, "1e999", 4.5]), "infinite"),
    Ugly("numbers at the edge of what is a number", _written(v=[1e308, -1e308, 5e307, 1.5])),
    Ugly("tiny numbers", _written(v=(_rng().random(N) * 1e-300).tolist())),
    Ugly("negative zeros", _written(v=[0.0, -0.0, 1.5, -1.5])),
    Ugly("whole numbers beyond 2^53", _written(v=[2**53 + 2 * i + 1 for i in range(N)])),
    Ugly("whole numbers beyond 64 bits", _written(v=[10**25 + 7 * i for i in range(N)]), "v"),
    Ugly("bytes in a DataFrame's numbers", lambda _: table(v=np.arange(N, dtype=np.uint8) * 4)),
    Ugly("currencies", _written(price=[f"€ {i}.50" for i in range(1, 9)])),
    Ugly("currencies that never repeat", _written(price=[f"$1,{i:03d}.50" for i in range(N)]), "price"),
    Ugly("percentages that never repeat", _written(share=[f"{i}.{i % 10}%" for i in range(N)]), "share"),
    Ugly("numbers with units", _written(size=[f"{i} cm" for i in range(N)]), "size"),
    Ugly("thousands separators", _written(v=[f"1,{i:03d}" for i in range(N)]), "thousands"),
    Ugly("spaces around words and numbers", _lines("a , b", lambda i: f"  {i % 9} , {'xy'[i % 2]}  ")),
    Ugly("truth in many words", _written(t=["yes", "no", "TRUE", "False", "1", "0", "Y", "n"])),
    Ugly(
        "truth with holes in a DataFrame",
        lambda _: table(t=pd.array([True, False, None] * 20, dtype="boolean")),
        "missing",
    ),
    Ugly("numbers and words in one column", _written(v=[1, 2.5, "many", "few", 7])),
    Ugly(
        "numbers, words and truth in one column of a DataFrame",
        lambda _: table(v=[1, 2.5, "many", True, None]),
        "missing",
    ),
    Ugly("holes in every spelling", _written(v=[1.5, "NA", "?", "-", "null", "NaN", 2.5, "N/A", 3.5]), "missing"),
    Ugly("a target of one class", _written(t=["yes"]), "constant", {"target": "t"}),
    Ugly("a target with holes", _written(t=["yes", "no", None]), "missing", {"target": "t"}),
    Ugly("a target that is all holes", _written(t=[None]), "", {"target": "t"}, refused="no value in any row"),
    Ugly("a target that never repeats", _written(t=[f"c{i}" for i in range(N)]), "", {"target": "t"}),
    Ugly("a target that is a number", _written(t=(_rng().normal(size=N)).tolist()), "", {"target": "t"}),
    Ugly("a class with one member", _written(t=["a"] * 59 + ["b"]), "", {"target": "t"}),
    Ugly("Latin-1", _csv(table(v=["Zürich", "Genève"]).to_csv(index=False).encode("latin-1")), "Latin-1"),
    Ugly("Windows' own characters", _csv(table(v=["€ 5", "“quoted”"]).to_csv(index=False).encode("cp1252")), "Latin-1"),
    Ugly("UTF-16", _csv(table(v=["Zürich", "Genève"]).to_csv(index=False).encode("utf-16"))),
    Ugly("line ends of old Macs", _csv(table().to_csv(index=False).replace("\n", "\r"))),
    Ugly("a cell of 200,000 letters", _written(v=["x" * 200_000] + [f"w{i}" for i in range(59)]), "v"),
    Ugly(
        "objects in objects",
        _csv("".join(f'{{"a": {{"b": {i % 5}, "c": "{"xy"[i % 2]}"}}}}\n' for i in range(N)), "d.jsonl"),
    ),
    Ugly(
        "objects with other keys each",
        _csv("".join(f'{{"k{i % 4}": {i % 5}}}\n' for i in range(N)), "d.jsonl"),
        "missing",
    ),
    Ugly(
        "a category that keeps its order",
        lambda _: table(v=pd.Categorical(["lo", "hi", None] * 20, ["lo", "mid", "hi"], ordered=True)),
        "missing",
    ),
    Ugly("5,000 columns of 20 rows", lambda _: _wide(5000), heavy=True),
    Ugly("300 columns of 20 rows", lambda _: _wide(300)),
    Ugly("a million categories", lambda _: _many(1_000_000), "rarest", {"types": {"v": "category"}}, heavy=True),
    Ugly("ten thousand categories", lambda _: _many(10_000), "rarest", {"types": {"v": "category"}}),
)


# -- images ------------------------------------------------------------------------------------------------------------
def picture(size: tuple[int, int] = (8, 8), mode: str = "RGB", form: str = "PNG", **options: Any) -> bytes:
    """Return a picture of noise as a file."""
    from PIL import Image

    pixels = np.random.default_rng(abs(hash(size)) % 97).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(pixels[..., :3]) if mode != "RGBA" else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def noise(*shape: int) -> np.ndarray:
    """Return an array of pixels."""
    return _rng().integers(0, 256, shape, dtype=np.uint8)


def deep() -> bytes:
    """Return a picture of 16-bit grey."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_rng().integers(0, 2**16, (8, 8), dtype=np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def _album(files: Callable[[int], tuple[str, bytes]], n: int = 12) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for i in range(n):
            name, content = files(i)
            path = folder / "album" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / "album"

    return make


def _animated() -> bytes:
    from PIL import Image

    frames = [Image.fromarray(_rng().integers(0, 256, (8, 8), dtype=np.uint8) // (i + 1)) for i in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


IMAGES = (
    Ugly(
        "grey with transparency",
        _album(lambda i: (f"{i}.png", picture(mode="LA" if i % 2 else "RGBA"))),
        "transparency",
    ),
    Ugly("16-bit grey", _album(lambda i: (f"{i}.png", deep())), "16-bit"),
    Ugly("mixed sizes", _album(lambda i: (f"{i}.png", picture((5 + i, 20 - i)))), "resized"),
    Ugly("grey, palettes and colour", _album(lambda i: (f"{i}.png", picture(mode=("L", "P", "RGB", "1")[i % 4])))),
    Ugly("CMYK", _album(lambda i: (f"{i}.jpg", picture(mode="CMYK", form="JPEG")))),
    Ugly("a film among pictures", _album(lambda i: (f"{i}.gif", _animated()))),
    Ugly(
        "a broken camera mark",
        _album(lambda i: (f"{i}.jpg", picture(form="JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))),
    ),
    Ugly(
        "one broken among good ones", _album(lambda i: (f"{i}.png", picture()[: 60 if i == 3 else None])), "unreadable"
    ),
    Ugly("a pixel each", _album(lambda i: (f"{i}.png", picture((1, 1))))),
    Ugly("lines of 30,000 pixels", _album(lambda i: (f"{i}.png", picture((30_000, 1))), 2), "resized"),
    Ugly("one picture", _album(lambda i: (f"{i}.png", picture()), 1)),
    Ugly("one class", _album(lambda i: (f"cat/{i}.png", picture((8, 8 + i % 2)))), "resized"),
    Ugly(
        "two classes, one of a single picture", _album(lambda i: (f"{'cat' if i else 'dog'}/{i}.png", picture((8, 9))))
    ),
    Ugly(
        "pictures beside other files", _album(lambda i: (f"{i}.{'txt' if i == 5 else 'png'}", picture())), "other files"
    ),
    Ugly("names with dashes, spaces and emoji", _album(lambda i: (f"-a b/😀 {i}.png", picture()))),
    Ugly("black pictures only", lambda _: np.zeros((12, 8, 8), np.uint8)),
    Ugly("pictures of 0 and 1", lambda _: np.eye(8, dtype=np.uint8)[None].repeat(12, 0)),
    Ugly("pictures of numbers between 0 and 1", lambda _: _rng().random((12, 8, 8)), "0..1"),
    Ugly(
        "pictures with their channels first",
        lambda _: noise(12, 3, 8, 8),
        "moved last",
    ),
    Ugly(
        "pictures with labels that are holes",
        lambda _: (noise(12, 8, 8), np.array(["a", None] * 6, object)),
        "without a label",
    ),
)

SETS: tuple[Ugly, ...] = (*TABLES, *IMAGES)
