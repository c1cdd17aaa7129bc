"""The registry: files and entry points are found by name, what is broken is loud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genlearn import models
from genlearn.errors import Problem
from genlearn.model import Conditional, Encodes, Imputes, Model, Scores, model_class, model_names, models_with

Write = Callable[..., None]

ONE = """
from genlearn.model import Model, Scores
class {name}(Scores, Model):
    "A model."
    kind = "estimate"
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    model_names.cache_clear()
    model_class.cache_clear()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Put a file beside the models of the package."""
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    model_names.cache_clear()

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    return write


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Install a package with one entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    model_names.cache_clear()

    def install(entry: str, module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / "other-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[genlearn.models]\n{entry}\n")

    return install


def test_names_are_the_files_of_the_models_folder() -> None:
    files = {p.stem for p in Path(models.__path__[0]).glob("*.py") if not p.stem.startswith("_")}
    assert set(model_names()) == files
    assert list(model_names()) == sorted(files)


def test_a_class_by_name_and_by_attribute() -> None:
    assert model_class("gmm") is models.GMM
    assert model_class("gmm").name() == "gmm"
    assert {"GMM", "VAE", "Copycat"} <= set(dir(models))
    with pytest.raises(AttributeError, match="no 'GNM'"):
        _ = models.GNM


def test_capabilities_are_listed_with_the_weakness_of_scores() -> None:
    assert {"gmm", "vae (bound)"} <= set(models_with(Scores))
    assert "gan" not in " ".join(models_with(Scores)).split()
    for capability in (Encodes, Imputes, Conditional):
        assert set(models_with(capability)) == {n for n in model_names() if issubclass(model_class(n), capability)}


def test_unknown_names_are_answered_with_the_closest() -> None:
    with pytest.raises(Problem) as problem:
        model_class("gnm")
    assert str(problem.value) == 'no model named "gnm". Did you mean "gmm"? `genlearn models` lists all.'


def test_a_new_file_is_a_model(own: Write) -> None:
    own("fresh", ONE.format(name="Fresh"))
    assert "fresh" in model_names()
    assert model_class("fresh").__name__ == "Fresh"
    assert "fresh (estimate)" in models_with(Scores)


def test_a_broken_module_is_loud(own: Write) -> None:
    own("damaged", "raise ImportError('libfoo is gone')")
    for ask in (lambda: model_class("damaged"), lambda: models_with(Scores)):
        with pytest.raises(ImportError, match="libfoo is gone"):
            ask()


@pytest.mark.parametrize(("name", "count"), [("empty", 0), ("crowd", 2)])
def test_a_module_must_define_one_model(own: Write, name: str, count: int) -> None:
    own(name, "\n".join(ONE.format(name=f"M{i}") for i in range(count)))
    with pytest.raises(TypeError, match=f"must define one Model, it defines {count}"):
        model_class(name)


def test_entry_points_are_models(foreign: Write) -> None:
    foreign("flow_a = flow_a:Flow", "flow_a", ONE.format(name="Flow"))
    assert "flow_a" in model_names()
    assert issubclass(model_class("flow_a"), Model)
    assert "flow_a (estimate)" in models_with(Scores)


@pytest.mark.parametrize(
    ("entry", "module", "says"),
    [
        ("flow_b = flow_b:dict", "flow_b", "must name a subclass of genlearn.Model"),
        ("flow = flow_c:Flow", "flow_c", "must carry the name of its module, flow_c"),
    ],
)
def test_entry_points_that_mislead_are_errors(foreign: Write, entry: str, module: str, says: str) -> None:
    foreign(entry, module, "dict = dict\n" + ONE.format(name="Flow"))
    with pytest.raises(TypeError, match=says):
        model_class(entry.split()[0])


def test_an_entry_point_cannot_take_the_place_of_a_model(foreign: Write) -> None:
    foreign("gmm = gmm_other:Flow", "gmm_other", ONE.format(name="Flow"))
    model_class.cache_clear()
    with pytest.raises(Problem, match='two models are named "gmm"'):
        model_class("gmm")
