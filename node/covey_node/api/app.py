"""The API as one ASGI application: the routes behind the guard, with health checks and the OpenAPI document.

Owns: how the parts are put together. Spec: docs/spec/api.md; docs/spec/openapi.json. Never touches: sockets.
"""

from __future__ import annotations

from typing import Any

import trio
from fastapi import FastAPI, Response

from covey_node.api.errors import install
from covey_node.api.guard import OPEN_PATHS, Guard
from covey_node.api.models import Health
from covey_node.api.routes import make_router
from covey_node.service.port import NodePort

API_VERSION = "1"  # of this interface, not of the program: it changes with the /v1 in the paths


def make_app(port: NodePort, *, shutdown: trio.Event) -> FastAPI:
    """Return the application without its guard; `shutdown` ends the event streams."""
    app = FastAPI(
        title="Covey node",
        version=API_VERSION,
        description="The local API of a Covey node. See docs/spec/api.md.",
        docs_url=None,  # the pages load scripts from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    install(app)

    @app.get("/livez", tags=["health"])
    async def livez() -> Health:
        """Answer as long as the process serves; no token needed."""
        return Health.model_validate({"state": (await port.status()).state})

    @app.get("/readyz", tags=["health"], responses={503: {"model": Health, "description": "starting or draining"}})
    async def readyz(response: Response) -> Health:
        """Answer 200 when the node can send and receive, else 503; no token needed."""
        health = Health.model_validate({"state": (await port.status()).state})
        response.status_code = 200 if health.state == "ready" else 503
        return health

    app.include_router(make_router(port, shutdown=shutdown))
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def guarded(app: FastAPI, *, token: str) -> Guard:
    """Return the application as it is served: nobody passes without the token."""
    return Guard(app, token=token)


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "the content of <home>/api.token"}
        }
        document["security"] = [{"token": []}]
        for path in OPEN_PATHS:
            document["paths"][path]["get"]["security"] = []
        app.openapi_schema = document
    return app.openapi_schema
