"""The matrix of the bank as a page of its own and as Markdown; both say the same as `matrix.json`."""

from __future__ import annotations

from html import escape
from typing import Any

from tasks.probing.matrix import Mark, Matrix

_SIGNS = {
    Mark.FIRES: "●",
    Mark.JUDGED: "◆",
    Mark.MISSES: "✗",
    Mark.OVERLAP: "○",
    Mark.UNDECLARED: "!",
    Mark.SILENT: "·",
    Mark.UNTOUCHED: " ",
    Mark.FAILED: "E",
}
_BAD = frozenset({Mark.MISSES, Mark.UNDECLARED, Mark.FAILED})

_NOTE = (
    "Every family was sent to a fictitious bank over loopback, once per weakness switched on and once with all off. "
    "The bank is built to be found: this proves the detection logic and says nothing about any model's resistance."
)

_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:2rem;color:#1b1f24;background:#fff}
h1{font-size:1.4rem;margin:0 0 .4rem}p{max-width:60rem}
table{border-collapse:collapse;margin:1rem 0}.rates td,.rates th{padding:.25rem .9rem .25rem 0;text-align:left}
.scroll{overflow-x:auto}.m th,.m td{font-size:11px;padding:0;border:1px solid #d8dee4}
.m thead th{height:11.5rem;vertical-align:bottom;font-weight:500}
.m thead span{writing-mode:vertical-rl;transform:rotate(180deg);padding:.3rem .1rem;white-space:nowrap}
.m tbody th{text-align:left;font-weight:500;padding:0 .5rem;white-space:nowrap;position:sticky;left:0;background:#fff}
.m td{width:17px;min-width:17px;height:17px;text-align:center}
.fires{background:#1f6feb;color:#fff}.judged{background:#8250df;color:#fff}.overlap{background:#cfe3ff}
.bad{background:#cf222e;color:#fff;font-weight:700}.untouched{background:#f3f4f6}
@media(prefers-color-scheme:dark){body,.m tbody th{background:#0d1117;color:#e6edf3}.m th,.m td{border-color:#30363d}
.untouched{background:#161b22}.overlap{background:#1c3d6e}}
"""


def as_html(matrix: Matrix) -> str:
    """One self-contained page without scripts."""
    head = "".join(f"<th scope=col><span>{escape(s)}</span></th>" for s in matrix.switches)
    body = []
    for family_id in matrix.families:
        cells = []
        for switch in matrix.switches:
            mark = matrix.mark(family_id, switch)
            cell = matrix.cells.get((family_id, switch))
            said = f"{family_id} × {switch}: {mark}" + (f", {cell.fired} of {cell.sent}" if cell else "")
            cells.append(f'<td class="{_css(mark)}" title="{escape(said)}">{_SIGNS[mark]}</td>')
        for counted in (matrix.hardened, matrix.benign):
            control = counted.get(family_id)
            text = "" if control is None else f"{control.fired}/{control.sent}"
            bad = ' class="bad"' if control is not None and control.fired else ""
            cells.append(f"<td{bad}>&nbsp;{text}&nbsp;</td>")
        body.append(f"<tr><th scope=row>{escape(family_id)}</th>{''.join(cells)}</tr>")
    rates = "".join(
        f"<tr><th scope=row>{escape(name)}<td>{hits} of {n}<td>{b.low * 100:.2f}–{b.high * 100:.2f} %</tr>"
        for name, hits, n, b in matrix.rates()
    )
    problems = "".join(f"<li>{escape(p)}</li>" for p in matrix.problems())
    legend = "; ".join(f"{sign.strip() or 'blank'} {escape(mark)}" for mark, sign in _SIGNS.items())
    controls = "".join(f"<th scope=col><span>{n}: fired/sent</span></th>" for n in ("hardened", "harmless"))
    counted_head = "<tr><th>Counted<th>Found<th>95 % Wilson interval"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Probe families × weaknesses</title><style>{_STYLE}</style><h1>Probe families × weaknesses</h1>"
        f"<p>{_NOTE}</p><table class=rates><thead>{counted_head}</thead>{rates}</table>"
        + (f"<h2>Problems</h2><ul>{problems}</ul>" if problems else "<p>No cell disagrees.</p>")
        + f"<p>{legend}</p><div class=scroll><table class=m><thead><tr><th></th>{head}"
        f"{controls}</tr></thead><tbody>{''.join(body)}</tbody></table></div></html>\n"
    )


def _css(mark: Mark) -> str:
    return "bad" if mark in _BAD else mark.name.lower()


def as_markdown(matrix: Matrix) -> str:
    """Per family: its weakness, what fired there and elsewhere; the whole matrix is on the page."""
    lines = [
        "# Probe families × weaknesses",
        "",
        _NOTE,
        "",
        "| counted | found | 95 % Wilson interval |",
        "|---|---|---|",
    ]
    lines += [f"| {n} | {hits} of {of} | {b.low * 100:.2f}–{b.high * 100:.2f} % |" for n, hits, of, b in matrix.rates()]
    lines += ["", "| family | its weakness | fires there | seeds | also fires at | hardened | harmless |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for family_id, family in matrix.families.items():
        own = matrix.cells.get((family_id, family.bank_switch))
        others = [s for s in matrix.switches if matrix.mark(family_id, s) in (Mark.OVERLAP, Mark.UNDECLARED)]
        controls = [
            "–" if c is None else f"{c.fired} of {c.sent}"
            for c in (matrix.hardened.get(family_id), matrix.benign.get(family_id))
        ]
        there = "–" if own is None else f"{own.fired} of {own.sent}"
        seeds = "–" if own is None else f"{len(own.seeds_fired)} of {len(family.seeds)}"
        also = ", ".join(others) or "–"
        lines.append(f"| {family_id} | {family.bank_switch} | {there} | {seeds} | {also} | {' | '.join(controls)} |")
    problems = matrix.problems()
    lines += ["", *([f"- {p}" for p in problems] or ["No cell disagrees."])]
    return "\n".join(lines) + "\n"


def document(matrix: Matrix) -> dict[str, Any]:
    """`aispm.matrix/1`: every cell with its counts."""
    failed, sent = matrix.errors()
    return {
        "schema": "aispm.matrix/1",
        "families": len(matrix.families),
        "switches": list(matrix.switches),
        "attempts": sent,
        "errors": failed,
        "rates": [
            {"counted": name, "hits": hits, "n": n, "wilson": [b.low, b.high]} for name, hits, n, b in matrix.rates()
        ],
        "problems": matrix.problems(),
        "overlaps_not_seen": matrix.stale_overlaps(),
        "cells": [
            {
                "family_id": f, "switch": s, "mark": matrix.mark(f, s).name.lower(), "verdicts": dict(c.verdicts),
                "seeds_fired": sorted(c.seeds_fired), "error_kinds": dict(c.error_kinds),
            }
            for (f, s), c in sorted(matrix.cells.items())
        ],
        "hardened": {f: dict(c.verdicts) for f, c in sorted(matrix.hardened.items())},
        "harmless": {f: dict(c.verdicts) for f, c in sorted(matrix.benign.items())},
    }  # fmt: skip
