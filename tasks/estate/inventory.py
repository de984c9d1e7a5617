"""What the bank declares about its AI systems: the demo's `inventory.yaml` and `aispm.toml`.

The declaration has the gaps real ones have: an owner missing, facts never filled in, systems nobody declared.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tasks.estate import agent, assistant, bank
from tasks.estate.variants import Variant

if TYPE_CHECKING:
    from tasks.estate.estate import Places

AWS_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true"}
"""Dummy credentials for the demo's cloud account; the runner sets them."""


def write(places: Places, variant: Variant, gateway_url: str | None) -> None:
    """Write `inventory.yaml` and `aispm.toml` into the estate's home."""
    document = {"schema": "aispm.inventory/1", "assets": assets(places, variant, gateway_url)}
    text = "# The declared AI systems of Nimbus Bank, a fictitious bank. Secrets stand here as references only.\n"
    (places.home / "inventory.yaml").write_text(text + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
    (places.home / "aispm.toml").write_text(_settings(places.home), encoding="utf-8")


def _settings(home: Path) -> str:
    return f"home = {str(home / 'aispm')!r}\ninventory = {str(home / 'inventory.yaml')!r}\ndemo = true\n"


def _owner(team: str) -> str:
    return f"{team}@{bank.DOMAIN}"


def assets(places: Places, variant: Variant, gateway_url: str | None) -> list[dict[str, Any]]:
    """The declared assets in the inventory's format."""
    on = variant.__contains__
    rows: list[dict[str, Any]] = [
        {
            "id": "llm/support",
            "kind": "llm_endpoint",
            "name": "Support assistant endpoint",
            "owner": _owner("support-platform"),
            "env": "prod",
            "exposure": "internet",
            "risk_tier": "high",
            "active": True,
            "keys": {"url": places.url("assistant", "/v1")},
            "props": {
                "url": places.url("assistant", "/v1"),
                "wire_format": "openai_chat",
                "model": assistant.MODEL,
                "credential": places.credential("assistant"),
            },
            "data": {"sensitivity": "pii", "regions": ["eu-central-1"]},
            "uses": ["provider/nimbus-ml"],
        },
        {
            "id": "agent/teller",
            "kind": "agent",
            "name": "Teller agent",
            "owner": _owner("digital-branch"),
            "env": "prod",
            "exposure": "internal",
            "risk_tier": "high",
            "active": True,
            "keys": {"url": places.url("agent", "/v1")},
            "props": {
                "url": places.url("agent", "/v1"),
                "wire_format": "openai_responses",
                "model": agent.MODEL,
                "credential": places.credential("agent"),
                "mailbox_url": places.url("agent", "/contact"),
                "max_steps": agent.STEPS,
            },
            "data": {"sensitivity": "pii", "regions": ["eu-central-1"]},
            "uses": [{"rel": "mounts", "to": "mcp/bank"}],
        },
        {
            "id": "mcp/bank",
            "kind": "mcp_server",
            "name": "Bank tools",
            "owner": _owner("core-banking"),
            "env": "prod",
            "exposure": "internal",
            "risk_tier": "high",
            "active": True,
            "keys": {"url": places.url("mcp", "/mcp")},
            "props": {"url": places.url("mcp", "/mcp"), "transport": "streamable_http", "credential": places.credential("mcp"), "auth": "none" if on("mcp_open") else "bearer"},
            "data": {"sensitivity": "pii", "regions": ["eu-central-1"]},
            "uses": [],
        },
        {
            "id": "mcp/time",
            "kind": "mcp_server",
            "name": "Time server (third party)",
            "owner": _owner("digital-branch"),
            "env": "prod",
            "exposure": "internal",
            "risk_tier": "limited",
            "active": True,
            "keys": {},
            "props": {"transport": "stdio"},
            "data": {"sensitivity": "none", "regions": []},
            "launch": {
                "package": f"pkg:pypi/mcp-server-time@{version('mcp-server-time')}",
                "command": [sys.executable, "-m", "mcp_server_time"],
                "args": ["--local-timezone", "Europe/Berlin"],
                "consent": True,
            },
            "uses": [],
        },
        {
            "id": "provider/nimbus-ml",
            "kind": "model_provider",
            "name": "Nimbus ML platform",
            "owner": _owner("ml-platform"),
            "env": "prod",
            "exposure": "internal",
            "risk_tier": "limited",
            "active": False,
            "keys": {},
            "props": {"dpa": True, "training_opt_out": True, "region": "eu-central-1"},
            "data": {"sensitivity": "pii", "regions": ["eu-central-1"]},
            "uses": [],
        },
    ]
    return rows
