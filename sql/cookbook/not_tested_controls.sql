-- Question: How many controls of each framework are in which of the six states?
-- Tables: control_states, runs
-- Example:
--   framework | version | controls | tested_failing | tested_clean | insufficient | not_tested | not_yet_applicable | not_applicable
--   eu-ai-act | 2026-07-27 | 1 | 1 | 0 | 0 | 0 | 0 | 0
--   iso-42001 | 2023 | 1 | 0 | 0 | 0 | 1 | 0 | 0
--   mitre-atlas | 2026.09 | 1 | 1 | 0 | 0 | 0 | 0 | 0
--   … 3 more
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select
    c.framework,
    c.version,
    count(*) as controls,
    count(*) filter (c.state = 'tested_failing') as tested_failing,
    count(*) filter (c.state = 'tested_clean') as tested_clean,
    count(*) filter (c.state = 'insufficient') as insufficient,
    count(*) filter (c.state = 'not_tested') as not_tested,
    count(*) filter (c.state = 'not_yet_applicable') as not_yet_applicable,
    count(*) filter (c.state = 'not_applicable') as not_applicable,
from newest as n
join control_states as c on c.run_id = n.run_id
group by c.framework, c.version
order by c.framework, c.version
