"""Compression: rANS against the entropy, records that come back bit by bit, sizes against the bound, files from strangers."""

import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import logistic, norm

from genlearn.cli import main
from genlearn.compress.container import Container
from genlearn.compress.factors import Factors
from genlearn.compress.grid import Grid
from genlearn.compress.laws import TOTAL, Coin, Logistic, Mixture, Normal, Table, Uniform
from genlearn.compress.rans import Stack
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Code, Field, Layout
from genlearn.models.hvae import HVAE
from genlearn.models.vae import VAE
from genlearn.testing import digits

SMALL = {"latent": 3, "hidden": (32,), "steps": 60, "lr": 5e-3, "batch": 64, "random_state": 0}


def laws(rng, n):
    """Every law with n symbols, and symbols from it."""
    return [
        Uniform(n, 2**14),
        Table(rng.dirichlet(np.full(5, 0.3), n)),
        Coin(rng.normal(0, 6, n)),
        Logistic(rng.uniform(-20, 270, n), rng.uniform(0.01, 30, n), 256),
        Mixture(rng.dirichlet(np.ones(3), n), rng.uniform(0, 255, (n, 3)), rng.uniform(0.05, 20, (n, 3)), 256),
        Normal(rng.normal(0, 1, n), rng.uniform(0.01, 2, n), np.r_[-np.inf, np.linspace(-3, 3, 63), np.inf]),
        Normal(rng.normal(0, 1, n), rng.uniform(0.01, 2, n), rng.uniform(0.01, 1, n), 64),
    ]


def drawn(law, rng):
    """Return a symbol under each law, by the slot in which a uniform number falls."""
    return law.find(rng.integers(0, TOTAL, law.size), slice(0, law.size))[0]


# -- the stack ---------------------------------------------------------------------------------------------------------
def test_laws_share_out_all_slots_and_find_each_symbol():
    for law in laws(np.random.default_rng(0), 6):
        every = np.arange(int(law.levels.max()) + 1)
        for row in range(law.size):
            starts = law.start(every, slice(row, row + 1))
            assert (starts[0], starts[-1]) == (0, TOTAL)
            assert np.diff(starts).min() >= 1
            found, first, width = law.find(starts[:-1], slice(row, row + 1))
            np.testing.assert_array_equal(found, every[:-1])
            np.testing.assert_array_equal(first + width, starts[1:])


def test_laws_are_those_of_scipy():
    k = np.arange(1, 255)
    share = np.diff(Logistic(np.array([99.3]), np.array([7.0]), 256).start(np.append(k, 255), slice(0, 1))) / TOTAL
    np.testing.assert_allclose(share, logistic.cdf(k + 0.5, 99.3, 7) - logistic.cdf(k - 0.5, 99.3, 7), atol=2 / 2**16)
    grid = Normal(np.array([0.3]), np.array([0.8]), np.array([0.1]), 64)
    cells = (np.arange(64) - 32) * 0.1
    expected = norm.cdf(cells + 0.05, 0.3, 0.8) - norm.cdf(cells - 0.05, 0.3, 0.8)
    np.testing.assert_allclose(
        np.diff(grid.start(np.arange(65), slice(0, 1)))[1:-1] / TOTAL, expected[1:-1], atol=64 / TOTAL
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**20))
def test_what_is_pushed_is_popped(n, lanes, seed):
    rng = np.random.default_rng(seed)
    order = [(law, drawn(law, rng)) for law in laws(rng, n)]
    order += [(Table(np.array([[1.0, 0.0]])), np.array([1]))]  # impossible by its law, and coded all the same
    stack = Stack(lanes)
    for law, symbols in order:
        stack.push(law, symbols)
    stack = Stack(lanes, stack.words())
    for law, symbols in reversed(order):
        np.testing.assert_array_equal(stack.pop(law), symbols)
    stack.check_bottom()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 2**20))
def test_what_is_popped_is_pushed_back(n, lanes, seed):
    rng = np.random.default_rng(seed)
    stack, order = Stack(lanes), laws(rng, n)
    popped = [stack.pop(law) for law in order]
    stack = Stack(lanes, stack.words(least=500))
    for law, symbols in reversed(list(zip(order, popped, strict=True))):
        stack.push(law, symbols)
    stack.check_bottom()
    with pytest.raises(Problem, match="come apart"):
        Stack(1, np.arange(2, dtype=np.uint32) + 1).pop(order[0])


def test_pops_from_an_empty_stack_are_draws():
    p = np.array([0.5, 0.3, 0.2])
    found = Stack(8).pop(Table(np.broadcast_to(p, (20_000, 3))))
    np.testing.assert_allclose(np.bincount(found) / 20_000, p, atol=0.015)  # four standard deviations


