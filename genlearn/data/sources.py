"""What lies behind a path or a name: which files, of which kind, belonging to which part of the data."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from ..errors import Problem, did_you_mean
from . import catalog, images, tables
from .arrange import PART_WORDS, part_of_word, parts_of_paths
from .arrays import array_records, read_idx, read_numpy
from .delimited import looks_tabular
from .raw import decode_text, readable
from .records import Modality, Part, Records
from .zips import zip_files

Kind = Literal["table", "image", "array", "idx", "text", "audio", "other"]
_TEXT = frozenset({".txt", ".text", ".md", ".data", ".dat", ".log", ""})
_AUDIO = frozenset({".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aiff"})
_IDX = re.compile(r"^(?P<part>[a-z0-9]+)[-_.](?P<what>images|labels)[-_.]idx[13]-?ubyte(\.gz)?$", re.I)
_PACKED = frozenset({".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_ADVICE = "Give a folder or zip of images, a CSV, TSV, JSON lines or Parquet file, .npy, .npz or idx."


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file in a folder or a zip: relative path, how to get its bytes, and where it lies if not in a zip."""

    path: str
    read: Callable[[], bytes]
    place: Path | None = None


@dataclass
class Source:
    """What was found: either files still to be read together, or records.

    Arguments:
        name: Short name, for printing and folders.
        where: The source as the person wrote it.
        kind: `tables` and `images` list files; `records` holds records.
        files: The files, in a fixed order.
        parts: The part of each file, None where the source names none.
        records: Records by part, "all" where the source names none.
        notes: What is worth saying.
        target: The label that is meant without asking.
        header: False if the first row of tables is data.
    """

    name: str
    where: str
    kind: Literal["tables", "images", "records"]
    files: list[FileRef] = field(default_factory=list)
    parts: list[Part | None] = field(default_factory=list)
    records: dict[str, Records] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    target: str | None = None


def locate(source: str | Path, modality: Modality | None = None) -> Source:
    """Find out what a path or a name of the catalogue stands for.

    Errors:
        Problem: If nothing readable is there; says what was found instead.
    """
    if modality in ("text", "audio"):
        raise Problem(f"{modality} is not supported yet. {_ADVICE}")
    written = str(source)
    if isinstance(source, str) and (known := catalog.entry(written)) is not None:
        return _from_catalog(known, written)
    if not written.strip():
        raise Problem(f"the source is an empty word. {_ADVICE}")
    if re.match(r"[a-z][a-z0-9+.-]+://", written, re.I):
        raise Problem(f"{written} is an address. Download the file and give its path.")
    with readable(written):
        path = Path(os.path.expanduser(written))
        if not path.exists():
            near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            names = [e.name for e in catalog.datasets()] if path.parent == Path() else []
            raise Problem(f"{written} does not exist.{did_you_mean(path.name, [*near, *names])} {_ADVICE}")
        if path.is_dir():
            return _from_folder(path, written.rstrip("/") + "/", modality)
        if not path.is_file():
            raise Problem(f"{written} is a pipe or a device, which can be read but once. Write it to a file first.")
        if path.suffix.lower() != ".npz" and zipfile.is_zipfile(path):
            packed = [FileRef(name, read) for name, read in zip_files(path, written) if not _hidden(name.split("/"))]
            return _from_files(packed, path.stem, written, modality)
        if path.suffix.lower() == ".zip":
            raise Problem(f"{written} is damaged: it is no zip file. Pack it again.")
        return _from_file(FileRef(written, path.read_bytes, path), _name(path), modality, path)


def kind_of(name: str) -> Kind:
    """Return what a file's name says it holds.

    Example:
        >>> kind_of("a/b.CSV.gz"), kind_of("photo.JPG"), kind_of("train-images-idx3-ubyte")
        ('table', 'image', 'idx')
    """
    base = PurePosixPath(name).name
    ending = tables.suffix(base)
    if re.search(r"[-_.]idx\d", base):
        return "idx"
    for kind, suffixes in _KINDS.items():
        if ending in suffixes:
            return kind
    return "other"


_KINDS: dict[Kind, frozenset[str]] = {
    "table": tables.SUFFIXES, "image": images.SUFFIXES, "array": frozenset({".npy", ".npz"}), "idx": frozenset({".idx"}),
    "text": _TEXT, "audio": _AUDIO,
}  # fmt: skip


