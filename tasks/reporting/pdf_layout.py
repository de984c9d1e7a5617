"""How a PDF page is set: fonts, styles, headings with outline, page furniture, tables; and text made safe to set.

Only this module's constants are markup. Text from a posture goes through `fit` and is escaped by `text`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    LongTable,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from tasks.reporting import figures
from tasks.reporting.figures import Posture, minute, thousands
from tasks.reporting.pdf_charts import BOLD, COVER, INK, MARK, MUTED, REGULAR, RULE, WASH
from tasks.reporting.text import clean

CHUNK = 250
"""Rows per table: layout time grows faster than the row count."""

WIDTH = A4[0] - 36 * mm
"""Points between the margins."""


def fonts() -> dict[int, int]:
    """Registers Bitstream Vera as shipped with reportlab (free to embed); returns the glyphs of the regular face."""
    if REGULAR not in pdfmetrics.getRegisteredFontNames():
        for name, file in ((REGULAR, "Vera.ttf"), (BOLD, "VeraBd.ttf")):
            pdfmetrics.registerFont(TTFont(name, file))
        pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
    glyphs: dict[int, int] = pdfmetrics.getFont(REGULAR).face.charToGlyph
    return glyphs


def fit(value: object, limit: int = 2_000) -> str:
    """Any text as plain text that the font can show: cleaned, cut, missing glyphs as `\\u{65e5}`."""
    glyphs = fonts()
    kept = clean(value, limit)
    if kept.isascii():  # all of which the font has; most text takes this way
        return kept
    return "".join(c if ord(c) in glyphs or c in "\n\t" else f"\\u{{{ord(c):x}}}" for c in kept)


BODY = ParagraphStyle("body", fontName=REGULAR, fontSize=8.3, leading=12.2, textColor=INK, spaceAfter=4)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=7, leading=9.8, textColor=MUTED)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=7, leading=9, spaceAfter=0, splitLongWords=1)
RIGHT = ParagraphStyle("right", parent=CELL, alignment=2)
HEAD = ParagraphStyle("head", parent=CELL, fontSize=6.3, leading=8, textColor=MUTED, fontName=BOLD)
HEAD_RIGHT = ParagraphStyle("head-right", parent=HEAD, alignment=2)
H1 = ParagraphStyle("h1", parent=BODY, fontName=BOLD, fontSize=14, leading=18, spaceBefore=14, spaceAfter=6)
H2 = ParagraphStyle("h2", parent=BODY, fontName=BOLD, fontSize=9.5, leading=13, spaceBefore=9, spaceAfter=3)
FIGURE = ParagraphStyle("figure", parent=BODY, fontName=BOLD, fontSize=17, leading=21, spaceAfter=0)
CUT = ParagraphStyle(
    "cut", parent=BODY, fontSize=7.3, leading=10, backColor=WASH, borderPadding=4, spaceBefore=6, spaceAfter=8
)


def text(value: object, style: ParagraphStyle = BODY, limit: int = 2_000) -> Paragraph:
    """A paragraph of plain text; what looks like markup in `value` is shown, not read."""
    return Paragraph(escape(fit(value, limit)).replace("\n", "<br/>"), style)


def coloured(words: str, colour: Any, style: ParagraphStyle = CELL) -> Paragraph:
    return Paragraph(f'<font color="{colour.hexval().replace("0x", "#")}"><b>{escape(fit(words))}</b></font>', style)


class Heading(Paragraph):  # type: ignore[misc]  # reportlab is untyped
    """A heading that also appears in the outline; `level` 0 is a section."""

    def __init__(self, words: str, level: int = 0) -> None:
        super().__init__(escape(fit(words, 120)), H1 if level == 0 else H2)
        self.words, self.level = fit(words, 120), level


def section(words: str, level: int = 0) -> list[Flowable]:
    """A heading that does not stay behind alone at the foot of a page."""
    return [CondPageBreak((42 if level == 0 else 32) * mm), Heading(words, level)]


class Document(BaseDocTemplate):  # type: ignore[misc]  # reportlab is untyped
    def __init__(self, out: io.BytesIO, posture: Posture) -> None:
        run = posture["run"]
        self.line = fit(
            f"Run {run['run_id']}  ·  {posture['labels']['judges']}" + ("  ·  DEMO" if run["demo"] else ""), 160
        )
        self.posture = posture
        super().__init__(
            out,
            pagesize=A4,
            title=fit(f"AI security posture, run {run['run_id']}", 160),
            author="aispm",
            subject=self.line,
            lang="en-GB",
            invariant=1,
        )
        left, width = 18 * mm, WIDTH
        cover = Frame(left, 16 * mm, width, A4[1] - 142 * mm, id="cover", leftPadding=0, rightPadding=0)
        page = Frame(left, 18 * mm, width, A4[1] - 34 * mm, id="page", leftPadding=0, rightPadding=0)
        self.addPageTemplates(
            [
                PageTemplate("cover", [cover], onPage=self._cover),
                PageTemplate("page", [page], onPage=self._page),
            ]
        )
        self.headings = 0

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802  # name given by reportlab
        if isinstance(flowable, Heading):
            self.headings += 1
            key = f"h{self.headings}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.words, key, level=flowable.level, closed=flowable.level == 0)

    def _cover(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        run, labels = self.posture["run"], self.posture["labels"]
        high = 118 * mm
        canvas.saveState()
        canvas.setFillColor(COVER)
        canvas.rect(0, A4[1] - high, A4[0], high, stroke=0, fill=1)
        x, y = 18 * mm, A4[1] - 58 * mm
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


GUTTER = 8
"""Points between columns."""

LINES = TableStyle(
    [
        ("FONT", (0, 0), (-1, -1), REGULAR, CELL.fontSize, CELL.leading),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), GUTTER),
        ("TOPPADDING", (0, 0), (-1, -1), 2.2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.6),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
    ]
)


def table(
    heads: Sequence[str], widths: Sequence[float], rows: Iterable[Sequence[object]], limit: int = 300
) -> list[Flowable]:
    """Chunked tables with repeated heads; a head that ends in `#` is a right-aligned number. `widths` are shares."""
    numeric = [h.endswith("#") for h in heads]
    top = [text(h.rstrip("#"), HEAD_RIGHT if n else HEAD) for h, n in zip(heads, numeric, strict=True)]
    scale = WIDTH / sum(widths)
    points = [w * scale for w in widths]
    body = [[_cell(c, n, w, limit) for c, n, w in zip(row, numeric, points, strict=True)] for row in rows]
    aligned = TableStyle([("ALIGN", (i, 0), (i, -1), "RIGHT") for i, n in enumerate(numeric) if n], parent=LINES)
    out: list[Flowable] = []
    for start in range(0, len(body), CHUNK):
        chunk = LongTable([top, *body[start : start + CHUNK]], points, repeatRows=1, splitInRow=1)
        chunk.setStyle(aligned)
        out.append(chunk)
    return [*out, Spacer(1, 6)]


def _cell(value: object, numeric: bool, points: float, limit: int) -> Paragraph | str:
    """A plain string where one line is enough: it is drawn as it is and costs a tenth of a paragraph."""
    if isinstance(value, Paragraph):
        return value
    kept = fit(value, limit)
    short = len(kept) < 100 and "\n" not in kept
    if short and pdfmetrics.stringWidth(kept, REGULAR, CELL.fontSize) <= points - GUTTER:
        return kept
    return Paragraph(escape(kept).replace("\n", "<br/>"), RIGHT if numeric else CELL)


def cut(shown: int, total: int, what: str, query: str) -> list[Flowable]:
    if shown >= total:
        return []
    words = f"Cut: {thousands(shown)} of {thousands(total)} {what} are shown here. All are in posture.json; the rest:"
    return [text(f'{words} aispm sql "{query}"', CUT)]


def side_by_side(left: Sequence[Flowable], right: Sequence[Flowable]) -> Table:
    pair = Table([[list(left), list(right)]], [WIDTH / 2, WIDTH / 2])
    pair.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, 0), 0),
                ("RIGHTPADDING", (1, 0), (1, 0), 0),
            ]
        )
    )
    return pair
