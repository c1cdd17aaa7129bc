"""Data larger than memory: what lies on the disk gives what memory gives, bit for bit, and a limit on memory is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks.reliability import large
from genlearn import read
from genlearn.codecs.table import TableCodec
from genlearn.data import digest as digests
from genlearn.data import disk, memory
from genlearn.data import split as splits
from genlearn.data.digest import digest
from genlearn.data.records import Dataset, Records
from genlearn.errors import Problem
from genlearn.models import GAN, KDE, VAE
from genlearn.training.feed import fingerprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked in Linux's way")


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what takes the memory away: from then on all but the smallest arrays lie on the disk, and blocks are small."""
    monkeypatch.setenv("GENLEARN_CACHE", str(tmp_path / "cache"))

    def take_memory() -> None:
        monkeypatch.setenv("GENLEARN_MEMORY", "16KB")
        monkeypatch.setattr(memory, "BLOCK", 3000)

    return take_memory


def is_mapped(array: np.ndarray) -> bool:
    """Whether the values of an array lie in a file, by what the kernel says of their address."""
    address = array.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *_ = line.split()
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            return inode != "0"
    raise AssertionError("an address without memory")


def mixed_table(n: int) -> pd.DataFrame:
    """A table with a column of every kind that a Parquet file may hold."""
    rng = np.random.default_rng(0)
    moments = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s")
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "count": rng.poisson(300, n),
            "masked": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "flag": rng.random(n) > 0.5,
            "maybe": pd.array(rng.random(n) > 0.5, dtype="boolean"),
            "city": rng.choice(["Bern", "Genf ", "?"], n),
            "written": [f"{v:,}" for v in rng.integers(0, 10**6, n)],
            "kind": pd.Categorical(rng.choice(["u", "v"], n), categories=["v", "u"]),
            "moment": moments,
            "zoned": moments.tz_localize("UTC").tz_convert("Europe/Berlin"),
            "day": moments.date,
        }
    )
    frame.loc[n - 7, ["masked", "maybe", "city", "written", "moment", "zoned", "single"]] = None
    return frame


def same(a: Dataset, b: Dataset) -> None:
    """Assert that two data sets hold the same records, and say the same of them."""
    for name in ("train", "valid", "test"):
        one, other = a.part(name), b.part(name)
        if one.modality == "table":
            pd.testing.assert_frame_equal(one.x, other.x)
        else:
            np.testing.assert_array_equal(one.x, other.x)
            np.testing.assert_array_equal(one.y, other.y)
    assert (a.summary, a.split_id, a.notes) == (b.summary, b.split_id, b.notes[: len(a.notes)])


# -- reading -----------------------------------------------------------------------------------------------------------
def test_parquet_in_batches_is_parquet_in_memory(tmp_path: Path, on_disk: Callable[[], None]) -> None:
    frame = mixed_table(3000)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=700)
    in_memory = read(tmp_path / "t.parquet", target="kind")
    on_disk()
    mapped = read(tmp_path / "t.parquet", target="kind")
    same(in_memory, mapped)
    assert is_mapped(mapped.train.x["real"].to_numpy())
    assert not is_mapped(in_memory.train.x["real"].to_numpy())
    assert "read from the disk" in mapped.notes[-1]


def test_a_type_that_shows_late_holds_for_all_batches(tmp_path: Path, on_disk: Callable[[], None]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 2000
    late = {
        "hole": pa.array([None if k == 1900 else k for k in range(n)], pa.int64()),
        "truth": pa.array([None if k > 1500 else k % 2 > 0 for k in range(n)], pa.bool_()),
        "word": pa.array([str(k % 7) if k < 1800 else "x" for k in range(n)]),
        "text": pa.array([None if k < 900 else f"w{k % 5}" for k in range(n)]),
    }
    pq.write_table(pa.table(late), tmp_path / "t.parquet", row_group_size=300)
    in_memory = read(tmp_path / "t.parquet")
    on_disk()
    same(in_memory, read(tmp_path / "t.parquet"))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).integers(0, 255, (300, 8, 8, 3), dtype=np.uint8),
        np.random.default_rng(0).random((300, 8, 8)),
        np.random.default_rng(0).integers(0, 255, (300, 4, 8, 8), dtype=np.uint8),
        np.random.default_rng(0).normal(size=(900, 5)),
    ],
    ids=["bytes", "floats", "channels first, with transparency", "table"],
)
def test_mapped_arrays_are_arrays_in_memory(
    pixels: np.ndarray, name: str, tmp_path: Path, on_disk: Callable[[], None]
) -> None:
    save: Any = np.save if name == "x.npy" else np.savez_compressed
    save(tmp_path / name, pixels)
    in_memory = read(tmp_path / name)
    on_disk()
    mapped = read(tmp_path / name)
    same(in_memory, mapped)
    values = mapped.train.x if mapped.modality == "image" else mapped.train.x["x0"].to_numpy()
    assert is_mapped(values)