_WORDS: dict[Kind, str] = {"image": "images", "table": "tables", "array": "arrays"}


# -- one file ----------------------------------------------------------------------------------------------------------
def _from_file(file: FileRef, name: str, modality: Modality | None, path: Path | None = None) -> Source:
    kind = kind_of(file.path)
    if kind == "array":
        records, notes = read_numpy(file.place or file.read(), file.path)
        return Source(name, file.path, "records", records=records, notes=notes)
    if kind == "image":
        return Source(name, file.path, "images", [file], [None])
    if kind == "other":
        ending = PurePosixPath(file.path).suffix
        advice = "Unpack it and give the folder." if ending.lower() in _PACKED else _ADVICE
        raise Problem(f"{file.path}: cannot tell what a {ending} file holds. {advice}")
    data = b"" if kind == "table" else file.read()
    if kind == "idx" or data[:2] == b"\0\0":
        siblings = _idx_partner(path) if path is not None else None
        labels = read_idx(siblings.read_bytes(), str(siblings)) if siblings else None
        images, notes = array_records(read_idx(data, file.path), labels, file.path)
        return Source(name, file.path, "records", records={"all": images}, notes=notes)
    if kind == "audio":
        raise Problem(f"{file.path} is sound, which is not supported yet. {_ADVICE}")
    if kind == "text" and modality != "table":
        text, _ = decode_text(data, file.path)
        if not looks_tabular(text):
            raise Problem(f"{file.path} is text, which is not supported yet. {_ADVICE} (A table: --modality table.)")
    if modality == "image":
        raise Problem(f"{file.path} is a table, not images. Leave --modality out, or give a folder of images.")
    return Source(name, file.path, "tables", [file], [None])


def _idx_partner(path: Path) -> Path | None:
    """Return the labels that lie beside an idx file of images."""
    match = _IDX.match(path.name)
    if not match or match["what"].lower() != "images":
        return None
    return next((p for p in sorted(path.parent.iterdir()) if (m := _IDX.match(p.name))
                 and m["part"] == match["part"] and m["what"].lower() == "labels"), None)  # fmt: skip


# -- folders and zips --------------------------------------------------------------------------------------------------
def _from_folder(folder: Path, where: str, modality: Modality | None) -> Source:
    if all((folder / name).is_file() for name in ("config.json", "codec.json")):
        raise Problem(f"{where} is a fitted model, not data. Use it with genlearn sample, or give the data to fit.")
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    relative = [p.relative_to(folder) for p in found]
    files = [
        FileRef(r.as_posix(), p.read_bytes, p) for p, r in zip(found, relative, strict=True) if not _hidden(r.parts)
    ]
    return _from_files(files, folder.resolve().name, where, modality)


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _from_files(files: Sequence[FileRef], name: str, where: str, modality: Modality | None) -> Source:
    if not files:
        raise Problem(f"{where} is empty, or holds hidden files only. {_ADVICE}")
    by_kind: dict[Kind, list[FileRef]] = {}
    for f in files:
        by_kind.setdefault(kind_of(f.path), []).append(f)
    pictures, sheets = by_kind.get("image", []), by_kind.get("table", [])
    if len(by_kind.get("idx", [])) > 1 and modality != "table":
        if rivals := [f"{len(v):,} {_WORDS[k]} ({v[0].path})" for k, v in by_kind.items() if k in _WORDS]:
            raise Problem(f"{where} holds idx files and {', '.join(rivals)}. Name one folder or file inside.")
        return _from_idx(by_kind["idx"], name, where)
    if pictures and modality != "table":
        others = [f for f in files if kind_of(f.path) != "image"]
        other = f"{where} holds other files, which were left out ({len(others):,}, first: %s)."
        notes = [other % others[0].path] if others else []
        parts, _ = parts_of_paths([f.path for f in pictures])
        return Source(name, where, "images", pictures, parts, notes=notes)
    if sheets and modality != "image":
        return _from_sheets(sheets, name, where)
    if len(by_kind.get("array", [])) == 1:
        return _from_file(by_kind["array"][0], name, modality)
    if modality is None and len(files) == 1 and kind_of(files[0].path) == "text":
        return _from_file(files[0], name, modality)
    wanted = "a table" if modality == "table" else "an image"
    if modality is None and (heard := by_kind.get("audio", [])):
        raise Problem(
            f"{where} holds {len(heard):,} sound files, which are not supported yet (first: {heard[0].path}). {_ADVICE}"
        )
    counted = f"{len(files):,} files but none is {wanted}" if len(files) > 1 else f"one file, which is not {wanted}"
    raise Problem(f"{where} holds {counted} (first: {where.rstrip('/')}/{files[0].path}). {_ADVICE}")


