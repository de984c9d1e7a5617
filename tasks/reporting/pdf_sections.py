"""The twelve sections of the PDF, in the order and with the words and counts of the HTML page, condensed."""

from __future__ import annotations

import functools

from reportlab.graphics.shapes import Drawing
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import (
    Flowable,
    KeepTogether,
    NextPageTemplate,
    PageBreak,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from tasks.reporting import figures, pdf_charts
from tasks.reporting.figures import Posture, day, kind_name, percent, signed, thousands
from tasks.reporting.pdf_charts import BOLD, MARK, MUTED, RULE, SEVERITY_INK, STATE_INK, WASH
from tasks.reporting.pdf_layout import (
    BODY,
    CELL,
    FIGURE,
    H2,
    HEAD,
    LINES,
    RIGHT,
    SMALL,
    WIDTH,
    coloured,
    cut,
    fit,
    section,
    side_by_side,
    table,
    text,
)
from tasks.reporting.schema import CONTROL_STATES, FINDING_STATES, SEVERITIES

MAX_FINDINGS, MAX_DETAILS, MAX_ROWS = 5_000, 25, 300
"""Rows of the findings table, findings told in full, rows of any other table; every cut is printed."""


def story(p: Posture, document_sha256: str, key_id: str) -> list[Flowable]:
    """All flowables of the document, from the text of the cover on."""
    return [
        *_cover_text(p, document_sha256, key_id),
        *_summary(p),
        *_method(p),
        *_controls(p),
        *_trend(p),
        *_findings(p),
        *_probes_and_judges(p),
        *_gateway_and_assets(p),
        *_exceptions(p),
        *_appendix(p, key_id),
    ]


def _cover_text(p: Posture, document_sha256: str, key_id: str) -> list[Flowable]:
    run = p["run"]
    kinds = len(p["scope"]["kinds"])
    facts = [
        ("Run", run["run_id"]),
        ("Previous run", run["previous_run_id"] or "none"),
        ("Flow and code", f"{run['flow']}, aispm {run['code_version']}"),
        ("Scope", f"{thousands(p['scope']['assets'])} assets in {kinds} kinds, {len(p['scope']['sources'])} sources"),
        ("Signed by key", key_id),
        ("SHA-256 of posture.json", document_sha256),
    ]
    sheet = Table([[text(k, SMALL), text(v, CELL)] for k, v in facts], [42 * mm, WIDTH - 42 * mm])
    sheet.setStyle(LINES)
    notes = figures.label_lines(p)
    box = Table([[[text(line, BODY) for line in notes]]], [WIDTH]) if notes else None
    if box is not None:
        box.setStyle(TableStyle([("BACKGROUND", (0, 0), (-1, -1), WASH), ("LINEBEFORE", (0, 0), (0, -1), 3, MARK)]))
    contents = (
        "1 Summary · 2 Method and sources · 3 Control matrix · 4 Heat map · 5 Trend · 6 Findings · 7 Probes · "
        "8 Judges · 9 Gateway · 10 Assets · 11 Exceptions · 12 Appendix"
    )
    page: list[Flowable | None] = [
        sheet,
        Spacer(1, 10),
        box,
        Spacer(1, 10),
        text("Contents", H2),
        text(contents, SMALL),
        text(
            "This file is a rendering and is not signed itself: the signed document is posture.json, and package.json "
            "holds this file's digest. The HTML page is the accessible edition.",
            SMALL,
        ),
        NextPageTemplate("page"),
        PageBreak(),
    ]
    return [f for f in page if f is not None]


def _summary(p: Posture) -> list[Flowable]:
    s, states = p["summary"], p["summary"]["control_states"]
    delta = s["delta"]

    def change(name: str) -> str:
        return f" ({signed(delta[name])})" if delta is not None else ""

    low, high = s["score_worst"], s["score_best"]
    grade = f" Grade {s['grade']}." if s["grade"] is not None else ""
    score: list[Flowable] = [text("SCORE RANGE", HEAD), text(figures.score_range(p), FIGURE)]
    if low is not None and high is not None:
        score.append(pdf_charts.score_band(min(low, high), max(low, high)))
    score.append(
        text(f"of 100: lowest if every unknown result were bad, highest if every one were good.{grade}", SMALL)
    )
    blocks = [
        score,
        [
            text("COVERAGE", HEAD),
            text(percent(s["coverage_ppm"]), FIGURE),
            text("of applicable posture checks were read; the rest is unknown, which is never a pass.", SMALL),
        ],
        [
            text("CRITICAL AND HIGH", HEAD),
            text(thousands(s["findings"]["critical"] + s["findings"]["high"]), FIGURE),
            text(
                ", ".join(f"{s['findings'][name]} {name}{change(name)}" for name in ("critical", "high"))
                + (" against the previous run." if delta is not None else "; no previous run to compare with."),
                SMALL,
            ),
        ],
        [
            text("CONTROLS FAILING", HEAD),
            text(thousands(states["tested_failing"]), FIGURE),
            text(
                f"{thousands(states['tested_clean'])} tested clean, {thousands(states['not_tested'])} not tested, "
                f"of {thousands(s['controls_total'])}.",
                SMALL,
            ),
        ],
    ]
    key = Table([blocks], [WIDTH * 0.31, *[WIDTH * 0.23] * 3])
    key.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BOX", (0, 0), (-1, -1), 0.6, RULE),
                ("INNERGRID", (0, 0), (-1, -1), 0.6, RULE),
            ]
        )
    )
    said = "Findings: " + " · ".join(f"{name} {s['findings'][name]}{change(name)}" for name in SEVERITIES)
    limits = figures.untested(p)
    untested = [text(f"• {line}", SMALL, 240) for line in limits[:9]]
    if len(limits) > 9:
        untested.append(text(f"{len(limits) - 9} more in the appendix.", SMALL))
    out: list[Flowable] = [*section("1  Summary"), key, Spacer(1, 6)]
    out.append(
        side_by_side(
            [text("Findings by severity", H2), pdf_charts.severity_bars(s["findings"]), text(said, SMALL)],
            [text("What was not tested", H2), *untested],
        )
    )
    out.append(text("Top risks", H2))
    risks = figures.top_risks(p)
    if risks:
        out += table(
            ("Severity", "Risk", "Asset", "Hits of trials (95 % Wilson)", "Owner"),
            (12, 38, 24, 34, 40),
            [
                (
                    _severity(x["severity"]),
                    x["title"],
                    x["asset_name"],
                    figures.measured(x),
                    x["owner"] or "no owner declared",
                )
                for x in risks
            ],
            160,
        )
    else:
        out.append(text("No open finding. Read this with “What was not tested”."))
    for member, words in (("newly_failing", "Newly failing"), ("newly_passing", "Newly passing")):
        rows = figures.changed_controls(p, member)
        listed = "; ".join(f"{k} {t}" + (f" (applies from {d})" if d else "") for k, t, d in rows[:12]) or "none"
        more = f"; and {len(rows) - 12} more in posture.json" if len(rows) > 12 else ""
        out.append(text(f"{words}: {listed}{more}", SMALL, 900))
    out.append(text(figures.assets_change(p), SMALL))
    return out


