"""What the paths of files say: which part a record belongs to, and its label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from ..errors import Problem
from .records import Part

PART_WORDS: dict[str, Part] = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip


def part_of_word(name: str) -> Part | None:
    """Return the part that a folder, file or key names, or None.

    Example:
        >>> part_of_word("Validation"), part_of_word("adult-test"), part_of_word("contest")
        ('valid', 'test', None)
    """
    words = [w for w in re.split(r"[^a-z0-9]+", name.lower()) if w]
    found = {PART_WORDS[w] for w in words if w in PART_WORDS}
    return found.pop() if len(found) == 1 else None


def parts_of_paths(paths: Sequence[str]) -> tuple[list[Part | None], list[str]]:
    """Return the part of every path and the paths below the part folders; wrapping folders shared by all are left out.

    Example:
        >>> parts_of_paths(["pets/train/cat/1.png", "pets/test/cat/2.png"])
        (['train', 'test'], ['cat/1.png', 'cat/2.png'])
    """
    split = [PurePosixPath(p).parts for p in paths]
    while all(len(s) > 1 for s in split) and len({s[0] for s in split}) == 1 and split[0][0].lower() not in PART_WORDS:
        split = [s[1:] for s in split]
    firsts = {s[0].lower() if len(s) > 1 else "" for s in split}
    if firsts <= set(PART_WORDS):
        parts: list[Part | None] = [PART_WORDS[s[0].lower()] for s in split]
        return (parts if len(set(parts)) > 1 else [None] * len(split)), ["/".join(s[1:]) for s in split]
    return [None] * len(split), ["/".join(s) for s in split]


def labels_of_paths(paths: Sequence[str], rule: str | int | None, where: str) -> tuple[np.ndarray | None, list[str]]:
    r"""Return one label per path (objects, NaN where the rule finds none), or None without labels, and notes.

    Arguments:
        paths: Relative paths with `/`.
        rule: None: subfolders are labels if there are at least two and they repeat. A number: that folder level, 1 is the
            first. A regular expression with one group (`(\d)_.*`) or a glob with one `(*)`: matched with the file name, or
            with the whole path if it holds a `/`. `none`: no labels.
        where: Name of the source, for messages.

    Errors:
        Problem: If the rule is malformed or matches nothing.

    Example:
        >>> labels_of_paths(["7_ann_1.png", "3_bob_2.png"], "(*)_*_*.png", "digits/")[0].tolist()
        ['7', '3']
    """
    if rule is not None and str(rule) == "none":
        return None, []
    if rule is None:
        return _folder_labels(paths)
    if isinstance(rule, int) or rule.isdigit():
        level = int(rule)
        found = [PurePosixPath(p).parts[:-1] for p in paths]
        labels: list[str | None] = [f[level - 1] if 0 < level <= len(f) else None for f in found]
        hint = f"folder level {level} does not exist (first path: {paths[0]}); 1 is the first folder"
    else:
        pattern = _pattern(rule)
        matches = [pattern.search(p if "/" in rule else PurePosixPath(p).name) for p in paths]
        labels = [m[1] if m else None for m in matches]
        hint = f'"{rule}" matches no file name (first: {paths[0]})'
    unknown = labels.count(None)
    if unknown == len(labels):
        raise Problem(f"--label: {hint}. Give a folder level or a pattern with one group such as '(\\d+)_.*'.")
    notes = [f"{unknown:,} of {len(labels):,} files of {where} have no label: unknown."] if unknown else []
    return _objects(labels), notes


def _folder_labels(paths: Sequence[str]) -> tuple[np.ndarray | None, list[str]]:
    firsts = [s[0] if len(s := PurePosixPath(p).parts) > 1 else None for p in paths]
    counts = Counter(f for f in firsts if f)
    if len(counts) < 2 or firsts.count(None) > 0.05 * len(firsts):
        return None, []
    if len(counts) > 0.5 * len(firsts) and len(firsts) > 10:
        return None, [f"{len(counts):,} subfolders for {len(firsts):,} files are not taken as labels (--label 1 does)."]
    return _objects(firsts), []


def _pattern(rule: str) -> re.Pattern[str]:
    if "(*)" in rule:
        rule = "".join({"*": "[^/]*", "?": "[^/]", "(": "(", ")": ")"}.get(c, re.escape(c)) for c in rule)
        return re.compile(f"^{rule}$")
    try:
        pattern = re.compile(rule)
    except re.error as e:
        raise Problem(f"--label: \"{rule}\" is no regular expression ({e}). Use one like '(\\d+)_.*'.") from None
    if pattern.groups != 1:
        raise Problem(
            f"--label: \"{rule}\" has {pattern.groups} groups. Put one pair of brackets around the label: '(\\d+)_.*'."
        )
    return pattern


def _objects(labels: Sequence[str | None]) -> np.ndarray:
    y = np.empty(len(labels), dtype=object)
    y[:] = [np.nan if v is None else v for v in labels]
    return y
