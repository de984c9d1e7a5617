-- Question: Which assets were found in use although the inventory does not declare them?
-- Tables: assets
-- Example:
--   kind | name | asset_id | sources | first_seen
--   rag_system | Handbook search | rag_system:handbook | [inventory] | 2026-01-03 02:01:00+00:00
select kind, name, asset_id, sources, first_seen
from assets
where state = 'present' and not declared
order by kind, name, asset_id
