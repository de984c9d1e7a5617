"""Errors as Anthropic's clients read them. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.reasons import Refusal
from gateway.wire.format import code, explain

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The error object that Anthropic's clients understand; says the code and never the content."""
    kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": explain(refusal), "details": {"error_code": code(refusal)}},
        "request_id": request_id,
    }
