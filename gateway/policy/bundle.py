"""The policy bundle `aispm.policy/1`: signature first, then a strict reading. No I/O, no HTTP."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.pattern_files import Pattern
from gateway.policy.actions import ACTIONS, CATEGORIES, Actions
from gateway.policy.budgets import Budget, Prices, check_sections, read_budgets, read_prices, read_rates
from gateway.policy.custom_patterns import read_custom_patterns
from gateway.policy.egress import Egress, read_egress
from gateway.policy.injection import DEFAULT as INJECTION_DEFAULT
from gateway.policy.injection import read_injection
from gateway.policy.reading import (
    IDENTIFIER,
    check_keys,
    format_time,
    parse_object,
    read_bool,
    read_choice,
    read_integer,
    read_list,
    read_object,
    read_text,
    read_time,
    refuse,
)
from gateway.policy.refused import PolicyError
from gateway.policy.tools import (
    ToolChain,
    ToolLoops,
    Tools,
    check_chains,
    read_server_requests,
    read_tool_chains,
    read_tool_loops,
    read_tools,
)
from gateway.policy.trust import BUNDLE, KeyPair, new_keypair, parse_signatures, sign, verify_threshold

__all__ = [
    "ACTIONS",
    "CATEGORIES",
    "Actions",
    "Agent",
    "KeyPair",
    "Policy",
    "compose_bundle",
    "hash_agent_key",
    "new_hash_key",
    "new_keypair",
    "parse_bundle",
    "sign_bundle",
    "verify_bundle",
]

SCHEMA = "aispm.policy/1"
MAX_BYTES = 1 << 20
"""Of a bundle, in bytes: 1 MiB holds some 5,000 agents; anything larger is refused before it is hashed."""

_HEX_256 = re.compile("[0-9a-f]{64}")
_PATTERN_ID = re.compile(r"[a-z0-9_]{1,64}")

_REQUIRED = {
    "schema",
    "tenant",
    "audience",
    "epoch",
    "root_version",
    "version",
    "issued",
    "expires",
    "hash_key",
    "defaults",
    "rules",
    "tools",
    "agents",
}
SECTIONS: dict[str, Callable[[Any, frozenset[str]], Any]] = {
    "custom_patterns": read_custom_patterns,
    "egress": read_egress,
    "injection": read_injection,
    "tool_chains": read_tool_chains,
    "tool_loops": read_tool_loops,
    "mcp_server_requests": read_server_requests,
    "budgets": read_budgets,
    "rates": read_rates,
    "prices": read_prices,
}
"""Optional parts of a bundle: name -> reader, which gets the JSON value and the agents' ids, raises PolicyError
by the helpers of `reading.py`, and returns what becomes the field of that name of `Policy`. One module each."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A client that may use the gateway; known by the keyed hash of its bearer key only."""

    id: str
    key_hash: str
    asset_id: str | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """A verified bundle. Only `verify_bundle` should make one."""

    tenant: str
    audience: tuple[str, ...]
    epoch: int
    """Of the root that it was made under."""
    root_version: int
    """The root that it was made under; a gateway must know it, or a newer one of the same epoch."""
    version: int
    """Rises within an epoch."""
    issued: datetime
    expires: datetime
    hash_key: bytes
    """Keys the hashes of agent keys, unlisted tool names and paths: different per tenant, so not comparable across."""
    rules: Mapping[str, Actions]
    """pattern id -> actions; overrides `defaults`."""
    defaults: Mapping[str, Actions]
    """category -> actions; overrides the pattern's own."""
    tools: Tools
    agents: tuple[Agent, ...]
    sha256: str
    """Of the raw bundle."""
    key_id: str
    custom_patterns: tuple[Pattern, ...] = ()
    egress: Egress | None = None
    """None = addresses may lead anywhere."""
    injection: Mapping[str, str] = field(default_factory=lambda: INJECTION_DEFAULT)
    """kind of `gateway.policy.injection.KINDS` -> action."""
    tool_chains: tuple[ToolChain, ...] = ()
    tool_loops: ToolLoops | None = None
    mcp_server_requests: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """agent id -> methods that MCP servers may ask of it; none for an agent not listed."""
    budgets: tuple[Budget, ...] = ()
    rates: Mapping[str, int] = field(default_factory=dict)
    """agent id -> requests per minute; `*` = every other agent, each its own."""
    prices: Prices | None = None

    def actions(self, pattern_id: str, category: str, fallback: Actions) -> Actions:
        """The rule for the pattern, else the default of its category, else what the pattern itself proposes."""
        return self.rules.get(pattern_id) or self.defaults.get(category) or fallback

    def check_audience(self, gateway_id: str) -> None:
        """Raises PolicyError when the bundle was written for other gateways."""
        if gateway_id not in self.audience:
            raise PolicyError("audience", f"policy version {self.version} is not meant for gateway {gateway_id!r}")

    def knows(self, agent: Agent | None) -> bool:
        """Whether this very agent, with this key, may use the gateway."""
        return agent is not None and any(
            (a.id, a.key_hash, a.revoked) == (agent.id, agent.key_hash, False) for a in self.agents
        )

    def expired(self, now: datetime) -> bool:
        """Whether the bundle may no longer be used at `now` (timezone-aware)."""
        return now >= self.expires

    def keyed_hash(self, kind: str, text: str) -> str:
        """A name for client text that must not be stored: `h:` and 24 hex digits, stable within the tenant."""
        h = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), key=self.hash_key, digest_size=12, person=kind.encode()[:16]
        )
        return f"h:{h.hexdigest()}"


