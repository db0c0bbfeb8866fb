"""What holds for all tests: a clean environment, one hypothesis profile, and the slow ones last."""

import os
import signal

import pytest
from hypothesis import settings

# Timing is never asserted (deadline). CI takes the same examples each time, so that a red run can be had again at once;
# everywhere else new ones are tried.
settings.register_profile("covey", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("covey")

_FOR_TESTS = ("COVEY_TEST_", "COVEY_E2E_", "COVEY_BENCH_")


def pytest_configure() -> None:
    """Forget what the caller left behind: her own settings, and signals that a background job ignores."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:  # processes that tests start would ignore Ctrl-C too
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for name in [name for name in os.environ if name.startswith("COVEY_") and not name.startswith(_FOR_TESTS)]:
        del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is quick first: then what needs js-libp2p, then the NAT lab, then the containers."""
    slow = ("interop", "lab", "e2e")
    items.sort(
        key=lambda item: max((1 + slow.index(name) for name in slow if item.get_closest_marker(name)), default=0)
    )
