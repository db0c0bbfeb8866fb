"""`python -m tests.nat.lab [--runs N] [--pair A/B]`: time to direct in the lab. `make nat-lab RUNS=n` calls it.

Kinds: 1 the usual home router, 2 symmetric, 3 one mapping on another port, 4 full cone.
Without --pair: 1/1, 3/3, 1/3, 2/1, 2/2.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.report import load, median, percentile
from tests.nat.lab.runs import Run, meeting
from tests.nat.lab.topology import KINDS, LabUnavailable

PAIRS = ((1, 1), (3, 3), (1, 3), (2, 1), (2, 2))


def main() -> int:
    """Run; the exit code is 1 when a pair that allows a direct connection did not come to one."""
    parser = argparse.ArgumentParser(prog="python -m tests.nat.lab")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pair", type=_pair, action="append", help="such as 1/3; may be repeated")
    parser.add_argument("--block", choices=("none", "tcp", "udp"), default="none", help="what both routers keep back")
    parser.add_argument("--keep", type=Path, help="leave homes and logs (at debug) in this folder")
    chosen = parser.parse_args()
    failed = 0
    with meeting(debug=chosen.keep is not None, keep=chosen.keep) as pair:
        for kinds in chosen.pair or PAIRS:
            pair.be(*kinds, block=chosen.block)
            found = []
            for number in range(1, chosen.runs + 1):
                found.append(pair.run(wait_for_direct=2 not in kinds or 4 in kinds))
                say(f"{kinds[0]}/{kinds[1]} run {number}: {shown(found[-1])}")
            failed += sum(one.direct_seconds is None for one in found) if 2 not in kinds else 0
            say(f"{kinds[0]}/{kinds[1]}: {summary(found)}; {load()}")
    return min(failed, 1)


def shown(run: Run) -> str:
    """Return a run in words."""
    direct = "never direct" if run.direct_seconds is None else f"direct after {run.direct_seconds * 1000:.0f} ms"
    return f"delivered in {run.delivered_seconds * 1000:.0f} ms, {direct}, {run.transport or '-'}, path {run.path}"


def summary(found: list[Run]) -> str:
    """Return what all runs of a pair say together."""
    times = [run.direct_seconds for run in found if run.direct_seconds is not None]
    text = f"direct {len(times)} of {len(found)}"
    if times:
        text += f", median {median(times) * 1000:.0f} ms, p95 {percentile(times, 0.95) * 1000:.0f} ms"
    return f"{text}; delivered p95 {percentile([run.delivered_seconds for run in found], 0.95) * 1000:.0f} ms"


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _pair(text: str) -> tuple[int, int]:
    kinds = [int(word) for word in text.split("/") if word.isdigit() and int(word) in KINDS]
    if len(kinds) != 2:
        raise argparse.ArgumentTypeError(f"{text!r}: write two kinds of {sorted(KINDS)}, such as 1/3")
    return kinds[0], kinds[1]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab is taken down then, too
    try:
        sys.exit(main())
    except LabUnavailable as problem:
        sys.exit(f"the lab is not available here: {problem}")
