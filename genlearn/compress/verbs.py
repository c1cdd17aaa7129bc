"""What every model with latent vectors inherits: records to a compact file and back."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from ..data.records import Records
from ..layout import Code, Head
from . import STEP, compress, decompress


class Compresses:
    """`compress` and `decompress`; with loss for all that encode and decode, without for those that write the two hooks."""

    @final
    def compress(
        self: Any, data: Any, y: Any = None, *, lossy: bool = False, step: float = STEP, check: bool = True
    ) -> bytes:
        r"""Return the records as a compact file.

        Without loss, integers and categories take about \(-\mathrm{ELBO} / \ln 2\) bits a record and come back exactly. With loss, what
        the latent vectors hold comes back.

        Arguments:
            data: Records in the form of `fit`.
            y: Labels, one per record.
            lossy: Keep latent vectors only.
            step: How coarsely, in standard deviations of the posterior; larger files are finer.
            check: Read a lossless file back before it is returned.
        """
        self._check_fitted()
        return compress(self, self._records_of(data, y), lossy=lossy, step=step, check=check)

    @final
    def decompress(self: Any, data: bytes, *, return_y: bool = False) -> Any:
        """Return the records of a file that `compress` wrote, in the form of `fit`.

        Arguments:
            data: The file's bytes.
            return_y: Return `(records, labels)` where the labels were given apart from the records.
        """
        return self.decompress_records(data).natural(return_y=return_y)

    @final
    def decompress_records(self: Any, data: bytes) -> Records:
        """`decompress` as `Records`."""
        self._check_fitted()
        return decompress(self, data)

    def _codes_exactly(self) -> bool:
        """Return whether the model writes the two hooks below, and its settings allow for what they ask."""
        return False

    def _bits_back(self, code: Code, known: Tensor) -> tuple[Tensor, Tensor] | None:
        r"""Return the posterior of the next group of latent numbers u, given those `known` so far `(n, k)`; None after the last.

        Means and log standard deviations, `(n, size)` each, in units in which the prior is \(N(0, I)\) whatever came before.
        """
        raise TypeError(f"{type(self).__name__} must define _bits_back")

    def _observed(self, u: Tensor, y: Tensor | None) -> Head:
        """Return p(x | u), with u as `_bits_back` counts it."""
        raise TypeError(f"{type(self).__name__} must define _observed")
