-- Question: Which present assets has nobody claimed, worst first?
-- Tables: assets
-- Example:
--   asset_id | kind | name | env | exposure | fail | unknown
--   rag_system:handbook | rag_system | Handbook search | null | null | 0 | 1
--   agent:clerk | agent | Payments clerk | prod | internal | 0 | 0
select asset_id, kind, name, env, exposure, fail, unknown
from assets
where state = 'present' and owner is null
order by fail desc, unknown desc, asset_id
