"""MCP servers named in client configuration files (`.mcp.json`, `claude_desktop_config.json`, …), read offline.

A file is read where an asset declares it: `props.mcp_config: path/to/.mcp.json`, relative to the inventory. Each
server in it becomes an observation mounted by that asset. Literal secrets in it leave only a fingerprint behind.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gateway.secrets import fingerprint
from tasks.discovery.inventory import InventoryAsset
from tasks.discovery.natural_keys import canonical_launch, without_secrets
from tasks.discovery.source import MAX_BODY, SourceContext, clean
from tasks.records import AssetKind, Completeness, EdgeRef, Observation, ProofLabel, SourceResult

_SECRET_NAME = re.compile(r"(key|token|secret|password|passwd|credential|authorization)s?$", re.IGNORECASE)
_SECRET_ARG = re.compile(r"^--?[\w-]*(key|token|secret|password|credential)[\w-]*$", re.IGNORECASE)
_REFERENCE = re.compile(r"^(Bearer )?(\$\{[^}]+\}|\$\w+|env:\w+|file:.+|<[^>]+>)$")
_SECRET_SHAPE = re.compile(r"\b(sk-[\w-]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}|xox[abprs]-[\w-]{10,})")


class ClientConfigs:
    name = "client_configs"
    version = "1"
    needs: tuple[str, ...] = ("file:read",)

    def collect(self, ctx: SourceContext) -> list[SourceResult]:
        base = ctx.inventory.path.resolve().parent
        return [
            self._read(ctx, asset, base / asset.props["mcp_config"])
            for asset in ctx.inventory.assets
            if isinstance(asset.props.get("mcp_config"), str)
        ]

    def _read(self, ctx: SourceContext, owner: InventoryAsset, path: Path) -> SourceResult:
        try:
            with path.open("rb") as f:
                data = json.loads(f.read(MAX_BODY))
            servers = data.get("mcpServers", data.get("servers"))
            if not isinstance(servers, dict):
                raise ValueError("no mapping `mcpServers`")
        except OSError as e:
            return SourceResult(self.name, path.name, Completeness.ERROR, f"cannot read {path.name}: {e.strerror}", ())
        except (ValueError, AttributeError, RecursionError) as e:
            what = f"line {e.lineno}" if isinstance(e, json.JSONDecodeError) else "no mapping `mcpServers`"
            return SourceResult(
                self.name, path.name, Completeness.ERROR, f"{path.name} is not a client configuration: {what}", ()
            )
        seen: list[Observation] = []
        for name, server in servers.items():
            if isinstance(server, dict) and (found := self._server(ctx, path, str(name), server)) is not None:
                seen.append(found)
        edges = tuple(EdgeRef("mounts", o.kind, *next(iter(o.natural_keys.items()))) for o in seen)
        client = Observation(
            source=self.name,
            source_version=self.version,
            kind=owner.kind,
            name=owner.name,
            natural_keys=owner.natural_keys,
            props={"mounted_servers": sorted(o.name for o in seen)},
            evidence=path.name,
            observed_at=ctx.clock(),
            proof_label=ProofLabel.DECLARED,
            edges=edges,
        )
        return SourceResult(self.name, path.name, Completeness.FULL, "", (client, *seen))

    def _server(self, ctx: SourceContext, path: Path, name: str, server: dict[str, Any]) -> Observation | None:
        props: dict[str, Any] = {"config_secrets": _literal_secrets(server), "in_client_config": True}
        if isinstance(server.get("url"), str):
            keys = {"url": server["url"]}
            props["url"] = server["url"]
            props["transport"] = "sse" if server.get("type") == "sse" else "streamable_http"
        elif isinstance(server.get("command"), str):
            args = [str(a) for a in server.get("args") or [] if isinstance(a, str | int)]
            keys = {"launch": canonical_launch(None, [server["command"]], args)}
            env = server.get("env")
            props["launch"] = {
                "package": None,
                "command": [server["command"]],
                "args": without_secrets(args),
                "env": sorted(env) if isinstance(env, dict) else [],
            }
            props["transport"] = "stdio"
        else:
            return None
        return Observation(
            source=self.name,
            source_version=self.version,
            kind=AssetKind.MCP_SERVER,
            name=clean(name[:200]),
            natural_keys=clean(keys),
            props=clean(props),
            evidence=path.name,
            observed_at=ctx.clock(),
            proof_label=ProofLabel.DECLARED,
        )


def _literal_secrets(server: dict[str, Any]) -> list[dict[str, str]]:
    """Where a literal secret stands, with its fingerprint; never the value."""
    found: list[dict[str, str]] = []

    def note(where: str, value: str) -> None:
        found.append({"where": clean(where), "fingerprint": fingerprint(value.removeprefix("Bearer "))})

    for section in ("env", "headers"):
        entries = server.get(section)
        for name, value in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(value, str) or not value or _REFERENCE.match(value):
                continue
            if _SECRET_NAME.search(str(name)) or _SECRET_SHAPE.search(value):
                note(f"{section}.{name}", value)
    args = server.get("args")
    texts = [a for a in args if isinstance(a, str)] if isinstance(args, list) else []
    for i, arg in enumerate(texts):
        flag, sep, value = arg.partition("=")
        if _SECRET_ARG.match(flag) and (sep or i + 1 < len(texts)):
            value = value if sep else texts[i + 1]
            if value and not _REFERENCE.match(value):
                note(f"args[{i}] {flag}", value)
        elif _SECRET_SHAPE.search(arg):
            note(f"args[{i}]", arg)
    url = server.get("url")
    if isinstance(url, str) and re.search(r"[?&](api_?key|token|secret)=[^&$]{6,}", url, re.IGNORECASE):
        note("url", url)
    return found
