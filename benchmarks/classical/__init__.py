"""The classical families beside published figures and peers: `python -m benchmarks.classical [PART ...]`."""

PARTS: tuple[str, ...] = ("twosample", "twenty", "networks", "forest", "gmm", "imputation", "compare")
