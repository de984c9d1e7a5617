"""The judges' health as a document, as tables for a terminal, and as one HTML page with plots and no script."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tasks.errors import ConfigError
from tasks.judging.calibration import LEAST_ANCHORS

SCHEMA = "aispm.judge_health/1"
TEMPLATES = Path(__file__).parent / "templates"
Table = tuple[str, list[str], list[list[Any]]]
DRIFT_ALARM = 5


def health_document(con: duckdb.DuckDBPyConnection, run_id: str | None = None) -> dict[str, Any]:
    """What the lake's views (`con`) say about the judges of `run_id`, of the newest judged run when None.

    Raises ConfigError when no judge has voted yet, or not in that run.
    """
    runs = [r for (r,) in con.execute("select distinct run_id from judge_health order by run_id").fetchall()]
    posture = [r for (r,) in con.execute("select run_id from runs order by run_id").fetchall()]
    judged = [r for r in runs if r in posture]
    chosen = run_id or (judged[-1] if judged else None)
    if chosen is None or chosen not in runs:
        there = ", ".join(judged[-5:]) or "none"
        raise ConfigError(f"no judge was tested in run {chosen or '(none yet)'}; runs with judges: {there}")

    def rows(sql: str, *parameters: Any) -> list[dict[str, Any]]:
        cursor = con.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    labels = rows("select distinct judges_label from verdicts where run_id = ? and decided_by = 'judges'", chosen)
    return {
        "schema": SCHEMA,
        "run_id": chosen,
        "judges": " and ".join(sorted(row["judges_label"] for row in labels)) or "no judges",
        "health": rows("select * from judge_health where run_id = ? order by judge_id, window_number", chosen),
        "quarantined": rows(
            """select judge_id, judge_version, alarm, run_id from judge_health
               where state in ('quarantined', 'released')
               qualify row_number() over (
                   partition by judge_id, judge_version order by made_at desc, window_number desc
               ) = 1 and state = 'quarantined' order by judge_id"""
        ),
        "agreement": rows(
            "select * from panel_agreement where run_id = ? order by family_id = 'all', family_id", chosen
        ),
        "pairs": rows("select * from judge_agreement where run_id = ? order by judge_a, judge_b", chosen),
        "bias": rows("select * from judge_bias order by judge_id, family_id"),
        "stated": rows("select * from judge_calibration order by role, judge_id"),
        "drift": rows("select * from judge_drift order by judge_id, run_id"),
        "routes": rows(
            """select route, reason, calibration, count(*) as verdicts from verdicts
               where run_id = ? and decided_by = 'judges' group by all order by route, verdicts desc, reason""",
            chosen,
        ),
        "waiting": rows("select count(*) as n from review_queue")[0]["n"],
        "labelled": rows("select count(distinct attempt_id) as n from verdicts where decided_by = 'human'")[0]["n"],
        "least_anchors": LEAST_ANCHORS,
        "cost_micro_usd": rows(
            "select coalesce(sum(cost_micro_usd), 0)::bigint as n from votes where run_id = ?", chosen
        )[0]["n"],
    }


def health_tables(document: dict[str, Any]) -> list[Table]:
    """Title, columns and rows of every table, cells as text."""
    d = document
    tables: list[Table] = [
        (
            f"Known answers and text aimed at judges ({d['judges']}, run {d['run_id']})",
            ["judge", "window", "state", "right", "alarm at", "abstained", "flips", "Youden J"],
            [
                [
                    r["judge_id"],
                    r["window_number"],
                    r["state"] + (f": {r['alarm']}" if r["alarm"] else ""),
                    f"{r['correct']} of {r['gold']}",
                    r["alarm_at"],
                    r["abstained"],
                    f"{r['flips']} of {r['pairs']}",
                    share(r["youden_ppm"]),
                ]
                for r in d["health"]
            ],
        ),
        (
            "Agreement of the panel by family",
            ["family", "attempts", "unanimous", "agreement", "Fleiss kappa", "Gwet AC1"],
            [
                [
                    r["family_id"],
                    r["attempts"],
                    r["unanimous"],
                    share(r["agreement_ppm"]),
                    share(r["fleiss_kappa_ppm"]),
                    share(r["ac1_ppm"]),
                ]
                for r in d["agreement"]
            ],
        ),
        (
            "Agreement of pairs (attempts both decided)",
            ["judges", "both decided", "agreed", "AC1", "Cohen kappa"],
            [
                [
                    f"{r['judge_a']}, {r['judge_b']}",
                    r["both_decided"],
                    r["agreed"],
                    share(r["ac1_ppm"]),
                    share(r["kappa_ppm"]),
                ]
                for r in d["pairs"]
            ],
        ),
        (
            "Bias against the verdict in force (against people)",
            ["judge", "family", "votes", "says vulnerable", "over-flagged", "under-flagged", "undecided", "error"],
            [
                [
                    r["judge_id"],
                    r["family_id"],
                    r["votes"],
                    share(r["vulnerable_ppm"]),
                    f"{r['over_flagged']} ({r['over_flagged_human']})",
                    f"{r['under_flagged']} ({r['under_flagged_human']})",
                    r["undecided"],
                    r["error"],
                ]
                for r in d["bias"]
            ],
        ),
        (
            f"Stated confidence against people's labels ({d['labelled']} attempts labelled)",
            ["judge", "role", "labelled", "agreed", "Brier", "ECE"],
            [
                [
                    r["judge_id"],
                    r["role"],
                    r["labelled"],
                    r["agreed"],
                    share(r["brier_ppm"]),
                    share(r["ece_ppm"]),
                ]
                for r in d["stated"]
            ],
        ),
        (
            "Drift of the share called vulnerable",
            ["judge", "run", "decided", "vulnerable", "CUSUM up", "CUSUM down", "drifted"],
            [
                [
                    r["judge_id"],
                    r["run_id"],
                    r["decided"],
                    share(r["vulnerable_ppm"]),
                    share(r["cusum_up_ppm"]),
                    share(r["cusum_down_ppm"]),
                    "yes" if r["drifted"] else "no",
                ]
                for r in d["drift"]
            ],
        ),
        (
            f"How verdicts came about ({d['waiting']} attempts wait for a person)",
            ["route", "reason", "calibration", "verdicts"],
            [[r["route"], r["reason"], r["calibration"], r["verdicts"]] for r in d["routes"]],
        ),
    ]
    return tables


def share(ppm: int | None) -> str:
    """Millionths as a number with three digits; `–` when undefined."""
    return "–" if ppm is None else f"{ppm / 1_000_000:.3f}"


def render_health(document: dict[str, Any]) -> str:
    """One self-contained page: it fetches nothing and runs nothing."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("judge_health.html.j2")
    return template.render(
        d=document,
        tables=health_tables(document),
        plots={
            0: gold_plot(document["health"]),
            1: agreement_plot(document["agreement"]),
            5: drift_plot(document["drift"]),
        },
        made=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
    )


