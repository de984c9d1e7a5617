"""The tools of AgentDojo (Debenedetti et al. 2024, four suites) through discovery and assessment.

They are honest tools written by others: every one must be listed, and none may be called poisoned. AgentDojo is
installed into a venv of its own (`conftest.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.assess import assess
from flows.discover import discover
from flows.engine import PlainEngine
from tasks.discovery.inventory import load_inventory
from tasks.runs import opened_run
from tasks.settings import load_settings

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

SUITES = ("banking", "slack", "travel", "workspace")
POISONING = ("MCP-01", "MCP-02", "MCP-03", "MCP-04", "MCP-05", "MCP-06", "MCP-07", "MCP-10")


def test_every_tool_is_listed_and_none_is_called_poisoned(tmp_path: Path, agentdojo: Path) -> None:
    """What fails of the tools themselves is what their signatures show: free URLs, free paths, a password."""
    server = Path(__file__).with_name("agentdojo_server.py")
    assets = "".join(
        f"""  - id: mcp/{suite}
    kind: mcp_server
    name: {suite}
    launch: {{command: {json.dumps([str(agentdojo)])}, args: {json.dumps([str(server), suite])}, consent: true}}
"""
        for suite in SUITES
    )
    (tmp_path / "inventory.yaml").write_text("schema: aispm.inventory/1\nassets:\n" + assets)
    (tmp_path / "aispm.toml").write_text('home = "home"\ninventory = "inventory.yaml"\n[discovery]\ntimeout_s = 90\n')
    settings = load_settings(tmp_path / "aispm.toml")
    inventory = load_inventory(settings.inventory)
    with opened_run("nightly", settings) as run:
        assert discover(run, PlainEngine(), inventory) == []
        assert assess(run, PlainEngine(), inventory) == []
    tools = run.lake.query("select count(*) as n from lake.tool_versions")[0]["n"]
    rows = run.lake.query(
        """select v.name, c.check_id, c.outcome, c.severity
           from lake.check_results c join lake.asset_versions v using (asset_id)"""
    )
    assert tools == 74
    steering = [row for row in rows if row["check_id"] in POISONING]
    assert len(steering) == len(SUITES) * len(POISONING)
    assert {row["outcome"] for row in steering} == {"pass"}
    exposed = {
        (row["name"], row["check_id"])
        for row in rows
        if row["outcome"] == "fail" and row["severity"] in ("high", "critical") and row["check_id"].startswith("TOL")
    }
    assert exposed == {
        ("get_webpage", "TOL-02"), ("post_webpage", "TOL-02"),
        ("create_file", "TOL-03"), ("read_file", "TOL-03"), ("search_files_by_filename", "TOL-03"),
        ("update_password", "TOL-05"),
    }  # fmt: skip
