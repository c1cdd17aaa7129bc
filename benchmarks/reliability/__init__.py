"""Kills, damage, several processes, large data, hostile folders, bad input: `python -m benchmarks.reliability [PART ...]`."""

PARTS = ("kills", "processes", "large", "folders", "inputs", "pages", "estimators")
