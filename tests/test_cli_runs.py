"""The command on runs: every verb end to end on small data, against the same done in Python."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import genlearn
from genlearn.cli import main
from genlearn.cli.files import read_matrix, write_records
from genlearn.cli.picks import mask_for, read_image
from genlearn.cli.runs import open_run
from genlearn.errors import Problem

STEPS = "40"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table, holes in it, a VAE of digits and a mixture of the table."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    city = rng.choice(["Rome", "Oslo"], 150)
    wage = np.round(rng.normal(20, 4, 150) + 5 * (city == "Oslo"), 2)
    frame = pd.DataFrame(
        {"wage": wage, "age": rng.integers(20, 60, 150), "city": city, "churn": rng.choice(["yes", "no"], 150)}
    )
    frame.to_csv(folder / "people.csv", index=False)
    holes = frame.head(30).copy()
    holes.loc[::3, "wage"] = np.nan
    holes.loc[1::3, "city"] = None
    holes.to_csv(folder / "holes.csv", index=False)
    table = [
        "fit",
        "gmm",
        str(folder / "people.csv"),
        "--target",
        "churn",
        "--components",
        "2",
        "--seed",
        "0",
        "--quiet",
    ]
    assert main([*table, "--out", str(folder / "gmm")]) == 0
    image = ["fit", "vae", "digits", "--steps", STEPS, "--latent", "3", "--hidden", "16", "--seed", "5", "--quiet"]
    assert main([*image, "--out", str(folder / "vae")]) == 0
    return folder


def picture(path):
    """Return the pixels of an image file."""
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.fixture
def ask(capsys, place, monkeypatch):
    """Run the command in that folder; return exit code, stdout, stderr."""
    monkeypatch.chdir(place)

    def run(*words):
        capsys.readouterr()
        code = main(words)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


# -- fit ---------------------------------------------------------------------------------------------------------------
def test_fit_leaves_a_run_that_says_how_it_came(ask, place):
    facts = json.loads((place / "vae/run.json").read_text())
    assert facts["model"] == "vae"
    model = genlearn.load(place / "vae")
    assert facts["settings"].keys() == model.get_params().keys() - {"random_state"}
    assert [facts["settings"][k] for k in ("steps", "latent", "hidden", "beta")] == [int(STEPS), 3, [16], 1.0]
    assert (facts["seed"], facts["state"], facts["message"], facts["steps"]) == (5, "finished", None, int(STEPS))
    assert facts["started"] <= facts["ended"]
    assert facts["values"]["nats"] < 0
    assert {"torch", "numpy", "scipy"} <= facts["versions"].keys()
    assert facts["machine"].keys() == {"platform", "threads", "processes"}
    assert facts["data"]["split"] == genlearn.read("digits").split_id
    assert facts["command"].startswith("genlearn fit vae digits --steps")
    assert {p.name for p in (place / "vae").glob("*")} >= {"config.json", "samples.png", "history.jsonl"}
    assert model.get_params()["latent"] == 3


def test_fit_speaks_on_stderr_and_answers_on_stdout(ask, tmp_path):
    words = ("fit", "marginals", "people.csv", "--out", str(tmp_path / "m"), "--seed", "1")
    code, out, err = ask(*words, "--json")
    assert code == 0
    assert json.loads(out)["run"] == str(tmp_path / "m")
    assert "plan: marginals · seed 1" in err
    assert "150 rows, 4 columns" in err
    assert ask(*words, "--force", "--quiet")[2] == ""


def test_fit_twice_keeps_the_first_run(ask, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["fit", "copycat", str(place / "people.csv"), "--quiet"]) == 0
    assert {p.name for p in Path("runs").iterdir()} == {"people-copycat", "people-copycat-2"}


def test_same_words_same_model_as_in_python(place):
    from genlearn.models import GMM

    data = genlearn.read(str(place / "people.csv"), target="churn")
    by_hand = GMM(components=2, random_state=0).fit(data)
    assert genlearn.load(place / "gmm").score(data.test) == pytest.approx(by_hand.score(data.test), abs=1e-12)


def test_a_fit_that_the_data_forbid_leaves_no_run(ask, tmp_path):
    code, _, err = ask("fit", "gmm", "people.csv", "--components", "0", "--out", str(tmp_path / "bad"), "--quiet")
    assert code == 2
    assert "components must be at least 1" in err
    assert not (tmp_path / "bad").exists()


def test_dry_run_prints_options_and_touches_nothing(ask, tmp_path):
    out = str(tmp_path / "none")
    code, text, _ = ask("fit", "vae", "digits", "--latent", "7", "--out", out, "--dry-run")
    assert code == 0
    assert "latent 7" in text
    assert "1,797 images" in text
    spec = json.loads(ask("fit", "vae", "digits", "--latent", "7", "--out", out, "--dry-run", "--json")[1])
    assert spec["settings"]["latent"] == 7
    for words in (
        ("sample", "vae"), ("score", "vae"), ("encode", "vae"), ("reconstruct", "vae"), ("interpolate", "vae"),
        ("traverse", "vae"), ("impute", "vae", "--mask", "left"), ("evaluate", "gmm"), ("report", "vae"), ("show", "vae"),
        ("compare", "people.csv", "--models", "gmm"), ("demo",), ("models",), ("datasets",),
    ):  # fmt: skip
        code, text, _ = ask(*words, "--out", out, "--dry-run")
        assert code == 0, words
        assert text.startswith(f"verb: {'compare' if words[0] == 'demo' else words[0]}")
    assert not Path(out).exists()


# -- resume ------------------------------------------------------------------------------------------------------------
def test_ctrl_c_keeps_the_best_and_resume_gives_the_same_bytes(ask, place, tmp_path, monkeypatch):
    from genlearn.report.pictures import Pictures

    words = ("fit", "vae", "digits", "--steps", STEPS, "--latent", "3", "--hidden", "16", "--seed", "5", "--quiet")
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(
            Pictures,
            "__call__",
            lambda _, event: event.step == 20 and not event.done and signal.raise_signal(signal.SIGINT),
        )
        code, stdout, err = ask(*words, "--out", str(out))
    assert (code, stdout) == (130, "")
    assert f"genlearn fit --resume {out}" in err
    assert genlearn.load(out).draw(2, random_state=0).x.shape == (2, 8, 8, 1)
    facts = json.loads((out / "run.json").read_text())
    assert (facts["state"], facts["message"]) == ("interrupted", "stopped after 20 of 40 steps")

    assert ask("fit", "--resume", str(out), "--latent", "4")[0] == 2
    assert "was begun with vae" in ask("fit", "gan", "digits", "--resume", str(out))[2]
    assert "was begun with seed" in ask("fit", "--resume", str(out), "--split-seed", "3")[2]
    assert "was begun with out" in ask("fit", "--resume", str(out), "--out", str(tmp_path / "else"))[2]

    assert ask("fit", "vae", "digits", "--resume", str(out), "--quiet")[0] == 0
    assert (out / "weights.safetensors").read_bytes() == (place / "vae/weights.safetensors").read_bytes()
    before = (out / "weights.safetensors").stat().st_mtime_ns
    (out / ".lock").touch()  # of a process that was killed at its very end
    code, _, err = ask("fit", "--resume", str(out))
    assert code == 0
    assert "nothing is left to do" in err
    assert not (out / ".lock").exists()
    assert (out / "weights.safetensors").stat().st_mtime_ns == before


def test_resume_refuses_data_that_changed(ask, tmp_path):
    source = tmp_path / "d.csv"
    source.write_text("a,b\n" + "".join(f"{i}.5,{i * i}.25\n" for i in range(40)))
    assert ask("fit", "marginals", str(source), "--out", str(tmp_path / "r"))[0] == 0
    source.write_text("a,b\n" + "".join(f"{i}.5,{i}.25\n" for i in range(40)))
    code, _, err = ask("fit", "--resume", str(tmp_path / "r"))
    assert code == 2
    assert "changed since" in err


# -- sample ------------------------------------------------------------------------------------------------------------
def test_sample_is_a_table_on_stdout_and_the_seed_decides(ask, place):
    code, out, err = ask("sample", "gmm", "-n", "7", "--seed", "3")
    assert (code, err) == (0, "")
    assert out == ask("sample", "gmm", "-n", "7", "--seed", "3")[1] != ask("sample", "gmm", "-n", "7", "--seed", "4")[1]
    expected = genlearn.load(place / "gmm").sample(7, random_state=3)
    assert out == expected.to_csv(index=False, lineterminator="\n")
    assert len(json.loads(ask("sample", "gmm", "-n", "7", "--seed", "3", "--json")[1])) == 7


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv", "x.jsonl", "x.parquet"])
def test_sampled_tables_read_back(ask, tmp_path, name):
    path = tmp_path / name
    assert ask("sample", "gmm", "-n", "9", "--seed", "0", "--out", str(path))[0] == 0
    found = genlearn.data.read_all(str(path)).x
    assert list(found.columns) == ["wage", "age", "city", "churn"]
    assert len(found) == 9


def test_sampled_images_in_every_form(ask, tmp_path, place):
    expected = genlearn.load(place / "vae").draw(9, random_state=2)
    for name in ("x.npz", "x.npy", "x.png", "x.jpg", "folder/"):
        assert ask("sample", "vae", "-n", "9", "--seed", "2", "--out", str(tmp_path / name))[0] == 0
    archive = np.load(tmp_path / "x.npz")
    assert (archive["x"] == expected.x).all()
    assert archive["y"].tolist() == expected.y.tolist()
    assert np.load(tmp_path / "x.npy").shape == (9, 8, 8, 1)
    files = sorted((tmp_path / "folder").rglob("*.png"), key=lambda p: p.name)
    assert [p.parent.name for p in files] == [str(label) for label in expected.y]
    assert picture(files[0]).max() > 17  # pictures are stretched to 0..255, to be looked at
    height, width = picture(tmp_path / "x.png").shape[:2]
    assert width > height  # 8 + 1 images
    assert ask("sample", "vae", "-n", "4", "--seed", "2")[2].strip() == "wrote vae/samples.png (4 images 8x8 grey)"


def test_conditions(ask):
    rows = json.loads(ask("sample", "gmm", "-n", "20", "--given", "churn=yes,age=30:40", "--json")[1])
    assert {r["churn"] for r in rows} == {"yes"}
    assert all(30 <= r["age"] <= 40 for r in rows)
    said = json.loads(ask("sample", "vae", "-n", "2", "--given", "label=3", "--out", "three.npz", "--json")[1])
    assert said["given"] == {"label": "3"}
    assert np.load("three.npz")["y"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("sample", "vae", "-n", "0"), "n must be a whole number of at least 1"),
        (("sample", "vae", "--out", "x.csv"), "images cannot be written as .csv"),
        (("sample", "gmm", "--out", "x.png"), "a table cannot be written as .png"),
        (("sample", "gmm", "--out", "x.npz"), "a table with categories cannot be written as .npz"),
        (("sample", "gmm", "--out", "folder/"), "a table cannot be written to a folder"),
        (("sample", "gmm", "--given", "chrun=yes"), 'Did you mean "churn"?'),
        (("sample", "gmm", "--given", "churn"), "--given must read name=value"),
        (("sample", "vae", "--out", "people.csv/x.png"), "cannot write people.csv/x.png"),
        (("encode", "gmm"), "gmm has no latent space. Models that encode:"),
        (("score", "gmm", "--samples", "5"), "--samples does not apply"),
        (("score", "vae", "--samples", "0"), "--samples must be at least 1"),
        (("score", "gmm", "holes.tsv"), "holes.tsv does not exist."),
        (("impute", "vae"), "images need a mask. Give --mask"),
        (("impute", "vae", "--mask", "nowhere.png"), "mask nowhere.png does not exist"),
        (("impute", "vae", "people.csv", "three.csv", "--mask", "left"), "several sources work for image files only"),
        (("impute", "gmm", "--mask", "wages"), '--mask names no column "wages"'),
        (("interpolate", "vae", "0", "9999"), "there is no record 9999"),
        (("interpolate", "vae", "--steps", "1"), "--steps must be at least 2"),
        (("interpolate", "vae", "--path", "curly"), "--path must be straight or spherical"),
        (("interpolate", "vae", "none.png", "1"), "none.png does not exist"),
        (("interpolate", "vae", "vae/run.json", "1"), "run.json"),
        (("traverse", "vae", "--dim", "3"), "dim must lie in 0..2"),
        (("decode", "vae", "none.npy"), "none.npy does not exist"),
        (("decode", "vae", "people.csv"), "holds no matrix of numbers"),
        (("encode", "vae", "--out", "z.txt"), "latent vectors cannot be written to z.txt"),
        (("score", "."), "holds several models. Name one of them"),
        (("show", "gmmm"), 'gmmm does not exist. Did you mean "gmm"?'),
        (("reconstruct", "vae", "-n", "0"), "-n must be at least 1"),
    ],
)  # fmt: skip
def test_mistakes_on_runs_are_one_line(ask, words, says):
    code, out, err = ask(*words, "--quiet") if words[0] != "show" else ask(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


# -- score -------------------------------------------------------------------------------------------------------------
def test_score_is_the_score_of_python(ask, place):
    found = json.loads(ask("score", "vae", "--samples", "3", "--json")[1])
    model = genlearn.load(place / "vae").set_params(samples=3)
    logs = model.log_prob(genlearn.read("digits").test)
    assert found["nats"]["value"] == pytest.approx(logs.mean(), abs=1e-9)
    assert found["nats"]["low"] < found["nats"]["value"] < found["nats"]["high"]
    assert (found["kind"], found["nats"]["n"], found["samples"]) == ("bound", 360, 3)
    assert found["bits_per_dim"] == pytest.approx(found["nll"] / (64 * np.log(2)))


def test_score_of_a_file_takes_all_its_rows_and_of_a_split_that_part(ask):
    assert json.loads(ask("score", "gmm", "people.csv", "--json")[1])["nats"]["n"] == 150
    assert json.loads(ask("score", "gmm", "people.csv", "--split", "valid", "--json")[1])["nats"]["n"] == 15
    assert json.loads(ask("score", "gmm", "--json")[1])["nats"]["n"] == 30
    code, out, _ = ask("score", "gmm", "holes.csv")
    assert code == 0
    assert out.startswith("gmm on holes.csv: ")
    assert "nats/record" in out
    assert "bits/dim" in ask("score", "vae", "--samples", "2")[1]


def test_a_model_without_likelihood_says_who_has_one(ask, tmp_path):
    assert ask("fit", "copycat", "people.csv", "--out", str(tmp_path / "c"))[0] == 0
    code, _, err = ask("score", str(tmp_path / "c"))
    assert code == 2
    assert err.startswith("genlearn: copycat has no likelihood. Models that score: ")


def test_a_run_that_python_saved_needs_a_source(ask, tmp_path, place):
    genlearn.load(place / "gmm").save(tmp_path / "bare")
    code, _, err = ask("score", str(tmp_path / "bare"))
    assert code == 2
    assert "does not say which data it was fitted to" in err
    assert ask("score", str(tmp_path / "bare"), "people.csv")[0] == 0


# -- latent space ------------------------------------------------------------------------------------------------------
def test_encode_keeps_the_order_of_the_source_and_decode_undoes_it(ask, place, tmp_path):
    data, model = genlearn.read("digits"), genlearn.load(place / "vae")
    few = data.train.take(slice(0, 12))
    write_records(few, str(tmp_path / "few.npz"))
    for name in ("z.npy", "z.npz", "z.csv"):
        assert ask("encode", "vae", str(tmp_path / "few.npz"), "--out", str(tmp_path / name))[0] == 0
        # Text keeps nine digits, which is more than float32 holds.
        assert read_matrix(str(tmp_path / name)) == pytest.approx(model.encode(few), abs=1e-6)
    assert ask("encode", "vae", str(tmp_path / "few.npz"))[1] == (tmp_path / "z.csv").read_text()
    assert len(json.loads(ask("encode", "vae", "--json")[1])) == 360
    assert ask("decode", "vae", str(tmp_path / "z.npy"), "--label", "3", "--out", str(tmp_path / "d.npz"))[0] == 0
    expected = model.decode_records(model.encode(few), 3).x
    assert (np.load(tmp_path / "d.npz")["x"] == expected).all()


@pytest.mark.parametrize(
    ("words", "n"),
    [
        (("reconstruct", "vae"), 16),
        (("interpolate", "vae", "2", "7", "--steps", "5"), 5),
        (("traverse", "vae"), 3 * 7),
        (("traverse", "vae", "4", "--dim", "1"), 7),
    ],
)
def test_pictures_of_the_latent_space(ask, tmp_path, words, n):
    path = tmp_path / "p.png"
    code, out, err = ask(*words, "--out", str(path), "--json")
    assert code == 0
    assert f"wrote {path}" in err
    assert json.loads(out)["n"] == n
    assert picture(path).shape[1] > 100


def test_interpolation_begins_and_ends_at_the_reconstructions(ask, place, tmp_path):
    ask("interpolate", "vae", "2", "7", "--steps", "5", "--out", str(tmp_path / "i.npy"))
    test = genlearn.read("digits").test.take([2, 7])
    expected = genlearn.load(place / "vae").reconstruct_records(test).x
    strip = np.load(tmp_path / "i.npy")
    assert strip.shape == (5, 8, 8, 1)
    assert (strip[[0, -1]] == expected).all()


def test_latent_verbs_on_tables_give_tables(ask, tmp_path, place):
    words = (
        "fit",
        "vae",
        "people.csv",
        "--steps",
        "10",
        "--hidden",
        "8",
        "--latent",
        "2",
        "--out",
        str(tmp_path / "v"),
        "--quiet",
    )
    assert ask(*words)[0] == 0
    code, out, _ = ask("reconstruct", str(tmp_path / "v"))
    assert code == 0
    assert len(out.splitlines()) == 1 + 30
    assert len(ask("interpolate", str(tmp_path / "v"), "0", "3", "--steps", "4")[1].splitlines()) == 1 + 4
    assert ask("traverse", str(tmp_path / "v"), "--dim", "1", "--quiet")[1].startswith("dim,value,wage,age")


# -- pictures of a person ----------------------------------------------------------------------------------------------
def test_a_picture_that_sample_wrote_reads_back_as_the_record(ask, place, tmp_path):
    record = genlearn.load(place / "vae").draw(1, random_state=9)
    write_records(record, str(tmp_path / "one.png"))
    run = open_run(str(place / "vae"))
    assert (read_image(run, str(tmp_path / "one.png")).x == record.x).all()
    colour = Image.fromarray(picture(tmp_path / "one.png")).convert("RGB").resize((16, 16), Image.Resampling.NEAREST)
    colour.save(tmp_path / "large.png")
    seen = read_image(run, str(tmp_path / "large.png"))
    assert seen.x.shape == (1, 8, 8, 1)
    assert seen.x.max() <= 16


def test_images_of_two_values_are_cut_at_the_middle(tmp_path):
    from genlearn.models import Marginals

    images = (np.random.default_rng(0).random((30, 4, 4)) < 0.5).astype(np.uint8)
    Marginals(random_state=0).fit(images).save(tmp_path / "m")
    Image.fromarray(np.array([[0, 100, 150, 255]] * 4, np.uint8)).save(tmp_path / "p.png")
    assert read_image(open_run(str(tmp_path / "m")), str(tmp_path / "p.png")).x[0, 0, :, 0].tolist() == [0, 0, 1, 1]


def test_a_broken_picture_is_told(ask, place, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    code, _, err = ask("interpolate", "vae", str(tmp_path / "bad.png"), "1")
    assert code == 2
    assert "cannot be read as an image" in err


# -- impute ------------------------------------------------------------------------------------------------------------
def test_impute_fills_holes_and_changes_nothing_else(ask, place, tmp_path):
    assert ask("impute", "gmm", "holes.csv", "--seed", "0", "--out", str(tmp_path / "full.csv"))[0] == 0
    holes, full = pd.read_csv(place / "holes.csv"), pd.read_csv(tmp_path / "full.csv")
    assert not full.isna().any().any()
    for column in holes:
        known = holes[column].notna()
        assert (full[column][known] == holes[column][known]).all()
    assert ask("impute", "gmm", "holes.csv", "--seed", "0")[1] == (tmp_path / "full.csv").read_text()


def test_impute_draws_whole_columns_anew(ask, place):
    code, out, _ = ask("impute", "gmm", "people.csv", "--mask", "age", "--seed", "1", "--json")
    assert code == 0
    before, after = pd.read_csv(place / "people.csv"), pd.DataFrame(json.loads(out))
    assert (after["city"] == before["city"]).all()
    assert (after["age"] != before["age"]).mean() > 0.5


def test_impute_repairs_a_picture(ask, place, tmp_path):
    test = genlearn.read("digits").test.take([4])
    write_records(test, str(tmp_path / "d.png"))
    white = np.zeros((8, 8), np.uint8)
    white[:, :3] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    words = ("impute", "vae", str(tmp_path / "d.png"), "--mask", str(tmp_path / "mask.png"), "--seed", "0")
    assert ask(*words, "--out", str(tmp_path / "r.png"))[0] == 0
    before, after = (picture(tmp_path / name) for name in ("d.png", "r.png"))
    assert (before[:, 3:] == after[:, 3:]).all()
    assert (before[:, :3] != after[:, :3]).any()
    code, _, err = ask("impute", "vae", "--mask", "bottom", "-n", "3", "--out", str(tmp_path / "rows.png"))
    assert code == 0
    assert "rows: original, masked, repaired" in err


@pytest.mark.parametrize(
    ("name", "share"), [("left", 0.5), ("right", 0.5), ("top", 0.5), ("bottom", 0.5), ("center", 0.25)]
)
def test_named_masks(place, name, share):
    run = open_run(str(place / "vae"))
    assert mask_for(run, None, name).mean() == share


def test_a_mask_without_white_is_told(place, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(Problem, match="has no white"):
        mask_for(open_run(str(place / "vae")), None, str(tmp_path / "black.png"))


# -- judging -----------------------------------------------------------------------------------------------------------
def test_evaluate_has_the_schema_of_a_comparison(ask):
    code, out, _ = ask("evaluate", "gmm", "--json")
    assert code == 0
    found = json.loads(out)
    assert set(found) == {"data", "models", "references", "skipped", "verdict"}
    (row,) = found["models"]
    assert row["name"] == "gmm"
    assert {"value", "low", "high", "n", "note"} <= set(row["metrics"]["auc"])
    assert row["metrics"]["nats"]["value"] < 0
    assert found["references"][0]["name"] == "real data"
    text = ask("evaluate", "gmm", "people.csv")[1]
    assert "two-sample AUC" in text
    assert "real data" in text


def test_compare_show_and_report(ask, tmp_path):
    words = ("compare", "people.csv", "--target", "churn", "--models", "gmm", "--out", str(tmp_path / "c"))
    code, out, err = ask(*words)
    assert code == 0
    assert out.splitlines()[0].split()[:2] == ["model", "nats/record"]
    assert "Verdict (one seed)" in out
    assert "plan: gmm + references" in err
    again = ask(*words, "--json", "--quiet")
    assert again[0] == 0
    assert again[2] == ""
    assert {m["name"] for m in json.loads(again[1])["models"]} == {"gmm"}
    listed = json.loads(ask("show", str(tmp_path / "c"), "--json")[1])
    assert {e["name"] for e in listed["runs"]} == {"gmm", "kde", "marginals", "copycat"}
    assert listed["comparison"]["state"] == "finished"
    shown = json.loads(ask("show", str(tmp_path / "c/gmm"), "--json")[1])
    assert shown["data"]["name"] == "people"
    assert "settings" in ask("show", str(tmp_path / "c/gmm"))[1]
    assert json.loads(ask("score", str(tmp_path / "c/gmm"), "--json")[1])["nats"]["n"] == 30
    assert (
        ask("report", str(tmp_path / "c"), "--out", str(tmp_path / "r.html"))[1] == f"report  {tmp_path / 'r.html'}\n"
    )
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_an_interrupted_comparison_is_130_and_says_how_to_go_on(ask, tmp_path, monkeypatch):
    from genlearn.models import GMM

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(GMM, "_fit", stop)
    code, _, err = ask("compare", "people.csv", "--models", "gmm", "--out", str(tmp_path / "c"))
    assert code == 130
    assert "The same command goes on" in err


def test_a_comparison_where_every_model_fails_is_1(ask, tmp_path, monkeypatch):
    from genlearn.models import GMM

    def fail(model, *_):
        model._tell(1, None, 0.0, nats=0.0)
        raise ArithmeticError("no luck")

    monkeypatch.setattr(GMM, "_fit", fail)
    code, out, _ = ask("compare", "people.csv", "--models", "gmm", "--out", str(tmp_path / "c"))
    assert code == 1
    assert "no luck" in out
