-- Zero rows expected: no table holds a key twice. A commit carries its batch key so that a retry writes nothing.
select 'asset_aliases' as table_name, concat_ws(' · ', alias, asset_id, run_id) as row_key, count(*) as copies
from lake.asset_aliases
group by all
having copies > 1

union all

select 'asset_versions' as table_name, concat_ws(' · ', asset_id, valid_from) as row_key, count(*) as copies
from lake.asset_versions
group by all
having copies > 1

union all

select 'check_results' as table_name, concat_ws(' · ', run_id, asset_id, check_id) as row_key, count(*) as copies
from lake.check_results
group by all
having copies > 1

union all

select 'control_overlaps' as table_name, concat_ws(' · ', overlap_id, catalogs_sha256) as row_key, count(*) as copies
from lake.control_overlaps
group by all
having copies > 1

union all

select 'controls' as table_name, concat_ws(' · ', control_key, catalog_sha256) as row_key, count(*) as copies
from lake.controls
group by all
having copies > 1

union all

select 'edges' as table_name, concat_ws(' · ', src_id, dst_id, rel, run_id) as row_key, count(*) as copies
from lake.edges
group by all
having copies > 1

union all

select 'evidence' as table_name, concat_ws(' · ', run_id, kind, table_name, position) as row_key, count(*) as copies
from lake.evidence
group by all
having copies > 1

union all

select 'finding_controls' as table_name, concat_ws(' · ', finding_id, control_key, run_id) as row_key, count(*) as copies
from lake.finding_controls
group by all
having copies > 1

union all

select 'findings' as table_name, concat_ws(' · ', finding_id, seq) as row_key, count(*) as copies
from lake.findings
group by all
having copies > 1

union all

select 'gateway_events' as table_name, cast(event_id as VARCHAR) as row_key, count(*) as copies
from lake.gateway_events
group by all
having copies > 1

union all

select 'judge_votes' as table_name, concat_ws(' · ', attempt_id, judge_id, judge_version, repeat) as row_key, count(*) as copies
from lake.judge_votes
group by all
having copies > 1

union all

select 'kind_controls' as table_name, concat_ws(' · ', finding_kind, control_key, catalog_sha256, edge_id) as row_key, count(*) as copies
from lake.kind_controls
group by all
having copies > 1

union all

select 'observations' as table_name, cast(observation_id as VARCHAR) as row_key, count(*) as copies
from lake.observations
group by all
having copies > 1

union all

select 'policies' as table_name, concat_ws(' · ', bundle_sha256, run_id) as row_key, count(*) as copies
from lake.policies
group by all
having copies > 1

union all

select 'probe_attempts' as table_name, cast(attempt_id as VARCHAR) as row_key, count(*) as copies
from lake.probe_attempts
group by all
having copies > 1

union all

select 'quarantined_rows' as table_name, concat_ws(' · ', table_name, batch, row_key, reason) as row_key, count(*) as copies
from lake.quarantined_rows
group by all
having copies > 1

union all

select 'reviews' as table_name, cast(review_id as VARCHAR) as row_key, count(*) as copies
from lake.reviews
group by all
having copies > 1

union all

select 'runs' as table_name, concat_ws(' · ', run_id, seq) as row_key, count(*) as copies
from lake.runs
group by all
having copies > 1

union all

select 'tool_versions' as table_name, concat_ws(' · ', asset_id, tool_name, hash) as row_key, count(*) as copies
from lake.tool_versions
group by all
having copies > 1

union all

select 'verdicts' as table_name, concat_ws(' · ', attempt_id, method_version) as row_key, count(*) as copies
from lake.verdicts
group by all
having copies > 1
