"""What a run says at its end: at most twenty lines, every number from `posture.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from flows.outcome import Outcome

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def inert(text: object) -> str:
    """Data as a terminal may show it: C0 and C1 control characters (so ANSI and OSC sequences) are made visible."""
    return CONTROL_CHARACTERS.sub(lambda m: f"\\x{ord(m.group()):02x}", str(text))


def _signed(value: int | None) -> str:
    return "" if not value else f" ({value:+d})"


def closing_lines(outcome: Outcome, command: str, seconds: float) -> list[str]:
    """The summary with the deltas to the run before. `command` is how this user calls `aispm`, settings included."""
    p = outcome.posture
    run, s, gateway = p["run"], p["summary"], p["gateway"]
    delta: Mapping[str, int] = s["delta"] or {}
    verdicts = {
        name: sum(row[name] for row in p["probes"]) for name in ("vulnerable", "resistant", "undecided", "error")
    }
    unread = [source for source in p["scope"]["sources"] if source["completeness"] != "full"]
    states = s["control_states"]
    grade = f" grade {s['grade']}" if s["grade"] else ""
    label = "DEMO: " if run["demo"] else ""
    lines = [
        (
            f"Run {run['run_id']}  {run['flow']}  {outcome.state.upper()}  {seconds:.0f} s   "
            f"{label}{p['labels']['judges']}"
        ),
        (
            f"Assets {p['scope']['assets']} in {len(p['scope']['kinds'])} kinds "
            f"(+{s['assets_new']} new, {s['assets_gone']} gone)   Not fully read: {len(unread)} sources"
        ),
        f"Attempts {sum(verdicts.values())}  " + " · ".join(f"{name} {count}" for name, count in verdicts.items()),
        "Findings "
        + "  ".join(
            f"{name} {count}{_signed(delta.get(name))}" for name, count in s["findings"].items() if name != "info"
        ),
        f"Score {s['score_worst']}–{s['score_best']}{grade}, coverage {s['coverage_ppm'] / 1_000_000:.2f}",
    ]
    if s["newly_failing"]:
        shown = "  ".join(s["newly_failing"][:3])
        more = len(s["newly_failing"]) - 3
        lines.append(f"Newly failing  {shown}" + (f"  and {more} more" if more > 0 else ""))
    lines += [
        (
            f"Controls  failing {states['tested_failing']} · clean {states['tested_clean']} · "
            f"insufficient {states['insufficient']} · not tested {states['not_tested']} of {s['controls_total']}"
        ),
        f"Gateway   {gateway['requests']} requests  "
        + " ".join(f"{name} {gateway[name]}" for name in ("allow", "redact", "flag", "block")),
        (
            f"Reports   {relative(outcome.folder)}/posture.html .pdf .json   "
            f"signed by {p['evidence']['key_id']}   unanchored"
        ),
        (
            f"Verify    {command} verify --file {relative(outcome.folder)}/posture.json "
            f"--key {relative(outcome.folder)}/aispm.pub"
        ),
        f"Query     {command} sql \"from findings where severity = 'high'\"",
    ]
    lines += [f"Incomplete: {trouble}" for trouble in outcome.troubles[:5]]
    return [inert(line) for line in lines]


def relative(path: Path) -> str:
    """The path as the user would type it here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
