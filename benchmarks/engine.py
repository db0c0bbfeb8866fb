"""The container engine, where one answers: images built once under the tag `bench`.

Owns: what is missing, in words. Everything else is tests/e2e/compose.py.
"""

from __future__ import annotations

import shutil
import subprocess

from benchmarks.report import note
from tests.e2e.compose import Project, docker

TAG = "bench"
BUILD_SECONDS = 1500


def problem() -> str | None:
    """Return why no engine can be used, None when one answers."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    try:
        docker("info", timeout=20)
        docker("compose", "version", timeout=20)
    except (AssertionError, subprocess.TimeoutExpired) as exc:
        return f"no container engine answers: {str(exc).splitlines()[-1]}"
    return None


def project(part: str, profile: str | None = None) -> Project:
    """Return docker-compose.yml as a project of its own, with the images of this benchmark."""
    return Project(f"bench-{part}", profile=profile, settings={"COVEY_TAG": TAG})


def build() -> None:
    """Build all images of this source tree."""
    note("building the images (not timed)")
    project("build", profile="demo").compose("build", timeout=BUILD_SECONDS)
