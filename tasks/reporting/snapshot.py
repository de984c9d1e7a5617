"""`posture.json` before it is signed: every figure a report shows, read once from the marts of one run.

All renderings (HTML, PDF, CSV) are made from this one document, so their counts cannot differ. It speaks for the moment
the run ended: later runs do not change it. Integers only; rates and coverage are parts per million.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb

from tasks.errors import ConfigError
from tasks.records import AssetKind
from tasks.reporting.schema import CONTROL_STATES, SCHEMA, SEVERITIES

Row = dict[str, Any]
CATALOG_MEMBERS = ("framework", "version", "licence", "url", "sha256")
ERROR_RATE_SHOWN = 20
"""A target with more than one error in this many attempts (5 %) is named as a gap."""


def build_posture(
    con: duckdb.DuckDBPyConnection, run_id: str, *, catalogs: Sequence[Mapping[str, Any]], code_version: str
) -> dict[str, Any]:
    """The `aispm.posture/1` document of a run, arrays ordered by key; the same lake gives the same document.

    `con` has the views of `sql/views/`; `catalogs` are the editions the mapping was made with. Raises ConfigError when
    the lake has no such run.
    """
    run = _one(con, "select * from runs where run_id = ?", run_id)
    if run is None:
        raise ConfigError(f'the lake has no run {run_id}; `aispm sql "from runs"` lists them')
    every = {row["run_id"]: row for row in _rows(con, "select * from posture order by started_at, run_id")}
    figures = every[run_id]
    previous = run["previous_run_id"]
    assets = _assets(con, run_id)
    findings = _findings(con, run_id)
    controls, before = _controls(con, run_id), _controls(con, previous) if previous else None
    coverage = _rows(
        con,
        """select kind, assets, pass, fail, unknown, not_applicable, coverage_ppm
           from coverage where run_id = ? order by kind""",
        run_id,
    )
    sources = _rows(
        con,
        """select source, scope, completeness, reason, observations
           from sources where run_id = ? order by source, scope, position""",
        run_id,
    )
    probes = _rows(
        con,
        """select family_id, asset_id, coalesce(asset_name, asset_id) as asset_name, attempts, vulnerable, resistant,
                  undecided, error, not_applicable, low_ppm, high_ppm
           from family_results where run_id = ? order by family_id, asset_id""",
        run_id,
    )
    judges = _judges(con, run_id)
    gateway = _gateway(con, run_id, previous)
    quality = _quality(con, run_id)
    evidence = _evidence(con, run_id)
    quarantined = _count(con, "select count(*) from stg_quarantined_rows where run_id = ?", run_id)
    states = Counter(control["state"] for control in controls or ())
    failing, passing = _turned(controls, before)
    new, gone = _came_and_went(con, run_id, previous)
    posture: dict[str, Any] = {
        "schema": SCHEMA,
        "run": {
            "run_id": run_id,
            "flow": run["flow"],
            "campaign_id": run["campaign_id"],
            "state": run["state"],
            "started_at": run["started_at"],
            "finished_at": run["finished_at"],
            "code_version": code_version,
            "demo": run["demo"],
            "previous_run_id": previous,
        },
        "scope": {"assets": len(assets), "kinds": _counted(assets, "kind", "kind", "count"), "sources": sources},
        "labels": {
            "judges": _judges_label(judges),
            "proof": _counted(assets, "proof_label", "label", "assets"),
        },
        "summary": {
            "score_best": figures["score_best"],
            "score_worst": figures["score_worst"],
            "coverage_ppm": figures["coverage_ppm"],
            "grade": figures["grade"],
            "findings": {severity: figures[severity] for severity in SEVERITIES},
            "delta": _delta(figures, every.get(previous)),
            "assets_new": new,
            "assets_gone": gone,
            "newly_failing": failing,
            "newly_passing": passing,
            "controls_total": len(controls or ()),
            "control_states": {state: states[state] for state in CONTROL_STATES},
        },
        "assets": assets,
        "findings": findings,
        "controls": controls or [],
        "coverage": coverage,
        "probes": probes,
        "judges": judges,
        "gateway": gateway,
        "trend": _trend(every.values(), figures),
        "exceptions": _exceptions(con, run_id),
        "quality": quality,
        "quarantined": quarantined,
        "evidence": evidence,
        "catalogs": sorted(
            ({member: str(catalog[member]) for member in CATALOG_MEMBERS} for catalog in catalogs),
            key=lambda c: (c["framework"], c["version"]),
        ),
    }
    posture["gaps"] = _gaps(posture, _waiting(con), controls is None) + _judging_limits(con, run_id)
    result: dict[str, Any] = _plain(posture)
    return result


def _rows(con: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> list[Row]:
    cursor = con.execute(sql, list(parameters))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _one(con: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> Row | None:
    return next(iter(_rows(con, sql, *parameters)), None)


def _count(con: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> int:
    row = con.execute(sql, list(parameters)).fetchone()
    return int(row[0]) if row else 0


def _counted(rows: Iterable[Row], column: str, name: str, count: str) -> list[Row]:
    return [{name: value, count: n} for value, n in sorted(Counter(row[column] for row in rows).items())]


def _assets(con: duckdb.DuckDBPyConnection, run_id: str) -> list[Row]:
    """The assets present when the run ended."""
    return _rows(
        con,
        """with run as (select as_of from runs where run_id = $1),
           seen as (
               select asset_id, min(observed_at) as first_seen, max(observed_at) as last_seen
               from stg_observations
               where run_id = $1 or observed_at <= (select as_of from run)
               group by asset_id
           ),
           versions as (select asset_id, min(valid_from) as first_version from stg_asset_versions group by asset_id)
           select h.asset_id, h.kind, h.name, h.state, h.owner, h.env, h.exposure, h.risk_tier, h.declared, h.sources,
                  h.proof_label, least(v.first_version, s.first_seen) as first_seen,
                  greatest(h.valid_from, s.last_seen) as last_seen, h.pass, h.fail, h.unknown, h.not_applicable
           from asset_history as h
           join versions as v on v.asset_id = h.asset_id
           left join seen as s on s.asset_id = h.asset_id
           where h.run_id = $1 and h.state = 'present'
           order by h.asset_id""",
        run_id,
    )


def _came_and_went(con: duckdb.DuckDBPyConnection, run_id: str, previous: str | None) -> tuple[int, int]:
    """Assets present now and not in the previous run, and the reverse. Without a previous run all are new."""
    sql = "select asset_id from asset_history where run_id = ? and state = 'present'"
    now = {row["asset_id"] for row in _rows(con, sql, run_id)}
    then = {row["asset_id"] for row in _rows(con, sql, previous)} if previous else set()
    return len(now - then), len(then - now)


def _findings(con: duckdb.DuckDBPyConnection, run_id: str) -> list[Row]:
    """Active findings (neither fixed nor false positive) when the run ended, each with its controls and votes."""
    rows = _rows(
        con,
        """select f.finding_id, f.severity, f.state, f.title, f.finding_kind, f.rule_id, f.asset_id,
                  coalesce(f.asset_name, f.asset_id) as asset_name,
                  coalesce(f.asset_kind, split_part(f.asset_id, ':', 1)) as asset_kind,
                  f.summary, f.fix, f.owner, f.discovered_at, f.age_days, f.hits, f.trials, p.low_ppm, p.high_ppm,
                  f.proof_label, f.evidence_sha256
           from finding_history as f
           left join family_results as p
               on p.run_id = f.evaluated_run_id and p.asset_id = f.asset_id
               and f.finding_kind = 'probe.' || p.family_id
           where f.run_id = ? and f.is_active
           order by f.finding_id""",
        run_id,
    )
    stamps = _stamps(con, run_id)
    votes = _votes(con, run_id)
    for row in rows:
        links = stamps[row["finding_id"]]
        row["controls"] = [
            {name: link[name] for name in ("key", "title", "framework", "grade", "relation", "applies_from")}
            for link in links
            if link["relation"] != "none"
        ]
        row["none"] = [
            {"framework": link["framework"], "rationale": link["rationale"]}
            for link in links
            if link["relation"] == "none"
        ]
        row["votes"] = votes[row["finding_id"]]
    return rows


def _stamps(con: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, list[Row]]:
    """Per finding its newest stamps up to this run, one per control: the strongest grade when edges repeat it."""
    found = defaultdict(list)
    for row in _rows(
        con,
        """with run as (select as_of from runs where run_id = $1),
           stamps as (
               select * from stg_finding_controls
               where run_id = $1 or stamped_at <= (select as_of from run)
               qualify dense_rank() over (partition by finding_id order by stamped_at desc, run_id desc) = 1
           )
           select s.finding_id, s.control_key as key, coalesce(c.title, s.control_key) as title, s.framework, s.grade,
                  s.relation, s.rationale, c.applies_from
           from stamps as s
           left join stg_controls as c on c.control_key = s.control_key and c.catalog_sha256 = s.catalog_sha256
           qualify row_number() over (
               partition by s.finding_id, s.control_key
               order by list_position(['official', 'third_party', 'derived', 'project'], s.grade), s.edge_id
           ) = 1
           order by s.finding_id, s.control_key""",
        run_id,
    ):
        found[row["finding_id"]].append(row)
    return found


def _votes(con: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, list[Row]]:
    """Per probe finding the votes on one attempt: a vulnerable one before an undecided one, the surest first."""
    found = defaultdict(list)
    for row in _rows(
        con,
        """with chosen as (
               select f.finding_id, t.attempt_id
               from finding_history as f
               join attempts as t
                   on t.run_id = f.evaluated_run_id and t.asset_id = f.asset_id
                   and f.finding_kind = 'probe.' || t.family_id
               where f.run_id = ? and t.decided_by <> 'evidence' and t.verdict in ('vulnerable', 'undecided')
                   and t.attempt_id in (select attempt_id from votes)
               qualify row_number() over (
                   partition by f.finding_id
                   order by t.verdict <> 'vulnerable', t.confidence_ppm desc nulls last, t.attempt_id
               ) = 1
           )
           select c.finding_id, v.judge_id, v.verdict, coalesce(v.confidence_ppm, 0) as confidence_ppm
           from chosen as c
           join votes as v on v.attempt_id = c.attempt_id and v.purpose = 'case'
           qualify row_number() over (
               partition by c.finding_id, v.judge_id order by v.voted_at desc, v.judge_version desc, v.repeat desc
           ) = 1
           order by c.finding_id, v.role, v.judge_id""",
        run_id,
    ):
        found[row.pop("finding_id")].append(row)
    return found


def _controls(con: duckdb.DuckDBPyConnection, run_id: str) -> list[Row] | None:
    """The state of every control in a run; None when the lake has no view of control states."""
    if not _count(con, "select count(*) from duckdb_views() where view_name = 'control_states'"):
        return None
    return _rows(
        con,
        """select control_key as key, framework, version, control_id, title, state, findings, evidence, applies_from,
                  reason
           from control_states where run_id = ? order by control_key""",
        run_id,
    )


def _turned(now: list[Row] | None, before: list[Row] | None) -> tuple[list[str], list[str]]:
    """Keys of controls that fail now and did not, and that are clean now and failed; none without a previous run."""
    if not now or not before:
        return [], []
    then = {control["key"]: control["state"] for control in before}
    failing = [c["key"] for c in now if c["state"] == "tested_failing" != then.get(c["key"], "tested_failing")]
    passing = [c["key"] for c in now if c["state"] == "tested_clean" and then.get(c["key"]) == "tested_failing"]
    return failing, passing


def _delta(figures: Row, before: Row | None) -> dict[str, int] | None:
    return None if before is None else {severity: figures[severity] - before[severity] for severity in SEVERITIES}


def _judges(con: duckdb.DuckDBPyConnection, run_id: str) -> list[Row]:
    return _rows(
        con,
        """select v.judge_id, v.provider, v.model, v.live, count(*) as votes,
                  count(*) filter (v.verdict = 'vulnerable') as vulnerable,
                  count(*) filter (v.verdict = 'resistant') as resistant,
                  count(*) filter (v.verdict = 'undecided') as undecided,
                  count(*) filter (v.verdict = 'error') as error
           from votes as v where v.run_id = ? and v.purpose = 'case'
           group by all order by v.judge_id, v.provider, v.model, v.live""",
        run_id,
    )


def _judging_limits(con: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """What readers must know of the judges: calibration, quarantine, test doubles, a dependent meta-judge, egress."""
    limits = []
    judged = _one(
        con,
        """select count(*) filter (calibration = 'uncalibrated') as uncalibrated, count(*) as n
           from verdicts where run_id = ? and decided_by = 'judges'""",
        run_id,
    )
    if judged and judged["uncalibrated"]:
        limits.append(
            f"Judges' confidence is uncalibrated for {judged['uncalibrated']} of {judged['n']} verdicts: "
            "too few human-labelled attempts for a calibration."
        )
    for row in _rows(
        con,
        """select judge_id, count(*) as n from votes where run_id = ? and purpose = 'case' and quarantined
           group by judge_id order by judge_id""",
        run_id,
    ):
        limits.append(f"Judge {row['judge_id']} is in quarantine: {row['n']} of its votes count for nothing.")
    doubles = _rows(
        con,
        """select distinct judge_id from votes where run_id = ? and proof_label = 'official_shape_fake'
           order by judge_id""",
        run_id,
    )
    if doubles:
        names = ", ".join(row["judge_id"] for row in doubles)
        limits.append(f"Test doubles of the providers answered for these judges: {names} (official_shape_fake).")
    if _one(con, "select 1 as n from verdicts where run_id = ? and meta_not_independent limit 1", run_id):
        limits.append("The meta-judge is of one maker with a judge, under a waiver (meta_not_independent).")
    for row in _rows(con, "select * from judge_egress where run_id = ? order by provider, host, model", run_id):
        limits.append(
            f"Judging sent cases ({row['redaction']}) to {row['host']} for {row['model']}: "
            f"{row['requests']} requests, {row['bytes']} bytes."
        )
    return limits


def _judges_label(judges: Sequence[Row]) -> str:
    """One offline judge is enough for the label: readers must not take the verdicts for a model's."""
    if not judges:
        return "no judges"
    return "live judges" if all(judge["live"] for judge in judges) else "offline judges"


