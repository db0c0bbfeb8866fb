"""Every route does what the port's method of that name does, and says so in the right status."""

from __future__ import annotations

import pytest

from covey_core.errors import FileDamaged, LinkInvalid, Unreachable
from covey_node.service.port import NodePort, Status
from tests.node.api.fake_port import BOB, LINK
from tests.node.api.serving import Served

FIRST = "1" + "0" * 31


def test_the_status_route_shows_the_node_at_a_glance(served: Served) -> None:
    status, body = served.ask("GET", "/v1/status")
    assert status == 200
    assert body["name"] == "alice"
    assert [relay["operator"] for relay in body["relays"]] == ["home", "club"]
    assert body["contacts"][0]["path"] == "relayed"


def test_contacts_are_listed_and_found_by_alias_account_and_prefix(served: Served) -> None:
    status, body = served.ask("GET", "/v1/contacts")
    assert status == 200
    assert [one["alias"] for one in body["contacts"]] == ["bob", "carol", "dave", "eve"]
    for name in ("bob", BOB, BOB[:8]):
        assert served.ask("GET", f"/v1/contacts/{name}")[1]["account"] == BOB


def test_an_alias_with_unusual_characters_can_be_asked_for(served: Served) -> None:
    assert served.ask("PATCH", "/v1/contacts/bob", {"alias": "böb & co?"})[0] == 200
    status, body = served.ask("GET", "/v1/contacts/b%C3%B6b%20%26%20co%3F")
    assert (status, body["account"]) == (200, BOB)


def test_an_unknown_contact_is_not_found_and_the_answer_says_who_there_is(served: Served) -> None:
    for method, path, body in (
        ("GET", "/v1/contacts/zoe", None),
        ("PATCH", "/v1/contacts/zoe", {"alias": "z"}),
        ("POST", "/v1/contacts/zoe/block", None),
        ("GET", "/v1/contacts/zoe/verification", None),
        ("PUT", "/v1/contacts/zoe/verification", {"verified": True}),
        ("POST", "/v1/contacts/zoe/ping", None),
        ("POST", "/v1/contacts/zoe/messages", {"text": "hi"}),
        ("GET", "/v1/contacts/zoe/messages", None),
        ("POST", "/v1/contacts/zoe/read", None),
        ("POST", "/v1/requests/zoe/accept", {}),
        ("POST", "/v1/requests/zoe/refuse", None),
    ):
        status, answer = served.ask(method, path, body)
        assert status == 404, (method, path)
        assert answer == {"error": {"code": "not_found", "message": "no contact 'zoe'; there are bob and carol"}}


def test_a_link_makes_a_contact_that_is_being_asked(served: Served) -> None:
    body = {"link": LINK, "alias": "frank", "intro": "we met at the lake"}
    status, view = served.ask("POST", "/v1/contacts", body)
    assert (status, view["state"]) == (201, "requesting")
    assert served.port.calls == [("add", (LINK, "frank", "we met at the lake"))]


def test_a_contact_is_renamed_but_not_to_a_taken_alias(served: Served) -> None:
    assert served.ask("PATCH", "/v1/contacts/bob", {"alias": "robert"})[1]["alias"] == "robert"
    status, body = served.ask("PATCH", "/v1/contacts/robert", {"alias": "carol"})
    assert (status, body["error"]["code"]) == (409, "refused")


def test_a_blocked_contact_is_blocked(served: Served) -> None:
    assert served.ask("POST", "/v1/contacts/bob/block") == (204, None)
    assert served.ask("GET", "/v1/contacts/bob")[1]["state"] == "blocked"


def test_the_safety_number_is_shown_marked_and_unmarked(served: Served) -> None:
    status, view = served.ask("GET", "/v1/contacts/carol/verification")
    assert (status, len(view["safety_number"]), view["verified"]) == (200, 60, False)
    assert served.ask("PUT", "/v1/contacts/carol/verification", {"verified": True})[1]["verified"] is True
    assert served.ask("PUT", "/v1/contacts/carol/verification", {"verified": False})[1]["verified"] is False


def test_a_ping_gives_seconds_and_path_or_is_refused_without_one(served: Served) -> None:
    assert served.ask("POST", "/v1/contacts/bob/ping") == (200, {"alias": "bob", "path": "relayed", "seconds": 0.0123})
    status, body = served.ask("POST", "/v1/contacts/carol/ping")
    assert (status, body["error"]) == (409, {"code": "refused", "message": "no path to carol: it is not online"})


