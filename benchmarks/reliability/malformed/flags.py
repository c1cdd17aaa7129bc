"""Wrong words on the command line: verbs, flags, settings, conditions."""

from __future__ import annotations

from collections.abc import Sequence

from .cases import Case, Place


def _typed(name: str, *words: str, says: Sequence[str] = ()) -> Case:
    """Return a case of words alone; `TABLE` stands for a good table, `<gmm>` for a finished run."""

    def make(place: Place) -> Sequence[str]:
        runs = {f"<{r}>": place.run(r) for r in ("gmm", "vae", "marginals", "pictures")}
        return [runs.get(w, w).replace("TABLE", place.table) for w in words]

    return Case(f"flags: {name}", make, tuple(says))


def _setting(model: str, flag: str, value: str, *says: str) -> Case:
    return _typed(f"fit {model} {flag} {value}", "fit", model, "TABLE", flag, value, says=(flag.strip("-"), *says))


VERBS = (
    _typed("a verb with a typo", "smaple", "<gmm>", says=('"sample"',)),
    _typed("a verb of other tools", "train", "gmm", "TABLE", says=('"train"',)),
    _typed("fit without words", "fit", says=("MODEL SOURCE",)),
    _typed("fit without a source", "fit", "gmm", says=("MODEL SOURCE",)),
    _typed("fit without a model", "fit", "TABLE", says=("MODEL good.csv",)),
    _typed("fit with its words swapped", "fit", "TABLE", "gmm", says=("genlearn fit gmm good.csv",)),
    _typed("fit with a word too many", "fit", "gmm", "TABLE", "more", says=("more",)),
    _typed("fit with a model in capitals", "fit", "GMM", "TABLE", says=('"gmm"',)),
    _typed("fit with a model that has a typo", "fit", "vea", "TABLE", says=('"vae"',)),
    _typed("fit with a model of other tools", "fit", "diffusion", "TABLE", says=("diffusion", "genlearn models")),
    _typed("fit with a private file for a model", "fit", "_em", "TABLE", says=("_em",)),
    _typed("fit with a path for a model", "fit", "../vae", "TABLE", says=("../vae",)),
    _typed("sample without a run", "sample", says=("RUN",)),
    _typed("a flag with a typo", "fit", "vae", "TABLE", "--latnet", "3", says=("--latent",)),
    _typed("a flag with one dash", "fit", "vae", "TABLE", "-latent", "3", says=("-l",)),
    _typed("a flag of another model", "fit", "gmm", "TABLE", "--latent", "3", says=("--latent", "gmm")),
    _typed("a flag of another verb", "sample", "<gmm>", "--steps", "3", says=("--steps",)),
    _typed("a flag without its value", "fit", "vae", "TABLE", "--latent", says=("--latent",)),
    _typed("a switch with a value", "fit", "gmm", "TABLE", "--quiet=maybe", says=("--quiet",)),
    _typed("a flag with an underscore", "fit", "gmm", "TABLE", "--drop_duplicates", says=("--drop-duplicates",)),
    _typed("a word for the seed", "fit", "gmm", "TABLE", "--seed", "abc", says=("--seed", "abc")),
    _typed("a fraction for the seed", "fit", "gmm", "TABLE", "--seed", "1.5", says=("--seed", "1.5")),
)

