"""The command: exit codes, one-line errors, flags derived from models, what goes to stdout and what to stderr."""

import json
import os
import signal
import subprocess
import sys

import pytest

from genlearn.cli import main
from genlearn.cli.flags import Reading, Shared, pairs, switches
from genlearn.errors import Problem
from genlearn.model import model_class, model_names

VERBS = (
    *("demo", "fit", "sample", "score", "encode", "decode", "reconstruct", "interpolate", "traverse", "impute"),
    "predict",
    *("evaluate", "compare", "report", "models", "datasets", "show", "completion"),
)
NO_FLAG = 'fit vae has no flag --latnt. Did you mean "--latent"? `genlearn fit vae --help` lists all.'


def ask(capsys, *words):
    """Run the command; return exit code, stdout, stderr."""
    code = main(words)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def one_line(text):
    """Return the only line of a complaint."""
    assert text.count("\n") == 1, text
    assert text.startswith("genlearn: ")
    return text.removeprefix("genlearn: ").strip()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys, verb):
    code, out, err = ask(capsys, verb, "--help")
    assert code == 0
    assert err == ""
    for flag in ("--out", "--json", "--dry-run", "--quiet"):
        assert flag in out


def test_help_lists_every_verb(capsys):
    code, out, _ = ask(capsys, "--help")
    assert code == 0
    assert all(verb in out for verb in VERBS)


def test_no_words_at_all_show_the_first_steps(capsys):
    code, out, err = ask(capsys)
    assert (code, err) == (0, "")
    assert "$ genlearn demo" in out
    assert "`genlearn --help` lists all verbs." in out


def test_version(capsys):
    import genlearn

    assert ask(capsys, "--version")[:2] == (0, f"genlearn {genlearn.__version__}\n")


@pytest.mark.parametrize("name", model_names())
def test_settings_of_every_model_are_flags_with_default_and_sentence(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = ask(capsys, "fit", name, "--help")
    assert code == 0
    words = " ".join(out.split())
    for setting in model_class(name).settings().values():
        if setting.name != "random_state":
            assert f"--{setting.name.replace('_', '-')}" in words


@pytest.mark.parametrize("name", model_names())
def test_no_setting_hides_a_shared_flag(name):
    shared = {f.lstrip("-") for f in switches()} | set(vars(Reading())) | set(vars(Shared())) | {"resume", "seed"}
    assert not shared & set(model_class(name).settings())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fti",), 'no verb "fti". Did you mean "fit"? `genlearn --help` lists all.'),
        (("fit", "vea", "photos/"), 'no model named "vea". Did you mean "vae"? `genlearn models` lists all.'),
        (("fit", "vae", "x", "--latnt", "3"), NO_FLAG),
        (("fit", "--latnt", "3", "vae", "x"), NO_FLAG),
        (("fit", "vae", "x", "--latent", "wide"), "vae: latent must be a whole number, not 'wide'."),
        (("fit",), "fit needs a model and a source: genlearn fit MODEL SOURCE. `genlearn models` lists the models."),
        (("sample",), "sample: missing argument 'RUN'. `genlearn sample --help` shows how."),
        (("sample", "runs", "-n", "many"), "-n must be a whole number"),
        (("score", "nowhere"), "nowhere does not exist. Give a folder that `genlearn fit` wrote."),
        (("report", "nowhere"), "nowhere is no folder."),
        (("fit", "--resume", "nowhere"), "nowhere does not exist. Give a folder that `genlearn fit` wrote."),
        (("compare", "no-such-file.csv"), "no-such-file.csv"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_2(capsys, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = ask(capsys, *words)
    assert code == 2
    assert out == ""
    assert says in one_line(err)


def test_a_setting_that_a_model_lacks_is_told(capsys):
    code, _, err = ask(capsys, "fit", "gmm", "digits", "--steps", "10")
    assert code == 2
    assert one_line(err).startswith("gmm has no --steps.")


def test_the_unexpected_is_one_line_and_exit_1(capsys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("genlearn.model.model_names", broken)
    monkeypatch.delenv("GENLEARN_DEBUG", raising=False)
    code, out, err = ask(capsys, "models")
    assert (code, out) == (1, "")
    assert one_line(err) == "ZeroDivisionError: division (GENLEARN_DEBUG=1 shows the traceback)"
    monkeypatch.setenv("GENLEARN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["models"])


@pytest.fixture
def heeds_ctrl_c():
    """Take Ctrl-C as a shell's foreground does: a process that was started in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number, expected", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_is_130_and_sigterm_143(number, expected, capsys, monkeypatch, heeds_ctrl_c):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("genlearn.model.model_names", lambda: signal.raise_signal(number))
    code, _, err = ask(capsys, "models")
    assert code == expected
    assert one_line(err) == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_models_as_json(capsys):
    code, out, err = ask(capsys, "models", "--json")
    assert (code, err) == (0, "")
    found = {m["name"]: m for m in json.loads(out)}
    assert set(found) == set(model_names())
    assert found["vae"]["kind"] == "bound"
    assert found["gan"]["kind"] is None
    assert all(m["about"] for m in found.values())


def test_models_as_table_and_file(capsys, tmp_path):
    code, out, _ = ask(capsys, "models", "--out", str(tmp_path / "models.json"), "--quiet")
    assert code == 0
    assert "gmm" in out
    assert "\\(" not in out
    assert json.loads((tmp_path / "models.json").read_text())[0]["name"]


def test_datasets(capsys):
    code, out, _ = ask(capsys, "datasets", "--json")
    assert code == 0
    found = {d["name"]: d for d in json.loads(out)}
    assert found["digits"]["state"] == "embedded"
    assert "mnist" in ask(capsys, "datasets")[1]


def test_name_value_pairs():
    assert pairs("churn=yes,age=30:40", "--given") == {"churn": "yes", "age": "30:40"}
    assert pairs("formula=a=b", "--given") == {"formula": "a=b"}
    with pytest.raises(Problem, match="--types must read"):
        pairs("age", "--types")


def test_start_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from genlearn.cli import main; main(['--help']); "
        "print([m for m in ('torch', 'sklearn', 'pandas', 'matplotlib', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    env = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stderr.strip() == "[]"
    assert "\x1b[" not in done.stdout
