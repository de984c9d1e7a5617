"""The quality gate: Great Expectations over what a run committed, in a child process, before the run is sealed.

The child exists because the library takes seconds and some 300 MB to import: it is started with the run, gets warm
while discovery works, and is asked once. What it can not answer is an error, never a pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.lake import INTERMEDIATE, Lake
from tasks.settings import CONTENT_ROOT

CHECKS = CONTENT_ROOT / "sql" / "checks"
SIX = "('owasp-llm', 'owasp-asi', 'nist-ai-600-1', 'nist-sp800-218a', 'mitre-atlas', 'eu-ai-act', 'iso-42001')"


@dataclass(frozen=True, slots=True)
class QualityResult:
    """`state` is passed, failed or error; `results` holds one dict per expectation, fit for JSON."""

    state: str
    results: tuple[dict[str, Any], ...]
    detail: str = ""


class QualityGate:
    """A warming child; use as a context manager so that it never outlives the run."""

    def __init__(self) -> None:
        env = {**os.environ, "GX_ANALYTICS_ENABLED": "false", "TQDM_DISABLE": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tasks.quality"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=env,
            cwd=CONTENT_ROOT,
            start_new_session=True,  # Ctrl-C is for us alone: we end it when we are done with it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            # A child that died before it read its question leaves a pipe that can not be flushed.
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def check(self, lake: Path, run_id: str, timeout_s: float = 120) -> QualityResult:
        """Validate the rows of a run. A dead, silent or garbled child gives state `error`."""
        if self._child.stdin is None or self._child.stdout is None:
            return QualityResult("error", (), "the quality process has no pipes")
        try:
            self._child.stdin.write(json.dumps({"lake": str(lake.resolve()), "run_id": run_id}) + "\n")
            self._child.stdin.flush()
            if not select.select([self._child.stdout], [], [], timeout_s)[0]:
                return QualityResult("error", (), f"no answer within {timeout_s:.0f} s")
            answer = json.loads(self._child.stdout.readline())
            return QualityResult(answer["state"], tuple(answer["results"]), answer["detail"])
        except (OSError, ValueError, KeyError) as e:
            return QualityResult("error", (), f"the quality process failed: {type(e).__name__}")


def with_lake_checks(result: QualityResult, lake: Lake) -> QualityResult:
    """The gate's result joined with `sql/checks/`: each query must return no row over the whole lake.

    A gate that could not answer leaves a row of its own, so that the other rows do not read as a pass.
    """
    con = lake.connect(keep=INTERMEDIATE)
    results = list(result.results)
    if result.state == "error" and not any(one["state"] == "error" for one in results):
        results.append({"table": "", "expectation": "gate", "state": "error", "detail": result.detail})
    try:
        for file in sorted(CHECKS.glob("*.sql")):
            found = len(con.execute(file.read_text(encoding="utf-8")).fetchall())
            state = "failed" if found else "passed"
            results.append({"table": "", "expectation": f"sql/checks/{file.stem}", "state": state, "unexpected": found})
    finally:
        con.close()
    worst = "failed" if any(one["state"] == "failed" for one in results) else "passed"
    return QualityResult(result.state if result.state == "error" else worst, tuple(results), result.detail)


def _suites(gxe: Any, lake: Lake, run_id: str) -> list[tuple[str, str, list[Any]]]:
    """(name, SQL of the frame, expectations). The SQL has one parameter, the run."""

    def count(table: str) -> int:
        return int(lake.query(f"select count(*) as n from lake.{table} where run_id = ?", [run_id])[0]["n"])  # noqa: S608

    text: Callable[[str], Any] = lambda column: gxe.ExpectColumnValueLengthsToBeBetween(column=column, min_value=1)  # noqa: E731
    return [
        (
            "check_results",
            """select asset_id, check_id, outcome, reason,
                asset_id in (select asset_id
                from lake.asset_versions) as known_asset from lake.check_results where run_id = ?""",
            [
                gxe.ExpectCompoundColumnsToBeUnique(column_list=["asset_id", "check_id"]),
                gxe.ExpectColumnValuesToBeInSet(
                    column="outcome", value_set=["pass", "fail", "unknown", "not_applicable"]
                ),
                gxe.ExpectColumnValuesToBeInSet(column="known_asset", value_set=[True]),
                text("reason"),
            ],
        ),
        (
            "probe_attempts",
            """select attempt_id, verdict, tries, ended_at >= started_at as ordered,
                verdict <> 'resistant' or error_kind is null as clean from lake.probe_attempts where run_id = ?""",
            [
                gxe.ExpectColumnValuesToBeUnique(column="attempt_id"),
                gxe.ExpectColumnValuesToBeInSet(column="ordered", value_set=[True]),
                gxe.ExpectColumnValuesToBeInSet(column="clean", value_set=[True]),
                gxe.ExpectColumnValuesToBeBetween(column="tries", min_value=0, max_value=300),
            ],
        ),
        (
            "verdicts",
            """select attempt_id, method_version, decided_by, verdict,
                attempt_id in (select attempt_id
                from lake.probe_attempts) as known_attempt from lake.verdicts where run_id = ?""",
            [
                gxe.ExpectCompoundColumnsToBeUnique(column_list=["attempt_id", "method_version"]),
                gxe.ExpectColumnValuesToBeInSet(column="known_attempt", value_set=[True]),
                gxe.ExpectTableRowCountToEqual(value=count("probe_attempts")),
            ],
        ),
        (
            "judge_votes",
            """select attempt_id, judge_id, confidence_ppm, rationale_redacted,
                (verdict = 'error') = (error_kind is not null) as error_named
                from lake.judge_votes where run_id = ?""",
            [
                gxe.ExpectColumnValuesToBeBetween(column="confidence_ppm", min_value=0, max_value=1_000_000),
                gxe.ExpectColumnValuesToBeInSet(column="error_named", value_set=[True]),
                text("rationale_redacted"),
            ],
        ),
        (
            "findings",
            f"""select f.finding_id, f.severity, f.title, f.fix,
                  (select count(distinct c.framework) from lake.finding_controls c
                   where c.finding_id = f.finding_id and c.run_id = f.run_id and c.framework in {SIX}) as frameworks
                from lake.findings f where run_id = ?""",  # noqa: S608 - a constant
            [
                gxe.ExpectColumnValuesToBeUnique(column="finding_id"),
                # NIST AI 600-1 and SP 800-218A count as one framework: six or seven editions are present.
                gxe.ExpectColumnValuesToBeBetween(column="frameworks", min_value=6, max_value=7),
                text("title"),
                text("fix"),
            ],
        ),
        (
            "asset_versions",
            """select asset_id, name, kind, split_part(asset_id, ':', 1) = kind as id_of_kind
                from lake.asset_versions where run_id = ?""",
            [
                gxe.ExpectColumnValuesToBeInSet(column="id_of_kind", value_set=[True]),
                text("name"),
            ],
        ),
        (
            "gateway_events",
            """select event_id, event_kind, event_kind <> 'exchange' or decision is not null as decided
                from lake.gateway_events where run_id = ?""",
            [
                gxe.ExpectColumnValuesToBeUnique(column="event_id"),
                gxe.ExpectColumnValuesToBeInSet(column="decided", value_set=[True]),
            ],
        ),
    ]


def _validate(gx: Any, lake: Lake, run_id: str) -> dict[str, Any]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("lake")
    results = []
    con = lake.connect(layers=())
    for name, sql, expectations in _suites(gx.expectations, lake, run_id):
        frame = con.execute(sql, [run_id]).df()
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("run")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        outcome = batch.get_batch(batch_parameters={"dataframe": frame}).validate(
            suite, result_format={"result_format": "SUMMARY", "include_unexpected_rows": False}
        )
        for one in outcome.results:
            config = one.expectation_config
            raised = bool(one.exception_info.get("raised_exception"))
            results.append(
                {
                    "table": name,
                    "expectation": config.type,
                    "column": str(config.kwargs.get("column") or config.kwargs.get("column_list") or ""),
                    "state": "error" if raised else "passed" if one.success else "failed",
                    "rows": len(frame),
                    "unexpected": int(one.result.get("unexpected_count") or 0) if one.result else 0,
                }
            )
    con.close()
    states = {result["state"] for result in results}
    state = "error" if "error" in states else "failed" if "failed" in states else "passed"
    return {"state": state, "results": results, "detail": ""}


def main() -> None:
    """The child: import, then answer one request per line until stdin closes."""
    import great_expectations as gx
    import great_expectations.expectations

    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = _validate(gx, Lake(Path(job["lake"])), job["run_id"])
        except Exception as e:  # noqa: BLE001 - the parent must hear of any failure
            answer = {"state": "error", "results": [], "detail": f"{type(e).__name__}: {str(e)[:300]}"}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the pipe to the parent


if __name__ == "__main__":
    main()
