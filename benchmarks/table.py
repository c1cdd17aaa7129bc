"""Turn results/*.json into results/README.md: `python -m benchmarks.table`."""

from __future__ import annotations

import json
from typing import Any

from . import checks, record


def cell(metrics: dict[str, Any], name: str, digits: int = 2) -> str:
    """Return a value with its interval."""
    found = metrics.get(name)
    if not found or not isinstance(found["value"], int | float):
        return "-"
    if found["low"] is None:
        return f"{found['value']:.{digits}f}"
    value, low, high = (f"{found[k]:.{digits}f}" for k in ("value", "low", "high"))
    return f"{value} [{low} {high}]"


def facts(result: dict[str, Any]) -> str:
    """Return what the figures depend on."""
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    gpu = f" · {result['gpu']}" if result["gpu"] else ""
    return f"{result['date']} · {result['cores']} cores, {result['threads']} threads{gpu} · {versions}\n"


def comparison(result: dict[str, Any]) -> list[str]:
    """Return the leaderboard of a comparison."""
    lines = [
        f"`genlearn compare` took {result['seconds']:.0f} s, the report has {result['report_bytes'] / 1e6:.1f} MB.",
        "",
        f"> {result['verdict']['text']}",
        "",
        "| model | nats per record | two-sample AUC | coverage | useful | copies | fit, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in [*result["references"], *result["models"]]:
        m, kind = row["metrics"], row.get("kind") or ""
        copies = {True: "YES", False: "no"}.get(row.get("copies"), "-")
        seconds = (row.get("cost") or {}).get("seconds")
        shown = [cell(m, "nats", 1) + f" {kind}".rstrip(), cell(m, "auc"), cell(m, "coverage"), cell(m, "useful")]
        lines.append(
            f"| {row['name']} | {' | '.join(shown)} | {copies} | {'-' if seconds is None else f'{seconds:.1f}'} |"
        )
    lines += [f"| {s['name']} | skipped: {s['reason']} | | | | | |" for s in result["skipped"]]
    return lines


def speed(result: dict[str, Any]) -> list[str]:
    """Return medians and ratios beside their bars."""
    lines = ["| net | who | steps per second | genlearn is | bar | |", "|---|---|---|---|---|---|"]
    for net in ("vae", "dcgan"):
        for who, rate in result[net]["steps_per_second"].items():
            ratio = result[net]["ratio"].get(who)
            shown = f"{rate['median']:.1f} [{rate['low']:.1f} {rate['high']:.1f}]"
            if ratio is None:
                lines.append(f"| {net} | {who} | {shown} | | | |")
            else:
                met = "met" if ratio["median"] >= ratio["bar"] else "missed"
                times = f"{ratio['median']:.2f}x [{ratio['low']:.2f} {ratio['high']:.2f}]"
                lines.append(f"| {net} | {who} | {shown} | {times} | {ratio['bar']}x | {met} |")
    peak = result["matmul_gflops"]
    return [*lines, "", f"Matrix products of this machine: fp32 {peak['fp32']:.0f}, bf16 {peak['bf16']:.0f} GFLOP/s."]


def binarized(result: dict[str, Any]) -> list[str]:
    """Return the likelihood beside its bar."""
    nats = result["score"]["nats"]
    met = "met" if -nats["value"] <= 95 else "missed"
    return [
        f"nll {-nats['value']:.2f} [{-nats['high']:.2f} {-nats['low']:.2f}] nats, {result['score']['samples']} importance samples, "
        f"n = {nats['n']:,}; bar {result['bar']}: {met}. Fit {result['fit_seconds']:.0f} s, score {result['score_seconds']:.0f} s."
    ]


def mnist(result: dict[str, Any]) -> list[str]:
    """Return score, metrics and the seconds of every verb."""
    verbs = " · ".join(f"{name} {seconds}" for name, seconds in result["verb_seconds"].items())
    numbers = " · ".join(f"{k} {cell(result['evaluate'], k)}" for k in ("auc", "coverage", "useful", "active_units"))
    nats = result["score"]["nats"]
    return [
        f"Fit {result['fit_seconds']:.0f} s; joint score of images and labels {nats['value']:.1f} nats, "
        f"{result['score']['samples']} importance samples.",
        "",
        f"Metrics: {numbers}.",
        "",
        f"Seconds of each verb, start-up included: {verbs}.",
    ]


SHOWN = {
    "speed": ("Speed", speed),
    "main_digits": ("Digits: `genlearn demo`", comparison),
    "main_adult": ("Adult, all models, 1 minute each", comparison),
    "main_animals": ("CIFAR animals from a zip, 3 minutes each", comparison),
    "main_binarized": ("Static MNIST, a VAE in 5 minutes", binarized),
    "main_mnist": ("MNIST, a VAE in 5 minutes, then every verb", mnist),
}


def main() -> None:
    """Write the page."""
    parts = [
        "# Results\n\nWritten by `python -m benchmarks.table` from the JSON beside it. Intervals are 95 %, see docs/metrics.md.\n"
    ]
    for name, (title, lines) in SHOWN.items():
        path = record.RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            parts.append(f"## {title}\n\n{facts(result)}\n" + "\n".join(lines(result)) + "\n")
    for suite in ("classical", "variational", "reliability", "metrics"):
        for path in sorted(record.RESULTS.glob(f"{suite}_*.json")):
            result = json.loads(path.read_text())
            parts.append(f"## {result['title']}\n\n{facts(result)}\n" + "\n".join(checks.lines(result)) + "\n")
    (record.RESULTS / "README.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
