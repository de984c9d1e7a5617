-- Zero rows expected: nothing was added to a run after its root was signed, or the root would not cover it.
with rows_of_runs as (
    select 'asset_aliases' as table_name, run_id, recorded_at from lake.asset_aliases
    union all
    select 'asset_versions' as table_name, run_id, recorded_at from lake.asset_versions
    union all
    select 'check_results' as table_name, run_id, recorded_at from lake.check_results
    union all
    select 'control_overlaps' as table_name, run_id, recorded_at from lake.control_overlaps
    union all
    select 'controls' as table_name, run_id, recorded_at from lake.controls
    union all
    select 'edges' as table_name, run_id, recorded_at from lake.edges
    union all
    select 'finding_controls' as table_name, run_id, recorded_at from lake.finding_controls
    union all
    select 'findings' as table_name, run_id, recorded_at from lake.findings
    union all
    select 'gateway_events' as table_name, run_id, recorded_at from lake.gateway_events
    union all
    select 'judge_votes' as table_name, run_id, recorded_at from lake.judge_votes
    union all
    select 'kind_controls' as table_name, run_id, recorded_at from lake.kind_controls
    union all
    select 'observations' as table_name, run_id, recorded_at from lake.observations
    union all
    select 'policies' as table_name, run_id, recorded_at from lake.policies
    union all
    select 'probe_attempts' as table_name, run_id, recorded_at from lake.probe_attempts
    union all
    select 'quarantined_rows' as table_name, run_id, recorded_at from lake.quarantined_rows
    union all
    select 'reviews' as table_name, run_id, recorded_at from lake.reviews
    union all
    select 'runs' as table_name, run_id, recorded_at from lake.runs
    union all
    select 'tool_versions' as table_name, run_id, recorded_at from lake.tool_versions
    union all
    select 'verdicts' as table_name, run_id, recorded_at from lake.verdicts
),

roots as (
    select run_id, min(recorded_at) as sealed_at
    from lake.evidence
    where kind = 'root'
    group by run_id
)

select r.table_name, r.run_id, count(*) as rows, max(r.recorded_at) as newest, any_value(s.sealed_at) as sealed_at
from rows_of_runs as r
join roots as s on s.run_id = r.run_id and r.recorded_at > s.sealed_at
group by r.table_name, r.run_id
