"""The Anthropic API: its paths, and how its clients show their key. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.wire.anthropic_errors import error_body
from gateway.wire.anthropic_messages import AnthropicMessages, AnthropicTokenCount
from gateway.wire.format import Api, Endpoint


def authorize(credential: str, method: str, url: str, body: bytes) -> Mapping[str, str]:
    """`x-api-key`."""
    return {"x-api-key": credential}


def _endpoints() -> Iterator[Endpoint]:
    """Many clients mark calls that use a beta feature in the query, beside the header `anthropic-beta`."""
    counted, answered = AnthropicTokenCount(), AnthropicMessages()
    for query in ("", "?beta=true"):
        yield Endpoint(f"/v1/messages/count_tokens{query}", f"/messages/count_tokens{query}", counted)
        yield Endpoint(f"/v1/messages{query}", f"/messages{query}", answered)
    yield Endpoint("/v1/models", "/models", None)


API = Api(
    endpoints=tuple(_endpoints()),
    key_headers=("x-api-key", "Authorization"),
    authorize=authorize,
    error_body=error_body,
    client_headers=frozenset(("anthropic-version", "anthropic-beta")),
)
