r"""Labels of records by Bayes' rule, for every model that scores: \(p(y \mid x) = p(x, y) / \sum_{y'} p(x, y')\).

The names are those of scikit-learn's classifiers: `predict`, `predict_proba`, `classes_`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from .counting import counted
from .errors import Problem
from .layout import Code

CELLS = 2**19  # values per chunk, all labels together


class NoLabels(Problem, AttributeError):
    """The model was fitted without labels: it has no `predict`."""


def _has_labels(model: Any) -> None:
    """Raise `NoLabels` unless a model, if fitted, has labels to tell apart."""
    if model.__sklearn_is_fitted__() and not _levels(model):
        target = getattr(model.codec_, "target", None)
        numeric = model.codec_.modality == "table" and target is not None
        raise NoLabels(
            f'"{target}" is a number, which has no list of labels. Fill it in: impute(data, how="mean").'
            if numeric
            else f"this {model.name()} was fitted without labels. Fit with labels (y, --target, --label), or cluster."
        )


class _OfLabels:
    """A method that models which were fitted without labels do not have, as `hasattr` tells."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method, self.__doc__ = method, method.__doc__

    def __get__(self, model: Any, owner: type) -> Any:
        if model is None:
            return self.method
        _has_labels(model)
        return self.method.__get__(model, owner)


class Predicts:
    """Predicts the label of records. Part of `Scores`: a joint density is all that it takes."""

    @_OfLabels
    @final
    def predict(self: Any, data: Any) -> np.ndarray:
        """Return the likeliest label of every record, `(n,)`, as `fit` was given them.

        Arguments:
            data: Records in the form of `fit`; labels among them are not looked at.

        Example:
            >>> import numpy as np
            >>> from genlearn.models import GMM
            >>> x = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
            >>> model = GMM(components=2, random_state=0).fit(x, ["a", "a", "a", "b", "b", None])
            >>> model.predict([[0.05], [5.05]]).tolist(), model.classes_.tolist()
            (['a', 'b'], ['a', 'b'])
        """
        return self.classes_[self.predict_proba(data).argmax(1)]  # type: ignore[no-any-return]

    @_OfLabels
    @final
    @torch.no_grad()
    def predict_proba(self: Any, data: Any) -> np.ndarray:
        r"""Return \(p(y \mid x)\), `(n, labels)` in the order of `classes_`: float32 where nets compute it, else float64."""
        self._check_fitted()
        records, draws = self._records_of(data, None), self._dequantisation()
        found = [np.empty((0, _levels(self)))]
        size = max(1, CELLS // (self.layout_.head_size * _levels(self)))
        for _, block in records.blocks(size):
            raw = self.codec_.parse(block)
            terms = []
            for noise in counted(draws):
                code = self.codec_.transform(raw, noise=noise)
                slope = 0.0 if code.log_det is None else code.log_det[:, None]
                terms.append(self._label_log_prob(code).double().cpu() + slope)
            found.append(torch.logsumexp(torch.stack(terms), 0).softmax(1).numpy())
        return np.concatenate(found).astype(np.float32 if self.needs_gradients else np.float64)

    @property
    def classes_(self: Any) -> np.ndarray:
        """The labels, in the order of `predict_proba`."""
        _has_labels(self)
        levels = torch.arange(_levels(self))
        x = torch.zeros(len(levels), self.layout_.size, dtype=torch.float64)
        if not self.layout_.labels:
            x[:, -1] = levels
        return np.asarray(self.codec_.decode(Code(x, levels if self.layout_.labels else None)).labels)

    def _label_log_prob(self: Any, code: Code) -> Tensor:
        """Return `(n, labels)` log p(x, y) up to a constant of the record, whatever label the code has."""
        each = []
        for label in counted(range(_levels(self))):
            if self.layout_.labels:
                told = Code(code.x, torch.full((len(code),), label))
                each.append(self._log_prob(told).double() + torch.log(self.label_prior_[label].double()))
            else:
                x = code.x.clone()
                x[:, -1] = label
                each.append(self._log_prob(Code(x)).double())
        return torch.stack(each, 1)


def _levels(model: Any) -> int:
    """Return the number of labels, be they a condition or the last column; 0 without."""
    layout = model.layout_
    if layout.labels or not layout.fields:
        return int(layout.labels)
    last = layout.fields[-1]
    return int(last.levels) if last.role == "target" and last.kind in ("category", "binary") else 0
