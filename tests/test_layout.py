"""Layouts: columns and storage, embedding and back, the relaxation and its limits, gates, labels as a field."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from genlearn.layout import Code, Field, Layout, fold, unfold

MIXED = Layout(
    (
        Field("wage?", "category", levels=3, absent=2, labels=("value", "0", "missing")),
        Field("wage", "real", gate="wage?"),
        Field("plan", "category", levels=4, labels=("a", "b", "c", "d")),
        Field("age", "ordered", levels=81, loc=40.0, scale=12.0, bounded=False),
        Field("grade", "ordered", levels=5, loc=2.0, scale=2.0),
        Field("active", "binary"),
        Field("spend?", "category", levels=2, absent=1),
        Field("spend", "ordered", levels=30, loc=9.0, scale=4.0, bounded=False, gate="spend?"),
    ),
    target=Field("churn", "category", levels=2, role="target", labels=("no", "yes")),
    measure="wage: Lebesgue + atoms {0} + missing; plan: levels",
)
GREY = Layout((Field("pixels", "ordered", (3, 4, 5), levels=256, loc=127.5, scale=127.5),))


def codes(layout: Layout, n: int = 64, seed: int = 0) -> Tensor:
    """Random codes of a layout, gates respected."""
    rng = np.random.default_rng(seed)
    columns = []
    for field in layout.fields:
        shape, levels = (n, field.size), 2 if field.kind == "binary" else field.levels
        columns.append(rng.normal(size=shape) if field.kind == "real" else rng.integers(0, levels, shape))
    return layout.shut_gates(torch.from_numpy(np.concatenate(columns, 1).astype(float)))


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(-99), b.nan_to_num(-99))


# -- columns ---------------------------------------------------------------------------------------------------------
def test_sizes_and_places() -> None:
    assert (MIXED.size, MIXED.labels, MIXED.image) == (8, 2, None)
    assert (GREY.size, GREY.labels, GREY.image) == (60, 0, (3, 4, 5))
    assert MIXED.where["plan"] == slice(2, 3)
    assert MIXED.columns("ordered") == [3, 4, 7]
    assert MIXED.gates == [(slice(1, 2), 0), (slice(7, 8), 6)]
    assert MIXED.embed_size == 1 + 3 + 1 + (3 + 4 + 2)
    assert MIXED.head_size == 2 * 1 + 2 * 3 + 1 + (3 + 4 + 2)
    assert (GREY.embed_size, GREY.head_size) == (60, 120)


def test_json_round_trip() -> None:
    for layout in (MIXED, GREY, MIXED.with_target_as_field()):
        back = Layout.from_json(json.loads(json.dumps(layout.to_json())))
        assert back == layout
        assert back.measure_id == layout.measure_id


def test_the_measure_s_identity_depends_on_the_measure_alone() -> None:
    other = Layout(GREY.fields, measure=MIXED.measure)
    assert other.measure_id == MIXED.measure_id != GREY.measure_id


def test_the_target_can_become_the_last_field() -> None:
    folded = MIXED.with_target_as_field()
    assert (folded.target, folded.fields[-1]) == (None, MIXED.target)
    assert folded.where["churn"] == slice(8, 9)
    assert GREY.with_target_as_field() is GREY


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "ordered", "levels": 1}, "at least 2 levels"),
        ({"kind": "ordered", "levels": 9, "scale": 0.0}, "positive scale"),
        ({"kind": "ordered", "levels": 9, "scale": math.nan}, "positive scale"),
        ({"kind": "category", "levels": 3, "absent": 3}, "absent level"),
    ],
)
def test_fields_that_cannot_be_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Field("x", **wrong)


# -- what nets see ---------------------------------------------------------------------------------------------------
def test_the_embedding_by_hand() -> None:
    x = torch.tensor([[0, 1.5, 2, 52, 4, 1, 1, math.nan], [2, math.nan, math.nan, 40, 0, 0, 0, 13]]).double()
    real, ordered, binary = [[1.5], [0]], [[1, 1, 0], [0, -1, 1]], [[1], [0]]
    category = [[1, 0, 0, 0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0, 0, 1, 0]]
    aim = [[*r, *o, *b, *c] for r, o, b, c in zip(real, ordered, binary, category, strict=True)]
    found = MIXED.embed(x)
    assert found.dtype == torch.float32
    assert found.tolist() == aim


def test_bytes_embed_like_floats() -> None:
    x = codes(GREY)
    assert torch.equal(GREY.embed(x.to(torch.uint8)), GREY.embed(x))
    assert GREY.embed(x).abs().max() <= 1


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    fields: list[Field] = []
    for j in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["real", "ordered", "binary", "category"]))
        levels, bounded = draw(st.integers(2, 300)), draw(st.booleans())
        loc, scale = draw(st.floats(-5, 300)), draw(st.floats(0.5, 200))
        gate = f"g{j}" if kind in ("real", "ordered") and draw(st.booleans()) else None
        if gate:
            fields.append(Field(gate, "category", levels=draw(st.integers(2, 4))))
        fields.append(Field(f"f{j}", kind, levels=levels, loc=loc, scale=scale, bounded=bounded, gate=gate))
    return Layout(tuple(draw(st.permutations(fields))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layouts(), st.integers(0, 99))
def test_hardening_undoes_embedding(layout: Layout, seed: int) -> None:
    x = codes(layout, 12, seed)
    back = layout.harden(layout.embed(x))
    lattice = [j for j in range(layout.size) if j not in layout.columns("real")]
    assert same(back[:, lattice], x[:, lattice])
    torch.testing.assert_close(back, x, rtol=1e-6, atol=0, equal_nan=True)  # numbers pass through float32


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layouts(), st.integers(0, 99), st.sampled_from([0.05, 0.5, 2.0]), st.sampled_from([1.0, 300.0]))
def test_relaxed_output_is_finite_with_finite_gradients(layout: Layout, seed: int, tau: float, size: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    raw = (size * torch.randn(12, layout.embed_size, generator=rng)).requires_grad_()
    noise = torch.rand(12, layout.embed_size, generator=rng)
    noise[0], noise[1] = 0, 1  # the ends of the unit interval
    out = layout.relax(raw, noise, tau)
    (gradient,) = torch.autograd.grad(out.square().sum(), raw)
    assert out.shape == raw.shape
    assert torch.isfinite(out).all()
    assert torch.isfinite(gradient).all()


# -- the relaxation --------------------------------------------------------------------------------------------------
def raw_and_noise(layout: Layout, n: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, layout.embed_size, generator=rng), torch.rand(n, layout.embed_size, generator=rng)


def test_bounded_numbers_stay_within_their_levels_and_open_ones_pass() -> None:
    raw, _ = raw_and_noise(GREY)
    assert GREY.relax(50 * raw).abs().max() == 1
    torch.testing.assert_close(GREY.relax(raw), torch.tanh(raw))
    open_layout = Layout((Field("k", "ordered", levels=9, loc=4.0, scale=2.0, bounded=False), Field("v", "real")))
    raw, _ = raw_and_noise(open_layout)
    assert torch.equal(open_layout.relax(raw), raw)


def test_a_lattice_off_its_centre_is_reached_to_both_ends() -> None:
    layout = Layout((Field("k", "ordered", levels=11, loc=2.0, scale=4.0),))
    ends = layout.harden(layout.relax(torch.tensor([[-9.0], [9.0]])))
    assert ends.flatten().tolist() == [0, 10]


def test_a_category_relaxes_to_shares_that_become_one_hot_as_tau_falls() -> None:
    layout = Layout((Field("a", "category", levels=3), Field("b", "category", levels=5)))
    raw, noise = raw_and_noise(layout)
    for tau in (1.0, 0.1):
        for part in layout.relax(raw, noise, tau).split([3, 5], 1):
            torch.testing.assert_close(part.sum(1), torch.ones(200))
            assert (part >= 0).all()
    sharp = layout.relax(raw, noise, 1e-4)
    hard = layout.embed(layout.harden(sharp))
    # The two largest of so few perturbed logits lie closer than 15 tau with probability below 1 %.
    assert (sharp - hard).abs().max(1).values.lt(1e-6).float().mean() > 0.98
    assert torch.equal(layout.harden(layout.relax(raw, noise, 2.0)), layout.harden(sharp)), "tau does not move the mode"


def test_perturbed_maxima_follow_the_softmax() -> None:
    """The Gumbel trick: chi-square over 5 levels, 20,000 draws, false alarms 1e-4."""
    layout = Layout((Field("a", "category", levels=5),))
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0])
    noise = torch.rand(20_000, 5, generator=torch.Generator().manual_seed(0))
    drawn = layout.harden(layout.relax(logits.expand(20_000, -1), noise)).long().flatten()
    expected = 20_000 * torch.softmax(logits.double(), 0)
    assert stats.chisquare(torch.bincount(drawn, minlength=5), expected).pvalue > 1e-4


def test_without_noise_it_is_the_softmax() -> None:
    layout = Layout((Field("a", "category", levels=3),))
    raw, _ = raw_and_noise(layout)
    torch.testing.assert_close(layout.relax(raw, tau=0.7), torch.softmax(raw / 0.7, 1))


def test_binary_values_relax_by_a_sigmoid() -> None:
    layout = Layout((Field("a", "binary", (1, 2, 3)),))
    raw, _ = raw_and_noise(layout)
    assert torch.equal(layout.relax(raw.view(-1, 1, 2, 3)), torch.sigmoid(raw))


def test_gated_numbers_are_scaled_by_how_open_their_gate_is() -> None:
    raw, noise = raw_and_noise(MIXED)
    bare = Layout(tuple(Field(f.name, f.kind, levels=f.levels, loc=f.loc, scale=f.scale, bounded=f.bounded)
                        for f in MIXED.fields))  # fmt: skip
    out, free = MIXED.relax(raw, noise, 0.3), bare.relax(raw, noise, 0.3)
    wage, spend, wage_gate, spend_gate = 0, 3, 5, 12  # places in the embedding
    torch.testing.assert_close(out[:, wage], free[:, wage] * free[:, wage_gate])
    torch.testing.assert_close(out[:, spend], free[:, spend] * free[:, spend_gate])
    others = [j for j in range(MIXED.embed_size) if j not in (wage, spend)]
    assert torch.equal(out[:, others], free[:, others])


def test_hard_codes_shut_gated_numbers() -> None:
    x = MIXED.harden(MIXED.relax(*raw_and_noise(MIXED)))
    for value, gate in ((1, 0), (7, 6)):
        assert torch.equal(x[:, value].isnan(), x[:, gate] != 0)
        assert x[:, value].isnan().any()
        assert not x[:, value].isnan().all()


def test_hardening_leaves_its_input_alone() -> None:
    layout = Layout((Field("a", "real"), Field("b", "real")))
    embedded = torch.zeros(3, 2, dtype=torch.float64)
    layout.harden(embedded).fill_(7)
    assert not embedded.any()


# -- codes -----------------------------------------------------------------------------------------------------------
def test_fold_and_unfold() -> None:
    x = codes(MIXED, 6)
    mask = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    code = Code(x, torch.tensor([0, 1, -1, 1, -1, 0]), mask, torch.arange(6.0))
    folded = fold(code)
    assert folded.y is None
    assert folded.x[:, -1].nan_to_num(-1).tolist() == [0, 1, -1, 1, -1, 0]
    assert folded.mask is not None
    assert folded.mask[:, -1].tolist() == [True, True, False, True, False, True]
    back = unfold(folded)
    assert same(back.x, x)
    assert back.y is not None
    assert back.mask is not None
    assert torch.equal(back.y, code.y)
    assert torch.equal(back.mask, mask)
    assert back.log_det is code.log_det
    unlabelled = Code(x)
    assert fold(unlabelled) is unlabelled


@pytest.mark.parametrize(
    "rows", [slice(1, 3), [2, 0], torch.tensor([True, False, True])], ids=["slice", "list", "mask"]
)
def test_rows_of_a_code_carry_all_that_belongs_to_them(rows) -> None:
    whole = Code(torch.arange(6).view(3, 2), torch.arange(3), torch.ones(3, 2).bool(), torch.arange(3.0))
    part = whole[rows]
    for name in ("x", "y", "mask", "log_det"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[rows])
    assert len(part) == 2
    bare = Code(whole.x)[rows]
    assert (bare.y, bare.mask, bare.log_det) == (None, None, None)


def test_a_code_moves_as_a_whole() -> None:
    moved = Code(torch.ones(2, 1), torch.zeros(2).long(), None, torch.zeros(2)).to("meta")
    assert {moved.x.device.type, moved.y.device.type, moved.log_det.device.type} == {"meta"}  # type: ignore[union-attr]
    assert moved.mask is None


def test_columns_may_stand_in_any_order() -> None:
    """Embedding and head do not depend on how fields are ordered, up to the order of their own columns."""
    fields = (Field("a", "real"), Field("b", "category", levels=3), Field("c", "binary"))
    x = codes(Layout(fields), 20)
    params = torch.randn(20, Layout(fields).head_size, generator=torch.Generator().manual_seed(0))
    scores = []
    for order in itertools.permutations(range(3)):
        layout = Layout(tuple(fields[j] for j in order))
        assert torch.equal(layout.embed(x[:, list(order)]), Layout(fields).embed(x))
        scores.append(layout.head(params).log_prob(x[:, list(order)]))
    assert all(torch.equal(s, scores[0]) for s in scores)
