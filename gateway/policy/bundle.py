"""The policy bundle `aispm.policy/1`: signature first, then a strict reading. No I/O, no HTTP."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from gateway.errors import VerificationError
from gateway.policy import trust
from gateway.policy.trust import KeyPair, new_keypair

__all__ = [
    "Actions",
    "Agent",
    "KeyPair",
    "Policy",
    "compose_bundle",
    "hash_agent_key",
    "new_hash_key",
    "new_keypair",
    "sign_bundle",
    "verify_bundle",
]

SCHEMA = "aispm.policy/1"
MAX_BYTES = 1 << 20
"""Of a bundle, in bytes: 1 MiB holds some 5,000 agents; anything larger is refused before it is hashed."""
ACTIONS = ("allow", "flag", "redact", "block")
"""From weakest to strongest."""
CATEGORIES = ("credentials", "api_keys", "secrets", "pii", "payment_cards")

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
_PATTERN_ID = re.compile(r"[a-z0-9_]{1,64}")
_TOOL = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True, slots=True)
class Actions:
    """What happens to a hit, by where it was seen."""

    request: str
    response: str


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
    version: int
    issued: datetime
    expires: datetime
    hash_key: bytes
    """Keys the hashes of agent keys, unlisted tool names and paths: different per tenant, so not comparable across."""
    rules: Mapping[str, Actions]
    """pattern id -> actions; overrides `defaults`."""
    defaults: Mapping[str, Actions]
    """category -> actions; overrides the pattern's own."""
    tools: Mapping[str, frozenset[str]]
    """agent id -> tool names it may define, force, call and be told to call. An agent not listed has none."""
    agents: tuple[Agent, ...]
    sha256: str
    """Of the raw bundle."""
    key_id: str

    def actions(self, pattern_id: str, category: str, fallback: Actions) -> Actions:
        """The rule for the pattern, else the default of its category, else what the pattern itself proposes."""
        return self.rules.get(pattern_id) or self.defaults.get(category) or fallback

    def check_audience(self, gateway_id: str) -> None:
        """Raises VerificationError when the bundle was written for other gateways."""
        if gateway_id not in self.audience:
            raise VerificationError(f"policy version {self.version} is not meant for gateway {gateway_id!r}")

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
    tools: Mapping[str, Sequence[str]] | None = None,
    rules: Mapping[str, Mapping[str, str]] | None = None,
    defaults: Mapping[str, Mapping[str, str]] | None = None,
) -> bytes:
    """The bytes to sign. Times are timezone-aware and kept to the second. Raises VerificationError on invalid content,
    so that nothing is signed that every gateway would refuse."""
    document = {
        "schema": SCHEMA,
        "tenant": tenant,
        "audience": list(audience),
        "version": version,
        "issued": _format_time(issued),
        "expires": _format_time(expires),
        "hash_key": hash_key,
        "defaults": {k: dict(v) for k, v in (defaults or {}).items()},
        "rules": {k: dict(v) for k, v in (rules or {}).items()},
        "tools": {k: sorted(v) for k, v in (tools or {}).items()},
        "agents": [dict(a) for a in agents],
    }
    raw = (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
    _parse(raw, "unsigned")
    return raw


def sign_bundle(raw: bytes, key: bytes) -> bytes:
    """The content of `policy.json.sig` for `raw`, made with the 32-byte private key."""
    return trust.sign(raw, key)


def verify_bundle(raw: bytes, sig: bytes, public_keys: Iterable[bytes]) -> Policy:
    """The policy in `raw`, if one of `public_keys` signed exactly these bytes.

    Order: size, signature, parsing; nothing unsigned ever reaches the parser. Expiry, audience and rollback depend on
    place and time; the caller checks them (`Policy.expired`, `Policy.check_audience`, `gateway.policy.files`).
    Raises VerificationError.
    """
    if len(raw) > MAX_BYTES:
        raise VerificationError(f"the policy bundle has {len(raw)} bytes; at most {MAX_BYTES} are accepted")
    signer = trust.verify(raw, sig, public_keys)
    return _parse(raw, signer)


def _refuse(why: str) -> NoReturn:
    raise VerificationError(f"policy bundle refused: {why}")


def _parse(raw: bytes, signer: str) -> Policy:
    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        _refuse(f"not plain JSON in UTF-8 ({e.__class__.__name__})")
    if not isinstance(data, dict):
        _refuse("not an object")
    if data.get("schema") != SCHEMA:
        _refuse(f"unknown schema; this gateway reads {SCHEMA}")
    _keys(
        data,
        {
            "schema",
            "tenant",
            "audience",
            "version",
            "issued",
            "expires",
            "hash_key",
            "defaults",
            "rules",
            "tools",
            "agents",
        },
        set(),
        "bundle",
    )
    audience = tuple(_text(a, _IDENTIFIER, "audience") for a in _list(data["audience"], "audience"))
    version = data["version"]
    if type(version) is not int or not 1 <= version < 1 << 53:
        _refuse("`version` must be a whole number from 1")
    issued, expires = _time(data["issued"], "issued"), _time(data["expires"], "expires")
    if expires <= issued:
        _refuse("`expires` is not after `issued`")
    agents = tuple(_agent(a) for a in _list(data["agents"], "agents"))
    for what in ("id", "key_hash"):
        if len({getattr(a, what) for a in agents}) != len(agents):
            _refuse(f"two agents share one `{what}`")
    tools: dict[str, frozenset[str]] = {}
    for agent_id, names in _object(data["tools"], "tools").items():
        if agent_id not in {a.id for a in agents}:
            _refuse("`tools` names an agent that is not in `agents`")
        tools[agent_id] = frozenset(_text(n, _TOOL, "tools") for n in _list(names, "tools"))
    defaults = {k: _actions(v, "defaults") for k, v in _object(data["defaults"], "defaults").items()}
    if unknown := set(defaults) - set(CATEGORIES):
        _refuse(f"`defaults` has unknown categories; known are {', '.join(CATEGORIES)} ({len(unknown)} unknown)")
    rules = {_text(k, _PATTERN_ID, "rules"): _actions(v, "rules") for k, v in _object(data["rules"], "rules").items()}
    return Policy(
        tenant=_text(data["tenant"], _IDENTIFIER, "tenant"),
        audience=audience,
        version=version,
        issued=issued,
        expires=expires,
        hash_key=bytes.fromhex(_text(data["hash_key"], re.compile("[0-9a-f]{64}"), "hash_key")),
        rules=rules,
        defaults=defaults,
        tools=tools,
        agents=agents,
        sha256=hashlib.sha256(raw).hexdigest(),
        key_id=signer,
    )


def _agent(value: Any) -> Agent:
    entry = _object(value, "agents[]")
    _keys(entry, {"id", "key_hash"}, {"asset_id", "revoked"}, "agents[]")
    revoked = entry.get("revoked", False)
    if not isinstance(revoked, bool):
        _refuse("`revoked` must be true or false")
    asset_id = entry.get("asset_id")
    return Agent(
        id=_text(entry["id"], _IDENTIFIER, "agents[].id"),
        key_hash=_text(entry["key_hash"], re.compile("[0-9a-f]{64}"), "agents[].key_hash"),
        asset_id=None if asset_id is None else _text(asset_id, _IDENTIFIER, "agents[].asset_id"),
        revoked=revoked,
    )


def _actions(value: Any, where: str) -> Actions:
    entry = _object(value, where)
    _keys(entry, {"request", "response"}, set(), where)
    for action in entry.values():
        if action not in ACTIONS:
            _refuse(f"`{where}` has an unknown action; known are {', '.join(ACTIONS)}")
    return Actions(entry["request"], entry["response"])


def _keys(data: Mapping[str, Any], required: set[str], optional: set[str], where: str) -> None:
    if missing := required - set(data):
        _refuse(f"{where} lacks `{sorted(missing)[0]}`")
    if set(data) - required - optional:
        # A field this version does not know could be a restriction; ignoring it would weaken the policy.
        _refuse(f"{where} has fields this gateway does not know")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"`{where}` must be an object")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(f"`{where}` must be a list")
    return value


def _text(value: Any, form: re.Pattern[str], where: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        _refuse(f"`{where}` holds a value of the wrong form")
    return value


def _time(value: Any, where: str) -> datetime:
    text = _text(value, _TIME, where)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        _refuse(f"`{where}` is no date")


def _format_time(value: datetime) -> str:
    if value.tzinfo is None or value.utcoffset():
        raise VerificationError("policy times must be in UTC")
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")
