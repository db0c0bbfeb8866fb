"""What holds for all tests of the node: a task that fails fails the test, although the node goes on."""

from collections.abc import Iterator
from typing import Any

import pytest

from covey_node.net import lasting


class Failures:
    """Stands in for the log of tasks that failed."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def error(self, _event: str, **facts: Any) -> None:
        """Note one."""
        self.found.append(facts)

    def take(self) -> list[str]:
        """Return the tasks that failed, and the kinds of their errors, and expect them."""
        found, self.found = self.found, []
        return [f"{facts['task']}: {facts['error']}" for facts in found]


@pytest.fixture(autouse=True)
def failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failures]:
    """Errors that nobody foresaw; those that a test does not `take` fail it."""
    noted = Failures()
    monkeypatch.setattr(lasting, "log", noted)
    yield noted
    assert not noted.found
