"""Errors as AWS's clients read them. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.reasons import Refusal
from gateway.wire.format import code, explain

_CODES = {
    401: "AccessDeniedException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}
_IN_STREAM = {429: "throttlingException", 503: "serviceUnavailableException"}


def error_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The error object that AWS's clients understand; says the code and never the content."""
    kind = _CODES.get(refusal.status, "ValidationException" if refusal.status < 500 else "InternalServerException")
    return {"code": kind, "message": message(refusal, request_id)}


def exception_type(refusal: Refusal) -> str:
    """The exception of a running stream; there are fewer of them."""
    return _IN_STREAM.get(refusal.status, "validationException" if refusal.status < 500 else "internalServerException")


def message(refusal: Refusal, request_id: str) -> str:
    """What an exception says; clients keep nothing else of it, so the reason code stands here."""
    return f"{explain(refusal)} [{code(refusal)}]. Request {request_id}."
