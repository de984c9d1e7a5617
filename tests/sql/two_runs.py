"""A small hand-written lake: two nightly runs of a bank, with an abandoned run between them and a fresh one after.

Marts are checked against figures worked out by hand from these rows; the examples in `sql/cookbook/` come from it too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import duckdb
from lake_double import create_views, empty_lake, insert

R1, RX, R2, R3 = "20260101T020000Z-aaaa", "20260102T020000Z-bbbb", "20260103T020000Z-cccc", "20260104T020000Z-dddd"
APP, AGENT, LLM, MCP, RAG = (
    "ai_application:portal",
    "agent:clerk",
    "llm_endpoint:support",
    "mcp_server:files",
    "rag_system:handbook",
)
KEYS = (
    "owasp-llm@2025:LLM01",
    "owasp-asi@2026:ASI01",
    "nist-ai-600-1@2024-07:MS-2.7-007",
    "mitre-atlas@2026.09:AML.T0051.000",
    "eu-ai-act@2026-07-27:Art.15(5)",
)
NONE_KEY = "iso-42001@2023:A.7.4"
TURNS_BAD, TURNS_GOOD = "owasp-asi@2026:ASI02", "owasp-llm@2025:LLM07"
SHA = "0" * 64


def at(day: int, hour: int = 2, minute: int = 0) -> dt.datetime:
    return dt.datetime(2026, 1, day, hour, minute, tzinfo=dt.UTC)


STARTED = {R1: at(1), RX: at(2), R2: at(3), R3: at(4)}


def stamped(run_id: str, minute: int, row: dict[str, Any]) -> dict[str, Any]:
    moment = STARTED[run_id] + dt.timedelta(minutes=minute)
    return {"run_id": run_id, "recorded_at": moment, "batch_key": f"{run_id}/{minute}", "row_sha256": SHA, **row}


def runs() -> list[dict[str, Any]]:
    states = [
        (R1, 1, "started", 0), (R1, 2, "complete", 10),
        (RX, 1, "started", 0), (RX, 2, "abandoned", 5),
        (R2, 1, "started", 0), (R2, 2, "complete", 10),
        (R3, 1, "started", 0),
    ]  # fmt: skip
    return [
        stamped(run, minute, {
            "seq": seq, "flow": "nightly", "campaign_id": f"nightly/{run}", "state": state,
            "entered_at": STARTED[run] + dt.timedelta(minutes=minute), "code_version": "c0de", "params_sha256": SHA,
            "demo": False, "judges_label": "offline judges", "detail": "{}",
        })
        for run, seq, state, minute in states
    ]  # fmt: skip


def asset(run: str, asset_id: str, name: str, state: str = "present", **more: Any) -> dict[str, Any]:
    props = more.pop("props", {})
    return stamped(run, 1, {
        "asset_id": asset_id, "valid_from": STARTED[run] + dt.timedelta(minutes=1), "kind": asset_id.split(":")[0],
        "name": name, "state": state, "config_hash": hashlib.sha256(f"{asset_id}{state}".encode()).hexdigest()[:8],
        "props": json.dumps(props), "sources": json.dumps(["inventory"]), "declared": True, "active": True,
        "proof_label": "real_component", **more,
    })  # fmt: skip


def assets() -> list[dict[str, Any]]:
    return [
        asset(R1, LLM, "Support assistant", owner="support@bank.example", env="prod", exposure="internet",
              props={"data_sensitivity": "pii", "region": "eu-central-1", "model": "nimbus-support-1"}),
        asset(R1, AGENT, "Payments clerk", env="prod", exposure="internal", props={"inventory_id": "agent/clerk"}),
        asset(R1, MCP, "File server", owner="it@bank.example"),
        asset(R2, MCP, "File server", "absent", owner="it@bank.example"),
        asset(R1, APP, "Customer portal", owner="web@bank.example", exposure="internal"),
        asset(R2, RAG, "Handbook search", declared=False, active=False, proof_label="official_shape_fake"),
    ]  # fmt: skip


def observations() -> list[dict[str, Any]]:
    seen = {R1: (LLM, AGENT, MCP, APP), R2: (LLM, AGENT, APP, RAG)}
    return [
        stamped(run, 1, {
            "observation_id": f"{run}/{asset_id}", "asset_id": asset_id, "source": "inventory", "source_version": "1",
            "kind": asset_id.split(":")[0], "name": asset_id, "natural_keys": "{}", "props": "{}", "evidence": "row",
            "confidence": 100, "completeness": "full", "observed_at": STARTED[run] + dt.timedelta(minutes=1),
            "proof_label": "real_component", "dt": STARTED[run].date(),
        })
        for run, ids in seen.items()
        for asset_id in ids
    ]  # fmt: skip


def check(run: str, asset_id: str, check_id: str, outcome: str, severity: str, **evidence: Any) -> dict[str, Any]:
    return stamped(run, 2, {
        "asset_id": asset_id, "check_id": check_id, "outcome": outcome, "severity": severity, "mode": "config",
        "reason": f"{check_id} {outcome}", "evidence": json.dumps(evidence), "proof_label": "real_component",
        "dt": STARTED[run].date(),
    })  # fmt: skip


WAIVER = {"check": "LLM-02", "until": "2026-02-01", "reason": "migration under way", "by": "ciso@bank.example"}


def checks() -> list[dict[str, Any]]:
    return [
        check(R1, LLM, "LLM-01", "fail", "high"),
        check(R1, LLM, "LLM-02", "pass", "medium"),
        check(R1, LLM, "LLM-03", "unknown", "medium"),
        check(R1, AGENT, "AGT-01", "pass", "high"),
        check(R1, AGENT, "AGT-02", "not_applicable", "low"),
        check(R1, MCP, "MCP-01", "fail", "critical"),
        check(R1, APP, "APP-01", "pass", "low"),
        check(R2, LLM, "LLM-01", "pass", "high"),
        check(R2, LLM, "LLM-02", "fail", "medium", waiver=WAIVER),
        check(R2, LLM, "LLM-03", "unknown", "medium"),
        check(R2, AGENT, "AGT-01", "pass", "high"),
        check(R2, AGENT, "AGT-02", "not_applicable", "low"),
        check(R2, RAG, "RAG-01", "unknown", "critical"),
        check(R2, APP, "APP-01", "pass", "low"),
    ]


def finding(
    run: str, finding_id: str, seq: int, asset_id: str, kind: str, severity: str, state: str, hits: int, trials: int
) -> dict[str, Any]:
    first = R2 if seq == 1 and run == R2 else R1
    return stamped(run, 8, {
        "finding_id": finding_id, "seq": seq, "asset_id": asset_id, "finding_kind": kind,
        "rule_id": kind.split(".", 1)[1], "title": f"{kind} on {asset_id}", "severity": severity, "state": state,
        "locator": "", "summary": f"{hits} of {trials}", "fix": "mend it", "hits": hits, "trials": trials,
        "evidence_sha256": SHA, "discovered_at": STARTED[first] + dt.timedelta(minutes=8),
        "evaluated_at": STARTED[run] + dt.timedelta(minutes=8), "proof_label": "real_component",
    })  # fmt: skip


def findings() -> list[dict[str, Any]]:
    return [
        finding(R1, "f1", 1, LLM, "check.LLM-01", "high", "open", 1, 1),
        finding(R2, "f1", 2, LLM, "check.LLM-01", "high", "fixed", 0, 1),
        finding(R1, "f2", 1, MCP, "check.MCP-01", "critical", "open", 1, 1),
        finding(R2, "f3", 1, LLM, "check.LLM-02", "medium", "accepted", 1, 1),
        finding(R1, "f4", 1, LLM, "probe.direct_override", "high", "in_review", 0, 3),
        finding(R2, "f4", 2, LLM, "probe.direct_override", "high", "confirmed", 3, 8),
        finding(R2, "f5", 1, AGENT, "probe.tool_misuse", "critical", "open", 1, 1),
    ]


def finding_controls() -> list[dict[str, Any]]:
    stamps = {R1: ("f1", "f2", "f4"), R2: ("f1", "f3", "f4", "f5")}
    return [
        stamped(run, 9, {
            "finding_id": finding_id, "control_key": key, "catalog_sha256": SHA, "framework": key.split("@")[0],
            "relation": "none" if key == NONE_KEY else "intersects_with", "grade": "project", "edge_id": f"e/{key}",
            "rationale": "no control speaks of it" if key == NONE_KEY else "bears on it",
            "stamped_at": STARTED[run] + dt.timedelta(minutes=9),
        })
        for run, ids in stamps.items()
        for finding_id in ids
        for key in (*KEYS, NONE_KEY)
    ]  # fmt: skip


def controls() -> list[dict[str, Any]]:
    return [
        stamped(R1, 9, {
            "control_key": key, "catalog_sha256": SHA, "framework": key.split("@")[0],
            "version": key.split("@")[1].split(":")[0], "control_id": key.split(":", 1)[1],
            "title": f"Title of {key.split(':', 1)[1]}", "kind": "control", "url": "https://example.org",
            "assessable": True, "applies_from": dt.date(2027, 12, 2) if key.startswith("eu-") else None,
        })
        for key in (*KEYS, NONE_KEY, TURNS_BAD, TURNS_GOOD)
    ]  # fmt: skip


def kind_controls() -> list[dict[str, Any]]:
    """`TURNS_BAD` fails from the second run on, `TURNS_GOOD` only in the first."""
    pairs = [(kind, key) for kind in ("check.MCP-01", "probe.direct_override") for key in (*KEYS, NONE_KEY)]
    pairs += [("probe.tool_misuse", TURNS_BAD), ("check.LLM-01", TURNS_GOOD)]
    return [
        stamped(R1, 9, {
            "finding_kind": kind, "control_key": key, "catalog_sha256": SHA, "framework": key.split("@")[0],
            "relation": "none" if key == NONE_KEY else "intersects_with", "grade": "project",
            "edge_id": f"{kind}/{key}", "rationale": "because",
        })
        for kind, key in pairs
    ]  # fmt: skip


def overlaps() -> list[dict[str, Any]]:
    return [
        stamped(R1, 9, {
            "overlap_id": "TH-01/1", "catalogs_sha256": SHA, "theme": "direct injection", "a_key": KEYS[0],
            "b_key": KEYS[1], "kinds": json.dumps(["probe.direct_override"]), "grade": "official", "via": "exact",
            "sources": json.dumps(["publisher"]),
        })
    ]  # fmt: skip


def attempt(run: str, name: str, asset_id: str, family: str, verdict: str, **more: Any) -> dict[str, Any]:
    begun = STARTED[run] + dt.timedelta(minutes=3)
    return stamped(run, 4, {
        "attempt_id": name, "campaign_id": f"nightly/{run}", "asset_id": asset_id, "family_id": family,
        "family_sha256": SHA, "seed_id": f"s{int(name[-2:]) % 2}", "transforms": "[]", "trial": 0, "tries": 1,
        "template_sha256": hashlib.sha256(name.encode()).hexdigest(), "request_sha256": SHA, "response_sha256": SHA,
        "excerpt": f"reply {name}",
        "tool_trace": "[]", "finish": "stop", "tokens_in": 100, "tokens_out": 20, "cost_micro_usd": 5,
        "started_at": begun, "ended_at": begun + dt.timedelta(seconds=2), "verdict": verdict,
        "evidence_kind": "canary" if verdict == "vulnerable" else None,
        "error_kind": "timeout" if verdict == "error" else None,
        "proof_label": "real_component", "dt": begun.date(), **more,
    })  # fmt: skip


def attempts() -> list[dict[str, Any]]:
    first = [attempt(R1, f"r1-{n:02}", LLM, "direct_override", "resistant") for n in (1, 2, 3)]
    first.append(attempt(R1, "r1-04", LLM, "direct_override", "undecided"))
    outcomes = ["vulnerable", "undecided", "undecided", *["resistant"] * 4, "undecided", "undecided", "error"]
    second = [attempt(R2, f"r2-{n:02}", LLM, "direct_override", v) for n, v in enumerate(outcomes, 1)]
    trace = json.dumps([{"name": "send_money", "arguments": {"amount": 1}, "result": "sent"}])
    return [
        *first,
        *second,
        attempt(R2, "r2-11", AGENT, "tool_misuse", "vulnerable", tool_trace=trace, evidence_kind="tool_trace"),
        attempt(R2, "r2-12", AGENT, "tool_misuse", "not_applicable"),
    ]


def verdict(name: str, method: str, value: str, by: str, route: str = "automatic", **more: Any) -> dict[str, Any]:
    minute = 7 if by == "human" else 6
    return stamped(R2, minute, {
        "attempt_id": name, "method_version": method, "verdict": value, "decided_by": by, "route": route,
        "judges_label": "offline judges" if by == "judges" else "no judges", "reason": f"{by} say {value}",
        "decided_at": STARTED[R2] + dt.timedelta(minutes=minute), "dt": STARTED[R2].date(), **more,
    })  # fmt: skip


def verdicts() -> list[dict[str, Any]]:
    return [
        verdict("r2-01", "evidence/1", "vulnerable", "evidence"),
        verdict("r2-02", "consensus/1", "vulnerable", "judges", pattern="VVR", confidence_ppm=800_000),
        verdict("r2-03", "consensus/1", "resistant", "judges", pattern="RRR", confidence_ppm=950_000),
        verdict("r2-03", "human/1", "vulnerable", "human"),
        verdict("r2-08", "consensus/1", "resistant", "judges", pattern="RRE", confidence_ppm=900_000),
        verdict("r2-09", "consensus/1", "undecided", "judges", "review", pattern="VRU", confidence_ppm=400_000),
    ]


def votes() -> list[dict[str, Any]]:
    cast = {"r2-02": "VVRV", "r2-03": "RRRR", "r2-08": "RRER", "r2-09": "VRUU"}
    words = {"V": "vulnerable", "R": "resistant", "U": "undecided", "E": "error"}
    rows = []
    for name, letters in cast.items():
        for judge, letter in zip(("j1-rule", "j2-lexical", "j3-similarity", "meta"), letters, strict=True):
            rows.append(stamped(R2, 5, {
                "attempt_id": name, "judge_id": judge, "judge_version": "1", "repeat": 0,
                "role": "meta" if judge == "meta" else "judge", "provider": "offline", "model": judge, "live": False,
                "rubric_sha256": SHA, "verdict": words[letter], "confidence_ppm": 0 if letter == "E" else 700_000,
                "rationale_redacted": "because", "error_kind": "unreadable" if letter == "E" else None,
                "voted_at": STARTED[R2] + dt.timedelta(minutes=5), "dt": STARTED[R2].date(),
            }))  # fmt: skip
    return rows


def reviews() -> list[dict[str, Any]]:
    base = {"proposal": "vulnerable", "reason": "judges disagree", "requested_at": at(3, 2, 6)}
    return [
        stamped(R2, 6, {**base, "review_id": "v1", "attempt_id": "r2-09"}),
        stamped(R2, 6, {**base, "review_id": "v2", "attempt_id": "r2-03"}),
        stamped(R2, 7, {
            **base, "review_id": "v3", "attempt_id": "r2-03", "reviewer": "ana", "label": "vulnerable",
            "labelled_at": at(3, 2, 7),
        }),
    ]  # fmt: skip


def event(run: str, name: str, seq: int, decision: str | None, reason: str | None, **more: Any) -> dict[str, Any]:
    moment = STARTED[run] + dt.timedelta(minutes=3, seconds=seq)
    return stamped(run, 4, {
        "event_id": name, "gateway_id": "g1", "worker": 0, "boot_id": f"boot-{run}", "seq": seq, "segment_no": 1,
        "occurred_at": moment, "event_kind": "exchange", "agent_id": "clerk", "asset_id": "agent/clerk",
        "provider": "nimbus", "upstream_domain": "llm.bank.example", "model": "nimbus-support-1",
        "decision": decision, "reason_code": reason,
        "req_bytes": 1000, "resp_bytes": 500, "latency_us": 10_000 * seq, "filter_us": 100 * seq, "tokens_in": 10,
        "tokens_out": 5, "hash": SHA, "dt": moment.date(), **more,
    })  # fmt: skip


def gateway_events() -> list[dict[str, Any]]:
    return [
        event(R1, "g-1", 1, "allow", None),
        event(R2, "g-2", 1, "allow", None),
        event(R2, "g-3", 2, "block", "DLP.SECRET.AWS_ACCESS_KEY", severity="critical"),
        event(R2, "g-4", 3, "redact", "DLP.PII.EMAIL", severity="medium"),
        event(R2, "g-5", 4, "flag", "INJECTION.OVERRIDE", severity="high"),
        event(R2, "g-6", 5, None, "DLP.PII.EMAIL", event_kind="match", rule_id="email", match_count=2),
        event(R2, "g-7", 6, "allow", None, event_kind="tool", tool_id="read_file"),
    ]


def edges() -> list[dict[str, Any]]:
    return [
        stamped(run, 1, {"src_id": src, "dst_id": dst, "rel": rel, "source": "inventory", "valid_from": STARTED[run]})
        for run, src, dst, rel in (
            (R1, APP, AGENT, "uses"), (R1, AGENT, MCP, "mounts"), (R1, AGENT, LLM, "calls"), (R2, APP, AGENT, "uses"),
        )
    ]  # fmt: skip


def tools() -> list[dict[str, Any]]:
    return [
        stamped(run, 1, {
            "asset_id": MCP, "tool_name": name, "hash": letter * 64, "valid_from": STARTED[run],
            "definition": json.dumps({"name": name, "description": text}),
        })
        for run, name, letter, text in (
            (R1, "read_file", "a", "Read a file"),
            (R2, "read_file", "b", "Read any file"),
            (R1, "list_files", "c", "List"),
        )
    ]  # fmt: skip


def evidence() -> list[dict[str, Any]]:
    def row(run: str, minute: int, kind: str, table: str, position: int, detail: dict[str, Any], **more: Any) -> Any:
        moment = STARTED[run] + dt.timedelta(minutes=minute)
        return stamped(run, minute, {
            "kind": kind, "table_name": table, "position": position, "sha256": f"{kind}-{run}",
            "detail": json.dumps(detail), "made_at": moment, **more,
        })  # fmt: skip

    def source(name: str, completeness: str, reason: str, seen: int) -> dict[str, Any]:
        return {"source": name, "scope": "all", "completeness": completeness, "reason": reason, "observations": seen}

    passed = {"table": "findings", "expectation": "unique", "column": "finding_id", "state": "passed", "unexpected": 0}
    return [
        row(R1, 11, "root", "", 1, {"chain_seq": 1, "prev": ""}, signature="00", key_id="k1"),
        row(R2, 11, "root", "", 2, {"chain_seq": 2, "prev": f"root-{R1}"}, signature="00", key_id="k1"),
        row(R2, 1, "source", "", 0, source("inventory", "full", "", 5)),
        row(R2, 1, "source", "", 1, source("aws_bedrock", "denied", "AccessDenied", 0)),
        row(R2, 9, "quality", "findings", 0, passed),
        row(R2, 9, "quality", "findings", 1, passed),
        row(R2, 9, "quality", "verdicts", 2, {**passed, "table": "verdicts", "state": "failed", "unexpected": 1}),
    ]


def quarantined() -> list[dict[str, Any]]:
    return [
        stamped(R2, 5, {
            "table_name": "judge_votes", "batch": "b", "row_key": "['x']", "reason": "verdict is missing",
            "body_sha256": SHA, "quarantined_at": at(3, 2, 5),
        })
    ]  # fmt: skip


def rows() -> dict[str, list[dict[str, Any]]]:
    return {
        "runs": runs(), "asset_versions": assets(), "observations": observations(), "check_results": checks(),
        "findings": findings(), "finding_controls": finding_controls(), "controls": controls(),
        "kind_controls": kind_controls(),
        "control_overlaps": overlaps(), "probe_attempts": attempts(), "verdicts": verdicts(), "judge_votes": votes(),
        "reviews": reviews(), "gateway_events": gateway_events(), "edges": edges(), "tool_versions": tools(),
        "evidence": evidence(), "quarantined_rows": quarantined(),
    }  # fmt: skip


def two_runs() -> duckdb.DuckDBPyConnection:
    con = empty_lake()
    for table, values in rows().items():
        insert(con, table, values)
    create_views(con)
    return con
