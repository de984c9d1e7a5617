"""What the readable reports say, worked out once so that HTML and PDF cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.reporting.schema import CONTROL_STATES, SEVERITIES

Posture = Mapping[str, Any]


class StateName(NamedTuple):
    letter: str
    name: str
    meaning: str


STATE_NAMES = {
    "tested_failing": StateName("F", "Failing", "at least one confirmed, current hit"),
    "insufficient": StateName("I", "Insufficient", "some evidence, below the bar for a statement"),
    "tested_clean": StateName("C", "Tested clean", "enough fresh evidence on real components, and no hit"),
    "not_tested": StateName("N", "Not tested", "nothing was executed; says nothing either way"),
    "not_yet_applicable": StateName("Y", "Not yet applicable", "the duty applies from a later date"),
    "not_applicable": StateName("X", "Not applicable", "does not concern this estate, with a reason"),
}

FRAMEWORK_NAMES = {
    "owasp-llm": "OWASP Top 10 for LLM Applications",
    "owasp-asi": "OWASP Top 10 for Agentic Applications",
    "owasp-agentic-threats": "OWASP Agentic Threats",
    "nist-ai-600-1": "NIST AI 600-1 (Generative AI Profile)",
    "nist-ai-rmf": "NIST AI RMF",
    "nist-sp800-218a": "NIST SP 800-218A",
    "mitre-atlas": "MITRE ATLAS",
    "eu-ai-act": "EU AI Act",
    "iso-42001": "ISO/IEC 42001 Annex A",
}

KIND_NAMES = {
    "llm_endpoint": "LLM endpoint",
    "ai_application": "AI application",
    "rag_system": "RAG system",
    "mcp_server": "MCP server",
    "cloud_ai_service": "Cloud AI service",
    "fine_tuned_model": "Fine-tuned model",
    "self_hosted_model": "Self-hosted model",
}

PROOF_NAMES = {
    "real_component": "real component",
    "official_shape_fake": "official-shape fake",
    "declared": "declared only",
}

# Regulation (EU) 2024/1689, Art. 113, as amended by Regulation (EU) 2026/1744 (in force 27 July 2026).
EU_CALENDAR = (
    ("Chapters I and II (Art. 4, 5)", "2025-02-02"),
    ("Chapter V, general-purpose AI models (Art. 53, 55)", "2025-08-02"),
    ("Art. 4a (replaces the deleted Art. 10(5))", "2026-07-27"),
    ("Art. 43, 47 to 50, 72, 73", "2026-08-02"),
    ("Art. 5(1)(ba), (bb), (1a), (1b)", "2026-12-02"),
    ("Art. 50(2) for systems already on the market", "2026-12-02"),
    ("Chapter V for models already on the market", "2027-08-02"),
    ("Art. 6 to 27, Annex III high-risk systems", "2027-12-02"),
    ("Art. 6 to 27, Annex I high-risk systems", "2028-08-02"),
)

EU_NOTE = (
    "Dates as amended by Regulation (EU) 2026/1744. Whether Art. 43, 47 to 49, 72 and 73 bind before a system counts "
    "as high-risk is a question for counsel; the date shown is the one in the text. A finding before the date is shown "
    "as not yet applicable and still counts as evidence."
)

METHOD = (
    (
        "aispm lists the estate from several sources, runs posture checks on what it finds, sends harmless canary "
        "probes to targets that are declared active, lets several judges vote on each reply, and maps each finding to "
        "controls. A control is called tested clean only with enough fresh evidence from real components; one "
        "confirmed, current hit makes it failing, whatever the coverage."
    ),
    (
        "Rates carry their n and a 95 % Wilson interval. Judge errors and undecided votes stand beside rates, never "
        "inside them. A mapping “counts as evidence toward” a control; it never means that the control is satisfied."
    ),
)

SETTLED = ("accepted", "false_positive", "fixed")
"""States of a finding that asks for no further work now."""


@dataclass(frozen=True, slots=True)
class FrameworkRow:
    framework: str
    version: str
    name: str
    controls: tuple[Mapping[str, Any], ...]
    """Worst state first, then by key."""
    counts: Mapping[str, int]
    """One entry per control state, also when 0."""


def percent(ppm: int | None) -> str:
    """`123456` -> `12.3 %` (rounded down, so that 100 % means all)."""
    return "–" if ppm is None else f"{ppm // 10_000}.{ppm % 10_000 // 1_000} %"


def thousands(count: int) -> str:
    return f"{count:,}"


def signed(delta: int) -> str:
    return f"+{delta}" if delta > 0 else f"−{-delta}" if delta < 0 else "±0"


def kind_name(kind: str) -> str:
    return KIND_NAMES.get(kind, kind.replace("_", " ").capitalize())


def day(moment: str | None) -> str:
    """`2026-01-05T02:00:00Z` -> `2026-01-05`."""
    return moment[:10] if moment else "–"


def minute(moment: str | None) -> str:
    return f"{moment[:10]} {moment[11:16]} UTC" if moment else "–"


def interval(low_ppm: int | None, high_ppm: int | None) -> str:
    """The 95 % Wilson interval in words."""
    return "–" if low_ppm is None or high_ppm is None else f"{percent(low_ppm)} to {percent(high_ppm)}"


def rate(hits: int, trials: int) -> str:
    """Never a rate without its n."""
    return f"{percent(hits * 1_000_000 // trials)} of n = {thousands(trials)}" if trials else "n = 0"


def score_range(posture: Posture) -> str:
    low, high = posture["summary"]["score_worst"], posture["summary"]["score_best"]
    if low is None or high is None:
        return "no score"
    return str(low) if low == high else f"{min(low, high)}–{max(low, high)}"


def ordered_findings(posture: Posture) -> list[Mapping[str, Any]]:
    """Work still to do first; then by severity, measured rate and id, so that a cut drops the least."""

    def order(finding: Mapping[str, Any]) -> tuple[bool, int, int, str]:
        settled = finding["state"] in SETTLED
        return settled, SEVERITIES.index(finding["severity"]), -(finding["low_ppm"] or 0), finding["finding_id"]

    return sorted(posture["findings"], key=order)


def frameworks(posture: Posture) -> list[FrameworkRow]:
    """One row per framework edition, in the order of `FRAMEWORK_NAMES`, others after."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for control in posture["controls"]:
        groups.setdefault((control["framework"], control["version"]), []).append(control)
    known = list(FRAMEWORK_NAMES)

    def place(group: tuple[str, str]) -> tuple[int, str, str]:
        return (known.index(group[0]) if group[0] in known else len(known)), *group

    rows = []
    for framework, version in sorted(groups, key=place):
        controls = sorted(groups[framework, version], key=lambda c: (CONTROL_STATES.index(c["state"]), c["key"]))
        counts = {state: sum(c["state"] == state for c in controls) for state in CONTROL_STATES}
        name = FRAMEWORK_NAMES.get(framework, framework)
        rows.append(FrameworkRow(framework, version, name, tuple(controls), counts))
    return rows


