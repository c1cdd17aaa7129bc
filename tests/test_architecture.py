"""The house stands: a room imports only from lower floors, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import genlearn

PACKAGE = Path(genlearn.__file__).parent

# Room -> floor. A new file or folder at the top of the package must be given its floor here, and in docs/architecture.md.
FLOORS = {
    "errors": 0, "layout": 0, "heads": 0, "groups": 0, "ranks": 0, "counting": 0,
    "settings": 1, "store": 1, "lock": 1, "data": 1, "codecs": 1, "nn": 1, "compress": 1,
    "model": 2, "estimator": 2, "capabilities": 2, "latent": 2, "predicting": 2, "events": 2, "registry": 2, "saving": 2, "training": 2,
    "engine": 3, "testing": 3,
    "models": 4, "metrics": 4,
    "compare": 5, "report": 5,
    "cli": 6, "progress": 6, "__main__": 6,
}  # fmt: skip

# Doors between rooms of one floor: who may look into whom.
DOORS = {
    ("layout", "groups"): "a layout treats all columns of a kind together",
    ("layout", "heads"): "a layout hands out its observation distribution",
    ("ranks", "errors"): "a process that is lost ends the others in one line",
    ("groups", "errors"): "a factor that cannot sum an unknown value out says so in one line",
    ("codecs", "data"): "a codec reads records and uses the type inference of columns",
    ("compress", "data"): "what is compressed are records, and what is read back must fit into memory",
    ("compress", "store"): "the digest of a model is taken of its JSON as it stands in files",
    ("data", "store"): "downloads are written aside and renamed, as models are",
    ("capabilities", "latent"): "a model without latent variables is answered by naming those that have them",
    ("capabilities", "predicting"): "whatever has a joint density of records and labels predicts labels",
    ("model", "latent"): "what a model file needs comes from one place",
    ("model", "capabilities"): "what a model lacks is answered by naming models that have it",
    ("model", "estimator"): "models are estimators in scikit-learn's sense",
    ("model", "events"): "a fit tells its watchers how it goes",
    ("model", "registry"): "the answer to a missing capability names other models",
    ("model", "saving"): "save and load are methods of every model",
    ("model", "training"): "processes that learn together make sure that they were given the same",
    ("registry", "capabilities"): "models are listed by capability",
    ("registry", "model"): "models are what inherits Model",
    ("saving", "registry"): "a folder names its model",
    ("models", "metrics"): "models without a score validate by a distance",
    ("testing", "engine"): "the contract's checks look at the gradients of neural models",
    ("compare", "report"): "a board writes its own report",
    ("cli", "progress"): "the command shows how a fit goes",
    ("__main__", "cli"): "python -m genlearn is the command",
}

# Upward imports that are wanted, each with its reason; all of them must sit inside a function.
STAIRS = {
    ("registry", "models"): "the registry lists the files of models/ and imports them by name on use",
}


def rooms_imported(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield (room, line, inside a function) of every import of this package; what is imported for types only is left out."""
    parts = path.relative_to(PACKAGE).parts
    for node, inside in walk(parsed(path), False):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(parts[: len(parts) - node.level])
            names = [*base, *(node.module.split(".") if node.module else [])]
            found = [names[0]] if names else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "genlearn":
            found = (node.module or "").split(".")[1:2] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("genlearn.")]
        else:
            continue
        for room in found:
            if room in FLOORS:
                yield room, node.lineno, inside


def walk(node: ast.AST, inside: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield all nodes and whether they belong to a function, without `if TYPE_CHECKING:` blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        deeper = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, deeper
        yield from walk(child, deeper)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def test_every_room_has_a_floor() -> None:
    assert {room_of(p) for p in files()} <= set(FLOORS)


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_from_lower_floors_only(path: Path) -> None:
    here = room_of(path)
    for room, line, inside in rooms_imported(path):
        up = FLOORS[room] - FLOORS[here]
        allowed = room == here or up < 0 or (here, room) in DOORS or ((here, room) in STAIRS and inside)
        assert allowed, f"{path.name}:{line}: {here} (floor {FLOORS[here]}) imports {room} (floor {FLOORS[room]})"


def test_doors_and_stairs_are_used() -> None:
    used = {(room_of(p), room) for p in files() for room, _, _ in rooms_imported(p)}
    assert set(DOORS) | set(STAIRS) <= used, "take doors that nobody uses out of the plan"


def test_the_plan_in_the_docs_names_every_room() -> None:
    plan = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in FLOORS:
        assert f"{room}.py" in plan or f"{room}/" in plan, room


def test_torch_distributed_is_imported_in_one_file() -> None:
    users = [p.name for p in files() if "distributed" in imported_text(p)]
    assert users == ["ranks.py"]


@cache
def imported_text(path: Path) -> str:
    nodes = ast.walk(parsed(path))
    return " ".join(ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom))


def test_nothing_pickles() -> None:
    for path in files():
        assert not {"pickle", "joblib", "dill"} & set(imported_text(path).replace(",", " ").split()), path


HEAVY = "{'torch', 'sklearn', 'pandas', 'scipy', 'matplotlib', 'PIL'}"


@pytest.mark.parametrize(
    "code",
    [
        "import genlearn",
        "from genlearn.data.records import Records",
        "import contextlib, io; from genlearn.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])",
    ],
    ids=["import genlearn", "records", "genlearn --help"],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    code += f"\nimport sys; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
