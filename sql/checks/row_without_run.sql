-- Zero rows expected: every row names a run that the lake knows.
select 'asset_aliases' as table_name, run_id, count(*) as rows
from lake.asset_aliases
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'asset_versions' as table_name, run_id, count(*) as rows
from lake.asset_versions
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'check_results' as table_name, run_id, count(*) as rows
from lake.check_results
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'control_overlaps' as table_name, run_id, count(*) as rows
from lake.control_overlaps
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'controls' as table_name, run_id, count(*) as rows
from lake.controls
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'edges' as table_name, run_id, count(*) as rows
from lake.edges
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'evidence' as table_name, run_id, count(*) as rows
from lake.evidence
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'finding_controls' as table_name, run_id, count(*) as rows
from lake.finding_controls
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'findings' as table_name, run_id, count(*) as rows
from lake.findings
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'gateway_events' as table_name, run_id, count(*) as rows
from lake.gateway_events
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'judge_votes' as table_name, run_id, count(*) as rows
from lake.judge_votes
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'kind_controls' as table_name, run_id, count(*) as rows
from lake.kind_controls
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'observations' as table_name, run_id, count(*) as rows
from lake.observations
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'policies' as table_name, run_id, count(*) as rows
from lake.policies
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'probe_attempts' as table_name, run_id, count(*) as rows
from lake.probe_attempts
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'quarantined_rows' as table_name, run_id, count(*) as rows
from lake.quarantined_rows
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'reviews' as table_name, run_id, count(*) as rows
from lake.reviews
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'runs' as table_name, run_id, count(*) as rows
from lake.runs
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'tool_versions' as table_name, run_id, count(*) as rows
from lake.tool_versions
where run_id not in (select run_id from lake.runs)
group by all

union all

select 'verdicts' as table_name, run_id, count(*) as rows
from lake.verdicts
where run_id not in (select run_id from lake.runs)
group by all
