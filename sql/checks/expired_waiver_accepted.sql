-- Zero rows expected: no finding is accepted on a waiver that was over on the day it was evaluated.
select f.finding_id, f.asset_id, f.run_id, c.evidence ->> '$.waiver.until' as until
from stg_findings as f
join stg_check_results as c
    on c.run_id = f.run_id and c.asset_id = f.asset_id and f.finding_kind = 'check.' || c.check_id
where f.state = 'accepted' and try_cast(c.evidence ->> '$.waiver.until' as DATE) < cast(f.evaluated_at as DATE)