def _method(p: Posture) -> list[Flowable]:
    out: list[Flowable] = [PageBreak(), *section("2  Method and sources")]
    out += [text(paragraph) for paragraph in figures.METHOD]
    sources = p["scope"]["sources"]
    out += table(
        ("Source", "Scope", "Read", "Observations#", "Reason"),
        (24, 30, 12, 16, 50),
        [
            (r["source"], r["scope"], r["completeness"], thousands(r["observations"]), r["reason"])
            for r in sources[:MAX_ROWS]
        ],
    )
    out += cut(
        min(len(sources), MAX_ROWS), len(sources), "sources", f"from sources where run_id = '{p['run']['run_id']}'"
    )
    out += section("Posture check results by asset kind", 1)
    out.append(text("Figures in the bars: pass, fail, unknown (p, f, u where narrow).", SMALL))
    out.append(pdf_charts.coverage_bars(p))
    out.append(Spacer(1, 6))
    out += table(
        ("Kind", "Assets#", "Pass#", "Fail#", "Unknown#", "Not applicable#", "Read#"),
        (36, 12, 12, 12, 12, 16, 12),
        [
            (
                kind_name(r["kind"]),
                *(thousands(r[m]) for m in ("assets", "pass", "fail", "unknown", "not_applicable")),
                percent(r["coverage_ppm"]),
            )
            for r in p["coverage"]
        ],
    )
    quality = p["quality"]
    out.append(
        text(
            f"Data quality: {thousands(quality['expectations'])} expectations, {thousands(quality['failed'])} failed: "
            f"{quality['state']}. "
            f"{thousands(p['quarantined'])} malformed rows quarantined.",
            SMALL,
        )
    )
    return out