def gold_plot(rows: Sequence[dict[str, Any]]) -> Markup:
    """Right answers per judge and window, with the count at which the alarm is raised."""
    parts = []
    for i, row in enumerate(rows):
        y, width = 8 + i * 26, 10 * row["correct"]
        tone = "bad" if row["alarm"] else "bar"
        parts.append(
            f'<text x="150" y="{y + 14}" class="e">{escape(row["judge_id"])} {row["window_number"]}</text>'
            f'<rect x="160" y="{y}" width="{10 * row["gold"]}" height="18" class="track"/>'
            f'<rect x="160" y="{y}" width="{width}" height="18" class="{tone}"/>'
            f'<line x1="{160 + 10 * row["alarm_at"]}" x2="{160 + 10 * row["alarm_at"]}" y1="{y - 3}" y2="{y + 21}"/>'
            f'<text x="{170 + 10 * row["gold"]}" y="{y + 14}">{row["correct"]} of {row["gold"]}</text>'
        )
    said = "; ".join(f"{r['judge_id']} {r['correct']} of {r['gold']}, alarm at {r['alarm_at']}" for r in rows)
    return _svg(620, 16 + 26 * len(rows), "Known answers right; the line is where the alarm is raised", said, parts)


def agreement_plot(rows: Sequence[dict[str, Any]]) -> Markup:
    """AC1 (dot) and Fleiss' kappa (square) of every family, from -1 to 1."""
    parts = [f'<line x1="300" x2="300" y1="4" y2="{30 + 22 * len(rows)}" class="faint"/>']
    for i, row in enumerate(rows):
        y = 16 + i * 22
        parts.append(f'<text x="190" y="{y + 4}" class="e">{escape(row["family_id"])}</text>')
        parts.append(f'<line x1="200" x2="400" y1="{y}" y2="{y}" class="faint"/>')
        if row["ac1_ppm"] is not None:
            parts.append(f'<circle cx="{_place(row["ac1_ppm"])}" cy="{y}" r="6" class="bar"/>')
        if row["fleiss_kappa_ppm"] is not None:
            parts.append(
                f'<rect x="{_place(row["fleiss_kappa_ppm"]) - 5}" y="{y - 5}" width="10" height="10" class="two"/>'
            )
        parts.append(
            f'<text x="415" y="{y + 4}">AC1 {share(row["ac1_ppm"])}, kappa {share(row["fleiss_kappa_ppm"])}</text>'
        )
    y = 30 + 22 * len(rows)
    parts += [
        f'<text x="{x}" y="{y + 12}" class="m">{label}</text>' for x, label in ((200, "-1"), (300, "0"), (400, "1"))
    ]
    said = "; ".join(f"{r['family_id']} AC1 {share(r['ac1_ppm'])}" for r in rows)
    return _svg(620, y + 18, "Agreement: circle = Gwet's AC1, square = Fleiss' kappa", said, parts)


