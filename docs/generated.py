"""The parts of the pages that are read off the code: settings, capabilities, verbs and flags, metrics, data sets.

A page holds a marker such as `<!-- generated: settings gmm -->`; the build puts the table in its place. Nothing is kept by hand.
The README is read as it is, so its table of models stands in it: `python docs/generated.py` renews it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"

_MARKER = re.compile(r"^<!-- generated: (\w+)((?: [\w-]+)*) -->$", re.M)


def fill(markdown: str) -> str:
    """Replace every marker of a page by what it names.

    Errors:
        ValueError: For a marker that names nothing.
    """
    return _MARKER.sub(lambda m: _part(m[1])(*m[2].split()), markdown)


def _part(name: str) -> Callable[..., str]:
    parts = {f.__name__: f for f in (settings, capabilities, references, models, metrics, verbs, datasets)}
    if name not in parts:
        raise ValueError(f'no generated part named "{name}", there are: {", ".join(parts)}')
    return parts[name]


# -- models ----------------------------------------------------------------------------------------------------------
def settings(name: str) -> str:
    """Constructor keywords of a model: its own first, then those of the training loop."""
    cls = _model(name)
    rows = {s.name: [f"`{s.name}`", _value(s.default), s.describe(), s.doc] for s in cls.settings().values()}
    engine = _engine_settings() if cls.needs_gradients else frozenset()
    own = [row for key, row in rows.items() if key not in engine and key != "random_state"]
    trained = [row for key, row in rows.items() if key in engine]
    head = ["setting", "default", "type", "meaning"]
    text = _table(head, [*own, rows["random_state"]])
    if trained:
        text += f'\n\n??? note "Settings of the training loop"\n\n{_indent(_table(head, trained))}'
    return text


def capabilities(name: str) -> str:
    """What a model gives, and what it takes."""
    from genlearn.model import CAPABILITIES, Conditional, Encodes, Imputes, Scores

    cls = _model(name)
    gives = {
        Scores: lambda: f"`log_prob`, `score`: {_exactness(cls)}",
        Encodes: lambda: "`encode`, `decode`, `reconstruct`, `interpolate`, `traverse`",
        Imputes: lambda: "`impute`",
        Conditional: lambda: (
            "`sample(given=...)`: "
            + ("any field" if cls.conditions == "any" else "the label (fit it with `--label` or `--target`)")
        ),
    }
    rows = [["Samples", "`sample`"]]
    rows += [[c.__name__, gives[c]() if issubclass(cls, c) else "no"] for c in CAPABILITIES]
    rows += [["takes", ", ".join(k for k in ("real", "ordered", "binary", "category") if k in cls.takes)]]
    rows += [["reference row", "yes" if cls.reference else "no"]]
    return _table(["capability", "how"], rows)


def references(name: str) -> str:
    """The `References:` section of a model's docstring as a list of links."""
    section = re.search(r"References:\n(.*?)(?:\n\s*\n|\Z)", _model(name).__doc__ or "", re.S)
    entries = re.findall(r"\s*(.+?), (https?://\S+)", " ".join(section[1].split())) if section else []
    return "\n".join(f"- [{title.strip()}]({link})" for title, link in entries)


def models(folder: str = "") -> str:
    """All models side by side, with links into a folder."""
    from genlearn.model import Conditional, Encodes, Imputes, Scores, model_names

    rows = []
    for name in model_names():
        cls = _model(name)
        rows.append(
            [
                f"[`{name}`]({folder}{name}.md)",
                _first_sentence(cls.__doc__),
                cls.kind if issubclass(cls, Scores) else "-",
                "yes" if issubclass(cls, Encodes) else "-",
                "yes" if issubclass(cls, Imputes) else "-",
                cls.conditions if issubclass(cls, Conditional) else "-",
            ]
        )
    return _table(["model", "what it is", "score", "encodes", "imputes", "conditions"], rows)


def _exactness(cls: Any) -> str:
    if cls.kind != "exact":
        return cls.kind
    return "exact" if "ordered" in cls.takes else "exact; a bound where integers or pixels are dequantised"


def _engine_settings() -> frozenset[str]:
    from genlearn.engine import Neural
    from genlearn.model import Model

    return frozenset(Neural.settings()) - frozenset(Model.settings())


def _model(name: str) -> Any:
    from genlearn.model import model_class

    return model_class(name)


# -- the other parts -------------------------------------------------------------------------------------------------
def metrics() -> str:
    """The metrics in the order of the leaderboard."""
    from genlearn.metrics import METRICS

    rows = [[f"`{m.name}`", m.title, m.question, f"{m.direction} is better", m.explain] for m in METRICS.values()]
    return _table(["key", "metric", "question", "direction", "in words"], rows)


def datasets() -> str:
    """The data sets that `genlearn.read(name)` knows."""
    from genlearn.data import datasets as entries

    return _table(["name", "what it holds", "label", "state"], [_dataset_row(e) for e in entries()])


def _dataset_row(entry: Any) -> list[str]:
    return [f"`{entry.name}`", entry.about, entry.target or "-", "download" if entry.files else "embedded"]


def verbs() -> str:
    """Every verb of the command with its own flags, then the groups of flags that verbs share."""
    parts, groups = [], {}
    for name, verb in commands().items():
        wanted = [_argument(p) for p in verb.params if not _is_flag(p)]
        flags = [p for p in verb.params if _is_flag(p) and not p.hidden]
        own = [p for p in flags if not p.rich_help_panel]
        shared = {p.rich_help_panel: p for p in flags if p.rich_help_panel}
        for panel in shared:
            groups.setdefault(panel, {}).update({_flag(p): p for p in flags if p.rich_help_panel == panel})
        parts.append(f"### `{' '.join(['genlearn', name, *wanted])}`\n\n{_plain(verb.help)}")
        parts.append(_flag_table(own) if own else "")
        parts.append(f"*And:* {', '.join(panel.lower() for panel in shared)}." if shared else "")
    for panel, flags in groups.items():
        parts.append(f"### {panel}\n\n{_flag_table(list(flags.values()))}")
    return "\n\n".join(filter(None, parts))


def commands(words: Sequence[str] = ()) -> dict[str, Any]:
    """The verbs of the command line by name; `fit` has the settings of the model that the words name."""
    import typer

    from genlearn.cli import _app

    return dict(typer.main.get_command(_app(words)).commands)  # type: ignore[attr-defined]


def _is_flag(p: Any) -> bool:
    return p.opts[0].startswith("-")


def _argument(p: Any) -> str:
    word = p.metavar or p.name.upper()
    return word if p.required or word.startswith("[") else f"[{word}]"


def _flag(p: Any) -> str:
    return ", ".join(f"`{o}`" for o in [*p.opts, *p.secondary_opts]) + (f" `{p.metavar}`" if p.metavar else "")


def _flag_table(flags: list[Any]) -> str:
    return _table(["flag", "meaning"], [[_flag(p), _plain(p.help)] for p in flags])


# -- markdown --------------------------------------------------------------------------------------------------------
def _first_sentence(doc: str | None) -> str:
    text = " ".join((doc or "").strip().split("\n\n")[0].split())
    return text


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    return "none" if value is None else f"`{value}`"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


def readme() -> str:
    """The README with its table of models as the code has it."""
    table = re.compile(r"(<!-- models -->\n).*?(\n<!-- end of models -->)", re.S)
    dollars = re.sub(r"\\\((.*?)\\\)", r"$\1$", models("docs/models/"))  # the form of formulas that code hosts draw
    return table.sub(lambda m: m[1] + dollars + m[2], README.read_text(encoding="utf-8"))


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