@pytest.mark.parametrize("kind", ["grey", "mixed"])
def test_a_folder_decoded_in_pieces_is_one_decoded_at_once(
    kind: str, tmp_path: Path, on_disk: Callable[[], None]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(40):
        size = (20, 24) if kind == "grey" else (*rng.integers(10, 150, 2).tolist(), 3)
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.{'png' if i % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(path)
    whole = (tmp_path / "pictures/b/1.png").read_bytes()
    (tmp_path / "pictures/b/cut.png").write_bytes(whole[: len(whole) // 2])
    in_memory = read(tmp_path / "pictures")
    on_disk()
    mapped = read(tmp_path / "pictures")
    same(in_memory, mapped)
    assert is_mapped(mapped.train.x)


def test_text_that_does_not_fit_is_refused_with_the_way_out(tmp_path: Path, on_disk: Callable[[], None]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 9000)
    on_disk()
    with pytest.raises(Problem, match=r"t\.csv holds .* MB, more than the memory .* Write it as Parquet"):
        read(tmp_path / "t.csv")


def test_rows_are_a_part_of_train_and_nothing_else(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=1000)})
    whole, part = read(frame), read(frame, rows=100)
    pd.testing.assert_frame_equal(whole.test.x, part.test.x)
    assert len(part.train) == 100
    assert part.train.x["a"].isin(whole.train.x["a"]).all()


def test_many_records_fall_into_parts_by_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MANY", 1000)
    content = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64)
    content[10_000:] = content[:10_000]
    part = splits.assign(content)
    np.testing.assert_array_equal(part[:10_000], part[10_000:])
    # 10,000 independent groups: five standard deviations of a binomial share are 0.02.
    np.testing.assert_allclose(np.bincount(part) / 20_000, [0.7, 0.1, 0.2], atol=0.02)
    assert (splits.assign(content, seed=1) != part).any()


# -- codecs ------------------------------------------------------------------------------------------------------------
def test_what_may_occur_is_found_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 50_000
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=n),
            "tens": 10 * rng.integers(0, 3000, n),
            "money": np.round(rng.normal(size=n), 1),
            "city": rng.choice(["Bern", "Genf"], n),
        }
    )
    frame.loc[[4321, 12_345, 33_333], "real"] = [-99.0, 99.0, np.nan]
    frame.loc[20_001, "tens"] = 12_345  # five is the common step
    frame.loc[30_001, "money"] = 0.125  # three decimals
    frame.loc[40_001, "city"] = "Chur"
    exact = TableCodec().fit(Records("table", frame))
    monkeypatch.setattr(digests, "DRAWN", 1000)
    monkeypatch.setattr(digests, "MOST_VALUES", 500)
    drawn = TableCodec().fit(Records("table", frame))
    a, b = ({p.name: p for p in codec.parts} for codec in (exact, drawn))
    assert len(digest(frame)["real"].cells) < 1100
    for field in ("low", "high", "absent"):
        assert getattr(a["real"], field) == getattr(b["real"], field)
    assert (a["tens"].lattice, b["tens"].lattice) == (a["tens"].lattice,) * 2
    assert a["tens"].lattice.step == 5  # type: ignore[union-attr]
    assert a["money"].format.decimals == b["money"].format.decimals == 3  # type: ignore[union-attr]
    assert a["city"].levels == b["city"].levels  # type: ignore[union-attr]


def test_what_is_usual_is_that_of_a_drawn_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    n, m = 200_000, 4096
    x = np.sort(np.random.default_rng(0).lognormal(size=n))  # in order, as files often are
    monkeypatch.setattr(digests, "DRAWN", m)
    column = digest(pd.DataFrame({"x": x}))["x"]
    drawn = np.sort(column.cells.to_numpy()[column.drawn])
    ranks = np.searchsorted(x, drawn) / n
    # One row of each of m equal stretches: of values in order, no rank is off by more than a stretch.
    assert np.abs(ranks - np.arange(m) / m).max() <= 1.5 / m
    shuffled = digest(pd.DataFrame({"x": np.random.default_rng(1).permutation(x)}))["x"]
    ranks = np.searchsorted(x, np.sort(shuffled.cells.to_numpy()[shuffled.drawn])) / n
    # Dvoretzky-Kiefer-Wolfowitz at one in a thousand: sqrt(log(2 / 0.001) / (2 m)).
    assert np.abs(ranks - np.arange(m) / m).max() <= np.sqrt(np.log(2000) / (2 * m))


