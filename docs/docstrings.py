"""The house's docstring sections in the words that the reference page's reader knows."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = {"Example": "Examples", "Errors": "Raises"}


class Sections(griffe.Extension):
    """Rename `Example:` and `Errors:` so that they are shown as code and as a list of exceptions."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Change the docstring of every object while it is loaded."""
        if obj.docstring:
            for ours, theirs in SECTIONS.items():
                obj.docstring.value = re.sub(rf"^{ours}:$", f"{theirs}:", obj.docstring.value, flags=re.M)
