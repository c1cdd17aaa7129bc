"""Whether the numbers can be trusted: `python -m benchmarks.metrics [PART ...]`."""

PARTS = ("coverage", "choice", "copies", "detection", "scores", "cost")
