"""`python -m benchmarks [--only NAME] [--quick]`: run the benchmarks; each prints a table and writes a JSON file.

Owns: the command line. `make bench` calls it. Results: build/bench/NAME.json (report.py); they are
explained in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks import report

NAMES = ("crypto", "delivery", "relay", "direct", "mailbox", "start", "images")


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; the exit code is 0 also when a target is missed: a slow machine is no error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", choices=NAMES, help="run one benchmark (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, the figures say little")
    parser.add_argument("--out", type=Path, default=report.OUT, help="folder of the JSON files (default: build/bench)")
    chosen = parser.parse_args(argv)
    for name in NAMES if chosen.only is None else (chosen.only,):
        print(f"==> {name}: {report.load()}", flush=True)
        rows = importlib.import_module(f"benchmarks.{name}").run(quick=chosen.quick)
        print(f"  written: {report.write(name, rows, chosen.out)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
