"""Benchmarks: `python -m benchmarks`, docs/benchmarks.md."""