def _controls(p: Posture) -> list[Flowable]:
    rows = figures.frameworks(p)
    states = p["summary"]["control_states"]
    out: list[Flowable] = [*section("3  Control matrix")]
    out.append(text("Six states, counted apart. No percentage merges “not tested” into “clean”."))
    matrix: list[tuple[object, ...]] = [
        (f"{r.name} {r.version}", *(thousands(r.counts[s]) for s in CONTROL_STATES), thousands(len(r.controls)))
        for r in rows
    ]
    total = [
        Paragraph(f"<b>{thousands(n)}</b>", RIGHT)
        for n in (*(states[s] for s in CONTROL_STATES), p["summary"]["controls_total"])
    ]
    matrix.append((Paragraph("<b>All</b>", CELL), *total))
    heads = [f"{figures.STATE_NAMES[s].name}#" for s in CONTROL_STATES]
    out += table(("Framework", *heads, "Controls#"), (52, 13, 18, 14, 14, 18, 17, 15), matrix)
    out.append(
        text("; ".join(f"{n.letter} = {n.name}: {n.meaning}" for n in figures.STATE_NAMES.values()) + ".", SMALL)
    )
    out += section("4  Heat map")
    out.append(text("Letter and count per state; the tint is the state’s share of the framework.", SMALL))
    out.append(pdf_charts.heat_map(rows, [fit(f"{r.name} {r.version}", 46) for r in rows]))
    for row in rows:
        told = [c for c in row.controls if c["state"] in ("tested_failing", "insufficient", "tested_clean")]
        out += section(f"{row.name} {row.version}", 1)
        if told:
            out += table(
                ("Control", "Title", "State", "Findings#", "Evidence#", "Reason"),
                (57, 42, 24, 15, 16, 26),
                [
                    (
                        c["key"],
                        c["title"],
                        _state(c["state"]),
                        thousands(c["findings"]),
                        thousands(c["evidence"]),
                        c["reason"],
                    )
                    for c in told[:MAX_ROWS]
                ],
                160,
            )
            out += cut(
                min(len(told), MAX_ROWS),
                len(told),
                "controls",
                f"from control_states where run_id = '{p['run']['run_id']}'",
            )
        for state in ("not_tested", "not_yet_applicable", "not_applicable"):
            keys = [c["key"] for c in row.controls if c["state"] == state]
            if keys:
                words = f"{figures.STATE_NAMES[state].name} ({thousands(len(keys))}): " + ", ".join(keys[:400])
                more = f", and {len(keys) - 400} more in posture.json" if len(keys) > 400 else ""
                out.append(text(words + more, SMALL, 24_000))
    return out