SETTINGS = (
    *(_setting("gmm", "--components", v) for v in ("0", "-3", "ten", "2.5", "")),
    _setting("gmm", "--covariance", "ful", "full"),
    _setting("gmm", "--regularization", "-1"),
    _setting("gmm", "--tol", "small"),
    _setting("gmm", "--smoothing", "nan"),
    _setting("kde", "--bandwidth", "-2"),
    _setting("kde", "--bandwidth", "wide"),
    _setting("kde", "--centers", "0"),
    _setting("marginals", "--bins", "0"),
    _setting("marginals", "--bins", "1e3"),
    *(_setting("vae", "--latent", v) for v in ("0", "-1", "wide", "1.5")),
    *(_setting("vae", "--hidden", v) for v in ("0", "64,x", "64;32", "-8", "1e2")),
    *(_setting("vae", "--batch", v) for v in ("0", "-64", "all")),
    *(_setting("vae", "--lr", v) for v in ("0", "-0.1", "fast", "nan")),
    _setting("vae", "--beta", "-1"),
    _setting("vae", "--betas", "0.9"),
    _setting("vae", "--ema", "1"),
    _setting("vae", "--clip", "0"),
    _setting("vae", "--samples", "0"),
    *(_setting("vae", "--steps", v) for v in ("0", "-5", "many", "1.5", "1e3", "1,000")),
    *(_setting("vae", "--budget", v) for v in ("0", "-1", "soon", "inf", "nan", "5 minutes", "5min", "1d", "")),
    *(_setting("vae", "--device", v) for v in ("gpu", "cuda:99", "tpu", "")),
    *(_setting("vae", "--until", v) for v in ("nats", "nats=", "nats=low", "=3", "0.5")),
    _typed("steps and a budget", "fit", "vae", "TABLE", "--steps", "2", "--budget", "5s", says=("budget", "steps")),
    _typed("a net that is misspelt", "fit", "vae", "TABLE", "--net", "covn", says=('"conv"',)),
)