def new_hash_key() -> str:
    """A fresh `hash_key` for a tenant: 64 hex digits. Keep it across versions, or all agent keys must be re-hashed."""
    return secrets.token_hex(32)


def hash_agent_key(hash_key: str, agent_key: str) -> str:
    """The `key_hash` of an agent: BLAKE2b-256 of its bearer key, keyed with the tenant's `hash_key` (RFC 7693)."""
    return _hash_agent_key(bytes.fromhex(hash_key), agent_key)


def _hash_agent_key(hash_key: bytes, agent_key: str) -> str:
    raw = agent_key.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(raw, key=hash_key, digest_size=32, person=b"aispm-agent").hexdigest()


def find_agent(policy: Policy, agent_key: str) -> Agent | None:
    """The agent whose key this is and that is not revoked.

    Every entry is compared, in constant time each, so that the time taken tells nothing about how close a guess was.
    """
    wanted = _hash_agent_key(policy.hash_key, agent_key)
    found: Agent | None = None
    for agent in policy.agents:
        if secrets.compare_digest(agent.key_hash, wanted):
            found = agent
    return None if found is None or found.revoked else found


def compose_bundle(
    *,
    tenant: str,
    audience: Sequence[str],
    version: int,
    issued: datetime,
    expires: datetime,
    hash_key: str,
    agents: Sequence[Mapping[str, Any]],
    epoch: int = 1,
    root_version: int = 1,
    tools: Mapping[str, Sequence[Any]] | None = None,
    rules: Mapping[str, Mapping[str, str]] | None = None,
    defaults: Mapping[str, Mapping[str, str]] | None = None,
    **sections: Any,
) -> bytes:
    """The bytes to sign. Times are timezone-aware and kept to the second. `sections` are the optional ones of
    `SECTIONS`, as JSON values; those that are None are left out. Raises PolicyError on invalid content, so that
    nothing is signed that every gateway would refuse."""
    document = {
        "schema": SCHEMA,
        "tenant": tenant,
        "audience": list(audience),
        "epoch": epoch,
        "root_version": root_version,
        "version": version,
        "issued": format_time(issued),
        "expires": format_time(expires),
        "hash_key": hash_key,
        "defaults": {k: dict(v) for k, v in (defaults or {}).items()},
        "rules": {k: dict(v) for k, v in (rules or {}).items()},
        "tools": {k: list(v) for k, v in (tools or {}).items()},
        "agents": [dict(a) for a in agents],
        **{name: value for name, value in sections.items() if value is not None},
    }
    raw = (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
    parse_bundle(raw)
    return raw


def sign_bundle(raw: bytes, key: bytes) -> bytes:
    """The content of `policy.json.sig` for `raw`, made with the 32-byte private key."""
    return sign(BUNDLE, raw, key)


def verify_bundle(raw: bytes, sig: bytes, public_keys: Iterable[bytes]) -> Policy:
    """The policy in `raw`, if one of `public_keys`, and nobody else, signed exactly these bytes.

    Order: size, signature, parsing; nothing unsigned ever reaches the parser. What depends on place and time is the
    caller's (`gateway.policy.chain`). Raises PolicyError.
    """
    _check_size(raw)
    signatures = parse_signatures(sig)
    if len(signatures) > 1:
        raise PolicyError("signature", "a policy carries the signature of one key")
    (signer,) = verify_threshold(BUNDLE, raw, signatures, public_keys, 1)
    return parse_bundle(raw, signer)


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_BYTES:
        raise PolicyError("size", f"the policy bundle has more than {MAX_BYTES} bytes")


def parse_bundle(raw: bytes, signer: str = "unsigned") -> Policy:
    """The content alone, without any signature; gateways use `verify_bundle`. Raises PolicyError."""
    _check_size(raw)
    data = parse_object(raw)
    if data.get("schema") != SCHEMA:
        refuse(f"unknown schema; this gateway reads {SCHEMA}")
    check_keys(data, _REQUIRED, set(SECTIONS), "bundle")
    issued, expires = read_time(data["issued"], "issued"), read_time(data["expires"], "expires")
    if expires <= issued:
        refuse("`expires` is not after `issued`")
    agents = tuple(_agent(a) for a in read_list(data["agents"], "agents"))
    for what in ("id", "key_hash"):
        if len({getattr(a, what) for a in agents}) != len(agents):
            refuse(f"two agents share one `{what}`")
    agent_ids = frozenset(a.id for a in agents)
    defaults = {k: _actions(v, "defaults") for k, v in read_object(data["defaults"], "defaults").items()}
    if unknown := set(defaults) - set(CATEGORIES):
        refuse(f"`defaults` has unknown categories; known are {', '.join(CATEGORIES)} ({len(unknown)} unknown)")
    rules = {
        read_text(k, _PATTERN_ID, "rules"): _actions(v, "rules") for k, v in read_object(data["rules"], "rules").items()
    }
    policy = Policy(
        tenant=read_text(data["tenant"], IDENTIFIER, "tenant"),
        audience=tuple(read_text(a, IDENTIFIER, "audience") for a in read_list(data["audience"], "audience")),
        epoch=read_integer(data["epoch"], "epoch", 1),
        root_version=read_integer(data["root_version"], "root_version", 1),
        version=read_integer(data["version"], "version", 1),
        issued=issued,
        expires=expires,
        hash_key=bytes.fromhex(read_text(data["hash_key"], _HEX_256, "hash_key")),
        rules=rules,
        defaults=defaults,
        tools=read_tools(data["tools"], agent_ids),
        agents=agents,
        sha256=hashlib.sha256(raw).hexdigest(),
        key_id=signer,
        **{name: read(data[name], agent_ids) for name, read in SECTIONS.items() if name in data},
    )
    check_sections(policy.budgets, policy.prices)
    check_chains(policy.tool_chains, policy.tools)
    return policy


def _agent(value: Any) -> Agent:
    entry = read_object(value, "agents[]")
    check_keys(entry, {"id", "key_hash"}, {"asset_id", "revoked"}, "agents[]")
    asset_id = entry.get("asset_id")
    return Agent(
        id=read_text(entry["id"], IDENTIFIER, "agents[].id"),
        key_hash=read_text(entry["key_hash"], _HEX_256, "agents[].key_hash"),
        asset_id=None if asset_id is None else read_text(asset_id, IDENTIFIER, "agents[].asset_id"),
        revoked=read_bool(entry.get("revoked", False), "agents[].revoked"),
    )


def _actions(value: Any, where: str) -> Actions:
    entry = read_object(value, where)
    check_keys(entry, {"request", "response"}, set(), where)
    return Actions(*(read_choice(entry[scope], ACTIONS, where) for scope in ("request", "response")))
