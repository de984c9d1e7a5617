-- Zero rows expected: every check result and every attempt is about an asset in the lake.
select 'check_results' as table_name, c.run_id, c.asset_id
from stg_check_results as c
anti join stg_asset_versions as a on a.asset_id = c.asset_id

union

select 'probe_attempts' as table_name, t.run_id, t.asset_id
from stg_probe_attempts as t
anti join stg_asset_versions as a on a.asset_id = t.asset_id
