"""The engine, the images and the running demo, each made once; all of it is taken down again, also after a failure."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.compose import Project, docker

_STASH = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that something failed, so that the demo's logs are shown before it goes."""
    outcome = yield
    if outcome.get_result().failed:  # type: ignore[attr-defined]
        item.session.stash[_STASH] = True


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip without a container engine, or fail where one is required (COVEY_TEST_REQUIRE_ENGINE=1, as in CI)."""
    problem = None
    if shutil.which("docker") is None:
        problem = "docker is not installed"
    else:
        try:
            docker("info", timeout=20)
            docker("compose", "version", timeout=20)
        except (AssertionError, subprocess.TimeoutExpired) as exc:
            problem = f"no container engine answers: {str(exc).splitlines()[-1]}"
    if problem and os.environ.get("COVEY_TEST_REQUIRE_ENGINE") == "1":
        pytest.fail(f"an engine is required here, but {problem}", pytrace=False)
    if problem:
        pytest.skip(problem)


def _finish(project: Project, request: pytest.FixtureRequest) -> None:
    if request.session.stash.get(_STASH, default=False):
        print(project.compose("ps", "--all", check=False).stdout)  # noqa: T201 - pytest shows it with the failure
        print(project.compose("logs", "--no-color", "--tail", "80", check=False).stdout)  # noqa: T201
    project.down()


@pytest.fixture(scope="session")
def images(engine: None) -> None:
    """Build all images with the tag of the tests, one after the other.

    Engine 26.1 died once (nil pointer in BuildKit's walkProvenance) while builds that share stages ran side by side.
    """
    project = Project("build", profile="demo")
    for service in ("bootstrap", "relay", "alice", "introduce", "router-alice"):
        project.compose("build", service, timeout=1500)


@pytest.fixture(scope="session")
def demo(images: None, request: pytest.FixtureRequest) -> Iterator[Project]:
    """alice and bob behind a NAT router each, introduced to each other."""
    project = Project("demo", profile="demo")
    try:
        project.up()
        yield project
    finally:
        _finish(project, request)


@pytest.fixture
def project(images: None, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project that the test starts itself."""
    one = Project("one")
    try:
        yield one
    finally:
        _finish(one, request)
