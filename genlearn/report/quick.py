"""A quick judgement of one fit, for the report that `genlearn fit` leaves; `genlearn evaluate` gives the full one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import store
from ..data.records import Dataset, Records
from ..metrics import Columns, Yardstick, nats
from ..metrics.pairs import pair_trends
from ..model import Model, Scores
from . import exhibits
from .rows import REAL, Trial

RECORDS, LEARNED = 500, 1000  # held-out records that are judged by, training records that features are learned from
PIXELS = 2**22  # of all training images together, so that learning features of them takes seconds


def judge_quickly(model: Model, data: Dataset, out: Path) -> list[str]:
    """Judge a fitted model in seconds and keep what its report shows: `row-0.json`, pictures, and `real/` beside them.

    At most 500 held-out records are used, and features are learned from at most 1,000 training records, so the time does not grow
    with the data. There is no copy test, which needs all training records. Return what is wrong with the model, one line each.

    Arguments:
        model: The fitted model.
        data: Its data set.
        out: The run folder.

    Errors:
        Problem: If there are no validation or test records to judge by.
    """
    learned = (
        LEARNED if data.modality == "table" else min(LEARNED, max(64, PIXELS // int(np.prod(data.train.x.shape[1:3]))))
    )
    small = replace(
        data, train=_some(data.train, learned), valid=_some(data.valid, RECORDS), test=_some(data.test, RECORDS)
    )
    yardstick = Yardstick(small)
    schema = yardstick.schema
    real = Trial(REAL, reference=True)
    exhibits.note_judgement(real, yardstick.judge(small.valid, full=False))
    exhibits.show_real(real, small, schema, out / "real")
    store.write_json(out / "real" / "row-0.json", real.to_json())

    fake = model.draw(yardstick.n, random_state=0)
    judgement = yardstick.judge(fake, model=model, full=False)
    if schema is not None:
        judgement = replace(judgement, columns=Columns({}, pair_trends(schema, small.test.x, fake.x)))
    trial = Trial(model.name(), settings=model.get_params(deep=False), notes=list(model.codec_.notes))
    exhibits.note_judgement(trial, judgement)
    if isinstance(model, Scores):
        trial.kind, trial.metrics["nats"] = model.kind_, nats(model.log_prob(small.test))
    exhibits.show(trial, model, small, fake, judgement, schema, out)
    store.write_json(out / "row-0.json", trial.to_json())
    return list(trial.exhibits["findings"])


def _some(records: Records, most: int) -> Records:
    """Return records drawn with a fixed seed, in their order."""
    if len(records) <= most:
        return records
    return records.take(np.sort(np.random.default_rng(0).permutation(len(records))[:most]))