def changed_controls(posture: Posture, member: str) -> list[tuple[str, str, str | None]]:
    """(key, title, applies from) of `newly_failing` or `newly_passing`."""
    by_key = {c["key"]: c for c in posture["controls"]}
    out = []
    for key in posture["summary"][member]:
        control = by_key.get(key, {"title": "", "applies_from": None})
        out.append((key, control["title"], control["applies_from"]))
    return out


def untested(posture: Posture) -> list[str]:
    """What this run says nothing about, in sentences; beside every score, never inside it."""
    states, total = posture["summary"]["control_states"], posture["summary"]["controls_total"]
    out = [f"{thousands(states['not_tested'])} of {thousands(total)} controls: nothing was executed."]
    if states["insufficient"]:
        out.append(f"{thousands(states['insufficient'])} of {thousands(total)} controls: the evidence is insufficient.")
    for verdict, words in (("error", "ended in an error"), ("undecided", "stayed undecided")):
        count = sum(p[verdict] for p in posture["probes"])
        if count:
            attempts = sum(p["attempts"] for p in posture["probes"])
            out.append(f"{thousands(count)} of {thousands(attempts)} probe attempts {words}.")
    return [*out, *posture["gaps"]]


def label_lines(posture: Posture) -> list[str]:
    """The labels that must stand beside every number, as sentences; empty when nothing limits what the run proves."""
    out = []
    if posture["run"]["demo"]:
        out.append("DEMO: the estate under test was built for demonstration; no statement about a production system.")
    if posture["labels"]["judges"] == "offline judges":
        out.append(
            "Offline judges: verdicts come from built-in rules and text measures, not from language models. They prove "
            "the detection chain, not a model's resistance."
        )
    elif posture["labels"]["judges"] == "no judges":
        out.append("No judges: no probe attempt was judged in this run.")
    proofs = {p["label"]: p["assets"] for p in posture["labels"]["proof"]}
    weaker = {label: n for label, n in proofs.items() if label != "real_component" and n}
    if weaker:
        parts = ", ".join(f"{thousands(n)} {PROOF_NAMES.get(label, label)}" for label, n in weaker.items())
        total = thousands(sum(proofs.values()))
        out.append(f"Proof: {parts} (of {total} assets); results on them cannot make a control tested clean.")
    return out


def top_risks(posture: Posture, count: int = 5) -> Sequence[Mapping[str, Any]]:
    return [f for f in ordered_findings(posture) if f["state"] not in SETTLED][:count]


def assets_change(posture: Posture) -> str:
    """New and gone assets, or why there is nothing to compare."""
    summary = posture["summary"]
    if posture["run"]["previous_run_id"] is None:
        return "No previous run to compare the assets with."
    new, gone = thousands(summary["assets_new"]), thousands(summary["assets_gone"])
    return f"{new} new assets, {gone} gone since the previous run."


def measured(finding: Mapping[str, Any]) -> str:
    """Hits and interval of a probe finding; a posture check has a reading, not a rate."""
    if finding["finding_kind"].startswith("check."):
        return "posture check"
    if not finding["trials"]:
        return "n = 0"
    share = f"{thousands(finding['hits'])} of {thousands(finding['trials'])}"
    return f"{share} ({interval(finding['low_ppm'], finding['high_ppm'])})" if finding["low_ppm"] is not None else share
