"""The data sets that come with genlearn or can be fetched by name: embedded ones, toys with known density, downloads."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import Problem
from .records import Modality, Records

State = Literal["embedded", "local", "cached", "downloadable"]


@dataclass(frozen=True)
class Download:
    """One file of a downloadable data set.

    Arguments:
        url: Where it lies.
        checksum: `md5:...` or `sha256:...` of the file as it lies there.
        local: Path below `GENLEARN_DATA`, the layout of local copies.
    """

    url: str
    checksum: str
    local: str


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Arguments:
        name: What `read` takes.
        about: One sentence: records, what they are, origin.
        modality: `table` or `image`.
        target: Its label, if it has one.
        files: What a download fetches; empty for embedded ones.
    """

    name: str
    about: str
    modality: Modality
    target: str | None = None
    files: tuple[Download, ...] = ()

    @property
    def state(self) -> State:
        """Where it is now: `embedded`, `local` (below `GENLEARN_DATA`), `cached`, or still to be fetched."""
        if not self.files:
            return "embedded"
        if _local(self):
            return "local"
        return (
            "cached" if all((cache_folder() / self.name / _name(f)).is_file() for f in self.files) else "downloadable"
        )


def _idx(base: str, folder: str, sums: str) -> tuple[Download, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        Download(f"{base}{n}-ubyte.gz", f"md5:{s}", f"{folder}/{n}-ubyte.gz")
        for n, s in zip(names, sums.split(), strict=True)
    )


ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
    "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
)  # fmt: skip
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"
_CATALOG = (
    Entry("digits", "1,797 handwritten digits, 8x8, 17 grey levels (UCI, in scikit-learn).", "image", "label"),
    Entry("wine", "178 Italian wines, 13 measurements, 3 growers (UCI, in scikit-learn).", "table", "grower"),
    Entry("breast_cancer", "569 tumours, 30 measurements (Wisconsin, in scikit-learn).", "table", "diagnosis"),
    Entry("diabetes", "442 patients, 10 measurements, progression after a year (in scikit-learn).", "table", "progression"),
    Entry("gaussians", "3,000 points of eight normals on a circle; density known.", "table"),
    Entry("moons", "3,000 points of two half circles; density known.", "table"),
    Entry("pinwheel", "3,000 points of five twisted arms; density known.", "table"),
    Entry("rings", "3,000 points of three circles; density known.", "table"),
    Entry(
        "mnist", "70,000 handwritten digits, 28x28 grey (LeCun, Cortes, Burges; CC BY-SA 3.0).", "image", "label",
        _idx("https://ossci-datasets.s3.amazonaws.com/mnist/", "mnist",
             "f68b3c2dcbeaaa9fbdd348bbdeb94873 d53e105ee54ea40749a09fcbcd1e9432 "
             "9fb629c4189551a2d022fa330f9573f3 ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    Entry(
        "fashion_mnist", "70,000 photographs of clothes, 28x28 grey, 10 kinds (Zalando; MIT).", "image", "label",
        _idx("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", "fashion_mnist",
             "8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe "
             "bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    Entry(
        "adult", "48,842 people of the US census of 1994, 15 columns (UCI; CC BY 4.0).", "table", "income",
        (Download(f"{_UCI}adult.data", "sha256:5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
                  "tables/adult-train.csv"),
         Download(f"{_UCI}adult.test", "sha256:a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
                  "tables/adult-test.csv")),
    ),
)  # fmt: skip


def datasets() -> list[Entry]:
    """Return the catalogue: what `read` takes by name.

    Example:
        >>> [entry.name for entry in datasets() if entry.modality == "image"]
        ['digits', 'mnist', 'fashion_mnist']
    """
    return list(_CATALOG)


def entry(name: str) -> Entry | None:
    """Return the catalogue's entry of that name, or None (`-` and `_` are the same)."""
    return next((e for e in _CATALOG if e.name == name.lower().replace("-", "_")), None)


def embedded(name: str) -> Records:
    """Return all records of an embedded data set."""
    import pandas as pd
    from sklearn import datasets as bundled

    from .toys import TOYS, toy_sample

    if name in TOYS:
        frame = pd.DataFrame(toy_sample(name, 3000), columns=["x", "y"])
        return Records("table", frame, options={"origin": "dataframe", "types": {"x": "real", "y": "real"}})
    if name == "digits":
        digits = bundled.load_digits()
        x = digits.images.astype(np.uint8)[..., None]
        return Records("image", x, digits.target.astype(np.int64), "label", {"origin": "array", "levels": 17})
    if name == "wine":
        wine = bundled.load_wine(as_frame=True)
        grower = pd.Series(wine.target_names[wine.target.to_numpy()]).str.replace("class_", "grower ")
        frame, target = wine.data.assign(grower=grower.tolist()), "grower"
    elif name == "breast_cancer":
        cancer = bundled.load_breast_cancer(as_frame=True)
        frame, target = cancer.data.assign(diagnosis=cancer.target_names[cancer.target].tolist()), "diagnosis"
    else:
        patients = bundled.load_diabetes(as_frame=True, scaled=False)
        sex = np.where(patients.data["sex"] == 1, "1", "2")  # the source does not say which is which
        frame = patients.data.assign(age=patients.data["age"].astype(int), sex=sex.tolist())
        frame, target = frame.assign(progression=patients.target.astype(int)), "progression"
    return Records("table", frame.rename(columns=lambda c: c.replace(" ", "_")), target=target,
                   options={"origin": "dataframe"})  # fmt: skip


# -- downloads ---------------------------------------------------------------------------------------------------------
def cache_folder() -> Path:
    """Return where downloads are kept: `GENLEARN_CACHE`, else `~/.cache/genlearn`."""
    return Path(os.environ.get("GENLEARN_CACHE") or Path.home() / ".cache" / "genlearn").expanduser()


def fetch(found: Entry) -> list[Path]:
    """Return the files of a downloadable data set: local copies, the cache, or fresh downloads with verified checksums.

    Errors:
        Problem: If a file cannot be fetched or is not what it should be; names the address, the cache and `GENLEARN_DATA`.
    """
    return _local(found) or [_fetch_one(f, cache_folder() / found.name / _name(f)) for f in found.files]


def _local(found: Entry) -> list[Path]:
    """Return the copies below `GENLEARN_DATA` if all are there."""
    root = os.environ.get("GENLEARN_DATA")
    paths = [Path(root).expanduser() / f.local for f in found.files] if root else []
    return paths if all(p.is_file() for p in paths) else []


def _fetch_one(file: Download, path: Path) -> Path:
    if path.is_file():
        return path
    help_ = (
        f"Put the file at {path}, or set GENLEARN_DATA to a folder that holds {file.local} "
        "(GENLEARN_CACHE moves the cache)."
    )
    try:
        with urllib.request.urlopen(file.url, timeout=30) as response:
            data = response.read()
    except urllib.error.HTTPError as e:
        e.close()
        raise Problem(f"cannot download {file.url} ({e.code} {e.reason}). {help_}") from None
    except OSError as e:
        raise Problem(f"cannot download {file.url} ({getattr(e, 'reason', e)}). {help_}") from None
    kind, expected = file.checksum.split(":")
    if (actual := hashlib.new(kind, data, usedforsecurity=False).hexdigest()) != expected:
        raise Problem(f"{file.url} is not the file it should be ({kind} {actual}, not {expected}). {help_}")
    from ..store import write_bytes

    write_bytes(path, data)
    return path


def _name(file: Download) -> str:
    return file.url.rsplit("/", 1)[-1]
