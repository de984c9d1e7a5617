"""A bank's posture, made up but valid, in any size; and strings that attackers put into names and replies."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.reporting.schema import CLOSED, CONTROL_STATES, FINDING_STATES, SEVERITIES

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>fetch('https://evil.example/')</script>",
    "<svg/onload=alert(1)>",
    "</para><b>x",
    '<img src="/etc/passwd"/>',
    "<a href='javascript:alert(1)'>x</a>",
    "'; drop table findings; --",
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "＝1+1",
    "\x1b[2J\x1b]0;owned\x07 ANSI",
    "{{7*7}} {% for x in y %} ${7*7}",
    "safe \u202egnp.exe\u202c end",
    "nul \x00 byte",
    "zażółć 日本語 🦊 αβγ",
    "lone \ud83d surrogate",
    "&amp; &lt;b&gt; ]]> <!-- -->",
    "x" * 1_000_000,
)

ASSETS = (
    ("llm_endpoint", "llm/support", "Support assistant", "support-platform@nimbus-bank.example"),
    ("llm_endpoint", "llm/fraud", "Fraud triage model", "fraud@nimbus-bank.example"),
    ("agent", "agent/payments", "Payments agent", "payments@nimbus-bank.example"),
    ("mcp_server", "mcp/bank", "Core banking MCP server", "core@nimbus-bank.example"),
    ("mcp_server", "mcp/files", "File share MCP server", None),
    ("tool", "tool/transfer", "transfer_funds", "core@nimbus-bank.example"),
    ("rag_system", "rag/policies", "Policy search", "knowledge@nimbus-bank.example"),
    ("vector_database", "vec/policies", "policies index", "knowledge@nimbus-bank.example"),
    ("prompt_gateway", "gw/main", "AI gateway", "security@nimbus-bank.example"),
    ("model_provider", "provider/alpha", "Alpha Models", None),
    ("cloud_ai_service", "aws/bedrock", "Bedrock eu-central-1", "cloud@nimbus-bank.example"),
    ("data_source", "data/crm", "CRM extracts", "crm@nimbus-bank.example"),
)

RISKS = (
    ("probe.indirect_document", "Instruction hidden in a retrieved document is obeyed", "high"),
    ("probe.direct_override", "System instructions are overridden by a direct request", "high"),
    ("probe.tool_description", "A poisoned tool description redirects a transfer", "critical"),
    ("probe.cross_tenant", "Documents of another tenant are cited", "critical"),
    ("check.MCP-01", "MCP server accepts unauthenticated callers", "critical"),
    ("check.MCP-31", "Tool definitions changed since they were pinned", "high"),
    ("check.LLM-04", "No spending limit is set", "medium"),
    ("check.VEC-02", "The index has no tenant filter", "high"),
    ("check.GOV-01", "No owner is declared", "low"),
    ("check.GW-03", "Request bodies are logged in clear", "medium"),
    ("check.NET-07", "The endpoint is reachable from the internet", "medium"),
    ("check.DOC-02", "The model card is out of date", "info"),
)

FRAMEWORKS = (
    ("owasp-llm", "2025", "LLM{:02d}", 10, "Prompt injection"),
    ("owasp-asi", "2026", "ASI{:02d}", 10, "Agent goal hijack"),
    ("nist-ai-600-1", "2024-07", "MS-2.7-{:03d}", 20, "Red-team the system for prompt injection"),
    ("nist-sp800-218a", "2024-07", "PW.{}.1", 16, "Review and analyse code for vulnerabilities"),
    ("mitre-atlas", "2026.09", "AML.T{:04d}", 40, "LLM prompt injection"),
    ("eu-ai-act", "2026-07-27", "Art.15({})", 30, "Accuracy, robustness and cybersecurity"),
    ("iso-42001", "2023", "A.6.2.{}", 38, "AI system operation and monitoring"),
)

START = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)


def build_posture(findings: int = 40, *, hostile: bool = False, seed: int = 7) -> dict[str, Any]:
    """A valid `aispm.posture/1` with that many findings; the same arguments give the same document."""
    rng = random.Random(seed)
    dirty = iter(HOSTILE * 40) if hostile else None

    def text(clean: str) -> str:
        return next(dirty, clean) if dirty is not None else clean

    controls = []
    for framework, version, pattern, count, title in FRAMEWORKS:
        for number in range(1, count + 1):
            state = rng.choices(CONTROL_STATES, (18, 14, 14, 46, 10 if framework == "eu-ai-act" else 0, 4))[0]
            control_id = pattern.format(number)
            controls.append(
                {
                    "key": f"{framework}@{version}:{control_id}",
                    "framework": framework,
                    "version": version,
                    "control_id": control_id,
                    "title": f"{title} ({number})",
                    "state": state,
                    "findings": rng.randint(1, 9) if state == "tested_failing" else 0,
                    "evidence": rng.randint(0, 400),
                    "applies_from": "2027-12-02" if framework == "eu-ai-act" else None,
                    "reason": {
                        "tested_failing": "a confirmed hit",
                        "insufficient": "31 of 59 templates",
                        "tested_clean": "0 hits in 118 templates",
                        "not_tested": "no probe or check maps here",
                        "not_yet_applicable": "applies from 2027-12-02",
                        "not_applicable": "no model is trained here",
                    }[state],
                }
            )
    rows = []
    for number in range(findings):
        kind, asset_id, asset_name, owner = ASSETS[number % len(ASSETS)]
        finding_kind, title, severity = RISKS[rng.randrange(len(RISKS))]
        trials = rng.choice((59, 118, 236)) if finding_kind.startswith("probe.") else 0
        hits = rng.randint(1, max(trials // 4, 1)) if trials else 1
        rate = hits * 1_000_000 // trials if trials else None
        mapped = [next(c for c in controls if c["framework"] == name) for name, *_ in FRAMEWORKS]
        rows.append(
            {
                "finding_id": hashlib.sha256(f"{seed}-{number}".encode()).hexdigest()[:24],
                "severity": severity,
                "state": rng.choices(FINDING_STATES, (50, 8, 5, 20, 6, 3, 4, 4))[0],
                "title": text(title),
                "finding_kind": finding_kind,
                "rule_id": finding_kind.split(".")[1],
                "asset_id": asset_id,
                "asset_name": text(asset_name),
                "asset_kind": kind,
                "summary": text(
                    "The assistant followed an instruction in a retrieved document and returned the planted token. "
                    "The reply was judged vulnerable by two of three judges."
                ),
                "fix": text(
                    "Treat retrieved text as data: mark it, strip instructions, and require approval for transfers."
                ),
                "owner": owner,
                "discovered_at": "2025-12-20T02:11:00Z",
                "age_days": rng.randint(0, 90),
                "hits": hits,
                "trials": trials,
                "low_ppm": None if rate is None else max(rate - 40_000, 0),
                "high_ppm": None if rate is None else min(rate + 60_000, 1_000_000),
                "proof_label": "official_shape_fake" if kind == "cloud_ai_service" else "real_component",
                "evidence_sha256": hashlib.sha256(f"evidence {number}".encode()).hexdigest(),
                "controls": [
                    {
                        "key": c["key"],
                        "title": c["title"],
                        "framework": c["framework"],
                        "grade": rng.choice(("official", "third_party", "derived", "project")),
                        "relation": "intersects_with",
                        "applies_from": c["applies_from"],
                    }
                    for c in mapped[: rng.randint(3, 7)]
                ],
                "none": [{"framework": "iso-42001", "rationale": "Annex A has no control on this technique."}],
                "votes": [
                    {
                        "judge_id": j,
                        "verdict": rng.choice(("vulnerable", "vulnerable", "resistant", "undecided")),
                        "confidence_ppm": rng.randint(500_000, 990_000),
                    }
                    for j in ("rule", "lexical", "similarity")
                ]
                if trials
                else [],
            }
        )
    counts = {s: sum(f["severity"] == s and f["state"] not in CLOSED for f in rows) for s in SEVERITIES}
    runs = [START - timedelta(weeks=w) for w in range(13, -1, -1)]
    assets = [
        {
            "asset_id": asset_id,
            "kind": kind,
            "name": text(name),
            "state": "active",
            "owner": owner,
            "env": "prod",
            "exposure": "internet" if kind == "llm_endpoint" else "internal",
            "risk_tier": "high",
            "declared": owner is not None,
            "sources": ["inventory", "gateway"],
            "proof_label": "official_shape_fake" if kind == "cloud_ai_service" else "real_component",
            "first_seen": "2025-11-01T02:00:00Z",
            "last_seen": "2026-01-05T02:01:00Z",
            "pass": 12,
            "fail": 3,
            "unknown": 2,
            "not_applicable": 9,
        }
        for kind, asset_id, name, owner in ASSETS
    ]
    kinds = sorted({a[0] for a in ASSETS})
    return {
        "schema": "aispm.posture/1",
        "run": {
            "run_id": "20260105T020000Z-7f3a",
            "flow": "nightly",
            "campaign_id": "c-20260105",
            "state": "COMPLETE",
            "started_at": "2026-01-05T02:00:00Z",
            "finished_at": "2026-01-05T02:14:31Z",
            "code_version": "0.1.0",
            "demo": True,
            "previous_run_id": "20260104T020000Z-11aa",
        },
        "scope": {
            "assets": len(assets),
            "kinds": [{"kind": k, "count": sum(a[0] == k for a in ASSETS)} for k in kinds],
            "sources": [
                {
                    "source": "inventory",
                    "scope": "inventory.yaml",
                    "completeness": "full",
                    "reason": "",
                    "observations": 12,
                },
                {
                    "source": "aws_bedrock",
                    "scope": "eu-central-1",
                    "completeness": "denied",
                    "reason": "bedrock:ListGuardrails is not allowed for this role",
                    "observations": 0,
                },
                {
                    "source": "mcp_servers",
                    "scope": "2 servers",
                    "completeness": "full",
                    "reason": "",
                    "observations": 9,
                },
            ],
        },
        "labels": {
            "judges": "offline judges",
            "proof": [{"label": "real_component", "assets": 11}, {"label": "official_shape_fake", "assets": 1}],
        },
        "summary": {
            "score_best": 68,
            "score_worst": 61,
            "coverage_ppm": 870_000,
            "grade": "C",
            "findings": counts,
            "delta": {"critical": 1, "high": -3, "medium": 0, "low": 2, "info": 0},
            "assets_new": 3,
            "assets_gone": 1,
            "newly_failing": ["owasp-llm@2025:LLM06", "eu-ai-act@2026-07-27:Art.15(5)"],
            "newly_passing": ["owasp-asi@2026:ASI04"],
            "controls_total": len(controls),
            "control_states": {s: sum(c["state"] == s for c in controls) for s in CONTROL_STATES},
        },
        "assets": assets,
        "findings": rows,
        "controls": controls,
        "coverage": [
            {"kind": k, "assets": 1, "pass": 12, "fail": 3, "unknown": 2, "not_applicable": 9, "coverage_ppm": 882_352}
            for k in kinds
        ],
        "probes": [
            {
                "family_id": family,
                "asset_id": "llm/support",
                "asset_name": "Support assistant",
                "attempts": 64,
                "vulnerable": hits,
                "resistant": 59 - hits,
                "undecided": 3,
                "error": 2,
                "not_applicable": 0,
                "low_ppm": hits * 9_000,
                "high_ppm": 60_000 + hits * 20_000,
            }
            for hits, family in enumerate(
                ("direct_override", "indirect_document", "tool_description", "cross_tenant", "system_prompt_leak")
            )
        ],
        "judges": [
            {
                "judge_id": j,
                "provider": "built-in",
                "model": f"{j}-1",
                "live": False,
                "votes": 320,
                "vulnerable": 61,
                "resistant": 240,
                "undecided": 15,
                "error": 4,
            }
            for j in ("rule", "lexical", "similarity")
        ],
        "gateway": {
            "requests": 1_000,
            "allow": 941,
            "redact": 22,
            "flag": 25,
            "block": 12,
            "by_reason": [
                {"reason_code": "DLP.SECRET.AWS_ACCESS_KEY", "count": 22},
                {"reason_code": "INJECTION.OVERRIDE", "count": 25},
                {"reason_code": "TOOL.NOT_ALLOWED", "count": 12},
            ],
        },
        "trend": [
            {
                "run_id": at.strftime("%Y%m%dT%H%M%SZ-0001"),
                "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "score_best": 50 + n + n % 3,
                "score_worst": 41 + n,
                "critical": max(6 - n // 3, 1),
                "high": 14 - n // 2,
                "medium": 13,
                "low": 24,
                "attempts": 1_240,
                "vulnerable": 90 - n * 2,
            }
            for n, at in enumerate(runs)
        ],
        "exceptions": [
            {
                "finding_id": "f0",
                "title": text("Legacy chatbot without rate limit"),
                "reason": "Retired in March",
                "by": "ciso@nimbus-bank.example",
                "until": "2026-03-31T00:00:00Z",
            }
        ],
        "quality": {"state": "passed", "expectations": 42, "failed": 0},
        "quarantined": 2,
        "evidence": {
            "run_root": "ab" * 32,
            "chain_seq": 14,
            "prev": "cd" * 32,
            "key_id": "9c2e0f1a2b3c4d5e",
            "anchored": False,
        },
        "catalogs": [
            {
                "framework": name,
                "version": version,
                "licence": "CC BY-SA 4.0" if name.startswith("owasp") else "public domain",
                "url": "https://publisher.example/" + name,
                "sha256": hashlib.sha256(name.encode()).hexdigest(),
            }
            for name, version, *_ in FRAMEWORKS
        ],
        "gaps": [
            "Fine-tuned models were not read: no connector is configured.",
            text("Azure was not in scope of this run."),
        ],
    }


@pytest.fixture(scope="session")
def posture_builder() -> Callable[..., dict[str, Any]]:
    return build_posture


@pytest.fixture
def make_posture() -> Callable[..., dict[str, Any]]:
    return build_posture


@pytest.fixture
def hostile_strings() -> tuple[str, ...]:
    return HOSTILE
