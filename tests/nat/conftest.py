"""The network of the NAT tests, brought up once; taken down again, also after a failure."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.compose import Project, build_images, require_engine
from tests.nat.homes import Homes
from tests.nat.lab.topology import LabUnavailable, check_machine

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that something failed, so that the containers' logs are shown before they go."""
    outcome = yield
    if outcome.get_result().failed:  # type: ignore[attr-defined]
        item.session.stash[_FAILED] = True


def require_lab() -> None:
    """Skip where there can be no namespace lab, or fail where it is required (COVEY_TEST_REQUIRE_LAB=1, as in CI)."""
    try:
        check_machine()
    except LabUnavailable as problem:
        if os.environ.get("COVEY_TEST_REQUIRE_LAB") == "1":
            pytest.fail(f"the lab is required here, but {problem}", pytrace=False)
        pytest.skip(f"needs network namespaces, but {problem}")


@pytest.fixture(scope="session")
def homes(request: pytest.FixtureRequest) -> Iterator[Homes]:
    """alice and bob, introduced to each other, each behind a router that can become any kind."""
    require_engine()
    build_images()
    project = Project("nat", profile="demo", more=("tests/nat/compose.yml",))
    try:
        project.up()
        yield Homes(project)
    finally:
        if request.session.stash.get(_FAILED, default=False):
            print(project.compose("ps", "--all", check=False).stdout)  # noqa: T201 - pytest shows it with the failure
            print(project.compose("logs", "--no-color", "--tail", "80", check=False).stdout)  # noqa: T201
        project.down()