def _trend(p: Posture) -> list[Flowable]:
    out: list[Flowable] = [*section("5  Trend")]
    top = max([4, *(r[s] for r in p["trend"] for s in ("critical", "high"))])
    top += -top % 4
    score = pdf_charts.trend(p, (("score_best", "best"), ("score_worst", "worst")), 100, band=True)
    counts = pdf_charts.trend(p, (("critical", "critical"), ("high", "high")), top)
    if score is None and counts is None:
        return [*out, text(f"{len(p['trend'])} run so far; a trend needs two.")]

    def column(title: str, drawing: Drawing | None) -> list[Flowable]:
        return [text(title, H2), drawing if drawing is not None else text("Too few runs with a score.", SMALL)]

    out.append(side_by_side(column("Score range", score), column("Open critical and high findings", counts)))
    out += table(
        ("Run", "Date", "Score#", "Critical#", "High#", "Medium#", "Low#", "Attempts#", "Vulnerable#"),
        (42, 20, 14, 13, 12, 13, 12, 15, 17),
        [
            (
                r["run_id"],
                day(r["at"]),
                f"{r['score_worst']}–{r['score_best']}"
                if r["score_worst"] is not None and r["score_best"] is not None
                else "–",
                *(thousands(r[m]) for m in ("critical", "high", "medium", "low", "attempts", "vulnerable")),
            )
            for r in p["trend"][-20:]
        ],
    )
    return out


def _findings(p: Posture) -> list[Flowable]:
    findings = figures.ordered_findings(p)
    out: list[Flowable] = [*section("6  Findings")]
    out.append(text(f"{thousands(len(findings))} findings in this report, by severity and state."))
    counts = [
        (
            _severity(s),
            *(thousands(sum(f["severity"] == s and f["state"] == t for f in findings)) for t in FINDING_STATES),
            thousands(sum(f["severity"] == s for f in findings)),
        )
        for s in SEVERITIES
    ]
    out += table(
        ("Severity", *(f"{t.replace('_', ' ')}#" for t in FINDING_STATES), "All#"),
        (16, *[13] * len(FINDING_STATES), 12),
        counts,
    )
    details = [f for f in findings if f["state"] not in figures.SETTLED][:MAX_DETAILS]
    if details:
        out += section(f"The first {len(details)} open findings in detail", 1)
    for x in details:
        out.append(KeepTogether(_finding(x, p["run"]["started_at"][:10])))
    out += section("All findings", 1)
    out += table(
        ("Severity", "Finding", "Asset", "State", "Hits of trials (95 % Wilson)", "Days#"),
        (14, 52, 29, 15, 39, 9),
        [
            (
                _severity(x["severity"]),
                x["title"],
                x["asset_name"],
                x["state"].replace("_", " "),
                figures.measured(x),
                str(x["age_days"]),
            )
            for x in findings[:MAX_FINDINGS]
        ],
    )
    return out + cut(
        min(len(findings), MAX_FINDINGS),
        len(findings),
        "findings",
        f"from finding_history where run_id = '{p['run']['run_id']}' order by severity, finding_id",
    )


def _finding(x: Posture, today: str) -> list[Flowable]:
    out: list[Flowable] = []
    meta = (
        f"{x['asset_name']} · {kind_name(x['asset_kind'])} · {x['state'].replace('_', ' ')} · {figures.measured(x)} · "
        f"{x['age_days']} days"
    )
    head = Table(
        [
            [
                _severity(x["severity"]),
                [
                    text(x["title"], ParagraphStyle("ft", parent=CELL, fontName=BOLD, fontSize=8, leading=11), 300),
                    text(meta, SMALL, 400),
                ],
            ]
        ],
        [16 * mm, WIDTH - 16 * mm],
    )
    head.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 4),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
                ("LINEABOVE", (0, 0), (-1, 0), 0.6, RULE),
            ]
        )
    )
    out.append(head)
    indent = ParagraphStyle("indent", parent=CELL, leftIndent=16 * mm, spaceAfter=2)
    out.append(text(x["summary"], indent))
    if x["fix"]:
        out.append(text(f"Fix: {x['fix']}", indent))
    if x["controls"]:
        parts = []
        for c in x["controls"][:40]:
            later = (
                f", not yet applicable, from {c['applies_from']}"
                if c["applies_from"] and c["applies_from"] > today
                else ""
            )
            parts.append(f"{c['key']} ({c['grade'].replace('_', ' ')}{later})")
        more = f"; and {len(x['controls']) - 40} more" if len(x["controls"]) > 40 else ""
        out.append(text("Counts as evidence toward: " + "; ".join(parts) + more, indent, 4_000))
    if x["votes"]:
        out.append(
            text(
                "Votes: "
                + "; ".join(
                    f"{v['judge_id']} {v['verdict']} ({percent(v['confidence_ppm'])})" for v in x["votes"][:20]
                ),
                indent,
            )
        )
    quiet = ParagraphStyle("quiet", parent=indent, textColor=MUTED, fontSize=6.3, leading=8.4, spaceAfter=6)
    out.append(
        text(
            f"{x['finding_kind']} · owner {x['owner'] or 'not declared'} · "
            f"obtained against: {figures.PROOF_NAMES[x['proof_label']]} · "
            f"finding {x['finding_id']} · evidence {x['evidence_sha256']}",
            quiet,
        )
    )
    return out


