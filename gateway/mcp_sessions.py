"""MCP sessions as clients name them: the server's id and a seal that binds it to one agent on one route. No I/O.

Nothing is remembered: every worker, and the next boot, reads the same seal.
"""

from __future__ import annotations

import secrets

from gateway.policy.bundle import Policy
from gateway.reasons import Refusal
from gateway.wire.mcp_sse import EVENT_ID


def seal(policy: Policy, route: str, agent_id: str, session_id: str) -> str:
    """What the client is given for the server's `session_id`. Raises Refusal when that is no session id."""
    if not EVENT_ID.fullmatch(session_id):
        raise Refusal("WIRE.MALFORMED", "upstream", "response")
    return f"{session_id}.{_mark(policy, route, agent_id, session_id)}"


def unseal(policy: Policy, route: str, agent_id: str, shown: str) -> str:
    """The server's id behind what a client shows. Raises Refusal when another agent or route was given it, or none."""
    session_id, _, mark = shown.rpartition(".")
    if not mark.isascii() or not EVENT_ID.fullmatch(session_id):
        raise Refusal("POLICY.ROUTE", "session")
    if not secrets.compare_digest(mark, _mark(policy, route, agent_id, session_id)):
        raise Refusal("POLICY.ROUTE", "session")
    return session_id


def _mark(policy: Policy, route: str, agent_id: str, session_id: str) -> str:
    return policy.keyed_hash("mcp-session", f"{route}\0{agent_id}\0{session_id}").removeprefix("h:")
