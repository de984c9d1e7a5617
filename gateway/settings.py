"""Settings of one gateway, from `gateway.toml`. Every limit has a unit and a reason. Secrets are references only."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from gateway.addresses import check_address, is_loopback, literal_address
from gateway.errors import ConfigError
from gateway.wire import APIS


@dataclass(frozen=True, slots=True)
class Listen:
    host: str = "127.0.0.1"
    """Beyond loopback only with TLS: agent keys and prompts would otherwise cross the network in the clear."""
    port: int = 8443
    """0 = any free port; the line printed at the start says which."""
    tls_cert: Path | None = None
    """PEM, the server's certificate and its chain; read again on SIGHUP. TLS 1.2 is the oldest version spoken."""
    tls_key: Path | None = None
    """PEM, not encrypted."""
    workers: int = 1
    """Processes that share the port, one per core: one process filters on one core."""


@dataclass(frozen=True, slots=True)
class Metrics:
    port: int
    """On 127.0.0.1, for Prometheus and health probes; worker n answers on port + n. 0 = any free port."""


@dataclass(frozen=True, slots=True)
class PolicySource:
    root: Path
    """The root installed with this gateway (`root.<version>.json`, its signatures beside it as `<root>.sig`). Whoever
    holds its keys decides who writes policy here. Newer roots follow from it and need no change of this setting."""
    file: Path | None = None
    """The policy; its signature lies beside it as `<file>.sig`, newer roots as `root.<version>.json`."""
    url: str | None = None
    """Of a policy server, instead of `file`. Plain http on loopback only."""
    credential: str | None = None
    """Reference to the token that the policy server asks for."""
    ca: Path | None = None
    """PEM, the authority behind the policy server's certificate; unset = the public ones."""
    on_stale: str = "keep"
    """What becomes of the policy accepted last when the newest one is refused, or, with `url`, when none was confirmed
    for `max_stale_s`: `keep` it until it expires, or `deny` every request (503). With `keep` an attacker or an outage
    between server and gateway delays a revocation until the policy's expiry; with `deny` it stops the traffic."""
    max_stale_s: float = 900.0
    """Seconds without a usable answer of the policy server before the policy counts as stale: long enough to restart
    the server, short enough that an operator hears of it the same hour. Polls are held for a third of it at most."""


@dataclass(frozen=True, slots=True)
class Spool:
    folder: Path
    """Where log segments and the memory of the newest policy version lie. Must survive restarts."""
    roll_seconds: float = 10.0
    """Age at which a segment is closed, and so the delay until its events can be queried."""
    roll_bytes: int = 16 << 20
    """Size at which a segment is closed: some 16,000 events, one comfortable commit."""
    audit: str = "written"
    """What an answer waits for: `written` (its event survives the end of the process), `strict` (and a power cut), or
    `available` (nothing: what could not be written is counted in a `gap` event). The first two refuse to answer
    while the log cannot be written."""
    signing_key: str | None = None
    """Reference to an Ed25519 private key, 64 hex digits; each closed segment is then signed."""


