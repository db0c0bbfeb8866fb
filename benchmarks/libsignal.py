"""libsignal from npm, for the benchmark of the cryptographic core; development only, never a dependency.

Owns: its installation below benchmarks/js (npm ci, with Node 22 from npm), the process that is timed (js/libsignal.js).
Never touches: Covey's code.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Failed, Worker, clean_environment
from benchmarks.report import OUT

JS = Path(__file__).parent / "js"
INSTALL_SECONDS = 300


class Unavailable(Exception):
    """libsignal cannot be run here; the text says why."""


def installed() -> Path:
    """Return the path of Node with libsignal beside it, installed if need be; `Unavailable`."""
    wanted = (JS / "package-lock.json").read_bytes()
    stamp = JS / "node_modules" / ".covey-installed"
    node = JS / "node_modules" / ".bin" / "node"
    if stamp.exists() and stamp.read_bytes() == wanted and node.exists():
        return node
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed")
    try:
        done = subprocess.run(
            [npm, "ci", "--no-progress", "--loglevel=error"],
            cwd=JS, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"npm ci did not end within {INSTALL_SECONDS} s") from exc
    if done.returncode != 0 or not node.exists():
        raise Unavailable(f"npm ci failed: {done.stderr.strip()[-300:]}")
    stamp.write_bytes(wanted)
    return node


@contextmanager
def libsignal() -> Iterator[Worker]:
    """Run libsignal.js for the length of the block; `Unavailable`."""
    node = installed()
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / "libsignal.log"
    with log.open("wb") as output, subprocess.Popen(
        [str(node), "libsignal.js"],
        cwd=JS, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
    ) as process:  # fmt: skip
        try:
            running = Worker(process, log)
            try:
                running.ask("turns", count=2)
            except Failed as exc:
                raise Unavailable(f"libsignal does not run here: {exc}") from exc
            yield running
        finally:
            process.kill()
