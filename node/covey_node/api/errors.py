"""What the API answers when it cannot do what was asked: `{"error": {"code", "message"}}`.

Owns: the error codes and how the node's refusals become them. Spec: docs/spec/api.md, section 4.
Never touches: sockets, the routes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from covey_core.errors import CoveyError, LinkInvalid, Unreachable
from covey_core.logs import get_logger
from covey_node.service.port import NotFound, Refused

log = get_logger("api")


class ErrorCode(StrEnum):
    """What went wrong, for programs; the message beside it is for people."""

    UNAUTHORIZED = "unauthorized"  # 401: no or a wrong token
    FORBIDDEN = "forbidden"  # 403: Host or Origin of another site
    NOT_FOUND = "not_found"  # 404: no such contact, message, invite or route
    METHOD = "method"  # 405
    BODY_TIMEOUT = "body_timeout"  # 408: the request's body did not come
    REFUSED = "refused"  # 409: the node will not do that now
    TOO_LARGE = "too_large"  # 413: the request's body
    INVALID = "invalid"  # 422: a value of the request
    LINK_INVALID = "link_invalid"  # 422: a damaged or foreign covey: link
    INTERNAL = "internal"  # 500: our mistake or the machine's (a full disk, say)
    UNREACHABLE = "unreachable"  # 503: no path to the contact


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: ErrorCode
    message: str = Field(description="one sentence for people: what is wrong and what to do")


class ErrorBody(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorDetail


STATUS_OF = {
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD: 405,
    ErrorCode.BODY_TIMEOUT: 408,
    ErrorCode.REFUSED: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.INVALID: 422,
    ErrorCode.LINK_INVALID: 422,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNREACHABLE: 503,
}


def responses(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for the OpenAPI document, those that every route may give included."""
    always = (ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN, ErrorCode.INVALID, ErrorCode.INTERNAL)
    found: dict[int | str, list[str]] = {}
    for code in (*always, *codes):
        found.setdefault(STATUS_OF[code], []).append(code.value)
    return {
        status: {"model": ErrorBody, "description": "error code: " + " or ".join(f"`{name}`" for name in names)}
        for status, names in sorted(found.items(), key=lambda item: int(item[0]))
    }


def answer(code: ErrorCode, message: str) -> JSONResponse:
    """Return the error as a response."""
    headers = {"www-authenticate": "Bearer"} if code is ErrorCode.UNAUTHORIZED else None
    body = {"error": {"code": code.value, "message": message}}
    return JSONResponse(body, status_code=STATUS_OF[code], headers=headers)


def install(app: FastAPI) -> None:
    """Make every refusal, mistake and crash of a route an answer with an error body."""

    @app.exception_handler(NotFound)
    async def not_found(_: Request, exc: NotFound) -> JSONResponse:
        return answer(ErrorCode.NOT_FOUND, str(exc))

    @app.exception_handler(Refused)
    async def refused(_: Request, exc: Refused) -> JSONResponse:
        return answer(ErrorCode.REFUSED, str(exc))

    @app.exception_handler(CoveyError)
    async def ours(_: Request, exc: CoveyError) -> JSONResponse:
        if isinstance(exc, LinkInvalid):
            return answer(ErrorCode.LINK_INVALID, str(exc))
        if isinstance(exc, Unreachable):
            return answer(ErrorCode.UNREACHABLE, str(exc))
        log.error("api.request.failed", error=type(exc).__name__)
        return answer(ErrorCode.INTERNAL, str(exc))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, exc: RequestValidationError) -> JSONResponse:
        return answer(ErrorCode.INVALID, "; ".join(_complaint(error) for error in exc.errors()))

    @app.exception_handler(HTTPException)
    async def http(_: Request, exc: HTTPException) -> JSONResponse:
        if exc.status_code == STATUS_OF[ErrorCode.METHOD]:
            return answer(ErrorCode.METHOD, "this path does not take that method; see /openapi.json")
        if exc.status_code == STATUS_OF[ErrorCode.NOT_FOUND]:
            return answer(ErrorCode.NOT_FOUND, "no such path; see /openapi.json")
        return answer(ErrorCode.INVALID, str(exc.detail))

    @app.exception_handler(Exception)
    async def crashed(_: Request, exc: Exception) -> JSONResponse:
        cause = f": {exc.strerror}" if isinstance(exc, OSError) and exc.strerror else ""
        return answer(ErrorCode.INTERNAL, f"the node could not do that{cause}; its log says more")


def _complaint(error: Any) -> str:
    place = [str(part) for part in error.get("loc", ()) if part not in {"body", "query", "path"}]
    bounds = error.get("ctx", {})
    words = {
        "missing": "is missing",
        "extra_forbidden": "is not known here",
        "string_too_short": "must not be empty",
        "greater_than": f"must be more than {bounds.get('gt')}",
        "greater_than_equal": f"must be {bounds.get('ge')} or more",
        "less_than_equal": f"must be {bounds.get('le')} or less",
    }
    said = words.get(str(error.get("type")), str(error.get("msg", "is invalid")).removeprefix("Value error, "))
    return f"{'.'.join(place) or 'the request'}: {said}"
