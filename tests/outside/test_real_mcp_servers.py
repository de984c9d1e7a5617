"""The nightly flow over MCP servers that others wrote: known weaknesses are found, honest tools are left alone.

Expected positives come from reading those servers: `server-everything` has no credential and answers any `Origin`
over HTTP, and lists a tool that returns the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.engine import PlainEngine
from flows.posture import posture
from tasks.lake import Lake
from tasks.quality import QualityGate
from tasks.settings import load_settings

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

PACKAGES = {
    "everything": "@modelcontextprotocol/server-everything@2026.8.31",
    "filesystem": "@modelcontextprotocol/server-filesystem@2026.8.31",
    "memory": "@modelcontextprotocol/server-memory@2026.8.31",
    "sequential": "@modelcontextprotocol/server-sequential-thinking@2026.8.31",
}
POISONING = ("MCP-01", "MCP-02", "MCP-03", "MCP-04", "MCP-05", "MCP-06", "MCP-07", "MCP-10")
"""Checks that say a server tries to steer the model."""


@pytest.fixture(scope="module")
def node_servers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Start file of each npm server, installed into a folder of its own."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are needed for the servers written in JavaScript")
    folder = tmp_path_factory.mktemp("npm")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES.values()],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"npm could not install the servers: {done.stderr.strip().splitlines()[-1:]}")
    found = {}
    for name, package in PACKAGES.items():
        home = folder / "node_modules" / package.rpartition("@")[0]
        manifest = json.loads((home / "package.json").read_text())
        found[name] = home / next(iter(manifest["bin"].values()))
    return found


@contextlib.contextmanager
def everything_over_http(entry: Path) -> Iterator[str]:
    """`server-everything` on a free port, as its README starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["node", str(entry), "streamableHttp"],
        env={"PATH": os.environ["PATH"], "PORT": str(port)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        for _ in range(200):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url, timeout=5, trust_env=False)
                break
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def nightly(folder: Path, assets: str) -> tuple[Any, Lake]:
    (folder / "inventory.yaml").write_text("schema: aispm.inventory/1\nassets:\n" + assets)
    (folder / "aispm.toml").write_text('home = "home"\ninventory = "inventory.yaml"\n[discovery]\ntimeout_s = 60\n')
    settings = load_settings(folder / "aispm.toml")
    with QualityGate() as gate:
        outcome = posture("nightly", settings, PlainEngine(), gate)
    return outcome, Lake(settings.lake)


def results(lake: Lake) -> dict[tuple[str, str], str]:
    """(declared id of the server or name of the tool, check) -> outcome."""
    rows = lake.query(
        """select coalesce(json_extract_string(v.props, '$.inventory_id'), v.name) as name, c.check_id, c.outcome
           from lake.check_results c join lake.asset_versions v using (asset_id)"""
    )
    return {(row["name"], row["check_id"]): row["outcome"] for row in rows}


def tools_of(lake: Lake) -> int:
    return int(lake.query("select count(*) as n from lake.tool_versions")[0]["n"])


def test_mcp_server_time_is_listed_and_clean(tmp_path: Path) -> None:
    """Started over stdio with the consent of its declaration."""
    outcome, lake = nightly(
        tmp_path,
        """  - id: mcp/time
    kind: mcp_server
    name: Time
    active: true
    launch: {package: "pkg:pypi/mcp-server-time@2026.10.19", command: [mcp-server-time], args: [], consent: true}
""",
    )
    assert outcome.state == "complete", outcome.troubles
    found = results(lake)
    assert tools_of(lake) == 2
    assert {found["mcp/time", check] for check in POISONING} == {"pass"}


def test_the_reference_servers(tmp_path: Path, node_servers: dict[str, Path]) -> None:
    """True positives appear as findings; no honest tool of four servers is called poisoned."""
    root = tmp_path / "shared-files"
    root.mkdir()
    stdio = "".join(
        f"""  - id: mcp/{name}
    kind: mcp_server
    name: {name}
    launch: {{command: [node], args: {json.dumps([str(node_servers[name]), *arguments])}, consent: true}}
"""
        for name, arguments in (("filesystem", [str(root)]), ("memory", []), ("sequential", []))
    )
    with everything_over_http(node_servers["everything"]) as url:
        outcome, lake = nightly(
            tmp_path,
            f"""  - id: mcp/everything
    kind: mcp_server
    name: Everything
    active: true
    keys: {{url: "{url}"}}
{stdio}""",
        )
    assert outcome.state == "complete", outcome.troubles
    found = results(lake)
    titles = {(f["rule_id"], f["asset_name"]) for f in outcome.posture["findings"]}
    print(f"{tools_of(lake)} tools;", sorted({rule for rule, _ in titles}))
    assert found["mcp/everything", "MCP-20"] == "fail"
    assert found["mcp/everything", "MCP-38"] == "fail"
    assert {"MCP-20", "MCP-38"} <= {rule for rule, _ in titles}
    assert tools_of(lake) >= 35
    poisoned = {key for key, result in found.items() if key[1] in POISONING and result == "fail"}
    assert poisoned == set()
    for server in ("everything", "filesystem", "memory", "sequential"):
        assert found[f"mcp/{server}", "MCP-01"] == "pass", "the descriptions were read"
