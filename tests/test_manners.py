"""Manners of the command: what it prints where, on terminals and off them; help, completion, run folders that keep apart."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

import genlearn
from genlearn.cli import _VERBS, _app, main
from genlearn.cli.completion import VARIABLE
from genlearn.cli.help import examples_of
from genlearn.cli.outline import settings_of_model
from genlearn.model import model_class, model_names

VERBS = tuple(f.__name__ for functions in _VERBS.values() for f in functions)

# What each verb is asked in the tests below; a new verb needs a line.
WORDS = {
    "demo": "demo --budget 0.1s --out new",
    "fit": "fit marginals people.csv --seed 1 --out new",
    "compare": "compare people.csv --models gmm --out new",
    "sample": "sample table -n 5 --seed 1",
    "score": "score table",
    "impute": "impute table holes.csv",
    "predict": "predict table",
    "encode": "encode images --split valid",
    "decode": "decode images z.csv",
    "reconstruct": "reconstruct images -n 4",
    "interpolate": "interpolate images 0 1 --steps 3",
    "traverse": "traverse images --dim 1",
    "compress": "compress images --split valid --out new/digits.gl",
    "decompress": "decompress images digits.gl --out new",
    "latents": "latents images",
    "bounds": "bounds images -n 4 --draws 5",
    "evaluate": "evaluate table",
    "report": "report table",
    "show": "show table",
    "models": "models",
    "datasets": "datasets",
    "completion": "completion bash",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table, one with holes, latent vectors, and two runs."""
    folder = tmp_path_factory.mktemp("manners")
    rng = np.random.default_rng(0)
    city = rng.choice(["Rome", "Oslo"], 80)
    people = pd.DataFrame(
        {"wage": rng.normal(20, 4, 80).round(2), "city": city, "churn": rng.choice(["yes", "no"], 80)}
    )
    people.to_csv(folder / "people.csv", index=False)
    people.assign(city=people["city"].where(people.index % 3 > 0)).to_csv(folder / "holes.csv", index=False)
    (folder / "z.csv").write_text("z0,z1\n0.5,-1\n1,2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = "--target churn --components 1 --seed 0 --quiet --out table"
        assert main(["fit", "gmm", "people.csv", *words.split()]) == 0
        words = "--steps 5 --latent 2 --hidden 8 --seed 0 --quiet --out images"
        assert main(["fit", "vae", "digits", *words.split()]) == 0
        assert main(["compress", "images", "--split", "valid", "--lossy", "--quiet", "--out", "digits.gl"]) == 0
    return folder


@pytest.fixture
def ask(capsys, place, monkeypatch):
    """Run the command in that folder; return exit code, stdout, stderr."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("genlearn.cli.boards.DEMO_DATA", "wine")  # the real one takes a minute
    monkeypatch.setattr("genlearn.cli.boards.DEMO_MODELS", ("gmm",))

    def run(line):
        capsys.readouterr()
        code = main(shlex.split(line))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    yield run
    shutil.rmtree(place / "new", ignore_errors=True)


def tree(folder):
    """Return all that lies below a folder, files with their times."""
    return {str(p.relative_to(folder)): p.is_file() and p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


# -- every verb ----------------------------------------------------------------------------------------------------------
def test_every_verb_is_asked():
    assert set(WORDS) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_all_of_stdout_and_quiet_leaves_stderr_empty(ask, verb):
    code, out, err = ask(f"{WORDS[verb]} --json --quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("demo", "compare")])
def test_what_goes_through_a_pipe_is_plain_lines(ask, verb):
    code, out, err = ask(WORDS[verb])
    assert code == 0
    for text in (out, err):
        assert not set("\x1b\r") & set(text)
        assert not text or (text.endswith("\n") and not text.endswith("\n\n"))
        assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_says_what_it_would_do_and_writes_nothing(ask, place, verb):
    before = tree(place)
    code, out, err = ask(f"{WORDS[verb]} --dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("verb: ")
    assert json.loads(ask(f"{WORDS[verb]} --dry-run --json")[1])["verb"] == out.split()[1]
    assert tree(place) == before


@pytest.mark.parametrize(
    "line", ["score nowhere --json", "sample table --given city=Pari --json", "fit gmm none.csv --json"]
)
def test_a_refusal_says_nothing_on_stdout_also_as_json(ask, line):
    code, out, err = ask(line)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


# -- did you mean --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("smaple table", "sample"),
        ("sample table --sede 3", "--seed"),
        ("fit gmmm people.csv", "gmm"),
        ("fit gmm people.csv --componets 3", "--components"),
        ("fit gan digits --loss hing", "hinge"),
        ("fit gmm people.csv --target chrun", "churn"),
        ("fit gmm people.csv --types wagee=integer", "wage"),
        ("fit gmm people.csv --types wage=integr", "integer"),
        ("sample table --given ctiy=Rome", "city"),
        ("sample table --given city=Rmoe", "Rome"),
        ("impute table people.csv --mask wge", "wage"),
        ("fit gmm digts", "digits"),
        ("score tabel", "table"),
        ("fit --resume imges", "images"),
        ("fit --like tabl", "table"),
        ("compare people.csv --models gmm,vea", "vae"),
        ("completion bsh", "bash"),
        ("evaluate table --split tset", "test"),
        ("fit vae digits --until nat=-90 --steps 5 --out new", "nats"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_right_one(ask, line, meant):
    code, out, err = ask(line)
    assert (code, out) == (2, "")
    assert meant in err.splitlines()[-1]


# -- terminals and pipes -------------------------------------------------------------------------------------------------
def through(*words, stdout=subprocess.PIPE, shell="", **environment):
    """Run the command in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")}
    command = [sys.executable, "-m", "genlearn", *words]
    if shell:
        command = ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {shell}"]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env={**kept, **environment}, timeout=60)


def on_terminal(*words, **environment):
    """Return what the command shows on a terminal."""
    ours, theirs = pty.openpty()
    done = through(*words, stdout=theirs, **environment)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # the other side is closed and all has been read
        pass
    os.close(ours)
    assert done.returncode == 0
    return shown.decode()


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_terminals_get_colour_unless_they_decline(environment, coloured):
    assert ("\x1b[" in on_terminal("score", "--help", **environment)) == coloured


def test_pipes_get_colour_only_by_force():
    assert b"\x1b[" not in through("--help", TERM="xterm").stdout
    assert b"\x1b[" in through("--help", TERM="xterm", FORCE_COLOR="1").stdout
    assert b"\x1b[" not in through("--help", TERM="xterm", FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.mark.parametrize(
    ("shell", "code", "says"),
    [
        ("| true", 0, b""),
        (">&-", 0, b""),
        ("<&-", 0, b""),
        (
            ">/dev/full",
            1,
            b"genlearn: cannot write (No space left on device). Free the disk, or send the output elsewhere.\n",
        ),
    ],
)
def test_ends_of_pipes(shell, code, says):
    done = through("datasets", shell=shell)
    assert (done.returncode, done.stderr) == (code, says)


def test_files_are_utf_8_whatever_the_locale_says(tmp_path):
    (tmp_path / "größe").mkdir()
    (tmp_path / "größe/run.json").write_text('{"model": "größte", "state": "finished"}', encoding="utf-8")
    done = through("show", str(tmp_path), LC_ALL="C", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.search("größe +größte", done.stdout.decode("utf-8"))


def test_forty_columns_lose_nothing(ask, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = ask("evaluate table")
    assert code == 0
    assert "…" not in out
    assert "two-sample" in out
    assert "…" not in ask(WORDS["compare"])[1]
    assert max(map(len, ask("--help")[1].splitlines())) <= 60  # examples are not broken: they are to be copied


# -- help ----------------------------------------------------------------------------------------------------------------
def verbs():
    return dict(typer.main.get_command(_app([])).commands)


@pytest.mark.parametrize("verb", VERBS)
def test_help_begins_with_examples_that_work(ask, verb):
    code, out, err = ask(f"{verb} --help")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines.index("Examples:") < lines.index("Flags:") <= 24
    assert ask(f"{verb} -h")[1] == ask(f"help {verb}")[1] == out
    examples = examples_of(verbs()[verb])
    assert 2 <= len(examples) <= 4
    for line in examples:
        command = re.search(r"genlearn [^)#]*", line)[0].strip()
        words = shlex.split(command)[1:]
        assert words[0] == verb
        dict(typer.main.get_command(_app(words)).commands)[verb].make_context(verb, words[1:])


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_says_what_it_takes(verb):
    for parameter in verbs()[verb].params:
        assert parameter.metavar or getattr(parameter, "is_flag", False), parameter.name
        assert parameter.help


@pytest.mark.parametrize("name", model_names())
def test_settings_read_off_the_source_are_those_of_the_class(name):
    expected = {k: s for k, s in model_class(name).settings().items() if k != "random_state"}
    assert settings_of_model(name) == expected


def test_the_settings_of_a_model_come_first(ask):
    out = ask("fit vae --help")[1]
    assert out.index("--latent ") < out.index("--batch ")
    assert max(map(len, out.splitlines())) <= 80


WITHOUT_TORCH = (
    "import sys; from genlearn.cli import main\ntry: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
)


@pytest.mark.parametrize("line", ["fit vae --help", "completion zsh", "show .", "datasets"])
def test_help_and_looking_up_do_not_wait_for_torch(place, line):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *line.split()], cwd=place, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- completion ----------------------------------------------------------------------------------------------------------
def fitting(capsys, monkeypatch, line):
    """Return what fits at the end of a line, asked as bash asks it."""
    capsys.readouterr()
    monkeypatch.setenv(VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("genlearn sc", {"score"}),
        ("genlearn fit v", {"vae", "vaegan", "vqvae"}),
        ("genlearn fit gmm w", {"wine"}),
        ("genlearn fit gmm peop", {"people.csv"}),
        ("genlearn fit vae digits --lat", {"--latent"}),
        ("genlearn fit gmm digits --lat", set()),
        ("genlearn fit gan digits --loss ", {"non-saturating", "minimax", "least-squares", "wasserstein", "hinge"}),
        ("genlearn fit gan --loss=h", {"hinge"}),
        ("genlearn fit --resume im", {"images"}),
        ("genlearn fit --resume images --lat", {"--latent"}),
        ("genlearn fit nonsense digits --see", {"--seed"}),
        ("genlearn compare digits --models vae,g", {"vae,gan", "vae,gmm"}),
        ("genlearn show t", {"table"}),
        ("genlearn score table --split t", {"train", "test"}),
        ("genlearn impute table --how m", {"mean", "mode"}),
        ("genlearn completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_what_fits_at_the_cursor(capsys, monkeypatch, place, line, expected):
    monkeypatch.chdir(place)
    assert set(fitting(capsys, monkeypatch, line)) == expected


def test_tab_does_not_wait_for_torch(place):
    asked = {VARIABLE: "complete_bash", "COMP_WORDS": "genlearn fit --resume images --lat", "COMP_CWORD": "4"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=place, env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "--latent\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_what_the_shell_reads(ask, tmp_path, shell):
    code, out, _ = ask(f"completion {shell}")
    assert code == 0
    (tmp_path / "script").write_text(out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_bash_completes(ask, tmp_path):
    script = ask("completion bash")[1]
    (tmp_path / "genlearn").write_text(f'#!/bin/sh\nexec {sys.executable} -m genlearn "$@"\n')
    (tmp_path / "genlearn").chmod(0o755)
    tab = (
        "COMP_WORDS=(genlearn fit vae digits --sch); COMP_CWORD=4; _genlearn_completion genlearn; echo ${COMPREPLY[@]}"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{tab}"], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("--schedule\n", "")


# -- run folders ---------------------------------------------------------------------------------------------------------
def test_two_runs_do_not_mix(ask, place, monkeypatch):
    """The second of two fits into one folder is turned away while the first goes on to its end."""
    from genlearn.models import Marginals

    second, fit = [], Marginals._fit

    def slow(model, *parts):
        if not second:
            thread = threading.Thread(target=lambda: second.append(main(shlex.split("fit gmm people.csv --out new"))))
            thread.start()
            thread.join()
        fit(model, *parts)

    monkeypatch.setattr(Marginals, "_fit", slow)
    code, _, err = ask("fit marginals people.csv --seed 3 --out new")
    assert (code, second) == (0, [2])
    refused = next(line for line in err.splitlines() if "is being written by" in line)
    assert f"process {os.getpid()} since" in refused
    assert "(genlearn fit marginals people.csv --seed 3 --out new)" in refused
    assert genlearn.load(place / "new").name() == "marginals"
    assert json.loads((place / "new/run.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    "line", ["fit gmm people.csv --out images", "compare people.csv --models gmm --out images", "demo --out table"]
)
def test_a_run_is_not_written_over_unasked(ask, place, line):
    before = tree(place)
    code, out, err = ask(line)
    assert (code, out) == (2, "")
    assert "holds a finished" in err
    assert "Choose another --out, or give --" in err
    assert tree(place) == before


def test_what_is_replaced_leaves_nothing_behind(ask, place):
    """A folder that held a VAE with pictures of every verb looks, after --force, as if it had never; a person's file stays."""
    assert ask("fit marginals people.csv --seed 1 --out new")[0] == 0
    fresh = set(tree(place / "new"))
    shutil.rmtree(place / "new")
    shutil.copytree(place / "images", place / "new")
    for verb in ("sample", "reconstruct", "interpolate", "traverse", "decode", "report"):
        assert ask(WORDS[verb].replace("images", "new").replace("table", "new"))[0] == 0
    assert ask("impute new --mask left")[0] == 0
    (place / "new/mine.txt").write_text("kept")
    assert ask("fit marginals people.csv --seed 1 --out new --force")[0] == 0
    assert set(tree(place / "new")) == fresh | {"mine.txt"}


def test_a_comparison_is_replaced_by_one_of_other_data_only_on_request(ask, place):
    assert ask(WORDS["compare"])[0] == 0
    assert ask(WORDS["compare"])[0] == 0  # the same one goes on
    other = "compare holes.csv --models gmm --out new"
    assert "holds a comparison of people, of other data" in ask(other)[2]
    assert ask(f"{other} --fresh")[0] == 0
    assert json.loads((place / "new/run.json").read_text())["data"]["name"] == "holes"


def test_like_repeats_a_run_and_flags_go_before(ask, place):
    assert ask("fit --like images --out new --quiet")[0] == 0
    assert (place / "new/weights.safetensors").read_bytes() == (place / "images/weights.safetensors").read_bytes()
    facts = json.loads(ask("fit --like images --latent 3 --seed 9 --out other --dry-run --json")[1])
    assert [facts["settings"][k] for k in ("latent", "hidden", "random_state")] == [3, [8], 9]
    assert "whose settings are not those of gan" in ask("fit gan --like images")[2]


def test_a_run_says_how_it_failed_and_a_kill_is_noticed(ask, place, monkeypatch):
    from genlearn.models import Marginals

    def broken(model, *_):
        model._tell(1, None, 0.0)
        raise ArithmeticError("no luck")

    monkeypatch.setattr(Marginals, "_fit", broken)
    assert ask("fit marginals people.csv --out new")[0] == 1
    facts = json.loads((place / "new/run.json").read_text())
    assert (facts["state"], facts["message"]) == ("failed", "no luck")
    assert "failed: no luck" in ask("show new")[1]
    (place / "new/run.json").write_text(json.dumps({**facts, "state": "running", "ended": None}))
    assert json.loads(ask("show new --json")[1])["state"] == "killed"
    assert {e["name"]: e["state"] for e in json.loads(ask("show . --json")[1])["runs"]} == {
        "images": "finished",
        "new": "killed",
        "table": "finished",
    }


def test_run_json_holds_all_that_is_needed_to_repeat_it(place):
    facts = json.loads((place / "table/run.json").read_text())
    assert facts["command"].startswith("genlearn fit gmm people.csv --target churn")
    assert facts["folder"] == str(place)
    assert facts["settings"]["covariance"] == "auto"
    assert facts["data"]["reading"] == {"target": "churn"}
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", facts["data"]["fingerprint"])
    assert facts["data"]["split"] == genlearn.read(str(place / "people.csv"), target="churn").split_id
    assert Path(facts["data"]["source"]) == place / "people.csv"
