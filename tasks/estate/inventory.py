"""Writes what the demo bank declares: `inventory.yaml` from its template, and the `aispm.toml` that goes with it."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tasks.estate import bank, embedding
from tasks.estate.places import Places
from tasks.estate.variants import Variant

AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Dummy credentials for the demo's cloud account; whoever runs the demo sets them."""
_ACCOUNT = "arn:aws:{service}:eu-central-1:123456789012:"


def write(places: Places, variant: Variant, gateway_url: str | None) -> None:
    """Write `inventory.yaml` and `aispm.toml` into the estate's home."""
    document = {"schema": "aispm.inventory/1", "assets": assets(places, variant, gateway_url)}
    head = "# The declared AI systems of Nimbus Bank, a fictitious bank. Secrets stand here as references only.\n"
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    (places.home / "inventory.yaml").write_text(head + text, encoding="utf-8")
    (places.home / "aispm.toml").write_text(_settings(places, gateway_url), encoding="utf-8")


def assets(places: Places, variant: Variant, gateway_url: str | None) -> list[dict[str, Any]]:
    """The declared assets in the inventory's format."""
    template = Template((Path(__file__).parent / "inventory.template.yaml").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = yaml.safe_load(template.substitute(_values(places, variant)))
    if gateway_url:
        address = gateway_url.rstrip("/")
        url = address if address.endswith("/v1") else f"{address}/v1"
        gateway = next(row for row in rows if row["id"] == "gateway/prompt")
        gateway["keys"] = {"url": url.removesuffix("/v1")}
        gateway["props"] |= {"url": url.removesuffix("/v1")}
        rows.insert(rows.index(gateway) + 1, _guarded(rows, url, places))
        mobile = next(row for row in rows if row["id"] == "app/mobile")
        mobile["uses"] = [{"rel": "calls", "to": "gateway/prompt"}, *mobile["uses"]]
    return rows


def _guarded(rows: list[dict[str, Any]], url: str, places: Places) -> dict[str, Any]:
    """The assistant as it is reached through the gateway: the same model, another door."""
    support = next(row for row in rows if row["id"] == "llm/support")
    props = {
        **copy.deepcopy(support["props"]),
        "url": url,
        "credential": places.credential("gateway"),
        "gateway_ref": "gateway/prompt",
    }
    return {
        **copy.deepcopy(support),
        "id": "llm/support-guarded",
        "name": "Support assistant behind the gateway",
        "keys": {"url": url},
        "props": props,
        "uses": ["gateway/prompt"],
    }


def _values(places: Places, variant: Variant) -> dict[str, str]:
    """What the template's places stand for. Values go through JSON, so that `null` and `true` stay what they are."""
    weak = bool(variant)
    prompt = hashlib.sha256(bank.AGENT_PROMPT.encode()).hexdigest()
    values: dict[str, Any] = {
        "hardened": not weak,
        "weak": weak,
        "guardrail": None if weak else "nimbus-baseline",
        "approval": "none" if "acts_without_confirmation" in variant else "human",
        "principal_filter": None if "ignores_tenant_filter" in variant else "tenant = :claim",
        "filter_source": "question" if "filter_from_text" in variant else "claim",
        "training_records": [{"prefix": a, "rest": b} for a, b in bank.TRAINING_RECORDS],
        "bind": "0.0.0.0" if weak else "127.0.0.1",  # noqa: S104 - a declared fact, nothing is bound here
    }
    texts = {
        "assistant_url": places.url("assistant", "/v1"),
        "agent_url": places.url("agent", "/v1"),
        "mailbox_url": places.url("agent", "/contact"),
        "mcp_url": places.url("mcp", "/mcp"),
        "rag_url": places.url("rag", "/v1"),
        **{f"{name}_key": places.credential(name) for name in places.keys},
        "claims_arn": _ACCOUNT.format(service="bedrock") + "agent/AGNIMBUS01",
        "notebook_arn": _ACCOUNT.format(service="sagemaker") + "notebook-instance/fraud-research",
        "prompt_sha": prompt,
        "embedding_sha": hashlib.sha256(Path(embedding.__file__).read_bytes()).hexdigest(),
        "vectors_path": str(places.home / "vectors"),
        "time_version": version("mcp-server-time"),
        "lancedb_version": version("lancedb"),
        "python": sys.executable,
    }
    return {name: json.dumps(value) for name, value in values.items()} | texts


def _settings(places: Places, gateway_url: str | None) -> str:
    """Text of `aispm.toml`; JSON strings are TOML strings."""
    lines = [
        f"home = {json.dumps(str(places.home / 'aispm'))}",
        f"inventory = {json.dumps(str(places.home / 'inventory.yaml'))}",
        "demo = true",
        "",
        "[probing]",
        "templates_per_family = 2  # every family in a minute: one seed to tune by, one held out",
        "",
        "[discovery.aws]",
        "enabled = true",
        'regions = ["eu-central-1"]',
        f"endpoint_url = {json.dumps(places.url('aws'))}",
    ]
    if gateway_url:
        lines += ["", "[gateway]", f"url = {json.dumps(gateway_url)}"]
    return "\n".join(lines) + "\n"
