"""LaTeX to MathML at build time: formulas need no script, no font and no network in the reader's browser."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)
_LIMITS = {"min", "max", "∑", "∏"}
_UNDER = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
_CLOSING = {")", "]", "}", "‖", "|"}
_FUNCTIONS = {"log", "exp", "min", "max", "tanh"}
_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"


def render(page: str) -> str:
    """Replace every formula that arithmatex marked in a page by MathML."""
    page = _BLOCK.sub(lambda m: mathml(html.unescape(m[1]), block=True), page)
    return _INLINE.sub(lambda m: mathml(html.unescape(m[1]), block=False), page)


def mathml(latex: str, *, block: bool) -> str:
    r"""Return one formula as MathML.

    Example:
        >>> "munder" in mathml(r"\min_x f(x)", block=True)
        True
    """
    math = ElementTree.fromstring(convert(latex.strip(), display="block" if block else "inline"))
    for parent in list(math.iter()):
        _join_letters(parent)
        for place, child in enumerate(parent):
            _set(parent, place, child, block)
    ElementTree.register_namespace("", _NAMESPACE.strip("{}"))
    return ElementTree.tostring(math, encoding="unicode")


def _join_letters(parent: Element) -> None:
    """Words such as KL arrive letter by letter; make each one identifier."""
    for place in range(len(parent) - 1, 0, -1):
        last, this = parent[place - 1], parent[place]
        if all(e.tag.endswith("}mi") and e.get("mathvariant") == "normal" for e in (last, this)):
            last.text = (last.text or "") + (this.text or "")
            parent.remove(this)
    for child in parent:
        if child.tag.endswith("}mi") and len(child.text or "") > 1:
            child.attrib.pop("mathvariant", None)  # more than one letter is upright by itself


def _set(parent: Element, place: int, child: Element, block: bool) -> None:
    """Limits under their operator, names of functions set as names, a leading minus without the space of a difference."""
    tag, text = child.tag.removeprefix(_NAMESPACE), child.text or ""
    before = parent[place - 1] if place else None
    if block and tag in _UNDER and (child[0].text or "") in _LIMITS:
        child.tag = _NAMESPACE + _UNDER[tag]
    if tag == "mo" and len(text) > 1 and text.isalpha() and text not in _LIMITS:
        child.tag = _NAMESPACE + "mi"
    if tag == "mo" and text == "−" and (before is None or (before.tag.endswith("}mo") and before.text not in _CLOSING)):
        child.set("form", "prefix")
    if before is not None and (before.text in _FUNCTIONS) and before.tag.endswith("}mi") and tag != "mo":
        child_space = Element(_NAMESPACE + "mspace", {"width": "0.167em"})
        parent.insert(place, child_space)
