"""Static MNIST (Larochelle's binarization), one hour on 2 cores: how low does a model of the family come?

50,000 training images, 10,000 validation images by which the best weights are chosen, 10,000 test images. Scores are
importance-weighted bounds; a hierarchy's draws are dear, so its K is smaller, which makes the figure worse, never better.
"""

from __future__ import annotations

from dataclasses import replace

import genlearn
from genlearn.models import HVAE

from .. import record
from ..checks import Report
from . import rows
from .rows import Row

LADDER = HVAE(
    net="ladder", width=64, channels=8, rungs=(2, 4, 1), batch=128, steps=24_000, lr=1.5e-3, weight_decay=0.01,
    random_state=0,
)  # fmt: skip
ROWS = (Row("HVAE ladder", LADDER, 60, 84.0, samples=100),)
QUICK = (
    Row(
        "HVAE ladder, quick",
        HVAE(net="ladder", width=16, channels=2, rungs=(1, 1), steps=20, random_state=0),
        1,
        samples=2,
    ),
)


def run(*, quick: bool = False) -> Report:
    """Train the rows, in slices if asked, and score those that are finished."""
    data = genlearn.read(record.data("binarized_mnist.npz"))
    if quick:
        data = replace(data, test=data.test.take(slice(0, 50)))
    table = QUICK if quick else ROWS
    states = [rows.trained(row, "static", data, data.test) for row in table]
    notes = [
        "Published: VAE 88.71, IWAE k = 50 87.10 (Burda et al.); pythae's VAE 89.78, VampPrior 85.79, IWAE 86.82; PixelCNN 81.30, "
        "IAF-VAE 79.88, VLAE 79.03, BIVA 80.47.",
        "The curve (minutes on 2 cores, training bound in nats) is in the JSON.",
        rows.CLOCK,
    ]
    return Report("Static MNIST", list(rows.checks(table, states)), notes, details=rows.details(table, states))