def test_identifiers_of_a_long_table_are_known_by_no_drawn_cell_repeating(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 20_000
    monkeypatch.setattr(digests, "DRAWN", 1000)
    monkeypatch.setattr(digests, "MOST_VALUES", 500)
    frame = pd.DataFrame({"user_id": np.arange(n), "size": np.arange(n) // 2, "few": np.arange(n) % 300})
    found = digest(frame)
    assert found["user_id"].distinct == n
    assert found["few"].distinct == 300
    kinds = {p.name: type(p).__name__ for p in TableCodec().fit(Records("table", frame)).parts}
    assert kinds == {"user_id": "SkippedColumn", "size": "NumberColumn", "few": "NumberColumn"}


# -- fits --------------------------------------------------------------------------------------------------------------
def fitted(source: Any, model: Any, **options: Any) -> Any:
    return model.fit(read(source, **options))


@pytest.mark.parametrize("kind", ["images", "table"])
@pytest.mark.parametrize(
    "model",
    [
        lambda: VAE(net="mlp", latent=2, hidden=(8,), steps=20, batch=16, random_state=0),
        lambda: GAN(net="mlp", latent=2, hidden=(8,), steps=6, batch=16, random_state=0),
    ],
    ids=["vae", "gan"],
)
def test_a_fit_from_the_disk_is_one_from_memory(
    model: Callable[[], Any], kind: str, tmp_path: Path, on_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("x.npy" if kind == "images" else "x.parquet")
    getattr(large, kind)(path, 200_000)
    monkeypatch.setattr(memory, "BLOCK", 3000)  # noise is drawn block by block: the same blocks, the same noise
    codes: list[Any] = []
    train = model().__class__._fit
    monkeypatch.setattr(
        model().__class__, "_fit", lambda m, code, valid: (codes.append(code), train(m, code, valid))[1]
    )
    in_memory = fitted(path, model())
    on_disk()
    mapped = fitted(path, model())
    assert [is_mapped(code.x.numpy()) for code in codes] == [False, True]
    assert fingerprint(codes[0]) == fingerprint(codes[1])
    for a, b in zip(in_memory.net_.parameters(), mapped.net_.parameters(), strict=True):
        assert torch.equal(a, b)


def test_models_that_need_all_records_say_what_fits(on_disk: Callable[[], None]) -> None:
    x = np.random.default_rng(0).normal(size=(4000, 4))
    on_disk()
    with pytest.raises(
        Problem, match=r"kde holds all records in memory: 4,000 take 0\.1 MB, 128 would fit.*--rows 128"
    ):
        KDE(random_state=0).fit(x)
    KDE(random_state=0).fit(read(x, rows=128))


def test_a_disk_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch, on_disk: Callable[[], None]) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    on_disk()
    monkeypatch.setattr(memory.os, "posix_fallocate", full)
    with pytest.raises(
        Problem, match=r"has no room for 0\.1 MB .* \(No space left on device\)\. Free the disk, or name"
    ):
        disk.gather(np.zeros((1000, 10, 10), np.uint8), np.arange(1000))


def test_what_lies_on_the_disk_has_no_name_there(tmp_path: Path, on_disk: Callable[[], None]) -> None:
    on_disk()
    found = disk.gather_rows(mixed_table(500), np.arange(400))
    assert is_mapped(found["real"].to_numpy())
    assert not list((tmp_path / "cache").iterdir())


def test_sizes_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, size in (("2GB", 2**31), ("1.5 mib", 3 * 2**19), ("100", 100)):
        monkeypatch.setenv("GENLEARN_MEMORY", text)
        assert memory.allowance() == size
    monkeypatch.setenv("GENLEARN_MEMORY", "much")
    with pytest.raises(Problem, match='GENLEARN_MEMORY must be a size such as 8GB or 500MB, not "much"'):
        memory.allowance()


# -- the limit ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["images", "table"])
def test_three_times_the_memory_is_fitted_killed_resumed_and_sampled(kind: str, tmp_path: Path) -> None:
    story = large.tell(kind, large.ALLOWED_QUICK[kind], tmp_path)
    assert story.ends_well, story
    assert 0 < story.peak <= large.ALLOWED_QUICK[kind]
