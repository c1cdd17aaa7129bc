"""The sentence that says which model to keep, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..metrics import Result, paired_difference
from .rows import REAL, Row, numbers

CHEAPER = 1.5  # below this factor two fits cost about the same
NEARLY = 0.03  # differences in usefulness that a person would not act on
VISIBLE = 0.005  # smaller differences vanish in print
TOLD_APART = 0.95  # a judge this good hardly ever errs
UNCLEAR = 0.65  # an interval that holds 0.5 and reaches this far says too little


@dataclass(frozen=True)
class Verdict:
    """Which model to keep.

    Arguments:
        winner: The candidate with the lowest two-sample AUC; None if there is no candidate.
        keep: The model to keep: the winner, or a cheaper one where no difference is shown.
        headline: The decision in a few words.
        reasons: Sentences that say why, and what else a person should know.
        seeds: Seeds per model.
        runner_up: The candidate that the winner was compared with.
        difference: Two-sample AUC of the runner-up minus that of the winner, paired over seeds and blocks.
    """

    winner: str | None
    keep: str | None
    headline: str
    reasons: tuple[str, ...] = field(default=())
    seeds: int = 1
    runner_up: str | None = None
    difference: Result | None = None

    @property
    def text(self) -> str:
        """The verdict as one paragraph."""
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return " ".join([f"Verdict ({seeds}): {self.headline}.", *self.reasons])

    def to_json(self) -> dict[str, Any]:
        """Return the verdict in the schema of `report.json`."""
        difference = None if self.difference is None else numbers(self.difference)
        return {
            "winner": self.winner, "keep": self.keep, "text": self.text, "headline": self.headline,
            "reasons": list(self.reasons), "seeds": self.seeds, "runner_up": self.runner_up, "difference": difference,
        }  # fmt: skip


def judge(models: Sequence[Row], references: Sequence[Row]) -> Verdict:
    r"""Decide by the two-sample AUC (mean over both feature spaces) among models that were not flagged for copying.

    The lowest wins. If the paired 95 % interval of the difference to the runner-up includes 0, no difference is shown and the
    cheaper of the two is to be kept. Log likelihoods decide nothing: they are comparable within one measure and kind only.

    Arguments:
        models: The candidates.
        references: Yardsticks, which cannot win but are mentioned where they are ahead.
    """
    seeds = max((len(row.good) for row in models), default=1)
    able = [row for row in models if row.copies is not True and row.value("auc") is not None]
    able.sort(key=lambda row: (row.value("auc") or 0.0, row.seconds))
    copying = [row.name for row in models if row.copies is True]
    remarks = [f"{_names(copying)} left out: the samples copy training records."] if copying else []
    if not able:
        why = "every model failed or was flagged for copying" if models else "no model was compared"
        return Verdict(None, None, f"no model to keep, since {why}", tuple(remarks), max(seeds, 1))
    best = able[0]
    if len(able) == 1:
        reasons = [f"It is the only candidate with a two-sample AUC ({best.value('auc'):.2f}).", _copying(best)]
        return Verdict(
            best.name, best.name, f"keep {best.name}", (*reasons, *_ahead(best, references), *remarks), seeds
        )
    second = able[1]
    difference = _difference(second, best)
    if difference.low is not None and difference.low > 0:
        keep, headline = best, f"keep {best.name}"
        reasons = [
            f"It beats {second.name} on realism (two-sample AUC lower by {_interval(difference)}){_and_copying(best)}",
            *_bargain(second, best),
        ]
    else:
        keep = second if best.seconds > CHEAPER * second.seconds else best
        other = best if keep is second else second
        headline = f"no difference shown between {best.name} and {second.name}; keep {keep.name}"
        apart = (
            f" differs by {_interval(difference)}, which includes 0"
            if difference.low is not None
            else " has no interval"
        )
        cheaper = other.seconds > CHEAPER * keep.seconds
        cost = f"{keep.name} is {_times(other, keep)} cheaper." if cheaper else "Both cost about the same."
        reasons = [f"Their two-sample AUC{apart}.", cost, _copying(keep)]
    reasons += _ahead(keep, references)
    return Verdict(best.name, keep.name, headline, (*reasons, *remarks), seeds, second.name, difference)


def alone(row: Row) -> Verdict:
    """Return what is to be said of one model that was compared with real data only."""
    auc = row.metrics.get("auc")
    if row.copies:
        return Verdict(None, None, f"{row.name} hands out training records: do not use it as a source of new ones")
    if auc is None or auc.value is None:
        return Verdict(None, None, f"{row.name} has no two-sample AUC", ("`genlearn evaluate` judges it.",))
    headline = _told_apart(row.name, auc.value, auc)
    reasons = [f"The two-sample AUC is {_interval(auc)}; 0.5 is perfect."]
    if not row.good[0].copies:
        reasons.append(f"A quick judgement on {auc.n:,} records of each side, without a test for copies;")
        reasons.append("`genlearn evaluate` gives the full one.")
    return Verdict(None, None, headline, tuple(reasons))


def _told_apart(name: str, value: float, auc: Result) -> str:
    """Return whether samples are told from real records, as far as the interval lets anybody say so."""
    if auc.low is not None and auc.low > 0.5:
        return f"samples of {name} can {'sometimes ' if value < 0.75 else ''}be told from real records"
    if auc.high is not None and auc.high < UNCLEAR:
        return f"samples of {name} cannot be told from real records"
    return f"{auc.n:,} records are too few to say whether samples of {name} look real"


def _difference(second: Row, best: Row) -> Result:
    pairs = [
        (a.metrics["auc"], b.metrics["auc"])
        for a, b in zip(second.good, best.good, strict=False)
        if a.metrics["auc"].value is not None and b.metrics["auc"].value is not None
    ]
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs])


def _interval(result: Result) -> str:
    if result.low is None or result.high is None:
        return f"{result.value:.2f}"
    digits = 3 if min(abs(result.low), abs(result.high)) < 0.005 else 2
    value, low, high = (float(v or 0.0) + 0.0 for v in (result.value, result.low, result.high))
    return f"{value:.{digits}f} [{low:.{digits}f} {high:.{digits}f}]"


def _copying(row: Row) -> str:
    return "No copying was found." if row.copies is False else "Copying could not be tested."


def _and_copying(row: Row) -> str:
    return " and no copying was found." if row.copies is False else "; copying could not be tested."


def _times(dear: Row, cheap: Row) -> str:
    factor = dear.seconds / max(cheap.seconds, 1e-3)
    return "more than 1000x" if factor > 1000 else f"{factor:.0f}x" if factor >= 3 else f"{factor:.1f}x"


def _bargain(second: Row, best: Row) -> list[str]:
    """Say what speaks for the runner-up: cost, or records that are better to learn from."""
    a, b = second.value("useful"), best.value("useful")
    known = a is not None and b is not None
    gap = 0.0 if a is None or b is None else a - b
    values = f" ({a:.2f} against {b:.2f})" if known else ""
    if best.seconds < CHEAPER * second.seconds:
        return [f"{second.name} is more useful, though{values}."] if gap > NEARLY else []
    cheap = f"{second.name} is {_times(best, second)} cheaper"
    if not known:
        return [f"{cheap}."]
    if gap < -NEARLY:
        return [f"{cheap} but less useful{values}."]
    return [
        f"{cheap} and {'more useful' + values if gap > NEARLY else 'nearly as useful' if gap < 0 else 'just as useful'}."
    ]


def _ahead(keep: Row, references: Sequence[Row]) -> list[str]:
    """Say where a trivial yardstick is ahead of the model to keep, and where everything is told apart."""
    value = keep.value("auc") or 0.0
    ahead = [
        f"{row.name} ({a:.2f})"
        for row in references
        if row.name != REAL and row.copies is False and (a := row.value("auc")) is not None and a < value - VISIBLE
    ]
    remarks = []
    if ahead:
        who = "reference" if len(ahead) == 1 else "references"
        remarks.append(f"Beware: the {who} {_names(ahead)} ahead of it ({value:.2f}).")
    if value >= TOLD_APART:
        remarks.append(
            f"Its records are still told from real ones nearly always (AUC {value:.2f}); a longer budget may help."
        )
    return remarks


def _names(names: Sequence[str]) -> str:
    joined = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    return f"{joined} {'is' if len(names) == 1 else 'are'}"
