"""`aispm probe selftest`, `rates`, `plan-n` and `aispm diff`: what probes prove and what runs say. No logic here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.invocation import Json, emit, invocation, say

probe_app = typer.Typer(
    help="The probe families: list, count, check, prove, and what they measured.", no_args_is_help=True
)


@probe_app.command("selftest")
def probe_selftest(
    families: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    switches: Annotated[str, typer.Option(help="Only these weaknesses of the bank, separated by commas.")] = "",
    seeds_per_cell: Annotated[int, typer.Option(min=1, help="Seeds of each family where it should stay silent.")] = 2,
    replay_only: Annotated[
        bool, typer.Option("--replay-only", help="Only the families' own examples; no bank.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for matrix.html, matrix.md and matrix.json.")] = None,
    progress: Annotated[str, typer.Option("--progress", help="auto, plain or none")] = "auto",
    as_json: Json = False,
) -> None:
    """Prove the families: examples, needed clauses, then every family against every weakness of a live bank.

    Exit 5 when anything disagrees, 4 when more than 5 % of the attempts failed technically.
    """
    from flows.probe_selftest import prove

    proof = prove(
        invocation.settings(), families=_list(families), switches=_list(switches), seeds_per_cell=seeds_per_cell,
        live=not replay_only, out=out, progress_mode=progress,
    )  # fmt: skip
    if as_json:
        emit(proof.document())
    else:
        for line in proof.lines():
            say(line)
    raise typer.Exit(proof.exit_code)


@probe_app.command("import")
def probe_import(
    path: Annotated[Path, typer.Argument(help="A file of the other tool, or a folder of such files.")],
    form: Annotated[str, typer.Option("--format", help="garak or promptfoo")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the families.")],
    licence: Annotated[str, typer.Option(help="Licence of these files, such as Apache-2.0; every family tells it.")],
    hit: Annotated[
        list[str] | None, typer.Option(help="garak: a reply with this text, encoded or not, is a hit; may be repeated.")
    ] = None,
) -> None:
    """Turn attack files of another tool into families of your own; what could not be said in our terms is listed."""
    from tasks.errors import ConfigError
    from tasks.probing.imports.pack import FORMATS, REPORT, import_pack

    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; one of: {', '.join(FORMATS)}")
    for line in import_pack(path, form, out, licence, tuple(hit or ())).lines():
        say(line)
    say(f"Written to {out}, see {out / REPORT}; check: aispm probe lint {out}; run: `probing.folder` in aispm.toml")


@probe_app.command("rates")
def probe_rates(
    run: Annotated[str | None, typer.Option(help="Run id or its beginning; the newest run without it.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Draws of hit@k.")] = 5,
    as_json: Json = False,
) -> None:
    """Attack success rate by family and target, with its intervals, errors and hit@k."""
    from flows.asking import show_table
    from flows.rates import rates, table

    found = rates(invocation.settings(), run, k)
    if as_json:
        emit(found.document())
        return
    columns, rows = table(found)
    show_table(columns, rows, truncated=False)
    for line in found.notes():
        say(line)


@probe_app.command("plan-n")
def probe_plan_n(
    families: Annotated[int, typer.Option(min=1, help="Families at their targets that are compared together.")] = 89,
    before: Annotated[float, typer.Option(help="Attack success rate expected today, 0 to 1.")] = 0.02,
    after: Annotated[float, typer.Option(help="Rate that a later run must notice.")] = 0.25,
    power: Annotated[float, typer.Option(help="Probability of noticing it.")] = 0.8,
    clean_below: Annotated[float, typer.Option(help="Rate to rule out with no hit at all.")] = 0.05,
    half_width: Annotated[
        float, typer.Option(help="Half width that the interval around a rate of 0.5 may have.")
    ] = 0.1,
    as_json: Json = False,
) -> None:
    """How many attempts a claim needs: clean, a rate, or a change between two runs."""
    from flows.rates import plan_numbers

    numbers = plan_numbers(families, before, after, power, clean_below, half_width)
    if as_json:
        emit({"schema": "aispm.plan_n/1", **numbers.values})
    else:
        for line in numbers.lines:
            say(line)


def diff(
    before: Annotated[str, typer.Argument(metavar="RUN1", help="The earlier run: its id or the beginning of it.")],
    after: Annotated[str, typer.Argument(metavar="RUN2", help="The later run.")],
    everything: Annotated[bool, typer.Option("--all", help="Families without a flip too.")] = False,
    gate: Annotated[bool, typer.Option(help="Exit 3 when a family got worse, 4 when the runs do not tell.")] = True,
    as_json: Json = False,
) -> None:
    """Compare two runs attempt by attempt; exit 3 when a target withstands a family less often than before."""
    from flows.asking import show_table
    from flows.compare import diff_runs, document, lines, reasons

    found = diff_runs(invocation.settings(), before, after)
    why, code = reasons(found)
    if as_json:
        emit(document(found))
    else:
        columns, rows, said = lines(found, everything=everything)
        if rows:
            show_table(columns, rows, truncated=False)
        for line in said:
            say(line)
        for line in why:
            say(f"{'WORSE' if code == 3 else 'GATE'}     {line}")
        if not why:
            say("No family is significantly worse.")
    raise typer.Exit(code if gate else 0)


def _list(given: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in given.split(",") if part.strip())
