"""Errors as Google's clients read them (google.rpc.Status with an ErrorInfo). No I/O."""

from __future__ import annotations

from typing import Any

from gateway.reasons import Refusal
from gateway.wire.format import code, explain

_STATUS = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The error object that Google's clients understand; says the code and never the content."""
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code(refusal), "domain": "aispm"}
    return {
        "error": {
            "code": refusal.status,
            "message": f"{explain(refusal)}. Request {request_id}.",
            "status": _STATUS.get(refusal.status, "INVALID_ARGUMENT" if refusal.status < 500 else "INTERNAL"),
            "details": [reason],
        }
    }
