"""Run the suite."""

from ..checks import exit_with
from . import PARTS

if __name__ == "__main__":
    exit_with("variational", PARTS)
