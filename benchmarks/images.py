"""Image sizes, from `docker image inspect`.

Owns: the figures. Target: docs/benchmarks.md.
"""

from __future__ import annotations

from benchmarks import engine
from benchmarks.report import AtMost, Row, note
from tests.e2e.compose import docker

ROLES = ("node", "relay", "bootstrap")
TARGET = AtMost(230)


def run(*, quick: bool) -> list[Row]:
    """Build the images and read their sizes; skipped without an engine, and in quick runs."""
    reason = "this is a quick run" if quick else engine.problem()
    if reason is not None:
        note(f"skipped: {reason}")
        return [Row(f"image covey-{role}", None, "MB", TARGET) for role in ROLES]
    engine.build()
    return [Row(f"image covey-{role}", _megabytes(f"covey-{role}:{engine.TAG}"), "MB", TARGET) for role in ROLES]


def _megabytes(image: str) -> float:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout) / 1e6
