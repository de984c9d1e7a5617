"""The posture as a PDF for filing: the same content as the HTML page, condensed, same bytes for the same input.

The renderer works on text that attackers may have written, so it runs in a child process with no environment, a
memory limit and a deadline; nothing but this module's own constants is ever read as markup.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab import rl_config
from reportlab.graphics.shapes import Drawing
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    LongTable,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from tasks.errors import IncompleteError
from tasks.reporting import figures, pdf_charts
from tasks.reporting.figures import Posture, day, kind_name, minute, percent, signed, thousands
from tasks.reporting.pdf_charts import (
    ACCENT,
    BOLD,
    COVER,
    INK,
    MARK,
    MUTED,
    REGULAR,
    RULE,
    SEVERITY_INK,
    STATE_INK,
    WASH,
)
from tasks.reporting.schema import CONTROL_STATES, FINDING_STATES, SEVERITIES
from tasks.reporting.text import clean
from tasks.reporting.verify import parse_strict

MEMORY_LIMIT = 1 << 30
"""Bytes of address space of the child; 5,000 findings need about a tenth in resident memory."""

CHUNK = 250
"""Rows per table: layout time grows faster than the row count."""

MAX_FINDINGS, MAX_DETAILS, MAX_ROWS = 5_000, 25, 300

WIDTH = A4[0] - 36 * mm


def render_pdf(posture_path: Path, out_path: Path, *, timeout_s: int = 60, key_id: str = "") -> None:
    """Write the PDF of a valid `posture.json` to `out_path`; prints its SHA-256 and `key_id`, the signer's.

    Raises IncompleteError when the child takes longer than `timeout_s` seconds, runs out of memory or fails; then
    nothing is left at `out_path`.
    """
    part = out_path.with_name(out_path.name + ".part")
    root = Path(__file__).resolve().parents[2]
    # -P: never import from the current directory. No environment: the child has no business with credentials.
    command = [sys.executable, "-P", "-m", "tasks.reporting.as_pdf", str(posture_path.resolve()), str(part.resolve())]
    environment = {"PYTHONPATH": str(root), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            [*command, "--key-id", key_id, "--seconds", str(timeout_s)],
            env=environment, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0 or not part.exists():
            # Only the exception's type: its message may quote what was being rendered.
            last = done.stderr.decode("ascii", "replace").strip().rpartition("\n")[2].partition(":")[0][:60]
            raise IncompleteError(f"the PDF could not be rendered (exit {done.returncode}, {last or 'no message'})")
        part.replace(out_path)
    except subprocess.TimeoutExpired:
        raise IncompleteError(
            f"the PDF took longer than {timeout_s} s; posture.html and the CSV hold the same"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def build_pdf(posture: Posture, *, document_sha256: str, key_id: str) -> bytes:
    """The PDF's bytes, in this process. Untrusted input belongs in `render_pdf`."""
    rl_config.invariant = 1  # no clock and no random ids in the file
    _fonts()
    out = io.BytesIO()
    document = _Document(out, posture)
    document.build([flowable for flowable in _story(posture, document_sha256, key_id) if flowable is not None])
    return out.getvalue()


def _fonts() -> dict[int, int]:
    """Registers Bitstream Vera as shipped with reportlab (free to embed); returns the glyphs of the regular face."""
    if REGULAR not in pdfmetrics.getRegisteredFontNames():
        for name, file in ((REGULAR, "Vera.ttf"), (BOLD, "VeraBd.ttf")):
            pdfmetrics.registerFont(TTFont(name, file))
        pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
    glyphs: dict[int, int] = pdfmetrics.getFont(REGULAR).face.charToGlyph
    return glyphs


def fit(value: object, limit: int = 2_000) -> str:
    """Any text as plain text that the font can show: cleaned, cut, missing glyphs as `\\u{65e5}`."""
    glyphs = _fonts()
    text = clean(value, limit)
    return "".join(c if ord(c) in glyphs or c in "\n\t" else f"\\u{{{ord(c):x}}}" for c in text)


# --- styles -----------------------------------------------------------------------------------------------------------