def _gateway(con: duckdb.DuckDBPyConnection, run_id: str, previous: str | None) -> Row:
    """Requests answered since the previous run ended, and any the run itself ingested."""
    where = """event_kind = 'exchange' and (
        run_id = $1 or occurred_at <= (select as_of from runs where run_id = $1)
        and occurred_at > coalesce((select as_of from runs where run_id = $2), timestamptz '0001-01-01 00:00:00+00'))"""
    decisions = _one(
        con,
        f"""select count(*) as requests,
                   count(*) filter (decision = 'allow') as allow, count(*) filter (decision = 'redact') as redact,
                   count(*) filter (decision = 'flag') as flag, count(*) filter (decision = 'block') as block
            from gateway_events where {where}""",  # noqa: S608 - a constant of this function
        run_id,
        previous,
    )
    reasons = _rows(
        con,
        f"""select reason_code, count(*) as count from gateway_events
            where {where} and coalesce(reason_code, '') <> ''
            group by reason_code order by reason_code""",  # noqa: S608 - a constant of this function
        run_id,
        previous,
    )
    return {**(decisions or {}), "by_reason": reasons}


def _trend(every: Iterable[Row], now: Row) -> list[Row]:
    """The runs of the same flow up to this one that ended complete or incomplete, and this one."""
    figures = ("score_best", "score_worst", "critical", "high", "medium", "low", "attempts", "vulnerable")
    return [
        {"run_id": row["run_id"], "at": row["as_of"], **{name: row[name] for name in figures}}
        for row in every
        if (row["flow"], row["demo"]) == (now["flow"], now["demo"])
        and (row["started_at"], row["run_id"]) <= (now["started_at"], now["run_id"])
        and (row["run_id"] == now["run_id"] or row["state"] in ("complete", "incomplete"))
    ]