def _from_sheets(sheets: Sequence[FileRef], name: str, where: str) -> Source:
    named = [part_of_word(_stem(PurePosixPath(f.path).name)) for f in sheets]
    if len(sheets) == 1:
        return Source(name, where, "tables", list(sheets), [None])
    if "train" in named and None not in named and len(set(named)) == len(named):
        order = sorted(range(len(sheets)), key=lambda i: ("train", "valid", "test").index(named[i] or "train"))
        return Source(name, where, "tables", [sheets[i] for i in order], [named[i] for i in order])
    shown = ", ".join(f.path for f in sheets[:4]) + (", ..." if len(sheets) > 4 else "")
    raise Problem(
        f"{where} holds {len(sheets)} tables ({shown}). Name one of them, or call them train, valid and test."
    )


def _from_idx(files: Sequence[FileRef], name: str, where: str) -> Source:
    found = {(m["part"].lower(), m["what"].lower()): f for f in files if (m := _IDX.match(PurePosixPath(f.path).name))}
    records: dict[str, Records] = {}
    notes: list[str] = []
    for word in dict.fromkeys(word for word, _ in found):
        part = part_of_word(word)
        pixels, labels = found.get((word, "images")), found.get((word, "labels"))
        if part is None or pixels is None:
            raise Problem(
                f"{where}: {word} has no pair of images and labels. Name them train-images-idx3-ubyte and so on."
            )
        place = f"{where.rstrip('/')}/{pixels.path}"
        y = read_idx(labels.read(), f"{where.rstrip('/')}/{labels.path}") if labels else None
        records[part], said = array_records(read_idx(pixels.read(), place), y, place)
        notes += said
    if not records:
        raise Problem(
            f"{where} holds {len(files)} idx files with unknown names (first: {files[0].path}). Name one of them."
        )
    found_parts = records if "train" in records else {"all": next(iter(records.values()))}
    return Source(name, where, "records", records=found_parts, notes=notes)


# -- the catalogue -----------------------------------------------------------------------------------------------------
def _from_catalog(known: catalog.Entry, written: str) -> Source:
    there = (
        [f"{written} is the data set of that name; write ./{written} for what lies here."]
        if Path(written).exists()
        else []
    )
    if not known.files:
        records = catalog.embedded(known.name)
        return Source(known.name, written, "records", records={"all": records}, notes=there, target=records.target)
    paths = catalog.fetch(known)
    if known.modality == "image":
        found = _from_idx([FileRef(str(p), p.read_bytes) for p in paths], known.name, written)
        found.notes += there
        return found
    files = [FileRef(p.with_suffix(".csv").name, _census(p)) for p in paths]
    return Source(known.name, written, "tables", files, ["train", "test"], notes=there, target=known.target)


def _census(path: Path) -> Callable[[], bytes]:
    """Read a file of the census data; UCI's own form has no header, a comment line, and a dot after the test labels."""

    def read() -> bytes:
        data = path.read_bytes()
        if path.suffix == ".csv":
            return data
        lines = [line.rstrip(".") for line in data.decode().splitlines() if line and not line.startswith("|")]
        return "\n".join([",".join(catalog.ADULT_COLUMNS), *lines, ""]).encode()

    return read


def _name(path: Path) -> str:
    """Return a short name for printing: that of the folder where the file is just called train or test."""
    stem = _stem(path.name)
    return path.resolve().parent.name or stem if stem.lower() in PART_WORDS else stem


def _stem(name: str) -> str:
    base = re.sub(r"\.gz$", "", name, flags=re.I)
    return PurePosixPath(base).stem or base
