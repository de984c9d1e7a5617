-- Zero rows expected: every finding is about an asset in the lake.
select distinct f.finding_id, f.asset_id, f.run_id
from stg_findings as f
anti join stg_asset_versions as a on a.asset_id = f.asset_id
