"""Settings of models read off their source, so that help and completion need not wait for torch to be imported.

The class body of a model says what `Model.settings()` says of the class: keywords with annotation and default, and the docstring a
sentence for each. Tests hold the two equal for every model; a model that another package brings is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .. import models
from ..registry import model_class, model_names
from ..settings import Setting, argument_docs

_PACKAGE = Path(models.__path__[0]).parent
_TYPES = {"int": int, "float": float, "str": str, "bool": bool, "tuple": tuple, "Literal": Literal}


def settings_of_model(name: str) -> dict[str, Setting]:
    """Return the settings of a model by name, without the seed, which is no flag of its own.

    Errors:
        Problem: If no model has that name, with the closest one.

    Example:
        >>> settings_of_model("gmm")["restarts"].default
        1
    """
    path = _PACKAGE / "models" / f"{name}.py"
    found = _read_off(path) if name in model_names() and path.is_file() else model_class(name).settings()
    return {k: s for k, s in found.items() if k != "random_state"}


def _read_off(path: Path) -> dict[str, Setting]:
    """Return the settings of the model in a file: its own, then those of its bases."""
    ancestries = [list(_line_of(path, name)) for name in _source(path).classes]
    (lines,) = [found for found in ancestries if any(node.name == "Model" for _, node in found)]
    values: dict[str, tuple[Any, Any]] = {}
    docs: dict[str, str] = {}
    for source, node in lines:
        docs |= argument_docs(ast.get_docstring(node) or "")
        given = {
            part.target.id: (source.evaluated(part.annotation), source.evaluated(part.value))
            for part in node.body
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None
            if not ast.unparse(part.annotation).startswith("ClassVar")
        }
        values |= given
    own_first = {**given, **values}  # the last ones are those of the class itself, which its users look for
    return {k: Setting(k, *own_first[k], docs.get(k, "")) for k in own_first}


@dataclass
class _Source:
    """A file of this package: its classes, the files that other names come from, the values of plain assignments."""

    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    imported: dict[str, Path] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=lambda: dict(_TYPES))

    def evaluated(self, node: ast.expr) -> Any:
        """Return the value of an annotation or a default: literals, types, and names for them."""
        return eval(compile(ast.Expression(node), "settings", "eval"), {"__builtins__": {}}, self.values)


@cache
def _source(path: Path) -> _Source:
    found = _Source()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.classes[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.level:
            place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            found.imported |= {alias.name: file for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found.values[node.targets[0].id] = found.evaluated(node.value)
            except (NameError, TypeError):  # no name for a type or a literal
                continue
    return found


def _line_of(path: Path, name: str) -> Iterator[tuple[_Source, ast.ClassDef]]:
    """Yield the bases of a class within this package, the most distant first, and the class itself."""
    source = _source(path)
    if name in source.classes:
        node = source.classes[name]
        for base in reversed(node.bases):
            if isinstance(base, ast.Name):
                yield from _line_of(path, base.id)
        yield source, node
    elif name in source.imported:
        yield from _line_of(source.imported[name], name)