BODY = ParagraphStyle("body", fontName=REGULAR, fontSize=8.3, leading=12.2, textColor=INK, spaceAfter=4)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=7, leading=9.8, textColor=MUTED)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=7, leading=9, spaceAfter=0, splitLongWords=1)
RIGHT = ParagraphStyle("right", parent=CELL, alignment=2)
HEAD = ParagraphStyle("head", parent=CELL, fontSize=6.3, leading=8, textColor=MUTED, fontName=BOLD)
HEAD_RIGHT = ParagraphStyle("head-right", parent=HEAD, alignment=2)
H1 = ParagraphStyle(
    "h1", parent=BODY, fontName=BOLD, fontSize=14, leading=18, spaceBefore=14, spaceAfter=6, keepWithNext=1
)
H2 = ParagraphStyle(
    "h2", parent=BODY, fontName=BOLD, fontSize=9.5, leading=13, spaceBefore=9, spaceAfter=3, keepWithNext=1
)
FIGURE = ParagraphStyle("figure", parent=BODY, fontName=BOLD, fontSize=17, leading=21, spaceAfter=0)
CUT = ParagraphStyle(
    "cut", parent=BODY, fontSize=7.3, leading=10, backColor=WASH, borderPadding=4, spaceBefore=6, spaceAfter=8
)


def _p(value: object, style: ParagraphStyle = BODY, limit: int = 2_000) -> Paragraph:
    """A paragraph of plain text; what looks like markup in `value` is shown, not read."""
    return Paragraph(escape(fit(value, limit)).replace("\n", "<br/>"), style)


def _coloured(words: str, colour: Any, style: ParagraphStyle = CELL) -> Paragraph:
    return Paragraph(f'<font color="{colour.hexval().replace("0x", "#")}"><b>{escape(fit(words))}</b></font>', style)


class _Heading(Paragraph):
    """A heading that also appears in the outline; `level` 0 is a section."""

    def __init__(self, words: str, level: int = 0) -> None:
        super().__init__(escape(fit(words, 120)), H1 if level == 0 else H2)
        self.words, self.level = fit(words, 120), level


class _Document(BaseDocTemplate):
    def __init__(self, out: io.BytesIO, posture: Posture) -> None:
        run = posture["run"]
        self.line = fit(
            f"Run {run['run_id']}  ·  {posture['labels']['judges']}" + ("  ·  DEMO" if run["demo"] else ""), 160
        )
        self.posture = posture
        super().__init__(
            out, pagesize=A4, title=fit(f"AI security posture, run {run['run_id']}", 160), author="aispm",
            subject=self.line, lang="en-GB", invariant=1,
        )  # fmt: skip
        left, width = 18 * mm, WIDTH
        cover = Frame(left, 16 * mm, width, A4[1] - 112 * mm, id="cover", leftPadding=0, rightPadding=0)
        page = Frame(left, 18 * mm, width, A4[1] - 34 * mm, id="page", leftPadding=0, rightPadding=0)
        self.addPageTemplates([
            PageTemplate("cover", [cover], onPage=self._cover),
            PageTemplate("page", [page], onPage=self._page),
        ])  # fmt: skip
        self.headings = 0

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802  # name given by reportlab
        if isinstance(flowable, _Heading):
            self.headings += 1
            key = f"h{self.headings}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.words, key, level=flowable.level, closed=flowable.level == 0)

    def _cover(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        run, labels = self.posture["run"], self.posture["labels"]
        high = 84 * mm
        canvas.saveState()
        canvas.setFillColor(COVER)
        canvas.rect(0, A4[1] - high, A4[0], high, stroke=0, fill=1)
        x, y = 18 * mm, A4[1] - 30 * mm
        canvas.setFillColorRGB(0.73, 0.79, 0.84)
        canvas.setFont(REGULAR, 8)
        canvas.drawString(x, y, "A I S P M")
        canvas.setFillColorRGB(1, 1, 1)
        canvas.setFont(BOLD, 24)
        canvas.drawString(x, y - 13 * mm, "AI security posture report")
        canvas.setFillColorRGB(0.73, 0.79, 0.84)
        canvas.setFont(REGULAR, 9)
        canvas.drawString(x, y - 20 * mm, f"{minute(run['started_at'])} to {minute(run['finished_at'])}")
        marks = [("DEMO", True)] if run["demo"] else []
        marks.append((labels["judges"], labels["judges"] != "live judges"))
        marks += [
            (f"{figures.PROOF_NAMES[r['label']]}: {thousands(r['assets'])} assets", False) for r in labels["proof"]
        ]
        marks += [
            (fit(f"run {run['state']}", 40), False),
            ("anchored" if self.posture["evidence"]["anchored"] else "unanchored", False),
        ]
        y -= 33 * mm
        for words, loud in marks:
            font = BOLD if loud else REGULAR
            width = pdfmetrics.stringWidth(words, font, 7.5) + 12
            if x + width > A4[0] - 18 * mm:
                x, y = 18 * mm, y - 20
            canvas.setFillColor(MARK if loud else COVER)
            canvas.setStrokeColorRGB(0.73, 0.79, 0.84)
            canvas.roundRect(x, y, width, 14, 2, stroke=0 if loud else 1, fill=1)
            canvas.setFillColor(INK) if loud else canvas.setFillColorRGB(0.95, 0.97, 0.98)
            canvas.setFont(font, 7.5)
            canvas.drawString(x + 6, y + 4.2, words)
            x += width + 6
        canvas.restoreState()

    def _page(self, canvas: Canvas, document: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setStrokeColor(RULE)
        canvas.line(18 * mm, 14 * mm, A4[0] - 18 * mm, 14 * mm)
        canvas.setFillColor(MUTED)
        canvas.setFont(REGULAR, 6.5)
        canvas.drawString(18 * mm, 10 * mm, self.line)
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"Page {document.page}")
        canvas.restoreState()


# --- tables -----------------------------------------------------------------------------------------------------------

_LINES = TableStyle([
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 6),
    ("TOPPADDING", (0, 0), (-1, -1), 2.2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.6),
    ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
])  # fmt: skip


