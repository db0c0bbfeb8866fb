"""The engine, the images and the running demo, each made once; all of it is taken down again, also after a failure."""

from collections.abc import Iterator

import pytest

from tests.e2e.compose import Project, build_images, require_engine

_STASH = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that something failed, so that the demo's logs are shown before it goes."""
    outcome = yield
    if outcome.get_result().failed:  # type: ignore[attr-defined]
        item.session.stash[_STASH] = True


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine that answers; without one its tests are skipped, or fail where it is required."""
    require_engine()


def _finish(project: Project, request: pytest.FixtureRequest) -> None:
    if request.session.stash.get(_STASH, default=False):
        print(project.compose("ps", "--all", check=False).stdout)  # noqa: T201 - pytest shows it with the failure
        print(project.compose("logs", "--no-color", "--tail", "80", check=False).stdout)  # noqa: T201
    project.down()


@pytest.fixture(scope="session")
def images(engine: None) -> None:
    """The production images with the tag of the tests."""
    build_images()


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