def test_the_doctor_is_asked_about_the_machine_or_one_contact(served: Served) -> None:
    status, body = served.ask("GET", "/v1/doctor")
    assert (status, body["healthy"], body["nat"]["kind"]) == (200, True, "easy")
    assert [one["alias"] for one in body["contacts"]] == ["bob", "carol", "dave"]
    status, body = served.ask("GET", "/v1/doctor?contact=carol")
    assert (status, body["healthy"], [one["alias"] for one in body["contacts"]]) == (200, False, ["carol"])
    status, body = served.ask("GET", "/v1/doctor?contact=nobody")
    assert (status, body["error"]["code"]) == (404, "not_found")


def test_requests_are_listed_accepted_and_refused(served: Served) -> None:
    assert [one["alias"] for one in served.ask("GET", "/v1/requests")[1]["requests"]] == ["eve"]
    status, view = served.ask("POST", "/v1/requests/eve/accept", {"alias": "evelyn"})
    assert (status, view["alias"], view["state"]) == (200, "evelyn", "accepted")
    assert served.ask("GET", "/v1/requests")[1] == {"requests": []}
    assert served.ask("POST", "/v1/requests/dave/refuse") == (204, None)
    assert served.ask("POST", "/v1/requests/bob/accept", {})[0] == 409


def test_an_invite_shows_its_link_once_and_can_be_revoked(served: Served) -> None:
    status, made = served.ask("POST", "/v1/invites", {"label": "frank", "valid_seconds": 3600, "one_use": False})
    assert (status, made["link"], made["one_use"]) == (201, LINK, False)
    listed = served.ask("GET", "/v1/invites")[1]["invites"]
    assert [(one["id"], one["link"]) for one in listed] == [(made["id"], None)]
    assert served.ask("DELETE", f"/v1/invites/{made['id']}") == (204, None)
    assert served.ask("DELETE", f"/v1/invites/{made['id']}")[0] == 404


def test_an_invite_is_for_one_use_and_a_week_unless_said_otherwise(served: Served) -> None:
    made = served.ask("POST", "/v1/invites", {})[1]
    assert made["one_use"] is True
    assert made["expires_at"] - made["created_at"] == 7 * 86400


def test_a_text_is_answered_as_queued_and_then_found_in_the_history(served: Served) -> None:
    status, sent = served.ask("POST", "/v1/contacts/bob/messages", {"text": "hello", "disappear_seconds": 60})
    assert (status, sent["status"], sent["reason"]) == (201, "queued", "bob is not online")
    assert sent["expires_at"] == sent["sent_at"] + 60
    answer = served.ask("POST", "/v1/contacts/bob/messages", {"text": "again", "reply_to": sent["id"]})[1]
    assert answer["reply_to"] == sent["id"]
    page = served.ask("GET", "/v1/contacts/bob/messages")[1]["messages"]
    assert [(view["text"], view["status"]) for view in page] == [("hello", "delivered"), ("again", "delivered")]
    newest = served.ask("GET", "/v1/contacts/bob/messages?limit=1")[1]["messages"]
    assert [view["text"] for view in newest] == ["again"]
    older = served.ask("GET", f"/v1/contacts/bob/messages?before={answer['id']}")[1]["messages"]
    assert [view["text"] for view in older] == ["hello"]


def test_a_text_to_somebody_who_has_not_accepted_is_refused(served: Served) -> None:
    assert served.ask("POST", "/v1/contacts/eve/messages", {"text": "hi"})[0] == 409


def test_reading_marks_and_counts_what_was_new(served: Served) -> None:
    assert served.ask("POST", "/v1/contacts/bob/read") == (200, {"marked": 2})
    assert served.ask("POST", "/v1/contacts/bob/read") == (200, {"marked": 0})