def _probes_and_judges(p: Posture) -> list[Flowable]:
    out: list[Flowable] = [*section("7  Probes")]
    out.append(
        text(
            "The rate is vulnerable over vulnerable and resistant; n is that sum. "
            "Undecided attempts and errors are outside it."
        )
    )
    if p["probes"]:
        out += table(
            ("Family", "Target", "Attempts#", "Vuln.#", "Resist.#", "Undec.#", "Error#", "N/a#", "Rate", "95 % Wilson"),
            (28, 26, 13, 10, 11, 10, 10, 8, 24, 24),
            [
                (
                    r["family_id"],
                    r["asset_name"],
                    *(
                        thousands(r[m])
                        for m in ("attempts", "vulnerable", "resistant", "undecided", "error", "not_applicable")
                    ),
                    figures.rate(r["vulnerable"], r["vulnerable"] + r["resistant"]),
                    figures.interval(r["low_ppm"], r["high_ppm"]),
                )
                for r in p["probes"][:MAX_ROWS]
            ],
        )
        out += cut(
            min(len(p["probes"]), MAX_ROWS),
            len(p["probes"]),
            "rows",
            f"from family_results where run_id = '{p['run']['run_id']}'",
        )
    else:
        out.append(text("No probe was sent in this run."))
    out += section("8  Judges")
    out.append(
        text(
            f"Label of this report: {p['labels']['judges']}. "
            "An answer that could not be read is an error, never a verdict."
        )
    )
    if p["judges"]:
        out += table(
            ("Judge", "Provider and model", "Kind", "Votes#", "Vuln.#", "Resist.#", "Undec.#", "Error#", "Error rate"),
            (22, 36, 12, 11, 11, 11, 11, 10, 24),
            [
                (
                    r["judge_id"],
                    f"{r['provider']} {r['model']}",
                    "live" if r["live"] else "offline",
                    *(thousands(r[m]) for m in ("votes", "vulnerable", "resistant", "undecided", "error")),
                    figures.rate(r["error"], r["votes"]),
                )
                for r in p["judges"][:MAX_ROWS]
            ],
        )
    else:
        out.append(text("No judge voted in this run."))
    return out


def _gateway_and_assets(p: Posture) -> list[Flowable]:
    g = p["gateway"]
    out: list[Flowable] = [*section("9  Gateway")]
    out.append(
        text(
            f"{thousands(g['requests'])} requests: {thousands(g['allow'])} allowed, {thousands(g['redact'])} redacted, "
            f"{thousands(g['flag'])} flagged, {thousands(g['block'])} blocked."
        )
    )
    if g["by_reason"]:
        out += table(
            ("Reason code", "Events#"),
            (60, 14),
            [(r["reason_code"], thousands(r["count"])) for r in g["by_reason"][:MAX_ROWS]],
        )
        out += cut(min(len(g["by_reason"]), MAX_ROWS), len(g["by_reason"]), "reasons", "from gateway_events")
    out += section("10  Assets")
    out.append(text(f"{thousands(p['scope']['assets'])} assets in scope."))
    assets = p["assets"]
    out += table(
        ("Asset", "Kind", "State", "Owner", "Where", "Proof", "Pass#", "Fail#", "Unkn.#"),
        (36, 20, 15, 32, 23, 22, 9, 9, 12),
        [
            (
                f"{a['name']}\n{a['asset_id']}",
                kind_name(a["kind"]),
                a["state"],
                a["owner"] or "none",
                ", ".join(v for v in (a["env"], a["exposure"], a["risk_tier"]) if v),
                figures.PROOF_NAMES[a["proof_label"]],
                thousands(a["pass"]),
                thousands(a["fail"]),
                thousands(a["unknown"]),
            )
            for a in assets[:MAX_ROWS]
        ],
        160,
    )
    return out + cut(
        min(len(assets), MAX_ROWS), len(assets), "assets", f"from asset_history where run_id = '{p['run']['run_id']}'"
    )