def test_the_size_is_the_entropy():
    rng = np.random.default_rng(0)
    law = Logistic(rng.uniform(0, 255, 50_000), rng.uniform(0.5, 30, 50_000), 256)
    symbols = drawn(law, rng)
    rows = slice(0, law.size)
    bits = -np.log2((law.start(symbols + 1, rows) - law.start(symbols, rows)) / TOTAL).sum()
    stack = Stack(16)
    stack.push(law, symbols)
    size = 32 * len(stack.words())
    assert bits - 1 <= size <= 1.001 * bits + 16 * 64


# -- codes under heads ---------------------------------------------------------------------------------------------------
GATED = Layout(
    (
        Field("rooms|", "category", levels=3),
        Field("rooms", "ordered", levels=9, loc=4, scale=2, bounded=False, gate="rooms|"),
        Field("paid", "binary", levels=2),
        Field("city", "category", levels=4),
    )
)


@pytest.mark.parametrize("mixtures", [1, 3])
def test_what_codes_cost_is_their_log_probability(mixtures):
    colour = Layout((Field("pixels", "ordered", (3, 2, 2), levels=256, loc=127.5, scale=127.5),))
    for layout in (GATED, colour):
        g = torch.Generator().manual_seed(1)
        head = layout.head(torch.randn(400, layout.head_params(mixtures), generator=g), mixtures)
        x = head.sample(g)
        factors = Factors(layout)
        values = factors.values(x.numpy())
        np.testing.assert_array_equal(factors.code(values), x.numpy())
        stack = Stack(4)
        factors.push(stack, head, values)
        bits = -float(head.log_prob(x).sum()) / np.log(2)
        assert abs(32 * len(stack.words()) - bits) < 4 * 64 + 0.005 * bits  # lanes, slots of never seen levels
        np.testing.assert_array_equal(factors.pop(Stack(4, stack.words()), head, 400), values)


# -- records -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def labelled():
    """Digits with labels and a small VAE of them."""
    x, y = digits()
    return VAE(**SMALL, samples=1).fit(x, y), x[:300], y[:300]


def test_images_come_back_bit_by_bit_near_the_bound(labelled):
    model, x, y = labelled
    data = model.compress(x, y, check=False)
    back, labels = model.decompress(data, return_y=True)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(labels, y)
    bound = -model.score(x, y) * len(x) / np.log(2)  # one draw a record: the ELBO, up to the luck of 300 draws
    assert abs(8 * len(data) / bound - 1) < 0.02


def test_hierarchies_come_back_near_the_bound():
    """Groups of latent numbers, each given those before."""
    x = digits()[0]
    model = HVAE(net="ladder", width=8, channels=1, rungs=(1, 2), steps=20, lr=5e-3, samples=1, random_state=0).fit(x)
    for n in (5, 80):
        data = model.compress(x[:n], check=False)
        np.testing.assert_array_equal(model.decompress(data), x[:n])
        bound = -model.score(x[:n]) * n / np.log(2)
        assert abs(8 * len(data) - bound) < 0.02 * bound + 8 * 54  # header, check and what is left in the one lane


class Sum:
    """x = u_1 + u_2, the first of which says it roughly, and the second what is left."""

    def _codes_exactly(self):
        return True

    def _sample(self, n, rng, given):
        return Code(torch.randn(n, 1, generator=rng))

    def _bits_back(self, code, known):
        if known.shape[1] == 2:
            return None
        mean = code.x - known if known.shape[1] else 0.6 * code.x
        return mean, torch.full_like(mean, (-1.0, -5.0)[known.shape[1]])


def test_what_rounding_takes_from_a_group_the_next_one_makes_up_for():
    code = Code(torch.linspace(-2, 2, 101)[:, None])
    grid = Grid.of(Sum(), 2.0)
    z = grid.middles(grid.rounded(Sum(), code))
    assert float((z[:, :1] - 0.6 * code.x).abs().max()) > 0.3
    assert float((z.sum(1) - code.x[:, 0]).abs().max()) < 0.51 * grid.step[1]


def test_rounded_latent_numbers_cost_little():
    """Records that find no bits to read: 0.25 bits a number that tells of them, by theory, and next to nothing otherwise."""
    x = np.random.default_rng(0).integers(0, 2, (400, 6)).repeat(12, 1).astype(np.uint8).reshape(400, 8, 9)
    model = VAE(**{**SMALL, "latent": 8, "steps": 400}, samples=200).fit(x)
    few = x[:4]
    excess = 8 * len(model.compress(few)) + model.score(few) * len(few) / np.log(2)
    assert excess - 8 * (46 + 5) < len(few) * 8 * 1.0