def _table(
    heads: Sequence[str], widths: Sequence[float], rows: Iterable[Sequence[object]], limit: int = 300
) -> list[Flowable]:
    """Chunked tables with repeated heads; a head that ends in `#` is a right-aligned number. `widths` are shares."""
    numeric = [h.endswith("#") for h in heads]
    top = [_p(h.rstrip("#"), HEAD_RIGHT if n else HEAD) for h, n in zip(heads, numeric, strict=True)]
    scale = WIDTH / sum(widths)
    body = [
        [
            c if isinstance(c, Paragraph) else _p(c, RIGHT if n else CELL, limit)
            for c, n in zip(row, numeric, strict=True)
        ]
        for row in rows
    ]
    out: list[Flowable] = []
    for start in range(0, len(body), CHUNK):
        chunk = LongTable([top, *body[start : start + CHUNK]], [w * scale for w in widths], repeatRows=1, splitInRow=1)
        chunk.setStyle(_LINES)
        out.append(chunk)
    return [*out, Spacer(1, 6)]


def _cut(shown: int, total: int, what: str, query: str) -> list[Flowable]:
    if shown >= total:
        return []
    words = f"Cut: {thousands(shown)} of {thousands(total)} {what} are shown here. All are in posture.json; to read the rest:"
    return [_p(f'{words} aispm sql "{query}"', CUT)]


def _side_by_side(left: Sequence[Flowable], right: Sequence[Flowable]) -> Table:
    table = Table([[list(left), list(right)]], [WIDTH / 2, WIDTH / 2])
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, 0), 0),
                ("RIGHTPADDING", (1, 0), (1, 0), 0),
            ]
        )
    )
    return table


# --- sections ---------------------------------------------------------------------------------------------------------


