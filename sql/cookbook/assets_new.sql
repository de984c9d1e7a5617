-- Question: Which assets are in the newest finished run and were not in the one before it?
-- Tables: asset_history, runs
-- Example:
--   asset_id | kind | name | owner | declared
--   rag_system:handbook | rag_system | Handbook search | null | False
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select h.asset_id, h.kind, h.name, h.owner, h.declared
from newest as n
join asset_history as h on h.run_id = n.run_id and h.state = 'present'
anti join asset_history as b on b.run_id = n.previous_run_id and b.asset_id = h.asset_id and b.state = 'present'
order by h.asset_id
