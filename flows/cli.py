"""`aispm`: the command line. No logic here; what is heavy to import is imported inside the commands.

Results go to stdout, progress and messages to stderr. Exit codes: 0 ok, 1 unexpected error, 2 usage or configuration,
3 findings at or above `--fail-on`, or a regression, 4 incomplete, 5 verification failed, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.invocation import Json, emit, invocation
from flows.judge_commands import judge_app, review_app
from flows.policy_commands import policy_app
from flows.probe_commands import diff, probe_app
from gateway.errors import AispmError

if TYPE_CHECKING:
    from flows.outcome import Outcome

app = typer.Typer(
    name="aispm",
    help="AI Security Posture Management as a data pipeline: discover, assess, secure, audit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # the boxed help costs 0.3 s of imports
)
assets_app = typer.Typer(help="The inventory as the last run saw it.", no_args_is_help=True)
finding_app = typer.Typer(help="Findings and their controls.", no_args_is_help=True)
gateway_app = typer.Typer(help="The runtime gateway.", no_args_is_help=True)
mappings_app = typer.Typer(help="Control mappings.", no_args_is_help=True)
for name, sub in (
    ("probe", probe_app),
    ("assets", assets_app),
    ("finding", finding_app),
    ("gateway", gateway_app),
    ("judge", judge_app),
    ("review", review_app),
    ("policy", policy_app),
    ("mappings", mappings_app),
):
    app.add_typer(sub, name=name)
app.command("diff")(diff)

ProgressMode = Annotated[str, typer.Option("--progress", help="auto, plain or none")]


@app.callback()
def options(
    home: Annotated[Path | None, typer.Option(help="Folder of lake, keys and reports.", envvar="AISPM_HOME")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file.", envvar="AISPM_CONFIG")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")] = False,
) -> None:
    """Options for every command."""
    invocation.home, invocation.config, invocation.verbose = home, config, verbose


def main() -> None:
    """Run the CLI and turn what goes wrong into a message and an exit code."""
    try:
        app(standalone_mode=True)
    except AispmError as e:
        if invocation.verbose:
            raise
        from flows.closing import inert

        typer.echo(f"aispm: {inert(e)}", err=True)
        sys.exit(e.exit_code)
    except SystemExit as e:
        if e.code == 130:  # Typer's answer to Ctrl-C
            typer.echo("aispm: interrupted; run the same command again to go on where it stopped", err=True)
        raise
    except Exception as e:
        if invocation.verbose:
            raise
        from flows.closing import inert

        typer.echo(f"aispm: unexpected {type(e).__name__}: {inert(e)}; -v shows where", err=True)
        sys.exit(1)


# -- running ----------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    runs: Annotated[int, typer.Option(help="How often to run; a second run shows a trend.")] = 1,
    hardened: Annotated[bool, typer.Option(help="Mend every weakness of the estate first.")] = False,
    progress: ProgressMode = "auto",
    as_json: Json = False,
) -> None:
    """Take a live demo estate on loopback to a signed report."""
    from flows.demo import run_demo

    folder = invocation.home or Path(".aispm/demo")
    invocation.home, invocation.config = None, folder / "aispm.toml"
    for _ in range(runs):
        started = time.monotonic()
        outcome = run_demo(folder, hardened=hardened, progress_mode=progress)
        _close(outcome, time.monotonic() - started, as_json)
    raise typer.Exit(0 if outcome.state == "complete" else 4)


@app.command()
def run(
    flow: Annotated[str, typer.Argument(help="nightly or weekly")],
    fail_on: Annotated[str | None, typer.Option(help="Exit 3 with findings at or above this severity.")] = None,
    engine: Annotated[str | None, typer.Option(help="prefect or plain; default from aispm.toml")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Say what the probes would take; send nothing.")] = False,
    max_requests: Annotated[int | None, typer.Option(min=1, help="Probe requests at most, over all targets.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of probes at most.")] = None,
    max_usd: Annotated[float | None, typer.Option(help="Dollars of probes at most; needs `probing.prices`.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over where the run would go on.")] = False,
    progress: ProgressMode = "auto",
    as_json: Json = False,
) -> None:
    """Run a posture flow over your inventory; same code as deployed."""
    from flows.execute import execute, prepared
    from flows.inputs import check_inputs
    from tasks.errors import ConfigError
    from tasks.judging.independence import judging_warnings
    from tasks.records import Severity
    from tasks.settings import with_limits

    if flow not in ("nightly", "weekly"):
        raise ConfigError(f"there is no flow `{flow}`; it is nightly or weekly")
    if fail_on is not None and fail_on not in list(Severity):
        raise ConfigError(f"--fail-on takes one of {', '.join(Severity)}")
    if max_usd is not None and not 0 < max_usd < 1e9:
        raise ConfigError("--max-usd takes an amount above 0")
    limits = {"max_requests": max_requests, "max_tokens": max_tokens, "max_usd": max_usd}
    settings = with_limits(invocation.settings(), limits)
    if dry:
        from flows.dry_run import dry_run, estimate_lines

        found = dry_run(flow, settings)
        if as_json:
            emit(found.document)
        else:
            typer.echo("\n".join(estimate_lines(found)))
        return
    started = time.monotonic()
    chosen = engine or settings.orchestrator.engine
    if chosen not in ("plain", "prefect"):
        raise ConfigError("--engine is prefect or plain")
    check_inputs(settings)  # bad input is told at once, before the orchestrator starts
    for warning in judging_warnings(settings.judging):
        typer.echo(f"aispm: warning: {warning}", err=True)
    with prepared(settings.home, chosen) as ready:
        outcome = execute(flow, settings, ready, progress_mode=progress, fresh=fresh)
    _close(outcome, time.monotonic() - started, as_json)
    if outcome.state != "complete":
        raise typer.Exit(4)
    if fail_on is not None:
        worst = [Severity(f["severity"]) for f in outcome.posture["findings"] if f["state"] in FAILING_STATES]
        if any(severity.rank <= Severity(fail_on).rank for severity in worst):
            raise typer.Exit(3)


FAILING_STATES = ("open", "triaged", "in_review", "confirmed", "regressed")


def _close(outcome: Outcome, seconds: float, as_json: bool) -> None:
    from flows.closing import closing_lines

    if as_json:
        emit(
            {
                "schema": "aispm.outcome/1",
                "run_id": outcome.run_id,
                "state": outcome.state,
                "troubles": list(outcome.troubles),
                "summary": outcome.posture["summary"],
                "report": str(outcome.folder),
            }
        )
    else:
        for line in closing_lines(outcome, invocation.command(), seconds):
            typer.echo(line)


# -- first use --------------------------------------------------------------------------------------------------------


@app.command()
def init(
    url: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible endpoint, such as …/v1")] = None,
    model: Annotated[str | None, typer.Option(help="Model name to ask for.")] = None,
    credential: Annotated[str, typer.Option(help="Where its key lies: env:NAME or file:PATH")] = "env:OPENAI_API_KEY",
) -> None:
    """Write settings, inventory and keys here; never overwrites."""
    from flows.first_use import write_first_files

    for line in write_first_files(Path.cwd(), url=url, model=model, credential=credential):
        typer.echo(line)


@app.command()
def doctor(
    show_config: Annotated[bool, typer.Option("--show-config", help="Every setting and where it comes from.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is missing before a run."""
    from flows.closing import inert
    from flows.first_use import diagnose
    from tasks.settings import described

    settings = invocation.settings()
    findings = diagnose(settings, invocation.config)
    shown = described(settings, invocation.config, home=invocation.home) if show_config else {}
    if as_json:
        checks = [{"name": n, "ok": ok, "detail": d} for n, ok, d in findings]
        values = {name: {"value": value, "origin": origin} for name, (value, origin) in shown.items()}
        emit({"schema": "aispm.doctor/1", "checks": checks} | ({"settings": values} if show_config else {}))
    else:
        for name, ok, detail in findings:
            typer.echo(inert(f"{'ok     ' if ok else 'PROBLEM'} {name}: {detail}"))
        for name, (value, origin) in shown.items():
            typer.echo(inert(f"{name:<32} {value or '-':<32} {origin}"))
    if not all(ok for _, ok, _ in findings):
        raise typer.Exit(2)


