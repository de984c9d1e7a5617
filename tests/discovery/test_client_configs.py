from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.discovery import SourceContext, discover, load_inventory, resolve
from tasks.records import AssetKind, Completeness, SourceResult
from tasks.settings import Settings

SECRET = "hunter2-hunter2-hunter2"


def read(tmp_path: Path, text: str, more: str = "") -> list[SourceResult]:
    (tmp_path / ".mcp.json").write_text(text, encoding="utf-8")
    path = tmp_path / "inventory.yaml"
    path.write_text(
        f"schema: aispm.inventory/1\nassets:\n  - {{id: a, kind: agent, props: {{mcp_config: .mcp.json}}}}\n{more}"
    )
    context = SourceContext(Settings(), load_inventory(path))
    return [*discover("client_configs", context), *discover("declared", context)]


CONFIG = {
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "@mcp/fs", "/", "--api-key", SECRET], "env": {"API_TOKEN": SECRET}},
        "web": {"url": "https://mcp.bank.example/mcp", "headers": {"Authorization": f"Bearer {SECRET}"}},
        "good": {"command": "uvx", "args": ["mcp-time==1.2.3"], "env": {"API_TOKEN": "${TIME_TOKEN}", "TZ": "UTC"}},
        "broken": "text",
        "empty": {},
    }
}


def test_servers_are_read_and_secrets_leave_only_fingerprints(tmp_path: Path) -> None:
    result, declared = read(tmp_path, json.dumps(CONFIG))
    client, *servers = result.observations
    assert [o.name for o in servers] == ["files", "web", "good"]
    where = {o.name: [s["where"] for s in o.props["config_secrets"]] for o in servers}
    assert where == {"files": ["env.API_TOKEN", "args[3] --api-key"], "web": ["headers.Authorization"], "good": []}
    assert SECRET not in repr(result)
    found = resolve([*result.observations, *declared.observations])
    assert len(found.edges) == 3
    assert {e.rel for e in found.edges} == {"mounts"}
    assert client.kind == AssetKind.AGENT


def test_a_declared_server_is_the_same_asset(tmp_path: Path) -> None:
    more = "  - {id: web, kind: mcp_server, keys: {url: 'https://MCP.bank.example/mcp/'}}\n"
    results = read(tmp_path, json.dumps(CONFIG), more)
    found = resolve([o for r in results for o in r.observations])
    servers = {a.name: a.declared for a in found.assets if a.kind == AssetKind.MCP_SERVER}
    assert servers == {"web": True, "files": False, "good": False}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"mcpServers": []}', "[" * 100_000, '"x"'])
def test_what_is_no_configuration_is_an_error(tmp_path: Path, text: str) -> None:
    result = read(tmp_path, text)[0]
    assert result.completeness == Completeness.ERROR
    assert result.observations == ()
    assert ".mcp.json" in result.reason
