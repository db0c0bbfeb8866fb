"""The program's version, as its packaging says it. Never touches: anything else."""

from __future__ import annotations


def version() -> str:
    """Return the installed version, such as `0.1.0`; `0+unknown` when the code runs without being installed."""
    from importlib import metadata  # noqa: PLC0415 - 15 ms that only --version and the node's start need

    try:
        return metadata.version("covey")
    except metadata.PackageNotFoundError:
        return "0+unknown"
