"""What a fit costs: wall time and the memory that it needs at its peak."""

from __future__ import annotations

import sys
import time
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Context manager that measures seconds, and the growth of the process's resident memory to its peak, in MB.

    On Linux the kernel's record of the peak is reset at the start, so that a small fit after a large one is measured too.
    Elsewhere the growth of the process's lifetime peak is reported; None where the system does not tell.

    Example:
        >>> with Meter() as meter:
        ...     held = bytearray(30_000_000)
        >>> meter.seconds < 10
        True
    """

    seconds: float = 0.0
    peak_mb: float | None = None

    def __enter__(self) -> Meter:
        self._before = _resident_mb("VmRSS") if _reset_peak() else _resident_mb("VmHWM")
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        peak = _resident_mb("VmHWM")
        if peak is not None and self._before is not None:
            self.peak_mb = max(0.0, peak - self._before)


def _reset_peak() -> bool:
    try:
        _RESET.write_text("5")
    except OSError:  # not Linux, or not permitted
        return False
    return True


def _resident_mb(entry: str) -> float | None:
    """Return resident memory: now (`VmRSS`) or at its peak (`VmHWM`) on Linux, else the lifetime peak."""
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(entry):
                return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
