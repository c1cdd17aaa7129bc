"""What scikit-learn asks of an estimator: tags, the number and names of features, its error for models that are not fitted.

With it `clone`, pipelines, grid searches, `set_output` and the diagrams of notebooks take genlearn's models as their own.
"""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags

from .codecs import Codec
from .data.records import Records
from .errors import Problem


class NotFitted(Problem, NotFittedError):
    """The model has not learned anything yet."""


class Estimator(BaseEstimator):
    """A density estimator in scikit-learn's sense; see https://scikit-learn.org/stable/developers/develop.html."""

    codec_: Codec

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    @property
    def n_features_in_(self) -> int:
        """How many values a record has, labels that were given apart from it left out."""
        return self.codec_.features

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns that `fit` was given; only for tables whose columns all have text for a name."""
        names = self.codec_.columns
        if not names:
            raise AttributeError("only tables with named columns have feature_names_in_")
        return np.array(names, dtype=object)

    def _check_features(self, records: Records) -> None:
        """Raise `Problem` if an array has another number of columns than the one that `fit` was given."""
        given = records.x.shape[1] - (records.options.get("y_apart", False) and records.modality == "table")
        if records.options.get("origin") == "array" and records.modality == "table" and given != self.n_features_in_:
            raise Problem(
                f"X has {given} features, but {type(self).__name__} is expecting {self.n_features_in_} features as input. "
                "Give the columns of the fit, in their order."
            )
