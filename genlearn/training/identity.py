"""Which run a checkpoint belongs to: its settings, seed and data. Resuming with others is refused, and so are processes that differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import ranks, store
from ..errors import Problem
from ..layout import Code
from .feed import fingerprint

FREE = ("device", "random_state")  # settings that may differ; the seed that was used is compared instead


def identity_of(settings: Mapping[str, Any], seed: int, code: Code) -> dict[str, Any]:
    """Return what must be the same for a run to go on."""
    kept = store.to_jsonable({k: v for k, v in settings.items() if k not in FREE})
    return {"settings": kept, "seed": seed, "records": len(code), "data": fingerprint(code)}


def check_identity(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare what a run was begun with to what it is asked to go on with.

    Errors:
        Problem: If they differ: one line that names what.
    """
    before = {**store.to_jsonable(then["settings"]), "random_state": then["seed"]}
    after = {**now["settings"], "random_state": now["seed"]}
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            raise Problem(
                f"{path} was begun with {key} {before.get(key)}, not {after.get(key)}. "
                "Keep the settings of the run, or choose a new --out."
            )
    if then["records"] != now["records"]:
        raise Problem(
            f"{path} was begun with {then['records']:,} records, these are {now['records']:,}. Give the same."
        )
    if then["data"] != now["data"]:
        raise Problem(f"{path} was begun with other data, or with other labels. Give the same, or choose a new --out.")


def check_alike(identity: Mapping[str, Any]) -> None:
    """Make sure that processes which learn together were given the same: settings, seed and data.

    Errors:
        Problem: If they were not, in all of them.
    """
    digests = set(ranks.texts(hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()))
    if len(digests) > 1:
        raise Problem(
            f"the {ranks.world()} processes were given different settings or records. Give all the same: seed what draws them."
        )
