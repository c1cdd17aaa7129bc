"""Benchmarks: peers side by side in one run. Data come from the folder named by GENLEARN_DATA."""
