"""Capabilities: scores in data units, labels summed out, chunks of any size, latent walks, imputation, questions that make no sense."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

from genlearn import capabilities
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Code
from genlearn.model import Conditional, Encodes, Imputes, Model, Scores


class Line(Scores, Encodes, Imputes, Conditional, Model):
    """A model whose answers are known: each value is N(y, 1), latent vectors are the first two values, holes become 7.

    Arguments:
        shift: Added to the mean.
    """

    shift: float = 0.0

    takes = frozenset({"real", "category"})
    latents_ = 2

    def _fit(self, code: Code, valid: Code | None) -> None:
        self.rows_ = len(code)

    def _sample(self, n: int, rng: torch.Generator, given: Any) -> Code:
        y = self._draw_labels(n, rng, given)
        return Code(torch.randn(n, self.layout_.size, generator=rng), y)

    def _log_prob(self, code: Code) -> Tensor:
        mean = self.shift + (0 if code.y is None else code.y[:, None].double())
        return torch.distributions.Normal(mean, 1.0).log_prob(code.x).sum(1)

    def _encode(self, code: Code) -> Tensor:
        return code.x[:, :2].float()

    def _decode(self, z: Tensor, y: Tensor | None) -> Code:
        rest = torch.zeros(len(z), self.layout_.size - 2)
        return Code(torch.cat([z, rest], 1).double(), y)

    def _impute(self, code: Code, how: str, rng: torch.Generator) -> Code:
        assert code.mask is not None
        return Code(torch.where(code.mask, code.x, 7.0), code.y)


def numbers(n: int = 40, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 3, (n, d))


def labelled(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    return numbers(n), np.array(["no", "no", "yes"] * (n // 3))


@pytest.fixture
def line() -> Line:
    return Line(random_state=0).fit(numbers())


@pytest.fixture
def pairs() -> Line:
    return Line(random_state=0).fit(*labelled())


# -- scores ----------------------------------------------------------------------------------------------------------
def normal(x: np.ndarray, mean: float) -> np.ndarray:
    """Log density of standardised numbers, in units of the data."""
    z = (x - numbers().mean(0)) / numbers().std(0)
    return (-0.5 * (z - mean) ** 2 - 0.5 * math.log(2 * math.pi) - np.log(numbers().std(0))).sum(1)


def test_scores_are_in_data_units(line: Line) -> None:
    x = numbers(10, seed=1)
    np.testing.assert_allclose(line.log_prob(x), normal(x, 0.0), rtol=1e-6)  # codes are float64
    assert line.score(x) == pytest.approx(normal(x, 0.0).mean())
    assert line.kind_ == "exact"
    with pytest.raises(Problem, match="no records to score"):
        line.score(x[:0])


def test_labels_count_with_their_smoothed_frequency_and_are_summed_out_where_unknown(pairs: Line) -> None:
    """40 no, 20 yes: the prior is (41, 21) / 62, the rule of succession."""
    x, y = labelled()
    both = [pairs.log_prob(x, np.full(60, name)) for name in ("no", "yes")]
    alone = pairs.log_prob(x)
    np.testing.assert_allclose(alone, np.logaddexp(*both), rtol=1e-6)
    z = (x - x.mean(0)) / x.std(0)
    aim = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - np.log(x.std(0))).sum(1) + math.log(41 / 62)
    np.testing.assert_allclose(both[0], aim, rtol=1e-6)
    some = np.where(np.arange(60) % 2, y, None)
    np.testing.assert_allclose(pairs.log_prob(x, some), np.where(np.arange(60) % 2, pairs.log_prob(x, y), alone))


def test_whole_numbers_are_scored_by_the_mean_density_over_fixed_noise() -> None:
    """Eight draws shared by all rows: log mean_s p(k + u_s). Summed over all whole numbers the mass is one."""
    frame = pd.DataFrame({"k": np.random.default_rng(0).poisson(300, 500)})
    line = Line(random_state=0).fit(frame)
    assert line.kind_ == "bound"
    everything = pd.DataFrame({"k": np.arange(150, 450)})  # 8 standard deviations to each side
    found = line.log_prob(everything)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(found[50:60], line.log_prob(everything[50:60]))
    near = pd.DataFrame({"k": np.arange(250, 350)})  # within 3 sd the density changes by at most 20 % over a cell
    step, z = line.layout_.fields[0].width, line.codec_.encode(Records("table", near)).x[:, 0].numpy()
    cell = stats.norm.cdf(z + step / 2) - stats.norm.cdf(z - step / 2)  # what infinitely many draws would give
    np.testing.assert_allclose(line.log_prob(near), np.log(cell), atol=0.1)


@pytest.mark.parametrize("cells", [1, 7, 10**6])
def test_chunks_of_any_size_give_the_same(pairs: Line, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = labelled()
    holes = np.zeros((60, 4), bool)
    holes[::3, 1] = True
    frame = pairs.codec_.decode(pairs.codec_.encode(Records("table", _frame(x, y), target="y"))).x

    def answers() -> list[Any]:
        return [pairs.log_prob(x, y), pairs.encode(x, y), pairs.reconstruct(x, y), pairs.decode(numbers(9, 2)),
                pairs.impute(Records("table", frame, target="y"), holes, random_state=0)]  # fmt: skip

    whole = answers()
    monkeypatch.setattr(capabilities, "CELLS", cells)
    for a, b in zip(answers(), whole, strict=True):
        np.testing.assert_array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))


def _frame(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=["x0", "x1", "x2"]).assign(y=y)


def test_large_images_are_scored_in_bounded_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 16), dtype=np.uint8)
    line, sizes = Line(random_state=0).fit(images), []

    def watched(code: Code) -> Tensor:
        sizes.append(code.x.numel())
        return code.x.sum(1)

    monkeypatch.setattr(line, "_log_prob", watched)
    monkeypatch.setattr(capabilities, "CELLS", 64 * 256)
    assert line.log_prob(images).shape == (300,)
    assert max(sizes) <= 64 * 256
    assert sum(sizes) == capabilities.DEQUANTISATION_DRAWS * images.size


def test_no_rows_give_no_answers(line: Line) -> None:
    none = numbers()[:0]
    assert line.log_prob(none).shape == (0,)
    assert line.encode(none).shape == (0, 2)
    for ask in (line.reconstruct, lambda x: line.interpolate(x, x), lambda x: line.traverse(x, 0)):
        with pytest.raises(Problem, match="Give at least one"):
            ask(none)


# -- latent vectors --------------------------------------------------------------------------------------------------
def test_encode_decode_and_their_pipeline_name(line: Line) -> None:
    x = numbers()
    z = line.encode(x)
    assert (z.shape, z.dtype) == ((40, 2), np.float32)
    np.testing.assert_array_equal(line.transform(x), z)
    np.testing.assert_allclose(line.decode(z)[:, :2], x[:, :2], rtol=1e-4)  # through float32
    np.testing.assert_allclose(line.decode(z.tolist()), line.reconstruct(x))


def test_a_posterior_has_no_width_unless_the_model_knows_one(line: Line) -> None:
    mean, sd = line.posterior(numbers())
    np.testing.assert_array_equal(mean, line.encode(numbers()))
    assert sd.shape == mean.shape
    assert not sd.any()
    assert [part.shape for part in line.posterior(numbers()[:0])] == [(0, 2), (0, 2)]


def test_walks_from_record_to_record(line: Line) -> None:
    a, b = numbers(2)[:1], numbers(2)[1:]
    straight = line.interpolate(a, b, 5)
    np.testing.assert_allclose(straight[:, :2], np.linspace(a[0, :2], b[0, :2], 5), rtol=1e-4)
    arc = line.encode(line.interpolate(a, b, 5, path="spherical"))
    ends = line.encode(np.concatenate([a, b]))
    np.testing.assert_allclose(arc[[0, -1]], ends, rtol=1e-4)
    lengths, (first, last) = np.linalg.norm(arc, axis=1), np.linalg.norm(ends, axis=1)
    np.testing.assert_allclose(line.interpolate(a, a, 3, path="spherical"), line.reconstruct(a).repeat(3, 0), rtol=1e-2)
    assert min(first, last) * 0.5 < lengths.min() < lengths.max() < max(first, last) * 1.5


def test_equal_lengths_stay_equal_on_the_great_circle() -> None:
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    t = torch.linspace(0, 1, 4)[:, None]
    found = capabilities._great_circle(a, b, t)
    angles = torch.deg2rad(torch.tensor([0.0, 30, 60, 90]))
    torch.testing.assert_close(found, 3 * torch.stack([angles.cos(), angles.sin()], 1), atol=1e-5, rtol=0)


def test_one_dimension_at_a_time(line: Line) -> None:
    record = numbers(1)
    z = line.encode(line.traverse(record, 1, (-1, 0.5)))
    np.testing.assert_allclose(z[:, 1], [-1, 0.5], rtol=1e-5)
    np.testing.assert_allclose(z[:, 0], line.encode(record)[0, 0], rtol=1e-4)


def test_walks_carry_labels() -> None:
    x, y = labelled()
    pairs = Line(random_state=0).fit(Records("table", _frame(x, y), target="y"))
    records = [Records("table", _frame(x[i : i + 1], y[i : i + 1]), target="y") for i in (0, 2)]
    assert pairs.interpolate(*records, 4)["y"].tolist() == ["no", "no", "yes", "yes"]
    assert pairs.traverse(records[1], 0, (0, 1))["y"].tolist() == ["yes", "yes"]
    assert set(pairs.decode_records(numbers(3, 2)).x["y"]) == {"no"}, "the most frequent label by default"
    assert pairs.decode_records(numbers(3, 2), "yes").x["y"].tolist() == ["yes"] * 3
    assert pairs.decode_records(numbers(2, 2), ["yes", "no"]).x["y"].tolist() == ["yes", "no"]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda m, x: m.decode(x[:, :1]), r"latents must have shape \(n, 2\), not \(40, 1\)"),
        (lambda m, x: m.decode(x[0, :2]), r"latents must have shape \(n, 2\), not \(2,\)"),
        (lambda m, x: m.decode([["a", "b"]]), "latents must be finite numbers"),
        (lambda m, x: m.decode([[math.nan, 0.0]]), "latents must be finite numbers"),
        (lambda m, x: m.decode(x[:, :2], "yes"), "fitted without labels. Leave y out"),
        (lambda m, x: m.interpolate(x[:1], x[1:2], 1), "steps must be a whole number of at least 2, not 1"),
        (lambda m, x: m.interpolate(x[:1], x[1:2], 2.5), "steps must be a whole number"),
        (lambda m, x: m.interpolate(x[:1], x[1:2], path="curly"), "path must be straight or spherical, not 'curly'"),
        (lambda m, x: m.traverse(x, 2), r"dim must lie in 0..1, not 2"),
        (lambda m, x: m.traverse(x, "a"), r"dim must lie in 0..1, not 'a'"),
        (lambda m, x: m.traverse(x, 0, ()), "values must be a list of finite numbers"),
        (lambda m, x: m.traverse(x, 0, ("a",)), "values must be a list of finite numbers"),
        (lambda m, x: m.traverse(x, 0, math.inf), "values must be a list of finite numbers"),
        (lambda m, x: m.impute(x, how="guess"), 'how must be one of draw, mean, mode, not "guess"'),
        (lambda m, x: m.impute(x, random_state="a"), "random_state must be a whole number or none"),
    ],
)  # fmt: skip
def test_questions_that_make_no_sense(line: Line, ask: Any, says: str) -> None:
    with pytest.raises(Problem, match=says) as problem:
        ask(line, numbers())
    assert "\n" not in str(problem.value)


def test_labels_of_latent_vectors_must_exist_and_be_one_or_all(pairs: Line) -> None:
    with pytest.raises(Problem, match="one label or 3 of them"):
        pairs.decode(numbers(3, 2), ["yes", "no"])
    with pytest.raises(Problem, match="maybe"):
        pairs.decode(numbers(3, 2), "maybe")


# -- imputation ------------------------------------------------------------------------------------------------------
def test_holes_are_filled_and_nothing_else_changes(line: Line) -> None:
    frame = pd.DataFrame(numbers(), columns=["x0", "x1", "x2"])
    holes = np.zeros(frame.shape, bool)
    holes[3, 1] = holes[8, 0] = True
    full = line.impute(frame, holes)
    np.testing.assert_array_equal(full.to_numpy()[~holes], frame.to_numpy()[~holes])
    seven = numbers().mean(0) + 7 * numbers().std(0)
    np.testing.assert_allclose([full.iloc[3, 1], full.iloc[8, 0]], seven[[1, 0]], rtol=1e-6)
    assert line.impute(frame.iloc[:0]).empty