def test_a_message_is_shown_edited_reacted_to_and_deleted(served: Served) -> None:
    served.ask("POST", "/v1/contacts/bob/messages", {"text": "helo"})
    assert served.ask("PATCH", f"/v1/messages/{FIRST}", {"text": "hello"})[1]["edited"] is True
    assert served.ask("PUT", f"/v1/messages/{FIRST}/reaction", {"emoji": "👍"}) == (204, None)
    view = served.ask("GET", f"/v1/messages/{FIRST}")[1]
    assert (view["text"], view["reactions"]) == ("hello", [{"author": "me", "emoji": "👍"}])
    assert served.ask("PUT", f"/v1/messages/{FIRST}/reaction", {"emoji": ""}) == (204, None)
    assert served.ask("DELETE", f"/v1/messages/{FIRST}") == (204, None)
    view = served.ask("GET", f"/v1/messages/{FIRST}")[1]
    assert (view["text"], view["deleted"], view["reactions"]) == (None, True, [])


def test_an_unknown_message_is_not_found(served: Served) -> None:
    for method, path, body in (
        ("GET", f"/v1/messages/{FIRST}", None),
        ("PATCH", f"/v1/messages/{FIRST}", {"text": "x"}),
        ("DELETE", f"/v1/messages/{FIRST}", None),
        ("PUT", f"/v1/messages/{FIRST}/reaction", {"emoji": "👍"}),
    ):
        assert served.ask(method, path, body)[0] == 404, (method, path)


def test_a_message_that_is_far_enough_is_answered_without_waiting(served: Served) -> None:
    served.ask("POST", "/v1/contacts/bob/messages", {"text": "hello"})
    view = served.ask("GET", f"/v1/messages/{FIRST}?wait_for=delivered&wait_seconds=300")[1]
    assert view["status"] == "delivered"


def test_a_failed_message_is_not_waited_for(served: Served) -> None:
    served.port.delivers = Status.FAILED
    served.ask("POST", "/v1/contacts/bob/messages", {"text": "hello"})
    view = served.ask("GET", f"/v1/messages/{FIRST}?wait_for=read&wait_seconds=300")[1]
    assert (view["status"], view["reason"]) == ("failed", "bob's device is gone")


def test_the_longest_text_passes_even_when_every_byte_is_escaped(served: Served) -> None:
    assert served.ask("POST", "/v1/contacts/bob/messages", {"text": "\x01" * 48 * 1024})[0] == 201


def test_an_unknown_path_and_a_wrong_method_have_error_bodies(served: Served) -> None:
    assert served.ask("GET", "/v2/status")[1]["error"]["code"] == "not_found"
    status, body = served.ask("DELETE", "/v1/status")
    assert (status, body["error"]["code"]) == (405, "method")


@pytest.mark.parametrize(
    ("error", "status", "code", "words"),
    [
        (LinkInvalid("the link is damaged: copy it whole"), 422, "link_invalid", "copy it whole"),
        (Unreachable("no path: 2 addresses tried"), 503, "unreachable", "2 addresses"),
        (FileDamaged("/db", "not a database", "Restore it"), 500, "internal", "Restore it"),
        (OSError(28, "No space left on device"), 500, "internal", "No space left on device"),
        (RuntimeError("secret detail"), 500, "internal", "its log says more"),
    ],
)
def test_what_goes_wrong_in_the_node_becomes_an_error_body_and_the_api_goes_on(
    served: Served, error: Exception, status: int, code: str, words: str
) -> None:
    served.port.crash = error
    found, body = served.ask("POST", "/v1/contacts", {"link": LINK})
    assert (found, body["error"]["code"]) == (status, code)
    assert words in body["error"]["message"]
    assert "secret detail" not in body["error"]["message"]
    served.port.crash = None
    assert served.ask("POST", "/v1/contacts", {"link": LINK})[0] == 201


def test_readiness_follows_the_node_and_needs_no_token(served: Served) -> None:
    bare = {"authorization": ""}
    assert served.ask("GET", "/readyz", headers=bare) == (200, {"state": "ready"})
    for state in ("starting", "draining"):
        served.port.state = state
        assert served.ask("GET", "/readyz", headers=bare) == (503, {"state": state})
        assert served.ask("GET", "/livez", headers=bare) == (200, {"state": state})


def test_every_method_of_the_port_has_a_route(served: Served) -> None:
    """A method added to the port without a route makes this fail."""
    methods = {name for name in vars(NodePort) if not name.startswith("_")}
    document = served.ask("GET", "/openapi.json")[1]
    operations = {
        operation["operationId"]
        for path, item in document["paths"].items()
        if path.startswith("/v1/")
        for operation in item.values()
    }
    assert methods == operations
