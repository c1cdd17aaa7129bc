"""scikit-learn's own checks of estimators, over every registered model."""

from __future__ import annotations

import warnings
from collections import Counter

from genlearn.model import Model, model_class, model_names

from ..checks import Check, Report

EXPECTED: dict[str, str] = {}  # check -> why it may fail, for all models; at most five
STEPS = 3  # of models that train: these checks ask for form, not for learning


def estimators() -> list[Model]:
    """Return every registered model with its defaults; those that train do so for a few steps."""
    found = []
    for name in model_names():
        cls = model_class(name)
        found.append(cls(random_state=0, **({"steps": STEPS} if "steps" in cls.settings() else {})))
    return found


def run(*, quick: bool = False) -> Report:
    """Count what passes; `quick` makes no difference."""
    from sklearn.utils.estimator_checks import check_estimator

    checks, unexpected = [], []
    for model in estimators():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(model, on_fail=None, on_skip=None, expected_failed_checks=EXPECTED)
        counts = Counter(r["status"] for r in results)
        failed = [r["check_name"] for r in results if r["status"] == "failed"]
        unexpected += failed
        shown = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        checks.append(
            Check(model.name(), "none fails", shown + (f": {', '.join(failed)}" if failed else ""), not failed)
        )
    checks.append(Check("expected failures", "at most 5 checks", str(len(EXPECTED)), len(EXPECTED) <= 5))
    note = (
        "skipped is the check of array-API input, which asks for SCIPY_ARRAY_API=1 in the environment of the process."
    )
    return Report("scikit-learn's checks of estimators", checks, [note])