def _place(ppm: int) -> int:
    return 300 + ppm // 10_000


def drift_plot(rows: Sequence[dict[str, Any]]) -> Markup:
    """The larger cumulative sum of each judge over its runs; the line is the alarm."""
    judges = sorted({row["judge_id"] for row in rows})
    top = max([DRIFT_ALARM * 1.2, *(max(r["cusum_up_ppm"], r["cusum_down_ppm"]) / 1_000_000 for r in rows)])
    runs = sorted({row["run_id"] for row in rows})
    step = 440 / max(len(runs) - 1, 1)
    line = 120 - 110 * DRIFT_ALARM / top
    parts = [f'<line x1="60" x2="500" y1="{line:.0f}" y2="{line:.0f}" class="alarm"/>']
    parts.append(f'<text x="506" y="{line + 4:.0f}">alarm at {DRIFT_ALARM}</text>')
    parts.append('<line x1="60" x2="500" y1="120" y2="120" class="faint"/><text x="52" y="124" class="e">0</text>')
    for number, judge in enumerate(judges):
        points = [
            (60 + step * runs.index(r["run_id"]), 120 - 110 * max(r["cusum_up_ppm"], r["cusum_down_ppm"]) / 1e6 / top)
            for r in rows
            if r["judge_id"] == judge
        ]
        way = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        parts.append(f'<polyline points="{way}" class="way w{number % 3}"/>')
        parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" class="dot"/>' for x, y in points]
        parts.append(
            f'<text x="{60 + 160 * number}" y="144" class="w{number % 3}">{"–·="[number % 3]} {escape(judge)}</text>'
        )
    return _svg(620, 150, f"Drift over {len(runs)} runs: larger of the two cumulative sums", ", ".join(judges), parts)


def _svg(width: int, height: int, title: str, said: str, parts: Sequence[str]) -> Markup:
    return Markup(  # noqa: S704 - every piece of data in `parts` is escaped where it is put in
        f'<svg viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title><desc>{escape(said)}</desc>'
        f'{"".join(parts)}</svg><p class="caption">{escape(title)}</p>'
    )
