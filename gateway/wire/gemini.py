"""The Gemini API: its paths, which name the model, and how its clients show their key. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.wire.format import Api, Endpoint
from gateway.wire.gemini_errors import error_body
from gateway.wire.gemini_generate import Gemini, GeminiTokenCount


def authorize(credential: str, method: str, url: str, body: bytes) -> Mapping[str, str]:
    """`x-goog-api-key`."""
    return {"x-goog-api-key": credential}


def _endpoints() -> Iterator[Endpoint]:
    """The same paths in both versions that clients use; `base_url` says which one the provider is asked in.

    A stream that is not asked for as server-sent events would be one JSON array that grows, so it is not answered.
    """
    counted, generated, model = GeminiTokenCount(), Gemini(), "/models/{model}"
    stream = ":streamGenerateContent?alt=sse"
    for version in ("/v1", "/v1beta"):
        yield Endpoint(f"{version}{model}:countTokens", f"{model}:countTokens", counted, streamed=False)
        yield Endpoint(f"{version}{model}:generateContent", f"{model}:generateContent", generated, streamed=False)
        yield Endpoint(f"{version}{model}{stream}", f"{model}{stream}", generated, streamed=True)
        yield Endpoint(f"{version}/models", "/models", None)


API = Api(
    endpoints=tuple(_endpoints()),
    key_headers=("x-goog-api-key",),
    authorize=authorize,
    error_body=error_body,
)
