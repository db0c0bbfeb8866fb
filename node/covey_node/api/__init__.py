"""The node's local HTTP API: what the command line, a bot or a web page talks to. Spec: docs/spec/api.md."""

from covey_node.api.server import serve_api

__all__ = ["serve_api"]
