"""LaTeX to MathML at build time: formulas need no script, no font and no network in the reader's browser."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)
_FUNCTION = re.compile(r"(<mi>(?:log|exp|min|max|tanh)</mi>)(?=<m[inrs]|<msub|<mfrac|<mover)")
_WORD = re.compile(r'(?:<mi mathvariant="normal">(\w)</mi>){2,}')


def render(page: str) -> str:
    """Replace every formula that arithmatex marked in a page by MathML."""
    page = _BLOCK.sub(lambda m: mathml(html.unescape(m[1]), block=True), page)
    return _INLINE.sub(lambda m: mathml(html.unescape(m[1]), block=False), page)


def mathml(latex: str, *, block: bool) -> str:
    r"""Return one formula as MathML.

    Example:
        >>> "log" in mathml(r"\log p(x)", block=False)
        True
    """
    tree = convert(latex.strip(), display="block" if block else "inline")
    # Words such as KL arrive letter by letter and functions without the thin space that TeX sets after them.
    tree = _WORD.sub(lambda m: "<mi>" + "".join(re.findall(r">(\w)<", m[0])) + "</mi>", tree)
    return _FUNCTION.sub(r'\1<mspace width="0.167em"/>', tree)
