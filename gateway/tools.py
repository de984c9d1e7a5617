"""Tool rules: may this agent be shown this definition, may this call be made. No I/O.

A conversation is judged by its calls in order: those in the request's history, then those of the reply. What a client
leaves out of the history it sends cannot be counted; MCP sessions are counted by the gateway itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from gateway.canonical_json import canonical_json
from gateway.policy.bundle import Policy
from gateway.policy.tools import ToolRule

DEFINITION = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What a client shows its model, hence what an approval covers (Model Context Protocol, `Tool`). The first members that
other formats have too go by the same names, so one pin holds for a tool wherever it is declared."""


MAX_REMEMBERED, MAX_REMEMBERED_BYTES = 1024, 8 << 10
"""Definitions whose hash is kept, and how large each may be: the same ones come with every request of an agent."""
_hashes: dict[bytes, str] = {}


def definition_sha256(definition: Mapping[str, Any]) -> str:
    """SHA-256 of the RFC 8785 form of the members named in `DEFINITION`; null and empty ones count as absent."""
    covered = {key: definition[key] for key in DEFINITION if definition.get(key) not in (None, "")}
    raw = orjson.dumps(covered, option=orjson.OPT_SORT_KEYS)
    known = _hashes.get(raw)
    if known is None:
        known = hashlib.sha256(canonical_json(covered)).hexdigest()
        if len(_hashes) >= MAX_REMEMBERED:
            _hashes.clear()
        if len(raw) <= MAX_REMEMBERED_BYTES:
            _hashes[raw] = known
    return known


class Decision(NamedTuple):
    """What becomes of a definition or call, and why."""

    action: str
    code: str | None = None
    detail: str | None = None
    rule_id: str | None = None
    """Of the chain."""


class Call(NamedTuple):
    """One call as it is remembered: its tool and the keyed hash of its arguments."""

    name: str
    arguments: str


_ALLOW = Decision("allow")
_UNLISTED = Decision("block", "POLICY.TOOL_DENIED")


class ToolRules:
    """The rules of one agent on one asset, and the calls of one conversation so far, oldest first."""

    def __init__(self, policy: Policy, agent_id: str, asset_id: str | None, calls: Iterable[Call] = ()) -> None:
        self._policy, self._asset_id = policy, asset_id
        self._listed = policy.tools.get(agent_id, {})
        loops = policy.tool_loops
        self.span = max([c.within_calls for c in policy.tool_chains] + [loops.within_calls if loops else 0], default=0)
        """How many calls back the rules look; 0 = none is remembered."""
        self.calls = list(calls)

    def rule(self, name: str) -> ToolRule | None:
        """The rule for this name, byte for byte; one for the asset goes before one for all."""
        found = None
        for rule in self._listed.get(name, ()):
            if rule.asset_id == self._asset_id:
                return rule
            if rule.asset_id is None:
                found = rule
        return found

    def name(self, name: str) -> Decision:
        """Of a tool that is forced, or whose result is shown: only its name is known."""
        return _UNLISTED if self.rule(name) is None else _ALLOW

    def definition(self, name: str, sha256: str) -> Decision:
        """Of a tool that is declared or listed."""
        rule = self.rule(name)
        if rule is None:
            return _UNLISTED
        if rule.definition_sha256 not in (None, sha256):
            return Decision("block", "POLICY.TOOL_CHANGED")
        return _ALLOW

    def call(self, name: str, arguments: Any, hmac: str) -> Decision:
        """Of a call with these arguments: parsed JSON, or free text for a tool that takes text.

        `hmac`: see `arguments_hmac`. A call that is let through is remembered and counts for those after it.
        """
        rule = self.rule(name)
        if rule is None:
            return _UNLISTED
        if rule.accepts is not None and not _valid(rule, {} if arguments in (None, "") else arguments):
            return Decision("block", "POLICY.TOOL_PARAMS")
        if not self.span:
            return _ALLOW
        call = Call(name, hmac)
        decision = self._loop(call) or self._chain(call) or _ALLOW
        if decision.action != "block":
            self.calls.append(call)
        return decision

    def arguments_hmac(self, arguments: Any) -> str:
        """Keyed hash that is the same for the same arguments, in whatever order their names stand."""
        raw = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS).decode()
        return self._policy.keyed_hash("tool_args", raw)

    def _loop(self, call: Call) -> Decision | None:
        loops = self._policy.tool_loops
        if loops is None:
            return None
        before = self.calls[len(self.calls) - min(len(self.calls), loops.within_calls - 1) :]
        return Decision("block", "POLICY.TOOL_LOOP") if before.count(call) >= loops.identical_calls else None

    def _chain(self, call: Call) -> Decision | None:
        """The strictest of the chains that this call completes."""
        found = None
        for chain in self._policy.tool_chains:
            if call.name in chain.then and any(c.name in chain.first for c in self.calls[-chain.within_calls :]):
                found = Decision(chain.action, "POLICY.TOOL_DENIED", "chain", chain.id)
                if chain.action == "block":
                    break
        return found


def _valid(rule: ToolRule, arguments: Any) -> bool:
    try:
        return bool(rule.accepts.is_valid(arguments))
    except ValueError:  # the arguments cannot even be read, so they satisfy nothing
        return False