def _exceptions(con: duckdb.DuckDBPyConnection, run_id: str) -> list[Row]:
    """Accepted findings with the waiver that was in force when they were last evaluated."""
    return _rows(
        con,
        """select f.finding_id, f.title, coalesce(c.waiver_reason, f.summary) as reason,
                  coalesce(c.waiver_by, 'not recorded') as "by", c.waiver_until as until
           from finding_history as f
           left join check_results as c
               on c.run_id = f.evaluated_run_id and c.asset_id = f.asset_id and f.finding_kind = 'check.' || c.check_id
           where f.run_id = ? and f.state = 'accepted'
           order by f.finding_id""",
        run_id,
    )


def _quality(con: duckdb.DuckDBPyConnection, run_id: str) -> Row:
    rows = _rows(con, "select state, expectations, failed from quality where run_id = ?", run_id)
    worst = next((s for s in ("error", "failed") if any(row["state"] == s for row in rows)), "passed")
    return {
        "state": worst if rows else "not checked",
        "expectations": sum(row["expectations"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
    }


def _evidence(con: duckdb.DuckDBPyConnection, run_id: str) -> Row:
    root = _one(
        con,
        """select sha256 as run_root, position as chain_seq, detail ->> '$.prev' as prev, key_id
           from stg_evidence where kind = 'root' and run_id = ? order by position limit 1""",
        run_id,
    )
    empty = {"run_root": None, "chain_seq": None, "prev": None, "key_id": None}
    return {**(root or empty), "anchored": False}


def _waiting(con: duckdb.DuckDBPyConnection) -> int:
    return _count(con, "select count(*) from review_queue")


def _gaps(posture: Mapping[str, Any], waiting: int, no_control_view: bool) -> list[str]:
    """What this posture does not know, in words for the reader; fixed order of topics, sorted inside each."""
    gaps = []
    if posture["run"]["state"] != "complete":
        gaps.append(f"The run is {posture['run']['state']}: parts of the plan were not carried out.")
    for source in posture["scope"]["sources"]:
        if source["completeness"] != "full":
            where = f" ({source['scope']})" if source["scope"] else ""
            reason = f": {source['reason']}" if source["reason"] else ""
            gaps.append(f"Source {source['source']}{where} was not read in full, {source['completeness']}{reason}.")
    if not posture["scope"]["sources"]:
        gaps.append("No source reported what it could read in this run.")
    seen = {kind["kind"] for kind in posture["scope"]["kinds"]}
    if missing := [kind.value for kind in AssetKind if kind.value not in seen]:
        gaps.append(f"No asset of these kinds was found: {', '.join(sorted(missing))}.")
    for row in posture["coverage"]:
        if not row["pass"] + row["fail"]:
            gaps.append(f"Nothing could be evaluated for any of the {row['assets']} asset(s) of kind {row['kind']}.")
    if unknown := sum(row["unknown"] for row in posture["coverage"]):
        gaps.append(f"{unknown} check result(s) are unknown: what they look at could not be read.")
    by_target: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for probe in posture["probes"]:
        counts = by_target[probe["asset_name"], probe["asset_id"]]
        counts[0] += probe["error"]
        counts[1] += probe["attempts"]
    for (name, _), (errors, attempts) in sorted(by_target.items()):
        if errors * ERROR_RATE_SHOWN > attempts:
            gaps.append(f"{errors} of {attempts} attempts against {name} ended in an error; they count as no result.")
    if not posture["probes"]:
        gaps.append("No probe was run.")
    if posture["labels"]["judges"] == "offline judges":
        gaps.append("Offline judges voted: rules and text comparison stood in for language models.")
    for judge in posture["judges"]:
        if judge["error"] * ERROR_RATE_SHOWN > judge["votes"]:
            gaps.append(f"{judge['error']} of {judge['votes']} votes of judge {judge['judge_id']} are errors.")
    if waiting:
        gaps.append(f"{waiting} attempt(s) wait for a human reviewer.")
    if not posture["gateway"]["requests"]:
        gaps.append("No gateway traffic was ingested for this period.")
    if no_control_view or not posture["controls"]:
        gaps.append("The states of controls were not computed.")
    quality = posture["quality"]
    if quality["state"] == "not checked":
        gaps.append("The data quality of the run was not checked.")
    elif quality["state"] != "passed":
        gaps.append(f"Data quality {quality['state']}: {quality['failed']} of {quality['expectations']} expectations.")
    if posture["quarantined"]:
        gaps.append(f"{posture['quarantined']} row(s) broke a rule of their table and were set aside.")
    if posture["evidence"]["run_root"] is None:
        gaps.append("The run is not sealed: its evidence carries no signed root.")
    if not posture["evidence"]["anchored"]:
        gaps.append("The chain of signed roots is not anchored outside the lake: its cut-off end would not be noticed.")
    return gaps


def _plain(value: Any) -> Any:
    """Times as ISO 8601 UTC with `Z`, dates as ISO; refuses floats, which do not belong in a signed document."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        raise TypeError(f"a float reached the posture: {value!r}")
    return value
