"""Inline SVG: no script, no style attribute (the page's policy forbids it), colours by class so that dark mode works.

Every chart has a title and a description; the same figures always stand in a table beside it, and no colour carries
a meaning that a letter, number or shape does not carry too.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from tasks.reporting.figures import STATE_NAMES, FrameworkRow, Posture, day, kind_name, percent, thousands
from tasks.reporting.schema import CONTROL_STATES, SEVERITIES
from tasks.reporting.text import clean


def severity_bars(counts: dict[str, int]) -> Markup:
    top = max([1, *counts.values()])
    parts = []
    for i, severity in enumerate(SEVERITIES):
        y, width = i * 26, round(counts[severity] * 250 / top)
        parts.append(
            f'<text x="62" y="{y + 15}" class="t e">{severity}</text>'
            f'<rect x="70" y="{y + 3}" width="{max(width, 1)}" height="16" rx="2" class="sev-{severity}"/>'
            f'<text x="{78 + width}" y="{y + 15}" class="t b">{thousands(counts[severity])}</text>'
        )
    said = ", ".join(f"{counts[s]} {s}" for s in SEVERITIES)
    return _svg("severity", 380, 132, "Open findings by severity", said, parts)


def score_band(low: int | None, high: int | None) -> Markup:
    """The range on a ruler from 0 to 100."""
    if low is None or high is None:
        return Markup("")
    low, high = min(low, high), max(low, high)
    parts = ['<rect x="1" y="8" width="200" height="8" rx="4" class="track"/>']
    parts.append(
        f'<rect x="{1 + low * 2}" y="5" width="{max((high - low) * 2, 4)}" height="14" rx="3" class="accent"/>'
    )
    for mark in (0, 25, 50, 75, 100):
        anchor = "s" if mark == 0 else "e" if mark == 100 else "m"
        parts.append(f'<text x="{1 + mark * 2}" y="33" class="t s9 {anchor}">{mark}</text>')
    return _svg("score", 202, 38, "Score range", f"from {low} to {high} of 100", parts)


def heat_map(rows: Sequence[FrameworkRow]) -> Markup:
    """Framework x control state; the number is the count, the tint its share of the framework."""
    left, cell, high = 250, 84, 34
    parts = []
    for j, state in enumerate(CONTROL_STATES):
        x = left + j * cell + cell // 2
        words = STATE_NAMES[state].name.split(" ")
        first, second = (words[0], " ".join(words[1:])) if len(words) > 1 else ("", words[0])
        parts.append(
            f'<text x="{x}" y="12" class="t s9 m">{first}</text><text x="{x}" y="24" class="t s9 m">{second}</text>'
        )
    for i, row in enumerate(rows):
        y = 34 + i * high
        parts.append(
            f'<text x="{left - 10}" y="{y + 15}" class="t e">{escape(clean(row.name, 40))}</text>'
            f'<text x="{left - 10}" y="{y + 27}" class="t s9 e q">{escape(clean(row.version, 20))}</text>'
        )
        for j, state in enumerate(CONTROL_STATES):
            count, x = row.counts[state], left + j * cell
            tint = "0" if not count else f".{15 + count * 30 // max(len(row.controls), 1):02d}"
            parts.append(f'<rect x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{high - 2}" rx="2" class="grid"/>')
            parts.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{high - 2}" rx="2" class="st-{state}" '
                f'fill-opacity="{tint}"/>'
            )
            mark = f"{STATE_NAMES[state].letter} {thousands(count)}" if count else "·"
            parts.append(f'<text x="{x + cell // 2}" y="{y + 21}" class="t m {"b" if count else "q"}">{mark}</text>')
    said = "; ".join(
        f"{clean(r.name, 60)}: " + ", ".join(f"{r.counts[s]} {STATE_NAMES[s].name.lower()}" for s in CONTROL_STATES)
        for r in rows
    )
    return _svg("heat", left + 6 * cell, 36 + len(rows) * high, "Controls by framework and state", said, parts)


def coverage_bars(posture: Posture) -> Markup:
    """Per asset kind: what share of applicable check results was read at all."""
    rows = posture["coverage"]
    parts = []
    for i, row in enumerate(rows):
        y, read = i * 24, row["pass"] + row["fail"]
        total = read + row["unknown"]
        parts.append(f'<text x="142" y="{y + 15}" class="t e">{escape(kind_name(row["kind"]))}</text>')
        x = 150.0
        for name, count in (("pass", row["pass"]), ("fail", row["fail"]), ("unknown", row["unknown"])):
            width = count * 560 / total if total else 0
            if width:
                parts.append(f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="14" class="oc-{name}"/>')
            if width > 22:
                words = f"{name} {count}" if width > 70 else f"{name[0]} {count}"
                parts.append(f'<text x="{x + width / 2:.1f}" y="{y + 15}" class="t s9 m on">{words}</text>')
            x += width
        label = percent(row["coverage_ppm"]) if total else "no check applies"
        parts.append(f'<text x="718" y="{y + 15}" class="t b">{label}</text>')
    said = "; ".join(
        f"{kind_name(r['kind'])}: {r['pass']} pass, {r['fail']} fail, {r['unknown']} unknown" for r in rows
    )
    return _svg("coverage", 820, max(len(rows) * 24, 24), "Posture check results by asset kind", said, parts)


def trend_score(posture: Posture) -> Markup:
    """Score range over runs: the band is what unknown results leave open."""
    rows = [r for r in posture["trend"] if r["score_best"] is not None and r["score_worst"] is not None]
    if len(rows) < 2:
        return Markup("")
    xs, parts = _frame(rows, [(v, str(v)) for v in (0, 25, 50, 75, 100)], 100)
    best = [(x, 150 - r["score_best"] * 1.4) for x, r in zip(xs, rows, strict=True)]
    worst = [(x, 150 - r["score_worst"] * 1.4) for x, r in zip(xs, rows, strict=True)]
    band = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*best, *reversed(worst)])
    parts.append(f'<polygon points="{band}" class="accent" fill-opacity=".14"/>')
    parts += [_line(best, "l-accent", "dot"), _line(worst, "l-accent dash", "square")]
    parts.append(
        f'<text x="{best[-1][0] + 9:.1f}" y="{best[-1][1] + 2:.1f}" class="t s9">best {rows[-1]["score_best"]}</text>'
    )
    below = max(worst[-1][1] + 4, best[-1][1] + 13)
    parts.append(f'<text x="{best[-1][0] + 9:.1f}" y="{below:.1f}" class="t s9">worst {rows[-1]["score_worst"]}</text>')
    said = "; ".join(f"{day(r['at'])}: {r['score_worst']} to {r['score_best']}" for r in rows)
    return _svg("trend-score", 460, 180, "Score range over runs", said, parts)


def trend_findings(posture: Posture) -> Markup:
    """Open critical and high findings over runs."""
    rows = posture["trend"]
    if len(rows) < 2:
        return Markup("")
    top = max([4, *(r[s] for r in rows for s in ("critical", "high"))])
    top += -top % 4
    xs, parts = _frame(rows, [(top * i // 4, thousands(top * i // 4)) for i in range(5)], top)
    labels: list[tuple[float, float, str]] = []
    for severity, marker, line in (("critical", "square", "l-critical"), ("high", "dot", "l-high dash")):
        points = [(x, 150 - r[severity] * 140 / top) for x, r in zip(xs, rows, strict=True)]
        parts.append(_line(points, line, marker))
        labels.append((points[-1][0], points[-1][1], f"{severity} {rows[-1][severity]}"))
    labels.sort(key=lambda p: p[1])
    if labels[1][1] - labels[0][1] < 12:
        labels[1] = (labels[1][0], labels[0][1] + 12, labels[1][2])
    parts += [f'<text x="{x + 9:.1f}" y="{y + 3:.1f}" class="t s9">{words}</text>' for x, y, words in labels]
    said = "; ".join(f"{day(r['at'])}: {r['critical']} critical, {r['high']} high" for r in rows)
    return _svg("trend-findings", 460, 180, "Open critical and high findings over runs", said, parts)


def _frame(rows: Sequence[Posture], marks: Sequence[tuple[int, str]], top: int) -> tuple[list[float], list[str]]:
    parts = []
    for value, label in marks:
        y = 150 - value * 140 / top
        parts.append(f'<line x1="30" x2="384" y1="{y:.1f}" y2="{y:.1f}" class="rule"/>')
        parts.append(f'<text x="25" y="{y + 3:.1f}" class="t s9 e q">{label}</text>')
    xs = [36 + i * 342 / (len(rows) - 1) for i in range(len(rows))]
    step = max(1, (len(rows) + 4) // 5)
    shown = set(range(len(rows) - 1, -1, -step))
    parts += [
        f'<text x="{xs[i]:.1f}" y="168" class="t s9 m q">{escape(clean(day(rows[i]["at"]), 10))}</text>'
        for i in sorted(shown)
    ]
    return xs, parts


def _line(points: Sequence[tuple[float, float]], css: str, marker: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    kind = css.split(" ")[0].removeprefix("l-")
    fill = "accent" if kind == "accent" else f"sev-{kind}"
    shapes = "".join(
        f'<rect x="{x - 2.6:.1f}" y="{y - 2.6:.1f}" width="5.2" height="5.2" class="{fill}"/>'
        if marker == "square"
        else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{fill}"/>'
        for x, y in points
    )
    return f'<polyline points="{path}" class="line {css}"/>{shapes}'


def _svg(name: str, width: int, height: int, title: str, said: str, parts: Sequence[str]) -> Markup:
    # All text within `parts` is either ours or escaped where it is put in.
    return Markup(  # noqa: S704  # see above
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{escape(title)}</title>'
        f'<desc id="{name}-d">{escape(clean(said, 4_000))}</desc>{"".join(parts)}</svg>'
    )
