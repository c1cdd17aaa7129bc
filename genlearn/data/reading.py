"""`read`: any source a person has, into a `Dataset` of three parts with notes on what was seen and done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..errors import Problem, did_you_mean
from .arrange import labels_of_paths, parts_of_paths
from .arrays import array_records
from .binary import Binarize, binarized, check_binarize
from .cells import check_cells
from .cleaning import NATURAL_REPEATS, column_notes, duplicate_notes, inferred, repeated, repeats_in, summarise
from .images import ImageFile, load_images
from .memory import allowance, fits, in_words
from .raw import readable
from .records import Dataset, Modality, Part, Records, as_records, fingerprint
from .sources import Source, locate
from .split import TEST_SHARE, VALID_SHARE, assign
from .tables import TableFile, load_tables

Scale = Literal["auto", "standard", "minmax", "quantile", "none"]
_PARTS: tuple[Part, ...] = ("train", "valid", "test")


def read(
    source: Any,
    *,
    target: str | None = None,
    label: str | int | None = None,
    modality: Modality | None = None,
    types: Mapping[str, str] | None = None,
    scale: Scale | None = None,
    drop_duplicates: bool = False,
    valid: Any = None,
    test: Any = None,
    header: bool = True,
    size: int | tuple[int, int] | None = None,
    binarize: Binarize | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> Dataset:
    r"""Read any source into train, valid and test records, with notes on what was seen and done.

    Parts that the source brings (`train/` and `test/` folders, npz keys, idx pairs, files named so) are kept; missing ones
    are cut from train. Without parts, records are cut 70/10/20 by a hash of their position and the seed, repeated ones
    together.

    Arguments:
        source: A path (folder or zip of images; CSV, TSV, JSON lines, Parquet, also gzipped; `.npy`, `.npz`; idx), a name of
            `datasets()`, a DataFrame, an array, a pair `(x, y)`, `Records` or a `Dataset`.
        target: The column of a table that is the label.
        label: Where labels of images are: a folder level (1 = first), a regular expression with one group or a glob with
            one `(*)` over file names, or `none`; class subfolders are labels by themselves. For tables the same as `target`.
        modality: `table` or `image`, where a source could be both.
        types: Column -> `real`, `integer`, `category`, `boolean`, `date`, `id`, `text` or `constant`.
        scale: How models see numbers: `auto`, `standard`, `minmax`, `quantile` or `none`.
        drop_duplicates: Keep only the first of equal records.
        valid: A source for the validation part.
        test: A source for the test part.
        header: False: the first row of a delimited file is data. True: it is a header unless it parses like the body.
        size: Height and width of images in pixels; one number for a square.
        binarize: Make images two-valued: `threshold` at half; `dynamic`: a pixel is white with probability level / 255, drawn once
            for valid and test and anew for every training batch.
        rows: Learn from at most so many records, drawn from the training part; valid and test stay as they are.
        seed: Same seed, same split.

    Errors:
        Problem: If there is nothing to read, or it does not fit together; says what, where and the fix.

    Example:
        >>> import genlearn
        >>> genlearn.read("digits").summary.split(" (")[0]
        '1,797 images 8x8 grey, 10 labels · train 1,257 / valid 180 / test 360'
    """
    _check(target, label, modality, scale, rows, seed)
    check_binarize(binarize)
    main = _open(source, modality)
    given: dict[str, Source] = {n: _open(s, modality) for n, s in (("valid", valid), ("test", test)) if s is not None}
    if isinstance(source, Dataset) and not given and not any((target, label, types, scale, drop_duplicates)):
        return source
    notes = [n for s in (main, *given.values()) for n in s.notes]
    wish = target if target is not None else (str(label) if label is not None else None)
    parts, said = _load(main, given, header, size, label if label is not None else target, wish)
    notes += said
    parts = {name: _optioned(r, types, scale) for name, r in parts.items()}
    _check_alike(parts, main)
    brought = "all" not in parts
    columns = {}
    parts = {name: _targeted(r, main.target if wish is None else wish, main.where) for name, r in parts.items()}
    if next(iter(parts.values())).modality == "table":
        whole = Records.join(list(parts.values()))
        from .told import check_left, check_told  # and pandas with it, which the names of data sets can do without

        columns = inferred(whole)
        check_told(whole.x, types or {}, main.where)
        check_left(columns, main.where)
        if whole.target is not None and not columns[whole.target].n_distinct:
            raise Problem(
                f'{main.where}: the target "{whole.target}" has no value in any row. Choose another --target.'
            )
        notes += column_notes(whole, columns)
    cut, said = _cut(parts, drop_duplicates, seed)
    notes += said
    if binarize is not None:
        cut = {name: binarized(part, binarize, name, seed) for name, part in cut.items()}
    if rows is not None and rows < (n := len(cut["train"])):
        cut["train"] = cut["train"].take(np.sort(np.random.default_rng(seed).permutation(n)[:rows]))
        notes.append(f"{rows:,} of {n:,} training records are learned from (--rows).")
    if not fits(size := cut["train"].nbytes):
        notes.append(
            f"{in_words(size)} of training records are read from the disk: {in_words(allowance())} of memory may be used "
            "for data in all their forms (GENLEARN_MEMORY changes it)."
        )
    data = Dataset(
        main.name, cut["train"], cut["valid"], cut["test"], tuple(dict.fromkeys(notes)), brought_split=brought
    )
    return replace(data, summary=summarise(data, columns))


def read_all(source: Any, **options: Any) -> Records:
    """Read every record of a source in its own order, parts one after the other; options as in `read`, without a split.

    Example:
        >>> len(read_all("wine"))
        178
    """
    known = {
        k: v
        for k, v in options.items()
        if k in ("target", "label", "modality", "types", "scale", "header", "size", "binarize")
    }
    if unknown := sorted(set(options) - set(known)):
        raise Problem(f"read_all takes no {', '.join(unknown)}. Use read for splits.")
    main = _open(source, known.get("modality"))
    label, target = known.get("label"), known.get("target")
    wish = target if target is not None else (str(label) if label is not None else None)
    parts, _ = _load(
        main, {}, known.get("header", True), known.get("size"), label if label is not None else target, wish
    )
    parts = {name: _optioned(r, known.get("types"), known.get("scale")) for name, r in parts.items()}
    records = Records.join([parts[name] for name in ("all", *_PARTS) if name in parts])
    if known.get("binarize") == "threshold":  # what is dynamic, the codec of a model draws
        records = binarized(records, "threshold", "test", 0)
    return _targeted(records, main.target if wish is None else wish, main.where)


# -- opening -----------------------------------------------------------------------------------------------------------
def _check(target: Any, label: Any, modality: Any, scale: Any, rows: Any, seed: Any) -> None:
    if modality is not None and modality not in get_args(Modality):
        raise Problem(f'no modality "{modality}".{did_you_mean(str(modality), get_args(Modality))} Use table or image.')
    if scale is not None and scale not in get_args(Scale):
        close = did_you_mean(str(scale), get_args(Scale))
        raise Problem(f'--scale must be one of {", ".join(get_args(Scale))}, not "{scale}".{close}')
    if target is not None and label is not None and str(label) != target:
        raise Problem(f'--target says "{target}" and --label says "{label}". Give one of them.')
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int | np.integer) or rows < 1):
        raise Problem(f"--rows must be a whole number of at least 1, not {rows!r}.")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise Problem(f"seed must be a whole number of at least 0, not {seed!r}.")


def _open(source: Any, modality: Modality | None) -> Source:
    if isinstance(source, str | Path):
        return locate(source, modality)
    if isinstance(source, Dataset):
        parts: dict[str, Records] = {n: source.part(n) for n in _PARTS if len(source.part(n))}
        return Source(source.name, source.name, "records", records=parts, notes=list(source.notes))
    notes: list[str] = []
    if isinstance(source, tuple) and len(source) == 2 and not np.isscalar(source[0]):
        records = as_records(*source)
    elif isinstance(source, np.ndarray) and source.ndim in (3, 4):
        records, notes = array_records(source)
    else:
        records = as_records(source)
    if not len(records):
        raise Problem("there are no records to read: the data has no rows. Give at least one.")
    if records.modality == "table":
        check_cells(records.x, "the table")
    return Source("data", "the data", "records", records={"all": records}, notes=notes)


# -- loading -----------------------------------------------------------------------------------------------------------
def _load(
    main: Source, given: Mapping[str, Source], header: bool, size: Any, label: str | int | None, target: str | None
) -> tuple[dict[str, Records], list[str]]:
    """Read files and sort records into parts; files of one kind are read together so that types and sizes agree."""
    sources = [main, *given.values()]
    overruled = [n for n in given if n in main.parts or n in main.records]
    notes = [f"the {n} part that {main.where} brings is replaced." for n in overruled]
    if len({s.kind for s in sources}) > 1 or main.kind == "records":
        parts = {k: v for k, v in _alone(main, header, size, label, target, notes).items() if k not in overruled}
        for name, source in given.items():
            parts[name] = Records.join(list(_alone(source, header, size, label, target, notes).values()))
    else:
        files = [(p, f, main) for p, f in zip(main.parts, main.files, strict=True) if p not in overruled]
        files += [(name, f, s) for name, s in given.items() for f in s.files]  # type: ignore[misc]
        parts = _together(files, main, header, size, label, target, notes)
    if given and "all" in parts:
        parts["train"] = parts.pop("all")
    return {n: parts[n] for n in ("all", *_PARTS) if n in parts}, notes


def _alone(
    source: Source, header: bool, size: Any, label: Any, target: str | None, notes: list[str]
) -> dict[str, Records]:
    if source.kind == "records":
        return dict(source.records)
    files = [(p, f, source) for p, f in zip(source.parts, source.files, strict=True)]
    return _together(files, source, header, size, label, target, notes)


def _together(
    files: list[Any], main: Source, header: bool, size: Any, label: Any, target: str | None, notes: list[str]
) -> dict[str, Records]:
    if main.kind == "tables":
        if size is not None:
            raise Problem(f"--size is for images, {main.where} is a table. Leave it out.")
        sheets = [TableFile(_shown(s, f), f.read, f.place) for _, f, s in files]
        with readable(main.where):
            frames, said = load_tables(sheets, header=header, target=target or main.target)
        notes += said
        pieces: dict[str, list[Records]] = {}
        for (part, _, _), frame in zip(files, frames, strict=True):
            pieces.setdefault(part or "all", []).append(Records("table", frame, options={"origin": "dataframe"}))
        return {part: Records.join(records) for part, records in pieces.items()}
    return _images(files, main, size, label, notes)


def _images(files: list[Any], main: Source, size: Any, label: Any, notes: list[str]) -> dict[str, Records]:
    with readable(main.where):
        x, good, said = load_images([ImageFile(_shown(s, f), f.read) for _, f, s in files], size, main.where)
    notes += said
    labels = np.full(len(files), np.nan, dtype=object)
    found = False
    for source in {id(s): s for _, _, s in files}.values():
        rows = [i for i, (_, _, s) in enumerate(files) if s is source]
        paths = [files[i][1].path for i in rows]
        level = label is not None and str(label).isdigit() and not any(source.parts)
        y, said = labels_of_paths(paths if level else parts_of_paths(paths)[1], label, source.where)
        notes += said
        if y is not None:
            labels[rows], found = y, True
    parts = np.array([p or "all" for p, _, _ in files], dtype=object)[good]
    y = labels[good] if found else None
    records = Records("image", x, y, "label" if found else None, {"origin": "files"})
    return {p: records.take(np.flatnonzero(parts == p)) for p in ("all", *_PARTS) if (parts == p).any()}


def _shown(source: Source, file: Any) -> str:
    return file.path if file.path == source.where else f"{source.where.rstrip('/')}/{file.path}"


# -- options, target, split --------------------------------------------------------------------------------------------
def _optioned(records: Records, types: Mapping[str, str] | None, scale: str | None) -> Records:
    options = dict(records.options)
    if types:
        if records.modality != "table":
            raise Problem("--types is for the columns of tables; these are images. Leave it out.")
        options["types"] = {**options.get("types", {}), **types}
    if scale is not None:
        options["scale"] = scale
    return replace(records, options=options)


def _check_alike(parts: Mapping[str, Records], main: Source) -> None:
    first = next(iter(parts.values()))
    for name, part in parts.items():
        if part.modality != first.modality:
            raise Problem(
                f"{main.where} is {first.modality} data but the {name} part is {part.modality} data. Give both in one form."
            )
        if first.modality == "image" and part.x.shape[1:] != first.x.shape[1:]:
            raise Problem(
                f"{main.where} has images of {first.x.shape[1:]} (height, width, channels) but the {name} part has "
                f"{part.x.shape[1:]}. Give --size, or images of one shape."
            )
        if first.modality == "table" and (lost := [c for c in first.x if c not in part.x and c != first.target]):
            raise Problem(
                f'the {name} part has no column "{lost[0]}", which {main.where} has. Give parts with the same columns.'
            )


def _targeted(records: Records, target: str | None, where: str) -> Records:
    if target is None or records.modality == "image":
        return replace(records, y=None, target=None) if target == "none" else records
    if target == "none":
        return replace(records, target=None)
    if target not in records.x.columns:
        names = [str(c) for c in records.x.columns]
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise Problem(f'{where} has no column "{target}".{did_you_mean(target, names)} Columns: {shown}.')
    return replace(records, target=target)


def _cut(parts: dict[str, Records], drop: bool, seed: int) -> tuple[dict[Part, Records], list[str]]:
    """Drop repeats if asked, then cut the parts that are missing from the first one."""
    content, dropped = {}, 0
    source = "all" if "all" in parts else "train"
    for name, part in parts.items():
        content[name] = fingerprint(part)
        if drop and (again := repeated(content[name])).any():
            parts[name], content[name], dropped = part.take(~again), content[name][~again], dropped + int(again.sum())
    hashes = content.pop(source)
    repeats = repeats_in(hashes) / max(1, len(hashes))
    notes = []
    apart = parts[source].modality == "table" and repeats > NATURAL_REPEATS
    shares = {n: 0.0 if n in parts else s for n, s in (("valid", VALID_SHARE), ("test", TEST_SHARE))}
    number = assign(np.arange(len(hashes)) if apart else hashes, **shares, seed=seed)
    if apart and any(shares.values()):
        notes.append("so many rows repeat that equal rows may lie in different parts.")
    cut: dict[Part, Records] = {}
    hashed: dict[str, np.ndarray] = {}
    for k, name in enumerate(_PARTS):
        if name in content:
            cut[name], hashed[name] = parts[name], content[name]
        else:
            rows = np.flatnonzero(number == k)
            cut[name], hashed[name] = parts[source].take(rows), hashes[rows]
    del hashes, number
    return cut, duplicate_notes(hashed, dropped) + notes
