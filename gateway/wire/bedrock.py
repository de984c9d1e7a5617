"""The Bedrock runtime API: its paths, which name the model, and how its clients show their key. No I/O."""

from __future__ import annotations

from gateway.wire.bedrock_converse import BedrockConverse
from gateway.wire.bedrock_errors import error_body
from gateway.wire.format import Api, Endpoint, bearer

_MODELS = r"(?!\S*(?::|%3A)prompt%2F)[A-Za-z0-9](?:[A-Za-z0-9._:-]|%3A|%2F){0,511}"
"""Names and ARNs as AWS's clients write them into a path. A stored prompt is none: its text is not in the request."""
_CONVERSE = BedrockConverse()

API = Api(
    endpoints=(
        Endpoint("/model/{model}/converse", "/model/{model}/converse", _CONVERSE, False, _MODELS),
        Endpoint("/model/{model}/converse-stream", "/model/{model}/converse-stream", _CONVERSE, True, _MODELS),
    ),
    key_headers=("Authorization",),
    authorize=bearer,
    error_body=error_body,
    reply_headers=frozenset(("x-amzn-errortype",)),  # the only place where AWS names an error
)
