"""Theorems of the vector-quantised autoencoder: its codebook, its prior over codes, its bound, its imputation."""

from __future__ import annotations

import itertools
import math
import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genlearn.engine import Batch
from genlearn.errors import Interrupted, Problem
from genlearn.models._codebook import Codebook, likeliest, passed_through
from genlearn.models.vqvae import VQVAE
from genlearn.nn.grids import GridDecoder, GridEncoder, grid_of
from genlearn.nn.masked import PixelCNN, Transformer

SMALL: dict[str, Any] = {
    "entries": 3, "dim": 2, "codes": 3, "hidden": (16,), "prior_width": 8, "prior_layers": 1, "lr": 1e-2, "batch": 64,
    "random_state": 0,
}  # fmt: skip


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def every(places: int, levels: int) -> Tensor:
    """Return all sequences, `(levels ** places, places)`."""
    return torch.tensor(list(itertools.product(range(levels), repeat=places)))


def data(n: int = 300, seed: int = 0) -> np.ndarray:
    """Draw three clusters in the plane."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) + 3 * rng.integers(3, size=(n, 1))


@pytest.fixture(scope="module")
def fitted() -> Any:
    """A model of 3 codes with 3 levels, whose 27 terms can be summed."""
    return VQVAE(**SMALL, steps=150).fit(data())


# -- the codebook ------------------------------------------------------------------------------------------------------
def test_the_nearest_entry_is_that_of_brute_force() -> None:
    book, vectors = Codebook(7, 3), normal(5, 4, 3)
    apart = (vectors[:, :, None] - book.entries).square().sum(-1)
    assert torch.equal(book.nearest(vectors), apart.argmin(-1))
    torch.testing.assert_close(
        book.distances(vectors), apart - vectors.square().sum(-1, keepdim=True), rtol=1e-5, atol=1e-5
    )


def test_without_decay_an_update_is_a_step_of_k_means() -> None:
    book, vectors = Codebook(6, 2, decay=0.0, revive=0.0), normal(40, 2, seed=1)
    book.entries[5] = 100.0  # nothing is near
    before, codes = book.entries.clone(), book.nearest(vectors)
    book.observe(vectors, codes)
    book.update()
    for k in range(6):
        members = vectors[codes == k]
        torch.testing.assert_close(book.entries[k], members.mean(0) if len(members) else before[k])


def test_entries_are_moving_averages_and_parts_of_a_batch_count_together() -> None:
    book, parts = Codebook(1, 2, decay=0.75, revive=0.0), [normal(n, 2, seed=n) for n in (3, 5, 8)]
    zeros = [torch.zeros(len(p), dtype=torch.int64) for p in parts]
    book.observe(parts[0], zeros[0])
    book.observe(parts[1], zeros[1])
    book.update()
    book.observe(parts[2], zeros[2])
    book.update()
    old, new = 0.75 * torch.cat(parts[:2]).sum(0) + parts[2].sum(0), 0.75 * 8 + 8
    torch.testing.assert_close(book.entries[0], old / new)


def test_entries_out_of_use_move_to_vectors_of_the_batch() -> None:
    book, vectors, spare = Codebook(8, 2, decay=0.0, revive=0.1), normal(50, 2, seed=2), normal(20, 2, seed=3)
    book.entries[2:] = 100.0 + torch.arange(6)[:, None]
    codes = book.nearest(vectors)
    book.observe(vectors, codes, spare)
    book.update()
    torch.testing.assert_close(book.entries[0], vectors[codes == 0].mean(0))
    assert torch.equal(book.entries[2:], spare[:6])
    assert float(book.mass[2:].min()) >= 0.1 * float(book.mass.mean()), "they have time to find use"
    kept = Codebook(8, 2, decay=0.0, revive=0.0)
    kept.entries.fill_(100.0)[0] = 0.0
    kept.observe(vectors, kept.nearest(vectors), spare)
    kept.update()
    assert (kept.entries[1:] == 100.0).all()


def test_perplexity_counts_entries_in_even_use() -> None:
    book = Codebook(9, 2)
    for mass, found in ((torch.ones(9), 9.0), (torch.eye(9)[3], 1.0), (torch.eye(9)[:4].sum(0), 4.0)):
        book.mass.copy_(mass)
        assert float(book.perplexity()) == pytest.approx(found, rel=1e-5)
    book.mass.copy_(torch.rand(9, generator=torch.Generator().manual_seed(0)))
    assert 1 < float(book.perplexity()) < 9


def test_gradients_pass_the_rounding_as_if_it_were_not_there() -> None:
    vectors, near = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    out = torch.sin(passed_through(vectors, near)).sum()
    found, none = torch.autograd.grad(out, [vectors, near], allow_unused=True)
    torch.testing.assert_close(out, torch.sin(near).sum())
    torch.testing.assert_close(found, torch.cos(near.detach()))
    assert none is None


@pytest.mark.parametrize("count", [1, 5, 64])
def test_the_likeliest_codes_are_those_of_brute_force(count: int) -> None:
    distances = normal(6, 3, 4)
    found = likeliest(distances, count)
    sums = distances[:, torch.arange(3), every(3, 4)].sum(2)
    best = every(3, 4)[sums.argsort(1)[:, :count]]
    assert torch.equal(found, best)


# -- the prior ---------------------------------------------------------------------------------------------------------
def stirred(net: Any) -> Any:
    """Return the net with weights so large that everything depends on everything that it may."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / max(1, p[0].numel()) ** 0.5)
    return net.double()


