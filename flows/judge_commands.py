"""`aispm judge …` and `aispm review …`: the judges' health, and what a person decides. No logic here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.invocation import Json, emit, invocation, say

judge_app = typer.Typer(help="The judges: health, quarantine, asking again.", no_args_is_help=True)
review_app = typer.Typer(help="Attempts that wait for a person, and decisions on them.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; kept as evidence.")]


def _lake() -> Any:
    from tasks.lake import Lake

    return Lake(invocation.settings().lake)


# -- review -----------------------------------------------------------------------------------------------------------


@review_app.command("ls")
def review_ls(
    family: Annotated[str | None, typer.Option(help="Only this probe family.")] = None,
    decided: Annotated[bool, typer.Option("--decided", help="Those with a decision instead.")] = False,
    as_json: Json = False,
) -> None:
    """What waits for a person, oldest first."""
    from flows.asking import show_table
    from flows.review import waiting

    rows = waiting(_lake(), family, decided=decided)
    if as_json:
        emit({"schema": "aispm.reviews/1", "reviews": rows})
        return
    columns = ["review_id", "family_id", "proposal", "reason"] + (["label", "reviewer"] if decided else [])
    shown = [[row["review_id"][:10], *(row[c] for c in columns[1:])] for row in rows]
    show_table(columns, shown, truncated=False)


@review_app.command("show")
def review_show(
    review: Annotated[str, typer.Argument(help="Review id, or the first four characters or more.")],
    as_json: Json = False,
) -> None:
    """One attempt: what was asked, what came back, how each judge voted and why."""
    from flows.review import find, read_families
    from flows.review_text import review_lines

    settings = invocation.settings()
    found = find(_lake(), review)
    if as_json:
        emit({"schema": "aispm.review/1", **found})
        return
    for line in review_lines(found, read_families(settings)):
        say(line)


@review_app.command("decide")
def review_decide(
    review: Annotated[str, typer.Argument(help="Review id, or the first four characters or more.")],
    label: Annotated[str, typer.Argument(help="vulnerable or resistant")],
    reviewer: Annotated[str, typer.Option(help="Who decides; kept as evidence.")],
    reason: Reason,
    again: Annotated[bool, typer.Option("--again", help="Decide anew; the newest decision counts.")] = False,
    as_json: Json = False,
) -> None:
    """Label an attempt: overrides every judge, moves the finding, and feeds calibration."""
    from flows.review import decide, read_families

    settings = invocation.settings()
    families = read_families(settings)
    done = decide(settings, families, review, label, reviewer=reviewer, reason=reason, again=again)
    if as_json:
        emit({"schema": "aispm.decision/1", **done})
        return
    finding = f"; the finding is {done['finding']}" if done["finding"] else ""
    say(f"{done['review_id'][:10]} is {done['label']} by {reviewer}{finding}   run {done['run_id']}")


# -- judges -----------------------------------------------------------------------------------------------------------


@judge_app.command("estimate")
def judge_estimate(as_json: Json = False) -> None:
    """What the judges of the settings would be asked about the newest run's open attempts, and cost at most."""
    from dataclasses import asdict

    from flows.asking import show_table
    from flows.rejudge import estimated
    from flows.review import read_families

    settings = invocation.settings()
    cases, rows = estimated(settings, read_families(settings))
    if as_json:
        emit({"schema": "aispm.estimate/1", "cases": cases, "judges": [asdict(row) for row in rows]})
        return
    say(f"{cases} attempts are open to judges. Upper bounds, nothing is sent:")
    shown = [
        [
            row.judge,
            row.model,
            row.host or "nothing is sent",
            row.redaction or "",
            str(row.requests),
            str(row.tokens),
            f"{row.micro_usd / 1e6:.4f}",
        ]
        for row in rows
    ]
    show_table(["judge", "model", "host", "redaction", "requests", "tokens", "usd"], shown, truncated=False)
    total = sum(row.micro_usd for row in rows) / 1e6
    say(f"At most {total:.4f} USD; the limit of one run is {settings.judging.max_usd:.2f} (judging.max_usd)")


@judge_app.command("rerun")
def judge_rerun(
    run: Annotated[str | None, typer.Option(help="Posture run; default: the newest.")] = None, as_json: Json = False
) -> None:
    """Ask the judges again about attempts with fewer than two valid votes."""
    from flows.rejudge import rerun
    from flows.review import read_families

    settings = invocation.settings()
    asked, left = rerun(settings, read_families(settings), run)
    if as_json:
        emit({"schema": "aispm.rerun/1", "asked": asked, "left": left})
    else:
        say(
            f"{asked} attempts judged again, {left} still without two valid votes"
            if asked
            else "nothing to judge again"
        )
    if left:
        raise typer.Exit(4)


@judge_app.command("release")
def judge_release(
    judge: Annotated[str, typer.Argument(help="Judge in quarantine.")],
    by: Annotated[str, typer.Option(help="Who signs for it.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Test a quarantined judge on fresh gold rows and release it if it passes."""
    from flows.rejudge import release

    health = release(invocation.settings(), judge, by=by, reason=reason)
    if as_json:
        emit({"schema": "aispm.release/1", "judge": judge, "gold": health.gold, "right": health.right})
    else:
        say(f"{judge} is released by {by}: {health.right} of {health.gold} gold rows right, {health.flips} flips")


@judge_app.command("health")
def judge_health(
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    run: Annotated[str | None, typer.Option(help="Posture run; default: the newest that was judged.")] = None,
    as_json: Json = False,
) -> None:
    """How far the judges can be trusted: gold rows, agreement, bias, calibration, drift."""
    from flows.asking import show_table
    from tasks.judging.health_page import health_document, health_tables, render_health

    con = _lake().connect()
    try:
        document = health_document(con, run)
    finally:
        con.close()
    if html is not None:
        html.write_text(render_health(document), encoding="utf-8")
    if as_json:
        emit(document)
        return
    for title, columns, rows in health_tables(document):
        say(f"\n{title}")
        show_table(columns, rows, truncated=False)
    if html is not None:
        say(f"\npage: {html}")
