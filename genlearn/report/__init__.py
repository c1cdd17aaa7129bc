"""From results to something worth looking at: rows, the verdict, the leaderboard, pictures, and one offline HTML file."""

from __future__ import annotations

from .page import write

__all__ = ["write"]