USES = (
    _typed("no samples", "sample", "<gmm>", "-n", "0", says=("n must be",)),
    _typed("fewer than no samples", "sample", "<gmm>", "-n", "-5", says=("n must be",)),
    _typed("samples in words", "sample", "<gmm>", "-n", "ten", says=("ten",)),
    _typed("half a sample", "sample", "<gmm>", "-n", "2.5", says=("2.5",)),
    _typed("samples with separators", "sample", "<gmm>", "-n", "1,000", says=("1,000",)),
    _typed("more samples than any memory holds", "sample", "<gmm>", "-n", "1000000000000", says=("1000000000000",)),
    _typed("given without a value", "sample", "<gmm>", "--given", "churn", says=("--given", "name=value")),
    _typed("given with a colon", "sample", "<gmm>", "--given", "churn:yes", says=("--given",)),
    _typed("given an unknown column", "sample", "<gmm>", "--given", "chrun=yes", says=('"churn"',)),
    _typed("given a column in capitals", "sample", "<gmm>", "--given", "CHURN=yes", says=('"churn"',)),
    _typed("given an unknown value", "sample", "<gmm>", "--given", "churn=yse", says=('"yes"',)),
    _typed("given a value in capitals", "sample", "<gmm>", "--given", "churn=YES", says=('"yes"',)),
    _typed("given no value", "sample", "<gmm>", "--given", "churn=", says=('"churn"', "yes")),
    _typed("given a number for a category", "sample", "<gmm>", "--given", "city=3", says=('"city"', "a, b")),
    _typed("given a word for a number", "sample", "<gmm>", "--given", "age=old", says=('"age"', "low:high")),
    _typed("given a number out of range", "sample", "<gmm>", "--given", "age=900", says=('"age"', "outside")),
    _typed("given a range out of range", "sample", "<gmm>", "--given", "age=900:1000", says=('"age"', "outside")),
    _typed("given a range the wrong way round", "sample", "<gmm>", "--given", "age=60:40", says=('"age"', "smaller")),
    _typed("given a range with a dash", "sample", "<gmm>", "--given", "age=40-60", says=('"age"', "40:60")),
    _typed("given a comparison", "sample", "<gmm>", "--given", "age>40", says=("--given", "age=40:")),
    _typed("given a number between whole ones", "sample", "<gmm>", "--given", "age=40.5", says=('"age"', "40")),
    _typed("given infinity", "sample", "<gmm>", "--given", "height=inf", says=('"height"',)),
    _typed("given no number at all", "sample", "<gmm>", "--given", "height=nan", says=('"height"',)),
    _typed(
        "given a feature, to a model of labels", "sample", "<vae>", "--given", "age=40", says=("age", "churn", "gmm")
    ),
    _typed("given a label, to a model without", "sample", "<pictures>", "--given", "lable=1", says=('"label"',)),
    _typed("given a label that is not there", "sample", "<pictures>", "--given", "label=7", says=("0, 1",)),
    _typed("given nothing", "sample", "<gmm>", "--given", "", says=("--given",)),
    _typed("a table as a picture", "sample", "<gmm>", "--out", "out.png", says=("png", ".csv")),
    _typed("a table as a film", "sample", "<gmm>", "--out", "out.mp4", says=("mp4", ".csv")),
    _typed("a table into a folder", "sample", "<gmm>", "--out", "out/", says=("folder", ".csv")),
    _typed("a table with categories as numbers", "sample", "<gmm>", "--out", "out.npy", says=("npy", ".csv")),
    _typed("images as a table", "sample", "<pictures>", "--out", "out.csv", says=("csv", ".png")),
    _typed("a file below a file", "sample", "<gmm>", "--out", "TABLE/out.csv", says=("good.csv/out.csv",)),
    _typed("an unknown part", "score", "<gmm>", "--split", "tset", says=("test",)),
    _typed("no importance samples", "score", "<vae>", "--samples", "0", says=("--samples",)),
    _typed("importance samples for an exact score", "score", "<gmm>", "--samples", "5", says=("--samples", "gmm")),
    _typed("a score of what is not there", "score", "<gmm>", "nothing.csv", says=("nothing.csv",)),
    _typed("latents of a model without", "encode", "<gmm>", says=("gmm", "vae")),
    _typed("a way of two steps too few", "interpolate", "<vae>", "--steps", "1", says=("--steps",)),
    _typed("a way that is crooked", "interpolate", "<vae>", "--path", "spheric", says=("--path", "spherical")),
    _typed("an end that is no record", "interpolate", "<vae>", "zero", "1", says=("zero",)),
    _typed("an end below the first", "interpolate", "<vae>", "0", "4.5", says=("4.5",)),
    _typed("a latent dimension beyond the last", "traverse", "<vae>", "--dim", "99", says=("99",)),
    _typed("a latent dimension below the first", "traverse", "<vae>", "--dim", "-1", says=("-1",)),
    _typed("latents from nowhere", "decode", "<vae>", "z.npy", says=("z.npy",)),
    _typed("latents that are a table of words", "decode", "<vae>", "TABLE", says=("good.csv",)),
    _typed("repair in a way of its own", "impute", "<gmm>", "TABLE", "--how", "median", says=("median", "mean")),
    _typed("repair of an unknown column", "impute", "<gmm>", "TABLE", "--mask", "agee", says=('"agee"', '"age"')),
    _typed("repair of no records", "impute", "<gmm>", "-n", "0", says=("-n",)),
    _typed("a comparison of unknown models", "compare", "TABLE", "--models", "gmm,vea", says=('"vea"', '"vae"')),
    _typed("a comparison of no models", "compare", "TABLE", "--models", "", says=("models",)),
    _typed("a comparison of commas", "compare", "TABLE", "--models", ",,", says=("models",)),
    _typed("a comparison of one model twice", "compare", "TABLE", "--models", "gmm,gmm", says=("gmm",)),
    _typed("a comparison without seeds", "compare", "TABLE", "--seeds", "0", says=("seeds",)),
    _typed(
        "a comparison with steps and a budget", "compare", "TABLE", "--steps", "3", "--budget", "5s", says=("budget",)
    ),
    _typed("a comparison of no length", "compare", "TABLE", "--budget", "0", says=("budget",)),
    _typed("a comparison of no steps", "compare", "TABLE", "--steps", "0", says=("steps",)),
    _typed("a comparison of nothing", "compare", "nothing.csv", says=("nothing.csv",)),
    _typed("a demo of no length", "demo", "--budget", "0", says=("budget",)),
    _typed("a report of nothing", "report", "nothing", says=("nothing",)),
    _typed("a report of a file", "report", "TABLE", says=("good.csv",)),
    _typed("a report into a folder", "report", "<gmm>", "--out", ".", says=("--out",)),
    _typed("a fit into a file", "fit", "marginals", "TABLE", "--out", "TABLE", says=("good.csv",)),
    _typed("a comparison into a file", "compare", "TABLE", "--out", "TABLE", says=("good.csv",)),
    _typed("going on with nothing", "fit", "--resume", "nothing", says=("nothing",)),
    _typed(
        "going on with other settings", "fit", "gmm", "--resume", "<gmm>", "--components", "2", says=("components",)
    ),
    _typed("going on with another model", "fit", "vae", "--resume", "<gmm>", says=("gmm", "vae")),
    _typed("a model list with a word", "models", "vae", says=("vae",)),
)

CASES: tuple[Case, ...] = (*VERBS, *SETTINGS, *USES)
