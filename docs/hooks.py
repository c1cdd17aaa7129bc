"""What the site's build adds to the pages: tables read off the code, the README as first page, formulas as MathML."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import formulas
import generated

README = Path(__file__).parent.parent / "README.md"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill in the generated parts; the first page is the README, with links as seen from `docs/`."""
    if page.file.src_uri == "index.md":
        markdown = re.sub(r"\]\(docs/", "](", README.read_text(encoding="utf-8"))
        markdown = re.sub(r'src="docs/', 'src="', re.sub(r"\[([^\]]*)\]\(LICENSE\)", r"\1", markdown))
    return generated.fill(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Draw formulas."""
    return formulas.render(html)
