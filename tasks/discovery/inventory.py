"""The declared estate: `inventory.yaml` read strictly, every error with file, line and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from tasks.discovery.natural_keys import KEY_ORDER, canonical_launch, normalised, tool_key
from tasks.errors import ConfigError
from tasks.records import AssetKind
from tasks.strict_yaml import Lines, load_yaml

SCHEMA = "aispm.inventory/1"
WIRE_FORMATS = (
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini",
    "bedrock_converse",
    "mcp",
    "http_template",
)
RELS = (
    "uses", "bundles", "mounts", "exposes", "calls", "delegates_to", "retrieves_from", "indexes", "embeds_with",
    "serves", "routes_to", "trained_on", "runs_as",
)  # fmt: skip
_CHOICES = {
    "env": ("prod", "test", "dev"),
    "exposure": ("internet", "internal"),
    "risk_tier": ("high", "limited", "minimal"),
}
_FIELDS = (
    "id", "kind", "name", "owner", "env", "exposure", "risk_tier", "active", "keys", "props", "data", "launch", "uses",
    "pin", "approvals", "waivers",
)  # fmt: skip
_LAUNCH_FIELDS = ("package", "command", "args", "env", "consent")
_WAIVER_FIELDS = ("check", "until", "reason", "by")
_ID = re.compile(r"[a-z0-9][a-z0-9/_.-]{0,127}")
_CHECK_ID = re.compile(r"[A-Z]{3}-\d{2,3}")
_SHA256 = re.compile(r"(sha256:)?[0-9a-f]{64}")
_CREDENTIAL_FIELD = re.compile(
    r"(^|[._-])(credentials?|password|passwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|authorization)$",
    re.IGNORECASE,
)
_SECRET_SHAPES = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
    r"|://[^/\s:@]+:[^/\s@]+@"
)


@dataclass(frozen=True, slots=True)
class Use:
    rel: str
    to: str


@dataclass(frozen=True, slots=True)
class Waiver:
    check: str
    until: date
    """The last day on which the waiver holds."""
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Launch:
    """How a stdio MCP server is started. It is started by aispm only with `consent`."""

    package: str | None
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    """Values are secret references or plain settings, never secrets."""
    consent: bool


@dataclass(frozen=True, slots=True)
class InventoryAsset:
    """One declared asset. `natural_keys` are normalised and include the inventory id."""

    id: str
    kind: AssetKind
    name: str
    line: int
    natural_keys: Mapping[str, str]
    owner: str | None = None
    env: str | None = None
    exposure: str | None = None
    risk_tier: str | None = None
    active: bool = False
    props: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    launch: Launch | None = None
    uses: tuple[Use, ...] = ()
    pin: Mapping[str, Any] = field(default_factory=dict)
    approvals: Mapping[str, Any] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    prop_lines: Mapping[str, int] = field(default_factory=dict)
    """Name of a property -> its line; for problems that only show once the properties are put to use."""

    @property
    def url(self) -> str | None:
        return self.natural_keys.get("url") or self.props.get("url")

    def waiver(self, check_id: str, today: date) -> Waiver | None:
        """The waiver for a check that still holds today."""
        return next((w for w in self.waivers if w.check == check_id and w.until >= today), None)


@dataclass(frozen=True, slots=True)
class Inventory:
    path: Path
    assets: tuple[InventoryAsset, ...] = ()

    @property
    def by_id(self) -> dict[str, InventoryAsset]:
        return {asset.id: asset for asset in self.assets}


def load_inventory(path: Path) -> Inventory:
    """Read and check the whole file; nothing is contacted and no secret is resolved.

    Raises ConfigError with `path:line` and what to do.
    """
    if not path.exists():
        raise ConfigError(
            "no such inventory; `aispm init` writes one to adapt, inventory.example.yaml shows every field", path
        )
    data, lines = load_yaml(path)
    return _Reader(path, lines).read(data)


class _Reader:
    def __init__(self, path: Path, lines: Lines) -> None:
        self.path = path
        self.lines = lines

    def fail(self, message: str, at: tuple[str | int, ...]) -> ConfigError:
        while at and at not in self.lines:
            at = at[:-1]
        return ConfigError(message, self.path, self.lines.get(at, 1))

    def read(self, data: Any) -> Inventory:
        if not isinstance(data, dict):
            raise self.fail(f"an inventory starts with `schema: {SCHEMA}` and a list `assets:`", ())
        self.known(data, ("schema", "assets"), (), "the inventory")
        if data.get("schema") != SCHEMA:
            raise self.fail(f"unknown schema {data.get('schema')!r}; this version reads `{SCHEMA}`", ("schema",))
        entries = data.get("assets") or []
        if not isinstance(entries, list):
            raise self.fail("`assets` must be a list: start each asset with `- id:`", ("assets",))
        assets = [self.asset(entry, ("assets", i)) for i, entry in enumerate(entries)]
        assets = [self.named_tool(asset, assets, i) for i, asset in enumerate(assets)]
        self.references(assets)
        return Inventory(self.path, tuple(assets))

    def named_tool(self, asset: InventoryAsset, assets: list[InventoryAsset], i: int) -> InventoryAsset:
        """A declared tool with its key `mcp/server#name` turned into the key under which the server lists it."""
        key = asset.natural_keys.get("tool")
        if key is None:
            return asset
        server_id, hash_sign, name = key.partition("#")
        server = next((a for a in assets if a.id == server_id and a.kind == AssetKind.MCP_SERVER), None)
        if not hash_sign or not name or server is None:
            raise self.fail(
                f"the key `tool: {key}` must be `<id of a declared mcp_server>#<tool name>`",
                ("assets", i, "keys", "tool"),
            )
        return replace(asset, natural_keys={**asset.natural_keys, "tool": tool_key(server.natural_keys, name)})

    def references(self, assets: list[InventoryAsset]) -> None:
        first: dict[str, InventoryAsset] = {}
        keyed: dict[tuple[AssetKind, str, str], InventoryAsset] = {}
        for i, asset in enumerate(assets):
            at: tuple[str | int, ...] = ("assets", i, "id")
            if (other := first.setdefault(asset.id, asset)) is not asset:
                raise self.fail(f"the id `{asset.id}` is already used in line {other.line}; choose another", at)
            for key_type, key in asset.natural_keys.items():
                if (other := keyed.setdefault((asset.kind, key_type, key), asset)) is not asset:
                    raise self.fail(
                        f"`{asset.id}` and `{other.id}` (line {other.line}) have the same {key_type} and would be one "
                        "asset; drop one, or tell them apart with `keys.deployment: url#model`",
                        ("assets", i, "keys", key_type),
                    )
        for i, asset in enumerate(assets):
            for j, use in enumerate(asset.uses):
                if use.to not in first:
                    raise self.fail(
                        f"`{asset.id}` uses `{use.to}`, which is not declared; declare it or drop the line",
                        ("assets", i, "uses", j),
                    )

    def asset(self, entry: Any, at: tuple[str | int, ...]) -> InventoryAsset:
        if not isinstance(entry, dict):
            raise self.fail("an asset is a mapping with at least `id`, `kind` and `name`", at)
        self.known(entry, _FIELDS, at, "an asset")
        asset_id = self.text(entry, "id", at, required=True)
        if not asset_id or not _ID.fullmatch(asset_id):
            raise self.fail("an id is 1 to 128 of a-z 0-9 / _ . - and starts with a letter or digit", (*at, "id"))
        kind_text = self.text(entry, "kind", at, required=True)
        if kind_text not in set(AssetKind):
            raise self.fail(f"unknown kind `{kind_text}`; one of: {', '.join(AssetKind)}", (*at, "kind"))
        kind = AssetKind(kind_text)
        self.no_secrets(entry, at)
        for name, choices in _CHOICES.items():
            value = entry.get(name)
            if value is not None and value not in choices:
                raise self.fail(f"`{name}` is {value!r}; one of: {', '.join(choices)}", (*at, name))
        active = entry.get("active", False)
        if not isinstance(active, bool):
            raise self.fail("`active` must be true or false", (*at, "active"))
        props = self.mapping(entry, "props", at)
        launch = self.launch(entry.get("launch"), (*at, "launch"))
        given = self.mapping(entry, "keys", at)
        if launch is None and isinstance(props.get("url"), str):
            given.setdefault("url", props["url"])
        keys = self.keys(given, launch, asset_id, (*at, "keys"))
        wire_format = props.get("wire_format")
        if wire_format is not None and wire_format not in WIRE_FORMATS:
            known = ", ".join(WIRE_FORMATS)
            raise self.fail(f"unknown wire_format {wire_format!r}; one of: {known}", (*at, "props", "wire_format"))
        if wire_format and not (keys.get("url") or props.get("url")):
            raise self.fail(
                f"`{asset_id}` speaks {wire_format} but has no address; add `keys: {{url: …}}` or `props: {{url: …}}`",
                at,
            )
        return InventoryAsset(
            id=asset_id,
            kind=kind,
            name=self.text(entry, "name", at) or asset_id,
            line=self.lines.get(at, 1),
            natural_keys=keys,
            owner=self.text(entry, "owner", at),
            env=entry.get("env"),
            exposure=entry.get("exposure"),
            risk_tier=entry.get("risk_tier"),
            active=active,
            props=props,
            data=self.mapping(entry, "data", at),
            launch=launch,
            uses=self.uses(entry.get("uses") or [], (*at, "uses")),
            pin=self.pin(self.mapping(entry, "pin", at), (*at, "pin")),
            approvals=self.mapping(entry, "approvals", at),
            waivers=self.waivers(entry.get("waivers") or [], (*at, "waivers")),
            prop_lines={name: self.lines[*at, "props", name] for name in props},
        )

    def keys(
        self, keys: dict[str, Any], launch: Launch | None, asset_id: str, at: tuple[str | int, ...]
    ) -> dict[str, str]:
        for name, value in keys.items():
            if name not in KEY_ORDER or name == "inventory_id":
                known = ", ".join(k for k in KEY_ORDER if k != "inventory_id")
                raise self.fail(f"unknown key type `{name}`; one of: {known}", (*at, name))
            if not isinstance(value, str) or not value:
                raise self.fail(f"the key `{name}` must be text", (*at, name))
        if "url" in keys and not re.match(r"https?://[^/\s]+", keys["url"], re.IGNORECASE):
            raise self.fail("the url must start with http:// or https:// and name a host", (*at, "url"))
        found = dict(keys)
        if launch is not None and "url" not in found and "launch" not in found:
            found["launch"] = canonical_launch(launch.package, launch.command, launch.args)
        return normalised({**found, "inventory_id": asset_id})

    def launch(self, value: Any, at: tuple[str | int, ...]) -> Launch | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fail("`launch` is a mapping with `command` and `args`", at)
        self.known(value, _LAUNCH_FIELDS, at, "`launch`")
        for name in ("command", "args"):
            items = value.get(name) or []
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                raise self.fail(f"`{name}` is a list of words, such as [mcp-server-time]", (*at, name))
        if not value.get("command"):
            raise self.fail("`launch` needs `command`, a list such as [mcp-server-time]", at)
        consent = value.get("consent", False)
        if not isinstance(consent, bool):
            raise self.fail("`consent` must be true or false", (*at, "consent"))
        env = self.mapping(value, "env", at)
        if not all(isinstance(v, str) for v in env.values()):
            raise self.fail("the values of `env` are text; put numbers in quotes", (*at, "env"))
        return Launch(
            package=self.text(value, "package", at),
            command=tuple(value["command"]),
            args=tuple(value.get("args") or ()),
            env=env,
            consent=consent,
        )

    def uses(self, value: Any, at: tuple[str | int, ...]) -> tuple[Use, ...]:
        if not isinstance(value, list):
            raise self.fail("`uses` is a list of ids", at)
        found = []
        for i, item in enumerate(value):
            if isinstance(item, str):
                found.append(Use("uses", item))
                continue
            if not isinstance(item, dict) or set(item) != {"rel", "to"}:
                raise self.fail("write an id, or {rel: mounts, to: some/id}", (*at, i))
            if item["rel"] not in RELS:
                raise self.fail(f"unknown relation {item['rel']!r}; one of: {', '.join(RELS)}", (*at, i))
            found.append(Use(item["rel"], str(item["to"])))
        return tuple(found)

    def pin(self, value: dict[str, Any], at: tuple[str | int, ...]) -> dict[str, Any]:
        self.known(value, ("tools_sha256", "tools", "signed_by"), at, "`pin`")
        hashes = [value.get("tools_sha256"), *(value.get("tools") or {}).values()]
        for text in hashes:
            if text is not None and not (isinstance(text, str) and _SHA256.fullmatch(text)):
                raise self.fail("a pin is a SHA-256 in 64 lower-case hex digits", at)
        return value

    def waivers(self, value: Any, at: tuple[str | int, ...]) -> tuple[Waiver, ...]:
        if not isinstance(value, list):
            raise self.fail("`waivers` is a list", at)
        found = []
        for i, item in enumerate(value):
            here = (*at, i)
            if not isinstance(item, dict):
                raise self.fail("a waiver is a mapping with `check`, `until`, `reason` and `by`", here)
            self.known(item, _WAIVER_FIELDS, here, "a waiver")
            if missing := [name for name in _WAIVER_FIELDS if not item.get(name)]:
                raise self.fail(f"the waiver lacks `{'`, `'.join(missing)}`; a waiver must be accountable", here)
            if not _CHECK_ID.fullmatch(str(item["check"])):
                raise self.fail(f"{item['check']!r} is no check id such as MCP-31", (*here, "check"))
            found.append(
                Waiver(str(item["check"]), self.day(item["until"], (*here, "until")), str(item["reason"]), item["by"])
            )
        return tuple(found)

    def day(self, value: Any, at: tuple[str | int, ...]) -> date:
        if isinstance(value, datetime):
            return value.date()
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            raise self.fail(f"{value!r} is no date; write it as YYYY-MM-DD", at) from None

    def known(self, value: Mapping[str, Any], names: tuple[str, ...], at: tuple[str | int, ...], what: str) -> None:
        for name in value:
            if name not in names:
                raise self.fail(f"unknown field `{name}` in {what}; known: {', '.join(names)}", (*at, name))

    def mapping(self, entry: Mapping[str, Any], name: str, at: tuple[str | int, ...]) -> dict[str, Any]:
        value = entry.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(f"`{name}` must be a mapping", (*at, name))
        return dict(value)

    def text(
        self, entry: Mapping[str, Any], name: str, at: tuple[str | int, ...], *, required: bool = False
    ) -> str | None:
        value = entry.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.fail(f"`{name}` must be text", (*at, name) if name in entry else at)
        return value

    def no_secrets(self, value: Any, at: tuple[str | int, ...]) -> None:
        """Credential fields hold references; what looks like a secret is refused wherever it stands."""
        if isinstance(value, dict):
            for name, child in value.items():
                is_reference = isinstance(child, str) and child.startswith(("env:", "file:"))
                if isinstance(child, str) and _CREDENTIAL_FIELD.search(name) and not is_reference:
                    raise self.fail(
                        f"`{name}` holds a value, not a reference; put the secret into a file or the environment and "
                        "write `file:PATH` or `env:NAME`",
                        (*at, name),
                    )
                self.no_secrets(child, (*at, name))
        elif isinstance(value, list):
            for i, child in enumerate(value):
                self.no_secrets(child, (*at, i))
        elif isinstance(value, str) and _SECRET_SHAPES.search(value):
            raise self.fail(
                "this looks like a secret in plain text; revoke it, and write `file:PATH` or `env:NAME` instead",
                at,
            )