def _exceptions(p: Posture) -> list[Flowable]:
    rows = p["exceptions"]
    out: list[Flowable] = [*section("11  Exceptions")]
    if not rows:
        return [*out, text("No exception is in force.")]
    out += table(
        ("Finding", "Reason", "By", "Until"),
        (50, 50, 34, 16),
        [(f"{e['title']}\n{e['finding_id']}", e["reason"], e["by"], day(e["until"])) for e in rows[:MAX_ROWS]],
    )
    return out + cut(min(len(rows), MAX_ROWS), len(rows), "exceptions", "from findings where state = 'accepted'")


def _appendix(p: Posture, key_id: str) -> list[Flowable]:
    today, evidence = p["run"]["started_at"][:10], p["evidence"]
    out: list[Flowable] = [
        *section("12  Appendix"),
        *section("EU AI Act: when duties apply", 1),
        text(figures.EU_NOTE, SMALL),
    ]
    out += table(
        ("Provision", "Applies from"),
        (60, 30),
        [(what, date + (" (in force at this run)" if date <= today else "")) for what, date in figures.EU_CALENDAR],
    )
    out += section("Catalogues, licences and attribution", 1)
    out.append(text("Identifiers and short titles only; the texts belong to their publishers.", SMALL))
    out += table(
        ("Framework", "Version", "Licence", "Source", "SHA-256"),
        (36, 15, 28, 36, 40),
        [
            (
                figures.FRAMEWORK_NAMES.get(r["framework"], r["framework"]),
                r["version"],
                r["licence"],
                r["url"],
                r["sha256"],
            )
            for r in p["catalogs"][:MAX_ROWS]
        ],
    )
    out.append(
        text(
            "Set in Bitstream Vera. Copyright (c) 2003 by Bitstream, Inc. All Rights Reserved. "
            "Bitstream Vera is a trademark of Bitstream, Inc.",
            SMALL,
        )
    )
    out += section("Gaps", 1)
    limits = figures.untested(p)
    out += [text(f"• {line}", SMALL, 600) for line in limits[:MAX_ROWS]]
    out += cut(min(len(limits), MAX_ROWS), len(limits), "gaps", "from sources")
    out += section("Evidence and how to verify", 1)
    anchored = (
        "The root is anchored outside."
        if evidence["anchored"]
        else "Unanchored: no outside witness has dated this root, so it proves integrity under the key, not time."
    )
    seq = "–" if evidence["chain_seq"] is None else evidence["chain_seq"]
    out.append(
        text(
            f"Run root {evidence['run_root'] or 'none'}, number {seq} in the chain, "
            f"previous root {evidence['prev'] or 'none'}. {anchored}",
            SMALL,
        )
    )
    out.append(
        text(
            "With Python 3.11 or later and PyNaCl, and the public key that you obtained on another way than this "
            "package:\n"
            "python verify.py package.json --key auditor.pub\npython verify.py posture.json --key auditor.pub\n"
            f"The key id must read {key_id}.",
            SMALL,
        )
    )
    return out


@functools.cache
def _severity(name: str) -> Paragraph:
    return coloured(name, SEVERITY_INK[name])


@functools.cache
def _state(name: str) -> Paragraph:
    return coloured(f"{figures.STATE_NAMES[name].letter} · {figures.STATE_NAMES[name].name}", STATE_INK[name])