def test_unknown_labels_stay_unknown(labelled):
    model, x, y = labelled
    some = pd.Series(y[:9], dtype=object).where(np.arange(9) % 3 > 0, np.nan).to_numpy()
    for lossy in (False, True):
        records = model.decompress_records(model.compress(x[:9], some, lossy=lossy))
        assert [str(v) for v in records.y] == [str(v) for v in some]
    np.testing.assert_array_equal(model.decompress(model.compress(x[:1])), x[:1])


def test_tables_of_integers_and_categories_come_back():
    rng = np.random.default_rng(0)
    age = rng.integers(20, 40, 60).astype(object)
    age[::7] = None
    frame = pd.DataFrame({"age": pd.array(age, dtype="Int64"), "city": rng.choice(["Oslo", "Rome"], 60)})
    model = VAE(**SMALL).fit(Records("table", frame, options={"origin": "dataframe"}))
    back = model.decompress(model.compress(frame))
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)


def test_what_cannot_be_exact_is_refused_in_one_line():
    x = np.random.default_rng(0).normal(size=(80, 2))
    model = VAE(**SMALL).fit(x)
    with pytest.raises(Problem, match="Compress with loss"):
        model.compress(x)
    assert model.decompress(model.compress(x, lossy=True)).shape == x.shape
    with pytest.raises(Problem, match="prior normal"):
        VAE(**SMALL, prior="mixture", parts=3).fit(digits()[0]).compress(digits()[0][:3])


def test_loss_is_that_of_the_step(labelled):
    model, x, y = labelled
    finest = model.reconstruct(x, y).astype(float)
    away, sizes = [], []
    for step in (0.05, 1.0, 6.0):
        data = model.compress(x, y, lossy=True, step=step)
        sizes.append(len(data))
        away.append(np.mean((model.decompress(data).astype(float) - finest) ** 2))
    assert sizes[0] > sizes[1] > sizes[2]
    assert away[0] < 0.05 * away[2]
    assert away[1] < away[2]


# -- files from strangers ------------------------------------------------------------------------------------------------
def test_another_model_refuses_the_file(labelled):
    model, x, y = labelled
    data = model.compress(x[:5], y[:5], lossy=True)
    with pytest.raises(Problem, match="another model"):
        VAE(**{**SMALL, "steps": 2}).fit(*digits()).decompress(data)


@pytest.mark.parametrize("lossy", [False, True])
def test_every_damaged_byte_is_one_line(labelled, lossy):
    model, x, y = labelled
    data = model.compress(x[:4], y[:4], lossy=lossy)
    rng = np.random.default_rng(0)
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= int(rng.integers(1, 256))
        with pytest.raises(Problem) as refused:
            model.decompress(bytes(broken))
        assert "\n" not in str(refused.value)
    for cut in (0, 3, 20, len(data) - 1):
        with pytest.raises(Problem):
            model.decompress(data[:cut])


@pytest.mark.parametrize("lossy", [False, True])
def test_files_made_to_deceive_are_one_line(labelled, lossy):
    """The checksum at the end is made to fit, so that what is behind it is reached; last digits of the step do no harm."""
    model, x, y = labelled
    data = model.compress(x[:4], y[:4], lossy=lossy)
    right, refused = model.decompress(data), 0
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data[:-4])
        broken[int(rng.integers(5, len(broken)))] ^= int(rng.integers(1, 256))
        try:
            np.testing.assert_array_equal(
                model.decompress(bytes(broken) + struct.pack("<I", zlib.crc32(broken))), right
            )
        except Problem as e:
            refused += "\n" not in str(e)
    assert refused > 40


def test_a_header_cannot_ask_for_more_than_its_file_may_hold(labelled):
    form = Container.from_bytes(labelled[0].compress(labelled[1][:4], lossy=True))
    form.count = 2**31
    with pytest.raises(Problem, match="no sense"):
        Container.from_bytes(form.to_bytes())


# -- the command ---------------------------------------------------------------------------------------------------------
def test_the_command_writes_and_reads_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fit = "fit vae digits --steps 5 --latent 2 --hidden 8 --seed 0 --quiet --out run"
    assert main(fit.split()) == 0
    assert main(["compress", "run", "--split", "valid", "--out", "some.gl"]) == 0
    assert "bits/dim" in capsys.readouterr().err
    assert main(["decompress", "run", "some.gl", "--out", "back.npz"]) == 0
    valid = digits_of_valid()
    np.testing.assert_array_equal(np.load("back.npz")["x"], valid)
    assert main(["compress", "run", "--step", "3"]) == 2
    assert main(["decompress", "run", "run/config.json"]) == 2


def digits_of_valid():
    """The validation digits, as `read` splits them."""
    import genlearn

    return genlearn.read("digits").valid.natural()
