"""The OpenAI API, which many providers speak: its paths, and how its clients show their key. No I/O."""

from __future__ import annotations

from gateway.wire.format import Api, Endpoint, bearer
from gateway.wire.openai_chat import OpenAIChat
from gateway.wire.openai_embeddings import OpenAIEmbeddings
from gateway.wire.openai_errors import error_body
from gateway.wire.openai_responses import OpenAIResponses

API = Api(
    endpoints=(
        Endpoint("/v1/chat/completions", "/chat/completions", OpenAIChat()),
        Endpoint("/v1/responses", "/responses", OpenAIResponses()),
        Endpoint("/v1/embeddings", "/embeddings", OpenAIEmbeddings()),
        Endpoint("/v1/models", "/models", None),
        Endpoint("/v1/models/{model}", "/models/{model}", None),
    ),
    key_headers=("Authorization",),
    authorize=bearer,
    error_body=error_body,
)
