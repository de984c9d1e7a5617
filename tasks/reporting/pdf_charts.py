"""The report's four pictures as PDF drawings; the same figures stand in tables beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from reportlab.graphics.shapes import Circle, Drawing, Line, Polygon, PolyLine, Rect, String
from reportlab.lib.colors import Color, HexColor

from tasks.reporting.figures import STATE_NAMES, FrameworkRow, Posture, day, kind_name, percent, thousands
from tasks.reporting.schema import CONTROL_STATES, SEVERITIES

INK, MUTED, RULE, WASH = HexColor("#16202a"), HexColor("#50606e"), HexColor("#d3dae1"), HexColor("#f4f6f8")
ACCENT, COVER, MARK = HexColor("#0f4c6b"), HexColor("#0c2637"), HexColor("#ffd479")
SEVERITY_INK = {
    "critical": HexColor("#7d1128"),
    "high": HexColor("#a8380f"),
    "medium": HexColor("#755600"),
    "low": HexColor("#2a5f8a"),
    "info": HexColor("#52606d"),
}
STATE_INK = {
    "tested_failing": HexColor("#9b1c31"),
    "insufficient": HexColor("#755600"),
    "tested_clean": HexColor("#17634a"),
    "not_tested": HexColor("#485663"),
    "not_yet_applicable": HexColor("#574a86"),
    "not_applicable": HexColor("#5f6b76"),
}
OUTCOME_INK = {"pass": HexColor("#17634a"), "fail": HexColor("#9b1c31"), "unknown": HexColor("#485663")}

REGULAR, BOLD = "Vera", "VeraBd"


def severity_bars(counts: Mapping[str, int]) -> Drawing:
    drawing, top = Drawing(230, 92), max([1, *counts.values()])
    for i, severity in enumerate(SEVERITIES):
        y, width = 74 - i * 18, counts[severity] * 130 / top
        drawing.add(_text(48, y + 3, severity, anchor="end"))
        drawing.add(_box(54, y, max(width, 0.8), 11, SEVERITY_INK[severity]))
        drawing.add(_text(60 + width, y + 3, thousands(counts[severity]), bold=True))
    return drawing


def score_band(low: int, high: int) -> Drawing:
    drawing = Drawing(150, 26)
    drawing.add(_box(0, 14, 140, 5, RULE))
    drawing.add(_box(low * 1.4, 12, max((high - low) * 1.4, 2), 9, ACCENT))
    for mark in (0, 50, 100):
        anchor = "start" if mark == 0 else "end" if mark == 100 else "middle"
        drawing.add(_text(mark * 1.4, 3, str(mark), size=6, colour=MUTED, anchor=anchor))
    return drawing


def heat_map(rows: Sequence[FrameworkRow], names: Sequence[str]) -> Drawing:
    """`names` are the frameworks' names, already fit for the font."""
    left, cell, high = 172, 56, 25
    drawing = Drawing(left + 6 * cell, 26 + high * len(rows))
    head = high * len(rows)
    for j, state in enumerate(CONTROL_STATES):
        words = STATE_NAMES[state].name.split(" ", 1)
        for k, word in enumerate(reversed(words)):
            drawing.add(
                _text(left + j * cell + cell / 2, head + 5 + k * 8, word, size=6.2, colour=MUTED, anchor="middle")
            )
    for i, row in enumerate(rows):
        y = head - (i + 1) * high
        drawing.add(_text(left - 8, y + 9, names[i], size=7, anchor="end"))
        for j, state in enumerate(CONTROL_STATES):
            count = row.counts[state]
            share = 0.15 + 0.3 * count / max(len(row.controls), 1)
            drawing.add(
                _box(left + j * cell + 1, y + 1, cell - 2, high - 2, _tint(STATE_INK[state], share) if count else WASH)
            )
            mark = f"{STATE_NAMES[state].letter} {thousands(count)}" if count else "·"
            drawing.add(_text(left + j * cell + cell / 2, y + 9, mark, bold=bool(count), anchor="middle"))
    return drawing


