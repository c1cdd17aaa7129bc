"""Images from files and arrays: any mode and size into one uint8 array, labels and parts from paths and keys."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlearn import Problem, read
from genlearn.data import read_all
from genlearn.data.arrange import labels_of_paths, part_of_word, parts_of_paths
from genlearn.data.arrays import array_records, read_idx


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def picture(height=6, width=8, channels=3, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return x[..., 0] if channels == 1 else x


def save(path, array, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)


def only(path, **options):
    """Return the pixels of a folder or file that holds one image."""
    return read_all(path, **options).x[0]


# -- modes -------------------------------------------------------------------------------------------------------------
def test_rgb_and_grey_are_exact():
    x = picture()
    save("rgb.png", x)
    assert (only("rgb.png") == x).all()
    save("grey.png", x[..., 0])
    assert (only("grey.png")[..., 0] == x[..., 0]).all()


def test_grey_saved_as_colour_is_grey():
    save("a.png", np.repeat(picture(channels=1)[..., None], 3, 2))
    assert only("a.png").shape == (6, 8, 1)


def test_palette_and_one_bit_images_show_what_a_viewer_shows():
    paletted = Image.fromarray(picture()).quantize(7)
    save("p.png", paletted)
    assert (only("p.png") == np.asarray(paletted.convert("RGB"))).all()
    bits = picture(channels=1) > 128
    save("1.png", bits)
    assert (only("1.png")[..., 0] == np.where(bits, 255, 0)).all()


def test_transparency_is_laid_on_white():
    x = picture()
    alpha = picture(channels=1, seed=1)
    save("a/rgba.png", np.dstack([x, alpha]))
    expected = x * (alpha[..., None] / 255) + 255 - alpha[..., None]
    assert np.abs(only("a").astype(float) - expected).max() <= 1  # whole grey levels
    assert any("laid on white" in n for n in read("a").notes)
    save("b/opaque.png", np.dstack([x, np.full((6, 8), 255, np.uint8)]))
    assert (only("b") == x).all()
    assert not read("b").notes


def test_16_bit_grey_is_scaled_by_257():
    deep = picture(channels=1).astype(np.uint16) * 257
    save("a/deep.png", deep)
    assert (only("a")[..., 0] == picture(channels=1)).all()
    assert any("16-bit" in n for n in read("a").notes)


def test_float_pixels_in_0_to_1_are_scaled():
    save("f.tiff", picture(channels=1).astype(np.float32) / 255)
    assert (only("f.tiff")[..., 0] == picture(channels=1)).all()


def test_cmyk_becomes_rgb():
    save("c.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
    assert np.abs(only("c.jpg").astype(int) - [255, 0, 0]).max() <= 2  # JPEG's own rounding


@pytest.mark.parametrize("mark, turn", [(1, 0), (3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("large", [False, True])
def test_the_camera_mark_turns_images_upright(mark, turn, large):
    x = np.kron(picture(4, 6), np.ones((40, 40, 1), np.uint8)) if large else picture(4, 6)
    exif = Image.Exif()
    exif[0x0112] = mark
    save("a.png", x, exif=exif)
    upright = np.rot90(x, turn)
    assert (only("a.png", size=upright.shape[:2]) == upright).all()
    height, width = read_all("a.png").x.shape[1:3]
    assert (height > width) == (upright.shape[0] > upright.shape[1])


# -- sizes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([(20, 30), (20, 30)], (20, 30)),
        ([(128, 100), (128, 100)], (128, 100)),
        ([(200, 300), (200, 300)], (43, 64)),
        ([(20, 30), (24, 30), (28, 40)], (24, 30)),
        ([(100, 200), (150, 300), (60, 50)], (32, 64)),
        ([(100, 100), (120, 100)], (64, 58)),
    ],
)
def test_common_size_is_the_median_at_most_64_unless_all_agree(sizes, expected):
    for i, (h, w) in enumerate(sizes):
        save(f"s/{i}.png", picture(h, w, seed=i))
    assert read_all("s").x.shape[1:3] == expected
    assert any("resized" in n for n in read("s").notes) == (set(sizes) != {expected})


def test_size_is_obeyed_and_proportions_are_kept():
    x = np.zeros((40, 80), np.uint8)
    x[:, 20:60] = 255
    save("s/a.png", x)
    assert read_all("s", size=(16, 24)).x.shape == (1, 16, 24, 1)
    assert (only("s", size=20) > 200).all()  # the square middle, not the whole squeezed
    for wrong in ("x", 0, (1, 2, 3)):
        with pytest.raises(Problem, match="--size"):
            read("s", size=wrong)


def test_unreadable_images_are_listed_and_left_out():
    save("m/good.png", picture())
    Path("m/bad.jpg").write_bytes(b"\xff\xd8garbage")
    Path("m/empty.png").write_bytes(b"")
    whole = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(whole, "JPEG")
    Path("m/cut.jpg").write_bytes(whole.getvalue()[:900])
    Path("m/notes.txt").write_text("hello")
    data = read("m")
    assert len(data.train) == 1
    assert any("unreadable images were left out (3)" in n and "m/bad.jpg" in n for n in data.notes)
    assert any("other files" in n and "notes.txt" in n for n in data.notes)
    Path("m/good.png").unlink()
    with pytest.raises(Problem, match="no readable image"):
        read("m")


# -- folders, zips, labels, parts --------------------------------------------------------------------------------------
def pets():
    k = 0
    for part, count in (("train", 20), ("test", 3)):
        for kind in ("cat", "dog"):
            for i in range(count):
                save(f"pets/{part}/{kind}/{i}_x.png", picture(4, 4, seed=(k := k + 1)))


def test_folders_say_parts_and_labels():
    pets()
    data = read("pets")
    assert (len(data.train), len(data.valid), len(data.test)) == (36, 4, 6)
    assert (data.brought_split, data.target) == (True, "label")
    assert sorted(set(data.test.y)) == ["cat", "dog"]
    assert data.summary.startswith("46 images 4x4 colour, 2 labels · train 36 / valid 4 / test 6 (split ")


def test_a_zip_reads_like_its_folder():
    pets()
    with zipfile.ZipFile("p.zip", "w") as z:
        for path in sorted(Path("pets").rglob("*.png")):
            z.write(path)
        z.writestr("__MACOSX/pets/._0.png", b"x")
        z.writestr("pets/.DS_Store", b"x")
    assert read("p.zip").split_id == read("pets").split_id
    assert read("p.zip").train.y.tolist() == read("pets").train.y.tolist()


def test_a_part_can_be_given_apart():
    pets()
    assert read("pets/train", test="pets/test").split_id == read("pets").split_id
    save("other/a.png", picture(9, 9))
    data = read("pets", test="other")
    assert (len(data.test), data.test.x.shape[1:]) == (1, (4, 4, 3))
    assert any("test part that pets/ brings is replaced" in n for n in data.notes)
    Path("t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(Problem, match="image data but the test part is table data"):
        read("pets", test="t.csv")


@pytest.mark.parametrize(
    "paths, rule, expected",
    [
        (["a/1.png", "b/2.png", "a/3.png"], None, ["a", "b", "a"]),
        (["a/1.png", "a/2.png"], None, None),
        (["1.png", "2.png"], None, None),
        (["x/a/1.png", "x/b/2.png"], 2, ["a", "b"]),
        (["x/a/1.png", "x/b/2.png"], "2", ["a", "b"]),
        (["7_ann.png", "3_bob.png"], r"(\d)_", ["7", "3"]),
        (["7_ann.png", "3_bob.png"], "(*)_*.png", ["7", "3"]),
        (["s1/7.png", "s2/3.png"], "(s[0-9])/", ["s1", "s2"]),
        (["a/1.png", "b/2.png"], "none", None),
    ],
)
def test_labels_come_from_folders_levels_and_patterns(paths, rule, expected):
    labels, _ = labels_of_paths(paths, rule, "here")
    assert (labels if labels is None else labels.tolist()) == expected


def test_files_that_a_pattern_misses_are_unknown():
    labels, notes = labels_of_paths(["7_a.png", "x.png"], r"(\d)_", "here")
    assert labels[0] == "7"
    assert np.isnan(labels[1])
    assert "1 of 2" in notes[0]


@pytest.mark.parametrize(
    "rule, said", [("xx", "0 groups"), ("((", "no regular expression"), ("(zz)", "matches no"), ("5", "level 5")]
)
def test_wrong_label_rules_say_why(rule, said):
    with pytest.raises(Problem, match=said):
        labels_of_paths(["a/1.png"], rule, "here")


def test_many_folders_are_no_labels():
    assert labels_of_paths([f"{i}/x.png" for i in range(20)], None, "here")[0] is None


def test_part_words_are_words():
    assert [part_of_word(w) for w in ("my_train", "val", "T10K", "contest", "train-test")] == [
        "train",
        "valid",
        "test",
        None,
        None,
    ]
    assert parts_of_paths(["d/test/1.png", "d/other/2.png"])[0] == [None, None]


@pytest.mark.parametrize(
    "files, said",
    [
        ({}, "is empty"),
        ({"b.txt": b"x", "a.md": b"x"}, r"holds 2 files but none is an image \(first: f/a.md\)"),
        ({"1.wav": b"x", "2.wav": b"x"}, "2 sound files"),
        ({"a.csv": b"a,b\n1,2", "b.csv": b"a,b\n1,2"}, "2 tables"),
    ],
)
def test_folders_without_images_say_what_they_hold(files, said):
    Path("f").mkdir()
    for name, content in files.items():
        Path("f", name).write_bytes(content)
    with pytest.raises(Problem, match=said):
        read("f")


def test_damaged_zips_are_one_line():
    Path("b.zip").write_bytes(b"PK\x03\x04garbage")
    with pytest.raises(Problem, match="damaged"):
        read("b.zip")


# -- arrays ------------------------------------------------------------------------------------------------------------
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 5, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        IMAGES,
        IMAGES.astype(np.int64),
        IMAGES / 255.0,
        (IMAGES / 255.0).astype(np.float32),
        IMAGES / 127.5 - 1,
        np.moveaxis(IMAGES, -1, 1),
        IMAGES.astype(np.uint16) * 257,
        IMAGES.astype(np.float32),
    ],
)
def test_arrays_in_any_scale_and_order_are_the_same_images(array):
    assert (array_records(array)[0].x == IMAGES).all()


def test_arrays_with_alpha_are_laid_on_white():
    clear = np.concatenate([IMAGES, np.zeros((20, 5, 6, 1), np.uint8)], 3)
    assert (array_records(clear)[0].x == 255).all()


def test_two_levels_are_declared():
    records, _ = array_records(IMAGES[..., 0] > 100)
    assert records.options["levels"] == 2
    assert records.x.max() == 1
    assert "black and white" in read(IMAGES[..., 0] > 100).summary


@pytest.mark.parametrize(
    "array, said",
    [
        (np.full((2, 3, 3), np.nan), "NaN"),
        (np.full((2, 3, 3), -300.5), "from -300.5"),
        (np.zeros((2, 5, 5, 7)), "shape"),
        (np.zeros((2, 3, 3, 3, 3)), "5 axes"),
        (np.array(["a"]), "Give numbers"),
    ],
)
def test_arrays_that_are_no_images_say_why(array, said):
    with pytest.raises(Problem, match=said):
        array_records(array)


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("XTrain", "yTrain", "XTest", "yTest"),
        ("train", "train_y", "test", "test_y"),
    ],
)
def test_npz_keys_name_parts_and_labels(keys):
    y = np.arange(20) % 3
    np.savez("a.npz", **dict(zip(keys, (IMAGES, y, IMAGES[:4] // 2, y[:4, None]), strict=True)))
    data = read("a.npz")
    assert (len(data.train), len(data.valid), len(data.test)) == (18, 2, 4)
    assert data.test.y.tolist() == [0, 1, 2, 0]


def test_npz_faults_are_one_line():
    for arrays, said in (
        ({"foo": np.zeros(3), "bar": np.zeros(3)}, "Name the arrays x and y"),
        ({"x": np.zeros((5, 2)), "y": np.arange(4)}, "one label per record"),
        ({"x": IMAGES, "images": IMAGES}, "two arrays for the same thing"),
        ({"train": IMAGES, "y_test": np.arange(3)}, "labels but no records"),
    ):
        np.savez("a.npz", **arrays)
        with pytest.raises(Problem, match=said):
            read("a.npz")
    np.save("o.npy", np.array([{}], dtype=object))
    with pytest.raises(Problem, match="may run code"):
        read("o.npy")
    Path("b.npz").write_bytes(b"PK\x03\x04xx")
    with pytest.raises(Problem, match="is damaged"):
        read("b.npz")


def test_npy_tables_keep_whole_numbers_whole():
    np.save("i.npy", np.arange(20).reshape(10, 2))
    np.save("f.npy", np.linspace(0, 1, 20).reshape(10, 2))
    assert read_all("i.npy").x.dtypes.tolist() == [np.dtype("int64")] * 2
    assert read_all("f.npy").options["types"] == {"x0": "real", "x1": "real"}


def idx(array, code):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


@pytest.mark.parametrize("code, dtype", [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx_holds_every_type(code, dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    assert (read_idx(idx(x, code), "a.idx") == x).all()
    assert (read_idx(gzip.compress(idx(x, code)), "a.idx") == x).all()


@pytest.mark.parametrize("data", [b"", b"abcd", bytes([0, 0, 8, 3]), idx(np.zeros((2, 3), ">u1"), 8)[:-1]])
def test_damaged_idx_is_one_line(data):
    with pytest.raises(Problem, match=r"a\.idx"):
        read_idx(data, "a.idx")


def test_idx_pairs_are_parts():
    Path("m").mkdir()
    for word, n in (("train", 20), ("t10k", 4)):
        Path(f"m/{word}-images-idx3-ubyte").write_bytes(idx(IMAGES[:n, :, :, 0], 8))
        Path(f"m/{word}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(n).astype(">u1"), 8)))
    data = read("m")
    assert (len(data.train), len(data.valid), len(data.test)) == (18, 2, 4)
    assert data.test.y.tolist() == [0, 1, 2, 3]
    assert read_all("m/t10k-images-idx3-ubyte").y.tolist() == [0, 1, 2, 3]
    save("m/extra.png", picture())
    with pytest.raises(Problem, match="Name one folder or file"):
        read("m")


def test_label_none_takes_the_labels_of_arrays_away():
    images, labels = np.zeros((40, 6, 6), np.uint8), np.arange(40) % 2
    images[:, 0, 0] = np.arange(40)
    assert read((images, labels)).train.y is not None
    assert read((images, labels), label="none").train.y is None
    assert read_all((images, labels), label="none").target is None
