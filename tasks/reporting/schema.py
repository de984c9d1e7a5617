"""What `aispm.posture/1` is: every section, member and type, in one table that builder and renderers share.

Types: `int` counts and ppm, `str`, `bool`, `[str]`, an enum of the vocabulary, or rows of further members. A trailing
`?` allows null. All members are required and no others are allowed: a reader of a signed document must never have to
guess. Times are ISO 8601 in UTC with a trailing `Z`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tasks.errors import ConfigError
from tasks.records import AssetKind, Completeness, ProofLabel, Severity

SCHEMA = "aispm.posture/1"

CONTROL_STATES = (
    "tested_failing",
    "insufficient",
    "tested_clean",
    "not_tested",
    "not_yet_applicable",
    "not_applicable",
)
"""Worst news first; the order in which reports count them, always apart."""

SEVERITIES = tuple(s.value for s in Severity)
FINDING_STATES = ("open", "triaged", "in_review", "confirmed", "accepted", "false_positive", "fixed", "regressed")
CLOSED = ("fixed", "false_positive")
"""Finding states that the summary does not count; accepted ones are counted."""
GRADES = ("official", "third_party", "derived", "project")
RELATIONS = ("equal", "subset_of", "superset_of", "intersects_with")
VERDICTS = ("vulnerable", "resistant", "undecided", "error", "not_applicable")

ENUMS: dict[str, tuple[str, ...]] = {
    "severity": SEVERITIES,
    "finding_state": FINDING_STATES,
    "control_state": CONTROL_STATES,
    "grade": GRADES,
    "relation": RELATIONS,
    "verdict": VERDICTS,
    "kind": tuple(k.value for k in AssetKind),
    "proof": tuple(p.value for p in ProofLabel),
    "completeness": tuple(c.value for c in Completeness),
    "judges": ("offline judges", "live judges", "no judges"),
}

_BY_SEVERITY = {"critical": "int", "high": "int", "medium": "int", "low": "int", "info": "int"}
_OUTCOMES = {"pass": "int", "fail": "int", "unknown": "int", "not_applicable": "int"}

POSTURE: dict[str, Any] = {
    "schema": "str",
    "run": {
        "run_id": "str", "flow": "str", "campaign_id": "str?", "state": "str", "started_at": "time",
        "finished_at": "time?", "code_version": "str", "demo": "bool", "previous_run_id": "str?",
    },
    "scope": {
        "assets": "int",
        "kinds": [{"kind": "kind", "count": "int"}],
        "sources": [
            {"source": "str", "scope": "str", "completeness": "completeness", "reason": "str", "observations": "int"}
        ],
    },
    "labels": {"judges": "judges", "proof": [{"label": "proof", "assets": "int"}]},
    "summary": {
        "score_best": "int?", "score_worst": "int?", "coverage_ppm": "int?", "grade": "str?",
        "findings": _BY_SEVERITY, "delta": {"?": _BY_SEVERITY}, "assets_new": "int", "assets_gone": "int",
        "newly_failing": ["str"], "newly_passing": ["str"], "controls_total": "int",
        "control_states": dict.fromkeys(CONTROL_STATES, "int"),
    },
    "assets": [
        {
            "asset_id": "str", "kind": "kind", "name": "str", "state": "str", "owner": "str?", "env": "str?",
            "exposure": "str?", "risk_tier": "str?", "declared": "bool", "sources": ["str"], "proof_label": "proof",
            "first_seen": "time?", "last_seen": "time?", **_OUTCOMES,
        }
    ],
    "findings": [
        {
            "finding_id": "str", "severity": "severity", "state": "finding_state", "title": "str",
            "finding_kind": "str", "rule_id": "str", "asset_id": "str", "asset_name": "str", "asset_kind": "kind",
            "summary": "str", "fix": "str", "owner": "str?", "discovered_at": "time", "age_days": "int",
            "hits": "int", "trials": "int", "low_ppm": "int?", "high_ppm": "int?", "proof_label": "proof",
            "evidence_sha256": "str",
            "controls": [
                {
                    "key": "key", "title": "str", "framework": "str", "grade": "grade", "relation": "relation",
                    "applies_from": "date?",
                }
            ],
            "none": [{"framework": "str", "rationale": "str"}],
            "votes": [{"judge_id": "str", "verdict": "verdict", "confidence_ppm": "int"}],
        }
    ],
    "controls": [
        {
            "key": "key", "framework": "str", "version": "str", "control_id": "str", "title": "str",
            "state": "control_state", "findings": "int", "evidence": "int", "applies_from": "date?", "reason": "str",
        }
    ],
    "coverage": [{"kind": "kind", "assets": "int", **_OUTCOMES, "coverage_ppm": "int?"}],
    "probes": [
        {
            "family_id": "str", "asset_id": "str", "asset_name": "str", "attempts": "int", "vulnerable": "int",
            "resistant": "int", "undecided": "int", "error": "int", "not_applicable": "int", "low_ppm": "int?",
            "high_ppm": "int?",
        }
    ],
    "judges": [
        {
            "judge_id": "str", "provider": "str", "model": "str", "live": "bool", "votes": "int",
            "vulnerable": "int", "resistant": "int", "undecided": "int", "error": "int",
        }
    ],
    "gateway": {
        "requests": "int", "allow": "int", "redact": "int", "flag": "int", "block": "int",
        "by_reason": [{"reason_code": "str", "count": "int"}],
    },
    "trend": [
        {
            "run_id": "str", "at": "time", "score_best": "int?", "score_worst": "int?", "critical": "int",
            "high": "int", "medium": "int", "low": "int", "attempts": "int", "vulnerable": "int",
        }
    ],
    "exceptions": [{"finding_id": "str", "title": "str", "reason": "str", "by": "str", "until": "str?"}],
    "quality": {"state": "str", "expectations": "int", "failed": "int"},
    "quarantined": "int",
    "evidence": {
        "run_root": "str?", "chain_seq": "int?", "prev": "str?", "key_id": "str?", "anchored": "bool",
    },
    "catalogs": [{"framework": "str", "version": "str", "licence": "str", "url": "str", "sha256": "str"}],
    "gaps": ["str"],
}  # fmt: skip  # one member per line would hide the shape

_FORMS = {
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "key": re.compile(r"[a-z0-9-]+@[^:\s]+:\S+"),
}


def posture_problems(posture: Any) -> list[str]:
    """Every place where `posture` is not an `aispm.posture/1`, and counts that contradict its rows; empty = valid."""
    problems = list(_walk(posture, POSTURE, "$"))
    if problems:
        return problems
    if posture["schema"] != SCHEMA:
        return [f"$.schema: {posture['schema']!r} is not {SCHEMA}"]
    states = posture["summary"]["control_states"]
    if not sum(states.values()) == posture["summary"]["controls_total"] == len(posture["controls"]):
        problems.append("$.summary.control_states: the six counts must add up to controls_total and to the controls")
    for state in CONTROL_STATES:
        if states[state] != (found := sum(c["state"] == state for c in posture["controls"])):
            problems.append(f"$.summary.control_states.{state}: {states[state]}, but {found} controls have this state")
    for severity in SEVERITIES:
        found = sum(f["severity"] == severity and f["state"] not in CLOSED for f in posture["findings"])
        if found != (said := posture["summary"]["findings"][severity]):
            problems.append(f"$.summary.findings.{severity}: {said}, but {found} active findings are listed")
    if posture["scope"]["assets"] != len(posture["assets"]):
        problems.append(f"$.scope.assets: {posture['scope']['assets']}, but {len(posture['assets'])} assets are listed")
    return problems


def require_posture(posture: Any) -> None:
    """Raises ConfigError that names the first problems, when `posture` is not a valid `aispm.posture/1`."""
    if problems := posture_problems(posture):
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ConfigError("not a valid posture: " + "; ".join(problems[:5]) + more)


def _walk(value: Any, spec: Any, where: str) -> Iterator[str]:
    if isinstance(spec, dict):
        if "?" in spec:
            if value is None:
                return
            spec = spec["?"]
        if not isinstance(value, dict):
            yield f"{where}: an object is expected, not {type(value).__name__}"
            return
        for name in spec.keys() - value.keys():
            yield f"{where}.{name}: missing"
        for name in value.keys() - spec.keys():
            yield f"{where}.{name}: unknown member"
        for name in spec.keys() & value.keys():
            yield from _walk(value[name], spec[name], f"{where}.{name}")
    elif isinstance(spec, list):
        if not isinstance(value, list):
            yield f"{where}: a list is expected, not {type(value).__name__}"
            return
        for i, item in enumerate(value):
            yield from _walk(item, spec[0], f"{where}[{i}]")
    elif value is None and spec.endswith("?"):
        return
    elif problem := _scalar(value, spec.removesuffix("?")):
        yield f"{where}: {problem}"


def _scalar(value: Any, spec: str) -> str | None:
    if spec in ("int", "bool"):
        good = isinstance(value, bool) if spec == "bool" else isinstance(value, int) and not isinstance(value, bool)
        return None if good else f"{spec} is expected, not {type(value).__name__}"
    if not isinstance(value, str):
        return f"text is expected, not {type(value).__name__}"
    if spec in ENUMS and value not in ENUMS[spec]:
        return f"{value[:40]!r} is none of {', '.join(ENUMS[spec])}"
    if spec in _FORMS and not _FORMS[spec].fullmatch(value):
        return f"{value[:40]!r} is not a {spec}"
    return None
