"""The event record: the columns of `sql/schema/gateway_events.sql` that the gateway knows.

No field may hold client text. Names that a client chose appear only when the settings or the policy list them; all
others as a keyed hash.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods written as they are; any other becomes `*`, since a client may send any word."""


@dataclass(slots=True)
class Exchange:
    """What is known of one request so far; filled in as it goes through and written once.

    `decision` and `reason_*` say what the client got. Times are in microseconds, sizes in bytes.
    """

    request_id: str
    request_method: str
    path_hash: str
    agent_id: str | None = None
    asset_id: str | None = None
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
    scope: str | None = None
    req_bytes: int | None = None
    resp_bytes: int | None = None
    latency_us: int | None = None
    filter_us: int = 0
    upstream_us: int | None = None
    ttft_us: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    policy_version: int | None = None
    policy_hash: str | None = None

    def row(self, event_kind: str) -> dict[str, Any]:
        """The record as an `open` or `exchange` event."""
        return {"event_kind": event_kind, **{f.name: getattr(self, f.name) for f in fields(self)}}

    def part(self, event_kind: str, **columns: Any) -> dict[str, Any]:
        """A `match` or `tool` event of this request: its identity plus `columns`."""
        shared = (
            "request_id",
            "agent_id",
            "asset_id",
            "route",
            "wire_format",
            "model",
            "stream",
            "policy_version",
            "policy_hash",
        )
        return {"event_kind": event_kind, **{name: getattr(self, name) for name in shared}, **columns}