@app.command()
def ingest(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until stopped; events can be asked for in 30 s.")
    ] = False,
    skip_missing: Annotated[
        bool,
        typer.Option("--skip-missing", help="Write off log segments that are lost: a gap event takes their place."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Take a gateway's log into the lake and the published database."""
    from flows import follow as following
    from flows.ingest_gateway import Shipped
    from tasks.errors import IncompleteError

    settings = invocation.settings()
    if follow:
        events = following.follow(settings, _until_signalled(), lambda said: typer.echo(said, err=True))
        shipped = Shipped(events)
    else:
        shipped = following.ingest_once(settings, skip_missing=skip_missing)
    if as_json:
        emit({"schema": "aispm.ingest/1", "events": shipped.events, "troubles": list(shipped.troubles)})
    else:
        typer.echo(f"{shipped.events} new gateway events")
    if shipped.troubles:
        raise IncompleteError("; ".join(shipped.troubles))


def _until_signalled() -> threading.Event:
    """Set by SIGTERM or Ctrl-C, so that what is begun is finished."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


# -- asking -----------------------------------------------------------------------------------------------------------


@app.command()
def sql(
    query: Annotated[str | None, typer.Argument(help="One SELECT.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the query from a file.")] = None,
    cookbook: Annotated[str | None, typer.Option(help="Run a cookbook query by name; `list` shows them.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the published evidence, in a sandboxed process."""
    from flows.asking import cookbook_queries, show_table
    from flows.publish import published_file
    from tasks.errors import ConfigError
    from tasks.sandbox import run_query

    queries = cookbook_queries()
    if cookbook == "list":
        for name, question in queries.items():
            typer.echo(f"{name:<26} {question[0]}")
        return
    if cookbook is not None:
        if cookbook not in queries:
            raise ConfigError(f"no cookbook query `{cookbook}`; `aispm sql --cookbook list` shows them")
        text = queries[cookbook][1]
    elif file is not None:
        if not file.is_file():
            raise ConfigError("no such file", file)
        text = file.read_text(encoding="utf-8")
    elif query:
        text = query
    else:
        raise ConfigError("give a query, --file or --cookbook")
    database = published_file(invocation.settings().lake)
    if not database.exists():
        raise ConfigError(f"nothing is published at {database} yet; run `aispm run nightly` or `aispm demo` first")
    result = run_query(database, text)
    if as_json:
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        emit({"schema": "aispm.sql/1", "rows": rows, "truncated": result.truncated})
    else:
        show_table(result.columns, result.rows, truncated=result.truncated)


@assets_app.command("ls")
def assets_ls(as_json: Json = False) -> None:
    """Assets with their kind, owner and open failures."""
    sql(
        "select asset_id, kind, name, owner, first_seen, last_seen from assets order by kind, name", None, None, as_json
    )


@finding_app.command("ls")
def finding_ls(as_json: Json = False) -> None:
    """Current findings, worst first."""
    sql(
        "select finding_id, severity, state, title, asset_name from findings order by "
        "list_position(['critical','high','medium','low','info'], severity), asset_name, title",
        None,
        None,
        as_json,
    )


# -- proof ------------------------------------------------------------------------------------------------------------


@app.command()
def verify(
    file: Annotated[Path | None, typer.Option(help="A report's posture.json or package.json.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="A run in the lake; all sealed runs without it.")] = None,
    key: Annotated[Path | None, typer.Option(help="Public key (*.pub); bring your own copy of it.")] = None,
    as_json: Json = False,
) -> None:
    """Check signatures, hashes and roots offline. Exit 5 when anything was altered."""
    from flows.proof import verify_file, verify_runs
    from tasks.errors import VerificationError

    report = verify_file(file, key) if file else verify_runs(invocation.settings(), key, run_id)
    if as_json:
        emit(
            {"schema": "aispm.verify/1", "ok": report.ok, "checked": report.checked, "problems": list(report.problems)}
        )
    else:
        for problem in report.problems:
            typer.echo(problem)
        typer.echo(f"{'ok' if report.ok else 'FAILED'}: {report.checked}")
    if not report.ok:
        raise VerificationError(f"{len(report.problems)} problems found")


@app.command()
def parity(as_json: Json = False) -> None:
    """Count what the product holds, from its own data."""
    from flows.parity import figures

    counted = figures()
    if as_json:
        emit(counted)
    else:
        for name, value in counted.items():
            typer.echo(f"{name:<22} {value:>7}")


# -- content ----------------------------------------------------------------------------------------------------------


@probe_app.command("ls")
def probe_ls() -> None:
    """Families with severity, surfaces and seed count."""
    from tasks.probing.catalog import load_families

    for family in load_families(extra_folder=invocation.settings().probing.folder).values():
        typer.echo(f"{family.family_id:<28} {family.severity:<9} {','.join(family.surfaces):<26} {family.title}")


@probe_app.command("count")
def probe_count(as_json: Json = False) -> None:
    """Families, seeds, distinct templates, and the OWASP risks they speak to."""
    from flows.content import count_probes

    counted = count_probes(invocation.settings().probing.folder)
    if as_json:
        emit({"schema": "aispm.probe_count/1", **counted})
        return
    for name, value in counted.items():
        shown = f"{len(value):>7}  {' '.join(value)}" if isinstance(value, list) else f"{value:>7}"
        typer.echo(f"{name:<14} {shown}")


@probe_app.command("lint")
def probe_lint(folder: Annotated[Path | None, typer.Argument(help="A folder with your own families.")] = None) -> None:
    """Check probe files and replay their selftests."""
    from flows.content import lint_probes

    typer.echo(lint_probes(folder or invocation.settings().probing.folder))


@mappings_app.command("lint")
def mappings_lint(file: Annotated[Path, typer.Argument(help="A mapping file, CSV or JSON.")]) -> None:
    """Check a mapping for unknown, retired, drifted and unversioned control ids."""
    from tasks.mapping.lint import lint_file

    problems = lint_file(file)
    for problem in problems:
        typer.echo(str(problem))
    if problems:
        raise typer.Exit(3)
    typer.echo("ok")


# -- gateway ----------------------------------------------------------------------------------------------------------


@gateway_app.command("serve")
def gateway_serve(config: Annotated[Path, typer.Argument(help="gateway.toml")]) -> None:
    """Replace this process by the gateway (`python -m gateway`)."""
    os.execv(sys.executable, [sys.executable, "-m", "gateway", "--config", str(config)])  # noqa: S606 - our own interpreter


@gateway_app.command("verify-log")
def gateway_verify_log(
    path: Annotated[Path, typer.Argument(help="A spool folder, or one closed segment.")],
    key: Annotated[Path | None, typer.Option(help="Public key of the gateway: every segment must be signed.")] = None,
    as_json: Json = False,
) -> None:
    """Walk a gateway's log: checksums, hash chains, numbering, signatures. Exit 5 at anything that does not hold."""
    from flows.proof import verify_gateway_log
    from tasks.errors import VerificationError

    report = verify_gateway_log(path, key)
    if as_json:
        emit(report.as_dict())
    else:
        for line in report.lines():
            typer.echo(line)
    if report.problems:
        raise VerificationError(f"{len(report.problems)} problems found, the first in {report.problems[0].file}")
