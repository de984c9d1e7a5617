-- Question: What do the newest results not know? Sources read in part, and checks without an answer.
-- Tables: sources, coverage, runs
-- Example:
--   what | name | why | known
--   checks | llm_endpoint | 1 unknown | 2
--   checks | rag_system | 1 unknown | 0
--   source | aws_bedrock | denied: AccessDenied | 0
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select 'source' as what, s.source as name, s.completeness || ': ' || s.reason as why, s.observations as known
from newest as n
join sources as s on s.run_id = n.run_id and s.completeness <> 'full'

union all

select 'checks' as what, c.kind as name, c.unknown || ' unknown' as why, c.pass + c.fail as known
from newest as n
join coverage as c on c.run_id = n.run_id and c.unknown > 0
order by what, name
