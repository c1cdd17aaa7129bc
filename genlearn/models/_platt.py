r"""Support-vector classifiers with Platt's probabilities: one machine per class against the rest, a sigmoid on its value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

Kind = Literal["linear", "rbf"]

FOLDS = 3  # parts in turn left out, whose decision values the sigmoids are fitted to
CELLS = 4_000_000  # kernel values held at once


@dataclass
class Machines:
    r"""Decision values \(f_c(x) = \sum_s a_{cs} k(x, v_s) + b_c\) and sigmoids \(1 / (1 + \exp(A_c f_c + B_c))\).

    Of two classes only the second has a machine. Of more, the sigmoids are divided by their sum.

    Arguments:
        kind: `linear`, \(k(x, v) = x \cdot v\), or `rbf`, \(k(x, v) = \exp(-\gamma |x - v|^2)\).
        gamma: \(\gamma\); unused for `linear`.
        vectors: \(v\), `(s, p)`.
        duals: \(a\), `(M, s)`.
        offsets: \(b\), `(M,)`.
        platt: \(A, B\), `(M, 2)`.

    References:
        Probabilistic Outputs for Support Vector Machines (Platt, 1999),
        https://www.researchgate.net/publication/2594015
        Transforming Classifier Scores into Accurate Multiclass Probability Estimates (Zadrozny & Elkan, 2002),
        https://doi.org/10.1145/775047.775151
    """

    kind: Kind
    gamma: float
    vectors: Tensor
    duals: Tensor
    offsets: Tensor
    platt: Tensor

    def decide(self, x: Tensor) -> Tensor:
        """Return decision values `(n, M)` of features `(n, p)`."""
        v = self.vectors.double()
        parts = []
        for rows in x.double().split(max(1, CELLS // max(1, len(v)))):
            k = rows @ v.T
            if self.kind == "rbf":
                squares = rows.square().sum(1, keepdim=True) - 2 * k + v.square().sum(1)
                k = (-self.gamma * squares.clamp_min(0)).exp()
            parts.append(k @ self.duals.T + self.offsets)
        return torch.cat(parts)

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log probabilities of the classes `(n, L)`."""
        value = self.platt[:, 0] * self.decide(x) + self.platt[:, 1]
        log_p = torch.nn.functional.logsigmoid(-value)
        if len(self.platt) == 1:
            return torch.cat([torch.nn.functional.logsigmoid(value), log_p], 1)
        return log_p - torch.logsumexp(log_p, 1, keepdim=True)


def train(x: Tensor, y: Tensor, classes: int, kind: Kind, penalty: float) -> Machines:
    """Return machines trained on features `(n, p)` and labels `(n,)`, with sigmoids fitted to rows that were left out.

    Arguments:
        x: Features, about unit size.
        y: Labels, 0..classes-1, in random order.
        classes: How many classes there are.
        kind: Kernel.
        penalty: Price C of a margin violation.
    """
    features, n = np.ascontiguousarray(x.double().numpy()), len(x)
    spread = float(features.var()) * features.shape[1]
    gamma = 1 / spread if spread > 0 else 1.0
    gram = np.empty((0, 0))
    if kind == "rbf":
        squares = np.square(features).sum(1)
        gram = features @ features.T
        gram *= 2
        gram -= squares[:, None]
        gram -= squares
        gram = np.exp(gamma * np.minimum(gram, 0, out=gram), out=gram)
    fold = np.arange(n) % FOLDS
    everyone = np.arange(n)
    rows, offsets, sigmoids = [], [], []
    for c in [1] if classes == 2 else range(classes):
        sign = np.where(y.numpy() == c, 1.0, -1.0)
        left_out = np.zeros(n)
        for part in range(FOLDS):
            inside, outside = everyone[fold != part], everyone[fold == part]
            weights, offset = _machine(features, gram, sign, inside, penalty)
            seen = gram[outside] @ weights if kind == "rbf" else features[outside] @ weights
            left_out[outside] = seen + offset
        weights, offset = _machine(features, gram, sign, everyone, penalty)
        rows.append(weights)
        offsets.append(offset)
        sigmoids.append(sigmoid(left_out, sign > 0))
    duals = torch.from_numpy(np.array(rows))
    if kind == "linear":
        vectors, duals = duals, torch.eye(len(rows), dtype=torch.float64)
    else:
        kept = torch.nonzero((duals != 0).any(0))[:, 0]
        vectors, duals = torch.from_numpy(features)[kept], duals[:, kept].contiguous()
    return Machines(kind, gamma, vectors, duals, torch.tensor(offsets), torch.tensor(sigmoids))


def _machine(
    features: np.ndarray, gram: np.ndarray, sign: np.ndarray, rows: np.ndarray, penalty: float
) -> tuple[np.ndarray, float]:
    """Return weights (of features, or with a Gram matrix of records) and offset; zeros where there is one class only."""
    weights = np.zeros(len(gram) or features.shape[1])
    if not len(rows) or abs(sign[rows].sum()) == len(rows):
        return weights, 0.0
    if not len(gram):
        linear = LinearSVC(C=penalty, dual=False, tol=1e-3).fit(features[rows], sign[rows])
        return linear.coef_[0], float(linear.intercept_[0])
    machine = SVC(C=penalty, kernel="precomputed", cache_size=100).fit(gram[np.ix_(rows, rows)], sign[rows])
    weights[rows[machine.support_]] = machine.dual_coef_[0]
    return weights, float(machine.intercept_[0])


def sigmoid(value: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    r"""Return A, B of \(p = 1 / (1 + \exp(A f + B))\), fitted by Newton steps to decision values and outcomes.

    Outcomes count as \((n_+ + 1) / (n_+ + 2)\) and \(1 / (n_- + 2)\), as Platt has it.

    References:
        A Note on Platt's Probabilistic Outputs for Support Vector Machines (Lin et al., 2007), https://doi.org/10.1007/s10994-007-5018-6

    Example:
        >>> f = np.linspace(-3, 3, 2001)
        >>> a, b = sigmoid(f, np.random.default_rng(0).random(2001) < 1 / (1 + np.exp(1 - 2 * f)))
        >>> -2.3 < a < -1.7, 0.7 < b < 1.3
        (True, True)
    """
    up = int(positive.sum())
    down = len(value) - up
    target = np.where(positive, (up + 1) / (up + 2), 1 / (down + 2))
    inputs = np.stack([value, np.ones_like(value)], 1)

    def loss(w: np.ndarray) -> float:
        t = inputs @ w
        return float((np.logaddexp(0, t) - (1 - target) * t).sum())

    w = np.array([0.0, math.log((down + 1) / (up + 1))])
    for _ in range(100):
        q = 1 / (1 + np.exp(-np.clip(inputs @ w, -500, 500)))  # 1 - p
        gradient = inputs.T @ (q - (1 - target))
        if np.abs(gradient).max() < 1e-8 * len(value):
            break
        bend = (inputs.T * (q * (1 - q))) @ inputs + 1e-10 * np.eye(2)
        move, size, before = np.linalg.solve(bend, gradient), 1.0, loss(w)
        while size > 1e-10 and loss(w - size * move) > before - 1e-4 * size * float(gradient @ move):
            size /= 2
        w = w - size * move
    return float(w[0]), float(w[1])
