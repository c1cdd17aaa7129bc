"""Kernel density estimation with product kernels: a bump on every training record."""

from __future__ import annotations

import time
from typing import ClassVar, Literal, Self

import torch

from ..errors import Problem
from ..layout import Code
from ._kernelsum import KernelSum


class KDE(KernelSum):
    r"""Kernel density estimate, a bump on every training record: \(p(x) = \frac1n \sum_i \prod_j K_j(x_j \mid x_{ij})\).

    Numbers have Gaussian kernels of standard deviation \(h\,s_j\), with \(s_j\) the column's own; categories and binary values
    the kernel of Aitchison and Aitken, \(K(l \mid c) = (1 - \lambda)[l = c] + \lambda / L\). One factor h and one \(\lambda\)
    serve all columns, chosen by the likelihood of records that are left out. The product makes every marginal and conditional
    exact: conditions reweight the kernels. Where a centre lacks a gated number (it is missing, or an atom), its kernel is the
    column's overall normal distribution, so that the whole still has mass one.

    Its draws are training records with noise; in many dimensions the best bandwidth is either too narrow (copies) or too wide
    (noise), which is why it stands as a reference.

    Arguments:
        bandwidth: Factor h in units of a column's standard deviation; `likelihood` chooses it by leave-one-out,
            `silverman` takes \((4 / (d + 2) / n)^{1/(d + 4)}\).
        centers: Most centres; of more records, so many are drawn at random.

    Errors:
        Problem: If `bandwidth` is not positive, or a condition has no density anywhere.

    References:
        Multivariate binary discrimination by the kernel method (Aitchison & Aitken, 1976), https://doi.org/10.1093/biomet/63.3.413
        Nonparametric estimation of distributions with categorical and continuous data (Li & Racine, 2003),
        https://doi.org/10.1016/S0047-259X(02)00025-8

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(500, 2))
        >>> model = KDE(random_state=0).fit(x)
        >>> 0.2 < model.bandwidth_ < 0.6
        True
        >>> model.sample(3, given={"x0": 1.0}, random_state=0)[:, 0].round(3).tolist()
        [1.0, 1.0, 1.0]
    """

    reference: ClassVar[bool] = True

    bandwidth: float | Literal["likelihood", "silverman"] = "likelihood"
    centers: int = 10_000

    @classmethod
    def examples(cls) -> list[Self]:
        """Small, quick configurations that the contract tests run."""
        return [cls(random_state=0), cls(bandwidth="silverman", random_state=0)]

    # -- learning ----------------------------------------------------------------------------------------------------
    def _check_params(self) -> None:
        super()._check_params()
        if not isinstance(self.bandwidth, str) and self.bandwidth <= 0:
            raise Problem(f'kde: bandwidth must be positive, not {self.bandwidth}. Or choose "likelihood".')
        if self.centers < 1:
            raise Problem(f"kde: centers must be at least 1, not {self.centers}.")

    def _fit(self, code: Code, valid: Code | None) -> None:
        began = time.perf_counter()
        rng = self._rng("centers")
        self._place(code.x[torch.randperm(len(code), generator=rng)[: self.centers]], rng)
        self._widths(self.bandwidth)
        n = len(self.numbers_)
        kept = f"{n:,} of {len(code):,} records as centres" if n < len(code) else f"{n:,} centres"
        note = f"{kept}, bandwidth {self.bandwidth_:.3g}"
        self._tell(1, 1, time.perf_counter() - began, done=True, note=note)
