"""The committed OpenAPI document is what the code serves, and is what clients need.

Write it anew with: python -m tests.node.api.test_openapi
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio

from covey_node.api.app import make_app
from tests.node.api.fake_port import FakePort
from tests.node.api.serving import Served

SNAPSHOT = Path(__file__).resolve().parents[3] / "docs" / "spec" / "openapi.json"


def made() -> dict[str, Any]:
    return make_app(FakePort(), shutdown=trio.Event()).openapi()


def test_the_committed_document_is_the_one_that_the_code_makes() -> None:
    assert json.loads(SNAPSHOT.read_text()) == json.loads(json.dumps(made())), "python -m tests.node.api.test_openapi"


def test_the_served_document_is_the_committed_one(served: Served) -> None:
    assert served.ask("GET", "/openapi.json") == (200, json.loads(SNAPSHOT.read_text()))


def test_every_error_is_described_with_its_body() -> None:
    for path, item in made()["paths"].items():
        for operation in item.values():
            failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            if path.startswith("/v1/"):
                assert {"401", "403", "422", "500"} <= failures.keys(), path
                for answer in failures.values():
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorBody"}, path


def test_all_routes_ask_for_the_token_but_the_health_checks() -> None:
    document = made()
    assert document["security"] == [{"token": []}]
    bare = {
        path
        for path, item in document["paths"].items()
        if [operation for operation in item.values() if operation.get("security") == []]
    }
    assert bare == {"/livez", "/readyz"}


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(made(), indent=2) + "\n")