@dataclass(frozen=True, slots=True)
class LedgerStore:
    kind: str = "sqlite"
    """`sqlite`: one file for all workers of this host. `redis`: shared by hosts; needs the extra `redis`. `memory`: one
    worker only, and all budgets start afresh with it."""
    file: Path | None = None
    """Of SQLite, on a disk of this host; default `ledger.sqlite` in the spool."""
    url: str | None = None
    """Of Redis: `redis://host:port/0`, or a reference (`env:NAME`, `file:PATH`) where it holds a password."""
    lease_seconds: float = 6.0
    """A worker that was not heard of for this long is taken for dead; what it leased then stays spent. Money that a
    worker does not use goes back after a third of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    body_bytes: int = 8 << 20
    """Of a request: the largest context window in use, as text, with room; held in memory whole."""
    response_bytes: int = 16 << 20
    """Of a reply that is not streamed; held in memory whole."""
    depth: int = 64
    """Levels of JSON nesting of a request; real ones have fewer than 20, and 64 is what every walk is tested for."""
    client_body_s: float = 30.0
    """Seconds for a client to send its body; a slower one holds a connection for nothing."""
    client_read_s: float = 60.0
    """Seconds that a client may leave unread what was sent to it; then its connection is closed (Linux only)."""
    idle_s: float = 75.0
    """Seconds that a connection may stay without a whole request head; longer than what proxies keep theirs for."""
    connect_s: float = 5.0
    """Seconds to reach the upstream; longer means it is down."""
    read_s: float = 120.0
    """Seconds of silence of the upstream, which is how long a model may think before the first byte."""
    upstream_connections: int = 256
    """Per route and process; more requests than this wait."""
    shutdown_s: float = 30.0
    """Seconds that running requests get after SIGTERM; orchestrators kill soon after."""


@dataclass(frozen=True, slots=True)
class Route:
    base_url: str
    """Of the provider, with its version: `https://api.example.com/v1`. Plain http on loopback only."""
    api: str = "openai"
    """What the provider and its clients speak; see `gateway.wire.APIS`."""
    credential: str | None = None
    """Reference to the provider's key (`env:NAME`, `file:PATH`); unset = none is sent."""
    aws_region: str | None = None
    """Of a Bedrock route whose requests are signed instead of carrying a key; `credential` then leads to JSON with
    `AccessKeyId`, `SecretAccessKey` and perhaps `SessionToken`; unset = `AWS_ACCESS_KEY_ID` and so on."""
    asset_id: str | None = None
    """Of the protected asset, for events of agents that are not assets themselves."""
    application_id: str | None = None
    """Of the application that the route serves, for its events."""
    allow_private: bool = False
    """Whether `base_url` may lead to private addresses. Link-local and cloud metadata addresses are never allowed."""
    provider: str | None = None
    allowed_origins: tuple[str, ...] = ()
    """Web origins (`https://app.example.com`) whose pages may use an MCP route; those of all others are refused."""
    known_models: tuple[str, ...] = ()
    """Model names that events may show; others are client text and appear as a keyed hash."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    gateway_id: str
    policy: PolicySource
    spool: Spool
    routes: dict[str, Route]
    """name -> route; each answers the paths of its API below `/<name>`, the one called `default` also without it."""
    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics | None = None
    ledger: LedgerStore = field(default_factory=LedgerStore)

    @property
    def policy_memory(self) -> Path:
        """The file that remembers which root and policy were accepted last."""
        return self.spool.folder / f"{self.gateway_id}.policy-memory.json"


_TABLES: dict[str, type] = {
    "policy": PolicySource,
    "spool": Spool,
    "listen": Listen,
    "limits": Limits,
    "metrics": Metrics,
    "ledger": LedgerStore,
}
ON_STALE = ("keep", "deny")
LEDGERS = ("sqlite", "redis", "memory")
AUDITS = ("written", "strict", "available")
MAX_WORKERS = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def load_settings(path: Path) -> GatewaySettings:
    """Read `gateway.toml`; relative paths are taken from its folder. Raises ConfigError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"cannot read the settings ({e.__class__.__name__})", path) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        at = re.search(r"line (\d+)", str(e))
        raise ConfigError(f"not valid TOML: {e}", path, int(at[1]) if at else None) from None
    return _Reader(path, text).settings(data)


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    text: str

    def settings(self, data: dict[str, Any]) -> GatewaySettings:
        self._known(data, {"gateway_id", "routes", *_TABLES}, "")
        for key in ("gateway_id", "routes", "policy", "spool"):
            if key not in data:
                raise ConfigError(f"`{key}` is missing", self.path)
        gateway_id = data["gateway_id"]
        if not isinstance(gateway_id, str) or not _NAME.fullmatch(gateway_id):
            raise self.error("`gateway_id` is made of a-z, 0-9, `_`, `.` and `-`", "gateway_id")
        tables = {key: self._table(_TABLES[key], data[key], key) for key in _TABLES if key in data}
        routes = data["routes"]
        if not isinstance(routes, dict) or not routes:
            raise self.error("write at least one [routes.<name>]", "routes")
        built = {}
        for name, value in routes.items():
            if not _NAME.fullmatch(name) or name in ("v1", "healthz", "readyz"):
                raise self.error("a route's name is made of a-z, 0-9, `_`, `.` and `-`, and is not `v1`", "routes")
            built[name] = self._table(Route, value, f"routes.{name}")
            self._check_route(built[name])
        settings = GatewaySettings(gateway_id=gateway_id, routes=built, **tables)
        self._check_listen(settings.listen)
        if settings.spool.audit not in AUDITS:
            raise self.error(f"`spool.audit` is one of {', '.join(AUDITS)}", "audit")
        self._check_policy(settings.policy)
        self._check_ledger(settings.ledger, settings.listen)
        if settings.limits.depth > 64:
            raise self.error("`limits.depth` is at most 64", "depth")
        return settings

    def error(self, message: str, key: str) -> ConfigError:
        for number, line in enumerate(self.text.splitlines(), 1):
            if re.match(rf"\s*\[?{re.escape(key)}\b", line):
                return ConfigError(message, self.path, number)
        return ConfigError(message, self.path)

    def _known(self, data: dict[str, Any], known: set[str], prefix: str) -> None:
        for key in data:
            if key not in known:
                raise self.error(f"unknown setting `{prefix}{key}`; known here: {', '.join(sorted(known))}", key)

    def _table(self, cls: type, value: Any, name: str) -> Any:
        if not isinstance(value, dict):
            raise self.error(f"`{name}` is a table: write [{name}]", name)
        hints = get_type_hints(cls)
        self._known(value, set(hints), f"{name}.")
        for f in fields(cls):
            if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
                raise self.error(f"`{name}.{f.name}` is missing", name)
        return cls(**{key: self._value(hints[key], v, key, name) for key, v in value.items()})

    def _value(self, hint: Any, value: Any, key: str, table: str) -> Any:
        if hint in (Path, Path | None) and isinstance(value, str):
            return self.path.parent / value
        if hint is bool and isinstance(value, bool):
            return value
        if hint in (tuple[Path, ...], tuple[str, ...]) and isinstance(value, list):
            if all(isinstance(v, str) for v in value):
                return tuple(self.path.parent / v if hint == tuple[Path, ...] else v for v in value)
        elif hint in (int, float) and isinstance(value, int | hint) and not isinstance(value, bool):
            if value < 0 or (value == 0 and key != "port") or (key == "port" and value > 65535):
                raise self.error(f"`{table}.{key}` is out of range", key)
            return hint(value)
        elif hint in (str, str | None) and isinstance(value, str):
            if key in ("credential", "signing_key", "url") and value.startswith("file:"):
                return f"file:{self.path.parent / Path(value[5:]).expanduser()}"
            return value
        raise self.error(f"`{table}.{key}` has the wrong type", key)

    def _check_listen(self, listen: Listen) -> None:
        if (listen.tls_cert is None) != (listen.tls_key is None):
            raise self.error("`listen.tls_cert` and `listen.tls_key` go together", "tls_")
        if listen.tls_cert is None and not is_loopback(listen.host):
            raise self.error("without `tls_cert` and `tls_key` the gateway listens on loopback only", "host")
        if listen.workers > MAX_WORKERS:
            raise self.error(f"`listen.workers` is at most {MAX_WORKERS}", "workers")

    def _check_policy(self, policy: PolicySource) -> None:
        if (policy.file is None) == (policy.url is None):
            raise self.error("`[policy]` takes one of `file` and `url`", "policy")
        if policy.on_stale not in ON_STALE:
            raise self.error(f"`policy.on_stale` is one of {', '.join(ON_STALE)}", "on_stale")
        if policy.url is not None:
            url = urlsplit(policy.url)
            if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
                raise self.error("`url` must be an absolute URL without user, query or fragment", "url")
            if url.scheme == "http" and not is_loopback(url.hostname):
                raise self.error("`url` must be https: policies hold the hashes of all agent keys", "url")

    def _check_ledger(self, ledger: LedgerStore, listen: Listen) -> None:
        if ledger.kind not in LEDGERS:
            raise self.error(f"`ledger.kind` is one of {', '.join(LEDGERS)}", "kind")
        if ledger.kind == "memory" and listen.workers > 1:
            raise self.error("a ledger in memory is for one worker: each would have limits of its own", "kind")
        if (ledger.kind == "redis") != (ledger.url is not None) or (
            ledger.kind != "sqlite" and ledger.file is not None
        ):
            raise self.error("`ledger.url` goes with kind redis, `ledger.file` with sqlite", "kind")

    def _check_route(self, route: Route) -> None:
        if route.api not in APIS:
            raise self.error(f"`api` is one of {', '.join(APIS)}, which the gateway can inspect", "api")
        if route.aws_region is not None and (route.api != "bedrock" or not _NAME.fullmatch(route.aws_region)):
            raise self.error('`aws_region` is the name of a region and goes with `api = "bedrock"`', "aws_region")
        url = urlsplit(route.base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
            raise self.error("`base_url` must be an absolute URL without user, query or fragment", "base_url")
        if url.scheme == "http" and not is_loopback(url.hostname):
            raise self.error(
                "`base_url` must be https: the provider's key would cross the network in the clear", "base_url"
            )
        if (address := literal_address(url.hostname)) is not None and not is_loopback(url.hostname):
            try:
                check_address(address, allow_private=route.allow_private)
            except PermissionError as e:
                raise self.error(f"`base_url`: {e}", "base_url") from None