PRIORS = {
    "pixelcnn": lambda context: stirred(PixelCNN((2, 3), 3, context, width=8, layers=3)),
    "transformer": lambda context: stirred(Transformer(6, 3, context, width=8, layers=2)),
}


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("context", [0, 2])
def test_a_prior_has_mass_one(name: str, context: int) -> None:
    net, z = PRIORS[name](context), every(6, 3)
    for label in torch.eye(2).double():
        h = label.expand(len(z), 2) if context else None
        assert float(net.log_prob(z, h, torch.float64).exp().sum().detach()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", PRIORS)
def test_a_place_depends_on_all_places_before_it_and_on_no_other(name: str) -> None:
    net = PRIORS[name](0)
    z = torch.zeros(1, 6, dtype=torch.int64)
    logits = net(z).detach()
    for place in range(6):
        other = z.clone()
        other[0, place] = 1
        moved = (net(other).detach() - logits).abs().amax(2)[0] > 1e-9
        assert moved.tolist() == [later > place for later in range(6)]


@pytest.mark.parametrize("name", PRIORS)
def test_what_is_drawn_step_by_step_is_what_is_scored_at_once(name: str) -> None:
    net, h = PRIORS[name](2).float(), normal(9, 2)
    z, rng = torch.randint(3, (9, 6), generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    kept, stayed = net.draw(9, rng, h, kept=z, free=torch.zeros(9, 6, dtype=torch.bool))
    assert torch.equal(kept, z)
    torch.testing.assert_close(stayed, net.log_prob(z, h).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_law_and_weights_give_the_mass_of_what_was_kept(name: str) -> None:
    """Chi-squared over 729 cells of 20,000 draws, expected counts below 5 pooled: z below 4.5; weights within 4.5 errors."""
    net, n = PRIORS[name](0).float(), 20_000
    z = every(6, 3)
    law = net.log_prob(z).exp().detach()
    drawn, _ = net.draw(n, torch.Generator().manual_seed(0))
    counts = torch.bincount((drawn * 3 ** torch.arange(5, -1, -1)).sum(1), minlength=729).float()
    small = n * law < 5
    found = torch.cat([counts[~small], counts[small].sum(None, keepdim=True)])
    expected = n * torch.cat([law[~small], law[small].sum(None, keepdim=True)])
    freedom = len(found) - 1
    assert abs(float(((found - expected).square() / expected).sum()) - freedom) < 4.5 * (2 * freedom) ** 0.5
    free = torch.tensor([True, False, True, True, False, True])
    kept = torch.tensor([0, 1, 0, 0, 2, 0])
    codes, stayed = net.draw(n, torch.Generator().manual_seed(1), kept=kept.expand(n, -1), free=free.expand(n, -1))
    assert (codes[:, ~free] == kept[~free]).all()
    weights = stayed.exp()
    exact = law[(z[:, ~free] == kept[~free]).all(1)].sum()
    assert abs(float(weights.mean() - exact)) < 4.5 * float(weights.std()) / n**0.5


# -- nets --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14)])
def test_grids_fit_images_of_any_size(shape: tuple[int, int, int]) -> None:
    form = {"times": 2, "width": 8, "blocks": 1}
    z = GridEncoder(shape, 5, **form)(normal(2, math.prod(shape)))
    assert z.shape == (2, math.prod(grid_of(shape, 2)), 5)
    assert GridDecoder(shape, 5, **form)(z).shape == (2, math.prod(shape))


# -- the model ---------------------------------------------------------------------------------------------------------
def test_the_bound_grows_with_its_terms_up_to_the_sum_over_all_codes(fitted: Any) -> None:
    x = data(40, seed=1)
    code = fitted.codec_.encode(fitted._records_of(x, None))
    codes, net = every(3, 3), fitted.net_
    with torch.no_grad():
        log_prior = net["prior"].log_prob(codes, None, torch.float64)
        each = log_prior + fitted._nats(net, codes.expand(40, -1, -1), code.x)
    exact = torch.logsumexp(each, 1) + code.log_det
    bounds = []
    for terms in (1, 2, 6, 27, 100):
        bounds.append(fitted.set_params(terms=terms).log_prob(x))
    fitted.set_params(terms=8)
    assert all((b >= a - 1e-6).all() for a, b in itertools.pairwise(bounds))
    assert bounds[-1] == pytest.approx(exact.numpy(), abs=1e-5)
    assert bounds[0].mean() < bounds[-1].mean()


def test_the_losses_by_hand(fitted: Any) -> None:
    x = torch.from_numpy(data(32, seed=2))
    net = fitted.build()
    batch = Batch(x, None, torch.Generator().manual_seed(0), 0.5, 0)
    loss, terms = fitted._code_loss(net, batch)
    vectors = net["encoder"](x.float()).view(32, 3, 2)
    codes = (vectors[:, :, None] - net["book"].entries).square().sum(-1).argmin(-1)
    near = net["book"].entries[codes]
    params = net["decoder"](near.flatten(1))
    nats = torch.distributions.Normal(params[:, :2], params[:, 2:].clamp(-7, 5).exp()).log_prob(x.float()).sum(1).mean()
    torch.testing.assert_close(loss, 0.25 * 2 * (vectors - near).square().mean() - nats)
    torch.testing.assert_close(terms["nats"], nats - 3 * math.log(3))
    loss, terms = fitted._bound_loss(net, batch)
    torch.testing.assert_close(terms["code nats"], net["prior"].log_prob(codes).mean())
    torch.testing.assert_close(loss, -nats - terms["code nats"])


def test_what_is_decoded_depends_on_the_nearest_entries_only(fitted: Any) -> None:
    x = data(20, seed=3)
    z = fitted.encode(x)
    assert z.shape == (20, 6)
    np.testing.assert_array_equal(fitted.decode(z + 1e-4), fitted.reconstruct(x))
    entries = {tuple(e) for e in fitted.net_["book"].entries.tolist()}
    assert {tuple(e) for e in z.reshape(-1, 2).tolist()} <= entries


def test_a_step_of_imputation_keeps_the_law_of_codes_given_what_is_known(fitted: Any) -> None:
    """From 6,000 exact draws of p(z | x_0): chi-squared after a step on two codes, z below 4.5."""
    n, net, z = 6000, fitted.net_, every(3, 3)
    known = torch.tensor([[0.2, math.nan]], dtype=torch.float64)
    with torch.no_grad():
        each = net["prior"].log_prob(z) + fitted._nats(net, z[None], known)[0]
        law = torch.softmax(each.double(), 0)
        rng = torch.Generator().manual_seed(0)
        codes = z[torch.multinomial(law, n, replacement=True, generator=rng)]
        free = torch.tensor([True, False, True]).expand(n, -1)
        after, _ = fitted._renewed(known.expand(n, -1), codes, None, free, None, rng)
    assert (after[:, 1] == codes[:, 1]).all()
    assert (after != codes).any()
    counts = torch.bincount((after * 3 ** torch.arange(2, -1, -1)).sum(1), minlength=27).double()
    assert (counts[law < 1e-9] == 0).all()
    seen = law * n >= 5
    found = torch.cat([counts[seen], counts[~seen].sum(None, keepdim=True)])
    expected = n * torch.cat([law[seen], law[~seen].sum(None, keepdim=True).clamp_min(1e-9)])
    excess = float(((found - expected).square() / expected.clamp_min(1)).sum()) - int(seen.sum())
    assert excess < 4.5 * (2 * len(found)) ** 0.5


def test_imputation_finds_the_mean_given_what_is_known(fitted: Any) -> None:
    """500 draws of one record's second number against the exact conditional mean of the model, 4.5 standard errors."""
    x = np.repeat([[3.1, np.nan]], 500, 0)
    drawn = fitted.impute(x, random_state=0)[:, 1]
    z, net = every(3, 3), fitted.net_
    complete = fitted._records_of(np.array([[3.1, 0.0]]), None)
    known = fitted.codec_.encode(complete).x.clone()
    known[:, 1] = math.nan
    with torch.no_grad():
        weights = torch.softmax(net["prior"].log_prob(z) + fitted._nats(net, z[None], known)[0], 0)
        means = net["decoder"](net["book"](z).flatten(1))[:, 1]
        code_mean = float((weights * means).sum())
    line = fitted.codec_.encode(fitted._records_of(np.array([[0.0, 0.0], [0.0, 1.0]]), None)).x[:, 1]
    exact = (code_mean - float(line[0])) / float(line[1] - line[0])
    assert drawn.mean() == pytest.approx(exact, abs=4.5 * drawn.std() / 500**0.5)


def test_a_prior_for_grids_needs_a_grid() -> None:
    with pytest.raises(Problem, match="transformer"):
        VQVAE(**SMALL, steps=1, prior="pixelcnn").fit(data())


@pytest.mark.parametrize("stop", [4, 14])
def test_a_run_that_was_stopped_in_either_stage_ends_with_the_same_bytes(tmp_path: Any, stop: int) -> None:
    def halt(event: Any) -> None:
        if event.step == stop and not event.done:
            os.kill(os.getpid(), signal.SIGINT)

    model = {**SMALL, "entries": 20, "steps": 20}
    whole = VQVAE(**model).fit(data()).net_.state_dict()
    with pytest.raises(Interrupted):
        VQVAE(**model).fit(data(), out=tmp_path, watch=[halt])
    again = VQVAE(**model).fit(data(), out=tmp_path, resume=True).net_.state_dict()
    assert all(torch.equal(whole[k], again[k]) for k in whole)
