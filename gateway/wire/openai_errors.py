"""Errors as OpenAI's clients read them. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.reasons import Refusal
from gateway.wire.format import code, explain


def error_body(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The error object that OpenAI clients understand; says the code and never the content."""
    if refusal.code.startswith(("DLP.", "POLICY.TOOL")):
        kind = "policy_violation"
    elif refusal.code.startswith("POLICY.BUDGET"):
        kind = "insufficient_quota"
    elif refusal.code == "POLICY.RATE":
        kind = "requests"
    else:
        kind = "invalid_request_error" if refusal.status < 500 else "gateway_error"
    message = f"{explain(refusal)}. Request {request_id}."
    return {"error": {"message": message, "type": kind, "param": refusal.scope, "code": code(refusal)}}
