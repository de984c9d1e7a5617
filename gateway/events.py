"""The event record: the columns of `sql/schema/gateway_events.sql` that the gateway knows.

No field may hold client text. Names that a client chose appear only when the settings or the policy list them; all
others as a keyed hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods written as they are; any other becomes `*`, since a client may send any word."""

_IDENTITY = (
    "tenant_id",
    "request_id",
    "session_id",
    "agent_id",
    "asset_id",
    "application_id",
    "upstream_domain",
    "provider",
    "model",
    "route",
    "wire_format",
    "stream",
    "policy_version",
    "policy_epoch",
    "policy_hash",
)
"""What every event of a request repeats, so that analysts need no join."""
_PART = frozenset(
    {
        "decision",
        "reason_code",
        "reason_detail",
        "rule_id",
        "rule_version",
        "severity",
        "scope",
        "matched_in",
        "layer",
        "location",
        "view",
        "match_offset",
        "match_length",
        "match_hmac",
        "match_count",
        "shadow",
        "tool_id",
        "tool_def_hash",
        "tool_args_hmac",
        "call_depth",
        "tokens_in",
        "tokens_out",
        "tokens_cached",
        "usage_source",
        "cost_micro_usd",
        "reserved_micro_usd",
    }
)
"""What the other kinds of event may add."""


@dataclass(slots=True)
class Exchange:
    """What is known of one request so far; filled in as it goes through and written once.

    `decision` and `reason_*` say what the client got. Times are in microseconds, sizes in bytes, money in millionths
    of a US dollar. `retry` counts further attempts at the upstream, `call_depth` the agents a request came through.
    """

    request_id: str
    request_method: str
    path_hash: str
    tenant_id: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    asset_id: str | None = None
    application_id: str | None = None
    upstream_domain: str | None = None
    provider: str | None = None
    model: str | None = None
    route: str | None = None
    wire_format: str | None = None
    stream: bool | None = None
    http_status: int | None = None
    upstream_status: int | None = None
    decision: str = "allow"
    reason_code: str | None = None
    reason_detail: str | None = None
    rule_id: str | None = None
    rule_version: str | None = None
    severity: str | None = None
    scope: str | None = None
    retry: int | None = None
    call_depth: int | None = None
    req_bytes: int | None = None
    resp_bytes: int | None = None
    latency_us: int | None = None
    filter_us: int = 0
    upstream_us: int | None = None
    ttft_us: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    usage_source: str | None = None
    cost_micro_usd: int | None = None
    reserved_micro_usd: int | None = None
    policy_version: int | None = None
    policy_epoch: int | None = None
    policy_hash: str | None = None

    def row(self, event_kind: str) -> dict[str, Any]:
        """The record as an `open` or `exchange` event; what is not known is left out."""
        return {"event_kind": event_kind, **self._known(_EXCHANGE, _exchange_values)}

    def part(self, event_kind: str, **columns: Any) -> dict[str, Any]:
        """A `match`, `tool` or `budget` event of this request: its identity plus `columns`.

        Raises TypeError for a column that the table lacks: the lake would refuse the whole segment later.
        """
        if unknown := columns.keys() - _PART:
            raise TypeError(f"a {event_kind} event has no {', '.join(sorted(unknown))}")
        return {"event_kind": event_kind, **self._known(_IDENTITY, _identity_values), **columns}

    def _known(self, names: tuple[str, ...], values: Callable[[Exchange], tuple[Any, ...]]) -> dict[str, Any]:
        return {name: value for name, value in zip(names, values(self), strict=True) if value is not None}


_EXCHANGE = tuple(f.name for f in fields(Exchange))
_exchange_values: Callable[[Exchange], tuple[Any, ...]] = attrgetter(*_EXCHANGE)
_identity_values: Callable[[Exchange], tuple[Any, ...]] = attrgetter(*_IDENTITY)
