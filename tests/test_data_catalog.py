"""Data sets by name: embedded ones, toys whose density is the truth, downloads that are verified or explained."""

import hashlib
import http.server
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genlearn import Problem, read
from genlearn.data import catalog, datasets, read_all, toy_log_density, toy_sample
from genlearn.data.toys import TOYS


def test_every_embedded_data_set_reads():
    for entry in datasets():
        if entry.state == "embedded":
            data = read(entry.name)
            assert (data.modality, data.target) == (entry.modality, entry.target)
            assert f"{sum(map(len, (data.train, data.valid, data.test))):,}" in entry.about


def test_digits_are_as_scikit_learn_has_them():
    from sklearn.datasets import load_digits

    records = read_all("digits")
    assert (records.x[..., 0] == load_digits().images).all()
    assert (records.y == load_digits().target).all()
    assert (records.x.dtype, records.options["levels"]) == (np.uint8, 17)


# -- toys --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", TOYS)
def test_toy_density_has_mass_one(name):
    # the narrowest width is 0.09: on a grid of 0.04 the trapezoid rule errs by exp(-2 (pi 0.09 / 0.04)^2) = 1e-43; what
    # lies beyond the grid is below 1e-5
    axis = np.arange(-4.5, 4.5, 0.04)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    near = grid[_near(name, grid)]
    assert np.exp(toy_log_density(name)(near)).sum() * 0.04**2 == pytest.approx(1, abs=1e-5)


def _near(name, grid):
    """Return where the density is not negligible, so that quadrature over centres stays quick."""
    if name != "moons":
        return np.ones(len(grid), bool)
    return (np.abs(grid[:, 0] - 0.5) < 2.2) & (np.abs(grid[:, 1] - 0.25) < 1.5)


@pytest.mark.parametrize("name", TOYS)
def test_toy_samples_follow_their_density(name):
    """Counts in cells of equal size against the density's mass there: chi-square, false alarm 1e-4 at this fixed seed."""
    from scipy.stats import chi2

    n, step, fine = 4000, 0.5, 10
    x = toy_sample(name, n, seed=1)
    axis = (np.arange(-4.5, 4.5, step / fine) + step / fine / 2).round(6)
    cells = len(axis) // fine
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(toy_log_density(name)(grid)).reshape(cells, fine, cells, fine).sum((1, 3)) * (step / fine) ** 2
    place = np.floor((x + 4.5) / step).astype(int)
    counts = np.zeros((cells, cells))
    np.add.at(counts, tuple(place.T), 1)
    usual = mass * n > 5
    statistic = ((counts - mass * n)[usual] ** 2 / (mass * n)[usual]).sum()
    assert statistic < chi2.isf(1e-4, usual.sum())
    assert counts[~usual].sum() < n * mass[~usual].sum() + 6 * np.sqrt(n * mass[~usual].sum()) + 6


def test_rings_agree_with_scipy_rice():
    from scipy.stats import rice

    x = np.random.default_rng(0).normal(size=(50, 2)) * 2
    radius = np.hypot(*x.T)
    rings = sum(rice.pdf(radius, r / 0.1, scale=0.1) for r in (1, 2, 3)) / 3 / (2 * np.pi * radius)
    far = rings > 1e-250
    assert np.allclose(toy_log_density("rings")(x)[far], np.log(rings[far]), atol=1e-8)


def test_unknown_toys_are_a_problem():
    with pytest.raises(Problem, match='Did you mean "moons"'):
        toy_sample("moon", 3)


# -- downloads ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def server(tmp_path):
    """Serve `tmp_path/there` on this machine."""
    there = tmp_path / "there"
    there.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(there))

        def log_message(self, *args):
            """Say nothing: the test's output is its own."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield there, f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


@pytest.fixture
def census(server, monkeypatch, tmp_path):
    """A two-row adult in UCI's own form, offered by the server and entered in the catalogue."""
    there, url = server
    row = "39, State-gov, 77516, Bachelors, 13, Never-married, ?, Not-in-family, White, Male, 2174, 0, 40, United-States, <=50K"
    contents = {
        "adult.data": f"{row}\n{row.replace('39', '50')}\n\n",
        "adult.test": f"|1x3 Cross validator\n{row}.\n\n",
    }
    files = []
    for name, content in contents.items():
        (there / name).write_text(content)
        checksum = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
        files.append(catalog.Download(url + name, checksum, f"tables/{name}.csv"))
    entry = replace(catalog.entry("adult"), files=tuple(files))
    monkeypatch.setattr(catalog, "_CATALOG", (entry,))
    monkeypatch.setenv("GENLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENLEARN_DATA", raising=False)
    return there, entry


def test_downloads_are_read_and_cached(census):
    there, entry = census
    assert entry.state == "downloadable"
    data = read("adult")
    assert (len(data.train), len(data.test), data.target) == (2, 1, "income")
    assert data.test.x.income.tolist() == ["<=50K"]  # UCI ends test labels with a dot
    assert data.train.x.occupation.isna().all()
    assert data.train.x.age.tolist() == [39, 50]
    assert entry.state == "cached"
    for path in there.iterdir():
        path.unlink()
    assert read("adult").split_id == data.split_id


def test_a_wrong_file_is_refused_and_not_kept(census):
    there, _ = census
    (there / "adult.data").write_text("something else")
    with pytest.raises(Problem, match=r"not the file it should be \(sha256"):
        read("adult")
    assert not list(catalog.cache_folder().rglob("*"))


def test_offline_names_address_cache_and_local_copies(census):
    there, entry = census
    (there / "adult.data").unlink()
    with pytest.raises(Problem) as e:
        read("adult")
    for word in (entry.files[0].url, "GENLEARN_DATA", str(catalog.cache_folder()), "tables/adult.data.csv"):
        assert word in str(e.value)
    assert "\n" not in str(e.value)


def test_local_copies_go_before_downloads(census, monkeypatch, tmp_path):
    _, entry = census
    for k, file in enumerate(entry.files):
        local = tmp_path / "mine" / file.local
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_text("age,income\n" + "".join(f"{20 + 10 * k + i},x\n" for i in range(4)))
    monkeypatch.setenv("GENLEARN_DATA", str(tmp_path / "mine"))
    assert entry.state == "local"
    assert read("adult").test.x.age.tolist() == [30, 31, 32, 33]
    assert not catalog.cache_folder().exists()


def test_names_go_before_folders_and_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wine").mkdir()
    assert any("write ./wine" in note for note in read("wine").notes)
    with pytest.raises(Problem, match="is empty"):
        read("./wine")
