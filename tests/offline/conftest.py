"""The network of the offline tests, brought up once; taken down again, also after a failure."""

from collections.abc import Iterator

import pytest

from tests.e2e.compose import Project, build_images, require_engine
from tests.offline.people import People

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that something failed, so that the containers' logs are shown before they go."""
    outcome = yield
    if outcome.get_result().failed:  # type: ignore[attr-defined]
        item.session.stash[_FAILED] = True


@pytest.fixture(scope="module")
def people(request: pytest.FixtureRequest) -> Iterator[People]:
    """alice and bob, who have never met and are offline, each behind a router of her own."""
    require_engine()
    build_images()
    project = Project("offline", profile="demo", more=("tests/offline/compose.yml",))
    try:
        yield People(project)
    finally:
        if request.session.stash.get(_FAILED, default=False):
            print(project.compose("ps", "--all", check=False).stdout)  # noqa: T201 - pytest shows it with the failure
            print(project.compose("logs", "--no-color", "--tail", "80", check=False).stdout)  # noqa: T201
        project.down()