def _story(p: Posture, document_sha256: str, key_id: str) -> list[Flowable | None]:
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
    table = Table([[_p(k, SMALL), _p(v, CELL)] for k, v in facts], [42 * mm, WIDTH - 42 * mm])
    table.setStyle(_LINES)
    notes = figures.label_lines(p)
    box = Table([[[_p(line, BODY) for line in notes]]], [WIDTH]) if notes else None
    if box is not None:
        box.setStyle(TableStyle([("BACKGROUND", (0, 0), (-1, -1), WASH), ("LINEBEFORE", (0, 0), (0, -1), 3, MARK)]))
    contents = (
        "1 Summary · 2 Method and sources · 3 Control matrix · 4 Heat map · 5 Trend · 6 Findings · 7 Probes · 8 Judges · "
        "9 Gateway · 10 Assets · 11 Exceptions · 12 Appendix"
    )
    story: list[Flowable | None] = [
        table,
        Spacer(1, 10),
        box,
        Spacer(1, 10),
        _p("Contents", H2),
        _p(contents, SMALL),
        _p(
            "This file is a rendering and is not signed itself: the signed document is posture.json, and package.json "
            "holds this file's digest. The HTML page is the accessible edition.",
            SMALL,
        ),
        NextPageTemplate("page"),
        PageBreak(),
    ]
    return [f for f in story if f is not None]


