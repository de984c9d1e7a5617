"""The Anthropic API: its paths, and how its clients show their key. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.wire.anthropic_errors import error_body
from gateway.wire.anthropic_messages import AnthropicMessages, AnthropicTokenCount
from gateway.wire.format import Api, Endpoint


def authorize(credential: str, method: str, url: str, body: bytes) -> Mapping[str, str]:
    """`x-api-key`."""
    return {"x-api-key": credential}


API = Api(
    endpoints=(
        Endpoint("/v1/messages/count_tokens", "/messages/count_tokens", AnthropicTokenCount()),
        Endpoint("/v1/messages", "/messages", AnthropicMessages()),
        Endpoint("/v1/models", "/models", None),
    ),
    key_headers=("x-api-key", "Authorization"),
    authorize=authorize,
    error_body=error_body,
    client_headers=frozenset(("anthropic-version", "anthropic-beta")),
)
