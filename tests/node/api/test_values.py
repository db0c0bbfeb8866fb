"""Values that no route takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.api.fake_port import LINK
from tests.node.api.serving import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One node for all: nothing here changes it."""
    with serving(tmp_path_factory.mktemp("home")) as one:
        yield one


@pytest.mark.parametrize("alias", ["", "a/b", " bob", "bob ", "b\nb", "b\x1b[2J", "b\u202ebo", "x" * 65, "\ud800"])
def test_an_alias_that_would_break_paths_or_terminals_is_invalid(served: Served, alias: str) -> None:
    for method, path, body in (
        ("PATCH", "/v1/contacts/bob", {"alias": alias}),
        ("POST", "/v1/contacts", {"link": LINK, "alias": alias}),
        ("POST", "/v1/requests/eve/accept", {"alias": alias}),
    ):
        status, answer = served.ask(method, path, body)
        assert (status, answer["error"]["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        ("POST", "/v1/contacts/bob/messages", {"text": ""}, "text"),
        ("POST", "/v1/contacts/bob/messages", {"text": "\ud800"}, "text"),
        ("POST", "/v1/contacts/bob/messages", {"text": "ü" * (24 * 1024 + 1)}, "text"),
        ("POST", "/v1/contacts/bob/messages", {"text": 1}, "text"),
        ("POST", "/v1/contacts/bob/messages", {"text": "x", "disappear": 3}, "disappear"),
        ("POST", "/v1/contacts/bob/messages", {"text": "x", "disappear_seconds": 0}, "disappear_seconds"),
        ("POST", "/v1/contacts/bob/messages", {}, "text"),
        ("POST", "/v1/contacts/bob/messages", None, "the request"),
        ("POST", "/v1/contacts/bob/messages", b"{", "1"),
        ("POST", "/v1/contacts/bob/messages", b"\xff\xfe", ""),
        ("GET", "/v1/contacts/bob/messages?limit=0", None, "limit"),
        ("GET", "/v1/contacts/bob/messages?limit=1001", None, "limit"),
        ("GET", "/v1/messages/x?wait_seconds=301", None, "wait_seconds"),
        ("GET", "/v1/messages/x?wait_for=queued", None, "wait_for"),
        ("GET", "/v1/events?after=-1", None, "after"),
        ("POST", "/v1/invites", {"valid_seconds": 0}, "valid_seconds"),
        ("POST", "/v1/invites", {"valid_seconds": 1e9}, "valid_seconds"),
        ("POST", "/v1/contacts", {"link": "x" * 8193}, "link"),
        ("POST", "/v1/contacts", {"link": LINK, "intro": "x" * 1025}, "intro"),
        ("PUT", "/v1/messages/x/reaction", {"emoji": "x" * 65}, "emoji"),
    ],
)
def test_a_bad_value_is_refused_with_its_place(
    served: Served, method: str, path: str, body: object, place: str
) -> None:
    status, answer = served.ask(method, path, body)
    assert (status, answer["error"]["code"]) == (422, "invalid")
    assert place in answer["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/v1/contacts/bob/messages", {"text": ""}, "text: must not be empty"),
        ("POST", "/v1/contacts/bob/messages", {}, "text: is missing"),
        ("POST", "/v1/contacts/bob/messages", {"text": "x", "disappear": 3}, "disappear: is not known here"),
        (
            "POST",
            "/v1/contacts/bob/messages",
            {"text": "x", "disappear_seconds": 0},
            "disappear_seconds: must be more than 0",
        ),
        ("GET", "/v1/contacts/bob/messages?limit=0", None, "limit: must be 1 or more"),
        ("GET", "/v1/contacts/bob/messages?limit=1001", None, "limit: must be 1000 or less"),
        ("PATCH", "/v1/contacts/bob", {"alias": "a/b"}, "alias: an alias has no slash"),
    ],
)
def test_a_complaint_is_in_words_for_people(served: Served, method: str, path: str, body: object, message: str) -> None:
    assert served.ask(method, path, body)[1]["error"]["message"].startswith(message)