def _summary(p: Posture) -> list[Flowable]:
    s, states = p["summary"], p["summary"]["control_states"]
    delta = s["delta"]

    def change(name: str) -> str:
        return f" ({signed(delta[name])})" if delta is not None else ""

    low, high = s["score_worst"], s["score_best"]
    grade = f" Grade {s['grade']}." if s["grade"] is not None else ""
    score: list[Flowable] = [_p("SCORE RANGE", HEAD), _p(figures.score_range(p), FIGURE)]
    if low is not None and high is not None:
        score.append(pdf_charts.score_band(min(low, high), max(low, high)))
    score.append(_p(f"of 100: lowest if every unknown result were bad, highest if every one were good.{grade}", SMALL))
    blocks = [
        score,
        [_p("COVERAGE", HEAD), _p(percent(s["coverage_ppm"]), FIGURE), _p("of applicable posture checks were read; the rest is unknown, which is never a pass.", SMALL)],
        [_p("CRITICAL AND HIGH", HEAD), _p(thousands(s["findings"]["critical"] + s["findings"]["high"]), FIGURE),
         _p(f"{s['findings']['critical']} critical{change('critical')}, {s['findings']['high']} high{change('high')}"
            + (" against the previous run." if delta is not None else "; no previous run to compare with."), SMALL)],
        [_p("CONTROLS FAILING", HEAD), _p(thousands(states["tested_failing"]), FIGURE),
         _p(f"{thousands(states['tested_clean'])} tested clean, {thousands(states['not_tested'])} not tested, of {thousands(s['controls_total'])}.", SMALL)],
    ]  # fmt: skip
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
    limits = figures.untested(p) + list(p["gaps"])
    untested = [_p(f"• {line}", SMALL, 240) for line in limits[:9]]
    if len(limits) > 9:
        untested.append(_p(f"{len(limits) - 9} more in the appendix.", SMALL))
    out: list[Flowable] = [_Heading("1  Summary"), key, Spacer(1, 6)]
    out.append(
        _side_by_side(
            [_p("Findings by severity", H2), pdf_charts.severity_bars(s["findings"]), _p(said, SMALL)],
            [_p("What was not tested", H2), *untested],
        )
    )
    out.append(_p("Top risks", H2))
    risks = figures.top_risks(p)
    if risks:
        out += _table(
            ("Severity", "Risk", "Asset", "Hits of trials (95 % Wilson)", "Owner"),
            (12, 42, 26, 30, 30),
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
        out.append(_p("No open finding. Read this with “What was not tested”."))
    for member, words in (("newly_failing", "Newly failing"), ("newly_passing", "Newly passing")):
        rows = figures.changed_controls(p, member)
        text = "; ".join(f"{k} {t}" + (f" (applies from {d})" if d else "") for k, t, d in rows[:12]) or "none"
        more = f"; and {len(rows) - 12} more in posture.json" if len(rows) > 12 else ""
        out.append(_p(f"{words}: {text}{more}", SMALL, 900))
    out.append(
        _p(
            f"{thousands(s['assets_new'])} new assets, {thousands(s['assets_gone'])} gone since the previous run.",
            SMALL,
        )
    )
    return out


def _method(p: Posture) -> list[Flowable]:
    out: list[Flowable] = [PageBreak(), _Heading("2  Method and sources")]
    out.append(_p(
        "aispm lists the estate from several sources, runs posture checks on what it finds, sends harmless canary probes to targets that "
        "are declared active, lets several judges vote on each reply, and maps each finding to controls. A control is called tested clean "
        "only with enough fresh evidence from real components; one confirmed, current hit makes it failing, whatever the coverage."
    ))  # fmt: skip
    out.append(_p(
        "Rates carry their n and a 95 % Wilson interval. Judge errors and undecided votes stand beside rates, never inside them. A mapping "
        "“counts as evidence toward” a control; it never means that the control is satisfied."
    ))  # fmt: skip
    sources = p["scope"]["sources"]
    out += _table(
        ("Source", "Scope", "Read", "Observations#", "Reason"),
        (24, 30, 12, 16, 50),
        [
            (r["source"], r["scope"], r["completeness"], thousands(r["observations"]), r["reason"])
            for r in sources[:MAX_ROWS]
        ],
    )
    out += _cut(min(len(sources), MAX_ROWS), len(sources), "sources", "from lake.observations")
    out.append(_Heading("Posture check results by asset kind", 1))
    out.append(pdf_charts.coverage_bars(p))
    out.append(Spacer(1, 6))
    out += _table(
        ("Kind", "Assets#", "Pass#", "Fail#", "Unknown#", "Not applicable#", "Read#"),
        (36, 12, 12, 12, 12, 16, 12),
        [
            (kind_name(r["kind"]), *(thousands(r[m]) for m in ("assets", "pass", "fail", "unknown", "not_applicable")), percent(r["coverage_ppm"]))
            for r in p["coverage"]
        ],
    )  # fmt: skip
    quality = p["quality"]
    out.append(_p(
        f"Data quality: {thousands(quality['expectations'])} expectations, {thousands(quality['failed'])} failed: {quality['state']}. "
        f"{thousands(p['quarantined'])} malformed rows quarantined.", SMALL,
    ))  # fmt: skip
    return out


def _controls(p: Posture) -> list[Flowable]:
    rows = figures.frameworks(p)
    states = p["summary"]["control_states"]
    out: list[Flowable] = [PageBreak(), _Heading("3  Control matrix")]
    out.append(_p("Six states, counted apart. No percentage merges “not tested” into “clean”."))
    matrix: list[Sequence[object]] = [
        (f"{r.name} {r.version}", *(thousands(r.counts[s]) for s in CONTROL_STATES), thousands(len(r.controls)))
        for r in rows
    ]
    total = [
        Paragraph(f"<b>{thousands(n)}</b>", RIGHT)
        for n in (*(states[s] for s in CONTROL_STATES), p["summary"]["controls_total"])
    ]
    matrix.append((Paragraph("<b>All</b>", CELL), *total))
    heads = [f"{figures.STATE_NAMES[s].name}#" for s in CONTROL_STATES]
    out += _table(("Framework", *heads, "Controls#"), (52, 13, 18, 14, 14, 18, 17, 15), matrix)
    out.append(_p("; ".join(f"{n.letter} = {n.name}: {n.meaning}" for n in figures.STATE_NAMES.values()) + ".", SMALL))
    out.append(_Heading("4  Heat map"))
    out.append(_p("Letter and count per framework and state; the tint is the state’s share of the framework.", SMALL))
    out.append(pdf_charts.heat_map(rows, [fit(f"{r.name} {r.version}", 46) for r in rows]))
    for row in rows:
        told = [c for c in row.controls if c["state"] in ("tested_failing", "insufficient", "tested_clean")]
        out.append(_Heading(f"{row.name} {row.version}", 1))
        if told:
            out += _table(
                ("Control", "Title", "State", "Findings#", "Evidence#", "Reason"),
                (40, 44, 26, 13, 13, 36),
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
            out += _cut(min(len(told), MAX_ROWS), len(told), "controls", "from control_evidence")
        for state in ("not_tested", "not_yet_applicable", "not_applicable"):
            ids = [c["control_id"] for c in row.controls if c["state"] == state]
            if ids:
                words = f"{figures.STATE_NAMES[state].name} ({thousands(len(ids))}): " + ", ".join(ids[:150])
                more = f", and {len(ids) - 150} more in posture.json" if len(ids) > 150 else ""
                out.append(_p(words + more, SMALL, 4_000))
    return out


def _trend(p: Posture) -> list[Flowable]:
    out: list[Flowable] = [_Heading("5  Trend")]
    top = max([4, *(r[s] for r in p["trend"] for s in ("critical", "high"))])
    top += -top % 4
    score = pdf_charts.trend(p, (("score_best", "best"), ("score_worst", "worst")), 100, band=True)
    counts = pdf_charts.trend(p, (("critical", "critical"), ("high", "high")), top)
    if score is None and counts is None:
        return [*out, _p(f"{len(p['trend'])} run so far; a trend needs two.")]

    def column(title: str, drawing: Drawing | None) -> list[Flowable]:
        return [_p(title, H2), drawing if drawing is not None else _p("Too few runs with a score.", SMALL)]

    out.append(_side_by_side(column("Score range", score), column("Open critical and high findings", counts)))
    out += _table(
        ("Run", "Date", "Score#", "Critical#", "High#", "Medium#", "Low#", "Attempts#", "Vulnerable#"),
        (42, 20, 14, 13, 12, 13, 12, 15, 17),
        [
            (r["run_id"], day(r["at"]),
             f"{r['score_worst']}–{r['score_best']}" if r["score_worst"] is not None and r["score_best"] is not None else "–",
             *(thousands(r[m]) for m in ("critical", "high", "medium", "low", "attempts", "vulnerable")))
            for r in p["trend"][-20:]
        ],
    )  # fmt: skip
    return out


def _findings(p: Posture) -> list[Flowable]:
    findings = figures.ordered_findings(p)
    out: list[Flowable] = [PageBreak(), _Heading("6  Findings")]
    out.append(_p(f"{thousands(len(findings))} findings in this report, by severity and state."))
    counts = [
        (_severity(s), *(thousands(sum(f["severity"] == s and f["state"] == t for f in findings)) for t in FINDING_STATES),
         thousands(sum(f["severity"] == s for f in findings)))
        for s in SEVERITIES
    ]  # fmt: skip
    out += _table(
        ("Severity", *(f"{t.replace('_', ' ')}#" for t in FINDING_STATES), "All#"),
        (16, *[13] * len(FINDING_STATES), 12),
        counts,
    )
    details = [f for f in findings if f["state"] not in figures.SETTLED][:MAX_DETAILS]
    if details:
        out.append(_Heading(f"The first {len(details)} open findings in detail", 1))
    for x in details:
        out += _finding(x, p["run"]["started_at"][:10])
    out.append(_Heading("All findings", 1))
    out += _table(
        ("Severity", "Finding", "Asset", "State", "Hits of trials (95 % Wilson)", "Days#"),
        (13, 58, 32, 16, 28, 8),
        [
            (_severity(x["severity"]), x["title"], x["asset_name"], x["state"].replace("_", " "), figures.measured(x), str(x["age_days"]))
            for x in findings[:MAX_FINDINGS]
        ],
    )  # fmt: skip
    return out + _cut(
        min(len(findings), MAX_FINDINGS), len(findings), "findings", "from findings order by severity, finding_id"
    )


def _finding(x: Posture, today: str) -> list[Flowable]:
    out: list[Flowable] = []
    meta = f"{x['asset_name']} · {kind_name(x['asset_kind'])} · {x['state'].replace('_', ' ')} · {figures.measured(x)} · {x['age_days']} days"
    head = Table(
        [
            [
                _severity(x["severity"]),
                [
                    _p(x["title"], ParagraphStyle("ft", parent=CELL, fontName=BOLD, fontSize=8, leading=11), 300),
                    _p(meta, SMALL, 400),
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
    head.keepWithNext = 1
    out.append(head)
    indent = ParagraphStyle("indent", parent=CELL, leftIndent=16 * mm, spaceAfter=2)
    out.append(_p(x["summary"], indent))
    if x["fix"]:
        out.append(_p(f"Fix: {x['fix']}", indent))
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
        out.append(_p("Counts as evidence toward: " + "; ".join(parts) + more, indent, 4_000))
    if x["votes"]:
        out.append(
            _p(
                "Votes: "
                + "; ".join(
                    f"{v['judge_id']} {v['verdict']} ({percent(v['confidence_ppm'])})" for v in x["votes"][:20]
                ),
                indent,
            )
        )
    quiet = ParagraphStyle("quiet", parent=indent, textColor=MUTED, fontSize=6.3, leading=8.4, spaceAfter=6)
    out.append(_p(
        f"{x['finding_kind']} · owner {x['owner'] or 'not declared'} · obtained against: {figures.PROOF_NAMES[x['proof_label']]} · "
        f"finding {x['finding_id']} · evidence {x['evidence_sha256']}", quiet,
    ))  # fmt: skip
    return out


def _probes_and_judges(p: Posture) -> list[Flowable]:
    out: list[Flowable] = [_Heading("7  Probes")]
    out.append(
        _p(
            "The rate is vulnerable over vulnerable and resistant; n is that sum. Undecided attempts and errors are outside it."
        )
    )
    if p["probes"]:
        out += _table(
            ("Family", "Target", "Attempts#", "Vuln.#", "Resist.#", "Undec.#", "Error#", "N/a#", "Rate", "95 % Wilson"),
            (28, 26, 13, 10, 11, 10, 10, 8, 24, 24),
            [
                (r["family_id"], r["asset_name"],
                 *(thousands(r[m]) for m in ("attempts", "vulnerable", "resistant", "undecided", "error", "not_applicable")),
                 figures.rate(r["vulnerable"], r["vulnerable"] + r["resistant"]), figures.interval(r["low_ppm"], r["high_ppm"]))
                for r in p["probes"][:MAX_ROWS]
            ],
        )  # fmt: skip
        out += _cut(min(len(p["probes"]), MAX_ROWS), len(p["probes"]), "rows", "from lake.verdicts")
    else:
        out.append(_p("No probe was sent in this run."))
    out.append(_Heading("8  Judges"))
    out.append(
        _p(
            f"Label of this report: {p['labels']['judges']}. An answer that could not be read is an error, never a verdict."
        )
    )
    if p["judges"]:
        out += _table(
            ("Judge", "Provider and model", "Kind", "Votes#", "Vuln.#", "Resist.#", "Undec.#", "Error#", "Error rate"),
            (22, 36, 12, 11, 11, 11, 11, 10, 24),
            [
                (r["judge_id"], f"{r['provider']} {r['model']}", "live" if r["live"] else "offline",
                 *(thousands(r[m]) for m in ("votes", "vulnerable", "resistant", "undecided", "error")),
                 figures.rate(r["error"], r["votes"]))
                for r in p["judges"][:MAX_ROWS]
            ],
        )  # fmt: skip
    else:
        out.append(_p("No judge voted in this run."))
    return out


def _gateway_and_assets(p: Posture) -> list[Flowable]:
    g = p["gateway"]
    out: list[Flowable] = [_Heading("9  Gateway")]
    out.append(_p(
        f"{thousands(g['requests'])} requests: {thousands(g['allow'])} allowed, {thousands(g['redact'])} redacted, "
        f"{thousands(g['flag'])} flagged, {thousands(g['block'])} blocked."
    ))  # fmt: skip
    if g["by_reason"]:
        out += _table(
            ("Reason code", "Events#"),
            (60, 14),
            [(r["reason_code"], thousands(r["count"])) for r in g["by_reason"][:MAX_ROWS]],
        )
        out += _cut(min(len(g["by_reason"]), MAX_ROWS), len(g["by_reason"]), "reasons", "from gateway_events")
    out.append(_Heading("10  Assets"))
    out.append(_p(f"{thousands(p['scope']['assets'])} assets in scope."))
    assets = p["assets"]
    out += _table(
        ("Asset", "Kind", "State", "Owner", "Where", "Proof", "Pass#", "Fail#", "Unkn.#"),
        (36, 22, 12, 34, 24, 20, 9, 9, 10),
        [
            (f"{a['name']}\n{a['asset_id']}", kind_name(a["kind"]), a["state"], a["owner"] or "none",
             ", ".join(v for v in (a["env"], a["exposure"], a["risk_tier"]) if v), figures.PROOF_NAMES[a["proof_label"]],
             thousands(a["pass"]), thousands(a["fail"]), thousands(a["unknown"]))
            for a in assets[:MAX_ROWS]
        ],
        160,
    )  # fmt: skip
    return out + _cut(min(len(assets), MAX_ROWS), len(assets), "assets", "from assets")


def _exceptions(p: Posture) -> list[Flowable]:
    rows = p["exceptions"]
    out: list[Flowable] = [_Heading("11  Exceptions")]
    if not rows:
        return [*out, _p("No exception is in force.")]
    out += _table(
        ("Finding", "Reason", "By", "Until"),
        (50, 50, 34, 16),
        [(f"{e['title']}\n{e['finding_id']}", e["reason"], e["by"], day(e["until"])) for e in rows[:MAX_ROWS]],
    )
    return out + _cut(min(len(rows), MAX_ROWS), len(rows), "exceptions", "from findings where state = 'accepted'")


def _appendix(p: Posture, key_id: str) -> list[Flowable]:
    today, evidence = p["run"]["started_at"][:10], p["evidence"]
    out: list[Flowable] = [
        _Heading("12  Appendix"),
        _Heading("EU AI Act: when duties apply", 1),
        _p(figures.EU_NOTE, SMALL),
    ]
    out += _table(
        ("Provision", "Applies from"),
        (60, 30),
        [(what, date + (" (in force at this run)" if date <= today else "")) for what, date in figures.EU_CALENDAR],
    )
    out.append(_Heading("Catalogues, licences and attribution", 1))
    out.append(_p("Identifiers and short titles only; the texts belong to their publishers.", SMALL))
    out += _table(
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
        _p(
            "Set in Bitstream Vera. Copyright (c) 2003 by Bitstream, Inc. All Rights Reserved. Bitstream Vera is a trademark of Bitstream, Inc.",
            SMALL,
        )
    )
    out.append(_Heading("Gaps", 1))
    limits = figures.untested(p) + list(p["gaps"])
    out += [_p(f"• {line}", SMALL, 600) for line in limits[:MAX_ROWS]]
    out += _cut(min(len(limits), MAX_ROWS), len(limits), "gaps", "from lake.observations")
    out.append(_Heading("Evidence and how to verify", 1))
    anchored = (
        "The root is anchored outside." if evidence["anchored"]
        else "Unanchored: no outside witness has dated this root, so it proves integrity under the key, not time."
    )  # fmt: skip
    seq = "–" if evidence["chain_seq"] is None else evidence["chain_seq"]
    out.append(
        _p(
            f"Run root {evidence['run_root'] or 'none'}, number {seq} in the chain, previous root {evidence['prev'] or 'none'}. {anchored}",
            SMALL,
        )
    )
    out.append(_p(
        "With Python 3.11 or later and PyNaCl, and the public key that you obtained on another way than this package:\n"
        "python verify.py package.json --key auditor.pub\npython verify.py posture.json --key auditor.pub\n"
        f"The key id must read {key_id}.", SMALL,
    ))  # fmt: skip
    return out


def _severity(name: str) -> Paragraph:
    return _coloured(name, SEVERITY_INK[name])


def _state(name: str) -> Paragraph:
    return _coloured(f"{figures.STATE_NAMES[name].letter} · {figures.STATE_NAMES[name].name}", STATE_INK[name])


def main() -> int:
    """The child process: one file in, one file out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("posture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--key-id", default="")
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (args.seconds, args.seconds))
    raw = args.posture.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    args.out.write_bytes(build_pdf(parse_strict(raw), document_sha256=sha256, key_id=args.key_id))
    return 0


if __name__ == "__main__":
    sys.exit(main())
