"""The pages are true: their code runs, their commands exist, their links lead somewhere, the guide works as it stands."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

from genlearn.cli import main
from genlearn.model import model_class, model_names

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDE = DOCS / "add-a-model.md"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
sys.path.insert(0, str(DOCS))

import formulas  # noqa: E402
import generated  # noqa: E402


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Return (title, body) of the fenced blocks of one language."""
    fence = rf'^```{language}(?: title="([^"]*)")?\n(.*?)^```$'
    return re.findall(fence, page.read_text(encoding="utf-8"), re.M | re.S)


# -- code ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", [p for p in PAGES if p != GUIDE and blocks(p, "python")], ids=name_of)
def test_python_on_the_pages_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(body for _, body in blocks(page, "python"))
    exec(compile(code, name_of(page), "exec"), {"__name__": "page"})


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the guide's files as a package with the guide's entry points, found as any other."""
    files = {title: body for title, body in blocks(GUIDE, "python") if title}
    for title, body in files.items():
        (tmp_path / title).write_text(body, encoding="utf-8")
    ((_, toml),) = blocks(GUIDE, "toml")
    info = tmp_path / "guide-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guide\nVersion: 1\n")
    section, *lines = toml.splitlines()
    assert section == '[project.entry-points."genlearn.models"]'
    (info / "entry_points.txt").write_text("[genlearn.models]\n" + "\n".join(lines).replace('"', ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    forget()
    yield tmp_path
    for title in files:
        sys.modules.pop(title.removesuffix(".py"), None)
    monkeypatch.undo()
    forget()


def forget() -> None:
    model_names.cache_clear()
    model_class.cache_clear()


def test_the_guide_adds_models_that_pass_every_check(guide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for title, body in blocks(GUIDE, "python"):
        if not title:
            exec(compile(body, "guide", "exec"), {"__name__": "guide"})
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "ppca" in listed
    assert "naive" in listed


def test_the_guide_s_model_is_a_verb_away(guide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from genlearn.testing import customers

    customers(200, 0).to_csv(guide / "customers.csv", index=False)
    (command,) = [c for c in console(GUIDE) if c[1] == "fit"]
    assert main([*command[1:], "--quiet"]) == 0, capsys.readouterr().err
    assert main(["score", command[command.index("--out") + 1], "--json"]) == 0
    assert '"kind": "bound"' in capsys.readouterr().out


# -- commands --------------------------------------------------------------------------------------------------------
def console(page: Path) -> Iterator[list[str]]:
    """Yield the commands of a page's console blocks, word by word."""
    for _, body in blocks(page, "console"):
        for line in body.splitlines():
            if line.startswith("$ "):
                for command in line[2:].split(";"):
                    yield shlex.split(command, comments=True)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "console")], ids=name_of)
def test_commands_on_the_pages_are_understood(page: Path) -> None:
    for command in console(page):
        if command[0] == "make":
            assert f"\n{command[1]}:" in (ROOT / "Makefile").read_text(), command
        elif command[0] == "genlearn" and not command[1].startswith("-") and "ppca" not in command:
            verb = generated.commands(command[1:])[command[1]]
            verb.make_context(command[1], command[2:])  # raises for an unknown flag or a missing value


# -- pages -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: {target}"
        assert not anchor or anchor in headings(file), f"{name_of(page)}: {target}"


def headings(page: Path) -> set[str]:
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {slugify(line, "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_generated_parts_and_formulas(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    filled = generated.fill(text)
    assert "<!-- generated" not in filled
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.M | re.S)
    for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", prose, re.S):
        drawn = formulas.mathml(block or inline, block=bool(block))
        assert "\\" not in drawn, block or inline  # a word of LaTeX that was not understood


def test_every_model_has_its_page() -> None:
    pages = {p.stem for p in (DOCS / "models").glob("*.md")} - {"index"}
    assert pages == set(model_names())


def test_the_readme_lists_the_models_as_they_are() -> None:
    assert generated.readme() == generated.README.read_text(encoding="utf-8"), "run: python docs/generated.py"


def test_a_marker_that_names_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no generated part"):
        generated.fill("<!-- generated: nonsense -->")