def coverage_bars(posture: Posture) -> Drawing:
    rows = posture["coverage"]
    drawing = Drawing(480, max(len(rows) * 16, 16))
    for i, row in enumerate(rows):
        y, x = (len(rows) - 1 - i) * 16, 112.0
        total = row["pass"] + row["fail"] + row["unknown"]
        drawing.add(_text(106, y + 4, kind_name(row["kind"]), size=7, anchor="end"))
        for name in ("pass", "fail", "unknown"):
            width = row[name] * 280 / total if total else 0
            if width:
                drawing.add(_box(x, y + 1, width, 11, OUTCOME_INK[name]))
            if width > 46:
                drawing.add(
                    _text(
                        x + width / 2,
                        y + 4,
                        f"{name} {row[name]}",
                        size=6.2,
                        colour=HexColor("#ffffff"),
                        anchor="middle",
                    )
                )
            elif width > 16:
                drawing.add(
                    _text(
                        x + width / 2,
                        y + 4,
                        f"{name[0]} {row[name]}",
                        size=6.2,
                        colour=HexColor("#ffffff"),
                        anchor="middle",
                    )
                )
            x += width
        drawing.add(_text(400, y + 4, percent(row["coverage_ppm"]) if total else "no check applies", size=7, bold=True))
    return drawing


def trend(posture: Posture, series: Sequence[tuple[str, str]], top: int, band: bool = False) -> Drawing | None:
    """Lines over runs for `(member, label)` series; None with fewer than two runs that have all of them."""
    rows = [r for r in posture["trend"] if all(r[member] is not None for member, _ in series)]
    if len(rows) < 2:
        return None
    drawing = Drawing(250, 120)
    for i in range(5):
        y = 16 + i * 24
        drawing.add(Line(22, y, 206, y, strokeColor=RULE, strokeWidth=0.5))
        drawing.add(_text(19, y - 2, str(top * i // 4), size=6, colour=MUTED, anchor="end"))
    xs = [26 + i * 176 / (len(rows) - 1) for i in range(len(rows))]
    lines = [[(x, 16 + r[member] * 96 / top) for x, r in zip(xs, rows, strict=True)] for member, _ in series]
    if band:
        points = [n for point in [*lines[0], *reversed(lines[1])] for n in point]
        drawing.add(Polygon(points, fillColor=_tint(ACCENT, 0.15), strokeColor=None))
    ends: list[list[Any]] = []
    for number, ((member, label), points_) in enumerate(zip(series, lines, strict=True)):
        colour = SEVERITY_INK.get(member, ACCENT)
        dash = [3, 2] if number else None
        flat = [n for point in points_ for n in point]
        drawing.add(PolyLine(flat, strokeColor=colour, strokeWidth=1.2, strokeDashArray=dash))
        for x, y in points_:
            drawing.add(
                _box(x - 1.5, y - 1.5, 3, 3, colour)
                if number
                else Circle(x, y, 1.7, fillColor=colour, strokeColor=None)
            )
        ends.append([points_[-1][1], f"{label} {rows[-1][member]}"])
    ends.sort(key=lambda end: -end[0])
    for upper, lower in pairwise(ends):
        lower[0] = min(lower[0], upper[0] - 8)
    for y, words in ends:
        drawing.add(_text(208, y - 2, words, size=6.2))
    for i in {0, len(rows) // 2, len(rows) - 1}:
        anchor = "start" if i == 0 else "end" if i == len(rows) - 1 else "middle"
        drawing.add(_text(xs[i], 4, day(rows[i]["at"]), size=6, colour=MUTED, anchor=anchor))
    return drawing


def _text(
    x: float, y: float, words: str, *, size: float = 7.5, bold: bool = False, colour: Color = INK, anchor: str = "start"
) -> String:
    return String(x, y, words, fontName=BOLD if bold else REGULAR, fontSize=size, fillColor=colour, textAnchor=anchor)


def _box(x: float, y: float, width: float, height: float, colour: Color) -> Rect:
    return Rect(x, y, width, height, fillColor=colour, strokeColor=None, strokeWidth=0)


def _tint(colour: Color, share: float) -> Color:
    """`colour` mixed with white: opaque, so that every printer shows the same."""
    return Color(*(1 - share * (1 - part) for part in (colour.red, colour.green, colour.blue)))
